//! `Tensor.to` another element type.

use core::mem::MaybeUninit;

use half::{bf16, f16};

use crate::{
    dtype::{Bool, Element, Target, View},
    kernel::{Exec, every_type},
    parallel::split_mut,
};

/// A number of any type, as torch turns it into one of another.
trait Number: Copy + Send + Sync {
    /// Whether it is an integer, or true or false.
    const WHOLE: bool;

    fn real(self) -> f64;
    fn whole(self) -> i64;
    fn of_real(x: f64) -> Self;
    fn of_whole(x: i64) -> Self;
}

macro_rules! reals {
    ($($float:ident: $x:ident => $real:expr, $of:ident => $rounded:expr;)*) => {
        $(impl Number for $float {
            const WHOLE: bool = false;

            #[inline(always)]
            fn real(self) -> f64 {
                let $x = self;
                $real
            }
            #[inline(always)]
            fn whole(self) -> i64 {
                self.real() as i64
            }
            #[inline(always)]
            fn of_real($of: f64) -> Self {
                $rounded
            }
            #[inline(always)]
            fn of_whole($of: i64) -> Self {
                $rounded
            }
        })*
    };
}
reals! {
    f32: x => f64::from(x), x => x as f32;
    f64: x => x, x => x as f64;
    // By way of a single, as torch does.
    bf16: x => f64::from(x.lane()), x => Self::rounded(x as f32);
    f16: x => f64::from(x.lane()), x => Self::rounded(x as f32);
}

macro_rules! wholes {
    ($($integer:ident),*) => {
        $(impl Number for $integer {
            const WHOLE: bool = true;

            #[inline(always)]
            fn real(self) -> f64 {
                self as f64
            }
            #[inline(always)]
            fn whole(self) -> i64 {
                self as i64
            }
            // What is too large wraps around, as in torch, where the compiler leaves it open.
            #[inline(always)]
            fn of_real(x: f64) -> Self {
                x as i64 as Self
            }
            #[inline(always)]
            fn of_whole(x: i64) -> Self {
                x as Self
            }
        })*
    };
}
wholes!(i64, i32, i16, i8, u8);

impl Number for Bool {
    const WHOLE: bool = true;

    #[inline(always)]
    fn real(self) -> f64 {
        f64::from(u8::from(self.0 != 0))
    }
    #[inline(always)]
    fn whole(self) -> i64 {
        i64::from(self.0 != 0)
    }
    #[inline(always)]
    fn of_real(x: f64) -> Self {
        Self(u8::from(x != 0.0))
    }
    #[inline(always)]
    fn of_whole(x: i64) -> Self {
        Self(u8::from(x != 0))
    }
}

fn convert<A: Number, B: Number>(exec: &Exec, src: &[A], dst: &mut [MaybeUninit<B>]) {
    assert_eq!(src.len(), dst.len(), "source and destination differ in length");
    let (team, grain) = exec.team(dst.len(), size_of::<A>() + size_of::<B>(), 4);
    split_mut(team, dst, 1, grain, &|start, dst| {
        for (dst, &x) in dst.iter_mut().zip(&src[start..]) {
            dst.write(if A::WHOLE {
                B::of_whole(x.whole())
            } else {
                B::of_real(x.real())
            });
        }
    });
}

/// Writes the elements of `src` to `dst` as numbers of its type: rounded to nearest even, integers towards zero, and whether
/// they are not 0 as what is true or false.
///
/// ```
/// use rusttorch_core::{isa::Isa, kernel::Exec, ops::cast::cast, parallel::Serial};
///
/// let mut whole = [0_i32; 3];
/// let exec = Exec::new(Isa::detect(), &Serial);
/// cast(&exec, (&[1.5_f32, -1.5, 7.0][..]).into(), (&mut whole[..]).into());
/// assert_eq!(whole, [1, -1, 7]);
/// ```
///
/// # Panics
/// Where the slices differ in length.
pub fn cast(exec: &Exec, src: View, dst: Target) {
    every_type!((src: View) => to(exec, src, dst));
}

fn to<A: Number>(exec: &Exec, src: &[A], dst: Target) {
    every_type!((dst: Target) => convert(exec, src, dst));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{isa::Isa, parallel::test::Halves};

    fn cast_to<A, B: Copy + Default>(src: &[A]) -> Vec<B>
    where
        for<'a> &'a [A]: Into<View<'a>>,
        for<'a> &'a mut [B]: Into<Target<'a>>,
    {
        let mut dst = vec![B::default(); src.len()];
        cast(&Exec::new(Isa::detect(), &Halves), src.into(), (&mut dst[..]).into());
        dst
    }

    #[test]
    fn numbers_become_others() {
        let floats = [1.5_f32, -2.5, 300.0, 0.0, f32::MIN_POSITIVE];
        assert_eq!(cast_to::<_, u8>(&floats), [1, 254, 44, 0, 0]);
        assert_eq!(cast_to::<_, i64>(&floats), [1, -2, 300, 0, 0]);
        assert_eq!(cast_to::<_, Bool>(&floats), [1, 1, 1, 0, 1].map(Bool));
        assert_eq!(cast_to::<_, f64>(&floats), floats.map(f64::from));
        assert_eq!(cast_to::<_, bf16>(&floats[..3]), [1.5, -2.5, 300.0].map(bf16::from_f32));
        assert_eq!(cast_to::<_, f32>(&[Bool(2), Bool(0)]), [1.0, 0.0]);
    }

    #[test]
    fn integers_are_rounded_once() {
        let numbers = [(1 << 24) + 1, i64::MAX, -1];
        assert_eq!(cast_to::<_, f32>(&numbers), numbers.map(|x| x as f32));
        assert_eq!(cast_to::<_, i8>(&numbers), [1, -1, -1]);
    }

    #[test]
    fn every_half_survives() {
        let halves: Vec<f16> = (0..=u16::MAX).map(f16::from_bits).filter(|x| !x.is_nan()).collect();
        assert_eq!(cast_to::<_, f16>(&cast_to::<_, f64>(&halves)), halves);
    }
}
