//! Instruction sets, as capabilities: a value of [`Avx2`] or [`Avx512`] exists only where the CPU has it.
//!
//! A kernel is ordinary generic code over a [`Simd`] token, marked `#[inline(always)]`; [`Isa::run`] inlines it into a
//! function that carries the instruction set, where the compiler vectorizes its loops.

#[cfg(target_arch = "x86_64")]
use core::arch::x86_64::{
    __cpuid, _MM_FROUND_TO_NEAREST_INT, _MM_HINT_ET0, _MM_HINT_T0, _mm_loadu_si128, _mm_prefetch, _mm_storeu_si128,
    _mm256_cmpeq_epi8, _mm256_cvtph_ps, _mm256_cvtps_ph, _mm256_loadu_ps, _mm256_loadu_si256, _mm256_movemask_epi8,
    _mm256_setzero_si256, _mm256_storeu_ps, _mm512_loadu_si512, _mm512_test_epi8_mask,
};

use core::mem::MaybeUninit;
use std::sync::OnceLock;

use half::f16;

use crate::{
    dtype::DType,
    vector::{self, Vector},
};

#[cfg(target_arch = "x86_64")]
pub use x86::{Avx2, Avx512};

/// The fields are the proofs of each feature.
#[cfg(target_arch = "x86_64")]
#[allow(missing_docs)]
mod x86 {
    pulp::simd_type!({
        /// 256-bit vectors with fused multiply-add and half-precision conversion (x86-64-v3).
        pub struct Avx2 {
            pub sse: f!("sse"),
            pub sse2: f!("sse2"),
            pub fxsr: f!("fxsr"),
            pub sse3: f!("sse3"),
            pub ssse3: f!("ssse3"),
            pub sse4_1: f!("sse4.1"),
            pub sse4_2: f!("sse4.2"),
            pub popcnt: f!("popcnt"),
            pub avx: f!("avx"),
            pub avx2: f!("avx2"),
            pub bmi1: f!("bmi1"),
            pub bmi2: f!("bmi2"),
            pub fma: f!("fma"),
            pub lzcnt: f!("lzcnt"),
            pub f16c: f!("f16c"),
        }
    });

    pulp::simd_type!({
        /// 512-bit vectors (x86-64-v4).
        pub struct Avx512 {
            pub sse: f!("sse"),
            pub sse2: f!("sse2"),
            pub fxsr: f!("fxsr"),
            pub sse3: f!("sse3"),
            pub ssse3: f!("ssse3"),
            pub sse4_1: f!("sse4.1"),
            pub sse4_2: f!("sse4.2"),
            pub popcnt: f!("popcnt"),
            pub avx: f!("avx"),
            pub avx2: f!("avx2"),
            pub bmi1: f!("bmi1"),
            pub bmi2: f!("bmi2"),
            pub fma: f!("fma"),
            pub lzcnt: f!("lzcnt"),
            pub f16c: f!("f16c"),
            pub avx512f: f!("avx512f"),
            pub avx512bw: f!("avx512bw"),
            pub avx512cd: f!("avx512cd"),
            pub avx512dq: f!("avx512dq"),
            pub avx512vl: f!("avx512vl"),
        }
    });
}

/// What the target itself guarantees: NEON on aarch64, plain scalar code elsewhere.
#[derive(Clone, Copy, Debug)]
pub struct Baseline;

/// The few operations that the vectorizer cannot find by itself.
pub trait Simd: Copy + Send + Sync + 'static {
    /// Whether storing some lanes of a vector takes much longer than storing all, as on AMD's CPUs with AVX2.
    const SLOW_MASKED_STORES: bool;
    /// A register of singles.
    type F32: Vector<Lane = f32, Isa = Self>;
    /// A register of doubles.
    type F64: Vector<Lane = f64, Isa = Self>;

    /// Asks for memory that will be read soon, and that the CPU does not foresee.
    fn prefetch<T>(self, data: &[T]);
    /// The same where it will be written.
    fn prefetch_mut<T>(self, data: &mut [T]);
    /// A bit for each byte, the first lowest, that is on where the byte is not 0.
    fn bits(self, bytes: &[u8; 64]) -> u64;
    /// `dst[i] = src[i]`, widened exactly. The slices have one length.
    fn widen_f16(self, src: &[f16], dst: &mut [f32]);
    /// `dst[i] = src[i]`, rounded to nearest even. The slices have one length.
    fn narrow_f16(self, src: &[f32], dst: &mut [MaybeUninit<f16>]);
}

/// A computation that can be compiled for each instruction set. Mark `run` as `#[inline(always)]`.
///
/// ```
/// use rusttorch_core::{isa::{Isa, Program, Simd}, vector::Vector};
///
/// /// The sum of a slice, as many numbers at a time as a register has.
/// struct Sum<'a>(&'a [f32]);
///
/// impl Program for Sum<'_> {
///     type Output = f32;
///
///     #[inline(always)]
///     fn run<S: Simd>(self, simd: S) -> f32 {
///         let chunks = self.0.chunks_exact(S::F32::LANES);
///         let rest: f32 = chunks.remainder().iter().sum();
///         let sums = chunks.fold(S::F32::splat(simd, 0.0), |sums, x| sums.add(S::F32::load(simd, x)));
///         let mut lanes = [0.0; 16];
///         sums.store(&mut lanes);
///         lanes[..S::F32::LANES].iter().sum::<f32>() + rest
///     }
/// }
///
/// for isa in Isa::available() {
///     assert_eq!(isa.run(Sum(&[1.0; 1003])), 1003.0);
/// }
/// ```
pub trait Program {
    /// What it returns.
    type Output;
    /// Runs with the capability token of one instruction set.
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}

/// Whether there are kernels without vectors.
const BASELINE: bool = cfg!(any(feature = "baseline", not(target_arch = "x86_64")));

/// An instruction set that this machine has.
#[derive(Clone, Copy, Debug)]
pub enum Isa {
    /// See [`Baseline`].
    Baseline(Baseline),
    /// See [`Avx2`].
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    /// See [`Avx512`].
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
}

impl Isa {
    /// The widest instruction set of this machine.
    pub fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            if let Some(isa) = Avx512::try_new() {
                return Self::Avx512(isa);
            }
            if let Some(isa) = Avx2::try_new() {
                return Self::Avx2(isa);
            }
        }
        Self::Baseline(Baseline)
    }

    /// Every instruction set of this machine, widest first.
    pub fn available() -> Vec<Self> {
        let mut all = vec![Self::detect()];
        #[cfg(target_arch = "x86_64")]
        if let (Self::Avx512(_), Some(isa)) = (all[0], Avx2::try_new()) {
            all.push(Self::Avx2(isa));
        }
        if BASELINE && !matches!(all[0], Self::Baseline(_)) {
            all.push(Self::Baseline(Baseline));
        }
        all
    }

    /// `"avx512"`, `"avx2"` or `"baseline"`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Baseline(_) => "baseline",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(_) => "avx2",
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(_) => "avx512",
        }
    }

    /// The instruction set of that name, if this machine has it.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::available().into_iter().find(|isa| isa.name() == name)
    }

    /// Whether there are kernels for it: without the feature `baseline` there are none for CPUs of x86-64 without AVX2.
    pub fn has_kernels(self) -> bool {
        BASELINE || !matches!(self, Self::Baseline(_))
    }

    /// Whether a fused multiply-add is one instruction here: without it the kernels are correct but slow.
    pub fn has_fma(self) -> bool {
        !matches!(self, Self::Baseline(_)) || cfg!(target_arch = "aarch64")
    }

    /// Whether it multiplies numbers of a type by instructions of their own.
    pub fn multiplies(self, dtype: DType) -> bool {
        match (self, dtype) {
            (_, DType::F32 | DType::F64) => true,
            #[cfg(target_arch = "x86_64")]
            (Self::Avx512(_), DType::Bf16) => is_x86_feature_detected!("avx512bf16"),
            #[cfg(target_arch = "x86_64")]
            (Self::Avx512(_), DType::F16) => is_x86_feature_detected!("avx512fp16"),
            _ => false,
        }
    }

    /// Whether its registers are the widest that there are.
    pub fn is_widest(self) -> bool {
        self.name() == "avx512"
    }

    /// Runs a program compiled for this instruction set.
    ///
    /// # Panics
    /// Where there [are none](Self::has_kernels).
    #[inline(always)]
    pub fn run<P: Program>(self, program: P) -> P::Output {
        match self {
            Self::Baseline(simd) => {
                if BASELINE {
                    program.run(simd)
                } else {
                    panic!("the CPU has no AVX2, and the feature `baseline` is off")
                }
            }
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(simd) => simd.vectorize(Call { program, simd }),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(simd) => simd.vectorize(Call { program, simd }),
        }
    }
}

#[cfg(target_arch = "x86_64")]
struct Call<P, S> {
    program: P,
    simd: S,
}

#[cfg(target_arch = "x86_64")]
impl<P: Program, S: Simd> pulp::NullaryFnOnce for Call<P, S> {
    type Output = P::Output;

    #[inline(always)]
    fn call(self) -> P::Output {
        self.program.run(self.simd)
    }
}

/// Whose the CPU is, `"amd"`, `"intel"` or another: the name that it gives itself, which libraries choose their code by.
pub fn vendor() -> &'static str {
    // A virtual machine's host answers the question, which takes long.
    static FOUND: OnceLock<&str> = OnceLock::new();
    FOUND.get_or_init(|| {
        #[cfg(target_arch = "x86_64")]
        {
            // SAFETY: every CPU of this architecture has the instruction, for which newer compilers ask for no `unsafe`.
            #[allow(unused_unsafe)]
            let leaf = unsafe { __cpuid(0) };
            match [leaf.ebx, leaf.edx, leaf.ecx].map(u32::to_le_bytes).as_flattened() {
                b"AuthenticAMD" => return "amd",
                b"GenuineIntel" => return "intel",
                _ => {}
            }
        }
        "other"
    })
}

impl Simd for Baseline {
    const SLOW_MASKED_STORES: bool = false;
    type F32 = vector::Array<f32, 8>;
    type F64 = vector::Array<f64, 4>;

    #[inline(always)]
    fn prefetch<T>(self, _: &[T]) {}

    #[inline(always)]
    fn prefetch_mut<T>(self, _: &mut [T]) {}

    #[inline(always)]
    fn bits(self, bytes: &[u8; 64]) -> u64 {
        (0..)
            .zip(bytes)
            .fold(0, |bits, (at, &byte)| bits | u64::from(byte != 0) << at)
    }

    #[inline(always)]
    fn widen_f16(self, src: &[f16], dst: &mut [f32]) {
        for (d, s) in dst.iter_mut().zip(src) {
            *d = s.to_f32();
        }
    }

    #[inline(always)]
    fn narrow_f16(self, src: &[f32], dst: &mut [MaybeUninit<f16>]) {
        for (d, s) in dst.iter_mut().zip(src) {
            d.write(f16::from_f32(*s));
        }
    }
}

/// Bytes of a cache line.
#[cfg(target_arch = "x86_64")]
const LINE: usize = 64;

/// Conversions of eight lanes at a time with F16C, and prefetching; what remains goes through a zero-padded vector.
#[cfg(target_arch = "x86_64")]
macro_rules! x86_operations {
    ($isa:ty, $slow_masked_stores:expr, $singles:ident, $doubles:ident, $bits:ident) => {
        impl Simd for $isa {
            const SLOW_MASKED_STORES: bool = $slow_masked_stores;
            type F32 = vector::$singles;
            type F64 = vector::$doubles;

            #[inline(always)]
            fn prefetch<T>(self, data: &[T]) {
                for line in data.chunks(LINE.div_ceil(size_of::<T>())) {
                    // SAFETY: a hint has no effect but on time.
                    unsafe { _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast()) };
                }
            }

            #[inline(always)]
            fn prefetch_mut<T>(self, data: &mut [T]) {
                for line in data.chunks(LINE.div_ceil(size_of::<T>())) {
                    // SAFETY: as above.
                    unsafe { _mm_prefetch::<_MM_HINT_ET0>(line.as_ptr().cast()) };
                }
            }

            #[inline(always)]
            fn bits(self, bytes: &[u8; 64]) -> u64 {
                $bits(self, bytes)
            }

            #[inline(always)]
            fn widen_f16(self, src: &[f16], dst: &mut [f32]) {
                let widen = |half: [f16; 8]| -> [f32; 8] {
                    let mut wide = [0.0; 8];
                    // SAFETY: `self` is the proof of F16C; both arrays hold exactly one vector.
                    unsafe {
                        _mm256_storeu_ps(
                            wide.as_mut_ptr(),
                            _mm256_cvtph_ps(_mm_loadu_si128(half.as_ptr().cast())),
                        )
                    };
                    wide
                };
                let (chunks, rest) = src.as_chunks::<8>();
                let (wide, wide_rest) = dst.as_chunks_mut::<8>();
                for (d, s) in wide.iter_mut().zip(chunks) {
                    *d = widen(*s);
                }
                if !rest.is_empty() {
                    let mut last = [f16::ZERO; 8];
                    last[..rest.len()].copy_from_slice(rest);
                    wide_rest.copy_from_slice(&widen(last)[..rest.len()]);
                }
            }

            #[inline(always)]
            fn narrow_f16(self, src: &[f32], dst: &mut [MaybeUninit<f16>]) {
                let narrow = |wide: [f32; 8]| -> [MaybeUninit<f16>; 8] {
                    let mut half = [MaybeUninit::uninit(); 8];
                    // SAFETY: as in `widen`.
                    unsafe {
                        _mm_storeu_si128(
                            half.as_mut_ptr().cast(),
                            _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(_mm256_loadu_ps(wide.as_ptr())),
                        )
                    };
                    half
                };
                let (chunks, rest) = src.as_chunks::<8>();
                let (halves, halves_rest) = dst.as_chunks_mut::<8>();
                for (d, s) in halves.iter_mut().zip(chunks) {
                    *d = narrow(*s);
                }
                if !rest.is_empty() {
                    let mut last = [0.0; 8];
                    last[..rest.len()].copy_from_slice(rest);
                    halves_rest.copy_from_slice(&narrow(last)[..rest.len()]);
                }
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
x86_operations!(Avx2, true, F32x8, F64x4, bits_avx2);
#[cfg(target_arch = "x86_64")]
x86_operations!(Avx512, false, F32x16, F64x8, bits_avx512);

#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn bits_avx2(_: Avx2, bytes: &[u8; 64]) -> u64 {
    // SAFETY: the token is the proof of the instruction set; the array has two registers.
    let [low, high] = unsafe {
        let (low, high) = (
            _mm256_loadu_si256(bytes.as_ptr().cast()),
            _mm256_loadu_si256(bytes[32..].as_ptr().cast()),
        );
        let zero = _mm256_setzero_si256();
        [
            _mm256_movemask_epi8(_mm256_cmpeq_epi8(low, zero)),
            _mm256_movemask_epi8(_mm256_cmpeq_epi8(high, zero)),
        ]
    };
    !(u64::from(low.cast_unsigned()) | u64::from(high.cast_unsigned()) << 32)
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn bits_avx512(_: Avx512, bytes: &[u8; 64]) -> u64 {
    // SAFETY: the token is the proof of the instruction set; the array has one register.
    unsafe {
        let bytes = _mm512_loadu_si512(bytes.as_ptr().cast());
        _mm512_test_epi8_mask(bytes, bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct RoundTrip<'a>(&'a [f16], &'a mut [MaybeUninit<f16>]);

    impl Program for RoundTrip<'_> {
        type Output = ();

        #[inline(always)]
        fn run<S: Simd>(self, simd: S) {
            let mut wide = vec![0.0; self.0.len()];
            simd.widen_f16(self.0, &mut wide);
            for (w, h) in wide.iter().zip(self.0) {
                assert!(*w == h.to_f32() || w.is_nan());
            }
            simd.narrow_f16(&wide, self.1);
        }
    }

    #[test]
    fn every_f16_survives_at_every_length() {
        let all: Vec<f16> = (0..=u16::MAX).map(f16::from_bits).collect();
        for isa in Isa::available() {
            for len in (0..20).chain([all.len()]) {
                let src = &all[all.len() - len..];
                let mut dst = vec![MaybeUninit::new(f16::ZERO); len];
                isa.run(RoundTrip(src, &mut dst));
                for (s, d) in src.iter().zip(&dst) {
                    // SAFETY: every element was initialised above.
                    let d = unsafe { d.assume_init() };
                    assert!(s.to_bits() == d.to_bits() || (s.is_nan() && d.is_nan()));
                }
            }
        }
    }
}
