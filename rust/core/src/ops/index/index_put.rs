//! Elements where a mask is true, or that indices name, become others.

use super::{
    OUT_OF_RANGE, Width, indices, masked_fill,
    scatter::{self, Plan, Source},
    tensor, truths,
};
use crate::{
    chosen::{Block, Chosen, WORD, places},
    dtype::{BitsMut, DType, Target, View, ViewMut, Word, each_width},
    isa::{Program, Simd},
    kernel::{Exec, IndexKernel, Strided},
    layout::{Layout, MAX_DIMS},
    parallel::Shared,
};

/// `input[mask] = value`, in place: tensors of the input, of values and of a mask of the input's first dimensions. One value
/// is for all, and may be a number; others are as many as are true, in the sizes of `input[mask]`. Number: what stands for
/// the value where that is missing.
///
/// `input[index] = value` is the same of slices along the first dimension, for indices in a tensor of any sizes, row-major;
/// negative ones count from the end. Of several values for one slice the last stays.
pub struct IndexPut;

/// How indices, if there are any, name slices of an input, and where the value of each comes from.
fn plan(input: &Layout, tensors: &[Option<Strided>]) -> Result<Plan, &'static str> {
    let (index, _) = indices(tensors, 2)?;
    if !(input.is_contiguous() && index.is_contiguous()) || index.sizes().is_empty() {
        return Err("no indices along a dimension");
    }
    let [size, each @ ..] = input.sizes() else {
        return Err("no dimension");
    };
    let (count, inner) = (index.numel() as i64, each.iter().product());
    let layout = |sizes, strides: [i64; 2]| Layout::new(sizes, &strides).ok_or("too many elements");
    let sizes = [count, inner];
    let values = match own(tensors) {
        None => layout(&sizes, [0, 0])?,
        Some(values) => {
            values.row_major()?;
            if !values.sizes().starts_with(index.sizes()) || &values.sizes()[index.sizes().len()..] != each {
                return Err("values to be broadcast");
            }
            layout(&sizes, [inner, 1])?
        }
    };
    Plan::new(
        &layout(&[*size, inner], [inner, 1])?,
        &layout(&sizes, [1, 0])?,
        &values,
        0,
    )
}

/// The values where indices are what there is.
fn source<'a>(dtype: DType, tensors: &[Option<Strided<'a>>], numbers: &[f64]) -> Result<Source<'a>, &'static str> {
    match own(tensors) {
        Some(values) if values.elements.dtype() == dtype => Ok(Source::Elements(values.elements)),
        Some(_) => Err("tensors of several types"),
        None => Ok(Source::Value(masked_fill::value(tensors, dtype, numbers)?)),
    }
}

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
        if input.layout.numel() == 0 || mask.layout.numel() == 0 {
            return Err("no elements");
        }
        let dtype = input.elements.dtype();
        if mask.elements.dtype() == DType::I64 {
            plan(input.layout, tensors)?;
            source(dtype, tensors, numbers)?;
            return Ok((dtype, *input.layout));
        }
        truths(&mask)?;
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
        if let View::I64(index) = mask.elements {
            if !scatter::in_range::<true>(exec, index, layout.sizes()[0] as usize) {
                return Err(OUT_OF_RANGE);
            }
            let source = source(buf.dtype(), tensors, numbers)?;
            return scatter::put::<true>(exec, &plan(layout, tensors)?, index, source, buf);
        }
        let Some(values) = own(tensors) else {
            let value = masked_fill::value(tensors, buf.dtype(), numbers)?;
            let leading = leading(layout, mask.layout)?;
            return masked_fill::fill(exec, layout, buf, &leading, truths(&mask)?, value);
        };
        let chosen = Chosen::count(exec, mask.elements);
        if values.sizes()[0] != chosen.total() as i64 {
            return Err("other than as many values");
        }
        put_chosen(exec, &chosen, values.elements, buf)
    }
}

/// Puts values in the place of what was chosen, elements or slices of one length, in order.
pub(super) fn put_chosen(exec: &Exec, chosen: &Chosen, values: View, buf: ViewMut) -> Result<(), &'static str> {
    let (bytes, buf) = (2 * buf.dtype().size(), buf.bits());
    each_width!((buf: BitsMut) => {
        let values = Width::of(values.bits()).ok_or("tensors of several types")?;
        let (len, inner) = (buf.len(), buf.len() / chosen.elements());
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
