//! A letter that changes while it is read.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::DeadLetters;
use crate::limits::Limits;
use crate::options::Trust;
use crate::platform::sync::atomic::{AtomicU64, Ordering};
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

/// It grows, or is deleted and comes back under the same names, between a look at it and the reading of its records.
#[test]
fn a_letter_that_changes_while_a_replay_reads_it_is_read_anew() {
    for (delete_first, records) in [(false, 3), (true, 2)] {
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
            if delete_first {
                other.delete(&its_id).unwrap();
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
        assert_eq!(letters.replay(&id, count, || Ok(())).unwrap(), records);
        assert_eq!(put, records);
        assert!(letters.list().unwrap().is_empty());
    }
}
