//! `torch.nn.functional.leaky_relu`.

use crate::{
    float::Float,
    ops::elementwise::{Function, number},
};

/// `x` where positive, else `negative_slope * x` (0.01). Saves its input.
#[derive(Clone, Copy, Debug)]
pub struct LeakyRelu {
    negative_slope: f64,
}

impl Function for LeakyRelu {
    const NAME: &'static str = "leaky_relu";
    const FLOPS: usize = 2;

    fn new(numbers: &[f64]) -> Self {
        Self {
            negative_slope: number(numbers, 0, 0.01),
        }
    }

    #[inline(always)]
    fn forward<F: Float>(self, x: F) -> F {
        if x > F::of(0.0) {
            x
        } else {
            x * F::of(self.negative_slope)
        }
    }

    #[inline(always)]
    fn backward<F: Float>(self, grad: F, x: F) -> F {
        if x > F::of(0.0) {
            grad
        } else {
            grad * F::of(self.negative_slope)
        }
    }
}
