//! A letter that changes while it is read.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::DeadLetters;
use crate::error::ErrorKind;
use crate::limits::Limits;
use crate::options::{Durability, Trust};
use crate::platform::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::platform::{Directory, Disk, File, Holder, Open, OsDisk, Ownership, Seen, Sharing};
use crate::producer::Producer;
use crate::record::NewRecord;
use crate::sink::{Report, SendError};

/// What happens once, before the records of a letter are opened for the second time.
struct Between<F> {
    openings: AtomicU64,
    happens: F,
}

/// The disk, and what happens.
struct BetweenDisk<F>(Arc<Between<F>>);

impl<F: Fn() + Send + Sync + 'static> Disk for BetweenDisk<F> {
    fn directory(&self, path: &Path, create: bool, trust: Trust) -> io::Result<Arc<dyn Directory>> {
        Ok(Arc::new(BetweenDirectory(OsDisk.directory(path, create, trust)?, self.0.clone())))
    }
    fn boot_id(&self) -> u64 {
        OsDisk.boot_id()
    }
    fn open(&self, path: &Path, follow: bool) -> io::Result<Arc<dyn File>> {
        OsDisk.open(path, follow)
    }
    fn open_shared(&self, path: &Path, how: Sharing) -> io::Result<Arc<dyn File>> {
        OsDisk.open_shared(path, how)
    }
    fn look(&self, path: &Path, follow: bool) -> io::Result<Option<Seen>> {
        OsDisk.look(path, follow)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        OsDisk.sync_dir(dir)
    }
    fn lock(&self, path: &Path, follow: bool) -> io::Result<Result<Box<dyn Send + Sync>, Holder>> {
        OsDisk.lock(path, follow)
    }
}

struct BetweenDirectory<F>(Arc<dyn Directory>, Arc<Between<F>>);

impl<F: Fn() + Send + Sync + 'static> Directory for BetweenDirectory<F> {
    fn path(&self) -> &Path {
        self.0.path()
    }
    fn list(&self) -> io::Result<Vec<String>> {
        self.0.list()
    }
    fn open(&self, name: &str, how: Open) -> io::Result<Arc<dyn File>> {
        let is_records = name.ends_with(".records");
        if is_records && how == Open::Read && self.1.openings.fetch_add(1, Ordering::Relaxed) == 1 {
            (self.1.happens)();
        }
        self.0.open(name, how)
    }
    fn directory(&self, name: &str, create: bool) -> io::Result<Arc<dyn Directory>> {
        Ok(Arc::new(BetweenDirectory(self.0.directory(name, create)?, self.1.clone())))
    }
    fn move_into(&self, name: &str, directory: &str) -> io::Result<()> {
        self.0.move_into(name, directory)
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.0.rename(from, to)
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.remove(name)
    }
    fn sync(&self) -> io::Result<()> {
        self.0.sync()
    }
    fn lock(&self, name: &str) -> io::Result<Result<Arc<dyn Ownership>, Holder>> {
        self.0.lock(name)
    }
    fn lock_file(&self, name: &str) -> io::Result<Result<Box<dyn Send + Sync>, Holder>> {
        self.0.lock_file(name)
    }
    fn hold(&self, name: Option<&str>) -> io::Result<Option<Box<dyn Send + Sync>>> {
        self.0.hold(name)
    }
    fn holder(&self, name: &str) -> io::Result<Option<Holder>> {
        self.0.holder(name)
    }
    fn remove_directory(&self, name: &str) -> io::Result<()> {
        self.0.remove_directory(name)
    }
    fn may_map(&self) -> io::Result<bool> {
        self.0.may_map()
    }
}

/// It grows between a look at it and the reading of its records; nobody deletes it meanwhile.
#[test]
fn a_letter_that_changes_while_a_replay_reads_it_is_read_anew() {
    let dir = tempfile::tempdir().unwrap();
    let builder = Producer::builder(dir.path()).max_records(3).max_attempts(2).schedule_max(Duration::ZERO);
    let producer = builder.open_manual(Limits::default()).unwrap();
    for text in ["a", "b", "c"] {
        producer.put(text).unwrap();
    }
    let batch = producer.next_batch().unwrap().unwrap();
    let id = batch.id();
    let report = Report::delivered().rejected(0, "bad").failed(1, "down").failed(2, "down");
    producer.settle(batch, Ok(report)).unwrap();

    let (other, its_id) = (producer.dead_letters(), id.clone());
    let happens = move || {
        for again in [other.delete(&its_id), other.replay(&its_id, |_| Ok(0), || Ok(())).map(drop)] {
            assert_eq!(again.unwrap_err().kind(), ErrorKind::InUse);
        }
        let batch = producer.next_batch().unwrap().unwrap();
        producer.settle(batch, Err(SendError::failed("down"))).unwrap();
    };
    let disk = BetweenDisk(Arc::new(Between { openings: AtomicU64::new(0), happens }));
    let letters = DeadLetters::open_on(Arc::new(disk), dir.path());
    let mut put = 0;
    let count = |_: NewRecord<'_>| {
        put += 1;
        Ok(0)
    };
    assert_eq!(letters.replay(&id, count, || Ok(())).unwrap(), 3);
    assert_eq!(put, 3);
    assert!(letters.list().unwrap().is_empty());
}

/// Those that were opened by the path, or by a producer with another slot, once deleted a letter while its owner added to it, and
/// with it what was added.
#[test]
fn what_is_added_to_a_letter_while_another_process_deletes_it_stays() {
    const RECORDS: usize = 400;
    let dir = tempfile::tempdir().unwrap();
    let builder = Producer::builder(dir.path()).max_records(RECORDS as u64).schedule_max(Duration::ZERO);
    let producer = builder.max_attempts(1_000_000).durability(Durability::Os).open_manual(Limits::default()).unwrap();
    (0..RECORDS).for_each(|number| assert!(producer.put(&number.to_string()).is_ok()));
    let is_over = AtomicBool::new(false);
    let seen = std::thread::scope(|scope| {
        let replays = scope.spawn(|| {
            let mut seen = Vec::new();
            while !is_over.load(Ordering::SeqCst) || !producer.dead_letters().list().unwrap().is_empty() {
                // Opened anew each time, as by a command.
                let letters = DeadLetters::open(dir.path());
                for letter in letters.list().unwrap() {
                    let put = |record: NewRecord<'_>| {
                        seen.push(String::from_utf8(record.data.to_vec()).unwrap());
                        Ok(0)
                    };
                    match letters.replay(&letter.id, put, || Ok(())) {
                        Err(error) => assert_eq!(error.kind(), ErrorKind::NotFound, "{error}"),
                        Ok(count) => assert!(count > 0),
                    }
                }
            }
            seen
        });
        // One record at a time into the same letter.
        while let Some(batch) = producer.next_batch().unwrap() {
            let rest = (1..batch.len()).fold(Report::delivered(), |report, index| report.failed(index, "later"));
            producer.settle(batch, Ok(rest.rejected(0, "no"))).unwrap();
        }
        is_over.store(true, Ordering::SeqCst);
        replays.join().unwrap()
    });
    let mut seen: Vec<usize> = seen.iter().map(|text| text.parse().unwrap()).collect();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen, Vec::from_iter(0..RECORDS));
}
