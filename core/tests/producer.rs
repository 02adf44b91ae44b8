//! The producer as a program sees it.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use unistream::*;

type Sent = Arc<Mutex<Vec<Vec<String>>>>;

fn texts(batch: &Batch) -> Vec<String> {
    batch.iter().map(|record| String::from_utf8_lossy(record.data).into_owned()).collect()
}

fn collect(sent: &Sent) -> impl Sink + use<> {
    let sent = sent.clone();
    sink::from_fn(move |batch: &Batch| sent.lock().unwrap().push(texts(batch)))
}

const LONG: Duration = Duration::from_secs(30);

#[test]
fn background_sends_in_order_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let sent = Sent::default();
    let producer = Producer::builder(dir.path()).max_records(3).open(collect(&sent)).unwrap();
    for number in 0..10 {
        producer.put(&number.to_string()).unwrap();
    }
    producer.flush(LONG).unwrap();
    let batches = sent.lock().unwrap().clone();
    assert_eq!(batches[..3], [["0", "1", "2"], ["3", "4", "5"], ["6", "7", "8"]]);
    assert_eq!(batches[3], ["9"]);
    assert_eq!(producer.close(LONG).unwrap(), 0);
    assert_eq!(producer.close(LONG).unwrap(), 0);
    assert_eq!(producer.put("late").unwrap_err().kind(), ErrorKind::Closed);
}

#[test]
fn what_was_not_sent_is_sent_by_the_next_producer() {
    let dir = tempfile::tempdir().unwrap();
    let sent = Sent::default();
    let down = sink::from_fn(|_: &Batch| -> Result<(), SendError> { Err(SendError::unavailable("down")) });
    let producer = Producer::builder(dir.path()).max_records(2).open(down).unwrap();
    for number in 0..5 {
        producer.put(&number.to_string()).unwrap();
    }
    assert_eq!(producer.close(Duration::ZERO).unwrap(), 5);
    let producer =
        Producer::builder(dir.path()).max_records(100).schedule_max(Duration::ZERO).open(collect(&sent)).unwrap();
    producer.flush(LONG).unwrap();
    assert_eq!(sent.lock().unwrap().concat(), ["0", "1", "2", "3", "4"]);
    // The boundaries that were sealed stay.
    assert_eq!(sent.lock().unwrap()[0], ["0", "1"]);
}

#[test]
fn inline_is_the_event_loop_of_the_spec() {
    let dir = tempfile::tempdir().unwrap();
    let log = Arc::new(Mutex::new(Vec::new()));
    let attempt = AtomicU32::new(0);
    let sink = sink::from_fn(move |_: &Batch| match attempt.fetch_add(1, Ordering::Relaxed) {
        0 => Err(SendError::failed("randomly failed")),
        _ => Ok(()),
    });
    let seen = log.clone();
    let producer = Producer::builder(dir.path())
        .mode(Mode::Inline)
        .max_records(3)
        .linger(NEVER)
        .schedule_waits(vec![Duration::from_millis(50)])
        .jitter(Jitter::None)
        .observer(move |event| seen.lock().unwrap().push(event.name()))
        .open(sink)
        .unwrap();
    for number in 0..4 {
        producer.put(&number.to_string()).unwrap();
    }
    std::thread::sleep(Duration::from_millis(80));
    producer.put("4").unwrap();
    assert_eq!(
        *log.lock().unwrap(),
        [
            "put",
            "should_not_emit",
            "put",
            "should_not_emit",
            "put",
            "send_started",
            "send_failed",
            "sink_down",
            "put",
            "on_hold",
            "put",
            "send_started",
            "send_succeeded",
            "sink_up"
        ]
    );
}

#[test]
fn skip_writes_a_dead_letter_that_can_be_replayed() {
    let dir = tempfile::tempdir().unwrap();
    let sent = Sent::default();
    let (fails, kept) = (Arc::new(AtomicU32::new(2)), sent.clone());
    let left = fails.clone();
    let sink = sink::from_fn(move |batch: &Batch| {
        if left.load(Ordering::Relaxed) > 0 && batch.first_seq() == 1 {
            left.fetch_sub(1, Ordering::Relaxed);
            return Err(SendError::failed("refused"));
        }
        kept.lock().unwrap().push(texts(batch));
        Ok(())
    });
    let producer =
        Producer::builder(dir.path()).max_records(2).max_attempts(2).schedule_max(Duration::ZERO).open(sink).unwrap();
    for number in 0..4 {
        producer.put(NewRecord::new(number.to_string().as_bytes()).id(&format!("id-{number}")).key(b"k")).unwrap();
    }
    producer.flush(LONG).unwrap();
    assert_eq!(*sent.lock().unwrap(), [["2", "3"]]);
    let letters = producer.dead_letters().list().unwrap();
    assert_eq!(letters.len(), 1);
    let letter = &letters[0];
    assert_eq!((letter.attempts, letter.records.len(), letter.errors.len()), (2, 2, 2));
    assert_eq!((letter.records[0].reason.as_str(), letter.records[0].rejected), ("refused", false));
    assert_eq!(letter.batch().unwrap().get(1).unwrap().id(), "id-1");
    let stats = producer.stats();
    assert_eq!((stats.skipped_records, stats.dead_letters, stats.delivered_records), (2, 1, 2));
    assert_eq!(producer.replay_dead_letter(&letter.id).unwrap(), 2);
    producer.flush(LONG).unwrap();
    assert_eq!(sent.lock().unwrap()[1], ["0", "1"]);
    assert!(producer.dead_letters().list().unwrap().is_empty());
}

#[test]
fn raise_stops_until_resume() {
    let dir = tempfile::tempdir().unwrap();
    let sent = Sent::default();
    let (broken, kept) = (Arc::new(AtomicU32::new(1)), sent.clone());
    let flag = broken.clone();
    let sink = sink::from_fn(move |batch: &Batch| {
        if flag.load(Ordering::Relaxed) == 1 {
            return Err(SendError::from(std::io::Error::other("my own error")));
        }
        kept.lock().unwrap().push(texts(batch));
        Ok(())
    });
    let producer = Producer::builder(dir.path())
        .max_records(1)
        .max_attempts(3)
        .schedule_max(Duration::ZERO)
        .on_exhausted(OnExhausted::Raise)
        .open(sink)
        .unwrap();
    producer.put("0").unwrap();
    let error = producer.flush(LONG).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::RetriesExhausted);
    assert!(error.cause().unwrap().is::<std::io::Error>(), "the sink's own error comes whole");
    let error = producer.put("1").unwrap_err();
    assert_eq!((error.kind(), error.record_accepted()), (ErrorKind::RetriesExhausted, false));
    assert_eq!(producer.stats().state, State::Stopped);
    broken.store(0, Ordering::Relaxed);
    producer.resume().unwrap();
    producer.put("2").unwrap();
    producer.flush(LONG).unwrap();
    assert_eq!(*sent.lock().unwrap(), [["0"], ["2"]]);
}

#[test]
fn per_record_answers_are_kept_apart_and_remembered() {
    let dir = tempfile::tempdir().unwrap();
    let sent = Sent::default();
    let kept = sent.clone();
    let sink = sink::from_fn(move |batch: &Batch| {
        kept.lock().unwrap().push(texts(batch));
        let mut report = Report::delivered();
        for (index, record) in batch.iter().enumerate() {
            match record.data {
                b"bad" => report.set(index, Outcome::Rejected { reason: "not this one".into() }),
                b"slow" => report = report.unavailable(index, "throttled", None),
                _ => {}
            }
        }
        report
    });
    let open = |sink: Box<dyn Sink>| {
        Producer::builder(dir.path()).max_records(3).schedule_max(Duration::from_millis(1)).open(sink).unwrap()
    };
    let producer = open(Box::new(sink));
    for text in ["good", "bad", "slow"] {
        producer.put(text).unwrap();
    }
    while producer.stats().attempts < 3 {
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(producer.close(Duration::ZERO).unwrap(), 1);
    let attempts = sent.lock().unwrap().clone();
    assert_eq!(attempts[0], ["good", "bad", "slow"]);
    assert!(attempts[1..].iter().all(|attempt| attempt == &["slow"]), "{attempts:?}");
    let letters = DeadLetters::open(dir.path()).list().unwrap();
    assert_eq!((letters[0].records[0].reason.as_str(), letters[0].records[0].rejected), ("not this one", true));
    // After a restart too, only what was not taken comes again, under the same batch id.
    sent.lock().unwrap().clear();
    let producer = open(Box::new(collect(&sent)));
    producer.flush(LONG).unwrap();
    assert_eq!(*sent.lock().unwrap(), [["slow"]]);
}

#[test]
fn manual_mode_hands_out_and_takes_back() {
    let dir = tempfile::tempdir().unwrap();
    let producer = Producer::builder(dir.path())
        .max_records(2)
        .schedule_waits(vec![Duration::from_millis(20)])
        .jitter(Jitter::None)
        .open_manual(Limits::default())
        .unwrap();
    assert!(producer.next_batch().unwrap().is_none());
    assert_eq!(producer.next_wait(), None);
    producer.put("0").unwrap();
    assert!(producer.next_wait().unwrap() > Duration::ZERO);
    producer.put("1").unwrap();
    assert_eq!(producer.next_wait(), Some(Duration::ZERO));
    let batch = producer.next_batch().unwrap().unwrap();
    assert!(producer.next_batch().unwrap().is_none(), "it is handed out once");
    let id = batch.id();
    producer.settle(batch, Err(SendError::failed("no"))).unwrap();
    assert!(producer.next_batch().unwrap().is_none(), "the schedule holds it");
    std::thread::sleep(Duration::from_millis(40));
    let batch = producer.next_batch().unwrap().unwrap();
    assert_eq!((batch.id(), batch.attempt()), (id, 2));
    producer.settle(batch, Ok(Report::delivered())).unwrap();
    assert_eq!(producer.stats().pending_records, 0);
}

#[test]
fn calls_from_inside_a_callback_are_errors() {
    let dir = tempfile::tempdir().unwrap();
    let slot: Arc<std::sync::OnceLock<std::sync::Weak<Producer>>> = Arc::default();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (inner, kinds) = (slot.clone(), seen.clone());
    let sink = sink::from_fn(move |_: &Batch| {
        let producer = inner.get().unwrap().upgrade().unwrap();
        let mut kinds = kinds.lock().unwrap();
        kinds.push(producer.put("again").unwrap_err().kind());
        kinds.push(producer.flush(LONG).unwrap_err().kind());
        kinds.push(producer.close(LONG).unwrap_err().kind());
        assert_eq!(producer.stats().pending_records, 1);
    });
    let producer = Arc::new(Producer::builder(dir.path()).max_records(1).open(sink).unwrap());
    slot.set(Arc::downgrade(&producer)).unwrap();
    producer.put("0").unwrap();
    producer.flush(LONG).unwrap();
    assert_eq!(*seen.lock().unwrap(), [ErrorKind::Reentrant; 3]);
}

#[test]
fn a_panicking_sink_is_a_failed_attempt() {
    let dir = tempfile::tempdir().unwrap();
    let attempt = AtomicU32::new(0);
    let sink = sink::from_fn(move |_: &Batch| {
        assert!(attempt.fetch_add(1, Ordering::Relaxed) > 0, "the first attempt panics");
    });
    let producer = Producer::builder(dir.path()).schedule_max(Duration::ZERO).open(sink).unwrap();
    producer.put("0").unwrap();
    producer.flush(LONG).unwrap();
    let stats = producer.stats();
    assert_eq!((stats.failed_attempts, stats.delivered_records), (1, 1));
}

/// A binding that holds a lock of its own while it puts must not wait there, not even for a segment to be made.
#[test]
fn try_put_never_waits_and_put_within_goes_on_where_it_refused() {
    let dir = tempfile::tempdir().unwrap();
    let builder = Producer::builder(dir.path()).segment_bytes(64 << 10).max_buffer_bytes(256 << 10);
    let producer = builder.open_manual(Limits::default()).unwrap();
    let data = vec![b'x'; 1000];
    let mut refused = 0;
    let full = loop {
        match producer.try_put(&data) {
            Ok(_) => {}
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::BufferFull);
                refused += 1;
                match producer.put_within(&data, Duration::ZERO) {
                    Ok(_) => {}
                    Err(error) => break error,
                }
            }
        }
    };
    assert_eq!(full.kind(), ErrorKind::BufferFull);
    assert!(refused >= 3, "each end of a segment refuses, and the end of the log: {refused}");
    assert!(producer.stats().put_records > 150);
}

/// A flush in two halves waits for what was put before its first half, and for nothing that came later.
#[test]
fn a_flush_in_halves_waits_for_its_point_only() {
    let dir = tempfile::tempdir().unwrap();
    let producer = Producer::builder(dir.path()).linger(NEVER).open_manual(Limits::default()).unwrap();
    producer.put("before").unwrap();
    let point = producer.begin_flush().unwrap();
    producer.put("after").unwrap();
    assert_eq!(producer.wait_flushed(point, Duration::ZERO).unwrap_err().kind(), ErrorKind::Timeout);
    let batch = producer.next_batch().unwrap().unwrap();
    assert_eq!(texts(&batch), ["before"]);
    producer.settle(batch, Ok(Report::delivered())).unwrap();
    producer.wait_flushed(point, Duration::ZERO).unwrap();
    assert!(producer.next_batch().unwrap().is_none());
}
