//! Which elements are equal, less or greater.

use half::{bf16, f16};

use super::{Walk, broadcast, scalar, tensor};
use crate::{
    dtype::{Bool, DType, Target, Typed},
    kernel::{Exec, IndexKernel, Strided},
    layout::Layout,
    ops::arithmetic::{
        Number, Side,
        compare::{Comparison, compare},
    },
};

/// `torch.eq` and so on: tensors of one type, which are broadcast. Number: what stands for the second where that is missing.
/// `torch.isnan` is the comparison of a tensor with itself.
pub struct Compare {
    name: &'static str,
    comparison: Comparison,
    /// Which tensor the input is compared with; 0 is the input itself.
    other: usize,
}

impl Compare {
    /// `torch.eq`.
    pub const EQ: Self = Self::with_other("eq", Comparison::Equal);
    /// `torch.ne`.
    pub const NE: Self = Self::with_other("ne", Comparison::NotEqual);
    /// `torch.lt`.
    pub const LT: Self = Self::with_other("lt", Comparison::Less);
    /// `torch.le`.
    pub const LE: Self = Self::with_other("le", Comparison::LessEqual);
    /// `torch.gt`.
    pub const GT: Self = Self::with_other("gt", Comparison::Greater);
    /// `torch.ge`.
    pub const GE: Self = Self::with_other("ge", Comparison::GreaterEqual);
    /// `torch.isnan`: a NaN alone differs from itself.
    pub const ISNAN: Self = Self {
        name: "isnan",
        comparison: Comparison::NotEqual,
        other: 0,
    };

    const fn with_other(name: &'static str, comparison: Comparison) -> Self {
        Self {
            name,
            comparison,
            other: 1,
        }
    }

    /// The tensor that the input is compared with; none where that is a number.
    fn other<'a>(&self, tensors: &[Option<Strided<'a>>]) -> Option<Strided<'a>> {
        tensor(tensors, self.other).ok()
    }
}

/// The number that stands for the second tensor, rounded to its type.
fn number(dtype: DType, numbers: &[f64]) -> Result<Number, &'static str> {
    let bits = scalar(dtype, numbers, 0)?;
    Ok(match dtype {
        DType::F32 => Number::Real(f32::from_bits(bits as u32).into()),
        DType::F64 => Number::Real(f64::from_bits(bits)),
        DType::Bf16 => Number::Real(bf16::from_bits(bits as u16).into()),
        DType::F16 => Number::Real(f16::from_bits(bits as u16).into()),
        _ => Number::Whole(numbers[0] as i64),
    })
}

/// A dense layout in the input's order for tensors of one, or a row-major one of what others are broadcast to, any that is
/// broadcast to the input.
fn layout(input: &Layout, other: Option<&Layout>) -> Result<Layout, &'static str> {
    let Some(other) = other.filter(|&other| other != input) else {
        return input.elementwise_result().ok_or("not dense");
    };
    let result = broadcast([input, other]).ok_or("not broadcast")?;
    if !input.is_plain() || !(other.is_plain() || result.sizes() == input.sizes()) {
        return Err("tensors in several strides");
    }
    let walk = Walk::new(result.sizes(), [input, other]).ok_or("not broadcast")?;
    if walk.has_plain_rows() {
        Ok(result)
    } else {
        Err("elements that are apart")
    }
}

/// The elements in another layout.
fn along<'a>(tensor: Strided<'a>, layout: &'a Layout) -> Side<'a> {
    Side::Tensor(Strided { layout, ..tensor })
}

impl IndexKernel for Compare {
    fn name(&self) -> &'static str {
        self.name
    }

    fn differentiates(&self) -> bool {
        false
    }

    fn type_of_numbers(&self, input: DType, _: DType) -> DType {
        input
    }

    fn outline(&self, tensors: &[Option<Strided>], numbers: &[f64], _: bool) -> Result<(DType, Layout), &'static str> {
        let input = tensor(tensors, 0)?;
        let (dtype, other) = (input.elements.dtype(), self.other(tensors));
        match other {
            Some(other) if other.elements.dtype() != dtype => return Err("tensors of several types"),
            Some(_) => {}
            None => _ = number(dtype, numbers)?,
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
        let (input, other) = (tensor(tensors, 0)?, self.other(tensors));
        let (dtype, dst) = (
            input.elements.dtype(),
            Bool::target(result).ok_or("a result of another type")?,
        );
        // Of one order, whichever that is.
        let flat = Layout::contiguous(&[layout.numel() as i64]).ok_or("too many elements")?;
        let (sides, sizes) = match other {
            None => (
                [along(input, &flat), Side::Number(number(dtype, numbers)?)],
                flat.sizes(),
            ),
            Some(other) if other.layout == input.layout => {
                ([input, other].map(|tensor| along(tensor, &flat)), flat.sizes())
            }
            Some(other) => ([input, other].map(Side::Tensor), layout.sizes()),
        };
        compare(exec, self.comparison, sides, dtype, dst, sizes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{isa::Isa, parallel::Serial};

    fn compared(kernel: &Compare, tensors: &[Option<Strided>], numbers: &[f64]) -> Vec<u8> {
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
            assert!(compared(&Compare::LT, &tensors, &[0.0]) == expected);
            let expected: Vec<u8> = pairs().map(|(a, b)| (a == b).into()).collect();
            assert!(compared(&Compare::EQ, &tensors, &[0.0]) == expected);
        }
        let expected: Vec<u8> = all.iter().map(|x| (x.to_f32() >= 1.5).into()).collect();
        assert!(compared(&Compare::GE, &[a, None], &[1.5]) == expected);
        let expected: Vec<u8> = all.iter().map(|x| x.is_nan().into()).collect();
        assert!(compared(&Compare::ISNAN, &[a, None], &[0.0]) == expected);
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
            assert_eq!(
                compared(&Compare::GT, &[strided(a), strided(b)], &[0.0]),
                expected,
                "{a} {b}"
            );
            let expected: Vec<u8> = (0..210).map(|i| (value(a, i) != value(b, i)).into()).collect();
            assert_eq!(
                compared(&Compare::NE, &[strided(a), strided(b)], &[0.0]),
                expected,
                "{a} {b}"
            );
        }
    }
}
