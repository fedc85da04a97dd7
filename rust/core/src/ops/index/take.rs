//! Elements of a tensor as if it had one dimension.

use core::sync::atomic::{AtomicBool, Ordering::Relaxed};

use super::{OUT_OF_RANGE, WAITS, Width, indices, pick, tensor};
use crate::{
    dtype::{BitsTarget, DType, Target, each_width},
    kernel::{Exec, IndexKernel, Strided},
    layout::Layout,
    parallel::split_mut,
};

/// `torch.take`: tensors of the input and of indices, row-major; negative ones count from the end.
pub struct Take;

impl IndexKernel for Take {
    fn name(&self) -> &'static str {
        "take"
    }

    fn outline(&self, tensors: &[Option<Strided>], _: &[f64], _: bool) -> Result<(DType, Layout), &'static str> {
        let (input, (index, _)) = (tensor(tensors, 0)?, indices(tensors, 1)?);
        input.row_major()?;
        if index.is_plain() {
            Ok((input.elements.dtype(), *index))
        } else {
            Err("not row-major")
        }
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
        let result = result.bits();
        let bad = AtomicBool::new(false);
        each_width!((result: BitsTarget) => {
            let src = Width::of(input.elements.bits()).ok_or("tensors of several types")?;
            let (team, grain) = exec.team(result.len(), 8 + 2 * input.elements.dtype().size(), WAITS);
            split_mut(team, result, 1, grain, &|start, dst| {
                if !pick::<_, true>(src, &index[start..start + dst.len()], dst) {
                    bad.store(true, Relaxed);
                }
            });
        });
        if bad.into_inner() { Err(OUT_OF_RANGE) } else { Ok(()) }
    }
}
