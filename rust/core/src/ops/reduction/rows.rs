//! Softmax, its logarithm and logsumexp along the innermost dimension.
//!
//! Sums are taken in [`LANES`] partial sums over blocks of [`BLOCK`], and the blocks added in order, so that a result
//! depends neither on the instruction set nor on how the work is shared out.

use core::{mem::MaybeUninit, ops::Range, slice};

use super::{FLOPS, Finish, Kind, finite};
use crate::{
    dtype::Element,
    float::Float,
    isa::{Isa, Program, Simd},
    kernel::Exec,
    parallel::{Team, split_mut},
};

/// Partial results: so many that the compiler loops over them with whole vectors, and their latency does not count.
const LANES: usize = 128;
/// The same for short rows.
const SHORT_LANES: usize = 16;
/// Elements that one partial sum covers.
const BLOCK: usize = 4096;
/// Rows beyond this length are worked on by the whole team, without scratch memory.
const LONG: usize = 1 << 16;

/// Elements left over at the end, as a whole chunk.
#[inline(always)]
fn padded<F: Float, const N: usize>(rest: &[F], with: F) -> [F; N] {
    let mut padded = [with; N];
    padded[..rest.len()].copy_from_slice(rest);
    padded
}

/// The largest element; a NaN is passed over, and shows in the sum.
#[inline(always)]
fn max<F: Float>(values: &[F]) -> F {
    if values.len() < 4 * LANES {
        max_by::<F, SHORT_LANES>(values)
    } else {
        max_by::<F, LANES>(values)
    }
}

#[inline(always)]
fn max_by<F: Float, const N: usize>(values: &[F]) -> F {
    let (chunks, rest) = values.as_chunks::<N>();
    let mut lanes = padded::<F, N>(rest, F::NEG_INFINITY);
    for chunk in chunks {
        for (lane, &x) in lanes.iter_mut().zip(chunk) {
            *lane = x.larger(*lane);
        }
    }
    fold(lanes, F::larger)
}

/// Combines the partial results, pairwise.
#[inline(always)]
fn fold<F: Float, const N: usize>(mut lanes: [F; N], combine: impl Fn(F, F) -> F) -> F {
    let mut width = N / 2;
    while width > 0 {
        let (lower, upper) = lanes.split_at_mut(width);
        for (lower, &upper) in lower.iter_mut().zip(&*upper) {
            *lower = combine(upper, *lower);
        }
        width /= 2;
    }
    lanes[0]
}

/// The sum of `term` over at most [`BLOCK`] pairs.
#[inline(always)]
fn sum<F: Float>(a: &[F], b: &[F], term: impl Fn(F, F) -> F) -> F {
    if a.len() < 4 * LANES {
        sum_by::<F, SHORT_LANES>(a, b, term)
    } else {
        sum_by::<F, LANES>(a, b, term)
    }
}

#[inline(always)]
fn sum_by<F: Float, const N: usize>(a: &[F], b: &[F], term: impl Fn(F, F) -> F) -> F {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<N>(), b.as_chunks::<N>());
    let mut lanes = [F::default(); N];
    for (a, b) in a.iter().zip(b) {
        for ((lane, &a), &b) in lanes.iter_mut().zip(a).zip(b) {
            *lane += term(a, b);
        }
    }
    for ((lane, &a), &b) in lanes.iter_mut().zip(a_rest).zip(b_rest) {
        *lane += term(a, b);
    }
    fold(lanes, |a, b| a + b)
}

/// Writes `exp(x)` of every element to `out`, and returns their sum.
#[inline(always)]
fn exp_sum<F: Float>(values: &[F], out: &mut [F], exp: impl Fn(F) -> F) -> F {
    let mut total = F::default();
    for (values, out) in values.chunks(BLOCK).zip(out.chunks_mut(BLOCK)) {
        for (&x, out) in values.iter().zip(&mut *out) {
            *out = exp(x);
        }
        total += sum(out, out, |exp, _| exp);
    }
    total
}

/// Replaces a row by `exp(x - max) * F::RAISE` in `out`, and returns the sum of these.
#[inline(always)]
fn raised_exp_sum<F: Float>(values: &[F], out: &mut [F], max: F) -> F {
    exp_sum(
        values,
        out,
        #[inline(always)]
        |x| (x - max).exp_raised(),
    )
}

/// The logarithm of the sum of exponentials of a row; `out` is left in any state.
#[inline(always)]
fn logsumexp_row<F: Float>(values: &[F], out: &mut [F], max: F) -> F {
    if max.is_infinite() {
        // Nothing is subtracted, so that the exponentials are not bounded.
        exp_sum(values, out, F::exp_fast).ln() + finite(max)
    } else {
        (raised_exp_sum(values, out, max) / F::RAISE).ln() + max
    }
}

/// Scratch memory for one row.
fn scratch<T: Element>(dim: usize) -> [Vec<T::Lane>; 2] {
    // The first is for widening, which singles and doubles do without.
    let widened = if size_of::<T>() == size_of::<T::Lane>() { 0 } else { dim };
    [vec![T::Lane::default(); widened], vec![T::Lane::default(); dim]]
}

struct Max<'a, T>(&'a [T]);

impl<T: Element> Program for Max<'_, T> {
    type Output = T::Lane;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> T::Lane {
        let mut tile = [T::Lane::default(); BLOCK];
        max(T::lanes(simd, self.0, &mut tile))
    }
}

/// The sum of `exp(x - max)` over a block.
struct Sums<'a, T: Element> {
    src: &'a [T],
    max: T::Lane,
}

impl<T: Element> Program for Sums<'_, T> {
    type Output = T::Lane;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> T::Lane {
        let mut tile = [T::Lane::default(); BLOCK];
        let mut exps = [T::Lane::default(); BLOCK];
        let values = T::lanes(simd, self.src, &mut tile);
        let max = self.max;
        exp_sum(
            values,
            &mut exps[..values.len()],
            #[inline(always)]
            |x| (x - max).exp_fast(),
        )
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

fn in_order<F: Float>(partial: Vec<F>) -> F {
    let mut total = F::default();
    partial.into_iter().for_each(|part| total += part);
    total
}

/// The largest element of a long row, by the team.
fn long_max<T: Element>(isa: Isa, team: &dyn Team, row: &[T]) -> T::Lane {
    let maxima = by_block(team, row.len(), &|range| isa.run(Max(&row[range])));
    maxima.into_iter().fold(T::Lane::NEG_INFINITY, Float::larger)
}

/// The sum of `exp(x - max)` over a long row, by the team.
fn long_sum<T: Element>(isa: Isa, team: &dyn Team, row: &[T], max: T::Lane) -> T::Lane {
    in_order(by_block(team, row.len(), &|range| {
        isa.run(Sums { src: &row[range], max })
    }))
}

struct Softmax<'a, T> {
    kind: Kind,
    src: &'a [T],
    dst: &'a mut [MaybeUninit<T>],
    dim: usize,
}

impl<T: Element> Program for Softmax<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let [mut widened, mut exps] = scratch::<T>(self.dim);
        for (src, dst) in self.src.chunks_exact(self.dim).zip(self.dst.chunks_exact_mut(self.dim)) {
            let values = T::lanes(simd, src, &mut widened);
            let max = max(values);
            let sum = raised_exp_sum(values, &mut exps, max);
            if self.kind == Kind::LogSoftmax {
                let log = (sum / T::Lane::RAISE).ln();
                T::map(
                    simd,
                    src,
                    dst,
                    #[inline(always)]
                    |x| x - max - log,
                );
            } else {
                let scale = T::Lane::of(1.0) / sum;
                T::map_lanes(
                    simd,
                    &mut exps,
                    dst,
                    #[inline(always)]
                    |exp| exp * scale,
                );
            }
        }
    }
}

/// A part of a long row.
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

/// Softmax or its logarithm of rows of `dim` elements.
pub(super) fn softmax<T: Element>(exec: &Exec, kind: Kind, src: &[T], dst: &mut [MaybeUninit<T>], dim: usize) {
    let isa = exec.isa;
    let (team, grain) = exec.team(src.len(), 2 * size_of::<T>(), FLOPS);
    if dim > LONG {
        for (src, dst) in src.chunks_exact(dim).zip(dst.chunks_exact_mut(dim)) {
            let max = long_max(isa, team, src);
            let finish = Finish::new(kind, max, long_sum(isa, team, src, max));
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
            isa.run(Softmax {
                kind,
                src: &src[start..start + dst.len()],
                dst,
                dim,
            });
        });
    }
}

/// The sum of a block's terms: see [`Kind::term`].
struct Terms<'a, T> {
    kind: Kind,
    grad: &'a [T],
    result: &'a [T],
}

impl<T: Element> Program for Terms<'_, T> {
    type Output = T::Lane;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> T::Lane {
        let (mut grads, mut results) = ([T::Lane::default(); BLOCK], [T::Lane::default(); BLOCK]);
        let kind = self.kind;
        sum(
            T::lanes(simd, self.grad, &mut grads),
            T::lanes(simd, self.result, &mut results),
            #[inline(always)]
            |grad, result| kind.term(grad, result),
        )
    }
}

/// The gradients of whole rows, or, if the sum of the terms is known, of a part of one.
struct SoftmaxBackward<'a, T: Element> {
    kind: Kind,
    grad: &'a [T],
    result: &'a [T],
    dst: &'a mut [MaybeUninit<T>],
    dim: usize,
    sum: Option<T::Lane>,
}

impl<T: Element> Program for SoftmaxBackward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (dim, kind) = (self.dim, self.kind);
        let rows = self.grad.chunks_exact(dim).zip(self.result.chunks_exact(dim));
        for ((grad, result), dst) in rows.zip(self.dst.chunks_exact_mut(dim)) {
            let sum = self.sum.unwrap_or_else(
                #[inline(always)]
                || {
                    let mut sum = T::Lane::default();
                    for (grad, result) in grad.chunks(BLOCK).zip(result.chunks(BLOCK)) {
                        sum += Terms { kind, grad, result }.run(simd);
                    }
                    sum
                },
            );
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

/// The gradient of [`softmax`] from that of its result.
pub(super) fn softmax_backward<T: Element>(
    exec: &Exec,
    kind: Kind,
    grad: &[T],
    result: &[T],
    dst: &mut [MaybeUninit<T>],
    dim: usize,
) {
    let isa = exec.isa;
    let (team, grain) = exec.team(grad.len(), 3 * size_of::<T>(), FLOPS);
    if dim > LONG {
        let rows = grad.chunks_exact(dim).zip(result.chunks_exact(dim));
        for ((grad, result), dst) in rows.zip(dst.chunks_exact_mut(dim)) {
            let sum = in_order(by_block(team, dim, &|range| {
                isa.run(Terms {
                    kind,
                    grad: &grad[range.clone()],
                    result: &result[range],
                })
            }));
            split_mut(team, dst, 1, grain, &|start, dst| {
                let range = start..start + dst.len();
                isa.run(SoftmaxBackward {
                    kind,
                    grad: &grad[range.clone()],
                    result: &result[range],
                    dim: dst.len(),
                    dst,
                    sum: Some(sum),
                });
            });
        }
    } else {
        split_mut(team, dst, dim, grain, &|start, dst| {
            let range = start..start + dst.len();
            isa.run(SoftmaxBackward {
                kind,
                grad: &grad[range.clone()],
                result: &result[range],
                dst,
                dim,
                sum: None,
            });
        });
    }
}

struct Logsumexp<'a, T> {
    src: &'a [T],
    dst: &'a mut [MaybeUninit<T>],
    dim: usize,
}

impl<T: Element> Program for Logsumexp<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let [mut widened, mut exps] = scratch::<T>(self.dim);
        for (src, dst) in self.src.chunks_exact(self.dim).zip(self.dst.iter_mut()) {
            let values = T::lanes(simd, src, &mut widened);
            let result = logsumexp_row(values, &mut exps, max(values));
            T::narrow(simd, &[result], slice::from_mut(dst));
        }
    }
}

struct Narrow<'a, T: Element>(T::Lane, &'a mut MaybeUninit<T>);

impl<T: Element> Program for Narrow<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        T::narrow(simd, &[self.0], slice::from_mut(self.1));
    }
}

/// The logarithm of the sum of exponentials of rows of `dim` elements.
pub(super) fn logsumexp<T: Element>(exec: &Exec, src: &[T], dst: &mut [MaybeUninit<T>], dim: usize) {
    let isa = exec.isa;
    let (team, grain) = exec.team(src.len(), size_of::<T>(), FLOPS);
    if dim > LONG {
        for (src, dst) in src.chunks_exact(dim).zip(dst) {
            let max = finite(long_max(isa, team, src));
            isa.run(Narrow(long_sum(isa, team, src, max).ln() + max, dst));
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

impl<T: Element> Program for LogsumexpBackward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let [mut widened, mut exps] = scratch::<T>(self.dim);
        let mut wide = [T::Lane::default()];
        let rows = self.grad.iter().zip(self.src.chunks_exact(self.dim));
        for ((grad, src), dst) in rows.zip(self.dst.chunks_exact_mut(self.dim)) {
            T::widen(simd, slice::from_ref(grad), &mut wide);
            let values = T::lanes(simd, src, &mut widened);
            let (grad, max) = (wide[0], max(values));
            if max.is_infinite() {
                let result = logsumexp_row(values, &mut exps, max);
                T::map(
                    simd,
                    src,
                    dst,
                    #[inline(always)]
                    |x| grad * (x - result).exp_fast(),
                );
            } else {
                let scale = grad / raised_exp_sum(values, &mut exps, max);
                T::map_lanes(
                    simd,
                    &mut exps,
                    dst,
                    #[inline(always)]
                    |exp| exp * scale,
                );
            }
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
