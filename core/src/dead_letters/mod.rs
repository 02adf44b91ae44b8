//! Dead letters: what was given up on, kept with the reasons until somebody replays or deletes it.
//!
//! `dead-letters/<batch id>.json` says what and why; the file that it names holds the records. The JSON is
//! renamed into place last, so a letter is there whole or not at all.

mod file;
mod letter;
mod location;
mod outbox;
mod replay;
mod usage;
mod write;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::Arc;

pub use self::letter::{DeadLetter, DeadRecord};
pub(crate) use self::write::{AttemptHistory, Undelivered};

use self::file::{ReadError, json_of};
use self::location::Location;
use self::outbox::{Member, Seen};
use self::usage::Usage;
use crate::error::{Error, ErrorKind, Result};
use crate::features;
use crate::platform::sync::Mutex;
use crate::platform::{Directory, Disk, ForkGuard, OsDisk};

/// The dead letters of a buffer, or of all slots of an outbox. Opening them takes no lock: they can be looked at beside a live producer. A forked child
/// may look at its parent's; to change them it opens them itself.
#[derive(Clone, Debug)]
pub struct DeadLetters {
    location: Location,
    /// If they may be an outbox's: then these are of one slot.
    member: Option<Member>,
    /// They are of another slot than the one that was asked for.
    is_other: bool,
    usage: Arc<Usage>,
    /// What was counted of those of other slots, by slot.
    seen: Arc<Mutex<BTreeMap<u64, Seen>>>,
    /// Held while a letter is read to be written anew or deleted; a lock on the folder keeps other processes from it.
    changes: Arc<Mutex<()>>,
    /// The letters that are being replayed or deleted.
    replayed: Arc<Mutex<BTreeSet<String>>>,
    fork: ForkGuard,
}

impl DeadLetters {
    /// The dead letters of the buffer in `buffer_dir`.
    pub fn open(buffer_dir: impl AsRef<Path>) -> DeadLetters {
        DeadLetters::open_on(Arc::new(OsDisk), buffer_dir.as_ref())
    }

    pub(crate) fn open_on(disk: Arc<dyn Disk>, buffer_dir: &Path) -> DeadLetters {
        // Without a current directory a relative path cannot be resolved, now or later: then keep it as it is.
        let path = std::path::absolute(buffer_dir).unwrap_or_else(|_| buffer_dir.to_path_buf());
        let location = Location::at(disk, path);
        DeadLetters::at(location.clone(), Some(Member { root: location, slot: 0 }))
    }

    /// The dead letters of a buffer that is open.
    pub(crate) fn of(disk: Arc<dyn Disk>, buffer: &Arc<dyn Directory>) -> DeadLetters {
        DeadLetters::at(Location::of(disk, buffer), None)
    }

    /// The dead letters of an outbox, by a slot of it that is open.
    pub(crate) fn of_slot(
        disk: Arc<dyn Disk>,
        buffer: &Arc<dyn Directory>,
        root: &Arc<dyn Directory>,
        slot: u64,
    ) -> DeadLetters {
        let member = Member { root: Location::of(disk.clone(), root), slot };
        DeadLetters::at(Location::of(disk, buffer), Some(member))
    }

    fn at(location: Location, member: Option<Member>) -> DeadLetters {
        DeadLetters {
            location,
            member,
            is_other: false,
            usage: Arc::default(),
            seen: Arc::default(),
            changes: Arc::default(),
            replayed: Arc::default(),
            fork: ForkGuard::new(),
        }
    }

    /// All letters, those of the oldest records first. One that is damaged is left out; [`get`](Self::get) says what
    /// is wrong with it.
    ///
    /// # Errors
    /// `Io` if the folder cannot be read.
    pub fn list(&self) -> Result<Vec<DeadLetter>> {
        let others = self.others()?;
        let mut letters = self.list_here()?;
        if !others.is_empty() {
            let own = self.member.as_ref().map_or(0, |member| member.slot);
            let mut all: Vec<_> = letters.into_iter().map(|letter| (own, letter)).collect();
            for other in &others {
                all.extend(other.list_here()?.into_iter().map(|letter| (other.location.slot, letter)));
            }
            // Seqs of two slots cannot be compared.
            all.sort_by_key(|(slot, letter)| {
                (letter.first_attempt, *slot, letter.records.first().map(|record| record.seq))
            });
            letters = all.into_iter().map(|(_, letter)| letter).collect();
        }
        Ok(letters)
    }

    fn list_here(&self) -> Result<Vec<DeadLetter>> {
        let mut letters = Vec::new();
        let Some(folder) = self.folder()? else { return Ok(letters) };
        for id in ids(&*folder)? {
            match self.get_in(&*folder, &id) {
                Ok(letter) => letters.push(letter),
                // It was replayed or deleted since the folder was listed, or is damaged.
                Err(error) if error.kind() == ErrorKind::NotFound || is_damage(&error) => {}
                Err(error) => return Err(error),
            }
        }
        letters.sort_by_key(|letter| letter.records.first().map(|record| record.seq));
        Ok(letters)
    }

    /// One letter.
    ///
    /// # Errors
    /// `NotFound`; `Io` if it cannot be read or is not a letter.
    pub fn get(&self, id: &str) -> Result<DeadLetter> {
        self.keeper(id)?.get_here(id)
    }

    fn get_here(&self, id: &str) -> Result<DeadLetter> {
        check_id(id)?;
        match self.folder()? {
            Some(folder) => self.get_in(&*folder, id),
            None => Err(not_found(id)),
        }
    }

    fn get_in(&self, folder: &dyn Directory, id: &str) -> Result<DeadLetter> {
        check_id(id)?;
        let bad = |bad| match bad {
            ReadError::Io(error) if error.kind() == io::ErrorKind::NotFound => not_found(id),
            ReadError::Io(error) => Error::io(format_args!("could not read dead letter {id}"), error),
            ReadError::Damaged(what) => damaged(id, &what, folder),
            ReadError::Unsupported { version, flags } => unsupported(id, version, flags),
        };
        let (value, bytes) = file::read_json(folder, id).map_err(bad)?;
        let mut letter = DeadLetter::parse(id, &value, &self.location)
            .ok_or_else(|| damaged(id, "a field is missing or wrong", folder))?;
        // The real size of the file, not what the JSON says: `max_dead_letter_bytes` is about disk space.
        letter.bytes = bytes + file::records_length(folder, &letter.records_file).map_err(bad)?;
        Ok(letter)
    }

    /// Deletes a letter and its records: all that is in it now, also what was added since it was listed.
    /// [`replay`](Self::replay) is what deletes only what it has read.
    ///
    /// # Errors
    /// `NotFound`; `InUse` while it is replayed; `Io` from the disk.
    pub fn delete(&self, id: &str) -> Result<()> {
        let _claim = self.claim(id)?;
        let keeper = self.keeper(id)?;
        let _held = keeper.hold(id)?;
        let Some(folder) = keeper.folder()? else { return Err(not_found(id)) };
        let _changes = keeper.change(&*folder)?;
        let letter = match keeper.get_in(&*folder, id) {
            // One that cannot be read can still be deleted.
            Err(error) if error.kind() != ErrorKind::Io => return Err(error),
            result => result.ok(),
        };
        keeper.remove(id, letter.as_ref())
    }

    fn remove(&self, id: &str, letter: Option<&DeadLetter>) -> Result<()> {
        let failed = |error| Error::io(format_args!("could not delete dead letter {id}"), error);
        let folder = self.location.open(false).map_err(failed)?;
        folder.remove(&json_of(id)).and_then(|()| folder.sync()).map_err(failed)?;
        if let Some(letter) = letter {
            self.usage.remove(letter.bytes);
            return folder.remove(&letter.records_file).map_err(failed);
        }
        // A letter that cannot be read does not tell which file has its records: remove all that carry its name.
        let names = folder.list().map_err(failed)?;
        let removed = names.iter().filter(|name| file::id_of_records(name) == Some(id)).map(|name| folder.remove(name));
        let removed = removed.fold(Ok(()), io::Result::and);
        self.scan(false)?;
        removed.map_err(failed)
    }

    /// The folder, if there is one.
    fn folder(&self) -> Result<Option<Arc<dyn Directory>>> {
        match self.location.open(false) {
            Ok(folder) => Ok(Some(folder)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            // Those of another user's slot are not in the list.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied && self.is_other => Ok(None),
            Err(error) => {
                let path = self.location.path.display();
                Err(Error::io(format_args!("could not open the dead letters of {path}"), error))
            }
        }
    }
}

/// The ids of the letters in a folder.
fn ids(folder: &dyn Directory) -> Result<Vec<String>> {
    let names = folder.list().map_err(|error| Error::io("could not list the dead letters", error))?;
    Ok(names.iter().filter_map(|name| name.strip_suffix(".json").map(str::to_owned)).collect())
}

/// An id becomes a file name: it must not lead out of the folder.
pub(crate) fn check_id(id: &str) -> Result<()> {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    if id.is_empty() || id.starts_with('.') || !id.chars().all(fits) {
        return Err(not_found(id));
    }
    Ok(())
}

fn damaged(id: &str, what: &str, folder: &dyn Directory) -> Error {
    let message = format!("dead letter {id} is damaged ({what}); its files are in {}", folder.path().display());
    Error::new(ErrorKind::Io, message)
}

fn unsupported(id: &str, version: u32, flags: u32) -> Error {
    features::unsupported(&format!("dead letter {id}"), version, flags)
}

fn not_found(id: &str) -> Error {
    Error::new(ErrorKind::NotFound, format!("there is no dead letter {id:?}"))
}

/// Whether an error is about the contents of a letter, not about reading them.
fn is_damage(error: &Error) -> bool {
    error.kind() == ErrorKind::Io && error.cause().is_none()
}

#[cfg(test)]
mod tests;
