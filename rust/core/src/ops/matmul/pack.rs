//! Packing: the elements of a matrix in the order in which the microkernel reads them.

use core::ops::Range;

use super::Matrix;
use crate::{isa::Simd, math::row_exp::RowExp, ops::reduction::lanes::RowElement};

/// Terms that are transposed at a time.
const BLOCK: usize = 16;

/// Writes rows `depth` of columns `columns` of a matrix in strips of `N` columns: for each strip all of its rows, for
/// each row `N` elements, of which those beyond the last column are 0. `line` has space for a row.
#[inline(always)]
pub(super) fn strips<T: RowElement, S: Simd, const N: usize>(
    simd: S,
    matrix: Matrix<T>,
    depth: Range<usize>,
    columns: Range<usize>,
    line: &mut [T::Lane],
    dst: &mut [T::Lane],
) {
    let terms = depth.len();
    if !matrix.lie.transposed {
        for (k, row) in depth.enumerate() {
            let line = T::lanes(simd, matrix.line(row, columns.clone()), line);
            for (strip, part) in line.chunks(N).enumerate() {
                let at = (strip * terms + k) * N;
                let packed = &mut dst[at..at + N];
                packed[..part.len()].copy_from_slice(part);
                packed[part.len()..].fill(T::Lane::ZERO);
            }
        }
        return;
    }
    let mut block = [[T::Lane::ZERO; BLOCK]; N];
    for (strip, first) in columns.clone().step_by(N).enumerate() {
        let packed = &mut dst[strip * terms * N..(strip + 1) * terms * N];
        let width = N.min(columns.end - first);
        block[width..].fill([T::Lane::ZERO; BLOCK]);
        for (start, packed) in depth.clone().step_by(BLOCK).zip(packed.chunks_mut(BLOCK * N)) {
            let rows = packed.len() / N;
            for (column, block) in block[..width].iter_mut().enumerate() {
                T::widen(
                    simd,
                    matrix.line(first + column, start..start + rows),
                    &mut block[..rows],
                );
            }
            for (row, packed) in packed.as_chunks_mut::<N>().0.iter_mut().enumerate() {
                for (packed, block) in packed.iter_mut().zip(&block) {
                    *packed = block[row];
                }
            }
        }
    }
}
