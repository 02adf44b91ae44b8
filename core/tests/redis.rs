//! The Redis sink against servers that are stale, talk too much or fail in part. What real servers do, tests/brokers has.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use unistream::sink::redis::{Environment, RedisBuilder, RedisSink};
use unistream::{Batch, NewRecord, Outcome, Report, Sink};

/// Serves every connection in a thread: gives each command to `reply`, whose words go back; none ends the
/// connection. Its address.
fn serve(listener: TcpListener, reply: impl Fn(&[String]) -> Option<String> + Send + Clone + 'static) -> String {
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, reply) = (stream.unwrap(), reply.clone());
            thread::spawn(move || converse(stream, &reply));
        }
    });
    address
}

fn listen() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

fn converse(mut stream: TcpStream, reply: &impl Fn(&[String]) -> Option<String>) {
    let mut from = BufReader::new(stream.try_clone().unwrap());
    while let Some(words) = command(&mut from) {
        let Some(said) = reply(&words) else { return };
        // Who has gone hears nothing.
        let _ = stream.write_all(said.as_bytes());
    }
}

fn command(from: &mut impl BufRead) -> Option<Vec<String>> {
    let number = |from: &mut dyn BufRead| {
        let mut line = String::new();
        from.read_line(&mut line).ok()?;
        line.trim().get(1..)?.parse::<usize>().ok()
    };
    let words = number(from)?;
    let mut word = || {
        let mut bytes = vec![0; number(from)? + 2];
        from.read_exact(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes[..bytes.len() - 2]).into_owned())
    };
    (0..words).map(|_| word()).collect()
}

fn sink(url: String) -> RedisBuilder {
    let short = Duration::from_millis(500);
    RedisSink::builder(url).environment(Environment::empty()).timeout(short).connect_timeout(short)
}

fn send(sink: &RedisSink, topics: &[&str]) -> Report {
    sink.send(&Batch::from_records(topics.iter().map(|topic| NewRecord::new(b"x").topic(topic)))).unwrap()
}

/// Why a record is not there; empty if it is.
fn why(report: &Report, index: usize) -> String {
    match report.outcome(index) {
        Outcome::Unavailable { error, .. } | Outcome::Failed { error } => error.to_string(),
        Outcome::Rejected { reason } => reason.clone(),
        Outcome::Delivered => String::new(),
    }
}

#[test]
fn a_server_that_repeats_the_password_is_not_quoted() {
    let address = serve(listen(), |words| {
        Some(format!("-ERR unknown command '{}', with args beginning with: '{}'\r\n", words[0], words[1..].join("' '")))
    });
    let sink = sink(format!("redis://me@{address}/0/s")).password("hush-hush-hush").build().unwrap();
    let why = why(&send(&sink, &["s"]), 0);
    assert!(why.contains("ERR in reply to AUTH") && !why.contains("hush"), "{why}");
}
