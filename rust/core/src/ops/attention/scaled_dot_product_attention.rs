//! `torch.nn.functional.scaled_dot_product_attention`.

use core::{mem::MaybeUninit, ops::Range};

use crate::{
    dtype::{DType, Target, View, as_uninit},
    float::Float,
    isa::{Isa, Program, Simd},
    kernel::{Exec, Glance, IndexKernel, Strided, each_type},
    layout::Layout,
    math::row_exp::RowExp,
    ops::{
        matmul::{Lie, Matrix, Sum, gemm},
        reduction::lanes::{RowElement, RowLane, Tile, fold, max},
    },
    parallel::Shared,
};

/// `softmax(query @ key.T * scale + mask) @ value`, by blocks of keys of which no more than the sums and the greatest score of
/// each query are kept: T. Dao et al., "Flash Attention", <https://arxiv.org/abs/2205.14135>. A query without keys gets zeros.
///
/// Tensors: the query, `(B, H, L, E)`, the key and the value, `(B, H, S, E)`, of one type of floating-point numbers, and the
/// mask, `(L, S)` or `(B, H, L, S)` or of sizes 1 in the place of these, if there is one: of bool, true where a key counts, or
/// numbers that are added to the scores, of the query's type or of single precision. Numbers: the probability of dropout, which
/// is 0, whether a query sees only keys that do not come after it, the scale or NaN for `1 / sqrt(E)`, and whether there may
/// be fewer heads of keys, each for several of queries in a row. The result lies as torch makes a tensor like the query.
pub struct ScaledDotProductAttention;

/// Queries, and keys, that are worked on together: the scores stay in the second-level cache.
const QUERIES: usize = 128;
const KEYS: usize = 336;
/// So few queries go along keys and values as these lie, of which so many are widened together.
const FEW: usize = 8;
const FEW_KEYS: usize = 256;
const TILE_KEYS: usize = 16;

/// What a call does.
struct Plan {
    batch: usize,
    /// Heads of keys, and of queries for each.
    heads: usize,
    group: usize,
    queries: usize,
    keys: usize,
    width: usize,
    causal: bool,
    scale: f64,
}

fn plan(tensors: &[Option<Strided>], numbers: &[f64]) -> Result<Plan, &'static str> {
    let ([Some(query), Some(key), Some(value), mask], &[dropout, causal, scale, grouped]) = (tensors, numbers) else {
        return Err("a tensor or a number is missing");
    };
    let dtype = query.elements.dtype();
    if !dtype.is_float() || [key, value].iter().any(|tensor| tensor.elements.dtype() != dtype) {
        return Err("element types differ, or are no floating-point numbers");
    }
    let (&[batch, heads, queries, width], &[_, of, keys, _]) = (query.sizes(), key.sizes()) else {
        return Err("dimensions");
    };
    if query.layout.numel() == 0 || key.layout.numel() == 0 {
        return Err("no elements");
    }
    let each = [batch, of, keys, width];
    if key.sizes() != each || value.sizes() != each || heads % of != 0 || heads != of && grouped == 0.0 {
        return Err("sizes differ");
    }
    if [query, key, value].iter().any(|tensor| tensor.layout.strides()[3] != 1) {
        return Err("elements of a head that do not lie one after the other");
    }
    if dropout != 0.0 || causal != 0.0 && mask.is_some() {
        return Err("dropout, or two masks");
    }
    if let Some(mask) = mask {
        if ![DType::Bool, DType::F32, dtype].contains(&mask.elements.dtype())
            || dtype == DType::F64 && mask.elements.dtype() == DType::F32
        {
            return Err("a mask of another type");
        }
        let fits = |sizes: &[i64], whole: &[i64]| {
            sizes
                .iter()
                .zip(whole)
                .all(|(&size, &whole)| size == 1 || size == whole)
        };
        let whole = [batch, heads, queries, keys];
        match mask.sizes() {
            sizes @ [_, _] if fits(sizes, &whole[2..]) => {}
            sizes @ [_, _, _, _] if fits(sizes, &whole) => {}
            _ => return Err("a mask of other sizes"),
        }
    }
    Ok(Plan {
        batch: batch as usize,
        heads: of as usize,
        group: (heads / of) as usize,
        queries: queries as usize,
        keys: keys as usize,
        width: width as usize,
        causal: causal != 0.0,
        scale: if scale.is_nan() {
            (width as f64).sqrt().recip()
        } else {
            scale
        },
    })
}

impl IndexKernel for ScaledDotProductAttention {
    fn name(&self) -> &'static str {
        "scaled_dot_product_attention"
    }

    fn takes_gaps(&self) -> bool {
        true
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
        plan(tensors, numbers)?;
        let query = tensors[0].as_ref().ok_or("no query")?;
        let layout = query.layout.like();
        // Of an expanded query it may not be so even where that of the query is.
        if layout.strides()[3] != 1 {
            return Err("elements of a result that would not lie one after the other");
        }
        Ok((query.elements.dtype(), layout))
    }

    fn glance(&self) -> Option<[usize; 2]> {
        Some([0, 0])
    }

    fn may_pay(&self, glance: &Glance) -> bool {
        // Of full precision there is never anything to gain.
        glance.dtype.is_half()
    }

    /// As measured: the libraries that stock torch calls for products are slow with halves and few queries, or without
    /// instructions for such numbers, which those for bfloat16 do without.
    fn pays(&self, isa: Isa, tensors: &[Option<Strided>], _: &[f64]) -> Result<(), &'static str> {
        let query = tensors[0].as_ref().ok_or("no query")?;
        let dtype = query.elements.dtype();
        let few = query.sizes()[2] <= 2;
        let slow = dtype == DType::F16 && !isa.multiplies(dtype);
        if dtype.is_half() && (few || slow) {
            Ok(())
        } else {
            Err("stock torch's products are at the hardware's limit")
        }
    }

    fn forward(
        &self,
        exec: &Exec,
        tensors: &[Option<Strided>],
        result: Target,
        layout: &Layout,
        numbers: &[f64],
    ) -> Result<(), &'static str> {
        let plan = plan(tensors, numbers)?;
        let [Some(query), Some(key), Some(value), mask] = tensors else {
            return Err("a tensor is missing");
        };
        let (q, k, v) = (query.elements, key.elements, value.elements);
        each_type!((q: View, k: View, v: View, result: Target) => {
            let heads = Heads {
                query: Head::new(q, query.layout),
                key: Head::new(k, key.layout),
                value: Head::new(v, value.layout),
                mask: mask.as_ref().map(Mask::new),
                plan: &plan,
                steps: steps(layout),
                result: &Shared::new(result),
            };
            heads.run(exec);
        });
        Ok(())
    }
}

/// How far apart the elements along each of four dimensions are.
fn steps(layout: &Layout) -> [usize; 4] {
    core::array::from_fn(|dim| layout.strides()[dim] as usize)
}

/// One of the three tensors.
#[derive(Clone, Copy)]
struct Head<'a, T> {
    elements: &'a [T],
    steps: [usize; 4],
}

impl<'a, T> Head<'a, T> {
    fn new(elements: &'a [T], layout: &Layout) -> Self {
        Self {
            elements,
            steps: steps(layout),
        }
    }

    /// Where a row begins.
    fn at(&self, [batch, head, row]: [usize; 3]) -> usize {
        place(self.steps, [batch, head, row])
    }

    /// The rows of a head in this range.
    fn rows(&self, batch: usize, head: usize, rows: &Range<usize>, width: usize) -> Matrix<'a, T> {
        let lie = Lie {
            transposed: false,
            pitch: self.steps[2],
        };
        let start = self.at([batch, head, rows.start]);
        Matrix::lying(&self.elements[start..], rows.len(), width, lie)
    }
}

fn place(steps: [usize; 4], [batch, head, row]: [usize; 3]) -> usize {
    batch * steps[0] + head * steps[1] + row * steps[2]
}

/// What is added to scores, or says which count.
#[derive(Clone, Copy)]
struct Mask<'a> {
    elements: View<'a>,
    /// 0 where one stands for all.
    steps: [usize; 4],
}

impl<'a> Mask<'a> {
    fn new(mask: &Strided<'a>) -> Self {
        let (sizes, strides) = (mask.sizes(), mask.layout.strides());
        let missing = 4 - sizes.len();
        let step = |dim: usize| if sizes[dim] == 1 { 0 } else { strides[dim] as usize };
        Self {
            elements: mask.elements,
            steps: core::array::from_fn(|dim| dim.checked_sub(missing).map_or(0, step)),
        }
    }

    /// Changes the scores of a query and keys from `first` on.
    #[inline(always)]
    fn apply<T: RowElement>(&self, row: [usize; 3], first: usize, scores: &mut [T::Lane]) {
        let step = self.steps[3];
        let start = place(self.steps, row) + first * step;
        match self.elements {
            View::Bool(mask) => each(
                mask,
                start,
                step,
                scores,
                #[inline(always)]
                |score, mask| {
                    if mask.0 == 0 { T::Lane::NEG_INFINITY } else { score }
                },
            ),
            View::F32(mask) => each(
                mask,
                start,
                step,
                scores,
                #[inline(always)]
                |score, mask| score + T::Lane::of(f64::from(mask)),
            ),
            mask => {
                if let Some(mask) = T::slice(mask) {
                    each(
                        mask,
                        start,
                        step,
                        scores,
                        #[inline(always)]
                        |score, mask| score + mask.lane(),
                    );
                }
            }
        }
    }
}

#[inline(always)]
fn each<M: Copy, F: Copy>(mask: &[M], start: usize, step: usize, scores: &mut [F], f: impl Fn(F, M) -> F) {
    if step == 1 {
        let mask = &mask[start..][..scores.len()];
        for (score, &mask) in scores.iter_mut().zip(mask) {
            *score = f(*score, mask);
        }
    } else {
        for (index, score) in scores.iter_mut().enumerate() {
            *score = f(*score, mask[start + index * step]);
        }
    }
}

/// All heads of a call.
struct Heads<'a, T> {
    query: Head<'a, T>,
    key: Head<'a, T>,
    value: Head<'a, T>,
    mask: Option<Mask<'a>>,
    plan: &'a Plan,
    /// Of the result.
    steps: [usize; 4],
    result: &'a Shared<'a, MaybeUninit<T>>,
}

impl<T: RowElement> Heads<'_, T> {
    fn run(&self, exec: &Exec) {
        let Plan {
            batch,
            heads,
            group,
            queries,
            keys,
            width,
            ..
        } = *self.plan;
        // The queries of all heads that share keys are the rows of one matrix.
        let rows = group * queries;
        let blocks = rows.div_ceil(QUERIES);
        let bytes = size_of::<T>() * width * (2 * keys + 2 * rows);
        let (team, grain) = exec.team(batch * heads * blocks, bytes, 2 * rows.min(QUERIES) * keys * width);
        let alone = exec.alone();
        team.run(batch * heads * blocks, grain, &|units| {
            let mut block = Block::new(self.plan);
            for unit in units {
                let (of, at) = (unit / blocks, unit % blocks * QUERIES);
                block.attend(&alone, self, [of / heads, of % heads], at..rows.min(at + QUERIES));
            }
        });
    }

    /// Batch, head and place of a query among those that share keys.
    #[inline(always)]
    fn place(&self, [batch, head]: [usize; 2], row: usize) -> [usize; 3] {
        let (member, query) = (row / self.plan.queries, row % self.plan.queries);
        [batch, head * self.plan.group + member, query]
    }
}

/// Some queries, and what is known of them so far.
struct Block<F> {
    queries: Vec<F>,
    scores: Vec<F>,
    /// The result before it is divided by the sums, and what one block of keys adds.
    sums: Vec<F>,
    products: Vec<F>,
    rows: Vec<Row<F>>,
    /// Keys that are worked on together.
    keys: usize,
    /// How far apart the rows of all but the scores are: of few queries, filled up with zeros.
    pitch: usize,
    few: bool,
}

/// Of one query: its greatest score, the sum of exponentials, and what the sums so far are to be multiplied by.
#[derive(Clone, Copy)]
struct Row<F> {
    greatest: F,
    sum: F,
    factor: F,
}

impl<F: RowLane> Row<F> {
    const START: Self = Self {
        greatest: F::NEG_INFINITY,
        sum: F::ZERO,
        factor: F::ZERO,
    };
}

impl<F: RowLane> Block<F> {
    fn new(plan: &Plan) -> Self {
        let rows = QUERIES.min(plan.group * plan.queries);
        let few = rows <= FEW;
        let (keys, pitch) = if few {
            (FEW_KEYS, plan.width.next_multiple_of(LANES))
        } else {
            (KEYS, plan.width)
        };
        let keys = keys.min(plan.keys);
        let of = |len: usize| vec![F::ZERO; len];
        Self {
            queries: of(rows * pitch),
            scores: of(rows * keys),
            sums: of(rows * pitch),
            products: of(rows * pitch),
            rows: vec![Row::START; rows],
            keys,
            pitch,
            few,
        }
    }

    fn attend<T: RowElement<Lane = F>>(&mut self, exec: &Exec, heads: &Heads<T>, of: [usize; 2], rows: Range<usize>) {
        let &Plan {
            group,
            width,
            keys,
            causal,
            scale,
            queries: count,
            ..
        } = heads.plan;
        let (len, [batch, head]) = (rows.len(), of);
        let pitch = self.pitch;
        let queries = &mut self.queries[..len * pitch];
        let sums = &mut self.sums[..len * pitch];
        let products = &mut self.products[..len * pitch];
        let states = &mut self.rows[..len];
        sums.fill(F::ZERO);
        states.fill(Row::START);
        exec.isa.run(Widen {
            heads,
            of,
            rows: rows.clone(),
            dst: queries,
        });
        // The last key that any of the queries sees.
        let last = match (causal, group) {
            (false, _) => keys,
            (true, 1) => keys.min(rows.end),
            (true, _) => keys.min(count),
        };
        let mut start = 0;
        while start < last {
            let part = start..last.min(start + self.keys);
            let scores = &mut self.scores[..len * part.len()];
            let key = heads.key.rows(batch, head, &part, width);
            let value = heads.value.rows(batch, head, &part, width);
            if self.few {
                exec.isa.run(Scores {
                    queries,
                    pitch,
                    key,
                    scale,
                    dst: scores,
                });
            } else {
                let queries = Matrix::new(queries, len, width);
                gemm(exec, queries, key.t(), Some(Sum::times(scale)), as_uninit(scores));
            }
            exec.isa.run(Exponentials {
                heads,
                of,
                first: rows.start,
                keys: part.clone(),
                scores,
                rows: states,
            });
            if self.few {
                exec.isa.run(Products {
                    scores,
                    value,
                    pitch,
                    dst: products,
                });
            } else {
                let scores = Matrix::new(scores, len, part.len());
                gemm(exec, scores, value, None, as_uninit(products));
            }
            exec.isa.run(Add { states, products, sums });
            start = part.end;
        }
        exec.isa.run(Write {
            heads,
            of,
            first: rows.start,
            states,
            sums,
        });
    }
}

/// Widens queries.
struct Widen<'a, T: RowElement> {
    heads: &'a Heads<'a, T>,
    of: [usize; 2],
    rows: Range<usize>,
    dst: &'a mut [T::Lane],
}

impl<T: RowElement> Program for Widen<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (width, pitch) = (self.heads.plan.width, self.dst.len() / self.rows.len());
        for (row, dst) in self.rows.zip(self.dst.chunks_exact_mut(pitch)) {
            let at = self.heads.query.at(self.heads.place(self.of, row));
            T::widen(simd, &self.heads.query.elements[at..at + width], &mut dst[..width]);
        }
    }
}

/// Rows of a matrix, so many at a time, widened and filled up with zeros to a distance; and which these are.
#[inline(always)]
fn tiles<T: RowElement, S: Simd>(
    simd: S,
    rows: Matrix<T>,
    pitch: usize,
    mut each: impl FnMut(Range<usize>, &[T::Lane]),
) {
    let (count, width) = rows.sizes();
    let mut tile = Tile::<T::Lane>::new(TILE_KEYS * pitch);
    let tile = &mut tile.get()[..TILE_KEYS * pitch];
    tile.fill(T::Lane::ZERO);
    for start in (0..count).step_by(TILE_KEYS) {
        let part = start..count.min(start + TILE_KEYS);
        for (row, dst) in part.clone().zip(tile.chunks_exact_mut(pitch)) {
            T::widen(simd, rows.line(row, 0..width), &mut dst[..width]);
        }
        each(part, tile);
    }
}

/// Scores of few queries.
struct Scores<'a, T: RowElement> {
    queries: &'a [T::Lane],
    pitch: usize,
    key: Matrix<'a, T>,
    scale: f64,
    dst: &'a mut [T::Lane],
}

impl<T: RowElement> Program for Scores<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (count, scale) = (self.key.sizes().0, T::Lane::of(self.scale));
        tiles(
            simd,
            self.key,
            self.pitch,
            #[inline(always)]
            |part, tile| {
                for (query, scores) in self
                    .queries
                    .chunks_exact(self.pitch)
                    .zip(self.dst.chunks_exact_mut(count))
                {
                    let (query, _) = query.as_chunks::<LANES>();
                    for (score, key) in scores[part.clone()].iter_mut().zip(tile.chunks_exact(self.pitch)) {
                        let (key, _) = key.as_chunks::<LANES>();
                        let mut sums = [T::Lane::ZERO; LANES];
                        for (query, key) in query.iter().zip(key) {
                            for i in 0..LANES {
                                sums[i] = query[i].mul_add(key[i], sums[i]);
                            }
                        }
                        *score = fold(&mut sums, |a, b| a + b) * scale;
                    }
                }
            },
        );
    }
}

/// Sums of values, by the exponentials of few queries.
struct Products<'a, T: RowElement> {
    scores: &'a [T::Lane],
    value: Matrix<'a, T>,
    pitch: usize,
    dst: &'a mut [T::Lane],
}

impl<T: RowElement> Program for Products<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (count, pitch) = (self.value.sizes().0, self.pitch);
        self.dst.fill(T::Lane::ZERO);
        tiles(
            simd,
            self.value,
            pitch,
            #[inline(always)]
            |part, tile| {
                for (products, scores) in self.dst.chunks_exact_mut(pitch).zip(self.scores.chunks_exact(count)) {
                    let scores = &scores[part.clone()];
                    let (wide, rest) = products.as_chunks_mut::<WIDE>();
                    let done = wide.len() * WIDE;
                    for (at, sums) in wide.iter_mut().enumerate() {
                        add(scores, &tile[at * WIDE..], pitch, sums);
                    }
                    for (at, sums) in rest.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
                        add(scores, &tile[done + at * LANES..], pitch, sums);
                    }
                }
            },
        );
    }
}

/// Adds some columns of rows, each times its factor.
#[inline(always)]
fn add<F: RowLane, const N: usize>(factors: &[F], rows: &[F], pitch: usize, sums: &mut [F; N]) {
    let mut all = *sums;
    for (at, &factor) in factors.iter().enumerate() {
        let row: &[F; N] = rows[at * pitch..].first_chunk().expect("as many columns");
        for i in 0..N {
            all[i] = row[i].mul_add(factor, all[i]);
        }
    }
    *sums = all;
}

/// Scores become exponentials of how far they are from the greatest so far.
struct Exponentials<'a, T: RowElement> {
    heads: &'a Heads<'a, T>,
    of: [usize; 2],
    first: usize,
    keys: Range<usize>,
    scores: &'a mut [T::Lane],
    rows: &'a mut [Row<T::Lane>],
}

/// Numbers that are worked on together, and where many are.
const LANES: usize = 16;
const WIDE: usize = 64;

impl<T: RowElement> Program for Exponentials<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let count = self.keys.len();
        for (index, (state, scores)) in self
            .rows
            .iter_mut()
            .zip(self.scores.chunks_exact_mut(count))
            .enumerate()
        {
            let row = self.heads.place(self.of, self.first + index);
            if let Some(mask) = &self.heads.mask {
                mask.apply::<T>(row, self.keys.start, scores);
            }
            if self.heads.plan.causal {
                let seen = (row[2] + 1).saturating_sub(self.keys.start).min(count);
                scores[seen..].fill(T::Lane::NEG_INFINITY);
            }
            // What is no number is none of them, and makes the sum one.
            let greatest = max(simd, scores).larger(state.greatest);
            // Where there is nothing yet, all are 0 but what is no number.
            let shift = if greatest == T::Lane::NEG_INFINITY {
                T::Lane::ZERO
            } else {
                greatest
            };
            let sum = exponentials(scores, shift);
            state.factor = (state.greatest - shift).exp();
            state.sum = state.sum * state.factor + sum;
            state.greatest = greatest;
        }
    }
}

/// Makes exponentials of numbers, and gives their sum.
#[inline(always)]
fn exponentials<F: RowLane>(row: &mut [F], shift: F) -> F {
    let (chunks, rest) = row.as_chunks_mut::<LANES>();
    let mut sums = [F::ZERO; LANES];
    for chunk in chunks {
        for (sum, x) in sums.iter_mut().zip(chunk) {
            *x = (*x - shift).exp();
            *sum += *x;
        }
    }
    if !rest.is_empty() {
        // Filled up with what becomes 0.
        let mut last = [F::NEG_INFINITY; LANES];
        last[..rest.len()].copy_from_slice(rest);
        for (sum, x) in sums.iter_mut().zip(&mut last) {
            *x = (*x - shift).exp();
            *sum += *x;
        }
        rest.copy_from_slice(&last[..rest.len()]);
    }
    fold(&mut sums, |a, b| a + b)
}

/// Adds what a block of keys gives to the sums.
struct Add<'a, F> {
    states: &'a [Row<F>],
    products: &'a [F],
    sums: &'a mut [F],
}

impl<F: RowLane> Program for Add<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let width = self.sums.len() / self.states.len();
        let rows = self.sums.chunks_exact_mut(width).zip(self.products.chunks_exact(width));
        for (state, (sums, products)) in self.states.iter().zip(rows) {
            for (sum, &product) in sums.iter_mut().zip(products) {
                *sum = sum.mul_add(state.factor, product);
            }
        }
    }
}

/// Divides by the sums of exponentials.
struct Write<'a, T: RowElement> {
    heads: &'a Heads<'a, T>,
    of: [usize; 2],
    first: usize,
    states: &'a [Row<T::Lane>],
    sums: &'a mut [T::Lane],
}

impl<T: RowElement> Program for Write<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (width, pitch) = (self.heads.plan.width, self.sums.len() / self.states.len());
        for (index, (state, sums)) in self.states.iter().zip(self.sums.chunks_exact_mut(pitch)).enumerate() {
            let by = if state.sum == T::Lane::ZERO {
                T::Lane::ZERO
            } else {
                T::Lane::of(1.0) / state.sum
            };
            for sum in &mut *sums {
                *sum = *sum * by;
            }
            let at = place(self.heads.steps, self.heads.place(self.of, self.first + index));
            // SAFETY: rows of the result are apart, and each belongs to one unit of work.
            let dst = unsafe { self.heads.result.piece(at..at + width) };
            T::narrow(simd, &sums[..width], dst);
        }
    }
}
