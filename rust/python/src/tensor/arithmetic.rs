//! Arithmetic and comparisons, with torch's promotion of types.

use pyo3::{
    exceptions::{PyTypeError, PyValueError, PyZeroDivisionError},
    prelude::*,
};
use rusttorch_core::{
    dtype::{Bool, DType, Target, Typed},
    kernel::{IndexKernel, Strided},
    ops::{
        arithmetic::{
            Number, Side, add,
            compare::{self, Comparison},
            div, floor_divide, mul, pow, remainder,
        },
        index::where_self::Where,
    },
};

use super::{
    Tensor, contiguous,
    create::{dtype_of, number},
    dtype::{promote, promote_over},
    exchange, shape,
    shape::broadcast,
};

/// What is computed of two operands.
#[derive(Clone, Copy)]
pub(super) enum Binary {
    /// The first and so many of the second.
    Add(Number),
    Mul,
    Div,
    FloorDivide,
    Remainder,
    Pow,
    Compare(Comparison),
}

/// An operand: a tensor, the caller's or another one, or a number of Python.
pub(super) enum Operand<'a> {
    Theirs(&'a Tensor),
    Made(Box<Tensor>),
    Number(Number, DType),
}

impl<'a> Operand<'a> {
    /// `None` for what is neither.
    pub(super) fn of(object: &'a Bound<'_, PyAny>) -> PyResult<Option<Self>> {
        if let Ok(tensor) = object.cast::<Tensor>() {
            return Ok(Some(Self::Theirs(tensor.get())));
        }
        if exchange::is_numpy(object) {
            return Ok(Some(Self::Made(Box::new(exchange::from_numpy(object)?))));
        }
        match number("other", object) {
            Ok(number) => Ok(Some(Self::Number(number, dtype_of(object, number)))),
            Err(error) if error.is_instance_of::<PyTypeError>(object.py()) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The tensor, if it is one.
    pub(super) fn tensor(&self) -> Option<&Tensor> {
        match self {
            Self::Theirs(tensor) => Some(tensor),
            Self::Made(tensor) => Some(tensor),
            Self::Number(..) => None,
        }
    }

    fn sizes(&self) -> &[i64] {
        self.tensor().map_or(&[], Tensor::sizes)
    }

    pub(super) fn dtype(&self) -> DType {
        match self {
            Self::Theirs(tensor) => tensor.dtype(),
            Self::Made(tensor) => tensor.dtype(),
            Self::Number(_, dtype) => *dtype,
        }
    }

    /// How much it counts in the promotion of types: numbers less than tensors without dimensions, and these less than others.
    fn rank(&self) -> u8 {
        match self.tensor() {
            Some(tensor) if tensor.sizes().is_empty() => 1,
            Some(_) => 2,
            None => 0,
        }
    }

    fn cast(self, py: Python<'_>, dtype: DType) -> PyResult<Self> {
        match self.tensor() {
            Some(tensor) if tensor.dtype() != dtype => Ok(Self::Made(Box::new(tensor.cast(py, dtype)?))),
            _ => Ok(self),
        }
    }

    fn side(&self) -> Side<'_> {
        match self {
            Self::Theirs(tensor) => Side::Tensor(tensor.strided()),
            Self::Made(tensor) => Side::Tensor(tensor.strided()),
            Self::Number(number, _) => Side::Number(*number),
        }
    }
}

/// The type that `torch.result_type` has.
fn result_type(a: &Operand, b: &Operand) -> DType {
    match a.rank().cmp(&b.rank()) {
        std::cmp::Ordering::Equal => promote(a.dtype(), b.dtype()),
        std::cmp::Ordering::Greater => promote_over(a.dtype(), b.dtype()),
        std::cmp::Ordering::Less => promote_over(b.dtype(), a.dtype()),
    }
}

/// Refuses what torch refuses of types.
fn check(py: Python<'_>, op: Binary, a: &Operand, b: &Operand, dtype: DType) -> PyResult<()> {
    if matches!(op, Binary::FloorDivide | Binary::Remainder) && !dtype.is_float() {
        return check_divisor(py, b, dtype);
    }
    if matches!(op, Binary::Pow) && !dtype.is_float() {
        return check_exponent(b, dtype);
    }
    let Binary::Add(alpha) = op else { return Ok(()) };
    if alpha == Number::Whole(-1) && [a.dtype(), b.dtype()].contains(&DType::Bool) {
        return Err(PyTypeError::new_err(
            "sub: of bool there is no difference; compare with !=, or convert first: tensor.to(\"int64\")",
        ));
    }
    if !dtype.is_float() && matches!(alpha, Number::Real(_)) {
        return Err(PyTypeError::new_err("alpha must be an integer for tensors of integers"));
    }
    Ok(())
}

/// Refuses to divide integers by 0, and bool at all.
fn check_divisor(py: Python<'_>, divisor: &Operand, dtype: DType) -> PyResult<()> {
    if dtype == DType::Bool {
        return Err(PyTypeError::new_err(
            "bool is not divided with a rest; convert first: tensor.to(\"int64\")",
        ));
    }
    let has_zero = match divisor {
        Operand::Number(number, _) => number.whole() == 0,
        Operand::Theirs(tensor) => tensor.contains_zero(py)?,
        Operand::Made(tensor) => tensor.contains_zero(py)?,
    };
    if has_zero {
        return Err(PyZeroDivisionError::new_err("an integer is divided by 0"));
    }
    Ok(())
}

/// Refuses powers of bool, and of integers to a negative number, which are fractions.
fn check_exponent(exponent: &Operand, dtype: DType) -> PyResult<()> {
    if dtype == DType::Bool {
        return Err(PyTypeError::new_err(
            "bool has no powers; convert first: tensor.to(\"int64\")",
        ));
    }
    if matches!(exponent, Operand::Number(number, _) if number.whole() < 0) {
        return Err(PyValueError::new_err(
            "integers to a negative power are fractions; convert first: tensor.to(\"float32\")",
        ));
    }
    Ok(())
}

impl Tensor {
    fn contains_zero(&self, py: Python<'_>) -> PyResult<bool> {
        let zero = Operand::Number(Number::Whole(0), self.dtype());
        let zeros = binary(py, Binary::Compare(Comparison::Equal), Operand::Theirs(self), zero)?;
        Ok(Bool::slice(zeros.elements()).is_some_and(|zeros| zeros.iter().any(|zero| zero.0 != 0)))
    }
}

/// A new tensor of the result.
pub(super) fn binary(py: Python<'_>, op: Binary, a: Operand, b: Operand) -> PyResult<Tensor> {
    let mut dtype = result_type(&a, &b);
    if matches!(op, Binary::Div) && !dtype.is_float() {
        dtype = DType::F32;
    }
    check(py, op, &a, &b, dtype)?;
    let (a, b) = (a.cast(py, dtype)?, b.cast(py, dtype)?);
    let layout = if a.sizes() == b.sizes() {
        contiguous(a.sizes())?
    } else {
        contiguous(&broadcast(a.sizes(), b.sizes())?)?
    };
    let sizes = layout.sizes();
    let result = if matches!(op, Binary::Compare(_)) {
        DType::Bool
    } else {
        dtype
    };
    let sides = [a.side(), b.side()];
    Tensor::written(py, result, layout, |exec, target| match (op, target) {
        (Binary::Compare(comparison), Target::Bool(dst)) => {
            compare::compare(exec, comparison, sides, dtype, dst, sizes);
        }
        (Binary::Add(alpha), target) => add::add(exec, sides, alpha, target, sizes),
        (Binary::Div, target) => div::div(exec, sides, target, sizes),
        (Binary::FloorDivide, target) => floor_divide::floor_divide(exec, sides, target, sizes),
        (Binary::Remainder, target) => remainder::remainder(exec, sides, target, sizes),
        (Binary::Pow, target) => pow::pow(exec, sides, target, sizes),
        (_, target) => mul::mul(exec, sides, target, sizes),
    })
}

/// The same in the place of the first operand.
pub(super) fn inplace(py: Python<'_>, op: Binary, tensor: &Tensor, other: Operand) -> PyResult<()> {
    tensor.check_writable()?;
    let this = Operand::Theirs(tensor);
    if tensor.by_rows()
        && result_type(&this, &other) == tensor.dtype()
        && broadcast(tensor.sizes(), other.sizes())? == tensor.sizes()
        && !other.tensor().is_some_and(|other| other.overlaps(tensor))
        && (tensor.dtype().is_float() || matches!(op, Binary::Mul | Binary::Add(Number::Whole(1))))
        && !matches!(op, Binary::FloorDivide | Binary::Remainder | Binary::Pow)
    {
        check(py, op, &this, &other, tensor.dtype())?;
        let other = other.cast(py, tensor.dtype())?;
        return tensor.change(py, |exec, buf| match op {
            Binary::Add(alpha) => add::add_inplace(exec, buf, other.side(), alpha, tensor.sizes()),
            Binary::Div => div::div_inplace(exec, buf, other.side(), tensor.sizes()),
            _ => mul::mul_inplace(exec, buf, other.side(), tensor.sizes()),
        });
    }
    let result = binary(py, op, Operand::Theirs(tensor), other)?;
    if result.sizes() != tensor.sizes() {
        return Err(PyValueError::new_err(format!(
            "in place, the result of shape {} has no room in a tensor of shape {}",
            shape(result.sizes()),
            shape(tensor.sizes())
        )));
    }
    let rank = |dtype: DType| {
        if dtype.is_float() {
            2
        } else {
            u8::from(dtype != DType::Bool)
        }
    };
    if rank(result.dtype()) > rank(tensor.dtype()) {
        return Err(PyTypeError::new_err(format!(
            "in place, a result of {} has no room in a tensor of {}; convert that first",
            result.dtype().name(),
            tensor.dtype().name()
        )));
    }
    tensor.assign(py, &result)
}

/// `on` where a mask of the same shape as `off` is true, and `off` elsewhere.
pub(super) fn choose(py: Python<'_>, mask: &Tensor, on: &Tensor, off: &Tensor) -> PyResult<Tensor> {
    let expanded = on.broadcast_to(off.sizes())?;
    let sides = [mask.contiguous(py)?, expanded.contiguous(py)?, off.contiguous(py)?];
    let layout = contiguous(off.sizes())?;
    let mut outcome = Ok(());
    let result = Tensor::written(py, off.dtype(), layout, |exec, target| {
        let tensors: [Option<Strided>; 3] = sides.each_ref().map(|side| Some(side.strided()));
        outcome = Where.forward(exec, &tensors, target, &layout, &[0.0, 0.0]);
    })?;
    outcome.map_err(PyValueError::new_err)?;
    Ok(result)
}
