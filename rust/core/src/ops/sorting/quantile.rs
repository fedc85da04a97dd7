//! Quantiles along a dimension, or of all elements.

use core::sync::atomic::{AtomicBool, Ordering::Relaxed};

use super::{
    key::Keyed,
    order::{Line, Output, accepts, along, pays},
};
use crate::{
    dtype::{DType, Target, Unwritten, View},
    kernel::{AlongKernel, Exec, Geometry, Kind, MAX_RESULTS, Shape, Slot},
};

/// The most elements of a row that stock torch takes.
const MOST: usize = 1 << 24;

/// A type whose quantiles are taken, in its own precision.
trait Float: Keyed {
    fn of(x: f64) -> Self;
    fn wide(self) -> f64;
    fn times(self, other: Self) -> Self;
    /// Part of the way to another.
    fn lerp(self, other: Self, weight: Self) -> Self;
}

macro_rules! float {
    ($($float:ty)*) => {
        $(impl Float for $float {
            fn of(x: f64) -> Self {
                x as Self
            }

            fn wide(self) -> f64 {
                self.into()
            }

            fn times(self, other: Self) -> Self {
                self * other
            }

            fn lerp(self, other: Self, weight: Self) -> Self {
                if weight < 0.5 {
                    weight.mul_add(other - self, self)
                } else {
                    (weight - 1.0).mul_add(other - self, other)
                }
            }
        })*
    };
}

float! { f32 f64 }

/// How a quantile between two elements is made of them.
#[derive(Clone, Copy)]
enum Interpolation {
    Linear,
    Lower,
    Higher,
    Midpoint,
    Nearest,
}

impl Interpolation {
    /// In the order of the catalogue.
    const ALL: [Self; 5] = [Self::Linear, Self::Lower, Self::Higher, Self::Midpoint, Self::Nearest];

    /// The ranks of two elements, and the part of the way between them, if that is not one of both.
    fn ranks(self, rank: f64) -> ([f64; 2], Option<f64>) {
        let (below, above) = (rank.floor(), rank.ceil());
        match self {
            Self::Linear => ([below, above], Some(rank - below)),
            Self::Lower => ([below; 2], None),
            Self::Higher => ([above; 2], None),
            Self::Midpoint => ([below, above], Some(0.5)),
            Self::Nearest => ([rank.round_ties_even(); 2], None),
        }
    }
}

/// Which quantile is meant.
struct Way {
    q: f64,
    interpolation: Interpolation,
    /// Whether ranks are of double precision, whatever the elements are.
    wide: bool,
}

/// A row's quantile, unless it is made of a zero of either sign. NaN is the quantile of a row with NaN, if that counts.
fn quantile<T: Float>(line: &Line<T>, way: &Way, ignores_nan: bool) -> Option<T> {
    let numbers = line.numbers();
    if numbers == 0 || (numbers < line.len() && !ignores_nan) {
        return T::NAN;
    }
    let (q, last) = (<T as Float>::of(way.q), (numbers - 1) as f64);
    let rank = if way.wide {
        q.wide() * last
    } else {
        q.times(<T as Float>::of(last)).wide()
    };
    let ([below, above], weight) = way.interpolation.ranks(rank);
    // Rounded up, it may be that after the last.
    let below = (below as usize).min(numbers - 1);
    let found = line.find(below);
    let low = line.the(found.key)?;
    let Some(weight) = weight else { return Some(low) };
    let high = if (above as usize) < found.below + found.equal {
        low
    } else {
        line.the(line.next(found.key))?
    };
    Some(low.lerp(high, <T as Float>::of(weight)))
}

/// `torch.quantile` and `torch.nanquantile` of one `q`: the element of a rank along a dimension, or among all, or what lies
/// between two (`quantile_compute` in `aten/src/ATen/native/Sorting.cpp`). `float32` and `float64`; the results lack the
/// dimension, or have one element along it.
///
/// Numbers: whether the dimension is kept, `q`, the interpolation, whether ranks are of double precision rather than of the
/// elements' (stock torch has changed that).
pub struct Quantile<const IGNORES_NAN: bool>;

impl<const IGNORES_NAN: bool> Quantile<IGNORES_NAN> {
    fn run<T: Float>(
        exec: &Exec,
        src: &[T],
        output: &Output<T>,
        geometry: Geometry,
        numbers: &[f64],
    ) -> Result<(), &'static str> {
        let way = Way {
            q: numbers[1],
            interpolation: Interpolation::ALL[numbers[2] as usize],
            wide: numbers[3] != 0.0,
        };
        let ambiguous = AtomicBool::new(false);
        along(exec, src, geometry, &|at, line| {
            match quantile(line, &way, IGNORES_NAN) {
                // SAFETY: each row is handed out once.
                Some(x) => unsafe { output.write(at, x) },
                None => ambiguous.store(true, Relaxed),
            }
        });
        if ambiguous.into_inner() {
            return Err("zeros of both signs");
        }
        Ok(())
    }
}

impl<const IGNORES_NAN: bool> AlongKernel for Quantile<IGNORES_NAN> {
    fn name(&self) -> &'static str {
        if IGNORES_NAN { "nanquantile" } else { "quantile" }
    }

    fn shape(&self) -> Shape {
        Shape::Reduce
    }

    fn takes(&self, dtype: DType) -> bool {
        matches!(dtype, DType::F32 | DType::F64)
    }

    fn results(&self, _: bool) -> &'static [Kind] {
        &[Kind::Values]
    }

    fn accepts(&self, geometry: Geometry, numbers: &[f64]) -> Result<(), &'static str> {
        accepts(geometry)?;
        if geometry.dim > MOST {
            return Err("longer rows than stock torch takes");
        }
        match numbers {
            &[_, q, way, _] if (0.0..=1.0).contains(&q) && (0.0..5.0).contains(&way) => Ok(()),
            _ => Err("no part of the whole, or no interpolation"),
        }
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
        numbers: &[f64],
    ) -> Result<(), &'static str> {
        let [Some(Slot::Values(values)), None] = results else {
            panic!("the result is of values");
        };
        match (src, values) {
            (View::F32(src), Target::F32(Unwritten(values))) => {
                Self::run(exec, src, &Output::new(values, None, geometry), geometry, numbers)
            }
            (View::F64(src), Target::F64(Unwritten(values))) => {
                Self::run(exec, src, &Output::new(values, None, geometry), geometry, numbers)
            }
            _ => panic!("the slices differ in element type, or have none of the kernel's"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{isa::Isa, parallel::Serial};

    fn of<const IGNORES_NAN: bool>(src: &[f32], q: f64, way: usize) -> Result<f32, &'static str> {
        let mut value = [-9.0];
        let slot = Some(Slot::Values((&mut value[..]).into()));
        let exec = Exec::new(Isa::detect(), &Serial);
        let numbers = [0.0, q, way as f64, 0.0];
        let geometry = Geometry::flat(src.len());
        Quantile::<IGNORES_NAN>.forward(&exec, View::F32(src), [slot, None], geometry, &numbers)?;
        Ok(value[0])
    }

    #[test]
    fn quantiles_of_few_elements() {
        let src = [4.0, 1.0, 3.0, 2.0];
        for (way, wants) in [
            [1.0, 1.75, 2.5, 4.0],
            [1.0, 1.0, 2.0, 4.0],
            [1.0, 2.0, 3.0, 4.0],
            [1.0, 1.5, 2.5, 4.0],
            [1.0, 2.0, 3.0, 4.0],
        ]
        .iter()
        .enumerate()
        {
            for (q, &want) in [0.0, 0.25, 0.5, 1.0].into_iter().zip(wants) {
                assert_eq!(of::<false>(&src, q, way), Ok(want), "{q}, {way}");
            }
        }
    }

    #[test]
    fn nan_counts_or_does_not() {
        let src = [4.0, f32::NAN, 2.0];
        assert!(of::<false>(&src, 0.5, 0).is_ok_and(f32::is_nan));
        assert_eq!(of::<true>(&src, 0.5, 0), Ok(3.0));
        assert!(of::<true>(&[f32::NAN; 5], 0.5, 0).is_ok_and(f32::is_nan));
    }

    #[test]
    fn zeros_of_both_signs_and_other_numbers_are_refused() {
        assert!(of::<false>(&[0.0, -0.0, 1.0], 0.2, 0).is_err());
        assert!(of::<false>(&[-1.0, 0.0, -0.0, 1.0, 2.0, 3.0], 0.9, 0).is_ok());
        let accepts = |len, q| {
            Quantile::<false>
                .accepts(Geometry::flat(len), &[0.0, q, 0.0, 0.0])
                .is_ok()
        };
        assert!(accepts(5, 0.0) && accepts(5, 1.0) && accepts(MOST, 0.5));
        assert!(!accepts(5, -0.1) && !accepts(5, 1.1) && !accepts(5, f64::NAN) && !accepts(MOST + 1, 0.5));
    }
}
