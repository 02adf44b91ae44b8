//! Closing, and going on after a stop.

use std::time::Duration;

use super::lifecycle::Phase;
use super::{Inner, Producer, Shared};
use crate::error::{Error, ErrorKind, Result};
use crate::platform::lock;
use crate::platform::sync::Mutex;
use crate::platform::sync::atomic::{AtomicBool, Ordering};

/// How far the end has come.
#[derive(Default)]
pub(super) struct Ending {
    /// The senders are to end.
    begun: AtomicBool,
    /// The sink was interrupted: what fails from now on says nothing of the batch.
    interrupted: AtomicBool,
    /// Records that the first call of `close` left in the buffer.
    left: Mutex<Option<u64>>,
}

impl Ending {
    pub(super) fn begin(&self) {
        self.begun.store(true, Ordering::Release);
    }

    pub(super) fn has_begun(&self) -> bool {
        self.begun.load(Ordering::Acquire)
    }

    pub(super) fn interrupt(&self) {
        self.interrupted.store(true, Ordering::Release);
    }

    pub(super) fn was_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Acquire)
    }

    fn set_left(&self, records: u64) {
        *lock(&self.left) = Some(records);
    }

    /// Records that were left, once `close` has returned or is about to.
    pub(super) fn left(&self) -> Option<u64> {
        *lock(&self.left)
    }
}

impl Shared {
    /// Gives up the own slot, and those that were adopted.
    pub(super) fn close_slots(&self) -> Result<()> {
        let closed = self.buffer.close();
        if let Some(household) = &self.household {
            household.close(closed.is_ok());
        }
        closed
    }

    /// Lets a stopped slot go on with a fresh round of attempts, and a running one try now what waits.
    pub(super) fn go_on(&self) -> Result<()> {
        if self.lifecycle.phase() == Phase::Running {
            self.core().make_due()?;
        } else {
            self.core().reset_attempts(|_| true)?;
            self.lifecycle.resume();
        }
        self.wake_sender();
        Ok(())
    }
}

impl Producer {
    /// Flushes for at most `timeout`, then closes. Returns how many records are left on disk; the next producer on
    /// the buffer sends them. Closing again returns the same number.
    ///
    /// # Errors
    /// What the producer had stopped with; `Io` or `DiskFull` from the last sync; `Timeout` if the sink does not return from a
    /// call even after [`Sink::interrupt`](crate::Sink::interrupt): the buffer is then released when it does. The producer is
    /// closed in all of them. An attempt that fails once the sink was interrupted counts nothing.
    pub fn close(&self, timeout: Duration) -> Result<u64> {
        let Some(inner) = self.here_if_used()? else {
            // A forked child that has not used it has nothing to close.
            self.inner().shared.lifecycle.close();
            return Ok(0);
        };
        inner.shared.check_caller()?;
        let closed = inner.close(timeout);
        // With no lock held, and once what was left is known to stay.
        inner.shared.report_closed();
        closed
    }

    /// Goes on after a stop, with a fresh round of attempts. In a running producer, batches that wait for their next
    /// attempt, whatever the schedule or the sink's `retry_after` says, may go out now; their attempts stay counted. In
    /// inline mode the next `put` or `flush` sends, in manual mode [`next_batch`](Self::next_batch) has them.
    ///
    /// # Errors
    /// `Closed`; `DiskFull` or `Io` if the fresh round could not be noted.
    pub fn resume(&self) -> Result<()> {
        let shared = &*self.here()?.shared;
        shared.refuse_closed()?;
        shared.check_caller()?;
        shared.go_on()?;
        shared.household.as_ref().map_or(Ok(()), |household| household.resume())
    }
}

impl Inner {
    fn close(&self, timeout: Duration) -> Result<u64> {
        let shared = &*self.shared;
        let mut senders = lock(&self.senders);
        if let Some(left) = shared.common.ending.left() {
            return Ok(left);
        }
        let flushed = match shared.lifecycle.phase() {
            Phase::Running => shared.begin_flush().and_then(|point| shared.wait_flushed(point, timeout)),
            _ => shared.check(),
        };
        shared.lifecycle.close();
        shared.common.ending.begin();
        shared.wake_sender();
        shared.finished.notify();
        let note_left = || {
            let left = shared.core().pending().0;
            shared.common.ending.set_left(left);
            left
        };
        if !shared.wait_for_senders(&senders) {
            // The threads keep the buffer until the sink returns, and the last of them closes it. That thread first
            // lowers `living` and then looks for `left`; here `left` is set first and then `living` read: so at least one
            // of the two closes the buffer.
            let left = note_left();
            if shared.common.senders.living.load(Ordering::SeqCst) == 0 {
                let _ = shared.close_slots();
            }
            senders.clear();
            return Err(Error::new(
                ErrorKind::Timeout,
                format!("the sink has not returned from its call; {left} records are left on disk"),
            ));
        }
        for sender in senders.drain(..) {
            sender.join();
        }
        let closed = shared.close_slots();
        // Count after closing: until then a concurrent put may still be accepted.
        let left = note_left();
        match flushed {
            // Running out of time is no error of `close`: the number says what is left.
            Err(error) if !matches!(error.kind(), ErrorKind::Timeout | ErrorKind::Closed) => Err(error),
            _ => closed.map(|()| left),
        }
    }
}
