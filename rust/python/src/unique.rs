//! The different elements of a tensor, as new tensors.

use std::time::Instant;

use pyo3::{prelude::*, types::PyTuple};
use rusttorch_core::{
    dtype::{DType, Target, Unwritten, View},
    kernel::Exec,
    layout::Layout,
    ops::select::{
        unique::{Distinct, unique},
        unique_consecutive::unique_consecutive,
    },
};
use rusttorch_torch::{
    decline::Decline,
    doors::{NewTensor, TensorView},
};

use crate::{
    op::{Failure, OpState, look},
    runtime::Runtime,
};

/// The different elements of a row-major input, the place of each among them and how many there are of each; or, where it is of
/// runs, the first of each run of equal ones, the run of each element and how long runs are. Without elements where `numbers` do
/// not ask for them.
pub(crate) fn forward(
    py: Python<'_>,
    runtime: &Runtime,
    op: &OpState,
    input: &TensorView,
    numbers: &[f64],
    of_runs: bool,
) -> Result<Py<PyAny>, Failure> {
    let asks = |index: usize| numbers.get(index).is_some_and(|&flag| flag != 0.0);
    let exec = Exec::new(runtime.isa, &runtime.team);
    let results = if of_runs {
        found(py, runtime, op, input, [asks(0), asks(1)], |view| {
            unique_consecutive(&exec, view)
        })
    } else {
        let (inverse, counts) = (asks(1), asks(2));
        found(py, runtime, op, input, [inverse, counts], |view| {
            unique(&exec, view, inverse, true)
        })
    };
    let results = PyTuple::new(py, results?).map_err(Failure::Raise)?;
    Ok(results.into_any().unbind())
}

/// New tensors of what `find` finds: values, the place of each element among them, and counts; the second and the third
/// without elements where they are not asked for.
fn found<'a>(
    py: Python<'_>,
    runtime: &Runtime,
    op: &OpState,
    input: &'a TensorView,
    [asks_inverse, asks_counts]: [bool; 2],
    find: impl FnOnce(View<'a>) -> Result<Box<dyn Distinct + 'a>, &'static str> + Send,
) -> Result<[Py<PyAny>; 3], Failure> {
    let numel = input.layout.numel();
    let exec = Exec::new(runtime.isa, &runtime.team);
    // SAFETY: the caller holds the tensor, which is row-major.
    let view = || unsafe { View::from_raw(input.dtype, input.data, numel) };
    let start = OpState::is_timed(numel).then(Instant::now);
    let distinct = look(numel, || find(view()))?.map_err(|_| Decline::Elements)?;
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
    Ok([
        runtime.doors.finish(py, values)?,
        runtime.doors.finish(py, inverse)?,
        runtime.doors.finish(py, counts)?,
    ])
}
