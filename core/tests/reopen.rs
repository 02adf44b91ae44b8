//! What may change between runs, who may open a buffer, and what survives from one run to the next.

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime};

use common::*;
use unistream::*;

/// Every option may change between two runs on one directory.
#[test]
fn options_change_from_run_to_run() {
    let dir = scratch();
    let mut random = Random::new(7);
    let mut pick = |choices: &[&'static str]| choices[random.below(choices.len() as u64) as usize];
    let (mut put, mut delivered) = (Vec::new(), Vec::new());
    for run in 0..60 {
        let mut builder = Producer::builder(dir.path());
        let chosen = [
            ("max_records", pick(&["1", "7", "500"])),
            ("max_bytes", pick(&["100", "5000", "1MiB"])),
            ("segment_bytes", pick(&["64KiB", "100000", "1MiB"])),
            ("storage", pick(&["auto", "mapped", "file"])),
            ("durability", pick(&["always", "interval", "os"])),
            ("max_buffer_bytes", pick(&["32MiB", "64MiB"])),
            ("max_in_flight", pick(&["1", "4"])),
            ("linger", pick(&["none", "0.5"])),
        ];
        for (key, value) in chosen {
            builder = builder.set(key, value).unwrap();
        }
        let what = format!("run {run}: {chosen:?}");
        let producer = builder.schedule_max(Duration::ZERO).open_manual(Limits::default()).unwrap();
        for _ in 0..50 {
            let next = producer.stats().next_seq;
            let record = payload(next, 90);
            put.push((producer.put(&record).expect(&what), record));
        }
        // Some batches go out, some fail, some stay.
        for turn in 0..pick(&["0", "1", "5"]).parse::<u32>().unwrap() {
            let Some(batch) = producer.next_batch().expect(&what) else { break };
            match turn {
                2 => producer.settle(batch, Err(SendError::failed("no"))).expect(&what),
                _ => {
                    delivered.extend(SeenBatch::of(&batch).records.into_iter().map(|record| (record.seq, record.data)));
                    producer.settle(batch, Ok(Report::delivered())).expect(&what);
                }
            }
        }
        let left = producer.close(Duration::ZERO).expect(&what);
        assert_eq!(left as usize, put.len() - delivered.len(), "{what}");
    }
    delivered.extend(drain(dir.path()).records().into_iter().map(|record| (record.seq, record.data)));
    delivered.sort();
    assert_eq!(delivered, put);
}

#[test]
fn a_sealed_batch_keeps_its_id_and_contents_under_other_options() {
    let dir = scratch();
    let builder = || Producer::builder(dir.path()).linger(NEVER).schedule_max(Duration::ZERO).max_attempts(0);
    let producer = builder().max_records(5).open_manual(Limits::default()).unwrap();
    for number in 0..12 {
        producer.put(&number.to_string()).unwrap();
    }
    let batch = producer.next_batch().unwrap().unwrap();
    let first = SeenBatch::of(&batch);
    producer.settle(batch, Err(SendError::failed("no"))).unwrap();
    producer.close(Duration::ZERO).unwrap();
    for (run, options) in [("1", "64KiB"), ("3", "1MiB"), ("1000", "2MiB")].into_iter().enumerate() {
        let producer = builder().set("max_records", options.0).unwrap().set("segment_bytes", options.1).unwrap();
        let producer = producer.set("storage", ["file", "auto"][run % 2]).unwrap();
        let producer = producer.open_manual(Limits::default()).unwrap();
        let batch = producer.next_batch().unwrap().unwrap();
        let again = SeenBatch::of(&batch);
        assert_eq!((&again.id, &again.records), (&first.id, &first.records));
        assert_eq!(again.attempt as usize, run + 2, "attempts are remembered");
        producer.settle(batch, Err(SendError::failed("no"))).unwrap();
        producer.close(Duration::ZERO).unwrap();
    }
}

/// Who only looks sees the batches that wait, of an owner that is there and of one that is not.
#[test]
fn who_only_looks_sees_the_batches_that_wait() {
    let dir = scratch();
    let mut options = Options::default();
    (options.max_records, options.linger) = (3, NEVER);
    let open = || Buffer::open(dir.path(), options.clone(), Limits::default()).unwrap();
    let looked = || Inspection::open(dir.path()).unwrap().batches().unwrap();
    let buffer = open();
    assert_eq!(looked(), []);
    for number in 0..7 {
        buffer.put(&number.to_string()).unwrap();
    }
    assert_eq!(looked(), [(1, 3), (4, 6)]);
    buffer.seal().unwrap();
    assert_eq!(looked(), [(1, 3), (4, 6), (7, 7)]);
    buffer.commit(&buffer.emit().unwrap().unwrap()).unwrap();
    buffer.put("8").unwrap();
    assert_eq!(looked(), [(4, 6), (7, 7)]);
    drop(buffer);
    assert_eq!(looked(), [(4, 6), (7, 7)]);
    let buffer = open();
    assert_eq!(buffer.filling().0, 1);
    assert_eq!(looked(), [(4, 6), (7, 7)]);
}

/// A batch that is not full goes on in the next run, also when it began in a segment before the last.
#[test]
fn an_open_batch_over_two_segments_is_one_batch_after_reopening() {
    let dir = scratch();
    let mut options = Options::default();
    options.segment_bytes = 64 << 10;
    let open = || Buffer::open(dir.path(), options.clone(), Limits::default()).unwrap();
    let buffer = open();
    for _ in 0..3 {
        buffer.put(&[7; 25_000]).unwrap();
    }
    drop(buffer);
    assert_eq!(segments(dir.path()).len(), 2);
    let buffer = open();
    assert_eq!(buffer.filling(), (3, 75_000));
    buffer.put(b"the last").unwrap();
    buffer.seal().unwrap();
    let batch = buffer.emit().unwrap().unwrap();
    assert_eq!(SeenBatch::of(&batch).seqs(), [1, 2, 3, 4]);
    assert!(batch.id().ends_with("-0-1"), "the seal is there: {}", batch.id());
}

#[test]
fn an_open_batch_is_not_divided_by_a_smaller_cap() {
    let dir = scratch();
    let open = |max_records| {
        let mut options = Options::default();
        options.max_records = max_records;
        Buffer::open(dir.path(), options, Limits::default()).unwrap()
    };
    let buffer = open(10);
    for data in ["one", "two", "three"] {
        buffer.put(data).unwrap();
    }
    drop(buffer);
    let buffer = open(2);
    assert_eq!(buffer.filling(), (3, 11));
    buffer.put("it is full").unwrap();
    let batch = buffer.emit().unwrap().unwrap();
    assert_eq!(SeenBatch::of(&batch).texts(), ["one", "two", "three"]);
    assert!(batch.id().ends_with("-0-1"), "the seal is there: {}", batch.id());
}

#[test]
fn a_smaller_cap_than_what_is_there_is_no_reason_to_lose_anything() {
    let dir = scratch();
    let builder = || Producer::builder(dir.path()).durability(Durability::Os).when_full(WhenFull::Error);
    let producer = builder().open(down()).unwrap();
    for _ in 0..2000 {
        producer.put(&[b'x'; 1000]).unwrap();
    }
    producer.close(Duration::ZERO).unwrap();
    let producer = builder().max_buffer_bytes(256 << 10).open_manual(Limits::default()).unwrap();
    let mut put = 2000;
    while producer.put(&[b'x'; 1000]).is_ok() {
        put += 1;
        assert!(put < 30_000, "a cap of 256 KiB never holds");
    }
    let seqs: Vec<u64> = take_all(&producer).iter().flat_map(SeenBatch::seqs).collect();
    assert_eq!(seqs, (1..=put).collect::<Vec<_>>());
    producer.put("goes on").unwrap();
    take_all(&producer);
}

#[test]
fn a_second_opener_hears_who_has_the_buffer() {
    let dir = scratch();
    let producer = Producer::builder(dir.path()).open(NullSink).unwrap();
    // Of the same process.
    let error = Producer::builder(dir.path()).open(NullSink).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InUse);
    assert!(error.is_retryable() && error.message().contains(&std::process::id().to_string()), "{error}");
    // Through another name.
    let link = dir.path().with_extension("link");
    std::os::unix::fs::symlink(dir.path(), &link).unwrap();
    let error = Producer::builder(&link).open(NullSink).unwrap_err();
    fs::remove_file(&link).unwrap();
    assert_eq!(error.kind(), ErrorKind::InUse);
    // Of another process.
    let arguments = [("DIR", dir.path().to_str().unwrap()), ("OWNER", &std::process::id().to_string())];
    Process::spawn("second opener", &arguments).finish();
    // A look at it takes no lock and gives none away.
    assert_eq!(Inspection::open(dir.path()).unwrap().stats().unwrap().owner_pid, Some(std::process::id()));
    Process::spawn("second opener", &arguments).finish();
    producer.close(LONG).unwrap();
    Producer::builder(dir.path()).open(NullSink).unwrap();
}

#[test]
fn after_the_owner_was_killed_the_buffer_opens() {
    let dir = scratch();
    let owner = Process::spawn("owner", &[("DIR", dir.path().to_str().unwrap())]);
    let pid = owner.wait_for("owner");
    let error = Producer::builder(dir.path()).open(NullSink).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InUse);
    assert!(error.message().contains(&pid), "{error}");
    owner.kill();
    assert_eq!(drain(dir.path()).texts(), ["of the owner"]);
}

#[test]
#[ignore = "the child's side of the other tests"]
fn child() {
    match role().as_deref() {
        Some("owner") => {
            let producer = Producer::builder(argument("DIR")).open(down()).unwrap();
            producer.put("of the owner").unwrap();
            say(format_args!("owner {}", std::process::id()));
            std::thread::sleep(LONG);
        }
        Some("second opener") => {
            let error = Producer::builder(argument("DIR")).open(NullSink).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InUse);
            assert!(error.message().contains(&argument("OWNER")), "{error}");
        }
        _ => {}
    }
}

#[test]
fn files_are_for_their_owner_only() {
    let root = scratch();
    let dir = root.path().join("deep/er");
    let producer =
        Producer::builder(&dir).max_records(1).max_attempts(1).segment_bytes(64 << 10).open(failing()).unwrap();
    producer.put("x").unwrap();
    producer.flush(LONG).unwrap();
    fn check(dir: &Path, found: &mut u32) {
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(dir), 0o700, "{}", dir.display());
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                check(&path, found);
            } else {
                assert_eq!(mode(&path), 0o600, "{}", path.display());
                *found += 1;
            }
        }
    }
    let mut found = 0;
    check(&dir, &mut found);
    // The lock, four cursors, a segment at least, a letter and its records.
    assert!(found >= 8, "{found}");
}

#[test]
fn a_directory_that_cannot_be_one_is_an_error() {
    let root = scratch();
    let file = root.path().join("file");
    fs::write(&file, b"").unwrap();
    for path in [file.clone(), file.join("below")] {
        assert_eq!(Producer::builder(&path).open(NullSink).unwrap_err().kind(), ErrorKind::Io);
    }
    assert_eq!(fs::read(&file).unwrap(), b"");
}

#[test]
fn options_out_of_range_are_refused_before_anything_is_made() {
    let root = scratch();
    let dir = root.path().join("buffer");
    let error = Producer::builder(&dir).max_records(0).open(NullSink).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.message().contains("max_records"), "{error}");
    assert!(!dir.exists());
}

/// A crash loop does not hammer the sink: attempts and the next attempt's time survive.
#[test]
fn attempts_and_the_next_attempts_time_survive_a_crash_loop() {
    let dir = scratch();
    let sends = Arc::new(AtomicU32::new(0));
    let builder = || {
        let waits = vec![Duration::ZERO, Duration::from_secs(3600)];
        Producer::builder(dir.path()).max_records(1).schedule_waits(waits).jitter(Jitter::None)
    };
    let sink = || {
        let sends = sends.clone();
        sink::from_fn(move |_: &Batch| {
            sends.fetch_add(1, Ordering::Relaxed);
            Err::<(), _>(SendError::failed("no"))
        })
    };
    let producer = builder().open(sink()).unwrap();
    producer.put("x").unwrap();
    wait_until("two attempts failed", || producer.stats().head_attempts == 2);
    drop(producer);
    for _ in 0..5 {
        let producer = builder().open(sink()).unwrap();
        wait_until("the batch is on hold", || {
            let stats = producer.stats();
            stats.head_attempts == 2 && stats.next_attempt_ms > 3_000_000
        });
        assert_eq!(producer.flush(Duration::from_millis(5)).unwrap_err().kind(), ErrorKind::Timeout);
    }
    assert_eq!(sends.load(Ordering::Relaxed), 2);
    let stats = Inspection::open(dir.path()).unwrap().stats().unwrap();
    assert_eq!((stats.head_attempts, stats.last_errors.len(), stats.owner_pid), (2, 2, None));
    // Who only looks sees how old the backlog is and when it goes on.
    assert!(stats.head_since <= stats.head_last_attempt);
    assert!(stats.head_next_attempt > time::micros(SystemTime::now()) + 3_000_000_000);
    assert!(stats.oldest_created_at.unwrap() <= stats.head_since + 1_000_000);
    assert_eq!((stats.pending_records, stats.finished_records, stats.finished_bytes), (1, 0, 0));
    let producer = Producer::builder(dir.path()).open(NullSink).unwrap();
    producer.resume().unwrap();
    producer.flush(LONG).unwrap();
    producer.close(LONG).unwrap();
    let stats = Inspection::open(dir.path()).unwrap().stats().unwrap();
    assert_eq!((stats.pending_records, stats.oldest_created_at), (0, None));
    assert_eq!((stats.finished_records, stats.finished_bytes), (1, 1));
}

#[test]
fn raise_begins_a_fresh_round_on_reopening() {
    let dir = scratch();
    let builder = || {
        let builder = Producer::builder(dir.path()).max_records(1).max_attempts(3).schedule_max(Duration::ZERO);
        builder.on_exhausted(OnExhausted::Raise)
    };
    for run in 1..=3 {
        let producer = builder().open(failing()).unwrap();
        if run == 1 {
            producer.put("x").unwrap();
        }
        assert_eq!(producer.flush(LONG).unwrap_err().kind(), ErrorKind::RetriesExhausted);
        assert_eq!(producer.stats().attempts, 3, "run {run}");
        // Closing says so, and closes.
        assert_eq!(producer.close(LONG).unwrap_err().kind(), ErrorKind::RetriesExhausted);
        assert_eq!(producer.close(LONG).unwrap(), 1);
    }
    assert_eq!(drain(dir.path()).texts(), ["x"]);
}

/// Dropping is closing without waiting, even while the sink is busy.
#[test]
fn dropping_a_producer_leaves_a_whole_buffer() {
    let dir = scratch();
    let start = Instant::now();
    let slow = sink::from_fn(|_: &Batch| std::thread::sleep(Duration::from_millis(100)));
    let producer = Producer::builder(dir.path()).max_records(1).open(slow).unwrap();
    for number in 0..100 {
        producer.put(&number.to_string()).unwrap();
    }
    drop(producer);
    assert!(start.elapsed() < Duration::from_secs(8), "it did not wait for 100 sends of 100 ms");
    let texts = drain(dir.path()).texts();
    assert!(texts.len() >= 90 && texts.last().unwrap() == "99");
}
