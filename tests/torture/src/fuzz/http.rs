//! Fuzzing: whatever an HTTP server answers, nobody panics, and no preset takes a record for delivered of which its service has not
//! said so.

use serde_json::Value;

use super::client::resolve;
use super::dialect::{Entry, Request};
use super::options::{HttpOptions, Preset};
use super::presets;
use super::sink::judge;
use super::status::Statuses;
use crate::Batch;
use crate::record::NewRecord;
use crate::sink::Outcome;
use crate::sink::net::http::Answer;
use crate::torture::Source;

/// The services, each with what more is said of it.
const DIALECTS: [&[(&str, &str)]; 12] = [
    &[],
    &[("answer", "records")],
    &[("body", "single"), ("record", "envelope")],
    &[("preset", "elastic")],
    &[("preset", "elastic")],
    &[("preset", "clickhouse")],
    &[("preset", "loki")],
    &[("preset", "splunk_hec"), ("acknowledge", "true")],
    &[("preset", "datadog_logs")],
    &[("preset", "otlp_logs")],
    &[("preset", "otlp_logs"), ("content_type", "application/json")],
    &[("preset", "webhook"), ("signing_secret", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")],
];

/// The statuses that say most.
const STATUSES: [u16; 20] =
    [200, 200, 200, 200, 201, 202, 204, 206, 207, 302, 400, 401, 404, 409, 413, 422, 429, 431, 500, 503];

const TYPES: [&str; 5] = ["application/json", "text/plain", "text/html; charset=utf-8", "application/x-protobuf", ""];

/// What bodies are made of.
const PIECES: [&str; 32] = [
    "{\"items\":[",
    "{\"create\":{\"_id\":\"1\",\"status\":201}}",
    "{\"create\":{\"_id\":\"2\",\"status\":409,\"error\":{\"type\":\"version_conflict_engine_exception\",\"reason\":\"x\"}}}",
    "{\"index\":{\"_id\":\"3\",\"status\":400,\"error\":{\"type\":\"document_parsing_exception\",\"reason\":\"no date\"}}}",
    "{\"create\":{\"_id\":\"1\",\"status\":503,\"error\":{}}}",
    "{\"create\":{\"_id\":\"1\",\"status\":",
    "{\"records\":[",
    "{\"status\":201}",
    "{\"status\":422,\"error\":\"no\",\"id\":\"2\"}",
    "{\"status\":\"",
    "{\"text\":\"Success\",\"code\":0,\"ackId\":7}",
    "{\"text\":\"x\",\"code\":",
    "{\"acks\":{\"0\":true,\"7\":true}}",
    "{\"acks\":{\"7\":",
    "{\"partialSuccess\":{\"rejectedLogRecords\":\"2\",\"errorMessage\":\"no\"}}",
    "{\"partialSuccess\":{\"rejectedLogRecords\":",
    "\n\u{4}\u{8}\u{1}\u{12}",
    "{\"error\":{\"type\":\"x\",\"reason\":\"",
    "]}",
    "}",
    "\"",
    ",",
    "0",
    "3",
    "-1",
    "18446744073709551616",
    "true",
    "null",
    "{}",
    "Code: 27. DB::Exception",
    "<html>",
    "\u{2028}",
];

/// The first byte says what the others are.
pub(crate) fn run(bytes: &[u8]) -> Result<(), String> {
    let mut source = Source::new(bytes);
    if source.byte() < 0x20 {
        return location(&String::from_utf8_lossy(source.take(300)));
    }
    let options: Vec<_> =
        [("url", "http://h/logs")].iter().chain(DIALECTS[source.below(DIALECTS.len())]).copied().collect();
    let options = HttpOptions::from_pairs(&options).map_err(|error| error.to_string())?;
    let (count, status) = (source.below(4), STATUSES[source.below(STATUSES.len())]);
    let status = if source.rarely() { source.raw() as u16 } else { status };
    let kind = TYPES[source.below(TYPES.len())];
    let wait = source.below(30);
    let wait = source.take(wait);
    let headers =
        [("content-type", kind.as_bytes()), ("retry-after", wait), ("x-clickhouse-summary", b"{}"), ("date", wait)];
    let mut body = Vec::new();
    while !source.is_empty() && body.len() < 4096 {
        match source.below(PIECES.len() + 2) {
            piece if piece < PIECES.len() => body.extend_from_slice(PIECES[piece].as_bytes()),
            _ => {
                let len = source.below(20);
                body.extend_from_slice(source.take(len));
            }
        }
    }
    answered(&options, &Answer::new(status, &headers, &body), count)
}

/// An answer to a request of so many records.
fn answered(options: &HttpOptions, answer: &Answer, count: usize) -> Result<(), String> {
    let dialect = presets::dialect(options).map_err(|error| error.to_string())?;
    let statuses = Statuses::parse("", "").map_err(|error| error.to_string())?;
    let ids: Vec<String> = (1..=count).map(|id| id.to_string()).collect();
    let batch = Batch::from_records(ids.iter().map(|id| NewRecord::new(b"{}").id(id)));
    let entries: Vec<_> = batch.iter().enumerate().map(|(index, record)| Entry::new(index, record)).collect();
    let entries: Vec<_> = entries.iter().collect();
    let request = Request { batch: &batch, entries: &entries, body: b"" };
    let said = String::from_utf8_lossy(&answer.body).into_owned();
    let wrong = |what: &str| Err(format!("{:?}, {} {said:?}: {what}", options.preset, answer.status));
    let is_told_well = |text: &str| text.chars().count() <= 1200;
    match judge(&*dialect, &statuses, "POST", answer, &entries) {
        Err(error) if !is_told_well(&error.to_string()) => return wrong(&format!("not cut: {error}")),
        Err(_) => {}
        Ok(outcomes) => {
            if outcomes.len() != count {
                return wrong(&format!("{} outcomes for {count} records", outcomes.len()));
            }
            let delivered = outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Delivered)).count();
            let is_success = matches!(answer.status, 200..=205 | 207);
            let is_page = answer.header("content-type").is_some_and(|kind| kind.starts_with("text/html"));
            if delivered > 0 && (!is_success || is_page || !is_said(options, &said, &answer.body, delivered)) {
                return wrong(&format!("{delivered} are delivered"));
            }
            for outcome in &outcomes {
                let text = match outcome {
                    Outcome::Delivered => continue,
                    Outcome::Rejected { reason } => reason.clone(),
                    Outcome::Failed { error } | Outcome::Unavailable { error, .. } => error.to_string(),
                };
                if !is_told_well(&text) {
                    return wrong(&format!("not cut: {text}"));
                }
            }
        }
    }
    // An acknowledgement is one that names what was asked for.
    let questions = [dialect.first_question(&request), dialect.question(answer, &request).ok().flatten()];
    for question in questions.into_iter().flatten() {
        let asked = String::from_utf8_lossy(&question.body).into_owned();
        let id = asked.trim_matches(|c: char| !c.is_ascii_digit());
        let is_named = serde_json::from_str::<Value>(&said).is_ok_and(|said| said["acks"][id] == true);
        match (question.is_yes)(answer) {
            Ok(true) if !is_named => return wrong(&format!("an acknowledgement of {id}")),
            Err(error) if !is_told_well(&error.to_string()) => return wrong(&format!("not cut: {error}")),
            _ => {}
        }
    }
    Ok(())
}

/// Whether the service says in its answer what it has to say for so many records to be delivered.
fn is_said(options: &HttpOptions, said: &str, body: &[u8], delivered: usize) -> bool {
    let json: Value = serde_json::from_str(said).unwrap_or_default();
    let named = |list: &str| json[list].as_array().map_or(0, Vec::len) >= delivered;
    match options.preset {
        Preset::Elastic | Preset::Opensearch => named("items"),
        Preset::SplunkHec => json["code"] == 0,
        Preset::Loki => said.trim().is_empty(),
        Preset::OtlpLogs if options.content_type.is_empty() => !body.starts_with(b"{") && !body.starts_with(b"<"),
        Preset::OtlpLogs => {
            let rejected = &json["partialSuccess"]["rejectedLogRecords"];
            json.is_object()
                && (rejected.is_null()
                    || rejected == 0
                    || rejected.as_str().is_some_and(|text| text.trim_start_matches('+').parse() == Ok(0)))
        }
        _ => true,
    }
}

/// Where a server sends us on: to a host, over HTTP, with no user.
fn location(text: &str) -> Result<(), String> {
    for from in ["https://host:8443/a/b?c", "http://[::1]/"] {
        let from = from.parse().map_err(|error| format!("{error}"))?;
        let Some(next) = resolve(&from, text) else { continue };
        let authority = next.authority().map_or("", |authority| authority.as_str());
        if !matches!(next.scheme_str(), Some("http" | "https")) || authority.is_empty() || authority.contains('@') {
            return Err(format!("{text:?} leads to {next}"));
        }
    }
    Ok(())
}
