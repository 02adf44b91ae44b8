//! Dead letters: what was given up on, kept with the reasons until somebody replays or deletes it.
//!
//! `dead-letters/<batch id>.json` says what and why; the file that it names holds the records. The JSON is
//! renamed into place last, so a letter is there whole or not at all.

mod file;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::UNIX_EPOCH;

use serde_json::{Value, json};

use self::file::{Bad, Dead, json_of, number_of, parse_id, records_of};
use crate::batch::{Batch, BatchId, Entry, Piece, Progress};
use crate::buffer;
use crate::error::{Error, ErrorKind, Result};
use crate::options::Trust;
use crate::platform::sync::atomic::{AtomicU64, Ordering};
use crate::platform::sync::{Mutex, MutexGuard};
use crate::platform::{Chunk, Directory, Disk, ForkGuard, Open, OsDirectory, OsDisk, lock};
use crate::record::{micros, timestamp};

/// The folder's name in the buffer's directory.
const FOLDER: &str = "dead-letters";
/// No letter has more: the most that the option `max_records` may be.
const MOST_RECORDS: usize = 1_000_000;

/// A batch, or some records of one, that was given up on.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DeadLetter {
    /// The id of the batch, and of the letter: there is one letter a batch.
    pub id: String,
    /// The name of the sink.
    pub sink: String,
    /// Attempts that counted.
    pub attempts: u32,
    /// When the batch was first sent, in microseconds since the epoch.
    pub first_attempt: i64,
    /// When it was last sent.
    pub last_attempt: i64,
    /// When the letter was written.
    pub created_at: i64,
    /// The last errors, oldest first.
    pub errors: Vec<String>,
    /// The records by rising seq.
    pub records: Vec<DeadRecord>,
    /// Disk that the letter takes.
    pub bytes: u64,
    records_file: String,
    place: Place,
}

/// A record of a dead letter.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeadRecord {
    /// Its sequence number when it was put.
    pub seq: u64,
    /// Its id.
    pub id: String,
    /// Why it is here.
    pub reason: String,
    /// The sink rejected it for ever; otherwise the attempts were used up.
    pub rejected: bool,
}

/// The dead letters of a buffer. Opening them takes no lock: they can be looked at beside a live producer. A forked child
/// may look at its parent's; to change them it opens them itself.
#[derive(Clone, Debug)]
pub struct DeadLetters {
    place: Place,
    usage: Arc<Usage>,
    /// Held while a letter is read to be written anew or deleted.
    changes: Arc<Mutex<()>>,
    /// The letters that are being replayed.
    replayed: Arc<Mutex<BTreeSet<String>>>,
    fork: ForkGuard,
}

/// The right to replay a letter, which one at a time has.
struct Turn<'a> {
    letters: &'a DeadLetters,
    id: &'a str,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        lock(&self.letters.replayed).remove(self.id);
    }
}

/// Where the letters are: in a buffer's directory as long as it is open, else in the one that has its path.
#[derive(Clone)]
struct Place {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    buffer: Weak<dyn Directory>,
}

impl Place {
    /// The folder, which need not exist.
    fn open(&self, create: bool) -> io::Result<Arc<dyn Directory>> {
        match self.buffer.upgrade() {
            Some(buffer) => buffer.directory(FOLDER, create),
            None => self.disk.directory(&self.path, false, Trust::Anyone)?.directory(FOLDER, create),
        }
    }
}

impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.path.fmt(f)
    }
}

#[derive(Debug, Default)]
struct Usage {
    letters: AtomicU64,
    bytes: AtomicU64,
}

/// What a producer gives up on.
pub(crate) struct Undelivered<'a> {
    pub(crate) batch: &'a Batch,
    pub(crate) meta: LetterMeta,
    /// Indices in the batch, with the reason and whether the sink rejected it.
    pub(crate) records: Vec<(usize, String, bool)>,
}

/// What a letter tells of its batch.
pub(crate) struct LetterMeta {
    pub(crate) sink: String,
    pub(crate) attempts: u32,
    pub(crate) first_attempt: i64,
    pub(crate) last_attempt: i64,
    pub(crate) created_at: i64,
    pub(crate) errors: Vec<String>,
}

impl DeadLetters {
    /// The dead letters of the buffer in `buffer_dir`.
    pub fn open(buffer_dir: impl AsRef<Path>) -> DeadLetters {
        DeadLetters::open_on(Arc::new(OsDisk), buffer_dir.as_ref())
    }

    pub(crate) fn open_on(disk: Arc<dyn Disk>, buffer_dir: &Path) -> DeadLetters {
        // Where there is no current directory, a path that is not absolute leads nowhere now or later.
        let path = std::path::absolute(buffer_dir).unwrap_or_else(|_| buffer_dir.to_path_buf());
        DeadLetters::at(Place { disk, path, buffer: Weak::<OsDirectory>::new() })
    }

    /// The dead letters of a buffer that is open.
    pub(crate) fn of(disk: Arc<dyn Disk>, buffer: &Arc<dyn Directory>) -> DeadLetters {
        DeadLetters::at(Place { disk, path: buffer.path().to_path_buf(), buffer: Arc::downgrade(buffer) })
    }

    fn at(place: Place) -> DeadLetters {
        DeadLetters {
            place,
            usage: Arc::default(),
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
        let mut letters = Vec::new();
        let Some(folder) = self.folder()? else { return Ok(letters) };
        for id in ids(&*folder)? {
            match self.get_in(&*folder, &id) {
                Ok(letter) => letters.push(letter),
                // Replayed or deleted meanwhile.
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
        check_id(id)?;
        match self.folder()? {
            Some(folder) => self.get_in(&*folder, id),
            None => Err(not_found(id)),
        }
    }

    fn get_in(&self, folder: &dyn Directory, id: &str) -> Result<DeadLetter> {
        check_id(id)?;
        let bad = |bad| match bad {
            Bad::Io(error) if error.kind() == io::ErrorKind::NotFound => not_found(id),
            Bad::Io(error) => Error::io(format_args!("could not read dead letter {id}"), error),
            Bad::Damaged(what) => damaged(id, &what, folder),
            Bad::Unknown { version, flags } => unknown(id, version, flags),
        };
        let (value, bytes) = file::read_json(folder, id).map_err(bad)?;
        let mut letter = self.parse(id, &value).ok_or_else(|| damaged(id, "a field is missing or wrong", folder))?;
        // What is there, whatever the letter says of it: the cap is about disk.
        letter.bytes = bytes + file::records_length(folder, &letter.records_file).map_err(bad)?;
        Ok(letter)
    }

    /// Deletes a letter and its records: all that is in it now, also what was added since it was listed.
    /// [`replay`](Self::replay) is what deletes only what it has read.
    ///
    /// # Errors
    /// `NotFound`; `InUse` while it is replayed; `Io` from the disk.
    pub fn delete(&self, id: &str) -> Result<()> {
        let _turn = self.turn(id)?;
        let _changes = self.change()?;
        let letter = match self.get(id) {
            // One that cannot be read can still be deleted.
            Err(error) if error.kind() != ErrorKind::Io => return Err(error),
            result => result.ok(),
        };
        self.remove(id, letter.as_ref())
    }

    fn remove(&self, id: &str, letter: Option<&DeadLetter>) -> Result<()> {
        let failed = |error| Error::io(format_args!("could not delete dead letter {id}"), error);
        let folder = self.place.open(false).map_err(failed)?;
        folder.remove(&json_of(id)).and_then(|()| folder.sync()).map_err(failed)?;
        if let Some(letter) = letter {
            self.usage.sub(letter.bytes);
            return folder.remove(&letter.records_file).map_err(failed);
        }
        // Which are the records of one that cannot be read is not known: all that have its name.
        let names = folder.list().map_err(failed)?;
        let removed = names.iter().filter(|name| file::id_of_records(name) == Some(id)).map(|name| folder.remove(name));
        let removed = removed.fold(Ok(()), io::Result::and);
        self.scan(false)?;
        removed.map_err(failed)
    }

    /// Puts every record of a letter again with `put`, in order, with its id, key and time; then `done`, which
    /// must make them durable; then deletes the letter. Returns how many were put. Records that are buried in the same
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
        let _turn = self.turn(id)?;
        let (letter, batch) = loop {
            let letter = self.get(id)?;
            match letter.batch() {
                // Written anew, or deleted, since it was read: then there is another letter, or none.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                batch => break (letter, batch?),
            }
        };
        for record in batch.iter() {
            put(record.to_new())?;
        }
        done()?;
        self.forget(&letter)?;
        Ok(batch.len() as u64)
    }

    /// Deletes the records that were read from the letter. They are known by their seqs: the names of the letter and
    /// of its file come back when records of the batch are buried after it was deleted.
    fn forget(&self, read: &DeadLetter) -> Result<()> {
        let _changes = self.change()?;
        let now = match self.get(&read.id) {
            // Somebody else deleted it.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            now => now?,
        };
        let read: HashSet<u64> = read.records.iter().map(|record| record.seq).collect();
        if now.records.iter().all(|record| read.contains(&record.seq)) {
            return self.remove(&now.id, Some(&now));
        }
        let mut dead = Dead::of(&now)?;
        dead.0.retain(|seq, _| !read.contains(seq));
        let folder = self.place.open(false).map_err(|error| not_written(&now.id, error))?;
        self.replace(&*folder, &now.id, &now.meta(), &dead, Some(&now), u64::MAX)
    }

    /// Without it, two calls at once would both put the records of a letter, or one put what another has deleted.
    fn turn<'a>(&'a self, id: &'a str) -> Result<Turn<'a>> {
        if self.fork.is_forked() {
            return Err(buffer::forked());
        }
        if lock(&self.replayed).insert(id.to_owned()) {
            return Ok(Turn { letters: self, id });
        }
        Err(Error::new(ErrorKind::InUse, format!("dead letter {id} is being replayed or deleted by another call")))
    }

    fn change(&self) -> Result<MutexGuard<'_, ()>> {
        if self.fork.is_forked() { Err(buffer::forked()) } else { Ok(lock(&self.changes)) }
    }

    /// The folder, if there is one.
    fn folder(&self) -> Result<Option<Arc<dyn Directory>>> {
        match self.place.open(false) {
            Ok(folder) => Ok(Some(folder)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io("could not open the dead letters", error)),
        }
    }

    /// Letters there are and the disk they take, as of the last scan and what was written since.
    pub(crate) fn usage(&self) -> (u64, u64) {
        (self.usage.letters.load(Ordering::Relaxed), self.usage.bytes.load(Ordering::Relaxed))
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
                // What has another name than ours is not ours to remove.
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
                // Of one that cannot be read any of them may be the records: then all of them stay.
                own.retain(|name| *name == letter.records_file);
                left_over.extend(files.iter().filter(|name| !own.contains(name)));
            }
            for name in own.into_iter().chain([json_of(id).as_str()]) {
                // Replayed or deleted meanwhile; or one that cannot be looked at, which still counts as a letter.
                bytes += folder.open(name, Open::Read).and_then(|file| file.len()).unwrap_or(0);
            }
        }
        self.usage.set(letters.len() as u64, bytes);
        if clean_up && !left_over.is_empty() {
            // The process may have died before the name of a letter was durable that took the place of another: the
            // records of that other one must not go first.
            folder.sync().map_err(failed)?;
            for name in left_over {
                // Nothing reads it. What cannot be removed, a directory of such a name, say, is in nobody's way.
                let _ = folder.remove(name);
            }
        }
        Ok(())
    }

    /// Writes records of a batch, in addition to those that are there of it. It is durable on return, whatever the
    /// durability mode: the commit that follows may become durable at any time, and then this is their only place.
    pub(crate) fn write(&self, undelivered: &Undelivered<'_>, cap: u64) -> Result<()> {
        let id = undelivered.batch.id();
        let failed = |error| not_written(&id, error);
        let folder = self.place.open(true).map_err(failed)?;
        let _changes = self.change()?;
        let existing = match self.get_in(&*folder, &id).and_then(|letter| Ok((Dead::of(&letter)?, letter))) {
            Ok(existing) => Some(existing),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) if is_damage(&error) => {
                file::set_aside(&*folder, &id).map_err(failed)?;
                self.scan(false)?; // it is no letter any more
                None
            }
            Err(error) => return Err(error),
        };
        let (mut dead, existing) = existing.map_or_else(Default::default, |(dead, letter)| (dead, Some(letter)));
        for (index, reason, rejected) in &undelivered.records {
            if let Some(record) = undelivered.batch.get(*index) {
                // What is buried again after a crash replaces what it left.
                dead.add(&record, reason, *rejected);
            }
        }
        self.replace(&*folder, &id, &undelivered.meta, &dead, existing.as_ref(), cap)
    }

    /// Writes a letter in place of the one that is there.
    fn replace(
        &self,
        folder: &dyn Directory,
        id: &str,
        meta: &LetterMeta,
        dead: &Dead,
        existing: Option<&DeadLetter>,
        cap: u64,
    ) -> Result<()> {
        let failed = |error| not_written(id, error);
        let records = dead.file();
        let number = existing.and_then(|letter| number_of(id, &letter.records_file));
        let records_name = records_of(id, number.map_or(0, |number| number.wrapping_add(1)));
        let letter = json!({
            "batch_id": id,
            "sink": meta.sink,
            "attempts": meta.attempts,
            "first_attempt": timestamp(meta.first_attempt),
            "last_attempt": timestamp(meta.last_attempt),
            "created_at": timestamp(meta.created_at),
            "errors": meta.errors,
            "records_file": records_name,
            "records_bytes": records.len(),
            "records": dead.0.values().map(|(_, entry)| entry).collect::<Vec<_>>(),
        });
        let mut text = serde_json::to_vec_pretty(&letter).map_err(|error| failed(error.into()))?;
        text.push(b'\n');
        let bytes = (records.len() + text.len()) as u64;
        let replaced = existing.map_or(0, |letter| letter.bytes);
        if self.usage().1.saturating_sub(replaced) + bytes > cap {
            // Somebody may have deleted letters from outside.
            self.scan(false)?;
            let (letters, used) = self.usage();
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
        // The name of the records is durable before that of the letter which points to them.
        let written = write(&records_name, &records)
            .and_then(|()| write(&temporary, &text))
            .and_then(|()| folder.sync())
            .and_then(|()| folder.rename(&temporary, &name))
            .and_then(|()| folder.sync());
        if let Err(error) = written {
            let _ = folder.remove(&temporary);
            return Err(failed(error));
        }
        if let Some(letter) = existing {
            self.usage.sub(letter.bytes);
            let _ = folder.remove(&letter.records_file);
        }
        self.usage.letters.fetch_add(1, Ordering::Relaxed);
        self.usage.bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    fn parse(&self, id: &str, value: &Value) -> Option<DeadLetter> {
        let text = |key: &str| value[key].as_str().map(str::to_owned);
        let time = |key: &str| {
            let time = humantime::parse_rfc3339(value[key].as_str()?).unwrap_or(UNIX_EPOCH);
            Some(micros(time))
        };
        let records_name = text("records_file")?;
        // Another file would be read as this letter's, and removed with it.
        number_of(id, &records_name)?;
        let records =
            value["records"].as_array().filter(|records| records.len() <= MOST_RECORDS)?.iter().map(|record| {
                Some(DeadRecord {
                    seq: record["seq"].as_u64()?,
                    id: record["id"].as_str()?.to_owned(),
                    reason: record["reason"].as_str()?.to_owned(),
                    rejected: record["rejected"].as_bool()?,
                })
            });
        Some(DeadLetter {
            id: id.to_owned(),
            sink: text("sink")?,
            attempts: u32::try_from(value["attempts"].as_u64()?).unwrap_or(u32::MAX),
            first_attempt: time("first_attempt")?,
            last_attempt: time("last_attempt")?,
            created_at: time("created_at")?,
            errors: value["errors"].as_array()?.iter().filter_map(|error| error.as_str().map(str::to_owned)).collect(),
            records: records.collect::<Option<_>>()?,
            bytes: 0,
            records_file: records_name,
            place: self.place.clone(),
        })
    }
}

impl Usage {
    fn set(&self, letters: u64, bytes: u64) {
        self.letters.store(letters, Ordering::Relaxed);
        self.bytes.store(bytes, Ordering::Relaxed);
    }

    fn sub(&self, bytes: u64) {
        let less = |count: u64| move |have: u64| Some(have.saturating_sub(count));
        let _ = self.letters.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less(1));
        let _ = self.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less(bytes));
    }
}

impl DeadLetter {
    fn meta(&self) -> LetterMeta {
        LetterMeta {
            sink: self.sink.clone(),
            attempts: self.attempts,
            first_attempt: self.first_attempt,
            last_attempt: self.last_attempt,
            created_at: self.created_at,
            errors: self.errors.clone(),
        }
    }

    /// The records themselves.
    ///
    /// # Errors
    /// `NotFound` if the letter was deleted or changed since it was read; `Io` if the records are missing, cannot be
    /// read or are not what was written; `UnsupportedFormat` for an unknown version.
    pub fn batch(&self) -> Result<Batch> {
        let folder = self.place.open(false).map_err(Bad::from);
        let seqs = self.records.iter().map(|record| record.seq);
        let read = folder.and_then(|folder| file::read_records(&*folder, &self.records_file, seqs));
        let (bytes, offsets) = read.map_err(|bad| match bad {
            Bad::Io(error) if error.kind() == io::ErrorKind::NotFound => self.damaged("missing; they were in"),
            Bad::Io(error) => Error::io(format_args!("could not read the records of dead letter {}", self.id), error),
            Bad::Damaged(_) => self.damaged("damaged; what is left of them is in"),
            Bad::Unknown { version, flags } => unknown(&self.id, version, flags),
        })?;
        let entries = offsets.into_iter().zip(0..).map(|(offset, place)| Entry { piece: 0, offset, place }).collect();
        let id = parse_id(&self.id).unwrap_or(BatchId { buffer_id: 0, epoch: 0, first_seq: 0 });
        let progress = Progress { attempts: self.attempts, ..Progress::default() };
        Ok(Batch {
            id,
            turn: None,
            last_seq: self.records.last().map(|record| record.seq).unwrap_or_default(),
            progress,
            pieces: vec![Piece { chunk: Chunk::Heap(bytes.into()), salt: 0 }],
            entries,
            fork: ForkGuard::new(),
        })
    }

    /// Why the records are not what the letter says: it is damaged only if it is still there. If not, what stands
    /// under its names is of another.
    fn damaged(&self, how: &str) -> Error {
        match DeadLetters::at(self.place.clone()).get(&self.id) {
            Err(error) => error,
            Ok(now) if now.records_file == self.records_file && now.records == self.records => {
                let file = self.place.path.join(FOLDER).join(&self.records_file);
                Error::new(
                    ErrorKind::Io,
                    format!("the records of dead letter {} are {how} {}", self.id, file.display()),
                )
            }
            Ok(_) => Error::new(ErrorKind::NotFound, format!("dead letter {} has changed since it was read", self.id)),
        }
    }
}

/// The ids of the letters in a folder.
fn ids(folder: &dyn Directory) -> Result<Vec<String>> {
    let names = folder.list().map_err(|error| Error::io("could not list the dead letters", error))?;
    Ok(names.iter().filter_map(|name| name.strip_suffix(".json").map(str::to_owned)).collect())
}

/// An id becomes a file name: it must not lead out of the folder.
fn check_id(id: &str) -> Result<()> {
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

fn unknown(id: &str, version: u32, flags: u32) -> Error {
    let message = format!("dead letter {id} has format version {version}, flags {flags:#x}");
    Error::new(ErrorKind::UnsupportedFormat, message)
}

#[cold]
fn not_written(id: &str, error: io::Error) -> Error {
    Error::io(format_args!("could not write dead letter {id}"), error)
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
