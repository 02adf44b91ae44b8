//! Frame by frame through the segments. Bytes that are no whole frame are passed over, set aside and counted; what is whole
//! behind them goes on.

use std::io;
use std::sync::Arc;

use super::format::{self, Bad, FRAME_BYTES, HeaderState, Kind, SEGMENT_HEADER_BYTES, Seal, SegmentHeader, Shape};
use super::losses::{Damage, Region};
use super::position::Position;
use super::resync::Search;
use super::segment::{self, Finished};
use crate::checksum::crc32c_append;
use crate::error::{Error, ErrorKind, Result};
use crate::features;
use crate::platform::{Chunk, SegmentReader};

/// What the walk needs of the rest of the buffer.
pub(crate) trait Source {
    /// A reader of a segment and its length; `None` if there is no such file.
    fn open(&self, index: u64) -> Result<Option<Finished>>;
    /// The first segment after this one.
    fn segment_after(&self, index: u64) -> Option<u64>;
    /// Keeps the bytes of a region for whoever wants to look at them, and tells of it. Reading goes on at `behind`.
    fn set_aside(&self, region: &Region, behind: &Position);
}

/// Plain files are read in pieces of this size.
const WINDOW: usize = 1 << 20;

/// Behind everything.
const NOWHERE: Position =
    Position { segment: u64::MAX, offset: u64::MAX, seq: u64::MAX, records: u64::MAX, bytes: u64::MAX };

/// The segment being read and the piece of it at hand.
struct Window {
    index: u64,
    reader: Arc<dyn SegmentReader>,
    length: u64,
    salt: u32,
    base: u64,
    chunk: Option<Chunk>,
}

/// Walks frames. Shared by the buffer's reader and by the inspection of a directory.
pub(crate) struct Scan {
    buffer_id: u64,
    pub(crate) at: Position,
    /// Where this run began to write. Whatever checksums say, nothing before it has a seq or a total beyond its own:
    /// else what is put in this run would count as read already.
    begun: Position,
    window: Option<Window>,
}

/// What a step of the walk came to.
pub(crate) enum Step {
    Record {
        segment: u64,
        offset: u64,
        base: u64,
    },
    Seal(Seal),
    /// Bytes were passed over; counted already.
    Passed,
    /// The limit, or the end of the log.
    Limit,
}

impl Scan {
    pub(crate) fn new(buffer_id: u64, at: Position) -> Self {
        Scan { buffer_id, at, begun: NOWHERE, window: None }
    }

    /// Another walk through the same log, which begins at `at`.
    pub(crate) fn begin_at(&self, at: Position) -> Scan {
        Scan { buffer_id: self.buffer_id, at, begun: self.begun, window: None }
    }

    /// Begins anew at `at`, with nothing of what was read before.
    pub(crate) fn restart(&mut self, at: Position) {
        (self.at, self.window) = (at, None);
    }

    /// Goes on elsewhere. At the beginning of a segment its header is read again: it may say that records before it are lost.
    pub(crate) fn seek(&mut self, at: Position) {
        if at.offset <= SEGMENT_HEADER_BYTES as u64 {
            self.window = None;
        }
        self.at = at;
    }

    /// Says where this run begins to write.
    pub(crate) fn begin(&mut self, begun: Position) {
        self.begun = begun;
    }

    /// The most that seq and totals can be at the position.
    pub(super) fn most(&self) -> Position {
        self.most_at(self.at.place())
    }

    fn most_at(&self, place: (u64, u64)) -> Position {
        if place < self.begun.place() { self.begun } else { NOWHERE }
    }

    /// The chunk that the last record stands in.
    pub(crate) fn chunk(&self) -> Option<&Chunk> {
        self.window.as_ref().and_then(|window| window.chunk.as_ref())
    }

    /// The next frame before `upto`. The position moves behind it.
    pub(crate) fn step(&mut self, source: &dyn Source, upto: &Position) -> Result<Step> {
        loop {
            if self.at.segment > upto.segment || (self.at.segment == upto.segment && self.at.offset >= upto.offset) {
                return Ok(Step::Limit);
            }
            if self.window.as_ref().is_none_or(|window| window.index != self.at.segment)
                && let Some(step) = self.enter(source, upto)?
            {
                return Ok(step);
            }
            let most = self.most();
            let Some(window) = &mut self.window else { continue };
            let last = window.index == upto.segment;
            // A file that was cut before this place ends here.
            let end = if last { upto.offset.min(window.length) } else { window.length }.max(self.at.offset);
            window.load(self.at.offset, end, FRAME_BYTES)?;
            let bytes = window.bytes(self.at.offset, end);
            let needed = bytes.get(4..8).map_or(0, |length| format::le_u32(length, 0) as usize);
            let bytes = if needed > bytes.len() && self.at.offset + needed as u64 <= end {
                // A length that somebody made up costs no memory.
                if needed <= WINDOW || window.is_whole(self.at.offset, needed)? {
                    window.load(self.at.offset, end, needed)?;
                }
                window.bytes(self.at.offset, end)
            } else {
                bytes
            };
            match format::decode(bytes, window.salt) {
                Ok(frame) if frame.kind != Kind::End && frame.seq >= most.seq => {
                    return self.pass(source, Bad::Damaged, end, upto);
                }
                Ok(frame) if frame.kind == Kind::End && !last => {
                    self.enter_at(self.at.segment + 1);
                }
                Ok(frame)
                    if frame.kind == Kind::End
                        || frame.seq.saturating_add(u64::from(frame.kind == Kind::Seal)) < self.at.seq =>
                {
                    // An end within the limit, or a frame that was there before: neither is written. Pass.
                    self.at.offset += frame.padded as u64;
                }
                Ok(frame) => {
                    let (segment, offset, base) = (window.index, self.at.offset, window.base);
                    self.at.offset += frame.padded as u64;
                    if frame.kind == Kind::Seal {
                        if let Some(seal) = Seal::decode(frame.data) {
                            return Ok(Step::Seal(seal));
                        }
                        continue;
                    }
                    self.at.seq = frame.seq + 1;
                    self.at.records += 1;
                    self.at.bytes += frame.data.len() as u64;
                    return Ok(Step::Record { segment, offset, base });
                }
                // A page went away while it was read: what was read of it were zeros.
                Err(_) if window.chunk.as_ref().is_some_and(Chunk::is_faulted) => window.chunk = None,
                Err(bad) => return self.pass(source, bad, end, upto),
            }
        }
    }

    /// Steps over the end of a segment behind a seal, so that committing the batch frees the segment.
    pub(super) fn leave_segment(&mut self, upto: &Position) -> Result<()> {
        let at = self.at;
        let Some(window) = &mut self.window else { return Ok(()) };
        if window.index >= upto.segment {
            return Ok(());
        }
        window.load(at.offset, window.length, FRAME_BYTES)?;
        let bytes = window.bytes(at.offset, window.length);
        if format::decode(bytes, window.salt).is_ok_and(|frame| frame.kind == Kind::End) {
            self.enter_at(self.at.segment + 1);
        }
        Ok(())
    }

    /// Opens the segment at the position, or goes on behind those that are missing.
    fn enter(&mut self, source: &dyn Source, upto: &Position) -> Result<Option<Step>> {
        let index = self.at.segment;
        let Some(found) = source.open(index)? else { return self.pass_missing(source, upto).map(Some) };
        if let HeaderState::Unknown { version, flags } = found.header {
            return Err(features::unsupported("the log", version, flags));
        }
        if self.at.offset <= SEGMENT_HEADER_BYTES as u64
            && let Some(header) = self.header_of(&found, index)
        {
            self.at.offset = SEGMENT_HEADER_BYTES as u64;
            let lost = self.catch_up(&header);
            if lost > 0 {
                source.set_aside(&Region::missing_records(index, self.at.offset, lost), &self.behind(upto));
                return Ok(Some(Step::Passed));
            }
        }
        self.at.offset = self.at.offset.max(SEGMENT_HEADER_BYTES as u64);
        let Finished { reader, length, .. } = found;
        let salt = segment::salt(self.buffer_id, index);
        self.window = Some(Window { index, reader, length, salt, base: 0, chunk: None });
        Ok(None)
    }

    /// The header of a segment, as far as it can be believed: one of another segment or buffer that was copied here says
    /// nothing.
    fn header_of(&self, found: &Finished, index: u64) -> Option<SegmentHeader> {
        let HeaderState::Valid(header) = found.header else { return None };
        let most = self.most_at((index, SEGMENT_HEADER_BYTES as u64));
        ((header.index, header.buffer_id) == (index, self.buffer_id)).then(|| SegmentHeader {
            next_seq: header.next_seq.min(most.seq),
            records_before: header.records_before.min(most.records),
            bytes_before: header.bytes_before.min(most.bytes),
            ..header
        })
    }

    /// Raises the totals to those in the header of the segment behind, which knows what came before it; what was read may
    /// be less. Returns how many records that is, all of them lost.
    fn catch_up(&mut self, header: &SegmentHeader) -> u64 {
        let lost = header.records_before.saturating_sub(self.at.records);
        self.at.seq = self.at.seq.max(header.next_seq);
        self.at.records = self.at.records.max(header.records_before);
        self.at.bytes = self.at.bytes.max(header.bytes_before);
        lost
    }

    /// Goes on behind segments that are missing: at the next one that is there, whose header says how many records they had.
    #[cold]
    fn pass_missing(&mut self, source: &dyn Source, upto: &Position) -> Result<Step> {
        let first = self.at.segment;
        let mut region = Region { offset: self.at.offset, ..Region::missing_segments(first, 1, 0) };
        let mut found = None;
        while found.is_none() && self.at.segment <= upto.segment {
            let next = self.at.segment + 1;
            self.enter_at(source.segment_after(self.at.segment).map_or(next, |listed| listed.max(next)));
            if self.at.segment <= upto.segment {
                found = source.open(self.at.segment)?;
            }
        }
        region.damage = Damage::MissingSegments(self.at.segment.min(upto.segment.saturating_add(1)) - first);
        if let Some(header) = found.and_then(|found| self.header_of(&found, self.at.segment)) {
            region.records = self.catch_up(&header);
        }
        source.set_aside(&region, &self.behind(upto));
        Ok(Step::Passed)
    }

    /// Where reading goes on behind what was just passed over: all that lies before the limit is finished there.
    fn behind(&self, upto: &Position) -> Position {
        if self.at.place() < upto.place() { self.at } else { *upto }
    }

    /// Goes on at the beginning of a segment.
    fn enter_at(&mut self, index: u64) {
        (self.at.segment, self.at.offset) = (index, SEGMENT_HEADER_BYTES as u64);
        self.window = None;
    }

    /// Passes over bytes that are no frame, up to the next whole one.
    #[cold]
    fn pass(&mut self, source: &dyn Source, bad: Bad, end: u64, upto: &Position) -> Result<Step> {
        let most = self.most();
        let last = self.at.segment == upto.segment;
        let Some(window) = &mut self.window else {
            return Err(Error::new(ErrorKind::Internal, "a reader without a window"));
        };
        let from = self.at.offset;
        let next = window.resync(from, end)?;
        let length = window.length;
        let mut region = Region { segment: window.index, offset: from, ..Region::default() };
        match next {
            Some(at) => {
                region.bytes = at - from;
                window.load(at, end, FRAME_BYTES)?;
                if let Some(shape) = window.bytes(at, end).get(..FRAME_BYTES).and_then(Shape::of) {
                    // Within a segment seqs have no gaps; a seal names the last one before it.
                    let expected = if shape.kind == Kind::Seal { shape.seq + 1 } else { shape.seq }.min(most.seq);
                    // More than fit there are seqs that jumped, where the segment's header is lost: the next header knows how
                    // many records it were.
                    let fit = region.bytes / FRAME_BYTES as u64;
                    region.records =
                        Some(expected.saturating_sub(self.at.seq)).filter(|lost| *lost <= fit).unwrap_or(0);
                    self.at.seq = self.at.seq.max(expected);
                    self.at.records += region.records;
                }
                self.at.offset = at;
                source.set_aside(&region, &self.behind(upto));
            }
            None if last && upto.offset == u64::MAX && bad == Bad::Empty => {
                // The terminator behind the last frame.
                self.at.offset = u64::MAX;
                return Ok(Step::Limit);
            }
            None => {
                // Nothing whole is left here. If what follows says that nothing is missing, only the end was hit: the
                // process died after it had begun the next segment.
                let next = region.segment + 1;
                let following = if last { None } else { source.open(next)? };
                let header = following.and_then(|found| self.header_of(&found, next));
                region.bytes = end.min(length).saturating_sub(from);
                region.records = header.map_or(0, |header| self.catch_up(&header));
                let is_sealed_before = |header: SegmentHeader| header.sealed.place() <= (region.segment, from);
                if last {
                    // A file shorter than the limit: the limit is reached all the same.
                    self.at.offset = u64::MAX;
                } else {
                    self.enter_at(self.at.segment + 1);
                }
                if region.records > 0 || !header.is_some_and(is_sealed_before) {
                    source.set_aside(&region, &self.behind(upto));
                }
            }
        }
        Ok(Step::Passed)
    }
}

impl Window {
    /// Has at least `wanted` bytes from `from` at hand, or all up to `end`.
    fn load(&mut self, from: u64, end: u64, wanted: usize) -> Result<()> {
        // Bytes that went away, or whose page could not take more, are read anew.
        let have = match &self.chunk {
            Some(chunk) if chunk.is_faulted() => 0,
            Some(chunk) if from >= self.base => (self.base + chunk.bytes().len() as u64).saturating_sub(from),
            _ => 0,
        };
        let rest = end.saturating_sub(from);
        if have >= (wanted as u64).min(rest) {
            return Ok(());
        }
        let len = match self.chunk {
            Some(Chunk::Mapped(_)) => rest,
            _ => rest.min((wanted.max(WINDOW)) as u64),
        };
        self.chunk = Some(match self.read(from, len as usize)? {
            // The first piece tells whether the segment is mapped: then take all of it.
            Chunk::Mapped(_) if len < rest => self.read(from, rest as usize)?,
            chunk => chunk,
        });
        self.base = from;
        Ok(())
    }

    /// Whether the frame at `from`, of this length, is whole; read in pieces.
    fn is_whole(&self, from: u64, length: usize) -> Result<bool> {
        let (mut header, mut sum) = ([0; FRAME_BYTES], 0);
        let (mut at, stop) = (from, from + length as u64);
        while at < stop {
            let chunk = self.read(at, WINDOW.min((stop - at) as usize))?;
            let bytes = chunk.bytes();
            let body = match at == from {
                true if bytes.len() < FRAME_BYTES || Shape::of(bytes).is_none() => return Ok(false),
                true => {
                    header.copy_from_slice(&bytes[..FRAME_BYTES]);
                    &bytes[FRAME_BYTES..]
                }
                false if bytes.is_empty() => return Ok(false),
                false => bytes,
            };
            sum = crc32c_append(sum, body);
            at += bytes.len() as u64;
        }
        Ok(format::is_whole(&header, self.salt, sum))
    }

    /// The next whole frame behind `from`.
    fn resync(&self, from: u64, end: u64) -> Result<Option<u64>> {
        let search = Search::new(from + format::ALIGN as u64, end, self.salt);
        let mut failed = None;
        let found = search.through(|piece, at| {
            let chunk = self.read(at, piece.len()).map_err(|error| {
                failed = Some(error);
                io::Error::other("see `failed`")
            })?;
            let bytes = chunk.bytes();
            piece[..bytes.len()].copy_from_slice(bytes);
            Ok(bytes.len())
        });
        match failed {
            Some(error) => Err(error),
            None => Ok(found.unwrap_or_default()),
        }
    }

    fn read(&self, from: u64, len: usize) -> Result<Chunk> {
        let chunk = self.reader.clone().read(from as usize, len);
        chunk.map_err(|error| Error::io(format_args!("could not read {}", segment::name(self.index)), error))
    }

    fn bytes(&self, from: u64, end: u64) -> &[u8] {
        let Some(chunk) = &self.chunk else { return &[] };
        let bytes = chunk.bytes();
        let start = ((from - self.base) as usize).min(bytes.len());
        let stop = ((end - self.base) as usize).min(bytes.len());
        &bytes[start..stop.max(start)]
    }
}
