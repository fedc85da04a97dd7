//! The CPU kernels of `RustTorch`, without Python and without torch.
//!
//! [`ops`] lists the operations by kind, and finds them by torch's names; [`kernel`] has what each kind has in common.
//! Kernels take slices, run on the threads of the caller's [`parallel::Team`], and are compiled once for each
//! instruction set in [`isa`], which is chosen at run time. A result has the same bits whichever that is, and with any
//! number of threads.
//!
//! Every kernel can be called in two ways. [`call`] has calls that check what they are given, and make their results:
//!
//! ```
//! use rusttorch_core::{kernel::{Exec, Geometry}, ops};
//!
//! let softmax = ops::find("softmax").unwrap();
//! let y = softmax.apply(&Exec::default(), &[1.0_f32; 8], Geometry::rows(2, 4), &[])?;
//! assert_eq!(y, [0.25; 8]);
//! # Ok::<(), &str>(())
//! ```
//!
//! The methods of the traits in [`kernel`] write to memory of the caller's, or in place, and panic where that does not fit:
//!
//! ```
//! use rusttorch_core::{isa::Isa, kernel::Exec, ops, parallel::Serial};
//!
//! let relu = ops::find("relu").unwrap();
//! let mut x = [-1.0_f32, 2.0, -0.5];
//! relu.inplace(&Exec::new(Isa::detect(), &Serial), (&mut x[..]).into(), &[]);
//! assert_eq!(x, [0.0, 2.0, 0.0]);
//! ```
//!
//! The parameters of an operation are `numbers`, in the order of the documentation of its kernel.

pub mod call;
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

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
