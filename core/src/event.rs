//! What can be observed as it happens: [`Event`]s, and the [`Observer`] that is told of them.

use std::sync::Arc;
use std::time::Duration;

use crate::batch::Batch;
use crate::error::Error;
use crate::options::NEVER;
use crate::record::NewRecord;

/// How much an event matters, in the terms of loggers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// The ordinary course.
    Debug,
    /// Worth a line in a log.
    Info,
    /// Something failed and will be tried again.
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
    /// The sink did not take the batch, or a part of it; it will be tried again unless an event says otherwise.
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
    /// The attempts are used up; what was left of the batch is in the dead letters.
    Skipped {
        /// The batch's id.
        batch_id: &'a str,
        /// How many records.
        records: usize,
        /// The last error.
        error: &'a Error,
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
    /// A `put` waits, because the log has reached `max_buffer_bytes`. Told by the first that waits; others that wait
    /// within a minute are not told of.
    PutWaiting {
        /// How long it waits at most before it is refused.
        timeout: Duration,
        /// Records that are not finished.
        pending: u64,
    },
    /// The sink has been unavailable in every attempt for long. Told after an attempt that finds it so: first when that
    /// has been so for a minute, then after twice that, and so on, at last every hour.
    SinkUnavailable {
        /// Since when, in microseconds since the epoch.
        since: i64,
        /// For how long.
        lasting: Duration,
        /// Attempts in that time.
        attempts: u64,
        /// Records that are not finished.
        pending: u64,
        /// What the last attempt found.
        error: &'a Error,
    },
    /// The log cannot be read, so nothing is sent; it is tried again every second. Told when that begins, after a minute,
    /// after two, and so on, at last every hour.
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
    /// Bytes of the log were not what was written; they are set aside.
    Corrupt {
        /// The segment's file name.
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
            Event::Skipped { .. } => "skipped",
            Event::Stopped { .. } => "stopped",
            Event::Recovered { .. } => "recovered",
            Event::PutWaiting { .. } => "put_waiting",
            Event::SinkUnavailable { .. } => "sink_unavailable",
            Event::LogUnreadable { .. } => "log_unreadable",
            Event::Corrupt { .. } => "corrupt",
        }
    }

    /// How much it matters.
    pub fn level(&self) -> Level {
        match self {
            Event::Put { .. } | Event::OnHold { .. } | Event::ShouldNotEmit => Level::Debug,
            Event::SendStarted { .. } | Event::SendSucceeded { .. } => Level::Debug,
            Event::Recovered { .. } => Level::Info,
            Event::SendFailed { .. } | Event::PutWaiting { .. } => Level::Warning,
            Event::SinkUnavailable { .. } | Event::LogUnreadable { .. } => Level::Warning,
            Event::Rejected { .. } | Event::Skipped { .. } => Level::Error,
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
            Event::Skipped { batch_id, records, error } => {
                format!("{records} records of batch {batch_id} skipped into the dead letters: {error}")
            }
            Event::Stopped { error } => format!("stopped: {error}"),
            Event::Recovered { records, torn_bytes } => {
                format!("recovered {records} records; cut a torn tail of {torn_bytes} bytes")
            }
            Event::PutWaiting { timeout, pending } => {
                let most =
                    if *timeout == NEVER { "as long as it takes".into() } else { format!("at most {timeout:.3?}") };
                format!("put waits for space, {most}: max_buffer_bytes is reached with {pending} records to deliver")
            }
            Event::SinkUnavailable { lasting, attempts, pending, error, .. } => {
                let lasting = humantime::format_duration(Duration::from_secs(lasting.as_secs()));
                format!("sink unavailable for {lasting} ({attempts} attempts); {pending} records wait: {error}")
            }
            Event::LogUnreadable { lasting, pending, error, .. } => {
                let lasting = humantime::format_duration(Duration::from_secs(lasting.as_secs()));
                format!("the log cannot be read, for {lasting} now; {pending} records wait: {error}")
            }
            Event::Corrupt { segment, offset, bytes, records } => {
                format!("set aside {bytes} corrupt bytes of {segment} at {offset}; {records} records lost")
            }
        }
    }
}

/// Who listens. Called on the thread in which the event happens, with no lock held; it must not call
/// the same producer, which answers with `Reentrant`.
pub type Observer = Arc<dyn Fn(&Event<'_>) + Send + Sync>;
