//! The exponential of distances from a row's maximum, for softmax and its kin: `x <= 0`, and never NaN.
//!
//! That saves both bounds' comparisons in floating point, and the multiplication by the power of two: what is left for
//! the multiplier are nine fused multiply-adds.

use super::fast::{LN_2_HI, LN_2_LO};
use crate::float::Float;

/// What rows of exponentials need beyond [`Float`].
pub trait RowExp: Float {
    /// The power of two that [`exp_lifted`](Self::exp_lifted) multiplies by: lifted, all exponentials are normal
    /// numbers, so that a result computed from them is rounded once, and the sum of `2^63` of them is finite.
    const LIFT: Self;
    /// Zero.
    const ZERO: Self;
    /// Not a number.
    const NAN: Self;

    /// `LIFT * exp(self)` for `self <= 0`, within 1.1 ulp in `f32`; any number for a NaN.
    fn exp_lifted(self) -> Self;
    /// `ln(self) + max`, rounded once in `f32`.
    fn ln_plus(self, max: Self) -> Self;
    /// Whether it is not a number.
    fn is_nan(self) -> bool;
}

/// The exponent of [`RowExp::LIFT`] in `f32`.
const LIFT_BITS: u32 = 64;
/// `exp` of this is half of the smallest subnormal number.
const LOWEST: f32 = -104.0;
/// Adding this to `|n| < 2^22` rounds to an integer and leaves `n + LIFT_BITS` in the low bits.
const SHIFT: f32 = 12_582_912.0 + LIFT_BITS as f32;

/// `2^64 * e^x`: Cody-Waite reduction and a polynomial, whose exponent is then raised as an integer. Maximum error
/// 1.1 ulp.
#[inline(always)]
fn exp_lifted_f32(x: f32) -> f32 {
    // The bits of negative numbers are in the reverse order.
    let x = f32::from_bits(x.to_bits().min(LOWEST.to_bits()));
    let t = x.mul_add(core::f32::consts::LOG2_E, SHIFT);
    let n = t - SHIFT;
    let r = n.mul_add(-LN_2_LO, n.mul_add(-LN_2_HI, x));
    // A minimax fit, to 2^-28 for |r| <= ln(2) / 2, by iteratively reweighted least squares.
    let p = 0.001_381_459_8_f32
        .mul_add(r, 0.008_368_717)
        .mul_add(r, 0.041_668_39)
        .mul_add(r, 0.166_665_2)
        .mul_add(r, 0.499_999_94)
        .mul_add(r, 1.0)
        .mul_add(r, 1.0);
    f32::from_bits(p.to_bits().wrapping_add(t.to_bits() << 23))
}

impl RowExp for f32 {
    const LIFT: Self = (1_u128 << LIFT_BITS) as f32;
    const ZERO: Self = 0.0;
    const NAN: Self = f32::NAN;

    #[inline(always)]
    fn exp_lifted(self) -> Self {
        exp_lifted_f32(self)
    }

    #[inline(always)]
    fn ln_plus(self, max: Self) -> Self {
        (super::f64::ln(self as f64) + max as f64) as f32
    }

    #[inline(always)]
    fn is_nan(self) -> bool {
        f32::is_nan(self)
    }
}

impl RowExp for f64 {
    const LIFT: Self = 1.0;
    const ZERO: Self = 0.0;
    const NAN: Self = f64::NAN;

    #[inline(always)]
    fn exp_lifted(self) -> Self {
        super::f64::exp(self)
    }

    #[inline(always)]
    fn ln_plus(self, max: Self) -> Self {
        super::f64::ln(self) + max
    }

    #[inline(always)]
    fn is_nan(self) -> bool {
        f64::is_nan(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifted_exponentials_are_accurate_and_normal() {
        let mut worst = 0.0_f64;
        for bits in ((-0.0_f32).to_bits()..=LOWEST.to_bits()).step_by(101) {
            let x = f32::from_bits(bits);
            let (found, truth) = (exp_lifted_f32(x), (x as f64).exp() * f32::LIFT as f64);
            assert!(found.is_normal());
            worst = worst.max((found as f64 - truth).abs() / (truth.log2().floor() - 23.0).exp2());
        }
        assert!(worst <= 1.1, "{worst} ulp");
    }

    #[test]
    fn special_values() {
        assert_eq!([exp_lifted_f32(0.0), exp_lifted_f32(-0.0)], [f32::LIFT; 2]);
        let lowest = exp_lifted_f32(-f32::INFINITY) / f32::LIFT;
        assert_eq!([lowest, exp_lifted_f32(-1e30) / f32::LIFT], [0.0; 2]);
    }
}
