#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| unistream::torture::fuzz("sidecar", bytes));
