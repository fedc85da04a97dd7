//! `torch.nn.functional.binary_cross_entropy`.

use super::pointwise::Loss;
use crate::float::Float;

/// `-(target ln(x) + (1 - target) ln(1 - x))` for probabilities `x`, the logarithms being -100 at least. Operands after the
/// target: a weight.
#[derive(Clone, Copy, Debug)]
pub struct BinaryCrossEntropy;

/// As torch's, which keeps the loss of certainties finite.
const LEAST: f64 = -100.0;
/// As torch's, which keeps their gradients finite.
const EPSILON: f64 = 1e-12_f32 as f64;

impl Loss for BinaryCrossEntropy {
    const NAME: &'static str = "binary_cross_entropy";
    const FLOPS: usize = 44;
    const WEIGHTED: bool = true;
    const GRADIENTS: usize = 1;
    const PICKY: bool = true;

    fn new(_: &[f64]) -> Self {
        Self
    }

    #[inline(always)]
    fn takes<F: Float>(self, x: F, _: F, _: F) -> bool {
        (x >= F::of(0.0)) & (x <= F::of(1.0))
    }

    #[inline(always)]
    fn loss<F: Float>(self, x: F, target: F, _: F) -> F {
        let least = F::of(LEAST);
        let (yes, no) = (x.ln().larger(least), (-x).ln_1p().larger(least));
        (target - F::of(1.0)) * no - target * yes
    }

    #[inline(always)]
    fn gradient<F: Float, const OF: usize>(self, grad: F, x: F, target: F, _: F) -> F {
        grad * (x - target) / ((F::of(1.0) - x) * x).larger(F::of(EPSILON))
    }
}
