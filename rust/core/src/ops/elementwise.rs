//! The driver of operations that take every element by itself.

use core::{marker::PhantomData, mem::MaybeUninit};

use crate::{
    dtype::{Element, Target, View, ViewMut},
    float::Float,
    isa::{Isa, Program, Simd},
    kernel::{Exec, Geometry, Kernel, Shape, each_type},
    parallel::split_mut,
};

/// A function of one number, and its gradient. Every method is marked `#[inline(always)]`.
///
/// ```
/// use rusttorch_core::{
///     float::Float,
///     kernel::{Exec, Geometry, Kernel},
///     ops::elementwise::{Elementwise, Function},
/// };
///
/// /// `x * x`. Saves its input.
/// #[derive(Clone, Copy)]
/// struct Square;
///
/// impl Function for Square {
///     const NAME: &'static str = "square";
///     const FLOPS: usize = 1;
///
///     fn new(_: &[f64]) -> Self {
///         Self
///     }
///
///     #[inline(always)]
///     fn forward<F: Float>(self, x: F) -> F {
///         x * x
///     }
///
///     #[inline(always)]
///     fn backward<F: Float>(self, grad: F, x: F) -> F {
///         grad * (x + x)
///     }
/// }
///
/// // In every type, on any team, with each instruction set.
/// let square: &dyn Kernel = &Elementwise::<Square>::NEW;
/// let y = square.apply(&Exec::default(), &[1.0_f32, -3.0], Geometry::flat(2), &[])?;
/// assert_eq!(y, [1.0, 9.0]);
/// # Ok::<(), &str>(())
/// ```
pub trait Function: Copy + Send + Sync + 'static {
    /// torch's name.
    const NAME: &'static str;
    /// Floating-point instructions of one element, for the choice of threads.
    const FLOPS: usize;
    /// Whether they are so few that half precision is better converted in registers than by way of a tile.
    const SHORT: bool = Self::FLOPS < 6;
    /// The same of the gradient.
    const SHORT_BACKWARD: bool = Self::SHORT;

    /// With the operation's parameters.
    fn new(numbers: &[f64]) -> Self;

    /// See [`Kernel::accepts`].
    ///
    /// # Errors
    /// The reason why these parameters are not for this function.
    fn accepts(self) -> Result<(), &'static str> {
        Ok(())
    }

    /// The function.
    fn forward<F: Float>(self, x: F) -> F;

    /// The function where its result is rounded to half precision: a few units in the last place of `f32` are no matter.
    #[inline(always)]
    fn forward_half<F: Float>(self, x: F) -> F {
        self.forward(x)
    }

    /// The gradient of the input, from that of the result and what was saved.
    fn backward<F: Float>(self, grad: F, saved: F) -> F;
}

/// The kernel of a [`Function`].
pub struct Elementwise<F>(PhantomData<F>);

impl<F> Elementwise<F> {
    /// The kernel.
    pub const NEW: Self = Self(PhantomData);
}

#[inline(always)]
fn apply<T: Element, F: Function>(function: F, x: T::Lane) -> T::Lane {
    if T::HALF {
        function.forward_half(x)
    } else {
        function.forward(x)
    }
}

/// Whether half precision is converted in registers.
#[inline(always)]
const fn in_registers<T: Element>(short: bool) -> bool {
    short && T::HALF && T::PACKS
}

struct Map<'a, T, F>(&'a [T], &'a mut [MaybeUninit<T>], F);

impl<T: Element, F: Function> Program for Map<'_, T, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let function = self.2;
        if in_registers::<T>(F::SHORT) {
            for (d, &s) in self.1.iter_mut().zip(self.0) {
                d.write(T::rounded(function.forward_half(s.lane())));
            }
            return;
        }
        T::map(
            simd,
            self.0,
            self.1,
            #[inline(always)]
            |x| apply::<T, F>(function, x),
        );
    }
}

struct MapInplace<'a, T, F>(&'a mut [T], F);

impl<T: Element, F: Function> Program for MapInplace<'_, T, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let function = self.1;
        if in_registers::<T>(F::SHORT) {
            for x in self.0 {
                *x = T::rounded(function.forward_half(x.lane()));
            }
            return;
        }
        T::map_inplace(
            simd,
            self.0,
            #[inline(always)]
            |x| apply::<T, F>(function, x),
        );
    }
}

struct ZipMap<'a, T, F>(&'a [T], &'a [T], &'a mut [MaybeUninit<T>], F);

impl<T: Element, F: Function> Program for ZipMap<'_, T, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let function = self.3;
        if in_registers::<T>(F::SHORT_BACKWARD) {
            for ((d, &grad), &saved) in self.2.iter_mut().zip(self.0).zip(self.1) {
                d.write(T::rounded(function.backward(grad.lane(), saved.lane())));
            }
            return;
        }
        T::zip_map(
            simd,
            self.0,
            self.1,
            self.2,
            #[inline(always)]
            |grad, saved| function.backward(grad, saved),
        );
    }
}

/// `dst[i] = function(src[i])`, on the team.
fn map<T: Element, F: Function>(exec: &Exec, src: &[T], dst: &mut [MaybeUninit<T>], function: F) {
    assert_eq!(src.len(), dst.len(), "source and destination differ in length");
    let (team, grain) = exec.team(dst.len(), 2 * size_of::<T>(), F::FLOPS * lane_cost::<T>());
    split_mut(team, dst, 1, grain, &|start, dst| {
        run(exec.isa, Map(&src[start..start + dst.len()], dst, function));
    });
}

/// `buf[i] = function(buf[i])`, on the team.
fn map_inplace<T: Element, F: Function>(exec: &Exec, buf: &mut [T], function: F) {
    let (team, grain) = exec.team(buf.len(), 2 * size_of::<T>(), F::FLOPS * lane_cost::<T>());
    split_mut(team, buf, 1, grain, &|_, buf| run(exec.isa, MapInplace(buf, function)));
}

/// `dst[i] = gradient(grad[i], saved[i])`, on the team.
fn zip_map<T: Element, F: Function>(exec: &Exec, grad: &[T], saved: &[T], dst: &mut [MaybeUninit<T>], function: F) {
    assert!(
        grad.len() == dst.len() && saved.len() == dst.len(),
        "the slices differ in length"
    );
    let (team, grain) = exec.team(dst.len(), 3 * size_of::<T>(), F::FLOPS * lane_cost::<T>());
    split_mut(team, dst, 1, grain, &|start, dst| {
        let range = start..start + dst.len();
        run(exec.isa, ZipMap(&grad[range.clone()], &saved[range], dst, function));
    });
}

/// A vector holds half as many doubles as singles.
fn lane_cost<T: Element>() -> usize {
    size_of::<T::Lane>() / 4
}

/// One instance per program and instruction set, whatever calls it.
#[inline(never)]
fn run<P: Program>(isa: Isa, program: P) -> P::Output {
    isa.run(program)
}

/// `function` applied to a slice of any type.
pub(crate) fn forward<F: Function>(exec: &Exec, src: View, dst: Target, function: F) {
    each_type!((src: View, dst: Target) => map(exec, src, dst, function));
}

/// `function` applied in place to a slice of any type.
pub(crate) fn inplace<F: Function>(exec: &Exec, buf: ViewMut, function: F) {
    each_type!((buf: ViewMut) => map_inplace(exec, buf, function));
}

/// The gradient of `function` over slices of any type.
pub(crate) fn backward<F: Function>(exec: &Exec, grad: View, saved: View, dst: Target, function: F) {
    each_type!((grad: View, saved: View, dst: Target) => zip_map(exec, grad, saved, dst, function));
}

impl<F: Function> Kernel for Elementwise<F> {
    fn name(&self) -> &'static str {
        F::NAME
    }

    fn shape(&self) -> Shape {
        Shape::Pointwise
    }

    fn accepts(&self, _: Geometry, numbers: &[f64]) -> Result<(), &'static str> {
        F::new(numbers).accepts()
    }

    fn forward(&self, exec: &Exec, src: View, dst: Target, _: Geometry, numbers: &[f64]) {
        forward(exec, src, dst, F::new(numbers));
    }

    fn inplace(&self, exec: &Exec, buf: ViewMut, numbers: &[f64]) {
        inplace(exec, buf, F::new(numbers));
    }

    fn backward(&self, exec: &Exec, grad: View, saved: View, dst: Target, _: Geometry, numbers: &[f64]) {
        backward(exec, grad, saved, dst, F::new(numbers));
    }
}

/// The parameter at `index`, or torch's default.
#[inline(always)]
pub(crate) fn number(numbers: &[f64], index: usize, default: f64) -> f64 {
    numbers.get(index).copied().unwrap_or(default)
}
