//! Webhooks: a request a record, signed as Standard Webhooks has it.

use std::borrow::Cow;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use ureq::http::HeaderMap;
use zeroize::Zeroizing;

use super::super::dialect::{
    CallLimits, Dialect, Entry, Request, add, add_of, all_delivered, check_headers, header_value, meaning_of_headers,
};
use super::super::status::{Meaning, Statuses};
use super::{joined, signing_key};
use crate::error::Result;
use crate::record::{NewRecord, Record};
use crate::secret::Secret;
use crate::sink::net::delivery::Outcomes;
use crate::sink::net::http::Answer;

pub(super) struct Webhook {
    /// Empty: nothing is signed.
    key: Zeroizing<Vec<u8>>,
}

impl Webhook {
    pub(super) fn new(secret: &Secret) -> Result<Self> {
        Ok(Webhook { key: signing_key(secret)? })
    }

    /// `v1,` and the HMAC-SHA256 of `id.timestamp.body` in Base64:
    /// <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>.
    fn signature(&self, id: &str, seconds: u64, body: &[u8]) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("HMAC takes keys of every length");
        mac.update(format!("{id}.{seconds}.").as_bytes());
        mac.update(body);
        format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes()))
    }
}

impl Dialect for Webhook {
    fn limits(&self) -> CallLimits {
        CallLimits { records: 1, bytes: 10 << 20, record_bytes: 10 << 20 }
    }

    fn content_type(&self) -> &'static str {
        "application/json"
    }

    fn framing_bytes(&self) -> u64 {
        0
    }

    /// Many services have their key in it.
    fn hides_path(&self) -> bool {
        true
    }

    fn check(&self, record: &NewRecord<'_>) -> std::result::Result<(), String> {
        check_headers(record)
    }

    fn meaning(&self, answer: &Answer) -> Option<Meaning> {
        meaning_of_headers(answer)
    }

    fn piece<'a>(&self, record: &Record<'a>, _: &str) -> Cow<'a, [u8]> {
        record.data.into()
    }

    fn body(&self, entries: &[&Entry<'_>]) -> Vec<u8> {
        joined(entries, b"", b"", b"")
    }

    fn headers(&self, request: &Request<'_>, headers: &mut HeaderMap) {
        let Some(entry) = request.entries.first() else { return };
        let id = header_value(&entry.id);
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        add_of(&entry.record, headers);
        // A record's own would be taken for ours.
        headers.remove("webhook-signature");
        if !self.key.is_empty() {
            // The id as it is sent.
            let signature = self.signature(id.to_str().unwrap_or_default(), seconds, request.body);
            add(headers, "webhook-signature", header_value(&signature));
        }
        add(headers, "webhook-id", id);
        add(headers, "webhook-timestamp", header_value(&seconds.to_string()));
    }

    fn delivered(&self, _: &Answer, entries: &[&Entry<'_>], _: &Statuses) -> Outcomes {
        all_delivered(entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computed with Python's `hmac` from the form that the specification gives.
    #[test]
    fn the_signature_is_that_of_the_specification() {
        let secret = Secret::from("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        let webhook = Webhook::new(&secret).unwrap();
        let signature = webhook.signature("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        assert!(Webhook::new(&Secret::from("whsec_!")).is_err());
    }
}
