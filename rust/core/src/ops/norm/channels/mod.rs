//! Normalisation of channels, or of groups of them, by their mean and variance: of planes that lie apart in memory, or of
//! columns.

pub(super) mod columns;
pub(super) mod planes;

use core::mem::MaybeUninit;

use crate::{
    dtype::{DType, Target, Typed, Unwritten, View, ViewMut},
    float::Float,
    isa::Simd,
    kernel::{Elements, Exec, MAX_OPERANDS, Operand, each_type},
    ops::{
        kept::keep,
        moments::Moments,
        reduction::lanes::{First, MOST_SUMS, Register, RowElement, RowLane, fold, sum},
    },
    vector::Vector,
};

/// Floating-point instructions of one element, for the choice of threads.
const FLOPS: usize = 8;
/// The most registers of partial sums of a kind.
const REGISTERS: usize = 4;
/// Partial sums in double precision.
const PARTS: usize = 16;
/// Numbers, or rows, whose sum is taken by itself, so that the error of a sum of many stays small.
const TERMS: usize = 16;
/// Numbers that are kept of a group for its gradient: see [`Centre`].
pub(super) const KEPT: usize = 3;

/// Where the numbers of groups lie in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Planes of neighbouring elements.
    Planes(planes::Planes),
    /// Rows of so many channels.
    Columns(usize),
}

/// The mean of a group and the reciprocal of its deviation.
#[derive(Clone, Copy, Debug)]
struct Centre<F> {
    /// The mean, rounded, and what is missing: where it is large, one number of single precision would not do.
    high: F,
    low: f64,
    scale: f64,
}

impl<F: RowLane> Centre<F> {
    #[inline(always)]
    fn of(moments: Moments, eps: f64) -> Self {
        let high = F::of(moments.mean);
        Self {
            high,
            low: moments.mean - high.into(),
            scale: 1.0 / (moments.squares / moments.count + eps).sqrt(),
        }
    }

    /// What a result `(x - high) * scale + shift` is computed with.
    #[inline(always)]
    fn line(self, weight: f64, bias: f64) -> Line<F> {
        let scale = self.scale * weight;
        Line {
            high: self.high,
            scale: F::of(scale),
            shift: F::of(bias - self.low * scale),
        }
    }

    /// What the gradients of a group's numbers are computed with, from the sums over it of the weighted gradients of the
    /// results, and of these times the distance of the input from `high`.
    #[inline(always)]
    fn gradient(self, count: f64, [first, second]: [f64; 2]) -> Gradient<F> {
        let along = -self.scale.powi(3) * (second - self.low * first) / count;
        Gradient {
            high: self.high,
            along: F::of(along),
            common: F::of(-self.scale * first / count - along * self.low),
        }
    }
}

/// See [`Centre::line`].
#[derive(Clone, Copy)]
struct Line<F> {
    high: F,
    scale: F,
    shift: F,
}

/// `grad * scale + (x - high) * along + common`.
#[derive(Clone, Copy)]
struct Gradient<F> {
    high: F,
    along: F,
    common: F,
}

impl<F: RowLane> Gradient<F> {
    #[inline(always)]
    fn of(&self, grad: F, scale: F, x: F) -> F {
        grad.mul_add(scale, (x - self.high).mul_add(self.along, self.common))
    }
}

/// Writes what the gradient needs of groups.
fn keep_all<F: RowLane>(kept: &mut [MaybeUninit<F>], moments: &[Moments], eps: f64) {
    assert_eq!(kept.len(), KEPT * moments.len(), "numbers of each group");
    let (high, others) = kept.split_at_mut(moments.len());
    let (low, scale) = others.split_at_mut(moments.len());
    for (group, &moments) in moments.iter().enumerate() {
        let centre = Centre::<F>::of(moments, eps);
        keep(high, group, centre.high);
        keep(low, group, F::of(centre.low));
        keep(scale, group, F::of(centre.scale));
    }
}

/// What was kept of a group.
fn kept<F: RowLane>(kept: &[F], group: usize) -> Centre<F> {
    let groups = kept.len() / KEPT;
    Centre {
        high: kept[group],
        low: kept[groups + group].into(),
        scale: kept[2 * groups + group].into(),
    }
}

/// A number of each channel, by what results are scaled and shifted.
#[derive(Clone, Copy)]
struct Affine<'a> {
    weight: Option<&'a [f64]>,
    bias: Option<&'a [f64]>,
}

impl Affine<'_> {
    #[inline(always)]
    fn weight(&self, channel: usize) -> f64 {
        self.weight.map_or(1.0, |weight| weight[channel])
    }

    #[inline(always)]
    fn bias(&self, channel: usize) -> f64 {
        self.bias.map_or(0.0, |bias| bias[channel])
    }
}

/// Adds as many numbers as there are partial sums: their distances from `centre`, and these squared.
#[inline(always)]
fn add_distances<F: RowLane, S: Simd>(
    simd: S,
    sums: &mut [[Register<F, S>; REGISTERS]; 2],
    x: &[F],
    centre: Register<F, S>,
) {
    let (lanes, parts) = (Register::<F, S>::LANES, F::SUMS / 2);
    let x = &x[..parts];
    for i in 0..REGISTERS {
        if i * lanes >= parts {
            break;
        }
        let apart = Register::<F, S>::load(simd, &x[i * lanes..]).sub(centre);
        sums[0][i] = sums[0][i].add(apart);
        sums[1][i] = apart.mul_add(apart, sums[1][i]);
    }
}

/// The sums over some numbers of their distances from `centre`, and of these squared.
#[inline(always)]
fn distance_sums<F: RowLane, S: Simd>(simd: S, x: &[F], centre: F) -> [f64; 2] {
    let (lanes, parts) = (Register::<F, S>::LANES, F::SUMS / 2);
    let about = Register::<F, S>::splat(simd, centre);
    let zero = [[Register::<F, S>::splat(simd, F::ZERO); REGISTERS]; 2];
    let mut totals = zero;
    for x in x.chunks(TERMS * parts) {
        let mut sums = zero;
        let mut xs = x.chunks_exact(parts);
        for x in &mut xs {
            add_distances(simd, &mut sums, x, about);
        }
        let rest = xs.remainder();
        if !rest.is_empty() {
            // What fills the last ones up adds nothing.
            let mut x = [centre; MOST_SUMS];
            x[..rest.len()].copy_from_slice(rest);
            add_distances(simd, &mut sums, &x, about);
        }
        for kind in 0..2 {
            for i in 0..REGISTERS {
                totals[kind][i] = totals[kind][i].add(sums[kind][i]);
            }
        }
    }
    totals.map(
        #[inline(always)]
        |totals| {
            let (mut numbers, mut wide) = ([F::ZERO; MOST_SUMS], [0.0; MOST_SUMS]);
            for (numbers, total) in numbers[..parts].chunks_exact_mut(lanes).zip(totals) {
                total.store(numbers);
            }
            for (wide, number) in wide[..parts].iter_mut().zip(numbers) {
                *wide = number.into();
            }
            fold(&mut wide[..parts], |a, b| a + b)
        },
    )
}

/// Adds as many pairs as there are partial sums: the gradients, and these times the distances from `centre`.
#[inline(always)]
fn add_products<F: RowLane, S: Simd>(
    simd: S,
    sums: &mut [[S::F64; REGISTERS]; 2],
    [x, grad]: [&[F]; 2],
    centre: S::F64,
) {
    let (x, grad) = (&x[..PARTS], &grad[..PARTS]);
    let [sums, products] = sums;
    let pairs = x.chunks_exact(S::F64::LANES).zip(grad.chunks_exact(S::F64::LANES));
    for ((x, grad), (sum, product)) in pairs.zip(sums.iter_mut().zip(products)) {
        let grad = F::load_doubles(simd, grad);
        *sum = sum.add(grad);
        *product = F::load_doubles(simd, x).sub(centre).mul_add(grad, *product);
    }
}

/// The sums over some numbers of their gradients, and of these times the distances from `centre`. Of either sign, they may
/// cancel: they are summed up in double precision.
#[inline(always)]
fn gradient_sums<F: RowLane, S: Simd>(simd: S, x: &[F], grad: &[F], centre: F) -> [f64; 2] {
    let about = S::F64::splat(simd, centre.into());
    let mut sums = [[S::F64::splat(simd, 0.0); REGISTERS]; 2];
    let (mut xs, mut grads) = (x.chunks_exact(PARTS), grad.chunks_exact(PARTS));
    for (x, grad) in (&mut xs).zip(&mut grads) {
        add_products(simd, &mut sums, [x, grad], about);
    }
    let rest = xs.remainder();
    if !rest.is_empty() {
        // What fills the last ones up adds nothing.
        let (mut x, mut grad) = ([centre; PARTS], [F::ZERO; PARTS]);
        x[..rest.len()].copy_from_slice(rest);
        grad[..rest.len()].copy_from_slice(grads.remainder());
        add_products(simd, &mut sums, [&x, &grad], about);
    }
    sums.map(
        #[inline(always)]
        |sums| {
            let mut numbers = [0.0; PARTS];
            for (numbers, sum) in numbers.chunks_exact_mut(S::F64::LANES).zip(sums) {
                sum.store(numbers);
            }
            fold(&mut numbers, |a, b| a + b)
        },
    )
}

/// `dst[i] = f(src[i], i)`; `scratch` has space for two rows of them.
#[inline(always)]
fn write<T: RowElement, S: Simd>(
    simd: S,
    src: &[T],
    scratch: &mut [T::Lane],
    dst: &mut [MaybeUninit<T>],
    f: impl Fn(T::Lane, usize) -> T::Lane,
) {
    let len = dst.len();
    let src = &src[..len];
    if T::PACKS {
        for i in 0..len {
            dst[i].write(T::rounded(f(src[i].lane(), i)));
        }
        return;
    }
    let (wide, results) = scratch.split_at_mut(len);
    let results = &mut results[..len];
    T::widen(simd, src, wide);
    for i in 0..len {
        results[i] = f(wide[i], i);
    }
    T::narrow(simd, results, dst);
}

/// `dst[i] = f(src[i], with[i], i)`; `scratch` has space for three rows of them.
#[inline(always)]
fn write_pairs<T: RowElement, S: Simd>(
    simd: S,
    [src, with]: [&[T]; 2],
    scratch: &mut [T::Lane],
    dst: &mut [MaybeUninit<T>],
    f: impl Fn(T::Lane, T::Lane, usize) -> T::Lane,
) {
    let len = dst.len();
    let (src, with) = (&src[..len], &with[..len]);
    if T::PACKS {
        for i in 0..len {
            dst[i].write(T::rounded(f(src[i].lane(), with[i].lane(), i)));
        }
        return;
    }
    let (wide, others) = scratch.split_at_mut(len);
    let (wide_with, results) = others.split_at_mut(len);
    let results = &mut results[..len];
    T::widen(simd, src, wide);
    T::widen(simd, with, wide_with);
    for i in 0..len {
        results[i] = f(wide[i], wide_with[i], i);
    }
    T::narrow(simd, results, dst);
}

/// The moments of a block.
#[inline(always)]
fn block_moments<F: RowLane, S: Simd>(simd: S, values: &[F]) -> Moments {
    let count = values.len() as f64;
    let mut total: f64 = sum(simd, values, values, &First).into();
    if !total.is_finite() {
        // The sum may have overflowed where the mean does not.
        total = values.iter().map(|&x| -> f64 { x.into() }).sum();
    }
    let centre = F::of(total / count);
    Moments::about(centre.into(), count, distance_sums(simd, values, centre))
}

/// The operand at this index, of a number of each channel.
fn numbers(operands: &[Option<Operand>], index: usize) -> Option<Vec<f64>> {
    fn wide<T: RowElement>(slice: &[T]) -> Vec<f64> {
        slice.iter().map(|x| x.lane().into()).collect()
    }
    let view = operands.get(index)?.as_ref()?.floats()?;
    Some(each_type!((view: View) => wide(view)))
}

/// Rounds to all of `target`.
fn round_all<T: RowElement>(target: &mut [MaybeUninit<T>], numbers: &[f64]) {
    assert_eq!(target.len(), numbers.len(), "a number of each channel");
    for (target, &number) in target.iter_mut().zip(numbers) {
        target.write(T::rounded(T::Lane::of(number)));
    }
}

/// Moves running means and unbiased variances towards those of the groups.
pub(super) fn update(mean: Option<ViewMut>, variance: Option<ViewMut>, momentum: f64, moments: &[Moments]) {
    fn towards<T: RowElement>(running: &mut [T], momentum: f64, numbers: impl Iterator<Item = f64>) {
        for (running, number) in running.iter_mut().zip(numbers) {
            let before: f64 = running.lane().into();
            *running = T::rounded(T::Lane::of(momentum * number + (1.0 - momentum) * before));
        }
    }
    if let Some(mean) = mean {
        each_type!((mean: ViewMut) => towards(mean, momentum, moments.iter().map(|moments| moments.mean)));
    }
    if let Some(variance) = variance {
        each_type!((variance: ViewMut) => towards(variance, momentum, moments.iter().map(|moments| moments.unbiased())));
    }
}

/// The input's numbers in the order of memory.
fn input<'a>(operands: &[Option<Operand<'a>>]) -> View<'a> {
    let input = operands.first().and_then(Option::as_ref);
    input.and_then(floats).expect("an input of floating-point numbers")
}

/// The results of groups, and their moments, from an input, a weight (ones) and a bias (zeros).
pub(super) fn forward(
    exec: &Exec,
    operands: &[Option<Operand>],
    form: Form,
    eps: f64,
    result: Target,
    saved: Option<Target>,
) -> Vec<Moments> {
    let (src, weight, bias) = (input(operands), numbers(operands, 1), numbers(operands, 2));
    let affine = Affine {
        weight: weight.as_deref(),
        bias: bias.as_deref(),
    };
    let moments = each_type!((src: View, result: Target) => {
        assert_eq!(src.len(), result.len(), "the slices differ in length");
        match form {
            Form::Planes(planes) => planes::forward(exec, planes, src, affine, eps, result),
            Form::Columns(channels) => columns::forward(exec, channels, src, affine, eps, result),
        }
    });
    match saved {
        None => {}
        Some(Target::F64(Unwritten(saved))) => keep_all(saved, &moments, eps),
        Some(saved) => keep_all(f32::target(saved).expect("singles").0, &moments, eps),
    }
    moments
}

/// The gradients of [`forward`]'s operands.
pub(super) fn backward(
    exec: &Exec,
    grad: View,
    operands: &[Option<Operand>],
    form: Form,
    saved: View,
    gradients: [Option<Target>; MAX_OPERANDS],
) {
    fn run<T: RowElement>(
        exec: &Exec,
        form: Form,
        tensors: [&[T]; 2],
        affine: Affine,
        saved: View,
        dst: Option<Target>,
    ) -> [Vec<f64>; 2] {
        let saved = <T::Lane as Typed>::slice(saved).expect("numbers of the type that is computed in");
        let dst = dst.map(|dst| T::target(dst).expect("a gradient has its operand's element type").0);
        assert!(
            tensors[0].len() == tensors[1].len() && dst.as_ref().is_none_or(|dst| dst.len() == tensors[0].len()),
            "the slices differ in length"
        );
        match form {
            Form::Planes(planes) => planes::backward(exec, planes, tensors, affine, saved, dst),
            Form::Columns(channels) => columns::backward(exec, channels, tensors, affine, saved, dst),
        }
    }
    let (src, weight) = (input(operands), numbers(operands, 1));
    let affine = Affine {
        weight: weight.as_deref(),
        bias: None,
    };
    let [dst, weight, bias, ..] = gradients;
    let found = each_type!((src: View, grad: View) => run(exec, form, [src, grad], affine, saved, dst));
    for (target, numbers) in [weight, bias].into_iter().zip(&found) {
        if let Some(target) = target {
            each_type!((target: Target) => round_all(target, numbers));
        }
    }
}

/// How many samples there are, channels, and elements of a channel.
pub(super) fn dims(sizes: &[i64]) -> [usize; 3] {
    let &[outer, channels, ref inner @ ..] = sizes else {
        panic!("no channels");
    };
    [
        outer as usize,
        channels as usize,
        inner.iter().product::<i64>() as usize,
    ]
}

/// The numbers of an operand in the order of memory.
fn floats<'a>(operand: &Operand<'a>) -> Option<View<'a>> {
    match operand.elements {
        Elements::Floats(view) | Elements::ChannelsLast(view) => Some(view),
        Elements::Indices(_) => None,
    }
}

/// Elements of planes below which torch's own kernel is as fast, where there are many planes.
const LEAST: usize = 64;

/// Why an input is better left to stock torch.
pub(super) fn accepts(sizes: &[i64]) -> Result<(), &'static str> {
    let [outer, channels, inner] = dims(sizes);
    if outer * channels * inner > 1024 && (2..LEAST).contains(&inner) {
        return Err("small planes");
    }
    Ok(())
}

/// The momentum and `eps` of a call.
pub(super) fn settings(numbers: &[f64]) -> Result<(f64, f64), &'static str> {
    match numbers {
        &[momentum, eps] if eps > 0.0 => Ok((momentum, eps)),
        _ => Err("no momentum and positive eps"),
    }
}

/// Checks that there is an input of floating-point numbers, and that each other operand has a number for each of its
/// channels, all of one type: the input's, or the one that is computed in.
pub(super) fn check<'a>(operands: &[Option<Operand<'a>>]) -> Result<(Operand<'a>, DType), &'static str> {
    let [Some(input), others @ ..] = operands else {
        return Err("no input");
    };
    let dtype = floats(input).ok_or("no floating-point numbers")?.dtype();
    let [_, channels, ..] = input.sizes else {
        return Err("no channels");
    };
    if input.sizes.contains(&0) {
        return Err("no elements");
    }
    let mut common = None;
    for other in others.iter().flatten() {
        let its = other.floats().ok_or("no floating-point numbers")?.dtype();
        if (its != dtype && its != dtype.lane()) || *common.get_or_insert(its) != its {
            return Err("element types differ");
        }
        if other.sizes != [*channels] {
            return Err("sizes differ from the channels'");
        }
    }
    Ok((*input, dtype))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        isa::Isa,
        kernel::NaryKernel,
        ops::norm::{batch_norm::BatchNorm, instance_norm::InstanceNorm},
        parallel::{Serial, Team, test::Halves},
    };

    fn numbers(len: usize, seed: usize) -> Vec<f32> {
        let number = |i: usize| ((i * 7919 + seed * 104_729) % 2003) as f32 / 500.0 - 2.0;
        (0..len).map(number).collect()
    }

    /// The sizes of a tensor, `[samples, channels, inner]`, and how it lies in memory.
    #[derive(Clone, Copy)]
    struct Case {
        sizes: [usize; 3],
        last: bool,
    }

    impl Case {
        fn index(self, [sample, channel, inner]: [usize; 3]) -> usize {
            let [_, channels, len] = self.sizes;
            if self.last {
                (sample * len + inner) * channels + channel
            } else {
                (sample * channels + channel) * len + inner
            }
        }

        /// Sample, channel and place in memory of every element.
        fn elements(self) -> impl Iterator<Item = (usize, usize, usize)> {
            let [samples, channels, len] = self.sizes;
            (0..samples * channels * len).map(move |i| {
                let place = [i / len / channels, i / len % channels, i % len];
                (place[0], place[1], self.index(place))
            })
        }
    }

    /// Results, gradients of input, weight and bias, means and unbiased variances of groups, in double precision.
    fn truth(case: Case, group: impl Fn(usize, usize) -> usize, [x, grad, weight, bias]: [&[f32]; 4]) -> [Vec<f64>; 6] {
        let groups = 1 + case
            .elements()
            .map(|(sample, channel, _)| group(sample, channel))
            .max()
            .unwrap();
        let count = (x.len() / groups) as f64;
        let sums = |of: &dyn Fn(usize, usize, usize) -> f64| {
            let mut sums = vec![0.0; groups];
            for (sample, channel, i) in case.elements() {
                sums[group(sample, channel)] += of(sample, channel, i);
            }
            sums
        };
        let wide = |of: &[f32], i: usize| f64::from(of[i]);
        let means: Vec<f64> = sums(&|_, _, i| wide(x, i)).iter().map(|sum| sum / count).collect();
        let squares = sums(&|sample, channel, i| (wide(x, i) - means[group(sample, channel)]).powi(2));
        let scale = |group: usize| 1.0 / (squares[group] / count + 1e-3).sqrt();
        let normal = |sample, channel, i| (wide(x, i) - means[group(sample, channel)]) * scale(group(sample, channel));
        let common = sums(&|_, channel, i| wide(grad, i) * wide(weight, channel));
        let along = sums(&|sample, channel, i| wide(grad, i) * wide(weight, channel) * normal(sample, channel, i));
        let [mut results, mut inputs] = [vec![0.0; x.len()], vec![0.0; x.len()]];
        let [mut weights, mut biases] = [vec![0.0; weight.len()], vec![0.0; weight.len()]];
        for (sample, channel, i) in case.elements() {
            let (group, normal) = (group(sample, channel), normal(sample, channel, i));
            results[i] = normal * wide(weight, channel) + wide(bias, channel);
            let weighted = wide(grad, i) * wide(weight, channel);
            inputs[i] = (weighted - (common[group] + normal * along[group]) / count) * scale(group);
            weights[channel] += wide(grad, i) * normal;
            biases[channel] += wide(grad, i);
        }
        let variances = squares.iter().map(|squares| squares / (count - 1.0)).collect();
        [results, inputs, weights, biases, means, variances]
    }

    fn check(kernel: &dyn NaryKernel, case: Case, settings: [f64; 2], group: impl Fn(usize, usize) -> usize) {
        let [samples, channels, inner] = case.sizes;
        let len = samples * channels * inner;
        let [x, grad] = [numbers(len, 1), numbers(len, 2)];
        let [weight, bias] = [numbers(channels, 3), numbers(channels, 4)];
        let (sizes, of_channels) = ([samples as i64, channels as i64, inner as i64, 1], [channels as i64]);
        let of_channel = |of| {
            Some(Operand {
                sizes: &of_channels,
                elements: Elements::Floats(of),
            })
        };
        let src: View = x[..].into();
        let operands = [
            Some(Operand {
                sizes: &sizes,
                elements: if case.last {
                    Elements::ChannelsLast(src)
                } else {
                    Elements::Floats(src)
                },
            }),
            of_channel(weight[..].into()),
            of_channel(bias[..].into()),
        ];
        let outline = kernel.outline(&operands, &settings).unwrap();
        let truth = truth(case, group, [&x, &grad, &weight, &bias]);
        let mut all = Vec::new();
        for isa in Isa::available() {
            for team in [&Serial as &dyn Team, &Halves] {
                let exec = Exec::new(isa, team);
                let (mut result, mut kept) = (vec![0.0_f32; len], vec![0.0_f32; outline.saved.1]);
                let [mut mean, mut variance] = [vec![1.0_f32; channels], vec![1.0_f32; channels]];
                let mut updated = [const { None }; MAX_OPERANDS];
                updated[3] = Some((&mut mean[..]).into());
                updated[4] = Some((&mut variance[..]).into());
                let saved = Some((&mut kept[..]).into());
                kernel.forward_updating(&exec, &operands, updated, (&mut result[..]).into(), saved, &settings);
                let [mut inputs, mut weights, mut biases] = [len, channels, channels].map(|len| vec![0.0_f32; len]);
                let mut targets = [const { None }; MAX_OPERANDS];
                targets[0] = Some((&mut inputs[..]).into());
                targets[1] = Some((&mut weights[..]).into());
                targets[2] = Some((&mut biases[..]).into());
                kernel.backward(&exec, grad[..].into(), &operands, kept[..].into(), targets, &settings);
                let mut found = vec![result, inputs, weights, biases];
                if kernel.updates(3) {
                    let moved = |running: Vec<f32>| running.iter().map(|x| (x - 0.75) / 0.25).collect::<Vec<_>>();
                    found.extend([moved(mean), moved(variance)]);
                }
                all.push(found);
            }
        }
        assert!(
            all.iter().all(|one| *one == all[0]),
            "neither threads nor instructions matter"
        );
        // Terms of either sign cancel in the sums of gradients, of which there are few: these are measured by how far
        // sums of so many terms go.
        let far = ((len / channels) as f64).sqrt();
        for (index, (found, truth)) in all[0].iter().zip(&truth).enumerate() {
            let least = if matches!(index, 2 | 3) { far } else { 1.0 };
            let largest = truth.iter().fold(least, |largest, x| largest.max(x.abs()));
            for (&found, &truth) in found.iter().zip(truth) {
                assert!((f64::from(found) - truth).abs() < 5e-6 * largest, "{found} for {truth}");
            }
        }
    }

    fn check_all(sizes: [usize; 3]) {
        let [samples, channels, inner] = sizes;
        for last in [false, true] {
            if samples * inner > 1 {
                check(&BatchNorm, Case { sizes, last }, [0.25, 1e-3], |_, channel| channel);
            }
        }
        let case = Case { sizes, last: false };
        if inner > 1 {
            check(&InstanceNorm, case, [0.25, 1e-3], |sample, channel| {
                sample * channels + channel
            });
        }
    }

    proptest! {
        #[test]
        fn results_and_gradients(samples in 1_usize..12, channels in 1_usize..12, inner in 1_usize..90) {
            check_all([samples, channels, inner]);
        }
    }

    #[test]
    fn parts_and_blocks() {
        for sizes in [[5, 3, 9000], [70, 2, 600], [301, 130, 1], [3, 1100, 2], [1030, 5, 1]] {
            check_all(sizes);
        }
    }

    /// The gradients of weight and bias where the second half of the samples has the first one's, negated.
    #[test]
    fn what_cancels_leaves_no_error() {
        for (sizes, last) in [
            ([4096, 64, 1], false),
            ([64, 16, 49], false),
            ([8, 3, 3000], false),
            ([64, 16, 49], true),
        ] {
            let case = Case { sizes, last };
            let [samples, channels, inner] = sizes;
            let (half, dims) = (
                samples / 2 * channels * inner,
                [samples as i64, channels as i64, inner as i64, 1],
            );
            let x = numbers(2 * half, 1);
            let mut grad = numbers(half, 2);
            grad.extend(numbers(half, 2).iter().map(|grad| -grad));
            let (weight, bias) = (vec![1.0; channels], vec![0.0; channels]);
            let truth = truth(case, |_, channel| channel, [&x, &grad, &weight, &bias]);
            let elements: View = x[..].into();
            let operands = [Some(Operand {
                sizes: &dims,
                elements: if last {
                    Elements::ChannelsLast(elements)
                } else {
                    Elements::Floats(elements)
                },
            })];
            let exec = Exec::new(Isa::detect(), &Serial);
            let (mut result, mut kept) = (vec![0.0_f32; x.len()], vec![0.0_f32; KEPT * channels]);
            let saved = Some((&mut kept[..]).into());
            BatchNorm.forward(&exec, &operands, (&mut result[..]).into(), saved, &[0.1, 1e-3]);
            let [mut weights, mut biases] = [vec![1.0_f32; channels], vec![1.0_f32; channels]];
            let mut targets = [const { None }; MAX_OPERANDS];
            targets[1] = Some((&mut weights[..]).into());
            targets[2] = Some((&mut biases[..]).into());
            BatchNorm.backward(
                &exec,
                grad[..].into(),
                &operands,
                kept[..].into(),
                targets,
                &[0.1, 1e-3],
            );
            for (&bias, &truth) in biases.iter().zip(&truth[3]) {
                assert!((f64::from(bias) - truth).abs() < 1e-10, "{bias} for {truth}");
            }
            for (&weight, &truth) in weights.iter().zip(&truth[2]) {
                // The deviation is kept in single precision.
                assert!(
                    (f64::from(weight) - truth).abs() < 2e-7 * truth.abs() + 1e-7,
                    "{weight} for {truth}"
                );
            }
        }
    }

    #[test]
    fn a_large_mean_costs_no_digits() {
        let x: Vec<f32> = numbers(6000, 1).iter().map(|x| x + 4000.0).collect();
        let moved = |sizes: &[i64], channels: usize| {
            let [mut mean, mut variance] = [vec![0.0_f64; channels], vec![0.0_f64; channels]];
            let mut updated = [const { None }; MAX_OPERANDS];
            updated[3] = Some((&mut mean[..]).into());
            updated[4] = Some((&mut variance[..]).into());
            let wide: Vec<f64> = x.iter().map(|&x| f64::from(x)).collect();
            let input = |of| {
                Some(Operand {
                    sizes,
                    elements: Elements::Floats(of),
                })
            };
            let exec = Exec::new(Isa::detect(), &Serial);
            let mut result = vec![0.0_f32; x.len()];
            let mut exact = vec![0.0_f64; x.len()];
            let none = [const { None }; MAX_OPERANDS];
            let operands = [input(x[..].into())];
            BatchNorm.forward_updating(&exec, &operands, none, (&mut result[..]).into(), None, &[1.0, 1e-5]);
            let operands = [input(wide[..].into())];
            BatchNorm.forward_updating(&exec, &operands, updated, (&mut exact[..]).into(), None, &[1.0, 1e-5]);
            for (result, exact) in result.iter().zip(exact) {
                assert!((f64::from(*result) - exact).abs() < 1e-6, "{result} for {exact}");
            }
        };
        moved(&[1500, 4], 4);
        moved(&[5, 4, 300], 4);
    }
}
