//! Softmax, its logarithm and logsumexp along the innermost dimension.
//!
//! Sums are taken in blocks, which are added in order, so that a result does not depend on how the work is shared out.

use core::{mem::MaybeUninit, ops::Range, slice};

use super::{
    FLOPS, Kind,
    lanes::{BLOCK, First, Product, Register, RowElement, RowLane, Term, Tile, exp_sum, fold, max, sum},
};
use crate::{
    float::Float,
    isa::{Isa, Program, Simd},
    kernel::Exec,
    math::row_exp::RowExp,
    parallel::{Serial, Team, split_mut},
    vector::Vector,
};

/// Rows beyond this length are cut in blocks that the team can share; the exponentials of shorter ones are kept.
pub(in crate::ops) const LONG: usize = 1 << 16;
/// Elements of rows that are worked on together.
const CACHED: usize = 1 << 10;
/// The least length of a block, and how many there are at most.
const LEAST: usize = 1 << 12;
const BLOCKS: usize = 256;
/// Numbers of as many registers as are worked on together, at most: the compiler's loops take shorter rows one number
/// at a time.
const UNIT: usize = 64;

/// Whether kernels compute in the elements themselves, without widening.
#[inline(always)]
const fn is_lane<T: RowElement>() -> bool {
    size_of::<T>() == size_of::<T::Lane>()
}

/// Calls `of` with registers of rows and the rows' two numbers: the last register of a row runs over into the next,
/// whose results come after.
#[inline(always)]
fn by_register<F: RowLane, S: Simd>(
    simd: S,
    src: &[F],
    dim: usize,
    dst: &mut [F],
    numbers: impl Iterator<Item = (F, F)>,
    of: impl Fn(Register<F, S>, Register<F, S>, Register<F, S>) -> Register<F, S>,
) {
    let (lanes, len) = (Register::<F, S>::LANES, src.len());
    for (row, (a, b)) in numbers.take(len / dim).enumerate() {
        let (a, b) = (Register::<F, S>::splat(simd, a), Register::<F, S>::splat(simd, b));
        let row = row * dim..(row + 1) * dim;
        for at in row.step_by(lanes) {
            if at + lanes <= len {
                of(Register::<F, S>::load(simd, &src[at..]), a, b).store(&mut dst[at..]);
            } else {
                let mut last = [F::ZERO; UNIT];
                last[..len - at].copy_from_slice(&src[at..]);
                of(Register::<F, S>::load(simd, &last), a, b).store(&mut last);
                dst[at..len].copy_from_slice(&last[..len - at]);
            }
        }
    }
}

/// Writes the lifted exponentials of rows, and returns the rows' maxima and the sums.
#[inline(always)]
fn sums<const KEEP: bool, F: RowLane, S: Simd>(
    simd: S,
    values: &[F],
    dim: usize,
    exps: &mut [F],
) -> ([F; ROWS], [F; ROWS]) {
    let (mut maxima, mut sums) = ([F::ZERO; ROWS], [F::ZERO; ROWS]);
    let rows = || values.chunks_exact(dim);
    for (row, found) in rows().zip(&mut maxima) {
        *found = max(simd, row);
    }
    for (((row, exps), &max), total) in rows().zip(exps.chunks_exact_mut(dim)).zip(&maxima).zip(&mut sums) {
        *total = exp_sum::<KEEP, F, S>(simd, row, max, exps);
    }
    (maxima, sums)
}

/// The columns of [`ROWS`] rows at most.
#[inline(always)]
fn transpose<F: Copy>(rows: &[F], dim: usize, columns: &mut [F]) {
    for (i, row) in rows.chunks_exact(dim).enumerate() {
        for (column, &x) in columns.chunks_exact_mut(ROWS).zip(row) {
            column[i] = x;
        }
    }
}

/// The rows of columns.
#[inline(always)]
fn transpose_back<F: Copy>(columns: &[F], dim: usize, rows: &mut [F]) {
    for (i, row) in rows.chunks_exact_mut(dim).enumerate() {
        for (x, column) in row.iter_mut().zip(columns.chunks_exact(ROWS)) {
            *x = column[i];
        }
    }
}

/// Partial sums of a short row.
const SHORT_PARTS: usize = 8;

/// The sums of the terms of transposed rows.
#[inline(always)]
fn column_sums<F: RowLane, S: Simd>(simd: S, a: &[F], b: &[F], term: &impl Term<F>) -> [F; ROWS] {
    let mut sums = [F::ZERO; ROWS];
    for at in (0..ROWS).step_by(Register::<F, S>::LANES) {
        let mut partial = [Register::<F, S>::splat(simd, F::ZERO); SHORT_PARTS];
        for (a, b) in a.chunks(ROWS * SHORT_PARTS).zip(b.chunks(ROWS * SHORT_PARTS)) {
            for (sum, (a, b)) in partial.iter_mut().zip(a.chunks_exact(ROWS).zip(b.chunks_exact(ROWS))) {
                let (a, b) = (
                    Register::<F, S>::load(simd, &a[at..]),
                    Register::<F, S>::load(simd, &b[at..]),
                );
                *sum = term.add_all(*sum, a, b);
            }
        }
        fold(&mut partial, Vector::add).store(&mut sums[at..]);
    }
    sums
}

/// As [`sums`], of rows shorter than [`UNIT`]: the exponentials are transposed, so that a register holds numbers of as
/// many rows, and nothing is summed up across its lanes.
#[inline(always)]
fn short_sums<F: RowLane, S: Simd>(simd: S, values: &[F], dim: usize, exps: &mut [F]) -> ([F; ROWS], [F; ROWS]) {
    let lanes = Register::<F, S>::LANES;
    let exps = &mut exps[..(ROWS * dim).next_multiple_of(UNIT)];
    transpose(values, dim, exps);
    let (mut maxima, mut sums) = ([F::ZERO; ROWS], [F::ZERO; ROWS]);
    for at in (0..ROWS).step_by(lanes) {
        let mut max = Register::<F, S>::splat(simd, F::NEG_INFINITY);
        let mut sum = Register::<F, S>::splat(simd, F::ZERO);
        for column in exps.chunks_exact(ROWS).take(dim) {
            let x = Register::<F, S>::load(simd, &column[at..]);
            max = x.larger(max);
            sum = sum.add(x);
        }
        max.store(&mut maxima[at..]);
        sum.store(&mut sums[at..]);
    }
    // As in `max`.
    for ((row, max), sum) in values.chunks_exact(dim).zip(&mut maxima).zip(&sums) {
        if sum.is_nan() && row.iter().any(|x| x.is_nan()) {
            *max = F::NAN;
        }
    }
    for at in (0..ROWS).step_by(lanes) {
        let max = Register::<F, S>::load(simd, &maxima[at..]);
        for column in exps.chunks_exact_mut(ROWS).take(dim) {
            Register::<F, S>::load(simd, &column[at..])
                .sub(max)
                .store(&mut column[at..]);
        }
    }
    for x in exps.iter_mut() {
        *x = x.exp_lifted();
    }
    let exps = &exps[..ROWS * dim];
    (maxima, column_sums(simd, exps, exps, &First))
}

/// The blocks of a long row.
#[derive(Clone, Copy)]
struct Blocks {
    len: usize,
    block: usize,
}

impl Blocks {
    fn new(len: usize) -> Self {
        Self {
            len,
            block: len.div_ceil(BLOCKS).max(LEAST),
        }
    }

    /// Runs `of(range)` over the blocks, on the team, and combines the results in order.
    fn fold<F: RowLane>(
        self,
        team: &dyn Team,
        start: F,
        of: &(dyn Fn(Range<usize>) -> F + Sync),
        combine: impl Fn(F, F) -> F,
    ) -> F {
        let Self { len, block } = self;
        let mut results = [F::ZERO; BLOCKS];
        let results = &mut results[..len.div_ceil(block)];
        split_mut(team, results, 1, 4, &|first, results| {
            for (i, result) in (first..).zip(results) {
                *result = of(i * block..len.min((i + 1) * block));
            }
        });
        results.iter().fold(start, |all, &one| combine(all, one))
    }
}

struct Max<'a, T>(&'a [T]);

impl<T: RowElement> Program for Max<'_, T> {
    type Output = T::Lane;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> T::Lane {
        let mut tile = [T::Lane::ZERO; BLOCK];
        let mut all = T::Lane::NEG_INFINITY;
        for src in self.0.chunks(BLOCK) {
            all = larger(all, max(simd, T::lanes(simd, src, &mut tile)));
        }
        all
    }
}

/// The larger number; NaN if one is.
#[inline(always)]
fn larger<F: RowLane>(a: F, b: F) -> F {
    if a > b || a.is_nan() { a } else { b }
}

struct ExpSum<'a, T: RowElement> {
    src: &'a [T],
    max: T::Lane,
}

impl<T: RowElement> Program for ExpSum<'_, T> {
    type Output = T::Lane;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> T::Lane {
        let mut tiles = [[T::Lane::ZERO; BLOCK]; 2];
        let [tile, out] = &mut tiles;
        let mut total = T::Lane::ZERO;
        for src in self.src.chunks(BLOCK) {
            total += exp_sum::<false, _, S>(simd, T::lanes(simd, src, tile), self.max, out);
        }
        total
    }
}

/// The maximum of a long row, NaN if there is one, and the lifted sum of its exponentials.
pub(in crate::ops) fn long_sums<T: RowElement>(isa: Isa, team: &dyn Team, row: &[T]) -> (T::Lane, T::Lane) {
    let blocks = Blocks::new(row.len());
    let max = blocks.fold(team, T::Lane::NEG_INFINITY, &|range| isa.run(Max(&row[range])), larger);
    let sum = blocks.fold(
        team,
        T::Lane::ZERO,
        &|range| isa.run(ExpSum { src: &row[range], max }),
        |a, b| a + b,
    );
    (max, sum)
}

/// What is done to whole rows: the team that may share out long ones, the index of the first, and where they go.
pub(in crate::ops) type RowsBody<'a, T> = dyn Fn(&dyn Team, usize, &mut [T]) + Sync + 'a;

/// Shares rows of `dim` elements of `dst` out over the team, `body` taking a range of rows; few long ones one after the
/// other, for `body` to share out.
pub(in crate::ops) fn by_row<T: Send>(team: &dyn Team, grain: usize, dst: &mut [T], dim: usize, body: &RowsBody<T>) {
    let rows = dst.len() / dim;
    if dim > LONG && rows < 4 * team.threads() {
        for (row, dst) in dst.chunks_exact_mut(dim).enumerate() {
            body(team, row, dst);
        }
    } else {
        split_mut(team, dst, dim, grain, &|start, dst| body(&Serial, start / dim, dst));
    }
}

/// Rows that are worked on step by step together, since each step of a row waits for the one before.
const ROWS: usize = 16;

/// How many rows of `dim` elements that is: they stay in the first-level cache.
fn rows_together(dim: usize) -> usize {
    (CACHED / dim).clamp(1, ROWS)
}

/// A thread's memory for such rows: their exponentials, and themselves where they must be widened.
fn tile<T: RowElement>(dim: usize) -> Tile<T::Lane> {
    Tile::new(2 * (rows_together(dim) * dim).next_multiple_of(UNIT))
}

fn tiles<F: RowLane>(tile: &mut Tile<F>, dim: usize) -> (&mut [F], &mut [F]) {
    tile.get()
        .split_at_mut((rows_together(dim) * dim).next_multiple_of(UNIT))
}

/// Rows that fit in a tile.
struct Softmax<'a, T: RowElement> {
    kind: Kind,
    src: &'a [T],
    dst: &'a mut [MaybeUninit<T>],
    dim: usize,
}

impl<T: RowElement> Program for Softmax<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { kind, src, dst, dim } = self;
        let mut tile = tile::<T>(dim);
        let (exps, widened) = tiles(&mut tile, dim);
        let together = rows_together(dim) * dim;
        for (src, dst) in src.chunks(together).zip(dst.chunks_mut(together)) {
            let values = T::lanes(simd, src, widened);
            let (maxima, mut numbers) = if kind == Kind::LogSoftmax {
                sums::<false, _, S>(simd, values, dim, exps)
            } else {
                sums::<true, _, S>(simd, values, dim, exps)
            };
            for (number, &max) in numbers.iter_mut().zip(&maxima) {
                *number = kind.number(max, *number);
            }
            let numbers = maxima.iter().zip(&numbers);
            if kind == Kind::Softmax {
                finish(
                    simd,
                    exps,
                    dst,
                    dim,
                    numbers,
                    #[inline(always)]
                    |exp, _, scale| exp * scale,
                );
                continue;
            }
            let of = |x, max, log| x - max - log;
            if is_lane::<T>() {
                let rows = src.chunks_exact(dim).zip(dst.chunks_exact_mut(dim));
                for ((src, dst), (&max, &log)) in rows.zip(numbers) {
                    T::map(simd, src, dst, |x| of(x, max, log));
                }
            } else {
                finish(simd, widened, dst, dim, numbers, of);
            }
        }
    }
}

/// The results of rows, each from what has been computed of it and its two numbers; rounded all at once, as rows may be
/// short.
#[inline(always)]
fn finish<'a, T: RowElement, S: Simd>(
    simd: S,
    rows: &mut [T::Lane],
    dst: &mut [MaybeUninit<T>],
    dim: usize,
    numbers: impl Iterator<Item = (&'a T::Lane, &'a T::Lane)>,
    of: impl Fn(T::Lane, T::Lane, T::Lane) -> T::Lane,
) {
    let rows = &mut rows[..dst.len()];
    if is_lane::<T>() {
        for ((row, dst), (&a, &b)) in rows.chunks_exact_mut(dim).zip(dst.chunks_exact_mut(dim)).zip(numbers) {
            T::map_lanes(
                simd,
                row,
                dst,
                #[inline(always)]
                |x| of(x, a, b),
            );
        }
    } else {
        for (row, (&a, &b)) in rows.chunks_exact_mut(dim).zip(numbers) {
            row.iter_mut().for_each(|x| *x = of(*x, a, b));
        }
        T::narrow(simd, rows, dst);
    }
}

/// Rows shorter than [`UNIT`].
struct ShortSoftmax<'a, T: RowElement>(Softmax<'a, T>);

impl<T: RowElement> Program for ShortSoftmax<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Softmax { kind, src, dst, dim } = self.0;
        let mut tile = tile::<T>(dim);
        let (exps, widened) = tiles(&mut tile, dim);
        for (src, dst) in src.chunks(ROWS * dim).zip(dst.chunks_mut(ROWS * dim)) {
            let values = T::lanes(simd, src, widened);
            let (maxima, mut numbers) = short_sums(simd, values, dim, exps);
            for (number, &max) in numbers.iter_mut().zip(&maxima) {
                *number = kind.number(max, *number);
            }
            let results = if kind == Kind::Softmax {
                for column in exps.chunks_exact_mut(ROWS).take(dim) {
                    for (exp, &scale) in column.iter_mut().zip(&numbers) {
                        *exp = *exp * scale;
                    }
                }
                transpose_back(exps, dim, &mut widened[..src.len()]);
                &widened[..src.len()]
            } else {
                by_register(
                    simd,
                    values,
                    dim,
                    exps,
                    maxima.into_iter().zip(numbers),
                    #[inline(always)]
                    |x, max, log| x.sub(max).sub(log),
                );
                &exps[..src.len()]
            };
            T::narrow(simd, results, dst);
        }
    }
}

/// A part of a long row.
struct SoftmaxPart<'a, T: RowElement> {
    kind: Kind,
    max: T::Lane,
    number: T::Lane,
    src: &'a [T],
    dst: &'a mut [MaybeUninit<T>],
}

impl<T: RowElement> Program for SoftmaxPart<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self {
            src, dst, max, number, ..
        } = self;
        if self.kind == Kind::LogSoftmax {
            T::map(
                simd,
                src,
                dst,
                #[inline(always)]
                |x| Kind::LogSoftmax.result(x, max, number),
            );
        } else {
            T::map(
                simd,
                src,
                dst,
                #[inline(always)]
                |x| Kind::Softmax.result(x, max, number),
            );
        }
    }
}

/// Softmax or its logarithm of rows of `dim` elements.
pub(super) fn softmax<T: RowElement>(exec: &Exec, kind: Kind, src: &[T], dst: &mut [MaybeUninit<T>], dim: usize) {
    let isa = exec.isa;
    let (team, grain) = exec.team(src.len(), 2 * size_of::<T>(), FLOPS);
    by_row(team, grain, dst, dim, &|team, first, dst| {
        let src = &src[first * dim..][..dst.len()];
        if dim <= LONG {
            let rows = Softmax { kind, src, dst, dim };
            if dim < UNIT {
                isa.run(ShortSoftmax(rows));
            } else {
                isa.run(rows);
            }
            return;
        }
        for (src, dst) in src.chunks_exact(dim).zip(dst.chunks_exact_mut(dim)) {
            let (max, sum) = long_sums(isa, team, src);
            let number = kind.number(max, sum);
            split_mut(team, dst, 1, grain, &|start, dst| {
                isa.run(SoftmaxPart {
                    kind,
                    max,
                    number,
                    src: &src[start..start + dst.len()],
                    dst,
                });
            });
        }
    });
}

/// The sum of the terms of a row or a part of one: see [`Kind::term`].
struct Terms<'a, T> {
    kind: Kind,
    grad: &'a [T],
    result: &'a [T],
}

impl<T: RowElement> Program for Terms<'_, T> {
    type Output = T::Lane;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> T::Lane {
        let mut tiles = [[T::Lane::ZERO; BLOCK]; 2];
        let [grads, results] = &mut tiles;
        let mut total = T::Lane::ZERO;
        for (grad, result) in self.grad.chunks(BLOCK).zip(self.result.chunks(BLOCK)) {
            let (grads, results) = (T::lanes(simd, grad, grads), T::lanes(simd, result, results));
            total += terms(simd, self.kind, grads, results);
        }
        total
    }
}

/// The sum of the terms of at most [`BLOCK`] elements.
#[inline(always)]
fn terms<F: RowLane, S: Simd>(simd: S, kind: Kind, grads: &[F], results: &[F]) -> F {
    match kind {
        Kind::Softmax => sum(simd, grads, results, &Product),
        Kind::LogSoftmax => sum(simd, grads, results, &First),
    }
}

/// The gradients of a part of a row, the sum of whose terms is known.
struct Gradients<'a, T: RowElement> {
    kind: Kind,
    grad: &'a [T],
    result: &'a [T],
    dst: &'a mut [MaybeUninit<T>],
    sum: T::Lane,
}

impl<T: RowElement> Program for Gradients<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (kind, sum) = (self.kind, self.sum);
        T::zip_map(
            simd,
            self.grad,
            self.result,
            self.dst,
            #[inline(always)]
            |grad, result| kind.gradient(grad, result, sum),
        );
    }
}

/// The gradients of rows that fit in a tile.
struct SoftmaxBackward<'a, T: RowElement> {
    kind: Kind,
    grad: &'a [T],
    result: &'a [T],
    dst: &'a mut [MaybeUninit<T>],
    dim: usize,
}

impl<T: RowElement> Program for SoftmaxBackward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (dim, kind) = (self.dim, self.kind);
        let rows = self.grad.chunks_exact(dim).zip(self.result.chunks_exact(dim));
        let rows = rows.zip(self.dst.chunks_exact_mut(dim));
        if is_lane::<T>() {
            for ((grad, result), dst) in rows {
                let sum = Terms { kind, grad, result }.run(simd);
                let gradients = Gradients {
                    kind,
                    grad,
                    result,
                    dst,
                    sum,
                };
                gradients.run(simd);
            }
            return;
        }
        let mut tile = tile::<T>(dim);
        let (grads, results) = tiles(&mut tile, dim);
        let (grads, results) = (&mut grads[..dim], &mut results[..dim]);
        for ((grad, result), dst) in rows {
            T::widen(simd, grad, grads);
            T::widen(simd, result, results);
            let mut sum = T::Lane::ZERO;
            for (grads, results) in grads.chunks(BLOCK).zip(results.chunks(BLOCK)) {
                sum += terms(simd, kind, grads, results);
            }
            T::zip_lanes(
                simd,
                grads,
                results,
                dst,
                #[inline(always)]
                |grad, result| kind.gradient(grad, result, sum),
            );
        }
    }
}

/// The gradients of rows shorter than [`UNIT`]: transposed, as in [`short_sums`].
struct ShortSoftmaxBackward<'a, T: RowElement>(SoftmaxBackward<'a, T>);

impl<T: RowElement> Program for ShortSoftmaxBackward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let SoftmaxBackward {
            kind,
            grad,
            result,
            dst,
            dim,
        } = self.0;
        let together = ROWS * dim;
        let mut tile = Tile::new(3 * together);
        let (grads, rest) = tile.get().split_at_mut(together);
        let (results, rows) = rest.split_at_mut(together);
        let rows = &mut rows[..together];
        let parts = grad.chunks(together).zip(result.chunks(together));
        for ((grad, result), dst) in parts.zip(dst.chunks_mut(together)) {
            transpose(T::lanes(simd, grad, rows), dim, grads);
            transpose(T::lanes(simd, result, rows), dim, results);
            let sums = match kind {
                Kind::Softmax => column_sums(simd, grads, results, &Product),
                Kind::LogSoftmax => column_sums(simd, grads, grads, &First),
            };
            for (grads, results) in grads.chunks_exact_mut(ROWS).zip(results.chunks_exact(ROWS)) {
                for ((grad, &result), &sum) in grads.iter_mut().zip(results).zip(&sums) {
                    *grad = kind.gradient(*grad, result, sum);
                }
            }
            let rows = &mut rows[..dst.len()];
            transpose_back(grads, dim, rows);
            T::narrow(simd, rows, dst);
        }
    }
}

/// The gradient of [`softmax`] from that of its result.
pub(super) fn softmax_backward<T: RowElement>(
    exec: &Exec,
    kind: Kind,
    grad: &[T],
    result: &[T],
    dst: &mut [MaybeUninit<T>],
    dim: usize,
) {
    let isa = exec.isa;
    let (team, grain) = exec.team(grad.len(), 3 * size_of::<T>(), FLOPS);
    by_row(team, grain, dst, dim, &|team, first, dst| {
        let range = first * dim..first * dim + dst.len();
        let (grad, result) = (&grad[range.clone()], &result[range]);
        if dim <= LONG {
            let rows = SoftmaxBackward {
                kind,
                grad,
                result,
                dst,
                dim,
            };
            if dim < UNIT {
                isa.run(ShortSoftmaxBackward(rows));
            } else {
                isa.run(rows);
            }
            return;
        }
        let rows = grad.chunks_exact(dim).zip(result.chunks_exact(dim));
        for ((grad, result), dst) in rows.zip(dst.chunks_exact_mut(dim)) {
            let part = |range: Range<usize>| (&grad[range.clone()], &result[range]);
            let terms = |range| {
                let (grad, result) = part(range);
                isa.run(Terms { kind, grad, result })
            };
            let sum = Blocks::new(dim).fold(team, T::Lane::ZERO, &terms, |a, b| a + b);
            split_mut(team, dst, 1, grain, &|start, dst| {
                let (grad, result) = part(start..start + dst.len());
                isa.run(Gradients {
                    kind,
                    grad,
                    result,
                    dst,
                    sum,
                });
            });
        }
    });
}

/// Calls `of` with the index of the first of some rows, of at most [`LONG`] elements, their maxima, NaN where an element
/// is, and the lifted sums of their exponentials.
#[inline(always)]
pub(in crate::ops) fn each_sums<T: RowElement, S: Simd>(
    simd: S,
    src: &[T],
    dim: usize,
    mut of: impl FnMut(usize, &[T::Lane], &mut [T::Lane]),
) {
    let mut tile = tile::<T>(dim);
    let (exps, widened) = tiles(&mut tile, dim);
    let together = rows_together(dim);
    for (i, src) in src.chunks(together * dim).enumerate() {
        let values = T::lanes(simd, src, widened);
        let (maxima, mut sums) = if dim < UNIT {
            short_sums(simd, values, dim, exps)
        } else {
            sums::<false, _, S>(simd, values, dim, exps)
        };
        let count = src.len() / dim;
        of(i * together, &maxima[..count], &mut sums[..count]);
    }
}

struct Logsumexp<'a, T> {
    src: &'a [T],
    dst: &'a mut [MaybeUninit<T>],
    dim: usize,
}

impl<T: RowElement> Program for Logsumexp<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { src, dst, dim } = self;
        each_sums(
            simd,
            src,
            dim,
            #[inline(always)]
            |first, maxima, sums| {
                for (sum, &max) in sums.iter_mut().zip(maxima) {
                    *sum = super::log_sum(max, *sum);
                }
                T::narrow(simd, sums, &mut dst[first..first + sums.len()]);
            },
        );
    }
}

struct Narrow<'a, T: RowElement>(T::Lane, &'a mut MaybeUninit<T>);

impl<T: RowElement> Program for Narrow<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        T::narrow(simd, &[self.0], slice::from_mut(self.1));
    }
}

/// The logarithm of the sum of exponentials of rows of `dim` elements.
pub(super) fn logsumexp<T: RowElement>(exec: &Exec, src: &[T], dst: &mut [MaybeUninit<T>], dim: usize) {
    let isa = exec.isa;
    let (team, grain) = exec.team(src.len(), size_of::<T>(), FLOPS);
    if dim > LONG {
        for (src, dst) in src.chunks_exact(dim).zip(dst) {
            let (max, sum) = long_sums(isa, team, src);
            isa.run(Narrow(super::log_sum(max, sum), dst));
        }
    } else {
        split_mut(team, dst, 1, grain.div_ceil(dim), &|start, dst| {
            isa.run(Logsumexp {
                src: &src[start * dim..(start + dst.len()) * dim],
                dst,
                dim,
            });
        });
    }
}

struct LogsumexpBackward<'a, T> {
    grad: &'a [T],
    src: &'a [T],
    dst: &'a mut [MaybeUninit<T>],
    dim: usize,
}

impl<T: RowElement> Program for LogsumexpBackward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { grad, src, dst, dim } = self;
        let mut tile = tile::<T>(dim);
        let (exps, widened) = tiles(&mut tile, dim);
        let mut grads = [T::Lane::ZERO; ROWS];
        let together = rows_together(dim);
        let parts = grad.chunks(together).zip(src.chunks(together * dim));
        for ((grad, src), dst) in parts.zip(dst.chunks_mut(together * dim)) {
            let (maxima, sums) = sums::<true, _, S>(simd, T::lanes(simd, src, widened), dim, exps);
            T::widen(simd, grad, &mut grads[..grad.len()]);
            let rows = src.chunks_exact(dim).zip(dst.chunks_exact_mut(dim));
            for (i, (src, dst)) in rows.enumerate() {
                let (grad, max) = (grads[i], maxima[i]);
                let row = i * dim..(i + 1) * dim;
                if super::is_finite(max) {
                    let scale = grad / sums[i];
                    T::map_lanes(
                        simd,
                        &mut exps[row],
                        dst,
                        #[inline(always)]
                        |exp| exp * scale,
                    );
                } else {
                    T::map(
                        simd,
                        src,
                        dst,
                        #[inline(always)]
                        |x| grad * (x - max).exp_fast(),
                    );
                }
            }
        }
    }
}

/// The gradient of [`logsumexp`]: that of the result times the softmax, which is `exp(x - result)` beside infinities, as
/// in torch everywhere.
pub(super) fn logsumexp_backward<T: RowElement>(
    exec: &Exec,
    grad: &[T],
    src: &[T],
    dst: &mut [MaybeUninit<T>],
    dim: usize,
) {
    let (team, grain) = exec.team(src.len(), 2 * size_of::<T>(), FLOPS);
    split_mut(team, dst, dim, grain, &|start, dst| {
        exec.isa.run(LogsumexpBackward {
            grad: &grad[start / dim..(start + dst.len()) / dim],
            src: &src[start..start + dst.len()],
            dst,
            dim,
        });
    });
}
