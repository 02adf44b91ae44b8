//! Kinds of sinks that the program adds.

use std::ffi::{CString, c_char, c_void};

use engine::sink::{self, Kind, Place};
use engine::{Result, Sink};

use super::{UserData, unistream_destroy_callback, unistream_sink};
use crate::arguments::{invalid, required, text};
use crate::error::{fallible, unistream_error};

/// Makes a sink of a registered kind, by one of the functions that make sinks, and hands it over; NULL refuses the options.
/// `options` are keys and values in turn, with NULL behind the last, lent for the call: `place` first, what stands in the
/// URL between the scheme and `?`, as it is written; then the others. Called on the thread that opens. It must not throw or
/// longjmp. The sink must not be asynchronous.
pub type unistream_open_callback =
    Option<unsafe extern "C" fn(user_data: *mut c_void, options: *const *const c_char) -> *mut unistream_sink>;

/// Makes a kind of sinks known to the whole process, for as long as it runs: `unistream_sink_open()` calls `open` for
/// `scheme` and for URLs that begin with it, on whatever threads it is called, and passes on all options.
///
/// `scheme`: small letters, digits, `+`, `-` and `.`, beginning with a letter. Ownership: `destroy(user_data)` is called
/// before the return if this call fails, and never if it succeeds.
///
/// Errors: `UNISTREAM_ERROR_INVALID_ARGUMENT`, also for a scheme that is taken.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unistream_sink_register(
    scheme: *const c_char,
    open: unistream_open_callback,
    user_data: *mut c_void,
    destroy: unistream_destroy_callback,
) -> Option<Box<unistream_error>> {
    let owned = UserData::new(user_data, destroy);
    fallible(move || {
        // SAFETY: the contract: a C string that lives for the call.
        let scheme = unsafe { text(scheme, "scheme") }?;
        let open = required(open, "open")?;
        // A registered kind lives as long as the process, and nobody frees what belongs to it.
        sink::register_as(scheme, |scheme| {
            let user_data = UserData::new(owned.pointer(), None);
            let constructor = move |options: &[(&str, &str)]| make(scheme, open, &user_data, options);
            let mut kind = Kind::new(scheme, Box::leak(Box::new(constructor)));
            kind.summary = "A sink of this program.";
            kind.place = Place::Verbatim("place");
            kind.takes_any = true;
            kind
        })?;
        std::mem::forget(owned);
        Ok(())
    })
}

fn make(
    scheme: &str,
    open: unsafe extern "C" fn(*mut c_void, *const *const c_char) -> *mut unistream_sink,
    user_data: &UserData,
    options: &[(&str, &str)],
) -> Result<Box<dyn Sink>> {
    let texts = options.iter().flat_map(|(key, value)| [*key, *value]);
    let texts = texts.map(|text| CString::new(text).map_err(|_| invalid("an option holds a NUL")));
    let texts: Vec<CString> = texts.collect::<Result<_>>()?;
    let pointers: Vec<_> = texts.iter().map(|text| text.as_ptr()).chain([std::ptr::null()]).collect();
    // SAFETY: the contract: a function of this type that may be called from any thread with this user data, which lives
    // as long as the process; the options outlive the call.
    let made = unsafe { open(user_data.pointer(), pointers.as_ptr()) };
    if made.is_null() {
        return Err(invalid(format!("the program's sink {scheme} refuses these options")));
    }
    // SAFETY: the contract: what one of the functions that make sinks has boxed, handed over.
    let made = unsafe { Box::from_raw(made) };
    match made.is_async {
        true => Err(invalid(format!("the program's sink {scheme} is asynchronous, which one by a name cannot be"))),
        false => Ok(made.sink),
    }
}
