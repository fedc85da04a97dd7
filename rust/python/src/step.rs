//! Optimizers' steps: the functions that torch's optimizers hand the lists of their tensors to; and signatures of all
//! functions of many tensors.

use pyo3::{
    exceptions::PyValueError,
    ffi,
    prelude::*,
    types::{PyBool, PyList, PyString},
};
use rusttorch_core::{
    dtype::{DType, View, ViewMut},
    kernel::{Exec, MAX_STATE, Parameter},
};
use rusttorch_torch::{
    decline::Decline,
    doors::{Held, TensorView},
    state::State,
};

use crate::{
    bind::{Given, boolean, number},
    callable::Record,
    op::{Failure, Mode, OpState, hold, same_order},
    runtime::Runtime,
};

/// The most arguments of such a function, and the most numbers that it hands on.
const MAX_PARAMETERS: usize = 24;
const MAX_NUMBERS: usize = 8;

/// What an argument means.
enum Role {
    /// Lists of as many tensors as there are parameters.
    Params,
    Grads,
    State(usize),
    /// Parameters, whose gradients are meant, or tensors: one, or anything that can be iterated over.
    Parameters,
    Tensors,
    /// A tensor of one number.
    Total,
    /// How many steps there have been, a number each.
    Steps,
    /// Must be false, or `None`.
    False,
    /// Must be `None`.
    Absent,
    Ignored,
    /// The kernel's number at this index.
    Number(usize),
    /// As above, from `True` or `False`, or `None` for what holds where it is not given.
    Flag(usize),
}

/// The signature of such a function.
pub(crate) struct StepSignature {
    names: Vec<Py<PyString>>,
    roles: Vec<Role>,
    required: Vec<bool>,
    /// How many arguments may be given by position.
    positional: usize,
    numbers: Vec<f64>,
    /// Whether the gradients of parameters are meant.
    pub(crate) of_gradients: bool,
}

/// The arguments of a call that tensors and numbers are taken from; what was not given is null.
pub(crate) struct Arguments {
    pub(crate) params: *mut ffi::PyObject,
    grads: *mut ffi::PyObject,
    state: [*mut ffi::PyObject; MAX_STATE],
    steps: *mut ffi::PyObject,
    pub(crate) total: *mut ffi::PyObject,
    numbers: [f64; MAX_NUMBERS],
    count: usize,
}

impl Arguments {
    pub(crate) fn numbers(&self) -> &[f64] {
        &self.numbers[..self.count]
    }
}

impl StepSignature {
    /// From `(name, role, index, required, keyword_only, choices)` each, and the kernel's numbers where they are
    /// not given.
    pub(crate) fn new(parameters: &Bound<'_, PyAny>, numbers: Vec<f64>) -> PyResult<Self> {
        let mut signature = Self {
            names: Vec::new(),
            roles: Vec::new(),
            required: Vec::new(),
            positional: 0,
            numbers,
            of_gradients: false,
        };
        for parameter in parameters.try_iter()? {
            let (name, role, index, required, keyword_only, _): (String, String, usize, bool, bool, Vec<String>) =
                parameter?.extract()?;
            signature.roles.push(match role.as_str() {
                "params" => Role::Params,
                "grads" => Role::Grads,
                "state" if index < MAX_STATE => Role::State(index),
                "steps" => Role::Steps,
                "parameters" => {
                    signature.of_gradients = true;
                    Role::Parameters
                }
                "tensors" => Role::Tensors,
                "total" => Role::Total,
                "false" => Role::False,
                "absent" => Role::Absent,
                "ignored" => Role::Ignored,
                "number" if index < signature.numbers.len() => Role::Number(index),
                "flag" if index < signature.numbers.len() => Role::Flag(index),
                _ => return Err(PyValueError::new_err(format!("role {role:?} unknown"))),
            });
            signature.required.push(required);
            signature.names.push(PyString::intern(parameters.py(), &name).unbind());
            if !keyword_only {
                signature.positional = signature.names.len();
            }
        }
        if signature.names.len() > MAX_PARAMETERS || signature.numbers.len() > MAX_NUMBERS {
            return Err(PyValueError::new_err("too many parameters"));
        }
        Ok(signature)
    }

    /// The arguments of a call; those that ask for what kernels do not do, and those that do not fit, are stock torch's.
    pub(crate) fn bind(&self, py: Python<'_>, given: Given) -> Result<Arguments, Decline> {
        let mut bound = Arguments {
            params: std::ptr::null_mut(),
            grads: std::ptr::null_mut(),
            state: [std::ptr::null_mut(); MAX_STATE],
            steps: std::ptr::null_mut(),
            total: std::ptr::null_mut(),
            numbers: [0.0; MAX_NUMBERS],
            count: self.numbers.len(),
        };
        bound.numbers[..self.numbers.len()].copy_from_slice(&self.numbers);
        let mut seen = [false; MAX_PARAMETERS];
        if given.positional > self.positional {
            return Err(Decline::Arguments);
        }
        for (position, (name, value)) in given.arguments(py).enumerate() {
            let index = match name {
                None => position,
                Some(name) => self
                    .names
                    .iter()
                    .position(|known| known.is(&name) || name.eq(known).unwrap_or(false))
                    .ok_or(Decline::Arguments)?,
            };
            if std::mem::replace(&mut seen[index], true) {
                return Err(Decline::Arguments);
            }
            match self.roles[index] {
                Role::Params | Role::Parameters | Role::Tensors => bound.params = value.as_ptr(),
                Role::Total => bound.total = value.as_ptr(),
                Role::Grads => bound.grads = value.as_ptr(),
                Role::State(at) => bound.state[at] = value.as_ptr(),
                Role::Steps => bound.steps = value.as_ptr(),
                Role::False if value.is_none() || value.is(PyBool::new(py, false)) => {}
                Role::Absent if value.is_none() => {}
                Role::False | Role::Absent => return Err(Decline::Keyword),
                Role::Ignored => {}
                Role::Number(at) => bound.numbers[at] = number(&value)?,
                Role::Flag(_) if value.is_none() => {}
                Role::Flag(at) => bound.numbers[at] = f64::from(u8::from(boolean(&value)?)),
            }
        }
        let complete = self.required.iter().zip(seen).all(|(required, seen)| seen || !required);
        if complete { Ok(bound) } else { Err(Decline::Arguments) }
    }
}

/// An argument that is a list.
fn list(py: Python<'_>, object: *mut ffi::PyObject) -> Result<Bound<'_, PyList>, Decline> {
    // SAFETY: an argument, which is alive during the call.
    let object = unsafe { Bound::from_borrowed_ptr(py, object) };
    object.cast_into_exact::<PyList>().map_err(|_| Decline::Arguments)
}

/// The tensors of all parameters, one parameter after the other.
struct Group<'py> {
    tensors: Vec<Bound<'py, PyAny>>,
    /// Of a parameter: itself, its gradient, what is kept of it, and its count.
    each: usize,
}

impl<'py> Group<'py> {
    fn of(py: Python<'py>, arguments: &Arguments, kept: [bool; MAX_STATE], counts: bool) -> Result<Self, Decline> {
        let state = arguments.state.into_iter().zip(kept);
        let state = state.filter_map(|(list, kept)| kept.then_some(list));
        let lists = [arguments.params, arguments.grads].into_iter().chain(state);
        let lists = lists.chain(counts.then_some(arguments.steps));
        let lists: Vec<_> = lists.map(|object| list(py, object)).collect::<Result<_, _>>()?;
        let count = lists[0].len();
        if count == 0 {
            return Err(Decline::Empty);
        }
        if lists.iter().any(|list| list.len() != count) {
            return Err(Decline::Arguments);
        }
        let mut tensors = Vec::with_capacity(count * lists.len());
        for i in 0..count {
            for list in &lists {
                tensors.push(list.get_item(i).map_err(|_| Decline::Arguments)?);
            }
        }
        Ok(Self {
            tensors,
            each: lists.len(),
        })
    }
}

/// The plain tensors of a call: what it writes may overlap nothing else.
pub(crate) struct Tensors<'a> {
    runtime: &'a Runtime,
    state: State,
    /// First and last address, and whether it is written.
    spans: Vec<(usize, usize, bool)>,
    written: Vec<Held<'a>>,
}

impl<'a> Tensors<'a> {
    /// None yet, of about as many.
    pub(crate) fn none(runtime: &'a Runtime, state: State, count: usize) -> Self {
        Self {
            runtime,
            state,
            spans: Vec::with_capacity(count),
            written: Vec::with_capacity(count),
        }
    }

    pub(crate) fn read(&mut self, tensor: &'a Bound<'_, PyAny>, written: bool) -> Result<TensorView, Decline> {
        let py = tensor.py();
        if tensor.is_none() {
            return Err(Decline::First);
        }
        let held = hold(self.runtime, tensor)?;
        let view = held.view(py, written, self.state.profiled)?;
        let start = view.data as usize;
        let end = start + view.layout.numel() * view.dtype.size() - 1;
        self.spans.push((start, end, written));
        if written {
            if !self.state.inference && held.is_inference(py)? {
                return Err(Decline::Inference);
            }
            self.written.push(held);
        }
        Ok(view)
    }

    /// Tells autograd that those that are written were changed so often.
    pub(crate) fn bump_versions(&self, py: Python<'_>, times: usize) -> Result<(), Decline> {
        let mut written = self.written.iter();
        written.try_for_each(|held| (0..times).try_for_each(|_| held.bump_version(py)))
    }

    /// Whether what is written is written once, and not read elsewhere.
    pub(crate) fn are_apart(&mut self) -> bool {
        self.spans.sort_unstable();
        let (mut last, mut last_written) = (0, 0);
        self.spans.iter().all(|&(start, end, written)| {
            let apart = start > last_written && (!written || start > last);
            last = last.max(end);
            if written {
                last_written = last_written.max(end);
            }
            apart
        })
    }
}

/// A step's count, in memory.
#[derive(Clone, Copy)]
enum Count {
    F32(*mut f32),
    F64(*mut f64),
}

impl Count {
    fn of(view: &TensorView) -> Result<Self, Decline> {
        if view.layout.numel() != 1 {
            return Err(Decline::Kernel);
        }
        match view.dtype {
            DType::F32 => Ok(Self::F32(view.data.cast())),
            DType::F64 => Ok(Self::F64(view.data.cast())),
            _ => Err(Decline::Dtype),
        }
    }

    /// What it counts with the next one.
    fn next(self) -> f64 {
        // SAFETY: the tensor is alive during the call, and the GIL held.
        unsafe {
            match self {
                Self::F32(count) => f64::from(*count + 1.0),
                Self::F64(count) => *count + 1.0,
            }
        }
    }

    fn set(self, to: f64) {
        // SAFETY: as above; nothing else points to it.
        unsafe {
            match self {
                Self::F32(count) => *count = to as f32,
                Self::F64(count) => *count = to,
            }
        }
    }
}

/// A parameter with what belongs to it.
struct Member {
    value: TensorView,
    grad: TensorView,
    state: Vec<TensorView>,
    count: Option<Count>,
}

impl Member {
    /// From a parameter's tensors.
    fn read<'a>(tensors: &'a [Bound<'_, PyAny>], counts: bool, read: &mut Tensors<'a>) -> Result<Self, Decline> {
        let (tensors, count) = tensors.split_at(tensors.len() - usize::from(counts));
        let (value, grad) = (read.read(&tensors[0], true)?, read.read(&tensors[1], false)?);
        let state: Vec<_> = tensors[2..]
            .iter()
            .map(|tensor| read.read(tensor, true))
            .collect::<Result<_, _>>()?;
        if value.layout.dense_order().is_none() {
            return Err(Decline::Layout);
        }
        for other in [&grad].into_iter().chain(&state) {
            if other.dtype != value.dtype {
                return Err(Decline::Dtype);
            }
            if !same_order(&other.layout, &value.layout) {
                return Err(Decline::Layout);
            }
        }
        let count = count
            .first()
            .map(|tensor| Count::of(&read.read(tensor, true)?))
            .transpose()?;
        if count.is_some_and(|count| !(count.next() >= 1.0)) {
            return Err(Decline::Kernel);
        }
        Ok(Self {
            value,
            grad,
            state,
            count,
        })
    }

    fn parameter(&self) -> Parameter<'_> {
        let numel = self.value.layout.numel();
        // SAFETY: the caller of the step holds the tensors; they are dense and of one length, and those that are written
        // overlap nothing. Races with other threads of Python are the program's, as in stock torch.
        let view_mut = |view: &TensorView| unsafe { ViewMut::from_raw(view.dtype, view.data, numel) };
        Parameter {
            value: view_mut(&self.value),
            // SAFETY: as above.
            grad: unsafe { View::from_raw(self.grad.dtype, self.grad.data, numel) },
            state: self.state.iter().map(view_mut).collect(),
            step: self.count.map_or(0.0, Count::next),
        }
    }
}

/// The step, if `really`; else only whether it would be done. Everything is looked at before anything is changed.
pub(crate) fn run(
    py: Python<'_>,
    runtime: &Runtime,
    op: &OpState,
    signature: &StepSignature,
    given: Given,
    label: &str,
    really: bool,
) -> Result<(), Failure> {
    let kernel = op.step_kernel().ok_or(Decline::Kernel)?;
    if runtime.state.function_mode() {
        return Err(Decline::FunctionMode.into());
    }
    let arguments = signature.bind(py, given)?;
    let state = runtime.state.read()?;
    if state.autocast {
        return Err(Decline::Mode.into());
    }
    if runtime.state.grad() {
        return Err(Decline::TrainingInplace.into());
    }
    let numbers = arguments.numbers();
    let kept = kernel.accepts(numbers).map_err(|_| Decline::Kernel)?;
    let group = Group::of(py, &arguments, kept, kernel.counts())?;
    let mut read = Tensors::none(runtime, state, group.tensors.len());
    let each = group.tensors.chunks_exact(group.each);
    let members: Vec<_> = each
        .map(|tensors| Member::read(tensors, kernel.counts(), &mut read))
        .collect::<Result<_, _>>()?;
    let numel = members.iter().map(|member| member.value.layout.numel()).sum();
    for member in &members {
        op.takes(Mode::Inplace, Some(member.value.dtype), numel)?;
    }
    if !read.are_apart() {
        return Err(Decline::Kernel.into());
    }
    if !really {
        return Ok(());
    }
    let _record = Record::start(py, state, label);
    read.bump_versions(py, 1)?;
    let parameters = members.iter().map(Member::parameter).collect();
    op.run(numel, || {
        kernel.step(&Exec::new(runtime.isa, &runtime.team), parameters, numbers);
    })?;
    for count in members.iter().filter_map(|member| member.count) {
        count.set(count.next());
    }
    Ok(())
}
