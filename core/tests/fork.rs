//! A forked child has no part in its parent's producer: every call says so, and nothing that it does, not even
//! dropping it or ending, harms the parent.

mod common;

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use common::*;
use unistream::*;

/// One test at a time, so that what a child finds of descriptors and threads is what its test made.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The number of the first of these that is not `Forked`; 0 if all are.
fn first_other(errors: impl IntoIterator<Item = Option<Error>>) -> i32 {
    let other = errors.into_iter().position(|error| error.is_none_or(|error| error.kind() != ErrorKind::Forked));
    other.map_or(0, |at| at as i32 + 1)
}

#[test]
fn every_call_in_a_forked_child_is_an_error_and_the_parent_goes_on() {
    let _alone = alone();
    for storage in [Storage::Auto, Storage::File] {
        let dir = tempfile::tempdir().unwrap();
        let sent = Collector::default();
        let builder = || Producer::builder(dir.path()).storage(storage).max_records(2).linger(NEVER);
        let mut producer = Some(builder().open(sent.clone()).unwrap());
        let mut put = 0;
        for _ in 0..20 {
            let owner = producer.as_ref().unwrap();
            put = owner.put("before").unwrap();
            assert!(!owner.is_forked());
            let code = in_fork(|| {
                let inherited = producer.take().unwrap();
                let code = first_other([
                    inherited.put("no").err(),
                    inherited.flush(LONG).err(),
                    inherited.sync().err(),
                    inherited.resume().err(),
                    inherited.replay_dead_letter("x").err(),
                    inherited.close(LONG).err(),
                ]);
                let seems_alive = !inherited.is_forked() || inherited.stats().state != State::Closed;
                drop(inherited);
                if seems_alive { 100 } else { code }
            });
            assert_eq!(code, 0);
        }
        let owner = producer.as_ref().unwrap();
        assert_eq!(builder().open(NullSink).unwrap_err().kind(), ErrorKind::InUse, "the parent has its lock still");
        owner.flush(LONG).unwrap();
        assert_eq!(sent.seqs(), (1..=put).collect::<Vec<_>>());
        assert_eq!(owner.close(LONG).unwrap(), 0);
    }
}

#[test]
fn a_forked_child_may_open_a_producer_of_its_own() {
    let _alone = alone();
    let (parents, childs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let producer = Producer::builder(parents.path()).open(NullSink).unwrap();
    producer.put("parent").unwrap();
    let code = in_fork(|| {
        let own = Producer::builder(childs.path()).open(down()).unwrap();
        own.put("child").unwrap();
        let taken = Producer::builder(parents.path()).open(NullSink).err();
        let left = own.close(Duration::ZERO).unwrap();
        i32::from(left != 1 || taken.is_none_or(|error| error.kind() != ErrorKind::InUse))
    });
    assert_eq!(code, 0);
    producer.put("parent again").unwrap();
    assert_eq!(producer.close(LONG).unwrap(), 0);
    assert_eq!(drain(childs.path()).texts(), ["child"]);
}

/// What seals by age must not seal in the child: the log is not mapped there.
#[test]
fn a_child_does_not_seal_what_has_lingered() {
    let _alone = alone();
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let manual = Producer::builder(dir.path()).linger(Duration::ZERO).open_manual(Limits::default()).unwrap();
    let mut options = Options::default();
    options.linger = Duration::ZERO;
    let buffer = Buffer::open(other.path(), options, Limits::default()).unwrap();
    manual.put("x").unwrap();
    buffer.put("y").unwrap();
    let code = in_fork(|| {
        let quiet = manual.next_wait().is_none() && !buffer.should_emit() && buffer.is_empty();
        if quiet { first_other([manual.next_batch().err()]) } else { 100 }
    });
    assert_eq!(code, 0);
    assert!(buffer.should_emit() && buffer.len() == 1);
    assert_eq!(manual.next_batch().unwrap().unwrap().len(), 1);
}

#[test]
fn a_buffer_alone_is_guarded_too() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let mut options = Options::default();
    options.max_records = 1;
    let buffer = Buffer::open(dir.path(), options, Limits::default()).unwrap();
    buffer.put("x").unwrap();
    let batch = buffer.emit().unwrap().unwrap();
    let code = in_fork(|| {
        first_other([
            buffer.put("no").err(),
            buffer.seal().err(),
            buffer.emit().err(),
            buffer.commit(&batch).err(),
            buffer.sync().err(),
            buffer.close().err(),
        ])
    });
    assert_eq!(code, 0);
    buffer.commit(&batch).unwrap();
    assert!(buffer.is_empty());
}

/// Forks so many children while other threads of the parent `work`; each has to end in time.
fn children_of_a_busy_parent(count: usize, work: impl Fn() + Sync, child: impl Fn() -> i32) {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    work();
                }
            });
        }
        for number in 0..count {
            let code = in_fork_for(LONG, &child);
            if code != Some(0) {
                over.store(true, Ordering::Relaxed);
                panic!("child {number} came to {code:?}; none: it hung");
            }
        }
        over.store(true, Ordering::Relaxed);
    });
}

/// As [`in_fork`], but gives the child up after a time.
#[allow(unsafe_code)]
fn in_fork_for(time: Duration, child: impl FnOnce() -> i32) -> Option<i32> {
    // SAFETY: as in `in_fork`; the child that is killed is the one that was made here, and is waited for.
    unsafe {
        let pid = libc::fork();
        if pid == 0 {
            let code = std::panic::catch_unwind(std::panic::AssertUnwindSafe(child)).unwrap_or(101);
            libc::_exit(code)
        }
        assert!(pid > 0, "fork failed");
        let deadline = Instant::now() + time;
        let mut status = 0;
        while libc::waitpid(pid, &raw mut status, libc::WNOHANG) == 0 {
            if Instant::now() > deadline {
                libc::kill(pid, libc::SIGKILL);
                libc::waitpid(pid, &raw mut status, 0);
                return None;
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        assert!(libc::WIFEXITED(status), "the child died: {status}");
        Some(libc::WEXITSTATUS(status))
    }
}

/// A put in the child once waited for a lock that another thread of the parent had held at the fork.
#[test]
fn a_child_of_a_busy_parent_is_told_at_once() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let producer = Producer::builder(dir.path()).max_records(1).open(NullSink).unwrap();
    children_of_a_busy_parent(
        400,
        || assert!(producer.put("x").unwrap() > 0),
        || {
            let answers = [
                producer.put("y").err(),
                producer.try_put("y").err(),
                producer.flush(LONG).err(),
                producer.sync().err(),
                producer.resume().err(),
                producer.close(LONG).err(),
                producer.dead_letters().delete("x").err(),
            ];
            first_other(answers) + i32::from(producer.stats().state != State::Closed)
        },
    );
    assert_eq!(producer.close(LONG).unwrap(), 0);
}

/// An opening in the child once waited for the lock of the process's table of buffers.
#[test]
fn a_child_opens_its_own_while_other_threads_of_the_parent_open_theirs() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let (parents, own) = (AtomicUsize::new(0), dir.path().join("own"));
    let open = |dir: &Path| {
        let mut options = Options::default();
        options.segment_bytes = 64 << 10;
        options.max_buffer_bytes = 256 << 10;
        Buffer::open(dir, options, Limits::default())
    };
    children_of_a_busy_parent(
        200,
        || {
            let name = format!("of-the-parent-{}", parents.fetch_add(1, Ordering::Relaxed) % 4);
            // The other thread may have it just now.
            drop(open(&dir.path().join(name)));
        },
        || i32::from(open(&own).unwrap().put("x").is_err()),
    );
}

/// The log's thread in the child once never began: the standard library takes a lock of its own where a thread begins and
/// ends, and a thread of the parent held it at the fork.
#[test]
fn a_child_opens_its_own_while_other_threads_of_the_parent_come_and_go() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    children_of_a_busy_parent(
        200,
        || std::thread::spawn(|| {}).join().unwrap(),
        || {
            let own = Producer::builder(dir.path()).open(NullSink).unwrap();
            own.put("x").unwrap();
            own.flush(LONG).unwrap();
            own.close(LONG).unwrap() as i32
        },
    );
}

/// Reading a record in the child once was a SIGSEGV: the log is not mapped there.
#[test]
fn a_batch_of_the_parent_is_empty_in_a_child() {
    let _alone = alone();
    for storage in [Storage::Auto, Storage::File] {
        let dir = tempfile::tempdir().unwrap();
        let builder = Producer::builder(dir.path()).storage(storage).max_records(2);
        let producer = builder.open_manual(Limits::default()).unwrap();
        producer.put("one").unwrap();
        producer.put("two").unwrap();
        let batch = producer.next_batch().unwrap().unwrap();
        let (taken, mut copy) = (&batch, Some(batch.clone()));
        let from_before = taken.get(0).unwrap();
        let code = in_fork(|| {
            let sum = from_before.data.iter().map(|byte| usize::from(*byte)).sum::<usize>();
            let seen = (taken.is_forked(), taken.len(), taken.iter().count(), taken.get(1).is_none());
            let refused = first_other([producer.settle(taken.clone(), Ok(Report::delivered())).err()]);
            drop(copy.take());
            if seen == (true, 0, 0, true) && sum < 1000 { refused } else { 100 }
        });
        assert_eq!(code, 0);
        assert!(!batch.is_forked());
        assert_eq!(batch.iter().map(|record| record.data).collect::<Vec<_>>(), [b"one", b"two"]);
        producer.settle(batch, Ok(Report::delivered())).unwrap();
        assert_eq!(producer.close(LONG).unwrap(), 0);
    }
}

/// Dropping in the child once unmapped what was not its own, and detached threads that it does not have.
#[test]
fn what_is_inherited_can_be_dropped_and_another_opened_and_closed() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    for closes in [false, true] {
        let mut inherited = Vec::new();
        for number in 0..3 {
            let producer = Producer::builder(dir.path().join(format!("{number}"))).open(NullSink).unwrap();
            producer.put("x").unwrap();
            if closes {
                producer.close(LONG).unwrap();
            }
            inherited.push(producer);
        }
        let buffer = Buffer::open(dir.path().join("buffer"), Options::default(), Limits::default()).unwrap();
        buffer.put("x").unwrap();
        let (mut inherited, mut buffer) = (Some(inherited), Some(buffer));
        let own = dir.path().join("own");
        let code = in_fork(|| {
            for round in 0..3 {
                let own = Producer::builder(&own).open(NullSink).unwrap();
                own.put("x").unwrap();
                if round == 1 {
                    drop((inherited.take(), buffer.take()));
                }
                own.flush(LONG).unwrap();
                assert_eq!(own.close(LONG).unwrap(), 0);
            }
            0
        });
        assert_eq!(code, 0);
        for producer in inherited.unwrap() {
            assert_eq!(producer.put("y").is_ok(), !closes);
        }
        buffer.unwrap().put("y").unwrap();
    }
}

/// The child believed the table of what its parent had open, for ever.
#[test]
fn what_the_parent_has_let_go_a_child_opens() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let (outbox, log) = (dir.path().join("outbox"), dir.path().join("log"));
    let open = || Producer::builder(&outbox).open(FileSink::create(&log)?);
    let producer = open().unwrap();
    let (mut let_go, mut done) = std::io::pipe().unwrap();
    let descriptors = || fs::read_dir("/proc/self/fd").unwrap().count();
    let wanted = descriptors();
    let child = std::thread::scope(|scope| {
        let child = scope.spawn(|| {
            in_fork(|| {
                let had = descriptors();
                let early = open().err().map(|error| error.kind());
                let kept = descriptors();
                let_go.read_exact(&mut [0]).unwrap();
                let own = open().unwrap();
                own.put("child").unwrap();
                own.flush(LONG).unwrap();
                // The locks of the buffer's file and directory, and of the sink's file, are the parent's alone.
                let as_it_was = (had, kept) == (wanted - 3, wanted - 3);
                if early == Some(ErrorKind::InUse) && as_it_was { 0 } else { 100 }
            })
        });
        std::thread::sleep(Duration::from_millis(300));
        drop(producer);
        done.write_all(b"x").unwrap();
        child.join().unwrap()
    });
    assert_eq!(child, 0);
    assert_eq!(fs::read(&log).unwrap(), b"child\n");
}

/// A daemon's parent opens, forks and dies, without closing: nobody has the buffer then.
#[test]
fn what_a_parent_had_that_died_its_child_opens() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let (mut answer, mut told) = std::io::pipe().unwrap();
    let code = in_fork(|| {
        let parent = std::process::id();
        let producer = Producer::builder(dir.path()).open_manual(Limits::default()).unwrap();
        producer.put("the parent's").unwrap();
        #[allow(unsafe_code)]
        // SAFETY: the child calls what is under test and leaves by `_exit`.
        if unsafe { libc::fork() } == 0 {
            while std::os::unix::process::parent_id() == parent {
                std::thread::sleep(Duration::from_millis(1));
            }
            let opened = Producer::builder(dir.path()).open_manual(Limits::default());
            let left = opened.map(|own| own.stats().pending_records);
            let _ = told.write_all(&[u8::from(matches!(left, Ok(1)))]);
            // SAFETY: it only ends.
            unsafe { libc::_exit(0) }
        }
        0
    });
    assert_eq!(code, 0);
    drop(told);
    let mut said = Vec::new();
    answer.read_to_end(&mut said).unwrap();
    assert_eq!(said, [1]);
}

/// The lock is the open file's: a copy of the directory, made in the same process, does not let it go.
#[test]
fn a_backup_of_the_directory_does_not_let_the_lock_go() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let producer = Producer::builder(dir.path()).open_manual(Limits::default()).unwrap();
    for entry in fs::read_dir(dir.path()).unwrap() {
        drop(fs::read(entry.unwrap().path()));
    }
    let refusal = || Producer::builder(dir.path()).open_manual(Limits::default()).unwrap_err();
    let pid = std::process::id();
    assert!(refusal().message().contains(&format!("this process (pid {pid})")), "{}", refusal().message());
    let code = in_fork(|| {
        let error = refusal();
        i32::from(
            error.kind() != ErrorKind::InUse || !error.message().ends_with(&format!("the process with pid {pid}")),
        )
    });
    assert_eq!(code, 0);
    // Looking does not take it either.
    let owner = || Inspection::open(dir.path()).unwrap().stats().unwrap().owner_pid;
    assert_eq!(owner(), Some(pid));
    drop(producer);
    assert_eq!(owner(), None);
}

/// A sink that a child can make: it appends lines to a file.
fn appending(path: &Path) -> Box<dyn Sink> {
    let path = path.to_owned();
    sink::renewable(move || {
        let path = path.clone();
        Ok(Box::new(sink::from_fn(move |batch: &Batch| {
            let mut file = fs::OpenOptions::new().append(true).create(true).open(&path).unwrap();
            let lines = batch.iter().flat_map(|record| [record.data, b"\n"].concat()).collect::<Vec<_>>();
            file.write_all(&lines).unwrap();
        })))
    })
    .unwrap()
}

fn lines(path: &Path) -> Vec<String> {
    fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
}

#[test]
fn a_shared_producer_gives_a_child_a_slot_of_its_own() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    for mode in [Mode::Background, Mode::Inline] {
        let _ = fs::remove_file(&log);
        let builder =
            Producer::builder(dir.path().join(format!("{mode:?}"))).shared(true).mode(mode).linger(Duration::ZERO);
        let producer = builder.open(appending(&log)).unwrap();
        assert_eq!(producer.put("parent").unwrap(), 1);
        producer.flush(LONG).unwrap();
        let child = || {
            assert!(producer.is_forked() && producer.stats() == Stats::default());
            assert_eq!(producer.put("child").unwrap(), 1);
            assert!(!producer.is_forked());
            assert_eq!(producer.slot().as_deref(), Some("slot-1"));
            producer.flush(LONG).unwrap();
            // So does a child of the child.
            let grandchild = in_fork(|| {
                producer.put("grandchild").unwrap();
                producer.flush(LONG).unwrap();
                producer.close(LONG).unwrap() as i32
            });
            assert_eq!(producer.close(LONG).unwrap(), 0);
            assert_eq!(producer.put("no").unwrap_err().kind(), ErrorKind::Closed);
            grandchild
        };
        assert_eq!(in_fork(child), 0);
        // One that does nothing opens nothing, and closing it there closes nothing here.
        let idle = in_fork(|| {
            assert_eq!(producer.close(LONG).unwrap(), 0);
            i32::from(producer.put("no").unwrap_err().kind() != ErrorKind::Closed)
        });
        assert_eq!(idle, 0);
        producer.put("parent again").unwrap();
        producer.flush(LONG).unwrap();
        assert_eq!(lines(&log), ["parent", "child", "grandchild", "parent again"]);
        assert_eq!(producer.close(LONG).unwrap(), 0);
        assert_eq!(in_fork(|| i32::from(producer.put("no").unwrap_err().kind() != ErrorKind::Closed)), 0);
    }
}

/// A closure may hold anything: nobody but the program knows how a child makes another.
#[test]
fn a_child_is_told_if_nobody_knows_how_its_sink_is_made() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let builder = || Producer::builder(dir.path().join("outbox")).shared(true).linger(Duration::ZERO);
    let producer = builder().open(down()).unwrap();
    let code = in_fork(|| {
        let errors = [producer.put("x").err(), producer.flush(LONG).err(), producer.sync().err()];
        assert!(errors[0].as_ref().unwrap().message().contains("sink_in_child"));
        first_other(errors)
    });
    assert_eq!(code, 0);
    drop(producer);
    let at = log.clone();
    let producer = builder().sink_in_child(move || Ok(appending(&at))).open(down()).unwrap();
    let code = in_fork(|| {
        producer.put("child").unwrap();
        producer.flush(LONG).unwrap();
        producer.close(LONG).unwrap() as i32
    });
    assert_eq!((code, lines(&log)), (0, vec!["child".to_owned()]));
    // In manual mode the child itself sends.
    let manual = Producer::builder(dir.path().join("manual")).shared(true).max_records(1);
    let manual = manual.open_manual(Limits::default()).unwrap();
    let code = in_fork(|| {
        manual.put("x").unwrap();
        let batch = manual.next_batch().unwrap().unwrap();
        manual.settle(batch, Ok(Report::delivered())).unwrap();
        manual.close(LONG).unwrap() as i32
    });
    assert_eq!(code, 0);
}

/// What a child's first call finds in its slot is told of within that call, which would wait for itself.
#[test]
fn a_call_from_inside_of_a_childs_first_one_is_refused() {
    static PRODUCER: std::sync::OnceLock<Producer> = std::sync::OnceLock::new();
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let builder = || Producer::builder(dir.path().join("outbox")).shared(true).linger(NEVER);
    let told = dir.path().join("told");
    let at = told.clone();
    let observe = move |event: &Event<'_>| {
        if let (Event::Recovered { .. }, Some(producer)) = (event, PRODUCER.get()) {
            assert_eq!(producer.put("inside").unwrap_err().kind(), ErrorKind::Reentrant);
            fs::write(&at, "told").unwrap();
        }
    };
    let parent = builder().observer(observe).sink_in_child(|| Ok(Box::new(NullSink))).open(down()).unwrap();
    let dead = builder().open(down()).unwrap();
    dead.put("left").unwrap();
    assert_eq!(dead.close(Duration::ZERO).unwrap(), 1);
    drop(PRODUCER.set(parent));
    let code = in_fork(|| i32::from(PRODUCER.get().unwrap().put("first").is_err()));
    assert_eq!(code, 0);
    assert!(told.exists());
    PRODUCER.get().unwrap().close(Duration::ZERO).unwrap();
}

/// A file is the parent's while that lives: the records of the child wait, and its parent sends them when it has died.
#[test]
fn a_sink_that_a_child_cannot_make_yet_is_unavailable() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let builder = Producer::builder(dir.path().join("outbox")).shared(true).linger(Duration::ZERO);
    let producer = builder.open(FileSink::create(&log).unwrap()).unwrap();
    let code = in_fork(|| {
        producer.put("child").unwrap();
        i32::from(producer.flush(Duration::from_millis(300)).unwrap_err().kind() != ErrorKind::Timeout)
    });
    assert_eq!(code, 0);
    wait_until("the parent has sent it", || lines(&log) == ["child"]);
    assert_eq!(producer.close(LONG).unwrap(), 0);
}

/// The first use in a child while other threads of the parent put, and several threads of the child begin at once.
#[test]
fn children_of_a_busy_parent_open_one_slot_each() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let builder = Producer::builder(dir.path().join("outbox")).shared(true).max_records(10).segment_bytes(64 << 10);
    let producer = builder.max_buffer_bytes(16 << 20).open(NullSink).unwrap();
    children_of_a_busy_parent(
        100,
        || assert!(producer.put("x").unwrap() > 0),
        || {
            std::thread::scope(|scope| {
                let put = || (0..20).all(|_| producer.put("y").is_ok());
                let threads = [scope.spawn(put), scope.spawn(put), scope.spawn(put)];
                let all = threads.into_iter().all(|thread| thread.join().unwrap());
                let own = producer.slot().is_some_and(|slot| slot != "slot-0");
                i32::from(!all || !own || producer.stats().put_records != 60)
            })
        },
    );
    producer.drain(LONG).unwrap();
    let stats = producer.stats();
    assert!(stats.delivered_records >= stats.put_records, "{stats:?}");
    assert_eq!(producer.close(LONG).unwrap(), 0);
}
