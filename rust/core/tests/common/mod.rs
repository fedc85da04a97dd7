//! What is said about kernels, by the tests and by the fuzzer in `fuzz/`.

pub mod along;
pub mod index;
pub mod kernel;
pub mod nary;
pub mod number;
