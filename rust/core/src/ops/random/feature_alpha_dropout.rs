//! `torch.nn.functional.feature_alpha_dropout`.

use super::{Chance, Fate, alpha_dropout::AlphaDropout};
use crate::dtype::Element;

/// As [`AlphaDropout`], of whole channels.
#[derive(Clone, Copy, Debug)]
pub struct FeatureAlphaDropout;

impl Chance for FeatureAlphaDropout {
    const NAME: &'static str = "feature_alpha_dropout";
    const FEATURES: bool = true;

    fn accepts(numbers: &[f64]) -> Result<(), &'static str> {
        AlphaDropout::accepts(numbers)
    }

    fn kept(numbers: &[f64]) -> f64 {
        AlphaDropout::kept(numbers)
    }

    fn fate<T: Element>(numbers: &[f64]) -> Fate<T::Lane> {
        AlphaDropout::fate::<T>(numbers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{kernel::RandomKernel, ops::random::Random};

    #[test]
    fn channels_are_of_the_first_two_dimensions() {
        let kernel = Random::<FeatureAlphaDropout>::NEW;
        assert_eq!(kernel.each(&[2, 3, 4, 5]), Ok(Some(20)));
        assert_eq!(kernel.each(&[2, 3]), Ok(Some(1)));
        assert!(kernel.each(&[2]).is_err());
        assert!(kernel.accepts(&[0.5]).is_ok() && kernel.accepts(&[1.0]).is_err());
        assert_eq!(Random::<AlphaDropout>::NEW.each(&[2, 3, 4]), Ok(None));
    }
}
