//! Replaying a letter: its records are put again, then it is deleted.

use std::collections::HashSet;
use std::time::Duration;

use super::file::{LetterRecords, json_of};
use super::{DeadLetter, DeadLetters, check_id};
use crate::buffer;
use crate::error::{Error, ErrorKind, Result};
use crate::platform::sync::{MutexGuard, thread};
use crate::platform::{Directory, lock};

/// How often, and how long in between, to try for the lock on changes. Who has it writes or deletes a letter, which a slow disk may
/// take seconds for.
const TRIES: u32 = 1000;
const TRY: Duration = Duration::from_millis(5);

type Held = Box<dyn Send + Sync>;

/// The right to change letters.
pub(super) struct Change<'a> {
    _held: Option<Held>,
    _in_process: MutexGuard<'a, ()>,
}

/// The right to replay or delete a letter. One call at a time has it; dropping it gives it up.
pub(super) struct Claim<'a> {
    letters: &'a DeadLetters,
    id: &'a str,
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        lock(&self.letters.replayed).remove(self.id);
    }
}

impl DeadLetters {
    /// Puts every record of a letter again with `put`, in order, with its id, key and time; then `done`, which
    /// must make them durable; then deletes the letter. Returns how many were put. Records that are added to the same
    /// letter meanwhile stay in it, whichever process adds them.
    ///
    /// # Errors
    /// `NotFound`; `InUse` while another call replays it; those of `put` and `done`. The letter is still there then; what was
    /// put before is delivered twice if it is replayed again.
    pub fn replay(
        &self,
        id: &str,
        mut put: impl FnMut(crate::NewRecord<'_>) -> Result<u64>,
        done: impl FnOnce() -> Result<()>,
    ) -> Result<u64> {
        let _claim = self.claim(id)?;
        let keeper = self.keeper(id)?;
        let _held = keeper.hold(id)?;
        let (letter, batch) = loop {
            let letter = keeper.get_here(id)?;
            match letter.batch() {
                // The letter was replaced or deleted between the two reads: look again.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                batch => break (letter, batch?),
            }
        };
        for record in batch.iter() {
            put(record.to_new())?;
        }
        done()?;
        keeper.forget(&letter)?;
        Ok(batch.len() as u64)
    }

    /// Deletes the records that were replayed from the letter. They are told apart by their seqs, not by the names of the
    /// files: a letter that was deleted gets the same names again when more records of its batch are given up.
    fn forget(&self, read: &DeadLetter) -> Result<()> {
        // Where the folder is gone, somebody else deleted it.
        let Some(folder) = self.folder()? else { return Ok(()) };
        let _changes = self.change(&*folder)?;
        let now = match self.get_in(&*folder, &read.id) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            now => now?,
        };
        let read: HashSet<u64> = read.records.iter().map(|record| record.seq).collect();
        if now.records.iter().all(|record| read.contains(&record.seq)) {
            return self.remove(&now.id, Some(&now));
        }
        let mut records = LetterRecords::of(&now)?;
        records.0.retain(|seq, _| !read.contains(seq));
        self.replace(&*folder, &now.id, &now.history(), &records, Some(&now), u64::MAX)
    }

    /// Claims a letter. Without this, two calls at once would both put its records, or one would put what the other has
    /// deleted.
    pub(super) fn claim<'a>(&'a self, id: &'a str) -> Result<Claim<'a>> {
        if self.fork.is_forked() {
            return Err(buffer::forked());
        }
        if lock(&self.replayed).insert(id.to_owned()) { Ok(Claim { letters: self, id }) } else { Err(in_use(id)) }
    }

    /// The same for other processes, and for others that were opened on the same letters. (One that grows meanwhile is another file, which
    /// another may replay from then on: what it then had is put by both.)
    pub(super) fn hold(&self, id: &str) -> Result<Option<Held>> {
        check_id(id)?;
        let Some(folder) = self.folder()? else { return Ok(None) };
        match folder.hold(Some(&json_of(id))) {
            Ok(None) => Err(in_use(id)),
            Ok(held) => Ok(held),
            // What is no file, or cannot be read, or has no locks: nobody replays it.
            Err(_) => Ok(None),
        }
    }

    /// The lock that is held while a letter is read and then replaced or deleted, by whichever process.
    pub(super) fn change(&self, folder: &dyn Directory) -> Result<Change<'_>> {
        if self.fork.is_forked() {
            return Err(buffer::forked());
        }
        let _in_process = lock(&self.changes);
        for _ in 0..TRIES {
            match folder.hold(None) {
                Ok(None) => thread::sleep(TRY),
                Ok(held) => return Ok(Change { _held: held, _in_process }),
                // A filesystem that has no locks on directories.
                Err(_) => return Ok(Change { _held: None, _in_process }),
            }
        }
        let message = format!("another process changes the dead letters in {}", folder.path().display());
        Err(Error::new(ErrorKind::InUse, message))
    }
}

#[cold]
fn in_use(id: &str) -> Error {
    Error::new(ErrorKind::InUse, format!("dead letter {id} is being replayed or deleted by another call"))
}
