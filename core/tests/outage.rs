//! A long outage of the sink costs disk up to the limit that the user set, never memory, and never empties the
//! backlog into the dead letters (P8). Neither memory nor opening depends on the backlog (P9).

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::*;
use unistream::*;

const CAP: u64 = 8 << 20;

fn builder(dir: impl AsRef<Path>) -> Builder {
    Producer::builder(dir)
        .durability(Durability::Os)
        .segment_bytes(256 << 10)
        .max_buffer_bytes(CAP)
        .when_full(WhenFull::Error)
        .schedule_max(Duration::from_millis(1))
        .max_attempts(2)
}

/// Anonymous memory of this process in KiB: heap and stacks, not the mapped log.
fn anonymous_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn memory_is_flat_the_cap_holds_and_nothing_is_given_up() {
    for storage in ["auto", "file"] {
        let dir = scratch();
        Process::spawn("outage", &[("DIR", dir.path().to_str().unwrap()), ("STORAGE", storage)]).finish();
    }
}

#[test]
#[ignore = "the child's side of the other tests"]
fn child() {
    match role().as_deref() {
        Some("outage") => outage(Path::new(&argument("DIR"))),
        Some("open") => open_and_count(Path::new(&argument("DIR"))),
        _ => {}
    }
}

/// The bug: the producer was `running`, its log silent, and flush timed out without a reason.
#[test]
fn a_log_that_cannot_be_read_is_told_of() {
    for mode in [Mode::Background, Mode::Inline, Mode::Manual] {
        let (dir, events, sent) = (scratch(), Events::default(), Collector::default());
        let fill = builder(&dir).max_records(10).segment_bytes(64 << 10).open_manual(Limits::default()).unwrap();
        for _ in 0..200 {
            fill.put(&[b'x'; 1000]).unwrap();
        }
        assert_eq!(fill.close(Duration::ZERO).unwrap(), 200);

        let up = Arc::new(AtomicBool::new(false));
        let (is_up, kept) = (up.clone(), sent.clone());
        let sink = sink::from_fn(move |batch: &Batch| match is_up.load(Ordering::Relaxed) {
            true => {
                kept.add(batch);
                Ok(())
            }
            false => Err(SendError::unavailable("down")),
        });
        let builder = builder(&dir).mode(mode).max_records(10).segment_bytes(64 << 10).observer(events.observer());
        let producer = match mode {
            Mode::Manual => builder.open_manual(Limits::default()).unwrap(),
            _ => builder.schedule_max(Duration::from_millis(20)).open(sink).unwrap(),
        };
        // A directory in the place of each segment but the last.
        let aside = scratch();
        let mut moved = segments(&dir);
        moved.pop();
        assert!(moved.len() > 1, "{moved:?}");
        let place = |segment: &PathBuf| aside.path().join(segment.file_name().unwrap());
        for segment in &moved {
            fs::rename(segment, place(segment)).unwrap();
            fs::create_dir(segment).unwrap();
        }
        up.store(true, Ordering::Relaxed);
        if mode == Mode::Manual {
            let answer = |batch| producer.settle(batch, Ok(Report::delivered())).unwrap();
            let error = loop {
                match producer.next_batch() {
                    Ok(batch) => answer(batch.expect("the log has more")),
                    Err(error) => break error,
                }
            };
            assert_eq!(producer.stats().last_error, error.to_string());
            let wait = producer.next_wait().expect("it is tried again without a put");
            assert!(wait <= Duration::from_secs(1), "{wait:?}");
        } else {
            wait_until("it is told", || {
                let error = producer.flush(Duration::from_millis(50)).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Timeout);
                events.count("log_unreadable") > 0 && error.to_string().contains("; the last error: could not read ")
            });
        }
        let stats = producer.stats();
        assert!(stats.unreadable_since > 1_700_000_000_000_000 && stats.pending_records > 0, "{stats:?}");
        // Once, however often it is tried: it has not lasted for a minute.
        let told = events.messages("log_unreadable");
        assert_eq!(told.len(), 1, "{told:?}");
        let begin = format!("the log cannot be read, for 0s now; {} records wait: ", stats.pending_records);
        assert!(told[0].starts_with(&begin) && told[0].contains("is a directory, not a file"), "{}", told[0]);

        for segment in &moved {
            fs::remove_dir(segment).unwrap();
            fs::rename(place(segment), segment).unwrap();
        }
        if mode == Mode::Manual {
            assert!(producer.next_batch().unwrap().is_some());
        } else {
            producer.flush(LONG).unwrap();
        }
        assert_eq!(producer.stats().unreadable_since, 0);
        assert_eq!(events.messages("log_readable"), ["the log can be read again, after 0s"]);
    }
}

/// The bug: Python waits in slices of 50 ms, or of none at all where threads are greenlets, and that is what was told.
#[test]
fn a_put_that_waits_in_slices_tells_of_the_whole_wait() {
    for (mode, slice) in [Mode::Background, Mode::Inline].into_iter().flat_map(|mode| [(mode, 0), (mode, 5)]) {
        let (dir, events) = (scratch(), Events::default());
        let builder = builder(&dir).mode(mode).max_buffer_bytes(256 << 10).segment_bytes(64 << 10);
        let producer = builder.observer(events.observer()).open(down()).unwrap();
        let payload = [b'x'; 10_000];
        let put = || producer.put_in_slice(&payload, Duration::from_millis(slice), LONG);
        let error = (0..100).find_map(|_| put().err()).expect("it is full some time");
        assert_eq!((error.kind(), put().unwrap_err().kind()), (ErrorKind::BufferFull, ErrorKind::BufferFull));
        let told = events.messages("put_waiting");
        assert_eq!(told.len(), 1, "{mode:?} {slice}: {told:?}");
        assert!(told[0].starts_with("put waits for space, at most 60.000s"), "{}", told[0]);
    }
}

/// A put that waited for space looked like one that hung: nobody was told, and nothing was counted.
#[test]
fn a_put_that_waits_or_is_refused_can_be_seen() {
    let (dir, events) = (scratch(), Events::default());
    let open = || builder(&dir).max_buffer_bytes(256 << 10).segment_bytes(64 << 10).observer(events.observer());
    let producer = open().when_full(WhenFull::Block).full_timeout(Duration::from_millis(30)).open(down()).unwrap();
    let payload = [b'x'; 10_000];
    let refused = (0..100).map(|_| producer.put(&payload)).filter(|put| put.is_err()).count();
    assert!(refused > 1);
    let stats = producer.stats();
    assert_eq!(stats.refused_puts, refused as u64);
    // All of them have waited; that the sink is slower than the puts is told once a minute.
    let told = events.messages("put_waiting");
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].starts_with("put waits for space, at most 30.000ms"), "{}", told[0]);

    // Who waits in slices is not refused until the last of them.
    let slice = producer.put_in_slice(&payload, Duration::from_millis(1), LONG).unwrap_err();
    assert_eq!((slice.kind(), producer.stats().refused_puts), (ErrorKind::BufferFull, refused as u64));
    assert_eq!(producer.try_put(&payload).unwrap_err().kind(), ErrorKind::BufferFull);
    assert_eq!(producer.stats().refused_puts, refused as u64);
    let _ = producer.close(Duration::ZERO);

    // The sink's errors overwrite what the puts said; here there is no sink.
    let producer = open().open_manual(Limits::default()).unwrap();
    let error = producer.put(&payload).unwrap_err();
    assert_eq!((producer.stats().last_error, producer.stats().refused_puts), (error.to_string(), 1));
    assert_eq!(events.count("put_waiting"), 1, "when_full = error waits for nothing");
}

/// A record that the caller got wrong stood as the last error, and counted as a refusal of the system.
#[test]
fn what_the_caller_got_wrong_is_no_error_of_the_system() {
    for mode in [Mode::Background, Mode::Inline, Mode::Manual] {
        let dir = scratch();
        let builder = builder(&dir).mode(mode).max_record_bytes(1000).max_buffer_bytes(256 << 10);
        let picky = Picky(Limits { checks_records: true, ..Limits::default() });
        let producer = match mode {
            Mode::Manual => builder.segment_bytes(64 << 10).open_manual(Limits::default()).unwrap(),
            _ => builder.segment_bytes(64 << 10).open(picky).unwrap(),
        };
        let mut invalid = 0;
        let mut wrong = |record: NewRecord<'_>, kind| {
            invalid += 1;
            assert_eq!(producer.put(record).unwrap_err().kind(), kind);
            let stats = producer.stats();
            assert_eq!(
                (stats.invalid_puts, stats.refused_puts, stats.last_error.as_str()),
                (invalid, 0, ""),
                "{mode:?}"
            );
        };
        wrong(NewRecord::new(&[b'x'; 1001]), ErrorKind::RecordTooLarge);
        wrong(NewRecord::new(b"x").created_at(i64::MAX), ErrorKind::InvalidArgument);
        if mode != Mode::Manual {
            wrong(NewRecord::new(b"not for this sink"), ErrorKind::InvalidArgument);
        }
        // What the system refuses is one.
        let full = (0..1000).find_map(|_| producer.put(&[b'x'; 1000]).err()).expect("it is full some time");
        assert_eq!(full.kind(), ErrorKind::BufferFull);
        let stats = producer.stats();
        assert_eq!((stats.invalid_puts, stats.refused_puts), (invalid, 1), "{mode:?}");
        if mode == Mode::Manual {
            assert_eq!(stats.last_error, full.to_string());
        }
    }
}

/// A sink that is down, and looks at records before they are put.
struct Picky(Limits);

impl Sink for Picky {
    fn send(&self, _: &Batch) -> Result<Report, SendError> {
        Err(SendError::unavailable("down"))
    }
    fn limits(&self) -> Limits {
        self.0
    }
    fn admit(&self, record: &NewRecord<'_>) -> Result<(), String> {
        if record.data.starts_with(b"not for") { Err("not for this sink".into()) } else { Ok(()) }
    }
}

fn outage(dir: &Path) {
    let up = Arc::new(AtomicBool::new(false));
    let (sent, is_up) = (Collector::default(), up.clone());
    let sink = {
        let sent = sent.clone();
        sink::from_fn(move |batch: &Batch| match is_up.load(Ordering::Relaxed) {
            true => {
                sent.add(batch);
                Ok(())
            }
            false => Err(SendError::unavailable("down")),
        })
    };
    let producer = builder(dir).set("storage", &argument("STORAGE")).unwrap().open(sink).unwrap();
    let payload = [b'x'; 1000];
    let mut put = 0;
    for _ in 0..1000 {
        producer.put(&payload).unwrap();
        put += 1;
    }
    wait_until("the sink was tried", || producer.stats().unavailable_attempts > 3);
    let early = anonymous_kib();
    let error = loop {
        match producer.put(&payload) {
            Ok(_) => put += 1,
            Err(error) => break error,
        }
        if put % 500 == 0 {
            assert!(segment_bytes(dir) <= CAP);
        }
    };
    assert_eq!((error.kind(), error.record_accepted()), (ErrorKind::BufferFull, false), "{error}");
    assert!(put > 7000, "the cap is used: {put} records of 1 kB in 8 MiB");
    // It goes on being refused, and the sink goes on being tried, far beyond max_attempts.
    let attempts = producer.stats().unavailable_attempts;
    wait_until("the sink was tried again and again", || {
        assert_eq!(producer.put(&payload).unwrap_err().kind(), ErrorKind::BufferFull);
        producer.stats().unavailable_attempts > attempts + 20
    });
    let late = anonymous_kib();
    assert!(late < early + 2048, "{late} KiB after {put} records, {early} KiB after 1000");
    let stats = producer.stats();
    assert!(segment_bytes(dir) <= CAP && stats.buffer_bytes <= CAP, "{} {}", segment_bytes(dir), stats.buffer_bytes);
    assert_eq!((stats.pending_records, stats.dead_letters, stats.skipped_records), (put, 0, 0));
    assert_eq!(stats.state, State::Unavailable);
    // The sink comes back.
    up.store(true, Ordering::Relaxed);
    producer.flush(LONG).unwrap();
    assert_eq!(sent.seqs(), (1..=put).collect::<Vec<_>>());
    producer.put(&payload).unwrap();
    assert_eq!(producer.close(LONG).unwrap(), 0);
    assert!(producer.dead_letters().list().unwrap().is_empty());
    assert!(segment_bytes(dir) <= 256 << 10, "a drained and closed buffer keeps no more than its last segment");
}

#[test]
fn a_blocked_put_goes_on_when_space_is_freed() {
    let dir = scratch();
    let producer = builder(dir.path())
        .max_buffer_bytes(256 << 10)
        .when_full(WhenFull::Block)
        .full_timeout(LONG)
        .max_records(20)
        .open_manual(Limits::default())
        .unwrap();
    // Waiting for no time is not waiting.
    let mut put = 0;
    while producer.put_within(&vec![1; 1000], Duration::ZERO).is_ok() {
        put += 1;
    }
    std::thread::scope(|scope| {
        let blocked = scope.spawn(|| producer.put(&vec![1; 1000]));
        while !blocked.is_finished() {
            if let Some(batch) = producer.next_batch().unwrap() {
                producer.settle(batch, Ok(Report::delivered())).unwrap();
            }
        }
        assert_eq!(blocked.join().unwrap().unwrap(), put + 1);
    });
    take_all(&producer);
}

#[test]
fn a_blocked_put_gives_up_after_its_time() {
    let dir = scratch();
    let producer = builder(dir.path())
        .max_buffer_bytes(256 << 10)
        .when_full(WhenFull::Block)
        .full_timeout(Duration::from_millis(30))
        .open(down())
        .unwrap();
    let error = loop {
        if let Err(error) = producer.put(&vec![1; 1000]) {
            break error;
        }
    };
    assert_eq!((error.kind(), error.record_accepted()), (ErrorKind::BufferFull, false));
    assert!(error.is_retryable());
}

/// Inline, nobody else would make room: the put that finds the buffer full sends.
#[test]
fn a_full_buffer_in_inline_mode_is_sent_by_the_put_that_needs_room() {
    let dir = scratch();
    let (up, sent) = (Arc::new(AtomicBool::new(false)), Collector::default());
    let (is_up, kept) = (up.clone(), sent.clone());
    let sink = sink::from_fn(move |batch: &Batch| match is_up.load(Ordering::Relaxed) {
        true => {
            kept.add(batch);
            Ok(())
        }
        false => Err(SendError::unavailable("down")),
    });
    let producer = builder(dir.path())
        .max_buffer_bytes(256 << 10)
        .mode(Mode::Inline)
        .when_full(WhenFull::Block)
        .full_timeout(LONG)
        .schedule_max(Duration::ZERO)
        .open(sink)
        .unwrap();
    let mut put = 0;
    while producer.put_within(&vec![1; 1000], Duration::ZERO).is_ok() {
        put += 1;
    }
    up.store(true, Ordering::Relaxed);
    for _ in 0..1000 {
        put = producer.put(&vec![1; 1000]).unwrap();
    }
    producer.flush(LONG).unwrap();
    assert_eq!(sent.seqs(), (1..=put).collect::<Vec<_>>());
}

#[test]
fn a_record_that_never_fits_is_not_waited_for() {
    let dir = scratch();
    let producer = builder(dir.path())
        .max_buffer_bytes(256 << 10)
        .max_record_bytes(1 << 20)
        .when_full(WhenFull::Block)
        .full_timeout(LONG)
        .open(down())
        .unwrap();
    let error = producer.put(&vec![1; 300_000]).unwrap_err();
    assert_eq!((error.kind(), error.record_accepted()), (ErrorKind::RecordTooLarge, false), "{error}");
    producer.put("fits").unwrap();
}

/// Bytes that this process asked the kernel for by read calls so far.
fn bytes_read() -> u64 {
    let io = fs::read_to_string("/proc/self/io").unwrap();
    io.lines().find_map(|line| line.strip_prefix("rchar: ")).unwrap().parse().unwrap()
}

fn open_and_count(dir: &Path) {
    let (read, memory) = (bytes_read(), anonymous_kib());
    let producer = builder(dir).max_buffer_bytes(1 << 30).open_manual(Limits::default()).unwrap();
    say(format_args!("read {}", bytes_read() - read));
    say(format_args!("memory {}", anonymous_kib().saturating_sub(memory)));
    say(format_args!("pending {}", producer.stats().pending_records));
    let _ = producer.flush(Duration::ZERO);
    wait_until("the first batch may go out", || {
        producer.next_batch().unwrap().is_some_and(|batch| batch.first_seq() == 1)
    });
}

/// How many bytes opening reads, the memory it takes in KiB, and the records it finds.
fn opening(records: u64) -> (u64, u64, u64) {
    let dir = scratch();
    let producer = builder(dir.path()).max_buffer_bytes(1 << 30).open(down()).unwrap();
    for _ in 0..records {
        producer.put(&[b'x'; 4000]).unwrap();
    }
    producer.close(Duration::ZERO).unwrap();
    let said = Process::spawn("open", &[("DIR", dir.path().to_str().unwrap())]).finish();
    let number = |what: &str| said.iter().find_map(|line| line.strip_prefix(what)).unwrap().trim().parse().unwrap();
    (number("read"), number("memory"), number("pending"))
}

#[test]
fn opening_reads_the_end_of_the_log_not_the_backlog() {
    let (small, large) = (opening(200), opening(20_000));
    assert_eq!((small.2, large.2), (200, 20_000));
    // 80 MB against 0.8 MB: what is read is the last segment (256 KiB) and, of each other, nothing.
    assert!(large.0 < 600 << 10, "{} bytes were read to open", large.0);
    assert!(large.1 < small.1 + 1024, "{} KiB against {} KiB", large.1, small.1);
}
