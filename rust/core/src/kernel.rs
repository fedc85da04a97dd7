//! What all kernels have in common.

use crate::{
    chosen::Chosen,
    dtype::{DType, Target, Unwritten, View, ViewMut},
    isa::Isa,
    layout::Layout,
    parallel::{Checked, Serial, Team},
    random::Source,
};

/// Where a kernel runs: with an instruction set, on a team of threads. By default it is the widest of this machine, on
/// the calling thread alone.
///
/// ```
/// use rusttorch_core::{isa::{Baseline, Isa}, kernel::Exec, parallel::Serial};
///
/// assert_eq!(Exec::default().isa.name(), Isa::detect().name());
/// assert_eq!(Exec::new(Isa::Baseline(Baseline), &Serial).isa.name(), "baseline");
/// ```
#[derive(Clone, Copy)]
pub struct Exec<'a> {
    /// The instruction set.
    pub isa: Isa,
    team: Checked<'a>,
}

impl Default for Exec<'_> {
    fn default() -> Self {
        Self::new(Isa::detect(), &Serial)
    }
}

/// Nanoseconds of work on one thread below which waking a second one costs more than it saves.
const TEAM_PAYS: f64 = 12_000.0;
/// Nanoseconds of work that each thread should have at least.
const SHARE: f64 = 5_000.0;
/// What one thread moves and computes in a nanosecond, in bytes and in vector instructions of eight lanes; rough, for
/// the decision above only.
const BYTES: f64 = 20.0;
const VECTORS: f64 = 4.0;

impl<'a> Exec<'a> {
    /// Kernels run on `team`, where it pays.
    pub fn new(isa: Isa, team: &'a dyn Team) -> Self {
        let team = Checked(team);
        Self { isa, team }
    }

    /// The widest instruction set of this machine, on the current pool of rayon.
    #[cfg(feature = "rayon")]
    pub fn rayon() -> Self {
        Self::new(Isa::detect(), &crate::parallel::Rayon)
    }

    /// The same without other threads.
    #[must_use]
    pub fn alone(&self) -> Self {
        Self::new(self.isa, &Serial)
    }

    /// The team for `len` items, each of which moves `bytes` and takes `flops` floating-point instructions, and the
    /// least number of items that is worth a thread.
    pub fn team(&self, len: usize, bytes: usize, flops: usize) -> (&dyn Team, usize) {
        let each = (bytes as f64 / BYTES).max(flops as f64 / (8.0 * VECTORS));
        if each * len as f64 > TEAM_PAYS {
            (&self.team, ((SHARE / each) as usize).max(1))
        } else {
            (&Serial, len.max(1))
        }
    }
}

/// A dense tensor as its kernel sees it: `outer` blocks of `dim` rows of `inner` elements, in the order of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Product of the sizes before the dimension that is worked along.
    pub outer: usize,
    /// Size of that dimension.
    pub dim: usize,
    /// Product of the sizes after it.
    pub inner: usize,
}

impl Geometry {
    /// All of `len` elements in one row.
    pub fn flat(len: usize) -> Self {
        Self {
            outer: 1,
            dim: len,
            inner: 1,
        }
    }

    /// Along `dim` of a row-major tensor of these sizes.
    pub fn along(sizes: &[i64], dim: usize) -> Self {
        let product = |sizes: &[i64]| sizes.iter().product::<i64>() as usize;
        Self {
            outer: product(&sizes[..dim]),
            dim: sizes.get(dim).map_or(1, |&size| size as usize),
            inner: product(sizes.get(dim + 1..).unwrap_or_default()),
        }
    }

    /// So many rows of so many elements.
    pub fn rows(count: usize, len: usize) -> Self {
        Self {
            outer: count,
            dim: len,
            inner: 1,
        }
    }

    /// Number of elements.
    pub fn len(self) -> usize {
        self.outer * self.dim * self.inner
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// # Errors
    /// Where there are none.
    pub(crate) fn has_elements(self) -> Result<(), &'static str> {
        if self.is_empty() { Err("no elements") } else { Ok(()) }
    }

    /// # Errors
    /// Where there are more than `most` rows, which are of up to `short` elements.
    pub(crate) fn has_no_more_short_rows(self, short: usize, most: usize) -> Result<(), &'static str> {
        if self.dim <= short && self.outer * self.inner > most {
            Err("many short rows")
        } else {
            Ok(())
        }
    }
}

/// How the result's shape follows from the input's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// As the input; every element by itself.
    Pointwise,
    /// As the input; along a dimension.
    Rows,
    /// Without the dimension.
    Reduce,
    /// Half of the dimension.
    Glu,
    /// As many along the dimension as the first number says.
    First,
}

impl Shape {
    /// Size of the result along the dimension, if the input's is `dim` and these are the numbers.
    pub fn result_dim(self, dim: usize, numbers: &[f64]) -> usize {
        match self {
            Self::Pointwise | Self::Rows => dim,
            Self::Reduce => 1,
            Self::Glu => dim / 2,
            Self::First => numbers.first().map_or(0, |&count| count as usize),
        }
    }
}

/// An operation on one tensor, with its gradient.
///
/// `numbers` are the operation's parameters in the order of its documentation; missing ones have torch's defaults.
///
/// ```
/// use rusttorch_core::{kernel::{Exec, Geometry, Shape}, ops};
///
/// let (exec, rows) = (Exec::default(), Geometry::rows(2, 2));
/// let logsumexp = ops::find("logsumexp").unwrap();
/// assert_eq!(logsumexp.shape(), Shape::Reduce);
///
/// let (x, mut y) = ([0.0_f64, f64::NEG_INFINITY, 3.0, 3.0], [0.0_f64; 2]);
/// logsumexp.forward(&exec, (&x[..]).into(), (&mut y[..]).into(), rows, &[]);
/// assert_eq!(y, [0.0, 3.0 + 2.0_f64.ln()]);
/// ```
///
/// # Panics
/// All methods panic where slices differ in type, or in length from what `geometry` says. Those of kernels that work
/// along a dimension may panic where `geometry` is empty.
pub trait Kernel: Sync {
    /// torch's name.
    fn name(&self) -> &'static str;

    /// See [`Shape`].
    fn shape(&self) -> Shape;

    /// Whether one that works along a dimension takes all elements for a row where none is given.
    fn reduces_all(&self) -> bool {
        false
    }

    /// # Errors
    /// The reason why these parameters are not for this kernel.
    fn accepts(&self, _geometry: Geometry, _numbers: &[f64]) -> Result<(), &'static str> {
        Ok(())
    }

    /// Whether there is something to gain over stock torch, of parameters that it accepts.
    ///
    /// # Errors
    /// The reason why not.
    fn pays(&self, _geometry: Geometry, _numbers: &[f64]) -> Result<(), &'static str> {
        Ok(())
    }

    /// Writes the result of `src` to all of `dst`.
    fn forward(&self, exec: &Exec, src: View, dst: Target, geometry: Geometry, numbers: &[f64]);

    /// Replaces `buf` by the result; for [`Shape::Pointwise`].
    fn inplace(&self, exec: &Exec, buf: ViewMut, numbers: &[f64]);

    /// Whether there is a gradient.
    fn differentiates(&self) -> bool {
        true
    }

    /// Writes the gradient of the input to all of `dst`, from that of the result and what the forward pass saved: its
    /// input or its result, as torch does for this operation.
    fn backward(&self, exec: &Exec, grad: View, saved: View, dst: Target, geometry: Geometry, numbers: &[f64]);
}

/// What one of several results holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Numbers of the input's type.
    Values,
    /// Places along the dimension.
    Indices,
}

/// Where one of several results goes, to be written in full.
#[derive(Debug)]
pub enum Slot<'a> {
    /// See [`Kind::Values`].
    Values(Target<'a>),
    /// See [`Kind::Indices`].
    Indices(Unwritten<'a, i64>),
}

/// The most results that an operation has.
pub const MAX_RESULTS: usize = 2;

/// An operation along a dimension whose results, one or several of one shape, are numbers, places along the dimension, or
/// both. Gradients are torch's.
///
/// `numbers` are as of [`Kernel`].
///
/// # Panics
/// `forward` panics where slices differ in length from what `geometry` says, or the results from what they should be, and
/// may where `geometry` is empty.
pub trait AlongKernel: Sync {
    /// torch's name.
    fn name(&self) -> &'static str;

    /// Any but [`Shape::Pointwise`].
    fn shape(&self) -> Shape;

    /// Whether it takes elements of this type.
    fn takes(&self, dtype: DType) -> bool {
        dtype.is_float()
    }

    /// Whether stock torch's results of [`Shape::Rows`] lie in memory as the input does, whatever its order, rather than
    /// row-major.
    fn keeps_strides(&self) -> bool {
        false
    }

    /// What the results are along a dimension, or, if `whole`, where none is given and all elements are one row; none
    /// where the call needs a dimension.
    fn results(&self, whole: bool) -> &'static [Kind];

    /// # Errors
    /// The reason why these parameters are not for this kernel.
    fn accepts(&self, _geometry: Geometry, _numbers: &[f64]) -> Result<(), &'static str> {
        Ok(())
    }

    /// Whether there is something to gain over stock torch, of parameters that it accepts.
    ///
    /// # Errors
    /// The reason why not.
    fn pays(&self, _geometry: Geometry, _numbers: &[f64]) -> Result<(), &'static str> {
        Ok(())
    }

    /// Writes the results of `src`.
    ///
    /// # Errors
    /// The reason why these elements are not for this kernel, which tells but at the sight of them: then the results may
    /// not be written.
    fn forward(
        &self,
        exec: &Exec,
        src: View,
        results: [Option<Slot>; MAX_RESULTS],
        geometry: Geometry,
        numbers: &[f64],
    ) -> Result<(), &'static str>;
}

/// An operation whose result is as long as there are true elements in a tensor: its input, or a mask of the input's shape.
/// What is counted is kept for writing, so that elements which change meanwhile do no harm.
pub trait SelectKernel: Sync {
    /// torch's name.
    fn name(&self) -> &'static str;

    /// Whether it chooses by a mask, elements of its input, rather than by the input, places in it.
    fn has_mask(&self) -> bool;

    /// Writes all of the result, for a row-major input of these sizes: of the elements that were chosen, in their order,
    /// each one's place along each dimension, the places along one dimension after those along another; or the elements.
    ///
    /// # Panics
    /// Where the slices differ in length from what was counted and the sizes say, the result from the input in type, or
    /// there are no sizes.
    fn write(&self, exec: &Exec, src: View, chosen: &Chosen, result: Slot, sizes: &[i64]);
}

/// What a look at a tensor tells, before it is read.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// Its number of elements.
    pub numel: usize,
    /// Its sizes, where they are known.
    pub sizes: Option<&'a [i64]>,
    /// Whether it is row-major; true as well where that is not known.
    pub row_major: bool,
}

impl Seen<'_> {
    /// A tensor of which nothing else is known.
    #[must_use]
    pub fn of(numel: usize) -> Self {
        Self {
            numel,
            sizes: None,
            row_major: true,
        }
    }

    /// The rows and columns, if it is known to be one matrix.
    #[must_use]
    pub fn matrix(&self) -> Option<[usize; 2]> {
        match self.sizes? {
            &[ref outer @ .., rows, columns] if outer.iter().all(|&size| size == 1) => {
                Some([rows as usize, columns as usize])
            }
            _ => None,
        }
    }
}

/// What a look at two tensors of a call tells.
#[derive(Clone, Copy, Debug)]
pub struct Glance<'a> {
    /// The instruction set.
    pub isa: Isa,
    /// The type of the call's first tensor.
    pub dtype: DType,
    /// The two.
    pub tensors: [Seen<'a>; 2],
}

/// A tensor in any strides.
#[derive(Clone, Copy, Debug)]
pub struct Strided<'a> {
    /// Its sizes, and strides of 0 or more.
    pub layout: &'a Layout,
    /// The memory from its first element to its last one.
    pub elements: View<'a>,
}

impl<'a> Strided<'a> {
    /// Size of each dimension.
    pub fn sizes(&self) -> &'a [i64] {
        self.layout.sizes()
    }

    /// The elements, if they are row-major.
    ///
    /// # Errors
    /// The reason why they are not for kernels that need them to be.
    pub fn row_major(&self) -> Result<View<'a>, &'static str> {
        if self.layout.is_contiguous() {
            Ok(self.elements)
        } else {
            Err("not row-major")
        }
    }
}

/// The most tensors that an operation on elements of any type takes.
pub const MAX_TENSORS: usize = 4;

/// An operation that moves, chooses or finds elements of any type. The first tensor is the input; others may be missing.
/// Gradients are torch's.
///
/// `numbers` are as of [`Kernel`].
///
/// # Panics
/// Methods may panic where `outline` refuses the tensors, or slices differ from what it says.
pub trait IndexKernel: Sync {
    /// torch's name.
    fn name(&self) -> &'static str;

    /// Whether there is a gradient.
    fn differentiates(&self) -> bool {
        true
    }

    /// Whether the input may have gaps between its elements, or one element in several places.
    fn takes_gaps(&self) -> bool {
        false
    }

    /// Whether stock torch records a call with such tensors as the one operation that it is, rather than as others.
    fn is_recorded(&self, _tensors: &[Option<Strided>]) -> bool {
        true
    }

    /// Whether it changes the order in memory, and leaves row-major inputs alone.
    fn reorders(&self) -> bool {
        false
    }

    /// The type of the elements that a number stands for, by the input's type and the result's.
    fn type_of_numbers(&self, _input: DType, result: DType) -> DType {
        result
    }

    /// The kernel for these tensors, if the last one is a mask of the input's first dimensions, and the result as long as
    /// there are true elements in it.
    fn chooses(&self, _tensors: &[Option<Strided>]) -> Option<&'static dyn SelectKernel> {
        None
    }

    /// The type and the layout, which is dense, of what a call makes, or of the input that it changes `inplace`.
    ///
    /// # Errors
    /// The reason why these tensors or numbers are not for this kernel; bad ones are among them.
    fn outline(
        &self,
        tensors: &[Option<Strided>],
        numbers: &[f64],
        inplace: bool,
    ) -> Result<(DType, Layout), &'static str>;

    /// The indices of two tensors that tell at a glance of most calls that do not pay.
    fn glance(&self) -> Option<[usize; 2]> {
        None
    }

    /// What these tell: false where a call does not pay.
    fn may_pay(&self, _glance: &Glance) -> bool {
        true
    }

    /// Whether there is something to gain over stock torch, of what `outline` takes.
    ///
    /// # Errors
    /// The reason why not.
    fn pays(&self, _isa: Isa, _tensors: &[Option<Strided>], _numbers: &[f64]) -> Result<(), &'static str> {
        Ok(())
    }

    /// Writes all of `result`, which is of the outline's type and `layout`.
    ///
    /// # Errors
    /// The reason why these elements, such as an index out of range, are not for this kernel, which tells but at the sight
    /// of them: then the result may not be written.
    fn forward(
        &self,
        exec: &Exec,
        tensors: &[Option<Strided>],
        result: Target,
        layout: &Layout,
        numbers: &[f64],
    ) -> Result<(), &'static str>;

    /// Changes the input, `buf`, which `outline` has seen and is missing among the tensors.
    ///
    /// # Errors
    /// As of `forward`; then nothing is changed.
    fn inplace(
        &self,
        _exec: &Exec,
        _layout: &Layout,
        _buf: ViewMut,
        _tensors: &[Option<Strided>],
        _numbers: &[f64],
    ) -> Result<(), &'static str> {
        Err("nothing is done in place")
    }
}

/// An operation on every element by itself, with random numbers, each or several in a row, with its gradient.
///
/// `numbers` are as of [`Kernel`]. Random numbers do not depend on the team.
///
/// # Panics
/// All methods panic where slices differ in type or length.
pub trait RandomKernel: Sync {
    /// torch's name.
    fn name(&self) -> &'static str;

    /// # Errors
    /// The reason why these parameters are not for this kernel.
    fn accepts(&self, numbers: &[f64]) -> Result<(), &'static str>;

    /// How many elements in a row share a random number, if they do not each have one, in a row-major tensor of these
    /// sizes.
    ///
    /// # Errors
    /// The reason why such a tensor is not for this kernel.
    fn each(&self, _sizes: &[i64]) -> Result<Option<usize>, &'static str> {
        Ok(None)
    }

    /// Writes the result of `src` to all of `dst`, and what the gradient needs of the random numbers to all of `mask`: a
    /// byte for `each` elements in a row, which share a number.
    #[allow(clippy::too_many_arguments)]
    fn forward(
        &self,
        exec: &Exec,
        source: Source,
        src: View,
        dst: Target,
        each: usize,
        mask: Option<Unwritten<u8>>,
        numbers: &[f64],
    );

    /// Replaces `buf` by the result.
    fn inplace(&self, exec: &Exec, source: Source, buf: ViewMut, each: usize, numbers: &[f64]);

    /// Writes the gradient of the input to all of `dst`, from that of the result and the mask.
    fn backward(&self, exec: &Exec, grad: View, mask: &[u8], dst: Target, each: usize, numbers: &[f64]);
}

/// The elements of an operand.
#[derive(Clone, Copy, Debug)]
pub enum Elements<'a> {
    /// Floating-point numbers.
    Floats(View<'a>),
    /// The same with dimension 1 innermost, the others being row-major.
    ChannelsLast(View<'a>),
    /// Indices, such as those of classes.
    Indices(&'a [i64]),
}

/// A tensor that an operation takes, row-major unless its elements say otherwise.
#[derive(Clone, Copy, Debug)]
pub struct Operand<'a> {
    /// Size of each dimension.
    pub sizes: &'a [i64],
    /// As many elements as the sizes say.
    pub elements: Elements<'a>,
}

impl<'a> Operand<'a> {
    /// The elements, if they are floating-point numbers.
    pub fn floats(&self) -> Option<View<'a>> {
        match self.elements {
            Elements::Floats(view) => Some(view),
            Elements::ChannelsLast(_) | Elements::Indices(_) => None,
        }
    }

    /// The elements, if they are indices.
    pub fn indices(&self) -> Option<&'a [i64]> {
        match self.elements {
            Elements::Floats(_) | Elements::ChannelsLast(_) => None,
            Elements::Indices(indices) => Some(indices),
        }
    }
}

/// The most tensors that an operation takes.
pub const MAX_OPERANDS: usize = 5;

/// What the operands of a call are made into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outline {
    /// The result, of the first operand's type: row-major, or with dimension 1 innermost as the input.
    pub result: Layout,
    /// Type and number of what is kept for the gradient beside the operands.
    pub saved: (DType, usize),
}

/// An operation on several tensors, with its gradients. The first is the input; others may be missing.
///
/// `numbers` are as of [`Kernel`].
///
/// # Panics
/// `forward` and `backward` panic where `outline` refuses the operands, or slices differ from what it says, and may where
/// `inspect` refuses them.
pub trait NaryKernel: Sync {
    /// torch's name.
    fn name(&self) -> &'static str;

    /// Looks at the input alone, before the other operands are read.
    ///
    /// # Errors
    /// The reason why such an input is not for this kernel.
    fn accepts(&self, _dtype: DType, _sizes: &[i64], _numbers: &[f64]) -> Result<(), &'static str> {
        Ok(())
    }

    /// How many kinds of inputs it tells apart whose sizes, at which it wins, differ.
    fn kinds(&self) -> usize {
        1
    }

    /// Of which kind an input is, in the order of the catalogue; `last` says that dimension 1 is innermost.
    fn kind(&self, _sizes: &[i64], _last: bool) -> usize {
        0
    }

    /// Whether the operand at this index is changed in place. Like stock torch, it does not tell autograd.
    fn updates(&self, _index: usize) -> bool {
        false
    }

    /// Whether the input may have [`Elements::ChannelsLast`]; then the gradient of the result lies in memory as the input.
    fn takes_channels_last(&self) -> bool {
        false
    }

    /// What a call makes, by the operands' types and sizes.
    ///
    /// # Errors
    /// The reason why these operands or numbers are not for this kernel; bad ones are among them.
    fn outline(&self, operands: &[Option<Operand>], numbers: &[f64]) -> Result<Outline, &'static str>;

    /// The indices of two operands that tell at a glance of most calls that do not pay.
    fn glance(&self) -> Option<[usize; 2]> {
        None
    }

    /// What these tell: false where a call does not pay.
    fn may_pay(&self, _glance: &Glance) -> bool {
        true
    }

    /// Whether there is something to gain over stock torch, of operands that `outline` takes.
    ///
    /// # Errors
    /// The reason why not.
    fn pays(&self, _isa: Isa, _operands: &[Option<Operand>]) -> Result<(), &'static str> {
        Ok(())
    }

    /// Looks at the elements of operands that `outline` takes.
    ///
    /// # Errors
    /// The reason why these are not for this kernel; bad ones are among them.
    fn inspect(&self, _exec: &Exec, _operands: &[Option<Operand>], _numbers: &[f64]) -> Result<(), &'static str> {
        Ok(())
    }

    /// Writes all of `result`, and of `saved` if it is given.
    fn forward(
        &self,
        exec: &Exec,
        operands: &[Option<Operand>],
        result: Target,
        saved: Option<Target>,
        numbers: &[f64],
    );

    /// The same where operands are [updated](Self::updates): they are missing among `operands`, and are `updated`, by
    /// their index.
    fn forward_updating(
        &self,
        exec: &Exec,
        operands: &[Option<Operand>],
        _updated: [Option<ViewMut>; MAX_OPERANDS],
        result: Target,
        saved: Option<Target>,
        numbers: &[f64],
    ) {
        self.forward(exec, operands, result, saved, numbers);
    }

    /// Writes the gradients of those operands that have a target, of those that it can, each of its operand's type and
    /// length, from that of the result and what the forward pass saved. Operands that are updated are missing.
    fn backward(
        &self,
        exec: &Exec,
        grad: View,
        operands: &[Option<Operand>],
        saved: View,
        gradients: [Option<Target>; MAX_OPERANDS],
        numbers: &[f64],
    );
}

/// A parameter of a model with what an optimizer's step needs of it. All slices have one type and length, and lie in
/// memory in the same order.
pub struct Parameter<'a> {
    /// The parameter itself.
    pub value: ViewMut<'a>,
    /// Its gradient.
    pub grad: View<'a>,
    /// What the optimizer keeps of it: as many as [`StepKernel::accepts`] says, in that order.
    pub state: Vec<ViewMut<'a>>,
    /// How many steps there have been, this one included, where the optimizer counts them.
    pub step: f64,
}

/// The most tensors that an optimizer keeps of a parameter.
pub const MAX_STATE: usize = 3;

/// An optimizer's step: the update of parameters, and of what it keeps of them, from their gradients.
///
/// `numbers` are the optimizer's in the order of its documentation.
///
/// ```
/// use rusttorch_core::{kernel::{Exec, Parameter}, ops};
///
/// let (mut weight, grad) = ([1.0_f32, -1.0], [0.5_f32, 0.0]);
/// let (mut average, mut of_squares) = ([0.0_f32; 2], [0.0_f32; 2]);
/// let adam = ops::find_step("adam").unwrap();
/// // The betas, the learning rate, weight decay, epsilon, whether to maximise, and whether decay is decoupled.
/// let numbers = [0.9, 0.999, 0.1, 0.0, 1e-8, 0.0, 0.0];
/// let parameter = Parameter {
///     value: (&mut weight[..]).into(),
///     grad: (&grad[..]).into(),
///     state: vec![(&mut average[..]).into(), (&mut of_squares[..]).into()],
///     step: 1.0,
/// };
/// adam.step(&Exec::default(), vec![parameter], &numbers);
/// // The first step goes as far as the learning rate, where there is a gradient.
/// assert!((weight[0] - 0.9).abs() < 1e-6);
/// assert_eq!(weight[1], -1.0);
/// ```
pub trait StepKernel: Sync {
    /// torch's name.
    fn name(&self) -> &'static str;

    /// Which of the tensors that it may keep of a parameter a step with these numbers does, in the order of its
    /// documentation.
    ///
    /// # Errors
    /// The reason why these numbers are not for this kernel.
    fn accepts(&self, numbers: &[f64]) -> Result<[bool; MAX_STATE], &'static str>;

    /// Whether it counts a parameter's steps.
    fn counts(&self) -> bool;

    /// Updates all of `parameters`.
    ///
    /// # Panics
    /// Where the slices of a parameter differ in type or length, there are fewer than it needs, or it does not accept the
    /// numbers.
    fn step(&self, exec: &Exec, parameters: Vec<Parameter>, numbers: &[f64]);
}

/// A number that gradients have together, rounded to a type.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Total {
    /// The type.
    pub dtype: DType,
    /// One of its numbers.
    pub value: f64,
}

/// An operation on the gradients of many parameters, all of them at once.
///
/// `numbers` are its own in the order of its documentation.
///
/// ```
/// use rusttorch_core::{kernel::Exec, ops};
///
/// let (exec, mut a, mut b) = (Exec::default(), [3.0_f32, 0.0], [4.0_f32]);
/// let clip = ops::find_clip("clip_grad_norm_").unwrap();
/// // A norm of 1 at most, which norm, and whether one that is infinite is refused.
/// let numbers = [1.0, 2.0, 0.0];
/// let total = clip.measure(&exec, &[(&a[..]).into(), (&b[..]).into()], &numbers)?;
/// assert_eq!(total.map(|total| total.value), Some(5.0));
/// clip.clip(&exec, vec![(&mut a[..]).into(), (&mut b[..]).into()], total, &numbers);
/// assert!((a[0] - 0.6).abs() < 1e-6 && (b[0] - 0.8).abs() < 1e-6);
/// # Ok::<(), &str>(())
/// ```
pub trait ClipKernel: Sync {
    /// torch's name.
    fn name(&self) -> &'static str;

    /// Looks at a gradient's type.
    ///
    /// # Errors
    /// The reason why such gradients or these numbers are not for this kernel.
    fn accepts(&self, dtype: DType, numbers: &[f64]) -> Result<(), &'static str>;

    /// Whether it [changes](Self::clip) gradients, rather than look at them.
    fn changes(&self) -> bool {
        true
    }

    /// How many changes torch counts.
    fn versions(&self, _numbers: &[f64]) -> usize {
        1
    }

    /// What is to be known of all gradients before one is changed, if anything is.
    ///
    /// # Errors
    /// The reason why they are not for this kernel.
    fn measure(&self, _exec: &Exec, _grads: &[View], _numbers: &[f64]) -> Result<Option<Total>, &'static str> {
        Ok(None)
    }

    /// Changes gradients, by what was measured or given.
    ///
    /// # Panics
    /// Where there is no total and the kernel needs it.
    fn clip(&self, exec: &Exec, grads: Vec<ViewMut>, total: Option<Total>, numbers: &[f64]);
}

/// Runs `$body` with slices as kernels see them.
macro_rules! seen {
    (($($slice:ident),+) => $body:expr) => {{
        $(let $slice = crate::dtype::Seen::seen($slice);)+
        $body
    }};
}
pub(crate) use seen;

/// Runs `$body` with the slices' element type: `each_type!((src: View, dst: Target) => body(src, dst))`.
macro_rules! each_type {
    (($($slice:ident : $kind:ident),+) => $body:expr) => {
        match ($($slice,)+) {
            ($($kind::F32($slice),)+) => crate::kernel::seen!(($($slice),+) => $body),
            ($($kind::F64($slice),)+) => crate::kernel::seen!(($($slice),+) => $body),
            ($($kind::Bf16($slice),)+) => crate::kernel::seen!(($($slice),+) => $body),
            ($($kind::F16($slice),)+) => crate::kernel::seen!(($($slice),+) => $body),
            #[allow(unreachable_patterns)]
            _ => panic!("the slices differ in element type, or have no floating-point numbers"),
        }
    };
}
pub(crate) use each_type;

/// Runs `$body` with the slices' element type, whichever it is.
macro_rules! every_type {
    (($($slice:ident : $kind:ident),+) => $body:expr) => {
        match ($($slice,)+) {
            ($($kind::F32($slice),)+) => crate::kernel::seen!(($($slice),+) => $body),
            ($($kind::F64($slice),)+) => crate::kernel::seen!(($($slice),+) => $body),
            ($($kind::Bf16($slice),)+) => crate::kernel::seen!(($($slice),+) => $body),
            ($($kind::F16($slice),)+) => crate::kernel::seen!(($($slice),+) => $body),
            ($($kind::I64($slice),)+) => crate::kernel::seen!(($($slice),+) => $body),
            ($($kind::I32($slice),)+) => crate::kernel::seen!(($($slice),+) => $body),
            ($($kind::I16($slice),)+) => crate::kernel::seen!(($($slice),+) => $body),
            ($($kind::I8($slice),)+) => crate::kernel::seen!(($($slice),+) => $body),
            ($($kind::U8($slice),)+) => crate::kernel::seen!(($($slice),+) => $body),
            ($($kind::Bool($slice),)+) => crate::kernel::seen!(($($slice),+) => $body),
            #[allow(unreachable_patterns)]
            _ => panic!("the slices differ in element type"),
        }
    };
}
pub(crate) use every_type;
