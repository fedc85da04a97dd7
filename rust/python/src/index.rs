//! Runs of operations that move, choose or find elements.

use pyo3::{
    ffi,
    prelude::*,
    types::{PyFloat, PyInt, PyTuple},
};
use rusttorch_core::{
    dtype::{DType, Target, View, ViewMut},
    kernel::{Exec, IndexKernel, MAX_TENSORS, SelectKernel, Strided},
    layout::Layout,
};
use rusttorch_torch::{decline::Decline, doors::TensorView};

use crate::{
    op::{Failure, OpState, hold},
    runtime::Runtime,
};

/// An argument where a tensor or a number may stand.
pub(crate) enum Given<'py> {
    Missing,
    Tensor(Bound<'py, PyAny>),
    Integer,
    Fraction,
}

impl<'py> Given<'py> {
    pub(crate) fn new(object: Option<Bound<'py, PyAny>>) -> Self {
        match object {
            None => Self::Missing,
            Some(object) if object.is_exact_instance_of::<PyFloat>() => Self::Fraction,
            Some(object) if object.is_exact_instance_of::<PyInt>() => Self::Integer,
            Some(object) => Self::Tensor(object),
        }
    }

    pub(crate) fn tensor(&self) -> Option<&Bound<'py, PyAny>> {
        if let Self::Tensor(tensor) = self {
            Some(tensor)
        } else {
            None
        }
    }

    /// Whether the number leaves elements of this type in their type.
    fn keeps(&self, dtype: DType) -> bool {
        match self {
            Self::Missing | Self::Tensor(_) => true,
            Self::Integer => dtype != DType::Bool,
            Self::Fraction => dtype.is_float(),
        }
    }
}

/// Two indices of `tensor[...]`, if they are tensors, the first of which may be `:` instead.
pub(crate) struct Pair<'py> {
    pub(crate) tensors: [Given<'py>; 2],
    /// The dimension of the first of them.
    pub(crate) dim: f64,
}

impl<'py> Pair<'py> {
    pub(crate) fn new(runtime: &Runtime, object: &Bound<'py, PyAny>) -> Option<Self> {
        let tuple = object.cast_exact::<PyTuple>().ok()?;
        if tuple.len() != 2 {
            return None;
        }
        let (first, second) = (tuple.get_item(0).ok()?, tuple.get_item(1).ok()?);
        // SAFETY: the tuple's items, which are alive.
        let is_plain = |item: &Bound<'py, PyAny>| unsafe { runtime.doors.is_plain(item.as_ptr()) };
        if !is_plain(&second) {
            None
        } else if is_plain(&first) {
            let tensors = [Given::Tensor(first), Given::Tensor(second)];
            Some(Self { tensors, dim: 0.0 })
        } else if is_full(&first) {
            let tensors = [Given::Tensor(second), Given::Missing];
            Some(Self { tensors, dim: 1.0 })
        } else {
            None
        }
    }
}

/// Whether it is the slice `:`, or comes to it.
fn is_full(object: &Bound<'_, PyAny>) -> bool {
    let (mut start, mut stop, mut step) = (0, 0, 0);
    // SAFETY: of a slice, whose bounds are written to the three.
    unsafe {
        if ffi::PySlice_Check(object.as_ptr()) == 0 {
            return false;
        }
        if ffi::PySlice_Unpack(object.as_ptr(), &raw mut start, &raw mut stop, &raw mut step) < 0 {
            ffi::PyErr_Clear();
            return false;
        }
    }
    (start, stop, step) == (0, isize::MAX, 1)
}

/// The tensors of a call, which outlives this; the first is the input. They are read in place: copies would take longer than
/// the reading.
pub(crate) struct Views {
    tensors: [Option<TensorView>; MAX_TENSORS],
    /// How many the operation takes, missing ones included.
    count: usize,
}

/// A call and its kernel.
pub(crate) struct Indexed<'a> {
    kernel: &'static dyn IndexKernel,
    views: &'a Views,
    /// What a call makes.
    pub(crate) dtype: DType,
    layout: Layout,
}

/// Elements from the first to the last one in memory.
fn extent(view: &TensorView) -> usize {
    view.layout.extent().unwrap_or_default() // what lies in memory has one
}

/// # Safety
/// The tensor is alive, and nothing writes to it.
unsafe fn strided(view: &TensorView) -> Strided<'_> {
    Strided {
        layout: &view.layout,
        // SAFETY: the tensor's memory holds what its strides reach; the rest is the caller's.
        elements: unsafe { View::from_raw(view.dtype, view.data, extent(view)) },
    }
}

impl Views {
    /// Of an input alone.
    pub(crate) fn of(input: TensorView) -> Self {
        let mut views = Self {
            tensors: [const { None }; MAX_TENSORS],
            count: 1,
        };
        views.tensors[0] = Some(input);
        views
    }

    /// Reads those that are beside the input; `profiled` is as of [`view`](rusttorch_torch::doors::Held::view).
    ///
    /// # Errors
    /// The reason why they are not for kernels.
    pub(crate) fn read(&mut self, runtime: &Runtime, others: &[Given<'_>], profiled: bool) -> Result<(), Decline> {
        for (view, other) in self.tensors[1..].iter_mut().zip(others) {
            if let Some(tensor) = other.tensor() {
                *view = Some(hold(runtime, tensor)?.any_view(tensor.py(), false, profiled)?);
            }
        }
        self.count = 1 + others.len();
        Ok(())
    }

    /// As kernels take them.
    ///
    /// # Safety
    /// The tensors are alive, and nothing writes to them.
    unsafe fn strided(&self) -> [Option<Strided<'_>>; MAX_TENSORS] {
        // SAFETY: the caller's.
        self.tensors
            .each_ref()
            .map(|view| unsafe { view.as_ref().map(|view| strided(view)) })
    }

    /// The kernel for a mask, if that is what there is, the input and the mask.
    ///
    /// # Errors
    /// The reason why the two are not for it.
    pub(crate) fn chooses(&self, kernel: &'static dyn IndexKernel) -> Result<Option<Choice<'_>>, Decline> {
        let [Some(input), Some(by)] = &self.tensors[..self.count] else {
            return Ok(None);
        };
        // SAFETY: as in `Indexed::new`.
        let tensors = unsafe { [Some(strided(input)), Some(strided(by))] };
        let Some(select) = kernel.chooses(&tensors) else {
            return Ok(None);
        };
        let first = by.layout.sizes();
        if first.is_empty() || !input.layout.sizes().starts_with(first) {
            return Err(Decline::Kernel);
        }
        if input.layout.is_contiguous() && by.layout.is_contiguous() {
            Ok(Some((select, input, by)))
        } else {
            Err(Decline::Layout)
        }
    }
}

/// See [`Views::chooses`].
type Choice<'a> = (&'static dyn SelectKernel, &'a TensorView, &'a TensorView);

impl<'a> Indexed<'a> {
    /// What a call of the kernel makes of tensors, the first of which may be changed `inplace`, and numbers.
    ///
    /// # Errors
    /// The reason why they are not for the kernel.
    pub(crate) fn new(
        kernel: &'static dyn IndexKernel,
        views: &'a Views,
        others: &[Given<'_>],
        numbers: &[f64],
        inplace: bool,
    ) -> Result<Self, Decline> {
        // SAFETY: the caller of the operation holds the tensors, and the GIL. Races with other threads of Python are the
        // program's, as in stock torch.
        let outline = kernel.outline(&unsafe { views.strided() }[..views.count], numbers, inplace);
        let (dtype, layout) = outline.map_err(|_| Decline::Kernel)?;
        let its = views.tensors[0].as_ref().map_or(dtype, |input| input.dtype);
        let kept = kernel.type_of_numbers(its, dtype);
        if !others.iter().all(|other| other.keeps(kept)) {
            return Err(Decline::Kernel);
        }
        Ok(Self {
            kernel,
            views,
            dtype,
            layout,
        })
    }

    /// Whether there is something to gain over stock torch.
    pub(crate) fn pays(&self, runtime: &Runtime, numbers: &[f64]) -> Result<(), Decline> {
        // SAFETY: as in `new`.
        let tensors = unsafe { self.views.strided() };
        self.kernel
            .pays(runtime.isa, &tensors[..self.views.count], numbers)
            .map_err(|_| Decline::Kernel)
    }

    /// Whether autograd may record it.
    pub(crate) fn is_recorded(&self) -> bool {
        // SAFETY: as in `new`.
        let tensors = unsafe { self.views.strided() };
        self.kernel.is_recorded(&tensors[..self.views.count])
    }

    /// The number of elements that a call is counted by: the result's, where these are more than the input's.
    fn numel(&self) -> usize {
        let input = self.views.tensors.iter().flatten().next();
        input.map_or(0, |view| view.layout.numel()).max(self.layout.numel())
    }

    /// The result, as a new tensor.
    pub(crate) fn forward(
        &self,
        py: Python<'_>,
        runtime: &Runtime,
        op: &OpState,
        numbers: &[f64],
    ) -> Result<Py<PyAny>, Failure> {
        let result = runtime.doors.empty(py, self.dtype, &self.layout)?;
        let mut outcome = Ok(());
        op.run(self.numel(), || {
            // SAFETY: as in `new`; the new tensor is nobody else's.
            let (tensors, target) = unsafe {
                (
                    self.views.strided(),
                    Target::from_raw(self.dtype, result.data, self.layout.numel()),
                )
            };
            let exec = Exec::new(runtime.isa, &runtime.team);
            outcome = self
                .kernel
                .forward(&exec, &tensors[..self.views.count], target, &self.layout, numbers);
        })?;
        outcome.map_err(|_| Decline::Elements)?;
        Ok(runtime.doors.finish(py, result)?)
    }

    /// Whether the input, which is dense, shares no memory with the others.
    pub(crate) fn is_apart(&self) -> bool {
        let span = |view: &TensorView| {
            let start = view.data as usize;
            start..start + extent(view) * view.dtype.size()
        };
        let mut spans = self.views.tensors.iter().flatten().map(span);
        let Some(its) = spans.next() else { return false };
        spans.all(|other| its.end <= other.start || other.end <= its.start)
    }

    /// Changes the input, which was read to be changed and is apart.
    pub(crate) fn inplace(&self, runtime: &Runtime, op: &OpState, numbers: &[f64]) -> Result<(), Failure> {
        let Some(input) = &self.views.tensors[0] else {
            return Err(Decline::Failed.into());
        };
        let mut outcome = Ok(());
        op.run(input.layout.numel(), || {
            // SAFETY: as in `new`; the input is dense, and apart from the others.
            let (mut tensors, buf) = unsafe {
                (
                    self.views.strided(),
                    ViewMut::from_raw(input.dtype, input.data, input.layout.numel()),
                )
            };
            tensors[0] = None;
            let exec = Exec::new(runtime.isa, &runtime.team);
            outcome = self
                .kernel
                .inplace(&exec, &input.layout, buf, &tensors[..self.views.count], numbers);
        })?;
        Ok(outcome.map_err(|_| Decline::Elements)?)
    }
}
