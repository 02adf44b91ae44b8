//! Holes of the package that this one replaces. Each is impossible here, and each has its test; those that only a
//! binding or a sink for AWS can have are tested there.

mod common;

use std::fs;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::*;
use unistream::*;

fn options() -> Options {
    let mut options = Options::default();
    options.segment_bytes = 64 << 10;
    options.durability = Durability::Os;
    options.linger = NEVER;
    options
}

fn buffer(dir: &tempfile::TempDir, options: Options) -> Buffer {
    Buffer::open(dir.path(), options, Limits::default()).unwrap()
}

/// It rotated by bytes into files that it could not read back.
#[test]
fn a_buffer_that_rotated_by_bytes_reopens() {
    let dir = scratch();
    let mut options = options();
    options.max_records = 7;
    let put = buffer(&dir, options.clone());
    for seq in 1..=1000 {
        assert_eq!(put.put(&payload(seq, 500)).unwrap(), seq);
    }
    put.close().unwrap();
    assert!(segments(dir.path()).len() > 3);
    let records = drain(dir.path()).records();
    assert_eq!(records.len(), 1000);
    assert!((1..).zip(&records).all(|(seq, record)| record.seq == seq && record.data == payload(seq, 500)));
}

/// A crash between the append of a record and the rotation of the file left a buffer that never opened again.
#[test]
fn a_crash_at_any_put_around_a_rotation_reopens() {
    for storage in [Storage::Auto, Storage::File] {
        let (dir, root) = (scratch(), scratch());
        let mut options = options();
        options.storage = storage;
        options.max_records = 3;
        let live = buffer(&dir, options);
        for seq in 1..=200 {
            live.put(&payload(seq, 0).repeat(250)).unwrap();
            // What a process that dies now leaves: the kernel keeps what was stored.
            let image = root.path().join(seq.to_string());
            copy_dir(dir.path(), &image);
            let drained = drain(&image);
            assert_eq!(drained.seqs(), (1..=seq).collect::<Vec<_>>(), "after put {seq}");
            assert_eq!(drained.stats.corrupt_regions, 0, "after put {seq}: {:?}", drained.events.messages("corrupt"));
            fs::remove_dir_all(&image).unwrap();
        }
        assert!(segments(dir.path()).len() > 5, "it rotated");
    }
}

/// Another `max_records` made an existing buffer unopenable.
#[test]
fn max_records_may_change_between_runs() {
    let dir = scratch();
    for (run, max_records) in [(0, 10), (1, 3), (2, 100)] {
        let mut options = options();
        options.max_records = max_records;
        let buffer = buffer(&dir, options);
        for number in 0..25 {
            buffer.put(&(run * 25 + number).to_string()).unwrap();
        }
        buffer.close().unwrap();
    }
    let drained = drain(dir.path());
    assert_eq!(drained.texts(), (0..75).map(|number| number.to_string()).collect::<Vec<_>>());
    // What was sealed keeps its boundary; what was open is filled up under the new limit.
    let sizes: Vec<usize> = drained.batches.iter().map(|batch| batch.records.len()).collect();
    assert_eq!(sizes[..2], [10, 10]);
    assert!(sizes[2..].iter().take(5).all(|size| *size <= 6), "{sizes:?}");
}

/// A last line that was torn made the buffer unopenable.
#[test]
fn a_torn_last_record_is_cut_off_and_the_rest_comes_out() {
    let (dir, root) = (scratch(), scratch());
    let live = buffer(&dir, options());
    for seq in 1..=20 {
        live.put(&payload(seq, 0).repeat(10)).unwrap();
    }
    let path = segments(dir.path()).remove(0);
    let bytes = fs::read(&path).unwrap();
    let last = format::frames(&bytes).pop().unwrap();
    // A put that dies half-way has stored some of its frame but not its first word, so that what is there is no part of a frame.
    for torn in [8, 16, 40, last.length] {
        let image = root.path().join(torn.to_string());
        copy_dir(dir.path(), &image);
        let mut bytes = bytes.clone();
        bytes[last.offset..last.offset + 8].fill(0);
        bytes[last.offset + torn..last.end()].fill(0);
        fs::write(image.join(path.file_name().unwrap()), bytes).unwrap();
        let drained = drain(&image);
        assert_eq!(drained.seqs(), (1..=19).collect::<Vec<_>>(), "torn at {torn}");
        assert_eq!(drained.events.count("recovered"), 1);
        assert_eq!(drained.stats.corrupt_regions, 0, "a torn tail is no corruption");
    }
}

/// Files were named by time: two batches of the same instant overwrote each other.
#[test]
fn batches_with_equal_timestamps_are_two_batches() {
    let dir = scratch();
    let mut options = options();
    options.max_records = 2;
    let buffer = buffer(&dir, options);
    for text in ["a", "b", "c", "d"] {
        buffer.put(NewRecord::new(text.as_bytes()).created_at(1_700_000_000_000_000)).unwrap();
    }
    buffer.close().unwrap();
    let drained = drain(dir.path());
    assert_eq!(drained.texts(), ["a", "b", "c", "d"]);
    assert_ne!(drained.batches[0].id, drained.batches[1].id);
}

/// After a restart the order followed the timestamps that users gave.
#[test]
fn the_order_after_a_restart_is_the_order_of_put() {
    let dir = scratch();
    let mut options = options();
    options.max_records = 2;
    for run in 0..3 {
        let buffer = buffer(&dir, options.clone());
        for number in 0..3 {
            let text = format!("{run}{number}");
            buffer.put(NewRecord::new(text.as_bytes()).created_at(1000 - run * 10 - number)).unwrap();
        }
        buffer.close().unwrap();
    }
    let drained = drain(dir.path());
    assert_eq!(drained.texts(), ["00", "01", "02", "10", "11", "12", "20", "21", "22"]);
    assert_eq!(drained.records()[0].created_at, 1000);
}

/// A put between emit and commit was deleted by the commit.
#[test]
fn a_put_between_emit_and_commit_survives_the_commit() {
    let dir = scratch();
    let mut options = options();
    options.max_records = 2;
    let buffer = buffer(&dir, options);
    buffer.put("1").unwrap();
    buffer.put("2").unwrap();
    let batch = buffer.emit().unwrap().unwrap();
    buffer.put("3").unwrap();
    buffer.put("4").unwrap();
    buffer.put("5").unwrap();
    buffer.commit(&batch).unwrap();
    assert_eq!(buffer.len(), 3);
    assert_eq!(buffer.commit(&batch).unwrap_err().kind(), ErrorKind::NotFound, "it is committed once");
    buffer.close().unwrap();
    assert_eq!(drain(dir.path()).texts(), ["3", "4", "5"]);
}

/// What was still in memory came out newest first.
#[test]
fn emit_is_oldest_first_and_the_same_again_until_the_commit() {
    let dir = scratch();
    let mut options = options();
    options.max_records = 2;
    let buffer = buffer(&dir, options);
    for text in ["1", "2", "3", "4", "5"] {
        buffer.put(text).unwrap();
    }
    let first = SeenBatch::of(&buffer.emit().unwrap().unwrap());
    let batch = buffer.emit().unwrap().unwrap();
    assert_eq!(SeenBatch::of(&batch), first);
    assert_eq!(first.texts(), ["1", "2"]);
    buffer.commit(&batch).unwrap();
    assert_eq!(SeenBatch::of(&buffer.emit().unwrap().unwrap()).texts(), ["3", "4"]);
}

/// The buffer `app.log` adopted the files of `app.db.log`, and deleted them.
#[test]
fn buffers_with_names_alike_do_not_touch_each_other() {
    let root = scratch();
    let names = ["app.log", "app.db.log", "app", "app.log.1", "app.log.unistream"];
    for name in names {
        let buffer = Buffer::open(root.path().join(name), options(), Limits::default()).unwrap();
        buffer.put(name).unwrap();
        buffer.close().unwrap();
    }
    for name in names {
        assert_eq!(drain(root.path().join(name)).texts(), [name]);
        let records: u64 = names
            .iter()
            .map(|other| Inspection::open(root.path().join(other)).unwrap().stats().unwrap().pending_records)
            .sum();
        let left = names.len() - 1 - names.iter().position(|other| *other == name).unwrap();
        assert_eq!(records, left as u64);
    }
}

/// A line separator inside a record (U+2028) split it in two.
#[test]
fn no_byte_in_a_record_splits_it() {
    let dir = scratch();
    let texts = ["one\u{2028}two", "\u{2029}", "\u{85}", "a\nb\r\nc", "\0", "", "\u{feff}", "{\"a\": 1}"];
    let buffer = buffer(&dir, options());
    for text in texts {
        buffer.put(text).unwrap();
    }
    let every: Vec<u8> = (0..=255).collect();
    buffer.put(&every).unwrap();
    buffer.close().unwrap();
    let records = drain(dir.path()).records();
    assert_eq!(records.len(), texts.len() + 1);
    assert!(records.iter().zip(texts).all(|(record, text)| record.data == text.as_bytes()));
    assert_eq!(records.last().unwrap().data, every);
    // And in the file that a FileSink writes, too.
    let sink = FileSink::create(dir.path().join("out")).unwrap();
    let producer = Producer::builder(dir.path().join("second")).open(sink).unwrap();
    producer.put(texts[0]).unwrap();
    producer.flush(LONG).unwrap();
    assert_eq!(fs::read_to_string(dir.path().join("out")).unwrap(), "one\u{2028}two\n");
}

/// Sizes were those of Python objects.
#[test]
fn sizes_are_bytes_of_payload() {
    let dir = scratch();
    let mut options = options();
    options.max_bytes = 10;
    options.max_record_bytes = 6;
    let buffer = buffer(&dir, options);
    // Two characters of two bytes each; then six bytes fill the batch exactly.
    buffer.put("éé").unwrap();
    assert!(!buffer.should_emit());
    buffer.put("123456").unwrap();
    assert!(buffer.should_emit());
    assert_eq!(buffer.put("ééé+").unwrap_err().kind(), ErrorKind::RecordTooLarge);
    // A record that would make the batch too large goes into the next one.
    buffer.put("123456").unwrap();
    buffer.put("12345").unwrap();
    buffer.close().unwrap();
    let sizes: Vec<usize> = drain(dir.path()).batches.iter().map(|batch| batch.texts().concat().len()).collect();
    assert_eq!(sizes, [10, 6, 5]);
}

/// There was no fsync.
#[test]
fn durability_decides_how_often_the_log_is_synced() {
    let run = |durability: Durability| {
        let dir = tempfile::tempdir().unwrap();
        let producer = Producer::builder(dir.path())
            .durability(durability)
            .sync_interval(Duration::from_millis(1))
            .linger(NEVER)
            .open_manual(Limits::default())
            .unwrap();
        for _ in 0..10 {
            producer.put("x").unwrap();
        }
        if durability == Durability::Interval {
            wait_until("the interval is over", || producer.stats().syncs > 0);
        }
        let syncs = producer.stats().syncs;
        producer.sync().unwrap();
        assert!(durability == Durability::Always || producer.stats().syncs > 0, "sync syncs in every mode");
        syncs
    };
    assert_eq!(run(Durability::Always), 10);
    assert!(run(Durability::Interval) > 0);
    assert_eq!(run(Durability::Os), 0);
}

/// There was no lock.
#[test]
fn a_buffer_has_one_owner() {
    let dir = scratch();
    let first = buffer(&dir, options());
    let error = Buffer::open(dir.path(), options(), Limits::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InUse);
    first.put("still mine").unwrap();
    first.close().unwrap();
    buffer(&dir, options()).close().unwrap();
}

/// Without a further put, the last records never went out.
#[test]
fn what_lingers_goes_out_by_itself() {
    let dir = scratch();
    let sent = Collector::default();
    let producer = Producer::builder(dir.path()).linger(Duration::from_millis(20)).open(sent.clone()).unwrap();
    producer.put("alone").unwrap();
    wait_until("it is sent", || sent.texts() == ["alone"]);
}

/// There was neither flush nor close.
#[test]
fn flush_and_close_send_what_is_not_full() {
    let dir = scratch();
    let sent = Collector::default();
    let producer = Producer::builder(dir.path()).linger(NEVER).open(sent.clone()).unwrap();
    producer.put("1").unwrap();
    producer.flush(LONG).unwrap();
    assert_eq!(sent.texts(), ["1"]);
    producer.put("2").unwrap();
    assert_eq!(producer.close(LONG).unwrap(), 0);
    assert_eq!(sent.texts(), ["1", "2"]);
}

/// One batch that no sink would ever take blocked all others for ever.
#[test]
fn a_poison_batch_does_not_block_the_others() {
    let dir = scratch();
    let sent = Collector::default();
    let kept = sent.clone();
    let sink = sink::from_fn(move |batch: &Batch| {
        if batch.iter().any(|record| record.data == b"poison") {
            return Err(SendError::failed("I choke"));
        }
        kept.add(batch);
        Ok(())
    });
    let producer =
        Producer::builder(dir.path()).max_records(1).max_attempts(3).schedule_max(Duration::ZERO).open(sink).unwrap();
    for text in ["1", "poison", "2"] {
        producer.put(text).unwrap();
    }
    producer.flush(LONG).unwrap();
    assert_eq!(sent.texts(), ["1", "2"]);
    let letters = producer.dead_letters().list().unwrap();
    assert_eq!((letters.len(), letters[0].attempts, letters[0].errors.len()), (1, 3, 3));
}

/// With errors skipped, put still raised after it had accepted the record.
#[test]
fn put_does_not_raise_when_errors_are_skipped() {
    for mode in [Mode::Inline, Mode::Background] {
        let dir = scratch();
        let producer = Producer::builder(dir.path())
            .mode(mode)
            .max_records(2)
            .max_attempts(2)
            .schedule_max(Duration::ZERO)
            .on_exhausted(OnExhausted::Skip)
            .open(failing())
            .unwrap();
        for number in 0..50 {
            producer.put(&number.to_string()).unwrap();
        }
        producer.flush(LONG).unwrap();
        let letters = producer.dead_letters().list().unwrap();
        assert_eq!(letters.iter().map(|letter| letter.records.len()).sum::<usize>(), 50);
        assert_eq!(producer.stats().skipped_records, 50);
    }
}

/// Backoff ran from the start of the attempt: after a slow failure the next attempt followed at once. (That it
/// runs on the monotonic clock is tested where the clock can be owned, in the crate.)
#[test]
fn backoff_runs_from_the_end_of_the_attempt() {
    let dir = scratch();
    let attempts = Arc::new(Mutex::new(Vec::new()));
    let noted = attempts.clone();
    let wait = Duration::from_millis(60);
    let sink = sink::from_fn(move |_: &Batch| {
        let start = Instant::now();
        std::thread::sleep(2 * wait);
        noted.lock().unwrap().push((start, Instant::now()));
        Err::<(), _>(SendError::failed("slow and in vain"))
    });
    let producer = Producer::builder(dir.path())
        .max_records(1)
        .schedule_waits(vec![wait])
        .jitter(Jitter::None)
        .max_attempts(3)
        .open(sink)
        .unwrap();
    producer.put("x").unwrap();
    producer.flush(LONG).unwrap();
    let attempts = attempts.lock().unwrap();
    assert_eq!(attempts.len(), 3);
    for pair in attempts.windows(2) {
        assert!(pair[1].0 - pair[0].1 >= wait, "{:?} after the end of the one before", pair[1].0 - pair[0].1);
    }
}

/// A batch that was accepted in part was sent again whole.
#[test]
fn what_was_accepted_of_a_batch_is_not_sent_again() {
    let dir = scratch();
    let sent = Collector::default();
    let (kept, attempt) = (sent.clone(), AtomicU32::new(0));
    let sink = sink::from_fn(move |batch: &Batch| {
        kept.add(batch);
        match attempt.fetch_add(1, Ordering::Relaxed) {
            0 => Report::delivered().failed(1, "no").failed(3, "no"),
            1 => Report::delivered().failed(0, "still no"),
            _ => Report::delivered(),
        }
    });
    let producer = Producer::builder(dir.path())
        .max_records(4)
        .schedule_max(Duration::ZERO)
        .mode(Mode::Inline)
        .linger(NEVER)
        .open(sink)
        .unwrap();
    for text in ["1", "2", "3", "4", "5", "6", "7", "8"] {
        producer.put(text).unwrap();
    }
    producer.flush(LONG).unwrap();
    let batches = sent.batches();
    let texts: Vec<_> = batches.iter().map(SeenBatch::texts).collect();
    // And the rest of it comes before any later batch.
    assert_eq!(texts, [vec!["1", "2", "3", "4"], vec!["2", "4"], vec!["2"], vec!["5", "6", "7", "8"]]);
    assert_eq!((&batches[1].id, &batches[2].id), (&batches[0].id, &batches[0].id));
    assert_eq!(producer.stats().delivered_records, 8);
}
