//! `torch.nn.functional.huber_loss`.

use super::{clipped, pointwise::Loss};
use crate::{float::Float, ops::elementwise::number};

/// With the distance `z = |x - target|`: `z^2 / 2` where `z <= delta`, and `delta (z - delta / 2)`. Number: `delta` (1).
#[derive(Clone, Copy, Debug)]
pub struct HuberLoss {
    delta: f64,
}

impl Loss for HuberLoss {
    const NAME: &'static str = "huber_loss";
    const FLOPS: usize = 5;
    const GRADIENTS: usize = 2;

    fn new(numbers: &[f64]) -> Self {
        Self {
            delta: number(numbers, 1, 1.0),
        }
    }

    fn accepts(self) -> Result<(), &'static str> {
        if self.delta > 0.0 {
            Ok(())
        } else {
            Err("delta is not positive")
        }
    }

    #[inline(always)]
    fn loss<F: Float>(self, x: F, target: F, _: F) -> F {
        let (z, delta) = ((x - target).abs(), F::of(self.delta));
        if z <= delta {
            F::of(0.5) * z * z
        } else {
            delta * (z - F::of(0.5) * delta)
        }
    }

    #[inline(always)]
    fn gradient<F: Float, const OF: usize>(self, grad: F, x: F, target: F, _: F) -> F {
        let (distance, delta) = (if OF == 0 { x - target } else { target - x }, F::of(self.delta));
        clipped(distance, delta, distance * grad, delta * grad)
    }
}
