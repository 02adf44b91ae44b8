//! Reads keys from the answers of their sources. Errors repeat no word of an answer: it could be a secret.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::de::{Deserializer, Error as _, Visitor};

use crate::secret::Secret;
use crate::sink::aws::keys::Credentials;

/// The error for every answer that cannot be read.
const STRANGE: &str = "an answer that is not as documented";

/// The source that answers; each has a format of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answerer {
    Container,
    Instance,
    Process,
    SingleSignOn,
    TokenService,
}

/// The keys in an answer.
///
/// # Errors
/// It is not as documented, or its keys are none that can be signed with.
pub(crate) fn parse(answerer: Answerer, body: &[u8]) -> Result<Credentials, String> {
    let keys = match answerer {
        Answerer::Container | Answerer::Instance | Answerer::Process => plain(answerer, body),
        Answerer::SingleSignOn => single_sign_on(body),
        Answerer::TokenService => token_service(body),
    };
    let keys = keys.ok_or(STRANGE)?;
    // They are sent in headers.
    let printable = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
    let whole = !keys.access_key_id.is_empty() && !keys.secret_access_key.is_empty();
    // A process may give permanent keys; all others give temporary ones.
    let temporary = answerer == Answerer::Process || !keys.session_token.is_empty() && keys.expires_at.is_some();
    let good = printable(&keys.access_key_id) && printable(keys.session_token.reveal());
    if whole && temporary && good { Ok(keys) } else { Err(STRANGE.into()) }
}

fn plain(answerer: Answerer, body: &[u8]) -> Option<Credentials> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Body {
        code: Option<String>,
        version: Option<u64>,
        access_key_id: String,
        #[serde(deserialize_with = "secret")]
        secret_access_key: Secret,
        #[serde(default, alias = "SessionToken", deserialize_with = "secret")]
        token: Secret,
        expiration: Option<String>,
    }
    let body: Body = serde_json::from_slice(body).ok()?;
    match answerer {
        Answerer::Process if body.version != Some(1) => return None,
        Answerer::Instance if body.code.as_deref().is_some_and(|code| code != "Success") => return None,
        _ => {}
    }
    let expires_at = match body.expiration {
        Some(text) => Some(time(&text)?),
        None => None,
    };
    Some(Credentials {
        access_key_id: body.access_key_id,
        secret_access_key: body.secret_access_key,
        session_token: body.token,
        expires_at,
    })
}

fn single_sign_on(body: &[u8]) -> Option<Credentials> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Body {
        role_credentials: Keys,
    }
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Keys {
        access_key_id: String,
        #[serde(deserialize_with = "secret")]
        secret_access_key: Secret,
        #[serde(deserialize_with = "secret")]
        session_token: Secret,
        /// Milliseconds since the epoch.
        expiration: u64,
    }
    let Body { role_credentials: keys } = serde_json::from_slice(body).ok()?;
    Some(Credentials {
        access_key_id: keys.access_key_id,
        secret_access_key: keys.secret_access_key,
        session_token: keys.session_token,
        expires_at: Some(UNIX_EPOCH.checked_add(Duration::from_millis(keys.expiration))?),
    })
}

fn token_service(body: &[u8]) -> Option<Credentials> {
    let xml = std::str::from_utf8(body).ok()?;
    let keys = element(xml, "Credentials")?;
    Some(Credentials {
        access_key_id: element(keys, "AccessKeyId")?.into(),
        secret_access_key: Secret::new(element(keys, "SecretAccessKey")?),
        session_token: Secret::new(element(keys, "SessionToken")?),
        expires_at: Some(time(element(keys, "Expiration")?)?),
    })
}

/// The text of the first element of a name. Keys and tokens contain nothing that XML escapes.
fn element<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once(&format!("</{name}>"))?;
    Some(text.trim())
}

/// The code of an error of the token service.
pub(crate) fn error_code(body: &[u8]) -> Option<&str> {
    let code = element(std::str::from_utf8(body).ok()?, "Code")?;
    Some(code).filter(|code| (1..=64).contains(&code.len()) && code.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

/// A token of single sign-on, and what it takes to renew it; empty where that is not known.
pub(crate) struct SignedOn {
    pub(super) access_token: Secret,
    pub(super) expires_at: SystemTime,
    pub(super) refresh_token: Secret,
    pub(super) client_id: Secret,
    pub(super) client_secret: Secret,
}

/// The token in a file of the cache.
pub(crate) fn cached_token(body: &[u8]) -> Option<SignedOn> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Body {
        #[serde(deserialize_with = "secret")]
        access_token: Secret,
        expires_at: String,
        #[serde(default, deserialize_with = "secret")]
        refresh_token: Secret,
        #[serde(default, deserialize_with = "secret")]
        client_id: Secret,
        #[serde(default, deserialize_with = "secret")]
        client_secret: Secret,
    }
    let body: Body = serde_json::from_slice(body).ok()?;
    Some(SignedOn {
        access_token: body.access_token,
        expires_at: time(&body.expires_at)?,
        refresh_token: body.refresh_token,
        client_id: body.client_id,
        client_secret: body.client_secret,
    })
}

/// The token in an answer of `CreateToken`.
///
/// # Errors
/// It is not as documented.
pub(crate) fn renewed_token(body: &[u8]) -> Result<SignedOn, String> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Body {
        #[serde(deserialize_with = "secret")]
        access_token: Secret,
        /// Seconds.
        expires_in: u64,
        #[serde(default, deserialize_with = "secret")]
        refresh_token: Secret,
    }
    let body: Body = serde_json::from_slice(body).map_err(|_| STRANGE)?;
    let expires_at = SystemTime::now().checked_add(Duration::from_secs(body.expires_in)).ok_or(STRANGE)?;
    if body.access_token.is_empty() {
        return Err(STRANGE.into());
    }
    Ok(SignedOn {
        access_token: body.access_token,
        expires_at,
        refresh_token: body.refresh_token,
        client_id: Secret::default(),
        client_secret: Secret::default(),
    })
}

/// RFC 3339, in UTC or with an offset.
fn time(text: &str) -> Option<SystemTime> {
    let (date, offset) = match text.len().checked_sub(6).and_then(|at| text.split_at_checked(at)) {
        Some((date, offset)) if offset.starts_with(['+', '-']) && offset.as_bytes()[3] == b':' => (date, Some(offset)),
        _ => (text.trim_end_matches("UTC").trim_end_matches('Z'), None),
    };
    let time = humantime::parse_rfc3339(&format!("{date}Z")).ok()?;
    let Some(offset) = offset else { return Some(time) };
    let number = |from: usize| offset.get(from..from + 2)?.parse::<u8>().ok().map(u64::from);
    let away = Duration::from_secs(number(1)? * 3600 + number(4)? * 60);
    if offset.starts_with('+') { time.checked_sub(away) } else { time.checked_add(away) }
}

/// Reads a text straight into memory for secrets.
fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
    struct Text;
    impl Visitor<'_> for Text {
        type Value = Secret;
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a text or null")
        }
        fn visit_str<E>(self, text: &str) -> Result<Secret, E> {
            Ok(Secret::new(text))
        }
        fn visit_string<E>(self, text: String) -> Result<Secret, E> {
            Ok(Secret::from(text))
        }
        fn visit_unit<E>(self) -> Result<Secret, E> {
            Ok(Secret::default())
        }
    }
    deserializer.deserialize_any(Text).map_err(|_| D::Error::custom("no text"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAST: &str = r#""Expiration":"2030-01-02T03:04:05Z"}"#;

    fn at(text: &str) -> SystemTime {
        humantime::parse_rfc3339(text).unwrap()
    }

    #[test]
    fn answers_of_all_kinds() {
        let container = format!(r#"{{"RoleArn":"r","AccessKeyId":"A","SecretAccessKey":"S\/s","Token":"T",{LAST}"#);
        let instance = container.replace("RoleArn\":\"r", "Code\":\"Success");
        let process = format!(r#"{{"Version":1,"AccessKeyId":"A","SecretAccessKey":"S/s","SessionToken":"T",{LAST}"#);
        let sign_on = r#"{"roleCredentials":{"accessKeyId":"A","secretAccessKey":"S/s","sessionToken":"T",
            "expiration":1893553445000}}"#;
        let service = "<R><Credentials><AccessKeyId>A</AccessKeyId><SecretAccessKey>S/s</SecretAccessKey>
            <SessionToken>T</SessionToken><Expiration>2030-01-02T03:04:05Z</Expiration></Credentials></R>";
        for (answerer, body) in [
            (Answerer::Container, &container[..]),
            (Answerer::Instance, &instance),
            (Answerer::Process, &process),
            (Answerer::SingleSignOn, sign_on),
            (Answerer::TokenService, service),
        ] {
            let keys = parse(answerer, body.as_bytes()).unwrap();
            assert_eq!((&keys.access_key_id[..], keys.secret_access_key.reveal()), ("A", "S/s"), "{answerer:?}");
            assert_eq!(keys.session_token.reveal(), "T");
            assert_eq!(keys.expires_at, Some(at("2030-01-02T03:04:05Z")), "{answerer:?}");
        }
        let lasting = br#"{"Version":1,"AccessKeyId":"A","SecretAccessKey":"S"}"#;
        assert!(parse(Answerer::Process, lasting).unwrap().expires_at.is_none());
    }

    #[test]
    fn answers_that_are_none_quote_nothing() {
        let good = format!(r#"{{"Code":"Success","AccessKeyId":"A","SecretAccessKey":"hush","Token":"hush",{LAST}"#);
        assert!(parse(Answerer::Instance, good.as_bytes()).is_ok());
        for (answerer, body) in [
            (Answerer::Instance, good.replace("Success", "Failed")),
            (Answerer::Process, good.clone()),
            (Answerer::Container, good.replace("\"A\"", "\"A\\n\"")),
            (Answerer::Container, good.replace("\"A\"", "\"\"")),
            (Answerer::Container, good.replace("\"Token\":\"hush\"", "\"Token\":\"hush hush\"")),
            (Answerer::Container, good.replace("2030", "hush")),
            (Answerer::Container, good.replace("\"hush\"", "17")),
            (Answerer::Container, "hush".into()),
            (Answerer::SingleSignOn, good.clone()),
            (Answerer::TokenService, good.clone()),
        ] {
            assert_eq!(parse(answerer, body.as_bytes()).unwrap_err(), STRANGE, "{answerer:?} {body}");
        }
        assert_eq!(error_code(b"<E><Code>AccessDenied</Code></E>"), Some("AccessDenied"));
        assert_eq!(error_code(b"<E><Code>a b</Code></E>"), None);
    }

    #[test]
    fn times_with_and_without_an_offset() {
        let utc = at("2030-01-02T03:04:05Z");
        for text in ["2030-01-02T03:04:05Z", "2030-01-02T05:04:05+02:00", "2030-01-01T21:34:05-05:30"] {
            assert_eq!(time(text), Some(utc), "{text}");
        }
        assert_eq!(time("2030-01-02T03:04:05UTC"), Some(utc));
        for bad in
            ["", "Z", "2030", "2030-01-02T03:04:05+0200", "2030-01-02T03:04:05+aa:00", "\u{e9}\u{e9}\u{e9}\u{e9}"]
        {
            assert_eq!(time(bad), None, "{bad}");
        }
    }
}
