//! Functions of libraries that the process has loaded.

use core::ffi::{CStr, c_char, c_int, c_void};
use std::{ffi::CString, ptr};

/// A loaded library.
#[derive(Clone, Copy)]
pub(crate) struct Library(*mut c_void);

impl Library {
    /// The library, if the process has loaded it under this name or path.
    pub(crate) fn loaded(name: &CStr) -> Option<Self> {
        // SAFETY: `name` is a C string; NOLOAD runs none of the library's code.
        let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOLOAD | libc::RTLD_LAZY) };
        (!handle.is_null()).then_some(Self(handle))
    }

    /// The loaded library whose file name begins with `prefix`.
    pub(crate) fn with_prefix(prefix: &str) -> Option<Self> {
        struct Search<'a> {
            prefix: &'a str,
            found: Option<CString>,
        }
        unsafe extern "C" fn visit(info: *mut libc::dl_phdr_info, _: libc::size_t, search: *mut c_void) -> c_int {
            // SAFETY: called by dl_iterate_phdr with a valid record and the pointer given below.
            let (search, name) = unsafe {
                let name: *const c_char = (*info).dlpi_name;
                (
                    &mut *search.cast::<Search>(),
                    if name.is_null() { c"" } else { CStr::from_ptr(name) },
                )
            };
            let text = name.to_string_lossy();
            if text
                .rsplit('/')
                .next()
                .is_some_and(|file| file.starts_with(search.prefix))
            {
                search.found = Some(name.to_owned());
                return 1;
            }
            0
        }
        let mut search = Search { prefix, found: None };
        // SAFETY: `visit` does not keep the pointer.
        unsafe { libc::dl_iterate_phdr(Some(visit), ptr::from_mut(&mut search).cast()) };
        Self::loaded(&search.found?)
    }

    /// The address of a symbol; of a thread-local one, the calling thread's.
    pub(crate) fn address(self, name: &CStr) -> Option<*mut c_void> {
        // SAFETY: the handle is a loaded library's, which is never unloaded.
        let address = unsafe { libc::dlsym(self.0, name.as_ptr()) };
        (!address.is_null()).then_some(address)
    }

    /// A function.
    ///
    /// # Safety
    /// `F` is the function pointer type of the symbol.
    pub(crate) unsafe fn function<F: Copy>(self, name: &CStr) -> Option<F> {
        const { assert!(size_of::<F>() == size_of::<*mut c_void>()) };
        // SAFETY: the caller's.
        self.address(name)
            .map(|address| unsafe { std::mem::transmute_copy::<*mut c_void, F>(&address) })
    }
}

// SAFETY: a handle may be used from any thread.
unsafe impl Send for Library {}
// SAFETY: as above.
unsafe impl Sync for Library {}
