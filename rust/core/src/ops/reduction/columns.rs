//! Softmax, its logarithm and logsumexp along an outer dimension: strips of neighbouring columns are worked on together.
//!
//! A strip is copied to a dense tile, so that memory is read and written once, in the longest runs that let the tile stay
//! in the second-level cache. Where columns are longer than that, or too few to go round, or where reading again costs less
//! than working on strips of rows that other threads share, they are summed up in blocks of rows, and read again for the
//! result, as in M. Milakov and N. Gimelshein, Online normalizer calculation for softmax,
//! <https://arxiv.org/abs/1805.02867>.

use core::{mem::MaybeUninit, ops::Range, slice};

use super::{
    FLOPS, Kind,
    dense::{Columns, TERMS, Totals, WIDTH},
    is_finite,
    lanes::{RowElement, Tile},
    log_sum,
};
use crate::{
    float::Float,
    isa::{Program, Simd},
    kernel::{Exec, Geometry},
    math::row_exp::RowExp,
    parallel::{Shared, split_mut},
};

/// Numbers in a tile.
const TILE: usize = 1 << 17;
/// Strips that would be narrower than this are cut in blocks, of so many rows that the pages of memory that they lie in are at
/// hand when the next strip needs them: a miss in the address translation costs more than a miss in the caches.
const LEAST: usize = 128;
const ROWS: usize = 128;
/// Runs of a strip that are asked for before they are needed: they lie in other pages, which the CPU does not foresee.
const AHEAD: usize = 4;
/// From so many outer blocks on, threads need not share rows: where they do, each fetches lines that the other writes.
const APART: usize = 4;
/// As many parts as there can be threads at least, of this many elements at least.
const PARTS: usize = 8;
const SMALL: usize = 1 << 16;
const MEDIUM: usize = 1 << 18;
const PART: usize = 1 << 12;

/// How a tensor is cut in parts: strips of columns, and these in blocks of rows. It depends on the geometry alone.
#[derive(Clone, Copy)]
struct Plan {
    geometry: Geometry,
    /// Columns of a strip, but for the last.
    width: usize,
    /// Rows of a block, but for the last.
    block: usize,
}

impl Plan {
    /// Whole strips where they fit, if they are preferred or the tensor is small; else blocks.
    fn new(geometry: Geometry, prefer_strips: bool) -> Self {
        let Geometry { outer, dim, inner } = geometry;
        let fitting = TILE / dim.max(1) / LEAST * LEAST;
        let width = inner.min(WIDTH);
        let strips = |width: usize| outer * inner.div_ceil(width.max(1));
        let narrower = |width: usize| width.min(fitting.max(width.min(LEAST)));
        // Narrower strips rather than blocks, as long as that lasts.
        let mut whole = narrower(width);
        while whole > LEAST && strips(whole) < PARTS {
            whole = (whole / 2).next_multiple_of(LEAST).min(whole - 1);
        }
        // Results from blocks are computed from the input again: a few threads left idle cost less in small tensors.
        let busy = match geometry.len() {
            ..SMALL => 1,
            SMALL..MEDIUM => 2,
            MEDIUM.. => PARTS / 2,
        };
        let preferred = prefer_strips || geometry.len() < SMALL;
        if preferred && whole * dim <= TILE && strips(whole) >= busy {
            return Self {
                geometry,
                width: whole,
                block: dim,
            };
        }
        let share = (dim * strips(width)).div_ceil(PARTS).max(PART / width);
        let most = if width < inner { ROWS } else { TILE / width };
        Self {
            geometry,
            width,
            block: share.next_multiple_of(TERMS).min(most),
        }
    }

    /// Strips of a row, and blocks of a strip.
    fn counts(self) -> (usize, usize) {
        let Geometry { dim, inner, .. } = self.geometry;
        (inner.div_ceil(self.width), dim.div_ceil(self.block))
    }

    /// All parts.
    fn parts(self) -> usize {
        let (strips, blocks) = self.counts();
        self.geometry.outer * blocks * strips
    }

    /// The strip of a part, among those of the tensor.
    fn strip(self, index: usize) -> usize {
        let (strips, blocks) = self.counts();
        index / (strips * blocks) * strips + index % strips
    }

    /// Combines what has been found for parts to that for strips, block by block.
    #[inline(always)]
    fn join<A: Copy>(self, mut found: Vec<A>, and: impl Fn(&mut A, &A)) -> Vec<A> {
        let (strips, blocks) = self.counts();
        for outer in 0..self.geometry.outer {
            for strip in 0..strips {
                let first = outer * blocks * strips + strip;
                let mut all = found[first];
                for block in 1..blocks {
                    and(&mut all, &found[first + block * strips]);
                }
                found[outer * strips + strip] = all;
            }
        }
        found.truncate(self.geometry.outer * strips);
        found
    }

    /// The strips of a block follow one another, then come those of the next block.
    fn nth(self, index: usize) -> Part {
        let Geometry { dim, inner, .. } = self.geometry;
        let (strips, blocks) = self.counts();
        let (outer, block, strip) = (index / (strips * blocks), index / strips % blocks, index % strips);
        let (start, column) = (block * self.block, strip * self.width);
        let width = self.width.min(inner - column);
        // Narrow rows without gaps between them go together.
        let together = if width == inner { (WIDTH / width).max(1) } else { 1 };
        Part {
            first: (outer * dim + start) * inner + column,
            reduced: outer * inner + column,
            width,
            rows: self.block.min(dim - start),
            inner,
            together,
        }
    }

    /// The first part of a strip.
    fn first(self, strip: usize) -> Part {
        let (strips, blocks) = self.counts();
        self.nth(strip / strips * strips * blocks + strip % strips)
    }

    /// Shares the blocks of all columns out over the team.
    fn run_blocks(self, exec: &Exec, bytes: usize, body: &(dyn Fn(Range<usize>) + Sync)) {
        let Geometry { outer, inner, .. } = self.geometry;
        let (team, grain) = exec.team(self.geometry.len(), bytes, FLOPS);
        team.run(outer * self.counts().1, grain.div_ceil(self.block * inner), body);
    }

    /// Shares the parts out over the team.
    fn run(self, exec: &Exec, bytes: usize, body: &(dyn Fn(Range<usize>) + Sync)) {
        let (team, grain) = exec.team(self.geometry.len(), bytes, FLOPS);
        team.run(self.parts(), grain.div_ceil(self.block * self.width), body);
    }
}

/// A block of rows of a strip.
#[derive(Clone, Copy)]
struct Part {
    /// The first element, in the tensor and in a tensor reduced along the dimension.
    first: usize,
    reduced: usize,
    width: usize,
    rows: usize,
    /// The distance of rows, and how many are worked on as one.
    inner: usize,
    together: usize,
}

impl Part {
    /// The columns of a run: of rows that are worked on as one.
    #[inline(always)]
    fn columns(self) -> usize {
        self.width * self.together
    }

    fn len(self) -> usize {
        self.rows * self.width
    }

    fn runs(self) -> usize {
        self.rows.div_ceil(self.together)
    }

    /// Where a run lies in the tensor.
    #[inline(always)]
    fn run(self, index: usize) -> Range<usize> {
        let row = index * self.together;
        let start = self.first + row * self.inner;
        start..start + self.width * self.together.min(self.rows - row)
    }

    fn reduced(self) -> Range<usize> {
        self.reduced..self.reduced + self.width
    }

    /// Copies it to a tile, and takes its totals.
    #[inline(always)]
    fn totals<const KEEP: bool, T: RowElement, S: Simd>(
        self,
        simd: S,
        src: &[T],
        tile: &mut [T::Lane],
    ) -> Totals<T::Lane> {
        let columns = self.columns();
        let tile = &mut tile[..self.len().next_multiple_of(columns)];
        // What is missing of the last run adds nothing.
        tile[self.len()..].fill(T::Lane::NEG_INFINITY);
        Totals::of::<KEEP>(
            tile,
            self.width,
            self.together,
            #[inline(always)]
            |first, rows| {
                for (i, dst) in (first..).zip(rows.chunks_exact_mut(columns)) {
                    let run = self.run(i);
                    if i + AHEAD < self.runs() {
                        simd.prefetch(&src[self.run(i + AHEAD)]);
                    }
                    T::widen(simd, &src[run.clone()], &mut dst[..run.len()]);
                }
            },
        )
    }
}

/// What becomes of the exponentials.
#[derive(Clone, Copy)]
enum Finish<'a, T> {
    Softmax(Kind),
    /// The gradient of logsumexp, from that of its result.
    Gradient(&'a [T]),
}

impl<T: RowElement> Finish<'_, T> {
    fn is_log(self) -> bool {
        matches!(self, Self::Softmax(Kind::LogSoftmax))
    }

    /// What the columns of a part are computed with.
    #[inline(always)]
    fn numbers<S: Simd>(self, simd: S, part: Part, totals: &Totals<T::Lane>) -> Columns<T::Lane> {
        let kind = if self.is_log() { Kind::LogSoftmax } else { Kind::Softmax };
        let mut numbers = totals.numbers(kind, part.columns());
        if let Self::Gradient(grad) = self {
            for numbers in numbers[..part.columns()].chunks_exact_mut(part.width) {
                T::widen(simd, &grad[part.reduced()], numbers);
                for (number, &sum) in numbers.iter_mut().zip(&totals.sum) {
                    *number = *number / sum;
                }
            }
        }
        numbers
    }

    /// The gradients of logsumexp for columns with infinities, which are not subtracted.
    #[inline(always)]
    fn infinite<S: Simd>(self, simd: S, part: Part, src: &[T], dst: &Shared<MaybeUninit<T>>, max: &Columns<T::Lane>) {
        let Self::Gradient(grad) = self else { return };
        for (column, &max) in max[..part.width].iter().enumerate() {
            if is_finite(max) {
                continue;
            }
            let mut wide = [[T::Lane::ZERO]; 2];
            let [grad_of, x] = &mut wide;
            T::widen(simd, slice::from_ref(&grad[part.reduced + column]), grad_of);
            for row in 0..part.rows {
                let at = part.first + row * part.inner + column;
                T::widen(simd, slice::from_ref(&src[at]), x);
                let gradient = grad_of[0] * (x[0] - max).exp_fast();
                // SAFETY: parts are disjoint.
                T::narrow(simd, &[gradient], unsafe { dst.piece(at..at + 1) });
            }
        }
    }
}

/// Parts that are whole strips.
struct Softmax<'a, T: RowElement> {
    finish: Finish<'a, T>,
    src: &'a [T],
    dst: &'a Shared<'a, MaybeUninit<T>>,
    plan: Plan,
    parts: Range<usize>,
}

impl<T: RowElement> Program for Softmax<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self {
            finish, src, dst, plan, ..
        } = self;
        let mut tile = Tile::new(TILE + WIDTH);
        let tile = tile.get();
        let (log, mut scratch) = (finish.is_log(), Columns::of(T::Lane::ZERO));
        for part in self.parts.map(|index| plan.nth(index)) {
            let totals = if log {
                part.totals::<false, T, S>(simd, src, tile)
            } else {
                part.totals::<true, T, S>(simd, src, tile)
            };
            let numbers = finish.numbers(simd, part, &totals);
            for (i, values) in tile.chunks_mut(part.columns()).take(part.runs()).enumerate() {
                let run = part.run(i);
                let values = &mut values[..run.len()];
                if i + AHEAD < part.runs() {
                    // SAFETY: as below; it is given back before that one is taken.
                    simd.prefetch_mut(unsafe { dst.piece(part.run(i + AHEAD)) });
                }
                // SAFETY: parts are disjoint, and so are the runs of one.
                let dst = unsafe { dst.piece(run) };
                if log {
                    let numbers = values.iter().zip(&totals.max).zip(&numbers);
                    let results = numbers.map(
                        #[inline(always)]
                        |((&x, &max), &log)| Kind::LogSoftmax.result(x, max, log),
                    );
                    T::collect(simd, results, &mut scratch, dst);
                } else {
                    T::zip_lanes(
                        simd,
                        values,
                        &numbers[..values.len()],
                        dst,
                        #[inline(always)]
                        |exp, scale| exp * scale,
                    );
                }
            }
            finish.infinite(simd, part, src, dst, &totals.max);
        }
    }
}

/// Blocks of all columns, in the order of memory, from their strips' totals, whose sums have been replaced by numbers.
struct Blocks<'a, T: RowElement> {
    finish: Finish<'a, T>,
    src: &'a [T],
    dst: &'a Shared<'a, MaybeUninit<T>>,
    plan: Plan,
    range: Range<usize>,
    totals: &'a [Totals<T::Lane>],
}

impl<T: RowElement> Program for Blocks<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self {
            finish, src, dst, plan, ..
        } = self;
        let mut tiles = [Columns::of(T::Lane::ZERO); 2];
        let [widened, scratch] = &mut tiles;
        let (strips, _) = plan.counts();
        for block in self.range {
            let parts = block * strips..(block + 1) * strips;
            for i in 0..plan.nth(parts.start).runs() {
                for index in parts.clone() {
                    let run = plan.nth(index).run(i);
                    let Totals { max, sum: numbers } = &self.totals[plan.strip(index)];
                    let values = T::lanes(simd, &src[run.clone()], widened);
                    let numbers = values.iter().zip(max).zip(numbers);
                    // SAFETY: parts are disjoint, and so are the runs of one.
                    let dst = unsafe { dst.piece(run) };
                    if finish.is_log() {
                        let results = numbers.map(
                            #[inline(always)]
                            |((&x, &max), &log)| Kind::LogSoftmax.result(x, max, log),
                        );
                        T::collect(simd, results, scratch, dst);
                    } else {
                        let results = numbers.map(
                            #[inline(always)]
                            |((&x, &max), &scale)| Kind::Softmax.result(x, max, scale),
                        );
                        T::collect(simd, results, scratch, dst);
                    }
                }
            }
            for index in parts {
                finish.infinite(simd, plan.nth(index), src, dst, &self.totals[plan.strip(index)].max);
            }
        }
    }
}

/// The totals of parts.
struct PartTotals<'a, T: RowElement> {
    src: &'a [T],
    plan: Plan,
    start: usize,
    totals: &'a mut [Totals<T::Lane>],
}

impl<T: RowElement> Program for PartTotals<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let mut tile = Tile::new(TILE + WIDTH);
        for (index, totals) in (self.start..).zip(self.totals) {
            *totals = self.plan.nth(index).totals::<false, T, S>(simd, self.src, tile.get());
        }
    }
}

/// The totals of strips: those of their blocks, added in order.
fn strip_totals<T: RowElement>(exec: &Exec, plan: Plan, src: &[T]) -> Vec<Totals<T::Lane>> {
    let (team, grain) = exec.team(src.len(), size_of::<T>(), FLOPS);
    let mut totals = vec![Totals::NONE; plan.parts()];
    let grain = grain.div_ceil(plan.block * plan.width);
    split_mut(team, &mut totals, 1, grain, &|start, totals| {
        exec.isa.run(PartTotals {
            src,
            plan,
            start,
            totals,
        });
    });
    exec.isa.run(Join { plan, totals })
}

struct Join<F> {
    plan: Plan,
    totals: Vec<Totals<F>>,
}

impl<F: RowExp> Program for Join<F> {
    type Output = Vec<Totals<F>>;

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> Self::Output {
        // As a mere path the function would not be inlined.
        #[allow(clippy::redundant_closure_for_method_calls)]
        self.plan.join(
            self.totals,
            #[inline(always)]
            |all, one| all.and(one),
        )
    }
}

/// Replaces the sums of strips by what their results are computed with.
struct Numbers<'a, T: RowElement> {
    finish: Finish<'a, T>,
    plan: Plan,
    totals: &'a mut [Totals<T::Lane>],
}

impl<T: RowElement> Program for Numbers<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        for (strip, totals) in self.totals.iter_mut().enumerate() {
            totals.sum = self.finish.numbers(simd, self.plan.first(strip), totals);
        }
    }
}

/// Softmax or its logarithm along the geometry's dimension.
pub(super) fn softmax<T: RowElement>(
    exec: &Exec,
    kind: Kind,
    src: &[T],
    dst: &mut [MaybeUninit<T>],
    geometry: Geometry,
) {
    exponentials(exec, Finish::Softmax(kind), src, dst, geometry);
}

/// The gradient of [`logsumexp`]: see [`rows::logsumexp_backward`](super::rows::logsumexp_backward).
pub(super) fn logsumexp_backward<T: RowElement>(
    exec: &Exec,
    grad: &[T],
    src: &[T],
    dst: &mut [MaybeUninit<T>],
    geometry: Geometry,
) {
    exponentials(exec, Finish::Gradient(grad), src, dst, geometry);
}

fn exponentials<T: RowElement>(
    exec: &Exec,
    finish: Finish<T>,
    src: &[T],
    dst: &mut [MaybeUninit<T>],
    geometry: Geometry,
) {
    // The exponentials are taken twice in blocks; in half types, whose strips are short, and in f64 that costs more.
    let prefer_strips = size_of::<T>() != size_of::<f32>() || geometry.outer >= APART;
    let (plan, isa) = (Plan::new(geometry, prefer_strips), exec.isa);
    let bytes = 2 * size_of::<T>();
    if plan.counts().1 == 1 {
        let dst = &Shared::new(dst);
        plan.run(exec, bytes, &|parts| {
            isa.run(Softmax {
                finish,
                src,
                dst,
                plan,
                parts,
            });
        });
        return;
    }
    let mut totals = strip_totals(exec, plan, src);
    isa.run(Numbers {
        finish,
        plan,
        totals: &mut totals,
    });
    let dst = &Shared::new(dst);
    plan.run_blocks(exec, bytes, &|blocks| {
        isa.run(Blocks {
            finish,
            src,
            dst,
            plan,
            range: blocks,
            totals: &totals,
        });
    });
}

struct Logsumexp<'a, T: RowElement> {
    dst: &'a mut [MaybeUninit<T>],
    plan: Plan,
    totals: &'a [Totals<T::Lane>],
}

impl<T: RowElement> Program for Logsumexp<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        for (strip, totals) in self.totals.iter().enumerate() {
            let part = self.plan.first(strip);
            let mut results = totals.sum;
            for (result, &max) in results[..part.width].iter_mut().zip(&totals.max) {
                *result = log_sum(max, *result);
            }
            T::narrow(simd, &results[..part.width], &mut self.dst[part.reduced()]);
        }
    }
}

/// The logarithm of the sum of exponentials along the geometry's dimension.
pub(super) fn logsumexp<T: RowElement>(exec: &Exec, src: &[T], dst: &mut [MaybeUninit<T>], geometry: Geometry) {
    let plan = Plan::new(geometry, geometry.outer >= APART);
    let totals = strip_totals(exec, plan, src);
    exec.isa.run(Logsumexp {
        dst,
        plan,
        totals: &totals,
    });
}

/// The sums of the terms of parts, see [`Kind::term`].
struct Terms<'a, T: RowElement> {
    kind: Kind,
    grad: &'a [T],
    result: &'a [T],
    plan: Plan,
    start: usize,
    sums: &'a mut [Columns<T::Lane>],
}

impl<T: RowElement> Program for Terms<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let kind = self.kind;
        let (mut grads, mut results) = (Columns::of(T::Lane::ZERO), Columns::of(T::Lane::ZERO));
        for (index, found) in (self.start..).zip(self.sums) {
            let part = self.plan.nth(index);
            let mut sums = Columns::of(T::Lane::ZERO);
            for start in (0..part.runs()).step_by(TERMS) {
                let mut partial = Columns::of(T::Lane::ZERO);
                for i in start..part.runs().min(start + TERMS) {
                    let run = part.run(i);
                    let grads = T::lanes(simd, &self.grad[run.clone()], &mut grads);
                    let results = T::lanes(simd, &self.result[run], &mut results);
                    for ((sum, &grad), &result) in partial.iter_mut().zip(grads).zip(results) {
                        *sum += kind.term(grad, result);
                    }
                }
                sums.iter_mut()
                    .zip(&partial)
                    .for_each(|(sum, &partial)| *sum += partial);
            }
            super::dense::join(&mut sums, part.width, part.together, |a, b| a + b);
            *found = sums;
        }
    }
}

/// Blocks of all columns, or, without the sums of the strips, whole strips.
struct SoftmaxBackward<'a, T: RowElement> {
    kind: Kind,
    grad: &'a [T],
    result: &'a [T],
    dst: &'a Shared<'a, MaybeUninit<T>>,
    plan: Plan,
    parts: Range<usize>,
    sums: &'a [Columns<T::Lane>],
}

impl<T: RowElement> SoftmaxBackward<'_, T> {
    #[inline(always)]
    fn gradients<S: Simd>(
        &self,
        simd: S,
        run: Range<usize>,
        sums: &Columns<T::Lane>,
        [grads, results, scratch]: [&mut Columns<T::Lane>; 3],
    ) {
        let grads = T::lanes(simd, &self.grad[run.clone()], grads);
        let results = T::lanes(simd, &self.result[run.clone()], results);
        let gradients = grads.iter().zip(results).zip(sums).map(
            #[inline(always)]
            |((&grad, &result), &sum)| self.kind.gradient(grad, result, sum),
        );
        // SAFETY: parts are disjoint, and so are the runs of one.
        T::collect(simd, gradients, scratch, unsafe { self.dst.piece(run) });
    }
}

impl<T: RowElement> Program for SoftmaxBackward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let plan = self.plan;
        let (mut grads, mut results) = (Columns::of(T::Lane::ZERO), Columns::of(T::Lane::ZERO));
        let mut gradients = Columns::of(T::Lane::ZERO);
        for index in self.parts.clone() {
            if self.sums.is_empty() {
                let mut sums = [Columns::of(T::Lane::ZERO)];
                let terms = Terms {
                    kind: self.kind,
                    grad: self.grad,
                    result: self.result,
                    plan,
                    start: index,
                    sums: &mut sums,
                };
                terms.run(simd);
                let part = plan.nth(index);
                for i in 0..part.runs() {
                    let tiles = [&mut grads, &mut results, &mut gradients];
                    self.gradients(simd, part.run(i), &sums[0], tiles);
                }
                continue;
            }
            let (strips, _) = plan.counts();
            let parts = index * strips..(index + 1) * strips;
            for i in 0..plan.nth(parts.start).runs() {
                for index in parts.clone() {
                    let tiles = [&mut grads, &mut results, &mut gradients];
                    self.gradients(simd, plan.nth(index).run(i), &self.sums[plan.strip(index)], tiles);
                }
            }
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
    geometry: Geometry,
) {
    let plan = Plan::new(geometry, false);
    let mut sums = Vec::new();
    if plan.counts().1 > 1 {
        let (team, grain) = exec.team(grad.len(), 2 * size_of::<T>(), 1);
        sums.resize(plan.parts(), Columns::of(T::Lane::ZERO));
        let grain = grain.div_ceil(plan.block * plan.width);
        split_mut(team, &mut sums, 1, grain, &|start, sums| {
            exec.isa.run(Terms {
                kind,
                grad,
                result,
                plan,
                start,
                sums,
            });
        });
        sums = plan.join(sums, |all, one| {
            all.iter_mut().zip(one).for_each(|(all, &one)| *all += one);
        });
    }
    let dst = &Shared::new(dst);
    let body = |parts| {
        exec.isa.run(SoftmaxBackward {
            kind,
            grad,
            result,
            dst,
            plan,
            parts,
            sums: &sums,
        });
    };
    if sums.is_empty() {
        plan.run(exec, 3 * size_of::<T>(), &body);
    } else {
        plan.run_blocks(exec, 3 * size_of::<T>(), &body);
    }
}
