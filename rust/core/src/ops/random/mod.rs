//! Operations with random numbers, and their driver: each element is kept with a probability, else dropped.

pub mod alpha_dropout;
pub mod bernoulli;
pub mod dropout;
pub mod feature_alpha_dropout;
pub mod feature_dropout;
pub mod multinomial;

use core::{marker::PhantomData, mem::MaybeUninit, ops::Range};

use crate::{
    dtype::{Element, TILE, Target, Unwritten, View, ViewMut, as_uninit, nearest},
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

    /// Whether channels are kept or dropped as a whole: all elements of one index in the first two dimensions.
    const FEATURES: bool = false;

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

/// Elements, and where results go.
enum Place<'a, T> {
    Apart(&'a [T], &'a mut [MaybeUninit<T>]),
    Same(&'a mut [T]),
}

impl<T> Place<'_, T> {
    #[inline(always)]
    fn len(&self) -> usize {
        match self {
            Self::Apart(src, dst) => {
                assert_eq!(src.len(), dst.len(), "the slices differ in length");
                src.len()
            }
            Self::Same(buf) => buf.len(),
        }
    }

    /// Some of them.
    #[inline(always)]
    fn part(&mut self, range: Range<usize>) -> Place<'_, T> {
        match self {
            Self::Apart(src, dst) => Place::Apart(&src[range.clone()], &mut dst[range]),
            Self::Same(buf) => Place::Same(&mut buf[range]),
        }
    }
}

/// The same for threads.
enum Places<'a, T> {
    Apart(&'a [T], Shared<'a, MaybeUninit<T>>),
    Same(Shared<'a, T>),
}

impl<'a, T> Places<'a, T> {
    fn new(place: Place<'a, T>) -> Self {
        match place {
            Place::Apart(src, dst) => Self::Apart(src, Shared::new(dst)),
            Place::Same(buf) => Self::Same(Shared::new(buf)),
        }
    }

    /// # Safety
    /// The range overlaps no other one in use.
    unsafe fn part(&self, range: Range<usize>) -> Place<'_, T> {
        // SAFETY: the caller's.
        unsafe {
            match self {
                Self::Apart(src, dst) => Place::Apart(&src[range.clone()], dst.piece(range)),
                Self::Same(buf) => Place::Same(buf.piece(range)),
            }
        }
    }
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
    fn apply<S: Simd, K: Kept>(&mut self, simd: S, place: Place<T>, kept: &[K]) {
        let Self { fate, copy, tiles } = self;
        match place {
            Place::Apart(src, dst) => {
                let parts = src.chunks(TILE).zip(kept.chunks(TILE));
                for ((src, kept), dst) in parts.zip(dst.chunks_mut(TILE)) {
                    tiles.apply(simd, *fate, src, kept, dst);
                }
            }
            Place::Same(buf) => {
                for (buf, kept) in buf.chunks_mut(TILE).zip(kept.chunks(TILE)) {
                    let src = &mut copy[..buf.len()];
                    src.copy_from_slice(buf);
                    tiles.apply(simd, *fate, src, kept, as_uninit(buf));
                }
            }
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

/// What is drawn, and what becomes of elements by it.
struct Drawn<'a, T: Element, D> {
    draws: D,
    /// Space for what is drawn at a time.
    kept: &'a mut [i32],
    fate: Fate<T::Lane>,
    place: Place<'a, T>,
    mask: Option<&'a mut [MaybeUninit<u8>]>,
}

impl<T: Element, D: Draw> Program for Drawn<'_, T, D> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self {
            mut draws,
            kept,
            fate,
            mut place,
            mut mask,
        } = self;
        let mut applied = Applied::<T>::new(fate);
        let (mut start, len) = (0, place.len());
        while start < len {
            let most = kept.len().min(len - start);
            let end = start + draws.draw(&mut kept[..most]);
            let kept = &kept[..end - start];
            applied.apply(simd, place.part(start..end), kept);
            if let Some(mask) = &mut mask {
                write_mask(&mut mask[start..end], kept);
            }
            start = end;
        }
    }
}

#[inline(always)]
fn write_mask(mask: &mut [MaybeUninit<u8>], kept: &[i32]) {
    for (mask, kept) in mask.iter_mut().zip(kept) {
        mask.write(u8::from(kept.is_kept()));
    }
}

/// What is drawn.
struct Mask<'a, D>(D, &'a mut [u8]);

impl<D: Draw> Program for Mask<'_, D> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self(mut draws, mut mask) = self;
        let mut kept = [0; TILE];
        while !mask.is_empty() {
            let most = kept.len().min(mask.len());
            let (part, rest) = mask.split_at_mut(draws.draw(&mut kept[..most]));
            write_mask(as_uninit(part), &kept);
            mask = rest;
        }
    }
}

/// What was drawn, for as many elements each.
struct Spread<'a> {
    /// From the next one on.
    mask: &'a [u8],
    each: usize,
    /// Elements that the next one is for.
    left: usize,
}

impl<'a> Spread<'a> {
    /// For the elements from `start` on.
    #[inline(always)]
    fn new(mask: &'a [u8], each: usize, start: usize) -> Self {
        Self {
            mask: &mask[start / each..],
            each,
            left: each - start % each,
        }
    }
}

impl Draw for Spread<'_> {
    #[inline(always)]
    fn draw(&mut self, kept: &mut [i32]) -> usize {
        let mut rest = &mut *kept;
        while !rest.is_empty() {
            let (run, others) = rest.split_at_mut(self.left.min(rest.len()));
            run.fill(-i32::from(self.mask[0].is_kept()));
            self.left -= run.len();
            if self.left == 0 {
                (self.mask, self.left) = (&self.mask[1..], self.each);
            }
            rest = others;
        }
        kept.len()
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
        Applied::<T>::new(self.fate.gradient()).apply(simd, Place::Apart(self.grad, self.dst), self.mask);
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

/// Keeps every element by itself. Serial, if the numbers are the generator's.
fn keep<T: Element>(
    exec: &Exec,
    source: Source,
    probability: f64,
    place: Place<T>,
    mask: Option<&mut [MaybeUninit<u8>]>,
    fate: Fate<T::Lane>,
) {
    let len = place.len();
    assert!(
        mask.as_ref().is_none_or(|mask| mask.len() == len),
        "the slices differ in length"
    );
    let key = match source {
        Source::Torch(generator) => {
            return exec.isa.run(Drawn {
                draws: Bernoulli::new(generator, probability),
                kept: &mut [0; STRETCH],
                fate,
                place,
                mask,
            });
        }
        Source::Key(key) => key,
    };
    let (team, grain) = exec.team(len, 2 * size_of::<T>(), COUNTED);
    let (places, mask) = (Places::new(place), mask.map(Shared::new));
    team.run(len.div_ceil(BLOCK), grain.div_ceil(BLOCK), &|blocks| {
        let range = blocks.start * BLOCK..len.min(blocks.end * BLOCK);
        // SAFETY: a team's ranges are disjoint.
        let (place, mask) = unsafe {
            (
                places.part(range.clone()),
                mask.as_ref().map(|mask| mask.piece(range.clone())),
            )
        };
        exec.isa.run(Drawn {
            draws: Counted::new(key, probability, range.start),
            kept: &mut [0; TILE],
            fate,
            place,
            mask,
        });
    });
}

/// Keeps `each` elements in a row, or none of them.
fn keep_features<T: Element>(
    exec: &Exec,
    source: Source,
    probability: f64,
    place: Place<T>,
    each: usize,
    mask: Option<&mut [MaybeUninit<u8>]>,
    fate: Fate<T::Lane>,
) {
    let mut drawn = vec![0; place.len() / each];
    match source {
        Source::Torch(generator) => exec.isa.run(Mask(Bernoulli::new(generator, probability), &mut drawn)),
        Source::Key(key) => exec.isa.run(Mask(Counted::new(key, probability, 0), &mut drawn)),
    }
    if let Some(mask) = mask {
        mask.write_copy_of_slice(&drawn);
    }
    spread(exec, &drawn, place, each, fate);
}

/// What becomes of elements by a mask that has a byte for `each` of them in a row.
fn spread<T: Element>(exec: &Exec, mask: &[u8], place: Place<T>, each: usize, fate: Fate<T::Lane>) {
    let len = place.len();
    assert_eq!(mask.len() * each, len, "the mask is of other elements");
    let (team, grain) = exec.team(len, 2 * size_of::<T>(), 1);
    let places = Places::new(place);
    team.run(len, grain, &|range| {
        exec.isa.run(Drawn {
            draws: Spread::new(mask, each, range.start),
            kept: &mut [0; TILE],
            fate,
            // SAFETY: a team's ranges are disjoint.
            place: unsafe { places.part(range) },
            mask: None,
        });
    });
}

impl<C: Chance> Random<C> {
    fn run<T: Element>(
        exec: &Exec,
        source: Source,
        place: Place<T>,
        each: usize,
        mask: Option<&mut [MaybeUninit<u8>]>,
        numbers: &[f64],
    ) {
        let (probability, fate) = (C::kept(numbers), C::fate::<T>(numbers));
        if each == 1 {
            keep(exec, source, probability, place, mask, fate);
        } else {
            keep_features(exec, source, probability, place, each, mask, fate);
        }
    }
}

impl<C: Chance> RandomKernel for Random<C> {
    fn name(&self) -> &'static str {
        C::NAME
    }

    fn accepts(&self, numbers: &[f64]) -> Result<(), &'static str> {
        C::accepts(numbers)
    }

    fn each(&self, sizes: &[i64]) -> Result<Option<usize>, &'static str> {
        match sizes {
            _ if !C::FEATURES => Ok(None),
            [_, _, inner @ ..] => Ok(Some(inner.iter().product::<i64>() as usize)),
            _ => Err("fewer than two dimensions"),
        }
    }

    fn forward(
        &self,
        exec: &Exec,
        source: Source,
        src: View,
        dst: Target,
        each: usize,
        mask: Option<Unwritten<u8>>,
        numbers: &[f64],
    ) {
        each_type!((src: View, dst: Target) => {
            let mask = mask.map(|mask| mask.0);
            Self::run(exec, source, Place::Apart(src, dst), each, mask, numbers);
        });
    }

    fn inplace(&self, exec: &Exec, source: Source, buf: ViewMut, each: usize, numbers: &[f64]) {
        each_type!((buf: ViewMut) => Self::run(exec, source, Place::Same(buf), each, None, numbers));
    }

    fn backward(&self, exec: &Exec, grad: View, mask: &[u8], dst: Target, each: usize, numbers: &[f64]) {
        each_type!((grad: View, dst: Target) => {
            let fate = fate_of::<C, _>(grad, numbers);
            if each == 1 {
                backward(exec, grad, mask, dst, fate);
            } else {
                spread(exec, mask, Place::Apart(grad, dst), each, fate.gradient());
            }
        });
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
                    1,
                    Some((&mut mask[..]).into()),
                    &[0.1],
                );
                let mut buf = src.clone();
                kernel.inplace(&exec, Source::Torch(two), (&mut buf[..]).into(), 1, &[0.1]);
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
            1,
            Some((&mut mask[..]).into()),
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
                kernel.inplace(&exec, Source::Key(7), (&mut buf[..]).into(), 1, &[0.3]);
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

    #[test]
    fn features_are_kept_as_a_whole() {
        let src: Vec<f32> = (0..TILE * 5 * 7).map(|i| i as f32 - 700.5).collect();
        for kernel in RANDOM_KERNELS {
            for (each, key) in [
                (2, None),
                (35, None),
                (TILE, Some(9)),
                (3 * TILE, None),
                (5 * TILE, Some(4)),
            ] {
                let src = &src[..src.len() / each * each];
                let mut all = Vec::new();
                for isa in Isa::available() {
                    let exec = Exec::new(isa, &Halves);
                    let mut generators = [(); 3].map(|()| Mt19937::from_seed(3));
                    let [one, two, three] = generators
                        .each_mut()
                        .map(|generator| key.map_or(Source::Torch(generator), Source::Key));
                    let (mut result, mut mask) = (vec![0.0; src.len()], vec![2; src.len() / each]);
                    let target = Some((&mut mask[..]).into());
                    kernel.forward(&exec, one, src.into(), (&mut result[..]).into(), each, target, &[0.4]);
                    // As of elements that are one apart.
                    let (mut singles, mut single) = (vec![0.0; mask.len()], vec![2; mask.len()]);
                    let firsts: Vec<f32> = src.iter().step_by(each).copied().collect();
                    let target = Some((&mut single[..]).into());
                    kernel.forward(
                        &exec,
                        two,
                        (&firsts[..]).into(),
                        (&mut singles[..]).into(),
                        1,
                        target,
                        &[0.4],
                    );
                    assert_eq!(mask, single);
                    assert!(result.iter().step_by(each).eq(&singles));
                    let mut buf = src.to_vec();
                    kernel.inplace(&exec, three, (&mut buf[..]).into(), each, &[0.4]);
                    assert_eq!(buf, result);
                    let bytes: Vec<u8> = mask.iter().flat_map(|&kept| vec![kept; each]).collect();
                    let [mut whole, mut gradient] = [(); 2].map(|()| vec![0.0_f32; src.len()]);
                    kernel.backward(&exec, src.into(), &mask, (&mut gradient[..]).into(), each, &[0.4]);
                    kernel.backward(&exec, src.into(), &bytes, (&mut whole[..]).into(), 1, &[0.4]);
                    assert_eq!(gradient, whole, "{}", kernel.name());
                    assert_eq!(generators[0].parts(), generators[2].parts());
                    all.push((result, mask));
                }
                assert!(all.windows(2).all(|pair| pair[0] == pair[1]), "{}", kernel.name());
            }
        }
    }
}
