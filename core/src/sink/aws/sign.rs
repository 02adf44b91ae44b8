//! Signature Version 4: <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>.

use std::fmt::Write as _;
use std::time::SystemTime;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use ureq::http::header::{AUTHORIZATION, HOST};
use ureq::http::{HeaderName, HeaderValue, Request, Uri};
use zeroize::Zeroizing;

use super::keys::Credentials;
use crate::sink::net::encode::{hex, percent};
use crate::time::{micros, timestamp};

/// The region and the service that a signature is valid for.
#[derive(Clone, Copy)]
pub(super) struct Scope<'a> {
    pub(super) region: &'a str,
    /// The service by its name in signatures.
    pub(super) service: &'a str,
}

impl Scope<'_> {
    /// Signs the request and adds the headers that belong to the signature. Those that are secret are marked so, and show in
    /// no `Debug`.
    ///
    /// # Errors
    /// The keys cannot stand in a header.
    pub(super) fn sign(&self, request: &mut Request<&[u8]>, keys: &Credentials, now: SystemTime) -> Result<(), String> {
        let time = timestamp(micros(now));
        // 2015-08-30T12:36:00.000000Z as 20150830T123600Z.
        let time: String = time.split('.').next().unwrap_or_default().replace(['-', ':'], "") + "Z";
        let date = &time[..8];
        let payload = hex(&Sha256::digest(request.body()));
        let host = host(request.uri()).ok_or("the endpoint names no host")?;
        let mut add = |name: HeaderName, value: &str| {
            let mut value = HeaderValue::from_str(value).map_err(|_| format!("{name} cannot be a header"))?;
            value.set_sensitive(name == "x-amz-security-token");
            request.headers_mut().insert(name, value);
            Ok::<_, String>(())
        };
        add(HOST, &host)?;
        add(HeaderName::from_static("x-amz-content-sha256"), &payload)?;
        add(HeaderName::from_static("x-amz-date"), &time)?;
        if !keys.session_token.is_empty() {
            add(HeaderName::from_static("x-amz-security-token"), keys.session_token.reveal())?;
        }
        let (signed, canonical) = canonical(request, &payload);
        let scope = format!("{date}/{}/{}/aws4_request", self.region, self.service);
        let to_sign = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", hex(&Sha256::digest(canonical.as_bytes())));
        let signature = hex(&*hmac(&*self.key(keys, date), &to_sign));
        let id = &keys.access_key_id;
        let line = format!("AWS4-HMAC-SHA256 Credential={id}/{scope}, SignedHeaders={signed}, Signature={signature}");
        let mut line = HeaderValue::from_str(&line).map_err(|_| "the access key id cannot be in a header")?;
        line.set_sensitive(true);
        request.headers_mut().insert(AUTHORIZATION, line);
        Ok(())
    }

    /// The key of one day, region and service.
    fn key(&self, keys: &Credentials, date: &str) -> Zeroizing<[u8; 32]> {
        let secret = keys.secret_access_key.reveal();
        let mut seed = Zeroizing::new(String::with_capacity(4 + secret.len()));
        seed.push_str("AWS4");
        seed.push_str(secret);
        let of_date = hmac(seed.as_bytes(), date);
        [self.service, "aws4_request"].iter().fold(hmac(&*of_date, self.region), |key, part| hmac(&*key, part))
    }
}

/// The names of the signed headers, and the canonical form of the request, which both sides compute. Only headers that pass
/// proxies unchanged are signed.
fn canonical(request: &Request<&[u8]>, payload: &str) -> (String, Zeroizing<String>) {
    let mut headers: Vec<(&str, &str)> = request
        .headers()
        .iter()
        .map(|(name, value)| (name.as_str(), value.to_str().unwrap_or_default().trim()))
        .filter(|(name, _)| matches!(*name, "host" | "content-type") || name.starts_with("x-amz-"))
        .collect();
    headers.sort_unstable();
    let signed = headers.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
    let uri = request.uri();
    let length = headers.iter().map(|(name, value)| name.len() + value.len() + 2).sum::<usize>();
    let mut text = Zeroizing::new(String::with_capacity(length + signed.len() + 3 * uri.path().len() + 256));
    let _ = writeln!(text, "{}\n{}\n", request.method(), percent(uri.path(), b"/"));
    for (name, value) in headers {
        let _ = writeln!(text, "{name}:{value}");
    }
    let _ = write!(text, "\n{signed}\n{payload}");
    (signed, text)
}

/// The host as the `Host` header has it: with its port, unless that is the scheme's own.
fn host(uri: &Uri) -> Option<String> {
    let host = uri.host()?;
    Some(match (uri.port_u16(), uri.scheme_str()) {
        (None, _) | (Some(443), Some("https")) | (Some(80), Some("http")) => host.into(),
        (Some(port), _) => format!("{host}:{port}"),
    })
}

fn hmac(key: &[u8], text: &str) -> Zeroizing<[u8; 32]> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of every length");
    mac.update(text.as_bytes());
    Zeroizing::new(mac.finalize().into_bytes().into())
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    const NOW: Duration = Duration::from_secs(1_440_938_160);
    const SCOPE: Scope<'_> = Scope { region: "us-east-1", service: "service" };

    fn keys() -> Credentials {
        Credentials::new("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
    }

    /// The example of AWS's own documentation for the derivation of a signing key.
    #[test]
    fn signing_keys_are_derived() {
        let scope = Scope { region: "us-east-1", service: "iam" };
        let key = scope.key(&Credentials::new("", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"), "20120215");
        assert_eq!(hex(&*key), "f4780e2d9f65fa895f9c67b32ce1baf0b0d8a43505a000a1a9e090d414db404d");
    }

    #[test]
    fn a_request_in_its_canonical_form() {
        let mut request = Request::post("https://example.amazonaws.com:8443/a%20b/")
            .header("Content-Type", "text/plain")
            .header("User-Agent", "anything")
            .body(&b"body"[..])
            .unwrap();
        SCOPE.sign(&mut request, &keys().session_token("the token"), UNIX_EPOCH + NOW).unwrap();
        let payload = "230d8358dc8e8890b4c58deeb62912ee2f20357ae92a5cc861b98e68fe31acb5";
        let (signed, text) = canonical(&request, payload);
        assert_eq!(signed, "content-type;host;x-amz-content-sha256;x-amz-date;x-amz-security-token");
        assert_eq!(
            *text,
            format!(
                "POST\n/a%2520b/\n\ncontent-type:text/plain\nhost:example.amazonaws.com:8443\n\
                 x-amz-content-sha256:{payload}\nx-amz-date:20150830T123600Z\nx-amz-security-token:the token\n\n\
                 {signed}\n{payload}"
            )
        );
        let shown = format!("{request:?}");
        assert!(!shown.contains("the token") && !shown.contains("Signature="), "{shown}");
    }

    #[test]
    fn keys_that_no_header_can_carry_are_an_error() {
        let mut request = Request::post("https://host/").body(&b""[..]).unwrap();
        let error = SCOPE.sign(&mut request, &keys().session_token("hush\n"), UNIX_EPOCH + NOW).unwrap_err();
        assert!(!error.contains("hush"), "{error}");
        let bad = Credentials::new("hush\n", "secret");
        assert!(!SCOPE.sign(&mut request, &bad, UNIX_EPOCH + NOW).unwrap_err().contains("hush"));
    }
}
