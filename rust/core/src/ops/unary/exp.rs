//! `torch.exp`.

use crate::{float::Float, ops::elementwise::Function};

/// The exponential. Saves its result.
#[derive(Clone, Copy, Debug)]
pub struct Exp;

impl Function for Exp {
    const NAME: &'static str = "exp";
    const FLOPS: usize = 20;
    const SHORT_BACKWARD: bool = true;

    fn new(_: &[f64]) -> Self {
        Self
    }

    #[inline(always)]
    fn forward<F: Float>(self, x: F) -> F {
        x.exp()
    }

    #[inline(always)]
    fn forward_half<F: Float>(self, x: F) -> F {
        x.exp_any()
    }

    #[inline(always)]
    fn backward<F: Float>(self, grad: F, result: F) -> F {
        grad * result
    }
}
