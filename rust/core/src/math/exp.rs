//! `e^x` and `e^x - 1`.

use super::lane::{clamp_f32, clamp_f64};

/// Adding this to `|n| < 2^50` rounds to an integer and leaves `n + 1023`, a biased exponent, in the low bits.
pub(super) const SHIFT: f64 = 6_755_399_441_055_744.0 + 1023.0;

/// `x = n ln 2 + r`, `|r| <= ln(2) / 2`: returns `(r, 2^n)`. For `-1022 <= n <= 1023`.
#[inline(always)]
fn reduce_wide(x: f64) -> (f64, f64) {
    let t = x.mul_add(core::f64::consts::LOG2_E, SHIFT);
    let n = t - SHIFT;
    (
        n.mul_add(-core::f64::consts::LN_2, x),
        f64::from_bits(t.to_bits() << 52),
    )
}

/// `e^x` to 29 bits for `|x| < 700`, for `f32` results. Minimax polynomial of degree 6 (Remez).
#[inline(always)]
pub(super) fn exp_wide(x: f64) -> f64 {
    let (r, scale) = reduce_wide(x);
    let p = 0.0013838482774120643_f64
        .mul_add(r, 0.008374861667443724)
        .mul_add(r, 0.041668203283770855)
        .mul_add(r, 0.16666419624854864)
        .mul_add(r, 0.4999999214780521)
        .mul_add(r, 1.0000000364433226)
        .mul_add(r, 1.0000000005517264);
    p * scale
}

/// `e^x - 1` to a relative error of `2^-31`, for `|x| < 700`. Minimax polynomial (Remez).
#[inline(always)]
pub(super) fn expm1_wide(x: f64) -> f64 {
    let (r, scale) = reduce_wide(x);
    let q = 0.00019847220798825202_f64
        .mul_add(r, 0.0013940676963878208)
        .mul_add(r, 0.008333388068481683)
        .mul_add(r, 0.04166636039653686)
        .mul_add(r, 0.16666666370577798)
        .mul_add(r, 0.5000000044204069);
    scale.mul_add((r * r).mul_add(q, r), scale - 1.0)
}

/// `e^x`: Cody-Waite reduction and a minimax polynomial in `f64`. Maximum error 0.529 ulp.
///
/// `exp(±0) = 1`, `exp(-∞) = 0`, `exp(∞) = ∞`.
#[inline(always)]
pub fn exp_f32(x: f32) -> f32 {
    // Outside these bounds the result is 0 or infinity in `f32`.
    exp_wide(clamp_f32(x, -104.0, 89.0) as f64) as f32
}

/// `ln 2` in two parts, from FreeBSD's `e_exp.c`: the product of the first with an exponent is exact.
pub(super) const LN2_HI: f64 = 6.93147180369123816490e-01;
pub(super) const LN2_LO: f64 = 1.90821492927058770002e-10;

/// As [`SHIFT`], with `n + 2046`: the sum of two biased exponents.
const SHIFT_TWICE: f64 = 6_755_399_441_055_744.0 + 2046.0;

/// `(e^r - 1 - r - r²/2) / r³` for `|r| <= ln(2) / 2`. Minimax polynomial (Remez).
#[inline(always)]
fn exp_tail(r: f64) -> f64 {
    2.084087141856146e-09_f64
        .mul_add(r, 2.5111298408111798e-08)
        .mul_add(r, 2.7557519131874846e-07)
        .mul_add(r, 2.7557237307512645e-06)
        .mul_add(r, 2.4801587032853455e-05)
        .mul_add(r, 0.00019841269893486132)
        .mul_add(r, 0.0013888888889030167)
        .mul_add(r, 0.00833333333331847)
        .mul_add(r, 0.041666666666666415)
        .mul_add(r, 0.1666666666666668)
}

/// `e^x` for `x <= 0`, to a relative error of `2^-51`; 0 where that is below `e^-700`. NaN for NaN.
#[inline(always)]
pub fn exp_term_f64(x: f64) -> f64 {
    let t = x.mul_add(core::f64::consts::LOG2_E, SHIFT);
    let n = t - SHIFT;
    let r = n.mul_add(-LN2_LO, n.mul_add(-LN2_HI, x));
    let square = r * r;
    let p = r + square.mul_add(0.5, square * r * exp_tail(r));
    let scale = f64::from_bits(t.to_bits() << 52);
    let power = p.mul_add(scale, scale);
    if x < -700.0 { 0.0 } else { power }
}

/// `e^(x + tail) = 2^n (hi + lo)` to 60 bits, for `|x| < 800` and a tail below the last place of `x`: `(n, hi, lo)`,
/// with `n` plus [`SHIFT_TWICE`].
///
/// The terms up to `r²/2` are summed without error.
#[inline(always)]
pub(super) fn exp_parts(x: f64, tail: f64) -> (f64, f64, f64) {
    let t = x.mul_add(core::f64::consts::LOG2_E, SHIFT_TWICE);
    let n = t - SHIFT_TWICE;
    let exact = n.mul_add(-LN2_HI, x);
    let rest = n.mul_add(-LN2_LO, tail);
    let r = exact + rest;
    let r_lo = rest - (r - exact);
    let p = exp_tail(r);
    let one = 1.0 + r;
    let one_lo = r_lo.mul_add(one, r - (one - 1.0));
    let square = r * r;
    let half = 0.5 * square;
    let hi = one + half;
    let lo = half - (hi - one) + 0.5_f64.mul_add(r.mul_add(r, -square), one_lo);
    (t, hi, (r * square).mul_add(p, lo))
}

/// `2^n (hi + lo)` for the parts of [`exp_parts`], rounded once, subnormal or not.
#[inline(always)]
pub(super) fn scale_parts(t: f64, hi: f64, lo: f64) -> f64 {
    let bits = t.to_bits();
    // 2^(-1022 - n): adding it leaves in the sum the digits that a subnormal result has.
    let subnormal = f64::from_bits((0x7ff0_u64 << 48).wrapping_sub(bits << 52));
    let round = if (t - SHIFT_TWICE) + hi < -1021.0 {
        subnormal
    } else {
        0.0
    };
    let sum = round + hi;
    let y = (sum + ((hi - (sum - round)) + lo)) - round;
    // 2^n itself can be out of range.
    let first = bits >> 1;
    y * f64::from_bits(first << 52) * f64::from_bits(bits.wrapping_sub(first) << 52)
}

/// `(e^x - 1) / 2` as an unevaluated sum, for `x < 710`: the second part is below a quarter of the first.
#[inline(always)]
pub(super) fn half_expm1_parts(x: f64) -> (f64, f64) {
    let t = x.mul_add(core::f64::consts::LOG2_E, SHIFT - 1.0);
    let n = t - (SHIFT - 1.0);
    let scale = f64::from_bits(t.to_bits() << 52);
    let exact = n.mul_add(-LN2_HI, x);
    let r = n.mul_add(-LN2_LO, exact);
    let r_lo = n.mul_add(-LN2_LO, exact - r);
    let q = 2.0877685754860365e-09_f64
        .mul_add(r, 2.5109014771299726e-08)
        .mul_add(r, 2.755739576401731e-07)
        .mul_add(r, 2.7557244279671574e-06)
        .mul_add(r, 2.4801587179697363e-05)
        .mul_add(r, 0.00019841269886050644)
        .mul_add(r, 0.0013888888888959206)
        .mul_add(r, 0.008333333333321662)
        .mul_add(r, 0.04166666666666651)
        .mul_add(r, 0.16666666666666677)
        .mul_add(r, 0.5);
    let v = (r * r).mul_add(q, r_lo.mul_add(r, r_lo));
    let one = scale - 0.5;
    let v_one = one - scale;
    let one_lo = (scale - (one - v_one)) - (0.5 + v_one);
    let hi = scale.mul_add(r, one);
    let lo = scale.mul_add(r, one - hi);
    (hi, scale.mul_add(v, lo + one_lo))
}

/// `e^x`: Cody-Waite reduction, and a polynomial whose leading terms carry their rounding errors. Largest error in 10000
/// samples 0.52 ulp.
///
/// `exp(±0) = 1`, `exp(-∞) = 0`, `exp(∞) = ∞`.
#[inline(always)]
pub fn exp_f64(x: f64) -> f64 {
    let (t, hi, lo) = exp_parts(clamp_f64(x, -746.0, 710.0), 0.0);
    scale_parts(t, hi, lo)
}

/// `alpha (e^x - 1)` for `x < 0`, rounded once but for what `alpha` makes of the second part.
#[inline(always)]
pub fn expm1_below_f64(x: f64, alpha: f64) -> f64 {
    let (hi, lo) = half_expm1_parts(clamp_f64(x, -40.0, 0.0));
    let twice = alpha + alpha;
    let r = hi.mul_add(twice, lo * twice);
    // Halves of the smallest numbers are not exact.
    if x > -1e-300 { x * alpha } else { r }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::math::test::{STRIDE, assert_ulp_f32, assert_ulp_f64, assert_values_f32, assert_values_f64, lanes};

    fn accuracy(stride: u32) {
        assert_ulp_f32(lanes!(exp_f32), f64::exp, 0.53, stride);
    }

    #[test]
    fn is_accurate() {
        accuracy(STRIDE);
    }

    #[test]
    #[ignore = "every f32: cargo test --release -p rusttorch-core math -- --ignored"]
    fn is_accurate_everywhere() {
        accuracy(1);
    }

    #[test]
    fn special_values() {
        assert_values_f32(
            exp_f32,
            &[
                (0.0, 1.0),
                (-0.0, 1.0),
                (-f32::INFINITY, 0.0),
                (f32::INFINITY, f32::INFINITY),
                (f32::NAN, f32::NAN),
                (89.0, f32::INFINITY),
                (-104.0, 0.0),
                (-100.0, 3.783506e-44),
            ],
        );
    }

    #[test]
    fn is_close_in_f64() {
        assert_ulp_f64(lanes!(exp_f64), f64::exp, 1.0);
        assert_ulp_f64(
            #[inline(always)]
            |x| expm1_below_f64(-x.abs(), 1.75),
            |x| 1.75 * (-x.abs()).exp_m1(),
            2.0,
        );
        assert_values_f64(
            exp_f64,
            &[
                (-f64::INFINITY, 0.0),
                (f64::INFINITY, f64::INFINITY),
                (710.0, f64::INFINITY),
                (-746.0, 0.0),
                (-0.0, 1.0),
            ],
        );
        assert_values_f64(
            |x| expm1_below_f64(x, 1.0),
            &[
                (-f64::INFINITY, -1.0),
                (-0.0, -0.0),
                (f64::NAN, f64::NAN),
                (-1e-310, -1e-310),
            ],
        );
    }

    #[test]
    fn terms_of_sums_are_close() {
        for i in 0..70_001 {
            let x = f64::from(i) * -0.01 - f64::from(i % 7) * 1e-5;
            let (found, want) = (exp_term_f64(x), x.exp());
            assert!(
                (found - want).abs() <= want * 2.0_f64.powi(-51) || x < -700.0,
                "e^{x}: {found:e}"
            );
        }
        assert!(exp_term_f64(0.0) == 1.0 && exp_term_f64(-800.0) == 0.0 && exp_term_f64(f64::NEG_INFINITY) == 0.0);
        assert!(exp_term_f64(f64::NAN).is_nan());
    }
}
