//! Amazon CloudWatch Logs.

#[cfg(feature = "aws")]
mod sink;

use std::time::Duration;

#[cfg(all(feature = "aws", feature = "torture"))]
pub(super) use self::sink::fuzz;
#[cfg(feature = "aws")]
pub use self::sink::{CloudWatchLogsBuilder, CloudWatchLogsSink};
use super::options::aws_options;
use crate::options::{Secret, Text};

aws_options! {
    /// The options of a [`CloudWatchLogsSink`]. [`TABLE`](Self::TABLE) describes them; [`set`](Self::set) takes them
    /// as text.
    pub struct CloudWatchLogsOptions, setters cloudwatch_logs_setters;
    /// The log group.
    group: Text = "", "the name of a log group", |_| true;
    /// The log stream in it.
    stream: Text = "", "the name of a log stream", |_| true;
    /// Make the log stream, and the log group too, where a call finds that there is none.
    create_if_missing: bool = "false", "true, false", |_| true;
}
// A path to it for the builder, which is in another file.
#[cfg(feature = "aws")]
#[allow(clippy::single_component_path_imports)]
use cloudwatch_logs_setters;
