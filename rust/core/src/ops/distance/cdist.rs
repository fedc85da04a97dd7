//! `torch.cdist`.

use core::{marker::PhantomData, mem::MaybeUninit, ops::Range};

use crate::{
    dtype::{DType, Target, Unwritten, View},
    isa::{Program, Simd},
    kernel::{Exec, IndexKernel, Strided},
    layout::Layout,
    ops::reduction::lanes::{Register, RowElement, RowLane},
    parallel::Shared,
    vector::Vector,
};

/// The distance of each vector of one tensor from each of another, as the sum of the components' differences, the root of
/// the sum of their squares, or the greatest: tensors of `(..., P, M)` and `(..., R, M)`, row-major, of single or double
/// precision; the result is `(..., P, R)`. Numbers: the norm, 1, 2 or infinity, and how stock torch would compute it.
///
/// Differences are taken one by one, and summed up by blocks: what stock torch subtracts from sums of squares in a
/// product of matrices, where there are many vectors, loses more.
pub struct Cdist;

/// Vectors of the first tensor that are compared together.
const ROWS: usize = 4;
/// Registers of vectors of the second that are.
const REGISTERS: usize = 2;
/// Components that are summed up before their sum is added to the others'.
const BLOCK: usize = 16;
/// Vectors of the first tensor that are one thread's at least.
const SHARE: usize = 64;
/// Components beyond which a product of matrices is faster.
const MOST: usize = 128;

/// How differences are put together.
trait Norm: Sync + 'static {
    /// With one difference more.
    fn push<V: Vector<Lane: RowLane>>(all: V, difference: V, zero: V) -> V;
    /// Of some components and of others.
    fn join<V: Vector>(all: V, others: V) -> V;
    /// The distance.
    fn finish<F: RowLane>(all: F) -> F;
}

/// The sum.
struct Sum;

impl Norm for Sum {
    #[inline(always)]
    fn push<V: Vector<Lane: RowLane>>(all: V, difference: V, zero: V) -> V {
        all.add(difference.larger(zero.sub(difference)))
    }

    #[inline(always)]
    fn join<V: Vector>(all: V, others: V) -> V {
        all.add(others)
    }

    #[inline(always)]
    fn finish<F: RowLane>(all: F) -> F {
        all
    }
}

/// The root of the sum of squares.
struct Root;

impl Norm for Root {
    #[inline(always)]
    fn push<V: Vector<Lane: RowLane>>(all: V, difference: V, _: V) -> V {
        difference.mul_add(difference, all)
    }

    #[inline(always)]
    fn join<V: Vector>(all: V, others: V) -> V {
        all.add(others)
    }

    #[inline(always)]
    fn finish<F: RowLane>(all: F) -> F {
        all.sqrt()
    }
}

/// The greatest, of finite numbers.
struct Greatest;

impl Norm for Greatest {
    #[inline(always)]
    fn push<V: Vector<Lane: RowLane>>(all: V, difference: V, zero: V) -> V {
        difference.larger(zero.sub(difference)).larger(all)
    }

    #[inline(always)]
    fn join<V: Vector>(all: V, others: V) -> V {
        others.larger(all)
    }

    #[inline(always)]
    fn finish<F: RowLane>(all: F) -> F {
        all
    }
}

/// Some vectors of a batch, of both tensors.
struct Tile<'a, F, N> {
    /// Components of a vector.
    len: usize,
    rows: &'a [F],
    /// Vectors of the second tensor, a register's lanes and so on: for each component those of all.
    panel: &'a [F],
    /// Where the distances of the first row go, and how far the next row's are.
    first: usize,
    next: usize,
    /// How many of the panel's vectors there are.
    columns: usize,
    dst: &'a Shared<'a, MaybeUninit<F>>,
    norm: PhantomData<N>,
}

impl<F: RowLane, N: Norm> Program for Tile<'_, F, N> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let mut done = 0;
        for rows in self.rows.chunks(ROWS * self.len) {
            let count = rows.len() / self.len;
            // Of fewer rows, the last one again.
            let at = |row: usize| &rows[row.min(count - 1) * self.len..][..self.len];
            let found = distances::<F, N, S>(simd, core::array::from_fn(at), self.panel);
            for (row, found) in found.iter().take(count).enumerate() {
                let start = self.first + (done + row) * self.next;
                // SAFETY: a tile has rows or columns of its own.
                let dst = unsafe { self.dst.piece(start..start + self.columns) };
                let mut lanes = [F::ZERO; MOST_LANES];
                for (register, lanes) in found.iter().zip(lanes.chunks_exact_mut(Register::<F, S>::LANES)) {
                    register.store(lanes);
                }
                for (dst, &x) in dst.iter_mut().zip(&lanes) {
                    dst.write(N::finish(x));
                }
            }
            done += count;
        }
    }
}

/// Lanes of the registers of vectors, with the widest registers.
const MOST_LANES: usize = REGISTERS * 16;

/// How far some vectors are from those of a panel.
#[inline(always)]
fn distances<F: RowLane, N: Norm, S: Simd>(
    simd: S,
    rows: [&[F]; ROWS],
    panel: &[F],
) -> [[Register<F, S>; REGISTERS]; ROWS] {
    let lanes = Register::<F, S>::LANES;
    let zero = Register::<F, S>::splat(simd, F::ZERO);
    let mut all = [[zero; REGISTERS]; ROWS];
    let len = rows[0].len();
    for start in (0..len).step_by(BLOCK) {
        let mut block = [[zero; REGISTERS]; ROWS];
        for k in start..len.min(start + BLOCK) {
            let panel = &panel[k * REGISTERS * lanes..][..REGISTERS * lanes];
            for r in 0..ROWS {
                let x = Register::<F, S>::splat(simd, rows[r][k]);
                for v in 0..REGISTERS {
                    let difference = x.sub(Register::<F, S>::load(simd, &panel[v * lanes..]));
                    block[r][v] = N::push(block[r][v], difference, zero);
                }
            }
        }
        for r in 0..ROWS {
            for v in 0..REGISTERS {
                all[r][v] = N::join(all[r][v], block[r][v]);
            }
        }
    }
    all
}

/// Lanes of a register.
struct Lanes<F>(PhantomData<F>);

impl<F: RowLane> Program for Lanes<F> {
    type Output = usize;

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> usize {
        Register::<F, S>::LANES
    }
}

/// Writes the distances of one batch.
fn batch<F: RowElement<Lane = F> + RowLane, N: Norm>(
    exec: &Exec,
    len: usize,
    [x1, x2]: [&[F]; 2],
    dst: &mut [MaybeUninit<F>],
) {
    let (rows, columns) = (x1.len() / len, x2.len() / len);
    let width = REGISTERS * exec.isa.run(Lanes::<F>(PhantomData));
    let panels = columns.div_ceil(width);
    let mut packed = vec![F::ZERO; panels * len * width];
    for (column, vector) in x2.chunks_exact(len).enumerate() {
        let panel = &mut packed[column / width * len * width..][..len * width];
        for (line, &x) in panel.chunks_exact_mut(width).zip(vector) {
            line[column % width] = x;
        }
    }
    let shares = rows.div_ceil(SHARE);
    let dst = Shared::new(dst);
    let (team, grain) = exec.team(rows * columns, 4, 2 * len);
    let unit = SHARE.min(rows) * width.min(columns);
    team.run(shares * panels, grain.div_ceil(unit), &|units: Range<usize>| {
        for unit in units {
            let (share, panel) = (unit / panels, unit % panels);
            let (row, column) = (share * SHARE, panel * width);
            exec.isa.run(Tile::<_, N> {
                len,
                rows: &x1[row * len..rows.min(row + SHARE) * len],
                panel: &packed[panel * len * width..][..len * width],
                first: row * columns + column,
                next: columns,
                columns: width.min(columns - column),
                dst: &dst,
                norm: PhantomData,
            });
        }
    });
}

/// Sizes of a call: of the batches together, of both tensors, and of a vector.
fn sizes(tensors: &[Option<Strided>]) -> Result<([i64; 4], Layout), &'static str> {
    let [Some(x1), Some(x2), ..] = tensors else {
        return Err("a tensor is missing");
    };
    x1.row_major()?;
    x2.row_major()?;
    match (x1.sizes(), x2.sizes()) {
        _ if [x1, x2].iter().any(|x| x.layout.numel() == 0) => Err("no elements"),
        ([batch @ .., rows, len], [others @ .., columns, its]) if batch == others && len == its => {
            let result = Layout::contiguous(&[batch, &[*rows, *columns]].concat()).ok_or("too many elements")?;
            Ok(([batch.iter().product(), *rows, *columns, *len], result))
        }
        _ => Err("sizes that differ, or are to be broadcast"),
    }
}

impl IndexKernel for Cdist {
    fn name(&self) -> &'static str {
        "cdist"
    }

    fn outline(&self, tensors: &[Option<Strided>], numbers: &[f64], _: bool) -> Result<(DType, Layout), &'static str> {
        let ([_, _, _, len], layout) = sizes(tensors)?;
        let dtypes: Vec<_> = tensors.iter().flatten().map(|tensor| tensor.elements.dtype()).collect();
        match dtypes[..] {
            [DType::F32, DType::F32] | [DType::F64, DType::F64] => {}
            _ => return Err("elements of another type"),
        }
        match numbers.first().copied() {
            Some(2.0) if len > MOST as i64 => Err("vectors of so many components that a product of matrices is faster"),
            Some(1.0 | 2.0 | f64::INFINITY) => Ok((dtypes[0], layout)),
            _ => Err("another norm"),
        }
    }

    fn forward(
        &self,
        exec: &Exec,
        tensors: &[Option<Strided>],
        result: Target,
        _: &Layout,
        numbers: &[f64],
    ) -> Result<(), &'static str> {
        let [Some(x1), Some(x2), ..] = tensors else {
            return Err("a tensor is missing");
        };
        let ([batches, _, _, len], _) = sizes(tensors)?;
        let (batches, len) = (batches as usize, len as usize);
        match (x1.elements, x2.elements, result) {
            (View::F32(x1), View::F32(x2), Target::F32(Unwritten(dst))) => {
                all(exec, [batches, len], [x1, x2], dst, numbers)
            }
            (View::F64(x1), View::F64(x2), Target::F64(Unwritten(dst))) => {
                all(exec, [batches, len], [x1, x2], dst, numbers)
            }
            _ => Err("elements of another type"),
        }
    }
}

/// Writes the distances of all batches.
fn all<F: RowElement<Lane = F> + RowLane>(
    exec: &Exec,
    [batches, len]: [usize; 2],
    [x1, x2]: [&[F]; 2],
    dst: &mut [MaybeUninit<F>],
    numbers: &[f64],
) -> Result<(), &'static str> {
    let norm = numbers.first().copied().unwrap_or_default();
    if norm.is_infinite() && [x1, x2].iter().any(|x| x.iter().any(|x| x.is_nan() || x.is_infinite())) {
        return Err("a NaN, or an infinity");
    }
    let work = match norm {
        1.0 => batch::<F, Sum>,
        2.0 => batch::<F, Root>,
        _ => batch::<F, Greatest>,
    };
    let [one, other, each] = [x1.len(), x2.len(), dst.len()].map(|len| len / batches);
    let parts = x1
        .chunks_exact(one)
        .zip(x2.chunks_exact(other))
        .zip(dst.chunks_exact_mut(each));
    for ((x1, x2), dst) in parts {
        work(exec, len, [x1, x2], dst);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{isa::Isa, parallel::Serial};

    #[test]
    fn distances_are_those_of_doubles_on_every_isa() {
        for (batches, rows, columns, len) in [(1, 1, 1, 1), (1, 5, 33, 17), (2, 70, 3, 64), (1, 9, 130, 5)] {
            let number = |i: usize| ((i * 7919 % 1000) as f32 - 500.0) / 99.0;
            let x1: Vec<f32> = (0..batches * rows * len).map(number).collect();
            let x2: Vec<f32> = (0..batches * columns * len).map(|i| number(i + 12345)).collect();
            let sizes = |count: usize| Layout::contiguous(&[batches as i64, count as i64, len as i64]).unwrap();
            let (first, second) = (sizes(rows), sizes(columns));
            let tensors = [
                Some(Strided {
                    layout: &first,
                    elements: (&x1[..]).into(),
                }),
                Some(Strided {
                    layout: &second,
                    elements: (&x2[..]).into(),
                }),
            ];
            for norm in [1.0, 2.0, f64::INFINITY] {
                let mut expected = Vec::new();
                for batch in 0..batches {
                    for a in x1[batch * rows * len..][..rows * len].chunks(len) {
                        for b in x2[batch * columns * len..][..columns * len].chunks(len) {
                            let sizes = a.iter().zip(b).map(|(a, b)| (f64::from(*a) - f64::from(*b)).abs());
                            expected.push(match norm {
                                1.0 => sizes.sum::<f64>(),
                                2.0 => sizes.map(|x| x * x).sum::<f64>().sqrt(),
                                _ => sizes.fold(0.0, f64::max),
                            });
                        }
                    }
                }
                let mut results = Vec::new();
                for isa in Isa::available() {
                    let exec = Exec::new(isa, &Serial);
                    let (_, layout) = Cdist.outline(&tensors, &[norm], false).unwrap();
                    let mut result = vec![0.0_f32; layout.numel()];
                    Cdist
                        .forward(&exec, &tensors, (&mut result[..]).into(), &layout, &[norm])
                        .unwrap();
                    for (x, expected) in result.iter().zip(&expected) {
                        assert!(
                            (f64::from(*x) - expected).abs() <= 1e-5 * expected,
                            "{norm} {x} {expected}"
                        );
                    }
                    results.push(result);
                }
                assert!(results.windows(2).all(|pair| pair[0] == pair[1]));
            }
        }
    }
}
