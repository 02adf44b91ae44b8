//! Another process asks the one that has a buffer: its numbers, to replay and delete dead letters, to go on. What is asked is
//! done once or not at all, and who asks hears which.

mod common;

use std::fs::{self, Permissions};
use std::os::unix::fs::{FileTypeExt, PermissionsExt, chown};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::disk::SmallDisk;
use common::*;
use unistream::*;

fn builder(dir: &Path) -> Builder {
    Producer::builder(dir.join("buffer")).max_records(1).linger(NEVER).segment_bytes(64 << 10)
}

fn admin(dir: &Path) -> Admin {
    Admin::new(dir.join("buffer"))
}

/// A sink that rejects what begins with "bad" until it is told not to.
fn picky(takes_all: &Arc<AtomicBool>) -> impl Sink + use<> {
    let takes_all = takes_all.clone();
    sink::from_fn(move |batch: &Batch| {
        let rejects = |record: &Record<'_>| record.data.starts_with(b"bad") && !takes_all.load(Ordering::SeqCst);
        let rejected = batch.iter().enumerate().filter(|(_, record)| rejects(record));
        rejected.fold(Report::delivered(), |report, (index, _)| report.rejected(index, "it is bad"))
    })
}

/// The one answer.
fn only<T>(answers: Result<Vec<(String, Result<T>)>>) -> T {
    let mut answers = answers.unwrap();
    assert_eq!((answers.len(), &*answers[0].0), (1, "slot-0"));
    answers.remove(0).1.unwrap()
}

#[track_caller]
fn nothing_is_left(dir: &Path) {
    assert!(!dir.join("buffer/requests").exists());
}

#[test]
fn dead_letters_of_a_live_producer_are_replayed_and_deleted() {
    let root = tempfile::tempdir().unwrap();
    let takes_all = Arc::default();
    let producer = builder(root.path()).open(picky(&takes_all)).unwrap();
    for text in ["bad 1", "good", "bad 2"] {
        producer.put(text).unwrap();
    }
    producer.flush(LONG).unwrap();
    let letters = DeadLetters::open(root.path().join("buffer"));
    let ids: Vec<String> = letters.list().unwrap().into_iter().map(|letter| letter.id).collect();
    assert_eq!(ids.len(), 2);
    takes_all.store(true, Ordering::SeqCst);
    assert_eq!(admin(root.path()).replay_dead_letter(&ids[0]).unwrap(), 1);
    admin(root.path()).delete_dead_letter(&ids[1]).unwrap();
    producer.flush(LONG).unwrap();
    let stats = only(admin(root.path()).stats());
    assert_eq!((stats.delivered_records, stats.dead_letters, stats.pending_records), (2, 0, 0));
    let found = admin(root.path()).replay_dead_letter(&ids[0]).unwrap_err();
    assert_eq!(found.kind(), ErrorKind::NotFound, "{found}");
    let found = admin(root.path()).delete_dead_letter("../../outside").unwrap_err();
    assert_eq!(found.kind(), ErrorKind::NotFound, "{found}");
    nothing_is_left(root.path());
    producer.close(LONG).unwrap();
    assert_eq!(admin(root.path()).stats().unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(Admin::new(root.path().join("none")).stats().unwrap_err().kind(), ErrorKind::NotFound);
}

/// The one who answers is the log's thread: in inline and manual mode, too, where the program makes no call, and beside a
/// sink that does not return.
#[test]
fn every_mode_answers() {
    let (release, held) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    for mode in ["background", "inline", "manual"] {
        let root = tempfile::tempdir().unwrap();
        let (release, held) = (release.clone(), held.clone());
        let hangs = sink::from_fn(move |_: &Batch| {
            held.store(true, Ordering::SeqCst);
            while !release.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        let open = builder(root.path()).set("mode", mode).unwrap();
        let producer = if mode == "manual" { open.open_manual(Limits::default()) } else { open.open(hangs) };
        let producer = producer.unwrap();
        if mode != "inline" {
            producer.put("waits").unwrap();
        }
        let stats = only(admin(root.path()).stats());
        assert_eq!((stats.put_records, stats.pending_records), if mode == "inline" { (0, 0) } else { (1, 1) });
        only(admin(root.path()).resume());
        nothing_is_left(root.path());
    }
    release.store(true, Ordering::SeqCst);
    assert!(held.load(Ordering::SeqCst));
}

#[test]
fn a_stopped_producer_goes_on_and_a_waiting_one_tries_at_once() {
    for on_exhausted in [OnExhausted::Raise, OnExhausted::Skip] {
        let root = tempfile::tempdir().unwrap();
        let works = Arc::new(AtomicBool::new(false));
        let seen = works.clone();
        let sink = sink::from_fn(move |_: &Batch| match seen.load(Ordering::SeqCst) {
            true => Ok(()),
            false => Err(SendError::failed("not yet")),
        });
        let hour = Duration::from_secs(3600);
        let waits = builder(root.path()).schedule_min(hour).schedule_max(hour);
        let waits = waits.on_exhausted(on_exhausted);
        let attempts = if on_exhausted == OnExhausted::Raise { "1" } else { "9" };
        let producer = waits.set("max_attempts", attempts).unwrap().open(sink).unwrap();
        producer.put("record").unwrap();
        let expected = if on_exhausted == OnExhausted::Raise { State::Stopped } else { State::OnHold };
        wait_until("the attempt has failed", || producer.stats().state == expected);
        let stats = only(admin(root.path()).stats());
        assert_eq!((stats.state, stats.failed_attempts), (expected, 1));
        assert!(stats.last_error.contains("not yet"), "{}", stats.last_error);
        works.store(true, Ordering::SeqCst);
        only(admin(root.path()).resume());
        producer.flush(LONG).unwrap();
        assert_eq!(producer.stats().delivered_records, 1);
    }
}

/// A full log: the records of a letter wait for room, and the log's thread, which waits, is the one that makes it.
#[test]
fn a_letter_larger_than_the_room_that_is_left_is_replayed_as_room_comes() {
    let root = tempfile::tempdir().unwrap();
    let takes_all = Arc::default();
    let open = || builder(root.path()).max_records(200).max_buffer_bytes(512 << 10).segment_bytes(64 << 10);
    let producer = open().open(picky(&takes_all)).unwrap();
    let text = "bad".repeat(400);
    for _ in 0..200 {
        producer.put(text.as_str()).unwrap();
    }
    producer.flush(LONG).unwrap();
    let id = producer.dead_letters().list().unwrap()[0].id.clone();
    takes_all.store(true, Ordering::SeqCst);
    // Three quarters of the log are taken, and the sink takes them only while the letter is put.
    for _ in 0..150 {
        producer.put(text.as_str()).unwrap();
    }
    assert_eq!(admin(root.path()).replay_dead_letter(&id).unwrap(), 200);
    producer.flush(LONG).unwrap();
    assert_eq!(producer.stats().delivered_records, 350);
    assert!(producer.dead_letters().list().unwrap().is_empty());
}

#[test]
#[ignore = "the child's side of the other tests"]
fn child() {
    let Some(_) = role() else { return };
    let dir = argument("DIR");
    let producer = builder(Path::new(&dir)).open(down()).unwrap();
    producer.put("record").unwrap();
    say("open");
    wait_for_parent();
    producer.close(Duration::ZERO).unwrap();
}

fn signal(process: &Process, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(process.child.id()).unwrap()).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

/// What is not taken in time is withdrawn: an owner that was stopped does not do it later. One that is killed is no owner.
#[test]
fn an_owner_that_hangs_or_is_killed_does_nothing() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path();
    let mut owner = Process::spawn("own", &[("DIR", dir.to_str().unwrap())]);
    owner.wait_for("open");
    wait_until("an attempt was made", || only(admin(dir).stats()).unavailable_attempts > 0);
    signal(&owner, rustix::process::Signal::STOP);
    let error = admin(dir).patience(Duration::from_millis(300)).resume().unwrap().remove(0).1.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    assert!(error.message().contains(&format!("pid {}", owner.child.id())), "{error}");
    nothing_is_left(dir);
    signal(&owner, rustix::process::Signal::CONT);
    only(admin(dir).stats());
    // Killed while somebody waits: that one hears of it at once, not at the end of its time.
    signal(&owner, rustix::process::Signal::STOP);
    let asks = std::thread::spawn({
        let admin = admin(dir).patience(LONG);
        move || admin.resume().unwrap().remove(0).1.unwrap_err()
    });
    wait_until("it is asked", || {
        fs::read_dir(dir.join("buffer/requests")).is_ok_and(|mut found| found.next().is_some())
    });
    let start = Instant::now();
    owner.child.kill().unwrap();
    owner.child.wait().unwrap();
    let error = asks.join().unwrap();
    assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
    assert!(start.elapsed() < LONG / 2);
    nothing_is_left(dir);
    // What somebody asked that was killed is cleared away by the next owner, and is not done.
    let folder = dir.join("buffer/requests");
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, Permissions::from_mode(0o700)).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, folder.join("7.resume"), rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    owner = Process::spawn("own", &[("DIR", dir.to_str().unwrap())]);
    owner.wait_for("open");
    wait_until("it is cleared away", || fs::read_dir(&folder).unwrap().next().is_none());
    only(admin(dir).stats());
    nothing_is_left(dir);
    owner.go_on();
    owner.finish();
}

/// Under `trust = group` others of the group may put files into the directory. What they ask is not done.
#[test]
fn what_another_user_has_planted_is_not_obeyed() {
    const NOBODY: u32 = 65534;
    if !rustix::process::geteuid().is_root() {
        return say("not root: only root can give files to another user");
    }
    let root = tempfile::tempdir().unwrap();
    let buffer = root.path().join("buffer");
    let takes_all = Arc::default();
    let producer = builder(root.path()).trust(Trust::Group).open(picky(&takes_all)).unwrap();
    producer.put("bad").unwrap();
    producer.flush(LONG).unwrap();
    let id = producer.dead_letters().list().unwrap()[0].id.clone();
    fs::set_permissions(&buffer, Permissions::from_mode(0o770)).unwrap();
    let folder = buffer.join("requests");
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, Permissions::from_mode(0o770)).unwrap();
    let pipe = folder.join(format!("0.delete.{id}"));
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o660.into(), 0).unwrap();
    chown(&pipe, Some(NOBODY), None).unwrap();
    let _reader = fs::OpenOptions::new().read(true).write(true).open(&pipe).unwrap();
    // A request of root's own that has a second name may have been moved there by others.
    let moved = folder.join(format!("1.delete.{id}"));
    rustix::fs::mknodat(rustix::fs::CWD, &moved, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let _other = fs::OpenOptions::new().read(true).write(true).open(&moved).unwrap();
    fs::hard_link(&moved, root.path().join("second")).unwrap();
    // One that is asked in the right way is answered meanwhile, so that all were looked at.
    for _ in 0..3 {
        assert_eq!(only(admin(root.path()).stats()).dead_letters, 1);
    }
    assert!(fs::metadata(&pipe).unwrap().file_type().is_fifo() && moved.exists());
    producer.dead_letters().get(&id).unwrap();
}

/// The folder cannot be one that others may write to, where the directory is the owner's alone.
#[test]
fn a_folder_of_others_is_not_looked_at() {
    let root = tempfile::tempdir().unwrap();
    let producer = builder(root.path()).open(NullSink).unwrap();
    let folder = root.path().join("buffer/requests");
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, Permissions::from_mode(0o777)).unwrap();
    let error = admin(root.path()).patience(Duration::from_millis(1500)).resume().unwrap().remove(0).1.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    producer.put("goes on").unwrap();
    producer.flush(LONG).unwrap();
}

/// A full disk is what one asks about.
#[test]
fn a_producer_on_a_full_disk_answers() {
    let Some(disk) = SmallDisk::new(4 << 20) else { return say("not root: no small disk") };
    let producer = builder(&disk.path()).when_full(WhenFull::Error).open(down()).unwrap();
    let refused = loop {
        if let Err(error) = producer.put(&vec![b'x'; 4096]) {
            break error;
        }
    };
    assert_eq!(refused.kind(), ErrorKind::DiskFull);
    let stats = only(admin(&disk.path()).stats());
    assert!(stats.refused_puts > 0 && stats.pending_records > 0);
    only(admin(&disk.path()).resume());
}

/// Each slot of an outbox has its own answer, what was adopted too.
#[test]
fn every_slot_of_an_outbox_answers() {
    let root = tempfile::tempdir().unwrap();
    let open = || builder(root.path()).shared(true);
    let left = open().open(down()).unwrap();
    left.put("left").unwrap();
    wait_until("it was tried", || left.stats().unavailable_attempts > 0);
    let own = open().open(down()).unwrap();
    own.put("own 1").unwrap();
    own.put("own 2").unwrap();
    let pending = || {
        let answers = admin(root.path()).stats().unwrap();
        answers.into_iter().map(|(slot, stats)| (slot, stats.unwrap().pending_records)).collect::<Vec<_>>()
    };
    let expected = vec![("slot-0".to_owned(), 1), ("slot-1".to_owned(), 2)];
    assert_eq!(pending(), expected);
    left.close(Duration::ZERO).unwrap();
    wait_until("it is adopted", || own.stats().adopted_slots == 1);
    assert_eq!(pending(), expected);
    let resumed = admin(root.path()).resume().unwrap();
    assert!(resumed.len() == 2 && resumed.iter().all(|(_, resumed)| resumed.is_ok()), "{resumed:?}");
    let error = admin(root.path()).delete_dead_letter("x").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WrongMode);
    own.close(Duration::ZERO).unwrap();
    assert!(!root.path().join("buffer/slot-1/requests").exists());
}

/// Many who ask at once, and a producer that puts meanwhile.
#[test]
fn many_ask_at_once() {
    let root = tempfile::tempdir().unwrap();
    let producer = builder(root.path()).max_records(100).open(NullSink).unwrap();
    let asked = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..8).map(|_| scope.spawn(|| (0..5).for_each(|_| drop(only(admin(root.path()).stats()))))).collect();
        scope.spawn(|| {
            while !asked.load(Ordering::SeqCst) {
                producer.put("record").unwrap();
            }
        });
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        asked.store(true, Ordering::SeqCst);
    });
    wait_until("nothing is left", || !root.path().join("buffer/requests").exists());
}
