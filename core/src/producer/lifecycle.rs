//! Whether a producer runs, has stopped or is closed, and why it stopped.

use crate::error::{Error, ErrorKind};
use crate::platform::lock;
use crate::platform::sync::Mutex;
use crate::platform::sync::atomic::{AtomicU8, Ordering};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Phase {
    Running,
    /// An error has ended the sending, until `resume`.
    Stopped,
    Closed,
}

/// Running → stopped → running (`resume`) → closed, in which it stays.
pub(super) struct Lifecycle {
    phase: AtomicU8,
    /// Why it stopped. Whoever stops or resumes holds this lock, so that the phase and the reason belong together.
    reason: Mutex<Option<Error>>,
}

impl Lifecycle {
    pub(super) fn running() -> Self {
        Lifecycle { phase: AtomicU8::new(Phase::Running as u8), reason: Mutex::new(None) }
    }

    /// All that an ordinary `put` looks at.
    #[inline]
    pub(super) fn is_running(&self) -> bool {
        self.phase.load(Ordering::Relaxed) == Phase::Running as u8
    }

    pub(super) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            phase if phase == Phase::Running as u8 => Phase::Running,
            phase if phase == Phase::Stopped as u8 => Phase::Stopped,
            _ => Phase::Closed,
        }
    }

    /// The error that calls get of a producer that does not run; `None` if it does, or was resumed meanwhile.
    pub(super) fn refusal(&self) -> Option<Error> {
        let reason = lock(&self.reason);
        let reason = match self.phase() {
            Phase::Running => return None,
            Phase::Stopped => reason.clone(),
            Phase::Closed => None,
        };
        Some(reason.unwrap_or_else(|| Error::new(ErrorKind::Closed, "the producer is closed; open a new one")))
    }

    /// Stops a running producer; a closed one stays closed.
    pub(super) fn stop(&self, error: &Error) {
        let mut reason = lock(&self.reason);
        *reason = Some(error.clone());
        self.turn(Phase::Running, Phase::Stopped);
    }

    /// Lets a stopped producer run again; a closed one stays closed.
    pub(super) fn resume(&self) {
        let mut reason = lock(&self.reason);
        reason.take();
        self.turn(Phase::Stopped, Phase::Running);
    }

    pub(super) fn close(&self) {
        self.phase.store(Phase::Closed as u8, Ordering::Release);
    }

    fn turn(&self, from: Phase, to: Phase) {
        let _ = self.phase.compare_exchange(from as u8, to as u8, Ordering::AcqRel, Ordering::Relaxed);
    }
}
