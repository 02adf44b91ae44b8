//! The Kinesis sink beside boto3, both in this run and against the same server, which takes everything and keeps
//! nothing: calls a second, and processor time of the caller a call. Prints the rows as JSON.
//!
//! `tests/aws/bench.sh` installs boto3 and names the Python that has it in `UNISTREAM_BENCH_PYTHON`; without that only
//! our own rows are measured. It also names, in `UNISTREAM_BENCH_LIBRARIES`, where it keeps `libunistream-full.so` and
//! `libunistream-lean.so`, whose sizes are a row too.
#![allow(missing_docs, clippy::print_stdout)]

mod common;

use std::time::{Duration, Instant};

use common::{median, null_server, number, python};
use serde_json::json;
use unistream::sink::aws::{Credentials, Environment, KinesisSink};
use unistream::{Batch, NewRecord, Sink};

const RECORDS: usize = 500;
const SIZE: usize = 200;
const CALLS: usize = 200;
const ROUNDS: usize = 7;
/// boto3 takes that much longer.
const BOTO3_CALLS: usize = 20;

/// What one round of calls took.
struct Round {
    /// Calls a second.
    calls: f64,
    /// Seconds of processor time a call.
    cpu: f64,
}

fn main() {
    let url = null_server(Duration::ZERO, &answer());
    let ours: Vec<Round> = {
        let sink = KinesisSink::builder("null")
            .region("eu-west-1")
            .endpoint_url(&url)
            .credentials(Credentials::new("a", "b"))
            .environment(Environment::empty())
            .build()
            .expect("the options fit");
        let (data, keys) = (vec![b'x'; SIZE], (0..RECORDS).map(|n| format!("key-{n}")).collect::<Vec<_>>());
        let batch = Batch::from_records(keys.iter().map(|key| NewRecord::new(&data).key(key.as_bytes())));
        let put = || assert!(sink.send(&batch).expect("the server is there").is_delivered());
        put();
        (0..ROUNDS)
            .map(|_| {
                let (wall, cpu) = (Instant::now(), thread_time());
                (0..CALLS).for_each(|_| put());
                Round {
                    calls: CALLS as f64 / wall.elapsed().as_secs_f64(),
                    cpu: (thread_time() - cpu).as_secs_f64() / CALLS as f64,
                }
            })
            .collect()
    };
    let theirs = boto3(&url);
    let row = |row: &str, unit: &str, factor: f64, of: fn(&Round) -> f64| {
        let value = median(&ours, of) * factor;
        let limit = theirs.as_deref().map(|rounds| median(rounds, of) * factor);
        json!({"row": row, "unit": unit, "value": value, "limit": limit, "ratio": limit.map(|limit| value / limit)})
    };
    let mut rows = vec![
        row("kinesis sink, 500 x 200 B a call, beside boto3", "calls/s", 1.0, |round| round.calls),
        row("kinesis sink, CPU time a call, beside boto3", "us/call", 1e6, |round| round.cpu),
    ];
    if let Ok(place) = std::env::var("UNISTREAM_BENCH_LIBRARIES") {
        let megabytes = |name: &str| {
            let library = std::fs::metadata(format!("{place}/libunistream-{name}.so")).expect("a library");
            library.len() as f64 / 1e6
        };
        let (full, lean) = (megabytes("full"), megabytes("lean"));
        let row = "libunistream.so with the AWS sinks, beside without";
        rows.push(json!({"row": row, "unit": "MB", "value": full, "limit": lean, "ratio": full / lean}));
    }
    println!("{}", serde_json::to_string_pretty(&rows).expect("rows have a JSON form"));
}

fn boto3(url: &str) -> Option<Vec<Round>> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/aws/boto3_calls.py");
    let numbers = [RECORDS, SIZE, BOTO3_CALLS, ROUNDS].map(|number| number.to_string());
    let rounds = python(script, &[&[url.to_owned()], &numbers[..]].concat())?;
    Some(rounds.iter().map(|round| Round { calls: number(round, "calls"), cpu: number(round, "cpu") }).collect())
}

/// Processor time of this thread. A sink calls on the thread that sends.
fn thread_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    Duration::from_nanos(text.split_whitespace().next().and_then(|nanos| nanos.parse().ok()).expect("nanoseconds"))
}

/// All records of a call are in.
fn answer() -> Vec<u8> {
    let entry = json!({
        "SequenceNumber": "49546986683135544286507457936321625675700192471156785154",
        "ShardId": "shardId-000000000000",
    });
    let body = json!({"FailedRecordCount": 0, "Records": vec![entry; RECORDS]}).to_string();
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/x-amz-json-1.1\r\nContent-Length: ";
    format!("{head}{}\r\n\r\n{body}", body.len()).into_bytes()
}
