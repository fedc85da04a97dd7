//! What moves, chooses or finds elements of tensors of any type.

pub mod compare;
pub mod contiguous;
pub mod gather;
pub mod histc;
pub mod index_put;
pub mod index_select;
pub mod isin;
pub mod masked_fill;
pub mod masked_scatter;
pub mod scatter;
pub mod searchsorted;
pub mod take;
pub mod where_self;

use core::{mem::MaybeUninit, ops::Range};

use crate::{
    dtype::{Bits, DType, Target, View, ViewMut, Word},
    kernel::{Exec, Strided, every_type},
    layout::{self, Layout, MAX_DIMS},
    parallel::split_mut,
};

/// Instructions for an element that is chosen, and for one that waits for memory, for the choice of threads.
const CHOOSES: usize = 4;
const WAITS: usize = 40;

/// Why an index is stock torch's to judge.
const OUT_OF_RANGE: &str = "an index out of range";

/// The tensor at `index`.
fn tensor<'a>(tensors: &[Option<Strided<'a>>], index: usize) -> Result<Strided<'a>, &'static str> {
    tensors.get(index).copied().flatten().ok_or("a tensor is missing")
}

/// The same of indices, of 64 bits, with their slice from the first to the last in memory.
fn indices<'a>(tensors: &[Option<Strided<'a>>], index: usize) -> Result<(&'a Layout, &'a [i64]), &'static str> {
    let tensor = tensor(tensors, index)?;
    match tensor.elements {
        View::I64(indices) => Ok((tensor.layout, indices)),
        _ => Err("no indices of 64 bits"),
    }
}

/// A dimension as the first number says.
fn wrapped(layout: &Layout, numbers: &[f64]) -> Result<usize, &'static str> {
    let dim = numbers.first().ok_or("no dimension")?;
    let dim = layout.wrap_dim(*dim as i64).ok_or("no such dimension")?;
    if layout.sizes().is_empty() {
        Err("no dimension")
    } else {
        Ok(dim)
    }
}

/// The place that an index names, `size` or more where there is none; with `WRAPS`, negative ones count from the end.
#[inline(always)]
fn place<const WRAPS: bool>(index: i64, size: usize) -> usize {
    (if WRAPS && index < 0 {
        index.wrapping_add(size as i64)
    } else {
        index
    }) as usize
}

/// Writes the elements that indices name, and tells whether all are in range: it stops at the first that is not. A loop that
/// may stop is not made into instructions that gather, which are slower on many CPUs.
#[inline(always)]
fn pick<W: Copy, const WRAPS: bool>(src: &[W], index: &[i64], dst: &mut [MaybeUninit<W>]) -> bool {
    for (dst, &index) in dst.iter_mut().zip(index) {
        let Some(&x) = src.get(place::<WRAPS>(index, src.len())) else {
            return false;
        };
        dst.write(x);
    }
    true
}

/// The sizes that tensors are broadcast to.
pub(in crate::ops) fn broadcast<const N: usize>(layouts: [&Layout; N]) -> Option<Layout> {
    let (first, others) = layouts.split_first()?;
    if others.iter().all(|other| other.sizes() == first.sizes()) {
        return Some(**first);
    }
    let (sizes, ndim) = layout::broadcast(layouts.map(Layout::sizes))?;
    Layout::contiguous(&sizes[..ndim])
}

/// Tensors that are walked together, row by row of memory: how the index of an element of a row-major result says where
/// those of the tensors that are broadcast to it are.
#[derive(Clone, Debug)]
pub(in crate::ops) struct Walk<const N: usize> {
    /// From the innermost on, without those of size 1; neighbours that all tensors step over alike are one.
    sizes: [usize; MAX_DIMS],
    strides: [[usize; N]; MAX_DIMS],
    ndim: usize,
}

impl<const N: usize> Walk<N> {
    /// `None` where a tensor is not broadcast to these sizes.
    pub(in crate::ops) fn new(sizes: &[i64], layouts: [&Layout; N]) -> Option<Self> {
        let mut walk = Self {
            sizes: [1; MAX_DIMS],
            strides: [[0; N]; MAX_DIMS],
            ndim: 0,
        };
        if layouts.iter().any(|layout| layout.sizes().len() > sizes.len()) {
            return None;
        }
        for (back, &size) in (1..).zip(sizes.iter().rev()) {
            let mut strides = [0; N];
            for (stride, layout) in strides.iter_mut().zip(layouts) {
                let Some(dim) = layout.sizes().len().checked_sub(back) else {
                    continue;
                };
                match layout.sizes()[dim] {
                    1 => {}
                    its if its == size => *stride = layout.strides()[dim] as usize,
                    _ => return None,
                }
            }
            if size != 1 {
                walk.push(size as usize, strides);
            }
        }
        Some(walk)
    }

    fn push(&mut self, size: usize, strides: [usize; N]) {
        if let Some(last) = self.ndim.checked_sub(1) {
            let inner = self.sizes[last];
            if (0..N).all(|i| self.strides[last][i] * inner == strides[i]) {
                self.sizes[last] *= size;
                return;
            }
        }
        self.sizes[self.ndim] = size;
        self.strides[self.ndim] = strides;
        self.ndim += 1;
    }

    /// Length of a row.
    fn row(&self) -> usize {
        self.sizes[0]
    }

    /// How each tensor steps along a row.
    pub(in crate::ops) fn steps(&self) -> [usize; N] {
        self.strides[0]
    }

    /// Whether every tensor has a row's elements side by side, or one for all of it.
    fn has_plain_rows(&self) -> bool {
        self.steps().iter().all(|&step| step <= 1)
    }

    /// Calls `body` with each piece of a row, as indices of the result, and where its first element is in each tensor.
    #[inline(always)]
    #[allow(clippy::needless_range_loop)] // over three arrays
    pub(in crate::ops) fn each(&self, range: Range<usize>, mut body: impl FnMut(Range<usize>, [usize; N])) {
        let row = self.row();
        let (mut at, mut places) = (range.start, [0; MAX_DIMS]);
        let mut rest = range.start / row;
        let mut first = [0; N];
        for dim in 1..self.ndim {
            places[dim] = rest % self.sizes[dim];
            rest /= self.sizes[dim];
            for (first, stride) in first.iter_mut().zip(self.strides[dim]) {
                *first += places[dim] * stride;
            }
        }
        let mut column = range.start % row;
        while at < range.end {
            let len = (row - column).min(range.end - at);
            let starts = core::array::from_fn(|i| first[i] + column * self.strides[0][i]);
            body(at..at + len, starts);
            at += len;
            column = 0;
            for dim in 1..self.ndim {
                places[dim] += 1;
                let turns = places[dim] == self.sizes[dim];
                let back = if turns { places[dim] - 1 } else { 0 };
                for (first, stride) in first.iter_mut().zip(self.strides[dim]) {
                    *first = if turns { *first - back * stride } else { *first + stride };
                }
                if !turns {
                    break;
                }
                places[dim] = 0;
            }
        }
    }
}

/// The elements of one or more rows: side by side, or one for all.
#[derive(Clone, Copy)]
enum Run<'a, T> {
    Each(&'a [T]),
    One(T),
}

impl<'a, T: Copy> Run<'a, T> {
    /// From `start` on, `len` of them, by the step along a row.
    #[inline(always)]
    fn of(elements: &'a [T], start: usize, step: usize, len: usize) -> Self {
        if step == 0 {
            Self::One(elements[start])
        } else {
            Self::Each(&elements[start..start + len])
        }
    }

    /// As many elements as are chosen together, if it has them side by side from `start` on; `one` is the one for all.
    #[inline(always)]
    fn chosen<'b>(&self, start: usize, one: &'b [T; CHOSEN]) -> Option<&'b [T; CHOSEN]>
    where
        'a: 'b,
    {
        match self {
            Self::Each(src) => src[start..].first_chunk(),
            Self::One(_) => Some(one),
        }
    }

    /// The one for all, or the last ones from `start` on, fewer than are chosen together.
    #[inline(always)]
    fn last(&self, start: usize) -> [T; CHOSEN]
    where
        T: Default,
    {
        let mut last = [T::default(); CHOSEN];
        match self {
            Self::Each(src) => last[..src.len() - start].copy_from_slice(&src[start..]),
            Self::One(x) => last.fill(*x),
        }
        last
    }
}

/// The slices of a width.
trait Width: Sized {
    fn of(bits: Bits<'_>) -> Option<&[Self]>;
}

macro_rules! width {
    ($($bits:ty: $width:ident),*) => {
        $(impl Width for $bits {
            fn of(bits: Bits<'_>) -> Option<&[Self]> {
                if let Bits::$width(slice) = bits { Some(slice) } else { None }
            }
        })*
    };
}
width!(u8: W1, u16: W2, u32: W4, u64: W8);

/// A condition's or a mask's elements.
fn truths<'a>(condition: &Strided<'a>) -> Result<&'a [u8], &'static str> {
    match (condition.elements, condition.elements.bits()) {
        (View::Bool(_), Bits::W1(truths)) => Ok(truths),
        _ => Err("no condition"),
    }
}

#[inline(always)]
fn copy<W: Copy>(src: Run<W>, dst: &mut [MaybeUninit<W>]) {
    match src {
        Run::Each(src) => {
            dst.write_copy_of_slice(src);
        }
        Run::One(x) => dst.fill(MaybeUninit::new(x)),
    }
}

/// Elements that are chosen together: a loop of a length that is known is one of registers.
const CHOSEN: usize = 64;

#[inline(always)]
fn choose<W: Word>(truths: &[u8], on: Run<W>, off: Run<W>, dst: &mut [MaybeUninit<W>]) {
    let len = dst.len() / CHOSEN * CHOSEN;
    let (ones, offs) = (on.last(len), off.last(len));
    let (whole, rest) = dst.as_chunks_mut::<CHOSEN>();
    for ((i, dst), truths) in whole.iter_mut().enumerate().zip(truths.as_chunks().0) {
        let start = i * CHOSEN;
        if let (Some(on), Some(off)) = (on.chosen(start, &ones), off.chosen(start, &offs)) {
            choose_all(truths, on, off, dst);
        }
    }
    if !rest.is_empty() {
        let (mut last, mut chosen) = ([0; CHOSEN], [MaybeUninit::uninit(); CHOSEN]);
        last[..rest.len()].copy_from_slice(&truths[len..]);
        choose_all(&last, &ones, &offs, &mut chosen);
        rest.copy_from_slice(&chosen[..rest.len()]);
    }
}

#[inline(always)]
fn choose_all<W: Word>(truths: &[u8; CHOSEN], on: &[W; CHOSEN], off: &[W; CHOSEN], dst: &mut [MaybeUninit<W>; CHOSEN]) {
    for (((dst, &truth), &on), &off) in dst.iter_mut().zip(truths).zip(on).zip(off) {
        dst.write(W::choose(truth != 0, on, off));
    }
}

/// Writes all elements of `src` to `dst`, which is then initialized.
fn copied<'a>(exec: &Exec, src: View, dst: Target<'a>) -> ViewMut<'a> {
    fn copy<'a, T: Copy + Send + Sync>(exec: &Exec, src: &[T], dst: &'a mut [MaybeUninit<T>]) -> &'a mut [T] {
        let (team, grain) = exec.team(dst.len(), 2 * size_of::<T>(), 0);
        split_mut(team, dst, 1, grain, &|start, dst| {
            dst.write_copy_of_slice(&src[start..start + dst.len()]);
        });
        // SAFETY: every piece was written.
        unsafe { dst.assume_init_mut() }
    }
    every_type!((src: View, dst: Target) => ViewMut::from(copy(exec, src, dst)))
}

/// A number that stands for a tensor, as bits of an element.
fn scalar(dtype: DType, numbers: &[f64], index: usize) -> Result<u64, &'static str> {
    let number = numbers.get(index).ok_or("no number")?;
    dtype.bits_of(*number).ok_or("a number that no element is")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Every element of the result is visited once, in order, and finds its own of a broadcast tensor.
        #[test]
        fn broadcast_tensors_are_walked(
            sizes in prop::collection::vec(1_i64..5, 0..6), ones in any::<u8>(), drop in 0_usize..4, cut in 0_usize..200,
        ) {
            let mine: Vec<i64> = sizes.iter().enumerate().map(|(i, &size)| if ones >> i & 1 == 1 { 1 } else { size }).collect();
            let mine = &mine[drop.min(mine.len())..];
            let (whole, part) = (Layout::contiguous(&sizes).unwrap(), Layout::contiguous(mine).unwrap());
            let walk = Walk::new(&sizes, [&whole, &part]).unwrap();
            let len = whole.numel();
            let mut next = 0;
            for range in [0..cut.min(len), cut.min(len)..len] {
                walk.each(range, |run, [a, b]| {
                    for (i, at) in run.enumerate() {
                        assert_eq!(at, next);
                        next += 1;
                        assert_eq!(a + i * walk.steps()[0], at);
                        let (mut rest, mut place, mut step) = (at, 0, 1);
                        for back in 1..=sizes.len() {
                            let size = sizes[sizes.len() - back] as usize;
                            let index = rest % size;
                            rest /= size;
                            if let Some(dim) = mine.len().checked_sub(back) {
                                let its = mine[dim] as usize;
                                place += if its == 1 { 0 } else { index * step };
                                step *= its;
                            }
                        }
                        assert_eq!(b + i * walk.steps()[1], place);
                    }
                });
            }
            prop_assert_eq!(next, len);
        }
    }

    #[test]
    fn what_is_not_broadcast_is_refused() {
        let layout = |sizes: &[i64]| Layout::contiguous(sizes).unwrap();
        assert!(Walk::new(&[3, 4], [&layout(&[3])]).is_none());
        assert!(Walk::new(&[3, 4], [&layout(&[1, 3, 4])]).is_none());
        assert!(Walk::new(&[3, 4], [&layout(&[4])]).is_some());
    }
}
