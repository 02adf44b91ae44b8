//! Signature Version 4, as the service verifies it.

use super::{Refusal, State};
use crate::http::Request;

impl State {
    /// Signature Version 4: <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>
    pub(super) fn verify(&self, request: &Request, target: &str) -> Result<(), Refusal> {
        let refuse = |code, message: &str| Err((code, message.to_owned()));
        let Some(fields) = request.header("authorization").strip_prefix("AWS4-HMAC-SHA256 ") else {
            return refuse("MissingAuthenticationTokenException", "Missing Authentication Token");
        };
        let field = |name: &str| {
            let prefix = format!("{name}=");
            fields.split(", ").find_map(|field| field.strip_prefix(&prefix)).unwrap_or_default().to_owned()
        };
        let (credential, signed, signature) = (field("Credential"), field("SignedHeaders"), field("Signature"));
        let [id, date, region, service, "aws4_request"] = credential.split('/').collect::<Vec<_>>()[..] else {
            return refuse("IncompleteSignatureException", "Credential");
        };
        let Some(key) = self.keys.get(id) else {
            return refuse("UnrecognizedClientException", "The security token included in the request is invalid.");
        };
        let token = Some(request.header("x-amz-security-token")).filter(|token| !token.is_empty());
        if token != key.token.as_deref() {
            return refuse("UnrecognizedClientException", "The security token included in the request is invalid.");
        }
        if key.expired {
            return refuse("ExpiredTokenException", "The security token included in the request is expired");
        }
        let expected = if target.starts_with("Kinesis") { "kinesis" } else { "logs" };
        let timestamp = request.header("x-amz-date");
        if service != expected || region != self.region || !timestamp.starts_with(date) {
            return refuse("InvalidSignatureException", "Credential should be scoped to a valid region and service");
        }
        if (parse_amz_date(timestamp) - self.now_ms()).abs() > 5 * 60 * 1000 {
            return refuse("InvalidSignatureException", "Signature expired");
        }
        let names: Vec<&str> = signed.split(';').collect();
        if !names.is_sorted() || !["host", "x-amz-date", "x-amz-target"].iter().all(|name| names.contains(name)) {
            return refuse("IncompleteSignatureException", "SignedHeaders");
        }
        let payload = hex(ring::digest::digest(&ring::digest::SHA256, &request.body).as_ref());
        if request.header("x-amz-content-sha256") != payload {
            return refuse("InvalidSignatureException", "the payload is not the one that was signed");
        }
        let headers: String = names.iter().map(|name| format!("{name}:{}\n", request.header(name))).collect();
        let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
        let canonical = format!("{}\n{path}\n{query}\n{headers}\n{signed}\n{payload}", request.method);
        let scope = format!("{date}/{region}/{service}/aws4_request");
        let hashed = hex(ring::digest::digest(&ring::digest::SHA256, canonical.as_bytes()).as_ref());
        let to_sign = format!("AWS4-HMAC-SHA256\n{timestamp}\n{scope}\n{hashed}");
        let seed = format!("AWS4{}", key.secret).into_bytes();
        let signing_key = [date, region, service, "aws4_request"].iter().fold(seed, |key, part| hmac(&key, part));
        if hex(&hmac(&signing_key, &to_sign)) != signature {
            // The real service repeats the request's headers here, the session token among them.
            return refuse("InvalidSignatureException", &format!("The Canonical String should have been\n{canonical}"));
        }
        Ok(())
    }
}

fn hmac(key: &[u8], text: &str) -> Vec<u8> {
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, key);
    ring::hmac::sign(&key, text.as_bytes()).as_ref().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `20240107T073141Z` in milliseconds since the epoch.
fn parse_amz_date(text: &str) -> i64 {
    let number =
        |range: std::ops::Range<usize>| text.get(range).and_then(|digits| digits.parse::<i64>().ok()).unwrap_or(0);
    let (year, month, day) = (number(0..4), number(4..6), number(6..8));
    // Days of the civil calendar, counted from March so that the leap day is the last of its year.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 719_468;
    (((days * 24 + number(9..11)) * 60 + number(11..13)) * 60 + number(13..15)) * 1000
}

#[test]
fn dates_are_read() {
    assert_eq!(parse_amz_date("19700101T000000Z"), 0);
    assert_eq!(parse_amz_date("20240229T235959Z"), 1_709_251_199_000);
    assert_eq!(parse_amz_date("20261122T214501Z"), 1_795_383_901_000);
}

/// The example of AWS's own documentation for the derivation of a signing key.
#[test]
fn signing_keys_are_derived() {
    let seed = b"AWS4wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_vec();
    let key = ["20120215", "us-east-1", "iam", "aws4_request"].iter().fold(seed, |key, part| hmac(&key, part));
    assert_eq!(hex(&key), "f4780e2d9f65fa895f9c67b32ce1baf0b0d8a43505a000a1a9e090d414db404d");
}
