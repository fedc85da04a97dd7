//! The integral of the logistic function in `f32` lanes: `f64` lanes take 1.7 times as long.

use super::fast::{RAISE, RAISE_BITS, at_most, exp_reduced};

/// `ln(1 + e^x) = max(x, 0) + ln(1 + w)` with `w = e^-|x|`. Maximum error 1.433 ulp, subnormal results included.
/// `logsigmoid(x) = -softplus(-x)`.
///
/// `w = s (1 + q)` with a power of two `s` (Cody and Waite), and `ln(1 + w) = s + (s q + w² L(w))`: `w` is never summed,
/// and needs no tail. `e^r` and `L` are minimax polynomials (iteratively reweighted least squares), the latter in
/// `w - 1`, as most digits are at stake near `x = 0`: to `2^-27` of the result, `2^-28` for `w > 0.7`.
///
/// `softplus(-∞) = 0`, `softplus(∞) = ∞`.
#[inline(always)]
pub fn softplus_f32(x: f32) -> f32 {
    let (s, q) = exp_reduced(-at_most(x.abs(), 104.0), RAISE_BITS);
    // The exponent is raised, as it may be that of a subnormal number.
    let s = s * (1.0 / RAISE);
    // Only w² is wanted, which is nothing beside a small s, and slow where it is subnormal.
    let w = (1.0 + q) * if s < 1e-9 { 0.0 } else { s };
    let z = w - 1.0;
    let z2 = z * z;
    let even = (-0.002_996_635_f32)
        .mul_add(z2, -0.007_481_402)
        .mul_add(z2, -0.009_114_26)
        .mul_add(z2, -0.045_567_27);
    let odd = (-0.005_189_38_f32)
        .mul_add(z2, 5.264_625_7e-4)
        .mul_add(z2, 0.018_944_14)
        .mul_add(z2, 0.113_705_5);
    let l = even.mul_add(z, odd).mul_add(z, -0.306_852_82);
    // The sum is nearest 1 where the error counts most: what comes before is small then, and hardly rounded.
    let (small, large) = if x > 0.0 { (x + (s - 1.0), 1.0) } else { (0.0, s) };
    let sum = (w * w).mul_add(l, s.mul_add(q, small)) + large;
    // Where x - 1 is not exact.
    if x > 20.0 { x } else { sum }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::math::test::{STRIDE, assert_ulp_f32, assert_values_f32, lanes};

    fn accuracy(stride: u32) {
        let truth = |x: f64| x.max(0.0) + (-x.abs()).exp().ln_1p();
        assert_ulp_f32(lanes!(softplus_f32), truth, 1.435, stride);
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
            softplus_f32,
            &[
                (-f32::INFINITY, 0.0),
                (f32::INFINITY, f32::INFINITY),
                (f32::NAN, f32::NAN),
                (-f32::NAN, f32::NAN),
                (0.0, core::f32::consts::LN_2),
                (-0.0, core::f32::consts::LN_2),
                (-100.0, 3.783506e-44),
                (-103.0, 1e-45),
                (-200.0, 0.0),
                (16_777_218.0, 16_777_218.0),
                (1e30, 1e30),
            ],
        );
    }
}
