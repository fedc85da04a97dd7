//! torch's default generator on the CPU, through the bytes of its state.

use pyo3::{intern, prelude::*};
use rusttorch_core::random::{Mt19937, STATE};
use rusttorch_torch::decline::Decline;

/// Where the state's bytes have how many words are left (a 32-bit integer), which one is next, and the words themselves
/// (64-bit integers): `CPUGeneratorImplStateLegacy` in aten/src/ATen/CPUGeneratorImpl.cpp.
const LEFT: usize = 8;
const NEXT: usize = 16;
const WORDS: usize = 24;
const END: usize = WORDS + 8 * STATE;

/// A state of the generator: the tensor that `get_state` returned.
pub(crate) struct GeneratorState<'py> {
    generator: &'py Bound<'py, PyAny>,
    tensor: Bound<'py, PyAny>,
}

impl<'py> GeneratorState<'py> {
    /// The state now.
    pub(crate) fn get(generator: &'py Bound<'py, PyAny>) -> Result<Self, Decline> {
        let tensor = generator
            .call_method0(intern!(generator.py(), "get_state"))
            .map_err(|_| Decline::Failed)?;
        let numel = tensor.call_method0(intern!(generator.py(), "numel"));
        let numel: usize = numel.and_then(|numel| numel.extract()).map_err(|_| Decline::Failed)?;
        if numel < END {
            return Err(Decline::Failed);
        }
        Ok(Self { generator, tensor })
    }

    fn bytes(&mut self) -> Result<&mut [u8; END], Decline> {
        let data = self.tensor.call_method0(intern!(self.tensor.py(), "data_ptr"));
        let data: usize = data.and_then(|data| data.extract()).map_err(|_| Decline::Failed)?;
        // SAFETY: `get_state` has made the tensor, of at least so many bytes and for nobody else; it lives as long as
        // `self`, which is borrowed.
        Ok(unsafe { &mut *(data as *mut [u8; END]) })
    }

    /// The generator.
    pub(crate) fn read(&mut self) -> Result<Mt19937, Decline> {
        let bytes = self.bytes()?;
        let word = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| bytes[at + i]));
        let (left, next) = (word(LEFT) as u32 as usize, word(NEXT) as usize);
        // A new generator has one word left and 0 as the next.
        let drawn = if left == 1 { STATE } else { next };
        if left == 0 || left > STATE || drawn > STATE || (left != 1 && left + next != STATE + 1) {
            return Err(Decline::Failed);
        }
        let state = std::array::from_fn(|i| word(WORDS + 8 * i) as u32);
        Ok(Mt19937::new(state, drawn))
    }

    /// Makes this the generator's state, with what has been drawn since.
    pub(crate) fn set(mut self, drawn: &Mt19937) -> PyResult<()> {
        let bytes = self
            .bytes()
            .map_err(|reason| pyo3::exceptions::PyRuntimeError::new_err(reason.text()))?;
        let (state, next) = drawn.parts();
        let left = (STATE + 1 - next) as u32;
        bytes[LEFT..LEFT + 4].copy_from_slice(&left.to_le_bytes());
        bytes[NEXT..NEXT + 8].copy_from_slice(&(next as u64).to_le_bytes());
        let (words, _) = bytes[WORDS..].as_chunks_mut::<8>();
        for (bytes, &word) in words.iter_mut().zip(state) {
            *bytes = u64::from(word).to_le_bytes();
        }
        self.generator
            .call_method1(intern!(self.generator.py(), "set_state"), (&self.tensor,))?;
        Ok(())
    }

    /// Whether the generator's state is still this one: nobody has drawn from it meanwhile.
    pub(crate) fn is_current(&mut self) -> Result<bool, Decline> {
        let mut now = Self::get(self.generator)?;
        Ok(self.bytes()? == now.bytes()?)
    }
}
