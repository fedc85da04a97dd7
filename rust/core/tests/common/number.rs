//! Numbers of any type.

use core::fmt::Debug;

use half::{bf16, f16};
use rusttorch_core::dtype::{DType, Target, View, ViewMut};

/// A type that kernels work on.
pub trait Number: Copy + Debug + 'static {
    const DTYPE: DType;
    /// The relative error that a test against a naive reference allows.
    const TOLERANCE: f64;
    fn of(x: f64) -> Self;
    fn wide(self) -> f64;
    fn bits(self) -> u64;
    /// The lowest bits that the type has room for.
    fn from_bits(bits: u64) -> Self;
    fn view(slice: &[Self]) -> View<'_>;
    fn view_mut(slice: &mut [Self]) -> ViewMut<'_>;
    fn target(slice: &mut [Self]) -> Target<'_>;
}

macro_rules! number {
    ($type:ty, $dtype:ident, $tolerance:expr, $of:expr, $wide:expr) => {
        impl Number for $type {
            const DTYPE: DType = DType::$dtype;
            const TOLERANCE: f64 = $tolerance;

            fn of(x: f64) -> Self {
                $of(x)
            }
            fn wide(self) -> f64 {
                $wide(self)
            }
            fn bits(self) -> u64 {
                self.to_bits().into()
            }
            fn from_bits(bits: u64) -> Self {
                <$type>::from_bits(bits as _)
            }
            fn view(slice: &[Self]) -> View<'_> {
                slice.into()
            }
            fn view_mut(slice: &mut [Self]) -> ViewMut<'_> {
                slice.into()
            }
            fn target(slice: &mut [Self]) -> Target<'_> {
                slice.into()
            }
        }
    };
}

number!(f32, F32, 2e-5, |x| x as f32, f64::from);
number!(f64, F64, 1e-12, |x| x, |x| x);
number!(bf16, Bf16, 1.0 / 128.0, bf16::from_f64, bf16::to_f64);
number!(f16, F16, 1.0 / 1024.0, f16::from_f64, f16::to_f64);

/// Bits at random, the same ones for a seed.
pub fn random(len: usize, seed: u64) -> impl Iterator<Item = u64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..len).map(move |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    })
}

/// Numbers between -6 and 6, the same ones for a seed.
pub fn numbers(len: usize, seed: u64) -> Vec<f64> {
    random(len, seed)
        .map(|bits| (bits >> 11) as f64 / (1_u64 << 53) as f64 * 12.0 - 6.0)
        .collect()
}
