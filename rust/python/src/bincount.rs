//! How often each integer occurs, as a new tensor.

use pyo3::prelude::*;
use rusttorch_core::{
    dtype::{DType, Target, Unwritten, View},
    kernel::Exec,
    layout::Layout,
    ops::select::bincount::{bincount, bincount_weighted, bins},
};
use rusttorch_torch::{decline::Decline, doors::TensorView};

use crate::{
    op::{Failure, OpState, hold, look},
    runtime::Runtime,
};

/// More bins than this for each integer are stock torch's, from so many on.
const SPARSE: usize = 64;
const MANY: usize = 1 << 16;

/// The weights of the integers, one each; `profiled` is as of [`view`](rusttorch_torch::doors::Held::view).
///
/// # Errors
/// The reason why they are not for kernels; bad ones are stock torch's to judge.
pub(crate) fn read_weights(
    runtime: &Runtime,
    input: &TensorView,
    weights: &Bound<'_, PyAny>,
    profiled: bool,
) -> Result<TensorView, Decline> {
    let py = weights.py();
    let held = hold(runtime, weights)?;
    let weights = held.any_view(py, false, profiled)?;
    if runtime.state.grad() && held.requires_grad(py)? {
        return Err(Decline::Training);
    }
    if !matches!(weights.dtype, DType::F32 | DType::F64) {
        return Err(Decline::Dtype);
    }
    if weights.layout.sizes() == input.layout.sizes() && weights.layout.is_contiguous() {
        Ok(weights)
    } else {
        Err(Decline::Layout)
    }
}

/// The counts of a row-major input, or the sums of the weights, if `really`; else whether there would be.
pub(crate) fn forward(
    py: Python<'_>,
    runtime: &Runtime,
    op: &OpState,
    input: &TensorView,
    weights: Option<&TensorView>,
    numbers: &[f64],
    really: bool,
) -> Result<Py<PyAny>, Failure> {
    let least = numbers.first().copied().unwrap_or_default();
    if input.layout.sizes().len() != 1 || least < 0.0 {
        return Err(Decline::Dim.into());
    }
    let numel = input.layout.numel();
    let exec = Exec::new(runtime.isa, &runtime.team);
    let view = |of: &TensorView| {
        // SAFETY: the caller holds the tensors, which are row-major.
        unsafe { View::from_raw(of.dtype, of.data, numel) }
    };
    let count = look(numel, || bins(&exec, view(input), least as usize))?.map_err(|_| Decline::Elements)?;
    if count > MANY && count / SPARSE > numel {
        return Err(Decline::Elements.into());
    }
    if !really {
        return Ok(py.None());
    }
    let layout = Layout::contiguous(&[count as i64]).ok_or(Decline::Layout)?;
    let dtype = weights.map_or(DType::I64, |weights| weights.dtype);
    let target = runtime.doors.empty(py, dtype, &layout)?;
    op.run(numel, || {
        // SAFETY: the new tensor is nobody else's, and dense of this length.
        unsafe {
            match weights {
                None => bincount(&exec, view(input), Unwritten::from_raw(target.data.cast(), count)),
                Some(weights) => bincount_weighted(
                    &exec,
                    view(input),
                    view(weights),
                    Target::from_raw(dtype, target.data, count),
                ),
            }
        }
    })?;
    Ok(runtime.doors.finish(py, target)?)
}
