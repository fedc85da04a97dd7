//! Where elements are that are not 0.

use core::mem::MaybeUninit;

use crate::{
    chosen::{BLOCK, Block, Chosen, WORD, places},
    dtype::{Unwritten, View},
    isa::{Program, Simd},
    kernel::{Exec, SelectKernel, Slot},
    layout::MAX_DIMS,
    parallel::Shared,
};

/// `torch.nonzero` and `torch.argwhere`: the places along each dimension of the elements that are not 0, in their order.
pub struct Nonzero;

impl SelectKernel for Nonzero {
    fn name(&self) -> &'static str {
        "nonzero"
    }

    fn has_mask(&self) -> bool {
        false
    }

    fn write(&self, exec: &Exec, _: View, chosen: &Chosen, result: Slot, sizes: &[i64]) {
        let Slot::Indices(Unwritten(result)) = result else {
            panic!("places are integers")
        };
        let total = chosen.total();
        assert!(
            (1..=MAX_DIMS).contains(&sizes.len()) && sizes.iter().product::<i64>() as usize == chosen.elements(),
            "the sizes differ from what was counted"
        );
        assert!(result.len() == total * sizes.len(), "the result differs in length");
        let result = Shared::new(result);
        chosen.each_block(exec, size_of_val(sizes), &|isa, block| {
            isa.run(Write {
                block,
                result: &result,
                total,
                sizes,
            });
        });
    }
}

/// Writes the places of a block's chosen elements, for which no other thread may write.
struct Write<'a> {
    block: Block<'a>,
    result: &'a Shared<'a, MaybeUninit<i64>>,
    total: usize,
    sizes: &'a [i64],
}

impl Program for Write<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Block {
            words,
            first,
            start,
            len,
        } = self.block;
        let mut buffer = [0; BLOCK + 8];
        let mut at = 0;
        for (first, &word) in (0..).step_by(WORD).zip(words) {
            at += places(word, first, &mut buffer[at..]);
        }
        let steps = &mut buffer[..len];
        // From the last dimension on: how far each element is from the first one's place along it, in elements of it.
        let mut first = first as i64;
        for (dim, &size) in self.sizes.iter().enumerate().rev() {
            let base = first % size;
            first /= size;
            let begin = dim * self.total + start;
            // SAFETY: the caller's.
            let dst = unsafe { self.result.piece(begin..begin + len) };
            along(base, size, steps, dst);
        }
    }
}

/// Writes where along a dimension of this size elements are which are `steps`, ascending, from `base`, and makes the steps
/// those along the dimension before.
#[inline(always)]
fn along(base: i64, size: i64, steps: &mut [u16], dst: &mut [MaybeUninit<i64>]) {
    let left = size - base;
    let last = steps.last().copied().unwrap_or(0);
    if i64::from(last) < left {
        for (place, &step) in dst.iter_mut().zip(&*steps) {
            place.write(base + i64::from(step));
        }
        if last > 0 {
            steps.fill(0);
        }
    } else if size >= BLOCK as i64 {
        // The dimension ends once.
        for (place, step) in dst.iter_mut().zip(steps) {
            let beyond = i64::from(*step) - left;
            place.write(if beyond < 0 { beyond + size } else { beyond });
            *step = u16::from(beyond >= 0);
        }
    } else {
        // A quotient of numbers as small as these and a half is not near enough to an integer for rounding to matter.
        let (base, size, share) = (base as i32, size as i32, 1.0 / size as f32);
        for (place, step) in dst.iter_mut().zip(steps) {
            let reached = base + i32::from(*step);
            // SAFETY: between 0 and twice the block's elements.
            let ends: i32 = unsafe { ((reached as f32 + 0.5) * share).to_int_unchecked() };
            place.write(i64::from(reached - ends * size));
            *step = ends as u16;
        }
    }
}
