//! Operations along a dimension.

pub mod log_softmax;
pub mod logsumexp;
mod rows;
pub mod softmax;
