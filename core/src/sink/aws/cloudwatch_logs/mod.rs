//! Amazon CloudWatch Logs.

#[cfg(feature = "aws")]
mod answer;
#[cfg(feature = "aws")]
mod calls;
#[cfg(feature = "aws")]
mod request;
#[cfg(feature = "aws")]
mod sink;

use std::time::Duration;

#[cfg(all(feature = "aws", feature = "torture"))]
pub(super) use self::answer::fuzz;
#[cfg(feature = "aws")]
pub use self::sink::{CloudWatchLogsBuilder, CloudWatchLogsSink};
use super::options::aws_options;
use crate::option_table::Text;
use crate::secret::Secret;
use crate::sink::kind::{Kind, Place};

pub(in crate::sink) static KIND: Kind = Kind {
    scheme: "cloudwatch-logs",
    aliases: &[],
    summary: "Sends records to a log stream of Amazon CloudWatch Logs.",
    once: "At least once: what the service accepted without our seeing its answer is sent again.",
    page: concat!(include_str!("page.md"), "\n", include_str!("../page.md")),
    options: CloudWatchLogsOptions::TABLE,
    takes_any: false,
    place: Place::Names(&["group", "stream"]),
    feature: "aws",
    #[cfg(feature = "aws")]
    open: Some(&|options| {
        Ok(Box::new(CloudWatchLogsBuilder::of_options(CloudWatchLogsOptions::from_pairs(options)?).build()?))
    }),
    #[cfg(not(feature = "aws"))]
    open: None,
};

aws_options! {
    /// The options of a `CloudWatchLogsSink`. [`TABLE`](Self::TABLE) describes them; [`set`](Self::set) takes them
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
