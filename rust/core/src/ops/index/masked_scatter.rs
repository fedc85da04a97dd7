//! Elements where a mask is true become those of a source, in order.

use super::{copied, index_put::put_chosen, tensor, truths};
use crate::{
    chosen::Chosen,
    dtype::{DType, Target, View, ViewMut},
    kernel::{Exec, IndexKernel, Strided},
    layout::Layout,
};

/// `torch.masked_scatter`: tensors of the input, row-major, of a mask of the same sizes, and of the source, row-major, which
/// may have more elements than are true. A mask may be one for all of the last dimensions.
pub struct MaskedScatter;

/// How many elements in a row a truth is for, where a mask is row-major but for that.
fn shared(input: &Layout, mask: &Layout) -> Result<usize, &'static str> {
    const UNFIT: &str = "a mask in other sizes or strides";
    if mask.sizes() != input.sizes() {
        return Err(UNFIT);
    }
    let one = mask.strides().iter().rev().take_while(|&&stride| stride == 0).count();
    let kept = mask.sizes().len() - one;
    let (sizes, rest) = mask.sizes().split_at(kept);
    match Layout::new(sizes, &mask.strides()[..kept]) {
        Some(layout) if layout.is_contiguous() => Ok(rest.iter().product::<i64>() as usize),
        _ => Err(UNFIT),
    }
}

impl IndexKernel for MaskedScatter {
    fn name(&self) -> &'static str {
        "masked_scatter"
    }

    fn outline(&self, tensors: &[Option<Strided>], _: &[f64], _: bool) -> Result<(DType, Layout), &'static str> {
        let (input, mask, source) = (tensor(tensors, 0)?, tensor(tensors, 1)?, tensor(tensors, 2)?);
        truths(&mask)?;
        shared(input.layout, mask.layout)?;
        let dtype = input.row_major()?.dtype();
        if input.layout.numel() == 0 || mask.layout.numel() == 0 {
            return Err("no elements");
        }
        if source.row_major()?.dtype() != dtype {
            return Err("tensors of several types");
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
        self.inplace(exec, layout, copied(exec, input.elements, result), tensors, numbers)
    }

    fn inplace(
        &self,
        exec: &Exec,
        layout: &Layout,
        buf: ViewMut,
        tensors: &[Option<Strided>],
        _: &[f64],
    ) -> Result<(), &'static str> {
        let (mask, source) = (tensor(tensors, 1)?, tensor(tensors, 2)?);
        let (inner, View::Bool(truths)) = (shared(layout, mask.layout)?, mask.elements) else {
            return Err("no mask");
        };
        let chosen = Chosen::count(exec, View::Bool(&truths[..layout.numel() / inner]));
        if chosen.total() * inner > source.layout.numel() {
            return Err("fewer elements than are true");
        }
        put_chosen(exec, &chosen, source.elements, buf)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{dtype::Bool, isa::Isa, parallel::Serial};

    #[test]
    fn elements_and_slices_come_in_order() {
        for inner in [1, 3] {
            let rows = 500;
            let layout = Layout::contiguous(&[rows, inner]).unwrap();
            let mask = Layout::new(&[rows, inner], &[1, 0]).unwrap();
            let truths: Vec<Bool> = (0..rows).map(|i| Bool((i % 3 == 1).into())).collect();
            let (own, src) = (
                vec![-1_i32; layout.numel()],
                (0..layout.numel() as i32).collect::<Vec<_>>(),
            );
            let few = Layout::contiguous(&[166 * inner]).unwrap();
            let of = |source| {
                [
                    Some(Strided {
                        layout: &layout,
                        elements: (&own[..]).into(),
                    }),
                    Some(Strided {
                        layout: &mask,
                        elements: (&truths[..]).into(),
                    }),
                    source,
                ]
            };
            let mut next = 0;
            let expected: Vec<i32> = (0..layout.numel())
                .map(|i| {
                    let chosen = truths[i / inner as usize].0 != 0;
                    next += i32::from(chosen);
                    if chosen { next - 1 } else { -1 }
                })
                .collect();
            let (mut result, exec) = (own.clone(), Exec::new(Isa::detect(), &Serial));
            let all = of(Some(Strided {
                layout: &layout,
                elements: (&src[..]).into(),
            }));
            MaskedScatter
                .forward(&exec, &all, (&mut result[..]).into(), &layout, &[])
                .unwrap();
            assert_eq!(result, expected);
            let part = of(Some(Strided {
                layout: &few,
                elements: (&src[..few.numel()]).into(),
            }));
            assert!(
                MaskedScatter
                    .forward(&exec, &part, (&mut result[..]).into(), &layout, &[])
                    .is_err()
            );
        }
    }
}
