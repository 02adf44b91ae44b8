//! Since when the sink has been unavailable or the log could not be read, and when that is said once more.

use std::time::Duration;

use crate::platform::lock;
use crate::platform::sync::Mutex;
use crate::platform::sync::atomic::{AtomicU64, Ordering};

/// How long an outage of the sink lasts before it is told of.
const LONG: Duration = Duration::from_secs(60);
/// The longest time until it is told of again.
const SELDOM: Duration = Duration::from_secs(3600);

/// Attempts in a row that found it so.
pub(super) struct Outage {
    /// How long it lasts before it is told of.
    patience: Duration,
    /// Microseconds since the epoch; 0: there is none.
    since: AtomicU64,
    course: Mutex<Course>,
}

#[derive(Clone, Copy, Default)]
struct Course {
    begin: Duration,
    attempts: u64,
    /// How long it has to last until it is told of.
    tell_at: Duration,
}

/// An outage that has lasted long enough to be told of.
pub(super) struct Lasting {
    pub(super) since: i64,
    pub(super) time: Duration,
    pub(super) attempts: u64,
}

impl Outage {
    /// One of the sink, which happens.
    pub(super) fn of_sink() -> Self {
        Outage { patience: LONG, since: AtomicU64::new(0), course: Mutex::default() }
    }

    /// One of the log, which should not: the first attempt that finds it so is told of.
    pub(super) fn of_log() -> Self {
        Outage { patience: Duration::ZERO, ..Outage::of_sink() }
    }

    /// An attempt has found the sink unavailable, or the log unreadable.
    pub(super) fn goes_on(&self, monotonic: Duration, wall: i64) -> Option<Lasting> {
        let mut course = lock(&self.course);
        if self.since.load(Ordering::Relaxed) == 0 {
            self.since.store(wall.max(1).cast_unsigned(), Ordering::Relaxed);
            *course = Course { begin: monotonic, attempts: 0, tell_at: self.patience };
        }
        course.attempts += 1;
        let time = monotonic.saturating_sub(course.begin);
        if time < course.tell_at {
            return None;
        }
        course.tell_at = (time + time.min(SELDOM)).max(LONG);
        Some(Lasting { since: self.since().cast_signed(), time, attempts: course.attempts })
    }

    /// An attempt has found it.
    pub(super) fn is_over(&self) {
        if self.since.load(Ordering::Relaxed) != 0 {
            let _course = lock(&self.course);
            self.since.store(0, Ordering::Relaxed);
        }
    }

    /// Since when, in microseconds since the epoch; 0 if it is not known to be so.
    pub(super) fn since(&self) -> u64 {
        self.since.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_told_of_after_a_minute_then_after_twice_that_and_at_last_every_hour() {
        let outage = Outage::of_sink();
        let minute = |minute: u64| Duration::from_secs(60 * minute);
        let told = |outage: &Outage, minutes: std::ops::Range<u64>| {
            let goes_on = |at: &u64| outage.goes_on(minute(*at), 7).is_some();
            minutes.filter(goes_on).collect::<Vec<_>>()
        };
        assert_eq!(told(&outage, 100..400), [101, 102, 104, 108, 116, 132, 164, 224, 284, 344]);
        let lasting = outage.goes_on(minute(1000), 8).unwrap();
        assert_eq!((lasting.since, lasting.time, lasting.attempts), (7, minute(900), 301));
        outage.is_over();
        assert_eq!(outage.since(), 0);
        assert_eq!(told(&outage, 2000..2003), [2001, 2002]);
        assert_eq!(told(&Outage::of_log(), 100..170), [100, 101, 102, 104, 108, 116, 132, 164]);
    }
}
