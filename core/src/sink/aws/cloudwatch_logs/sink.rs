//! [`CloudWatchLogsSink`]: records into a stream of Amazon CloudWatch Logs.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use super::answer::outcomes;
use super::calls::{MAX_CALL_BYTES, MAX_EVENTS, deliver};
use super::request::{EVENT_OVERHEAD, Event, MAX_MESSAGE_BYTES, PUT_LOG_EVENTS, Target, check_len, timestamp};
use super::{CloudWatchLogsOptions, cloudwatch_logs_setters};
use crate::batch::Batch;
use crate::error::Result;
use crate::order::Order;
use crate::record::NewRecord;
use crate::sink::aws::client::Client;
use crate::sink::aws::connection::{Connection, connect, connection_setters};
use crate::sink::aws::service::Service;
use crate::sink::net::delivery::Outcomes;
use crate::sink::net::failure::{CallError, Fault};
use crate::sink::net::http::Connections;
use crate::sink::{Limits, Outcome, Report, SendError, Sink};

/// How many calls at once are best: a call takes a round trip and some milliseconds.
const IN_FLIGHT: u64 = 8;

/// Sends records as log events by `PutLogEvents`: the message is the payload, which must be UTF-8, and the
/// timestamp is `created_at` in milliseconds.
///
/// One call: 10,000 events, 1 MiB counting 26 bytes besides each message, 24 hours between its first and its last
/// event, sorted by time. A message: 1 to 1,000,000 bytes; others are refused at `put`. Batches are split into such
/// calls. Events that are not UTF-8, or that the service rejects as too old, expired or too new, become dead letters
/// with that reason; the others are delivered.
///
/// ```no_run
/// # fn main() -> unistream::Result<()> {
/// use unistream::sink::aws::CloudWatchLogsSink;
/// let sink = CloudWatchLogsSink::builder("/app/web", "host-1").create_if_missing(true).build()?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct CloudWatchLogsSink {
    target: Target,
    create_if_missing: bool,
    client: Client,
}

impl CloudWatchLogsSink {
    /// A sink for a log stream of a log group.
    pub fn builder(group: impl Into<String>, stream: impl Into<String>) -> CloudWatchLogsBuilder {
        let options =
            CloudWatchLogsOptions { group: group.into(), stream: stream.into(), ..CloudWatchLogsOptions::default() };
        CloudWatchLogsBuilder { options, connection: Connection::default() }
    }

    /// Makes one call; if group or stream are missing and the sink may make them, makes them and calls again.
    fn put(&self, connections: &Connections, events: &[&Event<'_>]) -> Outcomes {
        let body = self.target.request(events);
        let mut answer = self.client.call(connections, PUT_LOG_EVENTS, &body);
        if self.create_if_missing && matches!(&answer, Err(error) if error.fault == Fault::NotFound) {
            self.create(connections)?;
            answer = self.client.call(connections, PUT_LOG_EVENTS, &body);
        }
        match answer {
            // An earlier call delivered them, and its answer was lost.
            Err(error) if error.code.as_deref() == Some("DataAlreadyAcceptedException") => {
                Ok(vec![Outcome::Delivered; events.len()])
            }
            answer => outcomes(&answer?, events),
        }
    }

    /// Makes the stream, and the group if it too is missing. That someone else does the same is fine.
    fn create(&self, connections: &Connections) -> Result<(), CallError> {
        let create = |operation, body: &[u8]| match self.client.call(connections, operation, body) {
            Err(error) if error.fault != Fault::Exists => Err(error),
            _ => Ok(()),
        };
        let (group, stream) = (self.target.group_request(), self.target.stream_request());
        match create("CreateLogStream", &stream) {
            Err(error) if error.fault == Fault::NotFound => {
                create("CreateLogGroup", &group)?;
                create("CreateLogStream", &stream)
            }
            other => other,
        }
    }
}

/// Options of a [`CloudWatchLogsSink`] to be.
#[derive(Clone, Default)]
pub struct CloudWatchLogsBuilder {
    options: CloudWatchLogsOptions,
    connection: Connection,
}

impl CloudWatchLogsBuilder {
    /// With these options, and nothing besides.
    pub(super) fn of_options(options: CloudWatchLogsOptions) -> Self {
        CloudWatchLogsBuilder { options, ..Self::default() }
    }

    cloudwatch_logs_setters!();
    connection_setters!();

    /// Makes the sink. It calls nobody yet.
    ///
    /// # Errors
    /// `InvalidArgument` for an option, variable or profile that does not fit; `Io` if a file cannot be read.
    pub fn build(self) -> Result<CloudWatchLogsSink> {
        let CloudWatchLogsBuilder { options, connection } = self;
        let target = Target::parse(&options.group, &options.stream)?;
        let client = connect!(Service::CloudWatchLogs, options, connection);
        Ok(CloudWatchLogsSink { target, create_if_missing: options.create_if_missing, client })
    }
}

impl fmt::Debug for CloudWatchLogsBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CloudWatchLogsBuilder").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Sink for CloudWatchLogsSink {
    fn send(&self, batch: &Batch) -> Result<Report, SendError> {
        let connections = self.client.connections();
        Ok(deliver(batch, &mut |events| self.put(&connections, events)))
    }

    fn limits(&self) -> Limits {
        Limits {
            max_records: Some(MAX_EVENTS as u64),
            max_bytes: Some(MAX_CALL_BYTES),
            max_record_bytes: Some(MAX_MESSAGE_BYTES + EVENT_OVERHEAD),
            overhead_bytes: EVENT_OVERHEAD,
            counts_key: false,
            counts_headers: false,
            ordered: false,
            // The service sorts events by their time.
            order: Order::None,
            in_flight: IN_FLIGHT,
            checks_records: true,
        }
    }

    fn admit(&self, record: &NewRecord<'_>) -> Result<(), String> {
        // What is too large the limits refuse.
        if record.data.is_empty() {
            return check_len(record.data);
        }
        record.created_at.map_or(Ok(()), |micros| timestamp(micros).map(|_| ()))
    }

    fn name(&self) -> Cow<'_, str> {
        Cow::Owned(format!("cloudwatch-logs:{}/{}", self.target.group, self.target.stream))
    }

    fn interrupt(&self) {
        self.client.interrupt();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::aws::Environment;

    fn sink() -> CloudWatchLogsSink {
        let builder = CloudWatchLogsSink::builder("g", "s").region("eu-west-1").environment(Environment::empty());
        builder.build().unwrap()
    }

    #[test]
    fn a_sink_is_named_after_its_stream() {
        assert_eq!(sink().name(), "cloudwatch-logs:g/s");
    }

    #[test]
    fn put_refuses_what_the_service_would() {
        let sink = sink();
        assert!(sink.admit(&NewRecord::new(b"")).unwrap_err().contains("empty"));
        assert_eq!(sink.limits().max_record_bytes, Some(1_000_026));
        assert!(sink.admit(&NewRecord::new(b"x").created_at(-1)).unwrap_err().contains("1970"));
        sink.admit(&NewRecord::new(b"x").created_at(0)).unwrap();
    }
}
