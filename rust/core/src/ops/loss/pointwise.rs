//! The driver of losses that take every element by itself.

use core::{marker::PhantomData, mem::MaybeUninit};

use super::Reduction;
use crate::{
    dtype::{DType, TILE, Target, View},
    float::Float,
    isa::{Program, Simd},
    kernel::{Exec, MAX_OPERANDS, NaryKernel, Operand, Outline, each_type},
    layout::Layout,
    math::row_exp::RowExp,
    ops::reduction::lanes::{First, RowElement, RowLane, fold, total},
    parallel::split_mut,
};

/// A loss of an element of the input, that of the target at its place, and a third number. Every method is marked
/// `#[inline(always)]`.
///
/// Its numbers begin with the reduction.
pub trait Loss: Copy + Send + Sync + 'static {
    /// torch's name.
    const NAME: &'static str;
    /// Floating-point instructions of one element, for the choice of threads.
    const FLOPS: usize;
    /// Where the third number comes from.
    const THIRD: Third = Third::None;
    /// Whether the operand after the target is a weight, that each element's loss is multiplied with.
    const WEIGHTED: bool = false;
    /// Of how many operands, the first ones, there is a gradient.
    const GRADIENTS: usize;

    /// With the operation's parameters.
    fn new(numbers: &[f64]) -> Self;

    /// # Errors
    /// The reason why these parameters are not for this loss.
    fn accepts(self) -> Result<(), &'static str> {
        Ok(())
    }

    /// Whether these elements have a loss.
    fn takes<F: Float>(self, _x: F, _target: F, _third: F) -> bool {
        true
    }

    /// Whether elements may have none.
    const PICKY: bool = false;

    /// The loss.
    fn loss<F: Float>(self, x: F, target: F, third: F) -> F;

    /// The gradient of the operand at index `OF`, from that of the loss.
    fn gradient<F: Float, const OF: usize>(self, grad: F, x: F, target: F, third: F) -> F;
}

/// Where a loss's third number comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Third {
    /// There is none.
    None,
    /// A factor, 1 where it is missing: the last operand, whose sizes the input's end with.
    Factor,
    /// The operand after the target, of the input's sizes; there is no weight.
    Operand,
}

/// The kernel of a [`Loss`]. Operands: the input, the target, the weight, the third, as far as the loss has them; the
/// weight's sizes are those that the input's end with. Numbers: the reduction (0 none, 1 mean, 2 sum, 3 sum over the size
/// of the first dimension), then the loss's.
pub struct Pointwise<L>(PhantomData<L>);

impl<L> Pointwise<L> {
    /// The kernel.
    pub const NEW: Self = Self(PhantomData);
}

/// Elements whose losses are summed up by themselves, in so many parts: sums do not depend on threads or instructions.
const BLOCK: usize = 4 * TILE;
const SUMS: usize = 64;

/// An operand that begins anew after its last element.
struct Cyclic<'a, T: RowElement> {
    elements: &'a [T],
    /// Where there are few, these over and over, so that a tile's are in one piece wherever it begins.
    repeated: Vec<T::Lane>,
}

impl<'a, T: RowElement> Cyclic<'a, T> {
    fn new(elements: &'a [T]) -> Self {
        let mut repeated = Vec::new();
        if elements.len() <= TILE {
            repeated.extend(elements.iter().cycle().take(elements.len() + TILE).map(|x| x.lane()));
        }
        Self { elements, repeated }
    }

    /// `len` of them, at most [`TILE`], from the one at `start` on.
    #[inline(always)]
    fn lanes<'b, S: Simd>(&'b self, simd: S, start: usize, len: usize, scratch: &'b mut [T::Lane]) -> &'b [T::Lane] {
        let start = start % self.elements.len();
        if !self.repeated.is_empty() {
            return &self.repeated[start..start + len];
        }
        let left = self.elements.len() - start;
        if len <= left {
            return T::lanes(simd, &self.elements[start..start + len], scratch);
        }
        let (first, second) = scratch[..len].split_at_mut(left);
        T::widen(simd, &self.elements[start..], first);
        T::widen(simd, &self.elements[..len - left], second);
        &scratch[..len]
    }
}

/// A call's operands.
struct Call<'a, T: RowElement, L> {
    loss: L,
    input: &'a [T],
    target: &'a [T],
    weight: Option<Cyclic<'a, T>>,
    third: Option<Cyclic<'a, T>>,
    reduction: Reduction,
    /// What a sum is divided by.
    share: f64,
}

impl<'a, T: RowElement, L: Loss> Call<'a, T, L> {
    fn of(operands: &[Option<Operand<'a>>], numbers: &[f64]) -> Self {
        let elements = |index: usize| -> Option<&'a [T]> {
            let floats = operands.get(index)?.as_ref()?.floats()?;
            Some(T::slice(floats).expect("the operands have one element type"))
        };
        let (input, target) = (elements(0).expect("an input"), elements(1).expect("a target"));
        assert_eq!(input.len(), target.len(), "the slices differ in length");
        let third = match L::THIRD {
            Third::None => None,
            _ => elements(2 + usize::from(L::WEIGHTED)).map(Cyclic::new),
        };
        let (reduction, by_batch) = reduction(numbers).expect("numbers that were accepted");
        let share = match reduction {
            Reduction::Mean => input.len() as f64,
            Reduction::Sum if by_batch => operands[0].as_ref().map_or(1.0, |input| input.sizes[0] as f64),
            _ => 1.0,
        };
        Self {
            loss: L::new(numbers),
            input,
            target,
            weight: if L::WEIGHTED {
                elements(2).map(Cyclic::new)
            } else {
                None
            },
            third,
            reduction,
            share,
        }
    }

    fn is_plain(&self) -> bool {
        self.weight.is_none() && self.third.is_none()
    }

    /// `of` the elements from `start` on and their third numbers, times their weights, to all of `out`: a tile at most.
    #[inline(always)]
    fn each<S: Simd>(
        &self,
        simd: S,
        start: usize,
        out: &mut [T::Lane],
        of: impl Fn(T::Lane, T::Lane, T::Lane) -> T::Lane,
    ) {
        let (mut inputs, mut targets, mut others) = (tile::<T>(), tile::<T>(), tile::<T>());
        let range = start..start + out.len();
        let x = T::lanes(simd, &self.input[range.clone()], &mut inputs);
        let target = T::lanes(simd, &self.target[range], &mut targets);
        let pairs = out.iter_mut().zip(x.iter().zip(target));
        if let Some(third) = &self.third {
            let third = third.lanes(simd, start, x.len(), &mut others);
            for ((out, (&x, &target)), &third) in pairs.zip(third) {
                *out = of(x, target, third);
            }
        } else {
            for (out, (&x, &target)) in pairs {
                *out = of(x, target, T::Lane::of(1.0));
            }
        }
        if let Some(weight) = &self.weight {
            let weight = weight.lanes(simd, start, out.len(), &mut others);
            for (out, &weight) in out.iter_mut().zip(weight) {
                *out = *out * weight;
            }
        }
    }
}

#[inline(always)]
fn tile<T: RowElement>() -> [T::Lane; TILE] {
    [T::Lane::ZERO; TILE]
}

/// The reduction, and whether what it is of is divided by the size of the first dimension.
fn reduction(numbers: &[f64]) -> Result<(Reduction, bool), &'static str> {
    let &number = numbers.first().ok_or("no reduction")?;
    if number == 3.0 {
        return Ok((Reduction::Sum, true));
    }
    Reduction::of(number)
        .map(|reduction| (reduction, false))
        .ok_or("no such reduction")
}

/// Sums of blocks from the one at `first` on.
struct Sums<'a, 'b, T: RowElement, L> {
    call: &'a Call<'b, T, L>,
    first: usize,
    results: &'a mut [f64],
}

impl<T: RowElement, L: Loss> Program for Sums<'_, '_, T, L> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { call, first, results } = self;
        let (mut inputs, mut targets) = (tile::<T>(), tile::<T>());
        for (start, result) in (first * BLOCK..).step_by(BLOCK).zip(results) {
            let mut parts = [T::Lane::ZERO; SUMS];
            let end = call.input.len().min(start + BLOCK);
            for start in (start..end).step_by(TILE) {
                let range = start..end.min(start + TILE);
                if call.is_plain() {
                    let x = T::lanes(simd, &call.input[range.clone()], &mut inputs);
                    let target = T::lanes(simd, &call.target[range], &mut targets);
                    add(
                        &mut parts,
                        x,
                        target,
                        #[inline(always)]
                        |x, target| call.loss.loss(x, target, T::Lane::of(1.0)),
                    );
                } else {
                    let losses = &mut inputs[..range.len()];
                    call.each(
                        simd,
                        start,
                        losses,
                        #[inline(always)]
                        |x, target, third| call.loss.loss(x, target, third),
                    );
                    add(&mut parts, losses, losses, |loss, _| loss);
                }
            }
            *result = fold(&mut parts, |a, b| a + b).into();
        }
    }
}

/// Adds `of` pairs to sums, in turn.
#[inline(always)]
fn add<F: RowLane>(sums: &mut [F; SUMS], a: &[F], b: &[F], of: impl Fn(F, F) -> F) {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<SUMS>(), b.as_chunks::<SUMS>());
    for (a, b) in a.iter().zip(b) {
        for ((sum, &a), &b) in sums.iter_mut().zip(a).zip(b) {
            *sum += of(a, b);
        }
    }
    for ((sum, &a), &b) in sums.iter_mut().zip(a_rest).zip(b_rest) {
        *sum += of(a, b);
    }
}

/// The total of sums.
struct Total<'a>(&'a [f64]);

impl Program for Total<'_> {
    type Output = f64;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> f64 {
        total(simd, self.0, self.0, &First)
    }
}

/// The losses of a range that begins at `start`.
struct Losses<'a, 'b, T: RowElement, L> {
    call: &'a Call<'b, T, L>,
    start: usize,
    dst: &'a mut [MaybeUninit<T>],
}

impl<T: RowElement, L: Loss> Program for Losses<'_, '_, T, L> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { call, start, dst } = self;
        if call.is_plain() {
            let range = start..start + dst.len();
            let (input, target) = (&call.input[range.clone()], &call.target[range]);
            T::zip_map(
                simd,
                input,
                target,
                dst,
                #[inline(always)]
                |x, target| call.loss.loss(x, target, T::Lane::of(1.0)),
            );
            return;
        }
        let mut losses = tile::<T>();
        for (start, dst) in (start..).step_by(TILE).zip(dst.chunks_mut(TILE)) {
            let losses = &mut losses[..dst.len()];
            call.each(
                simd,
                start,
                losses,
                #[inline(always)]
                |x, target, third| call.loss.loss(x, target, third),
            );
            T::narrow(simd, losses, dst);
        }
    }
}

fn forward<T: RowElement, L: Loss>(exec: &Exec, call: &Call<T, L>, dst: &mut [MaybeUninit<T>]) {
    let (team, grain) = exec.team(
        call.input.len(),
        2 * size_of::<T>(),
        L::FLOPS * size_of::<T::Lane>() / 4,
    );
    if call.reduction == Reduction::None {
        assert_eq!(dst.len(), call.input.len(), "the slices differ in length");
        split_mut(team, dst, 1, grain, &|start, dst| {
            exec.isa.run(Losses { call, start, dst });
        });
        return;
    }
    let mut sums = vec![0.0; call.input.len().div_ceil(BLOCK)];
    split_mut(team, &mut sums, 1, grain.div_ceil(BLOCK), &|first, results| {
        exec.isa.run(Sums { call, first, results });
    });
    let total = exec.isa.run(Total(&sums)) / call.share;
    dst[0].write(T::rounded(T::Lane::of(total)));
}

/// The gradients of a range, of the operand at index `OF`.
struct Gradients<'a, 'b, T: RowElement, L, const OF: usize> {
    call: &'a Call<'b, T, L>,
    start: usize,
    /// One, or as many as there are elements.
    grad: &'a [T],
    dst: &'a mut [MaybeUninit<T>],
}

impl<T: RowElement, L: Loss, const OF: usize> Program for Gradients<'_, '_, T, L, OF> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { call, start, grad, dst } = self;
        let reduced = call.reduction != Reduction::None;
        let scale = if reduced {
            grad[0].lane() / T::Lane::of(call.share)
        } else {
            T::Lane::of(1.0)
        };
        if reduced && call.is_plain() {
            let range = start..start + dst.len();
            let (input, target) = (&call.input[range.clone()], &call.target[range]);
            T::zip_map(
                simd,
                input,
                target,
                dst,
                #[inline(always)]
                |x, target| call.loss.gradient::<T::Lane, OF>(scale, x, target, T::Lane::of(1.0)),
            );
            return;
        }
        let (mut gradients, mut grads) = (tile::<T>(), tile::<T>());
        for (start, dst) in (start..).step_by(TILE).zip(dst.chunks_mut(TILE)) {
            let gradients = &mut gradients[..dst.len()];
            call.each(
                simd,
                start,
                gradients,
                #[inline(always)]
                |x, target, third| call.loss.gradient::<T::Lane, OF>(scale, x, target, third),
            );
            if !reduced {
                let grads = T::lanes(simd, &grad[start..start + dst.len()], &mut grads);
                for (gradient, &grad) in gradients.iter_mut().zip(grads) {
                    *gradient = *gradient * grad;
                }
            }
            T::narrow(simd, gradients, dst);
        }
    }
}

fn backward<T: RowElement, L: Loss, const OF: usize>(
    exec: &Exec,
    call: &Call<T, L>,
    grad: &[T],
    dst: &mut [MaybeUninit<T>],
) {
    let numel = call.input.len();
    let grads = if call.reduction == Reduction::None { numel } else { 1 };
    assert!(dst.len() == numel && grad.len() == grads, "the slices differ in length");
    let (team, grain) = exec.team(numel, 3 * size_of::<T>(), L::FLOPS * size_of::<T::Lane>() / 4);
    split_mut(team, dst, 1, grain, &|start, dst| {
        exec.isa.run(Gradients::<T, L, OF> { call, start, grad, dst });
    });
}

/// Whether elements of a range have a loss.
struct Takes<'a, 'b, T: RowElement, L> {
    call: &'a Call<'b, T, L>,
    first: usize,
    blocks: &'a mut [bool],
}

impl<T: RowElement, L: Loss> Program for Takes<'_, '_, T, L> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { call, first, blocks } = self;
        let (mut inputs, mut targets, mut others) = (tile::<T>(), tile::<T>(), tile::<T>());
        for (start, block) in (first * TILE..).step_by(TILE).zip(blocks) {
            let range = start..call.input.len().min(start + TILE);
            let x = T::lanes(simd, &call.input[range.clone()], &mut inputs);
            let target = T::lanes(simd, &call.target[range], &mut targets);
            let third = match &call.third {
                Some(third) => third.lanes(simd, start, x.len(), &mut others),
                None => x,
            };
            // Not `all`, which ends early and so is no vector's.
            let refused = x.iter().zip(target).zip(third).fold(
                0_u32,
                #[inline(always)]
                |refused, ((&x, &target), &third)| refused | u32::from(!call.loss.takes(x, target, third)),
            );
            *block = refused == 0;
        }
    }
}

/// Whether every element of the operands, which are of the view's type, has a loss.
fn inspect<T: RowElement, L: Loss>(exec: &Exec, _: &[T], operands: &[Option<Operand>], numbers: &[f64]) -> bool {
    let call = &Call::<T, L>::of(operands, numbers);
    let mut blocks = vec![false; call.input.len().div_ceil(TILE)];
    let (team, grain) = exec.team(call.input.len(), size_of::<T>(), 2);
    split_mut(team, &mut blocks, 1, grain.div_ceil(TILE), &|first, blocks| {
        exec.isa.run(Takes { call, first, blocks });
    });
    blocks.iter().all(|&block| block)
}

impl<L: Loss> NaryKernel for Pointwise<L> {
    fn name(&self) -> &'static str {
        L::NAME
    }

    fn accepts(&self, _: DType, sizes: &[i64], numbers: &[f64]) -> Result<(), &'static str> {
        let (_, by_batch) = reduction(numbers)?;
        if by_batch && sizes.is_empty() {
            return Err("no first dimension");
        }
        if sizes.contains(&0) {
            return Err("no elements");
        }
        L::new(numbers).accepts()
    }

    fn outline(&self, operands: &[Option<Operand>], numbers: &[f64]) -> Result<Outline, &'static str> {
        let [Some(input), Some(target), others @ ..] = operands else {
            return Err("an input and a target");
        };
        let dtype = input.floats().ok_or("no floating-point numbers")?.dtype();
        self.accepts(dtype, input.sizes, numbers)?;
        if input.sizes != target.sizes {
            return Err("sizes of input and target differ");
        }
        if others.iter().flatten().any(|other| !input.sizes.ends_with(other.sizes)) {
            return Err("sizes are not the input's last ones");
        }
        if L::THIRD == Third::Operand && !matches!(others, [Some(third), ..] if third.sizes == input.sizes) {
            return Err("sizes of input and third operand differ");
        }
        let is_other = |operand: &Operand| operand.floats().is_none_or(|view| view.dtype() != dtype);
        if operands.iter().flatten().any(is_other) {
            return Err("element types differ");
        }
        let (reduction, _) = reduction(numbers)?;
        let result = if reduction == Reduction::None { input.sizes } else { &[] };
        Ok(Outline {
            result: Layout::contiguous(result).ok_or("too many dimensions")?,
            saved: (dtype.lane(), 0),
        })
    }

    fn inspect(&self, exec: &Exec, operands: &[Option<Operand>], numbers: &[f64]) -> Result<(), &'static str> {
        if !L::PICKY {
            return Ok(());
        }
        let view = operands
            .first()
            .and_then(|input| input.as_ref()?.floats())
            .ok_or("no input")?;
        if each_type!((view: View) => inspect::<_, L>(exec, view, operands, numbers)) {
            Ok(())
        } else {
            Err("elements that have no loss")
        }
    }

    fn forward(&self, exec: &Exec, operands: &[Option<Operand>], result: Target, _: Option<Target>, numbers: &[f64]) {
        each_type!((result: Target) => forward(exec, &Call::<_, L>::of(operands, numbers), result));
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
        for (index, target) in gradients.into_iter().enumerate().take(L::GRADIENTS) {
            let Some(target) = target else { continue };
            each_type!((grad: View, target: Target) => {
                let call = Call::<_, L>::of(operands, numbers);
                match index {
                    0 => backward::<_, L, 0>(exec, &call, grad, target),
                    1 => backward::<_, L, 1>(exec, &call, grad, target),
                    _ => backward::<_, L, 2>(exec, &call, grad, target),
                }
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        isa::Isa,
        kernel::Elements,
        ops::{
            find_nary,
            loss::{binary_cross_entropy::BinaryCrossEntropy, gaussian_nll_loss::GaussianNllLoss},
        },
        parallel::{Serial, Team, test::Halves},
    };

    /// The loss of an element, by its definition.
    fn naive(name: &str, x: f64, t: f64, third: f64) -> f64 {
        let z = (x - t).abs();
        match name {
            "mse_loss" => z * z,
            "l1_loss" => z,
            "smooth_l1_loss" if z < 0.7 => z * z / 1.4,
            "smooth_l1_loss" => z - 0.35,
            "huber_loss" if z <= 0.7 => z * z / 2.0,
            "huber_loss" => 0.7 * (z - 0.35),
            "binary_cross_entropy" => -(t * x.ln() + (1.0 - t) * (-x).ln_1p()),
            "binary_cross_entropy_with_logits" => third * t * (-x).exp().ln_1p() + (1.0 - t) * x.exp().ln_1p(),
            "kl_div" => t * (t.ln() - x),
            "poisson_nll_loss" => x.exp() - t * x,
            "gaussian_nll_loss" => (third.ln() + z * z / third) / 2.0,
            _ => panic!("{name} has no reference"),
        }
    }

    fn floats<'a>(sizes: &'a [i64], elements: &'a [f32]) -> Operand<'a> {
        Operand {
            sizes,
            elements: Elements::Floats(elements.into()),
        }
    }

    /// Compares with the definitions, and gradients with their differences.
    fn check(name: &'static str, rows: usize, dim: usize, reduction: f64) {
        let kernel = find_nary(name).unwrap();
        let len = rows * dim;
        let number = |i: usize, salt: usize| ((i * 7919 + salt) % 2003) as f32 / 2003.0;
        // Where the losses are smooth.
        let of = |salt| (0..len).map(|i| 0.05 + 0.9 * number(i, salt)).collect::<Vec<f32>>();
        let (x, target, variance) = (of(3), of(1009), of(77));
        let last: Vec<f32> = (0..dim).map(|i| 0.5 + number(i, 5)).collect();
        let sizes = [rows as i64, dim as i64];
        let mut operands = vec![Some(floats(&sizes, &x)), Some(floats(&sizes, &target))];
        let (mut weight, mut third): (Option<&[f32]>, Option<&[f32]>) = (None, None);
        match name {
            "binary_cross_entropy" => weight = Some(&last),
            "binary_cross_entropy_with_logits" => (weight, third) = (Some(&last[..]), Some(&last[..])),
            "gaussian_nll_loss" => third = Some(&variance),
            _ => {}
        }
        for other in [weight, third].into_iter().flatten() {
            let sizes = if other.len() == len { &sizes[..] } else { &sizes[1..] };
            operands.push(Some(floats(sizes, other)));
        }
        let number = match name {
            "kl_div" => 0.0,
            "gaussian_nll_loss" => 1e-6,
            "poisson_nll_loss" => 1.0,
            _ => 0.7,
        };
        let numbers = [reduction, number];
        let at = |slice: Option<&[f32]>, i: usize| slice.map_or(1.0, |slice| f64::from(slice[i % slice.len()]));
        let truth = |x: f64, i: usize| naive(name, x, f64::from(target[i]), at(third, i)) * at(weight, i);
        let losses: Vec<f64> = (0..len).map(|i| truth(f64::from(x[i]), i)).collect();
        let share = [1.0, len as f64, 1.0, rows as f64][reduction as usize];
        let slopes = (0..len).map(|i| {
            let x = f64::from(x[i]);
            (truth(x + 1e-6, i) - truth(x - 1e-6, i)) / 2e-6 / share
        });
        let slopes: Vec<f64> = slopes.collect();
        let results = if reduction == 0.0 {
            losses
        } else {
            vec![losses.iter().sum::<f64>() / share]
        };
        let close =
            |found: f32, truth: f64, limit: f64| (f64::from(found) - truth).abs() < limit * truth.abs().max(1.0);
        for isa in Isa::available() {
            for team in [&Serial as &dyn Team, &Halves] {
                let exec = Exec::new(isa, team);
                let outline = kernel.outline(&operands, &numbers).unwrap();
                kernel.inspect(&exec, &operands, &numbers).unwrap();
                let mut found = vec![0.0_f32; outline.result.numel()];
                kernel.forward(&exec, &operands, (&mut found[..]).into(), None, &numbers);
                assert!(
                    found.iter().zip(&results).all(|(&a, &b)| close(a, b, 1e-5)),
                    "{found:?}"
                );
                let (grad, mut gradient) = (vec![1.0_f32; found.len()], vec![0.0_f32; len]);
                let mut targets = [const { None }; MAX_OPERANDS];
                targets[0] = Some((&mut gradient[..]).into());
                let nothing: [f32; 0] = [];
                kernel.backward(&exec, grad[..].into(), &operands, nothing[..].into(), targets, &numbers);
                assert!(
                    gradient.iter().zip(&slopes).all(|(&a, &b)| close(a, b, 1e-4)),
                    "{name} {gradient:?} {slopes:?}"
                );
            }
        }
    }

    const NAMES: [&str; 9] = [
        "mse_loss",
        "l1_loss",
        "smooth_l1_loss",
        "huber_loss",
        "binary_cross_entropy",
        "binary_cross_entropy_with_logits",
        "kl_div",
        "poisson_nll_loss",
        "gaussian_nll_loss",
    ];

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100))]
        #[test]
        fn losses_and_gradients(
            name in prop::sample::select(&NAMES[..]),
            rows in 1_usize..30,
            dim in 1_usize..700,
            reduction in 0_u8..4,
        ) {
            check(name, rows, dim, f64::from(reduction));
        }
    }

    #[test]
    fn elements_without_a_loss_are_found() {
        let exec = Exec::new(Isa::detect(), &Halves);
        let (mut x, sizes) = (vec![0.5_f32; 3000], [3000]);
        for place in [0, 1, 1535, 2999] {
            for (bad, good) in [(1.5, 1.0), (-1e-9, -0.0), (f32::NAN, 0.0)] {
                for (value, takes) in [(bad, false), (good, true)] {
                    x[place] = value;
                    let operands = [Some(floats(&sizes, &x)), Some(floats(&sizes, &x)), None];
                    let found = Pointwise::<BinaryCrossEntropy>::NEW.inspect(&exec, &operands, &[1.0]);
                    assert_eq!(found.is_ok(), takes, "{value} at {place}");
                }
            }
            x[place] = -1.0;
            let operands = [Some(floats(&sizes, &x)); 3];
            assert!(
                Pointwise::<GaussianNllLoss>::NEW
                    .inspect(&exec, &operands, &[1.0, 1e-6])
                    .is_err()
            );
            x[place] = 0.5;
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let x = [0.5_f32; 6];
        let refused = |name: &str, operands: &[Option<Operand>], numbers: &[f64]| {
            find_nary(name).unwrap().outline(operands, numbers).is_err()
        };
        let (all, turned) = (Some(floats(&[2, 3], &x)), Some(floats(&[3, 2], &x)));
        let (row, column) = (Some(floats(&[3], &x[..3])), Some(floats(&[2, 1], &x[..2])));
        assert!(!refused("mse_loss", &[all, all], &[1.0]));
        assert!(refused("mse_loss", &[all, turned], &[1.0]));
        assert!(refused("mse_loss", &[all, row], &[1.0]));
        assert!(refused("mse_loss", &[all, None], &[1.0]));
        assert!(refused("mse_loss", &[all, all], &[]));
        assert!(refused("mse_loss", &[all, all], &[4.0]));
        assert!(refused("huber_loss", &[all, all], &[1.0, 0.0]));
        assert!(refused("smooth_l1_loss", &[all, all], &[1.0, f64::NAN]));
        assert!(!refused("binary_cross_entropy", &[all, all, row], &[1.0]));
        assert!(refused("binary_cross_entropy", &[all, all, column], &[1.0]));
        assert!(refused("gaussian_nll_loss", &[all, all, row], &[1.0]));
        assert!(refused("gaussian_nll_loss", &[all, all], &[1.0]));
    }
}
