//! Datadog: logs.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::super::dialect::{CallLimits, Dialect, Entry, all_delivered};
use super::super::fields::Fields;
use super::super::status::Statuses;
use super::{check_text, joined, with_api};
use crate::error::Result;
use crate::record::{NewRecord, Record};
use crate::sink::net::delivery::Outcomes;
use crate::sink::net::http::Answer;
use crate::sink::net::invalid;

pub(super) struct Datadog {
    fields: Fields,
}

impl Datadog {
    pub(super) fn new(fields: Fields) -> Result<Self> {
        if fields.has("message") || fields.has("timestamp") {
            return Err(invalid("option fields: message and timestamp are the record's own"));
        }
        Ok(Datadog { fields })
    }
}

impl Dialect for Datadog {
    /// The limits: <https://docs.datadoghq.com/api/latest/logs/#send-logs>.
    fn limits(&self) -> CallLimits {
        CallLimits { records: 1000, bytes: 5_000_000, record_bytes: 1_000_000 }
    }

    fn content_type(&self) -> &'static str {
        "application/json"
    }

    fn authorization(&self) -> (&'static str, &'static str) {
        ("dd-api-key", "")
    }

    fn is_unordered(&self) -> bool {
        true
    }

    fn framing_bytes(&self) -> u64 {
        2
    }

    fn path(&self, path: &str) -> std::result::Result<String, String> {
        Ok(with_api(path, "/api/v2/logs"))
    }

    fn check(&self, record: &NewRecord<'_>) -> std::result::Result<(), String> {
        check_text(record.data, "Datadog")
    }

    fn piece<'a>(&self, record: &Record<'a>, id: &str) -> Cow<'a, [u8]> {
        let mut log: Map<String, Value> =
            self.fields.of(record, id).into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        log.insert("record_id".into(), id.into());
        log.insert("timestamp".into(), record.created_at.div_euclid(1000).into());
        log.insert("message".into(), String::from_utf8_lossy(record.data).into());
        Value::Object(log).to_string().into_bytes().into()
    }

    fn body(&self, entries: &[&Entry<'_>]) -> Vec<u8> {
        joined(entries, b"[", b",", b"]")
    }

    /// It answers with an object, also an empty one.
    fn is_own(&self, answer: &Answer) -> bool {
        let is_object = || serde_json::from_slice(&answer.body).is_ok_and(|body: Value| body.is_object());
        answer.body.trim_ascii().is_empty() || is_object()
    }

    fn delivered(&self, _: &Answer, entries: &[&Entry<'_>], _: &Statuses) -> Outcomes {
        all_delivered(entries)
    }
}
