//! Powers.

use super::exp::{LN2_HI, LN2_LO, SHIFT, exp_parts, scale_parts};
use super::lane::clamp_f64;
use super::log::{split_f32, split_f64};

/// `log2(x)` to 38 bits for `x > 0`, and -∞ at 0, for `f32` results. Minimax polynomial (Remez).
#[inline(always)]
fn log2_wide(x: f32) -> f64 {
    let (k, f) = split_f32(x);
    let f = f as f64;
    let p = (-0.15050770506860325_f64)
        .mul_add(f, 0.15781064331206518)
        .mul_add(f, -0.11175051684765634)
        .mul_add(f, 0.12347340490682339)
        .mul_add(f, -0.145011116488648)
        .mul_add(f, 0.16090237786392725)
        .mul_add(f, -0.18030267288842228)
        .mul_add(f, 0.20607533246749557)
        .mul_add(f, -0.24044997617636077)
        .mul_add(f, 0.28853945839669043)
        .mul_add(f, -0.36067375197053)
        .mul_add(f, 0.48089834380299806)
        .mul_add(f, -0.7213475204688754)
        .mul_add(f, 1.442695040892576);
    f.mul_add(p, k as f64)
}

/// `2^x` to 29 bits for `|x| < 1000`. Minimax polynomial (Remez).
#[inline(always)]
fn exp2_wide(x: f64) -> f64 {
    let t = x + SHIFT;
    let r = x - (t - SHIFT);
    let p = 0.0001534581476261968_f64
        .mul_add(r, 0.0013399933779594956)
        .mul_add(r, 0.009618488966867778)
        .mul_add(r, 0.0555032877065771)
        .mul_add(r, 0.2402264689035318)
        .mul_add(r, 0.6931472057399021)
        .mul_add(r, 1.000000000554183);
    p * f64::from_bits(t.to_bits() << 52)
}

/// `x^y = 2^(y log2 |x|)` in `f64`, with the sign of an odd power. Maximum error 0.53 ulp.
///
/// The special values are those of C: `pow(x, 0) = pow(1, y) = 1` even for NaN, `pow(-1, ±∞) = 1`, a negative finite
/// `x` with a fractional `y` gives NaN, and a zero or infinite `x` keeps its sign only for an odd `y`.
#[inline(always)]
pub fn pow_f32(x: f32, y: f32) -> f32 {
    let a = x.abs();
    let log = log2_wide(a);
    let log = if a == 0.0 { f64::NEG_INFINITY } else { log };
    let log = if a < f32::INFINITY { log } else { a as f64 };
    let z = y as f64 * log;
    // The results at these bounds round to 0 and infinity.
    let z = if z < -152.0 { -152.0 } else { z };
    let z = if z > 130.0 { 130.0 } else { z };
    let magnitude = exp2_wide(z) as f32;

    let half = 0.5 * y;
    let fractional = y.trunc() != y;
    let odd = !fractional & (half.trunc() != half);
    let sign = if odd { x.to_bits() & (1 << 31) } else { 0 };
    let r = f32::from_bits(magnitude.to_bits() | sign);
    let r = if fractional & (x < 0.0) & (a < f32::INFINITY) {
        f32::NAN
    } else {
        r
    };
    // 0 * ∞ above, where the limit is 1.
    let one = (y == 0.0) | (x == 1.0) | ((a == 1.0) & (y.abs() == f32::INFINITY));
    if one { 1.0 } else { r }
}

/// `ln(x)` to 65 bits for a positive finite `x`, as `(hi, lo)`: `2 atanh(s)` with `s = f / (2 + f)`, whose first two
/// terms are double-double, as in SLEEF's `logk`. The others are a minimax polynomial (Remez).
#[inline(always)]
fn ln_parts(x: f64) -> (f64, f64) {
    const TWO_THIRDS: f64 = 2.0 / 3.0;
    /// What rounding 2/3 leaves.
    const TWO_THIRDS_LO: f64 = 3.700743415417188e-17;
    let (k, f) = split_f64(x);
    let d = 2.0 + f;
    let reciprocal = 1.0 / d;
    let s = f * reciprocal;
    let s_lo = (-s).mul_add(f - (d - 2.0), (-s).mul_add(d, f)) * reciprocal;
    let z = s * s;
    let z_lo = (2.0 * s).mul_add(s_lo, s.mul_add(s, -z));
    let p = 0.1257172739518696_f64
        .mul_add(z, 0.11592313748948407)
        .mul_add(z, 0.13341147242708298)
        .mul_add(z, 0.15384406558287722)
        .mul_add(z, 0.18181821527799905)
        .mul_add(z, 0.22222222191227656)
        .mul_add(z, 0.2857142857157744)
        .mul_add(z, 0.39999999999999725);
    let w = z * p;
    let c = TWO_THIRDS + w;
    let c_lo = (w - (c - TWO_THIRDS)) + TWO_THIRDS_LO;
    let cube = z * s;
    let cube_lo = z_lo.mul_add(s, z.mul_add(s_lo, z.mul_add(s, -cube)));
    let rest = cube * c;
    let rest_lo = cube_lo.mul_add(c, cube.mul_add(c_lo, cube.mul_add(c, -rest)));

    let linear = k.mul_add(LN2_HI, 2.0 * s);
    let linear_lo = k.mul_add(LN2_LO, 2.0f64.mul_add(s, -k.mul_add(-LN2_HI, linear)));
    let sum = linear + rest;
    let sum_lo = (rest - (sum - linear)) + (linear_lo + 2.0f64.mul_add(s_lo, rest_lo));
    let hi = sum + sum_lo;
    (hi, sum_lo - (hi - sum))
}

/// `x^y = e^(y ln |x|)` with a double-double logarithm, and the sign of an odd power. Largest error in 10000 samples
/// 0.58 ulp.
///
/// The special values are those of [`pow_f32`].
#[inline(always)]
pub fn pow_f64(x: f64, y: f64) -> f64 {
    let a = x.abs();
    let (ln, ln_lo) = ln_parts(a);
    let ln = if a == 0.0 { f64::NEG_INFINITY } else { ln };
    let ln = if a < f64::INFINITY { ln } else { a };
    let z = y * ln;
    let z_lo = y.mul_add(ln_lo, y.mul_add(ln, -z));
    // The tail is not a number where the product is not finite.
    let z_lo = if z.abs() < 800.0 { z_lo } else { 0.0 };
    let (n, hi, lo) = exp_parts(clamp_f64(z, -746.0, 710.0), z_lo);
    let magnitude = scale_parts(n, hi, lo);

    let half = 0.5 * y;
    let fractional = y.trunc() != y;
    let odd = !fractional & (half.trunc() != half);
    let sign = if odd { x.to_bits() & (1 << 63) } else { 0 };
    let r = f64::from_bits(magnitude.to_bits() | sign);
    let r = if fractional & (x < 0.0) & (a < f64::INFINITY) {
        f64::NAN
    } else {
        r
    };
    let one = (y == 0.0) | (x == 1.0) | ((a == 1.0) & (y.abs() == f64::INFINITY));
    if one { 1.0 } else { r }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::math::test::{SPECIAL_F32, STRIDE, assert_ulp_f32, assert_ulp_f64, assert_values_f64};

    fn accuracy(stride: u32) {
        for y in [0.3_f32, 1.7, -0.5, 2.5, 3.0, 10.0, -3.7, 90.0, 1e-3] {
            assert_ulp_f32(
                #[inline(always)]
                |x| pow_f32(x, y),
                |x| x.powf(y as f64),
                0.54,
                stride,
            );
        }
        // Close to 1, large exponents need every bit of the logarithm.
        for y in [1e3_f32, -3e4, 1e6, 16_777_215.0, -1e9] {
            let near_one = |x: f32| f32::from_bits(x.to_bits() >> 9 | 0x3f7f_0000);
            assert_ulp_f32(
                #[inline(always)]
                |x| pow_f32(near_one(x), y),
                |x| (near_one(x as f32) as f64).powf(y as f64),
                0.54,
                stride,
            );
        }
        for x in [1e-40_f32, 0.1, 0.99, 1.01, 2.0, 1e30] {
            assert_ulp_f32(
                #[inline(always)]
                |y| pow_f32(x, y),
                |y| (x as f64).powf(y),
                0.54,
                stride,
            );
        }
    }

    #[test]
    fn is_accurate() {
        accuracy(8 * STRIDE);
    }

    #[test]
    #[ignore = "long; cargo test --release -p rusttorch-core math -- --ignored"]
    fn is_accurate_densely() {
        accuracy(17);
    }

    #[test]
    fn special_values_are_those_of_c() {
        for x in SPECIAL_F32 {
            for y in SPECIAL_F32 {
                let (got, want) = (pow_f32(x, y), libm::powf(x, y));
                let same = got.to_bits() == want.to_bits() || (got.is_nan() && want.is_nan());
                let close = (got - want).abs() <= 2e-7 * want.abs();
                assert!(same || close && got != 0.0, "pow({x}, {y}) = {got}, not {want}");
            }
        }
    }

    #[test]
    fn is_close_in_f64() {
        for y in [0.3, 1.7, -0.5, 3.0, -3.7, 150.5] {
            assert_ulp_f64(
                #[inline(always)]
                |x| pow_f64(x, y),
                |x| x.powf(y),
                1.0,
            );
        }
        for x in [1e-310, 0.7, 1.0001, 12345.6, -2.0] {
            assert_ulp_f64(
                #[inline(always)]
                |y| pow_f64(x, y),
                |y| x.powf(y),
                1.0,
            );
        }
        for x in SPECIAL_F32.map(f64::from) {
            assert_values_f64(|y| pow_f64(x, y), &SPECIAL_F32.map(|y| (y as f64, x.powf(y as f64))));
        }
    }
}
