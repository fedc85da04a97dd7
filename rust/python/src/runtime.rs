//! What the process has: the doors into its torch, its threads, its instruction set.

use std::sync::OnceLock;

use pyo3::{exceptions::PyValueError, prelude::*, types::PyDict};
use rusttorch_core::{
    dtype::DType,
    isa::{self, Isa},
};
use rusttorch_torch::{
    decline::Decline,
    doors::{Doors, Tier},
    generator::Generator,
    memory,
    state::StateReader,
    team::TorchTeam,
};

pub(crate) struct Runtime {
    pub(crate) doors: Doors,
    pub(crate) state: StateReader,
    pub(crate) team: TorchTeam,
    pub(crate) isa: Isa,
    generator: OnceLock<Option<Generator>>,
}

impl Runtime {
    /// torch's default generator, looked for at the first call.
    pub(crate) fn generator(&self, py: Python<'_>) -> Result<&Generator, Decline> {
        if self.generator.get().is_none() {
            let found = py.import("torch").and_then(|torch| Generator::open(&torch));
            // Another thread that looked at the same time has found the same.
            drop(self.generator.set(found.map_err(|_| Decline::Failed)?));
        }
        self.generator.get().and_then(Option::as_ref).ok_or(Decline::Failed)
    }
}

static RUNTIME: OnceLock<Runtime> = OnceLock::new();

/// The runtime, once [`open`] has been called.
#[inline]
pub(crate) fn runtime() -> Option<&'static Runtime> {
    RUNTIME.get()
}

/// Opens the doors into `torch`, no better than `tier` (1 to 3), for the instruction set named `isa` or the widest.
///
/// Returns what was found: `door`, `isa`, `vendor`, `fma`, `native_state`. Later calls return what the first one found.
#[pyfunction]
#[pyo3(signature = (torch, tier=1, isa=None))]
pub(crate) fn open<'py>(torch: &Bound<'py, PyModule>, tier: u8, isa: Option<&str>) -> PyResult<Bound<'py, PyDict>> {
    let py = torch.py();
    if RUNTIME.get().is_none() {
        let best = match tier {
            1 => Tier::Stable,
            2 => Tier::DlPack,
            3 => Tier::Python,
            _ => return Err(PyValueError::new_err(format!("tier must be 1, 2 or 3, not {tier}"))),
        };
        let isa = match isa {
            None => Isa::detect(),
            Some(name) => Isa::by_name(name)
                .ok_or_else(|| PyValueError::new_err(format!("this machine has no instruction set {name:?}")))?,
        };
        let runtime = Runtime {
            doors: Doors::open(torch, best)?,
            state: StateReader::open(torch)?,
            team: TorchTeam::open(),
            isa,
            generator: OnceLock::new(),
        };
        // Of two threads that open at once, the first wins.
        drop(RUNTIME.set(runtime));
    }
    let found = PyDict::new(py);
    if let Some(runtime) = RUNTIME.get() {
        found.set_item("door", runtime.doors.tier() as u8)?;
        found.set_item("isa", runtime.isa.name())?;
        found.set_item("vendor", isa::vendor())?;
        found.set_item("fma", runtime.isa.has_fma())?;
        found.set_item("native_state", runtime.state.is_native())?;
    }
    Ok(found)
}

/// The names of this machine's instruction sets, widest first.
#[pyfunction]
pub(crate) fn available_isas() -> Vec<&'static str> {
    Isa::available().into_iter().map(Isa::name).collect()
}

/// The element types that an instruction set of this machine multiplies by instructions of their own, by torch's names.
#[pyfunction]
pub(crate) fn multiplied(isa: &str) -> Vec<&'static str> {
    let multiplied = |dtype: &DType| Isa::by_name(isa).is_some_and(|isa| isa.multiplies(*dtype));
    DType::ALL.into_iter().filter(multiplied).map(DType::name).collect()
}

/// Whether the allocator policy has something to act on.
#[pyfunction]
pub(crate) fn memory_available() -> bool {
    memory::available()
}

/// Keeps freed memory, up to `bytes` at the top of the heap.
#[pyfunction]
pub(crate) fn memory_keep(bytes: usize) -> bool {
    memory::keep(bytes)
}

/// Back to the allocator's defaults.
#[pyfunction]
pub(crate) fn memory_restore() {
    memory::restore();
}

/// Gives free memory back to the system.
#[pyfunction]
pub(crate) fn memory_trim() {
    memory::trim();
}

/// Bytes that the allocator holds and nobody uses.
#[pyfunction]
pub(crate) fn memory_kept() -> usize {
    memory::kept()
}
