//! How often each integer occurs, as a new tensor.

use pyo3::prelude::*;
use rusttorch_core::{
    dtype::{DType, Unwritten, View},
    kernel::Exec,
    layout::Layout,
    ops::select::bincount::{bincount, bins},
};
use rusttorch_torch::{decline::Decline, doors::TensorView};

use crate::{
    op::{Failure, OpState, look},
    runtime::Runtime,
};

/// More bins than this for each integer are stock torch's, from so many on.
const SPARSE: usize = 64;
const MANY: usize = 1 << 16;

/// The counts of a row-major input, if `really`; else whether there would be.
pub(crate) fn forward(
    py: Python<'_>,
    runtime: &Runtime,
    op: &OpState,
    input: &TensorView,
    numbers: &[f64],
    really: bool,
) -> Result<Py<PyAny>, Failure> {
    let least = numbers.first().copied().unwrap_or_default();
    if input.layout.sizes().len() != 1 || least < 0.0 {
        return Err(Decline::Dim.into());
    }
    let numel = input.layout.numel();
    let exec = Exec::new(runtime.isa, &runtime.team);
    // SAFETY: the caller holds the tensor, which is row-major.
    let view = || unsafe { View::from_raw(input.dtype, input.data, numel) };
    let count = look(numel, || bins(&exec, view(), least as usize))?.map_err(|_| Decline::Elements)?;
    if count > MANY && count / SPARSE > numel {
        return Err(Decline::Elements.into());
    }
    if !really {
        return Ok(py.None());
    }
    let layout = Layout::contiguous(&[count as i64]).ok_or(Decline::Layout)?;
    let target = runtime.doors.empty(py, DType::I64, &layout)?;
    op.run(numel, || {
        // SAFETY: the new tensor is nobody else's, and dense of this length.
        let counts = unsafe { Unwritten::from_raw(target.data.cast(), count) };
        bincount(&exec, view(), counts);
    })?;
    Ok(runtime.doors.finish(py, target)?)
}
