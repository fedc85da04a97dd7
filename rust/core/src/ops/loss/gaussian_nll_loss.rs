//! `torch.nn.functional.gaussian_nll_loss`.

use super::pointwise::{Loss, Third};
use crate::{float::Float, ops::elementwise::number};

/// `(ln(v) + (x - target)^2 / v) / 2`, with the variance `v`, or `eps` if that is more. Operand after the target: the
/// variance. Number: `eps` (1e-6).
#[derive(Clone, Copy, Debug)]
pub struct GaussianNllLoss {
    eps: f64,
}

impl GaussianNllLoss {
    #[inline(always)]
    fn variance<F: Float>(self, variance: F) -> F {
        let eps = F::of(self.eps);
        if variance < eps { eps } else { variance }
    }
}

impl Loss for GaussianNllLoss {
    const NAME: &'static str = "gaussian_nll_loss";
    const FLOPS: usize = 28;
    const THIRD: Third = Third::Operand;
    const GRADIENTS: usize = 3;
    const PICKY: bool = true;

    fn new(numbers: &[f64]) -> Self {
        Self {
            eps: number(numbers, 1, 1e-6),
        }
    }

    #[inline(always)]
    fn takes<F: Float>(self, _: F, _: F, variance: F) -> bool {
        !(variance < F::of(0.0))
    }

    #[inline(always)]
    fn loss<F: Float>(self, x: F, target: F, variance: F) -> F {
        let (distance, variance) = (x - target, self.variance(variance));
        F::of(0.5) * (variance.ln() + distance * distance / variance)
    }

    #[inline(always)]
    fn gradient<F: Float, const OF: usize>(self, grad: F, x: F, target: F, variance: F) -> F {
        let (distance, variance) = (x - target, self.variance(variance));
        let ratio = distance / variance;
        match OF {
            0 => ratio * grad,
            1 => -ratio * grad,
            // Clamping is not recorded by torch.
            _ => F::of(0.5) * (F::of(1.0) / variance - ratio * ratio) * grad,
        }
    }
}
