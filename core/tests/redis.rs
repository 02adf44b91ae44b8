//! The Redis sink against servers that are stale, talk too much or fail in part. What real servers do, tests/brokers has.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

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

const ADDED: &str = "*2\r\n:1\r\n$-1\r\n";

/// An address where nobody listens.
fn dead() -> String {
    listen().local_addr().unwrap().to_string()
}

fn bulk(text: &str) -> String {
    format!("${}\r\n{text}\r\n", text.len())
}

#[test]
fn a_node_of_a_cluster_that_fails_holds_its_own_streams() {
    let listener = listen();
    let (alive, dead) = (listener.local_addr().unwrap().port(), dead());
    let node = |port: &str| format!("*2\r\n{}:{port}\r\n", bulk("127.0.0.1"));
    let nodes = (node(dead.rsplit_once(':').unwrap().1), node(&alive.to_string()));
    let map = format!("*2\r\n*3\r\n:0\r\n:8191\r\n{}*3\r\n:8192\r\n:16383\r\n{}", nodes.0, nodes.1);
    let address = serve(listener, move |words| {
        Some(match &words[0][..] {
            "CLUSTER" => map.clone(),
            "EVAL" => ADDED.into(),
            _ => "+PONG\r\n".into(),
        })
    });
    let sink = sink(format!("redis://{address}")).cluster(true).build().unwrap();
    // Their slots are 5061, which the dead node has, and 12182.
    let topics = ["bar", "foo"];
    let batch = Batch::from_records(topics.iter().map(|topic| NewRecord::new(b"x").topic(topic)));
    assert!(sink.prepare(&batch).is_ok(), "one of them can be reached");
    let report = sink.send(&batch).unwrap();
    let whys: Vec<_> = (0..2).map(|index| why(&report, index)).collect();
    assert!(whys[0].contains(&dead) && whys[1].is_empty(), "{whys:?}");
}

#[test]
fn a_sentinel_that_names_a_dead_master_is_not_asked_for_ever() {
    let master = serve(listen(), |words| Some(if words[0] == "EVAL" { ADDED } else { "+PONG\r\n" }.into()));
    let sentinel = |master: String| {
        let (host, port) = master.rsplit_once(':').unwrap();
        let named = format!("*2\r\n{}{}", bulk(host), bulk(port));
        serve(listen(), move |words| Some(if words[0] == "SENTINEL" { named.clone() } else { "+PONG\r\n".into() }))
    };
    let (stale, good) = (sentinel(dead()), sentinel(master));
    let sink = sink(format!("redis://{stale},{good}/0/s")).sentinel("m").build().unwrap();
    assert!(!why(&send(&sink, &["s"]), 0).is_empty());
    assert_eq!(why(&send(&sink, &["s"]), 0), "");
}

#[test]
fn a_replica_of_an_old_version_is_left_for_another_server() {
    let error = bulk("@user_script: 12: -READONLY You can't write against a read only replica.");
    let replica = serve(listen(), move |words| {
        Some(if words[0] == "EVAL" { format!("*2\r\n:0\r\n{error}") } else { "+PONG\r\n".into() })
    });
    let master = serve(listen(), |words| Some(if words[0] == "EVAL" { ADDED } else { "+PONG\r\n" }.into()));
    let sink = sink(format!("redis://{replica},{master}/0/s")).build().unwrap();
    assert!(matches!(send(&sink, &["s"]).outcome(0), Outcome::Unavailable { .. }));
    assert_eq!(why(&send(&sink, &["s"]), 0), "");
}

#[test]
fn a_reply_without_an_end_is_not_waited_for() {
    let listener = listen();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        while stream.write_all(b"+").is_ok() {
            thread::sleep(Duration::from_millis(50));
        }
    });
    let begun = Instant::now();
    let sink = sink(format!("redis://{address}/0/s")).build().unwrap();
    assert!(!why(&send(&sink, &["s"]), 0).is_empty());
    assert!(begun.elapsed() < Duration::from_secs(30));
}
