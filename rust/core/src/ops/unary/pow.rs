//! `torch.pow` with a number as exponent.

use crate::{
    dtype::{Target, View, ViewMut},
    float::Float,
    kernel::{Exec, Geometry, Kernel, Shape},
    ops::elementwise::{self, Function, number},
};

/// `x` to the power `exponent` (2). Saves its input.
///
/// Squares and cubes are products, as in torch, and its other special exponents (1, -1, -2 and the square roots) quotients and
/// roots, which do not pay; those that are 0 or infinite in single precision are declined.
pub struct Pow;

/// Runs `$call` with the function that serves the exponent.
macro_rules! by_exponent {
    ($numbers:ident, $function:ident => $call:expr) => {
        match number($numbers, 0, 2.0) {
            2.0 => {
                let $function = Square;
                $call
            }
            3.0 => {
                let $function = Cube;
                $call
            }
            1.0 => {
                let $function = Halves::<2>;
                $call
            }
            0.5 => {
                let $function = Halves::<1>;
                $call
            }
            -0.5 => {
                let $function = Halves::<-1>;
                $call
            }
            -1.0 => {
                let $function = Halves::<-2>;
                $call
            }
            -2.0 => {
                let $function = Halves::<-4>;
                $call
            }
            exponent => {
                let $function = General { exponent };
                $call
            }
        }
    };
}

impl Kernel for Pow {
    fn name(&self) -> &'static str {
        "pow"
    }

    fn shape(&self) -> Shape {
        Shape::Pointwise
    }

    fn accepts(&self, _: Geometry, numbers: &[f64]) -> Result<(), &'static str> {
        let exponent = number(numbers, 0, 2.0);
        if !exponent.is_finite() {
            return Err("exponent that is not finite");
        }
        // `Float::powf` is not for these.
        if exponent as f32 == 0.0 || (exponent as f32).is_infinite() {
            return Err("exponent of 0, or beyond single precision");
        }
        Ok(())
    }

    fn pays(&self, _: Geometry, numbers: &[f64]) -> Result<(), &'static str> {
        if [1.0, -1.0, -2.0, 0.5, -0.5].contains(&number(numbers, 0, 2.0)) {
            return Err("exponent that stock torch treats apart");
        }
        Ok(())
    }

    fn forward(&self, exec: &Exec, src: View, dst: Target, _: Geometry, numbers: &[f64]) {
        by_exponent!(numbers, function => elementwise::forward(exec, src, dst, function));
    }

    fn inplace(&self, exec: &Exec, buf: ViewMut, numbers: &[f64]) {
        by_exponent!(numbers, function => elementwise::inplace(exec, buf, function));
    }

    fn backward(&self, exec: &Exec, grad: View, saved: View, dst: Target, _: Geometry, numbers: &[f64]) {
        by_exponent!(numbers, function => elementwise::backward(exec, grad, saved, dst, function));
    }
}

#[derive(Clone, Copy)]
struct Square;

impl Function for Square {
    const NAME: &'static str = "pow";
    const FLOPS: usize = 2;

    fn new(_: &[f64]) -> Self {
        Self
    }

    #[inline(always)]
    fn forward<F: Float>(self, x: F) -> F {
        x * x
    }

    #[inline(always)]
    fn backward<F: Float>(self, grad: F, x: F) -> F {
        grad * (F::of(2.0) * x)
    }
}

#[derive(Clone, Copy)]
struct Cube;

impl Function for Cube {
    const NAME: &'static str = "pow";
    const FLOPS: usize = 3;

    fn new(_: &[f64]) -> Self {
        Self
    }

    #[inline(always)]
    fn forward<F: Float>(self, x: F) -> F {
        x * x * x
    }

    #[inline(always)]
    fn backward<F: Float>(self, grad: F, x: F) -> F {
        grad * (F::of(3.0) * (x * x))
    }
}

/// An exponent of that many halves, of those for which there are quotients and roots.
#[derive(Clone, Copy)]
struct Halves<const COUNT: i8>;

impl<const COUNT: i8> Function for Halves<COUNT> {
    const NAME: &'static str = "pow";
    const FLOPS: usize = 12;

    fn new(_: &[f64]) -> Self {
        Self
    }

    #[inline(always)]
    fn forward<F: Float>(self, x: F) -> F {
        match COUNT {
            2 => x,
            1 => x.sqrt(),
            -1 => F::of(1.0) / x.sqrt(),
            -2 => F::of(1.0) / x,
            _ => F::of(1.0) / (x * x),
        }
    }

    #[inline(always)]
    fn backward<F: Float>(self, grad: F, x: F) -> F {
        let exponent = F::of(f64::from(COUNT) / 2.0);
        grad * match COUNT {
            2 => exponent,
            1 => exponent * (F::of(1.0) / x.sqrt()),
            -1 => exponent * x.powf(F::of(-1.5)),
            -2 => exponent * (F::of(1.0) / (x * x)),
            _ => exponent * x.powf(F::of(-3.0)),
        }
    }
}

#[derive(Clone, Copy)]
struct General {
    exponent: f64,
}

impl Function for General {
    const NAME: &'static str = "pow";
    const FLOPS: usize = 71;

    fn new(numbers: &[f64]) -> Self {
        Self {
            exponent: number(numbers, 0, 2.0),
        }
    }

    #[inline(always)]
    fn forward<F: Float>(self, x: F) -> F {
        x.powf(F::of(self.exponent))
    }

    #[inline(always)]
    fn forward_half<F: Float>(self, x: F) -> F {
        x.powf_half(F::of(self.exponent))
    }

    #[inline(always)]
    fn backward<F: Float>(self, grad: F, x: F) -> F {
        grad * (F::of(self.exponent) * x.powf(F::of(self.exponent - 1.0)))
    }
}
