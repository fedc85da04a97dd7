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
    ops::reduction::lanes::{RowElement, RowLane, Tile},
    parallel::Shared,
    vector::Vector,
};

/// Terms of the sums that are worked on at a time: so many of the rows stay in the caches.
const TERMS: usize = 1024;
/// Groups of columns whose sums are taken before they are written.
const BLOCK: usize = 32;
/// Rows are filled up with zeros to a multiple of that, which is a whole number of registers.
const PAD: usize = 16;
/// Rows of the first matrix that are worked on at a time, at most.
const M: usize = 8;
/// Columns that are.
const N: usize = 3;

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
        let (terms, pitches) = (self.b.rows, [pitch(self.b.rows), pitch(TERMS)]);
        let chunks = terms.div_ceil(TERMS);
        let mut tile = Tile::<B::Lane>::new(N * pitches[1] + self.rows * BLOCK * N);
        let (widened, sums) = tile.get().split_at_mut(N * pitches[1]);
        for first in self.columns.clone().step_by(BLOCK * N) {
            let block = first..self.columns.end.min(first + BLOCK * N);
            let (width, groups) = (block.len(), block.len().div_ceil(N));
            let sums = &mut sums[..self.rows * width];
            sums.fill(B::Lane::ZERO);
            // Some columns, and some of their terms.
            let part = |index: usize| -> (Range<usize>, Range<usize>) {
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
                let padded = terms.start..terms.end.next_multiple_of(PAD);
                for (index, widened) in of.clone().zip(widened.chunks_exact_mut(pitches[1])) {
                    let (widened, rest) = widened[..padded.len()].split_at_mut(terms.len());
                    B::widen(simd, column(index, &terms), widened);
                    rest.fill(B::Lane::ZERO);
                }
                if index + 1 < chunks * groups {
                    let (of, terms) = part(index + 1);
                    for index in of {
                        simd.prefetch(column(index, &terms));
                    }
                }
                let columns = rows(widened, pitches[1], &(0..padded.len()));
                let mut row = 0;
                while row < self.rows {
                    let left = self.rows - row;
                    let dots = Dots {
                        rows: &self.a[row * pitches[0]..],
                        pitch: pitches[0],
                        terms: &padded,
                        columns,
                        width,
                        wanted: [left, of.len()],
                    };
                    let sums = &mut sums[row * width + of.start..];
                    row += if left > 4 && S::F32::LANES == 16 {
                        dots.add::<S, 8>(simd, sums)
                    } else if left > 2 {
                        dots.add::<S, 4>(simd, sums)
                    } else if left == 2 {
                        dots.add::<S, 2>(simd, sums)
                    } else {
                        dots.add::<S, 1>(simd, sums)
                    };
                }
            }
            self.result.write(simd, &block, sums.chunks_exact_mut(width));
        }
    }
}

/// The dot products of some rows and columns.
struct Dots<'a, F> {
    rows: &'a [F],
    /// How far apart these rows lie.
    pitch: usize,
    terms: &'a Range<usize>,
    columns: [&'a [F]; N],
    /// How far apart rows of sums lie, and how many of them and of their columns are wanted.
    width: usize,
    wanted: [usize; 2],
}

impl<F: RowLane> Dots<'_, F> {
    /// Adds those of `R` rows to their sums.
    #[inline(always)]
    fn add<S: Simd, const R: usize>(&self, simd: S, sums: &mut [F]) -> usize
    where
        Registers<F, S, R, N>: Accumulate<F, S, N>,
    {
        let rows = rows(self.rows, self.pitch, self.terms);
        microkernel::dots::<F, S, R, N>(simd, rows, self.columns, sums, self.width, self.wanted);
        R
    }
}

/// A part of each of some rows.
#[inline(always)]
fn rows<'a, F, const R: usize>(all: &'a [F], pitch: usize, part: &Range<usize>) -> [&'a [F]; R] {
    core::array::from_fn(|i| &all[i * pitch..][part.clone()])
}
