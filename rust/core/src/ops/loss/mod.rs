//! Losses.

pub mod binary_cross_entropy;
pub mod binary_cross_entropy_with_logits;
pub mod cross_entropy;
pub mod gaussian_nll_loss;
pub mod huber_loss;
pub mod kl_div;
pub mod l1_loss;
pub mod mse_loss;
pub mod pointwise;
pub mod poisson_nll_loss;
pub mod smooth_l1_loss;

use crate::float::Float;

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

/// 1, -1, or 0 of neither a positive nor a negative number.
#[inline(always)]
fn sign<F: Float>(x: F) -> F {
    let zero = F::of(0.0);
    let not_positive = if x < zero { F::of(-1.0) } else { zero };
    if x > zero { F::of(1.0) } else { not_positive }
}

/// `inside` where `|x| < limit`, else `slope` with the sign of `x`; of NaN, `inside`.
#[inline(always)]
fn clipped<F: Float>(x: F, limit: F, inside: F, slope: F) -> F {
    let below = if x <= -limit { -slope } else { inside };
    if x >= limit { slope } else { below }
}
