//! Memory of tensors: of our own, or another's that is kept alive.

use std::{
    alloc,
    ptr::NonNull,
    sync::{Arc, OnceLock},
};

use pyo3::{
    exceptions::{PyMemoryError, PyRuntimeError},
    prelude::*,
};
use rusttorch_core::isa::Isa;

use super::dlpack::Managed;

/// Bytes that memory of our own is aligned to: a cache line, and the widest register. Of a few elements it is what the
/// allocator does by itself, which is faster.
const ALIGNMENT: usize = 64;
const SMALL: usize = 1024;
const SMALL_ALIGNMENT: usize = 16;

/// Who frees the memory.
enum Owner {
    /// This crate, if there is any.
    Us(Option<alloc::Layout>),
    /// A Python object that it belongs to, such as a NumPy array.
    Object(#[allow(dead_code)] Py<PyAny>),
    /// Whoever exported it by DLPack.
    Managed(#[allow(dead_code)] Managed),
}

/// Memory that tensors share, freed with the last of them.
pub(crate) struct Storage {
    data: NonNull<u8>,
    /// Whether nobody may write to it.
    pub(crate) readonly: bool,
    owner: Owner,
}

// SAFETY: plain memory; what keeps it alive may be dropped on any thread. Races of reads and writes are the program's, as
// those of torch's and NumPy's arrays are.
unsafe impl Send for Storage {}
// SAFETY: as above.
unsafe impl Sync for Storage {}

/// Tensors that nothing could be done with are not made.
fn check_cpu() -> PyResult<()> {
    static USABLE: OnceLock<bool> = OnceLock::new();
    if *USABLE.get_or_init(|| Isa::detect().has_kernels()) {
        Ok(())
    } else {
        Err(PyRuntimeError::new_err(
            "explicit tensors need a CPU with AVX2 or AVX-512",
        ))
    }
}

impl Storage {
    /// New memory: zeros if it is `zeroed`, else to be written before it is read.
    pub(crate) fn new(bytes: usize, zeroed: bool) -> PyResult<Arc<Self>> {
        check_cpu()?;
        let failed = || PyMemoryError::new_err(format!("no memory for {bytes} bytes"));
        let mut storage = Self {
            data: NonNull::<u64>::dangling().cast(),
            readonly: false,
            owner: Owner::Us(None),
        };
        if bytes > 0 {
            let alignment = if bytes < SMALL { SMALL_ALIGNMENT } else { ALIGNMENT };
            let layout = alloc::Layout::from_size_align(bytes, alignment).map_err(|_| failed())?;
            // SAFETY: the size is not 0.
            let data = unsafe {
                if zeroed {
                    alloc::alloc_zeroed(layout)
                } else {
                    alloc::alloc(layout)
                }
            };
            storage.data = NonNull::new(data).ok_or_else(failed)?;
            storage.owner = Owner::Us(Some(layout));
        }
        Ok(Arc::new(storage))
    }

    /// Memory of `object`, which lives as long.
    pub(crate) fn of_object(data: *mut u8, readonly: bool, object: Py<PyAny>) -> PyResult<Arc<Self>> {
        Self::of(data, readonly, Owner::Object(object))
    }

    /// Memory that was exported.
    pub(crate) fn of_managed(data: *mut u8, readonly: bool, managed: Managed) -> PyResult<Arc<Self>> {
        Self::of(data, readonly, Owner::Managed(managed))
    }

    fn of(data: *mut u8, readonly: bool, owner: Owner) -> PyResult<Arc<Self>> {
        check_cpu()?;
        Ok(Arc::new(Self {
            data: NonNull::new(data).unwrap_or(NonNull::<u64>::dangling().cast()),
            readonly,
            owner,
        }))
    }

    /// Whether it is another library's.
    pub(crate) fn is_foreign(&self) -> bool {
        !matches!(self.owner, Owner::Us(_))
    }

    /// Its first byte.
    pub(crate) fn data(&self) -> *mut u8 {
        self.data.as_ptr()
    }
}

impl Drop for Storage {
    fn drop(&mut self) {
        if let Owner::Us(Some(layout)) = self.owner {
            // SAFETY: allocated with this layout, and nobody else has it.
            unsafe { alloc::dealloc(self.data.as_ptr(), layout) };
        }
    }
}
