//! The allocator policy: large blocks are kept and used again, where glibc by default gives each back to the system and
//! has the next one paged in anew.

/// Bytes of freed memory that glibc keeps at the top of its heap when nothing else is said: what its dynamic threshold
/// grows to.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const DEFAULT_TRIM: i32 = 64 << 20;
/// As above, for the size from which a block is mapped.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const DEFAULT_MMAP: i32 = 32 << 20;
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const DEFAULT_MMAP_MAX: i32 = 65_536;

/// Whether malloc is glibc's own, so that the policy has something to act on.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub fn available() -> bool {
    use crate::symbol::Library;

    // Under a preloaded allocator, malloc is another library's than mallopt.
    let Some(libc) = Library::loaded(c"libc.so.6") else {
        return false;
    };
    // SAFETY: RTLD_DEFAULT looks the symbol up as the program would.
    let malloc = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"malloc".as_ptr()) };
    libc.address(c"malloc") == Some(malloc)
}

/// Keeps freed memory, up to `bytes` at the top of the heap. Returns whether it was possible.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub fn keep(bytes: usize) -> bool {
    // mallopt takes an int, and reads a threshold of -1 as "never".
    let threshold = i32::try_from(bytes).unwrap_or(-1);
    // SAFETY: mallopt is thread-safe and only sets parameters.
    available()
        && unsafe { libc::mallopt(libc::M_MMAP_MAX, 0) == 1 && libc::mallopt(libc::M_TRIM_THRESHOLD, threshold) == 1 }
}

/// Back to glibc's defaults; gives free memory back to the system.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub fn restore() {
    if available() {
        // SAFETY: as above.
        unsafe {
            libc::mallopt(libc::M_MMAP_MAX, DEFAULT_MMAP_MAX);
            libc::mallopt(libc::M_MMAP_THRESHOLD, DEFAULT_MMAP);
            libc::mallopt(libc::M_TRIM_THRESHOLD, DEFAULT_TRIM);
        }
        trim();
    }
}

/// Gives free memory back to the system.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub fn trim() {
    // SAFETY: malloc_trim is thread-safe.
    unsafe { libc::malloc_trim(0) };
}

/// Bytes that malloc holds and nobody uses.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub fn kept() -> usize {
    use crate::symbol::Library;

    // mallinfo2 came with glibc 2.33.
    // SAFETY: the type is the one that the C header declares.
    let info = Library::loaded(c"libc.so.6")
        .and_then(|libc| unsafe { libc.function::<unsafe extern "C" fn() -> libc::mallinfo2>(c"mallinfo2") });
    // SAFETY: a plain query.
    info.map_or(0, |info| unsafe { info() }.fordblks)
}

/// See the Linux form: elsewhere there is nothing to act on.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
mod elsewhere {
    /// Never.
    pub fn available() -> bool {
        false
    }
    /// Does nothing.
    pub fn keep(_: usize) -> bool {
        false
    }
    /// Does nothing.
    pub fn restore() {}
    /// Does nothing.
    pub fn trim() {}
    /// Nothing.
    pub fn kept() -> usize {
        0
    }
}
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub use elsewhere::*;
