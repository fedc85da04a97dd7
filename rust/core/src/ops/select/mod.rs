//! What chooses elements, as many as turn out.

pub mod bincount;
pub mod masked_select;
pub mod nonzero;
pub mod unique;
pub mod unique_consecutive;
