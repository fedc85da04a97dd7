//! `torch.nn.functional.layer_norm`.

use core::ops::RangeInclusive;

use super::{Rows, backward, forward, outline};
use crate::{
    dtype::{Target, View},
    kernel::{Exec, MAX_OPERANDS, NaryKernel, Operand, Outline, each_type},
};

/// Elements of rows at which this is no slower than torch's kernel.
const WORTHWHILE: RangeInclusive<usize> = 128..=16384;

/// `(x - mean) / sqrt(variance + eps) * weight + bias` over rows, with the variance of a whole population.
///
/// Operands: input, weight (ones), bias (zeros). Numbers: how many of the innermost dimensions make a row, `eps`. Saves
/// the rows' means and the reciprocals of their deviations. Means and variances are taken one after the other, so that
/// nothing cancels.
pub struct LayerNorm;

impl NaryKernel for LayerNorm {
    fn name(&self) -> &'static str {
        "layer_norm"
    }

    fn outline(&self, operands: &[Option<Operand>], numbers: &[f64]) -> Result<Outline, &'static str> {
        let outline = outline(operands, numbers, 2)?;
        let (_, rows) = outline.saved;
        let len = outline.result.numel();
        // torch's own kernel takes one row after the other as well.
        if len > 1024 && !WORTHWHILE.contains(&(2 * len / rows)) {
            return Err("rows that are short or very long");
        }
        Ok(outline)
    }

    fn forward(
        &self,
        exec: &Exec,
        operands: &[Option<Operand>],
        result: Target,
        saved: Option<Target>,
        numbers: &[f64],
    ) {
        each_type!((result: Target) => forward::<_, true>(exec, Rows::of(operands, numbers), numbers[1], result, saved));
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
        each_type!((grad: View) => {
            backward::<_, true>(exec, Rows::of(operands, numbers), grad, saved, gradients);
        });
    }
}
