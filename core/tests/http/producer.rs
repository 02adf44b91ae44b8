//! The whole way from `put` into a server: nothing lost, and once where the server looks at `Idempotency-Key`.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use unistream::{Jitter, Order, Producer};

use crate::server::{Fault, Reply, Server};
use crate::{side_by_side, sink};

/// A server that takes what has a key that it has not seen yet, and the lines that it took.
fn deduplicating() -> (Server, Arc<Mutex<Vec<String>>>) {
    let taken = Arc::new(Mutex::new(Vec::new()));
    let (lines, seen) = (taken.clone(), Mutex::new(HashSet::new()));
    let server = Server::start(move |request| {
        if seen.lock().unwrap().insert(request.header("idempotency-key").to_owned()) {
            lines.lock().unwrap().extend(request.lines());
        }
        Reply::new(202, "")
    });
    (server, taken)
}

#[test]
fn every_record_arrives_once_through_faults_of_every_kind() {
    let (server, taken) = deduplicating();
    server.script((0..60).map(|n| match n % 10 {
        0 => Fault::CutAfter,
        1 => Fault::CutBefore,
        2 => Fault::Answer(Reply::html(503).header("retry-after", "0")),
        3 => Fault::ResetWithin,
        4 => Fault::Garbage,
        5 => Fault::Early(Reply::html(413)),
        6 => Fault::Answer(Reply::html(200)),
        7 => Fault::CutWithin,
        8 => Fault::Chunked,
        _ => Fault::None,
    }));
    let dir = tempfile::tempdir().unwrap();
    let producer = Producer::builder(dir.path().join("outbox"))
        .max_records(100)
        .max_attempts(3)
        .linger(Duration::from_millis(10))
        .schedule_multiplier(Duration::from_millis(1))
        .schedule_max(Duration::from_millis(10))
        .jitter(Jitter::None)
        .open(sink(&server, "/").build().unwrap())
        .unwrap();
    for n in 0..5000 {
        producer.put(format!("{{\"n\": {n}}}").as_bytes()).unwrap();
    }
    producer.flush(Duration::from_secs(60)).unwrap();
    let stats = producer.stats();
    assert_eq!((stats.delivered_records, stats.dead_letters, stats.failed_attempts), (5000, 0, 0), "{stats:?}");
    let expected: Vec<String> = (0..5000).map(|n| format!("{{\"n\": {n}}}")).collect();
    assert_eq!(*taken.lock().unwrap(), expected, "once each, in order");
}

#[test]
fn as_many_connections_are_kept_as_batches_are_in_flight() {
    let server = Server::start(|_| {
        std::thread::sleep(Duration::from_millis(5));
        Reply::new(200, "")
    });
    let dir = tempfile::tempdir().unwrap();
    let producer = side_by_side(dir.path(), Order::Auto, sink(&server, "/").build().unwrap(), 1000);
    producer.flush(Duration::from_secs(60)).unwrap();
    assert_eq!(producer.stats().delivered_records, 1000);
    assert!((1..=4).contains(&server.connections()), "{}", server.connections());
}

#[test]
fn closing_ends_a_request_under_way() {
    let server = Server::taking();
    server.script([Fault::Slow(Duration::from_secs(3))]);
    let dir = tempfile::tempdir().unwrap();
    let producer = Producer::builder(dir.path().join("outbox"))
        .linger(Duration::ZERO)
        .open(sink(&server, "/").build().unwrap())
        .unwrap();
    producer.put(b"1").unwrap();
    while server.requests().is_empty() {
        std::thread::sleep(Duration::from_millis(5));
    }
    let began = std::time::Instant::now();
    let _ = producer.close(Duration::from_millis(50));
    assert!(began.elapsed() < Duration::from_millis(2500), "{:?}", began.elapsed());
}
