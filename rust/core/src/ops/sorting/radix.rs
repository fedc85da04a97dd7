//! Radix sort of items, by the bits of their keys in which they differ: stable, as a place is part of its item.
//!
//! Few items are ranked by comparing each with all. As many as the cache holds are dealt out by a digit of the highest bits
//! in which their keys differ, the lower half of it first (LSD; D. Knuth, The Art of Computer Programming 3, 5.2.5), which
//! leaves little to the insertions that follow; where it leaves much, by all digits. More than that are dealt out by their
//! highest digit, and each pile is sorted by itself.

use core::ops::Range;

use super::key::{Item, Key};
use crate::isa::{Isa, Program, Simd};

/// Items up to which each is compared with all.
pub(super) const RANKED: usize = 32;
/// Items up to which comparing is faster.
const COMPARED: usize = 80;
/// Bytes of items that are dealt out within the cache, and their copy beside them.
const CACHED: usize = 1 << 22;
/// Bits of a digit, and the items from which on its table pays.
const DIGIT: [(usize, u32); 3] = [(1 << 13, 11), (1 << 9, 10), (0, 8)];
/// The most digits of a key.
const DIGITS: usize = 8;
/// Bits of keys, beyond those that tell so many apart, by which items are dealt out before they are compared: floating-point
/// numbers do not spread evenly.
const SPREAD: u32 = 8;
/// Steps of insertion for each item, after which its digits are looked at instead.
const STEPS: usize = 4;
/// Bits of the digit that piles are dealt out by.
const PILES: u32 = 8;

/// Memory for the counts of digits.
pub(super) struct Counts(Vec<u32>);

impl Counts {
    pub(super) fn new() -> Self {
        Self(Vec::new())
    }
}

/// The bits in which keys differ.
pub(super) fn varying<I: Item>(items: &[I]) -> u64 {
    let first = items.first().map_or(0, |item| item.bits());
    items.iter().fold(0, |all, item| all | (item.bits() ^ first))
}

/// A digit of keys.
#[derive(Clone, Copy)]
pub(super) struct Digit {
    shift: u32,
    bits: u32,
}

impl Digit {
    /// Of no bits: all keys have the same.
    const NONE: Self = Self { shift: 0, bits: 0 };

    /// The highest `bits` of those in which keys differ.
    pub(super) fn highest(varying: u64, bits: u32) -> Self {
        if varying == 0 {
            return Self::NONE;
        }
        let end = u64::BITS - varying.leading_zeros();
        let start = end.saturating_sub(bits).max(varying.trailing_zeros());
        Self {
            shift: start,
            bits: end - start,
        }
    }

    /// How many values it has.
    pub(super) fn values(self) -> usize {
        1 << self.bits
    }

    /// Its bits in a key.
    fn mask(self) -> u64 {
        ((1 << self.bits) - 1) << self.shift
    }

    /// Puts it in the place of its bits, which are 0.
    pub(super) fn put(self, value: usize, bits: u64) -> u64 {
        bits | (value as u64) << self.shift
    }

    #[inline(always)]
    pub(super) fn of(self, bits: u64) -> usize {
        (bits >> self.shift) as usize & (self.values() - 1)
    }

    /// The bits in which keys of one value of this digit, their highest, may differ.
    pub(super) fn below(self, varying: u64) -> u64 {
        varying & ((1 << self.shift) - 1)
    }
}

/// Where piles of so many items start, one behind the other.
fn starts(counts: &mut [u32]) {
    let mut start = 0;
    for count in counts {
        (*count, start) = (start, start + *count);
    }
}

/// Counts items by a digit.
#[inline(always)]
fn count<I: Item>(items: &[I], digit: Digit, counts: &mut [u32]) {
    let counts = &mut counts[..digit.values()];
    for item in items {
        counts[digit.of(item.bits())] += 1;
    }
}

/// Deals `items` out to `dst`, in their order for each digit, from the starts on.
#[inline(always)]
fn deal<I: Item>(items: &[I], dst: &mut [I], digit: Digit, starts: &mut [u32]) {
    let starts = &mut starts[..digit.values()];
    for &item in items {
        let start = &mut starts[digit.of(item.bits())];
        dst[*start as usize] = item;
        *start += 1;
    }
}

/// The digits, lowest first, that cover the bits in which keys differ.
fn digits(varying: u64, longest: u32, plan: &mut [Digit; DIGITS]) -> &[Digit] {
    let start = varying.trailing_zeros();
    let width = u64::BITS - varying.leading_zeros() - start;
    let bits = width.div_ceil(width.div_ceil(longest));
    let count = width.div_ceil(bits);
    for (digit, index) in plan.iter_mut().zip(0..count) {
        *digit = Digit {
            shift: start + index * bits,
            bits: bits.min(width - index * bits),
        };
    }
    &plan[..count as usize]
}

/// How many bits the digits of so many items have at most.
fn longest(len: usize) -> u32 {
    let found = DIGIT.iter().find(|&&(least, _)| len >= least);
    found.map_or(8, |&(_, bits)| bits)
}

/// How many of the keys, `MOST` at most, come before each, or are equal and stand before it: where it goes among them.
#[inline(always)]
pub(super) fn ranks<const MOST: usize, K: Key>(keys: impl Iterator<Item = K>) -> [K; MOST] {
    // What fills them up comes after all.
    let mut all = [K::LAST; MOST];
    for (key, given) in all.iter_mut().zip(keys) {
        *key = given;
    }
    let mut ranks = [K::default(); MOST];
    for place in 0..MOST {
        for other in 0..MOST {
            let equal = all[place] == all[other] && place < other;
            let first = all[place] < all[other] || equal;
            ranks[other] = ranks[other].and(first);
        }
    }
    ranks
}

/// Sorts few items, `MOST` at most, to `dst`.
#[inline(always)]
fn rank<const MOST: usize, I: Item>(items: &[I], dst: &mut [I]) {
    let ranks = ranks::<MOST, _>(items.iter().map(|item| item.key()));
    for (&item, rank) in items.iter().zip(&ranks) {
        dst[rank.count()] = item;
    }
}

/// Deals items out by digits, and back and forth; whether they are in `other` in the end.
#[inline(always)]
fn deal_all<I: Item>(items: &mut [I], other: &mut [I], plan: &[Digit], counts: &mut Counts) -> bool {
    let values = plan.iter().map(|digit| digit.values()).max().unwrap_or(1);
    counts.0.clear();
    counts.0.resize(plan.len() * values, 0);
    for (&digit, counts) in plan.iter().zip(counts.0.chunks_exact_mut(values)) {
        count(items, digit, counts);
    }
    let (mut from, mut to) = (items, other);
    let mut moved = false;
    for (&digit, counts) in plan.iter().zip(counts.0.chunks_exact_mut(values)) {
        let counts = &mut counts[..digit.values()];
        // All of one digit stay where they are.
        if counts[digit.of(from[0].bits())] as usize == from.len() {
            continue;
        }
        starts(counts);
        deal(from, to, digit, counts);
        (from, to) = (to, from);
        moved = !moved;
    }
    moved
}

/// Sorts items that are nearly sorted; false, and they are in no order, if that takes too many steps.
#[inline(always)]
fn insert<I: Item>(items: &mut [I]) -> bool {
    let mut steps = STEPS * items.len();
    for index in 1..items.len() {
        let item = items[index];
        let mut at = index;
        while at > 0 && item < items[at - 1] {
            items[at] = items[at - 1];
            at -= 1;
        }
        items[at] = item;
        let taken = index - at;
        if taken > steps {
            return false;
        }
        steps -= taken;
    }
    true
}

/// Sorts as many items as the cache holds; the result says whether they are in `other` in the end.
struct Sorted<'a, I> {
    items: &'a mut [I],
    other: &'a mut [I],
    varying: u64,
    counts: &'a mut Counts,
}

impl<I: Item> Program for Sorted<'_, I> {
    type Output = bool;

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> bool {
        let Self {
            items,
            other,
            varying,
            counts,
        } = self;
        if items.len() <= RANKED / 2 {
            rank::<{ RANKED / 2 }, _>(items, other);
            return true;
        }
        if items.len() <= RANKED {
            rank::<RANKED, _>(items, other);
            return true;
        }
        if items.len() <= COMPARED {
            items.sort_unstable();
            return false;
        }
        let longest = longest(items.len());
        let bits = items.len().ilog2() + SPREAD;
        let first = Digit::highest(varying, bits.next_multiple_of(longest));
        let moved = deal_all(
            items,
            other,
            digits(first.mask(), longest, &mut [Digit::NONE; DIGITS]),
            counts,
        );
        if first.below(varying) == 0 {
            return moved;
        }
        let (sorted, rest) = if moved { (other, items) } else { (items, other) };
        if insert(sorted) {
            return moved;
        }
        moved
            != deal_all(
                sorted,
                rest,
                digits(varying, longest, &mut [Digit::NONE; DIGITS]),
                counts,
            )
    }
}

/// Sorts `items`, whose keys differ in the `varying` bits at most, by way of `other`, of the same length: hands each run of
/// sorted ones to `emit` with the place of its first.
pub(super) fn sort<I: Item>(
    isa: Isa,
    items: &mut [I],
    other: &mut [I],
    varying: u64,
    start: usize,
    counts: &mut Counts,
    emit: &mut dyn FnMut(usize, &[I]),
) {
    if varying == 0 {
        emit(start, items);
    } else if size_of_val(items) <= CACHED {
        let moved = isa.run(Sorted {
            items: &mut *items,
            other: &mut *other,
            varying,
            counts,
        });
        emit(start, if moved { other } else { items });
    } else {
        let digit = Digit::highest(varying, PILES);
        let mut ends = [0; 1 << PILES];
        let ends = &mut ends[..digit.values()];
        count(items, digit, ends);
        starts(ends);
        deal(items, other, digit, ends);
        let below = digit.below(varying);
        let mut first = 0;
        for &end in &*ends {
            let pile = first..end as usize;
            first = pile.end;
            let (items, other) = (&mut other[pile.clone()], &mut items[pile.clone()]);
            sort_pile(isa, items, other, below, start + pile.start, counts, emit);
        }
    }
}

/// The same of keys that may differ in fewer bits.
pub(super) fn sort_pile<I: Item>(
    isa: Isa,
    items: &mut [I],
    other: &mut [I],
    below: u64,
    start: usize,
    counts: &mut Counts,
    emit: &mut dyn FnMut(usize, &[I]),
) {
    if items.is_empty() {
        return;
    }
    let varying = if items.len() <= COMPARED || below == 0 {
        below
    } else {
        varying(items)
    };
    sort(isa, items, other, varying, start, counts, emit);
}

/// The piles whose starts lie in a range of places, of all that end there, and which they are.
pub(super) fn piles(ends: &[u32], range: Range<usize>) -> impl Iterator<Item = (usize, Range<usize>)> + '_ {
    let start = |index: usize| if index == 0 { 0 } else { ends[index - 1] as usize };
    let first = ends.partition_point(|&end| (end as usize) <= range.start);
    // A pile that has started before is another's.
    let first = first + usize::from(first < ends.len() && start(first) < range.start);
    (first..ends.len())
        .map(move |index| (index, start(index)..ends[index] as usize))
        .take_while(move |(_, pile)| pile.start < range.end)
        .filter(|(_, pile)| !pile.is_empty())
}

#[cfg(test)]
mod tests {
    use super::{super::key::Wide, *};

    /// Numbers that look random.
    fn random(len: usize) -> impl Iterator<Item = u64> {
        (0..len as u64).map(|index| {
            let mixed = (index + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) ^ (mixed >> 32)
        })
    }

    fn check<I: Item + core::fmt::Debug>(len: usize, key: impl Fn(u64) -> I::Key) {
        let items: Vec<I> = (0..).zip(random(len)).map(|(place, x)| I::new(key(x), place)).collect();
        let mut want = items.clone();
        want.sort_unstable();
        let mut got = vec![I::default(); len];
        let (mut from, mut to) = (items.clone(), items);
        let (mut seen, varying) = (0, varying(&from));
        sort(
            Isa::detect(),
            &mut from,
            &mut to,
            varying,
            0,
            &mut Counts::new(),
            &mut |start, run| {
                got[start..start + run.len()].copy_from_slice(run);
                seen += run.len();
            },
        );
        assert_eq!(seen, len);
        assert!(got == want, "{len}");
    }

    impl core::fmt::Debug for Wide {
        fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
            write!(f, "{} at {}", self.key(), self.place())
        }
    }

    #[test]
    fn items_are_sorted() {
        for len in [
            1,
            2,
            3,
            RANKED,
            RANKED + 1,
            COMPARED,
            COMPARED + 1,
            1000,
            8191,
            8192,
            CACHED / 8 + 1,
            100_000,
        ] {
            check::<u64>(len, |x| x as u32);
            check::<u64>(len, |x| x as u32 % 5 + 1000);
            check::<u64>(len, |_| 7);
            check::<u64>(len, |x| x as u32 & 0xf0_0f0);
            check::<Wide>(len, |x| x);
            check::<Wide>(len, |x| ((x % 7) << 40) | (x % 3));
            // Nearly all in one pile, and differing in bits far below the highest.
            check::<Wide>(len, |x| if x % 1000 == 0 { x } else { x % 1_000_000 });
        }
    }

    #[test]
    fn ranges_share_piles_out() {
        let ends = [0, 3, 3, 10, 12, 12];
        for cut in 0..=12 {
            let all: Vec<_> = piles(&ends, 0..cut).chain(piles(&ends, cut..12)).collect();
            assert_eq!(all, [(1, 0..3), (3, 3..10), (4, 10..12)], "{cut}");
        }
    }
}
