//! The services of AWS, and what each is called where.

/// The services that there are sinks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Service {
    Kinesis,
    CloudWatchLogs,
}

impl Service {
    /// The name in host names and signatures.
    pub(super) fn signing_name(self) -> &'static str {
        match self {
            Service::Kinesis => "kinesis",
            Service::CloudWatchLogs => "logs",
        }
    }

    /// The name in `AWS_ENDPOINT_URL_*` and in `services` sections.
    pub(super) fn config_key(self) -> &'static str {
        match self {
            Service::Kinesis => "kinesis",
            Service::CloudWatchLogs => "cloudwatch_logs",
        }
    }

    /// The version of the protocol, in `X-Amz-Target`.
    pub(super) fn target_prefix(self) -> &'static str {
        match self {
            Service::Kinesis => "Kinesis_20131202",
            Service::CloudWatchLogs => "Logs_20140328",
        }
    }
}
