//! The options `order` and `max_in_flight`: what is sent side by side, and what keeps its order.

mod common;
#[path = "../examples/lanes.rs"]
mod example;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::*;
use unistream::sink::Report;
use unistream::*;

fn builder(dir: impl AsRef<std::path::Path>) -> Builder {
    Producer::builder(dir)
        .linger(Duration::from_millis(1))
        .schedule_multiplier(Duration::from_millis(1))
        .jitter(Jitter::None)
}

/// A sink that says what is best for it.
struct Asks(Limits);

impl Sink for Asks {
    fn send(&self, _: &Batch) -> Result<Report, SendError> {
        Ok(Report::delivered())
    }

    fn limits(&self) -> Limits {
        self.0
    }
}

fn asks(order: Order, in_flight: u64) -> Limits {
    Limits { order, in_flight, ..Limits::default() }
}

#[test]
fn options_that_leave_it_open_follow_the_sink() {
    use Order::*;
    let nothing = asks(Auto, 0);
    let key = asks(Key, 24);
    let cases = [
        // What is asked for, what is best for the sink, what is in force.
        ((Auto, 0), nothing, (Total, 1)),
        ((Auto, 1), nothing, (Total, 1)),
        ((Auto, 4), nothing, (None, 4)),
        ((Total, 0), nothing, (Total, 1)),
        ((Key, 0), nothing, (Key, 1)),
        ((Key, 8), nothing, (Key, 8)),
        ((None, 0), nothing, (None, 1)),
        ((Auto, 0), key, (Key, 24)),
        ((Auto, 1), key, (Total, 1)),
        ((Auto, 4), key, (None, 4)),
        ((Total, 0), key, (Total, 1)),
        ((Key, 0), key, (Key, 24)),
        ((Key, 8), key, (Key, 8)),
        ((Auto, 0), asks(None, 8), (None, 8)),
        ((Auto, 0), asks(Auto, 8), (Total, 1)),
        ((Auto, 0), asks(Key, 1000), (Key, 64)),
    ];
    for ((order, in_flight), limits, expected) in cases {
        let dir = scratch();
        let builder = Producer::builder(&dir).order(order).max_in_flight(in_flight);
        let producer = builder.clone().open(Asks(limits)).unwrap();
        let Options { order: is, max_in_flight, .. } = *producer.options();
        assert_eq!((is, max_in_flight), expected, "{order:?}, {in_flight}, {limits:?}");
        producer.close(LONG).unwrap();
        // Nothing is sent side by side in inline mode, so that nothing is divided for it unless somebody says so.
        let inline = builder.mode(Mode::Inline).open(Asks(limits)).unwrap();
        if (order, in_flight) == (Auto, 0) {
            assert_eq!((inline.options().order, inline.options().max_in_flight), (Total, 1));
        }
    }
}

#[test]
fn what_contradicts_itself_is_refused() {
    let dir = scratch();
    let total = Producer::builder(&dir).order(Order::Total).max_in_flight(2);
    let error = total.open(NullSink).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.message().contains("order is total") && error.message().contains("max_in_flight is 2"), "{error}");
    // A sink that keeps the order of keys takes lanes, one that keeps put order does not.
    let by_key = Limits { ordered: true, ..asks(Order::Key, 4) };
    let in_all = Limits { ordered: true, ..Limits::default() };
    let open = |order, limits| Producer::builder(scratch()).order(order).max_in_flight(4).open(Asks(limits)).map(drop);
    open(Order::Key, by_key).unwrap();
    for (order, limits) in [(Order::None, by_key), (Order::Auto, by_key), (Order::Key, in_all), (Order::Auto, in_all)] {
        let error = open(order, limits).unwrap_err();
        assert!(error.message().contains("max_in_flight is 4"), "{order:?}: {error}");
    }
}

/// What a sink with several calls at once saw, and whether each key kept its order.
#[derive(Default)]
struct Seen {
    inside: BTreeMap<String, BTreeSet<Vec<u8>>>,
    most: usize,
    last: BTreeMap<Vec<u8>, u64>,
    batches: Vec<SeenBatch>,
}

/// A sink that takes a moment for each call, fails every so many-th, and keeps books.
fn keeper(seen: &Arc<Mutex<Seen>>, fails: usize) -> impl Sink + use<> {
    let seen = seen.clone();
    sink::from_fn(move |batch: &Batch| {
        let keys: BTreeSet<Vec<u8>> = batch.iter().filter_map(|record| record.key).map(<[u8]>::to_vec).collect();
        let number = {
            let mut seen = seen.lock().unwrap();
            for (other, busy) in &seen.inside {
                assert!(keys.is_disjoint(busy), "{} is sent beside {other}, which has records of its keys", batch.id());
            }
            seen.inside.insert(batch.id(), keys);
            seen.most = seen.most.max(seen.inside.len());
            seen.batches.push(SeenBatch::of(batch));
            seen.batches.len()
        };
        std::thread::sleep(Duration::from_millis(2));
        let mut seen = seen.lock().unwrap();
        seen.inside.remove(&batch.id());
        if number.is_multiple_of(fails) {
            return Err(SendError::failed("not this time"));
        }
        for record in batch.iter() {
            let key = record.key.unwrap_or_default().to_vec();
            let before = seen.last.insert(key, record.seq).unwrap_or(0);
            assert!(record.key.is_none() || before < record.seq, "seq {} comes behind {before}", record.seq);
        }
        Ok(())
    })
}

#[test]
fn keys_keep_their_order_while_lanes_go_side_by_side() {
    let dir = scratch();
    let seen = Arc::default();
    let builder = builder(&dir).order(Order::Key).max_in_flight(6).max_records(5).max_attempts(0);
    let producer = builder.schedule_max(Duration::from_millis(3)).open(keeper(&seen, 7)).unwrap();
    for number in 0..2000u32 {
        let key = format!("key {}", number % 20);
        let key = (number % 9 != 0).then_some(key.as_bytes());
        producer.put(NewRecord { key, ..NewRecord::new(b"data") }).unwrap();
    }
    producer.flush(LONG).unwrap();
    assert_eq!(producer.close(LONG).unwrap(), 0);
    let seen = seen.lock().unwrap();
    assert!(seen.most > 1 && seen.most <= 6, "{} at once", seen.most);
    assert!(seen.batches.iter().all(|batch| batch.records.len() <= 5), "no part is more than the sink takes");
    // An id stands for what it was first sent with, whatever comes after.
    let mut first: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for batch in &seen.batches {
        let known = first.entry(&batch.id).or_insert_with(|| batch.seqs());
        assert_eq!(*known, batch.seqs(), "{}", batch.id);
    }
    assert_eq!(first.values().map(Vec::len).sum::<usize>(), 2000);
}

/// A process is killed with lanes in every state; the next one, with other options, sends each part that is left as it was.
#[test]
fn parts_survive_a_crash_and_other_options() {
    let dir = scratch();
    let lanes = |count| {
        let order = if count > 1 { Order::Key } else { Order::Total };
        builder(&dir).order(order).max_in_flight(count).max_records(4).linger(NEVER)
    };
    let producer = lanes(4).schedule_waits(vec![Duration::from_secs(1)]).open_manual(Limits::default()).unwrap();
    for number in 0..100u32 {
        let key = number % 10;
        producer.put(NewRecord { key: Some(&key.to_le_bytes()), ..NewRecord::new(b"data") }).unwrap();
    }
    let mut sent: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    let mut delivered = BTreeSet::new();
    while let Some(part) = producer.next_batch().unwrap() {
        let (id, seqs) = (part.id(), part.iter().map(|record| record.seq).collect::<Vec<_>>());
        // Lane 2 fails for good, lane 3 takes the first record only.
        let answer = match part.id().as_bytes().last() {
            Some(b'2') => Err(SendError::unavailable("down")),
            Some(b'3') => {
                delivered.insert(seqs[0]);
                Ok((1..part.len()).fold(Report::delivered(), |report, at| report.failed(at, "not this")))
            }
            _ => {
                delivered.extend(seqs.iter().copied());
                Ok(Report::delivered())
            }
        };
        producer.settle(part, answer).unwrap();
        sent.insert(id, seqs);
    }
    let left = scratch();
    copy_dir(dir.path(), left.path());
    drop(producer);
    for lanes in [1, 3, 4] {
        let again = scratch();
        copy_dir(left.path(), again.path());
        let seen: Arc<Mutex<Seen>> = Arc::default();
        let order = if lanes > 1 { Order::Key } else { Order::Total };
        let next = builder(&again).order(order).max_in_flight(lanes).max_records(7).open(keeper(&seen, 1000)).unwrap();
        next.flush(LONG).unwrap();
        next.close(LONG).unwrap();
        let seen = seen.lock().unwrap();
        let mut all = delivered.clone();
        for batch in &seen.batches {
            for seq in batch.seqs() {
                assert!(all.insert(seq), "{lanes} lanes: seq {seq} comes again");
            }
            if let Some(before) = sent.get(&batch.id) {
                assert!(batch.seqs().iter().all(|seq| before.contains(seq)), "{lanes} lanes: {}", batch.id);
                assert_eq!(batch.attempt, 1 + u32::from(batch.id.ends_with('3')), "{lanes} lanes: {}", batch.id);
            }
        }
        assert_eq!(all.len(), 100, "{lanes} lanes");
    }
}

/// It checks the order of every key itself.
#[test]
fn the_example_keeps_every_key_in_order() {
    example::main().unwrap();
}
