//! `torch.nn.functional.hardswish`.

use crate::{
    float::Float,
    ops::{activation::relu6, elementwise::Function},
};

/// `x * min(max(x + 3, 0), 6) / 6`. Saves its input.
#[derive(Clone, Copy, Debug)]
pub struct Hardswish;

impl Function for Hardswish {
    const NAME: &'static str = "hardswish";
    const FLOPS: usize = 5;

    fn new(_: &[f64]) -> Self {
        Self
    }

    #[inline(always)]
    fn forward<F: Float>(self, x: F) -> F {
        x * relu6(x + F::of(3.0)) / F::of(6.0)
    }

    #[inline(always)]
    fn backward<F: Float>(self, grad: F, x: F) -> F {
        let slope = x / F::of(3.0) + F::of(0.5);
        let inner = if x >= F::of(3.0) { grad } else { grad * slope };
        if x <= F::of(-3.0) { F::of(0.0) } else { inner }
    }
}
