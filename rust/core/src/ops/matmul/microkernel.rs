//! The innermost loops: sums of products in a tile of registers.

use crate::{
    isa::Simd,
    ops::reduction::lanes::{Register, RowLane, fold},
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
                        $row = core::array::from_fn(
                            #[inline(always)]
                            |column| x.mul_add(columns[column], $row[column]),
                        );
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

/// A row of registers.
#[inline(always)]
fn load<F: RowLane, S: Simd, const N: usize>(simd: S, row: &[F]) -> [Register<F, S>; N] {
    core::array::from_fn(
        #[inline(always)]
        |column| Register::<F, S>::load(simd, &row[column * Register::<F, S>::LANES..]),
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

/// Adds the dot products of `M` rows and `N` columns, of one length that is a whole number of registers, to their sums:
/// those of so many rows and columns as are `wanted`, of which the rows are `width` apart.
#[inline(always)]
pub(super) fn dots<F: RowLane, S: Simd, const M: usize, const N: usize>(
    simd: S,
    rows: [&[F]; M],
    columns: [&[F]; N],
    sums: &mut [F],
    width: usize,
    wanted: [usize; 2],
) where
    Registers<F, S, M, N>: Accumulate<F, S, N>,
{
    let lanes = Register::<F, S>::LANES;
    let tile = [[Register::<F, S>::splat(simd, F::ZERO); N]; M].accumulate(
        columns[0].len() / lanes,
        #[inline(always)]
        |step, row| Register::<F, S>::load(simd, &rows[row][step * lanes..]),
        #[inline(always)]
        |step| {
            core::array::from_fn(
                #[inline(always)]
                |column| Register::<F, S>::load(simd, &columns[column][step * lanes..]),
            )
        },
    );
    for (registers, sums) in tile.iter().take(wanted[0]).zip(sums.chunks_mut(width)) {
        for (register, sum) in registers.iter().zip(&mut sums[..wanted[1]]) {
            let mut numbers = [F::ZERO; 16];
            register.store(&mut numbers);
            *sum += fold(&mut numbers[..lanes], |a, b| a + b);
        }
    }
}
