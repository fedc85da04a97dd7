//! What `softmax`, `log_softmax` and `logsumexp` share: maxima and sums of exponentials along a dimension.
//!
//! Sums are taken in [`LANES`] partial sums over blocks of [`BLOCK`], and the blocks added in order, so that a result
//! depends neither on the instruction set nor on how the work is shared out.

use core::{mem::MaybeUninit, ops::Range};

use crate::{
    dtype::Element,
    float::Float,
    isa::{Isa, Program, Simd},
    kernel::{Exec, Geometry},
    parallel::{Shared, Team, split_mut},
};

/// Partial results of a reduction: one 512-bit vector of singles.
const LANES: usize = 16;
/// Elements that one partial sum covers.
const BLOCK: usize = 4096;
/// Rows beyond this length are worked on by the whole team, without scratch memory.
const LONG: usize = 1 << 16;
/// Columns that are worked on together.
const STRIP: usize = 128;
/// Widened values of one strip.
const CACHED: usize = 1 << 16;
/// Floating-point instructions of one element.
const FLOPS: usize = 16;

/// Which of the two softmaxes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Softmax,
    LogSoftmax,
}

/// The value of an output element, from that of its input and its row's maximum and sum of exponentials.
#[derive(Clone, Copy)]
struct Finish<F> {
    log: bool,
    max: F,
    /// The reciprocal of the sum, or its logarithm.
    scale: F,
}

impl<F: Float> Finish<F> {
    #[inline(always)]
    fn new(kind: Kind, max: F, sum: F) -> Self {
        let log = kind == Kind::LogSoftmax;
        Self {
            log,
            max,
            scale: if log { sum.ln() } else { F::of(1.0) / sum },
        }
    }

    #[inline(always)]
    fn apply(self, x: F) -> F {
        if self.log {
            x - self.max - self.scale
        } else {
            (x - self.max).exp_fast() * self.scale
        }
    }
}

/// Fills the end of `scratch` with minus infinity, whose exponential adds nothing to a sum.
#[inline(always)]
fn pad<F: Float>(scratch: &mut [F], len: usize) {
    scratch[len..].fill(F::NEG_INFINITY);
}

/// The largest element; a NaN is passed over, and shows in the sum.
#[inline(always)]
fn max<F: Float>(padded: &[F]) -> F {
    let mut lanes = [F::NEG_INFINITY; LANES];
    for chunk in padded.as_chunks::<LANES>().0 {
        for (lane, &x) in lanes.iter_mut().zip(chunk) {
            *lane = x.larger(*lane);
        }
    }
    lanes.into_iter().fold(F::NEG_INFINITY, Float::larger)
}

/// Sums the partial results, pairwise.
#[inline(always)]
fn sum_lanes<F: Float>(mut lanes: [F; LANES]) -> F {
    let mut width = LANES / 2;
    while width > 0 {
        for i in 0..width {
            let upper = lanes[i + width];
            lanes[i] += upper;
        }
        width /= 2;
    }
    lanes[0]
}

/// Replaces every element by `exp(x - max)` and returns their sum.
#[inline(always)]
fn exp_sum<F: Float>(padded: &mut [F], max: F) -> F {
    let mut total = F::default();
    for block in padded.chunks_mut(BLOCK) {
        let mut lanes = [F::default(); LANES];
        for chunk in block.as_chunks_mut::<LANES>().0 {
            for (lane, x) in lanes.iter_mut().zip(chunk) {
                *x = (*x - max).exp_fast();
                *lane += *x;
            }
        }
        total += sum_lanes(lanes);
    }
    total
}

/// As [`exp_sum`], of the elements' own type, leaving the elements.
struct Sums<'a, T: Element> {
    src: &'a [T],
    max: T::Lane,
}

impl<T: Element> Program for Sums<'_, T> {
    type Output = T::Lane;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> T::Lane {
        let mut tile = [T::Lane::default(); BLOCK];
        let padded = self.src.len().next_multiple_of(LANES);
        T::widen(simd, self.src, &mut tile[..self.src.len()]);
        pad(&mut tile[..padded], self.src.len());
        exp_sum(&mut tile[..padded], self.max)
    }
}

struct Max<'a, T>(&'a [T]);

impl<T: Element> Program for Max<'_, T> {
    type Output = T::Lane;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> T::Lane {
        let mut tile = [T::Lane::default(); BLOCK];
        let padded = self.0.len().next_multiple_of(LANES);
        T::widen(simd, self.0, &mut tile[..self.0.len()]);
        pad(&mut tile[..padded], self.0.len());
        max(&tile[..padded])
    }
}

/// Runs `block(range)` over the blocks of a long row and returns the results in order.
fn by_block<F: Float>(team: &dyn Team, len: usize, block: &(dyn Fn(Range<usize>) -> F + Sync)) -> Vec<F> {
    let mut partial = vec![F::default(); len.div_ceil(BLOCK)];
    split_mut(team, &mut partial, 1, 4, &|start, partial| {
        for (i, result) in (start..).zip(partial) {
            *result = block(i * BLOCK..len.min((i + 1) * BLOCK));
        }
    });
    partial
}

/// Maximum and sum of exponentials of a long row, by the team.
fn long_row<T: Element>(isa: Isa, team: &dyn Team, row: &[T]) -> (T::Lane, T::Lane) {
    let maxima = by_block(team, row.len(), &|range| isa.run(Max(&row[range])));
    let max = maxima.into_iter().fold(T::Lane::NEG_INFINITY, Float::larger);
    let mut sum = T::Lane::default();
    for partial in by_block(team, row.len(), &|range| isa.run(Sums { src: &row[range], max })) {
        sum += partial;
    }
    (max, sum)
}

/// Up to [`STRIP`] neighbouring columns, widened, with their maxima and, once taken, sums of exponentials.
struct Columns<F> {
    values: Vec<F>,
    dim: usize,
    width: usize,
    max: [F; STRIP],
    sum: [F; STRIP],
}

impl<F: Float> Columns<F> {
    /// `row(d)` is row `d` of the strip, of `width` elements.
    #[inline(always)]
    fn new<'a, T: Element<Lane = F>, S: Simd>(
        simd: S,
        dim: usize,
        width: usize,
        row: impl Fn(usize) -> &'a [T],
    ) -> Self {
        let mut columns = Self {
            values: vec![F::default(); dim * width],
            dim,
            width,
            max: [F::NEG_INFINITY; STRIP],
            sum: [F::default(); STRIP],
        };
        for (d, values) in columns.values.chunks_exact_mut(width).enumerate() {
            T::widen(simd, row(d), values);
            for (max, &x) in columns.max.iter_mut().zip(&*values) {
                *max = x.larger(*max);
            }
        }
        columns
    }

    /// Sums the exponentials, which replace the values if `keep`.
    #[inline(always)]
    fn exp_sum(&mut self, keep: bool) {
        for block in self.values.chunks_mut(self.width * rows_of_block(self.dim)) {
            let mut partial = [F::default(); STRIP];
            for values in block.chunks_exact_mut(self.width) {
                for ((x, &max), sum) in values.iter_mut().zip(&self.max).zip(&mut partial) {
                    let exp = (*x - max).exp_fast();
                    *sum += exp;
                    if keep {
                        *x = exp;
                    }
                }
            }
            add_to(&mut self.sum, &partial);
        }
    }
}

/// Rows whose sum is taken by itself, so that the error of a sum of many rows stays small.
fn rows_of_block(dim: usize) -> usize {
    dim.isqrt().max(32)
}

#[inline(always)]
fn add_to<F: Float>(sums: &mut [F; STRIP], partial: &[F; STRIP]) {
    sums.iter_mut().zip(partial).for_each(|(sum, &partial)| *sum += partial);
}

impl<F: Float> Columns<F> {
    /// Makes of the sums the logarithms of the sums of exponentials.
    #[inline(always)]
    fn logsumexp(&mut self) {
        self.max.iter_mut().for_each(|max| *max = finite(*max));
        self.exp_sum(false);
        for (sum, &max) in self.sum.iter_mut().zip(&self.max) {
            *sum = sum.ln() + max;
        }
    }
}

/// One strip of columns: where it starts in its block, and how wide it is.
#[derive(Clone, Copy)]
struct Strip {
    base: usize,
    width: usize,
    inner: usize,
}

impl Strip {
    /// The widest whose values stay in the second-level cache, down to one vector.
    fn widest(geometry: Geometry) -> usize {
        (CACHED / geometry.dim.max(1))
            .next_multiple_of(LANES)
            .clamp(LANES, STRIP)
            .min(geometry.inner)
    }

    fn count(geometry: Geometry) -> usize {
        geometry.outer * geometry.inner.div_ceil(Self::widest(geometry))
    }

    fn nth(geometry: Geometry, index: usize) -> Self {
        let width = Self::widest(geometry);
        let per_block = geometry.inner.div_ceil(width);
        let column = index % per_block * width;
        Self {
            base: index / per_block * geometry.dim * geometry.inner + column,
            width: width.min(geometry.inner - column),
            inner: geometry.inner,
        }
    }

    #[inline(always)]
    fn row(self, d: usize) -> Range<usize> {
        let start = self.base + d * self.inner;
        start..start + self.width
    }
}

/// Shares the strips out over the team.
fn by_strip(exec: &Exec, geometry: Geometry, bytes: usize, body: &(dyn Fn(Strip) + Sync)) {
    let (team, grain) = exec.team(geometry.len(), bytes, 2 * FLOPS);
    let strip = geometry.dim * Strip::widest(geometry);
    team.run(Strip::count(geometry), grain.div_ceil(strip), &|range| {
        range.for_each(|index| body(Strip::nth(geometry, index)));
    });
}

/// Why a geometry is better left to stock torch.
pub(super) fn accepts(geometry: Geometry) -> Result<(), &'static str> {
    if geometry.inner > 1 && geometry.inner < 8 {
        Err("few columns")
    } else {
        Ok(())
    }
}

struct SoftmaxRows<'a, T> {
    kind: Kind,
    src: &'a [T],
    dst: &'a mut [MaybeUninit<T>],
    dim: usize,
}

impl<T: Element> Program for SoftmaxRows<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let dim = self.dim;
        let mut scratch = vec![T::Lane::default(); dim.next_multiple_of(LANES)];
        for (src, dst) in self.src.chunks_exact(dim).zip(self.dst.chunks_exact_mut(dim)) {
            T::widen(simd, src, &mut scratch[..dim]);
            pad(&mut scratch, dim);
            let max = max(&scratch);
            let finish = Finish::new(self.kind, max, exp_sum(&mut scratch, max));
            if finish.log {
                T::map(
                    simd,
                    src,
                    dst,
                    #[inline(always)]
                    |x| x - finish.max - finish.scale,
                );
            } else {
                T::map_lanes(
                    simd,
                    &mut scratch[..dim],
                    dst,
                    #[inline(always)]
                    |exp| exp * finish.scale,
                );
            }
        }
    }
}

struct SoftmaxPiece<'a, T: Element> {
    finish: Finish<T::Lane>,
    src: &'a [T],
    dst: &'a mut [MaybeUninit<T>],
}

impl<T: Element> Program for SoftmaxPiece<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let finish = self.finish;
        T::map(
            simd,
            self.src,
            self.dst,
            #[inline(always)]
            |x| finish.apply(x),
        );
    }
}

struct SoftmaxStrip<'a, T> {
    kind: Kind,
    src: &'a [T],
    dst: &'a Shared<'a, MaybeUninit<T>>,
    strip: Strip,
    dim: usize,
}

impl<T: Element> Program for SoftmaxStrip<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (strip, width, log) = (self.strip, self.strip.width, self.kind == Kind::LogSoftmax);
        let mut columns = Columns::new(simd, self.dim, width, |d| &self.src[strip.row(d)]);
        columns.exp_sum(!log);
        for sum in &mut columns.sum[..width] {
            *sum = if log { sum.ln() } else { T::Lane::of(1.0) / *sum };
        }
        for (d, values) in columns.values.chunks_exact_mut(width).enumerate() {
            if log {
                for ((x, &max), &log) in values.iter_mut().zip(&columns.max).zip(&columns.sum) {
                    *x = *x - max - log;
                }
            } else {
                values.iter_mut().zip(&columns.sum).for_each(
                    #[inline(always)]
                    |(x, &scale)| *x = *x * scale,
                );
            }
            // SAFETY: strips are disjoint, and so are the rows of one.
            T::narrow(simd, values, unsafe { self.dst.piece(strip.row(d)) });
        }
    }
}

/// Softmax or its logarithm along the geometry's dimension.
pub(super) fn softmax<T: Element>(exec: &Exec, kind: Kind, src: &[T], dst: &mut [MaybeUninit<T>], geometry: Geometry) {
    assert!(
        src.len() == geometry.len() && dst.len() == src.len(),
        "the slices differ from the geometry"
    );
    let (dim, isa) = (geometry.dim, exec.isa);
    let (team, grain) = exec.team(src.len(), 2 * size_of::<T>(), FLOPS);
    if geometry.inner > 1 {
        let shared = Shared::new(dst);
        by_strip(exec, geometry, 2 * size_of::<T>(), &|strip| {
            isa.run(SoftmaxStrip {
                kind,
                src,
                dst: &shared,
                strip,
                dim,
            });
        });
    } else if dim > LONG {
        for (src, dst) in src.chunks_exact(dim).zip(dst.chunks_exact_mut(dim)) {
            let (max, sum) = long_row(isa, team, src);
            let finish = Finish::new(kind, max, sum);
            split_mut(team, dst, 1, grain, &|start, dst| {
                isa.run(SoftmaxPiece {
                    finish,
                    src: &src[start..start + dst.len()],
                    dst,
                });
            });
        }
    } else {
        split_mut(team, dst, dim, grain, &|start, dst| {
            isa.run(SoftmaxRows {
                kind,
                src: &src[start..start + dst.len()],
                dst,
                dim,
            });
        });
    }
}

/// What an element adds to its row's sum in the backward pass, and the gradient from that sum.
impl Kind {
    #[inline(always)]
    fn term<F: Float>(self, grad: F, result: F) -> F {
        if self == Self::Softmax { grad * result } else { grad }
    }

    #[inline(always)]
    fn gradient<F: Float>(self, grad: F, result: F, sum: F) -> F {
        if self == Self::Softmax {
            (grad - sum) * result
        } else {
            grad - result.exp_fast() * sum
        }
    }
}

struct BackwardRows<'a, T> {
    kind: Kind,
    grad: &'a [T],
    result: &'a [T],
    dst: &'a mut [MaybeUninit<T>],
    dim: usize,
}

impl<T: Element> Program for BackwardRows<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (dim, kind) = (self.dim, self.kind);
        let rows = self
            .grad
            .chunks_exact(dim)
            .zip(self.result.chunks_exact(dim))
            .zip(self.dst.chunks_exact_mut(dim));
        for ((grad, result), dst) in rows {
            let mut sum = T::Lane::default();
            for (grad, result) in grad.chunks(BLOCK).zip(result.chunks(BLOCK)) {
                sum += Terms { kind, grad, result }.run(simd);
            }
            T::zip_map(
                simd,
                grad,
                result,
                dst,
                #[inline(always)]
                |grad, result| kind.gradient(grad, result, sum),
            );
        }
    }
}

/// The sum of one block's terms.
struct Terms<'a, T> {
    kind: Kind,
    grad: &'a [T],
    result: &'a [T],
}

impl<T: Element> Program for Terms<'_, T> {
    type Output = T::Lane;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> T::Lane {
        const PART: usize = 512;
        let (mut grads, mut results) = ([T::Lane::default(); PART], [T::Lane::default(); PART]);
        let mut lanes = [T::Lane::default(); LANES];
        for (grad, result) in self.grad.chunks(PART).zip(self.result.chunks(PART)) {
            let (len, padded) = (grad.len(), grad.len().next_multiple_of(LANES));
            T::widen(simd, grad, &mut grads[..len]);
            T::widen(simd, result, &mut results[..len]);
            grads[len..padded].fill(T::Lane::default());
            results[len..padded].fill(T::Lane::default());
            let pairs = grads[..padded]
                .as_chunks::<LANES>()
                .0
                .iter()
                .zip(results[..padded].as_chunks::<LANES>().0);
            for (grad, result) in pairs {
                for ((lane, &grad), &result) in lanes.iter_mut().zip(grad).zip(result) {
                    *lane += self.kind.term(grad, result);
                }
            }
        }
        sum_lanes(lanes)
    }
}

struct BackwardPiece<'a, T: Element> {
    kind: Kind,
    grad: &'a [T],
    result: &'a [T],
    dst: &'a mut [MaybeUninit<T>],
    sum: T::Lane,
}

impl<T: Element> Program for BackwardPiece<'_, T> {
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

struct BackwardStrip<'a, T> {
    kind: Kind,
    grad: &'a [T],
    result: &'a [T],
    dst: &'a Shared<'a, MaybeUninit<T>>,
    strip: Strip,
    dim: usize,
}

impl<T: Element> Program for BackwardStrip<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (strip, width, kind) = (self.strip, self.strip.width, self.kind);
        let mut arrays = [[T::Lane::default(); STRIP]; 3];
        let [sums, grads, results] = &mut arrays;
        let (grads, results) = (&mut grads[..width], &mut results[..width]);
        let block = rows_of_block(self.dim);
        for start in (0..self.dim).step_by(block) {
            let mut partial = [T::Lane::default(); STRIP];
            for d in start..self.dim.min(start + block) {
                T::widen(simd, &self.grad[strip.row(d)], grads);
                T::widen(simd, &self.result[strip.row(d)], results);
                for ((sum, &grad), &result) in partial.iter_mut().zip(&*grads).zip(&*results) {
                    *sum += kind.term(grad, result);
                }
            }
            add_to(sums, &partial);
        }
        for d in 0..self.dim {
            T::widen(simd, &self.grad[strip.row(d)], grads);
            T::widen(simd, &self.result[strip.row(d)], results);
            for ((grad, &result), &sum) in grads.iter_mut().zip(&*results).zip(&*sums) {
                *grad = kind.gradient(*grad, result, sum);
            }
            // SAFETY: strips are disjoint, and so are the rows of one.
            T::narrow(simd, grads, unsafe { self.dst.piece(strip.row(d)) });
        }
    }
}

/// The gradient of [`softmax`] from that of its result.
pub(super) fn softmax_backward<T: Element>(
    exec: &Exec,
    kind: Kind,
    grad: &[T],
    result: &[T],
    dst: &mut [MaybeUninit<T>],
    geometry: Geometry,
) {
    let len = geometry.len();
    assert!(
        grad.len() == len && result.len() == len && dst.len() == len,
        "the slices differ from the geometry"
    );
    let (dim, isa) = (geometry.dim, exec.isa);
    let (team, grain) = exec.team(len, 3 * size_of::<T>(), FLOPS);
    if geometry.inner > 1 {
        let shared = Shared::new(dst);
        by_strip(exec, geometry, 3 * size_of::<T>(), &|strip| {
            isa.run(BackwardStrip {
                kind,
                grad,
                result,
                dst: &shared,
                strip,
                dim,
            });
        });
    } else if dim > LONG {
        for ((grad, result), dst) in grad
            .chunks_exact(dim)
            .zip(result.chunks_exact(dim))
            .zip(dst.chunks_exact_mut(dim))
        {
            let mut sum = T::Lane::default();
            for partial in by_block(team, dim, &|range| {
                isa.run(Terms {
                    kind,
                    grad: &grad[range.clone()],
                    result: &result[range],
                })
            }) {
                sum += partial;
            }
            split_mut(team, dst, 1, grain, &|start, dst| {
                let range = start..start + dst.len();
                isa.run(BackwardPiece {
                    kind,
                    grad: &grad[range.clone()],
                    result: &result[range],
                    dst,
                    sum,
                });
            });
        }
    } else {
        split_mut(team, dst, dim, grain, &|start, dst| {
            let range = start..start + dst.len();
            isa.run(BackwardRows {
                kind,
                grad: &grad[range.clone()],
                result: &result[range],
                dst,
                dim,
            });
        });
    }
}

/// The maximum where it is finite, else 0: torch subtracts only finite maxima in logsumexp.
#[inline(always)]
fn finite<F: Float>(max: F) -> F {
    if max.is_infinite() { F::default() } else { max }
}

struct LogsumexpRows<'a, T> {
    src: &'a [T],
    dst: &'a mut [MaybeUninit<T>],
    dim: usize,
}

impl<T: Element> Program for LogsumexpRows<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let mut scratch = vec![T::Lane::default(); self.dim.next_multiple_of(LANES)];
        for (src, dst) in self.src.chunks_exact(self.dim).zip(self.dst.iter_mut()) {
            T::widen(simd, src, &mut scratch[..self.dim]);
            pad(&mut scratch, self.dim);
            let max = finite(max(&scratch));
            let result = exp_sum(&mut scratch, max).ln() + max;
            T::narrow(simd, &[result], core::slice::from_mut(dst));
        }
    }
}

struct LogsumexpStrip<'a, T> {
    src: &'a [T],
    dst: &'a Shared<'a, MaybeUninit<T>>,
    strip: Strip,
    geometry: Geometry,
}

impl<T: Element> Program for LogsumexpStrip<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (strip, width, Geometry { dim, inner, .. }) = (self.strip, self.strip.width, self.geometry);
        let mut columns = Columns::new(simd, dim, width, |d| &self.src[strip.row(d)]);
        columns.logsumexp();
        let start = strip.base / (dim * inner) * inner + strip.base % inner;
        // SAFETY: every strip has its own elements of the result.
        T::narrow(simd, &columns.sum[..width], unsafe {
            self.dst.piece(start..start + width)
        });
    }
}

/// The logarithm of the sum of exponentials along the geometry's dimension.
pub(super) fn logsumexp<T: Element>(exec: &Exec, src: &[T], dst: &mut [MaybeUninit<T>], geometry: Geometry) {
    let Geometry { outer, dim, inner } = geometry;
    assert!(
        src.len() == geometry.len() && dst.len() == outer * inner,
        "the slices differ from the geometry"
    );
    let isa = exec.isa;
    let (team, grain) = exec.team(src.len(), size_of::<T>(), FLOPS);
    if inner > 1 {
        let shared = Shared::new(dst);
        by_strip(exec, geometry, size_of::<T>(), &|strip| {
            isa.run(LogsumexpStrip {
                src,
                dst: &shared,
                strip,
                geometry,
            });
        });
    } else if dim > LONG {
        for (src, dst) in src.chunks_exact(dim).zip(dst) {
            let maxima = by_block(team, dim, &|range| isa.run(Max(&src[range])));
            let max = finite(maxima.into_iter().fold(T::Lane::NEG_INFINITY, Float::larger));
            let mut sum = T::Lane::default();
            for partial in by_block(team, dim, &|range| isa.run(Sums { src: &src[range], max })) {
                sum += partial;
            }
            isa.run(Narrow(sum.ln() + max, dst));
        }
    } else {
        split_mut(team, dst, 1, grain.div_ceil(dim), &|start, dst| {
            isa.run(LogsumexpRows {
                src: &src[start * dim..(start + dst.len()) * dim],
                dst,
                dim,
            });
        });
    }
}

struct Narrow<'a, T: Element>(T::Lane, &'a mut MaybeUninit<T>);

impl<T: Element> Program for Narrow<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        T::narrow(simd, &[self.0], core::slice::from_mut(self.1));
    }
}

struct LogsumexpBackwardRows<'a, T> {
    grad: &'a [T],
    src: &'a [T],
    dst: &'a mut [MaybeUninit<T>],
    dim: usize,
}

impl<T: Element> Program for LogsumexpBackwardRows<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let mut scratch = vec![T::Lane::default(); self.dim.next_multiple_of(LANES)];
        let mut wide = [T::Lane::default()];
        for ((grad, src), dst) in self
            .grad
            .iter()
            .zip(self.src.chunks_exact(self.dim))
            .zip(self.dst.chunks_exact_mut(self.dim))
        {
            T::widen(simd, core::slice::from_ref(grad), &mut wide);
            T::widen(simd, src, &mut scratch[..self.dim]);
            pad(&mut scratch, self.dim);
            let (grad, max) = (wide[0], max(&scratch));
            let sum = exp_sum(&mut scratch, finite(max));
            if max.is_infinite() {
                let result = sum.ln() + finite(max);
                T::map(
                    simd,
                    src,
                    dst,
                    #[inline(always)]
                    |x| grad * (x - result).exp_fast(),
                );
            } else {
                T::map_lanes(
                    simd,
                    &mut scratch[..self.dim],
                    dst,
                    #[inline(always)]
                    |exp| grad * (exp / sum),
                );
            }
        }
    }
}

struct LogsumexpBackwardStrip<'a, T> {
    grad: &'a [T],
    src: &'a [T],
    dst: &'a Shared<'a, MaybeUninit<T>>,
    strip: Strip,
    geometry: Geometry,
}

impl<T: Element> Program for LogsumexpBackwardStrip<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (strip, width, Geometry { dim, inner, .. }) = (self.strip, self.strip.width, self.geometry);
        let mut columns = Columns::new(simd, dim, width, |d| &self.src[strip.row(d)]);
        let finite = !columns.max[..width].iter().any(|max| max.is_infinite());
        if finite {
            columns.exp_sum(true);
        } else {
            columns.logsumexp();
        }
        let start = strip.base / (dim * inner) * inner + strip.base % inner;
        let mut grads = [T::Lane::default(); STRIP];
        T::widen(simd, &self.grad[start..start + width], &mut grads[..width]);
        for (d, values) in columns.values.chunks_exact_mut(width).enumerate() {
            if finite {
                for ((exp, &sum), &grad) in values.iter_mut().zip(&columns.sum).zip(&grads) {
                    *exp = grad * (*exp / sum);
                }
            } else {
                for ((x, &result), &grad) in values.iter_mut().zip(&columns.sum).zip(&grads) {
                    *x = grad * (*x - result).exp_fast();
                }
            }
            // SAFETY: strips are disjoint, and so are the rows of one.
            T::narrow(simd, values, unsafe { self.dst.piece(strip.row(d)) });
        }
    }
}

/// The gradient of [`logsumexp`]: that of the result times the softmax, which is `exp(x - result)` beside infinities, as
/// in torch everywhere.
pub(super) fn logsumexp_backward<T: Element>(
    exec: &Exec,
    grad: &[T],
    src: &[T],
    dst: &mut [MaybeUninit<T>],
    geometry: Geometry,
) {
    let Geometry { outer, dim, inner } = geometry;
    assert!(
        src.len() == geometry.len() && dst.len() == src.len() && grad.len() == outer * inner,
        "the slices differ from the geometry"
    );
    let isa = exec.isa;
    let (team, grain) = exec.team(src.len(), 2 * size_of::<T>(), FLOPS);
    if inner > 1 {
        let shared = Shared::new(dst);
        by_strip(exec, geometry, 2 * size_of::<T>(), &|strip| {
            isa.run(LogsumexpBackwardStrip {
                grad,
                src,
                dst: &shared,
                strip,
                geometry,
            });
        });
    } else {
        split_mut(team, dst, dim, grain, &|start, dst| {
            let rows = start / dim..(start + dst.len()) / dim;
            isa.run(LogsumexpBackwardRows {
                grad: &grad[rows],
                src: &src[start..start + dst.len()],
                dst,
                dim,
            });
        });
    }
}
