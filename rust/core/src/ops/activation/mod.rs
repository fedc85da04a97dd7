//! `torch.nn.functional`'s activations.

pub mod celu;
pub mod elu;
pub mod gelu;
pub mod glu;
pub mod hardsigmoid;
pub mod hardswish;
pub mod hardtanh;
pub mod leaky_relu;
pub mod logsigmoid;
pub mod mish;
pub mod relu;
pub mod sigmoid;
pub mod silu;
pub mod softplus;
pub mod softsign;
pub mod tanh;

use crate::float::Float;

/// `min(max(x, 0), 6)`; keeps NaN.
#[inline(always)]
pub(crate) fn relu6<F: Float>(x: F) -> F {
    let x = if x < F::of(0.0) { F::of(0.0) } else { x };
    if x > F::of(6.0) { F::of(6.0) } else { x }
}
