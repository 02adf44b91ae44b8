//! What a sink and a program may answer: once for each handing-out, about records that are there, in words that fit. What
//! they say beyond that changes nothing, and nothing that is too long, too large or too late stops a producer.

mod common;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use common::*;
use unistream::limits::{CREATED_AT, MAX_OWN_ID_BYTES, MAX_REASON_BYTES, MAX_WAIT};
use unistream::*;

fn manual(dir: impl AsRef<std::path::Path>) -> Builder {
    Producer::builder(dir).mode(Mode::Manual).schedule_max(Duration::ZERO).max_attempts(10)
}

fn next(producer: &Producer) -> Batch {
    producer.next_batch().unwrap().expect("a batch is there")
}

fn put_all(producer: &Producer, texts: &[&str]) {
    for text in texts {
        producer.put(*text).unwrap();
    }
}

#[track_caller]
fn not_found(result: Result<(), Error>) {
    assert_eq!(result.unwrap_err().kind(), ErrorKind::NotFound);
}

/// "Failed", and then "delivered" of the same handing-out: the second was believed, and the record was gone.
#[test]
fn a_handing_out_takes_one_answer() {
    let dir = scratch();
    let producer = manual(&dir).max_records(3).open_manual(Limits::default()).unwrap();
    put_all(&producer, &["a", "b", "c"]);
    let batch = next(&producer);
    producer.settle(batch.clone(), Err(SendError::failed("down"))).unwrap();
    not_found(producer.settle(batch.clone(), Ok(Report::delivered())));
    assert_eq!((producer.stats().pending_records, producer.stats().delivered_records), (3, 0));

    // It is out again. The answer to the attempt before comes late, and is not for this one.
    let again = next(&producer);
    assert_eq!((again.id(), again.attempt()), (batch.id(), 2));
    let late = [
        Ok(Report::delivered()),
        Err(SendError::failed("late")),
        Err(SendError::Rejected("late".into())),
        Ok(Report::delivered().rejected(1, "late")),
    ];
    for late in late {
        not_found(producer.settle(batch.clone(), late));
    }
    assert!(producer.next_batch().unwrap().is_none(), "the batch was handed out twice at once");
    assert!(producer.dead_letters().list().unwrap().is_empty(), "a late answer wrote a dead letter");
    assert_eq!((producer.stats().failed_attempts, producer.stats().pending_records), (1, 3));
    producer.settle(again, Ok(Report::delivered())).unwrap();
    assert_eq!(producer.stats().delivered_records, 3);
}

/// The batch that is made of a dead letter has the id of the one it came of, which may still be out.
#[test]
fn the_batch_of_a_dead_letter_answers_for_nothing() {
    let dir = scratch();
    let producer = manual(&dir).max_records(3).open_manual(Limits::default()).unwrap();
    put_all(&producer, &["d", "e", "f"]);
    let report = Report::delivered().rejected(0, "bad").failed(1, "x").failed(2, "x");
    producer.settle(next(&producer), Ok(report)).unwrap();
    let dead = producer.dead_letters().list().unwrap()[0].batch().unwrap();
    not_found(producer.settle(dead.clone(), Ok(Report::delivered())));
    let live = next(&producer);
    assert_eq!((dead.id(), live.len()), (live.id(), 2));
    not_found(producer.settle(dead, Ok(Report::delivered())));
    assert_eq!(producer.stats().pending_records, 2);
    producer.settle(live, Ok(Report::delivered())).unwrap();
}

/// Nor does one that an earlier opening of the buffer handed out, though it is the same batch.
#[test]
fn an_answer_of_an_earlier_opening_comes_too_late() {
    let dir = scratch();
    let open = || manual(&dir).max_records(1).open_manual(Limits::default()).unwrap();
    let producer = open();
    producer.put("a").unwrap();
    let before = next(&producer);
    producer.close(Duration::ZERO).unwrap();
    let producer = open();
    not_found(producer.settle(before.clone(), Ok(Report::delivered())));
    let now = next(&producer);
    assert_eq!(now.id(), before.id());
    not_found(producer.settle(before, Ok(Report::delivered())));
    producer.settle(now, Ok(Report::delivered())).unwrap();
    assert_eq!(producer.stats().pending_records, 0);
}

/// A buffer emits one batch again and again until it is committed, once.
#[test]
fn a_buffer_takes_one_commit_of_all_that_it_emitted() {
    let dir = scratch();
    let mut options = Options::default();
    (options.max_records, options.linger) = (1, NEVER);
    let buffer = Buffer::open(&dir, options, Limits::default()).unwrap();
    buffer.put("a").unwrap();
    buffer.put("b").unwrap();
    let emitted: Vec<Batch> = (0..3).map(|_| buffer.emit().unwrap().unwrap()).collect();
    buffer.commit(&emitted[0]).unwrap();
    let second = buffer.emit().unwrap().unwrap();
    for batch in &emitted {
        not_found(buffer.commit(batch));
    }
    assert_eq!(buffer.len(), 1);
    buffer.commit(&second).unwrap();
    assert!(buffer.is_empty());
}

/// Before, a batch that was not full was seen by `emit` only after a `should_emit`.
#[test]
fn a_buffer_emits_what_is_old_enough() {
    let dir = scratch();
    let mut options = Options::default();
    options.linger = Duration::from_millis(1);
    let buffer = Buffer::open(&dir, options, Limits::default()).unwrap();
    buffer.put("x").unwrap();
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(buffer.emit().unwrap().expect("it is old").len(), 1);
}

/// An index past the end was ignored: a sink that counts from 1 had its failures taken for deliveries.
#[test]
fn an_answer_for_a_record_that_is_not_there_is_a_failed_attempt() {
    let reports = || {
        [
            Report::delivered().failed(2, "off by one"),
            Report::delivered().rejected(usize::MAX, "minus one"),
            Report::delivered().rejected(0, "bad").with(9, Outcome::Delivered),
            Report::all(3, Outcome::Rejected { reason: "all".into() }),
        ]
    };
    for report in reports() {
        let dir = scratch();
        let sink = sink::from_fn(move |_: &Batch| Ok::<_, SendError>(report.clone()));
        let producer =
            manual(&dir).mode(Mode::Inline).max_records(2).schedule_min(LONG).schedule_max(LONG).open(sink).unwrap();
        put_all(&producer, &["a", "b"]);
        let stats = producer.stats();
        assert_eq!((stats.failed_attempts, stats.pending_records, stats.delivered_records), (1, 2, 0));
        assert!(stats.last_error.contains("of a batch of 2"), "{}", stats.last_error);
        assert!(producer.dead_letters().list().unwrap().is_empty());
        assert_eq!(producer.close(Duration::ZERO).unwrap(), 2);
    }

    // In manual mode it is an error of the caller, who can still say better.
    let dir = scratch();
    let producer = manual(&dir).max_records(2).open_manual(Limits::default()).unwrap();
    put_all(&producer, &["a", "b"]);
    let batch = next(&producer);
    for report in reports() {
        let error = producer.settle(batch.clone(), Ok(report)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.to_string().contains("of a batch of 2"), "{error}");
        assert_eq!((producer.stats().failed_attempts, producer.stats().last_error), (0, String::new()));
        assert!(producer.next_batch().unwrap().is_none());
    }
    producer.settle(batch, Ok(Report::delivered())).unwrap();
    assert_eq!(producer.stats().delivered_records, 2);
}

/// Each setting moved all that was there: 40,000 records took seconds, a million would have taken an hour.
#[test]
fn a_report_may_be_filled_in_any_order() {
    let time = |records: usize| {
        let start = Instant::now();
        let mut report = Report::delivered();
        (0..records).rev().for_each(|index| report.set(index, Outcome::Rejected { reason: "x".into() }));
        assert_eq!(report.exceptions().count(), records);
        start.elapsed()
    };
    // With quadratic work this would take minutes.
    assert!(time(1_000_000) < Duration::from_secs(30));

    let report = Report::delivered().failed(3, "x").rejected(1, "y").failed(1, "z").failed(3, "w").rejected(3, "last");
    let report = report.failed(0, "x").with(0, Outcome::Delivered);
    let said: Vec<(usize, bool)> =
        report.exceptions().map(|(at, outcome)| (at, matches!(outcome, Outcome::Rejected { .. }))).collect();
    assert_eq!(said, [(1, false), (3, true)], "the last setting of an index holds");
}

/// A page of HTML for each of ten thousand records filled the dead letters, and the producer stopped.
#[test]
fn long_reasons_are_cut_and_stop_nothing() {
    const RECORDS: usize = 10_000;
    let page = format!("<html>{}", "ä".repeat(15_000));
    let fail = page.clone();
    let answers: [Box<dyn Fn(&Batch) -> Result<Report, SendError> + Send + Sync>; 3] = [
        Box::new(move |_| Err(SendError::failed(fail.clone()))),
        Box::new({
            let page = page.clone();
            move |_| Err(SendError::Rejected(page.clone()))
        }),
        Box::new(move |batch| {
            Ok((0..batch.len()).fold(Report::delivered(), |report, at| report.rejected(at, page.clone())))
        }),
    ];
    for answer in answers {
        let dir = scratch();
        let producer = Producer::builder(&dir)
            .max_records(RECORDS as u64)
            .schedule_max(Duration::ZERO)
            .max_attempts(2)
            .open(sink::from_fn(answer))
            .unwrap();
        for _ in 0..RECORDS {
            producer.put(&[b'r'; 50]).unwrap();
        }
        producer.flush(LONG).unwrap();
        let stats = producer.stats();
        assert_eq!((stats.state, stats.dead_letters), (State::Running, 1));
        assert!(stats.dead_letter_bytes < 12 << 20, "{} bytes", stats.dead_letter_bytes);
        assert!(stats.last_error.len() <= MAX_REASON_BYTES);
        let letter = &producer.dead_letters().list().unwrap()[0];
        assert_eq!(letter.records.len(), RECORDS);
        let reason = &letter.records[RECORDS - 1].reason;
        assert!(reason.starts_with("<html>ää") && reason.ends_with('…') && reason.len() < 500, "{reason}");
    }
}

#[test]
fn an_error_of_ten_megabytes_is_a_line() {
    let (dir, longest) = (scratch(), Arc::new(AtomicUsize::new(0)));
    let heard = longest.clone();
    let sink = sink::from_fn(|_: &Batch| Err::<(), _>(SendError::failed("x".repeat(10_000_000))));
    let producer = Producer::builder(&dir)
        .linger(Duration::ZERO)
        .schedule_max(Duration::ZERO)
        .max_attempts(2)
        .on_exhausted(OnExhausted::Raise)
        .observer(move |event| {
            heard.fetch_max(event.message().len(), Ordering::Relaxed);
        })
        .open(sink)
        .unwrap();
    producer.put("a").unwrap();
    let error = producer.flush(LONG).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::RetriesExhausted);
    let stats = producer.stats();
    assert_eq!(stats.last_error.len(), MAX_REASON_BYTES);
    assert!(error.message().len() < 2 * MAX_REASON_BYTES && longest.load(Ordering::Relaxed) < 2 * MAX_REASON_BYTES);
    producer.close(Duration::ZERO).unwrap_err();
    let errors = Inspection::open(&dir).unwrap().stats().unwrap().last_errors;
    assert!(errors.iter().all(|error| error.len() <= MAX_REASON_BYTES), "the cursor keeps it too");
}

/// A sink that asks for a hundred years gets a day, also where the wait was noted and is found again.
#[test]
fn no_wait_is_longer_than_a_day_and_resume_ends_it() {
    let (dir, wait) = (scratch(), Some(Duration::from_secs(u64::MAX)));
    let open = || {
        let builder = manual(&dir).max_records(1);
        builder.open_manual(Limits::default()).unwrap()
    };
    let refuse = |producer: &Producer| {
        let error = SendError::Unavailable { error: Arc::from(Box::from("busy")), retry_after: wait };
        producer.settle(next(producer), Err(error)).unwrap();
    };
    let producer = open();
    producer.put("a").unwrap();
    refuse(&producer);
    let almost_a_day = MAX_WAIT - Duration::from_secs(600)..=MAX_WAIT;
    assert!(almost_a_day.contains(&producer.next_wait().unwrap()));
    producer.close(Duration::ZERO).unwrap();
    // Who only looks sees that somebody waits for the sink.
    let seen = Inspection::open(&dir).unwrap().stats().unwrap();
    assert_eq!((seen.head_failures, seen.head_attempts, seen.last_errors), (1, 0, vec!["busy".to_owned()]));
    assert!(seen.head_since > 1_700_000_000_000_000);

    let producer = open();
    assert!(producer.next_batch().unwrap().is_none());
    assert!(almost_a_day.contains(&producer.next_wait().unwrap()));
    // Before it was read, and after.
    producer.resume().unwrap();
    assert_eq!(producer.next_wait(), Some(Duration::ZERO));
    refuse(&producer);
    assert!(producer.next_batch().unwrap().is_none());
    producer.resume().unwrap();
    let batch = next(&producer);
    assert_eq!(batch.attempt(), 1, "an unavailable sink uses up no attempt");
    producer.settle(batch, Ok(Report::delivered())).unwrap();
    assert_eq!(producer.stats().pending_records, 0);
}

/// After an outage was mended there was no way to say "try now": it waited as the schedule, or the sink, had it.
#[test]
fn resume_of_a_running_producer_sends_what_waits() {
    let (dir, up, sent) = (scratch(), Arc::new(AtomicBool::new(false)), Collector::default());
    let sink = {
        let (up, sent) = (up.clone(), sent.clone());
        sink::from_fn(move |batch: &Batch| {
            if up.load(Ordering::Relaxed) {
                sent.add(batch);
                return Ok(());
            }
            let hour = Some(Duration::from_secs(3600));
            Err(SendError::Unavailable { error: Arc::from(Box::from("down")), retry_after: hour })
        })
    };
    let builder = Producer::builder(&dir).linger(Duration::ZERO);
    let producer = builder.clone().open(sink).unwrap();
    producer.put("a").unwrap();
    wait_until("the sink was tried", || producer.stats().unavailable_attempts == 1);
    up.store(true, Ordering::Relaxed);
    assert_eq!(producer.flush(Duration::from_millis(50)).unwrap_err().kind(), ErrorKind::Timeout);
    producer.resume().unwrap();
    producer.flush(LONG).unwrap();
    assert_eq!(sent.texts(), ["a"]);
}

/// Seconds in place of microseconds cannot be told from 1970. A time that no date holds can.
#[test]
fn a_time_that_no_date_can_be_is_refused_with_a_guess() {
    let dir = scratch();
    let producer = manual(&dir).open_manual(Limits::default()).unwrap();
    let put = |micros| producer.put(NewRecord::new(b"x").created_at(micros));
    const NOW: i64 = 1_700_000_000_000_000;
    let beyond = [i64::MIN, *CREATED_AT.start() - 1, *CREATED_AT.end() + 1, NOW * 1000, i64::MAX];
    for micros in beyond {
        let error = put(micros).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert_eq!(error.message().contains("nanoseconds"), micros == NOW * 1000, "{error}");
    }
    let within = [*CREATED_AT.start(), -1, 0, NOW, *CREATED_AT.end()];
    for micros in within {
        put(micros).unwrap();
    }
    producer.begin_flush().unwrap();
    let batch = next(&producer);
    assert_eq!(batch.iter().map(|record| record.created_at).collect::<Vec<_>>(), within);
    let stats = producer.stats();
    assert_eq!(stats.invalid_puts, beyond.len() as u64);
    assert_eq!(stats.last_error, "", "no error of the system");
}

#[test]
fn a_sink_that_keeps_order_is_refused_with_several_in_flight() {
    struct Ordered;
    impl Sink for Ordered {
        fn send(&self, _: &Batch) -> Result<Report, SendError> {
            Ok(Report::delivered())
        }
        fn limits(&self) -> Limits {
            Limits { ordered: true, ..Limits::default() }
        }
    }
    let dir = scratch();
    let error = Producer::builder(&dir).max_in_flight(8).open(Ordered).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.message().contains("max_in_flight"), "{error}");
    Producer::builder(&dir).max_in_flight(1).open(Ordered).unwrap();
    Producer::builder(&dir).max_in_flight(8).open(NullSink).unwrap();
}

/// An id that stands in for the key counts as the key does: what a call cannot carry was accepted, and became a dead letter.
#[test]
fn where_the_id_is_the_key_it_counts() {
    let dir = scratch();
    let limits = Limits { max_record_bytes: Some(1000), counts_key: true, ..Limits::default() };
    let producer = manual(&dir).open_manual(limits).unwrap();
    let data = [b'x'; 1000];
    let put = |bytes: usize, key: Option<&[u8]>, id: Option<&str>| {
        producer.put(NewRecord { key, id, ..NewRecord::new(&data[..bytes]) }).map(drop)
    };
    for (bytes, key, id) in [
        (1000 - MAX_OWN_ID_BYTES, None, None),
        (993, None, Some("order-1")),
        (999, Some(&b"k"[..]), None),
        (999, Some(&b"k"[..]), Some("a long id")),
    ] {
        put(bytes, key, id).unwrap();
        assert_eq!(put(bytes + 1, key, id).unwrap_err().kind(), ErrorKind::RecordTooLarge);
    }
}

/// As they stand in the log, if the sink carries them: what one call cannot take is refused.
#[test]
fn headers_and_topic_count_where_the_sink_says_so() {
    for counts_headers in [true, false] {
        let dir = scratch();
        let limits = Limits { max_record_bytes: Some(1000), counts_headers, ..Limits::default() };
        let producer = manual(&dir).open_manual(limits).unwrap();
        let (data, value) = ([b'x'; 1000], [b'v'; 100]);
        let headers = [("name", &value[..]), ("n", b"")];
        // 12 for having any, 5 of topic, 4 for each header, names and value.
        let counted = if counts_headers { 12 + 5 + 4 + 104 + 4 + 1 } else { 0 };
        let put = |bytes: usize| producer.put(NewRecord::new(&data[..bytes]).topic("topic").headers(&headers));
        if counts_headers {
            assert_eq!(put(1001 - counted).unwrap_err().kind(), ErrorKind::RecordTooLarge);
        }
        put(1000 - counted).unwrap();
        producer.put(&data).unwrap();
    }
}

#[test]
fn what_a_record_carries_has_limits() {
    use unistream::limits::*;
    let dir = scratch();
    let producer = manual(&dir).open_manual(Limits::default()).unwrap();
    let (name, long) = ("n".repeat(MAX_HEADER_NAME_BYTES), "n".repeat(MAX_HEADER_NAME_BYTES + 1));
    let topic = "t".repeat(MAX_TOPIC_BYTES + 1);
    let bytes = vec![b'v'; MAX_HEADERS_BYTES];
    let many = vec![("n", &b""[..]); MAX_HEADERS + 1];
    let record = NewRecord::new(b"x");
    let refused = |record: NewRecord<'_>, kind: ErrorKind, what: &str| {
        let error = producer.put(record).unwrap_err();
        assert!(error.kind() == kind && error.message().contains(what), "{error}");
        assert!(!error.record_accepted());
    };
    refused(record.topic(&topic), ErrorKind::RecordTooLarge, "a topic of 1025 bytes is longer than 1024");
    refused(record.topic(""), ErrorKind::InvalidArgument, "a topic is empty");
    refused(record.topic("a\nb"), ErrorKind::InvalidArgument, "control character");
    refused(record.headers(&[("", &b""[..])]), ErrorKind::InvalidArgument, "is empty");
    refused(record.headers(&[("a\r\nb", &b""[..])]), ErrorKind::InvalidArgument, "control character");
    refused(record.headers(&[(&long[..], &b""[..])]), ErrorKind::RecordTooLarge, "has 257 bytes, more than 256");
    refused(record.headers(&many[..]), ErrorKind::RecordTooLarge, "101 headers, more than 100");
    refused(record.headers(&[("n", &bytes[..])]), ErrorKind::RecordTooLarge, "32769 bytes, more than 32768");
    for beyond in [*CREATED_AT.start() - 1, *CREATED_AT.end() + 1] {
        refused(record.expires_at(beyond), ErrorKind::InvalidArgument, "expires_at is");
    }
    // The most of everything fits, and comes out as it was put.
    let most: Vec<(&str, &[u8])> =
        (0..MAX_HEADERS).map(|_| (&name[..], &bytes[..MAX_HEADERS_BYTES / MAX_HEADERS - 256])).collect();
    let id = "i".repeat(MAX_ID_BYTES);
    let full = record.topic(&topic[1..]).headers(&most[..]).expires_at(*CREATED_AT.end()).id(&id).key(id.as_bytes());
    producer.put(full).unwrap();
    // A name may be any text, and come more than once; a value may be any bytes.
    let twice = [("größe", &b"\0\r\n\xff"[..]), ("größe", b"")];
    let odd = record.headers(&twice).expires_at(0);
    producer.put(odd).unwrap();
    producer.flush(Duration::ZERO).unwrap_err();
    let batch = producer.next_batch().unwrap().unwrap();
    for (record, put) in batch.iter().zip([full, odd]) {
        assert_eq!(NewRecord { created_at: None, ..record.to_new() }, put);
    }
    assert_eq!(batch.len(), 2);
}

/// A sink that answers only when it is interrupted.
struct CutShort {
    answer: fn() -> Result<Report, SendError>,
    interrupted: Mutex<bool>,
    changed: Condvar,
    began: AtomicBool,
}

impl CutShort {
    fn new(answer: fn() -> Result<Report, SendError>) -> Arc<CutShort> {
        let (interrupted, changed) = Default::default();
        Arc::new(CutShort { answer, interrupted, changed, began: AtomicBool::new(false) })
    }

    fn wait_for_call(&self) {
        wait_until("the sink was called", || self.began.load(Ordering::Acquire));
    }
}

impl Sink for CutShort {
    fn send(&self, _: &Batch) -> Result<Report, SendError> {
        self.began.store(true, Ordering::Release);
        let interrupted = self.interrupted.lock().unwrap();
        drop(self.changed.wait_while(interrupted, |interrupted| !*interrupted).unwrap());
        (self.answer)()
    }

    fn interrupt(&self) {
        *self.interrupted.lock().unwrap() = true;
        self.changed.notify_all();
    }
}

/// Sinks that are cut short by the close say that they failed. The record had nothing to do with it.
#[test]
fn what_fails_because_the_producer_closes_counts_nothing() {
    let answers: [fn() -> Result<Report, SendError>; 4] = [
        || Err(SendError::failed("the pool is shut down")),
        || Err(SendError::unavailable("closed")),
        || Ok(Report::delivered().failed(0, "cut short").unavailable(1, "cut short", None)),
        || panic!("in the midst of it"),
    ];
    for answer in answers {
        let dir = scratch();
        let sink = CutShort::new(answer);
        let builder = Producer::builder(&dir).max_records(2).max_attempts(1);
        let producer = builder.clone().open(sink.clone()).unwrap();
        put_all(&producer, &["a", "b"]);
        sink.wait_for_call();
        assert_eq!(producer.close(Duration::ZERO).unwrap(), 2);
        let stats = producer.stats();
        assert_eq!((stats.failed_attempts, stats.unavailable_attempts, stats.dead_letters), (0, 0, 0));
        let before = Inspection::open(&dir).unwrap().stats().unwrap();
        assert_eq!((before.head_attempts, before.pending_records), (0, 2));
        assert!(before.last_errors.is_empty());
        // Nor does the next run wait for anything.
        let sent = Collector::default();
        let producer = builder.open(sent.clone()).unwrap();
        producer.flush(LONG).unwrap();
        assert_eq!((sent.texts().len(), sent.batches()[0].attempt), (2, 1));
    }
}

/// An interpreter that ends makes sinks fail before the producer is closed: they can say so.
#[test]
fn what_fails_while_the_program_ends_counts_nothing() {
    let dir = scratch();
    let interrupted = sink::from_fn(|_: &Batch| Err::<(), _>(SendError::interrupted("the program ends")));
    let producer = Producer::builder(&dir).linger(Duration::ZERO).max_attempts(1).open(interrupted).unwrap();
    producer.put("a").unwrap();
    wait_until("the sink was called", || producer.stats().attempts > 0);
    assert_eq!(producer.close(Duration::from_millis(20)).unwrap(), 1);
    let stats = Inspection::open(&dir).unwrap().stats().unwrap();
    assert_eq!((stats.pending_records, stats.head_attempts, stats.head_failures), (1, 0, 0));
    assert!(DeadLetters::open(&dir).list().unwrap().is_empty());
}

/// What a sink rejects while the producer closes is rejected: that was no failure.
#[test]
fn what_is_taken_or_rejected_at_the_end_holds() {
    let dir = scratch();
    let sink = CutShort::new(|| Ok(Report::delivered().rejected(0, "bad").failed(1, "cut short")));
    let producer = Producer::builder(&dir).max_records(3).max_attempts(1).open(sink.clone()).unwrap();
    put_all(&producer, &["a", "b", "c"]);
    sink.wait_for_call();
    assert_eq!(producer.close(Duration::ZERO).unwrap(), 1);
    assert_eq!(producer.stats().delivered_records, 1);
    let letters = DeadLetters::open(&dir).list().unwrap();
    assert_eq!((letters.len(), letters[0].records.len()), (1, 1));
    assert_eq!((letters[0].records[0].rejected, letters[0].records[0].reason.as_str()), (true, "bad"));
}
