//! Elements along a dimension, by an index each.

use core::{
    mem::MaybeUninit,
    ops::Range,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};

use super::{OUT_OF_RANGE, WAITS, Walk, Width, indices, pick, tensor, wrapped};
use crate::{
    dtype::{BitsTarget, DType, Target, Word, each_width},
    isa::{Program, Simd},
    kernel::{Exec, IndexKernel, Strided},
    layout::{Layout, MAX_DIMS},
    parallel::split_mut,
};

/// `torch.gather` and, with `BROADCAST`, `torch.take_along_dim`: tensors of the input, row-major, and of indices, of any
/// strides. Number: the dimension.
pub struct Gather<const BROADCAST: bool>;

impl Gather<false> {
    /// `torch.gather`: there may be fewer indices along the other dimensions.
    pub const GATHER: Self = Self;
}

impl Gather<true> {
    /// `torch.take_along_dim`: the sizes of the other dimensions are the same, or 1 of the indices'.
    pub const TAKE_ALONG_DIM: Self = Self;
}

/// Where an element of the input is but for its index, and where that is, of each element of the result.
struct Places {
    /// The result's sizes, and what the input, without its dimension, and the indices are broadcast from.
    sizes: [i64; MAX_DIMS],
    ndim: usize,
    walk: Walk<2>,
    /// Size and stride of the input's dimension.
    dim: [usize; 2],
}

fn places<const BROADCAST: bool>(input: &Layout, index: &Layout, dim: usize) -> Option<Places> {
    let (sizes, ndim) = (input.sizes(), input.sizes().len());
    let mut result = [1; MAX_DIMS];
    let mut strides = [0; MAX_DIMS];
    if index.sizes().len() != ndim {
        return None;
    }
    for d in 0..ndim {
        let (its, whole) = (index.sizes()[d], sizes[d]);
        result[d] = if BROADCAST && d != dim { whole } else { its };
        let fits = if BROADCAST {
            its == 1 || its == whole
        } else {
            its <= whole
        };
        if d != dim && !fits {
            return None;
        }
        strides[d] = if d == dim { 0 } else { input.strides()[d] };
    }
    let base = Layout::new(&result[..ndim], &strides[..ndim])?;
    Some(Places {
        sizes: result,
        ndim,
        walk: Walk::new(&result[..ndim], [&base, index])?,
        dim: [sizes[dim] as usize, input.strides()[dim] as usize],
    })
}

impl<const BROADCAST: bool> IndexKernel for Gather<BROADCAST> {
    fn name(&self) -> &'static str {
        if BROADCAST { "take_along_dim" } else { "gather" }
    }

    fn outline(&self, tensors: &[Option<Strided>], numbers: &[f64], _: bool) -> Result<(DType, Layout), &'static str> {
        let (input, (index, _)) = (tensor(tensors, 0)?, indices(tensors, 1)?);
        input.row_major()?;
        let dim = wrapped(input.layout, numbers)?;
        let places = places::<BROADCAST>(input.layout, index, dim).ok_or("sizes that do not fit")?;
        let layout = Layout::contiguous(&places.sizes[..places.ndim]).ok_or("too many elements")?;
        if input.layout.numel() == 0 && layout.numel() > 0 {
            return Err(OUT_OF_RANGE);
        }
        Ok((input.elements.dtype(), layout))
    }

    fn forward(
        &self,
        exec: &Exec,
        tensors: &[Option<Strided>],
        result: Target,
        _: &Layout,
        numbers: &[f64],
    ) -> Result<(), &'static str> {
        let (input, (layout, index)) = (tensor(tensors, 0)?, indices(tensors, 1)?);
        let dim = wrapped(input.layout, numbers)?;
        let places = places::<BROADCAST>(input.layout, layout, dim).ok_or("sizes that do not fit")?;
        let result = result.bits();
        let bad = AtomicBool::new(false);
        each_width!((result: BitsTarget) => {
            let src = Width::of(input.elements.bits()).ok_or("tensors of several types")?;
            let (team, grain) = exec.team(result.len(), 8 + 2 * input.elements.dtype().size(), WAITS);
            split_mut(team, result, 1, grain, &|start, dst| {
                let range = start..start + dst.len();
                if !exec.isa.run(Pick { places: &places, range, index, src, dst }) {
                    bad.store(true, Relaxed);
                }
            });
        });
        if bad.into_inner() { Err(OUT_OF_RANGE) } else { Ok(()) }
    }
}

/// Picks the elements of a range of the result, and tells whether all indices are in range.
struct Pick<'a, W> {
    places: &'a Places,
    range: Range<usize>,
    index: &'a [i64],
    src: &'a [W],
    dst: &'a mut [MaybeUninit<W>],
}

impl<W: Word> Program for Pick<'_, W> {
    type Output = bool;

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> bool {
        let Self {
            places,
            range,
            index,
            src,
            dst,
        } = self;
        let (first, [base_step, index_step]) = (range.start, places.walk.steps());
        let [size, stride] = places.dim;
        let mut good = true;
        places.walk.each(
            range,
            #[inline(always)]
            |run, [base, at]| {
                let dst = &mut dst[run.start - first..run.end - first];
                let src = &src[base..];
                if index_step == 0 {
                    let place = index[at] as usize;
                    good &= place < size;
                    let src = &src[place.min(size - 1) * stride..];
                    match base_step {
                        0 => dst.fill(MaybeUninit::new(src[0])),
                        1 => drop(dst.write_copy_of_slice(&src[..dst.len()])),
                        _ => {
                            for (dst, &x) in dst.iter_mut().zip(src.iter().step_by(base_step)) {
                                dst.write(x);
                            }
                        }
                    }
                    return;
                }
                if base_step == 0 && index_step == 1 && stride == 1 {
                    good &= pick::<_, false>(&src[..size], &index[at..at + dst.len()], dst);
                    return;
                }
                for (i, (dst, &index)) in dst.iter_mut().zip(index[at..].iter().step_by(index_step)).enumerate() {
                    let place = index as usize;
                    if place >= size {
                        good = false;
                        return;
                    }
                    dst.write(src[i * base_step + place * stride]);
                }
            },
        );
        good
    }
}
