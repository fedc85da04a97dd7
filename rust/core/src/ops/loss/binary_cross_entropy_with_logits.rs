//! `torch.nn.functional.binary_cross_entropy_with_logits`.

use super::pointwise::{Loss, Third};
use crate::float::Float;

/// `-(p target ln(s) + (1 - target) ln(1 - s))` with `s = 1 / (1 + exp(-x))`. Operands after the target: a weight, and
/// the factor `p`.
#[derive(Clone, Copy, Debug)]
pub struct BinaryCrossEntropyWithLogits;

impl Loss for BinaryCrossEntropyWithLogits {
    const NAME: &'static str = "binary_cross_entropy_with_logits";
    const FLOPS: usize = 36;
    const THIRD: Third = Third::Factor;
    const WEIGHTED: bool = true;
    const GRADIENTS: usize = 1;

    fn new(_: &[f64]) -> Self {
        Self
    }

    /// The logarithm of the smaller probability alone, with what remains of both in closed form: nothing cancels.
    #[inline(always)]
    #[allow(clippy::eq_op)]
    fn loss<F: Float>(self, x: F, target: F, factor: F) -> F {
        let one = F::of(1.0);
        let both = (factor - one).mul_add(target, one);
        let rest = if x > F::of(0.0) {
            (one - target) * x
        } else {
            // The difference is 0, or NaN at minus infinity, as is torch's loss there.
            (x - x) - factor * target * x
        };
        (-x.abs()).softplus().mul_add(both, rest)
    }

    #[inline(always)]
    fn gradient<F: Float, const OF: usize>(self, grad: F, x: F, target: F, factor: F) -> F {
        let (yes, no) = x.sigmoid_pair();
        ((F::of(1.0) - target) * yes - factor * target * no) * grad
    }
}
