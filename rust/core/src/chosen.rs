//! Which elements are chosen, as many as turn out: they are counted, and what becomes of them written where the counts say.
//!
//! Both passes go over blocks, which threads share; neither depends on which thread has which.

use half::{bf16, f16};

use crate::{
    dtype::{Bool, View},
    isa::{Isa, Program, Simd},
    kernel::{Exec, every_type},
    parallel::Shared,
};

/// Elements that a word has a bit for.
pub(crate) const WORD: usize = u64::BITS as usize;
/// Words of a block, whose chosen elements are counted together.
const WORDS: usize = 16;
/// Elements of a block.
pub(crate) const BLOCK: usize = WORDS * WORD;
/// Instructions that one element takes to be counted and written, for the choice of threads.
const COUNTED: usize = 12;
const WRITTEN: usize = 24;
/// Bits of a word up to which it is faster to look for each.
const FEW: u32 = 6;

/// Which elements of a row-major tensor are chosen.
///
/// ```
/// use rusttorch_core::{chosen::Chosen, kernel::Exec};
///
/// let chosen = Chosen::count(&Exec::default(), (&[0.0_f32, 2.0, -0.0, f32::NAN][..]).into());
/// assert_eq!((chosen.elements(), chosen.total()), (4, 2));
/// ```
#[derive(Debug)]
pub struct Chosen {
    len: usize,
    /// A bit for each element, the first lowest; those after the last are off.
    words: Vec<u64>,
    /// How many are chosen in the blocks before each, and, as the last, in all.
    starts: Vec<usize>,
}

impl Chosen {
    /// Those that are not 0, NaN among them.
    pub fn count(exec: &Exec, chosen: View) -> Self {
        let len = every_type!((chosen: View) => chosen.len());
        let blocks = len.div_ceil(BLOCK);
        let (mut words, mut starts) = (vec![0; len.div_ceil(WORD)], vec![0; blocks + 1]);
        let (team, grain) = exec.team(len, chosen.dtype().size(), COUNTED);
        let (shared, counts) = (Shared::new(&mut words), Shared::new(&mut starts));
        every_type!((chosen: View) => {
            team.run(blocks, grain.div_ceil(BLOCK), &|range| {
                let elements = range.start * BLOCK..len.min(range.end * BLOCK);
                // SAFETY: a team's ranges are disjoint.
                let (words, counts) = unsafe {
                    (
                        shared.piece(range.start * WORDS..elements.end.div_ceil(WORD)),
                        counts.piece(range),
                    )
                };
                exec.isa.run(Count { src: &chosen[elements], words, counts });
            });
        });
        let mut all = 0;
        for start in &mut starts {
            all += core::mem::replace(start, all);
        }
        Self { len, words, starts }
    }

    /// How many elements the tensor has.
    pub fn elements(&self) -> usize {
        self.len
    }

    /// How many are chosen.
    pub fn total(&self) -> usize {
        self.starts.last().copied().unwrap_or(0)
    }

    /// Hands every block that has chosen elements to `write`, by the team, which moves `bytes` for each of them.
    pub(crate) fn each_block(&self, exec: &Exec, bytes: usize, write: &(impl Fn(Isa, Block) + Sync)) {
        // Words without a bit take time as well.
        let work = self.total() + self.len / 8;
        let (team, grain) = exec.team(work, bytes, WRITTEN);
        let blocks = self.starts.len() - 1;
        let grain = (grain as f64 / work.max(1) as f64 * blocks as f64).ceil();
        team.run(blocks, (grain as usize).max(1), &|range| {
            for index in range {
                let (start, end) = (self.starts[index], self.starts[index + 1]);
                if start < end {
                    let words = &self.words[index * WORDS..self.words.len().min((index + 1) * WORDS)];
                    let first = index * BLOCK;
                    write(
                        exec.isa,
                        Block {
                            words,
                            first,
                            start,
                            len: end - start,
                        },
                    );
                }
            }
        });
    }
}

/// Some elements in a row, of which some are chosen.
pub(crate) struct Block<'a> {
    pub(crate) words: &'a [u64],
    /// The place of the first element.
    pub(crate) first: usize,
    /// Where the result of the first chosen one is, and how many are chosen.
    pub(crate) start: usize,
    pub(crate) len: usize,
}

/// An element that is true or false.
trait Truth: Copy + Default {
    fn is_true(self) -> bool;
}

macro_rules! truth {
    ($($element:ty: $x:ident => $is_true:expr),* $(,)?) => {
        $(
            impl Truth for $element {
                #[inline(always)]
                fn is_true(self) -> bool {
                    let $x = self;
                    $is_true
                }
            }
        )*
    };
}

// Halves are compared as integers without their sign: they would have to be widened.
truth!(
    f32: x => x != 0.0,
    f64: x => x != 0.0,
    bf16: x => x.to_bits() << 1 != 0,
    f16: x => x.to_bits() << 1 != 0,
    i64: x => x != 0,
    i32: x => x != 0,
    i16: x => x != 0,
    i8: x => x != 0,
    u8: x => x != 0,
    Bool: x => x.0 != 0,
);

/// Makes the words of some blocks, and counts the bits of each.
struct Count<'a, T> {
    src: &'a [T],
    words: &'a mut [u64],
    counts: &'a mut [usize],
}

impl<T: Truth> Program for Count<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (whole, rest) = self.src.as_chunks();
        for (word, src) in self.words.iter_mut().zip(whole) {
            *word = bits(simd, src);
        }
        if !rest.is_empty() {
            let mut last = [T::default(); WORD];
            last[..rest.len()].copy_from_slice(rest);
            self.words[whole.len()] = bits(simd, &last);
        }
        for (count, words) in self.counts.iter_mut().zip(self.words.chunks(WORDS)) {
            *count = words.iter().map(|word| word.count_ones() as usize).sum();
        }
    }
}

/// A bit for each element, the first lowest.
#[inline(always)]
fn bits<S: Simd, T: Truth>(simd: S, src: &[T; WORD]) -> u64 {
    let mut bytes = [0; WORD];
    for (byte, x) in bytes.iter_mut().zip(src) {
        *byte = u8::from(x.is_true());
    }
    simd.bits(&bytes)
}

/// The bits that are on in a byte, lowest first.
static PLACES: [[u8; 8]; 256] = {
    let mut all = [[0; 8]; 256];
    let mut byte = 0;
    while byte < 256 {
        let (mut bit, mut at) = (0, 0);
        while bit < 8 {
            if byte >> bit & 1 == 1 {
                all[byte][at] = bit as u8;
                at += 1;
            }
            bit += 1;
        }
        byte += 1;
    }
    all
};

/// Writes the places of a word's bits, counted from `first`, to the beginning of `dst`, which has room for eight more than
/// there are, and gives their number.
#[inline(always)]
pub(crate) fn places(word: u64, first: u16, dst: &mut [u16]) -> usize {
    let count = word.count_ones();
    if count <= FEW {
        let mut rest = word;
        for place in &mut dst[..count as usize] {
            *place = first + rest.trailing_zeros() as u16;
            rest &= rest.wrapping_sub(1);
        }
    } else {
        let mut at = 0;
        for (first, byte) in (first..).step_by(8).zip(word.to_le_bytes()) {
            for (place, &bit) in dst[at..at + 8].iter_mut().zip(&PLACES[usize::from(byte)]) {
                *place = first + u16::from(bit);
            }
            at += byte.count_ones() as usize;
        }
    }
    count as usize
}
