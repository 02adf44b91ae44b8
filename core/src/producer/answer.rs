//! Acts on a sink's answer: finishes what was delivered, writes dead letters, schedules the next attempt for the rest, or
//! stops the producer.

use std::cell::Cell;
use std::fmt;
use std::time::Duration;

use super::Shared;
use super::outage::OutageReport;
use super::statistics::Head;
use crate::batch::{Batch, Progress};
use crate::buffer::Settle;
use crate::dead_letters::{AttemptHistory, Undelivered};
use crate::delivery_report::{Delivery, DeliveryReport};
use crate::error::{Cause, Error, ErrorKind, Result};
use crate::event::Event;
use crate::limits::{MAX_MEMO_BYTES, MAX_REASON_BYTES};
use crate::options::OnExhausted;
use crate::platform::sync::atomic::Ordering;
use crate::schedule::MAX_WAIT;
use crate::sink::{Outcome, Report, SendError, reason_bytes};
use crate::text::bounded;

/// The number of errors that are kept of one batch.
const KEPT_ERRORS: usize = 5;
const SPOILED: &str =
    "the batch is not what was put any more: its file was overwritten or truncated, or the disk failed";
/// The wait after an interrupted attempt, which counts nothing. Without it, an interrupted sink would be called in a loop.
const INTERRUPTED_WAIT: Duration = Duration::from_secs(1);
/// The least wait after a dead letter could not be written.
const UNWRITTEN_WAIT: Duration = Duration::from_secs(1);

impl Shared {
    /// Acts on what the sink answered. Returns the error that stops the producer, or that of the disk.
    pub(super) fn settle(&self, mut batch: Batch, answer: Result<Report, SendError>, elapsed: Duration) -> Result<()> {
        let len = batch.len();
        // A report that names records which the batch does not have may have counted wrongly throughout: believe none of it.
        let answer = answer.and_then(|report| report.check(len).map(|()| report));
        // If the log was overwritten or truncated during the send, the sink may have got zeros instead of the records:
        // whatever it says, this was no delivery. And dead letters hold what was put, or nothing.
        let delivered = answer.as_ref().is_ok_and(Report::is_delivered);
        let spoiled = (batch.is_faulted() || !delivered) && !batch.is_whole();
        let answer = if spoiled { Err(SendError::unavailable(SPOILED)) } else { answer };
        let interrupted = self.common.ending.was_interrupted() || matches!(answer, Err(SendError::Interrupted(_)));
        if let Ok(report) = &answer
            && let Some(reason) = report.once_ended()
        {
            self.notify(&Event::OnceEnded { batch_id: &batch.id(), reason });
        }
        let settled = match answer.unwrap_or_else(|error| Report::all(len, error.into_outcome())) {
            report if report.is_delivered() => self.succeed(&batch, &report, elapsed),
            // Each handing-out takes one answer; a second one must not write dead letters.
            report => match self.core().claim(&mut batch) {
                Ok(()) => self.handle_undelivered(&batch, &report, interrupted, elapsed),
                Err(error) => Err(error),
            },
        };
        if spoiled {
            self.core().read_again();
        }
        self.finished.notify();
        if self.core().options.max_in_flight > 1 {
            // A sender may be waiting because `max_in_flight` batches were out.
            self.wake_sender();
        }
        settled
    }

    fn succeed(&self, batch: &Batch, report: &Report, elapsed: Duration) -> Result<()> {
        let known = Cell::new(false);
        let bytes = batch.iter().map(|record| record.data.len() as u64).sum();
        let count = || {
            known.set(true);
            self.statistics.delivered.fetch_add(batch.len() as u64, Ordering::Relaxed);
            self.statistics.delivered_bytes.fetch_add(bytes, Ordering::Relaxed);
            let now = self.core().env.clock.wall().max(1).cast_unsigned();
            self.statistics.last_success.store(now, Ordering::Relaxed);
        };
        let noted = self.core().settle(batch, Settle { finished: true, ..Settle::default() }, count);
        if !known.get() {
            // The answer came too late, or after the buffer was closed: the batch will be sent again.
            return noted;
        }
        self.statistics.set_head(Head::Clear);
        self.notify(&Event::SendSucceeded { batch, elapsed });
        self.sink_is_up();
        self.report_batch(batch, |index, seq| Some(has(report, index, seq)));
        noted
    }

    /// Some or all records of the batch were not delivered. Where the attempt was interrupted, what failed in it counts
    /// nothing; what the sink took or rejected holds.
    fn handle_undelivered(&self, batch: &Batch, report: &Report, interrupted: bool, elapsed: Duration) -> Result<()> {
        let core = self.core();
        let (options, clock) = (&core.options, &*core.env.clock);
        let sorted = Sorted::new(batch.len(), report);
        let now = clock.wall();
        let interrupted = interrupted && sorted.cause.is_some();
        let counts = !interrupted
            && (!sorted.failed.is_empty() || (options.count_unavailable && !sorted.unavailable.is_empty()));
        let mut progress = batch.progress.clone();
        if !interrupted {
            note_attempt(&mut progress, &sorted, counts, now);
        }
        let exhausted = counts && self.common.schedule.is_exhausted(progress.attempts);
        let mut given_up: Vec<usize> = Vec::new();
        if exhausted && options.on_exhausted == OnExhausted::Skip {
            given_up.extend(&sorted.failed);
            if options.count_unavailable {
                given_up.extend(&sorted.unavailable);
                given_up.sort_unstable();
            }
        }

        // Into the dead letters, before anything of it counts as finished. Where the letter cannot be written, the records
        // stay in the batch, and it is tried again.
        let written = self.write_dead_letter(batch, report, &sorted, &given_up, &progress, now);
        let mut done = sorted.delivered.clone();
        let unwritten = written.map(|indices| done.extend(indices)).err();
        let left = batch.len() - done.len();
        let error = unwritten.clone().or_else(|| sorted.cause.as_ref().map(send_failed));
        let mut stop = unwritten.clone().filter(|error| error.kind() == ErrorKind::DeadLettersFull);
        if let Some(error) = error.as_ref().filter(|_| exhausted && options.on_exhausted == OnExhausted::Raise) {
            stop = Some(exhaustion(batch, progress.attempts, error));
        }
        if unwritten.is_none() && exhausted && options.on_exhausted == OnExhausted::Skip {
            // Records for which the sink was unavailable start with a full number of attempts.
            progress.attempts = 0;
        }

        let mut wait = self.common.schedule.wait(progress.failures.max(1), (core.env.random)());
        wait = wait.max(sorted.retry_after.min(MAX_WAIT));
        if interrupted {
            wait = INTERRUPTED_WAIT;
        } else {
            if unwritten.is_some() {
                wait = wait.max(UNWRITTEN_WAIT);
            }
            progress.next_attempt = now.saturating_add(i64::try_from(wait.as_micros()).unwrap_or(i64::MAX));
        }
        let places = done.iter().map(|index| batch.entries[*index].place).collect();
        let settle = Settle {
            finished: left == 0,
            done: places,
            progress: Some(progress),
            // Also of an attempt that counts nothing: what was on its way may have arrived.
            memo: report.memo.clone().filter(|memo| memo.len() <= MAX_MEMO_BYTES),
            ready_at: clock.monotonic() + wait,
        };
        let statistics = &self.statistics;
        let delivered = sorted.delivered.iter().filter_map(|index| batch.get(*index));
        let delivered_bytes = delivered.map(|record| record.data.len() as u64).sum();
        let known = Cell::new(false);
        let noted = core.settle(batch, settle, || {
            known.set(true);
            statistics.delivered.fetch_add(sorted.delivered.len() as u64, Ordering::Relaxed);
            statistics.delivered_bytes.fetch_add(delivered_bytes, Ordering::Relaxed);
            let wall = now.max(1).cast_unsigned();
            if sorted.sink_took_some() {
                statistics.last_success.store(wall, Ordering::Relaxed);
            }
            if error.is_some() && !interrupted {
                statistics.last_failure.store(wall, Ordering::Relaxed);
                if counts { &statistics.failed } else { &statistics.unavailable }.fetch_add(1, Ordering::Relaxed);
            }
            if unwritten.is_none() {
                statistics.rejected.fetch_add(sorted.rejected.len() as u64, Ordering::Relaxed);
                statistics.skipped.fetch_add(given_up.len() as u64, Ordering::Relaxed);
            }
        });
        if !known.get() {
            return noted;
        }

        statistics.set_head(match (left, counts) {
            (0, _) => Head::Clear,
            (_, true) => Head::Waiting,
            (_, false) => Head::Unavailable,
        });
        let unavailable = !counts;
        if let Some(error) = &error {
            statistics.note_error(error);
            let delivered = sorted.delivered.len();
            self.notify(&Event::SendFailed { batch, error, delivered, unavailable, wait });
        }
        if unwritten.is_none() {
            let id = batch.id();
            if let Some((_, reason)) = sorted.rejected.first() {
                self.notify(&Event::Rejected { batch_id: &id, records: sorted.rejected.len(), reason });
            }
            if let Some(error) = error.as_ref().filter(|_| !given_up.is_empty()) {
                self.notify(&Event::Skipped { batch_id: &id, records: given_up.len(), error });
            }
        }
        self.report_batch(batch, |index, seq| match report.outcome(index) {
            Outcome::Delivered => Some(has(report, index, seq)),
            Outcome::Rejected { reason } => unwritten.is_none().then(|| dead(seq, reason.clone())),
            _ if unwritten.is_none() && given_up.binary_search(&index).is_ok() => {
                Some(dead(seq, reason(report, index, MAX_REASON_BYTES)))
            }
            _ => None,
        });
        if left == 0 && error.is_none() && !sorted.delivered.is_empty() {
            self.notify(&Event::SendSucceeded { batch, elapsed });
        }
        if sorted.sink_took_some() {
            self.sink_is_up();
        } else if let Some(error) = error.as_ref().filter(|_| !interrupted) {
            self.sink_is_down(error, sorted.failed.is_empty(), wait, now);
        }
        match stop {
            Some(error) => {
                self.stop(&error);
                Err(error)
            }
            None => noted,
        }
    }

    /// Writes what the sink rejected and what is given up into the batch's dead letter. Returns their indices.
    fn write_dead_letter(
        &self,
        batch: &Batch,
        report: &Report,
        sorted: &Sorted<'_>,
        given_up: &[usize],
        progress: &Progress,
        now: i64,
    ) -> Result<Vec<usize>> {
        // The limit on reasons depends on how many records the letter may get in all: those that the batch was sealed with.
        // Saturating, because a damaged seal may hold any numbers.
        let sealed = batch.last_seq().saturating_sub(batch.first_seq()).saturating_add(1);
        let most = reason_bytes(batch.len().max(usize::try_from(sealed).unwrap_or(usize::MAX)));
        let rejected = sorted.rejected.iter().map(|(index, reason)| (*index, bounded(reason, most), true));
        let given_up = given_up.iter().map(|index| (*index, reason(report, *index, most), false));
        let mut records: Vec<(usize, String, bool)> = rejected.chain(given_up).collect();
        if records.is_empty() {
            return Ok(Vec::new());
        }
        records.sort_by_key(|(index, _, _)| *index);
        let indices = records.iter().map(|(index, _, _)| *index).collect();
        let history = AttemptHistory {
            sink: self.common.sink.as_ref().map_or_else(|| "manual".into(), |sink| sink.name().into_owned()),
            attempts: progress.attempts.max(1),
            first_attempt: if progress.first_attempt == 0 { now } else { progress.first_attempt },
            last_attempt: now,
            created_at: now,
            errors: progress.errors.clone(),
        };
        let undelivered = Undelivered { batch, history, records };
        self.letters.write(&undelivered, self.core().options.max_dead_letter_bytes).map(|()| indices)
    }

    /// The sink has taken something: delivered it, or rejected it for ever.
    fn sink_is_up(&self) {
        self.common.unavailable.end();
        let over = self.common.outage.is_over(|| self.core().env.clock.monotonic());
        if let Some(OutageReport { since, lasting, attempts }) = over {
            self.notify(&Event::SinkUp { since, lasting, attempts });
        }
    }

    /// The sink has taken nothing of a batch: `unavailable` if all of it was, else something failed, which shows that the
    /// sink can be reached.
    fn sink_is_down(&self, error: &Error, unavailable: bool, wait: Duration, now: i64) {
        if unavailable {
            self.common.unavailable.begin(now);
        } else {
            self.common.unavailable.end();
        }
        let core = self.core();
        if let Some(OutageReport { since, lasting, attempts }) =
            self.common.outage.goes_on(core.env.clock.monotonic(), now)
        {
            let pending = core.pending().0;
            self.notify(&Event::SinkDown { since, lasting, attempts, pending, unavailable, wait, error });
        }
    }
}

/// Adds an attempt to the progress of a batch.
fn note_attempt(progress: &mut Progress, sorted: &Sorted<'_>, counts: bool, now: i64) {
    progress.last_attempt = now;
    if progress.first_attempt == 0 {
        progress.first_attempt = now;
    }
    if let Some(cause) = &sorted.cause {
        progress.failures = progress.failures.saturating_add(1);
        progress.attempts = progress.attempts.saturating_add(u32::from(counts));
        progress.errors.push(bounded(Chain(&**cause), MAX_REASON_BYTES));
        let extra = progress.errors.len().saturating_sub(KEPT_ERRORS);
        progress.errors.drain(..extra);
    }
}

/// The indices of a batch by what became of them.
struct Sorted<'a> {
    delivered: Vec<usize>,
    failed: Vec<usize>,
    unavailable: Vec<usize>,
    rejected: Vec<(usize, &'a str)>,
    retry_after: Duration,
    /// Why the first record that is to be tried again was not delivered.
    cause: Option<Cause>,
}

impl<'a> Sorted<'a> {
    fn new(len: usize, report: &'a Report) -> Self {
        let mut sorted = Sorted {
            delivered: Vec::new(),
            failed: Vec::new(),
            unavailable: Vec::new(),
            rejected: Vec::new(),
            retry_after: Duration::ZERO,
            cause: None,
        };
        let mut next = 0;
        for (index, outcome) in report.exceptions() {
            sorted.delivered.extend(next..index);
            next = index + 1;
            match outcome {
                Outcome::Delivered => sorted.delivered.push(index),
                Outcome::Rejected { reason } => sorted.rejected.push((index, reason)),
                Outcome::Failed { error } => {
                    sorted.failed.push(index);
                    sorted.cause.get_or_insert_with(|| error.clone());
                }
                Outcome::Unavailable { error, retry_after } => {
                    sorted.unavailable.push(index);
                    sorted.retry_after = sorted.retry_after.max(retry_after.unwrap_or_default());
                    sorted.cause.get_or_insert_with(|| error.clone());
                }
            }
        }
        sorted.delivered.extend(next..len);
        // Prefer the error of a failed record: it counts, and says more than "unavailable".
        if let Some(Outcome::Failed { error }) = sorted.failed.first().map(|index| report.outcome(*index)) {
            sorted.cause = Some(error.clone());
        }
        sorted
    }

    /// Whether the sink dealt with any record: delivered or rejected it.
    fn sink_took_some(&self) -> bool {
        !self.delivered.is_empty() || !self.rejected.is_empty()
    }
}

/// Why a record that is given up on was not delivered.
fn reason(report: &Report, index: usize, most: usize) -> String {
    match report.outcome(index) {
        Outcome::Failed { error } | Outcome::Unavailable { error, .. } => bounded(error, most),
        Outcome::Delivered | Outcome::Rejected { .. } => String::new(),
    }
}

/// The sink has a record.
fn has(report: &Report, index: usize, seq: u64) -> DeliveryReport {
    let receipt = report.receipt(index).map(str::to_owned);
    DeliveryReport { receipt, ..DeliveryReport::new(seq, Delivery::Delivered) }
}

/// A record is in the dead letters.
fn dead(seq: u64, reason: String) -> DeliveryReport {
    DeliveryReport { reason, ..DeliveryReport::new(seq, Delivery::DeadLettered) }
}

/// Displays an error and its causes, one a line.
struct Chain<'a>(&'a dyn std::error::Error);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(cause) = source {
            write!(f, "\n{cause}")?;
            source = cause.source();
        }
        Ok(())
    }
}

fn send_failed(cause: &Cause) -> Error {
    Error::new(ErrorKind::SendFailed, bounded(cause, MAX_REASON_BYTES)).with_source(cause.clone())
}

fn exhaustion(batch: &Batch, attempts: u32, last: &Error) -> Error {
    let message = format!(
        "batch {} was not delivered in {attempts} attempts, the last error is: {last}; the backlog is on disk, \
         resume or reopen to try again",
        batch.id()
    );
    let error = Error::new(ErrorKind::RetriesExhausted, message);
    match last.cause() {
        Some(cause) => error.with_source(cause.clone()),
        None => error,
    }
}
