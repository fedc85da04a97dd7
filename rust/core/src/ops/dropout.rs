//! `torch.nn.functional.dropout`.

use core::mem::MaybeUninit;

use crate::{
    dtype::{Element, Target, View, ViewMut, as_uninit},
    float::Float,
    isa::{Program, Simd},
    kernel::{Exec, RandomKernel, each_type},
    ops::elementwise::number,
    parallel::split_mut,
    random::{Bernoulli, Mt19937, STRETCH},
};

/// `x / (1 - p)`, or `0 x` with the probability `p` (0.5). Saves which elements are kept.
///
/// As in torch, an element is kept where a uniform number of 53 bits is less than `1 - p`, and `1 / (1 - p)` and the product
/// are each rounded to the element type.
#[derive(Clone, Copy, Debug)]
pub struct Dropout;

fn kept_probability(numbers: &[f64]) -> f64 {
    1.0 - number(numbers, 0, 0.5)
}

/// What elements are multiplied by: where dropped, and where kept.
#[inline(always)]
fn factors<T: Element, S: Simd>(simd: S, numbers: &[f64]) -> [T; 2] {
    let one = T::Lane::of(1.0);
    let mut factors = [MaybeUninit::uninit(); 2];
    T::narrow(
        simd,
        &[T::Lane::of(0.0), one / T::Lane::of(kept_probability(numbers))],
        &mut factors,
    );
    // SAFETY: `narrow` wrote both.
    factors.map(|factor| unsafe { factor.assume_init() })
}

/// `dst[i] = src[i] * factors[kept[i]]` for at most [`STRETCH`] elements.
#[inline(always)]
fn scale<T: Element, S: Simd>(simd: S, src: &[T], kept: &[u8], dst: &mut [MaybeUninit<T>], factors: [T; 2]) {
    let mut noise = [factors[0]; STRETCH];
    let noise = &mut noise[..src.len()];
    for (noise, &kept) in noise.iter_mut().zip(kept) {
        *noise = if kept == 0 { factors[0] } else { factors[1] };
    }
    T::zip_map(
        simd,
        src,
        noise,
        dst,
        #[inline(always)]
        |x, noise| x * noise,
    );
}

/// Serial, as the generator is.
struct Forward<'a, T> {
    generator: &'a mut Mt19937,
    src: &'a [T],
    dst: &'a mut [MaybeUninit<T>],
    mask: Option<&'a mut [MaybeUninit<u8>]>,
    numbers: &'a [f64],
}

impl<T: Element> Program for Forward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self {
            generator,
            src,
            dst,
            mut mask,
            numbers,
        } = self;
        let factors = factors(simd, numbers);
        let mut bernoulli = Bernoulli::new(generator, kept_probability(numbers));
        let mut kept = [0; STRETCH];
        let mut start = 0;
        while start < src.len() {
            let most = STRETCH.min(src.len() - start);
            let end = start + bernoulli.draw(&mut kept[..most]);
            let kept = &kept[..end - start];
            scale(simd, &src[start..end], kept, &mut dst[start..end], factors);
            if let Some(mask) = &mut mask {
                mask[start..end].write_copy_of_slice(kept);
            }
            start = end;
        }
    }
}

struct Inplace<'a, T> {
    generator: &'a mut Mt19937,
    buf: &'a mut [T],
    numbers: &'a [f64],
}

impl<T: Element> Program for Inplace<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self {
            generator,
            buf,
            numbers,
        } = self;
        let factors = factors(simd, numbers);
        let mut bernoulli = Bernoulli::new(generator, kept_probability(numbers));
        let (mut kept, mut src) = ([0; STRETCH], [factors[0]; STRETCH]);
        let mut rest = buf;
        while !rest.is_empty() {
            let most = STRETCH.min(rest.len());
            let count = bernoulli.draw(&mut kept[..most]);
            let (buf, others) = rest.split_at_mut(count);
            src[..count].copy_from_slice(buf);
            scale(simd, &src[..count], &kept[..count], as_uninit(buf), factors);
            rest = others;
        }
    }
}

struct Backward<'a, T> {
    grad: &'a [T],
    mask: &'a [u8],
    dst: &'a mut [MaybeUninit<T>],
    numbers: &'a [f64],
}

impl<T: Element> Program for Backward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let factors = factors(simd, self.numbers);
        let parts = self.grad.chunks(STRETCH).zip(self.mask.chunks(STRETCH));
        for ((grad, kept), dst) in parts.zip(self.dst.chunks_mut(STRETCH)) {
            scale(simd, grad, kept, dst, factors);
        }
    }
}

fn backward<T: Element>(exec: &Exec, grad: &[T], mask: &[u8], dst: &mut [MaybeUninit<T>], numbers: &[f64]) {
    assert!(
        grad.len() == dst.len() && mask.len() == dst.len(),
        "the slices differ in length"
    );
    let (team, grain) = exec.team(dst.len(), 2 * size_of::<T>() + 1, 1);
    split_mut(team, dst, 1, grain, &|start, dst| {
        let range = start..start + dst.len();
        exec.isa.run(Backward {
            grad: &grad[range.clone()],
            mask: &mask[range],
            dst,
            numbers,
        });
    });
}

impl RandomKernel for Dropout {
    fn name(&self) -> &'static str {
        "dropout"
    }

    fn accepts(&self, numbers: &[f64]) -> Result<(), &'static str> {
        let p = number(numbers, 0, 0.5);
        if p > 0.0 && p < 1.0 {
            Ok(())
        } else {
            Err("p is not between 0 and 1")
        }
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
        each_type!((src: View, dst: Target) => {
            assert!(
                src.len() == dst.len() && mask.as_ref().is_none_or(|mask| mask.len() == src.len()),
                "the slices differ in length"
            );
            exec.isa.run(Forward { generator, src, dst, mask, numbers });
        });
    }

    fn inplace(&self, exec: &Exec, generator: &mut Mt19937, buf: ViewMut, numbers: &[f64]) {
        each_type!((buf: ViewMut) => exec.isa.run(Inplace { generator, buf, numbers }));
    }

    fn backward(&self, exec: &Exec, grad: View, mask: &[u8], dst: Target, numbers: &[f64]) {
        each_type!((grad: View, dst: Target) => backward(exec, grad, mask, dst, numbers));
    }
}

#[cfg(test)]
mod tests {
    use half::bf16;

    use super::*;
    use crate::{isa::Isa, parallel::Serial};

    #[test]
    fn forms_agree_and_instruction_sets_do() {
        let src: Vec<f32> = (0..2000).map(|i| i as f32 - 700.5).collect();
        let mut all = Vec::new();
        for isa in Isa::available() {
            let exec = Exec::new(isa, &Serial);
            let mut generators = [(); 2].map(|()| Mt19937::from_seed(3));
            let (mut result, mut mask) = (vec![0.0_f32; src.len()], vec![2_u8; src.len()]);
            let [one, two] = &mut generators;
            Dropout.forward(
                &exec,
                one,
                (&src[..]).into(),
                (&mut result[..]).into(),
                Some(as_uninit(&mut mask)),
                &[0.1],
            );
            let mut buf = src.clone();
            Dropout.inplace(&exec, two, (&mut buf[..]).into(), &[0.1]);
            assert_eq!(buf, result);
            assert_eq!(one.parts(), two.parts());
            for ((&x, &y), &kept) in src.iter().zip(&result).zip(&mask) {
                assert_eq!(y, x * if kept == 1 { 1.0 / 0.9_f32 } else { 0.0 });
            }
            let kept: usize = mask.iter().map(|&kept| usize::from(kept)).sum();
            assert!((1750..1850).contains(&kept), "{kept} of 2000");
            let mut gradient = vec![0.0_f32; src.len()];
            Dropout.backward(&exec, (&src[..]).into(), &mask, (&mut gradient[..]).into(), &[0.1]);
            assert_eq!(gradient, result);
            all.push(mask);
        }
        assert!(all.windows(2).all(|pair| pair[0] == pair[1]));
    }

    #[test]
    fn nothing_is_hidden_by_zero_and_halves_round_twice() {
        let exec = Exec::new(Isa::detect(), &Serial);
        let (src, mask) = ([f32::NAN, f32::INFINITY, -2.0, -2.0], [0, 0, 0, 1]);
        let mut gradient = [0.0_f32; 4];
        Dropout.backward(&exec, (&src[..]).into(), &mask, (&mut gradient[..]).into(), &[0.5]);
        assert!(gradient[0].is_nan() && gradient[1].is_nan());
        assert_eq!(gradient[2].to_bits(), (-0.0_f32).to_bits());
        assert_eq!(gradient[3], -4.0);
        let (src, mut half) = ([bf16::from_f32(3.0)], [bf16::ZERO]);
        Dropout.backward(&exec, (&src[..]).into(), &[1], (&mut half[..]).into(), &[0.1]);
        let factor = bf16::from_f32(1.0 / 0.9).to_f32();
        assert_eq!(half[0], bf16::from_f32(3.0 * factor));
    }

    #[test]
    fn probabilities_at_the_ends_are_refused() {
        for p in [0.0, 1.0, -0.5, 1.5, f64::NAN] {
            assert!(Dropout.accepts(&[p]).is_err());
        }
        assert!(Dropout.accepts(&[0.5]).is_ok());
    }
}
