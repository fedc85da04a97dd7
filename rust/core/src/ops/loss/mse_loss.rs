//! `torch.nn.functional.mse_loss`.

use super::pointwise::Loss;
use crate::float::Float;

/// `(x - target)^2`.
#[derive(Clone, Copy, Debug)]
pub struct MseLoss;

impl Loss for MseLoss {
    const NAME: &'static str = "mse_loss";
    const FLOPS: usize = 3;
    const GRADIENTS: usize = 2;

    fn new(_: &[f64]) -> Self {
        Self
    }

    #[inline(always)]
    fn loss<F: Float>(self, x: F, target: F, _: F) -> F {
        (x - target) * (x - target)
    }

    #[inline(always)]
    fn gradient<F: Float, const OF: usize>(self, grad: F, x: F, target: F, _: F) -> F {
        let distance = if OF == 0 { x - target } else { target - x };
        // In this order: twice the distance may overflow where torch's result does not.
        distance * grad * F::of(2.0)
    }
}
