//! Functions of all gradients of a model, such as those that clip them.

use pyo3::{
    ffi, intern,
    prelude::*,
    types::{PyIterator, PyList},
};
use rusttorch_core::{
    dtype::{DType, Target, View, ViewMut},
    kernel::{ClipKernel, Exec, Total},
    layout::Layout,
};
use rusttorch_torch::{decline::Decline, doors::TensorView};

use crate::{
    callable::Record,
    op::{Failure, Mode, OpState, hold, is_plain, look},
    runtime::Runtime,
    step::{Arguments, StepSignature, Tensors},
};

/// The tensors that an argument stands for, which may be given one by one.
pub(crate) enum Collected<'py> {
    None,
    /// Of a tensor, a list and the like, which can be asked again.
    Again(Vec<Bound<'py, PyAny>>),
    /// Of what may be at its end now.
    Once(Vec<Bound<'py, PyAny>>),
}

impl<'py> Collected<'py> {
    fn of(runtime: &Runtime, argument: &Bound<'py, PyAny>) -> Result<Self, Failure> {
        if is_plain(runtime, argument) {
            return Ok(Self::Again(vec![argument.clone()]));
        }
        // A subclass's tensor could be iterated over, but stands for itself.
        if argument
            .hasattr(intern!(argument.py(), "__torch_function__"))
            .unwrap_or(true)
        {
            return Err(Decline::NotPlain.into());
        }
        let all = || argument.try_iter()?.collect::<PyResult<Vec<_>>>();
        let tensors = all().map_err(Failure::Raise)?;
        Ok(if argument.cast::<PyIterator>().is_ok() {
            Self::Once(tensors)
        } else {
            Self::Again(tensors)
        })
    }

    fn tensors(&self) -> &[Bound<'py, PyAny>] {
        match self {
            Self::None => &[],
            Self::Again(tensors) | Self::Once(tensors) => tensors,
        }
    }

    /// Whether stock torch has to have a list of them instead; of an empty generator it warns.
    pub(crate) fn exhausted(&self) -> bool {
        matches!(self, Self::Once(tensors) if !tensors.is_empty())
    }

    pub(crate) fn list(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        PyList::new(py, self.tensors())
    }
}

/// A call of such a function.
#[derive(Clone, Copy)]
pub(crate) struct Call<'a> {
    pub(crate) runtime: &'a Runtime,
    pub(crate) op: &'a OpState,
    pub(crate) kernel: &'static dyn ClipKernel,
    pub(crate) signature: &'a StepSignature,
    pub(crate) label: &'a str,
}

impl Call<'_> {
    /// The gradients of parameters that have one; that of any other tensor than a leaf would warn.
    fn gradients<'py>(&self, parameters: &[Bound<'py, PyAny>]) -> Result<Vec<Bound<'py, PyAny>>, Decline> {
        let mut gradients = Vec::with_capacity(parameters.len());
        for parameter in parameters {
            let py = parameter.py();
            let ask = |name| parameter.getattr(name).map_err(|_| Decline::Unreadable);
            if !is_plain(self.runtime, parameter) {
                return Err(Decline::NotPlain);
            }
            if !ask(intern!(py, "is_leaf"))?.is_truthy().unwrap_or(false) {
                return Err(Decline::NotPlain);
            }
            let gradient = ask(intern!(py, "grad"))?;
            if !gradient.is_none() {
                gradients.push(gradient);
            }
        }
        Ok(gradients)
    }

    /// The total norm that a call is given, if it is to be given any.
    fn total(&self, py: Python<'_>, argument: *mut ffi::PyObject) -> Result<Option<Total>, Decline> {
        // SAFETY: null, or an argument, which is alive during the call.
        let Some(tensor) = (unsafe { Bound::from_borrowed_ptr_or_opt(py, argument) }) else {
            return Ok(None);
        };
        let held = hold(self.runtime, &tensor)?;
        let TensorView { dtype, layout, data } = held.view(py, false, false)?;
        if !layout.sizes().is_empty() || held.requires_grad(py)? {
            return Err(Decline::Kernel);
        }
        // SAFETY: one element of a tensor that is alive during the call.
        let value = unsafe { View::from_raw(dtype, data, 1) }.first();
        let value = value.ok_or(Decline::Empty)?;
        Ok(Some(Total { dtype, value }))
    }

    /// A new tensor of one number.
    fn number(&self, py: Python<'_>, total: Total) -> Result<Py<PyAny>, Decline> {
        let doors = &self.runtime.doors;
        let layout = Layout::contiguous(&[]).ok_or(Decline::Failed)?;
        let tensor = doors.empty(py, total.dtype, &layout)?;
        // SAFETY: a new tensor of one element.
        unsafe { Target::from_raw(total.dtype, tensor.data, 1) }.fill(total.value);
        doors.finish(py, tensor)
    }

    /// What the call returns, if it is `really` to be done; else only whether it would be. Everything is looked at before
    /// anything is changed.
    pub(crate) fn run<'py>(
        &self,
        py: Python<'py>,
        arguments: &Arguments,
        collected: &mut Collected<'py>,
        really: bool,
    ) -> Result<Py<PyAny>, Failure> {
        let Self {
            runtime, op, kernel, ..
        } = *self;
        if runtime.state.function_mode() {
            return Err(Decline::FunctionMode.into());
        }
        let state = runtime.state.read()?;
        if state.autocast {
            return Err(Decline::Mode.into());
        }
        let numbers = arguments.numbers();
        // SAFETY: an argument that had to be given, which is alive during the call.
        let argument = unsafe { Bound::from_borrowed_ptr(py, arguments.params) };
        *collected = Collected::of(runtime, &argument)?;
        let gradients = if self.signature.of_gradients {
            &self.gradients(collected.tensors())?
        } else {
            collected.tensors()
        };
        if gradients.is_empty() {
            return Err(Decline::Empty.into());
        }
        let given = self.total(py, arguments.total)?;
        let mut read = Tensors::none(runtime, state, gradients.len());
        let mut views = Vec::with_capacity(gradients.len());
        for gradient in gradients {
            views.push(self.read(gradient, &mut read)?);
        }
        let numel = views.iter().map(|view| view.layout.numel()).sum();
        let mut dtypes = DType::FLOATS
            .into_iter()
            .filter(|&dtype| views.iter().any(|view| view.dtype == dtype));
        dtypes.try_for_each(|dtype| {
            kernel.accepts(dtype, numbers).map_err(|_| Decline::Kernel)?;
            op.takes(Mode::Inplace, Some(dtype), numel)
        })?;
        if kernel.changes() && !read.are_apart() {
            return Err(Decline::Kernel.into());
        }
        if !really {
            return Ok(py.None());
        }
        let _record = Record::start(py, state, self.label);
        let exec = Exec::new(runtime.isa, &runtime.team);
        let measured = look(numel, || {
            // SAFETY: the gradients are held, dense and of these lengths; races with other threads of Python are the
            // program's, as in stock torch.
            let view = |view: &TensorView| unsafe { View::from_raw(view.dtype, view.data, view.layout.numel()) };
            kernel.measure(&exec, &views.iter().map(view).collect::<Vec<_>>(), numbers)
        })?;
        let measured = measured.map_err(|_| Decline::Kernel)?;
        let result = measured.map(|total| self.number(py, total)).transpose()?;
        if kernel.changes() {
            read.bump_versions(py, kernel.versions(numbers))?;
        }
        op.run(numel, || {
            if kernel.changes() {
                // SAFETY: as above; they overlap nothing.
                let view = |view: &TensorView| unsafe { ViewMut::from_raw(view.dtype, view.data, view.layout.numel()) };
                kernel.clip(&exec, views.iter().map(view).collect(), measured.or(given), numbers);
            }
        })?;
        Ok(result.unwrap_or_else(|| py.None()))
    }

    /// A gradient, whose elements are all of one block of memory.
    fn read<'a>(&self, gradient: &'a Bound<'_, PyAny>, read: &mut Tensors<'a>) -> Result<TensorView, Decline> {
        let view = read.read(gradient, self.kernel.changes())?;
        if view.layout.dense_order().is_none() {
            return Err(Decline::Layout);
        }
        if hold(self.runtime, gradient)?.requires_grad(gradient.py())? {
            return Err(Decline::TrainingInplace);
        }
        Ok(view)
    }
}
