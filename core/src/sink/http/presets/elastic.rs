//! Elasticsearch and OpenSearch: `_bulk` with `create`, so that each document is there once.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::Value;

use super::super::dialect::{CallLimits, Dialect, Entry};
use super::super::envelope::{line, quote};
use super::super::plain::{check_order, record_outcome};
use super::super::status::{Meaning, Statuses};
use super::{check_object, joined};
use crate::record::{NewRecord, Record};
use crate::sink::Outcome;
use crate::sink::net::delivery::Outcomes;
use crate::sink::net::failure::CallError;
use crate::sink::net::http::Answer;
use crate::sink::net::redact::brief;

const BULK: &str = "_bulk";
const SERVICE: &str = "Elasticsearch";

/// The longest `_id`: <https://www.elastic.co/docs/reference/elasticsearch/mapping-reference/mapping-id-field>.
const MAX_ID_BYTES: usize = 512;

/// Errors of a document that no other attempt changes. Others with status 400 are as likely the index's or the cluster's.
const OF_THE_DOCUMENT: &[&str] = &[
    "document_parsing_exception",
    AMBIGUOUS,
    "mapper_parsing_exception",
    "parsing_exception",
    "strict_dynamic_mapping_exception",
];

/// Said of documents, and of what all of them have in common.
const AMBIGUOUS: &str = "illegal_argument_exception";

pub(super) struct Elastic;

impl Dialect for Elastic {
    /// A request may be 100 MiB (`http.max_content_length`); fewer are taken faster.
    fn limits(&self) -> CallLimits {
        CallLimits { records: 10_000, bytes: 10 << 20, record_bytes: 10 << 20 }
    }

    fn content_type(&self) -> &'static str {
        "application/x-ndjson"
    }

    fn authorization(&self) -> (&'static str, &'static str) {
        ("authorization", "ApiKey ")
    }

    /// Documents have no order.
    fn is_unordered(&self) -> bool {
        true
    }

    fn framing_bytes(&self) -> u64 {
        0
    }

    fn path(&self, path: &str) -> Result<String, String> {
        let path = path.trim_end_matches('/');
        if path.ends_with("/_bulk") {
            return Ok(path.to_owned());
        }
        match path.rsplit('/').next() {
            None | Some("") => Err("it names no index, such as https://host:9200/INDEX".into()),
            Some(_) => Ok(format!("{path}/_bulk")),
        }
    }

    fn check(&self, record: &NewRecord<'_>) -> Result<(), String> {
        if record.id.is_some_and(|id| id.len() > MAX_ID_BYTES || id.is_empty()) {
            return Err(format!("its id is empty or longer than {MAX_ID_BYTES} bytes, the longest _id of {SERVICE}"));
        }
        check_object(record.data, SERVICE)
    }

    fn piece<'a>(&self, record: &Record<'a>, id: &str) -> Cow<'a, [u8]> {
        let mut piece = Vec::with_capacity(record.data.len() + id.len() + 32);
        piece.extend_from_slice(b"{\"create\":{\"_id\":");
        quote(id, &mut piece);
        if let Some(index) = record.topic {
            piece.extend_from_slice(b",\"_index\":");
            quote(index, &mut piece);
        }
        piece.extend_from_slice(b"}}\n");
        piece.extend_from_slice(line(record.data).unwrap_or(record.data));
        piece.push(b'\n');
        piece.into()
    }

    fn body(&self, entries: &[&Entry<'_>]) -> Vec<u8> {
        joined(entries, b"", b"", b"")
    }

    fn delivered(&self, answer: &Answer, entries: &[&Entry<'_>], statuses: &Statuses) -> Outcomes {
        by_item(&answer.body, entries, statuses)
    }

    /// Its errors are objects with an `error`.
    fn is_own(&self, answer: &Answer) -> bool {
        let has_error = || serde_json::from_slice(&answer.body).is_ok_and(|body: Value| !body["error"].is_null());
        (200..300).contains(&answer.status) || has_error()
    }
}

/// What an answer says of each document.
fn by_item(answer: &[u8], entries: &[&Entry<'_>], statuses: &Statuses) -> Outcomes {
    #[derive(Deserialize)]
    struct Body {
        items: Vec<Item>,
    }
    #[derive(Deserialize)]
    struct Item {
        #[serde(alias = "index")]
        create: Done,
    }
    #[derive(Deserialize)]
    struct Done {
        #[serde(rename = "_id")]
        id: Option<String>,
        status: u16,
        error: Option<Complaint>,
    }
    #[derive(Deserialize)]
    struct Complaint {
        #[serde(default, rename = "type")]
        kind: String,
        #[serde(default)]
        reason: String,
    }
    let body: Body =
        serde_json::from_slice(answer).map_err(|error| CallError::undocumented(BULK, format_args!("{error}")))?;
    check_order(BULK, entries, body.items.iter().map(|item| item.create.id.as_deref()))?;
    // A pipeline that does not exist is said of each document by itself, like a field that cannot be.
    let ambiguous = |item: &Item| item.create.error.as_ref().is_some_and(|error| error.kind == AMBIGUOUS);
    let is_of_all = body.items.len() > 1 && body.items.iter().all(ambiguous);
    let outcome = |item: Item| {
        let Done { status, error, .. } = item.create;
        let Some(Complaint { kind, reason }) = error else {
            let taken = (200..300).contains(&status);
            let strange = || CallError::undocumented(BULK, format_args!("status {status} without an error"));
            return if taken { Outcome::Delivered } else { strange().into_outcome() };
        };
        let meaning = match (statuses.stated(status), status) {
            (Some(stated), _) => stated,
            // It is there already: of an attempt whose answer we did not see.
            (None, 409) => Meaning::Delivered,
            (None, 400) if !OF_THE_DOCUMENT.contains(&&kind[..]) || is_of_all => Meaning::Failed,
            (None, status) => statuses.meaning(status),
        };
        record_outcome(BULK, meaning, brief(&format!("{kind}: {reason}"), 1000))
    };
    Ok(body.items.into_iter().map(outcome).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Batch;

    #[test]
    fn answers_item_by_item() {
        let answer = r#"{"took":1,"errors":true,"items":[
            {"create":{"_id":"1","status":201,"result":"created"}},
            {"create":{"_id":"2","status":409,"error":{"type":"version_conflict_engine_exception","reason":"exists"}}},
            {"create":{"_id":"3","status":400,"error":{"type":"document_parsing_exception","reason":"no date"}}},
            {"create":{"_id":"4","status":429,"error":{"type":"es_rejected_execution_exception","reason":"full"}}},
            {"create":{"_id":"5","status":400,"error":{"type":"validation_exception","reason":"too many shards"}}},
            {"create":{"_id":"6","status":403,"error":{"type":"cluster_block_exception","reason":"read-only"}}},
            {"create":{"_id":"7","status":404,"error":{"type":"index_not_found_exception","reason":"none"}}},
            {"create":{"_id":"8","status":503,"error":{"type":"unavailable_shards_exception","reason":"none"}}},
            {"create":{"_id":"9","status":500}}]}"#;
        let by = |statuses: &str, answer: &str, documents: usize| {
            let ids: Vec<String> = (1..=documents).map(|id| id.to_string()).collect();
            let batch = Batch::from_records(ids.iter().map(|id| NewRecord::new(b"{}").id(id)));
            let entries: Vec<_> = (0..documents).map(|index| Entry::new(index, batch.get(index).unwrap())).collect();
            let entries: Vec<_> = entries.iter().collect();
            let outcomes = by_item(answer.as_bytes(), &entries, &Statuses::parse(statuses, "").unwrap()).ok()?;
            let kind = |outcome: &Outcome| match outcome {
                Outcome::Delivered => 'd',
                Outcome::Unavailable { .. } => 'u',
                Outcome::Failed { .. } => 'f',
                Outcome::Rejected { .. } => 'r',
            };
            Some(outcomes.iter().map(kind).collect::<String>())
        };
        let kinds = |answer: &str, documents: usize| by("", answer, documents);
        assert_eq!(kinds(answer, 9).unwrap(), "ddrufuuuu");
        let stated = by("409=rejected,400=unavailable", answer, 9).unwrap();
        assert_eq!(stated, "druuuuuuu", "the options are stronger");
        assert_eq!(kinds(answer, 8), None);
        for bad in ["", "{}", "[]", "<html>", r#"{"errors":false}"#, r#"{"items":[{"create":{}}]}"#] {
            assert_eq!(kinds(bad, 1), None, "{bad}");
        }
        let item = |id: &str, kind: &str| {
            format!(r#"{{"create":{{"_id":"{id}","status":400,"error":{{"type":"{kind}","reason":"so"}}}}}}"#)
        };
        let both = |one: &str, two: &str| kinds(&format!(r#"{{"items":[{one},{two}]}}"#), 2);
        let (doubtful, sure) = ("illegal_argument_exception", "document_parsing_exception");
        assert_eq!(both(&item("1", doubtful), &item("2", doubtful)).unwrap(), "ff", "such as: there is no pipeline");
        assert_eq!(both(&item("1", doubtful), &item("2", sure)).unwrap(), "rr");
        assert_eq!(both(&item("2", sure), &item("1", sure)), None, "in another order");
    }

    #[test]
    fn errors_have_a_shape() {
        let is_own = |status, body: &[u8]| Elastic.is_own(&Answer::new(status, &[], body));
        assert!(is_own(400, br#"{"error":{"type":"parse_exception"},"status":400}"#) && is_own(200, b""));
        assert!(is_own(400, br#"{"error":"no handler found","status":400}"#));
        assert!(!is_own(400, b"bad request") && !is_own(404, br#"{"ok":false}"#) && !is_own(422, b"[]"));
    }

    #[test]
    fn the_index_stands_in_the_path() {
        for (path, api) in
            [("/logs", Some("/logs/_bulk")), ("/es/logs/", Some("/es/logs/_bulk")), ("/_bulk", Some("/_bulk"))]
        {
            assert_eq!(Elastic.path(path).ok().as_deref(), api);
        }
        assert!(Elastic.path("/").is_err());
    }
}
