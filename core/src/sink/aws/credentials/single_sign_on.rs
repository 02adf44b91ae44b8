//! Keys by the token that `aws sso login` has left in its cache.

use std::time::SystemTime;

use sha1::{Digest, Sha1};
use ureq::http::Method;

use super::answers::{self, Answerer};
use super::fetch::{Fetch, good, read_secret, request, secret_header};
use crate::sink::aws::endpoint::regional_url;
use crate::sink::aws::keys::Credentials;
use crate::sink::aws::profile::Profile;
use crate::sink::net::encode::{hex, percent};

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
    let login = "there is no token that lasts; run aws sso login";
    let home = fetch.environment.home_dir().ok_or(login)?;
    let name = format!(".aws/sso/cache/{}.json", hex(&Sha1::digest(of.as_bytes())));
    let cached = read_secret(&home.join(name)).map_err(|_| login)?;
    let (token, end) = answers::cached_token(cached.as_bytes()).ok_or(login)?;
    if end <= SystemTime::now() {
        return Err(login.into());
    }
    let endpoint = match fetch.environment.get("AWS_ENDPOINT_URL_SSO") {
        Some(url) => url.to_owned(),
        None => regional_url("portal.sso", region, false, false).map_err(|error| error.to_string())?,
    };
    let query = format!("?role_name={}&account_id={}", percent(role, b""), percent(account, b""));
    let mut request = request(Method::GET, &endpoint, &format!("/federation/credentials{query}"), b"")?;
    request.headers_mut().insert("x-amz-sso_bearer_token", secret_header(token.reveal())?);
    let answer = fetch.remote(request)?;
    match answer.status {
        401 => Err(login.into()),
        _ => answers::parse(Answerer::SingleSignOn, &good(answer)?),
    }
}
