//! Splunk: the HTTP Event Collector.

use std::borrow::Cow;
use std::collections::HashMap;

use serde::Deserialize;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use ureq::http::HeaderMap;

use super::super::dialect::{CallLimits, Dialect, Entry, Question, Request, add, all_delivered, header_value};
use super::super::envelope::{is_json, quote};
use super::super::fields::Fields;
use super::super::status::{Meaning, Statuses, said};
use super::{check_text, joined, with_api};
use crate::batch::Batch;
use crate::error::Result;
use crate::record::{NewRecord, Record};
use crate::sink::net::delivery::Outcomes;
use crate::sink::net::encode::hex;
use crate::sink::net::failure::CallError;
use crate::sink::net::http::Answer;
use crate::sink::net::invalid;

const EVENT: &str = "HEC";
const ACK: &str = "HEC acknowledgement";
/// The code of "ACK is disabled".
const DISABLED: u32 = 14;

/// What an event has besides itself; other fields are indexed ones.
const OF_THE_EVENT: &[&str] = &["host", "index", "source", "sourcetype"];

pub(super) struct Splunk {
    fields: Fields,
    /// Whether what was taken counts only when it is acknowledged.
    acknowledge: bool,
}

impl Splunk {
    pub(super) fn new(fields: Fields, acknowledge: bool) -> Result<Self> {
        if fields.has("time") || fields.has("event") {
            return Err(invalid("option fields: time and event are the record's own"));
        }
        Ok(Splunk { fields, acknowledge })
    }
}

/// The channel of a buffer, which acknowledgements belong to: a UUID made of the buffer's id, so that it is the same after a
/// restart and servers need not remember one for each.
fn channel(batch: &Batch) -> String {
    let id = batch.id();
    let hash = Sha256::digest(id.split('-').next().unwrap_or_default().as_bytes());
    let digits = hex(&hash[..16]);
    // Version 8, of the usual variant.
    format!("{}-{}-8{}-8{}-{}", &digits[..8], &digits[8..12], &digits[13..16], &digits[17..20], &digits[20..])
}

/// The question whether the events with this acknowledgement id are indexed:
/// <https://docs.splunk.com/Documentation/Splunk/latest/Data/AboutHECIDXAck>.
fn ask_for(id: u64, channel: HeaderMap) -> Question {
    let is_yes = move |answer: &Answer| {
        #[derive(Deserialize)]
        struct Acks {
            acks: HashMap<String, bool>,
        }
        if let Some(code) = code(answer).filter(|code| *code != 0) {
            let message = match code {
                DISABLED => {
                    "acknowledgement is off for this token: switch it on there, or leave the option acknowledge out"
                }
                _ => "no acknowledgement",
            };
            // No record is to blame.
            let why = format!("{message} (code {code}): {}", said(answer).unwrap_or_default());
            return Err(CallError::unavailable(ACK, why));
        }
        let parsed: Acks = serde_json::from_slice(&answer.body).map_err(|error| CallError::undocumented(ACK, error))?;
        Ok(parsed.acks.get(&id.to_string()).copied().unwrap_or(false))
    };
    Question {
        path: |path| format!("{}/ack", path.strip_suffix("/event").unwrap_or(path)),
        headers: channel,
        body: format!("{{\"acks\":[{id}]}}").into_bytes(),
        is_yes: Box::new(is_yes),
    }
}

fn channel_header(request: &Request<'_>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    add(&mut headers, "x-splunk-request-channel", header_value(&channel(request.batch)));
    headers
}

#[derive(Deserialize)]
struct Said {
    code: u32,
    #[serde(rename = "ackId")]
    ack_id: Option<u64>,
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

    fn is_unordered(&self) -> bool {
        true
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

    fn headers(&self, request: &Request<'_>, headers: &mut HeaderMap) {
        if self.acknowledge {
            headers.extend(channel_header(request));
        }
    }

    fn first_question(&self, request: &Request<'_>) -> Option<Question> {
        self.acknowledge.then(|| ask_for(0, channel_header(request)))
    }

    fn question(&self, answer: &Answer, request: &Request<'_>) -> std::result::Result<Option<Question>, CallError> {
        if !self.acknowledge {
            return Ok(None);
        }
        let said: Option<Said> = serde_json::from_slice(&answer.body).ok();
        match said.and_then(|said| said.ack_id) {
            Some(id) => Ok(Some(ask_for(id, channel_header(request)))),
            None => Err(CallError::undocumented(EVENT, "no ackId, though acknowledgement was asked for")),
        }
    }

    /// Each of its answers has a code.
    fn is_own(&self, answer: &Answer) -> bool {
        code(answer).is_some()
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
        let splunk = Splunk::new(Fields::default(), false).unwrap();
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
        assert!(Splunk::new(Fields::parse("time=now").unwrap(), false).is_err());
        assert!(
            splunk.is_own(&Answer::new(400, &[], b"{\"code\":5}")) && !splunk.is_own(&Answer::new(400, &[], b"no"))
        );
    }

    #[test]
    fn a_channel_is_a_uuid_of_the_buffer() {
        let batch = Batch::from_records([NewRecord::new(b"x")]);
        let channel = channel(&batch);
        let lengths: Vec<_> = channel.split('-').map(str::len).collect();
        assert_eq!((lengths, &channel[14..15], &channel[19..20]), (vec![8, 4, 4, 4, 12], "8", "8"), "{channel}");
    }
}
