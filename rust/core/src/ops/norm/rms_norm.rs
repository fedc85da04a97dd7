//! `torch.nn.functional.rms_norm`.

use super::{Rows, backward, forward, outline};
use crate::{
    dtype::{DType, Target, View},
    kernel::{Exec, MAX_OPERANDS, NaryKernel, Operand, Outline, each_type},
};

/// `x / sqrt(mean(x²) + eps) * weight` over rows.
///
/// Operands: input, weight (ones). Numbers: how many of the innermost dimensions make a row, and `eps`; minus infinity
/// stands for the machine epsilon of the type that is computed in. Saves the reciprocals of the rows' root mean squares.
pub struct RmsNorm;

fn eps(numbers: &[f64], dtype: DType) -> f64 {
    match (numbers[1] == f64::NEG_INFINITY, dtype) {
        (false, _) => numbers[1],
        (true, DType::F64) => f64::EPSILON,
        (true, _) => f64::from(f32::EPSILON),
    }
}

impl NaryKernel for RmsNorm {
    fn name(&self) -> &'static str {
        "rms_norm"
    }

    fn outline(&self, operands: &[Option<Operand>], numbers: &[f64]) -> Result<Outline, &'static str> {
        outline(operands, numbers, 1)
    }

    fn forward(
        &self,
        exec: &Exec,
        operands: &[Option<Operand>],
        result: Target,
        saved: Option<Target>,
        numbers: &[f64],
    ) {
        let eps = eps(numbers, result.dtype());
        each_type!((result: Target) => forward::<_, false>(exec, Rows::of(operands, numbers), eps, result, saved));
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
            backward::<_, false>(exec, Rows::of(operands, numbers), grad, saved, gradients);
        });
    }
}
