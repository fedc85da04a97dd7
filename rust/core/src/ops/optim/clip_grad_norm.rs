//! `torch.nn.utils.clip_grad_norm_`, and its two halves.

use half::{bf16, f16};

use super::clip::{apply, gather};
use crate::{
    dtype::{DType, Element, TILE, View, ViewMut, nearest},
    float::Float,
    isa::{Isa, Program, Simd},
    kernel::{ClipKernel, Exec, Total, each_type},
    math::row_exp::RowExp,
    ops::reduction::lanes::{BLOCK, Product, RowElement, fold, sum},
};

/// Scales gradients down to a total norm of `max_norm`, and gives that which they had. Numbers: `max_norm`, `norm_type`
/// (2), and whether a norm that is infinite or NaN is refused.
pub struct ClipGradNorm;

/// The total norm. Numbers: as of [`ClipGradNorm`] without the first.
pub struct GetTotalNorm;

/// Scales gradients down by their total norm, which is given, to `max_norm`.
pub struct ClipGradsWithNorm;

impl ClipKernel for ClipGradNorm {
    fn name(&self) -> &'static str {
        "clip_grad_norm_"
    }

    fn accepts(&self, _: DType, numbers: &[f64]) -> Result<(), &'static str> {
        match numbers {
            &[_, order, _] => Order::of(order).map(drop),
            _ => Err("not three numbers"),
        }
    }

    fn measure(&self, exec: &Exec, grads: &[View], numbers: &[f64]) -> Result<Option<Total>, &'static str> {
        total(exec, grads, &numbers[1..]).map(Some)
    }

    fn clip(&self, exec: &Exec, grads: Vec<ViewMut>, total: Option<Total>, numbers: &[f64]) {
        scale(exec, grads, total, numbers[0]);
    }
}

impl ClipKernel for GetTotalNorm {
    fn name(&self) -> &'static str {
        "get_total_norm"
    }

    fn accepts(&self, _: DType, numbers: &[f64]) -> Result<(), &'static str> {
        match numbers {
            &[order, _] => Order::of(order).map(drop),
            _ => Err("not two numbers"),
        }
    }

    fn changes(&self) -> bool {
        false
    }

    fn measure(&self, exec: &Exec, grads: &[View], numbers: &[f64]) -> Result<Option<Total>, &'static str> {
        total(exec, grads, numbers).map(Some)
    }

    fn clip(&self, _: &Exec, _: Vec<ViewMut>, _: Option<Total>, _: &[f64]) {}
}

impl ClipKernel for ClipGradsWithNorm {
    fn name(&self) -> &'static str {
        "clip_grads_with_norm_"
    }

    fn accepts(&self, _: DType, numbers: &[f64]) -> Result<(), &'static str> {
        if numbers.len() == 1 {
            Ok(())
        } else {
            Err("not one number")
        }
    }

    fn clip(&self, exec: &Exec, grads: Vec<ViewMut>, total: Option<Total>, numbers: &[f64]) {
        scale(exec, grads, total, numbers[0]);
    }
}

/// Which norm.
#[derive(Clone, Copy)]
enum Order {
    One,
    Two,
    Max,
}

impl Order {
    fn of(order: f64) -> Result<Self, &'static str> {
        if order == 1.0 {
            Ok(Self::One)
        } else if order == 2.0 {
            Ok(Self::Two)
        } else if order == f64::INFINITY {
            Ok(Self::Max)
        } else {
            Err("a norm of another order")
        }
    }

    /// With another magnitude; a NaN stays.
    #[inline(always)]
    fn larger(a: f64, b: f64) -> f64 {
        if b > a || b.is_nan() { b } else { a }
    }

    /// What parts of elements have together.
    #[inline(always)]
    fn join(self, a: f64, b: f64) -> f64 {
        match self {
            Self::One | Self::Two => a + b,
            Self::Max => Self::larger(a, b),
        }
    }
}

/// Partial results of a piece.
const SUMS: usize = 32;
/// Elements of a piece from which squares are summed up in registers of the element's precision, a block at a time: the
/// errors of many blocks cancel, those of a few may show.
const MANY: usize = 2 * BLOCK;

/// What elements have together, in double precision.
struct Part<'a, T>(Order, &'a [T]);

impl<T: RowElement> Program for Part<'_, T> {
    type Output = f64;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> f64 {
        let Self(order, src) = self;
        match order {
            Order::One => part(simd, order, src, |sum, x| sum + x.abs()),
            Order::Two if src.len() >= MANY => squares(simd, src),
            Order::Two => part(simd, order, src, |sum, x| x.mul_add(x, sum)),
            Order::Max => part(simd, order, src, |max, x| Order::larger(max, x.abs())),
        }
    }
}

#[inline(always)]
fn squares<T: RowElement, S: Simd>(simd: S, src: &[T]) -> f64 {
    let mut tile = [T::Lane::ZERO; BLOCK];
    let mut total = 0.0;
    for src in src.chunks(BLOCK) {
        let values = T::lanes(simd, src, &mut tile);
        total += sum(simd, values, values, &Product).into();
    }
    total
}

#[inline(always)]
fn part<T: RowElement, S: Simd>(simd: S, order: Order, src: &[T], with: impl Fn(f64, f64) -> f64) -> f64 {
    let (mut tile, mut parts) = ([T::Lane::ZERO; TILE], [0.0; SUMS]);
    for src in src.chunks(TILE) {
        let (wholes, rest) = T::lanes(simd, src, &mut tile).as_chunks::<SUMS>();
        for values in wholes {
            for (part, &x) in parts.iter_mut().zip(values) {
                *part = with(*part, x.into());
            }
        }
        for (part, &x) in parts.iter_mut().zip(rest) {
            *part = with(*part, x.into());
        }
    }
    fold(&mut parts, |a, b| order.join(a, b))
}

/// Where torch's sums may overflow, which are of single precision.
const MOST: f64 = 3e38;
/// The largest number of half precision.
const MOST_HALF: f64 = 65504.0;

/// The norm of all gradients, from `norm_type` and whether it must be finite. Sums of pieces are taken in double precision.
fn total(exec: &Exec, grads: &[View], numbers: &[f64]) -> Result<Total, &'static str> {
    let &[order, finite] = numbers else {
        return Err("not two numbers");
    };
    let order = Order::of(order)?;
    let parts = gather(
        exec,
        grads,
        |isa: Isa, piece| each_type!((piece: View) => isa.run(Part(order, piece))),
    );
    let all = parts.into_iter().fold(0.0, |a, b| order.join(a, b));
    let value = if matches!(order, Order::Two) { all.sqrt() } else { all };
    let dtypes = || grads.iter().map(View::dtype);
    let dtype = dtypes().reduce(DType::common).ok_or("no gradients")?;
    // torch's norm of each gradient has that one's type.
    let overflows = dtypes().any(|dtype| dtype != DType::F64) && all > MOST
        || dtypes().any(|each| each == DType::F16 && each != dtype) && value > MOST_HALF;
    if all.is_finite() && overflows {
        return Err("so large that torch's norm may be infinite");
    }
    let value = match dtype {
        DType::F32 => rounded::<f32>(value),
        DType::F64 => value,
        DType::Bf16 => rounded::<bf16>(value),
        DType::F16 => rounded::<f16>(value),
        _ => return Err("no floating-point numbers"),
    };
    if finite != 0.0 && !value.is_finite() {
        return Err("a norm that is not finite");
    }
    Ok(Total { dtype, value })
}

/// The nearest number of the element type.
fn rounded<T: Element<Lane: Into<f64>>>(x: f64) -> f64 {
    nearest::<T>(T::Lane::of(x)).into()
}

/// What gradients are multiplied by: `max_norm / (total + 1e-6)`, 1 at most; as in torch, every step is rounded to the
/// norm's type, and a quotient is a product with the reciprocal.
fn coefficient<T: Element<Lane: Into<f64>>>(total: f64, max_norm: f64) -> f64 {
    let above = nearest::<T>(T::Lane::of(total) + T::Lane::of(1e-6));
    let share = nearest::<T>(T::Lane::of(1.0) / above);
    let coefficient = nearest::<T>(share * T::Lane::of(max_norm)).into();
    if coefficient > 1.0 { 1.0 } else { coefficient }
}

/// Multiplies by a number.
struct Scale<'a, T: Element>(T::Lane, &'a mut [T]);

impl<T: Element> Program for Scale<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self(factor, buf) = self;
        T::map_inplace(
            simd,
            buf,
            #[inline(always)]
            |x| x * factor,
        );
    }
}

fn multiply<T: Element>(isa: Isa, factor: f64, buf: &mut [T]) {
    isa.run(Scale(T::Lane::of(factor), buf));
}

/// Scales all gradients down to `max_norm`.
fn scale(exec: &Exec, grads: Vec<ViewMut>, total: Option<Total>, max_norm: f64) {
    let Total { dtype, value } = total.expect("the total norm");
    let coefficient = match dtype {
        DType::F32 => coefficient::<f32>(value, max_norm),
        DType::F64 => coefficient::<f64>(value, max_norm),
        DType::Bf16 => coefficient::<bf16>(value, max_norm),
        DType::F16 => coefficient::<f16>(value, max_norm),
        _ => panic!("a norm is a floating-point number"),
    };
    // Times 1, all numbers stay as they are, unless the CPU was told to make zeros of the smallest.
    let flushes = core::hint::black_box(f64::from_bits(1)) * core::hint::black_box(1.0) == 0.0;
    if coefficient != 1.0 || flushes {
        apply(exec, grads, |isa, piece| {
            each_type!((piece: ViewMut) => multiply(isa, coefficient, piece));
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parallel::{Serial, Team, test::Halves};

    fn gradients() -> Vec<Vec<f32>> {
        let of = |len: usize| {
            (0..len)
                .map(|i| ((i * 7919 + len) % 2003) as f32 / 1001.0 - 1.0)
                .collect()
        };
        [1, 7, 300, 40_000, 16_384].map(of).to_vec()
    }

    /// The total and what becomes of the gradients.
    fn clipped(exec: &Exec, mut grads: Vec<Vec<f32>>, numbers: &[f64]) -> (Total, Vec<Vec<f32>>) {
        let views: Vec<View> = grads.iter().map(|grad| (&grad[..]).into()).collect();
        let total = ClipGradNorm.measure(exec, &views, numbers).unwrap().unwrap();
        let targets = grads.iter_mut().map(|grad| (&mut grad[..]).into()).collect();
        ClipGradNorm.clip(exec, targets, Some(total), numbers);
        (total, grads)
    }

    #[test]
    fn norms_are_as_in_double_precision_whatever_the_team() {
        for isa in Isa::available() {
            let all = || gradients().into_iter().flatten().map(|x| f64::from(x).abs());
            for (order, truth) in [
                (1.0, all().sum()),
                (2.0, all().map(|x| x * x).sum::<f64>().sqrt()),
                (f64::INFINITY, all().fold(0.0, f64::max)),
            ] {
                let results = [&Serial as &dyn Team, &Halves]
                    .map(|team| clipped(&Exec::new(isa, team), gradients(), &[0.5, order, 1.0]));
                let (total, grads) = &results[0];
                assert_eq!(total.value, f64::from(truth as f32), "{}", isa.name());
                let factor = 1.0 / (truth as f32 + 1e-6) * 0.5;
                for (after, before) in grads.iter().flatten().zip(gradients().iter().flatten()) {
                    assert_eq!(*after, before * factor);
                }
                assert_eq!(results[0], results[1]);
            }
        }
    }

    #[test]
    fn nothing_is_scaled_up_and_halves_round_at_every_step() {
        let exec = Exec::new(Isa::detect(), &Serial);
        let (total, grads) = clipped(&exec, vec![vec![3.0, -4.0]], &[6.0, 2.0, 0.0]);
        assert_eq!((total.value, &grads[0][..]), (5.0, &[3.0, -4.0][..]));
        let near = |x: f32| bf16::from_f32(x).to_f32();
        let expected = near(near(1.0 / near(3.015_625 + 1e-6)) * 0.7);
        assert_eq!(coefficient::<bf16>(3.015_625, 0.7), f64::from(expected));
    }

    #[test]
    fn what_is_not_finite_spreads_or_is_refused() {
        let exec = Exec::new(Isa::detect(), &Serial);
        for order in [1.0, 2.0, f64::INFINITY] {
            let (total, grads) = clipped(
                &exec,
                vec![vec![1.0, f32::NEG_INFINITY], vec![-2.0]],
                &[1.0, order, 0.0],
            );
            assert_eq!(total.value, f64::INFINITY);
            assert!(grads[0][0] == 0.0 && grads[0][1].is_nan() && grads[1][0] == 0.0);
            let (total, grads) = clipped(
                &exec,
                vec![vec![1.0, f32::NAN], vec![f32::INFINITY]],
                &[1.0, order, 0.0],
            );
            assert!(total.value.is_nan() && grads.iter().flatten().all(|x| x.is_nan()));
            let view: View = (&[f32::NAN][..]).into();
            assert!(ClipGradNorm.measure(&exec, &[view], &[1.0, order, 1.0]).is_err());
        }
        // Squares overflow in torch.
        let view: View = (&[1e30_f32][..]).into();
        assert!(ClipGradNorm.measure(&exec, &[view], &[1.0, 2.0, 0.0]).is_err());
        assert!(ClipGradNorm.accepts(DType::F32, &[1.0, 3.0, 0.0]).is_err());
    }

    #[test]
    fn types_meet_as_in_torch() {
        let exec = Exec::new(Isa::detect(), &Serial);
        let (brains, halves) = ([bf16::from_f32(3.0)], [f16::from_f32(4.0)]);
        let views: [View; 2] = [(&brains[..]).into(), (&halves[..]).into()];
        let of = |views: &[View]| GetTotalNorm.measure(&exec, views, &[2.0, 0.0]).unwrap();
        let total = |dtype, value| Some(Total { dtype, value });
        assert_eq!(of(&views), total(DType::F32, 5.0));
        assert_eq!(of(&views[..1]), total(DType::Bf16, 3.0));
        let doubles = [12.0_f64];
        assert_eq!(
            of(&[views[0], views[1], (&doubles[..]).into()]),
            total(DType::F64, 13.0)
        );
    }
}
