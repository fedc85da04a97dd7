//! `torch.nn.functional.batch_norm` in training.

use super::channels::{Form, KEPT, accepts, backward, check, dims, forward, planes::Planes, settings, update};
use crate::{
    dtype::{DType, Target, View, ViewMut},
    kernel::{Elements, Exec, MAX_OPERANDS, NaryKernel, Operand, Outline},
    layout::Layout,
};

/// The places of the running statistics among the operands.
const MEAN: usize = 3;
const VARIANCE: usize = 4;

/// `(x - mean) / sqrt(variance + eps) * weight + bias` for each channel (dimension 1), with the variance of a whole
/// population.
///
/// Operands: input, weight (ones), bias (zeros), and the running mean and variance, which move towards those of the
/// channels, the variance to that of a sample. Numbers: momentum, by how much they move; `eps`. Saves the channels' means
/// and the reciprocals of their deviations.
pub struct BatchNorm;

/// How the channels lie in memory.
fn form(input: Option<&Operand>) -> Form {
    let input = input.expect("there is an input");
    let [outer, channels, inner] = dims(input.sizes);
    if inner == 1 || matches!(input.elements, Elements::ChannelsLast(_)) {
        return Form::Columns(channels);
    }
    Form::Planes(Planes {
        channels,
        inner,
        groups: channels,
        count: outer,
        step: channels,
    })
}

impl NaryKernel for BatchNorm {
    fn name(&self) -> &'static str {
        "batch_norm"
    }

    fn accepts(&self, _: DType, sizes: &[i64], numbers: &[f64]) -> Result<(), &'static str> {
        let [outer, _, inner @ ..] = sizes else {
            return Err("no channels");
        };
        if outer * inner.iter().product::<i64>() < 2 {
            return Err("one value of a channel");
        }
        settings(numbers)?;
        accepts(sizes)
    }

    fn kinds(&self) -> usize {
        3
    }

    /// Columns, planes, and channels-last.
    fn kind(&self, sizes: &[i64], last: bool) -> usize {
        match sizes {
            _ if last => 2,
            [_, _, inner @ ..] if inner.iter().product::<i64>() != 1 => 1,
            _ => 0,
        }
    }

    fn updates(&self, index: usize) -> bool {
        matches!(index, MEAN | VARIANCE)
    }

    fn takes_channels_last(&self) -> bool {
        true
    }

    fn outline(&self, operands: &[Option<Operand>], numbers: &[f64]) -> Result<Outline, &'static str> {
        let (input, dtype) = check(operands)?;
        settings(numbers)?;
        if operands.get(MEAN).is_some_and(Option::is_some) != operands.get(VARIANCE).is_some_and(Option::is_some) {
            return Err("one of the running statistics alone");
        }
        let result = match input.elements {
            Elements::ChannelsLast(_) => Layout::channels_last(input.sizes),
            _ => Layout::contiguous(input.sizes),
        };
        Ok(Outline {
            result: result.ok_or("too many dimensions")?,
            saved: (dtype.lane(), KEPT * input.sizes[1] as usize),
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
        let updated = [const { None }; MAX_OPERANDS];
        self.forward_updating(exec, operands, updated, result, saved, numbers);
    }

    fn forward_updating(
        &self,
        exec: &Exec,
        operands: &[Option<Operand>],
        updated: [Option<ViewMut>; MAX_OPERANDS],
        result: Target,
        saved: Option<Target>,
        numbers: &[f64],
    ) {
        let (momentum, eps) = settings(numbers).expect("numbers that were accepted");
        let moments = forward(exec, operands, form(operands[0].as_ref()), eps, result, saved);
        let [_, _, _, mean, variance, ..] = updated;
        update(mean, variance, momentum, &moments);
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
