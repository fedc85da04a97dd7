//! `torch.nn.functional.glu`.

use core::{mem::MaybeUninit, ops::Range};

use crate::{
    dtype::{Element, TILE, Target, View, ViewMut},
    float::Float,
    isa::{Program, Simd},
    kernel::{Exec, Geometry, Kernel, Shape, each_type},
    parallel::{Shared, split_mut},
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
            Err("odd dimension")
        } else {
            Ok(())
        }
    }

    fn pays(&self, geometry: Geometry, _: &[f64]) -> Result<(), &'static str> {
        // A block is worth a vector loop of its own, unless the call itself is what costs.
        if geometry.dim / 2 * geometry.inner < 16 && geometry.len() > 1024 {
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

/// A run of elements of the result within one block, and where its two inputs lie.
struct Piece {
    /// In the result.
    result: Range<usize>,
    /// In the first half of the block.
    value: Range<usize>,
    /// In the second half.
    gate: Range<usize>,
}

/// Cuts elements of the result, in halves of `half` elements, at the ends of the blocks.
#[inline(always)]
fn pieces(range: Range<usize>, half: usize) -> impl Iterator<Item = Piece> {
    let mut start = range.start;
    core::iter::from_fn(move || {
        let offset = start % half;
        let len = (half - offset).min(range.end - start);
        let base = start / half * 2 * half + offset;
        let result = start..start + len;
        start += len;
        (len > 0).then_some(Piece {
            result,
            value: base..base + len,
            gate: base + half..base + half + len,
        })
    })
}

struct Gate<'a, T> {
    src: &'a [T],
    /// Elements from `start` on of the result.
    dst: &'a mut [MaybeUninit<T>],
    start: usize,
    half: usize,
}

impl<T: Element> Program for Gate<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let start = self.start;
        for piece in pieces(start..start + self.dst.len(), self.half) {
            T::zip_map(
                simd,
                &self.src[piece.value],
                &self.src[piece.gate],
                &mut self.dst[piece.result.start - start..piece.result.end - start],
                #[inline(always)]
                |value, gate| value * if T::HALF { gate.sigmoid() } else { gate.sigmoid_close() },
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
    split_mut(team, dst, 1, grain, &|start, dst| {
        exec.isa.run(Gate { src, dst, start, half });
    });
}

struct GateBackward<'a, T> {
    grad: &'a [T],
    src: &'a [T],
    dst: &'a Shared<'a, MaybeUninit<T>>,
    /// Of the elements of the result's gradient.
    range: Range<usize>,
    half: usize,
}

impl<T: Element> Program for GateBackward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let mut tiles = [[T::Lane::default(); TILE]; 5];
        let [grads, values, gates, d_values, d_gates] = &mut tiles;
        let cut = |range: &Range<usize>, start: usize, len: usize| range.start + start..range.start + start + len;
        for piece in pieces(self.range, self.half) {
            for start in (0..piece.result.len()).step_by(TILE) {
                let len = TILE.min(piece.result.len() - start);
                let grads = T::lanes(simd, &self.grad[cut(&piece.result, start, len)], grads);
                let values = T::lanes(simd, &self.src[cut(&piece.value, start, len)], values);
                let gates = T::lanes(simd, &self.src[cut(&piece.gate, start, len)], gates);
                let results = d_values[..len].iter_mut().zip(&mut d_gates[..len]);
                for ((grad, value), (gate, (d_value, d_gate))) in
                    grads.iter().zip(values).zip(gates.iter().zip(results))
                {
                    let (sigmoid, complement) = gate.sigmoid_pair();
                    *d_value = *grad * sigmoid;
                    *d_gate = *d_value * complement * *value;
                }
                // SAFETY: the ranges of two threads are disjoint, and so are the pieces of one.
                let (to_value, to_gate) = unsafe {
                    (
                        self.dst.piece(cut(&piece.value, start, len)),
                        self.dst.piece(cut(&piece.gate, start, len)),
                    )
                };
                T::narrow(simd, &d_values[..len], to_value);
                T::narrow(simd, &d_gates[..len], to_gate);
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
    let (team, grain) = exec.team(grad.len(), 5 * size_of::<T>(), 20);
    let dst = Shared::new(dst);
    team.run(grad.len(), grain, &|range| {
        exec.isa.run(GateBackward {
            grad,
            src,
            dst: &dst,
            range,
            half,
        });
    });
}
