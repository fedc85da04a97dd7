//! `torch.log`.

use crate::{float::Float, ops::elementwise::Function};

/// The natural logarithm. Saves its input.
#[derive(Clone, Copy, Debug)]
pub struct Log;

impl Function for Log {
    const NAME: &'static str = "log";
    const FLOPS: usize = 25;

    fn new(_: &[f64]) -> Self {
        Self
    }

    #[inline(always)]
    fn forward<F: Float>(self, x: F) -> F {
        x.ln()
    }

    #[inline(always)]
    fn forward_half<F: Float>(self, x: F) -> F {
        x.ln_half()
    }

    #[inline(always)]
    fn backward<F: Float>(self, grad: F, x: F) -> F {
        grad / x
    }
}
