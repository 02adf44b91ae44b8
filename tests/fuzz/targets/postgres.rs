#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| unistream_torture::torture::fuzz("postgres", bytes));
