//! Elementary functions.

pub mod erf;
pub mod exp;
pub mod log;
pub mod pow;
