//! Elements as unsigned integers of the same order: torch's, in which all NaN are equal and larger than any number, and the
//! zeros of both signs are equal.

use std::{cell::RefCell, thread::LocalKey};

use half::{bf16, f16};

use crate::dtype::Bool;

/// An unsigned integer that elements are compared by.
pub(super) trait Key: Keyed<Key = Self> + Ord + Default {
    /// No key comes after it.
    const LAST: Self;
    /// A key with the place that its element is at: items of equal keys are in the order of their places.
    type Item: Item<Key = Self>;

    /// In the reverse order, if `reversed`.
    fn ordered(self, reversed: bool) -> Self;
    /// The key of these bits, zeros in front.
    fn of_bits(bits: u64) -> Self;
    /// Its bits, zeros in front.
    fn bits(self) -> u64;
    /// As a number that counts: one more, if so.
    fn and(self, more: bool) -> Self;
    /// What was counted.
    fn count(self) -> usize;
}

/// A key and a place below 2^32.
pub(super) trait Item: Copy + Ord + Default + Send + Sync + 'static {
    type Key: Key<Item = Self>;

    fn new(key: Self::Key, place: u32) -> Self;
    fn key(self) -> Self::Key;
    /// The key, zeros in front.
    fn bits(self) -> u64;
    fn place(self) -> u32;
    /// Memory for items that the thread keeps.
    fn kept() -> &'static LocalKey<RefCell<Vec<Vec<Self>>>>;
}

thread_local! {
    static NARROW: RefCell<Vec<Vec<u64>>> = const { RefCell::new(Vec::new()) };
    static WIDE: RefCell<Vec<Vec<Wide>>> = const { RefCell::new(Vec::new()) };
}

impl Key for u32 {
    type Item = u64;
    const LAST: Self = Self::MAX;

    #[inline(always)]
    fn and(self, more: bool) -> Self {
        self + Self::from(more)
    }

    #[inline(always)]
    fn count(self) -> usize {
        self as usize
    }

    #[inline(always)]
    fn ordered(self, reversed: bool) -> Self {
        self ^ u32::from(reversed).wrapping_neg()
    }

    #[inline(always)]
    fn of_bits(bits: u64) -> Self {
        bits as u32
    }

    #[inline(always)]
    fn bits(self) -> u64 {
        self.into()
    }
}

impl Item for u64 {
    type Key = u32;

    #[inline(always)]
    fn new(key: u32, place: u32) -> Self {
        Self::from(key) << 32 | Self::from(place)
    }

    #[inline(always)]
    fn key(self) -> u32 {
        (self >> 32) as u32
    }

    #[inline(always)]
    fn bits(self) -> u64 {
        self >> 32
    }

    #[inline(always)]
    fn place(self) -> u32 {
        self as u32
    }

    fn kept() -> &'static LocalKey<RefCell<Vec<Vec<Self>>>> {
        &NARROW
    }
}

impl Key for u64 {
    type Item = Wide;
    const LAST: Self = Self::MAX;

    #[inline(always)]
    fn and(self, more: bool) -> Self {
        self + Self::from(more)
    }

    #[inline(always)]
    fn count(self) -> usize {
        self as usize
    }

    #[inline(always)]
    fn ordered(self, reversed: bool) -> Self {
        self ^ u64::from(reversed).wrapping_neg()
    }

    #[inline(always)]
    fn of_bits(bits: u64) -> Self {
        bits
    }

    #[inline(always)]
    fn bits(self) -> u64 {
        self
    }
}

/// An item of a key of 64 bits.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Wide {
    key: u64,
    place: u32,
}

impl Item for Wide {
    type Key = u64;

    #[inline(always)]
    fn new(key: u64, place: u32) -> Self {
        Self { key, place }
    }

    #[inline(always)]
    fn key(self) -> u64 {
        self.key
    }

    #[inline(always)]
    fn bits(self) -> u64 {
        self.key
    }

    #[inline(always)]
    fn place(self) -> u32 {
        self.place
    }

    fn kept() -> &'static LocalKey<RefCell<Vec<Vec<Self>>>> {
        &WIDE
    }
}

/// A type whose elements have an order.
pub(super) trait Keyed: Copy + Send + Sync + 'static {
    type Key: Key;
    /// A quiet NaN, which no key comes after, if the type has one.
    const NAN: Option<Self> = None;

    /// Elements compare as their keys do.
    fn key(self) -> Self::Key;
    /// An element of this key, which is the one where the key is not shared.
    fn of(key: Self::Key) -> Self;
    /// Whether several elements have this key.
    fn is_shared(_: Self::Key) -> bool {
        false
    }
    /// The key of NaN, if the type has it.
    #[inline(always)]
    fn nan() -> Option<Self::Key> {
        Self::NAN.map(Self::key)
    }
    /// No number comes after it.
    #[inline(always)]
    fn greatest() -> Self::Key {
        Self::Key::LAST
    }
    /// Whether its key is less than one that is not after all numbers.
    #[inline(always)]
    fn is_below(self, bound: Self::Key) -> bool {
        self.key() < bound
    }
    /// Whether its key is greater than such a one.
    #[inline(always)]
    fn is_above(self, bound: Self::Key) -> bool {
        self.key() > bound
    }
    /// Whether it is the one that a key gives, of those that have its key.
    fn is_plain(self) -> bool {
        true
    }
}

/// Numbers of sign and magnitude: the keys of negative ones are complements.
macro_rules! float {
    ($float:ty, $bits:ty, $key:ty, $to_bits:path, $from_bits:path, $infinity:expr, { $($compares:tt)* }) => {
        impl Keyed for $float {
            type Key = $key;
            const NAN: Option<Self> = Some(Self::NAN);

            #[inline(always)]
            fn key(self) -> $key {
                const SIGN: $bits = 1 << (<$bits>::BITS - 1);
                let bits = $to_bits(self);
                let bits = if bits == SIGN { 0 } else { bits };
                let key = if bits & SIGN == 0 { bits | SIGN } else { !bits };
                let key = if bits & !SIGN > $to_bits($infinity) {
                    <$bits>::MAX
                } else {
                    key
                };
                key.into()
            }

            #[inline(always)]
            fn of(key: $key) -> Self {
                const SIGN: $bits = 1 << (<$bits>::BITS - 1);
                let key = key as $bits;
                $from_bits(if key & SIGN == 0 { !key } else { key ^ SIGN })
            }

            #[inline(always)]
            fn is_shared(key: $key) -> bool {
                const SIGN: $bits = 1 << (<$bits>::BITS - 1);
                key as $bits == SIGN || key as $bits == <$bits>::MAX
            }

            #[inline(always)]
            fn is_plain(self) -> bool {
                $to_bits(self) == $to_bits(Self::of(self.key()))
            }

            #[inline(always)]
            fn greatest() -> $key {
                $infinity.key()
            }

            $($compares)*
        }
    };
}

/// The same, of a type that the processor compares. Keys below that of -inf are those of NaN as well, which nothing is less
/// than.
macro_rules! native_float {
    ($float:ty, $bits:ty, $to_bits:path, $from_bits:path) => {
        float!($float, $bits, $bits, $to_bits, $from_bits, <$float>::INFINITY, {
            #[inline(always)]
            fn is_below(self, bound: $bits) -> bool {
                self < Self::of(bound)
            }

            // NaN is above all.
            #[inline(always)]
            #[allow(clippy::neg_cmp_op_on_partial_ord)]
            fn is_above(self, bound: $bits) -> bool {
                !(self <= Self::of(bound))
            }
        });
    };
}

native_float!(f32, u32, f32::to_bits, f32::from_bits);
native_float!(f64, u64, f64::to_bits, f64::from_bits);
float!(bf16, u16, u32, bf16::to_bits, bf16::from_bits, bf16::INFINITY, {});
float!(f16, u16, u32, f16::to_bits, f16::from_bits, f16::INFINITY, {});

/// Integers: with a sign, from the least one on.
macro_rules! integer {
    ($($integer:ty: $bits:ty, $key:ty;)*) => {
        $(impl Keyed for $integer {
            type Key = $key;

            #[inline(always)]
            fn key(self) -> $key {
                (self.wrapping_sub(<$integer>::MIN) as $bits).into()
            }

            #[inline(always)]
            fn of(key: $key) -> Self {
                (key as $integer).wrapping_add(<$integer>::MIN)
            }

            #[inline(always)]
            fn greatest() -> $key {
                <$integer>::MAX.key()
            }

            #[inline(always)]
            fn is_below(self, bound: $key) -> bool {
                self < Self::of(bound)
            }

            #[inline(always)]
            fn is_above(self, bound: $key) -> bool {
                self > Self::of(bound)
            }
        })*
    };
}

integer! {
    i64: u64, u64;
    i32: u32, u32;
    i16: u16, u32;
    i8: u8, u32;
    u8: u8, u32;
}

/// A key is its own.
macro_rules! own {
    ($($key:ty)*) => {
        $(impl Keyed for $key {
            type Key = $key;

            #[inline(always)]
            fn key(self) -> $key {
                self
            }

            #[inline(always)]
            fn of(key: $key) -> Self {
                key
            }
        })*
    };
}

own! { u32 u64 }

impl Keyed for Bool {
    type Key = u32;

    #[inline(always)]
    fn key(self) -> u32 {
        u32::from(self.0 != 0)
    }

    #[inline(always)]
    fn of(key: u32) -> Self {
        Self(key as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keys have the elements' order, and elements can be had back but for those that share one.
    fn check<T: Keyed + PartialOrd + core::fmt::Debug>(ascending: &[T], shared: &[T]) {
        for pair in ascending.windows(2) {
            assert!(pair[0].key() < pair[1].key(), "{pair:?}");
        }
        for &x in ascending {
            let is_shared = shared.contains(&x) || x.partial_cmp(&x).is_none();
            assert_eq!(T::is_shared(x.key()), is_shared, "{x:?}");
            assert!(is_shared || T::of(x.key()) == x, "{x:?}");
        }
    }

    #[test]
    fn keys_have_the_order_of_elements() {
        let floats = [
            f32::NEG_INFINITY,
            -2.0,
            -1e-42,
            0.0,
            1e-42,
            2.0,
            f32::INFINITY,
            f32::NAN,
        ];
        check(&floats, &[0.0]);
        check(&floats.map(f64::from), &[0.0]);
        let halves = [f32::NEG_INFINITY, -2.0, -1e-6, 0.0, 1e-6, 2.0, f32::INFINITY, f32::NAN];
        check(&halves.map(f16::from_f32), &[f16::ZERO]);
        check(&halves.map(bf16::from_f32), &[bf16::ZERO]);
        assert_eq!((-0.0_f32).key(), 0.0_f32.key());
        assert_eq!((-f64::NAN).key(), f64::NAN.key());
        check(&[i64::MIN, -1, 0, 1, i64::MAX], &[]);
        check(&[i32::MIN, -1, 0, 1, i32::MAX], &[]);
        check(&[i16::MIN, -1, 0, 1, i16::MAX], &[]);
        check(&[i8::MIN, -1, 0, 1, i8::MAX], &[]);
        check(&[0_u8, 1, 128, u8::MAX], &[]);
        assert!(Bool(0).key() < Bool(1).key() && Bool(1).key() == Bool(2).key());
    }

    fn parts<I: Item>(item: I) -> (I::Key, u64, u32) {
        (item.key(), item.bits(), item.place())
    }

    #[test]
    fn items_of_equal_keys_are_in_the_order_of_their_places() {
        assert!(u64::new(3, 7) < u64::new(3, 8) && u64::new(3, 8) < u64::new(4, 0));
        assert!(Wide::new(3, 7) < Wide::new(3, 8) && Wide::new(3, 8) < Wide::new(4, 0));
        assert_eq!(parts(u64::new(5, 9)), (5, 5, 9));
        assert_eq!(parts(Wide::new(5, 9)), (5, 5, 9));
        assert_eq!(5_u32.ordered(true), !5);
        assert_eq!(5_u64.ordered(false), 5);
    }
}
