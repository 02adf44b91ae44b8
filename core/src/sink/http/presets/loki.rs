//! Grafana Loki: its push API, with labels made of the option `fields`.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::super::dialect::{CallLimits, Dialect, Entry, all_delivered};
use super::super::envelope::quote;
use super::super::fields::Fields;
use super::super::status::Statuses;
use super::{check_text, with_api};
use crate::error::Result;
use crate::record::{NewRecord, Record};
use crate::sink::net::delivery::Outcomes;
use crate::sink::net::http::Answer;
use crate::sink::net::invalid;

/// The longest line that Loki takes by default (`max_line_size`).
const MAX_LINE: u64 = 256 << 10;

pub(super) struct Loki {
    fields: Fields,
    /// The longest line, in bytes of its text.
    max_line: u64,
}

impl Loki {
    /// `max_line` is 0 for Loki's own.
    ///
    /// # Errors
    /// `InvalidArgument` for a name that no label can have; Loki would refuse every record.
    pub(super) fn new(fields: Fields, max_line: u64) -> Result<Self> {
        let is_label = |name: &str| {
            let rest = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
            name.bytes().all(rest) && !name.starts_with(|first: char| first.is_ascii_digit()) && !name.starts_with("__")
        };
        if let Some(name) = fields.names().find(|name| !is_label(name)) {
            return Err(invalid(format!("option fields: {name} is no label of Loki: letters, digits and _")));
        }
        Ok(Loki { fields, max_line: if max_line == 0 { MAX_LINE } else { max_line } })
    }
}

impl Dialect for Loki {
    /// Its gRPC messages are 4 MiB by default (`grpc_server_max_recv_msg_size`). A line may be six times as long in JSON.
    fn limits(&self) -> CallLimits {
        CallLimits { records: 10_000, bytes: 3 << 20, record_bytes: 6 * self.max_line + 2 }
    }

    fn content_type(&self) -> &'static str {
        "application/json"
    }

    /// Since version 2.4 it takes lines in any order, within an hour or so.
    fn is_unordered(&self) -> bool {
        true
    }

    /// The time, and at most a stream of its own.
    fn framing_bytes(&self) -> u64 {
        64
    }

    fn extra_bytes(&self, record: &Record<'_>, id: &str) -> u64 {
        self.fields.json_bytes(record, id)
    }

    fn path(&self, path: &str) -> std::result::Result<String, String> {
        Ok(with_api(path, "/loki/api/v1/push"))
    }

    fn check(&self, record: &NewRecord<'_>) -> std::result::Result<(), String> {
        if record.data.len() as u64 > self.max_line {
            return Err(format!("its payload is {} bytes; a line of Loki may be {}", record.data.len(), self.max_line));
        }
        check_text(record.data, "Loki")
    }

    fn piece<'a>(&self, record: &Record<'a>, _: &str) -> Cow<'a, [u8]> {
        let mut piece = Vec::with_capacity(record.data.len() + 16);
        quote(&String::from_utf8_lossy(record.data), &mut piece);
        piece.into()
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
            values.extend_from_slice(&entry.piece);
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

    /// It says no more than that: <https://grafana.com/docs/loki/latest/reference/loki-http-api/#ingest-logs>.
    fn is_own(&self, answer: &Answer) -> bool {
        !(200..300).contains(&answer.status) || answer.body.trim_ascii().is_empty()
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
