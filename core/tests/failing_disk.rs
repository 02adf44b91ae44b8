//! A disk that fails under a live producer: it becomes read-only, it is gone, or its device has less than it promised.
//! The host program lives and is told (P7); when the disk was repaired, what was durable is there, in order, once or in
//! whole batches (P2, P3, P5).
//!
//! The disk is an ext4 in a file. Each case is a child process with mounts of its own, which go with it.

mod common;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use common::disk::{Failure, SmallDisk, with_mounts};
use common::*;
use unistream::*;

/// A failure, as an argument.
fn failure(name: &str) -> Failure {
    match name {
        "read-only" => Failure::ReadOnly,
        "gone" => Failure::Gone,
        "thin" => Failure::Thin,
        _ => panic!("no failure is named {name}"),
    }
}

/// All of them where kills are asked for; else every second one, which are other ones for every other mode.
fn cases(role: &str, mode: &str) {
    let all = std::env::var_os("UNISTREAM_KILLS").is_some();
    for (first, failure) in ["read-only", "gone", "thin"].into_iter().enumerate() {
        for (second, durability) in ["always", "interval", "os"].into_iter().enumerate() {
            for (third, storage) in ["mapped", "file"].into_iter().enumerate() {
                if !all && (first + second + third + mode.len()) % 2 == 1 {
                    continue;
                }
                let arguments =
                    [("FAILURE", failure), ("DURABILITY", durability), ("STORAGE", storage), ("MODE", mode)];
                match with_mounts(role, &arguments) {
                    Some(child) => drop(child.finish()),
                    None => return say("not root: no disk to break"),
                }
            }
        }
    }
}

#[test]
fn a_disk_that_fails_under_a_sender() {
    cases("producer", "delivering");
}

#[test]
fn a_disk_that_fails_under_a_backlog() {
    cases("producer", "down");
}

#[test]
fn a_disk_that_fails_under_dead_letters() {
    cases("producer", "dead letters");
}

#[test]
fn a_disk_that_fails_in_manual_mode() {
    cases("producer", "manual");
}

/// What cannot be read for now is not lost: when the disk is well again, all of it comes.
#[test]
fn a_backlog_that_cannot_be_read() {
    for storage in ["mapped", "file"] {
        let Some(child) = with_mounts("unreadable", &[("STORAGE", storage)]) else { return say("not root") };
        child.finish();
    }
}

#[test]
#[ignore = "the child's side of the other tests"]
fn child() {
    match role().as_deref() {
        Some("producer") => producer_on_a_failing_disk(),
        Some("unreadable") => unreadable_backlog(),
        _ => {}
    }
}

const THREADS: u64 = 3;

fn builder(dir: PathBuf) -> Builder {
    let builder = Producer::builder(dir).segment_bytes(64 << 10).max_records(20).linger(Duration::from_millis(2));
    let builder = builder.schedule_max(Duration::from_millis(2)).full_timeout(Duration::ZERO).max_attempts(1);
    // Never so much that the disk has no room for another segment when it is repaired.
    let builder = builder.sync_interval(Duration::from_millis(5)).max_buffer_bytes(4 << 20);
    let builder = builder.set("storage", &argument("STORAGE")).unwrap();
    builder.set("durability", &argument("DURABILITY")).unwrap()
}

/// Delivered batches are noted; as `mode` has it, some are not taken.
struct Target {
    mode: String,
    collector: Collector,
}

impl Sink for Target {
    fn send(&self, batch: &Batch) -> Result<Report, SendError> {
        match self.mode.as_str() {
            "down" => Err(SendError::unavailable("the network is down")),
            "dead letters" if batch.first_seq().is_multiple_of(3) => Err(SendError::failed("refused")),
            _ => {
                self.collector.add(batch);
                Ok(Report::delivered())
            }
        }
    }
}

/// What `put` accepted: seq and payload.
type Accepted = BTreeMap<u64, Vec<u8>>;

fn put(producer: &Producer, thread: u64, number: u64, accepted: &Mutex<Accepted>) -> Result<(), Error> {
    let data = payload(thread << 32 | number, 150);
    let seq = producer.put(&data)?;
    let known = accepted.lock().unwrap().insert(seq, data);
    assert!(known.is_none(), "seq {seq} twice");
    Ok(())
}

/// Sets a flag when it goes.
struct Raised<'a>(&'a AtomicBool);

impl Drop for Raised<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

fn producer_on_a_failing_disk() {
    let (failure, mode) = (failure(&argument("FAILURE")), argument("MODE"));
    let durable = argument("DURABILITY") != "os";
    say(format_args!("{failure:?} {mode} {} {}", argument("DURABILITY"), argument("STORAGE")));
    let mut disk = SmallDisk::ext4(8 << 20).expect("the parent has tried it");
    let dir = disk.path().join("buffer");
    let collector = Collector::default();
    let builder = || builder(dir.clone());
    let producer = match mode.as_str() {
        "manual" => builder().open_manual(Limits::default()).unwrap(),
        _ => builder().open(Target { mode: mode.clone(), collector: collector.clone() }).unwrap(),
    };
    let accepted = Mutex::new(Accepted::new());
    let (ready, broken) = (AtomicUsize::new(0), AtomicBool::new(false));
    let mut promised = Accepted::new();
    std::thread::scope(|scope| {
        // If this thread panics, the others end.
        let _ended = Raised(&broken);
        for thread in 0..THREADS {
            let (producer, accepted, ready, broken) = (&producer, &accepted, &ready, &broken);
            scope.spawn(move || {
                let mut since = 0;
                for number in 0.. {
                    if number == 200 {
                        ready.fetch_add(1, Ordering::SeqCst);
                    }
                    match put(producer, thread, number, accepted) {
                        Err(error) if error.kind() == ErrorKind::BufferFull => {
                            if broken.load(Ordering::SeqCst) {
                                break;
                            }
                            std::thread::sleep(Duration::from_millis(1));
                        }
                        // Whether that means the record is there or not, it is said.
                        Err(error) => {
                            assert!(matches!(error.kind(), ErrorKind::Io | ErrorKind::DiskFull), "{error}");
                            break;
                        }
                        Ok(()) => {
                            since += u64::from(broken.load(Ordering::SeqCst));
                            assert!(since < 100_000, "puts on a failed disk succeed for ever");
                        }
                    }
                }
            });
        }
        if mode == "manual" {
            let (producer, collector, broken) = (&producer, &collector, &broken);
            scope.spawn(move || {
                while !broken.load(Ordering::SeqCst) {
                    let Ok(Some(batch)) = producer.next_batch() else {
                        std::thread::yield_now();
                        continue;
                    };
                    collector.add(&batch);
                    // What cannot be noted comes again after a restart.
                    let _ = producer.settle(batch, Ok(Report::delivered()));
                }
            });
        }
        wait_until("all threads put", || ready.load(Ordering::SeqCst) == THREADS as usize);
        // What was put before a sync that succeeded is durable in every mode.
        let before = accepted.lock().unwrap().clone();
        producer.sync().unwrap();
        promised.extend(before);
        if argument("DURABILITY") == "always" {
            // Not those of the sync that is under way now: ext4 (Linux 6.18) may call it a success although it could not
            // note that the blocks were written ("failed to convert unwritten extents").
            promised = accepted.lock().unwrap().clone();
        }
        disk.fail(failure);
        if argument("DURABILITY") == "os" && failure == Failure::Thin {
            // Nobody asks this disk for anything, unless it is told to.
            let _ = std::process::Command::new("sync").arg("-f").arg(disk.path()).status();
        }
        broken.store(true, Ordering::SeqCst);
    });
    // Everything may be asked of it now, and it answers.
    match producer.put("one more") {
        Err(error) => assert!(!error.record_accepted() || argument("DURABILITY") == "always", "{error}"),
        // What fits into memory and was not synced yet.
        Ok(_) => assert_ne!(argument("DURABILITY"), "always"),
    }
    let _ = producer.flush(Duration::from_millis(20));
    let _ = (producer.sync(), producer.stats(), producer.dead_letters().list());
    let closed = producer.close(Duration::from_millis(20));
    drop(producer);
    let accepted = accepted.into_inner().unwrap();
    if durable && closed.is_ok() {
        // It says that all is safe.
        promised = accepted.clone();
    }
    say(format_args!("{} accepted, {} promised, close: {closed:?}", accepted.len(), promised.len()));

    disk.unmount();
    disk.restore();
    disk.mount_repaired();
    disk.reboot();
    let before = collector.batches();
    let roomy = builder().linger(NEVER).max_buffer_bytes(6 << 20);
    let producer = roomy.open_manual(Limits::default()).unwrap();
    let letters = producer.dead_letters().list().unwrap();
    let mut dead = BTreeMap::new();
    for letter in &letters {
        dead.extend(
            SeenBatch::of(&letter.batch().unwrap()).records.into_iter().map(|record| (record.seq, record.data)),
        );
    }
    let mut after = Vec::new();
    let next = producer.put("after the repair").unwrap_or_else(|error| {
        // Buffer and disk may have been full before the disk failed: then what is there goes first.
        assert!(matches!(error.kind(), ErrorKind::DiskFull | ErrorKind::BufferFull), "{error}");
        after = take_all(&producer);
        letters.iter().for_each(|letter| producer.dead_letters().delete(&letter.id).unwrap());
        producer.put("after the repair").unwrap()
    });
    assert!(accepted.keys().all(|seq| *seq < next), "seq {next} a second time");
    after.extend(take_all(&producer));
    assert_eq!(producer.close(Duration::ZERO).unwrap(), 0);
    drop(producer);
    disk.unmount();

    let mut contents: BTreeMap<String, &SeenBatch> = BTreeMap::new();
    let mut seen: BTreeMap<u64, &[u8]> = BTreeMap::new();
    for session in [&before, &after] {
        let seqs: Vec<u64> = session.iter().flat_map(SeenBatch::seqs).collect();
        assert!(seqs.windows(2).all(|pair| pair[0] < pair[1]), "in order, once in a session");
        for batch in session {
            let known = contents.entry(batch.id.clone()).or_insert(batch);
            // Under os, what is delivered may be written over before the commit is durable.
            let same = known.records == batch.records || (!durable && known.records.ends_with(&batch.records));
            assert!(same, "batch {} came again with other contents: {:?} {:?}", batch.id, known.seqs(), batch.seqs());
            for record in &batch.records {
                seen.insert(record.seq, &record.data);
                if let Some(data) = accepted.get(&record.seq) {
                    assert_eq!(*data, record.data, "seq {}", record.seq);
                }
            }
        }
    }
    for (seq, data) in &promised {
        let found = seen.get(seq).copied().or(dead.get(seq).map(Vec::as_slice));
        assert_eq!(found, Some(data.as_slice()), "seq {seq} was durable and is gone");
    }
}

fn unreadable_backlog() {
    let mut disk = SmallDisk::ext4(8 << 20).unwrap();
    let dir = disk.path().join("buffer");
    let builder = || {
        let builder = Producer::builder(&dir).segment_bytes(64 << 10).max_records(20).linger(NEVER);
        builder.set("storage", &argument("STORAGE")).unwrap().schedule_max(Duration::ZERO)
    };
    let producer = builder().open_manual(Limits::default()).unwrap();
    let put: Vec<u64> = (0..4000).map(|number| producer.put(&payload(number, 300)).unwrap()).collect();
    producer.close(Duration::ZERO).unwrap();
    drop(producer);
    // Nothing of it is in memory any more when it is mounted again.
    disk.repair();
    let image = std::fs::read(disk.image()).unwrap();
    let producer = builder().open_manual(Limits::default()).unwrap();
    std::fs::OpenOptions::new().write(true).open(disk.image()).unwrap().set_len(5 << 20).unwrap();
    let mut delivered = Vec::new();
    let mut errors = 0;
    while errors < 3 {
        match producer.next_batch() {
            Ok(Some(batch)) => {
                for record in batch.iter() {
                    assert_eq!(record.data, payload(record.seq - 1, 300));
                }
                delivered.extend(SeenBatch::of(&batch).seqs());
                let _ = producer.settle(batch, Ok(Report::delivered()));
            }
            Ok(None) => break,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Io, "{error}");
                errors += 1;
            }
        }
    }
    let lost = producer.stats().lost_records;
    let _ = producer.close(Duration::ZERO);
    drop(producer);
    say(format_args!("{} delivered, {lost} counted as lost, {errors} errors", delivered.len()));
    disk.unmount();
    std::fs::write(disk.image(), image).unwrap();
    disk.mount_repaired();
    assert!(errors > 0 && lost == 0, "an error and no loss: {errors} errors, {lost} lost");
    let producer = builder().open_manual(Limits::default()).unwrap();
    delivered.extend(take_all(&producer).iter().flat_map(SeenBatch::seqs));
    delivered.sort_unstable();
    delivered.dedup();
    assert_eq!(delivered, put);
    producer.close(Duration::ZERO).unwrap();
    drop(producer);
    disk.unmount();
}
