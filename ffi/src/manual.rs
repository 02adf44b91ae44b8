//! Mode manual: the program takes batches, sends them its own way, and says how that went.

use std::ffi::{c_char, c_int, c_void};
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;
use std::time::Duration;

use engine::{ErrorKind, Report, SendError};

use crate::arguments::{bytes, required};
use crate::batch::unistream_batch;
use crate::constants::{UNISTREAM_FOREVER, unistream_outcome};
use crate::error::unistream_error;
use crate::producer::unistream_producer;
use crate::report::{self, unistream_report};

/// Mode manual: takes the next batch whose time has come.
///
/// Writes it to `batch` on success, or NULL if there is none now: wait as long as `unistream_producer_next_wait()`
/// says. Ownership: the caller's, until it is given back by `unistream_producer_commit()`, `_failed()` or
/// `_settle()`. Until then it is not handed out again, also not after `unistream_batch_free()`: what was never
/// answered is handed out again when the producer is closed and opened again.
///
/// Errors: `UNISTREAM_ERROR_WRONG_MODE`, the error that stopped the producer, `UNISTREAM_ERROR_IO`,
/// `UNISTREAM_ERROR_CLOSED`, `UNISTREAM_ERROR_FORKED`, `UNISTREAM_ERROR_INVALID_ARGUMENT`.
#[must_use]
#[unsafe(no_mangle)]
pub extern "C" fn unistream_producer_next_batch(
    producer: Option<&unistream_producer>,
    batch: Option<&mut MaybeUninit<Option<Box<unistream_batch<'static>>>>>,
) -> Option<Box<unistream_error>> {
    unistream_producer::call(producer, |engine| {
        let out = required(batch, "batch")?;
        out.write(engine.next_batch()?.map(|batch| Box::new(unistream_batch::owned(batch))));
        Ok(())
    })
}

/// Mode manual: keeps a memo with a batch of `unistream_producer_next_batch()`, as the callback `prepare` does in the other
/// modes: `length` bytes, at most 4,096, which are copied. `unistream_batch_memo()` has it from now on, also in every later
/// attempt, across restarts. Call it before anything of the batch is sent for the first time: while there is no memo.
///
/// When this has returned, the memo survives the death of the process, and a power loss as `durability` says. `memo`
/// may be NULL where `length` is 0. Any thread may call it, and others may read the batch meanwhile.
///
/// Errors: `UNISTREAM_ERROR_WRONG_MODE`, `UNISTREAM_ERROR_NOT_FOUND` for a batch that waits for no answer,
/// `UNISTREAM_ERROR_INVALID_ARGUMENT` for a memo that is too long and for a batch that has one, `UNISTREAM_ERROR_DISK_FULL`,
/// `UNISTREAM_ERROR_IO`, `UNISTREAM_ERROR_CLOSED`, `UNISTREAM_ERROR_FORKED`. The batch has no other memo than before then.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unistream_producer_keep_memo(
    producer: Option<&unistream_producer>,
    batch: Option<&unistream_batch<'_>>,
    memo: *const c_void,
    length: usize,
) -> Option<Box<unistream_error>> {
    unistream_producer::call(producer, |engine| {
        let view = required(batch, "batch")?;
        // SAFETY: the contract: `length` bytes that live for the call.
        let memo = unsafe { bytes(memo, length, "memo") }?.unwrap_or_default();
        engine.keep_memo(&mut view.batch.clone().into_owned(), memo)?;
        let _ = view.memo.set(memo.to_vec());
        Ok(())
    })
}

/// Mode manual: how long until `unistream_producer_next_batch()` may have a batch, for the timer of an event loop.
///
/// Writes to `wait_ms` milliseconds, rounded up, such as poll() takes: 0 for now, `UNISTREAM_FOREVER` (-1) if only a
/// put or an answer can change that, or if the producer has stopped or was closed, as
/// `unistream_producer_next_batch()` then says. Errors: `UNISTREAM_ERROR_INVALID_ARGUMENT`.
#[must_use]
#[unsafe(no_mangle)]
pub extern "C" fn unistream_producer_next_wait(
    producer: Option<&unistream_producer>,
    wait_ms: Option<&mut MaybeUninit<i64>>,
) -> Option<Box<unistream_error>> {
    unistream_producer::call(producer, |engine| {
        let milliseconds = |wait: Duration| i64::try_from(wait.as_nanos().div_ceil(1_000_000)).unwrap_or(i64::MAX);
        required(wait_ms, "wait_ms")?.write(engine.next_wait().map_or(UNISTREAM_FOREVER, milliseconds));
        Ok(())
    })
}

/// Mode manual: a descriptor that is readable when `unistream_producer_next_batch()` may have a batch, also by `linger`,
/// the schedule or `max_rate_*`: an event loop that polls it needs no timer. Where the directory is shared, it is readable
/// too when it is time to look for what other processes have left. Then take batches until there is none.
///
/// It is level-triggered: readable until `unistream_producer_next_batch()` has written NULL, and once the producer has
/// stopped or is closed, as that function then says. poll(), select(), epoll and the libraries above them (libuv, libev,
/// GLib) take it; only poll it: do not read from it, write to it or close it. It is opened at the first call, closed on
/// exec, and stays the same, and open, until the producer is freed. In a forked child the parent's descriptor means
/// nothing; the child's own call opens its own if the producer is shared.
///
/// Writes it to `fd` on success. Errors: `UNISTREAM_ERROR_WRONG_MODE`, `UNISTREAM_ERROR_IO` (no descriptor is left),
/// `UNISTREAM_ERROR_FORKED`, `UNISTREAM_ERROR_REENTRANT`, `UNISTREAM_ERROR_INVALID_ARGUMENT`.
#[must_use]
#[unsafe(no_mangle)]
pub extern "C" fn unistream_producer_fd(
    producer: Option<&unistream_producer>,
    fd: Option<&mut MaybeUninit<c_int>>,
) -> Option<Box<unistream_error>> {
    unistream_producer::call(producer, |engine| {
        required(fd, "fd")?.write(engine.fd()?.as_raw_fd());
        Ok(())
    })
}

/// Mode manual: the batch was delivered. Takes the batch over, in every case.
///
/// Errors: `UNISTREAM_ERROR_WRONG_MODE`, `UNISTREAM_ERROR_NOT_FOUND` for a batch that waits for no answer (one of
/// another producer or of an earlier opening, or of a dead letter), `UNISTREAM_ERROR_DISK_FULL`,
/// `UNISTREAM_ERROR_IO`, `UNISTREAM_ERROR_CLOSED`, `UNISTREAM_ERROR_FORKED`, `UNISTREAM_ERROR_INVALID_ARGUMENT`. On
/// failure the batch stays in the buffer.
#[must_use]
#[unsafe(no_mangle)]
pub extern "C" fn unistream_producer_commit(
    producer: Option<&unistream_producer>,
    batch: Option<Box<unistream_batch<'static>>>,
) -> Option<Box<unistream_error>> {
    settle(producer, batch, |_| Ok(Report::delivered()))
}

/// Mode manual: the attempt at the batch failed; it comes again as the schedule says. Takes the batch over, in every
/// case.
///
/// `message`, copied, says why; it may be NULL. Errors: as of `unistream_producer_commit()`, and, if this was the last
/// attempt under `on_exhausted = raise`, `UNISTREAM_ERROR_RETRIES_EXHAUSTED`.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unistream_producer_failed(
    producer: Option<&unistream_producer>,
    batch: Option<Box<unistream_batch<'static>>>,
    message: *const c_char,
) -> Option<Box<unistream_error>> {
    settle(producer, batch, |_| {
        // SAFETY: the contract: NULL or a C string that lives for the call.
        let message = unsafe { report::message(message) };
        Err(SendError::failed(message.unwrap_or_else(|| "the program says it failed".to_owned())))
    })
}

/// Mode manual: says what became of the batch as a callback does, with an outcome and a report (NULL: no more to
/// say). Takes the batch over, in every case but one; borrows the report.
///
/// Errors: as of `unistream_producer_failed()`, and `UNISTREAM_ERROR_INVALID_ARGUMENT` for a report that names a
/// record the batch does not have: nothing has changed then, and the batch is still the caller's, to be given back or
/// freed.
#[must_use]
#[unsafe(no_mangle)]
pub extern "C" fn unistream_producer_settle(
    producer: Option<&unistream_producer>,
    batch: Option<Box<unistream_batch<'static>>>,
    outcome: unistream_outcome,
    report: Option<&unistream_report>,
) -> Option<Box<unistream_error>> {
    settle(producer, batch, |count| match report {
        Some(report) => report.answer(outcome, count),
        None => unistream_report::default().answer(outcome, count),
    })
}

fn settle(
    producer: Option<&unistream_producer>,
    batch: Option<Box<unistream_batch<'static>>>,
    answer: impl FnOnce(usize) -> Result<Report, SendError>,
) -> Option<Box<unistream_error>> {
    unistream_producer::call(producer, |engine| {
        let batch = required(batch, "batch")?;
        let answer = answer(batch.batch.len());
        engine.settle(batch.batch.clone().into_owned(), answer).inspect_err(|error| {
            if error.kind() == ErrorKind::InvalidArgument {
                // It stays the caller's.
                Box::leak(batch);
            }
        })
    })
}
