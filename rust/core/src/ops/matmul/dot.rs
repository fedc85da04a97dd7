//! Products of few rows: each element is a dot product of two rows that lie one element after the other, and the larger
//! matrix is read once, at the speed of memory.

use core::{mem::MaybeUninit, ops::Range};

use super::{
    Matrix, Rows, Sum,
    microkernel::{self, Accumulate, Registers},
};
use crate::{
    isa::{Program, Simd},
    kernel::Exec,
    math::row_exp::RowExp,
    ops::reduction::lanes::{RowElement, Tile},
    parallel::Shared,
    vector::Vector,
};

/// Terms of the sums that are worked on at a time: so many of the rows stay in the caches.
const TERMS: usize = 1024;
/// Columns whose sums are taken before they are written.
const BLOCK: usize = 96;
/// Rows are filled up with zeros to a multiple of that, which is a whole number of registers.
const PAD: usize = 16;
/// Rows of the first matrix that are worked on at a time, at most.
const M: usize = 8;

/// How far apart rows of `terms` numbers lie: rows that begin at the same place of a page would drive one another from the
/// first-level cache.
fn pitch(terms: usize) -> usize {
    (terms.div_ceil(PAD) | 1) * PAD
}

/// See [`gemm`](super::gemm).
pub(super) fn gemm<A: RowElement, B: RowElement<Lane = A::Lane>, D: RowElement<Lane = A::Lane>>(
    exec: &Exec,
    a: Matrix<A>,
    b: Matrix<B>,
    sum: Option<Sum<D>>,
    dst: &mut [MaybeUninit<D>],
) {
    let pitch = pitch(a.columns);
    let mut widened = vec![A::Lane::ZERO; a.rows.next_multiple_of(M) * pitch];
    for (row, dst) in (0..a.rows).zip(widened.chunks_exact_mut(pitch)) {
        exec.isa.run(Widen {
            src: a.line(row, 0..a.columns),
            dst: &mut dst[..a.columns],
        });
    }
    let result = Rows {
        width: b.columns,
        sum,
        dst: &Shared::new(dst),
    };
    let (team, grain) = exec.team(b.columns, b.rows * size_of::<B>(), a.rows * b.rows);
    team.run(b.columns, grain, &|columns| {
        exec.isa.run(Part {
            a: &widened,
            rows: a.rows,
            b,
            columns,
            result,
        });
    });
}

/// Widens a slice.
struct Widen<'a, T: RowElement> {
    src: &'a [T],
    dst: &'a mut [T::Lane],
}

impl<T: RowElement> Program for Widen<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        T::widen(simd, self.src, self.dst);
    }
}

/// Some columns of a product.
struct Part<'a, B: RowElement, D> {
    /// Rows, filled up.
    a: &'a [B::Lane],
    rows: usize,
    /// The transpose of a row-major matrix.
    b: Matrix<'a, B>,
    columns: Range<usize>,
    result: Rows<'a, D>,
}

impl<B: RowElement, D: RowElement<Lane = B::Lane>> Program for Part<'_, B, D> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        // With a register of a row, the sums of these fill all registers; those of few rows are bound by memory, which
        // gives more where more is asked for at a time.
        match (S::F32::LANES, size_of::<B::Lane>(), self.rows <= 2) {
            (16, 4, true) => self.by::<S, 16, 4>(simd),
            (16, 4, false) => self.by::<S, 16, 3>(simd),
            (16, _, true) | (_, 4, true) => self.by::<S, 8, 4>(simd),
            (16, _, false) | (_, 4, false) => self.by::<S, 8, 3>(simd),
            (_, _, true) => self.by::<S, 4, 4>(simd),
            (_, _, false) => self.by::<S, 4, 3>(simd),
        }
    }
}

impl<B: RowElement, D: RowElement<Lane = B::Lane>> Part<'_, B, D> {
    /// With registers of `LANES` numbers and `N` columns at a time.
    #[inline(always)]
    fn by<S: Simd, const LANES: usize, const N: usize>(self, simd: S)
    where
        Registers<B::Lane, S, 1, N>: Accumulate<B::Lane, S, N>,
        Registers<B::Lane, S, 2, N>: Accumulate<B::Lane, S, N>,
        Registers<B::Lane, S, 4, N>: Accumulate<B::Lane, S, N>,
        Registers<B::Lane, S, 8, N>: Accumulate<B::Lane, S, N>,
    {
        let terms = self.b.rows;
        let chunks = terms.div_ceil(TERMS);
        let mut tile = Tile::<B::Lane>::new(self.rows * BLOCK);
        for first in self.columns.clone().step_by(BLOCK) {
            let block = first..self.columns.end.min(first + BLOCK);
            let (width, groups) = (block.len(), block.len().div_ceil(N));
            let sums = &mut tile.get()[..self.rows * width];
            sums.fill(B::Lane::ZERO);
            // Some columns, and some of their terms.
            let part = |index: usize| {
                // Where all rows are worked on at a time, the columns are read one after the other; else a part of the
                // rows stays in the cache for a block of columns.
                let (chunk, group) = if self.rows <= M {
                    (index % chunks, index / chunks)
                } else {
                    (index / groups, index % groups)
                };
                (
                    group * N..width.min((group + 1) * N),
                    chunk * TERMS..terms.min((chunk + 1) * TERMS),
                )
            };
            let column = |index: usize, part: &Range<usize>| self.b.line(block.start + index, part.clone());
            for index in 0..chunks * groups {
                let (of, terms) = part(index);
                if self.rows > 2 && index + 1 < chunks * groups {
                    // More than one row takes long enough to hide what memory takes.
                    let (of, terms) = part(index + 1);
                    for index in of {
                        simd.prefetch(column(index, &terms));
                    }
                }
                // Those beyond the last one are not wanted.
                let columns: [&[B]; N] =
                    core::array::from_fn(|index| column((of.start + index).min(width - 1), &terms));
                let mut row = 0;
                while row < self.rows {
                    let left = self.rows - row;
                    let dots = Dots {
                        rows: &self.a[row * pitch(self.b.rows)..],
                        pitch: pitch(self.b.rows),
                        terms: terms.start..terms.end.next_multiple_of(PAD),
                        columns,
                        width,
                        wanted: [left, of.len()],
                    };
                    let sums = &mut sums[row * width + of.start..];
                    row += if left > 4 && S::F32::LANES == 16 {
                        dots.add::<S, LANES, 8>(simd, sums)
                    } else if left > 2 {
                        dots.add::<S, LANES, 4>(simd, sums)
                    } else if left == 2 {
                        dots.add::<S, LANES, 2>(simd, sums)
                    } else {
                        dots.add::<S, LANES, 1>(simd, sums)
                    };
                }
            }
            self.result.write(simd, &block, sums.chunks_exact_mut(width));
        }
    }
}

/// The dot products of some rows and columns.
struct Dots<'a, B: RowElement, const N: usize> {
    rows: &'a [B::Lane],
    /// How far apart these rows lie.
    pitch: usize,
    terms: Range<usize>,
    columns: [&'a [B]; N],
    /// How far apart rows of sums lie, and how many of them and of their columns are wanted.
    width: usize,
    wanted: [usize; 2],
}

impl<B: RowElement, const N: usize> Dots<'_, B, N> {
    /// Adds those of `R` rows to their sums.
    #[inline(always)]
    fn add<S: Simd, const LANES: usize, const R: usize>(&self, simd: S, sums: &mut [B::Lane]) -> usize
    where
        Registers<B::Lane, S, R, N>: Accumulate<B::Lane, S, N>,
    {
        let rows = rows(self.rows, self.pitch, &self.terms);
        microkernel::dots::<B, S, LANES, R, N>(simd, rows, self.columns, sums, self.width, self.wanted);
        R
    }
}

/// A part of each of some rows.
#[inline(always)]
fn rows<'a, F, const R: usize>(all: &'a [F], pitch: usize, part: &Range<usize>) -> [&'a [F]; R] {
    core::array::from_fn(|i| &all[i * pitch..][part.clone()])
}
