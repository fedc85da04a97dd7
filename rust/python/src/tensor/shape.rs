//! Views in other shapes.

use pyo3::{
    exceptions::{PyIndexError, PyValueError},
    prelude::*,
};
use rusttorch_core::layout::{self, Layout};

use super::{Tensor, contiguous, shape};

/// The dimension that `dim` names, counting from the end if negative.
pub(super) fn wrap(dim: i64, ndim: usize) -> PyResult<usize> {
    let count = ndim.max(1) as i64;
    if (-count..count).contains(&dim) {
        Ok((if dim < 0 { dim + count } else { dim }) as usize)
    } else {
        Err(PyIndexError::new_err(format!(
            "dim {dim} is out of range: a tensor of {ndim} dimensions has {} to {}",
            -count,
            count - 1
        )))
    }
}

/// What two shapes are broadcast to.
pub(super) fn broadcast(a: &[i64], b: &[i64]) -> PyResult<Vec<i64>> {
    let (sizes, ndim) = layout::broadcast([a, b]).ok_or_else(|| {
        PyValueError::new_err(format!(
            "the shapes {} and {} cannot be broadcast: sizes from the last on must be equal, or one of them 1",
            shape(a),
            shape(b)
        ))
    })?;
    Ok(sizes[..ndim].to_vec())
}

impl Tensor {
    fn with(&self, sizes: &[i64], strides: &[i64]) -> PyResult<Self> {
        let layout = Layout::new(sizes, strides).ok_or_else(|| {
            contiguous(sizes)
                .err()
                .unwrap_or_else(|| PyValueError::new_err(format!("no layout of shape {}", shape(sizes))))
        })?;
        Ok(self.view_as(layout))
    }

    /// A view that repeats dimensions of size 1; `None` where the sizes do not fit.
    pub(super) fn expand(&self, sizes: &[i64]) -> Option<Self> {
        // Dimensions of size 1 in front of what is assigned are no matter.
        let mut first = 0;
        while self.sizes().len() - first > sizes.len() && self.sizes()[first] == 1 {
            first += 1;
        }
        let (its, its_strides) = (&self.sizes()[first..], &self.layout().strides()[first..]);
        let missing = sizes.len().checked_sub(its.len())?;
        let mut strides = vec![0; sizes.len()];
        for ((stride, &size), (&own, &step)) in strides[missing..]
            .iter_mut()
            .zip(&sizes[missing..])
            .zip(its.iter().zip(its_strides))
        {
            match own {
                _ if own == size => *stride = step,
                1 => {}
                _ => return None,
            }
        }
        Layout::new(sizes, &strides).map(|layout| self.view_as(layout))
    }

    /// [`Self::expand`], or `ValueError`.
    pub(super) fn broadcast_to(&self, sizes: &[i64]) -> PyResult<Self> {
        self.expand(sizes).ok_or_else(|| {
            PyValueError::new_err(format!(
                "a value of shape {} cannot be broadcast to {}",
                shape(self.sizes()),
                shape(sizes)
            ))
        })
    }

    /// Sizes of which one may be -1, for what is left.
    pub(super) fn infer(&self, sizes: &[i64]) -> PyResult<Vec<i64>> {
        let mut sizes = sizes.to_vec();
        let numel = self.numel() as i64;
        let wrong =
            |sizes: &[i64]| PyValueError::new_err(format!("the shape {} is not one of {numel} elements", shape(sizes)));
        let unknown: Vec<usize> = (0..sizes.len()).filter(|&dim| sizes[dim] == -1).collect();
        let asked = sizes.clone();
        match unknown[..] {
            [] => {}
            [dim] => {
                sizes[dim] = 1;
                let others = contiguous(&sizes)?.numel() as i64;
                if others == 0 || numel % others != 0 {
                    return Err(wrong(&asked));
                }
                sizes[dim] = numel / others;
            }
            _ => return Err(PyValueError::new_err("only one size can be -1, which is then found")),
        }
        if contiguous(&sizes)?.numel() as i64 == numel {
            Ok(sizes)
        } else {
            Err(wrong(&asked))
        }
    }

    /// A view in another shape, if the strides allow one.
    pub(super) fn try_view(&self, sizes: &[i64]) -> PyResult<Option<Self>> {
        if self.layout().is_contiguous() || self.numel() == 0 {
            return Ok(Some(self.view_as(contiguous(sizes)?)));
        }
        // Runs of dimensions that lie in memory as one are cut anew; those of size 1 have no say.
        let live: Vec<(i64, i64)> = (0..self.sizes().len())
            .map(|dim| (self.sizes()[dim], self.layout().strides()[dim]))
            .filter(|&(size, _)| size != 1)
            .collect();
        let mut strides = vec![0; sizes.len()];
        let (mut at, mut end) = (sizes.len(), live.len());
        while end > 0 {
            let (mut first, (mut run, mut step)) = (end - 1, live[end - 1]);
            while first > 0 && live[first - 1].1 == live[first].1 * live[first].0 {
                first -= 1;
                run *= live[first].0;
            }
            let mut covered = 1;
            while at > 0 && (covered < run || sizes[at - 1] == 1) {
                at -= 1;
                strides[at] = step;
                step *= sizes[at];
                covered *= sizes[at];
            }
            if covered != run {
                return Ok(None);
            }
            end = first;
        }
        self.with(sizes, &strides).map(Some)
    }

    pub(super) fn reshape(&self, py: Python<'_>, sizes: &[i64]) -> PyResult<Self> {
        let sizes = self.infer(sizes)?;
        match self.try_view(&sizes)? {
            Some(view) => Ok(view),
            None => Ok(self.copied(py)?.view_as(contiguous(&sizes)?)),
        }
    }

    pub(super) fn transpose(&self, first: i64, second: i64) -> PyResult<Self> {
        let ndim = self.sizes().len();
        let (first, second) = (wrap(first, ndim)?, wrap(second, ndim)?);
        let (mut sizes, mut strides) = (self.sizes().to_vec(), self.layout().strides().to_vec());
        if ndim > 0 {
            sizes.swap(first, second);
            strides.swap(first, second);
        }
        self.with(&sizes, &strides)
    }

    pub(super) fn permute(&self, dims: &[i64]) -> PyResult<Self> {
        let ndim = self.sizes().len();
        let dims: Vec<usize> = dims.iter().map(|&dim| wrap(dim, ndim)).collect::<PyResult<_>>()?;
        let mut seen = vec![false; ndim];
        for &dim in &dims {
            if ndim == 0 || std::mem::replace(&mut seen[dim], true) {
                return Err(PyValueError::new_err(format!("permute: dim {dim} is given twice")));
            }
        }
        if dims.len() != ndim {
            return Err(PyValueError::new_err(format!(
                "permute: a tensor of {ndim} dimensions needs as many dims, not {}",
                dims.len()
            )));
        }
        let sizes: Vec<i64> = dims.iter().map(|&dim| self.sizes()[dim]).collect();
        let strides: Vec<i64> = dims.iter().map(|&dim| self.layout().strides()[dim]).collect();
        self.with(&sizes, &strides)
    }

    /// Without dimensions of size 1: all, or the one named.
    pub(super) fn squeeze(&self, dim: Option<i64>) -> PyResult<Self> {
        let ndim = self.sizes().len();
        let only = dim.map(|dim| wrap(dim, ndim)).transpose()?;
        let kept = (0..ndim).filter(|&at| self.sizes()[at] != 1 || only.is_some_and(|only| only != at));
        let kept: Vec<usize> = kept.collect();
        let sizes: Vec<i64> = kept.iter().map(|&dim| self.sizes()[dim]).collect();
        let strides: Vec<i64> = kept.iter().map(|&dim| self.layout().strides()[dim]).collect();
        self.with(&sizes, &strides)
    }

    pub(super) fn unsqueeze(&self, dim: i64) -> PyResult<Self> {
        let ndim = self.sizes().len();
        let dim = wrap(dim, ndim + 1)?;
        let (mut sizes, mut strides) = (self.sizes().to_vec(), self.layout().strides().to_vec());
        // As torch's.
        strides.insert(dim, if dim < ndim { sizes[dim] * strides[dim] } else { 1 });
        sizes.insert(dim, 1);
        self.with(&sizes, &strides)
    }
}
