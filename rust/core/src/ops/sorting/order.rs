//! The key of a rank along a dimension, without its row being put in order: elements below a bound are counted, again and
//! again, which vectors do fast, until few are left between two bounds (the bounds of long rows come from a sample; R. Floyd
//! and R. Rivest, Expected Time Bounds for Selection, 1975).

use core::mem::MaybeUninit;

use super::{
    key::{Key, Keyed},
    libstdcxx::Entry,
    radix::{RANKED, ranks},
};
use crate::{
    isa::{Isa, Program, Simd},
    kernel::{Exec, Geometry},
    parallel::{Serial, Shared, Team, split_mut},
};

/// Elements of a row up to which its keys are made once and for all.
const SHORT: usize = 1 << 13;
/// Keys between two bounds up to which they are compared with each other, in rows of so many elements, and longer ones.
const FEW: usize = 16;
const MIDDLE: usize = 512;
const FEW_OF_MANY: usize = 4;
/// Elements that are counted together, and, where some are between two bounds, passed over together.
const BLOCK: usize = 1024;
const GROUP: usize = 32;
/// How many times as many elements as are looked at first a long row has, how many these are at most, and how many lie
/// together.
const SPARSE: usize = 16;
const SAMPLE: usize = 4096;
const TOGETHER: usize = 8;
/// Keys between two bounds that are noted of each part of a long row, about.
const NOTED: usize = 2048;
/// The part of the keys between two bounds that the next two have between them, at each side of where a rank should be.
const CLOSER: u64 = 32;
/// Elements of a row from which on several threads share it, and what each does at once.
const SHARED: usize = 1 << 17;
const PART: usize = 1 << 15;
/// Columns that are read together, so many rows at once, and keys between them, lest they meet in the cache; elements of all of
/// them at most.
const COLUMNS: usize = 32;
const TILE: usize = 16;
const APART: usize = 24;
const COLUMN_ELEMENTS: usize = 1 << 17;
/// Instructions of one element, for the choice of threads.
const FLOPS: usize = 32;
/// Elements of a row up to which stock torch is faster, if there are more such rows than these.
const TINY: usize = 8;
const ROWS: usize = 64;

/// The key of a rank, how many keys of its row are less, and how many are equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found<K> {
    pub(super) key: K,
    pub(super) below: usize,
    pub(super) equal: usize,
}

/// Bounds, inclusive, between which the key of a rank is.
#[derive(Clone, Copy)]
struct Bounds<K> {
    low: K,
    high: K,
    /// How many keys are less than the lower one.
    below: usize,
    /// How many lie between them.
    within: usize,
}

impl<K: Key> Bounds<K> {
    /// All of so many keys.
    fn all(len: usize) -> Self {
        Self {
            low: K::default(),
            high: K::LAST,
            below: 0,
            within: len,
        }
    }

    /// Keys from `first` to `last`, within the bounds, of which so many keys are below the first, and up to the last.
    #[inline(always)]
    fn narrow(&mut self, rank: usize, [first, last]: [K; 2], [below, upto]: [usize; 2]) {
        let end = self.below + self.within;
        if rank < below {
            self.high = K::of_bits(first.bits() - 1);
            self.within = below - self.below;
        } else if rank < upto {
            (self.low, self.high) = (first, last);
            (self.below, self.within) = (below, upto - below);
        } else {
            self.low = K::of_bits(last.bits() + 1);
            (self.below, self.within) = (upto, end - upto);
        }
    }

    /// The half that the rank is in, where so many keys are up to the middle: without a jump, which could not be foreseen.
    #[inline(always)]
    fn halve(&mut self, rank: usize, middle: K, upto: usize) {
        let (end, lower) = (self.below + self.within, rank < upto);
        self.high = if lower { middle } else { self.high };
        self.low = if lower { self.low } else { K::of_bits(middle.bits() + 1) };
        self.below = if lower { self.below } else { upto };
        self.within = if lower { upto } else { end } - self.below;
    }

    /// The key in the middle.
    #[inline(always)]
    fn middle(&self) -> K {
        let (low, high) = (self.low.bits(), self.high.bits());
        K::of_bits(low + (high - low) / 2)
    }

    /// Two keys about where a rank is, if keys are spread evenly.
    fn closer(&self, rank: usize) -> [K; 2] {
        let (low, high) = (self.low.bits(), self.high.bits());
        let share = ((rank - self.below) as f64 + 0.5) / self.within as f64;
        let at = low + (((high - low) as f64 * share) as u64).min(high - low);
        let part = (high - low) / CLOSER;
        [at.saturating_sub(part).max(low), at.saturating_add(part).min(high)].map(K::of_bits)
    }

    /// All keys but the bounds, which differ.
    fn inner(&self) -> [K; 2] {
        let (low, high) = (self.low.bits() + 1, self.high.bits() - 1);
        [K::of_bits(low), K::of_bits(high.max(low))]
    }

    /// What has been found, if that is all.
    #[inline(always)]
    fn found(&self) -> Option<Found<K>> {
        (self.low == self.high).then_some(Found {
            key: self.low,
            below: self.below,
            equal: self.within,
        })
    }

    #[inline(always)]
    fn contains(&self, key: K) -> bool {
        self.low <= key && key <= self.high
    }
}

/// What a part of a row has below a key and up to another, and the keys between these, the first few of them at least.
#[derive(Clone, Default)]
struct Seen<K> {
    below: usize,
    upto: usize,
    between: Vec<K>,
}

/// Looks at elements with two keys in mind, and notes so many of the keys between them.
struct Look<'a, T: Keyed>(&'a [T], [T::Key; 2], usize);

impl<T: Keyed> Program for Look<'_, T> {
    type Output = Seen<T::Key>;

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> Seen<T::Key> {
        let Self(src, [first, last], most) = self;
        let mut seen = Seen::default();
        for block in src.chunks(BLOCK) {
            let (mut below, mut above) = (T::Key::default(), T::Key::default());
            if last <= T::greatest() {
                for &x in block {
                    below = below.and(x.is_below(first));
                    above = above.and(x.is_above(last));
                }
            } else {
                for &x in block {
                    let key = x.key();
                    below = below.and(key < first);
                    above = above.and(key > last);
                }
            }
            let (below, upto) = (below.count(), block.len() - above.count());
            seen.below += below;
            seen.upto += upto;
            if upto > below && seen.between.len() < most {
                note(block, [first, last], &mut seen.between);
            }
        }
        seen
    }
}

/// Notes the keys between two.
#[inline(always)]
fn note<T: Keyed>(block: &[T], [first, last]: [T::Key; 2], between: &mut Vec<T::Key>) {
    for group in block.chunks(GROUP) {
        let mut any = last > T::greatest();
        for &x in group {
            any |= !x.is_below(first) & !x.is_above(last);
        }
        if any {
            let keys = group.iter().map(|&x| x.key());
            between.extend(keys.filter(|key| (first..=last).contains(key)));
        }
    }
}

/// The key of a rank among a few, of which none is outside.
fn among<K: Key>(keys: &mut [K], rank: usize, below: usize) -> Found<K> {
    let (_, &mut key, _) = keys.select_nth_unstable(rank - below);
    let count = |is: fn(K, K) -> bool| keys.iter().filter(|&&other| is(other, key)).count();
    Found {
        key,
        below: below + count(|other, key| other < key),
        equal: count(|other, key| other == key),
    }
}

/// The key of a rank among those of a short row.
struct Short<'a, K>(&'a [K], usize);

impl<K: Key> Program for Short<'_, K> {
    type Output = Found<K>;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Found<K> {
        let Self(keys, rank) = self;
        if keys.len() <= RANKED / 4 {
            return ranked::<{ RANKED / 4 }, _>(keys, rank);
        }
        if keys.len() <= RANKED / 2 {
            return ranked::<{ RANKED / 2 }, _>(keys, rank);
        }
        if keys.len() <= RANKED {
            return ranked::<RANKED, _>(keys, rank);
        }
        let few = if keys.len() > MIDDLE { FEW_OF_MANY } else { FEW };
        let mut bounds = Bounds::all(keys.len());
        (bounds.low, bounds.high) = (K::LAST, K::default());
        for &key in keys {
            bounds.low = bounds.low.min(key);
            bounds.high = bounds.high.max(key);
        }
        loop {
            if let Some(found) = bounds.found() {
                return found;
            }
            if bounds.within <= few {
                break;
            }
            let middle = bounds.middle();
            let mut upto = K::default();
            for &key in keys {
                upto = upto.and(key <= middle);
            }
            bounds.halve(rank, middle, upto.count());
        }
        if keys.len() > MIDDLE {
            let mut seen = Look(keys, [bounds.low, bounds.high], FEW_OF_MANY).run(simd);
            return among(&mut seen.between, rank, bounds.below);
        }
        let (mut found, mut count) = ([K::LAST; FEW + 1], 0);
        for &key in keys {
            found[count.min(FEW)] = key;
            count += usize::from(bounds.contains(key));
        }
        let found = ranked::<FEW, _>(&found[..count], rank - bounds.below);
        Found {
            below: found.below + bounds.below,
            ..found
        }
    }
}

/// The same of `MOST` keys at most.
#[inline(always)]
fn ranked<const MOST: usize, K: Key>(keys: &[K], rank: usize) -> Found<K> {
    let ranks = ranks::<MOST, _>(keys.iter().copied());
    let mut key = K::default();
    for (&other, other_rank) in keys.iter().zip(&ranks) {
        key = if other_rank.count() == rank { other } else { key };
    }
    let (mut below, mut equal) = (0, 0);
    for &other in keys {
        below += usize::from(other < key);
        equal += usize::from(other == key);
    }
    Found { key, below, equal }
}

/// The place of one of the elements of a key, by their order.
struct Place<'a, T: Keyed>(&'a [T], T::Key, usize);

impl<T: Keyed> Program for Place<'_, T> {
    type Output = usize;

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> usize {
        let Self(src, key, mut left) = self;
        for (index, group) in src.chunks(GROUP).enumerate() {
            let mut count = T::Key::default();
            for &x in group {
                count = count.and(x.key() == key);
            }
            let count = count.count();
            if left < count {
                let mut places = (index * GROUP..).zip(group).filter(|(_, x)| x.key() == key);
                return places.nth(left).map_or(0, |(place, _)| place);
            }
            left -= count;
        }
        panic!("there are fewer elements of this key");
    }
}

/// Whether elements of a key are the one that the key gives, and whether some are not.
struct Plain<'a, 'b, T: Keyed>(&'a Line<'b, T>, T::Key);

impl<T: Keyed> Program for Plain<'_, '_, T> {
    type Output = [bool; 2];

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> [bool; 2] {
        let Self(line, key) = self;
        let [mut plain, mut others] = [false; 2];
        if line.stride == 1 {
            for &x in line.src {
                plain |= (x.key() == key) & x.is_plain();
                others |= (x.key() == key) & !x.is_plain();
            }
        } else {
            for &x in line.src.iter().step_by(line.stride).take(line.len()) {
                plain |= (x.key() == key) & x.is_plain();
                others |= (x.key() == key) & !x.is_plain();
            }
        }
        [plain, others]
    }
}

/// The least of the keys after one, the last key where there is none.
struct Next<'a, T: Keyed>(&'a [T], T::Key);

impl<T: Keyed> Program for Next<'_, T> {
    type Output = T::Key;

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> T::Key {
        let mut next = T::Key::LAST;
        for &x in self.0 {
            let key = x.key();
            next = next.min(if key > self.1 { key } else { T::Key::LAST });
        }
        next
    }
}

/// The keys of elements that lie `stride` apart.
struct Keys<'a, T: Keyed>(&'a [T], &'a mut [T::Key]);

impl<T: Keyed> Program for Keys<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        for (key, &x) in self.1.iter_mut().zip(self.0) {
            *key = x.key();
        }
    }
}

/// The key of a rank of a long row.
fn long<T: Keyed>(isa: Isa, team: &dyn Team, src: &[T], rank: usize) -> Found<T::Key> {
    let mut bounds = Bounds::all(src.len());
    bounds.high = T::nan().unwrap_or(T::greatest());
    let mut next = sampled(isa, src, rank);
    // Those between the bounds of a sample are many.
    let (mut most, mut slow) = (0, 0);
    loop {
        let before = bounds.within;
        let seen = by_parts(team, src, &|part| isa.run(Look(part, next, most)));
        let below = seen.iter().map(|seen| seen.below).sum();
        let upto = seen.iter().map(|seen| seen.upto).sum();
        if (below..upto).contains(&rank) && most > 0 {
            let mut between: Vec<_> = seen.into_iter().flat_map(|seen| seen.between).collect();
            if between.len() == upto - below {
                return among(&mut between, rank, below);
            }
        }
        bounds.narrow(rank, next, [below, upto]);
        if let Some(found) = bounds.found() {
            // Zeros are compared as if they had the key before theirs as well.
            let key = T::of(found.key).key();
            return Found { key, ..found };
        }
        // Where that has not helped much, many may be equal to one of the bounds; then half of the keys are left at the most.
        slow = if bounds.within <= before / 4 { 0 } else { slow + 1 };
        next = match slow {
            0 => bounds.closer(rank),
            1 => bounds.inner(),
            _ => [bounds.low, bounds.middle()],
        };
        most = NOTED;
    }
}

/// Two keys that a rank lies between, if a sample is like the rest.
fn sampled<T: Keyed>(isa: Isa, src: &[T], rank: usize) -> [T::Key; 2] {
    let places = (src.len() / SPARSE).min(SAMPLE) / TOGETHER;
    let parts = src.chunks_exact(src.len() / places);
    let keys: Vec<_> = parts.flat_map(|part| &part[..TOGETHER]).map(|x| x.key()).collect();
    let at = (rank as f64 / src.len() as f64 * keys.len() as f64) as usize;
    // Three times the deviation of the rank of one in the middle.
    let margin = (1.5 * (keys.len() as f64).sqrt()) as usize;
    let first = at.checked_sub(margin).map(|rank| isa.run(Short(&keys, rank)).key);
    let last = Some(at + margin).filter(|&rank| rank < keys.len());
    let last = last.map(|rank| isa.run(Short(&keys, rank)).key);
    [first.unwrap_or_default(), last.unwrap_or(T::Key::LAST)]
}

/// What the team makes of each part of a row.
fn by_parts<T: Sync, R: Default + Clone + Send>(
    team: &dyn Team,
    src: &[T],
    make: &(dyn Fn(&[T]) -> R + Sync),
) -> Vec<R> {
    let mut made = vec![R::default(); src.len().div_ceil(PART)];
    split_mut(team, &mut made, 1, 1, &|first, made| {
        for (made, part) in made.iter_mut().zip(src.chunks(PART).skip(first)) {
            *made = make(part);
        }
    });
    made
}

/// A row, of whichever strides.
pub(super) struct Line<'a, T: Keyed> {
    src: &'a [T],
    stride: usize,
    /// Where they have been made.
    keys: Option<&'a [T::Key]>,
    isa: Isa,
    team: &'a dyn Team,
}

impl<T: Keyed> Line<'_, T> {
    /// How many elements there are.
    pub(super) fn len(&self) -> usize {
        self.keys.map_or(self.src.len(), <[_]>::len)
    }

    /// How many of them are numbers.
    pub(super) fn numbers(&self) -> usize {
        if T::NAN.is_none() {
            return self.len();
        }
        let bounds = [T::greatest(); 2];
        if let Some(keys) = self.keys {
            return self.isa.run(Look(keys, bounds, 0)).upto;
        }
        let seen = by_parts(self.team, self.src, &|part| self.isa.run(Look(part, bounds, 0)));
        seen.iter().map(|seen| seen.upto).sum()
    }

    /// The key of a rank, counted from 0.
    pub(super) fn find(&self, rank: usize) -> Found<T::Key> {
        match self.keys {
            Some(keys) if keys.len() <= SHORT => self.isa.run(Short(keys, rank)),
            Some(keys) => long(self.isa, self.team, keys, rank),
            None => long(self.isa, self.team, self.src, rank),
        }
    }

    /// The place of one of the elements of a key, by their order.
    pub(super) fn place(&self, key: T::Key, nth: usize) -> usize {
        match self.keys {
            Some(keys) => self.isa.run(Place(keys, key, nth)),
            None => self.isa.run(Place(self.src, key, nth)),
        }
    }

    /// The least of the keys after one, of which there is one.
    pub(super) fn next(&self, key: T::Key) -> T::Key {
        match self.keys {
            Some(keys) => self.isa.run(Next(keys, key)),
            None => by_parts(self.team, self.src, &|part| Some(self.isa.run(Next(part, key))))
                .into_iter()
                .flatten()
                .fold(T::Key::LAST, Ord::min),
        }
    }

    /// The element at a place.
    pub(super) fn element(&self, place: usize) -> T {
        self.src[place * self.stride]
    }

    /// The element of a key, unless there are several: zeros of both signs. All NaN are one.
    pub(super) fn the(&self, key: T::Key) -> Option<T> {
        if T::nan() == Some(key) {
            return T::NAN;
        }
        if !T::is_shared(key) {
            return Some(T::of(key));
        }
        let [plain, others] = self.isa.run(Plain(self, key));
        match (plain, others) {
            (true, false) => Some(T::of(key)),
            (false, true) => Some(self.element(self.place(key, 0))),
            _ => None,
        }
    }

    /// All elements as entries, of which those of smaller keys come first.
    pub(super) fn entries(&self) -> Vec<Entry<T::Key>> {
        match self.keys {
            Some(keys) => ascending(keys),
            None => ascending(self.src),
        }
    }
}

fn ascending<T: Keyed>(src: &[T]) -> Vec<Entry<T::Key>> {
    (0..)
        .zip(src)
        .map(|(place, x)| Entry {
            key: x.key().ordered(true),
            place,
        })
        .collect()
}

/// Hands each row along the geometry's dimension, with the index of its results, to `each`: long ones one after the other, for
/// the team to share each, others by several threads.
pub(super) fn along<T: Keyed>(exec: &Exec, src: &[T], geometry: Geometry, each: &(dyn Fn(usize, &Line<T>) + Sync)) {
    assert!(src.len() == geometry.len(), "the slice differs from the geometry");
    let Geometry { outer, dim, inner } = geometry;
    let (isa, (team, grain)) = (exec.isa, exec.team(src.len(), size_of::<T>(), FLOPS));
    if inner > 1 {
        columns(isa, team, grain, src, geometry, each);
    } else if dim >= SHARED {
        for (index, src) in src.chunks_exact(dim).enumerate() {
            let (stride, keys) = (1, None);
            each(
                index,
                &Line {
                    src,
                    stride,
                    keys,
                    isa,
                    team,
                },
            );
        }
    } else {
        team.run(outer, grain.div_ceil(dim), &|range| {
            let mut keys = vec![T::Key::default(); if dim <= SHORT { dim } else { 0 }];
            for index in range {
                let src = &src[index * dim..(index + 1) * dim];
                isa.run(Keys(src, &mut keys));
                let keys = (dim <= SHORT).then_some(&*keys);
                each(
                    index,
                    &Line {
                        src,
                        stride: 1,
                        keys,
                        isa,
                        team: &Serial,
                    },
                );
            }
        });
    }
}

/// Puts the keys of columns together.
struct Transpose<'a, T: Keyed> {
    src: &'a [T],
    inner: usize,
    dim: usize,
    width: usize,
    keys: &'a mut [T::Key],
}

impl<T: Keyed> Program for Transpose<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let pitch = self.dim + APART;
        for place in (0..self.dim).step_by(TILE) {
            let mut tile = [[T::Key::default(); COLUMNS]; TILE];
            let height = TILE.min(self.dim - place);
            for (row, keys) in tile[..height].iter_mut().enumerate() {
                let src = &self.src[(place + row) * self.inner..][..self.width];
                for (key, &x) in keys.iter_mut().zip(src) {
                    *key = x.key();
                }
            }
            for (column, keys) in self.keys.chunks_exact_mut(pitch).take(self.width).enumerate() {
                for (key, row) in keys[place..place + height].iter_mut().zip(&tile) {
                    *key = row[column];
                }
            }
        }
    }
}

/// The same of columns, whose keys are put together.
fn columns<T: Keyed>(
    isa: Isa,
    team: &dyn Team,
    grain: usize,
    src: &[T],
    geometry: Geometry,
    each: &(dyn Fn(usize, &Line<T>) + Sync),
) {
    let Geometry { outer, dim, inner } = geometry;
    let width = (COLUMN_ELEMENTS / dim).clamp(1, COLUMNS).min(inner);
    let groups = inner.div_ceil(width);
    team.run(outer * groups, grain.div_ceil(dim * width), &|range| {
        let pitch = dim + APART;
        let mut keys = vec![T::Key::default(); pitch * width];
        for group in range {
            let (block, column) = (group / groups, group % groups * width);
            let width = width.min(inner - column);
            let src = &src[block * dim * inner + column..];
            isa.run(Transpose {
                src,
                inner,
                dim,
                width,
                keys: &mut keys,
            });
            for (index, keys) in keys.chunks_exact(pitch).take(width).enumerate() {
                let line = Line {
                    src: &src[index..],
                    stride: inner,
                    keys: Some(&keys[..dim]),
                    isa,
                    team: &Serial,
                };
                each(block * inner + column + index, &line);
            }
        }
    });
}

/// Where the results go, that threads write one by one.
pub(super) struct Output<'a, T> {
    values: Shared<'a, MaybeUninit<T>>,
    indices: Option<Shared<'a, MaybeUninit<i64>>>,
}

impl<'a, T: Keyed> Output<'a, T> {
    /// For as many results as the geometry has rows.
    pub(super) fn new(
        values: &'a mut [MaybeUninit<T>],
        indices: Option<&'a mut [MaybeUninit<i64>]>,
        geometry: Geometry,
    ) -> Self {
        let len = geometry.outer * geometry.inner;
        assert!(
            values.len() == len && indices.as_ref().is_none_or(|indices| indices.len() == len),
            "the results differ from the geometry"
        );
        Self {
            values: Shared::new(values),
            indices: indices.map(Shared::new),
        }
    }

    /// Writes a result.
    ///
    /// # Safety
    /// No other thread writes this one.
    pub(super) unsafe fn write(&self, at: usize, x: T) {
        // SAFETY: the caller's.
        unsafe { self.values.piece(at..at + 1)[0].write(x) };
    }

    /// The same, with its place.
    ///
    /// # Safety
    /// As of `write`.
    pub(super) unsafe fn write_placed(&self, at: usize, line: &Line<T>, place: usize) {
        // SAFETY: the caller's.
        unsafe {
            self.write(at, line.element(place));
            if let Some(indices) = &self.indices {
                indices.piece(at..at + 1)[0].write(place as i64);
            }
        }
    }
}

/// Why a geometry is none for selection.
pub(super) fn accepts(geometry: Geometry) -> Result<(), &'static str> {
    if geometry.is_empty() || u32::try_from(geometry.dim).is_err() {
        Err("no elements, or rows too long for places of 32 bits")
    } else {
        Ok(())
    }
}

/// Why a geometry is better left to stock torch.
pub(super) fn pays(geometry: Geometry) -> Result<(), &'static str> {
    geometry.has_no_more_short_rows(TINY, ROWS)
}

#[cfg(test)]
pub(super) mod test {
    use super::*;
    use crate::{
        dtype::View,
        kernel::{AlongKernel, Slot},
        parallel::test::Halves,
    };

    /// Numbers that look random.
    fn random(len: usize) -> impl Iterator<Item = u32> {
        (1..=len as u32).map(|index| {
            let mixed = index.wrapping_mul(0x9e37_79b9);
            (mixed ^ (mixed >> 15)).wrapping_mul(0x85eb_ca6b) ^ (mixed >> 7)
        })
    }

    /// Many different elements, few ones, and such as are special.
    pub(in super::super) fn rows(len: usize) -> Vec<Vec<f32>> {
        let wide = random(len).map(|x| (x as f32 - 2e9) * 1e-9).collect();
        let few = random(len).map(|x| (x % 5) as f32 - 2.0).collect();
        let special = random(len)
            .map(|x| [f32::NAN, -0.0, 0.0, f32::INFINITY, f32::NEG_INFINITY, x as f32][x as usize % 6])
            .collect();
        // Nearly all between two others that are close, and out of the sample's sight.
        let odd = random(len).map(|x| {
            if x % 97 == 0 {
                x as f32
            } else {
                1.0 + (x % 9) as f32 * 1e-7
            }
        });
        vec![wide, few, special, odd.collect()]
    }

    /// The same without NaN.
    pub(in super::super) fn rows_of_numbers(len: usize) -> Vec<Vec<f32>> {
        let mut rows = rows(len);
        for x in rows.iter_mut().flatten().filter(|x| x.is_nan()) {
            *x = 3.0;
        }
        rows
    }

    /// Compares a kernel's values, and the elements at its indices, with what `want` makes of sorted rows.
    pub(in super::super) fn check(
        kernel: &dyn AlongKernel,
        rows: &dyn Fn(usize) -> Vec<Vec<f32>>,
        numbers: &dyn Fn(usize) -> Vec<f64>,
        want: &dyn Fn(&[f32]) -> Option<f32>,
    ) {
        for dim in [
            1,
            2,
            3,
            8,
            9,
            16,
            17,
            32,
            33,
            70,
            1000,
            SHORT,
            SHORT + 1,
            20_000,
            SHARED + PART / 2,
        ] {
            for (outer, inner) in [(1, 1), (3, 1), (2, 3), (1, 17)] {
                let geometry = Geometry { outer, dim, inner };
                if geometry.len() > 1 << 18 {
                    continue;
                }
                for src in rows(geometry.len()) {
                    for isa in Isa::available() {
                        compare(kernel, &Exec::new(isa, &Serial), &src, geometry, numbers, want);
                        compare(kernel, &Exec::new(isa, &Halves), &src, geometry, numbers, want);
                    }
                }
            }
        }
    }

    fn compare(
        kernel: &dyn AlongKernel,
        exec: &Exec,
        src: &[f32],
        geometry: Geometry,
        numbers: &dyn Fn(usize) -> Vec<f64>,
        want: &dyn Fn(&[f32]) -> Option<f32>,
    ) {
        let Geometry { outer, dim, inner } = geometry;
        let mut values = vec![7.0_f32; outer * inner];
        let mut indices = vec![-1; outer * inner];
        let results = [
            Some(Slot::Values((&mut values[..]).into())),
            Some(Slot::Indices((&mut indices[..]).into())),
        ];
        kernel
            .forward(exec, View::F32(src), results, geometry, &numbers(dim))
            .unwrap();
        for (at, (value, &index)) in values.iter().zip(&indices).enumerate() {
            let (block, column) = (at / inner * dim * inner, at % inner);
            let row: Vec<_> = (0..dim).map(|place| src[block + place * inner + column]).collect();
            assert_eq!(value.to_bits(), row[index as usize].to_bits());
            let mut sorted = row;
            sorted.sort_by_key(|x| x.key());
            let wanted = want(&sorted).map(Keyed::key);
            assert_eq!(Some(value.key()), wanted, "{geometry:?}, row {at}");
        }
    }

    #[test]
    fn keys_are_found_counted_and_placed() {
        for len in [1, 7, 40, 5000, 50_000] {
            for src in rows(len) {
                let mut sorted: Vec<_> = src.iter().map(|x| x.key()).collect();
                sorted.sort_unstable();
                let line = Line {
                    src: &src,
                    stride: 1,
                    keys: None,
                    isa: Isa::detect(),
                    team: &Halves,
                };
                assert_eq!(line.numbers(), src.iter().filter(|x| !x.is_nan()).count());
                for rank in [0, len / 3, len / 2, len - 1] {
                    let key = sorted[rank];
                    let below = sorted.partition_point(|&other| other < key);
                    let end = sorted.partition_point(|&other| other <= key);
                    let equal = end - below;
                    if len >= SPARSE * TOGETHER {
                        assert_eq!(line.find(rank), Found { key, below, equal });
                    }
                    let places: Vec<_> = (0..len).filter(|&place| src[place].key() == key).collect();
                    assert_eq!(line.place(key, 0), places[0]);
                    assert_eq!(line.place(key, equal - 1), places[equal - 1]);
                    assert_eq!(line.next(key), sorted.get(end).copied().unwrap_or(u32::MAX));
                }
            }
        }
    }
}
