//! DLPack, <https://dmlc.github.io/dlpack/latest/>: how arrays of other libraries are exchanged without a copy.

use std::{
    ffi::{CStr, c_void},
    ptr::{self, NonNull},
    sync::Arc,
};

use pyo3::{
    exceptions::{PyBufferError, PyTypeError, PyValueError},
    ffi,
    prelude::*,
    types::{PyCapsule, PyDict},
};
use rusttorch_core::{dtype::DType, layout::Layout};

use super::{Tensor, storage::Storage};

/// `kDLCPU`.
const CPU: i32 = 1;
/// The version of the protocol that we speak.
const VERSION: [u32; 2] = [1, 0];
/// `DLPACK_FLAG_BITMASK_READ_ONLY`.
const READ_ONLY: u64 = 1;

const NAMES: [(&CStr, &CStr); 2] = [
    (c"dltensor_versioned", c"used_dltensor_versioned"),
    (c"dltensor", c"used_dltensor"),
];

#[repr(C)]
struct DlTensor {
    data: *mut c_void,
    device_type: i32,
    device_id: i32,
    ndim: i32,
    code: u8,
    bits: u8,
    lanes: u16,
    shape: *mut i64,
    strides: *mut i64,
    byte_offset: u64,
}

/// `DLManagedTensor`.
#[repr(C)]
struct Unversioned {
    tensor: DlTensor,
    context: *mut c_void,
    deleter: Option<unsafe extern "C" fn(*mut Unversioned)>,
}

/// `DLManagedTensorVersioned`.
#[repr(C)]
struct Versioned {
    version: [u32; 2],
    context: *mut c_void,
    deleter: Option<unsafe extern "C" fn(*mut Versioned)>,
    flags: u64,
    tensor: DlTensor,
}

/// A tensor that another library exported, and deletes when it is dropped.
pub(crate) enum Managed {
    Unversioned(NonNull<c_void>),
    Versioned(NonNull<c_void>),
}

impl Drop for Managed {
    fn drop(&mut self) {
        // SAFETY: the exporter's structure, which is ours since its capsule was renamed, and its own deleter.
        unsafe {
            match self {
                Self::Unversioned(managed) => {
                    let managed = managed.cast::<Unversioned>();
                    if let Some(deleter) = managed.as_ref().deleter {
                        deleter(managed.as_ptr());
                    }
                }
                Self::Versioned(managed) => {
                    let managed = managed.cast::<Versioned>();
                    if let Some(deleter) = managed.as_ref().deleter {
                        deleter(managed.as_ptr());
                    }
                }
            }
        }
    }
}

/// DLPack's code and bits of an element type.
fn code(dtype: DType) -> (u8, u8) {
    let code = match dtype {
        DType::I64 | DType::I32 | DType::I16 | DType::I8 => 0,
        DType::U8 => 1,
        DType::F32 | DType::F64 | DType::F16 => 2,
        DType::Bf16 => 4,
        DType::Bool => 6,
    };
    (code, 8 * dtype.size() as u8)
}

/// What an export owns.
struct Export {
    storage: Arc<Storage>,
    sizes: Vec<i64>,
    strides: Vec<i64>,
}

impl Export {
    fn of(tensor: &Tensor) -> Self {
        Self {
            storage: Arc::clone(tensor.storage()),
            sizes: tensor.layout().sizes().to_vec(),
            strides: tensor.layout().strides().to_vec(),
        }
    }

    fn describe(&mut self, tensor: &Tensor) -> DlTensor {
        let (code, bits) = code(tensor.dtype());
        DlTensor {
            data: tensor.data().cast(),
            device_type: CPU,
            device_id: 0,
            ndim: self.sizes.len() as i32,
            code,
            bits,
            lanes: 1,
            shape: self.sizes.as_mut_ptr(),
            strides: self.strides.as_mut_ptr(),
            byte_offset: 0,
        }
    }
}

/// Lets an export go, of which this is called once. Consumers may do so on any thread, and without the GIL where `PyO3`
/// believes that it is held: torch lets it go while it frees a tensor, so it is asked for anew.
///
/// # Safety
/// The context is one that [`export`] has made.
unsafe fn drop_export(context: *mut c_void) {
    // SAFETY: the caller's; the GIL may be asked for with or without it, as long as Python runs.
    unsafe {
        let export = Box::from_raw(context.cast::<Export>());
        if !export.storage.is_foreign() {
            drop(export);
        } else if ffi::Py_IsInitialized() == 0 {
            std::mem::forget(export);
        } else {
            let state = ffi::PyGILState_Ensure();
            drop(export);
            ffi::PyGILState_Release(state);
        }
    }
}

unsafe extern "C" fn delete_unversioned(managed: *mut Unversioned) {
    // SAFETY: made in `export`, and deleted once, by the protocol.
    unsafe { drop_export(Box::from_raw(managed).context) };
}

unsafe extern "C" fn delete_versioned(managed: *mut Versioned) {
    // SAFETY: as above.
    unsafe { drop_export(Box::from_raw(managed).context) };
}

/// What becomes of a capsule that nobody has taken.
unsafe extern "C" fn drop_capsule(capsule: *mut ffi::PyObject) {
    // SAFETY: called with the capsule; a name that is still its first says that nobody has taken its contents.
    unsafe {
        if ffi::PyCapsule_IsValid(capsule, NAMES[0].0.as_ptr()) != 0 {
            delete_versioned(ffi::PyCapsule_GetPointer(capsule, NAMES[0].0.as_ptr()).cast());
        } else if ffi::PyCapsule_IsValid(capsule, NAMES[1].0.as_ptr()) != 0 {
            delete_unversioned(ffi::PyCapsule_GetPointer(capsule, NAMES[1].0.as_ptr()).cast());
        }
    }
}

/// A capsule of a tensor's memory, which it keeps alive; `versioned` where the other side knows that.
pub(crate) fn export<'py>(py: Python<'py>, tensor: &Tensor, versioned: bool) -> PyResult<Bound<'py, PyAny>> {
    let readonly = tensor.storage().readonly;
    if readonly && !versioned {
        return Err(PyBufferError::new_err(
            "the tensor's memory is read-only, which this consumer would not respect; export a copy: tensor.clone()",
        ));
    }
    let mut export = Box::new(Export::of(tensor));
    let described = export.describe(tensor);
    let context = Box::into_raw(export).cast();
    let (pointer, name): (*mut c_void, _) = if versioned {
        let managed = Box::new(Versioned {
            version: VERSION,
            context,
            deleter: Some(delete_versioned),
            flags: if readonly { READ_ONLY } else { 0 },
            tensor: described,
        });
        (Box::into_raw(managed).cast(), NAMES[0].0)
    } else {
        let managed = Box::new(Unversioned {
            tensor: described,
            context,
            deleter: Some(delete_unversioned),
        });
        (Box::into_raw(managed).cast(), NAMES[1].0)
    };
    // SAFETY: the pointer is not null, the name lives for ever, and the destructor knows both.
    unsafe {
        let capsule = ffi::PyCapsule_New(pointer, name.as_ptr(), Some(drop_capsule));
        Bound::from_owned_ptr_or_err(py, capsule)
    }
}

/// A tensor of the memory of an object that has `__dlpack__`, or of a capsule that this has made.
pub(crate) fn import(object: &Bound<'_, PyAny>) -> PyResult<Tensor> {
    let py = object.py();
    if object.cast::<PyCapsule>().is_ok() {
        return open(object);
    }
    let Ok(method) = object.getattr(pyo3::intern!(py, "__dlpack__")) else {
        return Err(PyTypeError::new_err(format!(
            "from_dlpack: expected an object with __dlpack__, not {}",
            object.get_type().name()?
        )));
    };
    let (kind, _): (i64, i64) = object.call_method0(pyo3::intern!(py, "__dlpack_device__"))?.extract()?;
    if kind != i64::from(CPU) {
        return Err(PyBufferError::new_err(format!(
            "from_dlpack: the memory is on device type {kind}, and only the CPU's is taken; copy it there first"
        )));
    }
    let words = PyDict::new(py);
    words.set_item("max_version", (VERSION[0], VERSION[1]))?;
    let capsule = match method.call((), Some(&words)) {
        Err(error) if error.is_instance_of::<PyTypeError>(py) => method.call0()?,
        other => other?,
    };
    open(&capsule)
}

/// Takes what a capsule holds.
fn open(capsule: &Bound<'_, PyAny>) -> PyResult<Tensor> {
    let pointer = capsule.as_ptr();
    // SAFETY: the names are those of the protocol, which says what is behind them; the capsule is renamed, so that it is ours.
    let (managed, tensor, readonly) = unsafe {
        let take = |(name, used): (&CStr, &CStr)| {
            if ffi::PyCapsule_IsValid(pointer, name.as_ptr()) == 0 {
                return None;
            }
            let held = NonNull::new(ffi::PyCapsule_GetPointer(pointer, name.as_ptr()))?;
            (ffi::PyCapsule_SetName(pointer, used.as_ptr()) == 0).then_some(held)
        };
        if let Some(held) = take(NAMES[0]) {
            let versioned = held.cast::<Versioned>().as_ref();
            if versioned.version[0] > VERSION[0] {
                drop(Managed::Versioned(held));
                return Err(PyBufferError::new_err("from_dlpack: a later version of the protocol"));
            }
            (
                Managed::Versioned(held),
                ptr::from_ref(&versioned.tensor),
                versioned.flags & READ_ONLY != 0,
            )
        } else if let Some(held) = take(NAMES[1]) {
            let tensor = ptr::from_ref(&held.cast::<Unversioned>().as_ref().tensor);
            (Managed::Unversioned(held), tensor, false)
        } else {
            return Err(PyValueError::new_err(
                "from_dlpack: the capsule holds no tensor, or one that was taken before",
            ));
        }
    };
    // SAFETY: it lives as long as `managed`, and its arrays are as long as it says.
    let (tensor, sizes, strides) = unsafe {
        let tensor = &*tensor;
        let array = |pointer: *const i64| {
            if pointer.is_null() || tensor.ndim == 0 {
                &[][..]
            } else {
                std::slice::from_raw_parts(pointer, tensor.ndim as usize)
            }
        };
        (tensor, array(tensor.shape), array(tensor.strides))
    };
    if tensor.device_type != CPU {
        return Err(PyBufferError::new_err(
            "from_dlpack: only memory of the CPU is taken; copy it there first",
        ));
    }
    let dtype = DType::ALL
        .into_iter()
        .find(|&dtype| code(dtype) == (tensor.code, tensor.bits) && tensor.lanes == 1)
        .ok_or_else(|| {
            PyTypeError::new_err(format!(
                "from_dlpack: elements of code {} and {} bits have no dtype here; convert them first",
                tensor.code, tensor.bits
            ))
        })?;
    let layout = if strides.is_empty() {
        Layout::contiguous(sizes)
    } else {
        Layout::new(sizes, strides)
    };
    let layout =
        layout.ok_or_else(|| PyBufferError::new_err("from_dlpack: more dimensions or elements than are taken"))?;
    let data = tensor.data.cast::<u8>().wrapping_add(tensor.byte_offset as usize);
    Tensor::check_foreign("from_dlpack", &layout, data, dtype)?;
    Ok(Tensor::new(
        Storage::of_managed(data, readonly, managed)?,
        data,
        dtype,
        layout,
    ))
}
