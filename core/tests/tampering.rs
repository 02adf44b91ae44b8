//! Somebody deletes, cuts or overwrites a buffer's files under a live producer. The host program lives, nothing that was
//! not put is delivered, what was not hit is delivered as it was put, and what is gone is told: by an error, or counted.
//!
//! Each case is a child process, so that a dead host is seen.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::format::{self, Kind};
use common::*;
use unistream::*;

/// What is done to a segment's file.
const DAMAGES: &[&str] = &[
    "delete",
    "replace",
    "cut to nothing",
    "cut in the header",
    "cut in the middle",
    "cut at the tail",
    "zeros",
    "noise",
    "another segment",
    "zeros in the header",
    "noise in the header",
    "another header",
    "a byte",
];

fn cases(files: &[&str], damages: &[&str]) {
    let mut failed = Vec::new();
    for file in files {
        for damage in damages {
            for storage in ["mapped", "file"] {
                for (mode, end) in [("background", "drained"), ("manual", "drained"), ("background", "left")] {
                    let root = scratch();
                    let dir = root.path().to_str().unwrap();
                    let arguments = [
                        ("DIR", dir),
                        ("FILE", file),
                        ("DAMAGE", damage),
                        ("STORAGE", storage),
                        ("MODE", mode),
                        ("END", end),
                    ];
                    let child = Process::spawn("tamper", &arguments);
                    if std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| child.finish())).is_err() {
                        failed.push([*file, *damage, storage, mode, end].join(", "));
                    }
                }
            }
        }
    }
    assert!(failed.is_empty(), "failed: {failed:#?}");
}

#[test]
fn past_segments() {
    cases(&["first", "past"], DAMAGES);
}

#[test]
fn the_active_segment() {
    cases(&["active"], DAMAGES);
}

#[test]
fn the_segment_that_is_prepared() {
    cases(&["spare"], &["delete", "replace", "cut to nothing", "zeros", "noise", "another segment"]);
}

#[test]
fn everything_but_segments() {
    cases(&["cursors", "lock"], &["delete", "replace", "cut to nothing", "zeros", "noise"]);
    cases(&["directory", "dead letters"], &["delete"]);
}

#[test]
#[ignore = "the child's side of the other tests"]
fn child() {
    if role().as_deref() == Some("tamper") {
        tamper();
    }
}

const THREADS: u64 = 2;
const PUTS: u64 = 300;

fn builder(dir: &Path) -> Builder {
    let builder = Producer::builder(dir).segment_bytes(64 << 10).max_records(10).linger(Duration::from_millis(5));
    let builder = builder.schedule_max(Duration::from_millis(1)).sync_interval(Duration::from_millis(5));
    builder.set("storage", &argument("STORAGE")).unwrap().max_attempts(0)
}

/// Refuses everything until it is told otherwise, then remembers.
#[derive(Clone, Default)]
struct Gate {
    open: Arc<AtomicBool>,
    collector: Collector,
}

impl Sink for Gate {
    fn send(&self, batch: &Batch) -> Result<Report, SendError> {
        if !self.open.load(Ordering::SeqCst) {
            return Err(SendError::failed("not yet"));
        }
        self.collector.send(batch)
    }
}

/// The bytes of records in a segment's file, by seq.
fn records_of(bytes: &[u8]) -> BTreeMap<u64, std::ops::Range<usize>> {
    let (mut records, mut at) = (BTreeMap::new(), format::SEGMENT_HEADER);
    let Some(header) = format::header(bytes) else { return records };
    while let Some(frame) = format::frame(bytes, at, header.salt) {
        at = frame.end();
        if frame.kind == Kind::Record {
            records.insert(frame.seq, frame.offset..frame.offset + frame.length);
        }
    }
    records
}

fn overwrite(path: &Path, bytes: &[u8], at: u64) {
    fs::OpenOptions::new().write(true).open(path).unwrap().write_all_at(bytes, at).unwrap();
}

fn damage(path: &Path, how: &str, other: &Path) {
    if path.is_dir() {
        return fs::remove_dir_all(path).unwrap();
    }
    let length = path.metadata().unwrap().len() as usize;
    let mut random = Random::new(length as u64);
    let mut noise = |length: usize| (0..length).map(|_| random.next() as u8).collect::<Vec<_>>();
    let records: Vec<_> = records_of(&fs::read(path).unwrap()).into_values().collect();
    let middle = records.get(records.len() / 2).map_or(length / 2, |range| range.start + 9);
    let tail = records.last().map_or(length.saturating_sub(5), |range| range.end - 5);
    let cut = |to: usize| fs::OpenOptions::new().write(true).open(path).unwrap().set_len(to as u64).unwrap();
    match how {
        "delete" => fs::remove_file(path).unwrap(),
        "replace" => {
            // A copy under the same name: not the file that is open.
            let bytes = fs::read(path).unwrap();
            fs::remove_file(path).unwrap();
            fs::write(path, bytes).unwrap();
        }
        "cut to nothing" => cut(0),
        "cut in the header" => cut(700),
        "cut in the middle" => cut(middle),
        "cut at the tail" => cut(tail),
        "zeros" => overwrite(path, &vec![0; length], 0),
        "noise" => overwrite(path, &noise(length), 0),
        "another segment" => overwrite(path, &fs::read(other).unwrap(), 0),
        "zeros in the header" => overwrite(path, &[0; 1024], 0),
        "noise in the header" => overwrite(path, &noise(1024), 0),
        "another header" => overwrite(path, &fs::read(other).unwrap()[..1024], 0),
        "a byte" => overwrite(path, &noise(1), middle as u64),
        _ => panic!("no damage is named {how}"),
    }
}

fn tamper() {
    let dir = PathBuf::from(argument("DIR")).join("buffer");
    let (file, how, drained) = (argument("FILE"), argument("DAMAGE"), argument("END") == "drained");
    let manual = argument("MODE") == "manual";
    let gate = Gate::default();
    let producer = if manual {
        builder(&dir).open_manual(Limits::default()).unwrap()
    } else {
        builder(&dir).open(gate.clone()).unwrap()
    };
    let put = Mutex::new(BTreeMap::new());
    let told = AtomicUsize::new(0);
    let put_some = |thread: u64, numbers: std::ops::Range<u64>| {
        for number in numbers {
            let data = payload(thread * 1_000_000 + number, 800);
            match producer.put(&data) {
                Ok(seq) => assert!(put.lock().unwrap().insert(seq, data).is_none(), "seq {seq} twice"),
                Err(error) => {
                    assert!(!error.message().is_empty());
                    told.fetch_add(1, Ordering::SeqCst);
                }
            }
        }
    };
    std::thread::scope(|scope| {
        (0..THREADS).for_each(|thread| drop(scope.spawn(move || put_some(thread, 0..PUTS))));
    });
    if manual {
        // A batch that is out: read and checked, not answered yet.
        let batch = producer.next_batch().unwrap().unwrap();
        producer.settle(batch, Err(SendError::failed("not yet"))).unwrap();
    } else {
        wait_until("the first batch was tried", || producer.stats().attempts > 1);
    }

    // Which records lie in the file, and which of them are there as they were afterwards.
    let files = segments(&dir);
    let active = files.iter().rposition(|path| !records_of(&fs::read(path).unwrap()).is_empty()).unwrap();
    assert!(active > 2);
    let other = &files[active - 1];
    let (targets, other) = match file.as_str() {
        "first" => (vec![files[0].clone()], other),
        "past" => (vec![files[1].clone()], other),
        "active" => (vec![files[active].clone()], other),
        "spare" => match files.get(active + 1) {
            Some(spare) => (vec![spare.clone()], other),
            // The next one is made when half of this one is used.
            None => return,
        },
        "cursors" => ((0..4).map(|which| dir.join(format!("cursor.{which}"))).collect(), other),
        "lock" => (vec![dir.join("lock")], other),
        "dead letters" => {
            fs::create_dir_all(dir.join("dead-letters")).unwrap();
            (vec![dir.join("dead-letters")], other)
        }
        "directory" => (vec![dir.clone()], other),
        _ => panic!("no file is named {file}"),
    };
    let stays_open = how == "delete" || how == "replace";
    // Far into the next segment, or not beyond the active one.
    let more = if drained { 60 } else { 12 };
    let (mut hit, mut kept) = (BTreeSet::new(), BTreeSet::new());
    std::thread::scope(|scope| {
        // More is put before, while and after it happens.
        (0..THREADS).for_each(|thread| drop(scope.spawn(move || put_some(thread, PUTS..PUTS + more))));
        for target in &targets {
            let lock_is_gone = file == "lock" && target.metadata().unwrap().len() == 0 && !stays_open;
            if lock_is_gone {
                continue;
            }
            let before = fs::read(target).unwrap_or_default();
            damage(target, &how, other);
            let after = fs::read(target).unwrap_or_default();
            let changed = |range: &std::ops::Range<usize>| before.get(range.clone()) != after.get(range.clone());
            for (seq, range) in records_of(&before) {
                if changed(&range) { &mut hit } else { &mut kept }.insert(seq);
            }
        }
    });
    (0..THREADS).for_each(|thread| put_some(thread, PUTS + more..PUTS + more + 10));
    let active_was_hit = file == "active" || file == "directory";

    let note = |result: Result<(), Error>| {
        if result.is_err() {
            told.fetch_add(1, Ordering::SeqCst);
        }
    };
    if drained {
        gate.open.store(true, Ordering::SeqCst);
        note(producer.flush(if manual { Duration::ZERO } else { Duration::from_secs(2) }));
        let mut failures = 0;
        while manual && failures < 3 {
            match producer.next_batch() {
                Ok(Some(batch)) => {
                    gate.collector.add(&batch);
                    note(producer.settle(batch, Ok(Report::delivered())));
                }
                Ok(None) => match producer.next_wait() {
                    Some(wait) => std::thread::sleep(wait),
                    None => break,
                },
                Err(error) => {
                    failures += 1;
                    note(Err(error));
                }
            }
        }
    }
    let first = producer.stats();
    note(producer.close(Duration::from_millis(if drained { 200 } else { 0 })).map(drop));
    let mut told = told.load(Ordering::SeqCst) > 0;
    drop(producer);
    let put = put.into_inner().unwrap();

    // Opened again, it gives what is left, and takes and gives more.
    let events = Events::default();
    let producer = builder(&dir).linger(NEVER).observer(events.observer()).open_manual(Limits::default()).unwrap();
    let rest = take_all(&producer);
    let next = producer.put("after").unwrap();
    assert_eq!(take_all(&producer).iter().flat_map(SeenBatch::texts).collect::<Vec<_>>(), ["after"]);
    let second = producer.stats();
    assert_eq!(producer.close(Duration::ZERO).unwrap(), 0);
    drop(producer);

    let mut found = BTreeSet::new();
    for session in [gate.collector.batches(), rest] {
        let seqs: Vec<u64> = session.iter().flat_map(SeenBatch::seqs).collect();
        assert!(seqs.windows(2).all(|pair| pair[0] < pair[1]), "in order, and once: {seqs:?}");
        for record in session.iter().flat_map(|batch| &batch.records) {
            assert_eq!(Some(&record.data), put.get(&record.seq), "nobody put seq {} so", record.seq);
        }
        found.extend(seqs);
    }
    let missing: Vec<u64> = put.keys().copied().filter(|seq| !found.contains(seq)).collect();
    let counted = first.lost_records + second.lost_records;
    say(format_args!(
        "{} put, {} missing, {counted} counted as lost, {} hit, told: {told}",
        put.len(),
        missing.len(),
        hit.len()
    ));
    told |= first.corrupt_regions + second.corrupt_regions > 0;
    assert!(missing.is_empty() || told, "{} records are gone and nobody was told: {missing:?}", missing.len());
    let untouched = |seq: &&u64| if active_was_hit { kept.contains(*seq) } else { !hit.contains(*seq) };
    let gone: Vec<_> = missing.iter().filter(untouched).collect();
    // The file that a live producer has may not be the one that is found under its name later.
    if !stays_open || (drained && file != "directory") {
        assert!(gone.is_empty(), "untouched and gone: {gone:?}");
    }
    // Both sessions count what neither commits. An old cursor knows nothing of what was delivered since.
    if !active_was_hit && file != "cursors" {
        let lost = missing.len() as u64;
        assert!(first.lost_records.max(second.lost_records) <= lost && counted >= lost, "counted exactly");
    }
    if file != "directory" {
        assert!(put.keys().all(|seq| *seq < next), "seq {next} a second time");
    }
}
