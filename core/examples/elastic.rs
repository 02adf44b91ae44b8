//! Puts documents, lines of standard input, into an index of Elasticsearch or of what speaks like it, each once:
//!
//! ```sh
//! cargo run --features http --example elastic -- outbox http://localhost:9200/logs < events.ndjson
//! ```
//!
//! What is not delivered within 30 seconds is in the outbox, and the next run sends it first. The token, if the server wants one,
//! stands in the file that `ELASTIC_TOKEN_FILE` names.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::error::Error;
use std::io::BufRead;
use std::process::ExitCode;
use std::time::Duration;

use unistream::sink::http::{Compression, HttpSink, Preset};
use unistream::{ErrorKind, Producer};

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [outbox, url] = &arguments[..] else {
        eprintln!("usage: elastic OUTBOX URL");
        return Ok(ExitCode::from(2));
    };
    let mut sink = HttpSink::builder(url).preset(Preset::Elastic).compression(Compression::Gzip);
    if let Ok(path) = std::env::var("ELASTIC_TOKEN_FILE") {
        sink = sink.token_file(path);
    }
    let producer = Producer::builder(outbox).open(sink.build()?)?;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        match producer.put(line.as_bytes()) {
            Ok(_) => {}
            // What is no JSON object would never be a document. Everything else is a reason to stop.
            Err(error) if error.kind() == ErrorKind::InvalidArgument => eprintln!("left out: {error}"),
            Err(error) => return Err(error.into()),
        }
    }
    let flushed = producer.flush(Duration::from_secs(30));
    let stats = producer.stats();
    let left = producer.close(Duration::from_secs(1))?;
    println!("{} delivered, {} dead letters, {left} left", stats.delivered_records, stats.dead_letters);
    if flushed.is_err() {
        eprintln!("{}", stats.last_error);
    }
    Ok(if left == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
