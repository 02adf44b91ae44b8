//! The directory that a buffer is in: everything stays in the one that was opened, whatever becomes of its path, and
//! nothing in it that is not a file of ours leads elsewhere, hangs or is removed.

mod common;

use std::path::Path;
use std::time::Duration;

use common::*;
use unistream::*;

/// Small segments, so that more of them are made.
fn builder(dir: impl AsRef<Path>) -> Builder {
    Producer::builder(dir).segment_bytes(64 << 10).max_records(10).linger(NEVER)
}

/// Puts so many records of a kilobyte that begin with `name`.
fn put(producer: &Producer, name: &str, records: std::ops::Range<usize>) {
    for number in records {
        producer.put(format!("{name}{number:05}{}", ".".repeat(1000)).as_bytes()).unwrap();
    }
}

/// What begins with `name` in the buffer, in order, without what filled it.
fn drained(dir: impl AsRef<Path>, name: &str) -> Vec<String> {
    let texts = drain(dir).texts().into_iter().filter(|text| text.starts_with(name));
    texts.map(|text| text.trim_end_matches('.').to_owned()).collect()
}

fn numbered(name: &str, records: std::ops::Range<usize>) -> Vec<String> {
    records.map(|number| format!("{name}{number:05}")).collect()
}

/// All files below a directory, with what is in them.
fn contents(dir: &Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            found.extend(contents(&entry))
        } else {
            found.push((entry.clone(), std::fs::read(entry).unwrap()))
        }
    }
    found.sort();
    found
}

#[test]
#[ignore = "a child process of the tests here"]
fn child() {
    match role().as_deref() {
        Some("chdir") => goes_elsewhere(),
        Some("opener") => opens_the_path(),
        Some("second") => opens_a_second_time(),
        _ => {}
    }
}

/// A relative path followed the process to another directory: later segments were made over those of the buffer that
/// was there, finished ones were removed from it, dead letters were written to it.
#[test]
fn a_relative_path_stays_the_directory_that_was_opened() {
    let root = tempfile::tempdir().unwrap();
    let (here, there) = (root.path().join("here"), root.path().join("there"));
    std::fs::create_dir_all(&here).unwrap();
    let other = builder(there.join("outbox")).open_manual(Limits::default()).unwrap();
    put(&other, "other", 0..200);
    other.close(Duration::ZERO).unwrap();
    drop(other);
    let before = contents(&there);
    Process::spawn("chdir", &[("HERE", here.to_str().unwrap()), ("THERE", there.to_str().unwrap())]).finish();
    assert!(contents(&there) == before, "the process changed what is in the directory that it went to");
    assert_eq!(drained(here.join("outbox"), "mine"), numbered("mine", 10..300));
    assert_eq!(DeadLetters::open(here.join("outbox")).list().unwrap().len(), 1);
}

fn goes_elsewhere() {
    std::env::set_current_dir(argument("HERE")).unwrap();
    let producer = builder("outbox").max_attempts(1).open_manual(Limits::default()).unwrap();
    let letters = DeadLetters::open("outbox");
    put(&producer, "mine", 0..10);
    std::env::set_current_dir(argument("THERE")).unwrap();
    assert_eq!(producer.path(), Path::new(&argument("HERE")).join("outbox"));
    put(&producer, "mine", 10..300);
    let batch = producer.next_batch().unwrap().unwrap();
    producer.settle(batch, Err(SendError::failed("no"))).unwrap();
    for letters in [letters, producer.dead_letters()] {
        assert_eq!(letters.list().unwrap().len(), 1);
        assert_eq!(letters.list().unwrap()[0].batch().unwrap().len(), 10);
    }
    producer.sync().unwrap();
    // The letter stays; what else there is does too.
    producer.close(Duration::ZERO).unwrap();
}

/// A directory that was moved aside was split: its producer went on in the new one that another made under the old name.
#[test]
fn a_directory_that_is_moved_takes_its_producer_with_it() {
    let root = tempfile::tempdir().unwrap();
    let (path, aside) = (root.path().join("outbox"), root.path().join("outbox.old"));
    let first = builder(&path).durability(Durability::Always).open_manual(Limits::default()).unwrap();
    put(&first, "first", 0..10);
    std::fs::rename(&path, &aside).unwrap();
    let mut other = Process::spawn("opener", &[("OUTBOX", path.to_str().unwrap())]);
    other.wait_for("200");
    put(&first, "first", 10..300);
    other.go_on();
    other.finish();
    first.close(Duration::ZERO).unwrap();
    drop(first);
    assert_eq!(drained(&aside, ""), numbered("first", 0..300));
    assert_eq!(drained(&path, ""), numbered("other", 0..400));
}

fn opens_the_path() {
    let producer = builder(argument("OUTBOX")).durability(Durability::Always).open_manual(Limits::default()).unwrap();
    put(&producer, "other", 0..200);
    say(200);
    wait_for_parent();
    put(&producer, "other", 200..400);
    producer.close(Duration::ZERO).unwrap();
}

/// A cleaner removed the lock, the next opener made a new one and had the buffer too: two wrote the same segments.
#[test]
fn a_lock_that_is_removed_lets_nobody_else_in() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("outbox");
    let first = builder(&dir).open_manual(Limits::default()).unwrap();
    put(&first, "first", 0..100);
    std::fs::remove_file(dir.join("lock")).unwrap();
    for _ in 0..2 {
        let refused = Process::spawn("second", &[("OUTBOX", dir.to_str().unwrap())]).finish();
        assert!(refused.iter().any(|line| line == "in_use"), "{refused:?}");
    }
    // The owner goes on, and has made the lock anew.
    put(&first, "first", 100..300);
    first.sync().unwrap();
    assert!(dir.join("lock").exists());
    assert_eq!(builder(&dir).open_manual(Limits::default()).unwrap_err().kind(), ErrorKind::InUse);
    first.close(Duration::ZERO).unwrap();
    drop(first);
    assert_eq!(drained(&dir, ""), numbered("first", 0..300));
}

fn opens_a_second_time() {
    let error = builder(argument("OUTBOX")).open_manual(Limits::default()).unwrap_err();
    say(error.kind());
}

/// Somebody put another file in the lock's place: the producer says that it is not alone any more, and touches nothing.
#[test]
fn a_lock_that_is_another_ends_the_producer_before_it_harms_its_successor() {
    for durability in [Durability::Always, Durability::Interval, Durability::Os] {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("outbox");
        let producer = builder(&dir).durability(durability).open_manual(Limits::default()).unwrap();
        put(&producer, "first", 0..100);
        producer.sync().unwrap();
        let batch = producer.next_batch().unwrap().unwrap();
        std::fs::remove_file(dir.join("lock")).unwrap();
        std::fs::write(dir.join("lock"), "").unwrap();
        let before = contents(&dir);
        let error = producer.settle(batch, Ok(Report::delivered())).unwrap_err();
        assert!(error.message().contains("lock was removed or replaced"), "{error}");
        let error =
            (0..1000).find_map(|_| producer.put(vec![b'x'; 1000].as_slice()).err()).expect("puts go on for ever");
        assert_eq!(error.kind(), ErrorKind::Io, "{error}");
        assert!(error.message().contains("lock was removed or replaced"), "{error}");
        producer.close(Duration::ZERO).unwrap_err();
        drop(producer);
        // Segments that were mapped have what was put into them; cursors and names are as they were.
        let after = contents(&dir);
        let cursors = |files: &[(std::path::PathBuf, Vec<u8>)]| {
            files
                .iter()
                .filter(|(path, _)| path.extension().is_none_or(|suffix| suffix != "seg"))
                .cloned()
                .collect::<Vec<_>>()
        };
        assert!(cursors(&before) == cursors(&after), "{durability:?}: the cursor was written");
        let names =
            |files: &[(std::path::PathBuf, Vec<u8>)]| files.iter().map(|(path, _)| path.clone()).collect::<Vec<_>>();
        assert_eq!(names(&before), names(&after), "{durability:?}");
        // Nothing that was accepted is lost.
        let left = drained(&dir, "first");
        assert_eq!(left, numbered("first", 0..100), "{durability:?}");
    }
}

/// `flock directory program` has the directory locked before the program opens a buffer in it.
#[test]
fn a_directory_that_is_locked_from_outside_can_be_opened() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("outbox");
    std::fs::create_dir(&dir).unwrap();
    std::fs::set_permissions(&dir, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let held = std::fs::File::open(&dir).unwrap();
    held.lock().unwrap();
    for run in 0..2 {
        let producer = builder(&dir).open_manual(Limits::default()).unwrap();
        put(&producer, "x", run..run + 1);
        assert_eq!(builder(&dir).open_manual(Limits::default()).unwrap_err().kind(), ErrorKind::InUse);
        producer.close(Duration::ZERO).unwrap();
    }
    drop(held);
    assert_eq!(drained(&dir, ""), numbered("x", 0..2));
}

/// A directory that is gone takes no more: what is put into files without names would be gone with the process.
#[test]
fn a_directory_that_was_removed_is_an_error() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("outbox");
    let producer = builder(&dir).open_manual(Limits::default()).unwrap();
    put(&producer, "x", 0..10);
    std::fs::remove_dir_all(&dir).unwrap();
    let error = (0..1000).find_map(|_| producer.put(vec![b'x'; 1000].as_slice()).err()).expect("puts go on for ever");
    assert_eq!(error.kind(), ErrorKind::Io, "{error}");
    producer.close(Duration::ZERO).unwrap_err();
    assert!(!dir.exists());
}
