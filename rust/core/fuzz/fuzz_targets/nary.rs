//! Any call of any kernel of several tensors.

#![no_main]

libfuzzer_sys::fuzz_target!(|case: rusttorch_core_fuzz::kernels::nary::Case| {
    case.check();
});
