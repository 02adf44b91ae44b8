//! The whole way from `put` into a server: nothing lost, and once where the server looks at `Idempotency-Key`.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use unistream::sink::http::Preset;
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
    let began = Instant::now();
    let _ = producer.close(Duration::from_millis(50));
    assert!(began.elapsed() < Duration::from_millis(2500), "{:?}", began.elapsed());
}

/// The bug: a request that was a part of a batch, and whose answer was lost, came again together with what had stood behind it,
/// under another name, so that its rows were there twice. With a restart on the way too.
#[test]
fn a_part_of_a_batch_whose_answer_is_lost_comes_again_as_it_was() {
    for (preset, path) in [(Preset::None, "/"), (Preset::Clickhouse, "/events")] {
        let taken: Arc<Mutex<Vec<String>>> = Arc::default();
        let (rows, seen) = (taken.clone(), Mutex::new(HashSet::new()));
        let server = Server::start(move |request| {
            if request.text().contains("bad") {
                return Reply::new(400, "Code: 27. DB::Exception: no").header("content-type", "text/plain");
            }
            let name = request.header("idempotency-key").to_owned();
            let token = request.target.split_once("deduplication_token=").map_or(&name[..], |(_, token)| token);
            assert_eq!(token, name);
            if seen.lock().unwrap().insert(name) {
                rows.lock().unwrap().extend(request.lines());
            }
            Reply::new(200, "").header("x-clickhouse-summary", "{}")
        });
        // All, the first four, two, one of them; its neighbour; then the third and the fourth, three times.
        let refused = std::iter::repeat_n(Fault::None, 5);
        server.script(refused.chain(std::iter::repeat_n(Fault::CutAfter, 3)));
        let dir = tempfile::tempdir().unwrap();
        let open = || {
            Producer::builder(dir.path().join("outbox"))
                .max_records(8)
                .linger(Duration::from_secs(600))
                .schedule_waits(vec![Duration::from_secs(600)])
                .jitter(Jitter::None)
                .open(sink(&server, path).preset(preset).build().unwrap())
                .unwrap()
        };
        let wait_for = |producer: &Producer, attempts: u64| {
            let deadline = Instant::now() + Duration::from_secs(30);
            while producer.stats().unavailable_attempts < attempts {
                assert!(Instant::now() < deadline, "{:?}", producer.stats());
                std::thread::sleep(Duration::from_millis(5));
            }
        };
        let producer = open();
        for n in 0..8 {
            let key = if n == 0 { "bad" } else { "n" };
            producer.put(format!("{{\"{key}\": {n}}}").as_bytes()).unwrap();
        }
        wait_for(&producer, 1);
        producer.resume().unwrap();
        wait_for(&producer, 2);
        assert_eq!(producer.close(Duration::ZERO).unwrap(), 6);
        let producer = open();
        producer.resume().unwrap();
        wait_for(&producer, 1);
        producer.resume().unwrap();
        producer.flush(Duration::from_secs(60)).unwrap();
        assert_eq!(producer.stats().dead_letters, 1);
        let expected: Vec<String> = (1..8).map(|n| format!("{{\"n\": {n}}}")).collect();
        assert_eq!(*taken.lock().unwrap(), expected, "{preset:?}: once each, in order");
        assert_eq!(server.requests().len(), 10, "{preset:?}");
    }
}
