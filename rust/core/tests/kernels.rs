//! Every kernel, through the public interface: against naive references in double precision, in every type, at every
//! small length, and with the same bits whatever the instruction set, the team, and whether in place.

#[path = "kernels/call.rs"]
mod call;
mod common;

use std::collections::BTreeSet;

use arbitrary::{Arbitrary, Unstructured};
use common::{
    along, index,
    kernel::{Call, Case, Uneven},
    nary,
    number::{Number, numbers, random},
};
use half::{bf16, f16};
use proptest::prelude::*;
use rusttorch_core::{
    dtype::DType,
    isa::Isa,
    kernel::{AlongKernel, Exec, Geometry, Kernel, Kind, Shape},
    ops,
    parallel::{Serial, Team},
};

/// The parameters that each kernel is tried with.
fn variants(name: &str) -> &'static [&'static [f64]] {
    match name {
        "hardtanh" => &[&[], &[-0.5, 2.0]],
        "leaky_relu" => &[&[], &[0.2]],
        "elu" => &[&[], &[0.5], &[1.673_263_242_354_377_2, 1.050_700_987_355_480_5]],
        "celu" => &[&[], &[0.5]],
        "gelu" => &[&[], &[1.0]],
        "softplus" => &[&[], &[2.0, 10.0]],
        "pow" => &[&[], &[3.0], &[1.7], &[-0.3]],
        "logsumexp" => &[&[0.0], &[1.0]],
        _ => &[&[]],
    }
}

fn parameter(numbers: &[f64], index: usize, default: f64) -> f64 {
    numbers.get(index).copied().unwrap_or(default)
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

fn normal_cdf(x: f64) -> f64 {
    libm::erfc(-x / 2.0_f64.sqrt()) / 2.0
}

/// The argument of tanh in the approximation of gelu, and its slope.
fn gelu_inner(x: f64) -> (f64, f64) {
    let beta = (2.0 / std::f64::consts::PI).sqrt();
    (beta * (x + 0.044715 * x.powi(3)), beta * (1.0 + 3.0 * 0.044715 * x * x))
}

/// A pointwise kernel's function.
fn function(name: &str, numbers: &[f64], x: f64) -> f64 {
    let number = |index, default| parameter(numbers, index, default);
    match name {
        "relu" => x.max(0.0),
        "hardtanh" => x.clamp(number(0, -1.0), number(1, 1.0)),
        "leaky_relu" => x.max(0.0) + x.min(0.0) * number(0, 0.01),
        "hardswish" => x * (x + 3.0).clamp(0.0, 6.0) / 6.0,
        "hardsigmoid" => (x + 3.0).clamp(0.0, 6.0) / 6.0,
        "elu" => number(1, 1.0) * if x > 0.0 { x } else { number(0, 1.0) * x.exp_m1() },
        "celu" => {
            if x > 0.0 {
                x
            } else {
                number(0, 1.0) * (x / number(0, 1.0)).exp_m1()
            }
        }
        "gelu" if number(0, 0.0) == 0.0 => x * normal_cdf(x),
        "gelu" => x / 2.0 * (1.0 + gelu_inner(x).0.tanh()),
        "silu" => x * sigmoid(x),
        "mish" => x * x.exp().ln_1p().tanh(),
        "sigmoid" => sigmoid(x),
        "tanh" => x.tanh(),
        "softplus" if x * number(0, 1.0) > number(1, 20.0) => x,
        "softplus" => (x * number(0, 1.0)).exp().ln_1p() / number(0, 1.0),
        "softsign" => x / (1.0 + x.abs()),
        "logsigmoid" => -(-x).exp().ln_1p(),
        "exp" => x.exp(),
        "log" => x.ln(),
        "erf" => libm::erf(x),
        "pow" => x.powf(number(0, 2.0)),
        _ => panic!("{name} needs a reference here"),
    }
}

/// Its derivative, from what the kernel saves.
fn slope(name: &str, numbers: &[f64], saved: f64) -> f64 {
    let number = |index, default| parameter(numbers, index, default);
    let x = saved;
    match name {
        "relu" => f64::from(x > 0.0),
        "hardtanh" => f64::from(x > number(0, -1.0) && x < number(1, 1.0)),
        "leaky_relu" => {
            if x > 0.0 {
                1.0
            } else {
                number(0, 0.01)
            }
        }
        "hardswish" if x.abs() < 3.0 => x / 3.0 + 0.5,
        "hardswish" => f64::from(x > 0.0),
        // torch's sixth is single precision in every type.
        "hardsigmoid" => f64::from(x.abs() < 3.0) * f64::from(1.0_f32 / 6.0),
        "elu" => number(1, 1.0) * if x > 0.0 { 1.0 } else { number(0, 1.0) * x.exp() },
        "celu" => {
            if x > 0.0 {
                1.0
            } else {
                (x / number(0, 1.0)).exp()
            }
        }
        "gelu" if number(0, 0.0) == 0.0 => {
            normal_cdf(x) + x * (-x * x / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt()
        }
        "gelu" => {
            let (inner, slope) = gelu_inner(x);
            (1.0 + inner.tanh()) / 2.0 + x / 2.0 * (1.0 - inner.tanh().powi(2)) * slope
        }
        "silu" => sigmoid(x) * (1.0 + x * (1.0 - sigmoid(x))),
        "mish" => {
            let bend = x.exp().ln_1p().tanh();
            bend + x * sigmoid(x) * (1.0 - bend * bend)
        }
        "sigmoid" => saved * (1.0 - saved),
        "tanh" => 1.0 - saved * saved,
        "softplus" if x * number(0, 1.0) > number(1, 20.0) => 1.0,
        "softplus" => sigmoid(x * number(0, 1.0)),
        "softsign" => (1.0 + x.abs()).powi(-2),
        "logsigmoid" => sigmoid(-x),
        "exp" => saved,
        "log" => 1.0 / x,
        "erf" => 2.0 / std::f64::consts::PI.sqrt() * (-x * x).exp(),
        "pow" => number(0, 2.0) * x.powf(number(0, 2.0) - 1.0),
        _ => panic!("{name} needs a reference here"),
    }
}

fn variance(x: &[f64]) -> f64 {
    let mean = x.iter().sum::<f64>() / x.len() as f64;
    x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (x.len() as f64 - 1.0)
}

/// The result of a row, and its gradient from what the kernel saves.
fn row(name: &str, x: &[f64]) -> Vec<f64> {
    let max = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let log_sum = x.iter().map(|x| (x - max).exp()).sum::<f64>().ln() + max;
    match name {
        "softmax" => x.iter().map(|x| (x - log_sum).exp()).collect(),
        "log_softmax" => x.iter().map(|x| x - log_sum).collect(),
        "logsumexp" => vec![log_sum],
        "var" => vec![variance(x)],
        "std" => vec![variance(x).sqrt()],
        "glu" => x[..x.len() / 2]
            .iter()
            .zip(&x[x.len() / 2..])
            .map(|(value, gate)| value * sigmoid(*gate))
            .collect(),
        _ => panic!("{name} needs a reference here"),
    }
}

fn row_slope(name: &str, grad: &[f64], saved: &[f64]) -> Vec<f64> {
    let pairs = || grad.iter().zip(saved);
    match name {
        "softmax" => {
            let sum: f64 = pairs().map(|(grad, y)| grad * y).sum();
            pairs().map(|(grad, y)| (grad - sum) * y).collect()
        }
        "log_softmax" => {
            let sum: f64 = grad.iter().sum();
            pairs().map(|(grad, y)| grad - y.exp() * sum).collect()
        }
        "logsumexp" => row("softmax", saved).iter().map(|share| share * grad[0]).collect(),
        "glu" => {
            let (values, gates) = saved.split_at(saved.len() / 2);
            let values = values.iter().zip(gates).zip(grad);
            let of_value = values.clone().map(|((_, gate), grad)| grad * sigmoid(*gate));
            let of_gate = values.map(|((value, gate), grad)| grad * value * sigmoid(*gate) * sigmoid(-*gate));
            of_value.chain(of_gate).collect()
        }
        _ => panic!("{name} needs a reference here"),
    }
}

/// Applies `f` to every row of `x`, whose geometry is given, and puts the results where the kernel puts them.
fn by_row(
    x: &[&[f64]],
    geometry: Geometry,
    dims: &[usize],
    result: usize,
    f: impl Fn(&[Vec<f64>]) -> Vec<f64>,
) -> Vec<f64> {
    let Geometry { outer, inner, .. } = geometry;
    let mut all = vec![0.0; outer * result * inner];
    for o in 0..outer {
        for i in 0..inner {
            let rows: Vec<Vec<f64>> = (x.iter().zip(dims))
                .map(|(x, &dim)| (0..dim).map(|d| x[(o * dim + d) * inner + i]).collect())
                .collect();
            for (d, value) in f(&rows).into_iter().enumerate() {
                all[(o * result + d) * inner + i] = value;
            }
        }
    }
    all
}

/// Whether a kernel's functions are defined for positive numbers only.
fn is_positive(name: &str) -> bool {
    matches!(name, "log" | "pow")
}

fn input<T: Number>(name: &str, len: usize, seed: u64) -> Vec<T> {
    let wide = numbers(len, seed);
    wide.into_iter()
        .map(|x| T::of(if is_positive(name) { x.abs() + 0.05 } else { x }))
        .collect()
}

#[track_caller]
fn assert_close<T: Number>(what: &str, got: &[T], want: &[f64]) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (index, (got, want)) in got.iter().zip(want).enumerate() {
        let error = (got.wide() - want).abs();
        assert!(
            error <= T::TOLERANCE * want.abs().max(0.25),
            "{what}: at {index}: {got:?}, expected {want}"
        );
    }
}

/// Checks one geometry: the references, every instruction set, and the two teams.
fn check<T: Number>(kernel: &dyn Kernel, geometry: Geometry, numbers: &[f64]) {
    let name = kernel.name();
    if kernel.accepts(geometry, numbers).is_err() {
        return;
    }
    let what = format!("{name}{numbers:?}, {:?}, {geometry:?}", T::DTYPE);
    let x: Vec<T> = input(name, geometry.len(), geometry.len() as u64);
    let wide: Vec<f64> = x.iter().map(|x| x.wide()).collect();
    let result = kernel.shape().result_dim(geometry.dim, &[]);
    let saves_result = matches!(name, "relu" | "sigmoid" | "tanh" | "exp" | "softmax" | "log_softmax");
    let first = Exec::new(Isa::detect(), &Serial);

    let mut call = Call {
        kernel,
        geometry,
        numbers,
        grad: input("", geometry.outer * result * geometry.inner, 7),
        saved: x.clone(),
        x,
    };
    let y = call.forward(&first, T::of(f64::NAN));
    if saves_result {
        call.saved.clone_from(&y);
    }
    let gradient = call.backward(&first, T::of(f64::NAN));
    let Call { grad, saved, .. } = &call;

    let wide_grad: Vec<f64> = grad.iter().map(|x| x.wide()).collect();
    let wide_saved: Vec<f64> = saved.iter().map(|x| x.wide()).collect();
    if kernel.shape() == Shape::Pointwise {
        let want: Vec<f64> = wide.iter().map(|&x| function(name, numbers, x)).collect();
        assert_close(&what, &y, &want);
        let pairs = wide_grad.iter().zip(&wide_saved);
        let want: Vec<f64> = pairs.map(|(grad, &saved)| grad * slope(name, numbers, saved)).collect();
        assert_close(&format!("{what}, backward"), &gradient, &want);
    } else {
        let dim = geometry.dim;
        let want = by_row(&[&wide], geometry, &[dim], result, |rows| row(name, &rows[0]));
        assert_close(&what, &y, &want);
        let both = [&wide_grad[..], &wide_saved];
        if kernel.differentiates() {
            let want = by_row(&both, geometry, &[result, dim], dim, |rows| {
                row_slope(name, &rows[0], &rows[1])
            });
            assert_close(&format!("{what}, backward"), &gradient, &want);
        }
    }

    for isa in Isa::available() {
        for (team, of) in [(&Serial as &dyn Team, "serial"), (&Uneven(3), "uneven")] {
            let what = format!("{what}, {}, {of}", isa.name());
            call.assert_gives(&what, &Exec::new(isa, team), &y, &gradient);
        }
    }
}

fn check_all<T: Number>(shapes: &[Shape], geometries: &[Geometry]) {
    for kernel in ops::KERNELS.iter().filter(|kernel| shapes.contains(&kernel.shape())) {
        for numbers in variants(kernel.name()) {
            for &geometry in geometries {
                check::<T>(*kernel, geometry, numbers);
            }
        }
    }
}

const ALONG: [Shape; 3] = [Shape::Rows, Shape::Reduce, Shape::Glu];

fn small_rows() -> Vec<Geometry> {
    let mut all = Vec::new();
    for outer in [1, 3] {
        for inner in [1, 8, 9, 16, 31] {
            for dim in [1, 2, 3, 4, 6, 7, 15, 16, 17, 32, 34, 70] {
                all.push(Geometry { outer, dim, inner });
            }
        }
    }
    all
}

/// Beyond the sizes at which the team joins: short, long and very long rows, narrow and wide columns.
fn large_rows() -> Vec<Geometry> {
    [
        (301, 130, 1),
        (7, 5000, 1),
        (1, 66_000, 1),
        (2, 300, 33),
        (3, 20, 400),
        (1, 3, 9001),
    ]
    .map(|(outer, dim, inner)| Geometry { outer, dim, inner })
    .to_vec()
}

/// The numbers of calls.
fn along_numbers(name: &str) -> &'static [&'static [f64]] {
    match name {
        "sort" | "argsort" => &[&[0.0], &[1.0]],
        "topk" => &[&[1.0, 1.0, 1.0], &[1.0, 0.0, 0.0], &[3.0, 1.0, 1.0], &[3.0, 0.0, 1.0]],
        "kthvalue" => &[&[0.0, 1.0], &[0.0, 3.0]],
        // The lower and the higher element of a rank.
        "quantile" | "nanquantile" => &[&[0.0, 0.3, 1.0, 1.0], &[0.0, 0.7, 2.0, 1.0]],
        _ => &[&[]],
    }
}

/// Those that may refuse what they see, name any of equal elements, or do not sum up in one order.
const REFUSING: [&str; 4] = ["aminmax", "mode", "quantile", "nanquantile"];
const FREE: [&str; 5] = ["topk", "kthvalue", "median", "nanmedian", "mode"];
const SUMMING: [&str; 2] = ["cumsum", "logcumsumexp"];

/// What is so far of the numbers of a row.
fn so_far(name: &str, x: &[f64]) -> Vec<f64> {
    let add_exp = |so_far: f64, x: f64| {
        let (less, more) = if so_far.is_nan() || so_far < x {
            (so_far, x)
        } else {
            (x, so_far)
        };
        if less == more && less.is_infinite() {
            more
        } else {
            (less - more).exp().ln_1p() + more
        }
    };
    let (first, and): (f64, &dyn Fn(f64, f64) -> f64) = match name {
        "cumsum" => (0.0, &|sum, x| sum + x),
        "cumprod" => (1.0, &|product, x| product * x),
        _ => (f64::NEG_INFINITY, &add_exp),
    };
    let scanned = x.iter().scan(first, |so_far, &x| {
        *so_far = and(*so_far, x);
        Some(*so_far)
    });
    scanned.collect()
}

/// The results of a row: values, and indices.
fn along_row(name: &str, x: &[f64], numbers: &[f64]) -> (Vec<f64>, Vec<i64>) {
    // NaN is larger than any number.
    let order = |&a: &usize, &b: &usize| match (x[a].is_nan(), x[b].is_nan()) {
        (false, false) => x[a].partial_cmp(&x[b]).unwrap(),
        (a, b) => a.cmp(&b),
    };
    let sorted = |descending: bool, count: usize| {
        let mut places: Vec<usize> = (0..x.len()).collect();
        places.sort_by(|a, b| if descending { order(b, a) } else { order(a, b) });
        places.truncate(count);
        places
    };
    let all = |places: Vec<usize>| {
        (
            places.iter().map(|&at| x[at]).collect(),
            places.iter().map(|&at| at as i64).collect(),
        )
    };
    let first = |beats: &dyn Fn(f64, f64) -> bool| {
        (1..x.len()).fold(0, |best, at| {
            let further = beats(x[at], x[best]) || x[at].is_nan() && !x[best].is_nan();
            if further { at } else { best }
        })
    };
    let (largest, smallest) = (first(&|a, b| a > b), first(&|a, b| a < b));
    match name {
        "argmax" => (vec![], vec![largest as i64]),
        "argmin" => (vec![], vec![smallest as i64]),
        "max" => (vec![x[largest]], vec![largest as i64]),
        "min" => (vec![x[smallest]], vec![smallest as i64]),
        "count_nonzero" => (vec![], vec![x.iter().filter(|&&x| x != 0.0).count() as i64]),
        "sort" => all(sorted(numbers[0] != 0.0, x.len())),
        "argsort" => (vec![], all(sorted(numbers[0] != 0.0, x.len())).1),
        "msort" => (all(sorted(false, x.len())).0, vec![]),
        "topk" => all(sorted(numbers[1] != 0.0, numbers[0] as usize)),
        "cumsum" | "cumprod" | "logcumsumexp" => (so_far(name, x), vec![]),
        "cummax" | "cummin" => {
            let mut best = 0;
            let places = (0..x.len()).map(|at| {
                let better = if name == "cummax" {
                    x[at] >= x[best]
                } else {
                    x[at] <= x[best]
                };
                if x[at].is_nan() || better && !x[best].is_nan() {
                    best = at;
                }
                best
            });
            all(places.collect())
        }
        "kthvalue" => all(sorted(false, x.len())[numbers[1] as usize - 1..][..1].to_vec()),
        "median" | "nanmedian" | "quantile" | "nanquantile" => {
            let places = sorted(false, x.len());
            let finite = x.iter().filter(|x| !x.is_nan()).count();
            let has_nan = finite < x.len();
            if finite == 0 || has_nan && !name.starts_with("nan") {
                return all(vec![places[finite]]);
            }
            let rank = (finite - 1) as f64;
            let at = match numbers {
                [_, q, side, _] if *side == 1.0 => (q * rank).floor(),
                [_, q, _, _] => (q * rank).ceil(),
                _ => (rank / 2.0).floor(),
            };
            let (values, places) = all(vec![places[at as usize]]);
            (values, if name.ends_with("median") { places } else { vec![] })
        }
        "mode" => {
            let places = sorted(false, x.len());
            let runs = places.chunk_by(|&a, &b| x[a] == x[b]);
            let most = runs.fold(
                &places[..0],
                |most, run| if run.len() > most.len() { run } else { most },
            );
            all(most[..1].to_vec())
        }
        _ => panic!("{name} needs a reference here"),
    }
}

/// Numbers of which many are equal, some zeros have a sign, and a few are infinite or none.
fn ties<T: Number>(len: usize) -> Vec<T> {
    let special = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY];
    random(len, len as u64)
        .map(|bits| match bits % 601 {
            few @ 0..3 => special[few as usize],
            other => (other % 5) as f64 * if bits & 1024 == 0 { 0.5 } else { -0.5 },
        })
        .map(T::of)
        .collect()
}

/// Checks one geometry: the references, every instruction set, and the two teams. Of equal elements the first k are any.
fn check_along<T: Number>(kernel: &dyn AlongKernel, geometry: Geometry, numbers: &[f64], x: &[T]) {
    let name = kernel.name();
    if !kernel.takes(T::DTYPE) || kernel.accepts(geometry, numbers).is_err() {
        return;
    }
    if name == "cumprod" && matches!(T::DTYPE, DType::Bf16 | DType::F16) {
        return; // its products are of single precision, which overflow before those below
    }
    let what = format!("{name}, {:?}, {geometry:?}, {numbers:?}", T::DTYPE);
    let wide: Vec<f64> = x.iter().map(|x| x.wide()).collect();
    let count = kernel.shape().result_dim(geometry.dim, numbers);
    let of = |which: &dyn Fn((Vec<f64>, Vec<i64>)) -> Vec<f64>, kind| {
        if !kernel.results(false).contains(&kind) {
            return Vec::new();
        }
        // One result after the other.
        let results = if name == "aminmax" {
            vec!["min", "max"]
        } else {
            vec![name]
        };
        let each = results.into_iter().flat_map(|name| {
            by_row(&[&wide], geometry, &[geometry.dim], count, |rows| {
                which(along_row(name, &rows[0], numbers))
            })
        });
        each.collect()
    };
    let values = of(&|(values, _)| values, Kind::Values);
    let indices = of(
        &|(_, indices)| indices.into_iter().map(|at| at as f64).collect(),
        Kind::Indices,
    );
    for isa in Isa::available() {
        for team in [&Serial as &dyn Team, &Uneven(3)] {
            let exec = Exec::new(isa, team);
            let got = along::call(kernel, &exec, x, geometry, false, numbers, (T::of(7.0), -7));
            let Some(got) = got else {
                assert!(REFUSING.contains(&name), "{what}");
                continue;
            };
            let same = got.values.iter().zip(&values).all(|(got, want)| {
                let bits = got.bits() == T::of(*want).bits();
                let near = (got.wide() - T::of(*want).wide()).abs() <= 1e-9 + 1e-2 * want.abs();
                let equal = FREE.contains(&name) && got.wide() == *want || SUMMING.contains(&name) && near;
                bits || got.wide().is_nan() && want.is_nan() || equal
            });
            assert!(same && got.values.len() == values.len(), "{what}, {}", isa.name());
            let got: Vec<f64> = got.indices.iter().map(|&at| at as f64).collect();
            assert!(
                got == indices || FREE.contains(&name) && got.len() == indices.len(),
                "{what}, {}",
                isa.name()
            );
        }
    }
}

fn check_all_along<T: Number>(_: &[Shape], geometries: &[Geometry]) {
    for &kernel in ops::ALONG_KERNELS {
        for &geometry in geometries {
            for numbers in along_numbers(kernel.name()) {
                check_along(kernel, geometry, numbers, &ties::<T>(geometry.len()));
                check_along(kernel, geometry, numbers, &input::<T>("", geometry.len(), 3));
            }
        }
    }
}

/// Which of the zeros it is depends on the order in which stock torch compares.
#[test]
fn extremes_of_all_are_refused_between_zeros() {
    let exec = Exec::new(Isa::detect(), &Serial);
    for name in ["max", "min"] {
        let kernel = ops::find_along(name).unwrap();
        let run = |x: &[f32]| along::call(kernel, &exec, x, Geometry::flat(x.len()), true, &[], (7.0, -7));
        let towards = if name == "max" { -1.0 } else { 1.0 };
        assert!(run(&[towards, 0.0, -0.0]).is_none());
        assert!(run(&[towards, -0.0, -0.0]).is_some_and(|got| got.values[0].is_sign_negative()));
        assert_eq!(run(&[-towards, 0.0, -0.0]).unwrap().values, [-towards]);
    }
}

macro_rules! every_type {
    ($($test:ident => $check:ident($shapes:expr, $geometries:expr);)*) => {
        $(
            mod $test {
                use super::*;

                #[test]
                fn f32() {
                    $check::<f32>(&$shapes, &$geometries);
                }
                #[test]
                fn f64() {
                    $check::<f64>(&$shapes, &$geometries);
                }
                #[test]
                fn bf16() {
                    $check::<super::bf16>(&$shapes, &$geometries);
                }
                #[test]
                fn f16() {
                    $check::<super::f16>(&$shapes, &$geometries);
                }
            }
        )*
    };
}

every_type! {
    pointwise => check_all([Shape::Pointwise], (0..70).map(Geometry::flat).collect::<Vec<_>>());
    pointwise_with_team => check_all([Shape::Pointwise], [Geometry::flat(50_001)]);
    rows => check_all(ALONG, small_rows());
    rows_with_team => check_all(ALONG, large_rows());
    several_results => check_all_along(ALONG, small_rows());
    several_results_with_team => check_all_along(ALONG, large_rows());
}

#[test]
fn names_are_unique_and_found() {
    let mut all = BTreeSet::new();
    macro_rules! list {
        ($($list:ident: $find:ident),*) => {
            $(
                for kernel in ops::$list {
                    assert!(all.insert(kernel.name()), "{} is twice there", kernel.name());
                    let found = ops::$find(kernel.name()).expect(kernel.name());
                    assert_eq!(found.name(), kernel.name());
                }
                assert!(ops::$find("nothing").is_none() && ops::$find("").is_none());
            )*
            // Each by its own finder alone.
            $(
                let own: BTreeSet<_> = ops::$list.iter().map(|kernel| kernel.name()).collect();
                assert!(all.difference(&own).all(|name| ops::$find(name).is_none()));
            )*
        };
    }
    list!(
        KERNELS: find, ALONG_KERNELS: find_along, SELECT_KERNELS: find_select, INDEX_KERNELS: find_index,
        RANDOM_KERNELS: find_random, NARY_KERNELS: find_nary, STEP_KERNELS: find_step, CLIP_KERNELS: find_clip
    );
}

#[test]
fn unequal_types_and_lengths_panic() {
    let exec = Exec::new(Isa::detect(), &Serial);
    for kernel in ops::KERNELS {
        let geometry = Geometry {
            outer: 1,
            dim: 32,
            inner: 1,
        };
        let (x, mut wide, mut short) = ([1.0_f32; 32], [0.0_f64; 32], [0.0_f32; 3]);
        let mismatch = |run: &mut dyn FnMut()| {
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).expect_err(kernel.name());
        };
        mismatch(&mut || kernel.forward(&exec, f32::view(&x), f64::target(&mut wide), geometry, &[]));
        mismatch(&mut || kernel.forward(&exec, f32::view(&x), f32::target(&mut short), geometry, &[]));
    }
}

fn any_case() -> impl Strategy<Value = Case> {
    prop::collection::vec(any::<u8>(), 200).prop_map(|bytes| Case::arbitrary(&mut Unstructured::new(&bytes)).unwrap())
}

fn any_along_case() -> impl Strategy<Value = along::Case> {
    prop::collection::vec(any::<u8>(), 200)
        .prop_map(|bytes| along::Case::arbitrary(&mut Unstructured::new(&bytes)).unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    /// Whatever the numbers and their bits.
    #[test]
    fn any_call_gives_the_same_everywhere(case in any_case()) {
        case.check();
    }

    /// The same of those that have several results, or indices.
    #[test]
    fn any_call_along_a_dimension_gives_the_same_everywhere(case in any_along_case()) {
        case.check();
    }
}

/// Drawn by hand, to see that every kernel takes some.
#[test]
fn any_call_with_several_tensors_gives_the_same_everywhere() {
    let mut taken = BTreeSet::new();
    for seed in 0..40_000 {
        let bytes: Vec<u8> = random(40, seed).flat_map(u64::to_le_bytes).collect();
        let case = nary::Case::arbitrary(&mut Unstructured::new(&bytes)).unwrap();
        if case.check() {
            taken.insert(case.kernel);
        }
    }
    for kernel in ops::NARY_KERNELS {
        assert!(taken.contains(kernel.name()), "{} takes none of these", kernel.name());
    }
}

/// The same of those that move, choose or find elements.
#[test]
fn any_call_that_moves_elements_gives_what_it_should() {
    let mut taken = BTreeSet::new();
    for seed in 0..40_000 {
        let bytes: Vec<u8> = random(40, seed).flat_map(u64::to_le_bytes).collect();
        let case = index::Case::arbitrary(&mut Unstructured::new(&bytes)).unwrap();
        if case.check() {
            taken.insert(case.kernel);
        }
    }
    for kernel in ops::INDEX_KERNELS {
        assert!(taken.contains(kernel.name()), "{} takes none of these", kernel.name());
    }
}
