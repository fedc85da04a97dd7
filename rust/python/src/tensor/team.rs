//! Whose threads kernels of explicit tensors run on.

use std::{
    ops::Range,
    sync::{
        Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use rusttorch_core::{
    isa::Isa,
    kernel::Exec,
    parallel::{Serial, Team},
};
use rusttorch_torch::team::TorchTeam;

use crate::runtime::runtime;

/// torch's threads where torch is loaded, as a second pool beside them would cost more than it helps; else threads of our
/// own, which sleep when there is nothing to do.
pub(crate) struct Threads;

static TORCH: OnceLock<TorchTeam> = OnceLock::new();

/// Whether torch is known to be loaded: [`notice_torch`] says so.
static LOADED: AtomicBool = AtomicBool::new(false);

/// To be called where a tensor of torch is seen, or torch is found among the modules.
pub(crate) fn notice_torch() {
    LOADED.store(true, Relaxed);
}

fn torch() -> Option<&'static TorchTeam> {
    if let Some(runtime) = runtime() {
        return Some(&runtime.team);
    }
    LOADED.load(Relaxed).then(|| TORCH.get_or_init(TorchTeam::open))
}

mod own {
    //! Threads of our own.

    use std::sync::Arc;

    use super::{Mutex, PoisonError};

    /// The pool, and the process that it belongs to: a forked child has none of its parent's threads.
    static POOL: Mutex<Option<(u32, Arc<rayon::ThreadPool>)>> = Mutex::new(None);

    /// As many as `OMP_NUM_THREADS` says, as torch has, or as the machine has.
    pub(super) fn threads() -> usize {
        static COUNT: std::sync::OnceLock<usize> = std::sync::OnceLock::new();
        *COUNT.get_or_init(|| {
            let asked = std::env::var("OMP_NUM_THREADS")
                .ok()
                .and_then(|count| count.parse().ok());
            let machine = || std::thread::available_parallelism().map_or(1, usize::from);
            asked.filter(|&count| count > 0).unwrap_or_else(machine)
        })
    }

    /// `None` where threads cannot be had.
    pub(super) fn pool() -> Option<Arc<rayon::ThreadPool>> {
        let process = std::process::id();
        let mut held = POOL.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((owner, pool)) = held.as_ref() {
            if *owner == process {
                return Some(Arc::clone(pool));
            }
        }
        let made = rayon::ThreadPoolBuilder::new()
            .num_threads(threads())
            .thread_name(|index| format!("rusttorch-{index}"))
            .build();
        let pool = Arc::new(made.ok()?);
        // To drop a parent's pool would be to wait for its threads.
        std::mem::forget(held.replace((process, Arc::clone(&pool))));
        Some(pool)
    }
}

impl Team for Threads {
    fn threads(&self) -> usize {
        torch().map_or_else(own::threads, Team::threads)
    }

    fn run(&self, len: usize, grain: usize, body: &(dyn Fn(Range<usize>) + Sync)) {
        if let Some(team) = torch() {
            return team.run(len, grain, body);
        }
        let shares = own::threads().min(len / grain.max(1));
        match own::pool() {
            Some(pool) if shares > 1 => {
                pool.install(|| rusttorch_core::parallel::Rayon.run(len, grain, body));
            }
            _ => Serial.run(len, grain, body),
        }
    }
}

/// Where kernels run.
pub(crate) fn exec() -> Exec<'static> {
    static ISA: OnceLock<Isa> = OnceLock::new();
    let isa = runtime().map_or_else(|| *ISA.get_or_init(Isa::detect), |runtime| runtime.isa);
    Exec::new(isa, &Threads)
}
