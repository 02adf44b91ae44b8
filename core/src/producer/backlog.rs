//! The policy of the backlog: records that have become too old to be sent, and how fast it is sent.

use std::time::Duration;

use super::Shared;
use crate::batch::Batch;
use crate::buffer::Settle;
use crate::dead_letters::{AttemptHistory, Undelivered};
use crate::delivery_report::{Delivery, DeliveryReport};
use crate::error::{ErrorKind, Result};
use crate::event::Event;
use crate::options::{NEVER, OnExpired, Options};
use crate::platform::lock;
use crate::platform::sync::atomic::Ordering;
use crate::platform::sync::{Mutex, MutexGuard};

/// The wait after a dead letter could not be written.
const UNWRITTEN_WAIT: Duration = Duration::from_secs(1);
const REASON: &str = "it had expired before it could be sent, by max_age or its own expires_at";

/// The time of an attempt; of a record that was never tried, that at which it was given up.
fn tried_or(now: i64, attempt: i64) -> i64 {
    if attempt == 0 { now } else { attempt }
}

/// When the next batch may go out by the rate that the options allow, on the monotonic clock.
#[derive(Default)]
pub(super) struct Pace(Mutex<Duration>);

impl Pace {
    /// The turn to take a batch that may go out at `now`; until then nobody else takes one, so that the rate holds however many
    /// send. The error is until when nothing may go out.
    pub(super) fn turn(&self, options: &Options, now: Duration) -> std::result::Result<Turn<'_>, Duration> {
        if options.max_rate_records == 0 && options.max_rate_bytes == 0 {
            return Ok(Turn(None));
        }
        let next = lock(&self.0);
        if *next > now { Err(*next) } else { Ok(Turn(Some(next))) }
    }
}

/// The right to take the next batch.
pub(super) struct Turn<'a>(Option<MutexGuard<'a, Duration>>);

impl Turn<'_> {
    /// A batch goes out: the next one waits for as long as the rate takes for this one.
    pub(super) fn charge(self, options: &Options, now: Duration, batch: &Batch) {
        let Some(mut next) = self.0 else { return };
        let time = |amount: u64, rate: u64| match rate {
            0 => Duration::ZERO,
            rate => Duration::from_secs_f64(amount as f64 / rate as f64),
        };
        let bytes: usize = batch.iter().map(|record| record.data.len()).sum();
        let takes = time(batch.len() as u64, options.max_rate_records).max(time(bytes as u64, options.max_rate_bytes));
        *next = (*next).max(now) + takes;
    }
}

impl Shared {
    /// Takes the records that are too old out of a batch that was just handed out, and gives back the rest. False if there
    /// are none: then it is to be sent.
    ///
    /// # Errors
    /// `DeadLettersFull`, which stops the producer.
    pub(super) fn expire(&self, batch: &Batch) -> Result<bool> {
        let core = self.core();
        let options = &core.options;
        let looks_at_own = options.on_expired != OnExpired::Auto;
        if options.max_age == NEVER && !looks_at_own {
            return Ok(false);
        }
        let now = core.env.clock.wall();
        let age = i64::try_from(options.max_age.as_micros()).unwrap_or(i64::MAX);
        let oldest = if options.max_age == NEVER { i64::MIN } else { now.saturating_sub(age) };
        let old = batch.iter().enumerate().filter(|(_, record)| {
            record.created_at <= oldest || (looks_at_own && record.expires_at.is_some_and(|at| at <= now))
        });
        let (old, bytes) = old.fold((Vec::new(), 0), |(mut old, bytes), (index, record)| {
            old.push(index);
            (old, bytes + record.data.len() as u64)
        });
        // Bytes that were overwritten have no time that could be believed: what is sent is checked for that.
        if old.is_empty() || !batch.is_whole() {
            return Ok(false);
        }
        let dropped = options.on_expired == OnExpired::Drop;
        let written = if dropped { Ok(()) } else { self.bury_expired(batch, &old, now) };
        let settle = match &written {
            Ok(()) => Settle {
                finished: old.len() == batch.len(),
                done: old.iter().map(|index| batch.entries[*index].place).collect(),
                ..Settle::default()
            },
            Err(_) => Settle { ready_at: core.env.clock.monotonic() + UNWRITTEN_WAIT, ..Settle::default() },
        };
        let records = old.len();
        let settled = core.settle(batch, settle, || {});
        self.finished.notify();
        match (written, settled) {
            (Ok(()), settled) => {
                let statistics = &self.statistics;
                statistics.expired.fetch_add(records as u64, Ordering::Relaxed);
                statistics.expired_bytes.fetch_add(bytes, Ordering::Relaxed);
                self.notify(&Event::Expired { batch_id: &batch.id(), records, bytes, dropped });
                let expired = |index: usize| old.binary_search(&index).is_ok();
                self.report_batch(batch, |index, seq| {
                    expired(index).then(|| DeliveryReport::new(seq, Delivery::Expired))
                });
                if let Err(error) = settled {
                    statistics.note_error(&error);
                }
            }
            (Err(error), _) if error.kind() == ErrorKind::DeadLettersFull => {
                self.stop(&error);
                return Err(error);
            }
            (Err(error), _) => self.statistics.note_error(&error),
        }
        Ok(true)
    }

    fn bury_expired(&self, batch: &Batch, old: &[usize], now: i64) -> Result<()> {
        let progress = &batch.progress;
        let history = AttemptHistory {
            sink: self.common.sink.as_ref().map_or_else(|| "manual".into(), |sink| sink.name().into_owned()),
            attempts: progress.attempts,
            first_attempt: tried_or(now, progress.first_attempt),
            last_attempt: tried_or(now, progress.last_attempt),
            created_at: now,
            errors: progress.errors.clone(),
        };
        let records = old.iter().map(|index| (*index, REASON.to_owned(), false)).collect();
        self.letters.write(&Undelivered { batch, history, records }, self.core().options.max_dead_letter_bytes)
    }
}
