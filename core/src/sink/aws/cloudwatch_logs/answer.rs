//! From an answer to `PutLogEvents` to the outcome of each event.

use std::fmt;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::request::{Event, PUT_LOG_EVENTS};
use crate::sink::Outcome;
use crate::sink::net::delivery::Outcomes;
use crate::sink::net::failure::CallError;
use crate::sink::net::http::Answer;

/// An event may be this far ahead of the service's clock.
const MAX_AHEAD_MS: i64 = 2 * 60 * 60 * 1000;

/// What an answer says about each event of the call: all are in, but for those that `rejectedLogEventsInfo` names
/// by their place among the sorted events.
///
/// Every member of the answer is optional, so that `{}` means that all are in. A portal or a proxy can answer `{}` as well, so
/// it counts only with the header that every answer of AWS has.
pub(super) fn outcomes(answer: &Answer, events: &[&Event<'_>]) -> Outcomes {
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
    // Parse an object first: a structure could be read from an array as well.
    let object: Map<String, Value> = serde_json::from_slice(&answer.body).map_err(|error| undocumented(&error))?;
    let body: Body = serde_json::from_value(Value::Object(object)).map_err(|error| undocumented(&error))?;
    let documented = body.next_sequence_token.is_some()
        || body.rejected_log_events_info.is_some()
        || body.rejected_entity_info.is_some()
        || body.others.is_empty() && answer.header("x-amzn-requestid").is_some();
    if !documented {
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
    use super::super::calls::deliver;
    use super::*;
    use crate::batch::Batch;
    use crate::record::NewRecord;

    fn service(body: &[u8]) -> Answer {
        Answer::new(200, &[("x-amzn-requestid", b"1")], body)
    }

    fn nobody(body: &[u8]) -> Answer {
        Answer::new(200, &[], body)
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
                assert!(matches!(error.into_outcome(), Outcome::Unavailable { .. }));
            }
        }
    }
}
