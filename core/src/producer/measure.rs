//! Measures: how long calls to the sink take, and how much goes in and out in a second.

use std::collections::VecDeque;
use std::time::Duration;

use crate::platform::lock;
use crate::platform::sync::Mutex;
use crate::platform::sync::atomic::{AtomicU64, Ordering};
use crate::stats::{Metric, Stats};

/// The longest call of each bucket, in milliseconds: those of the table of counters.
const BOUNDS: [u64; 12] = [1, 5, 10, 50, 100, 500, 1_000, 5_000, 10_000, 30_000, 60_000, u64::MAX];

/// How long calls took.
#[derive(Default)]
pub(super) struct Latency {
    /// Calls that fall into each bucket and into none before it.
    calls: [AtomicU64; BOUNDS.len()],
    micros: AtomicU64,
}

/// The counters of the buckets.
fn buckets() -> impl Iterator<Item = (&'static str, u64)> {
    Stats::default().metrics().filter_map(|(name, _, metric, _)| match metric {
        Metric::Bucket(most) => Some((name, most)),
        _ => None,
    })
}

impl Latency {
    /// Counts a call.
    pub(super) fn add(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let at = BOUNDS.iter().position(|most| micros <= most.saturating_mul(1000)).unwrap_or(BOUNDS.len() - 1);
        self.calls[at].fetch_add(1, Ordering::Relaxed);
        self.micros.fetch_add(micros, Ordering::Relaxed);
    }

    pub(super) fn fill(&self, stats: &mut Stats) {
        let mut sum = 0;
        for ((name, _), calls) in buckets().zip(&self.calls) {
            sum += calls.load(Ordering::Relaxed);
            stats.set(name, sum);
        }
        stats.sink_micros = self.micros.load(Ordering::Relaxed);
    }
}

/// How far back a rate looks, in samples that are about a second apart.
const SAMPLES: usize = 10;

/// What went in and out until a time: records and bytes put, records and bytes delivered.
type Sample = (Duration, [u64; 4]);

/// How much goes in and out.
#[derive(Default)]
pub(super) struct Rates(Mutex<VecDeque<Sample>>);

impl Rates {
    /// Notes how far it is.
    pub(super) fn note(&self, now: Duration, sofar: [u64; 4]) {
        let mut samples = lock(&self.0);
        // The ticks come faster while somebody asks.
        if samples.back().is_none_or(|(last, _)| now >= *last + Duration::from_millis(900)) {
            if samples.len() == SAMPLES {
                samples.pop_front();
            }
            samples.push_back((now, sofar));
        }
    }

    /// How much there was in a second, since the oldest sample.
    pub(super) fn per_second(&self, now: Duration, sofar: [u64; 4]) -> [u64; 4] {
        let Some((since, before)) = lock(&self.0).front().copied() else { return [0; 4] };
        // The first moments say nothing yet.
        let elapsed = now.saturating_sub(since).max(Duration::from_secs(1)).as_secs_f64();
        let mut rates = [0; 4];
        for (rate, (now, before)) in rates.iter_mut().zip(sofar.into_iter().zip(before)) {
            *rate = (now.saturating_sub(before) as f64 / elapsed).ceil() as u64;
        }
        rates
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_in_the_bucket_of_their_length_and_all_longer_ones() {
        assert!(BOUNDS.is_sorted());
        assert_eq!(buckets().map(|(_, most)| most).collect::<Vec<_>>(), BOUNDS);
        assert_eq!(buckets().last(), Some(("sink_calls", u64::MAX)));
        let latency = Latency::default();
        for micros in [0, 1000, 1001, 7_000, 999_999, 1_000_000, 61_000_000] {
            latency.add(Duration::from_micros(micros));
        }
        latency.add(Duration::MAX);
        let mut stats = Stats::default();
        latency.fill(&mut stats);
        assert_eq!((stats.sink_calls_1_ms, stats.sink_calls_5_ms, stats.sink_calls_10_ms), (2, 3, 4));
        assert_eq!(
            (stats.sink_calls_500_ms, stats.sink_calls_1_s, stats.sink_calls_60_s, stats.sink_calls),
            (4, 6, 6, 8)
        );
    }

    #[test]
    fn a_rate_is_that_of_the_last_ten_seconds() {
        let rates = Rates::default();
        let second = Duration::from_secs;
        assert_eq!(rates.per_second(second(5), [9; 4]), [0; 4]);
        for at in 0..30 {
            rates.note(second(at), [at * at, 0, 5, at]);
            rates.note(second(at) + Duration::from_millis(20), [u64::MAX; 4]);
        }
        // From 400 at 20 s to 900 at 30 s.
        assert_eq!(rates.per_second(second(30), [900, 1, 5, 30]), [50, 1, 0, 1]);
        // A clock that stands still, and what counts backwards, are no division by zero and no huge number.
        assert_eq!(rates.per_second(second(20), [399, 0, 5, 20]), [0; 4]);
    }
}
