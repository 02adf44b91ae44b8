//! The AWS sinks against servers on loopback: a strict one of our own, TLS, proxies, sources of credentials.
#![cfg(feature = "aws")]

#[path = "../common/certificates.rs"]
mod certificates;
mod cloudwatch_logs;
mod connect;
mod credentials;
mod elsewhere;
mod http;
mod kinesis;
mod producer;
mod secure;
mod strict;
#[path = "../common/web.rs"]
mod web;

use std::time::Duration;

use strict::{KEY_ID, REGION, SECRET, Strict};
use unistream::sink::aws::{CloudWatchLogsBuilder, CloudWatchLogsSink, Credentials, Environment, KinesisBuilder};
use unistream::sink::aws::{KinesisSink, Secret};
use unistream::{Batch, NewRecord, Outcome, Sink};

fn kinesis(server: &Strict, stream: &str) -> KinesisBuilder {
    KinesisSink::builder(stream)
        .region(REGION)
        .endpoint_url(server.url())
        .credentials(Credentials::new(KEY_ID, SECRET))
        .timeout(Duration::from_secs(20))
        .environment(Environment::empty())
}

fn logs(server: &Strict, group: &str, stream: &str) -> CloudWatchLogsBuilder {
    CloudWatchLogsSink::builder(group, stream)
        .region(REGION)
        .endpoint_url(server.url())
        .access_key_id(KEY_ID)
        .secret_access_key(Secret::from(SECRET))
        .timeout(Duration::from_secs(20))
        .environment(Environment::empty())
}

/// A record of a test; the payload names it.
#[derive(Clone, Debug, Default)]
struct Put {
    data: String,
    key: Option<String>,
    created_at: i64,
}

impl Put {
    fn new(data: impl Into<String>) -> Self {
        Put { data: data.into(), ..Put::default() }
    }

    fn key(self, key: impl Into<String>) -> Self {
        Put { key: Some(key.into()), ..self }
    }

    /// Milliseconds since the epoch.
    fn at(self, millis: i64) -> Self {
        Put { created_at: millis * 1000, ..self }
    }
}

fn puts(count: usize) -> Vec<Put> {
    (0..count).map(|n| Put::new(format!("record {n}"))).collect()
}

fn batch(puts: &[Put]) -> Batch {
    Batch::from_records(puts.iter().map(|put| {
        let record =
            NewRecord::new(put.data.as_bytes()).created_at(put.created_at).id(&put.data[..put.data.len().min(64)]);
        match &put.key {
            Some(key) => record.key(key.as_bytes()),
            None => record,
        }
    }))
}

/// What one `send` said, by payload.
#[derive(Debug, Default)]
struct Said {
    delivered: Vec<String>,
    failed: Vec<(String, String)>,
    unavailable: Vec<(String, String)>,
    rejected: Vec<(String, String)>,
    retry_after: Option<Duration>,
}

fn send(sink: &impl Sink, puts: &[Put]) -> Said {
    let report = sink.send(&batch(puts)).expect("the sink answers record by record");
    let mut said = Said::default();
    for (index, put) in puts.iter().enumerate() {
        let data = put.data.clone();
        match report.outcome(index) {
            Outcome::Delivered => said.delivered.push(data),
            Outcome::Failed { error } => said.failed.push((data, error.to_string())),
            Outcome::Rejected { reason } => said.rejected.push((data, reason.clone())),
            Outcome::Unavailable { error, retry_after } => {
                said.retry_after = said.retry_after.max(*retry_after);
                said.unavailable.push((data, error.to_string()));
            }
        }
    }
    said
}

/// Sends like a producer until nothing is left: what was not delivered, and only that, in put order. Returns what
/// each attempt said.
fn drive(sink: &impl Sink, puts: &[Put], mut between: impl FnMut()) -> Vec<Said> {
    let mut left = puts.to_vec();
    let mut attempts = Vec::new();
    while !left.is_empty() {
        assert!(attempts.len() < 100, "no end: {:?}", attempts.last());
        if !attempts.is_empty() {
            between();
        }
        let said = send(sink, &left);
        let is_left = |put: &Put| said.failed.iter().chain(&said.unavailable).any(|(data, _)| *data == put.data);
        left.retain(is_left);
        attempts.push(said);
    }
    attempts
}

fn data(puts: &[Put]) -> Vec<String> {
    puts.iter().map(|put| put.data.clone()).collect()
}
