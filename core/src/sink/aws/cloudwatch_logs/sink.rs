//! [`CloudWatchLogsSink`]: records into a stream of Amazon CloudWatch Logs.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{CloudWatchLogsOptions, cloudwatch_logs_setters};
use crate::batch::Batch;
use crate::error::Result;
use crate::record::{self, NewRecord};
use crate::sink::aws::client::Client;
use crate::sink::aws::connection::{Connection, connect, connection_setters};
use crate::sink::aws::service::Service;
use crate::sink::net::delivery::{Delivery, Item, Outcomes, split};
use crate::sink::net::failure::{CallError, Fault};
use crate::sink::net::http::{Answer, Connections};
use crate::sink::net::invalid;
use crate::sink::{Limits, Outcome, Report, SendError, Sink};

// The limits of PutLogEvents:
// <https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutLogEvents.html>
// and <https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/cloudwatch_limits_cwl.html>.
const MAX_EVENTS: usize = 10_000;
const MAX_CALL_BYTES: u64 = 1_048_576;
const EVENT_OVERHEAD: u64 = 26;
/// The lesser of what an event may be and of what leaves room for its overhead in a call.
const MAX_MESSAGE_BYTES: u64 = 1_000_000;
/// A call may span 24 hours; this stays a millisecond below.
const MAX_SPAN_MS: i64 = 24 * 60 * 60 * 1000 - 1;
/// An event may be this far ahead of the service's clock.
const MAX_AHEAD_MS: i64 = 2 * 60 * 60 * 1000;

/// Sends records as log events by `PutLogEvents`: the message is the payload, which must be UTF-8, and the
/// timestamp is `created_at` in milliseconds.
///
/// One call: 10,000 events, 1 MiB counting 26 bytes besides each message, 24 hours between its first and its last
/// event, sorted by time. A message: 1 to 1,000,000 bytes; others are refused at `put`. Batches are split into such
/// calls. Events that are not UTF-8, or that the service rejects as too old, expired or too new, become dead letters
/// with that reason; the others are delivered.
///
/// ```no_run
/// # fn main() -> unistream::Result<()> {
/// use unistream::sink::aws::CloudWatchLogsSink;
/// let sink = CloudWatchLogsSink::builder("/app/web", "host-1").create_if_missing(true).build()?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct CloudWatchLogsSink {
    target: Target,
    create_if_missing: bool,
    client: Client,
}

impl CloudWatchLogsSink {
    /// A sink for a log stream of a log group.
    pub fn builder(group: impl Into<String>, stream: impl Into<String>) -> CloudWatchLogsBuilder {
        let options =
            CloudWatchLogsOptions { group: group.into(), stream: stream.into(), ..CloudWatchLogsOptions::default() };
        CloudWatchLogsBuilder { options, connection: Connection::default() }
    }

    /// One call, and where group or stream are missing and may be made, another.
    fn put(&self, connections: &Connections, events: &[&Event<'_>]) -> Outcomes {
        let body = self.target.request(events);
        let mut answer = self.client.call(connections, PUT_LOG_EVENTS, &body);
        if self.create_if_missing && matches!(&answer, Err(error) if error.fault == Fault::NotFound) {
            self.create(connections)?;
            answer = self.client.call(connections, PUT_LOG_EVENTS, &body);
        }
        match answer {
            // An earlier call brought them, and its answer was lost.
            Err(error) if error.code.as_deref() == Some("DataAlreadyAcceptedException") => {
                Ok(vec![Outcome::Delivered; events.len()])
            }
            answer => outcomes(&answer?, events),
        }
    }

    /// Makes the stream, and the group if it too is missing. That someone else does the same is fine.
    fn create(&self, connections: &Connections) -> Result<(), CallError> {
        let create = |operation, body: &[u8]| match self.client.call(connections, operation, body) {
            Err(error) if error.fault != Fault::Exists => Err(error),
            _ => Ok(()),
        };
        let (group, stream) = (self.target.group_request(), self.target.stream_request());
        match create("CreateLogStream", &stream) {
            Err(error) if error.fault == Fault::NotFound => {
                create("CreateLogGroup", &group)?;
                create("CreateLogStream", &stream)
            }
            other => other,
        }
    }
}

/// Options of a [`CloudWatchLogsSink`] to be.
#[derive(Clone, Default)]
pub struct CloudWatchLogsBuilder {
    options: CloudWatchLogsOptions,
    connection: Connection,
}

impl CloudWatchLogsBuilder {
    /// With these options, and nothing besides.
    pub(super) fn of_options(options: CloudWatchLogsOptions) -> Self {
        CloudWatchLogsBuilder { options, ..Self::default() }
    }

    cloudwatch_logs_setters!();
    connection_setters!();

    /// Makes the sink. It calls nobody yet.
    ///
    /// # Errors
    /// `InvalidArgument` for an option, variable or profile that does not fit; `Io` if a file cannot be read.
    pub fn build(self) -> Result<CloudWatchLogsSink> {
        let CloudWatchLogsBuilder { options, connection } = self;
        let target = Target::parse(&options.group, &options.stream)?;
        let client = connect!(Service::CloudWatchLogs, options, connection);
        Ok(CloudWatchLogsSink { target, create_if_missing: options.create_if_missing, client })
    }
}

impl fmt::Debug for CloudWatchLogsBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CloudWatchLogsBuilder").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Sink for CloudWatchLogsSink {
    fn send(&self, batch: &Batch) -> Result<Report, SendError> {
        let connections = self.client.connections();
        Ok(deliver(batch, &mut |events| self.put(&connections, events)))
    }

    fn limits(&self) -> Limits {
        Limits {
            max_records: Some(MAX_EVENTS as u64),
            max_bytes: Some(MAX_CALL_BYTES),
            max_record_bytes: Some(MAX_MESSAGE_BYTES + EVENT_OVERHEAD),
            overhead_bytes: EVENT_OVERHEAD,
            counts_key: false,
            ordered: false,
            checks_records: true,
        }
    }

    fn admit(&self, record: &NewRecord<'_>) -> Result<(), String> {
        // What is too large the limits refuse.
        if record.data.is_empty() {
            return check_len(record.data);
        }
        record.created_at.map_or(Ok(()), |micros| timestamp(micros).map(|_| ()))
    }

    fn name(&self) -> Cow<'_, str> {
        Cow::Owned(format!("cloudwatch-logs:{}/{}", self.target.group, self.target.stream))
    }

    fn interrupt(&self) {
        self.client.interrupt();
    }
}

const PUT_LOG_EVENTS: &str = "PutLogEvents";

/// The log group and stream.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Target {
    group: String,
    stream: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    log_group_name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    log_stream_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    log_events: Option<&'a [&'a Event<'a>]>,
}

impl Target {
    /// Names are checked here, so that a refused call speaks of its events.
    fn parse(group: &str, stream: &str) -> Result<Self> {
        let in_group = |c: char| c.is_ascii_alphanumeric() || "_-/.#".contains(c);
        if !(1..=512).contains(&group.len()) || !group.chars().all(in_group) {
            return Err(invalid(format!(
                "{group:?} is not the name of a log group: 1 to 512 letters, digits, '_', '-', '/', '.' and '#'"
            )));
        }
        if !(1..=512).contains(&stream.chars().count()) || stream.contains([':', '*']) {
            return Err(invalid(format!(
                "{stream:?} is not the name of a log stream: 1 to 512 characters without ':' and '*'"
            )));
        }
        Ok(Target { group: group.into(), stream: stream.into() })
    }

    fn request(&self, events: &[&Event<'_>]) -> Vec<u8> {
        self.body(Some(&self.stream), Some(events))
    }

    fn stream_request(&self) -> Vec<u8> {
        self.body(Some(&self.stream), None)
    }

    fn group_request(&self) -> Vec<u8> {
        self.body(None, None)
    }

    fn body(&self, log_stream_name: Option<&str>, log_events: Option<&[&Event<'_>]>) -> Vec<u8> {
        let request = Request { log_group_name: &self.group, log_stream_name, log_events };
        serde_json::to_vec(&request).expect("text and numbers have a JSON form")
    }
}

/// A record as a call carries it.
#[derive(Debug, Serialize)]
struct Event<'a> {
    /// Milliseconds since the Unix epoch.
    timestamp: i64,
    message: &'a str,
    #[serde(skip)]
    index: usize,
}

impl<'a> Event<'a> {
    fn new(index: usize, record: &record::Record<'a>) -> Result<Self, String> {
        check_len(record.data)?;
        let message = std::str::from_utf8(record.data)
            .map_err(|error| format!("it is not UTF-8, as CloudWatch Logs demands: {error}"))?;
        Ok(Event { timestamp: timestamp(record.created_at)?, message, index })
    }

    fn bytes(&self) -> u64 {
        self.message.len() as u64 + EVENT_OVERHEAD
    }
}

impl Item for Event<'_> {
    fn index(&self) -> usize {
        self.index
    }
}

fn check_len(data: &[u8]) -> Result<(), String> {
    match data.len() as u64 {
        0 => Err("it is empty; CloudWatch Logs takes no empty event".into()),
        1..=MAX_MESSAGE_BYTES => Ok(()),
        bytes => Err(format!("it has {bytes} bytes; CloudWatch Logs takes {MAX_MESSAGE_BYTES}")),
    }
}

fn timestamp(micros: i64) -> Result<i64, String> {
    match micros.div_euclid(1000) {
        millis @ 0.. => Ok(millis),
        _ => Err("its time is before 1970; CloudWatch Logs takes no such event".into()),
    }
}

/// Sends the batch by `call`, in as many calls as it takes.
fn deliver(batch: &Batch, call: &mut dyn FnMut(&[&Event<'_>]) -> Outcomes) -> Report {
    let mut delivery = Delivery::new(batch.len());
    let mut events = Vec::with_capacity(batch.len());
    for (index, record) in batch.iter().enumerate() {
        match Event::new(index, &record) {
            Ok(event) => events.push(event),
            Err(reason) => delivery.reject(index, reason),
        }
    }
    // Sort before splitting: events whose times alternate between two days make two calls, not one each.
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

/// What an answer says about each event of the call: all are in, but for those that `rejectedLogEventsInfo` names
/// by their place among the sorted events.
///
/// Every member of the answer is optional, so that `{}` would say that all are in. A portal or a proxy can say that as well;
/// it is believed only with the header that every answer of AWS has.
fn outcomes(answer: &Answer, events: &[&Event<'_>]) -> Outcomes {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Body {
        next_sequence_token: Option<String>,
        rejected_log_events_info: Option<Rejected>,
        rejected_entity_info: Option<Map<String, Value>>,
        #[serde(flatten)]
        others: Map<String, Value>,
    }
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    struct Rejected {
        /// The first that is not: exclusive.
        too_old_log_event_end_index: Option<usize>,
        /// The first that is: inclusive.
        too_new_log_event_start_index: Option<usize>,
        /// The first that is not: exclusive.
        expired_log_event_end_index: Option<usize>,
    }
    let undocumented = |what: &dyn fmt::Display| CallError::undocumented(PUT_LOG_EVENTS, what);
    // Only an object will do: a structure could be read from an array as well.
    let object: Map<String, Value> = serde_json::from_slice(&answer.body).map_err(|error| undocumented(&error))?;
    let body: Body = serde_json::from_value(Value::Object(object)).map_err(|error| undocumented(&error))?;
    let documented = body.next_sequence_token.is_some()
        || body.rejected_log_events_info.is_some()
        || body.rejected_entity_info.is_some();
    if !documented && !(body.others.is_empty() && answer.header("x-amzn-requestid").is_some()) {
        return Err(undocumented(&"it has nothing that an answer to PutLogEvents has"));
    }
    let rejected = body.rejected_log_events_info.unwrap_or_default();
    let outcome = |(place, event): (usize, &&Event<'_>)| {
        let reason = if rejected.expired_log_event_end_index.is_some_and(|end| place < end) {
            "expired: it is older than the retention of the log group".into()
        } else if rejected.too_old_log_event_end_index.is_some_and(|end| place < end) {
            "too old: CloudWatch Logs takes events of the last 14 days, and of the log group's retention".into()
        } else if rejected.too_new_log_event_start_index.is_some_and(|start| place >= start) {
            let from = crate::time::timestamp(event.timestamp.saturating_sub(MAX_AHEAD_MS).saturating_mul(1000));
            format!("too new: its time is more than 2 hours ahead; a replay will pass from {from}")
        } else {
            return Outcome::Delivered;
        };
        Outcome::Rejected { reason }
    };
    Ok(events.iter().enumerate().map(outcome).collect())
}

/// What is made of any answer to a call of so many events.
#[cfg(feature = "torture")]
pub(in crate::sink::aws) fn fuzz(answer: &[u8], count: usize) -> Result<(), String> {
    let events: Vec<_> = (0..count).map(|index| Event { timestamp: index as i64, message: "m", index }).collect();
    let events: Vec<_> = events.iter().collect();
    match outcomes(&Answer::new(200, &[], answer), &events) {
        Ok(outcomes) if outcomes.len() != count => Err(format!("{} outcomes for {count} events", outcomes.len())),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::aws::Environment;

    const HOUR: i64 = 60 * 60 * 1000;

    fn sink() -> CloudWatchLogsSink {
        let builder = CloudWatchLogsSink::builder("g", "s").region("eu-west-1").environment(Environment::empty());
        builder.build().unwrap()
    }

    fn service(body: &[u8]) -> Answer {
        Answer::new(200, &[("x-amzn-requestid", b"1")], body)
    }

    fn nobody(body: &[u8]) -> Answer {
        Answer::new(200, &[], body)
    }

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
    fn names_are_checked() {
        Target::parse("/aws/lambda/x_y-z.#1", "2024/01/07[$LATEST]ä").unwrap();
        for (group, stream) in [("", "s"), ("g", ""), ("g g", "s"), ("g", "a:b"), ("g", "a*"), ("ä", "s")] {
            assert!(Target::parse(group, stream).is_err(), "{group} {stream}");
        }
        assert!(Target::parse(&"g".repeat(513), "s").is_err());
        assert_eq!(sink().name(), "cloudwatch-logs:g/s");
    }

    #[test]
    fn put_refuses_what_the_service_would() {
        let sink = sink();
        assert!(sink.admit(&NewRecord::new(b"")).unwrap_err().contains("empty"));
        assert_eq!(sink.limits().max_record_bytes, Some(1_000_026));
        assert!(sink.admit(&NewRecord::new(b"x").created_at(-1)).unwrap_err().contains("1970"));
        sink.admit(&NewRecord::new(b"x").created_at(0)).unwrap();
    }

    #[test]
    fn a_request_has_message_and_milliseconds() {
        let target = Target::parse("g", "s").unwrap();
        let event = Event { timestamp: 1_700_000_000_123, message: "a \"b\"\u{2028}\n\u{0}", index: 4 };
        let body: Value = serde_json::from_slice(&target.request(&[&event])).unwrap();
        let expected = serde_json::json!({"logGroupName": "g", "logStreamName": "s", "logEvents": [
            {"timestamp": 1_700_000_000_123_i64, "message": "a \"b\"\u{2028}\n\u{0}"},
        ]});
        assert_eq!(body, expected);
        assert_eq!(target.group_request(), br#"{"logGroupName":"g"}"#);
        assert_eq!(target.stream_request(), br#"{"logGroupName":"g","logStreamName":"s"}"#);
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

    /// Every combination of indices, within and beyond the events, against the definition.
    #[test]
    fn rejected_indices_are_exclusive_or_inclusive_as_documented() {
        let events: Vec<Event<'_>> = (0..4).map(|n| Event { timestamp: n, message: "x", index: n as usize }).collect();
        let events: Vec<&Event<'_>> = events.iter().collect();
        let values = [None, Some(0), Some(1), Some(3), Some(4), Some(9)];
        for old in values {
            for new in values {
                for expired in values {
                    let answer = serde_json::json!({"nextSequenceToken": "1", "rejectedLogEventsInfo": {
                        "tooOldLogEventEndIndex": old,
                        "tooNewLogEventStartIndex": new,
                        "expiredLogEventEndIndex": expired,
                    }});
                    let outcomes = outcomes(&service(answer.to_string().as_bytes()), &events).unwrap();
                    for (place, outcome) in outcomes.iter().enumerate() {
                        let expected = if expired.is_some_and(|end| place < end) {
                            Some("expired")
                        } else if old.is_some_and(|end| place < end) {
                            Some("too old")
                        } else if new.is_some_and(|start| place >= start) {
                            Some("too new")
                        } else {
                            None
                        };
                        match (outcome, expected) {
                            (Outcome::Delivered, None) => {}
                            (Outcome::Rejected { reason }, Some(prefix)) => assert!(reason.starts_with(prefix)),
                            other => panic!("{place} of {answer}: {other:?}"),
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn too_new_says_from_when_a_replay_passes() {
        let event = Event { timestamp: 1_704_612_701_482, message: "x", index: 0 };
        let answer = br#"{"rejectedLogEventsInfo":{"tooNewLogEventStartIndex":0}}"#;
        let outcome = outcomes(&service(answer), &[&event]).unwrap().remove(0);
        let Outcome::Rejected { reason } = outcome else { panic!("{outcome:?}") };
        assert!(reason.ends_with("from 2024-01-07T05:31:41.482000Z"), "{reason}");
    }

    #[test]
    fn indices_speak_of_the_sorted_call_but_outcomes_of_the_batch() {
        let times = [5, 1, 9, 3];
        let batch = Batch::from_records(times.map(|time| NewRecord::new(b"x").created_at(time * 1000)));
        let report = deliver(&batch, &mut |events| {
            let answer = br#"{"rejectedLogEventsInfo":{"tooOldLogEventEndIndex":1,"tooNewLogEventStartIndex":3}}"#;
            outcomes(&service(answer), events)
        });
        assert_eq!(report.exceptions().map(|(index, _)| index).collect::<Vec<_>>(), [1, 2]);
    }

    /// The bug: any 200 meant that all events were in, that of a captive portal too.
    #[test]
    fn an_answer_that_is_not_as_documented_says_nothing() {
        let event = Event { timestamp: 1, message: "x", index: 0 };
        let token = br#"{"nextSequenceToken":"1"}"#;
        for answer in [&token[..], br#"{"rejectedLogEventsInfo":{}}"#, br#"{"rejectedEntityInfo":{"errorType":"x"}}"#] {
            assert!(matches!(outcomes(&nobody(answer), &[&event]).unwrap()[..], [Outcome::Delivered]));
        }
        assert!(matches!(outcomes(&service(b"{}"), &[&event]).unwrap()[..], [Outcome::Delivered]));
        assert!(outcomes(&nobody(b"{}"), &[&event]).is_err());
        for answer in [
            &b""[..],
            b"<html>",
            b"[]",
            b"[1]",
            b"null",
            b"true",
            br#"["1",null,null]"#,
            br#"{"status":"ok"}"#,
            br#"{"message":"Forbidden"}"#,
            br#"{"rejectedLogEventsInfo":7}"#,
            br#"{"rejectedLogEventsInfo":{"tooOldLogEventEndIndex":-1}}"#,
            br#"{"nextSequenceToken":1}"#,
        ] {
            for answer in [service(answer), nobody(answer)] {
                let error = outcomes(&answer, &[&event]).unwrap_err();
                assert!(matches!(error.into_outcome(), Outcome::Unavailable { .. }), "{answer:?}");
            }
        }
    }
}
