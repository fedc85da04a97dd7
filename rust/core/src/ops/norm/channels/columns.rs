//! Groups that are the columns of a matrix: rows are read in the order of memory, in blocks.

use core::{mem::MaybeUninit, ops::Range};

use super::{Affine, Centre, FLOPS, Gradient, KEPT, Moments, TERMS, kept, write, write_pairs};
use crate::{
    float::Float,
    isa::{Program, Simd},
    kernel::Exec,
    ops::reduction::lanes::{RowElement, RowLane, Tile},
    parallel::{Shared, Team},
};

/// Columns of a strip at most: its sums stay in the first-level cache. Narrower rows than the least are read as longer ones.
const MOST: usize = 512;
const LEAST: usize = 128;
/// Rows of a block, and how many blocks there are at most if they have the fewest.
const FEWEST_ROWS: usize = 64;
const MOST_ROWS: usize = 512;
const BLOCKS: usize = 64;
/// Rows that are read at once.
const AT_ONCE: usize = 4;

/// A tensor as a matrix with so many columns, `width / channels` of a channel, and of the last row perhaps some only.
#[derive(Clone, Copy)]
struct Matrix {
    len: usize,
    channels: usize,
    width: usize,
    /// Rows of a block.
    rows: usize,
}

/// A block of rows of a strip of columns.
struct Part {
    columns: Range<usize>,
    rows: Range<usize>,
    block: usize,
}

impl Matrix {
    fn new(len: usize, channels: usize) -> Self {
        let together = (LEAST / channels).clamp(1, len / channels);
        let width = together * channels;
        let rows = (len / BLOCKS / width).clamp(FEWEST_ROWS, MOST_ROWS);
        Self {
            len,
            channels,
            width,
            rows,
        }
    }

    /// Rows, the last one included.
    fn height(self) -> usize {
        self.len.div_ceil(self.width)
    }

    fn blocks(self) -> usize {
        self.height().div_ceil(self.rows)
    }

    fn strips(self) -> usize {
        self.width.div_ceil(MOST)
    }

    /// Strips of a block follow one another.
    fn nth(self, part: usize) -> Part {
        let (block, strip) = (part / self.strips(), part % self.strips());
        Part {
            columns: strip * MOST..self.width.min((strip + 1) * MOST),
            rows: block * self.rows..self.height().min((block + 1) * self.rows),
            block,
        }
    }

    /// Where some columns of a row lie: of the last row perhaps fewer.
    #[inline(always)]
    fn at(self, row: usize, columns: &Range<usize>) -> Range<usize> {
        let start = row * self.width;
        (start + columns.start).min(self.len)..(start + columns.end).min(self.len)
    }

    /// The team, and the least number of units that is worth a thread where there are so many of them.
    fn team<'a>(self, exec: &'a Exec, units: usize, bytes: usize) -> (&'a dyn Team, usize) {
        let (team, grain) = exec.team(self.len, bytes, FLOPS);
        (team, grain.div_ceil((self.len / units).max(1)))
    }
}

/// Rows of numbers in a thread's tile.
#[inline(always)]
fn tile_rows<F, const N: usize>(tile: &mut [F], len: usize) -> [&mut [F]; N] {
    let mut rows = tile.chunks_exact_mut(len);
    core::array::from_fn(|_| rows.next().expect("a tile of so many rows"))
}

/// Rows, widened into [`MOST`] numbers of scratch each.
#[inline(always)]
fn wide_rows<'a, T: RowElement, S: Simd, const N: usize>(
    simd: S,
    rows: [&'a [T]; N],
    scratch: &'a mut [T::Lane],
) -> [&'a [T::Lane]; N] {
    let mut scratch = scratch.chunks_exact_mut(MOST);
    rows.map(|row| T::lanes(simd, row, scratch.next().expect("scratch for each")))
}

/// Adds the sums of some rows to those of their block: of the gradients, if there are any, else of the distances from the
/// centre; and of these times the distances.
#[inline(always)]
fn add_rows<const GRAD: bool, E: Copy, A: RowLane, const N: usize>(
    sums: [&mut [A]; 2],
    centre: &[A],
    rows: [&[E]; N],
    grads: [&[E]; N],
    wide: impl Fn(E) -> A,
) {
    let width = rows[0].len();
    let [first, second] = sums.map(|sums| &mut sums[..width]);
    let centre = &centre[..width];
    let (rows, grads) = (rows.map(|row| &row[..width]), grads.map(|row| &row[..width]));
    for i in 0..width {
        let apart: [A; N] = core::array::from_fn(
            #[inline(always)]
            |row| wide(rows[row][i]) - centre[i],
        );
        let terms = if GRAD {
            core::array::from_fn(
                #[inline(always)]
                |row| wide(grads[row][i]),
            )
        } else {
            apart
        };
        let (mut sum, mut products) = (terms[0], terms[0] * apart[0]);
        for row in 1..N {
            sum += terms[row];
            products = terms[row].mul_add(apart[row], products);
        }
        first[i] += sum;
        second[i] += products;
    }
}

/// Sums of parts, taken in `A`. Those of a block lie behind one another: of the gradients or distances, then of the
/// products, and then the centres where these are not given.
struct Sums<'a, T, A> {
    matrix: Matrix,
    src: &'a [T],
    /// With the centres of the columns.
    grad: Option<(&'a [T], &'a [A])>,
    parts: Range<usize>,
    found: &'a Shared<'a, A>,
}

impl<T: RowElement<Lane: Into<A>>, A: RowLane> Sums<'_, T, A> {
    /// The sums of a part.
    #[inline(always)]
    fn part<const GRAD: bool, S: Simd>(
        &self,
        simd: S,
        part: &Part,
        centre: &[A],
        [first, second]: [&mut [A]; 2],
        tile: &mut [T::Lane],
    ) {
        let [widened, grads] = tile_rows(tile, AT_ONCE * MOST);
        let width = part.columns.len();
        let [mut first_terms, mut second_terms] = [[A::ZERO; MOST]; 2];
        let (first_terms, second_terms) = (&mut first_terms[..width], &mut second_terms[..width]);
        first.fill(A::ZERO);
        second.fill(A::ZERO);
        let mut start = part.rows.start;
        while start < part.rows.end {
            let end = part.rows.end.min(start + TERMS);
            first_terms.fill(A::ZERO);
            second_terms.fill(A::ZERO);
            while start < end {
                // Only the last row of all may be short.
                let whole = self.matrix.at(start + AT_ONCE - 1, &part.columns).len() == width;
                if start + AT_ONCE <= end && whole {
                    let at: [_; AT_ONCE] = core::array::from_fn(|row| self.matrix.at(start + row, &part.columns));
                    self.add::<GRAD, S, AT_ONCE>(simd, at, centre, [first_terms, second_terms], [widened, grads]);
                    start += AT_ONCE;
                } else {
                    let at = [self.matrix.at(start, &part.columns)];
                    self.add::<GRAD, S, 1>(simd, at, centre, [first_terms, second_terms], [widened, grads]);
                    start += 1;
                }
            }
            for (sums, terms) in [(&mut *first, &*first_terms), (&mut *second, &*second_terms)] {
                for (sum, &term) in sums.iter_mut().zip(terms) {
                    *sum += term;
                }
            }
        }
    }

    /// Adds the sums of some rows.
    #[inline(always)]
    fn add<const GRAD: bool, S: Simd, const N: usize>(
        &self,
        simd: S,
        at: [Range<usize>; N],
        centre: &[A],
        sums: [&mut [A]; 2],
        [widened, grads]: [&mut [T::Lane]; 2],
    ) {
        let rows = at.clone().map(|at| &self.src[at]);
        let grad = self.grad.map_or(self.src, |(grad, _)| grad);
        let grad_rows = at.map(|at| &grad[at]);
        if T::PACKS {
            add_rows::<GRAD, _, _, N>(
                sums,
                centre,
                rows,
                grad_rows,
                #[inline(always)]
                |x: T| x.lane().into(),
            );
            return;
        }
        let rows = wide_rows(simd, rows, widened);
        let grads = if GRAD { wide_rows(simd, grad_rows, grads) } else { rows };
        add_rows::<GRAD, _, _, N>(sums, centre, rows, grads, Into::into);
    }

    /// The means of the first rows of a part.
    #[inline(always)]
    fn centre<S: Simd>(&self, simd: S, part: &Part, centre: &mut [A], tile: &mut [T::Lane]) {
        // The last row of all may be short, and is left out where there are others.
        let whole = self.matrix.len / self.matrix.width;
        let rows = part
            .rows
            .end
            .min(part.rows.start + TERMS)
            .min(whole.max(part.rows.start + 1));
        let rows = part.rows.start..rows;
        // Not divided at the end, so that no sum overflows.
        let share = A::of(1.0 / rows.len() as f64);
        centre.fill(A::ZERO);
        for row in rows {
            let values = T::lanes(simd, &self.src[self.matrix.at(row, &part.columns)], tile);
            for (centre, &x) in centre.iter_mut().zip(values) {
                let x: A = x.into();
                *centre = x.mul_add(share, *centre);
            }
        }
    }
}

impl<T: RowElement<Lane: Into<A>>, A: RowLane> Program for Sums<'_, T, A> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let mut tile = Tile::new(2 * AT_ONCE * MOST);
        let (tile, width) = (tile.get(), self.matrix.width);
        for index in self.parts.clone() {
            let part = self.matrix.nth(index);
            let each = if self.grad.is_some() { 2 } else { 3 };
            let piece = |kind: usize| {
                let start = (part.block * each + kind) * width;
                // SAFETY: parts are disjoint, and so are their sums.
                unsafe { self.found.piece(start + part.columns.start..start + part.columns.end) }
            };
            if let Some((_, centre)) = self.grad {
                let centre = &centre[part.columns.clone()];
                self.part::<true, S>(simd, &part, centre, [piece(0), piece(1)], tile);
            } else {
                let centre = piece(2);
                self.centre(simd, &part, centre, tile);
                self.part::<false, S>(simd, &part, centre, [piece(0), piece(1)], tile);
            }
        }
    }
}

/// The sums of all parts.
fn sums<T: RowElement<Lane: Into<A>>, A: RowLane>(
    exec: &Exec,
    matrix: Matrix,
    src: &[T],
    grad: Option<(&[T], &[A])>,
) -> Vec<A> {
    let each = if grad.is_some() { 2 } else { 3 };
    let mut sums = vec![A::ZERO; each * matrix.blocks() * matrix.width];
    let shared = &Shared::new(&mut sums);
    let parts = matrix.blocks() * matrix.strips();
    let (team, grain) = matrix.team(exec, parts, each * size_of::<T>());
    team.run(parts, grain, &|parts| {
        exec.isa.run(Sums {
            matrix,
            src,
            grad,
            parts,
            found: shared,
        });
    });
    sums
}

/// The moments of channels, from the sums of blocks.
struct Combine<'a, F> {
    matrix: Matrix,
    sums: &'a [F],
}

/// Sums and centres of some columns of a block, which have so many rows.
#[derive(Clone, Copy)]
struct Block<'a, F> {
    rows: f64,
    first: &'a [F],
    second: &'a [F],
    centre: &'a [F],
}

impl<F: RowLane> Block<'_, F> {
    /// Adds the columns' sums to `totals`.
    #[inline(always)]
    fn add_totals(&self, totals: &mut [f64]) {
        for (column, total) in totals.iter_mut().enumerate() {
            *total += self.rows * self.centre[column].into() + self.first[column].into();
        }
    }

    /// Adds the squares of distances from the means.
    #[inline(always)]
    fn add_squares(&self, means: &[f64], squares: &mut [f64]) {
        let share = 1.0 / self.rows;
        for (column, (squares, &mean)) in squares.iter_mut().zip(means).enumerate() {
            let first: f64 = self.first[column].into();
            let shift = first * share;
            let within = self.second[column].into() - first * shift;
            let apart = (self.centre[column].into() - mean) + shift;
            *squares += if within < 0.0 { 0.0 } else { within } + self.rows * apart * apart;
        }
    }
}

impl<F: RowLane> Program for Combine<'_, F> {
    type Output = Vec<Moments>;

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> Vec<Moments> {
        let Self { matrix, sums } = self;
        let Matrix { channels, width, .. } = matrix;
        // The last row may have some of the columns only.
        let rest = matrix.len % width;
        let blocks = || {
            sums.chunks_exact(3 * width).enumerate().flat_map(
                #[inline(always)]
                |(index, sums)| {
                    let last = index + 1 == matrix.blocks();
                    let cut = if last { rest } else { 0 };
                    [0..cut, cut..width].map(
                        #[inline(always)]
                        |columns| {
                            let rows = matrix.nth(index * matrix.strips()).rows.len();
                            let missing = last && rest > 0 && columns.start >= rest;
                            let block = Block {
                                rows: (rows - usize::from(missing)) as f64,
                                first: &sums[columns.clone()],
                                second: &sums[width..][columns.clone()],
                                centre: &sums[2 * width..][columns.clone()],
                            };
                            (columns, block)
                        },
                    )
                },
            )
        };
        let count = (matrix.len / channels) as f64;
        let mut totals = vec![0.0; width];
        for (columns, block) in blocks() {
            block.add_totals(&mut totals[columns]);
        }
        let means: Vec<f64> = folded(matrix, &totals).into_iter().map(|total| total / count).collect();
        let columns = columns(matrix, |channel| means[channel]);
        let mut squares = vec![0.0; width];
        for (range, block) in blocks() {
            if block.rows > 0.0 {
                block.add_squares(&columns[range.clone()], &mut squares[range]);
            }
        }
        let moments = means.iter().zip(folded(matrix, &squares));
        moments
            .map(|(&mean, squares)| Moments { count, mean, squares })
            .collect()
    }
}

/// The sums over the columns of each channel.
fn folded(matrix: Matrix, columns: &[f64]) -> Vec<f64> {
    let mut sums = vec![0.0; matrix.channels];
    for columns in columns.chunks_exact(matrix.channels) {
        for (sum, column) in sums.iter_mut().zip(columns) {
            *sum += column;
        }
    }
    sums
}

/// The sums over all blocks.
struct Total<'a> {
    matrix: Matrix,
    sums: &'a [f64],
}

impl Program for Total<'_> {
    type Output = [Vec<f64>; 2];

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> [Vec<f64>; 2] {
        let width = self.matrix.width;
        let mut totals = vec![0.0; 2 * width];
        for sums in self.sums.chunks_exact(2 * width) {
            for (total, &sum) in totals.iter_mut().zip(sums) {
                *total += sum;
            }
        }
        let (first, second) = totals.split_at(width);
        [folded(self.matrix, first), folded(self.matrix, second)]
    }
}

/// A number of each column.
fn columns<F: Copy>(matrix: Matrix, of: impl Fn(usize) -> F) -> Vec<F> {
    let mut numbers: Vec<F> = (0..matrix.channels).map(of).collect();
    numbers.reserve(matrix.width - matrix.channels);
    while numbers.len() < matrix.width {
        numbers.extend_from_within(..matrix.channels);
    }
    numbers
}

/// The results of rows.
struct Normalise<'a, T: RowElement> {
    src: &'a [T],
    dst: &'a mut [MaybeUninit<T>],
    width: usize,
    /// Means, scales and shifts of columns.
    lines: [&'a [T::Lane]; 3],
}

impl<T: RowElement> Program for Normalise<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let mut tile = Tile::new(2 * MOST);
        for (src, dst) in self.src.chunks(self.width).zip(self.dst.chunks_mut(self.width)) {
            for (i, (src, dst)) in src.chunks(MOST).zip(dst.chunks_mut(MOST)).enumerate() {
                let at = i * MOST..i * MOST + src.len();
                let [high, scale, shift] = self.lines;
                let (high, scale, shift) = (&high[at.clone()], &scale[at.clone()], &shift[at]);
                write(
                    simd,
                    src,
                    tile.get(),
                    dst,
                    #[inline(always)]
                    |x, i| (x - high[i]).mul_add(scale[i], shift[i]),
                );
            }
        }
    }
}

/// Shares rows out over the team: `body` gets the elements of some and their results.
fn run_rows<T: Send>(
    exec: &Exec,
    matrix: Matrix,
    bytes: usize,
    dst: &mut [MaybeUninit<T>],
    body: impl Fn(Range<usize>, &mut [MaybeUninit<T>]) + Sync,
) {
    let (team, grain) = matrix.team(exec, matrix.height(), bytes);
    let shared = Shared::new(dst);
    team.run(matrix.height(), grain, &|rows| {
        let elements = rows.start * matrix.width..matrix.len.min(rows.end * matrix.width);
        // SAFETY: a team's ranges of rows are disjoint.
        body(elements.clone(), unsafe { shared.piece(elements) });
    });
}

/// The moments of a channel with infinities or NaN, or with sums that overflow.
#[cold]
fn exact_moments<T: RowElement>(src: &[T], channels: usize, channel: usize) -> Moments {
    let numbers = || {
        src[channel..]
            .iter()
            .step_by(channels)
            .map(|x| -> f64 { x.lane().into() })
    };
    let count = numbers().count() as f64;
    let mean = numbers().sum::<f64>() / count;
    Moments {
        count,
        mean,
        squares: numbers().map(|x| (x - mean) * (x - mean)).sum(),
    }
}

/// See [`forward`](super::forward).
pub(super) fn forward<T: RowElement>(
    exec: &Exec,
    channels: usize,
    src: &[T],
    affine: Affine,
    eps: f64,
    dst: &mut [MaybeUninit<T>],
) -> Vec<Moments> {
    let matrix = Matrix::new(src.len(), channels);
    let mut moments = exec.isa.run(Combine {
        matrix,
        sums: &sums::<T, T::Lane>(exec, matrix, src, None),
    });
    for (channel, moments) in moments.iter_mut().enumerate() {
        if !moments.mean.is_finite() {
            *moments = exact_moments(src, channels, channel);
        }
    }
    let lines: Vec<_> = moments
        .iter()
        .enumerate()
        .map(|(channel, &moments)| {
            let centre = Centre::<T::Lane>::of(moments, eps);
            centre.line(affine.weight(channel), affine.bias(channel))
        })
        .collect();
    let high = columns(matrix, |channel| lines[channel].high);
    let scale = columns(matrix, |channel| lines[channel].scale);
    let shift = columns(matrix, |channel| lines[channel].shift);
    run_rows(exec, matrix, 2 * size_of::<T>(), dst, |elements, dst| {
        exec.isa.run(Normalise {
            src: &src[elements],
            dst,
            width: matrix.width,
            lines: [&high, &scale, &shift],
        });
    });
    moments
}

/// The gradients of rows.
struct Differentiate<'a, T: RowElement> {
    src: &'a [T],
    grad: &'a [T],
    dst: &'a mut [MaybeUninit<T>],
    width: usize,
    /// Means, scales, and what else a [`Gradient`] has, of columns.
    numbers: [&'a [T::Lane]; 4],
}

impl<T: RowElement> Program for Differentiate<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let mut tile = Tile::new(3 * MOST);
        let rows = self.src.chunks(self.width).zip(self.grad.chunks(self.width));
        for ((src, grad), dst) in rows.zip(self.dst.chunks_mut(self.width)) {
            let strips = src.chunks(MOST).zip(grad.chunks(MOST)).zip(dst.chunks_mut(MOST));
            for (i, ((src, grad), dst)) in strips.enumerate() {
                let at = i * MOST..i * MOST + src.len();
                let [high, scale, along, common] = self.numbers;
                let (high, scale) = (&high[at.clone()], &scale[at.clone()]);
                let (along, common) = (&along[at.clone()], &common[at]);
                write_pairs(
                    simd,
                    [src, grad],
                    tile.get(),
                    dst,
                    #[inline(always)]
                    |x, grad, i| {
                        let gradient = Gradient {
                            high: high[i],
                            along: along[i],
                            common: common[i],
                        };
                        gradient.of(grad, scale[i], x)
                    },
                );
            }
        }
    }
}

/// See [`backward`](super::backward).
pub(super) fn backward<T: RowElement>(
    exec: &Exec,
    channels: usize,
    [src, grad]: [&[T]; 2],
    affine: Affine,
    all_kept: &[T::Lane],
    dst: Option<&mut [MaybeUninit<T>]>,
) -> [Vec<f64>; 2] {
    assert_eq!(all_kept.len(), KEPT * channels, "numbers of each channel");
    let matrix = Matrix::new(src.len(), channels);
    let centres: Vec<_> = (0..channels).map(|channel| kept(all_kept, channel)).collect();
    let high = columns(matrix, |channel| centres[channel].high);
    // Of either sign, gradients may cancel: they are summed up in double precision.
    let wide_high: Vec<f64> = high.iter().map(|&high| high.into()).collect();
    let sums = sums(exec, matrix, src, Some((grad, &wide_high)));
    let [first, second] = exec.isa.run(Total { matrix, sums: &sums });
    let totals: Vec<_> = first
        .iter()
        .zip(&second)
        .map(|(&first, &second)| [first, second])
        .collect();
    if let Some(dst) = dst {
        let count = (src.len() / channels) as f64;
        let gradients: Vec<_> = centres
            .iter()
            .zip(&totals)
            .enumerate()
            .map(|(channel, (centre, total))| centre.gradient(count, total.map(|sum| sum * affine.weight(channel))))
            .collect();
        let scale = columns(matrix, |channel| {
            T::Lane::of(centres[channel].scale * affine.weight(channel))
        });
        let along = columns(matrix, |channel| gradients[channel].along);
        let common = columns(matrix, |channel| gradients[channel].common);
        run_rows(exec, matrix, 3 * size_of::<T>(), dst, |elements, dst| {
            exec.isa.run(Differentiate {
                src: &src[elements.clone()],
                grad: &grad[elements],
                dst,
                width: matrix.width,
                numbers: [&high, &scale, &along, &common],
            });
        });
    }
    let weights = centres.iter().zip(&totals);
    [
        weights
            .map(|(centre, [first, second])| centre.scale * (second - centre.low * first))
            .collect(),
        first,
    ]
}
