//! torch's own threads.
//!
//! A second pool beside torch's costs two to ten times: both spin on the same cores.

use core::{ffi::c_void, ops::Range};
use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    ptr,
    sync::{
        Mutex, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

use rusttorch_core::parallel::{Serial, Team};

use crate::symbol::Library;

type RangeFn = unsafe extern "C" fn(i64, i64, *mut c_void);
type ParallelFor = unsafe extern "C" fn(i64, i64, i64, RangeFn, *mut c_void) -> i32;
type GompParallel = unsafe extern "C" fn(unsafe extern "C" fn(*mut c_void), *mut c_void, u32, u32);
type GetInt = unsafe extern "C" fn() -> i32;
type Pause = unsafe extern "C" fn(i32) -> i32;

#[derive(Clone, Copy)]
enum Region {
    /// `torch_parallel_for`, torch >= 2.10.
    Torch(ParallelFor),
    /// The parallel region of the OpenMP library that torch loaded.
    OpenMp {
        parallel: GompParallel,
        thread: GetInt,
        threads: GetInt,
    },
}

/// torch's thread team: the OpenMP threads that its own kernels use, as many as `torch.set_num_threads` says.
pub struct TorchTeam {
    region: Option<Region>,
    max_threads: Option<GetInt>,
}

impl TorchTeam {
    /// The team of the torch that this process has loaded.
    pub fn open() -> Self {
        let torch = Library::loaded(c"libtorch_cpu.so").or_else(|| Library::with_prefix("libtorch_cpu"));
        // Looked up through torch, which finds the OpenMP library that it is linked to: a process may have several.
        let openmp = torch
            .filter(|torch| torch.address(c"omp_get_max_threads").is_some())
            .or_else(|| {
                ["libgomp", "libiomp5", "libomp"]
                    .into_iter()
                    .find_map(Library::with_prefix)
            });
        // SAFETY: the types are those of torch's stable C header and of the OpenMP runtime.
        unsafe {
            let region = torch
                .and_then(|torch| torch.function(c"torch_parallel_for"))
                .map(Region::Torch)
                .or_else(|| {
                    let openmp = openmp?;
                    Some(Region::OpenMp {
                        parallel: openmp.function(c"GOMP_parallel")?,
                        thread: openmp.function(c"omp_get_thread_num")?,
                        threads: openmp.function(c"omp_get_num_threads")?,
                    })
                });
            watch_forks(openmp.and_then(|openmp| openmp.function(c"omp_pause_resource_all")));
            Self {
                region,
                max_threads: openmp.and_then(|openmp| openmp.function(c"omp_get_max_threads")),
            }
        }
    }

    /// How many threads torch would use now.
    fn configured(&self) -> usize {
        // SAFETY: takes nothing and returns a count.
        self.max_threads.map_or(1, |count| unsafe { count() }.max(1) as usize)
    }
}

/// Whether this process is a fork whose parent's threads it would wait for in vain.
static ORPHANED: AtomicBool = AtomicBool::new(false);

/// Whether the forking thread has let go of its team.
static RELEASED: AtomicBool = AtomicBool::new(false);

static PAUSE: OnceLock<Option<Pause>> = OnceLock::new();

/// `omp_pause_soft`: the threads end, the settings stay.
const PAUSE_SOFT: i32 = 1;

/// A team of OpenMP threads does not survive a fork, and a child that waits for it hangs, in stock torch's kernels as well.
/// So the forking thread lets its team go before; the next parallel region, in parent and child, makes a new one. Where
/// that cannot be had, the child's kernels run on one thread.
fn watch_forks(pause: Option<Pause>) {
    extern "C" fn prepare() {
        // SAFETY: a function of the OpenMP runtime, which refuses inside a parallel region.
        let released = PAUSE
            .get()
            .copied()
            .flatten()
            .is_some_and(|pause| unsafe { pause(PAUSE_SOFT) } == 0);
        RELEASED.store(released, Ordering::Relaxed);
    }
    extern "C" fn child() {
        if !RELEASED.load(Ordering::Relaxed) {
            ORPHANED.store(true, Ordering::Relaxed);
        }
    }
    if PAUSE.set(pause).is_ok() {
        // SAFETY: the handlers call nothing but the OpenMP runtime, and store to atomics.
        unsafe { libc::pthread_atfork(Some(prepare), None, Some(child)) };
    }
}

type Body<'a> = &'a (dyn Fn(Range<usize>) + Sync);

/// A loop handed to the team.
struct Job<'a> {
    body: Body<'a>,
    len: usize,
    region: Region,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

impl Job<'_> {
    /// A panic must not unwind through the OpenMP library: it is kept for the caller.
    fn call(&self, range: Range<usize>) {
        if range.is_empty() {
            return;
        }
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| (self.body)(range))) {
            if let Ok(mut first) = self.panic.lock() {
                first.get_or_insert(panic);
            }
        }
    }
}

unsafe extern "C" fn torch_range(begin: i64, end: i64, job: *mut c_void) {
    // SAFETY: `run` keeps the job alive until the region ends.
    let job = unsafe { &*job.cast::<Job>() };
    job.call(begin as usize..end as usize);
}

unsafe extern "C" fn openmp_share(job: *mut c_void) {
    // SAFETY: as above.
    let job = unsafe { &*job.cast::<Job>() };
    if let Region::OpenMp { thread, threads, .. } = job.region {
        // SAFETY: plain queries of the runtime, inside a region.
        let (index, count) = unsafe { (thread() as usize, threads().max(1) as usize) };
        let share = job.len.div_ceil(count);
        job.call((index * share).min(job.len)..((index + 1) * share).min(job.len));
    }
}

impl Team for TorchTeam {
    fn threads(&self) -> usize {
        if self.region.is_none() || ORPHANED.load(Ordering::Relaxed) {
            1
        } else {
            self.configured()
        }
    }

    fn run(&self, len: usize, grain: usize, body: Body) {
        let shares = self.threads().min(len / grain.max(1));
        let (Some(region), true) = (self.region, shares > 1) else {
            return Serial.run(len, grain, body);
        };
        let job = Job {
            body,
            len,
            region,
            panic: Mutex::new(None),
        };
        let context = ptr::from_ref(&job).cast_mut().cast();
        match region {
            // SAFETY: the region ends before `job` does; the callbacks match the declared types.
            Region::Torch(parallel_for) => unsafe {
                let failed = parallel_for(0, len as i64, grain as i64, torch_range, context);
                assert!(failed == 0, "torch_parallel_for failed");
            },
            // SAFETY: as above.
            Region::OpenMp { parallel, .. } => unsafe { parallel(openmp_share, context, shares as u32, 0) },
        }
        if let Some(panic) = job.panic.into_inner().ok().flatten() {
            resume_unwind(panic);
        }
    }
}
