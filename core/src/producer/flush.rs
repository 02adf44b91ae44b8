//! Waiting until what was put is finished.

use std::time::Duration;

use super::Shared;
use super::lifecycle::Phase;
use super::statistics::Head;
use crate::buffer;
use crate::error::{Error, ErrorKind, Result};
use crate::options::Mode;
use crate::platform::lock;
use crate::platform::sync::{Condvar, Mutex};

/// Wakes the threads in `flush` when a batch is finished or the producer ends.
#[derive(Default)]
pub(super) struct Finished {
    lock: Mutex<()>,
    changed: Condvar,
}

impl Finished {
    /// Lets all waiting threads check again.
    pub(super) fn notify(&self) {
        let _guard = lock(&self.lock);
        self.changed.notify_all();
    }

    /// Waits for the next notification unless `is_done` already. May return early; the caller checks again.
    fn wait(&self, timeout: Duration, is_done: impl FnOnce() -> bool) {
        let guard = lock(&self.lock);
        if !is_done() {
            drop(self.changed.wait_timeout(guard, timeout));
        }
    }
}

impl Shared {
    pub(super) fn begin_flush(&self) -> Result<u64> {
        let core = self.core();
        if core.fork.is_forked() {
            return Err(buffer::forked());
        }
        let point = core.next_seq();
        // If sealing fails (a full disk), what is sealed already is still sent.
        let _ = core.seal();
        self.wake_sender();
        Ok(point)
    }

    pub(super) fn wait_flushed(&self, target: u64, timeout: Duration) -> Result<()> {
        let core = self.core();
        let clock = &*core.env.clock;
        let deadline = clock.monotonic().saturating_add(timeout);
        loop {
            if core.committed_seq() >= target {
                return Ok(());
            }
            if self.lifecycle.phase() != Phase::Running {
                self.refuse()?;
            }
            let left = deadline.saturating_sub(clock.monotonic());
            if left.is_zero() {
                return Err(self.late());
            }
            if core.options.mode == Mode::Inline {
                // `send_one` also skips what an earlier run had finished, which moves `committed_seq`.
                if let Some(pause) = self.send_one()?
                    && core.committed_seq() < target
                {
                    clock.sleep(pause.min(left).min(Duration::from_millis(50)));
                }
            } else {
                self.finished.wait(left.min(Duration::from_millis(100)), || core.committed_seq() >= target);
            }
        }
    }

    /// Says how much is left and, where something holds it up, what.
    #[cold]
    fn late(&self) -> Error {
        let mut message = format!("{} records are not delivered yet; they stay in the buffer", self.core().pending().0);
        if self.unreadable.since() != 0 || self.statistics.head() != Head::Clear {
            message.push_str("; the last error: ");
            message.push_str(&self.statistics.last_error());
        }
        Error::new(ErrorKind::Timeout, message)
    }
}
