//! A result depends neither on the instruction set, nor on how a team shares the work out, nor on what was in memory.

use arbitrary::{Arbitrary, Result, Unstructured};
use half::{bf16, f16};
use rusttorch_core::{
    dtype::DType,
    isa::Isa,
    kernel::{Exec, Geometry, Kernel, Shape},
    ops,
    parallel::{Serial, Team},
};

use super::number::{Number, numbers, random};

/// Hands out two ranges, the later one first; the other is one part in so many.
#[derive(Debug)]
pub struct Uneven(pub usize);

impl Team for Uneven {
    fn threads(&self) -> usize {
        3
    }

    fn run(&self, len: usize, grain: usize, body: &(dyn Fn(core::ops::Range<usize>) + Sync)) {
        let cut = (len / self.0).max(grain).min(len);
        for range in [cut..len, 0..cut] {
            if !range.is_empty() {
                body(range);
            }
        }
    }
}

/// What a kernel and its gradient are called with.
pub struct Call<'a, T> {
    pub kernel: &'a dyn Kernel,
    pub geometry: Geometry,
    pub numbers: &'a [f64],
    pub x: Vec<T>,
    pub grad: Vec<T>,
    pub saved: Vec<T>,
}

impl<T: Number> Call<'_, T> {
    /// The result, in memory that held `before`.
    pub fn forward(&self, exec: &Exec, before: T) -> Vec<T> {
        let mut y = vec![before; self.grad.len()];
        let (src, dst) = (T::view(&self.x), T::target(&mut y));
        self.kernel.forward(exec, src, dst, self.geometry, self.numbers);
        y
    }

    /// The gradient, if there is one, in memory that held `before`.
    pub fn backward(&self, exec: &Exec, before: T) -> Vec<T> {
        if !self.kernel.differentiates() {
            return Vec::new();
        }
        let mut gradient = vec![before; self.x.len()];
        let (grad, saved, dst) = (T::view(&self.grad), T::view(&self.saved), T::target(&mut gradient));
        self.kernel
            .backward(exec, grad, saved, dst, self.geometry, self.numbers);
        gradient
    }

    /// Asserts that the result and the gradient are these, which came from memory that held NaN: an element that is
    /// not written differs.
    #[track_caller]
    pub fn assert_gives(&self, what: &str, exec: &Exec, y: &[T], gradient: &[T]) {
        assert_same(what, &self.forward(exec, T::of(0.0)), y);
        let other = self.backward(exec, T::of(0.0));
        assert_same(&format!("{what}, backward"), &other, gradient);
        if self.kernel.shape() == Shape::Pointwise {
            let mut buf = self.x.clone();
            self.kernel.inplace(exec, T::view_mut(&mut buf), self.numbers);
            assert_same(&format!("{what}, in place"), &buf, y);
        }
    }
}

/// The same bits, or NaN, whose payload is left to the compiler.
#[track_caller]
pub fn assert_same<T: Number>(what: &str, got: &[T], want: &[T]) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (index, (got, want)) in got.iter().zip(want).enumerate() {
        let same = got.bits() == want.bits() || got.wide().is_nan() && want.wide().is_nan();
        assert!(same, "{what}: at {index}: {got:?}, elsewhere {want:?}");
    }
}

/// Any call of any kernel.
#[derive(Debug)]
pub struct Case {
    kernel: &'static str,
    dtype: DType,
    isa: &'static str,
    team: Uneven,
    geometry: Geometry,
    numbers: Vec<f64>,
    values: Values,
}

/// What slices are filled with.
#[derive(Debug)]
pub struct Values {
    pub seed: u64,
    /// What numbers between -6 and 6 are multiplied by; without it, bits at random.
    scale: Option<f64>,
    /// Places of numbers of their own.
    special: Vec<(usize, f64)>,
}

impl<'a> Arbitrary<'a> for Values {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        Ok(Self {
            seed: u.arbitrary()?,
            scale: *u.choose(&[Some(1.0), Some(1e-4), Some(30.0), Some(1e30), None])?,
            special: list(8, u, |u| Ok((u.arbitrary()?, number(u)?)))?,
        })
    }
}

impl Values {
    /// So many; others for another `salt`.
    pub fn of<T: Number>(&self, len: usize, salt: u64) -> Vec<T> {
        let seed = self.seed.wrapping_add(salt);
        let mut values: Vec<T> = match self.scale {
            Some(scale) => numbers(len, seed).into_iter().map(|x| T::of(x * scale)).collect(),
            None => random(len, seed).map(T::from_bits).collect(),
        };
        for &(place, number) in self.special.iter().filter(|_| len > 0) {
            values[place % len] = T::of(number);
        }
        values
    }
}

/// The most elements: enough for the longest rows, which are worked on in another way.
const MOST: usize = 70_000;

impl<'a> Arbitrary<'a> for Case {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let kernel = *u.choose(ops::KERNELS)?;
        Ok(Self {
            kernel: kernel.name(),
            dtype: *u.choose(&DType::FLOATS)?,
            isa: u.choose(&Isa::available())?.name(),
            team: Uneven(u.int_in_range(1..=9)?),
            geometry: geometry(kernel.shape(), u)?,
            numbers: list(3, u, number)?,
            values: u.arbitrary()?,
        })
    }
}

/// Along a dimension, a geometry is not empty.
pub fn geometry(shape: Shape, u: &mut Unstructured) -> Result<Geometry> {
    // Small ones come often, so that there are many.
    let most = *u.choose(&[20, 600, 600, 3000, MOST])?;
    if shape == Shape::Pointwise {
        return Ok(Geometry::flat(u.int_in_range(0..=most)?));
    }
    let inner = if u.arbitrary()? { 1 } else { u.int_in_range(1..=most)? };
    let dim = u.int_in_range(1..=most / inner)?;
    let outer = u.int_in_range(1..=most / inner / dim)?;
    Ok(Geometry { outer, dim, inner })
}

pub fn list<'a, T>(
    most: usize,
    u: &mut Unstructured<'a>,
    mut item: impl FnMut(&mut Unstructured<'a>) -> Result<T>,
) -> Result<Vec<T>> {
    (0..u.int_in_range(0..=most)?).map(|_| item(u)).collect()
}

/// A number of any bits, a special one, or a plain one.
pub fn number(u: &mut Unstructured) -> Result<f64> {
    const SPECIAL: [f64; 8] = [
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::NAN,
        -0.0,
        f64::MAX,
        f64::MIN_POSITIVE,
        1e-40,
        65504.0,
    ];
    match u.int_in_range(0..=2)? {
        0 => Ok(f64::from(u.arbitrary::<i8>()?) / 4.0),
        1 => Ok(*u.choose(&SPECIAL)?),
        _ => u.arbitrary(),
    }
}

impl Case {
    /// Runs the call, if the kernel takes it, on one thread and on the team.
    pub fn check(&self) {
        match self.dtype {
            DType::F32 => self.check_as::<f32>(),
            DType::F64 => self.check_as::<f64>(),
            DType::Bf16 => self.check_as::<bf16>(),
            DType::F16 => self.check_as::<f16>(),
            _ => unreachable!("drawn are floating-point types"),
        }
    }

    fn check_as<T: Number>(&self) {
        let kernel = ops::find(self.kernel).expect("a kernel of the list");
        if kernel.accepts(self.geometry, &self.numbers).is_err() {
            return;
        }
        let Geometry { outer, dim, inner } = self.geometry;
        let call = Call {
            kernel,
            geometry: self.geometry,
            numbers: &self.numbers,
            x: self.values.of::<T>(self.geometry.len(), 0),
            grad: self
                .values
                .of(outer * kernel.shape().result_dim(dim, &self.numbers) * inner, 1),
            saved: self.values.of(self.geometry.len(), 2),
        };
        let (exec, nan) = (Exec::new(Isa::detect(), &Serial), T::of(f64::NAN));
        let (y, gradient) = (call.forward(&exec, nan), call.backward(&exec, nan));
        let isa = Isa::by_name(self.isa).expect("an instruction set of this machine");
        call.assert_gives(&format!("{self:?}"), &Exec::new(isa, &self.team), &y, &gradient);
    }
}
