//! `torch.optim.Adam` and `torch.optim.AdamW`.

use super::{Gradient, Lerp, Optimizer, SquareAverage, step};
use crate::{
    float::Float,
    kernel::{Exec, MAX_STATE, Parameter, StepKernel},
};

/// A step of Adam, with the state `exp_avg` and `exp_avg_sq`, and the numbers `beta1`, `beta2`, `lr`, `weight_decay`,
/// `eps`, `maximize` and `decoupled_weight_decay`; the latter two are 0 or 1.
///
/// D. Kingma and J. Ba, Adam: a method for stochastic optimization, <https://arxiv.org/abs/1412.6980>; with decoupled
/// weight decay it is `AdamW`, by I. Loshchilov and F. Hutter, <https://arxiv.org/abs/1711.05101>. The operations are
/// those of torch's step on one tensor, in its order.
pub struct Adam;

impl StepKernel for Adam {
    fn name(&self) -> &'static str {
        "adam"
    }

    fn accepts(&self, numbers: &[f64]) -> Result<[bool; MAX_STATE], &'static str> {
        let betas = numbers.get(..2).unwrap_or_default();
        if numbers.len() == 7 && betas.iter().all(|beta| (0.0..1.0).contains(beta)) {
            Ok([true, true, false])
        } else {
            Err("a beta is not between 0 and 1")
        }
    }

    fn counts(&self) -> bool {
        true
    }

    fn step(&self, exec: &Exec, parameters: Vec<Parameter>, numbers: &[f64]) {
        let &[beta1, beta2, lr, weight_decay, eps, maximize, decoupled] = numbers else {
            panic!("Adam has seven numbers");
        };
        let settings = Settings {
            beta1,
            beta2,
            lr,
            weight_decay,
            eps,
            maximize: maximize != 0.0,
            decoupled: decoupled != 0.0,
        };
        step(exec, settings, parameters);
    }
}

#[derive(Clone, Copy)]
struct Settings {
    beta1: f64,
    beta2: f64,
    lr: f64,
    weight_decay: f64,
    eps: f64,
    maximize: bool,
    decoupled: bool,
}

#[derive(Clone, Copy)]
struct Constants<F> {
    gradient: Gradient<F>,
    /// What decoupled weight decay leaves of a parameter.
    shrink: F,
    average: Lerp<F>,
    square: SquareAverage<F>,
    /// What the square root is divided by, before `eps` is added. Where it is not `divided`, `eps` and the size have been
    /// multiplied by this instead, which spares a division.
    root: F,
    divided: bool,
    eps: F,
    size: F,
}

impl Optimizer<2> for Settings {
    const FLOPS: usize = 40;

    type Constants<F: Float> = Constants<F>;

    #[inline(always)]
    fn constants<F: Float>(self, step: f64, half: bool) -> Constants<F> {
        let (shrink, penalty) = if self.decoupled {
            (1.0 - self.lr * self.weight_decay, 0.0)
        } else {
            (1.0, self.weight_decay)
        };
        let root = bias_correction(self.beta2, step).sqrt();
        let folded = if half { root } else { 1.0 };
        Constants {
            gradient: Gradient::new(self.maximize, penalty),
            shrink: F::of(shrink),
            average: Lerp::new(1.0 - self.beta1),
            square: SquareAverage::new(self.beta2),
            root: F::of(root),
            divided: !half,
            eps: F::of(self.eps * folded),
            size: F::of(-self.lr / bias_correction(self.beta1, step) * folded),
        }
    }

    #[inline(always)]
    fn update<F: Float>(constants: Constants<F>, value: F, grad: F, [average, square]: [F; 2]) -> (F, [F; 2]) {
        let c = constants;
        let grad = c.gradient.of(value, grad);
        let average = c.average.between(average, grad);
        let square = c.square.with(square, grad);
        let root = square.sqrt();
        let denominator = if c.divided { root / c.root } else { root } + c.eps;
        (value * c.shrink + c.size * average / denominator, [average, square])
    }
}

/// `1 - beta^step`, the correction of a running average that began at zero.
fn bias_correction(beta: f64, step: f64) -> f64 {
    1.0 - beta.powf(step)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::optim::test::assert_step;

    #[test]
    fn averages_must_decay() {
        let with = |beta1, beta2| Adam.accepts(&[beta1, beta2, 0.1, 0.0, 1e-8, 0.0, 0.0]);
        assert_eq!(with(0.0, 0.999), Ok([true, true, false]));
        for (beta1, beta2) in [(1.0, 0.9), (0.9, 1.0), (-0.1, 0.9), (f64::NAN, 0.9)] {
            assert!(with(beta1, beta2).is_err());
        }
        assert!(Adam.accepts(&[0.9, 0.9]).is_err());
    }

    #[test]
    fn is_as_in_double_precision() {
        for (beta1, weight_decay, maximize, decoupled) in [
            (0.9, 0.0, 0.0, 0.0),
            (0.9, 0.1, 0.0, 0.0),
            (0.9, 0.1, 0.0, 1.0),
            (0.3, 0.1, 1.0, 1.0),
            (0.0, 0.0, 1.0, 0.0),
        ] {
            let (beta2, lr, eps) = (0.99, 0.01, 1e-3);
            let settings = [beta1, beta2, lr, weight_decay, eps, maximize, decoupled];
            assert_step(&Adam, &settings, [1.0; 2], |value, grad, [average, square], step| {
                let grad = if maximize == 1.0 { -grad } else { grad };
                let (value, grad) = if decoupled == 1.0 {
                    (value * (1.0 - lr * weight_decay), grad)
                } else {
                    (value, grad + weight_decay * value)
                };
                let average = beta1 * average + (1.0 - beta1) * grad;
                let square = beta2 * square + (1.0 - beta2) * grad * grad;
                let (first, second) = (1.0 - f64::powf(beta1, step), 1.0 - f64::powf(beta2, step));
                let update = average / first / ((square / second).sqrt() + eps);
                (value - lr * update, [average, square])
            });
        }
    }
}
