//! `torch.cumprod`.

use core::{marker::PhantomData, mem::MaybeUninit, ops::Range};

use half::{bf16, f16};

use super::{Columns, Output, Running, STEPS, by_columns, run_columns, run_row};
use crate::{
    dtype::{Arithmetic, DType, Element, Target, Typed, Unwritten, View},
    isa::{Program, Simd},
    kernel::{AlongKernel, Exec, Geometry, Kind, MAX_RESULTS, Shape, Slot},
    parallel::Shared,
};

/// The products of the elements so far along a dimension, one factor after the other, as stock torch has them: of single
/// precision in double, and of half precision in single.
///
/// To group factors would give other results where products overflow or vanish. What gains is to work on several columns at a
/// time.
pub struct Cumprod;

impl AlongKernel for Cumprod {
    fn name(&self) -> &'static str {
        "cumprod"
    }

    fn shape(&self) -> Shape {
        Shape::Rows
    }

    fn takes(&self, dtype: DType) -> bool {
        dtype.is_float()
    }

    fn results(&self, whole: bool) -> &'static [Kind] {
        if whole { &[] } else { &[Kind::Values] }
    }

    fn accepts(&self, geometry: Geometry, _: &[f64]) -> Result<(), &'static str> {
        geometry.has_elements()
    }

    fn pays(&self, geometry: Geometry, _: &[f64]) -> Result<(), &'static str> {
        if geometry.inner == 1 {
            Err("products of a row, each of which waits for the one before")
        } else {
            Ok(())
        }
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
        macro_rules! multiply {
            ($($kind:ident),*) => {
                match (src, dst) {
                    $((View::$kind(src), Target::$kind(Unwritten(dst))) => run(exec, src, dst, geometry),)*
                    _ => return Err("elements of another type"),
                }
            };
        }
        multiply!(F32, F64, Bf16, F16);
        Ok(())
    }
}

/// What is multiplied, and in what.
trait Factor: Typed {
    type Product: Arithmetic;
    const ONE: Self::Product;
    fn widen(self) -> Self::Product;
    fn rounded(product: Self::Product) -> Self;
}

macro_rules! factors {
    ($($factor:ty: $product:ty, $one:literal, $x:ident => $widen:expr, $rounded:expr;)*) => {
        $(impl Factor for $factor {
            type Product = $product;
            const ONE: $product = $one;

            #[inline(always)]
            fn widen(self) -> $product {
                let $x = self;
                $widen
            }

            #[inline(always)]
            fn rounded($x: $product) -> Self {
                $rounded
            }
        })*
    };
}
factors! {
    f32: f64, 1.0, x => x.into(), x as Self;
    f64: Self, 1.0, x => x, x;
    bf16: f32, 1.0, x => x.lane(), Element::rounded(x);
    f16: f32, 1.0, x => x.lane(), Element::rounded(x);
}

fn run<T: Factor>(exec: &Exec, src: &[T], dst: &mut [MaybeUninit<T>], geometry: Geometry) {
    assert!(
        src.len() == geometry.len() && src.len() == dst.len(),
        "the slices differ from the geometry"
    );
    let Geometry { outer, dim, inner } = geometry;
    if inner > 1 {
        let output = Output {
            values: Shared::new(dst),
            places: None,
        };
        return by_columns(exec, Products::<T>(PhantomData), src, geometry, &output);
    }
    let (team, grain) = exec.team(src.len(), 2 * size_of::<T>(), STEPS);
    let dst = Shared::new(dst);
    team.run(outer, grain.div_ceil(dim).max(1), &|rows| {
        let part = rows.start * dim..rows.end * dim;
        exec.isa.run(Rows {
            dim,
            src: &src[part.clone()],
            // SAFETY: rows are apart.
            dst: unsafe { dst.piece(part) },
        });
    });
}

/// The products.
#[derive(Clone, Copy)]
struct Products<T>(PhantomData<T>);

impl<T: Factor> Running for Products<T> {
    type Item = T;
    type Total = T::Product;
    const NOTHING: T::Product = T::ONE;

    #[inline(always)]
    fn next(total: T::Product, x: T) -> T::Product {
        total.times(x.widen())
    }

    #[inline(always)]
    fn rounded(total: T::Product) -> T {
        T::rounded(total)
    }
}

impl<T: Factor> Columns for Products<T> {
    type Item = T;

    #[inline(always)]
    fn columns(self, geometry: Geometry, src: &[T], start: usize, columns: Range<usize>, output: &Output<T>) {
        run_columns::<Self>(geometry, src, start, columns, output);
    }
}

/// The products along some rows of `dim` elements.
struct Rows<'a, T> {
    dim: usize,
    src: &'a [T],
    dst: &'a mut [MaybeUninit<T>],
}

impl<T: Factor> Program for Rows<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self { dim, src, dst } = self;
        for (src, dst) in src.chunks(dim).zip(dst.chunks_mut(dim)) {
            run_row::<Products<T>>(T::ONE, src, dst);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{isa::Isa, parallel::test::Halves};

    fn check<T: Factor + PartialOrd + core::fmt::Debug>(rounded: fn(f64) -> T)
    where
        for<'a> View<'a>: From<&'a [T]>,
        for<'a> Target<'a>: From<&'a mut [T]>,
    {
        for isa in Isa::available() {
            let exec = Exec::new(isa, &Halves);
            for (outer, dim, inner) in [
                (1, 1, 1),
                (1, 70, 1),
                (8, 33, 1),
                (19, 40, 1),
                (2, 9, 33),
                (3, 50, 5),
                (1, 7, 64),
            ] {
                let geometry = Geometry { outer, dim, inner };
                // Some overflow, others vanish and come back.
                let src: Vec<T> = (0..geometry.len())
                    .map(|i| rounded([1e30, -1e-30, 3.5, 0.25, 1e38, 7e-46, -2.0][i * 7919 % 7]))
                    .collect();
                let mut found = src.clone();
                let slot = Slot::Values((&mut found[..]).into());
                Cumprod
                    .forward(&exec, (&src[..]).into(), [Some(slot), None], geometry, &[])
                    .unwrap();
                let mut products = vec![T::ONE; src.len()];
                for i in 0..src.len() {
                    let before = if i / inner % dim == 0 {
                        T::ONE
                    } else {
                        products[i - inner]
                    };
                    products[i] = before.times(src[i].widen());
                    let (found, want) = (found[i], T::rounded(products[i]));
                    let is_nan = |x: T| x.partial_cmp(&x).is_none();
                    assert!(
                        found == want || is_nan(found) && is_nan(want),
                        "{geometry:?} {i}: {found:?} {want:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn products_are_taken_one_factor_after_the_other() {
        check::<f32>(|x| x as f32);
        check::<f64>(|x| x);
        check::<bf16>(bf16::from_f64);
        check::<f16>(f16::from_f64);
    }
}
