//! The same of operations that move, choose or find elements: against naive references, element by element, as bits; and
//! nothing beyond a result is written.

use arbitrary::{Arbitrary, Result, Unstructured};
use half::{bf16, f16};
use rusttorch_core::{
    dtype::{Bool, DType, Target, View, ViewMut},
    isa::Isa,
    kernel::{Exec, IndexKernel, Strided},
    layout::Layout,
    ops,
    parallel::Serial,
};

use super::{
    kernel::{Uneven, list, number},
    number::random,
};

/// Elements of any type.
macro_rules! buffers {
    ($($variant:ident($element:ty, $bits:ty, $of:expr, $to:expr)),* $(,)?) => {
        #[derive(Debug)]
        enum Buffer { $($variant(Vec<$element>)),* }

        impl Buffer {
            /// Elements of these bits, of which a type takes the lowest.
            fn new(dtype: DType, bits: impl Iterator<Item = u64>) -> Self {
                match dtype { $(DType::$variant => Self::$variant(bits.map(|bits| $of(bits as $bits)).collect())),* }
            }

            fn view(&self) -> View<'_> {
                match self { $(Self::$variant(all) => all[..].into()),* }
            }

            fn bits(&self) -> Vec<u64> {
                match self { $(Self::$variant(all) => all.iter().map(|&x| { let bits: $bits = $to(x); bits as u64 }).collect()),* }
            }

            /// What is between the guards, to be written in full.
            fn target(&mut self) -> Target<'_> {
                match self { $(Self::$variant(all) => {
                    let len = all.len();
                    (&mut all[GUARD..len - GUARD]).into()
                }),* }
            }

            /// What is between the guards.
            fn view_mut(&mut self) -> ViewMut<'_> {
                match self { $(Self::$variant(all) => {
                    let len = all.len();
                    (&mut all[GUARD..len - GUARD]).into()
                }),* }
            }
        }
    };
}

buffers! {
    F32(f32, u32, f32::from_bits, f32::to_bits),
    F64(f64, u64, f64::from_bits, f64::to_bits),
    Bf16(bf16, u16, bf16::from_bits, bf16::to_bits),
    F16(f16, u16, f16::from_bits, f16::to_bits),
    I64(i64, u64, |x| x as i64, |x| x as u64),
    I32(i32, u32, |x| x as i32, |x| x as u32),
    I16(i16, u16, |x| x as i16, |x| x as u16),
    I8(i8, u8, |x| x as i8, |x| x as u8),
    U8(u8, u8, |x| x, |x| x),
    Bool(Bool, u8, Bool, |x: Bool| x.0),
}

/// Elements before and after a result, which are not to be written.
const GUARD: usize = 64;

/// What a guard, and a result before it is written, is filled with.
const FILL: u64 = 0x0101_0101_0101_0101;

/// The bits of a whole number.
fn whole(dtype: DType, x: i64) -> u64 {
    match dtype {
        DType::F32 => u64::from((x as f32).to_bits()),
        DType::F64 => (x as f64).to_bits(),
        DType::Bf16 => u64::from(bf16::from_f64(x as f64).to_bits()),
        DType::F16 => u64::from(f16::from_f64(x as f64).to_bits()),
        DType::Bool => u64::from(x % 2 != 0),
        _ => x as u64,
    }
}

/// An element as a number that is compared, doubles and integers exactly.
fn compared(dtype: DType, bits: u64) -> std::result::Result<f64, i64> {
    match dtype {
        DType::F32 => Ok(f64::from(f32::from_bits(bits as u32))),
        DType::F64 => Ok(f64::from_bits(bits)),
        DType::Bf16 => Ok(bf16::from_bits(bits as u16).to_f64()),
        DType::F16 => Ok(f16::from_bits(bits as u16).to_f64()),
        DType::I64 => Err(bits as i64),
        DType::I32 => Err(i64::from(bits as i32)),
        DType::I16 => Err(i64::from(bits as i16)),
        DType::I8 => Err(i64::from(bits as i8)),
        DType::U8 | DType::Bool => Err(bits as i64),
    }
}

/// Whether `a < b`, and whether they are equal; neither of NaN.
fn order(dtype: DType, a: u64, b: u64) -> (bool, bool) {
    match (compared(dtype, a), compared(dtype, b)) {
        (Ok(a), Ok(b)) => (a < b, a == b),
        (Err(a), Err(b)) => (a < b, a == b),
        _ => unreachable!("numbers of one type"),
    }
}

/// The same bits for every NaN.
fn plain(dtype: DType, bits: u64) -> u64 {
    match compared(dtype, bits) {
        Ok(x) if x.is_nan() => u64::MAX,
        _ => bits,
    }
}

/// What a tensor holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Content {
    /// Elements of the call's type: whole numbers, many of them equal, or any bits.
    Elements {
        any: bool,
    },
    /// Whole numbers that ascend.
    Ascending,
    /// Places, some of which may be out of range.
    Indices,
    Mask,
}

/// A tensor: its sizes, and how its strides come about.
#[derive(Debug)]
struct Tensor {
    sizes: Vec<i64>,
    content: Content,
    /// How much longer a stride is than it need be, and the dimensions that are broadcast.
    gap: i64,
    broadcast: u8,
    /// By how many places dimensions are turned: 0 is row-major.
    turn: usize,
}

impl Tensor {
    fn layout(&self) -> Layout {
        let ndim = self.sizes.len();
        let mut strides = vec![0; ndim];
        let mut step = 1 + self.gap;
        for at in (0..ndim).rev() {
            let dim = (at + self.turn) % ndim;
            if self.broadcast >> dim & 1 == 0 {
                strides[dim] = step;
                step *= self.sizes[dim].max(1);
            }
        }
        Layout::new(&self.sizes, &strides).expect("few elements")
    }

    /// Elements from the first to the last one.
    fn extent(&self) -> usize {
        self.layout().extent().expect("few elements")
    }
}

/// Any call of any of these kernels.
#[derive(Debug)]
pub struct Case {
    pub kernel: &'static str,
    dtype: DType,
    isa: &'static str,
    team: Uneven,
    inplace: bool,
    tensors: Vec<Option<Tensor>>,
    numbers: Vec<f64>,
    seed: u64,
    /// Between which indices are.
    least: i64,
    most: i64,
    /// Of how many elements of a mask one is true.
    sparse: u64,
}

/// The most elements: enough for a team to join.
const MOST: i64 = 40_000;

fn sizes(u: &mut Unstructured) -> Result<Vec<i64>> {
    let mut left = *u.choose(&[20, 200, 200, 3000, MOST])?;
    list(4, u, |u| {
        let least = i64::from(u.ratio(29, 30)?);
        let size = u.int_in_range(least..=left.max(1))?;
        left /= size.max(1);
        Ok(size)
    })
}

fn tensor(sizes: Vec<i64>, content: Content, u: &mut Unstructured) -> Result<Tensor> {
    let plain = u.ratio(3, 4)?;
    Ok(Tensor {
        sizes,
        content,
        gap: if plain { 0 } else { u.int_in_range(0..=2)? },
        broadcast: if plain || u.ratio(1, 2)? { 0 } else { u.arbitrary()? },
        turn: if plain { 0 } else { u.int_in_range(0..=3)? },
    })
}

/// Sizes that are broadcast to these, most of the time.
fn narrower(sizes: &[i64], u: &mut Unstructured) -> Result<Vec<i64>> {
    let mut narrow = sizes[u.int_in_range(0..=sizes.len() / 2)?..].to_vec();
    for size in &mut narrow {
        if u.ratio(1, 4)? {
            *size = 1;
        }
    }
    Ok(narrow)
}

/// Sizes and contents of the tensors, and the numbers.
type Operands = (Vec<Option<(Vec<i64>, Content)>>, Vec<f64>);

/// Factors whose products are exact, and what is added to these.
fn factors(kernel: &str, terms: i64, u: &mut Unstructured) -> Result<Operands> {
    let dims = match kernel {
        "matmul" => [u.int_in_range(1..=4)?, u.int_in_range(1..=4)?],
        "bmm" | "baddbmm" => [3, 3],
        _ => [2, 2],
    };
    let small = |u: &mut Unstructured| {
        let most = *u.choose(&[3, 3, 9, 70])?;
        u.int_in_range(1..=most)
    };
    let (rows, columns) = (small(u)?, small(u)?);
    let outer = [u.int_in_range(1..=3)?, u.int_in_range(1..=3)?];
    let factor = |dims: usize, matrix: [i64; 2], vector: i64| {
        if dims == 1 {
            vec![vector]
        } else {
            [&outer[outer.len() + 2 - dims..], &matrix[..]].concat()
        }
    };
    let [a, b] = [
        factor(dims[0], [rows, terms], terms),
        factor(dims[1], [terms, columns], terms),
    ];
    // Their products are exact.
    let exact = |sizes: Vec<i64>| Some((sizes, Content::Elements { any: false }));
    let mut factors = vec![exact(a), exact(b)];
    if kernel.contains("add") {
        let sizes = factor(dims[0], [rows, columns], columns);
        factors.insert(0, exact(narrower(&sizes, u)?));
    }
    let numbers = vec![f64::from(u.int_in_range(0..=2)?), f64::from(u.int_in_range(1..=2)?)];
    Ok((factors, numbers))
}

/// Queries, keys and values whose scores are exact, and a mask of them.
fn heads(keys: i64, u: &mut Unstructured) -> Result<Operands> {
    let mut small = |most: i64| u.int_in_range(1..=most);
    let (batch, of, group, width) = (small(2)?, small(2)?, small(3)?, small(20)?);
    let most = *u.choose(&[1, 3, 40, 150])?;
    let queries = u.int_in_range(1..=most)?;
    let exact = |sizes: Vec<i64>| Some((sizes, Content::Elements { any: false }));
    let mut tensors = vec![exact(vec![batch, of * group, queries, width])];
    tensors.extend([(); 2].map(|()| exact(vec![batch, of, keys, width])));
    let causal = u.ratio(1, 3)?;
    if !causal && u.ratio(2, 3)? {
        let mut sizes = vec![batch, of * group, queries, keys];
        for size in &mut sizes {
            if u.ratio(1, 3)? {
                *size = 1;
            }
        }
        let sizes = if u.ratio(1, 2)? { sizes } else { sizes[2..].to_vec() };
        let mask = if u.ratio(1, 2)? {
            Some((sizes, Content::Mask))
        } else {
            exact(sizes)
        };
        tensors.push(mask);
    }
    tensors.resize(4, None);
    let scale = *u.choose(&[1.0, 0.5])?;
    Ok((tensors, vec![0.0, f64::from(u8::from(causal)), scale, 1.0]))
}

/// Those that go with a kernel, most of the time.
fn operands(kernel: &str, input: &[i64], u: &mut Unstructured) -> Result<Operands> {
    let elements = Content::Elements { any: u.ratio(1, 4)? };
    let (count, ndim) = (u.int_in_range(0..=300)?, input.len() as i64);
    let dim = if u.ratio(9, 10)? {
        u.int_in_range(-ndim..=(ndim - 1).max(-ndim))?
    } else {
        7
    };
    let at = dim.rem_euclid(ndim.max(1)) as usize;
    let resized = |size: i64| {
        let mut sizes = input.to_vec();
        if let Some(its) = sizes.get_mut(at) {
            *its = size;
        }
        sizes
    };
    let first = Some((input.to_vec(), elements));
    Ok(match kernel {
        "where" => {
            let condition = Some((narrower(input, u)?, Content::Mask));
            let sides = [(); 2].map(|()| {
                Ok(if u.ratio(3, 4)? {
                    Some((narrower(input, u)?, elements))
                } else {
                    None
                })
            });
            let [on, off] = sides;
            (vec![condition, on?, off?], vec![1.0, 0.0])
        }
        "masked_fill" => {
            let value = u.ratio(1, 3)?.then(|| (vec![], elements));
            (
                vec![first, value, Some((narrower(input, u)?, Content::Mask))],
                vec![1.0],
            )
        }
        "index_put_" => {
            let cut = u.int_in_range(1..=input.len().max(1))?.min(input.len());
            let mask = input[..cut].to_vec();
            let value = u.ratio(1, 3)?.then(|| (vec![], elements));
            (vec![first, value, Some((mask, Content::Mask))], vec![1.0])
        }
        "gather" => (vec![first, Some((resized(count), Content::Indices))], vec![dim as f64]),
        "take_along_dim" => (vec![first, Some((resized(count), Content::Indices))], vec![dim as f64]),
        "index_select" => (vec![first, Some((vec![count], Content::Indices))], vec![dim as f64]),
        "take" | "index" => (vec![first, Some((self::sizes(u)?, Content::Indices))], vec![]),
        "searchsorted" | "bucketize" => {
            let rows = u.ratio(1, 3)?;
            let content = if u.ratio(4, 5)? { Content::Ascending } else { elements };
            let last = input.len().saturating_sub(1);
            let sequence = if rows {
                [&input[..last], &[count]].concat()
            } else {
                vec![count]
            };
            let (sequence, values) = (Some((sequence, content)), first);
            let both = if kernel == "bucketize" {
                vec![values, sequence]
            } else {
                vec![sequence, values]
            };
            (both, vec![f64::from(u8::from(u.arbitrary::<bool>()?)), 0.0])
        }
        "isin" => {
            let among = Some((vec![if u.ratio(1, 2)? { count } else { count % 5 }], elements));
            (
                vec![first, among],
                vec![0.0, f64::from(u8::from(u.arbitrary::<bool>()?))],
            )
        }
        "histc" => (vec![first], vec![count as f64, 0.0, f64::from(u.arbitrary::<u8>()?)]),
        "contiguous" => (vec![first], vec![]),
        "cdist" => {
            let mut others = input.to_vec();
            if let Some(rows) = others.iter_mut().rev().nth(1) {
                *rows = count % 20;
            }
            let norm = *u.choose(&[1.0, 2.0, f64::INFINITY, 3.0])?;
            (vec![first, Some((others, elements))], vec![norm, 0.0])
        }
        "matmul" | "mm" | "bmm" | "addmm" | "baddbmm" => factors(kernel, count + 1, u)?,
        "scaled_dot_product_attention" => heads(3 * count + 1, u)?,
        // Whatever another may take: a tensor to be compared with; indices and a source; a mask and one.
        _ => {
            let source = |sizes| Some((sizes, elements));
            let others = match u.int_in_range(0..=4)? {
                0 => vec![],
                1 => vec![source(narrower(input, u)?)],
                2 => vec![Some((resized(count), Content::Indices)), source(resized(count))],
                3 => vec![Some((vec![count], Content::Indices)), source(resized(count))],
                _ => {
                    let all = input.iter().product();
                    vec![Some((input.to_vec(), Content::Mask)), source(vec![all])]
                }
            };
            let numbers = [dim as f64, 1.0, 1.0];
            ([vec![first], others].concat(), numbers.to_vec())
        }
    })
}

impl<'a> Arbitrary<'a> for Case {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let kernel = u.choose(ops::INDEX_KERNELS)?.name();
        let input = sizes(u)?;
        let inplace = matches!(kernel, "masked_fill" | "index_put_") && u.ratio(2, 3)?;
        let (mut made, mut numbers) = operands(kernel, &input, u)?;
        // Calls that fit no kernel come as well.
        if u.ratio(1, 30)? {
            for operand in &mut made {
                if u.ratio(1, 3)? {
                    *operand = Some((sizes(u)?, *u.choose(&[Content::Indices, Content::Mask])?));
                }
            }
            numbers = list(3, u, number)?;
        }
        let tensors = made
            .into_iter()
            .map(|made| made.map(|(sizes, content)| tensor(sizes, content, u)).transpose())
            .collect::<Result<_>>()?;
        let beyond = u.ratio(1, 8)?;
        Ok(Self {
            kernel,
            dtype: *u.choose(&DType::ALL)?,
            isa: u.choose(&Isa::available())?.name(),
            team: Uneven(u.int_in_range(1..=9)?),
            inplace,
            tensors,
            numbers,
            seed: u.arbitrary()?,
            least: if u.ratio(1, 3)? { -4 } else { 0 },
            most: if beyond { i64::MAX } else { u.int_in_range(0..=12)? },
            sparse: u.int_in_range(1..=9)?,
        })
    }
}

/// The elements were not for the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Refused;

/// The elements of a tensor in row-major order, as bits.
struct Seen {
    sizes: Vec<i64>,
    bits: Vec<u64>,
}

impl Seen {
    fn new(layout: &Layout, bits: &[u64]) -> Self {
        let (sizes, strides) = (layout.sizes(), layout.strides());
        let each = (0..layout.numel()).map(|place| {
            let steps = index_of(place, sizes).into_iter().zip(strides);
            bits[steps.map(|(index, stride)| index * *stride as usize).sum::<usize>()]
        });
        Self {
            sizes: sizes.to_vec(),
            bits: each.collect(),
        }
    }

    /// The element that is broadcast to this index of a tensor of at least as many dimensions.
    fn broadcast(&self, index: &[usize]) -> u64 {
        let own = &index[index.len() - self.sizes.len()..];
        let steps = own.iter().zip(&self.sizes);
        self.bits[steps.fold(0, |at, (&index, &size)| {
            at * size as usize + if size == 1 { 0 } else { index }
        })]
    }

    /// The element at this index.
    fn at(&self, index: &[usize]) -> u64 {
        self.bits[place_of(index, &self.sizes)]
    }
}

fn index_of(mut place: usize, sizes: &[i64]) -> Vec<usize> {
    let mut index = vec![0; sizes.len()];
    for (index, &size) in index.iter_mut().zip(sizes).rev() {
        *index = place % size as usize;
        place /= size as usize;
    }
    index
}

fn place_of(index: &[usize], sizes: &[i64]) -> usize {
    index
        .iter()
        .zip(sizes)
        .fold(0, |at, (&index, &size)| at * size as usize + index)
}

/// The place that an index names among so many; from the end, if it is negative and `wraps`.
fn named(index: u64, size: i64, wraps: bool) -> Option<usize> {
    let index = index as i64;
    let index = if wraps && index < 0 {
        index.checked_add(size)?
    } else {
        index
    };
    (0..size).contains(&index).then_some(index as usize)
}

impl Case {
    /// Elements of all tensors.
    pub fn elements(&self) -> usize {
        self.tensors.iter().flatten().map(Tensor::extent).sum()
    }

    /// Runs the call, if the kernel takes it, on one thread and on the team.
    ///
    /// Returns whether it does.
    pub fn check(&self) -> bool {
        let kernel = ops::find_index(self.kernel).expect("a kernel of the list");
        let layouts: Vec<Option<Layout>> = self.tensors.iter().map(|t| Some(t.as_ref()?.layout())).collect();
        let buffers: Vec<Option<Buffer>> = (1..)
            .zip(&self.tensors)
            .map(|(salt, tensor)| Some(self.buffer(tensor.as_ref()?, salt)))
            .collect();
        let tensors: Vec<Option<Strided>> = layouts
            .iter()
            .zip(&buffers)
            .map(|(layout, buffer)| {
                Some(Strided {
                    layout: layout.as_ref()?,
                    elements: buffer.as_ref()?.view(),
                })
            })
            .collect();
        // These have as many elements as a mask chooses.
        if kernel.chooses(&tensors).is_some() {
            return false;
        }
        let Ok((dtype, layout)) = kernel.outline(&tensors, &self.numbers, self.inplace) else {
            return false;
        };
        assert!(layout.dense_order().is_some(), "{self:?}: {layout:?}");
        if layout.numel() > 1 << 20 {
            return false;
        }
        let seen: Vec<Option<Seen>> = tensors
            .iter()
            .zip(&buffers)
            .map(|(tensor, buffer)| Some(Seen::new(tensor.as_ref()?.layout, &buffer.as_ref()?.bits())))
            .collect();
        let isa = Isa::by_name(self.isa).expect("an instruction set of this machine");
        let first = self.run(kernel, &Exec::new(Isa::detect(), &Serial), &tensors, dtype, &layout, 0);
        let other = self.run(kernel, &Exec::new(isa, &self.team), &tensors, dtype, &layout, FILL);
        let seen = |index: usize| seen[index].as_ref();
        if let Some(expected) = self.expected(&seen, layout.sizes()) {
            assert_eq!(first, other, "{self:?}");
            // In the order of the result's memory; that of a tensor changed in place is the input's.
            let first = first.map(|bits| Seen::new(&layout, &bits).bits);
            assert_eq!(first, expected, "{self:?}");
        } else {
            // What computes leaves the bits of a NaN to the compiler.
            let plain = |bits: Vec<u64>| bits.into_iter().map(|bits| plain(dtype, bits)).collect::<Vec<_>>();
            assert_eq!(first.map(plain), other.map(plain), "{self:?}");
        }
        true
    }

    fn buffer(&self, tensor: &Tensor, salt: u64) -> Buffer {
        let (len, seed) = (tensor.extent(), self.seed.wrapping_add(salt));
        let bits = random(len, seed);
        let dtype = self.dtype;
        match tensor.content {
            Content::Elements { any: true } if dtype != DType::Bool => Buffer::new(dtype, bits),
            Content::Elements { .. } => Buffer::new(dtype, bits.map(|bits| whole(dtype, (bits >> 20) as i64 % 50 - 9))),
            Content::Ascending => {
                // A row is as long as the last dimension.
                let row = tensor.sizes.last().map_or(1, |&size| size.max(1)) as usize;
                Buffer::new(dtype, (0..len).map(|at| whole(dtype, (at % row) as i64 / 7 - 5)))
            }
            Content::Indices => {
                let span = self.most.saturating_sub(self.least).max(1) as u64;
                let index = |bits: u64| self.least.wrapping_add(((bits >> 1) % span) as i64) as u64;
                Buffer::new(DType::I64, bits.map(index))
            }
            Content::Mask => Buffer::new(DType::Bool, bits.map(|bits| u64::from((bits >> 20) % self.sparse == 0))),
        }
    }

    /// The bits that a call writes, in the order of memory, or changes; none where it refuses elements.
    fn run(
        &self,
        kernel: &dyn IndexKernel,
        exec: &Exec,
        tensors: &[Option<Strided>],
        dtype: DType,
        layout: &Layout,
        before: u64,
    ) -> std::result::Result<Vec<u64>, Refused> {
        let guard = || std::iter::repeat_n(FILL, GUARD);
        let between = |bits: Vec<u64>| Buffer::new(dtype, guard().chain(bits).chain(guard()));
        let (mut buffer, outcome);
        let mut changed = None;
        if self.inplace {
            let input = tensors[0].as_ref().expect("an input");
            let bits = bits_of(input.elements);
            buffer = between(bits.clone());
            let mut others = tensors.to_vec();
            others[0] = None;
            outcome = kernel.inplace(exec, input.layout, buffer.view_mut(), &others, &self.numbers);
            changed = Some(bits);
        } else {
            buffer = between(vec![before; layout.numel()]);
            outcome = kernel.forward(exec, tensors, buffer.target(), layout, &self.numbers);
        }
        let all = buffer.bits();
        let filled = Buffer::new(dtype, guard()).bits();
        assert!(
            all.starts_with(&filled) && all.ends_with(&filled),
            "{self:?}: beyond the result"
        );
        let bits = all[GUARD..all.len() - GUARD].to_vec();
        if outcome.is_err() {
            assert!(
                changed.is_none_or(|before| before == bits),
                "{self:?}: refused, and changed"
            );
            return Err(Refused);
        }
        Ok(bits)
    }

    /// An element of a product of matrices, or of what one becomes a part of.
    fn product<'s>(&self, seen: &impl Fn(usize) -> Option<&'s Seen>, index: &[usize]) -> Option<u64> {
        let adds = self.tensors.len() == 3;
        let [a, b] = [seen(usize::from(adds))?, seen(1 + usize::from(adds))?];
        let number = |bits| compared(self.dtype, bits).unwrap_or_default();
        let dims = [a, b].map(|factor| factor.sizes.len());
        // A vector has no row or column in the index.
        let outer = &index[..index.len() - dims.iter().filter(|&&dims| dims > 1).count()];
        let row = (dims[0] > 1).then(|| index[outer.len()]);
        let column = (dims[1] > 1).then(|| index[index.len() - 1]);
        let terms = (0..*a.sizes.last()? as usize).map(|term| {
            let left: Vec<usize> = outer.iter().copied().chain(row).chain([term]).collect();
            let right: Vec<usize> = outer.iter().copied().chain([term]).chain(column).collect();
            number(a.broadcast(&left)) * number(b.broadcast(&right))
        });
        let mut sum: f64 = terms.sum();
        if adds {
            sum = self.numbers[1] * sum + self.numbers[0] * number(seen(0)?.broadcast(index));
        }
        Some(whole(self.dtype, sum as i64))
    }

    /// What a call gives, in row-major order; where there is a reference.
    fn expected<'s>(
        &self,
        seen: &impl Fn(usize) -> Option<&'s Seen>,
        sizes: &[i64],
    ) -> Option<std::result::Result<Vec<u64>, Refused>> {
        let numel = sizes.iter().product::<i64>() as usize;
        let each = |of: &dyn Fn(&[usize]) -> Option<u64>| {
            let all: Option<Vec<u64>> = (0..numel).map(|place| of(&index_of(place, sizes))).collect();
            Some(all.ok_or(Refused))
        };
        let scalar = |index: usize| {
            let x = self.numbers.get(index).copied().unwrap_or(0.0);
            (x.trunc() == x && x.abs() < 100.0).then(|| whole(self.dtype, x as i64))
        };
        // Along another dimension, by two indices, or by indices in the place of a mask.
        let other = self.numbers.first().is_some_and(|&dim| dim != 0.0) || self.tensors.len() > 2;
        let by_indices = |tensor: &Option<Tensor>| tensor.as_ref().is_some_and(|t| t.content == Content::Indices);
        if self.kernel == "index" && other || self.kernel == "index_put_" && self.tensors.get(2).is_some_and(by_indices)
        {
            return None;
        }
        let dim = |of: &Seen| (self.numbers[0] as i64).rem_euclid(of.sizes.len() as i64) as usize;
        match self.kernel {
            "where" => {
                let (on, off) = (scalar(0)?, scalar(1)?);
                each(&|index| {
                    let (side, number) = if seen(0)?.broadcast(index) == 0 {
                        (seen(2), off)
                    } else {
                        (seen(1), on)
                    };
                    Some(side.map_or(number, |side| side.broadcast(index)))
                })
            }
            "masked_fill" => {
                let value = seen(1).map_or_else(|| scalar(0), |value| Some(value.bits[0]))?;
                each(&|index| {
                    let truth = seen(2)?.broadcast(index) != 0;
                    Some(if truth { value } else { seen(0)?.at(index) })
                })
            }
            "index_put_" => {
                let value = seen(1).map_or_else(|| scalar(0), |value| Some(value.bits[0]))?;
                each(&|index| {
                    let mask = seen(2)?;
                    let truth = mask.at(&index[..mask.sizes.len()]) != 0;
                    Some(if truth { value } else { seen(0)?.at(index) })
                })
            }
            "matmul" | "mm" | "bmm" => each(&|index| self.product(seen, index)),
            "addmm" | "baddbmm" => {
                let (_beta, _alpha) = (scalar(0)?, scalar(1)?);
                each(&|index| self.product(seen, index))
            }
            "gather" | "take_along_dim" => each(&|index| {
                let (input, places) = (seen(0)?, seen(1)?);
                let dim = dim(input);
                let at = if self.kernel == "gather" {
                    places.at(index)
                } else {
                    places.broadcast(index)
                };
                let mut index: Vec<usize> = index
                    .iter()
                    .zip(&input.sizes)
                    .map(|(&i, &s)| if s == 1 { 0 } else { i })
                    .collect();
                index[dim] = named(at, input.sizes[dim], false)?;
                Some(input.at(&index))
            }),
            "take" => each(&|index| {
                let input = seen(0)?;
                Some(input.bits[named(seen(1)?.at(index), input.bits.len() as i64, true)?])
            }),
            "index_select" => each(&|index| {
                let (input, mut index) = (seen(0)?, index.to_vec());
                let dim = dim(input);
                index[dim] = named(seen(1)?.bits[index[dim]], input.sizes[dim], false)?;
                Some(input.at(&index))
            }),
            "index" => each(&|index| {
                let (input, places) = (seen(0)?, seen(1)?);
                let (outer, inner) = index.split_at(places.sizes.len());
                let first = named(places.at(outer), input.sizes[0], true)?;
                Some(input.at(&[&[first], inner].concat()))
            }),
            "contiguous" => each(&|index| Some(seen(0)?.at(index))),
            "searchsorted" | "bucketize" => {
                let (sequence, values) = if self.kernel == "bucketize" { (1, 0) } else { (0, 1) };
                let right = self.numbers.first().is_some_and(|&right| right != 0.0);
                each(&|index| Some(self.search(seen(sequence)?, index, seen(values)?.at(index), right)))
            }
            "isin" => {
                let invert = self.numbers.get(1).is_some_and(|&invert| invert != 0.0);
                each(&|index| {
                    let x = seen(0)?.at(index);
                    let found = seen(1)?.bits.iter().any(|&other| order(self.dtype, x, other).1);
                    Some(u64::from(found != invert))
                })
            }
            _ => None,
        }
    }

    /// Where a value belongs in the sequence, or in that of its row, by a binary search.
    fn search(&self, sequence: &Seen, index: &[usize], x: u64, right: bool) -> u64 {
        let (size, outer) = sequence.sizes.split_last().expect("one dimension at least");
        let row = place_of(&index[..outer.len()], outer);
        let (mut low, mut high) = (0, *size as usize);
        while low < high {
            let middle = low + (high - low) / 2;
            let (less, equal) = order(self.dtype, x, sequence.bits[row * *size as usize + middle]);
            if less || !right && equal {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        low as u64
    }
}

/// The bits of a view's elements.
fn bits_of(view: View) -> Vec<u64> {
    macro_rules! bits {
        ($($variant:ident),*) => {
            match view { $(View::$variant(all) => Buffer::$variant(all.to_vec()).bits()),* }
        };
    }
    bits!(F32, F64, Bf16, F16, I64, I32, I16, I8, U8, Bool)
}
