//! `torch.var` and `torch.std`.

use core::mem::MaybeUninit;

use super::{
    blocks::Blocks,
    lanes::{RowElement, fold},
};
use crate::{
    dtype::{DType, Element, TILE, Target, View, ViewMut},
    float::Float,
    isa::{Program, Simd},
    kernel::{Exec, Geometry, Kernel, Shape, each_type},
    math::row_exp::RowExp,
    ops::{elementwise::number, moments::Moments},
};

/// The variance along a dimension, or of all elements; its root if `ROOT`. Without a gradient.
///
/// Numbers: whether the dimension is kept, whether the variance is unbiased, and the correction that is taken from the
/// count of elements; of the last two one at most is a number (1). Sums are taken in double precision of distances from
/// an element, or from the mean, in blocks that depend on the geometry alone.
pub struct Var<const ROOT: bool>;

/// Elements of a row that are summed up by themselves.
const BLOCK: usize = 4096;
/// The same of columns: about as many elements, in so many rows at least and at most.
const ELEMENTS: usize = 1 << 16;
const ROWS: (usize, usize) = (64, 512);
/// Columns that are summed up together.
const STRIP: usize = 256;
/// Partial sums of a row.
const SUMS: usize = 32;
/// Floating-point instructions of one element, for the choice of threads: half as many numbers fill a register.
const FLOPS: usize = 8;
/// Columns and elements of rows below which stock torch is as fast.
const FEW: usize = 8;

/// The correction that a call's numbers ask for.
fn correction(numbers: &[f64]) -> Result<f64, &'static str> {
    let (unbiased, correction) = (number(numbers, 1, f64::NAN), number(numbers, 2, f64::NAN));
    match (unbiased.is_nan(), correction.is_nan()) {
        (true, true) => Ok(1.0),
        (false, true) => Ok(unbiased),
        (true, false) => Ok(correction),
        (false, false) => Err("unbiased and a correction"),
    }
}

/// Rows of `inner` elements: the moments of each column.
struct Part<'a, T> {
    src: &'a [T],
    inner: usize,
    moments: &'a mut [Moments],
}

impl<T: RowElement> Program for Part<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        if self.inner == 1 {
            self.moments[0] = row(simd, self.src);
        } else {
            for (strip, moments) in self.moments.chunks_mut(STRIP).enumerate() {
                columns(simd, self.src, self.inner, strip * STRIP, moments);
            }
        }
    }
}

/// Whether elements have the precision that sums are taken in: then what distances are from must be near the mean.
fn is_double<T: Element>() -> bool {
    T::DTYPE == DType::F64
}

/// An element to take distances from: from an infinite one all would be NaN.
#[inline(always)]
fn origin<T: RowElement>(x: T) -> f64 {
    let x: f64 = x.lane().into();
    if x.is_finite() { x } else { 0.0 }
}

/// The moments of `count` elements, from the sums of their distances, and of those squared. With an infinite element
/// there are none.
#[inline(always)]
fn about(from: f64, count: usize, sum: f64, squares: f64) -> Moments {
    let squares = if sum.is_finite() { squares } else { f64::NAN };
    Moments::about(from, count as f64, [sum, squares])
}

/// The moments of a row.
#[inline(always)]
fn row<T: RowElement, S: Simd>(simd: S, src: &[T]) -> Moments {
    let first = origin(src[0]);
    let from = if is_double::<T>() {
        let (sum, _) = row_sums(simd, src, first);
        first + sum / src.len() as f64
    } else {
        first
    };
    let (sum, squares) = row_sums(simd, src, from);
    about(from, src.len(), sum, squares)
}

/// The sums of a row's distances, and of their squares.
#[inline(always)]
fn row_sums<T: RowElement, S: Simd>(simd: S, src: &[T], from: f64) -> (f64, f64) {
    let mut tile = [T::Lane::ZERO; TILE];
    let (mut sums, mut squares) = ([0.0; SUMS], [0.0; SUMS]);
    for src in src.chunks(TILE) {
        let (wholes, rest) = T::lanes(simd, src, &mut tile).as_chunks::<SUMS>();
        for values in wholes {
            for ((sum, square), &x) in sums.iter_mut().zip(&mut squares).zip(values) {
                add(sum, square, x.into() - from);
            }
        }
        for ((sum, square), &x) in sums.iter_mut().zip(&mut squares).zip(rest) {
            add(sum, square, x.into() - from);
        }
    }
    (fold(&mut sums, |a, b| a + b), fold(&mut squares, |a, b| a + b))
}

#[inline(always)]
fn add(sum: &mut f64, square: &mut f64, distance: f64) {
    *sum += distance;
    *square = distance.mul_add(distance, *square);
}

/// The moments of the columns from `start` on.
#[inline(always)]
fn columns<T: RowElement, S: Simd>(simd: S, src: &[T], inner: usize, start: usize, moments: &mut [Moments]) {
    let (mut tile, mut from) = ([T::Lane::ZERO; STRIP], [0.0; STRIP]);
    let (len, count) = (moments.len(), src.len() / inner);
    for (from, x) in from.iter_mut().zip(&src[start..start + len]) {
        *from = origin(*x);
    }
    let mut sums = |from: &[f64; STRIP]| {
        let (mut sums, mut squares) = ([0.0; STRIP], [0.0; STRIP]);
        for row in src.chunks_exact(inner) {
            let values = T::lanes(simd, &row[start..start + len], &mut tile);
            for (((sum, square), &from), &x) in sums.iter_mut().zip(&mut squares).zip(from).zip(values) {
                add(sum, square, x.into() - from);
            }
        }
        (sums, squares)
    };
    if is_double::<T>() {
        let (sums, _) = sums(&from);
        for (from, &sum) in from.iter_mut().zip(&sums) {
            *from += sum / count as f64;
        }
    }
    let (sums, squares) = sums(&from);
    for (((moments, &sum), &square), &from) in moments.iter_mut().zip(&sums).zip(&squares).zip(&from) {
        *moments = about(from, count, sum, square);
    }
}

/// The moments along the geometry's dimension, `outer` times `inner` of them.
fn moments<T: RowElement>(exec: &Exec, src: &[T], geometry: Geometry) -> Vec<Moments> {
    let inner = geometry.inner;
    let rows = if inner == 1 {
        BLOCK
    } else {
        (ELEMENTS / inner).clamp(ROWS.0, ROWS.1)
    };
    let blocks = Blocks { geometry, rows };
    let (team, grain) = exec.team(src.len(), size_of::<T>(), FLOPS);
    let of = |start, moments: &mut [Moments]| {
        for (index, moments) in (start..).zip(moments.chunks_exact_mut(inner)) {
            let src = &src[blocks.nth(index).0];
            exec.isa.run(Part { src, inner, moments });
        }
    };
    blocks.find(team, grain, &of, &|all: Moments, one| all.and(one))
}

fn forward<T: RowElement, const ROOT: bool>(
    exec: &Exec,
    src: &[T],
    dst: &mut [MaybeUninit<T>],
    geometry: Geometry,
    numbers: &[f64],
) {
    assert!(
        src.len() == geometry.len() && dst.len() == geometry.outer * geometry.inner,
        "the slices differ from the geometry"
    );
    let freedom = geometry.dim as f64 - correction(numbers).expect("numbers that were accepted");
    for (dst, moments) in dst.iter_mut().zip(moments(exec, src, geometry)) {
        let variance = moments.squares / freedom;
        dst.write(T::rounded(T::Lane::of(if ROOT { variance.sqrt() } else { variance })));
    }
}

impl<const ROOT: bool> Kernel for Var<ROOT> {
    fn name(&self) -> &'static str {
        if ROOT { "std" } else { "var" }
    }

    fn shape(&self) -> Shape {
        Shape::Reduce
    }

    fn reduces_all(&self) -> bool {
        true
    }

    fn accepts(&self, geometry: Geometry, numbers: &[f64]) -> Result<(), &'static str> {
        geometry.has_elements()?;
        let freedom = geometry.dim as f64 - correction(numbers)?;
        if freedom.is_nan() || freedom <= 0.0 {
            Err("no degrees of freedom")
        } else {
            Ok(())
        }
    }

    fn pays(&self, geometry: Geometry, _: &[f64]) -> Result<(), &'static str> {
        let Geometry { dim, inner, .. } = geometry;
        let few = if inner == 1 { dim } else { inner };
        if few < FEW && geometry.len() > 1024 {
            return Err("short rows");
        }
        Ok(())
    }

    fn forward(&self, exec: &Exec, src: View, dst: Target, geometry: Geometry, numbers: &[f64]) {
        each_type!((src: View, dst: Target) => forward::<_, ROOT>(exec, src, dst, geometry, numbers));
    }

    fn inplace(&self, _: &Exec, _: ViewMut, _: &[f64]) {
        unreachable!("the result has another shape");
    }

    fn differentiates(&self) -> bool {
        false
    }

    fn backward(&self, _: &Exec, _: View, _: View, _: Target, _: Geometry, _: &[f64]) {
        unreachable!("the gradient is torch's");
    }
}
