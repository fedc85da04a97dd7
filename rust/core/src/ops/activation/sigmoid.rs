//! `torch.nn.functional.sigmoid`.

use crate::{float::Float, ops::elementwise::Function};

/// `1 / (1 + exp(-x))`. Saves its result.
#[derive(Clone, Copy, Debug)]
pub struct Sigmoid;

impl Function for Sigmoid {
    const NAME: &'static str = "sigmoid";
    const FLOPS: usize = 16;
    const SHORT_BACKWARD: bool = true;

    fn new(_: &[f64]) -> Self {
        Self
    }

    #[inline(always)]
    fn forward<F: Float>(self, x: F) -> F {
        x.sigmoid()
    }

    #[inline(always)]
    fn backward<F: Float>(self, grad: F, result: F) -> F {
        grad * (F::of(1.0) - result) * result
    }
}
