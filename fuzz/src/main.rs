//! One fuzzer for all targets; `FUZZ_TARGET` says which.
#![no_main]

use std::sync::LazyLock;

static TARGET: LazyLock<fn(&[u8])> = LazyLock::new(|| {
    let named = std::env::var("FUZZ_TARGET").expect("FUZZ_TARGET names a target");
    keyferry_fuzz::TARGETS
        .iter()
        .find(|(name, _)| *name == named)
        .expect("FUZZ_TARGET names no target")
        .1
});

libfuzzer_sys::fuzz_target!(|input: &[u8]| TARGET(input));
