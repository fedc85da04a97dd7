//! The largest and the smallest element along a dimension, and where it is: the first one of equals, and the first NaN
//! before all numbers, as in torch.
//!
//! The extreme number of a row is looked for before its place is, and that in the chunk that it came from alone.

use core::{marker::PhantomData, mem::MaybeUninit};

use super::{
    blocks::Blocks,
    lanes::{Largest, Order, RowElement, RowLane, Smallest, Tile, extreme},
};
use crate::{
    dtype::{Target, Unwritten, View},
    float::Float,
    isa::{Program, Simd},
    kernel::{AlongKernel, Exec, Geometry, Kind, MAX_RESULTS, Shape, Slot, each_type},
    math::row_exp::RowExp,
};

/// Elements of a row that are looked through twice if one of them is the extreme.
const CHUNK: usize = 4096;
/// Elements of a row that a thread looks through.
const BLOCK: usize = 8 * CHUNK;
/// The same of columns: about as many elements, in so many rows at least and at most.
const ELEMENTS: usize = 1 << 16;
const ROWS: (usize, usize) = (64, 512);
/// Columns that are looked through together, if there are many or few.
const STRIP: usize = 256;
const NARROW: usize = 16;
/// Elements of a row below which they are compared one by one.
const SHORT: usize = 32;
/// Numbers among which a place is looked for at once.
const GROUP: usize = 64;
/// Columns below which stock torch may be as fast, and elements of each of several rows, whose registers are put together
/// lane by lane.
const FEW: usize = 32;
const FEW_OF_ROWS: usize = 512;
/// Elements up to which calls are taken all the same.
const SMALL: usize = 1024;
/// Instructions of one element, for the choice of threads.
const FLOPS: usize = 4;

/// The extreme number of a column, NaN if there is one, and the first row that has it.
#[derive(Clone, Copy, Default)]
struct Found<F> {
    value: F,
    at: usize,
}

impl<F: RowLane> Found<F> {
    /// With further rows.
    #[inline(always)]
    fn and<O: Order>(self, other: Self) -> Self {
        if O::beats(other.value, self.value) { other } else { self }
    }
}

/// The place of the first number that equals the extreme one of all.
// As a mere path the function would not be inlined.
#[allow(clippy::redundant_closure_for_method_calls)]
#[inline(always)]
fn position<F: RowLane>(values: &[F], extreme: F) -> usize {
    if extreme.is_nan() {
        first(
            values,
            #[inline(always)]
            |x| x.is_nan(),
        )
    } else {
        first(
            values,
            #[inline(always)]
            |x| x == extreme,
        )
    }
}

/// The place of the first number that is such a one, of which there is one.
#[inline(always)]
fn first<F: RowLane>(values: &[F], is: impl Fn(F) -> bool) -> usize {
    let mut at = 0;
    while let Some(group) = values[at..].first_chunk::<GROUP>() {
        let mut any = false;
        for &x in group {
            any |= is(x);
        }
        if any {
            break;
        }
        at += GROUP;
    }
    while !is(values[at]) {
        at += 1;
    }
    at
}

/// The extreme of a row.
#[inline(always)]
fn row<O: Order, T: RowElement, S: Simd>(simd: S, src: &[T], tile: &mut [T::Lane]) -> Found<T::Lane> {
    let mut best = Found {
        value: O::start(),
        at: 0,
    };
    if src.len() < SHORT {
        for (at, &x) in T::lanes(simd, src, tile).iter().enumerate() {
            best = best.and::<O>(Found { value: x, at });
        }
        return best;
    }
    for (index, chunk) in src.chunks(CHUNK).enumerate() {
        let value = extreme::<O, _, _>(simd, T::lanes(simd, chunk, tile));
        best = best.and::<O>(Found {
            value,
            at: index * CHUNK,
        });
    }
    let chunk = &src[best.at..src.len().min(best.at + CHUNK)];
    best.at += position(T::lanes(simd, chunk, tile), best.value);
    best
}

/// The extremes of the columns from `start` on, `WIDTH` at most.
#[inline(always)]
fn columns<const WIDTH: usize, O: Order, T: RowElement, S: Simd>(
    simd: S,
    src: &[T],
    inner: usize,
    start: usize,
    found: &mut [Found<T::Lane>],
    tile: &mut [T::Lane],
) {
    let (mut best, mut places) = ([O::start(); WIDTH], [T::Lane::ZERO; WIDTH]);
    let width = found.len();
    let (best, places) = (&mut best[..width], &mut places[..width]);
    for (index, row) in src.chunks_exact(inner).enumerate() {
        let place = T::Lane::of(index as f64);
        let values = &T::lanes(simd, &row[start..start + width], tile)[..width];
        for i in 0..width {
            let beats = O::beats(values[i], best[i]);
            // Sums, as in `raised`; the sign of a zero is the element's that the place is of.
            best[i] = (if beats { values[i] } else { best[i] }) + T::Lane::ZERO;
            places[i] = (if beats { place } else { places[i] }) + T::Lane::ZERO;
        }
    }
    for ((found, &value), &at) in found.iter_mut().zip(&*best).zip(&*places) {
        let at: f64 = at.into();
        *found = Found { value, at: at as usize };
    }
}

/// The extremes of the columns of blocks, from the one at `start` on.
struct Part<'a, O, T: RowElement> {
    src: &'a [T],
    blocks: Blocks,
    start: usize,
    found: &'a mut [Found<T::Lane>],
    order: PhantomData<O>,
}

impl<O: Order, T: RowElement> Program for Part<'_, O, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let inner = self.blocks.geometry.inner;
        let mut tile = Tile::new(CHUNK);
        let tile = tile.get();
        for (index, found) in (self.start..).zip(self.found.chunks_exact_mut(inner)) {
            let (elements, before) = self.blocks.nth(index);
            let src = &self.src[elements];
            if inner == 1 {
                found[0] = row::<O, _, _>(simd, src, tile);
            } else if inner <= NARROW {
                columns::<NARROW, O, _, _>(simd, src, inner, 0, found, tile);
            } else {
                for (strip, found) in found.chunks_mut(STRIP).enumerate() {
                    columns::<STRIP, O, _, _>(simd, src, inner, strip * STRIP, found, tile);
                }
            }
            for found in found {
                found.at += before;
            }
        }
    }
}

/// The extremes along the geometry's dimension, `outer` times `inner` of them.
fn extremes<O: Order, T: RowElement>(exec: &Exec, src: &[T], geometry: Geometry) -> Vec<Found<T::Lane>> {
    assert!(src.len() == geometry.len(), "the slice differs from the geometry");
    let rows = if geometry.inner == 1 {
        BLOCK
    } else {
        (ELEMENTS / geometry.inner).clamp(ROWS.0, ROWS.1)
    };
    let blocks = Blocks { geometry, rows };
    let (team, grain) = exec.team(src.len(), size_of::<T>(), FLOPS);
    let of = |start, found: &mut [Found<T::Lane>]| {
        exec.isa.run(Part::<O, _> {
            src,
            blocks,
            start,
            found,
            order: PhantomData,
        });
    };
    blocks.find(team, grain, &of, &|all: Found<_>, one| all.and::<O>(one))
}

/// Writes what was found: the elements themselves, and their places.
fn write<T: RowElement>(
    src: &[T],
    geometry: Geometry,
    found: &[Found<T::Lane>],
    values: Option<&mut [MaybeUninit<T>]>,
    indices: Option<&mut [MaybeUninit<i64>]>,
) {
    let Geometry { dim, inner, .. } = geometry;
    if let Some(values) = values {
        assert!(values.len() == found.len(), "the result differs from the geometry");
        let rows = values.chunks_exact_mut(inner).zip(found.chunks_exact(inner));
        for ((values, found), src) in rows.zip(src.chunks_exact(dim * inner)) {
            for (column, (value, found)) in values.iter_mut().zip(found).enumerate() {
                value.write(src[found.at * inner + column]);
            }
        }
    }
    if let Some(indices) = indices {
        assert!(indices.len() == found.len(), "the result differs from the geometry");
        for (index, found) in indices.iter_mut().zip(found) {
            index.write(found.at as i64);
        }
    }
}

/// Whether a row of all elements has its extreme in zeros of both signs: which of them is stock torch's result follows from
/// the order in which it compares.
fn is_ambiguous<T: RowElement>(src: &[T], found: &Found<T::Lane>) -> bool {
    let sign = |x: T| {
        let x: f64 = x.lane().into();
        (x == 0.0).then_some(x.is_sign_negative())
    };
    let its = sign(src[found.at]);
    its.is_some() && src.iter().any(|&x| sign(x).is_some_and(|sign| Some(sign) != its))
}

/// Whether the elements have half precision.
fn is_half<T: RowElement>(_: &[T]) -> bool {
    T::HALF
}

/// Why a geometry is better left to stock torch.
fn pays(geometry: Geometry) -> Result<(), &'static str> {
    let Geometry { outer, dim, inner } = geometry;
    if inner == 1 && outer > 1 && dim < FEW_OF_ROWS && geometry.len() > SMALL {
        return Err("short rows");
    }
    if inner > 1 && inner < FEW && geometry.len() > SMALL {
        return Err("few columns");
    }
    Ok(())
}

/// The order's part of the names.
pub(in crate::ops) trait Named: Order {
    /// Of where the extreme is.
    const ARG: &'static str;
    /// Of the extreme with its place.
    const EXTREME: &'static str;
}

impl Named for Largest {
    const ARG: &'static str = "argmax";
    const EXTREME: &'static str = "max";
}

impl Named for Smallest {
    const ARG: &'static str = "argmin";
    const EXTREME: &'static str = "min";
}

/// `torch.argmax` and `torch.argmin`: the place of the extreme element along a dimension, or among all.
///
/// Numbers: whether the dimension is kept.
pub struct Arg<O>(PhantomData<O>);

impl<O> Arg<O> {
    /// The only one.
    pub const NEW: Self = Self(PhantomData);
}

impl<O: Named> AlongKernel for Arg<O> {
    fn name(&self) -> &'static str {
        O::ARG
    }

    fn shape(&self) -> Shape {
        Shape::Reduce
    }

    fn results(&self, _: bool) -> &'static [Kind] {
        &[Kind::Indices]
    }

    fn accepts(&self, geometry: Geometry, _: &[f64]) -> Result<(), &'static str> {
        geometry.has_elements()
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
        let [Some(Slot::Indices(Unwritten(indices))), None] = results else {
            panic!("the result is of indices");
        };
        each_type!((src: View) => {
            let found = extremes::<O, _>(exec, src, geometry);
            write(src, geometry, &found, None, Some(indices));
        });
        Ok(())
    }
}

/// `torch.max` and `torch.min`: the extreme element along a dimension and its place, or the one among all.
///
/// Numbers: whether the dimension is kept.
pub struct Extreme<O>(PhantomData<O>);

impl<O> Extreme<O> {
    /// The only one.
    pub const NEW: Self = Self(PhantomData);
}

impl<O: Named> AlongKernel for Extreme<O> {
    fn name(&self) -> &'static str {
        O::EXTREME
    }

    fn shape(&self) -> Shape {
        Shape::Reduce
    }

    fn results(&self, whole: bool) -> &'static [Kind] {
        if whole {
            &[Kind::Values]
        } else {
            &[Kind::Values, Kind::Indices]
        }
    }

    fn accepts(&self, geometry: Geometry, _: &[f64]) -> Result<(), &'static str> {
        geometry.has_elements()
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
        each_type!((src: View, values: Target) => {
            if indices.is_none() && src.len() > SMALL && is_half(src) {
                return Err("many elements of half precision, among which torch is faster");
            }
            let found = extremes::<O, _>(exec, src, geometry);
            if indices.is_none() && found.iter().any(|found| is_ambiguous(src, found)) {
                return Err("zeros of both signs");
            }
            write(src, geometry, &found, Some(values), indices);
        });
        Ok(())
    }
}

/// `torch.aminmax`: the smallest and the largest element along a dimension, or of all.
///
/// Numbers: whether the dimension is kept.
pub struct Aminmax;

impl AlongKernel for Aminmax {
    fn name(&self) -> &'static str {
        "aminmax"
    }

    fn shape(&self) -> Shape {
        Shape::Reduce
    }

    fn results(&self, _: bool) -> &'static [Kind] {
        &[Kind::Values, Kind::Values]
    }

    fn accepts(&self, geometry: Geometry, _: &[f64]) -> Result<(), &'static str> {
        geometry.has_elements()
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
        let [Some(Slot::Values(least)), Some(Slot::Values(greatest))] = results else {
            panic!("the results are of values");
        };
        each_type!((src: View, least: Target, greatest: Target) => aminmax(exec, src, geometry, least, greatest))
    }
}

fn aminmax<T: RowElement>(
    exec: &Exec,
    src: &[T],
    geometry: Geometry,
    least: &mut [MaybeUninit<T>],
    greatest: &mut [MaybeUninit<T>],
) -> Result<(), &'static str> {
    let low = extremes::<Smallest, _>(exec, src, geometry);
    let high = extremes::<Largest, _>(exec, src, geometry);
    if low.iter().chain(&high).any(|found| found.value == T::Lane::ZERO) {
        return Err("a zero, whose sign follows from the order of comparisons");
    }
    write(src, geometry, &low, Some(least), None);
    write(src, geometry, &high, Some(greatest), None);
    Ok(())
}
