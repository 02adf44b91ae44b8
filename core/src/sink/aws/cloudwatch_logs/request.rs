//! The bodies of `PutLogEvents`, and of the calls that make the log stream and the log group.

use serde::Serialize;

use crate::error::Result;
use crate::record;
use crate::sink::net::delivery::Item;
use crate::sink::net::invalid;

/// What the service counts for an event besides its message.
pub(super) const EVENT_OVERHEAD: u64 = 26;
/// The lesser of what an event may be and of what leaves room for its overhead in a call.
pub(super) const MAX_MESSAGE_BYTES: u64 = 1_000_000;
pub(super) const PUT_LOG_EVENTS: &str = "PutLogEvents";

/// The log group and stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) group: String,
    pub(super) stream: String,
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
    /// Checks the names, so that a call that is refused later is refused because of its events.
    pub(super) fn parse(group: &str, stream: &str) -> Result<Self> {
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

    pub(super) fn request(&self, events: &[&Event<'_>]) -> Vec<u8> {
        self.body(Some(&self.stream), Some(events))
    }

    pub(super) fn stream_request(&self) -> Vec<u8> {
        self.body(Some(&self.stream), None)
    }

    pub(super) fn group_request(&self) -> Vec<u8> {
        self.body(None, None)
    }

    fn body(&self, log_stream_name: Option<&str>, log_events: Option<&[&Event<'_>]>) -> Vec<u8> {
        let request = Request { log_group_name: &self.group, log_stream_name, log_events };
        serde_json::to_vec(&request).expect("text and numbers have a JSON form")
    }
}

/// A record as a call carries it.
#[derive(Debug, Serialize)]
pub(super) struct Event<'a> {
    /// Milliseconds since the Unix epoch.
    pub(super) timestamp: i64,
    pub(super) message: &'a str,
    #[serde(skip)]
    pub(super) index: usize,
}

impl<'a> Event<'a> {
    pub(super) fn new(index: usize, record: &record::Record<'a>) -> Result<Self, String> {
        check_len(record.data)?;
        let message = std::str::from_utf8(record.data)
            .map_err(|error| format!("it is not UTF-8, as CloudWatch Logs demands: {error}"))?;
        Ok(Event { timestamp: timestamp(record.created_at)?, message, index })
    }

    pub(super) fn bytes(&self) -> u64 {
        self.message.len() as u64 + EVENT_OVERHEAD
    }
}

impl Item for Event<'_> {
    fn index(&self) -> usize {
        self.index
    }
}

pub(super) fn check_len(data: &[u8]) -> Result<(), String> {
    match data.len() as u64 {
        0 => Err("it is empty; CloudWatch Logs takes no empty event".into()),
        1..=MAX_MESSAGE_BYTES => Ok(()),
        bytes => Err(format!("it has {bytes} bytes; CloudWatch Logs takes {MAX_MESSAGE_BYTES}")),
    }
}

pub(super) fn timestamp(micros: i64) -> Result<i64, String> {
    match micros.div_euclid(1000) {
        millis @ 0.. => Ok(millis),
        _ => Err("its time is before 1970; CloudWatch Logs takes no such event".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        Target::parse("/aws/lambda/x_y-z.#1", "2024/01/07[$LATEST]ä").unwrap();
        for (group, stream) in [("", "s"), ("g", ""), ("g g", "s"), ("g", "a:b"), ("g", "a*"), ("ä", "s")] {
            assert!(Target::parse(group, stream).is_err(), "{group} {stream}");
        }
        assert!(Target::parse(&"g".repeat(513), "s").is_err());
    }

    #[test]
    fn a_request_has_message_and_milliseconds() {
        let target = Target::parse("g", "s").unwrap();
        let event = Event { timestamp: 1_700_000_000_123, message: "a \"b\"\u{2028}\n\u{0}", index: 4 };
        let body: serde_json::Value = serde_json::from_slice(&target.request(&[&event])).unwrap();
        let expected = serde_json::json!({"logGroupName": "g", "logStreamName": "s", "logEvents": [
            {"timestamp": 1_700_000_000_123_i64, "message": "a \"b\"\u{2028}\n\u{0}"},
        ]});
        assert_eq!(body, expected);
        assert_eq!(target.group_request(), br#"{"logGroupName":"g"}"#);
        assert_eq!(target.stream_request(), br#"{"logGroupName":"g","logStreamName":"s"}"#);
    }
}
