//! The buffer protocol, <https://docs.python.org/3/c-api/buffer.html>, for `memoryview` and whatever else asks for it.
//!
//! Python's stable ABI has it from 3.11 on, and this crate is built for 3.10 as well: the protocol and what a type looks like
//! were the same before, so its functions are put in their place in the type by hand, if that looks as it should.

use std::{
    ffi::{CStr, c_char, c_int, c_ulong, c_void},
    ptr,
    sync::Arc,
};

use pyo3::{exceptions::PyBufferError, ffi, prelude::*};
use rusttorch_core::{dtype::DType, layout::Layout};

use super::{Tensor, storage::Storage};

/// `Py_buffer`.
#[repr(C)]
struct Buffer {
    data: *mut c_void,
    object: *mut ffi::PyObject,
    len: isize,
    itemsize: isize,
    readonly: c_int,
    ndim: c_int,
    format: *mut c_char,
    shape: *mut isize,
    strides: *mut isize,
    suboffsets: *mut isize,
    internal: *mut c_void,
}

/// What a consumer asks for: `PyBUF_WRITABLE` and so on.
const WRITABLE: c_int = 1;
const FORMAT: c_int = 4;
const SHAPE: c_int = 8;
const STRIDES: c_int = 0x10 | SHAPE;
const BY_ROWS: c_int = 0x20;
const BY_COLUMNS: c_int = 0x40;
const EITHER_WAY: c_int = 0x80;

/// What a buffer keeps until it is released.
struct Held {
    #[allow(dead_code)]
    storage: Arc<Storage>,
    shape: Vec<isize>,
    strides: Vec<isize>,
}

/// The code of an element type, as of Python's `struct`.
fn format(dtype: DType) -> Option<&'static CStr> {
    Some(match dtype {
        DType::F32 => c"f",
        DType::F64 => c"d",
        DType::F16 => c"e",
        DType::I64 if size_of::<std::ffi::c_long>() == 8 => c"l",
        DType::I64 => c"q",
        DType::I32 => c"i",
        DType::I16 => c"h",
        DType::I8 => c"b",
        DType::U8 => c"B",
        DType::Bool => c"?",
        DType::Bf16 => return None,
    })
}

/// Describes the memory, or says why it cannot be what is asked for.
fn describe(tensor: &Tensor, flags: c_int) -> Result<(Held, &'static CStr), &'static str> {
    let format =
        format(tensor.dtype()).ok_or("bfloat16 has no buffer format; convert first: tensor.to(\"float32\")")?;
    if flags & WRITABLE != 0 && tensor.storage().readonly {
        return Err("the tensor's memory is read-only");
    }
    let reversed = |numbers: &[i64]| numbers.iter().rev().copied().collect::<Vec<_>>();
    let by_rows = tensor.by_rows();
    let by_columns = Layout::new(&reversed(tensor.sizes()), &reversed(tensor.layout().strides()))
        .is_some_and(|layout| layout.is_contiguous());
    let fits = if flags & STRIDES != STRIDES || flags & BY_ROWS != 0 {
        by_rows
    } else if flags & BY_COLUMNS != 0 {
        by_columns
    } else {
        flags & EITHER_WAY == 0 || by_rows || by_columns
    };
    if !fits {
        return Err("the tensor is not contiguous, and the consumer takes no such strides: tensor.contiguous()");
    }
    let size = tensor.dtype().size() as isize;
    Ok((
        Held {
            storage: Arc::clone(tensor.storage()),
            shape: tensor.sizes().iter().map(|&size| size as isize).collect(),
            strides: tensor
                .layout()
                .strides()
                .iter()
                .map(|&stride| stride as isize * size)
                .collect(),
        },
        format,
    ))
}

unsafe extern "C" fn get(object: *mut ffi::PyObject, view: *mut Buffer, flags: c_int) -> c_int {
    // SAFETY: called by Python with the GIL held, a live tensor and a buffer to be filled.
    unsafe {
        let py = Python::assume_attached();
        (*view).object = ptr::null_mut();
        let bound = Bound::from_borrowed_ptr(py, object);
        let outcome = match bound.cast::<Tensor>() {
            Ok(tensor) => describe(tensor.get(), flags).map(|described| (tensor.get(), described)),
            Err(_) => Err("not a tensor"),
        };
        let (tensor, (held, format)) = match outcome {
            Ok(found) => found,
            Err(reason) => {
                PyBufferError::new_err(reason).restore(py);
                return -1;
            }
        };
        let mut held = Box::new(held);
        let wanted = |flag: c_int| flags & flag == flag;
        view.write(Buffer {
            data: tensor.data().cast(),
            object: bound.clone().into_ptr(),
            len: (tensor.numel() * tensor.dtype().size()) as isize,
            itemsize: tensor.dtype().size() as isize,
            readonly: c_int::from(tensor.storage().readonly),
            ndim: held.shape.len() as c_int,
            format: if wanted(FORMAT) {
                format.as_ptr().cast_mut()
            } else {
                ptr::null_mut()
            },
            shape: if wanted(SHAPE) {
                held.shape.as_mut_ptr()
            } else {
                ptr::null_mut()
            },
            strides: if wanted(STRIDES) {
                held.strides.as_mut_ptr()
            } else {
                ptr::null_mut()
            },
            suboffsets: ptr::null_mut(),
            internal: Box::into_raw(held).cast(),
        });
        0
    }
}

unsafe extern "C" fn release(_: *mut ffi::PyObject, view: *mut Buffer) {
    // SAFETY: a buffer that `get` has filled, released once.
    unsafe { drop(Box::from_raw((*view).internal.cast::<Held>())) };
}

type Get = unsafe extern "C" fn(*mut ffi::PyObject, *mut Buffer, c_int) -> c_int;
type Release = unsafe extern "C" fn(*mut ffi::PyObject, *mut Buffer);

/// `PyBufferProcs`.
#[repr(C)]
struct Functions {
    get: Option<Get>,
    release: Option<Release>,
}

/// Words of a type object before its representation, its functions of buffers, and its flags.
const REPRESENTATION: usize = 11;
const BUFFERS: usize = 20;
const FLAGS: usize = 21;

/// Gives the type of tensors the protocol, where Python's types look as they have since 3.9.
pub(crate) fn install(py: Python<'_>) {
    let class = py.get_type::<Tensor>();
    let object = class.as_ptr().cast::<ffi::PyTypeObject>();
    let words = object.cast::<usize>();
    // SAFETY: a type object has all of these words; two of them are compared with what the stable ABI says they are.
    unsafe {
        let representation = ffi::PyType_GetSlot(object, ffi::Py_tp_repr) as usize;
        let looks = representation != 0
            && words.add(REPRESENTATION).read() == representation
            && words.add(FLAGS).read() as c_ulong == ffi::PyType_GetFlags(object);
        let functions = words.add(BUFFERS).read() as *mut Functions;
        if looks && !functions.is_null() {
            functions.write(Functions {
                get: Some(get),
                release: Some(release),
            });
        }
    }
}
