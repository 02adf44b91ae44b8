//! A full or failing disk is an error, never a crash of the host program, and never a half-accepted record; when
//! there is space again, it goes on (P7).
//!
//! As root the disk is a small tmpfs, and all again a small ext4; otherwise a limit on the size of files in a child
//! process.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use common::disk::{self, SmallDisk};
use common::*;
use unistream::*;

macro_rules! small_disk {
    ($bytes:expr) => {
        match SmallDisk::new($bytes) {
            Some(disk) => disk,
            None => return say("not root: see put_without_root_meets_a_file_size_limit"),
        }
    };
}

fn builder(dir: &Path, storage: Storage) -> Builder {
    let builder = Producer::builder(dir.join("buffer")).storage(storage).segment_bytes(64 << 10).max_records(10);
    builder.linger(NEVER).when_full(WhenFull::Error).schedule_max(Duration::ZERO)
}

/// Puts records of 1 KiB until one is refused. Returns the seqs that were accepted and the error.
fn put_until_refused(producer: &Producer) -> (Vec<u64>, Error) {
    let mut seqs = Vec::new();
    loop {
        match producer.put(&vec![b'x'; 1024]) {
            Ok(seq) => seqs.push(seq),
            Err(error) => return (seqs, error),
        }
        assert!(seqs.len() < 100_000, "this disk is never full");
    }
}

#[test]
fn all_of_this_on_ext4() {
    let Some(again) = disk::all_again_on_ext4("ext4") else { return say("not root: no ext4") };
    let said = String::from_utf8_lossy(&again.stdout) + String::from_utf8_lossy(&again.stderr);
    assert!(again.status.success(), "{said}");
    assert!(said.contains(" passed; 0 failed") && !said.contains(" 0 passed") && !said.contains("not root"), "{said}");
}

fn a_full_disk_refuses_puts(storage: Storage) {
    let disk = small_disk!(1 << 20);
    let producer = builder(&disk.path(), storage).open_manual(Limits::default()).unwrap();
    let (mut seqs, error) = put_until_refused(&producer);
    assert_eq!((error.kind(), error.record_accepted()), (ErrorKind::DiskFull, false), "{error}");
    assert!(error.is_retryable() && seqs.len() > 500);
    // It stays refused, without a change.
    for _ in 0..3 {
        assert_eq!(producer.put(&vec![b'x'; 1024]).unwrap_err().kind(), ErrorKind::DiskFull);
    }
    assert_eq!(producer.stats().pending_records, seqs.len() as u64);
    // What is sent makes space by itself: a finished segment is used again.
    let mut delivered = Vec::new();
    for _ in 0..40 {
        let batch = producer.next_batch().unwrap().unwrap();
        delivered.extend(SeenBatch::of(&batch).seqs());
        producer.settle(batch, Ok(Report::delivered())).unwrap();
    }
    // One that is being synced just then is removed instead, and ext4 has its blocks back with its next commit.
    wait_until("freed segments take records", || {
        let (more, _) = put_until_refused(&producer);
        seqs.extend(&more);
        !more.is_empty()
    });
    delivered.extend(take_all(&producer).iter().flat_map(SeenBatch::seqs));
    assert_eq!(delivered, seqs, "all that was accepted, nothing else, in order");
}

#[test]
fn a_full_disk_refuses_puts_mapped() {
    a_full_disk_refuses_puts(Storage::Mapped);
}

#[test]
fn a_full_disk_refuses_puts_plain() {
    a_full_disk_refuses_puts(Storage::File);
}

fn space_that_somebody_else_took_and_gave_back(storage: Storage) {
    let disk = small_disk!(2 << 20);
    let producer = builder(&disk.path(), storage).open_manual(Limits::default()).unwrap();
    producer.put("first").unwrap();
    disk.fill();
    // Put and seal go on in what is allocated, to the last byte, and no store to a mapped page fails.
    let (seqs, error) = put_until_refused(&producer);
    assert_eq!(error.kind(), ErrorKind::DiskFull, "{error}");
    assert!(!seqs.is_empty());
    // Cursor writes go on as well.
    let batch = producer.next_batch().unwrap().unwrap();
    producer.settle(batch, Err(SendError::failed("no"))).unwrap();
    let batch = producer.next_batch().unwrap().unwrap();
    assert_eq!(batch.attempt(), 2);
    producer.settle(batch, Ok(Report::delivered())).unwrap();
    disk.free();
    let last = producer.put("last").unwrap();
    assert_eq!(last, seqs.last().unwrap() + 1, "the refused put left nothing behind");
    let rest = take_all(&producer);
    let rest: Vec<u64> = rest.iter().flat_map(SeenBatch::seqs).collect();
    assert_eq!(rest, (11..=last).collect::<Vec<_>>());
}

#[test]
fn space_that_somebody_else_took_and_gave_back_mapped() {
    space_that_somebody_else_took_and_gave_back(Storage::Mapped);
}

#[test]
fn space_that_somebody_else_took_and_gave_back_plain() {
    space_that_somebody_else_took_and_gave_back(Storage::File);
}

/// Every open is as good as refused or good: a disk that is full while opening harms nothing.
#[test]
fn opening_on_a_full_disk() {
    let disk = small_disk!(1 << 20);
    disk.fill();
    let error = builder(&disk.path(), Storage::Auto).open_manual(Limits::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DiskFull, "{error}");
    disk.free();
    let producer = builder(&disk.path(), Storage::Auto).open_manual(Limits::default()).unwrap();
    let (seqs, _) = put_until_refused(&producer);
    producer.close(Duration::ZERO).unwrap();
    // A full buffer on a full disk is opened: what it has can be sent.
    disk.fill();
    let producer = builder(&disk.path(), Storage::Auto).open_manual(Limits::default()).unwrap();
    let delivered: Vec<u64> = take_all(&producer).iter().flat_map(SeenBatch::seqs).collect();
    assert_eq!(delivered, seqs);
}

/// Who only tries never makes a segment: the log's thread does, as soon as there is space.
#[test]
fn try_put_goes_on_when_there_is_space_again() {
    let disk = small_disk!(1 << 20);
    let collector = Collector::default();
    let producer = builder(&disk.path(), Storage::Auto).max_records(1).sync_interval(Duration::from_millis(5));
    let producer = producer.open(collector.clone()).unwrap();
    disk.fill();
    let mut put = 0;
    // All of it is delivered, so that there is nothing left to do for the log's thread.
    while producer.stats().buffer_bytes > 0 {
        match producer.try_put(&[b'x'; 1024]) {
            Ok(_) => put += 1,
            Err(error) if error.kind() == ErrorKind::BufferFull && producer.stats().pending_records == 0 => break,
            Err(error) => assert_eq!(error.kind(), ErrorKind::BufferFull, "{error}"),
        }
        assert!(put < 100_000, "this disk is never full");
    }
    std::thread::sleep(Duration::from_millis(200));
    disk.free();
    wait_until("there is a segment again", || producer.try_put(&[b'x'; 1024]).is_ok());
    producer.flush(LONG).unwrap();
    assert_eq!(collector.seqs().len(), put + 1);
}

/// What is remembered of a batch can outgrow the space that the cursor has reserved.
#[test]
fn a_cursor_that_cannot_grow_is_an_error_and_is_written_later() {
    let disk = small_disk!(16 << 20);
    let open = || builder(&disk.path(), Storage::Auto).max_records(60_000).open_manual(Limits::default()).unwrap();
    let producer = open();
    for _ in 0..60_000 {
        producer.put("x").unwrap();
    }
    let batch = producer.next_batch().unwrap().unwrap();
    assert_eq!(batch.len(), 60_000);
    disk.fill();
    // One bit for each record that is finished: 7.5 kB.
    let report = Report::delivered().failed(59_999, "not this one");
    let error = producer.settle(batch, Ok(report.clone())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DiskFull, "{error}");
    // In this run it is known all the same.
    let batch = producer.next_batch().unwrap().unwrap();
    assert_eq!(SeenBatch::of(&batch).seqs(), [60_000]);
    disk.free();
    producer.settle(batch, Err(SendError::failed("still not"))).unwrap();
    producer.close(Duration::ZERO).unwrap();
    // And now in the next one too.
    let producer = open();
    let batches = take_all(&producer);
    assert_eq!((batches.len(), batches[0].seqs()), (1, vec![60_000]));
}

#[test]
fn dead_letters_wait_for_space_and_the_batch_with_them() {
    let disk = small_disk!(1 << 20);
    let events = Events::default();
    let producer =
        builder(&disk.path(), Storage::Auto).max_attempts(1).observer(events.observer()).open(failing()).unwrap();
    disk.fill();
    for number in 0..10 {
        producer.put(&number.to_string()).unwrap();
    }
    wait_until("the dead letter was refused", || producer.stats().last_error.contains("could not write dead letter"));
    let stats = producer.stats();
    assert_eq!((stats.pending_records, stats.dead_letters, stats.skipped_records), (10, 0, 0));
    assert_eq!(events.count("skipped"), 0);
    disk.free();
    producer.flush(LONG).unwrap();
    let letters = producer.dead_letters().list().unwrap();
    assert_eq!((letters.len(), letters[0].records.len()), (1, 10));
    assert_eq!(letters[0].batch().unwrap().len(), 10);
    assert_eq!(events.count("skipped"), 1);
}

#[test]
fn a_file_sink_on_a_full_disk_is_unavailable_and_goes_on() {
    let disk = small_disk!(1 << 20);
    let buffers = tempfile::tempdir().unwrap();
    let path = disk.path().join("out.log");
    disk.fill();
    let producer = builder(buffers.path(), Storage::Auto)
        .max_attempts(1)
        .schedule_max(Duration::from_millis(5))
        .open(FileSink::create(&path).unwrap())
        .unwrap();
    for number in 0..100 {
        producer.put(&format!("{number:0100}")).unwrap();
    }
    wait_until("the sink was tried", || producer.stats().unavailable_attempts > 2);
    disk.free();
    producer.flush(LONG).unwrap();
    let text = fs::read_to_string(path).unwrap();
    assert_eq!(text, (0..100).map(|number| format!("{number:0100}\n")).collect::<String>());
    assert_eq!(producer.stats().dead_letters, 0, "an outage of the disk is nobody's fault");
}

/// For those who may not mount: a limit on the size of every file. The kernel then refuses to write and to
/// allocate, as a full disk does. (It also sends SIGXFSZ, which the shell is told to ignore.)
#[test]
fn put_without_root_meets_a_file_size_limit() {
    for storage in ["mapped", "file"] {
        let root = tempfile::tempdir().unwrap();
        let mut shell = Command::new("sh");
        shell.args(["-c", r#"trap "" XFSZ; ulimit -f 128; exec "$0" "$@""#]).arg(std::env::current_exe().unwrap());
        let dir = root.path().to_str().unwrap();
        let child = Process::spawn_by(shell, "file size limit", &[("DIR", dir), ("STORAGE", storage)]);
        child.finish();
    }
}

#[test]
#[ignore = "the child's side of the other tests"]
fn child() {
    match role().as_deref() {
        Some("file size limit") => file_size_limit(),
        Some("cut while in use") => cut_while_in_use(),
        _ => {}
    }
}

fn file_size_limit() {
    // 128 blocks of 512 or 1024 bytes: 64 or 128 KiB. Segments of 64 KiB may be made, larger ones not.
    let dir = PathBuf::from(argument("DIR"));
    let builder = || builder(&dir, Storage::Auto).set("storage", &argument("STORAGE")).unwrap();
    let error = builder().segment_bytes(1 << 20).open_manual(Limits::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DiskFull, "{error}");
    let producer = builder().open_manual(Limits::default()).unwrap();
    let first = producer.put(&vec![1; 1000]).unwrap();
    // This needs a segment of its own, which is too large.
    let error = producer.put(&vec![2; 400_000]).unwrap_err();
    assert_eq!((error.kind(), error.record_accepted()), (ErrorKind::DiskFull, false), "{error}");
    let second = producer.put(&vec![3; 1000]).unwrap();
    let delivered: Vec<u64> = take_all(&producer).iter().flat_map(SeenBatch::seqs).collect();
    assert_eq!(delivered, [first, second]);
    producer.close(Duration::ZERO).unwrap();
}

/// Somebody truncates a segment that is mapped. A store or a load then raises SIGBUS, which would kill the host
/// program; here it becomes an error.
#[test]
fn a_segment_cut_under_a_live_producer_is_an_error() {
    for storage in ["mapped", "file"] {
        for length in ["0", "5000", "20000"] {
            let root = scratch();
            let arguments = [("DIR", root.path().to_str().unwrap()), ("STORAGE", storage), ("LENGTH", length)];
            Process::spawn("cut while in use", &arguments).finish();
        }
    }
}

fn cut_while_in_use() {
    let dir = PathBuf::from(argument("DIR"));
    let builder = builder(&dir, Storage::Auto).set("storage", &argument("STORAGE")).unwrap();
    let producer = builder.open_manual(Limits::default()).unwrap();
    let mut put = 0;
    for number in 0..30 {
        put = producer.put(&payload(number, 0).repeat(100)).unwrap();
    }
    let length: u64 = argument("LENGTH").parse().unwrap();
    let file = fs::OpenOptions::new().write(true).open(&segments(dir.join("buffer"))[0]).unwrap();
    file.set_len(length).unwrap();
    // Nothing here may kill the process. What it may say is "no".
    for number in 0..2000 {
        if let Ok(seq) = producer.put(&payload(number, 0).repeat(100)) {
            put = seq;
        }
    }
    let _ = producer.flush(Duration::ZERO);
    while let Ok(Some(batch)) = producer.next_batch() {
        // A batch whose bytes went away while it was read holds empty records, never garbage.
        for record in batch.iter() {
            let known = payload(record.seq.saturating_sub(1) % 30, 0).repeat(100);
            assert!(record.data.is_empty() || record.data.len() == known.len(), "{record:?}");
        }
        let _ = producer.settle(batch, Ok(Report::delivered()));
    }
    let _ = producer.close(Duration::ZERO);
    drop(producer);
    // Opened again, it takes and gives records, and no seq comes twice.
    let producer = self::builder(&dir, Storage::Auto).open_manual(Limits::default()).unwrap();
    let seq = producer.put("after").unwrap();
    assert!(seq > put, "{seq} after {put}");
    assert_eq!(take_all(&producer).last().unwrap().texts().last().unwrap(), "after");
    assert_eq!(producer.close(Duration::ZERO).unwrap(), 0);
}

/// The file goes away under a batch that a sink is reading: what it saw were zeros, so its "delivered" must not commit
/// the batch. What is still there comes again; what is gone is counted.
#[test]
fn a_batch_whose_bytes_went_away_is_not_committed() {
    let root = scratch();
    let producer = Producer::builder(root.path())
        .max_records(30)
        .schedule_max(Duration::ZERO)
        .open_manual(Limits::default())
        .unwrap();
    for number in 0..30 {
        producer.put(&payload(number, 0).repeat(100)).unwrap();
    }
    let batch = producer.next_batch().unwrap().unwrap();
    let Some(segment) = segments(root.path()).first().cloned() else { panic!("a segment") };
    fs::OpenOptions::new().write(true).open(segment).unwrap().set_len(8192).unwrap();
    if batch.iter().all(|record| !record.data.is_empty()) {
        // Not mapped here: the sink had the bytes in memory.
        producer.settle(batch, Ok(Report::delivered())).unwrap();
        return;
    }
    producer.settle(batch, Ok(Report::delivered())).unwrap();
    assert_eq!(producer.stats().delivered_records, 0);
    let mut whole = std::collections::BTreeSet::new();
    while let Some(batch) = producer.next_batch().unwrap() {
        for record in batch.iter() {
            assert_eq!(record.data, payload(record.seq - 1, 0).repeat(100));
            whole.insert(record.seq);
        }
        producer.settle(batch, Ok(Report::delivered())).unwrap();
    }
    let stats = producer.stats();
    let whole = whole.len() as u64;
    assert!(whole > 0, "two pages are left");
    assert_eq!((stats.delivered_records, stats.delivered_records + stats.lost_records), (whole, 30));
    assert!(stats.corrupt_regions > 0);
}

/// The disk that is full of the log has no room for `corrupt/` either: it has to become empty all the same.
#[test]
fn a_full_disk_with_a_damaged_segment_empties_itself() {
    let disk = small_disk!(2 << 20);
    let dir = disk.path().join("buffer");
    let producer = builder(&disk.path(), Storage::Auto).open_manual(Limits::default()).unwrap();
    let (seqs, error) = put_until_refused(&producer);
    assert_eq!(error.kind(), ErrorKind::DiskFull, "{error}");
    for segment in segments(&dir).iter().rev().skip(2) {
        let file = fs::OpenOptions::new().write(true).open(segment).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, b"damage!!", 20_000).unwrap();
    }
    disk.fill();
    let mut delivered = 0;
    // Each time as much again as there is room for.
    for _ in 0..3 {
        delivered += take_all(&producer).iter().map(|batch| batch.records.len()).sum::<usize>();
        let deadline = std::time::Instant::now() + LONG;
        while let Err(error) = producer.put(&vec![b'x'; 1024]) {
            assert!(error.is_retryable() && std::time::Instant::now() < deadline, "{error}");
        }
        for _ in 0..200 {
            producer.put(&vec![b'x'; 1024]).unwrap();
        }
    }
    assert!(delivered > seqs.len() / 2, "{delivered} of {}", seqs.len());
    producer.close(Duration::ZERO).unwrap();
}
