//! The k-th smallest element along a dimension.

use super::{
    key::Keyed,
    order::{Line, Output, accepts, along},
    quick_select::quick_select,
};
use crate::{
    dtype::{DType, Target, Unwritten, View},
    kernel::{AlongKernel, Exec, Geometry, Kind, MAX_RESULTS, Shape, Slot, every_type},
};

/// Elements of a row up to which stock torch is faster, if there are more such rows than these.
const SHORT: usize = 128;
const ROWS: usize = 16;

/// The place of the element of a rank: among several that are equal, it is the one that stock torch's moves end with.
fn place<T: Keyed>(line: &Line<T>, rank: usize) -> usize {
    let found = line.find(rank);
    if found.equal == 1 {
        return line.place(found.key, 0);
    }
    let mut entries = line.entries();
    quick_select(&mut entries, rank);
    entries[rank].place as usize
}

/// `torch.kthvalue`: the k-th smallest element along a dimension, and where it is; NaN is larger than any number. All types but
/// `bool`; the results lack the dimension, or have one element along it.
///
/// Numbers: whether the dimension is kept, `k`.
pub struct Kthvalue;

impl AlongKernel for Kthvalue {
    fn name(&self) -> &'static str {
        "kthvalue"
    }

    fn shape(&self) -> Shape {
        Shape::Reduce
    }

    fn takes(&self, dtype: DType) -> bool {
        dtype != DType::Bool
    }

    fn results(&self, whole: bool) -> &'static [Kind] {
        if whole { &[] } else { &[Kind::Values, Kind::Indices] }
    }

    fn accepts(&self, geometry: Geometry, numbers: &[f64]) -> Result<(), &'static str> {
        accepts(geometry)?;
        match numbers {
            &[_, k] if k >= 1.0 && k <= geometry.dim as f64 => Ok(()),
            _ => Err("no element of this rank"),
        }
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
        numbers: &[f64],
    ) -> Result<(), &'static str> {
        let [Some(Slot::Values(values)), Some(Slot::Indices(Unwritten(indices)))] = results else {
            panic!("the results are of values, and of indices");
        };
        let rank = numbers[1] as usize - 1;
        every_type!((src: View, values: Target) => {
            let output = Output::new(values, Some(indices), geometry);
            along(exec, src, geometry, &|at, line| {
                // SAFETY: each row is handed out once.
                unsafe { output.write_placed(at, line, place(line, rank)) };
            });
        });
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
    fn the_element_of_a_rank() {
        for share in [0.0, 0.3, 0.5, 1.0] {
            let k = |dim: usize| ((dim as f64 * share) as usize).max(1);
            check(&Kthvalue, &rows, &|dim| vec![0.0, k(dim) as f64], &|sorted| {
                sorted.get(k(sorted.len()) - 1).copied()
            });
        }
    }

    #[test]
    fn numbers_that_are_no_rank_are_refused() {
        let accepts = |k| Kthvalue.accepts(Geometry::flat(100), &[0.0, k]).is_ok();
        assert!(accepts(1.0) && accepts(100.0));
        for k in [0.0, -1.0, 101.0, f64::MAX, f64::INFINITY, f64::NAN] {
            assert!(!accepts(k), "{k}");
        }
        assert!(Kthvalue.accepts(Geometry::flat(0), &[0.0, 1.0]).is_err());
    }
}
