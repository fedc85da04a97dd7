//! The CPU kernels of `RustTorch`, without Python and without torch.
//!
//! Kernels take slices, run on the threads of the caller's [`parallel::Team`], and are compiled once for each
//! instruction set in [`isa`], which is chosen at run time. [`ops::KERNELS`] lists them; [`kernel::Kernel`] is what
//! they have in common. Kernels of several tensors or with random numbers, and optimizers' steps, have lists and traits
//! of their own.
//!
//! ```
//! use rusttorch_core::{isa::Isa, kernel::Exec, ops, parallel::Serial};
//!
//! let relu = ops::find("relu").unwrap();
//! let mut x = [-1.0_f32, 2.0, -0.5];
//! relu.inplace(&Exec::new(Isa::detect(), &Serial), (&mut x[..]).into(), &[]);
//! assert_eq!(x, [0.0, 2.0, 0.0]);
//! ```

pub mod chosen;
pub mod dtype;
pub mod float;
pub mod isa;
pub mod kernel;
pub mod layout;
pub mod math;
pub mod ops;
pub mod parallel;
pub mod random;
pub mod vector;
