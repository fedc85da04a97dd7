//! Stock torch's autocast on the CPU: what it makes of tensors.

use core::{ffi::c_void, mem::MaybeUninit};

use crate::symbol::Library;

/// Functions of `at::autocast`, `ATen/autocast_mode.h`, and what holds their result. Types and devices are torch's numbers
/// of them, a byte each.
#[derive(Clone, Copy)]
pub(crate) struct Autocast {
    /// `get_autocast_dtype(c10::DeviceType)`
    pub(crate) dtype: unsafe extern "C" fn(i8) -> i8,
    /// `cached_cast(at::ScalarType, const at::Tensor&, c10::DeviceType)`: the tensor, or it in another type. That of a
    /// parameter is kept until autocast ends.
    pub(crate) cast: unsafe extern "C" fn(i8, *mut c_void, i8) -> Returned,
    /// A new handle of no tensor; 0, or another number where there is none.
    pub(crate) handle: unsafe extern "C" fn(*mut *mut c_void) -> i32,
}

/// A tensor as C++ returns it, by memory of the caller's: Rust expects what has more than two words there, too. The first
/// one is the tensor, a pointer to its implementation.
#[repr(C)]
pub(crate) struct Returned(MaybeUninit<[*mut c_void; 3]>);

impl Returned {
    /// The pointer, with its reference.
    ///
    /// # Safety
    /// A function has returned this.
    pub(crate) unsafe fn tensor(self) -> *mut c_void {
        // SAFETY: the caller's; the first word is written.
        unsafe { *self.0.as_ptr().cast() }
    }
}

impl Autocast {
    /// Of torch's library, if it has them: torch >= 2.4.
    pub(crate) fn open(cpu: Library) -> Option<Self> {
        // SAFETY: the types are those that the mangled names and torch's headers say.
        unsafe {
            Some(Self {
                dtype: cpu.function(c"_ZN2at8autocast18get_autocast_dtypeEN3c1010DeviceTypeE")?,
                cast: cpu.function(c"_ZN2at8autocast11cached_castEN3c1010ScalarTypeERKNS_6TensorENS1_10DeviceTypeE")?,
                handle: cpu.function(c"aoti_torch_new_uninitialized_tensor")?,
            })
        }
    }
}
