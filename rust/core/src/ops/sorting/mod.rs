//! What has an order: sorting, the first few in order, elements of a rank, and the most frequent ones.

mod key;
pub mod kthvalue;
mod libstdcxx;
pub mod median;
pub mod mode;
mod order;
pub mod quantile;
mod quick_select;
mod radix;
pub mod sort;
pub mod topk;
