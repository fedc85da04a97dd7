//! Every kernel of the list: forward and backward, in each element type, at a few sizes, with each instruction set of
//! this machine. `cargo bench -p rusttorch-core -- '^softmax/.*float32'` selects.

use core::{cell::LazyCell, time::Duration};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use half::{bf16, f16};
#[cfg(feature = "rayon")]
use rusttorch_core::parallel::Rayon;
use rusttorch_core::{
    dtype::{Element, Target, View},
    float::Float,
    isa::{Baseline, Isa},
    kernel::{Exec, Geometry, Kernel, RandomKernel, Shape},
    ops,
    parallel::{Serial, Team},
    random::Mt19937,
};

/// Within the first-level cache, within the second, and beyond.
const SIZES: [usize; 3] = [1 << 10, 1 << 16, 1 << 20];

const TEAMS: &[(&str, &dyn Team)] = &[
    ("serial", &Serial),
    #[cfg(feature = "rayon")]
    ("rayon", &Rayon),
];

/// `len` elements in the geometries that a kernel treats apart.
fn geometries(shape: Shape, len: usize) -> Vec<(&'static str, Geometry)> {
    let along = |dim, inner| Geometry {
        outer: len / (dim * inner),
        dim,
        inner,
    };
    if shape == Shape::Pointwise {
        vec![("flat", Geometry::flat(len))]
    } else {
        vec![("rows", along(256, 1)), ("columns", along(16, 64))]
    }
}

/// Numbers between -6 and 6.
fn values<T: Element>(len: usize) -> Vec<T> {
    let mut state = 1_u64;
    let lanes: Vec<T::Lane> = (0..len)
        .map(|_| {
            state = state
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            T::Lane::of((state >> 40) as f64 / (1 << 24) as f64 * 12.0 - 6.0)
        })
        .collect();
    let mut values = Vec::with_capacity(len);
    T::narrow(Baseline, &lanes, &mut values.spare_capacity_mut()[..len]);
    // SAFETY: `narrow` wrote every element.
    unsafe { values.set_len(len) };
    values
}

/// One kernel with one element type.
fn bench<T: Element>(c: &mut Criterion, kernel: &dyn Kernel)
where
    for<'a> View<'a>: From<&'a [T]>,
    for<'a> Target<'a>: From<&'a mut [T]>,
{
    let mut group = c.benchmark_group(kernel.name());
    for len in SIZES {
        for (of, geometry) in geometries(kernel.shape(), len) {
            let Geometry { outer, dim, inner } = geometry;
            let result_len = outer * kernel.shape().result_dim(dim) * inner;
            // Made when a benchmark is selected. What the backward pass is given as saved does not change its time.
            let input = LazyCell::new(|| values::<T>(len));
            let grad = LazyCell::new(|| values::<T>(result_len));
            for isa in Isa::available() {
                for &(team, of_team) in TEAMS {
                    let exec = Exec::new(isa, of_team);
                    let id = |pass| {
                        let name = format!("{pass}/{}/{of}/{}/{team}", T::DTYPE.name(), isa.name());
                        BenchmarkId::new(name, len)
                    };
                    let bytes = |elements: usize| Throughput::Bytes((elements * size_of::<T>()) as u64);

                    group.throughput(bytes(len + result_len));
                    group.bench_function(id("forward"), |b| {
                        let mut result = grad.clone();
                        b.iter(|| {
                            let (src, dst) = (View::from(&input[..]), Target::from(&mut result[..]));
                            kernel.forward(&exec, src, dst, geometry, &[]);
                        });
                    });
                    group.throughput(bytes(result_len + 2 * len));
                    group.bench_function(id("backward"), |b| {
                        let mut gradient = input.clone();
                        b.iter(|| {
                            let (grad, saved) = (View::from(&grad[..]), View::from(&input[..]));
                            kernel.backward(&exec, grad, saved, (&mut gradient[..]).into(), geometry, &[]);
                        });
                    });
                }
            }
        }
    }
    group.finish();
}

/// One kernel with random numbers, forward: its backward pass is a multiplication.
fn bench_random<T: Element>(c: &mut Criterion, kernel: &dyn RandomKernel)
where
    for<'a> View<'a>: From<&'a [T]>,
    for<'a> Target<'a>: From<&'a mut [T]>,
{
    let mut group = c.benchmark_group(kernel.name());
    for len in SIZES {
        let (input, mut result) = (values::<T>(len), values::<T>(len));
        group.throughput(Throughput::Bytes((2 * len * size_of::<T>()) as u64));
        for isa in Isa::available() {
            let (exec, mut generator) = (Exec::new(isa, &Serial), Mt19937::from_seed(1));
            let name = format!("forward/{}/flat/{}/serial", T::DTYPE.name(), isa.name());
            group.bench_function(BenchmarkId::new(name, len), |b| {
                b.iter(|| {
                    let (src, dst) = (View::from(&input[..]), Target::from(&mut result[..]));
                    kernel.forward(&exec, &mut generator, src, dst, None, &[]);
                });
            });
        }
    }
    group.finish();
}

fn kernels(c: &mut Criterion) {
    for &kernel in ops::KERNELS {
        bench::<f32>(c, kernel);
        bench::<f64>(c, kernel);
        bench::<bf16>(c, kernel);
        bench::<f16>(c, kernel);
    }
    for &kernel in ops::RANDOM_KERNELS {
        bench_random::<f32>(c, kernel);
        bench_random::<bf16>(c, kernel);
    }
}

criterion_group! {
    name = benches;
    // There are many, and a kernel's time varies little.
    config = Criterion::default()
        .without_plots()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_millis(500));
    targets = kernels
}
criterion_main!(benches);
