//! Keys by the token that `aws sso login` has left in its cache. A token near its end is renewed there, as the AWS tools do.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde_json::{Map, Value};
use sha1::{Digest, Sha1};
use ureq::http::header::CONTENT_TYPE;
use ureq::http::{HeaderValue, Method};
use zeroize::Zeroizing;

use super::answers::{self, Answerer, SignedOn};
use super::fetch::{Fetch, good, read_secret, request, secret_header};
use crate::secret::Secret;
use crate::sink::aws::endpoint::regional_url;
use crate::sink::aws::keys::Credentials;
use crate::sink::aws::profile::Profile;
use crate::sink::net::encode::{hex, percent};
use crate::time::{micros, timestamp};

const LOGIN: &str = "there is no token that lasts; run aws sso login";

/// A token that lasts no longer than this is renewed, if it can be.
const EARLY: Duration = Duration::from_secs(15 * 60);

pub(super) fn ask(fetch: &Fetch, profile: &Profile, account: &str, role: &str) -> Result<Credentials, String> {
    let session = profile.get("sso_session");
    let via = |key: &str| match session {
        Some(_) => profile.get_via("sso_session", "sso-session", key),
        None => profile.get(key),
    };
    // The cached token's file is named after the session where there is one, else after the start URL.
    let (Some(region), Some(of)) = (via("sso_region"), session.or_else(|| via("sso_start_url"))) else {
        return Err("the profile lacks sso_region or sso_start_url".into());
    };
    let token = token(fetch, region, of)?;
    let endpoint = endpoint(fetch, "AWS_ENDPOINT_URL_SSO", "portal.sso", region)?;
    let query = format!("?role_name={}&account_id={}", percent(role, b""), percent(account, b""));
    let mut request = request(Method::GET, &endpoint, &format!("/federation/credentials{query}"), b"")?;
    request.headers_mut().insert("x-amz-sso_bearer_token", secret_header(token.reveal())?);
    let answer = fetch.remote(request)?;
    match answer.status {
        401 => Err(LOGIN.into()),
        _ => answers::parse(Answerer::SingleSignOn, &good(answer)?),
    }
}

fn endpoint(fetch: &Fetch, variable: &str, service: &str, region: &str) -> Result<String, String> {
    match fetch.environment.get(variable) {
        Some(url) => Ok(url.to_owned()),
        None => regional_url(service, region, false, false).map_err(|error| error.to_string()),
    }
}

/// The token in the cache of a session or start URL.
fn token(fetch: &Fetch, region: &str, of: &str) -> Result<Secret, String> {
    let home = fetch.environment.home_dir().ok_or(LOGIN)?;
    let path = home.join(format!(".aws/sso/cache/{}.json", hex(&Sha1::digest(of.as_bytes()))));
    let text = read_secret(&path).map_err(|_| LOGIN)?;
    let cached = answers::cached_token(text.as_bytes()).ok_or(LOGIN)?;
    let now = SystemTime::now();
    if cached.expires_at > now + EARLY {
        return Ok(cached.access_token);
    }
    match renew(fetch, region, &cached) {
        Ok(new) => {
            // A process that cannot write there renews the token again at its next start.
            let _ = store(&path, &text, &new);
            Ok(new.access_token)
        }
        Err(_) if cached.expires_at > now => Ok(cached.access_token),
        Err(error) => Err(format!("{LOGIN} ({error})")),
    }
}

/// Asks for a new token by the refresh token.
fn renew(fetch: &Fetch, region: &str, cached: &SignedOn) -> Result<SignedOn, String> {
    let [id, secret, refresh] = [&cached.client_id, &cached.client_secret, &cached.refresh_token];
    if [id, secret, refresh].iter().any(|text| text.is_empty()) {
        return Err("it cannot be renewed".into());
    }
    let endpoint = endpoint(fetch, "AWS_ENDPOINT_URL_SSO_OIDC", "oidc", region)?;
    let text = |text: &Secret| Zeroizing::new(Value::from(text.reveal()).to_string());
    let (id, secret, refresh) = (text(id), text(secret), text(refresh));
    let body = Zeroizing::new(format!(
        "{{\"clientId\":{},\"clientSecret\":{},\"grantType\":\"refresh_token\",\"refreshToken\":{}}}",
        *id, *secret, *refresh
    ));
    let mut request = request(Method::POST, &endpoint, "/token", body.as_bytes())?;
    request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answers::renewed_token(&good(fetch.remote(request)?)?)
}

/// Writes the new token into the cache in place of the old one, and leaves all else as it was.
fn store(path: &Path, text: &str, new: &SignedOn) -> std::io::Result<()> {
    let mut cache: Map<String, Value> = serde_json::from_str(text)?;
    cache.insert("accessToken".into(), new.access_token.reveal().into());
    cache.insert("expiresAt".into(), timestamp(micros(new.expires_at)).into());
    if !new.refresh_token.is_empty() {
        cache.insert("refreshToken".into(), new.refresh_token.reveal().into());
    }
    let text = Zeroizing::new(serde_json::to_vec(&cache)?);
    let beside = path.with_extension(format!("{}.tmp", std::process::id()));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
    let written = file.write_all(&text).and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        let _ = fs::remove_file(&beside);
    }
    written
}
