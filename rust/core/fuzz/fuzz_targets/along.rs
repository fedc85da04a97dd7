//! Any call of any kernel along a dimension that has several results, or indices.

#![no_main]

libfuzzer_sys::fuzz_target!(|case: rusttorch_core_fuzz::kernels::along::Case| case.check());
