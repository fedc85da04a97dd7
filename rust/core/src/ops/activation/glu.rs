//! `torch.nn.functional.glu`.

use core::mem::MaybeUninit;

use crate::{
    dtype::{Element, TILE, Target, View, ViewMut},
    float::Float,
    isa::{Program, Simd},
    kernel::{Exec, Geometry, Kernel, Shape, each_type},
    parallel::split_mut,
};

/// The first half along a dimension times the sigmoid of the second. Saves its input.
pub struct Glu;

impl Kernel for Glu {
    fn name(&self) -> &'static str {
        "glu"
    }

    fn shape(&self) -> Shape {
        Shape::Glu
    }

    fn accepts(&self, geometry: Geometry, _: &[f64]) -> Result<(), &'static str> {
        if geometry.dim % 2 == 1 {
            return Err("odd dimension");
        }
        // A block is worth a vector loop of its own.
        if geometry.dim / 2 * geometry.inner < 16 {
            Err("short blocks")
        } else {
            Ok(())
        }
    }

    fn forward(&self, exec: &Exec, src: View, dst: Target, geometry: Geometry, _: &[f64]) {
        each_type!((src: View, dst: Target) => forward(exec, src, dst, geometry));
    }

    fn inplace(&self, _: &Exec, _: ViewMut, _: &[f64]) {
        unreachable!("the result has another shape");
    }

    fn backward(&self, exec: &Exec, grad: View, saved: View, dst: Target, geometry: Geometry, _: &[f64]) {
        each_type!((grad: View, saved: View, dst: Target) => backward(exec, grad, saved, dst, geometry));
    }
}

struct Gate<'a, T> {
    src: &'a [T],
    dst: &'a mut [MaybeUninit<T>],
    half: usize,
}

impl<T: Element> Program for Gate<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        for (src, dst) in self
            .src
            .chunks_exact(2 * self.half)
            .zip(self.dst.chunks_exact_mut(self.half))
        {
            let (value, gate) = src.split_at(self.half);
            T::zip_map(
                simd,
                value,
                gate,
                dst,
                #[inline(always)]
                |value, gate| value * gate.sigmoid(),
            );
        }
    }
}

fn forward<T: Element>(exec: &Exec, src: &[T], dst: &mut [MaybeUninit<T>], geometry: Geometry) {
    assert!(
        src.len() == geometry.len() && 2 * dst.len() == src.len(),
        "the slices differ from the geometry"
    );
    let half = geometry.dim / 2 * geometry.inner;
    let (team, grain) = exec.team(dst.len(), 3 * size_of::<T>(), 18);
    split_mut(team, dst, half, grain, &|start, dst| {
        exec.isa.run(Gate {
            src: &src[2 * start..2 * (start + dst.len())],
            dst,
            half,
        });
    });
}

struct GateBackward<'a, T> {
    grad: &'a [T],
    src: &'a [T],
    dst: &'a mut [MaybeUninit<T>],
    half: usize,
}

impl<T: Element> Program for GateBackward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let mut tiles = [[T::Lane::default(); TILE]; 3];
        let [grads, values, gates] = &mut tiles;
        let blocks = self
            .src
            .chunks_exact(2 * self.half)
            .zip(self.dst.chunks_exact_mut(2 * self.half));
        for ((src, dst), grad) in blocks.zip(self.grad.chunks_exact(self.half)) {
            let (value, gate) = src.split_at(self.half);
            let (d_value, d_gate) = dst.split_at_mut(self.half);
            for start in (0..self.half).step_by(TILE) {
                let range = start..self.half.min(start + TILE);
                let len = range.len();
                let (grads, values, gates) = (&mut grads[..len], &mut values[..len], &mut gates[..len]);
                T::widen(simd, &grad[range.clone()], grads);
                T::widen(simd, &value[range.clone()], values);
                T::widen(simd, &gate[range.clone()], gates);
                for ((grad, value), gate) in grads.iter_mut().zip(&mut *values).zip(&*gates) {
                    let (sigmoid, complement) = gate.sigmoid_pair();
                    let d_value = *grad * sigmoid;
                    *value = d_value * complement * *value;
                    *grad = d_value;
                }
                T::narrow(simd, grads, &mut d_value[range.clone()]);
                T::narrow(simd, values, &mut d_gate[range]);
            }
        }
    }
}

fn backward<T: Element>(exec: &Exec, grad: &[T], src: &[T], dst: &mut [MaybeUninit<T>], geometry: Geometry) {
    assert!(
        src.len() == geometry.len() && dst.len() == src.len() && 2 * grad.len() == src.len(),
        "the slices differ from the geometry"
    );
    let half = geometry.dim / 2 * geometry.inner;
    let (team, grain) = exec.team(dst.len(), 3 * size_of::<T>(), 20);
    split_mut(team, dst, 2 * half, grain, &|start, dst| {
        let range = start..start + dst.len();
        exec.isa.run(GateBackward {
            grad: &grad[start / 2..range.end / 2],
            src: &src[range],
            dst,
            half,
        });
    });
}
