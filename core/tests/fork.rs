//! A forked child has no part in its parent's producer: every call says so, and nothing that it does, not even
//! dropping it or ending, harms the parent.

mod common;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use common::*;
use unistream::*;

/// One test at a time: a child gets the locks of the process, of the standard library and of the allocator as they
/// were, so that no other thread may be opening a producer at that moment.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Forks, runs `child` in the child, and returns the child's exit code.
#[allow(unsafe_code)]
fn in_fork(child: impl FnOnce() -> i32) -> i32 {
    // SAFETY: the child calls what is under test, which promises to work there, and leaves by `_exit` in every
    // case, so that nothing of the parent's runs twice. The parent waits for the pid that it was given.
    unsafe {
        match libc::fork() {
            0 => {
                let code = std::panic::catch_unwind(std::panic::AssertUnwindSafe(child)).unwrap_or(101);
                libc::_exit(code)
            }
            pid => {
                assert!(pid > 0, "fork failed");
                let mut status = 0;
                assert_eq!(libc::waitpid(pid, &raw mut status, 0), pid);
                assert!(libc::WIFEXITED(status), "the child died: {status}");
                libc::WEXITSTATUS(status)
            }
        }
    }
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
