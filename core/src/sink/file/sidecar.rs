//! The sidecar of a `FileSink`: a copy of the piece that was begun last, and which records the file has.
//!
//! Whoever made it could have anything cut off the file, so that it must be ours alone.

use std::io;
use std::sync::Arc;

use super::Framing;
use super::memory::{Known, Look, Memory};
use super::piece::{Entry, Piece, UNKNOWN};
use crate::checksum::crc32c;
use crate::little_endian::{le_u32, le_u64};
use crate::platform::{File, FileId};

/// How much the sidecar holds. Nothing is read of it beyond that, however long somebody made it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    /// Records of one piece.
    pub(crate) records: usize,
    /// Bytes of one piece. A larger record is a piece of its own, of which the sidecar has the beginning.
    pub(crate) contents: usize,
    /// Records that are remembered together, see [`Memory`].
    pub(crate) page: u64,
    /// So many times.
    pub(crate) pages: usize,
    /// So many buffers, those that wrote last, have their share of the pages at least.
    pub(crate) buffers: usize,
}

impl Layout {
    pub(crate) const DEFAULT: Layout =
        Layout { records: 2048, contents: 1 << 20, page: 512, pages: 2048, buffers: 128 };

    pub(super) fn area(&self) -> u64 {
        (HEADER + self.records * ENTRY + self.contents).next_multiple_of(HEADER) as u64
    }

    fn place(&self, generation: u64) -> u64 {
        generation % 2 * self.area()
    }
}

/// A sector: written whole or not at all.
const HEADER: usize = 512;
const ENTRY: usize = 16;
/// Where the header says whose records they are.
const BUFFER: usize = 72;
/// Bytes that frame a record, and end a line that another began.
const MOST_FRAMING: usize = 5;
const MAGIC: [u8; 8] = *b"unimark3";
/// The longest record, with what frames it.
const MOST_BYTES: u64 = (256 << 20) + 16;

/// More than anybody writes, with room to count on.
const MOST_GENERATIONS: u64 = u64::MAX - (1 << 32);

const PRECEDED: u32 = 1;
const LENGTH_PREFIXED: u32 = 1 << 1;
const ENDS_A_LINE: u32 = 1 << 2;

/// What is known of the piece that was begun last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Standing {
    /// Nothing yet: whole it counts, a part of it is to be cut off.
    Begun,
    /// Its attempt failed: it is to be cut off also if it is whole.
    Retract,
    /// It is in the file, and its records are among the settled ones.
    Settled,
    /// It is not in the file, or there is none.
    #[default]
    Void,
}

/// The piece that was begun last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) file: FileId,
    /// Where it begins, as the file was when it was begun; then where it was found.
    pub(super) start: u64,
    pub(super) length: u64,
    /// Of all its bytes.
    pub(super) crc: u32,
    pub(super) framing: Framing,
    pub(super) ends_a_line: bool,
    /// The piece before it is in the file.
    pub(super) preceded: bool,
    /// Whose records they are; 0 in a sidecar of a version that did not say.
    pub(super) buffer: u64,
    pub(super) entries: Vec<Entry>,
    /// Its first bytes: all of them, unless it is one large record.
    pub(super) contents: Vec<u8>,
}

/// What the sidecar says, and what is known besides.
pub(super) struct Sidecar {
    file: Arc<dyn File>,
    layout: Layout,
    generation: u64,
    pub(super) last: Mark,
    standing: Standing,
    in_file: usize,
    /// Records that are in the file, sorted; they are remembered with the next mark.
    settled: Vec<Known>,
    memory: Memory,
    /// Used again for every mark.
    area: Vec<u8>,
}

impl Mark {
    /// The first records of it, so many, as far as they can be told from others.
    fn known(&self, count: usize) -> impl Iterator<Item = Known> + Clone {
        let known = self.entries[..count].iter().filter(|(_, print)| *print != UNKNOWN);
        known.map(|(seq, print)| (self.buffer, *seq, *print))
    }
}

impl Sidecar {
    pub(super) fn open(file: Arc<dyn File>, layout: Layout) -> io::Result<Sidecar> {
        let mut areas = Vec::new();
        for generation in 0..2 {
            areas.extend(read_area(&*file, &layout, generation)?);
        }
        areas.sort_by_key(|(generation, _)| *generation);
        let (generation, last) = areas.pop().unwrap_or_default();
        let mut settled = Vec::new();
        // A power loss may have taken what was remembered with that mark.
        if last.preceded
            && let Some((before, mark)) = areas.pop()
            && before + 1 == generation
        {
            settled = mark.known(mark.entries.len()).collect();
            settled.sort_unstable();
        }
        let untagged = (generation > 0 && last.buffer == 0).then(|| last.entries.last().map_or(0, |(seq, _)| *seq));
        let memory = Memory::open(file.clone(), layout, untagged)?;
        let standing = if generation > 0 { Standing::Begun } else { Standing::Void };
        Ok(Sidecar { file, layout, generation, last, standing, in_file: 0, settled, memory, area: Vec::new() })
    }

    /// Whether another record of that size makes the piece too large.
    pub(super) fn is_full(&self, piece: &Piece, bytes: usize) -> bool {
        piece.entries.len() >= self.layout.records
            || (!piece.entries.is_empty() && piece.len() + bytes + MOST_FRAMING > self.layout.contents)
    }

    pub(super) fn standing(&self) -> Standing {
        self.standing
    }

    /// Whether it is not known yet what became of the last piece.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.standing, Standing::Begun | Standing::Retract)
    }

    /// How many records of the last piece are in the file, if that is known.
    pub(super) fn in_file(&self) -> usize {
        self.in_file
    }

    /// The last piece is not to stay, if that can be helped.
    pub(super) fn retract(&mut self) {
        self.standing = Standing::Retract;
    }

    /// The first records of the last piece, so many, are in the file.
    pub(super) fn settle(&mut self, count: usize) {
        self.standing = if count == self.last.entries.len() { Standing::Settled } else { Standing::Void };
        self.in_file = count;
        let new = self.last.known(count);
        if let Some(least) = new.clone().min() {
            // Of one seq the last one counts.
            if self.settled.last().is_some_and(|most| *most >= least) {
                self.settled.retain(|old| new.clone().all(|new| (new.0, new.1) != (old.0, old.1)));
            }
            self.settled.extend(new);
            self.settled.sort_unstable();
        }
    }

    /// The last piece is not in the file.
    pub(super) fn forget(&mut self) {
        (self.standing, self.in_file) = (Standing::Void, 0);
    }

    /// Marks a piece that is about to be written at `start`. It is known whether the one before it is in the file.
    pub(super) fn mark(&mut self, piece: &Piece, mark: Mark, sync: bool) -> io::Result<()> {
        // Which records are in the file: with sync they are durable there already.
        self.memory.remember(&self.settled, false)?;
        let bytes = piece.framed(mark.ends_a_line);
        let contents = &bytes[..bytes.len().min(self.layout.contents)];
        let generation = self.generation + 1;
        let mark = Mark {
            length: bytes.len() as u64,
            crc: crc32c(bytes),
            preceded: self.standing == Standing::Settled,
            ..mark
        };
        encode(&mut self.area, generation, &mark, &piece.entries, contents);
        self.file.write_at(&self.area, self.layout.place(generation))?;
        if sync {
            self.file.sync()?;
        }
        let (mut entries, mut kept) = (std::mem::take(&mut self.last.entries), std::mem::take(&mut self.last.contents));
        entries.clone_from(&piece.entries);
        kept.clear();
        kept.extend_from_slice(contents);
        self.last = Mark { entries, contents: kept, ..mark };
        self.generation = generation;
        (self.standing, self.in_file) = (Standing::Begun, 0);
        self.settled.clear();
        Ok(())
    }

    /// Writes down, durably, which records are in the file.
    pub(super) fn remember_for_good(&mut self) -> io::Result<()> {
        if self.settled.is_empty() {
            return Ok(());
        }
        self.memory.remember(&self.settled, true)?;
        self.file.sync()
    }

    /// Makes the newest mark durable before the other area is written. It is written anew: where a sync of it has
    /// failed, the kernel takes it for clean.
    pub(super) fn keep(&mut self) -> io::Result<()> {
        if self.generation > 0 {
            encode(&mut self.area, self.generation, &self.last, &self.last.entries, &self.last.contents);
            self.file.write_at(&self.area, self.layout.place(self.generation))?;
        }
        self.file.sync()
    }

    /// A look at which records the file has.
    pub(super) fn look(&self) -> Look<'_> {
        Look::new(&self.memory)
    }

    /// Whether the file is known to have just this record.
    pub(super) fn has(&self, look: &mut Look<'_>, (buffer, seq, print): Known) -> io::Result<bool> {
        let of = |buffer| self.settled.binary_search(&(buffer, seq, print)).is_ok();
        Ok((!self.settled.is_empty() && print != UNKNOWN && (of(buffer) || of(0))) || look.has((buffer, seq, print))?)
    }
}

fn encode(area: &mut Vec<u8>, generation: u64, mark: &Mark, entries: &[Entry], contents: &[u8]) {
    area.clear();
    area.resize(HEADER, 0);
    for (seq, print) in entries {
        area.extend_from_slice(&seq.to_le_bytes());
        area.extend_from_slice(&print.to_le_bytes());
    }
    area.extend_from_slice(contents);
    let (header, body) = area.split_at_mut(HEADER);
    header[..8].copy_from_slice(&MAGIC);
    let words = [generation, mark.file.device, mark.file.inode, mark.start, mark.length];
    for (word, at) in words.iter().zip(header[8..].chunks_exact_mut(8)) {
        at.copy_from_slice(&word.to_le_bytes());
    }
    let flags = [
        (PRECEDED, mark.preceded),
        (LENGTH_PREFIXED, mark.framing == Framing::LengthPrefixed),
        (ENDS_A_LINE, mark.ends_a_line),
    ];
    let flags = flags.iter().filter(|(_, set)| *set).map(|(flag, _)| flag).sum();
    let words = [mark.crc, flags, entries.len() as u32, contents.len() as u32, crc32c(body)];
    for (word, at) in words.iter().zip(header[48..].chunks_exact_mut(4)) {
        at.copy_from_slice(&word.to_le_bytes());
    }
    header[BUFFER..BUFFER + 8].copy_from_slice(&mark.buffer.to_le_bytes());
    let crc = crc32c(&header[..HEADER - 4]);
    header[HEADER - 4..].copy_from_slice(&crc.to_le_bytes());
}

/// The mark in one of the two areas, if there is a whole and possible one.
fn read_area(file: &dyn File, layout: &Layout, generation: u64) -> io::Result<Option<(u64, Mark)>> {
    let mut header = [0; HEADER];
    file.read_at(&mut header, layout.place(generation))?;
    let Some((found, mut mark, sizes)) = decode(&header, layout) else { return Ok(None) };
    let mut body = vec![0; sizes.entries * ENTRY + sizes.contents];
    let got = file.read_at(&mut body, layout.place(generation) + HEADER as u64)?;
    if found % 2 != generation || got < body.len() || crc32c(&body) != sizes.crc {
        return Ok(None);
    }
    let (entries, contents) = body.split_at(sizes.entries * ENTRY);
    mark.entries = entries.chunks_exact(ENTRY).map(|entry| (le_u64(entry, 0), le_u64(entry, 8))).collect();
    mark.contents = contents.to_vec();
    Ok(Some((found, mark)))
}

/// What follows a header.
struct Sizes {
    entries: usize,
    contents: usize,
    crc: u32,
}

fn decode(header: &[u8; HEADER], layout: &Layout) -> Option<(u64, Mark, Sizes)> {
    if header[..8] != MAGIC || crc32c(&header[..HEADER - 4]) != le_u32(header, HEADER - 4) {
        return None;
    }
    let flags = le_u32(header, 52);
    let mark = Mark {
        file: FileId { device: le_u64(header, 16), inode: le_u64(header, 24) },
        start: le_u64(header, 32),
        length: le_u64(header, 40),
        crc: le_u32(header, 48),
        framing: if flags & LENGTH_PREFIXED != 0 { Framing::LengthPrefixed } else { Framing::Lines },
        ends_a_line: flags & ENDS_A_LINE != 0,
        preceded: flags & PRECEDED != 0,
        buffer: le_u64(header, BUFFER),
        ..Mark::default()
    };
    let (entries, contents) = (le_u32(header, 56) as usize, le_u32(header, 60) as usize);
    // What no writer writes would have us read, or cut, more than a piece.
    let generation = le_u64(header, 8);
    let possible = generation < MOST_GENERATIONS
        && mark.start.checked_add(mark.length).is_some()
        && mark.length <= MOST_BYTES
        && (1..=layout.records).contains(&entries)
        && contents == (mark.length as usize).min(layout.contents)
        && (entries == 1 || mark.length as usize <= layout.contents);
    possible.then_some((generation, mark, Sizes { entries, contents, crc: le_u32(header, 64) }))
}
