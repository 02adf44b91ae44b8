//! What can be observed as it happens: [`Event`]s, and the [`Observer`] that is told of them.

use std::sync::Arc;
use std::time::Duration;

use crate::batch::Batch;
use crate::buffer::Damage;
use crate::error::{Error, ErrorKind};
use crate::options::NEVER;
use crate::record::NewRecord;

/// How much an event matters, in the terms of loggers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// The ordinary course.
    Debug,
    /// Worth a line in a log.
    Info,
    /// Something does not work and is tried again, or works again.
    Warning,
    /// Something was given up, set aside or stopped.
    Error,
}

/// What happened. Borrowed for the call; a sequence number or an id names what it is about.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A record is in the log.
    Put {
        /// Its sequence number.
        seq: u64,
        /// The record as it was given.
        record: NewRecord<'a>,
    },
    /// `put` (inline) or the sender found the head batch waiting for its next attempt.
    OnHold {
        /// Attempts so far that counted.
        attempts: u32,
        /// Time until the next one.
        wait: Duration,
    },
    /// `put` (inline) found no batch to send.
    ShouldNotEmit,
    /// A batch goes to the sink.
    SendStarted {
        /// The batch.
        batch: &'a Batch,
    },
    /// The sink took all that was sent, and the batch is committed.
    SendSucceeded {
        /// The batch.
        batch: &'a Batch,
        /// How long the sink took.
        elapsed: Duration,
    },
    /// The sink did not take the batch, or a part of it; it will be tried again unless an event says otherwise. At level
    /// `Debug`, because `SinkDown` reports the outage as a whole.
    SendFailed {
        /// The batch.
        batch: &'a Batch,
        /// What the sink said.
        error: &'a Error,
        /// Records of this attempt that were taken all the same.
        delivered: usize,
        /// Whether the sink was unavailable, which uses up no attempt.
        unavailable: bool,
        /// Time until the next attempt.
        wait: Duration,
    },
    /// The sink will never take these records; they are in the dead letters.
    Rejected {
        /// The batch's id.
        batch_id: &'a str,
        /// How many records.
        records: usize,
        /// The first one's reason.
        reason: &'a str,
    },
    /// Records that the sink delivers once otherwise may have arrived twice: what it goes by did not hold this time. A sink's page
    /// says what ends it.
    OnceEnded {
        /// The batch's id.
        batch_id: &'a str,
        /// What ended it.
        reason: &'a str,
    },
    /// The attempts are used up; what was left of the batch is in the dead letters.
    Skipped {
        /// The batch's id.
        batch_id: &'a str,
        /// How many records.
        records: usize,
        /// The last error.
        error: &'a Error,
    },
    /// Records had expired, by `max_age` or their own `expires_at`, before they could be sent.
    Expired {
        /// The batch's id.
        batch_id: &'a str,
        /// How many records.
        records: usize,
        /// Their payload bytes.
        bytes: u64,
        /// They were dropped; otherwise they are in the dead letters.
        dropped: bool,
    },
    /// The oldest records were dropped, because the log had reached `max_buffer_bytes` under `when_full = drop_oldest`.
    Dropped {
        /// How many records.
        records: u64,
        /// Their payload bytes.
        bytes: u64,
        /// The first seq of the first batch that was dropped.
        first_seq: u64,
        /// The last seq of the last one. Some between the two may have been finished before.
        last_seq: u64,
    },
    /// The producer stopped; the backlog is on disk and `resume` goes on.
    Stopped {
        /// Why.
        error: &'a Error,
    },
    /// Opening found records of an earlier run.
    Recovered {
        /// Records not yet finished.
        records: u64,
        /// Bytes of a torn tail that were cut. They belong to a `put` that never returned.
        torn_bytes: u64,
    },
    /// The directory was the buffer of one producer; from now on it is an outbox that processes share.
    Shared,
    /// A slot of the outbox whose process had ended, with records in it, is sent by this producer from now on.
    Adopted {
        /// The slot's name.
        slot: &'a str,
        /// Records not yet finished.
        records: u64,
    },
    /// A `put` waits, because the log has reached `max_buffer_bytes`. Reported for the first that waits, and then at most
    /// once a minute.
    PutWaiting {
        /// How long it waits at most before it is refused.
        timeout: Duration,
        /// Records that are not finished.
        pending: u64,
    },
    /// The sink takes nothing: attempts fail, or find it unavailable. Reported when that begins and, while it lasts, after
    /// 1, 2, 4 ... minutes and then every hour. An outage that begins within a minute of one that was reported is itself
    /// reported only once it has lasted for a minute.
    SinkDown {
        /// Since when, in microseconds since the epoch.
        since: i64,
        /// For how long.
        lasting: Duration,
        /// Attempts in that time.
        attempts: u64,
        /// Records that are not finished.
        pending: u64,
        /// Whether the last attempt found the sink unavailable, which uses up no attempt.
        unavailable: bool,
        /// Time until the next attempt.
        wait: Duration,
        /// What the last attempt found.
        error: &'a Error,
    },
    /// The sink takes batches again, after a `SinkDown`.
    SinkUp {
        /// Since when it had not, in microseconds since the epoch.
        since: i64,
        /// For how long.
        lasting: Duration,
        /// Attempts that came to nothing in that time.
        attempts: u64,
    },
    /// The log cannot be read, so nothing is sent; it is tried again every second. Reported as `SinkDown` is.
    LogUnreadable {
        /// Since when, in microseconds since the epoch.
        since: i64,
        /// For how long.
        lasting: Duration,
        /// Records that are not finished.
        pending: u64,
        /// What the last attempt to read it said.
        error: &'a Error,
    },
    /// The log can be read again, after a `LogUnreadable`.
    LogReadable {
        /// Since when it could not, in microseconds since the epoch.
        since: i64,
        /// For how long.
        lasting: Duration,
    },
    /// A part of the log is not what was written, or is missing.
    Corrupt {
        /// In what way.
        damage: Damage,
        /// The segment's file name; of missing segments the first one's.
        segment: &'a str,
        /// Where in it.
        offset: u64,
        /// How many bytes.
        bytes: u64,
        /// Records that are known to be lost by it.
        records: u64,
    },
}

impl Event<'_> {
    /// The name, as C and Python see it.
    pub fn name(&self) -> &'static str {
        match self {
            Event::Put { .. } => "put",
            Event::OnHold { .. } => "on_hold",
            Event::ShouldNotEmit => "should_not_emit",
            Event::SendStarted { .. } => "send_started",
            Event::SendSucceeded { .. } => "send_succeeded",
            Event::SendFailed { .. } => "send_failed",
            Event::Rejected { .. } => "rejected",
            Event::OnceEnded { .. } => "once_ended",
            Event::Skipped { .. } => "skipped",
            Event::Expired { .. } => "expired",
            Event::Dropped { .. } => "dropped",
            Event::Stopped { .. } => "stopped",
            Event::Recovered { .. } => "recovered",
            Event::Shared => "shared",
            Event::Adopted { .. } => "adopted",
            Event::PutWaiting { .. } => "put_waiting",
            Event::SinkDown { .. } => "sink_down",
            Event::SinkUp { .. } => "sink_up",
            Event::LogUnreadable { .. } => "log_unreadable",
            Event::LogReadable { .. } => "log_readable",
            Event::Corrupt { .. } => "corrupt",
        }
    }

    /// How much it matters.
    pub fn level(&self) -> Level {
        match self {
            Event::Put { .. } | Event::OnHold { .. } | Event::ShouldNotEmit => Level::Debug,
            Event::SendStarted { .. } | Event::SendSucceeded { .. } => Level::Debug,
            Event::Recovered { .. } | Event::Shared | Event::Adopted { .. } => Level::Info,
            // One of many attempts; `SinkDown` reports the outage.
            Event::SendFailed { error, .. } if error.kind() == ErrorKind::SendFailed => Level::Debug,
            // A dead letter that could not be written is no fault of the sink.
            Event::SendFailed { .. } | Event::PutWaiting { .. } => Level::Warning,
            Event::SinkDown { .. } | Event::LogUnreadable { .. } => Level::Warning,
            Event::OnceEnded { .. } => Level::Warning,
            // At the level of the beginning, so that whoever saw it begin sees it end.
            Event::SinkUp { .. } | Event::LogReadable { .. } => Level::Warning,
            Event::Rejected { .. } | Event::Skipped { .. } => Level::Error,
            Event::Expired { .. } | Event::Dropped { .. } => Level::Error,
            Event::Stopped { .. } | Event::Corrupt { .. } => Level::Error,
        }
    }

    /// One line for a log.
    pub fn message(&self) -> String {
        match self {
            Event::Put { seq, record } => format!("put record {seq}, {} bytes", record.data.len()),
            Event::OnHold { attempts, wait } => {
                format!("on hold due to exponential backoff: {attempts} attempts, next in {wait:.3?}")
            }
            Event::ShouldNotEmit => "should not emit".into(),
            Event::SendStarted { batch } => {
                format!("send batch {}: {} records, attempt {}", batch.id(), batch.len(), batch.attempt())
            }
            Event::SendSucceeded { batch, elapsed } => {
                format!("batch {} succeeded: {} records in {elapsed:.3?}", batch.id(), batch.len())
            }
            Event::SendFailed { batch, error, delivered, unavailable, wait } => {
                let what = if *unavailable { "unavailable" } else { "failed" };
                let id = batch.id();
                format!("batch {id} {what} ({delivered} delivered), next attempt in {wait:.3?}: {error}")
            }
            Event::Rejected { batch_id, records, reason } => {
                format!("{records} records of batch {batch_id} rejected into the dead letters: {reason}")
            }
            Event::OnceEnded { batch_id, reason } => {
                format!("records of batch {batch_id} may have arrived twice: {reason}")
            }
            Event::Skipped { batch_id, records, error } => {
                format!("{records} records of batch {batch_id} skipped into the dead letters: {error}")
            }
            Event::Expired { batch_id, records, bytes, dropped } => {
                let what = if *dropped { "dropped" } else { "now in the dead letters" };
                format!("{records} records of batch {batch_id} ({bytes} bytes) were too old to be sent: {what}")
            }
            Event::Dropped { records, bytes, first_seq, last_seq } => format!(
                "the buffer is full: dropped the oldest {records} records ({bytes} bytes), of the seqs {first_seq} to {last_seq}"
            ),
            Event::Stopped { error } => format!("stopped: {error}"),
            Event::Recovered { records, torn_bytes } => {
                format!("recovered {records} records; cut a torn tail of {torn_bytes} bytes")
            }
            Event::Shared => "the buffer is now an outbox that processes share, and stays one".into(),
            Event::Adopted { slot, records } => {
                format!("adopted {slot}, whose process has ended, with {records} records")
            }
            Event::PutWaiting { timeout, pending } => {
                let most =
                    if *timeout == NEVER { "as long as it takes".into() } else { format!("at most {timeout:.3?}") };
                format!("put waits for space, {most}: max_buffer_bytes is reached with {pending} records to deliver")
            }
            Event::SinkDown { lasting, attempts, pending, unavailable, wait, error, .. } => {
                let what = if *unavailable { "unavailable" } else { "failing" };
                let course = match attempts {
                    1 => format!("next attempt in {wait:.3?}"),
                    attempts => format!("for {} now ({attempts} attempts)", whole_seconds(*lasting)),
                };
                format!("sink {what}, {course}; {pending} records wait: {error}")
            }
            Event::SinkUp { lasting, attempts, .. } => {
                format!("sink up again, after {} ({attempts} attempts)", whole_seconds(*lasting))
            }
            Event::LogUnreadable { lasting, pending, error, .. } => {
                let lasting = whole_seconds(*lasting);
                format!("the log cannot be read, for {lasting} now; {pending} records wait: {error}")
            }
            Event::LogReadable { lasting, .. } => {
                format!("the log can be read again, after {}", whole_seconds(*lasting))
            }
            Event::Corrupt { damage, segment, offset, bytes, records } => {
                let lost = match records {
                    0 => "no record is known to be lost".into(),
                    1 => "1 record lost".into(),
                    records => format!("{records} records lost"),
                };
                match damage {
                    Damage::Corrupt => format!("set aside {bytes} corrupt bytes of {segment} at {offset}; {lost}"),
                    Damage::Truncated => format!("{segment} was cut off at {offset}, {bytes} bytes too early; {lost}"),
                    Damage::MissingSegments(1) => format!("{segment} is missing; {lost}"),
                    Damage::MissingSegments(count) => {
                        format!("{segment} and the {} segments behind it are missing; {lost}", count - 1)
                    }
                    Damage::MissingRecords => format!("what stood in {segment} at {offset} is missing; {lost}"),
                }
            }
        }
    }
}

/// A time for people who wait.
fn whole_seconds(time: Duration) -> humantime::FormattedDuration {
    humantime::format_duration(Duration::from_secs(time.as_secs()))
}

/// A function that is told of events. It is called on the thread in which the event happens, with no lock held, and may be
/// called by several threads at once. It must not call the same producer, which would answer with `Reentrant`.
pub type Observer = Arc<dyn Fn(&Event<'_>) + Send + Sync>;
