//! The loops of softmax and its kin. They leave to the compiler what it does best: whole vectors in simple loops.
//!
//! Results do not depend on how many lanes a vector has: maxima and sums are taken in [`LANES`] parts.

use core::{cell::Cell, hint, mem};
use std::thread::LocalKey;

use crate::{dtype::Element, math::row_exp::RowExp};

/// Partial results: two vectors at least, so that one does not wait for the other.
const LANES: usize = 64;
/// The same for short rows.
const SHORT_LANES: usize = 16;
/// Elements that one partial sum covers, so that the error of a long sum stays small.
pub(super) const BLOCK: usize = 1024;

/// The element types of these kernels: those whose lanes have [`RowExp`] and a [`Tile`].
pub(super) trait RowElement: Element<Lane: RowLane> {}
impl<T: Element<Lane: RowLane>> RowElement for T {}

/// Combines partial results, pairwise.
#[inline(always)]
fn fold<F: Copy, const N: usize>(mut lanes: [F; N], combine: impl Fn(F, F) -> F) -> F {
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

/// The larger number. Adding 0 keeps the compiler from storing it only where it is not `max`, through a mask: the next
/// load would have to wait for that store.
#[inline(always)]
pub(super) fn raised<F: RowExp>(max: F, x: F) -> F {
    x.larger(max) + F::ZERO
}

/// The largest element; NaN if one of them is.
#[inline(always)]
pub(super) fn max<F: RowExp>(values: &[F]) -> F {
    if values.len() < 8 * LANES {
        return short_max(values);
    }
    let (mut maxima, mut sums) = ([F::NEG_INFINITY; LANES], [F::ZERO; LANES]);
    by_fours(
        values,
        values,
        (&mut maxima, &mut sums),
        #[inline(always)]
        |[a, b, c, d], _, (max, sum)| {
            *max = raised(*max, a.larger(b).larger(c.larger(d)));
            *sum += (a + b) + (c + d);
        },
        #[inline(always)]
        |x, _, (max, sum)| {
            *max = raised(*max, x);
            *sum += x;
        },
    );
    // A sum is NaN if an element is, or if infinities of both signs meet, which is so in few rows.
    if sums.iter().any(|sum| sum.is_nan()) && values.iter().any(|x| x.is_nan()) {
        F::NAN
    } else {
        fold(maxima, F::larger)
    }
}

/// The sum of at most [`BLOCK`] terms.
#[inline(always)]
pub(super) fn sum<F: RowExp>(a: &[F], b: &[F], term: impl Fn(F, F) -> F) -> F {
    if a.len() < 8 * LANES {
        return short_sum(a, b, term);
    }
    let (mut sums, mut unused) = ([F::ZERO; LANES], [(); LANES]);
    by_fours(
        a,
        b,
        (&mut sums, &mut unused),
        #[inline(always)]
        |a, b, (sum, ())| {
            *sum += (term(a[0], b[0]) + term(a[1], b[1])) + (term(a[2], b[2]) + term(a[3], b[3]));
        },
        #[inline(always)]
        |a, b, (sum, ())| *sum += term(a, b),
    );
    fold(sums, |a, b| a + b)
}

#[inline(always)]
fn short_max<F: RowExp>(values: &[F]) -> F {
    let (chunks, rest) = values.as_chunks::<SHORT_LANES>();
    let (mut maxima, mut sums) = ([F::NEG_INFINITY; SHORT_LANES], [F::ZERO; SHORT_LANES]);
    for chunk in chunks {
        for (max, &x) in maxima.iter_mut().zip(chunk) {
            *max = x.larger(*max);
        }
        for (sum, &x) in sums.iter_mut().zip(chunk) {
            *sum += x;
        }
    }
    let mut max = fold(maxima, F::larger);
    let mut sum = fold(sums, |a, b| a + b);
    for &x in rest {
        max = x.larger(max);
        sum += x;
    }
    if sum.is_nan() && values.iter().any(|x| x.is_nan()) {
        F::NAN
    } else {
        max
    }
}

#[inline(always)]
fn short_sum<F: RowExp>(a: &[F], b: &[F], term: impl Fn(F, F) -> F) -> F {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<SHORT_LANES>(), b.as_chunks::<SHORT_LANES>());
    let mut sums = [F::ZERO; SHORT_LANES];
    for (a, b) in a.iter().zip(b) {
        for ((sum, &a), &b) in sums.iter_mut().zip(a).zip(b) {
            *sum += term(a, b);
        }
    }
    // Not one after the other at the end, for accuracy.
    for ((sum, &a), &b) in sums.iter_mut().zip(a_rest).zip(b_rest) {
        *sum += term(a, b);
    }
    fold(sums, |a, b| a + b)
}

/// Updates each of [`LANES`] pairs of partial results with every so manyth element, four at a time.
///
/// The number of lanes is hidden from the compiler: knowing it, it takes the loops apart.
#[inline(always)]
fn by_fours<F: RowExp, A, B>(
    a: &[F],
    b: &[F],
    (first, second): (&mut [A; LANES], &mut [B; LANES]),
    four: impl Fn([F; 4], [F; 4], (&mut A, &mut B)),
    one: impl Fn(F, F, (&mut A, &mut B)),
) {
    let lanes = hint::black_box(LANES).min(LANES);
    let (first, second) = (&mut first[..lanes], &mut second[..lanes]);
    let (mut a, mut b) = (a.chunks_exact(4 * lanes), b.chunks_exact(4 * lanes));
    for (a, b) in (&mut a).zip(&mut b) {
        let (a, b) = (quarters(a, lanes), quarters(b, lanes));
        for i in 0..lanes {
            let (a, b) = (
                [a[0][i], a[1][i], a[2][i], a[3][i]],
                [b[0][i], b[1][i], b[2][i], b[3][i]],
            );
            four(a, b, (&mut first[i], &mut second[i]));
        }
    }
    for (a, b) in a.remainder().chunks(lanes).zip(b.remainder().chunks(lanes)) {
        for (((&a, &b), first), second) in a.iter().zip(b).zip(&mut *first).zip(&mut *second) {
            one(a, b, (first, second));
        }
    }
}

/// Four slices of `len` elements.
#[inline(always)]
fn quarters<F>(all: &[F], len: usize) -> [&[F]; 4] {
    let (left, right) = all.split_at(2 * len);
    let ((a, b), (c, d)) = (left.split_at(len), right.split_at(len));
    [a, b, c, &d[..len]]
}

/// Writes the lifted `exp(x - max)` of at most [`BLOCK`] elements, and returns their sum.
#[inline(always)]
pub(super) fn exp_sum<F: RowExp>(values: &[F], max: F, out: &mut [F]) -> F {
    for (out, &x) in out.iter_mut().zip(values) {
        *out = (x - max).exp_lifted();
    }
    sum(
        out,
        out,
        #[inline(always)]
        |exp, _| exp,
    )
}

/// A piece of a tile that begins a cache line: vectors that straddle two take twice as long.
#[derive(Clone, Copy, Default)]
#[repr(align(64))]
pub(super) struct Line<F>([F; 16]);

/// A thread's memory for numbers, which it keeps from call to call.
pub(super) struct Tile<F: RowLane>(Vec<Line<F>>);

impl<F: RowLane> Tile<F> {
    /// With space for `len` numbers.
    pub(super) fn new(len: usize) -> Self {
        let mut lines = F::kept().take();
        if 16 * lines.len() < len {
            lines.resize(len.div_ceil(16), Line::default());
        }
        Self(lines)
    }

    /// The numbers, which have any values.
    #[inline(always)]
    pub(super) fn get(&mut self) -> &mut [F] {
        let len = 16 * self.0.len();
        // SAFETY: a line is sixteen numbers and nothing else.
        unsafe { core::slice::from_raw_parts_mut(self.0.as_mut_ptr().cast(), len) }
    }
}

impl<F: RowLane> Drop for Tile<F> {
    fn drop(&mut self) {
        F::kept().set(mem::take(&mut self.0));
    }
}

/// A lane type with a [`Tile`].
pub(super) trait RowLane: RowExp {
    /// Where a thread keeps it.
    fn kept() -> &'static LocalKey<Cell<Vec<Line<Self>>>>;
}

macro_rules! row_lane {
    ($($float:ty),*) => {
        $(
            impl RowLane for $float {
                fn kept() -> &'static LocalKey<Cell<Vec<Line<Self>>>> {
                    thread_local! {
                        static KEPT: Cell<Vec<Line<$float>>> = const { Cell::new(Vec::new()) };
                    }
                    &KEPT
                }
            }
        )*
    };
}

row_lane!(f32, f64);
