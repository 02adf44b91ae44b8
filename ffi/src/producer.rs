//! The producer: every call that can find it defective goes through one place.

use std::ffi::{c_char, c_void};
use std::mem::{self, MaybeUninit};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use engine::{Error, ErrorKind, Limits, Mode, NewRecord, Producer, Result};

use crate::arguments::{bytes, invalid, path, required, text, timeout};
use crate::config::unistream_config;
use crate::dead_letter::unistream_dead_letters;
use crate::error::{CResult, fallible, unistream_error};
use crate::panics::infallible;
use crate::record::unistream_record;
use crate::sink::unistream_sink;
use crate::stats::unistream_stats;

/// An open buffer and its way to the sink. Any threads may use it at once; only `unistream_producer_free()` must be
/// the last call.
pub struct unistream_producer {
    engine: Producer,
    /// A panic has unwound through a call: what it left behind is unknown.
    defective: AtomicBool,
}

/// Marks the producer as defective when it is dropped, which happens only in unwinding.
struct DefectGuard<'a>(&'a AtomicBool);

impl Drop for DefectGuard<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl unistream_producer {
    pub(crate) fn engine(&self) -> &Producer {
        &self.engine
    }

    /// Every call goes through here: the handle is there and no earlier call has panicked.
    #[inline]
    pub(crate) fn call(handle: Option<&Self>, work: impl FnOnce(&Producer) -> Result<()>) -> CResult {
        fallible(|| {
            let producer = required(handle, "producer")?;
            if producer.defective.load(Ordering::Relaxed) {
                return Err(Error::new(ErrorKind::Internal, "the producer refuses work after a defect; open it again"));
            }
            let guard = DefectGuard(&producer.defective);
            let result = work(&producer.engine);
            mem::forget(guard);
            result
        })
    }
}

/// Opens the buffer in the directory `path`, creating it if there is none, and begins to deliver: first what an
/// earlier run left there.
///
/// `sink`: where batches go. In mode `manual`, and only there, it must be NULL.
/// `config`: the options, copied; NULL: every option has its default.
///
/// Writes the producer to `producer` on success; free it with `unistream_producer_free()`. Ownership: takes the sink
/// over in every case; on failure it is freed, and its `destroy` called, before this returns.
///
/// Errors: `UNISTREAM_ERROR_INVALID_ARGUMENT` (also for `max_in_flight` above 1 with a sink that is to keep order,
/// such as Kinesis with `ordered`), `UNISTREAM_ERROR_IN_USE` (the message names the process that has the buffer),
/// `UNISTREAM_ERROR_UNSUPPORTED_FORMAT`, `UNISTREAM_ERROR_DISK_FULL`, `UNISTREAM_ERROR_RESOURCE_EXHAUSTED`,
/// `UNISTREAM_ERROR_IO`. Damaged bytes are no error: they are set aside, counted, and reported as the event
/// `corrupt`.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unistream_producer_open(
    path: *const c_char,
    sink: Option<Box<unistream_sink>>,
    config: Option<&unistream_config>,
    producer: Option<&mut MaybeUninit<Option<Box<unistream_producer>>>>,
) -> Option<Box<unistream_error>> {
    fallible(|| {
        let out = required(producer, "producer")?;
        // SAFETY: the contract: a C string that lives for the call.
        let mut builder = Producer::builder(unsafe { self::path(path, "path") }?);
        let mut mode = Mode::Background;
        if let Some(config) = config {
            mode = config.options.mode;
            builder = builder.options(config.options.clone());
            if let Some(events) = config.events.clone() {
                builder = builder.observer(move |event| events.notify(event));
            }
        }
        let engine = match (mode, sink) {
            (Mode::Manual, None) => builder.open_manual(Limits::default())?,
            (Mode::Manual, Some(_)) => {
                return Err(invalid("in mode manual the program sends itself: sink must be NULL"));
            }
            (Mode::Inline, Some(sink)) if sink.is_async => {
                return Err(invalid("an asynchronous sink does not go with mode inline"));
            }
            (_, Some(sink)) => builder.open(sink.sink)?,
            (_, None) => return Err(invalid("sink is NULL, which only mode manual allows")),
        };
        out.write(Some(Box::new(unistream_producer { engine, defective: AtomicBool::new(false) })));
        Ok(())
    })
}

/// Puts a record: `length` bytes at `data`, copied. When it has returned NULL, the record is in the log and survives
/// the death of the process at any later instant; what it survives beyond that, `durability` says.
///
/// Errors: `UNISTREAM_ERROR_RECORD_TOO_LARGE`, `UNISTREAM_ERROR_BUFFER_FULL` (after `full_timeout`, or at once, as
/// `when_full` says), `UNISTREAM_ERROR_DISK_FULL`, `UNISTREAM_ERROR_RESOURCE_EXHAUSTED`, `UNISTREAM_ERROR_IO`,
/// `UNISTREAM_ERROR_CLOSED`, `UNISTREAM_ERROR_FORKED`, `UNISTREAM_ERROR_REENTRANT`,
/// `UNISTREAM_ERROR_INVALID_ARGUMENT`; and when the producer has stopped, the error that stopped it:
/// `UNISTREAM_ERROR_RETRIES_EXHAUSTED` or `UNISTREAM_ERROR_DEAD_LETTERS_FULL`. The record was not accepted, unless
/// `unistream_error_record_accepted()` says otherwise.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unistream_producer_put(
    producer: Option<&unistream_producer>,
    data: *const c_void,
    length: usize,
) -> Option<Box<unistream_error>> {
    unistream_producer::call(producer, |engine| {
        // SAFETY: the contract: `length` bytes that live for the call.
        let data = unsafe { bytes(data, length, "data") }?.unwrap_or_default();
        engine.put(NewRecord::new(data)).map(drop)
    })
}

/// Puts a record with an id, a key, a time, headers or a topic of its own. All of it is copied.
///
/// Writes its sequence number to `seq`, unless NULL, on success. Errors: as of `unistream_producer_put()`.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unistream_producer_put_record(
    producer: Option<&unistream_producer>,
    record: *const unistream_record,
    seq: Option<&mut MaybeUninit<u64>>,
) -> Option<Box<unistream_error>> {
    unistream_producer::call(producer, |engine| {
        // SAFETY: the contract: a record of the size that it says, whose pointers live for the call.
        let put = unsafe { unistream_record::with_new(record, |record| engine.put(record)) }?;
        if let Some(seq) = seq {
            seq.write(put);
        }
        Ok(())
    })
}

/// Puts `count` records in one call, in order: an array of structures that all say the same `size`. The first record
/// that is refused ends the call.
///
/// Writes to `accepted`, unless NULL, how many were put, also on failure: those at the front. The error's message
/// says it too. Errors: as of `unistream_producer_put()`.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unistream_producer_put_many(
    producer: Option<&unistream_producer>,
    records: *const unistream_record,
    count: usize,
    accepted: Option<&mut MaybeUninit<usize>>,
) -> Option<Box<unistream_error>> {
    let mut put = 0;
    let answer = unistream_producer::call(producer, |engine| {
        if count == 0 {
            return Ok(());
        }
        // SAFETY: the contract: an array of `count` records.
        let stride = unsafe { unistream_record::stride(records) }?;
        if count > isize::MAX as usize / stride {
            return Err(invalid(format!("count is {count}; is it negative?")));
        }
        // SAFETY: within the array, by the contract; its size was checked not to overflow.
        let record = |index| unsafe { records.byte_add(index * stride) };
        for index in 0..count {
            // SAFETY: the contract: records of the size that they say, whose pointers live for the call.
            let result = unsafe { unistream_record::with_new(record(index), |record| engine.put(record)) };
            put += usize::from(result.as_ref().map_or_else(Error::record_accepted, |_| true));
            result.map_err(|error| {
                let message = format!("{} ({put} of {count} records were put)", error.message());
                error.with_message(message)
            })?;
        }
        Ok(())
    });
    if let Some(accepted) = accepted {
        accepted.write(put);
    }
    answer
}

/// Waits until every record that was put before is delivered or a dead letter. Batches that are not full are sealed.
///
/// `timeout_ms`: milliseconds, or `UNISTREAM_FOREVER`. In mode manual, another thread must be sending.
///
/// Errors: `UNISTREAM_ERROR_TIMEOUT` (nothing is lost; call again), the error that stopped the producer,
/// `UNISTREAM_ERROR_CLOSED`, `UNISTREAM_ERROR_FORKED`, `UNISTREAM_ERROR_REENTRANT`, `UNISTREAM_ERROR_INVALID_ARGUMENT`.
#[must_use]
#[unsafe(no_mangle)]
pub extern "C" fn unistream_producer_flush(
    producer: Option<&unistream_producer>,
    timeout_ms: i64,
) -> Option<Box<unistream_error>> {
    unistream_producer::call(producer, |engine| engine.flush(timeout(timeout_ms)?))
}

/// Makes every record that was put before durable: it then survives a power loss, in any durability.
///
/// Errors: `UNISTREAM_ERROR_IO`, `UNISTREAM_ERROR_CLOSED`, `UNISTREAM_ERROR_FORKED`, `UNISTREAM_ERROR_REENTRANT`.
#[must_use]
#[unsafe(no_mangle)]
pub extern "C" fn unistream_producer_sync(producer: Option<&unistream_producer>) -> Option<Box<unistream_error>> {
    unistream_producer::call(producer, Producer::sync)
}

/// Goes on after the producer has stopped, with a fresh round of attempts. If it has not, batches that wait for their
/// next attempt, whatever the schedule or the sink says, may go out now; their attempts stay counted.
///
/// Errors: `UNISTREAM_ERROR_CLOSED`, `UNISTREAM_ERROR_FORKED`, `UNISTREAM_ERROR_REENTRANT`.
#[must_use]
#[unsafe(no_mangle)]
pub extern "C" fn unistream_producer_resume(producer: Option<&unistream_producer>) -> Option<Box<unistream_error>> {
    unistream_producer::call(producer, Producer::resume)
}

/// Delivers what it can within `timeout_ms` milliseconds (or `UNISTREAM_FOREVER`) and closes the buffer. A send that
/// is still under way then is interrupted. What is left stays safe on disk, for the next run. Closing again returns
/// the same number. The handle remains, and answers `UNISTREAM_ERROR_CLOSED`, until it is freed.
///
/// Writes to `left`, unless NULL, on success how many records were left. Errors: the error that stopped the producer,
/// `UNISTREAM_ERROR_DISK_FULL`, `UNISTREAM_ERROR_IO`, and `UNISTREAM_ERROR_TIMEOUT` if a callback does not return
/// even after it was interrupted (the buffer is released when it does): the producer is closed all the same.
/// `UNISTREAM_ERROR_FORKED`, `UNISTREAM_ERROR_REENTRANT`, `UNISTREAM_ERROR_INVALID_ARGUMENT`: it is not.
#[must_use]
#[unsafe(no_mangle)]
pub extern "C" fn unistream_producer_close(
    producer: Option<&unistream_producer>,
    timeout_ms: i64,
    left: Option<&mut MaybeUninit<u64>>,
) -> Option<Box<unistream_error>> {
    unistream_producer::call(producer, |engine| {
        let count = engine.close(timeout(timeout_ms)?)?;
        if let Some(left) = left {
            left.write(count);
        }
        Ok(())
    })
}

/// Frees a producer, after closing it, if that was not done, without waiting for deliveries. No other call may be
/// under way. Its sink is freed and `destroy` called before it returns, or, if a callback does not return even after
/// it was interrupted, when it does. NULL does nothing.
///
/// From inside a callback of the same producer it does nothing, since the callback's caller still needs it; free it
/// from elsewhere. In a forked child it frees the handle only: the parent's buffer is left alone, and `destroy`,
/// which is the parent's to call, is not called.
#[unsafe(no_mangle)]
pub extern "C" fn unistream_producer_free(producer: Option<Box<unistream_producer>>) {
    infallible(|| {
        if let Some(producer) = producer {
            match producer.engine.close(Duration::ZERO) {
                Err(error) if error.kind() == ErrorKind::Reentrant => mem::forget(producer),
                _ => drop(producer),
            }
        }
    });
}

/// Takes a snapshot of the counters and the state. Allowed at any time: inside callbacks, and after the close.
///
/// Writes it to `stats` on success; free it with `unistream_stats_free()`. Errors: `UNISTREAM_ERROR_INVALID_ARGUMENT`.
#[must_use]
#[unsafe(no_mangle)]
pub extern "C" fn unistream_producer_stats(
    producer: Option<&unistream_producer>,
    stats: Option<&mut MaybeUninit<Option<Box<unistream_stats>>>>,
) -> Option<Box<unistream_error>> {
    fallible(|| {
        let (producer, out) = (required(producer, "producer")?, required(stats, "stats")?);
        out.write(Some(Box::new(unistream_stats::from(&producer.engine.stats()))));
        Ok(())
    })
}

/// Lists the dead letters of the producer's buffer.
///
/// Writes the list to `letters` on success; free it with `unistream_dead_letters_free()`.
/// Errors: `UNISTREAM_ERROR_IO`, `UNISTREAM_ERROR_FORKED`, `UNISTREAM_ERROR_INVALID_ARGUMENT`.
#[must_use]
#[unsafe(no_mangle)]
pub extern "C" fn unistream_producer_dead_letters(
    producer: Option<&unistream_producer>,
    letters: Option<&mut MaybeUninit<Option<Box<unistream_dead_letters>>>>,
) -> Option<Box<unistream_error>> {
    unistream_producer::call(producer, |engine| {
        let out = required(letters, "letters")?;
        if engine.is_forked() {
            return Err(Error::new(ErrorKind::Forked, "this process is a fork of the one that opened the producer"));
        }
        out.write(Some(unistream_dead_letters::list(engine.dead_letters())?));
        Ok(())
    })
}

/// Puts the records of the dead letter `id` into the buffer again, in order, behind what is there, with their ids,
/// keys and times; then deletes the letter.
///
/// Writes to `records`, unless NULL, on success how many there were. Errors: `UNISTREAM_ERROR_NOT_FOUND`,
/// `UNISTREAM_ERROR_IN_USE` while another thread replays or deletes it, and those of `unistream_producer_put()`; the
/// letter then stays.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unistream_producer_replay(
    producer: Option<&unistream_producer>,
    id: *const c_char,
    records: Option<&mut MaybeUninit<u64>>,
) -> Option<Box<unistream_error>> {
    unistream_producer::call(producer, |engine| {
        // SAFETY: the contract: a C string that lives for the call.
        let count = engine.replay_dead_letter(unsafe { text(id, "id") }?)?;
        if let Some(records) = records {
            records.write(count);
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::constants::UNISTREAM_ERROR_INTERNAL;

    #[test]
    fn after_a_defect_the_producer_refuses_work() {
        let directory = std::env::temp_dir().join(format!("unistream-ffi-defect-{}", std::process::id()));
        let engine = Producer::builder(&directory).open_manual(Limits::default()).expect("it opens");
        let producer = Box::new(unistream_producer { engine, defective: AtomicBool::new(false) });
        let code = |result: CResult| result.map(|error| error.code);
        // SAFETY: three bytes that live.
        let put = || code(unsafe { unistream_producer_put(Some(&producer), b"abc".as_ptr().cast(), 3) });
        assert_eq!(put(), None);
        assert_eq!(
            code(unistream_producer::call(Some(&producer), |_| panic!("a defect"))),
            Some(UNISTREAM_ERROR_INTERNAL)
        );
        assert_eq!(put(), Some(UNISTREAM_ERROR_INTERNAL), "what a panic left behind is not trusted");
        let mut stats = MaybeUninit::uninit();
        assert_eq!(code(unistream_producer_stats(Some(&producer), Some(&mut stats))), None);
        // SAFETY: it was written, since the call succeeded.
        assert!(unsafe { stats.assume_init() }.is_some());
        unistream_producer_free(Some(producer));
        std::fs::remove_dir_all(&directory).expect("it is ours");
    }
}
