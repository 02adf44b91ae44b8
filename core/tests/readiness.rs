//! The descriptor of manual mode: a program that does nothing but poll it, and asks for batches when it is readable, gets all of
//! them, and is not woken for nothing.

mod common;

use std::os::fd::AsRawFd;
use std::thread;
use std::time::{Duration, Instant};

use common::*;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use unistream::*;

/// Whether it is readable, or becomes so in this time.
fn is_readable(producer: &Producer, within: Duration) -> bool {
    let within = Timespec { tv_sec: within.as_secs().cast_signed(), tv_nsec: within.subsec_nanos().into() };
    let fd = producer.fd().unwrap();
    poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&within)).unwrap() == 1
}

/// Long enough for what would make it readable by mistake.
const MOMENT: Duration = Duration::from_millis(30);

fn stays_silent(producer: &Producer) -> bool {
    !is_readable(producer, MOMENT)
}

fn builder(dir: &std::path::Path) -> Builder {
    Producer::builder(dir).max_records(2).linger(NEVER).jitter(Jitter::None)
}

fn open(builder: Builder) -> Producer {
    builder.open_manual(Limits::default()).unwrap()
}

fn put_two(producer: &Producer) {
    producer.put("one").unwrap();
    producer.put("two").unwrap();
}

/// Waits for it and takes the batch; says how often there was none.
fn wait_for_batch(producer: &Producer) -> (Batch, u32) {
    for in_vain in 0..100 {
        assert!(is_readable(producer, LONG), "it became readable");
        if let Some(batch) = producer.next_batch().unwrap() {
            return (batch, in_vain);
        }
    }
    panic!("it is readable again and again, and there is no batch");
}

#[test]
fn it_is_readable_from_a_full_batch_until_there_is_none() {
    let dir = tempfile::tempdir().unwrap();
    let producer = open(builder(dir.path()).schedule_waits(vec![Duration::from_millis(100)]));
    let fd = producer.fd().unwrap().as_raw_fd();
    assert!(rustix::io::fcntl_getfd(producer.fd().unwrap()).unwrap().contains(rustix::io::FdFlags::CLOEXEC));
    assert!(stays_silent(&producer));
    producer.put("one").unwrap();
    assert!(stays_silent(&producer), "a batch that only fills up makes nothing ready");
    producer.put("two").unwrap();
    assert!(is_readable(&producer, LONG) && is_readable(&producer, Duration::ZERO));
    let batch = producer.next_batch().unwrap().unwrap();
    assert!(is_readable(&producer, Duration::ZERO), "until it is known that there is none");
    assert!(producer.next_batch().unwrap().is_none());
    assert!(stays_silent(&producer));
    let before = Instant::now();
    producer.settle(batch, Err(SendError::failed("no"))).unwrap();
    assert!(!is_readable(&producer, Duration::ZERO), "the schedule holds it");
    let (batch, in_vain) = wait_for_batch(&producer);
    assert!(before.elapsed() >= Duration::from_millis(99) && in_vain == 0 && batch.attempt() == 2);
    producer.settle(batch, Ok(Report::delivered())).unwrap();
    assert!(stays_silent(&producer));
    assert_eq!(producer.fd().unwrap().as_raw_fd(), fd, "it stays the same");
}

#[test]
fn it_is_readable_once_a_batch_has_lingered() {
    let dir = tempfile::tempdir().unwrap();
    let producer = open(builder(dir.path()).max_records(100).linger(Duration::from_millis(50)));
    assert!(stays_silent(&producer));
    producer.put("one").unwrap();
    let (batch, in_vain) = wait_for_batch(&producer);
    assert!(in_vain <= 1, "once, because a batch has begun");
    producer.settle(batch, Ok(Report::delivered())).unwrap();
    assert!(stays_silent(&producer));
}

#[test]
fn it_is_readable_when_an_answer_lets_another_batch_go() {
    let dir = tempfile::tempdir().unwrap();
    let producer = open(builder(dir.path()).order(Order::Total));
    put_two(&producer);
    put_two(&producer);
    let (batch, _) = wait_for_batch(&producer);
    assert!(producer.next_batch().unwrap().is_none(), "one at a time");
    assert!(stays_silent(&producer));
    producer.settle(batch, Ok(Report::delivered())).unwrap();
    assert_eq!(wait_for_batch(&producer).1, 0);
}

#[test]
fn it_is_readable_when_the_rate_allows_a_batch() {
    let dir = tempfile::tempdir().unwrap();
    let producer = open(builder(dir.path()).max_rate_records(20).max_in_flight(2).order(Order::None));
    put_two(&producer);
    put_two(&producer);
    let _one = wait_for_batch(&producer);
    let before = Instant::now();
    assert!(producer.next_batch().unwrap().is_none());
    assert!(!is_readable(&producer, Duration::ZERO));
    assert!(wait_for_batch(&producer).1 <= 1 && before.elapsed() >= Duration::from_millis(50));
}

/// What an earlier run left, what a flush seals, what a put that waits for space seals.
#[test]
fn it_is_readable_for_what_no_put_has_filled() {
    let dir = tempfile::tempdir().unwrap();
    put_two(&open(builder(dir.path())));
    let full = builder(dir.path()).max_records(1000).segment_bytes(64 << 10).max_buffer_bytes(256 << 10);
    let producer = open(full.full_timeout(LONG));
    let settle = |batch| producer.settle(batch, Ok(Report::delivered())).unwrap();
    settle(wait_for_batch(&producer).0);
    producer.put("alone").unwrap();
    assert!(producer.next_batch().unwrap().is_none() && stays_silent(&producer));
    producer.begin_flush().unwrap();
    settle(wait_for_batch(&producer).0);
    assert!(producer.next_batch().unwrap().is_none() && stays_silent(&producer));
    // 500 records are more than there is room for.
    thread::scope(|scope| {
        scope.spawn(|| {
            let data = [0; 1000];
            for _ in 0..500 {
                producer.put(&data[..]).unwrap();
            }
            producer.begin_flush().unwrap();
        });
        while producer.stats().delivered_records < 2 + 1 + 500 {
            settle(wait_for_batch(&producer).0);
        }
    });
}

#[test]
fn it_is_readable_when_the_producer_has_stopped_or_is_closed() {
    let dir = tempfile::tempdir().unwrap();
    let producer = open(builder(dir.path()).max_attempts(1).on_exhausted(OnExhausted::Raise));
    put_two(&producer);
    let (batch, _) = wait_for_batch(&producer);
    assert!(producer.next_batch().unwrap().is_none() && stays_silent(&producer));
    let error = producer.settle(batch, Err(SendError::failed("no"))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::RetriesExhausted);
    assert!(is_readable(&producer, LONG));
    assert_eq!(producer.next_batch().unwrap_err().kind(), ErrorKind::RetriesExhausted);
    assert!(is_readable(&producer, LONG));
    producer.resume().unwrap();
    let (batch, _) = wait_for_batch(&producer);
    assert!(producer.next_batch().unwrap().is_none() && stays_silent(&producer));
    drop(batch);
    producer.close(Duration::ZERO).unwrap();
    assert!(is_readable(&producer, LONG), "also after the close it is the same, and open");
    assert_eq!(producer.next_batch().unwrap_err().kind(), ErrorKind::Closed);
    assert!(is_readable(&producer, LONG));
}

#[test]
fn other_modes_have_none() {
    let dir = tempfile::tempdir().unwrap();
    let producer = builder(dir.path()).open(NullSink).unwrap();
    assert_eq!(producer.fd().unwrap_err().kind(), ErrorKind::WrongMode);
}

/// Several put while several do nothing but poll: nobody sleeps while there is something, whatever comes in between what.
#[test]
fn nobody_who_polls_sleeps_while_there_is_something() {
    const EACH: u64 = 3000;
    let dir = tempfile::tempdir().unwrap();
    let builder = builder(dir.path()).max_records(3).linger(Duration::from_millis(1)).order(Order::None);
    let producer = open(builder.max_in_flight(3));
    let is_done = || producer.stats().delivered_records == 2 * EACH;
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..EACH {
                    producer.put("x").unwrap();
                }
            });
            scope.spawn(|| {
                while !is_done() {
                    // The other one may have taken the last.
                    if !is_readable(&producer, Duration::from_secs(5)) {
                        assert!(is_done(), "batches wait, and nobody is woken");
                    }
                    while let Some(batch) = producer.next_batch().unwrap() {
                        producer.settle(batch, Ok(Report::delivered())).unwrap();
                    }
                }
            });
        }
    });
}

#[test]
fn a_forked_child_has_none_or_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let producer = open(builder(&dir.path().join("alone")));
    let shared = open(builder(&dir.path().join("shared")).shared(true));
    let parents = shared.fd().unwrap().as_raw_fd();
    assert!(stays_silent(&producer));
    let code = in_fork(|| {
        if producer.fd().err().map(|error| error.kind()) != Some(ErrorKind::Forked) {
            return 1;
        }
        let _ = (producer.put("no"), producer.next_batch(), producer.close(LONG));
        if shared.fd().unwrap().as_raw_fd() == parents {
            return 2;
        }
        put_two(&shared);
        let (batch, _) = wait_for_batch(&shared);
        shared.settle(batch, Ok(Report::delivered())).unwrap();
        // Its slot is left for the parent.
        put_two(&shared);
        0
    });
    assert_eq!(code, 0);
    assert!(stays_silent(&producer), "the child has not touched its parent's");
    put_two(&producer);
    assert_eq!(wait_for_batch(&producer).1, 0);
    let (batch, _) = wait_for_batch(&shared);
    assert_eq!(batch.len(), 2, "what the child has left");
    shared.settle(batch, Ok(Report::delivered())).unwrap();
    shared.drain(LONG).unwrap();
}
