//! Events and their listeners.

use std::cell::OnceCell;
use std::ffi::{CString, c_char, c_void};
use std::ptr;

use engine::Event;

use crate::batch::unistream_batch;
use crate::constants::{UNISTREAM_LEVEL_DEBUG, level, unistream_level};
use crate::error::unistream_error;
use crate::panics::infallible;
use crate::sink::UserData;
use crate::text::c_text;

/// Something that happened in a producer. It lives for the callback that it is passed to, and belongs to its thread.
pub struct unistream_event<'a> {
    event: &'a Event<'a>,
    // C wants NUL-terminated text and handles; each is made when it is asked for.
    name: OnceCell<CString>,
    message: OnceCell<CString>,
    batch: OnceCell<unistream_batch<'a>>,
    error: OnceCell<unistream_error>,
}

/// Hears of events, on the thread on which they happen: the one that puts or calls, or the sender's. Several threads
/// may call at once. It must return soon, must not throw or longjmp, and must not call the same producer
/// (`UNISTREAM_ERROR_REENTRANT`), `unistream_producer_stats()` excepted.
pub type unistream_event_callback =
    Option<unsafe extern "C" fn(user_data: *mut c_void, event: *const unistream_event<'_>)>;

pub(crate) struct EventCallback {
    pub(crate) level: unistream_level,
    pub(crate) callback: unsafe extern "C" fn(*mut c_void, *const unistream_event<'_>),
    pub(crate) user_data: UserData,
}

impl EventCallback {
    pub(crate) fn notify(&self, event: &Event<'_>) {
        if level(event.level()) < self.level {
            return;
        }
        let view = unistream_event {
            event,
            name: OnceCell::new(),
            message: OnceCell::new(),
            batch: OnceCell::new(),
            error: OnceCell::new(),
        };
        // SAFETY: the contract: a function of this type that may be called from any thread with this user data,
        // which lives until `destroy`.
        unsafe { (self.callback)(self.user_data.pointer(), &view) }
    }
}

/// What happened: `put`, `on_hold`, `should_not_emit`, `send_started`, `send_succeeded`, `send_failed`, `rejected`,
/// `once_ended` (records that the sink delivers once otherwise may have arrived twice), `skipped`, `expired` (records had become too old to be sent), `dropped` (the oldest made room for others), `stopped`, `recovered`, `corrupt`, `shared` (the directory of
/// one producer became an outbox that processes share), `adopted` (a slot whose process has ended is sent from now on), `put_waiting` (a put waits for space; reported at most once a
/// minute), `sink_down` (attempts fail or find the sink unavailable: reported when that begins, while it lasts after
/// 1, 2, 4 ... minutes and then every hour), `sink_up` (it takes batches again), `log_unreadable` (the log cannot be
/// read, so nothing is sent: reported as `sink_down` is) or `log_readable`. Later versions may add names. The text
/// lives as long as the event.
#[unsafe(no_mangle)]
pub extern "C" fn unistream_event_name(event: Option<&unistream_event<'_>>) -> *const c_char {
    infallible(|| event.map_or(ptr::null(), |view| view.name.get_or_init(|| c_text(view.event.name())).as_ptr()))
}

/// How much it matters: one of the `unistream_level` numbers.
#[unsafe(no_mangle)]
pub extern "C" fn unistream_event_level(event: Option<&unistream_event<'_>>) -> unistream_level {
    event.map_or(UNISTREAM_LEVEL_DEBUG, |view| level(view.event.level()))
}

/// One line for a log. The text lives as long as the event.
#[unsafe(no_mangle)]
pub extern "C" fn unistream_event_message(event: Option<&unistream_event<'_>>) -> *const c_char {
    infallible(|| event.map_or(ptr::null(), |view| view.message.get_or_init(|| c_text(view.event.message())).as_ptr()))
}

/// The batch that `send_started`, `send_succeeded` and `send_failed` are about; NULL for other events. It lives as
/// long as the event.
#[unsafe(no_mangle)]
pub extern "C" fn unistream_event_batch<'a>(event: Option<&'a unistream_event<'a>>) -> Option<&'a unistream_batch<'a>> {
    infallible(|| {
        let view = event?;
        match view.event {
            Event::SendStarted { batch } | Event::SendSucceeded { batch, .. } | Event::SendFailed { batch, .. } => {
                Some(view.batch.get_or_init(|| unistream_batch::borrowed(batch)))
            }
            _ => None,
        }
    })
}

/// The error that `send_failed`, `skipped`, `stopped`, `sink_down` and `log_unreadable` are about; NULL for other
/// events. It belongs to the event and lives as long.
#[unsafe(no_mangle)]
pub extern "C" fn unistream_event_error<'a>(event: Option<&'a unistream_event<'a>>) -> Option<&'a unistream_error> {
    infallible(|| {
        let view = event?;
        match view.event {
            Event::SendFailed { error, .. }
            | Event::Skipped { error, .. }
            | Event::Stopped { error }
            | Event::SinkDown { error, .. }
            | Event::LogUnreadable { error, .. } => Some(view.error.get_or_init(|| unistream_error::from(*error))),
            _ => None,
        }
    })
}
