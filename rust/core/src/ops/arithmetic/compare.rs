//! `torch.eq`, `ne`, `lt`, `le`, `gt` and `ge`.

use core::mem::MaybeUninit;

use super::{Item, Rows, Run, Side, run};
use crate::{
    dtype::{Bool, Compared, DType, Unwritten},
    isa::Simd,
    kernel::Exec,
};

/// Elements that are compared together: a loop of a length that is known is one of registers.
const TOGETHER: usize = 64;

/// Which comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// `a == b`.
    Equal,
    /// `a != b`.
    NotEqual,
    /// `a < b`.
    Less,
    /// `a <= b`.
    LessEqual,
    /// `a > b`.
    Greater,
    /// `a >= b`.
    GreaterEqual,
}

/// A comparison as a type, so that the loop is compiled for it.
trait Test: Copy + Sync {
    fn holds<F: PartialOrd>(self, a: &F, b: &F) -> bool;
}

macro_rules! tests {
    ($($name:ident $holds:ident),*) => {
        $(#[derive(Clone, Copy)]
        struct $name;
        impl Test for $name {
            #[inline(always)]
            fn holds<F: PartialOrd>(self, a: &F, b: &F) -> bool {
                a.$holds(b)
            }
        })*
    };
}
tests!(Equal eq, NotEqual ne, Less lt, LessEqual le, Greater gt, GreaterEqual ge);

#[derive(Clone, Copy)]
struct Tested<C>(C);

impl<C: Test> Tested<C> {
    #[inline(always)]
    fn truth<F: PartialOrd>(self, a: F, b: F) -> Bool {
        Bool(u8::from(self.0.holds(&a, &b)))
    }
}

impl<T: Item, C: Test> Rows<T, Bool> for Tested<C> {
    const COMPUTES: bool = true;

    #[inline(always)]
    fn row<S: Simd>(self, _: S, a: Run<T>, b: Run<T>, dst: &mut [MaybeUninit<Bool>]) {
        match (a, b) {
            (Run::Each(a), Run::Each(b)) => {
                let (whole, rest) = dst.as_chunks_mut::<TOGETHER>();
                let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<TOGETHER>(), b.as_chunks::<TOGETHER>());
                for ((dst, a), b) in whole.iter_mut().zip(a).zip(b) {
                    for ((dst, a), b) in dst.iter_mut().zip(a).zip(b) {
                        dst.write(self.truth(a.number(), b.number()));
                    }
                }
                for ((dst, a), b) in rest.iter_mut().zip(a_rest).zip(b_rest) {
                    dst.write(self.truth(a.number(), b.number()));
                }
            }
            (Run::Each(a), Run::One(b)) => each(
                a,
                dst,
                #[inline(always)]
                |a: T::As| self.truth(a, b),
            ),
            (Run::One(a), Run::Each(b)) => each(
                b,
                dst,
                #[inline(always)]
                |b: T::As| self.truth(a, b),
            ),
            (Run::One(a), Run::One(b)) => dst.fill(MaybeUninit::new(self.truth(a, b))),
        }
    }
}

/// Writes the truth of each number.
#[inline(always)]
fn each<T: Compared>(src: &[T], dst: &mut [MaybeUninit<Bool>], truth: impl Fn(T::As) -> Bool) {
    let (whole, rest) = dst.as_chunks_mut::<TOGETHER>();
    let (chunks, src_rest) = src.as_chunks::<TOGETHER>();
    for (dst, src) in whole.iter_mut().zip(chunks) {
        for (dst, x) in dst.iter_mut().zip(src) {
            dst.write(truth(x.number()));
        }
    }
    for (dst, x) in rest.iter_mut().zip(src_rest) {
        dst.write(truth(x.number()));
    }
}

/// Writes whether a comparison holds of both sides, of elements of type `dtype`, which are broadcast to `sizes`, the
/// result's.
///
/// # Panics
/// Where the sides are not broadcast to `sizes`, or have another type.
pub fn compare(
    exec: &Exec,
    comparison: Comparison,
    sides: [Side; 2],
    dtype: DType,
    Unwritten(dst): Unwritten<Bool>,
    sizes: &[i64],
) {
    match comparison {
        Comparison::Equal => by_type(exec, Equal, sides, dtype, dst, sizes),
        Comparison::NotEqual => by_type(exec, NotEqual, sides, dtype, dst, sizes),
        Comparison::Less => by_type(exec, Less, sides, dtype, dst, sizes),
        Comparison::LessEqual => by_type(exec, LessEqual, sides, dtype, dst, sizes),
        Comparison::Greater => by_type(exec, Greater, sides, dtype, dst, sizes),
        Comparison::GreaterEqual => by_type(exec, GreaterEqual, sides, dtype, dst, sizes),
    }
}

fn by_type<C: Test>(
    exec: &Exec,
    test: C,
    sides: [Side; 2],
    dtype: DType,
    dst: &mut [MaybeUninit<Bool>],
    sizes: &[i64],
) {
    let rows = Tested(test);
    match dtype {
        DType::F32 => run::<f32, _, _>(exec, rows, 1, sides, dst, sizes),
        DType::F64 => run::<f64, _, _>(exec, rows, 1, sides, dst, sizes),
        DType::Bf16 => run::<half::bf16, _, _>(exec, rows, 1, sides, dst, sizes),
        DType::F16 => run::<half::f16, _, _>(exec, rows, 2, sides, dst, sizes),
        DType::I64 => run::<i64, _, _>(exec, rows, 1, sides, dst, sizes),
        DType::I32 => run::<i32, _, _>(exec, rows, 1, sides, dst, sizes),
        DType::I16 => run::<i16, _, _>(exec, rows, 1, sides, dst, sizes),
        DType::I8 => run::<i8, _, _>(exec, rows, 1, sides, dst, sizes),
        DType::U8 => run::<u8, _, _>(exec, rows, 1, sides, dst, sizes),
        DType::Bool => run::<Bool, _, _>(exec, rows, 1, sides, dst, sizes),
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Number, test::check},
        *,
    };

    type Holds = fn(f64, f64) -> bool;

    #[test]
    fn comparisons_hold_as_of_numbers() {
        let mut floats: Vec<f32> = (0..700).map(|i| (i % 7) as f32 - 3.0).collect();
        floats[20] = f32::NAN;
        let numbers: Vec<i64> = (0..700).map(|i| i % 7 - 3).collect();
        let cases: [(Comparison, Holds); 6] = [
            (Comparison::Equal, |a, b| a == b),
            (Comparison::NotEqual, |a, b| a != b),
            (Comparison::Less, |a, b| a < b),
            (Comparison::LessEqual, |a, b| a <= b),
            (Comparison::Greater, |a, b| a > b),
            (Comparison::GreaterEqual, |a, b| a >= b),
        ];
        for (comparison, holds) in cases {
            check::<f32, Bool>(
                &floats,
                Number::Real(1.0),
                |exec, sides, dst, sizes| compare(exec, comparison, sides, DType::F32, dst.into(), sizes),
                |a, b| Bool(u8::from(holds(a.into(), b.into()))),
            );
            check::<i64, Bool>(
                &numbers,
                Number::Whole(1),
                |exec, sides, dst, sizes| compare(exec, comparison, sides, DType::I64, dst.into(), sizes),
                |a, b| Bool(u8::from(holds(a as f64, b as f64))),
            );
        }
    }
}
