//! `torch.nn.functional.instance_norm` by the input's own statistics.

use super::channels::{Form, KEPT, accepts, backward, check, dims, forward, planes::Planes, settings};
use crate::{
    dtype::{DType, Target, View},
    kernel::{Exec, MAX_OPERANDS, NaryKernel, Operand, Outline},
    layout::Layout,
};

/// `(x - mean) / sqrt(variance + eps) * weight + bias` for each channel (dimension 1) of each sample, with the variance of
/// a whole population.
///
/// Operands: input, weight (ones), bias (zeros). Numbers: momentum, which is that of running statistics, and `eps`. Saves the means and the reciprocals of the deviations.
pub struct InstanceNorm;

fn form(input: Option<&Operand>) -> Form {
    let [outer, channels, inner] = dims(input.expect("there is an input").sizes);
    Form::Planes(Planes {
        channels,
        inner,
        groups: outer * channels,
        count: 1,
        step: 1,
    })
}

impl NaryKernel for InstanceNorm {
    fn name(&self) -> &'static str {
        "instance_norm"
    }

    fn accepts(&self, _: DType, sizes: &[i64], numbers: &[f64]) -> Result<(), &'static str> {
        let [_, _, inner @ ..] = sizes else {
            return Err("no channels");
        };
        if inner.iter().product::<i64>() < 2 {
            return Err("one value of a channel");
        }
        settings(numbers)?;
        accepts(sizes)
    }

    fn outline(&self, operands: &[Option<Operand>], numbers: &[f64]) -> Result<Outline, &'static str> {
        let (input, dtype) = check(operands)?;
        settings(numbers)?;
        Ok(Outline {
            result: Layout::contiguous(input.sizes).ok_or("too many dimensions")?,
            saved: (dtype.lane(), KEPT * (input.sizes[0] * input.sizes[1]) as usize),
        })
    }

    fn forward(
        &self,
        exec: &Exec,
        operands: &[Option<Operand>],
        result: Target,
        saved: Option<Target>,
        numbers: &[f64],
    ) {
        let (_, eps) = settings(numbers).expect("numbers that were accepted");
        forward(exec, operands, form(operands[0].as_ref()), eps, result, saved);
    }

    fn backward(
        &self,
        exec: &Exec,
        grad: View,
        operands: &[Option<Operand>],
        saved: View,
        gradients: [Option<Target>; MAX_OPERANDS],
        _: &[f64],
    ) {
        backward(exec, grad, operands, form(operands[0].as_ref()), saved, gradients);
    }
}
