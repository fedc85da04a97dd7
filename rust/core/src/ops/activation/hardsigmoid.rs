//! `torch.nn.functional.hardsigmoid`.

use crate::{
    float::Float,
    ops::{activation::relu6, elementwise::Function},
};

/// `min(max(x + 3, 0), 6) / 6`. Saves its input.
#[derive(Clone, Copy, Debug)]
pub struct Hardsigmoid;

impl Function for Hardsigmoid {
    const NAME: &'static str = "hardsigmoid";
    const FLOPS: usize = 4;

    fn new(_: &[f64]) -> Self {
        Self
    }

    #[inline(always)]
    fn forward<F: Float>(self, x: F) -> F {
        relu6(x + F::of(3.0)) / F::of(6.0)
    }

    #[inline(always)]
    fn backward<F: Float>(self, grad: F, x: F) -> F {
        let inside = (x > F::of(-3.0)) & (x < F::of(3.0));
        // torch's sixth is single precision in every type.
        if inside {
            grad * F::of(f64::from(1.0_f32 / 6.0))
        } else {
            F::of(0.0)
        }
    }
}
