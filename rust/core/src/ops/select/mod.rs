//! What chooses elements, as many as turn out.

pub mod masked_select;
pub mod nonzero;
pub mod unique;
