//! Arguments of a call, bound to the stock signature.

use std::ptr;

use pyo3::{
    exceptions::PyValueError,
    ffi,
    prelude::*,
    types::{PyBool, PyFloat, PyInt, PyList, PyListMethods, PyString, PyTuple, PyTupleMethods},
};
use rusttorch_torch::decline::Decline;

/// The most parameters that a stock signature has, and the most numbers that a kernel takes.
pub(crate) const MAX_PARAMETERS: usize = 8;
pub(crate) const MAX_NUMBERS: usize = 4;

/// The arguments of a vectorcall: `positional` ones, then as many as `names`, a tuple or null, has. They are alive
/// during the call.
#[derive(Clone, Copy)]
pub(crate) struct Given {
    pub(crate) args: *const *mut ffi::PyObject,
    pub(crate) positional: usize,
    pub(crate) names: *mut ffi::PyObject,
}

impl Given {
    /// The names of those that have one.
    fn names(self, py: Python<'_>) -> Option<Bound<'_, PyTuple>> {
        // SAFETY: null, or a tuple of strings, by the vectorcall protocol.
        unsafe { Bound::from_borrowed_ptr_or_opt(py, self.names).map(|names| names.cast_into_unchecked()) }
    }

    /// Every argument, with its name if it has one.
    pub(crate) fn arguments(
        self,
        py: Python<'_>,
    ) -> impl Iterator<Item = (Option<Bound<'_, PyAny>>, Bound<'_, PyAny>)> {
        let names = self.names(py);
        let named = names.as_ref().map_or(0, PyTupleMethods::len);
        (0..self.positional + named).map(move |index| {
            let name = index
                .checked_sub(self.positional)
                .and_then(|at| names.as_ref()?.get_item(at).ok());
            // SAFETY: below the number of arguments, which are alive during the call.
            (name, unsafe { Bound::from_borrowed_ptr(py, *self.args.add(index)) })
        })
    }
}

/// What a parameter means: see the catalogue.
pub(crate) enum Role {
    Input,
    Dim,
    /// The type of the result: `None`, or the input's.
    Dtype,
    Inplace,
    /// Must be `None`.
    Absent,
    Ignored,
    /// Must be true.
    True,
    /// Must be false.
    False,
    /// A flag that makes a call another overload, all of whose arguments but the input are given by name.
    Overload(usize),
    /// The kernel's number at this index.
    Number(usize),
    /// As above: an integer, and no other number.
    Integer(usize),
    /// As above: true or false, and no other number.
    Flag(usize),
    /// As above, where `None` stands for the default.
    Optional(usize),
    /// As above: the index of the string among these.
    Choice(usize, Vec<String>),
    /// As above: how many sizes there are, which are the input's last ones.
    Sizes(usize),
    /// The further tensor at this index, or `None`.
    Operand(usize),
    /// The same, or a number, which is the kernel's at this index, that of the tensor.
    Either(usize),
}

impl Role {
    /// By its name in the catalogue.
    pub(crate) fn parse(name: &str, index: usize, choices: Vec<String>) -> PyResult<Self> {
        Ok(match name {
            "input" => Self::Input,
            "dim" => Self::Dim,
            "dtype" => Self::Dtype,
            "inplace" => Self::Inplace,
            "absent" => Self::Absent,
            "ignored" => Self::Ignored,
            "true" => Self::True,
            "false" => Self::False,
            "number" if choices.is_empty() => Self::Number(index),
            "number" => Self::Choice(index, choices),
            "integer" => Self::Integer(index),
            "flag" => Self::Flag(index),
            "overload" => Self::Overload(index),
            "optional" => Self::Optional(index),
            "sizes" => Self::Sizes(index),
            "operand" | "constant" => Self::Operand(index),
            "operand or number" | "constant or number" => Self::Either(index),
            other => return Err(PyValueError::new_err(format!("role {other:?} unknown"))),
        })
    }

    /// The index of the kernel's number that it is.
    fn number(&self) -> Option<usize> {
        match *self {
            Self::Overload(index)
            | Self::Number(index)
            | Self::Integer(index)
            | Self::Flag(index)
            | Self::Optional(index)
            | Self::Choice(index, _)
            | Self::Sizes(index)
            | Self::Either(index) => Some(index),
            _ => None,
        }
    }
}

struct Parameter {
    name: Py<PyString>,
    role: Role,
    required: bool,
    keyword_only: bool,
}

/// A stock signature.
#[derive(Default)]
pub(crate) struct Signature {
    parameters: Vec<Parameter>,
    dim: Option<i64>,
    numbers: [f64; MAX_NUMBERS],
    count: usize,
    /// Whether the one argument that must be given is the input, in front.
    simple: bool,
    /// The parameter that is the input.
    pub(crate) input: usize,
    /// Whether the input alone is an overload of its own, in which all elements are one row.
    pub(crate) alone: bool,
    /// Whether an argument can ask for work in place.
    pub(crate) inplace: bool,
    /// The parameters that are tensors beside the input, in the kernel's order, and whether they may require no gradient.
    operands: Vec<(usize, bool)>,
    /// The parameter that names the input's last sizes.
    sizes: Option<usize>,
    /// The parameter that makes a call another overload, whose parameters but the input have to be named.
    overload: Option<usize>,
}

/// A call's arguments.
pub(crate) struct Arguments {
    /// Borrowed from the caller.
    pub(crate) input: *mut ffi::PyObject,
    pub(crate) dim: Option<i64>,
    /// Borrowed from the caller; null where none was asked for.
    pub(crate) dtype: *mut ffi::PyObject,
    pub(crate) inplace: bool,
    numbers: [f64; MAX_NUMBERS],
    count: usize,
    /// By parameter; borrowed from the caller, null where the default holds.
    given: [*mut ffi::PyObject; MAX_PARAMETERS],
}

impl Arguments {
    /// What was given for the parameter at `index`, or null.
    pub(crate) fn given(&self, index: usize) -> *mut ffi::PyObject {
        self.given[index]
    }

    pub(crate) fn numbers(&self) -> &[f64] {
        &self.numbers[..self.count]
    }

    /// Puts a tensor in the place of the input, or of another that was given.
    pub(crate) fn replace(&mut self, tensor: *mut ffi::PyObject, by: *mut ffi::PyObject) {
        for place in self.given.iter_mut().chain([&mut self.input]) {
            if ptr::eq(*place, tensor) {
                *place = by;
            }
        }
    }
}

impl Signature {
    /// From `(name, role, index, required, keyword_only, choices)` each, the default `dim`, and the kernel's numbers
    /// where the signature has no parameter or the call no argument for them; `alone` is as of the field.
    pub(crate) fn new(parameters: &Bound<'_, PyAny>, dim: Option<i64>, numbers: &[f64], alone: bool) -> PyResult<Self> {
        let mut signature = Self {
            dim,
            numbers: [0.0; MAX_NUMBERS],
            count: numbers.len(),
            simple: true,
            alone,
            ..Self::default()
        };
        if numbers.len() > MAX_NUMBERS {
            return Err(PyValueError::new_err("too many numbers"));
        }
        signature.numbers[..numbers.len()].copy_from_slice(numbers);
        let mut operands = Vec::new();
        for parameter in parameters.try_iter()? {
            let (name, role, index, required, keyword_only, choices): (String, String, usize, bool, bool, Vec<String>) =
                parameter?.extract()?;
            let (at, constant) = (signature.parameters.len(), role.starts_with("constant"));
            let role = Role::parse(&role, index, choices)?;
            if role.number().is_some_and(|index| index >= numbers.len()) {
                return Err(PyValueError::new_err("no such number"));
            }
            match role {
                Role::Overload(_) => signature.overload = Some(at),
                Role::Sizes(_) => signature.sizes = Some(at),
                Role::Operand(index) | Role::Either(index) => operands.push((index, (at, constant))),
                _ => {}
            }
            let name = PyString::intern(name_py(parameters), &name).unbind();
            signature.parameters.push(Parameter {
                name,
                role,
                required,
                keyword_only,
            });
        }
        operands.sort_unstable();
        signature.operands = operands.into_iter().map(|(_, parameter)| parameter).collect();
        let input = signature.parameters.iter().position(|p| matches!(p.role, Role::Input));
        signature.input = input
            .filter(|_| signature.parameters.len() <= MAX_PARAMETERS)
            .ok_or_else(|| PyValueError::new_err("one of up to eight parameters is the input"))?;
        let alone = alone || signature.parameters[1..].iter().all(|parameter| !parameter.required);
        signature.simple = signature.input == 0 && alone;
        signature.inplace = signature.parameters.iter().any(|p| matches!(p.role, Role::Inplace));
        Ok(signature)
    }

    /// Whether the stock function has to find a dimension of its own.
    pub(crate) fn finds_dim(&self, bound: &Arguments) -> bool {
        bound.dim.is_none() && self.parameters.iter().any(|p| matches!(p.role, Role::Dim))
    }

    /// The tensors of a call beside its input, in the kernel's order; null or `None` where they are missing.
    pub(crate) fn operands<'a>(&'a self, bound: &'a Arguments) -> impl Iterator<Item = *mut ffi::PyObject> + 'a {
        self.operands.iter().map(|&(index, _)| bound.given[index])
    }

    /// Whether those tensors may require no gradient, in the same order.
    pub(crate) fn constants(&self) -> impl Iterator<Item = bool> + '_ {
        self.operands.iter().map(|&(_, constant)| constant)
    }

    /// What a call names as the input's last sizes.
    pub(crate) fn sizes(&self, bound: &Arguments) -> Option<*mut ffi::PyObject> {
        self.sizes.map(|index| bound.given[index])
    }

    /// A call's arguments before any is bound.
    #[inline]
    pub(crate) fn defaults(&self) -> Arguments {
        Arguments {
            input: ptr::null_mut(),
            dim: self.dim,
            dtype: ptr::null_mut(),
            inplace: false,
            numbers: self.numbers,
            count: self.count,
            given: [ptr::null_mut(); MAX_PARAMETERS],
        }
    }

    /// Binds the arguments of a vectorcall in their [defaults](Self::defaults), which are not moved afterwards: to read
    /// what was just written by another width stalls for longer than the binding takes.
    ///
    /// # Errors
    /// Where they do not fit, which is for stock torch to judge, or ask for what kernels do not do.
    ///
    /// # Safety
    /// `args` holds `positional` objects, then as many as `names`, a tuple or null, has. The GIL is held.
    #[inline]
    pub(crate) unsafe fn bind(
        &self,
        py: Python<'_>,
        bound: &mut Arguments,
        args: *const *mut ffi::PyObject,
        positional: usize,
        names: *mut ffi::PyObject,
    ) -> Result<(), Decline> {
        if positional == 1 && names.is_null() && self.simple {
            // SAFETY: there is one argument.
            bound.input = unsafe { *args };
            bound.given[0] = bound.input;
            return Ok(());
        }
        if positional > self.parameters.len() {
            return Err(Decline::Arguments);
        }
        for (index, parameter) in self.parameters[..positional].iter().enumerate() {
            if parameter.keyword_only {
                return Err(Decline::Arguments);
            }
            // SAFETY: `index` is below the number of arguments, which are alive.
            let value = unsafe { Bound::from_borrowed_ptr(py, *args.add(index)) };
            bound.given[index] = value.as_ptr();
            set(bound, &parameter.role, &value)?;
        }
        if !names.is_null() {
            // SAFETY: a tuple of strings, by the vectorcall protocol.
            let names = unsafe { Bound::from_borrowed_ptr(py, names).cast_into_unchecked::<PyTuple>() };
            for (offset, name) in names.iter_borrowed().enumerate() {
                let index = self.position(py, name.as_ptr()).ok_or(Decline::Arguments)?;
                if !bound.given[index].is_null() {
                    return Err(Decline::Arguments);
                }
                // SAFETY: as above.
                let value = unsafe { Bound::from_borrowed_ptr(py, *args.add(positional + offset)) };
                bound.given[index] = value.as_ptr();
                set(bound, &self.parameters[index].role, &value)?;
            }
        }
        if positional > 1 && self.overload.is_some_and(|index| !bound.given[index].is_null()) {
            return Err(Decline::Arguments);
        }
        if self.alone && bound.dim.is_none() {
            let input = !bound.input.is_null() && bound.given.iter().filter(|given| !given.is_null()).count() == 1;
            return if input { Ok(()) } else { Err(Decline::Arguments) };
        }
        let missing = self
            .parameters
            .iter()
            .zip(bound.given)
            .find(|(parameter, given)| parameter.required && given.is_null());
        match missing {
            Some((parameter, _)) if matches!(parameter.role, Role::True) => Err(Decline::Off),
            None if !bound.input.is_null() => Ok(()),
            _ => Err(Decline::Arguments),
        }
    }

    /// Names are interned nearly always, so that identity finds them.
    fn position(&self, py: Python<'_>, name: *mut ffi::PyObject) -> Option<usize> {
        self.parameters
            .iter()
            .position(|parameter| parameter.name.as_ptr() == name)
            .or_else(|| {
                // SAFETY: the name is alive.
                let name = unsafe { Bound::from_borrowed_ptr(py, name) };
                self.parameters
                    .iter()
                    .position(|parameter| name.eq(&parameter.name).unwrap_or(false))
            })
    }
}

fn name_py<'py>(object: &Bound<'py, PyAny>) -> Python<'py> {
    object.py()
}

/// Puts one argument in its place.
fn set(bound: &mut Arguments, role: &Role, value: &Bound<'_, PyAny>) -> Result<(), Decline> {
    match role {
        Role::Input => bound.input = value.as_ptr(),
        Role::Ignored | Role::Operand(_) => {}
        Role::Either(index) if value.is_exact_instance_of::<PyFloat>() || value.is_exact_instance_of::<PyInt>() => {
            bound.numbers[*index] = number(value)?;
        }
        Role::Either(_) if value.is_none() => return Err(Decline::Arguments),
        Role::Either(_) => {}
        Role::Absent if value.is_none() => {}
        Role::Absent => return Err(Decline::Keyword),
        Role::True if boolean(value)? => {}
        Role::True => return Err(Decline::Off),
        Role::False if !boolean(value)? => {}
        Role::False => return Err(Decline::Keyword),
        Role::Dim if value.is_none() => bound.dim = None,
        Role::Dim if value.is_exact_instance_of::<PyInt>() => {
            bound.dim = Some(value.extract().map_err(|_| Decline::Dim)?);
        }
        Role::Dim => return Err(Decline::Dim),
        Role::Dtype if value.is_none() => {}
        Role::Dtype => bound.dtype = value.as_ptr(),
        Role::Inplace => bound.inplace = boolean(value)?,
        Role::Number(index) => bound.numbers[*index] = number(value)?,
        Role::Integer(index) if value.is_exact_instance_of::<PyInt>() => bound.numbers[*index] = number(value)?,
        Role::Integer(_) => return Err(Decline::Arguments),
        Role::Flag(index) | Role::Overload(index) => bound.numbers[*index] = f64::from(u8::from(boolean(value)?)),
        Role::Optional(_) if value.is_none() => {}
        Role::Optional(index) => {
            let number = number(value)?;
            // Infinities are defaults of the catalogue.
            if !number.is_finite() {
                return Err(Decline::Arguments);
            }
            bound.numbers[*index] = number;
        }
        Role::Sizes(index) => bound.numbers[*index] = sizes_len(value)? as f64,
        Role::Choice(index, choices) => {
            let text: &str = value.extract().map_err(|_| Decline::Arguments)?;
            bound.numbers[*index] = choices
                .iter()
                .position(|choice| choice == text && !text.is_empty())
                .ok_or(Decline::Arguments)? as f64;
        }
    }
    Ok(())
}

/// How many sizes a tuple, a `torch.Size` or a list has.
fn sizes_len(value: &Bound<'_, PyAny>) -> Result<usize, Decline> {
    if let Ok(sizes) = value.cast::<PyTuple>() {
        return Ok(sizes.len());
    }
    value
        .cast_exact::<PyList>()
        .map(PyListMethods::len)
        .map_err(|_| Decline::Arguments)
}

pub(crate) fn boolean(value: &Bound<'_, PyAny>) -> Result<bool, Decline> {
    value
        .cast_exact::<PyBool>()
        .map(pyo3::types::PyBoolMethods::is_true)
        .map_err(|_| Decline::Arguments)
}

/// A Python number; a `NumPy` scalar or a tensor is stock torch's to convert.
pub(crate) fn number(value: &Bound<'_, PyAny>) -> Result<f64, Decline> {
    if let Ok(float) = value.cast_exact::<PyFloat>() {
        return Ok(float.value());
    }
    if let Ok(flag) = value.cast_exact::<PyBool>() {
        return Ok(f64::from(u8::from(flag.is_true())));
    }
    if value.is_exact_instance_of::<PyInt>() {
        let integer: i64 = value.extract().map_err(|_| Decline::Arguments)?;
        if integer.unsigned_abs() < 1 << 53 {
            return Ok(integer as f64);
        }
    }
    Err(Decline::Arguments)
}
