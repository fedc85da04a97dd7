//! `torch.nn.functional.cross_entropy`.

use core::mem::MaybeUninit;

use super::Reduction;
use crate::{
    dtype::{Target, Typed, View},
    float::Float,
    isa::{Program, Simd},
    kernel::{Exec, MAX_OPERANDS, NaryKernel, Operand, Outline, each_type},
    layout::Layout,
    math::row_exp::RowExp,
    ops::{
        kept::{Kept, keep},
        reduction::{
            FLOPS, Kind,
            lanes::{First, RowElement, sum, total},
            rows::{LONG, by_row, each_sums, long_sums},
        },
    },
    parallel::split_mut,
};

/// Minus the logarithm of the softmax along the innermost dimension, at the index of a class.
///
/// Operands: scores of `N` times `C` classes, or of `C`; `N` class indices, or one. Numbers: the index of rows to ignore
/// (-100), the reduction (0 none, 1 mean over the rows that are not ignored, 2 sum), and the label smoothing (0), the share
/// of the mean of all classes' losses. Saves the rows' maxima and the sums of their exponentials: the scores are read once
/// forward, and read and written once backward.
pub struct CrossEntropy;

/// Scores whose distances from the maximum are summed up by themselves: rows may be short.
const FEW: usize = 256;

/// A call's operands and numbers.
struct Call<'a, T> {
    scores: &'a [T],
    classes: &'a [i64],
    dim: usize,
    ignored: i64,
    reduction: Reduction,
    smoothing: f64,
}

fn settings(numbers: &[f64]) -> Result<(i64, Reduction, f64), &'static str> {
    let &[ignored, reduction, smoothing] = numbers else {
        return Err("three numbers");
    };
    let reduction = Reduction::of(reduction).ok_or("no such reduction")?;
    if !(0.0..=1.0).contains(&smoothing) {
        return Err("label smoothing outside 0 to 1");
    }
    Ok((ignored as i64, reduction, smoothing))
}

impl<'a, T: RowElement> Call<'a, T> {
    fn of(operands: &[Option<Operand<'a>>], numbers: &[f64]) -> Self {
        let [Some(scores), Some(classes)] = operands else {
            panic!("scores and classes");
        };
        let (ignored, reduction, smoothing) = settings(numbers).expect("numbers that were accepted");
        let elements = scores.floats().and_then(T::slice);
        Self {
            scores: elements.expect("scores of the result's element type"),
            classes: classes.indices().expect("classes have indices"),
            dim: *scores.sizes.last().expect("a dimension of classes") as usize,
            ignored,
            reduction,
            smoothing,
        }
    }

    /// The class of a row, if it counts.
    #[inline(always)]
    fn class(&self, row: usize) -> Option<usize> {
        let class = self.classes[row];
        (class != self.ignored).then_some(class as usize)
    }

    /// Rows that count.
    fn count(&self) -> T::Lane {
        T::Lane::of(self.classes.iter().filter(|&&class| class != self.ignored).count() as f64)
    }

    /// A row's loss, from its maximum and the lifted sum of its exponentials.
    #[inline(always)]
    fn loss<S: Simd>(&self, simd: S, row: usize, max: T::Lane, exps: T::Lane) -> T::Lane {
        let Some(class) = self.class(row) else {
            return T::Lane::ZERO;
        };
        let log = Kind::LogSoftmax.number(max, exps);
        let scores = &self.scores[row * self.dim..(row + 1) * self.dim];
        let loss = log - (scores[class].lane() - max);
        if self.smoothing == 0.0 {
            return loss;
        }
        let (mut tile, mut distances) = ([T::Lane::ZERO; FEW], [T::Lane::ZERO; FEW]);
        let mut below = T::Lane::ZERO;
        for scores in scores.chunks(FEW) {
            let values = T::lanes(simd, scores, &mut tile);
            let distances = &mut distances[..values.len()];
            for (distance, &x) in distances.iter_mut().zip(values) {
                *distance = max - x;
            }
            below += sum(simd, distances, distances, &First);
        }
        let mean = log + below / T::Lane::of(self.dim as f64);
        loss.mul_add(T::Lane::of(1.0 - self.smoothing), mean * T::Lane::of(self.smoothing))
    }
}

/// The losses of rows, whose maxima and sums are kept.
struct Rows<'a, 'b, T: RowElement> {
    call: &'a Call<'b, T>,
    first: usize,
    losses: &'a mut [T::Lane],
    kept: [&'a mut [MaybeUninit<T::Lane>]; 2],
}

impl<T: RowElement> Program for Rows<'_, '_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self {
            call,
            first,
            losses,
            kept: [all_maxima, all_sums],
        } = self;
        let scores = &call.scores[first * call.dim..(first + losses.len()) * call.dim];
        each_sums(
            simd,
            scores,
            call.dim,
            #[inline(always)]
            |start, maxima, sums| {
                for (row, (&max, &sum)) in (start..).zip(maxima.iter().zip(&*sums)) {
                    losses[row] = call.loss(simd, first + row, max, sum);
                    keep(all_maxima, row, max);
                    keep(all_sums, row, sum);
                }
            },
        );
    }
}

/// The loss of one row, of which the maximum and the sum are known.
struct Loss<'a, 'b, T: RowElement>(&'a Call<'b, T>, usize, T::Lane, T::Lane);

impl<T: RowElement> Program for Loss<'_, '_, T> {
    type Output = T::Lane;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> T::Lane {
        self.0.loss(simd, self.1, self.2, self.3)
    }
}

/// The result from the rows' losses.
struct Reduce<'a, 'b, T: RowElement> {
    call: &'a Call<'b, T>,
    losses: &'a [T::Lane],
    dst: &'a mut [MaybeUninit<T>],
}

impl<T: RowElement> Program for Reduce<'_, '_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        if self.call.reduction == Reduction::None {
            T::narrow(simd, self.losses, self.dst);
            return;
        }
        let mut total = total(simd, self.losses, self.losses, &First);
        if self.call.reduction == Reduction::Mean {
            total = total / self.call.count();
        }
        T::narrow(simd, &[total], self.dst);
    }
}

fn forward<T: RowElement>(exec: &Exec, call: &Call<T>, dst: &mut [MaybeUninit<T>], saved: Option<Target>) {
    let (rows, dim) = (call.classes.len(), call.dim);
    let mut losses = vec![T::Lane::ZERO; rows];
    assert_eq!(call.scores.len(), rows * dim, "the slices differ in length");
    let kept = Kept::new(saved, rows, 2);
    let (team, grain) = exec.team(call.scores.len(), size_of::<T>(), FLOPS);
    if dim > LONG {
        // SAFETY: there is no other piece.
        let [maxima, sums] = unsafe { kept.of(&(0..rows)) };
        for (row, loss) in losses.iter_mut().enumerate() {
            let (max, sum) = long_sums(exec.isa, team, &call.scores[row * dim..(row + 1) * dim]);
            *loss = exec.isa.run(Loss(call, row, max, sum));
            keep(maxima, row, max);
            keep(sums, row, sum);
        }
    } else {
        split_mut(team, &mut losses, 1, grain.div_ceil(dim), &|first, losses| {
            // SAFETY: pieces of the losses are disjoint, and so are those of the rows' other numbers.
            let kept = unsafe { kept.of(&(first..first + losses.len())) };
            exec.isa.run(Rows {
                call,
                first,
                losses,
                kept,
            });
        });
    }
    exec.isa.run(Reduce {
        call,
        losses: &losses,
        dst,
    });
}

/// What a row's gradients are computed with.
#[derive(Clone, Copy)]
struct Row<F> {
    max: F,
    /// The reciprocal of the lifted sum.
    scale: F,
    grad: F,
}

/// Gradients of rows from `first` on, or of a part of that row which begins with the class at `start`.
struct Gradients<'a, 'b, T: RowElement, N> {
    call: &'a Call<'b, T>,
    first: usize,
    start: usize,
    /// Those of a row.
    numbers: N,
    dst: &'a mut [MaybeUninit<T>],
}

impl<T: RowElement, N: Fn(usize) -> Row<T::Lane>> Program for Gradients<'_, '_, T, N> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { call, start, .. } = self;
        for (row, dst) in (self.first..).zip(self.dst.chunks_mut(call.dim)) {
            let Some(class) = call.class(row) else {
                dst.fill(MaybeUninit::new(T::rounded(T::Lane::ZERO)));
                continue;
            };
            let Row { max, scale, grad } = (self.numbers)(row);
            let smooth = grad * T::Lane::of(call.smoothing / call.dim as f64);
            let of = |x: T::Lane| ((x - max).exp_lifted() * scale).mul_add(grad, -smooth);
            let first = row * call.dim + start;
            let scores = &call.scores[first..first + dst.len()];
            T::map(simd, scores, dst, of);
            if let Some(dst) = class.checked_sub(start).and_then(|at| dst.get_mut(at)) {
                let rest = grad * T::Lane::of(1.0 - call.smoothing);
                dst.write(T::rounded(of(call.scores[row * call.dim + class].lane()) - rest));
            }
        }
    }
}

fn backward<T: RowElement>(exec: &Exec, call: &Call<T>, grad: &[T], saved: View, dst: &mut [MaybeUninit<T>]) {
    let (rows, dim) = (call.classes.len(), call.dim);
    let saved = T::Lane::slice(saved).expect("numbers of the type that is computed in");
    assert!(
        call.scores.len() == rows * dim
            && dst.len() == rows * dim
            && saved.len() == 2 * rows
            && grad.len() == if call.reduction == Reduction::None { rows } else { 1 },
        "the slices differ in length"
    );
    let (maxima, sums) = saved.split_at(rows);
    let share = match call.reduction {
        Reduction::Mean => call.count(),
        _ => T::Lane::of(1.0),
    };
    let numbers = |row: usize| {
        let grad = grad[if grad.len() == 1 { 0 } else { row }].lane();
        Row {
            max: maxima[row],
            scale: Kind::Softmax.number(maxima[row], sums[row]),
            grad: grad / share,
        }
    };
    let (team, grain) = exec.team(dst.len(), 2 * size_of::<T>(), FLOPS);
    by_row(team, grain, dst, dim, &|team, first, dst| {
        let run = |start, dst: &mut [MaybeUninit<T>]| {
            exec.isa.run(Gradients {
                call,
                first,
                start,
                numbers,
                dst,
            });
        };
        if dst.len() == dim {
            split_mut(team, dst, 1, grain, &run);
        } else {
            run(0, dst);
        }
    });
}

impl NaryKernel for CrossEntropy {
    fn name(&self) -> &'static str {
        "cross_entropy"
    }

    fn outline(&self, operands: &[Option<Operand>], numbers: &[f64]) -> Result<Outline, &'static str> {
        let [Some(scores), Some(classes)] = operands else {
            return Err("scores and classes");
        };
        let (_, reduction, _) = settings(numbers)?;
        let view = scores.floats().ok_or("scores are floating-point numbers")?;
        let indices = classes.indices().ok_or("probabilities of classes")?;
        let (&dim, rows) = scores.sizes.split_last().ok_or("no classes")?;
        if rows.len() > 1 || rows != classes.sizes || dim == 0 || indices.is_empty() {
            return Err("not N times C scores and N classes");
        }
        let result = if reduction == Reduction::None { rows } else { &[] };
        Ok(Outline {
            result: Layout::contiguous(result).ok_or("too many dimensions")?,
            saved: (view.dtype().lane(), 2 * indices.len()),
        })
    }

    fn inspect(&self, _: &Exec, operands: &[Option<Operand>], numbers: &[f64]) -> Result<(), &'static str> {
        let [Some(scores), Some(classes)] = operands else {
            return Err("scores and classes");
        };
        let (ignored, ..) = settings(numbers)?;
        let dim = *scores.sizes.last().ok_or("no classes")?;
        let mut indices = classes.indices().ok_or("probabilities of classes")?.iter();
        if indices.any(|&class| class != ignored && !(0..dim).contains(&class)) {
            return Err("a class out of range");
        }
        Ok(())
    }

    fn forward(
        &self,
        exec: &Exec,
        operands: &[Option<Operand>],
        result: Target,
        saved: Option<Target>,
        numbers: &[f64],
    ) {
        each_type!((result: Target) => forward(exec, &Call::of(operands, numbers), result, saved));
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
        let [Some(target), ..] = gradients else {
            return;
        };
        each_type!((grad: View, target: Target) => {
            backward(exec, &Call::of(operands, numbers), grad, saved, target);
        });
    }
}

#[cfg(test)]
mod tests {
    use half::bf16;
    use proptest::prelude::*;

    use super::*;
    use crate::{isa::Isa, kernel::Elements, parallel::Serial};

    /// Runs forward and backward on every instruction set; the results must agree to `1e-5` with sums in double precision.
    fn check(scores: &[f32], classes: &[i64], dim: usize, numbers: [f64; 3]) {
        let sizes = [classes.len() as i64, dim as i64];
        let operands = [
            Some(Operand {
                sizes: &sizes,
                elements: Elements::Floats(scores.into()),
            }),
            Some(Operand {
                sizes: &sizes[..1],
                elements: Elements::Indices(classes),
            }),
        ];
        let [ignored, reduction, smoothing] = numbers;
        let counted = classes.iter().filter(|&&class| class != ignored as i64).count() as f64;
        let share = if reduction == 1.0 { counted } else { 1.0 };
        let (mut losses, mut gradients) = (Vec::new(), Vec::new());
        for (row, &class) in scores.chunks(dim).zip(classes) {
            let total: f64 = row.iter().map(|&x| f64::from(x).exp()).sum();
            let logs: Vec<f64> = row.iter().map(|&x| f64::from(x) - total.ln()).collect();
            let counts = if class == ignored as i64 { 0.0 } else { 1.0 };
            let of = |i: usize| smoothing / dim as f64 + if i as i64 == class { 1.0 - smoothing } else { 0.0 };
            losses.push(-counts * logs.iter().enumerate().map(|(i, log)| of(i) * log).sum::<f64>());
            gradients.extend(
                logs.iter()
                    .enumerate()
                    .map(|(i, log)| counts * (log.exp() - of(i)) / share),
            );
        }
        if reduction != 0.0 {
            losses = vec![losses.iter().sum::<f64>() / share];
        }
        let close = |found: f32, truth: f64| (f64::from(found) - truth).abs() < 1e-5 * truth.abs().max(1.0);
        for isa in Isa::available() {
            let exec = Exec::new(isa, &Serial);
            let outline = CrossEntropy.outline(&operands, &numbers).unwrap();
            let (mut result, mut kept) = (vec![0.0_f32; outline.result.numel()], vec![0.0_f32; outline.saved.1]);
            CrossEntropy.forward(
                &exec,
                &operands,
                (&mut result[..]).into(),
                Some((&mut kept[..]).into()),
                &numbers,
            );
            assert!(
                result.iter().zip(&losses).all(|(&found, &truth)| close(found, truth)),
                "{result:?}"
            );
            let (grad, mut found) = (vec![1.0_f32; result.len()], vec![0.0_f32; scores.len()]);
            let mut targets = [const { None }; MAX_OPERANDS];
            targets[0] = Some((&mut found[..]).into());
            CrossEntropy.backward(&exec, grad[..].into(), &operands, kept[..].into(), targets, &numbers);
            assert!(
                found.iter().zip(&gradients).all(|(&found, &truth)| close(found, truth)),
                "{found:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn losses_and_gradients(
            scores in prop::collection::vec(-9.0_f32..9.0, 600),
            dim in 1_usize..300,
            seed in 0_usize..1000,
            reduction in 0_u8..3,
            smoothing in prop::sample::select(vec![0.0, 0.1, 1.0]),
        ) {
            let rows = scores.len() / dim;
            let mut classes: Vec<i64> = (0..rows).map(|row| ((row * 7919 + seed) % (dim + 1)) as i64).collect();
            // One that is ignored, and one at least that is not.
            classes[0] = 0;
            check(&scores[..rows * dim], &classes, dim, [dim as f64, f64::from(reduction), smoothing]);
        }
    }

    #[test]
    fn long_rows_are_shared_out() {
        let scores: Vec<f32> = (0..2 * (LONG + 7)).map(|i| (i * 7919 % 2003) as f32 / 300.0).collect();
        check(&scores, &[3, LONG as i64], LONG + 7, [-100.0, 1.0, 0.0]);
    }

    #[test]
    fn what_is_no_class_is_refused() {
        let (scores, sizes) = ([bf16::ONE; 6], [2, 3]);
        let outline = |classes: &[i64], numbers: &[f64]| {
            let operands = [
                Some(Operand {
                    sizes: &sizes,
                    elements: Elements::Floats(scores[..].into()),
                }),
                Some(Operand {
                    sizes: &[2][..],
                    elements: Elements::Indices(classes),
                }),
            ];
            let exec = Exec::new(Isa::detect(), &Serial);
            let outline = CrossEntropy.outline(&operands, numbers)?;
            CrossEntropy.inspect(&exec, &operands, numbers)?;
            Ok::<_, &str>(outline.saved)
        };
        assert_eq!(outline(&[0, 2], &[-100.0, 1.0, 0.0]), Ok((crate::dtype::DType::F32, 4)));
        assert!(outline(&[0, -100], &[-100.0, 1.0, 0.0]).is_ok());
        for (classes, numbers) in [
            ([0, 3], [-100.0, 1.0, 0.0]),
            ([-1, 0], [-100.0, 1.0, 0.0]),
            ([0, i64::MIN], [-100.0, 1.0, 0.0]),
            ([0, 1], [-100.0, 3.0, 0.0]),
            ([0, 1], [-100.0, 1.0, 1.5]),
            ([0, 1], [-100.0, 1.0, f64::NAN]),
        ] {
            assert!(outline(&classes, &numbers).is_err(), "{classes:?} {numbers:?}");
        }
    }
}
