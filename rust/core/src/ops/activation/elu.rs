//! `torch.nn.functional.elu`.

use crate::{
    float::Float,
    ops::elementwise::{Function, number},
};

/// `scale * x` where positive, else `scale * alpha * (exp(x) - 1)`; `alpha` and `scale` are 1. Saves its input.
#[derive(Clone, Copy, Debug)]
pub struct Elu {
    alpha: f64,
    scale: f64,
}

impl Function for Elu {
    const NAME: &'static str = "elu";
    const FLOPS: usize = 18;

    fn new(numbers: &[f64]) -> Self {
        Self {
            alpha: number(numbers, 0, 1.0),
            scale: number(numbers, 1, 1.0),
        }
    }

    #[inline(always)]
    fn forward<F: Float>(self, x: F) -> F {
        let below = x.expm1_below(F::of(self.alpha * self.scale));
        // -0 takes the first branch, and keeps its sign; a NaN takes the second.
        if x >= F::of(0.0) { x * F::of(self.scale) } else { below }
    }

    #[inline(always)]
    fn backward<F: Float>(self, grad: F, x: F) -> F {
        let below = grad * F::of(self.alpha * self.scale) * x.exp_fast();
        if x > F::of(0.0) {
            grad * F::of(self.scale)
        } else {
            below
        }
    }
}
