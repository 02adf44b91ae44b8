//! OpenTelemetry: logs by OTLP/HTTP, in protobuf or JSON.

use std::borrow::Cow;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::super::dialect::{CallLimits, Dialect, Entry, all_delivered};
use super::super::fields::Fields;
use super::super::status::Statuses;
use super::otlp_wire::{Field, Message, fields};
use super::with_api;
use crate::record::{NewRecord, Record};
use crate::sink::net::delivery::Outcomes;
use crate::sink::net::encode::hex;
use crate::sink::net::failure::{CallError, Fault};
use crate::sink::net::http::Answer;
use crate::sink::net::redact::brief;

const EXPORT: &str = "OTLP";
const SCOPE: &str = "unistream";

pub(super) struct Otlp {
    pub(super) fields: Fields,
    /// Otherwise protobuf.
    pub(super) json: bool,
}

impl Dialect for Otlp {
    /// Collectors take 4 MiB over gRPC and 20 MiB over HTTP by default; backends behind them often less.
    fn limits(&self) -> CallLimits {
        CallLimits { records: 10_000, bytes: 3 << 20, record_bytes: 3 << 20 }
    }

    fn content_type(&self) -> &'static str {
        if self.json { "application/json" } else { "application/x-protobuf" }
    }

    /// A record's tag and length, and at most the resource that it may be alone in.
    fn framing_bytes(&self) -> u64 {
        128
    }

    fn is_unordered(&self) -> bool {
        true
    }

    fn extra_bytes(&self, record: &Record<'_>, id: &str) -> u64 {
        self.fields.json_bytes(record, id)
    }

    fn path(&self, path: &str) -> Result<String, String> {
        Ok(with_api(path, "/v1/logs"))
    }

    fn check(&self, _: &NewRecord<'_>) -> Result<(), String> {
        Ok(())
    }

    fn piece<'a>(&self, record: &Record<'a>, id: &str) -> Cow<'a, [u8]> {
        let nanos = u64::try_from(record.created_at).unwrap_or(0).saturating_mul(1000);
        let text = std::str::from_utf8(record.data);
        if self.json {
            let body = match text {
                Ok(text) => json!({"stringValue": text}),
                Err(_) => json!({"bytesValue": BASE64_STANDARD.encode(record.data)}),
            };
            let attribute = |(key, value): (&str, Cow<'_, str>)| json!({"key": key, "value": {"stringValue": value}});
            let attributes: Vec<_> = attributes(record, id).into_iter().map(attribute).collect();
            let nanos = nanos.to_string();
            let mut log =
                json!({"timeUnixNano": nanos, "observedTimeUnixNano": nanos, "body": body, "attributes": attributes});
            if let Some((trace, span)) = trace(record) {
                (log["traceId"], log["spanId"]) = (hex(&trace).into(), hex(&span).into());
            }
            return log.to_string().into_bytes().into();
        }
        let body = Message::default().bytes(if text.is_ok() { 1 } else { 7 }, record.data);
        let mut log = Message::default().fixed64(1, nanos).bytes(5, &body.0);
        for (name, value) in attributes(record, id) {
            log = log.attribute(6, name, &value);
        }
        if let Some((trace, span)) = trace(record) {
            log = log.bytes(9, &trace).bytes(10, &span);
        }
        log.fixed64(11, nanos).0.into()
    }

    fn body(&self, entries: &[&Entry<'_>]) -> Vec<u8> {
        let mut resources: Vec<(Vec<(&str, String)>, Vec<&[u8]>)> = Vec::new();
        for entry in entries {
            let resource = self.fields.of(&entry.record, &entry.id);
            match resources.iter_mut().find(|(known, _)| *known == resource) {
                Some((_, logs)) => logs.push(&entry.piece),
                None => resources.push((resource, vec![&entry.piece])),
            }
        }
        if self.json { json_body(&resources) } else { protobuf_body(&resources) }
    }

    fn delivered(&self, answer: &Answer, entries: &[&Entry<'_>], _: &Statuses) -> Outcomes {
        let partial = if self.json { json_partial(&answer.body) } else { protobuf_partial(&answer.body) };
        match partial {
            Some((0, _)) => all_delivered(entries),
            // Which ones it does not say, so that they are found by sending fewer.
            Some((rejected, why)) => {
                let message = brief(&format!("{rejected} records rejected: {why}"), 1000);
                Err(CallError { operation: EXPORT, fault: Fault::Refused, code: None, message })
            }
            None => Err(CallError::undocumented(EXPORT, "it is no ExportLogsServiceResponse")),
        }
    }
}

/// The id, and the headers.
fn attributes<'a>(record: &Record<'a>, id: &'a str) -> Vec<(&'a str, Cow<'a, str>)> {
    let headers = record.headers.iter().map(|(name, value)| (name, String::from_utf8_lossy(value)));
    std::iter::once(("log.record.uid", Cow::Borrowed(id))).chain(headers).collect()
}

/// The ids of trace and span in the header `traceparent`: <https://www.w3.org/TR/trace-context/#traceparent-header>.
fn trace(record: &Record<'_>) -> Option<([u8; 16], [u8; 8])> {
    let text = std::str::from_utf8(record.headers.get("traceparent")?).ok()?;
    let mut parts = text.split('-').skip(1);
    let (trace, span) = (parts.next()?, parts.next()?);
    if trace.len() != 32 || span.len() != 16 {
        return None;
    }
    Some((u128::from_str_radix(trace, 16).ok()?.to_be_bytes(), u64::from_str_radix(span, 16).ok()?.to_be_bytes()))
}

fn protobuf_body(resources: &[(Vec<(&str, String)>, Vec<&[u8]>)]) -> Vec<u8> {
    let mut request = Message::default();
    for (attributes, logs) in resources {
        let resource = attributes.iter().fold(Message::default(), |all, (key, value)| all.attribute(1, key, value));
        let scope = Message::default().bytes(1, SCOPE.as_bytes());
        let scope_logs = logs.iter().fold(Message::default().bytes(1, &scope.0), |all, log| all.bytes(2, log));
        let resource_logs = Message::default().bytes(1, &resource.0).bytes(2, &scope_logs.0);
        request = request.bytes(1, &resource_logs.0);
    }
    request.0
}

fn json_body(resources: &[(Vec<(&str, String)>, Vec<&[u8]>)]) -> Vec<u8> {
    let mut body = b"{\"resourceLogs\":[".to_vec();
    for (nth, (attributes, logs)) in resources.iter().enumerate() {
        let attribute = |(key, value): &(&str, String)| json!({"key": key, "value": {"stringValue": value}});
        let resource = json!({"attributes": attributes.iter().map(attribute).collect::<Vec<_>>()});
        let between = if nth == 0 { "" } else { "," };
        let head = format!(
            "{between}{{\"resource\":{resource},\"scopeLogs\":[{{\"scope\":{{\"name\":\"{SCOPE}\"}},\"logRecords\":["
        );
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(&logs.join(&b','));
        body.extend_from_slice(b"]}]}");
    }
    body.extend_from_slice(b"]}");
    body
}

/// How many records were rejected, and why.
fn protobuf_partial(body: &[u8]) -> Option<(u64, String)> {
    let mut said = (0, String::new());
    for (number, field) in fields(body)? {
        let (1, Field::Bytes(partial)) = (number, field) else { continue };
        for (number, field) in fields(partial)? {
            match (number, field) {
                (1, Field::Number(rejected)) => said.0 = rejected,
                (2, Field::Bytes(message)) => said.1 = String::from_utf8_lossy(message).into_owned(),
                _ => {}
            }
        }
    }
    Some(said)
}

fn json_partial(body: &[u8]) -> Option<(u64, String)> {
    let answer: Value = serde_json::from_slice(body).ok().filter(Value::is_object)?;
    let partial = &answer["partialSuccess"];
    let rejected = match &partial["rejectedLogRecords"] {
        Value::Null => 0,
        // 64-bit numbers are text in protobuf's JSON.
        Value::String(text) => text.parse().ok()?,
        other => other.as_u64()?,
    };
    Some((rejected, partial["errorMessage"].as_str().unwrap_or_default().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partial_success() {
        let message = Message::default().bytes(1, &[8, 0xac, 2, 18, 2, b'n', b'o']).0;
        assert_eq!(protobuf_partial(&message), Some((300, "no".into())));
        assert_eq!(protobuf_partial(b""), Some((0, String::new())));
        for bad in [&b"\x0a"[..], b"\x0a\x05x", b"<html>", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"] {
            assert_eq!(protobuf_partial(bad), None, "{bad:?}");
        }
        let json = br#"{"partialSuccess": {"rejectedLogRecords": "2", "errorMessage": "no"}}"#;
        assert_eq!(json_partial(json), Some((2, "no".into())));
        assert_eq!(json_partial(b"{}"), Some((0, String::new())));
        assert_eq!(json_partial(br#"{"partialSuccess": {}}"#), Some((0, String::new())));
        assert_eq!((json_partial(b""), json_partial(b"[]"), json_partial(b"<html>")), (None, None, None));
    }
}
