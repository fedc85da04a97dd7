//! `torch.nn.functional.poisson_nll_loss`.

use super::pointwise::Loss;
use crate::{float::Float, ops::elementwise::number};

/// `exp(x) - target x`, or `x - target ln(x + eps)`. Numbers: whether the input has logarithms (1), and `eps` (1e-8).
#[derive(Clone, Copy, Debug)]
pub struct PoissonNllLoss {
    log_input: bool,
    eps: f64,
}

impl Loss for PoissonNllLoss {
    const NAME: &'static str = "poisson_nll_loss";
    const FLOPS: usize = 24;
    const GRADIENTS: usize = 1;

    fn new(numbers: &[f64]) -> Self {
        Self {
            log_input: number(numbers, 1, 1.0) != 0.0,
            eps: number(numbers, 2, 1e-8),
        }
    }

    #[inline(always)]
    fn loss<F: Float>(self, x: F, target: F, _: F) -> F {
        if self.log_input {
            x.exp() - target * x
        } else {
            x - target * (x + F::of(self.eps)).ln()
        }
    }

    #[inline(always)]
    fn gradient<F: Float, const OF: usize>(self, grad: F, x: F, target: F, _: F) -> F {
        let slope = if self.log_input {
            x.exp() - target
        } else {
            F::of(1.0) - target / (x + F::of(self.eps))
        };
        slope * grad
    }
}
