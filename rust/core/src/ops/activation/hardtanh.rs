//! `torch.nn.functional.hardtanh`.

use crate::{
    float::Float,
    ops::elementwise::{Function, number},
};

/// `x` clamped to `[min_val, max_val]`, by default `[-1, 1]`; keeps NaN. Saves its input.
#[derive(Clone, Copy, Debug)]
pub struct Hardtanh {
    min_val: f64,
    max_val: f64,
}

impl Function for Hardtanh {
    const NAME: &'static str = "hardtanh";
    const FLOPS: usize = 2;

    fn new(numbers: &[f64]) -> Self {
        Self {
            min_val: number(numbers, 0, -1.0),
            max_val: number(numbers, 1, 1.0),
        }
    }

    fn accepts(self) -> Result<(), &'static str> {
        if self.min_val <= self.max_val {
            Ok(())
        } else {
            Err("the bounds are not in order")
        }
    }

    #[inline(always)]
    fn forward<F: Float>(self, x: F) -> F {
        let (low, high) = (F::of(self.min_val), F::of(self.max_val));
        let x = if x < low { low } else { x };
        if x > high { high } else { x }
    }

    #[inline(always)]
    fn backward<F: Float>(self, grad: F, x: F) -> F {
        let inside = (x > F::of(self.min_val)) & (x < F::of(self.max_val));
        if inside { grad } else { F::of(0.0) }
    }
}
