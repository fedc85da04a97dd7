//! `torch.cumsum`.

use core::{marker::PhantomData, ops::Range};

use half::{bf16, f16};

use super::{Columns, Output, Results, Running, Scan, prefixes, run_columns, run_row, scan};
use crate::{
    dtype::{Arithmetic, DType, Element, Target, Unwritten, View},
    isa::Simd,
    kernel::{AlongKernel, Exec, Geometry, Kind, MAX_RESULTS, Shape, Slot},
    parallel::Shared,
};

/// The sums of the elements so far along a dimension: of single and half precision in double precision, in which stock torch
/// sums the former as well, and of 64-bit integers, which wrap around.
pub struct Cumsum;

/// Elements of a row whose sums are found together.
const LANES: usize = 8;

impl AlongKernel for Cumsum {
    fn name(&self) -> &'static str {
        "cumsum"
    }

    fn shape(&self) -> Shape {
        Shape::Rows
    }

    fn takes(&self, dtype: DType) -> bool {
        matches!(dtype, DType::F32 | DType::Bf16 | DType::F16 | DType::I64)
    }

    fn results(&self, whole: bool) -> &'static [Kind] {
        if whole { &[] } else { &[Kind::Values] }
    }

    fn accepts(&self, geometry: Geometry, _: &[f64]) -> Result<(), &'static str> {
        geometry.has_elements()
    }

    fn forward(
        &self,
        exec: &Exec,
        src: View,
        results: [Option<Slot>; MAX_RESULTS],
        geometry: Geometry,
        _: &[f64],
    ) -> Result<(), &'static str> {
        let [Some(Slot::Values(dst)), None] = results else {
            return Err("one result");
        };
        macro_rules! sum {
            ($($kind:ident($element:ty)),*) => {
                match (src, dst) {
                    $((View::$kind(src), Target::$kind(Unwritten(dst))) => {
                        let output = Output { values: Shared::new(dst), places: None };
                        scan(exec, Sum::<$element>::NEW, src, geometry, &output);
                    })*
                    _ => return Err("elements of another type"),
                }
            };
        }
        sum!(F32(f32), Bf16(bf16), F16(f16), I64(i64));
        Ok(())
    }
}

/// What is summed up, and in what.
trait Term: Copy + Default + Send + Sync + 'static {
    type Sum: Arithmetic;
    const ZERO: Self::Sum;
    fn widen(self) -> Self::Sum;
    fn rounded(sum: Self::Sum) -> Self;
}

macro_rules! floats {
    ($($float:ty),*) => {
        $(impl Term for $float {
            type Sum = f64;
            const ZERO: f64 = 0.0;

            #[inline(always)]
            fn widen(self) -> f64 {
                Element::lane(self).into()
            }

            #[inline(always)]
            fn rounded(sum: f64) -> Self {
                <Self as Element>::rounded(sum as _)
            }
        })*
    };
}
floats!(f32, bf16, f16);

impl Term for i64 {
    type Sum = Self;
    const ZERO: Self = 0;

    #[inline(always)]
    fn widen(self) -> Self {
        self
    }

    #[inline(always)]
    fn rounded(sum: Self) -> Self {
        sum
    }
}

/// The sums.
#[derive(Clone, Copy)]
struct Sum<T>(PhantomData<T>);

impl<T> Sum<T> {
    const NEW: Self = Self(PhantomData);
}

/// The sums of each of some elements and those before them.
#[inline(always)]
fn sums<T: Term>(src: &[T; LANES]) -> [T::Sum; LANES] {
    let mut wide = [T::ZERO; LANES];
    for (wide, x) in wide.iter_mut().zip(src) {
        *wide = x.widen();
    }
    prefixes(&wide)
}

impl<T: Term> Running for Sum<T> {
    type Item = T;
    type Total = T::Sum;
    const NOTHING: T::Sum = T::ZERO;

    #[inline(always)]
    fn next(total: T::Sum, x: T) -> T::Sum {
        total.plus(x.widen())
    }

    #[inline(always)]
    fn rounded(total: T::Sum) -> T {
        T::rounded(total)
    }
}

impl<T: Term> Columns for Sum<T> {
    type Item = T;

    #[inline(always)]
    fn columns(self, geometry: Geometry, src: &[T], start: usize, columns: Range<usize>, output: &Output<T>) {
        run_columns::<Self>(geometry, src, start, columns, output);
    }
}

impl<T: Term> Scan for Sum<T> {
    type State = T::Sum;
    const START: T::Sum = T::ZERO;

    #[inline(always)]
    fn total<S: Simd>(self, _: S, src: &[T], _: usize) -> T::Sum {
        let (chunks, rest) = src.as_chunks::<LANES>();
        let mut totals = [T::ZERO; LANES];
        for chunk in chunks {
            for (total, x) in totals.iter_mut().zip(chunk) {
                *total = total.plus(x.widen());
            }
        }
        let all = totals.into_iter().fold(T::ZERO, Arithmetic::plus);
        rest.iter().fold(all, |all, x| all.plus(x.widen()))
    }

    #[inline(always)]
    fn join(self, before: T::Sum, after: T::Sum) -> T::Sum {
        before.plus(after)
    }

    #[inline(always)]
    fn piece<S: Simd>(self, _: S, mut state: T::Sum, _: usize, src: &[T], dst: Results<T>) {
        let (chunks, rest) = src.as_chunks::<LANES>();
        let (whole, last) = dst.values.as_chunks_mut();
        for (chunk, dst) in chunks.iter().zip(whole) {
            let sums = sums::<T>(chunk);
            let dst: &mut [_; LANES] = dst;
            for (dst, &sum) in dst.iter_mut().zip(&sums) {
                dst.write(T::rounded(state.plus(sum)));
            }
            state = state.plus(sums[LANES - 1]);
        }
        run_row::<Self>(state, rest, last);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        isa::Isa,
        parallel::{Serial, Team, test::Halves},
    };

    fn run<T: Element>(exec: &Exec, src: &[T], geometry: Geometry) -> Vec<T>
    where
        for<'a> View<'a>: From<&'a [T]>,
        for<'a> Target<'a>: From<&'a mut [T]>,
    {
        let mut dst = src.to_vec();
        let slot = Slot::Values((&mut dst[..]).into());
        Cumsum
            .forward(exec, src.into(), [Some(slot), None], geometry, &[])
            .unwrap();
        dst
    }

    fn check<T: Element>(exec: &Exec, geometry: Geometry, bound: f64)
    where
        T::Lane: Into<f64>,
        for<'a> View<'a>: From<&'a [T]>,
        for<'a> Target<'a>: From<&'a mut [T]>,
    {
        let number = |i: usize| T::rounded(crate::float::Float::of((i * 7919 % 2003) as f64 / 1001.0 - 1.0));
        let src: Vec<T> = (0..geometry.len()).map(number).collect();
        let dst = run(exec, &src, geometry);
        let Geometry { dim, inner, .. } = geometry;
        for (i, &found) in dst.iter().enumerate() {
            let (block, row, column) = (i / (dim * inner), i / inner % dim, i % inner);
            if row + 1 != dim && i % 97 != 0 {
                continue;
            }
            let terms = (0..=row).map(|row| src[block * dim * inner + row * inner + column]);
            let sum: f64 = terms.map(|x| x.lane().into()).sum();
            let found: f64 = found.lane().into();
            assert!(
                (found - sum).abs() <= bound * sum.abs() + 1e-9,
                "{geometry:?} {i}: {found} {sum}"
            );
        }
    }

    #[test]
    fn sums_are_those_of_the_elements_so_far() {
        for isa in Isa::available() {
            for team in [&Serial as &dyn Team, &Halves] {
                let exec = Exec::new(isa, team);
                for (outer, dim, inner) in [
                    (1, 1, 1),
                    (3, 7, 1),
                    (1, 1000, 1),
                    (1, 100_003, 1),
                    (2, 9, 33),
                    (3, 200, 5),
                ] {
                    let geometry = Geometry { outer, dim, inner };
                    check::<f32>(&exec, geometry, 1.0 / (1 << 24) as f64);
                    check::<bf16>(&exec, geometry, 1.0 / 256.0);
                    check::<f16>(&exec, geometry, 1.0 / 2048.0);
                }
            }
        }
    }

    #[test]
    fn infinities_stay_and_zeros_have_torchs_sign() {
        let exec = Exec::new(Isa::detect(), &Serial);
        let inf = f32::INFINITY;
        let src = [-0.0, 1.0, inf, 2.0, -inf, 1.0, 1.0, 1.0, 1.0, 1.0];
        let sums = run(&exec, &src, Geometry::flat(src.len()));
        assert!(sums[0].is_sign_positive() && sums[1] == 1.0 && sums[2] == inf && sums[3] == inf);
        assert!(sums[4..].iter().all(|sum| sum.is_nan()));
    }
}
