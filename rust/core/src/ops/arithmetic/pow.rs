//! `torch.pow` of two tensors.

use super::{Function, Integer, Side, compute};
use crate::{dtype::Target, float::Float, kernel::Exec};

/// Powers. Those of integers wrap around; to a negative exponent they are rounded towards zero, as torch's are.
#[derive(Clone, Copy)]
struct Pow;

impl Function for Pow {
    const FLOPS: usize = 75;

    #[inline(always)]
    fn reals<F: Float>(self, a: F, b: F) -> F {
        let (zero, one) = (F::of(0.0), F::of(1.0));
        // `Float::powf` is not for an exponent of 0 or NaN.
        let unordered = !(b <= zero || b >= zero);
        let power = a.powf(b);
        let power = if unordered { a + b } else { power };
        if b == zero || (unordered && a == one) {
            one
        } else {
            power
        }
    }

    #[inline(always)]
    fn wholes<I: Integer>(self, a: I, b: I) -> I {
        let (zero, one, minus) = (I::default(), I::of(1), I::of(-1));
        let (mut power, mut square, mut left) = (one, a, b);
        if b < zero {
            if a != one && a != minus {
                return zero;
            }
            // Of these, a power and its inverse are the same.
            left = b.over(I::of(2)).times(I::of(-2)).plus(b).times(minus);
        }
        while left != zero {
            let half = left.over(I::of(2));
            if half.plus(half) != left {
                power = power.times(square);
            }
            square = square.times(square);
            left = half;
        }
        power
    }

    #[inline(always)]
    fn truths(self, a: bool, b: bool) -> bool {
        a || !b
    }
}

/// Writes the first side to the power of the second, which are broadcast to `sizes`, the result's.
///
/// # Panics
/// Where the sides are not broadcast to `sizes`, or differ in type from `dst`.
pub fn pow(exec: &Exec, sides: [Side; 2], dst: Target, sizes: &[i64]) {
    compute(exec, Pow, sides, dst, sizes);
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Number, test::check},
        *,
    };

    #[test]
    fn powers_are_those_of_numbers() {
        let floats: Vec<f64> = (1..701).map(|i| (f64::from(i) * 0.37).sin() * 3.0 + 3.5).collect();
        check::<f64, f64>(
            &floats,
            Number::Real(3.0),
            |exec, sides, dst, sizes| pow(exec, sides, dst.into(), sizes),
            |a, b| {
                // Within a rounding of the library's.
                let (mut got, want) = ([0.0], a.powf(b));
                let number = |x| Side::Number(Number::Real(x));
                let exec = Exec::new(crate::isa::Isa::detect(), &crate::parallel::Serial);
                pow(&exec, [number(a), number(b)], (&mut got[..]).into(), &[1]);
                assert!(
                    got[0] == want || (got[0] - want).abs() <= 3e-16 * want.abs() || (got[0].is_nan() && want.is_nan()),
                    "{a} to the power of {b}: {} for {want}",
                    got[0]
                );
                got[0]
            },
        );
        let numbers: Vec<i32> = (0..700).map(|i| i * 37 % 23 - 11).collect();
        check::<i32, i32>(
            &numbers,
            Number::Whole(5),
            |exec, sides, dst, sizes| pow(exec, sides, dst.into(), sizes),
            |a, b| match (a, b) {
                (1, _) => 1,
                (-1, _) => 1 - (b & 1) * 2,
                (_, ..0) => 0,
                _ => a.wrapping_pow(b as u32),
            },
        );
    }

    #[test]
    fn exponents_of_zero_and_nan_are_those_of_c() {
        let exec = Exec::new(crate::isa::Isa::detect(), &crate::parallel::Serial);
        let of = |a: f64, b: f64| {
            let (mut single, mut double) = ([0.0_f32], [0.0_f64]);
            let sides = [Side::Number(Number::Real(a)), Side::Number(Number::Real(b))];
            pow(&exec, sides, (&mut single[..]).into(), &[1]);
            pow(&exec, sides, (&mut double[..]).into(), &[1]);
            (f64::from(single[0]), double[0])
        };
        for a in [0.0, 1.0, -2.0, f64::INFINITY, f64::NAN] {
            assert_eq!(of(a, 0.0), (1.0, 1.0), "{a} to the power of 0");
        }
        assert_eq!(of(1.0, f64::NAN), (1.0, 1.0));
        let (single, double) = of(2.0, f64::NAN);
        assert!(single.is_nan() && double.is_nan());
    }
}
