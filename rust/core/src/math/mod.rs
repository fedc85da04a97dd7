//! Elementary functions, branch-free so that loops over them vectorize.
//!
//! Every function is ordinary scalar code: no branches, tables, library calls or float-to-integer casts. Called in a
//! loop inside an [`Isa::run`](crate::isa::Isa::run) program, it becomes packed instructions; passed around as a value
//! it does not, unless as a closure marked `#[inline(always)]`. All of them give the same bits on every instruction
//! set, take NaN to NaN, and are right for subnormal arguments and results.
//!
//! The [`mod@f32`] functions other than the logarithms, `softplus` and `pow` compute in `f64` lanes: the wider significand
//! replaces the compensated arithmetic that a `f32` result needs, at the same number of instructions and with a single
//! rounding.

// Special values are compared exactly; `&` and `|` leave no branches.
#![allow(clippy::float_cmp, clippy::needless_bitwise_bool)]

mod erf;
mod exp;
pub mod fast;
mod lane;
mod log;
mod normal;
mod pow;
pub mod row_exp;
mod sigmoid;
mod softplus;
mod tanh;
#[cfg(test)]
mod test;

/// Elementary functions of `f32`.
pub mod f32 {
    pub use super::erf::{erf_f32 as erf, erf_half_f32 as erf_half};
    pub use super::exp::exp_f32 as exp;
    pub use super::log::{ln_1p_f32 as ln_1p, ln_f32 as ln, ln_half_f32 as ln_half};
    pub use super::pow::{pow_f32 as pow, pow_half_f32 as pow_half};
    pub use super::softplus::softplus_f32 as softplus;
    pub use super::tanh::tanh_f32 as tanh;
}

/// Elementary functions of `f64`.
pub mod f64 {
    pub use super::erf::erf_f64 as erf;
    pub use super::exp::{exp_f64 as exp, exp_term_f64 as exp_term, expm1_below_f64 as expm1_below};
    pub use super::log::{ln_1p_f64 as ln_1p, ln_f64 as ln, ln_sum_f64 as ln_sum};
    pub use super::normal::{gelu_f64 as gelu, normal_cdf_f64 as normal_cdf, normal_cdf_pdf_f64 as normal_cdf_pdf};
    pub use super::pow::pow_f64 as pow;
    pub use super::sigmoid::{sigmoid_f64 as sigmoid, softplus0_f64 as softplus0};
    pub use super::tanh::tanh_f64 as tanh;
}
