//! Slices along a dimension, by their indices.

use core::{
    mem::MaybeUninit,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};

use super::{OUT_OF_RANGE, WAITS, Width, indices, pick, place, tensor, wrapped};
use crate::{
    dtype::{BitsTarget, DType, Target, View, Word, each_width},
    isa::{Program, Simd},
    kernel::{Exec, Geometry, IndexKernel, SelectKernel, Strided},
    layout::Layout,
    ops::select::masked_select::MaskedSelect,
    parallel::split_mut,
};

/// `torch.index_select`: tensors of the input, row-major, and of up to one dimension of indices. Number: the dimension.
pub struct IndexSelect;

/// `input[index]`: the same along the first dimension, for indices in a tensor of any sizes, row-major; negative ones count
/// from the end. A mask of the first dimensions stands for the places where it is true.
///
/// With a number, which is 1, it is `input[:, index]`, along the second dimension; with a second tensor of indices, of the
/// same sizes, `input[index, other]`.
pub struct Index;

/// The dimension that `input[...]` works along, and the second indices.
fn pair<'a>(tensors: &[Option<Strided<'a>>], numbers: &[f64]) -> (usize, Option<Strided<'a>>) {
    let dim = usize::from(numbers.first().is_some_and(|&dim| dim != 0.0));
    (dim, tensor(tensors, 2).ok())
}

impl IndexKernel for IndexSelect {
    fn name(&self) -> &'static str {
        "index_select"
    }

    fn outline(&self, tensors: &[Option<Strided>], numbers: &[f64], _: bool) -> Result<(DType, Layout), &'static str> {
        let (input, (index, _)) = (tensor(tensors, 0)?, indices(tensors, 1)?);
        elements(&input)?;
        if index.sizes().len() > 1 || !index.is_contiguous() {
            return Err("indices of several dimensions");
        }
        let dim = wrapped(input.layout, numbers)?;
        Ok((
            input.elements.dtype(),
            input.layout.with_size(dim, index.numel() as i64),
        ))
    }

    fn forward(
        &self,
        exec: &Exec,
        tensors: &[Option<Strided>],
        result: Target,
        _: &Layout,
        numbers: &[f64],
    ) -> Result<(), &'static str> {
        let (input, (_, index)) = (tensor(tensors, 0)?, indices(tensors, 1)?);
        let geometry = input.layout.along(wrapped(input.layout, numbers)?);
        select::<false>(exec, geometry, index, input.elements, result)
    }
}

impl IndexKernel for Index {
    fn name(&self) -> &'static str {
        "index"
    }

    fn chooses(&self, tensors: &[Option<Strided>]) -> Option<&'static dyn SelectKernel> {
        let by = tensor(tensors, 1).ok()?;
        (by.elements.dtype() == DType::Bool).then_some(&MaskedSelect)
    }

    fn outline(&self, tensors: &[Option<Strided>], numbers: &[f64], _: bool) -> Result<(DType, Layout), &'static str> {
        let (input, (index, _)) = (tensor(tensors, 0)?, indices(tensors, 1)?);
        elements(&input)?;
        let (dim, other) = pair(tensors, numbers);
        // A number in a tensor makes a view.
        if input.sizes().len() <= dim || index.sizes().is_empty() || !index.is_contiguous() {
            return Err("no indices along a dimension");
        }
        if other.is_some() && (input.sizes().len() < 2 || *indices(tensors, 2)?.0 != *index) {
            return Err("indices of several sizes");
        }
        let (before, after) = (
            &input.sizes()[..dim],
            &input.sizes()[dim + 1 + usize::from(other.is_some())..],
        );
        let sizes = [before, index.sizes(), after].concat();
        Ok((
            input.elements.dtype(),
            Layout::contiguous(&sizes).ok_or("too many dimensions")?,
        ))
    }

    fn forward(
        &self,
        exec: &Exec,
        tensors: &[Option<Strided>],
        result: Target,
        _: &Layout,
        numbers: &[f64],
    ) -> Result<(), &'static str> {
        let (input, (_, index)) = (tensor(tensors, 0)?, indices(tensors, 1)?);
        let (dim, other) = pair(tensors, numbers);
        if other.is_none() {
            return select::<true>(exec, input.layout.along(dim), index, input.elements, result);
        }
        let (_, other) = indices(tensors, 2)?;
        let (rows, columns) = (input.sizes()[0] as usize, input.sizes()[1] as usize);
        let inner = input.layout.along(1).inner;
        let (dtype, result) = (input.elements.dtype(), result.bits());
        let bad = AtomicBool::new(false);
        each_width!((result: BitsTarget) => {
            let src = Width::of(input.elements.bits()).ok_or("tensors of several types")?;
            let (team, grain) = exec.team(result.len(), 2 * dtype.size() + 16 / inner, WAITS / inner);
            split_mut(team, result, inner, grain, &|start, dst| {
                let range = start / inner..(start + dst.len()) / inner;
                let pairs = Pairs { index: [&index[range.clone()], &other[range]], sizes: [rows, columns], inner, src, dst };
                if !exec.isa.run(pairs) {
                    bad.store(true, Relaxed);
                }
            });
        });
        if bad.into_inner() { Err(OUT_OF_RANGE) } else { Ok(()) }
    }
}

/// Copies slices by two indices each, and tells whether all are in range: it stops at the first that is not.
struct Pairs<'a, W> {
    index: [&'a [i64]; 2],
    sizes: [usize; 2],
    inner: usize,
    src: &'a [W],
    dst: &'a mut [MaybeUninit<W>],
}

impl<W: Word> Program for Pairs<'_, W> {
    type Output = bool;

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> bool {
        let Self {
            index: [first, second],
            sizes: [rows, columns],
            inner,
            src,
            dst,
        } = self;
        for ((dst, &row), &column) in dst.chunks_exact_mut(inner).zip(first).zip(second) {
            let (row, column) = (place::<true>(row, rows), place::<true>(column, columns));
            if row >= rows || column >= columns {
                return false;
            }
            let src = &src[(row * columns + column) * inner..][..inner];
            if let ([dst], [src]) = (&mut *dst, src) {
                dst.write(*src);
            } else {
                dst.write_copy_of_slice(src);
            }
        }
        true
    }
}

/// Whether an input is row-major, and has slices to copy.
fn elements(input: &Strided) -> Result<(), &'static str> {
    if input.row_major()?.is_empty() {
        return Err("no elements");
    }
    Ok(())
}

/// Copies slices of `src`; with `WRAPS`, negative indices count from the end.
fn select<const WRAPS: bool>(
    exec: &Exec,
    geometry: Geometry,
    index: &[i64],
    src: View,
    result: Target,
) -> Result<(), &'static str> {
    let (dtype, result) = (src.dtype(), result.bits());
    let bad = AtomicBool::new(false);
    each_width!((result: BitsTarget) => {
        let src = Width::of(src.bits()).ok_or("tensors of several types")?;
        let (bytes, waits) = (2 * dtype.size(), WAITS / geometry.inner);
        let (team, grain) = exec.team(result.len(), bytes, waits);
        split_mut(team, result, geometry.inner, grain, &|start, dst| {
            if !exec.isa.run(Slices::<_, WRAPS> { geometry, start, index, src, dst }) {
                bad.store(true, Relaxed);
            }
        });
    });
    if bad.into_inner() { Err(OUT_OF_RANGE) } else { Ok(()) }
}

/// Copies whole slices, from the element at `start` of the result on, and tells whether all indices are in range.
struct Slices<'a, W, const WRAPS: bool> {
    geometry: Geometry,
    start: usize,
    index: &'a [i64],
    src: &'a [W],
    dst: &'a mut [MaybeUninit<W>],
}

impl<W: Word, const WRAPS: bool> Program for Slices<'_, W, WRAPS> {
    type Output = bool;

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> bool {
        let Self {
            geometry: Geometry { dim, inner, .. },
            start,
            index,
            src,
            mut dst,
        } = self;
        let (mut block, mut first) = (start / (index.len() * inner), start / inner % index.len());
        let mut good = true;
        while !dst.is_empty() {
            let count = (index.len() - first).min(dst.len() / inner);
            let (part, rest) = dst.split_at_mut(count * inner);
            let (index, src) = (&index[first..first + count], &src[block * dim * inner..][..dim * inner]);
            if inner == 1 {
                good &= pick::<_, WRAPS>(src, index, part);
            } else {
                for (dst, &index) in part.chunks_exact_mut(inner).zip(index) {
                    let place = place::<WRAPS>(index, dim);
                    good &= place < dim;
                    dst.write_copy_of_slice(&src[place.min(dim - 1) * inner..][..inner]);
                }
            }
            (dst, block, first) = (rest, block + 1, 0);
        }
        good
    }
}
