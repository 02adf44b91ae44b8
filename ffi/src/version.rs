//! The version of the library.

use std::ffi::c_char;

/// The version of the library that is loaded, such as `0.2.0`. Compare it with `UNISTREAM_VERSION`, the version of
/// the header that the program was compiled with. The text is static.
#[unsafe(no_mangle)]
pub extern "C" fn unistream_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}

/// The version of the library that is loaded as one number that grows:
/// major * 1000000 + minor * 1000 + patch, as `UNISTREAM_VERSION_NUMBER` has it for the header.
#[unsafe(no_mangle)]
pub extern "C" fn unistream_version_number() -> u32 {
    const NUMBER: u32 = decimal(env!("CARGO_PKG_VERSION_MAJOR")) * 1_000_000
        + decimal(env!("CARGO_PKG_VERSION_MINOR")) * 1_000
        + decimal(env!("CARGO_PKG_VERSION_PATCH"));
    NUMBER
}

const fn decimal(digits: &str) -> u32 {
    match u32::from_str_radix(digits, 10) {
        Ok(number) => number,
        Err(_) => panic!("cargo's version numbers are decimal"),
    }
}
