//! `torch.floor_divide`.

use super::{Function, Integer, Side, compute};
use crate::{dtype::Target, float::Float, kernel::Exec};

/// Quotients rounded down; those of integers by 0 are 0, which callers are to look for.
#[derive(Clone, Copy)]
struct FloorDivide;

impl Function for FloorDivide {
    const FLOPS: usize = 30;

    /// As torch has it, after `CPython`: from the remainder, so that the two fit together.
    #[inline(always)]
    fn reals<F: Float>(self, a: F, b: F) -> F {
        let zero = F::of(0.0);
        if b == zero {
            return a / b;
        }
        let rest = a.fmod(b);
        let mut quotient = (a - rest) / b;
        if rest != zero && (b < zero) != (rest < zero) {
            quotient = quotient - F::of(1.0);
        }
        if quotient == zero {
            // Of the sign that it has.
            return a / b * zero;
        }
        let floor = quotient.floor();
        if quotient - floor > F::of(0.5) {
            floor + F::of(1.0)
        } else {
            floor
        }
    }

    #[inline(always)]
    fn wholes<I: Integer>(self, a: I, b: I) -> I {
        if b == I::default() {
            return b;
        }
        let quotient = a.over(b);
        // Cut off, it is too large where there is a rest of the other sign.
        let back = quotient.times(b);
        let down = back != a && (a < I::default()) != (b < I::default());
        quotient.plus(if down { I::of(-1) } else { I::default() })
    }

    #[inline(always)]
    fn truths(self, a: bool, b: bool) -> bool {
        a & b
    }
}

/// Writes the quotients of both sides, rounded down, which are broadcast to `sizes`, the result's.
///
/// # Panics
/// Where the sides are not broadcast to `sizes`, or differ in type from `dst`.
pub fn floor_divide(exec: &Exec, sides: [Side; 2], dst: Target, sizes: &[i64]) {
    compute(exec, FloorDivide, sides, dst, sizes);
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Number, test::check},
        *,
    };

    #[test]
    fn quotients_are_rounded_down() {
        let floats: Vec<f32> = (1..701).map(|i| (i as f32 * 0.37).sin()).collect();
        check::<f32, f32>(
            &floats,
            Number::Real(0.25),
            |exec, sides, dst, sizes| floor_divide(exec, sides, dst.into(), sizes),
            |a, b| (f64::from(a) / f64::from(b)).floor() as f32,
        );
        let numbers: Vec<i32> = (0..700).map(|i| i * 37 % 100 - 50).collect();
        check::<i32, i32>(
            &numbers,
            Number::Whole(-7),
            |exec, sides, dst, sizes| floor_divide(exec, sides, dst.into(), sizes),
            |a, b| {
                if b == 0 {
                    0
                } else {
                    (f64::from(a) / f64::from(b)).floor() as i32
                }
            },
        );
    }
}
