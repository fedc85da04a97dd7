//! `torch.multinomial` of one sample.

use core::{cmp::Ordering, mem::MaybeUninit};

use crate::{
    dtype::{DType, View},
    float::Float,
    isa::{Program, Simd},
    kernel::Exec,
    random::Mt19937,
};

/// The most probabilities of a row: more is an error of stock torch's.
const MOST: usize = 1 << 24;
/// Probabilities that are looked at together.
const TOGETHER: usize = 256;
/// Bits of a uniform number.
const BITS: u32 = 53;

/// Whether there is a way for probabilities of this type.
pub fn takes(dtype: DType) -> bool {
    matches!(dtype, DType::F32 | DType::F64)
}

/// Looks at rows of `columns` probabilities.
///
/// # Errors
/// The reason why these are not for this kernel; bad ones are among them.
pub fn inspect(exec: &Exec, probabilities: View, columns: usize) -> Result<(), &'static str> {
    if columns == 0 || columns > MOST {
        return Err("none, or too many");
    }
    let good = match probabilities {
        View::F32(rows) => rows.chunks(columns).all(|row| exec.isa.run(Inspect(row))),
        View::F64(rows) => rows.chunks(columns).all(|row| exec.isa.run(Inspect(row))),
        _ => return Err("probabilities of another type"),
    };
    if good { Ok(()) } else { Err("no probabilities") }
}

/// Whether all are finite and not negative, and one is positive.
struct Inspect<'a, F>(&'a [F]);

impl<F: Float> Program for Inspect<'_, F> {
    type Output = bool;

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> bool {
        let (zero, infinity, mut positive) = (F::of(0.0), F::of(f64::INFINITY), false);
        for probabilities in self.0.chunks(TOGETHER) {
            let (mut bad, mut any) = (0_u32, 0_u32);
            for &p in probabilities {
                bad |= u32::from(!(p >= zero)) | u32::from(!(p < infinity));
                any |= u32::from(p > zero);
            }
            if bad != 0 {
                return false;
            }
            positive |= any != 0;
        }
        positive
    }
}

/// A place in each row of `columns` probabilities, drawn by them: the one where `p / e` is largest, with numbers `e` of the
/// exponential distribution, the same as stock torch's. The rows have passed [`inspect`].
///
/// # Panics
/// Where there are other than a place for each row, or the probabilities are of another type.
pub fn multinomial(
    exec: &Exec,
    generator: &mut Mt19937,
    probabilities: View,
    columns: usize,
    places: &mut [MaybeUninit<i64>],
) {
    match probabilities {
        View::F32(rows) => sample(exec, generator, rows, columns, places),
        View::F64(rows) => sample(exec, generator, rows, columns, places),
        _ => panic!("probabilities of another type"),
    }
}

fn sample<F: Float>(exec: &Exec, generator: &mut Mt19937, rows: &[F], columns: usize, places: &mut [MaybeUninit<i64>]) {
    assert!(rows.len() == places.len() * columns, "a place for each row");
    for (row, place) in rows.chunks_exact(columns).zip(places) {
        place.write(exec.isa.run(Sample { generator, row }) as i64);
    }
}

/// The place in one row.
struct Sample<'a, F> {
    generator: &'a mut Mt19937,
    row: &'a [F],
}

impl<F: Float> Program for Sample<'_, F> {
    type Output = usize;

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> usize {
        let Self { generator, row } = self;
        let (mut best, mut place, mut settled) = (F::NEG_INFINITY, 0, false);
        let zero = F::of(0.0);
        for (first, probabilities) in (0..).step_by(TOGETHER).zip(row.chunks(TOGETHER)) {
            let mut padded = [zero; TOGETHER];
            padded[..probabilities.len()].copy_from_slice(probabilities);
            let (numbers, has_zero) = draw(generator, probabilities.len());
            let all = padded.iter().fold(0_u32, |any, &p| any | u32::from(p != zero));
            if all == 0 && !has_zero {
                // Each quotient is 0.
                if best < zero {
                    best = zero;
                }
                continue;
            }
            let mut quotients = [zero; TOGETHER];
            for ((quotient, &p), &number) in quotients.iter_mut().zip(&padded).zip(&numbers) {
                // One less the number is exact. The difference makes a zero of the right sign.
                let uniform = ((1_u64 << BITS) - number) as f64 * (1.0 / (1_u64 << BITS) as f64);
                *quotient = p / F::of(0.0 - uniform.ln());
            }
            let quotients = &quotients[..probabilities.len()];
            let larger = quotients.iter().fold(0_u32, |any, &x| any | u32::from(!(x <= best)));
            if larger == 0 || settled {
                continue;
            }
            for (at, x) in (first..).zip(quotients) {
                match x.partial_cmp(&best) {
                    Some(Ordering::Greater) => (best, place) = (*x, at),
                    // A zero over a zero is before all.
                    None => {
                        (settled, place) = (true, at);
                        break;
                    }
                    Some(_) => {}
                }
            }
        }
        place
    }
}

/// As many uniform numbers, in units of `2^-53`, of two words each, the upper half first; and whether one is 0.
#[inline(always)]
fn draw(generator: &mut Mt19937, count: usize) -> ([u64; TOGETHER], bool) {
    let mut words = [0; 2 * TOGETHER];
    let mut have = 0;
    while have < 2 * count {
        have += generator.draw(&mut words[have..2 * count]);
    }
    let mut numbers = [0; TOGETHER];
    for (number, pair) in numbers.iter_mut().zip(words.as_chunks::<2>().0) {
        *number = (u64::from(pair[0]) << 32 | u64::from(pair[1])) & ((1 << BITS) - 1);
    }
    let zeros = numbers[..count]
        .iter()
        .fold(0_u32, |any, &number| any | u32::from(number == 0));
    (numbers, zeros != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{isa::Isa, parallel::Serial};

    /// By the definition, one element after another.
    fn expected(generator: &mut Mt19937, row: &[f32]) -> usize {
        let mut best = (-f32::INFINITY, 0);
        for (at, &p) in row.iter().enumerate() {
            let number = generator.draw_long() & ((1 << BITS) - 1);
            let e = (-(-(number as f64 * 2.0_f64.powi(-53))).ln_1p()) as f32;
            if p / e > best.0 {
                best = (p / e, at);
            }
        }
        best.1
    }

    #[test]
    fn places_follow_from_the_generators_numbers() {
        for isa in Isa::available() {
            let exec = Exec::new(isa, &Serial);
            for columns in [1, 2, 255, 256, 257, 1000, 5000] {
                for few in [1, 3, 700] {
                    let row = |i: usize| {
                        if i % few == few / 2 {
                            (i * 7919 % 101) as f32
                        } else {
                            0.0
                        }
                    };
                    let mut rows: Vec<f32> = (0..3 * columns).map(row).collect();
                    rows.chunks_mut(columns).for_each(|row| row[columns / 2] = 1.0);
                    let (mut mine, mut theirs) = (Mt19937::from_seed(5), Mt19937::from_seed(5));
                    assert!(inspect(&exec, (&rows[..]).into(), columns).is_ok());
                    let mut places = [MaybeUninit::new(-1); 3];
                    multinomial(&exec, &mut mine, (&rows[..]).into(), columns, &mut places);
                    for (row, place) in rows.chunks(columns).zip(places) {
                        // SAFETY: initialised above.
                        assert_eq!(unsafe { place.assume_init() } as usize, expected(&mut theirs, row));
                    }
                    assert!(mine.parts() == theirs.parts());
                }
            }
        }
    }

    #[test]
    fn what_are_no_probabilities_is_refused() {
        let exec = Exec::new(Isa::detect(), &Serial);
        for bad in [-1.0, f32::NAN, f32::INFINITY] {
            assert!(inspect(&exec, [0.5, bad, 0.5, 0.5][..].into(), 2).is_err());
        }
        assert!(inspect(&exec, [0.0_f32, 0.0, 0.5, 0.5][..].into(), 2).is_err());
        assert!(inspect(&exec, [0.5_f32, 0.0, -0.0, 0.5][..].into(), 2).is_ok());
    }
}
