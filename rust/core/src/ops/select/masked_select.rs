//! The elements that a mask chooses.

use core::mem::MaybeUninit;

use crate::{
    chosen::{BLOCK, Block, Chosen, WORD, places},
    dtype::{Target, View},
    isa::{Program, Simd},
    kernel::{Exec, SelectKernel, Slot, every_type},
    parallel::Shared,
};

/// `torch.masked_select`: the elements where a mask of the input's shape is true, in their order; or slices, where the mask
/// is of its first dimensions.
pub struct MaskedSelect;

impl SelectKernel for MaskedSelect {
    fn name(&self) -> &'static str {
        "masked_select"
    }

    fn has_mask(&self) -> bool {
        true
    }

    fn write(&self, exec: &Exec, src: View, chosen: &Chosen, result: Slot, _: &[i64]) {
        let Slot::Values(result) = result else {
            panic!("elements are of the input's type")
        };
        every_type!((src: View, result: Target) => {
            let inner = src.len() / chosen.elements().max(1);
            assert!(src.len() == chosen.elements() * inner, "the slice differs from what was counted");
            assert!(result.len() == chosen.total() * inner, "the result differs in length");
            let bytes = 2 * inner * size_of_val(src) / src.len().max(1);
            let result = Shared::new(result);
            chosen.each_block(exec, bytes, &|isa, block| {
                // SAFETY: blocks have results of their own.
                let dst = unsafe { result.piece(block.start * inner..(block.start + block.len) * inner) };
                if inner == 1 {
                    isa.run(Write { block, src, dst });
                } else {
                    write_slices(&block, inner, src, dst);
                }
            });
        });
    }
}

/// Elements of a block up to which they lie apart in memory.
const SPARSE: usize = BLOCK / 16;

/// Writes a block's chosen slices of `inner` elements.
fn write_slices<T: Copy>(block: &Block, inner: usize, src: &[T], dst: &mut [MaybeUninit<T>]) {
    let mut buffer = [0; WORD + 8];
    let mut dst = dst.chunks_exact_mut(inner);
    for (first, &word) in (block.first..).step_by(WORD).zip(block.words) {
        let count = places(word, 0, &mut buffer);
        for (&place, dst) in buffer[..count].iter().zip(&mut dst) {
            dst.write_copy_of_slice(&src[(first + usize::from(place)) * inner..][..inner]);
        }
    }
}

/// Writes a block's chosen elements.
struct Write<'a, T> {
    block: Block<'a>,
    src: &'a [T],
    dst: &'a mut [MaybeUninit<T>],
}

impl<T: Copy> Program for Write<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let mut dst = self.dst;
        if dst.len() <= SPARSE {
            // All places before the first element is read, so that the CPU reads several at a time.
            let mut buffer = [0; SPARSE + 8];
            let mut at = 0;
            for (first, &word) in (0..).step_by(WORD).zip(self.block.words) {
                at += places(word, first, &mut buffer[at..]);
            }
            let src = &self.src[self.block.first..];
            for (x, &place) in dst.iter_mut().zip(&buffer) {
                x.write(src[usize::from(place)]);
            }
            return;
        }
        let mut buffer = [0; WORD + 8];
        for (src, &word) in self.src[self.block.first..].chunks(WORD).zip(self.block.words) {
            if word == u64::MAX {
                let (run, rest) = dst.split_at_mut(WORD);
                run.write_copy_of_slice(src);
                dst = rest;
                continue;
            }
            let (run, rest) = dst.split_at_mut(places(word, 0, &mut buffer));
            for (x, &place) in run.iter_mut().zip(&buffer) {
                x.write(src[usize::from(place)]);
            }
            dst = rest;
        }
    }
}
