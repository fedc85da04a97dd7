//! torch's default generator on the CPU: its lock and its engine, in place.
//!
//! Numbers are drawn as stock torch's kernels draw them, under the generator's own mutex, so that no other thread is handed
//! the same ones. Where the two lie is not declared anywhere that a program could ask; they are looked for where torch's
//! headers have had them since 2.0, and used only if all that is known of them is found there.

use core::{
    ptr,
    sync::atomic::{
        AtomicBool, AtomicU32,
        Ordering::{Acquire, Relaxed, Release},
    },
};
use std::{
    ffi::CStr,
    sync::Arc,
    thread::sleep,
    time::{Duration, Instant},
};

use pyo3::{
    prelude::*,
    types::{PyCFunction, PyTuple},
};
use rusttorch_core::random::{Mt19937, STATE};

use crate::symbol::Library;

/// `at::detail::getDefaultCPUGenerator()`, which returns a reference to a pointer to the generator.
const DEFAULT_GENERATOR: &CStr = c"_ZN2at6detail22getDefaultCPUGeneratorEv";

/// Words of 8 bytes with which `c10::GeneratorImpl` begins: a virtual table and reference counts, which once were two.
const COUNTS_END: [usize; 2] = [2, 3];
/// Words of the mutex. The device follows, CPU without an index, then a set of dispatch keys and Python's object.
const MUTEX: usize = 5;
const DEVICE: [u8; 2] = [0, 0xff];
const ENGINE: usize = MUTEX + 3;

/// How long another thread may take to run into a lock that is held.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often the engine is compared with a state that has been got just before.
const TRIES: usize = 50;
const PAUSE: Duration = Duration::from_micros(20);

/// `at::mt19937_data_pod`, aten/src/ATen/core/MT19937RNGEngine.h.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq)]
struct Engine {
    seed: u64,
    left: u32,
    /// A `bool`; what follows it up to the next number is anything.
    seeded: u8,
    next: u32,
    state: [u32; STATE],
}

impl Engine {
    /// From the bytes of `get_state`, which has wider numbers: `CPUGeneratorImplStateLegacy`,
    /// aten/src/ATen/CPUGeneratorImpl.cpp.
    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        const WORDS: usize = 24;
        let bytes = bytes.get(..WORDS + 8 * STATE)?;
        let word = |at: usize| u64::from_le_bytes(core::array::from_fn(|i| bytes[at + i]));
        Some(Self {
            seed: word(0),
            left: word(8) as u32,
            seeded: (word(8) >> 32) as u8,
            next: word(16) as u32,
            state: core::array::from_fn(|i| word(WORDS + 8 * i) as u32),
        })
    }

    fn generator(&self) -> Option<Mt19937> {
        let (left, next) = (self.left as usize, self.next as usize);
        // A generator that has just been seeded has one word left and 0 as the next.
        let drawn = if left == 1 { STATE } else { next };
        let valid = (1..=STATE).contains(&left) && (left == 1 || left + next == STATE + 1);
        valid.then(|| Mt19937::new(self.state, drawn))
    }
}

/// The default generator.
pub struct Generator {
    mutex: *mut libc::pthread_mutex_t,
    engine: *mut Engine,
}

// SAFETY: both live as long as the process, and the engine is only touched under the mutex.
unsafe impl Send for Generator {}
// SAFETY: as above.
unsafe impl Sync for Generator {}

impl Generator {
    /// The generator, if it is found and known to be what it is taken for: the engine is what `get_state` returns, and
    /// another thread that asks for the state waits for the mutex.
    ///
    /// # Errors
    /// What Python raises.
    pub fn open(torch: &Bound<'_, PyModule>) -> PyResult<Option<Self>> {
        let library = Library::with_prefix("libtorch_cpu.so");
        // SAFETY: the mangled name says that it takes nothing; it returns a reference.
        let function = library.and_then(|library| unsafe {
            library.function::<unsafe extern "C" fn() -> *const *mut u64>(DEFAULT_GENERATOR)
        });
        let Some(function) = function else {
            return Ok(None);
        };
        // SAFETY: takes nothing; the reference is to a static variable, which holds a pointer to a generator, or null.
        let object = unsafe { *function() };
        if object.is_null() {
            return Ok(None);
        }
        let get_state = torch.getattr("default_generator")?.getattr("get_state")?;
        for base in COUNTS_END {
            // SAFETY: the object is a `CPUGeneratorImpl`, of which an engine follows the last of these offsets.
            let object = unsafe { object.add(base) };
            // SAFETY: as above.
            if unsafe { ptr::read(object.add(MUTEX).cast::<[u8; 2]>()) } != DEVICE {
                continue;
            }
            for _ in 0..TRIES {
                let state = get_state.call0()?.call_method0("numpy")?.call_method0("tobytes")?;
                // SAFETY: as above; a number that another thread is writing is only compared.
                if let Some(found) = unsafe { Self::at(object, state.extract()?) }
                    && let Some(waited_for) = found.is_waited_for(torch.py(), &get_state)?
                {
                    return Ok(waited_for.then_some(found));
                }
                // Another thread may be drawing just now.
                torch.py().detach(|| sleep(Duration::from_millis(1)));
            }
        }
        Ok(None)
    }

    /// # Safety
    /// So many bytes as the mutex, the fields after it and the engine have can be read at `base`.
    unsafe fn at(base: *mut u64, state: &[u8]) -> Option<Self> {
        let engine = base.wrapping_add(ENGINE).cast::<Engine>();
        // SAFETY: the caller's.
        let (mutex, found) = unsafe {
            (
                ptr::read_volatile(base.cast::<[u64; MUTEX]>()),
                ptr::read_volatile(engine),
            )
        };
        // An unlocked mutex of the default kind is all zeros.
        let known = mutex == [0; MUTEX] && found.generator().is_some();
        (known && size_of::<libc::pthread_mutex_t>() == 8 * MUTEX && Engine::from_bytes(state) == Some(found)).then(
            || Self {
                mutex: base.cast(),
                engine,
            },
        )
    }

    /// Whether a thread that calls `get_state` changes the mutex while this one holds it: it has queued up. `None` if
    /// somebody else holds it, or if the thread was too early.
    fn is_waited_for(&self, py: Python<'_>, get_state: &Bound<'_, PyAny>) -> PyResult<Option<bool>> {
        let (get_state, done) = (get_state.clone().unbind(), Arc::new(AtomicBool::new(false)));
        let is_done = Arc::clone(&done);
        let ask = PyCFunction::new_closure(py, None, None, move |args, _| {
            let asked = get_state.call0(args.py());
            is_done.store(true, Release);
            asked.map(drop)
        })?;
        // The new thread waits for the GIL, which this one gives up once it holds the mutex.
        py.import("_thread")?
            .call_method1("start_new_thread", (ask, PyTuple::empty(py)))?;
        let locked = self.try_lock();
        let words = Words(self.mutex.cast());
        // Before the other thread can run.
        let (alone, start) = (words.read(), Instant::now());
        Ok(py.detach(move || {
            let waits = || words.read() != alone;
            while locked.is_some() && !waits() && !done.load(Acquire) && start.elapsed() < PATIENCE {
                sleep(PAUSE);
            }
            let waited_for = (locked.is_some() && !done.load(Acquire)).then(waits);
            drop(locked);
            // A thread that is left behind could outlive the interpreter. From here on it gives up the GIL as it ends.
            while !done.load(Acquire) {
                sleep(PAUSE);
            }
            waited_for
        }))
    }

    /// The generator's lock, if nobody holds it.
    ///
    /// Whoever holds it must not wait for the GIL: a thread that holds the GIL may wait for the lock.
    pub fn try_lock(&self) -> Option<Locked<'_>> {
        // SAFETY: a mutex that stock torch has made.
        (unsafe { libc::pthread_mutex_trylock(self.mutex) } == 0).then(|| Locked(self))
    }

    /// The generator's lock, once nobody else holds it; see [`Generator::try_lock`].
    pub fn lock(&self) -> Option<Locked<'_>> {
        // SAFETY: as above.
        (unsafe { libc::pthread_mutex_lock(self.mutex) } == 0).then(|| Locked(self))
    }
}

/// The first 16 bytes of a mutex, in which glibc and musl keep who waits.
struct Words(*const AtomicU32);

// SAFETY: atomics may be read from any thread.
unsafe impl Send for Words {}

impl Words {
    fn read(&self) -> [u32; 4] {
        // SAFETY: a mutex has so many bytes, and lives as long as the process.
        [0, 1, 2, 3].map(|i| unsafe { &*self.0.add(i) }.load(Relaxed))
    }
}

/// The generator, as long as this thread holds its lock.
pub struct Locked<'a>(&'a Generator);

impl Locked<'_> {
    /// Draws random numbers; `None`, and nothing is drawn, if the engine is in no state of its own.
    pub fn draw<R>(&mut self, work: impl FnOnce(&mut Mt19937) -> R) -> Option<R> {
        // SAFETY: the mutex is held, under which alone the engine is touched; both live as long as the process.
        let engine = unsafe { &mut *self.0.engine };
        let mut generator = engine.generator()?;
        let result = work(&mut generator);
        let (state, next) = generator.parts();
        engine.state = *state;
        engine.next = next as u32;
        engine.left = (STATE + 1 - next) as u32;
        Some(result)
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        // SAFETY: this thread has locked it.
        unsafe { libc::pthread_mutex_unlock(self.0.mutex) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn engine(left: u32, next: u32) -> Engine {
        Engine {
            seed: 7,
            left,
            seeded: 1,
            next,
            state: core::array::from_fn(|i| i as u32),
        }
    }

    /// What `get_state` gives of `engine(25, 600)`.
    fn bytes() -> Vec<u8> {
        let numbers = [7, (1 << 32) + 25, 600];
        numbers
            .into_iter()
            .chain(0..STATE as u64)
            .flat_map(u64::to_le_bytes)
            .collect()
    }

    #[test]
    fn an_engine_has_as_many_words_left_as_are_not_drawn() {
        for (left, next, drawn) in [(1, 0, STATE), (1, 624, STATE), (624, 1, 1), (25, 600, 600)] {
            assert_eq!(engine(left, next).generator().unwrap().parts().1, drawn);
        }
        for (left, next) in [(0, 0), (625, 0), (624, 2), (u32::MAX, 1)] {
            assert!(engine(left, next).generator().is_none());
        }
    }

    #[test]
    fn the_bytes_of_a_state_are_wider_than_the_engine() {
        let bytes = bytes();
        assert!(Engine::from_bytes(&bytes) == Some(engine(25, 600)));
        assert!(Engine::from_bytes(&bytes[1..]).is_none());
    }

    #[test]
    fn the_engine_is_found_whatever_lies_between_its_numbers() {
        let state = bytes();
        let mut object = vec![0_u64; ENGINE + 3 + STATE / 2];
        object[ENGINE] = 7;
        object[ENGINE + 1] = u64::from_le_bytes([25, 0, 0, 0, 1, 0x7f, 0xa6, 0xc4]);
        // From here on a word of the engine is the upper half of one of these, the next the lower half of another.
        let words: Vec<u32> = [600].into_iter().chain(0..STATE as u32).chain([0]).collect();
        for (whole, pair) in object[ENGINE + 2..].iter_mut().zip(words.chunks(2)) {
            *whole = u64::from(pair[0]) | u64::from(pair[1]) << 32;
        }
        // SAFETY: the object has so many words.
        let found = |object: &mut Vec<u64>| unsafe { Generator::at(object.as_mut_ptr(), &state) }.is_some();
        assert!(found(&mut object));
        for at in [0, MUTEX - 1, ENGINE, ENGINE + 1, ENGINE + 2, ENGINE + 300] {
            object[at] ^= 1;
            assert!(!found(&mut object), "{at}");
            object[at] ^= 1;
        }
    }
}
