//! Outages: since when the sink has taken nothing or the log could not be read, and when that is reported.
//!
//! An outage is reported when it begins, again after 1, 2, 4 ... minutes and then every hour, and when it is over. What
//! begins again within a minute is not reported until it has lasted for one, so that a sink which fails every other
//! batch does not fill a log.

use std::time::Duration;

use crate::platform::lock;
use crate::platform::sync::Mutex;
use crate::platform::sync::atomic::{AtomicU64, Ordering};

/// The time from the beginning to the first reminder, and the least time between two beginnings that are reported.
const MINUTE: Duration = Duration::from_secs(60);
/// The longest time between two reminders.
const HOUR: Duration = Duration::from_secs(3600);

/// Since when something has been so: microseconds since the epoch; 0: it is not so.
#[derive(Default)]
pub(super) struct Since(AtomicU64);

impl Since {
    pub(super) fn micros(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// It is so, since now unless it was so before. Returns whether it begins.
    pub(super) fn begin(&self, wall: i64) -> bool {
        self.0.compare_exchange(0, wall.max(1).cast_unsigned(), Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// It is not so. Returns since when it was, or 0.
    pub(super) fn end(&self) -> u64 {
        if self.micros() == 0 { 0 } else { self.0.swap(0, Ordering::Relaxed) }
    }
}

/// Attempts in a row that came to nothing.
#[derive(Default)]
pub(super) struct Outage {
    since: Since,
    course: Mutex<Course>,
}

#[derive(Clone, Copy, Default)]
struct Course {
    /// On the monotonic clock.
    begin: Duration,
    attempts: u64,
    /// How long the outage has to last until it is reported next.
    report_at: Duration,
    /// It has been reported, and so is its end.
    reported: bool,
    /// On the monotonic clock: a beginning before this is not reported.
    quiet_until: Duration,
}

/// What is reported of an outage.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct OutageReport {
    /// Microseconds since the epoch.
    pub(super) since: i64,
    pub(super) lasting: Duration,
    /// Attempts that came to nothing so far.
    pub(super) attempts: u64,
}

impl Outage {
    /// An attempt has come to nothing. Returns what is to be reported now, if anything is.
    pub(super) fn goes_on(&self, monotonic: Duration, wall: i64) -> Option<OutageReport> {
        let mut course = lock(&self.course);
        if self.since.begin(wall) {
            let quiet_until = course.quiet_until;
            let report_at = if monotonic < quiet_until { MINUTE } else { Duration::ZERO };
            *course = Course { begin: monotonic, attempts: 0, report_at, reported: false, quiet_until };
        }
        course.attempts += 1;
        let lasting = monotonic.saturating_sub(course.begin);
        if lasting < course.report_at {
            return None;
        }
        course.report_at = (lasting + lasting.min(HOUR)).max(MINUTE);
        course.reported = true;
        course.quiet_until = course.begin + MINUTE;
        Some(OutageReport { since: self.since().cast_signed(), lasting, attempts: course.attempts })
    }

    /// An attempt has gone well. Returns what is to be reported of the outage that this ends.
    #[inline]
    pub(super) fn is_over(&self, monotonic: impl FnOnce() -> Duration) -> Option<OutageReport> {
        if self.since() == 0 { None } else { self.end(monotonic()) }
    }

    #[cold]
    fn end(&self, monotonic: Duration) -> Option<OutageReport> {
        let course = lock(&self.course);
        // Another sender may have ended it.
        let since = self.since.end();
        let lasting = monotonic.saturating_sub(course.begin);
        let report = OutageReport { since: since.cast_signed(), lasting, attempts: course.attempts };
        (since != 0 && course.reported).then_some(report)
    }

    /// Since when, in microseconds since the epoch; 0 if there is none.
    pub(super) fn since(&self) -> u64 {
        self.since.micros()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minute(minute: u64) -> Duration {
        Duration::from_secs(60 * minute)
    }

    fn reported(outage: &Outage, minutes: std::ops::Range<u64>) -> Vec<u64> {
        minutes.filter(|at| outage.goes_on(minute(*at), 7).is_some()).collect()
    }

    #[test]
    fn an_outage_is_reported_at_its_beginning_then_after_twice_the_time_at_last_every_hour_and_at_its_end() {
        let outage = Outage::default();
        assert_eq!(outage.is_over(|| minute(99)), None);
        assert_eq!(reported(&outage, 100..400), [100, 101, 102, 104, 108, 116, 132, 164, 224, 284, 344]);
        let report = outage.goes_on(minute(1000), 8).unwrap();
        assert_eq!(report, OutageReport { since: 7, lasting: minute(900), attempts: 301 });
        let end = outage.is_over(|| minute(1001)).unwrap();
        assert_eq!(end, OutageReport { since: 7, lasting: minute(901), attempts: 301 });
        assert_eq!((outage.since(), outage.is_over(|| minute(1002))), (0, None));
        assert_eq!(reported(&outage, 2000..2003), [2000, 2001, 2002]);
    }

    #[test]
    fn what_begins_again_and_again_is_reported_once_a_minute() {
        let outage = Outage::default();
        let (mut begins, mut ends) = (Vec::new(), Vec::new());
        for second in 1000..1180 {
            let now = Duration::from_secs(second);
            begins.extend(outage.goes_on(now, 7).map(|_| second));
            ends.extend(outage.is_over(|| now).map(|_| second));
        }
        assert_eq!(begins, [1000, 1060, 1120]);
        assert_eq!(ends, begins, "who saw it begin sees it end");
        // One that stays is reported late, but is.
        let stays = (1121..1300).filter(|second| outage.goes_on(Duration::from_secs(*second), 7).is_some());
        assert_eq!(stays.collect::<Vec<_>>(), [1181, 1241]);
    }
}
