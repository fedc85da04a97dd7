//! What has an order: sorting, and the first few in order.

mod key;
mod libstdcxx;
mod radix;
pub mod sort;
pub mod topk;
