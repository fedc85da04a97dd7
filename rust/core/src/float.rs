//! What kernels compute in: [`f32`] and [`f64`], with the vectorizable functions of [`crate::math`].

use core::ops::{Add, AddAssign, Div, Mul, Neg, Sub};

use crate::math;

/// A floating-point type that kernels compute in.
///
/// Comparisons are written with `if`: the compiler turns them into blends, and a NaN takes the `else`.
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
    /// Whether it is plus or minus infinity.
    fn is_infinite(self) -> bool;
    /// The exponential.
    fn exp(self) -> Self;
    /// The exponential of a number that is not large, within 1.1 ulp in `f32`.
    fn exp_fast(self) -> Self;
    /// What [`exp_raised`](Self::exp_raised) multiplies by: raised, the exponentials are normal numbers, so that a
    /// result computed from them is rounded once.
    const RAISE: Self;
    /// `RAISE * exp(x)` for `x <= 0`, within 1.1 ulp in `f32`.
    fn exp_raised(self) -> Self;
    /// `exp(x) - 1`.
    fn expm1(self) -> Self;
    /// The natural logarithm.
    fn ln(self) -> Self;
    /// The hyperbolic tangent.
    fn tanh(self) -> Self;
    /// The error function.
    fn erf(self) -> Self;
    /// `1 / (1 + exp(-x))`.
    fn sigmoid(self) -> Self;
    /// `1 / (1 + exp(-x))` and `1 / (1 + exp(x))`, which add up to 1 and are both without cancellation.
    fn sigmoid_pair(self) -> (Self, Self);
    /// `ln(1 + exp(x))`.
    fn softplus(self) -> Self;
    /// The standard normal distribution function.
    fn normal_cdf(self) -> Self;
    /// The standard normal distribution function and density.
    fn normal_cdf_pdf(self) -> (Self, Self);
    /// `tanh(ln(1 + e^x))`, and `e^x` and `e^x (e^x + 2)`, these from where the first is 1 as there.
    fn tanh_softplus(self) -> (Self, Self, Self);
    /// `self` to the power `y`.
    fn powf(self, y: Self) -> Self;

    /// The larger of two numbers, a NaN in `self` being lost.
    #[inline(always)]
    fn larger(self, other: Self) -> Self {
        if self > other { self } else { other }
    }
}

macro_rules! float {
    ($float:ident, $exp:path, $exp_fast:path, $raise:expr, $exp_raised:path, $expm1:path, $ln:path, $tanh:path, $erf:path, $sigmoid:path,
     $sigmoid_pair:path, $softplus:path, $cdf:path, $cdf_pdf:path, $tanh_softplus:path, $pow:path) => {
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
            fn is_infinite(self) -> bool {
                $float::is_infinite(self)
            }
            #[inline(always)]
            fn exp(self) -> Self {
                $exp(self)
            }
            #[inline(always)]
            fn exp_fast(self) -> Self {
                $exp_fast(self)
            }
            const RAISE: Self = $raise;

            #[inline(always)]
            fn exp_raised(self) -> Self {
                $exp_raised(self)
            }
            #[inline(always)]
            fn expm1(self) -> Self {
                $expm1(self)
            }
            #[inline(always)]
            fn ln(self) -> Self {
                $ln(self)
            }
            #[inline(always)]
            fn tanh(self) -> Self {
                $tanh(self)
            }
            #[inline(always)]
            fn erf(self) -> Self {
                $erf(self)
            }
            #[inline(always)]
            fn sigmoid(self) -> Self {
                $sigmoid(self)
            }
            #[inline(always)]
            fn sigmoid_pair(self) -> (Self, Self) {
                $sigmoid_pair(self)
            }
            #[inline(always)]
            fn softplus(self) -> Self {
                $softplus(self)
            }
            #[inline(always)]
            fn normal_cdf(self) -> Self {
                $cdf(self)
            }
            #[inline(always)]
            fn normal_cdf_pdf(self) -> (Self, Self) {
                $cdf_pdf(self)
            }
            #[inline(always)]
            fn tanh_softplus(self) -> (Self, Self, Self) {
                $tanh_softplus(self)
            }
            #[inline(always)]
            fn powf(self, y: Self) -> Self {
                $pow(self, y)
            }
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
    math::f32::exp,
    math::fast::exp_fast_f32,
    math::fast::RAISE,
    math::fast::exp_raised_f32,
    math::f32::expm1,
    math::f32::ln,
    math::f32::tanh,
    math::f32::erf,
    math::fast::sigmoid_f32,
    math::fast::sigmoid_pair_f32,
    math::f32::softplus,
    math::fast::normal_cdf_f32,
    math::fast::normal_cdf_pdf_f32,
    math::fast::tanh_softplus_f32,
    math::f32::pow
);
float!(
    f64,
    math::f64::exp,
    math::f64::exp,
    1.0,
    math::f64::exp,
    math::f64::expm1,
    math::f64::ln,
    math::f64::tanh,
    math::f64::erf,
    math::f64::sigmoid,
    sigmoid_pair_f64,
    math::f64::softplus0,
    math::f64::normal_cdf,
    math::f64::normal_cdf_pdf,
    tanh_softplus_f64,
    math::f64::pow
);
