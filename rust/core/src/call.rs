//! Calls that make their own results: [`apply`](Kernel#method.apply) and the gradients, for each kind of kernel.
//!
//! They are methods of what the finders of [`ops`](crate::ops) give, and check what kernels otherwise take for granted:
//! lengths, types, and whether the kernel [accepts](Kernel::accepts) the call. A kernel may refuse what torch's own does
//! as fast; its `forward` then runs all the same, unless its documentation says otherwise.
//!
//! ```
//! use rusttorch_core::{kernel::{Exec, Geometry}, ops};
//!
//! let scores = [0.0_f32, 0.0, 1.0, 3.0, 3.0, 3.0];
//! let softmax = ops::find("softmax").unwrap();
//! let shares = softmax.apply(&Exec::default(), &scores, Geometry::rows(2, 3), &[])?;
//! assert_eq!(shares[3..], [1.0 / 3.0; 3]);
//! # Ok::<(), &str>(())
//! ```

use crate::{
    chosen::Chosen,
    dtype::{Bool, DType, Target, Typed, View},
    kernel::{
        AlongKernel, Elements, Exec, Geometry, IndexKernel, Kernel, Kind, MAX_OPERANDS, NaryKernel, Operand,
        RandomKernel, SelectKernel, Shape, Slot, Strided,
    },
    layout::Layout,
    random::Source,
};

/// So many elements, to be written: of zeros, which the system has ready for large ones.
fn made<T: Typed>(len: usize) -> Vec<T> {
    vec![T::default(); len]
}

fn check(truth: bool, reason: &'static str) -> Result<(), &'static str> {
    if truth { Ok(()) } else { Err(reason) }
}

const LENGTHS: &str = "a length differs from the sizes";
const TYPE: &str = "the element type";
const EMPTY: &str = "no elements";

impl dyn Kernel {
    /// What it has to have seen to be called.
    fn check<T: Typed>(&self, x: &[T], len: usize, geometry: Geometry, numbers: &[f64]) -> Result<(), &'static str> {
        check(T::view(x).dtype().is_float(), TYPE)?;
        check(x.len() == len, LENGTHS)?;
        check(self.shape() == Shape::Pointwise || !geometry.is_empty(), EMPTY)?;
        self.accepts(geometry, numbers)
    }

    fn result_len(&self, geometry: Geometry, numbers: &[f64]) -> usize {
        geometry.outer * self.shape().result_dim(geometry.dim, numbers) * geometry.inner
    }

    /// The result of `x`.
    ///
    /// # Errors
    /// The reason why it is not computed: an element type, length or parameter.
    ///
    /// ```
    /// # use rusttorch_core::{kernel::{Exec, Geometry}, ops};
    /// let (exec, x) = (Exec::default(), [-1.0_f64, 0.0, 2.0]);
    /// let leaky = ops::find("leaky_relu").unwrap();
    /// assert_eq!(leaky.apply(&exec, &x, Geometry::flat(3), &[0.5])?, [-0.5, 0.0, 2.0]);
    /// assert!(leaky.apply(&exec, &x, Geometry::flat(4), &[0.5]).is_err());
    /// # Ok::<(), &str>(())
    /// ```
    pub fn apply<T: Typed>(
        &self,
        exec: &Exec,
        x: &[T],
        geometry: Geometry,
        numbers: &[f64],
    ) -> Result<Vec<T>, &'static str> {
        self.check(x, geometry.len(), geometry, numbers)?;
        let mut y = made(self.result_len(geometry, numbers));
        self.forward(exec, T::view(x), T::written(&mut y), geometry, numbers);
        Ok(y)
    }

    /// The gradient of the input, from that of the result, and from what the kernel saves: its input or its result.
    ///
    /// # Errors
    /// As of `apply`, or that there is none.
    ///
    /// ```
    /// # use rusttorch_core::{kernel::{Exec, Geometry}, ops};
    /// let (exec, geometry) = (Exec::default(), Geometry::flat(2));
    /// let tanh = ops::find("tanh").unwrap();
    /// let y = tanh.apply(&exec, &[0.0_f32, 100.0], geometry, &[])?;
    /// // `tanh` saves its result.
    /// assert_eq!(tanh.gradient(&exec, &[2.0, 2.0], &y, geometry, &[])?, [2.0, 0.0]);
    /// # Ok::<(), &str>(())
    /// ```
    pub fn gradient<T: Typed>(
        &self,
        exec: &Exec,
        grad: &[T],
        saved: &[T],
        geometry: Geometry,
        numbers: &[f64],
    ) -> Result<Vec<T>, &'static str> {
        check(self.differentiates(), "no gradient")?;
        // Of a reduction that saves its input, and of all that keep the shape, this is as long as the input.
        self.check(saved, geometry.len(), geometry, numbers)?;
        check(grad.len() == self.result_len(geometry, numbers), LENGTHS)?;
        let mut gradient = made(geometry.len());
        let (grad, saved, dst) = (T::view(grad), T::view(saved), T::written(&mut gradient));
        self.backward(exec, grad, saved, dst, geometry, numbers);
        Ok(gradient)
    }
}

impl dyn AlongKernel {
    /// The results of `x`: the values, and the places along the dimension; empty if there are none of either.
    ///
    /// # Errors
    /// The reason why they are not computed: an element type, length or parameter, or elements at the sight of them.
    ///
    /// ```
    /// # use rusttorch_core::{kernel::{Exec, Geometry}, ops};
    /// let x = [3_i64, 1, 2, 10, 30, 20];
    /// let sort = ops::find_along("sort").unwrap();
    /// let (values, places) = sort.apply(&Exec::default(), &x, Geometry::rows(2, 3), &[0.0])?;
    /// assert_eq!(values, [1, 2, 3, 10, 20, 30]);
    /// assert_eq!(places, [1, 2, 0, 0, 2, 1]);
    /// # Ok::<(), &str>(())
    /// ```
    pub fn apply<T: Typed>(
        &self,
        exec: &Exec,
        x: &[T],
        geometry: Geometry,
        numbers: &[f64],
    ) -> Result<(Vec<T>, Vec<i64>), &'static str> {
        check(self.takes(T::view(x).dtype()), TYPE)?;
        check(x.len() == geometry.len(), LENGTHS)?;
        check(!geometry.is_empty(), EMPTY)?;
        self.accepts(geometry, numbers)?;
        let len = geometry.outer * self.shape().result_dim(geometry.dim, numbers) * geometry.inner;
        let kinds = self.results(false);
        check(len > 0 && !kinds.is_empty(), EMPTY)?;
        let count = |kind| kinds.iter().filter(|&&one| one == kind).count() * len;
        let (mut values, mut indices) = (made(count(Kind::Values)), made(count(Kind::Indices)));
        let (mut value, mut index) = (values.chunks_exact_mut(len), indices.chunks_exact_mut(len));
        let slots = core::array::from_fn(|at| match kinds.get(at)? {
            Kind::Values => Some(Slot::Values(T::written(value.next()?))),
            Kind::Indices => Some(Slot::Indices((&mut index.next()?[..]).into())),
        });
        self.forward(exec, T::view(x), slots, geometry, numbers)?;
        Ok((values, indices))
    }
}

impl dyn SelectKernel {
    /// What is chosen of a row-major tensor: its elements where the mask says so, or, of a kernel without a mask, the
    /// places of its true ones, those along each dimension after those along the one before. The other is empty.
    ///
    /// # Errors
    /// The reason why it is not computed: a length, or a mask too few or too many.
    ///
    /// ```
    /// # use rusttorch_core::{dtype::Bool, kernel::Exec, ops};
    /// let (exec, x) = (Exec::default(), [0.5_f32, 0.0, 0.0, 2.0]);
    /// let nonzero = ops::find_select("nonzero").unwrap();
    /// assert_eq!(nonzero.apply(&exec, &x, None, &[2, 2])?.1, [0, 1, 0, 1]);
    ///
    /// let mask = [Bool(1), Bool(1), Bool(0), Bool(0)];
    /// let masked_select = ops::find_select("masked_select").unwrap();
    /// assert_eq!(masked_select.apply(&exec, &x, Some(&mask), &[2, 2])?.0, [0.5, 0.0]);
    /// # Ok::<(), &str>(())
    /// ```
    pub fn apply<T: Typed>(
        &self,
        exec: &Exec,
        x: &[T],
        mask: Option<&[Bool]>,
        sizes: &[i64],
    ) -> Result<(Vec<T>, Vec<i64>), &'static str> {
        check(self.has_mask() == mask.is_some(), "a mask that is missing or too many")?;
        check(!sizes.is_empty() && !x.is_empty(), EMPTY)?;
        check(
            Layout::contiguous(sizes).is_some_and(|layout| layout.numel() == x.len()),
            LENGTHS,
        )?;
        check(mask.is_none_or(|mask| mask.len() == x.len()), LENGTHS)?;
        let chosen = Chosen::count(exec, mask.map_or_else(|| T::view(x), View::from));
        let total = chosen.total();
        let (mut values, mut places) = (Vec::new(), Vec::new());
        let slot = if self.has_mask() {
            values = made(total);
            Slot::Values(T::written(&mut values))
        } else {
            places = made(total * sizes.len());
            Slot::Indices((&mut places[..]).into())
        };
        self.write(exec, T::view(x), &chosen, slot, sizes);
        Ok((values, places))
    }
}

impl dyn IndexKernel {
    /// The result, and its layout.
    ///
    /// # Errors
    /// The reason why it is not computed: types, sizes, parameters, or elements such as an index out of range.
    ///
    /// ```
    /// # use rusttorch_core::{kernel::{Exec, Strided}, layout::Layout, ops};
    /// let (rows, places) = (Layout::contiguous(&[3, 2]).unwrap(), Layout::contiguous(&[2]).unwrap());
    /// let (x, index) = ([1.0_f32, 2.0, 3.0, 4.0, 5.0, 6.0], [2_i64, 0]);
    /// let tensors = [
    ///     Some(Strided { layout: &rows, elements: (&x[..]).into() }),
    ///     Some(Strided { layout: &places, elements: (&index[..]).into() }),
    /// ];
    /// let select = ops::find_index("index_select").unwrap();
    /// // Along dimension 0.
    /// let (taken, layout) = select.apply::<f32>(&Exec::default(), &tensors, &[0.0])?;
    /// assert_eq!(taken, [5.0, 6.0, 1.0, 2.0]);
    /// assert_eq!(layout.sizes(), [2, 2]);
    /// # Ok::<(), &str>(())
    /// ```
    pub fn apply<T: Typed>(
        &self,
        exec: &Exec,
        tensors: &[Option<Strided>],
        numbers: &[f64],
    ) -> Result<(Vec<T>, Layout), &'static str> {
        for tensor in tensors.iter().flatten() {
            check(tensor.layout.extent() == Some(tensor.elements.len()), LENGTHS)?;
        }
        check(self.chooses(tensors).is_none(), "as many elements as a mask chooses")?;
        let (dtype, layout) = self.outline(tensors, numbers, false)?;
        check(dtype == T::view(&[]).dtype(), TYPE)?;
        let mut result = made(layout.numel());
        self.forward(exec, tensors, T::written(&mut result), &layout, numbers)?;
        Ok((result, layout))
    }
}

impl dyn RandomKernel {
    /// How many elements share a number, in a tensor of these sizes with as many elements as `x`.
    fn share<T: Typed>(&self, x: &[T], sizes: &[i64], numbers: &[f64]) -> Result<usize, &'static str> {
        check(T::view(x).dtype().is_float(), TYPE)?;
        check(!x.is_empty(), EMPTY)?;
        check(
            Layout::contiguous(sizes).is_some_and(|layout| layout.numel() == x.len()),
            LENGTHS,
        )?;
        self.accepts(numbers)?;
        Ok(RandomKernel::each(self, sizes)?.unwrap_or(1).max(1))
    }

    /// The result of a row-major `x`, and the mask that its gradient needs.
    ///
    /// # Errors
    /// The reason why it is not computed: an element type, length or parameter.
    ///
    /// ```
    /// # use rusttorch_core::{kernel::Exec, ops, random::{Mt19937, Source}};
    /// let (exec, mut generator) = (Exec::default(), Mt19937::from_seed(0));
    /// let dropout = ops::find_random("dropout").unwrap();
    /// let source = Source::Torch(&mut generator);
    /// let (y, mask) = dropout.apply(&exec, source, &[1.0_f32; 1000], &[1000], &[0.5])?;
    /// assert!(y.iter().all(|&y| y == 0.0 || y == 2.0));
    /// let gradient = dropout.gradient(&exec, &[1.0_f32; 1000], &mask, &[1000], &[0.5])?;
    /// assert_eq!(gradient, y);
    /// # Ok::<(), &str>(())
    /// ```
    pub fn apply<T: Typed>(
        &self,
        exec: &Exec,
        source: Source,
        x: &[T],
        sizes: &[i64],
        numbers: &[f64],
    ) -> Result<(Vec<T>, Vec<u8>), &'static str> {
        let each = self.share(x, sizes, numbers)?;
        let (mut y, mut mask) = (made(x.len()), made(x.len() / each));
        let kept = Some((&mut mask[..]).into());
        self.forward(exec, source, T::view(x), T::written(&mut y), each, kept, numbers);
        Ok((y, mask))
    }

    /// The gradient of the input, from that of the result and the mask.
    ///
    /// # Errors
    /// As of `apply`.
    pub fn gradient<T: Typed>(
        &self,
        exec: &Exec,
        grad: &[T],
        mask: &[u8],
        sizes: &[i64],
        numbers: &[f64],
    ) -> Result<Vec<T>, &'static str> {
        let each = self.share(grad, sizes, numbers)?;
        check(mask.len() == grad.len() / each, LENGTHS)?;
        let mut gradient = made(grad.len());
        self.backward(exec, T::view(grad), mask, T::written(&mut gradient), each, numbers);
        Ok(gradient)
    }
}

/// What the gradient of an operation on several tensors needs beside them, in the type that the kernel keeps it in.
#[derive(Clone, Debug)]
pub struct Saved(Numbers);

#[derive(Clone, Debug)]
enum Numbers {
    Singles(Vec<f32>),
    Doubles(Vec<f64>),
}

impl Saved {
    fn new(dtype: DType, len: usize) -> Result<Self, &'static str> {
        match dtype {
            DType::F32 => Ok(Self(Numbers::Singles(made(len)))),
            DType::F64 => Ok(Self(Numbers::Doubles(made(len)))),
            _ => Err(TYPE),
        }
    }

    fn written(&mut self) -> Target<'_> {
        match &mut self.0 {
            Numbers::Singles(all) => f32::written(all),
            Numbers::Doubles(all) => f64::written(all),
        }
    }

    /// The numbers.
    pub fn view(&self) -> View<'_> {
        match &self.0 {
            Numbers::Singles(all) => f32::view(all),
            Numbers::Doubles(all) => f64::view(all),
        }
    }
}

/// The result of an operation on several tensors.
#[derive(Clone, Debug)]
pub struct Made<T> {
    /// Its elements.
    pub result: Vec<T>,
    /// Its sizes, and where they lie.
    pub layout: Layout,
    /// What [`gradients`](NaryKernel#method.gradients) needs.
    pub saved: Saved,
}

impl Operand<'_> {
    fn len(&self) -> usize {
        match self.elements {
            Elements::Floats(view) | Elements::ChannelsLast(view) => view.len(),
            Elements::Indices(indices) => indices.len(),
        }
    }

    fn dtype(&self) -> Option<DType> {
        match self.elements {
            Elements::Floats(view) | Elements::ChannelsLast(view) => Some(view.dtype()),
            Elements::Indices(_) => None,
        }
    }
}

impl dyn NaryKernel {
    /// Looks at operands whose result has elements of type `T`.
    fn check<T: Typed>(
        &self,
        exec: &Exec,
        operands: &[Option<Operand>],
        numbers: &[f64],
    ) -> Result<crate::kernel::Outline, &'static str> {
        let input = operands.first().and_then(Option::as_ref).ok_or("no input")?;
        let dtype = T::view(&[]).dtype();
        check(dtype.is_float() && input.dtype() == Some(dtype), TYPE)?;
        check(operands.len() <= MAX_OPERANDS, "too many operands")?;
        for (index, operand) in operands.iter().enumerate() {
            let Some(operand) = operand else { continue };
            let layout = Layout::contiguous(operand.sizes);
            check(layout.is_some_and(|layout| layout.numel() == operand.len()), LENGTHS)?;
            check(
                !self.updates(index),
                "an operand that is updated: see `forward_updating`",
            )?;
        }
        self.accepts(dtype, input.sizes, numbers)?;
        let outline = self.outline(operands, numbers)?;
        self.inspect(exec, operands, numbers)?;
        Ok(outline)
    }

    /// The result, and what its gradients need.
    ///
    /// # Errors
    /// The reason why it is not computed: types, sizes, parameters, elements such as a class that there is not, or an
    /// operand that it [updates](NaryKernel::updates).
    ///
    /// ```
    /// # use rusttorch_core::{kernel::{Elements, Exec, Operand}, ops};
    /// let floats = |sizes, elements: &'static [f32]| Some(Operand { sizes, elements: Elements::Floats(elements.into()) });
    /// // Two rows of three, by a weight that adds them up, and twice that, with a bias.
    /// let operands = [
    ///     floats(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]),
    ///     floats(&[2, 3], &[1.0, 1.0, 1.0, 2.0, 2.0, 2.0]),
    ///     floats(&[2], &[0.0, 1.0]),
    /// ];
    /// let linear = ops::find_nary("linear").unwrap();
    /// let made = linear.apply::<f32>(&Exec::default(), &operands, &[])?;
    /// assert_eq!(made.result, [6.0, 13.0, 15.0, 31.0]);
    ///
    /// let wanted = [true, false, true];
    /// let grad = [1.0_f32, 0.0, 0.0, 1.0];
    /// let gradients = linear.gradients(&Exec::default(), &grad, &operands, &made.saved, &wanted, &[])?;
    /// assert_eq!(gradients[0], [1.0, 1.0, 1.0, 2.0, 2.0, 2.0]);
    /// assert!(gradients[1].is_empty());
    /// assert_eq!(gradients[2], [1.0, 1.0]);
    /// # Ok::<(), &str>(())
    /// ```
    pub fn apply<T: Typed>(
        &self,
        exec: &Exec,
        operands: &[Option<Operand>],
        numbers: &[f64],
    ) -> Result<Made<T>, &'static str> {
        let outline = self.check::<T>(exec, operands, numbers)?;
        let mut result = made(outline.result.numel());
        let mut saved = Saved::new(outline.saved.0, outline.saved.1)?;
        self.forward(exec, operands, T::written(&mut result), Some(saved.written()), numbers);
        Ok(Made {
            result,
            layout: outline.result,
            saved,
        })
    }

    /// The gradients of those operands that are `wanted`, empty for the others, from that of the result. Operands that the
    /// kernel has no gradient for have zeros.
    ///
    /// # Errors
    /// As of `apply`.
    pub fn gradients<T: Typed>(
        &self,
        exec: &Exec,
        grad: &[T],
        operands: &[Option<Operand>],
        saved: &Saved,
        wanted: &[bool],
        numbers: &[f64],
    ) -> Result<Vec<Vec<T>>, &'static str> {
        let outline = self.check::<T>(exec, operands, numbers)?;
        check(grad.len() == outline.result.numel(), LENGTHS)?;
        let kept = saved.view();
        check((kept.dtype(), kept.len()) == outline.saved, "saved by another call")?;
        let mut gradients: Vec<Vec<T>> = Vec::new();
        for (index, operand) in operands.iter().enumerate() {
            let wanted = wanted.get(index).copied().unwrap_or(false);
            let len = operand
                .filter(|operand| wanted && operand.dtype().is_some())
                .map_or(0, |operand| operand.len());
            gradients.push(made(len));
        }
        let mut targets = [const { None }; MAX_OPERANDS];
        for (target, gradient) in targets.iter_mut().zip(&mut gradients) {
            *target = (!gradient.is_empty()).then(|| T::written(gradient));
        }
        self.backward(exec, T::view(grad), operands, kept, targets, numbers);
        Ok(gradients)
    }
}
