//! `torch.nn.functional.layer_norm`.

use super::{Rows, backward, forward, outline, row_len};
use crate::{
    dtype::{DType, Target, View},
    kernel::{Exec, MAX_OPERANDS, NaryKernel, Operand, Outline, each_type},
};

/// Elements of rows from which, and up to which, this is no slower than torch's kernel.
const LEAST: usize = 64;
const LEAST_F16: usize = 128;
const MOST: usize = 16384;

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

    fn accepts(&self, dtype: DType, sizes: &[i64], numbers: &[f64]) -> Result<(), &'static str> {
        let len = sizes.iter().product::<i64>();
        let row = row_len(sizes, *numbers.first().ok_or("no dimensions")?).ok_or("rows without elements")?;
        let least = if dtype == DType::F16 { LEAST_F16 } else { LEAST };
        // torch's own kernel takes one row after the other as well.
        if len > 1024 && !(least..=MOST).contains(&row) {
            return Err("rows that are short or very long");
        }
        Ok(())
    }

    fn outline(&self, operands: &[Option<Operand>], numbers: &[f64]) -> Result<Outline, &'static str> {
        outline(operands, numbers, 2)
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
