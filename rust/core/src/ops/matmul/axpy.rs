//! Products of few rows and a row-major matrix: each row of it, times an element of each of the few, is added to theirs, and
//! is read once, where it lies.

use core::{mem::MaybeUninit, ops::Range};

use super::{Matrix, Rows, Sum, microkernel::filled_up};
use crate::{
    isa::{Program, Simd},
    kernel::Exec,
    math::row_exp::RowExp,
    ops::reduction::lanes::{Register, RowElement, RowLane, Tile},
    parallel::Shared,
    vector::Vector,
};

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
    // As many factors as stay in registers beside the sums.
    if a.rows == 1 {
        by::<8, A, B, D>(exec, a, b, sum, dst);
    } else {
        by::<4, A, B, D>(exec, a, b, sum, dst);
    }
}

/// The same, with so many rows of the matrix at a time, for which sums are read and written once.
fn by<const DEPTH: usize, A: RowElement, B: RowElement<Lane = A::Lane>, D: RowElement<Lane = A::Lane>>(
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
    let zeros = [B::rounded(A::Lane::ZERO); BLOCK];
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
            zeros: &zeros,
            columns,
            result,
        });
    });
}

/// Some columns of a product.
struct Part<'a, B: RowElement, D, const DEPTH: usize> {
    factors: &'a [[B::Lane; DEPTH]],
    rows: usize,
    b: Matrix<'a, B>,
    /// What stands for the rows beyond the last one.
    zeros: &'a [B; BLOCK],
    columns: Range<usize>,
    result: Rows<'a, D>,
}

impl<B: RowElement, D: RowElement<Lane = B::Lane>, const DEPTH: usize> Program for Part<'_, B, D, DEPTH> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        match (S::F32::LANES, size_of::<B::Lane>()) {
            (16, 4) => self.by::<S, 16>(simd),
            (16, _) | (_, 4) => self.by::<S, 8>(simd),
            _ => self.by::<S, 4>(simd),
        }
    }
}

impl<B: RowElement, D: RowElement<Lane = B::Lane>, const DEPTH: usize> Part<'_, B, D, DEPTH> {
    /// With registers of `LANES` numbers.
    #[inline(always)]
    fn by<S: Simd, const LANES: usize>(self, simd: S) {
        let rows = self.rows;
        let widest = BLOCK.min(SUMS / rows / PAD * PAD);
        let pitch = widest.min(self.columns.len().next_multiple_of(PAD));
        let mut tile = Tile::<B::Lane>::new(2 * rows * pitch);
        let (sums, rest) = tile.get().split_at_mut(rows * pitch);
        let part = &mut rest[..rows * pitch];
        for first in self.columns.clone().step_by(widest) {
            let block = first..self.columns.end.min(first + widest);
            sums.fill(B::Lane::ZERO);
            for (group, factors) in self.factors.chunks_exact(rows).enumerate() {
                if group % (TERMS / DEPTH) == 0 {
                    part.fill(B::Lane::ZERO);
                }
                let lines: [&[B]; DEPTH] = core::array::from_fn(|term| {
                    let row = group * DEPTH + term;
                    if row < self.b.rows {
                        self.b.line(row, block.clone())
                    } else {
                        &self.zeros[..block.len()]
                    }
                });
                add::<B, S, LANES, DEPTH>(simd, factors, lines, part, pitch);
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

/// Adds to the sums of each row a group's lines, times its factors.
#[inline(always)]
fn add<B: RowElement, S: Simd, const LANES: usize, const DEPTH: usize>(
    simd: S,
    factors: &[[B::Lane; DEPTH]],
    lines: [&[B]; DEPTH],
    sums: &mut [B::Lane],
    pitch: usize,
) {
    let mut pairs = factors.chunks_exact(2);
    let mut rows = sums.chunks_exact_mut(2 * pitch);
    for (factors, sums) in (&mut pairs).zip(&mut rows) {
        add_to::<B, S, LANES, DEPTH, 2>(simd, [factors[0], factors[1]], lines, sums, pitch);
    }
    if let [factors] = pairs.remainder() {
        add_to::<B, S, LANES, DEPTH, 1>(simd, [*factors], lines, rows.into_remainder(), pitch);
    }
}

/// The same for so many rows.
#[inline(always)]
fn add_to<B: RowElement, S: Simd, const LANES: usize, const DEPTH: usize, const ROWS: usize>(
    simd: S,
    factors: [[B::Lane; DEPTH]; ROWS],
    lines: [&[B]; DEPTH],
    sums: &mut [B::Lane],
    pitch: usize,
) {
    assert_eq!(LANES, Register::<B::Lane, S>::LANES, "the numbers of a register");
    let mut registers = [[Register::<B::Lane, S>::splat(simd, B::Lane::ZERO); DEPTH]; ROWS];
    for (registers, factors) in registers.iter_mut().zip(&factors) {
        for (register, &factor) in registers.iter_mut().zip(factors) {
            *register = Register::<B::Lane, S>::splat(simd, factor);
        }
    }
    // Of one length each, by arrays, so that nothing is checked in the loop.
    let len = lines[0].len();
    let steps = len / LANES;
    let mut rows = sums.chunks_exact_mut(pitch);
    let mut sums: [&mut [[B::Lane; LANES]]; ROWS] = core::array::from_fn(
        #[inline(always)]
        |_| {
            let row = rows.next().expect("sums of each row");
            &mut row.as_chunks_mut::<LANES>().0[..len.div_ceil(LANES)]
        },
    );
    if len > steps * LANES {
        let rest: [[B::Lane; LANES]; DEPTH] = filled_up(&lines, steps * LANES);
        add_register(
            simd,
            &registers,
            #[inline(always)]
            |term| Register::<B::Lane, S>::load(simd, &rest[term]),
            &mut sums,
            steps,
        );
    }
    let lines = lines.map(
        #[inline(always)]
        |line| &line.as_chunks::<LANES>().0[..steps],
    );
    let mut sums = sums.map(
        #[inline(always)]
        |sums| &mut sums[..steps],
    );
    let line = |term: usize, step: usize| B::register(simd, &lines[term][step]);
    for step in 0..steps {
        add_register(
            simd,
            &registers,
            #[inline(always)]
            |term| line(term, step),
            &mut sums,
            step,
        );
    }
}

/// Adds to a register of the sums of each row.
#[inline(always)]
fn add_register<F: RowLane, S: Simd, const LANES: usize, const DEPTH: usize, const ROWS: usize>(
    simd: S,
    factors: &[[Register<F, S>; DEPTH]; ROWS],
    line: impl Fn(usize) -> Register<F, S>,
    sums: &mut [&mut [[F; LANES]]; ROWS],
    step: usize,
) {
    let mut all = [Register::<F, S>::splat(simd, F::ZERO); ROWS];
    for (all, sums) in all.iter_mut().zip(&*sums) {
        *all = Register::<F, S>::load(simd, &sums[step]);
    }
    for term in 0..DEPTH {
        let line = line(term);
        for (all, factors) in all.iter_mut().zip(factors) {
            *all = line.mul_add(factors[term], *all);
        }
    }
    for (all, sums) in all.iter().zip(sums) {
        all.store(&mut sums[step]);
    }
}
