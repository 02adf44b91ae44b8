//! Ships lines of standard input to any sink by its URL, durably:
//!
//! ```sh
//! tail -f events.jsonl | cargo run --features aws --example ship -- outbox 'kinesis://clicks?region=eu-central-1'
//! ```
//!
//! A tab in a line divides the partition key from the payload. Lines that could not be delivered within the
//! time-out (third argument, seconds, default 30) are in the outbox, and the next run ships them first.

#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::io::BufRead;
use std::process::ExitCode;
use std::time::Duration;

use unistream::{ErrorKind, NewRecord, Producer, sink};

fn main() -> Result<ExitCode, Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [outbox, url, rest @ ..] = &arguments[..] else {
        eprintln!("usage: ship OUTBOX URL [SECONDS]");
        return Ok(ExitCode::from(2));
    };
    let timeout = Duration::from_secs_f64(rest.first().map_or(Ok(30.0), |seconds| seconds.parse())?);
    let producer = Producer::builder(outbox).schedule_max(Duration::from_secs(1)).open(sink::open(url, &[])?)?;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        match line.split_once('\t') {
            Some((key, data)) => producer.put(NewRecord::new(data.as_bytes()).key(key.as_bytes()))?,
            None => producer.put(&line)?,
        };
    }
    let flushed = producer.flush(timeout);
    let stats = producer.stats();
    let left = producer.close(Duration::from_secs(1))?;
    println!("{} delivered, {} dead letters, {left} left", stats.delivered_records, stats.dead_letters);
    match flushed {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) if error.kind() == ErrorKind::Timeout => {
            eprintln!("{}", stats.last_error);
            Ok(ExitCode::FAILURE)
        }
        Err(error) => Err(error.into()),
    }
}
