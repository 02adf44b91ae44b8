//! The two files of a dead letter: their names and their bytes. A file may hold anything, so reading it allocates no more
//! than the largest possible letter needs.

use std::collections::BTreeMap;
use std::io;

use serde_json::{Value, json};

use super::DeadLetter;
use crate::batch::BatchId;
use crate::error::{NotTrusted, Result};
use crate::features;
use crate::frame::{self, Body, FRAME_BYTES, Head, Kind};
use crate::little_endian::le_u32;
use crate::platform::{Directory, File, Open};

/// Appended to the names of damaged files.
const DAMAGED: &str = ".damaged";
const RECORDS_MAGIC: [u8; 8] = *b"unidead\n";
const RECORDS_HEADER_BYTES: usize = 16;
/// The longest file of a letter: a batch has at most 1 GiB.
const MOST_BYTES: u64 = 2 << 30;
/// Bytes that are read at a time, so that a file that is no letter is found out before all of it is read.
const STEP: usize = 1 << 20;

/// Why a file of a letter cannot be used.
pub(super) enum ReadError {
    /// It could not be read.
    Io(io::Error),
    /// Its contents are not what was written, or it is no regular file.
    Damaged(String),
    /// It has another format version than this one reads.
    Unsupported { version: u32, flags: u32 },
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> ReadError {
        let is_other = error.kind() == io::ErrorKind::InvalidInput;
        if is_other || error.get_ref().is_some_and(|inner| inner.is::<NotTrusted>()) {
            ReadError::Damaged(error.to_string())
        } else {
            ReadError::Io(error)
        }
    }
}

/// The name of a letter's file.
pub(super) fn json_of(id: &str) -> String {
    format!("{id}.json")
}

/// The name of the file with its records. The number grows with every write, so that the old file stays until the new
/// letter is in place.
pub(super) fn records_of(id: &str, number: u64) -> String {
    format!("{id}.{number}.records")
}

/// The number in the name of a records file; `None` if it is not one of this letter.
pub(super) fn number_of(id: &str, records_file: &str) -> Option<u64> {
    let number = records_file.strip_prefix(id)?.strip_prefix('.')?.strip_suffix(".records")?.parse().ok()?;
    (records_file == records_of(id, number)).then_some(number)
}

/// Whether this is the temporary name of a letter that is being written. Files of other programs do not match.
pub(super) fn is_temporary(name: &str) -> bool {
    name.strip_suffix(".json.tmp").and_then(parse_id).is_some()
}

/// The id of the letter whose records are in a file of this name, if it is a name of a records file.
pub(super) fn id_of_records(name: &str) -> Option<&str> {
    let (id, _) = name.strip_suffix(".records")?.rsplit_once('.')?;
    number_of(id, name).map(|_| id)
}

/// Parses the id of a batch. Only the one canonical spelling is accepted, because ids are file names.
pub(super) fn parse_id(id: &str) -> Option<BatchId> {
    let mut parts = id.split('-');
    let buffer_id = u64::from_str_radix(parts.next()?, 16).ok()?;
    let epoch = parts.next()?.parse().ok()?;
    let first_seq = parts.next()?.parse().ok()?;
    let lane = parts.next().map(str::parse).transpose().ok()?;
    let batch = BatchId { buffer_id, epoch, first_seq, lane };
    (batch.to_string() == id).then_some(batch)
}

/// A file that is read from its beginning, piece by piece.
struct Window<'a> {
    file: &'a dyn File,
    length: usize,
    bytes: Vec<u8>,
}

impl Window<'_> {
    fn open(file: &dyn File) -> Result<Window<'_>, ReadError> {
        let length = file.len()?;
        if length > MOST_BYTES {
            return Err(ReadError::Damaged(format!("{length} bytes are more than a letter has")));
        }
        Ok(Window { file, length: length as usize, bytes: Vec::new() })
    }

    /// Reads at least up to `end`, or to the end of the file if that comes first. Returns where the new bytes begin.
    fn read_to(&mut self, end: usize) -> Result<usize, ReadError> {
        let from = self.bytes.len();
        if from < end {
            let more = STEP.max(end - from).min(self.length.saturating_sub(from));
            self.bytes.try_reserve(more).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
            self.bytes.resize(from + more, 0);
            let got = self.file.read_at(&mut self.bytes[from..], from as u64)?;
            self.bytes.truncate(from + got);
        }
        Ok(from)
    }
}

/// Reads the JSON of a letter. Returns it with the length of the file.
pub(super) fn read_json(folder: &dyn Directory, id: &str) -> Result<(Value, u64), ReadError> {
    let file = folder.open(&json_of(id), Open::Read)?;
    let mut window = Window::open(&*file)?;
    loop {
        let new = window.read_to(window.bytes.len() + 1)?;
        if new == window.bytes.len() {
            break;
        }
        // JSON has no zero bytes, while a sparse file that claims to be long consists of them: stop before reading it all.
        if window.bytes[new..].contains(&0) {
            return Err(ReadError::Damaged("there are zeros in it".into()));
        }
    }
    let value = serde_json::from_slice(&window.bytes).map_err(|error| ReadError::Damaged(error.to_string()))?;
    Ok((value, window.bytes.len() as u64))
}

/// The length of a file of records; 0 if there is none.
pub(super) fn records_length(folder: &dyn Directory, name: &str) -> Result<u64, ReadError> {
    match folder.open(name, Open::Read).and_then(|file| file.len()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        result => Ok(result?),
    }
}

/// Reads the records with these seqs. Returns the bytes of the file up to the last of them, and the offset of each frame.
pub(super) fn read_records(
    folder: &dyn Directory,
    name: &str,
    seqs: impl Iterator<Item = u64>,
) -> Result<(Vec<u8>, Vec<u32>), ReadError> {
    let damaged = || ReadError::Damaged("a frame is not whole".into());
    let file = folder.open(name, Open::Read)?;
    let mut window = Window::open(&*file)?;
    window.read_to(RECORDS_HEADER_BYTES)?;
    if window.bytes.len() < RECORDS_HEADER_BYTES || window.bytes[..8] != RECORDS_MAGIC {
        return Err(ReadError::Damaged("it does not begin as one".into()));
    }
    let (version, flags) = (le_u32(&window.bytes, 8), le_u32(&window.bytes, 12));
    if !features::are_known(version, flags, features::ATTRIBUTES) {
        return Err(ReadError::Unsupported { version, flags });
    }
    let mut offsets = Vec::new();
    let mut at = RECORDS_HEADER_BYTES;
    for seq in seqs {
        window.read_to(at + FRAME_BYTES)?;
        let head = window.bytes.get(at..at + FRAME_BYTES).ok_or_else(damaged)?;
        let length = le_u32(head, 4) as usize;
        if length > frame::MOST_FRAME_BYTES {
            return Err(damaged());
        }
        window.read_to(at + length.next_multiple_of(frame::ALIGN))?;
        let frame = frame::decode(&window.bytes[at..], 0).map_err(|_| damaged())?;
        if frame.seq != seq {
            return Err(damaged());
        }
        offsets.push(at as u32);
        at += frame.padded;
    }
    Ok((window.bytes, offsets))
}

/// The records of a letter by seq: for each its frame and its entry in the JSON.
#[derive(Default)]
pub(super) struct LetterRecords(pub(super) BTreeMap<u64, (Vec<u8>, Value)>);

impl LetterRecords {
    pub(super) fn of(letter: &DeadLetter) -> Result<LetterRecords> {
        let mut records = LetterRecords::default();
        let batch = letter.batch()?;
        batch
            .iter()
            .zip(&letter.records)
            .for_each(|(record, known)| records.add(&record, &known.reason, known.rejected));
        Ok(records)
    }

    pub(super) fn add(&mut self, record: &crate::Record<'_>, reason: &str, rejected: bool) {
        let entry = json!({"seq": record.seq, "id": record.id(), "reason": reason, "rejected": rejected});
        self.0.insert(record.seq, (frame(record), entry));
    }

    /// The bytes of the records' file.
    pub(super) fn file(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(RECORDS_HEADER_BYTES);
        bytes.extend_from_slice(&RECORDS_MAGIC);
        bytes.extend_from_slice(&frame::VERSION.to_le_bytes());
        let has_attributes =
            |(frame, _): &(Vec<u8>, Value)| frame::parse(frame).is_some_and(|frame| !frame.attributes.is_empty());
        let flags = if self.0.values().any(has_attributes) { features::ATTRIBUTES } else { 0 };
        bytes.extend_from_slice(&flags.to_le_bytes());
        self.0.values().for_each(|(frame, _)| bytes.extend_from_slice(frame));
        bytes
    }
}

/// A record as a frame of a records file.
fn frame(record: &crate::Record<'_>) -> Vec<u8> {
    let attributes = record.to_new().attributes();
    let body = Body::new(record.own_id(), record.key, Some(&attributes), record.data);
    let head = Head { kind: Kind::Record, seq: record.seq, created_at: record.created_at };
    frame::frame(head, &body, 0)
}

/// Renames the files of a damaged letter, so that they can still be examined and a new letter can take their names.
pub(super) fn set_aside(folder: &dyn Directory, id: &str) -> io::Result<()> {
    let (prefix, json) = (format!("{id}."), json_of(id));
    let names = folder.list()?;
    let is_its = |name: &&String| name.starts_with(&prefix) && !name.ends_with(DAMAGED);
    let aside = |name: &str| {
        let mut aside = format!("{name}{DAMAGED}");
        while names.contains(&aside) {
            aside.push_str(DAMAGED); // an earlier damaged letter has the name
        }
        folder.rename(name, &aside)
    };
    // The JSON last: the next scan removes records files that belong to no letter.
    names.iter().filter(is_its).filter(|name| **name != json).try_for_each(|name| aside(name))?;
    folder.sync()?;
    if names.contains(&json) { aside(&json) } else { Ok(()) }
}
