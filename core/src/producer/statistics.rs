//! The counters of a producer, and the snapshot ([`Stats`]) of them.

use super::Shared;
use super::lifecycle::Phase;
use super::measure::{Latency, Rates};
use crate::error::{Error, ErrorKind};
use crate::limits::MAX_REASON_BYTES;
use crate::platform::lock;
use crate::platform::sync::Mutex;
use crate::platform::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use crate::stats::{State, Stats};
use crate::text::bounded;

/// Counters since the opening, and the last error.
#[derive(Default)]
pub(super) struct Statistics {
    pub(super) delivered: AtomicU64,
    pub(super) delivered_bytes: AtomicU64,
    pub(super) attempts: AtomicU64,
    pub(super) failed: AtomicU64,
    pub(super) unavailable: AtomicU64,
    pub(super) rejected: AtomicU64,
    pub(super) skipped: AtomicU64,
    pub(super) expired: AtomicU64,
    pub(super) expired_bytes: AtomicU64,
    refused_puts: AtomicU64,
    invalid_puts: AtomicU64,
    head: AtomicU8,
    /// Wall-clock times in microseconds.
    pub(super) last_success: AtomicU64,
    pub(super) last_failure: AtomicU64,
    pub(super) latency: Latency,
    pub(super) rates: Rates,
    last_error: Mutex<String>,
}

/// What the last answer of the sink means for the batch at the head of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Head {
    /// Nothing: what was sent is finished.
    Clear = 0,
    /// It failed, and waits for its next attempt.
    Waiting = 1,
    /// The sink was unavailable, and it waits.
    Unavailable = 2,
}

impl Statistics {
    pub(super) fn set_head(&self, head: Head) {
        self.head.store(head as u8, Ordering::Relaxed);
    }

    pub(super) fn head(&self) -> Head {
        match self.head.load(Ordering::Relaxed) {
            0 => Head::Clear,
            1 => Head::Waiting,
            _ => Head::Unavailable,
        }
    }

    pub(super) fn note_error(&self, error: &Error) {
        *lock(&self.last_error) = bounded(error, MAX_REASON_BYTES);
    }

    pub(super) fn last_error(&self) -> String {
        lock(&self.last_error).clone()
    }

    /// Counts a put that returns this error, so that monitoring sees it even if the caller ignores it. A mistake of the
    /// caller is counted apart and is not the last error; a call to a closed producer, in a forked child or from inside a
    /// callback is not counted.
    #[cold]
    pub(super) fn count_refusal(&self, error: &Error) {
        match error.kind() {
            ErrorKind::Closed | ErrorKind::Forked | ErrorKind::Reentrant => {}
            ErrorKind::RecordTooLarge | ErrorKind::InvalidArgument => {
                self.invalid_puts.fetch_add(1, Ordering::Relaxed);
            }
            _ => {
                self.note_error(error);
                if !error.record_accepted() {
                    self.refused_puts.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }
}

fn throughput(stats: &Stats) -> [u64; 4] {
    [stats.put_records, stats.put_bytes, stats.delivered_records, stats.delivered_bytes]
}

impl Shared {
    /// Notes what went in and out until now, for the rates.
    pub(super) fn note_rates(&self) {
        let mut stats = Stats::default();
        (stats.put_records, stats.put_bytes) = self.core().put_totals();
        stats.delivered_records = self.statistics.delivered.load(Ordering::Relaxed);
        stats.delivered_bytes = self.statistics.delivered_bytes.load(Ordering::Relaxed);
        self.statistics.rates.note(self.core().env.clock.monotonic(), throughput(&stats));
    }

    pub(super) fn stats(&self) -> Stats {
        let mut stats = self.own_stats();
        if let Some(household) = self.household.as_ref().filter(|_| !self.core().fork.is_forked()) {
            household.add_to(&mut stats, &self.letters);
        }
        stats
    }

    /// Without what belongs to the slots that were adopted and are still there.
    pub(super) fn own_stats(&self) -> Stats {
        let mut stats = Stats::default();
        if self.core().fork.is_forked() {
            stats.state = State::Closed;
            return stats;
        }
        self.core().fill(&mut stats);
        let statistics = &self.statistics;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        stats.delivered_records = read(&statistics.delivered);
        stats.delivered_bytes = read(&statistics.delivered_bytes);
        stats.attempts = read(&statistics.attempts);
        stats.failed_attempts = read(&statistics.failed);
        stats.unavailable_attempts = read(&statistics.unavailable);
        stats.rejected_records = read(&statistics.rejected);
        stats.skipped_records = read(&statistics.skipped);
        stats.expired_records = read(&statistics.expired);
        stats.expired_bytes = read(&statistics.expired_bytes);
        (stats.dropped_records, stats.dropped_bytes) = self.core().dropped();
        stats.refused_puts = read(&statistics.refused_puts);
        stats.invalid_puts = read(&statistics.invalid_puts);
        stats.last_success = read(&statistics.last_success);
        stats.last_failure = read(&statistics.last_failure);
        statistics.latency.fill(&mut stats);
        let now = self.core().env.clock.monotonic();
        let rates = statistics.rates.per_second(now, throughput(&stats));
        [stats.put_records_per_second, stats.put_bytes_per_second, ..] = rates;
        [.., stats.delivered_records_per_second, stats.delivered_bytes_per_second] = rates;
        stats.unavailable_since = self.common.unavailable.micros();
        stats.unreadable_since = self.unreadable.since();
        (stats.dead_letters, stats.dead_letter_bytes) = self.letters.usage();
        stats.state = match (self.lifecycle.phase(), statistics.head()) {
            (Phase::Closed, _) => State::Closed,
            (Phase::Stopped, _) => State::Stopped,
            (Phase::Running, Head::Waiting) => State::OnHold,
            (Phase::Running, Head::Unavailable) => State::Unavailable,
            (Phase::Running, Head::Clear) => State::Running,
        };
        stats.last_error = statistics.last_error();
        if let Some(household) = &self.household {
            household.add_gone(&mut stats);
        }
        stats
    }
}
