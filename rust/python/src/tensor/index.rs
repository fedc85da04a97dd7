//! `tensor[...]`: views, and elements that another tensor chooses.

use pyo3::{
    exceptions::{PyIndexError, PyTypeError, PyValueError},
    prelude::*,
    types::{PyEllipsis, PyList, PySlice, PyTuple},
};
use rusttorch_core::{
    chosen::Chosen,
    dtype::{DType, Typed},
    kernel::{IndexKernel, SelectKernel, Slot},
    layout::Layout,
    ops::{arithmetic::Number, index::index_select::Index, select::masked_select::MaskedSelect},
};

use super::{Tensor, contiguous, create::number, exchange::tensor_of, exec, shape};

impl Tensor {
    /// The view that integers, slices, `None` and `...` choose.
    fn view_at(&self, items: &[Bound<'_, PyAny>]) -> PyResult<Self> {
        let ndim = self.sizes().len();
        let named = items
            .iter()
            .filter(|item| !item.is_none() && !is_ellipsis(item))
            .count();
        if named > ndim {
            return Err(PyIndexError::new_err(format!(
                "too many indices for a tensor of dimension {ndim}: {named}"
            )));
        }
        if items.iter().filter(|item| is_ellipsis(item)).count() > 1 {
            return Err(PyIndexError::new_err("an index can only have one ellipsis ('...')"));
        }
        let (mut sizes, mut strides, mut offset, mut dim) = (Vec::new(), Vec::new(), 0, 0);
        let keep = |dim: &mut usize, count: usize, sizes: &mut Vec<i64>, strides: &mut Vec<i64>| {
            sizes.extend_from_slice(&self.sizes()[*dim..*dim + count]);
            strides.extend_from_slice(&self.layout().strides()[*dim..*dim + count]);
            *dim += count;
        };
        for item in items {
            if item.is_none() {
                sizes.push(1);
                strides.push(0);
            } else if is_ellipsis(item) {
                keep(&mut dim, ndim - named, &mut sizes, &mut strides);
            } else if let Ok(slice) = item.cast::<PySlice>() {
                let (size, stride) = (self.sizes()[dim], self.layout().strides()[dim]);
                let bounds = slice.indices(size as isize)?;
                if bounds.step < 0 {
                    return Err(PyValueError::new_err(
                        "a slice's step must be positive: strides of tensors are not negative",
                    ));
                }
                sizes.push(bounds.slicelength as i64);
                strides.push(stride * bounds.step as i64);
                if bounds.slicelength > 0 {
                    offset += bounds.start as i64 * stride;
                }
                dim += 1;
            } else {
                let size = self.sizes()[dim];
                let index: i64 = item.extract().map_err(|_| {
                    PyTypeError::new_err(format!(
                        "an index is an integer, a slice, None, ..., or a single tensor or list, not {}",
                        item.get_type()
                    ))
                })?;
                let place = if index < 0 { index + size } else { index };
                if !(0..size).contains(&place) {
                    return Err(PyIndexError::new_err(format!(
                        "index {index} is out of range for dimension {dim} of size {size}"
                    )));
                }
                offset += place * self.layout().strides()[dim];
                dim += 1;
            }
        }
        let rest = ndim - dim;
        keep(&mut dim, rest, &mut sizes, &mut strides);
        let layout = Layout::new(&sizes, &strides)
            .ok_or_else(|| PyIndexError::new_err(format!("a tensor has at most 12 dimensions, not {}", sizes.len())))?;
        let data = self.data().wrapping_add(offset as usize * self.dtype().size());
        Ok(Self::new(self.storage().clone(), data, self.dtype(), layout))
    }

    /// `tensor[index]`.
    pub(super) fn get(&self, py: Python<'_>, index: &Bound<'_, PyAny>) -> PyResult<Self> {
        if let Some(chosen) = chosen(index)? {
            return self.choose(py, &chosen);
        }
        if let Ok(items) = index.cast::<PyTuple>() {
            let items: Vec<_> = items.iter().collect();
            self.view_at(&items)
        } else {
            self.view_at(std::slice::from_ref(index))
        }
    }

    /// `tensor[index] = value`.
    pub(super) fn set(&self, py: Python<'_>, index: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        self.check_writable()?;
        if let Some(mask) = chosen(index)? {
            let value = value_of(py, value)?;
            if mask.dtype() != DType::Bool {
                return self.place(py, &mask, &value);
            }
            if mask.sizes() != self.sizes() {
                return Err(PyIndexError::new_err(
                    "only a mask of the tensor's own shape assigns; assign to slices one by one",
                ));
            }
            let chosen = super::arithmetic::choose(py, &mask, &value.cast(py, self.dtype())?, self)?;
            return self.assign(py, &chosen);
        }
        let view = self.get(py, index)?;
        let source = value_of(py, value)?.broadcast_to(view.sizes())?;
        view.assign(py, &source)
    }

    /// Assigns to the rows that integers name, one after the other.
    fn place(&self, py: Python<'_>, by: &Self, value: &Self) -> PyResult<()> {
        let by = self.rows_named(py, by)?;
        let rest = &self.sizes()[1..];
        let mut value = value
            .cast(py, self.dtype())?
            .broadcast_to(&[by.sizes(), rest].concat())?;
        if self.overlaps(&value) {
            value = value.copied(py)?;
        }
        let value = value.reshape(py, &[&[by.numel() as i64], rest].concat())?;
        for (place, &index) in indices(&by).iter().enumerate() {
            let index = if index < 0 { index + self.sizes()[0] } else { index };
            self.row(index)?.assign(py, &value.row(place as i64)?)?;
        }
        Ok(())
    }

    /// What lies at an index of the first dimension, which is within it.
    fn row(&self, index: i64) -> PyResult<Self> {
        let (sizes, strides) = (&self.sizes()[1..], self.layout().strides());
        let layout = Layout::new(sizes, &strides[1..]).ok_or_else(|| super::too_large(sizes))?;
        let data = self
            .data()
            .wrapping_add((index * strides[0]) as usize * self.dtype().size());
        Ok(Self::new(self.storage().clone(), data, self.dtype(), layout))
    }

    /// Integers, row-major and of 64 bits, that are checked to be indices of the first dimension.
    fn rows_named(&self, py: Python<'_>, by: &Self) -> PyResult<Self> {
        if !matches!(by.dtype(), DType::I64 | DType::I32 | DType::I16 | DType::I8 | DType::U8) {
            return Err(PyIndexError::new_err(format!(
                "a tensor of {} is no index: integers or bool are",
                by.dtype().name()
            )));
        }
        let Some(&size) = self.sizes().first() else {
            return Err(PyIndexError::new_err(
                "a tensor without dimensions has no rows to choose from",
            ));
        };
        let by = by.contiguous(py)?.cast(py, DType::I64)?;
        if let Some(index) = indices(&by).iter().find(|&&index| !(-size..size).contains(&index)) {
            return Err(PyIndexError::new_err(format!(
                "index {index} is out of range for dimension 0 of size {size}"
            )));
        }
        Ok(by)
    }

    /// The elements that a mask chooses, or the rows that integers name.
    fn choose(&self, py: Python<'_>, by: &Self) -> PyResult<Self> {
        let source = self.contiguous(py)?;
        if by.dtype() == DType::Bool {
            return source.masked(py, &by.contiguous(py)?);
        }
        let by = self.rows_named(py, by)?;
        let sizes: Vec<i64> = by.sizes().iter().chain(&self.sizes()[1..]).copied().collect();
        let layout = contiguous(&sizes)?;
        let tensors = [Some(source.strided()), Some(by.strided())];
        let mut outcome = Ok(());
        let result = Self::written(py, self.dtype(), layout, |exec, target| {
            if layout.numel() > 0 {
                outcome = Index.forward(exec, &tensors, target, &layout, &[]);
            }
        })?;
        outcome.map_err(PyIndexError::new_err)?;
        Ok(result)
    }

    /// The elements, of a row-major tensor, where a mask of the first dimensions, row-major as well, is true.
    fn masked(&self, py: Python<'_>, mask: &Self) -> PyResult<Self> {
        if !self.sizes().starts_with(mask.sizes()) {
            return Err(PyIndexError::new_err(format!(
                "a mask of shape {} is none of a tensor of shape {}",
                shape(mask.sizes()),
                shape(self.sizes())
            )));
        }
        let chosen = Chosen::count(&exec(), mask.elements());
        let sizes = [&[chosen.total() as i64], &self.sizes()[mask.sizes().len()..]].concat();
        let layout = contiguous(&sizes)?;
        Self::written(py, self.dtype(), layout, |exec, target| {
            if layout.numel() > 0 {
                MaskedSelect.write(exec, self.elements(), &chosen, Slot::Values(target), self.sizes());
            }
        })
    }
}

/// What [`Tensor::rows_named`] has checked.
fn indices(by: &Tensor) -> &[i64] {
    i64::slice(by.elements()).unwrap_or_default()
}

/// The tensor, array or list by which elements are chosen, if the index is one.
fn chosen(index: &Bound<'_, PyAny>) -> PyResult<Option<Tensor>> {
    if !index.is_instance_of::<PyList>() {
        return tensor_of(index);
    }
    let numpy = index.py().import("numpy")?;
    let array = numpy.call_method1("asarray", (index,))?;
    if array.getattr("size")?.extract::<usize>()? == 0 {
        // NumPy makes floating-point numbers of none.
        return tensor_of(&array.call_method1("astype", ("int64",))?);
    }
    tensor_of(&array)
}

fn is_ellipsis(item: &Bound<'_, PyAny>) -> bool {
    item.is_instance_of::<PyEllipsis>()
}

/// What is assigned: a tensor, an array, or a number.
fn value_of(py: Python<'_>, value: &Bound<'_, PyAny>) -> PyResult<Tensor> {
    if let Some(tensor) = tensor_of(value)? {
        return Ok(tensor);
    }
    let number = number("value", value)?;
    Tensor::scalar(
        py,
        number,
        match number {
            Number::Whole(_) => DType::I64,
            Number::Real(_) => DType::F64,
        },
    )
}
