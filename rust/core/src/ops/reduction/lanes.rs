//! The loops of softmax and its kin.
//!
//! Results do not depend on how many lanes a vector has: sums are taken in [`RowLane::SUMS`] parts.

use core::{cell::Cell, mem};
use std::thread::LocalKey;

use crate::{dtype::Element, float::Float, isa::Simd, math::row_exp::RowExp, vector::Vector};

/// Partial sums of short rows.
const SHORT_SUMS: usize = 16;
/// The most partial sums that there are, and the most registers for them.
pub(in crate::ops) const MOST_SUMS: usize = 64;
const REGISTERS: usize = 8;
/// Elements that one partial sum covers, so that the error of a long sum stays small.
pub(in crate::ops) const BLOCK: usize = 2048;

/// The element types of these kernels: those whose lanes have [`RowExp`] and a [`Tile`].
pub(in crate::ops) trait RowElement: Element<Lane: RowLane> {}
impl<T: Element<Lane: RowLane>> RowElement for T {}

/// Combines partial results, pairwise.
#[inline(always)]
pub(in crate::ops) fn fold<F: Copy>(lanes: &mut [F], combine: impl Fn(F, F) -> F) -> F {
    let mut width = lanes.len() / 2;
    while width > 0 {
        let (lower, upper) = lanes.split_at_mut(width);
        for (lower, &mut upper) in lower.iter_mut().zip(upper) {
            *lower = combine(upper, *lower);
        }
        width /= 2;
    }
    lanes[0]
}

/// Combines a register's lanes.
#[inline(always)]
fn fold_lanes<F: RowLane, V: Vector<Lane = F>>(register: V, combine: impl Fn(F, F) -> F) -> F {
    let mut numbers = [F::ZERO; MOST_SUMS];
    register.store(&mut numbers);
    fold(&mut numbers[..V::LANES], combine)
}

/// The larger number. Adding 0 keeps the compiler from storing it only where it is not `max`, through a mask: the next
/// load would have to wait for that store.
#[inline(always)]
pub(super) fn raised<F: RowExp>(max: F, x: F) -> F {
    x.larger(max) + F::ZERO
}

/// Which end of the order of numbers is looked for.
pub(in crate::ops) trait Order: Send + Sync + 'static {
    /// The number that none is behind.
    fn start<F: RowExp>() -> F;
    /// The further one of two numbers, a NaN in `a` being lost.
    fn further<F: Float>(a: F, b: F) -> F;
    /// The same of registers.
    fn further_all<V: Vector>(a: V, b: V) -> V;
    /// Whether an element takes the place of those before it: if it is further than they are, or the first NaN.
    fn beats<F: RowExp>(x: F, others: F) -> bool;
}

/// The largest one.
pub(in crate::ops) struct Largest;

impl Order for Largest {
    #[inline(always)]
    fn start<F: RowExp>() -> F {
        F::NEG_INFINITY
    }

    #[inline(always)]
    fn further<F: Float>(a: F, b: F) -> F {
        a.larger(b)
    }

    #[inline(always)]
    fn further_all<V: Vector>(a: V, b: V) -> V {
        a.larger(b)
    }

    // Comparisons with a NaN are false.
    #[inline(always)]
    fn beats<F: RowExp>(x: F, others: F) -> bool {
        !(others >= x) & !others.is_nan()
    }
}

/// The smallest one.
pub(in crate::ops) struct Smallest;

impl Order for Smallest {
    #[inline(always)]
    fn start<F: RowExp>() -> F {
        -F::NEG_INFINITY
    }

    #[inline(always)]
    fn further<F: Float>(a: F, b: F) -> F {
        a.smaller(b)
    }

    #[inline(always)]
    fn further_all<V: Vector>(a: V, b: V) -> V {
        a.smaller(b)
    }

    #[inline(always)]
    fn beats<F: RowExp>(x: F, others: F) -> bool {
        !(others <= x) & !others.is_nan()
    }
}

/// The largest element; NaN if one of them is.
#[inline(always)]
pub(in crate::ops) fn max<F: RowLane, S: Simd>(simd: S, values: &[F]) -> F {
    extreme::<Largest, _, _>(simd, values)
}

/// The furthest element; NaN if one of them is.
#[inline(always)]
pub(super) fn extreme<O: Order, F: RowLane, S: Simd>(simd: S, values: &[F]) -> F {
    let lanes = Register::<F, S>::LANES;
    if values.len() < lanes {
        return short_extreme::<O, _>(values);
    }
    let mut extremes = [Register::<F, S>::splat(simd, O::start()); 4];
    let mut sums = [Register::<F, S>::splat(simd, F::ZERO); 4];
    let mut at = 0;
    while at + 4 * lanes <= values.len() {
        for i in 0..4 {
            add_extreme::<O, _, S>(simd, &values[at + i * lanes..], &mut extremes[i], &mut sums[i]);
        }
        at += 4 * lanes;
    }
    while at + lanes <= values.len() {
        add_extreme::<O, _, S>(simd, &values[at..], &mut extremes[0], &mut sums[0]);
        at += lanes;
    }
    // The last register may overlap those before.
    let last = &values[values.len() - lanes..];
    add_extreme::<O, _, S>(simd, last, &mut extremes[0], &mut sums[0]);
    let [a, b, c, d] = sums;
    // A sum is NaN if an element is, or if infinities of both signs meet, which is so in few rows.
    if fold_lanes(a.add(b).add(c.add(d)), |a, b| a + b).is_nan() && values.iter().any(|x| x.is_nan()) {
        return F::NAN;
    }
    let [a, b, c, d] = extremes;
    let both = [O::further_all(a, b), O::further_all(c, d)];
    fold_lanes(O::further_all(both[0], both[1]), O::further)
}

/// Adds a register of numbers to the extremes and to the sums of such.
#[inline(always)]
fn add_extreme<O: Order, F: RowLane, S: Simd>(
    simd: S,
    values: &[F],
    extreme: &mut Register<F, S>,
    sum: &mut Register<F, S>,
) {
    let x = Register::<F, S>::load(simd, values);
    *extreme = O::further_all(x, *extreme);
    *sum = sum.add(x);
}

/// A register of a lane type in an instruction set.
pub(in crate::ops) type Register<F, S> = <F as RowLane>::Vector<S>;

/// What is summed up of pairs, in registers and of single numbers: a sum with one more term.
pub(in crate::ops) trait Term<F: RowLane> {
    /// Of registers.
    fn add_all<V: Vector<Lane = F>>(&self, sum: V, a: V, b: V) -> V;
    /// Of numbers.
    fn add(&self, sum: F, a: F, b: F) -> F;
}

/// The first number of a pair.
pub(in crate::ops) struct First;

impl<F: RowLane> Term<F> for First {
    #[inline(always)]
    fn add_all<V: Vector<Lane = F>>(&self, sum: V, a: V, _: V) -> V {
        sum.add(a)
    }

    #[inline(always)]
    fn add(&self, sum: F, a: F, _: F) -> F {
        sum + a
    }
}

/// The product of a pair.
pub(in crate::ops) struct Product;

impl<F: RowLane> Term<F> for Product {
    #[inline(always)]
    fn add_all<V: Vector<Lane = F>>(&self, sum: V, a: V, b: V) -> V {
        a.mul_add(b, sum)
    }

    #[inline(always)]
    fn add(&self, sum: F, a: F, b: F) -> F {
        a.mul_add(b, sum)
    }
}

/// The sum of at most [`BLOCK`] terms.
#[inline(always)]
pub(in crate::ops) fn sum<F: RowLane, S: Simd>(simd: S, a: &[F], b: &[F], term: &impl Term<F>) -> F {
    if a.len() < F::SUMS {
        return short_sum(a, b, term);
    }
    let lanes = Register::<F, S>::LANES;
    let mut sums = [Register::<F, S>::splat(simd, F::ZERO); REGISTERS];
    let sums = &mut sums[..F::SUMS / lanes];
    let (mut a, mut b) = (a.chunks_exact(F::SUMS), b.chunks_exact(F::SUMS));
    for (a, b) in (&mut a).zip(&mut b) {
        for ((sum, a), b) in sums.iter_mut().zip(a.chunks_exact(lanes)).zip(b.chunks_exact(lanes)) {
            *sum = term.add_all(*sum, Register::<F, S>::load(simd, a), Register::<F, S>::load(simd, b));
        }
    }
    let rest = short_sum(a.remainder(), b.remainder(), term);
    fold_lanes(fold(sums, Vector::add), |a, b| a + b) + rest
}

/// The sum of any number of terms.
#[inline(always)]
pub(in crate::ops) fn total<F: RowLane, S: Simd>(simd: S, a: &[F], b: &[F], term: &impl Term<F>) -> F {
    let mut total = F::ZERO;
    for (a, b) in a.chunks(BLOCK).zip(b.chunks(BLOCK)) {
        total += sum(simd, a, b, term);
    }
    total
}

#[inline(always)]
fn short_extreme<O: Order, F: RowExp>(values: &[F]) -> F {
    let (mut extreme, mut sum) = (O::start::<F>(), F::ZERO);
    for &x in values {
        extreme = O::further(x, extreme);
        sum += x;
    }
    if sum.is_nan() && values.iter().any(|x| x.is_nan()) {
        F::NAN
    } else {
        extreme
    }
}

#[inline(always)]
fn short_sum<F: RowLane>(a: &[F], b: &[F], term: &impl Term<F>) -> F {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<SHORT_SUMS>(), b.as_chunks::<SHORT_SUMS>());
    let mut sums = [F::ZERO; SHORT_SUMS];
    for (a, b) in a.iter().zip(b) {
        for ((sum, &a), &b) in sums.iter_mut().zip(a).zip(b) {
            *sum = term.add(*sum, a, b);
        }
    }
    // Not one after the other at the end, for accuracy.
    for ((sum, &a), &b) in sums.iter_mut().zip(a_rest).zip(b_rest) {
        *sum = term.add(*sum, a, b);
    }
    fold(&mut sums, |a, b| a + b)
}

/// Writes the lifted `exp(x - max)` of a row, and returns their sum; if they are not to be kept, there need be space for
/// [`BLOCK`] of them only.
#[inline(always)]
pub(super) fn exp_sum<const KEEP: bool, F: RowLane, S: Simd>(simd: S, values: &[F], max: F, out: &mut [F]) -> F {
    let mut total = F::ZERO;
    for (i, values) in values.chunks(BLOCK).enumerate() {
        let start = if KEEP { i * BLOCK } else { 0 };
        let out = &mut out[start..start + values.len()];
        for (out, &x) in out.iter_mut().zip(values) {
            *out = (x - max).exp_lifted();
        }
        total += sum(simd, out, out, &First);
    }
    total
}

/// A piece of a tile that begins a cache line: vectors that straddle two take twice as long.
#[derive(Clone, Copy, Default)]
#[repr(align(64))]
pub(in crate::ops) struct Line<F>([F; 16]);

/// A thread's memory for numbers, which it keeps from call to call.
pub(in crate::ops) struct Tile<F: RowLane>(Vec<Line<F>>);

impl<F: RowLane> Tile<F> {
    /// With space for `len` numbers.
    pub(in crate::ops) fn new(len: usize) -> Self {
        let mut lines = F::kept().take();
        if 16 * lines.len() < len {
            lines.resize(len.div_ceil(16), Line::default());
        }
        Self(lines)
    }

    /// The numbers, which have any values.
    #[inline(always)]
    pub(in crate::ops) fn get(&mut self) -> &mut [F] {
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

/// A lane type with registers and a [`Tile`].
pub(in crate::ops) trait RowLane: RowExp + Element<Lane = Self> + Into<f64> {
    /// Its register in an instruction set.
    type Vector<S: Simd>: Vector<Lane = Self, Isa = S>;
    /// Partial sums of a row: so many that additions do not wait for one another.
    const SUMS: usize;
    /// The first numbers of a slice, as many as a register of doubles has.
    fn load_doubles<S: Simd>(simd: S, src: &[Self]) -> S::F64;
    /// Where a thread keeps its tile.
    fn kept() -> &'static LocalKey<Cell<Vec<Line<Self>>>>;
}

macro_rules! row_lane {
    ($float:ty, $vector:ident, $sums:expr, $load_doubles:ident) => {
        impl RowLane for $float {
            type Vector<S: Simd> = S::$vector;
            const SUMS: usize = $sums;

            #[inline(always)]
            fn load_doubles<S: Simd>(simd: S, src: &[Self]) -> S::F64 {
                S::F64::$load_doubles(simd, src)
            }

            fn kept() -> &'static LocalKey<Cell<Vec<Line<Self>>>> {
                thread_local! {
                    static KEPT: Cell<Vec<Line<$float>>> = const { Cell::new(Vec::new()) };
                }
                &KEPT
            }
        }
    };
}

row_lane!(f32, F32, MOST_SUMS, load_singles);
row_lane!(f64, F64, MOST_SUMS / 2, load);
