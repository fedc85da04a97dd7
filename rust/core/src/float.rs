//! What kernels compute in: [`f32`] and [`f64`], with the vectorizable functions of [`crate::math`].

use core::ops::{Add, AddAssign, Div, Mul, Neg, Sub};

use crate::math;

/// A floating-point type that kernels compute in.
///
/// Comparisons are written with `if`: the compiler turns them into blends, and a NaN takes the `else`.
///
/// ```
/// use rusttorch_core::float::Float;
///
/// fn swish<F: Float>(x: F) -> F {
///     x / (F::of(1.0) + (-x).exp())
/// }
///
/// assert_eq!(swish(0.0_f32), 0.0);
/// assert!((swish(1.0_f64) - 0.731_058_578_630_004_9).abs() < 1e-15);
/// ```
pub trait Float:
    Copy
    + PartialOrd
    + Default
    + Send
    + Sync
    + Add<Output = Self>
    + AddAssign
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + 'static
{
    /// Minus infinity.
    const NEG_INFINITY: Self;

    /// `x`, rounded to this type.
    fn of(x: f64) -> Self;
    /// `self * a + b`, rounded once.
    fn mul_add(self, a: Self, b: Self) -> Self;
    /// The magnitude.
    fn abs(self) -> Self;
    /// The square root, rounded once.
    fn sqrt(self) -> Self;
    /// Whether it is plus or minus infinity.
    fn is_infinite(self) -> bool;
    /// The exponential.
    fn exp(self) -> Self;
    /// The exponential, within 2 ulp in `f32`.
    fn exp_any(self) -> Self;
    /// The exponential of a number that is not large, within 1 ulp in `f32`.
    fn exp_fast(self) -> Self;
    /// `alpha * (exp(x) - 1)` for `x <= 0`.
    fn expm1_below(self, alpha: Self) -> Self;
    /// The natural logarithm.
    fn ln(self) -> Self;
    /// The same for results of half precision.
    fn ln_half(self) -> Self;
    /// The natural logarithm of `1 + x`.
    fn ln_1p(self) -> Self;
    /// The hyperbolic tangent.
    fn tanh(self) -> Self;
    /// The hyperbolic tangent, within 4 ulp in `f32`.
    fn tanh_fast(self) -> Self;
    /// The error function.
    fn erf(self) -> Self;
    /// The same for results of half precision.
    fn erf_half(self) -> Self;
    /// `1 / (1 + exp(-x))`.
    fn sigmoid(self) -> Self;
    /// `1 / (1 + exp(-x))`, closer in `f32`, and slower.
    fn sigmoid_close(self) -> Self;
    /// `1 / (1 + exp(-x))` and `1 / (1 + exp(x))`, which add up to 1 and are both without cancellation.
    fn sigmoid_pair(self) -> (Self, Self);
    /// `ln(1 + exp(x))`.
    fn softplus(self) -> Self;
    /// `x` times the standard normal distribution function of `x`.
    fn gelu(self) -> Self;
    /// The same for results of half precision.
    fn gelu_half(self) -> Self;
    /// The standard normal distribution function and density.
    fn normal_cdf_pdf(self) -> (Self, Self);
    /// `tanh(ln(1 + e^x))`, and `e^x` and `e^x (e^x + 2)`, these from where the first is 1 as there.
    fn tanh_softplus(self) -> (Self, Self, Self);
    /// The largest integer that is not larger.
    fn floor(self) -> Self;
    /// What is left of a division that is cut off: of the sign of `self`.
    fn fmod(self, by: Self) -> Self;
    /// `self` to the power `y`, which is neither 0 nor NaN.
    fn powf(self, y: Self) -> Self;
    /// The same for results of half precision.
    fn powf_half(self, y: Self) -> Self;

    /// The larger of two numbers, a NaN in `self` being lost.
    #[inline(always)]
    fn larger(self, other: Self) -> Self {
        if self > other { self } else { other }
    }

    /// The smaller of two numbers, a NaN in `self` being lost.
    #[inline(always)]
    fn smaller(self, other: Self) -> Self {
        if self < other { self } else { other }
    }
}

/// Implements [`Float`] for a type: each function by its name.
macro_rules! float {
    ($float:ident, $($name:ident($($argument:ident)?) -> $result:ty = $function:path;)*) => {
        impl Float for $float {
            const NEG_INFINITY: Self = $float::NEG_INFINITY;

            #[inline(always)]
            fn of(x: f64) -> Self {
                x as $float
            }
            #[inline(always)]
            fn mul_add(self, a: Self, b: Self) -> Self {
                $float::mul_add(self, a, b)
            }
            #[inline(always)]
            fn abs(self) -> Self {
                $float::abs(self)
            }
            #[inline(always)]
            fn floor(self) -> Self {
                $float::floor(self)
            }
            #[inline(always)]
            fn fmod(self, by: Self) -> Self {
                self % by
            }
            #[inline(always)]
            fn sqrt(self) -> Self {
                $float::sqrt(self)
            }
            #[inline(always)]
            fn is_infinite(self) -> bool {
                $float::is_infinite(self)
            }
            $(
                #[inline(always)]
                fn $name(self $(, $argument: Self)?) -> $result {
                    $function(self $(, $argument)?)
                }
            )*
        }
    };
}

/// See [`math::fast::tanh_softplus_f32`].
#[inline(always)]
fn tanh_softplus_f64(x: f64) -> (f64, f64, f64) {
    let e = math::f64::exp(if x > 40.0 { 40.0 } else { x });
    let n = e * (e + 2.0);
    (n / (n + 2.0), e, n)
}

#[inline(always)]
fn sigmoid_pair_f64(x: f64) -> (f64, f64) {
    (math::f64::sigmoid(x), math::f64::sigmoid(-x))
}

float!(
    f32,
    exp() -> Self = math::f32::exp;
    exp_any() -> Self = math::fast::exp_any_f32;
    exp_fast() -> Self = math::fast::exp_fast_f32;
    expm1_below(alpha) -> Self = math::fast::expm1_below_f32;
    ln() -> Self = math::f32::ln;
    ln_half() -> Self = math::f32::ln_half;
    ln_1p() -> Self = math::f32::ln_1p;
    tanh() -> Self = math::f32::tanh;
    tanh_fast() -> Self = math::fast::tanh_fast_f32;
    erf() -> Self = math::f32::erf;
    erf_half() -> Self = math::f32::erf_half;
    sigmoid() -> Self = math::fast::sigmoid_f32;
    sigmoid_close() -> Self = math::fast::sigmoid_close_f32;
    sigmoid_pair() -> (Self, Self) = math::fast::sigmoid_pair_f32;
    softplus() -> Self = math::f32::softplus;
    gelu() -> Self = math::fast::gelu_f32;
    gelu_half() -> Self = math::fast::gelu_half_f32;
    normal_cdf_pdf() -> (Self, Self) = math::fast::normal_cdf_pdf_f32;
    tanh_softplus() -> (Self, Self, Self) = math::fast::tanh_softplus_f32;
    powf(y) -> Self = math::f32::pow;
    powf_half(y) -> Self = math::f32::pow_half;
);
float!(
    f64,
    exp() -> Self = math::f64::exp;
    exp_any() -> Self = math::f64::exp;
    exp_fast() -> Self = math::f64::exp;
    expm1_below(alpha) -> Self = math::f64::expm1_below;
    ln() -> Self = math::f64::ln;
    ln_half() -> Self = math::f64::ln;
    ln_1p() -> Self = math::f64::ln_1p;
    tanh() -> Self = math::f64::tanh;
    tanh_fast() -> Self = math::f64::tanh;
    erf() -> Self = math::f64::erf;
    erf_half() -> Self = math::f64::erf;
    sigmoid() -> Self = math::f64::sigmoid;
    sigmoid_close() -> Self = math::f64::sigmoid;
    sigmoid_pair() -> (Self, Self) = sigmoid_pair_f64;
    softplus() -> Self = math::f64::softplus0;
    gelu() -> Self = math::f64::gelu;
    gelu_half() -> Self = math::f64::gelu;
    normal_cdf_pdf() -> (Self, Self) = math::f64::normal_cdf_pdf;
    tanh_softplus() -> (Self, Self, Self) = tanh_softplus_f64;
    powf(y) -> Self = math::f64::pow;
    powf_half(y) -> Self = math::f64::pow;
);
