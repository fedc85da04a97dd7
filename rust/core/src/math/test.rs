//! Errors in ulps, measured over strides of bit patterns, on every instruction set.

use std::panic::Location;

use crate::isa::{Isa, Program, Simd};

/// A prime that leaves about two million of the `f32` bit patterns.
pub const STRIDE: u32 = 2039;

/// Zeros, infinities, NaN, subnormals, ones, integers of both parities and fractions.
pub const SPECIAL_F32: [f32; 31] = {
    let positive = [
        0.0,
        1e-45,
        1e-40,
        1e-30,
        0.5,
        0.99,
        1.0,
        1.5,
        2.0,
        3.0,
        3.5,
        16_777_215.0,
        16_777_216.0,
        3e38,
    ];
    let mut all = [0.0; 31];
    let mut i = 0;
    while i < positive.len() {
        all[2 * i] = positive[i];
        all[2 * i + 1] = -positive[i];
        i += 1;
    }
    all[28] = f32::INFINITY;
    all[29] = f32::NEG_INFINITY;
    all[30] = f32::NAN;
    all
};

/// A function as a closure that inlines: the shim that makes a function a value would be compiled without the
/// instruction set.
macro_rules! lanes {
    ($function:ident) => {
        #[inline(always)]
        |x| $function(x)
    };
}
pub(crate) use lanes;

struct Map<'a, F, T>(F, &'a [T], &'a mut [T]);

impl<T: Copy, F: Fn(T) -> T> Program for Map<'_, F, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        for (d, s) in self.2.iter_mut().zip(self.1) {
            *d = (self.0)(*s);
        }
    }
}

/// The distance of `got` from `truth` in units of the last place of `truth`.
fn ulp_error_f32(got: f32, truth: f64) -> f64 {
    let rounded = truth as f32;
    if got.to_bits() == rounded.to_bits() && (got == 0.0 || got.is_infinite()) || got.is_nan() && rounded.is_nan() {
        return 0.0;
    }
    let exponent = ((truth.to_bits() >> 52 & 0x7ff) as i32 - 1023).clamp(-126, 127);
    // Infinity stands for the value after the largest finite one.
    let got = if got.is_infinite() {
        2f64.powi(128).copysign(got as f64)
    } else {
        got as f64
    };
    let error = (got - truth).abs() / 2f64.powi(exponent - 23);
    if error.is_nan() || got == 0.0 && truth.is_sign_negative() != got.is_sign_negative() {
        f64::INFINITY
    } else {
        error
    }
}

/// Asserts that `f` is within `limit` ulp of `truth` at every `stride`th bit pattern, and, unless that is all of
/// them, has the same bits on every instruction set.
#[track_caller]
pub fn assert_ulp_f32(f: impl Fn(f32) -> f32 + Copy, truth: impl Fn(f64) -> f64, limit: f64, stride: u32) {
    const CHUNK: usize = 1 << 16;
    let (mut worst, mut at) = (0.0, 0.0_f32);
    let mut src = vec![0.0_f32; CHUNK];
    let mut dst = vec![0.0_f32; CHUNK];
    let mut other = vec![0.0_f32; CHUNK];
    let mut patterns = (0..=u32::MAX).step_by(stride as usize);
    for chunk in 0.. {
        let len = src
            .iter_mut()
            .zip(&mut patterns)
            .map(|(x, bits)| *x = f32::from_bits(bits))
            .count();
        if len == 0 {
            break;
        }
        let isas = Isa::available();
        isas[0].run(Map(f, &src[..len], &mut dst[..len]));
        for isa in isas.iter().skip(1).filter(|_| stride > 1) {
            // A fused multiply-add without the instruction is a slow call.
            let len = if isa.has_fma() {
                len
            } else if chunk % 16 == 0 {
                len / 16
            } else {
                0
            };
            isa.run(Map(f, &src[..len], &mut other[..len]));
            let same = |(a, b): (&f32, &f32)| a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan();
            assert!(
                dst[..len].iter().zip(&other).all(same),
                "{} differs from {}",
                isa.name(),
                isas[0].name()
            );
        }
        for (x, y) in src[..len].iter().zip(&dst) {
            let error = ulp_error_f32(*y, truth(*x as f64));
            if error > worst {
                (worst, at) = (error, *x);
            }
        }
    }
    println!("{}: {worst:.4} ulp at {at:e}", Location::caller());
    assert!(
        worst <= limit,
        "{worst} ulp at {at:e}: {} instead of {}",
        f(at),
        truth(at as f64)
    );
}

/// Asserts the bits of each `(argument, result)`; all NaNs are one.
#[track_caller]
pub fn assert_values_f32(f: impl Fn(f32) -> f32, values: &[(f32, f32)]) {
    for &(x, want) in values {
        let got = f(x);
        assert!(
            got.to_bits() == want.to_bits() || got.is_nan() && want.is_nan(),
            "f({x:e}) = {got:e}, not {want:e}"
        );
    }
}

/// The distance of `got` from the nearby `want` in units of the last place.
fn ulp_error_f64(got: f64, want: f64) -> f64 {
    if got.to_bits() == want.to_bits() || got.is_nan() && want.is_nan() {
        return 0.0;
    }
    let error = got.to_bits().abs_diff(want.to_bits()) as f64;
    if got.is_nan() || want.is_nan() {
        f64::INFINITY
    } else {
        error
    }
}

/// Asserts that `f` is within `limit` ulp of `reference`, another `f64` function with an error of its own, at 200 000
/// bit patterns and at as many numbers within `-45..45`, with the same bits on every instruction set.
#[track_caller]
pub fn assert_ulp_f64(f: impl Fn(f64) -> f64 + Copy, reference: impl Fn(f64) -> f64, limit: f64) {
    let count = 200_000_u64;
    let patterns = (0..count).map(|i| f64::from_bits(i * (u64::MAX / count) + i));
    let src: Vec<f64> = patterns.chain((0..count).map(|i| i as f64 * 4.5e-4 - 45.0)).collect();
    let mut dst = src.clone();
    let mut other = src.clone();
    let isas = Isa::available();
    isas[0].run(Map(f, &src, &mut dst));
    for isa in &isas[1..] {
        let step = if isa.has_fma() { src.len() } else { src.len() / 100 };
        for start in (0..src.len()).step_by(10 * step) {
            let range = start..start + step;
            isa.run(Map(f, &src[range.clone()], &mut other[range.clone()]));
            let same = |(a, b): (&f64, &f64)| a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan();
            assert!(
                dst[range.clone()].iter().zip(&other[range]).all(same),
                "{} differs from the widest",
                isa.name()
            );
        }
    }
    let (worst, at) = src
        .iter()
        .zip(&dst)
        .map(|(x, y)| (ulp_error_f64(*y, reference(*x)), *x))
        .fold((0.0, 0.0), |worst, error| if error.0 > worst.0 { error } else { worst });
    println!(
        "{}: {worst} ulp from the reference at {at:e}",
        std::any::type_name_of_val(&f)
    );
    assert!(
        worst <= limit,
        "{worst} ulp at {at:e}: {:e} instead of {:e}",
        f(at),
        reference(at)
    );
}

/// Asserts each `(argument, result)` to one ulp, zeros and infinities exactly; all NaNs are one.
#[track_caller]
pub fn assert_values_f64(f: impl Fn(f64) -> f64, values: &[(f64, f64)]) {
    for &(x, want) in values {
        let got = f(x);
        let limit = if want == 0.0 || want.is_infinite() { 0.0 } else { 1.0 };
        assert!(ulp_error_f64(got, want) <= limit, "f({x:e}) = {got:e}, not {want:e}");
    }
}
