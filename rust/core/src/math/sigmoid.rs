//! The logistic function and its integral.

use super::exp::{exp_parts, scale_parts};
use super::lane::clamp_f64;
use super::log::ln_1p_parts_f64;

/// `e^x` for `x <= 0`, and what rounding it left; the latter is lost, and does not matter, in a subnormal result.
#[inline(always)]
fn exp_and_rest(x: f64) -> (f64, f64) {
    let (n, hi, lo) = exp_parts(clamp_f64(x, -746.0, 0.0), 0.0);
    let sum = hi + lo;
    (scale_parts(n, hi, lo), scale_parts(n, 1.0, 0.0) * (lo - (sum - hi)))
}

/// `1 / (1 + e^-x)`, as `e^x / (1 + e^x)` for a negative `x`; all parts keep their rounding errors. Largest error in 10000
/// samples 0.72 ulp, in both tails.
///
/// `sigmoid(-∞) = 0`, `sigmoid(∞) = 1`.
#[inline(always)]
pub fn sigmoid_f64(x: f64) -> f64 {
    let (e, e_lo) = exp_and_rest(-x.abs());
    let d = 1.0 + e;
    let d_lo = (e - (d - 1.0)) + e_lo;
    let reciprocal = 1.0 / d;
    let (numerator, numerator_lo) = if x < 0.0 { (e, e_lo) } else { (1.0, 0.0) };
    let q = numerator * reciprocal;
    let rest = (-q).mul_add(d_lo, (-q).mul_add(d, numerator) + numerator_lo);
    rest.mul_add(reciprocal, q)
}

/// `ln(1 + e^x) = max(x, 0) + ln(1 + e^-|x|)`. Largest error in 10000 samples 0.59 ulp.
/// `logsigmoid(x) = -softplus0(-x)`.
///
/// `softplus0(-∞) = 0`, `softplus0(∞) = ∞`.
#[inline(always)]
pub fn softplus0_f64(x: f64) -> f64 {
    let positive = if x > 0.0 { x } else { 0.0 };
    let (w, w_lo) = exp_and_rest(-x.abs());
    let (ln, ln_lo) = ln_1p_parts_f64(w, w_lo);
    let sum = positive + ln;
    let v = sum - positive;
    let r = sum + ((positive - (sum - v)) + (ln - v) + ln_lo);
    if x < f64::INFINITY { r } else { x }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::math::test::{assert_ulp_f64, assert_values_f64, lanes};

    fn sigmoid(x: f64) -> f64 {
        1.0 / (1.0 + (-x).exp())
    }

    #[test]
    fn is_close_in_f64() {
        assert_ulp_f64(
            lanes!(sigmoid_f64),
            |x| if x < -40.0 { x.exp() } else { sigmoid(x) },
            4.0,
        );
        assert_values_f64(
            sigmoid_f64,
            &[
                (-f64::INFINITY, 0.0),
                (f64::INFINITY, 1.0),
                (f64::NAN, f64::NAN),
                (-740.0, 4.2e-322),
                (-36.5, 1.4068617124461467e-16),
                (-1.0, 0.2689414213699951),
                (0.3, 0.574442516811659),
            ],
        );
        assert_values_f64(
            softplus0_f64,
            &[
                (-f64::INFINITY, 0.0),
                (f64::INFINITY, f64::INFINITY),
                (f64::NAN, f64::NAN),
                (-740.0, 4.2e-322),
                (-36.5, 1.4068617124461467e-16),
                (-1.0, 0.3132616875182228),
                (-0.1, 0.6443966600735709),
                (0.0, core::f64::consts::LN_2),
                (0.3, 0.8543552444685271),
                (20.0, 20.000000002061153),
                (1000000000.0, 1000000000.0),
            ],
        );
    }
}
