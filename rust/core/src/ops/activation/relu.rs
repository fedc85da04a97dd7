//! `torch.nn.functional.relu`.

use crate::{float::Float, ops::elementwise::Function};

/// `max(x, 0)`; keeps NaN and -0.0. Saves its result.
#[derive(Clone, Copy, Debug)]
pub struct Relu;

impl Function for Relu {
    const NAME: &'static str = "relu";
    const FLOPS: usize = 1;

    fn new(_: &[f64]) -> Self {
        Self
    }

    #[inline(always)]
    fn forward<F: Float>(self, x: F) -> F {
        if x < F::of(0.0) { F::of(0.0) } else { x }
    }

    #[inline(always)]
    fn backward<F: Float>(self, grad: F, result: F) -> F {
        if result <= F::of(0.0) { F::of(0.0) } else { grad }
    }
}
