//! Keys to sign with: where they come from, how long they are kept. They show in no message and no `Debug`.

use std::collections::HashMap;
use std::error::Error as StdError;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use reqsign_aws_v4::{
    AssumeRoleCredentialProvider, AssumeRoleWithWebIdentityCredentialProvider, Credential, ECSCredentialProvider,
    EnvCredentialProvider, IMDSv2CredentialProvider, ProcessCredentialProvider, RequestSigner, SSOCredentialProvider,
};
use reqsign_core::time::Timestamp;
use reqsign_core::{CommandExecute, CommandOutput, Context, Env, FileRead, HttpSend, ProvideCredential};
use reqsign_core::{Signer, SigningCredential};
use ureq::http;

use super::client::{self, Tls};
use super::config::{Environment, Profile};

/// Keys of AWS to sign with.
#[derive(Clone)]
pub struct Credentials {
    access_key_id: String,
    secret_access_key: String,
    session_token: Option<String>,
    expires_at: Option<SystemTime>,
}

impl Credentials {
    /// Keys that last.
    pub fn new(access_key_id: impl Into<String>, secret_access_key: impl Into<String>) -> Self {
        Credentials {
            access_key_id: access_key_id.into(),
            secret_access_key: secret_access_key.into(),
            session_token: None,
            expires_at: None,
        }
    }

    /// The token that belongs to temporary keys.
    #[must_use]
    pub fn session_token(mut self, token: impl Into<String>) -> Self {
        self.session_token = Some(token.into());
        self
    }

    /// When they expire. Two minutes earlier their source is asked again.
    #[must_use]
    pub fn expires_at(mut self, time: SystemTime) -> Self {
        self.expires_at = Some(time);
        self
    }
}

impl fmt::Debug for Credentials {
    /// Shows nothing of them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").finish_non_exhaustive()
    }
}

impl From<Credentials> for Credential {
    fn from(credentials: Credentials) -> Self {
        let Credentials { access_key_id, secret_access_key, session_token, expires_at } = credentials;
        let expires_in = expires_at.and_then(|time| {
            let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
            Timestamp::from_millisecond(i64::try_from(since.as_millis()).ok()?).ok()
        });
        Credential { access_key_id, secret_access_key, session_token, expires_in }
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
    environment: Environment,
    context: Context,
    /// It keeps the token of the instance's metadata service.
    instance: IMDSv2CredentialProvider,
    cached: Mutex<Option<Credential>>,
}

impl Keys {
    pub(super) fn new(source: Source, region: &str, environment: &Environment, tls: &Tls) -> Self {
        let context = Context::new()
            .with_env(environment.clone())
            .with_file_read(Files)
            .with_command_execute(Commands(environment.clone()))
            .with_http_send(Http { environment: environment.clone(), tls: tls.clone() });
        Keys {
            source,
            region: region.into(),
            environment: environment.clone(),
            context,
            instance: IMDSv2CredentialProvider::new(),
            cached: Mutex::new(None),
        }
    }

    pub(super) fn context(&self) -> &Context {
        &self.context
    }

    /// Keys good for two minutes more, asking their source where need be; the old ones for as long as they
    /// last where the source does not answer.
    pub(super) fn get(&self) -> Result<Credential, String> {
        let mut cached = self.cached.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(credential) = cached.as_ref().filter(|credential| credential.is_valid()) {
            return Ok(credential.clone());
        }
        match self.fetch() {
            Ok(credential) => {
                let keep = credential.expires_in.is_some() || !matches!(self.source, Source::Function(_));
                *cached = keep.then(|| credential.clone());
                Ok(credential)
            }
            Err(error) => {
                let usable =
                    |credential: &&Credential| credential.is_valid_at(Timestamp::now() + Duration::from_secs(10));
                cached.as_ref().filter(usable).cloned().ok_or(error)
            }
        }
    }

    /// The service did not take them: ask the source next time.
    pub(super) fn forget(&self) {
        *self.cached.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn fetch(&self) -> Result<Credential, String> {
        match &self.source {
            Source::Fixed(credentials) => Ok(credentials.clone().into()),
            Source::Function(function) => function().map(Into::into).map_err(|error| error.to_string()),
            Source::Chain { profile } => self.chain(profile),
        }
    }

    /// The first source that is configured answers; that it fails is not hidden by trying the next.
    fn chain(&self, option: &str) -> Result<Credential, String> {
        if option.is_empty()
            && let Some(credential) = self.ask("the environment", EnvCredentialProvider::new())?
        {
            return Ok(credential);
        }
        let profile = Profile::load(option, &self.environment).map_err(|error| error.to_string())?;
        if let Some(credential) = self.of_profile(&profile, &mut Vec::new())? {
            return Ok(credential);
        }
        let token_file = self.environment.get("AWS_WEB_IDENTITY_TOKEN_FILE");
        if let (Some(role), Some(file)) = (self.environment.get("AWS_ROLE_ARN"), token_file) {
            let session = self.environment.get("AWS_ROLE_SESSION_NAME");
            return self.web_identity(role, file, session);
        }
        if let Some(credential) = self.ask("the container", ECSCredentialProvider::new())? {
            return Ok(credential);
        }
        let none = "no AWS credentials: none in the environment, the profile, a web identity or a container";
        match self.ask("the instance", self.instance.clone()) {
            Ok(Some(credential)) => Ok(credential),
            Ok(None) => Err(format!("{none}, and the instance's metadata service is disabled")),
            Err(error) => Err(format!("{none}, and {error}")),
        }
    }

    /// What a profile says: a role, keys, single sign-on or a process. `visited` holds the profiles that led
    /// here by `source_profile`, against circles.
    fn of_profile(&self, profile: &Profile, visited: &mut Vec<String>) -> Result<Option<Credential>, String> {
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
            let signer = Signer::new(self.context.clone(), Given(source), RequestSigner::new("sts", &self.region));
            let mut provider = AssumeRoleCredentialProvider::new(role.into(), signer)
                .with_region(self.region.clone())
                .with_regional_sts_endpoint()
                .with_role_session_name(session.unwrap_or("unistream").into());
            if let Some(id) = profile.get("external_id") {
                provider = provider.with_external_id(id.into());
            }
            if let Some(seconds) = profile.get("duration_seconds").and_then(|seconds| seconds.parse().ok()) {
                provider = provider.with_duration_seconds(seconds);
            }
            return self.ask(&format!("the role of profile {name}"), provider);
        }
        if let (Some(id), Some(secret)) = (profile.get("aws_access_key_id"), profile.get("aws_secret_access_key")) {
            let mut credentials = Credentials::new(id, secret);
            credentials.session_token = profile.get("aws_session_token").map(Into::into);
            return Ok(Some(credentials.into()));
        }
        if let (Some(account), Some(role)) = (profile.get("sso_account_id"), profile.get("sso_role_name")) {
            // The cached token's file is named after the session where there is one, else after the start URL;
            // the provider uses what it is told as the start URL for nothing else.
            let session = profile.get("sso_session");
            let via = |key: &str| match session {
                Some(_) => profile.get_via("sso_session", "sso-session", key),
                None => profile.get(key),
            };
            let start_url = session.or_else(|| via("sso_start_url"));
            let (Some(region), Some(start_url)) = (via("sso_region"), start_url) else {
                return Err(format!("profile {name} lacks sso_region or sso_start_url"));
            };
            let provider = SSOCredentialProvider::new()
                .with_account_id(account)
                .with_role_name(role)
                .with_region(region)
                .with_start_url(start_url);
            return self.ask(&format!("single sign-on of profile {name}"), provider);
        }
        if let Some(command) = profile.get("credential_process") {
            let provider = ProcessCredentialProvider::new().with_command(command);
            return self.ask(&format!("the credential_process of profile {name}"), provider);
        }
        Ok(None)
    }

    /// Who may assume the role of a profile.
    fn source_of_role(&self, profile: &Profile, visited: &mut Vec<String>) -> Result<Credential, String> {
        let name = &profile.name;
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
            (None, Some("Environment")) => self.ask("the environment", EnvCredentialProvider::new())?,
            (None, Some("EcsContainer")) => self.ask("the container", ECSCredentialProvider::new())?,
            (None, Some("Ec2InstanceMetadata")) => self.ask("the instance", self.instance.clone())?,
            _ => return Err(format!("profile {name} has a role_arn but no source_profile or credential_source")),
        };
        source.ok_or_else(|| format!("profile {name}: the source of its role has no credentials"))
    }

    fn web_identity(&self, role: &str, token_file: &str, session: Option<&str>) -> Result<Credential, String> {
        let provider = AssumeRoleWithWebIdentityCredentialProvider::with_config(role.into(), PathBuf::from(token_file))
            .with_region(self.region.clone())
            .with_regional_sts_endpoint()
            .with_role_session_name(session.unwrap_or("unistream").into());
        let none = || "the web identity gave no credentials".to_owned();
        self.ask("the web identity", provider)?.ok_or_else(none)
    }

    fn ask(
        &self,
        place: &str,
        provider: impl ProvideCredential<Credential = Credential>,
    ) -> Result<Option<Credential>, String> {
        pollster::block_on(provider.provide_credential(&self.context)).map_err(|error| {
            let text = error.to_string();
            // The parser's own words could quote a secret.
            let text = if text.starts_with("failed to parse") { "an answer that is not as documented" } else { &text };
            let hints = error.context().iter().map(|hint| format!(" ({hint})")).collect::<String>();
            format!("no credentials from {place}: {text}{hints}")
        })
    }
}

/// Keys at hand, as what a signer asks.
struct Given(Credential);

impl fmt::Debug for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Given")
    }
}

impl ProvideCredential for Given {
    type Credential = Credential;

    async fn provide_credential(&self, _: &Context) -> reqsign_core::Result<Option<Credential>> {
        Ok(Some(self.0.clone()))
    }
}

impl Env for Environment {
    fn var(&self, key: &str) -> Option<String> {
        self.get(key).map(Into::into)
    }

    fn vars(&self) -> HashMap<String, String> {
        self.variables().clone()
    }

    fn home_dir(&self) -> Option<PathBuf> {
        self.home_dir().map(Into::into)
    }
}

#[derive(Debug)]
struct Files;

impl FileRead for Files {
    async fn file_read(&self, path: &str) -> reqsign_core::Result<Vec<u8>> {
        std::fs::read(path).map_err(|error| reqsign_core::Error::config_invalid(format!("cannot read {path}: {error}")))
    }
}

#[derive(Debug)]
struct Commands(Environment);

impl CommandExecute for Commands {
    async fn command_execute<'a>(
        &'a self,
        program: &'a str,
        args: &'a [&'a str],
    ) -> reqsign_core::Result<CommandOutput> {
        let output = Command::new(program)
            .args(args)
            .env_clear()
            .envs(self.0.variables())
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .output()
            .map_err(|error| reqsign_core::Error::config_invalid(format!("cannot run {program}: {error}")))?;
        // What it says on stderr would end up in messages, and might hold a secret.
        Ok(CommandOutput { status: output.status.code().unwrap_or(-1), stdout: output.stdout, stderr: Vec::new() })
    }
}

/// How credentials are fetched: over TLS as the sink itself calls, or in the clear from this machine and its
/// link, directly.
#[derive(Debug)]
struct Http {
    environment: Environment,
    tls: Tls,
}

impl HttpSend for Http {
    async fn http_send(&self, request: http::Request<Bytes>) -> reqsign_core::Result<http::Response<Bytes>> {
        let unexpected = |message: String| reqsign_core::Error::unexpected(message);
        let uri = request.uri().clone();
        let host = uri.host().unwrap_or_default();
        let (connect, total) = if uri.scheme_str() == Some("https") {
            (Duration::from_secs(5), Duration::from_secs(30))
        } else if self.is_near(&uri) {
            (Duration::from_secs(1), Duration::from_secs(5))
        } else {
            return Err(unexpected(format!("credentials are not fetched from {host} without TLS")));
        };
        let agent =
            client::agent(&uri, &self.environment, &self.tls, connect, total).map_err(|e| unexpected(e.to_string()))?;
        let (parts, body) = request.into_parts();
        let answer = match body.is_empty() {
            true => agent.run(http::Request::from_parts(parts, ())),
            false => agent.run(http::Request::from_parts(parts, &body[..])),
        };
        let mut answer = answer.map_err(|error| unexpected(format!("{host}: {error}")))?;
        let body = answer.body_mut().read_to_vec().map_err(|error| unexpected(format!("{host}: {error}")))?;
        let (parts, _) = answer.into_parts();
        Ok(http::Response::from_parts(parts, body.into()))
    }
}

impl Http {
    /// Loopback, link-local, the addresses of the metadata services, and what a variable puts in their place.
    fn is_near(&self, uri: &http::Uri) -> bool {
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
        let replaced = ["AWS_EC2_METADATA_SERVICE_ENDPOINT", "AWS_SSO_ENDPOINT"].iter().any(|name| {
            let authority = |url: &str| url.parse::<http::Uri>().ok()?.authority().cloned();
            self.environment.get(name).and_then(authority).as_ref() == uri.authority()
        });
        let near = match host.parse() {
            Ok(IpAddr::V4(ip)) => ip.is_loopback() || ip.is_link_local(),
            Ok(IpAddr::V6(ip)) => ip.is_loopback() || ip.segments()[..2] == [0xfd00, 0x0ec2],
            Err(_) => host == "localhost",
        };
        near || replaced
    }
}
