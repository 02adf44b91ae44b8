//! The HTTP sink behind a producer, beside clients of Python in the same run and against the same server, which takes everything,
//! keeps nothing, and answers after a round trip of so many milliseconds: records a second, and processor time of the client a
//! record. Prints the rows as JSON.
//!
//! `tests/http/bench.sh` installs httpx and aiohttp and names the Python that has them in `UNISTREAM_BENCH_PYTHON`; without that
//! only our own rows are measured. Ours are durable on disk before they are sent, theirs are in memory.
#![allow(missing_docs, clippy::print_stdout)]

mod common;

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::{median, null_server, number, python};
use serde_json::json;
use unistream::sink::http::{BodyForm, Environment, HttpSink};
use unistream::{Order, Producer};

const RECORDS: u64 = 500;
const SIZE: usize = 200;
const ROUNDS: usize = 5;
const ROUND_TRIPS_MS: [u64; 3] = [0, 20, 100];
const IN_FLIGHT: [u64; 2] = [1, 16];

/// Requests of a round: about a second.
fn requests(round_trip_ms: u64, in_flight: u64) -> u64 {
    match round_trip_ms {
        0 => 800,
        ms => (1000 / ms * in_flight).max(16),
    }
}

/// What one round took.
struct Round {
    /// Records a second.
    records: f64,
    /// Seconds of processor time a record.
    cpu: f64,
}

fn main() {
    if let Some(delay) = std::env::args().skip_while(|argument| argument != "serve").nth(1) {
        serve(Duration::from_millis(delay.parse().expect("milliseconds")));
        return;
    }
    let mut rows = Vec::new();
    for round_trip in ROUND_TRIPS_MS {
        let server = Server::start(round_trip);
        for in_flight in IN_FLIGHT {
            let count = requests(round_trip, in_flight);
            let ours = ours(&server.url, in_flight, count);
            for client in ["httpx", "aiohttp"] {
                let theirs = clients(client, &server.url, in_flight, count);
                let mut row = |what: &str, unit: &str, factor: f64, of: fn(&Round) -> f64| {
                    let row = format!(
                        "http sink, {what}, {round_trip} ms round trip, {in_flight} in flight, beside {client}"
                    );
                    let value = median(&ours, of) * factor;
                    let limit = theirs.as_deref().map(|rounds| median(rounds, of) * factor);
                    let ratio = limit.map(|limit| value / limit);
                    rows.push(json!({"row": row, "unit": unit, "value": value, "limit": limit, "ratio": ratio}));
                };
                row("500 x 200 B a request", "records/s", 1.0, |round| round.records);
                row("CPU time a record", "us/record", 1e6, |round| round.cpu);
            }
        }
    }
    println!("{}", serde_json::to_string_pretty(&rows).expect("rows have a JSON form"));
}

/// Records that lie in the buffer go to the server.
fn ours(url: &str, in_flight: u64, requests: u64) -> Vec<Round> {
    let record = vec![b'x'; SIZE];
    (0..ROUNDS)
        .map(|_| {
            let dir = tempfile::tempdir_in(concat!(env!("CARGO_MANIFEST_DIR"), "/../target")).expect("a directory");
            let (wall, cpu) = (Instant::now(), process_time());
            let sink = HttpSink::builder(url).body(BodyForm::LengthPrefixed).environment(Environment::empty());
            let producer = Producer::builder(dir.path().join("outbox"))
                .max_records(RECORDS)
                .order(if in_flight == 1 { Order::Total } else { Order::None })
                .max_in_flight(in_flight)
                .open(sink.build().expect("the options fit"))
                .expect("a buffer");
            for _ in 0..requests * RECORDS {
                producer.put(&record).expect("room on the disk");
            }
            producer.flush(Duration::from_secs(600)).expect("the server takes everything");
            let (wall, cpu) = (wall.elapsed(), process_time() - cpu);
            assert_eq!(producer.stats().delivered_records, requests * RECORDS);
            let records = (requests * RECORDS) as f64;
            Round { records: records / wall.as_secs_f64(), cpu: cpu.as_secs_f64() / records }
        })
        .collect()
}

fn clients(client: &str, url: &str, in_flight: u64, requests: u64) -> Option<Vec<Round>> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/http/clients.py");
    // They take longer where nothing but the processor bounds them.
    let requests = requests.min(400);
    let numbers = [RECORDS, SIZE as u64, in_flight, requests, ROUNDS as u64].map(|number| number.to_string());
    let rounds = python(script, &[&[client.to_owned(), url.to_owned()], &numbers[..]].concat())?;
    Some(rounds.iter().map(|round| Round { records: number(round, "records"), cpu: number(round, "cpu") }).collect())
}

/// Processor time of this process, all of its threads together, also those that have ended.
fn process_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    let fields: Vec<&str> = stat.rsplit(')').next().expect("fields").split_whitespace().collect();
    // User and system time, in ticks of 10 ms.
    let ticks: u64 = fields[11..13].iter().map(|ticks| ticks.parse::<u64>().expect("a number")).sum();
    Duration::from_millis(10 * ticks)
}

/// The server in a process of its own, so that its processor time is not ours.
struct Server {
    process: Child,
    url: String,
}

impl Server {
    fn start(round_trip_ms: u64) -> Self {
        let mut command = Command::new(std::env::current_exe().expect("Linux"));
        command.args(["serve", &round_trip_ms.to_string()]).stdout(Stdio::piped()).stdin(Stdio::piped());
        let mut process = command.spawn().expect("a process");
        let mut url = String::new();
        BufReader::new(process.stdout.take().expect("a pipe")).read_line(&mut url).expect("a line");
        Server { process, url: url.trim().to_owned() }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Answers every request after so long, until standard input ends.
fn serve(delay: Duration) {
    println!("{}/", null_server(delay, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"));
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}
