//! How many letters there are, the disk they take, and what a crash has left over.

use std::collections::HashMap;

use super::DeadLetters;
use super::file::{self, json_of, parse_id};
use crate::error::{Error, Result};
use crate::platform::Open;
use crate::platform::sync::atomic::{AtomicU64, Ordering};

/// Letters there are and the disk they take, as of the last scan and what was written since.
#[derive(Debug, Default)]
pub(super) struct Usage {
    letters: AtomicU64,
    bytes: AtomicU64,
}

impl Usage {
    pub(super) fn set(&self, letters: u64, bytes: u64) {
        self.letters.store(letters, Ordering::Relaxed);
        self.bytes.store(bytes, Ordering::Relaxed);
    }

    pub(super) fn remove(&self, bytes: u64) {
        let less = |count: u64| move |have: u64| Some(have.saturating_sub(count));
        let _ = self.letters.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less(1));
        let _ = self.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less(bytes));
    }

    pub(super) fn add(&self, bytes: u64) {
        self.letters.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> (u64, u64) {
        (self.letters.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed))
    }
}

impl DeadLetters {
    pub(crate) fn usage(&self) -> (u64, u64) {
        self.usage.get()
    }

    /// Counts what is there and, for the owner of the buffer, removes what a crash left half-written. One look at the
    /// folder's names: a letter is read only where more than one file of records has its name.
    pub(crate) fn scan(&self, clean_up: bool) -> Result<()> {
        let failed = |error| Error::io("could not scan the dead letters", error);
        let Some(folder) = self.folder()? else {
            self.usage.set(0, 0);
            return Ok(());
        };
        let names = folder.list().map_err(failed)?;
        let mut letters: HashMap<&str, Vec<&str>> = HashMap::new();
        for id in names.iter().filter_map(|name| name.strip_suffix(".json")) {
            letters.insert(id, Vec::new());
        }
        let mut left_over = Vec::new();
        for name in &names {
            match file::id_of_records(name) {
                Some(id) if letters.contains_key(id) => letters.entry(id).or_default().push(name),
                // Files with other names are not ours to remove.
                id if id.and_then(parse_id).is_some() || file::is_temporary(name) => left_over.push(name.as_str()),
                _ => {}
            }
        }
        let mut bytes = 0;
        for (id, files) in &letters {
            let mut own = files.clone();
            if files.len() > 1
                && let Ok(letter) = self.get_in(&*folder, id)
            {
                // If the letter cannot be read, any of the files may hold its records, so all of them stay.
                own.retain(|name| *name == letter.records_file);
                left_over.extend(files.iter().filter(|name| !own.contains(name)));
            }
            for name in own.into_iter().chain([json_of(id).as_str()]) {
                // A file that was deleted meanwhile, or cannot be opened, counts no bytes.
                bytes += folder.open(name, Open::Read).and_then(|file| file.len()).unwrap_or(0);
            }
        }
        self.usage.set(letters.len() as u64, bytes);
        if clean_up && !left_over.is_empty() {
            // A process that died while it replaced a letter may have left the new name not yet durable. Make it so before
            // the old letter's records are removed; else a power loss could bring the old letter back without them.
            folder.sync().map_err(failed)?;
            for name in left_over {
                // If it cannot be removed (it may be a directory), it does no harm: nothing reads it.
                let _ = folder.remove(name);
            }
        }
        Ok(())
    }
}
