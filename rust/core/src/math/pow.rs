//! Powers.

use core::f32::consts::{LN_2, LOG2_E};

use super::exp::{LN2_HI, LN2_LO, exp_parts, scale_parts};
use super::fast::{RAISE, RAISE_BITS, exp2_polynomial};
use super::lane::{clamp_f32, clamp_f64};
use super::log::{ln_quotient_half, split_f32, split_f64};

/// What rounding `log2(e)` leaves.
const LOG2_E_LO: f32 = 1.925_963e-8;
const TWO_40: f32 = (1_u64 << 40) as f32;
/// Adding this to `|n| < 2^22` rounds to an integer and leaves `n + 254`, the sum of two biased exponents, in the low bits.
const SHIFT_F32: f32 = 12_582_912.0 + 254.0;

/// An unevaluated sum: the second part is at most about a half in the last place of the first.
type Pair = (f32, f32);

/// `a + b` without error, for `|a| >= |b|` or a zero `a`.
#[inline(always)]
fn fast_sum(a: f32, b: f32) -> Pair {
    let sum = a + b;
    (sum, (a - sum) + b)
}

/// `a * b` without error.
#[inline(always)]
fn product(a: f32, b: f32) -> Pair {
    let product = a * b;
    (product, a.mul_add(b, -product))
}

/// `c + x a`, for `|c|` larger than the rest.
#[inline(always)]
fn first_step(c: f32, x: f32, a: f32) -> Pair {
    let sum = x.mul_add(a, c);
    (sum, x.mul_add(a, c - sum))
}

/// `c + x (a + a_lo)`, a step of Horner's rule.
#[inline(always)]
fn step(c: f32, x: f32, (a, a_lo): Pair) -> Pair {
    let (sum, sum_lo) = first_step(c, x, a);
    (sum, x.mul_add(a_lo, sum_lo))
}

/// `x = 2^k (1 + f)` for a positive finite `x`: `f`, exact and between -0.19 and 0.215, and `k`, not a number for the others.
///
/// `k` is an integer, or that less `log2(3/2)`: with that factor, `1.5 m - 1` is still exact.
#[inline(always)]
fn split(x: f32) -> (f32, Pair) {
    const LOWEST: u32 = 0.583_f32.to_bits();
    const LOG2: f32 = 0.584_962_5;
    /// What rounding it leaves.
    const LOG2_LO: f32 = 1.3500392e-08;
    let subnormal = x < f32::MIN_POSITIVE;
    let normal = if subnormal { x * RAISE } else { x };
    let e = normal.to_bits().wrapping_sub(LOWEST) & 0xff80_0000;
    let k = (e as i32 as f32).mul_add(
        1.0 / 8_388_608.0,
        if subnormal { -(RAISE_BITS as f32) } else { x * 0.0 },
    );
    let m = f32::from_bits(normal.to_bits().wrapping_sub(e));
    let (factor, log2, log2_lo) = if m < 0.81 {
        (1.5, LOG2, LOG2_LO)
    } else {
        (1.0, 0.0, 0.0)
    };
    let (sum, sum_lo) = fast_sum(k, -log2);
    (m.mul_add(factor, -1.0), (sum, sum_lo - log2_lo))
}

/// `(ln(1 + f) / f - 1) / f` to `2^-34` of the logarithm for the `f` of [`split`]. Minimax polynomial (iteratively reweighted
/// least squares).
#[inline(always)]
fn ln_slope(f: f32) -> Pair {
    const THIRD_LO: f32 = 5.858_857e-10;
    let f2 = f * f;
    let tail = (-0.101_432_666_f32)
        .mul_add(f, 0.120_040_916)
        .mul_add(f2, (-0.125_150_73_f32).mul_add(f, 0.142_557_86))
        .mul_add(f2, (-0.166_663_35_f32).mul_add(f, 0.200_004_1));
    let (third, third_lo) = step(0.333_333_3, f, first_step(-0.25, f, tail));
    step(-0.5, f, (third, third_lo + THIRD_LO))
}

/// `2^(r + r_lo)` for `|r| <= 1/2` and a tail below `2^-15`, rounded once. Minimax polynomial (iteratively reweighted least
/// squares), to `2^-33`.
#[inline(always)]
fn exp2_parts(r: f32, r_lo: f32) -> f32 {
    const LN_2_LO: f32 = -1.623_046_3e-9;
    let r2 = r * r;
    let tail = 1.510_086_5e-5_f32
        .mul_add(r, 1.545_574_9e-4)
        .mul_add(r2, 1.333_434_8e-3_f32.mul_add(r, 9.618_078e-3))
        .mul_add(r2, 0.055_504_1_f32.mul_add(r, 0.240_226_5));
    let (slope, slope_lo) = first_step(LN_2, r, tail);
    let (sum, sum_lo) = step(1.0, r, (slope, slope_lo + LN_2_LO));
    sum + (r_lo * LN_2).mul_add(sum, sum_lo)
}

/// `x^y = 2^(y log2 |x|)` with the sign of an odd power, for a `y` other than 0 and NaN, in pairs of `f32`: `f64` lanes take
/// 1.4 times as long. Maximum error 0.57 ulp, and 0.78 where the result is subnormal, as it is rounded twice.
///
/// The special values are those of C: `pow(1, y) = 1`, `pow(-1, ±∞) = 1`, a negative finite `x` with a fractional `y` gives
/// NaN, and a zero or infinite `x` keeps its sign only for an odd `y`.
#[inline(always)]
pub fn pow_f32(x: f32, y: f32) -> f32 {
    let a = x.abs();
    let (f, (k, k_lo)) = split(a);
    let (slope, slope_lo) = ln_slope(f);
    // From 2^40 on, all powers but that of 1 are 0 or infinite; and no product below overflows.
    let bounded = clamp_f32(y, -TWO_40, TWO_40);

    // The parts of `y log2(x)`: `u + u f slope` and `w`.
    let (scale, scale_lo) = product(bounded, LOG2_E);
    let (u, u_lo) = product(scale, f);
    let u_lo = bounded.mul_add(LOG2_E_LO, scale_lo).mul_add(f, u_lo);
    let (uf, uf_lo) = product(u, f);
    let uf_lo = u_lo.mul_add(f, uf_lo);
    let (v, v_lo) = step(u, uf, (slope, slope_lo));
    let v_lo = uf_lo.mul_add(slope, v_lo + u_lo);
    let (w, w_lo) = product(bounded, k);
    let w_lo = bounded.mul_add(k_lo, w_lo);
    let (z, z_lo) = fast_sum(w, v);

    let t = z + SHIFT_F32;
    let r = z - (t - SHIFT_F32);
    power(x, y, z, t, exp2_parts(r, z_lo + (v_lo + w_lo)))
}

/// [`pow_f32`] for results of half precision: within `2^-16`, and `2^-20` for exponents up to 4.
#[inline(always)]
pub fn pow_half_f32(x: f32, y: f32) -> f32 {
    let a = x.abs();
    let (k, f) = split_f32(a);
    // Not a number where `x` is none.
    let k = k + a * 0.0;
    let bounded = clamp_f32(y, -TWO_40, TWO_40);
    let v = (bounded * LOG2_E) * (f * ln_quotient_half(f));
    let z = bounded.mul_add(k, v);
    let t = z + SHIFT_F32;
    let r = bounded.mul_add(k, -(t - SHIFT_F32)) + v;
    power(x, y, z, t, exp2_polynomial(r, r * r))
}

/// The result of a power from `z = y log2 |x|`, the same with [`SHIFT_F32`] added, and two to the power of `z`'s distance from
/// an integer.
#[inline(always)]
fn power(x: f32, y: f32, z: f32, t: f32, significand: f32) -> f32 {
    // In two steps, as 2^n can be out of range.
    let first = t.to_bits() >> 1;
    let rest = t.to_bits().wrapping_sub(first);
    let magnitude = significand * f32::from_bits(first << 23) * f32::from_bits(rest << 23);
    let magnitude = if z > 129.0 { f32::INFINITY } else { magnitude };
    let magnitude = if z < -151.0 { 0.0 } else { magnitude };

    let fractional = y.trunc() != y;
    let half = 0.5 * y;
    let odd = if !fractional & (half.trunc() != half) {
        1 << 31
    } else {
        0
    };
    // All bits make a NaN.
    let of_negative = if fractional { u32::MAX } else { odd };
    let power = magnitude.to_bits() | ((x.to_bits() as i32 >> 31) as u32 & of_negative);
    // Zero and infinity, each the other's inverse.
    let a = x.abs();
    let inverse = if y < 0.0 { f32::INFINITY.to_bits() } else { 0 };
    let limit = (a.to_bits() ^ inverse) | (x.to_bits() & odd);
    f32::from_bits(if a + a == a { limit } else { power })
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
/// The special values are those of [`pow_f32`], and `pow(x, 0) = pow(1, y) = 1` even for NaN.
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
        let check = |limit: f64, y: f32, map: fn(f32) -> f32| {
            assert_ulp_f32(
                #[inline(always)]
                |x| pow_f32(map(x), y),
                |x| (map(x as f32) as f64).powf(y as f64),
                limit,
                stride,
            );
        };
        // Subnormal results are rounded twice.
        for y in [0.3_f32, 1.7, -0.5, 2.5, 3.0, 10.0, -3.7, 90.0, 1e-3] {
            check(0.78, y, |x| x);
        }
        for y in [0.3, 1.7, -0.5, 2.5, 3.0, -3.7] {
            // Within `2^-32..2^32`.
            check(0.57, y, |x| f32::from_bits((x.to_bits() >> 3) + 0x2f80_0000));
        }
        // Close to 1, large exponents need every bit of the logarithm.
        for (limit, y) in [
            (0.57, 90.0),
            (0.57, 400.0),
            (0.57, 1e3),
            (0.57, -3e4),
            (0.78, 1e6),
            (0.78, 16_777_215.0),
            (0.57, -1e9),
        ] {
            check(limit, y, |x| f32::from_bits(x.to_bits() >> 9 | 0x3f7f_0000));
        }
        for x in [1e-40_f32, 0.1, 0.83, 0.99, 1.01, 1.2, 2.0, 1e30] {
            assert_ulp_f32(
                #[inline(always)]
                |y| pow_f32(x, y),
                |y| (x as f64).powf(y),
                0.78,
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
    fn is_close_enough_for_halves() {
        for y in [0.3_f32, 1.7, -0.5, 2.5, 3.0, 10.0, -3.7, 90.0] {
            assert_ulp_f32(
                #[inline(always)]
                |x| pow_half_f32(x, y),
                |x| x.powf(y as f64),
                256.0,
                8 * STRIDE,
            );
        }
    }

    #[test]
    fn special_values_are_those_of_c() {
        let special = || SPECIAL_F32.into_iter();
        let pairs = special().flat_map(|x| special().filter(|y| y.abs() > 0.0).map(move |y| (x, y)));
        for (x, y) in pairs {
            let want = libm::powf(x, y);
            for (got, limit) in [(pow_f32(x, y), 2e-7), (pow_half_f32(x, y), 4e-6)] {
                let same = got.to_bits() == want.to_bits() || (got.is_nan() && want.is_nan());
                let close = (got - want).abs() <= limit * want.abs();
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
