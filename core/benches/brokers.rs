//! A sink that is named by its URL behind a producer: from `put` to the last acknowledgement by a server that
//! `tests/brokers/bench.py` has started. Prints a line of JSON a round. Records are durable on disk before they are sent.
//!
//! `brokers URL SIZE RECORDS ROUNDS [KEY=VALUE ...]`: the last are options of the producer.
#![allow(missing_docs, clippy::print_stdout)]

use std::time::{Duration, Instant};

use serde_json::json;
use unistream::{Producer, sink};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let [url, size, records, rounds, options @ ..] = &arguments[..] else {
        println!("no server is named: tests/brokers/bench.sh starts some");
        return;
    };
    let number = |text: &String| text.parse::<u64>().expect("a number");
    let (payload, records) = (vec![b'x'; number(size) as usize], number(records));
    for _ in 0..number(rounds) {
        let dir = tempfile::tempdir_in(concat!(env!("CARGO_MANIFEST_DIR"), "/../target")).expect("a directory");
        let mut builder = Producer::builder(dir.path().join("outbox"));
        for option in options {
            let (key, value) = option.split_once('=').expect("KEY=VALUE");
            builder = builder.set(key, value).expect("an option");
        }
        let producer = builder.open(sink::open(url, &[]).expect("the URL of a sink")).expect("a buffer");
        // The first batch waits for the connection.
        producer.put(&payload).expect("room on the disk");
        producer.flush(Duration::from_secs(60)).expect("the server takes everything");
        let (wall, cpu) = (Instant::now(), process_time());
        for _ in 0..records {
            producer.put(&payload).expect("room on the disk");
        }
        producer.flush(Duration::from_secs(600)).expect("the server takes everything");
        let (wall, cpu) = (wall.elapsed().as_secs_f64(), (process_time() - cpu).as_secs_f64());
        assert_eq!(producer.stats().delivered_records, records + 1);
        println!("{}", json!({"records": records as f64 / wall, "cpu": cpu / records as f64}));
    }
}

/// Processor time of this process, all of its threads together, also those that have ended.
fn process_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    let fields: Vec<&str> = stat.rsplit(')').next().expect("fields").split_whitespace().collect();
    // User and system time, in ticks of 10 ms.
    let ticks: u64 = fields[11..13].iter().map(|ticks| ticks.parse::<u64>().expect("a number")).sum();
    Duration::from_millis(10 * ticks)
}
