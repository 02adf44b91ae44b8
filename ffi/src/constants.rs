//! The numbers of the ABI. They are 32-bit integers on both sides: any value may come in, none is undefined.

use engine::{Delivery, ErrorKind, Level};

/// What an error is about, and so what to do: `unistream_error_code()`.
pub type unistream_code = i32;

/// Success; the code of a NULL error.
pub const UNISTREAM_ERROR_NONE: unistream_code = 0;
/// An argument or option is out of its range. Correct the call.
pub const UNISTREAM_ERROR_INVALID_ARGUMENT: unistream_code = 1;
/// The record is larger than `max_record_bytes`, a batch, or the sink allows. Never retry.
pub const UNISTREAM_ERROR_RECORD_TOO_LARGE: unistream_code = 2;
/// The log has reached `max_buffer_bytes`. Retry when the sink has caught up, or raise the cap.
pub const UNISTREAM_ERROR_BUFFER_FULL: unistream_code = 3;
/// The filesystem has no space. Retry when there is some; nothing that was accepted is touched.
pub const UNISTREAM_ERROR_DISK_FULL: unistream_code = 4;
/// The disk failed. The buffer refuses further puts; close it and open it again.
pub const UNISTREAM_ERROR_IO: unistream_code = 5;
/// Another producer, of this or another process, has the buffer. Retry when it is closed.
pub const UNISTREAM_ERROR_IN_USE: unistream_code = 6;
/// The producer is closed. Open a new one.
pub const UNISTREAM_ERROR_CLOSED: unistream_code = 7;
/// This process is a fork of the one that opened the producer. Open one after the fork.
pub const UNISTREAM_ERROR_FORKED: unistream_code = 8;
/// The log was written by an unknown version. Nothing was touched; use that version.
pub const UNISTREAM_ERROR_UNSUPPORTED_FORMAT: unistream_code = 9;
/// A batch failed `max_attempts` times under `on_exhausted = raise`. The backlog is on disk;
/// `unistream_producer_resume()` or opening again starts a fresh round.
pub const UNISTREAM_ERROR_RETRIES_EXHAUSTED: unistream_code = 10;
/// The dead letters have reached `max_dead_letter_bytes`. Replay or delete some, then resume.
pub const UNISTREAM_ERROR_DEAD_LETTERS_FULL: unistream_code = 11;
/// The time given was over first. What was not sent stays on disk; call again to wait longer.
pub const UNISTREAM_ERROR_TIMEOUT: unistream_code = 12;
/// There is no such dead letter, counter or file.
pub const UNISTREAM_ERROR_NOT_FOUND: unistream_code = 13;
/// A call from inside a callback of the same producer. Make it from elsewhere.
pub const UNISTREAM_ERROR_REENTRANT: unistream_code = 14;
/// The call does not fit the mode that the producer was opened in.
pub const UNISTREAM_ERROR_WRONG_MODE: unistream_code = 15;
/// This build lacks what was asked for.
pub const UNISTREAM_ERROR_UNSUPPORTED: unistream_code = 16;
/// A defect of unistream. The producer refuses further work.
pub const UNISTREAM_ERROR_INTERNAL: unistream_code = 17;
/// A sink did not take a batch; it is tried again. Only events carry it.
pub const UNISTREAM_ERROR_SEND_FAILED: unistream_code = 18;
/// A limit of the process or the system was reached: open files, memory, mappings, threads. Retry when some are free,
/// or raise the limit that the message names; nothing that was accepted is touched.
pub const UNISTREAM_ERROR_RESOURCE_EXHAUSTED: unistream_code = 19;
/// The buffer's directory or a file in it belongs to another user, or others can write to it. Nothing was touched;
/// correct the owner or the mode, use a directory of your own, or set the option `trust`.
pub const UNISTREAM_ERROR_NOT_TRUSTED: unistream_code = 20;

/// What became of a batch or of one record of it: the answer of a sink.
pub type unistream_outcome = i32;

/// The sink has it.
pub const UNISTREAM_OUTCOME_DELIVERED: unistream_outcome = 0;
/// Not delivered; try again. The attempt counts toward `max_attempts`. So does every number that is not an outcome.
pub const UNISTREAM_OUTCOME_FAILED: unistream_outcome = 1;
/// Never to be delivered: into the dead letters with it, now.
pub const UNISTREAM_OUTCOME_REJECTED: unistream_outcome = 2;
/// The sink cannot be reached now (network down, throttled). Retried on the same schedule, using up no attempt.
pub const UNISTREAM_OUTCOME_UNAVAILABLE: unistream_outcome = 3;

/// How much an event matters.
pub type unistream_level = i32;

/// The ordinary course.
pub const UNISTREAM_LEVEL_DEBUG: unistream_level = 0;
/// Worth a line in a log.
pub const UNISTREAM_LEVEL_INFO: unistream_level = 1;
/// Something does not work and is tried again, or works again.
pub const UNISTREAM_LEVEL_WARNING: unistream_level = 2;
/// Something was given up, set aside or stopped.
pub const UNISTREAM_LEVEL_ERROR: unistream_level = 3;

/// What a producer is doing.
pub type unistream_state = i32;

/// Sending, or ready to.
pub const UNISTREAM_STATE_RUNNING: unistream_state = 0;
/// The head batch waits for its next attempt.
pub const UNISTREAM_STATE_ON_HOLD: unistream_state = 1;
/// The sink cannot be reached now; retried without using up attempts.
pub const UNISTREAM_STATE_UNAVAILABLE: unistream_state = 2;
/// Stopped by an error until `unistream_producer_resume()`.
pub const UNISTREAM_STATE_STOPPED: unistream_state = 3;
/// Closed.
pub const UNISTREAM_STATE_CLOSED: unistream_state = 4;

/// What became of a record, as `unistream_producer_put_reported()` tells it.
pub type unistream_delivery = i32;

/// The sink has it.
pub const UNISTREAM_DELIVERY_DELIVERED: unistream_delivery = 0;
/// It is in the dead letters: the sink rejected it, or the last attempt has failed. The reason says why.
pub const UNISTREAM_DELIVERY_DEAD_LETTERED: unistream_delivery = 1;
/// It had expired before it could be sent: in the dead letters, or dropped, as `on_expired` says.
pub const UNISTREAM_DELIVERY_EXPIRED: unistream_delivery = 2;
/// It was dropped because the log was full, under `when_full = drop_oldest`.
pub const UNISTREAM_DELIVERY_DROPPED: unistream_delivery = 3;
/// The producer was closed before. The record is in the log, and the next producer sends it; or it was delivered and the
/// answer came too late.
pub const UNISTREAM_DELIVERY_CLOSED: unistream_delivery = 4;
/// Its bytes were damaged on disk before it could be sent.
pub const UNISTREAM_DELIVERY_LOST: unistream_delivery = 5;

/// A time-out without end. The header has it among its macros, in parentheses.
///
/// cbindgen:ignore
pub const UNISTREAM_FOREVER: i64 = -1;

/// For `unistream_sink_file()`: before each payload its length, as 4 bytes little-endian, and nothing after it.
/// For payloads that may hold line feeds.
pub const UNISTREAM_FILE_LENGTH_PREFIXED: u32 = 1;
/// For `unistream_sink_file()`: sync the file after every batch, so that what was delivered survives a power loss.
pub const UNISTREAM_FILE_SYNC: u32 = 2;

/// For `unistream_option()`: the key.
pub const UNISTREAM_OPTION_KEY: i32 = 0;
/// For `unistream_option()`: `count`, `bytes`, `duration`, `number`, `durations`, `boolean` or `choice`.
pub const UNISTREAM_OPTION_KIND: i32 = 1;
/// For `unistream_option()`: the permitted values.
pub const UNISTREAM_OPTION_RANGE: i32 = 2;
/// For `unistream_option()`: the default, as `unistream_config_set()` takes it.
pub const UNISTREAM_OPTION_DEFAULT: i32 = 3;
/// For `unistream_option()`: what it does.
pub const UNISTREAM_OPTION_DOC: i32 = 4;

/// The level of an event as C has it.
pub(crate) const fn level(level: Level) -> unistream_level {
    match level {
        Level::Debug => UNISTREAM_LEVEL_DEBUG,
        Level::Info => UNISTREAM_LEVEL_INFO,
        Level::Warning => UNISTREAM_LEVEL_WARNING,
        Level::Error => UNISTREAM_LEVEL_ERROR,
    }
}

// The codes are written out because cbindgen reads, but does not evaluate; they are the engine's numbers.
macro_rules! same {
    ($($code:ident = $kind:ident),+ $(,)?) => { $(const _: () = assert!($code == ErrorKind::$kind as i32);)+ };
}
same! {
    UNISTREAM_ERROR_INVALID_ARGUMENT = InvalidArgument,
    UNISTREAM_ERROR_RECORD_TOO_LARGE = RecordTooLarge,
    UNISTREAM_ERROR_BUFFER_FULL = BufferFull,
    UNISTREAM_ERROR_DISK_FULL = DiskFull,
    UNISTREAM_ERROR_IO = Io,
    UNISTREAM_ERROR_IN_USE = InUse,
    UNISTREAM_ERROR_CLOSED = Closed,
    UNISTREAM_ERROR_FORKED = Forked,
    UNISTREAM_ERROR_UNSUPPORTED_FORMAT = UnsupportedFormat,
    UNISTREAM_ERROR_RETRIES_EXHAUSTED = RetriesExhausted,
    UNISTREAM_ERROR_DEAD_LETTERS_FULL = DeadLettersFull,
    UNISTREAM_ERROR_TIMEOUT = Timeout,
    UNISTREAM_ERROR_NOT_FOUND = NotFound,
    UNISTREAM_ERROR_REENTRANT = Reentrant,
    UNISTREAM_ERROR_WRONG_MODE = WrongMode,
    UNISTREAM_ERROR_UNSUPPORTED = Unsupported,
    UNISTREAM_ERROR_INTERNAL = Internal,
    UNISTREAM_ERROR_SEND_FAILED = SendFailed,
    UNISTREAM_ERROR_RESOURCE_EXHAUSTED = ResourceExhausted,
    UNISTREAM_ERROR_NOT_TRUSTED = NotTrusted,
}

macro_rules! same_delivery {
    ($($code:ident = $delivery:ident),+ $(,)?) => { $(const _: () = assert!($code == Delivery::$delivery as i32);)+ };
}
same_delivery! {
    UNISTREAM_DELIVERY_DELIVERED = Delivered,
    UNISTREAM_DELIVERY_DEAD_LETTERED = DeadLettered,
    UNISTREAM_DELIVERY_EXPIRED = Expired,
    UNISTREAM_DELIVERY_DROPPED = Dropped,
    UNISTREAM_DELIVERY_CLOSED = Closed,
    UNISTREAM_DELIVERY_LOST = Lost,
}
