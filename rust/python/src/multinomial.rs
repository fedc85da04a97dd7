//! Samples of rows of probabilities.

use pyo3::prelude::*;
use rusttorch_core::{
    dtype::{DType, Unwritten, View},
    kernel::Exec,
    layout::Layout,
    ops::random::multinomial::{Draws, inspect, multinomial},
    random::{Mt19937, Source},
};
use rusttorch_torch::{decline::Decline, doors::TensorView};

use crate::{
    op::{Failure, OpState, look},
    runtime::Runtime,
};

/// How many samples, and whether with replacement.
fn draws(numbers: &[f64]) -> Draws {
    let number = |index: usize| numbers.get(index).copied().unwrap_or_default();
    Draws {
        samples: number(0) as usize,
        replacement: number(1) != 0.0,
    }
}

/// Whether so many samples come faster than from stock torch. As measured.
pub(crate) fn gains(numbers: &[f64]) -> bool {
    let draws = draws(numbers);
    !draws.replacement || draws.samples <= 1
}

/// Samples of each row of `input`, if `really`; else whether there would be.
pub(crate) fn forward(
    py: Python<'_>,
    runtime: &Runtime,
    op: &OpState,
    input: &TensorView,
    numbers: &[f64],
    really: bool,
) -> Result<Py<PyAny>, Failure> {
    let draws = draws(numbers);
    if !input.layout.is_contiguous() {
        return Err(Decline::Layout.into());
    }
    let sizes = input.layout.sizes();
    let (columns, outer) = match sizes {
        [columns] => (*columns as usize, &sizes[..0]),
        [_, columns] => (*columns as usize, &sizes[..1]),
        _ => return Err(Decline::Dim.into()),
    };
    let numel = input.layout.numel();
    let exec = Exec::new(runtime.isa, &runtime.team);
    // SAFETY: the caller holds the tensor, which is row-major.
    let view = || unsafe { View::from_raw(input.dtype, input.data, numel) };
    look(numel, || inspect(&exec, view(), columns, draws))?.map_err(|_| Decline::Elements)?;
    if !really {
        return Ok(py.None());
    }
    let sizes: Vec<_> = outer.iter().copied().chain([draws.samples as i64]).collect();
    let layout = Layout::contiguous(&sizes).ok_or(Decline::Layout)?;
    let places = runtime.doors.empty(py, DType::I64, &layout)?;
    op.draw(py, runtime, numel, |source| {
        // SAFETY: the new tensor is nobody else's, and dense of this length; places are of 64 bits.
        let places = unsafe { Unwritten::from_raw(places.data.cast(), layout.numel()) };
        match source {
            Source::Torch(generator) => multinomial(&exec, generator, view(), columns, draws, places),
            Source::Key(key) => {
                let mut own = Mt19937::from_seed((key ^ key >> 32) as u32);
                multinomial(&exec, &mut own, view(), columns, draws, places);
            }
        }
    })?;
    Ok(runtime.doors.finish(py, places)?)
}
