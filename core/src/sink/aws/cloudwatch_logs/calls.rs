//! From a batch to calls within the limits of the service.

use super::request::Event;
use crate::batch::Batch;
use crate::sink::Report;
use crate::sink::net::delivery::{Delivery, Outcomes, split};

// The limits of PutLogEvents:
// <https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutLogEvents.html>
// and <https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/cloudwatch_limits_cwl.html>.
pub(super) const MAX_EVENTS: usize = 10_000;
pub(super) const MAX_CALL_BYTES: u64 = 1_048_576;
/// A call may span 24 hours; this stays a millisecond below.
const MAX_SPAN_MS: i64 = 24 * 60 * 60 * 1000 - 1;

/// Sends the batch by `call`, in as many calls as it takes.
pub(super) fn deliver(batch: &Batch, call: &mut dyn FnMut(&[&Event<'_>]) -> Outcomes) -> Report {
    let mut delivery = Delivery::new(batch.len());
    let mut events = Vec::with_capacity(batch.len());
    for (index, record) in batch.iter().enumerate() {
        match Event::new(index, &record) {
            Ok(event) => events.push(event),
            Err(reason) => delivery.reject(index, reason),
        }
    }
    // Sort before splitting, so that events whose times alternate between two days make two calls, not one each.
    events.sort_by_key(|event| event.timestamp);
    let sorted: Vec<_> = events.iter().collect();
    for events in calls(&sorted) {
        if let Err(error) = delivery.send(events, call) {
            return delivery.finish(Some(error));
        }
    }
    delivery.finish(None)
}

/// Consecutive events, sorted by time, within the limits of a call.
fn calls<'e, 'a>(sorted: &'e [&'a Event<'a>]) -> Vec<&'e [&'a Event<'a>]> {
    split(
        sorted,
        |event| (1, event.bytes(), event.timestamp),
        |(count, bytes, first), event| {
            let grown = (count + 1, bytes + event.bytes(), *first);
            let fits = grown.0 <= MAX_EVENTS && grown.1 <= MAX_CALL_BYTES && event.timestamp - first <= MAX_SPAN_MS;
            Some(grown).filter(|_| fits)
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::NewRecord;
    use crate::sink::Outcome;

    const HOUR: i64 = 60 * 60 * 1000;

    /// Delivers events of these times (milliseconds) through a service that takes all; the calls' times.
    fn calls_of(times: &[i64]) -> Vec<Vec<i64>> {
        let batch = Batch::from_records(times.iter().map(|time| NewRecord::new(b"x").created_at(time * 1000)));
        let mut calls = Vec::new();
        let report = deliver(&batch, &mut |events| {
            calls.push(events.iter().map(|event| event.timestamp).collect());
            Ok(vec![Outcome::Delivered; events.len()])
        });
        assert!(report.is_delivered());
        calls
    }

    #[test]
    fn calls_are_sorted_by_time_and_stable() {
        assert_eq!(calls_of(&[3, 1, 2, 1]), [[1, 1, 2, 3]]);
        let batch = Batch::from_records(
            [("a", 2000), ("b", 1000), ("c", 2000), ("d", 1000)]
                .map(|(m, t)| NewRecord::new(m.as_bytes()).created_at(t)),
        );
        deliver(&batch, &mut |events| {
            assert_eq!(events.iter().map(|event| event.message).collect::<String>(), "bdac");
            Ok(vec![Outcome::Delivered; events.len()])
        });
    }

    #[test]
    fn no_call_spans_a_day() {
        assert_eq!(calls_of(&[0, 24 * HOUR - 1]), [vec![0, 24 * HOUR - 1]]);
        assert_eq!(calls_of(&[0, 24 * HOUR]), [vec![0], vec![24 * HOUR]]);
        let times = [20 * HOUR, 30 * HOUR, 7 * HOUR, 31 * HOUR, 40 * HOUR, 1];
        assert_eq!(calls_of(&times), [vec![1, 7 * HOUR, 20 * HOUR], vec![30 * HOUR, 31 * HOUR, 40 * HOUR]]);
    }

    /// The bug: events that alternated between two days cost a call each.
    #[test]
    fn events_that_alternate_between_two_days_make_two_calls() {
        let times: Vec<i64> = (0..100).map(|n| n % 2 * 30 * HOUR + n).collect();
        let calls = calls_of(&times);
        assert_eq!(calls.iter().map(Vec::len).collect::<Vec<_>>(), [50, 50]);
        assert!(calls.iter().all(|call| call.is_sorted()));
    }

    #[test]
    fn calls_keep_to_events_and_bytes() {
        let calls = calls_of(&vec![5; 10_001]);
        assert_eq!(calls.iter().map(Vec::len).collect::<Vec<_>>(), [10_000, 1]);
        // Two events and their overhead fill a call exactly; one byte more is one call more.
        let half = vec![b'x'; 1_048_576 / 2 - 26];
        let sizes = |records: [&[u8]; 3]| {
            let batch = Batch::from_records(records.map(NewRecord::new));
            let mut sizes = Vec::new();
            deliver(&batch, &mut |events| {
                sizes.push(events.len());
                Ok(vec![Outcome::Delivered; events.len()])
            });
            sizes
        };
        assert_eq!(sizes([&half, &half, b"x"]), [2, 1]);
        let more = [half.clone(), vec![b'x']].concat();
        assert_eq!(sizes([&half, &more, b"x"]), [1, 2]);
    }

    #[test]
    fn what_no_call_can_carry_is_rejected_alone() {
        let big = vec![b'x'; 1_000_001];
        let records: [&[u8]; 5] = [b"ok", b"\xff", b"", &big, b"ok"];
        let batch = Batch::from_records(records.map(NewRecord::new));
        let report = deliver(&batch, &mut |events| Ok(vec![Outcome::Delivered; events.len()]));
        let reasons: Vec<_> = report
            .exceptions()
            .map(|(index, outcome)| match outcome {
                Outcome::Rejected { reason } => (index, reason.clone()),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(reasons.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [1, 2, 3]);
        assert!(reasons[0].1.contains("UTF-8") && reasons[1].1.contains("empty") && reasons[2].1.contains("1000001"));
    }
}
