//! `torch.cummax` and `torch.cummin`.

use core::{marker::PhantomData, ops::Range};

use super::{COLUMNS, Columns, Output, Results, Scan, scan};
use crate::{
    dtype::{Compared, DType, Target, Unwritten, View},
    isa::Simd,
    kernel::{AlongKernel, Exec, Geometry, Kind, MAX_RESULTS, Shape, Slot, every_type},
    parallel::Shared,
};

/// The greatest element so far along a dimension, or the least, and the place of the last such. NaN are before all, the last
/// one before others, as in `cummax_cummin_helper` of `aten/src/ATen/native/ReduceOps.cpp`.
pub struct Cumulative<const GREATEST: bool>;

impl Cumulative<true> {
    /// `torch.cummax`.
    pub const CUMMAX: Self = Self;
}

impl Cumulative<false> {
    /// `torch.cummin`.
    pub const CUMMIN: Self = Self;
}

/// Elements of a row that are compared together with the extreme so far.
const LANES: usize = 32;
/// Elements of a row up to which stock torch is faster, if there are more such rows than these.
const SHORT: usize = 255;
const ROWS: usize = 8;

impl<const GREATEST: bool> AlongKernel for Cumulative<GREATEST> {
    fn name(&self) -> &'static str {
        if GREATEST { "cummax" } else { "cummin" }
    }

    fn shape(&self) -> Shape {
        Shape::Rows
    }

    fn takes(&self, _: DType) -> bool {
        true
    }

    fn results(&self, whole: bool) -> &'static [Kind] {
        if whole { &[] } else { &[Kind::Values, Kind::Indices] }
    }

    fn accepts(&self, geometry: Geometry, _: &[f64]) -> Result<(), &'static str> {
        if geometry.is_empty() || i32::try_from(geometry.dim).is_err() {
            Err("no elements, or rows too long for places of 32 bits")
        } else {
            Ok(())
        }
    }

    fn pays(&self, geometry: Geometry, _: &[f64]) -> Result<(), &'static str> {
        if geometry.inner == 1 {
            geometry.has_no_more_short_rows(SHORT, ROWS)
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
        let [Some(Slot::Values(values)), Some(Slot::Indices(Unwritten(places)))] = results else {
            return Err("two results");
        };
        every_type!((src: View, values: Target) => {
            let output = Output { values: Shared::new(values), places: Some(Shared::new(places)) };
            scan(exec, Extreme::<_, GREATEST>::NEW, src, geometry, &output);
        });
        Ok(())
    }
}

/// The extremes.
#[derive(Clone, Copy)]
struct Extreme<T, const GREATEST: bool>(PhantomData<T>);

impl<T: Compared, const GREATEST: bool> Extreme<T, GREATEST> {
    const NEW: Self = Self(PhantomData);

    /// Whether an element comes in the place of the extreme so far.
    #[inline(always)]
    fn takes(best: T::As, x: T::As) -> bool {
        // A NaN is not less than any, and nothing but NaN comes after one.
        let behind = if GREATEST { x < best } else { x > best };
        let kept = u8::from(T::is_nan(best)) & u8::from(!T::is_nan(x));
        u8::from(behind) | kept == 0
    }
}

/// The extreme and its place; below 0 where there is none yet.
type State<T> = (T, i32);

impl<T: Compared + Send + 'static, const GREATEST: bool> Columns for Extreme<T, GREATEST> {
    type Item = T;

    #[inline(always)]
    fn columns(self, geometry: Geometry, src: &[T], start: usize, columns: Range<usize>, output: &Output<T>) {
        let (mut best, mut places) = ([T::ANY; COLUMNS], [0_i32; COLUMNS]);
        best[..columns.len()].copy_from_slice(&src[columns.clone()]);
        for row in 0..geometry.dim {
            let at = row * geometry.inner + columns.start;
            let src = &src[at..at + columns.len()];
            // SAFETY: columns are apart.
            let dst = unsafe { output.part(start + at, columns.len()) };
            let Some(indices) = dst.places else { return };
            if let (Some(src), Some(values), Some(indices)) = (
                src.first_chunk(),
                dst.values.first_chunk_mut(),
                indices.first_chunk_mut(),
            ) {
                advance::<T, GREATEST>(row as i32, &mut best, &mut places, src);
                for (value, best) in <&mut [_; COLUMNS]>::into_iter(values).zip(&best) {
                    value.write(*best);
                }
                for (index, &place) in <&mut [_; COLUMNS]>::into_iter(indices).zip(&places) {
                    index.write(place.into());
                }
            } else {
                let mut padded = best;
                padded[..src.len()].copy_from_slice(src);
                advance::<T, GREATEST>(row as i32, &mut best, &mut places, &padded);
                dst.values.write_copy_of_slice(&best[..src.len()]);
                for (index, &place) in indices.iter_mut().zip(&places) {
                    index.write(place.into());
                }
            }
        }
    }
}

impl<T: Compared + Send + 'static, const GREATEST: bool> Scan for Extreme<T, GREATEST> {
    type State = State<T>;
    const START: State<T> = (T::ANY, -1);

    #[inline(always)]
    fn total<S: Simd>(self, _: S, src: &[T], first: usize) -> State<T> {
        let mut state = (src[0], first as i32);
        for (src, first) in src.chunks(LANES).zip((first..).step_by(LANES)) {
            if any::<T, GREATEST>(state.0, src) {
                for (&x, place) in src.iter().zip(first as i32..) {
                    state = push::<T, GREATEST>(state, x, place);
                }
            }
        }
        state
    }

    #[inline(always)]
    fn join(self, before: State<T>, after: State<T>) -> State<T> {
        if before.1 < 0 || Self::takes(before.0.number(), after.0.number()) {
            after
        } else {
            before
        }
    }

    #[inline(always)]
    fn piece<S: Simd>(self, _: S, mut state: State<T>, first: usize, src: &[T], dst: Results<T>) {
        let Some(places) = dst.places else { return };
        if state.1 < 0 {
            state = (src[0], first as i32);
        }
        let parts = src
            .chunks(LANES)
            .zip(dst.values.chunks_mut(LANES))
            .zip(places.chunks_mut(LANES));
        for (((src, values), places), first) in parts.zip((first..).step_by(LANES)) {
            if any::<T, GREATEST>(state.0, src) {
                for (((&x, value), dst), place) in src.iter().zip(values).zip(places).zip(first as i32..) {
                    state = push::<T, GREATEST>(state, x, place);
                    value.write(state.0);
                    dst.write(state.1.into());
                }
            } else {
                values.fill(core::mem::MaybeUninit::new(state.0));
                places.fill(core::mem::MaybeUninit::new(state.1.into()));
            }
        }
    }
}

/// What is after one more element of each column.
#[inline(always)]
fn advance<T: Compared, const GREATEST: bool>(
    row: i32,
    best: &mut [T; COLUMNS],
    places: &mut [i32; COLUMNS],
    src: &[T; COLUMNS],
) {
    let mut takes = [0_i32; COLUMNS];
    for ((takes, best), &x) in takes.iter_mut().zip(best.iter_mut()).zip(src) {
        let better = Extreme::<T, GREATEST>::takes(best.number(), x.number());
        *best = if better { x } else { *best };
        *takes = -i32::from(better);
    }
    for (place, takes) in places.iter_mut().zip(&takes) {
        *place ^= (*place ^ row) & takes;
    }
}

/// What is after one element more.
#[inline(always)]
fn push<T: Compared, const GREATEST: bool>((best, at): State<T>, x: T, place: i32) -> State<T> {
    let takes = Extreme::<T, GREATEST>::takes(best.number(), x.number());
    (if takes { x } else { best }, if takes { place } else { at })
}

/// Whether one of these comes in the place of the extreme so far.
#[inline(always)]
fn any<T: Compared, const GREATEST: bool>(best: T, src: &[T]) -> bool {
    let best = best.number();
    let mut any = 0_u32;
    if let Some(src) = src.first_chunk::<LANES>() {
        for x in src {
            any |= u32::from(Extreme::<T, GREATEST>::takes(best, x.number()));
        }
    } else {
        for x in src {
            any |= u32::from(Extreme::<T, GREATEST>::takes(best, x.number()));
        }
    }
    any != 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        isa::Isa,
        parallel::{Serial, Team, test::Halves},
    };

    fn run(exec: &Exec, src: &[f32], geometry: Geometry, greatest: bool) -> (Vec<f32>, Vec<i64>) {
        let (mut values, mut places) = (vec![9.0; src.len()], vec![-9; src.len()]);
        let slots = [
            Some(Slot::Values(Target::from(&mut values[..]))),
            Some(Slot::Indices((&mut places[..]).into())),
        ];
        let kernel: &dyn AlongKernel = if greatest {
            &Cumulative::CUMMAX
        } else {
            &Cumulative::CUMMIN
        };
        kernel.forward(exec, src.into(), slots, geometry, &[]).unwrap();
        (values, places)
    }

    #[test]
    fn extremes_and_places_are_torchs() {
        for isa in Isa::available() {
            for team in [&Serial as &dyn Team, &Halves] {
                let exec = Exec::new(isa, team);
                for (outer, dim, inner) in [
                    (1, 1, 1),
                    (3, 70, 1),
                    (1, 100_003, 1),
                    (2, 50, 33),
                    (3, 200, 5),
                    (1, 40, 64),
                ] {
                    for (range, nan) in [(3, 0), (100_000, 0), (1000, 701)] {
                        let number = |i: usize| {
                            if nan > 0 && i % nan == nan - 1 {
                                f32::NAN
                            } else {
                                (i * 7919 % range) as f32 - 1.0
                            }
                        };
                        let geometry = Geometry { outer, dim, inner };
                        let src: Vec<f32> = (0..geometry.len()).map(number).collect();
                        for greatest in [false, true] {
                            let (values, places) = run(&exec, &src, geometry, greatest);
                            for row in 0..outer * inner {
                                let at = |place: usize| row / inner * dim * inner + place * inner + row % inner;
                                let (mut best, mut from) = (src[at(0)], 0);
                                for place in 0..dim {
                                    let x = src[at(place)];
                                    let better = if greatest { x >= best } else { x <= best };
                                    if x.is_nan() || (!best.is_nan() && better) {
                                        (best, from) = (x, place as i64);
                                    }
                                    let found = values[at(place)];
                                    assert!(found == best || found.is_nan() && best.is_nan());
                                    assert_eq!(places[at(place)], from);
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}
