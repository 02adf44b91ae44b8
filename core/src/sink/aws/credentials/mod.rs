//! Keys to sign with: where they come from, how long they are kept. They show in no message and no `Debug`.

pub(crate) mod answers;
mod fetch;
pub(crate) mod process;

use std::error::Error as StdError;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use sha1::{Digest, Sha1};
use ureq::http::Request;
use ureq::http::header::{AUTHORIZATION, CONTENT_TYPE};
use ureq::http::{HeaderValue, Method};
use zeroize::Zeroizing;

use self::answers::Answerer;
use self::fetch::{Answer, Fetch, url};
use super::client::Tls;
use super::config::{Environment, Profile, regional_url};
use super::sign::{Scope, encode, hex};
use crate::secret::Secret;

/// Keys of AWS to sign with.
#[derive(Clone)]
pub struct Credentials {
    pub(super) access_key_id: String,
    pub(super) secret_access_key: Secret,
    /// Empty for keys that last.
    pub(super) session_token: Secret,
    pub(super) expires_at: Option<SystemTime>,
}

impl Credentials {
    /// Keys that last.
    pub fn new(access_key_id: impl Into<String>, secret_access_key: impl Into<Secret>) -> Self {
        Credentials {
            access_key_id: access_key_id.into(),
            secret_access_key: secret_access_key.into(),
            session_token: Secret::default(),
            expires_at: None,
        }
    }

    /// The token that belongs to temporary keys.
    #[must_use]
    pub fn session_token(mut self, token: impl Into<Secret>) -> Self {
        self.session_token = token.into();
        self
    }

    /// When they expire. Two minutes earlier their source is asked again.
    #[must_use]
    pub fn expires_at(mut self, time: SystemTime) -> Self {
        self.expires_at = Some(time);
        self
    }

    /// Whether they can be used for so long from now on.
    fn last(&self, time: Duration) -> bool {
        self.expires_at.is_none_or(|end| end > SystemTime::now() + time)
    }
}

impl fmt::Debug for Credentials {
    /// Shows nothing of them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").finish_non_exhaustive()
    }
}

/// A closure that knows the keys.
pub(super) type CredentialsFn = dyn Fn() -> Result<Credentials, Box<dyn StdError + Send + Sync>> + Send + Sync;

/// Where the keys come from.
#[derive(Clone)]
pub(super) enum Source {
    /// Given as options.
    Fixed(Credentials),
    /// Asked before every call, unless it says when its answer expires.
    Function(Arc<CredentialsFn>),
    /// Environment, profile, web identity, container, instance: what the AWS tools look at, in their order.
    /// A profile that is named by an option goes before keys in the environment.
    Chain { profile: String },
}

/// The keys in use.
pub(super) struct Keys {
    source: Source,
    region: String,
    fetch: Fetch,
    cached: Mutex<Option<Credentials>>,
}

impl Keys {
    pub(super) fn new(source: Source, region: &str, environment: &Environment, tls: &Tls) -> Self {
        let fetch = Fetch { environment: environment.clone(), tls: tls.clone() };
        Keys { source, region: region.into(), fetch, cached: Mutex::new(None) }
    }

    /// Keys good for two minutes more, asking their source where need be; the old ones for as long as they
    /// last where the source does not answer.
    pub(super) fn get(&self) -> Result<Credentials, String> {
        let mut cached = self.cached.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(keys) = cached.as_ref().filter(|keys| keys.last(Duration::from_secs(120))) {
            return Ok(keys.clone());
        }
        match self.ask() {
            Ok(keys) => {
                let keep = keys.expires_at.is_some() || !matches!(self.source, Source::Function(_));
                *cached = keep.then(|| keys.clone());
                Ok(keys)
            }
            Err(error) => {
                let usable = |keys: &&Credentials| keys.last(Duration::from_secs(10));
                cached.as_ref().filter(usable).cloned().ok_or(error)
            }
        }
    }

    /// The service did not take them: ask the source next time.
    pub(super) fn forget(&self) {
        *self.cached.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn ask(&self) -> Result<Credentials, String> {
        match &self.source {
            Source::Fixed(keys) => Ok(keys.clone()),
            Source::Function(function) => function().map_err(|error| error.to_string()),
            Source::Chain { profile } => self.chain(profile),
        }
    }

    fn environment(&self) -> &Environment {
        &self.fetch.environment
    }

    /// The first source that is configured answers; that it fails is not hidden by trying the next.
    fn chain(&self, option: &str) -> Result<Credentials, String> {
        if option.is_empty()
            && let Some(keys) = self.of_environment()?
        {
            return Ok(keys);
        }
        let profile = Profile::load(option, self.environment()).map_err(|error| error.to_string())?;
        if let Some(keys) = self.of_profile(&profile, &mut Vec::new())? {
            return Ok(keys);
        }
        let token_file = self.environment().get("AWS_WEB_IDENTITY_TOKEN_FILE");
        if let (Some(role), Some(file)) = (self.environment().get("AWS_ROLE_ARN"), token_file) {
            let session = self.environment().get("AWS_ROLE_SESSION_NAME");
            return self.web_identity(role, file, session);
        }
        if let Some(keys) = self.of_container()? {
            return Ok(keys);
        }
        let none = "no AWS credentials: none in the environment, the profile, a web identity or a container";
        match self.of_instance(&profile) {
            Ok(Some(keys)) => Ok(keys),
            Ok(None) => Err(format!("{none}, and the instance's metadata service is disabled")),
            Err(error) => Err(format!("{none}, and {error}")),
        }
    }

    fn of_environment(&self) -> Result<Option<Credentials>, String> {
        let get = |name: &str| self.environment().get(name);
        match (get("AWS_ACCESS_KEY_ID"), get("AWS_SECRET_ACCESS_KEY")) {
            (None, None) => Ok(None),
            (Some(id), Some(secret)) => {
                let token = get("AWS_SESSION_TOKEN").map(Secret::new).unwrap_or_default();
                Ok(Some(Credentials::new(id, Secret::new(secret)).session_token(token)))
            }
            _ => Err("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY go together".into()),
        }
    }

    /// What a profile says: a role, keys, single sign-on or a process. `visited` holds the profiles that led
    /// here by `source_profile`, against circles.
    fn of_profile(&self, profile: &Profile, visited: &mut Vec<String>) -> Result<Option<Credentials>, String> {
        let name = &profile.name;
        // A profile may be its own source: then its keys assume its role.
        let again = visited.contains(name);
        if let Some(role) = profile.get("role_arn").filter(|_| !again) {
            let session = profile.get("role_session_name");
            if let Some(file) = profile.get("web_identity_token_file") {
                return self.web_identity(role, file, session).map(Some);
            }
            visited.push(name.clone());
            let source = self.source_of_role(profile, visited)?;
            let mut parameters = vec![("RoleArn", role), ("RoleSessionName", session.unwrap_or("unistream"))];
            let optional = [("ExternalId", "external_id"), ("DurationSeconds", "duration_seconds")];
            parameters.extend(optional.iter().filter_map(|(name, key)| Some((*name, profile.get(key)?))));
            return self
                .role(&format!("the role of profile {name}"), "AssumeRole", &parameters, Some(&source))
                .map(Some);
        }
        if let (Some(id), Some(secret)) = (profile.get("aws_access_key_id"), profile.get("aws_secret_access_key")) {
            let token = profile.get("aws_session_token").map(Secret::new).unwrap_or_default();
            return Ok(Some(Credentials::new(id, Secret::new(secret)).session_token(token)));
        }
        if let (Some(account), Some(role)) = (profile.get("sso_account_id"), profile.get("sso_role_name")) {
            let keys = self.single_sign_on(profile, account, role);
            return keys.map(Some).map_err(named(&format!("single sign-on of profile {name}")));
        }
        if let Some(command) = profile.get("credential_process") {
            let output = process::run(command, self.environment());
            let keys = output.and_then(|output| answers::parse(Answerer::Process, &output));
            return keys.map(Some).map_err(named(&format!("the credential_process of profile {name}")));
        }
        Ok(None)
    }

    /// Who may assume the role of a profile.
    fn source_of_role(&self, profile: &Profile, visited: &mut Vec<String>) -> Result<Credentials, String> {
        let name = &profile.name;
        if profile.get("mfa_serial").is_some() {
            return Err(format!("profile {name}: nobody is there to be asked for the code of its mfa_serial"));
        }
        let source = match (profile.get("source_profile"), profile.get("credential_source")) {
            (Some(source), _) if source != name && visited.iter().any(|seen| seen == source) => {
                return Err(format!("profile {name}: source_profile {source} leads back to itself"));
            }
            (Some(source), _) => {
                let source = profile
                    .sibling(source)
                    .ok_or_else(|| format!("profile {name}: there is no source_profile {source}"))?;
                self.of_profile(&source, visited)?
            }
            (None, Some("Environment")) => self.of_environment()?,
            (None, Some("EcsContainer")) => self.of_container()?,
            (None, Some("Ec2InstanceMetadata")) => self.of_instance(profile)?,
            _ => return Err(format!("profile {name} has a role_arn but no source_profile or credential_source")),
        };
        source.ok_or_else(|| format!("profile {name}: the source of its role has no credentials"))
    }

    fn web_identity(&self, role: &str, token_file: &str, session: Option<&str>) -> Result<Credentials, String> {
        let token = read_secret(Path::new(token_file)).map_err(named("the web identity"))?;
        let session = session.unwrap_or("unistream");
        let parameters = [("RoleArn", role), ("RoleSessionName", session), ("WebIdentityToken", token.trim())];
        self.role("the web identity", "AssumeRoleWithWebIdentity", &parameters, None)
    }

    /// Asks the security token service of the region.
    fn role(
        &self,
        place: &str,
        action: &str,
        parameters: &[(&str, &str)],
        signer: Option<&Credentials>,
    ) -> Result<Credentials, String> {
        let ask = || {
            let endpoint = match self.environment().get("AWS_ENDPOINT_URL_STS") {
                Some(url) => url.to_owned(),
                None => regional_url("sts", &self.region, false, false).map_err(|error| error.to_string())?,
            };
            // A web identity's token stands here.
            let length = parameters.iter().map(|(name, value)| name.len() + 3 * value.len() + 2).sum::<usize>();
            let mut form = Zeroizing::new(String::with_capacity(length + 64));
            form.push_str(&format!("Action={action}&Version=2011-06-15"));
            for (name, value) in parameters {
                form.push_str(&format!("&{name}="));
                form.push_str(&Zeroizing::new(encode(value, b"")));
            }
            let mut request = request(Method::POST, &endpoint, "/", form.as_bytes())?;
            let form_type = HeaderValue::from_static("application/x-www-form-urlencoded; charset=utf-8");
            request.headers_mut().insert(CONTENT_TYPE, form_type);
            if let Some(keys) = signer {
                Scope { region: &self.region, service: "sts" }.sign(&mut request, keys, SystemTime::now())?;
            }
            let answer = self.fetch.remote(request)?;
            if answer.status != 200 {
                let code = answers::error_code(&answer.body).map(|code| format!(", {code}")).unwrap_or_default();
                return Err(format!("HTTP status {}{code}", answer.status));
            }
            answers::parse(Answerer::TokenService, &answer.body)
        };
        ask().map_err(named(place))
    }

    /// <https://docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html>
    fn of_container(&self) -> Result<Option<Credentials>, String> {
        let get = |name: &str| self.environment().get(name);
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
            answers::parse(Answerer::Container, &good(self.fetch.nearby(request)?)?)
        };
        ask().map(Some).map_err(named("the container"))
    }

    /// The instance's metadata service, version 2. `None`: it is not to be asked.
    fn of_instance(&self, profile: &Profile) -> Result<Option<Credentials>, String> {
        let get = |name: &str| self.environment().get(name);
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
        let ask = || {
            let mut token = request(Method::PUT, base, "/latest/api/token", b"")?;
            token.headers_mut().insert("x-aws-ec2-metadata-token-ttl-seconds", HeaderValue::from_static("300"));
            let token = good(self.fetch.nearby(token)?)?;
            let token = secret_header(std::str::from_utf8(&token).map_err(|_| "a token that is no text")?)?;
            let ask = |path: &str| {
                let mut request = request(Method::GET, base, path, b"")?;
                request.headers_mut().insert("x-aws-ec2-metadata-token", token.clone());
                good(self.fetch.nearby(request)?)
            };
            const ROLES: &str = "/latest/meta-data/iam/security-credentials/";
            let roles = ask(ROLES)?;
            let role = std::str::from_utf8(&roles).ok().and_then(|roles| roles.lines().next()).unwrap_or_default();
            if role.is_empty() {
                return Err("it has no role".into());
            }
            answers::parse(Answerer::Instance, &ask(&format!("{ROLES}{}", encode(role, b"")))?)
        };
        ask().map(Some).map_err(named("the instance"))
    }

    /// What `aws sso login` has left in its cache is changed for keys.
    fn single_sign_on(&self, profile: &Profile, account: &str, role: &str) -> Result<Credentials, String> {
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
        let home = self.environment().home_dir().ok_or(login)?;
        let name = format!(".aws/sso/cache/{}.json", hex(&Sha1::digest(of.as_bytes())));
        let cached = read_secret(&home.join(name)).map_err(|_| login)?;
        let (token, end) = answers::cached_token(cached.as_bytes()).ok_or(login)?;
        if end <= SystemTime::now() {
            return Err(login.into());
        }
        let endpoint = match self.environment().get("AWS_ENDPOINT_URL_SSO") {
            Some(url) => url.to_owned(),
            None => regional_url("portal.sso", region, false, false).map_err(|error| error.to_string())?,
        };
        let query = format!("?role_name={}&account_id={}", encode(role, b""), encode(account, b""));
        let mut request = request(Method::GET, &endpoint, &format!("/federation/credentials{query}"), b"")?;
        request.headers_mut().insert("x-amz-sso_bearer_token", secret_header(token.reveal())?);
        let answer = self.fetch.remote(request)?;
        match answer.status {
            401 => Err(login.into()),
            _ => answers::parse(Answerer::SingleSignOn, &good(answer)?),
        }
    }
}

/// Names in an error whom it is about.
fn named(place: &str) -> impl Fn(String) -> String {
    move |error| format!("no credentials from {place}: {error}")
}

fn request<'b>(method: Method, base: &str, rest: &str, body: &'b [u8]) -> Result<Request<&'b [u8]>, String> {
    Request::builder().method(method).uri(url(base, rest)?).body(body).map_err(|error| error.to_string())
}

fn secret_header(text: &str) -> Result<HeaderValue, String> {
    let mut value = HeaderValue::from_str(text).map_err(|_| "its token cannot stand in a header")?;
    value.set_sensitive(true);
    Ok(value)
}

/// The body of a good answer. Those of others are not repeated: they could hold anything.
fn good(answer: Answer) -> Result<Zeroizing<Vec<u8>>, String> {
    if answer.status == 200 { Ok(answer.body) } else { Err(format!("HTTP status {}", answer.status)) }
}

/// The text of a small file with a secret.
fn read_secret(path: &Path) -> Result<Zeroizing<String>, String> {
    super::config::read_text(path).map_err(|error| format!("cannot read {}: {error}", path.display()))
}
