//! `torch.optim.RMSprop`.

use super::{Gradient, Lerp, Optimizer, SquareAverage, step};
use crate::{
    float::Float,
    kernel::{Exec, MAX_STATE, Parameter, StepKernel},
};

/// A step of `RMSprop`, with the state `square_avg`, `grad_avg` where it is `centered`, and `momentum_buffer` where
/// `momentum` is positive, and the numbers `lr`, `alpha`, `eps`, `weight_decay`, `momentum`, `centered` and
/// `maximize`; the latter two are 0 or 1.
///
/// T. Tieleman and G. Hinton, Lecture 6.5 of Neural networks for machine learning (2012); centered as in A. Graves,
/// Generating sequences with recurrent neural networks, <https://arxiv.org/abs/1308.0850>. The operations are those of
/// torch's step on one tensor, in its order.
pub struct Rmsprop;

impl StepKernel for Rmsprop {
    fn name(&self) -> &'static str {
        "rmsprop"
    }

    fn accepts(&self, numbers: &[f64]) -> Result<[bool; MAX_STATE], &'static str> {
        match numbers {
            &[_, _, _, _, momentum, centered, _] => Ok([true, centered != 0.0, momentum > 0.0]),
            _ => Err("not seven numbers"),
        }
    }

    fn counts(&self) -> bool {
        true
    }

    fn step(&self, exec: &Exec, parameters: Vec<Parameter>, numbers: &[f64]) {
        let &[lr, alpha, eps, weight_decay, momentum, centered, maximize] = numbers else {
            panic!("RMSprop has seven numbers");
        };
        let settings = Settings {
            lr,
            alpha,
            eps,
            weight_decay,
            momentum,
            maximize: maximize != 0.0,
        };
        match (centered != 0.0, momentum > 0.0) {
            (false, false) => step::<_, 1>(exec, Variant::<false, false>(settings), parameters),
            (true, false) => step::<_, 2>(exec, Variant::<true, false>(settings), parameters),
            (false, true) => step::<_, 2>(exec, Variant::<false, true>(settings), parameters),
            (true, true) => step::<_, 3>(exec, Variant::<true, true>(settings), parameters),
        }
    }
}

#[derive(Clone, Copy)]
struct Settings {
    lr: f64,
    alpha: f64,
    eps: f64,
    weight_decay: f64,
    momentum: f64,
    maximize: bool,
}

#[derive(Clone, Copy)]
struct Constants<F> {
    gradient: Gradient<F>,
    square: SquareAverage<F>,
    mean: Lerp<F>,
    eps: F,
    momentum: F,
    size: F,
}

impl Settings {
    #[inline(always)]
    fn constants<F: Float>(self) -> Constants<F> {
        Constants {
            gradient: Gradient::new(self.maximize, self.weight_decay),
            square: SquareAverage::new(self.alpha),
            mean: Lerp::new(1.0 - self.alpha),
            eps: F::of(self.eps),
            momentum: F::of(self.momentum),
            size: F::of(-self.lr),
        }
    }
}

impl<F: Float> Constants<F> {
    /// The new value and state; the mean and the buffer are used where they are kept.
    #[inline(always)]
    fn update(self, value: F, grad: F, square: F, mean: Option<F>, buffer: Option<F>) -> (F, F, F, F) {
        let grad = self.gradient.of(value, grad);
        let square = self.square.with(square, grad);
        let mean = mean.map(|mean| self.mean.between(mean, grad));
        let variance = mean.map_or(square, |mean| (-mean).mul_add(mean, square));
        let deviation = variance.sqrt() + self.eps;
        let mean = mean.unwrap_or_default();
        match buffer {
            Some(buffer) => {
                let buffer = buffer * self.momentum + grad / deviation;
                (buffer.mul_add(self.size, value), square, mean, buffer)
            }
            None => (value + self.size * grad / deviation, square, mean, F::default()),
        }
    }
}

/// Centered or not, with momentum or without.
#[derive(Clone, Copy)]
struct Variant<const CENTERED: bool, const MOMENTUM: bool>(Settings);

impl<const CENTERED: bool, const MOMENTUM: bool, const STATE: usize> Optimizer<STATE> for Variant<CENTERED, MOMENTUM> {
    const FLOPS: usize = 40;

    type Constants<F: Float> = Constants<F>;

    #[inline(always)]
    fn constants<F: Float>(self, _: f64, _: bool) -> Constants<F> {
        self.0.constants()
    }

    #[inline(always)]
    fn update<F: Float>(constants: Constants<F>, value: F, grad: F, mut state: [F; STATE]) -> (F, [F; STATE]) {
        let mean = if CENTERED { Some(state[1]) } else { None };
        let buffer = if MOMENTUM { Some(state[STATE - 1]) } else { None };
        let (value, square, mean, buffer) = constants.update(value, grad, state[0], mean, buffer);
        state[0] = square;
        if CENTERED {
            state[1] = mean;
        }
        if MOMENTUM {
            state[STATE - 1] = buffer;
        }
        (value, state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::optim::test::assert_step;

    const LR: f64 = 0.05;
    const ALPHA: f64 = 0.9;
    const EPS: f64 = 0.1;

    /// With a weight decay of 0.1, maximizing: the new value, square, mean and buffer.
    fn truth(value: f64, grad: f64, square: f64, mean: Option<f64>, buffer: Option<f64>) -> [f64; 4] {
        let grad = 0.1 * value - grad;
        let square = ALPHA * square + (1.0 - ALPHA) * grad * grad;
        let mean = mean.map(|mean| ALPHA * mean + (1.0 - ALPHA) * grad);
        let along = grad / ((square - mean.map_or(0.0, |mean| mean * mean)).sqrt() + EPS);
        let along = buffer.map_or(along, |buffer| 0.8 * buffer + along);
        [value - LR * along, square, mean.unwrap_or(0.0), along]
    }

    #[test]
    fn is_as_in_double_precision() {
        let settings = |momentum, centered| [LR, ALPHA, EPS, 0.1, momentum, centered, 1.0];
        assert_step(&Rmsprop, &settings(0.0, 0.0), [1.0], |value, grad, [square], _| {
            let [value, square, ..] = truth(value, grad, square, None, None);
            (value, [square])
        });
        assert_step(
            &Rmsprop,
            &settings(0.8, 0.0),
            [1.0; 2],
            |value, grad, [square, buffer], _| {
                let [value, square, _, buffer] = truth(value, grad, square, None, Some(buffer));
                (value, [square, buffer])
            },
        );
        // A mean that begins at zero, whose square is less than the average of squares.
        assert_step(
            &Rmsprop,
            &settings(0.0, 1.0),
            [1.0, 0.0],
            |value, grad, [square, mean], _| {
                let [value, square, mean, _] = truth(value, grad, square, Some(mean), None);
                (value, [square, mean])
            },
        );
        let all = [1.0, 0.0, 1.0];
        assert_step(
            &Rmsprop,
            &settings(0.8, 1.0),
            all,
            |value, grad, [square, mean, buffer], _| {
                let [value, square, mean, buffer] = truth(value, grad, square, Some(mean), Some(buffer));
                (value, [square, mean, buffer])
            },
        );
    }
}
