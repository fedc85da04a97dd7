//! `torch.mul`.

use super::{Function, Integer, Side, compute, replace};
use crate::{
    dtype::{Target, ViewMut},
    float::Float,
    kernel::Exec,
};

/// Products; of what is true or false, whether both are.
#[derive(Clone, Copy)]
struct Mul;

impl Function for Mul {
    const FLOPS: usize = 1;

    #[inline(always)]
    fn reals<F: Float>(self, a: F, b: F) -> F {
        a * b
    }

    #[inline(always)]
    fn wholes<I: Integer>(self, a: I, b: I) -> I {
        a.times(b)
    }

    #[inline(always)]
    fn truths(self, a: bool, b: bool) -> bool {
        a & b
    }
}

/// Writes the products of both sides, which are broadcast to `sizes`, the result's. Integers wrap around.
///
/// # Panics
/// Where the sides are not broadcast to `sizes`, or differ in type from `dst`.
pub fn mul(exec: &Exec, sides: [Side; 2], dst: Target, sizes: &[i64]) {
    compute(exec, Mul, sides, dst, sizes);
}

/// The same in the place of the first side, `buf`, which is row-major.
///
/// # Panics
/// Where the other side is not broadcast to `sizes`, or differs in type from `buf`.
pub fn mul_inplace(exec: &Exec, buf: ViewMut, other: Side, sizes: &[i64]) {
    replace(exec, Mul, buf, other, sizes);
}

#[cfg(test)]
mod tests {
    use half::f16;

    use super::{
        super::{
            Number,
            test::{check, check_inplace},
        },
        *,
    };

    #[test]
    fn products() {
        let floats: Vec<f64> = (0..700).map(|i| (f64::from(i) * 0.37).sin()).collect();
        check::<f64, f64>(
            &floats,
            Number::Real(0.1),
            |exec, sides, dst, sizes| mul(exec, sides, dst.into(), sizes),
            |a, b| a * b,
        );
        let halves: Vec<f16> = floats.iter().map(|&x| f16::from_f64(x)).collect();
        // The number keeps its precision.
        check::<f16, f16>(
            &halves,
            Number::Real(0.1),
            |exec, sides, dst, sizes| mul(exec, sides, dst.into(), sizes),
            |a, b| f16::from_f32(a * b),
        );
    }

    #[test]
    fn products_of_integers_wrap_around() {
        let numbers: Vec<i16> = (0..700).map(|i| (i * 3701) as i16).collect();
        check::<i16, i16>(
            &numbers,
            Number::Whole(-300),
            |exec, sides, dst, sizes| mul(exec, sides, dst.into(), sizes),
            i16::wrapping_mul,
        );
        check_inplace::<i16>(
            &numbers,
            Number::Whole(-300),
            |exec, buf, side, sizes| mul_inplace(exec, buf.into(), side, sizes),
            i16::wrapping_mul,
        );
    }
}
