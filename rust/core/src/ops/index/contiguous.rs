//! Row-major copies of tensors in another order.

use core::mem::MaybeUninit;

use super::{Walk, Width, tensor};
use crate::{
    dtype::{BitsTarget, DType, Target, Word, each_width},
    isa::{Program, Simd},
    kernel::{Exec, IndexKernel, Strided},
    layout::{Layout, MAX_DIMS},
    parallel::{Shared, split_mut},
};

/// `Tensor.contiguous` of a tensor that is dense, and not row-major.
///
/// Where the input's innermost dimension is another one than the result's, tiles of as many elements in both as a cache line
/// has are turned on the stack: every line is read and written once.
pub struct Contiguous;

/// Bytes of a cache line.
const LINE: usize = 64;

impl IndexKernel for Contiguous {
    fn name(&self) -> &'static str {
        "contiguous"
    }

    fn reorders(&self) -> bool {
        true
    }

    fn outline(&self, tensors: &[Option<Strided>], _: &[f64], _: bool) -> Result<(DType, Layout), &'static str> {
        let input = tensor(tensors, 0)?;
        let layout = input.layout;
        if layout.numel() == 0 || layout.is_contiguous() || layout.dense_order().is_none() {
            return Err("row-major, or not dense");
        }
        let layout = Layout::contiguous(input.sizes()).ok_or("too many elements")?;
        Ok((input.elements.dtype(), layout))
    }

    fn forward(
        &self,
        exec: &Exec,
        tensors: &[Option<Strided>],
        result: Target,
        _: &Layout,
        _: &[f64],
    ) -> Result<(), &'static str> {
        let input = tensor(tensors, 0)?;
        let walk = Walk::new(input.sizes(), [input.layout]).ok_or("not broadcast")?;
        let (size, result) = (input.elements.dtype().size(), result.bits());
        each_width!((result: BitsTarget) => {
            let src = Width::of(input.elements.bits()).ok_or("tensors of several types")?;
            if let Some(turn) = turned(&walk) {
                turn.run(exec, src, result, size);
            } else {
                let (team, grain) = exec.team(result.len(), 2 * size, 0);
                split_mut(team, result, 1, grain, &|start, dst| {
                    walk.each(start..start + dst.len(), |run, [at]| {
                        dst[run.start - start..run.end - start].write_copy_of_slice(&src[at..at + run.len()]);
                    });
                });
            }
        });
        Ok(())
    }
}

/// A matrix, or many, to be transposed: the input has `rows` elements side by side where the result has `columns`.
struct Turn {
    rows: usize,
    columns: usize,
    /// From one row to the next in the result, and from one column to the next in the input.
    row_step: usize,
    column_step: usize,
    /// Sizes, and steps in the input and in the result, of the dimensions outside.
    outer: [[usize; 3]; MAX_DIMS],
    count: usize,
}

/// `None` where rows of the result lie in the input side by side.
fn turned(walk: &Walk<1>) -> Option<Turn> {
    let [column_step] = walk.steps();
    if column_step == 1 {
        return None;
    }
    let inner = (1..walk.ndim).find(|&dim| walk.strides[dim] == [1])?;
    let mut turn = Turn {
        rows: walk.sizes[inner],
        columns: walk.row(),
        row_step: 0,
        column_step,
        outer: [[1, 0, 0]; MAX_DIMS],
        count: 0,
    };
    let mut step = walk.row();
    for dim in 1..walk.ndim {
        if dim == inner {
            turn.row_step = step;
        } else {
            turn.outer[turn.count] = [walk.sizes[dim], walk.strides[dim][0], step];
            turn.count += 1;
        }
        step *= walk.sizes[dim];
    }
    Some(turn)
}

impl Turn {
    fn run<W: Word>(&self, exec: &Exec, src: &[W], dst: &mut [MaybeUninit<W>], size: usize) {
        let side = LINE / size;
        let strips = self.rows.div_ceil(side);
        let matrices: usize = self.outer[..self.count].iter().map(|outer| outer[0]).product();
        let (team, grain) = exec.team(dst.len(), 2 * size, 24);
        let grain = grain.div_ceil(side * self.columns).max(1);
        let dst = Shared::new(dst);
        team.run(matrices * strips, grain, &|range| {
            for unit in range {
                let (mut rest, row) = (unit / strips, unit % strips * side);
                let (mut from, mut to) = (row, row * self.row_step);
                for [size, input, result] in &self.outer[..self.count] {
                    let place = rest % size;
                    rest /= size;
                    from += place * input;
                    to += place * result;
                }
                exec.isa.run(Strip {
                    turn: self,
                    rows: side.min(self.rows - row),
                    src: &src[from..],
                    dst: &dst,
                    to,
                });
            }
        });
    }
}

/// Transposes some rows of a matrix, which no other thread writes.
struct Strip<'a, W> {
    turn: &'a Turn,
    rows: usize,
    src: &'a [W],
    dst: &'a Shared<'a, MaybeUninit<W>>,
    to: usize,
}

impl<W: Word> Program for Strip<'_, W> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        match LINE / size_of::<W>() {
            8 => self.tiles::<8>(),
            16 => self.tiles::<16>(),
            32 => self.tiles::<32>(),
            _ => self.tiles::<LINE>(),
        }
    }
}

impl<W: Word> Strip<'_, W> {
    #[inline(always)]
    fn tiles<const SIDE: usize>(self) {
        let Self {
            turn,
            rows,
            src,
            dst,
            to,
        } = self;
        let mut tile = [[W::default(); SIDE]; SIDE];
        for column in (0..turn.columns).step_by(SIDE) {
            let columns = SIDE.min(turn.columns - column);
            // SAFETY: the strip's own elements of the result.
            let row = |row: usize| unsafe {
                let start = to + row * turn.row_step + column;
                dst.piece(start..start + columns)
            };
            let src = &src[column * turn.column_step..];
            if rows == SIDE && columns == SIDE {
                for (i, line) in tile.iter_mut().enumerate() {
                    line.copy_from_slice(&src[i * turn.column_step..][..SIDE]);
                }
                for i in 0..SIDE {
                    for (dst, line) in row(i).iter_mut().zip(&tile) {
                        dst.write(line[i]);
                    }
                }
            } else {
                for i in 0..rows {
                    for (j, dst) in row(i).iter_mut().enumerate() {
                        dst.write(src[j * turn.column_step + i]);
                    }
                }
            }
        }
    }
}
