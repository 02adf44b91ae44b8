//! Directories of this format version, kept for ever: what is in them must come out of every later version.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::oracle::{Mood, Oracle};
use super::workloads::options;
use super::world::{DIR, SimulatedClock, Step, World};
use crate::batch::Batch;
use crate::dead_letters::DeadLetters;
use crate::error::ErrorKind;
use crate::options::{Durability, Mode, OnExpired, Order};
use crate::platform::lock;
use crate::platform::simulated::SimulatedDisk;
use crate::platform::sync::Mutex;
use crate::producer::Producer;
use crate::record::Record;
use crate::sink;

/// Where they stand in the repository.
fn fixtures() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/format-1")
}

/// What a record carries besides, in words; nothing for one that carries nothing, as all of early builds.
fn carried(record: &Record<'_>) -> String {
    let attributes = record.to_new().attributes();
    if attributes.is_empty() { String::new() } else { format!(" {attributes:?}") }
}

/// What comes out of the directory, in words: batches as they arrive, then what was lost, then the dead letters.
fn drain(dir: &Path) -> String {
    let out: Arc<Mutex<String>> = Arc::default();
    let seen = out.clone();
    let describe = move |batch: &Batch| {
        let mut out = lock(&seen);
        let memo = batch.memo().map(|memo| format!(" memo {:?}", String::from_utf8_lossy(memo))).unwrap_or_default();
        let _ = writeln!(out, "batch {} attempt {}{memo}", batch.id(), batch.attempt());
        for record in batch.iter() {
            let (crc, len, created) = (crc32c::crc32c(record.data), record.data.len(), record.created_at);
            let key = record.key.map(|key| key.to_vec());
            let carried = carried(&record);
            let _ = writeln!(out, "  {} {:?} {key:?} {created} {len} {crc:08x}{carried}", record.seq, record.id());
        }
    };
    let letters = DeadLetters::open(dir).list().unwrap();
    let producer =
        Producer::builder(dir).options(options()).mode(Mode::Background).open(sink::from_fn(describe)).unwrap();
    producer.flush(Duration::from_secs(60)).unwrap();
    let stats = producer.stats();
    producer.close(Duration::from_secs(60)).unwrap();
    let mut out = lock(&out).clone();
    let _ = writeln!(out, "lost {} records, {} corrupt regions", stats.lost_records, stats.corrupt_regions);
    for letter in letters {
        let _ = writeln!(out, "letter {} of {} attempts: {:?}", letter.id, letter.attempts, letter.errors);
        for (record, dead) in letter.batch().unwrap().iter().zip(&letter.records) {
            let crc = crc32c::crc32c(record.data);
            let carried = carried(&record);
            let _ =
                writeln!(out, "  {} {:?} {} {} {crc:08x}{carried}", record.seq, dead.id, dead.reason, dead.rejected);
        }
    }
    out
}

/// A producer's directory after some work, closed or not: batches in lanes, of which some are finished and some were tried and have
/// memos, records with headers, and dead letters of parts and of what had expired.
fn make(closed: bool) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let mut options = options();
    options.durability = Durability::Interval;
    (options.order, options.max_in_flight, options.max_records) = (Order::Key, 3, 2);
    options.on_expired = OnExpired::DeadLetter;
    let oracle = Oracle::new(&options, false);
    let mut world = World::new(SimulatedDisk::new(true), SimulatedClock::new(), oracle, &options, 5);
    world.open().unwrap();
    let work = [
        Step::Sink(Mood::Rejects),
        Step::Put(10),
        Step::Put(20),
        Step::Put(30),
        Step::Put(40),
        Step::Sink(Mood::Mixed),
        Step::Put(50),
        Step::Put(60),
        Step::Put(70),
        Step::Put(80),
        Step::Put(90),
        Step::Flush,
        Step::Sink(Mood::Fails),
    ];
    let more = (0..10).flat_map(|round| [Step::Put(round * 900), Step::Chores]).chain([
        Step::Put(5),
        Step::Sync,
        Step::Put(50),
    ]);
    for step in work.into_iter().chain(more) {
        match world.step(&step) {
            Err(error) if error.kind() == ErrorKind::Timeout => {}
            result => result.unwrap(),
        }
    }
    if closed {
        world.producer().unwrap().close(Duration::ZERO).unwrap();
    }
    world.abandon().0.files(Path::new(DIR))
}

/// Writes the directories and what must come out. Only for a new version of the format.
#[test]
#[ignore = "writes the fixtures"]
fn write_fixtures() {
    for name in ["whole", "torn", "corrupt"] {
        // Those of earlier builds stay as they are: without a prefix those of before there were headers, topics and times of expiry,
        // with `attributes-` those of before there were lanes and memos.
        let dir = fixtures().join(format!("lanes-{name}"));
        let _ = std::fs::remove_dir_all(&dir);
        for (path, mut bytes) in make(name == "whole") {
            let target = dir.join("buffer").join(path.strip_prefix(DIR).unwrap());
            let last = (0..bytes.len()).rev().find(|at| bytes[*at] != 0).unwrap_or(0);
            if last > 0 && path.extension().is_some_and(|extension| extension == "seg") {
                match name {
                    // The last frame lacks its last bytes.
                    "torn" => bytes[last - 20..].fill(0),
                    // A sector in the middle, and one copy of the header.
                    "corrupt" => {
                        bytes[3 * 4096..3 * 4096 + 512].fill(0xff);
                        bytes[40] ^= 1;
                    }
                    _ => {}
                }
            }
            std::fs::create_dir_all(target.parent().unwrap()).unwrap();
            std::fs::write(target, bytes).unwrap();
        }
        std::fs::write(dir.join("expected.txt"), drain(&copy(&dir.join("buffer")).path().join("buffer"))).unwrap();
    }
}

fn copy(from: &Path) -> tempfile::TempDir {
    fn copy_into(from: &Path, to: &Path) {
        std::fs::create_dir_all(to).unwrap();
        for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
            let target = to.join(entry.file_name());
            if entry.path().is_dir() {
                copy_into(&entry.path(), &target);
            } else {
                std::fs::copy(entry.path(), target).unwrap();
            }
        }
    }
    let dir = tempfile::tempdir().unwrap();
    copy_into(from, &dir.path().join("buffer"));
    dir
}

#[test]
fn what_is_in_old_directories_comes_out() {
    let mut checked = 0;
    for entry in std::fs::read_dir(fixtures()).unwrap().map(Result::unwrap) {
        let expected = std::fs::read_to_string(entry.path().join("expected.txt")).unwrap();
        let dir = copy(&entry.path().join("buffer"));
        assert_eq!(drain(&dir.path().join("buffer")), expected, "{:?}", entry.file_name());
        checked += 1;
    }
    assert_eq!(checked, 9);
}
