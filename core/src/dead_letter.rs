//! Dead letters: what was given up on, kept with the reasons until somebody replays or deletes it.
//!
//! `dead-letters/<batch id>.json` says what and why; the file that it names holds the records. The JSON is
//! renamed into place last, so a letter is there whole or not at all.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use serde_json::{Value, json};

use crate::batch::{Batch, Entry, Piece};
use crate::buffer::cursor::Progress;
use crate::buffer::format::{self, BatchId, Body, Head, Kind};
use crate::buffer::storage::{self, Chunk, Disk, Open, OsDisk};
use crate::environment::lock;
use crate::error::{Error, ErrorKind, Result};
use crate::record::{micros, timestamp};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU64, Ordering};

/// The folder's name in the buffer's directory.
const FOLDER: &str = "dead-letters";
/// What is appended to the names of files that are not what was written.
const DAMAGED: &str = ".damaged";
const RECORDS_MAGIC: [u8; 8] = *b"unidead\n";
const RECORDS_HEADER_BYTES: usize = 16;
/// No file of a letter is longer: a batch has at most 1 GiB.
const MOST_BYTES: u64 = 2 << 30;

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
    records_file: PathBuf,
    disk: Letterbox,
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

/// The dead letters of a buffer. Opening them takes no lock: they can be looked at beside a live producer.
#[derive(Clone, Debug)]
pub struct DeadLetters {
    dir: PathBuf,
    disk: Letterbox,
    usage: Arc<Usage>,
    /// Held while a letter is read to be written anew or deleted.
    changes: Arc<Mutex<()>>,
}

/// The disk, printable for the types that hold it.
#[derive(Clone)]
struct Letterbox(Arc<dyn Disk>);

impl std::fmt::Debug for Letterbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Disk")
    }
}

#[derive(Debug, Default)]
struct Usage {
    letters: AtomicU64,
    bytes: AtomicU64,
}

/// What a producer gives up on.
pub(crate) struct Burial<'a> {
    pub(crate) batch: &'a Batch,
    pub(crate) story: Story,
    /// Indices in the batch, with the reason and whether the sink rejected it.
    pub(crate) records: Vec<(usize, String, bool)>,
}

/// What a letter tells of its batch.
pub(crate) struct Story {
    pub(crate) sink: String,
    pub(crate) attempts: u32,
    pub(crate) first_attempt: i64,
    pub(crate) last_attempt: i64,
    pub(crate) created_at: i64,
    pub(crate) errors: Vec<String>,
}

/// The records of a letter by seq, each as its frame and as what the JSON says of it.
#[derive(Default)]
struct Dead(BTreeMap<u64, (Vec<u8>, Value)>);

impl Dead {
    fn of(letter: &DeadLetter) -> Result<Dead> {
        let mut dead = Dead::default();
        let batch = letter.batch()?;
        batch.iter().zip(&letter.records).for_each(|(record, known)| dead.add(&record, &known.reason, known.rejected));
        Ok(dead)
    }

    fn add(&mut self, record: &crate::Record<'_>, reason: &str, rejected: bool) {
        let entry = json!({"seq": record.seq, "id": record.id(), "reason": reason, "rejected": rejected});
        self.0.insert(record.seq, (frame(record), entry));
    }

    /// The bytes of the records' file.
    fn file(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(RECORDS_HEADER_BYTES);
        bytes.extend_from_slice(&RECORDS_MAGIC);
        bytes.extend_from_slice(&format::VERSION.to_le_bytes());
        bytes.extend_from_slice(&0u32.to_le_bytes()); // feature flags, none yet
        self.0.values().for_each(|(frame, _)| bytes.extend_from_slice(frame));
        bytes
    }
}

impl DeadLetters {
    /// The dead letters of the buffer in `buffer_dir`.
    pub fn open(buffer_dir: impl AsRef<Path>) -> DeadLetters {
        DeadLetters::open_on(Arc::new(OsDisk), buffer_dir.as_ref())
    }

    pub(crate) fn open_on(disk: Arc<dyn Disk>, buffer_dir: &Path) -> DeadLetters {
        DeadLetters {
            dir: buffer_dir.join(FOLDER),
            disk: Letterbox(disk),
            usage: Arc::default(),
            changes: Arc::default(),
        }
    }

    /// All letters, those of the oldest records first. One that is damaged is left out; [`get`](Self::get) says what
    /// is wrong with it.
    ///
    /// # Errors
    /// `Io` if the folder cannot be read.
    pub fn list(&self) -> Result<Vec<DeadLetter>> {
        let mut letters = Vec::new();
        for id in self.ids()? {
            match self.get(&id) {
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
        let path = self.dir.join(format!("{id}.json"));
        let text = match read(&*self.disk.0, &path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(not_found(id)),
            Err(error) => return Err(Error::io(format_args!("could not read dead letter {id}"), error)),
        };
        let damaged = |what: &str| {
            let message = format!("dead letter {id} is damaged ({what}); its files are in {}", self.dir.display());
            Error::new(ErrorKind::Io, message)
        };
        let value: Value = serde_json::from_slice(&text).map_err(|error| damaged(&error.to_string()))?;
        let mut letter = self.parse(id, &value).ok_or_else(|| damaged("a field is missing"))?;
        // What is there, whatever the letter says of it: the cap is about disk.
        let records = match self.disk.0.open(&letter.records_file, Open::Read).and_then(|file| file.len()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            result => result.map_err(|error| Error::io(format_args!("could not read dead letter {id}"), error))?,
        };
        letter.bytes = text.len() as u64 + records;
        Ok(letter)
    }

    /// Deletes a letter and its records: all that is in it now, also what was added since it was listed.
    /// [`replay`](Self::replay) is what deletes only what it has read.
    ///
    /// # Errors
    /// `NotFound`; `Io` from the disk.
    pub fn delete(&self, id: &str) -> Result<()> {
        let _changes = lock(&self.changes);
        let letter = match self.get(id) {
            // One that cannot be read can still be deleted.
            Err(error) if error.kind() != ErrorKind::Io => return Err(error),
            result => result.ok(),
        };
        self.remove(id, letter.as_ref())
    }

    fn remove(&self, id: &str, letter: Option<&DeadLetter>) -> Result<()> {
        let failed = |error| Error::io(format_args!("could not delete dead letter {id}"), error);
        let disk = &*self.disk.0;
        disk.remove(&self.dir.join(format!("{id}.json"))).and_then(|()| disk.sync_dir(&self.dir)).map_err(failed)?;
        // One that cannot be read was counted, with no bytes.
        self.usage.sub(letter.map_or(0, |letter| letter.bytes));
        letter.map_or(Ok(()), |letter| disk.remove(&letter.records_file).map_err(failed))
    }

    /// Puts every record of a letter again with `put`, in order, with its id, key and time; then `done`, which
    /// must make them durable; then deletes the letter. Returns how many were put. Records that are buried in the same
    /// letter meanwhile stay in it. Beside a live producer use its own
    /// [`dead_letters`](crate::Producer::dead_letters): those that are opened by path do not wait while it adds to one.
    ///
    /// # Errors
    /// Those of `put` and `done`. The letter is still there then; what was put before is delivered twice if it
    /// is replayed again.
    pub fn replay(
        &self,
        id: &str,
        mut put: impl FnMut(crate::NewRecord<'_>) -> Result<u64>,
        done: impl FnOnce() -> Result<()>,
    ) -> Result<u64> {
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
        let _changes = lock(&self.changes);
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
        self.write(&now.id, &now.story(), &dead, Some(&now), u64::MAX)
    }

    fn ids(&self) -> Result<Vec<String>> {
        let names = match self.disk.0.list(&self.dir) {
            Ok(names) => names,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(Error::io("could not list the dead letters", error)),
        };
        Ok(names.iter().filter_map(|name| name.strip_suffix(".json").map(str::to_owned)).collect())
    }

    /// Letters there are and the disk they take, as of the last scan and what was written since.
    pub(crate) fn usage(&self) -> (u64, u64) {
        (self.usage.letters.load(Ordering::Relaxed), self.usage.bytes.load(Ordering::Relaxed))
    }

    /// Counts what is there and, for the owner of the buffer, removes what a crash left half-written.
    pub(crate) fn scan(&self, clean_up: bool) -> Result<()> {
        let failed = |error| Error::io("could not scan the dead letters", error);
        let (mut count, mut bytes, mut named) = (0, 0, Vec::new());
        for id in self.ids()? {
            count += 1;
            if let Ok(letter) = self.get(&id) {
                bytes += letter.bytes;
                named.push(letter.records_file);
            }
        }
        self.usage.letters.store(count, Ordering::Relaxed);
        self.usage.bytes.store(bytes, Ordering::Relaxed);
        if clean_up {
            let names = match self.disk.0.list(&self.dir) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                names => names.map_err(failed)?,
            };
            // A letter that cannot be read may own any of the records: then none are removed.
            let all_read = named.len() as u64 == count;
            let is_left_over = |name: &str, path: &PathBuf| {
                name.ends_with(".tmp") || (name.ends_with(".records") && all_read && !named.contains(path))
            };
            let paths = names.iter().map(|name| (name, self.dir.join(name)));
            let left_over: Vec<PathBuf> =
                paths.filter(|(name, path)| is_left_over(name, path)).map(|(_, path)| path).collect();
            if !left_over.is_empty() {
                // The process may have died before the name of a letter was durable that took the place of another:
                // the records of that other one must not go first.
                self.disk.0.sync_dir(&self.dir).map_err(failed)?;
            }
            for path in left_over {
                self.disk.0.remove(&path).map_err(failed)?;
            }
        }
        Ok(())
    }

    /// Writes records of a batch, in addition to those that are there of it. It is durable on return, whatever the
    /// durability mode: the commit that follows may become durable at any time, and then this is their only place.
    pub(crate) fn bury(&self, burial: &Burial<'_>, cap: u64) -> Result<()> {
        let id = burial.batch.id();
        let failed = |error| Error::io(format_args!("could not write dead letter {id}"), error);
        storage::create_dir(&*self.disk.0, &self.dir).map_err(failed)?;
        let _changes = lock(&self.changes);
        let existing = match self.get(&id).and_then(|letter| Ok((Dead::of(&letter)?, letter))) {
            Ok(existing) => Some(existing),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) if is_damage(&error) => {
                self.set_aside(&id).map_err(failed)?;
                self.scan(false)?; // it is no letter any more
                None
            }
            Err(error) => return Err(error),
        };
        let (mut dead, existing) = existing.map_or_else(Default::default, |(dead, letter)| (dead, Some(letter)));
        for (index, reason, rejected) in &burial.records {
            if let Some(record) = burial.batch.get(*index) {
                // What is buried again after a crash replaces what it left.
                dead.add(&record, reason, *rejected);
            }
        }
        self.write(&id, &burial.story, &dead, existing.as_ref(), cap)
    }

    /// Writes a letter in place of the one that is there.
    fn write(&self, id: &str, story: &Story, dead: &Dead, existing: Option<&DeadLetter>, cap: u64) -> Result<()> {
        let disk = &*self.disk.0;
        let failed = |error| Error::io(format_args!("could not write dead letter {id}"), error);
        let records = dead.file();
        let number = existing.map_or(0, |letter| number_of(&letter.records_file).wrapping_add(1));
        let records_name = format!("{id}.{number}.records");
        let letter = json!({
            "batch_id": id,
            "sink": story.sink,
            "attempts": story.attempts,
            "first_attempt": timestamp(story.first_attempt),
            "last_attempt": timestamp(story.last_attempt),
            "created_at": timestamp(story.created_at),
            "errors": story.errors,
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
        let records_path = self.dir.join(&records_name);
        let path = self.dir.join(format!("{id}.json"));
        let temporary = self.dir.join(format!("{id}.json.tmp"));
        let write = |path: &Path, bytes: &[u8]| {
            let file = disk.open(path, Open::Truncate)?;
            file.write_at(bytes, 0)?;
            file.sync()
        };
        let sync_names = || disk.sync_dir(&self.dir);
        // The name of the records is durable before that of the letter which points to them.
        let written = write(&records_path, &records)
            .and_then(|()| write(&temporary, &text))
            .and_then(|()| sync_names())
            .and_then(|()| disk.rename(&temporary, &path))
            .and_then(|()| sync_names());
        if let Err(error) = written {
            let _ = disk.remove(&temporary);
            return Err(failed(error));
        }
        if let Some(letter) = existing {
            self.usage.sub(letter.bytes);
            let _ = disk.remove(&letter.records_file);
        }
        self.usage.letters.fetch_add(1, Ordering::Relaxed);
        self.usage.bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    /// Keeps the files of a damaged letter for whoever wants to look at them, out of the way of a new one.
    fn set_aside(&self, id: &str) -> io::Result<()> {
        let disk = &*self.disk.0;
        let (prefix, json) = (format!("{id}."), format!("{id}.json"));
        let names = disk.list(&self.dir)?;
        let is_its = |name: &&String| name.starts_with(&prefix) && !name.ends_with(DAMAGED);
        let aside = |name: &str| {
            let mut aside = format!("{name}{DAMAGED}");
            while names.contains(&aside) {
                aside.push_str(DAMAGED); // that of an earlier letter stays
            }
            disk.rename(&self.dir.join(name), &self.dir.join(aside))
        };
        // The JSON last: records that no letter names are cleared away.
        names.iter().filter(is_its).filter(|name| **name != json).try_for_each(|name| aside(name))?;
        disk.sync_dir(&self.dir)?;
        if names.contains(&json) { aside(&json) } else { Ok(()) }
    }

    fn parse(&self, id: &str, value: &Value) -> Option<DeadLetter> {
        let text = |key: &str| value[key].as_str().map(str::to_owned);
        let time = |key: &str| {
            let time = humantime::parse_rfc3339(value[key].as_str()?).unwrap_or(UNIX_EPOCH);
            Some(micros(time))
        };
        let records_name = text("records_file")?;
        check_id(&records_name).ok()?;
        let records = value["records"].as_array()?.iter().map(|record| {
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
            records_file: self.dir.join(records_name),
            disk: self.disk.clone(),
        })
    }
}

impl Usage {
    fn sub(&self, bytes: u64) {
        let less = |count: u64| move |have: u64| Some(have.saturating_sub(count));
        let _ = self.letters.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less(1));
        let _ = self.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less(bytes));
    }
}

impl DeadLetter {
    fn story(&self) -> Story {
        Story {
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
        let bytes = read(&*self.disk.0, &self.records_file).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => self.damaged("missing; they were in"),
            _ => Error::io(format_args!("could not read the records of dead letter {}", self.id), error),
        })?;
        let damaged = || self.damaged("damaged; what is left of them is in");
        if bytes.len() < RECORDS_HEADER_BYTES || bytes[..8] != RECORDS_MAGIC {
            return Err(damaged());
        }
        let (version, flags) = (format::le_u32(&bytes, 8), format::le_u32(&bytes, 12));
        if version != format::VERSION || flags != 0 {
            let message = format!("dead letter {} has format version {version}, flags {flags:#x}", self.id);
            return Err(Error::new(ErrorKind::UnsupportedFormat, message));
        }
        let mut entries = Vec::with_capacity(self.records.len());
        let mut at = RECORDS_HEADER_BYTES;
        for dead in &self.records {
            let frame = format::decode(bytes.get(at..).unwrap_or(&[]), 0).map_err(|_| damaged())?;
            if frame.seq != dead.seq {
                return Err(damaged());
            }
            entries.push(Entry { piece: 0, offset: at as u32, place: entries.len() as u32 });
            at += frame.padded;
        }
        let id = parse_id(&self.id).unwrap_or(BatchId { buffer_id: 0, epoch: 0, first_seq: 0 });
        let progress = Progress { attempts: self.attempts, ..Progress::default() };
        Ok(Batch {
            id,
            last_seq: self.records.last().map(|record| record.seq).unwrap_or_default(),
            progress,
            pieces: vec![Piece { chunk: Chunk::Heap(bytes.into()), salt: 0 }],
            entries,
        })
    }

    /// Why the records are not what the letter says: it is damaged only if it is still there. If not, what stands
    /// under its names is of another.
    fn damaged(&self, how: &str) -> Error {
        let dir = self.records_file.parent().unwrap_or(Path::new(""));
        let now =
            DeadLetters { dir: dir.into(), disk: self.disk.clone(), usage: Arc::default(), changes: Arc::default() };
        match now.get(&self.id) {
            Err(error) => error,
            Ok(now) if now.records_file == self.records_file && now.records == self.records => {
                let file = self.records_file.display();
                Error::new(ErrorKind::Io, format!("the records of dead letter {} are {how} {file}", self.id))
            }
            Ok(_) => Error::new(ErrorKind::NotFound, format!("dead letter {} has changed since it was read", self.id)),
        }
    }
}

/// A record as a frame of a records file.
fn frame(record: &crate::Record<'_>) -> Vec<u8> {
    let body = Body { id: record.own_id(), key: record.key, data: record.data };
    let head = Head { kind: Kind::Record, seq: record.seq, created_at: record.created_at };
    format::frame(head, &body, 0)
}

fn read(disk: &dyn Disk, path: &Path) -> io::Result<Vec<u8>> {
    let file = disk.open(path, Open::Read)?;
    // What is longer than any letter is cut, and found to be damaged.
    let mut bytes = vec![0; file.len()?.min(MOST_BYTES) as usize];
    let got = file.read_at(&mut bytes, 0)?;
    bytes.truncate(got);
    Ok(bytes)
}

/// The number in `<batch id>.<number>.records`.
fn number_of(path: &Path) -> u64 {
    let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    stem.rsplit('.').next().and_then(|number| number.parse().ok()).unwrap_or_default()
}

fn parse_id(id: &str) -> Option<BatchId> {
    let mut parts = id.split('-');
    let buffer_id = u64::from_str_radix(parts.next()?, 16).ok()?;
    let epoch = parts.next()?.parse().ok()?;
    let first_seq = parts.next()?.parse().ok()?;
    Some(BatchId { buffer_id, epoch, first_seq })
}

/// An id becomes a file name: it must not lead out of the folder.
fn check_id(id: &str) -> Result<()> {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    if id.is_empty() || id.starts_with('.') || !id.chars().all(fits) {
        return Err(not_found(id));
    }
    Ok(())
}

fn not_found(id: &str) -> Error {
    Error::new(ErrorKind::NotFound, format!("there is no dead letter {id:?}"))
}

/// Whether an error is about the contents of a letter, not about reading them.
fn is_damage(error: &Error) -> bool {
    error.kind() == ErrorKind::Io && error.cause().is_none()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::buffer::storage::Holder;
    use crate::{Limits, NewRecord, Producer, Report, SendError};

    /// The disk, and what happens once before the records of a letter are opened for the second time.
    struct Between<F> {
        openings: AtomicU64,
        happens: F,
    }

    impl<F: Fn() + Send + Sync> Disk for Between<F> {
        fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn storage::File>> {
            let is_records = path.extension().is_some_and(|extension| extension == "records");
            if is_records && how == Open::Read && self.openings.fetch_add(1, Ordering::Relaxed) == 1 {
                (self.happens)();
            }
            OsDisk.open(path, how)
        }
        fn create_dir(&self, dir: &Path) -> io::Result<()> {
            OsDisk.create_dir(dir)
        }
        fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
            OsDisk.list(dir)
        }
        fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
            OsDisk.rename(from, to)
        }
        fn remove(&self, path: &Path) -> io::Result<()> {
            OsDisk.remove(path)
        }
        fn sync_dir(&self, dir: &Path) -> io::Result<()> {
            OsDisk.sync_dir(dir)
        }
        fn lock(&self, path: &Path) -> io::Result<std::result::Result<Box<dyn Send + Sync>, Holder>> {
            OsDisk.lock(path)
        }
        fn boot_id(&self) -> u64 {
            OsDisk.boot_id()
        }
        fn may_map(&self, dir: &Path) -> io::Result<bool> {
            OsDisk.may_map(dir)
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
            let disk = Between { openings: AtomicU64::new(0), happens };
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
}
