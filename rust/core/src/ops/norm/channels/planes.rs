//! Groups of planes.

use core::{mem::MaybeUninit, ops::Range};

use super::{Affine, Centre, FLOPS, Gradient, KEPT, Moments, block_moments, gradient_sums, kept, write, write_pairs};
use crate::{
    float::Float,
    isa::{Program, Simd},
    kernel::Exec,
    ops::reduction::lanes::{BLOCK, RowElement, Tile},
    parallel::{Shared, Team, split_mut},
};

/// Groups from which on each is one thread's, which reads it again from its cache, and elements up to which one thread
/// works on all of them; fewer groups are cut in so many parts.
const WHOLE: usize = 8;
const SMALL: usize = 1 << 16;
const PARTS: usize = 8;

/// Elements from which on a plane is looked at by itself.
const LONG: usize = 512;

/// Planes of `inner` neighbouring elements, one for each channel, and the groups that they make: each of `count` planes,
/// `step` planes apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Planes {
    pub(in super::super) channels: usize,
    pub(in super::super) inner: usize,
    pub(in super::super) groups: usize,
    pub(in super::super) count: usize,
    pub(in super::super) step: usize,
}

/// A run of numbers that are looked at together: a part of a plane, or several planes.
#[derive(Clone, Copy)]
struct Piece {
    /// The first plane, among the group's, and how many.
    plane: usize,
    planes: usize,
    /// Elements of the planes.
    start: usize,
    len: usize,
}

impl Planes {
    /// Elements of a group.
    fn len(self) -> usize {
        self.count * self.inner
    }

    /// Where a plane of a group begins.
    #[inline(always)]
    fn start(self, group: usize, plane: usize) -> usize {
        let first = if self.step == 1 { group * self.count } else { group };
        (first + plane * self.step) * self.inner
    }

    /// Into how many parts groups are cut.
    fn parts(self) -> usize {
        if self.groups >= WHOLE || self.groups * self.len() < SMALL {
            1
        } else {
            self.count.min(PARTS)
        }
    }

    /// The planes of a part.
    #[inline(always)]
    fn part(self, parts: usize, part: usize) -> Range<usize> {
        self.count * part / parts..self.count * (part + 1) / parts
    }

    /// Whether planes next to one another lie in one group, each with a weight of its own.
    fn are_neighbours(self) -> bool {
        self.step == 1
    }

    /// Some planes of a group, in pieces of up to [`BLOCK`] elements; of one plane each, if `single`.
    #[inline(always)]
    fn pieces(self, planes: Range<usize>, single: bool) -> impl Iterator<Item = Piece> {
        let together = if single || self.inner >= LONG {
            1
        } else {
            BLOCK / self.inner
        };
        let end = planes.end;
        planes.step_by(together).flat_map(
            #[inline(always)]
            move |plane| {
                let planes = together.min(end - plane);
                (0..self.inner).step_by(BLOCK).map(
                    #[inline(always)]
                    move |start| Piece {
                        plane,
                        planes,
                        start,
                        len: BLOCK.min(self.inner - start),
                    },
                )
            },
        )
    }

    /// Asks for the planes after a piece's: they lie in other pages, which the CPU does not foresee.
    #[inline(always)]
    fn prefetch<T, S: Simd>(self, simd: S, src: &[T], group: usize, piece: Piece) {
        if self.step == 1 || piece.start > 0 {
            return;
        }
        let next = piece.plane + piece.planes;
        for plane in next..self.count.min(next + piece.planes) {
            let at = self.start(group, plane);
            simd.prefetch(&src[at..at + piece.len]);
        }
    }

    /// The numbers of a piece; `scratch` has space for [`BLOCK`] of them.
    #[inline(always)]
    fn gather<'a, T: RowElement, S: Simd>(
        self,
        simd: S,
        src: &'a [T],
        group: usize,
        piece: Piece,
        scratch: &'a mut [T::Lane],
    ) -> &'a [T::Lane] {
        let Piece { planes, start, len, .. } = piece;
        let at = self.start(group, piece.plane) + start;
        self.prefetch(simd, src, group, piece);
        if planes == 1 || self.step == 1 {
            return T::lanes(simd, &src[at..at + planes * len], scratch);
        }
        let scratch = &mut scratch[..planes * len];
        for (i, dst) in scratch.chunks_exact_mut(len).enumerate() {
            let at = at + i * self.step * self.inner;
            T::widen(simd, &src[at..at + len], dst);
        }
        scratch
    }
}

/// How a call's planes are shared out: groups, each in parts.
#[derive(Clone, Copy)]
struct Units {
    planes: Planes,
    parts: usize,
}

impl Units {
    fn count(self) -> usize {
        self.planes.groups * self.parts
    }

    /// A unit's group, and its planes.
    #[inline(always)]
    fn nth(self, unit: usize) -> (usize, Range<usize>) {
        (unit / self.parts, self.planes.part(self.parts, unit % self.parts))
    }

    /// The team, and the least number of units that is worth a thread.
    fn team<'a>(self, exec: &'a Exec, bytes: usize) -> (&'a dyn Team, usize) {
        let len = self.planes.groups * self.planes.len();
        let (team, grain) = exec.team(len, bytes, FLOPS);
        (team, grain.div_ceil((len / self.count()).max(1)))
    }
}

/// The moments of units.
struct Measure<'a, T> {
    units: Units,
    src: &'a [T],
    first: usize,
    moments: &'a mut [Moments],
}

impl<T: RowElement> Program for Measure<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let mut tile = Tile::new(BLOCK);
        let scratch = tile.get();
        let planes = self.units.planes;
        for (unit, moments) in (self.first..).zip(self.moments) {
            let (group, range) = self.units.nth(unit);
            *moments = Moments::default();
            for piece in planes.pieces(range, false) {
                let values = planes.gather(simd, self.src, group, piece, scratch);
                *moments = moments.and(block_moments(simd, values));
            }
        }
    }
}

/// The results of units, from the moments of their groups.
struct Normalise<'a, T> {
    units: Units,
    src: &'a [T],
    affine: Affine<'a>,
    eps: f64,
    dst: &'a Shared<'a, MaybeUninit<T>>,
    range: Range<usize>,
    /// Of the group of the first unit, and of those after it.
    moments: &'a [Moments],
}

impl<T: RowElement> Program for Normalise<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let mut tile = Tile::new(2 * BLOCK);
        let planes = self.units.planes;
        let (first, _) = self.units.nth(self.range.start);
        for unit in self.range {
            let (group, range) = self.units.nth(unit);
            let centre = Centre::<T::Lane>::of(self.moments[group - first], self.eps);
            for piece in planes.pieces(range, true) {
                let start = planes.start(group, piece.plane);
                let channel = start / planes.inner % planes.channels;
                let line = centre.line(self.affine.weight(channel), self.affine.bias(channel));
                let at = start + piece.start..start + piece.start + piece.len;
                // SAFETY: units are disjoint, and so are the pieces of one.
                let dst = unsafe { self.dst.piece(at.clone()) };
                write(
                    simd,
                    &self.src[at],
                    tile.get(),
                    dst,
                    #[inline(always)]
                    |x, _| (x - line.high).mul_add(line.scale, line.shift),
                );
            }
        }
    }
}

/// See [`forward`](super::forward).
pub(super) fn forward<T: RowElement>(
    exec: &Exec,
    planes: Planes,
    src: &[T],
    affine: Affine,
    eps: f64,
    dst: &mut [MaybeUninit<T>],
) -> Vec<Moments> {
    let parts = planes.parts();
    let units = Units { planes, parts };
    let mut moments = vec![Moments::default(); units.count()];
    let dst = &Shared::new(dst);
    let normalise = |range: Range<usize>, moments: &[Moments]| {
        exec.isa.run(Normalise {
            units,
            src,
            affine,
            eps,
            dst,
            range,
            moments,
        });
    };
    let (team, grain) = units.team(exec, 2 * size_of::<T>());
    // A group's numbers are in the cache when they are read again.
    split_mut(team, &mut moments, 1, grain, &|first, moments| {
        for (unit, moments) in (first..).zip(moments.chunks_exact_mut(1)) {
            exec.isa.run(Measure {
                units,
                src,
                first: unit,
                moments,
            });
            if parts == 1 {
                normalise(unit..unit + 1, moments);
            }
        }
    });
    if parts > 1 {
        let groups = moments.chunks_exact(parts);
        moments = groups
            .map(|parts| parts.iter().fold(Moments::default(), |all, &part| all.and(part)))
            .collect();
        team.run(units.count(), grain, &|range| {
            let first = units.nth(range.start).0;
            normalise(range, &moments[first..]);
        });
    }
    moments
}

/// Sums of units for their gradients: of each plane where planes have weights of their own, else of the unit.
struct Sums<'a, T: RowElement> {
    units: Units,
    src: &'a [T],
    grad: &'a [T],
    kept: &'a [T::Lane],
    unit: usize,
    found: &'a mut [[f64; 2]],
}

impl<T: RowElement> Program for Sums<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let mut tile = Tile::new(2 * BLOCK);
        let (widened, grads) = tile.get().split_at_mut(BLOCK);
        let planes = self.units.planes;
        let (group, range) = self.units.nth(self.unit);
        let (single, first) = (planes.are_neighbours(), range.start);
        let centre = kept(self.kept, group).high;
        self.found.fill([0.0; 2]);
        for piece in planes.pieces(range, single) {
            let values = planes.gather(simd, self.src, group, piece, widened);
            let grads = planes.gather(simd, self.grad, group, piece, grads);
            let sums = &mut self.found[if single { piece.plane - first } else { 0 }];
            let [first, second] = gradient_sums(simd, values, grads, centre);
            *sums = [sums[0] + first, sums[1] + second];
        }
    }
}

/// The gradients of a unit's input.
struct Differentiate<'a, T: RowElement> {
    units: Units,
    src: &'a [T],
    grad: &'a [T],
    affine: Affine<'a>,
    scale: f64,
    gradient: Gradient<T::Lane>,
    dst: &'a Shared<'a, MaybeUninit<T>>,
    unit: usize,
}

impl<T: RowElement> Program for Differentiate<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let mut tile = Tile::new(3 * BLOCK);
        let planes = self.units.planes;
        let (group, range) = self.units.nth(self.unit);
        for piece in planes.pieces(range, true) {
            let start = planes.start(group, piece.plane);
            let scale = T::Lane::of(self.scale * self.affine.weight(start / planes.inner % planes.channels));
            let at = start + piece.start..start + piece.start + piece.len;
            // SAFETY: units are disjoint, and so are the pieces of one.
            let dst = unsafe { self.dst.piece(at.clone()) };
            let gradient = self.gradient;
            write_pairs(
                simd,
                [&self.src[at.clone()], &self.grad[at]],
                tile.get(),
                dst,
                #[inline(always)]
                |x, grad, _| gradient.of(grad, scale, x),
            );
        }
    }
}

/// See [`backward`](super::backward).
pub(super) fn backward<T: RowElement>(
    exec: &Exec,
    planes: Planes,
    [src, grad]: [&[T]; 2],
    affine: Affine,
    all_kept: &[T::Lane],
    dst: Option<&mut [MaybeUninit<T>]>,
) -> [Vec<f64>; 2] {
    assert_eq!(all_kept.len(), KEPT * planes.groups, "numbers of each group");
    let parts = planes.parts();
    let units = Units { planes, parts };
    // Sums of a group, and its planes' channels.
    let each = if planes.are_neighbours() { planes.count } else { parts };
    let channel = |group: usize, index: usize| {
        if planes.are_neighbours() {
            (group * planes.count + index) % planes.channels
        } else {
            group
        }
    };
    let mut sums = vec![[0.0; 2]; planes.groups * each];
    let shared_sums = Shared::new(&mut sums);
    let mut none = [];
    let writes = dst.is_some();
    let dst = &Shared::new(dst.unwrap_or(&mut none));
    let differentiate = |unit: usize, sums: &[[f64; 2]]| {
        let group = units.nth(unit).0;
        let centre = kept(all_kept, group);
        let weighted = sums.iter().enumerate().fold([0.0; 2], |all, (index, sums)| {
            let weight = affine.weight(channel(group, index));
            [all[0] + weight * sums[0], all[1] + weight * sums[1]]
        });
        exec.isa.run(Differentiate {
            units,
            src,
            grad,
            affine,
            scale: centre.scale,
            gradient: centre.gradient(planes.len() as f64, weighted),
            dst,
            unit,
        });
    };
    let (team, grain) = units.team(exec, 3 * size_of::<T>());
    team.run(units.count(), grain, &|range| {
        for unit in range {
            let (group, its) = units.nth(unit);
            let part = unit % parts;
            let its = if planes.are_neighbours() { its } else { part..part + 1 };
            // SAFETY: units are disjoint, and so are their sums.
            let sums = unsafe { shared_sums.piece(group * each + its.start..group * each + its.end) };
            exec.isa.run(Sums {
                units,
                src,
                grad,
                kept: all_kept,
                unit,
                found: sums,
            });
            if parts == 1 && writes {
                differentiate(unit, sums);
            }
        }
    });
    if parts > 1 && writes {
        team.run(units.count(), grain, &|range| {
            for unit in range {
                let group = units.nth(unit).0;
                differentiate(unit, &sums[group * each..(group + 1) * each]);
            }
        });
    }
    let mut gradients = [vec![0.0; planes.channels], vec![0.0; planes.channels]];
    for (group, sums) in sums.chunks_exact(each).enumerate() {
        let centre = kept(all_kept, group);
        for (index, [first, second]) in sums.iter().enumerate() {
            let channel = channel(group, index);
            gradients[0][channel] += centre.scale * (second - centre.low * first);
            gradients[1][channel] += first;
        }
    }
    gradients
}
