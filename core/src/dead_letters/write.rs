//! Writing a letter: the file of its records first, then its JSON, which is renamed into place.

use std::io;

use serde_json::json;

use super::file::{self, LetterRecords, json_of, number_of, records_of};
use super::{DeadLetter, DeadLetters, is_damage};
use crate::batch::Batch;
use crate::error::{Error, ErrorKind, Result};
use crate::platform::{Directory, Open};
use crate::time::timestamp;

/// Records of a batch that a producer gives up on.
pub(crate) struct Undelivered<'a> {
    pub(crate) batch: &'a Batch,
    pub(crate) history: AttemptHistory,
    /// Each by its index in the batch, with the reason and whether the sink rejected it.
    pub(crate) records: Vec<(usize, String, bool)>,
}

/// What a letter says of the attempts at its batch.
pub(crate) struct AttemptHistory {
    pub(crate) sink: String,
    pub(crate) attempts: u32,
    pub(crate) first_attempt: i64,
    pub(crate) last_attempt: i64,
    pub(crate) created_at: i64,
    pub(crate) errors: Vec<String>,
}

impl DeadLetters {
    /// Writes records of a batch, in addition to those that are there of it. It is durable on return, whatever the
    /// durability mode: the commit that follows may become durable at any time, and then this is their only place.
    pub(crate) fn write(&self, undelivered: &Undelivered<'_>, cap: u64) -> Result<()> {
        let id = undelivered.batch.id();
        let failed = |error| not_written(&id, error);
        let folder = self.location.open(true).map_err(failed)?;
        let _changes = self.change(&*folder)?;
        let existing = match self.get_in(&*folder, &id).and_then(|letter| Ok((LetterRecords::of(&letter)?, letter))) {
            Ok(existing) => Some(existing),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) if is_damage(&error) => {
                file::set_aside(&*folder, &id).map_err(failed)?;
                self.scan(false)?; // count again without it
                None
            }
            Err(error) => return Err(error),
        };
        let (mut records, existing) =
            existing.map_or_else(Default::default, |(records, letter)| (records, Some(letter)));
        for (index, reason, rejected) in &undelivered.records {
            if let Some(record) = undelivered.batch.get(*index) {
                // After a crash the letter may have this record already; then this replaces it.
                records.add(&record, reason, *rejected);
            }
        }
        self.replace(&*folder, &id, &undelivered.history, &records, existing.as_ref(), cap)
    }

    /// Writes a letter in place of the one that is there.
    pub(super) fn replace(
        &self,
        folder: &dyn Directory,
        id: &str,
        history: &AttemptHistory,
        records: &LetterRecords,
        existing: Option<&DeadLetter>,
        cap: u64,
    ) -> Result<()> {
        let failed = |error| not_written(id, error);
        let bytes_of_records = records.file();
        let number = existing.and_then(|letter| number_of(id, &letter.records_file));
        let records_name = records_of(id, number.map_or(0, |number| number.wrapping_add(1)));
        let letter = json!({
            "batch_id": id,
            "sink": history.sink,
            "attempts": history.attempts,
            "first_attempt": timestamp(history.first_attempt),
            "last_attempt": timestamp(history.last_attempt),
            "created_at": timestamp(history.created_at),
            "errors": history.errors,
            "records_file": records_name,
            "records_bytes": bytes_of_records.len(),
            "records": records.0.values().map(|(_, entry)| entry).collect::<Vec<_>>(),
        });
        let mut text = serde_json::to_vec_pretty(&letter).map_err(|error| failed(error.into()))?;
        text.push(b'\n');
        let bytes = (bytes_of_records.len() + text.len()) as u64;
        let replaced = existing.map_or(0, |letter| letter.bytes);
        // What other processes write is counted each time.
        let (letters_of_others, others) = self.usage_of_others()?;
        if self.usage().1.saturating_sub(replaced) + others + bytes > cap {
            // Another process may have deleted letters: count again before refusing.
            self.scan(false)?;
            let (letters, used) = self.usage();
            let (letters, used) = (letters + letters_of_others, used + others);
            if used.saturating_sub(replaced) + bytes > cap {
                let message = format!(
                    "the dead letters ({letters}, {used} bytes) would exceed max_dead_letter_bytes ({cap}); \
                     replay or delete some, then resume"
                );
                return Err(Error::new(ErrorKind::DeadLettersFull, message));
            }
        }
        let (name, temporary) = (json_of(id), format!("{}.tmp", json_of(id)));
        let write = |name: &str, bytes: &[u8]| {
            let file = folder.open(name, Open::New)?;
            file.write_at(bytes, 0)?;
            file.sync()
        };
        // Sync the folder before the rename, so that a letter never points to a records file whose name is not durable.
        let written = write(&records_name, &bytes_of_records)
            .and_then(|()| write(&temporary, &text))
            .and_then(|()| folder.sync())
            .and_then(|()| folder.rename(&temporary, &name))
            .and_then(|()| folder.sync());
        if let Err(error) = written {
            let _ = folder.remove(&temporary);
            return Err(failed(error));
        }
        if let Some(letter) = existing {
            self.usage.remove(letter.bytes);
            let _ = folder.remove(&letter.records_file);
        }
        self.usage.add(bytes);
        Ok(())
    }
}

#[cold]
fn not_written(id: &str, error: io::Error) -> Error {
    Error::io(format_args!("could not write dead letter {id}"), error)
}
