//! Any call of any kernel.

#![no_main]

libfuzzer_sys::fuzz_target!(|case: rusttorch_core_fuzz::kernels::kernel::Case| case.check());
