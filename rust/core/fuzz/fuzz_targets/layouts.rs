//! Any sizes and strides.

#![no_main]

libfuzzer_sys::fuzz_target!(|case: rusttorch_core_fuzz::layouts::Case| case.check());
