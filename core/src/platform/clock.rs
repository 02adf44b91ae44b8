//! The clock: wall time for records, monotonic time for waits.

use std::ops::Deref;
#[cfg(any(test, feature = "torture"))]
use std::sync::Arc;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use super::sync::thread;

/// Tells the time and waits.
pub(crate) trait Clock: Send + Sync {
    /// Microseconds since the epoch, UTC. The resolution is about 4 ms, because every `put` reads it and the coarse clock is
    /// the cheapest.
    fn wall(&self) -> i64;
    /// Time that never jumps and goes on while the machine is suspended. Waits are measured by it.
    fn monotonic(&self) -> Duration;
    /// Waits about this long.
    fn sleep(&self, time: Duration);
}

/// The clock that the engine is given: the operating system's, which is called directly because every `put` reads it. Tests and
/// proofs bring their own.
#[derive(Clone)]
pub(crate) enum EngineClock {
    System,
    #[cfg(any(test, feature = "torture"))]
    Other(Arc<dyn Clock>),
}

impl EngineClock {
    /// As [`Clock::wall`], called directly, because every `put` reads it.
    #[inline(always)]
    pub(crate) fn wall(&self) -> i64 {
        match self {
            EngineClock::System => SystemClock.wall(),
            #[cfg(any(test, feature = "torture"))]
            EngineClock::Other(clock) => clock.wall(),
        }
    }
}

impl Deref for EngineClock {
    type Target = dyn Clock;

    fn deref(&self) -> &Self::Target {
        match self {
            EngineClock::System => &SystemClock,
            #[cfg(any(test, feature = "torture"))]
            EngineClock::Other(clock) => &**clock,
        }
    }
}

/// The operating system's clock.
pub(crate) struct SystemClock;

impl Clock for SystemClock {
    #[inline(always)]
    fn wall(&self) -> i64 {
        let now = clock_gettime(ClockId::RealtimeCoarse);
        now.tv_sec * 1_000_000 + i64::from(now.tv_nsec as u32 / 1000)
    }

    fn monotonic(&self) -> Duration {
        let now = clock_gettime(ClockId::Boottime);
        Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec as u32)
    }

    fn sleep(&self, time: Duration) {
        thread::sleep(time);
    }
}
