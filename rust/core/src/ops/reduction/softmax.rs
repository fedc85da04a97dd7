//! `torch.softmax`.

use super::Kind;
use crate::{
    dtype::{Target, View, ViewMut},
    kernel::{Exec, Geometry, Kernel, Shape, each_type},
};

/// `exp(x)` over its sum along a dimension. Saves its result.
pub struct Softmax;

impl Kernel for Softmax {
    fn name(&self) -> &'static str {
        "softmax"
    }

    fn shape(&self) -> Shape {
        Shape::Rows
    }

    fn accepts(&self, geometry: Geometry, _: &[f64]) -> Result<(), &'static str> {
        geometry.has_elements()
    }

    fn forward(&self, exec: &Exec, src: View, dst: Target, geometry: Geometry, _: &[f64]) {
        each_type!((src: View, dst: Target) => super::softmax(exec, Kind::Softmax, src, dst, geometry));
    }

    fn inplace(&self, _: &Exec, _: ViewMut, _: &[f64]) {
        unreachable!("torch has no such form");
    }

    fn backward(&self, exec: &Exec, grad: View, saved: View, dst: Target, geometry: Geometry, _: &[f64]) {
        each_type!((grad: View, saved: View, dst: Target) =>
            super::softmax_backward(exec, Kind::Softmax, grad, saved, dst, geometry));
    }
}
