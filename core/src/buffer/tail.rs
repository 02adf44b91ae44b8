//! Where the log ends: the last segment, read frame by frame in pieces, so that its length costs no memory.

use std::io;
use std::sync::Arc;

use super::checkpoint::{Closed, Position};
use super::format::{self, Bad, FRAME_BYTES, Kind, SEGMENT_HEADER_BYTES, Seal, SegmentHeader, Shape, TERMINATOR_BYTES};
use super::recovery::{End, LastSegment, Recovered};
use super::resync::{PIECE, Search};
use super::scan::Region;
use super::segment;
use super::writer::{BatchCaps, OpenBatch};
use crate::limits::Limits;
use crate::platform::{File, read_past};

/// A write that is cut off, as its process dies, is cut at a multiple of this.
const PAGE: u64 = 4096;

/// A segment's file and the piece of it at hand.
struct Frames<'a> {
    file: &'a dyn File,
    end: u64,
    salt: u32,
    piece: Vec<u8>,
    base: u64,
    unreadable: u64,
}

/// A whole frame, but for its body.
struct Seen {
    shape: Shape,
    seal: Option<Seal>,
}

impl Frames<'_> {
    /// At least `wanted` bytes from `at`, of at most a piece, or all up to the end.
    fn load(&mut self, at: u64, wanted: usize) -> io::Result<&[u8]> {
        let left = self.end.saturating_sub(at);
        let have = (self.base + self.piece.len() as u64).saturating_sub(at);
        if at < self.base || have < left.min(wanted as u64) {
            self.piece.resize(PIECE.min(left as usize), 0);
            let got = read_past(self.file, &mut self.piece, at)?;
            self.piece.truncate(got.bytes);
            self.unreadable += got.unreadable;
            self.base = at;
        }
        let start = ((at - self.base) as usize).min(self.piece.len());
        Ok(&self.piece[start..])
    }

    /// The frame at `at`, or why there is none.
    fn at(&mut self, at: u64) -> io::Result<Result<Seen, Bad>> {
        let (salt, end) = (self.salt, self.end);
        let bytes = self.load(at, FRAME_BYTES)?;
        if bytes.len() >= TERMINATOR_BYTES && bytes[..TERMINATOR_BYTES] == [0; TERMINATOR_BYTES] {
            return Ok(Err(Bad::Empty));
        }
        let shape = if bytes.len() < FRAME_BYTES { None } else { Shape::of(bytes) };
        let Some(shape) = shape.filter(|shape| at + shape.length as u64 <= end) else { return Ok(Err(Bad::Damaged)) };
        let bytes = self.load(at, shape.length.min(PIECE))?;
        if shape.length <= PIECE {
            let frame = format::decode(bytes, salt);
            return Ok(frame.map(|frame| Seen { shape, seal: seal(frame.kind, frame.data) }));
        }
        if bytes.len() < PIECE || !shape.has_text(bytes) {
            return Ok(Err(Bad::Damaged));
        }
        let mut header = [0; FRAME_BYTES];
        header.copy_from_slice(&bytes[..FRAME_BYTES]);
        let (mut sum, mut from, stop) = (0, at + FRAME_BYTES as u64, at + shape.length as u64);
        while from < stop {
            let bytes = self.load(from, 1)?;
            let count = bytes.len().min((stop - from) as usize);
            if count == 0 {
                return Ok(Err(Bad::Damaged));
            }
            sum = crc32c::crc32c_append(sum, &bytes[..count]);
            from += count as u64;
        }
        let is_whole = format::is_whole(&header, salt, sum);
        Ok(if is_whole { Ok(Seen { shape, seal: None }) } else { Err(Bad::Damaged) })
    }

    /// The next whole frame behind `at`.
    fn behind(&mut self, at: u64) -> io::Result<Option<u64>> {
        let search = Search::new(at + format::ALIGN as u64, self.end, self.salt);
        let unreadable = &mut self.unreadable;
        search.through(|piece, from| {
            let got = read_past(self.file, piece, from)?;
            *unreadable += got.unreadable;
            Ok(got.bytes)
        })
    }

    /// The first word at `at` or behind it that is zero, as the one that ends a log.
    fn terminator(&mut self, mut at: u64) -> io::Result<u64> {
        while at < self.end {
            let words = self.load(at, TERMINATOR_BYTES)?.chunks_exact(TERMINATOR_BYTES);
            let count = words.len();
            let zero = words.into_iter().position(|word| word == [0; TERMINATOR_BYTES]);
            if let Some(zero) = zero {
                return Ok(at + (zero * TERMINATOR_BYTES) as u64);
            }
            if count == 0 {
                break;
            }
            at += (count * TERMINATOR_BYTES) as u64;
        }
        Ok(self.end)
    }

    /// What stands at the end of the log and is neither a frame nor a terminator.
    fn rest(&mut self, at: u64, next_seq: u64) -> io::Result<Rest> {
        let most = self.end - at;
        let bytes = self.load(at, FRAME_BYTES)?;
        if bytes.len() < TERMINATOR_BYTES || bytes[..TERMINATOR_BYTES] == [0; TERMINATOR_BYTES] {
            let torn = bytes.len() < TERMINATOR_BYTES && bytes.iter().any(|byte| *byte != 0);
            return Ok(if torn { Rest::Torn(bytes.len() as u64) } else { Rest::Nothing });
        }
        let claimed = u64::from(format::le_u32(bytes, 4)).max(format::ALIGN as u64).min(most);
        match plausible(bytes, next_seq) {
            // A put that died stores a mapped frame's first word last, and writes a plain one page by page.
            // A seal is written anew, whether it died or was damaged: nobody is told of a seq that is its own.
            Some(Shape { kind: Kind::Seal, .. }) if self.terminator(at + claimed)? == at + claimed => {
                return Ok(Rest::Seal(claimed));
            }
            Some(_) if at % PAGE + claimed.next_multiple_of(8) + TERMINATOR_BYTES as u64 > PAGE => {
                return Ok(Rest::Torn(claimed));
            }
            None if at % PAGE + FRAME_BYTES as u64 > PAGE => return Ok(Rest::Torn(claimed)),
            _ => {}
        }
        // What was put is damaged: this frame, and what comes behind it up to the end.
        let (mut place, mut next_seq, mut records) = (at, next_seq, 0);
        loop {
            let bytes = self.load(place, FRAME_BYTES)?;
            if bytes.len() < TERMINATOR_BYTES || bytes[..TERMINATOR_BYTES] == [0; TERMINATOR_BYTES] {
                break;
            }
            match plausible(bytes, next_seq) {
                Some(shape) if place + shape.padded() as u64 <= self.end => {
                    let is_record = u64::from(shape.kind == Kind::Record);
                    (records, next_seq) = (records + is_record, next_seq + is_record);
                    place += shape.padded() as u64;
                }
                _ => {
                    place = self.terminator(place)?;
                    break;
                }
            }
        }
        Ok(Rest::Damaged { bytes: place.min(self.end) - at, records })
    }
}

/// What stands behind the last whole frame.
enum Rest {
    Nothing,
    /// A seal that is not whole, and nothing behind it.
    Seal(u64),
    /// What a put can have left that died before it returned; or one that returned, and was damaged.
    Torn(u64),
    /// What no such put leaves.
    Damaged {
        bytes: u64,
        records: u64,
    },
}

/// A header that the log can have written where `next_seq` comes next.
fn plausible(bytes: &[u8], next_seq: u64) -> Option<Shape> {
    let shape = bytes.get(..FRAME_BYTES).and_then(Shape::of)?;
    let expected = if shape.kind == Kind::Seal { next_seq.checked_sub(1)? } else { next_seq };
    (shape.seq == expected).then_some(shape)
}

fn seal(kind: Kind, data: &[u8]) -> Option<Seal> {
    if kind == Kind::Seal { Seal::decode(data) } else { None }
}

impl Recovered {
    /// Finds the end of the last segment.
    pub(super) fn scan(
        &mut self,
        index: u64,
        file: Arc<dyn File>,
        header: Option<SegmentHeader>,
        limits: &Limits,
        caps: BatchCaps,
    ) -> io::Result<()> {
        let length = segment::length(&*file)?;
        let salt = segment::salt(self.state.buffer_id, index);
        let mut frames = Frames { file: &*file, end: length, salt, piece: Vec::new(), base: 0, unreadable: 0 };
        if header.is_none() {
            let bytes = length.min(SEGMENT_HEADER_BYTES as u64);
            self.miss(Region { segment: index, offset: 0, bytes, records: 0 });
        }
        let end = &mut self.end;
        match header {
            Some(header) => {
                self.durable_before = self.durable_before.max(header.durable_before);
                end.next_seq = end.next_seq.max(header.next_seq);
                end.records = end.records.max(header.records_before);
                end.bytes = end.bytes.max(header.bytes_before);
                if (header.sealed.segment, header.sealed.offset) > (end.sealed.segment, end.sealed.offset) {
                    end.sealed = header.sealed;
                }
                end.open = OpenBatch {
                    first_seq: header.open_first_seq,
                    records: header.open_records,
                    bytes: header.open_bytes,
                    ..OpenBatch::default()
                };
                end.cut = end.open;
            }
            None => {
                // What came before this segment counts as sealed, under a new epoch.
                if end.sealed.segment < index {
                    end.sealed = Position { segment: index, offset: SEGMENT_HEADER_BYTES as u64, ..end.sealed };
                }
            }
        }
        // Behind the header, or where the cursor is if that is further on: what is before it is finished.
        let mut at = SEGMENT_HEADER_BYTES as u64;
        let committed = self.state.committed;
        if committed.segment == index && committed.offset > at && committed.offset <= length {
            at = committed.offset;
            *end = End {
                next_seq: committed.seq,
                sealed: committed,
                records: committed.records,
                bytes: committed.bytes,
                ..End::default()
            };
        }
        let mut tail = at.min(length);
        let mut ended = false;
        while at < length {
            let Seen { shape, seal } = match frames.at(at)? {
                Ok(seen) => seen,
                // Closed in order behind the last seq that was given out: there is nothing to look for.
                Err(Bad::Empty) if self.state.closed == Closed::Durably && end.next_seq == self.state.seq_limit => {
                    break;
                }
                Err(_) => {
                    let Some(next) = frames.behind(at)? else { break };
                    self.uncertain = true;
                    at = next;
                    continue;
                }
            };
            at += shape.padded() as u64;
            tail = at;
            match shape.kind {
                // A copy of a record that was there before.
                Kind::Record if shape.seq < end.next_seq => {}
                Kind::Record => {
                    let lost = shape.seq.saturating_sub(end.next_seq);
                    let counted = limits.lengths_count(shape.data_len(), shape.key_len(), shape.id_len());
                    if !end.cut.takes(counted, caps) {
                        end.cut = OpenBatch::default();
                    }
                    end.open.add(shape.seq, counted);
                    end.cut.add(shape.seq, counted);
                    end.records += 1 + lost;
                    end.lost += lost;
                    end.bytes += shape.data_len() as u64;
                    end.next_seq = shape.seq + 1;
                }
                Kind::Seal => {
                    if let Some(seal) = seal {
                        let next = end.next_seq.max(seal.last_seq + 1);
                        end.records += next - end.next_seq;
                        end.lost += next - end.next_seq;
                        end.next_seq = next;
                    }
                    (end.open, end.cut) = Default::default();
                    end.sealed = Position {
                        segment: index,
                        offset: at,
                        seq: end.next_seq,
                        records: end.records,
                        bytes: end.bytes,
                    };
                }
                Kind::End => {
                    ended = true;
                    break;
                }
            }
        }
        if !ended && tail < length {
            let next_seq = self.end.next_seq;
            match frames.rest(tail, next_seq)? {
                Rest::Nothing => {}
                // A process that died in a put leaves this, and so does a power loss; one that closed the log does not.
                Rest::Seal(bytes) if self.state.closed == Closed::No => self.torn_bytes = bytes,
                Rest::Torn(bytes) if self.state.closed == Closed::No => {
                    self.torn_bytes = bytes;
                    self.uncertain = true;
                }
                Rest::Damaged { bytes, .. } if self.power_lost => self.torn_bytes = bytes,
                Rest::Seal(bytes) | Rest::Torn(bytes) => {
                    self.torn_bytes = bytes;
                    self.miss(Region { segment: index, offset: tail, bytes, records: 0 });
                }
                Rest::Damaged { bytes, records } => {
                    self.torn_bytes = bytes;
                    self.miss(Region { segment: index, offset: tail, bytes, records });
                }
            }
        }
        let short = header.map_or(0, |header| header.length.saturating_sub(length));
        if short > 0 && !ended {
            self.miss(Region { segment: index, offset: length, bytes: short, records: 0 });
        }
        if ended {
            // The next segment is begun before this one is ended.
            self.miss(Region { segment: index + 1, offset: 0, bytes: 0, records: 0 });
        }
        // Nothing is written where the disk cannot read: a store to such a page would fail.
        let sound = frames.unreadable == 0;
        self.uncertain |= !sound;
        self.last = Some(LastSegment { index, length, tail: tail as usize, ended, sound, file });
        Ok(())
    }
}
