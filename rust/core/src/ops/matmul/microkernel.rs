//! The innermost loops: sums of products in a tile of registers.

use crate::{
    isa::Simd,
    math::row_exp::RowExp,
    ops::reduction::lanes::{Register, RowElement, RowLane, fold},
    vector::Vector,
};

/// A tile of registers: `M` rows of `N` each.
pub(super) type Registers<F, S, const M: usize, const N: usize> = [[Register<F, S>; N]; M];

/// Sums of products in such a tile.
pub(super) trait Accumulate<F: RowLane, S: Simd, const N: usize>: Sized {
    /// Adds, for each of `steps`, the products of a register for each row and those for the columns.
    fn accumulate(
        self,
        steps: usize,
        row: impl Fn(usize, usize) -> Register<F, S>,
        columns: impl Fn(usize) -> [Register<F, S>; N],
    ) -> Self;
}

/// Each row has a name, so that the compiler keeps it in registers: of a loop over rows it makes one only at times.
macro_rules! accumulate {
    ($rows:literal: $($row:ident $index:literal),+) => {
        impl<F: RowLane, S: Simd, const N: usize> Accumulate<F, S, N> for Registers<F, S, $rows, N> {
            #[inline(always)]
            fn accumulate(
                self,
                steps: usize,
                row: impl Fn(usize, usize) -> Register<F, S>,
                columns: impl Fn(usize) -> [Register<F, S>; N],
            ) -> Self {
                let [$(mut $row),+] = self;
                for step in 0..steps {
                    let columns = columns(step);
                    $(
                        let x = row(step, $index);
                        for (sum, column) in $row.iter_mut().zip(&columns) {
                            *sum = x.mul_add(*column, *sum);
                        }
                    )+
                }
                [$($row),+]
            }
        }
    };
}

accumulate!(1: r0 0);
accumulate!(2: r0 0, r1 1);
accumulate!(4: r0 0, r1 1, r2 2, r3 3);
accumulate!(6: r0 0, r1 1, r2 2, r3 3, r4 4, r5 5);
accumulate!(8: r0 0, r1 1, r2 2, r3 3, r4 4, r5 5, r6 6, r7 7);

/// `core::array::from_fn`, which the compiler may leave a call of its own: then all registers go through memory.
#[inline(always)]
fn each<T: Copy, const N: usize>(of: impl Fn(usize) -> T, start: T) -> [T; N] {
    let mut all = [start; N];
    for (index, x) in all.iter_mut().enumerate() {
        *x = of(index);
    }
    all
}

/// A row of registers.
#[inline(always)]
fn load<F: RowLane, S: Simd, const N: usize>(simd: S, row: &[F]) -> [Register<F, S>; N] {
    each(
        #[inline(always)]
        |column| Register::<F, S>::load(simd, &row[column * Register::<F, S>::LANES..]),
        Register::<F, S>::splat(simd, F::ZERO),
    )
}

/// Adds the product of two strips to a tile of `M` by `WIDTH` sums, or sets it to that if it is the `first`: `a` has
/// `M` elements for each term of the sums, and `b` has `WIDTH`, which are `N` registers.
#[inline(always)]
pub(super) fn microkernel<F: RowLane, S: Simd, const M: usize, const N: usize, const WIDTH: usize>(
    simd: S,
    a: &[F],
    b: &[F],
    sums: &mut [F],
    first: bool,
) where
    Registers<F, S, M, N>: Accumulate<F, S, N>,
{
    let lanes = Register::<F, S>::LANES;
    assert_eq!(WIDTH, N * lanes, "a row of registers");
    let (a, b, sums) = (
        a.as_chunks::<M>().0,
        b.as_chunks::<WIDTH>().0,
        sums.as_chunks_mut::<WIDTH>().0,
    );
    assert!(a.len() == b.len() && sums.len() == M, "as many terms of either strip");
    let tile = [[Register::<F, S>::splat(simd, F::ZERO); N]; M].accumulate(
        a.len(),
        #[inline(always)]
        |step, row| Register::<F, S>::splat(simd, a[step][row]),
        #[inline(always)]
        |step| load(simd, &b[step]),
    );
    for (registers, row) in tile.iter().zip(sums) {
        for (register, part) in registers.iter().zip(row.chunks_exact_mut(lanes)) {
            let sum = if first {
                *register
            } else {
                register.add(Register::<F, S>::load(simd, part))
            };
            sum.store(part);
        }
    }
}

/// What each of some slices has from `start` on, which is less than a register, filled up with zeros.
#[inline(always)]
pub(super) fn filled_up<T: RowElement, const LANES: usize, const N: usize>(
    slices: &[&[T]; N],
    start: usize,
) -> [[T::Lane; LANES]; N] {
    let mut filled = [[T::Lane::ZERO; LANES]; N];
    for (filled, slice) in filled.iter_mut().zip(slices) {
        for (lane, x) in filled.iter_mut().zip(&slice[start..]) {
            *lane = x.lane();
        }
    }
    filled
}

/// Adds the dot products of `M` rows and `N` columns, all of one length, to their sums: those of so many rows and columns
/// as are `wanted`, of which the rows are `width` apart. Rows go on with zeros to a whole number of registers, which have
/// `LANES` numbers.
#[inline(always)]
pub(super) fn dots<B: RowElement, S: Simd, const LANES: usize, const M: usize, const N: usize>(
    simd: S,
    rows: [&[B::Lane]; M],
    columns: [&[B]; N],
    sums: &mut [B::Lane],
    width: usize,
    wanted: [usize; 2],
) where
    Registers<B::Lane, S, M, N>: Accumulate<B::Lane, S, N>,
{
    assert_eq!(LANES, Register::<B::Lane, S>::LANES, "the numbers of a register");
    let steps = columns[0].len() / LANES;
    let zero = Register::<B::Lane, S>::splat(simd, B::Lane::ZERO);
    let mut tile = [[zero; N]; M];
    if columns[0].len() > steps * LANES {
        let rest: [[B::Lane; LANES]; N] = filled_up(&columns, steps * LANES);
        tile = tile.accumulate(
            1,
            #[inline(always)]
            |_, row| Register::<B::Lane, S>::load(simd, &rows[row][steps * LANES..]),
            #[inline(always)]
            |_| {
                each(
                    #[inline(always)]
                    |column| Register::<B::Lane, S>::load(simd, &rest[column]),
                    zero,
                )
            },
        );
    }
    // Of one length each, by arrays, so that nothing is checked in the loop.
    let rows = rows.map(
        #[inline(always)]
        |row| &row.as_chunks::<LANES>().0[..steps],
    );
    let columns = columns.map(
        #[inline(always)]
        |column| &column.as_chunks::<LANES>().0[..steps],
    );
    let tile = tile.accumulate(
        steps,
        #[inline(always)]
        |step, row| Register::<B::Lane, S>::load(simd, &rows[row][step]),
        #[inline(always)]
        |step| {
            each(
                #[inline(always)]
                |column| B::register(simd, &columns[column][step]),
                zero,
            )
        },
    );
    for (registers, sums) in tile.iter().take(wanted[0]).zip(sums.chunks_mut(width)) {
        for (register, sum) in registers.iter().zip(&mut sums[..wanted[1]]) {
            let mut numbers = [B::Lane::ZERO; LANES];
            register.store(&mut numbers);
            *sum += fold(&mut numbers, |a, b| a + b);
        }
    }
}
