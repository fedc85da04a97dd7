//! Elements of one tensor or of another, by a condition.

use core::{mem::MaybeUninit, ops::Range};

use super::{CHOOSES, Run, Walk, Width, broadcast, choose, copy, scalar, tensor, truths};
use crate::{
    dtype::{BitsTarget, DType, Target, Word, each_width},
    isa::{Program, Simd},
    kernel::{Exec, IndexKernel, Strided},
    layout::Layout,
    parallel::split_mut,
};

/// `torch.where(condition, input, other)`: tensors of a condition, of elements where it is true and of those where it is
/// not, which are of one type, and broadcast. Numbers: what stands for the second and the third where they are missing.
pub struct Where;

impl IndexKernel for Where {
    fn name(&self) -> &'static str {
        "where"
    }

    fn outline(&self, tensors: &[Option<Strided>], numbers: &[f64], _: bool) -> Result<(DType, Layout), &'static str> {
        let condition = tensor(tensors, 0)?;
        truths(&condition)?;
        let [on, off] = [1, 2].map(|index| tensor(tensors, index).ok());
        let one = on.or(off).ok_or("no tensor to choose from")?;
        let dtype = one.elements.dtype();
        let mut layouts = [condition.layout; 3];
        for (index, side) in [on, off].iter().enumerate() {
            if let Some(side) = side {
                if side.elements.dtype() != dtype {
                    return Err("tensors of several types");
                }
                layouts[index + 1] = side.layout;
            } else {
                scalar(dtype, numbers, index)?;
            }
        }
        // The strides of dimensions of size 1 as well: those of stock torch's result follow from them.
        if !layouts.iter().all(|layout| layout.is_plain()) {
            return Err("not row-major");
        }
        Ok((dtype, broadcast(layouts).ok_or("not broadcast")?))
    }

    fn forward(
        &self,
        exec: &Exec,
        tensors: &[Option<Strided>],
        result: Target,
        layout: &Layout,
        numbers: &[f64],
    ) -> Result<(), &'static str> {
        let (condition, dtype) = (tensor(tensors, 0)?, result.dtype());
        let one = Layout::contiguous(&[]).ok_or("no layout")?;
        let sides = [1, 2].map(|index| tensor(tensors, index).ok());
        let [on, off] = sides.map(|side| side.map_or(one, |side| *side.layout));
        let walk = Walk::new(layout.sizes(), [condition.layout, &on, &off]).ok_or("not broadcast")?;
        let condition = truths(&condition)?;
        let result = result.bits();
        let (team, grain) = exec.team(layout.numel(), 1 + 3 * dtype.size(), CHOOSES);
        each_width!((result: BitsTarget) => {
            let (mut spare, mut other) = ([Default::default()], [Default::default()]);
            let on = elements(sides[0], dtype, numbers, 0, &mut spare)?;
            let off = elements(sides[1], dtype, numbers, 1, &mut other)?;
            split_mut(team, result, 1, grain, &|start, dst| {
                exec.isa.run(Blend { walk: &walk, range: start..start + dst.len(), condition, on, off, dst });
            });
        });
        Ok(())
    }
}

/// A side's elements, or the number in its stead.
fn elements<'a, W: Word + Width>(
    side: Option<Strided<'a>>,
    dtype: DType,
    numbers: &[f64],
    index: usize,
    spare: &'a mut [W; 1],
) -> Result<&'a [W], &'static str> {
    if let Some(side) = side {
        return W::of(side.elements.bits()).ok_or("tensors of several types");
    }
    spare[0] = W::truncated(scalar(dtype, numbers, index)?);
    Ok(spare)
}

/// Chooses the elements of a range of the result.
struct Blend<'a, W> {
    walk: &'a Walk<3>,
    range: Range<usize>,
    condition: &'a [u8],
    on: &'a [W],
    off: &'a [W],
    dst: &'a mut [MaybeUninit<W>],
}

impl<W: Word> Program for Blend<'_, W> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self {
            walk,
            range,
            condition,
            on,
            off,
            dst,
        } = self;
        let first = range.start;
        let [condition_step, on_step, off_step] = walk.steps();
        walk.each(
            range,
            #[inline(always)]
            |run, [at, on_at, off_at]| {
                let len = run.len();
                let dst = &mut dst[run.start - first..run.end - first];
                let on = Run::of(on, on_at, on_step, len);
                let off = Run::of(off, off_at, off_step, len);
                match Run::of(condition, at, condition_step, len) {
                    Run::One(truth) => copy(if truth == 0 { off } else { on }, dst),
                    Run::Each(truths) => choose(truths, on, off, dst),
                }
            },
        );
    }
}
