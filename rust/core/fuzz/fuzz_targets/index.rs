//! Any call of any kernel that moves, chooses or finds elements.

#![no_main]

libfuzzer_sys::fuzz_target!(|case: rusttorch_core_fuzz::kernels::index::Case| {
    case.check();
});
