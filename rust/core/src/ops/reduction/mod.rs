//! Operations along a dimension: `rows` where it is the innermost one, else `columns`.

mod blocks;
mod columns;
pub mod count_nonzero;
mod dense;
pub mod extreme;
pub(in crate::ops) mod lanes;
pub mod log_softmax;
pub mod logsumexp;
pub(in crate::ops) mod rows;
pub mod softmax;
pub mod sum;
pub mod var;

use core::mem::MaybeUninit;

use crate::{
    kernel::{Exec, Geometry},
    math::row_exp::RowExp,
};
use lanes::RowElement;

/// Floating-point instructions of one element, for the choice of threads.
pub(in crate::ops) const FLOPS: usize = 15;

/// Whether it is a number and not infinite.
#[inline(always)]
fn is_finite<F: RowExp>(x: F) -> bool {
    !x.is_nan() && !x.is_infinite()
}

/// The logarithm of a sum of exponentials, from the row's maximum and their lifted sum.
#[inline(always)]
fn log_sum<F: RowExp>(max: F, sum: F) -> F {
    let log_sum = (sum / F::LIFT).ln_plus(max);
    if is_finite(max) { log_sum } else { max }
}

/// Which of the two softmaxes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::ops) enum Kind {
    Softmax,
    LogSoftmax,
}

impl Kind {
    /// What a row's results are computed with, from its maximum, which is NaN if an element is, and the lifted sum of
    /// exponentials: their scale, or the logarithm of their sum.
    #[inline(always)]
    pub(in crate::ops) fn number<F: RowExp>(self, max: F, sum: F) -> F {
        let number = match self {
            Self::Softmax => F::of(1.0) / sum,
            Self::LogSoftmax => (sum / F::LIFT).ln(),
        };
        if is_finite(max) { number } else { F::NAN }
    }

    /// A result, from the input and its row's maximum and number.
    #[inline(always)]
    fn result<F: RowExp>(self, x: F, max: F, number: F) -> F {
        match self {
            Self::Softmax => (x - max).exp_lifted() * number,
            Self::LogSoftmax => x - max - number,
        }
    }

    /// What an element adds to its row's sum in the backward pass.
    #[inline(always)]
    fn term<F: RowExp>(self, grad: F, result: F) -> F {
        match self {
            Self::Softmax => grad * result,
            Self::LogSoftmax => grad,
        }
    }

    /// The gradient, from that sum.
    #[inline(always)]
    fn gradient<F: RowExp>(self, grad: F, result: F, sum: F) -> F {
        match self {
            Self::Softmax => (grad - sum) * result,
            Self::LogSoftmax => grad - result.exp_fast() * sum,
        }
    }
}

/// Softmax or its logarithm along the geometry's dimension.
fn softmax<T: RowElement>(exec: &Exec, kind: Kind, src: &[T], dst: &mut [MaybeUninit<T>], geometry: Geometry) {
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
fn softmax_backward<T: RowElement>(
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
