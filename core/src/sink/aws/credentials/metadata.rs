//! Keys of the machine: from the service beside a container, and from an instance's metadata service (IMDSv2).

use std::path::Path;

use ureq::http::header::AUTHORIZATION;
use ureq::http::{HeaderValue, Method};
use zeroize::Zeroizing;

use super::answers::{self, Answerer};
use super::fetch::{Fetch, good, named, read_secret, request, secret_header};
use crate::sink::aws::keys::Credentials;
use crate::sink::aws::profile::Profile;
use crate::sink::net::encode::percent;
use crate::sink::net::http::Answer;

/// Asks the service beside a container; `None` if none is configured.
///
/// <https://docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html>
pub(super) fn of_container(fetch: &Fetch) -> Result<Option<Credentials>, String> {
    let get = |name: &str| fetch.environment.get(name);
    let relative = get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI").map(|path| ("http://169.254.170.2", path));
    let full = get("AWS_CONTAINER_CREDENTIALS_FULL_URI").map(|url| (url, ""));
    let Some((base, path)) = relative.or(full) else { return Ok(None) };
    let ask = || {
        let mut request = request(Method::GET, base, path, b"")?;
        let token = match get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE") {
            Some(file) => Some(read_secret(Path::new(file))?),
            None => get("AWS_CONTAINER_AUTHORIZATION_TOKEN").map(|token| Zeroizing::new(token.into())),
        };
        if let Some(token) = token {
            request.headers_mut().insert(AUTHORIZATION, secret_header(token.trim())?);
        }
        answers::parse(Answerer::Container, &good(fetch.nearby(request)?)?)
    };
    ask().map(Some).map_err(named("the container"))
}

/// Asks the instance's metadata service; `None` if it is switched off.
pub(super) fn of_instance(fetch: &Fetch, profile: &Profile) -> Result<Option<Credentials>, String> {
    let get = |name: &str| fetch.environment.get(name);
    if get("AWS_EC2_METADATA_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return Ok(None);
    }
    let setting = |variable: &str, key: &str| get(variable).or_else(|| profile.get(key));
    let mode = setting("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", "ec2_metadata_service_endpoint_mode");
    let v6 = mode.is_some_and(|mode| mode.eq_ignore_ascii_case("ipv6"));
    let base = setting("AWS_EC2_METADATA_SERVICE_ENDPOINT", "ec2_metadata_service_endpoint").unwrap_or(match v6 {
        true => "http://[fd00:ec2::254]",
        false => "http://169.254.169.254",
    });
    instance_keys(&mut Session { fetch, base, token: None }).map(Some).map_err(named("the instance"))
}

fn instance_keys(session: &mut Session<'_>) -> Result<Credentials, String> {
    const ROLES: &str = "/latest/meta-data/iam/security-credentials/";
    let roles = session.get(ROLES)?;
    let role = std::str::from_utf8(&roles).ok().and_then(|roles| roles.lines().next()).unwrap_or_default();
    if role.is_empty() {
        return Err("it has no role".into());
    }
    answers::parse(Answerer::Instance, &session.get(&format!("{ROLES}{}", percent(role, b"")))?)
}

/// Questions to a metadata service, under a token.
struct Session<'a> {
    fetch: &'a Fetch,
    base: &'a str,
    token: Option<HeaderValue>,
}

impl Session<'_> {
    /// Gets a path. If the service no longer takes the token (401), gets a new one and tries once more.
    fn get(&mut self, path: &str) -> Result<Zeroizing<Vec<u8>>, String> {
        let had_token = self.token.is_some();
        let answer = self.ask(path)?;
        if answer.status == 401 && had_token {
            self.token = None;
            return good(self.ask(path)?);
        }
        good(answer)
    }

    fn ask(&mut self, path: &str) -> Result<Answer, String> {
        let token = match &self.token {
            Some(token) => token.clone(),
            None => self.token.insert(self.new_token()?).clone(),
        };
        let mut request = request(Method::GET, self.base, path, b"")?;
        request.headers_mut().insert("x-aws-ec2-metadata-token", token);
        self.fetch.nearby(request)
    }

    fn new_token(&self) -> Result<HeaderValue, String> {
        let mut request = request(Method::PUT, self.base, "/latest/api/token", b"")?;
        request.headers_mut().insert("x-aws-ec2-metadata-token-ttl-seconds", HeaderValue::from_static("300"));
        let token = good(self.fetch.nearby(request)?)?;
        secret_header(std::str::from_utf8(&token).map_err(|_| "a token that is no text")?)
    }
}
