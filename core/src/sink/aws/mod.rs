//! Sinks of Amazon Web Services: `KinesisSink` and `CloudWatchLogsSink` (cargo feature `aws`).
//!
//! ```no_run
//! # #[cfg(not(feature = "aws"))]
//! # fn main() {}
//! # #[cfg(feature = "aws")]
//! # fn main() -> unistream::Result<()> {
//! use unistream::sink::aws::KinesisSink;
//! let sink = KinesisSink::builder("clicks").region("eu-central-1").build()?;
//! # Ok(())
//! # }
//! ```
//!
//! The feature makes the stripped shared library of C 2.5 MB larger (3.4 MB instead of 0.9 MB on x86-64 Linux): HTTP,
//! TLS and signing, without an async runtime. `tests/aws/bench.sh` measures it.
//!
//! A call that the service accepted without our seeing its answer is sent again: delivery is at least once.
#![doc = include_str!("page.md")]

#[cfg(feature = "aws")]
mod client;
pub(super) mod cloudwatch_logs;
#[cfg(feature = "aws")]
mod connection;
#[cfg(feature = "aws")]
mod credentials;
#[cfg(feature = "aws")]
mod endpoint;
#[cfg(all(feature = "aws", feature = "torture"))]
#[path = "../../../../tests/torture/src/fuzz/aws.rs"]
pub(crate) mod fuzz;
#[cfg(feature = "aws")]
mod keys;
pub(super) mod kinesis;
mod options;
#[cfg(feature = "aws")]
mod profile;
#[cfg(feature = "aws")]
mod protocol;
#[cfg(feature = "aws")]
mod service;
#[cfg(feature = "aws")]
mod sign;

pub use self::cloudwatch_logs::CloudWatchLogsOptions;
#[cfg(feature = "aws")]
pub use self::cloudwatch_logs::{CloudWatchLogsBuilder, CloudWatchLogsSink};
#[cfg(feature = "aws")]
pub use self::keys::Credentials;
#[cfg(feature = "aws")]
pub use self::kinesis::{KinesisBuilder, KinesisSink};
pub use self::kinesis::{KinesisOptions, PartitionBy};
#[cfg(feature = "aws")]
pub use super::net::environment::Environment;
pub use crate::options::Secret;
