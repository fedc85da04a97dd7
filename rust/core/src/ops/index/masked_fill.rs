//! Elements where a mask is true become one value.

use core::ops::Range;

use super::{CHOOSES, Run, Walk, Width, choose, copy, scalar, tensor, truths};
use crate::{
    dtype::{Bits, BitsMut, BitsTarget, DType, Target, ViewMut, Word, as_uninit, each_width},
    isa::{Program, Simd},
    kernel::{Exec, IndexKernel, Strided},
    layout::Layout,
    parallel::split_mut,
};

/// `torch.masked_fill` and, in place, `Tensor.masked_fill_`: tensors of the input, of one value of its type, and of a
/// mask that is broadcast to it. Number: what stands for the value where that is missing.
pub struct MaskedFill;

/// Elements that are chosen before they are stored, in place: a CPU may be slow to store some of a register's.
const TILE: usize = 256;

/// The bits of the value.
pub(super) fn value(tensors: &[Option<Strided>], dtype: DType, numbers: &[f64]) -> Result<u64, &'static str> {
    let Ok(value) = tensor(tensors, 1) else {
        return scalar(dtype, numbers, 0);
    };
    if !value.sizes().is_empty() || value.elements.dtype() != dtype {
        return Err("a value of another type or of several elements");
    }
    Ok(match value.elements.bits() {
        Bits::W1(bits) => bits[0].into(),
        Bits::W2(bits) => bits[0].into(),
        Bits::W4(bits) => bits[0].into(),
        Bits::W8(bits) => bits[0],
    })
}

/// How the mask lies to an input, whose elements are walked in the order of memory.
pub(super) fn walk(layout: &Layout, mask: &Layout) -> Result<Walk<1>, &'static str> {
    let flat = |layout: &Layout| Layout::contiguous(&[layout.numel() as i64]);
    let walk = if layout == mask {
        // In one order, whichever that is.
        let flat = flat(layout).ok_or("too many elements")?;
        Walk::new(flat.sizes(), [&flat])
    } else if layout.is_contiguous() {
        Walk::new(layout.sizes(), [mask])
    } else {
        None
    };
    walk.filter(Walk::has_plain_rows).ok_or("a mask in other strides")
}

impl IndexKernel for MaskedFill {
    fn name(&self) -> &'static str {
        "masked_fill"
    }

    fn outline(
        &self,
        tensors: &[Option<Strided>],
        numbers: &[f64],
        inplace: bool,
    ) -> Result<(DType, Layout), &'static str> {
        let (input, mask) = (tensor(tensors, 0)?, tensor(tensors, 2)?);
        truths(&mask)?;
        let dtype = input.elements.dtype();
        value(tensors, dtype, numbers)?;
        walk(input.layout, mask.layout)?;
        if !inplace {
            input.row_major()?; // as stock torch's result is
        }
        Ok((dtype, input.layout.elementwise_result().ok_or("not dense")?))
    }

    fn forward(
        &self,
        exec: &Exec,
        tensors: &[Option<Strided>],
        result: Target,
        _: &Layout,
        numbers: &[f64],
    ) -> Result<(), &'static str> {
        let (input, mask) = (tensor(tensors, 0)?, tensor(tensors, 2)?);
        let dtype = input.elements.dtype();
        let (value, walk, truths) = (
            value(tensors, dtype, numbers)?,
            walk(input.layout, mask.layout)?,
            truths(&mask)?,
        );
        let result = result.bits();
        let (team, grain) = exec.team(input.layout.numel(), 1 + 2 * dtype.size(), CHOOSES);
        each_width!((result: BitsTarget) => {
            let src = Width::of(input.elements.bits()).ok_or("tensors of several types")?;
            split_mut(team, result, 1, grain, &|start, dst| {
                let range = start..start + dst.len();
                exec.isa.run(Fill { walk: &walk, range, truths, value: Word::truncated(value), src, dst });
            });
        });
        Ok(())
    }

    fn inplace(
        &self,
        exec: &Exec,
        layout: &Layout,
        buf: ViewMut,
        tensors: &[Option<Strided>],
        numbers: &[f64],
    ) -> Result<(), &'static str> {
        let (mask, value) = (tensor(tensors, 2)?, value(tensors, buf.dtype(), numbers)?);
        fill(exec, layout, buf, mask.layout, truths(&mask)?, value)
    }
}

/// Makes elements of `buf` where a mask is true those bits.
pub(super) fn fill(
    exec: &Exec,
    layout: &Layout,
    buf: ViewMut,
    mask: &Layout,
    truths: &[u8],
    value: u64,
) -> Result<(), &'static str> {
    let (walk, size) = (walk(layout, mask)?, buf.dtype().size());
    let buf = buf.bits();
    let (team, grain) = exec.team(layout.numel(), 1 + 2 * size, CHOOSES);
    each_width!((buf: BitsMut) => {
        split_mut(team, buf, 1, grain, &|start, buf| {
            let range = start..start + buf.len();
            exec.isa.run(FillInplace { walk: &walk, range, truths, value: Word::truncated(value), buf });
        });
    });
    Ok(())
}

/// Makes a range of the result.
struct Fill<'a, W> {
    walk: &'a Walk<1>,
    range: Range<usize>,
    truths: &'a [u8],
    value: W,
    src: &'a [W],
    dst: &'a mut [core::mem::MaybeUninit<W>],
}

impl<W: Word> Program for Fill<'_, W> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self {
            walk,
            range,
            truths,
            value,
            src,
            dst,
        } = self;
        let (first, [step]) = (range.start, walk.steps());
        walk.each(
            range,
            #[inline(always)]
            |run, [at]| {
                let dst = &mut dst[run.start - first..run.end - first];
                let src = Run::Each(&src[run.clone()]);
                match Run::of(truths, at, step, run.len()) {
                    Run::One(truth) => copy(if truth == 0 { src } else { Run::One(value) }, dst),
                    Run::Each(truths) => choose(truths, Run::One(value), src, dst),
                }
            },
        );
    }
}

/// Changes a range of the input.
struct FillInplace<'a, W> {
    walk: &'a Walk<1>,
    range: Range<usize>,
    truths: &'a [u8],
    value: W,
    buf: &'a mut [W],
}

impl<W: Word> Program for FillInplace<'_, W> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self {
            walk,
            range,
            truths,
            value,
            buf,
        } = self;
        let (first, [step]) = (range.start, walk.steps());
        let mut tile = [W::default(); TILE];
        walk.each(
            range,
            #[inline(always)]
            |run, [at]| {
                let buf = &mut buf[run.start - first..run.end - first];
                match Run::of(truths, at, step, run.len()) {
                    Run::One(0) => {}
                    Run::One(_) => buf.fill(value),
                    Run::Each(truths) => {
                        for (buf, truths) in buf.chunks_mut(TILE).zip(truths.chunks(TILE)) {
                            let tile = &mut tile[..buf.len()];
                            choose(truths, Run::One(value), Run::Each(buf), as_uninit(tile));
                            buf.copy_from_slice(tile);
                        }
                    }
                }
            },
        );
    }
}
