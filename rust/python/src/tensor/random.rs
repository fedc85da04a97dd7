//! Random numbers of explicit tensors: torch's generator, seeded by [`manual_seed`].

use std::sync::{Mutex, PoisonError};

use pyo3::prelude::*;
use rusttorch_core::random::Mt19937;

static GENERATOR: Mutex<Option<Mt19937>> = Mutex::new(None);

/// Seeds the random numbers of `Tensor.rand` and `Tensor.randn`.
#[pyfunction]
pub(crate) fn manual_seed(seed: i64) {
    *GENERATOR.lock().unwrap_or_else(PoisonError::into_inner) = Some(seeded(seed));
}

fn seeded(seed: i64) -> Mt19937 {
    // The lower half, as torch does.
    Mt19937::from_seed(seed as u32)
}

/// Calls `draw` with the generator of a seed, or that of all calls without one, which begins anywhere.
pub(super) fn with_generator<R>(seed: Option<i64>, draw: impl FnOnce(&mut Mt19937) -> R) -> R {
    if let Some(seed) = seed {
        return draw(&mut seeded(seed));
    }
    let mut held = GENERATOR.lock().unwrap_or_else(PoisonError::into_inner);
    draw(held.get_or_insert_with(|| {
        use std::hash::{BuildHasher, RandomState};
        seeded(RandomState::new().hash_one(std::process::id()) as i64)
    }))
}

/// A number of the half-open interval from 0 to 1, of `bits` bits at most 53, as torch draws it.
pub(super) fn uniform(generator: &mut Mt19937, bits: u32) -> f64 {
    let drawn = if bits > 32 {
        generator.draw_long()
    } else {
        u64::from(generator.draw_word())
    };
    (drawn & ((1 << bits) - 1)) as f64 / (1_u64 << bits) as f64
}

/// Two numbers of the normal distribution: G. E. P. Box and M. E. Muller, <https://doi.org/10.1214/aoms/1177706645>.
pub(super) fn normal(generator: &mut Mt19937) -> [f64; 2] {
    let radius = (-2.0 * (1.0 - uniform(generator, 53)).ln()).sqrt();
    let (sine, cosine) = (std::f64::consts::TAU * uniform(generator, 53)).sin_cos();
    [radius * cosine, radius * sine]
}
