//! Every kernel of the list: forward and backward, in each element type, at a few sizes, with each instruction set of
//! this machine. `cargo bench -p rusttorch-core -- '^softmax/.*float32'` selects.

use core::{cell::LazyCell, time::Duration};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use half::{bf16, f16};
#[cfg(feature = "rayon")]
use rusttorch_core::parallel::Rayon;
use rusttorch_core::{
    dtype::{Element, Target, View, ViewMut},
    float::Float,
    isa::{Baseline, Isa},
    kernel::{
        AlongKernel, Exec, Geometry, Kernel, Kind, MAX_RESULTS, Parameter, RandomKernel, Shape, Slot, StepKernel,
    },
    ops,
    parallel::{Serial, Team},
    random::{Mt19937, Source},
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
            let result_len = outer * kernel.shape().result_dim(dim, &[]) * inner;
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
                    if !kernel.differentiates() {
                        continue;
                    }
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

/// One kernel along a dimension that has several results, or indices.
fn bench_along<T: Element>(c: &mut Criterion, kernel: &dyn AlongKernel)
where
    for<'a> View<'a>: From<&'a [T]>,
    for<'a> Target<'a>: From<&'a mut [T]>,
{
    let mut group = c.benchmark_group(kernel.name());
    for len in SIZES {
        let input = values::<T>(len);
        for (of, geometry) in geometries(kernel.shape(), len) {
            let result_len = geometry.outer * kernel.shape().result_dim(geometry.dim, &[]) * geometry.inner;
            let mut values = [(); MAX_RESULTS].map(|()| values::<T>(result_len));
            let mut indices = [(); MAX_RESULTS].map(|()| vec![0_i64; result_len]);
            group.throughput(Throughput::Bytes((len * size_of::<T>()) as u64));
            for isa in Isa::available() {
                let exec = Exec::new(isa, &Serial);
                let name = format!("forward/{}/{of}/{}/serial", T::DTYPE.name(), isa.name());
                group.bench_function(BenchmarkId::new(name, len), |b| {
                    b.iter(|| {
                        let kinds = kernel.results(false);
                        let mut places = values.iter_mut().zip(&mut indices);
                        let slots = core::array::from_fn(|at| {
                            let (values, indices) = places.next()?;
                            Some(match kinds.get(at)? {
                                Kind::Values => Slot::Values((&mut values[..]).into()),
                                Kind::Indices => Slot::Indices((&mut indices[..]).into()),
                            })
                        });
                        kernel.forward(&exec, (&input[..]).into(), slots, geometry, &[])
                    });
                });
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
            for (rng, key) in [("", None), ("/fast", Some(1))] {
                let name = format!("forward/{}/flat/{}/serial{rng}", T::DTYPE.name(), isa.name());
                group.bench_function(BenchmarkId::new(name, len), |b| {
                    b.iter(|| {
                        let (src, dst) = (View::from(&input[..]), Target::from(&mut result[..]));
                        let source = key.map_or(Source::Torch(&mut generator), Source::Key);
                        kernel.forward(&exec, source, src, dst, 1, None, &[]);
                    });
                });
            }
        }
    }
    group.finish();
}

/// Numbers that each optimizer's step accepts.
fn settings(name: &str) -> &'static [f64] {
    match name {
        "adagrad" => &[0.01, 0.0, 0.0, 1e-10, 0.0],
        "adam" => &[0.9, 0.999, 0.001, 0.01, 1e-8, 0.0, 1.0],
        "rmsprop" => &[0.01, 0.99, 1e-8, 0.0, 0.9, 0.0, 0.0],
        "sgd" => &[0.0, 0.9, 0.01, 0.0, 0.0, 0.0],
        _ => panic!("{name} has no settings here"),
    }
}

/// One optimizer's step, of one parameter and of as many small ones.
fn bench_step<T: Element>(c: &mut Criterion, kernel: &dyn StepKernel)
where
    for<'a> View<'a>: From<&'a [T]>,
    for<'a> ViewMut<'a>: From<&'a mut [T]>,
{
    let mut group = c.benchmark_group(kernel.name());
    let settings = settings(kernel.name());
    let kept = kernel.accepts(settings).expect("settings that it accepts");
    let kept = kept.into_iter().filter(|&kept| kept).count();
    for len in SIZES {
        for (of, parameter) in [("whole", len), ("pieces", len / 64)] {
            let (mut value, grad) = (values::<T>(len), values::<T>(len));
            // Averages of squares are positive.
            let mut state: Vec<Vec<T>> = (0..kept).map(|_| vec![value[0]; len]).collect();
            for isa in Isa::available() {
                let exec = Exec::new(isa, &Serial);
                let name = format!("step/{}/{of}/{}/serial", T::DTYPE.name(), isa.name());
                group.throughput(Throughput::Bytes(((3 + 2 * kept) * len * size_of::<T>()) as u64));
                group.bench_function(BenchmarkId::new(name, len), |b| {
                    b.iter(|| {
                        let mut state: Vec<_> = state.iter_mut().map(|state| state.chunks_mut(parameter)).collect();
                        let parameters = value.chunks_mut(parameter).zip(grad.chunks(parameter));
                        let parameters = parameters.map(|(value, grad)| Parameter {
                            value: value.into(),
                            grad: grad.into(),
                            state: state
                                .iter_mut()
                                .map(|state| state.next().expect("as long").into())
                                .collect(),
                            step: 100.0,
                        });
                        kernel.step(&exec, parameters.collect(), settings);
                    });
                });
            }
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
    for &kernel in ops::ALONG_KERNELS {
        bench_along::<f32>(c, kernel);
        bench_along::<bf16>(c, kernel);
    }
    for &kernel in ops::RANDOM_KERNELS {
        bench_random::<f32>(c, kernel);
        bench_random::<bf16>(c, kernel);
    }
    for &kernel in ops::STEP_KERNELS {
        bench_step::<f32>(c, kernel);
        bench_step::<bf16>(c, kernel);
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
