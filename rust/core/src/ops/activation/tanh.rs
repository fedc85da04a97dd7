//! `torch.nn.functional.tanh`.

use crate::{float::Float, ops::elementwise::Function};

/// The hyperbolic tangent. Saves its result.
#[derive(Clone, Copy, Debug)]
pub struct Tanh;

impl Function for Tanh {
    const NAME: &'static str = "tanh";
    const FLOPS: usize = 36;
    const SHORT_BACKWARD: bool = true;

    fn new(_: &[f64]) -> Self {
        Self
    }

    #[inline(always)]
    fn forward<F: Float>(self, x: F) -> F {
        x.tanh()
    }

    #[inline(always)]
    fn forward_half<F: Float>(self, x: F) -> F {
        x.tanh_fast()
    }

    #[inline(always)]
    fn backward<F: Float>(self, grad: F, result: F) -> F {
        grad * (F::of(1.0) - result * result)
    }
}
