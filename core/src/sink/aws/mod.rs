//! Sinks of Amazon Web Services: [`KinesisSink`] and [`CloudWatchLogsSink`] (cargo feature `aws`).
//!
//! ```no_run
//! # fn main() -> unistream::Result<()> {
//! use unistream::sink::aws::KinesisSink;
//! let sink = KinesisSink::builder("clicks").region("eu-central-1").build()?;
//! # Ok(())
//! # }
//! ```
//!
//! Building a sink reads options, `AWS_*` variables and the shared configuration files as the AWS tools do, and
//! calls nobody. `put` never touches the network; `send` makes signed calls over connections that it keeps, and
//! retries none of them: the producer's schedule does.
//!
//! | what | where from, the first that says it |
//! |---|---|
//! | region | option `region`, `AWS_REGION`, `AWS_DEFAULT_REGION`, profile |
//! | endpoint | option `endpoint_url`, `AWS_ENDPOINT_URL_KINESIS` or `_CLOUDWATCH_LOGS`, `AWS_ENDPOINT_URL`, the profile's `services` section, its `endpoint_url`, the region's endpoint in its partition |
//! | FIPS, dual-stack | options `use_fips`, `use_dualstack`, `AWS_USE_FIPS_ENDPOINT`, `AWS_USE_DUALSTACK_ENDPOINT`, profile |
//! | credentials | builder or options, environment, profile (role, keys, single sign-on, process), web identity, container, instance (IMDSv2). A profile that is named by the option goes before the environment |
//! | proxy | `https_proxy` or `http_proxy` by the endpoint's scheme, `all_proxy`, but for hosts and networks of `no_proxy`; in upper case too, but for `HTTP_PROXY`, which a CGI program's client chooses |
//! | trust | option `ca_bundle`, `AWS_CA_BUNDLE`, profile, `SSL_CERT_FILE`, Mozilla's authorities |
//!
//! The option `use_environment = false` leaves variables and files out, and so does a program that is setuid, setgid or has
//! capabilities of its file: who started it must not choose what it reads, runs and trusts.
//!
//! Containers and instances are asked for credentials directly, never through a proxy, and without TLS only at loopback
//! and at the addresses that AWS documents; no redirection is followed. A `credential_process` is run without a shell,
//! for at most 60 s and 64 KiB of output.
//!
//! What a failure means to the producer:
//!
//! | failure | outcome |
//! |---|---|
//! | network, time-out, 5xx, 429, throttling, the key service; permissions, credentials, clock skew, no such stream or group; an answer that is not as documented | unavailable: retried without using up attempts |
//! | the call is refused for an argument | halved until the culprit is alone: that record is rejected, the others go on |
//! | anything else | failed |
//!
//! The feature makes the stripped shared library of C 2.5 MB larger (3.4 MB instead of 0.9 MB on x86-64 Linux): HTTP,
//! TLS and signing, without an async runtime. `tests/aws/bench.sh` measures it.
//!
//! Credentials show in no message, name or `Debug`, and in no log record of level `DEBUG` or above; a program that
//! switches on `TRACE` for the crate `ureq_proto` asks for a dump of the wire, and gets one. Keys lie in memory that core
//! dumps leave out, and what they were read into is cleared; the copies of a token in the headers of a call are the HTTP
//! library's, and are not.
//!
//! A call that the service accepted without our seeing its answer is sent again: delivery is at least once.

mod client;
mod cloudwatch_logs;
mod config;
mod credentials;
mod delivery;
#[cfg(feature = "torture")]
#[path = "../../../../tests/torture/src/fuzz/aws.rs"]
pub(crate) mod fuzz;
mod kinesis;
mod redact;
mod sign;

pub use self::cloudwatch_logs::{CloudWatchLogsBuilder, CloudWatchLogsOptions, CloudWatchLogsSink};
pub use self::config::Environment;
pub use self::credentials::Credentials;
pub use self::kinesis::{KinesisBuilder, KinesisOptions, KinesisSink, PartitionBy};
pub use crate::options::Secret;

use self::client::{Client, Tls};
use self::config::{Endpoint, EndpointOptions, Profile, invalid};
use self::credentials::{CredentialsFn, Keys, Source};
use crate::error::Result;

/// The services that there are sinks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Service {
    Kinesis,
    CloudWatchLogs,
}

impl Service {
    /// The name in host names and signatures.
    fn signing_name(self) -> &'static str {
        match self {
            Service::Kinesis => "kinesis",
            Service::CloudWatchLogs => "logs",
        }
    }

    /// The name in `AWS_ENDPOINT_URL_*` and in `services` sections.
    fn config_key(self) -> &'static str {
        match self {
            Service::Kinesis => "kinesis",
            Service::CloudWatchLogs => "cloudwatch_logs",
        }
    }

    /// The version of the protocol, in `X-Amz-Target`.
    fn target_prefix(self) -> &'static str {
        match self {
            Service::Kinesis => "Kinesis_20131202",
            Service::CloudWatchLogs => "Logs_20140328",
        }
    }
}

/// Declares the options of a sink: its own, then those that say how to connect.
macro_rules! aws_options {
    ($(#[$meta:meta])* pub struct $name:ident, setters $setters:ident; $($rows:tt)+) => {
        $crate::options::option_table! {
            $(#[$meta])* pub struct $name, setters $setters;
            $($rows)+
            /// The region; empty: that of the ARN, the environment or the profile.
            region: Text = "", "a region such as eu-central-1, or empty", |_| true;
            /// Where to send instead of the region's own endpoint, such as an emulator or a VPC endpoint.
            endpoint_url: Text = "", "a URL such as http://127.0.0.1:4567, or empty", |_| true;
            /// The profile of the shared configuration files; empty: that of `AWS_PROFILE`, or `default`.
            profile: Text = "", "the name of a profile, or empty", |_| true;
            /// The id of the access key to sign with; empty: credentials are looked for where the AWS tools do.
            access_key_id: Secret = "", "an access key id, or empty", |_| true;
            /// The secret access key, together with `access_key_id`.
            secret_access_key: Secret = "", "a secret access key, or empty", |_| true;
            /// The session token of temporary keys, together with `access_key_id`.
            session_token: Secret = "", "a session token, or empty", |_| true;
            /// Use the endpoint that is validated under FIPS 140.
            use_fips: bool = "false", "true, false", |_| true;
            /// Use the endpoint that is reached by IPv6 too.
            use_dualstack: bool = "false", "true, false", |_| true;
            /// A file of PEM certificates to trust instead of Mozilla's authorities.
            ca_bundle: Text = "", "a path, or empty", |_| true;
            /// Read variables and the files that they or the home directory name: regions, endpoints, profiles,
            /// credentials, proxies, authorities. Without it the options alone count, and the instance's metadata
            /// service. A program that is setuid, setgid or has capabilities of its file never reads them.
            use_environment: bool = "true", "true, false", |_| true;
            /// The longest time to connect, TLS included.
            connect_timeout: Duration = "5", "0.01 to 600",
                |v| (Duration::from_millis(10)..=Duration::from_secs(600)).contains(v);
            /// The longest time of one call, from connecting to the last byte of the answer.
            timeout: Duration = "30", "0.01 to 600",
                |v| (Duration::from_millis(10)..=Duration::from_secs(600)).contains(v);
        }

        impl $name {
            /// A client by these options.
            fn connect(
                &self,
                service: $crate::sink::aws::Service,
                connection: $crate::sink::aws::Connection,
            ) -> $crate::Result<$crate::sink::aws::Client> {
                self.check_ranges()?;
                connection.open(service, $crate::sink::aws::ConnectOptions {
                    endpoint: $crate::sink::aws::EndpointOptions {
                        region: &self.region,
                        endpoint_url: &self.endpoint_url,
                        use_fips: self.use_fips,
                        use_dualstack: self.use_dualstack,
                    },
                    profile: &self.profile,
                    access_key_id: &self.access_key_id,
                    secret_access_key: &self.secret_access_key,
                    session_token: &self.session_token,
                    ca_bundle: &self.ca_bundle,
                    use_environment: self.use_environment,
                    connect_timeout: self.connect_timeout,
                    timeout: self.timeout,
                })
            }
        }
    };
}
use aws_options;

/// The options of every sink here, as [`aws_options!`] declares them.
struct ConnectOptions<'a> {
    endpoint: EndpointOptions<'a>,
    profile: &'a str,
    access_key_id: &'a Secret,
    secret_access_key: &'a Secret,
    session_token: &'a Secret,
    ca_bundle: &'a str,
    use_environment: bool,
    connect_timeout: std::time::Duration,
    timeout: std::time::Duration,
}

/// What a builder knows besides options.
#[derive(Clone, Default)]
struct Connection {
    credentials: Option<Source>,
    environment: Option<Environment>,
}

impl Connection {
    fn open(self, service: Service, options: ConnectOptions<'_>) -> Result<Client> {
        let environment = match (self.environment, options.use_environment) {
            (Some(_), false) => return Err(invalid("an environment is given, and use_environment is false")),
            (Some(environment), true) => environment,
            (None, true) => Environment::process(),
            (None, false) => Environment::empty(),
        };
        let profile = Profile::load(options.profile, &environment)?;
        let endpoint = Endpoint::resolve(service, &options.endpoint, &environment, &profile)?;
        let tls = Tls::load(options.ca_bundle, &environment, &profile)?;
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
        let keys = Keys::new(source, &endpoint.region, &environment, &tls);
        Client::new(service, &endpoint, keys, &environment, tls, options.connect_timeout, options.timeout)
    }
}

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
            self.connection.credentials = Some($crate::sink::aws::Source::Fixed(credentials));
            self
        }

        /// Asks a closure for the keys: before every call, or, where its answer says when it expires, two
        /// minutes before that. While it fails, the sink is unavailable.
        #[must_use]
        pub fn credentials_fn(
            mut self,
            function: impl Fn() -> Result<$crate::sink::aws::Credentials, Box<dyn std::error::Error + Send + Sync>>
            + Send
            + Sync
            + 'static,
        ) -> Self {
            let function: std::sync::Arc<$crate::sink::aws::CredentialsFn> = std::sync::Arc::new(function);
            self.connection.credentials = Some($crate::sink::aws::Source::Function(function));
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
use connection_setters;
