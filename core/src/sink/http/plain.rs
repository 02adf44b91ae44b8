//! HTTP without a preset: records in the bodies that many services take, answered by a status or record by record.

use std::borrow::Cow;

use serde::Deserialize;
use ureq::http::HeaderMap;

use super::dialect::{
    CallLimits, Dialect, Entry, Request, add, add_of, all_delivered, check_headers, header_value, meaning_of_headers,
};
use super::envelope::{envelope, is_json, line};
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

    /// Many services of webhooks have their key in the path.
    fn hides_path(&self) -> bool {
        true
    }

    fn check(&self, record: &NewRecord<'_>) -> Result<(), String> {
        match (self.body, self.record) {
            (BodyForm::Single, _) => check_headers(record),
            (BodyForm::Ndjson | BodyForm::JsonArray, RecordForm::Payload) if !is_json(record.data) => Err(
                "its payload is not JSON, as a body of ndjson or json-array demands; record=envelope takes any bytes"
                    .into(),
            ),
            (BodyForm::Ndjson, RecordForm::Payload) if line(record.data).is_none() => {
                Err("its payload has line breaks, and a body of ndjson has one record a line".into())
            }
            _ => Ok(()),
        }
    }

    fn piece<'a>(&self, record: &Record<'a>, id: &str) -> Cow<'a, [u8]> {
        match (self.record, self.body) {
            (RecordForm::Payload, BodyForm::Ndjson) => Cow::Borrowed(line(record.data).unwrap_or(record.data)),
            (RecordForm::Payload, _) => Cow::Borrowed(record.data),
            (RecordForm::Envelope, _) => Cow::Owned(envelope(record, id)),
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
            AnswerForm::Records => by_record(&answer.body, entries, statuses),
        }
    }

    fn meaning(&self, answer: &Answer) -> Option<Meaning> {
        match (self.body, self.answer, answer.status) {
            (BodyForm::Single, ..) if answer.status == 431 => meaning_of_headers(answer),
            // Multi-Status: what became of each record stands in the body.
            (_, AnswerForm::Records, 207) => Some(Meaning::Delivered),
            _ => None,
        }
    }
}

/// What an answer says of each record: `{"records": [{"status": 201}, {"status": 422, "error": "no such field"}]}`, an
/// entry a record, in their order. An entry may have the record's `id`, which is then compared.
fn by_record(answer: &[u8], entries: &[&Entry<'_>], statuses: &Statuses) -> Outcomes {
    #[derive(Deserialize)]
    struct Body {
        records: Vec<Said>,
    }
    #[derive(Deserialize)]
    struct Said {
        status: u16,
        #[serde(default)]
        error: String,
        id: Option<String>,
    }
    let body: Body =
        serde_json::from_slice(answer).map_err(|error| CallError::undocumented(REQUEST, format_args!("{error}")))?;
    check_order(REQUEST, entries, body.records.iter().map(|said| said.id.as_deref()))?;
    let outcome = |Said { status, error, .. }: Said| {
        record_outcome(REQUEST, statuses.meaning(status), format!("status {status}: {}", brief(&error, 1000)))
    };
    Ok(body.records.into_iter().map(outcome).collect())
}

/// Checks that an answer speaks of every record of its request, and in their order, as far as it names them (`ids`).
///
/// # Errors
/// It says nothing about any.
pub(super) fn check_order<'a>(
    operation: &'static str,
    entries: &[&Entry<'_>],
    ids: impl ExactSizeIterator<Item = Option<&'a str>>,
) -> Result<(), CallError> {
    if ids.len() != entries.len() {
        let what = format_args!("it speaks of {} records, and the request has {}", ids.len(), entries.len());
        return Err(CallError::undocumented(operation, what));
    }
    match ids.zip(entries).find(|(id, entry)| id.is_some_and(|id| !is_same(id, &entry.id))) {
        Some((id, entry)) => {
            let what = format_args!("it speaks of {:?} in the place of {:?}", id.unwrap_or_default(), entry.id);
            Err(CallError::undocumented(operation, what))
        }
        None => Ok(()),
    }
}

/// Whether a service speaks of a record by its id, which stands there with stars where it has parts in common with a secret
/// path or another secret.
fn is_same(said: &str, id: &str) -> bool {
    said.len() == id.len() && said.bytes().zip(id.bytes()).all(|(said, own)| said == own || said == b'*')
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
    use crate::Batch;

    fn kinds(answer: &str, records: usize) -> Option<String> {
        let batch = Batch::from_records(["a", "b", "c", "d", "e", "f", "g"].map(|id| NewRecord::new(b"").id(id)));
        let entries: Vec<_> = (0..records).map(|index| Entry::new(index, batch.get(index).unwrap())).collect();
        let statuses = Statuses::parse("409=delivered", "").unwrap();
        let outcomes = by_record(answer.as_bytes(), &entries.iter().collect::<Vec<_>>(), &statuses).ok()?;
        let kind = |outcome: &Outcome| match outcome {
            Outcome::Delivered => 'd',
            Outcome::Failed { .. } => 'f',
            Outcome::Unavailable { .. } => 'u',
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

    #[test]
    fn an_answer_in_another_order_says_nothing() {
        let of = |first: &str, second: &str| {
            let answer =
                format!(r#"{{"records": [{{"status": 200, "id": "{first}"}}, {{"status": 422, "id": "{second}"}}]}}"#);
            kinds(&answer, 2)
        };
        assert_eq!(of("a", "b").unwrap(), "dr");
        assert_eq!((of("b", "a"), of("a", "a")), (None, None));
    }
}
