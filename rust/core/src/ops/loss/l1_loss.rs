//! `torch.nn.functional.l1_loss`.

use super::{pointwise::Loss, sign};
use crate::float::Float;

/// `|x - target|`.
#[derive(Clone, Copy, Debug)]
pub struct L1Loss;

impl Loss for L1Loss {
    const NAME: &'static str = "l1_loss";
    const FLOPS: usize = 3;
    const GRADIENTS: usize = 2;

    fn new(_: &[f64]) -> Self {
        Self
    }

    #[inline(always)]
    fn loss<F: Float>(self, x: F, target: F, _: F) -> F {
        (x - target).abs()
    }

    #[inline(always)]
    fn gradient<F: Float, const OF: usize>(self, grad: F, x: F, target: F, _: F) -> F {
        sign(if OF == 0 { x - target } else { target - x }) * grad
    }
}
