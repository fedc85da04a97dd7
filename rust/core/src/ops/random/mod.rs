//! Operations with random numbers, and their driver: each element is kept with a probability, else dropped.

pub mod alpha_dropout;
pub mod bernoulli;
pub mod dropout;

use core::{marker::PhantomData, mem::MaybeUninit};

use crate::{
    dtype::{Element, TILE, Target, View, ViewMut, as_uninit},
    float::Float,
    isa::{Program, Simd},
    kernel::{Exec, RandomKernel, each_type},
    parallel::split_mut,
    random::{Bernoulli, Mt19937, STRETCH},
};

/// What becomes of an element: a number each for one that is dropped, and for one that is kept.
#[derive(Clone, Copy, Debug)]
pub enum Fate<F> {
    /// It is multiplied by that.
    Scaled([F; 2]),
    /// It is multiplied by the first ones, rounded, and the second ones are added.
    Shifted([F; 2], [F; 2]),
    /// It is that.
    Chosen([F; 2]),
}

impl<F: Float> Fate<F> {
    /// What becomes of a gradient.
    #[inline(always)]
    fn gradient(self) -> Self {
        match self {
            Self::Scaled(scale) | Self::Shifted(scale, _) => Self::Scaled(scale),
            Self::Chosen(_) => Self::Chosen([F::of(0.0); 2]),
        }
    }
}

/// An operation that keeps elements at random.
pub trait Chance: Copy + Send + Sync + 'static {
    /// torch's name.
    const NAME: &'static str;

    /// See [`RandomKernel::accepts`].
    ///
    /// # Errors
    /// The reason why these parameters are not for this operation.
    fn accepts(numbers: &[f64]) -> Result<(), &'static str>;

    /// The probability with which an element is kept.
    fn kept(numbers: &[f64]) -> f64;

    /// What becomes of it, in numbers of the element type.
    fn fate<T: Element>(numbers: &[f64]) -> Fate<T::Lane>;
}

/// The kernel of an operation that keeps elements at random.
pub struct Random<C>(PhantomData<C>);

impl<C> Random<C> {
    /// The kernel.
    pub const NEW: Self = Self(PhantomData);
}

/// The nearest number of the element type.
#[inline(always)]
fn nearest<T: Element>(x: T::Lane) -> T::Lane {
    T::rounded(x).lane()
}

/// A fate on elements of a type, with the space that this takes.
struct Applied<T: Element> {
    fate: Fate<T::Lane>,
    wide: [T::Lane; TILE],
    results: [T::Lane; TILE],
    halves: [T; TILE],
}

impl<T: Element> Applied<T> {
    #[inline(always)]
    fn new(fate: Fate<T::Lane>) -> Self {
        let zero = T::Lane::of(0.0);
        Self {
            fate,
            wide: [zero; TILE],
            results: [zero; TILE],
            halves: [T::rounded(zero); TILE],
        }
    }

    /// Writes what becomes of as many elements as there are; they are kept where `kept` is not 0.
    #[inline(always)]
    fn apply<S: Simd>(&mut self, simd: S, src: &[T], kept: &[u8], dst: &mut [MaybeUninit<T>]) {
        let parts = src.chunks(TILE).zip(kept.chunks(TILE));
        for ((src, kept), dst) in parts.zip(dst.chunks_mut(TILE)) {
            self.tile(simd, src, kept, dst);
        }
    }

    /// The same in place.
    #[inline(always)]
    fn apply_inplace<S: Simd>(&mut self, simd: S, buf: &mut [T], kept: &[u8]) {
        let mut src = self.halves;
        for (buf, kept) in buf.chunks_mut(TILE).zip(kept.chunks(TILE)) {
            let src = &mut src[..buf.len()];
            src.copy_from_slice(buf);
            self.tile(simd, src, kept, as_uninit(buf));
        }
    }

    /// The same for at most [`TILE`] elements.
    #[inline(always)]
    fn tile<S: Simd>(&mut self, simd: S, src: &[T], kept: &[u8], dst: &mut [MaybeUninit<T>]) {
        let Self {
            fate,
            wide,
            results,
            halves,
        } = self;
        let results = &mut results[..];
        match *fate {
            Fate::Chosen(of) => T::collect(simd, kept.iter().map(|&kept| pick(of, kept)), results, dst),
            Fate::Scaled(scale) => {
                let lanes = T::lanes(simd, src, wide).iter().zip(kept);
                T::collect(simd, lanes.map(|(&x, &kept)| x * pick(scale, kept)), results, dst);
            }
            Fate::Shifted(scale, shift) if T::HALF => {
                let halves = &mut halves[..src.len()];
                let lanes = T::lanes(simd, src, wide).iter().zip(kept);
                T::collect(
                    simd,
                    lanes.map(|(&x, &kept)| x * pick(scale, kept)),
                    results,
                    as_uninit(halves),
                );
                let lanes = T::lanes(simd, halves, wide).iter().zip(kept);
                T::collect(simd, lanes.map(|(&x, &kept)| x + pick(shift, kept)), results, dst);
            }
            Fate::Shifted(scale, shift) => {
                let lanes = T::lanes(simd, src, wide).iter().zip(kept);
                let moved = lanes.map(|(&x, &kept)| x * pick(scale, kept) + pick(shift, kept));
                T::collect(simd, moved, results, dst);
            }
        }
    }
}

#[inline(always)]
fn pick<F: Float>(of: [F; 2], kept: u8) -> F {
    if kept == 0 { of[0] } else { of[1] }
}

/// Serial, as the generator is.
struct Forward<'a, T: Element> {
    bernoulli: Bernoulli<'a>,
    fate: Fate<T::Lane>,
    src: &'a [T],
    dst: &'a mut [MaybeUninit<T>],
    mask: Option<&'a mut [MaybeUninit<u8>]>,
}

impl<T: Element> Program for Forward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self {
            mut bernoulli,
            fate,
            src,
            dst,
            mut mask,
        } = self;
        let mut applied = Applied::<T>::new(fate);
        let mut kept = [0; STRETCH];
        let mut start = 0;
        while start < src.len() {
            let most = STRETCH.min(src.len() - start);
            let end = start + bernoulli.draw(&mut kept[..most]);
            let kept = &kept[..end - start];
            applied.apply(simd, &src[start..end], kept, &mut dst[start..end]);
            if let Some(mask) = &mut mask {
                mask[start..end].write_copy_of_slice(kept);
            }
            start = end;
        }
    }
}

/// As above.
struct Inplace<'a, T: Element> {
    bernoulli: Bernoulli<'a>,
    fate: Fate<T::Lane>,
    buf: &'a mut [T],
}

impl<T: Element> Program for Inplace<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self {
            mut bernoulli,
            fate,
            buf,
        } = self;
        let mut applied = Applied::<T>::new(fate);
        let mut kept = [0; STRETCH];
        let mut rest = buf;
        while !rest.is_empty() {
            let most = STRETCH.min(rest.len());
            let count = bernoulli.draw(&mut kept[..most]);
            let (buf, others) = rest.split_at_mut(count);
            applied.apply_inplace(simd, buf, &kept[..count]);
            rest = others;
        }
    }
}

struct Backward<'a, T: Element> {
    fate: Fate<T::Lane>,
    grad: &'a [T],
    mask: &'a [u8],
    dst: &'a mut [MaybeUninit<T>],
}

impl<T: Element> Program for Backward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        Applied::<T>::new(self.fate.gradient()).apply(simd, self.grad, self.mask, self.dst);
    }
}

fn backward<T: Element>(exec: &Exec, grad: &[T], mask: &[u8], dst: &mut [MaybeUninit<T>], fate: Fate<T::Lane>) {
    assert!(
        grad.len() == dst.len() && mask.len() == dst.len(),
        "the slices differ in length"
    );
    let (team, grain) = exec.team(dst.len(), 2 * size_of::<T>() + 1, 1);
    split_mut(team, dst, 1, grain, &|start, dst| {
        let range = start..start + dst.len();
        exec.isa.run(Backward {
            fate,
            grad: &grad[range.clone()],
            mask: &mask[range],
            dst,
        });
    });
}

fn forward<T: Element>(
    exec: &Exec,
    bernoulli: Bernoulli,
    src: &[T],
    dst: &mut [MaybeUninit<T>],
    mask: Option<&mut [MaybeUninit<u8>]>,
    fate: Fate<T::Lane>,
) {
    assert!(
        src.len() == dst.len() && mask.as_ref().is_none_or(|mask| mask.len() == src.len()),
        "the slices differ in length"
    );
    exec.isa.run(Forward {
        bernoulli,
        fate,
        src,
        dst,
        mask,
    });
}

fn inplace<T: Element>(exec: &Exec, bernoulli: Bernoulli, buf: &mut [T], fate: Fate<T::Lane>) {
    exec.isa.run(Inplace { bernoulli, fate, buf });
}

impl<C: Chance> RandomKernel for Random<C> {
    fn name(&self) -> &'static str {
        C::NAME
    }

    fn accepts(&self, numbers: &[f64]) -> Result<(), &'static str> {
        C::accepts(numbers)
    }

    fn forward(
        &self,
        exec: &Exec,
        generator: &mut Mt19937,
        src: View,
        dst: Target,
        mask: Option<&mut [MaybeUninit<u8>]>,
        numbers: &[f64],
    ) {
        let bernoulli = Bernoulli::new(generator, C::kept(numbers));
        each_type!((src: View, dst: Target) => forward(exec, bernoulli, src, dst, mask, fate_of::<C, _>(src, numbers)));
    }

    fn inplace(&self, exec: &Exec, generator: &mut Mt19937, buf: ViewMut, numbers: &[f64]) {
        let bernoulli = Bernoulli::new(generator, C::kept(numbers));
        each_type!((buf: ViewMut) => {
            let fate = fate_of::<C, _>(buf, numbers);
            inplace(exec, bernoulli, buf, fate);
        });
    }

    fn backward(&self, exec: &Exec, grad: View, mask: &[u8], dst: Target, numbers: &[f64]) {
        each_type!((grad: View, dst: Target) => backward(exec, grad, mask, dst, fate_of::<C, _>(grad, numbers)));
    }
}

/// What becomes of the elements of a slice.
fn fate_of<C: Chance, T: Element>(_: &[T], numbers: &[f64]) -> Fate<T::Lane> {
    C::fate::<T>(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{isa::Isa, ops::RANDOM_KERNELS, parallel::Serial};

    #[test]
    fn forms_agree_and_instruction_sets_do() {
        let src: Vec<f32> = (0..2000).map(|i| i as f32 - 700.5).collect();
        for kernel in RANDOM_KERNELS {
            let mut all = Vec::new();
            for isa in Isa::available() {
                let exec = Exec::new(isa, &Serial);
                let mut generators = [(); 2].map(|()| Mt19937::from_seed(3));
                let (mut result, mut mask) = (vec![0.0_f32; src.len()], vec![2_u8; src.len()]);
                let [one, two] = &mut generators;
                kernel.forward(
                    &exec,
                    one,
                    (&src[..]).into(),
                    (&mut result[..]).into(),
                    Some(as_uninit(&mut mask)),
                    &[0.1],
                );
                let mut buf = src.clone();
                kernel.inplace(&exec, two, (&mut buf[..]).into(), &[0.1]);
                assert_eq!(buf, result, "{}", kernel.name());
                assert_eq!(one.parts(), two.parts());
                // Where elements are dropped, the result does not depend on them, but for the sign of zero.
                let lost = |kept: u8| {
                    result
                        .iter()
                        .zip(&mask)
                        .filter(move |&(_, &k)| k == kept)
                        .map(|(&y, _)| y)
                };
                assert!(lost(0).all(|y| y == lost(0).next().unwrap()), "{}", kernel.name());
                assert_eq!(lost(0).count() + lost(1).count(), src.len());
                all.push((result, mask));
            }
            assert!(all.windows(2).all(|pair| pair[0] == pair[1]), "{}", kernel.name());
        }
    }
}
