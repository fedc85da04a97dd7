//! The explicit tensor: `rusttorch.Tensor`, with memory of its own or another library's.

mod arithmetic;
pub(crate) mod buffer;
mod create;
mod dlpack;
pub(crate) mod dtype;
mod exchange;
pub(crate) mod function;
mod index;
mod methods;
mod native;
pub(crate) mod random;
mod shape;
mod storage;
mod team;

use std::{mem::MaybeUninit, sync::Arc};

use pyo3::{
    exceptions::{PyOverflowError, PyTypeError, PyValueError},
    prelude::*,
};
use rusttorch_core::{
    dtype::{DType, Target, View, ViewMut},
    kernel::{Exec, IndexKernel, Strided},
    layout::{Layout, MAX_DIMS},
    ops::{cast, index::contiguous::Contiguous},
};

use crate::op::RELEASE_GIL;

use storage::Storage;
use team::exec;

/// Works on so many elements, without the GIL where these are many.
fn detached<R: Send>(py: Python<'_>, numel: usize, work: impl FnOnce() -> R + Send) -> R {
    if numel < RELEASE_GIL { work() } else { py.detach(work) }
}

/// A tensor on the CPU.
///
/// Made by `zeros`, `ones`, `full`, `empty`, `arange`, `eye`, `rand`, `randn`, `from_numpy`, `from_torch` and
/// `from_dlpack`. Views, such as of slices, share its memory.
#[pyclass(frozen, weakref, name = "Tensor", module = "rusttorch")]
#[derive(Clone)]
pub(crate) struct Tensor {
    storage: Arc<Storage>,
    /// The first element.
    data: *mut u8,
    dtype: DType,
    /// Strides of 0 or more.
    layout: Layout,
}

// SAFETY: as of the storage, which the address belongs to.
unsafe impl Send for Tensor {}
// SAFETY: as above.
unsafe impl Sync for Tensor {}

impl Tensor {
    /// Elements at `data`, which lies in the storage as far as the layout reaches.
    fn new(storage: Arc<Storage>, data: *mut u8, dtype: DType, layout: Layout) -> Self {
        Self {
            storage,
            data,
            dtype,
            layout,
        }
    }

    /// New memory in a row-major layout, zeros or to be written.
    fn allocate(dtype: DType, layout: Layout, zeroed: bool) -> PyResult<Self> {
        let bytes = layout
            .numel()
            .checked_mul(dtype.size())
            .filter(|&bytes| isize::try_from(bytes).is_ok());
        let bytes = bytes.ok_or_else(|| too_large(layout.sizes()))?;
        let storage = Storage::new(bytes, zeroed)?;
        Ok(Self::new(Arc::clone(&storage), storage.data(), dtype, layout))
    }

    /// A new row-major tensor that `write` fills, without the GIL where there is much to do.
    fn written(
        py: Python<'_>,
        dtype: DType,
        layout: Layout,
        write: impl FnOnce(&Exec, Target) + Send,
    ) -> PyResult<Self> {
        let tensor = Self::allocate(dtype, layout, false)?;
        let len = layout.numel();
        // SAFETY: new memory of that size, which nobody else has.
        let target = unsafe { Target::from_raw(dtype, tensor.data, len) };
        detached(py, len, || write(&exec(), target));
        Ok(tensor)
    }

    fn storage(&self) -> &Arc<Storage> {
        &self.storage
    }

    fn data(&self) -> *mut u8 {
        self.data
    }

    fn dtype(&self) -> DType {
        self.dtype
    }

    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn sizes(&self) -> &[i64] {
        self.layout.sizes()
    }

    fn numel(&self) -> usize {
        self.layout.numel()
    }

    /// Elements from the first to the last one in memory.
    fn extent(&self) -> usize {
        self.layout.extent().unwrap_or_default() // what lies in memory has one
    }

    /// As kernels take it.
    fn strided(&self) -> Strided<'_> {
        Strided {
            layout: &self.layout,
            // SAFETY: the storage holds what the layout reaches, and lives as long as this. Races with other threads of
            // Python are the program's, as those of NumPy's arrays are.
            elements: unsafe { View::from_raw(self.dtype, self.data, self.extent()) },
        }
    }

    /// The elements of a row-major one.
    fn elements(&self) -> View<'_> {
        debug_assert!(self.by_rows(), "row-major");
        // SAFETY: as above.
        unsafe { View::from_raw(self.dtype, self.data, self.numel()) }
    }

    /// The same, to be changed.
    ///
    /// # Errors
    /// Where the memory is read-only.
    #[allow(clippy::mut_from_ref)]
    fn elements_mut(&self) -> PyResult<ViewMut<'_>> {
        self.check_writable()?;
        debug_assert!(self.by_rows(), "row-major");
        // SAFETY: as above; callers have seen to it that nothing else reads it meanwhile.
        Ok(unsafe { ViewMut::from_raw(self.dtype, self.data, self.numel()) })
    }

    /// Lets `change` change the elements of a row-major one, without the GIL where there is much to do.
    fn change(&self, py: Python<'_>, change: impl FnOnce(&Exec, ViewMut) + Send) -> PyResult<()> {
        let elements = self.elements_mut()?;
        detached(py, self.numel(), || change(&exec(), elements));
        Ok(())
    }

    fn check_writable(&self) -> PyResult<()> {
        if self.storage.readonly {
            return Err(PyValueError::new_err(
                "the tensor's memory is read-only, such as that of a read-only NumPy array; change a copy: tensor.clone()",
            ));
        }
        let mut dims = self.sizes().iter().zip(self.layout.strides());
        if dims.any(|(&size, &stride)| size > 1 && stride == 0) {
            return Err(PyValueError::new_err(
                "elements of the tensor share memory, as it was expanded; change a copy: tensor.clone()",
            ));
        }
        Ok(())
    }

    /// A view of the same memory.
    fn view_as(&self, layout: Layout) -> Self {
        Self { layout, ..self.clone() }
    }

    /// Whether the elements, if there are any, lie row by row without gaps.
    fn by_rows(&self) -> bool {
        self.numel() == 0 || self.layout.is_contiguous()
    }

    /// This, or a row-major copy.
    fn contiguous(&self, py: Python<'_>) -> PyResult<Self> {
        if self.by_rows() {
            // Kernels may look at the strides of dimensions of size 1.
            Ok(self.view_as(contiguous(self.sizes())?))
        } else {
            self.copied(py)
        }
    }

    /// A row-major copy.
    fn copied(&self, py: Python<'_>) -> PyResult<Self> {
        let layout = contiguous(self.sizes())?;
        let source = [Some(self.strided())];
        if layout.numel() > 0 && Contiguous.outline(&source, &[], false).is_ok() {
            return Self::written(py, self.dtype, layout, |exec, target| {
                let copied = Contiguous.forward(exec, &source, target, &layout, &[]);
                debug_assert!(copied.is_ok(), "what is outlined is copied");
            });
        }
        let result = Self::allocate(self.dtype, layout, false)?;
        // SAFETY: both layouts lie in their storages, one of which is new.
        detached(py, layout.numel(), || unsafe { copy(&exec(), &result, self) });
        Ok(result)
    }

    /// This, or a row-major copy with elements of another type.
    fn cast(&self, py: Python<'_>, dtype: DType) -> PyResult<Self> {
        if dtype == self.dtype {
            return Ok(self.clone());
        }
        let source = self.contiguous(py)?;
        let layout = contiguous(self.sizes())?;
        Self::written(py, dtype, layout, |exec, target| {
            cast::cast(exec, source.elements(), target);
        })
    }

    /// The addresses of the elements, without those between them.
    fn span(&self) -> std::ops::Range<usize> {
        let start = self.data as usize;
        start..start + self.extent() * self.dtype.size()
    }

    fn overlaps(&self, other: &Self) -> bool {
        let (a, b) = (self.span(), other.span());
        a.start < b.end && b.start < a.end
    }

    /// Writes the elements of another one, of the same sizes, in their place.
    fn assign(&self, py: Python<'_>, source: &Self) -> PyResult<()> {
        self.check_writable()?;
        let mut source = source.cast(py, self.dtype)?;
        if self.overlaps(&source) {
            source = source.copied(py)?;
        }
        debug_assert_eq!(self.sizes(), source.sizes(), "of the same sizes");
        // SAFETY: both layouts lie in their storages, which do not overlap here.
        detached(py, self.numel(), || unsafe { copy(&exec(), self, &source) });
        Ok(())
    }

    /// Checks memory of another library, whose layout is not ours to choose.
    fn check_foreign(function: &str, layout: &Layout, data: *const u8, dtype: DType) -> PyResult<()> {
        if layout.strides().iter().any(|&stride| stride < 0) {
            return Err(PyValueError::new_err(format!(
                "{function}: negative strides are not taken; pass a copy, such as array.copy()"
            )));
        }
        if !(data as usize).is_multiple_of(dtype.size()) && layout.numel() > 0 {
            return Err(PyValueError::new_err(format!(
                "{function}: the memory is not aligned to its elements; pass a copy, such as array.copy()"
            )));
        }
        Ok(())
    }
}

/// Copies the elements of a tensor to one of the same sizes and type.
///
/// # Safety
/// Nobody else uses the elements of `to`, which are none of `from`.
unsafe fn copy(exec: &Exec, to: &Tensor, from: &Tensor) {
    // Dimensions that lie in both as one are one, and the first is shared out.
    let (mut sizes, mut steps) = (Vec::new(), [Vec::new(), Vec::new()]);
    for ((&size, &to), &from) in to.sizes().iter().zip(to.layout.strides()).zip(from.layout.strides()) {
        let [its, theirs] = &mut steps;
        match (sizes.last_mut(), its.last_mut(), theirs.last_mut()) {
            _ if size == 1 => {}
            (Some(last), Some(a), Some(b)) if (*a, *b) == (size * to, size * from) => {
                *last *= size;
                (*a, *b) = (to, from);
            }
            _ => {
                sizes.push(size);
                its.push(to);
                theirs.push(from);
            }
        }
    }
    let (count, inner) = match sizes[..] {
        [] => (1, 1),
        [count, ref inner @ ..] => (count as usize, inner.iter().product::<i64>() as usize),
    };
    if count * inner == 0 {
        return;
    }
    let [its, theirs] = &steps;
    let reach: i64 = sizes
        .iter()
        .zip(its)
        .skip(1)
        .map(|(size, step)| (size - 1) * step)
        .sum();
    let is_disjoint = its.first().is_some_and(|&step| step > reach);
    let size = to.dtype.size();
    let (team, grain) = exec.team(count * inner, 2 * size, 0);
    let grain = if is_disjoint {
        grain.div_ceil(inner).max(1)
    } else {
        count
    };
    team.run(count, grain, &|range| {
        let mut part = sizes.clone();
        let skipped = |steps: &[i64]| steps.first().map_or(0, |step| range.start * *step as usize * size);
        let (to, from) = (
            to.data.wrapping_add(skipped(its)),
            from.data.wrapping_add(skipped(theirs)),
        );
        if let Some(first) = part.first_mut() {
            *first = range.len() as i64;
        }
        // SAFETY: the caller's, and no part overlaps another; elements of such sizes are aligned to them.
        unsafe {
            match size {
                1 => copy_words::<u8>(to.cast(), from.cast(), &part, its, theirs),
                2 => copy_words::<u16>(to.cast(), from.cast(), &part, its, theirs),
                4 => copy_words::<u32>(to.cast(), from.cast(), &part, its, theirs),
                _ => copy_words::<u64>(to.cast(), from.cast(), &part, its, theirs),
            }
        }
    });
}

/// # Safety
/// As of [`copy`].
unsafe fn copy_words<W: Copy>(to: *mut W, from: *const W, sizes: &[i64], to_strides: &[i64], from_strides: &[i64]) {
    let Some((&count, inner)) = sizes.split_first() else {
        // SAFETY: a single element, of the caller's layouts.
        unsafe { to.write(from.read()) };
        return;
    };
    let (to_step, from_step) = (to_strides[0] as isize, from_strides[0] as isize);
    if inner.is_empty() && (to_step, from_step) == (1, 1) {
        // SAFETY: a row of elements side by side.
        unsafe { std::ptr::copy_nonoverlapping(from, to, count as usize) };
        return;
    }
    if inner.is_empty() && (to_step, from_step) == (1, 0) {
        // SAFETY: one element, for all of a row.
        unsafe { std::slice::from_raw_parts_mut(to.cast(), count as usize).fill(MaybeUninit::new(from.read())) };
        return;
    }
    for index in 0..count as isize {
        // SAFETY: within the caller's layouts.
        unsafe {
            let (to, from) = (to.offset(index * to_step), from.offset(index * from_step));
            if inner.is_empty() {
                to.write(from.read());
            } else {
                copy_words(to, from, inner, &to_strides[1..], &from_strides[1..]);
            }
        }
    }
}

/// A shape as Python writes it.
fn shape(sizes: &[i64]) -> String {
    let sizes: Vec<String> = sizes.iter().map(i64::to_string).collect();
    format!("[{}]", sizes.join(", "))
}

fn too_large(sizes: &[i64]) -> PyErr {
    PyOverflowError::new_err(format!(
        "the shape {} has more elements than memory can hold",
        shape(sizes)
    ))
}

/// The row-major layout of these sizes.
fn contiguous(sizes: &[i64]) -> PyResult<Layout> {
    if sizes.len() > MAX_DIMS {
        return Err(PyValueError::new_err(format!(
            "a tensor has at most {MAX_DIMS} dimensions, not {}",
            sizes.len()
        )));
    }
    if let Some(size) = sizes.iter().find(|&&size| size < 0) {
        return Err(PyValueError::new_err(format!(
            "a size is 0 or more, not {size}: the shape {}",
            shape(sizes)
        )));
    }
    Layout::contiguous(sizes).ok_or_else(|| too_large(sizes))
}

/// A shape given as a sequence of integers, as several integers, or as one.
fn sizes_of(name: &str, given: &Bound<'_, PyAny>) -> PyResult<Vec<i64>> {
    let one = |size: &Bound<'_, PyAny>| match size.extract::<i64>() {
        Err(error) if error.is_instance_of::<PyOverflowError>(size.py()) => Err(PyOverflowError::new_err(format!(
            "{name}: the size {size} does not fit 64 bits"
        ))),
        other => other,
    };
    if let Ok(size) = one(given) {
        return Ok(vec![size]);
    }
    let not_sizes = || PyTypeError::new_err(format!("{name} must be integers, not {given}"));
    let Ok(each) = given.try_iter() else {
        return one(given).map(|size| vec![size]).map_err(|error| {
            if error.is_instance_of::<PyOverflowError>(given.py()) {
                error
            } else {
                not_sizes()
            }
        });
    };
    each.map(|size| {
        let size = size?;
        one(&size).map_err(|error| {
            if error.is_instance_of::<PyOverflowError>(given.py()) {
                error
            } else {
                not_sizes()
            }
        })
    })
    .collect()
}
