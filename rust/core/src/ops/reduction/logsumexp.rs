//! `torch.logsumexp`.

use super::{columns, rows};
use crate::{
    dtype::{Target, View, ViewMut},
    kernel::{Exec, Geometry, Kernel, Shape, each_type},
};

/// The logarithm of the sum of `exp(x)` along a dimension. Saves its input.
pub struct Logsumexp;

impl Kernel for Logsumexp {
    fn name(&self) -> &'static str {
        "logsumexp"
    }

    fn shape(&self) -> Shape {
        Shape::Reduce
    }

    fn accepts(&self, geometry: Geometry, _: &[f64]) -> Result<(), &'static str> {
        geometry.has_elements()
    }

    fn pays(&self, geometry: Geometry, _: &[f64]) -> Result<(), &'static str> {
        // A row has one logarithm, and it is not taken in vectors.
        if geometry.inner == 1 && geometry.dim < 32 && geometry.len() > 1024 {
            Err("short rows")
        } else {
            Ok(())
        }
    }

    fn forward(&self, exec: &Exec, src: View, dst: Target, geometry: Geometry, _: &[f64]) {
        let Geometry { outer, dim, inner } = geometry;
        each_type!((src: View, dst: Target) => {
            assert!(
                src.len() == geometry.len() && dst.len() == outer * inner,
                "the slices differ from the geometry"
            );
            if inner > 1 {
                columns::logsumexp(exec, src, dst, geometry);
            } else {
                rows::logsumexp(exec, src, dst, dim);
            }
        });
    }

    fn inplace(&self, _: &Exec, _: ViewMut, _: &[f64]) {
        unreachable!("the result has another shape");
    }

    fn backward(&self, exec: &Exec, grad: View, saved: View, dst: Target, geometry: Geometry, _: &[f64]) {
        let Geometry { outer, dim, inner } = geometry;
        each_type!((grad: View, saved: View, dst: Target) => {
            assert!(
                saved.len() == geometry.len() && dst.len() == saved.len() && grad.len() == outer * inner,
                "the slices differ from the geometry"
            );
            if inner > 1 {
                columns::logsumexp_backward(exec, grad, saved, dst, geometry);
            } else {
                rows::logsumexp_backward(exec, grad, saved, dst, dim);
            }
        });
    }
}
