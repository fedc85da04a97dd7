//! Which elements are among others.

use core::mem::MaybeUninit;

use half::{bf16, f16};

use super::tensor;
use crate::{
    dtype::{Bool, DType, Target, Unwritten, View},
    isa::{Program, Simd},
    kernel::{Exec, IndexKernel, Strided},
    layout::Layout,
    parallel::split_mut,
};

/// `torch.isin`: tensors of elements and of those that they are looked up among, of one type and row-major. Numbers: whether
/// the latter differ, which does not matter here, and whether to tell which are not among them.
///
/// Few are compared with every element; more go into a table of their hashes.
pub struct Isin;

/// The most that every element is compared with.
const COMPARED: usize = 12;
/// Instructions for a look into the table, for the choice of threads.
const LOOK: usize = 60;

impl IndexKernel for Isin {
    fn name(&self) -> &'static str {
        "isin"
    }

    fn differentiates(&self) -> bool {
        false
    }

    fn outline(&self, tensors: &[Option<Strided>], _: &[f64], _: bool) -> Result<(DType, Layout), &'static str> {
        let (elements, among) = (tensor(tensors, 0)?, tensor(tensors, 1)?);
        elements.row_major()?;
        among.row_major()?;
        let dtype = elements.elements.dtype();
        if dtype != among.elements.dtype() || dtype == DType::Bool {
            return Err("tensors of several types");
        }
        let layout = Layout::contiguous(elements.sizes()).ok_or("too many elements")?;
        Ok((DType::Bool, layout))
    }

    fn forward(
        &self,
        exec: &Exec,
        tensors: &[Option<Strided>],
        result: Target,
        _: &Layout,
        numbers: &[f64],
    ) -> Result<(), &'static str> {
        let (elements, among) = (tensor(tensors, 0)?, tensor(tensors, 1)?);
        let invert = numbers.get(1).is_some_and(|&invert| invert != 0.0);
        let Target::Bool(Unwritten(result)) = result else {
            return Err("truths are of one type");
        };
        macro_rules! look {
            ($($kind:ident),*) => {
                match (elements.elements, among.elements) {
                    $((View::$kind(elements), View::$kind(among)) => find(exec, elements, among, invert, result),)*
                    _ => return Err("tensors of several types"),
                }
            };
        }
        look!(F32, F64, Bf16, F16, I64, I32, I16, I8, U8);
        Ok(())
    }
}

/// Elements that are looked up by their bits: equal ones have equal bits.
trait Key: Copy + Sync {
    type Bits: Copy + Eq + Into<u64> + Sync;
    /// `None` of NaN, which equals none.
    fn key(self) -> Option<Self::Bits>;
}

macro_rules! keys {
    ($($element:ty as $bits:ty: $x:ident => $key:expr),* $(,)?) => {
        $(impl Key for $element {
            type Bits = $bits;
            #[inline(always)]
            fn key(self) -> Option<$bits> {
                let $x = self;
                $key
            }
        })*
    };
}

keys!(
    f32 as u32: x => (!x.is_nan()).then(|| (x + 0.0).to_bits()),
    f64 as u64: x => (!x.is_nan()).then(|| (x + 0.0).to_bits()),
    bf16 as u16: x => (!x.is_nan()).then(|| if x.to_bits() == 0x8000 { 0 } else { x.to_bits() }),
    f16 as u16: x => (!x.is_nan()).then(|| if x.to_bits() == 0x8000 { 0 } else { x.to_bits() }),
    i64 as u64: x => Some(x as u64),
    i32 as u32: x => Some(x as u32),
    i16 as u16: x => Some(x as u16),
    i8 as u8: x => Some(x as u8),
    u8 as u8: x => Some(x),
);

fn find<T: Key>(exec: &Exec, elements: &[T], among: &[T], invert: bool, result: &mut [MaybeUninit<Bool>]) {
    if among.len() <= COMPARED {
        let among: Vec<_> = among.iter().filter_map(|x| x.key()).collect();
        let (team, grain) = exec.team(result.len(), 1 + size_of::<T>(), 2 * COMPARED);
        split_mut(team, result, 1, grain, &|start, dst| {
            let src = &elements[start..start + dst.len()];
            exec.isa.run(Compare {
                src,
                among: &among,
                invert,
                dst,
            });
        });
    } else {
        let table = Table::new(among.iter().filter_map(|x| x.key()).map(Into::into), among.len());
        let (team, grain) = exec.team(result.len(), 1 + size_of::<T>(), LOOK);
        split_mut(team, result, 1, grain, &|start, dst| {
            for (dst, x) in dst.iter_mut().zip(&elements[start..]) {
                let is_in = x.key().is_some_and(|key| table.has(key.into()));
                dst.write(Bool(u8::from(is_in != invert)));
            }
        });
    }
}

/// Compares every element with a few.
struct Compare<'a, T: Key> {
    src: &'a [T],
    among: &'a [T::Bits],
    invert: bool,
    dst: &'a mut [MaybeUninit<Bool>],
}

impl<T: Key> Program for Compare<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self {
            src,
            among,
            invert,
            dst,
        } = self;
        for (src, dst) in src.chunks(64).zip(dst.chunks_mut(64)) {
            let mut found = [0_u8; 64];
            for &one in among {
                for (found, x) in found.iter_mut().zip(src) {
                    *found |= u8::from(x.key() == Some(one));
                }
            }
            for (dst, found) in dst.iter_mut().zip(found) {
                dst.write(Bool(found ^ u8::from(invert)));
            }
        }
    }
}

/// A set of numbers, by open addressing: where another is in its place, a number is in the next free one.
struct Table {
    slots: Vec<u64>,
    /// How far a hash is shifted to be a slot.
    shift: u32,
    /// Whether the number that stands for an empty slot is in the set.
    has_empty: bool,
}

/// An empty slot.
const EMPTY: u64 = u64::MAX;

impl Table {
    /// Of up to `count` numbers.
    fn new(numbers: impl Iterator<Item = u64>, count: usize) -> Self {
        let size = (2 * count).next_power_of_two().max(2);
        let mut table = Self {
            slots: vec![EMPTY; size],
            shift: u64::BITS - size.trailing_zeros(),
            has_empty: false,
        };
        for number in numbers {
            if number == EMPTY {
                table.has_empty = true;
            } else {
                let slot = table.slot(number);
                table.slots[slot] = number;
            }
        }
        table
    }

    /// Where a number is, or would be. Half of the slots at least are empty.
    #[inline(always)]
    fn slot(&self, number: u64) -> usize {
        let mask = self.slots.len() - 1;
        // Knuth's multiplicative hashing, by the golden ratio.
        let mut slot = (number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> self.shift) as usize & mask;
        while self.slots[slot] != EMPTY && self.slots[slot] != number {
            slot = (slot + 1) & mask;
        }
        slot
    }

    #[inline(always)]
    fn has(&self, number: u64) -> bool {
        if number == EMPTY {
            self.has_empty
        } else {
            self.slots[self.slot(number)] == number
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        isa::Isa,
        parallel::{Serial, Team, test::Halves},
    };

    #[test]
    fn elements_are_found_as_by_comparison() {
        let numbers = |count: i64, step: i64| (0..count).map(|i| (i * step) % 1009 - 500).collect::<Vec<_>>();
        for isa in Isa::available() {
            for team in [&Serial as &dyn Team, &Halves] {
                let exec = Exec::new(isa, team);
                for count in [0, 1, 5, 12, 13, 100, 900] {
                    let (elements, among) = (numbers(1500, 7), numbers(count, 31));
                    for invert in [false, true] {
                        let mut result = vec![Bool(9); elements.len()];
                        find(&exec, &elements, &among, invert, crate::dtype::as_uninit(&mut result));
                        let expected = elements.iter().map(|x| Bool(u8::from(among.contains(x) != invert)));
                        assert!(expected.eq(result.iter().copied()));
                    }
                }
            }
        }
    }

    #[test]
    fn zeros_are_equal_and_nan_are_not() {
        let exec = Exec::new(Isa::detect(), &Serial);
        let more = [7.0; 20];
        for few in [true, false] {
            let among: Vec<f32> = [f32::NAN, -0.0]
                .into_iter()
                .chain(more[..if few { 2 } else { 20 }].to_vec())
                .collect();
            let mut result = [Bool(9); 4];
            find(
                &exec,
                &[0.0, f32::NAN, 7.0, 1.0],
                &among,
                false,
                crate::dtype::as_uninit(&mut result),
            );
            assert_eq!(result, [Bool(1), Bool(0), Bool(1), Bool(0)]);
        }
        let mut result = [Bool(9); 2];
        let among: Vec<i64> = (-20..0).collect();
        find(&exec, &[-1, 0], &among, false, crate::dtype::as_uninit(&mut result));
        assert_eq!(result, [Bool(1), Bool(0)]);
    }
}
