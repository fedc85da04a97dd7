//! `torch.div`.

use super::{Function, Integer, Side, compute, replace};
use crate::{
    dtype::{Target, ViewMut},
    float::Float,
    kernel::Exec,
};

/// Quotients; those of integers are cut off, and 0 of a division by 0, which callers are to look for.
#[derive(Clone, Copy)]
struct Div;

impl Function for Div {
    const FLOPS: usize = 4;

    #[inline(always)]
    fn reals<F: Float>(self, a: F, b: F) -> F {
        a / b
    }

    #[inline(always)]
    fn wholes<I: Integer>(self, a: I, b: I) -> I {
        if b == I::default() { b } else { a.over(b) }
    }

    #[inline(always)]
    fn truths(self, a: bool, b: bool) -> bool {
        a & b
    }
}

/// Writes the quotients of both sides, which are broadcast to `sizes`, the result's: floating-point numbers divide as such,
/// integers towards zero, and by 0 to 0.
///
/// # Panics
/// Where the sides are not broadcast to `sizes`, or differ in type from `dst`.
pub fn div(exec: &Exec, sides: [Side; 2], dst: Target, sizes: &[i64]) {
    compute(exec, Div, sides, dst, sizes);
}

/// The same in the place of the first side, `buf`, which is row-major.
///
/// # Panics
/// Where the other side is not broadcast to `sizes`, or differs in type from `buf`.
pub fn div_inplace(exec: &Exec, buf: ViewMut, other: Side, sizes: &[i64]) {
    replace(exec, Div, buf, other, sizes);
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            Number,
            test::{check, check_inplace},
        },
        *,
    };

    #[test]
    fn quotients() {
        let floats: Vec<f32> = (1..701).map(|i| (i as f32 * 0.37).sin()).collect();
        check::<f32, f32>(
            &floats,
            Number::Real(0.3),
            |exec, sides, dst, sizes| div(exec, sides, dst.into(), sizes),
            |a, b| a / b,
        );
        check_inplace::<f32>(
            &floats,
            Number::Real(0.3),
            |exec, buf, side, sizes| div_inplace(exec, buf.into(), side, sizes),
            |a, b| a / b,
        );
    }

    #[test]
    fn quotients_of_integers_are_cut_off() {
        let numbers: Vec<i32> = (0..700).map(|i| i * 37 % 100 - 50).collect();
        check::<i32, i32>(
            &numbers,
            Number::Whole(-7),
            |exec, sides, dst, sizes| div(exec, sides, dst.into(), sizes),
            |a, b| if b == 0 { 0 } else { a / b },
        );
    }
}
