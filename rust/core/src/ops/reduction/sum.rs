//! `torch.sum` and `torch.mean`.

use core::mem::MaybeUninit;

use super::{
    blocks::Blocks,
    lanes::{self, First, RowElement, fold},
};
use crate::{
    dtype::{Arithmetic, Bool, DType, Element, TILE, Target, Unwritten, View},
    float::Float,
    isa::{Program, Simd},
    kernel::{Exec, Geometry, each_type},
};

/// Elements of a row that are summed up by themselves.
const BLOCK: usize = 4096;
/// The same of columns: about as many elements, in so many rows at least and at most.
const ELEMENTS: usize = 1 << 16;
const ROWS: (usize, usize) = (64, 512);
/// Columns that are summed up together.
const STRIP: usize = 256;
/// Partial sums of a row of integers.
const SUMS: usize = 32;
/// Floating-point instructions of one element, for the choice of threads: half as many numbers fill a register.
const FLOPS: usize = 2;

/// An element that is summed up.
trait Term: Copy + Send + Sync {
    /// What sums are taken in: floating-point numbers in double precision, but for those of up to [`TILE`] in a row, and
    /// integers in 64 bits, where they wrap around.
    type Total: Arithmetic;
    /// What it is read as.
    type Lane: Copy + Default;

    /// `src` as that: itself, or widened into the beginning of `tile`.
    fn lanes<'a, S: Simd>(simd: S, src: &'a [Self], tile: &'a mut [Self::Lane; TILE]) -> &'a [Self::Lane];
    /// What it adds.
    fn total(lane: Self::Lane) -> Self::Total;
    /// What up to [`TILE`] of them add.
    fn totals<S: Simd>(simd: S, lanes: &[Self::Lane]) -> Self::Total;
}

macro_rules! real_terms {
    ($($float:ty),*) => {
        $(impl Term for $float {
            type Total = f64;
            type Lane = <Self as Element>::Lane;

            #[inline(always)]
            fn lanes<'a, S: Simd>(simd: S, src: &'a [Self], tile: &'a mut [Self::Lane; TILE]) -> &'a [Self::Lane] {
                Element::lanes(simd, src, tile)
            }

            #[inline(always)]
            fn total(lane: Self::Lane) -> f64 {
                lane.into()
            }

            #[inline(always)]
            fn totals<S: Simd>(simd: S, lanes: &[Self::Lane]) -> f64 {
                lanes::sum(simd, lanes, lanes, &First).into()
            }
        })*
    };
}
real_terms!(f32, f64, half::bf16, half::f16);

macro_rules! whole_terms {
    ($($integer:ty: $x:ident => $whole:expr;)*) => {
        $(impl Term for $integer {
            type Total = i64;
            type Lane = Self;

            #[inline(always)]
            fn lanes<'a, S: Simd>(_: S, src: &'a [Self], _: &'a mut [Self; TILE]) -> &'a [Self] {
                src
            }

            #[inline(always)]
            fn total($x: Self) -> i64 {
                $whole
            }

            #[inline(always)]
            fn totals<S: Simd>(_: S, lanes: &[Self]) -> i64 {
                let mut sums = [0_i64; SUMS];
                let (wholes, rest) = lanes.as_chunks::<SUMS>();
                for values in wholes {
                    for (sum, &x) in sums.iter_mut().zip(values) {
                        *sum = sum.wrapping_add(Self::total(x));
                    }
                }
                for (sum, &x) in sums.iter_mut().zip(rest) {
                    *sum = sum.wrapping_add(Self::total(x));
                }
                fold(&mut sums, i64::wrapping_add)
            }
        })*
    };
}
whole_terms! {
    i64: x => x;
    i32: x => i64::from(x);
    i16: x => i64::from(x);
    i8: x => i64::from(x);
    u8: x => i64::from(x);
    Bool: x => i64::from(x.0 != 0);
}

/// The sums of the columns of blocks, from the one at `start` on.
struct Part<'a, T: Term> {
    src: &'a [T],
    blocks: Blocks,
    start: usize,
    sums: &'a mut [T::Total],
}

impl<T: Term> Program for Part<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let inner = self.blocks.geometry.inner;
        for (index, sums) in (self.start..).zip(self.sums.chunks_exact_mut(inner)) {
            let src = &self.src[self.blocks.nth(index).0];
            if inner == 1 {
                sums[0] = row(simd, src);
            } else {
                for (strip, sums) in sums.chunks_mut(STRIP).enumerate() {
                    columns(simd, src, inner, strip * STRIP, sums);
                }
            }
        }
    }
}

#[inline(always)]
fn row<T: Term, S: Simd>(simd: S, src: &[T]) -> T::Total {
    let mut tile = [T::Lane::default(); TILE];
    let mut all = T::Total::default();
    for src in src.chunks(TILE) {
        all = all.plus(T::totals(simd, T::lanes(simd, src, &mut tile)));
    }
    all
}

/// The sums of the columns from `start` on.
#[inline(always)]
fn columns<T: Term, S: Simd>(simd: S, src: &[T], inner: usize, start: usize, sums: &mut [T::Total]) {
    let mut tiles = [[T::Lane::default(); TILE]; 4];
    let mut found = [T::Total::default(); STRIP];
    let found = &mut found[..sums.len()];
    // Four rows at a time, as the sums so far are read and written for each.
    let fours = src.chunks_exact(4 * inner);
    let rest = fours.remainder();
    for rows in fours {
        let [a, b, c, d] = &mut tiles;
        let row = |index: usize| &rows[index * inner + start..][..found.len()];
        let (a, b) = (T::lanes(simd, row(0), a), T::lanes(simd, row(1), b));
        let (c, d) = (T::lanes(simd, row(2), c), T::lanes(simd, row(3), d));
        let values = a.iter().zip(b).zip(c.iter().zip(d));
        for (sum, ((&a, &b), (&c, &d))) in found.iter_mut().zip(values) {
            let (first, second) = (T::total(a).plus(T::total(b)), T::total(c).plus(T::total(d)));
            *sum = sum.plus(first.plus(second));
        }
    }
    for row in rest.chunks_exact(inner) {
        let values = T::lanes(simd, &row[start..start + found.len()], &mut tiles[0]);
        for (sum, &x) in found.iter_mut().zip(values) {
            *sum = sum.plus(T::total(x));
        }
    }
    sums.copy_from_slice(found);
}

fn totals<T: Term>(exec: &Exec, src: &[T], geometry: Geometry) -> Vec<T::Total> {
    assert_eq!(src.len(), geometry.len(), "the slice differs from the geometry");
    if geometry.is_empty() {
        return vec![T::Total::default(); geometry.outer * geometry.inner];
    }
    let rows = if geometry.inner == 1 {
        BLOCK
    } else {
        (ELEMENTS / geometry.inner).clamp(ROWS.0, ROWS.1)
    };
    let blocks = Blocks { geometry, rows };
    let (team, grain) = exec.team(src.len(), size_of::<T>(), FLOPS);
    let of = |start, sums: &mut [T::Total]| {
        exec.isa.run(Part {
            src,
            blocks,
            start,
            sums,
        });
    };
    blocks.find(team, grain, &of, &Arithmetic::plus)
}

fn reals<T: RowElement + Term<Total = f64>>(
    exec: &Exec,
    src: &[T],
    dst: &mut [MaybeUninit<T>],
    geometry: Geometry,
    count: f64,
) {
    let sums = totals(exec, src, geometry);
    assert_eq!(sums.len(), dst.len(), "the result differs from the geometry");
    for (dst, sum) in dst.iter_mut().zip(sums) {
        dst.write(T::rounded(Float::of(sum / count)));
    }
}

fn wholes<T: Term<Total = i64>>(exec: &Exec, src: &[T], dst: Target, geometry: Geometry) {
    let Target::I64(Unwritten(dst)) = dst else {
        panic!("sums of integers have 64 bits");
    };
    dst.write_copy_of_slice(&totals(exec, src, geometry));
}

/// The type of sums of elements of a type.
#[must_use]
pub fn sum_dtype(dtype: DType) -> DType {
    if dtype.is_float() { dtype } else { DType::I64 }
}

/// Writes the sums along the geometry's dimension, `outer` times `inner` of them, to all of `dst`, of the type that
/// [`sum_dtype`] says. They are taken in double precision, those of a few hundred elements in a row in their own,
/// or in 64 bits, in an order that depends on the geometry alone.
///
/// ```
/// use rusttorch_core::{isa::Isa, kernel::{Exec, Geometry}, ops::reduction::sum::sum, parallel::Serial};
///
/// let exec = Exec::new(Isa::detect(), &Serial);
/// let mut columns = [0.0_f32; 3];
/// let geometry = Geometry { outer: 1, dim: 2, inner: 3 };
/// sum(&exec, (&[1.0_f32, 2.0, 3.0, 10.0, 20.0, 30.0][..]).into(), (&mut columns[..]).into(), geometry);
/// assert_eq!(columns, [11.0, 22.0, 33.0]);
/// ```
///
/// # Panics
/// Where the slices differ from the geometry, or `dst` is of another type.
pub fn sum(exec: &Exec, src: View, dst: Target, geometry: Geometry) {
    match src {
        View::I64(src) => wholes(exec, src, dst, geometry),
        View::I32(src) => wholes(exec, src, dst, geometry),
        View::I16(src) => wholes(exec, src, dst, geometry),
        View::I8(src) => wholes(exec, src, dst, geometry),
        View::U8(src) => wholes(exec, src, dst, geometry),
        View::Bool(src) => wholes(exec, src, dst, geometry),
        floats => each_type!((floats: View, dst: Target) => reals(exec, floats, dst, geometry, 1.0)),
    }
}

/// Writes the means of floating-point numbers, as [`sum`] does sums: NaN where there are no elements.
///
/// # Panics
/// Where the slices differ from the geometry or in type, or have no floating-point numbers.
pub fn mean(exec: &Exec, src: View, dst: Target, geometry: Geometry) {
    each_type!((src: View, dst: Target) => reals(exec, src, dst, geometry, geometry.dim as f64));
}

#[cfg(test)]
mod tests {
    use half::bf16;

    use super::*;
    use crate::{isa::Isa, parallel::test::Halves};

    const GEOMETRIES: [(usize, usize, usize); 9] = [
        (1, 1, 1),
        (1, 10_000, 1),
        (7, 33, 1),
        (2, 5000, 3),
        (1, 3, 1000),
        (1, 700, 300),
        (4, 1, 5),
        (3, 0, 2),
        (0, 3, 2),
    ];

    fn columns<T: Copy>(src: &[T], geometry: Geometry) -> Vec<Vec<T>> {
        let Geometry { outer, dim, inner } = geometry;
        let of = |column: usize| {
            let first = column / inner * dim * inner + column % inner;
            (0..dim).map(|row| src[first + row * inner]).collect()
        };
        (0..outer * inner).map(of).collect()
    }

    #[test]
    fn sums_of_floating_point_numbers() {
        for isa in Isa::available() {
            let exec = Exec::new(isa, &Halves);
            for (outer, dim, inner) in GEOMETRIES {
                let geometry = Geometry { outer, dim, inner };
                let src: Vec<f32> = (0..geometry.len()).map(|i| (i as f32 * 0.7).sin()).collect();
                let halves: Vec<bf16> = src.iter().map(|&x| bf16::from_f32(x)).collect();
                let mut sums = vec![f32::NAN; outer * inner];
                let mut means = vec![bf16::NAN; outer * inner];
                sum(&exec, (&src[..]).into(), (&mut sums[..]).into(), geometry);
                mean(&exec, (&halves[..]).into(), (&mut means[..]).into(), geometry);
                for (found, column) in sums.iter().zip(columns(&src, geometry)) {
                    let truth: f64 = column.iter().copied().map(f64::from).sum();
                    let size: f64 = column.iter().map(|x| f64::from(x.abs())).sum();
                    assert!((f64::from(*found) - truth).abs() <= 1e-6 * size, "{geometry:?}");
                }
                for (found, column) in means.iter().zip(columns(&halves, geometry)) {
                    let truth = column.iter().map(|x| x.to_f64()).sum::<f64>() / dim as f64;
                    assert!(found.is_nan() && dim == 0 || (found.to_f64() - truth).abs() <= truth.abs() / 256.0 + 1e-9);
                }
            }
        }
    }

    #[test]
    fn sums_of_integers() {
        let exec = Exec::new(Isa::detect(), &Halves);
        for (outer, dim, inner) in GEOMETRIES {
            let geometry = Geometry { outer, dim, inner };
            let src: Vec<u8> = (0..geometry.len()).map(|i| (i * 31) as u8).collect();
            let truths: Vec<Bool> = src.iter().map(|&x| Bool(u8::from(x > 99))).collect();
            let (mut sums, mut counts) = (vec![-1; outer * inner], vec![-1; outer * inner]);
            sum(&exec, (&src[..]).into(), (&mut sums[..]).into(), geometry);
            sum(&exec, (&truths[..]).into(), (&mut counts[..]).into(), geometry);
            for ((sum, count), column) in sums.iter().zip(&counts).zip(columns(&src, geometry)) {
                assert_eq!(*sum, column.iter().map(|&x| i64::from(x)).sum::<i64>());
                assert_eq!(*count, column.iter().filter(|&&x| x > 99).count() as i64);
            }
        }
    }
}
