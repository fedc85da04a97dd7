//! What is so far along a dimension.

pub mod cummax;
pub mod cumprod;
pub mod cumsum;
pub mod logcumsumexp;

use core::{mem::MaybeUninit, ops::Range};

use crate::{
    dtype::Arithmetic,
    isa::{Program, Simd},
    kernel::{Exec, Geometry},
    parallel::Shared,
};

/// Columns that are worked on together.
const COLUMNS: usize = 32;
/// Elements of a piece of a row: pieces are worked on by several threads, and their bounds do not depend on how many.
const PIECE: usize = 1 << 15;
/// Instructions for an element, for the choice of threads.
const STEPS: usize = 16;

/// The sums of each of some elements and those before them.
#[inline(always)]
fn prefixes<A: Arithmetic>(numbers: &[A; 8]) -> [A; 8] {
    let [a, b, c, d, e, f, g, h] = *numbers;
    let (ab, cd, ef, gh) = (a.plus(b), c.plus(d), e.plus(f), g.plus(h));
    let (half, rest) = (ab.plus(cd), ef.plus(gh));
    let more = half.plus(ef);
    [
        a,
        ab,
        ab.plus(c),
        half,
        half.plus(e),
        more,
        more.plus(g),
        half.plus(rest),
    ]
}

/// An operation along the rows of some columns at a time: each result follows from what was before in its column and one
/// element.
trait Columns: Copy + Sync {
    type Item: Copy + Default + Send + Sync + 'static;

    /// Writes some columns of a block, which begins at `start` of the results.
    fn columns(
        self,
        geometry: Geometry,
        src: &[Self::Item],
        start: usize,
        columns: Range<usize>,
        output: &Output<Self::Item>,
    );
}

/// What is so far in one number, to which elements are added one after the other.
trait Running {
    type Item: Copy;
    type Total: Copy;

    /// Nothing before.
    const NOTHING: Self::Total;

    fn next(total: Self::Total, x: Self::Item) -> Self::Total;
    fn rounded(total: Self::Total) -> Self::Item;
}

/// [`Columns::columns`] of that.
#[inline(always)]
fn run_columns<R: Running>(
    geometry: Geometry,
    src: &[R::Item],
    start: usize,
    columns: Range<usize>,
    output: &Output<R::Item>,
) {
    let mut totals = [R::NOTHING; COLUMNS];
    for row in 0..geometry.dim {
        let at = row * geometry.inner + columns.start;
        let src = &src[at..at + columns.len()];
        // SAFETY: columns are apart.
        let Results { values, .. } = unsafe { output.part(start + at, columns.len()) };
        if let (Some(src), Some(values)) = (src.first_chunk::<COLUMNS>(), values.first_chunk_mut::<COLUMNS>()) {
            run_each::<R>(&mut totals, src, values);
        } else {
            run_each::<R>(&mut totals, src, values);
        }
    }
}

/// Adds an element to each of some totals, and writes them.
#[inline(always)]
fn run_each<R: Running>(totals: &mut [R::Total], src: &[R::Item], values: &mut [MaybeUninit<R::Item>]) {
    for ((total, &x), value) in totals.iter_mut().zip(src).zip(values) {
        *total = R::next(*total, x);
        value.write(R::rounded(*total));
    }
}

/// Adds the elements of a row to what was before, and writes what is so far; what is after it.
#[inline(always)]
fn run_row<R: Running>(mut total: R::Total, src: &[R::Item], values: &mut [MaybeUninit<R::Item>]) -> R::Total {
    for (&x, value) in src.iter().zip(values) {
        total = R::next(total, x);
        value.write(R::rounded(total));
    }
    total
}

/// The same along a row, pieces of which can be worked on before what is in front of them is known.
trait Scan: Columns {
    /// What was before.
    type State: Copy + Send + Sync + 'static;

    /// Nothing before.
    const START: Self::State;

    /// What is after a piece that begins at `first`, in any grouping that depends on the piece alone.
    fn total<S: Simd>(self, simd: S, src: &[Self::Item], first: usize) -> Self::State;
    /// What is after one state and another.
    fn join(self, before: Self::State, after: Self::State) -> Self::State;
    /// Writes a piece that begins at `first`.
    fn piece<S: Simd>(self, simd: S, state: Self::State, first: usize, src: &[Self::Item], dst: Results<Self::Item>);
}

/// A part of the results, the places if there are any.
struct Results<'a, T> {
    values: &'a mut [MaybeUninit<T>],
    places: Option<&'a mut [MaybeUninit<i64>]>,
}

/// Where all results go.
struct Output<'a, T> {
    values: Shared<'a, MaybeUninit<T>>,
    places: Option<Shared<'a, MaybeUninit<i64>>>,
}

impl<T> Output<'_, T> {
    /// # Safety
    /// As of [`Shared::piece`].
    #[inline(always)]
    unsafe fn part(&self, start: usize, len: usize) -> Results<'_, T> {
        // SAFETY: the caller's.
        unsafe {
            Results {
                values: self.values.piece(start..start + len),
                places: self.places.as_ref().map(|places| places.piece(start..start + len)),
            }
        }
    }
}

/// Goes along the rows of all columns, where there is more than one.
fn by_columns<K: Columns>(exec: &Exec, kernel: K, src: &[K::Item], geometry: Geometry, output: &Output<K::Item>) {
    assert!(src.len() == geometry.len(), "the slice differs from the geometry");
    let Geometry { outer, dim, inner } = geometry;
    let (team, grain) = exec.team(src.len(), 2 * size_of::<K::Item>() + 8, STEPS);
    let blocks = inner.div_ceil(COLUMNS);
    team.run(outer * blocks, grain.div_ceil(dim * COLUMNS).max(1), &|range| {
        for unit in range {
            let (block, column) = (unit / blocks * dim * inner, unit % blocks * COLUMNS);
            exec.isa.run(Strip {
                kernel,
                geometry,
                src: &src[block..][..dim * inner],
                start: block,
                columns: column..inner.min(column + COLUMNS),
                output,
            });
        }
    });
}

/// Goes along all rows.
fn scan<K: Scan>(exec: &Exec, scan: K, src: &[K::Item], geometry: Geometry, output: &Output<K::Item>) {
    assert!(src.len() == geometry.len(), "the slice differs from the geometry");
    let Geometry { outer, dim, inner } = geometry;
    if inner > 1 {
        return by_columns(exec, scan, src, geometry, output);
    }
    let (team, grain) = exec.team(src.len(), 2 * size_of::<K::Item>() + 8, STEPS);
    let pieces = dim.div_ceil(PIECE);
    let piece = |at: usize| (at * PIECE, PIECE.min(dim - at * PIECE));
    // What is before each piece of each row.
    let mut states = vec![K::START; outer * pieces];
    if pieces > 1 {
        let shared = Shared::new(&mut states);
        team.run(outer * pieces, grain.div_ceil(PIECE).max(1), &|range| {
            for unit in range {
                let (start, len) = piece(unit % pieces);
                let src = &src[unit / pieces * dim + start..][..len];
                let total = exec.isa.run(Total { scan, src, start });
                // SAFETY: a unit has a state of its own.
                let state = unsafe { shared.piece(unit..unit + 1) };
                state[0] = total;
            }
        });
        for row in states.chunks_mut(pieces) {
            let mut before = K::START;
            for state in row {
                let after = scan.join(before, *state);
                *state = core::mem::replace(&mut before, after);
            }
        }
    }
    team.run(outer * pieces, grain.div_ceil(dim.min(PIECE)).max(1), &|range| {
        for unit in range {
            let (start, len) = piece(unit % pieces);
            let at = unit / pieces * dim + start;
            exec.isa.run(Piece {
                scan,
                state: states[unit],
                start,
                src: &src[at..at + len],
                // SAFETY: pieces are apart.
                dst: unsafe { output.part(at, len) },
            });
        }
    });
}

struct Total<'a, K: Scan> {
    scan: K,
    src: &'a [K::Item],
    start: usize,
}

impl<K: Scan> Program for Total<'_, K> {
    type Output = K::State;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> K::State {
        self.scan.total(simd, self.src, self.start)
    }
}

struct Piece<'a, K: Scan> {
    scan: K,
    state: K::State,
    start: usize,
    src: &'a [K::Item],
    dst: Results<'a, K::Item>,
}

impl<K: Scan> Program for Piece<'_, K> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        self.scan.piece(simd, self.state, self.start, self.src, self.dst);
    }
}

/// Goes along the rows of some columns together.
struct Strip<'a, K: Columns> {
    kernel: K,
    geometry: Geometry,
    /// The block, and where in the results it is.
    src: &'a [K::Item],
    start: usize,
    columns: Range<usize>,
    output: &'a Output<'a, K::Item>,
}

impl<K: Columns> Program for Strip<'_, K> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self {
            kernel,
            geometry,
            src,
            start,
            columns,
            output,
        } = self;
        kernel.columns(geometry, src, start, columns, output);
    }
}
