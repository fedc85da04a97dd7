//! The optimizers' steps: a parameter, its gradient and its state are read once, and written once. And what is done to
//! gradients before.

pub mod adagrad;
pub mod adam;
mod clip;
pub mod clip_grad_norm;
pub mod clip_grad_value;
pub mod rmsprop;
pub mod sgd;

use core::array;

use half::{bf16, f16};

use crate::{
    dtype::{DType, Element, as_uninit},
    float::Float,
    isa::{Program, Simd},
    kernel::{Exec, Parameter},
    parallel::split_mut,
};

/// Elements of a piece of a parameter: threads share pieces, as parameters are large, or many.
const PIECE: usize = 1 << 14;
/// Numbers of half precision that are widened at a time: with the rest of a parameter's they stay in the first-level cache.
const TILE: usize = 256;

/// An optimizer that keeps `STATE` tensors of a parameter. Every method is marked `#[inline(always)]`.
trait Optimizer<const STATE: usize>: Copy + Sync {
    /// Floating-point instructions of one element, for the choice of threads.
    const FLOPS: usize;

    /// What holds for all of a parameter's elements.
    type Constants<F: Float>: Copy;

    /// At a step, counted from 1; `half` where the results are rounded to half precision.
    fn constants<F: Float>(self, step: f64, half: bool) -> Self::Constants<F>;

    /// An element's new value and state, from the old ones and its gradient.
    fn update<F: Float>(constants: Self::Constants<F>, value: F, grad: F, state: [F; STATE]) -> (F, [F; STATE]);
}

/// A piece of a parameter.
struct Piece<'a, T, const STATE: usize> {
    value: &'a mut [T],
    grad: &'a [T],
    state: [&'a mut [T]; STATE],
    step: f64,
}

impl<'a, T: Element, const STATE: usize> Piece<'a, T, STATE> {
    /// A whole parameter.
    fn whole(parameter: Parameter<'a>) -> Self {
        let value = T::slice_mut(parameter.value);
        let grad = T::slice(parameter.grad);
        let (Some(value), Some(grad)) = (value, grad) else {
            panic!("a parameter's tensors differ in element type");
        };
        let mut state = parameter.state.into_iter();
        let piece = Self {
            state: array::from_fn(|_| {
                let state = state.next().expect("a parameter has all of its optimizer's state");
                let state = T::slice_mut(state).expect("a parameter's tensors have one element type");
                assert_eq!(state.len(), value.len(), "a parameter's tensors differ in length");
                state
            }),
            value,
            grad,
            step: parameter.step,
        };
        assert_eq!(
            piece.grad.len(),
            piece.value.len(),
            "a parameter's tensors differ in length"
        );
        piece
    }

    /// Cuts it in pieces of [`PIECE`] elements.
    fn cut(self, pieces: &mut Vec<Self>) {
        let mut state = self.state.map(|state| state.chunks_mut(PIECE));
        for (value, grad) in self.value.chunks_mut(PIECE).zip(self.grad.chunks(PIECE)) {
            pieces.push(Self {
                value,
                grad,
                state: state.each_mut().map(|state| state.next().expect("of one length")),
                step: self.step,
            });
        }
    }
}

/// Updates elements, by way of what kernels compute in.
#[inline(always)]
fn update<T: Copy, F: Float, O: Optimizer<STATE>, const STATE: usize>(
    constants: O::Constants<F>,
    value: &mut [T],
    grad: &[T],
    state: [&mut [T]; STATE],
    lane: impl Fn(T) -> F,
    rounded: impl Fn(F) -> T,
) {
    let len = value.len();
    // One length for the compiler.
    let (grad, state) = (&grad[..len], state.map(|state| &mut state[..len]));
    for i in 0..len {
        let kept = array::from_fn(|s| lane(state[s][i]));
        let (new, kept) = O::update(constants, lane(value[i]), lane(grad[i]), kept);
        value[i] = rounded(new);
        for s in 0..STATE {
            state[s][i] = rounded(kept[s]);
        }
    }
}

/// The update of pieces.
struct Update<'a, 'b, T, O, const STATE: usize>(O, &'a mut [Piece<'b, T, STATE>]);

impl<T: Element, O: Optimizer<STATE>, const STATE: usize> Program for Update<'_, '_, T, O, STATE> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        for piece in self.1 {
            let constants = self.0.constants::<T::Lane>(piece.step, T::HALF);
            if T::PACKS {
                let state = piece.state.each_mut().map(|state| &mut state[..]);
                update::<_, _, O, STATE>(
                    constants,
                    piece.value,
                    piece.grad,
                    state,
                    // As mere paths they would not be inlined.
                    #[inline(always)]
                    |x: T| T::lane(x),
                    #[inline(always)]
                    |x| T::rounded(x),
                );
            } else {
                piece.update_tiles::<O, S>(simd, constants);
            }
        }
    }
}

impl<T: Element, const STATE: usize> Piece<'_, T, STATE> {
    /// Widens elements into tiles, where they are updated.
    #[inline(always)]
    fn update_tiles<O: Optimizer<STATE>, S: Simd>(&mut self, simd: S, constants: O::Constants<T::Lane>) {
        let zero = T::Lane::of(0.0);
        let (mut values, mut grads, mut states) = ([zero; TILE], [zero; TILE], [[zero; TILE]; STATE]);
        for start in (0..self.value.len()).step_by(TILE) {
            let part = start..self.value.len().min(start + TILE);
            let len = part.len();
            T::widen(simd, &self.value[part.clone()], &mut values[..len]);
            T::widen(simd, &self.grad[part.clone()], &mut grads[..len]);
            for (tile, state) in states.iter_mut().zip(&self.state) {
                T::widen(simd, &state[part.clone()], &mut tile[..len]);
            }
            // All of the tile, whose length the compiler knows: what is behind the end has been there before.
            let tiles = states.each_mut().map(|tile| &mut tile[..]);
            update::<_, _, O, STATE>(
                constants,
                &mut values,
                &grads,
                tiles,
                #[inline(always)]
                |x| x,
                #[inline(always)]
                |x| x,
            );
            T::narrow(simd, &values[..len], as_uninit(&mut self.value[part.clone()]));
            for (tile, state) in states.iter().zip(&mut self.state) {
                T::narrow(simd, &tile[..len], as_uninit(&mut state[part.clone()]));
            }
        }
    }
}

/// Updates parameters of any types on the team.
fn step<O: Optimizer<STATE>, const STATE: usize>(exec: &Exec, optimizer: O, parameters: Vec<Parameter>) {
    let mut by_type = DType::FLOATS.map(|_| Vec::new());
    for parameter in parameters {
        by_type[parameter.value.dtype() as usize].push(parameter);
    }
    let [singles, doubles, brains, halves] = by_type;
    step_of::<f32, O, STATE>(exec, optimizer, singles);
    step_of::<f64, O, STATE>(exec, optimizer, doubles);
    step_of::<bf16, O, STATE>(exec, optimizer, brains);
    step_of::<f16, O, STATE>(exec, optimizer, halves);
}

fn step_of<T: Element, O: Optimizer<STATE>, const STATE: usize>(exec: &Exec, optimizer: O, parameters: Vec<Parameter>) {
    let mut pieces = Vec::with_capacity(parameters.len());
    for parameter in parameters {
        Piece::<T, STATE>::whole(parameter).cut(&mut pieces);
    }
    let len: usize = pieces.iter().map(|piece| piece.value.len()).sum();
    if len == 0 {
        return;
    }
    let (team, grain) = exec.team(len, (3 + 2 * STATE) * size_of::<T>(), O::FLOPS);
    let grain = (grain * pieces.len()).div_ceil(len);
    split_mut(team, &mut pieces, 1, grain, &|_, pieces| {
        exec.isa.run(Update(optimizer, pieces));
    });
}

/// The gradient that a step goes by.
#[derive(Clone, Copy)]
struct Gradient<F> {
    maximize: bool,
    penalized: bool,
    weight_decay: F,
}

impl<F: Float> Gradient<F> {
    #[inline(always)]
    fn new(maximize: bool, weight_decay: f64) -> Self {
        Self {
            maximize,
            penalized: weight_decay != 0.0,
            weight_decay: F::of(weight_decay),
        }
    }

    #[inline(always)]
    fn of(self, value: F, grad: F) -> F {
        let grad = if self.maximize { -grad } else { grad };
        if self.penalized {
            value.mul_add(self.weight_decay, grad)
        } else {
            grad
        }
    }
}

/// `torch.lerp` by a weight: reckoned from the end that is nearer.
#[derive(Clone, Copy)]
struct Lerp<F> {
    weight: F,
    from_end: bool,
}

impl<F: Float> Lerp<F> {
    #[inline(always)]
    fn new(weight: f64) -> Self {
        let from_end = weight.abs() >= 0.5;
        Self {
            weight: F::of(if from_end { weight - 1.0 } else { weight }),
            from_end,
        }
    }

    #[inline(always)]
    fn between(self, start: F, end: F) -> F {
        (end - start).mul_add(self.weight, if self.from_end { end } else { start })
    }
}

/// A running average of squares.
#[derive(Clone, Copy)]
struct SquareAverage<F> {
    decay: F,
    complement: F,
}

impl<F: Float> SquareAverage<F> {
    #[inline(always)]
    fn new(decay: f64) -> Self {
        Self {
            decay: F::of(decay),
            complement: F::of(1.0 - decay),
        }
    }

    #[inline(always)]
    fn with(self, average: F, x: F) -> F {
        (self.complement * x).mul_add(x, average * self.decay)
    }
}

#[cfg(test)]
mod test {
    use super::*;
    use crate::{
        isa::Isa,
        kernel::StepKernel,
        parallel::{Serial, Team, test::Halves},
    };

    /// Numbers about 0, or above it.
    fn numbers(len: usize, seed: usize, positive: bool) -> Vec<f64> {
        let number = |i: usize| ((i * 7919 + seed * 104_729) % 2003) as f64 / 1001.0 - 1.0;
        (0..len)
            .map(|i| if positive { number(i).abs() } else { number(i) })
            .collect()
    }

    /// Compares a step with `truth(value, grad, state, step)` in double precision, over parameters of several lengths, on
    /// every instruction set, and that threads do not matter. The state is drawn between 0 and `scales`.
    pub(super) fn assert_step<const STATE: usize>(
        kernel: &dyn StepKernel,
        settings: &[f64],
        scales: [f32; STATE],
        truth: impl Fn(f64, f64, [f64; STATE], f64) -> (f64, [f64; STATE]),
    ) {
        let lengths = [1, 7, 300, PIECE + 5, 3 * PIECE];
        let of = |len: usize, seed| {
            numbers(len, seed, seed > 1)
                .iter()
                .map(|&x| x as f32)
                .collect::<Vec<f32>>()
        };
        for isa in Isa::available() {
            let mut results = Vec::new();
            for team in [&Serial as &dyn Team, &Halves] {
                let mut tensors: Vec<Vec<Vec<f32>>> = lengths
                    .iter()
                    .map(|&len| (0..2 + STATE).map(|seed| of(len, seed)).collect())
                    .collect();
                for tensors in &mut tensors {
                    for (state, scale) in tensors[2..].iter_mut().zip(scales) {
                        state.iter_mut().for_each(|x| *x *= scale);
                    }
                }
                let before = tensors.clone();
                let parameters = tensors.iter_mut().enumerate().map(|(i, tensors)| {
                    let mut tensors = tensors.iter_mut();
                    let mut next = || tensors.next().expect("as many tensors");
                    Parameter {
                        value: (&mut next()[..]).into(),
                        grad: (&next()[..]).into(),
                        state: (0..STATE).map(|_| (&mut next()[..]).into()).collect(),
                        step: i as f64 + 1.0,
                    }
                });
                kernel.step(&Exec::new(isa, team), parameters.collect(), settings);
                for (i, (after, before)) in tensors.iter().zip(&before).enumerate() {
                    assert_eq!(after[1], before[1], "the gradient is only read");
                    for at in 0..before[0].len() {
                        let old = |tensor: usize| before[tensor][at] as f64;
                        let (value, state) = truth(old(0), old(1), array::from_fn(|s| old(2 + s)), i as f64 + 1.0);
                        let pairs = [(after[0][at], value)].into_iter();
                        for (found, truth) in pairs.chain((0..STATE).map(|s| (after[2 + s][at], state[s]))) {
                            assert!(
                                (found as f64 - truth).abs() <= 4e-7 * truth.abs().max(0.25),
                                "{}: {found} for {truth}",
                                isa.name()
                            );
                        }
                    }
                }
                results.push(tensors);
            }
            assert_eq!(results[0], results[1], "threads do not matter");
        }
    }
}
