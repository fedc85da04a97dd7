//! `torch.nn.functional.logsigmoid`.

use crate::{float::Float, ops::elementwise::Function};

/// `-ln(1 + exp(-x))`. Saves its input.
#[derive(Clone, Copy, Debug)]
pub struct Logsigmoid;

impl Function for Logsigmoid {
    const NAME: &'static str = "logsigmoid";
    const FLOPS: usize = 30;

    fn new(_: &[f64]) -> Self {
        Self
    }

    #[inline(always)]
    fn forward<F: Float>(self, x: F) -> F {
        // Not a negation: torch's result for a large `x` is 0, not -0.
        F::of(0.0) - (-x).softplus()
    }

    #[inline(always)]
    fn backward<F: Float>(self, grad: F, x: F) -> F {
        grad * x.sigmoid_pair().1
    }
}
