//! `torch.nn.functional.kl_div`.

use super::pointwise::Loss;
use crate::{float::Float, ops::elementwise::number};

/// `target (ln(target) - x)` for the logarithms `x` of probabilities, or `exp(target) (target - x)`. Number: whether the
/// target has logarithms as well (0).
#[derive(Clone, Copy, Debug)]
pub struct KlDiv {
    log_target: bool,
}

impl Loss for KlDiv {
    const NAME: &'static str = "kl_div";
    const FLOPS: usize = 24;
    const GRADIENTS: usize = 1;

    fn new(numbers: &[f64]) -> Self {
        Self {
            log_target: number(numbers, 1, 0.0) != 0.0,
        }
    }

    #[inline(always)]
    fn loss<F: Float>(self, x: F, target: F, _: F) -> F {
        if self.log_target {
            return target.exp() * (target - x);
        }
        let zero = F::of(0.0);
        let own = if target == zero { zero } else { target * target.ln() };
        own - target * x
    }

    #[inline(always)]
    fn gradient<F: Float, const OF: usize>(self, grad: F, _: F, target: F, _: F) -> F {
        -grad * if self.log_target { target.exp() } else { target }
    }
}
