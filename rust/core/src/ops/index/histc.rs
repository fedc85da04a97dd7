//! How many elements are in each part of a range.

use std::sync::{Mutex, PoisonError};

use super::tensor;
use crate::{
    dtype::{DType, Target, Unwritten, View},
    float::Float,
    isa::{Program, Simd},
    kernel::{Exec, IndexKernel, Strided},
    layout::Layout,
};

/// `torch.histc`: a tensor of numbers, row-major. Numbers: how many parts, of one length, and the ends of the range, which are
/// the least and the greatest element where both are the same.
///
/// The part is found as in `aten/src/ATen/native/cpu/HistogramKernel.cpp`, its roundings included.
pub struct Histc;

/// The most parts: each thread has a count of each.
const PARTS: usize = 1 << 16;
/// The most elements: single precision counts no further.
const MOST: usize = 1 << 24;
/// Elements whose parts are found together.
const TOGETHER: usize = 64;
/// Instructions for an element, for the choice of threads.
const COUNTS: usize = 24;

/// The number of parts.
fn parts(numbers: &[f64]) -> Result<usize, &'static str> {
    match numbers {
        [parts, low, high] if low.is_finite() && high.is_finite() && low <= high => {
            let parts = *parts as usize;
            if (1..=PARTS).contains(&parts) {
                Ok(parts)
            } else {
                Err("none, or too many parts")
            }
        }
        _ => Err("no range"),
    }
}

impl IndexKernel for Histc {
    fn name(&self) -> &'static str {
        "histc"
    }

    fn differentiates(&self) -> bool {
        false
    }

    fn outline(&self, tensors: &[Option<Strided>], numbers: &[f64], _: bool) -> Result<(DType, Layout), &'static str> {
        let input = tensor(tensors, 0)?;
        let dtype = input.row_major()?.dtype();
        if !matches!(dtype, DType::F32 | DType::F64) || input.layout.numel() > MOST {
            return Err("numbers of another type, or too many");
        }
        let layout = Layout::contiguous(&[parts(numbers)? as i64]);
        Ok((dtype, layout.ok_or("no layout")?))
    }

    fn forward(
        &self,
        exec: &Exec,
        tensors: &[Option<Strided>],
        result: Target,
        _: &Layout,
        numbers: &[f64],
    ) -> Result<(), &'static str> {
        let (input, parts) = (tensor(tensors, 0)?, parts(numbers)?);
        match (input.elements, result) {
            (View::F32(src), Target::F32(Unwritten(result))) => {
                for (result, count) in result.iter_mut().zip(count(exec, src, parts, numbers)?) {
                    result.write(count as f32);
                }
            }
            (View::F64(src), Target::F64(Unwritten(result))) => {
                for (result, count) in result.iter_mut().zip(count(exec, src, parts, numbers)?) {
                    result.write(f64::from(count));
                }
            }
            _ => return Err("numbers of another type"),
        }
        Ok(())
    }
}

/// How many elements are in each part; one more counts those that are in none.
fn count<F: Float + Into<f64>>(
    exec: &Exec,
    src: &[F],
    parts: usize,
    numbers: &[f64],
) -> Result<Vec<u32>, &'static str> {
    let (mut low, mut high) = (F::of(numbers[1]), F::of(numbers[2]));
    if low == high {
        [low, high] = exec.isa.run(Ends(src));
        if low == high {
            (low, high) = (low - F::of(1.0), high + F::of(1.0));
        }
    }
    let (wide_low, wide_high): (f64, f64) = (low.into(), high.into());
    if !wide_low.is_finite() || !wide_high.is_finite() {
        return Err("a range that is not finite");
    }
    let all = Mutex::new(vec![0_u32; parts + 1]);
    let (team, grain) = exec.team(src.len(), size_of::<F>(), COUNTS);
    team.run(src.len(), grain.max(4 * parts), &|range| {
        let mut counts = vec![0; parts + 1];
        exec.isa.run(Count {
            src: &src[range],
            low,
            high,
            counts: &mut counts,
        });
        // A thread that panicked has counted nothing.
        let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
        for (all, count) in all.iter_mut().zip(counts) {
            *all += count;
        }
    });
    Ok(all.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// The least and the greatest element; both are NaN where one is.
struct Ends<'a, F>(&'a [F]);

impl<F: Float> Program for Ends<'_, F> {
    type Output = [F; 2];

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> [F; 2] {
        let first = self.0[0];
        let (mut low, mut high, mut nan) = ([first; TOGETHER], [first; TOGETHER], [F::default(); TOGETHER]);
        for src in self.0.chunks(TOGETHER) {
            for (((&x, low), high), nan) in src.iter().zip(&mut low).zip(&mut high).zip(&mut nan) {
                *low = if x < *low { x } else { *low };
                *high = if x > *high { x } else { *high };
                // Of infinity as well, which no range has.
                *nan += x * F::default();
            }
        }
        let zero = F::default();
        if nan.iter().any(|&nan| nan != zero) {
            let nan = F::of(f64::NAN);
            return [nan, nan];
        }
        let least = low.iter().fold(first, |a, &b| if b < a { b } else { a });
        let most = high.iter().fold(first, |a, &b| if b > a { b } else { a });
        [least, most]
    }
}

/// Counts elements.
struct Count<'a, F> {
    src: &'a [F],
    low: F,
    high: F,
    counts: &'a mut [u32],
}

impl<F: Float + Into<f64>> Program for Count<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self { src, low, high, counts } = self;
        let parts = counts.len() - 1;
        let (length, count) = (high - low, F::of(parts as f64));
        let mut places = [0_i32; TOGETHER];
        for src in src.chunks(TOGETHER) {
            let mut padded = [high; TOGETHER];
            padded[..src.len()].copy_from_slice(src);
            for (place, &x) in places.iter_mut().zip(&padded) {
                let at = (x - low) * count / length;
                let inside = if x >= low && x <= high { at } else { count + F::of(1.0) };
                let wide: f64 = inside.into();
                *place = wide as i32;
            }
            for &place in &places[..src.len()] {
                // The last part has its end as well; what is outside comes after it.
                let place = place as usize;
                let place = if place == parts { parts - 1 } else { place.min(parts) };
                counts[place] += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        isa::Isa,
        parallel::{Serial, Team, test::Halves},
    };

    #[test]
    fn elements_are_counted_in_their_parts() {
        let src: Vec<f32> = (0..5000).map(|i| (i * 7919 % 4001) as f32 * 0.013 - 7.0).collect();
        for isa in Isa::available() {
            for team in [&Serial as &dyn Team, &Halves] {
                let exec = Exec::new(isa, team);
                for (parts, low, high) in [(1, 0.0, 0.0), (7, 0.0, 0.0), (100, -3.0, 20.0), (1000, 2.0, 3.0)] {
                    let counts = count(&exec, &src, parts, &[parts as f64, low, high]).unwrap();
                    let least = src.iter().copied().fold(f32::MAX, f32::min);
                    let most = src.iter().copied().fold(f32::MIN, f32::max);
                    let (low, high) = if low == high {
                        (least, most)
                    } else {
                        (low as f32, high as f32)
                    };
                    let mut expected = vec![0; parts];
                    for &x in src.iter().filter(|&&x| x >= low && x <= high) {
                        let at = ((x - low) * parts as f32 / (high - low)) as usize;
                        expected[at.min(parts - 1)] += 1;
                    }
                    assert_eq!(counts[..parts], expected);
                }
            }
        }
    }

    #[test]
    fn ranges_that_are_none_are_refused() {
        let exec = Exec::new(Isa::detect(), &Serial);
        for bad in [f32::NAN, f32::INFINITY, -f32::INFINITY] {
            assert!(count(&exec, &[1.0, bad, 2.0], 4, &[4.0, 0.0, 0.0]).is_err());
            assert_eq!(
                count(&exec, &[1.0, bad, 2.0], 2, &[2.0, 0.0, 2.0]).unwrap()[..2],
                [0, 2]
            );
        }
        assert_eq!(count(&exec, &[5.0_f32; 3], 2, &[2.0, 0.0, 0.0]).unwrap()[..2], [0, 3]);
        for numbers in [[0.0, 0.0, 1.0], [3.0, 1.0, 0.0], [3.0, f64::NAN, 1.0], [1e9, 0.0, 1.0]] {
            assert!(parts(&numbers).is_err());
        }
    }
}
