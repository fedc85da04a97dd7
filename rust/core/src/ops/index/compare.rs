//! Which elements are equal, less or greater.

use core::{marker::PhantomData, mem::MaybeUninit, ops::Range};

use half::{bf16, f16};

use super::{CHOOSES, Run, Walk, broadcast, scalar, tensor};
use crate::{
    dtype::{Bool, DType, Target, Typed, View},
    isa::{Program, Simd},
    kernel::{Exec, IndexKernel, Strided, every_type},
    layout::Layout,
    parallel::split_mut,
};

/// How two elements are to each other, as IEEE 754 has it: a NaN is neither equal to a number nor less nor greater.
pub trait Relation: Sync + 'static {
    /// torch's name.
    const NAME: &'static str;
    /// Whether it holds.
    fn holds<T: PartialOrd>(a: T, b: T) -> bool;
}

macro_rules! relations {
    ($($(#[$doc:meta])* $relation:ident: $name:literal, $operator:tt;)*) => {
        $(
            $(#[$doc])*
            pub struct $relation;

            impl Relation for $relation {
                const NAME: &'static str = $name;

                #[inline(always)]
                fn holds<T: PartialOrd>(a: T, b: T) -> bool {
                    a $operator b
                }
            }
        )*
    };
}

relations!(
    /// `torch.eq`.
    Eq: "eq", ==;
    /// `torch.ne`.
    Ne: "ne", !=;
    /// `torch.lt`.
    Lt: "lt", <;
    /// `torch.le`.
    Le: "le", <=;
    /// `torch.gt`.
    Gt: "gt", >;
    /// `torch.ge`.
    Ge: "ge", >=;
);

/// `torch.isnan`, as a comparison with any number.
pub struct Isnan;

impl Relation for Isnan {
    const NAME: &'static str = "isnan";

    #[inline(always)]
    #[allow(clippy::eq_op)]
    fn holds<T: PartialOrd>(a: T, _: T) -> bool {
        a != a
    }
}

/// A comparison: tensors of one type, which are broadcast. Number: what stands for the second where that is missing.
pub struct Compare<R>(PhantomData<R>);

impl<R> Compare<R> {
    /// The kernel.
    pub const NEW: Self = Self(PhantomData);
}

/// Elements that are compared together.
const TOGETHER: usize = 64;

/// An element as what compares in few instructions.
trait Key: Typed + Copy + Default + Send + Sync + 'static {
    type As: PartialOrd + Copy;
    fn key(self) -> Self::As;
    fn of(bits: u64) -> Self;
}

macro_rules! keys {
    ($($element:ty as $key:ty: $x:ident => $of:expr, $bits:ident => $from:expr;)*) => {
        $(impl Key for $element {
            type As = $key;

            #[inline(always)]
            fn key(self) -> $key {
                let $x = self;
                $of
            }

            fn of($bits: u64) -> Self {
                $from
            }
        })*
    };
}

keys!(
    f32 as f32: x => x, bits => f32::from_bits(bits as u32);
    f64 as f64: x => x, bits => f64::from_bits(bits);
    bf16 as f32: x => f32::from_bits(u32::from(x.to_bits()) << 16), bits => bf16::from_bits(bits as u16);
    f16 as f32: x => widened(x), bits => f16::from_bits(bits as u16);
    i64 as i64: x => x, bits => bits as i64;
    i32 as i32: x => x, bits => bits as i32;
    i16 as i16: x => x, bits => bits as i16;
    i8 as i8: x => x, bits => bits as i8;
    u8 as u8: x => x, bits => bits as u8;
    Bool as u8: x => x.0, bits => Bool(bits as u8);
);

/// The same number times a power of two, which changes no comparison: exactly, subnormals and all, as singles reach further.
/// An exponent of all ones, infinity's and NaN's, becomes one of all ones.
#[inline(always)]
fn widened(x: f16) -> f32 {
    let bits = u32::from(x.to_bits());
    let magnitude = (bits & 0x7fff) << 13;
    let top = if bits & 0x7c00 == 0x7c00 { 0x7f80_0000 } else { 0 };
    f32::from_bits((bits & 0x8000) << 16 | magnitude | top)
}

/// A dense layout in the input's order for tensors of one, or a row-major one of what others are broadcast to.
fn layout(input: &Layout, other: Option<&Layout>) -> Result<Layout, &'static str> {
    match other {
        None => input.elementwise_result().ok_or("not dense"),
        Some(other) if other == input => input.elementwise_result().ok_or("not dense"),
        Some(other) if input.is_plain() && other.is_plain() => broadcast([input, other]).ok_or("not broadcast"),
        Some(_) => Err("tensors in several strides"),
    }
}

impl<R: Relation> IndexKernel for Compare<R> {
    fn name(&self) -> &'static str {
        R::NAME
    }

    fn differentiates(&self) -> bool {
        false
    }

    fn type_of_numbers(&self, input: DType, _: DType) -> DType {
        input
    }

    fn outline(&self, tensors: &[Option<Strided>], numbers: &[f64], _: bool) -> Result<(DType, Layout), &'static str> {
        let input = tensor(tensors, 0)?;
        let (dtype, other) = (input.elements.dtype(), tensor(tensors, 1).ok());
        match other {
            Some(other) if other.elements.dtype() != dtype => return Err("tensors of several types"),
            Some(_) => {}
            None => _ = scalar(dtype, numbers, 0)?,
        }
        Ok((DType::Bool, layout(input.layout, other.map(|other| other.layout))?))
    }

    fn forward(
        &self,
        exec: &Exec,
        tensors: &[Option<Strided>],
        result: Target,
        layout: &Layout,
        numbers: &[f64],
    ) -> Result<(), &'static str> {
        let (input, other) = (tensor(tensors, 0)?, tensor(tensors, 1).ok());
        let result = Bool::target(result).ok_or("a result of another type")?;
        let bits = if other.is_none() {
            scalar(input.elements.dtype(), numbers, 0)?
        } else {
            0
        };
        // Of one order, whichever that is.
        let flat = Layout::contiguous(&[layout.numel() as i64]).ok_or("too many elements")?;
        let one = Layout::contiguous(&[]).ok_or("no layout")?;
        let walk = match other {
            None => Walk::new(flat.sizes(), [&flat, &one]),
            Some(other) if other.layout == input.layout => Walk::new(flat.sizes(), [&flat; 2]),
            Some(other) => Walk::new(layout.sizes(), [input.layout, other.layout]),
        };
        let walk = walk.ok_or("not broadcast")?;
        let src = input.elements;
        every_type!((src: View) => {
            let number = [Key::of(bits)];
            let other = match other {
                Some(other) => Typed::slice(other.elements).ok_or("tensors of several types")?,
                None => &number,
            };
            let (team, grain) = exec.team(result.len(), 1 + 2 * input.elements.dtype().size(), CHOOSES);
            split_mut(team, result, 1, grain, &|start, dst| {
                let range = start..start + dst.len();
                exec.isa.run(Pairs::<_, R> { walk: &walk, range, a: src, b: other, dst, relation: PhantomData });
            });
        });
        Ok(())
    }
}

/// Compares the elements of a range of the result.
struct Pairs<'a, T, R> {
    walk: &'a Walk<2>,
    range: Range<usize>,
    a: &'a [T],
    b: &'a [T],
    dst: &'a mut [MaybeUninit<Bool>],
    relation: PhantomData<R>,
}

impl<T: Key, R: Relation> Program for Pairs<'_, T, R> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self {
            walk, range, a, b, dst, ..
        } = self;
        let (first, [a_step, b_step]) = (range.start, walk.steps());
        walk.each(
            range,
            #[inline(always)]
            |run, [a_at, b_at]| {
                let dst = &mut dst[run.start - first..run.end - first];
                let (a, b) = (Run::of(a, a_at, a_step, dst.len()), Run::of(b, b_at, b_step, dst.len()));
                match (a, b) {
                    (Run::Each(a), Run::Each(b)) => compare::<T, R>(a, b, dst),
                    (Run::Each(a), Run::One(b)) => compare_one(
                        a,
                        dst,
                        #[inline(always)]
                        |x: T| R::holds(x.key(), b.key()),
                    ),
                    (Run::One(a), Run::Each(b)) => compare_one(
                        b,
                        dst,
                        #[inline(always)]
                        |x: T| R::holds(a.key(), x.key()),
                    ),
                    (Run::One(a), Run::One(b)) => dst.fill(MaybeUninit::new(Bool(R::holds(a.key(), b.key()).into()))),
                }
            },
        );
    }
}

#[inline(always)]
fn compare<T: Key, R: Relation>(a: &[T], b: &[T], dst: &mut [MaybeUninit<Bool>]) {
    let (whole, rest) = dst.as_chunks_mut::<TOGETHER>();
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<TOGETHER>(), b.as_chunks::<TOGETHER>());
    for ((dst, a), b) in whole.iter_mut().zip(a).zip(b) {
        for ((dst, a), b) in dst.iter_mut().zip(a).zip(b) {
            dst.write(Bool(R::holds(a.key(), b.key()).into()));
        }
    }
    for ((dst, a), b) in rest.iter_mut().zip(a_rest).zip(b_rest) {
        dst.write(Bool(R::holds(a.key(), b.key()).into()));
    }
}

#[inline(always)]
fn compare_one<T: Key>(src: &[T], dst: &mut [MaybeUninit<Bool>], holds: impl Fn(T) -> bool) {
    let (whole, rest) = dst.as_chunks_mut::<TOGETHER>();
    let (chunks, src_rest) = src.as_chunks::<TOGETHER>();
    for (dst, src) in whole.iter_mut().zip(chunks) {
        for (dst, &x) in dst.iter_mut().zip(src) {
            dst.write(Bool(holds(x).into()));
        }
    }
    for (dst, &x) in rest.iter_mut().zip(src_rest) {
        dst.write(Bool(holds(x).into()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{isa::Isa, parallel::Serial};

    fn compared<R: Relation>(tensors: &[Option<Strided>], numbers: &[f64]) -> Vec<u8> {
        let kernel = Compare::<R>::NEW;
        let (_, layout) = kernel.outline(tensors, numbers, false).unwrap();
        let mut all = Vec::new();
        for isa in Isa::available() {
            let mut result = vec![Bool(7); layout.numel()];
            let exec = Exec::new(isa, &Serial);
            kernel
                .forward(&exec, tensors, (&mut result[..]).into(), &layout, numbers)
                .unwrap();
            all.push(result.iter().map(|truth| truth.0).collect::<Vec<_>>());
        }
        assert!(all.windows(2).all(|pair| pair[0] == pair[1]));
        all.pop().unwrap()
    }

    #[test]
    fn every_half_is_to_every_other_as_singles_are() {
        let all: Vec<f16> = (0..=u16::MAX).map(f16::from_bits).collect();
        let layout = Layout::contiguous(&[all.len() as i64]).unwrap();
        let a = Some(Strided {
            layout: &layout,
            elements: (&all[..]).into(),
        });
        for turn in [0, 1, 77, 0x3ff, 0x400, 0x7c00, 0x8000, 0xfc01] {
            let other: Vec<f16> = (0..=u16::MAX)
                .map(|bits| f16::from_bits(bits.wrapping_mul(3) ^ turn))
                .collect();
            let tensors = [
                a,
                Some(Strided {
                    layout: &layout,
                    elements: (&other[..]).into(),
                }),
            ];
            let pairs = || all.iter().zip(&other).map(|(a, b)| (a.to_f32(), b.to_f32()));
            let expected: Vec<u8> = pairs().map(|(a, b)| (a < b).into()).collect();
            assert!(compared::<Lt>(&tensors, &[0.0]) == expected);
            let expected: Vec<u8> = pairs().map(|(a, b)| (a == b).into()).collect();
            assert!(compared::<Eq>(&tensors, &[0.0]) == expected);
        }
        let expected: Vec<u8> = all.iter().map(|x| (x.to_f32() >= 1.5).into()).collect();
        assert!(compared::<Ge>(&[a, None], &[1.5]) == expected);
        let expected: Vec<u8> = all.iter().map(|x| x.is_nan().into()).collect();
        assert!(compared::<Isnan>(&[a, None], &[0.0]) == expected);
    }

    #[test]
    fn sides_are_broadcast() {
        let (rows, row, column) = ([3, 70], [70], [3, 1]);
        let layouts = [&rows[..], &row, &column].map(|sizes| Layout::contiguous(sizes).unwrap());
        let all: Vec<i16> = (0..210).collect();
        let strided = |which: usize| {
            let layout = &layouts[which];
            Some(Strided {
                layout,
                elements: (&all[..layout.numel()]).into(),
            })
        };
        let value = |which: usize, i: usize| [i, i % 70, i / 70][which];
        for [a, b] in [[0, 0], [0, 1], [1, 0], [0, 2], [2, 1], [1, 2]] {
            let expected: Vec<u8> = (0..210).map(|i| (value(a, i) > value(b, i)).into()).collect();
            assert_eq!(compared::<Gt>(&[strided(a), strided(b)], &[0.0]), expected, "{a} {b}");
            let expected: Vec<u8> = (0..210).map(|i| (value(a, i) != value(b, i)).into()).collect();
            assert_eq!(compared::<Ne>(&[strided(a), strided(b)], &[0.0]), expected, "{a} {b}");
        }
    }
}
