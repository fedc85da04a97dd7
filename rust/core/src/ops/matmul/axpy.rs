//! Products of few rows and a row-major matrix: each row of it, times an element of each of the few, is added to theirs, and
//! is read once, where it lies.

use core::{mem::MaybeUninit, ops::Range};

use super::{Matrix, Rows, Sum};
use crate::{
    isa::{Program, Simd},
    kernel::Exec,
    math::row_exp::RowExp,
    ops::reduction::lanes::{Register, RowElement, RowLane, Tile},
    parallel::Shared,
    vector::Vector,
};

/// Rows of the matrix that are added at a time, for which sums are read and written once.
const DEPTH: usize = 4;
/// Such rows that are summed up by themselves before their sum is added to the others', so that errors stay small.
const TERMS: usize = 128;
/// Columns that are worked on at a time: so many of the sums, of a few rows, stay in the first-level cache.
const BLOCK: usize = 1024;
/// Sums of a block at most.
const SUMS: usize = 1 << 13;
/// Columns are filled up to a multiple of that, which is a whole number of registers.
const PAD: usize = 16;

/// See [`gemm`](super::gemm).
pub(super) fn gemm<A: RowElement, B: RowElement<Lane = A::Lane>, D: RowElement<Lane = A::Lane>>(
    exec: &Exec,
    a: Matrix<A>,
    b: Matrix<B>,
    sum: Option<Sum<D>>,
    dst: &mut [MaybeUninit<D>],
) {
    let (rows, terms) = (a.rows, a.columns);
    // By groups of terms, and for each by rows; beyond the last term there are zeros.
    let mut factors = vec![[A::Lane::ZERO; DEPTH]; rows * terms.div_ceil(DEPTH)];
    for row in 0..rows {
        for term in 0..terms {
            factors[term / DEPTH * rows + row][term % DEPTH] = a.at(row, term).lane();
        }
    }
    let result = Rows {
        width: b.columns,
        sum,
        dst: &Shared::new(dst),
    };
    let (team, grain) = exec.team(b.columns, terms * size_of::<B>(), rows * terms);
    team.run(b.columns, grain.max(PAD), &|columns| {
        exec.isa.run(Part {
            factors: &factors,
            rows,
            b,
            columns,
            result,
        });
    });
}

/// Some columns of a product.
struct Part<'a, B: RowElement, D> {
    factors: &'a [[B::Lane; DEPTH]],
    rows: usize,
    b: Matrix<'a, B>,
    columns: Range<usize>,
    result: Rows<'a, D>,
}

impl<B: RowElement, D: RowElement<Lane = B::Lane>> Program for Part<'_, B, D> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let rows = self.rows;
        let widest = BLOCK.min(SUMS / rows / PAD * PAD);
        let pitch = widest.min(self.columns.len().next_multiple_of(PAD));
        let mut tile = Tile::<B::Lane>::new((DEPTH + 2 * rows) * pitch);
        let (widened, rest) = tile.get().split_at_mut(DEPTH * pitch);
        let (sums, rest) = rest.split_at_mut(rows * pitch);
        let part = &mut rest[..rows * pitch];
        for first in self.columns.clone().step_by(widest) {
            let block = first..self.columns.end.min(first + widest);
            sums.fill(B::Lane::ZERO);
            for (group, factors) in self.factors.chunks_exact(rows).enumerate() {
                if group % (TERMS / DEPTH) == 0 {
                    part.fill(B::Lane::ZERO);
                }
                self.widen(simd, group, &block, widened);
                add::<B::Lane, S>(simd, factors, widened, part, pitch);
                if (group + 1) % (TERMS / DEPTH) == 0 || group + 1 == self.factors.len() / rows {
                    for (sum, part) in sums.iter_mut().zip(&*part) {
                        *sum += *part;
                    }
                }
            }
            self.result.write(simd, &block, sums.chunks_exact_mut(pitch));
        }
    }
}

impl<B: RowElement, D> Part<'_, B, D> {
    /// Widens a block of a group's rows, and asks memory for that of the next.
    #[inline(always)]
    fn widen<S: Simd>(&self, simd: S, group: usize, block: &Range<usize>, widened: &mut [B::Lane]) {
        let pitch = widened.len() / DEPTH;
        for (row, widened) in (group * DEPTH..).zip(widened.chunks_exact_mut(pitch)) {
            if row < self.b.rows {
                B::widen(simd, self.b.line(row, block.clone()), &mut widened[..block.len()]);
            } else {
                widened.fill(B::Lane::ZERO);
            }
            if row + DEPTH < self.b.rows {
                simd.prefetch(self.b.line(row + DEPTH, block.clone()));
            }
        }
    }
}

/// Adds to the sums of each row a group's rows, times its factors.
#[inline(always)]
fn add<F: RowLane, S: Simd>(simd: S, factors: &[[F; DEPTH]], widened: &[F], sums: &mut [F], pitch: usize) {
    let mut pairs = factors.chunks_exact(2);
    let mut lines = sums.chunks_exact_mut(2 * pitch);
    for (factors, sums) in (&mut pairs).zip(&mut lines) {
        add_to::<F, S, 2>(simd, [factors[0], factors[1]], widened, sums, pitch);
    }
    if let [factors] = pairs.remainder() {
        add_to::<F, S, 1>(simd, [*factors], widened, lines.into_remainder(), pitch);
    }
}

/// The same for so many rows.
#[inline(always)]
fn add_to<F: RowLane, S: Simd, const ROWS: usize>(
    simd: S,
    factors: [[F; DEPTH]; ROWS],
    widened: &[F],
    sums: &mut [F],
    pitch: usize,
) {
    let lanes = Register::<F, S>::LANES;
    let mut registers = [[Register::<F, S>::splat(simd, F::ZERO); DEPTH]; ROWS];
    for (registers, factors) in registers.iter_mut().zip(&factors) {
        for (register, &factor) in registers.iter_mut().zip(factors) {
            *register = Register::<F, S>::splat(simd, factor);
        }
    }
    for at in (0..pitch).step_by(lanes) {
        let mut all = [Register::<F, S>::splat(simd, F::ZERO); ROWS];
        for (row, sum) in all.iter_mut().enumerate() {
            *sum = Register::<F, S>::load(simd, &sums[row * pitch + at..][..lanes]);
        }
        for term in 0..DEPTH {
            let line = Register::<F, S>::load(simd, &widened[term * pitch + at..][..lanes]);
            for row in 0..ROWS {
                all[row] = line.mul_add(registers[row][term], all[row]);
            }
        }
        for (row, sum) in all.iter().enumerate() {
            sum.store(&mut sums[row * pitch + at..][..lanes]);
        }
    }
}
