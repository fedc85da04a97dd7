//! What the forward pass of an operation on rows keeps for its gradient.

use core::{mem::MaybeUninit, ops::Range};

use crate::{
    dtype::{Target, Typed},
    parallel::Shared,
};

/// Up to two numbers of each row, which threads write for their own rows; none where there will be no gradient. In
/// memory, all of the first come before all of the second.
pub(super) struct Kept<'a, F> {
    first: Shared<'a, MaybeUninit<F>>,
    second: Shared<'a, MaybeUninit<F>>,
    /// Rows of each: 0 where nothing is kept of them.
    rows: [usize; 2],
}

impl<'a, F: Typed> Kept<'a, F> {
    /// The second number alone if `each` is 1.
    ///
    /// # Panics
    /// Where the target is of another type or length.
    pub(super) fn new(saved: Option<Target<'a>>, rows: usize, each: usize) -> Self {
        let all: &mut [MaybeUninit<F>] = saved.map_or(&mut [], |saved| {
            let all = F::target(saved).expect("numbers of the type that is computed in").0;
            assert_eq!(all.len(), each * rows, "numbers of each row");
            all
        });
        let (first, second) = all.split_at_mut(all.len() / each * (each - 1));
        Self {
            rows: [first.len(), second.len()],
            first: Shared::new(first),
            second: Shared::new(second),
        }
    }

    /// Those of some rows, or of none.
    ///
    /// # Safety
    /// The rows overlap no others in use.
    #[allow(clippy::mut_from_ref)]
    pub(super) unsafe fn of(&self, rows: &Range<usize>) -> [&mut [MaybeUninit<F>]; 2] {
        let within = |all: usize| if all == 0 { 0..0 } else { rows.clone() };
        // SAFETY: the caller's.
        unsafe {
            [
                self.first.piece(within(self.rows[0])),
                self.second.piece(within(self.rows[1])),
            ]
        }
    }
}

/// Writes a row's number, if it is kept.
#[inline(always)]
pub(super) fn keep<F>(kept: &mut [MaybeUninit<F>], row: usize, number: F) {
    if let Some(slot) = kept.get_mut(row) {
        slot.write(number);
    }
}
