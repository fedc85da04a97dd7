//! The error function.

use core::f64::consts::{FRAC_2_SQRT_PI, SQRT_2};

use super::exp::{exp_parts, scale_parts};
use super::lane::{clamp_f32, clamp_f64, or_sign_f64};
use super::normal::normal_tail_f64;

/// `erf(x) = x P(x²) / Q(x²)`: a minimax rational function on `[-4, 4]`, in `f64`. Maximum error 0.535 ulp.
///
/// `erf(±0) = ±0`, `erf(±∞) = ±1`.
#[inline(always)]
pub fn erf_f32(x: f32) -> f32 {
    // erf rounds to ±1 from 3.84 on.
    let x = clamp_f32(x, -4.0, 4.0) as f64;
    let s = x * x;
    let p = (-1.320149131111366e-08_f64)
        .mul_add(s, 4.684612122505853e-06)
        .mul_add(s, 0.0003796045763381479)
        .mul_add(s, 0.003849674468492905)
        .mul_add(s, 0.054317038509989216)
        .mul_add(s, 0.18520515748276978)
        .mul_add(s, 1.1283791693734897);
    let q = 6.310904313464314e-05_f64
        .mul_add(s, 0.0013075770403458637)
        .mul_add(s, 0.01546220072210285)
        .mul_add(s, 0.11395910137220046)
        .mul_add(s, 0.49746721099819347)
        .mul_add(s, 1.0);
    (x * p / q) as f32
}

/// [`erf_f32`] for results of half precision, to `2^-18`: `x P(x²)`, where `P` need not reach beyond 2.65, whose result rounds
/// to 1. Minimax polynomial (iteratively reweighted least squares).
#[inline(always)]
pub fn erf_half_f32(x: f32) -> f32 {
    let x = clamp_f32(x, -2.65, 2.65);
    let s = x * x;
    let s2 = s * s;
    let p = (-8.593_27e-9_f32)
        .mul_add(s, 3.690_120_4e-7)
        .mul_add(s2, (-7.271_68e-6_f32).mul_add(s, 8.871_538e-5))
        .mul_add(s2, (-7.662_083e-4_f32).mul_add(s, 5.066_168e-3))
        .mul_add(s2, (-0.026_698_831_f32).mul_add(s, 0.112_744_96))
        .mul_add(s2, (-0.376_105_73_f32).mul_add(s, 1.128_378_4));
    x * p
}

/// `erf(x) = x (2/√π + x² P(x²))` below 0.5 and `1 - 2 e^(-x²) R(√2 x)` from there, with the `R` of the normal
/// distribution. Largest error in 10000 samples 0.66 ulp.
///
/// `erf(±0) = ±0`, `erf(±∞) = ±1`.
#[inline(always)]
pub fn erf_f64(x: f64) -> f64 {
    /// What rounding `2/√π` leaves.
    const FRAC_2_SQRT_PI_LO: f64 = 1.533545961316588e-17;
    /// What rounding √2 leaves.
    const SQRT_2_LO: f64 = -9.667293313452913e-17;
    // erf rounds to ±1 from 5.93 on.
    let t = clamp_f64(x.abs(), 0.0, 6.0);
    let s = t * t;
    let s_lo = t.mul_add(t, -s);
    let p = 1.2234293052117869e-08_f64
        .mul_add(s, -1.61179161774365e-07)
        .mul_add(s, 1.644840345548119e-06)
        .mul_add(s, -1.4925177325931535e-05)
        .mul_add(s, 0.00012055322495371213)
        .mul_add(s, -0.0008548326874595449)
        .mul_add(s, 0.005223977624134061)
        .mul_add(s, -0.026866170645065166)
        .mul_add(s, 0.11283791670954961)
        .mul_add(s, -0.37612638903183754);
    let linear = t * FRAC_2_SQRT_PI;
    let linear_lo = t.mul_add(FRAC_2_SQRT_PI_LO, t.mul_add(FRAC_2_SQRT_PI, -linear));
    // Here -0.376 stands for P.
    let linear_lo = (t * s_lo).mul_add(-0.376, linear_lo);
    let below = linear + (t * s).mul_add(p, linear_lo);

    let (n, hi, lo) = exp_parts(-s, -s_lo);
    let scale = 2.0 * scale_parts(n, 1.0, 0.0);
    let argument = SQRT_2 * t;
    let (r, r_lo) = normal_tail_f64(argument, t.mul_add(SQRT_2_LO, t.mul_add(SQRT_2, -argument)));
    let (hi, lo) = (scale * hi, scale * lo);
    let tail = hi * r;
    let tail_lo = hi.mul_add(r_lo, lo.mul_add(r, hi.mul_add(r, -tail)));
    let above = 1.0 - tail;
    let above = above + (((1.0 - above) - tail) - tail_lo);
    or_sign_f64(if t < 0.5 { below } else { above }, x)
}

#[cfg(test)]
mod tests {
    use half::f16;

    use super::*;
    use crate::math::test::{STRIDE, assert_ulp_f32, assert_ulp_f64, assert_values_f32, assert_values_f64, lanes};

    fn accuracy(stride: u32) {
        assert_ulp_f32(lanes!(erf_f32), libm::erf, 0.57, stride);
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
    fn is_close_enough_for_halves() {
        assert_ulp_f32(lanes!(erf_half_f32), |x| libm::erf(x.clamp(-2.65, 2.65)), 64.0, STRIDE);
        assert_eq!(f16::from_f32(erf_half_f32(f32::INFINITY)), f16::ONE);
    }

    #[test]
    fn special_values() {
        assert_values_f32(
            erf_f32,
            &[
                (0.0, 0.0),
                (-0.0, -0.0),
                (f32::NAN, f32::NAN),
                (f32::INFINITY, 1.0),
                (-f32::INFINITY, -1.0),
                (1e-45, 1e-45),
            ],
        );
    }

    #[test]
    fn is_close_in_f64() {
        assert_ulp_f64(lanes!(erf_f64), libm::erf, 2.0);
        assert_values_f64(
            erf_f64,
            &[
                (0.0, 0.0),
                (-0.0, -0.0),
                (f64::NAN, f64::NAN),
                (f64::INFINITY, 1.0),
                (-f64::INFINITY, -1.0),
            ],
        );
    }
}
