//! `torch.nn.functional.alpha_dropout`.

use super::{Chance, Fate, dropout::between};
use crate::{
    dtype::{Element, nearest},
    float::Float,
    ops::elementwise::number,
};

/// `a x + b`, or `0 x + b - a alpha` with the probability `p` (0.5), where `alpha = 1.758...` is minus the value that SELU
/// approaches, `a = ((1 + alpha^2 p) (1 - p))^-1/2` and `b = a alpha p`: mean 0 and variance 1 stay what they are. Saves
/// which elements are kept.
///
/// G. Klambauer et al., Self-Normalizing Neural Networks, <https://arxiv.org/abs/1706.02515>. As in torch, what elements
/// are multiplied by, what is added, and the product are each rounded to the element type, and so is each step on the way.
#[derive(Clone, Copy, Debug)]
pub struct AlphaDropout;

const ALPHA: f64 = 1.758_099_340_847_376_6;

impl Chance for AlphaDropout {
    const NAME: &'static str = "alpha_dropout";

    fn accepts(numbers: &[f64]) -> Result<(), &'static str> {
        between(numbers)
    }

    fn kept(numbers: &[f64]) -> f64 {
        1.0 - number(numbers, 0, 0.5)
    }

    fn fate<T: Element>(numbers: &[f64]) -> Fate<T::Lane> {
        let p = number(numbers, 0, 0.5);
        let a = 1.0 / ((ALPHA * ALPHA * p + 1.0) * (1.0 - p)).sqrt();
        let (scale, factor, shift) = (T::Lane::of(a), T::Lane::of(ALPHA * a), T::Lane::of(ALPHA * a * p));
        Fate::Shifted(
            [T::Lane::of(0.0), nearest::<T>(scale)],
            [-1.0, 0.0].map(|noise| nearest::<T>(nearest::<T>(T::Lane::of(noise) * factor) + nearest::<T>(shift))),
        )
    }
}

#[cfg(test)]
mod tests {
    use half::f16;

    use super::*;

    #[test]
    fn mean_and_variance_are_kept() {
        for p in [0.01, 0.3, 0.9] {
            let Fate::Shifted([zero, a], [dropped, kept]) = AlphaDropout::fate::<f64>(&[p]) else {
                panic!("an affine fate")
            };
            // Of numbers whose mean is 0 and whose variance is 1.
            let mean = p * dropped + (1.0 - p) * kept;
            let variance = p * dropped * dropped + (1.0 - p) * (a * a + kept * kept);
            assert_eq!(zero, 0.0);
            assert!(
                mean.abs() < 1e-14 && (variance - 1.0).abs() < 1e-14,
                "{mean} {variance}"
            );
        }
    }

    #[test]
    fn halves_round_at_every_step() {
        let Fate::Shifted([_, a], [dropped, kept]) = AlphaDropout::fate::<f16>(&[0.3]) else {
            panic!("an affine fate")
        };
        let round = |x: f32| f16::from_f32(x).to_f32();
        let exact = 1.0 / ((ALPHA * ALPHA * 0.3 + 1.0) * 0.7).sqrt();
        assert_eq!(a, round(exact as f32));
        assert_eq!(kept, round((ALPHA * exact * 0.3) as f32));
        assert_eq!(dropped, round(kept - round((ALPHA * exact) as f32)));
    }
}
