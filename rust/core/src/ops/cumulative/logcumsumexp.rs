//! `torch.logcumsumexp`.

use core::{marker::PhantomData, mem::MaybeUninit, ops::Range};

use half::{bf16, f16};

use super::{COLUMNS, Columns, Output, Results, Scan, prefixes, scan};
use crate::{
    dtype::{DType, Element, Target, Unwritten, View},
    isa::Simd,
    kernel::{AlongKernel, Exec, Geometry, Kind, MAX_RESULTS, Shape, Slot},
    math::f64::{exp, exp_term, ln, ln_1p, ln_sum},
    parallel::Shared,
};

/// The logarithm of the sum of the exponentials so far along a dimension, in double precision, in which stock torch sums
/// single precision as well.
///
/// Stock torch has `ln(1 + e^(a - b)) + b` of each element and the logarithm so far, `_log_add_exp_helper` of
/// `aten/src/ATen/native/cpu/ReduceOpsKernel.cpp`. Here the sum itself is kept, of exponentials less the greatest element so
/// far, whose logarithms do not wait for one another. Where that would cancel, or numbers are not finite, it is stock's way.
pub struct Logcumsumexp;

/// Elements of a row that are worked on together.
const LANES: usize = 32;
/// Logarithms nearer to 0 may be what cancels in the logarithm of a sum and the greatest element.
const NEAR_ZERO: f64 = 1.0 / 64.0;
/// Sums that are less have lost digits: what is greatest comes later.
const SMALL: f64 = 1e-280;

impl AlongKernel for Logcumsumexp {
    fn name(&self) -> &'static str {
        "logcumsumexp"
    }

    fn shape(&self) -> Shape {
        Shape::Rows
    }

    fn takes(&self, dtype: DType) -> bool {
        matches!(dtype, DType::F32 | DType::Bf16 | DType::F16)
    }

    fn results(&self, whole: bool) -> &'static [Kind] {
        if whole { &[] } else { &[Kind::Values] }
    }

    fn accepts(&self, geometry: Geometry, _: &[f64]) -> Result<(), &'static str> {
        geometry.has_elements()
    }

    fn forward(
        &self,
        exec: &Exec,
        src: View,
        results: [Option<Slot>; MAX_RESULTS],
        geometry: Geometry,
        _: &[f64],
    ) -> Result<(), &'static str> {
        let [Some(Slot::Values(dst)), None] = results else {
            return Err("one result");
        };
        macro_rules! sum {
            ($($kind:ident($element:ty)),*) => {
                match (src, dst) {
                    $((View::$kind(src), Target::$kind(Unwritten(dst))) => {
                        let output = Output { values: Shared::new(dst), places: None };
                        scan(exec, LogSum::<$element>(PhantomData), src, geometry, &output);
                    })*
                    _ => return Err("elements of another type"),
                }
            };
        }
        sum!(F32(f32), Bf16(bf16), F16(f16));
        Ok(())
    }
}

/// The logarithms.
#[derive(Clone, Copy)]
struct LogSum<T>(PhantomData<T>);

/// `reference + ln(sum)`; nothing before is minus infinity, and a sum of 0.
#[derive(Clone, Copy)]
struct Logarithm {
    reference: f64,
    sum: f64,
}

impl Logarithm {
    #[inline(always)]
    fn value(self) -> f64 {
        if self.sum == 1.0 || self.reference == f64::NEG_INFINITY {
            self.reference
        } else {
            self.reference + ln(self.sum)
        }
    }

    #[inline(always)]
    fn of(value: f64) -> Self {
        let sum = if value == f64::NEG_INFINITY { 0.0 } else { 1.0 };
        Self { reference: value, sum }
    }
}

/// The logarithm of the sum of two exponentials, as stock torch has it.
fn add(before: f64, x: f64) -> f64 {
    if before.is_nan() || x.is_nan() {
        return f64::NAN;
    }
    let (less, more) = (before.min(x), before.max(x));
    if less == more && !less.is_finite() {
        more
    } else {
        ln_1p(exp(less - more)) + more
    }
}

#[inline(always)]
fn widen<T: Element<Lane = f32>>(x: T) -> f64 {
    x.lane().into()
}

#[inline(always)]
fn rounded<T: Element<Lane = f32>>(x: f64) -> T {
    T::rounded(x as f32)
}

/// Writes the logarithms one by one.
fn one_by_one<T: Element<Lane = f32>>(before: Logarithm, src: &[T], dst: &mut [MaybeUninit<T>]) -> Logarithm {
    let mut value = before.value();
    for (dst, &x) in dst.iter_mut().zip(src) {
        value = add(value, widen(x));
        dst.write(rounded(value));
    }
    Logarithm::of(value)
}

/// Whether a logarithm is as exact as stock torch's, and not one of what is not finite.
#[inline(always)]
fn is_exact(sum: f64, value: f64) -> bool {
    let size = value.abs();
    sum >= SMALL && (NEAR_ZERO..f64::INFINITY).contains(&size)
}

/// The greater one; the first where one is NaN.
#[inline(always)]
fn greater(a: f64, b: f64) -> f64 {
    if b > a { b } else { a }
}

/// The greatest of some numbers, unless there are NaN among them.
#[inline(always)]
fn greatest(numbers: &[f64; LANES]) -> f64 {
    let mut most = [f64::NEG_INFINITY; 8];
    for numbers in numbers.as_chunks::<8>().0 {
        for (most, &x) in most.iter_mut().zip(numbers) {
            *most = greater(*most, x);
        }
    }
    let [a, b, c, d, e, f, g, h] = most;
    let (ab, cd, ef, gh) = (greater(a, b), greater(c, d), greater(e, f), greater(g, h));
    greater(greater(ab, cd), greater(ef, gh))
}

/// Writes the logarithms of some elements of a row.
#[inline(always)]
fn advance<T: Element<Lane = f32>>(
    before: Logarithm,
    src: &[T; LANES],
    dst: &mut [MaybeUninit<T>; LANES],
) -> Logarithm {
    let mut numbers = [0.0; LANES];
    for (number, &x) in numbers.iter_mut().zip(src) {
        *number = widen(x);
    }
    let reference = greater(before.reference, greatest(&numbers));
    for number in &mut numbers {
        *number = exp_term(*number - reference);
    }
    let mut sum = before.sum;
    if reference > before.reference {
        sum *= exp_term(before.reference - reference);
    }
    let mut sums = [0.0; LANES];
    for (sums, numbers) in sums.as_chunks_mut::<8>().0.iter_mut().zip(numbers.as_chunks::<8>().0) {
        *sums = prefixes(numbers);
        for so_far in sums.iter_mut() {
            *so_far += sum;
        }
        sum = sums[7];
    }
    let (mut values, mut exact) = ([0.0; LANES], true);
    for (value, &so_far) in values.iter_mut().zip(&sums) {
        *value = reference + ln_sum(so_far);
    }
    for (&value, &so_far) in values.iter().zip(&sums) {
        exact &= is_exact(so_far, value);
    }
    if !exact {
        return one_by_one(before, src, dst);
    }
    for (dst, &value) in dst.iter_mut().zip(&values) {
        dst.write(rounded(value));
    }
    Logarithm {
        reference,
        sum: sums[LANES - 1],
    }
}

impl<T: Element<Lane = f32>> Columns for LogSum<T> {
    type Item = T;

    #[inline(always)]
    fn columns(self, geometry: Geometry, src: &[T], start: usize, columns: Range<usize>, output: &Output<T>) {
        let (mut references, mut sums) = ([f64::NEG_INFINITY; COLUMNS], [0.0; COLUMNS]);
        for row in 0..geometry.dim {
            let at = row * geometry.inner + columns.start;
            let src = &src[at..at + columns.len()];
            // SAFETY: columns are apart.
            let Results { values: dst, .. } = unsafe { output.part(start + at, columns.len()) };
            // Where there are less columns, the others are of ones.
            let mut numbers = [1.0; COLUMNS];
            for (number, &x) in numbers.iter_mut().zip(src) {
                *number = widen(x);
            }
            let (mut tops, mut grown) = (references, false);
            for (top, &x) in tops.iter_mut().zip(&numbers) {
                grown |= x > *top;
                *top = greater(*top, x);
            }
            let mut terms = sums;
            if grown {
                for ((term, &before), &top) in terms.iter_mut().zip(&references).zip(&tops) {
                    *term *= exp_term(before - top);
                }
            }
            for ((term, &x), &top) in terms.iter_mut().zip(&numbers).zip(&tops) {
                *term += exp_term(x - top);
            }
            let (mut values, mut exact) = ([0.0; COLUMNS], true);
            for ((value, &term), &top) in values.iter_mut().zip(&terms).zip(&tops) {
                *value = top + ln_sum(term);
            }
            for (&value, &term) in values.iter().zip(&terms) {
                exact &= is_exact(term, value);
            }
            if !exact {
                for (column, &x) in numbers[..src.len()].iter().enumerate() {
                    if !is_exact(terms[column], values[column]) {
                        let before = Logarithm {
                            reference: references[column],
                            sum: sums[column],
                        };
                        values[column] = add(before.value(), x);
                        let after = Logarithm::of(values[column]);
                        (tops[column], terms[column]) = (after.reference, after.sum);
                    }
                }
            }
            for (dst, &value) in dst.iter_mut().zip(&values) {
                dst.write(rounded(value));
            }
            (references, sums) = (tops, terms);
        }
    }
}

impl<T: Element<Lane = f32>> Scan for LogSum<T> {
    type State = f64;
    const START: f64 = f64::NEG_INFINITY;

    #[inline(always)]
    fn total<S: Simd>(self, _: S, src: &[T], _: usize) -> f64 {
        let (chunks, rest) = src.as_chunks::<LANES>();
        let (mut reference, mut sums) = (f64::NEG_INFINITY, [0.0; LANES]);
        for chunk in chunks {
            let mut numbers = [0.0; LANES];
            for (number, &x) in numbers.iter_mut().zip(chunk) {
                *number = widen(x);
            }
            let top = greater(reference, greatest(&numbers));
            if top > reference {
                let scale = exp_term(reference - top);
                for sum in &mut sums {
                    *sum *= scale;
                }
                reference = top;
            }
            for (sum, &number) in sums.iter_mut().zip(&numbers) {
                *sum += exp_term(number - reference);
            }
        }
        let sum = sums.iter().sum();
        let value = Logarithm { reference, sum }.value();
        let (value, rest) = if is_exact(sum, value) {
            (value, rest)
        } else {
            (f64::NEG_INFINITY, src)
        };
        rest.iter().fold(value, |value, &x| add(value, widen(x)))
    }

    #[inline(always)]
    fn join(self, before: f64, after: f64) -> f64 {
        add(before, after)
    }

    #[inline(always)]
    fn piece<S: Simd>(self, _: S, state: f64, _: usize, src: &[T], dst: Results<T>) {
        let (chunks, rest) = src.as_chunks::<LANES>();
        let (whole, last) = dst.values.as_chunks_mut();
        let mut state = Logarithm::of(state);
        for (chunk, dst) in chunks.iter().zip(whole) {
            state = advance(state, chunk, dst);
        }
        if !rest.is_empty() {
            // What adds nothing.
            let mut padded = [rounded(f64::NEG_INFINITY); LANES];
            padded[..rest.len()].copy_from_slice(rest);
            let mut results = [MaybeUninit::new(T::default()); LANES];
            advance(state, &padded, &mut results);
            last.copy_from_slice(&results[..rest.len()]);
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

    fn run(exec: &Exec, src: &[f32], geometry: Geometry) -> Vec<f32> {
        let mut dst = src.to_vec();
        let slot = Slot::Values((&mut dst[..]).into());
        Logcumsumexp
            .forward(exec, src.into(), [Some(slot), None], geometry, &[])
            .unwrap();
        dst
    }

    /// Stock torch's way, in double precision.
    fn expected(src: &[f32], geometry: Geometry) -> Vec<f64> {
        let Geometry { dim, inner, .. } = geometry;
        let mut values = vec![0.0; src.len()];
        for i in 0..src.len() {
            let before = if i / inner % dim == 0 {
                f64::NEG_INFINITY
            } else {
                values[i - inner]
            };
            values[i] = add(before, src[i].into());
        }
        values
    }

    #[test]
    fn logarithms_are_those_of_the_sums_so_far() {
        type Numbers = fn(usize) -> f32;
        let numbers: [Numbers; 8] = [
            |i| (i * 7919 % 2003) as f32 / 200.0 - 5.0,
            |i| i as f32 * 0.25,
            |i| -(i as f32),
            |_| 0.0,
            |i| if i == 0 { 0.0 } else { -46.0 },
            |i| {
                if i % 7 == 0 {
                    f32::NEG_INFINITY
                } else {
                    (i % 5) as f32 - 88.0
                }
            },
            |i| if i % 3 == 2 { 3e38 } else { -3e38 },
            |i| {
                if i < 40 {
                    f32::NEG_INFINITY
                } else {
                    1e-3 * (i % 11) as f32
                }
            },
        ];
        for isa in Isa::available() {
            for team in [&Serial as &dyn Team, &Halves] {
                let exec = Exec::new(isa, team);
                for (outer, dim, inner) in [
                    (1, 1, 1),
                    (3, 7, 1),
                    (1, 1000, 1),
                    (1, 70_003, 1),
                    (2, 9, 33),
                    (3, 200, 5),
                ] {
                    let geometry = Geometry { outer, dim, inner };
                    for of in numbers {
                        let src: Vec<f32> = (0..geometry.len()).map(of).collect();
                        for (found, want) in run(&exec, &src, geometry).iter().zip(expected(&src, geometry)) {
                            let error = (f64::from(*found) - want).abs();
                            let allowed = f64::from(f32::EPSILON) * 0.51 * want.abs();
                            assert!(
                                f64::from(*found) == want || error <= allowed,
                                "{geometry:?}: {found} {want}"
                            );
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_not_finite_stays() {
        let exec = Exec::new(Isa::detect(), &Serial);
        let inf = f32::INFINITY;
        let src = [
            -inf,
            -inf,
            1.0,
            2.0,
            inf,
            1.0,
            -inf,
            inf,
            0.0,
            1.0,
            f32::NAN,
            1.0,
            inf,
            0.0,
            1.0,
            2.0,
            3.0,
        ];
        let found = run(&exec, &src, Geometry::flat(src.len()));
        assert!(found[..2].iter().all(|&x| x == -inf) && found[2] == 1.0 && found[3] > 2.0);
        assert!(found[4..10].iter().all(|&x| x == inf) && found[10..].iter().all(|x| x.is_nan()));
        // The same of each of two columns.
        let twice: Vec<f32> = src.iter().flat_map(|&x| [x, x]).collect();
        let columns = run(
            &exec,
            &twice,
            Geometry {
                outer: 1,
                dim: src.len(),
                inner: 2,
            },
        );
        for (pair, one) in columns.chunks(2).zip(&found) {
            let close = |x: f32| x == *one || (x.is_nan() && one.is_nan()) || (x - one).abs() < 1e-6;
            assert!(close(pair[0]) && close(pair[1]));
        }
    }
}
