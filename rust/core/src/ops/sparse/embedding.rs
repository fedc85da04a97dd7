//! `torch.embedding`.

use core::mem::MaybeUninit;

use crate::{
    dtype::{DType, Element, TILE, Target, View, as_uninit},
    isa::{Program, Simd},
    kernel::{Exec, MAX_OPERANDS, NaryKernel, Operand, Outline, each_type},
    layout::Layout,
    ops::elementwise::number,
    parallel::{Shared, split_mut},
};

/// The rows `indices` of a matrix `weight`, which is the input. Number: `padding_idx` (-1), the row that has no gradient.
///
/// The gradient of a row is summed up in the order of the indices and rounded at every step, as in torch: threads share
/// the columns.
pub struct Embedding;

/// Columns that a thread takes together.
const BLOCK: usize = 32;

/// The matrix's sizes and the indices.
fn parts<'a>(operands: &[Option<Operand<'a>>]) -> Result<([usize; 2], Operand<'a>, &'a [i64]), &'static str> {
    let &[Some(weight), Some(indices)] = operands else {
        return Err("not a matrix and indices");
    };
    let &[rows, columns] = weight.sizes else {
        return Err("no matrix");
    };
    let elements = indices.indices().ok_or("no indices")?;
    Ok(([rows as usize, columns as usize], indices, elements))
}

impl NaryKernel for Embedding {
    fn name(&self) -> &'static str {
        "embedding"
    }

    fn accepts(&self, _: DType, sizes: &[i64], _: &[f64]) -> Result<(), &'static str> {
        if sizes.len() == 2 { Ok(()) } else { Err("no matrix") }
    }

    fn outline(&self, operands: &[Option<Operand>], _: &[f64]) -> Result<Outline, &'static str> {
        let ([_, columns], indices, _) = parts(operands)?;
        let sizes: Vec<_> = indices.sizes.iter().copied().chain([columns as i64]).collect();
        Ok(Outline {
            result: Layout::contiguous(&sizes).ok_or("too many dimensions")?,
            saved: (DType::F32, 0),
        })
    }

    fn inspect(&self, _: &Exec, operands: &[Option<Operand>], _: &[f64]) -> Result<(), &'static str> {
        let ([rows, _], _, indices) = parts(operands)?;
        // Negative ones are large without a sign.
        let largest = indices
            .iter()
            .fold(0, |largest: usize, &index| largest.max(index as usize));
        if largest >= rows {
            Err("an index out of range")
        } else {
            Ok(())
        }
    }

    fn forward(&self, exec: &Exec, operands: &[Option<Operand>], result: Target, _: Option<Target>, _: &[f64]) {
        let ([_, columns], _, indices) = parts(operands).expect("operands that the outline takes");
        let weight = operands[0].and_then(|weight| weight.floats()).expect("numbers");
        each_type!((weight: View, result: Target) => gather(exec, weight, indices, columns, result));
    }

    fn backward(
        &self,
        exec: &Exec,
        grad: View,
        operands: &[Option<Operand>],
        _: View,
        gradients: [Option<Target>; MAX_OPERANDS],
        numbers: &[f64],
    ) {
        let ([_, columns], _, indices) = parts(operands).expect("operands that the outline takes");
        let [Some(gradient), ..] = gradients else {
            return;
        };
        let padding = number(numbers, 0, -1.0) as i64;
        each_type!((grad: View, gradient: Target) => scatter(exec, grad, indices, columns, padding, gradient));
    }
}

fn gather<T: Element>(exec: &Exec, weight: &[T], indices: &[i64], columns: usize, result: &mut [MaybeUninit<T>]) {
    assert_eq!(result.len(), indices.len() * columns, "the slices differ in length");
    let (team, grain) = exec.team(result.len(), 2 * size_of::<T>(), 0);
    split_mut(team, result, columns, grain, &|start, result| {
        let indices = &indices[start / columns..];
        for (row, &index) in result.chunks_exact_mut(columns).zip(indices) {
            row.write_copy_of_slice(&weight[index as usize * columns..][..columns]);
        }
    });
}

/// Adds rows of `grad` to those of zeros.
fn scatter<T: Element>(
    exec: &Exec,
    grad: &[T],
    indices: &[i64],
    columns: usize,
    padding: i64,
    gradient: &mut [MaybeUninit<T>],
) {
    assert_eq!(grad.len(), indices.len() * columns, "the slices differ in length");
    assert!(gradient.len().is_multiple_of(columns), "whole rows");
    let zero = T::rounded(T::Lane::default());
    let (team, grain) = exec.team(gradient.len(), size_of::<T>(), 0);
    split_mut(team, gradient, 1, grain, &|_, part| part.fill(MaybeUninit::new(zero)));
    let rows = gradient.len() / columns;
    // SAFETY: every element was written.
    let sums = Shared::new(unsafe { gradient.assume_init_mut() });
    let (team, grain) = exec.team(grad.len(), 3 * size_of::<T>(), 1);
    let blocks = columns.div_ceil(BLOCK);
    let grain = grain.div_ceil(BLOCK * indices.len().max(1));
    team.run(blocks, grain, &|range| {
        let range = range.start * BLOCK..columns.min(range.end * BLOCK);
        for (i, &index) in indices.iter().enumerate() {
            let index = index as usize;
            assert!(index < rows, "an index out of range");
            if index as i64 == padding {
                continue;
            }
            let part = |row: usize| row * columns + range.start..row * columns + range.end;
            // SAFETY: a team's ranges of columns are disjoint.
            let sums = unsafe { sums.piece(part(index)) };
            exec.isa.run(Add(sums, &grad[part(i)]));
        }
    });
}

/// Adds numbers to others.
struct Add<'a, T>(&'a mut [T], &'a [T]);

impl<T: Element> Program for Add<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self(sums, grad) = self;
        if T::PACKS {
            for (sum, &x) in sums.iter_mut().zip(grad) {
                *sum = T::rounded(sum.lane() + x.lane());
            }
            return;
        }
        let mut tile = [T::rounded(T::Lane::default()); TILE];
        for (sums, grad) in sums.chunks_mut(TILE).zip(grad.chunks(TILE)) {
            let tile = &mut tile[..sums.len()];
            tile.copy_from_slice(sums);
            T::zip_map(simd, tile, grad, as_uninit(sums), |a, b| a + b);
        }
    }
}

#[cfg(test)]
mod tests {
    use half::{bf16, f16};

    use super::*;
    use crate::{
        isa::Isa,
        parallel::{Serial, Team, test::Halves},
    };

    fn of<'a, T>(weight: &'a [T], sizes: &'a [i64; 2], indices: &'a [i64], shape: &'a [i64]) -> [Option<Operand<'a>>; 2]
    where
        View<'a>: From<&'a [T]>,
    {
        use crate::kernel::Elements::{Floats, Indices};
        let operand = |sizes, elements| Some(Operand { sizes, elements });
        [operand(sizes, Floats(weight.into())), operand(shape, Indices(indices))]
    }

    /// The result and the gradient of the matrix.
    fn run<T: Element>(exec: &Exec, rows: usize, columns: usize, indices: &[i64], padding: f64) -> (Vec<T>, Vec<T>)
    where
        for<'a> View<'a>: From<&'a [T]>,
        for<'a> Target<'a>: From<&'a mut [T]>,
    {
        let number = |i: usize| T::rounded(crate::float::Float::of((i * 7919 % 2003) as f64 / 1001.0 - 1.0));
        let weight: Vec<T> = (0..rows * columns).map(number).collect();
        let grad: Vec<T> = (0..indices.len() * columns).map(number).collect();
        let (sizes, shape) = ([rows as i64, columns as i64], [indices.len() as i64]);
        let operands = of(&weight, &sizes, indices, &shape);
        let mut result = vec![number(0); grad.len()];
        assert!(Embedding.inspect(exec, &operands, &[padding]).is_ok());
        Embedding.forward(exec, &operands, (&mut result[..]).into(), None, &[padding]);
        let mut gradient = vec![number(0); weight.len()];
        let mut targets = [const { None }; MAX_OPERANDS];
        targets[0] = Some((&mut gradient[..]).into());
        let none: &[f32] = &[];
        Embedding.backward(exec, (&grad[..]).into(), &operands, none.into(), targets, &[padding]);
        for (row, &index) in result.chunks(columns).zip(indices) {
            let same = row.iter().zip(&weight[index as usize * columns..]);
            assert!(same.into_iter().all(|(a, b)| a.lane() == b.lane()));
        }
        for (row, sums) in gradient.chunks(columns).enumerate() {
            for (column, &sum) in sums.iter().enumerate() {
                let chosen = indices.iter().enumerate().filter(|&(_, &index)| index == row as i64);
                let terms = chosen.map(|(i, _)| grad[i * columns + column]);
                let zero = T::rounded(T::Lane::default());
                let all = terms.fold(zero, |a, b| T::rounded(a.lane() + b.lane()));
                let expected = if row as f64 == padding { zero } else { all };
                assert!(sum.lane() == expected.lane());
            }
        }
        (result, gradient)
    }

    #[test]
    fn rows_are_taken_and_gradients_summed_up_in_order() {
        let indices: Vec<i64> = (0..900).map(|i| i * i % 37).collect();
        for isa in Isa::available() {
            for columns in [1, 7, 64, 100, 700] {
                let [one, two] = [&Serial as &dyn Team, &Halves]
                    .map(|team| run::<f32>(&Exec::new(isa, team), 37, columns, &indices, 4.0));
                assert_eq!(one, two);
                run::<f64>(&Exec::new(isa, &Halves), 37, columns, &indices, -1.0);
                run::<bf16>(&Exec::new(isa, &Halves), 37, columns, &indices, -1.0);
                run::<f16>(&Exec::new(isa, &Halves), 37, columns, &indices, 0.0);
            }
        }
    }

    #[test]
    fn what_is_no_index_of_a_row_is_refused() {
        let exec = Exec::new(Isa::detect(), &Serial);
        let weight = [0.0_f32; 6];
        for index in [-1, 3, i64::MIN, i64::MAX] {
            let indices = [0, index, 2];
            let operands = of(&weight, &[3, 2], &indices, &[3]);
            assert!(Embedding.inspect(&exec, &operands, &[-1.0]).is_err());
            assert_eq!(Embedding.outline(&operands, &[]).map(|made| made.result.numel()), Ok(6));
        }
        assert!(Embedding.accepts(DType::F32, &[2, 3, 4], &[]).is_err());
    }
}
