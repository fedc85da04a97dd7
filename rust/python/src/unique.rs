//! The different elements of a tensor, as new tensors.

use std::time::Instant;

use pyo3::{prelude::*, types::PyTuple};
use rusttorch_core::{
    dtype::{DType, Target, Unwritten, View},
    kernel::Exec,
    layout::Layout,
    ops::select::unique::{takes, unique},
};
use rusttorch_torch::{
    decline::Decline,
    doors::{NewTensor, TensorView},
};

use crate::{
    op::{Failure, OpState, look},
    runtime::Runtime,
};

/// Whether these elements, and this order, are for the kernel.
///
/// # Errors
/// The reason why not.
pub(crate) fn accepts(input: &TensorView) -> Result<(), Decline> {
    if !takes(input.dtype) {
        return Err(Decline::Dtype);
    }
    if input.layout.is_contiguous() {
        Ok(())
    } else {
        Err(Decline::Layout)
    }
}

/// The different elements of an input that is accepted, the place of each among them and how many there are of each; without
/// elements where `numbers` do not ask for them.
pub(crate) fn forward(
    py: Python<'_>,
    runtime: &Runtime,
    op: &OpState,
    input: &TensorView,
    numbers: &[f64],
) -> Result<Py<PyAny>, Failure> {
    let asks = |index: usize| numbers.get(index).is_some_and(|&flag| flag != 0.0);
    let (asks_inverse, asks_counts) = (asks(1), asks(2));
    let numel = input.layout.numel();
    let exec = Exec::new(runtime.isa, &runtime.team);
    // SAFETY: the caller holds the tensor, which is row-major.
    let view = || unsafe { View::from_raw(input.dtype, input.data, numel) };
    let start = OpState::is_timed(numel).then(Instant::now);
    let distinct = look(numel, || unique(&exec, view(), asks_inverse, true))?.map_err(|_| Decline::Elements)?;
    let found = start.map(|start| start.elapsed());

    let count = distinct.count() as i64;
    let empty = |dtype: DType, sizes: &[i64]| -> Result<NewTensor, Failure> {
        let layout = Layout::contiguous(sizes).ok_or(Decline::Layout)?;
        Ok(runtime.doors.empty(py, dtype, &layout)?)
    };
    let values = empty(input.dtype, &[count])?;
    let inverse = empty(DType::I64, if asks_inverse { input.layout.sizes() } else { &[0] })?;
    let counts = empty(DType::I64, &[if asks_counts { count } else { 0 }])?;
    op.run(numel, || {
        // SAFETY: the new tensors are nobody else's, and dense of these lengths; places are of 64 bits.
        let places = |tensor: &NewTensor, len: usize| unsafe { Unwritten::from_raw(tensor.data.cast(), len) };
        // SAFETY: as above.
        let target = unsafe { Target::from_raw(input.dtype, values.data, count as usize) };
        let (inverse, counts) = (
            asks_inverse.then(|| places(&inverse, numel)),
            asks_counts.then(|| places(&counts, count as usize)),
        );
        distinct.write(&exec, view(), target, inverse, counts);
    })?;
    if let Some(found) = found {
        op.add_time(found);
    }
    let results = [values, inverse, counts].map(|tensor| runtime.doors.finish(py, tensor));
    let results = results.into_iter().collect::<Result<Vec<_>, _>>()?;
    let results = PyTuple::new(py, results).map_err(Failure::Raise)?;
    Ok(results.into_any().unbind())
}
