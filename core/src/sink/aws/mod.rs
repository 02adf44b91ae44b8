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

#[cfg(feature = "aws")]
mod client;
pub mod cloudwatch_logs;
#[cfg(feature = "aws")]
mod config;
#[cfg(feature = "aws")]
mod connection;
#[cfg(feature = "aws")]
mod credentials;
#[cfg(feature = "aws")]
mod delivery;
#[cfg(all(feature = "aws", feature = "torture"))]
#[path = "../../../../tests/torture/src/fuzz/aws.rs"]
pub(crate) mod fuzz;
pub mod kinesis;
mod options;
#[cfg(feature = "aws")]
mod redact;
#[cfg(feature = "aws")]
mod service;
#[cfg(feature = "aws")]
mod sign;

pub use self::cloudwatch_logs::CloudWatchLogsOptions;
#[cfg(feature = "aws")]
pub use self::cloudwatch_logs::{CloudWatchLogsBuilder, CloudWatchLogsSink};
#[cfg(feature = "aws")]
pub use self::config::Environment;
#[cfg(feature = "aws")]
pub use self::credentials::Credentials;
#[cfg(feature = "aws")]
pub use self::kinesis::{KinesisBuilder, KinesisSink};
pub use self::kinesis::{KinesisOptions, PartitionBy};
pub use crate::options::Secret;
