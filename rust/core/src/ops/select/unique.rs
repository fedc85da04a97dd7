//! The different elements of a tensor.

use core::marker::PhantomData;

use half::{bf16, f16};

use super::bincount::{bounds, count};
use crate::{
    dtype::{DType, Target, Typed, Unwritten, View},
    kernel::{AlongKernel, Exec, Geometry, Slot},
    ops::sorting::sort::Sort,
    parallel::{Shared, split_mut},
};

/// The different elements of a tensor, found, and how many there are of each.
pub trait Distinct: Send + Sync {
    /// How many different ones there are.
    fn count(&self) -> usize;

    /// Writes them, ascending, all of `values`, the place of each element of `src` among them, and how many of each there
    /// are, where that is asked for.
    ///
    /// # Panics
    /// Where slices differ in length from what was found, or the elements in type.
    fn write(
        &self,
        exec: &Exec,
        src: View,
        values: Target,
        inverse: Option<Unwritten<i64>>,
        counts: Option<Unwritten<i64>>,
    );
}

/// Whether there is a way for elements of this type.
pub fn takes(dtype: DType) -> bool {
    dtype != DType::Bool
}

/// What `torch.unique` of a row-major tensor gives: NaN differ from one another. `inverse` says that the places will be asked
/// for as well. Integers of a short range are counted; other elements are sorted. Which of zeros of both signs stands for them,
/// and which of several NaN has which place, follows from how torch sorts: these are refused where it is to be `as_torch`, and
/// else have the order that they have in `src`.
///
/// # Errors
/// The reason why these elements are not for this kernel.
pub fn unique(exec: &Exec, src: View, inverse: bool, as_torch: bool) -> Result<Box<dyn Distinct>, &'static str> {
    match src {
        View::F32(src) => sorted(exec, src, inverse, as_torch),
        View::F64(src) => sorted(exec, src, inverse, as_torch),
        View::Bf16(src) => sorted(exec, src, inverse, as_torch),
        View::F16(src) => sorted(exec, src, inverse, as_torch),
        View::I64(src) => integers(exec, src, inverse),
        View::I32(src) => integers(exec, src, inverse),
        View::I16(src) => integers(exec, src, inverse),
        View::I8(src) => integers(exec, src, inverse),
        View::U8(src) => integers(exec, src, inverse),
        View::Bool(_) => Err("of two values"),
    }
}

/// Elements that are told apart.
pub(super) trait Item: Typed + Copy + Send + Sync + 'static {
    fn equals(self, other: Self) -> bool;
    /// Whether it is a zero of which there may be another.
    fn is_zero(self) -> bool;
    fn is_negative(self) -> bool;
}

macro_rules! floats {
    ($($float:ty: $x:ident => $number:expr),* $(,)?) => {
        $(impl Item for $float {
            #[inline(always)]
            fn equals(self, other: Self) -> bool {
                let number = |$x: Self| $number;
                number(self) == number(other)
            }
            fn is_zero(self) -> bool {
                let $x = self;
                $number == 0.0
            }
            fn is_negative(self) -> bool {
                self.is_sign_negative()
            }
        })*
    };
}
floats!(f32: x => x, f64: x => x, bf16: x => x.to_f32(), f16: x => x.to_f32());

macro_rules! integers {
    ($($integer:ty),*) => {
        $(
            impl Item for $integer {
                #[inline(always)]
                fn equals(self, other: Self) -> bool {
                    self == other
                }
                fn is_zero(self) -> bool {
                    false
                }
                fn is_negative(self) -> bool {
                    false
                }
            }
            impl Integer for $integer {
                fn of(wide: i64) -> Self {
                    wide as Self
                }
            }
        )*
    };
}
integers!(i64, i32, i16, i8, u8);

trait Integer: Item + Ord + Into<i64> {
    fn of(wide: i64) -> Self;
}

/// Sorted elements, with the places where each different one begins.
struct Sorted<T> {
    elements: Vec<T>,
    /// Where each element was; empty where nobody asks.
    order: Vec<i64>,
    /// One more than there are different ones: the last is the end.
    starts: Vec<usize>,
}

fn sorted<T: Item>(exec: &Exec, src: &[T], inverse: bool, as_torch: bool) -> Result<Box<dyn Distinct>, &'static str> {
    let len = src.len();
    let mut elements = src.to_vec();
    let mut order = vec![0; if inverse { len } else { 0 }];
    let values = Slot::Values(T::written(&mut elements));
    let (kernel, results) = if inverse {
        (
            &Sort::SORT,
            [Some(values), Some(Slot::Indices((&mut order[..]).into()))],
        )
    } else {
        (&Sort::MSORT, [Some(values), None])
    };
    let numbers: &[f64] = &[];
    kernel.forward(exec, T::view(src), results, Geometry::flat(len), numbers)?;
    // NaN differ, and come last.
    if as_torch && inverse && len > 1 && !elements[len - 2].equals(elements[len - 2]) {
        return Err("several NaN");
    }
    let mut starts = vec![0; len + 1];
    let mut count = 1;
    for (i, pair) in (1..).zip(elements.windows(2)) {
        starts[count] = i;
        count += usize::from(!pair[0].equals(pair[1]));
    }
    starts.truncate(count);
    starts.push(len);
    let zeros = starts.partition_point(|&start| elements.get(start).is_some_and(|x| x.is_negative() && !x.is_zero()));
    if let (true, Some(&[start, end])) = (as_torch, starts.get(zeros..zeros + 2)) {
        let zeros = &elements[start..end];
        if zeros[0].is_zero() && zeros.iter().any(|x| x.is_negative() != zeros[0].is_negative()) {
            return Err("zeros of both signs");
        }
    }
    Ok(Box::new(Sorted {
        elements,
        order,
        starts,
    }))
}

impl<T: Item> Distinct for Sorted<T> {
    fn count(&self) -> usize {
        self.starts.len() - 1
    }

    fn write(
        &self,
        exec: &Exec,
        _: View,
        values: Target,
        inverse: Option<Unwritten<i64>>,
        counts: Option<Unwritten<i64>>,
    ) {
        let values = T::target(values).expect("elements of the type that was sorted").0;
        assert!(values.len() == self.count(), "as many values as there are");
        for (value, &start) in values.iter_mut().zip(&self.starts) {
            value.write(self.elements[start]);
        }
        if let Some(Unwritten(counts)) = counts {
            assert!(counts.len() == self.count(), "as many counts as there are");
            for (count, run) in counts.iter_mut().zip(self.starts.windows(2)) {
                count.write((run[1] - run[0]) as i64);
            }
        }
        if let Some(Unwritten(inverse)) = inverse {
            assert!(inverse.len() == self.order.len(), "a place for each element");
            let inverse = Shared::new(inverse);
            let (team, grain) = exec.team(self.order.len(), 16, 16);
            let share = grain as f64 / self.order.len() as f64 * self.count() as f64;
            team.run(self.count(), (share.ceil() as usize).max(1), &|range| {
                for (place, run) in range.clone().zip(self.starts[range.start..=range.end].windows(2)) {
                    for &at in &self.order[run[0]..run[1]] {
                        // SAFETY: the order has every place once.
                        let result = unsafe { inverse.piece(at as usize..at as usize + 1) };
                        result[0].write(place as i64);
                    }
                }
            });
        }
    }
}

/// How many there are of each integer of a range.
struct Counted<T> {
    lowest: i64,
    counts: Vec<i64>,
    count: usize,
    len: usize,
    of: PhantomData<T>,
}

/// Integers of a range up to this are counted however few there are.
const SHORT: u64 = 1 << 12;

fn integers<T: Integer>(exec: &Exec, src: &[T], inverse: bool) -> Result<Box<dyn Distinct>, &'static str> {
    let (lowest, highest) = bounds(exec, src).ok_or("no elements")?;
    let range = highest.wrapping_sub(lowest) as u64;
    if range >= (src.len() as u64 / 2).max(SHORT) || src.len() > u32::MAX as usize {
        return sorted(exec, src, inverse, true);
    }
    let mut counts = vec![0; range as usize + 1];
    count(exec, src, lowest, &mut counts);
    Ok(Box::new(Counted::<T> {
        lowest,
        count: counts.iter().filter(|&&count| count != 0).count(),
        counts,
        len: src.len(),
        of: PhantomData,
    }))
}

impl<T: Integer> Distinct for Counted<T> {
    fn count(&self) -> usize {
        self.count
    }

    fn write(
        &self,
        exec: &Exec,
        src: View,
        values: Target,
        inverse: Option<Unwritten<i64>>,
        counts: Option<Unwritten<i64>>,
    ) {
        let values = T::target(values).expect("elements of the type that was counted").0;
        assert!(values.len() == self.count, "as many values as there are");
        let there = || (0_i64..).zip(&self.counts).filter(|&(_, &count)| count != 0);
        for (value, (place, _)) in values.iter_mut().zip(there()) {
            value.write(T::of(self.lowest + place));
        }
        if let Some(Unwritten(counts)) = counts {
            assert!(counts.len() == self.count, "as many counts as there are");
            for (result, (_, &count)) in counts.iter_mut().zip(there()) {
                result.write(count);
            }
        }
        if let Some(Unwritten(inverse)) = inverse {
            let src = T::slice(src).expect("elements of the type that was counted");
            assert!(
                src.len() == self.len && inverse.len() == self.len,
                "a place for each element"
            );
            let mut places = vec![0; self.counts.len()];
            for (place, (at, _)) in (0_i64..).zip(there()) {
                places[at as usize] = place;
            }
            let (team, grain) = exec.team(self.len, size_of::<T>() + 8, 16);
            split_mut(team, inverse, 1, grain, &|start, inverse| {
                for (result, &x) in inverse.iter_mut().zip(&src[start..]) {
                    // What has changed since it was counted may be of no place.
                    let place = x.into().wrapping_sub(self.lowest) as usize;
                    result.write(places.get(place).copied().unwrap_or(0));
                }
            });
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

    fn found<T: Item + PartialOrd + core::fmt::Debug>(src: &[T], exec: &Exec) -> (Vec<T>, Vec<i64>, Vec<i64>) {
        let distinct = unique(exec, T::view(src), true, true).unwrap();
        let (mut values, mut counts) = (vec![src[0]; distinct.count()], vec![0; distinct.count()]);
        let mut inverse = vec![0; src.len()];
        let target = T::written(&mut values);
        distinct.write(
            exec,
            T::view(src),
            target,
            Some((&mut inverse[..]).into()),
            Some((&mut counts[..]).into()),
        );
        let alone = unique(exec, T::view(src), false, true).unwrap();
        assert_eq!(alone.count(), distinct.count());
        (values, inverse, counts)
    }

    #[test]
    fn every_element_is_found_again() {
        for isa in Isa::available() {
            for team in [&Serial as &dyn Team, &Halves] {
                let exec = Exec::new(isa, team);
                for len in [1, 2, 3, 100, 5000] {
                    for range in [1, 7, 1 << 10, i64::MAX >> 1] {
                        let src: Vec<i64> = (0..len)
                            .map(|i: i64| (i * i).wrapping_mul(0x9E37_79B9_7F4A_7C15_u64 as i64) % range)
                            .collect();
                        let (values, inverse, counts) = found(&src, &exec);
                        assert!(values.is_sorted_by(|a, b| a < b));
                        assert!(src.iter().zip(&inverse).all(|(&x, &at)| values[at as usize] == x));
                        for (i, &count) in counts.iter().enumerate() {
                            assert_eq!(inverse.iter().filter(|&&at| at == i as i64).count() as i64, count);
                        }
                        let floats: Vec<f32> = src.iter().map(|&x| (x % 4096) as f32 - 0.5).collect();
                        let (values, inverse, _) = found(&floats, &exec);
                        assert!(floats.iter().zip(&inverse).all(|(&x, &at)| values[at as usize] == x));
                    }
                }
            }
        }
    }

    #[test]
    fn nan_differ_and_several_or_zeros_of_both_signs_are_refused() {
        let exec = Exec::new(Isa::detect(), &Serial);
        let src = [f32::NAN, 1.0, f32::NAN, -2.0, 1.0];
        assert_eq!(
            unique(&exec, src[..].into(), false, true).map(|distinct| distinct.count()),
            Ok(4)
        );
        assert!(unique(&exec, src[..].into(), true, true).is_err());
        assert!(unique(&exec, src[..].into(), true, false).is_ok_and(|distinct| distinct.count() == 4));
        let (values, _, counts) = found(&src[..2], &exec);
        assert!(values.len() == 2 && counts == [1, 1]);
        for src in [[-1.0, 0.0, -0.0, 3.0], [0.0, 1.0, 2.0, -0.0], [-0.0, -3.0, 0.0, -0.0]] {
            assert!(unique(&exec, src[..].into(), false, true).is_err());
            assert!(unique(&exec, src[..].into(), false, false).is_ok_and(|distinct| distinct.count() < 4));
        }
        for src in [[-1.0, 0.0, 0.0, 3.0], [-0.0, 1.0, 2.0, -0.0]] {
            assert_eq!(found(&src, &exec).0.len(), 3);
        }
    }
}
