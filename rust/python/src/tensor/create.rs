//! New tensors.

use pyo3::{
    exceptions::{PyOverflowError, PyTypeError, PyValueError},
    prelude::*,
    types::{PyBool, PyFloat},
};
use rusttorch_core::{
    dtype::{DType, View},
    ops::{arithmetic::Number, cast},
};

use super::{
    Tensor, contiguous,
    dtype::parse,
    random::{normal, uniform, with_generator},
};

/// A number that Python gave for `name`.
pub(super) fn number(name: &str, object: &Bound<'_, PyAny>) -> PyResult<Number> {
    if object.is_instance_of::<PyFloat>() {
        return Ok(Number::Real(object.extract()?));
    }
    if let Ok(tensor) = object.cast::<Tensor>() {
        let tensor = tensor.get();
        if tensor.numel() == 1 {
            return tensor.first();
        }
    }
    match object.extract::<i64>() {
        Ok(whole) => Ok(Number::Whole(whole)),
        Err(error) if error.is_instance_of::<PyOverflowError>(object.py()) => Err(PyOverflowError::new_err(format!(
            "{name}: {object} does not fit 64 bits"
        ))),
        Err(_) => object
            .extract()
            .map(Number::Real)
            .map_err(|_| PyTypeError::new_err(format!("{name} must be a number, not {}", object.get_type()))),
    }
}

/// The type of a number without one: that of torch.
pub(super) fn dtype_of(object: &Bound<'_, PyAny>, number: Number) -> DType {
    match number {
        _ if object.is_instance_of::<PyBool>() => DType::Bool,
        Number::Whole(_) => DType::I64,
        Number::Real(_) => DType::F32,
    }
}

/// The type asked for, or `default`.
pub(super) fn dtype_or(dtype: Option<&Bound<'_, PyAny>>, default: DType) -> PyResult<DType> {
    match dtype {
        Some(dtype) if !dtype.is_none() => parse(dtype),
        _ => Ok(default),
    }
}

impl Tensor {
    pub(super) fn zeros(sizes: &[i64], dtype: DType) -> PyResult<Self> {
        Self::allocate(dtype, contiguous(sizes)?, true)
    }

    pub(super) fn full(py: Python<'_>, sizes: &[i64], value: Number, dtype: DType) -> PyResult<Self> {
        let layout = contiguous(sizes)?;
        let tensor = Self::allocate(dtype, layout, false)?;
        tensor.fill(py, value)?;
        Ok(tensor)
    }

    /// A tensor of one element, without dimensions.
    pub(super) fn scalar(py: Python<'_>, value: Number, dtype: DType) -> PyResult<Self> {
        let number = match value {
            Number::Whole(value) => [value],
            Number::Real(value) => {
                let layout = contiguous(&[])?;
                return Self::written(py, dtype, layout, |exec, target| {
                    cast::cast(exec, View::F64(&[value]), target);
                });
            }
        };
        Self::written(py, dtype, contiguous(&[])?, |exec, target| {
            cast::cast(exec, View::I64(&number), target);
        })
    }

    /// Makes every element a number.
    pub(super) fn fill(&self, py: Python<'_>, value: Number) -> PyResult<()> {
        let one = Self::scalar(py, value, self.dtype())?;
        let layout = super::Layout::new(self.sizes(), &vec![0; self.sizes().len()]);
        self.assign(py, &one.view_as(layout.ok_or_else(|| super::too_large(self.sizes()))?))
    }

    pub(super) fn arange(py: Python<'_>, start: Number, end: Number, step: Number, dtype: DType) -> PyResult<Self> {
        let (first, last, by) = (start.real(), end.real(), step.real());
        if by == 0.0 || !by.is_finite() || !first.is_finite() || !last.is_finite() {
            return Err(PyValueError::new_err(
                "arange: start, end and step must be finite, and step not 0",
            ));
        }
        if (last - first) * by < 0.0 {
            return Err(PyValueError::new_err("arange: step leads away from end"));
        }
        let count = match (start, end, step) {
            // Exactly, as these may be beyond what a floating-point number tells apart.
            (Number::Whole(start), Number::Whole(end), Number::Whole(step)) => {
                let (span, step) = (i128::from(end) - i128::from(start), i128::from(step));
                ((span + step - step.signum()) / step) as f64
            }
            _ => ((last - first) / by).ceil(),
        };
        if count >= 9e18 {
            return Err(PyOverflowError::new_err("arange: more elements than memory can hold"));
        }
        let layout = contiguous(&[count as i64])?;
        let wholes = matches!((start, step), (Number::Whole(_), Number::Whole(_)));
        let len = count as usize;
        let bytes = len.saturating_mul(8);
        if isize::try_from(bytes).is_err() {
            return Err(super::too_large(&[count as i64]));
        }
        Self::written(py, dtype, layout, |exec, target| {
            if wholes {
                let numbers: Vec<i64> = (0..len as i64).map(|i| start.whole() + i * step.whole()).collect();
                cast::cast(exec, View::I64(&numbers), target);
            } else {
                let numbers: Vec<f64> = (0..len).map(|i| first + i as f64 * by).collect();
                cast::cast(exec, View::F64(&numbers), target);
            }
        })
    }

    pub(super) fn eye(py: Python<'_>, rows: i64, columns: i64, dtype: DType) -> PyResult<Self> {
        let tensor = Self::zeros(&[rows, columns], dtype)?;
        let diagonal = super::Layout::new(&[rows.min(columns)], &[columns + 1]);
        tensor
            .view_as(diagonal.ok_or_else(|| super::too_large(&[rows]))?)
            .fill(py, Number::Whole(1))?;
        Ok(tensor)
    }

    /// Random numbers from 0 to 1, or of the normal distribution.
    pub(super) fn random(
        py: Python<'_>,
        sizes: &[i64],
        dtype: DType,
        seed: Option<i64>,
        is_normal: bool,
    ) -> PyResult<Self> {
        let name = if is_normal { "randn" } else { "rand" };
        if !dtype.is_float() {
            return Err(PyTypeError::new_err(format!(
                "{name}: dtype must be of floating-point numbers, not {}",
                dtype.name()
            )));
        }
        let layout = contiguous(sizes)?;
        let bits = match dtype {
            DType::F64 => 53,
            DType::Bf16 => 8,
            DType::F16 => 11,
            _ => 24,
        };
        Self::written(py, dtype, layout, |exec, target| {
            let len = layout.numel();
            let numbers: Vec<f64> = with_generator(seed, |generator| {
                if is_normal {
                    let pairs = (0..len.div_ceil(2)).flat_map(|_| normal(generator));
                    pairs.take(len).collect()
                } else {
                    (0..len).map(|_| uniform(generator, bits)).collect()
                }
            });
            cast::cast(exec, View::F64(&numbers), target);
        })
    }

    /// The first element, as a number.
    pub(super) fn first(&self) -> PyResult<Number> {
        let elements = self.strided().elements;
        let whole = match elements {
            View::I64(x) => x.first().copied(),
            View::I32(x) => x.first().map(|&x| x.into()),
            View::I16(x) => x.first().map(|&x| x.into()),
            View::I8(x) => x.first().map(|&x| x.into()),
            View::U8(x) => x.first().map(|&x| x.into()),
            View::Bool(x) => x.first().map(|x| i64::from(x.0 != 0)),
            floats => return floats.first().map(Number::Real).ok_or_else(empty),
        };
        whole.map(Number::Whole).ok_or_else(empty)
    }
}

fn empty() -> PyErr {
    PyValueError::new_err("the tensor has no elements")
}
