//! What the log's thread does beside the log, once a second: it looks whether somebody asks something.

use std::sync::OnceLock;
use std::time::Duration;

use super::engine::Core;
use crate::platform::sync::atomic::{AtomicU64, Ordering};

/// The time between two ticks.
const TICK: Duration = Duration::from_secs(1);
/// The same while there is something to do at each, and how often it may come to nothing until the long one is back.
const SOON: Duration = Duration::from_millis(20);
const SOON_TICKS: u64 = 50;

/// What is done at a tick. It says whether there was something to do.
type Work = Box<dyn Fn() -> bool + Send + Sync>;

/// When the next tick is. Without work there is none, and the thread sleeps for as long as the log has nothing to do.
#[derive(Default)]
pub(crate) struct Tick {
    work: OnceLock<Work>,
    /// In milliseconds on the monotonic clock.
    next: AtomicU64,
    soon: AtomicU64,
}

impl Core {
    /// Begins to tick. The log's thread may sleep already, without end because there was nothing to tick for.
    pub(crate) fn begin_ticks(&self, work: impl Fn() -> bool + Send + Sync + 'static) {
        let _ = self.tick.work.set(Box::new(work));
        self.signal.wake();
    }

    /// What the log's thread does: the log's work, and what is due at a tick. Returns how long there is nothing to do.
    pub(super) fn run_thread(&self) -> Option<Duration> {
        let wait = self.run_maintenance();
        let Some(work) = self.tick.work.get() else { return wait };
        let milliseconds = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let now = milliseconds(self.env.clock.monotonic());
        let next = self.tick.next.load(Ordering::Relaxed);
        let mut left = Duration::from_millis(next.saturating_sub(now));
        if left.is_zero() {
            let soon = if work() { SOON_TICKS } else { self.tick.soon.load(Ordering::Relaxed).saturating_sub(1) };
            self.tick.soon.store(soon, Ordering::Relaxed);
            left = if soon > 0 { SOON } else { TICK };
            self.tick.next.store(now + milliseconds(left), Ordering::Relaxed);
        }
        Some(wait.map_or(left, |wait| wait.min(left)))
    }
}
