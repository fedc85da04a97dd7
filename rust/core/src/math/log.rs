//! `ln(x)` and `ln(1 + x)`.

use super::exp::{LN2_HI as LN2_HI_F64, LN2_LO as LN2_LO_F64};
use super::lane::{or_sign_f32, or_sign_f64};

/// 355/512 and what remains of `ln 2`: the product of the first with an exponent is exact.
const LN2_HI: f32 = 0.693_359_375;
const LN2_LO: f32 = -2.121_944_4e-4;

/// The multiple of `2^23` that takes the bits of `x` to those of a significand in `[2/3, 4/3)`.
#[inline(always)]
fn exponent_bits(x: f32) -> u32 {
    x.to_bits().wrapping_sub(0x3f2a_aaab) & 0xff80_0000
}

/// `k ln 2 + ln(1 + f + f_lo)`, `|f| <= 1/3`. Minimax polynomial (Remez); the large terms are summed without error.
#[inline(always)]
fn combine(k: f32, f: f32, f_lo: f32) -> f32 {
    let linear = k.mul_add(LN2_HI, f);
    let linear_lo = k.mul_add(LN2_LO, f - k.mul_add(-LN2_HI, linear));
    let square = f * f;
    let half = -0.5 * square;
    let hi = linear + half;
    let half_lo = (-0.5_f32).mul_add(f.mul_add(f, -square), half - (hi - linear));
    // The derivative 1 / (1 + f) to first order is enough for the tail.
    let lo = f_lo.mul_add(1.0 - f, linear_lo + half_lo);
    let p = (-0.1288838575959426_f32)
        .mul_add(f, 0.13985092841462152)
        .mul_add(f, -0.12184929427210675)
        .mul_add(f, 0.1400574504200735)
        .mul_add(f, -0.16680445573397207)
        .mul_add(f, 0.20010413080041414)
        .mul_add(f, -0.24999798472840973)
        .mul_add(f, 0.33333215858392556);
    hi + (f * square).mul_add(p, lo)
}

/// `x = 2^k (1 + f)` for a positive finite `x`: `(k, f)`, both exact, `-1/3 <= f < 1/3`.
#[inline(always)]
pub(super) fn split_f32(x: f32) -> (f32, f32) {
    let subnormal = x < f32::MIN_POSITIVE;
    let normal = if subnormal { x * 8_388_608.0 } else { x };
    let e = exponent_bits(normal);
    let k = (e as i32 as f32).mul_add(1.0 / 8_388_608.0, if subnormal { -23.0 } else { 0.0 });
    (k, f32::from_bits(normal.to_bits().wrapping_sub(e)) - 1.0)
}

/// `ln(x)`, with `x = 2^k (1 + f)` and a polynomial in `f` as in Cephes `logf`. Maximum error 0.643 ulp.
///
/// `ln(±0) = -∞`, `ln(x < 0)` is NaN, `ln(∞) = ∞`.
#[inline(always)]
pub fn ln_f32(x: f32) -> f32 {
    let (k, f) = split_f32(x);
    with_limits(x, combine(k, f, 0.0))
}

/// `ln(1 + f) / f` to `2^-22` for `|f| <= 1/3`. Minimax polynomial (iteratively reweighted least squares).
#[inline(always)]
pub(super) fn ln_quotient_half(f: f32) -> f32 {
    let f2 = f * f;
    (-0.153_656_78_f32)
        .mul_add(f, 0.171_111_8)
        .mul_add(f2, (-0.164_200_9_f32).mul_add(f, 0.197_950_38))
        .mul_add(f2, (-0.250_076_2_f32).mul_add(f, 0.333_379_9))
        .mul_add(f2, (-0.499_999_37_f32).mul_add(f, 0.999_999_8))
}

/// [`ln_f32`] for results of half precision.
#[inline(always)]
pub fn ln_half_f32(x: f32) -> f32 {
    let (k, f) = split_f32(x);
    with_limits(x, k.mul_add(core::f32::consts::LN_2, f * ln_quotient_half(f)))
}

/// The logarithm of any `x`, from what was found for it as a positive finite number.
#[inline(always)]
fn with_limits(x: f32, ln: f32) -> f32 {
    let r = if x < f32::INFINITY { ln } else { x };
    let at_most_zero = if x == 0.0 { f32::NEG_INFINITY } else { f32::NAN };
    if x > 0.0 { r } else { at_most_zero }
}

/// `ln(1 + x)`: the exponent of `1 + x` scales `x` and `1` apart, as in N. Juffa's `log1pf`; their sum keeps its tail.
/// Maximum error 0.717 ulp.
///
/// `ln_1p(±0) = ±0`, `ln_1p(-1) = -∞`, `ln_1p(x < -1)` is NaN, `ln_1p(∞) = ∞`.
#[inline(always)]
pub fn ln_1p_f32(x: f32) -> f32 {
    let e = exponent_bits(1.0 + x);
    let k = (e as i32 as f32) * (1.0 / 8_388_608.0);
    let m = f32::from_bits(x.to_bits().wrapping_sub(e));
    // 2^(2 - k), since 2^-k itself can be subnormal.
    let b = f32::from_bits(4.0_f32.to_bits().wrapping_sub(e)).mul_add(0.25, -1.0);
    let f = m + b;
    let v = f - m;
    let f_lo = (m - (f - v)) + (b - v);
    let r = or_sign_f32(combine(k, f, f_lo), x);
    let r = if x < f32::INFINITY { r } else { x };
    let at_most_minus_one = if x == -1.0 { f32::NEG_INFINITY } else { f32::NAN };
    if x > -1.0 { r } else { at_most_minus_one }
}

/// As [`exponent_bits`], of `2^52`.
#[inline(always)]
fn exponent_bits_f64(x: f64) -> u64 {
    x.to_bits().wrapping_sub(0x3fe5_5555_5555_5555) & (0xfff << 52)
}

/// The number whose multiple of `2^52` this is: there is no packed conversion from `i64` before AVX-512.
#[inline(always)]
fn exponent_f64(e: u64) -> f64 {
    f64::from_bits(((e >> 52) ^ 0x800) | (0x433 << 52)) - (4_503_599_627_370_496.0 + 2048.0)
}

/// `(ln(1 + f) - f + f²/2) / f³` for the `f` of [`split_f64`]. Minimax polynomial (Remez).
#[inline(always)]
fn ln_tail_f64(f: f64) -> f64 {
    (-0.08328995204290901_f64)
        .mul_add(f, 0.08496799325504602)
        .mul_add(f, -0.03842033597171122)
        .mul_add(f, 0.04177165081675404)
        .mul_add(f, -0.05746337179369382)
        .mul_add(f, 0.06051314826471941)
        .mul_add(f, -0.06230749610493545)
        .mul_add(f, 0.06650720240702138)
        .mul_add(f, -0.07144103597077964)
        .mul_add(f, 0.0769326080099472)
        .mul_add(f, -0.08333281178781535)
        .mul_add(f, 0.09090872942777989)
        .mul_add(f, -0.10000001377087933)
        .mul_add(f, 0.11111111954046575)
        .mul_add(f, -0.124999999784094)
        .mul_add(f, 0.14285714274489814)
        .mul_add(f, -0.16666666666843705)
        .mul_add(f, 0.20000000000073354)
        .mul_add(f, -0.24999999999999445)
        .mul_add(f, 0.3333333333333317)
}

/// `ln(x)` for a positive finite `x` that is not subnormal, to an error of `2^-51`, or a part of that of the logarithm.
#[inline(always)]
pub fn ln_sum_f64(x: f64) -> f64 {
    let e = exponent_bits_f64(x);
    let (k, f) = (exponent_f64(e), f64::from_bits(x.to_bits().wrapping_sub(e)) - 1.0);
    let square = f * f;
    let rest = (square * f).mul_add(ln_tail_f64(f), k * LN2_LO_F64) - 0.5 * square;
    k.mul_add(LN2_HI_F64, f + rest)
}

/// As [`combine`], as an unevaluated sum, with the square as well summed without error.
#[inline(always)]
fn combine_parts_f64(k: f64, f: f64, f_lo: f64) -> (f64, f64) {
    let linear = k.mul_add(LN2_HI_F64, f);
    let linear_lo = k.mul_add(LN2_LO_F64, f - k.mul_add(-LN2_HI_F64, linear));
    let square = f * f;
    let half = -0.5 * square;
    let hi = linear + half;
    let half_lo = (-0.5_f64).mul_add(f.mul_add(f, -square), half - (hi - linear));
    let lo = f_lo.mul_add(square - f, f_lo) + (linear_lo + half_lo);
    let p = ln_tail_f64(f);
    (hi, (f * square).mul_add(p, lo))
}

/// As [`split_f32`].
#[inline(always)]
pub(super) fn split_f64(x: f64) -> (f64, f64) {
    let subnormal = x < f64::MIN_POSITIVE;
    let normal = if subnormal { x * 18_014_398_509_481_984.0 } else { x };
    let e = exponent_bits_f64(normal);
    let k = exponent_f64(e) - if subnormal { 54.0 } else { 0.0 };
    (k, f64::from_bits(normal.to_bits().wrapping_sub(e)) - 1.0)
}

/// `ln(x)`, as [`ln_f32`]. Largest error in 10000 samples 0.58 ulp.
///
/// `ln(±0) = -∞`, `ln(x < 0)` is NaN, `ln(∞) = ∞`.
#[inline(always)]
pub fn ln_f64(x: f64) -> f64 {
    let (k, f) = split_f64(x);
    let (hi, lo) = combine_parts_f64(k, f, 0.0);
    let r = hi + lo;
    let r = if x < f64::INFINITY { r } else { x };
    let at_most_zero = if x == 0.0 { f64::NEG_INFINITY } else { f64::NAN };
    if x > 0.0 { r } else { at_most_zero }
}

/// `ln(1 + x + tail)` as an unevaluated sum, for a finite `x > -1`.
#[inline(always)]
pub(super) fn ln_1p_parts_f64(x: f64, tail: f64) -> (f64, f64) {
    let e = exponent_bits_f64(1.0 + x);
    let m = f64::from_bits(x.to_bits().wrapping_sub(e));
    let four = f64::from_bits(4.0_f64.to_bits().wrapping_sub(e));
    let b = four.mul_add(0.25, -1.0);
    let f = m + b;
    let v = f - m;
    let f_lo = (four * 0.25).mul_add(tail, (m - (f - v)) + (b - v));
    combine_parts_f64(exponent_f64(e), f, f_lo)
}

/// `ln(1 + x)`, as [`ln_1p_f32`]. Largest error in 10000 samples 0.60 ulp.
///
/// `ln_1p(±0) = ±0`, `ln_1p(-1) = -∞`, `ln_1p(x < -1)` is NaN, `ln_1p(∞) = ∞`.
#[inline(always)]
pub fn ln_1p_f64(x: f64) -> f64 {
    let (hi, lo) = ln_1p_parts_f64(x, 0.0);
    let r = or_sign_f64(hi + lo, x);
    let r = if x < f64::INFINITY { r } else { x };
    let at_most_minus_one = if x == -1.0 { f64::NEG_INFINITY } else { f64::NAN };
    if x > -1.0 { r } else { at_most_minus_one }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::math::test::{STRIDE, assert_ulp_f32, assert_ulp_f64, assert_values_f32, assert_values_f64, lanes};

    fn accuracy(stride: u32) {
        assert_ulp_f32(lanes!(ln_f32), f64::ln, 0.65, stride);
        assert_ulp_f32(lanes!(ln_1p_f32), f64::ln_1p, 0.72, stride);
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
            ln_f32,
            &[
                (1.0, 0.0),
                (0.0, -f32::INFINITY),
                (-0.0, -f32::INFINITY),
                (f32::INFINITY, f32::INFINITY),
                (f32::NAN, f32::NAN),
                (-1.0, f32::NAN),
                (-f32::INFINITY, f32::NAN),
                (1e-45, -103.27893),
            ],
        );
        assert_values_f32(
            ln_1p_f32,
            &[
                (0.0, 0.0),
                (-0.0, -0.0),
                (f32::NAN, f32::NAN),
                (-1.0, -f32::INFINITY),
                (f32::INFINITY, f32::INFINITY),
                (-1.5, f32::NAN),
                (-f32::INFINITY, f32::NAN),
                (1e-40, 1e-40),
                (-1e-40, -1e-40),
            ],
        );
    }

    #[test]
    fn is_close_in_f64() {
        assert_ulp_f64(lanes!(ln_f64), f64::ln, 1.0);
        assert_ulp_f64(lanes!(ln_1p_f64), f64::ln_1p, 2.0);
        assert_values_f64(
            ln_f64,
            &[
                (0.0, -f64::INFINITY),
                (-0.0, -f64::INFINITY),
                (f64::INFINITY, f64::INFINITY),
                (-1.0, f64::NAN),
                (1.0, 0.0),
            ],
        );
        assert_values_f64(
            ln_1p_f64,
            &[
                (0.0, 0.0),
                (-0.0, -0.0),
                (f64::NAN, f64::NAN),
                (-1.0, -f64::INFINITY),
                (f64::INFINITY, f64::INFINITY),
                (-1.5, f64::NAN),
            ],
        );
    }

    #[test]
    fn logarithms_of_sums_are_close() {
        for i in 1..100_000 {
            let i = f64::from(i);
            for x in [i * 1e-5, 1.0 + i * 1e-9, i * 37.5, (i * -0.006).exp()] {
                let (found, want) = (ln_sum_f64(x), x.ln());
                let allowed = 2.0_f64.powi(-51) * want.abs().max(1.0);
                assert!((found - want).abs() <= allowed, "ln({x}): {found}");
            }
        }
        assert!(ln_sum_f64(1.0) == 0.0);
    }
}
