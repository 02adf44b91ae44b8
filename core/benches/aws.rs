//! The Kinesis sink beside boto3, both in this run and against the same server, which takes everything and keeps
//! nothing: calls a second, and processor time of the caller a call. Prints the rows as JSON.
//!
//! `tests/aws/bench.sh` installs boto3 and names the Python that has it in `UNISTREAM_BENCH_PYTHON`; without that only
//! our own rows are measured. It also names, in `UNISTREAM_BENCH_LIBRARIES`, where it keeps `libunistream-full.so` and
//! `libunistream-lean.so`, whose sizes are a row too.
#![allow(missing_docs, clippy::print_stdout)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
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
    let url = null_server();
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
    let theirs = std::env::var("UNISTREAM_BENCH_PYTHON").ok().map(|python| boto3(&python, &url));
    let median = |rounds: &[Round], of: fn(&Round) -> f64| {
        let mut values: Vec<f64> = rounds.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
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

fn boto3(python: &str, url: &str) -> Vec<Round> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/aws/boto3_calls.py");
    let numbers = [RECORDS, SIZE, BOTO3_CALLS, ROUNDS].map(|number| number.to_string());
    let mut command = Command::new(python);
    command.arg(script).arg(url).args(numbers).stderr(Stdio::inherit());
    for name in ["AWS_CA_BUNDLE", "AWS_PROFILE", "HTTP_PROXY", "http_proxy"] {
        command.env_remove(name);
    }
    let output = command.output().expect("Python runs");
    assert!(output.status.success(), "boto3 failed");
    let rounds = output.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    rounds
        .map(|line| {
            let round: Value = serde_json::from_slice(line).expect("a round is a line of JSON");
            let number = |key: &str| round[key].as_f64().expect("a number");
            Round { calls: number("calls"), cpu: number("cpu") }
        })
        .collect()
}

/// Processor time of this thread. A sink calls on the thread that sends.
fn thread_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    Duration::from_nanos(text.split_whitespace().next().and_then(|nanos| nanos.parse().ok()).expect("nanoseconds"))
}

/// Answers every call at once that all of its records are in. It ends with the process.
fn null_server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let entry = json!({
        "SequenceNumber": "49546986683135544286507457936321625675700192471156785154",
        "ShardId": "shardId-000000000000",
    });
    let body = json!({"FailedRecordCount": 0, "Records": vec![entry; RECORDS]}).to_string();
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/x-amz-json-1.1\r\nContent-Length: ";
    let answer: Arc<[u8]> = format!("{head}{}\r\n\r\n{body}", body.len()).into_bytes().into();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let answer = answer.clone();
            thread::spawn(move || {
                let _ = stream.set_nodelay(true);
                let mut stream = BufReader::with_capacity(256 * 1024, stream);
                let mut body = Vec::new();
                while let Some(length) = read_head(&mut stream) {
                    body.resize(length, 0);
                    if stream.read_exact(&mut body).is_err() || stream.get_mut().write_all(&answer).is_err() {
                        return;
                    }
                }
            });
        }
    });
    url
}

/// The length of the request's body; `None` when there is no further request.
fn read_head(stream: &mut impl BufRead) -> Option<usize> {
    let mut length = None;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if line.trim().is_empty() {
            return length;
        }
        let (name, value) = line.split_once(':').unwrap_or_default();
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().ok();
        }
    }
}
