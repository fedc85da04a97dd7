//! `torch.feature_dropout`, which `torch.nn.functional.dropout2d` and its kin call.

use super::{Chance, Fate, dropout::Dropout};
use crate::dtype::Element;

/// As [`Dropout`], of whole channels.
#[derive(Clone, Copy, Debug)]
pub struct FeatureDropout;

impl Chance for FeatureDropout {
    const NAME: &'static str = "feature_dropout";
    const FEATURES: bool = true;

    fn accepts(numbers: &[f64]) -> Result<(), &'static str> {
        Dropout::accepts(numbers)
    }

    fn kept(numbers: &[f64]) -> f64 {
        Dropout::kept(numbers)
    }

    fn fate<T: Element>(numbers: &[f64]) -> Fate<T::Lane> {
        Dropout::fate::<T>(numbers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{kernel::RandomKernel, ops::random::Random};

    #[test]
    fn channels_are_of_the_first_two_dimensions() {
        let kernel = Random::<FeatureDropout>::NEW;
        assert_eq!(kernel.each(&[2, 3, 4, 5]), Ok(Some(20)));
        assert_eq!(kernel.each(&[2, 3]), Ok(Some(1)));
        assert!(kernel.each(&[2]).is_err());
        assert!(kernel.accepts(&[0.5]).is_ok() && kernel.accepts(&[1.0]).is_err());
        assert_eq!(Random::<Dropout>::NEW.each(&[2, 3, 4]), Ok(None));
    }
}
