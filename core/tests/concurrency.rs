//! Several threads, several batches in flight, and what flush, close and resume promise meanwhile.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use common::*;
use unistream::*;

/// Every public type may be sent to and shared between threads; this is checked when it is compiled.
#[test]
fn every_public_type_is_send_and_sync() {
    fn both<T: Send + Sync>() {}
    both::<Batch>();
    both::<Buffer>();
    both::<Builder>();
    both::<Cause>();
    both::<DeadLetter>();
    both::<DeadLetters>();
    both::<DeadRecord>();
    both::<Durability>();
    both::<Error>();
    both::<ErrorKind>();
    both::<Event<'static>>();
    both::<FileSink>();
    both::<Framing>();
    both::<Inspection>();
    both::<InspectionStats>();
    both::<Jitter>();
    both::<Level>();
    both::<Limits>();
    both::<Mode>();
    both::<NewRecord<'static>>();
    both::<NullSink>();
    both::<Observer>();
    both::<OnExhausted>();
    both::<OptionSpec>();
    both::<Options>();
    both::<Outcome>();
    both::<Producer>();
    both::<Record<'static>>();
    both::<Report>();
    both::<Schedule>();
    both::<SendError>();
    both::<State>();
    both::<Stats>();
    both::<Storage>();
    both::<Verification>();
    both::<WhenFull>();
    both::<Box<dyn Sink>>();
}

fn builder(dir: &tempfile::TempDir) -> Builder {
    Producer::builder(dir.path()).durability(Durability::Os).segment_bytes(64 << 10).schedule_max(Duration::ZERO)
}

#[test]
fn eight_threads_put_at_once() {
    const THREADS: u64 = 8;
    const EACH: u64 = 3000;
    for durability in [Durability::Os, Durability::Always] {
        let dir = tempfile::tempdir().unwrap();
        let each = if durability == Durability::Always { EACH / 20 } else { EACH };
        let sent = Collector::default();
        let producer = builder(&dir).durability(durability).max_records(100).open(sent.clone()).unwrap();
        let seqs: Vec<Vec<u64>> = std::thread::scope(|scope| {
            let put = |thread: u64| {
                let producer = &producer;
                move || (0..each).map(|number| producer.put(&format!("{thread} {number}")).unwrap()).collect()
            };
            let threads: Vec<_> = (0..THREADS).map(|thread| scope.spawn(put(thread))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        producer.flush(LONG).unwrap();
        // Each thread's records rise; all together they are 1 to n.
        assert!(seqs.iter().all(|seqs| seqs.is_sorted()));
        let all: BTreeSet<u64> = seqs.concat().into_iter().collect();
        assert_eq!(all, (1..=THREADS * each).collect());
        assert_eq!(sent.seqs(), (1..=THREADS * each).collect::<Vec<_>>());
        let mut next = BTreeMap::new();
        for (seq, text) in sent.seqs().into_iter().zip(sent.texts()) {
            let (thread, number) = text.split_once(' ').unwrap();
            let (thread, number): (u64, u64) = (thread.parse().unwrap(), number.parse().unwrap());
            let expected = next.entry(thread).or_insert(0);
            assert_eq!(number, *expected, "the order within a thread is kept");
            *expected += 1;
            assert_eq!(seqs[thread as usize][number as usize], seq, "put returned the record's own seq");
        }
        let syncs = producer.stats().syncs;
        assert!(durability != Durability::Always || syncs <= THREADS * each, "{syncs} syncs: threads share them");
    }
}

/// A sink whose calls wait until the test lets them go.
#[derive(Clone, Default)]
struct Gate(Arc<(Mutex<Calls>, Condvar)>);

/// The first seqs of the batches inside the sink, and of those that may leave.
type Calls = (Vec<u64>, Vec<u64>);

impl Gate {
    fn inside(&self) -> Vec<u64> {
        self.0.0.lock().unwrap().0.clone()
    }

    fn let_go(&self, first_seq: u64) {
        self.0.0.lock().unwrap().1.push(first_seq);
        self.0.1.notify_all();
    }
}

impl Sink for Gate {
    fn send(&self, batch: &Batch) -> Result<Report, SendError> {
        let seq = batch.first_seq();
        let mut state = self.0.0.lock().unwrap();
        state.0.push(seq);
        while !state.1.contains(&seq) {
            state = self.0.1.wait(state).unwrap();
        }
        state.0.retain(|other| *other != seq);
        Ok(Report::delivered())
    }
}

#[test]
fn several_batches_in_flight_commit_in_order_however_they_end() {
    let dir = scratch();
    let gate = Gate::default();
    let producer = builder(&dir).max_records(1).max_in_flight(3).open(gate.clone()).unwrap();
    for number in 0..5 {
        producer.put(&number.to_string()).unwrap();
    }
    wait_until("three are under way", || gate.inside().len() == 3);
    let mut inside = gate.inside();
    inside.sort_unstable();
    assert_eq!(inside, [1, 2, 3], "no fourth before the first is committed");
    gate.let_go(3);
    gate.let_go(2);
    wait_until("two ended", || producer.stats().delivered_records == 2);
    // The first holds the committed position, but nothing that ended is sent again after a crash.
    let image = scratch();
    copy_dir(dir.path(), image.path());
    let after_crash = drain(image.path());
    assert_eq!(after_crash.texts(), ["0", "3", "4"], "{:?}", after_crash.seqs());
    gate.let_go(1);
    wait_until("the others go out", || gate.inside().len() == 2);
    gate.let_go(4);
    gate.let_go(5);
    producer.flush(LONG).unwrap();
    assert_eq!(producer.close(LONG).unwrap(), 0);
}

#[test]
fn in_flight_batches_that_fail_are_retried_each_by_itself() {
    let dir = scratch();
    let sent = Collector::default();
    let (kept, calls) = (sent.clone(), AtomicU32::new(0));
    let sink = sink::from_fn(move |batch: &Batch| {
        if calls.fetch_add(1, Ordering::Relaxed) % 3 == 0 {
            return Err(SendError::failed("every third"));
        }
        kept.add(batch);
        Ok(())
    });
    let producer = builder(&dir).max_records(5).max_in_flight(8).max_attempts(0).open(sink).unwrap();
    for number in 0..500 {
        producer.put(&number.to_string()).unwrap();
    }
    producer.flush(LONG).unwrap();
    let mut seqs = sent.seqs();
    seqs.sort_unstable();
    assert_eq!(seqs, (1..=500).collect::<Vec<_>>(), "each exactly once");
    assert!(sent.batches().iter().all(|batch| batch.seqs().is_sorted()), "in order within a batch");
}

#[test]
fn flush_waits_for_what_was_put_before_and_says_when_time_is_over() {
    let dir = scratch();
    let gate = Gate::default();
    let producer = builder(&dir).linger(NEVER).open(gate.clone()).unwrap();
    producer.flush(Duration::ZERO).expect("nothing to wait for");
    producer.put("x").unwrap();
    std::thread::scope(|scope| {
        // It is the flush that seals the batch, so the batch is under way only when the flush is.
        let flush = scope.spawn(|| producer.flush(LONG));
        wait_until("the first is under way", || gate.inside() == [1]);
        producer.put("later").unwrap();
        gate.let_go(1);
        flush.join().unwrap().expect("what is put later is not waited for");
    });
    assert_eq!(producer.stats().pending_records, 1);
    let error = producer.flush(Duration::from_millis(20)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(error.is_retryable() && error.message().contains("1 record"), "{error}");
    gate.let_go(2);
    assert_eq!(producer.close(LONG).unwrap(), 0);
}

#[test]
fn close_returns_what_is_left_and_every_call_after_it_is_refused() {
    let dir = scratch();
    let producer = Arc::new(builder(&dir).max_records(2).open(down()).unwrap());
    for _ in 0..5 {
        producer.put("x").unwrap();
    }
    // Two threads close at once; both hear the same.
    let other = producer.clone();
    let thread = std::thread::spawn(move || other.close(Duration::from_millis(10)));
    assert_eq!(producer.close(Duration::from_millis(10)).unwrap(), 5);
    assert_eq!(thread.join().unwrap().unwrap(), 5);
    let kinds = [
        producer.put("y").unwrap_err().kind(),
        producer.flush(LONG).unwrap_err().kind(),
        producer.resume().unwrap_err().kind(),
        producer.replay_dead_letter("x").unwrap_err().kind(),
    ];
    assert_eq!(kinds, [ErrorKind::Closed; 4]);
    assert_eq!((producer.stats().state, producer.stats().pending_records), (State::Closed, 5));
    assert_eq!(drain(dir.path()).texts().len(), 5);
}

/// A sink that hangs must not hang the program that wants to end.
#[test]
fn close_interrupts_a_sink_that_does_not_return() {
    #[derive(Default)]
    struct Hanging(Arc<AtomicBool>);
    impl Sink for Hanging {
        fn send(&self, _: &Batch) -> Result<Report, SendError> {
            wait_until("it is interrupted", || self.0.load(Ordering::Relaxed));
            Err(SendError::unavailable("interrupted"))
        }
        fn interrupt(&self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let dir = scratch();
    let producer = builder(&dir).max_records(1).open(Hanging::default()).unwrap();
    producer.put("x").unwrap();
    wait_until("it hangs", || producer.stats().attempts == 1);
    assert_eq!(producer.close(Duration::from_millis(10)).unwrap(), 1);
    assert_eq!(drain(dir.path()).texts(), ["x"]);
}

#[test]
fn a_sink_that_never_returns_keeps_the_buffer_until_it_does() {
    let dir = scratch();
    let gate = Gate::default();
    let producer = builder(&dir).max_records(1).open(gate.clone()).unwrap();
    producer.put("x").unwrap();
    wait_until("it hangs", || gate.inside() == [1]);
    assert_eq!(producer.close(Duration::ZERO).unwrap_err().kind(), ErrorKind::Timeout);
    // Nobody else may have the buffer while its sink may still be writing.
    assert_eq!(builder(&dir).open(NullSink).unwrap_err().kind(), ErrorKind::InUse);
    gate.let_go(1);
    let mut reopened = None;
    wait_until("it is released", || {
        reopened = builder(&dir).open(NullSink).ok();
        reopened.is_some()
    });
    assert_eq!(reopened.unwrap().stats().pending_records, 0, "what the sink took at last is committed");
}

/// The bug: the first thread that came back released the buffer, and the next producer sent what the others were sending.
#[test]
fn several_sinks_that_do_not_return_keep_the_buffer_until_the_last_does() {
    let (dir, gate, events) = (scratch(), Gate::default(), Events::default());
    let builder = builder(&dir).max_records(1).max_in_flight(3);
    let producer = builder.clone().observer(events.observer()).open(gate.clone()).unwrap();
    for text in ["a", "b", "c"] {
        producer.put(text).unwrap();
    }
    wait_until("all three hang", || gate.inside().len() == 3);
    assert_eq!(producer.close(Duration::ZERO).unwrap_err().kind(), ErrorKind::Timeout);
    for (seq, told) in [(2, 1), (1, 2)] {
        gate.let_go(seq);
        wait_until("its answer is told", || events.count("send_succeeded") == told);
        // Time for its thread to end.
        std::thread::sleep(Duration::from_millis(50));
        assert_eq!(builder.clone().open(NullSink).unwrap_err().kind(), ErrorKind::InUse);
    }
    gate.let_go(3);
    let mut reopened = None;
    wait_until("it is released", || {
        reopened = builder.clone().open(NullSink).ok();
        reopened.is_some()
    });
    assert_eq!((reopened.unwrap().stats().pending_records, events.count("send_succeeded")), (0, 3));
    assert_eq!(producer.stats().delivered_records, 3);
}

#[test]
fn a_stop_is_told_at_once_and_resume_goes_on_where_it_was() {
    let dir = scratch();
    let (up, sent, events) = (Arc::new(AtomicBool::new(false)), Collector::default(), Events::default());
    let (is_up, kept) = (up.clone(), sent.clone());
    let sink = sink::from_fn(move |batch: &Batch| match is_up.load(Ordering::Relaxed) {
        true => {
            kept.add(batch);
            Ok(())
        }
        false => Err(SendError::failed("no")),
    });
    let producer = builder(&dir)
        .max_records(2)
        .max_attempts(2)
        .on_exhausted(OnExhausted::Raise)
        .observer(events.observer())
        .open(sink)
        .unwrap();
    producer.put("1").unwrap();
    producer.put("2").unwrap();
    wait_until("it is told", || events.count("stopped") == 1);
    let error = producer.put("3").unwrap_err();
    assert_eq!((error.kind(), error.record_accepted()), (ErrorKind::RetriesExhausted, false));
    assert_eq!(producer.flush(LONG).unwrap_err().kind(), ErrorKind::RetriesExhausted);
    producer.resume().unwrap();
    wait_until("a fresh round ends like the first", || events.count("stopped") == 2);
    assert_eq!(producer.stats().attempts, 4);
    up.store(true, Ordering::Relaxed);
    producer.resume().unwrap();
    producer.resume().expect("resuming twice does nothing");
    producer.put("4").unwrap();
    producer.flush(LONG).unwrap();
    assert_eq!(sent.texts(), ["1", "2", "4"]);
}

#[test]
fn events_tell_the_way_of_a_batch_in_order() {
    let dir = scratch();
    let (events, attempt) = (Events::default(), AtomicU32::new(0));
    let sink = sink::from_fn(move |_: &Batch| match attempt.fetch_add(1, Ordering::Relaxed) {
        0 => Report::delivered().rejected(0, "never").failed(1, "later"),
        1 => Report::delivered().unavailable(0, "down", None),
        2 => Report::delivered(),
        _ => Report::all(2, Outcome::Failed { error: Arc::new(std::io::Error::other("poison")) }),
    });
    let producer = builder(&dir)
        .mode(Mode::Inline)
        .max_records(3)
        .linger(NEVER)
        .max_attempts(3)
        .observer(events.observer())
        .open(sink)
        .unwrap();
    for text in ["1", "2", "3"] {
        producer.put(text).unwrap();
    }
    producer.flush(LONG).unwrap();
    producer.put("4").unwrap();
    producer.put("5").unwrap();
    producer.flush(LONG).unwrap();
    let names = events.names();
    let expected = [
        "put",
        "should_not_emit",
        "put",
        "should_not_emit",
        "put",
        "send_started",
        "send_failed",
        "rejected",
        "send_started",
        "send_failed",
        "sink_down",
        "send_started",
        "send_succeeded",
        "sink_up",
        "put",
        "should_not_emit",
        "put",
        "should_not_emit",
        // (Within a minute of the outage before: this one is not reported before it has lasted for one.)
        "send_started",
        "send_failed",
        "send_started",
        "send_failed",
        "send_started",
        "send_failed",
        "skipped",
    ];
    assert_eq!(names, expected);
    assert!(events.messages("rejected")[0].contains("never"));
    assert!(events.messages("skipped")[0].contains("poison"));
    producer.close(LONG).unwrap();
    let events = Events::default();
    let producer = builder(&dir).observer(events.observer()).open(NullSink).unwrap();
    assert_eq!(events.count("recovered"), 0, "nothing was left: {:?}", events.names());
    drop(producer);
}

#[test]
fn a_panicking_observer_harms_nobody() {
    let dir = scratch();
    let sent = Collector::default();
    let producer = builder(&dir).max_records(1).observer(|_| panic!("I observe")).open(sent.clone()).unwrap();
    producer.put("x").unwrap();
    producer.flush(LONG).unwrap();
    assert_eq!(sent.texts(), ["x"]);
}

#[test]
fn next_wait_is_what_an_event_loop_needs() {
    let dir = scratch();
    let builder = builder(&dir).max_records(2).linger(Duration::from_secs(1000));
    let producer = builder.schedule_waits(vec![Duration::from_secs(500)]).jitter(Jitter::None);
    let producer = producer.open_manual(Limits::default()).unwrap();
    assert_eq!(producer.next_wait(), None, "nothing is there");
    producer.put("1").unwrap();
    let linger = producer.next_wait().unwrap();
    assert!(linger <= Duration::from_secs(1000) && linger > Duration::from_secs(900), "{linger:?}");
    assert!(producer.next_batch().unwrap().is_none());
    producer.put("2").unwrap();
    assert_eq!(producer.next_wait(), Some(Duration::ZERO), "a full batch may go at once");
    let batch = producer.next_batch().unwrap().unwrap();
    assert_eq!(producer.next_wait(), None, "it is out, and nothing else is there");
    producer.settle(batch, Err(SendError::failed("no"))).unwrap();
    let backoff = producer.next_wait().unwrap();
    assert!(backoff <= Duration::from_secs(500) && backoff > Duration::from_secs(400), "{backoff:?}");
    assert!(producer.next_batch().unwrap().is_none());
    producer.close(Duration::ZERO).unwrap();
    assert_eq!(producer.next_wait(), None);
}

#[test]
fn manual_mode_refuses_what_makes_no_sense() {
    let (dir, other) = (scratch(), scratch());
    let manual = builder(&dir).max_records(1).open_manual(Limits::default()).unwrap();
    let background = builder(&other).open(NullSink).unwrap();
    assert_eq!(background.next_batch().unwrap_err().kind(), ErrorKind::WrongMode);
    assert_eq!(background.next_wait(), None);
    let error = builder(&other).mode(Mode::Manual).open(NullSink).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WrongMode);
    manual.put("x").unwrap();
    let batch = manual.next_batch().unwrap().unwrap();
    let id = batch.id();
    manual.settle(batch, Ok(Report::delivered())).unwrap();
    // A batch that this buffer never handed out.
    let foreign = Batch::from_records([NewRecord::new(b"y")]);
    assert_ne!(foreign.id(), id);
    assert_eq!(manual.settle(foreign, Ok(Report::delivered())).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn a_foreign_batch_with_the_same_first_seq_commits_nothing() {
    let dir = scratch();
    let mut options = Options::default();
    options.max_records = 1;
    let buffer = Buffer::open(dir.path(), options, Limits::default()).unwrap();
    buffer.put("mine").unwrap();
    assert!(buffer.emit().unwrap().is_some());
    let foreign = Batch::from_records([NewRecord::new(b"yours")]);
    assert_eq!(foreign.first_seq(), 1);
    assert_eq!(buffer.commit(&foreign).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(buffer.len(), 1);
}

#[test]
fn put_many_says_how_far_it_came() {
    let dir = scratch();
    let producer = builder(&dir).max_record_bytes(3).open(NullSink).unwrap();
    let many = producer.put_many(["1", "22", "4444", "5"]).unwrap_err();
    assert_eq!((many.accepted, many.error.kind()), (2, ErrorKind::RecordTooLarge));
    assert!(many.to_string().ends_with(" (2 records were put)"), "{many}");
    assert_eq!(Error::from(many).kind(), ErrorKind::RecordTooLarge);
    assert_eq!(producer.put_many(["6", "7"]).unwrap(), 2);
    assert_eq!(producer.stats().put_records, 4);

    // Inline, the last record may be in the log and its put say that the producer has stopped.
    let (dir, sink) = (scratch(), sink::from_fn(|_: &Batch| Err::<(), _>(SendError::failed("poison"))));
    let builder = builder(&dir).mode(Mode::Inline).max_records(2).max_attempts(1).on_exhausted(OnExhausted::Raise);
    let producer = builder.open(sink).unwrap();
    let many = producer.put_many(["1", "2", "3"]).unwrap_err();
    assert_eq!((many.accepted, many.error.kind()), (2, ErrorKind::RetriesExhausted));
    assert!(many.error.record_accepted());
}

/// A put that finds no room ends the batch that it no longer goes into, and the sender hears of it.
#[test]
fn a_put_that_waits_for_space_does_not_wait_beside_a_batch_that_could_go_out() {
    let (dir, collector) = (scratch(), Collector::default());
    // Each segment takes one record, the buffer four, and a batch is full by bytes with the fifth.
    let builder = Producer::builder(dir.path()).segment_bytes(64 << 10).max_buffer_bytes(256 << 10).max_bytes(190_000);
    let producer = builder.linger(NEVER).full_timeout(Duration::from_secs(20)).open(collector.clone()).unwrap();
    for number in 0..12 {
        if number == 4 {
            // By now the sender sleeps.
            std::thread::sleep(Duration::from_millis(100));
        }
        producer.put(&payload(number, 0).repeat(5000)[..40_000]).unwrap();
    }
    producer.flush(LONG).unwrap();
    assert_eq!(collector.seqs(), (1..=12).collect::<Vec<_>>());
}
