//! The first few elements in order.
//!
//! Stock torch has libstdc++ select them: by `std::partial_sort`, a heap of the best so far, where a row has many times as
//! many elements, else by `std::nth_element`. Which of equal elements are taken, and in which order, follows from the moves of
//! these, so the same are made here. What is not better than the worst of the heap does not move it, and is passed over many
//! elements at a time.

use super::{
    key::{Item, Key, Keyed},
    libstdcxx::{Entry, make_heap, nth_element, offer, sort, sort_heap},
    radix::varying,
};
use crate::{
    dtype::{DType, Target, Unwritten, View},
    isa::{Program, Simd},
    kernel::{AlongKernel, Exec, Geometry, Kind, MAX_RESULTS, Shape, Slot, every_type},
    parallel::{Serial, Shared, Team, split_mut},
};
use core::{cmp::Reverse, mem::MaybeUninit};

/// How many times as many elements as are asked for stock torch keeps a heap from.
const HEAP: usize = 64;
/// Elements that are passed over together, and, where one of them is better, parts of them.
const GROUP: usize = 128;
const PART: usize = 16;
/// Groups of which the first are looked for, at most.
const GROUPS: usize = 1024;
/// Elements of a row from which on several threads share it, and of which each has at least as many.
const SHARED: usize = 1 << 17;
/// Columns that are looked at together.
const STRIP: usize = 256;
/// Instructions of one element, for the choice of threads.
const FLOPS: usize = 8;
const FLOPS_OF_SELECTION: usize = 120;
/// Elements of a row from which on it is worth to hope that no two of the best are equal, and how many bits more than pairs
/// of these and others need the keys differ in at least.
const FEW: usize = 64;
const SPARE: u32 = 3;
/// Elements of a row up to which stock torch is as fast, if there are more such rows than these.
const SHORT: usize = 256;
const ROWS: usize = 128;
/// The most that are asked for without a heap.
const MOST: usize = 16_384;

/// Elements of a row, from the one at `place` on, that go through a heap.
struct Scan<'a, T: Keyed, F> {
    src: &'a [T],
    place: usize,
    heap: &'a mut [Entry<T::Key>],
    reversed: bool,
    /// Gets what enters the heap.
    entered: F,
}

impl<T: Keyed, F: FnMut(Entry<T::Key>)> Program for Scan<'_, T, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, _: S) {
        let mut place = self.place;
        for group in self.src.chunks(GROUP) {
            if any(group, self.reversed, self.heap[0].key) {
                for (index, part) in group.chunks(PART).enumerate() {
                    if any(part, self.reversed, self.heap[0].key) {
                        self.part(place + index * PART, part);
                    }
                }
            }
            place += group.len();
        }
    }
}

impl<T: Keyed, F: FnMut(Entry<T::Key>)> Scan<'_, T, F> {
    #[inline(always)]
    fn part(&mut self, place: usize, part: &[T]) {
        for (place, &x) in (place..).zip(part) {
            let entry = entry(x, place, self.reversed);
            if offer(self.heap, entry) {
                (self.entered)(entry);
            }
        }
    }
}

/// Whether one of the elements is better.
#[inline(always)]
fn any<T: Keyed>(elements: &[T], reversed: bool, worst: T::Key) -> bool {
    let mut any = false;
    for &x in elements {
        any |= x.key().ordered(reversed) > worst;
    }
    any
}

/// The heap of a row's first elements.
fn first<T: Keyed>(src: &[T], k: usize, reversed: bool) -> Vec<Entry<T::Key>> {
    let entries = src[..k].iter().enumerate().map(|(place, &x)| entry(x, place, reversed));
    let mut heap: Vec<_> = entries.collect();
    make_heap(&mut heap);
    heap
}

/// Whether stock torch keeps a heap.
fn keeps_heap(k: usize, dim: usize) -> bool {
    k * HEAP <= dim
}

/// An element as an entry.
#[inline(always)]
fn entry<T: Keyed>(x: T, place: usize, reversed: bool) -> Entry<T::Key> {
    Entry {
        key: x.key().ordered(reversed),
        place: place as u32,
    }
}

/// Elements that lie `stride` apart, as entries.
struct Fill<'a, T: Keyed> {
    src: &'a [T],
    stride: usize,
    reversed: bool,
    entries: &'a mut [Entry<T::Key>],
}

impl<T: Keyed> Program for Fill<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        if self.stride == 1 {
            for ((place, of), &x) in self.entries.iter_mut().enumerate().zip(self.src) {
                *of = entry(x, place, self.reversed);
            }
        } else {
            for ((place, of), &x) in self
                .entries
                .iter_mut()
                .enumerate()
                .zip(self.src.iter().step_by(self.stride))
            {
                *of = entry(x, place, self.reversed);
            }
        }
    }
}

/// Puts the best `k` of entries in front, those that `std::nth_element` finds, in order if `sorted`.
fn select<K: Key>(entries: &mut [Entry<K>], k: usize, sorted: bool) {
    nth_element(entries, k - 1);
    if sorted {
        sort(&mut entries[..k - 1]);
    }
}

/// The same if no other entry has the key of one of them: then all algorithms find the same. `items` is memory for it;
/// otherwise nothing is changed.
fn select_distinct<K: Key>(entries: &mut [Entry<K>], k: usize, items: &mut Vec<K::Item>) -> bool {
    items.clear();
    // The best are the smallest items.
    items.extend(
        entries
            .iter()
            .map(|entry| K::Item::new(entry.key.ordered(true), entry.place)),
    );
    if varying(items).count_ones() < entries.len().ilog2() + k.ilog2() + SPARE {
        return false;
    }
    let (best, last, rest) = items.select_nth_unstable(k - 1);
    if rest.iter().any(|item| item.key() == last.key()) {
        return false;
    }
    best.sort_unstable();
    let best = &items[..k];
    if best.windows(2).any(|pair| pair[0].key() == pair[1].key()) {
        return false;
    }
    for (entry, item) in entries.iter_mut().zip(best) {
        (entry.key, entry.place) = (item.key().ordered(true), item.place());
    }
    true
}

/// The first key of each group of elements.
struct Groups<'a, T: Keyed> {
    src: &'a [T],
    each: usize,
    reversed: bool,
    firsts: &'a mut [T::Key],
}

impl<T: Keyed> Program for Groups<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        for (first, group) in self.firsts.iter_mut().zip(self.src.chunks(self.each)) {
            let mut best = T::Key::default();
            for &x in group {
                best = best.max(x.key().ordered(self.reversed));
            }
            *first = best;
        }
    }
}

/// The best of a row, in order, if no other has the key of one of them: then all algorithms find the same. None comes after
/// the k-th of what comes first in each of many groups.
fn distinct<T: Keyed>(exec: &Exec, team: &dyn Team, src: &[T], k: usize, reversed: bool) -> Option<Vec<Entry<T::Key>>> {
    if k == 1 {
        return None;
    }
    // Four times as many groups as are asked for, or more: there are `HEAP` times as many elements.
    let each = src.len().div_ceil(GROUPS).clamp(PART, src.len() / (4 * k));
    let mut firsts = vec![T::Key::default(); src.len().div_ceil(each)];
    split_mut(team, &mut firsts, 1, SHARED.div_ceil(each), &|index, firsts| {
        exec.isa.run(Groups {
            src: &src[index * each..],
            each,
            reversed,
            firsts,
        });
    });
    let mut ranked = firsts.clone();
    let (_, &mut bound, _) = ranked.select_nth_unstable_by(k - 1, |a, b| b.cmp(a));
    let mut found: Vec<Entry<T::Key>> = Vec::with_capacity(4 * k);
    for (index, group) in src.chunks(each).enumerate() {
        if firsts[index] < bound {
            continue;
        }
        for (place, &x) in (index * each..).zip(group) {
            let entry = entry(x, place, reversed);
            if entry.key >= bound {
                found.push(entry);
            }
        }
        if found.len() > 4 * k {
            return None;
        }
    }
    found.sort_unstable_by_key(|entry| Reverse(entry.key));
    let decided = found.windows(2).take(k).all(|pair| pair[0].key != pair[1].key);
    found.truncate(k);
    decided.then_some(found)
}

/// The best of a row, in order.
fn row<T: Keyed>(exec: &Exec, src: &[T], k: usize, reversed: bool) -> Vec<Entry<T::Key>> {
    if let Some(found) = distinct(exec, &Serial, src, k, reversed) {
        return found;
    }
    let mut heap = first(src, k, reversed);
    exec.isa.run(Scan {
        src: &src[k..],
        place: k,
        heap: &mut heap,
        reversed,
        entered: |_| {},
    });
    sort_heap(&mut heap);
    heap
}

/// The same by the team: what does not enter the heap of a part of the row, which begins as that of the first part, would
/// not enter the heap of all that is before it either.
fn long_row<T: Keyed>(exec: &Exec, team: &dyn Team, src: &[T], k: usize, reversed: bool) -> Vec<Entry<T::Key>> {
    if let Some(found) = distinct(exec, team, src, k, reversed) {
        return found;
    }
    let each = src.len().div_ceil(team.threads()).max(SHARED);
    let mut heap = first(src, k, reversed);
    let start = (k + GROUP * GROUP).min(src.len());
    exec.isa.run(Scan {
        src: &src[k..start],
        place: k,
        heap: &mut heap,
        reversed,
        entered: |_| {},
    });
    let rest = &src[start..];
    let mut found = vec![Vec::new(); rest.len().div_ceil(each)];
    split_mut(team, &mut found, 1, 1, &|first, found| {
        for ((index, found), part) in (first..).zip(found).zip(rest.chunks(each).skip(first)) {
            exec.isa.run(Scan {
                src: part,
                place: start + index * each,
                heap: &mut heap.clone(),
                reversed,
                entered: |entry| found.push(entry),
            });
        }
    });
    for entry in found.into_iter().flatten() {
        offer(&mut heap, entry);
    }
    sort_heap(&mut heap);
    heap
}

/// The heaps of some columns, a row at a time.
struct Columns<'a, T: Keyed> {
    src: &'a [T],
    inner: usize,
    start: usize,
    /// Of each column, one behind the other.
    heaps: &'a mut [Entry<T::Key>],
    k: usize,
    reversed: bool,
}

impl<T: Keyed> Program for Columns<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let mut worst = [T::Key::default(); STRIP];
        let worst = &mut worst[..self.heaps.len() / self.k];
        let width = worst.len();
        for (place, row) in self.src.chunks_exact(self.inner).enumerate() {
            let row = &row[self.start..self.start + width];
            if place < self.k {
                for (heap, &x) in self.heaps.chunks_exact_mut(self.k).zip(row) {
                    heap[place] = entry(x, place, self.reversed);
                }
                if place + 1 < self.k {
                    continue;
                }
                for (heap, worst) in self.heaps.chunks_exact_mut(self.k).zip(&mut *worst) {
                    make_heap(heap);
                    *worst = heap[0].key;
                }
                continue;
            }
            let mut any = false;
            for (&x, &worst) in row.iter().zip(&*worst) {
                any |= x.key().ordered(self.reversed) > worst;
            }
            if !any {
                continue;
            }
            for ((heap, worst), &x) in self.heaps.chunks_exact_mut(self.k).zip(&mut *worst).zip(row) {
                if offer(heap, entry(x, place, self.reversed)) {
                    *worst = heap[0].key;
                }
            }
        }
        for heap in self.heaps.chunks_exact_mut(self.k) {
            sort_heap(heap);
        }
    }
}

/// Where the results go, that threads write disjoint parts of.
struct Output<'a, T> {
    values: Shared<'a, MaybeUninit<T>>,
    indices: Shared<'a, MaybeUninit<i64>>,
    geometry: Geometry,
    k: usize,
}

impl<T: Keyed> Output<'_, T> {
    /// Writes the results of a column of a block.
    ///
    /// # Safety
    /// No other thread writes those.
    unsafe fn write(&self, src: &[T], block: usize, column: usize, found: &[Entry<T::Key>]) {
        let Geometry { dim, inner, .. } = self.geometry;
        for (rank, entry) in found.iter().enumerate() {
            let at = (block * self.k + rank) * inner + column;
            let x = src[(block * dim + entry.place as usize) * inner + column];
            // SAFETY: the caller's.
            unsafe {
                self.values.piece(at..at + 1)[0].write(x);
                self.indices.piece(at..at + 1)[0].write(i64::from(entry.place));
            }
        }
    }
}

/// The first `k` along the geometry's dimension.
fn topk<T: Keyed>(exec: &Exec, src: &[T], output: &Output<T>, reversed: bool, sorted: bool) {
    let Output { geometry, k, .. } = *output;
    let Geometry { outer, dim, inner } = geometry;
    assert!(src.len() == geometry.len(), "the slice differs from the geometry");
    let (team, grain) = exec.team(src.len(), size_of::<T>(), FLOPS);
    if !keeps_heap(k, dim) {
        let (team, grain) = exec.team(src.len(), size_of::<T>(), FLOPS_OF_SELECTION);
        team.run(outer * inner, grain.div_ceil(dim), &|range| {
            let (mut entries, mut items) = (vec![Entry::default(); dim], Vec::new());
            for index in range {
                let (block, column) = (index / inner, index % inner);
                exec.isa.run(Fill {
                    src: &src[block * dim * inner + column..],
                    stride: inner,
                    reversed,
                    entries: &mut entries,
                });
                let few = dim < FEW || size_of::<T>() < size_of::<f32>() || !sorted;
                if few || !select_distinct(&mut entries, k, &mut items) {
                    select(&mut entries, k, sorted);
                }
                // SAFETY: a team's ranges are disjoint.
                unsafe { output.write(src, block, column, &entries[..k]) };
            }
        });
    } else if inner == 1 && dim >= 2 * SHARED && team.threads() > 1 {
        for (block, src_row) in src.chunks_exact(dim).enumerate() {
            let found = long_row(exec, team, src_row, k, reversed);
            // SAFETY: this thread is the only one.
            unsafe { output.write(src, block, 0, &found) };
        }
    } else if inner == 1 {
        team.run(outer, grain.div_ceil(dim), &|range| {
            for block in range {
                let found = row(exec, &src[block * dim..(block + 1) * dim], k, reversed);
                // SAFETY: a team's ranges are disjoint.
                unsafe { output.write(src, block, 0, &found) };
            }
        });
    } else {
        let strips = inner.div_ceil(STRIP);
        team.run(outer * strips, grain.div_ceil(dim * inner.min(STRIP)), &|range| {
            for strip in range {
                let (block, start) = (strip / strips, strip % strips * STRIP);
                let mut heaps = vec![Entry::default(); STRIP.min(inner - start) * k];
                exec.isa.run(Columns {
                    src: &src[block * dim * inner..(block + 1) * dim * inner],
                    inner,
                    start,
                    heaps: &mut heaps,
                    k,
                    reversed,
                });
                for (column, found) in (start..).zip(heaps.chunks_exact(k)) {
                    // SAFETY: as above.
                    unsafe { output.write(src, block, column, found) };
                }
            }
        });
    }
}

/// `torch.topk`: the `k` largest or smallest elements along a dimension, in order, and where they are; NaN is larger than
/// any number.
///
/// Numbers: `k`, whether the largest are meant, whether they must be in order.
pub struct Topk;

impl AlongKernel for Topk {
    fn name(&self) -> &'static str {
        "topk"
    }

    fn shape(&self) -> Shape {
        Shape::First
    }

    fn takes(&self, dtype: DType) -> bool {
        dtype != DType::Bool
    }

    fn results(&self, whole: bool) -> &'static [Kind] {
        if whole { &[] } else { &[Kind::Values, Kind::Indices] }
    }

    fn accepts(&self, geometry: Geometry, numbers: &[f64]) -> Result<(), &'static str> {
        if geometry.is_empty() || u32::try_from(geometry.dim).is_err() {
            return Err("no elements, or rows too long for places of 32 bits");
        }
        match numbers {
            &[k, _, _] if k >= 1.0 && k <= geometry.dim as f64 => Ok(()),
            _ => Err("none, or more than there are"),
        }
    }

    fn pays(&self, geometry: Geometry, numbers: &[f64]) -> Result<(), &'static str> {
        geometry.has_no_more_short_rows(SHORT, ROWS)?;
        let k = numbers[0] as usize;
        if k > MOST && !keeps_heap(k, geometry.dim) {
            return Err("as many as are better sorted");
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
        let [Some(Slot::Values(values)), Some(Slot::Indices(Unwritten(indices)))] = results else {
            panic!("the results are of values, and of indices");
        };
        let k = numbers[0] as usize;
        let len = geometry.outer * k * geometry.inner;
        every_type!((src: View, values: Target) => {
            assert!(values.len() == len && indices.len() == len, "the results differ from the geometry");
            let output = Output { values: Shared::new(values), indices: Shared::new(indices), geometry, k };
            topk(exec, src, &output, numbers[1] == 0.0, numbers[2] != 0.0);
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_are_no_count_of_elements_are_refused() {
        let accepts = |k| Topk.accepts(Geometry::flat(100), &[k, 1.0, 1.0]).is_ok();
        assert!(accepts(1.0) && accepts(100.0));
        for k in [0.0, -1.0, 101.0, f64::MAX, f64::INFINITY, f64::NAN] {
            assert!(!accepts(k), "{k}");
        }
        assert!(Topk.accepts(Geometry::flat(100), &[]).is_err());
    }
}
