//! What JetStream answers to a message: an acknowledgement, or an error whose code a table explains.

use std::borrow::Cow;

use serde::Deserialize;

use crate::sink::net::failure::{CallError, Fault};
use crate::sink::net::redact::brief;

/// What an error means for the record that it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// Not now: the stream, the server, the account or the configuration is to blame. Retried without using up attempts.
    Unavailable,
    /// Never: into the dead letters.
    Rejected,
    /// We do not know. Retried as a failed attempt.
    Failed,
    /// This atomic batch is not taken as a whole, for instance because one of its messages is in the stream already: each is
    /// sent alone.
    Alone,
    /// The stream takes no atomic batches.
    NotAtomic,
}

/// By `err_code`: <https://github.com/nats-io/nats-server/blob/main/server/errors.json>. What is not here goes by its `code`: 429 and
/// from 500 on it is unavailable, else it has failed.
const TABLE: &[(u16, Meaning)] = &[
    // The account's limits of messages, bytes or streams are reached.
    (10002, Meaning::Unavailable),
    (10120, Meaning::Unavailable),
    // No such account, no such stream, or not the one that the option `stream` names.
    (10035, Meaning::Unavailable),
    (10059, Meaning::Unavailable),
    (10060, Meaning::Unavailable),
    // The record itself is too large, or its headers are.
    (10054, Meaning::Rejected),
    (10097, Meaning::Rejected),
    // The stream is sealed or offline.
    (10109, Meaning::Unavailable),
    (10118, Meaning::Unavailable),
    // The same id is being stored in this moment: by an earlier attempt, whose acknowledgement nobody waits for any more.
    (10158, Meaning::Unavailable),
    // Atomic batches.
    (10174, Meaning::NotAtomic),
    (10176, Meaning::Alone),
    (10177, Meaning::NotAtomic),
    (10199, Meaning::Alone),
    (10201, Meaning::Alone),
];

/// An acknowledgement of a message that is stored.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) stream: String,
    /// Where in it; of an atomic batch its last message.
    pub(super) seq: u64,
    /// How many messages, if it speaks of an atomic batch.
    pub(super) count: Option<u64>,
}

/// Why a message was not stored.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) meaning: Meaning,
    pub(super) error: CallError,
}

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    stream: Option<Cow<'a, str>>,
    seq: Option<u64>,
    count: Option<u64>,
    #[serde(borrow)]
    error: Option<ApiError<'a>>,
}

#[derive(Deserialize)]
struct ApiError<'a> {
    code: u16,
    #[serde(default)]
    err_code: u16,
    #[serde(borrow, default)]
    description: Cow<'a, str>,
}

const OPERATION: &str = "publish";

/// What an answer says; `None` for the empty one that says an atomic batch goes on.
pub(super) fn read(status: Option<u16>, payload: &[u8]) -> Option<Result<Stored, Refusal>> {
    if let Some(status) = status {
        let what = match status {
            503 => "no stream takes this subject now (no responders)".to_owned(),
            status => format!("status {status}"),
        };
        return Some(Err(unavailable(what)));
    }
    if payload.is_empty() {
        return None;
    }
    let undocumented =
        |what: &str| Err(Refusal { meaning: Meaning::Unavailable, error: CallError::undocumented(OPERATION, what) });
    Some(match serde_json::from_slice(payload) {
        Ok(Answer { error: Some(error), .. }) => Err(error.refusal()),
        Ok(Answer { stream: Some(stream), seq: Some(seq @ 1..), count, .. }) => {
            Ok(Stored { stream: stream.into_owned(), seq, count })
        }
        Ok(_) => undocumented("no stream and no sequence"),
        Err(_) => undocumented("no JSON of JetStream"),
    })
}

pub(super) fn unavailable(message: impl Into<String>) -> Refusal {
    Refusal { meaning: Meaning::Unavailable, error: CallError::unavailable(OPERATION, message) }
}

pub(super) fn failed(message: String) -> CallError {
    CallError { operation: OPERATION, fault: Fault::Failed, code: None, message }
}

fn meaning(code: u16, err_code: u16) -> Meaning {
    match TABLE.iter().find(|(known, _)| *known == err_code) {
        Some((_, meaning)) => *meaning,
        None if code == 429 || code >= 500 => Meaning::Unavailable,
        None => Meaning::Failed,
    }
}

impl ApiError<'_> {
    fn refusal(&self) -> Refusal {
        let meaning = meaning(self.code, self.err_code);
        let fault = match meaning {
            Meaning::Failed => Fault::Failed,
            Meaning::Rejected => Fault::Refused,
            _ => Fault::UNAVAILABLE,
        };
        let message = brief(&self.description, 500);
        let error = CallError { operation: OPERATION, fault, code: Some(self.err_code.to_string()), message };
        Refusal { meaning, error }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(status: Option<u16>, payload: &str) -> Option<Result<Stored, (Meaning, String)>> {
        Some(read(status, payload.as_bytes())?.map_err(|refusal| (refusal.meaning, refusal.error.to_string())))
    }

    #[test]
    fn acknowledgements() {
        let stored = |stream: &str, count| Some(Ok(Stored { stream: stream.into(), seq: 7, count }));
        assert_eq!(said(None, r#"{"stream":"S","seq":7}"#), stored("S", None));
        assert_eq!(said(None, r#"{"stream":"S","seq":7,"duplicate":true,"domain":"d"}"#), stored("S", None));
        assert_eq!(said(None, r#"{"stream":"S","seq":7,"batch":"b","count":3}"#), stored("S", Some(3)));
        assert_eq!(said(None, ""), None);
    }

    #[test]
    fn errors_mean_what_the_table_says() {
        for (code, err_code, expected) in [
            (503, 10077, Meaning::Unavailable),
            (429, 10167, Meaning::Unavailable),
            (429, 10210, Meaning::Unavailable),
            (503, 10023, Meaning::Unavailable),
            (400, 10002, Meaning::Unavailable),
            (400, 10054, Meaning::Rejected),
            (400, 10097, Meaning::Rejected),
            (400, 10060, Meaning::Unavailable),
            (409, 10158, Meaning::Unavailable),
            (400, 10071, Meaning::Failed),
            (400, 10201, Meaning::Alone),
            (400, 10174, Meaning::NotAtomic),
            (400, 65000, Meaning::Failed),
        ] {
            let error = format!(
                r#"{{"error":{{"code":{code},"err_code":{err_code},"description":"why"}},"stream":"S","seq":0}}"#
            );
            let (meaning, text) = said(None, &error).unwrap().unwrap_err();
            assert_eq!((meaning, &text[..]), (expected, &format!("publish: {err_code}: why")[..]));
        }
    }

    /// Whoever answers on our inbox, nothing is taken for stored that JetStream has not acknowledged.
    #[test]
    fn what_is_no_acknowledgement_stores_nothing() {
        for payload in ["+OK", "{}", "null", r#"{"stream":"S"}"#, r#"{"stream":"S","seq":0}"#, r#"{"seq":1}"#, "[]"] {
            let (meaning, text) = said(None, payload).unwrap().unwrap_err();
            assert_eq!(meaning, Meaning::Unavailable, "{payload}");
            assert!(text.contains("not as documented"), "{text}");
        }
        for status in [503, 408] {
            assert_eq!(said(Some(status), "").unwrap().unwrap_err().0, Meaning::Unavailable);
        }
    }
}
