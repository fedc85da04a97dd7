//! What chooses elements, through the public interface: against naive loops, in every type, at every small length and
//! around the edges of blocks, with the same results whatever the instruction set and the team.

use std::{fmt::Debug, ops::Range};

use half::{bf16, f16};
use rusttorch_core::{
    chosen::Chosen,
    dtype::{Bool, Target, View},
    isa::Isa,
    kernel::{Exec, SelectKernel, Slot},
    ops,
    parallel::{Serial, Team},
};

/// Hands out three ranges, the last one first.
struct Thirds;

impl Team for Thirds {
    fn threads(&self) -> usize {
        3
    }

    fn run(&self, len: usize, grain: usize, body: &(dyn Fn(Range<usize>) + Sync)) {
        let each = len.div_ceil(3).max(grain);
        for start in (0..len).step_by(each.max(1)).rev() {
            body(start..len.min(start + each));
        }
    }
}

/// Numbers from 0 to 999 that look random.
fn random(len: usize, seed: u64) -> Vec<u64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) % 1000
    };
    std::iter::repeat_with(next).take(len).collect()
}

/// An element type: some of its elements that are false, and some that are true.
trait Sample: Copy + PartialEq + Debug + 'static {
    const FALSE: &'static [Self];
    const TRUE: &'static [Self];
    fn bytes(self) -> Vec<u8>;
    fn view(slice: &[Self]) -> View<'_>;
    fn target(slice: &mut [Self]) -> Target<'_>;
}

macro_rules! sample {
    ($($type:ty: $false:expr, $true:expr, $bytes:expr;)*) => {
        $(
            impl Sample for $type {
                const FALSE: &'static [Self] = &$false;
                const TRUE: &'static [Self] = &$true;
                fn bytes(self) -> Vec<u8> {
                    $bytes(self)
                }
                fn view(slice: &[Self]) -> View<'_> {
                    slice.into()
                }
                fn target(slice: &mut [Self]) -> Target<'_> {
                    slice.into()
                }
            }
        )*
    };
}

sample! {
    f32: [0.0, -0.0], [1.0, -2.5, f32::NAN, f32::INFINITY, 1e-45, f32::MIN_POSITIVE], |x: f32| x.to_ne_bytes().to_vec();
    f64: [0.0, -0.0], [1.0, -2.5, f64::NAN, f64::INFINITY, 5e-324, 1e-300], |x: f64| x.to_ne_bytes().to_vec();
    bf16: [bf16::ZERO, bf16::NEG_ZERO], [bf16::ONE, bf16::NAN, bf16::from_bits(1)], |x: bf16| x.to_ne_bytes().to_vec();
    f16: [f16::ZERO, f16::NEG_ZERO], [f16::ONE, f16::NAN, f16::from_bits(0x8001)], |x: f16| x.to_ne_bytes().to_vec();
    i64: [0], [1, -1, i64::MIN, 1 << 32], |x: i64| x.to_ne_bytes().to_vec();
    i32: [0], [1, -1, i32::MIN, 1 << 16], |x: i32| x.to_ne_bytes().to_vec();
    i16: [0], [1, -1, i16::MIN, 256], |x: i16| x.to_ne_bytes().to_vec();
    i8: [0], [1, -1, i8::MIN], |x: i8| x.to_ne_bytes().to_vec();
    u8: [0], [1, 2, 128, 255], |x: u8| vec![x];
    Bool: [Bool(0)], [Bool(1)], |x: Bool| vec![x.0];
}

/// Elements of which about so many in 1000 are true.
fn elements<T: Sample>(len: usize, share: u64, seed: u64) -> Vec<T> {
    let pick = |from: &[T], index: usize| from[index % from.len()];
    let choose = |(index, number)| pick(if number < share { T::TRUE } else { T::FALSE }, index);
    random(len, seed).into_iter().enumerate().map(choose).collect()
}

/// Each team, with each instruction set.
fn each_exec(check: impl Fn(&Exec, &str)) {
    for isa in Isa::available() {
        check(&Exec::new(isa, &Serial), isa.name());
        check(&Exec::new(isa, &Thirds), isa.name());
    }
}

fn kernel(name: &str) -> &'static dyn SelectKernel {
    ops::find_select(name).expect("a kernel of the list")
}

fn check_nonzero<T: Sample>(x: &[T], sizes: &[i64]) {
    let is_true = |x: &T| !T::FALSE.contains(x);
    let places: Vec<i64> = (0..)
        .zip(x)
        .filter(|(_, x)| is_true(x))
        .map(|(place, _)| place)
        .collect();
    let mut expected = Vec::new();
    for dim in 0..sizes.len() {
        let inner: i64 = sizes[dim + 1..].iter().product();
        expected.extend(places.iter().map(|place| place / inner % sizes[dim]));
    }
    each_exec(|exec, isa| {
        let kernel = kernel("nonzero");
        let chosen = Chosen::count(exec, T::view(x));
        assert_eq!(chosen.total(), places.len(), "{isa} {sizes:?}");
        let mut result = vec![-1; expected.len()];
        kernel.write(
            exec,
            T::view(x),
            &chosen,
            Slot::Indices((&mut result[..]).into()),
            sizes,
        );
        assert!(result == expected, "{isa} {sizes:?}");
    });
}

fn check_masked<T: Sample>(x: &[T], mask: &[Bool]) {
    let bytes = |x: &[T]| x.iter().flat_map(|x| x.bytes()).collect::<Vec<u8>>();
    let expected: Vec<T> = x
        .iter()
        .zip(mask)
        .filter(|(_, mask)| mask.0 != 0)
        .map(|(&x, _)| x)
        .collect();
    each_exec(|exec, isa| {
        let kernel = kernel("masked_select");
        let chosen = Chosen::count(exec, mask.into());
        assert_eq!(chosen.total(), expected.len(), "{isa}");
        let mut result = vec![x[0]; expected.len()];
        kernel.write(exec, T::view(x), &chosen, Slot::Values(T::target(&mut result)), &[]);
        assert!(bytes(&result) == bytes(&expected), "{isa} {}", x.len());
    });
}

fn check_type<T: Sample>() {
    let lengths = (1..140).chain([1023, 1024, 1025, 2047, 2049, 4096, 5000]);
    for (seed, len) in (1..).zip(lengths) {
        for share in [0, 10, 500, 990, 1000] {
            let x = elements::<T>(len, share, seed);
            check_nonzero(&x, &[len as i64]);
            check_masked(&x, &elements::<Bool>(len, share, seed + 1));
        }
    }
    for share in [10, 500, 990] {
        let x = elements::<T>(300_007, share, 7);
        check_nonzero(&x, &[300_007]);
        check_masked(&x, &elements::<Bool>(300_007, share, 8));
    }
}

macro_rules! every_type {
    ($($name:ident: $type:ty),* $(,)?) => {
        $(
            #[test]
            fn $name() {
                check_type::<$type>();
            }
        )*
    };
}

every_type! {
    singles: f32, doubles: f64, brain_halves: bf16, halves: f16, integers_64: i64, integers_32: i32, integers_16: i16,
    integers_8: i8, bytes: u8, bools: Bool,
}

/// Dimensions shorter and longer than a block, and those of size 1.
#[test]
fn places_have_every_dimension() {
    let shapes: [&[i64]; 16] = [
        &[1, 1],
        &[3, 5],
        &[5000, 1],
        &[1, 5000],
        &[2500, 2],
        &[2, 2500],
        &[70, 63],
        &[3, 1023],
        &[3, 1024],
        &[3, 1025],
        &[17, 13, 11],
        &[2, 1, 3000, 1],
        &[1500, 2, 2],
        &[2, 2, 1500],
        &[2; 12],
        &[1, 2, 3, 4, 5, 6, 7],
    ];
    for (seed, sizes) in (1..).zip(shapes) {
        for share in [0, 10, 500, 1000] {
            let len = sizes.iter().product::<i64>() as usize;
            check_nonzero(&elements::<f32>(len, share, seed), sizes);
        }
    }
    check_nonzero(&elements::<u8>(700_000, 300, 3), &[70, 100, 100]);
}

#[test]
fn unequal_lengths_and_types_panic() {
    let exec = Exec::new(Isa::detect(), &Serial);
    let x = [1.0_f32; 70];
    let chosen = Chosen::count(&exec, f32::view(&x));
    let panics = |name: &str, len: usize, values: bool, sizes: &[i64]| {
        let (mut places, mut elements) = (vec![0_i64; len], vec![0.0_f32; len]);
        let slot = if values {
            Slot::Values(f32::target(&mut elements))
        } else {
            Slot::Indices((&mut places[..]).into())
        };
        let run = || kernel(name).write(&exec, f32::view(&x), &chosen, slot, sizes);
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).is_err()
    };
    assert!(!panics("nonzero", 70, false, &[70]));
    assert!(!panics("masked_select", 70, true, &[]));
    assert!(panics("nonzero", 69, false, &[70]));
    assert!(panics("nonzero", 70, false, &[71]));
    assert!(panics("nonzero", 0, false, &[]));
    assert!(panics("nonzero", 70, true, &[70]));
    assert!(panics("masked_select", 69, true, &[]));
    assert!(panics("masked_select", 70, false, &[]));
}
