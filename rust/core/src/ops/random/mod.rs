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
    parallel::{Shared, split_mut},
    random::{
        Bernoulli, Draw, STRETCH, Source,
        counter::{BLOCK, Counted},
    },
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

/// Whether an element is kept.
trait Kept: Copy {
    fn is_kept(self) -> bool;
}

/// As of [`Draw`].
impl Kept for i32 {
    #[inline(always)]
    fn is_kept(self) -> bool {
        self < 0
    }
}

/// As of a mask.
impl Kept for u8 {
    #[inline(always)]
    fn is_kept(self) -> bool {
        self != 0
    }
}

/// A fate on elements of a type, with the space that this takes.
struct Applied<T: Element> {
    fate: Fate<T::Lane>,
    /// Of work in place.
    copy: [T; TILE],
    tiles: Tiles<T>,
}

/// Lanes and elements on their way.
struct Tiles<T: Element> {
    wide: [T::Lane; TILE],
    results: [T::Lane; TILE],
    rounded: [T; TILE],
}

impl<T: Element> Applied<T> {
    #[inline(always)]
    fn new(fate: Fate<T::Lane>) -> Self {
        let zero = T::Lane::of(0.0);
        Self {
            fate,
            copy: [T::rounded(zero); TILE],
            tiles: Tiles {
                wide: [zero; TILE],
                results: [zero; TILE],
                rounded: [T::rounded(zero); TILE],
            },
        }
    }

    /// Writes what becomes of as many elements as there are.
    #[inline(always)]
    fn apply<S: Simd, K: Kept>(&mut self, simd: S, src: &[T], kept: &[K], dst: &mut [MaybeUninit<T>]) {
        let parts = src.chunks(TILE).zip(kept.chunks(TILE));
        for ((src, kept), dst) in parts.zip(dst.chunks_mut(TILE)) {
            self.tiles.apply(simd, self.fate, src, kept, dst);
        }
    }

    /// The same in place.
    #[inline(always)]
    fn apply_inplace<S: Simd>(&mut self, simd: S, buf: &mut [T], kept: &[i32]) {
        for (buf, kept) in buf.chunks_mut(TILE).zip(kept.chunks(TILE)) {
            let src = &mut self.copy[..buf.len()];
            src.copy_from_slice(buf);
            self.tiles.apply(simd, self.fate, src, kept, as_uninit(buf));
        }
    }
}

impl<T: Element> Tiles<T> {
    /// Writes what becomes of at most [`TILE`] elements.
    #[inline(always)]
    fn apply<S: Simd, K: Kept>(
        &mut self,
        simd: S,
        fate: Fate<T::Lane>,
        src: &[T],
        kept: &[K],
        dst: &mut [MaybeUninit<T>],
    ) {
        let each = src.iter().zip(kept);
        match fate {
            Fate::Chosen(of) => {
                let of = of.map(T::rounded);
                for (dst, &kept) in dst.iter_mut().zip(kept) {
                    dst.write(pick(of, kept));
                }
            }
            Fate::Scaled(scale) if T::PACKS => {
                for (dst, (x, &kept)) in dst.iter_mut().zip(each) {
                    dst.write(T::rounded(x.lane() * pick(scale, kept)));
                }
            }
            Fate::Scaled(scale) => self.collect(simd, src, kept, dst, |x, kept| x * pick(scale, kept)),
            Fate::Shifted(scale, shift) if T::PACKS => {
                for (dst, (x, &kept)) in dst.iter_mut().zip(each) {
                    dst.write(T::rounded(
                        nearest::<T>(x.lane() * pick(scale, kept)) + pick(shift, kept),
                    ));
                }
            }
            Fate::Shifted(scale, shift) => {
                let mut rounded = self.rounded;
                let rounded = &mut rounded[..src.len()];
                self.collect(simd, src, kept, as_uninit(rounded), |x, kept| x * pick(scale, kept));
                self.collect(simd, rounded, kept, dst, |x, kept| x + pick(shift, kept));
            }
        }
    }

    /// `dst[i] = f(src[i], kept[i])`, by way of lanes.
    #[inline(always)]
    fn collect<S: Simd, K: Kept>(
        &mut self,
        simd: S,
        src: &[T],
        kept: &[K],
        dst: &mut [MaybeUninit<T>],
        f: impl Fn(T::Lane, K) -> T::Lane,
    ) {
        let lanes = T::lanes(simd, src, &mut self.wide).iter().zip(kept);
        T::collect(simd, lanes.map(|(&x, &kept)| f(x, kept)), &mut self.results, dst);
    }
}

#[inline(always)]
fn pick<F: Copy, K: Kept>(of: [F; 2], kept: K) -> F {
    if kept.is_kept() { of[1] } else { of[0] }
}

struct Forward<'a, T: Element, D> {
    draws: D,
    /// Space for what is drawn at a time.
    kept: &'a mut [i32],
    fate: Fate<T::Lane>,
    src: &'a [T],
    dst: &'a mut [MaybeUninit<T>],
    mask: Option<&'a mut [MaybeUninit<u8>]>,
}

impl<T: Element, D: Draw> Program for Forward<'_, T, D> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self {
            mut draws,
            kept,
            fate,
            src,
            dst,
            mut mask,
        } = self;
        let mut applied = Applied::<T>::new(fate);
        let mut start = 0;
        while start < src.len() {
            let most = kept.len().min(src.len() - start);
            let end = start + draws.draw(&mut kept[..most]);
            let kept = &kept[..end - start];
            applied.apply(simd, &src[start..end], kept, &mut dst[start..end]);
            if let Some(mask) = &mut mask {
                for (mask, kept) in mask[start..end].iter_mut().zip(kept) {
                    mask.write(u8::from(kept.is_kept()));
                }
            }
            start = end;
        }
    }
}

struct Inplace<'a, T: Element, D> {
    draws: D,
    /// As above.
    kept: &'a mut [i32],
    fate: Fate<T::Lane>,
    buf: &'a mut [T],
}

impl<T: Element, D: Draw> Program for Inplace<'_, T, D> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self {
            mut draws,
            kept,
            fate,
            buf,
        } = self;
        let mut applied = Applied::<T>::new(fate);
        let mut rest = buf;
        while !rest.is_empty() {
            let most = kept.len().min(rest.len());
            let count = draws.draw(&mut kept[..most]);
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

/// Integer instructions that a number takes which depends on a key.
const COUNTED: usize = 4;

/// Serial, if the numbers are the generator's.
fn forward<T: Element>(
    exec: &Exec,
    source: Source,
    probability: f64,
    src: &[T],
    dst: &mut [MaybeUninit<T>],
    mask: Option<&mut [MaybeUninit<u8>]>,
    fate: Fate<T::Lane>,
) {
    assert!(
        src.len() == dst.len() && mask.as_ref().is_none_or(|mask| mask.len() == src.len()),
        "the slices differ in length"
    );
    let key = match source {
        Source::Torch(generator) => {
            return exec.isa.run(Forward {
                draws: Bernoulli::new(generator, probability),
                kept: &mut [0; STRETCH],
                fate,
                src,
                dst,
                mask,
            });
        }
        Source::Key(key) => key,
    };
    let len = src.len();
    let (team, grain) = exec.team(len, 2 * size_of::<T>(), COUNTED);
    let (dst, mask) = (Shared::new(dst), mask.map(Shared::new));
    team.run(len.div_ceil(BLOCK), grain.div_ceil(BLOCK), &|blocks| {
        let range = blocks.start * BLOCK..len.min(blocks.end * BLOCK);
        // SAFETY: a team's ranges are disjoint.
        let (dst, mask) = unsafe {
            (
                dst.piece(range.clone()),
                mask.as_ref().map(|mask| mask.piece(range.clone())),
            )
        };
        exec.isa.run(Forward {
            draws: Counted::new(key, probability, range.start),
            kept: &mut [0; TILE],
            fate,
            src: &src[range],
            dst,
            mask,
        });
    });
}

/// As above.
fn inplace<T: Element>(exec: &Exec, source: Source, probability: f64, buf: &mut [T], fate: Fate<T::Lane>) {
    let key = match source {
        Source::Torch(generator) => {
            return exec.isa.run(Inplace {
                draws: Bernoulli::new(generator, probability),
                kept: &mut [0; STRETCH],
                fate,
                buf,
            });
        }
        Source::Key(key) => key,
    };
    let len = buf.len();
    let (team, grain) = exec.team(len, 2 * size_of::<T>(), COUNTED);
    let buf = Shared::new(buf);
    team.run(len.div_ceil(BLOCK), grain.div_ceil(BLOCK), &|blocks| {
        let range = blocks.start * BLOCK..len.min(blocks.end * BLOCK);
        exec.isa.run(Inplace {
            draws: Counted::new(key, probability, range.start),
            kept: &mut [0; TILE],
            fate,
            // SAFETY: a team's ranges are disjoint.
            buf: unsafe { buf.piece(range) },
        });
    });
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
        source: Source,
        src: View,
        dst: Target,
        mask: Option<&mut [MaybeUninit<u8>]>,
        numbers: &[f64],
    ) {
        let probability = C::kept(numbers);
        each_type!((src: View, dst: Target) => {
            forward(exec, source, probability, src, dst, mask, fate_of::<C, _>(src, numbers));
        });
    }

    fn inplace(&self, exec: &Exec, source: Source, buf: ViewMut, numbers: &[f64]) {
        each_type!((buf: ViewMut) => {
            let fate = fate_of::<C, _>(buf, numbers);
            inplace(exec, source, C::kept(numbers), buf, fate);
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
    use crate::{
        isa::Isa,
        ops::RANDOM_KERNELS,
        parallel::{Serial, test::Halves},
        random::Mt19937,
    };

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
                    Source::Torch(one),
                    (&src[..]).into(),
                    (&mut result[..]).into(),
                    Some(as_uninit(&mut mask)),
                    &[0.1],
                );
                let mut buf = src.clone();
                kernel.inplace(&exec, Source::Torch(two), (&mut buf[..]).into(), &[0.1]);
                assert_eq!(buf, result, "{}", kernel.name());
                assert_eq!(one.parts(), two.parts());
                let kept = if kernel.name() == "bernoulli" { 200 } else { 1800 };
                let count: usize = mask.iter().map(|&kept| usize::from(kept)).sum();
                assert!(count.abs_diff(kept) < 60, "{count} of 2000");
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

    /// The result and the mask by a key.
    fn keyed(kernel: &dyn RandomKernel, exec: &Exec, src: &[f32], key: u64, p: f64) -> (Vec<f32>, Vec<u8>) {
        let (mut result, mut mask) = (vec![0.0; src.len()], vec![2; src.len()]);
        kernel.forward(
            exec,
            Source::Key(key),
            src.into(),
            (&mut result[..]).into(),
            Some(as_uninit(&mut mask)),
            &[p],
        );
        (result, mask)
    }

    #[test]
    fn a_key_gives_the_same_whatever_the_team_the_instructions_and_the_length() {
        let src: Vec<f32> = (0..3 * BLOCK + 77).map(|i| i as f32 - 700.5).collect();
        for kernel in RANDOM_KERNELS {
            let first = keyed(*kernel, &Exec::new(Isa::detect(), &Serial), &src, 7, 0.3);
            for isa in Isa::available() {
                let exec = Exec::new(isa, &Halves);
                assert_eq!(keyed(*kernel, &exec, &src, 7, 0.3), first, "{}", kernel.name());
                let mut buf = src.clone();
                kernel.inplace(&exec, Source::Key(7), (&mut buf[..]).into(), &[0.3]);
                assert_eq!(buf, first.0, "{}", kernel.name());
                for len in [1, 31, 33, 511, 513, BLOCK - 1, BLOCK + 1] {
                    let (result, mask) = keyed(*kernel, &exec, &src[..len], 7, 0.3);
                    assert_eq!((&result[..], &mask[..]), (&first.0[..len], &first.1[..len]), "{len}");
                }
            }
            assert_ne!(
                keyed(*kernel, &Exec::new(Isa::detect(), &Serial), &src, 8, 0.3).1,
                first.1
            );
        }
    }
}
