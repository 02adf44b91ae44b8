//! From options to a client: what every sink of AWS does alike.

use super::client::{Client, MAX_ANSWER};
use super::credentials::{Keys, Source};
use super::endpoint::{Endpoint, EndpointOptions};
use super::keys::Credentials;
use super::profile::Profile;
use super::service::Service;
use crate::error::Result;
use crate::options::Secret;
use crate::sink::net::environment::Environment;
use crate::sink::net::http::Settings;
use crate::sink::net::invalid;
use crate::sink::net::trust::Trust;

/// The options of every sink here, as `aws_options!` declares them.
pub(super) struct ConnectOptions<'a> {
    pub(super) endpoint: EndpointOptions<'a>,
    pub(super) profile: &'a str,
    pub(super) access_key_id: &'a Secret,
    pub(super) secret_access_key: &'a Secret,
    pub(super) session_token: &'a Secret,
    pub(super) ca_bundle: &'a str,
    pub(super) use_environment: bool,
    pub(super) connect_timeout: std::time::Duration,
    pub(super) timeout: std::time::Duration,
}

/// What a builder knows besides options.
#[derive(Clone, Default)]
pub(super) struct Connection {
    pub(super) credentials: Option<Source>,
    pub(super) environment: Option<Environment>,
}

impl Connection {
    pub(super) fn open(self, service: Service, options: ConnectOptions<'_>) -> Result<Client> {
        let environment = match (self.environment, options.use_environment) {
            (Some(_), false) => return Err(invalid("an environment is given, and use_environment is false")),
            (Some(environment), true) => environment,
            (None, true) => Environment::process(),
            (None, false) => Environment::empty(),
        };
        let profile = Profile::load(options.profile, &environment)?;
        let endpoint = Endpoint::resolve(service, &options.endpoint, &environment, &profile)?;
        let trust = trust(options.ca_bundle, &environment, &profile)?;
        let (id, secret, token) = (options.access_key_id, options.secret_access_key, options.session_token);
        let source = match (self.credentials, id.is_empty(), secret.is_empty()) {
            (Some(source), true, true) => source,
            (Some(_), ..) => return Err(invalid("credentials are given twice, to the builder and as options")),
            (None, true, true) if token.is_empty() => Source::Chain { profile: options.profile.into() },
            (None, false, false) => {
                Source::Fixed(Credentials::new(id.reveal(), secret.clone()).session_token(token.clone()))
            }
            _ => return Err(invalid("access_key_id and secret_access_key go together")),
        };
        let keys = Keys::new(source, &endpoint.region, &environment, &trust);
        let settings = Settings {
            proxies: environment,
            trust,
            identity: None,
            connect_timeout: options.connect_timeout,
            timeout: options.timeout,
            max_answer: MAX_ANSWER,
            compressed: true,
        };
        Client::new(service, &endpoint, keys, settings)
    }
}

/// The authorities of the option's file, else of `AWS_CA_BUNDLE`, of the profile's `ca_bundle`, of `SSL_CERT_FILE`; else
/// Mozilla's.
fn trust(option: &str, environment: &Environment, profile: &Profile) -> Result<Trust> {
    let path = Some(option)
        .filter(|path| !path.is_empty())
        .or_else(|| environment.get("AWS_CA_BUNDLE"))
        .or_else(|| profile.get("ca_bundle"))
        .or_else(|| environment.get("SSL_CERT_FILE"));
    path.map_or_else(|| Ok(Trust::default()), Trust::load)
}

/// Makes a client of a sink's options, of which those of `aws_options!` count here.
macro_rules! connect {
    ($service:expr, $options:expr, $connection:expr) => {{
        let options = &$options;
        options.check_ranges()?;
        let endpoint = $crate::sink::aws::endpoint::EndpointOptions {
            region: &options.region,
            endpoint_url: &options.endpoint_url,
            use_fips: options.use_fips,
            use_dualstack: options.use_dualstack,
        };
        $connection.open(
            $service,
            $crate::sink::aws::connection::ConnectOptions {
                endpoint,
                profile: &options.profile,
                access_key_id: &options.access_key_id,
                secret_access_key: &options.secret_access_key,
                session_token: &options.session_token,
                ca_bundle: &options.ca_bundle,
                use_environment: options.use_environment,
                connect_timeout: options.connect_timeout,
                timeout: options.timeout,
            },
        )?
    }};
}
pub(super) use connect;

/// The builder's methods that are no options.
macro_rules! connection_setters {
    () => {
        /// Sets an option from its text form.
        ///
        /// # Errors
        /// `InvalidArgument` for an unknown key or a value that it does not take.
        pub fn set(mut self, key: &str, value: &str) -> $crate::Result<Self> {
            self.options.set(key, value)?;
            Ok(self)
        }

        /// Signs with these keys instead of looking for some.
        #[must_use]
        pub fn credentials(mut self, credentials: $crate::sink::aws::Credentials) -> Self {
            self.connection.credentials = Some($crate::sink::aws::credentials::Source::Fixed(credentials));
            self
        }

        /// Asks a closure for the keys: before every call, or, where its answer says when it expires, five
        /// minutes before that. While it fails, the sink is unavailable.
        #[must_use]
        pub fn credentials_fn(
            mut self,
            function: impl Fn() -> Result<$crate::sink::aws::Credentials, Box<dyn std::error::Error + Send + Sync>>
            + Send
            + Sync
            + 'static,
        ) -> Self {
            let function: std::sync::Arc<$crate::sink::aws::credentials::CredentialsFn> = std::sync::Arc::new(function);
            self.connection.credentials = Some($crate::sink::aws::credentials::Source::Function(function));
            self
        }

        /// Reads these variables and this home directory instead of the process's own.
        #[must_use]
        pub fn environment(mut self, environment: $crate::sink::aws::Environment) -> Self {
            self.connection.environment = Some(environment);
            self
        }
    };
}
pub(super) use connection_setters;
