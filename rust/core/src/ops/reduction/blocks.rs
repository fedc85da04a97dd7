//! What is found of the columns of blocks of rows, by the team, and put together in their order.

use core::ops::Range;

use crate::{
    kernel::Geometry,
    parallel::{Team, split_mut},
};

/// How a tensor is cut along its dimension: in blocks of so many rows, but for the last ones.
#[derive(Clone, Copy)]
pub(super) struct Blocks {
    pub(super) geometry: Geometry,
    pub(super) rows: usize,
}

impl Blocks {
    /// How many there are of each row of blocks.
    fn count(self) -> usize {
        self.geometry.dim.div_ceil(self.rows)
    }

    /// The elements of a block, in the order of memory, and its first row.
    #[inline(always)]
    pub(super) fn nth(self, index: usize) -> (Range<usize>, usize) {
        let Geometry { dim, inner, .. } = self.geometry;
        let count = self.count();
        let (first, start) = (index / count * dim, index % count * self.rows);
        let end = dim.min(start + self.rows);
        ((first + start) * inner..(first + end) * inner, start)
    }

    /// What is found of each column: `of` is called with the index of a block and with where to put what it finds of the
    /// columns of that block, and of those that follow; `and` puts a column's findings together, first ones first. `grain` is
    /// the least number of elements that is worth a thread.
    pub(super) fn find<A: Copy + Default + Send + Sync>(
        self,
        team: &dyn Team,
        grain: usize,
        of: &(dyn Fn(usize, &mut [A]) + Sync),
        and: &(dyn Fn(A, A) -> A + Sync),
    ) -> Vec<A> {
        let Geometry { outer, dim, inner } = self.geometry;
        let count = self.count();
        let mut found = vec![A::default(); outer * count * inner];
        split_mut(
            team,
            &mut found,
            inner,
            grain.div_ceil(self.rows.min(dim)),
            &|start, found| of(start / inner, found),
        );
        if count == 1 {
            return found;
        }
        let mut joined = vec![A::default(); outer * inner];
        split_mut(team, &mut joined, 1, grain.div_ceil(dim), &|start, joined| {
            for (index, joined) in (start..).zip(joined) {
                let first = index / inner * count * inner + index % inner;
                let others = (1..count).map(|at| found[first + at * inner]);
                *joined = others.fold(found[first], and);
            }
        });
        joined
    }
}
