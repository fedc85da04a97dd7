//! `torch.optim.Adagrad`.

use super::{Gradient, Optimizer, step};
use crate::{
    float::Float,
    kernel::{Exec, MAX_STATE, Parameter, StepKernel},
};

/// A step of Adagrad, with the state `state_sum`, and the numbers `lr`, `weight_decay`, `lr_decay`, `eps` and
/// `maximize`, the last 0 or 1.
///
/// J. Duchi, E. Hazan and Y. Singer, Adaptive subgradient methods for online learning and stochastic optimization,
/// <https://jmlr.org/papers/v12/duchi11a.html>. The operations are those of torch's step on one tensor, in its order.
pub struct Adagrad;

impl StepKernel for Adagrad {
    fn name(&self) -> &'static str {
        "adagrad"
    }

    fn accepts(&self, numbers: &[f64]) -> Result<[bool; MAX_STATE], &'static str> {
        match numbers {
            [_, _, lr_decay, ..] if numbers.len() == 5 && *lr_decay >= 0.0 => Ok([true, false, false]),
            _ => Err("lr_decay is negative"),
        }
    }

    fn counts(&self) -> bool {
        true
    }

    fn step(&self, exec: &Exec, parameters: Vec<Parameter>, numbers: &[f64]) {
        let &[lr, weight_decay, lr_decay, eps, maximize] = numbers else {
            panic!("Adagrad has five numbers");
        };
        let settings = Settings {
            lr,
            weight_decay,
            lr_decay,
            eps,
            maximize: maximize != 0.0,
        };
        step(exec, settings, parameters);
    }
}

#[derive(Clone, Copy)]
struct Settings {
    lr: f64,
    weight_decay: f64,
    lr_decay: f64,
    eps: f64,
    maximize: bool,
}

#[derive(Clone, Copy)]
struct Constants<F> {
    gradient: Gradient<F>,
    eps: F,
    size: F,
}

impl Optimizer<1> for Settings {
    const FLOPS: usize = 30;

    type Constants<F: Float> = Constants<F>;

    #[inline(always)]
    fn constants<F: Float>(self, step: f64, _: bool) -> Constants<F> {
        Constants {
            gradient: Gradient::new(self.maximize, self.weight_decay),
            eps: F::of(self.eps),
            size: F::of(-self.lr / (1.0 + (step - 1.0) * self.lr_decay)),
        }
    }

    #[inline(always)]
    fn update<F: Float>(constants: Constants<F>, value: F, grad: F, [sum]: [F; 1]) -> (F, [F; 1]) {
        let c = constants;
        let grad = c.gradient.of(value, grad);
        let sum = grad.mul_add(grad, sum);
        (value + c.size * grad / (sum.sqrt() + c.eps), [sum])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::optim::test::assert_step;

    #[test]
    fn is_as_in_double_precision() {
        for (weight_decay, lr_decay, maximize) in [(0.0, 0.0, 0.0), (0.1, 0.2, 1.0)] {
            let (lr, eps) = (0.05, 1e-3);
            assert_step(
                &Adagrad,
                &[lr, weight_decay, lr_decay, eps, maximize],
                [1.0],
                |value, grad, [sum], step| {
                    let grad = if maximize == 1.0 { -grad } else { grad } + weight_decay * value;
                    let sum = sum + grad * grad;
                    let size = lr / (1.0 + (step - 1.0) * lr_decay);
                    (value - size * grad / (sum.sqrt() + eps), [sum])
                },
            );
        }
    }

    #[test]
    fn the_rate_must_not_grow() {
        assert!(Adagrad.accepts(&[0.1, 0.0, -0.1, 1e-10, 0.0]).is_err());
    }
}
