//! Counters and state.

use std::ffi::{CString, c_char};
use std::mem::MaybeUninit;
use std::ptr;

use engine::{Error, ErrorKind, State, Stats};

use crate::arguments::{required, text};
use crate::constants::{
    UNISTREAM_STATE_CLOSED, UNISTREAM_STATE_ON_HOLD, UNISTREAM_STATE_RUNNING, UNISTREAM_STATE_STOPPED,
    UNISTREAM_STATE_UNAVAILABLE, unistream_state,
};
use crate::error::{fallible, unistream_error};
use crate::panics::infallible;
use crate::producer::unistream_producer;
use crate::text::c_text;

/// A snapshot of a producer's counters and state. Immutable; any thread may read it.
pub struct unistream_stats {
    counters: Vec<(CString, u64)>,
    state: unistream_state,
    state_name: CString,
    last_error: CString,
}

impl From<&Stats> for unistream_stats {
    fn from(stats: &Stats) -> Self {
        unistream_stats {
            counters: stats.counters().map(|(name, value, _)| (c_text(name), value)).collect(),
            state: match stats.state {
                State::Running => UNISTREAM_STATE_RUNNING,
                State::OnHold => UNISTREAM_STATE_ON_HOLD,
                State::Unavailable => UNISTREAM_STATE_UNAVAILABLE,
                State::Stopped => UNISTREAM_STATE_STOPPED,
                State::Closed => UNISTREAM_STATE_CLOSED,
            },
            state_name: c_text(stats.state.name()),
            last_error: c_text(&*stats.last_error),
        }
    }
}

/// Gets the counter `name` of the table above.
///
/// Writes it to `counter` on success. Errors: `UNISTREAM_ERROR_NOT_FOUND`, `UNISTREAM_ERROR_INVALID_ARGUMENT`.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unistream_stats_get(
    stats: Option<&unistream_stats>,
    name: *const c_char,
    counter: Option<&mut MaybeUninit<u64>>,
) -> Option<Box<unistream_error>> {
    fallible(|| {
        let (stats, out) = (required(stats, "stats")?, required(counter, "counter")?);
        // SAFETY: the contract: a C string that lives for the call.
        let name = unsafe { text(name, "name") }?;
        let found = stats.counters.iter().find(|(key, _)| key.as_bytes() == name.as_bytes());
        let (_, value) =
            found.ok_or_else(|| Error::new(ErrorKind::NotFound, format!("there is no counter {name:?}")))?;
        out.write(*value);
        Ok(())
    })
}

/// How many counters there are, for a program that goes through all of them.
#[unsafe(no_mangle)]
pub extern "C" fn unistream_stats_count(stats: Option<&unistream_stats>) -> usize {
    stats.map_or(0, |stats| stats.counters.len())
}

/// The name of counter `index`, counted from 0; NULL behind the last one. The text lives as long as the snapshot.
#[unsafe(no_mangle)]
pub extern "C" fn unistream_stats_name(stats: Option<&unistream_stats>, index: usize) -> *const c_char {
    infallible(|| stats.and_then(|stats| stats.counters.get(index)).map_or(ptr::null(), |(name, _)| name.as_ptr()))
}

/// The value of counter `index`, counted from 0; 0 behind the last one.
#[unsafe(no_mangle)]
pub extern "C" fn unistream_stats_value(stats: Option<&unistream_stats>, index: usize) -> u64 {
    infallible(|| stats.and_then(|stats| stats.counters.get(index)).map_or(0, |(_, value)| *value))
}

/// What the producer was doing: one of the `unistream_state` numbers.
#[unsafe(no_mangle)]
pub extern "C" fn unistream_stats_state(stats: Option<&unistream_stats>) -> unistream_state {
    stats.map_or(UNISTREAM_STATE_CLOSED, |stats| stats.state)
}

/// The state's name, such as `running`. The text lives as long as the snapshot.
#[unsafe(no_mangle)]
pub extern "C" fn unistream_stats_state_name(stats: Option<&unistream_stats>) -> *const c_char {
    stats.map_or(ptr::null(), |stats| stats.state_name.as_ptr())
}

/// The last error of the sink, of the disk or of a put that `refused_puts` counts, as text of at most 4096 bytes; empty
/// if there was none. What `invalid_puts` counts is not here. It lives as long as the snapshot.
#[unsafe(no_mangle)]
pub extern "C" fn unistream_stats_last_error(stats: Option<&unistream_stats>) -> *const c_char {
    stats.map_or(ptr::null(), |stats| stats.last_error.as_ptr())
}

/// Frees a snapshot. NULL does nothing.
#[unsafe(no_mangle)]
pub extern "C" fn unistream_stats_free(stats: Option<Box<unistream_stats>>) {
    drop(stats);
}

/// Writes the counters and the state as the text that Prometheus scrapes, with the labels `path` and, in an outbox, `slot`.
/// Its type of content is `text/plain; version=0.0.4; charset=utf-8`. Allowed at any time: inside callbacks, and after the close.
///
/// Writes it to `text` on success; free it with `unistream_text_free()`. Errors: `UNISTREAM_ERROR_INVALID_ARGUMENT`.
#[must_use]
#[unsafe(no_mangle)]
pub extern "C" fn unistream_producer_prometheus(
    producer: Option<&unistream_producer>,
    text: Option<&mut MaybeUninit<*mut c_char>>,
) -> Option<Box<unistream_error>> {
    fallible(|| {
        let (producer, out) = (required(producer, "producer")?, required(text, "text")?);
        out.write(c_text(producer.engine().prometheus()).into_raw());
        Ok(())
    })
}

/// Frees a text that a call handed out as the caller's own. NULL does nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unistream_text_free(text: *mut c_char) {
    if !text.is_null() {
        // SAFETY: the contract: a call of this library has handed it out, and it was not freed before.
        drop(unsafe { CString::from_raw(text) });
    }
}
