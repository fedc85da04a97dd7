//! Functions of torch's names on explicit tensors, on NumPy's arrays and on torch's tensors, each from a row of the
//! catalogue.

use pyo3::{
    exceptions::{PyTypeError, PyValueError},
    prelude::*,
    sync::PyOnceLock,
    types::{PyBool, PyDict, PyString, PyTuple},
};
use rusttorch_core::{
    chosen::Chosen,
    dtype::{DType, Target, View, ViewMut},
    kernel::{
        AlongKernel, Elements, Geometry, IndexKernel, Kernel, Kind, MAX_OPERANDS, MAX_RESULTS, NaryKernel, Operand,
        Parameter as Updated, RandomKernel, SelectKernel, Shape, Slot, StepKernel,
    },
    layout::Layout,
    ops::{self, arithmetic::Number},
    random::Source,
};

use crate::bind::Role;

use super::{
    Tensor, contiguous, create, detached, exchange,
    native::{Native, needs_floats, refused},
    random::with_generator,
    shape,
    shape::wrap,
    sizes_of,
    team::exec,
};

/// Who computes.
#[derive(Clone, Copy)]
enum Work {
    Plain(&'static dyn Kernel),
    Along(&'static dyn AlongKernel),
    Nary(&'static dyn NaryKernel),
    Index(&'static dyn IndexKernel),
    Select(&'static dyn SelectKernel),
    Random(&'static dyn RandomKernel),
    Native(Native),
}

impl Work {
    fn find(name: &str) -> Option<Self> {
        // Comparisons of one's own promote types, which those of the catalogue do not.
        Native::find(name)
            .map(Self::Native)
            .or_else(|| ops::find(name).map(Self::Plain))
            .or_else(|| ops::find_along(name).map(Self::Along))
            .or_else(|| ops::find_nary(name).map(Self::Nary))
            .or_else(|| ops::find_index(name).map(Self::Index))
            .or_else(|| ops::find_select(name).map(Self::Select))
            .or_else(|| ops::find_random(name).map(Self::Random))
    }
}

struct Parameter {
    name: String,
    role: Role,
    required: bool,
    keyword_only: bool,
}

/// The most parameters of a signature.
const MOST: usize = 12;
/// The most numbers that a kernel takes.
const NUMBERS: usize = 8;

/// A function of torch's name and keywords. What goes in comes out: of a `rusttorch.Tensor` another one, of NumPy's arrays
/// an array; a `torch.Tensor` goes to torch's own function, with its gradients, modes and patches.
#[pyclass(frozen, weakref, dict, name = "Function", module = "rusttorch")]
pub(crate) struct Function {
    name: String,
    work: Work,
    parameters: Vec<Parameter>,
    numbers: Vec<f64>,
    dim: Option<i64>,
    /// What several results are made into.
    pack: Option<Py<PyAny>>,
    /// Module and attribute of torch's own.
    stock: (String, String),
    module: PyOnceLock<Py<PyAny>>,
    /// How many tensors it takes, the input among them.
    operands: usize,
    /// Whether the input alone is a call, element by element.
    simple: bool,
}

/// Whose tensors a call has.
#[derive(Clone, Copy, PartialEq, Eq)]
enum World {
    Ours,
    Numpy,
    Torch,
}

/// The arguments of a call, by what they mean.
struct Call {
    /// The input, and the operands.
    tensors: Vec<Option<Tensor>>,
    /// Those operands that are numbers, and whether it is an integer.
    scalars: [Option<Number>; 1 + MAX_OPERANDS],
    numbers: [f64; NUMBERS],
    dim: Option<i64>,
    inplace: bool,
}

/// The results of a call.
type Results = [Option<Tensor>; MAX_RESULTS];

#[pymethods]
impl Function {
    #[new]
    #[pyo3(signature = (name, kernel, parameters, numbers, stock, dim=None, pack=None))]
    #[allow(clippy::too_many_arguments)]
    fn new(
        name: String,
        kernel: &str,
        parameters: &Bound<'_, PyAny>,
        numbers: Vec<f64>,
        stock: (String, String),
        dim: Option<i64>,
        pack: Option<Py<PyAny>>,
    ) -> PyResult<Self> {
        let work = Work::find(kernel).ok_or_else(|| PyValueError::new_err(format!("no kernel {kernel:?}")))?;
        let mut read = Vec::new();
        for parameter in parameters.try_iter()? {
            let (name, role, index, required, keyword_only, choices): (String, String, usize, bool, bool, Vec<String>) =
                parameter?.extract()?;
            let role = Role::parse(&role, index, choices)?;
            read.push(Parameter {
                name,
                role,
                required,
                keyword_only,
            });
        }
        if read.len() > MOST || numbers.len() > NUMBERS {
            return Err(PyValueError::new_err("too many parameters"));
        }
        let operands = read.iter().map(|parameter| match parameter.role {
            Role::Operand(index) | Role::Either(index) => 2 + index,
            _ => 1,
        });
        let operands = operands.max().unwrap_or(1);
        if operands > MAX_OPERANDS {
            return Err(PyValueError::new_err("too many tensors"));
        }
        let simple = matches!(work, Work::Plain(kernel) if kernel.shape() == Shape::Pointwise)
            && read.iter().skip(1).all(|parameter| !parameter.required);
        Ok(Self {
            name,
            work,
            parameters: read,
            numbers,
            dim,
            pack,
            stock,
            module: PyOnceLock::new(),
            operands,
            simple,
        })
    }

    #[getter]
    fn __name__(&self) -> &str {
        &self.name
    }

    #[getter]
    fn __qualname__(&self) -> &str {
        &self.name
    }

    fn __repr__(&self) -> String {
        format!("<function rusttorch.{}>", self.name)
    }

    /// By name: pickle finds it in the module of its type.
    fn __reduce__(&self) -> &str {
        &self.name
    }

    #[pyo3(signature = (*args, **kwargs))]
    fn __call__<'py>(
        &self,
        py: Python<'py>,
        args: &Bound<'py, PyTuple>,
        kwargs: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        if self.simple && kwargs.is_none() && args.len() == 1 {
            let input = args.get_borrowed_item(0)?;
            if let (Ok(tensor), Work::Plain(kernel)) = (input.cast::<Tensor>(), self.work) {
                let result = self.pointwise(py, kernel, tensor.get(), &self.numbers)?;
                return Ok(Bound::new(py, result)?.into_any());
            }
        }
        match self.world(args, kwargs)? {
            World::Torch => self.stock(py)?.call(args, kwargs),
            world => {
                let given = self.bind(args, kwargs)?;
                self.run(py, &given, world)
            }
        }
    }
}

impl Function {
    /// torch's own function, or what stands in its place.
    fn stock<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let module = self
            .module
            .get_or_try_init(py, || Ok::<_, PyErr>(py.import(&*self.stock.0)?.into_any().unbind()))?;
        module.bind(py).getattr(&*self.stock.1)
    }

    fn world<'py>(&self, args: &Bound<'py, PyTuple>, kwargs: Option<&Bound<'py, PyDict>>) -> PyResult<World> {
        let mut found = None;
        let words = kwargs.map(|kwargs| kwargs.values().into_iter());
        for object in args.iter().chain(words.into_iter().flatten()) {
            if object.is_instance_of::<Tensor>() {
                found = Some(World::Ours);
            } else if exchange::is_torch(&object) {
                return Ok(World::Torch);
            } else if found.is_none() && exchange::is_numpy(&object) {
                found = Some(World::Numpy);
            }
        }
        found.ok_or_else(|| {
            let given = args
                .get_item(0)
                .map_or_else(|_| String::from("nothing"), |object| object.get_type().to_string());
            let first = self.parameters.first().map_or("input", |parameter| &parameter.name);
            PyTypeError::new_err(format!(
                "{}: {first} must be a rusttorch.Tensor, a torch.Tensor or a numpy.ndarray, not {given}",
                self.name
            ))
        })
    }

    /// The arguments by parameter.
    fn bind<'py>(
        &self,
        args: &Bound<'py, PyTuple>,
        kwargs: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<[Option<Bound<'py, PyAny>>; MOST]> {
        let mut given = [const { None }; MOST];
        let positional = self
            .parameters
            .iter()
            .take_while(|parameter| !parameter.keyword_only)
            .count();
        if args.len() > positional {
            return Err(PyTypeError::new_err(format!(
                "{}() takes {positional} positional arguments but {} were given",
                self.name,
                args.len()
            )));
        }
        for (given, object) in given.iter_mut().zip(args.iter()) {
            *given = Some(object);
        }
        for (word, object) in kwargs.into_iter().flatten() {
            let word = word.cast::<PyString>()?.to_string();
            let at = self
                .parameters
                .iter()
                .position(|parameter| parameter.name == word)
                .ok_or_else(|| {
                    PyTypeError::new_err(format!("{}() got an unexpected keyword argument '{word}'", self.name))
                })?;
            if given[at].replace(object).is_some() {
                return Err(PyTypeError::new_err(format!(
                    "{}() got multiple values for argument '{word}'",
                    self.name
                )));
            }
        }
        let missing = self.parameters.iter().zip(&given).find(|(parameter, given)| {
            parameter.required && given.is_none() && !(matches!(parameter.role, Role::Dim) && self.takes_all())
        });
        match missing {
            Some((parameter, _)) => Err(PyTypeError::new_err(format!(
                "{}() missing a required argument: '{}'",
                self.name, parameter.name
            ))),
            None => Ok(given),
        }
    }

    /// Whether all elements are one row where no dimension is given.
    fn takes_all(&self) -> bool {
        match self.work {
            Work::Plain(kernel) => kernel.reduces_all(),
            Work::Along(kernel) => !kernel.results(true).is_empty(),
            _ => false,
        }
    }

    fn run<'py>(
        &self,
        py: Python<'py>,
        given: &[Option<Bound<'py, PyAny>>; MOST],
        world: World,
    ) -> PyResult<Bound<'py, PyAny>> {
        let made = if let Work::Native(native) = self.work {
            let given = &given[..self.parameters.len()];
            for (parameter, given) in self.parameters.iter().zip(given) {
                if let (Role::Absent, Some(object)) = (&parameter.role, given) {
                    self.check_absent(&parameter.name, object)?;
                }
            }
            native.call(py, &self.name, given)?
        } else {
            let call = self.read(py, given)?;
            let inplace = call.inplace;
            let results = self.compute(py, call)?;
            if let (true, [Some(result), _]) = (inplace, &results) {
                return self.replace(py, given, result);
            }
            let [first, second] = results;
            [first, second, None]
        };
        let wrap = |tensor: Tensor| -> PyResult<Bound<'py, PyAny>> {
            let tensor = Bound::new(py, tensor)?;
            match world {
                World::Numpy => exchange::to_numpy(&tensor),
                _ => Ok(tensor.into_any()),
            }
        };
        match made {
            [Some(only), None, None] => wrap(only),
            several => {
                let several = several.into_iter().flatten().map(wrap).collect::<PyResult<Vec<_>>>()?;
                let several = PyTuple::new(py, several)?;
                match &self.pack {
                    Some(pack) => pack.bind(py).call1(several),
                    None => Ok(several.into_any()),
                }
            }
        }
    }

    /// What `inplace=True` gives back: the input, with the result in its place.
    fn replace<'py>(
        &self,
        py: Python<'py>,
        given: &[Option<Bound<'py, PyAny>>; MOST],
        result: &Tensor,
    ) -> PyResult<Bound<'py, PyAny>> {
        let at = self
            .parameters
            .iter()
            .position(|parameter| matches!(parameter.role, Role::Input));
        let input = at.and_then(|at| given[at].clone());
        let input = input.ok_or_else(|| PyTypeError::new_err(format!("{}: no input", self.name)))?;
        needed(&self.name, "input", &input)?.assign(py, result)?;
        Ok(input)
    }

    fn check_absent(&self, name: &str, object: &Bound<'_, PyAny>) -> PyResult<()> {
        if object.is_none() {
            return Ok(());
        }
        Err(PyTypeError::new_err(format!(
            "{}: {name}= is for torch's tensors alone; leave it out",
            self.name
        )))
    }

    /// The arguments by what they mean.
    fn read(&self, py: Python<'_>, given: &[Option<Bound<'_, PyAny>>; MOST]) -> PyResult<Call> {
        let mut call = Call {
            tensors: std::iter::repeat_with(|| None).take(self.operands).collect(),
            scalars: [None; 1 + MAX_OPERANDS],
            numbers: [0.0; NUMBERS],
            dim: self.dim,
            inplace: false,
        };
        call.numbers[..self.numbers.len()].copy_from_slice(&self.numbers);
        let mut dtype = None;
        let mut last_sizes = None;
        for (parameter, object) in self.parameters.iter().zip(given) {
            let Some(object) = object else { continue };
            let name = &*parameter.name;
            let wrong = |expected: &str| {
                PyTypeError::new_err(format!("{}: {name} must be {expected}, not {object}", self.name))
            };
            match &parameter.role {
                Role::Input => call.tensors[0] = Some(needed(&self.name, name, object)?),
                Role::Operand(_) if object.is_none() => {}
                Role::Operand(index) => call.tensors[1 + *index] = Some(needed(&self.name, name, object)?),
                Role::Either(index) => {
                    if let Some(tensor) = exchange::tensor_of(object)? {
                        call.tensors[1 + *index] = Some(tensor);
                    } else {
                        let number = create::number(name, object)?;
                        call.scalars[1 + *index] = Some(number);
                        call.numbers[*index] = number.real();
                    }
                }
                Role::Dim if object.is_none() => {}
                Role::Dim => call.dim = Some(object.extract().map_err(|_| wrong("an integer"))?),
                Role::Dtype if object.is_none() => {}
                Role::Dtype => dtype = Some(super::dtype::parse(object)?),
                Role::Inplace => call.inplace = object.is_truthy()?,
                Role::Absent => self.check_absent(name, object)?,
                Role::Ignored => {}
                Role::True | Role::False => {
                    if object.is_truthy()? != matches!(parameter.role, Role::True) {
                        return Err(PyValueError::new_err(format!(
                            "{}: {name}={object} is for torch's tensors alone",
                            self.name
                        )));
                    }
                }
                Role::Optional(_) if object.is_none() => {}
                Role::Number(index) | Role::Optional(index) => {
                    call.numbers[*index] = create::number(name, object)?.real();
                }
                Role::Integer(index) => {
                    call.numbers[*index] = object.extract::<i64>().map_err(|_| wrong("an integer"))? as f64;
                }
                Role::Flag(index) | Role::Overload(index) => {
                    if !object.is_none() {
                        if !object.is_instance_of::<PyBool>() {
                            return Err(wrong("True or False"));
                        }
                        call.numbers[*index] = f64::from(u8::from(object.is_truthy()?));
                    }
                }
                Role::Choice(index, choices) => {
                    let chosen = object.extract::<String>().map_err(|_| wrong("a string"))?;
                    let at = choices
                        .iter()
                        .position(|choice| *choice == chosen && !choice.is_empty());
                    call.numbers[*index] = at.ok_or_else(|| {
                        let choices: Vec<_> = choices.iter().filter(|choice| !choice.is_empty()).collect();
                        PyValueError::new_err(format!(
                            "{}: {name} must be one of {choices:?}, not {chosen:?}",
                            self.name
                        ))
                    })? as f64;
                }
                Role::Sizes(index) => {
                    let sizes = sizes_of(name, object)?;
                    call.numbers[*index] = sizes.len() as f64;
                    last_sizes = Some(sizes);
                }
            }
        }
        let input = call.tensors[0]
            .take()
            .ok_or_else(|| PyTypeError::new_err(format!("{}: no input", self.name)))?;
        if let Some(sizes) = last_sizes {
            if !input.sizes().ends_with(&sizes) || sizes.is_empty() {
                return Err(PyValueError::new_err(format!(
                    "{}: normalized_shape {} is not what the input's shape {} ends with",
                    self.name,
                    shape(&sizes),
                    shape(input.sizes())
                )));
            }
        }
        call.tensors[0] = Some(match dtype {
            Some(dtype) => input.cast(py, dtype)?,
            None => input,
        });
        Ok(call)
    }

    fn compute(&self, py: Python<'_>, call: Call) -> PyResult<Results> {
        let [Some(input), ..] = &call.tensors[..] else {
            return Err(PyTypeError::new_err(format!("{}: no input", self.name)));
        };
        let numbers = &call.numbers[..self.numbers.len()];
        Ok(match self.work {
            Work::Plain(kernel) if kernel.shape() == Shape::Pointwise => {
                [Some(self.pointwise(py, kernel, input, numbers)?), None]
            }
            Work::Plain(kernel) => [Some(self.plain(py, kernel, input, call.dim, numbers)?), None],
            Work::Along(kernel) => self.along(py, kernel, input, call.dim, numbers)?,
            Work::Nary(kernel) => [Some(self.nary(py, kernel, &call.tensors, numbers)?), None],
            Work::Index(kernel) => [Some(self.index(py, kernel, &call, numbers)?), None],
            Work::Select(kernel) => [Some(self.select(py, kernel, &call)?), None],
            Work::Random(kernel) => [Some(self.random(py, kernel, input, numbers)?), None],
            Work::Native(_) => unreachable!("called with the arguments themselves"),
        })
    }

    fn floats(&self, input: &Tensor) -> PyResult<()> {
        if input.dtype().is_float() {
            Ok(())
        } else {
            Err(needs_floats(&self.name, input.dtype()))
        }
    }

    fn pointwise(
        &self,
        py: Python<'_>,
        kernel: &'static dyn Kernel,
        input: &Tensor,
        numbers: &[f64],
    ) -> PyResult<Tensor> {
        self.floats(input)?;
        let geometry = Geometry::flat(input.numel());
        kernel
            .accepts(geometry, numbers)
            .map_err(|reason| refused(&self.name, reason))?;
        let copy;
        let source = if input.layout().is_contiguous() {
            input
        } else {
            copy = input.contiguous(py)?;
            &copy
        };
        Tensor::written(py, input.dtype(), *source.layout(), |exec, target| {
            kernel.forward(exec, source.elements(), target, geometry, numbers);
        })
    }

    /// The geometry along a dimension, or of all elements, and the sizes of the result.
    fn geometry(
        &self,
        input: &Tensor,
        dim: Option<i64>,
        result: Shape,
        numbers: &[f64],
    ) -> PyResult<(Geometry, Layout, bool)> {
        let keeps = result == Shape::Reduce && numbers.first().is_some_and(|&keepdim| keepdim != 0.0);
        let ndim = input.sizes().len();
        let Some(dim) = dim else {
            if !self.takes_all() {
                return Err(PyTypeError::new_err(format!("{}: dim must be given", self.name)));
            }
            let sizes = vec![1; if keeps { ndim } else { 0 }];
            return Ok((Geometry::flat(input.numel()), contiguous(&sizes)?, true));
        };
        let at = wrap(dim, ndim)?;
        let layout = contiguous(input.sizes())?;
        let geometry = layout.along(at);
        let sized = |size: i64| {
            let mut sizes = input.sizes().to_vec();
            if let Some(its) = sizes.get_mut(at) {
                *its = size;
            }
            contiguous(&sizes)
        };
        let made = match result {
            Shape::Pointwise | Shape::Rows => layout,
            Shape::Reduce if keeps => sized(1)?,
            Shape::Reduce => layout.without(at),
            Shape::Glu if ndim == 0 => {
                return Err(PyValueError::new_err(format!("{}: input needs a dimension", self.name)));
            }
            Shape::Glu | Shape::First => sized(result.result_dim(geometry.dim, numbers) as i64)?,
        };
        Ok((geometry, made, false))
    }

    fn plain(
        &self,
        py: Python<'_>,
        kernel: &'static dyn Kernel,
        input: &Tensor,
        dim: Option<i64>,
        numbers: &[f64],
    ) -> PyResult<Tensor> {
        self.floats(input)?;
        let (geometry, layout, _) = self.geometry(input, dim, kernel.shape(), numbers)?;
        if geometry.is_empty() && layout.numel() == 0 {
            return Tensor::allocate(input.dtype(), layout, true);
        }
        kernel
            .accepts(geometry, numbers)
            .map_err(|reason| refused(&self.name, reason))?;
        let source = input.contiguous(py)?;
        Tensor::written(py, input.dtype(), layout, |exec, target| {
            kernel.forward(exec, source.elements(), target, geometry, numbers);
        })
    }

    fn along(
        &self,
        py: Python<'_>,
        kernel: &'static dyn AlongKernel,
        input: &Tensor,
        dim: Option<i64>,
        numbers: &[f64],
    ) -> PyResult<Results> {
        let dtype = input.dtype();
        let mut source = input.contiguous(py)?;
        if !kernel.takes(dtype) {
            if dtype.is_float() {
                return Err(PyTypeError::new_err(format!(
                    "{}: {} is not taken; convert first: input.to(\"float32\")",
                    self.name,
                    dtype.name()
                )));
            }
            // Integers of up to 53 bits are such numbers exactly.
            let wide = matches!(source.elements(), View::I64(x) if x.iter().any(|x| x.unsigned_abs() > 1 << 53));
            if !kernel.takes(DType::F64) || wide {
                return Err(needs_floats(&self.name, dtype));
            }
            source = source.cast(py, DType::F64)?;
        }
        let (geometry, layout, whole) = self.geometry(input, dim, kernel.shape(), numbers)?;
        let mut kinds = kernel.results(whole);
        let wanted = kinds.len();
        if geometry.is_empty() {
            if layout.numel() > 0 {
                return Err(PyValueError::new_err(format!(
                    "{}: there are no elements to choose from",
                    self.name
                )));
            }
        } else {
            kernel
                .accepts(geometry, numbers)
                .map_err(|reason| refused(&self.name, reason))?;
        }
        // The extreme of all elements is found with its place: of equal ones the first.
        if whole && kernel.results(false).starts_with(kinds) {
            kinds = kernel.results(false);
        }
        let mut made = [const { None }; MAX_RESULTS];
        for (made, kind) in made.iter_mut().zip(kinds) {
            let its = match kind {
                Kind::Values => source.dtype(),
                Kind::Indices => DType::I64,
            };
            *made = Some(Tensor::allocate(its, layout, geometry.is_empty())?);
        }
        if !geometry.is_empty() {
            let mut slots = [const { None }; MAX_RESULTS];
            for ((slot, kind), tensor) in slots.iter_mut().zip(kinds).zip(made.iter().flatten()) {
                // SAFETY: new memory of that size, which nobody else has.
                let target = unsafe { Target::from_raw(tensor.dtype(), tensor.data(), layout.numel()) };
                *slot = Some(match (kind, target) {
                    (Kind::Indices, Target::I64(indices)) => Slot::Indices(indices),
                    (_, values) => Slot::Values(values),
                });
            }
            let outcome = detached(py, geometry.len(), || {
                kernel.forward(&exec(), source.elements(), slots, geometry, numbers)
            });
            outcome.map_err(|reason| refused(&self.name, reason))?;
        }
        for (index, made) in made.iter_mut().enumerate() {
            if index >= wanted {
                *made = None;
            }
        }
        if let (Some(values), Some(Kind::Values)) = (&made[0], kinds.first()) {
            made[0] = Some(values.cast(py, dtype)?);
        }
        Ok(made)
    }

    fn nary(
        &self,
        py: Python<'_>,
        kernel: &'static dyn NaryKernel,
        tensors: &[Option<Tensor>],
        numbers: &[f64],
    ) -> PyResult<Tensor> {
        let mut read: Vec<Option<Tensor>> = Vec::new();
        for (index, tensor) in tensors.iter().enumerate() {
            read.push(match tensor {
                Some(tensor) if kernel.updates(index) => {
                    tensor.check_writable()?;
                    if !tensor.layout().is_contiguous() {
                        return Err(refused(&self.name, "what is updated must be contiguous"));
                    }
                    Some(tensor.clone())
                }
                Some(tensor) => Some(tensor.contiguous(py)?),
                None => None,
            });
        }
        let Some(Some(input)) = read.first() else {
            return Err(PyTypeError::new_err(format!("{}: no input", self.name)));
        };
        self.floats(input)?;
        for (index, tensor) in read.iter().enumerate() {
            let Some(tensor) = tensor else { continue };
            if !tensor.dtype().is_float() && tensor.dtype() != DType::I64 {
                return Err(PyTypeError::new_err(format!(
                    "{}: tensor {index} must be of {} or of int64, not of {}",
                    self.name,
                    input.dtype().name(),
                    tensor.dtype().name()
                )));
            }
        }
        let mut operands: Vec<Option<Operand>> = read.iter().map(|tensor| tensor.as_ref().map(operand)).collect();
        while operands.last().is_some_and(Option::is_none) {
            operands.pop();
        }
        let fail = |reason| refused(&self.name, reason);
        let outline = kernel.outline(&operands, numbers).map_err(fail)?;
        kernel.inspect(&exec(), &operands, numbers).map_err(fail)?;
        let mut updated: [Option<ViewMut>; MAX_OPERANDS] = [const { None }; MAX_OPERANDS];
        for (index, slot) in operands.iter_mut().enumerate() {
            if kernel.updates(index) {
                *slot = None;
            }
        }
        for (index, tensor) in read.iter().enumerate() {
            if let (Some(tensor), true) = (tensor, kernel.updates(index)) {
                if read
                    .iter()
                    .enumerate()
                    .any(|(other, its)| other != index && its.as_ref().is_some_and(|its| its.overlaps(tensor)))
                {
                    return Err(refused(&self.name, "what is updated shares memory with another tensor"));
                }
                updated[index] = Some(tensor.elements_mut()?);
            }
        }
        Tensor::written(py, input.dtype(), outline.result, |exec, target| {
            kernel.forward_updating(exec, &operands, updated, target, None, numbers);
        })
    }

    fn index(
        &self,
        py: Python<'_>,
        kernel: &'static dyn IndexKernel,
        call: &Call,
        numbers: &[f64],
    ) -> PyResult<Tensor> {
        let mut read = Vec::new();
        for tensor in &call.tensors {
            read.push(tensor.as_ref().map(|tensor| tensor.contiguous(py)).transpose()?);
        }
        let tensors: Vec<_> = read.iter().map(|tensor| tensor.as_ref().map(Tensor::strided)).collect();
        let fail = |reason| refused(&self.name, reason);
        let (dtype, layout) = kernel.outline(&tensors, numbers, false).map_err(fail)?;
        for scalar in call.scalars.iter().flatten() {
            if matches!(scalar, Number::Real(_)) && !dtype.is_float() {
                return Err(PyTypeError::new_err(format!(
                    "{}: a fraction is no {}; convert the tensor first",
                    self.name,
                    dtype.name()
                )));
            }
        }
        let mut outcome = Ok(());
        let result = Tensor::written(py, dtype, layout, |exec, target| {
            if layout.numel() > 0 {
                outcome = kernel.forward(exec, &tensors, target, &layout, numbers);
            }
        })?;
        outcome.map_err(fail)?;
        Ok(result)
    }

    fn select(&self, py: Python<'_>, kernel: &'static dyn SelectKernel, call: &Call) -> PyResult<Tensor> {
        let [Some(input), others @ ..] = &call.tensors[..] else {
            return Err(PyTypeError::new_err(format!("{}: no input", self.name)));
        };
        let input = input.contiguous(py)?;
        let by = match others.first().and_then(Option::as_ref) {
            Some(mask) if mask.dtype() != DType::Bool => {
                return Err(PyTypeError::new_err(format!(
                    "{}: mask must be of bool, not of {}",
                    self.name,
                    mask.dtype().name()
                )));
            }
            Some(mask) if mask.sizes() != input.sizes() => {
                return Err(PyValueError::new_err(format!(
                    "{}: mask has shape {}, and the input {}",
                    self.name,
                    shape(mask.sizes()),
                    shape(input.sizes())
                )));
            }
            Some(mask) => mask.contiguous(py)?,
            None => input.clone(),
        };
        if call.numbers.first().is_some_and(|&as_tuple| as_tuple != 0.0) && !kernel.has_mask() {
            return Err(PyTypeError::new_err(format!(
                "{}: as_tuple=True is for torch's tensors alone",
                self.name
            )));
        }
        if input.sizes().is_empty() {
            return Err(PyValueError::new_err(format!("{}: input needs a dimension", self.name)));
        }
        let chosen = Chosen::count(&exec(), by.elements());
        let (total, ndim) = (chosen.total() as i64, input.sizes().len() as i64);
        let (dtype, layout) = if kernel.has_mask() {
            (input.dtype(), contiguous(&[total])?)
        } else {
            let columns = Layout::new(&[total, ndim], &[1, total]);
            (DType::I64, columns.ok_or_else(|| super::too_large(&[total, ndim]))?)
        };
        Tensor::written(py, dtype, layout, |exec, target| {
            if layout.numel() == 0 {
                return;
            }
            let slot = match target {
                Target::I64(places) if !kernel.has_mask() => Slot::Indices(places),
                values => Slot::Values(values),
            };
            kernel.write(exec, input.elements(), &chosen, slot, input.sizes());
        })
    }

    fn random(
        &self,
        py: Python<'_>,
        kernel: &'static dyn RandomKernel,
        input: &Tensor,
        numbers: &[f64],
    ) -> PyResult<Tensor> {
        self.floats(input)?;
        let fail = |reason| refused(&self.name, reason);
        kernel.accepts(numbers).map_err(fail)?;
        let source = input.contiguous(py)?;
        let each = kernel.each(source.sizes()).map_err(fail)?.unwrap_or(1);
        let layout = *source.layout();
        Tensor::written(py, input.dtype(), layout, |exec, target| {
            with_generator(None, |generator| {
                kernel.forward(
                    exec,
                    Source::Torch(generator),
                    source.elements(),
                    target,
                    each,
                    None,
                    numbers,
                );
            });
        })
    }
}

/// The tensor, or the array, that a parameter of a function is.
fn needed(function: &str, parameter: &str, object: &Bound<'_, PyAny>) -> PyResult<Tensor> {
    exchange::tensor_of(object)?.ok_or_else(|| {
        PyTypeError::new_err(format!(
            "{function}: {parameter} must be a tensor, not {}",
            object.get_type()
        ))
    })
}

/// A row-major tensor as kernels take it.
fn operand(tensor: &Tensor) -> Operand<'_> {
    Operand {
        sizes: tensor.sizes(),
        elements: match tensor.elements() {
            View::I64(indices) => Elements::Indices(indices),
            floats => Elements::Floats(floats),
        },
    }
}

/// One step of an optimizer: changes the parameter and its state in place.
///
/// `tensors` are the parameter, its gradient and the state, of one shape and floating-point dtype.
#[pyfunction]
pub(crate) fn optimizer_step(
    py: Python<'_>,
    kernel: &str,
    tensors: Vec<Bound<'_, PyAny>>,
    names: Vec<String>,
    step: f64,
    numbers: Vec<f64>,
) -> PyResult<()> {
    let work: &'static dyn StepKernel =
        ops::find_step(kernel).ok_or_else(|| PyValueError::new_err(format!("no optimizer {kernel:?}")))?;
    let kept = work.accepts(&numbers).map_err(|reason| refused(kernel, reason))?;
    let mut read = Vec::new();
    for (index, (object, name)) in tensors.iter().zip(&names).enumerate() {
        if index >= 2 && !kept[index - 2] {
            continue;
        }
        let tensor = needed(kernel, name, object)?;
        if index != 1 {
            tensor.check_writable()?;
        }
        read.push((name, tensor));
    }
    let [(_, first), _, ..] = &read[..] else {
        return Err(PyTypeError::new_err(format!("{kernel}: no parameter, or no gradient")));
    };
    if !first.dtype().is_float() {
        return Err(needs_floats(kernel, first.dtype()));
    }
    for (name, tensor) in &read {
        if tensor.dtype() != first.dtype() || tensor.sizes() != first.sizes() {
            return Err(PyValueError::new_err(format!(
                "{kernel}: {name} is {} of {}, and the parameter {} of {}",
                shape(tensor.sizes()),
                tensor.dtype().name(),
                shape(first.sizes()),
                first.dtype().name()
            )));
        }
        if !tensor.layout().is_contiguous() {
            return Err(PyValueError::new_err(format!(
                "{kernel}: {name} must be contiguous: {name}.contiguous()"
            )));
        }
        if read.iter().any(|(other, its)| other != name && its.overlaps(tensor)) {
            return Err(PyValueError::new_err(format!(
                "{kernel}: {name} shares memory with another of the tensors"
            )));
        }
    }
    let state = read[2..].iter().map(|(_, tensor)| tensor.elements_mut());
    let parameter = Updated {
        value: read[0].1.elements_mut()?,
        grad: read[1].1.elements(),
        state: state.collect::<PyResult<_>>()?,
        step,
    };
    py.detach(|| work.step(&exec(), vec![parameter], &numbers));
    Ok(())
}
