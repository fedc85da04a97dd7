//! Softmax, its logarithm and logsumexp along an outer dimension: strips of neighbouring columns are worked on together.
//!
//! A strip is copied to a dense tile, so that memory is read and written once, in the longest runs that let the tile stay
//! in the second-level cache. Columns that are longer than that are summed up in blocks of rows, and read again for the
//! result, as in M. Milakov and N. Gimelshein, Online normalizer calculation for softmax,
//! <https://arxiv.org/abs/1805.02867>.

use core::{mem::MaybeUninit, ops::Range, slice};

use super::{
    FLOPS, Kind,
    dense::{TERMS, Totals, WIDTH},
    is_finite,
    lanes::{RowElement, Tile},
    log_sum,
};
use crate::{
    float::Float,
    isa::{Program, Simd},
    kernel::{Exec, Geometry},
    math::row_exp::RowExp,
    parallel::Shared,
};

/// Numbers in the tile, and columns that strips are a multiple of where there are that many.
const TILE: usize = 1 << 17;
const UNIT: usize = 16;
/// Strips narrower than this are cut in blocks instead.
const LEAST: usize = 64;
/// As many strips as there can be threads at least, if there are columns enough.
const STRIPS: usize = 8;

/// One strip of columns: where it starts in its block, and how wide it is.
#[derive(Clone, Copy)]
struct Strip {
    base: usize,
    width: usize,
    geometry: Geometry,
}

impl Strip {
    fn widest(geometry: Geometry) -> usize {
        let Geometry { outer, dim, inner } = geometry;
        let fitting = TILE / dim.max(1) / UNIT * UNIT;
        let width = if fitting < LEAST { WIDTH } else { fitting.min(WIDTH) };
        let shared = (inner * outer).div_ceil(STRIPS).next_multiple_of(UNIT);
        width.min(shared).min(inner)
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

    /// Whether all of the strip fits in the tile.
    fn fits(self) -> bool {
        self.geometry.dim * self.width <= TILE
    }

    /// The strip in the result of a reduction.
    #[inline(always)]
    fn reduced(self) -> Range<usize> {
        let Geometry { dim, inner, .. } = self.geometry;
        let start = self.base / (dim * inner) * inner + self.base % inner;
        start..start + self.width
    }

    /// Copies rows to the tile, and takes their totals.
    #[inline(always)]
    fn block<const KEEP: bool, T: RowElement, S: Simd>(
        self,
        simd: S,
        src: &[T],
        rows: Range<usize>,
        tile: &mut [T::Lane],
    ) -> Totals<T::Lane> {
        let tile = &mut tile[..rows.len() * self.width];
        for (d, dst) in rows.zip(tile.chunks_exact_mut(self.width)) {
            T::widen(simd, &src[self.row(d)], dst);
        }
        Totals::of::<KEEP>(tile, self.width)
    }

    /// The totals of all rows, block by block.
    #[inline(always)]
    fn totals<T: RowElement, S: Simd>(self, simd: S, src: &[T], tile: &mut [T::Lane]) -> Totals<T::Lane> {
        let (dim, block) = (self.geometry.dim, TILE / self.width);
        let mut totals = Totals::NONE;
        for start in (0..dim).step_by(block) {
            let rows = start..dim.min(start + block);
            totals.and(&self.block::<false, T, S>(simd, src, rows, tile), self.width);
        }
        totals
    }
}

/// Shares the strips out over the team.
fn by_strip(exec: &Exec, geometry: Geometry, bytes: usize, body: &(dyn Fn(Range<usize>) + Sync)) {
    let (team, grain) = exec.team(geometry.len(), bytes, FLOPS);
    let strip = geometry.dim * Strip::widest(geometry);
    team.run(Strip::count(geometry), grain.div_ceil(strip), body);
}

/// What becomes of the exponentials.
#[derive(Clone, Copy)]
enum Finish<'a, T> {
    Softmax(Kind),
    /// The gradient of logsumexp, from that of its result.
    Gradient(&'a [T]),
}

struct Softmax<'a, T> {
    finish: Finish<'a, T>,
    src: &'a [T],
    dst: &'a Shared<'a, MaybeUninit<T>>,
    geometry: Geometry,
    strips: Range<usize>,
}

impl<T: RowElement> Softmax<'_, T> {
    /// Row `d` of the result.
    #[allow(clippy::mut_from_ref)]
    #[inline(always)]
    fn dst(&self, strip: Strip, d: usize) -> &mut [MaybeUninit<T>] {
        // SAFETY: strips are disjoint, and so are the rows of one.
        unsafe { self.dst.piece(strip.row(d)) }
    }

    /// The gradients of logsumexp for columns with infinities, which are not subtracted.
    #[cold]
    fn infinite<S: Simd>(&self, simd: S, strip: Strip, grad: &[T], max: &[T::Lane]) {
        for (column, (place, &max)) in strip.reduced().zip(max).enumerate() {
            if is_finite(max) {
                continue;
            }
            let mut wide = [[T::Lane::ZERO]; 2];
            let [grad_of, x] = &mut wide;
            T::widen(simd, slice::from_ref(&grad[place]), grad_of);
            for d in 0..self.geometry.dim {
                let at = strip.row(d).start + column;
                T::widen(simd, slice::from_ref(&self.src[at]), x);
                let gradient = grad_of[0] * (x[0] - max).exp_fast();
                T::narrow(simd, &[gradient], &mut self.dst(strip, d)[column..=column]);
            }
        }
    }
}

impl<T: RowElement> Program for Softmax<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let mut tile = Tile::new(TILE);
        let tile = tile.get();
        let log = matches!(self.finish, Finish::Softmax(Kind::LogSoftmax));
        let kind = if log { Kind::LogSoftmax } else { Kind::Softmax };
        let dim = self.geometry.dim;
        for index in self.strips.clone() {
            let strip = Strip::nth(self.geometry, index);
            let width = strip.width;
            let totals = if !strip.fits() {
                strip.totals(simd, self.src, tile)
            } else if log {
                strip.block::<false, T, S>(simd, self.src, 0..dim, tile)
            } else {
                strip.block::<true, T, S>(simd, self.src, 0..dim, tile)
            };
            let mut numbers = totals.numbers(kind, width);
            if let Finish::Gradient(grad) = self.finish {
                T::widen(simd, &grad[strip.reduced()], &mut numbers[..width]);
                for (number, &sum) in numbers[..width].iter_mut().zip(&totals.sum) {
                    *number = *number / sum;
                }
            }
            let max = &totals.max[..width];
            let numbers = &numbers[..width];
            if strip.fits() {
                for (d, row) in tile.chunks_exact_mut(width).take(dim).enumerate() {
                    let dst = self.dst(strip, d);
                    if log {
                        for ((x, &max), &log) in row.iter_mut().zip(max).zip(numbers) {
                            *x = *x - max - log;
                        }
                        T::narrow(simd, row, dst);
                    } else {
                        T::zip_lanes(
                            simd,
                            row,
                            numbers,
                            dst,
                            #[inline(always)]
                            |exp, scale| exp * scale,
                        );
                    }
                }
            } else {
                let (widened, row) = tile.split_at_mut(WIDTH);
                let row = &mut row[..width];
                for d in 0..dim {
                    let values = T::lanes(simd, &self.src[strip.row(d)], widened);
                    let numbers = values.iter().zip(max).zip(numbers);
                    if log {
                        for (out, ((&x, &max), &log)) in row.iter_mut().zip(numbers) {
                            *out = x - max - log;
                        }
                    } else {
                        for (out, ((&x, &max), &scale)) in row.iter_mut().zip(numbers) {
                            *out = (x - max).exp_lifted() * scale;
                        }
                    }
                    T::narrow(simd, row, self.dst(strip, d));
                }
            }
            if let Finish::Gradient(grad) = self.finish {
                self.infinite(simd, strip, grad, max);
            }
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
    let dst = Shared::new(dst);
    by_strip(exec, geometry, 2 * size_of::<T>(), &|strips| {
        exec.isa.run(Softmax {
            finish,
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

impl<T: RowElement> Program for SoftmaxBackward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (kind, dim) = (self.kind, self.geometry.dim);
        let mut arrays = [[T::Lane::ZERO; WIDTH]; 4];
        let [sums, grads, results, gradients] = &mut arrays;
        for index in self.strips {
            let strip = Strip::nth(self.geometry, index);
            sums.fill(T::Lane::ZERO);
            for start in (0..dim).step_by(TERMS) {
                let mut partial = [T::Lane::ZERO; WIDTH];
                for d in start..dim.min(start + TERMS) {
                    let grads = T::lanes(simd, &self.grad[strip.row(d)], grads);
                    let results = T::lanes(simd, &self.result[strip.row(d)], results);
                    for ((sum, &grad), &result) in partial.iter_mut().zip(grads).zip(results) {
                        *sum += kind.term(grad, result);
                    }
                }
                sums.iter_mut()
                    .zip(&partial)
                    .for_each(|(sum, &partial)| *sum += partial);
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
pub(super) fn softmax_backward<T: RowElement>(
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

impl<T: RowElement> Program for Logsumexp<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let mut tile = Tile::new(TILE);
        let tile = tile.get();
        for index in self.strips {
            let strip = Strip::nth(self.geometry, index);
            let mut totals = strip.totals(simd, self.src, tile);
            for (sum, &max) in totals.sum[..strip.width].iter_mut().zip(&totals.max) {
                *sum = log_sum(max, *sum);
            }
            // SAFETY: every strip has its own elements of the result.
            T::narrow(simd, &totals.sum[..strip.width], unsafe {
                self.dst.piece(strip.reduced())
            });
        }
    }
}

/// The logarithm of the sum of exponentials along the geometry's dimension.
pub(super) fn logsumexp<T: RowElement>(exec: &Exec, src: &[T], dst: &mut [MaybeUninit<T>], geometry: Geometry) {
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
