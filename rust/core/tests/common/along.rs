//! The same of operations along a dimension that have several results, or indices.

use arbitrary::{Arbitrary, Result, Unstructured};
use half::{bf16, f16};
use rusttorch_core::{
    dtype::DType,
    isa::Isa,
    kernel::{AlongKernel, Exec, Geometry, Kind, MAX_RESULTS, Slot},
    ops,
    parallel::Serial,
};

use super::{
    kernel::{Uneven, Values, assert_same, geometry, list, number},
    number::Number,
};

/// What a call gives.
pub struct Results<T> {
    pub values: Vec<T>,
    pub indices: Vec<i64>,
}

/// The results, in memory that held these, unless the elements are refused.
pub fn call<T: Number>(
    kernel: &dyn AlongKernel,
    exec: &Exec,
    x: &[T],
    geometry: Geometry,
    whole: bool,
    numbers: &[f64],
    before: (T, i64),
) -> Option<Results<T>> {
    let len = geometry.outer * kernel.shape().result_dim(geometry.dim, numbers) * geometry.inner;
    let kinds = kernel.results(whole);
    let of = |kind| kinds.iter().filter(|&&one| one == kind).count() * len;
    let mut values = vec![before.0; of(Kind::Values)];
    let mut indices = vec![before.1; of(Kind::Indices)];
    let (mut value, mut index) = (values.chunks_mut(len), indices.chunks_mut(len));
    let slots: [Option<Slot>; MAX_RESULTS] = std::array::from_fn(|at| {
        Some(match kinds.get(at)? {
            Kind::Values => Slot::Values(T::target(value.next()?)),
            Kind::Indices => Slot::Indices((&mut index.next()?[..]).into()),
        })
    });
    kernel.forward(exec, T::view(x), slots, geometry, numbers).ok()?;
    Some(Results { values, indices })
}

/// Any call of any of these kernels.
#[derive(Debug)]
pub struct Case {
    kernel: &'static str,
    dtype: DType,
    isa: &'static str,
    team: Uneven,
    geometry: Geometry,
    whole: bool,
    numbers: Vec<f64>,
    values: Values,
}

impl<'a> Arbitrary<'a> for Case {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let kernel = *u.choose(ops::ALONG_KERNELS)?;
        let geometry = geometry(kernel.shape(), u)?;
        let whole = !kernel.results(true).is_empty() && u.arbitrary()?;
        Ok(Self {
            kernel: kernel.name(),
            dtype: *u.choose(&DType::FLOATS)?,
            isa: u.choose(&Isa::available())?.name(),
            team: Uneven(u.int_in_range(1..=9)?),
            geometry: if whole {
                Geometry::flat(geometry.len())
            } else {
                geometry
            },
            whole,
            numbers: list(3, u, number)?,
            values: u.arbitrary()?,
        })
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
        let kernel = ops::find_along(self.kernel).expect("a kernel of the list");
        if !kernel.takes(self.dtype) || kernel.accepts(self.geometry, &self.numbers).is_err() {
            return;
        }
        let x = self.values.of::<T>(self.geometry.len(), 0);
        let run = |exec: &Exec, before| call(kernel, exec, &x, self.geometry, self.whole, &self.numbers, before);
        let first = run(&Exec::new(Isa::detect(), &Serial), (T::of(f64::NAN), -1));
        let isa = Isa::by_name(self.isa).expect("an instruction set of this machine");
        let other = run(&Exec::new(isa, &self.team), (T::of(0.0), -2));
        assert_eq!(first.is_some(), other.is_some(), "{self:?}");
        if let (Some(first), Some(other)) = (first, other) {
            assert_same(&format!("{self:?}"), &other.values, &first.values);
            assert_eq!(first.indices, other.indices, "{self:?}");
        }
    }
}
