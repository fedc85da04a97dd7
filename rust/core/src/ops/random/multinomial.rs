//! `torch.multinomial`.

use core::{cmp::Ordering, mem::MaybeUninit};

use crate::{
    dtype::{DType, Typed, Unwritten, View},
    float::Float,
    isa::{Program, Simd},
    kernel::{AlongKernel, Exec, Geometry, Slot},
    ops::sorting::topk::Topk,
    parallel::split_mut,
    random::Mt19937,
};

/// The most probabilities of a row: more is an error of stock torch's.
const MOST: usize = 1 << 24;
/// Probabilities that are looked at together.
const TOGETHER: usize = 256;
/// Bits of a uniform number.
const BITS: u32 = 53;
/// The unit of one.
const UNIT: f64 = 1.0 / (1_u64 << BITS) as f64;
/// Places that are drawn together, where they are put back.
const AGAIN: usize = 1 << 16;

/// Whether there is a way for probabilities of this type.
pub fn takes(dtype: DType) -> bool {
    matches!(dtype, DType::F32 | DType::F64)
}

/// How places are drawn in each row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Draws {
    /// How many.
    pub samples: usize,
    /// Whether a place may be drawn again. It is no matter of a single one.
    pub replacement: bool,
}

impl Draws {
    /// One place in each row.
    pub const ONE: Self = Self {
        samples: 1,
        replacement: false,
    };

    fn puts_back(self) -> bool {
        self.replacement && self.samples != 1
    }
}

/// Looks at rows of `columns` probabilities.
///
/// # Errors
/// The reason why these are not for this kernel; bad ones are among them.
pub fn inspect(exec: &Exec, probabilities: View, columns: usize, draws: Draws) -> Result<(), &'static str> {
    if columns == 0 || columns > MOST {
        return Err("none, or too many");
    }
    if draws.samples == 0 || !draws.replacement && draws.samples > columns {
        return Err("no samples, or more than places");
    }
    // Such that sums are finite, where there are any.
    let limit = if draws.puts_back() {
        f64::from(f32::MAX) / columns as f64
    } else {
        f64::INFINITY
    };
    let good = match probabilities {
        View::F32(rows) => rows.chunks(columns).all(|row| exec.isa.run(Inspect { row, limit })),
        View::F64(rows) => rows.chunks(columns).all(|row| exec.isa.run(Inspect { row, limit })),
        _ => return Err("probabilities of another type"),
    };
    if good { Ok(()) } else { Err("no probabilities") }
}

/// Whether all are below a limit and not negative, and one is positive.
struct Inspect<'a, F> {
    row: &'a [F],
    limit: f64,
}

impl<F: Float> Program for Inspect<'_, F> {
    type Output = bool;

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> bool {
        let (zero, limit, mut positive) = (F::of(0.0), F::of(self.limit), false);
        for probabilities in self.row.chunks(TOGETHER) {
            let (mut bad, mut any) = (0_u32, 0_u32);
            for &p in probabilities {
                bad |= u32::from(!(p >= zero)) | u32::from(!(p < limit));
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

/// Places in each row of `columns` probabilities, drawn by them, `(rows, draws.samples)`, the same as stock torch's for the
/// generator. The rows have passed [`inspect`].
///
/// Without replacement these are where `p / e` is largest, with numbers `e` of the exponential distribution, in the order of
/// [`Topk`]; with it, where the running sum of the probabilities, over their sum, first reaches a uniform number.
///
/// # Panics
/// Where there are other than `draws.samples` places for each row, or the probabilities are of another type.
pub fn multinomial(
    exec: &Exec,
    generator: &mut Mt19937,
    probabilities: View,
    columns: usize,
    draws: Draws,
    Unwritten(places): Unwritten<i64>,
) {
    match probabilities {
        View::F32(rows) => sample(exec, generator, rows, columns, draws, places),
        View::F64(rows) => sample(exec, generator, rows, columns, draws, places),
        _ => panic!("probabilities of another type"),
    }
}

fn sample<F: Float + Into<f64> + Typed>(
    exec: &Exec,
    generator: &mut Mt19937,
    rows: &[F],
    columns: usize,
    draws: Draws,
    places: &mut [MaybeUninit<i64>],
) {
    let Draws { samples, .. } = draws;
    assert!(
        rows.len() * samples == places.len() * columns,
        "as many places as samples of each row"
    );
    if samples == 1 {
        for (row, place) in rows.chunks_exact(columns).zip(places) {
            place.write(exec.isa.run(Greatest { generator, row }) as i64);
        }
    } else if draws.replacement {
        let mut sums = vec![F::of(0.0); columns];
        for (row, places) in rows.chunks_exact(columns).zip(places.chunks_exact_mut(samples)) {
            distribution(row, &mut sums);
            again(exec, generator, &sums, places);
        }
    } else {
        let mut quotients = vec![F::of(0.0); rows.len()];
        exec.isa.run(Quotients {
            generator,
            rows,
            to: &mut quotients,
        });
        let mut values = vec![F::of(0.0); places.len()];
        let results = [
            Some(Slot::Values(F::written(&mut values))),
            Some(Slot::Indices(Unwritten(places))),
        ];
        let geometry = Geometry::rows(rows.len() / columns, columns);
        let numbers = [samples as f64, 1.0, 1.0];
        Topk.forward(exec, F::view(&quotients), results, geometry, &numbers)
            .expect("floating-point numbers have an order");
    }
}

/// The running sum of a row, over its sum; the last is 1.
fn distribution<F: Float>(row: &[F], sums: &mut [F]) {
    let mut sum = F::of(0.0);
    for (&p, to) in row.iter().zip(&mut *sums) {
        sum += p;
        *to = sum;
    }
    for to in &mut *sums {
        *to = *to / sum;
    }
    if let Some(last) = sums.last_mut() {
        *last = F::of(1.0);
    }
}

/// The first place whose running sum is not below a uniform number, for each of `places`.
fn again<F: Float + Into<f64>>(exec: &Exec, generator: &mut Mt19937, sums: &[F], places: &mut [MaybeUninit<i64>]) {
    for places in places.chunks_mut(AGAIN) {
        let mut uniform = vec![0; places.len()];
        for numbers in uniform.chunks_mut(TOGETHER) {
            numbers.copy_from_slice(&draw(generator, numbers.len()).0[..numbers.len()]);
        }
        let (team, grain) = exec.team(places.len(), 16, 8 * sums.len().ilog2() as usize);
        split_mut(team, places, 1, grain, &|start, places| {
            for (place, &number) in places.iter_mut().zip(&uniform[start..]) {
                let number = number as f64 * UNIT;
                // Without a branch that depends on the number.
                let (mut least, mut len) = (0, sums.len());
                while len > 1 {
                    let half = len / 2;
                    let sum: f64 = sums[least + half - 1].into();
                    least += if sum < number { half } else { 0 };
                    len -= half;
                }
                place.write(least as i64);
            }
        });
    }
}

/// Quotients of probabilities and exponential numbers.
struct Quotients<'a, F> {
    generator: &'a mut Mt19937,
    rows: &'a [F],
    to: &'a mut [F],
}

impl<F: Float> Program for Quotients<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        for (rows, to) in self.rows.chunks(TOGETHER).zip(self.to.chunks_mut(TOGETHER)) {
            let mut padded = [F::of(0.0); TOGETHER];
            padded[..rows.len()].copy_from_slice(rows);
            let (numbers, _) = draw(self.generator, rows.len());
            to.copy_from_slice(&quotients(&padded, &numbers)[..rows.len()]);
        }
    }
}

/// `p / e` of some probabilities, `e` being the exponential numbers of uniform ones.
#[inline(always)]
fn quotients<F: Float>(probabilities: &[F; TOGETHER], numbers: &[u64; TOGETHER]) -> [F; TOGETHER] {
    let mut quotients = [F::of(0.0); TOGETHER];
    for ((quotient, &p), &number) in quotients.iter_mut().zip(probabilities).zip(numbers) {
        // One less the number is exact. The difference makes a zero of the right sign.
        let uniform = ((1_u64 << BITS) - number) as f64 * UNIT;
        *quotient = p / F::of(0.0 - uniform.ln());
    }
    quotients
}

/// Where the greatest quotient of a row is.
struct Greatest<'a, F> {
    generator: &'a mut Mt19937,
    row: &'a [F],
}

impl<F: Float> Program for Greatest<'_, F> {
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
            let quotients = &quotients(&padded, &numbers)[..probabilities.len()];
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
    use crate::{
        isa::Isa,
        parallel::{Serial, test::Halves},
    };

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
                    assert!(inspect(&exec, (&rows[..]).into(), columns, Draws::ONE).is_ok());
                    let mut places = [-1; 3];
                    let target = (&mut places[..]).into();
                    multinomial(&exec, &mut mine, (&rows[..]).into(), columns, Draws::ONE, target);
                    for (row, place) in rows.chunks(columns).zip(places) {
                        assert_eq!(place as usize, expected(&mut theirs, row));
                    }
                    assert!(mine.parts() == theirs.parts());
                }
            }
        }
    }

    #[test]
    fn several_places_follow_from_them_as_well() {
        let rows: Vec<f32> = (0..2 * 300).map(|i| (i * 7919 % 101) as f32).collect();
        for isa in Isa::available() {
            for (samples, replacement) in [(2, false), (300, false), (1, true), (2, true), (70_001, true)] {
                let draws = Draws { samples, replacement };
                let exec = Exec::new(isa, &Halves);
                let (mut mine, mut theirs) = (Mt19937::from_seed(5), Mt19937::from_seed(5));
                assert!(inspect(&exec, (&rows[..]).into(), 300, draws).is_ok());
                let mut places = vec![-1; 2 * samples];
                let target = (&mut places[..]).into();
                multinomial(&exec, &mut mine, (&rows[..]).into(), 300, draws, target);
                let mut number = || (theirs.draw_long() & ((1 << BITS) - 1)) as f64 * UNIT;
                if draws.puts_back() {
                    for (row, places) in rows.chunks(300).zip(places.chunks(samples)) {
                        let sum: f32 = row.iter().sum();
                        for &place in places {
                            let number = number();
                            let reached = |place: i64| f64::from(row[..=place as usize].iter().sum::<f32>() / sum);
                            assert!(place == 299 || reached(place) >= number);
                            assert!(place == 0 || reached(place - 1) < number);
                        }
                    }
                } else {
                    let quotients: Vec<f32> = rows.iter().map(|p| p / (-(-number()).ln_1p()) as f32).collect();
                    for (row, places) in quotients.chunks(300).zip(places.chunks(samples)) {
                        let mut order: Vec<i64> = (0..300).collect();
                        order.sort_by(|&a, &b| row[b as usize].total_cmp(&row[a as usize]));
                        let chosen: Vec<f32> = places.iter().map(|&place| row[place as usize]).collect();
                        let best: Vec<f32> = order[..samples].iter().map(|&place| row[place as usize]).collect();
                        assert_eq!(chosen, best);
                    }
                }
                assert!(mine.parts() == theirs.parts());
            }
        }
    }

    #[test]
    fn what_are_no_probabilities_is_refused() {
        let exec = Exec::new(Isa::detect(), &Serial);
        for bad in [-1.0, f32::NAN, f32::INFINITY] {
            assert!(inspect(&exec, [0.5, bad, 0.5, 0.5][..].into(), 2, Draws::ONE).is_err());
        }
        assert!(inspect(&exec, [0.0_f32, 0.0, 0.5, 0.5][..].into(), 2, Draws::ONE).is_err());
        assert!(inspect(&exec, [0.5_f32, 0.0, -0.0, 0.5][..].into(), 2, Draws::ONE).is_ok());
        let takes = |p: &[f32], samples, replacement| {
            let draws = Draws { samples, replacement };
            inspect(&exec, p.into(), p.len(), draws).is_ok()
        };
        assert!(takes(&[1.0, 2.0], 2, false) && takes(&[1.0, 2.0], 3, true));
        assert!(!takes(&[1.0, 2.0], 3, false) && !takes(&[1.0, 2.0], 0, true));
        // Their sum is infinite.
        assert!(takes(&[f32::MAX, f32::MAX], 2, false) && !takes(&[f32::MAX, f32::MAX], 2, true));
    }
}
