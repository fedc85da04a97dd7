//! Elements where a mask is true become others.

use super::{Width, masked_fill, tensor, truths};
use crate::{
    chosen::{Block, Chosen, WORD, places},
    dtype::{BitsMut, DType, Target, ViewMut, Word, each_width},
    isa::{Program, Simd},
    kernel::{Exec, IndexKernel, Strided},
    layout::{Layout, MAX_DIMS},
    parallel::Shared,
};

/// `input[mask] = value`, in place: tensors of the input, of values and of a mask of the input's first dimensions. One value
/// is for all, and may be a number; others are as many as are true, in the sizes of `input[mask]`. Number: what stands for
/// the value where that is missing.
pub struct IndexPut;

/// The mask's layout, with dimensions of size 1 for those that it lacks.
fn leading(input: &Layout, mask: &Layout) -> Result<Layout, &'static str> {
    let (dims, given) = (input.sizes().len(), mask.sizes().len());
    if given == 0 || !input.sizes().starts_with(mask.sizes()) {
        return Err("no mask of the first dimensions");
    }
    let (mut sizes, mut strides) = ([1; MAX_DIMS], [1; MAX_DIMS]);
    sizes[..given].copy_from_slice(mask.sizes());
    strides[..given].copy_from_slice(mask.strides());
    Layout::new(&sizes[..dims], &strides[..dims]).ok_or("too many elements")
}

/// The values, where each element has its own.
fn own<'a>(tensors: &[Option<Strided<'a>>]) -> Option<Strided<'a>> {
    tensor(tensors, 1).ok().filter(|values| !values.sizes().is_empty())
}

impl IndexKernel for IndexPut {
    fn name(&self) -> &'static str {
        "index_put_"
    }

    fn outline(
        &self,
        tensors: &[Option<Strided>],
        numbers: &[f64],
        inplace: bool,
    ) -> Result<(DType, Layout), &'static str> {
        let (input, mask) = (tensor(tensors, 0)?, tensor(tensors, 2)?);
        if !inplace {
            return Err("in place only");
        }
        if input.layout.numel() == 0 {
            return Err("no elements");
        }
        truths(&mask)?;
        let dtype = input.elements.dtype();
        let leading = leading(input.layout, mask.layout)?;
        if let Some(values) = own(tensors) {
            let inner = &input.sizes()[mask.sizes().len()..];
            let [_, each @ ..] = values.sizes() else {
                return Err("no values");
            };
            if values.elements.dtype() != dtype || each != inner {
                return Err("values of another type, or to be broadcast");
            }
            input.row_major()?;
            mask.row_major()?;
            values.row_major()?;
        } else {
            masked_fill::value(tensors, dtype, numbers)?;
            masked_fill::walk(input.layout, &leading)?;
        }
        Ok((dtype, input.layout.elementwise_result().ok_or("not dense")?))
    }

    fn forward(&self, _: &Exec, _: &[Option<Strided>], _: Target, _: &Layout, _: &[f64]) -> Result<(), &'static str> {
        Err("in place only")
    }

    fn inplace(
        &self,
        exec: &Exec,
        layout: &Layout,
        buf: ViewMut,
        tensors: &[Option<Strided>],
        numbers: &[f64],
    ) -> Result<(), &'static str> {
        let mask = tensor(tensors, 2)?;
        let Some(values) = own(tensors) else {
            let value = masked_fill::value(tensors, buf.dtype(), numbers)?;
            let leading = leading(layout, mask.layout)?;
            return masked_fill::fill(exec, layout, buf, &leading, truths(&mask)?, value);
        };
        let chosen = Chosen::count(exec, mask.elements);
        if values.sizes()[0] != chosen.total() as i64 {
            return Err("other than as many values");
        }
        let (bytes, buf) = (2 * buf.dtype().size(), buf.bits());
        let inner = layout.numel() / chosen.elements();
        each_width!((buf: BitsMut) => {
            let values = Width::of(values.elements.bits()).ok_or("tensors of several types")?;
            let len = buf.len();
            let buf = Shared::new(buf);
            chosen.each_block(exec, bytes * inner, &|isa, block| {
                let end = (block.first + block.words.len() * WORD) * inner;
                // SAFETY: blocks are apart.
                let buf = unsafe { buf.piece(block.first * inner..end.min(len)) };
                isa.run(Put { block, inner, values, buf });
            });
        });
        Ok(())
    }
}

/// Changes a block's chosen elements, or slices of `inner` elements.
struct Put<'a, W> {
    block: Block<'a>,
    inner: usize,
    values: &'a [W],
    buf: &'a mut [W],
}

impl<W: Word> Program for Put<'_, W> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self {
            block,
            inner,
            values,
            buf,
        } = self;
        let mut values = values[block.start * inner..].chunks_exact(inner);
        let mut buffer = [0; WORD + 8];
        for (first, &word) in (0..).step_by(WORD).zip(block.words) {
            let count = places(word, first, &mut buffer);
            for (&place, value) in buffer[..count].iter().zip(&mut values) {
                let at = usize::from(place) * inner;
                if inner == 1 {
                    buf[at] = value[0];
                } else {
                    buf[at..at + inner].copy_from_slice(value);
                }
            }
        }
    }
}
