//! Grafana Loki: its push API, with labels made of the option `fields`.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::super::dialect::{CallLimits, Dialect, Entry, all_delivered};
use super::super::envelope::quote;
use super::super::fields::Fields;
use super::super::status::Statuses;
use super::{check_text, with_api};
use crate::record::{NewRecord, Record};
use crate::sink::net::delivery::Outcomes;
use crate::sink::net::http::Answer;

pub(super) struct Loki {
    pub(super) fields: Fields,
}

impl Dialect for Loki {
    /// Its gRPC messages are 4 MiB (`grpc_server_max_recv_msg_size`), its lines 256 KiB (`max_line_size`), each by default.
    fn limits(&self) -> CallLimits {
        CallLimits { records: 10_000, bytes: 3 << 20, record_bytes: 256 << 10 }
    }

    fn content_type(&self) -> &'static str {
        "application/json"
    }

    fn framing_bytes(&self) -> u64 {
        64
    }

    fn path(&self, path: &str) -> Result<String, String> {
        Ok(with_api(path, "/loki/api/v1/push"))
    }

    fn check(&self, record: &NewRecord<'_>) -> Result<(), String> {
        check_text(record.data, "Loki")
    }

    fn piece<'a>(&self, record: &Record<'a>, _: &str) -> Cow<'a, [u8]> {
        record.data.into()
    }

    fn body(&self, entries: &[&Entry<'_>]) -> Vec<u8> {
        let mut streams: Vec<(String, Vec<u8>)> = Vec::new();
        for entry in entries {
            let labels = labels(&self.fields, entry);
            let at = streams.iter().position(|(known, _)| *known == labels).unwrap_or_else(|| {
                streams.push((labels, Vec::new()));
                streams.len() - 1
            });
            let values = &mut streams[at].1;
            values.extend_from_slice(if values.is_empty() { b"[\"" } else { b",[\"" });
            values.extend_from_slice(format!("{}\",", nanoseconds(&entry.record)).as_bytes());
            quote(&String::from_utf8_lossy(&entry.piece), values);
            values.push(b']');
        }
        let mut body = b"{\"streams\":[".to_vec();
        for (nth, (labels, values)) in streams.into_iter().enumerate() {
            body.extend_from_slice(if nth == 0 { b"" } else { b"," });
            body.extend_from_slice(format!("{{\"stream\":{labels},\"values\":[").as_bytes());
            body.extend_from_slice(&values);
            body.extend_from_slice(b"]}");
        }
        body.extend_from_slice(b"]}");
        body
    }

    fn delivered(&self, _: &Answer, entries: &[&Entry<'_>], _: &Statuses) -> Outcomes {
        all_delivered(entries)
    }
}

/// The labels of a stream, as JSON. There must be one.
fn labels(fields: &Fields, entry: &Entry<'_>) -> String {
    let mut labels: Map<String, Value> =
        fields.of(&entry.record, &entry.id).into_iter().map(|(name, value)| (name.into(), value.into())).collect();
    if labels.is_empty() {
        labels.insert("job".into(), "unistream".into());
    }
    Value::Object(labels).to_string()
}

/// The time of a record. Loki takes two lines of one stream, time and text for one, so that the digits that a record's time
/// does not have are those of its seq.
fn nanoseconds(record: &Record<'_>) -> i128 {
    i128::from(record.created_at) * 1000 + i128::from(record.seq % 1000)
}
