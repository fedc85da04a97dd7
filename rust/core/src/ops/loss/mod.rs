//! Losses.

pub mod cross_entropy;

/// What becomes of the elements' losses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reduction {
    None,
    Mean,
    Sum,
}

impl Reduction {
    /// From torch's number.
    fn of(number: f64) -> Option<Self> {
        [Self::None, Self::Mean, Self::Sum]
            .into_iter()
            .find(|&reduction| f64::from(reduction as u8) == number)
    }
}
