//! `torch.matmul` of matrices, and of many; `torch.mm`, `mv`, `bmm`, `addmm` and `baddbmm`.

use core::mem::MaybeUninit;

use super::{Lie, Matrix, ONE_ROW, Sum, gemm};
use crate::{
    dtype::{DType, Target, View},
    isa::Isa,
    kernel::{Exec, Glance, IndexKernel, Strided, each_type},
    layout::Layout,
    ops::{
        index::{Walk, broadcast},
        reduction::lanes::RowElement,
    },
    parallel::Shared,
};

/// The sizes of a product: `rows` by `terms` times `terms` by `columns`; and how the two matrices lie in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Product {
    /// Rows of the first matrix and of the result.
    pub rows: usize,
    /// Terms of each sum.
    pub terms: usize,
    /// Columns of the second matrix and of the result.
    pub columns: usize,
    /// How the first and the second matrix lie.
    pub lies: [Lie; 2],
}

/// A product of so many multiplications is worth threads of its own: of smaller ones each thread takes several.
const LARGE: usize = 1 << 18;

impl Product {
    fn one<T: RowElement>(&self, exec: &Exec, a: &[T], b: &[T], sum: Option<Sum<T>>, dst: &mut [MaybeUninit<T>]) {
        let a = Matrix::lying(a, self.rows, self.terms, self.lies[0]);
        let b = Matrix::lying(b, self.terms, self.columns, self.lies[1]);
        if self.columns == 1 && self.rows > 1 {
            // As the product of the transposes: the matrix is read where it lies, rather than packed for a single column.
            gemm(exec, b.t().as_row_major(), a.t(), sum.map(Sum::t), dst);
        } else {
            gemm(exec, a.as_row_major(), b, sum, dst);
        }
    }
}

/// Writes the products of pairs of matrices to all of `dst`. `pairs` has the places in `a` and in `b` at which the two
/// matrices of each begin.
///
/// ```
/// use rusttorch_core::{
///     isa::Isa, kernel::Exec, ops::matmul::{Lie, matmul::{Product, matmul}}, parallel::Serial,
/// };
///
/// let exec = Exec::new(Isa::detect(), &Serial);
/// let lie = Lie { transposed: false, pitch: 2 };
/// let product = Product { rows: 1, terms: 2, columns: 2, lies: [lie; 2] };
/// let mut dst = [0.0_f64; 2];
/// let (a, b) = ([1.0_f64, 2.0], [1.0_f64, 2.0, 30.0, 40.0]);
/// matmul(&exec, product, (&a[..]).into(), (&b[..]).into(), (&mut dst[..]).into(), &[(0, 0)]);
/// assert_eq!(dst, [61.0, 82.0]);
/// ```
///
/// # Panics
/// Where the slices have no floating-point numbers, or differ in type, or in length from what the sizes and pairs say.
pub fn matmul(exec: &Exec, product: Product, a: View, b: View, dst: Target, pairs: &[(usize, usize)]) {
    each_type!((a: View, b: View, dst: Target) => each(exec, product, [a, b], dst, pairs, |_| None));
}

/// The same, `sum` being what each pair's product becomes a part of.
fn each<'a, T: RowElement>(
    exec: &Exec,
    product: Product,
    [a, b]: [&[T]; 2],
    dst: &mut [MaybeUninit<T>],
    pairs: &[(usize, usize)],
    sum: impl Fn(usize) -> Option<Sum<'a, T>> + Sync,
) {
    let Product {
        rows, terms, columns, ..
    } = product;
    let len = rows * columns;
    assert_eq!(dst.len(), len * pairs.len(), "the result differs from the sizes");
    if len == 0 || terms == 0 {
        dst.fill(MaybeUninit::new(T::rounded(T::Lane::default())));
        return;
    }
    let of = |exec: &Exec, index: usize, dst: &mut [MaybeUninit<T>]| {
        let (first, second) = pairs[index];
        product.one(exec, &a[first..], &b[second..], sum(index), dst);
    };
    if len * terms >= LARGE || pairs.len() == 1 {
        for (index, dst) in dst.chunks_exact_mut(len).enumerate() {
            of(exec, index, dst);
        }
        return;
    }
    let (team, grain) = exec.team(
        pairs.len(),
        size_of::<T>() * (rows * terms + terms * columns + len),
        len * terms,
    );
    let serial = exec.alone();
    let dst = Shared::new(dst);
    team.run(pairs.len(), grain, &|range| {
        for index in range {
            // SAFETY: a team's ranges are disjoint, and so are the results of pairs.
            of(&serial, index, unsafe { dst.piece(index * len..(index + 1) * len) });
        }
    });
}

/// `torch.matmul` and its like: products of vectors and matrices, and of many of these.
///
/// Tensors: the two factors, after what is added to their product if anything is; floating-point numbers of one type, in
/// any strides in which the rows or the columns of a matrix lie one element after the other. Numbers: `beta` and `alpha`,
/// where something is added: the result is `beta * input + alpha * (a @ b)`.
pub struct Matmul {
    name: &'static str,
    /// How many dimensions the factors must have.
    dims: Option<[usize; 2]>,
    /// Whether something is added.
    adds: bool,
}

/// `torch.matmul`: the dimensions before the last two are broadcast.
pub static MATMUL: Matmul = Matmul::of("matmul", None, false);
/// `torch.mm`: of matrices.
pub static MM: Matmul = Matmul::of("mm", Some([2, 2]), false);
/// `torch.mv`: of a matrix and a vector.
pub static MV: Matmul = Matmul::of("mv", Some([2, 1]), false);
/// `torch.bmm`: of as many matrices as others.
pub static BMM: Matmul = Matmul::of("bmm", Some([3, 3]), false);
/// `torch.addmm`: of matrices, added to what is broadcast.
pub static ADDMM: Matmul = Matmul::of("addmm", Some([2, 2]), true);
/// `torch.baddbmm`: of as many matrices as others, added to what is broadcast.
pub static BADDBMM: Matmul = Matmul::of("baddbmm", Some([3, 3]), true);

/// What a call does.
struct Plan {
    dtype: DType,
    product: Product,
    /// The dimensions before the last two of the result, and of each factor's.
    outer: Layout,
    of_factors: [Layout; 2],
    result: Layout,
}

impl Matmul {
    const fn of(name: &'static str, dims: Option<[usize; 2]>, adds: bool) -> Self {
        Self { name, dims, adds }
    }

    /// The factors.
    fn factors<'a, 'b>(&self, tensors: &'b [Option<Strided<'a>>]) -> Result<[&'b Strided<'a>; 2], &'static str> {
        match tensors {
            [Some(a), Some(b)] if !self.adds => Ok([a, b]),
            [Some(_), Some(a), Some(b)] if self.adds => Ok([a, b]),
            _ => Err("a tensor is missing"),
        }
    }

    fn plan(&self, tensors: &[Option<Strided>]) -> Result<Plan, &'static str> {
        let [a, b] = self.factors(tensors)?;
        let dtype = a.elements.dtype();
        if !dtype.is_float() || tensors.iter().flatten().any(|tensor| tensor.elements.dtype() != dtype) {
            return Err("element types differ, or are no floating-point numbers");
        }
        let dims = [a, b].map(|factor| factor.sizes().len());
        if dims.contains(&0) || self.dims.is_some_and(|wanted| wanted != dims) {
            return Err("dimensions");
        }
        // A vector is a row on the left, and a column on the right.
        let [a, b] = [
            Factor::of(a.layout, |size, stride| ([1, size], [0, stride])),
            Factor::of(b.layout, |size, stride| ([size, 1], [stride, 0])),
        ];
        let ([rows, terms], [of_each, columns]) = (a.sizes, b.sizes);
        if terms != of_each || self.dims.is_some() && a.outer.sizes() != b.outer.sizes() {
            return Err("sizes differ");
        }
        let outer = broadcast([&a.outer, &b.outer]).ok_or("outer dimensions differ")?;
        let mut sizes = outer.sizes().to_vec();
        sizes.extend((dims[0] > 1).then_some(rows));
        sizes.extend((dims[1] > 1).then_some(columns));
        let result = Layout::contiguous(&sizes).ok_or("too many dimensions")?;
        if result.numel() == 0 || terms == 0 {
            return Err("no elements");
        }
        let plan = Plan {
            dtype,
            product: Product {
                rows: rows as usize,
                terms: terms as usize,
                columns: columns as usize,
                lies: [a.lie()?, b.lie()?],
            },
            outer,
            of_factors: [a.outer, b.outer],
            result,
        };
        // What is added has rows for each matrix.
        Ok(if self.adds { plan } else { plan.with_rows_together() })
    }
}

/// The dimensions before the last two.
fn outer(layout: &Layout) -> Layout {
    first(layout, layout.sizes().len().saturating_sub(2))
}

/// So many dimensions, the first ones.
fn first(layout: &Layout, dims: usize) -> Layout {
    Layout::new(&layout.sizes()[..dims], &layout.strides()[..dims]).expect("a part of a layout")
}

/// Matrices that a factor consists of.
struct Factor {
    outer: Layout,
    sizes: [i64; 2],
    strides: [i64; 2],
}

impl Factor {
    /// Of this layout of one dimension at least, a vector being such a matrix.
    fn of(layout: &Layout, vector: impl Fn(i64, i64) -> ([i64; 2], [i64; 2])) -> Self {
        let (sizes, strides) = match (layout.sizes(), layout.strides()) {
            (&[size], &[stride]) => vector(size, stride),
            (&[.., rows, columns], &[.., down, across]) => ([rows, columns], [down, across]),
            _ => unreachable!("a number is no factor"),
        };
        Self {
            outer: outer(layout),
            sizes,
            strides,
        }
    }

    fn lie(&self) -> Result<Lie, &'static str> {
        let ([rows, columns], [down, across]) = (self.sizes, self.strides);
        let transposed = columns > 1 && across != 1;
        if transposed && rows > 1 && down != 1 {
            return Err("neither rows nor columns lie one element after the other");
        }
        Ok(Lie {
            transposed,
            pitch: if transposed { across } else { down } as usize,
        })
    }
}

impl Plan {
    /// The same with the rows of many matrices as those of one, where they lie so and one matrix is the other factor.
    fn with_rows_together(mut self) -> Self {
        let Product { rows, lies, .. } = &mut self.product;
        let [a, b] = self.of_factors;
        if b.numel() != 1 || lies[0].transposed {
            return self;
        }
        let mut dims = a.sizes().len();
        for (&size, &step) in a.sizes().iter().zip(a.strides()).rev() {
            if size > 1 {
                let pitch = if *rows == 1 { step as usize } else { lies[0].pitch };
                if step as usize != *rows * pitch {
                    break;
                }
                *rows *= size as usize;
                lies[0] = Lie {
                    transposed: false,
                    pitch,
                };
            }
            dims -= 1;
        }
        self.outer = first(&a, dims);
        self.of_factors = [self.outer, Layout::SCALAR];
        self
    }

    /// Where the matrices of each product begin, and of what is added to it.
    fn places(&self, added: &Layout) -> Vec<[usize; 3]> {
        let [a, b] = &self.of_factors;
        let walk = Walk::new(self.outer.sizes(), [a, b, added]).expect("tensors are broadcast to the result");
        let steps = walk.steps();
        let mut places = Vec::with_capacity(self.outer.numel());
        walk.each(0..self.outer.numel(), |run, starts| {
            places.extend((0..run.len()).map(|index| core::array::from_fn(|i| starts[i] + index * steps[i])));
        });
        places
    }
}

impl IndexKernel for Matmul {
    fn name(&self) -> &'static str {
        self.name
    }

    fn takes_gaps(&self) -> bool {
        true
    }

    /// Stock torch makes products of many matrices of other operations.
    fn is_recorded(&self, tensors: &[Option<Strided>]) -> bool {
        self.dims.is_some() || tensors.iter().flatten().all(|factor| factor.sizes().len() == 2)
    }

    fn outline(
        &self,
        tensors: &[Option<Strided>],
        numbers: &[f64],
        inplace: bool,
    ) -> Result<(DType, Layout), &'static str> {
        if inplace {
            return Err("nothing is done in place");
        }
        if self.adds && numbers.len() < 2 {
            return Err("no factors of the sum");
        }
        let plan = self.plan(tensors)?;
        if self.adds {
            let added = tensors[0].as_ref().ok_or("nothing to add")?;
            if broadcast([added.layout, &plan.result]).is_none_or(|sizes| sizes.sizes() != plan.result.sizes()) {
                return Err("what is added has other sizes");
            }
        }
        Ok((plan.dtype, plan.result))
    }

    fn glance(&self) -> Option<[usize; 2]> {
        let first = usize::from(self.adds);
        Some([first, first + 1])
    }

    fn may_pay(&self, glance: &Glance) -> bool {
        let [a, b] = &glance.tensors;
        if b.sizes.map_or(self.dims == Some([2, 1]), |sizes| sizes.len() == 1) {
            // Computed as the product of the transposes.
            let sizes = a.matrix().map(|[rows, columns]| [1, columns, rows]);
            super::may_pay(glance, a, sizes, a.row_major, ONE_ROW)
        } else {
            let matrix = b.matrix();
            let sizes = matrix.map(|[terms, columns]| [a.numel / terms.max(1), terms, columns]);
            super::may_pay(glance, b, sizes, !b.row_major, ONE_ROW)
        }
    }

    fn pays(&self, isa: Isa, tensors: &[Option<Strided>], _: &[f64]) -> Result<(), &'static str> {
        let plan = self.plan(tensors)?;
        let Product {
            rows,
            terms,
            columns,
            lies,
        } = plan.product;
        let pairs = plan.outer.numel();
        if columns == 1 && rows > 1 {
            // Computed as the product of the transposes.
            super::pays(isa, plan.dtype, [1, terms, rows], !lies[0].transposed, pairs, ONE_ROW)
        } else {
            super::pays(
                isa,
                plan.dtype,
                [rows, terms, columns],
                lies[1].transposed,
                pairs,
                ONE_ROW,
            )
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
        let plan = self.plan(tensors)?;
        let [a, b] = self.factors(tensors)?.map(|factor| factor.elements);
        let added = if self.adds { tensors[0] } else { None };
        each_type!((a: View, b: View, result: Target) => run(exec, &plan, [a, b], result, added, numbers));
        Ok(())
    }
}

/// How far apart rows and columns of a tensor are that is broadcast.
fn steps(layout: &Layout) -> [usize; 2] {
    let (sizes, strides) = (layout.sizes(), layout.strides());
    [2, 1].map(|back| match sizes.len().checked_sub(back) {
        Some(dim) if sizes[dim] != 1 => strides[dim] as usize,
        _ => 0,
    })
}

fn run<T: RowElement>(
    exec: &Exec,
    plan: &Plan,
    factors: [&[T]; 2],
    dst: &mut [MaybeUninit<T>],
    added: Option<Strided>,
    numbers: &[f64],
) {
    let places = plan.places(&added.map_or(Layout::SCALAR, |added| outer(added.layout)));
    let pairs: Vec<_> = places.iter().map(|&[a, b, _]| (a, b)).collect();
    each(exec, plan.product, factors, dst, &pairs, |index| {
        let added = added?;
        let c = T::slice(added.elements).expect("tensors of one element type");
        Some(Sum {
            c: &c[places[index][2]..],
            strides: steps(added.layout),
            beta: numbers[0],
            alpha: numbers[1],
        })
    });
}

#[cfg(test)]
mod tests {
    use half::bf16;

    use super::*;
    use crate::{isa::Isa, parallel::test::Halves};

    fn numbers(len: usize, seed: usize) -> Vec<f32> {
        (0..len).map(|i| ((i * 7 + seed) as f32 * 0.61).sin()).collect()
    }

    /// Checks products of two pairs, the second matrix being shared.
    fn check<T: RowElement + core::fmt::Debug>(rows: usize, terms: usize, columns: usize, of: fn(f32) -> T, unit: f64)
    where
        for<'a> &'a [T]: Into<View<'a>>,
        for<'a> &'a mut [T]: Into<Target<'a>>,
    {
        let a: Vec<T> = numbers(2 * rows * terms, 1).into_iter().map(of).collect();
        let b: Vec<T> = numbers(terms * columns, 2).into_iter().map(of).collect();
        for isa in Isa::available() {
            for transposed in [[false, false], [true, false], [false, true], [true, true]] {
                let lie = |transposed: bool, [rows, columns]: [usize; 2]| Lie {
                    transposed,
                    pitch: if transposed { rows } else { columns },
                };
                let product = Product {
                    rows,
                    terms,
                    columns,
                    lies: [lie(transposed[0], [rows, terms]), lie(transposed[1], [terms, columns])],
                };
                let mut dst = vec![of(f32::NAN); 2 * rows * columns];
                let exec = Exec::new(isa, &Halves);
                matmul(
                    &exec,
                    product,
                    (&a[..]).into(),
                    (&b[..]).into(),
                    (&mut dst[..]).into(),
                    &[(0, 0), (rows * terms, 0)],
                );
                let number = |x: T| -> f64 { x.lane().into() };
                for (index, &found) in dst.iter().enumerate() {
                    let (pair, i, j) = (index / (rows * columns), index / columns % rows, index % columns);
                    let left =
                        |k| number(a[pair * rows * terms + if transposed[0] { k * rows + i } else { i * terms + k }]);
                    let right = |k| number(b[if transposed[1] { j * terms + k } else { k * columns + j }]);
                    let truth: f64 = (0..terms).map(|k| left(k) * right(k)).sum();
                    let size: f64 = (0..terms).map(|k| (left(k) * right(k)).abs()).sum();
                    assert!(
                        (number(found) - truth).abs() <= unit * size + 1e-30,
                        "{} {product:?} {index}: {found:?} {truth}",
                        isa.name()
                    );
                }
            }
        }
    }

    #[test]
    fn products_of_all_kinds() {
        for (rows, terms, columns) in [
            (1, 1, 1),
            (3, 5, 4),
            (40, 7, 1),
            (1, 9, 30),
            (70, 33, 50),
            (2, 0, 3),
            (0, 3, 2),
        ] {
            check::<f32>(rows, terms, columns, |x| x, 1e-6);
            check::<f64>(rows, terms, columns, f64::from, 1e-15);
            check::<bf16>(rows, terms, columns, bf16::from_f32, 1.0 / 256.0);
        }
        check::<f32>(100, 80, 60, |x| x, 1e-6);
    }
}
