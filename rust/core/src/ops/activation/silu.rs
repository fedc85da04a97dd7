//! `torch.nn.functional.silu`.

use crate::{float::Float, ops::elementwise::Function};

/// `x * sigmoid(x)`. Saves its input.
#[derive(Clone, Copy, Debug)]
pub struct Silu;

impl Function for Silu {
    const NAME: &'static str = "silu";
    const FLOPS: usize = 17;

    fn new(_: &[f64]) -> Self {
        Self
    }

    #[inline(always)]
    fn forward<F: Float>(self, x: F) -> F {
        x * x.sigmoid()
    }

    #[inline(always)]
    fn backward<F: Float>(self, grad: F, x: F) -> F {
        let (sigmoid, complement) = x.sigmoid_pair();
        grad * sigmoid * x.mul_add(complement, F::of(1.0))
    }
}
