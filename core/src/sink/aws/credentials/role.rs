//! Keys of a role, from the security token service of the region: `AssumeRole` and `AssumeRoleWithWebIdentity`.

use std::path::Path;
use std::time::SystemTime;

use ureq::http::header::CONTENT_TYPE;
use ureq::http::{HeaderValue, Method};
use zeroize::Zeroizing;

use super::answers::{self, Answerer};
use super::fetch::{Fetch, named, read_secret, request};
use crate::sink::aws::endpoint::regional_url;
use crate::sink::aws::keys::Credentials;
use crate::sink::aws::profile::Profile;
use crate::sink::aws::sign::Scope;
use crate::sink::net::encode::percent;

/// The name of a session where nobody gives one.
const SESSION: &str = "unistream";

/// The role of a profile, assumed with the keys of its source.
pub(super) fn of_profile(
    fetch: &Fetch,
    region: &str,
    profile: &Profile,
    role: &str,
    source: &Credentials,
) -> Result<Credentials, String> {
    let session = profile.get("role_session_name").unwrap_or(SESSION);
    let mut parameters = vec![("RoleArn", role), ("RoleSessionName", session)];
    let optional = [("ExternalId", "external_id"), ("DurationSeconds", "duration_seconds")];
    parameters.extend(optional.iter().filter_map(|(name, key)| Some((*name, profile.get(key)?))));
    let keys = ask(fetch, region, "AssumeRole", &parameters, Some(source));
    keys.map_err(named(&format!("the role of profile {}", profile.name)))
}

/// The role that a token in a file may assume, such as that of a Kubernetes service account.
pub(super) fn of_web_identity(
    fetch: &Fetch,
    region: &str,
    role: &str,
    token_file: &str,
    session: Option<&str>,
) -> Result<Credentials, String> {
    let ask = || {
        let token = read_secret(Path::new(token_file))?;
        let session = session.unwrap_or(SESSION);
        let parameters = [("RoleArn", role), ("RoleSessionName", session), ("WebIdentityToken", token.trim())];
        ask(fetch, region, "AssumeRoleWithWebIdentity", &parameters, None)
    };
    ask().map_err(named("the web identity"))
}

fn ask(
    fetch: &Fetch,
    region: &str,
    action: &str,
    parameters: &[(&str, &str)],
    signer: Option<&Credentials>,
) -> Result<Credentials, String> {
    let endpoint = match fetch.environment.get("AWS_ENDPOINT_URL_STS") {
        Some(url) => url.to_owned(),
        None => regional_url("sts", region, false, false).map_err(|error| error.to_string())?,
    };
    // A web identity's token stands here: allocate the whole form at once, since a text that grows leaves copies behind.
    let length = parameters.iter().map(|(name, value)| name.len() + 3 * value.len() + 2).sum::<usize>();
    let mut form = Zeroizing::new(String::with_capacity(length + 64));
    form.push_str(&format!("Action={action}&Version=2011-06-15"));
    for (name, value) in parameters {
        form.push_str(&format!("&{name}="));
        form.push_str(&Zeroizing::new(percent(value, b"")));
    }
    let mut request = request(Method::POST, &endpoint, "/", form.as_bytes())?;
    let form_type = HeaderValue::from_static("application/x-www-form-urlencoded; charset=utf-8");
    request.headers_mut().insert(CONTENT_TYPE, form_type);
    if let Some(keys) = signer {
        Scope { region, service: "sts" }.sign(&mut request, keys, SystemTime::now())?;
    }
    let answer = fetch.remote(request)?;
    if answer.status != 200 {
        let code = answers::error_code(&answer.body).map(|code| format!(", {code}")).unwrap_or_default();
        return Err(format!("HTTP status {}{code}", answer.status));
    }
    answers::parse(Answerer::TokenService, &answer.body)
}
