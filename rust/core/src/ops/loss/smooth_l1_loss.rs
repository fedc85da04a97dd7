//! `torch.nn.functional.smooth_l1_loss`.

use super::{clipped, pointwise::Loss};
use crate::{float::Float, ops::elementwise::number};

/// With the distance `z = |x - target|`: `z^2 / (2 beta)` where `z < beta`, and `z - beta / 2`. Number: `beta` (1).
#[derive(Clone, Copy, Debug)]
pub struct SmoothL1Loss {
    beta: f64,
}

impl Loss for SmoothL1Loss {
    const NAME: &'static str = "smooth_l1_loss";
    const FLOPS: usize = 8;
    const GRADIENTS: usize = 2;

    fn new(numbers: &[f64]) -> Self {
        Self {
            beta: number(numbers, 1, 1.0),
        }
    }

    fn accepts(self) -> Result<(), &'static str> {
        if self.beta > 0.0 {
            Ok(())
        } else {
            Err("beta is not positive")
        }
    }

    #[inline(always)]
    fn loss<F: Float>(self, x: F, target: F, _: F) -> F {
        let (z, beta) = ((x - target).abs(), F::of(self.beta));
        if z < beta {
            F::of(0.5) * z * z / beta
        } else {
            z - F::of(0.5) * beta
        }
    }

    #[inline(always)]
    fn gradient<F: Float, const OF: usize>(self, grad: F, x: F, target: F, _: F) -> F {
        let (distance, beta) = (if OF == 0 { x - target } else { target - x }, F::of(self.beta));
        clipped(distance, beta, distance * grad / beta, grad)
    }
}
