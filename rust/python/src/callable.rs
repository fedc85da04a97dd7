//! The object that stands in for a torch function.
//!
//! A C-level callable: a Python function in front of torch's costs more than torch's own for small tensors. It looks
//! like the stock function to whoever asks (name, signature, class, hash, equality, pickling), is itself to `is`, and
//! lives as long as the process: callers keep references.

use std::{
    ffi::{CStr, c_char, c_int, c_ulong, c_void},
    mem::offset_of,
    panic::{AssertUnwindSafe, catch_unwind},
    ptr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use pyo3::{
    exceptions::{PyRuntimeError, PyTypeError},
    ffi,
    prelude::*,
    sync::PyOnceLock,
    types::{PyCFunction, PyDict, PyTuple},
};
use rusttorch_core::{
    dtype::DType,
    kernel::{Glance, IndexKernel, MAX_TENSORS, NaryKernel, Seen, SelectKernel},
};
use rusttorch_torch::{
    decline::Decline,
    doors::{Held, TensorView},
    state::State,
};

use crate::{
    bincount,
    bind::{Arguments, Given, MAX_PARAMETERS, Signature},
    clip,
    index::{self, Indexed, Views},
    multinomial,
    nary::{self, Operands},
    op::{Failure, Look, Mode, Op, OpState, Plan, hold},
    runtime::{Runtime, runtime},
    select,
    step::{self, StepSignature},
    unique,
};

// Exported by every CPython since 3.9, and part of its stable ABI since 3.12.
unsafe extern "C" {
    fn PyObject_Vectorcall(
        callable: *mut ffi::PyObject,
        args: *const *mut ffi::PyObject,
        nargsf: usize,
        names: *mut ffi::PyObject,
    ) -> *mut ffi::PyObject;
    fn PyVectorcall_Call(
        callable: *mut ffi::PyObject,
        args: *mut ffi::PyObject,
        kwargs: *mut ffi::PyObject,
    ) -> *mut ffi::PyObject;
}

type Vectorcall = unsafe extern "C" fn(
    *mut ffi::PyObject,
    *const *mut ffi::PyObject,
    usize,
    *mut ffi::PyObject,
) -> *mut ffi::PyObject;

const HAVE_VECTORCALL: c_ulong = 1 << 11;
const METHOD_DESCRIPTOR: c_ulong = 1 << 17;
/// Python (3.11 and later) remembers where it found a method only if the type of what it found is immutable.
const IMMUTABLE: c_ulong = 1 << 8;
const ARGUMENTS_OFFSET: usize = 1 << (usize::BITS - 1);

/// The object's memory.
#[repr(C)]
struct Callable {
    base: ffi::PyObject,
    vectorcall: Vectorcall,
    dict: *mut ffi::PyObject,
    weak_references: *mut ffi::PyObject,
    /// Leaked: lives as long as the process.
    data: *const Data,
}

struct Data {
    stock: Py<PyAny>,
    op: Arc<OpState>,
    signature: Signature,
    /// Whether the entrance always works in place.
    inplace: bool,
    /// How many dimensions the input must have.
    dims: Option<usize>,
    active: AtomicBool,
    kind: Kind,
    inner: Option<Inner>,
    /// An optimizer's step, or on gradients: there is no other signature then.
    step: Option<StepSignature>,
    /// What makes `tensor[...]`, if that is the stock function.
    subscript: Option<Subscript>,
    /// `module:attribute`, for pickling.
    path: String,
    /// What the profiler calls it.
    label: String,
}

/// What a stock function is.
#[derive(Clone, Copy)]
enum Kind {
    /// Written in C, and not a method.
    Builtin,
    /// Written in Python, and may call what is replaced as well.
    Python,
    Method,
}

/// What `tensor[...]` and its assignment come down to in the tensors' type: called without a tuple of arguments.
#[derive(Clone, Copy)]
enum Subscript {
    Get(ffi::binaryfunc),
    Set(ffi::objobjargproc),
}

impl Subscript {
    /// Of the base of all tensors' types, which `stock` belongs to, if it is one of the two.
    fn find(stock: &Bound<'_, PyAny>) -> PyResult<Option<Self>> {
        let py = stock.py();
        let name: String = match stock.getattr(pyo3::intern!(py, "__name__")) {
            Ok(name) => name.extract()?,
            Err(_) => return Ok(None),
        };
        let slot = match name.as_str() {
            "__getitem__" => ffi::Py_mp_subscript,
            "__setitem__" => ffi::Py_mp_ass_subscript,
            _ => return Ok(None),
        };
        let owner = stock.getattr(pyo3::intern!(py, "__objclass__"))?;
        // SAFETY: a type, whose slots are functions of these signatures; null is none.
        unsafe {
            let function = ffi::PyType_GetSlot(owner.as_ptr().cast(), slot);
            Ok(if function.is_null() {
                None
            } else if slot == ffi::Py_mp_subscript {
                Some(Self::Get(std::mem::transmute::<*mut c_void, ffi::binaryfunc>(function)))
            } else {
                Some(Self::Set(std::mem::transmute::<*mut c_void, ffi::objobjargproc>(
                    function,
                )))
            })
        }
    }

    /// How many arguments there are, the tensor among them.
    fn arguments(self) -> usize {
        match self {
            Self::Get(_) => 2,
            Self::Set(_) => 3,
        }
    }

    /// # Safety
    /// `args` are so many live objects, the first of which is a tensor, and the GIL is held.
    unsafe fn call(self, args: *const *mut ffi::PyObject) -> *mut ffi::PyObject {
        // SAFETY: the caller's.
        unsafe {
            match self {
                Self::Get(function) => function(*args, *args.add(1)),
                Self::Set(function) if function(*args, *args.add(1), *args.add(2)) < 0 => ptr::null_mut(),
                Self::Set(_) => none(),
            }
        }
    }
}

/// A function, the one that does the same in place, and what they take: the index and the default of parameters.
type InnerArguments = (Py<PyAny>, Option<Py<PyAny>>, Vec<(usize, Py<PyAny>)>);

/// What a stock function written in Python comes down to, for a plain tensor and no mode: a function written in C. To
/// enter Python from here costs what the allowance for a declined call is.
struct Inner {
    function: Py<PyAny>,
    inplace: Option<Py<PyAny>>,
    /// Their arguments: parameters of the stock function, each with its default.
    arguments: Vec<(usize, Py<PyAny>)>,
}

/// # Safety
/// `object` is a live callable of this module.
unsafe fn data<'a>(object: *mut ffi::PyObject) -> &'a Data {
    // SAFETY: the caller's; the data is never freed.
    unsafe { &*(*object.cast::<Callable>()).data }
}

unsafe extern "C" fn vectorcall(
    callable: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    nargsf: usize,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: Python calls with the GIL held, a live callable and arguments as the vectorcall protocol says.
    unsafe {
        let data = data(callable);
        if !data.active.load(Relaxed) {
            return PyObject_Vectorcall(data.stock.as_ptr(), args, nargsf, names);
        }
        let positional = nargsf & !ARGUMENTS_OFFSET;
        let outline = match runtime() {
            Some(runtime) => data.outline(runtime, args, positional),
            None => Err(Decline::Failed),
        };
        match outline {
            Ok(recorded) => accelerated(callable, args, positional, names, recorded),
            Err(reason) => declined(callable, args, positional, names, reason),
        }
    }
}

/// The call by a kernel, if it passes the guards.
///
/// # Safety
/// As for a vectorcall.
#[inline(never)]
unsafe fn accelerated(
    callable: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    positional: usize,
    names: *mut ffi::PyObject,
    recorded: Option<bool>,
) -> *mut ffi::PyObject {
    // SAFETY: the caller's.
    unsafe {
        match attempted(callable, args, positional, names, recorded) {
            Ok(result) => result,
            Err(reason) => declined(callable, args, positional, names, reason),
        }
    }
}

/// The call of what makes `tensor[...]`: nearly all are stock torch's, and told by what the index is.
unsafe extern "C" fn subscript_vectorcall(
    callable: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    nargsf: usize,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: as in `vectorcall`.
    unsafe {
        let data = data(callable);
        let positional = nargsf & !ARGUMENTS_OFFSET;
        let (Some(subscript), Some(runtime)) = (data.subscript, runtime()) else {
            return PyObject_Vectorcall(data.stock.as_ptr(), args, nargsf, names);
        };
        if positional != subscript.arguments() || !names.is_null() || !runtime.doors.is_plain(*args) {
            return PyObject_Vectorcall(data.stock.as_ptr(), args, nargsf, names);
        }
        if !data.active.load(Relaxed) || !(runtime.doors.is_plain(*args.add(1)) || ends_plain(runtime, *args.add(1))) {
            return subscript.call(args);
        }
        let outcome = data
            .outline(runtime, args, positional)
            .and_then(|recorded| attempted(callable, args, positional, names, recorded));
        match (outcome, subscript) {
            (Ok(result), Subscript::Set(_)) if !result.is_null() => {
                ffi::Py_DECREF(result);
                none()
            }
            (Ok(result), _) => result,
            (Err(reason), _) => {
                data.op.count_decline(reason);
                subscript.call(args)
            }
        }
    }
}

/// Whether it is a pair that ends in a plain tensor.
///
/// # Safety
/// `index` is alive, and the GIL is held.
unsafe fn ends_plain(runtime: &Runtime, index: *mut ffi::PyObject) -> bool {
    // SAFETY: the caller's; a tuple of two has a second item.
    unsafe {
        ffi::PyTuple_CheckExact(index) != 0
            && ffi::PyTuple_Size(index) == 2
            && runtime.doors.is_plain(ffi::PyTuple_GetItem(index, 1))
    }
}

/// A new reference to `None`.
///
/// # Safety
/// The GIL is held.
unsafe fn none() -> *mut ffi::PyObject {
    // SAFETY: the caller's.
    unsafe {
        let none = ffi::Py_None();
        ffi::Py_INCREF(none);
        none
    }
}

/// The call of a function of many tensors, whose first argument is no tensor to look at.
unsafe extern "C" fn step_vectorcall(
    callable: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    nargsf: usize,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: as in `vectorcall`.
    unsafe {
        let data = data(callable);
        if !data.active.load(Relaxed) {
            return PyObject_Vectorcall(data.stock.as_ptr(), args, nargsf, names);
        }
        accelerated(callable, args, nargsf & !ARGUMENTS_OFFSET, names, None)
    }
}

/// # Safety
/// As for a vectorcall.
#[inline(never)]
unsafe fn attempted(
    callable: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    positional: usize,
    names: *mut ffi::PyObject,
    recorded: Option<bool>,
) -> Result<*mut ffi::PyObject, Decline> {
    let given = Given {
        args,
        positional,
        names,
    };
    // SAFETY: the caller's.
    unsafe {
        let py = Python::assume_attached();
        catch_unwind(AssertUnwindSafe(|| data(callable).run(py, given, recorded))).unwrap_or_else(|_| {
            PyRuntimeError::new_err("rusttorch: internal error").restore(py);
            Ok(ptr::null_mut())
        })
    }
}

/// The call by stock torch.
///
/// The call is the last thing that it does, and what needs a frame is done elsewhere, so that torch returns to who called:
/// to come back here, when torch's own code has run in between, costs as much as all that was done before.
///
/// # Safety
/// As for a vectorcall.
#[inline(never)]
unsafe fn declined(
    callable: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    positional: usize,
    names: *mut ffi::PyObject,
    reason: Decline,
) -> *mut ffi::PyObject {
    // SAFETY: the caller's.
    unsafe {
        let data = data(callable);
        data.op.count_decline(reason);
        match data.kind {
            Kind::Builtin => builtin(callable, args, positional, names, reason),
            Kind::Python if holds_inside(reason) && data.inner.is_some() => by_inner(callable, args, positional, names),
            _ => PyObject_Vectorcall(data.stock.as_ptr(), args, positional, names),
        }
    }
}

/// The call of a builtin, or of `__torch_function__` with the callable in its stead.
///
/// # Safety
/// As for a vectorcall.
#[inline(never)]
unsafe fn builtin(
    callable: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    positional: usize,
    names: *mut ffi::PyObject,
    reason: Decline,
) -> *mut ffi::PyObject {
    let redirects = match reason {
        Decline::FunctionMode | Decline::NotPlain => true,
        // The outline is looked at before the function mode is asked for.
        _ => holds_inside(reason) && runtime().is_some_and(|runtime| runtime.state.function_mode()),
    };
    // SAFETY: the caller's.
    unsafe {
        if redirects {
            redirected(callable, args, positional, names)
        } else {
            PyObject_Vectorcall(data(callable).stock.as_ptr(), args, positional, names)
        }
    }
}

/// The call by what the stock function comes down to, else by the stock function.
///
/// # Safety
/// As for a vectorcall, whose input is a plain tensor.
#[inline(never)]
unsafe fn by_inner(
    callable: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    positional: usize,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: the caller's.
    unsafe {
        let data = data(callable);
        let given = Given {
            args,
            positional,
            names,
        };
        data.inner
            .as_ref()
            .and_then(|inner| data.call_inner(inner, given))
            .unwrap_or_else(|| PyObject_Vectorcall(data.stock.as_ptr(), args, positional, names))
    }
}

/// `redirect(callable, args, kwargs)`: see [`set_redirect`].
static REDIRECT: PyOnceLock<Py<PyAny>> = PyOnceLock::new();

/// # Safety
/// As for a vectorcall.
#[cold]
unsafe fn redirected(
    callable: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    positional: usize,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: the caller's.
    let py = unsafe { Python::assume_attached() };
    let Some(redirect) = REDIRECT.get(py) else {
        // SAFETY: the caller's.
        return unsafe { PyObject_Vectorcall(data(callable).stock.as_ptr(), args, positional, names) };
    };
    let given = Given {
        args,
        positional,
        names,
    };
    let call = || -> PyResult<Py<PyAny>> {
        let (mut values, kwargs) = (Vec::with_capacity(positional), PyDict::new(py));
        for (name, value) in given.arguments(py) {
            match name {
                Some(name) => kwargs.set_item(name, value)?,
                None => values.push(value),
            }
        }
        // SAFETY: alive during its own call.
        let callable = unsafe { Bound::from_borrowed_ptr(py, callable) };
        redirect.call1(py, (callable, PyTuple::new(py, values)?, kwargs))
    };
    // SAFETY: the result is a new reference.
    unsafe { returned(py, call()) }
}

/// Sets what a builtin's callable does under a function mode or for a tensor subclass: `redirect(callable, args, kwargs)`
/// hands the call to `__torch_function__` with the function that the program sees, as torch's own Python functions do.
#[pyfunction]
pub(crate) fn set_redirect(py: Python<'_>, redirect: Py<PyAny>) {
    // Set once, to one function.
    drop(REDIRECT.set(py, redirect));
}

/// Whether a reason holds for what the stock function comes down to as well, so that the call there needs no look.
fn holds_inside(reason: Decline) -> bool {
    matches!(
        reason,
        Decline::Dtype
            | Decline::Keyword
            | Decline::Off
            | Decline::Device
            | Decline::Empty
            | Decline::Threshold
            | Decline::Training
            | Decline::TrainingInplace
            | Decline::Inference
            | Decline::Negative
            | Decline::Layout
            | Decline::Kernel
            | Decline::Elements
    )
}

/// A call that has passed the guards.
struct Passed<'a> {
    held: Held<'a>,
    mode: Mode,
    state: State,
}

impl Data {
    /// What little can tell of most calls that stock torch gets: they go there for their type or size. Tells of the
    /// others, where it could look, whether autograd is to record them.
    ///
    /// # Safety
    /// As for a vectorcall.
    #[inline(always)]
    unsafe fn outline(
        &self,
        runtime: &Runtime,
        args: *const *mut ffi::PyObject,
        positional: usize,
    ) -> Result<Option<bool>, Decline> {
        // What autocast makes of the tensors is another matter.
        if positional == 0 || self.signature.input != 0 || self.op.casts() && runtime.state.autocast() {
            return Ok(None);
        }
        // SAFETY: there is an argument, the first is the input, alive during the call, and the GIL is held.
        unsafe {
            let input = *args;
            if !runtime.doors.is_plain(input) {
                return Err(Decline::NotPlain);
            }
            let Some(outline) = runtime.doors.outline(input) else {
                return Ok(None);
            };
            let dtype = outline.dtype.ok_or(Decline::Dtype)?;
            self.op.takes_ever(dtype, outline.numel)?;
            if !outline.dense && !self.op.takes_gaps || outline.contiguous && self.op.reorders {
                return Err(Decline::Layout);
            }
            let recorded = self.op.recorded && runtime.state.grad() && outline.requires_grad();
            self.takes(recorded, Some(dtype), outline.numel)?;
            if let Some(indices) = self.op.glance()
                && indices.iter().all(|&index| index < positional)
            {
                let look = |index: usize| {
                    let tensor = *args.add(index);
                    let read = runtime.doors.is_plain(tensor).then(|| runtime.doors.outline(tensor));
                    read.flatten()
                };
                if let [Some(first), Some(second)] = indices.map(look) {
                    let tensors = [&first, &second].map(|outline| Seen {
                        numel: outline.numel,
                        sizes: outline.sizes(),
                        row_major: outline.contiguous,
                    });
                    let glance = Glance {
                        isa: runtime.isa,
                        dtype,
                        tensors,
                    };
                    if !self.op.may_pay(&glance) {
                        return Err(Decline::Kernel);
                    }
                }
            }
            Ok(Some(recorded))
        }
    }

    /// Whether the kernel takes so many elements, in place or not as far as that is known, and recorded by autograd or not.
    #[inline(always)]
    fn takes(&self, recorded: bool, dtype: Option<DType>, numel: usize) -> Result<(), Decline> {
        let taken = |mode| self.op.takes(mode, dtype, numel);
        match (recorded, self.inplace) {
            (true, _) => taken(Mode::Training),
            (false, true) => taken(Mode::Inplace),
            (false, false) if self.signature.inplace => taken(Mode::Forward).or_else(|_| taken(Mode::Inplace)),
            (false, false) => taken(Mode::Forward),
        }
    }

    /// The call of a function written in Python by the one in C that it comes down to; `None` if the arguments or the
    /// state are not so simple, or if it fails: then the stock function raises, from its own line. What fails in place
    /// may have changed the input, and is not called again: the result is null.
    ///
    /// # Safety
    /// As for a vectorcall, whose input is a plain tensor.
    unsafe fn call_inner(&self, inner: &Inner, given: Given) -> Option<*mut ffi::PyObject> {
        let runtime = runtime()?;
        if !runtime.state.is_unwatched() {
            return None;
        }
        let Given {
            args,
            positional,
            names,
        } = given;
        let mut values = [ptr::null_mut(); MAX_PARAMETERS];
        let count = inner.arguments.len();
        let mut function = &inner.function;
        if names.is_null() && positional == 1 && count == 1 {
            // SAFETY: there is one argument.
            values[0] = unsafe { *args };
        } else {
            let mut arguments = self.signature.defaults();
            // SAFETY: the caller's.
            unsafe {
                let py = Python::assume_attached();
                self.signature.bind(py, &mut arguments, args, positional, names)
            }
            .ok()?;
            if arguments.inplace {
                function = inner.inplace.as_ref()?;
            }
            if !self.op.accepts_numbers(arguments.numbers()) || self.signature.finds_dim(&arguments) {
                return None;
            }
            // A tensor beside the input may be a subclass's, whose say is the stock function's to hear.
            // SAFETY: arguments, which are alive during the call.
            let is_simple = |object: *mut ffi::PyObject| unsafe {
                object.is_null() || object == ffi::Py_None() || runtime.doors.is_plain(object)
            };
            if !self.signature.operands(&arguments).all(is_simple) {
                return None;
            }
            for (value, (index, default)) in values.iter_mut().zip(&inner.arguments) {
                let given = arguments.given(*index);
                *value = if given.is_null() { default.as_ptr() } else { given };
            }
        }
        // SAFETY: the values are alive, and as many.
        unsafe {
            let result = PyObject_Vectorcall(function.as_ptr(), values.as_ptr(), count, ptr::null_mut());
            if result.is_null() && ptr::eq(function, &raw const inner.function) {
                ffi::PyErr_Clear();
                return None;
            }
            Some(result)
        }
    }

    /// What [`Data::outline`] tells, where it could not look.
    fn glance(
        &self,
        py: Python<'_>,
        runtime: &Runtime,
        input: *mut ffi::PyObject,
    ) -> Result<(bool, Option<State>), Decline> {
        // SAFETY: the input is alive during the call, and the GIL held.
        let held = unsafe {
            if !runtime.doors.is_plain(input) {
                return Err(Decline::NotPlain);
            }
            runtime.doors.hold(input)
        };
        // Python's queries of a tensor would be recorded by a tracer.
        let state = if held.is_native() {
            None
        } else {
            Some(runtime.state.read()?)
        };
        let recorded = self.op.recorded && runtime.state.grad() && held.requires_grad(py)?;
        self.takes(recorded, None, held.numel(py)?)?;
        Ok((recorded, state))
    }

    /// The guards that [`Data::outline`] has not been through, the dearest last; binds the arguments meanwhile.
    #[inline(always)]
    fn guard<'a>(
        &self,
        py: Python<'_>,
        runtime: &'a Runtime,
        given: Given,
        recorded: Option<bool>,
        arguments: &mut Arguments,
    ) -> Result<Passed<'a>, Decline> {
        let Given {
            args,
            positional,
            names,
        } = given;
        if runtime.state.function_mode() {
            return Err(Decline::FunctionMode);
        }
        // SAFETY: the arguments of a call.
        unsafe { self.signature.bind(py, arguments, args, positional, names) }?;
        let (recorded, state) = match recorded {
            Some(recorded) => (recorded, None),
            None => self.glance(py, runtime, arguments.input)?,
        };
        let mode = match (recorded, self.inplace || arguments.inplace) {
            (true, true) => return Err(Decline::TrainingInplace),
            // The gradient is that of calls along a dimension.
            (true, false) if self.signature.alone && arguments.dim.is_none() => return Err(Decline::Training),
            (true, false) => Mode::Training,
            (false, true) => Mode::Inplace,
            (false, false) => Mode::Forward,
        };
        // SAFETY: the input is a plain tensor, alive during the call, and the GIL held.
        let (held, outline) = unsafe {
            (
                runtime.doors.hold(arguments.input),
                runtime.doors.outline(arguments.input),
            )
        };
        if let Some(outline) = outline.filter(|outline| outline.contiguous)
            && let Some(sizes) = outline.sizes()
        {
            self.op.may_gain(sizes, arguments.dim, arguments.numbers())?;
        }
        if !arguments.dtype.is_null() && !held.has_dtype(py, arguments.dtype)? {
            return Err(Decline::Keyword);
        }
        Ok(Passed {
            held,
            mode,
            state: state.map_or_else(|| runtime.state.read(), Ok)?,
        })
    }

    /// Under autocast, puts what that makes of the tensors in their places, unless they are too small to pay: what it
    /// returns are those that must live as long as the call. From here on, autocast has been seen to.
    fn cast<'a>(
        &self,
        py: Python<'_>,
        runtime: &'a Runtime,
        passed: &mut Passed<'a>,
        arguments: &mut Arguments,
    ) -> Result<Vec<Py<PyAny>>, Decline> {
        if !passed.state.autocast || !self.op.casts() {
            return Ok(Vec::new());
        }
        let Some(dtype) = runtime.doors.autocast() else {
            return Ok(Vec::new());
        };
        let given = [arguments.input].into_iter().chain(self.signature.operands(arguments));
        // SAFETY: arguments, which are alive during the call.
        let tensors: Vec<_> = given
            .filter_map(|object| unsafe { nary::optional(py, object) })
            .collect();
        let held = tensors
            .iter()
            .map(|tensor| hold(runtime, tensor))
            .collect::<Result<Vec<_>, _>>()?;
        let numel = |index: usize| held.get(index).map_or(Ok(0), |tensor| tensor.numel(py));
        self.op.takes(passed.mode, Some(dtype), numel(0)?)?;
        if let Some([first, second]) = self.op.glance() {
            let glance = Glance {
                isa: runtime.isa,
                dtype,
                tensors: [numel(first)?, numel(second)?].map(Seen::of),
            };
            if !self.op.may_pay(&glance) {
                return Err(Decline::Kernel);
            }
        }
        let mut casts = Vec::with_capacity(held.len());
        for (held, tensor) in held.iter().zip(&tensors) {
            let cast = held.autocast(py, dtype)?;
            arguments.replace(tensor.as_ptr(), cast.as_ptr());
            casts.push(cast);
        }
        // SAFETY: a cast, which is alive as long as the caller keeps it.
        passed.held = unsafe { runtime.doors.hold(arguments.input) };
        passed.state.autocast = false;
        Ok(casts)
    }

    /// The result of a call, or null where it raises.
    fn run(&self, py: Python<'_>, given: Given, recorded: Option<bool>) -> Result<*mut ffi::PyObject, Decline> {
        let result = if self.step.is_some() {
            self.step(py, given, true)
        } else {
            let runtime = runtime().ok_or(Decline::Failed)?;
            let mut arguments = self.signature.defaults();
            let mut passed = self.guard(py, runtime, given, recorded, &mut arguments)?;
            let _casts = self.cast(py, runtime, &mut passed, &mut arguments)?;
            if let Some(kernel) = self.op.nary_kernel() {
                self.nary(py, runtime, kernel, &passed, &arguments, true)
            } else if let Some(kernel) = self.op.select_kernel() {
                self.select(py, runtime, kernel, &passed, &arguments, true)
            } else if let Some(kernel) = self.op.index_kernel() {
                self.index(py, runtime, kernel, &passed, &arguments, true)
            } else if let Some(look) = self.op.look() {
                self.look(py, runtime, look, &passed, &arguments, true)
            } else {
                self.accelerated(py, runtime, &passed, &arguments)
            }
        };
        match result {
            Ok(result) => Ok(result.into_ptr()),
            Err(Failure::Decline(reason)) => Err(reason),
            Err(Failure::Raise(error)) => {
                error.restore(py);
                Ok(ptr::null_mut())
            }
        }
    }

    /// The input, to look at or to change (`mutable`), and how the kernel would see it: `None` if by a copy.
    #[inline(always)]
    fn fit(
        &self,
        py: Python<'_>,
        passed: &Passed<'_>,
        arguments: &Arguments,
        mutable: bool,
    ) -> Result<(TensorView, Option<Plan>), Failure> {
        let Passed { held, mode, state } = passed;
        let (dim, numbers) = (arguments.dim, arguments.numbers());
        let view = held.any_view(py, mutable, state.profiled)?;
        if self.dims.is_some_and(|dims| dims != view.layout.sizes().len()) {
            return Err(Decline::Dim.into());
        }
        self.op.takes(*mode, Some(view.dtype), view.layout.numel())?;
        self.op.runs_under(py, *state, view.dtype)?;
        match self.op.plan(&view.layout, dim, numbers) {
            Ok(plan) => Ok((view, Some(plan))),
            Err(reason) => {
                self.op.takes_copy(*mode, &view.layout, dim, numbers, reason)?;
                Ok((view, None))
            }
        }
    }

    fn accelerated(
        &self,
        py: Python<'_>,
        runtime: &Runtime,
        passed: &Passed<'_>,
        arguments: &Arguments,
    ) -> Result<Py<PyAny>, Failure> {
        let Passed { held, mode, state } = passed;
        let numbers = arguments.numbers();
        let (view, plan) = self.fit(py, passed, arguments, *mode == Mode::Inplace)?;
        // SAFETY: the input is alive during the call.
        let input = unsafe { Bound::from_borrowed_ptr(py, arguments.input) };
        let _record = Record::start(py, *state, &self.label);
        match (mode, plan) {
            (Mode::Training, _) => self.op.train(py, &input, arguments.dim, numbers),
            (Mode::Forward, Some(plan)) => self.op.forward(py, runtime, &view, &plan, numbers),
            (Mode::Forward, None) => self.op.forward_copied(py, runtime, &input, arguments.dim, numbers),
            (Mode::Inplace, _) => {
                if held.is_inference(py)? {
                    if !state.inference {
                        return Err(Decline::Inference.into());
                    }
                } else {
                    self.op.bump_version(py, held)?;
                }
                self.op.inplace(py, runtime, &view, numbers)?;
                Ok(input.unbind())
            }
        }
    }

    /// A call of an operation on several tensors, if `really`; else whether it would be accelerated.
    fn nary(
        &self,
        py: Python<'_>,
        runtime: &Runtime,
        kernel: &'static dyn NaryKernel,
        passed: &Passed<'_>,
        arguments: &Arguments,
        really: bool,
    ) -> Result<Py<PyAny>, Failure> {
        let (state, numbers) = (passed.state, arguments.numbers());
        let input = passed.held.view(py, false, state.profiled)?;
        let TensorView { dtype, layout, .. } = &input;
        self.op.takes_input(passed.mode, *dtype, layout)?;
        self.op.runs_under(py, state, *dtype)?;
        let given = [arguments.input].into_iter().chain(self.signature.operands(arguments));
        // SAFETY: arguments, which are alive during the call.
        let tensors: Vec<_> = given.map(|object| unsafe { nary::optional(py, object) }).collect();
        kernel
            .accepts(*dtype, layout.sizes(), numbers)
            .map_err(|_| Decline::Kernel)?;
        if let Some(sizes) = self.signature.sizes(arguments) {
            // SAFETY: as above.
            if !unsafe { nary::optional(py, sizes) }.is_some_and(|asked| nary::ends_with(layout.sizes(), &asked)) {
                return Err(Decline::Kernel.into());
            }
        }
        let operands = Operands::read(runtime, kernel, input, &tensors[1..], true, state.profiled)?;
        let mut mode = passed.mode;
        for (tensor, constant) in tensors[1..].iter().zip(self.signature.constants()) {
            let Some(tensor) = tensor else { continue };
            let looks = runtime.state.grad() && (constant || mode != Mode::Training);
            if !looks || !hold(runtime, tensor)?.requires_grad(py)? {
                continue;
            }
            if constant {
                return Err(Decline::Kernel.into());
            }
            mode = Mode::Training;
            self.op.takes_input(mode, input.dtype, &input.layout)?;
        }
        let outline = operands.outline(numbers)?;
        if self.op.weighs() {
            operands.pays(runtime)?;
        }
        operands.inspect(runtime, numbers)?;
        if !really {
            return Ok(py.None());
        }
        let _record = Record::start(py, state, &self.label);
        if mode == Mode::Training {
            let tensors = PyTuple::new(py, tensors).map_err(Failure::Raise)?;
            return self.op.train(py, &tensors, None, numbers);
        }
        let (result, _) = operands.forward(py, runtime, &self.op, &outline, numbers, false)?;
        Ok(result)
    }

    /// A call of an operation whose result is as long as what it counts, if `really`; else whether it would be accelerated.
    fn select(
        &self,
        py: Python<'_>,
        runtime: &Runtime,
        kernel: &'static dyn SelectKernel,
        passed: &Passed<'_>,
        arguments: &Arguments,
        really: bool,
    ) -> Result<Py<PyAny>, Failure> {
        let (Passed { state, mode, .. }, numbers) = (passed, arguments.numbers());
        // A copy would take longer than stock torch where few elements are chosen.
        let (view, Some(_)) = self.fit(py, passed, arguments, false)? else {
            return Err(Decline::Layout.into());
        };
        self.op.may_gain(view.layout.sizes(), None, numbers)?;
        let mask = if kernel.has_mask() {
            let mask = self.signature.operands(arguments).next().ok_or(Decline::Arguments)?;
            // SAFETY: an argument, which is alive during the call.
            let mask = unsafe { nary::optional(py, mask) }.ok_or(Decline::Arguments)?;
            Some((select::read_mask(runtime, &view, &mask, state.profiled)?, mask))
        } else {
            None
        };
        if !really {
            return Ok(py.None());
        }
        let _record = Record::start(py, *state, &self.label);
        if let (Mode::Training, Some((_, mask))) = (mode, &mask) {
            // SAFETY: the input is alive during the call.
            let input = unsafe { Bound::from_borrowed_ptr(py, arguments.input) };
            let tensors = PyTuple::new(py, [&input, mask]).map_err(Failure::Raise)?;
            return self.op.train(py, &tensors, None, numbers);
        }
        let mask = mask.map(|(view, _)| view);
        select::forward(py, runtime, &self.op, kernel, &view, mask.as_ref(), numbers)
    }

    /// A call for what is found in the input, or drawn from it, if `really`; else whether it would be accelerated.
    fn look(
        &self,
        py: Python<'_>,
        runtime: &Runtime,
        look: Look,
        passed: &Passed<'_>,
        arguments: &Arguments,
        really: bool,
    ) -> Result<Py<PyAny>, Failure> {
        let Passed { held, mode, state } = passed;
        let input = held.any_view(py, false, state.profiled)?;
        self.op.takes(*mode, Some(input.dtype), input.layout.numel())?;
        self.op.runs_under(py, *state, input.dtype)?;
        if !input.layout.is_contiguous() {
            return Err(Decline::Layout.into());
        }
        let numbers = arguments.numbers();
        self.op.may_gain(input.layout.sizes(), None, numbers)?;
        let _record = really.then(|| Record::start(py, *state, &self.label));
        match look {
            Look::Multinomial => multinomial::forward(py, runtime, &self.op, &input, numbers, really),
            Look::Bincount => bincount::forward(py, runtime, &self.op, &input, numbers, really),
            Look::Unique | Look::UniqueConsecutive if !really => Ok(py.None()),
            Look::Unique | Look::UniqueConsecutive => {
                let of_runs = look == Look::UniqueConsecutive;
                unique::forward(py, runtime, &self.op, &input, numbers, of_runs)
            }
        }
    }

    /// A call of an operation that moves, chooses or finds elements, if `really`; else whether it would be accelerated.
    fn index(
        &self,
        py: Python<'_>,
        runtime: &Runtime,
        kernel: &'static dyn IndexKernel,
        passed: &Passed<'_>,
        arguments: &Arguments,
        really: bool,
    ) -> Result<Py<PyAny>, Failure> {
        let (Passed { held, state, .. }, numbers) = (passed, arguments.numbers());
        let inplace = passed.mode == Mode::Inplace;
        let input = held.any_view(py, inplace, state.profiled)?;
        let (dtype, numel) = (input.dtype, input.layout.numel());
        self.op.takes(passed.mode, Some(dtype), numel)?;
        self.op.runs_under(py, *state, dtype)?;
        let mut given = [const { index::Given::Missing }; MAX_TENSORS - 1];
        let mut count = 0;
        for (slot, object) in given.iter_mut().zip(self.signature.operands(arguments)) {
            // SAFETY: an argument, which is alive during the call.
            *slot = index::Given::new(unsafe { nary::optional(py, object) });
            count += 1;
        }
        let (mut numbers, mut dim) = (numbers, [0.0]);
        if let (Some(Subscript::Get(_)), Some(object)) = (self.subscript, given[0].tensor())
            && let Some(pair) = index::Pair::new(runtime, object)
        {
            // Sums of single elements by index are not faster than stock torch's.
            if passed.mode == Mode::Training && matches!(pair.tensors[1], index::Given::Tensor(_)) && self.op.weighs() {
                return Err(Decline::Training.into());
            }
            let [first, second] = pair.tensors;
            (given, dim[0], count) = ([first, second, index::Given::Missing], pair.dim, 2);
            numbers = &dim;
        }
        let others = &given[..count];
        let mut views = Views::of(input);
        views.read(runtime, others, state.profiled)?;
        if let Some((select, input, mask)) = views.chooses(kernel)? {
            // Nor is what puts rows back.
            let of_rows = mask.layout.sizes() != input.layout.sizes();
            if passed.mode == Mode::Training && of_rows && self.op.weighs() {
                return Err(Decline::Training.into());
            }
            if !really {
                return Ok(py.None());
            }
            let _record = Record::start(py, *state, &self.label);
            if passed.mode == Mode::Training {
                // SAFETY: as below.
                let tensor = unsafe { Bound::from_borrowed_ptr(py, arguments.input) };
                let tensors = PyTuple::new(py, [Some(&tensor), given[0].tensor()]).map_err(Failure::Raise)?;
                return self.op.train(py, &tensors, None, &[]);
            }
            return select::forward(py, runtime, &self.op, select, input, Some(mask), &[]);
        }
        let indexed = Indexed::new(kernel, &views, others, numbers, inplace)?;
        if self.op.weighs() {
            indexed.pays(runtime, numbers)?;
        }
        self.op.is_set(py)?;
        let mut mode = passed.mode;
        for (other, constant) in others.iter().zip(self.signature.constants()) {
            let Some(tensor) = other.tensor() else { continue };
            if constant && mode == Mode::Training {
                return Err(Decline::Kernel.into());
            }
            let looks = self.op.recorded && runtime.state.grad() && mode != Mode::Training;
            if !looks || !hold(runtime, tensor)?.requires_grad(py)? {
                continue;
            }
            if constant {
                return Err(Decline::Kernel.into());
            }
            mode = Mode::Training;
            self.op.takes(mode, Some(dtype), numel)?;
        }
        if mode == Mode::Training && !indexed.is_recorded() {
            return Err(Decline::Training.into());
        }
        if inplace {
            if !indexed.is_apart() {
                return Err(Decline::Kernel.into());
            }
            if held.is_inference(py)? && !state.inference {
                return Err(Decline::Inference.into());
            }
        }
        if !really {
            return Ok(py.None());
        }
        let _record = Record::start(py, *state, &self.label);
        // SAFETY: the input is alive during the call.
        let tensor = unsafe { Bound::from_borrowed_ptr(py, arguments.input) };
        match mode {
            Mode::Forward => indexed.forward(py, runtime, &self.op, numbers),
            Mode::Training => {
                let tensors = [Some(&tensor)]
                    .into_iter()
                    .chain(others.iter().map(index::Given::tensor));
                let tensors = PyTuple::new(py, tensors.collect::<Vec<_>>()).map_err(Failure::Raise)?;
                self.op.train(py, &tensors, inplace.then_some(1), numbers)
            }
            Mode::Inplace => {
                indexed.inplace(runtime, &self.op, numbers)?;
                if !held.is_inference(py)? {
                    self.op.bump_version(py, held)?;
                }
                Ok(tensor.unbind())
            }
        }
    }

    /// A function of many tensors, if `really`; else whether it would be done.
    fn step(&self, py: Python<'_>, given: Given, really: bool) -> Result<Py<PyAny>, Failure> {
        let (Some(runtime), Some(signature)) = (runtime(), &self.step) else {
            return Err(Decline::Failed.into());
        };
        let Some(kernel) = self.op.clip_kernel() else {
            return step::run(py, runtime, &self.op, signature, given, &self.label, really).map(|()| py.None());
        };
        let arguments = signature.bind(py, given)?;
        let call = clip::Call {
            runtime,
            op: &self.op,
            kernel,
            signature,
            label: &self.label,
        };
        let mut tensors = clip::Collected::None;
        match call.run(py, &arguments, &mut tensors, really) {
            // What was iterated over is at its end.
            Err(Failure::Decline(reason)) if really && tensors.exhausted() => {
                self.op.count_decline(reason);
                self.call_stock(py, given, arguments.params, &tensors)
                    .map_err(Failure::Raise)
            }
            result => result,
        }
    }

    /// The call by stock torch with a list in the place of an argument.
    fn call_stock(
        &self,
        py: Python<'_>,
        given: Given,
        argument: *mut ffi::PyObject,
        list: &clip::Collected<'_>,
    ) -> PyResult<Py<PyAny>> {
        let list = list.list(py)?;
        let values: Vec<_> = given
            .arguments(py)
            .map(|(_, value)| {
                if value.as_ptr() == argument {
                    list.as_ptr()
                } else {
                    value.as_ptr()
                }
            })
            .collect();
        // SAFETY: the values are alive, and as many as the caller's.
        unsafe {
            let result = PyObject_Vectorcall(self.stock.as_ptr(), values.as_ptr(), given.positional, given.names);
            Bound::from_owned_ptr_or_err(py, result).map(Bound::unbind)
        }
    }

    /// What a call would do, without doing it.
    fn explain(&self, py: Python<'_>, given: Given) -> Result<(), Failure> {
        if self.step.is_some() {
            return self.step(py, given, false).map(drop);
        }
        let runtime = runtime().ok_or(Decline::Failed)?;
        let mut arguments = self.signature.defaults();
        // SAFETY: the arguments of a call.
        let recorded = unsafe { self.outline(runtime, given.args, given.positional) }?;
        let mut passed = self.guard(py, runtime, given, recorded, &mut arguments)?;
        let _casts = self.cast(py, runtime, &mut passed, &mut arguments)?;
        if let Some(kernel) = self.op.nary_kernel() {
            return self.nary(py, runtime, kernel, &passed, &arguments, false).map(drop);
        }
        if let Some(kernel) = self.op.select_kernel() {
            return self.select(py, runtime, kernel, &passed, &arguments, false).map(drop);
        }
        if let Some(kernel) = self.op.index_kernel() {
            return self.index(py, runtime, kernel, &passed, &arguments, false).map(drop);
        }
        if let Some(look) = self.op.look() {
            return self.look(py, runtime, look, &passed, &arguments, false).map(drop);
        }
        self.fit(py, &passed, &arguments, false)?;
        if passed.mode == Mode::Inplace && passed.held.is_inference(py)? && !passed.state.inference {
            return Err(Decline::Inference.into());
        }
        Ok(())
    }
}

/// A range that the profiler sees.
pub(crate) struct Record<'py>(Bound<'py, PyAny>);

impl<'py> Record<'py> {
    /// Begins one, where a profiler looks on.
    pub(crate) fn start(py: Python<'py>, state: State, label: &str) -> Option<Self> {
        let start = || -> PyResult<Self> {
            let record = py
                .import("torch.autograd.profiler")?
                .getattr("record_function")?
                .call1((label,))?;
            record.call_method0("__enter__")?;
            Ok(Self(record))
        };
        if state.profiled { start().ok() } else { None }
    }
}

impl Drop for Record<'_> {
    fn drop(&mut self) {
        let none = self.0.py().None();
        // A profiler that was stopped meanwhile is no reason to fail the call.
        drop(self.0.call_method1("__exit__", (&none, &none, &none)));
    }
}

// What the object shows to whoever looks at it.

/// # Safety
/// `object` is null or a new reference.
unsafe fn returned(py: Python<'_>, result: PyResult<Py<PyAny>>) -> *mut ffi::PyObject {
    match result {
        Ok(object) => object.into_ptr(),
        Err(error) => {
            error.restore(py);
            ptr::null_mut()
        }
    }
}

unsafe extern "C" fn get_attribute(object: *mut ffi::PyObject, name: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: Python calls with the GIL held and live objects; an AttributeError is replaced by the stock function's.
    unsafe {
        let own = ffi::PyObject_GenericGetAttr(object, name);
        if own.is_null() && ffi::PyErr_ExceptionMatches(ffi::PyExc_AttributeError) != 0 {
            ffi::PyErr_Clear();
            return ffi::PyObject_GetAttr(data(object).stock.as_ptr(), name);
        }
        own
    }
}

/// A getter of the attribute of the stock function whose name is the closure.
unsafe extern "C" fn get_stock(object: *mut ffi::PyObject, name: *mut c_void) -> *mut ffi::PyObject {
    // SAFETY: as above; the closure is one of the C strings below.
    unsafe { ffi::PyObject_GetAttrString(data(object).stock.as_ptr(), name.cast::<c_char>()) }
}

unsafe extern "C" fn get_wrapped(object: *mut ffi::PyObject, _: *mut c_void) -> *mut ffi::PyObject {
    // SAFETY: as above.
    unsafe { data(object).stock.clone_ref(Python::assume_attached()).into_ptr() }
}

unsafe extern "C" fn get_repr(object: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: as above.
    unsafe {
        let py = Python::assume_attached();
        let text = format!("<rusttorch {}>", data(object).path.replace(':', "."));
        returned(
            py,
            text.into_pyobject(py)
                .map(|text| text.into_any().unbind())
                .map_err(Into::into),
        )
    }
}

unsafe extern "C" fn get_hash(object: *mut ffi::PyObject) -> ffi::Py_hash_t {
    // SAFETY: as above.
    unsafe { ffi::PyObject_Hash(data(object).stock.as_ptr()) }
}

/// Equal to the stock function, so that tables which have it as a key know this one.
unsafe extern "C" fn compare(object: *mut ffi::PyObject, other: *mut ffi::PyObject, op: c_int) -> *mut ffi::PyObject {
    // SAFETY: as above.
    unsafe {
        let other = if is_ours(other) {
            data(other).stock.as_ptr()
        } else {
            other
        };
        ffi::PyObject_RichCompare(data(object).stock.as_ptr(), other, op)
    }
}

/// Pickles and copies as what the name stands for when it is loaded: this, or the stock function.
unsafe extern "C" fn reduce(object: *mut ffi::PyObject, _: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: as above.
    unsafe {
        let py = Python::assume_attached();
        let reduced = || -> PyResult<Py<PyAny>> {
            let resolve = py.import("pkgutil")?.getattr("resolve_name")?;
            Ok((resolve, (data(object).path.as_str(),))
                .into_pyobject(py)?
                .into_any()
                .unbind())
        };
        returned(py, reduced())
    }
}

unsafe extern "C" fn bind_method(
    object: *mut ffi::PyObject,
    instance: *mut ffi::PyObject,
    _: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: as above; `instance` is null for access through the class.
    unsafe {
        let py = Python::assume_attached();
        let object = Bound::from_borrowed_ptr(py, object);
        if instance.is_null() || instance == ffi::Py_None() {
            return object.into_ptr();
        }
        let bound = || -> PyResult<Py<PyAny>> {
            let method = py.import("types")?.getattr("MethodType")?;
            Ok(method.call1((object, Bound::from_borrowed_ptr(py, instance)))?.unbind())
        };
        returned(py, bound())
    }
}

/// The two types: functions, and those that bind to an instance as Python's functions and method descriptors do.
static TYPES: [PyOnceLock<Py<PyAny>>; 2] = [PyOnceLock::new(), PyOnceLock::new()];

fn callable_type(py: Python<'_>, binds: bool) -> PyResult<&Py<PyAny>> {
    TYPES[usize::from(binds)].get_or_try_init(py, || {
        let offset = |name: &'static CStr, offset: usize| ffi::PyMemberDef {
            name: name.as_ptr(),
            type_code: ffi::Py_T_PYSSIZET,
            offset: offset as ffi::Py_ssize_t,
            flags: ffi::Py_READONLY,
            doc: ptr::null(),
        };
        // SAFETY: all-zero ends the tables below.
        let members = Box::leak(Box::new([
            offset(c"__vectorcalloffset__", offset_of!(Callable, vectorcall)),
            offset(c"__dictoffset__", offset_of!(Callable, dict)),
            offset(c"__weaklistoffset__", offset_of!(Callable, weak_references)),
            unsafe { std::mem::zeroed() },
        ]));
        let getter = |name: &'static CStr, get: ffi::getter| ffi::PyGetSetDef {
            name: name.as_ptr(),
            get: Some(get),
            set: None,
            doc: ptr::null(),
            closure: name.as_ptr().cast_mut().cast(),
        };
        let getters = Box::leak(Box::new([
            getter(c"__class__", get_stock),
            getter(c"__doc__", get_stock),
            getter(c"__module__", get_stock),
            getter(c"__name__", get_stock),
            getter(c"__qualname__", get_stock),
            getter(c"__wrapped__", get_wrapped),
            // SAFETY: as above.
            unsafe { std::mem::zeroed() },
        ]));
        let methods = Box::leak(Box::new([
            ffi::PyMethodDef {
                ml_name: c"__reduce__".as_ptr(),
                ml_meth: ffi::PyMethodDefPointer { PyCFunction: reduce },
                ml_flags: ffi::METH_NOARGS,
                ml_doc: ptr::null(),
            },
            // SAFETY: as above.
            unsafe { std::mem::zeroed() },
        ]));
        let slot = |slot: c_int, pfunc: *mut c_void| ffi::PyType_Slot { slot, pfunc };
        let mut slots = vec![
            slot(ffi::Py_tp_call, PyVectorcall_Call as *mut c_void),
            slot(ffi::Py_tp_members, members.as_mut_ptr().cast()),
            slot(ffi::Py_tp_getset, getters.as_mut_ptr().cast()),
            slot(ffi::Py_tp_methods, methods.as_mut_ptr().cast()),
            slot(ffi::Py_tp_getattro, get_attribute as *mut c_void),
            slot(ffi::Py_tp_repr, get_repr as *mut c_void),
            slot(ffi::Py_tp_hash, get_hash as *mut c_void),
            slot(ffi::Py_tp_richcompare, compare as *mut c_void),
        ];
        if binds {
            slots.push(slot(ffi::Py_tp_descr_get, bind_method as *mut c_void));
        }
        slots.push(slot(0, ptr::null_mut()));
        let mut spec = ffi::PyType_Spec {
            name: if binds {
                c"rusttorch.Method".as_ptr()
            } else {
                c"rusttorch.Function".as_ptr()
            },
            basicsize: size_of::<Callable>() as c_int,
            itemsize: 0,
            flags: (ffi::Py_TPFLAGS_DEFAULT | HAVE_VECTORCALL | IMMUTABLE | if binds { METHOD_DESCRIPTOR } else { 0 })
                as _,
            slots: slots.as_mut_ptr(),
        };
        // SAFETY: the tables are complete, and those that the type keeps are leaked.
        unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyType_FromSpec(&raw mut spec)).map(Bound::unbind) }
    })
}

/// Whether the object is a callable of this module.
fn is_ours(object: *mut ffi::PyObject) -> bool {
    // SAFETY: the GIL is held wherever a type is read.
    unsafe {
        let py = Python::assume_attached();
        let kind = ffi::Py_TYPE(object).cast::<ffi::PyObject>();
        TYPES.iter().any(|of| of.get(py).is_some_and(|of| of.as_ptr() == kind))
    }
}

/// Makes the callable that stands in for `stock`.
///
/// `parameters`, `dim` and `numbers` describe its signature (see `Signature`), `inplace` whether it always works in
/// place, `dims` how many dimensions the input must have, `path` (`module:attribute`) where it stands, `inner` a function
/// written in C that does the same for a plain tensor, the one for work in place if there is one, and the parameters that
/// are their arguments, by index, with their defaults. It is inactive until `set_active`, and never freed.
#[pyfunction]
#[pyo3(signature = (
    op, stock, path, parameters, *, dim=None, numbers=vec![], inplace=false, dims=None, label=String::new(), inner=None
))]
#[allow(clippy::too_many_arguments)]
pub(crate) fn make(
    op: &Bound<'_, Op>,
    stock: &Bound<'_, PyAny>,
    path: String,
    parameters: &Bound<'_, PyAny>,
    dim: Option<i64>,
    numbers: Vec<f64>,
    inplace: bool,
    dims: Option<usize>,
    label: String,
    inner: Option<InnerArguments>,
) -> PyResult<Py<PyAny>> {
    let py = stock.py();
    let step = op.get().0.step_kernel().is_some() || op.get().0.clip_kernel().is_some();
    // Whether a class attribute binds is decided by what the type of the stock function does.
    let binds = stock.get_type().hasattr("__get__")?;
    let data = Box::leak(Box::new(Data {
        stock: stock.clone().unbind(),
        op: op.get().0.clone(),
        signature: if step {
            Signature::default()
        } else {
            Signature::new(parameters, dim, &numbers, op.get().0.has_overload())?
        },
        step: step.then(|| StepSignature::new(parameters, numbers)).transpose()?,
        subscript: Subscript::find(stock)?,
        inplace,
        dims,
        active: AtomicBool::new(false),
        kind: if stock.is_instance_of::<PyCFunction>() {
            Kind::Builtin
        } else if stock.get_type().name()? == "function" {
            Kind::Python
        } else {
            Kind::Method
        },
        inner: inner.map(|(function, inplace, arguments)| Inner {
            function,
            inplace,
            arguments,
        }),
        path,
        label,
    }));
    let kind = callable_type(py, binds)?;
    // SAFETY: the type's instances are of the struct's size; its fields are set before anyone sees the object.
    unsafe {
        let object = ffi::PyType_GenericAlloc(kind.as_ptr().cast(), 0);
        let object = Bound::from_owned_ptr_or_err(py, object)?;
        let callable = object.as_ptr().cast::<Callable>();
        (*callable).vectorcall = if step {
            step_vectorcall
        } else if data.subscript.is_some() {
            subscript_vectorcall
        } else {
            vectorcall
        };
        (*callable).data = data;
        // Never freed, and so never in need of a destructor.
        std::mem::forget(object.clone());
        Ok(object.unbind())
    }
}

/// Whether the object is a callable of this module.
#[pyfunction]
pub(crate) fn is_callable(object: &Bound<'_, PyAny>) -> bool {
    is_ours(object.as_ptr())
}

fn ours<'a>(object: &Bound<'_, PyAny>) -> PyResult<&'a Data> {
    if !is_ours(object.as_ptr()) {
        return Err(PyTypeError::new_err(
            "callable: not a function that rusttorch has replaced",
        ));
    }
    // SAFETY: checked above.
    Ok(unsafe { data(object.as_ptr()) })
}

/// The types of the callables.
#[pyfunction]
pub(crate) fn callable_types(py: Python<'_>) -> PyResult<Vec<Py<PyAny>>> {
    [false, true]
        .into_iter()
        .map(|binds| callable_type(py, binds).map(|kind| kind.clone_ref(py)))
        .collect()
}

/// Switches a callable between kernels and the stock function.
#[pyfunction]
pub(crate) fn set_active(callable: &Bound<'_, PyAny>, active: bool) -> PyResult<()> {
    ours(callable)?.active.store(active, Relaxed);
    Ok(())
}

/// `None` if the call would be accelerated, else the reason why not.
#[pyfunction]
pub(crate) fn explain(
    callable: &Bound<'_, PyAny>,
    args: &Bound<'_, PyTuple>,
    kwargs: &Bound<'_, PyDict>,
) -> PyResult<Option<&'static str>> {
    let (py, data) = (callable.py(), ours(callable)?);
    let mut values: Vec<*mut ffi::PyObject> = args.iter_borrowed().map(pyo3::Borrowed::as_ptr).collect();
    let names = PyTuple::new(py, kwargs.keys())?;
    let keywords = kwargs.values();
    values.extend(keywords.iter().map(|value| value.as_ptr()));
    let names = if names.is_empty() {
        ptr::null_mut()
    } else {
        names.as_ptr()
    };
    let given = Given {
        args: values.as_ptr(),
        positional: args.len(),
        names,
    };
    match data.explain(py, given) {
        Ok(()) => Ok(None),
        Err(Failure::Decline(reason)) => Ok(Some(reason.text())),
        Err(Failure::Raise(error)) => Err(error),
    }
}
