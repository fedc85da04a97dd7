//! The algorithms of libstdc++ that stock torch selects with, move by move: of equal elements, the same ones are taken, in
//! the same order. From `bits/stl_heap.h` and `bits/stl_algo.h`; whichever has the larger key comes first.

use core::ops::Range;

use super::key::Key;

/// An element that is compared by its key alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Entry<K> {
    pub(super) key: K,
    pub(super) place: u32,
}

impl<K: Key> Entry<K> {
    /// The comparison: whether it comes before another.
    #[inline(always)]
    pub(super) fn before(&self, other: &Self) -> bool {
        self.key > other.key
    }
}

/// `std::__adjust_heap`: puts a value in the place of a heap's top, or of that of a part of it.
fn adjust_heap<K: Key>(heap: &mut [Entry<K>], top: usize, value: Entry<K>) {
    let len = heap.len();
    let (mut hole, mut child) = (top, top);
    while child < (len - 1) / 2 {
        child = 2 * (child + 1);
        if heap[child].before(&heap[child - 1]) {
            child -= 1;
        }
        heap[hole] = heap[child];
        hole = child;
    }
    if len.is_multiple_of(2) && child == (len - 2) / 2 {
        child = 2 * child + 1;
        heap[hole] = heap[child];
        hole = child;
    }
    while hole > top {
        let parent = (hole - 1) / 2;
        if !heap[parent].before(&value) {
            break;
        }
        heap[hole] = heap[parent];
        hole = parent;
    }
    heap[hole] = value;
}

/// `std::make_heap`: whichever comes last is in front.
pub(super) fn make_heap<K: Key>(heap: &mut [Entry<K>]) {
    for parent in (0..heap.len() / 2).rev() {
        adjust_heap(heap, parent, heap[parent]);
    }
}

/// `std::sort_heap`.
pub(super) fn sort_heap<K: Key>(heap: &mut [Entry<K>]) {
    for last in (1..heap.len()).rev() {
        let value = heap[last];
        heap[last] = heap[0];
        adjust_heap(&mut heap[..last], 0, value);
    }
}

/// A step of `std::__heap_select`: an entry takes the place of the one in front if it comes before that.
#[inline(always)]
pub(super) fn offer<K: Key>(heap: &mut [Entry<K>], entry: Entry<K>) -> bool {
    let better = entry.before(&heap[0]);
    if better {
        adjust_heap(heap, 0, entry);
    }
    better
}

/// `std::__heap_select`: makes a heap of those that come first of all entries, in the first `count` places.
fn heap_select<K: Key>(entries: &mut [Entry<K>], count: usize) {
    let (heap, rest) = entries.split_at_mut(count);
    make_heap(heap);
    for entry in rest {
        if entry.before(&heap[0]) {
            let value = *entry;
            *entry = heap[0];
            adjust_heap(heap, 0, value);
        }
    }
}

/// `std::__move_median_to_first`, of three entries.
fn move_median_to_first<K: Key>(entries: &mut [Entry<K>], [a, b, c]: [usize; 3]) {
    let before = |x: usize, y: usize| entries[x].before(&entries[y]);
    let median = match (before(a, b), before(b, c), before(a, c)) {
        (true, true, _) | (false, false, false) => b,
        (true, false, true) | (false, true, false) => c,
        (true, false, false) | (false, _, true) => a,
    };
    entries.swap(0, median);
}

/// Entries of each side that a partition looks at together.
const BLOCK: usize = 64;

/// Which of a block's entries are to be exchanged, by their distance from its outer end.
struct Misplaced {
    offsets: [u8; BLOCK],
    first: usize,
    end: usize,
}

impl Misplaced {
    const NONE: Self = Self {
        offsets: [0; BLOCK],
        first: 0,
        end: 0,
    };

    #[inline(always)]
    fn add(&mut self, offset: usize, more: bool) {
        self.offsets[self.end] = offset as u8;
        self.end += usize::from(more);
    }

    #[inline(always)]
    fn left(&self) -> &[u8] {
        &self.offsets[self.first..self.end]
    }
}

/// `std::__unguarded_partition`, the same as C. A. R. Hoare's: exchanges the next entry from the front that does not come
/// before the pivot with the next one from the back that does not come after it, until they meet; where both are then.
///
/// Whether entries are to be exchanged is found out for many of them before it is done, without jumps that depend on it
/// (S. Edelkamp and A. Weiss, `BlockQuicksort`, 2016).
#[inline(always)]
pub(super) fn partition<K: Key>(entries: &mut [Entry<K>], within: Range<usize>, pivot: &Entry<K>) -> (usize, usize) {
    let Range { mut start, mut end } = within;
    let (mut front, mut back) = (Misplaced::NONE, Misplaced::NONE);
    while end - start >= 2 * BLOCK {
        if front.left().is_empty() {
            (front.first, front.end) = (0, 0);
            for (offset, entry) in entries[start..start + BLOCK].iter().enumerate() {
                front.add(offset, !entry.before(pivot));
            }
        }
        if back.left().is_empty() {
            (back.first, back.end) = (0, 0);
            for (offset, entry) in entries[end - BLOCK..end].iter().rev().enumerate() {
                back.add(offset, !pivot.before(entry));
            }
        }
        let count = front.left().len().min(back.left().len());
        for (&from, &to) in front.left().iter().zip(back.left()).take(count) {
            entries.swap(start + usize::from(from), end - 1 - usize::from(to));
        }
        front.first += count;
        back.first += count;
        start += if front.left().is_empty() { BLOCK } else { 0 };
        end -= if back.left().is_empty() { BLOCK } else { 0 };
    }
    start += front.left().first().map_or(0, |&offset| usize::from(offset));
    end -= back.left().first().map_or(0, |&offset| usize::from(offset));
    loop {
        while entries[start].before(pivot) {
            start += 1;
        }
        end -= 1;
        while pivot.before(&entries[end]) {
            end -= 1;
        }
        if start >= end {
            return (start, end);
        }
        entries.swap(start, end);
        start += 1;
    }
}

/// `std::__unguarded_partition_pivot`: where the second half starts.
fn partition_pivot<K: Key>(entries: &mut [Entry<K>]) -> usize {
    let len = entries.len();
    move_median_to_first(entries, [1, len / 2, len - 1]);
    let pivot = entries[0];
    partition(entries, 1..len, &pivot).0
}

/// `std::__unguarded_linear_insert` of the entry at `at`; the one in front at the latest ends it.
fn linear_insert<K: Key>(entries: &mut [Entry<K>], mut at: usize) {
    let value = entries[at];
    while value.before(&entries[at - 1]) {
        entries[at] = entries[at - 1];
        at -= 1;
    }
    entries[at] = value;
}

/// `std::__insertion_sort`.
fn insertion_sort<K: Key>(entries: &mut [Entry<K>]) {
    for at in 1..entries.len() {
        if entries[at].before(&entries[0]) {
            entries[..=at].rotate_right(1);
        } else {
            linear_insert(entries, at);
        }
    }
}

/// How often entries are parted before a heap takes over.
fn depth(len: usize) -> u32 {
    2 * len.max(1).ilog2()
}

/// `std::nth_element`: the entry of this rank takes its place, those that come before it are before it.
pub(super) fn nth_element<K: Key>(entries: &mut [Entry<K>], rank: usize) {
    if rank >= entries.len() {
        return;
    }
    let (mut first, mut last, mut left) = (0, entries.len(), depth(entries.len()));
    while last - first > 3 {
        if left == 0 {
            heap_select(&mut entries[first..last], rank + 1 - first);
            entries.swap(first, rank);
            return;
        }
        left -= 1;
        let cut = first + partition_pivot(&mut entries[first..last]);
        if cut <= rank {
            first = cut;
        } else {
            last = cut;
        }
    }
    insertion_sort(&mut entries[first..last]);
}

/// Entries up to which `std::sort` inserts.
const THRESHOLD: usize = 16;

/// `std::sort`.
pub(super) fn sort<K: Key>(entries: &mut [Entry<K>]) {
    introsort(entries, depth(entries.len()));
    let (head, len) = (entries.len().min(THRESHOLD), entries.len());
    insertion_sort(&mut entries[..head]);
    for at in head..len {
        linear_insert(entries, at);
    }
}

/// The entry that `std::sort` puts in a place: only those are moved that it is found among.
pub(super) fn sorted_at<K: Key>(entries: &mut [Entry<K>], at: usize) -> Entry<K> {
    let (mut first, mut last, mut left) = (0, entries.len(), depth(entries.len()));
    while last - first > THRESHOLD {
        if left == 0 {
            make_heap(&mut entries[first..last]);
            sort_heap(&mut entries[first..last]);
            return entries[at];
        }
        left -= 1;
        let cut = first + partition_pivot(&mut entries[first..last]);
        if cut <= at {
            first = cut;
        } else {
            last = cut;
        }
    }
    insertion_sort(&mut entries[first..last]);
    entries[at]
}

/// `std::__introsort_loop`.
fn introsort<K: Key>(mut entries: &mut [Entry<K>], mut left: u32) {
    while entries.len() > THRESHOLD {
        if left == 0 {
            make_heap(entries);
            sort_heap(entries);
            return;
        }
        left -= 1;
        let cut = partition_pivot(entries);
        let (first, second) = entries.split_at_mut(cut);
        introsort(second, left);
        entries = first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Many equal keys, in several patterns.
    fn entries(len: usize, seed: u32, keys: u32) -> Vec<Entry<u32>> {
        (0..len as u32)
            .map(|place| Entry {
                key: (place ^ seed).wrapping_mul(0x9e37_79b9).rotate_left(11) % keys,
                place,
            })
            .collect()
    }

    fn places_of(entries: &[Entry<u32>]) -> Vec<u32> {
        let mut places: Vec<_> = entries.iter().map(|entry| entry.place).collect();
        places.sort_unstable();
        places
    }

    #[test]
    fn sorted_entries_are_the_same_in_descending_order() {
        for len in [0, 1, 2, 3, 15, 16, 17, 100, 1000] {
            for keys in [1, 2, 7, u32::MAX] {
                let before = entries(len, 5, keys);
                let mut after = before.clone();
                sort(&mut after);
                assert!(after.is_sorted_by(|a, b| a.key >= b.key), "{len}, {keys}");
                assert_eq!(places_of(&after), places_of(&before));
                let mut heap = before.clone();
                make_heap(&mut heap);
                sort_heap(&mut heap);
                assert!(heap.is_sorted_by(|a, b| a.key >= b.key), "{len}, {keys}");
            }
        }
    }

    #[test]
    fn an_entry_takes_the_place_of_its_rank() {
        for len in [1, 2, 3, 4, 50, 333] {
            for keys in [1, 3, u32::MAX] {
                let before = entries(len, 9, keys);
                let mut ranked = before.clone();
                sort(&mut ranked);
                for rank in [0, len / 3, len / 2, len - 1] {
                    let mut after = before.clone();
                    nth_element(&mut after, rank);
                    assert_eq!(after[rank].key, ranked[rank].key, "{len}, {keys}, {rank}");
                    assert!(after[..rank].iter().all(|entry| entry.key >= after[rank].key));
                    assert!(after[rank..].iter().all(|entry| entry.key <= after[rank].key));
                    assert_eq!(places_of(&after), places_of(&before));
                }
            }
        }
    }

    #[test]
    fn the_entry_of_a_place_is_that_of_sorting() {
        for len in [1, 2, 16, 17, 50, 333, 5000] {
            for keys in [1, 3, u32::MAX] {
                let before = entries(len, 9, keys);
                let mut sorted = before.clone();
                sort(&mut sorted);
                for at in [0, len / 3, len / 2, len - 1] {
                    assert_eq!(sorted_at(&mut before.clone(), at), sorted[at], "{len}, {keys}, {at}");
                }
            }
        }
    }

    #[test]
    fn a_heap_takes_over_from_halves_that_are_uneven() {
        let mut entries = entries(100, 3, 10);
        heap_select(&mut entries, 20);
        let worst = entries[0].key;
        assert!(entries[..20].iter().all(|entry| entry.key >= worst));
        assert!(entries[20..].iter().all(|entry| entry.key <= worst));
    }
}
