//! `torch.nn.utils.clip_grad_value_`.

use half::{bf16, f16};

use super::clip::apply;
use crate::{
    dtype::{DType, Element, ViewMut, nearest},
    float::Float,
    isa::{Program, Simd},
    kernel::{ClipKernel, Exec, Total},
};

/// Clips every element of gradients to `-clip_value` or `clip_value`. Numbers: that, and whether torch would do so in two
/// steps, as it does by default.
pub struct ClipGradValue;

impl ClipKernel for ClipGradValue {
    fn name(&self) -> &'static str {
        "clip_grad_value_"
    }

    /// A number that is 0 in the element type would lose signs, and one that is infinite there is torch's error.
    fn accepts(&self, dtype: DType, numbers: &[f64]) -> Result<(), &'static str> {
        let &[value, _] = numbers else {
            return Err("not two numbers");
        };
        let (zero, infinite) = match dtype {
            DType::F32 => kind::<f32>(value),
            DType::F64 => kind::<f64>(value),
            DType::Bf16 => kind::<bf16>(value),
            DType::F16 => kind::<f16>(value),
            _ => return Err("no floating-point numbers"),
        };
        if value > 0.0 && !zero && (!infinite || value.is_infinite()) {
            Ok(())
        } else {
            Err("a value that is not above 0, or too large for the type")
        }
    }

    fn versions(&self, numbers: &[f64]) -> usize {
        if numbers[1] == 0.0 { 1 } else { 2 }
    }

    fn clip(&self, exec: &Exec, grads: Vec<ViewMut>, _: Option<Total>, numbers: &[f64]) {
        let value = numbers[0];
        apply(exec, grads, |isa, piece| match piece {
            ViewMut::F32(buf) => isa.run(Clamp(f32::of(value), buf)),
            ViewMut::F64(buf) => isa.run(Clamp(value, buf)),
            ViewMut::Bf16(buf) => isa.run(ClampBits {
                bits: bf16::to_bits,
                of: bf16::from_bits,
                most: bf16::rounded(f32::of(value)),
                infinity: bf16::INFINITY,
                buf,
            }),
            ViewMut::F16(buf) => isa.run(ClampBits {
                bits: f16::to_bits,
                of: f16::from_bits,
                most: f16::rounded(f32::of(value)),
                infinity: f16::INFINITY,
                buf,
            }),
            _ => unreachable!("`accepts` refuses them"),
        });
    }
}

/// Whether the nearest number of a type is 0, and whether it is infinite.
fn kind<T: Element>(x: f64) -> (bool, bool) {
    let near = nearest::<T>(T::Lane::of(x));
    (near == T::Lane::of(0.0), near.is_infinite())
}

/// Clips numbers.
struct Clamp<'a, T>(T, &'a mut [T]);

impl<T: Element<Lane = T> + Float> Program for Clamp<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self(most, buf) = self;
        T::map_inplace(
            simd,
            buf,
            #[inline(always)]
            |x| {
                let x = if x < -most { -most } else { x };
                if x > most { most } else { x }
            },
        );
    }
}

/// Clips numbers of half precision by their bits, without widening them.
struct ClampBits<'a, T, B, O> {
    bits: B,
    of: O,
    most: T,
    infinity: T,
    buf: &'a mut [T],
}

impl<T: Copy, B: Fn(T) -> u16, O: Fn(u16) -> T> Program for ClampBits<'_, T, B, O> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        const SIGN: u16 = 1 << 15;
        let Self { bits, of, buf, .. } = self;
        let (most, infinity) = (bits(self.most) as i16, bits(self.infinity) as i16);
        for x in buf {
            let magnitude = (bits(*x) & !SIGN) as i16;
            // What is above infinity is a NaN.
            let clipped = if magnitude > infinity || magnitude < most {
                magnitude
            } else {
                most
            };
            *x = of(bits(*x) & SIGN | clipped as u16);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{isa::Isa, parallel::Serial};

    #[test]
    fn elements_are_clipped_and_nans_are_not() {
        for isa in Isa::available() {
            let mut singles = [-3.0, -0.0, f32::NAN, 0.5, f32::INFINITY, 1.0];
            let mut halves = [f16::NEG_INFINITY, f16::from_f32(0.7), f16::NEG_ZERO, -f16::NAN];
            let before = halves;
            let grads = vec![(&mut singles[..]).into(), (&mut halves[..]).into()];
            ClipGradValue.clip(&Exec::new(isa, &Serial), grads, None, &[0.7, 1.0]);
            assert_eq!(
                singles.map(f32::to_bits),
                [-0.7, -0.0, f32::NAN, 0.5, 0.7, 0.7].map(f32::to_bits)
            );
            assert_eq!(halves[..2], [f16::from_f32(-0.7), f16::from_f32(0.7)]);
            assert_eq!([2, 3].map(|i| halves[i].to_bits()), [2, 3].map(|i| before[i].to_bits()));
        }
    }

    #[test]
    fn numbers_that_torch_refuses_or_that_lose_signs_are_refused() {
        let accepts = |dtype, value| ClipGradValue.accepts(dtype, &[value, 1.0]).is_ok();
        assert!(accepts(DType::F16, 1.0) && accepts(DType::F16, f64::INFINITY) && accepts(DType::F64, 1e300));
        for value in [0.0, -1.0, f64::NAN, 1e300, 1e-300] {
            assert!(!accepts(DType::F32, value), "{value}");
        }
        assert!(!accepts(DType::F16, 1e5));
    }
}
