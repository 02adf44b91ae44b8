//! Replaying a letter: its records are put again, then it is deleted.

use std::collections::HashSet;

use super::file::LetterRecords;
use super::write::not_written;
use super::{DeadLetter, DeadLetters};
use crate::buffer;
use crate::error::{Error, ErrorKind, Result};
use crate::platform::lock;
use crate::platform::sync::MutexGuard;

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
    /// letter meanwhile stay in it. Beside a live producer use its own
    /// [`dead_letters`](crate::Producer::dead_letters): those that are opened by path do not wait while it adds to one.
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
        let _changes = self.change()?;
        let now = match self.get_here(&read.id) {
            // Somebody else deleted it.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            now => now?,
        };
        let read: HashSet<u64> = read.records.iter().map(|record| record.seq).collect();
        if now.records.iter().all(|record| read.contains(&record.seq)) {
            return self.remove(&now.id, Some(&now));
        }
        let mut records = LetterRecords::of(&now)?;
        records.0.retain(|seq, _| !read.contains(seq));
        let folder = self.location.open(false).map_err(|error| not_written(&now.id, error))?;
        self.replace(&*folder, &now.id, &now.history(), &records, Some(&now), u64::MAX)
    }

    /// Claims a letter. Without this, two calls at once would both put its records, or one would put what the other has
    /// deleted.
    pub(super) fn claim<'a>(&'a self, id: &'a str) -> Result<Claim<'a>> {
        if self.fork.is_forked() {
            return Err(buffer::forked());
        }
        if lock(&self.replayed).insert(id.to_owned()) {
            return Ok(Claim { letters: self, id });
        }
        Err(Error::new(ErrorKind::InUse, format!("dead letter {id} is being replayed or deleted by another call")))
    }

    /// The lock that is held while a letter is read and then replaced or deleted.
    pub(super) fn change(&self) -> Result<MutexGuard<'_, ()>> {
        if self.fork.is_forked() { Err(buffer::forked()) } else { Ok(lock(&self.changes)) }
    }
}
