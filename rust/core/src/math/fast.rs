//! Functions of `f32` in `f32` lanes, to a few units in the last place: for activations, whose formulas lose more in stock
//! torch.
//!
//! Polynomials are minimax fits by iteratively reweighted least squares; their errors stand beside them.

/// Adding this to `|n| < 2^22` rounds to an integer and leaves it in the low bits.
const SHIFT: f32 = 12_582_912.0;
/// `ln 2` in two parts, the first short enough that its product with an exponent is exact (Cody and Waite).
pub(super) const LN_2_HI: f32 = 0.693_359_4;
pub(super) const LN_2_LO: f32 = -2.121_944_4e-4;

/// `P` of `e^r = 1 + r + r^2 P(r)`, to `2^-28` for `|r| <= ln(2) / 2`.
#[inline(always)]
fn exp_polynomial(r: f32) -> f32 {
    0.001_381_459_8_f32
        .mul_add(r, 0.008_368_717)
        .mul_add(r, 0.041_668_39)
        .mul_add(r, 0.166_665_2)
        .mul_add(r, 0.499_999_94)
}

/// Rounds `x log2(e)` to `n`, and returns `n` in the low bits of a number, and as itself.
#[inline(always)]
pub(super) fn exponent(x: f32) -> (f32, f32) {
    let t = x.mul_add(core::f32::consts::LOG2_E, SHIFT);
    (t, t - SHIFT)
}

/// `x` raised to `low` at least; keeps NaN.
#[inline(always)]
fn at_least(x: f32, low: f32) -> f32 {
    if x < low { low } else { x }
}

/// `x` lowered to `high` at most; keeps NaN.
#[inline(always)]
fn at_most(x: f32, high: f32) -> f32 {
    if x > high { high } else { x }
}

/// Two to the power of [`RAISE_BITS`].
pub const RAISE: f32 = (1 << RAISE_BITS) as f32;
/// Enough to make a normal number of the smallest subnormal one.
pub(super) const RAISE_BITS: u32 = 24;

/// `RAISE * e^x` within 1.1 ulp for `x <= 0`, or at most 72.
#[inline(always)]
pub fn exp_raised_f32(x: f32) -> f32 {
    let x = at_least(x, -104.0);
    let (t, n) = exponent(x);
    let r = n.mul_add(-LN_2_LO, n.mul_add(-LN_2_HI, x));
    let p = exp_polynomial(r).mul_add(r, 1.0).mul_add(r, 1.0);
    p * f32::from_bits(t.to_bits().wrapping_add(127 + RAISE_BITS) << 23)
}

/// `e^x` within 1.1 ulp, subnormal results included; infinite from `2^103` on.
#[inline(always)]
pub fn exp_fast_f32(x: f32) -> f32 {
    // At this bound the scale is infinite.
    exp_raised_f32(at_most(x, 72.1)) * (1.0 / RAISE)
}

/// `e^(2x)` within 3 ulp for `-52 <= x <= 0`, subnormal results included: the square of `e^x`, whose exponent stays in
/// the normal range.
#[inline(always)]
fn exp_square_f32(x: f32) -> f32 {
    let (t, n) = exponent(x);
    let r = n.mul_add(-LN_2_LO, n.mul_add(-LN_2_HI, x));
    let p = exp_polynomial(r).mul_add(r, 1.0).mul_add(r, 1.0);
    let root = f32::from_bits(p.to_bits().wrapping_add(t.to_bits() << 23));
    root * root
}

/// `1 / (1 + e^-x)` within 2.3 ulp, in both tails.
#[inline(always)]
pub fn sigmoid_f32(x: f32) -> f32 {
    let e = exp_fast_f32(-x.abs());
    // A NaN takes the second branch, where `e` is NaN.
    (if x >= 0.0 { 1.0 } else { e }) / (1.0 + e)
}

/// `1 / (1 + e^-x)` and `1 / (1 + e^x)` within 3 ulp.
#[inline(always)]
pub fn sigmoid_pair_f32(x: f32) -> (f32, f32) {
    let e = exp_fast_f32(-x.abs());
    let smaller = e / (1.0 + e);
    let larger = 1.0 - smaller;
    if x >= 0.0 { (larger, smaller) } else { (smaller, larger) }
}

/// `x tanh(ln(1 + e^x))` within 128 ulp (8 where `e^x` is normal), and for its gradient `tanh(ln(1 + e^x))`, `e^x` and `n = e^x (e^x + 2)`, the
/// latter two from `x` = 20 on as there.
#[inline(always)]
pub fn tanh_softplus_f32(x: f32) -> (f32, f32, f32) {
    let e = exp_square_f32(at_most(at_least(0.5 * x, -52.0), 10.0));
    let n = e * (e + 2.0);
    (n / (n + 2.0), e, n)
}

/// The standard normal distribution function within 16 ulp, in both tails.
#[inline(always)]
pub fn normal_cdf_f32(x: f32) -> f32 {
    normal_cdf_pdf_f32(x).0
}

/// The standard normal distribution function, as [`normal_cdf_f32`], and its density.
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
    use super::*;

    /// Asserts an error of at most `bound` ulps (of normal numbers at least) over every 101st finite `f32`.
    fn within(bound: f64, function: impl Fn(f32) -> f32, truth: impl Fn(f64) -> f64) {
        for bits in (0..=u32::MAX).step_by(101) {
            let x = f32::from_bits(bits);
            let truth = truth(x as f64);
            if x.is_finite() && truth.abs() < f32::MAX as f64 {
                let scale = truth.abs().max(f32::MIN_POSITIVE as f64).log2().floor() - 23.0;
                let error = (function(x) as f64 - truth).abs() / scale.exp2();
                assert!(error <= bound, "{error} ulp at {x:e}");
            }
        }
    }

    #[test]
    fn errors_are_as_documented() {
        within(1.1, exp_fast_f32, |x| if x < 71.0 { x.exp() } else { f64::INFINITY });
        within(2.3, sigmoid_f32, |x| 1.0 / (1.0 + (-x).exp()));
        within(3.0, |x| sigmoid_pair_f32(x).0, |x| 1.0 / (1.0 + (-x).exp()));
        within(3.0, |x| sigmoid_pair_f32(x).1, |x| 1.0 / (1.0 + x.exp()));
        within(
            128.0,
            |x| x * tanh_softplus_f32(x).0,
            |x| x * (x.max(0.0) + (-x.abs()).exp().ln_1p()).tanh(),
        );
        within(16.0, normal_cdf_f32, |x| {
            0.5 * libm::erfc(-x / core::f64::consts::SQRT_2)
        });
    }

    #[test]
    fn special_values() {
        let inf = f32::INFINITY;
        let exp = exp_fast_f32;
        assert_eq!([exp(-inf), exp(inf), exp(0.0), exp(-0.0)], [0.0, inf, 1.0, 1.0]);
        assert_eq!([sigmoid_f32(-inf), sigmoid_f32(inf), sigmoid_f32(0.0)], [0.0, 1.0, 0.5]);
        assert_eq!([normal_cdf_f32(-inf), normal_cdf_f32(inf)], [0.0, 1.0]);
        for function in [exp_fast_f32, sigmoid_f32, normal_cdf_f32] {
            assert!(function(f32::NAN).is_nan());
        }
    }
}
