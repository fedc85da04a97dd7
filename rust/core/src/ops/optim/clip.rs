//! Gradients of many parameters, in pieces that the team shares.

use super::PIECE;
use crate::{
    dtype::{View, ViewMut},
    isa::Isa,
    kernel::{Exec, each_type},
    parallel::{Team, split_mut},
};

/// The team for pieces of as many elements in all, which are read and perhaps written, and how many of them are worth a
/// thread.
fn team<'a>(exec: &'a Exec, len: usize, bytes: usize, pieces: usize) -> (&'a dyn Team, usize) {
    // Widened elements fill two registers.
    let (team, grain) = exec.team(len.max(1), bytes, 8);
    (team, (grain * pieces).div_ceil(len.max(1)))
}

/// Number of elements.
fn len(view: &View) -> usize {
    let view = *view;
    each_type!((view: View) => view.len())
}

/// A number of each piece of the gradients, in their order, whatever the team.
pub(super) fn gather(exec: &Exec, grads: &[View], number: impl Fn(Isa, View) -> f64 + Sync) -> Vec<f64> {
    let mut pieces = Vec::with_capacity(grads.len());
    for &grad in grads {
        each_type!((grad: View) => pieces.extend(grad.chunks(PIECE).map(View::from)));
    }
    let elements = pieces.iter().map(len).sum();
    let mut numbers = vec![0.0; pieces.len()];
    let (team, grain) = team(exec, elements, size_of::<f32>(), pieces.len());
    split_mut(team, &mut numbers, 1, grain, &|start, numbers| {
        for (number_of, &piece) in numbers.iter_mut().zip(&pieces[start..]) {
            *number_of = number(exec.isa, piece);
        }
    });
    numbers
}

/// Changes the gradients, a piece at a time.
pub(super) fn apply(exec: &Exec, grads: Vec<ViewMut>, change: impl Fn(Isa, ViewMut) + Sync) {
    let mut pieces = Vec::with_capacity(grads.len());
    let mut elements = 0;
    for grad in grads {
        each_type!((grad: ViewMut) => {
            elements += grad.len();
            pieces.extend(grad.chunks_mut(PIECE).map(ViewMut::from));
        });
    }
    let (team, grain) = team(exec, elements, 2 * size_of::<f32>(), pieces.len());
    split_mut(team, &mut pieces, 1, grain, &|_, pieces| {
        for piece in pieces {
            each_type!((piece: ViewMut) => change(exec.isa, (&mut piece[..]).into()));
        }
    });
}
