//! [`Schedule`]: how long to wait between attempts, and when to give up. It neither reads a clock nor waits.

use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};

/// Whether the waits are spread at random, so that many producers do not come back at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Jitter {
    /// The computed wait, exactly.
    None,
    /// Anything between `min` and the computed wait, evenly distributed.
    Full,
}

/// The waits, before jitter.
#[derive(Clone, Debug, PartialEq)]
enum Waits {
    /// `multiplier * base^(n-1)`, within `min..=max`.
    Exponential { base: f64, multiplier: Duration, min: Duration, max: Duration },
    /// The n-th of the list; the last repeats.
    List(Vec<Duration>),
}

/// An exponential-backoff schedule: the waits between attempts and the most attempts.
///
/// The default is base 2, multiplier 1 s, from 0 to 60 s, 10 attempts, full jitter.
///
/// ```
/// use std::time::Duration;
/// use unistream::{Jitter, Schedule};
/// let secs = Duration::from_secs;
/// let schedule = Schedule::exponential(2.0, secs(1), secs(0), secs(4)).unwrap()
///     .max_attempts(4)
///     .jitter(Jitter::None);
/// assert_eq!(schedule.wait(1, 0), secs(1));
/// assert_eq!(schedule.wait(2, 0), secs(2));
/// assert_eq!(schedule.wait(3, 0), secs(4));
/// assert!(schedule.is_exhausted(4));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    waits: Waits,
    max_attempts: u32,
    jitter: Jitter,
}

/// The longest wait a schedule may have: a day. Longer is a configuration error, not a backoff.
pub const MAX_WAIT: Duration = Duration::from_secs(24 * 60 * 60);

impl Default for Schedule {
    fn default() -> Self {
        Schedule {
            waits: Waits::Exponential {
                base: 2.0,
                multiplier: Duration::from_secs(1),
                min: Duration::ZERO,
                max: Duration::from_secs(60),
            },
            max_attempts: 10,
            jitter: Jitter::Full,
        }
    }
}

impl Schedule {
    /// Waits of `clamp(multiplier * base^(n-1), min, max)` after the n-th failed attempt.
    ///
    /// # Errors
    /// `InvalidArgument` unless `1 <= base <= 100`, `min <= max` and `max` is at most [`MAX_WAIT`].
    pub fn exponential(base: f64, multiplier: Duration, min: Duration, max: Duration) -> Result<Self> {
        let invalid = |message: String| Err(Error::new(ErrorKind::InvalidArgument, message));
        if !(1.0..=100.0).contains(&base) {
            return invalid(format!("schedule_base is {base}; it must be from 1 to 100"));
        }
        if min > max {
            return invalid(format!("schedule_min ({min:?}) is greater than schedule_max ({max:?})"));
        }
        if max > MAX_WAIT || multiplier > MAX_WAIT {
            return invalid(format!("schedule_max and schedule_multiplier may be at most {MAX_WAIT:?}"));
        }
        Ok(Schedule { waits: Waits::Exponential { base, multiplier, min, max }, ..Schedule::default() })
    }

    /// Explicit waits; the last one repeats.
    ///
    /// # Errors
    /// `InvalidArgument` if the list is empty or a wait is longer than [`MAX_WAIT`].
    pub fn list(waits: impl Into<Vec<Duration>>) -> Result<Self> {
        let waits = waits.into();
        if waits.is_empty() || waits.iter().any(|wait| *wait > MAX_WAIT) {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                format!("schedule_waits must have at least one wait, each at most {MAX_WAIT:?}"),
            ));
        }
        Ok(Schedule { waits: Waits::List(waits), ..Schedule::default() })
    }

    /// The most attempts at one batch; 0 means no limit. Default 10.
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.max_attempts = attempts;
        self
    }

    /// How the waits are spread. Default [`Jitter::Full`].
    pub fn jitter(mut self, jitter: Jitter) -> Self {
        self.jitter = jitter;
        self
    }

    /// The wait after `failures` failed attempts in a row (from 1 up). `random` is any evenly
    /// distributed number; only jitter looks at it.
    pub fn wait(&self, failures: u32, random: u64) -> Duration {
        let Some(nth) = failures.checked_sub(1) else { return Duration::ZERO };
        let (floor, wait) = match &self.waits {
            Waits::Exponential { base, multiplier, min, max } => {
                let factor = base.powi(i32::try_from(nth).unwrap_or(i32::MAX));
                // Infinity is more than `max`; a zero multiplier times infinity is NaN and means zero.
                let seconds = multiplier.as_secs_f64() * factor;
                let wait = if multiplier.is_zero() {
                    *min
                } else if seconds >= max.as_secs_f64() {
                    *max
                } else {
                    Duration::from_secs_f64(seconds).clamp(*min, *max)
                };
                (*min, wait)
            }
            Waits::List(waits) => {
                let last = waits.len() - 1;
                (Duration::ZERO, waits[usize::try_from(nth).map_or(last, |nth| nth.min(last))])
            }
        };
        match self.jitter {
            Jitter::None => wait,
            Jitter::Full => {
                let span = u64::try_from((wait - floor).as_nanos()).unwrap_or(u64::MAX);
                // span + 1 values, so that both ends can come up.
                let offset = (u128::from(random) * (u128::from(span) + 1)) >> 64;
                floor + Duration::from_nanos(u64::try_from(offset).unwrap_or(span))
            }
        }
    }

    /// Whether no further attempt follows after this many that counted.
    pub fn is_exhausted(&self, attempts: u32) -> bool {
        self.max_attempts != 0 && attempts >= self.max_attempts
    }

    /// The longest wait that [`wait`](Self::wait) can return.
    pub fn longest(&self) -> Duration {
        match &self.waits {
            Waits::Exponential { max, .. } => *max,
            Waits::List(waits) => waits.iter().copied().max().unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    fn exponential(base: f64, multiplier: f64, min: f64, max: f64) -> Schedule {
        Schedule::exponential(base, secs(multiplier), secs(min), secs(max)).unwrap()
    }

    /// The picture of the spec: attempts at t = 0, 1, 3 and 7.
    #[test]
    fn the_attempts_of_the_spec() {
        let schedule = exponential(2.0, 1.0, 0.0, 4.0).max_attempts(4).jitter(Jitter::None);
        let (mut now, mut attempts) = (Duration::ZERO, Vec::new());
        for failures in 1.. {
            attempts.push(now.as_secs());
            if schedule.is_exhausted(failures) {
                break;
            }
            now += schedule.wait(failures, 0);
        }
        assert_eq!(attempts, [0, 1, 3, 7]);
    }

    #[test]
    fn every_wait_is_the_formula_within_its_bounds() {
        let mut seen = 0;
        for base in [1.0, 1.01, 1.5, 2.0, 10.0, 100.0] {
            for multiplier in [0.0, 1e-6, 0.25, 1.0, 59.0, 86_400.0] {
                for (min, max) in [(0.0, 0.0), (0.0, 60.0), (1.0, 1.0), (0.5, 86_400.0), (86_400.0, 86_400.0)] {
                    let schedule = exponential(base, multiplier, min, max).jitter(Jitter::None);
                    let mut before = Duration::ZERO;
                    for failures in (1..=1100).chain([u32::MAX - 1, u32::MAX]) {
                        let wait = schedule.wait(failures, 7);
                        let exact = (multiplier * base.powf(f64::from(failures) - 1.0)).clamp(min, max);
                        // A zero times infinity is no number; there the wait is the shortest.
                        let exact = if multiplier == 0.0 { min } else { exact };
                        let error = (wait.as_secs_f64() - exact).abs();
                        assert!(error <= 1e-9 + exact * 1e-9, "{schedule:?} after {failures}: {wait:?} not {exact}");
                        assert!(wait >= before, "{schedule:?}: waits never shrink");
                        assert!(wait >= secs(min) && wait <= schedule.longest());
                        before = wait;
                        seen += 1;
                    }
                }
            }
        }
        assert_eq!(seen, 6 * 6 * 5 * 1102);
    }

    #[test]
    fn a_list_repeats_its_last() {
        let schedule = Schedule::list([secs(1.0), secs(2.0), secs(4.0)]).unwrap().jitter(Jitter::None);
        let waits: Vec<u64> = (1..=6).map(|failures| schedule.wait(failures, 0).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 4, 4, 4]);
        assert_eq!(schedule.wait(u32::MAX, 0), secs(4.0));
        // It need not rise.
        let schedule = Schedule::list([secs(5.0), secs(0.0)]).unwrap().jitter(Jitter::None);
        assert_eq!((schedule.wait(1, 0), schedule.wait(2, 0), schedule.longest()), (secs(5.0), secs(0.0), secs(5.0)));
    }

    #[test]
    fn full_jitter_is_even_between_the_shortest_and_the_computed_wait() {
        let steps = 1000u64;
        for schedule in [exponential(2.0, 1.0, 0.5, 60.0), Schedule::list([secs(1.0), secs(3.0)]).unwrap()] {
            let plain = schedule.clone().jitter(Jitter::None);
            let floor = if matches!(schedule.waits, Waits::List(_)) { Duration::ZERO } else { secs(0.5) };
            for failures in [1, 2, 5, 100] {
                let top = plain.wait(failures, 0);
                assert_eq!(schedule.wait(failures, 0), floor);
                assert_eq!(schedule.wait(failures, u64::MAX), top);
                let mut before = floor;
                for step in 0..=steps {
                    let wait = schedule.wait(failures, u64::MAX / steps * step);
                    let even = floor + (top - floor).mul_f64(step as f64 / steps as f64);
                    assert!(wait >= before && wait <= top);
                    assert!(wait.abs_diff(even) <= Duration::from_micros(1), "{wait:?} not {even:?}");
                    before = wait;
                }
            }
        }
        // Nothing to spread.
        let schedule = exponential(2.0, 0.0, 0.0, 0.0);
        assert_eq!((schedule.wait(3, 0), schedule.wait(3, u64::MAX)), (Duration::ZERO, Duration::ZERO));
    }

    #[test]
    fn before_any_failure_there_is_no_wait() {
        assert_eq!(exponential(2.0, 1.0, 5.0, 60.0).wait(0, u64::MAX), Duration::ZERO);
        assert_eq!(Schedule::list([secs(9.0)]).unwrap().wait(0, u64::MAX), Duration::ZERO);
    }

    #[test]
    fn the_last_attempt_is_the_last() {
        for most in [1, 2, 10, u32::MAX] {
            let schedule = Schedule::default().max_attempts(most);
            assert!(!schedule.is_exhausted(0) && !schedule.is_exhausted(most - 1));
            assert!(schedule.is_exhausted(most) && schedule.is_exhausted(u32::MAX));
        }
        assert!(!Schedule::default().max_attempts(0).is_exhausted(u32::MAX), "0 is no limit");
    }

    #[test]
    fn contradictions_are_refused() {
        let day = MAX_WAIT;
        let longer = day + Duration::from_nanos(1);
        for base in [0.0, 0.999, 100.001, f64::NAN, f64::INFINITY, -2.0] {
            assert!(Schedule::exponential(base, secs(1.0), secs(0.0), secs(1.0)).is_err(), "base {base}");
        }
        let parts = [(secs(1.0), secs(2.0), secs(1.0)), (longer, secs(0.0), day), (secs(1.0), secs(0.0), longer)];
        for (multiplier, min, max) in parts {
            let error = Schedule::exponential(2.0, multiplier, min, max).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        }
        assert!(Schedule::exponential(1.0, day, day, day).is_ok());
        assert!(Schedule::list([]).is_err() && Schedule::list([secs(1.0), longer]).is_err());
        assert!(Schedule::list([Duration::ZERO, day]).is_ok());
    }

    #[test]
    fn the_default_is_the_one_that_is_documented() {
        let schedule = exponential(2.0, 1.0, 0.0, 60.0).max_attempts(10).jitter(Jitter::Full);
        assert_eq!(schedule, Schedule::default());
        assert_eq!(schedule, crate::Options::default().schedule().unwrap());
    }
}
