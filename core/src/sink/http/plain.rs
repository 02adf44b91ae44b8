//! HTTP without a preset: records in the bodies that many services take, answered by a status or record by record.

use std::borrow::Cow;

use serde::Deserialize;
use ureq::http::HeaderMap;

use super::dialect::{CallLimits, Dialect, Entry, Request, add, add_of, all_delivered, header_value};
use super::envelope::{envelope, is_json};
use super::options::{AnswerForm, BodyForm, RecordForm};
use super::status::{Meaning, Statuses};
use crate::record::{NewRecord, Record};
use crate::sink::Outcome;
use crate::sink::net::delivery::Outcomes;
use crate::sink::net::failure::{CallError, Fault};
use crate::sink::net::http::Answer;
use crate::sink::net::redact::brief;
use crate::time::timestamp;

/// The name of requests in messages about answers.
const REQUEST: &str = "HTTP";

/// A service that takes records in a plain body.
#[derive(Debug)]
pub(super) struct Plain {
    pub(super) body: BodyForm,
    pub(super) record: RecordForm,
    pub(super) answer: AnswerForm,
}

impl Dialect for Plain {
    fn limits(&self) -> CallLimits {
        let records = if self.body == BodyForm::Single { 1 } else { 10_000 };
        CallLimits { records, bytes: 10 << 20, record_bytes: 10 << 20 }
    }

    fn content_type(&self) -> &'static str {
        match (self.body, self.record) {
            (BodyForm::Ndjson, _) => "application/x-ndjson",
            (BodyForm::JsonArray, _) | (BodyForm::Single, RecordForm::Envelope) => "application/json",
            (BodyForm::LengthPrefixed | BodyForm::Single, _) => "application/octet-stream",
        }
    }

    fn framing_bytes(&self) -> u64 {
        match self.body {
            BodyForm::Ndjson => 1,
            // A comma, and the brackets if it is alone.
            BodyForm::JsonArray => 2,
            BodyForm::LengthPrefixed => 4,
            BodyForm::Single => 0,
        }
    }

    fn check(&self, record: &NewRecord<'_>) -> Result<(), String> {
        match (self.body, self.record) {
            (BodyForm::Ndjson | BodyForm::JsonArray, RecordForm::Payload) if !is_json(record.data) => Err(
                "its payload is not JSON, as a body of ndjson or json-array demands; record=envelope takes any bytes"
                    .into(),
            ),
            (BodyForm::Ndjson, RecordForm::Payload) if record.data.iter().any(|byte| matches!(byte, b'\n' | b'\r')) => {
                Err("its payload has line breaks, and a body of ndjson has one record a line".into())
            }
            _ => Ok(()),
        }
    }

    fn piece<'a>(&self, record: &Record<'a>, id: &str) -> Cow<'a, [u8]> {
        match self.record {
            RecordForm::Payload => Cow::Borrowed(record.data),
            RecordForm::Envelope => Cow::Owned(envelope(record, id)),
        }
    }

    fn body(&self, entries: &[&Entry<'_>]) -> Vec<u8> {
        let bytes: usize = entries.iter().map(|entry| entry.piece.len() + 4).sum();
        let mut body = Vec::with_capacity(bytes + 2);
        for entry in entries {
            match self.body {
                BodyForm::Ndjson | BodyForm::Single => {}
                BodyForm::JsonArray => body.push(if body.is_empty() { b'[' } else { b',' }),
                // No piece is longer than max_call_bytes, which is at most 1 GiB.
                BodyForm::LengthPrefixed => body.extend_from_slice(&(entry.piece.len() as u32).to_le_bytes()),
            }
            body.extend_from_slice(&entry.piece);
            if self.body == BodyForm::Ndjson {
                body.push(b'\n');
            }
        }
        if self.body == BodyForm::JsonArray {
            body.push(b']');
        }
        body
    }

    /// What is known of a record that has a request of its own.
    fn headers(&self, request: &Request<'_>, headers: &mut HeaderMap) {
        if let (BodyForm::Single, [entry]) = (self.body, request.entries) {
            add(headers, "x-record-id", header_value(&entry.id));
            add(headers, "x-record-time", header_value(&timestamp(entry.record.created_at)));
            if let Some(key) = entry.record.key {
                add(headers, "x-record-key", header_value(&String::from_utf8_lossy(key)));
            }
            if let Some(topic) = entry.record.topic {
                add(headers, "x-record-topic", header_value(topic));
            }
            add_of(&entry.record, headers);
        }
    }

    fn delivered(&self, answer: &Answer, entries: &[&Entry<'_>], statuses: &Statuses) -> Outcomes {
        match self.answer {
            AnswerForm::Status => all_delivered(entries),
            AnswerForm::Records => by_record(&answer.body, entries.len(), statuses),
        }
    }
}

/// What an answer says of each record: `{"records": [{"status": 201}, {"status": 422, "error": "no such field"}]}`, an
/// entry a record, in their order.
fn by_record(answer: &[u8], records: usize, statuses: &Statuses) -> Outcomes {
    #[derive(Deserialize)]
    struct Body {
        records: Vec<Said>,
    }
    #[derive(Deserialize)]
    struct Said {
        status: u16,
        #[serde(default)]
        error: String,
    }
    let body: Body =
        serde_json::from_slice(answer).map_err(|error| CallError::undocumented(REQUEST, format_args!("{error}")))?;
    if body.records.len() != records {
        let what = format_args!("{} entries for {records} records", body.records.len());
        return Err(CallError::undocumented(REQUEST, what));
    }
    let outcome = |Said { status, error }: Said| {
        record_outcome(REQUEST, statuses.meaning(status), format!("status {status}: {}", brief(&error, 1000)))
    };
    Ok(body.records.into_iter().map(outcome).collect())
}

/// What becomes of one record that the service speaks of by itself.
pub(super) fn record_outcome(operation: &'static str, meaning: Meaning, message: String) -> Outcome {
    let failed = |fault| CallError { operation, fault, code: None, message: message.clone() }.into_outcome();
    match meaning {
        Meaning::Delivered => Outcome::Delivered,
        Meaning::Unavailable => failed(Fault::UNAVAILABLE),
        Meaning::Failed => failed(Fault::Failed),
        Meaning::Rejected | Meaning::Split => Outcome::Rejected { reason: format!("{operation}: {message}") },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(answer: &str, records: usize) -> Option<String> {
        let outcomes = by_record(answer.as_bytes(), records, &Statuses::parse("409=delivered", "").unwrap()).ok()?;
        let kind = |outcome: &Outcome| match outcome {
            Outcome::Delivered => 'd',
            Outcome::Unavailable { .. } => 'u',
            Outcome::Failed { .. } => 'f',
            Outcome::Rejected { .. } => 'r',
        };
        Some(outcomes.iter().map(kind).collect())
    }

    #[test]
    fn answers_record_by_record() {
        let answer = r#"{"took": 3, "records": [{"status": 201}, {"status": 429, "error": "busy"}, {"status": 422},
            {"status": 413}, {"status": 418}, {"status": 409}, {"status": 500}]}"#;
        assert_eq!(kinds(answer, 7).unwrap(), "durrfdu");
        assert_eq!(kinds(answer, 6), None);
        for bad in ["", "[]", "{}", "<html>", r#"{"records": [{}]}"#, r#"{"records": [{"status": "200"}]}"#] {
            assert_eq!(kinds(bad, 1), None, "{bad}");
        }
        assert_eq!(kinds(r#"{"records": [{"status": 200, "more": 1}]}"#, 1).unwrap(), "d");
    }
}
