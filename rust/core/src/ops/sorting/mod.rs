//! What has an order: sorting, the first few in order, and elements of a rank.

mod key;
pub mod kthvalue;
mod libstdcxx;
pub mod median;
mod order;
mod quick_select;
mod radix;
pub mod sort;
pub mod topk;
