//! `torch.nn.functional.gelu`.

use crate::{
    dtype::{Target, View, ViewMut},
    float::Float,
    kernel::{Exec, Geometry, Kernel, Shape},
    ops::elementwise::{self, Function, number},
};

/// `x * Phi(x)`, or with the parameter `approximate` at 1 its approximation by tanh. Saves its input.
pub struct Gelu;

impl Kernel for Gelu {
    fn name(&self) -> &'static str {
        "gelu"
    }

    fn shape(&self) -> Shape {
        Shape::Pointwise
    }

    fn forward(&self, exec: &Exec, src: View, dst: Target, _: Geometry, numbers: &[f64]) {
        if by_tanh(numbers) {
            elementwise::forward(exec, src, dst, GeluTanh);
        } else {
            elementwise::forward(exec, src, dst, GeluErf);
        }
    }

    fn inplace(&self, exec: &Exec, buf: ViewMut, numbers: &[f64]) {
        if by_tanh(numbers) {
            elementwise::inplace(exec, buf, GeluTanh);
        } else {
            elementwise::inplace(exec, buf, GeluErf);
        }
    }

    fn backward(&self, exec: &Exec, grad: View, saved: View, dst: Target, _: Geometry, numbers: &[f64]) {
        if by_tanh(numbers) {
            elementwise::backward(exec, grad, saved, dst, GeluTanh);
        } else {
            elementwise::backward(exec, grad, saved, dst, GeluErf);
        }
    }
}

fn by_tanh(numbers: &[f64]) -> bool {
    number(numbers, 0, 0.0) != 0.0
}

#[derive(Clone, Copy)]
struct GeluErf;

impl Function for GeluErf {
    const NAME: &'static str = "gelu";
    const FLOPS: usize = 23;

    fn new(_: &[f64]) -> Self {
        Self
    }

    #[inline(always)]
    fn forward<F: Float>(self, x: F) -> F {
        x.gelu()
    }

    #[inline(always)]
    fn forward_half<F: Float>(self, x: F) -> F {
        x.gelu_half()
    }

    #[inline(always)]
    fn backward<F: Float>(self, grad: F, x: F) -> F {
        let (cdf, pdf) = x.normal_cdf_pdf();
        grad * x.mul_add(pdf, cdf)
    }
}

/// `x / 2 * (1 + tanh(u))` is `x * sigmoid(2 * u)`, with `u = sqrt(2 / pi) * (x + 0.044715 * x^3)`.
#[derive(Clone, Copy)]
struct GeluTanh;

/// `2 * sqrt(2 / pi)`.
const TWO_BETA: f64 = 1.595_769_121_605_730_7;
const KAPPA: f64 = 0.044715;

impl Function for GeluTanh {
    const NAME: &'static str = "gelu";
    const FLOPS: usize = 21;

    fn new(_: &[f64]) -> Self {
        Self
    }

    #[inline(always)]
    fn forward<F: Float>(self, x: F) -> F {
        x * (x * F::of(TWO_BETA) * (x * x).mul_add(F::of(KAPPA), F::of(1.0))).sigmoid()
    }

    #[inline(always)]
    fn backward<F: Float>(self, grad: F, x: F) -> F {
        let square = x * x;
        let (sigmoid, complement) = (x * F::of(TWO_BETA) * square.mul_add(F::of(KAPPA), F::of(1.0))).sigmoid_pair();
        let slope = square.mul_add(F::of(3.0 * KAPPA * TWO_BETA), F::of(TWO_BETA));
        grad * (x * slope * (sigmoid * complement) + sigmoid)
    }
}
