//! What the targets check; the crate's tests check the same at random.

#[path = "../../tests/common/mod.rs"]
pub mod kernels;
#[path = "../../tests/common/layout.rs"]
pub mod layouts;
