//! The same of operations on several tensors; and whatever they take, they run.

use arbitrary::{Arbitrary, Result, Unstructured};
use half::{bf16, f16};
use rusttorch_core::{
    dtype::{DType, Target, View},
    isa::Isa,
    kernel::{Elements, Exec, MAX_OPERANDS, NaryKernel, Operand, Outline},
    ops,
    parallel::Serial,
};

use super::{
    kernel::{Uneven, Values, assert_same, list, number},
    number::{Number, random},
};

/// An operand: its sizes, and whether it has indices.
#[derive(Debug)]
struct Tensor {
    sizes: Vec<i64>,
    has_indices: bool,
}

/// Any call of any of these kernels.
#[derive(Debug)]
pub struct Case {
    pub kernel: &'static str,
    dtype: DType,
    isa: &'static str,
    team: Uneven,
    tensors: Vec<Option<Tensor>>,
    numbers: Vec<f64>,
    values: Values,
    /// Between which indices are.
    least: i64,
    most: u64,
}

/// The most elements: enough for the longest rows, which are worked on in another way.
const MOST: i64 = 70_000;

impl<'a> Arbitrary<'a> for Case {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let sizes = sizes(u)?;
        let mut tensors = vec![Some(Tensor {
            sizes: sizes.clone(),
            has_indices: false,
        })];
        for _ in 1..*u.choose(&[2, 2, 2, 3, 3, MAX_OPERANDS])? {
            tensors.push(other(&sizes, u)?);
        }
        Ok(Self {
            kernel: u.choose(ops::NARY_KERNELS)?.name(),
            dtype: *u.choose(&DType::FLOATS)?,
            isa: u.choose(&Isa::available())?.name(),
            team: Uneven(u.int_in_range(1..=9)?),
            tensors,
            numbers: (0..*u.choose(&[1, 2, 2, 3, 3, 4])?)
                .map(|_| small_or_any(u))
                .collect::<Result<_>>()?,
            values: u.arbitrary()?,
            least: -i64::from(u.ratio(1, 4)?),
            most: u.int_in_range(0..=7)?,
        })
    }
}

fn sizes(u: &mut Unstructured) -> Result<Vec<i64>> {
    let mut left = *u.choose(&[20, 600, 600, 3000, MOST])?;
    list(4, u, |u| {
        let least = i64::from(u.ratio(19, 20)?);
        let size = u.int_in_range(least..=left.max(1))?;
        left /= size.max(1);
        Ok(size)
    })
}

/// One that goes with an input of these sizes, most of the time.
fn other(sizes: &[i64], u: &mut Unstructured) -> Result<Option<Tensor>> {
    let cut = u.int_in_range(0..=sizes.len())?;
    let (sizes, indices) = match u.int_in_range(0..=5)? {
        0 => return Ok(None),
        1 => (self::sizes(u)?, 2),
        2 => (sizes[cut..].to_vec(), 5),
        // The indices of classes, most likely.
        3 => (sizes[..sizes.len().saturating_sub(1)].to_vec(), 1),
        _ => (sizes.to_vec(), 5),
    };
    Ok(Some(Tensor {
        sizes,
        has_indices: u.ratio(1, indices)?,
    }))
}

/// Settings are small whole numbers, for the most part.
fn small_or_any(u: &mut Unstructured) -> Result<f64> {
    if u.ratio(3, 4)? {
        Ok(f64::from(u.int_in_range(0..=3)?))
    } else {
        number(u)
    }
}

/// A call with its tensors.
struct Call<'a, T> {
    kernel: &'a dyn NaryKernel,
    operands: Vec<Option<Operand<'a>>>,
    outline: Outline,
    numbers: &'a [f64],
    grad: Vec<T>,
}

impl<T: Number> Call<'_, T> {
    /// The result, what is kept, and the gradients of operands, in memory that held `before`.
    fn run(&self, exec: &Exec, before: T) -> (Vec<T>, Vec<f64>, Vec<Vec<T>>) {
        let mut result = vec![before; self.outline.result.numel()];
        let (dtype, len) = self.outline.saved;
        let (mut single, mut double) = (vec![before.wide() as f32; len], vec![before.wide(); len]);
        let wide = dtype == DType::F64;
        let kept: Target = if wide {
            (&mut double[..]).into()
        } else {
            (&mut single[..]).into()
        };
        self.kernel
            .forward(exec, &self.operands, T::target(&mut result), Some(kept), self.numbers);
        let kept: View = if wide { double[..].into() } else { single[..].into() };
        let mut gradients: Vec<Vec<T>> = self
            .operands
            .iter()
            .map(|operand| {
                let floats = operand.as_ref().and_then(Operand::floats);
                vec![before; floats.map_or(0, |_| operand.as_ref().map_or(0, numel))]
            })
            .collect();
        let mut targets = [const { None }; MAX_OPERANDS];
        for (target, gradient) in targets.iter_mut().zip(&mut gradients) {
            *target = (!gradient.is_empty()).then(|| T::target(gradient));
        }
        self.kernel
            .backward(exec, T::view(&self.grad), &self.operands, kept, targets, self.numbers);
        let kept = if wide {
            double
        } else {
            single.into_iter().map(f64::from).collect()
        };
        (result, kept, gradients)
    }
}

/// Elements of the largest results that are compared.
const MOST_RESULTS: usize = 1 << 21;

fn numel(operand: &Operand) -> usize {
    operand.sizes.iter().product::<i64>() as usize
}

impl Case {
    /// Elements of all tensors.
    pub fn elements(&self) -> usize {
        let each = self.tensors.iter().flatten();
        each.map(|tensor| tensor.sizes.iter().product::<i64>() as usize).sum()
    }

    /// Runs the call, if the kernel takes it, on one thread and on the team.
    ///
    /// Returns whether it does.
    pub fn check(&self) -> bool {
        match self.dtype {
            DType::F32 => self.check_as::<f32>(),
            DType::F64 => self.check_as::<f64>(),
            DType::Bf16 => self.check_as::<bf16>(),
            DType::F16 => self.check_as::<f16>(),
            _ => unreachable!("drawn are floating-point types"),
        }
    }

    fn index(&self, bits: u64) -> i64 {
        self.least + (bits % (self.most + 1)) as i64
    }

    fn check_as<T: Number>(&self) -> bool {
        let kernel = ops::find_nary(self.kernel).expect("a kernel of the list");
        let mut floats: Vec<Vec<T>> = Vec::new();
        let mut indices: Vec<Vec<i64>> = Vec::new();
        for (salt, tensor) in (1..).zip(&self.tensors) {
            let len = tensor.as_ref().map_or(0, |tensor| tensor.sizes.iter().product::<i64>()) as usize;
            floats.push(self.values.of(len, salt));
            indices.push(random(len, self.values.seed).map(|bits| self.index(bits)).collect());
        }
        let each = self.tensors.iter().zip(floats.iter().zip(&indices));
        let operands: Vec<Option<Operand>> = each
            .map(|(tensor, (floats, indices))| {
                let tensor = tensor.as_ref()?;
                let elements = if tensor.has_indices {
                    Elements::Indices(indices)
                } else {
                    Elements::Floats(T::view(floats))
                };
                Some(Operand {
                    sizes: &tensor.sizes,
                    elements,
                })
            })
            .collect();
        let exec = Exec::new(Isa::detect(), &Serial);
        let input = &self.tensors[0].as_ref().expect("an input").sizes;
        let outlined = kernel
            .accepts(self.dtype, input, &self.numbers)
            .and_then(|()| kernel.outline(&operands, &self.numbers));
        let Ok(outline) = outlined else { return false };
        // Products of sizes, as of indices and columns, may be more than the machine has memory for.
        if outline.result.numel() > MOST_RESULTS {
            return false;
        }
        if kernel.inspect(&exec, &operands, &self.numbers).is_err() {
            return false;
        }
        let call = Call {
            kernel,
            operands,
            outline,
            numbers: &self.numbers,
            grad: self.values.of(outline.result.numel(), 0),
        };
        let isa = Isa::by_name(self.isa).expect("an instruction set of this machine");
        let (one, other) = (
            call.run(&exec, T::of(0.0)),
            call.run(&Exec::new(isa, &self.team), T::of(0.0)),
        );
        let what = format!("{self:?}");
        assert_same(&what, &other.0, &one.0);
        assert_same(&format!("{what}, kept"), &other.1, &one.1);
        for (other, one) in other.2.iter().zip(&one.2) {
            assert_same(&format!("{what}, backward"), other, one);
        }
        true
    }
}
