//! `torch.erf`.

use crate::{float::Float, ops::elementwise::Function};

/// The error function. Saves its input.
#[derive(Clone, Copy, Debug)]
pub struct Erf;

impl Function for Erf {
    const NAME: &'static str = "erf";
    const FLOPS: usize = 34;

    fn new(_: &[f64]) -> Self {
        Self
    }

    #[inline(always)]
    fn forward<F: Float>(self, x: F) -> F {
        x.erf()
    }

    #[inline(always)]
    fn forward_half<F: Float>(self, x: F) -> F {
        x.erf_half()
    }

    #[inline(always)]
    fn backward<F: Float>(self, grad: F, x: F) -> F {
        F::of(core::f64::consts::FRAC_2_SQRT_PI) * (-(x * x)).exp_fast() * grad
    }
}
