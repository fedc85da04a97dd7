//! Runs of operations whose result is as long as what they count.

use std::time::Instant;

use pyo3::prelude::*;
use rusttorch_core::{
    chosen::Chosen,
    dtype::{DType, Target, Unwritten, View},
    kernel::{Exec, SelectKernel, Slot},
    layout::Layout,
};
use rusttorch_torch::{decline::Decline, doors::TensorView};

use crate::{
    op::{Failure, OpState, hold, look},
    runtime::Runtime,
};

/// Elements from which on a tensor for each dimension comes faster than from stock torch.
const TUPLE: usize = 16_384;

/// Whether a call of these numbers has something to gain: several tensors are made of the result in a call of its own.
pub(crate) fn gains(sizes: &[i64], numbers: &[f64]) -> bool {
    numbers.first().is_none_or(|&as_tuple| as_tuple == 0.0) || sizes.iter().product::<i64>() as usize >= TUPLE
}

/// A mask that elements of `input` are chosen by; `profiled` is as of [`view`](rusttorch_torch::doors::Held::view).
///
/// # Errors
/// The reason why it is not for kernels; a bad one is stock torch's to judge.
pub(crate) fn read_mask(
    runtime: &Runtime,
    input: &TensorView,
    mask: &Bound<'_, PyAny>,
    profiled: bool,
) -> Result<TensorView, Decline> {
    let mask = hold(runtime, mask)?.any_view(mask.py(), false, profiled)?;
    if mask.dtype != DType::Bool {
        return Err(Decline::Dtype);
    }
    // Broadcasting is stock torch's.
    if mask.layout.sizes() != input.layout.sizes() {
        return Err(Decline::Kernel);
    }
    if mask.layout.is_contiguous() {
        Ok(mask)
    } else {
        Err(Decline::Layout)
    }
}

/// What is chosen of a row-major `input`, by a row-major mask of its first dimensions or by itself: elements, or their places, a row each or, where
/// `numbers` ask for that, a tensor for each dimension.
///
/// # Errors
/// Where memory or a kernel fails.
pub(crate) fn forward(
    py: Python<'_>,
    runtime: &Runtime,
    op: &OpState,
    kernel: &dyn SelectKernel,
    input: &TensorView,
    mask: Option<&TensorView>,
    numbers: &[f64],
) -> Result<Py<PyAny>, Failure> {
    let (numel, sizes) = (input.layout.numel(), input.layout.sizes());
    let exec = Exec::new(runtime.isa, &runtime.team);
    let view = |of: &TensorView| {
        // SAFETY: the caller holds the tensors, which are row-major.
        unsafe { View::from_raw(of.dtype, of.data, of.layout.numel()) }
    };
    let start = OpState::is_timed(numel).then(Instant::now);
    let chosen = look(numel, || Chosen::count(&exec, view(mask.unwrap_or(input))))?;
    let counted = start.map(|start| start.elapsed());

    let total = chosen.total() as i64;
    let (dtype, layout) = if let Some(mask) = mask {
        let inner = &sizes[mask.layout.sizes().len()..];
        let sizes: Vec<_> = [total].iter().chain(inner).copied().collect();
        (input.dtype, Layout::contiguous(&sizes))
    } else {
        // A column for each dimension.
        (DType::I64, Layout::new(&[total, sizes.len() as i64], &[1, total]))
    };
    let layout = layout.ok_or(Decline::Layout)?;
    let target = runtime.doors.empty(py, dtype, &layout)?;
    op.run(numel, || {
        if total == 0 {
            return; // No memory either.
        }
        let len = layout.numel();
        // SAFETY: the new tensor is nobody else's, and dense of this length; indices are of 64 bits.
        let result = unsafe {
            if mask.is_some() {
                Slot::Values(Target::from_raw(dtype, target.data, len))
            } else {
                Slot::Indices(Unwritten::from_raw(target.data.cast(), len))
            }
        };
        kernel.write(&exec, view(input), &chosen, result, sizes);
    })?;
    if let Some(counted) = counted {
        op.add_time(counted);
    }
    let result = runtime.doors.finish(py, target)?;
    if numbers.first().is_some_and(|&as_tuple| as_tuple != 0.0) {
        let columns = result.call_method1(py, pyo3::intern!(py, "unbind"), (1,));
        return columns.map_err(Failure::Raise);
    }
    Ok(result)
}
