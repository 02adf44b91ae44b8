//! How long to wait between attempts, and when to give up. Pure: no clock, no I/O.

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
