//! Options and listeners.

use std::ffi::{CString, c_char, c_void};
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, Ordering};

use engine::{Error, ErrorKind, OptionSpec, Options};

use crate::arguments::{invalid, required, text};
use crate::constants::{UNISTREAM_LEVEL_DEBUG, UNISTREAM_LEVEL_ERROR, unistream_level};
use crate::error::{fallible, unistream_error};
use crate::event::{EventCallback, unistream_event_callback};
use crate::panics::infallible;
use crate::sink::{UserData, unistream_destroy_callback};
use crate::text::c_text;

/// Options for opening producers, and who listens to their events. One thread at a time.
pub struct unistream_config {
    pub(crate) options: Options,
    pub(crate) events: Option<Arc<EventCallback>>,
    /// What `unistream_config_get` returned last.
    last: CString,
}

/// Field `field` (`UNISTREAM_OPTION_KEY`, ...) of option `index` of the table above, counted from 0: for a program
/// that offers all options to its own users. Returns NULL behind the last option and for an unknown field. The text
/// is static.
#[unsafe(no_mangle)]
pub extern "C" fn unistream_option(index: usize, field: i32) -> *const c_char {
    infallible(|| {
        let row = option_table().get(index);
        let text = row.and_then(|row| row.get(usize::try_from(field).ok()?));
        text.map_or(ptr::null(), |text| text.as_ptr())
    })
}

/// The table in text for C. Whichever thread is first has it made: nobody waits for another, which in a forked child
/// there may not be.
fn option_table() -> &'static [[CString; 5]] {
    static TABLE: AtomicPtr<Vec<[CString; 5]>> = AtomicPtr::new(ptr::null_mut());
    let mut table = TABLE.load(Ordering::Acquire);
    if table.is_null() {
        let row = |OptionSpec { key, kind, range, default, doc }: &OptionSpec| {
            [*key, *kind, *range, *default, *doc].map(c_text)
        };
        let made = Box::into_raw(Box::new(Options::TABLE.iter().map(row).collect()));
        table = match TABLE.compare_exchange(ptr::null_mut(), made, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => made,
            Err(theirs) => {
                // SAFETY: it was made here, and nobody else has seen it.
                drop(unsafe { Box::from_raw(made) });
                theirs
            }
        };
    }
    // SAFETY: not NULL; what is stored is never freed.
    unsafe { &*table }
}

/// Makes a configuration in which every option has its default. Free it with `unistream_config_free()`.
#[unsafe(no_mangle)]
pub extern "C" fn unistream_config_new() -> Option<Box<unistream_config>> {
    infallible(|| {
        Some(Box::new(unistream_config { options: Options::default(), events: None, last: CString::default() }))
    })
}

/// Sets an option from text: `unistream_config_set(config, "linger", "250ms")`. The table above lists all of them.
///
/// Errors: `UNISTREAM_ERROR_INVALID_ARGUMENT`, naming the option and what it takes, for an unknown key, for a value
/// that is none or out of its range, and for text that is not UTF-8. The configuration then stays as it was.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unistream_config_set(
    config: Option<&mut unistream_config>,
    key: *const c_char,
    value: *const c_char,
) -> Option<Box<unistream_error>> {
    fallible(|| {
        // SAFETY: the contract: C strings that live for the call.
        let (key, value) = unsafe { (text(key, "key")?, text(value, "value")?) };
        required(config, "config")?.options.set(key, value)
    })
}

/// Gets an option in the form that `unistream_config_set()` takes.
///
/// Writes to `value`, on success, a text that lives until the next call with this configuration.
///
/// Errors: `UNISTREAM_ERROR_INVALID_ARGUMENT` for NULL or text that is not UTF-8, `UNISTREAM_ERROR_NOT_FOUND` for an
/// unknown key.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unistream_config_get(
    config: Option<&mut unistream_config>,
    key: *const c_char,
    value: Option<&mut MaybeUninit<*const c_char>>,
) -> Option<Box<unistream_error>> {
    fallible(|| {
        let (config, value) = (required(config, "config")?, required(value, "value")?);
        // SAFETY: the contract: a C string that lives for the call.
        let key = unsafe { text(key, "key") }?;
        let found = config.options.get(key);
        let found = found.ok_or_else(|| Error::new(ErrorKind::NotFound, format!("there is no option {key:?}")))?;
        config.last = c_text(found);
        value.write(config.last.as_ptr());
        Ok(())
    })
}

/// Sets who hears of the events of level `level` and above of every producer that is opened with this configuration
/// afterwards. A NULL `callback` takes the listener away.
///
/// Ownership: `destroy(user_data)`, unless NULL, is called exactly once, when this configuration and the last of
/// those producers are freed, or the listener was replaced; if this call fails, before it returns.
///
/// Errors: `UNISTREAM_ERROR_INVALID_ARGUMENT` for a NULL config or a number that is no level.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unistream_config_on_event(
    config: Option<&mut unistream_config>,
    level: unistream_level,
    callback: unistream_event_callback,
    user_data: *mut c_void,
    destroy: unistream_destroy_callback,
) -> Option<Box<unistream_error>> {
    // First of all, so that it is destroyed whatever comes.
    let user_data = UserData::new(user_data, destroy);
    fallible(move || {
        if !(UNISTREAM_LEVEL_DEBUG..=UNISTREAM_LEVEL_ERROR).contains(&level) {
            return Err(invalid(format!("{level} is no level")));
        }
        required(config, "config")?.events =
            callback.map(|callback| Arc::new(EventCallback { level, callback, user_data }));
        Ok(())
    })
}

/// Frees a configuration. Producers opened with it are not concerned. NULL does nothing.
#[unsafe(no_mangle)]
pub extern "C" fn unistream_config_free(config: Option<Box<unistream_config>>) {
    infallible(|| drop(config));
}
