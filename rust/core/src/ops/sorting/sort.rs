//! Sorting along a dimension. Equal elements stay in their order, whether the caller asks for that or not.

use core::mem::{self, MaybeUninit};

use super::{
    key::{Item, Key, Keyed},
    radix::{Counts, Digit, RANKED, piles, ranks, sort, sort_pile, varying},
};
use crate::{
    dtype::{DType, Target, Unwritten, View},
    isa::{Isa, Program, Simd},
    kernel::{AlongKernel, Exec, Geometry, Kind, MAX_RESULTS, Shape, Slot, every_type},
    parallel::{Shared, Team, split_mut},
};

/// Elements of a row from which on several threads share it.
const SHARED: usize = 1 << 17;
/// Bits of the digit by which they do, at most, and elements of a pile, if keys are spread evenly.
const SHARE: u32 = 12;
const PILE: usize = 1024;
/// Bits of keys by which they do all at once, and elements from which on that pays.
const WHOLE: u32 = 16;
const LONG: usize = 1 << 19;
/// Values of a digit up to which several tables count it.
const FEW_VALUES: usize = 64;
const TABLES: usize = 4;
/// Columns that are read and written together, and elements of all of them at most.
const COLUMNS: usize = 16;
const GROUP: usize = 1 << 17;
/// Bytes of items that a thread keeps for the next time.
const KEPT: usize = 1 << 24;
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
    /// Writes sorted items of the row `src` to the elements from `start` on.
    ///
    /// # Safety
    /// No other thread writes there.
    #[inline(always)]
    unsafe fn write(&self, start: usize, run: &[ItemOf<T>], src: &[T]) {
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
            reversed: self.reversed,
        });
    }

    /// The same of one item of a column, whose elements are `stride` apart.
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
                        value.write(self.src[item.place() as usize]);
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
    /// For so many items, perhaps that of the thread's last time: memory that the system gave anew would cost as much as
    /// sorting.
    fn new(items: usize, other: usize) -> Self {
        let [items, other] = [items, other].map(|len| {
            let kept = I::kept().with_borrow_mut(Vec::pop).unwrap_or_default();
            if kept.len() < len {
                vec![I::default(); len]
            } else {
                kept
            }
        });
        Self {
            items,
            other,
            counts: Counts::new(),
        }
    }
}

impl<I: Item> Drop for Space<I> {
    fn drop(&mut self) {
        for space in [&mut self.other, &mut self.items] {
            if size_of_val(&**space) <= KEPT {
                I::kept().with_borrow_mut(|kept| kept.push(mem::take(space)));
            }
        }
    }
}

/// Sorts short rows: each element goes where its rank says.
struct ShortRows<'a, T> {
    src: &'a [T],
    dim: usize,
    values: Option<&'a mut [MaybeUninit<T>]>,
    indices: Option<&'a mut [MaybeUninit<i64>]>,
    reversed: bool,
}

impl<T: Keyed> Program for ShortRows<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        if self.dim <= RANKED / 2 {
            self.rows::<{ RANKED / 2 }>();
        } else {
            self.rows::<RANKED>();
        }
    }
}

impl<T: Keyed> ShortRows<'_, T> {
    #[inline(always)]
    fn rows<const MOST: usize>(mut self) {
        for (row, src) in self.src.chunks_exact(self.dim).enumerate() {
            let ranks = ranks::<MOST, _>(src.iter().map(|x| x.key().ordered(self.reversed)));
            let first = row * self.dim;
            if let Some(values) = &mut self.values {
                for (rank, &x) in ranks.iter().zip(src) {
                    values[first + rank.count()].write(x);
                }
            }
            if let Some(indices) = &mut self.indices {
                for (place, rank) in (0..self.dim).zip(&ranks) {
                    indices[first + rank.count()].write(place as i64);
                }
            }
        }
    }
}

/// Sorts whole short rows, each by a thread.
fn short_rows<T: Keyed>(team: &dyn Team, grain: usize, src: &[T], dim: usize, output: &Output<T>) {
    team.run(src.len() / dim, grain.div_ceil(dim), &|range| {
        let range = range.start * dim..range.end * dim;
        output.isa.run(ShortRows {
            src: &src[range.clone()],
            dim,
            // SAFETY: a team's ranges are disjoint.
            values: output
                .values
                .as_ref()
                .map(|values| unsafe { values.piece(range.clone()) }),
            // SAFETY: as above.
            indices: output.indices.as_ref().map(|indices| unsafe { indices.piece(range) }),
            reversed: output.reversed,
        });
    });
}

/// Sorts a row, to the elements from `first` on.
fn row<T: Keyed>(src: &[T], first: usize, output: &Output<T>, space: &mut Space<ItemOf<T>>) {
    let Space { items, other, counts } = space;
    let (items, other) = (&mut items[..src.len()], &mut other[..src.len()]);
    let differ = output.isa.run(Read {
        items: &mut *items,
        src,
        reversed: output.reversed,
    });
    sort(output.isa, items, other, differ, first, counts, &mut |start, run| {
        // SAFETY: rows are disjoint, and each is one thread's.
        unsafe { output.write(start, run, src) }
    });
}

/// Sorts whole rows, each by a thread.
fn rows<T: Keyed>(team: &dyn Team, grain: usize, src: &[T], dim: usize, output: &Output<T>) {
    team.run(src.len() / dim, grain.div_ceil(dim), &|range| {
        let mut space = Space::new(dim, dim);
        for index in range {
            row(&src[index * dim..(index + 1) * dim], index * dim, output, &mut space);
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
        let mut space = Space::<ItemOf<T>>::new(dim * width, dim * (width + 1));
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

/// A part of a long row, of the team's.
#[derive(Clone, Copy)]
struct Part<'a, T> {
    src: &'a [T],
    /// The place of the first element.
    place: usize,
    reversed: bool,
}

impl<T: Keyed> Part<'_, T> {
    /// Each element as an item.
    #[inline(always)]
    fn items(&self) -> impl Iterator<Item = ItemOf<T>> + '_ {
        (self.place..)
            .zip(self.src)
            .map(|(place, &x)| item(x, place, self.reversed))
    }
}

/// The bits in which the keys of a part differ from one.
struct Differ<'a, T>(Part<'a, T>, u64);

impl<T: Keyed> Program for Differ<'_, T> {
    type Output = u64;

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> u64 {
        let mut all = 0;
        for &x in self.0.src {
            all |= item(x, 0, self.0.reversed).bits() ^ self.1;
        }
        all
    }
}

/// Counts a part's elements by a digit.
struct Tally<'a, T>(Part<'a, T>, Digit, &'a mut [u32]);

impl<T: Keyed> Program for Tally<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self(part, digit, counts) = self;
        // A count waits for the one before, where both are of one value: with few values, several tables take turns.
        let mut tables = [[0; FEW_VALUES]; TABLES];
        if counts.len() <= FEW_VALUES {
            for elements in part.src.chunks(TABLES) {
                for (table, &x) in tables.iter_mut().zip(elements) {
                    table[digit.of(item(x, 0, part.reversed).bits())] += 1;
                }
            }
            for table in &tables {
                for (count, more) in counts.iter_mut().zip(table) {
                    *count += more;
                }
            }
            return;
        }
        for item in part.items() {
            counts[digit.of(item.bits())] += 1;
        }
    }
}

/// Deals a part's elements out to piles, from the starts on: their items, or, where there is no place for these, their places
/// alone.
struct Deal<'a, T: Keyed> {
    part: Part<'a, T>,
    digit: Digit,
    starts: &'a mut [u32],
    items: &'a Shared<'a, ItemOf<T>>,
    indices: Option<(usize, &'a Shared<'a, MaybeUninit<i64>>)>,
}

impl<T: Keyed> Program for Deal<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self {
            part,
            digit,
            starts,
            items,
            indices,
        } = self;
        for item in part.items() {
            let start = &mut starts[digit.of(item.bits())];
            let at = *start as usize;
            *start += 1;
            // SAFETY: each part has places of its own in each pile.
            unsafe {
                match indices {
                    None => items.piece(at..at + 1)[0] = item,
                    Some((first, indices)) => {
                        indices.piece(first + at..first + at + 1)[0].write(i64::from(item.place()));
                    }
                }
            }
        }
    }
}

/// Sorts a long row by the team, to the elements from `first` on: deals it out by the highest digit in which keys differ, in
/// parts of which each thread has one, and sorts the piles.
fn long_row<T: Keyed>(team: &dyn Team, src: &[T], first: usize, output: &Output<T>) {
    let &Output { isa, reversed, .. } = output;
    let each = src.len().div_ceil(team.threads());
    let parts: Vec<Part<T>> = (0..)
        .step_by(each)
        .zip(src.chunks(each))
        .map(|(place, src)| Part { src, place, reversed })
        .collect();
    let origin = item(src[0], 0, reversed).bits();

    let mut differ = vec![0; parts.len()];
    split_mut(team, &mut differ, 1, 1, &|index, differ| {
        for (differ, &part) in differ.iter_mut().zip(&parts[index..]) {
            *differ = isa.run(Differ(part, origin));
        }
    });
    let differ = differ.into_iter().fold(0, |all, of| all | of);

    // All that there is, if it is short, or worth a long table.
    let all = Digit::highest(differ, if src.len() < LONG { SHARE } else { WHOLE });
    let digit = if all.below(differ) == 0 {
        all
    } else {
        Digit::highest(differ, (src.len() / PILE).ilog2().min(SHARE))
    };
    // One thread does not share.
    if team.threads() == 1 && digit.below(differ) != 0 {
        row(src, first, output, &mut Space::new(src.len(), src.len()));
        return;
    }
    let values = digit.values();
    let mut counts = vec![0_u32; parts.len() * values];
    split_mut(team, &mut counts, values, 1, &|index, counts| {
        for (counts, &part) in counts.chunks_exact_mut(values).zip(&parts[index / values..]) {
            isa.run(Tally(part, digit, counts));
        }
    });
    // Of each pile, the first part's items come first.
    let mut start = 0;
    for value in 0..values {
        for part in 0..parts.len() {
            let count = &mut counts[part * values + value];
            (*count, start) = (start, start + *count);
        }
    }

    // Equal elements are not sorted further: it does to know where they are.
    let below = digit.below(differ);
    let indices = output
        .indices
        .as_ref()
        .filter(|_| below == 0)
        .map(|indices| (first, indices));
    let len = if indices.is_some() { 0 } else { src.len() };
    let mut space = Space::<ItemOf<T>>::new(len, len);
    let items = Shared::new(&mut space.items);
    split_mut(team, &mut counts, values, 1, &|index, counts| {
        for (starts, &part) in counts.chunks_exact_mut(values).zip(&parts[index / values..]) {
            isa.run(Deal {
                part,
                digit,
                starts,
                items: &items,
                indices,
            });
        }
    });

    let ends = &counts[(parts.len() - 1) * values..];
    if indices.is_some() {
        let key = |value: usize| digit.put(value, origin & !differ);
        fill(team, src, first, output, ends, &key);
        return;
    }
    let (items, other) = (Shared::new(&mut space.items), Shared::new(&mut space.other));
    team.run(src.len(), 1, &|range| {
        let mut counts = Counts::new();
        for (_, pile) in piles(ends, range) {
            // SAFETY: piles are disjoint, and each starts in one of the team's ranges.
            let (items, other) = unsafe { (items.piece(pile.clone()), other.piece(pile.clone())) };
            sort_pile(isa, items, other, below, pile.start, &mut counts, &mut |start, run| {
                // SAFETY: as above.
                unsafe { output.write(first + start, run, src) }
            });
        }
    });
}

/// Writes the values of piles of equal elements, whose indices are there; `key` has the bits of a pile's key.
fn fill<T: Keyed>(
    team: &dyn Team,
    src: &[T],
    first: usize,
    output: &Output<T>,
    ends: &[u32],
    key: &(dyn Fn(usize) -> u64 + Sync),
) {
    let (Some(values), Some(indices)) = (&output.values, &output.indices) else {
        return;
    };
    team.run(src.len(), 1, &|range| {
        for (value, pile) in piles(ends, range) {
            let pile = first + pile.start..first + pile.end;
            // SAFETY: piles are disjoint, and each starts in one of the team's ranges.
            let (values, indices) = unsafe { (values.piece(pile.clone()), indices.piece(pile)) };
            let key = T::Key::of_bits(key(value)).ordered(output.reversed);
            if T::is_shared(key) {
                for (value, index) in values.iter_mut().zip(indices) {
                    // SAFETY: all indices were written.
                    value.write(src[unsafe { index.assume_init() } as usize]);
                }
            } else {
                values.fill(MaybeUninit::new(T::of(key)));
            }
        }
    });
}

/// Sorts along the geometry's dimension.
fn sort_along<T: Keyed>(exec: &Exec, src: &[T], geometry: Geometry, output: &Output<T>) {
    assert!(src.len() == geometry.len(), "the slice differs from the geometry");
    let (team, grain) = exec.team(src.len(), size_of::<T>(), FLOPS);
    if geometry.inner > 1 {
        columns(team, grain, src, geometry, output);
    } else if geometry.dim <= RANKED {
        short_rows(team, grain, src, geometry.dim, output);
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

    fn keeps_strides(&self) -> bool {
        true
    }

    fn results(&self, whole: bool) -> &'static [Kind] {
        if whole { &[] } else { self.results }
    }

    fn accepts(&self, geometry: Geometry, _: &[f64]) -> Result<(), &'static str> {
        geometry.has_elements()?;
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
                Slot::Indices(Unwritten(slice)) => indices = Some(slice),
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
