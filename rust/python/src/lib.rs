//! The extension module `rusttorch._rusttorch`: operations, the callables that stand in for torch's functions, and the
//! allocator policy.

mod bincount;
mod bind;
mod callable;
mod clip;
mod index;
mod multinomial;
mod nary;
mod op;
mod runtime;
mod select;
mod step;
mod tensor;
mod unique;

use pyo3::prelude::*;

#[pymodule]
mod _rusttorch {
    use pyo3::prelude::*;

    #[pymodule_export]
    use super::callable::{callable_types, explain, is_callable, make, set_active, set_redirect};
    #[pymodule_export]
    use super::op::{Op, kernels};
    #[pymodule_export]
    use super::runtime::{
        available_isas, memory_available, memory_keep, memory_kept, memory_restore, memory_trim, multiplied, open,
    };
    #[pymodule_export]
    use super::tensor::Tensor;
    #[pymodule_export]
    use super::tensor::dtype::{Dtype, dtype_of, dtypes};
    #[pymodule_export]
    use super::tensor::function::{Function, optimizer_step};
    #[pymodule_export]
    use super::tensor::random::manual_seed;

    #[pymodule_init]
    #[allow(clippy::unnecessary_wraps)]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        super::tensor::buffer::install(module.py());
        Ok(())
    }
}
