//! Any sidecar beside any file of a `FileSink`.
//!
//! The sink opens, in bounded memory. It cuts nothing off the file but what its newest mark has a copy of, and goes on
//! behind the rest: what is sent is there then, once, also for the next process.

use std::path::Path;
use std::sync::Arc;

use super::source::Source;
use crate::batch::{Batch, BatchId};
use crate::little_endian::{le_u32, le_u64};
use crate::platform::Disk as _;
use crate::platform::simulated::SimulatedDisk;
use crate::record::NewRecord;
use crate::sink::{FileOptions, FileSink, Framing, Layout, Sink as _};
use crate::torture::world::make_file_dir;

const LOG: &str = "/out/app.log";
const SIDECAR: &str = "/out/app.log.unistream";
/// A sidecar that few bytes fill.
const LAYOUT: Layout = Layout { records: 4, contents: 256, page: 4, pages: 8, buffers: 3 };
/// Where the second of the two marks stands.
const AREA: usize = 1024;
const HEADER: usize = 512;
const ENTRY: usize = 16;
/// Where the tags of the pages stand.
const TAGS: usize = 2 * AREA + LAYOUT.pages * LAYOUT.page as usize * 8;
const TAG: usize = 32;
/// No file gets longer by what is made up here.
const MOST_BYTES: usize = 64 << 10;
/// What is read at once: of the file as much as is searched for a piece; of the sidecar a mark.
const MOST_READ: usize = (4 << 20) + LAYOUT.contents;
/// Of all openings and sends of a case. A piece may be 256 MiB, whose checksum is read by 64 KiB, a few times.
const MOST_OPERATIONS: u64 = 20_000;

pub(super) fn run(bytes: &[u8]) -> Result<(), String> {
    let mut source = Source::new(bytes);
    let disk = SimulatedDisk::new(false);
    make_file_dir(&disk);
    let options = FileOptions {
        framing: [Framing::Lines, Framing::LengthPrefixed][source.below(2)],
        sync: source.byte() & 1 == 0,
        ..FileOptions::default()
    };
    // What a process left, or nothing.
    let left = source.below(4);
    let sink = open(&disk, &options)?;
    for number in 0..left {
        send(&sink, &batch(number as u64 * 10 + 1, 1 + source.below(5), source.below(200)))?;
    }
    drop(sink);
    let (mut log, mut sidecar) = (disk.contents(LOG), disk.contents(SIDECAR));
    let inode = inode(&disk);
    for _ in 0..20 {
        if source.is_empty() {
            break;
        }
        match source.below(9) {
            8 => craft_tag(&mut sidecar, &mut source),
            0 | 1 => craft(&mut sidecar, inode, &log, &mut source),
            2 => {
                // A part of the piece, as a crash leaves it, or with holes.
                let Some(mark) = newest(&sidecar) else { continue };
                let len = source.below(mark.contents.len() + 1);
                log.truncate(usize::try_from(mark.start).unwrap_or(usize::MAX));
                log.extend(&mark.contents[..len]);
                let hole = source.below(len + 1);
                let at = log.len() - len + hole;
                log[at..].iter_mut().take(usize::from(source.byte() & 0x1f)).for_each(|byte| *byte = 0);
            }
            3 => log.truncate(source.below(1 << 12)),
            4 => {
                let len = source.below(300);
                log.extend_from_slice(source.take(len));
            }
            5 => edit(&mut log, &mut source),
            _ => edit(&mut sidecar, &mut source),
        }
        log.truncate(MOST_BYTES);
        sidecar.truncate(MOST_BYTES);
    }
    disk.overwrite(LOG, &log);
    disk.overwrite(SIDECAR, &sidecar);
    check(&disk, &options, &log, newest(&sidecar).filter(|mark| mark.file == (1, inode)))
}

fn check(disk: &SimulatedDisk, options: &FileOptions, before: &[u8], mark: Option<Mark>) -> Result<(), String> {
    let sink = open(disk, options)?;
    let kept = disk.contents(LOG);
    let Some(cut) = before.strip_prefix(&kept[..]) else { return Err("what is in the file was changed".into()) };
    if !cut.is_empty() && !mark.as_ref().is_some_and(|mark| mark.explains(kept.len(), cut)) {
        return Err(format!("{} bytes at {} were cut off, which are not of {mark:?}", cut.len(), kept.len()));
    }
    // Seqs that no mark here has by chance, and that are remembered in different places.
    let batches = [batch(1 << 40, 3, 40), batch((1 << 40) + 3, 1, 900)];
    let mut expected = kept;
    for batch in &batches {
        let start = expected.len();
        send(&sink, batch)?;
        let now = disk.contents(LOG);
        let framed = framed(batch, options.framing);
        let new = now.strip_prefix(&expected[..]).ok_or("what was in the file was changed by a send")?;
        if new != framed && new.strip_prefix(b"\n") != Some(&framed) {
            return Err(format!("{} bytes came for a batch of {} at {start}", new.len(), framed.len()));
        }
        expected = now;
        send(&sink, batch)?;
    }
    drop(sink);
    let sink = open(disk, options)?;
    batches.iter().try_for_each(|batch| send(&sink, batch))?;
    let now = disk.contents(LOG);
    if now != expected {
        let (is, was) = (String::from_utf8_lossy(&now), String::from_utf8_lossy(&expected));
        return Err(format!("the next process changed what the one before it wrote: {was:?} became {is:?}"));
    }
    let (operations, _) = disk.operations();
    let longest = disk.longest_read();
    if longest > MOST_READ || operations > MOST_OPERATIONS {
        return Err(format!("{operations} operations, one of which read {longest} bytes"));
    }
    Ok(())
}

fn open(disk: &SimulatedDisk, options: &FileOptions) -> Result<FileSink, String> {
    let sink = FileSink::create_on(Arc::new(disk.clone()), Path::new(LOG), options, LAYOUT);
    sink.map_err(|error| format!("opening: {error}"))
}

fn send(sink: &FileSink, batch: &Batch) -> Result<(), String> {
    match sink.send(batch) {
        Ok(report) if report.is_delivered() => Ok(()),
        Ok(report) => Err(format!("sending: {report:?}")),
        Err(error) => Err(format!("sending: {error:?}")),
    }
}

fn inode(disk: &SimulatedDisk) -> u64 {
    disk.look(Path::new(LOG), false).ok().flatten().map_or(0, |seen| seen.id.inode)
}

fn batch(first_seq: u64, records: usize, len: usize) -> Batch {
    let lines: Vec<String> = (0..records).map(|at| format!("{first_seq}.{at}:{}", "r".repeat(len))).collect();
    let id = BatchId { buffer_id: 7, epoch: 0, first_seq, lane: None };
    Batch::of(id, lines.iter().map(|line| NewRecord::new(line.as_bytes())))
}

fn framed(batch: &Batch, framing: Framing) -> Vec<u8> {
    let mut bytes = Vec::new();
    for record in batch.iter() {
        match framing {
            Framing::Lines => bytes.extend([record.data, b"\n"].concat()),
            Framing::LengthPrefixed => bytes.extend([&(record.data.len() as u32).to_le_bytes(), record.data].concat()),
        }
    }
    bytes
}

/// A mark, read as the sink's page describes it.
#[derive(Debug)]
struct Mark {
    generation: u64,
    /// Device and inode.
    file: (u64, u64),
    start: u64,
    length: u64,
    contents: Vec<u8>,
}

impl Mark {
    /// Whether such bytes, at the end of the file, are what may be there of its piece.
    fn explains(&self, at: usize, cut: &[u8]) -> bool {
        let is_there = self.start == at as u64;
        let same = cut.iter().zip(&self.contents).all(|(is, was)| is == was || (is_there && *is == 0));
        same && cut.len() as u64 <= self.length
    }
}

/// The newest whole mark.
fn newest(sidecar: &[u8]) -> Option<Mark> {
    let marks = [0, 1].into_iter().filter_map(|area| {
        let area_bytes = sidecar.get(area * AREA..)?;
        let header = area_bytes.get(..HEADER)?;
        let word = |at| le_u64(header, at);
        let (entries, contents) = (le_u32(header, 56) as usize, le_u32(header, 60) as usize);
        let body = area_bytes.get(HEADER..HEADER + entries.checked_mul(ENTRY)?.checked_add(contents)?)?;
        let is_whole = header.starts_with(b"unimark3")
            && crc32c::crc32c(&header[..508]) == le_u32(header, 508)
            && crc32c::crc32c(body) == le_u32(header, 64)
            && word(8) % 2 == area as u64;
        let (generation, start, length) = (word(8), word(32), word(40));
        let is_possible = generation < u64::MAX - (1 << 32)
            && start.checked_add(length).is_some()
            && length <= (256 << 20) + 16
            && (1..=LAYOUT.records).contains(&entries)
            && contents as u64 == length.min(LAYOUT.contents as u64)
            && (entries == 1 || length <= LAYOUT.contents as u64);
        let contents = body[entries * ENTRY..].to_vec();
        let file = (word(16), word(24));
        (is_whole && is_possible).then_some(Mark { generation, file, start, length, contents })
    });
    marks.max_by_key(|mark| mark.generation)
}

/// Writes a mark with right checksums.
fn craft(sidecar: &mut Vec<u8>, inode: u64, log: &[u8], source: &mut Source<'_>) {
    let generation = source.number(newest(sidecar).map_or(0, |mark| mark.generation) + 1);
    let start = source.below(log.len() + 1);
    // Of the file's own bytes, or of others.
    let there = &log[start..];
    let mut contents = if source.byte() & 1 == 0 {
        there[..source.below(LAYOUT.contents + 1).min(there.len())].to_vec()
    } else {
        let len = source.below(LAYOUT.contents + 1);
        source.take(len).to_vec()
    };
    let length = source.number(contents.len() as u64);
    contents.truncate(usize::try_from(length).unwrap_or(usize::MAX));
    if length > contents.len() as u64 && source.byte() & 1 == 0 {
        // As much as there is of a longer one.
        contents.resize(LAYOUT.contents.min(usize::try_from(length).unwrap_or(usize::MAX)), source.byte());
    }
    let usual = 1 + source.below(4) as u32;
    let entries = source.number32(usual);
    let mut body = Vec::new();
    for _ in 0..entries.min(8) {
        let seq = source.number(1);
        body.extend(seq.to_le_bytes());
        body.extend(source.raw().to_le_bytes());
    }
    body.extend(&contents);
    let mut header = b"unimark3".to_vec();
    let crc = if source.byte() & 1 == 0 { crc32c::crc32c(&contents) } else { source.number32(0) };
    let words = [generation, source.number(1), source.number(inode), source.number(start as u64), length];
    words.iter().for_each(|word| header.extend(word.to_le_bytes()));
    let words = [crc, u32::from(source.byte()), entries, contents.len() as u32, crc32c::crc32c(&body)];
    words.iter().for_each(|word| header.extend(word.to_le_bytes()));
    header.resize(508, 0);
    header.extend(crc32c::crc32c(&header).to_le_bytes());
    header.extend(body);
    let at = (generation % 2) as usize * AREA;
    sidecar.resize(sidecar.len().max(at + header.len()), 0);
    sidecar[at..at + header.len()].copy_from_slice(&header);
}

/// Writes a tag with a right checksum.
fn craft_tag(sidecar: &mut Vec<u8>, source: &mut Source<'_>) {
    let mut tag = Vec::new();
    for word in [source.number(7), source.number(0), source.number(1)] {
        tag.extend(word.to_le_bytes());
    }
    tag.extend(crc32c::crc32c(&tag).to_le_bytes());
    let at = TAGS + source.below(LAYOUT.pages) * TAG;
    sidecar.resize(sidecar.len().max(at + TAG), 0);
    sidecar[at..at + tag.len()].copy_from_slice(&tag);
}

/// Changes bytes, or the length.
fn edit(bytes: &mut Vec<u8>, source: &mut Source<'_>) {
    let at = source.below(1 << 12);
    match source.below(4) {
        0 if at < bytes.len() => bytes[at] ^= source.byte().max(1),
        1 => bytes.truncate(at),
        2 => {
            let len = source.below(64);
            let new = source.take(len);
            bytes.resize(bytes.len().max(at + new.len()), 0);
            bytes[at..at + new.len()].copy_from_slice(new);
        }
        _ => bytes.resize(bytes.len() + at, source.byte()),
    }
}
