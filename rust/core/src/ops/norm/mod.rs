//! Normalisation: of channels, and of rows, each a dimension or several of the innermost ones, by their
//! mean and variance, or by their mean square alone.

pub mod batch_norm;
mod channels;
pub mod instance_norm;
pub mod layer_norm;
pub mod rms_norm;

use core::mem::MaybeUninit;

use crate::{
    dtype::{Target, Typed, View},
    float::Float,
    isa::{Program, Simd},
    kernel::{Exec, MAX_OPERANDS, Operand, Outline},
    layout::Layout,
    math::row_exp::RowExp,
    ops::{
        kept::{Kept, keep},
        numbers_of,
        reduction::lanes::{First, Product, RowElement, RowLane, Tile, total},
    },
    parallel::Shared,
};

/// Floating-point instructions of one element, for the choice of threads.
const FLOPS: usize = 8;
/// Numbers that lie apart in a tile, so that every row of it begins a cache line.
const LINE: usize = 16;
/// Elements of rows whose share in the gradients of weight and bias is summed up by itself, at least, and how many such
/// blocks there are at most. They depend on nothing else, so that the sums do not depend on threads.
const BLOCK_ELEMENTS: usize = 1 << 14;
const BLOCKS: usize = 64;
/// Rows whose share is summed up by itself within a block, so that the error of a sum of many rows stays small.
const TERMS: usize = 16;

/// Rows, and what their results are scaled and shifted by.
struct Rows<'a, T> {
    input: &'a [T],
    weight: Option<&'a [T]>,
    bias: Option<&'a [T]>,
    dim: usize,
}

// Not derived: it would ask for `T: Clone`.
impl<T> Clone for Rows<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Rows<'_, T> {}

impl<'a, T: RowElement> Rows<'a, T> {
    /// From operands that [`outline`] has taken.
    fn of(operands: &[Option<Operand<'a>>], numbers: &[f64]) -> Self {
        let slice = |index| numbers_of(operands, index);
        let input = operands[0].as_ref().expect("there is an input");
        Self {
            input: slice(0).expect("the input has floating-point numbers"),
            weight: slice(1),
            bias: slice(2),
            dim: row_len(input.sizes, numbers[0]).expect("rows of some elements"),
        }
    }

    fn count(&self) -> usize {
        self.input.len() / self.dim
    }
}

/// Elements of a row that has so many of the innermost dimensions.
fn row_len(sizes: &[i64], dims: f64) -> Option<usize> {
    let outer = sizes.len().checked_sub(dims as usize)?;
    let len = sizes[outer..].iter().product::<i64>() as usize;
    (dims >= 1.0 && len > 0).then_some(len)
}

/// What a call with `numbers`, how many dimensions a row has and epsilon, makes of an input, a weight and a bias
/// of a row's sizes; `kept` numbers of a row are saved.
fn outline(operands: &[Option<Operand>], numbers: &[f64], kept: usize) -> Result<Outline, &'static str> {
    let [Some(input), others @ ..] = operands else {
        return Err("no input");
    };
    let &[dims, _] = numbers else {
        return Err("dimensions and epsilon");
    };
    let view = input.floats().ok_or("no floating-point numbers")?;
    let dim = row_len(input.sizes, dims).ok_or("rows without elements")?;
    if input.sizes.contains(&0) {
        return Err("no rows");
    }
    for other in others.iter().flatten() {
        if other.floats().is_none_or(|other| other.dtype() != view.dtype()) {
            return Err("element types differ");
        }
        if other.sizes != &input.sizes[input.sizes.len() - dims as usize..] {
            return Err("sizes differ from the rows'");
        }
    }
    let result = Layout::contiguous(input.sizes).ok_or("too many dimensions")?;
    Ok(Outline {
        result,
        saved: (view.dtype().lane(), kept * result.numel() / dim),
    })
}

/// A row's mean, rounded once.
#[inline(always)]
fn mean_of<F: RowLane>(total: F, dim: usize) -> F {
    F::of(total.into() / dim as f64)
}

/// Rows of numbers in a thread's tile, of `dim` each.
#[inline(always)]
fn tile_rows<F: RowLane, const N: usize>(tile: &mut Tile<F>, dim: usize) -> [&mut [F]; N] {
    let mut rows = tile.get().chunks_exact_mut(dim.next_multiple_of(LINE));
    core::array::from_fn(|_| &mut rows.next().expect("a tile of so many rows")[..dim])
}

fn tile<F: RowLane>(rows: usize, dim: usize) -> Tile<F> {
    Tile::new(rows * dim.next_multiple_of(LINE))
}

/// Widens an operand, or fills its place.
#[inline(always)]
fn widen_or<T: RowElement, S: Simd>(simd: S, src: Option<&[T]>, missing: f64, dst: &mut [T::Lane]) {
    match src {
        Some(src) => T::widen(simd, src, dst),
        None => dst.fill(T::Lane::of(missing)),
    }
}

/// The results of rows. Their means, if `CENTERED`, and the reciprocals of their deviations, or of their root mean
/// squares, are kept.
struct Forward<'a, T: RowElement, const CENTERED: bool> {
    rows: Rows<'a, T>,
    eps: f64,
    dst: &'a mut [MaybeUninit<T>],
    kept: [&'a mut [MaybeUninit<T::Lane>]; 2],
}

impl<T: RowElement, const CENTERED: bool> Program for Forward<'_, T, CENTERED> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { rows, eps, dst, kept } = self;
        let dim = rows.dim;
        let mut tile = tile(5, dim);
        let [widened, centered, weights, biases, scratch] = tile_rows(&mut tile, dim);
        widen_or(simd, rows.weight, 1.0, weights);
        widen_or(simd, rows.bias, 0.0, biases);
        let [means, scales] = kept;
        for (row, (src, dst)) in rows.input.chunks_exact(dim).zip(dst.chunks_exact_mut(dim)).enumerate() {
            let values = T::lanes(simd, src, widened);
            let mut mean = T::Lane::ZERO;
            let centered = if CENTERED {
                mean = mean_of(total(simd, values, values, &First), dim);
                for (centered, &x) in centered.iter_mut().zip(values) {
                    *centered = x - mean;
                }
                &*centered
            } else {
                values
            };
            let squares: f64 = total(simd, centered, centered, &Product).into();
            let scale = T::Lane::of(1.0 / (squares / dim as f64 + eps).sqrt());
            keep(means, row, mean);
            keep(scales, row, scale);
            let terms = centered.iter().zip(&*weights);
            if CENTERED {
                let results = terms.zip(&*biases).map(
                    #[inline(always)]
                    |((&x, &weight), &bias)| (x * scale).mul_add(weight, bias),
                );
                T::collect(simd, results, scratch, dst);
            } else {
                let results = terms.map(
                    #[inline(always)]
                    |(&x, &weight)| x * scale * weight,
                );
                T::collect(simd, results, scratch, dst);
            }
        }
    }
}

/// Normalises rows.
fn forward<T: RowElement, const CENTERED: bool>(
    exec: &Exec,
    rows: Rows<T>,
    eps: f64,
    dst: &mut [MaybeUninit<T>],
    saved: Option<Target>,
) {
    let (dim, count) = (rows.dim, rows.count());
    assert_eq!(dst.len(), rows.input.len(), "the slices differ in length");
    let (dst, kept) = (Shared::new(dst), Kept::new(saved, count, 1 + usize::from(CENTERED)));
    let (team, grain) = exec.team(rows.input.len(), 2 * size_of::<T>(), FLOPS);
    team.run(count, grain.div_ceil(dim), &|range| {
        let elements = range.start * dim..range.end * dim;
        // SAFETY: a team's ranges of rows are disjoint, and so are what belongs to them.
        let (dst, kept) = unsafe { (dst.piece(elements.clone()), kept.of(&range)) };
        exec.isa.run(Forward::<T, CENTERED> {
            rows: Rows {
                input: &rows.input[elements],
                ..rows
            },
            eps,
            dst,
            kept,
        });
    });
}

/// The gradients of some rows, and their sums for weight and bias.
struct Backward<'a, T: RowElement, const CENTERED: bool> {
    rows: Rows<'a, T>,
    grad: &'a [T],
    means: &'a [T::Lane],
    scales: &'a [T::Lane],
    dst: Option<&'a mut [MaybeUninit<T>]>,
    /// Of the weight, then of the bias, as far as they are wanted.
    sums: &'a mut [T::Lane],
}

impl<T: RowElement, const CENTERED: bool> Program for Backward<'_, T, CENTERED> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (rows, dim) = (self.rows, self.rows.dim);
        let mut tile = tile(8, dim);
        let [
            widened,
            grads,
            normal,
            weighted,
            weights,
            scratch,
            weight_terms,
            bias_terms,
        ] = tile_rows(&mut tile, dim);
        widen_or(simd, rows.weight, 1.0, weights);
        let (weight_sums, bias_sums) = self.sums.split_at_mut(self.sums.len().min(dim));
        let (weight_terms, bias_terms) = (
            &mut weight_terms[..weight_sums.len()],
            &mut bias_terms[..bias_sums.len()],
        );
        let mut targets = self.dst.map(|dst| dst.chunks_exact_mut(dim));
        let both = rows.input.chunks_exact(dim).zip(self.grad.chunks_exact(dim));
        for (row, (src, grad)) in both.enumerate() {
            let (values, grads) = (T::lanes(simd, src, widened), T::lanes(simd, grad, grads));
            let mean = if CENTERED { self.means[row] } else { T::Lane::ZERO };
            let scale = self.scales[row];
            for (normal, &x) in normal.iter_mut().zip(values) {
                *normal = (x - mean) * scale;
            }
            if row % TERMS == 0 {
                add(weight_sums, weight_terms, row == 0);
                add(bias_sums, bias_terms, row == 0);
            }
            for ((sum, &grad), &normal) in weight_terms.iter_mut().zip(grads).zip(&*normal) {
                *sum = grad.mul_add(normal, *sum);
            }
            for (sum, &grad) in bias_terms.iter_mut().zip(grads) {
                *sum += grad;
            }
            let Some(dst) = targets.as_mut().and_then(Iterator::next) else {
                continue;
            };
            for ((weighted, &grad), &weight) in weighted.iter_mut().zip(grads).zip(&*weights) {
                *weighted = grad * weight;
            }
            let along = mean_of(total(simd, weighted, normal, &Product), dim);
            let common = if CENTERED {
                mean_of(total(simd, weighted, weighted, &First), dim)
            } else {
                T::Lane::ZERO
            };
            let results = weighted.iter().zip(&*normal).map(
                #[inline(always)]
                |(&grad, &normal)| (grad - normal.mul_add(along, common)) * scale,
            );
            T::collect(simd, results, scratch, dst);
        }
        add(weight_sums, weight_terms, false);
        add(bias_sums, bias_terms, false);
    }
}

/// Adds terms to sums, unless they are none yet, and clears them.
#[inline(always)]
fn add<F: RowLane>(sums: &mut [F], terms: &mut [F], none: bool) {
    for (sum, term) in sums.iter_mut().zip(&mut *terms) {
        if !none {
            *sum += *term;
        }
        *term = F::ZERO;
    }
}

/// The sums of blocks, rounded.
struct Combine<'a, T: RowElement> {
    /// Of the first block; those of the others follow at the same distance.
    sums: &'a mut [T::Lane],
    others: &'a [T::Lane],
    start: usize,
    each: usize,
    dst: &'a mut [MaybeUninit<T>],
}

impl<T: RowElement> Program for Combine<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let part = self.start..self.start + self.dst.len();
        let sums = &mut self.sums[part.clone()];
        for other in self.others.chunks_exact(self.each) {
            for (sum, &other) in sums.iter_mut().zip(&other[part.clone()]) {
                *sum += other;
            }
        }
        T::narrow(simd, sums, self.dst);
    }
}

/// The gradients of [`forward`]'s operands.
fn backward<T: RowElement, const CENTERED: bool>(
    exec: &Exec,
    rows: Rows<T>,
    grad: &[T],
    saved: View,
    gradients: [Option<Target>; MAX_OPERANDS],
) {
    let (dim, count) = (rows.dim, rows.count());
    let saved = T::Lane::slice(saved).expect("numbers of the type that is computed in");
    let [dst, weight, bias, ..] = gradients
        .map(|target| target.map(|target| T::target(target).expect("a gradient has its operand's element type").0));
    assert!(
        grad.len() == rows.input.len()
            && saved.len() == (1 + usize::from(CENTERED)) * count
            && dst.as_ref().is_none_or(|dst| dst.len() == grad.len())
            && [&weight, &bias].into_iter().flatten().all(|target| target.len() == dim),
        "the slices differ in length"
    );
    let (means, scales) = saved.split_at(saved.len() - count);
    // The weight's come first, wanted or not, where the bias's are wanted.
    let each = if bias.is_some() {
        2 * dim
    } else if weight.is_some() {
        dim
    } else {
        0
    };
    let blocks = (rows.input.len() / BLOCK_ELEMENTS).clamp(1, BLOCKS.min(count));
    let block = count.div_ceil(blocks);
    let blocks = count.div_ceil(block);
    let mut sums = vec![T::Lane::ZERO; blocks * each];
    let writes = dst.is_some();
    let mut none = [];
    let (shared, shared_sums) = (Shared::new(dst.unwrap_or(&mut none)), Shared::new(&mut sums));
    let (team, grain) = exec.team(grad.len(), 3 * size_of::<T>(), FLOPS);
    team.run(blocks, grain.div_ceil(block * dim), &|range| {
        for index in range {
            let of_rows = index * block..count.min((index + 1) * block);
            let elements = of_rows.start * dim..of_rows.end * dim;
            // SAFETY: a team's ranges of blocks are disjoint, and so are what belongs to them.
            let (dst, sums) = unsafe {
                (
                    shared.piece(if writes { elements.clone() } else { 0..0 }),
                    shared_sums.piece(index * each..(index + 1) * each),
                )
            };
            exec.isa.run(Backward::<T, CENTERED> {
                rows: Rows {
                    input: &rows.input[elements.clone()],
                    ..rows
                },
                grad: &grad[elements],
                means: if CENTERED { &means[of_rows.clone()] } else { means },
                scales: &scales[of_rows],
                dst: writes.then_some(dst),
                sums,
            });
        }
    });
    let (sums, others) = sums.split_at_mut(each);
    for (start, dst) in [(0, weight), (dim, bias)] {
        if let Some(dst) = dst {
            exec.isa.run(Combine {
                sums,
                others,
                start,
                each,
                dst,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{layer_norm::LayerNorm, rms_norm::RmsNorm};
    use crate::{
        isa::Isa,
        kernel::{Elements, Exec, MAX_OPERANDS, NaryKernel, Operand},
        parallel::{Serial, Team, test::Halves},
    };

    fn numbers(len: usize, seed: usize) -> Vec<f32> {
        let number = |i: usize| ((i * 7919 + seed * 104_729) % 2003) as f32 / 500.0 - 2.0;
        (0..len).map(number).collect()
    }

    /// Results, gradients of the input, of the weight and of the bias, by the formulas, in double precision; and the largest
    /// reciprocal of a row's deviation.
    fn truth(x: &[f32], grad: &[f32], weight: &[f32], bias: &[f32], centered: bool, eps: f64) -> ([Vec<f64>; 4], f64) {
        let dim = weight.len();
        let wide = |of: &[f32]| of.iter().map(|&x| f64::from(x)).collect::<Vec<_>>();
        let (weight, bias) = (wide(weight), wide(bias));
        let mean = |of: &[f64]| of.iter().sum::<f64>() / dim as f64;
        let [mut results, mut inputs] = [Vec::new(), Vec::new()];
        let [mut weights, mut biases] = [vec![0.0; dim], vec![0.0; dim]];
        let mut steepest = 0.0_f64;
        for (x, grad) in x.chunks(dim).zip(grad.chunks(dim)) {
            let (mut x, grad) = (wide(x), wide(grad));
            let middle = if centered { mean(&x) } else { 0.0 };
            x.iter_mut().for_each(|x| *x -= middle);
            let scale = 1.0 / (mean(&x.iter().map(|x| x * x).collect::<Vec<_>>()) + eps).sqrt();
            steepest = steepest.max(scale);
            x.iter_mut().for_each(|x| *x *= scale);
            let weighted: Vec<f64> = grad.iter().zip(&weight).map(|(grad, weight)| grad * weight).collect();
            let along = mean(&weighted.iter().zip(&x).map(|(grad, x)| grad * x).collect::<Vec<_>>());
            let common = if centered { mean(&weighted) } else { 0.0 };
            for i in 0..dim {
                results.push(x[i] * weight[i] + if centered { bias[i] } else { 0.0 });
                inputs.push((weighted[i] - common - x[i] * along) * scale);
                weights[i] += grad[i] * x[i];
                biases[i] += grad[i];
            }
        }
        ([results, inputs, weights, biases], steepest)
    }

    fn check(kernel: &dyn NaryKernel, rows: usize, dim: usize, centered: bool) {
        let [x, grad] = [numbers(rows * dim, 1), numbers(rows * dim, 2)];
        let [weight, bias] = [numbers(dim, 3), numbers(dim, 4)];
        let (eps, sizes) = (1e-3, [rows as i64, dim as i64]);
        let settings = [1.0, eps];
        let operand = |sizes, of| {
            Some(Operand {
                sizes,
                elements: Elements::Floats(of),
            })
        };
        let mut operands = vec![
            operand(&sizes[..], x[..].into()),
            operand(&sizes[1..], weight[..].into()),
        ];
        if centered {
            operands.push(operand(&sizes[1..], bias[..].into()));
        }
        let Ok(outline) = kernel.outline(&operands, &settings) else {
            return;
        };
        let (truth, steepest) = truth(&x, &grad, &weight, &bias, centered, eps);
        let mut all = Vec::new();
        for isa in Isa::available() {
            for team in [&Serial as &dyn Team, &Halves] {
                let exec = Exec::new(isa, team);
                let (mut result, mut kept) = (vec![0.0_f32; x.len()], vec![0.0_f32; outline.saved.1]);
                let saved = Some((&mut kept[..]).into());
                kernel.forward(&exec, &operands, (&mut result[..]).into(), saved, &settings);
                let mut found = [vec![0.0_f32; x.len()], vec![0.0; dim], vec![0.0; dim]];
                let [inputs, weights, biases] = &mut found;
                let mut targets = [const { None }; MAX_OPERANDS];
                targets[0] = Some((&mut inputs[..]).into());
                targets[1] = Some((&mut weights[..]).into());
                targets[2] = centered.then(|| (&mut biases[..]).into());
                kernel.backward(&exec, grad[..].into(), &operands, kept[..].into(), targets, &settings);
                let [inputs, weights, biases] = found;
                all.push([result, inputs, weights, biases]);
            }
        }
        assert!(
            all.iter().all(|one| *one == all[0]),
            "neither threads nor instructions matter"
        );
        // Gradients of the input and the weight are what is left of differences that are as much larger as the row is steep:
        // of rows of two elements nearly nothing.
        let count = if centered { 4 } else { 3 };
        for (index, (found, truth)) in all[0].iter().zip(&truth).enumerate().take(count) {
            let least = if matches!(index, 1 | 2) { steepest.max(1.0) } else { 1.0 };
            let largest = truth.iter().fold(least, |largest, x| largest.max(x.abs()));
            for (&found, &truth) in found.iter().zip(truth) {
                assert!((f64::from(found) - truth).abs() < 3e-6 * largest, "{found} for {truth}");
            }
        }
    }

    proptest! {
        #[test]
        fn results_and_gradients(rows in 1_usize..60, dim in 1_usize..300) {
            check(&LayerNorm, rows, dim, true);
            check(&RmsNorm, rows, dim, false);
        }
    }

    #[test]
    fn rows_of_two_elements() {
        for rows in 1..60 {
            check(&LayerNorm, rows, 2, true);
        }
    }

    #[test]
    fn blocks_of_rows() {
        check(&LayerNorm, 301, 257, true);
        check(&RmsNorm, 301, 257, false);
        check(&RmsNorm, 3, 9000, false);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let (x, weight, sizes) = (numbers(24, 1), numbers(6, 2), [4, 6]);
        let operand = |sizes| {
            Some(Operand {
                sizes,
                elements: Elements::Floats(if sizes.len() == 2 {
                    x[..].into()
                } else {
                    weight[..].into()
                }),
            })
        };
        let outline = |weight: &'static [i64], dims: f64| {
            LayerNorm
                .outline(&[operand(&sizes), operand(weight)], &[dims, 1e-5])
                .is_ok()
        };
        assert!(outline(&[6], 1.0));
        assert!(!outline(&[5], 1.0) && !outline(&[6], 2.0) && !outline(&[6], 0.0) && !outline(&[6], 3.0));
        assert!(LayerNorm.outline(&[None, None, None], &[1.0, 1e-5]).is_err());
    }
}
