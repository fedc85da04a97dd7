//! `torch.nn.functional.dropout`.

use super::{Chance, Fate};
use crate::{
    dtype::{Element, nearest},
    float::Float,
    ops::elementwise::number,
};

/// `x / (1 - p)`, or `0 x` with the probability `p` (0.5). Saves which elements are kept.
///
/// As in torch, an element is kept where a uniform number of 53 bits is less than `1 - p`, and `1 / (1 - p)` and the product
/// are each rounded to the element type.
#[derive(Clone, Copy, Debug)]
pub struct Dropout;

/// The probability with which elements are dropped, if it is neither 0 nor 1, at which torch draws nothing.
pub(super) fn between(numbers: &[f64]) -> Result<(), &'static str> {
    let p = number(numbers, 0, 0.5);
    if p > 0.0 && p < 1.0 {
        Ok(())
    } else {
        Err("p is not between 0 and 1")
    }
}

impl Chance for Dropout {
    const NAME: &'static str = "dropout";

    fn accepts(numbers: &[f64]) -> Result<(), &'static str> {
        between(numbers)
    }

    fn kept(numbers: &[f64]) -> f64 {
        1.0 - number(numbers, 0, 0.5)
    }

    fn fate<T: Element>(numbers: &[f64]) -> Fate<T::Lane> {
        let factor = T::Lane::of(1.0) / T::Lane::of(Self::kept(numbers));
        Fate::Scaled([T::Lane::of(0.0), nearest::<T>(factor)])
    }
}

#[cfg(test)]
mod tests {
    use half::bf16;

    use super::*;
    use crate::{
        isa::Isa,
        kernel::{Exec, RandomKernel},
        ops::random::Random,
        parallel::Serial,
    };

    const KERNEL: Random<Dropout> = Random::NEW;

    #[test]
    fn nothing_is_hidden_by_zero_and_halves_round_twice() {
        let exec = Exec::new(Isa::detect(), &Serial);
        let (src, mask) = ([f32::NAN, f32::INFINITY, -2.0, -2.0], [0, 0, 0, 1]);
        let mut gradient = [0.0_f32; 4];
        KERNEL.backward(&exec, (&src[..]).into(), &mask, (&mut gradient[..]).into(), 1, &[0.5]);
        assert!(gradient[0].is_nan() && gradient[1].is_nan());
        assert_eq!(gradient[2].to_bits(), (-0.0_f32).to_bits());
        assert_eq!(gradient[3], -4.0);
        let (src, mut half) = ([bf16::from_f32(3.0)], [bf16::ZERO]);
        KERNEL.backward(&exec, (&src[..]).into(), &[1], (&mut half[..]).into(), 1, &[0.1]);
        let factor = bf16::from_f32(1.0 / 0.9).to_f32();
        assert_eq!(half[0], bf16::from_f32(3.0 * factor));
    }

    #[test]
    fn probabilities_at_the_ends_are_refused() {
        for p in [0.0, 1.0, -0.5, 1.5, f64::NAN] {
            assert!(KERNEL.accepts(&[p]).is_err());
        }
        assert!(KERNEL.accepts(&[0.5]).is_ok());
    }
}
