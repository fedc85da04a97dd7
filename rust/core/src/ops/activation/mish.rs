//! `torch.nn.functional.mish`.

use crate::{float::Float, ops::elementwise::Function};

/// `x * tanh(ln(1 + exp(x)))`, as `x * n / (n + 2)` with `n = exp(x) * (exp(x) + 2)`. Saves its input.
#[derive(Clone, Copy, Debug)]
pub struct Mish;

impl Function for Mish {
    const NAME: &'static str = "mish";
    const FLOPS: usize = 21;

    fn new(_: &[f64]) -> Self {
        Self
    }

    #[inline(always)]
    fn forward<F: Float>(self, x: F) -> F {
        x * x.tanh_softplus().0
    }

    #[inline(always)]
    fn backward<F: Float>(self, grad: F, x: F) -> F {
        let (tanh, e, n) = x.tanh_softplus();
        let two = n + F::of(2.0);
        let sech2 = F::of(4.0) * (n + F::of(1.0)) / (two * two);
        // The last term is NaN for an infinity, as torch's product of infinity and zero.
        grad * (x * (e / (e + F::of(1.0))) * sech2 + tanh + x * F::of(0.0))
    }
}
