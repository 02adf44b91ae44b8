//! A directory made of arbitrary bytes: whole structures with some fields wrong, pieces of real ones, raw bytes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde_json::json;

use super::damage::{self, Specimen};
use super::decode::{any_position, any_progress};
use super::source::Source;
use crate::attributes::{Attributes, Headers};
use crate::buffer::checkpoint::{Closed, Decoded, State};
use crate::buffer::format::{self, Body, Head, HeaderState, Kind, Seal, SegmentHeader};
use crate::buffer::losses::Losses;
use crate::buffer::position::Position;
use crate::buffer::segment;
use crate::platform::FileKind;
use crate::torture::world::DIR;

/// No file gets longer than this.
const MOST_BYTES: usize = 256 * 1024;
/// No directory is changed more often.
const MOST_CHANGES: usize = 40;

pub(super) type Files = BTreeMap<PathBuf, Vec<u8>>;

/// The files so far, and what a log that goes on from them would say.
pub(super) struct Draft {
    pub(super) files: Files,
    /// Names that stand for no file.
    pub(super) others: BTreeMap<PathBuf, FileKind>,
    /// Files that are longer than their bytes.
    pub(super) holes: BTreeMap<PathBuf, u64>,
    buffer_id: u64,
    epoch: u32,
    index: u64,
    /// Behind the last record.
    end: Position,
    sealed: Position,
    open: (u64, u64),
}

impl Draft {
    pub(super) fn new(source: &mut Source<'_>) -> Draft {
        static SPECIMENS: OnceLock<Vec<Specimen>> = OnceLock::new();
        let specimens = SPECIMENS.get_or_init(|| damage::corpus(12));
        let mut draft = Draft {
            files: Files::new(),
            others: BTreeMap::new(),
            holes: BTreeMap::new(),
            buffer_id: 0x0123_4567_89ab_cdef,
            epoch: 1,
            index: 0,
            end: Position { seq: 1, ..Position::default() },
            sealed: Position::default(),
            open: (0, 0),
        };
        // Half of them begin with nothing.
        if let Some(specimen) = specimens.get(source.below(2 * specimens.len())) {
            draft.files = specimen.files.iter().cloned().collect();
            draft.take_up();
        }
        for _ in 0..MOST_CHANGES {
            if source.is_empty() {
                break;
            }
            let change = source.byte();
            match change % 16 {
                _ if change >= 0xfd => draft.other(source),
                0..4 => draft.segment(source),
                4 | 5 => draft.cursor(source),
                6 => draft.letter(source),
                7 | 8 => draft.edit_checked(source),
                9 => {
                    let (name, len) = (any_name(source), source.below(64));
                    draft.write(&name, source.take(len).to_vec());
                }
                _ => draft.edit(source),
            }
        }
        let Draft { files, others, holes, .. } = &mut draft;
        files.retain(|path, _| path.ancestors().all(|above| !others.contains_key(above)));
        holes.retain(|path, _| files.contains_key(path));
        draft
    }

    /// Puts a link, a named pipe, a directory or a hole in the place of something.
    fn other(&mut self, source: &mut Source<'_>) {
        let kind = match source.below(4) {
            0 => FileKind::Link,
            1 => FileKind::Fifo,
            2 => FileKind::Directory,
            _ => {
                let Some(path) = self.pick(source) else { return };
                let lengths = [1 << 16, 1 << 20, 3 << 20];
                self.holes.insert(path, lengths[source.below(3)]);
                return;
            }
        };
        let name = match source.below(8) {
            0 => "dead-letters".to_owned(),
            1 => "corrupt".to_owned(),
            2 => "lock".to_owned(),
            _ => any_name(source),
        };
        self.others.insert(Path::new(DIR).join(name), kind);
    }

    /// Goes on from the files that are there.
    fn take_up(&mut self) {
        for (path, bytes) in &self.files {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if let Some(index) = segment::index(&name)
                && let HeaderState::Valid(header) = SegmentHeader::decode(bytes)
                && header.index == index
            {
                self.index = self.index.max(index);
                self.buffer_id = header.buffer_id;
                self.end.seq = self.end.seq.max(header.next_seq.saturating_add(100));
            }
        }
    }

    fn write(&mut self, name: &str, mut bytes: Vec<u8>) {
        bytes.truncate(MOST_BYTES);
        self.files.insert(Path::new(DIR).join(name), bytes);
    }

    /// A file, if there is one.
    fn pick(&self, source: &mut Source<'_>) -> Option<PathBuf> {
        let at = source.below(self.files.len().max(1));
        self.files.keys().nth(at).cloned()
    }

    fn segment(&mut self, source: &mut Source<'_>) {
        let index = source.number(self.index.wrapping_add(1));
        let length = [65_536, 65_536, 131_072, 4096, 1128, 1024, 600, 0][source.below(8)];
        let buffer_id = source.number(self.buffer_id);
        let header = SegmentHeader {
            index: source.number(index),
            length: source.number(length as u64),
            buffer_id,
            salt: segment::salt(buffer_id, index),
            epoch: source.number32(self.epoch),
            next_seq: source.number(self.end.seq),
            records_before: source.number(self.end.records),
            bytes_before: source.number(self.end.bytes),
            open_first_seq: source.number(self.open.0),
            open_records: source.number(self.open.1),
            open_bytes: source.number(0),
            sealed: any_position(source, self.sealed),
            durable_before: index / 2,
            features: if index % 3 == 2 { 0 } else { format::SEGMENT_FEATURES },
        };
        let mut bytes = header.encode().to_vec();
        if source.rarely() {
            // One copy, or none, or another version.
            match source.below(4) {
                0 => bytes[..512].fill(0),
                1 => bytes[512..].fill(1),
                2 => bytes.fill(0),
                _ => {
                    for copy in bytes.chunks_mut(512) {
                        copy[8..16].copy_from_slice(&source.number(2).to_le_bytes());
                        seal_header(copy);
                    }
                }
            }
        }
        self.index = index;
        self.end.segment = index;
        while !source.is_empty() && bytes.len() < MOST_BYTES {
            self.end.offset = bytes.len() as u64;
            let salt = if source.rarely() { source.number32(0) } else { header.salt };
            match source.below(16) {
                0..8 => bytes.extend(self.record(source, salt)),
                8..11 => {
                    bytes.extend(self.seal(source, salt));
                    self.sealed = Position { offset: bytes.len() as u64, ..self.end };
                }
                11 => {
                    let head = Head { kind: Kind::End, seq: source.number(self.end.seq), created_at: 0 };
                    bytes.extend(format::frame(head, &Body::of(&[]), salt));
                    break;
                }
                12 => {
                    let len = source.below(40);
                    bytes.extend_from_slice(source.take(len));
                    bytes.resize(bytes.len().next_multiple_of(format::ALIGN), 0);
                }
                _ => break,
            }
        }
        self.end.offset = bytes.len() as u64;
        bytes.resize(bytes.len().max(length), 0);
        if source.rarely() {
            let len = source.below(1 << 16);
            bytes.truncate(len);
        }
        self.write(&segment::name(index), bytes);
    }

    fn record(&mut self, source: &mut Source<'_>, salt: u32) -> Vec<u8> {
        let seq = source.number(self.end.seq);
        let len = [0, 1, 8, 30, 100, 2000, 20_000, 70_000][source.below(8)];
        let data: Vec<u8> = seq.to_le_bytes().iter().copied().cycle().take(len).collect();
        let (id, key) = (source.rarely().then_some("id"), source.rarely().then_some(&b"key"[..]));
        if self.open.1 == 0 {
            self.open.0 = seq;
        }
        self.open.1 += 1;
        self.end.seq = seq.wrapping_add(1);
        self.end.records = self.end.records.wrapping_add(1);
        self.end.bytes = self.end.bytes.wrapping_add(len as u64);
        let head = Head { kind: Kind::Record, seq, created_at: source.number(1_700_000_000_000_000).cast_signed() };
        // By a number that is there: what the bytes of kept cases stand for does not change.
        let headers = [("name", &b"value"[..])];
        let attributes = match seq % 5 {
            3 => Attributes { topic: Some("topic"), expires_at: Some(1), headers: Headers::from(&headers) },
            _ => Attributes::default(),
        };
        format::frame(head, &Body::new(id, key, Some(&attributes), &data), salt)
    }

    fn seal(&mut self, source: &mut Source<'_>, salt: u32) -> Vec<u8> {
        let last_seq = self.end.seq.wrapping_sub(1);
        let seal = Seal {
            first_seq: source.number(self.open.0),
            last_seq: source.number(last_seq),
            records: source.number32(self.open.1 as u32),
            epoch: source.number32(self.epoch),
            lanes: if source.rarely() { source.number32(3) } else { 0 },
        };
        self.open = (0, 0);
        let head = Head { kind: Kind::Seal, seq: source.number(last_seq), created_at: 0 };
        format::frame(head, &Body::of(&seal.encode()), salt)
    }

    fn cursor(&mut self, source: &mut Source<'_>) {
        // Somewhere that was passed, or the beginning.
        let usual = [self.sealed, self.end, Position { segment: 1, offset: 1024, seq: 1, ..Position::default() }];
        let usual = usual[source.below(3)];
        let first_seq = self.open.0.max(1);
        let state = State {
            buffer_id: source.number(self.buffer_id),
            epoch: source.number32(self.epoch),
            boot_id: source.number(1),
            closed: [Closed::No, Closed::Durably, Closed::Unsynced][usize::from(source.byte() % 3)],
            seq_limit: source.number(self.end.seq.saturating_add(1 << 32)),
            committed: any_position(source, usual),
            batches: (0..source.below(3)).map(|_| (source.number(first_seq), any_progress(source))).collect(),
            lost: Losses { regions: source.number(1), ..Losses::default() },
            end: self.end,
            lanes: if source.rarely() { source.number32(3) } else { 0 },
        };
        let mut bytes = state.encode(source.number(7));
        if source.rarely() {
            bytes[8..16].copy_from_slice(&source.number(2).to_le_bytes());
            seal_cursor(&mut bytes);
        }
        bytes.resize(bytes.len().max(4096), 0);
        self.write(&format!("cursor.{}", source.below(4)), bytes);
    }

    fn letter(&mut self, source: &mut Source<'_>) {
        let first_seq = source.number(self.open.0.max(1));
        let id = format!("{:016x}-{}-{first_seq}", source.number(self.buffer_id), source.number32(self.epoch));
        let mut records = b"unidead\n\x01\0\0\0\0\0\0\0".to_vec();
        let mut told = Vec::new();
        for at in 0..source.below(4) as u64 {
            let seq = source.number(first_seq.wrapping_add(at));
            let head = Head { kind: Kind::Record, seq, created_at: 0 };
            records.extend(format::frame(head, &Body::of(b"dead"), source.number32(0)));
            told.push(json!({"seq": source.number(seq), "id": "id", "reason": "no", "rejected": true}));
        }
        if source.rarely() {
            records[8..16].copy_from_slice(&source.raw().to_le_bytes());
        }
        let number = source.number(0);
        let name = format!("{id}.{number}.records");
        let named = if source.rarely() { any_name(source) } else { name.clone() };
        let letter = json!({
            "batch_id": id, "sink": "sink", "attempts": source.number(1), "errors": ["one", 2],
            "first_attempt": "2024-01-01T00:00:00Z", "last_attempt": "never", "created_at": "",
            "records_file": named, "records_bytes": source.number(records.len() as u64), "records": told,
        });
        let suffix = if source.rarely() { ".json.tmp" } else { ".json" };
        self.write(&format!("dead-letters/{name}"), records);
        self.write(&format!("dead-letters/{id}{suffix}"), letter.to_string().into_bytes());
    }

    /// Changes a field, so that the checksum is right again.
    fn edit_checked(&mut self, source: &mut Source<'_>) {
        let Some(path) = self.pick(source) else { return };
        let index = segment::index(&path.file_name().unwrap_or_default().to_string_lossy());
        let Some(bytes) = self.files.get_mut(&path) else { return };
        let nth = source.below(17);
        let set = |bytes: &mut [u8], at: usize, source: &mut Source<'_>| {
            let word = format::le_u64(bytes, at);
            bytes[at..at + 8].copy_from_slice(&source.number(word.wrapping_add(1)).to_le_bytes());
        };
        match index {
            Some(index) if bytes.len() > 1024 && source.byte() & 1 == 0 => {
                // The nth frame, wherever it is.
                let salt = segment::salt(self.buffer_id, index);
                let mut at = 1024;
                for _ in 0..nth {
                    let Ok(frame) = format::decode(&bytes[at.min(bytes.len())..], salt) else { break };
                    at += frame.padded;
                }
                let Ok(frame) = format::decode(&bytes[at.min(bytes.len())..], salt) else { return };
                let fields = [8, 16, 32, 40, 48];
                let field = fields[source.below(5)].min(frame.padded - 8);
                let length = format::le_u32(bytes, at + 4) as usize;
                // A file may end within the padding of its last frame.
                let Some(frame) = bytes.get_mut(at..at + length.next_multiple_of(8)) else { return };
                set(frame, field, source);
                frame[..4].copy_from_slice(&salt.to_le_bytes());
                let crc = crc32c::crc32c_append(crc32c::crc32c(&frame[32..length]), &frame[..32]);
                frame[..4].copy_from_slice(&crc.to_le_bytes());
            }
            Some(_) => {
                for copy in bytes.chunks_exact_mut(512).take(2) {
                    set(copy, 8 + 8 * nth.min(16), source);
                    seal_header(copy);
                }
            }
            None if State::decode(bytes).is_some_and(|state| matches!(state, Decoded::State { .. })) => {
                let field = [8, 16, 24, 32, 40, 48, 56, 64, 72, 80, 88][nth.min(10)];
                set(bytes, field, source);
                seal_cursor(bytes);
            }
            None => {}
        }
    }

    /// Changes bytes, lengths or names of a file.
    fn edit(&mut self, source: &mut Source<'_>) {
        let Some(path) = self.pick(source) else { return };
        let Some(bytes) = self.files.get_mut(&path) else { return };
        let at = source.below(1 << 16).min(bytes.len().saturating_sub(1));
        let end = (at + 1 + source.below(1 << 10)).min(bytes.len());
        match source.below(9) {
            0 | 1 if !bytes.is_empty() => bytes[at] ^= source.byte().max(1),
            2 => bytes.truncate(at),
            3 if !bytes.is_empty() => bytes[at..end].fill(0),
            4 if !bytes.is_empty() => {
                let to = source.below(1 << 16) % (bytes.len() - (end - at) + 1);
                bytes.copy_within(at..end, to / 8 * 8);
            }
            5 => drop(self.files.remove(&path)),
            6 | 7 => {
                let (bytes, name) = (bytes.clone(), any_name(source));
                if source.byte() & 1 == 0 {
                    self.files.remove(&path);
                }
                self.write(&name, bytes);
            }
            _ => {
                let longer = (bytes.len() + end - at).min(MOST_BYTES);
                bytes.resize(longer, source.byte());
            }
        }
    }
}

/// Of the names that mean something, and some that do not.
fn any_name(source: &mut Source<'_>) -> String {
    match source.below(8) {
        0..4 => {
            let usual = 1 + source.below(6) as u64;
            segment::name(source.number(usual))
        }
        4 | 5 => format!("cursor.{}", source.below(5)),
        6 => {
            let names = [
                "dead-letters/x.json",
                "dead-letters/.json",
                "dead-letters/x.0.records",
                "dead-letters/x.json.tmp",
                "corrupt/0000000000000001.seg.1024",
                "0000000000000001.SEG",
                "+000000000000001.seg",
                "1.seg",
                "a/../b.seg",
            ];
            names[source.below(names.len())].to_owned()
        }
        _ => "some file".to_owned(),
    }
}

fn seal_header(copy: &mut [u8]) {
    let crc = crc32c::crc32c(&copy[..508]);
    copy[508..512].copy_from_slice(&crc.to_le_bytes());
}

fn seal_cursor(bytes: &mut [u8]) {
    let length = (format::le_u32(bytes, 100) as usize).clamp(108, bytes.len());
    let crc = crc32c::crc32c(&bytes[..length - 4]);
    bytes[length - 4..length].copy_from_slice(&crc.to_le_bytes());
}
