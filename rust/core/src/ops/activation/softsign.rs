//! `torch.nn.functional.softsign`.

use crate::{float::Float, ops::elementwise::Function};

/// `x / (1 + |x|)`. Saves its input.
#[derive(Clone, Copy, Debug)]
pub struct Softsign;

impl Function for Softsign {
    const NAME: &'static str = "softsign";
    const FLOPS: usize = 5;

    fn new(_: &[f64]) -> Self {
        Self
    }

    #[inline(always)]
    fn forward<F: Float>(self, x: F) -> F {
        x / (x.abs() + F::of(1.0))
    }

    #[inline(always)]
    fn backward<F: Float>(self, grad: F, x: F) -> F {
        let d = x.abs() + F::of(1.0);
        // torch's gradient at an infinity is NaN, as is its product with zero.
        grad / (d * d) + x * F::of(0.0)
    }
}
