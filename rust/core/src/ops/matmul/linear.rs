//! `torch.nn.functional.linear`.

use core::mem::MaybeUninit;

use super::{Matrix, SMALL, Sum, gemm, sum_rows};
use crate::{
    dtype::{Target, Typed, View},
    isa::Isa,
    kernel::{Exec, Glance, MAX_OPERANDS, NaryKernel, Operand, Outline, each_type},
    layout::Layout,
    ops::{numbers_of, reduction::lanes::RowElement},
};

/// `x W^T + b` for each row of `x`.
///
/// Operands: input of any number of rows of `k` elements, weight of `n` rows of `k` elements, bias of `n` (zeros). The
/// result has rows of `n`. Nothing but the operands is kept.
pub struct Linear;

/// The slices and sizes of a call.
struct Call<'a, T> {
    input: &'a [T],
    weight: &'a [T],
    bias: Option<&'a [T]>,
    rows: usize,
    terms: usize,
    columns: usize,
}

impl<'a, T: Typed> Call<'a, T> {
    /// From operands that [`Linear::outline`] has taken.
    fn of(operands: &[Option<Operand<'a>>]) -> Self {
        let slice = |index| numbers_of(operands, index);
        let weight = operands[1].as_ref().expect("there is a weight");
        let (input, terms) = (slice(0).expect("an input"), weight.sizes[1] as usize);
        Self {
            input,
            weight: slice(1).expect("a weight"),
            bias: slice(2),
            rows: input.len() / terms,
            terms,
            columns: weight.sizes[0] as usize,
        }
    }
}

fn forward<T: RowElement>(exec: &Exec, operands: &[Option<Operand>], dst: &mut [MaybeUninit<T>]) {
    let call = Call::of(operands);
    let weight = Matrix::new(call.weight, call.columns, call.terms);
    gemm(
        exec,
        Matrix::new(call.input, call.rows, call.terms),
        weight.t(),
        call.bias.map(Sum::with_row),
        dst,
    );
}

fn backward<T: RowElement>(
    exec: &Exec,
    grad: &[T],
    operands: &[Option<Operand>],
    gradients: [Option<Target>; MAX_OPERANDS],
) {
    let call = Call::<T>::of(operands);
    let grad = Matrix::new(grad, call.rows, call.columns);
    let [input, weight, bias, ..] = gradients
        .map(|target| target.map(|target| T::target(target).expect("a gradient has its operand's element type").0));
    if let Some(dst) = input {
        gemm(
            exec,
            grad,
            Matrix::new(call.weight, call.columns, call.terms),
            None,
            dst,
        );
    }
    if let Some(dst) = weight {
        gemm(
            exec,
            grad.t(),
            Matrix::new(call.input, call.rows, call.terms),
            None,
            dst,
        );
    }
    if let Some(dst) = bias {
        sum_rows(exec, grad, dst);
    }
}

impl NaryKernel for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn outline(&self, operands: &[Option<Operand>], _: &[f64]) -> Result<Outline, &'static str> {
        let [Some(input), Some(weight), others @ ..] = operands else {
            return Err("no input or no weight");
        };
        let dtype = input.floats().ok_or("no floating-point numbers")?.dtype();
        for other in [weight].into_iter().chain(others.iter().flatten()) {
            if other.floats().is_none_or(|other| other.dtype() != dtype) {
                return Err("element types differ");
            }
        }
        let (Some((terms, outer)), [columns, of_each]) = (input.sizes.split_last(), weight.sizes) else {
            return Err("dimensions");
        };
        if terms != of_each || others.iter().flatten().any(|bias| bias.sizes != [*columns]) {
            return Err("sizes differ");
        }
        if input.sizes.contains(&0) || *columns == 0 {
            return Err("no elements");
        }
        let sizes: Vec<i64> = outer.iter().chain([columns]).copied().collect();
        Ok(Outline {
            result: Layout::contiguous(&sizes).ok_or("too many dimensions")?,
            saved: (dtype.lane(), 0),
        })
    }

    fn glance(&self) -> Option<[usize; 2]> {
        Some([0, 1])
    }

    fn may_pay(&self, glance: &Glance) -> bool {
        let [input, weight] = &glance.tensors;
        let matrix = weight.matrix();
        let sizes = matrix.map(|[columns, terms]| [input.numel / terms.max(1), terms, columns]);
        super::may_pay(glance, weight, sizes, weight.row_major, SMALL)
    }

    fn pays(&self, isa: Isa, operands: &[Option<Operand>]) -> Result<(), &'static str> {
        let [Some(input), Some(weight), ..] = operands else {
            return Err("no input or no weight");
        };
        let dtype = input.floats().ok_or("no floating-point numbers")?.dtype();
        let rows = input.sizes.iter().rev().skip(1).product::<i64>() as usize;
        let (terms, columns) = (weight.sizes[1] as usize, weight.sizes[0] as usize);
        super::pays(isa, dtype, [rows, terms, columns], true, 1, SMALL)
    }

    fn forward(&self, exec: &Exec, operands: &[Option<Operand>], result: Target, _: Option<Target>, _: &[f64]) {
        each_type!((result: Target) => forward(exec, operands, result));
    }

    fn backward(
        &self,
        exec: &Exec,
        grad: View,
        operands: &[Option<Operand>],
        _: View,
        gradients: [Option<Target>; MAX_OPERANDS],
        _: &[f64],
    ) {
        each_type!((grad: View) => backward(exec, grad, operands, gradients));
    }
}
