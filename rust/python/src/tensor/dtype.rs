//! Element types as Python sees them.

use pyo3::{
    exceptions::PyTypeError,
    prelude::*,
    sync::PyOnceLock,
    types::{PyBool, PyDict, PyFloat, PyInt, PyString, PyType},
};
use rusttorch_core::dtype::DType;

/// An element type, such as ``rusttorch.float32``.
#[pyclass(frozen, eq, hash, name = "dtype", module = "rusttorch")]
#[derive(PartialEq, Eq, Hash)]
pub(crate) struct Dtype(DType);

#[pymethods]
impl Dtype {
    fn __repr__(&self) -> String {
        format!("rusttorch.{}", self.0.name())
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyAny>, (&'static str,))> {
        Ok((
            py.import("rusttorch._rusttorch")?.getattr("dtype_of")?,
            (self.0.name(),),
        ))
    }

    /// torch's name of it.
    #[getter]
    fn name(&self) -> &'static str {
        self.0.name()
    }

    /// Bytes of one element.
    #[getter]
    fn itemsize(&self) -> usize {
        self.0.size()
    }

    /// Whether its elements are floating-point numbers.
    #[getter]
    fn is_floating_point(&self) -> bool {
        self.0.is_float()
    }
}

static OBJECTS: PyOnceLock<Vec<Py<Dtype>>> = PyOnceLock::new();

/// The one object of an element type.
pub(crate) fn object(py: Python<'_>, dtype: DType) -> PyResult<&Py<Dtype>> {
    let objects = OBJECTS.get_or_try_init(py, || {
        DType::ALL
            .into_iter()
            .map(|dtype| Py::new(py, Dtype(dtype)))
            .collect::<PyResult<_>>()
    })?;
    Ok(&objects[dtype as usize])
}

/// Every element type, by name.
#[pyfunction]
pub(crate) fn dtypes(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let all = PyDict::new(py);
    for dtype in DType::ALL {
        all.set_item(dtype.name(), object(py, dtype)?)?;
    }
    Ok(all)
}

/// The element type that a name, or torch's or NumPy's object, stands for.
#[pyfunction]
pub(crate) fn dtype_of<'py>(dtype: &Bound<'py, PyAny>) -> PyResult<Bound<'py, Dtype>> {
    Ok(object(dtype.py(), parse(dtype)?)?.bind(dtype.py()).clone())
}

fn by_name(name: &str) -> Option<DType> {
    DType::ALL.into_iter().find(|dtype| dtype.name() == name)
}

/// From one of our types, a name, Python's `float`, `int` or `bool`, or torch's or NumPy's type.
pub(crate) fn parse(object: &Bound<'_, PyAny>) -> PyResult<DType> {
    let py = object.py();
    if let Ok(dtype) = object.cast::<Dtype>() {
        return Ok(dtype.get().0);
    }
    let found = if let Ok(name) = object.cast::<PyString>() {
        let name = name.to_string();
        by_name(name.rsplit('.').next().unwrap_or(&name))
    } else if let Ok(class) = object.cast::<PyType>() {
        if class.is(py.get_type::<PyFloat>()) {
            Some(DType::F64)
        } else if class.is(py.get_type::<PyInt>()) {
            Some(DType::I64)
        } else if class.is(py.get_type::<PyBool>()) {
            Some(DType::Bool)
        } else {
            by_name(&class.name()?.to_string())
        }
    } else {
        // torch's are written "torch.float32", NumPy's have a name, and an order of bytes.
        let name = object.str()?.to_string();
        by_name(name.strip_prefix("torch.").unwrap_or(&name))
    };
    found.ok_or_else(|| {
        let names = DType::ALL.map(DType::name).join(", ");
        PyTypeError::new_err(format!("dtype must be one of {names}, not {object}"))
    })
}

/// The type that `torch.promote_types` has for two others.
pub(crate) fn promote(a: DType, b: DType) -> DType {
    match (a.is_float(), b.is_float()) {
        (true, true) => a.common(b),
        (true, false) => a,
        (false, true) => b,
        (false, false) => match (a, b) {
            _ if a == b => a,
            (DType::Bool, other) | (other, DType::Bool) => other,
            (DType::U8, DType::I8) | (DType::I8, DType::U8) => DType::I16,
            (DType::U8, other) | (other, DType::U8) => other,
            _ if a.size() > b.size() => a,
            _ => b,
        },
    }
}

/// The type of two of which the first has dimensions, and the second has none, or is a number: it only counts where it is
/// of another kind.
pub(crate) fn promote_over(higher: DType, lower: DType) -> DType {
    if !higher.is_float() && (higher == DType::Bool || lower.is_float()) {
        promote(higher, lower)
    } else {
        higher
    }
}
