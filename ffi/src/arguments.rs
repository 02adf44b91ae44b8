//! What comes in from C is checked here: NULL, text that is not UTF-8, lengths that no object has, time-outs.

use std::ffi::{CStr, c_char, c_void};
use std::slice;
use std::time::Duration;

use engine::{Error, ErrorKind, NEVER, Result};

use crate::constants::UNISTREAM_FOREVER;

/// An error about an argument.
#[cold]
pub(crate) fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidArgument, message)
}

/// The handle or out parameter, which must not be NULL.
#[inline]
pub(crate) fn required<T>(argument: Option<T>, name: &str) -> Result<T> {
    match argument {
        Some(argument) => Ok(argument),
        None => Err(null(name)),
    }
}

#[cold]
fn null(name: &str) -> Error {
    invalid(format!("{name} is NULL"))
}

/// A borrowed C string.
///
/// # Safety
/// `text` is NULL or NUL-terminated, and lives for `'a`.
pub(crate) unsafe fn text<'a>(text: *const c_char, name: &str) -> Result<&'a str> {
    // SAFETY: our caller promises it.
    unsafe { optional_text(text, name) }?.ok_or_else(|| invalid(format!("{name} is NULL")))
}

/// A borrowed path. An empty one would mean the working directory here and nothing there.
///
/// # Safety
/// As of [`text`].
pub(crate) unsafe fn path<'a>(path: *const c_char, name: &str) -> Result<&'a str> {
    // SAFETY: our caller promises it.
    let path = unsafe { text(path, name) }?;
    if path.is_empty() { Err(invalid(format!("{name} is empty"))) } else { Ok(path) }
}

/// A borrowed C string that may be left out.
///
/// # Safety
/// As of [`text`].
pub(crate) unsafe fn optional_text<'a>(text: *const c_char, name: &str) -> Result<Option<&'a str>> {
    if text.is_null() {
        return Ok(None);
    }
    // SAFETY: it is not NULL, so our caller promises that it is NUL-terminated and lives for `'a`.
    let text = unsafe { CStr::from_ptr(text) };
    text.to_str().map(Some).map_err(|error| invalid(format!("{name} is not UTF-8: {error}")))
}

/// Borrowed bytes: NULL is none, and then the length must be 0.
///
/// # Safety
/// `data` is NULL or points to `length` bytes that live, and that nobody writes, for `'a`.
#[inline]
pub(crate) unsafe fn bytes<'a>(data: *const c_void, length: usize, name: &str) -> Result<Option<&'a [u8]>> {
    if data.is_null() {
        return if length == 0 { Ok(None) } else { Err(null_bytes(length, name)) };
    }
    if length > isize::MAX as usize {
        return Err(too_large(length, name));
    }
    // SAFETY: not NULL, no longer than an object can be, and our caller promises the rest.
    Ok(Some(unsafe { slice::from_raw_parts(data.cast(), length) }))
}

#[cold]
fn null_bytes(length: usize, name: &str) -> Error {
    invalid(format!("{name} is NULL, its length is {length}"))
}

#[cold]
fn too_large(length: usize, name: &str) -> Error {
    Error::new(ErrorKind::RecordTooLarge, format!("{name} cannot have {length} bytes; is the length negative?"))
}

/// A time-out in milliseconds.
pub(crate) fn timeout(ms: i64) -> Result<Duration> {
    match u64::try_from(ms) {
        Ok(ms) => Ok(Duration::from_millis(ms)),
        Err(_) if ms == UNISTREAM_FOREVER => Ok(NEVER),
        Err(_) => Err(invalid(format!("timeout_ms is {ms}; it takes 0 and up, or UNISTREAM_FOREVER"))),
    }
}
