//! Operations along a dimension: [`rows`] where it is the innermost one, else [`columns`].

mod columns;
pub mod log_softmax;
pub mod logsumexp;
mod rows;
pub mod softmax;

use core::mem::MaybeUninit;

use crate::{
    dtype::Element,
    float::Float,
    kernel::{Exec, Geometry},
};

/// Floating-point instructions of one element, for the choice of threads.
const FLOPS: usize = 16;

/// Why a geometry is better left to stock torch.
fn accepts(geometry: Geometry) -> Result<(), &'static str> {
    if geometry.inner > 1 && geometry.inner < 8 {
        Err("few columns")
    } else {
        Ok(())
    }
}

/// The maximum where it is finite, else 0: torch subtracts only finite maxima in logsumexp.
#[inline(always)]
fn finite<F: Float>(max: F) -> F {
    if max.is_infinite() { F::default() } else { max }
}

/// Which of the two softmaxes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Softmax,
    LogSoftmax,
}

impl Kind {
    /// What an element adds to its row's sum in the backward pass.
    #[inline(always)]
    fn term<F: Float>(self, grad: F, result: F) -> F {
        if self == Self::Softmax { grad * result } else { grad }
    }

    /// The gradient, from that sum.
    #[inline(always)]
    fn gradient<F: Float>(self, grad: F, result: F, sum: F) -> F {
        if self == Self::Softmax {
            (grad - sum) * result
        } else {
            grad - result.exp_fast() * sum
        }
    }
}

/// The value of an output element, from that of its input and its row's maximum and sum of exponentials.
#[derive(Clone, Copy)]
struct Finish<F> {
    log: bool,
    max: F,
    /// The reciprocal of the sum, or its logarithm.
    scale: F,
}

impl<F: Float> Finish<F> {
    #[inline(always)]
    fn new(kind: Kind, max: F, sum: F) -> Self {
        let log = kind == Kind::LogSoftmax;
        Self {
            log,
            max,
            scale: if log { sum.ln() } else { F::of(1.0) / sum },
        }
    }

    #[inline(always)]
    fn apply(self, x: F) -> F {
        if self.log {
            x - self.max - self.scale
        } else {
            (x - self.max).exp_fast() * self.scale
        }
    }
}

/// Softmax or its logarithm along the geometry's dimension.
fn softmax<T: Element>(exec: &Exec, kind: Kind, src: &[T], dst: &mut [MaybeUninit<T>], geometry: Geometry) {
    assert!(
        src.len() == geometry.len() && dst.len() == src.len(),
        "the slices differ from the geometry"
    );
    if geometry.inner > 1 {
        columns::softmax(exec, kind, src, dst, geometry);
    } else {
        rows::softmax(exec, kind, src, dst, geometry.dim);
    }
}

/// The gradient of [`softmax`] from that of its result.
fn softmax_backward<T: Element>(
    exec: &Exec,
    kind: Kind,
    grad: &[T],
    result: &[T],
    dst: &mut [MaybeUninit<T>],
    geometry: Geometry,
) {
    let len = geometry.len();
    assert!(
        grad.len() == len && result.len() == len && dst.len() == len,
        "the slices differ from the geometry"
    );
    if geometry.inner > 1 {
        columns::softmax_backward(exec, kind, grad, result, dst, geometry);
    } else {
        rows::softmax_backward(exec, kind, grad, result, dst, geometry.dim);
    }
}
