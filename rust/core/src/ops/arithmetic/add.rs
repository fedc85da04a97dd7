//! `torch.add` and `torch.sub`.

use super::{Function, Integer, Number, Side, compute, replace};
use crate::{
    dtype::{Target, ViewMut},
    float::Float,
    kernel::Exec,
};

/// `a + alpha * b`, rounded once; of what is true or false, whether either is.
#[derive(Clone, Copy)]
struct Add {
    alpha: Number,
}

impl Function for Add {
    const FLOPS: usize = 1;

    #[inline(always)]
    fn reals<F: Float>(self, a: F, b: F) -> F {
        b.mul_add(F::of(self.alpha.real()), a)
    }

    #[inline(always)]
    fn wholes<I: Integer>(self, a: I, b: I) -> I {
        a.plus(b.times(I::of(self.alpha.whole())))
    }

    #[inline(always)]
    fn truths(self, a: bool, b: bool) -> bool {
        a | (b & (self.alpha.whole() != 0))
    }
}

/// Writes `a + alpha * b` of both sides, which are broadcast to `sizes`, the result's; with an `alpha` of -1 that is the
/// difference. Integers wrap around.
///
/// # Panics
/// Where the sides are not broadcast to `sizes`, or differ in type from `dst`.
pub fn add(exec: &Exec, sides: [Side; 2], alpha: Number, dst: Target, sizes: &[i64]) {
    compute(exec, Add { alpha }, sides, dst, sizes);
}

/// The same in the place of the first side, `buf`, which is row-major.
///
/// # Panics
/// Where the other side is not broadcast to `sizes`, or differs in type from `buf`.
pub fn add_inplace(exec: &Exec, buf: ViewMut, other: Side, alpha: Number, sizes: &[i64]) {
    replace(exec, Add { alpha }, buf, other, sizes);
}

#[cfg(test)]
mod tests {
    use half::bf16;

    use super::{
        super::test::{check, check_inplace},
        *,
    };
    use crate::dtype::Bool;

    #[test]
    fn sums_and_differences() {
        let floats: Vec<f32> = (0..700).map(|i| (i as f32 * 0.37).sin()).collect();
        for alpha in [Number::Whole(1), Number::Whole(-1), Number::Real(0.3)] {
            check::<f32, f32>(
                &floats,
                Number::Real(0.1),
                |exec, sides, dst, sizes| add(exec, sides, alpha, dst.into(), sizes),
                |a, b| b.mul_add(alpha.real() as f32, a),
            );
            check_inplace::<f32>(
                &floats,
                Number::Real(0.1),
                |exec, buf, side, sizes| add_inplace(exec, buf.into(), side, alpha, sizes),
                |a, b| b.mul_add(alpha.real() as f32, a),
            );
        }
        let halves: Vec<bf16> = floats.iter().map(|&x| bf16::from_f32(x)).collect();
        check::<bf16, bf16>(
            &halves,
            Number::Real(0.1),
            |exec, sides, dst, sizes| add(exec, sides, Number::Whole(1), dst.into(), sizes),
            |a, b| bf16::from_f32(a + b),
        );
    }

    #[test]
    fn integers_wrap_around() {
        let bytes: Vec<u8> = (0..700).map(|i| (i * 37) as u8).collect();
        check::<u8, u8>(
            &bytes,
            Number::Whole(200),
            |exec, sides, dst, sizes| add(exec, sides, Number::Whole(-1), dst.into(), sizes),
            u8::wrapping_sub,
        );
        let truths: Vec<Bool> = (0..700).map(|i| Bool(u8::from(i % 3 == 0))).collect();
        check::<Bool, Bool>(
            &truths,
            Number::Whole(1),
            |exec, sides, dst, sizes| add(exec, sides, Number::Whole(1), dst.into(), sizes),
            |a, b| Bool(a | b),
        );
    }
}
