//! Errors as C sees them.

use std::error::Error as StdError;
use std::ffi::{CString, c_char};
use std::ptr;

use engine::{Error, Result};

use crate::constants::{UNISTREAM_ERROR_NONE, unistream_code};
use crate::panics::{self, infallible};
use crate::text::c_text;

/// Why a call failed. Immutable; any thread may read it.
pub struct unistream_error {
    pub(crate) code: unistream_code,
    pub(crate) message: CString,
    name: CString,
    causes: Vec<CString>,
    is_retryable: bool,
    record_accepted: bool,
}

impl From<&Error> for unistream_error {
    fn from(error: &Error) -> Self {
        let chain = std::iter::successors(error.source(), |cause: &&(dyn StdError + 'static)| (*cause).source());
        unistream_error {
            code: error.kind() as unistream_code,
            message: c_text(error.message()),
            name: c_text(error.kind().name()),
            causes: chain.map(|cause| c_text(cause.to_string())).collect(),
            is_retryable: error.is_retryable(),
            record_accepted: error.record_accepted(),
        }
    }
}

/// What a function that can fail returns: NULL is success.
pub(crate) type CResult = Option<Box<unistream_error>>;

/// Runs the work of a function that can fail, and makes a handle of its error.
#[inline]
pub(crate) fn fallible(work: impl FnOnce() -> Result<()>) -> CResult {
    match panics::caught(work) {
        Ok(()) => None,
        Err(error) => handle(&error),
    }
}

#[cold]
fn handle(error: &Error) -> CResult {
    Some(Box::new(unistream_error::from(error)))
}

/// What the error is about: one of the `unistream_code` numbers; `UNISTREAM_ERROR_NONE` for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn unistream_error_code(error: Option<&unistream_error>) -> unistream_code {
    error.map_or(UNISTREAM_ERROR_NONE, |error| error.code)
}

/// The code's name, such as `record_too_large`; `none` for NULL. The text lives as long as the error.
#[unsafe(no_mangle)]
pub extern "C" fn unistream_error_name(error: Option<&unistream_error>) -> *const c_char {
    error.map_or(c"none".as_ptr(), |error| error.name.as_ptr())
}

/// What went wrong, for a person: one line of UTF-8; `success` for NULL. The text lives as long as the error.
#[unsafe(no_mangle)]
pub extern "C" fn unistream_error_message(error: Option<&unistream_error>) -> *const c_char {
    error.map_or(c"success".as_ptr(), |error| error.message.as_ptr())
}

/// The cause behind the error, the cause behind that one, and so on: `index` counts from 0. Returns NULL behind the
/// last one, and for NULL. The text lives as long as the error.
#[unsafe(no_mangle)]
pub extern "C" fn unistream_error_cause(error: Option<&unistream_error>, index: usize) -> *const c_char {
    infallible(|| error.and_then(|error| error.causes.get(index)).map_or(ptr::null(), |cause| cause.as_ptr()))
}

/// Whether the same call can succeed later with nothing changed by the caller. False for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn unistream_error_is_retryable(error: Option<&unistream_error>) -> bool {
    error.is_some_and(|error| error.is_retryable)
}

/// Whether the record of the put that returned this error is in the log nevertheless, and must not be put again.
/// Happens in inline mode, where a put also sends. False for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn unistream_error_record_accepted(error: Option<&unistream_error>) -> bool {
    error.is_some_and(|error| error.record_accepted)
}

/// Frees an error. NULL does nothing.
#[unsafe(no_mangle)]
pub extern "C" fn unistream_error_free(error: Option<Box<unistream_error>>) {
    drop(error);
}
