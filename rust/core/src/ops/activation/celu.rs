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
    const FLOPS: usize = 21;

    fn new(numbers: &[f64]) -> Self {
        Self {
            alpha: number(numbers, 0, 1.0),
        }
    }

    fn accepts(self) -> Result<(), &'static str> {
        if self.alpha == 0.0 {
            Err("alpha is zero")
        } else {
            Ok(())
        }
    }

    #[inline(always)]
    fn forward<F: Float>(self, x: F) -> F {
        let below = (x * F::of(1.0 / self.alpha)).expm1() * F::of(self.alpha);
        if x < F::of(0.0) { below } else { x }
    }

    #[inline(always)]
    fn backward<F: Float>(self, grad: F, x: F) -> F {
        let below = grad * (x * F::of(1.0 / self.alpha)).exp_fast();
        if x > F::of(0.0) { grad } else { below }
    }
}
