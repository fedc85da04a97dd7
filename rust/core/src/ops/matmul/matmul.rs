//! `torch.matmul` of matrices, and of many.

use core::mem::MaybeUninit;

use super::{Matrix, gemm};
use crate::{
    dtype::{Target, View},
    kernel::{Exec, each_type},
    ops::reduction::lanes::RowElement,
    parallel::Shared,
};

/// The sizes of a product: `rows` by `terms` times `terms` by `columns`; and which of the two matrices lie in memory as their
/// transposes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Product {
    /// Rows of the first matrix and of the result.
    pub rows: usize,
    /// Terms of each sum.
    pub terms: usize,
    /// Columns of the second matrix and of the result.
    pub columns: usize,
    /// Whether the first and the second matrix lie column by column.
    pub transposed: [bool; 2],
}

/// A product of so many multiplications is worth threads of its own: of smaller ones each thread takes several.
const LARGE: usize = 1 << 18;

impl Product {
    fn matrices<'a, T>(&self, a: &'a [T], b: &'a [T]) -> (Matrix<'a, T>, Matrix<'a, T>) {
        let matrix = |elements, rows, columns, transposed: bool| {
            if transposed {
                Matrix::new(elements, columns, rows).t()
            } else {
                Matrix::new(elements, rows, columns)
            }
        };
        (
            matrix(a, self.rows, self.terms, self.transposed[0]),
            matrix(b, self.terms, self.columns, self.transposed[1]),
        )
    }

    fn one<T: RowElement>(&self, exec: &Exec, a: &[T], b: &[T], dst: &mut [MaybeUninit<T>]) {
        let (a, b) = self.matrices(a, b);
        if self.columns == 1 && self.rows > 1 {
            // As the product of the transposes: the matrix is read where it lies, rather than packed for a single column.
            gemm(exec, b.t().as_row_major(), a.t(), None, dst);
        } else {
            gemm(exec, a.as_row_major(), b, None, dst);
        }
    }
}

/// Writes the products of pairs of matrices, each row-major and without gaps, to all of `dst`. `pairs` has the number of the
/// first and the second matrix of each, in `a` and in `b`.
///
/// ```
/// use rusttorch_core::{isa::Isa, kernel::Exec, ops::matmul::matmul::{Product, matmul}, parallel::Serial};
///
/// let exec = Exec::new(Isa::detect(), &Serial);
/// let sizes = Product { rows: 1, terms: 2, columns: 2, transposed: [false; 2] };
/// let mut dst = [0.0_f64; 2];
/// let (a, b) = ([1.0_f64, 2.0], [1.0_f64, 2.0, 30.0, 40.0]);
/// matmul(&exec, sizes, (&a[..]).into(), (&b[..]).into(), (&mut dst[..]).into(), &[(0, 0)]);
/// assert_eq!(dst, [61.0, 82.0]);
/// ```
///
/// # Panics
/// Where the slices have no floating-point numbers, or differ in type, or in length from what the sizes and pairs say.
pub fn matmul(exec: &Exec, product: Product, a: View, b: View, dst: Target, pairs: &[(usize, usize)]) {
    each_type!((a: View, b: View, dst: Target) => each(exec, product, a, b, dst, pairs));
}

fn each<T: RowElement>(
    exec: &Exec,
    product: Product,
    a: &[T],
    b: &[T],
    dst: &mut [MaybeUninit<T>],
    pairs: &[(usize, usize)],
) {
    let Product {
        rows, terms, columns, ..
    } = product;
    let len = rows * columns;
    assert_eq!(dst.len(), len * pairs.len(), "the result differs from the sizes");
    if len == 0 || terms == 0 {
        dst.fill(MaybeUninit::new(T::rounded(T::Lane::default())));
        return;
    }
    let of = |exec: &Exec, (first, second): (usize, usize), dst: &mut [MaybeUninit<T>]| {
        let (first, second) = (first * rows * terms, second * terms * columns);
        product.one(
            exec,
            &a[first..first + rows * terms],
            &b[second..second + terms * columns],
            dst,
        );
    };
    if len * terms >= LARGE || pairs.len() == 1 {
        for (&pair, dst) in pairs.iter().zip(dst.chunks_exact_mut(len)) {
            of(exec, pair, dst);
        }
        return;
    }
    let (team, grain) = exec.team(
        pairs.len(),
        size_of::<T>() * (rows * terms + terms * columns + len),
        len * terms,
    );
    let serial = exec.alone();
    let dst = Shared::new(dst);
    team.run(pairs.len(), grain, &|range| {
        for index in range {
            // SAFETY: a team's ranges are disjoint, and so are the results of pairs.
            of(&serial, pairs[index], unsafe {
                dst.piece(index * len..(index + 1) * len)
            });
        }
    });
}

#[cfg(test)]
mod tests {
    use half::bf16;

    use super::*;
    use crate::{isa::Isa, parallel::test::Halves};

    fn numbers(len: usize, seed: usize) -> Vec<f32> {
        (0..len).map(|i| ((i * 7 + seed) as f32 * 0.61).sin()).collect()
    }

    /// Checks products of two pairs, the second matrix being shared.
    fn check<T: RowElement + core::fmt::Debug>(rows: usize, terms: usize, columns: usize, of: fn(f32) -> T, unit: f64)
    where
        for<'a> &'a [T]: Into<View<'a>>,
        for<'a> &'a mut [T]: Into<Target<'a>>,
    {
        let a: Vec<T> = numbers(2 * rows * terms, 1).into_iter().map(of).collect();
        let b: Vec<T> = numbers(terms * columns, 2).into_iter().map(of).collect();
        for isa in Isa::available() {
            for transposed in [[false, false], [true, false], [false, true], [true, true]] {
                let product = Product {
                    rows,
                    terms,
                    columns,
                    transposed,
                };
                let mut dst = vec![of(f32::NAN); 2 * rows * columns];
                let exec = Exec::new(isa, &Halves);
                matmul(
                    &exec,
                    product,
                    (&a[..]).into(),
                    (&b[..]).into(),
                    (&mut dst[..]).into(),
                    &[(0, 0), (1, 0)],
                );
                let number = |x: T| -> f64 { x.lane().into() };
                for (index, &found) in dst.iter().enumerate() {
                    let (pair, i, j) = (index / (rows * columns), index / columns % rows, index % columns);
                    let left =
                        |k| number(a[pair * rows * terms + if transposed[0] { k * rows + i } else { i * terms + k }]);
                    let right = |k| number(b[if transposed[1] { j * terms + k } else { k * columns + j }]);
                    let truth: f64 = (0..terms).map(|k| left(k) * right(k)).sum();
                    let size: f64 = (0..terms).map(|k| (left(k) * right(k)).abs()).sum();
                    assert!(
                        (number(found) - truth).abs() <= unit * size + 1e-30,
                        "{} {product:?} {index}: {found:?} {truth}",
                        isa.name()
                    );
                }
            }
        }
    }

    #[test]
    fn products_of_all_kinds() {
        for (rows, terms, columns) in [
            (1, 1, 1),
            (3, 5, 4),
            (40, 7, 1),
            (1, 9, 30),
            (70, 33, 50),
            (2, 0, 3),
            (0, 3, 2),
        ] {
            check::<f32>(rows, terms, columns, |x| x, 1e-6);
            check::<f64>(rows, terms, columns, f64::from, 1e-15);
            check::<bf16>(rows, terms, columns, bf16::from_f32, 1.0 / 256.0);
        }
        check::<f32>(100, 80, 60, |x| x, 1e-6);
    }
}
