//! The policy of a full backlog: the oldest make room for what is put, but for what is in flight.

mod common;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::*;
use unistream::*;

#[test]
fn the_oldest_make_room_but_not_what_is_in_flight() {
    let dir = scratch();
    let told: Arc<Mutex<Vec<(u64, u64, u64, u64)>>> = Arc::default();
    let hearing = told.clone();
    let producer = Producer::builder(dir.path())
        .when_full(WhenFull::DropOldest)
        .full_timeout(Duration::from_millis(50))
        .max_buffer_bytes(256 << 10)
        .segment_bytes(64 << 10)
        .max_records(5)
        .linger(NEVER)
        .observer(move |event| {
            if let Event::Dropped { records, bytes, first_seq, last_seq } = event {
                hearing.lock().unwrap().push((*records, *bytes, *first_seq, *last_seq));
            }
        })
        .open_manual(Limits::default())
        .unwrap();
    let put = || producer.put(&[b'x'; 4000][..]);
    // Nothing is in flight: every put is taken, and the oldest go.
    for _ in 0..300 {
        put().unwrap();
    }
    let stats = producer.stats();
    assert_eq!(stats.pending_records + stats.dropped_records, 300);
    assert!(stats.dropped_records > 200 && stats.buffer_bytes <= 256 << 10, "{stats:?}");
    assert_eq!((stats.dropped_bytes, stats.refused_puts), (stats.dropped_records * 4000, 0));
    {
        let told = told.lock().unwrap();
        assert_eq!(told.iter().map(|(records, ..)| records).sum::<u64>(), stats.dropped_records);
        let mut next = 1;
        for (records, bytes, first, last) in told.iter().copied() {
            assert_eq!((first, last, bytes), (next, next + records - 1, records * 4000), "oldest first, none left out");
            next = last + 1;
        }
    }
    // One that is in flight is never dropped: where it is in the way, put waits for its answer, and then it is an error.
    let batch = producer.next_batch().unwrap().unwrap();
    assert_eq!(batch.first_seq(), stats.dropped_records + 1, "the oldest that is left");
    let error = (0..100).find_map(|_| put().err()).expect("the segment of what is in flight cannot be freed");
    assert_eq!(error.kind(), ErrorKind::BufferFull);
    assert_eq!(producer.stats().dropped_records, stats.dropped_records);
    let in_flight: Vec<u64> = batch.iter().map(|record| record.seq).collect();
    assert_eq!(in_flight.len(), 5);
    producer.settle(batch, Ok(Report::delivered())).unwrap();
    for _ in 0..50 {
        put().unwrap();
    }
    // What was dropped does not come back, and what was not comes out, over a restart too.
    let stats = producer.stats();
    let dropped = stats.dropped_records;
    assert_eq!(stats.pending_records + dropped + 5, stats.put_records);
    drop(producer);
    let drained = drain(dir.path());
    let expected: Vec<u64> = (dropped + 6..=stats.put_records).collect();
    assert_eq!(drained.seqs(), expected);
}

/// However many send, and though all of them begin at once with a backlog, one batch goes out, and the next when the rate says.
#[test]
fn a_rate_holds_for_all_senders_together() {
    for round in 0..20 {
        let dir = scratch();
        let builder = || Producer::builder(dir.path()).max_records(10).linger(NEVER);
        let producer = builder().open_manual(Limits::default()).unwrap();
        (0..640).for_each(|_| assert!(producer.put(b"x").is_ok()));
        producer.close(Duration::ZERO).unwrap();
        drop(producer);
        let collector = Collector::default();
        let seen = collector.clone();
        let sink = sink::from_fn(move |batch: &Batch| seen.add(batch));
        // The second one may go out ten seconds later.
        let producer = builder().order(Order::None).max_in_flight(64).max_rate_records(1).open(sink).unwrap();
        wait_until("the first goes out", || !collector.batches().is_empty());
        std::thread::sleep(Duration::from_millis(20));
        producer.close(Duration::ZERO).unwrap();
        assert_eq!(collector.batches().len(), 1, "round {round}");
    }
}
