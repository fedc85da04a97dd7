//! Tensors to and from NumPy, torch and Python's lists.

use pyo3::{
    exceptions::{PyBufferError, PyTypeError, PyValueError},
    prelude::*,
    sync::PyOnceLock,
    types::{PyBool, PyDict, PyList, PyTuple},
};
use rusttorch_core::{dtype::DType, layout::Layout, ops::arithmetic::Number};

use super::{Tensor, dlpack, dtype::parse, storage::Storage, team::notice_torch};

/// NumPy's sign of this machine's order of bytes.
const ORDER: &str = if cfg!(target_endian = "little") { "<" } else { ">" };

/// NumPy's code of an element type but for the order of bytes: the letter of its kind, and its bytes.
fn code(dtype: DType) -> Option<&'static str> {
    Some(match dtype {
        DType::F32 => "f4",
        DType::F64 => "f8",
        DType::F16 => "f2",
        DType::I64 => "i8",
        DType::I32 => "i4",
        DType::I16 => "i2",
        DType::I8 => "i1",
        DType::U8 => "u1",
        DType::Bool => "b1",
        DType::Bf16 => return None,
    })
}

/// The module of that name, if the program has imported it.
pub(super) fn loaded<'py>(py: Python<'py>, name: &Bound<'py, pyo3::types::PyString>) -> Option<Bound<'py, PyAny>> {
    static MODULES: PyOnceLock<Py<PyDict>> = PyOnceLock::new();
    let modules = MODULES
        .get_or_try_init(py, || {
            let modules = py.import("sys")?.getattr("modules")?;
            Ok::<_, PyErr>(modules.cast_into::<PyDict>()?.unbind())
        })
        .ok()?;
    modules
        .bind(py)
        .get_item(name)
        .ok()
        .flatten()
        .filter(|module| !module.is_none())
}

/// Whether it is an array of NumPy.
pub(super) fn is_numpy(object: &Bound<'_, PyAny>) -> bool {
    let py = object.py();
    loaded(py, pyo3::intern!(py, "numpy"))
        .and_then(|numpy| numpy.getattr(pyo3::intern!(py, "ndarray")).ok())
        .is_some_and(|class| object.is_instance(&class).unwrap_or(false))
}

/// The tensor that it is, or that shares the memory of the array that it is; none of other objects.
pub(super) fn tensor_of(object: &Bound<'_, PyAny>) -> PyResult<Option<Tensor>> {
    if let Ok(tensor) = object.cast::<Tensor>() {
        return Ok(Some(tensor.get().clone()));
    }
    is_numpy(object).then(|| from_numpy(object)).transpose()
}

/// Whether it is a tensor of torch.
pub(super) fn is_torch(object: &Bound<'_, PyAny>) -> bool {
    let py = object.py();
    let found = loaded(py, pyo3::intern!(py, "torch"))
        .and_then(|torch| torch.getattr(pyo3::intern!(py, "Tensor")).ok())
        .is_some_and(|class| object.is_instance(&class).unwrap_or(false));
    if found {
        notice_torch();
    }
    found
}

/// A tensor of an array's memory, which lives as long.
pub(super) fn from_numpy(array: &Bound<'_, PyAny>) -> PyResult<Tensor> {
    let py = array.py();
    if !is_numpy(array) {
        return Err(PyTypeError::new_err(format!(
            "from_numpy: expected a numpy.ndarray, not {}; numpy.asarray makes one",
            array.get_type().name()?
        )));
    }
    let interface = array.getattr(pyo3::intern!(py, "__array_interface__"))?;
    let interface = interface.cast::<PyDict>()?;
    let item = |name| {
        interface
            .get_item(name)?
            .ok_or_else(|| PyTypeError::new_err("from_numpy: an array without an interface"))
    };
    let typestr: String = item("typestr")?.extract()?;
    let (order, kind) = typestr.split_at_checked(1).unwrap_or_default();
    let known = DType::ALL.into_iter().find(|&dtype| code(dtype) == Some(kind));
    let dtype = known.filter(|_| ["|", ORDER].contains(&order));
    let dtype = dtype.ok_or_else(|| {
        let its = array
            .getattr("dtype")
            .map_or_else(|_| typestr.clone(), |dtype| dtype.to_string());
        let fix = if known.is_some() {
            "its bytes are in the other order: array.astype(array.dtype.newbyteorder('='))"
        } else {
            "array.astype makes one of float16, float32, float64, int8, int16, int32, int64, uint8 or bool"
        };
        PyTypeError::new_err(format!("from_numpy: arrays of {its} are not taken; {fix}"))
    })?;
    let sizes: Vec<i64> = item("shape")?.extract()?;
    let (address, readonly): (usize, bool) = item("data")?.extract()?;
    let data = address as *mut u8;
    let strides = item("strides")?;
    let layout = if strides.is_none() {
        Layout::contiguous(&sizes)
    } else {
        let strides: Vec<i64> = strides.extract()?;
        let size = dtype.size() as i64;
        if strides
            .iter()
            .zip(&sizes)
            .any(|(&stride, &count)| stride % size != 0 && count > 1)
        {
            return Err(PyValueError::new_err(
                "from_numpy: strides that are no whole elements; pass a copy: array.copy()",
            ));
        }
        Layout::new(&sizes, &strides.iter().map(|stride| stride / size).collect::<Vec<_>>())
    };
    let layout = layout
        .ok_or_else(|| PyValueError::new_err("from_numpy: an array of more than 12 dimensions; reshape it first"))?;
    Tensor::check_foreign("from_numpy", &layout, data, dtype)?;
    let storage = Storage::of_object(data, readonly, array.clone().unbind())?;
    Ok(Tensor::new(storage, data, dtype, layout))
}

/// A tensor of a torch tensor's memory, which lives as long.
pub(super) fn from_torch(tensor: &Bound<'_, PyAny>) -> PyResult<Tensor> {
    let py = tensor.py();
    if !is_torch(tensor) {
        return Err(PyTypeError::new_err(format!(
            "from_torch: expected a torch.Tensor, not {}",
            tensor.get_type().name()?
        )));
    }
    let kind = |name| {
        tensor
            .getattr(name)
            .and_then(|value| value.str())
            .map(|value| value.to_string())
    };
    let device = tensor
        .getattr(pyo3::intern!(py, "device"))?
        .getattr(pyo3::intern!(py, "type"))?;
    if device.ne("cpu")? {
        return Err(PyTypeError::new_err(format!(
            "from_torch: the tensor is on {device}, and only the CPU's memory is taken; pass tensor.cpu()"
        )));
    }
    let layout = kind("layout")?;
    if layout != "torch.strided" {
        return Err(PyTypeError::new_err(format!(
            "from_torch: the tensor's layout is {layout}; pass tensor.to_dense()"
        )));
    }
    if tensor.getattr(pyo3::intern!(py, "requires_grad"))?.is_truthy()? {
        return Err(PyBufferError::new_err(
            "from_torch: the tensor requires a gradient, which would be lost; pass tensor.detach()",
        ));
    }
    if tensor.call_method0(pyo3::intern!(py, "is_neg"))?.is_truthy()?
        || tensor.call_method0(pyo3::intern!(py, "is_conj"))?.is_truthy()?
    {
        return Err(PyTypeError::new_err(
            "from_torch: the tensor is a negative or conjugate view; pass tensor.resolve_neg().resolve_conj()",
        ));
    }
    let its = tensor.getattr(pyo3::intern!(py, "dtype"))?;
    let dtype = parse(&its).map_err(|_| {
        PyTypeError::new_err(format!(
            "from_torch: tensors of {its} are not taken; tensor.to makes one of a dtype that is, such as torch.float32"
        ))
    })?;
    let sizes: Vec<i64> = tensor.getattr(pyo3::intern!(py, "shape"))?.extract()?;
    let strides: Vec<i64> = tensor.call_method0(pyo3::intern!(py, "stride"))?.extract()?;
    let address: usize = tensor.call_method0(pyo3::intern!(py, "data_ptr"))?.extract()?;
    let layout = Layout::new(&sizes, &strides)
        .ok_or_else(|| PyValueError::new_err("from_torch: a tensor of more than 12 dimensions; reshape it first"))?;
    let data = address as *mut u8;
    if address == 0 && layout.numel() > 0 {
        return Err(PyTypeError::new_err(
            "from_torch: the tensor has no memory of its own, such as a fake one",
        ));
    }
    Tensor::check_foreign("from_torch", &layout, data, dtype)?;
    let storage = Storage::of_object(data, false, tensor.clone().unbind())?;
    Ok(Tensor::new(storage, data, dtype, layout))
}

impl Tensor {
    /// NumPy's array interface, version 3.
    pub(super) fn array_interface<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let code = code(self.dtype()).ok_or_else(|| {
            PyTypeError::new_err("NumPy has no bfloat16; convert first: tensor.to(\"float32\").numpy()")
        })?;
        let size = self.dtype().size() as i64;
        let interface = PyDict::new(py);
        interface.set_item("version", 3)?;
        interface.set_item("typestr", format!("{}{code}", if size == 1 { "|" } else { ORDER }))?;
        interface.set_item("shape", PyTuple::new(py, self.sizes())?)?;
        let strides = self.layout().strides().iter().map(|stride| stride * size);
        interface.set_item("strides", PyTuple::new(py, strides.collect::<Vec<_>>())?)?;
        interface.set_item("data", (self.data() as usize, self.storage().readonly))?;
        Ok(interface)
    }
}

/// A NumPy array of a tensor's memory.
pub(super) fn to_numpy<'py>(tensor: &Bound<'py, Tensor>) -> PyResult<Bound<'py, PyAny>> {
    static ASARRAY: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let py = tensor.py();
    // First, as NumPy itself takes any error for another protocol to try.
    if tensor.get().dtype() == DType::Bf16 {
        tensor.get().array_interface(py)?;
    }
    let asarray = ASARRAY.get_or_try_init(py, || Ok::<_, PyErr>(py.import("numpy")?.getattr("asarray")?.unbind()))?;
    asarray.bind(py).call1((tensor,))
}

/// A torch tensor of a tensor's memory.
pub(super) fn to_torch<'py>(tensor: &Bound<'py, Tensor>) -> PyResult<Bound<'py, PyAny>> {
    static FROM_DLPACK: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let py = tensor.py();
    let from_dlpack = FROM_DLPACK.get_or_try_init(py, || {
        let module = py.import("torch.utils.dlpack")?;
        notice_torch();
        Ok::<_, PyErr>(module.getattr("from_dlpack")?.unbind())
    })?;
    let capsule = dlpack::export(py, tensor.get(), false)?;
    from_dlpack.bind(py).call1((capsule,))
}

/// The elements, in lists of lists, or a number.
pub(super) fn tolist<'py>(py: Python<'py>, tensor: &Tensor) -> PyResult<Bound<'py, PyAny>> {
    let Some((&size, inner)) = tensor.sizes().split_first() else {
        return item(py, tensor);
    };
    let list = PyList::empty(py);
    let layout = Layout::new(inner, &tensor.layout().strides()[1..]).ok_or_else(|| super::too_large(inner))?;
    let step = tensor.layout().strides()[0] as usize * tensor.dtype().size();
    for index in 0..size as usize {
        let row = Tensor::new(
            tensor.storage().clone(),
            tensor.data().wrapping_add(index * step),
            tensor.dtype(),
            layout,
        );
        list.append(tolist(py, &row)?)?;
    }
    Ok(list.into_any())
}

/// The only element, as a number of Python.
pub(super) fn item<'py>(py: Python<'py>, tensor: &Tensor) -> PyResult<Bound<'py, PyAny>> {
    if tensor.numel() != 1 {
        return Err(PyValueError::new_err(format!(
            "only a tensor of one element is a number; this one has {}",
            tensor.numel()
        )));
    }
    Ok(match tensor.first()? {
        Number::Whole(truth) if tensor.dtype() == DType::Bool => PyBool::new(py, truth != 0).to_owned().into_any(),
        Number::Whole(number) => number.into_pyobject(py)?.into_any(),
        Number::Real(number) => number.into_pyobject(py)?.into_any(),
    })
}
