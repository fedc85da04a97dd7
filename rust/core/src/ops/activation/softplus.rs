//! `torch.nn.functional.softplus`.

use crate::{
    float::Float,
    ops::elementwise::{Function, number},
};

/// `ln(1 + exp(beta * x)) / beta`, and `x` where `beta * x` exceeds `threshold`; 1 and 20. Saves its input.
#[derive(Clone, Copy, Debug)]
pub struct Softplus {
    beta: f64,
    threshold: f64,
}

impl Function for Softplus {
    const NAME: &'static str = "softplus";
    const FLOPS: usize = 30;

    fn new(numbers: &[f64]) -> Self {
        Self {
            beta: number(numbers, 0, 1.0),
            threshold: number(numbers, 1, 20.0),
        }
    }

    #[inline(always)]
    fn forward<F: Float>(self, x: F) -> F {
        let scaled = x * F::of(self.beta);
        if scaled > F::of(self.threshold) {
            x
        } else {
            scaled.softplus() / F::of(self.beta)
        }
    }

    #[inline(always)]
    fn backward<F: Float>(self, grad: F, x: F) -> F {
        let scaled = x * F::of(self.beta);
        if scaled > F::of(self.threshold) {
            grad
        } else {
            grad * scaled.sigmoid()
        }
    }
}
