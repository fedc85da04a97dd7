//! `torch.nn.functional.celu`.

use crate::{
    float::Float,
    ops::elementwise::{Function, number},
};

/// `x` where positive, else `alpha * (exp(x / alpha) - 1)`; `alpha` is 1. Saves its input.
#[derive(Clone, Copy, Debug)]
pub struct Celu {
    alpha: f64,
}

impl Function for Celu {
    const NAME: &'static str = "celu";
    const FLOPS: usize = 18;

    fn new(numbers: &[f64]) -> Self {
        Self {
            alpha: number(numbers, 0, 1.0),
        }
    }

    fn accepts(self) -> Result<(), &'static str> {
        if self.alpha > 0.0 {
            Ok(())
        } else {
            Err("alpha is not positive")
        }
    }

    #[inline(always)]
    fn forward<F: Float>(self, x: F) -> F {
        let below = (x * F::of(1.0 / self.alpha)).expm1_below(F::of(self.alpha));
        // -0 takes the first branch, and keeps its sign; a NaN takes the second.
        if x >= F::of(0.0) { x } else { below }
    }

    #[inline(always)]
    fn backward<F: Float>(self, grad: F, x: F) -> F {
        let below = grad * (x * F::of(1.0 / self.alpha)).exp_fast();
        if x > F::of(0.0) { grad } else { below }
    }
}
