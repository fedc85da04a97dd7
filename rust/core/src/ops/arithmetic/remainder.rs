//! `torch.remainder`.

use super::{Function, Integer, Side, compute};
use crate::{dtype::Target, float::Float, kernel::Exec};

/// What is left of a division that is rounded down, of the divisor's sign; of integers and 0 it is 0, which callers are to
/// look for.
#[derive(Clone, Copy)]
struct Remainder;

impl Function for Remainder {
    const FLOPS: usize = 25;

    #[inline(always)]
    fn reals<F: Float>(self, a: F, b: F) -> F {
        let zero = F::of(0.0);
        let rest = a.fmod(b);
        if rest != zero && (b < zero) != (rest < zero) {
            rest + b
        } else {
            rest
        }
    }

    #[inline(always)]
    fn wholes<I: Integer>(self, a: I, b: I) -> I {
        if b == I::default() {
            return b;
        }
        let rest = a.plus(a.over(b).times(b).times(I::of(-1)));
        let other = rest != I::default() && (rest < I::default()) != (b < I::default());
        rest.plus(if other { b } else { I::default() })
    }

    #[inline(always)]
    fn truths(self, a: bool, _: bool) -> bool {
        a
    }
}

/// Writes what is left of the first side's division by the second, which are broadcast to `sizes`, the result's.
///
/// # Panics
/// Where the sides are not broadcast to `sizes`, or differ in type from `dst`.
pub fn remainder(exec: &Exec, sides: [Side; 2], dst: Target, sizes: &[i64]) {
    compute(exec, Remainder, sides, dst, sizes);
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Number, test::check},
        *,
    };

    #[test]
    fn rests_have_the_sign_of_the_divisor() {
        let floats: Vec<f32> = (1..701).map(|i| (i as f32 * 0.37).sin()).collect();
        check::<f32, f32>(
            &floats,
            Number::Real(-0.25),
            |exec, sides, dst, sizes| remainder(exec, sides, dst.into(), sizes),
            |a, b| {
                let rest = a % b;
                if rest != 0.0 && (rest < 0.0) != (b < 0.0) {
                    rest + b
                } else {
                    rest
                }
            },
        );
        let numbers: Vec<i32> = (0..700).map(|i| i * 37 % 100 - 50).collect();
        check::<i32, i32>(
            &numbers,
            Number::Whole(-7),
            |exec, sides, dst, sizes| remainder(exec, sides, dst.into(), sizes),
            |a, b| if b == 0 { 0 } else { (a % b + b) % b },
        );
    }
}
