//! Every kernel with few elements, by the calls that make their own results where they are of one tensor: what Miri gets
//! through, which has scalar code alone.

use std::{collections::BTreeSet, ops::Range, thread};

use arbitrary::{Arbitrary, Unstructured};
use half::{bf16, f16};
use rusttorch_core::{
    dtype::{Bool, Element, Typed},
    float::Float,
    isa::Isa,
    kernel::{AlongKernel, Exec, Geometry, Kernel},
    ops,
    parallel::Team,
    random::{Mt19937, Source},
};

use super::common::{index, nary, number::random};

/// Two threads.
struct Two;

impl Team for Two {
    fn threads(&self) -> usize {
        2
    }

    fn run(&self, len: usize, grain: usize, body: &(dyn Fn(Range<usize>) + Sync)) {
        let cut = len.div_ceil(2).max(grain).min(len);
        thread::scope(|scope| {
            scope.spawn(|| body(cut..len));
            body(0..cut);
        });
    }
}

const GEOMETRIES: [(usize, usize, usize); 4] = [(1, 9, 1), (2, 6, 1), (2, 4, 3), (1, 1, 1)];

fn elements<T: Element>(len: usize) -> Vec<T> {
    let each = random(len, 3).map(|bits| T::rounded(T::Lane::of((bits >> 54) as f64 / 256.0)));
    each.collect()
}

/// The result and the gradient; returns whether the kernel takes the call.
fn call<T: Element>(kernel: &'static dyn Kernel, exec: &Exec, geometry: Geometry) -> bool {
    let x: Vec<T> = elements(geometry.len());
    let Ok(y) = kernel.apply(exec, &x, geometry, &[]) else {
        return false;
    };
    if kernel.differentiates() {
        let saved = if y.len() == x.len() { &y } else { &x };
        let gradient = kernel
            .gradient(exec, &y, saved, geometry, &[])
            .unwrap_or_else(|reason| panic!("{}: {reason}", kernel.name()));
        assert_eq!(gradient.len(), x.len(), "{}", kernel.name());
    }
    assert!(kernel.apply(exec, &x[1..], geometry, &[]).is_err());
    assert!(kernel.gradient(exec, &y[1..], &x, geometry, &[]).is_err());
    assert!(kernel.apply(exec, &vec![0_i64; x.len()], geometry, &[]).is_err());
    true
}

#[test]
fn kernels_of_one_tensor() {
    let exec = Exec::new(Isa::detect(), &Two);
    for kernel in ops::KERNELS {
        let mut taken = false;
        for (outer, dim, inner) in GEOMETRIES {
            let geometry = Geometry { outer, dim, inner };
            taken |= call::<f32>(*kernel, &exec, geometry);
            taken |= call::<f64>(*kernel, &exec, geometry);
            taken |= call::<bf16>(*kernel, &exec, geometry);
            taken |= call::<f16>(*kernel, &exec, geometry);
        }
        assert!(taken, "{} takes none of these", kernel.name());
    }
}

/// The results along a dimension; returns whether the kernel takes the call.
fn call_along<T: Typed>(
    kernel: &'static dyn AlongKernel,
    exec: &Exec,
    x: &[T],
    geometry: Geometry,
    numbers: &[f64],
) -> bool {
    assert!(kernel.apply(exec, &x[1..], geometry, numbers).is_err());
    let Ok((values, places)) = kernel.apply(exec, x, geometry, numbers) else {
        return false;
    };
    values.len() + places.len() > 0
}

#[test]
fn kernels_along_a_dimension() {
    let exec = Exec::new(Isa::detect(), &Two);
    for kernel in ops::ALONG_KERNELS {
        let numbers: &[f64] = match kernel.name() {
            "sort" | "argsort" => &[0.0],
            "topk" => &[1.0, 1.0, 1.0],
            "kthvalue" => &[0.0, 1.0],
            "quantile" | "nanquantile" => &[0.0, 0.3, 1.0, 0.0],
            _ => &[],
        };
        let mut taken = false;
        // The last one is enough for both threads.
        for (outer, dim, inner) in GEOMETRIES.into_iter().chain([(20, 100, 1)]) {
            let geometry = Geometry { outer, dim, inner };
            taken |= call_along::<f32>(*kernel, &exec, &elements(geometry.len()), geometry, numbers);
            let truths: Vec<Bool> = (0..geometry.len()).map(|at| Bool((at % 3 == 0).into())).collect();
            taken |= call_along(*kernel, &exec, &truths, geometry, numbers);
        }
        assert!(taken, "{} takes none of these", kernel.name());
    }
}

#[test]
fn kernels_that_choose() {
    let exec = Exec::new(Isa::detect(), &Two);
    let x: Vec<i16> = (0..70).map(|i| i % 3).collect();
    let mask: Vec<Bool> = (0..70).map(|i| Bool(i % 2)).collect();
    for kernel in ops::SELECT_KERNELS {
        let of = kernel.has_mask().then_some(&mask[..]);
        let (values, places) = kernel
            .apply(&exec, &x, of, &[7, 10])
            .unwrap_or_else(|reason| panic!("{}: {reason}", kernel.name()));
        assert_eq!(
            (values.is_empty(), places.is_empty()),
            (!kernel.has_mask(), kernel.has_mask())
        );
        let other = if kernel.has_mask() { None } else { Some(&mask[..]) };
        assert!(kernel.apply(&exec, &x, other, &[7, 10]).is_err());
        assert!(kernel.apply(&exec, &x, of, &[7, 11]).is_err());
    }
}

#[test]
fn kernels_with_random_numbers() {
    let exec = Exec::new(Isa::detect(), &Two);
    let x: Vec<f32> = elements(36);
    for kernel in ops::RANDOM_KERNELS {
        for key in [None, Some(7)] {
            let mut generator = Mt19937::from_seed(0);
            let source = key.map_or(Source::Torch(&mut generator), Source::Key);
            let (y, mask) = kernel
                .apply(&exec, source, &x, &[2, 6, 3], &[0.5])
                .unwrap_or_else(|reason| panic!("{}: {reason}", kernel.name()));
            let gradient = kernel
                .gradient(&exec, &y, &mask, &[2, 6, 3], &[0.5])
                .unwrap_or_else(|reason| panic!("{}: {reason}", kernel.name()));
            assert_eq!(gradient.len(), x.len());
            assert!(kernel.apply(&exec, Source::Key(1), &x, &[2, 6], &[0.5]).is_err());
        }
    }
}

/// Calls at random, but those with many elements.
#[test]
fn kernels_of_several_tensors() {
    const MOST: usize = 300;
    const FEW: usize = 20;
    let mut taken = BTreeSet::new();
    for seed in 0..20_000 {
        // Miri is slow.
        if cfg!(miri) && taken.len() > FEW {
            break;
        }
        let bytes: Vec<u8> = random(40, seed).flat_map(u64::to_le_bytes).collect();
        let case = index::Case::arbitrary(&mut Unstructured::new(&bytes)).unwrap();
        if case.elements() <= MOST && case.check() {
            taken.insert(case.kernel);
        }
        let case = nary::Case::arbitrary(&mut Unstructured::new(&bytes)).unwrap();
        if case.elements() <= MOST && case.check() {
            taken.insert(case.kernel);
        }
    }
    assert!(taken.len() > FEW, "{taken:?}");
}
