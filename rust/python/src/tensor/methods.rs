//! What Python sees of a tensor.

use pyo3::{
    basic::CompareOp,
    exceptions::{PyAttributeError, PyBufferError, PyIndexError, PyTypeError, PyValueError},
    prelude::*,
    types::{PyBool, PyBytes, PyDict, PyNotImplemented, PyTuple},
};
use rusttorch_core::{
    dtype::DType,
    ops::arithmetic::{Number, compare::Comparison},
};

use super::{
    Tensor,
    arithmetic::{Binary, Operand, binary, choose, inplace},
    contiguous,
    create::{dtype_of, dtype_or, number},
    dlpack,
    dtype::{self, Dtype},
    exchange, sizes_of,
};

const ONE: Number = Number::Whole(1);
const MINUS_ONE: Number = Number::Whole(-1);

/// Dimensions given one by one, or as a sequence.
fn sizes(name: &str, given: &Bound<'_, PyTuple>) -> PyResult<Vec<i64>> {
    if given.len() == 1 {
        sizes_of(name, &given.get_item(0)?)
    } else {
        sizes_of(name, given)
    }
}

/// The result, or `NotImplemented` for what is neither a tensor nor a number.
fn operator<'py>(
    py: Python<'py>,
    op: Binary,
    tensor: &Tensor,
    other: &Bound<'py, PyAny>,
    reflected: bool,
) -> PyResult<Bound<'py, PyAny>> {
    // A tensor of torch has operators of its own, which do not know ours.
    let Some(other) = Operand::of(other)? else {
        return Ok(PyNotImplemented::get(py).to_owned().into_any());
    };
    let this = Operand::Theirs(tensor);
    let (a, b) = if reflected { (other, this) } else { (this, other) };
    Ok(Bound::new(py, binary(py, op, a, b)?)?.into_any())
}

/// The same of what is true or false.
fn logical<'py>(
    py: Python<'py>,
    op: Binary,
    tensor: &Tensor,
    other: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let is_bool = |operand: &Operand| operand.dtype() == DType::Bool;
    match Operand::of(other)? {
        Some(other) if !is_bool(&other) || tensor.dtype() != DType::Bool => Err(PyTypeError::new_err(
            "&, |, ^ and ~ are for tensors of bool, such as comparisons",
        )),
        _ => operator(py, op, tensor, other, false),
    }
}

fn assign(py: Python<'_>, op: Binary, tensor: &Tensor, other: &Bound<'_, PyAny>) -> PyResult<()> {
    let other = Operand::of(other)?
        .ok_or_else(|| PyTypeError::new_err(format!("other must be a tensor or a number, not {}", other.get_type())))?;
    inplace(py, op, tensor, other)
}

#[pymethods]
impl Tensor {
    /// Zeros. `shape` is integers or a sequence of them; `dtype` is float32 unless given.
    #[staticmethod]
    #[pyo3(name = "zeros", signature = (*shape, dtype=None))]
    fn py_zeros(shape: &Bound<'_, PyTuple>, dtype: Option<&Bound<'_, PyAny>>) -> PyResult<Self> {
        Self::zeros(&sizes("shape", shape)?, dtype_or(dtype, DType::F32)?)
    }

    /// Ones. `shape` is integers or a sequence of them; `dtype` is float32 unless given.
    #[staticmethod]
    #[pyo3(signature = (*shape, dtype=None))]
    fn ones(py: Python<'_>, shape: &Bound<'_, PyTuple>, dtype: Option<&Bound<'_, PyAny>>) -> PyResult<Self> {
        Self::full(py, &sizes("shape", shape)?, ONE, dtype_or(dtype, DType::F32)?)
    }

    /// Elements to be written: what they are before is not said.
    #[staticmethod]
    #[pyo3(signature = (*shape, dtype=None))]
    fn empty(shape: &Bound<'_, PyTuple>, dtype: Option<&Bound<'_, PyAny>>) -> PyResult<Self> {
        // Zeros, as memory that nobody has written is nothing to read.
        Self::zeros(&sizes("shape", shape)?, dtype_or(dtype, DType::F32)?)
    }

    /// One number everywhere. `dtype` is the number's unless given: bool, int64 or float32.
    #[staticmethod]
    #[pyo3(name = "full", signature = (shape, fill_value, *, dtype=None))]
    fn py_full(
        py: Python<'_>,
        shape: &Bound<'_, PyAny>,
        fill_value: &Bound<'_, PyAny>,
        dtype: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let value = number("fill_value", fill_value)?;
        let dtype = dtype_or(dtype, dtype_of(fill_value, value))?;
        Self::full(py, &sizes_of("shape", shape)?, value, dtype)
    }

    /// The numbers from `start` (0) to `end`, which is not among them, `step` (1) apart. `dtype` is int64 for integers, else
    /// float32.
    #[staticmethod]
    #[pyo3(name = "arange", signature = (start, end=None, step=None, *, dtype=None))]
    fn py_arange(
        py: Python<'_>,
        start: &Bound<'_, PyAny>,
        end: Option<&Bound<'_, PyAny>>,
        step: Option<&Bound<'_, PyAny>>,
        dtype: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let (start, end) = match end {
            Some(end) => (number("start", start)?, number("end", end)?),
            None => (Number::Whole(0), number("end", start)?),
        };
        let step = step.map_or(Ok(ONE), |step| number("step", step))?;
        let wholes = [start, end, step]
            .iter()
            .all(|number| matches!(number, Number::Whole(_)));
        let dtype = dtype_or(dtype, if wholes { DType::I64 } else { DType::F32 })?;
        Self::arange(py, start, end, step, dtype)
    }

    /// Ones on the diagonal of `n` rows and `m` (`n`) columns, and zeros elsewhere.
    #[staticmethod]
    #[pyo3(name = "eye", signature = (n, m=None, *, dtype=None))]
    fn py_eye(py: Python<'_>, n: i64, m: Option<i64>, dtype: Option<&Bound<'_, PyAny>>) -> PyResult<Self> {
        Self::eye(py, n, m.unwrap_or(n), dtype_or(dtype, DType::F32)?)
    }

    /// Random numbers, evenly spread from 0 to 1, which is not among them: of `seed`, or of what `rusttorch.manual_seed` has
    /// begun.
    #[staticmethod]
    #[pyo3(signature = (*shape, dtype=None, seed=None))]
    fn rand(
        py: Python<'_>,
        shape: &Bound<'_, PyTuple>,
        dtype: Option<&Bound<'_, PyAny>>,
        seed: Option<i64>,
    ) -> PyResult<Self> {
        Self::random(py, &sizes("shape", shape)?, dtype_or(dtype, DType::F32)?, seed, false)
    }

    /// Random numbers of the normal distribution, with mean 0 and variance 1: of `seed`, or of what `rusttorch.manual_seed`
    /// has begun.
    #[staticmethod]
    #[pyo3(signature = (*shape, dtype=None, seed=None))]
    fn randn(
        py: Python<'_>,
        shape: &Bound<'_, PyTuple>,
        dtype: Option<&Bound<'_, PyAny>>,
        seed: Option<i64>,
    ) -> PyResult<Self> {
        Self::random(py, &sizes("shape", shape)?, dtype_or(dtype, DType::F32)?, seed, true)
    }

    /// The memory of a NumPy array, without a copy: changes of one show in the other.
    ///
    /// Raises TypeError for other objects and dtypes, ValueError for negative strides.
    #[staticmethod]
    fn from_numpy(array: &Bound<'_, PyAny>) -> PyResult<Self> {
        exchange::from_numpy(array)
    }

    /// The memory of a torch tensor on the CPU, without a copy.
    ///
    /// Raises TypeError for other objects, devices, layouts and dtypes, BufferError for one that requires a gradient.
    #[staticmethod]
    fn from_torch(tensor: &Bound<'_, PyAny>) -> PyResult<Self> {
        exchange::from_torch(tensor)
    }

    /// The memory of an object that has `__dlpack__`, without a copy.
    #[staticmethod]
    fn from_dlpack(object: &Bound<'_, PyAny>) -> PyResult<Self> {
        dlpack::import(object)
    }

    #[staticmethod]
    fn _from_bytes(bytes: &Bound<'_, PyBytes>, dtype: &Bound<'_, PyAny>, shape: Vec<i64>) -> PyResult<Self> {
        let tensor = Self::allocate(dtype::parse(dtype)?, contiguous(&shape)?, false)?;
        let bytes = bytes.as_bytes();
        if bytes.len() != tensor.numel() * tensor.dtype().size() {
            return Err(PyValueError::new_err("the bytes are not those of the shape"));
        }
        // SAFETY: new memory of that size.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), tensor.data(), bytes.len()) };
        Ok(tensor)
    }

    /// A NumPy array of the same memory. NumPy has no bfloat16: TypeError.
    #[pyo3(name = "numpy")]
    fn py_numpy<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        exchange::to_numpy(slf)
    }

    /// The same as `numpy`.
    fn to_numpy<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        exchange::to_numpy(slf)
    }

    /// A torch tensor of the same memory. Read-only memory is refused: BufferError.
    fn to_torch<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        exchange::to_torch(slf)
    }

    #[getter]
    fn __array_interface__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        self.array_interface(py)
    }

    #[pyo3(signature = (dtype=None, *, copy=None))]
    fn __array__<'py>(
        slf: &Bound<'py, Self>,
        dtype: Option<&Bound<'py, PyAny>>,
        copy: Option<bool>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let array = exchange::to_numpy(slf)?;
        let array = match dtype.filter(|dtype| !dtype.is_none()) {
            Some(dtype) => {
                let words = PyDict::new(py);
                words.set_item("copy", false)?;
                let converted = array.call_method("astype", (dtype,), Some(&words))?;
                if copy == Some(false) && !converted.is(&array) {
                    return Err(PyValueError::new_err("another dtype needs a copy"));
                }
                converted
            }
            None => array,
        };
        if copy == Some(true) {
            array.call_method0("copy")
        } else {
            Ok(array)
        }
    }

    #[pyo3(signature = (*, stream=None, max_version=None, dl_device=None, copy=None))]
    fn __dlpack__<'py>(
        &self,
        py: Python<'py>,
        stream: Option<&Bound<'py, PyAny>>,
        max_version: Option<(u32, u32)>,
        dl_device: Option<(i64, i64)>,
        copy: Option<bool>,
    ) -> PyResult<Bound<'py, PyAny>> {
        if stream.is_some_and(|stream| !stream.is_none()) {
            return Err(PyBufferError::new_err("stream must be None: the memory is the CPU's"));
        }
        if dl_device.is_some_and(|device| device != (1, 0)) {
            return Err(PyBufferError::new_err(
                "dl_device must be (1, 0): the memory is the CPU's",
            ));
        }
        let versioned = max_version.is_some_and(|(major, _)| major >= 1);
        if copy == Some(true) {
            dlpack::export(py, &self.copied(py)?, versioned)
        } else {
            dlpack::export(py, self, versioned)
        }
    }

    #[allow(clippy::unused_self)]
    fn __dlpack_device__(&self) -> (i64, i64) {
        (1, 0)
    }

    /// The elements as Python's numbers, in lists of lists; without dimensions a number.
    #[pyo3(name = "tolist")]
    fn py_tolist<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        exchange::tolist(py, self)
    }

    /// The only element, as a number. Raises ValueError where there are more or none.
    #[pyo3(name = "item")]
    fn py_item<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        exchange::item(py, self)
    }

    /// The size of each dimension.
    #[getter]
    #[pyo3(name = "shape")]
    fn py_shape<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, self.sizes())
    }

    /// The type of the elements.
    #[getter]
    #[pyo3(name = "dtype")]
    fn py_dtype(&self, py: Python<'_>) -> PyResult<Py<Dtype>> {
        Ok(dtype::object(py, self.dtype())?.clone_ref(py))
    }

    /// The step of each dimension, in elements.
    #[getter]
    fn strides<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, self.layout().strides())
    }

    /// How many dimensions there are.
    #[getter]
    fn ndim(&self) -> usize {
        self.sizes().len()
    }

    /// Whether the memory may be written to.
    #[getter]
    fn writeable(&self) -> bool {
        !self.storage().readonly
    }

    /// How many elements there are.
    #[pyo3(name = "numel")]
    fn py_numel(&self) -> usize {
        self.numel()
    }

    /// The shape, or the size of a dimension.
    #[pyo3(signature = (dim=None))]
    fn size<'py>(&self, py: Python<'py>, dim: Option<i64>) -> PyResult<Bound<'py, PyAny>> {
        let Some(dim) = dim else {
            return Ok(self.py_shape(py)?.into_any());
        };
        let at = super::shape::wrap(dim, self.sizes().len())?;
        let size = self
            .sizes()
            .get(at)
            .ok_or_else(|| PyIndexError::new_err("a tensor without dimensions has no size"))?;
        Ok(size.into_pyobject(py)?.into_any())
    }

    /// The strides.
    fn stride<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        self.strides(py)
    }

    /// How many dimensions there are.
    fn dim(&self) -> usize {
        self.sizes().len()
    }

    /// The address of the first element.
    fn data_ptr(&self) -> usize {
        self.data() as usize
    }

    /// Whether the elements lie in memory row by row, without gaps.
    fn is_contiguous(&self) -> bool {
        self.by_rows()
    }

    fn __len__(&self) -> PyResult<usize> {
        let first = self.sizes().first();
        first
            .map(|&size| size as usize)
            .ok_or_else(|| PyTypeError::new_err("len() of a tensor without dimensions"))
    }

    fn __bool__(&self) -> PyResult<bool> {
        if self.numel() != 1 {
            return Err(PyValueError::new_err(format!(
                "only a tensor of one element is true or false; this one has {}",
                self.numel()
            )));
        }
        Ok(self.first()?.real() != 0.0)
    }

    fn __float__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let item = exchange::item(py, self)?;
        py.get_type::<pyo3::types::PyFloat>().call1((item,))
    }

    fn __int__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let item = exchange::item(py, self)?;
        py.get_type::<pyo3::types::PyInt>().call1((item,))
    }

    fn __index__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        if self.dtype().is_float() || self.numel() != 1 {
            return Err(PyTypeError::new_err("only a tensor of one integer is an index"));
        }
        let item = exchange::item(py, self)?;
        py.get_type::<pyo3::types::PyInt>().call1((item,))
    }

    fn __repr__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        slf.py().import("rusttorch._repr")?.getattr("text")?.call1((slf,))
    }

    fn __getitem__(&self, py: Python<'_>, index: &Bound<'_, PyAny>) -> PyResult<Self> {
        self.get(py, index)
    }

    fn __setitem__(&self, py: Python<'_>, index: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        self.set(py, index, value)
    }

    #[allow(clippy::unused_self)]
    fn __delitem__(&self, _index: &Bound<'_, PyAny>) -> PyResult<()> {
        Err(PyTypeError::new_err("elements of a tensor cannot be deleted"))
    }

    fn __iter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        if self.sizes().is_empty() {
            return Err(PyTypeError::new_err("iteration over a tensor without dimensions"));
        }
        let rows = (0..self.sizes()[0]).map(|index| Self::get(self, py, &index.into_pyobject(py)?.into_any()));
        let rows: Vec<Self> = rows.collect::<PyResult<_>>()?;
        PyTuple::new(py, rows)?.call_method0("__iter__")
    }

    /// Functions of this package are methods of their first argument.
    fn __getattr__<'py>(slf: &Bound<'py, Self>, name: &str) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        if !name.starts_with('_') {
            let found = py.import("rusttorch._functions")?.getattr("find")?.call1((name,))?;
            if !found.is_none() {
                return py.import("types")?.getattr("MethodType")?.call1((found, slf));
            }
        }
        Err(PyAttributeError::new_err(format!(
            "'Tensor' object has no attribute '{name}'"
        )))
    }

    fn __add__<'py>(&self, py: Python<'py>, other: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        operator(py, Binary::Add(ONE), self, other, false)
    }

    fn __radd__<'py>(&self, py: Python<'py>, other: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        operator(py, Binary::Add(ONE), self, other, true)
    }

    fn __sub__<'py>(&self, py: Python<'py>, other: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        operator(py, Binary::Add(MINUS_ONE), self, other, false)
    }

    fn __rsub__<'py>(&self, py: Python<'py>, other: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        operator(py, Binary::Add(MINUS_ONE), self, other, true)
    }

    fn __mul__<'py>(&self, py: Python<'py>, other: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        operator(py, Binary::Mul, self, other, false)
    }

    fn __rmul__<'py>(&self, py: Python<'py>, other: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        operator(py, Binary::Mul, self, other, true)
    }

    fn __truediv__<'py>(&self, py: Python<'py>, other: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        operator(py, Binary::Div, self, other, false)
    }

    fn __rtruediv__<'py>(&self, py: Python<'py>, other: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        operator(py, Binary::Div, self, other, true)
    }

    fn __matmul__<'py>(&self, py: Python<'py>, other: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let other = Operand::of(other)?;
        match other.as_ref().and_then(Operand::tensor) {
            Some(other) => Ok(Bound::new(py, self.matmul(py, other)?)?.into_any()),
            None => Ok(PyNotImplemented::get(py).to_owned().into_any()),
        }
    }

    fn __pow__<'py>(
        slf: &Bound<'py, Self>,
        exponent: &Bound<'py, PyAny>,
        modulo: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        if modulo.is_some_and(|modulo| !modulo.is_none()) {
            return Ok(PyNotImplemented::get(py).to_owned().into_any());
        }
        // One exponent for all has a kernel of its own.
        let is_one = matches!(Operand::of(exponent)?, Some(Operand::Number(..)));
        if is_one && slf.get().dtype().is_float() {
            let pow = py.import("rusttorch._functions")?.getattr("find")?.call1(("pow",))?;
            return pow.call1((slf, exponent));
        }
        operator(py, Binary::Pow, slf.get(), exponent, false)
    }

    fn __rpow__<'py>(
        &self,
        py: Python<'py>,
        base: &Bound<'py, PyAny>,
        modulo: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        if modulo.is_some_and(|modulo| !modulo.is_none()) {
            return Ok(PyNotImplemented::get(py).to_owned().into_any());
        }
        operator(py, Binary::Pow, self, base, true)
    }

    fn __ipow__(
        &self,
        py: Python<'_>,
        exponent: &Bound<'_, PyAny>,
        _modulo: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        assign(py, Binary::Pow, self, exponent)
    }

    fn __neg__(&self, py: Python<'_>) -> PyResult<Self> {
        if self.dtype() == DType::Bool {
            return Err(PyTypeError::new_err("bool has no negative; compare with == False"));
        }
        let minus = Operand::Number(MINUS_ONE, DType::I64);
        binary(py, Binary::Mul, Operand::Theirs(self), minus)
    }

    fn __floordiv__<'py>(&self, py: Python<'py>, other: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        operator(py, Binary::FloorDivide, self, other, false)
    }

    fn __rfloordiv__<'py>(&self, py: Python<'py>, other: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        operator(py, Binary::FloorDivide, self, other, true)
    }

    fn __mod__<'py>(&self, py: Python<'py>, other: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        operator(py, Binary::Remainder, self, other, false)
    }

    fn __rmod__<'py>(&self, py: Python<'py>, other: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        operator(py, Binary::Remainder, self, other, true)
    }

    fn __and__<'py>(&self, py: Python<'py>, other: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        logical(py, Binary::Mul, self, other)
    }

    fn __or__<'py>(&self, py: Python<'py>, other: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        logical(py, Binary::Add(ONE), self, other)
    }

    fn __xor__<'py>(&self, py: Python<'py>, other: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        logical(py, Binary::Compare(Comparison::NotEqual), self, other)
    }

    fn __invert__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let no = PyBool::new(py, false).to_owned().into_any();
        logical(py, Binary::Compare(Comparison::Equal), self, &no)
    }

    fn __abs__(&self, py: Python<'_>) -> PyResult<Self> {
        if self.dtype() == DType::Bool {
            return Err(PyTypeError::new_err(
                "bool has no magnitude; convert first: tensor.to(\"int64\")",
            ));
        }
        let zero = || Operand::Number(Number::Whole(0), DType::I64);
        let positive = binary(py, Binary::Compare(Comparison::Greater), Operand::Theirs(self), zero())?;
        // A difference, as minus zero has none.
        let negative = binary(py, Binary::Add(MINUS_ONE), zero(), Operand::Theirs(self))?;
        choose(py, &positive, self, &negative)
    }

    fn __ifloordiv__(&self, py: Python<'_>, other: &Bound<'_, PyAny>) -> PyResult<()> {
        assign(py, Binary::FloorDivide, self, other)
    }

    fn __imod__(&self, py: Python<'_>, other: &Bound<'_, PyAny>) -> PyResult<()> {
        assign(py, Binary::Remainder, self, other)
    }

    fn __pos__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __iadd__(&self, py: Python<'_>, other: &Bound<'_, PyAny>) -> PyResult<()> {
        assign(py, Binary::Add(ONE), self, other)
    }

    fn __isub__(&self, py: Python<'_>, other: &Bound<'_, PyAny>) -> PyResult<()> {
        assign(py, Binary::Add(MINUS_ONE), self, other)
    }

    fn __imul__(&self, py: Python<'_>, other: &Bound<'_, PyAny>) -> PyResult<()> {
        assign(py, Binary::Mul, self, other)
    }

    fn __itruediv__(&self, py: Python<'_>, other: &Bound<'_, PyAny>) -> PyResult<()> {
        assign(py, Binary::Div, self, other)
    }

    fn __richcmp__<'py>(
        &self,
        py: Python<'py>,
        other: &Bound<'py, PyAny>,
        op: CompareOp,
    ) -> PyResult<Bound<'py, PyAny>> {
        let comparison = match op {
            CompareOp::Lt => Comparison::Less,
            CompareOp::Le => Comparison::LessEqual,
            CompareOp::Eq => Comparison::Equal,
            CompareOp::Ne => Comparison::NotEqual,
            CompareOp::Gt => Comparison::Greater,
            CompareOp::Ge => Comparison::GreaterEqual,
        };
        operator(py, Binary::Compare(comparison), self, other, false)
    }

    fn __hash__(slf: &Bound<'_, Self>) -> isize {
        // The object's own, as torch's: equality is of elements.
        slf.as_ptr() as isize >> 4
    }

    /// Adds `other`, `alpha` times, in place.
    #[pyo3(signature = (other, *, alpha=None))]
    fn add_<'py>(
        slf: Bound<'py, Self>,
        other: &Bound<'py, PyAny>,
        alpha: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, Self>> {
        let alpha = alpha.map_or(Ok(ONE), |alpha| number("alpha", alpha))?;
        assign(slf.py(), Binary::Add(alpha), slf.get(), other)?;
        Ok(slf)
    }

    /// Subtracts `other` in place.
    fn sub_<'py>(slf: Bound<'py, Self>, other: &Bound<'py, PyAny>) -> PyResult<Bound<'py, Self>> {
        assign(slf.py(), Binary::Add(MINUS_ONE), slf.get(), other)?;
        Ok(slf)
    }

    /// Multiplies by `other` in place.
    fn mul_<'py>(slf: Bound<'py, Self>, other: &Bound<'py, PyAny>) -> PyResult<Bound<'py, Self>> {
        assign(slf.py(), Binary::Mul, slf.get(), other)?;
        Ok(slf)
    }

    /// Divides by `other` in place.
    fn div_<'py>(slf: Bound<'py, Self>, other: &Bound<'py, PyAny>) -> PyResult<Bound<'py, Self>> {
        assign(slf.py(), Binary::Div, slf.get(), other)?;
        Ok(slf)
    }

    /// Makes every element `value`.
    fn fill_<'py>(slf: Bound<'py, Self>, value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, Self>> {
        let value = number("value", value)?;
        slf.get().check_writable()?;
        slf.get().fill(slf.py(), value)?;
        Ok(slf)
    }

    /// Makes every element 0.
    fn zero_(slf: Bound<'_, Self>) -> PyResult<Bound<'_, Self>> {
        slf.get().check_writable()?;
        slf.get().fill(slf.py(), Number::Whole(0))?;
        Ok(slf)
    }

    /// Takes the elements of `source`, which is broadcast and converted, in place.
    fn copy_<'py>(slf: Bound<'py, Self>, source: &Bound<'py, PyAny>) -> PyResult<Bound<'py, Self>> {
        let all = pyo3::types::PyEllipsis::get(slf.py()).to_owned().into_any();
        slf.get().set(slf.py(), &all, source)?;
        Ok(slf)
    }

    /// A view in another shape where the strides allow it, else a copy. One size may be -1.
    #[pyo3(name = "reshape", signature = (*shape))]
    fn py_reshape(&self, py: Python<'_>, shape: &Bound<'_, PyTuple>) -> PyResult<Self> {
        self.reshape(py, &sizes("shape", shape)?)
    }

    /// A view that repeats dimensions of size 1, and has new ones in front; -1 leaves a size as it is.
    ///
    /// Raises ValueError for a size that is another than a dimension's own, which is not 1. What is repeated lies in memory
    /// once: to change one is to change all.
    #[pyo3(name = "expand", signature = (*shape))]
    fn py_expand(&self, shape: &Bound<'_, PyTuple>) -> PyResult<Self> {
        let mut sizes = sizes("shape", shape)?;
        let own = self.sizes();
        let refused = |sizes: &[i64]| {
            PyValueError::new_err(format!(
                "a tensor of shape {} cannot be expanded to {}",
                super::shape(own),
                super::shape(sizes)
            ))
        };
        let asked = sizes.clone();
        let Some(new) = sizes.len().checked_sub(own.len()) else {
            return Err(refused(&asked));
        };
        for (size, &own) in sizes[new..].iter_mut().zip(own) {
            if *size == -1 {
                *size = own;
            }
        }
        contiguous(&sizes)?;
        self.expand(&sizes).ok_or_else(|| refused(&asked))
    }

    /// A view in another shape. Raises ValueError where the strides do not allow one.
    #[pyo3(signature = (*shape))]
    fn view(&self, shape: &Bound<'_, PyTuple>) -> PyResult<Self> {
        let sizes = self.infer(&sizes("shape", shape)?)?;
        self.try_view(&sizes)?.ok_or_else(|| {
            PyValueError::new_err(format!(
                "no view of shape {} has these strides; reshape makes a copy",
                super::shape(&sizes)
            ))
        })
    }

    /// A view with two dimensions in each other's place.
    #[pyo3(name = "transpose")]
    fn py_transpose(&self, dim0: i64, dim1: i64) -> PyResult<Self> {
        self.transpose(dim0, dim1)
    }

    /// A view with the dimensions in another order.
    #[pyo3(name = "permute", signature = (*dims))]
    fn py_permute(&self, dims: &Bound<'_, PyTuple>) -> PyResult<Self> {
        self.permute(&sizes("dims", dims)?)
    }

    /// A view with the dimensions the other way round.
    #[getter]
    #[pyo3(name = "T")]
    fn turned(&self) -> PyResult<Self> {
        let dims: Vec<i64> = (0..self.sizes().len() as i64).rev().collect();
        self.permute(&dims)
    }

    /// The transpose of a matrix; other tensors of less than two dimensions are as they are.
    fn t(&self) -> PyResult<Self> {
        if self.sizes().len() > 2 {
            return Err(PyValueError::new_err(format!(
                "t() is for up to two dimensions, not {}; use transpose",
                self.sizes().len()
            )));
        }
        self.turned()
    }

    /// A view without the dimensions of size 1: all of them, or `dim`.
    #[pyo3(name = "squeeze", signature = (dim=None))]
    fn py_squeeze(&self, dim: Option<i64>) -> PyResult<Self> {
        self.squeeze(dim)
    }

    /// A view with a dimension of size 1 at `dim`.
    #[pyo3(name = "unsqueeze")]
    fn py_unsqueeze(&self, dim: i64) -> PyResult<Self> {
        self.unsqueeze(dim)
    }

    /// A view of one dimension where the strides allow it, else a copy.
    fn flatten(&self, py: Python<'_>) -> PyResult<Self> {
        self.reshape(py, &[-1])
    }

    /// This tensor if its elements lie row by row without gaps, else a copy that does.
    #[pyo3(name = "contiguous")]
    fn py_contiguous(slf: Bound<'_, Self>) -> PyResult<Bound<'_, Self>> {
        if slf.get().by_rows() {
            return Ok(slf);
        }
        Bound::new(slf.py(), slf.get().copied(slf.py())?)
    }

    /// A copy.
    #[pyo3(name = "clone")]
    fn py_clone(&self, py: Python<'_>) -> PyResult<Self> {
        self.copied(py)
    }

    /// This tensor if it has this dtype, else a copy that has.
    fn to<'py>(slf: Bound<'py, Self>, dtype: &Bound<'py, PyAny>) -> PyResult<Bound<'py, Self>> {
        let wanted = dtype::parse(dtype)?;
        if wanted == slf.get().dtype() {
            return Ok(slf);
        }
        Bound::new(slf.py(), slf.get().cast(slf.py(), wanted)?)
    }

    /// A copy with this dtype.
    fn astype(&self, py: Python<'_>, dtype: &Bound<'_, PyAny>) -> PyResult<Self> {
        let wanted = dtype::parse(dtype)?;
        if wanted == self.dtype() {
            self.copied(py)
        } else {
            self.cast(py, wanted)
        }
    }

    fn __copy__(&self) -> Self {
        self.clone()
    }

    fn __deepcopy__(&self, py: Python<'_>, _memo: &Bound<'_, PyAny>) -> PyResult<Self> {
        self.copied(py)
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let source = self.contiguous(py)?;
        let len = source.numel() * source.dtype().size();
        // SAFETY: the row-major elements, which live as long as `source`.
        let bytes = unsafe { std::slice::from_raw_parts(source.data(), len) };
        let make = py.get_type::<Self>().getattr("_from_bytes")?;
        let arguments = (PyBytes::new(py, bytes), self.dtype().name(), self.sizes().to_vec());
        (make, arguments).into_pyobject(py)
    }
}
