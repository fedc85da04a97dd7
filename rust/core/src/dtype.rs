//! Element types, and slices whose type is known at run time only.

use core::{
    mem::MaybeUninit,
    ops::{Add, Div, Mul},
};

use half::{bf16, f16};

use crate::{float::Float, isa::Simd, vector::Vector};

/// The element types that kernels know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DType {
    /// IEEE single precision.
    F32,
    /// IEEE double precision.
    F64,
    /// The upper half of a single.
    Bf16,
    /// IEEE half precision.
    F16,
    /// Integers of 64 bits with a sign, indices among them.
    I64,
    /// Integers of 32 bits with a sign.
    I32,
    /// Integers of 16 bits with a sign.
    I16,
    /// Integers of 8 bits with a sign.
    I8,
    /// Integers of 8 bits without a sign.
    U8,
    /// True or false.
    Bool,
}

/// A byte that torch takes for true where it is not 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Bool(pub u8);

impl DType {
    /// Every one, in the order of their discriminants.
    pub const ALL: [Self; 10] = [
        Self::F32,
        Self::F64,
        Self::Bf16,
        Self::F16,
        Self::I64,
        Self::I32,
        Self::I16,
        Self::I8,
        Self::U8,
        Self::Bool,
    ];
    /// Those of floating-point numbers.
    pub const FLOATS: [Self; 4] = [Self::F32, Self::F64, Self::Bf16, Self::F16];

    /// Whether its elements are floating-point numbers.
    #[inline]
    pub fn is_float(self) -> bool {
        matches!(self, Self::F32 | Self::F64 | Self::Bf16 | Self::F16)
    }

    /// torch's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "float32",
            Self::F64 => "float64",
            Self::Bf16 => "bfloat16",
            Self::F16 => "float16",
            Self::I64 => "int64",
            Self::I32 => "int32",
            Self::I16 => "int16",
            Self::I8 => "int8",
            Self::U8 => "uint8",
            Self::Bool => "bool",
        }
    }

    /// The type that kernels of floating-point numbers compute in.
    #[must_use]
    pub fn lane(self) -> Self {
        match self {
            Self::F32 | Self::Bf16 | Self::F16 => Self::F32,
            _ => self,
        }
    }

    /// The type that has the floating-point numbers of both, as of `torch.promote_types`.
    #[must_use]
    pub fn common(self, other: Self) -> Self {
        match (self, other) {
            (Self::F64, _) | (_, Self::F64) => Self::F64,
            _ if self == other => self,
            _ => Self::F32,
        }
    }

    /// Whether it is a floating-point number of half precision.
    pub fn is_half(self) -> bool {
        self.is_float() && self.size() == 2
    }

    /// Bytes of one element.
    pub fn size(self) -> usize {
        match self {
            Self::F64 | Self::I64 => 8,
            Self::F32 | Self::I32 => 4,
            Self::Bf16 | Self::F16 | Self::I16 => 2,
            Self::I8 | Self::U8 | Self::Bool => 1,
        }
    }
}

/// The nearest number of the element type.
#[inline(always)]
pub(crate) fn nearest<T: Element>(x: T::Lane) -> T::Lane {
    T::rounded(x).lane()
}

/// How many elements of half precision are widened at a time: the tile stays in the first-level cache.
pub const TILE: usize = 512;

mod sealed {
    pub trait Sealed {}
}

/// A type of elements, whose slices may have their type known at run time only. Other crates have no such types.
///
/// ```
/// use rusttorch_core::dtype::{DType, Typed, View};
///
/// let view = View::from(&[1.0_f64, 2.0][..]);
/// assert_eq!(view.dtype(), DType::F64);
/// assert_eq!(f64::slice(view), Some(&[1.0, 2.0][..]));
/// assert_eq!(f32::slice(view), None);
/// ```
pub trait Typed: sealed::Sealed + Copy + Default + Send + Sync + 'static {
    /// A slice of this type.
    fn view(slice: &[Self]) -> View<'_>;
    /// A mutable slice of this type.
    fn view_mut(slice: &mut [Self]) -> ViewMut<'_>;
    /// A slice of this type to be written in full.
    fn written(slice: &mut [Self]) -> Target<'_>;
    /// The slice, if it is of this type.
    fn slice(view: View<'_>) -> Option<&[Self]>;
    /// The mutable slice, if it is of this type.
    fn slice_mut(view: ViewMut<'_>) -> Option<&mut [Self]>;
    /// The slice to be written, if it is of this type.
    fn target(target: Target<'_>) -> Option<Unwritten<'_, Self>>;
}

/// A type of the floating-point numbers that tensors hold. Kernels compute in its [`Element::Lane`]; half precision is rounded once, at the end.
pub trait Element: Typed {
    /// The type that kernels compute in.
    type Lane: Float;
    /// The type's name at run time.
    const DTYPE: DType;
    /// Whether it has half precision.
    const HALF: bool = size_of::<Self>() < size_of::<f32>();

    /// Whether [`lane`](Self::lane) and [`rounded`](Self::rounded) become packed instructions in a loop.
    const PACKS: bool;

    /// The value.
    fn lane(self) -> Self::Lane;
    /// The nearest number, ties to even.
    fn rounded(lane: Self::Lane) -> Self;
    /// Widens `src` into `dst`, of the same length.
    fn widen<S: Simd>(simd: S, src: &[Self], dst: &mut [Self::Lane]);
    /// The values of `src`: itself, or widened into the beginning of `scratch`.
    fn lanes<'a, S: Simd>(simd: S, src: &'a [Self], scratch: &'a mut [Self::Lane]) -> &'a [Self::Lane];
    /// The first values of `src`, as many as a register has.
    ///
    /// # Panics
    /// Where there are fewer.
    fn register<V: Vector<Lane = Self::Lane>>(isa: V::Isa, src: &[Self]) -> V;
    /// Rounds `src` into `dst`, of the same length, to nearest even.
    fn narrow<S: Simd>(simd: S, src: &[Self::Lane], dst: &mut [MaybeUninit<Self>]);
    /// `dst[i] = f(src[i])`.
    fn map<S: Simd>(simd: S, src: &[Self], dst: &mut [MaybeUninit<Self>], f: impl Fn(Self::Lane) -> Self::Lane);
    /// `dst[i] = f(src[i])` from lanes; `src` is left in any state.
    fn map_lanes<S: Simd>(
        simd: S,
        src: &mut [Self::Lane],
        dst: &mut [MaybeUninit<Self>],
        f: impl Fn(Self::Lane) -> Self::Lane,
    );
    /// `dst[i] = f(src[i], with[i])` from lanes; `src` is left in any state.
    fn zip_lanes<S: Simd>(
        simd: S,
        src: &mut [Self::Lane],
        with: &[Self::Lane],
        dst: &mut [MaybeUninit<Self>],
        f: impl Fn(Self::Lane, Self::Lane) -> Self::Lane,
    );
    /// Writes as many results, by way of `scratch`, of the same length at least, where lanes are not elements.
    fn collect<S: Simd>(
        simd: S,
        results: impl Iterator<Item = Self::Lane>,
        scratch: &mut [Self::Lane],
        dst: &mut [MaybeUninit<Self>],
    );
    /// `buf[i] = f(buf[i])`.
    fn map_inplace<S: Simd>(simd: S, buf: &mut [Self], f: impl Fn(Self::Lane) -> Self::Lane);
    /// `dst[i] = f(a[i], b[i])`.
    fn zip_map<S: Simd>(
        simd: S,
        a: &[Self],
        b: &[Self],
        dst: &mut [MaybeUninit<Self>],
        f: impl Fn(Self::Lane, Self::Lane) -> Self::Lane,
    );
}

/// Registers that are worked on together, one instruction for each in turn, as those for one wait for one another:
/// `.cargo/config.toml` has the compiler do so.
const REGISTERS: usize = 4;
/// The most numbers that such registers have.
const MOST: usize = 64;
/// Fewer numbers than that are not worth filling registers up for.
const FEW: usize = 8;

#[inline(always)]
fn zip<F: Copy>(a: &[F], b: &[F], dst: &mut [MaybeUninit<F>], f: &impl Fn(F, F) -> F) {
    for ((d, &a), &b) in dst.iter_mut().zip(a).zip(b) {
        d.write(f(a, b));
    }
}

/// `dst[i] = f(a[i], b[i])`, in registers of `wide` numbers in all: the last ones overlap those before.
#[inline(always)]
fn zip_registers<F: Copy + Default>(wide: usize, a: &[F], b: &[F], dst: &mut [MaybeUninit<F>], f: impl Fn(F, F) -> F) {
    let len = dst.len();
    if len < FEW {
        zip(a, b, dst, &f);
        return;
    }
    if len < wide {
        let (mut left, mut right, mut results) = ([F::default(); MOST], [F::default(); MOST], [F::default(); MOST]);
        left[..len].copy_from_slice(a);
        right[..len].copy_from_slice(b);
        zip(&left[..wide], &right[..wide], as_uninit(&mut results[..wide]), &f);
        dst.write_copy_of_slice(&results[..len]);
        return;
    }
    let (whole, last) = (len / wide * wide, len - wide);
    zip(&a[..whole], &b[..whole], &mut dst[..whole], &f);
    if whole < len {
        zip(&a[last..], &b[last..], &mut dst[last..], &f);
    }
}

macro_rules! lane_element {
    ($float:ty, $dtype:expr, $register:ident) => {
        impl Element for $float {
            type Lane = $float;
            const DTYPE: DType = $dtype;
            const PACKS: bool = true;

            #[inline(always)]
            fn widen<S: Simd>(_: S, src: &[Self], dst: &mut [Self]) {
                dst.copy_from_slice(src);
            }

            #[inline(always)]
            fn lanes<'a, S: Simd>(_: S, src: &'a [Self], _: &'a mut [Self]) -> &'a [Self] {
                src
            }

            #[inline(always)]
            fn register<V: Vector<Lane = Self>>(isa: V::Isa, src: &[Self]) -> V {
                V::load(isa, src)
            }

            #[inline(always)]
            fn lane(self) -> Self {
                self
            }

            #[inline(always)]
            fn rounded(lane: Self) -> Self {
                lane
            }

            #[inline(always)]
            fn narrow<S: Simd>(_: S, src: &[Self], dst: &mut [MaybeUninit<Self>]) {
                dst.write_copy_of_slice(src);
            }

            #[inline(always)]
            fn map<S: Simd>(simd: S, src: &[Self], dst: &mut [MaybeUninit<Self>], f: impl Fn(Self) -> Self) {
                Self::zip_map(
                    simd,
                    src,
                    src,
                    dst,
                    #[inline(always)]
                    |x, _| f(x),
                );
            }

            #[inline(always)]
            fn map_lanes<S: Simd>(simd: S, src: &mut [Self], dst: &mut [MaybeUninit<Self>], f: impl Fn(Self) -> Self) {
                Self::map(simd, src, dst, f);
            }

            #[inline(always)]
            fn zip_lanes<S: Simd>(
                simd: S,
                src: &mut [Self],
                with: &[Self],
                dst: &mut [MaybeUninit<Self>],
                f: impl Fn(Self, Self) -> Self,
            ) {
                Self::zip_map(simd, src, with, dst, f);
            }

            #[inline(always)]
            fn collect<S: Simd>(
                _: S,
                results: impl Iterator<Item = Self>,
                _: &mut [Self],
                dst: &mut [MaybeUninit<Self>],
            ) {
                for (d, result) in dst.iter_mut().zip(results) {
                    d.write(result);
                }
            }

            #[inline(always)]
            fn map_inplace<S: Simd>(simd: S, buf: &mut [Self], f: impl Fn(Self) -> Self) {
                if !S::SLOW_MASKED_STORES {
                    // What is left after whole registers, before it is overwritten.
                    let (rest, tail) = (buf.len() % MOST, buf.len().min(MOST));
                    let (whole, start) = (buf.len() - rest, buf.len() - tail);
                    let mut last = [0.0; MOST];
                    if rest > 0 {
                        Self::map(simd, &buf[start..], as_uninit(&mut last[..tail]), &f);
                    }
                    for x in &mut buf[..whole] {
                        *x = f(*x);
                    }
                    buf[whole..].copy_from_slice(&last[tail - rest..tail]);
                    return;
                }
                // Through a copy: where `f` gives some numbers back as they are, the compiler would store the others only.
                let mut tile = [0.0; TILE];
                for buf in buf.chunks_mut(TILE) {
                    let tile = &mut tile[..buf.len()];
                    tile.copy_from_slice(buf);
                    Self::map(simd, tile, as_uninit(buf), &f);
                }
            }

            #[inline(always)]
            fn zip_map<S: Simd>(
                _: S,
                a: &[Self],
                b: &[Self],
                dst: &mut [MaybeUninit<Self>],
                f: impl Fn(Self, Self) -> Self,
            ) {
                zip_registers(REGISTERS * S::$register::LANES, a, b, dst, f);
            }
        }
    };
}

lane_element!(f32, DType::F32, F32);
lane_element!(f64, DType::F64, F64);

macro_rules! half_element {
    ($half:ty, $dtype:expr, $packs:expr, $load:ident, $lane:expr, $rounded:expr, $widen:expr, $narrow:expr) => {
        impl Element for $half {
            type Lane = f32;
            const DTYPE: DType = $dtype;
            const PACKS: bool = $packs;

            #[inline(always)]
            fn widen<S: Simd>(simd: S, src: &[Self], dst: &mut [f32]) {
                $widen(simd, src, dst);
            }

            #[inline(always)]
            fn lanes<'a, S: Simd>(simd: S, src: &'a [Self], scratch: &'a mut [f32]) -> &'a [f32] {
                let widened = &mut scratch[..src.len()];
                Self::widen(simd, src, widened);
                widened
            }

            #[inline(always)]
            fn register<V: Vector<Lane = f32>>(isa: V::Isa, src: &[Self]) -> V {
                V::$load(isa, src)
            }

            #[inline(always)]
            fn lane(self) -> f32 {
                $lane(self)
            }

            #[inline(always)]
            fn rounded(lane: f32) -> Self {
                $rounded(lane)
            }

            #[inline(always)]
            fn narrow<S: Simd>(simd: S, src: &[f32], dst: &mut [MaybeUninit<Self>]) {
                $narrow(simd, src, dst);
            }

            #[inline(always)]
            fn map<S: Simd>(simd: S, src: &[Self], dst: &mut [MaybeUninit<Self>], f: impl Fn(f32) -> f32) {
                let (mut wide, mut result) = ([0.0; TILE], [0.0; TILE]);
                for (src, dst) in src.chunks(TILE).zip(dst.chunks_mut(TILE)) {
                    let (wide, result) = (&mut wide[..src.len()], &mut result[..src.len()]);
                    Self::widen(simd, src, wide);
                    f32::map(simd, wide, as_uninit(result), &f);
                    Self::narrow(simd, result, dst);
                }
            }

            #[inline(always)]
            fn map_lanes<S: Simd>(simd: S, src: &mut [f32], dst: &mut [MaybeUninit<Self>], f: impl Fn(f32) -> f32) {
                f32::map_inplace(simd, src, f);
                Self::narrow(simd, src, dst);
            }

            #[inline(always)]
            fn zip_lanes<S: Simd>(
                simd: S,
                src: &mut [f32],
                with: &[f32],
                dst: &mut [MaybeUninit<Self>],
                f: impl Fn(f32, f32) -> f32,
            ) {
                for (x, &with) in src.iter_mut().zip(with) {
                    *x = f(*x, with);
                }
                Self::narrow(simd, src, dst);
            }

            #[inline(always)]
            fn collect<S: Simd>(
                simd: S,
                results: impl Iterator<Item = f32>,
                scratch: &mut [f32],
                dst: &mut [MaybeUninit<Self>],
            ) {
                let scratch = &mut scratch[..dst.len()];
                for (x, result) in scratch.iter_mut().zip(results) {
                    *x = result;
                }
                Self::narrow(simd, scratch, dst);
            }

            #[inline(always)]
            fn map_inplace<S: Simd>(simd: S, buf: &mut [Self], f: impl Fn(f32) -> f32) {
                let (mut wide, mut result) = ([0.0; TILE], [0.0; TILE]);
                for buf in buf.chunks_mut(TILE) {
                    let (wide, result) = (&mut wide[..buf.len()], &mut result[..buf.len()]);
                    Self::widen(simd, buf, wide);
                    f32::map(simd, wide, as_uninit(result), &f);
                    Self::narrow(simd, result, as_uninit(buf));
                }
            }

            #[inline(always)]
            fn zip_map<S: Simd>(
                simd: S,
                a: &[Self],
                b: &[Self],
                dst: &mut [MaybeUninit<Self>],
                f: impl Fn(f32, f32) -> f32,
            ) {
                let (mut left, mut right, mut result) = ([0.0; TILE], [0.0; TILE], [0.0; TILE]);
                for ((a, b), dst) in a.chunks(TILE).zip(b.chunks(TILE)).zip(dst.chunks_mut(TILE)) {
                    let (left, right, result) = (
                        &mut left[..a.len()],
                        &mut right[..b.len()],
                        &mut result[..a.len()],
                    );
                    Self::widen(simd, a, left);
                    Self::widen(simd, b, right);
                    f32::zip_map(simd, left, right, as_uninit(result), &f);
                    Self::narrow(simd, result, dst);
                }
            }
        }
    };
}

half_element!(
    f16,
    DType::F16,
    false,
    load_f16,
    f16::to_f32,
    f16::from_f32,
    |simd: S, src, dst| simd.widen_f16(src, dst),
    |simd: S, src, dst| simd.narrow_f16(src, dst)
);
half_element!(
    bf16,
    DType::Bf16,
    true,
    load_bf16,
    widened_bf16,
    rounded_bf16,
    |_: S, src, dst| widen_bf16(src, dst),
    |_: S, src, dst| narrow_bf16(src, dst)
);

#[inline(always)]
fn widened_bf16(x: bf16) -> f32 {
    f32::from_bits((x.to_bits() as u32) << 16)
}

/// Adds half a unit, and the bit that breaks ties to even; a NaN becomes torch's, `0x7fc0`.
#[inline(always)]
fn rounded_bf16(x: f32) -> bf16 {
    let bits = x.to_bits();
    let rounded = (bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16) as u16;
    bf16::from_bits(if x.is_nan() { 0x7fc0 } else { rounded })
}

#[inline(always)]
fn widen_bf16(src: &[bf16], dst: &mut [f32]) {
    for (d, s) in dst.iter_mut().zip(src) {
        *d = widened_bf16(*s);
    }
}

#[inline(always)]
fn narrow_bf16(src: &[f32], dst: &mut [MaybeUninit<bf16>]) {
    for (d, s) in dst.iter_mut().zip(src) {
        d.write(rounded_bf16(*s));
    }
}

/// Initialised memory as the destination of a function that writes every element.
#[inline(always)]
pub(crate) fn as_uninit<T>(buf: &mut [T]) -> &mut [MaybeUninit<T>] {
    // SAFETY: the layouts are the same, and this crate never writes an uninitialised value through such a slice.
    unsafe { core::slice::from_raw_parts_mut(buf.as_mut_ptr().cast(), buf.len()) }
}

/// A slice to be written in full. What holds numbers before could be left without by what the standard library has such
/// slices written with, so that only this crate's kernels see it as that.
#[derive(Debug)]
pub struct Unwritten<'a, T>(pub(crate) &'a mut [MaybeUninit<T>]);

impl<T> Unwritten<'_, T> {
    /// How many elements there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A slice of `len` elements at `data`.
    ///
    /// # Safety
    /// `data` is aligned and valid for writes of `len` elements for the lifetime, and nothing else uses it.
    #[cfg(feature = "raw")]
    pub unsafe fn from_raw(data: *mut T, len: usize) -> Self {
        // SAFETY: the caller's.
        Self(unsafe { core::slice::from_raw_parts_mut(data.cast(), len) })
    }
}

impl<T: Copy> Unwritten<'_, T> {
    /// Writes these elements.
    ///
    /// # Panics
    /// Where there are more or fewer.
    pub fn write(self, elements: &[T]) {
        self.0.write_copy_of_slice(elements);
    }
}

impl<'a, T> From<&'a mut [MaybeUninit<T>]> for Unwritten<'a, T> {
    fn from(slice: &'a mut [MaybeUninit<T>]) -> Self {
        Self(slice)
    }
}

impl<'a, T> From<&'a mut [T]> for Unwritten<'a, T> {
    fn from(slice: &'a mut [T]) -> Self {
        Self(as_uninit(slice))
    }
}

/// What kernels see of a slice whose type is known.
pub(crate) trait Seen {
    type As;
    fn seen(self) -> Self::As;
}

impl<T: ?Sized> Seen for &T {
    type As = Self;
    #[inline(always)]
    fn seen(self) -> Self {
        self
    }
}

impl<T: ?Sized> Seen for &mut T {
    type As = Self;
    #[inline(always)]
    fn seen(self) -> Self {
        self
    }
}

impl<'a, T> Seen for Unwritten<'a, T> {
    type As = &'a mut [MaybeUninit<T>];
    #[inline(always)]
    fn seen(self) -> Self::As {
        self.0
    }
}

macro_rules! views {
    ($($variant:ident($element:ty)),*; $($float:ident),*) => {
        /// A slice of any element type.
        #[derive(Clone, Copy, Debug)]
        pub enum View<'a> { $(#[doc = stringify!($element)] $variant(&'a [$element])),* }
        /// A mutable slice of any element type.
        #[derive(Debug)]
        pub enum ViewMut<'a> { $(#[doc = stringify!($element)] $variant(&'a mut [$element])),* }
        /// A slice of any element type, to be written in full.
        #[derive(Debug)]
        pub enum Target<'a> { $(#[doc = stringify!($element)] $variant(Unwritten<'a, $element>)),* }

        impl<'a> View<'a> {
            /// The type of the elements.
            pub fn dtype(&self) -> DType {
                match self { $(Self::$variant(_) => DType::$variant),* }
            }

            /// How many elements there are.
            pub fn len(&self) -> usize {
                match self { $(Self::$variant(slice) => slice.len()),* }
            }

            /// Whether there are none.
            pub fn is_empty(&self) -> bool {
                self.len() == 0
            }

            /// The first element, if it is a floating-point number.
            pub fn first(&self) -> Option<f64> {
                match self {
                    $(Self::$float(slice) => slice.first().map(|&x| Element::lane(x).into()),)*
                    _ => None,
                }
            }

            /// A view of `len` elements at `data`.
            ///
            /// # Safety
            /// `data` is aligned and valid for reads of `len` elements of `dtype` for `'a`, and nothing writes there.
            #[cfg(feature = "raw")]
            pub unsafe fn from_raw(dtype: DType, data: *const u8, len: usize) -> Self {
                // SAFETY: the caller's.
                match dtype { $(DType::$variant => Self::$variant(unsafe { core::slice::from_raw_parts(data.cast(), len) })),* }
            }
        }
        impl<'a> ViewMut<'a> {
            /// The type of the elements.
            pub fn dtype(&self) -> DType {
                match self { $(Self::$variant(_) => DType::$variant),* }
            }

            /// A mutable view of `len` elements at `data`.
            ///
            /// # Safety
            /// `data` is aligned and valid for reads and writes of `len` elements of `dtype` for `'a`, and nothing else
            /// uses it.
            #[cfg(feature = "raw")]
            pub unsafe fn from_raw(dtype: DType, data: *mut u8, len: usize) -> Self {
                // SAFETY: the caller's.
                match dtype { $(DType::$variant => Self::$variant(unsafe { core::slice::from_raw_parts_mut(data.cast(), len) })),* }
            }
        }
        impl<'a> Target<'a> {
            /// The type of the elements.
            pub fn dtype(&self) -> DType {
                match self { $(Self::$variant(_) => DType::$variant),* }
            }

            /// Makes every element the nearest floating-point number.
            ///
            /// # Panics
            /// Where the elements are others.
            pub fn fill(self, x: f64) {
                match self {
                    $(Self::$float(slice) => slice.0.fill(MaybeUninit::new(Element::rounded(Float::of(x)))),)*
                    _ => panic!("the elements are no floating-point numbers"),
                }
            }

            /// A destination of `len` elements at `data`.
            ///
            /// # Safety
            /// `data` is aligned and valid for writes of `len` elements of `dtype` for `'a`, and nothing else uses it.
            #[cfg(feature = "raw")]
            pub unsafe fn from_raw(dtype: DType, data: *mut u8, len: usize) -> Self {
                // SAFETY: the caller's.
                match dtype { $(DType::$variant => Self::$variant(unsafe { Unwritten::from_raw(data.cast(), len) })),* }
            }
        }
        $(
            impl sealed::Sealed for $element {}
            impl Typed for $element {
                fn view(slice: &[Self]) -> View<'_> { slice.into() }

                fn view_mut(slice: &mut [Self]) -> ViewMut<'_> { slice.into() }

                fn written(slice: &mut [Self]) -> Target<'_> { slice.into() }

                fn slice(view: View<'_>) -> Option<&[Self]> {
                    if let View::$variant(slice) = view { Some(slice) } else { None }
                }

                fn slice_mut(view: ViewMut<'_>) -> Option<&mut [Self]> {
                    if let ViewMut::$variant(slice) = view { Some(slice) } else { None }
                }

                fn target(target: Target<'_>) -> Option<Unwritten<'_, Self>> {
                    if let Target::$variant(slice) = target { Some(slice) } else { None }
                }
            }
            impl<'a> From<&'a [$element]> for View<'a> {
                fn from(slice: &'a [$element]) -> Self { Self::$variant(slice) }
            }
            impl<'a> From<&'a mut [$element]> for ViewMut<'a> {
                fn from(slice: &'a mut [$element]) -> Self { Self::$variant(slice) }
            }
            impl<'a> From<&'a mut [MaybeUninit<$element>]> for Target<'a> {
                fn from(slice: &'a mut [MaybeUninit<$element>]) -> Self { Self::$variant(slice.into()) }
            }
            impl<'a> From<&'a mut [$element]> for Target<'a> {
                fn from(slice: &'a mut [$element]) -> Self { Self::$variant(slice.into()) }
            }
        )*
    };
}

views!(
    F32(f32), F64(f64), Bf16(bf16), F16(f16), I64(i64), I32(i32), I16(i16), I8(i8), U8(u8), Bool(Bool);
    F32, F64, Bf16, F16
);

/// Numbers that are added, multiplied and divided in their own type, as torch has it: integers wrap around, and quotients of
/// integers are cut off.
pub(crate) trait Arithmetic: Copy + Default + PartialOrd + Send + Sync + 'static {
    fn plus(self, other: Self) -> Self;
    fn times(self, other: Self) -> Self;
    fn over(self, other: Self) -> Self;
}

macro_rules! arithmetic {
    ($($number:ty: $plus:path, $times:path, $over:path;)*) => {
        $(impl Arithmetic for $number {
            #[inline(always)]
            fn plus(self, other: Self) -> Self {
                $plus(self, other)
            }

            #[inline(always)]
            fn times(self, other: Self) -> Self {
                $times(self, other)
            }

            #[inline(always)]
            fn over(self, other: Self) -> Self {
                $over(self, other)
            }
        })*
    };
}
arithmetic!(
    f32: Add::add, Mul::mul, Div::div;
    f64: Add::add, Mul::mul, Div::div;
    i64: i64::wrapping_add, i64::wrapping_mul, i64::wrapping_div;
    i32: i32::wrapping_add, i32::wrapping_mul, i32::wrapping_div;
    i16: i16::wrapping_add, i16::wrapping_mul, i16::wrapping_div;
    i8: i8::wrapping_add, i8::wrapping_mul, i8::wrapping_div;
    u8: u8::wrapping_add, u8::wrapping_mul, u8::wrapping_div;
);

/// Elements that are compared as numbers of a type that has an order.
pub(crate) trait Compared: Copy + Default + Sync {
    type As: PartialOrd + Copy + Sync;
    /// None is greater.
    const GREATEST: Self::As;
    /// Some element.
    const ANY: Self;
    fn number(self) -> Self::As;
    fn is_nan(number: Self::As) -> bool;
}

macro_rules! compared {
    ($($element:ty, $any:expr; $of:ident, $greatest:ident, $x:ident => $number:expr),* $(,)?) => {
        $(impl Compared for $element {
            type As = $of;
            const GREATEST: $of = $of::$greatest;
            const ANY: Self = $any;
            #[inline(always)]
            fn number(self) -> $of {
                let $x = self;
                $number
            }
            #[inline(always)]
            #[allow(clippy::eq_op)]
            fn is_nan(number: $of) -> bool {
                number != number
            }
        })*
    };
}
compared!(
    f32, 0.0; f32, INFINITY, x => x,
    f64, 0.0; f64, INFINITY, x => x,
    bf16, bf16::ZERO; f32, INFINITY, x => f32::from_bits(u32::from(x.to_bits()) << 16),
    f16, f16::ZERO; f32, INFINITY, x => widened(x),
    i64, 0; i64, MAX, x => x,
    i32, 0; i32, MAX, x => x,
    i16, 0; i16, MAX, x => x,
    i8, 0; i8, MAX, x => x,
    u8, 0; u8, MAX, x => x,
    Bool, Bool(0); u8, MAX, x => x.0,
);

/// The same number, by what vectorizes on every CPU and never makes a subnormal, which a CPU may be set to take for 0.
#[inline(always)]
fn widened(x: f16) -> f32 {
    const LEAST: f32 = f32::from_bits(113 << 23); // 2^-14, the least number of full precision
    let bits = u32::from(x.to_bits());
    let (exponent, magnitude) = (bits & 0x7c00, (bits & 0x7fff) << 13);
    let normal = f32::from_bits(magnitude + (112 << 23));
    let subnormal = f32::from_bits(magnitude + (113 << 23)) - LEAST;
    let size = match exponent {
        0 => subnormal,
        0x7c00 => f32::from_bits(magnitude | 0x7f80_0000),
        _ => normal,
    };
    f32::from_bits(size.to_bits() | (bits & 0x8000) << 16)
}

/// A slice as integers of the same width and alignment.
fn as_bits<T, B>(slice: &[T]) -> &[B] {
    const { assert!(size_of::<T>() == size_of::<B>() && align_of::<T>() == align_of::<B>()) };
    // SAFETY: `T` is a plain number of that layout, and any bits are an integer; private to the conversions below.
    unsafe { core::slice::from_raw_parts(slice.as_ptr().cast(), slice.len()) }
}

/// The same to be changed; `T` takes any bits as well.
fn as_bits_mut<T, B>(slice: &mut [T]) -> &mut [B] {
    const { assert!(size_of::<T>() == size_of::<B>() && align_of::<T>() == align_of::<B>()) };
    // SAFETY: as above.
    unsafe { core::slice::from_raw_parts_mut(slice.as_mut_ptr().cast(), slice.len()) }
}

macro_rules! bits {
    ($($width:ident($bits:ty): $($variant:ident),*;)*) => {
        /// A slice whose elements are told apart by their width alone, for what moves them.
        #[derive(Clone, Copy, Debug)]
        pub(crate) enum Bits<'a> { $($width(&'a [$bits])),* }
        /// The same, mutable.
        pub(crate) enum BitsMut<'a> { $($width(&'a mut [$bits])),* }
        /// The same, to be written in full.
        pub(crate) enum BitsTarget<'a> { $($width(&'a mut [MaybeUninit<$bits>])),* }

        impl<'a> View<'a> {
            pub(crate) fn bits(self) -> Bits<'a> {
                match self { $($(Self::$variant(slice) => Bits::$width(as_bits(slice)),)*)* }
            }
        }
        impl<'a> ViewMut<'a> {
            pub(crate) fn bits(self) -> BitsMut<'a> {
                match self { $($(Self::$variant(slice) => BitsMut::$width(as_bits_mut(slice)),)*)* }
            }
        }
        impl<'a> Target<'a> {
            pub(crate) fn bits(self) -> BitsTarget<'a> {
                match self { $($(Self::$variant(slice) => BitsTarget::$width(as_bits_mut(slice.0)),)*)* }
            }
        }
    };
}

bits!(
    W1(u8): I8, U8, Bool;
    W2(u16): Bf16, F16, I16;
    W4(u32): F32, I32;
    W8(u64): F64, I64;
);

/// Integers as wide as elements.
pub(crate) trait Word: Copy + Default + Send + Sync + 'static {
    /// The lowest bits.
    fn truncated(bits: u64) -> Self;
    /// One of two, by operations on their bits: of a condition, the compiler may make loads from where it points to.
    fn choose(truth: bool, on: Self, off: Self) -> Self;
}

macro_rules! word {
    ($($bits:ty),*) => {
        $(impl Word for $bits {
            #[inline(always)]
            fn truncated(bits: u64) -> Self {
                bits as Self
            }

            #[inline(always)]
            fn choose(truth: bool, on: Self, off: Self) -> Self {
                let mask = (0 as Self).wrapping_sub(Self::from(truth));
                off ^ ((on ^ off) & mask)
            }
        })*
    };
}
word!(u8, u16, u32, u64);

/// Runs `$body` with the slices' width: `each_width!((src: Bits, dst: BitsTarget) => body(src, dst))`.
macro_rules! each_width {
    (($($slice:ident : $kind:ident),+) => $body:expr) => {
        match ($($slice,)+) {
            ($($kind::W1($slice),)+) => $body,
            ($($kind::W2($slice),)+) => $body,
            ($($kind::W4($slice),)+) => $body,
            ($($kind::W8($slice),)+) => $body,
            #[allow(unreachable_patterns)]
            _ => panic!("the slices differ in width"),
        }
    };
}
pub(crate) use each_width;

impl DType {
    /// The bits of a number as torch converts it to an element: rounded by way of single precision where that has half;
    /// `None` where it would overflow, or is no integer and should be one.
    pub(crate) fn bits_of(self, x: f64) -> Option<u64> {
        let integer = |low: f64, high: f64| (x >= low && x < high && x.trunc() == x).then_some(x as i64 as u64);
        let overflows = |finite: bool| x.is_finite() && !finite;
        match self {
            Self::F64 => Some(x.to_bits()),
            Self::F32 => (!overflows((x as f32).is_finite())).then_some(u64::from((x as f32).to_bits())),
            Self::Bf16 => {
                let rounded = rounded_bf16(x as f32);
                (!overflows(rounded.is_finite()) && !x.is_nan()).then_some(u64::from(rounded.to_bits()))
            }
            Self::F16 => {
                let rounded = f16::from_f32(x as f32);
                (!overflows(rounded.is_finite()) && !x.is_nan()).then_some(u64::from(rounded.to_bits()))
            }
            Self::I64 => integer(-(2.0_f64.powi(63)), 2.0_f64.powi(63)),
            Self::I32 => integer(f64::from(i32::MIN), 2.0_f64.powi(31)),
            Self::I16 => integer(f64::from(i16::MIN), f64::from(1 << 15)),
            Self::I8 => integer(f64::from(i8::MIN), f64::from(1 << 7)),
            Self::U8 => integer(0.0, f64::from(1 << 8)),
            Self::Bool => integer(0.0, 2.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::Baseline;

    #[test]
    fn every_half_is_compared_as_the_same_single() {
        for bits in 0..=u16::MAX {
            let x = f16::from_bits(bits);
            let (found, expected) = (x.number(), x.to_f32());
            assert!(
                found.to_bits() == expected.to_bits() || (found.is_nan() && expected.is_nan()),
                "{bits:x}"
            );
        }
    }

    #[test]
    fn bf16_rounds_as_the_half_crate() {
        for bits in (0..=u32::MAX).step_by(9973) {
            let x = f32::from_bits(bits);
            let mut rounded = [bf16::ZERO];
            bf16::narrow(Baseline, &[x], as_uninit(&mut rounded));
            assert!(
                rounded[0] == bf16::from_f32(x) || x.is_nan() && rounded[0].is_nan(),
                "{x}"
            );
        }
    }
}
