//! `torch.optim.SGD`.

use super::{Gradient, Optimizer, step};
use crate::{
    float::Float,
    kernel::{Exec, MAX_STATE, Parameter, StepKernel},
};

/// A step of stochastic gradient descent, with the state `momentum_buffer` where `momentum` is not 0, and the numbers
/// `weight_decay`, `momentum`, `lr`, `dampening`, `nesterov` and `maximize`; the latter two are 0 or 1.
///
/// The operations are those of torch's step on one tensor, in its order.
pub struct Sgd;

impl StepKernel for Sgd {
    fn name(&self) -> &'static str {
        "sgd"
    }

    fn accepts(&self, numbers: &[f64]) -> Result<[bool; MAX_STATE], &'static str> {
        match numbers {
            [_, momentum, ..] if numbers.len() == 6 => Ok([*momentum != 0.0, false, false]),
            _ => Err("not six numbers"),
        }
    }

    fn counts(&self) -> bool {
        false
    }

    fn step(&self, exec: &Exec, parameters: Vec<Parameter>, numbers: &[f64]) {
        let &[weight_decay, momentum, lr, dampening, nesterov, maximize] = numbers else {
            panic!("SGD has six numbers");
        };
        let settings = Settings {
            weight_decay,
            momentum,
            lr,
            dampening,
            nesterov: nesterov != 0.0,
            maximize: maximize != 0.0,
        };
        if momentum == 0.0 {
            step(exec, Plain(settings), parameters);
        } else {
            step(exec, settings, parameters);
        }
    }
}

#[derive(Clone, Copy)]
struct Settings {
    weight_decay: f64,
    momentum: f64,
    lr: f64,
    dampening: f64,
    nesterov: bool,
    maximize: bool,
}

#[derive(Clone, Copy)]
struct Constants<F> {
    gradient: Gradient<F>,
    momentum: F,
    undamped: F,
    nesterov: bool,
    size: F,
}

impl Optimizer<1> for Settings {
    const FLOPS: usize = 8;

    type Constants<F: Float> = Constants<F>;

    #[inline(always)]
    fn constants<F: Float>(self, _: f64, _: bool) -> Constants<F> {
        Constants {
            gradient: Gradient::new(self.maximize, self.weight_decay),
            momentum: F::of(self.momentum),
            undamped: F::of(1.0 - self.dampening),
            nesterov: self.nesterov,
            size: F::of(-self.lr),
        }
    }

    #[inline(always)]
    fn update<F: Float>(constants: Constants<F>, value: F, grad: F, [buffer]: [F; 1]) -> (F, [F; 1]) {
        let c = constants;
        let grad = c.gradient.of(value, grad);
        let buffer = grad.mul_add(c.undamped, buffer * c.momentum);
        let along = if c.nesterov {
            buffer.mul_add(c.momentum, grad)
        } else {
            buffer
        };
        (along.mul_add(c.size, value), [buffer])
    }
}

/// Without momentum.
#[derive(Clone, Copy)]
struct Plain(Settings);

impl Optimizer<0> for Plain {
    const FLOPS: usize = 4;

    type Constants<F: Float> = Constants<F>;

    #[inline(always)]
    fn constants<F: Float>(self, step: f64, half: bool) -> Constants<F> {
        self.0.constants(step, half)
    }

    #[inline(always)]
    fn update<F: Float>(constants: Constants<F>, value: F, grad: F, _: [F; 0]) -> (F, [F; 0]) {
        (constants.gradient.of(value, grad).mul_add(constants.size, value), [])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::optim::test::assert_step;

    #[test]
    fn is_as_in_double_precision() {
        for (weight_decay, momentum, dampening, nesterov, maximize) in [
            (0.0, 0.9, 0.0, 0.0, 0.0),
            (0.1, 0.9, 0.0, 1.0, 0.0),
            (0.1, 0.5, 0.3, 0.0, 1.0),
        ] {
            let lr = 0.05;
            let settings = [weight_decay, momentum, lr, dampening, nesterov, maximize];
            assert_step(&Sgd, &settings, [1.0], |value, grad, [buffer], _| {
                let grad = if maximize == 1.0 { -grad } else { grad } + weight_decay * value;
                let buffer = momentum * buffer + (1.0 - dampening) * grad;
                let along = if nesterov == 1.0 {
                    grad + momentum * buffer
                } else {
                    buffer
                };
                (value - lr * along, [buffer])
            });
        }
        assert_step(&Sgd, &[0.1, 0.0, 0.05, 0.0, 0.0, 1.0], [], |value, grad, [], _| {
            (value - 0.05 * (-grad + 0.1 * value), [])
        });
    }
}
