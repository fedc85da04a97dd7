//! `torch.log_softmax`.

use super::Kind;
use crate::{
    dtype::{Target, View, ViewMut},
    kernel::{Exec, Geometry, Kernel, Shape, each_type},
};

/// The logarithm of softmax along a dimension. Saves its result.
pub struct LogSoftmax;

impl Kernel for LogSoftmax {
    fn name(&self) -> &'static str {
        "log_softmax"
    }

    fn shape(&self) -> Shape {
        Shape::Rows
    }

    fn accepts(&self, geometry: Geometry, _: &[f64]) -> Result<(), &'static str> {
        geometry.has_elements()
    }

    fn pays(&self, geometry: Geometry, _: &[f64]) -> Result<(), &'static str> {
        // Measured: two threads that share out strips so short gain nothing, and stock torch is faster.
        if geometry.inner > 1 && (1 << 14..1 << 19).contains(&geometry.len()) {
            Err("short columns")
        } else {
            Ok(())
        }
    }

    fn forward(&self, exec: &Exec, src: View, dst: Target, geometry: Geometry, _: &[f64]) {
        each_type!((src: View, dst: Target) => super::softmax(exec, Kind::LogSoftmax, src, dst, geometry));
    }

    fn inplace(&self, _: &Exec, _: ViewMut, _: &[f64]) {
        unreachable!("torch has no such form");
    }

    fn backward(&self, exec: &Exec, grad: View, saved: View, dst: Target, geometry: Geometry, _: &[f64]) {
        each_type!((grad: View, saved: View, dst: Target) =>
            super::softmax_backward(exec, Kind::LogSoftmax, grad, saved, dst, geometry));
    }
}
