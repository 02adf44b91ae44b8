//! The HTTP sink against a strict server on loopback that does wrong what HTTP servers do wrong.
#![cfg(feature = "http")]

mod acknowledge;
mod auth;
#[path = "../common/certificates.rs"]
mod certificates;
mod faults;
mod hostile;
mod presets;
mod producer;
mod requests;
mod server;
mod transport;
#[path = "../common/web.rs"]
mod web;

use std::path::Path;
use std::time::Duration;

use server::Server;
use unistream::sink::http::{Environment, HttpBuilder, HttpSink};
use unistream::{Batch, NewRecord, Order, Outcome, Producer, Sink};

/// A sink for a path of a server, that depends on nothing of the machine.
fn sink(server: &Server, path: &str) -> HttpBuilder {
    HttpSink::builder(server.url(path)).timeout(Duration::from_secs(20)).environment(Environment::empty())
}

/// Records that are JSON numbers.
fn numbers(count: usize) -> Vec<String> {
    (0..count).map(|n| n.to_string()).collect()
}

fn batch(payloads: &[String]) -> Batch {
    Batch::from_records(payloads.iter().map(NewRecord::from))
}

/// What became of each record: `d`elivered, `f`ailed, `u`navailable, `r`ejected; and the first reason.
fn send(sink: &impl Sink, batch: &Batch) -> (String, String) {
    let report = sink.send(batch).expect("the sink answers record by record");
    let mut why = String::new();
    let mut note = |text: String| {
        if why.is_empty() {
            why = text;
        }
    };
    let kinds = (0..batch.len())
        .map(|index| match report.outcome(index) {
            Outcome::Delivered => 'd',
            Outcome::Failed { error } => {
                note(error.to_string());
                'f'
            }
            Outcome::Unavailable { error, .. } => {
                note(error.to_string());
                'u'
            }
            Outcome::Rejected { reason } => {
                note(reason.clone());
                'r'
            }
        })
        .collect();
    (kinds, why)
}

fn retry_after(sink: &impl Sink, batch: &Batch) -> Option<Duration> {
    match sink.send(batch).unwrap().outcome(0) {
        Outcome::Unavailable { retry_after, .. } => *retry_after,
        other => panic!("{other:?}"),
    }
}

/// Puts numbers into a buffer, from which four requests of ten records each are under way at a time.
fn side_by_side(dir: &Path, order: Order, sink: HttpSink, count: usize) -> Producer {
    let builder = Producer::builder(dir.join("outbox")).max_records(10).max_in_flight(4).order(order);
    let producer = builder.open(sink).unwrap();
    numbers(count).iter().for_each(|number| assert!(producer.put(number.as_bytes()).unwrap() > 0));
    producer
}
