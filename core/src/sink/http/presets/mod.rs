//! Known services: each says how records are written for it, and how its answers are read.

mod clickhouse;
mod datadog;
mod elastic;
mod loki;
mod otlp;
mod otlp_wire;
mod splunk;
mod webhook;

use super::dialect::Dialect;
use super::envelope::{is_json, line};
use super::fields::Fields;
use super::options::{AnswerForm, BodyForm, HttpOptions, Preset, RecordForm};
use super::plain::Plain;
use super::setup;
use crate::error::Result;
use crate::secret::Secret;
use crate::sink::net::invalid;

/// What the options make of a service.
pub(super) fn dialect(options: &HttpOptions) -> Result<Box<dyn Dialect>> {
    let HttpOptions { preset, body, record, answer, fields, acknowledge, .. } = options;
    let signing_secret = &setup::secret("signing_secret", &options.signing_secret, &options.signing_secret_file)?;
    if *acknowledge && *preset != Preset::SplunkHec {
        return Err(invalid("the option acknowledge is for preset=splunk_hec"));
    }
    if *preset == Preset::None {
        if !fields.is_empty() || !signing_secret.is_empty() {
            return Err(invalid("the options fields and signing_secret are for presets"));
        }
        return Ok(Box::new(Plain { body: *body, record: *record, answer: *answer }));
    }
    if (*body, *record, *answer) != (BodyForm::Ndjson, RecordForm::Payload, AnswerForm::Status) {
        return Err(invalid("a preset decides what the options body, record and answer are"));
    }
    let takes_fields = !matches!(preset, Preset::Elastic | Preset::Opensearch | Preset::Clickhouse | Preset::Webhook);
    if !fields.is_empty() && !takes_fields {
        return Err(invalid("this preset has no fields besides those of the payload"));
    }
    if !signing_secret.is_empty() && *preset != Preset::Webhook {
        return Err(invalid("the option signing_secret is for preset=webhook"));
    }
    let fields = Fields::parse(fields)?;
    Ok(match preset {
        Preset::None | Preset::Webhook => Box::new(webhook::Webhook::new(signing_secret)?),
        Preset::Elastic | Preset::Opensearch => Box::new(elastic::Elastic),
        Preset::Clickhouse => Box::new(clickhouse::ClickHouse),
        Preset::Loki => Box::new(loki::Loki::new(fields, options.max_record_bytes)?),
        Preset::SplunkHec => Box::new(splunk::Splunk::new(fields, *acknowledge)?),
        Preset::DatadogLogs => Box::new(datadog::Datadog::new(fields)?),
        Preset::OtlpLogs => Box::new(otlp::Otlp { fields, json: is_of_json(&options.content_type) }),
    })
}

fn is_of_json(content_type: &str) -> bool {
    content_type.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json")
}

/// The path of a URL with that of an API behind it, unless it has it already.
fn with_api(path: &str, api: &str) -> String {
    let path = path.trim_end_matches('/');
    if path.ends_with(api) { path.to_owned() } else { format!("{path}{api}") }
}

/// Why a payload is not one JSON object on one line, if it is not.
fn check_object(data: &[u8], service: &str) -> std::result::Result<(), String> {
    let begins = data.trim_ascii_start().starts_with(b"{");
    if !begins || !is_json(data) {
        return Err(format!("its payload is not a JSON object, as {service} demands"));
    }
    if line(data).is_none() {
        return Err(format!("its payload has line breaks, and {service} takes one object a line"));
    }
    Ok(())
}

/// Why a payload is no text, if it is not.
fn check_text(data: &[u8], service: &str) -> std::result::Result<(), String> {
    std::str::from_utf8(data).map(|_| ()).map_err(|_| format!("its payload is not UTF-8, as {service} demands"))
}

/// Puts pieces behind one another.
fn joined(entries: &[&super::dialect::Entry<'_>], start: &[u8], between: &[u8], end: &[u8]) -> Vec<u8> {
    let bytes: usize = entries.iter().map(|entry| entry.piece.len() + between.len()).sum();
    let mut body = Vec::with_capacity(bytes + start.len() + end.len());
    body.extend_from_slice(start);
    for (nth, entry) in entries.iter().enumerate() {
        if nth > 0 {
            body.extend_from_slice(between);
        }
        body.extend_from_slice(&entry.piece);
    }
    body.extend_from_slice(end);
    body
}

/// The bytes of a secret that may be written as `whsec_` and Base64.
fn signing_key(secret: &Secret) -> Result<zeroize::Zeroizing<Vec<u8>>> {
    use base64::Engine;
    let text = secret.reveal();
    let key = match text.strip_prefix("whsec_") {
        Some(encoded) => base64::prelude::BASE64_STANDARD
            .decode(encoded)
            .map_err(|_| invalid("signing_secret begins with whsec_, and what follows is not Base64"))?,
        None => text.as_bytes().to_vec(),
    };
    Ok(zeroize::Zeroizing::new(key))
}
