//! The whole way from `put` into the services: nothing lost, nothing committed that was not taken, only what failed
//! sent again.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use unistream::{Builder, ErrorKind, Jitter, NewRecord, Producer};

use crate::strict::{Fault, Strict, now_ms};
use crate::{kinesis, logs};

const LONG: Duration = Duration::from_secs(60);

/// A producer that waits only milliseconds between attempts.
fn builder(dir: &tempfile::TempDir) -> Builder {
    Producer::builder(dir.path().join("outbox"))
        .linger(Duration::from_millis(10))
        .schedule_multiplier(Duration::from_millis(1))
        .schedule_max(Duration::from_millis(10))
        .jitter(Jitter::None)
}

fn server() -> Strict {
    let server = Strict::start();
    server.stream("s", 4);
    server.log_stream("g", "s");
    server
}

/// Runs `body` while the shards' seconds pass quickly.
fn in_fast_seconds<T>(server: &Strict, body: impl FnOnce() -> T) -> T {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                thread::sleep(Duration::from_millis(5));
                server.next_second();
            }
        });
        // Set also when the body panics, so that the scope ends.
        struct Set<'a>(&'a AtomicBool);
        impl Drop for Set<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::SeqCst);
            }
        }
        let _set = Set(&done);
        body()
    })
}

#[test]
fn every_record_arrives_through_faults_of_every_kind() {
    let server = server();
    let throttled = "ProvisionedThroughputExceededException";
    server.script((0..60).map(|n| match n % 12 {
        0 => Fault::Records((0..500).step_by(7).collect(), throttled),
        1 => Fault::CutBefore,
        2 => Fault::Records(vec![0], "InternalFailure"),
        3 => Fault::CutAfter,
        4 => Fault::Busy(503, 0),
        5 => Fault::Error(400, "ThrottlingException", "Rate exceeded"),
        6 => Fault::Entries(-1),
        7 => Fault::Records((0..500).collect(), throttled),
        8 => Fault::NotJson,
        9 => Fault::Error(400, "ExpiredTokenException", "expired"),
        10 => Fault::CutWithin,
        _ => Fault::None,
    }));
    let dir = tempfile::tempdir().unwrap();
    let sink = kinesis(&server, "s").build().unwrap();
    let producer = builder(&dir).max_records(200).max_attempts(3).open(sink).unwrap();
    in_fast_seconds(&server, || {
        for n in 0..5000 {
            producer.put(NewRecord::new(format!("{n:04}").as_bytes()).key(format!("k{}", n % 97).as_bytes())).unwrap();
        }
        producer.flush(LONG).unwrap();
    });
    let stats = producer.stats();
    assert_eq!((stats.delivered_records, stats.pending_records, stats.dead_letters), (5000, 0, 0), "{stats:?}");
    assert_eq!(stats.failed_attempts, 0, "all of these are no fault of the records");
    let taken: BTreeSet<_> = server.taken("s").into_iter().map(|record| record.data).collect();
    assert_eq!(taken, (0..5000).map(|n| format!("{n:04}")).collect());
    // Only what failed is sent again: nothing of which the answer said, whole, that it was taken.
    let mut told = HashSet::new();
    for call in server.calls() {
        assert!(call.records.iter().all(|record| !told.contains(record)));
        told.extend(call.told);
    }
    assert_eq!(told.len(), 5000, "and nothing counts as delivered before that");
}

#[test]
fn ordered_holds_through_the_producer_too() {
    let server = server();
    server.script((0..40).map(|n| match n % 4 {
        0 => Fault::Records(vec![0, 2], "ProvisionedThroughputExceededException"),
        1 => Fault::CutAfter,
        2 => Fault::Busy(503, 0),
        _ => Fault::None,
    }));
    let dir = tempfile::tempdir().unwrap();
    let sink = kinesis(&server, "s").ordered(true).build().unwrap();
    let producer = builder(&dir).max_records(50).open(sink).unwrap();
    in_fast_seconds(&server, || {
        for n in 0..400 {
            producer.put(NewRecord::new(format!("{n:03}").as_bytes()).key(format!("k{}", n % 5).as_bytes())).unwrap();
        }
        producer.flush(LONG).unwrap();
    });
    let mut seen: HashMap<String, Vec<String>> = HashMap::new();
    for record in server.taken("s") {
        let of_key = seen.entry(record.key).or_default();
        if !of_key.contains(&record.data) {
            of_key.push(record.data);
        }
    }
    assert_eq!(seen.values().map(Vec::len).sum::<usize>(), 400);
    assert!(seen.values().all(|of_key| of_key.is_sorted()));
}

#[test]
fn an_outage_uses_up_no_attempts() {
    let server = server();
    server.script(vec![Fault::Busy(503, 0); 25]);
    let dir = tempfile::tempdir().unwrap();
    let producer = builder(&dir).max_attempts(2).open(kinesis(&server, "s").build().unwrap()).unwrap();
    producer.put("through the outage").unwrap();
    producer.flush(LONG).unwrap();
    let stats = producer.stats();
    assert_eq!((stats.delivered_records, stats.dead_letters, stats.unavailable_attempts), (1, 0, 25), "{stats:?}");
    assert!(stats.last_error.contains("503"), "{stats:?}");
}

#[test]
fn a_poison_record_becomes_a_dead_letter_alone() {
    let server = server();
    server.poison("poison");
    let dir = tempfile::tempdir().unwrap();
    let producer = builder(&dir).open(kinesis(&server, "s").build().unwrap()).unwrap();
    for data in ["one", "poison", "two"] {
        producer.put(data).unwrap();
    }
    producer.flush(LONG).unwrap();
    // Records without a key have no order among each other, whatever was put first.
    let taken: BTreeSet<_> = server.taken("s").into_iter().map(|record| record.data).collect();
    assert_eq!(taken, BTreeSet::from(["one".to_owned(), "two".to_owned()]));
    let letters = producer.dead_letters().list().unwrap();
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].sink, "kinesis:s");
    let records: Vec<_> = letters[0].records.iter().map(|record| (record.seq, record.rejected)).collect();
    assert_eq!(records, [(2, true)]);
    assert!(letters[0].records[0].reason.contains("a value is poison"));
}

/// A part of a batch was taken when the program ended: the next one sends only the rest.
#[test]
fn what_was_taken_is_remembered_across_a_restart() {
    let server = server();
    let dir = tempfile::tempdir().unwrap();
    server.script([Fault::Records(vec![1, 3], "InternalFailure")]);
    server.script(vec![Fault::Busy(503, 0); 3]);
    // One batch, not a part for each of its lanes.
    let waits = vec![Duration::from_millis(1), Duration::from_secs(60)];
    let builder = || builder(&dir).max_in_flight(1).schedule_waits(waits.clone());
    let producer = builder().linger(Duration::from_secs(60)).open(kinesis(&server, "s").build().unwrap()).unwrap();
    for n in 0..5 {
        producer.put(&n.to_string()).unwrap();
    }
    let flushed = producer.flush(Duration::from_millis(500));
    assert_eq!(flushed.unwrap_err().kind(), ErrorKind::Timeout);
    assert_eq!(producer.close(Duration::ZERO).unwrap(), 2);
    server.script([Fault::None]);
    let before = server.puts().len();
    let producer = builder().schedule_waits(vec![]).open(kinesis(&server, "s").build().unwrap()).unwrap();
    producer.resume().unwrap();
    producer.flush(LONG).unwrap();
    assert!(server.puts()[before..].iter().all(|call| call == &["1", "3"]), "{:?}", server.puts());
    let mut taken: Vec<_> = server.taken("s").into_iter().map(|record| record.data).collect();
    taken.sort();
    assert_eq!(taken, ["0", "1", "2", "3", "4"]);
}

/// The predecessor's default batch exceeded the limit of the API.
#[test]
fn batches_are_sealed_within_the_limits_of_the_service() {
    let server = server();
    let dir = tempfile::tempdir().unwrap();
    let producer = builder(&dir)
        .max_records(1_000_000)
        .linger(Duration::from_secs(60))
        .open(kinesis(&server, "s").build().unwrap())
        .unwrap();
    in_fast_seconds(&server, || {
        for n in 0..1200 {
            producer.put(&n.to_string()).unwrap();
        }
        producer.flush(LONG).unwrap();
    });
    assert!(server.puts().iter().all(|call| call.len() <= 500));
    assert!(server.answers().iter().all(|answer| answer == "ok"), "{:?}", server.answers());
}

#[test]
fn put_refuses_what_the_service_would() {
    let server = server();
    let dir = tempfile::tempdir().unwrap();
    let producer = builder(&dir).max_record_bytes(8 << 20).open(kinesis(&server, "s").build().unwrap()).unwrap();
    let big = vec![b'x'; (1 << 20) + 1];
    assert_eq!(producer.put(&big).unwrap_err().kind(), ErrorKind::RecordTooLarge);
    let long_key = vec![b'k'; 257];
    let error = producer.put(NewRecord::new(b"x").key(&long_key)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.to_string().contains("257 characters"), "{error}");
    assert!(server.calls().is_empty(), "found out without the service");
    assert_eq!(producer.stats().put_records, 0);
}

/// The predecessor's rejected events vanished.
#[test]
fn rejected_events_are_dead_letters_with_the_reason() {
    let server = server();
    let dir = tempfile::tempdir().unwrap();
    let producer = builder(&dir).open(logs(&server, "g", "s").build().unwrap()).unwrap();
    let hour = 60 * 60 * 1000 * 1000;
    let now = now_ms() * 1000;
    producer.put(NewRecord::new(b"late").created_at(now - 15 * 24 * hour)).unwrap();
    producer.put(NewRecord::new(b"now").created_at(now)).unwrap();
    producer.put(NewRecord::new(b"ahead").created_at(now + 3 * hour)).unwrap();
    producer.put(NewRecord::new(b"\xff").created_at(now)).unwrap();
    producer.put(NewRecord::new(b"then").created_at(now - hour)).unwrap();
    assert_eq!(producer.put("").unwrap_err().kind(), ErrorKind::InvalidArgument);
    producer.flush(LONG).unwrap();
    let events: Vec<_> = server.events("g", "s").into_iter().map(|event| event.data).collect();
    assert_eq!(events.iter().collect::<BTreeSet<_>>().len(), 2, "{events:?}");
    let mut reasons: Vec<_> = producer
        .dead_letters()
        .list()
        .unwrap()
        .into_iter()
        .flat_map(|letter| letter.records)
        .map(|record| (record.seq, record.reason))
        .collect();
    reasons.sort();
    let prefixes = [(1, "too old"), (3, "too new"), (4, "it is not UTF-8")];
    assert_eq!(reasons.len(), 3, "{reasons:?}");
    for ((seq, reason), (expected, prefix)) in reasons.iter().zip(prefixes) {
        assert!(*seq == expected && reason.starts_with(prefix), "{reasons:?}");
    }
}

#[test]
fn closing_does_not_wait_for_a_service_that_hangs() {
    let server = server();
    server.script([Fault::Slow(Duration::from_secs(4))]);
    let dir = tempfile::tempdir().unwrap();
    let producer = builder(&dir).open(kinesis(&server, "s").build().unwrap()).unwrap();
    producer.put("kept").unwrap();
    while server.puts().is_empty() {
        thread::sleep(Duration::from_millis(5));
    }
    let start = std::time::Instant::now();
    assert_eq!(producer.close(Duration::from_millis(50)).unwrap(), 1, "safe on disk");
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
}
