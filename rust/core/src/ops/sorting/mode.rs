//! The most frequent element along a dimension.

use core::sync::atomic::{AtomicBool, Ordering::Relaxed};

use super::{
    key::Keyed,
    libstdcxx::sorted_at,
    order::{Line, Output, accepts, along},
};
use crate::{
    dtype::{DType, Target, Unwritten, View},
    kernel::{AlongKernel, Exec, Geometry, Kind, MAX_RESULTS, Shape, Slot, every_type},
};

/// Elements of a row up to which stock torch is faster, if there are more such rows than these.
const SHORT: usize = 128;
const ROWS: usize = 32;

/// The place of the last one of the most frequent elements, the least such, as stock torch's sorting orders equal ones.
fn place<T: Keyed>(line: &Line<T>) -> usize {
    let mut entries = line.entries();
    let mut keys: Vec<_> = entries.iter().map(|entry| entry.key).collect();
    // Entries of smaller keys come first.
    keys.sort_unstable_by(|a, b| b.cmp(a));
    let (mut most, mut last, mut start) = (0, 0, 0);
    for run in keys.chunk_by(|a, b| a == b) {
        start += run.len();
        if run.len() > most {
            (most, last) = (run.len(), start - 1);
        }
    }
    sorted_at(&mut entries, last).place as usize
}

/// `torch.mode`: the most frequent element along a dimension, the least of several, and where it is, for one of them. All
/// types; the results lack the dimension, or have one element along it. Rows with NaN, which stock torch sorts as if they were
/// equal to all, are not for it.
///
/// Numbers: whether the dimension is kept.
pub struct Mode;

impl AlongKernel for Mode {
    fn name(&self) -> &'static str {
        "mode"
    }

    fn shape(&self) -> Shape {
        Shape::Reduce
    }

    fn takes(&self, _: DType) -> bool {
        true
    }

    fn results(&self, whole: bool) -> &'static [Kind] {
        if whole { &[] } else { &[Kind::Values, Kind::Indices] }
    }

    fn accepts(&self, geometry: Geometry, _: &[f64]) -> Result<(), &'static str> {
        accepts(geometry)
    }

    fn pays(&self, geometry: Geometry, _: &[f64]) -> Result<(), &'static str> {
        geometry.has_no_more_short_rows(SHORT, ROWS)
    }

    fn forward(
        &self,
        exec: &Exec,
        src: View,
        results: [Option<Slot>; MAX_RESULTS],
        geometry: Geometry,
        _: &[f64],
    ) -> Result<(), &'static str> {
        let [Some(Slot::Values(values)), Some(Slot::Indices(Unwritten(indices)))] = results else {
            panic!("the results are of values, and of indices");
        };
        let refused = AtomicBool::new(false);
        every_type!((src: View, values: Target) => {
            let output = Output::new(values, Some(indices), geometry);
            along(exec, src, geometry, &|at, line| {
                if line.numbers() < line.len() {
                    refused.store(true, Relaxed);
                } else {
                    // SAFETY: each row is handed out once.
                    unsafe { output.write_placed(at, line, place(line)) };
                }
            });
        });
        if refused.into_inner() {
            return Err("NaN, which has no place among numbers");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::order::test::{check, rows_of_numbers},
        *,
    };

    #[test]
    fn the_most_frequent_element() {
        check(&Mode, &rows_of_numbers, &|_| vec![0.0], &|sorted| {
            let mut best: &[f32] = &[];
            for run in sorted.chunk_by(|a, b| a == b) {
                best = if run.len() > best.len() { run } else { best };
            }
            best.first().copied()
        });
    }

    #[test]
    fn rows_with_nan_are_refused() {
        let (mut values, mut indices) = ([0.0_f32], [0]);
        let results = [
            Some(Slot::Values((&mut values[..]).into())),
            Some(Slot::Indices((&mut indices[..]).into())),
        ];
        let exec = Exec::new(crate::isa::Isa::detect(), &crate::parallel::Serial);
        let src = [1.0, f32::NAN, 1.0];
        assert!(
            Mode.forward(&exec, View::F32(&src), results, Geometry::flat(3), &[0.0])
                .is_err()
        );
    }
}
