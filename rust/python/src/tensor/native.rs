//! Functions that the catalogue has no row for, as stock torch's own are at the roof.

use pyo3::{
    exceptions::{PyIndexError, PyTypeError, PyValueError},
    prelude::*,
};
use rusttorch_core::{
    dtype::{DType, Target, Typed, Unwritten},
    kernel::{Geometry, IndexKernel},
    ops::{
        arithmetic::{Number, compare::Comparison},
        matmul::matmul::MATMUL,
        random::multinomial::{self, Draws},
        reduction::sum::{mean, sum, sum_dtype},
        select::{bincount, unique::unique, unique_consecutive::unique_consecutive},
    },
};

use super::{
    Tensor,
    arithmetic::{Binary, Operand, binary},
    contiguous, create, detached,
    random::with_generator,
    shape,
    shape::{broadcast, wrap},
    sizes_of,
    team::exec,
};

/// Such a function.
#[derive(Clone, Copy)]
pub(super) enum Native {
    Add,
    Sub,
    Mul,
    Div,
    Compare(Comparison),
    Sum,
    Mean,
    Matmul,
    Transpose,
    Reshape,
    Unique,
    UniqueConsecutive,
    Bincount,
    Multinomial,
}

/// What such a function makes: several things at most.
pub(super) type Made = [Option<Tensor>; 3];

impl Native {
    /// By torch's name.
    pub(super) fn find(name: &str) -> Option<Self> {
        Some(match name {
            "add" => Self::Add,
            "sub" => Self::Sub,
            "mul" => Self::Mul,
            "div" => Self::Div,
            "eq" => Self::Compare(Comparison::Equal),
            "ne" => Self::Compare(Comparison::NotEqual),
            "lt" => Self::Compare(Comparison::Less),
            "le" => Self::Compare(Comparison::LessEqual),
            "gt" => Self::Compare(Comparison::Greater),
            "ge" => Self::Compare(Comparison::GreaterEqual),
            "sum" => Self::Sum,
            "mean" => Self::Mean,
            "matmul" => Self::Matmul,
            "transpose" => Self::Transpose,
            "reshape" => Self::Reshape,
            "unique" => Self::Unique,
            "unique_consecutive" => Self::UniqueConsecutive,
            "bincount" => Self::Bincount,
            "multinomial" => Self::Multinomial,
            _ => return None,
        })
    }

    /// With the arguments in the order of the signature, `None` for those that are missing.
    pub(super) fn call(self, py: Python<'_>, name: &str, given: &[Option<Bound<'_, PyAny>>]) -> PyResult<Made> {
        let required = |index: usize| {
            let found = given.get(index).and_then(Option::as_ref);
            found.ok_or_else(|| PyTypeError::new_err(format!("{name}: an argument is missing")))
        };
        let optional = |index: usize| {
            given
                .get(index)
                .and_then(Option::as_ref)
                .filter(|object| !object.is_none())
        };
        let operand = |index| {
            let object = required(index)?;
            Operand::of(object)?.ok_or_else(|| {
                PyTypeError::new_err(format!(
                    "{name}: expected a tensor or a number, not {}",
                    object.get_type()
                ))
            })
        };
        let tensor = |index| match operand(index)? {
            Operand::Theirs(tensor) => Ok(tensor.clone()),
            Operand::Made(tensor) => Ok(*tensor),
            Operand::Number(..) => Err(PyTypeError::new_err(format!("{name}: expected a tensor, not a number"))),
        };
        let flag = |index: usize| match optional(index) {
            None => Ok(false),
            Some(object) => object.extract::<bool>().map_err(|_| {
                PyTypeError::new_err(format!("{name}: expected True or False, not {}", object.get_type()))
            }),
        };
        let one = match self {
            Self::Add | Self::Sub => {
                let mut alpha = optional(2).map_or(Ok(Number::Whole(1)), |alpha| create::number("alpha", alpha))?;
                if matches!(self, Self::Sub) {
                    alpha = match alpha {
                        Number::Whole(alpha) => Number::Whole(alpha.wrapping_neg()),
                        Number::Real(alpha) => Number::Real(-alpha),
                    };
                }
                binary(py, Binary::Add(alpha), operand(0)?, operand(1)?)
            }
            Self::Mul => binary(py, Binary::Mul, operand(0)?, operand(1)?),
            Self::Div => binary(py, Binary::Div, operand(0)?, operand(1)?),
            Self::Compare(comparison) => binary(py, Binary::Compare(comparison), operand(0)?, operand(1)?),
            Self::Sum | Self::Mean => {
                let mut input = tensor(0)?;
                if let Some(dtype) = optional(3) {
                    input = input.cast(py, super::dtype::parse(dtype)?)?;
                }
                let dims = optional(1).map(|dims| sizes_of("dim", dims)).transpose()?;
                let keepdim = flag(2)?;
                input.reduce(py, name, dims.as_deref(), keepdim, matches!(self, Self::Mean))
            }
            Self::Matmul => tensor(0)?.matmul(py, &tensor(1)?),
            Self::Transpose => {
                let dim = |index| {
                    let object: &Bound<'_, PyAny> = required(index)?;
                    object.extract::<i64>().map_err(|_| {
                        PyTypeError::new_err(format!("{name}: a dim is an integer, not {}", object.get_type()))
                    })
                };
                tensor(0)?.transpose(dim(1)?, dim(2)?)
            }
            Self::Reshape => tensor(0)?.reshape(py, &sizes_of("shape", required(1)?)?),
            Self::Unique => {
                let _always_sorted = flag(1)?;
                return tensor(0)?.unique(py, flag(2)?, flag(3)?, false);
            }
            Self::UniqueConsecutive => return tensor(0)?.unique(py, flag(1)?, flag(2)?, true),
            Self::Bincount => {
                let least = optional(2).map_or(Ok(0), |least| {
                    least.extract::<usize>().map_err(|_| {
                        PyValueError::new_err(format!(
                            "{name}: minlength must be an integer of 0 or more, not {least}"
                        ))
                    })
                })?;
                tensor(0)?.bincount(py, least)
            }
            Self::Multinomial => {
                let samples: &Bound<'_, PyAny> = required(1)?;
                let samples = samples.extract::<usize>().map_err(|_| {
                    PyValueError::new_err(format!("{name}: num_samples must be a positive integer, not {samples}"))
                })?;
                let replacement = flag(2)?;
                tensor(0)?.multinomial(py, Draws { samples, replacement })
            }
        }?;
        Ok([Some(one), None, None])
    }
}

impl Tensor {
    /// The sums or means over dimensions, or all elements.
    pub(super) fn reduce(
        &self,
        py: Python<'_>,
        name: &str,
        dims: Option<&[i64]>,
        keepdim: bool,
        is_mean: bool,
    ) -> PyResult<Self> {
        let ndim = self.sizes().len();
        let mut reduced = vec![false; ndim];
        match dims {
            Some(dims) if !dims.is_empty() => {
                for &dim in dims {
                    let at = wrap(dim, ndim)?;
                    if at < ndim && std::mem::replace(&mut reduced[at], true) {
                        return Err(PyValueError::new_err(format!("{name}: dim {dim} is given twice")));
                    }
                }
            }
            _ => reduced.fill(true),
        }
        if is_mean && !self.dtype().is_float() {
            return Err(needs_floats(name, self.dtype()));
        }
        let of = |reduced: &[bool], keep: bool| -> Vec<i64> {
            let each = self.sizes().iter().zip(reduced);
            each.filter_map(|(&size, &reduced)| match (reduced, keep) {
                (false, _) => Some(size),
                (true, true) => Some(1),
                (true, false) => None,
            })
            .collect()
        };
        // One run of neighbours is one dimension; others are moved to the end.
        let first = reduced.iter().position(|&reduced| reduced).unwrap_or(ndim);
        let last = reduced
            .iter()
            .rposition(|&reduced| reduced)
            .map_or(first, |last| last + 1);
        let together = reduced[first..last].iter().all(|&reduced| reduced);
        let product = |sizes: &[i64]| sizes.iter().product::<i64>() as usize;
        let (source, geometry) = if together {
            let geometry = Geometry {
                outer: product(&self.sizes()[..first]),
                dim: product(&self.sizes()[first..last]),
                inner: product(&self.sizes()[last..]),
            };
            (self.contiguous(py)?, geometry)
        } else {
            let kept = (0..ndim).filter(|&dim| !reduced[dim]);
            let order: Vec<i64> = kept
                .chain((0..ndim).filter(|&dim| reduced[dim]))
                .map(|dim| dim as i64)
                .collect();
            let outer = product(&of(&reduced, false));
            let dim = product(
                &(0..ndim)
                    .filter(|&dim| reduced[dim])
                    .map(|dim| self.sizes()[dim])
                    .collect::<Vec<_>>(),
            );
            (self.permute(&order)?.contiguous(py)?, Geometry { outer, dim, inner: 1 })
        };
        let layout = contiguous(&of(&reduced, keepdim))?;
        Self::written(py, sum_dtype(self.dtype()), layout, |exec, target| {
            if is_mean {
                mean(exec, source.elements(), target, geometry);
            } else {
                sum(exec, source.elements(), target, geometry);
            }
        })
    }

    /// As `torch.matmul`: of vectors, matrices, and many of these, which are broadcast.
    pub(super) fn matmul(&self, py: Python<'_>, other: &Self) -> PyResult<Self> {
        let (left, right) = (self.sizes().len(), other.sizes().len());
        if left == 0 || right == 0 {
            return Err(PyValueError::new_err(
                "matmul: both tensors need a dimension at least; of numbers, use mul",
            ));
        }
        for tensor in [self, other] {
            if !tensor.dtype().is_float() {
                return Err(needs_floats("matmul", tensor.dtype()));
            }
        }
        if self.dtype() != other.dtype() {
            return Err(PyTypeError::new_err(format!(
                "matmul: the dtypes differ: {} and {}; convert one with tensor.to",
                self.dtype().name(),
                other.dtype().name()
            )));
        }
        let a = if left == 1 { self.unsqueeze(0)? } else { self.clone() };
        let b = if right == 1 { other.unsqueeze(1)? } else { other.clone() };
        let (a_outer, a_sizes) = a.sizes().split_at(a.sizes().len() - 2);
        let (b_outer, b_sizes) = b.sizes().split_at(b.sizes().len() - 2);
        if a_sizes[1] != b_sizes[0] {
            return Err(PyValueError::new_err(format!(
                "matmul: the shapes {} and {} do not fit: {} columns and {} rows",
                shape(self.sizes()),
                shape(other.sizes()),
                a_sizes[1],
                b_sizes[0]
            )));
        }
        let mut sizes = broadcast(a_outer, b_outer)?;
        sizes.extend((left > 1).then_some(a_sizes[0]));
        sizes.extend((right > 1).then_some(b_sizes[1]));
        let layout = contiguous(&sizes)?;
        if layout.numel() == 0 || a_sizes[1] == 0 {
            return Self::allocate(self.dtype(), layout, true);
        }
        // Read where they lie, unless that is neither by rows nor by columns.
        let outlined = MATMUL.outline(&[Some(self.strided()), Some(other.strided())], &[], false);
        let [first, second] = if outlined.is_ok() {
            [self.clone(), other.clone()]
        } else {
            [self.contiguous(py)?, other.contiguous(py)?]
        };
        let tensors = [Some(first.strided()), Some(second.strided())];
        let mut outcome = Ok(());
        let result = Self::written(py, self.dtype(), layout, |exec, target| {
            outcome = MATMUL.forward(exec, &tensors, target, &layout, &[]);
        })?;
        outcome.map_err(|reason| refused("matmul", reason))?;
        Ok(result)
    }

    /// As `torch.unique` without a dim: the different elements, ascending, and if they are asked for the place of each element
    /// among them, and how many there are of each; or, `of_runs`, as `torch.unique_consecutive`.
    fn unique(&self, py: Python<'_>, inverse: bool, counts: bool, of_runs: bool) -> PyResult<Made> {
        let dtype = self.dtype();
        if dtype == DType::Bool {
            let [values, inverse, counts] = self.cast(py, DType::U8)?.unique(py, inverse, counts, of_runs)?;
            let values = values.map(|values| values.cast(py, dtype)).transpose()?;
            return Ok([values, inverse, counts]);
        }
        let source = self.contiguous(py)?;
        let find = || {
            if of_runs {
                unique_consecutive(&exec(), source.elements())
            } else {
                unique(&exec(), source.elements(), inverse, false)
            }
        };
        let found = if source.numel() == 0 {
            None
        } else {
            Some(detached(py, source.numel(), find).map_err(|reason| refused("unique", reason))?)
        };
        let layout = contiguous(&[found.as_ref().map_or(0, |found| found.count()) as i64])?;
        let values = Self::allocate(dtype, layout, true)?;
        let places = inverse.then(|| Self::allocate(DType::I64, *source.layout(), true));
        let numbers = counts.then(|| Self::allocate(DType::I64, layout, true));
        let (places, numbers) = (places.transpose()?, numbers.transpose()?);
        if let Some(found) = found {
            // SAFETY: new memory of these sizes, which nobody else has.
            let (target, [places, numbers]) = unsafe {
                let indices = |tensor: &Option<Self>| {
                    let tensor = tensor.as_ref()?;
                    Some(Unwritten::from_raw(tensor.data().cast(), tensor.numel()))
                };
                let target = Target::from_raw(dtype, values.data(), layout.numel());
                (target, [indices(&places), indices(&numbers)])
            };
            detached(py, source.numel(), || {
                found.write(&exec(), source.elements(), target, places, numbers);
            });
        }
        Ok([Some(values), places, numbers])
    }

    /// As `torch.bincount` without weights: how often each integer of a row occurs.
    fn bincount(&self, py: Python<'_>, least: usize) -> PyResult<Self> {
        let name = "bincount";
        if !bincount::takes(self.dtype()) || self.sizes().len() != 1 {
            return Err(PyTypeError::new_err(format!(
                "{name}: input must be integers in one dimension, not {} of shape {}",
                self.dtype().name(),
                shape(self.sizes())
            )));
        }
        let source = self.contiguous(py)?;
        let count = if source.numel() == 0 {
            least
        } else {
            let bins = detached(py, source.numel(), || bincount::bins(&exec(), source.elements(), least));
            bins.map_err(|reason| PyValueError::new_err(format!("{name}: input has {reason}")))?
        };
        let layout = contiguous(&[i64::try_from(count).map_err(|_| super::too_large(&[i64::MAX]))?])?;
        Self::written(py, DType::I64, layout, |exec, target| {
            if let Some(counts) = i64::target(target) {
                bincount::bincount(exec, source.elements(), counts);
            }
        })
    }

    /// As `torch.multinomial`: `draws.samples` places of each row of probabilities, by the generator that
    /// [`manual_seed`](super::random::manual_seed) seeds.
    fn multinomial(&self, py: Python<'_>, draws: Draws) -> PyResult<Self> {
        let name = "multinomial";
        if !self.dtype().is_float() {
            return Err(needs_floats(name, self.dtype()));
        }
        let (&columns, outer) = match self.sizes() {
            sizes @ ([_] | [_, _]) => sizes.split_last().expect("a dimension"),
            sizes => {
                return Err(PyValueError::new_err(format!(
                    "{name}: input has one or two dimensions, not the shape {}",
                    shape(sizes)
                )));
            }
        };
        if self.numel() == 0 || draws.samples == 0 || !draws.replacement && draws.samples > columns as usize {
            return Err(PyValueError::new_err(format!(
                "{name}: num_samples is at least 1 and, without replacement, at most the {columns} probabilities of a row, \
                 not {}",
                draws.samples
            )));
        }
        let source = if multinomial::takes(self.dtype()) {
            self.contiguous(py)?
        } else {
            self.cast(py, DType::F32)?
        };
        let seen = detached(py, source.numel(), || {
            multinomial::inspect(&exec(), source.elements(), columns as usize, draws)
        });
        seen.map_err(|_| {
            PyValueError::new_err(format!(
                "{name}: the probabilities of input must be finite and not negative, and those of a row not all 0"
            ))
        })?;
        let sizes: Vec<_> = outer.iter().copied().chain([draws.samples as i64]).collect();
        Self::written(py, DType::I64, contiguous(&sizes)?, |exec, target| {
            if let Some(places) = i64::target(target) {
                with_generator(None, |generator| {
                    let columns = columns as usize;
                    multinomial::multinomial(exec, generator, source.elements(), columns, draws, places);
                });
            }
        })
    }
}

/// The error where there are no floating-point numbers.
pub(super) fn needs_floats(name: &str, dtype: DType) -> PyErr {
    PyTypeError::new_err(format!(
        "{name}: expected floating-point numbers, not {0}; convert first: input.to(\"float32\")",
        dtype.name()
    ))
}

/// The error of a kernel that refuses elements or sizes.
pub(super) fn refused(name: &str, reason: &str) -> PyErr {
    if reason.contains("out of range") {
        PyIndexError::new_err(format!("{name}: {reason}"))
    } else {
        PyValueError::new_err(format!("{name}: {reason}"))
    }
}
