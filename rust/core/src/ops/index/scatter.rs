//! Elements along a dimension that an index each changes.

use core::{
    iter::repeat,
    marker::PhantomData,
    ops::Range,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};

use super::{OUT_OF_RANGE, WAITS, Walk, Width, copied, indices, place, tensor, wrapped};
use crate::{
    dtype::{Arithmetic, BitsMut, DType, Target, Typed, View, ViewMut, Word, each_width},
    isa::{Program, Simd},
    kernel::{Exec, IndexKernel, Strided},
    layout::{Layout, MAX_DIMS},
    parallel::Shared,
};

/// Bytes of rows that are gone through together where the indices of one row are far from another; a multiple of so many rows,
/// and so many of their elements for an index at most.
const CACHED: usize = 1 << 19;
const STRIP: usize = 32;
const SPARSE: usize = 4;

/// What comes in the place of elements.
#[derive(Clone, Copy)]
pub(super) enum Source<'a> {
    Elements(View<'a>),
    /// The bits of one for all.
    Value(u64),
}

/// Where an element is that an index changes, that index, and the element that it is changed by: of rows along a dimension.
#[derive(Clone)]
pub(super) struct Plan {
    /// Over rows: where each has its first element, index and source.
    rows: Walk<3>,
    count: usize,
    /// Indices in a row.
    len: usize,
    /// How the three step along a row.
    steps: [usize; 3],
    /// Size of the input's dimension.
    size: usize,
}

impl Plan {
    /// There may be fewer indices than there are elements and sources along any dimension, but the input's own.
    pub(super) fn new(input: &Layout, index: &Layout, source: &Layout, dim: usize) -> Result<Self, &'static str> {
        const UNFIT: &str = "sizes that do not fit";
        let ndim = input.sizes().len();
        if index.sizes().len() != ndim || source.sizes().len() != ndim {
            return Err(UNFIT);
        }
        let mut sizes = [1; MAX_DIMS];
        for (d, &its) in index.sizes().iter().enumerate() {
            if its > source.sizes()[d] || (d != dim && its > input.sizes()[d]) {
                return Err(UNFIT);
            }
            if d != dim {
                sizes[d] = its;
            }
        }
        let rows = |layout: &Layout| Layout::new(&sizes[..ndim], layout.strides()).ok_or("too many elements");
        let layouts = [&rows(input)?, &rows(index)?, &rows(source)?];
        Ok(Self {
            rows: Walk::new(&sizes[..ndim], layouts).ok_or(UNFIT)?,
            count: layouts[1].numel(),
            len: index.sizes()[dim] as usize,
            steps: [input, index, source].map(|layout| layout.strides()[dim] as usize),
            size: input.sizes()[dim] as usize,
        })
    }

    /// The same, with one source for all.
    fn of_one(&self) -> Self {
        let mut plan = self.clone();
        plan.steps[2] = 0;
        for [.., source] in &mut plan.rows.strides {
            *source = 0;
        }
        plan
    }
}

/// What `torch.scatter_reduce` makes of elements.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reduction {
    Sum,
    Product,
    Mean,
    Greatest,
    Least,
}

/// In the order of its documentation.
const REDUCTIONS: [Reduction; 5] = [
    Reduction::Sum,
    Reduction::Product,
    Reduction::Mean,
    Reduction::Greatest,
    Reduction::Least,
];

/// What becomes of an element, and of another from the source.
pub(super) trait Update<T>: Sync {
    fn update(own: T, other: T) -> T;
}

/// The other comes in its place.
pub(super) struct Put;
/// They are added, in the order of the indices.
pub(super) struct Sum;
/// They are multiplied.
struct Product;
/// The greater of them, or a NaN.
struct Greatest;
/// The smaller of them, or a NaN.
struct Smallest;

impl<T> Update<T> for Put {
    #[inline(always)]
    fn update(_: T, other: T) -> T {
        other
    }
}

/// Numbers that are reduced.
trait Number: Arithmetic + Typed + PartialOrd {
    const ONE: Self;
    const LEAST: Self;
    const GREATEST: Self;
}

macro_rules! numbers {
    ($($number:ident: $one:expr, $least:ident, $greatest:ident;)*) => {
        $(impl Number for $number {
            const ONE: Self = $one;
            const LEAST: Self = $number::$least;
            const GREATEST: Self = $number::$greatest;
        })*
    };
}
numbers!(
    f32: 1.0, NEG_INFINITY, INFINITY;
    f64: 1.0, NEG_INFINITY, INFINITY;
    i64: 1, MIN, MAX;
    i32: 1, MIN, MAX;
    i16: 1, MIN, MAX;
    i8: 1, MIN, MAX;
    u8: 1, MIN, MAX;
);

impl<T: Number> Update<T> for Sum {
    #[inline(always)]
    fn update(own: T, other: T) -> T {
        own.plus(other)
    }
}

impl<T: Number> Update<T> for Product {
    #[inline(always)]
    fn update(own: T, other: T) -> T {
        own.times(other)
    }
}

impl<T: Number> Update<T> for Greatest {
    #[inline(always)]
    #[allow(clippy::eq_op)]
    fn update(own: T, other: T) -> T {
        if other != other || own < other { other } else { own }
    }
}

impl<T: Number> Update<T> for Smallest {
    #[inline(always)]
    #[allow(clippy::eq_op)]
    fn update(own: T, other: T) -> T {
        if other != other || other < own { other } else { own }
    }
}

/// Changes rows of a plan.
struct Rows<'a, T, U, const WRAPS: bool> {
    plan: &'a Plan,
    range: Range<usize>,
    index: &'a [i64],
    src: &'a [T],
    buf: &'a Shared<'a, T>,
    update: PhantomData<U>,
}

impl<T: Copy + Send + Sync, U: Update<T>, const WRAPS: bool> Program for Rows<'_, T, U, WRAPS> {
    /// Whether all indices are in range; it may stop at the first that is not.
    type Output = bool;

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> bool {
        let (plan, range) = (self.plan, self.range.clone());
        let [step, index_step, _] = plan.steps;
        let [next, index_next, _] = plan.rows.steps();
        let (mut good, mut strip) = (true, Vec::new());
        plan.rows.each(
            range,
            #[inline(always)]
            |rows, starts| {
                let rows = rows.len();
                if index_next == 0 && next == 1 && rows > 1 {
                    good &= self.together(rows, starts);
                } else if index_step <= index_next || index_next == 0 || rows == 1 {
                    // In the order of the indices in memory.
                    for row in 0..rows {
                        good &= if step == 1 {
                            self.contiguous(starts, row)
                        } else {
                            (0..plan.len).all(
                                #[inline(always)]
                                |k| self.element(starts, row, k),
                            )
                        };
                    }
                } else {
                    let plain = [next, index_next] == [1, 1];
                    let width = CACHED / (plan.size * size_of::<T>()) / STRIP * STRIP;
                    if plain && width > 0 && plan.size <= SPARSE * plan.len {
                        for first in (0..rows).step_by(width) {
                            good &= self.strip(starts, first..rows.min(first + width), &mut strip);
                        }
                    } else {
                        for k in 0..plan.len {
                            for row in 0..rows {
                                good &= self.element(starts, row, k);
                            }
                        }
                    }
                }
            },
        );
        good
    }
}

impl<T: Copy + Send + Sync, U: Update<T>, const WRAPS: bool> Rows<'_, T, U, WRAPS> {
    /// Changes what an index of one row names.
    #[inline(always)]
    fn element(&self, [own, at, from]: [usize; 3], row: usize, k: usize) -> bool {
        let ([step, index_step, source_step], [next, index_next, source_next]) =
            (self.plan.steps, self.plan.rows.steps());
        let place = place::<WRAPS>(self.index[at + row * index_next + k * index_step], self.plan.size);
        if place >= self.plan.size {
            return false;
        }
        // SAFETY: no other thread has this row.
        let own = unsafe { self.buf.element(own + row * next + place * step) };
        *own = U::update(*own, self.src[from + row * source_next + k * source_step]);
        true
    }

    /// Changes what the indices of one row name, whose elements are side by side.
    #[inline(always)]
    fn contiguous(&self, [own, at, from]: [usize; 3], row: usize) -> bool {
        let ([_, index_step, source_step], [next, index_next, source_next]) = (self.plan.steps, self.plan.rows.steps());
        let (start, size, len) = (own + row * next, self.plan.size, self.plan.len);
        // SAFETY: no other thread has this row.
        let buf = unsafe { self.buf.piece(start..start + size) };
        let (index, src) = (
            &self.index[at + row * index_next..],
            &self.src[from + row * source_next..],
        );
        match [index_step, source_step] {
            [1, 1] => update::<_, U, WRAPS>(buf, index[..len].iter(), src[..len].iter()),
            [1, 0] => update::<_, U, WRAPS>(buf, index[..len].iter(), repeat(&src[0])),
            [_, 0] => update::<_, U, WRAPS>(buf, index.iter().step_by(index_step.max(1)).take(len), repeat(&src[0])),
            _ => update::<_, U, WRAPS>(
                buf,
                index.iter().step_by(index_step.max(1)).take(len),
                src.iter().step_by(source_step),
            ),
        }
    }

    /// Changes what the indices of a strip of rows name, the first of which are side by side, and so on: in a copy, since
    /// strides of a power of two leave no room for them in the caches.
    #[inline(always)]
    fn strip(&self, [own, at, from]: [usize; 3], rows: Range<usize>, copy: &mut Vec<T>) -> bool {
        let ([step, index_step, source_step], [_, _, source_next]) = (self.plan.steps, self.plan.rows.steps());
        let (size, src, width) = (self.plan.size, &self.src[from + rows.start * source_next..], rows.len());
        // SAFETY: no other thread has these rows.
        let piece = |place: usize| unsafe {
            self.buf
                .piece(own + place * step + rows.start..own + place * step + rows.end)
        };
        copy.clear();
        for place in 0..size {
            copy.extend_from_slice(piece(place));
        }
        for k in 0..self.plan.len {
            let index = &self.index[at + k * index_step + rows.start..][..width];
            let src = &src[k * source_step..];
            for (row, &index) in index.iter().enumerate() {
                let place = place::<WRAPS>(index, size);
                if place >= size {
                    return false;
                }
                let own = &mut copy[place * width + row];
                *own = U::update(*own, src[row * source_next]);
            }
        }
        for (place, copy) in copy.chunks_exact(width).enumerate() {
            piece(place).copy_from_slice(copy);
        }
        true
    }

    /// Changes rows that have their indices in common, and whose first elements are side by side, and so on.
    #[inline(always)]
    fn together(&self, rows: usize, [own, at, from]: [usize; 3]) -> bool {
        let ([step, index_step, source_step], [_, _, source_next]) = (self.plan.steps, self.plan.rows.steps());
        for k in 0..self.plan.len {
            let place = place::<WRAPS>(self.index[at + k * index_step], self.plan.size);
            if place >= self.plan.size {
                return false;
            }
            let (start, src) = (own + place * step, &self.src[from + k * source_step..]);
            // SAFETY: no other thread has these rows.
            let buf = unsafe { self.buf.piece(start..start + rows) };
            match source_next {
                0 => {
                    let other = src[0];
                    for own in buf {
                        *own = U::update(*own, other);
                    }
                }
                1 => {
                    for (own, &other) in buf.iter_mut().zip(&src[..rows]) {
                        *own = U::update(*own, other);
                    }
                }
                _ => {
                    for (own, &other) in buf.iter_mut().zip(src.iter().step_by(source_next)) {
                        *own = U::update(*own, other);
                    }
                }
            }
        }
        true
    }
}

/// Changes those of `buf` that indices name, and tells whether all are in range: it stops at the first that is not.
#[inline(always)]
fn update<'a, T: Copy + 'a, U: Update<T>, const WRAPS: bool>(
    buf: &mut [T],
    index: impl Iterator<Item = &'a i64>,
    src: impl Iterator<Item = &'a T>,
) -> bool {
    let size = buf.len();
    for (&index, &other) in index.zip(src) {
        let Some(own) = buf.get_mut(place::<WRAPS>(index, size)) else {
            return false;
        };
        *own = U::update(*own, other);
    }
    true
}

/// Changes elements of `buf`, and tells whether all indices are in range: where they are not, some may have been changed.
fn run<T: Copy + Send + Sync, U: Update<T>, const WRAPS: bool>(
    exec: &Exec,
    plan: &Plan,
    index: &[i64],
    src: &[T],
    buf: &mut [T],
) -> bool {
    let buf = Shared::new(buf);
    let bad = AtomicBool::new(false);
    let waits = if plan.rows.steps()[..2] == [1, 0] {
        WAITS / plan.rows.row().max(1)
    } else {
        WAITS
    };
    let (team, grain) = exec.team(plan.count, plan.len * (8 + 3 * size_of::<T>()), plan.len * (1 + waits));
    team.run(plan.count, grain, &|range| {
        let rows = Rows::<_, U, WRAPS> {
            plan,
            range,
            index,
            src,
            buf: &buf,
            update: PhantomData,
        };
        if !exec.isa.run(rows) {
            bad.store(true, Relaxed);
        }
    });
    !bad.into_inner()
}

/// Puts a source's elements where indices say; with `WRAPS`, negative ones count from the end. Of several for one place,
/// the last one stays.
pub(super) fn put<const WRAPS: bool>(
    exec: &Exec,
    plan: &Plan,
    index: &[i64],
    source: Source,
    buf: ViewMut,
) -> Result<(), &'static str> {
    let buf = buf.bits();
    let good = each_width!((buf: BitsMut) => match source {
        Source::Elements(src) => {
            let src = Width::of(src.bits()).ok_or("tensors of several types")?;
            run::<_, Put, WRAPS>(exec, plan, index, src, buf)
        }
        Source::Value(bits) => run::<_, Put, WRAPS>(exec, plan, index, &[Word::truncated(bits)], buf),
    });
    if good { Ok(()) } else { Err(OUT_OF_RANGE) }
}

/// Whether all indices are in range.
pub(super) fn in_range<const WRAPS: bool>(exec: &Exec, index: &[i64], size: usize) -> bool {
    struct Check<'a, const WRAPS: bool>(&'a [i64], usize);

    impl<const WRAPS: bool> Program for Check<'_, WRAPS> {
        type Output = bool;

        #[inline(always)]
        fn run<S: Simd>(self, _: S) -> bool {
            let Self(index, size) = self;
            let (mut least, mut greatest) = (0, -1);
            for &index in index {
                least = index.min(least);
                greatest = index.max(greatest);
            }
            let size = size as i64;
            greatest < size && least >= if WRAPS { -size } else { 0 }
        }
    }

    let bad = AtomicBool::new(false);
    let (team, grain) = exec.team(index.len(), 8, 1);
    team.run(index.len(), grain, &|range| {
        if !exec.isa.run(Check::<WRAPS>(&index[range], size)) {
            bad.store(true, Relaxed);
        }
    });
    !bad.into_inner()
}

/// A tensor of slices' indices as one of their elements', of these sizes.
fn along(index: &Layout, sizes: &[i64], dim: usize) -> Result<Layout, &'static str> {
    let mut strides = [0; MAX_DIMS];
    match (index.sizes(), index.strides()) {
        ([count], [stride]) if *count == sizes[dim] => strides[dim] = *stride,
        _ => return Err("no index for each slice"),
    }
    Layout::new(sizes, &strides[..sizes.len()]).ok_or("too many elements")
}

/// `torch.scatter`, `torch.scatter_add`, `torch.scatter_reduce`, `torch.index_add`, `torch.index_copy` and `torch.index_fill`:
/// tensors of the input, row-major, of indices and of the source, both in any strides. The first number is the dimension.
pub struct Scatter {
    name: &'static str,
    /// Whether an index is a slice's, rather than an element's.
    slices: bool,
    source: Kind,
    rule: Rule,
}

/// What the source may be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Elements,
    /// Or one of the numbers after the dimension, the first that is not NaN.
    ElementsOrNumber,
    /// Such a number, or a tensor without dimensions.
    Number,
}

enum Rule {
    Put,
    /// The second number, if there is one, is what the source is multiplied by: 1.
    Sum,
    /// Numbers: the index of the reduction in stock torch's order, and whether the input's own elements take part.
    Reduce,
}

impl Scatter {
    /// `torch.scatter`.
    pub const SCATTER: Self = Self::of("scatter", false, Kind::ElementsOrNumber, Rule::Put);
    /// `torch.scatter_add`, of floating-point numbers and integers.
    pub const SCATTER_ADD: Self = Self::of("scatter_add", false, Kind::Elements, Rule::Sum);
    /// `torch.scatter_reduce`: sums, products, means, greatest and least elements.
    pub const SCATTER_REDUCE: Self = Self::of("scatter_reduce", false, Kind::Elements, Rule::Reduce);
    /// `torch.index_add`.
    pub const INDEX_ADD: Self = Self::of("index_add", true, Kind::Elements, Rule::Sum);
    /// `torch.index_copy`.
    pub const INDEX_COPY: Self = Self::of("index_copy", true, Kind::Elements, Rule::Put);
    /// `torch.index_fill`.
    pub const INDEX_FILL: Self = Self::of("index_fill", true, Kind::Number, Rule::Put);

    const fn of(name: &'static str, slices: bool, source: Kind, rule: Rule) -> Self {
        Self {
            name,
            slices,
            source,
            rule,
        }
    }

    /// Where what is changed, by an input of this layout.
    fn plan(&self, input: &Layout, tensors: &[Option<Strided>], numbers: &[f64]) -> Result<Plan, &'static str> {
        let (dim, (index, _)) = (wrapped(input, numbers)?, indices(tensors, 1)?);
        let source = tensor(tensors, 2).ok().filter(|source| !source.sizes().is_empty());
        if let Some(source) = source {
            if self.source == Kind::Number {
                return Err("a tensor for a number");
            }
            return if self.slices {
                let others = |layout: &Layout| layout.with_size(dim, 1);
                if source.sizes().len() != input.sizes().len() || others(source.layout) != others(input) {
                    return Err("slices of other sizes");
                }
                Plan::new(input, &along(index, source.layout.sizes(), dim)?, source.layout, dim)
            } else {
                Plan::new(input, index, source.layout, dim)
            };
        }
        let index = if self.slices {
            let count = index.sizes().first().ok_or("no index for each slice")?;
            along(index, input.with_size(dim, *count).sizes(), dim)?
        } else {
            *index
        };
        let one = Layout::new(index.sizes(), &[0; MAX_DIMS][..index.sizes().len()]).ok_or("too many elements")?;
        Plan::new(input, &index, &one, dim)
    }

    fn source<'a>(
        &self,
        dtype: DType,
        tensors: &[Option<Strided<'a>>],
        numbers: &[f64],
    ) -> Result<Source<'a>, &'static str> {
        let number = numbers[1..].iter().copied().find(|number| !number.is_nan());
        match (tensor(tensors, 2), self.source) {
            (Ok(source), _) if source.elements.dtype() != dtype => Err("tensors of several types"),
            (Ok(_), Kind::ElementsOrNumber | Kind::Number) if number.is_some() => Err("a tensor and a number"),
            (Ok(source), Kind::Number) if !source.sizes().is_empty() => Err("a tensor for a number"),
            (Ok(source), Kind::Number) => Ok(Source::Elements(source.elements)),
            (Ok(source), _) if !source.sizes().is_empty() => Ok(Source::Elements(source.elements)),
            (Err(_), Kind::ElementsOrNumber | Kind::Number) => {
                let bits = number.and_then(|number| dtype.bits_of(number));
                Ok(Source::Value(bits.ok_or("a number that no element is")?))
            }
            _ => Err("no source"),
        }
    }

    /// Changes elements of `buf`, which is of the input's layout.
    fn change(
        &self,
        exec: &Exec,
        input: &Layout,
        tensors: &[Option<Strided>],
        buf: ViewMut,
        numbers: &[f64],
    ) -> Result<(), &'static str> {
        let (plan, (_, index)) = (self.plan(input, tensors, numbers)?, indices(tensors, 1)?);
        if plan.len == 0 {
            return Ok(());
        }
        let source = self.source(buf.dtype(), tensors, numbers)?;
        let Source::Elements(src) = source else {
            return put::<false>(exec, &plan, index, source, buf);
        };
        macro_rules! each_number {
            ($($kind:ident($number:ty)),*) => {
                match (&self.rule, src, buf) {
                    $(
                        (Rule::Sum, View::$kind(src), ViewMut::$kind(buf)) => {
                            run::<_, Sum, false>(exec, &plan, index, src, buf)
                        }
                        (Rule::Reduce, View::$kind(src), ViewMut::$kind(buf)) => {
                            reduce::<$number>(exec, &plan, index, src, buf, numbers)?
                        }
                    )*
                    (Rule::Put, _, buf) => return put::<false>(exec, &plan, index, source, buf),
                    _ => return Err("elements of another type"),
                }
            };
        }
        let good = each_number!(F32(f32), F64(f64), I64(i64), I32(i32), I16(i16), I8(i8), U8(u8));
        if good { Ok(()) } else { Err(OUT_OF_RANGE) }
    }
}

/// Reduces a source's elements to those that indices name, in the order of the indices, and tells whether all are in range.
fn reduce<T: Number>(
    exec: &Exec,
    plan: &Plan,
    index: &[i64],
    src: &[T],
    buf: &mut [T],
    numbers: &[f64],
) -> Result<bool, &'static str> {
    let &[_, reduction, include, ..] = numbers else {
        return Err("no reduction");
    };
    let (reduction, include) = (REDUCTIONS[reduction as usize], include != 0.0);
    if !include {
        let first = match reduction {
            Reduction::Sum | Reduction::Mean => T::default(),
            Reduction::Product => T::ONE,
            Reduction::Greatest => T::LEAST,
            Reduction::Least => T::GREATEST,
        };
        if !run::<_, Put, false>(exec, &plan.of_one(), index, &[first], buf) {
            return Ok(false);
        }
    }
    Ok(match reduction {
        Reduction::Sum => run::<_, Sum, false>(exec, plan, index, src, buf),
        Reduction::Product => run::<_, Product, false>(exec, plan, index, src, buf),
        Reduction::Greatest => run::<_, Greatest, false>(exec, plan, index, src, buf),
        Reduction::Least => run::<_, Smallest, false>(exec, plan, index, src, buf),
        Reduction::Mean => {
            let mut counts = vec![if include { T::ONE } else { T::default() }; buf.len()];
            let good = run::<_, Sum, false>(exec, plan, index, src, buf)
                && run::<_, Sum, false>(exec, &plan.of_one(), index, &[T::ONE], &mut counts);
            for (sum, count) in buf.iter_mut().zip(counts) {
                *sum = sum.over(if count == T::default() { T::ONE } else { count });
            }
            good
        }
    })
}

impl IndexKernel for Scatter {
    fn name(&self) -> &'static str {
        self.name
    }

    fn outline(&self, tensors: &[Option<Strided>], numbers: &[f64], _: bool) -> Result<(DType, Layout), &'static str> {
        let input = tensor(tensors, 0)?;
        let dtype = input.row_major()?.dtype();
        if input.layout.numel() == 0 {
            return Err("no elements");
        }
        self.plan(input.layout, tensors, numbers)?;
        self.source(dtype, tensors, numbers)?;
        match (&self.rule, dtype) {
            (Rule::Put, _) => {}
            (_, DType::Bf16 | DType::F16 | DType::Bool) => return Err("elements of another type"),
            (Rule::Sum, _) if numbers[1..].iter().any(|&alpha| alpha != 1.0) => {
                return Err("what is added has a factor");
            }
            (Rule::Reduce, dtype) if !dtype.is_float() && numbers[1] == 2.0 => return Err("a mean of integers"),
            _ => {}
        }
        Ok((dtype, *input.layout))
    }

    fn forward(
        &self,
        exec: &Exec,
        tensors: &[Option<Strided>],
        result: Target,
        layout: &Layout,
        numbers: &[f64],
    ) -> Result<(), &'static str> {
        let input = tensor(tensors, 0)?;
        self.change(exec, layout, tensors, copied(exec, input.elements, result), numbers)
    }

    fn inplace(
        &self,
        exec: &Exec,
        layout: &Layout,
        buf: ViewMut,
        tensors: &[Option<Strided>],
        numbers: &[f64],
    ) -> Result<(), &'static str> {
        let (_, index) = indices(tensors, 1)?;
        let dim = wrapped(layout, numbers)?;
        if !in_range::<false>(exec, index, layout.sizes()[dim] as usize) {
            return Err(OUT_OF_RANGE);
        }
        self.change(exec, layout, tensors, buf, numbers)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{isa::Isa, parallel::Serial};

    /// Sizes of the input, of the index and of the source, a dimension, and a seed for the indices.
    fn cases() -> impl Strategy<Value = (Vec<[i64; 3]>, usize, u64)> {
        let size = (1_i64..7).prop_flat_map(|size| (Just(size), 1..=size, size..9));
        prop::collection::vec(size.prop_map(|(own, index, source)| [own, index, source]), 1..4)
            .prop_flat_map(|sizes| (Just(sizes.clone()), 0..sizes.len(), any::<u64>()))
    }

    fn layout(sizes: &[[i64; 3]], which: usize) -> Layout {
        let sizes: Vec<_> = sizes.iter().map(|sizes| sizes[which]).collect();
        Layout::contiguous(&sizes).unwrap()
    }

    /// Where the element at these places along each dimension is.
    fn at(layout: &Layout, places: &[i64]) -> usize {
        layout
            .strides()
            .iter()
            .zip(places)
            .map(|(stride, place)| stride * place)
            .sum::<i64>() as usize
    }

    /// The places of all elements, in order.
    fn places(sizes: &[i64]) -> Vec<Vec<i64>> {
        sizes.iter().fold(vec![vec![]], |all, &size| {
            all.iter()
                .flat_map(|places| (0..size).map(move |place| [&places[..], &[place]].concat()))
                .collect()
        })
    }

    proptest! {
        #[test]
        fn elements_are_changed_in_the_order_of_indices((sizes, dim, seed) in cases()) {
            let (input, index, source) = (layout(&sizes, 0), layout(&sizes, 1), layout(&sizes, 2));
            let indices: Vec<i64> = (0..index.numel() as u64)
                .map(|i| (i.wrapping_mul(seed | 1) >> 7) as i64 % sizes[dim][0])
                .map(i64::abs)
                .collect();
            let own: Vec<i64> = (0..input.numel() as i64).collect();
            let src: Vec<i64> = (0..source.numel() as i64).map(|i| 1000 + i).collect();
            let (mut put, mut summed, mut greatest) = (own.clone(), own.clone(), own.clone());
            for places in places(index.sizes()) {
                let from = src[at(&source, &places)];
                let mut target = places.clone();
                target[dim] = indices[at(&index, &places)];
                let to = at(&input, &target);
                put[to] = from;
                summed[to] += from;
                greatest[to] = greatest[to].max(from);
            }
            let exec = Exec::new(Isa::detect(), &Serial);
            let tensors = [
                Some(Strided { layout: &input, elements: (&own[..]).into() }),
                Some(Strided { layout: &index, elements: (&indices[..]).into() }),
                Some(Strided { layout: &source, elements: (&src[..]).into() }),
            ];
            let dim = dim as f64;
            for (kernel, numbers, expected) in [
                (Scatter::SCATTER, vec![dim, f64::NAN, f64::NAN], &put),
                (Scatter::SCATTER_ADD, vec![dim], &summed),
                (Scatter::SCATTER_REDUCE, vec![dim, 3.0, 1.0], &greatest),
            ] {
                let (_, layout) = kernel.outline(&tensors, &numbers, false).unwrap();
                let mut result = vec![0_i64; own.len()];
                kernel.forward(&exec, &tensors, (&mut result[..]).into(), &layout, &numbers).unwrap();
                prop_assert_eq!(&result, expected, "{}", kernel.name());
                let mut changed = own.clone();
                kernel.inplace(&exec, &layout, (&mut changed[..]).into(), &tensors, &numbers).unwrap();
                prop_assert_eq!(&changed, expected, "{} in place", kernel.name());
            }
        }
    }

    #[test]
    fn bad_indices_change_nothing() {
        let (layout, row) = (Layout::contiguous(&[4]).unwrap(), Layout::contiguous(&[3]).unwrap());
        let src = [1.0_f32, 2.0, 3.0];
        for bad in [4_i64, -1, i64::MIN, i64::MAX] {
            let index = [0, 1, bad];
            let mut own = [7.0_f32; 4];
            let tensors = [
                None,
                Some(Strided {
                    layout: &row,
                    elements: (&index[..]).into(),
                }),
                Some(Strided {
                    layout: &row,
                    elements: (&src[..]).into(),
                }),
            ];
            let exec = Exec::new(Isa::detect(), &Serial);
            let outcome = Scatter::SCATTER_ADD.inplace(&exec, &layout, (&mut own[..]).into(), &tensors, &[0.0]);
            assert_eq!((outcome, own), (Err(OUT_OF_RANGE), [7.0; 4]), "{bad}");
        }
    }

    #[test]
    fn means_are_over_what_takes_part() {
        let (layout, row) = (Layout::contiguous(&[3]).unwrap(), Layout::contiguous(&[3]).unwrap());
        let (own, index, src) = ([10.0_f64, 20.0, 30.0], [0_i64, 0, 2], [1.0_f64, 3.0, 5.0]);
        let tensors = [
            Some(Strided {
                layout: &layout,
                elements: (&own[..]).into(),
            }),
            Some(Strided {
                layout: &row,
                elements: (&index[..]).into(),
            }),
            Some(Strided {
                layout: &row,
                elements: (&src[..]).into(),
            }),
        ];
        for (include, expected) in [(1.0, [14.0 / 3.0, 20.0, 17.5]), (0.0, [2.0, 20.0, 5.0])] {
            let (mut result, exec) = ([0.0_f64; 3], Exec::new(Isa::detect(), &Serial));
            let numbers = [0.0, 2.0, include];
            let done = Scatter::SCATTER_REDUCE.forward(&exec, &tensors, (&mut result[..]).into(), &layout, &numbers);
            assert_eq!((done, result), (Ok(()), expected));
        }
    }
}
