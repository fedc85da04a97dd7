//! `torch.nn.functional.silu`.

use crate::{float::Float, ops::elementwise::Function};

/// `x * sigmoid(x)`. Saves its input.
#[derive(Clone, Copy, Debug)]
pub struct Silu;

impl Function for Silu {
    const NAME: &'static str = "silu";
    const FLOPS: usize = 18;

    fn new(_: &[f64]) -> Self {
        Self
    }

    #[inline(always)]
    fn forward<F: Float>(self, x: F) -> F {
        x * x.sigmoid()
    }

    #[inline(always)]
    fn backward<F: Float>(self, grad: F, x: F) -> F {
        let sigmoid = x.sigmoid();
        grad * sigmoid * (x * (F::of(1.0) - sigmoid) + F::of(1.0))
    }
}
