//! Softmax and its kin on dense tiles, whose columns are summed over: strips of columns, or short rows transposed.

use core::{
    ops::{Deref, DerefMut},
    slice,
};

use super::{Kind, is_finite, lanes::raised};
use crate::math::row_exp::RowExp;

/// The widest row of a tile.
pub(super) const WIDTH: usize = 256;
/// Rows whose sum is taken by itself, so that the error of a sum of many rows stays small.
pub(super) const TERMS: usize = 32;

/// Rows that are filled in and looked through together, while they are in the first-level cache.
const FILLED: usize = 16;

/// A number of each column; aligned, as vectors that straddle two cache lines take twice as long.
#[derive(Clone, Copy)]
#[repr(align(64))]
pub(super) struct Columns<F>([F; WIDTH]);

impl<F: Copy> Columns<F> {
    /// The same number for all of them.
    #[inline(always)]
    pub(super) const fn of(x: F) -> Self {
        Self([x; WIDTH])
    }
}

impl<F> Deref for Columns<F> {
    type Target = [F];

    #[inline(always)]
    fn deref(&self) -> &[F] {
        &self.0
    }
}

impl<F> DerefMut for Columns<F> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut [F] {
        &mut self.0
    }
}

impl<'a, F> IntoIterator for &'a Columns<F> {
    type Item = &'a F;
    type IntoIter = slice::Iter<'a, F>;

    #[inline(always)]
    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// Combines the numbers of columns `width` apart, `together` of which are one.
#[inline(always)]
pub(super) fn join<F: Copy>(numbers: &mut Columns<F>, width: usize, together: usize, combine: impl Fn(F, F) -> F) {
    let (first, others) = numbers[..width * together].split_at_mut(width);
    for other in others.chunks_exact(width) {
        for (number, &other) in first.iter_mut().zip(other) {
            *number = combine(*number, other);
        }
    }
    for other in others.chunks_exact_mut(width) {
        other.copy_from_slice(first);
    }
}

/// The maxima of columns, NaN where an element is, and the lifted sums of exponentials.
#[derive(Clone, Copy)]
pub(super) struct Totals<F> {
    pub(super) max: Columns<F>,
    pub(super) sum: Columns<F>,
}

impl<F: RowExp> Totals<F> {
    pub(super) const NONE: Self = Self {
        max: Columns::of(F::NEG_INFINITY),
        sum: Columns::of(F::ZERO),
    };

    /// Of a tile, which it replaces by its exponentials if they are to be kept; `together` rows of it are worked on as
    /// one, and have the same totals. `fill` writes some rows of the tile, from the given number on.
    #[inline(always)]
    pub(super) fn of<const KEEP: bool>(
        tile: &mut [F],
        width: usize,
        together: usize,
        mut fill: impl FnMut(usize, &mut [F]),
    ) -> Self {
        let (mut totals, mut known) = (Self::NONE, Columns::of(F::ZERO));
        let columns = width * together;
        for (i, rows) in tile.chunks_mut(FILLED * columns).enumerate() {
            fill(i * FILLED, rows);
            totals.raise_max(&mut known, rows, columns);
        }
        if known.iter().any(|sum| sum.is_nan()) {
            totals.find_nans(tile, columns);
        }
        join(&mut totals.max, width, together, |a, b| {
            if b > a || b.is_nan() { b } else { a }
        });
        totals.add_exps::<KEEP>(tile, columns);
        join(&mut totals.sum, width, together, |a, b| a + b);
        totals
    }

    /// Adds rows to the maxima, and to the sums of columns: NaN if an element is, or if infinities of both signs meet.
    #[inline(always)]
    fn raise_max(&mut self, known: &mut Columns<F>, rows: &[F], width: usize) {
        let (max, sum) = (&mut self.max[..width], &mut known[..width]);
        let mut fours = rows.chunks_exact(4 * width);
        for four in &mut fours {
            let (left, right) = four.split_at(2 * width);
            let ((a, b), (c, d)) = (left.split_at(width), right.split_at(width));
            for i in 0..width {
                let (ab, cd) = (a[i].larger(b[i]), c[i].larger(d[i]));
                max[i] = raised(max[i], ab.larger(cd));
                sum[i] += (a[i] + b[i]) + (c[i] + d[i]);
            }
        }
        for row in fours.remainder().chunks_exact(width) {
            for i in 0..width {
                max[i] = raised(max[i], row[i]);
                sum[i] += row[i];
            }
        }
    }

    /// The NaNs that the maxima have passed over.
    fn find_nans(&mut self, tile: &[F], width: usize) {
        for row in tile.chunks_exact(width) {
            for (max, &x) in self.max.iter_mut().zip(row) {
                *max = if x.is_nan() { x } else { *max };
            }
        }
    }

    #[inline(always)]
    fn add_exps<const KEEP: bool>(&mut self, tile: &mut [F], width: usize) {
        let (max, sum) = (&self.max[..width], &mut self.sum[..width]);
        for block in tile.chunks_mut(TERMS * width) {
            let mut partial = Columns::of(F::ZERO);
            let partial = &mut partial[..width];
            let mut twos = block.chunks_exact_mut(2 * width);
            for two in &mut twos {
                let (a, b) = two.split_at_mut(width);
                for i in 0..width {
                    let exps = ((a[i] - max[i]).exp_lifted(), (b[i] - max[i]).exp_lifted());
                    partial[i] += exps.0 + exps.1;
                    if KEEP {
                        (a[i], b[i]) = exps;
                    }
                }
            }
            for row in twos.into_remainder().chunks_exact_mut(width) {
                for i in 0..width {
                    let exp = (row[i] - max[i]).exp_lifted();
                    partial[i] += exp;
                    if KEEP {
                        row[i] = exp;
                    }
                }
            }
            sum.iter_mut().zip(partial).for_each(|(sum, partial)| *sum += *partial);
        }
    }

    /// With further rows.
    #[inline(always)]
    pub(super) fn and(&mut self, other: &Self) {
        if self.max.iter().chain(&other.max).all(|&max| is_finite(max)) {
            for i in 0..WIDTH {
                let (a, b) = (self.max[i], other.max[i]);
                let max = a.larger(b);
                self.sum[i] = self.sum[i] * (a - max).exp_fast() + other.sum[i] * (b - max).exp_fast();
                self.max[i] = max;
            }
            return;
        }
        for i in 0..WIDTH {
            let (a, b) = (self.max[i], other.max[i]);
            if b == F::NEG_INFINITY {
                continue;
            }
            (self.max[i], self.sum[i]) = if a == F::NEG_INFINITY {
                (b, other.sum[i])
            } else if is_finite(a) && is_finite(b) {
                let max = a.larger(b);
                let of = |sum: F, its: F| sum * (its - max).exp_fast();
                (max, of(self.sum[i], a) + of(other.sum[i], b))
            } else {
                (a + b, F::NAN)
            };
        }
    }

    /// What the columns' results are computed with: see [`Kind::number`].
    #[inline(always)]
    pub(super) fn numbers(&self, kind: Kind, width: usize) -> Columns<F> {
        let mut numbers = Columns::of(F::ZERO);
        for ((number, &max), &sum) in numbers[..width].iter_mut().zip(&self.max).zip(&self.sum) {
            *number = kind.number(max, sum);
        }
        numbers
    }
}
