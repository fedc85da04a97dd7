//! Rows of a table, by their index.

pub mod embedding;
