//! Splunk: the HTTP Event Collector.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::super::dialect::{CallLimits, Dialect, Entry, all_delivered};
use super::super::envelope::{is_json, quote};
use super::super::fields::Fields;
use super::super::status::{Meaning, Statuses};
use super::{check_text, joined, with_api};
use crate::error::Result;
use crate::record::{NewRecord, Record};
use crate::sink::net::delivery::Outcomes;
use crate::sink::net::failure::CallError;
use crate::sink::net::http::Answer;
use crate::sink::net::invalid;

const EVENT: &str = "HEC";

/// What an event has besides itself; other fields are indexed ones.
const OF_THE_EVENT: &[&str] = &["host", "index", "source", "sourcetype"];

pub(super) struct Splunk {
    fields: Fields,
}

impl Splunk {
    pub(super) fn new(fields: Fields) -> Result<Self> {
        if fields.has("time") || fields.has("event") {
            return Err(invalid("option fields: time and event are the record's own"));
        }
        Ok(Splunk { fields })
    }
}

#[derive(Deserialize)]
struct Said {
    code: u32,
}

fn code(answer: &Answer) -> Option<u32> {
    serde_json::from_slice(&answer.body).ok().map(|said: Said| said.code)
}

impl Dialect for Splunk {
    /// A request is 1 MB by default (`max_content_length` of `limits.conf`) on older versions and in the cloud.
    fn limits(&self) -> CallLimits {
        CallLimits { records: 10_000, bytes: 1_000_000, record_bytes: 1_000_000 }
    }

    fn content_type(&self) -> &'static str {
        "application/json"
    }

    fn authorization(&self) -> (&'static str, &'static str) {
        ("authorization", "Splunk ")
    }

    fn framing_bytes(&self) -> u64 {
        1
    }

    fn path(&self, path: &str) -> Result<String, String> {
        Ok(with_api(path, "/services/collector/event"))
    }

    fn check(&self, record: &NewRecord<'_>) -> Result<(), String> {
        check_text(record.data, "Splunk")?;
        match record.data.trim_ascii().is_empty() {
            true => Err("its payload is blank, and an event of Splunk is not".into()),
            false => Ok(()),
        }
    }

    fn piece<'a>(&self, record: &Record<'a>, id: &str) -> Cow<'a, [u8]> {
        let (seconds, micros) = (record.created_at.div_euclid(1_000_000), record.created_at.rem_euclid(1_000_000));
        let mut piece = format!("{{\"time\":{seconds}.{micros:06}").into_bytes();
        let mut indexed = Map::from_iter([("record_id".to_owned(), Value::from(id))]);
        for (name, value) in self.fields.of(record, id) {
            if OF_THE_EVENT.contains(&name) {
                piece.extend_from_slice(format!(",\"{name}\":").as_bytes());
                quote(&value, &mut piece);
            } else {
                indexed.insert(name.into(), value.into());
            }
        }
        piece.extend_from_slice(format!(",\"fields\":{},\"event\":", Value::Object(indexed)).as_bytes());
        match is_json(record.data) {
            true => piece.extend_from_slice(record.data),
            false => quote(&String::from_utf8_lossy(record.data), &mut piece),
        }
        piece.push(b'}');
        piece.into()
    }

    fn body(&self, entries: &[&Entry<'_>]) -> Vec<u8> {
        joined(entries, b"", b"\n", b"")
    }

    fn delivered(&self, answer: &Answer, entries: &[&Entry<'_>], _: &Statuses) -> Outcomes {
        match code(answer) {
            Some(0) => all_delivered(entries),
            _ => Err(CallError::undocumented(EVENT, "no code 0")),
        }
    }

    /// The codes: <https://docs.splunk.com/Documentation/Splunk/latest/Data/TroubleshootHTTPEventCollector>.
    fn meaning(&self, answer: &Answer) -> Option<Meaning> {
        Some(match (answer.status, code(answer)?) {
            (413, _) => Meaning::Split,
            // No data, bad format, a wrong index, an event missing or blank, fields that are none.
            (400, 5..=7 | 12 | 13 | 15) => Meaning::Split,
            (200, 0) => return None,
            // The token, the channel, acknowledgement, the queues of the server.
            _ => Meaning::Unavailable,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes() {
        let splunk = Splunk::new(Fields::default()).unwrap();
        for (status, code, meaning) in [
            (400, 6, Some(Meaning::Split)),
            (400, 7, Some(Meaning::Split)),
            (400, 12, Some(Meaning::Split)),
            (400, 10, Some(Meaning::Unavailable)),
            (400, 14, Some(Meaning::Unavailable)),
            (403, 4, Some(Meaning::Unavailable)),
            (503, 9, Some(Meaning::Unavailable)),
            (413, 27, Some(Meaning::Split)),
            (200, 0, None),
        ] {
            let body = format!("{{\"text\":\"x\",\"code\":{code}}}");
            assert_eq!(splunk.meaning(&Answer::new(status, &[], body.as_bytes())), meaning, "{status} {code}");
        }
        assert!(splunk.delivered(&Answer::new(200, &[], b"{}"), &[], &Statuses::default()).is_err());
        assert!(Splunk::new(Fields::parse("time=now").unwrap()).is_err());
    }
}
