//! Arithmetic and comparisons of two tensors that are broadcast to one another, or of a tensor and a number.
//!
//! ```
//! use rusttorch_core::{
//!     isa::Isa, kernel::{Exec, Strided}, layout::Layout, ops::arithmetic::{Number, Side, add, mul}, parallel::Serial,
//! };
//!
//! let exec = Exec::new(Isa::detect(), &Serial);
//! let (column, row) = (Layout::contiguous(&[2, 1]).unwrap(), Layout::contiguous(&[3]).unwrap());
//! let (a, b) = ([10.0_f32, 20.0], [1.0_f32, 2.0, 3.0]);
//! let sides = [
//!     Side::Tensor(Strided { layout: &column, elements: (&a[..]).into() }),
//!     Side::Tensor(Strided { layout: &row, elements: (&b[..]).into() }),
//! ];
//! let mut sums = [0.0_f32; 6];
//! add::add(&exec, sides, Number::Whole(1), (&mut sums[..]).into(), &[2, 3]);
//! assert_eq!(sums, [11.0, 12.0, 13.0, 21.0, 22.0, 23.0]);
//!
//! let mut halves = [0.0_f32; 2];
//! mul::mul(&exec, [sides[0], Side::Number(Number::Real(0.5))], (&mut halves[..]).into(), &[2, 1]);
//! assert_eq!(halves, [5.0, 10.0]);
//! ```

pub mod add;
pub mod compare;
pub mod div;
pub mod floor_divide;
pub mod mul;
pub mod pow;
pub mod remainder;

use core::mem::MaybeUninit;

use half::{bf16, f16};

use super::index::Walk;
use crate::{
    dtype::{Arithmetic, Bool, Compared, Element, Target, Typed, ViewMut, as_uninit},
    float::Float,
    isa::{Baseline, Program, Simd},
    kernel::{Exec, Strided},
    layout::Layout,
    parallel::split_mut,
};

/// A number that stands for a tensor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    /// An integer.
    Whole(i64),
    /// A floating-point number.
    Real(f64),
}

impl Number {
    /// As a floating-point number.
    #[must_use]
    pub fn real(self) -> f64 {
        match self {
            Self::Whole(x) => x as f64,
            Self::Real(x) => x,
        }
    }

    /// As an integer, towards zero.
    #[must_use]
    pub fn whole(self) -> i64 {
        match self {
            Self::Whole(x) => x,
            Self::Real(x) => x as i64,
        }
    }
}

/// What stands on one side of the operation.
#[derive(Clone, Copy, Debug)]
pub enum Side<'a> {
    /// Elements of the result's type, or for a comparison of the other side's.
    Tensor(Strided<'a>),
    /// For elements of half precision it is not rounded to that.
    Number(Number),
}

impl<'a> Side<'a> {
    fn layout(&self) -> &'a Layout {
        match self {
            Self::Tensor(tensor) => tensor.layout,
            Self::Number(_) => &Layout::SCALAR,
        }
    }

    fn source<T: Item>(self) -> Source<'a, T> {
        match self {
            Self::Tensor(tensor) => {
                Source::Elements(T::slice(tensor.elements).expect("the sides have one element type"))
            }
            Self::Number(number) => Source::Number(T::number_of(number)),
        }
    }
}

/// An operation on two numbers of a type. Every method is marked `#[inline(always)]`.
trait Function: Copy + Send + Sync + 'static {
    /// Floating-point instructions of one element, for the choice of threads.
    const FLOPS: usize;

    /// On floating-point numbers.
    fn reals<F: Float>(self, a: F, b: F) -> F;
    /// On integers, which wrap around.
    fn wholes<I: Integer>(self, a: I, b: I) -> I;
    /// On what is true or false.
    fn truths(self, a: bool, b: bool) -> bool;
}

/// An integer.
trait Integer: Arithmetic {
    fn of(x: i64) -> Self;
}

macro_rules! integers {
    ($($integer:ident),*) => {
        $(impl Integer for $integer {
            #[inline(always)]
            fn of(x: i64) -> Self {
                x as Self
            }
        })*
    };
}
integers!(i64, i32, i16, i8, u8);

/// An element type: what it is compared as is what it is computed in.
trait Item: Compared + Typed + Send + 'static {
    /// Whether it is a floating-point number.
    const REAL: bool;

    /// A number as such elements are computed in.
    fn number_of(number: Number) -> Self::As;

    /// `dst[i] = f(a[i], b[i])`.
    fn zip<S: Simd, F: Function>(simd: S, f: F, a: Run<Self>, b: Run<Self>, dst: &mut [MaybeUninit<Self>]);

    /// `buf[i] = f(buf[i], b)`.
    fn change<S: Simd, F: Function>(simd: S, f: F, buf: &mut [Self], b: Self::As);
}

/// The elements of a row: side by side, or one for all.
enum Run<'a, T: Compared> {
    Each(&'a [T]),
    One(T::As),
}

macro_rules! items {
    ($kind:ident: $($element:ident),*) => {
        $(impl Item for $element {
            const REAL: bool = items!(@real $kind);

            #[inline(always)]
            fn number_of(number: Number) -> Self::As {
                items!(@number $kind $element number)
            }

            #[inline(always)]
            fn zip<S: Simd, F: Function>(simd: S, f: F, a: Run<Self>, b: Run<Self>, dst: &mut [MaybeUninit<Self>]) {
                items!(@zip $kind simd f a b dst)
            }

            #[inline(always)]
            fn change<S: Simd, F: Function>(simd: S, f: F, buf: &mut [Self], b: Self::As) {
                items!(@change $kind simd f buf b)
            }
        })*
    };
    (@real reals) => { true };
    (@real wholes) => { false };
    (@number reals $element:ident $number:ident) => { Float::of($number.real()) };
    (@number wholes $element:ident $number:ident) => { $number.whole() as $element };
    (@change reals $simd:ident $f:ident $buf:ident $b:ident) => {
        Self::map_inplace($simd, $buf, #[inline(always)] |a| $f.reals(a, $b))
    };
    (@change wholes $simd:ident $f:ident $buf:ident $b:ident) => {{
        let _ = $simd;
        for x in $buf {
            *x = $f.wholes(*x, $b);
        }
    }};
    (@zip reals $simd:ident $f:ident $a:ident $b:ident $dst:ident) => {
        match ($a, $b) {
            (Run::Each(a), Run::Each(b)) => Self::zip_map($simd, a, b, $dst, #[inline(always)] |a, b| $f.reals(a, b)),
            (Run::Each(a), Run::One(b)) => Self::map($simd, a, $dst, #[inline(always)] |a| $f.reals(a, b)),
            (Run::One(a), Run::Each(b)) => Self::map($simd, b, $dst, #[inline(always)] |b| $f.reals(a, b)),
            (Run::One(a), Run::One(b)) => $dst.fill(MaybeUninit::new(Element::rounded($f.reals(a, b)))),
        }
    };
    (@zip wholes $simd:ident $f:ident $a:ident $b:ident $dst:ident) => {{
        let _ = $simd;
        match ($a, $b) {
            (Run::Each(a), Run::Each(b)) => {
                for ((dst, &a), &b) in $dst.iter_mut().zip(a).zip(b) {
                    dst.write($f.wholes(a, b));
                }
            }
            (Run::Each(a), Run::One(b)) => {
                for (dst, &a) in $dst.iter_mut().zip(a) {
                    dst.write($f.wholes(a, b));
                }
            }
            (Run::One(a), Run::Each(b)) => {
                for (dst, &b) in $dst.iter_mut().zip(b) {
                    dst.write($f.wholes(a, b));
                }
            }
            (Run::One(a), Run::One(b)) => $dst.fill(MaybeUninit::new($f.wholes(a, b))),
        }
    }};
}
items!(reals: f32, f64, bf16, f16);
items!(wholes: i64, i32, i16, i8, u8);

impl Item for Bool {
    const REAL: bool = false;

    #[inline(always)]
    fn number_of(number: Number) -> u8 {
        u8::from(number.real() != 0.0)
    }

    #[inline(always)]
    fn change<S: Simd, F: Function>(_: S, f: F, buf: &mut [Self], b: u8) {
        for x in buf {
            *x = Self(u8::from(f.truths(x.0 != 0, b != 0)));
        }
    }

    #[inline(always)]
    fn zip<S: Simd, F: Function>(_: S, f: F, a: Run<Self>, b: Run<Self>, dst: &mut [MaybeUninit<Self>]) {
        for (i, dst) in dst.iter_mut().enumerate() {
            dst.write(Self(u8::from(f.truths(a.at(i) != 0, b.at(i) != 0))));
        }
    }
}

impl<T: Item> Run<'_, T> {
    #[inline(always)]
    fn at(&self, i: usize) -> T::As {
        match self {
            Self::Each(elements) => elements[i].number(),
            Self::One(x) => *x,
        }
    }
}

/// What is done with rows of both sides.
trait Rows<T: Compared, D>: Copy + Sync {
    /// Whether it is worth compiling for each instruction set: what moves more bytes than it computes is as fast without.
    const COMPUTES: bool;

    fn row<S: Simd>(self, simd: S, a: Run<T>, b: Run<T>, dst: &mut [MaybeUninit<D>]);
}

/// A [`Function`] as that.
#[derive(Clone, Copy)]
struct Computed<F>(F);

impl<T: Item, F: Function> Rows<T, T> for Computed<F> {
    const COMPUTES: bool = T::REAL;

    #[inline(always)]
    fn row<S: Simd>(self, simd: S, a: Run<T>, b: Run<T>, dst: &mut [MaybeUninit<T>]) {
        T::zip(simd, self.0, a, b, dst);
    }
}

/// Elements that are gathered where they do not lie side by side.
const TILE: usize = 256;

/// One side's elements, from the first in memory on, or a number.
#[derive(Clone, Copy)]
enum Source<'a, T: Compared> {
    Elements(&'a [T]),
    Number(T::As),
}

impl<T: Item> Source<'_, T> {
    /// Those of a row of `len` from `start` on, `step` apart, by way of a tile where they are more than one apart.
    #[inline(always)]
    fn run<'b>(&'b self, start: usize, step: usize, len: usize, tile: &'b mut [T; TILE]) -> Run<'b, T> {
        match *self {
            Self::Number(x) => Run::One(x),
            Self::Elements(elements) if step == 0 => Run::One(elements[start].number()),
            Self::Elements(elements) if step == 1 => Run::Each(&elements[start..start + len]),
            Self::Elements(elements) => {
                for (i, x) in tile[..len].iter_mut().enumerate() {
                    *x = elements[start + i * step];
                }
                Run::Each(&tile[..len])
            }
        }
    }
}

/// A part of the result.
struct Part<'a, T: Compared, D, R> {
    rows: R,
    walk: &'a Walk<2>,
    sources: [Source<'a, T>; 2],
    start: usize,
    dst: &'a mut [MaybeUninit<D>],
}

impl<T: Item, D, R: Rows<T, D>> Program for Part<'_, T, D, R> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (start, steps) = (self.start, self.walk.steps());
        let mut tiles = [[T::ANY; TILE]; 2];
        let most = if steps.iter().all(|&step| step <= 1) {
            usize::MAX
        } else {
            TILE
        };
        self.walk.each(start..start + self.dst.len(), |run, at| {
            let dst = &mut self.dst[run.start - start..run.end - start];
            let mut done = 0;
            for dst in dst.chunks_mut(most.min(dst.len())) {
                let [left, right] = &mut tiles;
                let a = self.sources[0].run(at[0] + done * steps[0], steps[0], dst.len(), left);
                let b = self.sources[1].run(at[1] + done * steps[1], steps[1], dst.len(), right);
                self.rows.row(simd, a, b, dst);
                done += dst.len();
            }
        });
    }
}

/// Writes the result of `sizes`, which both sides are broadcast to.
fn run<T: Item, D: Send, R: Rows<T, D>>(
    exec: &Exec,
    rows: R,
    flops: usize,
    sides: [Side; 2],
    dst: &mut [MaybeUninit<D>],
    sizes: &[i64],
) {
    assert_eq!(
        dst.len() as i64,
        sizes.iter().product::<i64>(),
        "the result has another number of elements than its sizes say"
    );
    if dst.is_empty() {
        return;
    }
    let layouts = sides.each_ref().map(Side::layout);
    let walk = Walk::new(sizes, layouts).expect("the sides are broadcast to the result's sizes");
    let sources = sides.map(Side::source::<T>);
    let (team, grain) = exec.team(dst.len(), 2 * size_of::<T>() + size_of::<D>(), flops);
    split_mut(team, dst, 1, grain, &|start, dst| {
        let part = Part {
            rows,
            walk: &walk,
            sources,
            start,
            dst,
        };
        if R::COMPUTES {
            exec.isa.run(part);
        } else {
            part.run(Baseline);
        }
    });
}

/// A part of what is changed in place.
struct Update<'a, T: Compared, F> {
    function: F,
    walk: &'a Walk<1>,
    other: Source<'a, T>,
    start: usize,
    buf: &'a mut [T],
}

impl<T: Item, F: Function> Program for Update<'_, T, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (start, [step]) = (self.start, self.walk.steps());
        let (mut own, mut tile) = ([T::ANY; TILE], [T::ANY; TILE]);
        self.walk.each(start..start + self.buf.len(), |run, [at]| {
            let buf = &mut self.buf[run.start - start..run.end - start];
            if let Source::Number(b) = self.other {
                T::change(simd, self.function, buf, b);
                return;
            }
            let mut done = 0;
            for buf in buf.chunks_mut(TILE) {
                let own = &mut own[..buf.len()];
                own.copy_from_slice(buf);
                let other = self.other.run(at + done * step, step, buf.len(), &mut tile);
                T::zip(simd, self.function, Run::Each(own), other, as_uninit(buf));
                done += buf.len();
            }
        });
    }
}

/// Makes each element of `buf`, which is row-major and of `sizes`, the `function` of itself and the other side's, which is
/// broadcast to it.
fn update<T: Item, F: Function>(exec: &Exec, function: F, buf: &mut [T], other: Side, sizes: &[i64]) {
    assert_eq!(
        buf.len() as i64,
        sizes.iter().product::<i64>(),
        "what is changed has another number of elements than its sizes say"
    );
    if buf.is_empty() {
        return;
    }
    let walk = Walk::new(sizes, [other.layout()]).expect("the other side is broadcast to the sizes");
    let other = other.source();
    let (team, grain) = exec.team(buf.len(), 3 * size_of::<T>(), F::FLOPS);
    split_mut(team, buf, 1, grain, &|start, buf| {
        let part = Update {
            function,
            walk: &walk,
            other,
            start,
            buf,
        };
        if T::REAL {
            exec.isa.run(part);
        } else {
            part.run(Baseline);
        }
    });
}

/// [`update`] of elements of any type.
fn replace<F: Function>(exec: &Exec, function: F, buf: ViewMut, other: Side, sizes: &[i64]) {
    crate::kernel::every_type!((buf: ViewMut) => update(exec, function, buf, other, sizes));
}

/// `function` of both sides, of the result's type.
fn compute<F: Function>(exec: &Exec, function: F, sides: [Side; 2], dst: Target, sizes: &[i64]) {
    crate::kernel::every_type!((dst: Target) => run(exec, Computed(function), F::FLOPS, sides, dst, sizes));
}

#[cfg(test)]
pub(super) mod test {
    use super::*;
    use crate::{isa::Isa, parallel::test::Halves};

    /// Checks an operation on every instruction set against a function of two numbers, over shapes and strides that are
    /// broadcast, and numbers in the place of tensors.
    pub(in crate::ops::arithmetic) fn check<T: Item, D: Copy + Default + PartialEq + core::fmt::Debug>(
        elements: &[T],
        number: Number,
        of: impl Fn(&Exec, [Side; 2], &mut [MaybeUninit<D>], &[i64]),
        expected: impl Fn(T::As, T::As) -> D,
    ) where
        for<'a> &'a [T]: Into<crate::dtype::View<'a>>,
    {
        let cases: [[&[i64]; 5]; 8] = [
            [&[], &[], &[], &[], &[]],
            [&[70], &[70], &[1], &[70], &[1]],
            [&[3, 5], &[3, 5], &[5, 1], &[5], &[1]],
            [&[3, 5], &[3, 1], &[1, 1], &[1, 5], &[5, 1]],
            [&[4, 6], &[4, 6], &[1, 4], &[4, 6], &[6, 1]],
            [&[2, 3, 4], &[2, 3, 4], &[12, 4, 1], &[3, 1], &[2, 1]],
            [&[2, 300], &[300], &[2], &[2, 300], &[300, 1]],
            [&[2, 0, 4], &[2, 0, 4], &[0, 4, 1], &[4], &[1]],
        ];
        for isa in Isa::available() {
            let exec = Exec::new(isa, &Halves);
            for [sizes, a_sizes, a_strides, b_sizes, b_strides] in cases {
                let (a, b) = (
                    Layout::new(a_sizes, a_strides).unwrap(),
                    Layout::new(b_sizes, b_strides).unwrap(),
                );
                let side = |layout| {
                    Side::Tensor(Strided {
                        layout,
                        elements: elements.into(),
                    })
                };
                let result = Layout::contiguous(sizes).unwrap();
                for sides in [
                    [side(&a), side(&b)],
                    [side(&a), Side::Number(number)],
                    [Side::Number(number), side(&b)],
                ] {
                    let mut dst = vec![D::default(); result.numel()];
                    of(&exec, sides, as_uninit(&mut dst), sizes);
                    for (index, &found) in dst.iter().enumerate() {
                        let [x, y] = sides.map(|side| match side {
                            Side::Number(number) => T::number_of(number),
                            Side::Tensor(tensor) => elements[place(index, sizes, tensor.layout)].number(),
                        });
                        assert_eq!(found, expected(x, y), "{} {sizes:?} {index}", isa.name());
                    }
                }
            }
        }
    }

    /// The same in place, where the other side is of shapes and strides that are broadcast, or a number.
    pub(in crate::ops::arithmetic) fn check_inplace<T: Item + PartialEq + core::fmt::Debug>(
        elements: &[T],
        number: Number,
        of: impl Fn(&Exec, &mut [T], Side, &[i64]),
        expected: impl Fn(T::As, T::As) -> T,
    ) where
        for<'a> &'a [T]: Into<crate::dtype::View<'a>>,
    {
        let cases: [[&[i64]; 3]; 6] = [
            [&[], &[], &[]],
            [&[600], &[600], &[1]],
            [&[3, 5], &[5], &[1]],
            [&[3, 5], &[3, 1], &[1, 1]],
            [&[2, 300], &[2, 300], &[1, 2]],
            [&[2, 0], &[1], &[1]],
        ];
        for isa in Isa::available() {
            let exec = Exec::new(isa, &Halves);
            for [sizes, its, strides] in cases {
                let layout = Layout::new(its, strides).unwrap();
                let tensor = Side::Tensor(Strided {
                    layout: &layout,
                    elements: elements.into(),
                });
                for side in [tensor, Side::Number(number)] {
                    let len = sizes.iter().product::<i64>() as usize;
                    let mut buf = elements[7..7 + len].to_vec();
                    of(&exec, &mut buf, side, sizes);
                    for (index, &found) in buf.iter().enumerate() {
                        let other = match side {
                            Side::Number(number) => T::number_of(number),
                            Side::Tensor(tensor) => elements[place(index, sizes, tensor.layout)].number(),
                        };
                        assert_eq!(
                            found,
                            expected(elements[7 + index].number(), other),
                            "{} {sizes:?}",
                            isa.name()
                        );
                    }
                }
            }
        }
    }

    /// Where an element of a row-major result is in a tensor that is broadcast to it.
    fn place(mut index: usize, sizes: &[i64], layout: &Layout) -> usize {
        let mut place = 0;
        let mut dims = layout.sizes().iter().zip(layout.strides()).rev();
        for &size in sizes.iter().rev() {
            let at = index as i64 % size;
            index /= size as usize;
            if let Some((&its, &stride)) = dims.next() {
                place += if its == 1 { 0 } else { at * stride };
            }
        }
        place as usize
    }
}
