//! Inline mode: the thread that puts, or waits for a flush, sends too.

use std::time::Duration;

use super::Shared;
use super::lifecycle::Phase;
use crate::buffer::{self, Taken, Wait};
use crate::error::{ErrorKind, Result};
use crate::event::Event;
use crate::record::NewRecord;

impl Shared {
    pub(super) fn put_inline(&self, record: &NewRecord<'_>, wait: Wait) -> Result<u64> {
        let core = self.core();
        let clock = &*core.env.clock;
        let deadline = clock.monotonic().saturating_add(wait.slice);
        let mut reported = false;
        let appended = loop {
            match core.put(record, Some(Duration::ZERO.into())) {
                Err(error) if error.kind() == ErrorKind::BufferFull => {
                    if wait.whole.is_zero() {
                        return Err(error);
                    }
                    // Sending makes room: try it even if the slice is zero.
                    let sent = self.send_one()?;
                    let left = deadline.saturating_sub(clock.monotonic());
                    if let Some(pause) = sent {
                        if !std::mem::replace(&mut reported, true) {
                            self.report_waiting(wait.whole);
                        }
                        if left.is_zero() {
                            return Err(error);
                        }
                        clock.sleep(pause.min(left).min(Duration::from_millis(50)));
                    }
                }
                result => break result?,
            }
        };
        self.report_put(appended.seq, record);
        match self.send_one() {
            Ok(_) => Ok(appended.seq),
            Err(error) => Err(error.with_record_accepted(true)),
        }
    }

    /// Sends one batch if it is due, else returns how long to wait.
    ///
    /// # Errors
    /// The one that stopped the producer.
    pub(super) fn send_one(&self) -> Result<Option<Duration>> {
        const NOTHING: Duration = Duration::from_millis(50);
        // Another thread is sending; this one has nothing to do.
        let Ok(_turn) = self.inline.try_lock() else { return Ok(Some(Duration::from_millis(1))) };
        let core = self.core();
        let linger = core.seal_if_old().unwrap_or(None);
        match self.take(true) {
            Ok(Taken::Batch(batch)) => {
                self.send(batch);
                if core.fork.is_forked() {
                    return Err(buffer::forked());
                }
                // A failed attempt is no error of this call: the schedule sees to the next one. Only a stop is.
                if self.lifecycle.phase() == Phase::Stopped {
                    self.refuse()?;
                }
                Ok(None)
            }
            Ok(Taken::Wait { ready_at, attempts }) => {
                self.on_hold(ready_at, attempts);
                Ok(Some(ready_at.saturating_sub(core.env.clock.monotonic())))
            }
            Ok(Taken::Later(ready_at)) => Ok(Some(ready_at.saturating_sub(core.env.clock.monotonic()))),
            // The slots of others have their turn when there is nothing of one's own.
            Ok(Taken::Nothing) if self.household.as_ref().is_some_and(|household| household.turn(self).is_none()) => {
                if core.fork.is_forked() {
                    Err(buffer::forked())
                } else {
                    Ok(None)
                }
            }
            Ok(Taken::Nothing) => {
                self.notify(&Event::ShouldNotEmit);
                Ok(Some(linger.map_or(NOTHING, |due| due.saturating_sub(core.env.clock.monotonic()))))
            }
            Err(_) => Ok(Some(NOTHING)),
        }
    }
}
