//! How a put that waits for space learns that some was freed.

use std::sync::PoisonError;
use std::time::Duration;

use crate::platform::sync::atomic::{AtomicU64, Ordering};
use crate::platform::sync::{Condvar, MutexGuard};

#[derive(Default)]
pub(super) struct SpaceSignal {
    /// How often space was freed: a put that found none, and is about to wait, sees that it missed a notice.
    freed: AtomicU64,
    changed: Condvar,
}

impl SpaceSignal {
    /// Space was freed, or the log closed.
    pub(super) fn notify(&self) {
        self.freed.fetch_add(1, Ordering::Release);
        self.changed.notify_all();
    }

    /// How often that has happened.
    pub(super) fn count(&self) -> u64 {
        self.freed.load(Ordering::Acquire)
    }

    /// Waits for the next time, at most this long. The mutex of `guard` is free meanwhile.
    pub(super) fn wait<T>(&self, guard: MutexGuard<'_, T>, most: Duration) {
        drop(self.changed.wait_timeout(guard, most).unwrap_or_else(PoisonError::into_inner));
    }
}
