//! The element in the middle along a dimension, or of all.

use core::sync::atomic::{AtomicBool, Ordering::Relaxed};

use super::{
    key::Keyed,
    libstdcxx::nth_element,
    order::{Line, Output, accepts, along, pays},
};
use crate::{
    dtype::{DType, Target, Unwritten, View},
    kernel::{AlongKernel, Exec, Geometry, Kind, MAX_RESULTS, Shape, Slot, every_type},
};

/// The place of the median: the first NaN if there is one and it counts, else the element in the middle, equal ones being in
/// their order; of NaN alone, the one that stock torch's moves end with.
fn place<T: Keyed>(line: &Line<T>, ignores_nan: bool) -> usize {
    match (line.numbers(), T::nan()) {
        (numbers, Some(nan)) if numbers < line.len() && !ignores_nan => line.place(nan, 0),
        (0, _) => {
            let mut entries = line.entries();
            nth_element(&mut entries, 0);
            entries[0].place as usize
        }
        (numbers, _) => {
            let rank = (numbers - 1) / 2;
            let found = line.find(rank);
            line.place(found.key, rank - found.below)
        }
    }
}

/// The median, unless it is a zero of either sign.
fn value<T: Keyed>(line: &Line<T>, ignores_nan: bool) -> Option<T> {
    match line.numbers() {
        numbers if numbers < line.len() && !ignores_nan => T::NAN,
        0 => Some(line.element(place(line, ignores_nan))),
        numbers => line.the(line.find((numbers - 1) / 2).key),
    }
}

/// `torch.median` and `torch.nanmedian`: the element in the middle of the ascending order, the lower one of two, along a
/// dimension, and where it is; or the one of all elements. All types but `bool`; the results lack the dimension, or have one
/// element along it.
///
/// Numbers: whether the dimension is kept.
pub struct Median<const IGNORES_NAN: bool>;

impl<const IGNORES_NAN: bool> AlongKernel for Median<IGNORES_NAN> {
    fn name(&self) -> &'static str {
        if IGNORES_NAN { "nanmedian" } else { "median" }
    }

    fn shape(&self) -> Shape {
        Shape::Reduce
    }

    fn takes(&self, dtype: DType) -> bool {
        dtype != DType::Bool
    }

    fn results(&self, whole: bool) -> &'static [Kind] {
        if whole {
            &[Kind::Values]
        } else {
            &[Kind::Values, Kind::Indices]
        }
    }

    fn accepts(&self, geometry: Geometry, _: &[f64]) -> Result<(), &'static str> {
        accepts(geometry)
    }

    fn pays(&self, geometry: Geometry, _: &[f64]) -> Result<(), &'static str> {
        pays(geometry)
    }

    fn forward(
        &self,
        exec: &Exec,
        src: View,
        results: [Option<Slot>; MAX_RESULTS],
        geometry: Geometry,
        _: &[f64],
    ) -> Result<(), &'static str> {
        let (values, indices) = match results {
            [Some(Slot::Values(values)), None] => (values, None),
            [Some(Slot::Values(values)), Some(Slot::Indices(Unwritten(indices)))] => (values, Some(indices)),
            _ => panic!("the results are of values, and of indices"),
        };
        let whole = indices.is_none();
        let ambiguous = AtomicBool::new(false);
        every_type!((src: View, values: Target) => {
            let output = Output::new(values, indices, geometry);
            along(exec, src, geometry, &|at, line| {
                // SAFETY: each row is handed out once.
                unsafe {
                    if !whole {
                        output.write_placed(at, line, place(line, IGNORES_NAN));
                    } else if let Some(x) = value(line, IGNORES_NAN) {
                        output.write(at, x);
                    } else {
                        ambiguous.store(true, Relaxed);
                    }
                }
            });
        });
        if ambiguous.into_inner() {
            return Err("zeros of both signs");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::order::test::{check, rows},
        *,
    };

    #[test]
    fn the_element_in_the_middle() {
        let last = |sorted: &[f32]| sorted.last().copied();
        check(&Median::<false>, &rows, &|_| vec![0.0], &|sorted| {
            if last(sorted).is_some_and(f32::is_nan) {
                return last(sorted);
            }
            sorted.get((sorted.len() - 1) / 2).copied()
        });
        check(&Median::<true>, &rows, &|_| vec![0.0], &|sorted| {
            let numbers = sorted.iter().filter(|x| !x.is_nan()).count();
            sorted.get(numbers.saturating_sub(1) / 2).copied()
        });
    }

    #[test]
    fn zeros_of_both_signs_are_not_told_apart() {
        let of = |src: &[f32]| {
            let mut value = [f32::NAN];
            let slot = Some(Slot::Values((&mut value[..]).into()));
            let exec = Exec::new(crate::isa::Isa::detect(), &crate::parallel::Serial);
            Median::<false>.forward(&exec, View::F32(src), [slot, None], Geometry::flat(src.len()), &[0.0])?;
            Ok::<_, &str>(value[0])
        };
        assert!(of(&[0.0, -0.0, 1.0]).is_err());
        assert_eq!(of(&[1.0, -0.0, -1.0]).map(f32::to_bits), Ok((-0.0_f32).to_bits()));
        assert_eq!(of(&[1.0, -0.0, 0.0, 2.0, 3.0]), Ok(1.0));
    }
}
