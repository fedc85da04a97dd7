//! How many elements along a dimension are not 0, and whether any or all are so.

use core::{marker::PhantomData, mem::MaybeUninit};

use super::blocks::Blocks;
use crate::{
    dtype::{Bits, Bool, DType, Typed, Unwritten, View, Word, each_width},
    isa::{Program, Simd},
    kernel::{AlongKernel, Exec, Geometry, Kind, MAX_RESULTS, Shape, Slot},
};

/// Elements that are counted before the counts are added up: as many as a byte holds, of each of a register's.
const GROUP: usize = 64;
const GROUPS: usize = 255;
/// About as many elements are a block.
const ELEMENTS: usize = 1 << 16;
/// Columns that are counted together.
const STRIP: usize = 256;
/// Instructions of an element, for the choice of threads.
const COUNTS: usize = 1;

/// The bits of which one is on in every element but 0, that of a negative zero being off.
fn mask(dtype: DType) -> u64 {
    if dtype.is_float() {
        u64::MAX >> 1 >> (64 - 8 * dtype.size())
    } else {
        u64::MAX
    }
}

/// How many elements of a slice are not 0.
#[inline(always)]
fn count<W: Word + Masked>(src: &[W], mask: W) -> u64 {
    let mut total = 0;
    for src in src.chunks(GROUP * GROUPS) {
        let mut counts = [0_u8; GROUP];
        let (groups, rest) = src.as_chunks::<GROUP>();
        for group in groups {
            for (count, &x) in counts.iter_mut().zip(group) {
                *count += u8::from(x.is_on(mask));
            }
        }
        total += counts.iter().map(|&count| u64::from(count)).sum::<u64>();
        total += rest.iter().map(|&x| u64::from(x.is_on(mask))).sum::<u64>();
    }
    total
}

/// Words of which bits may be on.
trait Masked: Copy {
    fn is_on(self, mask: Self) -> bool;
}

macro_rules! masked {
    ($($word:ty),*) => {
        $(impl Masked for $word {
            #[inline(always)]
            fn is_on(self, mask: Self) -> bool {
                self & mask != 0
            }
        })*
    };
}
masked!(u8, u16, u32, u64);

/// Counts the columns of blocks, from the one at `start` on.
struct Part<'a, W> {
    src: &'a [W],
    mask: W,
    blocks: Blocks,
    start: usize,
    found: &'a mut [u64],
}

impl<W: Word + Masked> Program for Part<'_, W> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let inner = self.blocks.geometry.inner;
        for (index, found) in (self.start..).zip(self.found.chunks_exact_mut(inner)) {
            let src = &self.src[self.blocks.nth(index).0];
            if inner == 1 {
                found[0] = count(src, self.mask);
                continue;
            }
            for (strip, found) in found.chunks_mut(STRIP).enumerate() {
                let mut counts = [0_u32; STRIP];
                for row in src.chunks_exact(inner) {
                    let row = &row[strip * STRIP..][..found.len()];
                    for (count, &x) in counts.iter_mut().zip(row) {
                        *count += u32::from(x.is_on(self.mask));
                    }
                }
                for (found, count) in found.iter_mut().zip(counts) {
                    *found = count.into();
                }
            }
        }
    }
}

/// How many elements are not 0, of each row or column.
fn counts(exec: &Exec, src: View, geometry: Geometry) -> Vec<u64> {
    let rows = (ELEMENTS / geometry.inner).max(64);
    let blocks = Blocks { geometry, rows };
    let (dtype, bits) = (src.dtype(), src.bits());
    let (team, grain) = exec.team(geometry.len(), dtype.size(), COUNTS);
    each_width!((bits: Bits) => {
        let mask = Word::truncated(mask(dtype));
        let of = |start, found: &mut [u64]| exec.isa.run(Part { src: bits, mask, blocks, start, found });
        blocks.find(team, grain, &of, &|all, one| all + one)
    })
}

/// What follows from a count.
pub trait Counted: Sync + 'static {
    /// torch's name.
    const NAME: &'static str;
    /// Whether it is true, of so many of `dim` elements; `None` where the count itself is the result.
    fn truth(count: u64, dim: usize) -> Option<bool>;
}

/// `torch.count_nonzero`.
pub struct Number;

impl Counted for Number {
    const NAME: &'static str = "count_nonzero";

    fn truth(_: u64, _: usize) -> Option<bool> {
        None
    }
}

/// `torch.any`.
pub struct Any;

impl Counted for Any {
    const NAME: &'static str = "any";

    fn truth(count: u64, _: usize) -> Option<bool> {
        Some(count > 0)
    }
}

/// `torch.all`.
pub struct All;

impl Counted for All {
    const NAME: &'static str = "all";

    fn truth(count: u64, dim: usize) -> Option<bool> {
        Some(count == dim as u64)
    }
}

/// Of elements of any type their number, or of conditions whether any or all are true: along a dimension, or of all.
///
/// Numbers: whether the dimension is kept.
pub struct Count<C>(PhantomData<C>);

impl<C> Count<C> {
    /// The only one.
    pub const NEW: Self = Self(PhantomData);
}

impl<C: Counted> AlongKernel for Count<C> {
    fn name(&self) -> &'static str {
        C::NAME
    }

    fn shape(&self) -> Shape {
        Shape::Reduce
    }

    fn takes(&self, dtype: DType) -> bool {
        C::truth(0, 1).is_none() || dtype == DType::Bool
    }

    fn results(&self, _: bool) -> &'static [Kind] {
        if C::truth(0, 1).is_none() {
            &[Kind::Indices]
        } else {
            &[Kind::Values]
        }
    }

    fn accepts(&self, geometry: Geometry, _: &[f64]) -> Result<(), &'static str> {
        geometry.has_elements()
    }

    fn forward(
        &self,
        exec: &Exec,
        src: View,
        results: [Option<Slot>; MAX_RESULTS],
        geometry: Geometry,
        _: &[f64],
    ) -> Result<(), &'static str> {
        let counts = counts(exec, src, geometry);
        match results {
            [Some(Slot::Indices(Unwritten(result))), None] => write(result, &counts, |count| count as i64),
            [Some(Slot::Values(result)), None] => {
                let truth = |count| Bool(C::truth(count, geometry.dim).unwrap_or_default().into());
                write(
                    Bool::target(result).ok_or("a result of another type")?.0,
                    &counts,
                    truth,
                );
            }
            _ => return Err("one result"),
        }
        Ok(())
    }
}

fn write<T>(result: &mut [MaybeUninit<T>], counts: &[u64], of: impl Fn(u64) -> T) {
    assert!(result.len() == counts.len(), "the result differs from the geometry");
    for (result, &count) in result.iter_mut().zip(counts) {
        result.write(of(count));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{isa::Isa, parallel::Serial};

    fn counted<'a>(src: impl Into<View<'a>>, geometry: Geometry) -> Vec<u64> {
        let src = src.into();
        let all: Vec<_> = Isa::available()
            .into_iter()
            .map(|isa| counts(&Exec::new(isa, &Serial), src, geometry))
            .collect();
        assert!(all.windows(2).all(|pair| pair[0] == pair[1]));
        all[0].clone()
    }

    #[test]
    fn every_length_is_counted() {
        for len in (1..200).chain([GROUP * GROUPS - 1, GROUP * GROUPS + 65, 3 * ELEMENTS + 1]) {
            let src: Vec<f32> = (0..len).map(|i| [0.0, 1.0, -0.0, f32::NAN, 1e-45][i % 5]).collect();
            let expected = src.iter().filter(|&&x| x != 0.0).count() as u64;
            assert_eq!(counted(&src[..], Geometry::flat(len)), [expected], "{len}");
            let all = vec![i64::MIN; len];
            assert_eq!(counted(&all[..], Geometry::flat(len)), [len as u64]);
        }
    }

    #[test]
    fn columns_are_counted() {
        for (outer, dim, inner) in [(1, 300, 3), (2, 70, 257), (3, 1, 5), (1, 5000, 64)] {
            let geometry = Geometry { outer, dim, inner };
            let src: Vec<Bool> = (0..geometry.len()).map(|i| Bool((i % 7 == 3).into())).collect();
            let mut expected = vec![0; outer * inner];
            for (i, x) in src.iter().enumerate() {
                expected[i / (dim * inner) * inner + i % inner] += u64::from(x.0);
            }
            assert_eq!(counted(&src[..], geometry), expected);
        }
    }
}
