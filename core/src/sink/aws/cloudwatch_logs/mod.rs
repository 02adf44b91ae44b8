//! Amazon CloudWatch Logs.

mod sink;

#[cfg(feature = "torture")]
pub(super) use self::sink::fuzz;
pub use self::sink::{CloudWatchLogsBuilder, CloudWatchLogsOptions, CloudWatchLogsSink};
