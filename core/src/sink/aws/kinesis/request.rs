//! The body of `PutRecords`.

use std::borrow::Cow;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use crate::error::Result;
use crate::sink::net::delivery::Item;
use crate::sink::net::invalid;

pub(super) const PUT_RECORDS: &str = "PutRecords";

/// The stream, as `PutRecords` takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Name(String),
    Arn { arn: String, region: String },
}

impl Target {
    /// Checks the name, so that a call that is refused later is refused because of its records.
    pub(super) fn parse(stream: &str) -> Result<Self> {
        let is_name = |name: &str| {
            let valid = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
            (1..=128).contains(&name.len()) && name.chars().all(valid)
        };
        if !stream.starts_with("arn:") {
            return match is_name(stream) {
                true => Ok(Target::Name(stream.into())),
                false => Err(invalid(format!(
                    "{stream:?} is not the name of a stream: 1 to 128 letters, digits, '_', '.' and '-'"
                ))),
            };
        }
        match stream.splitn(6, ':').collect::<Vec<_>>()[..] {
            [_, _, "kinesis", region, account, resource]
                if !region.is_empty()
                    && account.len() == 12
                    && account.bytes().all(|b| b.is_ascii_digit())
                    && resource.strip_prefix("stream/").is_some_and(is_name) =>
            {
                Ok(Target::Arn { arn: stream.into(), region: region.into() })
            }
            _ => Err(invalid(format!(
                "{stream:?} is not the ARN of a stream, such as arn:aws:kinesis:eu-central-1:123456789012:stream/name"
            ))),
        }
    }

    pub(super) fn name(&self) -> &str {
        match self {
            Target::Name(name) => name,
            Target::Arn { arn, .. } => arn.rsplit('/').next().unwrap_or(arn),
        }
    }

    /// The body of a `PutRecords` call.
    pub(super) fn request(&self, items: &[&Entry<'_>]) -> Vec<u8> {
        let bytes: usize = items.iter().map(|item| item.data.len() / 3 * 4 + item.key.len() + 128).sum();
        let mut body = String::with_capacity(bytes);
        let (parameter, stream) = match self {
            Target::Name(name) => ("StreamName", name),
            Target::Arn { arn, .. } => ("StreamARN", arn),
        };
        body.push_str(&format!("{{\"{parameter}\":\"{stream}\",\"Records\":["));
        for (place, item) in items.iter().enumerate() {
            body.push_str(if place == 0 { "{\"Data\":\"" } else { ",{\"Data\":\"" });
            BASE64_STANDARD.encode_string(item.data, &mut body);
            body.push_str("\",\"PartitionKey\":");
            body.push_str(&serde_json::Value::from(&*item.key).to_string());
            if let Some(hash) = &item.hash_key {
                body.push_str(&format!(",\"ExplicitHashKey\":\"{hash}\""));
            }
            body.push('}');
        }
        body.push_str("]}");
        body.into_bytes()
    }
}

/// A record as a call carries it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry<'a> {
    pub(super) index: usize,
    pub(super) data: &'a [u8],
    pub(super) key: Cow<'a, str>,
    pub(super) hash_key: Option<Cow<'a, str>>,
}

impl Entry<'_> {
    pub(super) fn bytes(&self) -> u64 {
        (self.data.len() + self.key.len()) as u64
    }
}

impl Item for Entry<'_> {
    fn index(&self) -> usize {
        self.index
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_the_payload_once_encoded_and_the_keys() {
        let entries = [
            Entry { index: 0, data: b"\x00\xff raw", key: "k\"\u{2028}\n".into(), hash_key: None },
            Entry { index: 1, data: b"", key: "b".into(), hash_key: Some("17".into()) },
        ];
        let body = Target::Name("s".into()).request(&entries.iter().collect::<Vec<_>>());
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let expected = serde_json::json!({"StreamName": "s", "Records": [
            {"Data": "AP8gcmF3", "PartitionKey": "k\"\u{2028}\n"},
            {"Data": "", "PartitionKey": "b", "ExplicitHashKey": "17"},
        ]});
        assert_eq!(body, expected);
        let arn = "arn:aws-cn:kinesis:cn-north-1:123456789012:stream/s";
        let body = Target::parse(arn).unwrap().request(&[]);
        assert_eq!(String::from_utf8(body).unwrap(), format!("{{\"StreamARN\":\"{arn}\",\"Records\":[]}}"));
    }

    #[test]
    fn streams_are_names_or_arns() {
        let arn = "arn:aws-us-gov:kinesis:us-gov-west-1:123456789012:stream/clicks";
        assert_eq!(Target::parse("click_s.v-1").unwrap().name(), "click_s.v-1");
        assert_eq!(Target::parse(arn).unwrap().name(), "clicks");
        for bad in [
            "",
            "with space",
            "quote\"",
            &"x".repeat(129),
            "arn:aws:kinesis:eu-west-1:123456789012:stream/",
            "arn:aws:kinesis::123456789012:stream/s",
            "arn:aws:kinesis:eu-west-1:12345:stream/s",
            "arn:aws:firehose:eu-west-1:123456789012:stream/s",
            "arn:aws:kinesis:eu-west-1:123456789012:stream/s/consumer/c:1",
        ] {
            assert!(Target::parse(bad).is_err(), "{bad}");
        }
    }
}
