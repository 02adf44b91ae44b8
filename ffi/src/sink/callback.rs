//! Sinks of the program's own.

use std::borrow::Cow;
use std::ffi::{c_char, c_void};
use std::mem::{MaybeUninit, offset_of};
use std::ptr;
use std::sync::Arc;

use engine::limits::MAX_MEMO_BYTES;
use engine::sink::Maker;
use engine::{Batch, Error, ErrorKind, Limits, Report, SendError, Sink};

use super::completion::{AwaitedAnswers, unistream_completion};
use super::{UserData, unistream_destroy_callback, unistream_sink};
use crate::arguments::{invalid, optional_text, required};
use crate::batch::unistream_batch;
use crate::constants::unistream_outcome;
use crate::error::{fallible, unistream_error};
use crate::report::unistream_report;

/// Sends a batch and returns what became of it: `UNISTREAM_OUTCOME_DELIVERED`, `UNISTREAM_OUTCOME_FAILED`,
/// `UNISTREAM_OUTCOME_REJECTED` or `UNISTREAM_OUTCOME_UNAVAILABLE`. `report` takes what more there is to say: a
/// message, a retry-after, other outcomes of single records.
///
/// `batch` and `report` are lent until it returns. It is called on the sender's thread (background mode) or on the
/// one that puts, flushes or closes (inline mode); by one thread at a time, or by up to `max_in_flight`. It may
/// take its time: puts do not wait for it. It must not throw or longjmp, and must not call the same producer
/// (`UNISTREAM_ERROR_REENTRANT`), `unistream_producer_stats()` excepted.
pub type unistream_send_callback = Option<
    unsafe extern "C" fn(
        user_data: *mut c_void,
        batch: *const unistream_batch<'_>,
        report: *mut unistream_report,
    ) -> unistream_outcome,
>;

/// Begins to send a batch, `unistream_completion_batch(completion)`, and returns; later, or at once, on any thread,
/// the program calls `unistream_completion_finish()`. The completion belongs to the program from the moment of the
/// call. The next batch is passed when this one is answered (or as many at once as `max_in_flight` says).
///
/// The same threads and rules as for `unistream_send_callback`; in inline mode, where a put would have to wait for
/// the answer, asynchronous sinks are refused.
pub type unistream_send_async_callback =
    Option<unsafe extern "C" fn(user_data: *mut c_void, completion: *mut unistream_completion)>;

/// Asks a `send` under way to return as soon as it can, because the producer's time to close is over. Called from
/// another thread. It must not throw or longjmp, nor call the same producer. What a `send` answers after this as failed
/// or unavailable counts nothing: the next run sends it as if it had not been tried.
pub type unistream_interrupt_callback = Option<unsafe extern "C" fn(user_data: *mut c_void)>;

/// Says what to keep with a batch before it is tried for the first time: writes a memo of at most
/// `UNISTREAM_MAX_MEMO_BYTES` to `memo`, which has as much room, and returns its length; 0 keeps nothing, and is asked again before
/// the next attempt. Negative: it cannot say now; the batch counts as tried in vain.
///
/// `unistream_batch_memo()` finds the memo at every attempt, across restarts. It is durable before `send` is called:
/// it survives the death of the process, and a power loss as `durability` says. Where the disk does not take it, nothing is
/// sent, and the batch is tried again later. The same threads and rules as for `unistream_send_callback`; not called in manual mode.
pub type unistream_prepare_callback =
    Option<unsafe extern "C" fn(user_data: *mut c_void, batch: *const unistream_batch<'_>, memo: *mut c_void) -> i64>;

/// Makes the user data of a forked child: of its first use there of a producer with the option `shared`, before the sink's other
/// callbacks are called in it. `user_data` is the parent's; what it points to is the child's copy, but connections and open files
/// are shared with the parent, and a lock may be held by a thread that the child does not have. Writes what the callbacks are passed
/// in the child to `own`, which `destroy` gets when the child's sink is no longer used, and returns 0. Any other number:
/// it cannot now, and is asked again with each batch; the records wait. The same threads and rules as for `unistream_send_callback`.
pub type unistream_in_child_callback =
    Option<unsafe extern "C" fn(user_data: *mut c_void, own: *mut *mut c_void) -> i32>;

/// A sink of the program's own. A public structure: zero it, set `size` and what is needed; what is 0 or NULL is
/// left out. Later versions may add fields at its end, never change these.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct unistream_sink_callbacks {
    /// `sizeof(unistream_sink_callbacks)`: the version of the structure that the program knows.
    pub size: usize,
    /// Passed to every callback. It must stay valid until `destroy`.
    pub user_data: *mut c_void,
    /// Called once when the sink is no longer used, also if making it or opening its producer fails.
    pub destroy: unistream_destroy_callback,
    /// Sends a batch. Exactly one of `send` and `send_async` must be set.
    pub send: unistream_send_callback,
    /// Begins to send a batch.
    pub send_async: unistream_send_async_callback,
    /// Cuts a `send` short.
    pub interrupt: unistream_interrupt_callback,
    /// A name for messages and dead letters, UTF-8, copied; NULL: `callback`. It must hold no secret.
    pub name: *const c_char,
    /// The most records in one call; 0: no limit of its own.
    pub max_records: u64,
    /// The most bytes of payload in one call; 0: no limit of its own. A batch that an earlier run sealed under other
    /// limits may be larger.
    pub max_bytes: u64,
    /// The most bytes of payload in one record, refused by the put otherwise; 0: no limit of its own.
    pub max_record_bytes: u64,
    /// What to keep with a batch across restarts.
    pub prepare: unistream_prepare_callback,
    /// What a forked child passes to the callbacks; NULL: a child's use of a producer with this sink is
    /// `UNISTREAM_ERROR_FORKED`, whatever `shared` says.
    pub in_child: unistream_in_child_callback,
}

/// The structure as programs have it that were compiled before `prepare` came behind `max_record_bytes`, and before `in_child` came
/// behind that.
const FIRST: usize = offset_of!(unistream_sink_callbacks, prepare);
const SECOND: usize = offset_of!(unistream_sink_callbacks, in_child);

/// Which of the two ways to send was set.
enum Send {
    Now(unsafe extern "C" fn(*mut c_void, *const unistream_batch<'_>, *mut unistream_report) -> unistream_outcome),
    Later(unsafe extern "C" fn(*mut c_void, *mut unistream_completion), AwaitedAnswers),
}

/// The callbacks as functions of their user data: what a child needs to make its own sink.
#[derive(Clone)]
struct Functions {
    send: unistream_send_callback,
    send_async: unistream_send_async_callback,
    prepare: unistream_prepare_callback,
    interrupt: unistream_interrupt_callback,
    destroy: unistream_destroy_callback,
    in_child: unistream_in_child_callback,
    name: Cow<'static, str>,
    limits: Limits,
}

struct CallbackSink {
    functions: Functions,
    send: Send,
    user_data: UserData,
}

impl CallbackSink {
    fn new(callbacks: &unistream_sink_callbacks, user_data: UserData) -> engine::Result<Self> {
        // SAFETY: the contract: NULL or a C string that lives for the call.
        let name = unsafe { optional_text(callbacks.name, "name") }?;
        let limit = |limit: u64| Some(limit).filter(|limit| *limit != 0);
        let limits = Limits {
            max_records: limit(callbacks.max_records),
            max_bytes: limit(callbacks.max_bytes),
            max_record_bytes: limit(callbacks.max_record_bytes),
            ..Limits::default()
        };
        let name = name.map_or(Cow::Borrowed("callback"), |name| Cow::Owned(name.to_owned()));
        let unistream_sink_callbacks { send, send_async, prepare, interrupt, destroy, in_child, .. } = *callbacks;
        let functions = Functions { send, send_async, prepare, interrupt, destroy, in_child, name, limits };
        functions.with(user_data)
    }
}

impl Functions {
    fn with(self, user_data: UserData) -> engine::Result<CallbackSink> {
        let send = match (self.send, self.send_async) {
            (Some(send), None) => Send::Now(send),
            (None, Some(send)) => Send::Later(send, AwaitedAnswers::default()),
            (None, None) => return Err(invalid("send and send_async are both NULL")),
            (Some(_), Some(_)) => return Err(invalid("send and send_async are both set")),
        };
        Ok(CallbackSink { functions: self, send, user_data })
    }
}

impl Sink for CallbackSink {
    fn send(&self, batch: &Batch) -> Result<Report, SendError> {
        match &self.send {
            Send::Now(send) => {
                let (view, mut report) = (unistream_batch::borrowed(batch), unistream_report::default());
                // SAFETY: the contract: a function of this type that may be called from any thread with this user
                // data, which lives until `destroy`; the two views outlive the call.
                let outcome = unsafe { send(self.user_data.pointer(), &view, &mut report) };
                report.answer(outcome, batch.len())
            }
            Send::Later(send, awaited) => awaited.send_and_wait(batch, |completion| {
                // SAFETY: as above; the completion is the program's from here on.
                unsafe { send(self.user_data.pointer(), completion) }
            }),
        }
    }

    fn prepare(&self, batch: &Batch) -> Result<Option<Vec<u8>>, SendError> {
        let Some(prepare) = self.functions.prepare else { return Ok(None) };
        let (view, mut memo) = (unistream_batch::borrowed(batch), vec![0; MAX_MEMO_BYTES]);
        // SAFETY: as in `send`; the memo has the room that the contract says.
        let length = unsafe { prepare(self.user_data.pointer(), &view, memo.as_mut_ptr().cast()) };
        match usize::try_from(length) {
            Ok(0) => Ok(None),
            Ok(length) if length <= memo.len() => {
                memo.truncate(length);
                Ok(Some(memo))
            }
            Ok(length) => Err(SendError::failed(format!("prepare returned {length}, more than its room"))),
            Err(_) => Err(SendError::failed(format!("prepare returned {length}"))),
        }
    }

    fn limits(&self) -> Limits {
        self.functions.limits
    }

    fn name(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.functions.name)
    }

    fn interrupt(&self) {
        if let Send::Later(_, awaited) = &self.send {
            awaited.interrupt();
        }
        if let Some(interrupt) = self.functions.interrupt {
            // SAFETY: as in `send`.
            unsafe { interrupt(self.user_data.pointer()) }
        }
    }

    fn maker(&self) -> Option<Maker> {
        let in_child = self.functions.in_child?;
        // The parent's, which the child never destroys.
        let (functions, parents) = (self.functions.clone(), UserData::new(self.user_data.pointer(), None));
        Some(Arc::new(move || {
            let mut own = ptr::null_mut();
            // SAFETY: the contract: a function of this type that is called in a child with the parent's user data, of which the
            // child has a copy that nobody frees.
            match unsafe { in_child(parents.pointer(), &mut own) } {
                0 => Ok(Box::new(functions.clone().with(UserData::new(own, functions.destroy))?)),
                failed => Err(Error::new(ErrorKind::SendFailed, format!("in_child returned {failed}"))),
            }
        }))
    }
}

/// Makes a sink of callbacks. The structure is copied; it need not outlive the call.
///
/// Writes the sink to `sink` on success. Ownership: `destroy(user_data)` is called exactly once, when the sink is
/// freed, be it by the producer that took it over; if this call fails, before it returns (but not if `callbacks` is
/// NULL or its `size` is wrong, since then there is nothing to rely on).
///
/// Errors: `UNISTREAM_ERROR_INVALID_ARGUMENT`.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unistream_sink_new(
    callbacks: *const unistream_sink_callbacks,
    sink: Option<&mut MaybeUninit<Option<Box<unistream_sink>>>>,
) -> Option<Box<unistream_error>> {
    fallible(|| {
        if callbacks.is_null() || !callbacks.is_aligned() {
            return Err(invalid("callbacks is NULL or not aligned"));
        }
        // SAFETY: not NULL, aligned, and by the contract it begins with its size.
        let size = unsafe { (*callbacks).size };
        if !(FIRST..=4096).contains(&size) {
            return Err(invalid(format!("callbacks.size is {size}; set it to sizeof(unistream_sink_callbacks)")));
        }
        let known = [size_of::<unistream_sink_callbacks>(), SECOND].into_iter().find(|known| size >= *known);
        let known = known.unwrap_or(FIRST);
        let mut read = NOTHING;
        // SAFETY: it has at least the fields that its size says, which are numbers and pointers.
        unsafe { ptr::copy_nonoverlapping(callbacks.cast::<u8>(), (&raw mut read).cast(), known) };
        let callbacks = read;
        let user_data = UserData::new(callbacks.user_data, callbacks.destroy);
        let out = required(sink, "sink")?;
        let callback = CallbackSink::new(&callbacks, user_data)?;
        let is_async = matches!(callback.send, Send::Later(..));
        out.write(Some(Box::new(unistream_sink { sink: Box::new(callback), is_async })));
        Ok(())
    })
}

const NOTHING: unistream_sink_callbacks = unistream_sink_callbacks {
    size: size_of::<unistream_sink_callbacks>(),
    user_data: ptr::null_mut(),
    destroy: None,
    send: None,
    send_async: None,
    interrupt: None,
    name: ptr::null(),
    max_records: 0,
    max_bytes: 0,
    max_record_bytes: 0,
    prepare: None,
    in_child: None,
};

/// Makes a sink of one callback: `unistream_sink_new()` with `send`, `user_data` and `destroy` set, and its rules.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unistream_sink_callback(
    send: unistream_send_callback,
    user_data: *mut c_void,
    destroy: unistream_destroy_callback,
    sink: Option<&mut MaybeUninit<Option<Box<unistream_sink>>>>,
) -> Option<Box<unistream_error>> {
    let callbacks = unistream_sink_callbacks { send, user_data, destroy, ..NOTHING };
    // SAFETY: a structure of our own; the rest is our caller's promise.
    unsafe { unistream_sink_new(&callbacks, sink) }
}

/// Makes a sink of one asynchronous callback: `unistream_sink_new()` with `send_async`, `user_data` and `destroy`
/// set, and its rules.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unistream_sink_callback_async(
    send: unistream_send_async_callback,
    user_data: *mut c_void,
    destroy: unistream_destroy_callback,
    sink: Option<&mut MaybeUninit<Option<Box<unistream_sink>>>>,
) -> Option<Box<unistream_error>> {
    let callbacks = unistream_sink_callbacks { send_async: send, user_data, destroy, ..NOTHING };
    // SAFETY: a structure of our own; the rest is our caller's promise.
    unsafe { unistream_sink_new(&callbacks, sink) }
}
