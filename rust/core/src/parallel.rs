//! Threads: kernels run on the caller's, through [`Team`].

use core::{marker::PhantomData, ops::Range, slice};
use std::sync::{Mutex, PoisonError};

/// A team of threads that shares a loop.
///
/// ```
/// use std::{ops::Range, thread};
///
/// use rusttorch_core::{isa::Isa, kernel::Exec, ops, parallel::Team};
///
/// /// Two threads of the standard library.
/// struct Two;
///
/// impl Team for Two {
///     fn threads(&self) -> usize {
///         2
///     }
///
///     fn run(&self, len: usize, grain: usize, body: &(dyn Fn(Range<usize>) + Sync)) {
///         let cut = len.div_ceil(2).max(grain).min(len);
///         thread::scope(|scope| {
///             scope.spawn(|| body(cut..len));
///             body(0..cut);
///         });
///     }
/// }
///
/// let mut x = vec![-1.0_f32; 1 << 20];
/// let relu = ops::find("relu").unwrap();
/// relu.inplace(&Exec::new(Isa::detect(), &Two), (&mut x[..]).into(), &[]);
/// assert!(x.iter().all(|&x| x == 0.0));
/// ```
pub trait Team: Sync {
    /// How many threads would take part, the caller's included.
    fn threads(&self) -> usize;

    /// Calls `body` on disjoint ranges that together cover `0..len`; each but the last is at least `grain` long. The
    /// ranges may depend on the number of threads, so a body's result for an index must not depend on its range. Empty
    /// ranges may be left out.
    ///
    /// Kernels panic where the ranges overlap, leave indices out or go beyond `len`.
    fn run(&self, len: usize, grain: usize, body: &(dyn Fn(Range<usize>) + Sync));
}

/// The calling thread alone.
#[derive(Clone, Copy, Debug, Default)]
pub struct Serial;

impl Team for Serial {
    fn threads(&self) -> usize {
        1
    }

    fn run(&self, len: usize, _grain: usize, body: &(dyn Fn(Range<usize>) + Sync)) {
        if len > 0 {
            body(0..len);
        }
    }
}

/// The current rayon pool.
#[cfg(feature = "rayon")]
#[derive(Clone, Copy, Debug, Default)]
pub struct Rayon;

#[cfg(feature = "rayon")]
impl Team for Rayon {
    fn threads(&self) -> usize {
        rayon::current_num_threads()
    }

    fn run(&self, len: usize, grain: usize, body: &(dyn Fn(Range<usize>) + Sync)) {
        use rayon::prelude::*;

        let step = len.div_ceil(self.threads()).max(grain).max(1);
        (0..len.div_ceil(step))
            .into_par_iter()
            .for_each(|part| body(part * step..len.min((part + 1) * step)));
    }
}

/// A team whose word is checked: kernels write without a look at what other threads do, and their results count as
/// written.
#[derive(Clone, Copy)]
pub(crate) struct Checked<'a>(pub(crate) &'a dyn Team);

impl Team for Checked<'_> {
    fn threads(&self) -> usize {
        self.0.threads()
    }

    fn run(&self, len: usize, grain: usize, body: &(dyn Fn(Range<usize>) + Sync)) {
        // In ascending order; about as many as threads.
        let taken = Mutex::new(Vec::<Range<usize>>::with_capacity(16));
        self.0.run(len, grain, &|range| {
            if range.is_empty() {
                return;
            }
            let mut all = taken.lock().unwrap_or_else(PoisonError::into_inner);
            let at = all.partition_point(|other| other.start < range.start);
            let free =
                at.checked_sub(1).map_or(0, |before| all[before].end)..all.get(at).map_or(len, |after| after.start);
            assert!(
                free.start <= range.start && range.end <= free.end,
                "a team hands out disjoint ranges of the loop"
            );
            all.insert(at, range.clone());
            drop(all);
            body(range);
        });
        let all = taken.into_inner().unwrap_or_else(PoisonError::into_inner);
        let covered: usize = all.iter().map(ExactSizeIterator::len).sum();
        assert!(covered == len, "a team hands out the whole loop");
    }
}

/// A slice that threads write disjoint pieces of.
pub(crate) struct Shared<'a, T>(*mut T, usize, PhantomData<&'a mut [T]>);

// SAFETY: only disjoint pieces are handed out, by the contract of `piece`.
unsafe impl<T: Send> Sync for Shared<'_, T> {}

impl<'a, T> Shared<'a, T> {
    pub(crate) fn new(slice: &'a mut [T]) -> Self {
        Self(slice.as_mut_ptr(), slice.len(), PhantomData)
    }

    /// # Safety
    /// The range overlaps no other piece in use.
    #[allow(clippy::mut_from_ref)]
    #[inline(always)]
    pub(crate) unsafe fn piece(&self, range: Range<usize>) -> &mut [T] {
        assert!(
            range.start <= range.end && range.end <= self.1,
            "the piece lies within the slice"
        );
        // SAFETY: within the slice, and disjoint from the other pieces by the caller's promise.
        unsafe { slice::from_raw_parts_mut(self.0.add(range.start), range.len()) }
    }

    /// # Safety
    /// The element is in no other piece in use.
    #[allow(clippy::mut_from_ref)]
    #[inline(always)]
    pub(crate) unsafe fn element(&self, index: usize) -> &mut T {
        assert!(index < self.1, "the element lies within the slice");
        // SAFETY: within the slice, and nobody else's by the caller's promise.
        unsafe { &mut *self.0.add(index) }
    }
}

/// Shares `dst` out over the team in pieces of whole `unit`s, each of at least `grain` elements: calls `body` with the
/// index of the piece's first element and the piece.
pub(crate) fn split_mut<T: Send>(
    team: &dyn Team,
    dst: &mut [T],
    unit: usize,
    grain: usize,
    body: &(dyn Fn(usize, &mut [T]) + Sync),
) {
    debug_assert!(unit > 0 && dst.len().is_multiple_of(unit), "a whole number of units");
    let units = dst.len() / unit;
    let shared = Shared::new(dst);
    team.run(units, grain.div_ceil(unit).max(1), &|range| {
        // SAFETY: a team's ranges are disjoint.
        body(range.start * unit, unsafe {
            shared.piece(range.start * unit..range.end * unit)
        });
    });
}

#[cfg(test)]
pub(crate) mod test {
    use super::*;

    /// Two threads' worth of ranges, one after the other.
    pub(crate) struct Halves;

    impl Team for Halves {
        fn threads(&self) -> usize {
            2
        }

        fn run(&self, len: usize, grain: usize, body: &(dyn Fn(Range<usize>) + Sync)) {
            let cut = (len / 2).max(grain).min(len);
            body(cut..len);
            body(0..cut);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hands out ranges of uneven sizes, in reverse.
    struct Uneven;

    impl Team for Uneven {
        fn threads(&self) -> usize {
            3
        }
        fn run(&self, len: usize, grain: usize, body: &(dyn Fn(Range<usize>) + Sync)) {
            let cut = (len / 3).max(grain).min(len);
            body(cut..len);
            body(0..cut);
        }
    }

    #[test]
    fn every_element_is_visited_once() {
        for len in [0, 6, 12, 600] {
            let mut data = vec![0_usize; len];
            split_mut(&Uneven, &mut data, 6, 1, &|start, piece| {
                assert!(start.is_multiple_of(6));
                piece.iter_mut().enumerate().for_each(|(i, x)| *x += start + i + 1);
            });
            assert!(data.iter().enumerate().all(|(i, &x)| x == i + 1));
        }
    }

    /// Hands out these ranges.
    struct Given(&'static [Range<usize>]);

    impl Team for Given {
        fn threads(&self) -> usize {
            2
        }
        fn run(&self, _: usize, _: usize, body: &(dyn Fn(Range<usize>) + Sync)) {
            self.0.iter().cloned().for_each(body);
        }
    }

    #[test]
    fn ranges_that_are_no_partition_panic() {
        let visits = |ranges, len| {
            let run = || Checked(&Given(ranges)).run(len, 1, &|_| ());
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).is_ok()
        };
        assert!(visits(&[4..6, 0..2, 2..2, 2..4], 6));
        assert!(visits(&[], 0));
        assert!(!visits(&[0..4, 3..6], 6));
        assert!(!visits(&[3..6, 0..4], 6));
        assert!(!visits(&[0..2, 0..2, 2..4], 4));
        assert!(!visits(&[0..2, 3..6], 6));
        assert!(!visits(&[0..3, 3..7], 6));
        assert!(!visits(&[], 6));
    }

    #[cfg(feature = "rayon")]
    #[test]
    fn rayon_covers_the_range() {
        let mut data = vec![0_u8; 1000];
        split_mut(&Rayon, &mut data, 1, 7, &|_, piece| {
            piece.iter_mut().for_each(|x| *x += 1);
        });
        assert!(data.iter().all(|&x| x == 1));
    }
}
