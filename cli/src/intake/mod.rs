//! Files of lines into a buffer, each line once, however often the process dies and whatever else puts in between.
//!
//! In the buffer's directory, the file `intake` has notes, one a line, of which the last one about a file counts (and
//! `intake.lock` is empty, for one run at a time):
//!
//! ```text
//! SOURCE TAG LINES OFFSET SEQ DIGEST BOOT SYNCED
//! ```
//!
//! The first LINES lines of SOURCE (buffer, device, inode, how often the run names it) are in: OFFSET bytes with this
//! DIGEST. The next line, if it is in, has the seq SEQ, the one behind it the seq after that, and so on, because only the
//! owner of a buffer puts. So a run that goes on reads the buffer from SEQ on: a record is a line of the file if it has
//! the seq, the id and the bytes of that line. The id is TAG-NUMBER unless the line brings its own; TAG is random, so
//! that nothing that others put in between is taken for a line.
//!
//! Lines that were put behind the last note and are delivered already cannot be seen: they are put again, with the same
//! ids. When the machine has started anew since BOOT, power may have taken records: then only notes count that were
//! written after a sync (SYNCED is 1), and all lines behind them are put again.

mod lines;
mod notes;

use std::collections::HashMap;
use std::fmt;
use std::fs::{File, Metadata};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use unistream::{ErrorKind, Inspection};

pub(crate) use self::lines::{Lines, MOST};
use self::notes::{Note, Notes};

const BLOCK_LINES: u64 = 4096;
const BLOCK_BYTES: usize = 8 << 20;
const BLOCKS_PER_SYNC: u64 = 16;

/// What a line's record has beside the line itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields {
    /// The record's id; an intake gives one to a line that has none.
    pub id: Option<String>,
    /// The partition key.
    pub key: Option<Vec<u8>>,
    /// Where within the sink.
    pub topic: Option<String>,
    /// The headers.
    pub headers: Vec<(String, Vec<u8>)>,
    /// When it was made; the time of the put if it does not say.
    pub created_at: Option<i64>,
    /// When it expires.
    pub expires_at: Option<i64>,
    /// The payload, if that is not the line.
    pub data: Option<Vec<u8>>,
}

impl Fields {
    /// The payload of the record of this line.
    pub fn data<'a>(&'a self, line: &'a [u8]) -> &'a [u8] {
        self.data.as_deref().unwrap_or(line)
    }
}

/// Why an intake does not go on. `E` is the error of who runs it.
#[derive(Debug)]
pub enum Stop<E> {
    /// This line is one to stop at.
    BadLine(String),
    /// A file cannot be read or written; the message names it unless it is the input.
    Io(io::Error),
    /// The buffer cannot be read, or another process has the notes.
    Buffer(unistream::Error),
    /// What the host says.
    Host(E),
}

impl<E> From<io::Error> for Stop<E> {
    fn from(error: io::Error) -> Self {
        Stop::Io(error)
    }
}

impl<E> From<unistream::Error> for Stop<E> {
    fn from(error: unistream::Error) -> Self {
        Stop::Buffer(error)
    }
}

/// Who runs an intake: makes records of lines, and puts them.
pub trait Host {
    /// Its errors.
    type Error;

    /// What the record of a line has beside its data; `None` if the line is no record. Gets the line without its line
    /// feed, and its number from 1. It says the same of the same line again.
    ///
    /// # Errors
    /// `BadLine` for a line to stop at.
    fn fields(&mut self, line: &[u8], number: u64) -> Result<Option<Fields>, Stop<Self::Error>>;

    /// Puts a line as one record and returns its seq.
    ///
    /// # Errors
    /// Those of the put; `BadLine` for a line that cannot be a record.
    fn put(&mut self, line: &[u8], number: u64, fields: &Fields) -> Result<u64, Stop<Self::Error>>;

    /// Makes durable what was put.
    ///
    /// # Errors
    /// Those of the disk.
    fn sync(&mut self) -> Result<(), Stop<Self::Error>>;

    /// Tells the user a sentence.
    fn tell(&mut self, sentence: &str);
}

/// A place between two lines of a file, and the seq that the next line will have.
#[derive(Clone)]
struct Place {
    tag: String,
    lines: u64,
    offset: u64,
    seq: u64,
    hash: Sha256,
}

impl Place {
    fn start(tag: String, seq: u64) -> Place {
        Place { tag, lines: 0, offset: 0, seq, hash: Sha256::new() }
    }

    /// Goes behind the next line.
    fn pass(&mut self, line: &[u8]) {
        self.lines += 1;
        self.offset += line.len() as u64;
        self.hash.update(line);
    }

    /// Half of the digest: nobody looks for two files that have the same.
    fn digest(&self) -> String {
        self.hash.clone().finalize()[..16].iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn note(&self) -> Note {
        Note {
            tag: self.tag.clone(),
            lines: self.lines,
            offset: self.offset,
            seq: self.seq,
            digest: self.digest(),
            boot: String::new(),
            synced: false,
        }
    }
}

/// Takes files into the buffer of a directory and keeps the notes.
///
/// Whoever makes one has the buffer and keeps it, or gives it up for no longer than opening it again takes.
pub struct Intake {
    directory: PathBuf,
    notes: Notes,
    buffer_id: String,
    next_seq: u64,
    places: HashMap<String, Place>,
    seen: HashMap<String, u32>,
}

impl Intake {
    /// Reads the notes in a buffer's directory.
    ///
    /// # Errors
    /// `InUse` if another process has the notes; `Io` if they cannot be read, or are not ours.
    pub fn open<H: Host>(directory: &Path, host: &mut H) -> Result<Intake, Stop<H::Error>> {
        let Some((notes, damaged)) = Notes::open(directory)? else {
            let message = format!("another process takes files into {}", directory.display());
            return Err(unistream::Error::new(ErrorKind::InUse, message).into());
        };
        if damaged {
            let file = directory.join("intake");
            host.tell(&format!("{} is damaged: lines that are in already may be put once more", file.display()));
        }
        let stats = Inspection::open(directory)?.stats()?;
        Ok(Intake {
            directory: directory.to_owned(),
            notes,
            buffer_id: stats.buffer_id,
            next_seq: stats.next_seq,
            places: HashMap::new(),
            seen: HashMap::new(),
        })
    }

    /// The name of a file in the notes. One that a run names twice is taken in twice.
    pub fn source(&mut self, found: &Metadata) -> String {
        let known = format!("{}:{}:{}", self.buffer_id, found.dev(), found.ino());
        let times = self.seen.entry(known.clone()).or_default();
        *times += 1;
        format!("{known}:{times}")
    }

    /// Finds out how much of a file an earlier run took in, and returns how many lines. Nobody delivers meanwhile.
    ///
    /// # Errors
    /// Those of the disk and of the host.
    pub fn settle<H: Host>(
        &mut self,
        mut file: &File,
        source: &str,
        name: impl fmt::Display,
        host: &mut H,
    ) -> Result<u64, Stop<H::Error>> {
        let Some(note) = self.notes.known.get(source).cloned() else { return Ok(0) };
        let Some(mut place) = reached(file, &note)? else {
            let lines = note.lines;
            host.tell(&format!(
                "{name} has changed since a run that did not end took {lines} lines of it: all are put"
            ));
            return Ok(0);
        };
        let mut found = place.clone();
        if self.notes.is_of_this_boot(&note) {
            file.seek(SeekFrom::Start(place.offset))?;
            let (mut ahead, mut failure, mut seen, first_seq) = (Lines::new(file), None, false, place.seq);
            Inspection::open(&self.directory)?.for_each(|record| {
                if record.seq < first_seq {
                    return true;
                }
                // What lies before the first one is delivered; but no run gets so far without a note.
                if record.seq - first_seq > 2 * BLOCK_LINES || (seen && record.seq != place.seq) {
                    return false;
                }
                let mut is_line = false;
                while place.seq <= record.seq {
                    match next_record(&mut ahead, &mut place, host) {
                        Ok(Some(fields)) => {
                            is_line = record.data == fields.data(ahead.text())
                                && record.own_id() == fields.id.as_deref()
                                && record.key == fields.key.as_deref();
                        }
                        Ok(None) | Err(Stop::BadLine(_)) => return false,
                        Err(error) => {
                            failure = Some(error);
                            return false;
                        }
                    }
                    place.seq += 1;
                }
                if is_line {
                    found = place.clone();
                    seen = true;
                }
                is_line
            })?;
            failure.map_or(Ok(()), Err)?;
        }
        found.seq = self.next_seq;
        let lines = found.lines;
        self.notes.add(source, found.note(), false)?;
        self.places.insert(source.to_owned(), found);
        Ok(lines)
    }

    /// Puts the lines of a file that are not yet in. [`settle`](Self::settle) has seen it, and it does not change
    /// meanwhile but by growing. Returns its length as far as it was read.
    ///
    /// # Errors
    /// Those of the disk and of the host.
    pub fn take<H: Host>(&mut self, mut file: &File, source: &str, host: &mut H) -> Result<u64, Stop<H::Error>> {
        let mut place = match self.places.remove(source) {
            Some(place) => place,
            None => {
                let place = Place::start(random_tag()?, self.next_seq);
                self.notes.add(source, place.note(), true)?;
                place
            }
        };
        file.seek(SeekFrom::Start(place.offset))?;
        let mut ahead = Lines::new(file);
        let (mut lines, mut bytes, mut blocks) = (0, 0, 0);
        while let Some(fields) = next_record(&mut ahead, &mut place, host)? {
            let seq = host.put(ahead.text(), place.lines, &fields).map_err(|stop| numbered(stop, place.lines))?;
            lines += 1;
            bytes += ahead.line().len();
            let expected = place.seq;
            place.seq = seq + 1;
            self.next_seq = seq + 1;
            // Seqs jump where others put, and after damage.
            if seq != expected || lines >= BLOCK_LINES || bytes >= BLOCK_BYTES {
                (lines, bytes, blocks) = (0, 0, blocks + 1);
                let synced = blocks % BLOCKS_PER_SYNC == 0;
                if synced {
                    host.sync()?;
                }
                self.notes.add(source, place.note(), synced)?;
            }
        }
        host.sync()?;
        self.notes.add(source, place.note(), true)?;
        Ok(place.offset)
    }

    /// Forgets the files of this run: all that they held is where it should be.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn forget(&mut self) -> io::Result<()> {
        let seen = &self.seen;
        self.notes.forget(|source| {
            let (known, nth) = source.rsplit_once(':').unwrap_or_default();
            seen.get(known).is_some_and(|times| nth.parse().is_ok_and(|nth| (1..=*times).contains(&nth)))
        })
    }
}

/// Goes to the next record of a file from a place on, which goes along.
fn next_record<H: Host>(
    lines: &mut Lines<&File>,
    place: &mut Place,
    host: &mut H,
) -> Result<Option<Fields>, Stop<H::Error>> {
    while lines.advance()? {
        let number = place.lines + 1;
        if lines.line().len() == MOST {
            return Err(numbered(Stop::BadLine("it is longer than a record may be".into()), number));
        }
        place.pass(lines.line());
        if let Some(mut fields) = host.fields(lines.text(), number).map_err(|stop| numbered(stop, number))? {
            fields.id.get_or_insert_with(|| format!("{}-{number}", place.tag));
            return Ok(Some(fields));
        }
    }
    Ok(None)
}

/// Says which line it is that is to be stopped at.
pub(crate) fn numbered<E>(stop: Stop<E>, number: u64) -> Stop<E> {
    match stop {
        Stop::BadLine(why) => Stop::BadLine(format!("line {number}: {why}")),
        other => other,
    }
}

/// The place that a note tells of, if the file is the same up to there.
///
/// A last line that had no line feed then and is longer now lies behind the place: it is another line.
fn reached(mut file: &File, note: &Note) -> io::Result<Option<Place>> {
    file.seek(SeekFrom::Start(0))?;
    let mut lines = Lines::new(file);
    let mut place = Place::start(note.tag.clone(), note.seq);
    let (mut before, mut last) = (place.clone(), 0);
    while place.lines < note.lines && lines.advance()? {
        let line = lines.line();
        if place.lines == note.lines - 1 {
            before = place.clone();
            before.seq = before.seq.saturating_sub(1);
        }
        let noted = note.offset.saturating_sub(place.offset).min(line.len() as u64) as usize;
        last = line.len() as u64;
        place.pass(&line[..noted]);
    }
    if (place.lines, place.offset, place.digest()) != (note.lines, note.offset, note.digest.clone()) {
        return Ok(None);
    }
    Ok(Some(if place.offset - before.offset == last { place } else { before }))
}

fn random_tag() -> io::Result<String> {
    let mut bytes = [0; 8];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    Ok(format!("{:016x}", u64::from_le_bytes(bytes)))
}
