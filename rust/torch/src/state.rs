//! What torch is doing on this thread: modes under which only stock torch may take a call, and the grad mode.

use std::{cell::Cell, ffi::CStr, ptr};

use pyo3::{ffi, prelude::*};

use crate::{decline::Decline, symbol::Library};

/// The dispatcher's thread-local key sets, as differences from their defaults: included, excluded.
type KeySets = [u64; 2];

/// `torch::autograd::ForwardADLevel::has_any_level()`.
const HAS_ANY_LEVEL: &CStr = c"_ZN5torch8autograd14ForwardADLevel13has_any_levelEv";

/// How the dispatcher's state is read.
enum Dispatcher {
    /// Its own thread-local variable: every dispatch mode, functorch level, autocast, tracer and guard shows in it.
    Keys {
        library: Library,
        inference: KeySets,
        /// What torch excludes while it runs a backward pass and still has named tensors, which the doors refuse.
        named: u64,
        /// What autocast on the CPU changes.
        autocast: KeySets,
    },
    /// Python's queries, each false or `None` when off.
    Queries(Vec<Py<PyAny>>),
}

/// How a flag is read.
enum Flag {
    Native(unsafe extern "C" fn() -> bool),
    Query(Py<PyAny>),
}

impl Flag {
    fn is_on(&self) -> bool {
        match self {
            // SAFETY: takes nothing and returns a bool.
            Self::Native(function) => unsafe { function() },
            Self::Query(query) => truth(query),
        }
    }
}

/// The value of a query; one that fails counts as on, which declines.
#[cold]
fn truth(query: &Py<PyAny>) -> bool {
    // SAFETY: the GIL is held wherever a state is read; the reference is owned.
    unsafe {
        let value = ffi::PyObject_CallNoArgs(query.as_ptr());
        if value.is_null() {
            ffi::PyErr_Clear();
            return true;
        }
        let on = ffi::PyObject_IsTrue(value) != 0;
        ffi::Py_DECREF(value);
        on
    }
}

/// Readers of torch's thread-local state.
pub struct StateReader {
    dispatcher: Dispatcher,
    function_mode: Flag,
    callbacks: Flag,
    grad_mode: Flag,
    grad_bit: Option<GradBit>,
    forward_ad: ForwardAd,
}

/// Where torch keeps the grad mode, among a thread's state of autograd: three calls, for the asking, come to one load.
struct GradBit {
    /// `c10::AutogradState::get_tls_state()`, whose address is the same as long as the thread lives.
    state: unsafe extern "C" fn() -> *const u8,
    byte: usize,
    mask: u8,
}

impl GradBit {
    /// More bytes than the grad mode is away from the beginning of the state.
    const SIZE: usize = 64;

    /// The first bit that is on with the grad mode, and off with it. What lies behind is not read: it may be no longer
    /// the state.
    fn learn(torch: &Bound<'_, PyModule>, library: Library) -> PyResult<Option<Self>> {
        // SAFETY: the mangled name says that it takes nothing; it returns a reference.
        let Some(state) = (unsafe { library.function(c"_ZN3c1013AutogradState13get_tls_stateEv") }) else {
            return Ok(None);
        };
        let set = torch.getattr("_C")?.getattr("_set_grad_enabled")?;
        let before = torch.getattr("is_grad_enabled")?.call0()?;
        let mut found = None;
        for byte in 0..Self::SIZE {
            let mut seen = [0; 4];
            for (turn, seen) in seen.iter_mut().enumerate() {
                set.call1((turn % 2 == 0,))?;
                let bit = Self {
                    state,
                    byte,
                    mask: 0xff,
                };
                *seen = bit.read();
            }
            let mask = seen[0] ^ seen[1];
            if mask.is_power_of_two() && seen[0] & mask != 0 && seen[..2] == seen[2..] {
                found = Some(Self { state, byte, mask });
                break;
            }
        }
        set.call1((before,))?;
        Ok(found)
    }

    fn read(&self) -> u8 {
        thread_local!(static STATE: Cell<*const u8> = const { Cell::new(ptr::null()) });
        let mut state = STATE.get();
        if state.is_null() {
            // SAFETY: takes nothing.
            state = unsafe { (self.state)() };
            STATE.set(state);
        }
        // SAFETY: the state is the thread's own, and the byte was found in it.
        unsafe { *state.add(self.byte) & self.mask }
    }
}

/// How the level of forward-mode differentiation is read.
enum ForwardAd {
    Native(unsafe extern "C" fn() -> bool),
    /// `torch.autograd.forward_ad.__dict__`, `"_current_level"` and the level of no differentiation, -1.
    Python(Py<PyAny>, Py<PyAny>, Py<PyAny>),
}

impl ForwardAd {
    fn is_on(&self) -> bool {
        match self {
            // SAFETY: takes nothing and returns a bool.
            Self::Native(has_any_level) => unsafe { has_any_level() },
            // SAFETY: the GIL is held; the dictionary is a module's; the result is borrowed and only compared.
            Self::Python(dict, name, off) => unsafe {
                ffi::PyDict_GetItem(dict.as_ptr(), name.as_ptr()) != off.as_ptr()
            },
        }
    }
}

/// torch's state on this thread, where no mode is on that only stock torch knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    /// Whether inference mode is on.
    pub inference: bool,
    /// Whether a profiler wants to hear of operations.
    pub profiled: bool,
    /// Whether autocast on the CPU is on.
    pub autocast: bool,
}

/// The calling thread's key sets.
fn key_sets(library: Library) -> Option<KeySets> {
    thread_local!(static ADDRESS: Cell<*const KeySets> = const { Cell::new(ptr::null()) });
    let mut address = ADDRESS.get();
    if address.is_null() {
        address = library.address(c"_ZN3c104impl26raw_local_dispatch_key_setE")?.cast();
        ADDRESS.set(address);
    }
    // SAFETY: the variable is two words and lives as long as its thread.
    Some(unsafe { ptr::read(address) })
}

impl StateReader {
    /// Readers for the torch that is loaded.
    ///
    /// # Errors
    /// Where torch lacks what even the slowest reader needs.
    pub fn open(torch: &Bound<'_, PyModule>) -> PyResult<Self> {
        let py = torch.py();
        let c10 = Library::with_prefix("libc10.so");
        let cpu = Library::with_prefix("libtorch_cpu.so");
        let c = torch.getattr("_C")?;
        let forward_ad = py.import("torch.autograd.forward_ad")?;
        let native = |library: Option<Library>, name| {
            // SAFETY: the mangled names say that they take nothing; they return bool.
            unsafe { library?.function(name) }.map(Flag::Native)
        };
        let flag = |native: Option<Flag>, query: PyResult<Bound<'_, PyAny>>| {
            native.map_or_else(|| query.map(|query| Flag::Query(query.unbind())), Ok)
        };
        Ok(Self {
            grad_bit: match c10 {
                Some(library) => GradBit::learn(torch, library)?,
                None => None,
            },
            dispatcher: match c10
                .map(|library| Self::learn_keys(torch, library))
                .transpose()?
                .flatten()
            {
                Some(keys) => keys,
                None => Dispatcher::Queries(Self::queries(torch)),
            },
            function_mode: flag(
                native(cpu, c"_ZN2at4impl27torch_function_mode_enabledEv"),
                c.getattr("_is_torch_function_mode_enabled"),
            )?,
            callbacks: flag(
                native(cpu, c"_ZN2at12hasCallbacksEv"),
                torch
                    .getattr("autograd")
                    .and_then(|autograd| autograd.getattr("_profiler_enabled")),
            )?,
            grad_mode: flag(
                native(cpu, c"aoti_torch_grad_mode_is_enabled"),
                torch.getattr("is_grad_enabled"),
            )?,
            // SAFETY: as above.
            forward_ad: match unsafe { cpu.and_then(|cpu| cpu.function(HAS_ANY_LEVEL)) } {
                Some(function) => ForwardAd::Native(function),
                None => ForwardAd::Python(
                    forward_ad.dict().into_any().unbind(),
                    pyo3::types::PyString::intern(py, "_current_level").into_any().unbind(),
                    (-1_i32).into_pyobject(py)?.into_any().unbind(),
                ),
            },
        })
    }

    /// Trusts the dispatcher's variable only if it reads as the default now, and changes in inference mode and back.
    fn learn_keys(torch: &Bound<'_, PyModule>, library: Library) -> PyResult<Option<Dispatcher>> {
        let Some(before) = key_sets(library) else {
            return Ok(None);
        };
        let mode = torch.getattr("inference_mode")?.call0()?;
        mode.call_method0("__enter__")?;
        let inference = key_sets(library);
        let none = torch.py().None();
        mode.call_method1("__exit__", (&none, &none, &none))?;
        let trusted = before == [0, 0] && key_sets(library) == Some(before) && inference != Some(before);
        // Without the bit, a backward pass of such a torch is all stock's.
        let named = Self::learn_named(torch, library).ok().flatten().unwrap_or(0);
        // And without these, whatever runs under autocast.
        let autocast = Self::learn_autocast(torch, library).ok().flatten().unwrap_or([0; 2]);
        let trusted = trusted && key_sets(library) == Some(before);
        Ok(inference.filter(|_| trusted).map(|inference| Dispatcher::Keys {
            library,
            inference,
            named,
            autocast,
        }))
    }

    /// The bits that change while autocast is on.
    fn learn_autocast(torch: &Bound<'_, PyModule>, library: Library) -> PyResult<Option<KeySets>> {
        let mode = torch.getattr("autocast")?.call1(("cpu", torch.getattr("bfloat16")?))?;
        mode.call_method0("__enter__")?;
        let keys = key_sets(library);
        let none = torch.py().None();
        mode.call_method1("__exit__", (&none, &none, &none))?;
        Ok(keys)
    }

    /// The bit of the key of named tensors, where torch has them: what excluding the key changes.
    fn learn_named(torch: &Bound<'_, PyModule>, library: Library) -> PyResult<Option<u64>> {
        if !torch.getattr("Tensor")?.hasattr("has_names")? {
            return Ok(None);
        }
        let c = torch.getattr("_C")?;
        let key = c.call_method1("_dispatch_key_parse", ("Named",))?;
        c.call_method1("_dispatch_tls_set_dispatch_key_excluded", (&key, true))?;
        let excluded = key_sets(library);
        c.call_method1("_dispatch_tls_set_dispatch_key_excluded", (&key, false))?;
        Ok(excluded.map(|[_, excluded]| excluded))
    }

    fn queries(torch: &Bound<'_, PyModule>) -> Vec<Py<PyAny>> {
        [
            "_C._len_torch_dispatch_stack",
            "_C._functorch.peek_interpreter_stack",
            "_C._get_tracing_state",
            "_C._is_any_autocast_enabled",
            "is_autocast_enabled",
            "is_autocast_cpu_enabled",
        ]
        .into_iter()
        .filter_map(|path| {
            path.split('.')
                .try_fold(torch.clone().into_any(), |object, name| object.getattr(name))
                .ok()
                .map(Bound::unbind)
        })
        .collect()
    }

    /// Whether the dispatcher's own variable is read, rather than Python's queries.
    pub fn is_native(&self) -> bool {
        matches!(self.dispatcher, Dispatcher::Keys { .. })
    }

    /// Whether operations are recorded for gradients on this thread. The GIL is held, as below.
    #[inline]
    pub fn grad(&self) -> bool {
        match &self.grad_bit {
            Some(bit) => bit.read() != 0,
            None => self.grad_mode.is_on(),
        }
    }

    /// Whether a torch-function mode is on.
    #[inline]
    pub fn function_mode(&self) -> bool {
        self.function_mode.is_on()
    }

    /// Whether inference mode is on, and autocast, where the dispatcher has no mode on that only stock torch knows.
    #[inline]
    fn modes(&self) -> Result<(bool, bool), Decline> {
        match &self.dispatcher {
            Dispatcher::Keys {
                library,
                inference,
                named,
                autocast,
            } => {
                let [included, excluded] = key_sets(*library).ok_or(Decline::Mode)?;
                let keys = [included & !autocast[0], excluded & !(named | autocast[1])];
                let cast = included & autocast[0] != 0 || excluded & autocast[1] != 0;
                if keys == [0, 0] {
                    Ok((false, cast))
                } else if keys == *inference {
                    Ok((true, cast))
                } else {
                    Err(Decline::Mode)
                }
            }
            Dispatcher::Queries(queries) if queries.iter().any(truth) => Err(Decline::Mode),
            Dispatcher::Queries(_) => Ok((false, false)),
        }
    }

    /// Whether nobody, such as a tracer or a profiler, can tell which of torch's functions calls another.
    #[inline]
    pub fn is_unwatched(&self) -> bool {
        !self.function_mode() && self.modes().is_ok() && !self.callbacks.is_on()
    }

    /// Whether autocast on the CPU is on, and no mode that only stock torch knows.
    #[inline]
    pub fn autocast(&self) -> bool {
        self.modes().is_ok_and(|(_, autocast)| autocast)
    }

    /// torch's state on this thread.
    ///
    /// # Errors
    /// The mode under which only stock torch may take a call.
    #[inline]
    pub fn read(&self) -> Result<State, Decline> {
        let (inference, autocast) = self.modes()?;
        if self.forward_ad.is_on() {
            return Err(Decline::ForwardAd);
        }
        Ok(State {
            inference,
            profiled: self.callbacks.is_on(),
            autocast,
        })
    }
}
