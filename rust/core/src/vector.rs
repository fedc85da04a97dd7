//! Registers of lanes, for reductions: the compiler leaves their partial results in memory.

use core::fmt::Debug;

use half::{bf16, f16};

/// A register of floating-point lanes. It exists only where its instruction set does, as its [token](Self::Isa) does.
pub trait Vector: Copy + Debug {
    /// The type of a lane.
    type Lane;
    /// The instruction set, a [`Simd`](crate::isa::Simd) token.
    type Isa: Copy;
    /// How many lanes there are.
    const LANES: usize;

    /// The same number in every lane.
    fn splat(isa: Self::Isa, x: Self::Lane) -> Self;
    /// The first numbers of a slice.
    ///
    /// # Panics
    /// Where there are fewer.
    fn load(isa: Self::Isa, src: &[Self::Lane]) -> Self;
    /// The first numbers of a slice of singles, exactly.
    ///
    /// # Panics
    /// Where there are fewer.
    fn load_singles(isa: Self::Isa, src: &[f32]) -> Self;
    /// The first numbers of a slice of halves, exactly.
    ///
    /// # Panics
    /// Where there are fewer.
    #[inline(always)]
    fn load_bf16(isa: Self::Isa, src: &[bf16]) -> Self {
        Self::load_singles(isa, &widened(&src[..Self::LANES], bf16::to_f32))
    }
    /// The first numbers of a slice of halves, exactly.
    ///
    /// # Panics
    /// Where there are fewer.
    #[inline(always)]
    fn load_f16(isa: Self::Isa, src: &[f16]) -> Self {
        Self::load_singles(isa, &widened(&src[..Self::LANES], f16::to_f32))
    }
    /// Writes the first numbers of a slice.
    ///
    /// # Panics
    /// Where there are fewer.
    fn store(self, dst: &mut [Self::Lane]);
    /// The sums.
    #[must_use]
    fn add(self, other: Self) -> Self;
    /// The differences.
    #[must_use]
    fn sub(self, other: Self) -> Self;
    /// The products.
    #[must_use]
    fn mul(self, other: Self) -> Self;
    /// `self * factor + other`, rounded once.
    #[must_use]
    fn mul_add(self, factor: Self, other: Self) -> Self;
    /// The larger numbers; `other`'s where one is NaN.
    #[must_use]
    fn larger(self, other: Self) -> Self;
    /// The smaller numbers; `other`'s where one is NaN.
    #[must_use]
    fn smaller(self, other: Self) -> Self;
}

/// The most lanes that a register has.
const MOST_LANES: usize = 16;

/// Numbers of a register, one by one.
#[inline(always)]
fn widened<T: Copy>(src: &[T], widen: impl Fn(T) -> f32) -> [f32; MOST_LANES] {
    let mut singles = [0.0; MOST_LANES];
    for (single, &x) in singles.iter_mut().zip(src) {
        *single = widen(x);
    }
    singles
}

/// A register without instructions of its own.
#[derive(Clone, Copy, Debug)]
pub struct Array<F, const N: usize>([F; N]);

macro_rules! array {
    ($lane:ty, $lanes:literal) => {
        impl Vector for Array<$lane, $lanes> {
            type Lane = $lane;
            type Isa = crate::isa::Baseline;
            const LANES: usize = $lanes;

            #[inline(always)]
            fn splat(_: Self::Isa, x: $lane) -> Self {
                Self([x; $lanes])
            }

            #[inline(always)]
            fn load(_: Self::Isa, src: &[$lane]) -> Self {
                Self(*src.first_chunk().expect("a whole register"))
            }

            #[inline(always)]
            fn load_singles(_: Self::Isa, src: &[f32]) -> Self {
                let src: &[f32; $lanes] = src.first_chunk().expect("a whole register");
                Self(src.map(<$lane>::from))
            }

            #[inline(always)]
            fn store(self, dst: &mut [$lane]) {
                *dst.first_chunk_mut().expect("a whole register") = self.0;
            }

            #[inline(always)]
            fn add(self, other: Self) -> Self {
                Self(core::array::from_fn(|i| self.0[i] + other.0[i]))
            }

            #[inline(always)]
            fn sub(self, other: Self) -> Self {
                Self(core::array::from_fn(|i| self.0[i] - other.0[i]))
            }

            #[inline(always)]
            fn mul(self, other: Self) -> Self {
                Self(core::array::from_fn(|i| self.0[i] * other.0[i]))
            }

            #[inline(always)]
            fn mul_add(self, factor: Self, other: Self) -> Self {
                Self(core::array::from_fn(|i| {
                    self.0[i].mul_add(factor.0[i], other.0[i])
                }))
            }

            #[inline(always)]
            fn larger(self, other: Self) -> Self {
                Self(core::array::from_fn(|i| {
                    if self.0[i] > other.0[i] {
                        self.0[i]
                    } else {
                        other.0[i]
                    }
                }))
            }

            #[inline(always)]
            fn smaller(self, other: Self) -> Self {
                Self(core::array::from_fn(|i| {
                    if self.0[i] < other.0[i] {
                        self.0[i]
                    } else {
                        other.0[i]
                    }
                }))
            }
        }
    };
}

array!(f32, 8);
array!(f64, 4);

#[cfg(target_arch = "x86_64")]
pub use x86::{F32x8, F32x16, F64x4, F64x8};

#[cfg(target_arch = "x86_64")]
mod x86 {
    #[allow(clippy::wildcard_imports)]
    use core::arch::x86_64::*;

    use half::{bf16, f16};

    use super::Vector;
    use crate::isa::{Avx2, Avx512};

    macro_rules! vector {
        (
            $name:ident: $register:ident of $lanes:literal $lane:ident, $isa:ident,
            $set:ident $load:ident $($widen:ident)? ($load_singles:ident) $store:ident $add:ident $sub:ident $mul:ident $mul_add:ident $max:ident $min:ident
            $(, $load_halves:ident $widen_bits:ident $shift:ident $as_singles:ident $widen_f16:ident)?
        ) => {
            #[doc = concat!("A register of ", stringify!($isa), ".")]
            #[derive(Clone, Copy, Debug)]
            pub struct $name($register);

            impl Vector for $name {
                type Lane = $lane;
                type Isa = $isa;
                const LANES: usize = $lanes;

                #[inline(always)]
                fn splat(_: $isa, x: $lane) -> Self {
                    // SAFETY: the token is the proof of the instruction set.
                    Self(unsafe { $set(x) })
                }

                #[inline(always)]
                fn load(_: $isa, src: &[$lane]) -> Self {
                    let src: &[$lane; $lanes] = src.first_chunk().expect("a whole register");
                    // SAFETY: the token is the proof of the instruction set; there are so many numbers.
                    Self(unsafe { $load(src.as_ptr()) })
                }

                #[inline(always)]
                fn load_singles(_: $isa, src: &[f32]) -> Self {
                    let src: &[f32; $lanes] = src.first_chunk().expect("a whole register");
                    // SAFETY: as above.
                    let singles = unsafe { $load_singles(src.as_ptr()) };
                    $(
                        // SAFETY: the token is the proof of the instruction set.
                        let singles = unsafe { $widen(singles) };
                    )?
                    Self(singles)
                }

                $(
                    #[inline(always)]
                    fn load_bf16(_: $isa, src: &[bf16]) -> Self {
                        let src: &[bf16; $lanes] = src.first_chunk().expect("a whole register");
                        // SAFETY: the token is the proof of the instruction set; there are so many numbers.
                        Self(unsafe { $as_singles($shift::<16>($widen_bits($load_halves(src.as_ptr().cast())))) })
                    }

                    #[inline(always)]
                    fn load_f16(_: $isa, src: &[f16]) -> Self {
                        let src: &[f16; $lanes] = src.first_chunk().expect("a whole register");
                        // SAFETY: as above.
                        Self(unsafe { $widen_f16($load_halves(src.as_ptr().cast())) })
                    }
                )?

                #[inline(always)]
                fn store(self, dst: &mut [$lane]) {
                    let dst: &mut [$lane; $lanes] = dst.first_chunk_mut().expect("a whole register");
                    // SAFETY: `self` is the proof of the instruction set; there is room for so many numbers.
                    unsafe { $store(dst.as_mut_ptr(), self.0) }
                }

                #[inline(always)]
                fn add(self, other: Self) -> Self {
                    // SAFETY: `self` is the proof of the instruction set.
                    Self(unsafe { $add(self.0, other.0) })
                }

                #[inline(always)]
                fn sub(self, other: Self) -> Self {
                    // SAFETY: `self` is the proof of the instruction set.
                    Self(unsafe { $sub(self.0, other.0) })
                }

                #[inline(always)]
                fn mul(self, other: Self) -> Self {
                    // SAFETY: `self` is the proof of the instruction set.
                    Self(unsafe { $mul(self.0, other.0) })
                }

                #[inline(always)]
                fn mul_add(self, factor: Self, other: Self) -> Self {
                    // SAFETY: `self` is the proof of the instruction set.
                    Self(unsafe { $mul_add(self.0, factor.0, other.0) })
                }

                #[inline(always)]
                fn larger(self, other: Self) -> Self {
                    // SAFETY: `self` is the proof of the instruction set.
                    Self(unsafe { $max(self.0, other.0) })
                }

                #[inline(always)]
                fn smaller(self, other: Self) -> Self {
                    // SAFETY: `self` is the proof of the instruction set.
                    Self(unsafe { $min(self.0, other.0) })
                }
            }
        };
    }

    vector!(F32x8: __m256 of 8 f32, Avx2,
        _mm256_set1_ps _mm256_loadu_ps (_mm256_loadu_ps) _mm256_storeu_ps _mm256_add_ps _mm256_sub_ps _mm256_mul_ps _mm256_fmadd_ps _mm256_max_ps
        _mm256_min_ps, _mm_loadu_si128 _mm256_cvtepu16_epi32 _mm256_slli_epi32 _mm256_castsi256_ps _mm256_cvtph_ps);
    vector!(F64x4: __m256d of 4 f64, Avx2,
        _mm256_set1_pd _mm256_loadu_pd _mm256_cvtps_pd (_mm_loadu_ps) _mm256_storeu_pd _mm256_add_pd _mm256_sub_pd _mm256_mul_pd _mm256_fmadd_pd _mm256_max_pd
        _mm256_min_pd);
    vector!(F32x16: __m512 of 16 f32, Avx512,
        _mm512_set1_ps _mm512_loadu_ps (_mm512_loadu_ps) _mm512_storeu_ps _mm512_add_ps _mm512_sub_ps _mm512_mul_ps _mm512_fmadd_ps _mm512_max_ps
        _mm512_min_ps, _mm256_loadu_si256 _mm512_cvtepu16_epi32 _mm512_slli_epi32 _mm512_castsi512_ps _mm512_cvtph_ps);
    vector!(F64x8: __m512d of 8 f64, Avx512,
        _mm512_set1_pd _mm512_loadu_pd _mm512_cvtps_pd (_mm256_loadu_ps) _mm512_storeu_pd _mm512_add_pd _mm512_sub_pd _mm512_mul_pd _mm512_fmadd_pd _mm512_max_pd
        _mm512_min_pd);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::{Isa, Program, Simd};

    struct All;

    impl Program for All {
        type Output = [[f64; 16]; 11];

        fn run<S: Simd>(self, simd: S) -> Self::Output {
            let numbers: Vec<f32> = (0..16).map(|i| 1.5 - i as f32).collect();
            let of = |f: &dyn Fn(S::F32) -> S::F32| {
                let mut out = [0.0; 16];
                for (src, dst) in numbers.chunks(S::F32::LANES).zip(out.chunks_mut(S::F32::LANES)) {
                    f(S::F32::load(simd, src)).store(dst);
                }
                out.map(f64::from)
            };
            let two = S::F32::splat(simd, 2.0);
            let mut wide = [0.0; 16];
            for (src, dst) in numbers.chunks(S::F64::LANES).zip(wide.chunks_mut(S::F64::LANES)) {
                S::F64::load_singles(simd, src).store(dst);
            }
            [
                wide,
                of(&|x| x.add(two)),
                of(&|x| x.sub(two)),
                of(&|x| x.mul(two)),
                of(&|x| x.mul_add(x, two)),
                of(&|x| x.larger(two)),
                of(&|x| x.larger(S::F32::splat(simd, f32::NAN))),
                of(&|x| S::F32::splat(simd, f32::NAN).larger(x)),
                of(&|x| x.smaller(two)),
                of(&|x| x.smaller(S::F32::splat(simd, f32::NAN))),
                of(&|x| S::F32::splat(simd, f32::NAN).smaller(x)),
            ]
        }
    }

    #[test]
    fn lanes_compute_as_numbers() {
        let numbers: [f64; 16] = core::array::from_fn(|i| 1.5 - i as f64);
        for isa in Isa::available() {
            let [
                wide,
                sum,
                difference,
                product,
                fused,
                larger,
                nan,
                number,
                smaller,
                small_nan,
                small_number,
            ] = isa.run(All);
            assert_eq!(wide, numbers);
            assert_eq!(sum, numbers.map(|x| x + 2.0));
            assert_eq!(difference, numbers.map(|x| x - 2.0));
            assert_eq!(product, numbers.map(|x| x * 2.0));
            assert_eq!(fused, numbers.map(|x| x * x + 2.0));
            assert_eq!(larger, numbers.map(|x| x.max(2.0)));
            assert_eq!(smaller, numbers.map(|x| x.min(2.0)));
            assert!(nan.iter().chain(&small_nan).all(|x| x.is_nan()));
            assert_eq!([number, small_number], [numbers; 2]);
        }
    }

    /// Halves that are widened to singles and to doubles.
    struct Widened<'a>(&'a [bf16], &'a [f16]);

    impl Program for Widened<'_> {
        type Output = [Vec<f64>; 4];

        fn run<S: Simd>(self, simd: S) -> Self::Output {
            fn all<V: Vector<Lane: Copy + Default + Into<f64>>, T>(src: &[T], load: impl Fn(&[T]) -> V) -> Vec<f64> {
                let mut lanes = vec![V::Lane::default(); src.len()];
                for (src, lanes) in src.chunks(V::LANES).zip(lanes.chunks_mut(V::LANES)) {
                    load(src).store(lanes);
                }
                lanes.into_iter().map(Into::into).collect()
            }
            [
                all(self.0, |src| S::F32::load_bf16(simd, src)),
                all(self.0, |src| S::F64::load_bf16(simd, src)),
                all(self.1, |src| S::F32::load_f16(simd, src)),
                all(self.1, |src| S::F64::load_f16(simd, src)),
            ]
        }
    }

    #[test]
    fn all_halves_are_widened_exactly() {
        let bits = || 0..=u16::MAX;
        let brains: Vec<_> = bits().map(bf16::from_bits).collect();
        let halves: Vec<_> = bits().map(f16::from_bits).collect();
        let expected = [
            brains.iter().map(|x| x.to_f64()).collect::<Vec<_>>(),
            halves.iter().map(|x| x.to_f64()).collect(),
        ];
        for isa in Isa::available() {
            let widened = isa.run(Widened(&brains, &halves));
            for (index, widened) in widened.iter().enumerate() {
                for (x, y) in widened.iter().zip(&expected[index / 2]) {
                    assert!(x.to_bits() == y.to_bits() || x.is_nan() && y.is_nan(), "{x} {y}");
                }
            }
        }
    }
}
