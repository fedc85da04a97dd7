//! Where values belong in ascending sequences.

use core::mem::MaybeUninit;

use half::{bf16, f16};

use super::tensor;
use crate::{
    dtype::{Compared, DType, Target, Unwritten, View},
    isa::{Program, Simd},
    kernel::{Exec, IndexKernel, Strided},
    layout::Layout,
    parallel::split_mut,
};

/// `torch.searchsorted` and, with `BUCKETIZE`, where the values come first, `torch.bucketize`: tensors of an ascending
/// sequence and of values, row-major and of one type; a sequence for all values, or one for each row of them. Numbers:
/// whether to find the last suitable place; 1 for the side that means the same, if it is given.
///
/// For many values, a sequence is made into a tree of nodes of `NODE` elements, in which each element of a node is the last
/// one of a node below (an S+ tree, en.algorithmica.org/hpc/data-structures/s-tree): a node is compared at once. For few, or
/// where the sequence does not ascend or has NaN, every step is the one of the binary search of stock torch
/// (`cus_lower_bound` and `cus_upper_bound` of `aten/src/ATen/native/Bucketization.cpp`), so that the places are its own; but
/// several values are searched for together, and no step is a branch.
pub struct Searchsorted<const BUCKETIZE: bool>;

impl Searchsorted<false> {
    /// `torch.searchsorted`.
    pub const SEARCHSORTED: Self = Self;
}

impl Searchsorted<true> {
    /// `torch.bucketize`.
    pub const BUCKETIZE: Self = Self;
}

/// Values that are searched for together.
const TOGETHER: usize = 16;
/// Elements of a node of a tree.
const NODE: usize = 16;
/// Values for each element of a sequence from which a tree pays.
const MANY: usize = 2;
/// Instructions of a step for a value, for the choice of threads.
const STEP: usize = 8;

impl<const BUCKETIZE: bool> Searchsorted<BUCKETIZE> {
    /// The sequences and the values.
    fn parts<'a>(tensors: &[Option<Strided<'a>>]) -> Result<[Strided<'a>; 2], &'static str> {
        let parts = [
            tensor(tensors, usize::from(BUCKETIZE))?,
            tensor(tensors, usize::from(!BUCKETIZE))?,
        ];
        let [sequence, values] = parts;
        if sequence.elements.dtype() != values.elements.dtype() || sequence.elements.dtype() == DType::Bool {
            return Err("tensors of several types");
        }
        sequence.row_major()?;
        values.row_major()?;
        match (sequence.sizes(), values.sizes()) {
            ([_], _) => Ok(parts),
            _ if BUCKETIZE => Err("boundaries of several dimensions"),
            ([outer @ .., _], [same @ .., _]) if outer == same => Ok(parts),
            _ => Err("sizes that do not fit"),
        }
    }

    /// Whether to find the last suitable place.
    fn right(numbers: &[f64]) -> Result<bool, &'static str> {
        let flag = numbers.first().is_some_and(|&right| right != 0.0);
        match numbers.get(1) {
            // Side "left", which contradicts the flag.
            Some(0.0) if flag => Err("two sides"),
            Some(1.0) => Ok(true),
            _ => Ok(flag),
        }
    }
}

impl<const BUCKETIZE: bool> IndexKernel for Searchsorted<BUCKETIZE> {
    fn name(&self) -> &'static str {
        if BUCKETIZE { "bucketize" } else { "searchsorted" }
    }

    fn differentiates(&self) -> bool {
        false
    }

    fn outline(&self, tensors: &[Option<Strided>], numbers: &[f64], _: bool) -> Result<(DType, Layout), &'static str> {
        let [_, values] = Self::parts(tensors)?;
        Self::right(numbers)?;
        let layout = Layout::contiguous(values.sizes()).ok_or("too many elements")?;
        Ok((DType::I64, layout))
    }

    fn forward(
        &self,
        exec: &Exec,
        tensors: &[Option<Strided>],
        result: Target,
        _: &Layout,
        numbers: &[f64],
    ) -> Result<(), &'static str> {
        let [sequence, values] = Self::parts(tensors)?;
        let (right, shared) = (Self::right(numbers)?, sequence.sizes().len() == 1);
        let Target::I64(Unwritten(result)) = result else {
            return Err("places are integers");
        };
        let size = sequence.sizes().last().map_or(0, |&size| size as usize);
        let row = if shared {
            result.len()
        } else {
            values.sizes().last().map_or(1, |&size| size as usize)
        };
        let steps = usize::BITS as usize - size.leading_zeros() as usize;
        let (team, grain) = exec.team(result.len(), 16, 8 * STEP * steps);
        macro_rules! search {
            ($($kind:ident($element:ty)),*) => {
                match (sequence.elements, values.elements) {
                    $((View::$kind(sequence), View::$kind(values)) => {
                        let tree = (row / MANY > size && shared).then(|| Tree::new(sequence)).flatten();
                        split_mut(team, result, 1, grain, &|start, dst| {
                            if let Some(tree) = &tree {
                                let values = &values[start..start + dst.len()];
                                exec.isa.run(Descend::<$element> { tree, values, right, dst });
                            } else {
                                exec.isa.run(Search::<$element> { sequence, size, row, values, start, right, dst });
                            }
                        });
                    })*
                    _ => return Err("tensors of several types"),
                }
            };
        }
        search!(
            F32(f32),
            F64(f64),
            Bf16(bf16),
            F16(f16),
            I64(i64),
            I32(i32),
            I16(i16),
            I8(i8),
            U8(u8)
        );
        Ok(())
    }
}

/// An ascending sequence without NaN.
struct Tree<T: Compared> {
    /// The nodes from the root on, level by level, and where each level begins.
    nodes: Vec<[T::As; NODE]>,
    levels: Vec<usize>,
    /// How many elements the sequence has.
    size: usize,
}

impl<T: Compared> Tree<T> {
    /// `None` of another sequence.
    fn new(sequence: &[T]) -> Option<Self> {
        let ascends = |pair: &[T]| pair[0].number() <= pair[1].number();
        let is_number = |x: &T| !T::is_nan(x.number());
        if !sequence.first().is_some_and(is_number) || !sequence.windows(2).all(ascends) {
            return None;
        }
        // From the leaves to the root.
        let mut levels: Vec<Vec<[T::As; NODE]>> = Vec::new();
        let mut elements: Vec<T::As> = sequence.iter().map(|x| x.number()).collect();
        loop {
            elements.resize(elements.len().next_multiple_of(NODE), T::GREATEST);
            let (nodes, _) = elements.as_chunks();
            levels.push(nodes.to_vec());
            if nodes.len() == 1 {
                break;
            }
            elements = nodes.iter().map(|node| node[NODE - 1]).collect();
        }
        levels.reverse();
        let starts = levels.iter().scan(0, |start, level| {
            *start += level.len();
            Some(*start - level.len())
        });
        Some(Self {
            levels: starts.collect(),
            nodes: levels.concat(),
            size: sequence.len(),
        })
    }

    /// The places of several values.
    #[inline(always)]
    fn search<S: Simd, const RIGHT: bool>(&self, simd: S, values: &[T; TOGETHER]) -> [usize; TOGETHER] {
        let mut spread = [[T::GREATEST; COMPARED]; TOGETHER / GROUP];
        for (spread, values) in spread.iter_mut().zip(values.as_chunks::<GROUP>().0) {
            for (spread, value) in spread.chunks_exact_mut(NODE).zip(values) {
                spread.fill(value.number());
            }
        }
        let mut places = [0; TOGETHER];
        for (level, &start) in self.levels.iter().enumerate() {
            let end = self.levels.get(level + 1).copied().unwrap_or(self.nodes.len());
            let nodes = &self.nodes[start..end];
            for (places, values) in places.as_chunks_mut::<GROUP>().0.iter_mut().zip(&spread) {
                // Beyond the last element of all, in the last node.
                for place in places.iter_mut() {
                    *place = (*place).min(nodes.len() - 1);
                }
                let counts = before::<T, S, RIGHT>(simd, nodes, *places, values);
                for (place, count) in places.iter_mut().zip(counts) {
                    *place = *place * NODE + count;
                }
            }
        }
        for place in &mut places {
            *place = (*place).min(self.size);
        }
        places
    }
}

/// Nodes that are compared together, and their elements.
const GROUP: usize = COMPARED / NODE;
const COMPARED: usize = 64;

/// How many elements of each node a value, which is spread over as many, comes after; all for NaN.
#[inline(always)]
fn before<T: Compared, S: Simd, const RIGHT: bool>(
    simd: S,
    nodes: &[[T::As; NODE]],
    places: [usize; GROUP],
    values: &[T::As; COMPARED],
) -> [usize; GROUP] {
    let mut elements = [T::GREATEST; COMPARED];
    for (elements, place) in elements.chunks_exact_mut(NODE).zip(places) {
        elements.copy_from_slice(&nodes[place]);
    }
    let mut bytes = [0_u8; COMPARED];
    for ((byte, &x), &value) in bytes.iter_mut().zip(&elements).zip(values) {
        let after = if RIGHT { x > value } else { x >= value };
        *byte = u8::from(!after);
    }
    let mut bits = simd.bits(&bytes);
    let mut counts = [0; GROUP];
    for count in &mut counts {
        *count = (bits & ((1 << NODE) - 1)).count_ones() as usize;
        bits >>= NODE;
    }
    counts
}

/// Finds the places of values in a tree.
struct Descend<'a, T: Compared> {
    tree: &'a Tree<T>,
    values: &'a [T],
    right: bool,
    dst: &'a mut [MaybeUninit<i64>],
}

impl<T: Compared> Program for Descend<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self {
            tree,
            values,
            right,
            dst,
        } = self;
        if right {
            each(
                values,
                dst,
                #[inline(always)]
                |values| tree.search::<S, true>(simd, values),
            );
        } else {
            each(
                values,
                dst,
                #[inline(always)]
                |values| tree.search::<S, false>(simd, values),
            );
        }
    }
}

/// Writes the places of values, [`TOGETHER`] of them at a time.
#[inline(always)]
fn each<T: Compared>(values: &[T], dst: &mut [MaybeUninit<i64>], search: impl Fn(&[T; TOGETHER]) -> [usize; TOGETHER]) {
    for (dst, values) in dst.chunks_mut(TOGETHER).zip(values.chunks(TOGETHER)) {
        let mut padded = [T::default(); TOGETHER];
        padded[..values.len()].copy_from_slice(values);
        for (dst, found) in dst.iter_mut().zip(search(&padded)) {
            dst.write(found as i64);
        }
    }
}

/// Finds the places of the values from `start` on.
struct Search<'a, T> {
    sequence: &'a [T],
    size: usize,
    /// How many values a sequence is for.
    row: usize,
    values: &'a [T],
    start: usize,
    right: bool,
    dst: &'a mut [MaybeUninit<i64>],
}

impl<T: Compared> Program for Search<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self {
            sequence,
            size,
            row,
            values,
            start,
            right,
            mut dst,
        } = self;
        let mut at = start;
        while !dst.is_empty() {
            let (which, column) = (at / row, at % row);
            let (part, rest) = dst.split_at_mut((row - column).min(dst.len()));
            let sequence = &sequence[which * size..][..size];
            let (values, len) = (&values[at..at + part.len()], part.len());
            if right {
                each(
                    values,
                    part,
                    #[inline(always)]
                    |values| search::<T, true>(sequence, values),
                );
            } else {
                each(
                    values,
                    part,
                    #[inline(always)]
                    |values| search::<T, false>(sequence, values),
                );
            }
            at += len;
            dst = rest;
        }
    }
}

/// The places of several values.
#[inline(always)]
fn search<T: Compared, const RIGHT: bool>(sequence: &[T], values: &[T; TOGETHER]) -> [usize; TOGETHER] {
    let mut numbers = [T::GREATEST; TOGETHER];
    for (number, value) in numbers.iter_mut().zip(values) {
        *number = value.number();
    }
    let (mut start, mut end) = ([0; TOGETHER], [sequence.len(); TOGETHER]);
    // What is left after a step is at most half of it.
    for _ in 0..usize::BITS - sequence.len().leading_zeros() {
        for ((start, end), &value) in start.iter_mut().zip(&mut end).zip(&numbers) {
            let middle = *start + ((*end - *start) >> 1);
            // Nothing is left where both are the end.
            let x = sequence[middle.min(sequence.len() - 1)].number();
            let before = if RIGHT { x > value } else { x >= value };
            let after = u8::from(!before) & u8::from(middle < *end) != 0;
            *start = if after { middle + 1 } else { *start };
            *end = if after { *end } else { middle };
        }
    }
    start
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        isa::Isa,
        kernel::IndexKernel,
        parallel::{Serial, Team, test::Halves},
    };

    fn places(exec: &Exec, sequence: &[f32], values: &[f32], right: bool) -> Vec<i64> {
        let layouts = [sequence, values].map(|of| Layout::contiguous(&[of.len() as i64]).unwrap());
        let [a, b] = &layouts;
        let tensors = [(a, sequence), (b, values)].map(|(layout, elements)| {
            Some(Strided {
                layout,
                elements: elements.into(),
            })
        });
        let mut result = vec![-1_i64; values.len()];
        let numbers = [f64::from(u8::from(right)), -1.0];
        let (dtype, layout) = Searchsorted::SEARCHSORTED.outline(&tensors, &numbers, false).unwrap();
        assert!(dtype == DType::I64 && layout.numel() == values.len());
        Searchsorted::SEARCHSORTED
            .forward(exec, &tensors, (&mut result[..]).into(), &layout, &numbers)
            .unwrap();
        result
    }

    #[test]
    fn trees_and_steps_find_the_same_places() {
        for isa in Isa::available() {
            for team in [&Serial as &dyn Team, &Halves] {
                let exec = Exec::new(isa, team);
                for size in [1, 2, 15, 16, 17, 255, 256, 257, 300, 4097] {
                    let sequence: Vec<f32> = (0..size).map(|i| ((i / 3) as f32).min(1e3) - 20.0).collect();
                    let special = [f32::NAN, f32::INFINITY, -f32::INFINITY, 1e3 - 20.0];
                    let values: Vec<f32> = (0..5 * size + 40).map(|i| (i * 7 % 500) as f32 * 0.5 - 30.0).collect();
                    let values = [&special[..], &values].concat();
                    for right in [false, true] {
                        let found = places(&exec, &sequence, &values, right);
                        for (&value, &place) in values.iter().zip(&found) {
                            let after = |&x: &f32| if right { x > value } else { x >= value };
                            assert_eq!(sequence.partition_point(|x| !after(x)) as i64, place, "{size} {value}");
                        }
                        // Few values are searched for step by step.
                        assert_eq!(places(&exec, &sequence, &values[..1], right), found[..1]);
                    }
                    let infinite = vec![f32::INFINITY; size];
                    assert!(
                        places(&exec, &infinite, &values, true)
                            .iter()
                            .all(|&place| place <= size as i64)
                    );
                }
            }
        }
    }
}
