//! `torch.nn.functional.group_norm`.

use super::channels::{Form, KEPT, backward, check, dims, forward, planes::Planes};
use crate::{
    dtype::{DType, Target, View},
    kernel::{Exec, MAX_OPERANDS, NaryKernel, Operand, Outline},
    layout::Layout,
};

/// Elements of a channel from which on each of them is worth a loop of its own, and of a tensor that is small anyway.
const LEAST: i64 = 16;
const SMALL: i64 = 1024;

/// `(x - mean) / sqrt(variance + eps) * weight + bias`, with mean and variance, that of a whole population, of groups of
/// the channels (dimension 1) of each sample, and a weight and a bias of each channel.
///
/// Operands: input, weight (ones), bias (zeros). Numbers: how many groups there are, `eps`. Saves the groups' means and
/// the reciprocals of their deviations.
pub struct GroupNorm;

fn form(input: Option<&Operand>, numbers: &[f64]) -> Form {
    let [outer, channels, inner] = dims(input.expect("there is an input").sizes);
    let groups = numbers[0] as usize;
    Form::Planes(Planes {
        channels,
        inner,
        groups: outer * groups,
        count: channels / groups,
        step: 1,
    })
}

impl NaryKernel for GroupNorm {
    fn name(&self) -> &'static str {
        "group_norm"
    }

    fn accepts(&self, _: DType, sizes: &[i64], numbers: &[f64]) -> Result<(), &'static str> {
        let [outer, channels, inner @ ..] = sizes else {
            return Err("no channels");
        };
        let (groups, inner) = (numbers[0] as i64, inner.iter().product::<i64>());
        if groups < 1 || groups as f64 != numbers[0] || channels % groups != 0 {
            return Err("groups that do not divide the channels");
        }
        if inner < LEAST && outer * channels * inner > SMALL {
            return Err("few values of a channel");
        }
        if outer * (channels / groups) * inner < 2 {
            return Err("one value of a group");
        }
        if numbers[1] > 0.0 {
            Ok(())
        } else {
            Err("eps that is not positive")
        }
    }

    fn outline(&self, operands: &[Option<Operand>], numbers: &[f64]) -> Result<Outline, &'static str> {
        let (input, dtype) = check(operands)?;
        Ok(Outline {
            result: Layout::contiguous(input.sizes).ok_or("too many dimensions")?,
            saved: (dtype.lane(), KEPT * input.sizes[0] as usize * numbers[0] as usize),
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
        let form = form(operands[0].as_ref(), numbers);
        forward(exec, operands, form, numbers[1], result, saved);
    }

    fn backward(
        &self,
        exec: &Exec,
        grad: View,
        operands: &[Option<Operand>],
        saved: View,
        gradients: [Option<Target>; MAX_OPERANDS],
        numbers: &[f64],
    ) {
        let form = form(operands[0].as_ref(), numbers);
        backward(exec, grad, operands, form, saved, gradients);
    }
}
