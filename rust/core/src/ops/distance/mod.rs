//! How far vectors are from one another.

pub mod cdist;
