//! Operations: a kernel with its size windows and counters, and its runs on torch tensors.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use pyo3::{
    exceptions::{PyException, PyRuntimeError, PyValueError},
    ffi,
    prelude::*,
    types::{PyDict, PyTuple},
};
use rusttorch_core::{
    dtype::{DType, Target, Unwritten, View, ViewMut},
    kernel::{
        AlongKernel, ClipKernel, Exec, Geometry, Glance, IndexKernel, Kernel, Kind, MAX_RESULTS, NaryKernel,
        RandomKernel, SelectKernel, Shape, Slot, StepKernel,
    },
    layout::{Layout, MAX_DIMS, wrap_dim},
    ops,
    random::{Mt19937, Source},
};
use rusttorch_torch::{
    decline::Decline,
    doors::{Held, NewTensor, TensorView},
    state::State,
};

use crate::{
    index::{self, Indexed, Views},
    multinomial,
    nary::{Forwarded, Operands},
    runtime::{Runtime, runtime},
    select,
};

/// Elements from which a kernel runs without the GIL: before, giving it up costs more than others gain.
pub(crate) const RELEASE_GIL: usize = 32_768;

/// Elements from which a kernel's time is taken: before, the clock would cost as much as the kernel.
const TIMED: usize = 4096;

/// How a call uses its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Mode {
    Forward,
    Inplace,
    Training,
}

impl Mode {
    pub(crate) const NAMES: [&'static str; 3] = ["forward", "inplace", "training"];
}

/// Counts up. The GIL is held, so that no update is lost, and a locked instruction would cost as much as a guard.
fn add(counter: &AtomicU64, more: u64) {
    counter.store(counter.load(Relaxed).wrapping_add(more), Relaxed);
}

/// The numbers of elements, inclusive, between which the kernel takes a call.
struct Window {
    low: AtomicUsize,
    high: AtomicUsize,
}

impl Window {
    /// Of all sizes, or of none.
    fn whole(always: bool) -> Self {
        let window = Self {
            low: AtomicUsize::new(0),
            high: AtomicUsize::new(usize::MAX),
        };
        if !always {
            window.close();
        }
        window
    }

    /// Leaves no size.
    fn close(&self) {
        self.set(usize::MAX, 0);
    }

    fn set(&self, low: usize, high: usize) {
        self.low.store(low, Relaxed);
        self.high.store(high, Relaxed);
    }

    /// Becomes the smallest one around others.
    fn surround<'a>(&self, others: impl Iterator<Item = &'a Self> + Clone) {
        let low = others.clone().map(|window| window.low.load(Relaxed)).min();
        let high = others.map(|window| window.high.load(Relaxed)).max();
        self.set(low.unwrap_or(0), high.unwrap_or(usize::MAX));
    }

    #[inline]
    fn contains(&self, numel: usize) -> bool {
        self.low.load(Relaxed) <= numel && numel <= self.high.load(Relaxed)
    }
}

/// By mode and type.
type Windows = [ByType<Window>; 3];

/// By type.
type ByType<T> = [T; DType::ALL.len()];

/// The strides of an elementwise result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Strides {
    /// As torch's iterator chooses them: see [`Layout::elementwise_result`].
    Iterator,
    /// Row-major whatever the input's are.
    Contiguous,
    /// The input's own, as of `torch.empty_like`.
    Input,
}

/// An operation's kernel.
#[derive(Clone, Copy)]
enum Work {
    Plain(&'static dyn Kernel),
    Along(&'static dyn AlongKernel),
    Select(&'static dyn SelectKernel),
    Look(Look),
    Index(&'static dyn IndexKernel),
    Random(&'static dyn RandomKernel),
    Nary(&'static dyn NaryKernel),
    Step(&'static dyn StepKernel),
    Clip(&'static dyn ClipKernel),
}

/// What is found in a tensor, or drawn from it: functions of the core crate, rather than kernels of one trait.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    Unique,
    UniqueConsecutive,
    Bincount,
    Multinomial,
}

impl Look {
    const NAMES: [(&'static str, Self); 4] = [
        ("unique", Self::Unique),
        ("unique_consecutive", Self::UniqueConsecutive),
        ("bincount", Self::Bincount),
        ("multinomial", Self::Multinomial),
    ];

    fn find(name: &str) -> Option<Self> {
        Self::NAMES
            .iter()
            .find_map(|&(known, look)| (known == name).then_some(look))
    }

    fn takes(self, dtype: DType) -> bool {
        match self {
            Self::Unique | Self::UniqueConsecutive => ops::select::unique::takes(dtype),
            Self::Bincount => ops::select::bincount::takes(dtype),
            Self::Multinomial => ops::random::multinomial::takes(dtype),
        }
    }

    /// Whether results may have a gradient.
    fn is_recorded(self) -> bool {
        matches!(self, Self::Unique | Self::UniqueConsecutive)
    }
}

impl Work {
    fn find(name: &str) -> Option<Self> {
        let plain = ops::find(name).map(Self::Plain);
        plain
            .or_else(|| ops::find_along(name).map(Self::Along))
            .or_else(|| ops::find_select(name).map(Self::Select))
            .or_else(|| Look::find(name).map(Self::Look))
            .or_else(|| ops::find_index(name).map(Self::Index))
            .or_else(|| ops::find_random(name).map(Self::Random))
            .or_else(|| ops::find_nary(name).map(Self::Nary))
            .or_else(|| ops::find_step(name).map(Self::Step))
            .or_else(|| ops::find_clip(name).map(Self::Clip))
    }

    fn shape(self) -> Shape {
        match self {
            Self::Plain(kernel) => kernel.shape(),
            Self::Along(kernel) => kernel.shape(),
            Self::Select(_)
            | Self::Look(_)
            | Self::Index(_)
            | Self::Random(_)
            | Self::Nary(_)
            | Self::Step(_)
            | Self::Clip(_) => Shape::Pointwise,
        }
    }

    /// How many elements in a row share a random number.
    fn each(self, layout: &Layout) -> Result<usize, Decline> {
        let Self::Random(kernel) = self else { return Ok(1) };
        let each = kernel.each(layout.sizes()).map_err(|_| Decline::Kernel)?;
        // Other strides decide those of stock torch's result.
        if each.is_some() && Layout::contiguous(layout.sizes()).is_none_or(|plain| plain != *layout) {
            return Err(Decline::Kernel);
        }
        Ok(each.unwrap_or(1))
    }

    /// Whether it takes elements of this type as its input.
    fn takes(self, dtype: DType) -> bool {
        match self {
            Self::Along(kernel) => kernel.takes(dtype),
            Self::Select(_) | Self::Index(_) => true,
            Self::Look(look) => look.takes(dtype),
            _ => dtype.is_float(),
        }
    }

    fn reduces_all(self) -> bool {
        match self {
            Self::Plain(kernel) => kernel.reduces_all(),
            Self::Along(kernel) => !kernel.results(true).is_empty(),
            Self::Select(_)
            | Self::Look(_)
            | Self::Index(_)
            | Self::Random(_)
            | Self::Nary(_)
            | Self::Step(_)
            | Self::Clip(_) => false,
        }
    }

    /// Whether a call of all elements has other results than one along a dimension.
    fn has_overload(self) -> bool {
        matches!(self, Self::Along(kernel) if !kernel.results(true).is_empty() && kernel.results(true) != kernel.results(false))
    }

    /// Whether results may have a gradient.
    fn is_recorded(self) -> bool {
        match self {
            Self::Along(kernel) => kernel.results(false).contains(&Kind::Values),
            Self::Select(kernel) => kernel.has_mask(),
            Self::Index(kernel) => kernel.differentiates(),
            Self::Look(look) => look.is_recorded(),
            _ => true,
        }
    }

    fn accepts(self, geometry: Geometry, numbers: &[f64]) -> Result<(), Decline> {
        match self {
            Self::Plain(kernel) => kernel.accepts(geometry, numbers),
            Self::Along(kernel) => kernel.accepts(geometry, numbers),
            Self::Random(kernel) => kernel.accepts(numbers),
            Self::Select(_) => Ok(()),
            Self::Look(_) | Self::Index(_) | Self::Nary(_) | Self::Step(_) | Self::Clip(_) => {
                Err("no operation on one tensor")
            }
        }
        .map_err(|_| Decline::Kernel)
    }

    /// Whether there is something to gain over stock torch, of what it accepts.
    fn pays(self, geometry: Geometry, numbers: &[f64]) -> Result<(), Decline> {
        match self {
            Self::Plain(kernel) => kernel.pays(geometry, numbers),
            Self::Along(kernel) => kernel.pays(geometry, numbers),
            _ => Ok(()),
        }
        .map_err(|_| Decline::Kernel)
    }
}

/// Whether a reduction's result keeps the dimension.
fn keeps_dim(numbers: &[f64]) -> bool {
    numbers.first().is_some_and(|&keepdim| keepdim != 0.0)
}

/// What an operation's callables share.
pub(crate) struct OpState {
    name: String,
    kernel: Work,
    /// What several results are made into, called with a tuple of them; a tuple where there is nothing.
    pack: Option<Py<PyAny>>,
    /// Whether autograd records calls.
    pub(crate) recorded: bool,
    /// Whether it has nothing to do for a row-major input.
    pub(crate) reorders: bool,
    /// Whether it takes an input that is not dense.
    pub(crate) takes_gaps: bool,
    strides: Strides,
    /// The version of a new result, and by how much a call in place counts it up.
    versions: [usize; 2],
    /// By kind of input, where the kernel tells several apart; then by mode and type.
    kinds: Vec<Windows>,
    /// By mode and type, around those of all kinds.
    windows: Windows,
    /// By type, around the windows of all modes.
    ever: ByType<Window>,
    /// By type: whether stock torch's autocast is known to leave the operation alone.
    autocast: ByType<AtomicBool>,
    /// Finds that out; taken by the first call under autocast.
    probe: Mutex<Option<Py<PyAny>>>,
    /// Whether random numbers come of a key that is drawn for each call, rather than one by one of torch's generator.
    fast: AtomicBool,
    /// Whether calls that a kernel accepts but that do not pay are stock torch's.
    weighs: AtomicBool,
    /// See [`casts`](Self::casts).
    casts: AtomicBool,
    /// What says whether torch's settings have the operation computed as the kernel does.
    setting: OnceLock<Py<PyAny>>,
    calls: AtomicU64,
    elements: AtomicU64,
    nanoseconds: AtomicU64,
    declined: [AtomicU64; Decline::ALL.len()],
    /// `apply` of the autograd function: `(input, dim, *numbers)`.
    apply: Mutex<Option<Py<PyAny>>>,
    /// Whether the autograd function makes its own row-major copy of an input that is not: see [`OpState::takes_copy`].
    copies: AtomicBool,
}

/// A panic of a kernel, to be raised.
pub(crate) struct Panicked(String);

impl From<Panicked> for PyErr {
    fn from(panic: Panicked) -> Self {
        PyRuntimeError::new_err(format!("rusttorch: internal error: {}", panic.0))
    }
}

pyo3::create_exception!(
    rusttorch._rusttorch,
    Declined,
    PyException,
    "The kernel leaves a call in training to stock torch: raised within autograd's functions, and never from a call."
);

/// Why a run gave no result.
pub(crate) enum Failure {
    /// Stock torch takes the call.
    Decline(Decline),
    /// The call raises.
    Raise(PyErr),
}

impl From<Decline> for Failure {
    fn from(reason: Decline) -> Self {
        Self::Decline(reason)
    }
}

/// What a kernel works on.
pub(crate) struct Plan {
    geometry: Geometry,
    /// The layout of each result.
    result: Layout,
    /// Whether all elements are one row for want of a dimension.
    whole: bool,
}

impl OpState {
    pub(crate) fn count_decline(&self, reason: Decline) {
        add(&self.declined[reason as usize], 1);
    }

    /// Whether a call of the input alone is another overload than one along a dimension.
    pub(crate) fn has_overload(&self) -> bool {
        self.kernel.has_overload()
    }

    /// The kernel, if it is an optimizer's step.
    pub(crate) fn step_kernel(&self) -> Option<&'static dyn StepKernel> {
        match self.kernel {
            Work::Step(kernel) => Some(kernel),
            _ => None,
        }
    }

    /// The kernel, if it works on gradients.
    pub(crate) fn clip_kernel(&self) -> Option<&'static dyn ClipKernel> {
        match self.kernel {
            Work::Clip(kernel) => Some(kernel),
            _ => None,
        }
    }

    /// The kernel, if it takes several tensors.
    pub(crate) fn nary_kernel(&self) -> Option<&'static dyn NaryKernel> {
        match self.kernel {
            Work::Nary(kernel) => Some(kernel),
            _ => None,
        }
    }

    /// The kernel, if it moves, chooses or finds elements.
    pub(crate) fn index_kernel(&self) -> Option<&'static dyn IndexKernel> {
        match self.kernel {
            Work::Index(kernel) => Some(kernel),
            _ => None,
        }
    }

    /// What it finds, if its results are as long as what that is.
    pub(crate) fn look(&self) -> Option<Look> {
        match self.kernel {
            Work::Look(look) => Some(look),
            _ => None,
        }
    }

    /// The kernel, if its result is as long as what it counts.
    pub(crate) fn select_kernel(&self) -> Option<&'static dyn SelectKernel> {
        match self.kernel {
            Work::Select(kernel) => Some(kernel),
            _ => None,
        }
    }

    /// Whether there is a mode in which the kernel may take this many elements of this type.
    #[inline]
    pub(crate) fn takes_ever(&self, dtype: DType, numel: usize) -> Result<(), Decline> {
        if self.ever[dtype as usize].contains(numel) {
            Ok(())
        } else {
            Err(self.outside(Mode::Forward, Some(dtype)))
        }
    }

    /// Whether the kernel takes this many elements of this type, or of any.
    #[inline]
    pub(crate) fn takes(&self, mode: Mode, dtype: Option<DType>, numel: usize) -> Result<(), Decline> {
        let windows = &self.windows[mode as usize];
        let taken = match dtype {
            Some(dtype) => windows[dtype as usize].contains(numel),
            None => windows.iter().any(|window| window.contains(numel)),
        };
        if taken { Ok(()) } else { Err(self.outside(mode, dtype)) }
    }

    /// Why a number of elements is not taken.
    #[cold]
    fn outside(&self, mode: Mode, dtype: Option<DType>) -> Decline {
        match (dtype, mode) {
            (Some(dtype), _) if !self.kernel.takes(dtype) => Decline::Dtype,
            (_, Mode::Training) => Decline::Training,
            _ => Decline::Threshold,
        }
    }

    /// The same of an input of this layout, where the kernel may tell several kinds apart.
    pub(crate) fn takes_input(&self, mode: Mode, dtype: DType, layout: &Layout) -> Result<(), Decline> {
        let windows = match self.nary_kernel() {
            Some(kernel) if !self.kinds.is_empty() => &self.kinds[kernel.kind(layout.sizes(), !layout.is_contiguous())],
            _ => &self.windows,
        };
        if windows[mode as usize][dtype as usize].contains(layout.numel()) {
            Ok(())
        } else {
            Err(self.outside(mode, Some(dtype)))
        }
    }

    /// Whether torch in this state leaves a tensor of this type to the operation as it is.
    #[inline]
    pub(crate) fn runs_under(&self, py: Python<'_>, state: State, dtype: DType) -> Result<(), Failure> {
        if !state.autocast || self.autocast[dtype as usize].load(Relaxed) {
            return Ok(());
        }
        self.probe_autocast(py)?;
        if self.autocast[dtype as usize].load(Relaxed) {
            Ok(())
        } else {
            Err(Decline::Mode.into())
        }
    }

    #[cold]
    fn probe_autocast(&self, py: Python<'_>) -> Result<(), Failure> {
        let probe = self.probe.lock().ok().and_then(|mut probe| probe.take());
        match probe.map(|probe| probe.call0(py)) {
            // Such as an interrupt from the keyboard; what failed has allowed nothing.
            Some(Err(error)) if !error.is_instance_of::<PyException>(py) => Err(Failure::Raise(error)),
            _ => Ok(()),
        }
    }

    /// How the kernel would see this tensor; [`Decline::Layout`] where a row-major copy would do.
    pub(crate) fn plan(&self, layout: &Layout, dim: Option<i64>, numbers: &[f64]) -> Result<Plan, Decline> {
        let shape = self.kernel.shape();
        let plan = if self.select_kernel().is_some() {
            // Stock torch takes a number for a row of one.
            if layout.sizes().is_empty() {
                return Err(Decline::Dim);
            }
            if !layout.is_contiguous() {
                return Err(Decline::Layout);
            }
            let geometry = Geometry::flat(layout.numel());
            self.accepts(geometry, numbers)?;
            Plan {
                geometry,
                result: *layout,
                whole: false,
            }
        } else if shape == Shape::Pointwise {
            let dense = layout.elementwise_result().ok_or(Decline::Layout)?;
            self.kernel.each(layout)?;
            if self.strides == Strides::Contiguous && !layout.is_contiguous() {
                return Err(Decline::Layout);
            }
            let geometry = Geometry::flat(layout.numel());
            self.accepts(geometry, numbers)?;
            Plan {
                geometry,
                result: if self.strides == Strides::Input { *layout } else { dense },
                whole: false,
            }
        } else {
            if dim.is_none() && self.kernel.reduces_all() {
                return self.plan_all(layout, numbers);
            }
            let dim = layout.wrap_dim(dim.ok_or(Decline::Dim)?).ok_or(Decline::Dim)?;
            if shape == Shape::Glu && !layout.is_contiguous() {
                let (geometry, result) = layout.halved(dim).ok_or(Decline::Kernel)?;
                self.accepts(geometry, numbers)?;
                return Ok(Plan {
                    geometry,
                    result,
                    whole: false,
                });
            }
            if let (Work::Along(kernel), Shape::Rows) = (self.kernel, shape)
                && kernel.keeps_strides()
            {
                let geometry = layout.dense_along(dim).ok_or(Decline::Layout)?;
                self.accepts(geometry, numbers)?;
                return Ok(Plan {
                    geometry,
                    result: *layout,
                    whole: false,
                });
            }
            if !layout.is_contiguous() {
                return Err(Decline::Layout);
            }
            // Odd strides of dimensions of size 1 decide those of stock torch's result.
            if shape == Shape::Glu && Layout::contiguous(layout.sizes()).is_none_or(|plain| plain != *layout) {
                return Err(Decline::Kernel);
            }
            let geometry = layout.along(dim);
            self.accepts(geometry, numbers)?;
            let result = match shape {
                Shape::Rows if matches!(self.kernel, Work::Along(_)) => {
                    Layout::contiguous(layout.sizes()).ok_or(Decline::Layout)?
                }
                Shape::Rows => *layout,
                Shape::Reduce if keeps_dim(numbers) => layout.with_size(dim, 1),
                Shape::Reduce => layout.without(dim),
                Shape::Glu if layout.sizes().is_empty() => return Err(Decline::Dim),
                Shape::Glu => layout.with_size(dim, layout.sizes()[dim] / 2),
                Shape::First if layout.sizes().is_empty() => *layout,
                Shape::First => layout.with_size(dim, shape.result_dim(geometry.dim, numbers) as i64),
                Shape::Pointwise => unreachable!("handled above"),
            };
            Plan {
                geometry,
                result: Layout::contiguous(result.sizes()).ok_or(Decline::Layout)?,
                whole: false,
            }
        };
        Ok(plan)
    }

    /// The same where all elements make one row.
    fn plan_all(&self, layout: &Layout, numbers: &[f64]) -> Result<Plan, Decline> {
        if !layout.is_contiguous() {
            return Err(Decline::Layout);
        }
        let geometry = Geometry::flat(layout.numel());
        self.accepts(geometry, numbers)?;
        let dims = if keeps_dim(numbers) { layout.sizes().len() } else { 0 };
        Ok(Plan {
            geometry,
            result: Layout::contiguous(&[1; MAX_DIMS][..dims]).ok_or(Decline::Layout)?,
            whole: true,
        })
    }

    /// The indices of two arguments that tell at a glance of most calls that do not pay.
    #[inline]
    pub(crate) fn glance(&self) -> Option<[usize; 2]> {
        match self.kernel {
            Work::Nary(kernel) if self.weighs() => kernel.glance(),
            Work::Index(kernel) if self.weighs() => kernel.glance(),
            _ => None,
        }
    }

    /// What they tell: see [`IndexKernel::may_pay`].
    pub(crate) fn may_pay(&self, glance: &Glance) -> bool {
        match self.kernel {
            Work::Nary(kernel) => kernel.may_pay(glance),
            Work::Index(kernel) => kernel.may_pay(glance),
            _ => true,
        }
    }

    /// Whether the numbers of a call and the sizes of its row-major input leave something to gain: most calls that do not
    /// pay are told by these, before more is read.
    pub(crate) fn may_gain(&self, sizes: &[i64], dim: Option<i64>, numbers: &[f64]) -> Result<(), Decline> {
        if !self.weighs() {
            return Ok(());
        }
        match self.kernel {
            Work::Plain(_) | Work::Along(_) if self.kernel.shape() != Shape::Pointwise => {
                let geometry = match dim {
                    Some(dim) => wrap_dim(sizes.len(), dim).map(|dim| Geometry::along(sizes, dim)),
                    None if self.kernel.reduces_all() => Some(Geometry::flat(sizes.iter().product::<i64>() as usize)),
                    None => None,
                };
                geometry.map_or(Ok(()), |geometry| self.accepts(geometry, numbers))
            }
            Work::Select(_) if !select::gains(sizes, numbers) => Err(Decline::Kernel),
            Work::Look(Look::Multinomial) if !multinomial::gains(numbers) => Err(Decline::Kernel),
            _ => Ok(()),
        }
    }

    /// Whether torch's settings are as the kernel needs them.
    pub(crate) fn is_set(&self, py: Python<'_>) -> Result<(), Failure> {
        let Some(setting) = self.setting.get() else {
            return Ok(());
        };
        let truth = setting.call0(py).and_then(|truth| truth.is_truthy(py));
        if truth.map_err(Failure::Raise)? {
            Ok(())
        } else {
            Err(Decline::Setting.into())
        }
    }

    /// Whether calls that do not pay are stock torch's.
    pub(crate) fn weighs(&self) -> bool {
        self.weighs.load(Relaxed)
    }

    /// Whether stock torch's autocast has it done in its type.
    #[inline]
    pub(crate) fn casts(&self) -> bool {
        self.casts.load(Relaxed)
    }

    fn accepts(&self, geometry: Geometry, numbers: &[f64]) -> Result<(), Decline> {
        self.kernel.accepts(geometry, numbers)?;
        if self.weighs() {
            self.kernel.pays(geometry, numbers)?;
        }
        Ok(())
    }

    /// Whether the numbers are ones that no stock function looks at twice.
    pub(crate) fn accepts_numbers(&self, numbers: &[f64]) -> bool {
        self.nary_kernel().is_some()
            || self.index_kernel().is_some()
            || self.kernel.shape() != Shape::Pointwise
            || self.accepts(Geometry::flat(1), numbers).is_ok()
    }

    /// Runs `work` over `numel` elements, without the GIL where that pays, and counts it.
    pub(crate) fn run(&self, numel: usize, work: impl FnOnce()) -> Result<(), Failure> {
        if numel < RELEASE_GIL {
            self.run_with_gil(numel, work)
        } else {
            self.run_without_gil(numel, work)
        }
    }

    /// The same, with random numbers.
    pub(crate) fn draw(
        &self,
        py: Python<'_>,
        runtime: &Runtime,
        numel: usize,
        work: impl FnOnce(Source),
    ) -> Result<(), Failure> {
        let generator = runtime.generator(py)?;
        if self.fast.load(Relaxed) {
            let key = match generator.try_lock() {
                Some(mut locked) => locked.draw(Mt19937::draw_long),
                // Whoever holds the generator does not wait for the GIL.
                None => py.detach(|| generator.lock().and_then(|mut locked| locked.draw(Mt19937::draw_long))),
            };
            let key = key.ok_or(Decline::Failed)?;
            return self.run(numel, || work(Source::Key(key)));
        }
        let mut drawn = None;
        match generator.try_lock() {
            Some(mut locked) if numel < RELEASE_GIL => self.run_with_gil(numel, || {
                drawn = locked.draw(|generator| work(Source::Torch(generator)));
            }),
            // As above.
            locked => {
                drop(locked);
                self.run_without_gil(numel, || {
                    drawn = generator
                        .lock()
                        .and_then(|mut locked| locked.draw(|generator| work(Source::Torch(generator))));
                })
            }
        }?;
        Ok(drawn.ok_or(Decline::Failed)?)
    }

    /// Whether a run over `numel` elements is timed.
    pub(crate) fn is_timed(numel: usize) -> bool {
        numel >= TIMED
    }

    /// Adds what a run has taken before it was counted.
    pub(crate) fn add_time(&self, time: Duration) {
        add(&self.nanoseconds, time.as_nanos() as u64);
    }

    fn run_without_gil(&self, numel: usize, work: impl FnOnce()) -> Result<(), Failure> {
        self.run_with_gil(numel, || without_gil(work))
    }

    fn run_with_gil(&self, numel: usize, work: impl FnOnce()) -> Result<(), Failure> {
        let start = Self::is_timed(numel).then(Instant::now);
        let outcome = catch_unwind(AssertUnwindSafe(work));
        add(&self.calls, 1);
        add(&self.elements, numel as u64);
        if let Some(start) = start {
            add(&self.nanoseconds, start.elapsed().as_nanos() as u64);
        }
        outcome.map_err(raised)
    }

    /// The result of `view`, as a new tensor.
    pub(crate) fn forward(
        &self,
        py: Python<'_>,
        runtime: &Runtime,
        view: &TensorView,
        plan: &Plan,
        numbers: &[f64],
    ) -> Result<Py<PyAny>, Failure> {
        let kernel = match self.kernel {
            Work::Plain(kernel) => kernel,
            Work::Along(kernel) => return self.forward_along(py, runtime, kernel, view, plan, numbers),
            Work::Random(kernel) => return self.forward_random(py, runtime, kernel, view, plan, numbers, None),
            Work::Select(_) | Work::Look(_) | Work::Index(_) | Work::Nary(_) | Work::Step(_) | Work::Clip(_) => {
                return Err(Decline::Kernel.into());
            }
        };
        let numel = view.layout.numel();
        let target = runtime.doors.empty(py, view.dtype, &plan.result)?;
        self.run(numel, || {
            // SAFETY: the caller holds the tensors; the new one is nobody else's; both are dense of these lengths.
            let (src, dst) = unsafe {
                (
                    View::from_raw(view.dtype, view.data, numel),
                    Target::from_raw(view.dtype, target.data, plan.result.numel()),
                )
            };
            kernel.forward(&Exec::new(runtime.isa, &runtime.team), src, dst, plan.geometry, numbers);
        })?;
        Ok(runtime.doors.finish(py, target)?)
    }

    /// The same along a dimension, of one result or several.
    fn forward_along(
        &self,
        py: Python<'_>,
        runtime: &Runtime,
        kernel: &dyn AlongKernel,
        view: &TensorView,
        plan: &Plan,
        numbers: &[f64],
    ) -> Result<Py<PyAny>, Failure> {
        let kinds = kernel.results(plan.whole);
        let make = |index: usize| {
            let made = match kinds.get(index)? {
                Kind::Values => view.dtype,
                Kind::Indices => DType::I64,
            };
            Some(runtime.doors.empty(py, made, &plan.result))
        };
        let made: [Option<NewTensor>; MAX_RESULTS] = [make(0).transpose()?, make(1).transpose()?];
        let (numel, len) = (view.layout.numel(), plan.result.numel());
        let mut outcome = Ok(());
        self.run(numel, || {
            // SAFETY: as in `forward`; indices are of 64 bits.
            let (src, slots) = unsafe {
                let slot = |index: usize| {
                    let data = made[index].as_ref()?.data;
                    Some(match kinds[index] {
                        Kind::Values => Slot::Values(Target::from_raw(view.dtype, data, len)),
                        Kind::Indices => Slot::Indices(Unwritten::from_raw(data.cast(), len)),
                    })
                };
                (View::from_raw(view.dtype, view.data, numel), std::array::from_fn(slot))
            };
            let exec = Exec::new(runtime.isa, &runtime.team);
            outcome = kernel.forward(&exec, src, slots, plan.geometry, numbers);
        })?;
        outcome.map_err(|_| Decline::Elements)?;
        let mut results = made.into_iter().flatten().map(|made| runtime.doors.finish(py, made));
        if kinds.len() == 1 {
            return Ok(results.next().ok_or(Decline::Failed)??);
        }
        let results = results.collect::<Result<Vec<_>, _>>()?;
        let packed = PyTuple::new(py, results).and_then(|results| match &self.pack {
            Some(pack) => pack.call1(py, (results,)),
            None => Ok(results.into_any().unbind()),
        });
        packed.map_err(Failure::Raise)
    }

    /// The same with random numbers; `mask` is the address of a byte for each element.
    #[allow(clippy::too_many_arguments)]
    fn forward_random(
        &self,
        py: Python<'_>,
        runtime: &Runtime,
        kernel: &dyn RandomKernel,
        view: &TensorView,
        plan: &Plan,
        numbers: &[f64],
        mask: Option<usize>,
    ) -> Result<Py<PyAny>, Failure> {
        let (numel, each) = (view.layout.numel(), self.kernel.each(&view.layout)?);
        let target = runtime.doors.empty(py, view.dtype, &plan.result)?;
        self.draw(py, runtime, numel, |source| {
            // SAFETY: as in `forward`; the mask is a new tensor of the caller's, of so many bytes.
            let (src, dst, mask) = unsafe {
                (
                    View::from_raw(view.dtype, view.data, numel),
                    Target::from_raw(view.dtype, target.data, numel),
                    mask.map(|data| Unwritten::from_raw(data as *mut u8, numel / each)),
                )
            };
            kernel.forward(
                &Exec::new(runtime.isa, &runtime.team),
                source,
                src,
                dst,
                each,
                mask,
                numbers,
            );
        })?;
        let result = runtime.doors.finish(py, target)?;
        if self.versions[0] > 0 {
            let result = result.bind(py);
            let held = hold(runtime, result)?;
            // A new tensor has no version in inference mode.
            if !held.is_inference(py)? {
                for _ in 0..self.versions[0] {
                    held.bump_version(py)?;
                }
            }
        }
        Ok(result)
    }

    /// Counts the version of an input up, as stock torch does in place.
    pub(crate) fn bump_version(&self, py: Python<'_>, held: &Held<'_>) -> Result<(), Decline> {
        (0..self.versions[1]).try_for_each(|_| held.bump_version(py))
    }

    /// Whether this call can run on a row-major copy of its input, with which stock torch begins as well; `reason` is
    /// why it cannot run on the input.
    pub(crate) fn takes_copy(
        &self,
        mode: Mode,
        layout: &Layout,
        dim: Option<i64>,
        numbers: &[f64],
        reason: Decline,
    ) -> Result<(), Decline> {
        let copies = match mode {
            Mode::Forward => true,
            Mode::Inplace => false,
            Mode::Training => self.copies.load(Relaxed),
        };
        if reason != Decline::Layout || !copies || layout.dense_order().is_none() {
            return Err(reason);
        }
        let copy = Layout::contiguous(layout.sizes()).ok_or(reason)?;
        self.plan(&copy, dim, numbers).map(drop)
    }

    /// The result from a row-major copy of `input`.
    pub(crate) fn forward_copied(
        &self,
        py: Python<'_>,
        runtime: &Runtime,
        input: &Bound<'_, PyAny>,
        dim: Option<i64>,
        numbers: &[f64],
    ) -> Result<Py<PyAny>, Failure> {
        let copy = input
            .call_method0(pyo3::intern!(py, "contiguous"))
            .map_err(Failure::Raise)?;
        let view = hold(runtime, &copy)?.any_view(py, false, false)?;
        let plan = self.plan(&view.layout, dim, numbers)?;
        self.forward(py, runtime, &view, &plan, numbers)
    }

    /// Replaces the elements of `view` by the result.
    pub(crate) fn inplace(
        &self,
        py: Python<'_>,
        runtime: &Runtime,
        view: &TensorView,
        numbers: &[f64],
    ) -> Result<(), Failure> {
        let numel = view.layout.numel();
        let kernel = match self.kernel {
            Work::Plain(kernel) => kernel,
            Work::Along(_)
            | Work::Select(_)
            | Work::Look(_)
            | Work::Index(_)
            | Work::Nary(_)
            | Work::Step(_)
            | Work::Clip(_) => {
                return Err(Decline::Kernel.into());
            }
            Work::Random(kernel) => {
                let each = self.kernel.each(&view.layout)?;
                return self.draw(py, runtime, numel, |source| {
                    // SAFETY: as below.
                    let buf = unsafe { ViewMut::from_raw(view.dtype, view.data, numel) };
                    kernel.inplace(&Exec::new(runtime.isa, &runtime.team), source, buf, each, numbers);
                });
            }
        };
        self.run(numel, || {
            // SAFETY: the caller holds the tensor, which is dense of this length; races with other threads of Python
            // are the program's, as in stock torch.
            let buf = unsafe { ViewMut::from_raw(view.dtype, view.data, numel) };
            kernel.inplace(&Exec::new(runtime.isa, &runtime.team), buf, numbers);
        })
    }

    fn backward(
        &self,
        py: Python<'_>,
        runtime: &Runtime,
        grad: &TensorView,
        saved: &TensorView,
        dim: Option<i64>,
        numbers: &[f64],
    ) -> Result<Py<PyAny>, Failure> {
        if grad.dtype != saved.dtype {
            return Err(Decline::Dtype.into());
        }
        let Work::Plain(kernel) = self.kernel else {
            return Err(Decline::Kernel.into());
        };
        if !kernel.differentiates() {
            return Err(Decline::Kernel.into());
        }
        let plan = self.plan(&saved.layout, dim, numbers)?;
        let shape = kernel.shape();
        if shape == Shape::Glu && !saved.layout.is_contiguous() {
            // Stock torch's gradient is row-major.
            return Err(Decline::Layout.into());
        }
        // The gradient lies in memory as the result does.
        let matches = match shape {
            Shape::Pointwise | Shape::Rows => same_order(&grad.layout, &saved.layout),
            Shape::Reduce | Shape::Glu | Shape::First => same_order(&grad.layout, &plan.result),
        };
        if !matches {
            return Err(Decline::Layout.into());
        }
        let numel = saved.layout.numel();
        let result = saved.layout.elementwise_result().ok_or(Decline::Layout)?;
        let target = runtime.doors.empty(py, saved.dtype, &result)?;
        self.run(numel, || {
            // SAFETY: as in `forward`.
            let (grad, saved, dst) = unsafe {
                (
                    View::from_raw(grad.dtype, grad.data, grad.layout.numel()),
                    View::from_raw(saved.dtype, saved.data, numel),
                    Target::from_raw(saved.dtype, target.data, numel),
                )
            };
            kernel.backward(
                &Exec::new(runtime.isa, &runtime.team),
                grad,
                saved,
                dst,
                plan.geometry,
                numbers,
            );
        })?;
        Ok(runtime.doors.finish(py, target)?)
    }

    /// Calls the autograd function.
    pub(crate) fn train(
        &self,
        py: Python<'_>,
        input: &Bound<'_, PyAny>,
        dim: Option<i64>,
        numbers: &[f64],
    ) -> Result<Py<PyAny>, Failure> {
        let apply = self
            .apply
            .lock()
            .ok()
            .and_then(|apply| apply.as_ref().map(|apply| apply.clone_ref(py)));
        let apply = apply.ok_or(Decline::Training)?;
        let call = || -> PyResult<Py<PyAny>> {
            let mut arguments = vec![input.clone(), dim.into_pyobject(py)?];
            for &number in numbers {
                arguments.push(number.into_pyobject(py)?.into_any());
            }
            apply.call1(py, PyTuple::new(py, arguments)?)
        };
        call().map_err(|error| {
            if error.is_instance_of::<Declined>(py) {
                Decline::Elements.into()
            } else {
                Failure::Raise(error)
            }
        })
    }
}

/// Runs what may not touch Python without the GIL.
fn without_gil<R>(work: impl FnOnce() -> R) -> R {
    // SAFETY: the GIL is held here and taken back on the same thread before Python is touched again.
    let saved = unsafe { ffi::PyEval_SaveThread() };
    let outcome = catch_unwind(AssertUnwindSafe(work));
    // SAFETY: as above.
    unsafe { ffi::PyEval_RestoreThread(saved) };
    outcome.unwrap_or_else(|panic| resume_unwind(panic))
}

/// What `work` over `numel` elements finds out, without the GIL where that pays. It is not counted: stock torch may get
/// the call for it.
pub(crate) fn look<R>(numel: usize, work: impl FnOnce() -> R) -> Result<R, Failure> {
    let look = || if numel < RELEASE_GIL { work() } else { without_gil(work) };
    catch_unwind(AssertUnwindSafe(look)).map_err(raised)
}

fn raised(panic: Box<dyn Any + Send>) -> Failure {
    Failure::Raise(Panicked(message(&*panic)).into())
}

/// Whether two dense tensors have the same sizes and lie in memory in the same order, dimensions of size 1 included: the
/// order of a result follows from all of them.
pub(crate) fn same_order(a: &Layout, b: &Layout) -> bool {
    a.sizes() == b.sizes() && (a.strides() == b.strides() || a.is_contiguous() && b.is_contiguous())
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "panic".to_owned())
}

/// An operation: a kernel of the registry, its size windows and its counters.
#[pyclass(frozen, module = "rusttorch._rusttorch")]
pub(crate) struct Op(pub(crate) Arc<OpState>);

#[pymethods]
impl Op {
    /// `kernel` is a name of `kernels()`; `strides` says which ones an elementwise result has: "iterator" (as torch's
    /// iterator chooses them), "contiguous", or "input" (the input's own); `versions` is the version of a new result of
    /// random numbers, and by how much a call in place counts it up; `pack` makes what is returned of a tuple of several
    /// results.
    #[new]
    #[pyo3(signature = (name, kernel, strides="iterator", versions=[0, 1], pack=None))]
    fn new(name: String, kernel: &str, strides: &str, versions: [usize; 2], pack: Option<Py<PyAny>>) -> PyResult<Self> {
        let strides = match strides {
            "iterator" => Strides::Iterator,
            "contiguous" => Strides::Contiguous,
            "input" => Strides::Input,
            _ => return Err(PyValueError::new_err(format!("strides: {strides:?} is not known"))),
        };
        let kernel = Work::find(kernel).ok_or_else(|| PyValueError::new_err(format!("no kernel {kernel:?}")))?;
        let by_type = || DType::ALL.map(|dtype| Window::whole(kernel.takes(dtype)));
        let by_mode = || std::array::from_fn(|_| by_type());
        let kinds = match kernel {
            Work::Nary(kernel) if kernel.kinds() > 1 => kernel.kinds(),
            _ => 0,
        };
        Ok(Self(Arc::new(OpState {
            name,
            kernel,
            pack,
            recorded: kernel.is_recorded(),
            reorders: matches!(kernel, Work::Index(kernel) if kernel.reorders()),
            takes_gaps: matches!(kernel, Work::Index(kernel) if kernel.takes_gaps()),
            strides,
            versions,
            kinds: (0..kinds).map(|_| by_mode()).collect(),
            windows: by_mode(),
            ever: by_type(),
            autocast: std::array::from_fn(|_| AtomicBool::new(false)),
            probe: Mutex::new(None),
            fast: AtomicBool::new(false),
            weighs: AtomicBool::new(true),
            casts: AtomicBool::new(false),
            setting: OnceLock::new(),
            calls: AtomicU64::new(0),
            elements: AtomicU64::new(0),
            nanoseconds: AtomicU64::new(0),
            declined: std::array::from_fn(|_| AtomicU64::new(0)),
            apply: Mutex::new(None),
            copies: AtomicBool::new(false),
        })))
    }

    #[getter]
    fn name(&self) -> &str {
        &self.0.name
    }

    /// How many kinds of inputs have sizes of their own.
    #[getter]
    fn kinds(&self) -> usize {
        self.0.kinds.len().max(1)
    }

    /// Sets the sizes, inclusive, at which the kernel takes calls of a mode ("forward", "inplace", "training") and a
    /// dtype, and of inputs of one kind where the kernel tells several apart; `None` for `low` means never, for `high` no
    /// limit.
    #[pyo3(signature = (mode, dtype, low, high=None, kind=0))]
    fn set_window(
        &self,
        mode: &str,
        dtype: &str,
        low: Option<usize>,
        high: Option<usize>,
        kind: usize,
    ) -> PyResult<()> {
        let mode = Mode::NAMES.iter().position(|name| *name == mode);
        let dtype = DType::ALL.iter().position(|known| known.name() == dtype);
        let (Some(mode), Some(dtype)) = (mode, dtype) else {
            return Err(PyValueError::new_err("mode or dtype unknown"));
        };
        let OpState {
            kinds, windows, ever, ..
        } = &*self.0;
        if kind >= kinds.len().max(1) {
            return Err(PyValueError::new_err("no such kind of inputs"));
        }
        let of_kind = kinds.get(kind).unwrap_or(windows);
        match low {
            Some(low) if self.0.kernel.takes(DType::ALL[dtype]) => {
                of_kind[mode][dtype].set(low, high.unwrap_or(usize::MAX));
            }
            _ => of_kind[mode][dtype].close(),
        }
        if !kinds.is_empty() {
            windows[mode][dtype].surround(kinds.iter().map(|kind| &kind[mode][dtype]));
        }
        ever[dtype].surround(windows.iter().map(|windows| &windows[dtype]));
        Ok(())
    }

    /// Sets whether random numbers come of a key that each call draws from torch's generator, two words of it, and do not
    /// equal stock torch's.
    fn set_fast(&self, fast: bool) {
        self.0.fast.store(fast, Relaxed);
    }

    /// Sets whether calls that a kernel accepts, but that do not pay by their shape or numbers, are stock torch's.
    fn set_weighs(&self, weighs: bool) {
        self.0.weighs.store(weighs, Relaxed);
    }

    /// Says that stock torch's autocast has the operation done in its type.
    fn set_casts(&self) {
        self.0.casts.store(true, Relaxed);
    }

    /// Sets a function of nothing that says whether torch's settings have the operation computed as the kernel does.
    fn set_setting(&self, setting: Py<PyAny>) -> PyResult<()> {
        let set = self.0.setting.set(setting);
        set.map_err(|_| PyValueError::new_err("set before"))
    }

    /// Says that stock torch's autocast leaves inputs of a dtype, and their gradients, alone.
    fn allow_autocast(&self, dtype: &str) -> PyResult<()> {
        let dtype = DType::ALL.iter().position(|known| known.name() == dtype);
        let dtype = dtype.ok_or_else(|| PyValueError::new_err("dtype unknown"))?;
        self.0.autocast[dtype].store(true, Relaxed);
        Ok(())
    }

    /// Sets what to call once, at the first call under autocast, for it to `allow_autocast`.
    fn set_probe(&self, probe: Py<PyAny>) {
        if let Ok(mut slot) = self.0.probe.lock() {
            *slot = Some(probe);
        }
    }

    /// Sets the autograd function's `apply`, called as `(input, dim, *numbers)`, and whether a row-major copy of the
    /// input will do in forward.
    fn set_apply(&self, apply: Py<PyAny>, copies: bool) {
        self.0.copies.store(copies, Relaxed);
        if let Ok(mut slot) = self.0.apply.lock() {
            *slot = Some(apply);
        }
    }

    /// `calls`, `elements`, `seconds`, and `declined` by reason.
    fn counters<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let (counters, declined) = (PyDict::new(py), PyDict::new(py));
        counters.set_item("calls", self.0.calls.load(Relaxed))?;
        counters.set_item("elements", self.0.elements.load(Relaxed))?;
        counters.set_item("seconds", self.0.nanoseconds.load(Relaxed) as f64 / 1e9)?;
        for (reason, count) in Decline::ALL.iter().zip(&self.0.declined) {
            let count = count.load(Relaxed);
            if count > 0 {
                declined.set_item(reason.text(), count)?;
            }
        }
        counters.set_item("declined", declined)?;
        Ok(counters)
    }

    /// Sets the counters to zero.
    fn reset(&self) {
        for counter in [&self.0.calls, &self.0.elements, &self.0.nanoseconds]
            .into_iter()
            .chain(&self.0.declined)
        {
            counter.store(0, Relaxed);
        }
    }

    /// The result of `input`, without guards: for the autograd function, which has passed them; `None` if declined.
    fn forward(&self, input: &Bound<'_, PyAny>, dim: Option<i64>, numbers: Vec<f64>) -> PyResult<Option<Py<PyAny>>> {
        let py = input.py();
        let Some(runtime) = runtime() else { return Ok(None) };
        let run = || -> Result<Py<PyAny>, Failure> {
            let view = hold(runtime, input)?.view(py, false, false)?;
            if self.0.look() == Some(Look::Multinomial) {
                return multinomial::forward(py, runtime, &self.0, &view, &numbers, true);
            }
            match self.0.plan(&view.layout, dim, &numbers) {
                Ok(plan) => self.0.forward(py, runtime, &view, &plan, &numbers),
                Err(reason) => {
                    let mode = Mode::Training;
                    self.0.takes_copy(mode, &view.layout, dim, &numbers, reason)?;
                    self.0.forward_copied(py, runtime, input, dim, &numbers)
                }
            }
        };
        or_left(run())
    }

    /// The result of `input` with random numbers, without guards, and into `mask`, a new contiguous tensor of a byte for
    /// each number, what `backward_masked` needs of them; `None` if declined.
    fn forward_masked(
        &self,
        input: &Bound<'_, PyAny>,
        mask: &Bound<'_, PyAny>,
        numbers: Vec<f64>,
    ) -> PyResult<Option<Py<PyAny>>> {
        let py = input.py();
        let (Some(runtime), Work::Random(kernel)) = (runtime(), self.0.kernel) else {
            return Ok(None);
        };
        let run = || -> Result<Py<PyAny>, Failure> {
            let view = hold(runtime, input)?.view(py, false, false)?;
            let plan = self.0.plan(&view.layout, None, &numbers)?;
            let mask = mask_data(mask, view.layout.numel() / self.0.kernel.each(&view.layout)?)?;
            self.0
                .forward_random(py, runtime, kernel, &view, &plan, &numbers, Some(mask))
        };
        or_declined(run())
    }

    /// The gradient of the input of `forward_masked`, whose result had these sizes and strides; `None` if declined.
    fn backward_masked(
        &self,
        grad: &Bound<'_, PyAny>,
        mask: &Bound<'_, PyAny>,
        sizes: Vec<i64>,
        strides: Vec<i64>,
        numbers: Vec<f64>,
    ) -> PyResult<Option<Py<PyAny>>> {
        let py = grad.py();
        let (Some(runtime), Work::Random(kernel)) = (runtime(), self.0.kernel) else {
            return Ok(None);
        };
        let run = || -> Result<Py<PyAny>, Failure> {
            let state = backward_state(runtime, [grad, mask])?;
            let grad = hold(runtime, grad)?.view(py, false, false)?;
            self.0.runs_under(py, state, grad.dtype)?;
            let result = Layout::new(&sizes, &strides).ok_or(Decline::Layout)?;
            if !same_order(&grad.layout, &result) {
                return Err(Decline::Layout.into());
            }
            let plan = self.0.plan(&result, None, &numbers)?;
            let target = runtime.doors.empty(py, grad.dtype, &plan.result)?;
            let (numel, each) = (result.numel(), self.0.kernel.each(&result)?);
            let mask = mask_data(mask, numel / each)?;
            self.0.run(numel, || {
                // SAFETY: as in `OpState::forward`; the mask is a contiguous tensor of so many bytes.
                let (grad, dst, mask) = unsafe {
                    (
                        View::from_raw(grad.dtype, grad.data, numel),
                        Target::from_raw(grad.dtype, target.data, numel),
                        std::slice::from_raw_parts(mask as *const u8, numel / each),
                    )
                };
                kernel.backward(&Exec::new(runtime.isa, &runtime.team), grad, mask, dst, each, &numbers);
            })?;
            Ok(runtime.doors.finish(py, target)?)
        };
        or_declined(run())
    }

    /// The gradient of the input, or `None` if declined.
    fn backward(
        &self,
        grad: &Bound<'_, PyAny>,
        saved: &Bound<'_, PyAny>,
        dim: Option<i64>,
        numbers: Vec<f64>,
    ) -> PyResult<Option<Py<PyAny>>> {
        let py = grad.py();
        let Some(runtime) = runtime() else { return Ok(None) };
        let run = || -> Result<Py<PyAny>, Failure> {
            let state = backward_state(runtime, [grad, saved])?;
            let saved = hold(runtime, saved)?.view(py, false, false)?;
            let grad = hold(runtime, grad)?.view(py, false, false)?;
            self.0.runs_under(py, state, saved.dtype)?;
            self.0.backward(py, runtime, &grad, &saved, dim, &numbers)
        };
        or_declined(run())
    }

    /// How many of an operation's tensors are read alone; those that it updates in place come after them.
    fn unchanged(&self, tensors: usize) -> usize {
        let kernel = self.0.nary_kernel();
        let updates = |index| kernel.is_some_and(|kernel| kernel.updates(index));
        (0..tensors).filter(|&index| !updates(index)).count()
    }

    /// The result of an operation on several tensors, without guards, and what `backward_nary` needs beside them, if
    /// anything; `None` if declined.
    fn forward_nary(&self, tensors: Tensors<'_>, numbers: Vec<f64>) -> PyResult<Option<Forwarded>> {
        let Some((py, runtime, kernel)) = self.nary(&tensors) else {
            return Ok(None);
        };
        let run = || -> Result<_, Failure> {
            let operands = read_operands(runtime, kernel, &tensors, true)?;
            let outline = operands.outline(&numbers)?;
            operands.forward(py, runtime, &self.0, &outline, &numbers, true)
        };
        or_declined(run())
    }

    /// The result of an operation that moves, chooses or finds elements, without guards; `None` if declined.
    fn forward_index(&self, tensors: Tensors<'_>, numbers: Vec<f64>, inplace: bool) -> PyResult<Option<Py<PyAny>>> {
        let (Some(kernel), Some(runtime)) = (self.0.index_kernel(), runtime()) else {
            return Ok(None);
        };
        let mut tensors = tensors.into_iter();
        let Some(Some(input)) = tensors.next() else {
            return Ok(None);
        };
        let run = || -> Result<_, Failure> {
            let py = input.py();
            let others: Vec<_> = tensors.map(index::Given::new).collect();
            let view = hold(runtime, &input)?.any_view(py, inplace, false)?;
            let mut views = Views::of(view);
            views.read(runtime, &others, false)?;
            if let Some((select, input, mask)) = views.chooses(kernel)? {
                return select::forward(py, runtime, &self.0, select, input, Some(mask), &[]);
            }
            let indexed = Indexed::new(kernel, &views, &others, &numbers, inplace)?;
            if !inplace {
                return indexed.forward(py, runtime, &self.0, &numbers);
            }
            indexed.inplace(runtime, &self.0, &numbers)?;
            Ok(input.clone().unbind())
        };
        or_left(run())
    }

    /// The elements of a tensor that a mask chooses, without guards; `None` if declined.
    fn forward_select(&self, input: &Bound<'_, PyAny>, mask: &Bound<'_, PyAny>) -> PyResult<Option<Py<PyAny>>> {
        let (Some(kernel), Some(runtime)) = (self.0.select_kernel(), runtime()) else {
            return Ok(None);
        };
        let run = || -> Result<_, Failure> {
            let view = hold(runtime, input)?.any_view(input.py(), false, false)?;
            let mask = select::read_mask(runtime, &view, mask, false)?;
            select::forward(input.py(), runtime, &self.0, kernel, &view, Some(&mask), &[])
        };
        or_left(run())
    }

    /// The gradients of those of the tensors of `forward_nary` that are wanted; `None` if declined.
    fn backward_nary(
        &self,
        grad: &Bound<'_, PyAny>,
        tensors: Tensors<'_>,
        kept: Option<&Bound<'_, PyAny>>,
        wanted: Vec<bool>,
        numbers: Vec<f64>,
    ) -> PyResult<Option<Vec<Option<Py<PyAny>>>>> {
        let Some((py, runtime, kernel)) = self.nary(&tensors) else {
            return Ok(None);
        };
        let run = || -> Result<_, Failure> {
            let state = backward_state(runtime, [grad, kept.unwrap_or(grad)])?;
            let operands = read_operands(runtime, kernel, &tensors, false)?;
            self.0.runs_under(py, state, operands.input()?.0)?;
            let grad = hold(runtime, grad)?.view(py, false, false)?;
            let kept = kept
                .map(|kept| hold(runtime, kept)?.view(py, false, false))
                .transpose()?;
            operands.backward(py, runtime, &self.0, &grad, kept.as_ref(), &wanted, &numbers)
        };
        or_declined(run())
    }
}

/// The tensors of a call that has passed the guards; `updating` is as of [`Operands::read`].
fn read_operands(
    runtime: &Runtime,
    kernel: &'static dyn NaryKernel,
    tensors: &Tensors<'_>,
    updating: bool,
) -> Result<Operands, Decline> {
    let (input, others) = tensors.split_first().ok_or(Decline::Arguments)?;
    let input = input.as_ref().ok_or(Decline::Arguments)?;
    let input = hold(runtime, input)?.view(input.py(), false, false)?;
    Operands::read(runtime, kernel, input, others, updating, false)
}

/// The tensors of an operation on several, of which some may be missing.
type Tensors<'py> = Vec<Option<Bound<'py, PyAny>>>;

impl Op {
    /// What a run on several tensors needs.
    fn nary<'py>(&self, tensors: &Tensors<'py>) -> Option<(Python<'py>, &'static Runtime, &'static dyn NaryKernel)> {
        let py = tensors.first()?.as_ref()?.py();
        Some((py, runtime()?, self.0.nary_kernel()?))
    }
}

/// torch's state, if a backward kernel may run on these tensors.
fn backward_state(runtime: &Runtime, tensors: [&Bound<'_, PyAny>; 2]) -> Result<State, Decline> {
    if !tensors.iter().all(|tensor| is_plain(runtime, tensor)) {
        return Err(Decline::NotPlain);
    }
    let state = runtime.state.read()?;
    if runtime.state.function_mode() {
        return Err(Decline::FunctionMode);
    }
    if runtime.state.grad() {
        // Under create_graph, stock torch's formula is recorded.
        return Err(Decline::Training);
    }
    Ok(state)
}

/// The address of a mask of so many bytes.
fn mask_data(mask: &Bound<'_, PyAny>, numel: usize) -> Result<usize, Decline> {
    let query = |name| mask.call_method0(name).and_then(|value| value.extract::<usize>());
    match (query("numel"), query("data_ptr")) {
        (Ok(len), Ok(data)) if len == numel => Ok(data),
        _ => Err(Decline::Failed),
    }
}

/// See [`Doors::is_plain`](rusttorch_torch::doors::Doors::is_plain).
pub(crate) fn is_plain(runtime: &Runtime, object: &Bound<'_, PyAny>) -> bool {
    // SAFETY: the reference keeps the object alive, and says that the GIL is held.
    unsafe { runtime.doors.is_plain(object.as_ptr()) }
}

/// See [`Doors::hold`](rusttorch_torch::doors::Doors::hold).
pub(crate) fn hold<'a>(runtime: &'a Runtime, tensor: &'a Bound<'_, PyAny>) -> Result<Held<'a>, Decline> {
    if !is_plain(runtime, tensor) {
        return Err(Decline::NotPlain);
    }
    // SAFETY: the reference outlives what is held, which is a plain tensor.
    Ok(unsafe { runtime.doors.hold(tensor.as_ptr()) })
}

/// The same of a forward pass in training, which stock torch takes where the kernel declined at the sight of the elements.
fn or_left<T>(result: Result<T, Failure>) -> PyResult<Option<T>> {
    match result {
        Err(Failure::Decline(Decline::Elements)) => Err(Declined::new_err("elements that are not for the kernel")),
        result => or_declined(result),
    }
}

fn or_declined<T>(result: Result<T, Failure>) -> PyResult<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Failure::Decline(_)) => Ok(None),
        Err(Failure::Raise(error)) => Err(error),
    }
}

/// The names of the kernels.
#[pyfunction]
pub(crate) fn kernels() -> Vec<&'static str> {
    let plain = ops::KERNELS.iter().map(|kernel| kernel.name());
    let along = ops::ALONG_KERNELS.iter().map(|kernel| kernel.name());
    let select = ops::SELECT_KERNELS.iter().map(|kernel| kernel.name());
    let index = ops::INDEX_KERNELS.iter().map(|kernel| kernel.name());
    let random = ops::RANDOM_KERNELS.iter().map(|kernel| kernel.name());
    let nary = ops::NARY_KERNELS.iter().map(|kernel| kernel.name());
    let steps = ops::STEP_KERNELS.iter().map(|kernel| kernel.name());
    let clips = ops::CLIP_KERNELS.iter().map(|kernel| kernel.name());
    plain
        .chain(along)
        .chain(select)
        .chain(Look::NAMES.map(|(name, _)| name))
        .chain(index)
        .chain(random)
        .chain(nary)
        .chain(steps)
        .chain(clips)
        .collect()
}
