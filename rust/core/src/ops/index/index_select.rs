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
pub struct Index;

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

    fn outline(&self, tensors: &[Option<Strided>], _: &[f64], _: bool) -> Result<(DType, Layout), &'static str> {
        let (input, (index, _)) = (tensor(tensors, 0)?, indices(tensors, 1)?);
        elements(&input)?;
        // A number in a tensor makes a view.
        if input.sizes().is_empty() || index.sizes().is_empty() || !index.is_contiguous() {
            return Err("no indices along a dimension");
        }
        let sizes: Vec<_> = index.sizes().iter().chain(&input.sizes()[1..]).copied().collect();
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
        _: &[f64],
    ) -> Result<(), &'static str> {
        let (input, (_, index)) = (tensor(tensors, 0)?, indices(tensors, 1)?);
        select::<true>(exec, input.layout.along(0), index, input.elements, result)
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
