//! Matrix products: those of half precision are summed up in single precision, and rounded once.
//!
//! Three ways, by the count of rows: few rows read the other matrix once, where it lies, as dot products of its columns if
//! these lie so (`dot`), or as sums of its rows (`axpy`); many go through packed panels and a microkernel over a register
//! tile, after Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication" (2008). Either way an element's sum
//! depends on the sizes alone, and not on the threads.

mod axpy;
mod dot;
pub mod linear;
#[allow(clippy::module_inception)]
pub mod matmul;
mod microkernel;
mod pack;

use core::{mem::MaybeUninit, ops::Range};

use microkernel::{Accumulate, Registers};

use crate::{
    dtype::DType,
    float::Float,
    isa::{self, Isa, Program, Simd},
    kernel::{Exec, Glance, Seen},
    math::row_exp::RowExp,
    ops::reduction::lanes::{RowElement, Tile},
    parallel::Shared,
    vector::Vector,
};

/// How a matrix lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lie {
    /// Whether its columns lie one element after the other, rather than its rows.
    pub transposed: bool,
    /// How many elements apart these begin; 0 if all of them are the same.
    pub pitch: usize,
}

/// A matrix in a slice: row-major, or the transpose of such a one.
pub(in crate::ops) struct Matrix<'a, T> {
    elements: &'a [T],
    rows: usize,
    columns: usize,
    lie: Lie,
}

// Not derived: it would ask for `T: Clone`.
impl<T> Clone for Matrix<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Matrix<'_, T> {}

impl<'a, T> Matrix<'a, T> {
    /// A row-major one.
    ///
    /// # Panics
    /// Where there are more or fewer elements.
    pub(in crate::ops) fn new(elements: &'a [T], rows: usize, columns: usize) -> Self {
        assert_eq!(elements.len(), rows * columns, "the elements of a matrix");
        let lie = Lie {
            transposed: false,
            pitch: columns,
        };
        Self::lying(elements, rows, columns, lie)
    }

    /// A matrix that lies in the slice in such a way.
    ///
    /// # Panics
    /// Where there are fewer elements.
    pub(in crate::ops) fn lying(elements: &'a [T], rows: usize, columns: usize, lie: Lie) -> Self {
        let (count, len) = if lie.transposed {
            (columns, rows)
        } else {
            (rows, columns)
        };
        assert!(
            count == 0 || elements.len() >= (count - 1) * lie.pitch + len,
            "the elements of a matrix"
        );
        Self {
            elements,
            rows,
            columns,
            lie,
        }
    }

    /// The same as row-major, if its elements lie so: those of a single column do, and of a single row without gaps.
    #[must_use]
    fn as_row_major(self) -> Self {
        if !self.lie.transposed || self.columns > 1 && (self.rows > 1 || self.lie.pitch != 1) {
            return self;
        }
        Self {
            lie: Lie {
                transposed: false,
                pitch: self.columns,
            },
            ..self
        }
    }

    /// Rows and columns.
    #[inline(always)]
    pub(in crate::ops) fn sizes(&self) -> (usize, usize) {
        (self.rows, self.columns)
    }

    /// An element.
    #[inline(always)]
    fn at(&self, row: usize, column: usize) -> &'a T {
        let (line, at) = if self.lie.transposed {
            (column, row)
        } else {
            (row, column)
        };
        &self.elements[line * self.lie.pitch + at]
    }

    /// Some elements of a row that lies one after the other, or of such a column.
    #[inline(always)]
    pub(in crate::ops) fn line(&self, index: usize, part: Range<usize>) -> &'a [T] {
        &self.elements[index * self.lie.pitch..][part]
    }

    /// Its transpose.
    #[must_use]
    pub(in crate::ops) fn t(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            lie: Lie {
                transposed: !self.lie.transposed,
                ..self.lie
            },
            ..self
        }
    }
}

/// What a product becomes a part of: `alpha` times it and `beta` times `c` are added up, without `c` where `beta` is 0.
#[derive(Clone, Copy)]
pub(in crate::ops) struct Sum<'a, T> {
    c: &'a [T],
    /// How far apart the rows and the columns of `c` are; 0 where one stands for all.
    strides: [usize; 2],
    alpha: f64,
    beta: f64,
}

impl<'a, T: RowElement> Sum<'a, T> {
    /// That of nothing and so many times the product.
    pub(in crate::ops) fn times(alpha: f64) -> Self {
        Self {
            c: &[],
            strides: [0; 2],
            alpha,
            beta: 0.0,
        }
    }

    /// With a row that is added to each.
    pub(in crate::ops) fn with_row(row: &'a [T]) -> Self {
        Self {
            c: row,
            strides: [0, 1],
            alpha: 1.0,
            beta: 1.0,
        }
    }

    /// For the product's transpose.
    fn t(self) -> Self {
        let [down, across] = self.strides;
        Self {
            strides: [across, down],
            ..self
        }
    }

    /// Makes it of some columns of a row of the product.
    #[inline(always)]
    fn apply(&self, row: usize, columns: Range<usize>, sums: &mut [T::Lane]) {
        if self.alpha != 1.0 {
            let alpha = T::Lane::of(self.alpha);
            for sum in &mut *sums {
                *sum = *sum * alpha;
            }
        }
        if self.beta == 0.0 {
            return;
        }
        let (beta, [down, across]) = (T::Lane::of(self.beta), self.strides);
        let c = &self.c[row * down + columns.start * across..];
        if across == 1 {
            for (sum, c) in sums.iter_mut().zip(c) {
                *sum += beta * c.lane();
            }
        } else {
            for (index, sum) in sums.iter_mut().enumerate() {
                *sum += beta * c[index * across].lane();
            }
        }
    }
}

/// The rows of a result, of which each thread has columns of its own.
#[derive(Clone, Copy)]
struct Rows<'a, T> {
    /// Columns of the whole of it.
    width: usize,
    sum: Option<Sum<'a, T>>,
    dst: &'a Shared<'a, MaybeUninit<T>>,
}

impl<T: RowElement> Rows<'_, T> {
    /// Writes some columns, which are the thread's, from the products for each row.
    #[inline(always)]
    fn write<'b, S: Simd>(&self, simd: S, columns: &Range<usize>, products: impl Iterator<Item = &'b mut [T::Lane]>)
    where
        T::Lane: 'b,
    {
        for (row, products) in products.enumerate() {
            self.write_row(simd, row, columns, &mut products[..columns.len()]);
        }
    }

    /// The same of one row.
    #[inline(always)]
    fn write_row<S: Simd>(&self, simd: S, row: usize, columns: &Range<usize>, products: &mut [T::Lane]) {
        if let Some(sum) = self.sum {
            sum.apply(row, columns.clone(), products);
        }
        let at = row * self.width;
        // SAFETY: no other thread has these columns of this row, which are written once.
        let dst = unsafe { self.dst.piece(at + columns.start..at + columns.end) };
        T::narrow(simd, products, dst);
    }
}

/// Rows up to which the other matrix is read where it lies.
const FEW_ROWS: usize = 32;

/// A large matrix: of fewer elements, nothing is to be gained by AVX-512 over the libraries that stock torch calls, nor by
/// AVX2 below the second number; below the third, where to find that out takes more than a glance, not enough.
const LARGE: usize = 1 << 20;
const SMALL: usize = 1 << 10;
const MEDIUM: usize = 1 << 16;
/// One row gains over functions of stock torch that do nothing but the product from here on.
const ONE_ROW: usize = 1 << 17;
/// Rows up to which those libraries are slow, and up to which they are with a matrix of so many elements.
const FEWER_ROWS: usize = 8;
const LARGER: usize = 1 << 23;

/// Rows up to which they are with wide matrices: columns and elements of these.
const MORE_ROWS: usize = 192;
const WIDE: usize = 1 << 11;
const WIDE_ELEMENTS: usize = 1 << 21;

/// The sizes of matrices in the caches over which stock torch's own kernel for one row of halves is as fast as memory.
const HELD: Range<usize> = 1 << 19..1 << 22;

/// Multiplications of halves that take as long as the call.
const FEW: usize = 1 << 14;

/// Whether stock torch's libraries are slow with few rows: they differ by the maker of the CPU.
fn are_slow(isa: Isa, dtype: DType) -> bool {
    dtype == DType::F32 && isa.has_fma() && isa::vendor() == "amd"
}

/// What two factors tell at a glance, of rows and one matrix if that is known, which lies by its columns if it is `along`;
/// `fewest` are the elements from which one row gains. See
/// [`IndexKernel::may_pay`](crate::kernel::IndexKernel::may_pay).
fn may_pay(glance: &Glance, matrix: &Seen, sizes: Option<[usize; 3]>, along: bool, fewest: usize) -> bool {
    let &Glance { isa, dtype, tensors } = glance;
    if !isa.multiplies(dtype) {
        // Unless one is much longer than wide, less make few multiplications.
        return tensors[0].numel.saturating_mul(tensors[1].numel) >= FEW << 4;
    }
    if !are_slow(isa, dtype) || matrix.numel < least(isa) {
        return false;
    }
    match sizes {
        Some(sizes) => pays(isa, dtype, sizes, along, 1, fewest).is_ok(),
        // To find out takes longer than the gain is.
        None => matrix.sizes.is_none() && matrix.numel >= MEDIUM,
    }
}

/// Elements of a matrix from which singles gain.
fn least(isa: Isa) -> usize {
    if isa.is_widest() { LARGE } else { SMALL }
}

/// Whether there is something to gain over stock torch in products of so many rows and a matrix, which lies by its columns if
/// it is `along`, of so many `pairs`; `fewest` are the elements from which one row gains. As measured.
///
/// # Errors
/// The reason why not.
fn pays(
    isa: Isa,
    dtype: DType,
    [rows, terms, columns]: [usize; 3],
    along: bool,
    pairs: usize,
    fewest: usize,
) -> Result<(), &'static str> {
    let elements = terms * columns;
    if isa.multiplies(dtype) {
        let gains = if isa.is_widest() {
            (2..=if elements < LARGER { FEWER_ROWS } else { FEW_ROWS }).contains(&rows)
        } else if rows <= FEW_ROWS {
            // One thread reads one row's sums and a large matrix no faster.
            let one = elements >= fewest && (along || (MEDIUM..LARGER).contains(&elements));
            rows <= most_rows(terms, columns, along) && (rows > 1 || one)
        } else {
            rows <= MORE_ROWS && least_rows(terms, columns, along).is_some_and(|least| rows >= least)
        };
        if are_slow(isa, dtype) && pairs == 1 && elements >= least(isa) && gains {
            return Ok(());
        }
        return Err("the CPU's own instructions are at the hardware's limit");
    }
    if rows == 1 && along && HELD.contains(&elements) {
        return Err("one row and a matrix that the caches hold");
    }
    if pairs * rows * elements < FEW {
        return Err("few multiplications");
    }
    Ok(())
}

/// Rows up to which a product of singles gains by AVX2 over libraries that are slow with few.
fn most_rows(terms: usize, columns: usize, along: bool) -> usize {
    let is_small = terms * columns < 4 * MEDIUM;
    match (along, terms, columns) {
        (true, ..128, _) => 4,
        (true, ..) if is_small => 16,
        (true, ..) => FEW_ROWS,
        (false, _, ..128) => 0,
        (false, ..) if terms * columns < MEDIUM => 4,
        (false, ..) if is_small || terms > 2 * columns => 8,
        (false, ..) => 16,
    }
}

/// Rows from which a product of singles through tiles gains by AVX2: those libraries are slow with wide matrices. Rows that
/// lie along the terms are packed the slower.
fn least_rows(terms: usize, columns: usize, along: bool) -> Option<usize> {
    let elements = terms * columns;
    if elements >= LARGER {
        Some(0)
    } else if elements < WIDE_ELEMENTS || columns < WIDE || along && columns == WIDE {
        None
    } else {
        Some(if along { 64 } else { 0 })
    }
}

/// Rows and columns of a tile of the result at most, and the terms of its sums that are packed at a time and summed up by
/// themselves: the rows that are packed stay in the second-level cache, a strip of the columns in the first-level one, and
/// errors stay small. The wider a tile, the less often rows are packed.
const TILE_ROWS: usize = 192;
const TILE_COLUMNS: usize = 1008;
const TERMS: usize = 128;
/// Tiles for each thread that make up for one more that some have.
const TILES: usize = 4;

/// `dst = a * b`, or the sum that it is a part of. The three may be of several types, which are computed in one.
///
/// # Panics
/// Where the sizes do not match.
pub(in crate::ops) fn gemm<A: RowElement, B: RowElement<Lane = A::Lane>, D: RowElement<Lane = A::Lane>>(
    exec: &Exec,
    a: Matrix<A>,
    b: Matrix<B>,
    sum: Option<Sum<D>>,
    dst: &mut [MaybeUninit<D>],
) {
    assert!(
        a.columns == b.rows && dst.len() == a.rows * b.columns,
        "the sizes of matrices match"
    );
    if a.rows <= FEW_ROWS && !b.lie.transposed {
        axpy::gemm(exec, a, b, sum, dst);
        return;
    }
    if a.rows <= FEW_ROWS && !a.lie.transposed {
        dot::gemm(exec, a, b, sum, dst);
        return;
    }
    let (rows, columns) = (a.rows, b.columns);
    let (team, _) = exec.team(
        rows * columns,
        size_of::<B>() * (a.columns / columns + b.rows / rows + 1),
        a.columns,
    );
    let (down, threads) = (rows.div_ceil(TILE_ROWS), team.threads());
    let (least, most) = (columns.div_ceil(TILE_COLUMNS), columns.div_ceil(NARROWEST));
    let is_even = |across: usize| (down * across).is_multiple_of(threads) || down * across >= TILES * threads;
    let across = (least..most).find(|&across| is_even(across)).unwrap_or(most);
    let part = |len: usize, parts: usize, index: usize| len * index / parts..len * (index + 1) / parts;
    let result = Rows {
        width: columns,
        sum,
        dst: &Shared::new(dst),
    };
    team.run(down * across, 1, &|tiles| {
        for tile in tiles {
            exec.isa.run(Panel {
                a,
                b,
                rows: part(rows, down, tile % down),
                columns: part(columns, across, tile / down),
                result,
            });
        }
    });
}

/// Columns of a tile at least, where there are threads to be kept busy.
const NARROWEST: usize = 48;

/// A tile of a product.
struct Panel<'a, A, B, D> {
    a: Matrix<'a, A>,
    b: Matrix<'a, B>,
    rows: Range<usize>,
    columns: Range<usize>,
    result: Rows<'a, D>,
}

impl<A: RowElement, B: RowElement<Lane = A::Lane>, D: RowElement<Lane = A::Lane>> Program for Panel<'_, A, B, D> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        // With a row of the one matrix and an element of the other, or two, these fill all registers.
        match (S::F32::LANES, size_of::<A::Lane>()) {
            (16, 4) => self.by::<S, 8, 3, 48>(simd),
            (16, _) => self.by::<S, 8, 3, 24>(simd),
            (_, 4) => self.by::<S, 6, 2, 16>(simd),
            _ => self.by::<S, 6, 2, 8>(simd),
        }
    }
}

impl<A: RowElement, B: RowElement<Lane = A::Lane>, D: RowElement<Lane = A::Lane>> Panel<'_, A, B, D> {
    /// With register tiles of `M` rows and `WIDTH` columns, `N` registers.
    #[inline(always)]
    fn by<S: Simd, const M: usize, const N: usize, const WIDTH: usize>(self, simd: S)
    where
        Registers<A::Lane, S, M, N>: Accumulate<A::Lane, S, N>,
    {
        let (rows, columns) = (
            self.rows.len().next_multiple_of(M),
            self.columns.len().next_multiple_of(WIDTH),
        );
        let terms = TERMS.min(self.a.columns);
        let mut tile = Tile::<A::Lane>::new((rows + columns) * terms + rows * columns + rows.max(columns));
        let (packed_a, rest) = tile.get().split_at_mut(rows * terms);
        let (packed_b, rest) = rest.split_at_mut(columns * terms);
        let (sums, line) = rest.split_at_mut(rows * columns);
        for start in (0..self.a.columns).step_by(TERMS) {
            let depth = start..self.a.columns.min(start + TERMS);
            let terms = depth.len();
            let (packed_a, packed_b) = (&mut packed_a[..rows * terms], &mut packed_b[..columns * terms]);
            pack::strips::<A, S, M>(simd, self.a.t(), depth.clone(), self.rows.clone(), line, packed_a);
            pack::strips::<B, S, WIDTH>(simd, self.b, depth, self.columns.clone(), line, packed_b);
            // Column by column of register tiles: a strip of `b` stays in the first-level cache.
            let mut tiles = sums.chunks_exact_mut(M * WIDTH);
            for b in packed_b.chunks_exact(WIDTH * terms) {
                for a in packed_a.chunks_exact(M * terms) {
                    let sums = tiles.next().expect("a register tile for each pair of strips");
                    microkernel::microkernel::<A::Lane, S, M, N, WIDTH>(simd, a, b, sums, start == 0);
                }
            }
        }
        self.write::<S, M, WIDTH>(simd, sums, line);
    }

    /// Writes the tile from the sums of register tiles.
    #[inline(always)]
    fn write<S: Simd, const M: usize, const WIDTH: usize>(self, simd: S, sums: &[A::Lane], line: &mut [A::Lane]) {
        let down = self.rows.len().div_ceil(M);
        let width = self.columns.len();
        let line = &mut line[..width];
        for (i, row) in self.rows.clone().enumerate() {
            for (j, part) in line.chunks_mut(WIDTH).enumerate() {
                let start = (j * down + i / M) * M * WIDTH + i % M * WIDTH;
                part.copy_from_slice(&sums[start..start + part.len()]);
            }
            self.result.write_row(simd, row, &self.columns, line);
        }
    }
}

/// Writes the sums of the columns of a row-major matrix.
pub(in crate::ops) fn sum_rows<T: RowElement>(exec: &Exec, matrix: Matrix<T>, dst: &mut [MaybeUninit<T>]) {
    assert!(
        !matrix.lie.transposed && matrix.lie.pitch == matrix.columns && dst.len() == matrix.columns,
        "a sum of each column"
    );
    let (team, grain) = exec.team(matrix.columns, matrix.rows * size_of::<T>(), matrix.rows);
    let dst = Shared::new(dst);
    team.run(matrix.columns, grain.max(64), &|columns| {
        exec.isa.run(SumRows {
            matrix,
            columns: columns.clone(),
            // SAFETY: a team's ranges are disjoint.
            dst: unsafe { dst.piece(columns) },
        });
    });
}

/// Rows that are summed up by themselves before their sum is added to the others', so that errors stay small.
const SUMMED: usize = 16;

/// The sums of some columns.
struct SumRows<'a, T> {
    matrix: Matrix<'a, T>,
    columns: Range<usize>,
    dst: &'a mut [MaybeUninit<T>],
}

impl<T: RowElement> Program for SumRows<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let width = self.columns.len();
        let mut tile = Tile::<T::Lane>::new(3 * width);
        let (widened, rest) = tile.get().split_at_mut(width);
        let (terms, sums) = rest.split_at_mut(width);
        let mut totals = vec![0.0_f64; width];
        for rows in self.matrix.elements.chunks(SUMMED * self.matrix.columns) {
            terms.fill(T::Lane::ZERO);
            for row in rows.chunks_exact(self.matrix.columns) {
                for (term, &x) in terms
                    .iter_mut()
                    .zip(T::lanes(simd, &row[self.columns.clone()], widened))
                {
                    *term += x;
                }
            }
            for (total, &term) in totals.iter_mut().zip(&*terms) {
                *total += term.into();
            }
        }
        let sums = &mut sums[..width];
        for (sum, &total) in sums.iter_mut().zip(&totals) {
            *sum = T::Lane::of(total);
        }
        T::narrow(simd, sums, self.dst);
    }
}

#[cfg(test)]
mod tests {
    use half::{bf16, f16};
    use proptest::prelude::*;

    use super::*;
    use crate::{
        dtype::as_uninit,
        parallel::{Serial, Team, test::Halves},
    };

    fn numbers<T: RowElement>(len: usize, seed: usize) -> Vec<T> {
        let number = |i: usize| ((i * 7919 + seed * 104_729) % 2003) as f64 / 500.0 - 2.0;
        (0..len).map(|i| T::rounded(T::Lane::of(number(i)))).collect()
    }

    fn product<T: RowElement>(isa: Isa, team: &dyn Team, [a, b]: [Matrix<T>; 2], bias: Option<&[T]>) -> Vec<T> {
        let mut dst = vec![T::rounded(T::Lane::ZERO); a.rows * b.columns];
        gemm(
            &Exec::new(isa, team),
            a,
            b,
            bias.map(Sum::with_row),
            as_uninit(&mut dst),
        );
        dst
    }

    /// Every layout of either matrix, with and without a bias: the error of a sum of products, and one rounding.
    fn check<T: RowElement>(unit: f64, rows: usize, terms: usize, columns: usize) {
        let [a, b, bias] = [rows * terms, terms * columns, columns].map(|len| numbers::<T>(len, len));
        let lefts = [Matrix::new(&a, rows, terms), Matrix::new(&a, terms, rows).t()];
        let rights = [Matrix::new(&b, terms, columns), Matrix::new(&b, columns, terms).t()];
        let at = |matrix: &Matrix<T>, i: usize, j: usize| -> f64 { matrix.at(i, j).lane().into() };
        for (left, right, bias) in lefts
            .into_iter()
            .flat_map(|left| rights.map(|right| (left, right)))
            .flat_map(|(left, right)| [None, Some(&bias[..])].map(|bias| (left, right, bias)))
        {
            for isa in Isa::available() {
                let result = product(isa, &Serial, [left, right], bias);
                let shared = product(isa, &Halves, [left, right], bias);
                let same = result.iter().zip(&shared).all(|(a, b)| a.lane() == b.lane());
                assert!(same, "threads change nothing");
                for (index, found) in result.iter().enumerate() {
                    let (i, j) = (index / columns, index % columns);
                    let products = || (0..terms).map(|k| at(&left, i, k) * at(&right, k, j));
                    let shift = bias.map_or(0.0, |bias| bias[j].lane().into());
                    let truth = products().sum::<f64>() + shift;
                    let magnitude = products().map(f64::abs).sum::<f64>() + shift.abs();
                    // The reference's own error is as large as that of doubles.
                    let lane = if size_of::<T::Lane>() == 8 {
                        2.0 * f64::EPSILON
                    } else {
                        f64::from(f32::EPSILON)
                    };
                    // Numbers below those of full precision are no closer to one another than these.
                    let allowed =
                        unit * truth.abs().max(f16::MIN_POSITIVE.to_f64()) + lane * magnitude * (terms as f64).sqrt();
                    let error: f64 = (found.lane().into() - truth).abs();
                    assert!(
                        error <= allowed,
                        "{} {rows}x{terms}x{columns} [{i}, {j}]: {error:e}, allowed {allowed:e}",
                        isa.name()
                    );
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn products_of_all_sizes(rows in 1_usize..70, terms in 1_usize..90, columns in 1_usize..110) {
            check::<f32>(0.0, rows, terms, columns);
            check::<f64>(0.0, rows, terms, columns);
            check::<bf16>(1.0 / 256.0, rows, terms, columns);
            check::<f16>(1.0 / 2048.0, rows, terms, columns);
        }
    }

    #[test]
    fn products_of_more_than_one_tile() {
        // First, as a thread keeps the largest of its tiles.
        check::<bf16>(1.0 / 256.0, 190, 20, 3);
        check::<f32>(0.0, 3, 2100, 200);
        check::<f32>(0.0, 170, 300, 260);
        check::<bf16>(1.0 / 256.0, 9, 1100, 100);
    }

    #[test]
    fn infinities_and_what_is_no_number() {
        for isa in Isa::available() {
            for rows in [2, 40] {
                let mut a = vec![0.0_f32; rows * 20];
                let mut b = vec![1.0_f32; 20 * 7];
                a[20] = f32::INFINITY;
                b[3] = f32::NAN;
                let result = product(
                    isa,
                    &Serial,
                    [Matrix::new(&a, rows, 20), Matrix::new(&b, 7, 20).t()],
                    None,
                );
                for (index, x) in result.iter().enumerate() {
                    let expected = match (index / 7, index % 7) {
                        (_, 0) => f32::NAN,
                        (1, _) => f32::INFINITY,
                        _ => 0.0,
                    };
                    assert!(x.to_bits() == expected.to_bits() || x.is_nan() && expected.is_nan());
                }
            }
        }
    }

    #[test]
    fn sums_of_columns() {
        for isa in Isa::available() {
            let x = numbers::<f32>(300 * 130, 3);
            let mut sums = vec![0.0_f32; 130];
            sum_rows(
                &Exec::new(isa, &Halves),
                Matrix::new(&x, 300, 130),
                as_uninit(&mut sums),
            );
            for (j, sum) in sums.iter().enumerate() {
                let truth: f64 = (0..300).map(|i| f64::from(x[i * 130 + j])).sum();
                assert!((f64::from(*sum) - truth).abs() < 1e-4, "{j}: {sum} {truth}");
            }
        }
    }
}
