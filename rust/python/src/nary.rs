//! Operations on several tensors: the guards of those beside the input, and the kernels' runs.

use std::ptr::NonNull;

use pyo3::{ffi, prelude::*};
use rusttorch_core::{
    dtype::{DType, Target, View, ViewMut},
    kernel::{Elements, Exec, MAX_OPERANDS, NaryKernel, Operand, Outline},
    layout::Layout,
};
use rusttorch_torch::{
    decline::Decline,
    doors::{NewTensor, TensorView},
};

use crate::{
    op::{Failure, OpState, hold},
    runtime::Runtime,
};

/// A tensor as kernels take it.
///
/// # Safety
/// The tensor is alive, and row-major or with dimension 1 innermost, and nothing writes to it.
unsafe fn operand(view: &TensorView) -> Operand<'_> {
    // SAFETY: so many elements; the rest is the caller's.
    let elements = unsafe { View::from_raw(view.dtype, view.data, view.layout.numel()) };
    Operand {
        sizes: view.layout.sizes(),
        elements: match elements {
            View::I64(indices) => Elements::Indices(indices),
            floats if view.layout.is_contiguous() => Elements::Floats(floats),
            floats => Elements::ChannelsLast(floats),
        },
    }
}

/// A result, and what is kept for the gradient if anything is.
pub(crate) type Forwarded = (Py<PyAny>, Option<Py<PyAny>>);

/// The tensors of a call, which outlives this, and its kernel; the first is the input.
pub(crate) struct Operands {
    kernel: &'static dyn NaryKernel,
    /// Dense and row-major; the input perhaps with dimension 1 innermost.
    tensors: Vec<Option<TensorView>>,
}

/// Whether the kernel takes an input of this layout.
fn takes(kernel: &dyn NaryKernel, layout: &Layout) -> bool {
    if !kernel.takes_channels_last() {
        return layout.is_contiguous();
    }
    // Odd strides of dimensions of size 1 decide those of stock torch's results.
    let plain = if layout.is_contiguous() {
        Layout::contiguous(layout.sizes())
    } else {
        Layout::channels_last(layout.sizes())
    };
    plain.as_ref() == Some(layout)
}

/// The addresses of a tensor's elements, which lie row-major.
fn span(view: &TensorView) -> std::ops::Range<usize> {
    let start = view.data as usize;
    start..start + view.layout.numel() * view.dtype.size()
}

impl Operands {
    /// Reads the tensors of a call that are beside its input, and may be missing, to change those that the kernel updates
    /// if it is `updating`; `profiled` is as of [`view`](rusttorch_torch::doors::Held::view).
    ///
    /// # Errors
    /// The reason why a tensor is not for kernels.
    pub(crate) fn read(
        runtime: &Runtime,
        kernel: &'static dyn NaryKernel,
        input: TensorView,
        others: &[Option<Bound<'_, PyAny>>],
        updating: bool,
        profiled: bool,
    ) -> Result<Self, Decline> {
        if !takes(kernel, &input.layout) {
            return Err(Decline::Layout);
        }
        let read = |index: usize, tensor: &Bound<'_, PyAny>| -> Result<TensorView, Decline> {
            let updated = updating && kernel.updates(index);
            let view = hold(runtime, tensor)?.any_view(tensor.py(), updated, profiled)?;
            if !view.dtype.is_float() && view.dtype != DType::I64 {
                return Err(Decline::Dtype);
            }
            if view.layout.is_contiguous() {
                Ok(view)
            } else {
                Err(Decline::Layout)
            }
        };
        let mut tensors = Vec::with_capacity(1 + others.len());
        tensors.push(Some(input));
        for (index, other) in (1..).zip(others) {
            tensors.push(other.as_ref().map(|other| read(index, other)).transpose()?);
        }
        let operands = Self { kernel, tensors };
        if updating && !operands.are_apart() {
            return Err(Decline::Kernel);
        }
        Ok(operands)
    }

    /// Whether no operand that is updated overlaps another.
    fn are_apart(&self) -> bool {
        let present = || {
            self.tensors
                .iter()
                .enumerate()
                .filter_map(|(i, view)| Some((i, span(view.as_ref()?))))
        };
        let mut updated = present().filter(|&(index, _)| self.kernel.updates(index));
        updated.all(|(index, its)| {
            present().all(|(other, span)| other == index || its.end <= span.start || span.end <= its.start)
        })
    }

    /// As kernels take them.
    ///
    /// # Safety
    /// The tensors that were read are alive, and nothing writes to them.
    unsafe fn operands(&self) -> Vec<Option<Operand<'_>>> {
        // SAFETY: the caller's.
        let each = self
            .tensors
            .iter()
            .map(|view| unsafe { view.as_ref().map(|view| operand(view)) });
        each.collect()
    }

    /// The same without those that the kernel updates.
    ///
    /// # Safety
    /// As of [`operands`](Self::operands) for the others.
    unsafe fn constant(&self) -> Vec<Option<Operand<'_>>> {
        // SAFETY: the caller's.
        let mut operands = unsafe { self.operands() };
        for (index, operand) in operands.iter_mut().enumerate() {
            operand.take_if(|_| self.kernel.updates(index));
        }
        operands
    }

    /// Those that the kernel updates.
    ///
    /// # Safety
    /// The tensors are alive, were read to be updated, and nothing else reads them or writes to them.
    unsafe fn updated(&self) -> [Option<ViewMut<'_>>; MAX_OPERANDS] {
        std::array::from_fn(|index| match self.tensors.get(index) {
            Some(Some(view)) if self.kernel.updates(index) => {
                // SAFETY: the caller's; the tensor is row-major.
                Some(unsafe { ViewMut::from_raw(view.dtype, view.data, view.layout.numel()) })
            }
            _ => None,
        })
    }

    /// The input's type and layout.
    pub(crate) fn input(&self) -> Result<(DType, &Layout), Decline> {
        match self.tensors.first() {
            Some(Some(view)) => Ok((view.dtype, &view.layout)),
            _ => Err(Decline::Dtype),
        }
    }

    /// What a call makes of them.
    pub(crate) fn outline(&self, numbers: &[f64]) -> Result<Outline, Decline> {
        // SAFETY: the caller of the operation holds the tensors, and the GIL. Races with other threads of Python are the
        // program's, as in stock torch.
        let operands = unsafe { self.operands() };
        self.kernel.outline(&operands, numbers).map_err(|_| Decline::Kernel)
    }

    /// Whether there is something to gain over stock torch.
    pub(crate) fn pays(&self, runtime: &Runtime) -> Result<(), Decline> {
        // SAFETY: as in `outline`.
        let operands = unsafe { self.operands() };
        self.kernel.pays(runtime.isa, &operands).map_err(|_| Decline::Kernel)
    }

    /// Lets the kernel look at the elements.
    pub(crate) fn inspect(&self, runtime: &Runtime, numbers: &[f64]) -> Result<(), Decline> {
        // SAFETY: as in `outline`.
        let operands = unsafe { self.operands() };
        self.kernel
            .inspect(&Exec::new(runtime.isa, &runtime.team), &operands, numbers)
            .map_err(|_| Decline::Kernel)
    }

    /// Runs the kernel: the result, and what is kept for the gradient if there is to be one and it needs anything.
    pub(crate) fn forward(
        &self,
        py: Python<'_>,
        runtime: &Runtime,
        op: &OpState,
        outline: &Outline,
        numbers: &[f64],
        keeps: bool,
    ) -> Result<Forwarded, Failure> {
        let (dtype, layout) = self.input()?;
        let result = runtime.doors.empty(py, dtype, &outline.result)?;
        let (kept_dtype, kept_len) = outline.saved;
        let kept_layout = Layout::contiguous(&[kept_len as i64]).ok_or(Decline::Layout)?;
        let kept = (keeps && kept_len > 0)
            .then(|| runtime.doors.empty(py, kept_dtype, &kept_layout))
            .transpose()?;
        op.run(layout.numel(), || {
            // SAFETY: as in `outline`; the new tensors are nobody else's, and those that are updated are apart.
            let (operands, updated, target, kept) = unsafe {
                (
                    self.constant(),
                    self.updated(),
                    Target::from_raw(dtype, result.data, outline.result.numel()),
                    kept.as_ref()
                        .map(|kept| Target::from_raw(kept_dtype, kept.data, kept_len)),
                )
            };
            let exec = Exec::new(runtime.isa, &runtime.team);
            self.kernel
                .forward_updating(&exec, &operands, updated, target, kept, numbers);
        })?;
        let kept = kept.map(|kept| runtime.doors.finish(py, kept)).transpose()?;
        Ok((runtime.doors.finish(py, result)?, kept))
    }

    /// The gradients of the operands that want one.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn backward(
        &self,
        py: Python<'_>,
        runtime: &Runtime,
        op: &OpState,
        grad: &TensorView,
        kept: Option<&TensorView>,
        wanted: &[bool],
        numbers: &[f64],
    ) -> Result<Vec<Option<Py<PyAny>>>, Failure> {
        let outline = self.outline(numbers)?;
        let (dtype, layout) = self.input()?;
        let fits = grad.dtype == dtype
            && grad.layout.sizes() == outline.result.sizes()
            && (grad.layout.is_contiguous() && outline.result.is_contiguous()
                || grad.layout.is_channels_last() && outline.result.is_channels_last())
            && kept.map_or(outline.saved.1 == 0, |kept| {
                (kept.dtype, kept.layout.numel()) == outline.saved && kept.layout.is_contiguous()
            });
        if !fits || self.tensors.len() > MAX_OPERANDS {
            return Err(Decline::Layout.into());
        }
        // Nothing is read where nothing was kept.
        let kept_data = kept.map_or(NonNull::<u64>::dangling().as_ptr().cast(), |kept| kept.data);
        let mut made: [Option<(NewTensor, DType, usize)>; MAX_OPERANDS] = [const { None }; MAX_OPERANDS];
        for ((made, read), &wanted) in made.iter_mut().zip(&self.tensors).zip(wanted) {
            if let (Some(view), true) = (read, wanted) {
                if !view.dtype.is_float() {
                    continue;
                }
                let dense = view.layout.elementwise_result().ok_or(Decline::Layout)?;
                let tensor = runtime.doors.empty(py, view.dtype, &dense)?;
                *made = Some((tensor, view.dtype, dense.numel()));
            }
        }
        op.run(layout.numel(), || {
            // SAFETY: as in `forward`; the gradient and what was kept are of these lengths.
            let (operands, grad, kept) = unsafe {
                (
                    self.constant(),
                    View::from_raw(grad.dtype, grad.data, grad.layout.numel()),
                    View::from_raw(outline.saved.0, kept_data, outline.saved.1),
                )
            };
            let targets = made.each_ref().map(|made| {
                let (tensor, dtype, len) = made.as_ref()?;
                // SAFETY: as in `forward`.
                Some(unsafe { Target::from_raw(*dtype, tensor.data, *len) })
            });
            self.kernel.backward(
                &Exec::new(runtime.isa, &runtime.team),
                grad,
                &operands,
                kept,
                targets,
                numbers,
            );
        })?;
        let tensors = made.into_iter().take(wanted.len());
        let finished = tensors.map(|made| made.map(|(tensor, ..)| runtime.doors.finish(py, tensor)).transpose());
        Ok(finished.collect::<Result<_, _>>()?)
    }
}

/// An argument that is a tensor; `None` where it is missing.
///
/// # Safety
/// The object is null or alive for as long as the result, and the GIL is held.
pub(crate) unsafe fn optional(py: Python<'_>, object: *mut ffi::PyObject) -> Option<Bound<'_, PyAny>> {
    // SAFETY: the caller's.
    let object = unsafe { Bound::from_borrowed_ptr_or_opt(py, object) };
    object.filter(|object| !object.is_none())
}

/// Whether a sequence of integers is what `sizes` ends with.
pub(crate) fn ends_with(sizes: &[i64], asked: &Bound<'_, PyAny>) -> bool {
    let Ok(asked) = asked.extract::<Vec<i64>>() else {
        return false;
    };
    sizes.ends_with(&asked)
}
