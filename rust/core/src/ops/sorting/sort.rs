//! Sorting along a dimension. Equal elements stay in their order, whether the caller asks for that or not.

use core::mem::{self, MaybeUninit};

use super::{
    key::{Item, Key, Keyed, every_type},
    radix::{Counts, Digit, piles, sort, sort_pile, starts, varying},
};
use crate::{
    dtype::{DType, Target, View},
    isa::{Isa, Program, Simd},
    kernel::{AlongKernel, Exec, Geometry, Kind, MAX_RESULTS, Shape, Slot},
    parallel::{Shared, Team},
};

/// Elements of a row from which on several threads share it.
const SHARED: usize = 1 << 16;
/// Bits of the digit by which they do.
const SHARE: u32 = 11;
/// Columns that are read and written together, and elements of all of them at most.
const COLUMNS: usize = 16;
const GROUP: usize = 1 << 17;
/// Bytes of items that a thread keeps for the next time.
const KEPT: usize = 1 << 25;
/// Instructions of one element, for the choice of threads.
const FLOPS: usize = 250;

type ItemOf<T> = <<T as Keyed>::Key as Key>::Item;

/// An element as an item.
#[inline(always)]
fn item<T: Keyed>(x: T, place: usize, reversed: bool) -> ItemOf<T> {
    ItemOf::<T>::new(x.key().ordered(reversed), place as u32)
}

/// The results, that threads write disjoint parts of.
struct Output<'a, T> {
    isa: Isa,
    values: Option<Shared<'a, MaybeUninit<T>>>,
    indices: Option<Shared<'a, MaybeUninit<i64>>>,
    reversed: bool,
}

impl<T: Keyed> Output<'_, T> {
    /// Writes sorted items to the elements from `start` on; those of a row, of the place 0 of which `src` begins, are
    /// `stride` apart.
    ///
    /// # Safety
    /// No other thread writes there.
    #[inline(always)]
    unsafe fn write(&self, start: usize, run: &[ItemOf<T>], src: &[T], stride: usize) {
        let range = start..start + run.len();
        self.isa.run(Write {
            // SAFETY: the caller's.
            values: self
                .values
                .as_ref()
                .map(|values| unsafe { values.piece(range.clone()) }),
            // SAFETY: the caller's.
            indices: self.indices.as_ref().map(|indices| unsafe { indices.piece(range) }),
            run,
            src,
            stride,
            reversed: self.reversed,
        });
    }
}

impl<T: Keyed> Output<'_, T> {
    /// The same of one item.
    ///
    /// # Safety
    /// As of `write`.
    #[inline(always)]
    unsafe fn write_one(&self, at: usize, item: ItemOf<T>, src: &[T], stride: usize) {
        if let Some(values) = &self.values {
            let key = item.key().ordered(self.reversed);
            let x = if T::is_shared(key) {
                src[item.place() as usize * stride]
            } else {
                T::of(key)
            };
            // SAFETY: the caller's.
            unsafe { values.piece(at..at + 1)[0].write(x) };
        }
        if let Some(indices) = &self.indices {
            // SAFETY: the caller's.
            unsafe { indices.piece(at..at + 1)[0].write(i64::from(item.place())) };
        }
    }
}

/// See [`Output::write`].
struct Write<'a, T: Keyed> {
    values: Option<&'a mut [MaybeUninit<T>]>,
    indices: Option<&'a mut [MaybeUninit<i64>]>,
    run: &'a [ItemOf<T>],
    src: &'a [T],
    stride: usize,
    reversed: bool,
}

impl<T: Keyed> Program for Write<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        if let Some(values) = self.values {
            let mut shared = false;
            for (value, item) in values.iter_mut().zip(self.run) {
                let key = item.key().ordered(self.reversed);
                value.write(T::of(key));
                shared |= T::is_shared(key);
            }
            if shared {
                for (value, item) in values.iter_mut().zip(self.run) {
                    if T::is_shared(item.key().ordered(self.reversed)) {
                        value.write(self.src[item.place() as usize * self.stride]);
                    }
                }
            }
        }
        if let Some(indices) = self.indices {
            for (index, item) in indices.iter_mut().zip(self.run) {
                index.write(i64::from(item.place()));
            }
        }
    }
}

/// Memory for items, twice, and their counts.
struct Space<I: Item> {
    items: Vec<I>,
    other: Vec<I>,
    counts: Counts,
}

impl<I: Item> Space<I> {
    /// For so many items, perhaps those of the thread's last time: memory that the system gave anew would cost as much as
    /// sorting.
    fn new(len: usize) -> Self {
        let [mut items, mut other] = I::kept().take();
        for space in [&mut items, &mut other] {
            if space.len() < len {
                *space = vec![I::default(); len];
            }
        }
        Self {
            items,
            other,
            counts: Counts::new(),
        }
    }
}

impl<I: Item> Drop for Space<I> {
    fn drop(&mut self) {
        if size_of_val(&*self.items) <= KEPT {
            I::kept().set([mem::take(&mut self.items), mem::take(&mut self.other)]);
        }
    }
}

/// Sorts whole rows, each by a thread.
fn rows<T: Keyed>(team: &dyn Team, grain: usize, src: &[T], dim: usize, output: &Output<T>) {
    team.run(src.len() / dim, grain.div_ceil(dim), &|range| {
        let mut space = Space::<ItemOf<T>>::new(dim);
        for row in range {
            let first = row * dim;
            let src = &src[first..first + dim];
            let Space { items, other, counts } = &mut space;
            let (items, other) = (&mut items[..dim], &mut other[..dim]);
            let differ = output.isa.run(Read {
                items: &mut *items,
                src,
                reversed: output.reversed,
            });
            sort(output.isa, items, other, differ, first, counts, &mut |start, run| {
                // SAFETY: rows are disjoint.
                unsafe { output.write(start, run, src, 1) }
            });
        }
    });
}

/// Makes a row's items, and tells the bits in which their keys differ.
struct Read<'a, T: Keyed> {
    items: &'a mut [ItemOf<T>],
    src: &'a [T],
    reversed: bool,
}

impl<T: Keyed> Program for Read<'_, T> {
    type Output = u64;

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> u64 {
        for ((place, of), &x) in self.items.iter_mut().enumerate().zip(self.src) {
            *of = item(x, place, self.reversed);
        }
        varying(self.items)
    }
}

/// Sorts groups of columns, each by a thread.
fn columns<T: Keyed>(team: &dyn Team, grain: usize, src: &[T], geometry: Geometry, output: &Output<T>) {
    let Geometry { outer, dim, inner } = geometry;
    let width = (GROUP / dim).clamp(1, COLUMNS).min(inner);
    let groups = inner.div_ceil(width);
    team.run(outer * groups, grain.div_ceil(dim * width), &|range| {
        let mut space = Space::<ItemOf<T>>::new(dim * (width + 1));
        let Space { items, other, counts } = &mut space;
        for group in range {
            let (block, column) = (group / groups * dim * inner, group % groups * width);
            let width = width.min(inner - column);
            let first = block + column;
            for place in 0..dim {
                let row = &src[first + place * inner..][..width];
                for (index, &x) in row.iter().enumerate() {
                    items[index * dim + place] = item(x, place, output.reversed);
                }
            }
            for index in 0..width {
                // Sorted items take the place of those of the column before.
                let (done, rest) = other.split_at_mut(width * dim);
                let (items, rest) = (&mut items[index * dim..(index + 1) * dim], &mut rest[..dim]);
                let (differ, done) = (varying(items), &mut done[index * dim..(index + 1) * dim]);
                sort(output.isa, items, rest, differ, 0, counts, &mut |start, run| {
                    done[start..start + run.len()].copy_from_slice(run);
                });
            }
            for place in 0..dim {
                let mut row = [ItemOf::<T>::default(); COLUMNS];
                for (index, item) in row[..width].iter_mut().enumerate() {
                    *item = other[index * dim + place];
                }
                for (index, item) in row[..width].iter().enumerate() {
                    let at = first + index;
                    // SAFETY: groups are disjoint.
                    unsafe { output.write_one(at + place * inner, *item, &src[at..], inner) };
                }
            }
        }
    });
}

/// Sorts a long row by the team, to the elements from `first` on: deals it out by the highest digit in which keys differ, in
/// parts of which each thread has one, and sorts the piles.
fn long_row<T: Keyed>(team: &dyn Team, src: &[T], first: usize, output: &Output<T>) {
    let len = src.len();
    let each = len.div_ceil(team.threads());
    let parts: Vec<(usize, &[T])> = (0..).step_by(each).zip(src.chunks(each)).collect();
    let bits = |x: T| item(x, 0, output.reversed).bits();
    let origin = bits(src[0]);

    let mut differ = vec![0; parts.len()];
    let found = Shared::new(&mut differ);
    team.run(parts.len(), 1, &|range| {
        for index in range {
            let all = parts[index].1.iter().fold(0, |all, &x| all | (bits(x) ^ origin));
            // SAFETY: a team's ranges are disjoint.
            unsafe { found.piece(index..index + 1)[0] = all };
        }
    });
    let differ = differ.into_iter().fold(0, |all, of| all | of);

    let digit = Digit::highest(differ, SHARE);
    let values = digit.values();
    let mut counts = vec![0_u32; parts.len() * values];
    let shared = Shared::new(&mut counts);
    team.run(parts.len(), 1, &|range| {
        for index in range {
            // SAFETY: as above.
            let counts = unsafe { shared.piece(index * values..(index + 1) * values) };
            for &x in parts[index].1 {
                counts[digit.of(bits(x))] += 1;
            }
        }
    });
    // Of each pile, the first part's items come first.
    let mut by_value: Vec<u32> = (0..values * parts.len())
        .map(|index| counts[index % parts.len() * values + index / parts.len()])
        .collect();
    starts(&mut by_value);
    for (index, &start) in by_value.iter().enumerate() {
        counts[index % parts.len() * values + index / parts.len()] = start;
    }

    let below = digit.below(differ);
    let mut space = Space::<ItemOf<T>>::new(if below == 0 { 0 } else { len });
    let items = Shared::new(&mut space.items);
    let shared = Shared::new(&mut counts);
    team.run(parts.len(), 1, &|range| {
        for index in range {
            // SAFETY: as above.
            let starts = unsafe { shared.piece(index * values..(index + 1) * values) };
            let (place, part) = parts[index];
            for (place, &x) in (place..).zip(part) {
                let item = item(x, place, output.reversed);
                let start = &mut starts[digit.of(item.bits())];
                let at = *start as usize;
                // SAFETY: each part has places of its own in each pile.
                unsafe {
                    if below == 0 {
                        output.write_one(first + at, item, src, 1);
                    } else {
                        items.piece(at..at + 1)[0] = item;
                    }
                }
                *start += 1;
            }
        }
    });

    if below == 0 {
        return;
    }
    let ends = &counts[(parts.len() - 1) * values..];
    let (items, other) = (Shared::new(&mut space.items), Shared::new(&mut space.other));
    team.run(len, 1, &|range| {
        let mut counts = Counts::new();
        for pile in piles(ends, range) {
            // SAFETY: piles are disjoint, and each starts in one of the team's ranges.
            let (items, other) = unsafe { (items.piece(pile.clone()), other.piece(pile.clone())) };
            sort_pile(
                output.isa,
                items,
                other,
                below,
                pile.start,
                &mut counts,
                &mut |start, run| {
                    // SAFETY: as above.
                    unsafe { output.write(first + start, run, src, 1) }
                },
            );
        }
    });
}

/// Sorts along the geometry's dimension.
fn sort_along<T: Keyed>(exec: &Exec, src: &[T], geometry: Geometry, output: &Output<T>) {
    assert!(src.len() == geometry.len(), "the slice differs from the geometry");
    let (team, grain) = exec.team(src.len(), size_of::<T>(), FLOPS);
    if geometry.inner > 1 {
        columns(team, grain, src, geometry, output);
    } else if geometry.dim < SHARED {
        rows(team, grain, src, geometry.dim, output);
    } else {
        for (index, row) in src.chunks_exact(geometry.dim).enumerate() {
            long_row(team, row, index * geometry.dim, output);
        }
    }
}

/// `torch.sort`, `torch.argsort` and `torch.msort`: the elements along a dimension in ascending order, NaN last, and where
/// they were.
///
/// Numbers: whether the order is descending, NaN first. Equal elements stay in their order in both.
pub struct Sort {
    name: &'static str,
    results: &'static [Kind],
}

impl Sort {
    /// With both results.
    pub const SORT: Self = Self {
        name: "sort",
        results: &[Kind::Values, Kind::Indices],
    };
    /// With the places alone.
    pub const ARGSORT: Self = Self {
        name: "argsort",
        results: &[Kind::Indices],
    };
    /// With the elements alone.
    pub const MSORT: Self = Self {
        name: "msort",
        results: &[Kind::Values],
    };
}

impl AlongKernel for Sort {
    fn name(&self) -> &'static str {
        self.name
    }

    fn shape(&self) -> Shape {
        Shape::Rows
    }

    fn takes(&self, _: DType) -> bool {
        true
    }

    fn results(&self, whole: bool) -> &'static [Kind] {
        if whole { &[] } else { self.results }
    }

    fn accepts(&self, geometry: Geometry, _: &[f64]) -> Result<(), &'static str> {
        if geometry.is_empty() {
            return Err("no elements");
        }
        if u32::try_from(geometry.dim).is_err() {
            return Err("rows too long for places of 32 bits");
        }
        Ok(())
    }

    fn forward(
        &self,
        exec: &Exec,
        src: View,
        results: [Option<Slot>; MAX_RESULTS],
        geometry: Geometry,
        numbers: &[f64],
    ) -> Result<(), &'static str> {
        let len = geometry.len();
        let (mut values, mut indices) = (None, None);
        for slot in results.into_iter().flatten() {
            match slot {
                Slot::Values(target) => values = Some(target),
                Slot::Indices(slice) => indices = Some(slice),
            }
        }
        assert!(
            indices.as_ref().is_none_or(|indices| indices.len() == len),
            "the places differ from the geometry"
        );
        let indices = indices.map(Shared::new);
        let reversed = numbers.first().is_some_and(|&descending| descending != 0.0);
        match values {
            Some(values) => every_type!((src: View, values: Target) => {
                assert!(values.len() == len, "the result differs from the geometry");
                let values = Some(Shared::new(values));
                sort_along(exec, src, geometry, &Output { isa: exec.isa, values, indices, reversed });
            }),
            None => every_type!((src: View) => {
                sort_along(exec, src, geometry, &Output { isa: exec.isa, values: None, indices, reversed });
            }),
        }
        Ok(())
    }
}
