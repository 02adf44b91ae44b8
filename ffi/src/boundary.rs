//! The one boundary between C and the engine: what comes in is checked here, and no panic leaves.

use std::any::Any;
use std::ffi::{CStr, CString, c_char, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::slice;
use std::time::Duration;

use engine::{Error, ErrorKind, NEVER, Result};

use crate::constants::UNISTREAM_FOREVER;
use crate::error::unistream_error;

/// What a function that can fail returns: NULL is success.
pub(crate) type Answer = Option<Box<unistream_error>>;

/// Runs the work of a function that can fail.
#[inline]
pub(crate) fn boundary(work: impl FnOnce() -> Result<()>) -> Answer {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(())) => None,
        Ok(Err(error)) => failed(error),
        Err(panic) => failed(Error::new(ErrorKind::Internal, panic_message(&*panic))),
    }
}

/// Runs the work of a function that cannot fail; a panic becomes the type's zero.
#[inline]
pub(crate) fn value<T: Default>(work: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_default()
}

#[cold]
fn failed(error: Error) -> Answer {
    Some(Box::new(unistream_error::from(&error)))
}

#[cold]
fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message");
    format!("a defect of unistream, please report it: {text}")
}

/// An error about an argument.
#[cold]
pub(crate) fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidArgument, message)
}

/// The handle or out parameter, which must not be NULL.
#[inline]
pub(crate) fn required<T>(argument: Option<T>, name: &str) -> Result<T> {
    argument.ok_or_else(|| invalid(format!("{name} is NULL")))
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
        return if length == 0 { Ok(None) } else { Err(invalid(format!("{name} is NULL, its length is {length}"))) };
    }
    if length > isize::MAX as usize {
        return Err(too_large(length, name));
    }
    // SAFETY: not NULL, no longer than an object can be, and our caller promises the rest.
    Ok(Some(unsafe { slice::from_raw_parts(data.cast(), length) }))
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

/// Text for C. A NUL inside it would end it early, so it is replaced.
pub(crate) fn c_text(text: impl Into<String>) -> CString {
    let text: String = text.into();
    CString::new(text).unwrap_or_else(|error| {
        let clean = String::from_utf8_lossy(&error.into_vec()).replace('\0', "\u{fffd}");
        CString::new(clean).unwrap_or_default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_an_internal_error_with_its_message() {
        let error = boundary(|| panic!("number {}", 7)).expect("a panic is an error");
        assert_eq!(error.code, ErrorKind::Internal as i32);
        assert!(error.message.to_str().unwrap().ends_with("please report it: number 7"), "{:?}", error.message);
        assert_eq!(value::<u64>(|| panic!("no value")), 0);
    }

    #[test]
    fn text_for_c_keeps_what_stands_behind_a_nul() {
        assert_eq!(c_text("a\0b").to_str().unwrap(), "a\u{fffd}b");
    }
}
