//! The doors into a running `PyTorch`: its tensors, its threads, its allocator.
//!
//! Nothing is linked against libtorch and nothing of it is loaded: functions are looked up by name in the libraries
//! that `import torch` has brought in, the best tier first (see [`doors::Tier`]), and each is optional.

mod autocast;
pub mod decline;
pub mod doors;
pub mod generator;
pub mod memory;
pub mod state;
mod symbol;
pub mod team;
