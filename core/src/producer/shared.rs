//! What the threads of a producer share, and the way of a record into the log.

use std::sync::Arc;
use std::time::Duration;

use super::common::Common;
use super::flush::Finished;
use super::household::Household;
use super::lifecycle::{Lifecycle, Phase};
use super::outage::Outage;
use super::reentrancy;
use super::reports::Reports;
use super::sender::Senders;
use super::statistics::Statistics;
use crate::buffer::{self, Appended, Buffer, Core, Dropped, Wait};
use crate::dead_letters::DeadLetters;
use crate::error::{Error, ErrorKind, Result};
use crate::event::Event;
use crate::options::{Durability, Mode, Options};
use crate::platform::sync::Mutex;
use crate::platform::sync::atomic::{AtomicU64, Ordering};
use crate::record::NewRecord;

/// One slot: its log, its dead letters, and how far it is. A producer that shares nothing has one.
pub(super) struct Shared {
    pub(super) buffer: Buffer,
    pub(super) common: Arc<Common>,
    /// The sink wants to see each record before it is accepted.
    checks_records: bool,
    /// Whether a record that is a payload and nothing else can go the short way: nobody looks at it, nobody waits for it.
    puts_payloads: bool,
    /// The observer hears of each put.
    reports_puts: bool,
    pub(super) letters: DeadLetters,
    pub(super) lifecycle: Lifecycle,
    pub(super) finished: Finished,
    pub(super) senders: Arc<Senders>,
    /// Held by the thread that sends in inline mode.
    pub(super) inline: Mutex<()>,
    /// The log cannot be read.
    pub(super) unreadable: Outage,
    /// Milliseconds on the monotonic clock before which `PutWaiting` is not reported again.
    next_waiting: AtomicU64,
    pub(super) statistics: Statistics,
    pub(super) reports: Reports,
    /// The outbox that this is the producer's own slot of.
    pub(super) household: Option<Household>,
}

impl Shared {
    pub(super) fn new(
        buffer: Buffer,
        common: Arc<Common>,
        letters: DeadLetters,
        household: Option<Household>,
    ) -> Arc<Shared> {
        let Options { mode, durability, .. } = buffer.core().options;
        let checks_records = common.limits.checks_records && common.sink.is_some();
        let reports_puts = common.reports_puts;
        let shared = Arc::new(Shared {
            buffer,
            checks_records,
            puts_payloads: !checks_records && !reports_puts && mode != Mode::Inline && durability != Durability::Always,
            reports_puts,
            senders: common.senders.clone(),
            common,
            letters,
            lifecycle: Lifecycle::running(),
            finished: Finished::default(),
            inline: Mutex::new(()),
            unreadable: Outage::default(),
            next_waiting: AtomicU64::new(0),
            statistics: Statistics::default(),
            reports: Reports::default(),
            household,
        });
        // A weak reference, here and below: the buffer that keeps it is a part of the producer.
        let weak = Arc::downgrade(&shared);
        let report = move |dropped: &Dropped| {
            if let Some(shared) = weak.upgrade() {
                let Dropped { records, bytes, first_seq, last_seq } = *dropped;
                shared.finished.notify();
                shared.notify(&Event::Dropped { records, bytes, first_seq, last_seq });
                shared.report_dropped(first_seq, last_seq);
            }
        };
        let _ = shared.core().when_dropped.set(Box::new(report));
        if shared.common.observer.is_some() {
            let weak = Arc::downgrade(&shared);
            let report = move |wait| {
                if let Some(shared) = weak.upgrade() {
                    shared.report_waiting(wait);
                }
            };
            let _ = shared.core().when_waiting.set(Box::new(report));
        }
        shared
    }

    #[inline]
    pub(super) fn core(&self) -> &Core {
        self.buffer.core()
    }

    /// An error unless the producer runs and this thread may call it.
    #[inline(always)]
    pub(super) fn check(&self) -> Result<()> {
        if !self.lifecycle.is_running() {
            self.refuse()?;
        }
        self.check_caller()
    }

    /// An error in a forked child, and for calls from inside a callback. Takes no lock, since in a forked child a lock may
    /// never be released.
    #[inline(always)]
    pub(super) fn check_caller(&self) -> Result<()> {
        if self.core().fork.is_forked() {
            return Err(buffer::forked());
        }
        // A thread that is inside has counted itself: where nobody is, it need not be asked which it is.
        if self.common.callbacks.load(Ordering::Relaxed) > 0 && reentrancy::is_inside(self.address()) {
            return Err(reentrancy::reentrant());
        }
        Ok(())
    }

    /// Stands for the producer: a call from inside a callback of any of its slots is one from inside.
    fn address(&self) -> usize {
        Arc::as_ptr(&self.common).addr()
    }

    /// The error of a producer that does not run; `Ok` if it was resumed meanwhile.
    #[cold]
    pub(super) fn refuse(&self) -> Result<()> {
        // In a forked child the lock on the reason may be held for ever.
        if self.core().fork.is_forked() {
            return Err(buffer::forked());
        }
        self.lifecycle.refusal().map_or(Ok(()), Err)
    }

    /// As [`refuse`](Self::refuse), for calls that a stopped producer takes: only a closed one refuses them.
    pub(super) fn refuse_closed(&self) -> Result<()> {
        if self.core().fork.is_forked() || self.lifecycle.phase() == Phase::Closed { self.refuse() } else { Ok(()) }
    }

    /// Runs code of the user's. `None` if it panicked.
    pub(super) fn inside<T>(&self, callback: impl FnOnce() -> T) -> Option<T> {
        self.common.callbacks.fetch_add(1, Ordering::Relaxed);
        let result = reentrancy::run_inside(self.address(), callback);
        self.common.callbacks.fetch_sub(1, Ordering::Relaxed);
        result
    }

    #[inline]
    pub(super) fn notify(&self, event: &Event<'_>) {
        if let Some(observer) = &self.common.observer {
            // A panicking observer must not take the producer down with it.
            let _ = self.inside(|| observer(event));
        }
    }

    pub(super) fn report_recovery(&self) {
        let counts = &self.core().counts;
        let (records, torn_bytes) = (counts.recovered_records(), counts.torn_bytes());
        if records > 0 || torn_bytes > 0 {
            self.notify(&Event::Recovered { records, torn_bytes });
        }
    }

    /// Reports that a put waits for space, for at most so long.
    #[cold]
    pub(super) fn report_waiting(&self, timeout: Duration) {
        /// The least time between two reports: with a slow sink every put waits.
        const BETWEEN: Duration = Duration::from_secs(60);
        let milliseconds = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let now = self.core().env.clock.monotonic();
        let next = self.next_waiting.load(Ordering::Relaxed);
        if milliseconds(now) >= next {
            let after = milliseconds(now + BETWEEN);
            if self.next_waiting.compare_exchange(next, after, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
                self.notify(&Event::PutWaiting { timeout, pending: self.core().pending().0 });
            }
        }
    }

    pub(super) fn stop(&self, error: &Error) {
        self.lifecycle.stop(error);
        self.statistics.note_error(error);
        self.common.senders.ring();
        self.notify(&Event::Stopped { error });
    }

    #[cold]
    fn refuse_put(&self, error: Error) -> Error {
        self.statistics.count_refusal(&error);
        error
    }

    #[cold]
    fn refuse_append(&self, error: Error, refused: bool) -> Error {
        // The put may have sealed a batch before it found no room for the record.
        self.wake_sender();
        if refused { self.refuse_put(error) } else { error }
    }

    #[cold]
    fn admit_error(reason: String) -> Error {
        Error::new(ErrorKind::InvalidArgument, format!("the sink refuses this record: {reason}"))
    }

    pub(super) fn admit(&self, record: &NewRecord<'_>) -> Result<()> {
        match &self.common.sink {
            Some(sink) => sink.admit(record).map_err(Shared::admit_error),
            None => Ok(()),
        }
    }

    /// Puts a record that is a payload and nothing else, and waits for space as the options say.
    // Not into the caller: there remains the question whether the record is such a one, which mostly answers itself.
    #[inline(never)]
    pub(super) fn put_payload(&self, payload: &[u8]) -> Result<u64> {
        if self.puts_payloads && self.check().is_ok() {
            match self.core().put_payload(payload, |appended| self.wake_for(appended)) {
                Ok(Some(seq)) => return Ok(seq),
                Ok(None) => {}
                Err(error) => return Err(self.refuse_append(error, true)),
            }
        }
        let wait = self.core().options.put_timeout();
        self.put(&NewRecord::new(payload), Some(wait.into()), true)
    }

    /// Wakes a sender, if the put gave it something to do.
    #[inline]
    pub(super) fn wake_for(&self, appended: &Appended) {
        if appended.sealed || (appended.began && self.senders.idle.load(Ordering::Relaxed)) {
            self.wake_sender();
        }
    }

    /// Puts a record. `is_last`: the caller does not try again after `BufferFull`, so that it is a refused put.
    pub(super) fn put(&self, record: &NewRecord<'_>, wait: Option<Wait>, is_last: bool) -> Result<u64> {
        self.check().map_err(|error| self.refuse_put(error))?;
        if self.checks_records {
            self.admit(record).map_err(|error| self.refuse_put(error))?;
        }
        // A caller that tries again was not refused.
        let is_refused = |error: &Error| is_last || error.kind() != ErrorKind::BufferFull;
        let core = self.core();
        if core.options.mode == Mode::Inline {
            let put = self.put_inline(record, wait.unwrap_or(Duration::ZERO.into()));
            return put.map_err(|error| if is_refused(&error) { self.refuse_put(error) } else { error });
        }
        let appended = match core.put(record, wait) {
            Ok(appended) => appended,
            Err(error) => {
                let refused = is_refused(&error);
                return Err(self.refuse_append(error, refused));
            }
        };
        self.report_put(appended.seq, record);
        self.wake_for(&appended);
        Ok(appended.seq)
    }

    /// Reports a record in the log, if the observer wants that.
    #[inline]
    pub(super) fn report_put(&self, seq: u64, record: &NewRecord<'_>) {
        if self.reports_puts {
            self.notify(&Event::Put { seq, record: *record });
        }
    }
}
