//! Softmax, its logarithm and logsumexp along an outer dimension: strips of neighbouring columns are worked on together.
//!
//! The sum of a column is taken in blocks of rows, and the blocks added in order: see [`rows_of_block`].

use core::{mem::MaybeUninit, ops::Range};

use super::{FLOPS, Kind, finite};
use crate::{
    dtype::Element,
    float::Float,
    isa::{Program, Simd},
    kernel::{Exec, Geometry},
    parallel::Shared,
};

/// The widest strip, and the unit of narrower ones.
const STRIP: usize = 256;
const UNIT: usize = 16;
/// Widened values of one strip, which stay in the second-level cache.
const CACHED: usize = 1 << 17;

/// Rows whose sum is taken by itself, so that the error of a sum of many rows stays small.
fn rows_of_block(dim: usize) -> usize {
    dim.isqrt().max(32)
}

#[inline(always)]
fn add_to<F: Float>(sums: &mut [F; STRIP], partial: &[F; STRIP]) {
    sums.iter_mut().zip(partial).for_each(|(sum, &partial)| *sum += partial);
}

/// One strip of columns: where it starts in its block, and how wide it is.
#[derive(Clone, Copy)]
struct Strip {
    base: usize,
    width: usize,
    geometry: Geometry,
}

impl Strip {
    /// The widest whose values stay in the cache, down to one vector.
    fn widest(geometry: Geometry) -> usize {
        (CACHED / geometry.dim.max(1))
            .next_multiple_of(UNIT)
            .clamp(UNIT, STRIP)
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
            geometry,
        }
    }

    /// Row `d` of the strip.
    #[inline(always)]
    fn row(self, d: usize) -> Range<usize> {
        let start = self.base + d * self.geometry.inner;
        start..start + self.width
    }

    /// The strip in the result of a reduction.
    #[inline(always)]
    fn reduced(self) -> Range<usize> {
        let Geometry { dim, inner, .. } = self.geometry;
        let start = self.base / (dim * inner) * inner + self.base % inner;
        start..start + self.width
    }
}

/// Shares the strips out over the team.
fn by_strip(exec: &Exec, geometry: Geometry, bytes: usize, body: &(dyn Fn(Range<usize>) + Sync)) {
    let (team, grain) = exec.team(geometry.len(), bytes, 2 * FLOPS);
    let strip = geometry.dim * Strip::widest(geometry);
    team.run(Strip::count(geometry), grain.div_ceil(strip), body);
}

/// Maxima and sums of exponentials of the columns of a strip.
struct Columns<F> {
    max: [F; STRIP],
    sum: [F; STRIP],
    /// One row, widened.
    row: [F; STRIP],
    /// The exponentials, row by row, where they are kept.
    exps: Vec<F>,
}

impl<F: Float> Columns<F> {
    /// With memory for the exponentials of the strips of a geometry, if they shall be kept.
    fn new(geometry: Geometry, keep: bool) -> Self {
        let kept = if keep {
            geometry.dim * Strip::widest(geometry)
        } else {
            0
        };
        Self {
            max: [F::NEG_INFINITY; STRIP],
            sum: [F::default(); STRIP],
            row: [F::default(); STRIP],
            exps: vec![F::default(); kept],
        }
    }

    #[inline(always)]
    fn load<T: Element<Lane = F>, S: Simd>(&mut self, simd: S, strip: Strip, src: &[T]) {
        let Self { max, row, .. } = self;
        max.fill(F::NEG_INFINITY);
        for d in 0..strip.geometry.dim {
            for (max, &x) in max.iter_mut().zip(T::lanes(simd, &src[strip.row(d)], row)) {
                *max = x.larger(*max);
            }
        }
    }

    /// Sums `exp(x - max)`, and keeps the exponentials if there is memory for them.
    #[inline(always)]
    fn exp_sum<T: Element<Lane = F>, S: Simd>(&mut self, simd: S, strip: Strip, src: &[T], exp: impl Fn(F) -> F) {
        let Self { max, sum, row, exps } = self;
        let (dim, width) = (strip.geometry.dim, strip.width);
        let block = rows_of_block(dim);
        let mut spare = [F::default(); STRIP];
        sum.fill(F::default());
        for start in (0..dim).step_by(block) {
            let mut partial = [F::default(); STRIP];
            for d in start..dim.min(start + block) {
                let values = T::lanes(simd, &src[strip.row(d)], row);
                let out = if exps.is_empty() {
                    &mut spare[..width]
                } else {
                    &mut exps[d * width..(d + 1) * width]
                };
                for (((&x, &max), sum), out) in values.iter().zip(&*max).zip(&mut partial).zip(out) {
                    *out = exp(x - max);
                    *sum += *out;
                }
            }
            add_to(sum, &partial);
        }
    }

    /// The kept exponentials.
    fn exps(&mut self, strip: Strip) -> impl Iterator<Item = &mut [F]> {
        self.exps.chunks_exact_mut(strip.width).take(strip.geometry.dim)
    }

    /// Makes of the sums the logarithms of the sums of exponentials.
    #[inline(always)]
    fn logsumexp<T: Element<Lane = F>, S: Simd>(&mut self, simd: S, strip: Strip, src: &[T]) {
        self.max.iter_mut().for_each(|max| *max = finite(*max));
        self.exp_sum(simd, strip, src, F::exp_fast);
        for (sum, &max) in self.sum[..strip.width].iter_mut().zip(&self.max) {
            *sum = sum.ln() + max;
        }
    }
}

struct Softmax<'a, T> {
    kind: Kind,
    src: &'a [T],
    dst: &'a Shared<'a, MaybeUninit<T>>,
    geometry: Geometry,
    strips: Range<usize>,
}

impl<T: Element> Program for Softmax<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let log = self.kind == Kind::LogSoftmax;
        let mut columns = Columns::<T::Lane>::new(self.geometry, !log);
        let mut row = [T::Lane::default(); STRIP];
        for index in self.strips {
            let strip = Strip::nth(self.geometry, index);
            columns.load(simd, strip, self.src);
            columns.exp_sum(simd, strip, self.src, T::Lane::exp_raised);
            let (max, mut sums) = (columns.max, columns.sum);
            if log {
                for sum in &mut sums[..strip.width] {
                    *sum = (*sum / T::Lane::RAISE).ln();
                }
                for d in 0..strip.geometry.dim {
                    let values = T::lanes(simd, &self.src[strip.row(d)], &mut columns.row);
                    for ((out, &x), (&max, &log)) in row.iter_mut().zip(values).zip(max.iter().zip(&sums)) {
                        *out = x - max - log;
                    }
                    // SAFETY: strips are disjoint, and so are the rows of one.
                    T::narrow(simd, &row[..strip.width], unsafe { self.dst.piece(strip.row(d)) });
                }
            } else {
                sums.iter_mut().for_each(|sum| *sum = T::Lane::of(1.0) / *sum);
                for (d, exps) in columns.exps(strip).enumerate() {
                    // SAFETY: as above.
                    let dst = unsafe { self.dst.piece(strip.row(d)) };
                    T::zip_lanes(
                        simd,
                        exps,
                        &sums,
                        dst,
                        #[inline(always)]
                        |exp, scale| exp * scale,
                    );
                }
            }
        }
    }
}

/// Softmax or its logarithm along the geometry's dimension.
pub(super) fn softmax<T: Element>(exec: &Exec, kind: Kind, src: &[T], dst: &mut [MaybeUninit<T>], geometry: Geometry) {
    let dst = Shared::new(dst);
    by_strip(exec, geometry, 2 * size_of::<T>(), &|strips| {
        exec.isa.run(Softmax {
            kind,
            src,
            dst: &dst,
            geometry,
            strips,
        });
    });
}

struct SoftmaxBackward<'a, T> {
    kind: Kind,
    grad: &'a [T],
    result: &'a [T],
    dst: &'a Shared<'a, MaybeUninit<T>>,
    geometry: Geometry,
    strips: Range<usize>,
}

impl<T: Element> Program for SoftmaxBackward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (kind, dim) = (self.kind, self.geometry.dim);
        let mut arrays = [[T::Lane::default(); STRIP]; 4];
        let [sums, grads, results, gradients] = &mut arrays;
        let block = rows_of_block(dim);
        for index in self.strips {
            let strip = Strip::nth(self.geometry, index);
            sums.fill(T::Lane::default());
            for start in (0..dim).step_by(block) {
                let mut partial = [T::Lane::default(); STRIP];
                for d in start..dim.min(start + block) {
                    let grads = T::lanes(simd, &self.grad[strip.row(d)], grads);
                    let results = T::lanes(simd, &self.result[strip.row(d)], results);
                    for ((sum, &grad), &result) in partial.iter_mut().zip(grads).zip(results) {
                        *sum += kind.term(grad, result);
                    }
                }
                add_to(sums, &partial);
            }
            for d in 0..dim {
                let grads = T::lanes(simd, &self.grad[strip.row(d)], grads);
                let results = T::lanes(simd, &self.result[strip.row(d)], results);
                for ((gradient, &sum), (&grad, &result)) in
                    gradients.iter_mut().zip(&*sums).zip(grads.iter().zip(results))
                {
                    *gradient = kind.gradient(grad, result, sum);
                }
                // SAFETY: strips are disjoint, and so are the rows of one.
                T::narrow(simd, &gradients[..strip.width], unsafe { self.dst.piece(strip.row(d)) });
            }
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
    let dst = Shared::new(dst);
    by_strip(exec, geometry, 3 * size_of::<T>(), &|strips| {
        exec.isa.run(SoftmaxBackward {
            kind,
            grad,
            result,
            dst: &dst,
            geometry,
            strips,
        });
    });
}

struct Logsumexp<'a, T> {
    src: &'a [T],
    dst: &'a Shared<'a, MaybeUninit<T>>,
    geometry: Geometry,
    strips: Range<usize>,
}

impl<T: Element> Program for Logsumexp<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let mut columns = Columns::<T::Lane>::new(self.geometry, false);
        for index in self.strips {
            let strip = Strip::nth(self.geometry, index);
            columns.load(simd, strip, self.src);
            columns.logsumexp(simd, strip, self.src);
            // SAFETY: every strip has its own elements of the result.
            T::narrow(simd, &columns.sum[..strip.width], unsafe {
                self.dst.piece(strip.reduced())
            });
        }
    }
}

/// The logarithm of the sum of exponentials along the geometry's dimension.
pub(super) fn logsumexp<T: Element>(exec: &Exec, src: &[T], dst: &mut [MaybeUninit<T>], geometry: Geometry) {
    let dst = Shared::new(dst);
    by_strip(exec, geometry, size_of::<T>(), &|strips| {
        exec.isa.run(Logsumexp {
            src,
            dst: &dst,
            geometry,
            strips,
        });
    });
}

struct LogsumexpBackward<'a, T> {
    grad: &'a [T],
    src: &'a [T],
    dst: &'a Shared<'a, MaybeUninit<T>>,
    geometry: Geometry,
    strips: Range<usize>,
}

impl<T: Element> Program for LogsumexpBackward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let mut columns = Columns::<T::Lane>::new(self.geometry, true);
        let mut row = [T::Lane::default(); STRIP];
        let mut grads = [T::Lane::default(); STRIP];
        for index in self.strips {
            let strip = Strip::nth(self.geometry, index);
            let grads = &mut grads[..strip.width];
            columns.load(simd, strip, self.src);
            T::widen(simd, &self.grad[strip.reduced()], grads);
            if columns.max[..strip.width].iter().any(|max| max.is_infinite()) {
                columns.logsumexp(simd, strip, self.src);
                for d in 0..strip.geometry.dim {
                    let values = T::lanes(simd, &self.src[strip.row(d)], &mut columns.row);
                    for ((out, &x), (&result, &grad)) in row.iter_mut().zip(values).zip(columns.sum.iter().zip(&*grads))
                    {
                        *out = grad * (x - result).exp_fast();
                    }
                    // SAFETY: strips are disjoint, and so are the rows of one.
                    T::narrow(simd, &row[..strip.width], unsafe { self.dst.piece(strip.row(d)) });
                }
            } else {
                columns.exp_sum(simd, strip, self.src, T::Lane::exp_raised);
                for (grad, &sum) in grads.iter_mut().zip(&columns.sum) {
                    *grad = *grad / sum;
                }
                for (d, exps) in columns.exps(strip).enumerate() {
                    // SAFETY: as above.
                    let dst = unsafe { self.dst.piece(strip.row(d)) };
                    T::zip_lanes(
                        simd,
                        exps,
                        grads,
                        dst,
                        #[inline(always)]
                        |exp, grad| exp * grad,
                    );
                }
            }
        }
    }
}

/// The gradient of [`logsumexp`]: see [`rows::logsumexp_backward`](super::rows::logsumexp_backward).
pub(super) fn logsumexp_backward<T: Element>(
    exec: &Exec,
    grad: &[T],
    src: &[T],
    dst: &mut [MaybeUninit<T>],
    geometry: Geometry,
) {
    let dst = Shared::new(dst);
    by_strip(exec, geometry, 2 * size_of::<T>(), &|strips| {
        exec.isa.run(LogsumexpBackward {
            grad,
            src,
            dst: &dst,
            geometry,
            strips,
        });
    });
}
