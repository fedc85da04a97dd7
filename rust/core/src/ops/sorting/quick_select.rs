//! The selection that stock torch's `kthvalue` is made by, move by move: of equal elements, the same one is found
//! (`quick_select_template` in `aten/src/ATen/native/Sorting.cpp`, after R. Sedgewick, Implementing Quicksort Programs, 1978).

use super::{
    key::Key,
    libstdcxx::{Entry, partition},
};

/// Puts the entry of this rank in its place.
pub(super) fn quick_select<K: Key>(entries: &mut [Entry<K>], rank: usize) {
    let (mut left, mut right) = (0, entries.len() - 1);
    while left < right {
        if left + 1 == right {
            order(entries, left, right);
            return;
        }
        entries.swap((left + right) / 2, left + 1);
        order(entries, left + 1, right);
        order(entries, left, right);
        order(entries, left + 1, left);
        let pivot = entries[left];
        let (mut front, mut back) = partition(entries, left + 2..right, &pivot);
        // One that is as the pivot is passed by from both sides.
        if front == back {
            (front, back) = (front + 1, back - 1);
        }
        entries.swap(left, back);
        if back <= rank {
            left = front;
        }
        if back >= rank {
            right = back - 1;
        }
    }
}

/// Exchanges two entries if the second comes before the first.
fn order<K: Key>(entries: &mut [Entry<K>], first: usize, second: usize) {
    if entries[second].before(&entries[first]) {
        entries.swap(first, second);
    }
}
