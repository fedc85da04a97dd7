//! Functions of `f32` in `f32` lanes, to a few units in the last place: for activations, whose formulas lose more in stock
//! torch.
//!
//! Polynomials are minimax fits by iteratively reweighted least squares; their errors stand beside them.

/// Adding this to `|n| < 2^22` rounds to an integer and leaves it in the low bits.
const SHIFT: f32 = 12_582_912.0;
/// `ln 2` in two parts, the first short enough that its product with an exponent is exact (Cody and Waite).
pub(super) const LN_2_HI: f32 = 0.693_359_4;
pub(super) const LN_2_LO: f32 = -2.121_944_4e-4;

/// `e^r - 1` for `|r| <= ln(2) / 2`, to `2^-27`: `r + r^2 P(r)`.
#[inline(always)]
fn expm1_polynomial(r: f32) -> f32 {
    let square = r * r;
    0.001_381_459_8_f32
        .mul_add(square, 0.008_368_717_f32.mul_add(r, 0.041_668_39))
        .mul_add(square, 0.166_665_2_f32.mul_add(r, 0.499_999_94))
        .mul_add(square, r)
}

/// `x` raised to `low` at least; keeps NaN.
#[inline(always)]
fn at_least(x: f32, low: f32) -> f32 {
    if x < low { low } else { x }
}

/// `x` lowered to `high` at most; keeps NaN.
#[inline(always)]
pub(super) fn at_most(x: f32, high: f32) -> f32 {
    if x > high { high } else { x }
}

/// Two to the power of 24.
pub const RAISE: f32 = (1 << RAISE_BITS) as f32;
/// Enough to make a normal number of the smallest subnormal one.
pub(super) const RAISE_BITS: u32 = 24;

/// `x = n ln 2 + r`: `n` plus the low bits of `shift` in the low bits of the first, then `n` and `r` (Cody and Waite).
#[inline(always)]
fn reduce(x: f32, shift: f32) -> (f32, f32, f32) {
    let t = x.mul_add(core::f32::consts::LOG2_E, shift);
    let n = t - shift;
    (t, n, n.mul_add(-LN_2_LO, n.mul_add(-LN_2_HI, x)))
}

/// `x = n ln 2 + r`: `2^(n + raised)`, and `e^r - 1`.
#[inline(always)]
pub(super) fn exp_reduced(x: f32, raised: u32) -> (f32, f32) {
    // The biased exponent, in the low bits of a number.
    let (t, _, r) = reduce(x, SHIFT + (127 + raised) as f32);
    (f32::from_bits(t.to_bits() << 23), expm1_polynomial(r))
}

/// `RAISE * e^x` within 1 ulp for `x <= 0`, or at most 72.
#[inline(always)]
pub fn exp_raised_f32(x: f32) -> f32 {
    let (scale, q) = exp_reduced(at_least(x, -104.0), RAISE_BITS);
    scale.mul_add(q, scale)
}

/// `e^x` within 1 ulp, subnormal results included; infinite from `2^103` on.
#[inline(always)]
pub fn exp_fast_f32(x: f32) -> f32 {
    // At this bound the scale is infinite.
    exp_raised_f32(at_most(x, 72.1)) * (1.0 / RAISE)
}

/// `alpha (e^x - 1)` for `x <= 0`: `alpha 2^n (e^r - 1) + (alpha 2^n - alpha)`, where `n` is so small that one product
/// reduces `x`. `e^r - 1` keeps its rounding error, so that there is little but the last rounding, and that of `alpha 2^n -
/// alpha`: within 0.93 ulp where `alpha` is a power of two.
///
/// `r` is between -0.497 and 0.197, as the smaller it is the less its error counts beside `2^n - 1`; a minimax polynomial of
/// its own.
#[inline(always)]
pub fn expm1_below_f32(x: f32, alpha: f32) -> f32 {
    const SHIFT_127: f32 = SHIFT + 127.0;
    let x = at_least(x, -18.0);
    let t = (x + 0.15).mul_add(core::f32::consts::LOG2_E, SHIFT_127);
    let r = (t - SHIFT_127).mul_add(-core::f32::consts::LN_2, x);
    let square = r * r;
    let p = 0.001_214_503_5_f32
        .mul_add(square, 0.008_294_83_f32.mul_add(r, 0.041_670_494))
        .mul_add(square, 0.166_668_04_f32.mul_add(r, 0.5));
    let q = square.mul_add(p, r);
    let q_lo = square.mul_add(p, r - q);
    let scale = f32::from_bits(t.to_bits() << 23) * alpha;
    scale.mul_add(q, scale.mul_add(q_lo, scale - alpha))
}

/// `e^(2x)` within 3 ulp for `-52 <= x <= 0`, subnormal results included: the square of `e^x`, whose exponent stays in
/// the normal range.
#[inline(always)]
fn exp_square_f32(x: f32) -> f32 {
    let (scale, q) = exp_reduced(x, 0);
    let root = scale.mul_add(q, scale);
    root * root
}

/// `e^-a = 2^n (P + r) / (P - r)` for `0 <= a <= 104`: `n` in the low bits of the first, then `n`, `P` and `r`.
///
/// `P = r coth(r / 2)`, a minimax polynomial in `r^2`: the one division of a logistic function serves the exponential as well.
#[inline(always)]
fn exp_quotient(a: f32) -> (f32, f32, f32, f32) {
    let (t, n, r) = reduce(-a, SHIFT);
    let square = r * r;
    let p = (-0.002_763_887_f32).mul_add(square, 0.166_665_84).mul_add(square, 2.0);
    (t, n, p, r)
}

/// `(P + r, P - r)`: what rounding the first does to `P` is done to both, where it matters little.
#[inline(always)]
fn sum_and_difference(p: f32, r: f32) -> (f32, f32) {
    let u = p + r;
    (u, u - (r + r))
}

/// `2^n u`, with `n` in the low bits of `t` and `n + raised` in the normal range. Where `u` is NaN, it is anything.
#[inline(always)]
fn scaled(u: f32, t: f32, raised: u32) -> f32 {
    f32::from_bits(u.to_bits().wrapping_add(t.to_bits().wrapping_add(raised) << 23))
}

/// `(v, w)` with `w / v = e^-|x|`; where `x` is NaN, so is `v`.
#[inline(always)]
fn exp_below_quotient(x: f32) -> (f32, f32) {
    let (t, _, p, r) = exp_quotient(at_most(x.abs(), 104.0));
    let (u, v) = sum_and_difference(p, r);
    // Raised, as it may be subnormal.
    (v, scaled(u, t, RAISE_BITS) * (1.0 / RAISE))
}

/// `tanh(x)` within 4 ulp: `(v - w) / (v + w)` as above, for `2 |x|`.
#[inline(always)]
pub fn tanh_fast_f32(x: f32) -> f32 {
    let a = x.abs();
    let (t, n, p, r) = exp_quotient(at_most(a + a, 30.0));
    let (u, v) = sum_and_difference(p, r);
    let w = scaled(u, t, 0);
    // Where `n` is 0, the difference is known without a cancellation.
    let difference = if n == 0.0 { -(r + r) } else { v - w };
    (difference / (v + w)).copysign(x)
}

/// `e^x` within 2 ulp, over the whole range.
#[inline(always)]
pub fn exp_any_f32(x: f32) -> f32 {
    let (t, _, r) = reduce(at_most(at_least(x, -104.0), 89.0), SHIFT);
    let q = expm1_polynomial(r);
    // In two steps, as 2^n may be out of range.
    let n = t.to_bits() as i32 - SHIFT.to_bits() as i32;
    let half = n >> 1;
    let power = |n: i32| f32::from_bits(((n + 127) << 23) as u32);
    (power(half).mul_add(q, power(half))) * power(n - half)
}

/// `1 / (1 + e^-x)` within 2.3 ulp, in both tails; 2 ulp for `x > -10`.
#[inline(always)]
pub fn sigmoid_f32(x: f32) -> f32 {
    let (v, w) = exp_below_quotient(x);
    (if x >= 0.0 { v } else { w }) / (v + w)
}

/// As [`sigmoid_f32`], within 1.9 ulp: the denominator keeps its rounding error.
#[inline(always)]
pub fn sigmoid_close_f32(x: f32) -> f32 {
    let (v, w) = exp_below_quotient(x);
    let numerator = if x >= 0.0 { v } else { w };
    // `v` is the larger one.
    let d = v + w;
    let d_lo = (v - d) + w;
    let reciprocal = 1.0 / d;
    let q = numerator * reciprocal;
    (-q).mul_add(d_lo, (-q).mul_add(d, numerator)).mul_add(reciprocal, q)
}

/// `1 / (1 + e^-x)` and `1 / (1 + e^x)` within 3 ulp.
#[inline(always)]
pub fn sigmoid_pair_f32(x: f32) -> (f32, f32) {
    let (v, w) = exp_below_quotient(x);
    let smaller = w / (v + w);
    let larger = 1.0 - smaller;
    if x >= 0.0 { (larger, smaller) } else { (smaller, larger) }
}

/// `2^r` for `|r| <= 1/2`, with the square of `r`, to `2^-25.9`.
#[inline(always)]
pub(super) fn exp2_polynomial(r: f32, r2: f32) -> f32 {
    1.535_336_2e-4_f32
        .mul_add(r2, 1.339_887_5e-3_f32.mul_add(r, 9.618_437e-3))
        .mul_add(r2, 0.055_503_324_f32.mul_add(r, 0.240_226_48))
        .mul_add(r2, core::f32::consts::LN_2.mul_add(r, 1.0))
}

/// `x Phi(x)` with the standard normal distribution function `Phi`, within 8 ulp for `x > -2` and 64 ulp for `x > -6`; from
/// there on it falls to 0 before the true value does, as in torch, whose formula has its tail by a cancellation.
#[inline(always)]
pub fn gelu_f32(x: f32) -> f32 {
    gelu_by(
        x,
        #[inline(always)]
        |a, a2| {
            (-1.619_844_9e-8_f32)
                .mul_add(a, 5.271_247_7e-7)
                .mul_add(a2, (-7.318_112e-6_f32).mul_add(a, 5.460_56e-5))
                .mul_add(a2, (-2.022_180_1e-4_f32).mul_add(a, -1.655_653_3e-4))
                .mul_add(a2, 7.155_525_5e-3_f32.mul_add(a, -0.052_586_097))
                .mul_add(a2, (-0.459_172_84_f32).mul_add(a, -1.151_109_6))
        },
        exp2_polynomial,
    )
}

/// [`gelu_f32`] to `2^-18` where it is largest, for half precision.
#[inline(always)]
pub fn gelu_half_f32(x: f32) -> f32 {
    gelu_by(
        x,
        #[inline(always)]
        |a, a2| {
            (-1.625_510_3e-6_f32)
                .mul_add(a2, 5.757_708_3e-5_f32.mul_add(a, -9.005_872e-4))
                .mul_add(a2, 8.399_044e-3_f32.mul_add(a, -0.053_759_858))
                .mul_add(a2, (-0.458_638_85_f32).mul_add(a, -1.151_191_7))
        },
        // To 2^-18.4.
        #[inline(always)]
        |r, r2| {
            9.582_853e-3_f32
                .mul_add(r2, 0.055_906_426_f32.mul_add(r, 0.240_240_99))
                .mul_add(r2, 0.693_124_2_f32.mul_add(r, 1.0))
        },
    )
}

/// `log2(2 Phi(-a)) = a Q(a)`, `Q` a minimax polynomial for `a <= 6`, and `exp2` one of `2^r` for `|r| <= 1/2`, each with the
/// square of its argument: neither a division nor a cancellation.
#[inline(always)]
fn gelu_by(x: f32, q: impl Fn(f32, f32) -> f32, exp2: impl Fn(f32, f32) -> f32) -> f32 {
    let a = at_most(x.abs(), 16.0);
    let q = q(a, a * a);
    // `a q = n + r`, without rounding the product.
    let t = a.mul_add(q, SHIFT);
    let r = a.mul_add(q, SHIFT - t);
    // Half of 2^n, or 0 where that is subnormal.
    let scale = f32::from_bits(((t.to_bits() as i32 - SHIFT.to_bits() as i32 + 126).max(0) as u32) << 23);
    let tail = scale * exp2(r, r * r);
    x * if x > 0.0 { 1.0 - tail } else { tail }
}

/// `x tanh(ln(1 + e^x))` within 128 ulp (8 where `e^x` is normal), and for its gradient `tanh(ln(1 + e^x))`, `e^x` and `n = e^x (e^x + 2)`, the
/// latter two from `x` = 20 on as there.
#[inline(always)]
pub fn tanh_softplus_f32(x: f32) -> (f32, f32, f32) {
    let e = exp_square_f32(at_most(at_least(0.5 * x, -52.0), 10.0));
    let n = e * (e + 2.0);
    (n / (n + 2.0), e, n)
}

/// The standard normal distribution function within 16 ulp, in both tails, and its density.
///
/// `Phi(-a) = exp(-a^2 / 2) G(a)`, `G` a polynomial in `1 / (a + 3)`; the exponential is given what is lost in rounding
/// the square.
#[inline(always)]
pub fn normal_cdf_pdf_f32(x: f32) -> (f32, f32) {
    let a = at_most(x.abs(), 14.4);
    let square = a * a;
    let lost = a.mul_add(a, -square);
    let e = exp_square_f32(-0.25 * square);
    let e = e.mul_add(-0.5 * lost, e);
    let u = 3.0 / (a + 3.0);
    // To 2^-24 for a <= 14.5.
    let g = (-0.022_442_142_f32)
        .mul_add(u, 0.128_072_88)
        .mul_add(u, -0.268_232_36)
        .mul_add(u, 0.215_596_05)
        .mul_add(u, -0.051_147_074)
        .mul_add(u, 0.119_013_1)
        .mul_add(u, 0.112_636_5)
        .mul_add(u, 0.133_546_37)
        .mul_add(u, 0.132_956_45);
    let tail = e * (g * u);
    // A NaN takes the second branch, where `tail` is NaN; 1 / sqrt(2 pi).
    (if x > 0.0 { 1.0 - tail } else { tail }, 0.398_942_3 * e)
}

#[cfg(test)]
mod tests {
    use core::ops::RangeInclusive;

    use super::*;

    /// Asserts an error of at most `bound` ulps (of normal numbers at least) over every 101st `f32` of a range.
    fn within(bound: f64, range: RangeInclusive<f32>, function: impl Fn(f32) -> f32, truth: impl Fn(f64) -> f64) {
        for bits in (0..=u32::MAX).step_by(101) {
            let x = f32::from_bits(bits);
            let truth = truth(x as f64);
            if range.contains(&x) && truth.abs() < f32::MAX as f64 {
                let scale = truth.abs().max(f32::MIN_POSITIVE as f64).log2().floor() - 23.0;
                let error = (function(x) as f64 - truth).abs() / scale.exp2();
                assert!(error <= bound, "{error} ulp at {x:e}");
            }
        }
    }

    fn normal_cdf(x: f64) -> f64 {
        0.5 * libm::erfc(-x / core::f64::consts::SQRT_2)
    }

    const ALL: RangeInclusive<f32> = f32::MIN..=f32::MAX;

    #[test]
    fn errors_are_as_documented() {
        within(1.0, f32::MIN..=71.0, exp_fast_f32, f64::exp);
        for (bound, alpha) in [(0.93, 1.0), (1.4, 1.758_099_3)] {
            within(
                bound,
                f32::MIN..=0.0,
                |x| expm1_below_f32(x, alpha),
                |x| alpha as f64 * x.exp_m1(),
            );
        }
        within(1.5, ALL, exp_any_f32, f64::exp);
        within(4.0, ALL, tanh_fast_f32, f64::tanh);
        within(2.0, -10.0..=f32::MAX, sigmoid_f32, |x| 1.0 / (1.0 + (-x).exp()));
        within(2.3, ALL, sigmoid_f32, |x| 1.0 / (1.0 + (-x).exp()));
        within(1.9, ALL, sigmoid_close_f32, |x| 1.0 / (1.0 + (-x).exp()));
        within(3.0, ALL, |x| sigmoid_pair_f32(x).0, |x| 1.0 / (1.0 + (-x).exp()));
        within(3.0, ALL, |x| sigmoid_pair_f32(x).1, |x| 1.0 / (1.0 + x.exp()));
        within(
            128.0,
            ALL,
            |x| x * tanh_softplus_f32(x).0,
            |x| x * (x.max(0.0) + (-x.abs()).exp().ln_1p()).tanh(),
        );
        within(16.0, ALL, |x| normal_cdf_pdf_f32(x).0, normal_cdf);
    }

    #[test]
    fn gelu_is_accurate_where_it_is_not_negligible() {
        let truth = |x| x * normal_cdf(x);
        within(8.0, -2.0..=f32::MAX, gelu_f32, truth);
        within(64.0, -6.0..=-2.0, gelu_f32, truth);
        within(128.0, -2.0..=f32::MAX, gelu_half_f32, truth);
        within(512.0, -6.0..=-2.0, gelu_half_f32, truth);
        // From there on, its magnitude falls faster than the true one.
        for x in (0..1000).map(|i| -6.0 - 0.1 * i as f32) {
            let (got, truth) = (gelu_f32(x) as f64, truth(x as f64));
            assert!(got <= 0.0 && got >= truth * (1.0 + 1e-5), "{got} for {truth} at {x}");
        }
    }

    #[test]
    fn special_values() {
        let inf = f32::INFINITY;
        let exp = exp_fast_f32;
        assert_eq!([exp(-inf), exp(inf), exp(0.0), exp(-0.0)], [0.0, inf, 1.0, 1.0]);
        assert_eq!([sigmoid_f32(-inf), sigmoid_f32(inf), sigmoid_f32(0.0)], [0.0, 1.0, 0.5]);
        assert_eq!([tanh_fast_f32(-inf), tanh_fast_f32(inf)], [-1.0, 1.0]);
        let expm1 = |x| expm1_below_f32(x, 1.0);
        assert_eq!([expm1(-inf), expm1(0.0), expm1(-1e-40)], [-1.0, 0.0, -1e-40]);
        assert_eq!([exp_any_f32(-inf), exp_any_f32(inf), exp_any_f32(0.0)], [0.0, inf, 1.0]);
        assert_eq!([normal_cdf_pdf_f32(-inf).0, normal_cdf_pdf_f32(inf).0], [0.0, 1.0]);
        assert_eq!(gelu_f32(inf), inf);
        assert!(gelu_f32(-inf).is_nan(), "as in torch");
        assert_eq!(gelu_f32(-0.0).to_bits(), (-0.0_f32).to_bits());
        assert_eq!(tanh_fast_f32(-0.0).to_bits(), (-0.0_f32).to_bits());
        let payload = f32::from_bits(0x7f80_0001);
        for function in [exp_fast_f32, exp_any_f32, expm1, sigmoid_f32, tanh_fast_f32, gelu_f32] {
            assert!(function(f32::NAN).is_nan() && function(payload).is_nan());
        }
    }
}
