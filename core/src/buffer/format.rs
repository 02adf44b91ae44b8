//! Bytes <-> frames. Pure: no I/O, no clock. `docs/format.md` is the same in prose; change both together.
//!
//! A frame, aligned to 8 bytes, little-endian:
//!
//! | at | size | field |
//! |---|---|---|
//! | 0 | 4 | CRC-32C of the body, then of the header with the segment's salt in this place |
//! | 4 | 4 | length of header and body, without padding |
//! | 8 | 8 | seq |
//! | 16 | 8 | created_at, microseconds since the epoch |
//! | 24 | 1 | kind: 1 record, 2 seal, 3 end |
//! | 25 | 1 | flags: 1 has an id, 2 has a key |
//! | 26 | 2 | length of the id |
//! | 28 | 2 | length of the key |
//! | 30 | 2 | zero |
//! | 32 | .. | body: id, key, payload; then zeros up to a multiple of 8 |
//!
//! Behind the last frame stands a zero word. The salt makes the checksum differ, for the same bytes, with certainty
//! between two uses of one file. The body is summed first so that it can be done before the log's lock is taken, from
//! the caller's bytes: reading back what was just stored into the mapping would wait for its cache lines.

use crate::checksum;
use std::fmt;
use std::sync::atomic::{Ordering, compiler_fence};

use super::checkpoint::Position;

/// A frame's header.
pub(crate) const FRAME_BYTES: usize = 32;
/// Frames start at multiples of this.
pub(crate) const ALIGN: usize = 8;
/// The zero word behind the last frame.
pub(crate) const TERMINATOR_BYTES: usize = 8;
/// The body of a seal.
pub(crate) const SEAL_BODY_BYTES: usize = 32;
/// An end and the terminator.
pub(crate) const END_BYTES: usize = FRAME_BYTES + TERMINATOR_BYTES;
/// Room that every segment keeps for a seal, an end and the terminator.
pub(crate) const TAIL_BYTES: usize = SEAL_BYTES + END_BYTES;
/// A seal.
pub(crate) const SEAL_BYTES: usize = FRAME_BYTES + SEAL_BODY_BYTES;
/// A segment's header: two copies of 512 bytes, so that one damaged sector costs nothing.
pub(crate) const SEGMENT_HEADER_BYTES: usize = 1024;
const HEADER_COPY_BYTES: usize = 512;
/// Seqs, indices, places and totals stay below this. What claims more is not whole, so that no sum of what is read
/// overflows.
pub(crate) const MOST: u64 = 1 << 62;
/// No frame is longer: a record of 256 MiB with the longest id and key.
pub(crate) const MOST_FRAME_BYTES: usize = FRAME_BYTES + (256 << 20) + 2 * (u16::MAX as usize);
/// The format that this code writes and reads.
pub(crate) const VERSION: u32 = 1;
const MAGIC: [u8; 8] = *b"unistrm\n";

const FLAG_ID: u8 = 1;
const FLAG_KEY: u8 = 2;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    Record = 1,
    /// Ends a batch.
    Seal = 2,
    /// Ends a segment.
    End = 3,
}

/// A decoded frame, borrowed from the bytes it stands in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Frame<'a> {
    pub(crate) kind: Kind,
    pub(crate) seq: u64,
    pub(crate) created_at: i64,
    pub(crate) id: Option<&'a str>,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) data: &'a [u8],
    /// Bytes up to the next frame.
    pub(crate) padded: usize,
}

/// The three parts of a frame's body.
#[derive(Clone, Copy)]
pub(crate) struct Body<'a> {
    pub(crate) id: Option<&'a str>,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) data: &'a [u8],
}

impl<'a> Body<'a> {
    #[inline]
    pub(crate) fn parts(&self) -> [&'a [u8]; 3] {
        [self.id.unwrap_or("").as_bytes(), self.key.unwrap_or(&[]), self.data]
    }

    /// The first part of a frame's checksum.
    #[inline]
    pub(crate) fn crc(&self) -> u32 {
        let mut crc = 0;
        if self.id.is_some() || self.key.is_some() {
            let [id, key, _] = self.parts();
            crc = checksum::crc32c_append(checksum::crc32c(id), key);
        }
        checksum::crc32c_append(crc, self.data)
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.id.map_or(0, str::len) + self.key.map_or(0, <[u8]>::len) + self.data.len()
    }
}

/// The length of a frame with this body, padding included.
#[inline]
pub(crate) const fn padded(body: usize) -> usize {
    (FRAME_BYTES + body).next_multiple_of(ALIGN)
}

/// What a frame says besides its body.
#[derive(Clone, Copy)]
pub(crate) struct Head {
    pub(crate) kind: Kind,
    pub(crate) seq: u64,
    pub(crate) created_at: i64,
}

/// Writes a frame, its padding and the terminator behind it into `space`, which is exactly that long.
#[inline]
pub(crate) fn encode(space: &mut [u8], head: Head, body: &Body<'_>, body_crc: u32, salt: u32) {
    let length = FRAME_BYTES + body.len();
    debug_assert_eq!(space.len(), padded(body.len()) + TERMINATOR_BYTES);
    let (id_len, key_len) = (body.id.map_or(0, str::len), body.key.map_or(0, <[u8]>::len));
    let flags = if body.id.is_some() { FLAG_ID } else { 0 } | if body.key.is_some() { FLAG_KEY } else { 0 };
    let shape = u64::from(head.kind as u8) | u64::from(flags) << 8 | (id_len as u64) << 16 | (key_len as u64) << 32;
    let first = (length as u64) << 32;
    let mut header = words([first | u64::from(salt), head.seq, head.created_at.cast_unsigned(), shape]);
    let crc = checksum::crc32c_append(body_crc, &header);
    header[..8].copy_from_slice(&(first | u64::from(crc)).to_le_bytes());
    // Padding and terminator before the body, which may reach into the last word.
    let last = space.len() - TERMINATOR_BYTES - ALIGN;
    space[last..].fill(0);
    let (fixed, rest) = space.split_at_mut(FRAME_BYTES);
    if id_len | key_len > 0 {
        let [id, key, _] = body.parts();
        rest[..id_len].copy_from_slice(id);
        rest[id_len..id_len + key_len].copy_from_slice(key);
    }
    rest[id_len + key_len..length - FRAME_BYTES].copy_from_slice(body.data);
    fixed[ALIGN..].copy_from_slice(&header[ALIGN..]);
    // The first word last, where `space` is mapped: up to then the terminator stands there, and a process that dies in
    // the midst leaves no part of a frame.
    compiler_fence(Ordering::Release);
    fixed[..ALIGN].copy_from_slice(&header[..ALIGN]);
}

/// A header as whole words: its checksum reads it by the word right away.
#[inline]
fn words(words: [u64; 4]) -> [u8; FRAME_BYTES] {
    let mut bytes = [0; FRAME_BYTES];
    for (at, word) in words.iter().enumerate() {
        bytes[at * 8..at * 8 + 8].copy_from_slice(&word.to_le_bytes());
    }
    bytes
}

/// A frame by itself, without a terminator.
pub(crate) fn frame(head: Head, body: &Body<'_>, salt: u32) -> Vec<u8> {
    let mut bytes = vec![0; padded(body.len()) + TERMINATOR_BYTES];
    encode(&mut bytes, head, body, body.crc(), salt);
    bytes.truncate(padded(body.len()));
    bytes
}

/// Why bytes are not a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bad {
    /// The terminator: nothing was written here.
    Empty,
    /// Anything else.
    Damaged,
}

/// Decodes the frame at the start of `bytes` and verifies its checksum.
#[inline]
pub(crate) fn decode(bytes: &[u8], salt: u32) -> Result<Frame<'_>, Bad> {
    if bytes.len() >= TERMINATOR_BYTES && bytes[..TERMINATOR_BYTES] == [0; TERMINATOR_BYTES] {
        return Err(Bad::Empty);
    }
    let frame = parse(bytes).ok_or(Bad::Damaged)?;
    let length = le_u32(bytes, 4) as usize;
    if !is_whole(bytes, salt, checksum::crc32c(&bytes[FRAME_BYTES..length])) {
        return Err(Bad::Damaged);
    }
    Ok(frame)
}

/// What a frame's header says of its lengths.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) kind: Kind,
    /// Of header and body.
    pub(crate) length: usize,
    pub(crate) seq: u64,
    id_len: usize,
    key_len: usize,
    flags: u8,
}

impl Shape {
    /// Whether [`of`](Self::of) is worth a look: a few instructions for most of what is no header.
    #[inline]
    pub(crate) fn is_likely(header: &[u8]) -> bool {
        let shape = le_u64(header, 24);
        shape & 0xffff_0000_0000_fcfc == 0 && shape & 3 != 0
    }

    /// `None` if the fields contradict each other.
    #[inline]
    pub(crate) fn of(header: &[u8]) -> Option<Shape> {
        let length = le_u32(header, 4) as usize;
        let id_len = usize::from(le_u16(header, 26));
        let key_len = usize::from(le_u16(header, 28));
        let flags = header[25];
        let kind = match header[24] {
            1 => Kind::Record,
            2 => Kind::Seal,
            3 => Kind::End,
            _ => return None,
        };
        let seq = le_u64(header, 8);
        let lengths = length < FRAME_BYTES + id_len + key_len || length > MOST_FRAME_BYTES;
        if lengths || flags & !(FLAG_ID | FLAG_KEY) != 0 || header[30..32] != [0, 0] || seq >= MOST {
            return None;
        }
        Some(Shape { kind, length, seq, id_len, key_len, flags })
    }

    /// What the sum of a frame with this header comes to, but for its body's part.
    pub(crate) fn sum(&self, header: &[u8], salt: u32) -> u32 {
        salted(header, salt, 0) ^ le_u32(header, 0)
    }

    pub(crate) fn padded(&self) -> usize {
        self.length.next_multiple_of(ALIGN)
    }

    /// Whether the id is text; `bytes` hold it.
    pub(crate) fn has_text(&self, bytes: &[u8]) -> bool {
        self.flags & FLAG_ID == 0 || std::str::from_utf8(&bytes[FRAME_BYTES..FRAME_BYTES + self.id_len]).is_ok()
    }

    pub(crate) fn key_len(&self) -> Option<usize> {
        (self.flags & FLAG_KEY != 0).then_some(self.key_len)
    }

    pub(crate) fn id_len(&self) -> Option<usize> {
        (self.flags & FLAG_ID != 0).then_some(self.id_len)
    }

    pub(crate) fn data_len(&self) -> usize {
        self.length - FRAME_BYTES - self.id_len - self.key_len
    }
}

/// The checksum of a header behind that of its body.
#[inline]
fn salted(bytes: &[u8], salt: u32, body_crc: u32) -> u32 {
    let mut header = [0; FRAME_BYTES];
    header.copy_from_slice(&bytes[..FRAME_BYTES]);
    header[..4].copy_from_slice(&salt.to_le_bytes());
    checksum::crc32c_append(body_crc, &header)
}

/// Whether a frame with this header is whole, its body having this checksum.
pub(crate) fn is_whole(header: &[u8], salt: u32, body_crc: u32) -> bool {
    salted(header, salt, body_crc) == le_u32(header, 0)
}

/// Reads the fields of a frame without its checksum; `None` if they contradict each other or the length
/// of `bytes`.
#[inline]
pub(crate) fn parse(bytes: &[u8]) -> Option<Frame<'_>> {
    if bytes.len() < FRAME_BYTES {
        return None;
    }
    let shape = Shape::of(bytes)?;
    let id_end = FRAME_BYTES + shape.id_len;
    let key_end = id_end + shape.key_len;
    if shape.length > bytes.len() {
        return None;
    }
    Some(Frame {
        kind: shape.kind,
        seq: shape.seq,
        created_at: le_u64(bytes, 16).cast_signed(),
        id: match shape.flags & FLAG_ID {
            0 => None,
            _ => Some(std::str::from_utf8(&bytes[FRAME_BYTES..id_end]).ok()?),
        },
        key: (shape.flags & FLAG_KEY != 0).then(|| &bytes[id_end..key_end]),
        data: &bytes[key_end..shape.length],
        padded: shape.padded(),
    })
}

/// A batch's boundary: the body of a seal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seal {
    pub(crate) first_seq: u64,
    pub(crate) last_seq: u64,
    pub(crate) records: u32,
    /// Part of the batch's id: two batches that begin at the same seq on either side of a power loss differ in it.
    pub(crate) epoch: u32,
}

impl Seal {
    pub(crate) fn encode(&self) -> [u8; SEAL_BODY_BYTES] {
        let mut body = [0; SEAL_BODY_BYTES];
        body[0..8].copy_from_slice(&self.first_seq.to_le_bytes());
        body[8..16].copy_from_slice(&self.last_seq.to_le_bytes());
        body[16..20].copy_from_slice(&self.records.to_le_bytes());
        body[20..24].copy_from_slice(&self.epoch.to_le_bytes());
        body
    }

    pub(crate) fn decode(body: &[u8]) -> Option<Seal> {
        let fits = body.len() == SEAL_BODY_BYTES && le_u64(body, 0).max(le_u64(body, 8)) < MOST;
        fits.then(|| Seal {
            first_seq: le_u64(body, 0),
            last_seq: le_u64(body, 8),
            records: le_u32(body, 16),
            epoch: le_u32(body, 20),
        })
    }
}

/// The state of the log where a segment begins, so that opening need not read the segments before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) index: u64,
    pub(crate) length: u64,
    pub(crate) buffer_id: u64,
    pub(crate) salt: u32,
    pub(crate) epoch: u32,
    /// The seq of the next record.
    pub(crate) next_seq: u64,
    /// Records and payload bytes put before this segment.
    pub(crate) records_before: u64,
    pub(crate) bytes_before: u64,
    /// The batch that is open where the segment begins: its first seq, records and counted bytes.
    pub(crate) open_first_seq: u64,
    pub(crate) open_records: u64,
    pub(crate) open_bytes: u64,
    /// Where the last sealed batch ends.
    pub(crate) sealed: Position,
    /// The segments below this one were durable when this segment was begun.
    pub(crate) durable_before: u64,
}

/// What the first bytes of a segment say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeaderState {
    Valid(SegmentHeader),
    /// All zero: prepared and never begun.
    Blank,
    /// One copy is blank, the other not whole: the process died while it began the segment, or worse.
    Torn,
    /// Neither copy is whole.
    Damaged,
    /// Whole, but of a version or with a feature that this code does not know.
    Unknown {
        version: u32,
        flags: u32,
    },
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> [u8; SEGMENT_HEADER_BYTES] {
        let mut copy = [0u8; HEADER_COPY_BYTES];
        copy[0..8].copy_from_slice(&MAGIC);
        copy[8..12].copy_from_slice(&VERSION.to_le_bytes());
        // 12..16: feature flags, none yet.
        copy[16..24].copy_from_slice(&self.index.to_le_bytes());
        copy[24..32].copy_from_slice(&self.length.to_le_bytes());
        copy[32..40].copy_from_slice(&self.buffer_id.to_le_bytes());
        copy[40..44].copy_from_slice(&self.salt.to_le_bytes());
        copy[44..48].copy_from_slice(&self.epoch.to_le_bytes());
        copy[48..56].copy_from_slice(&self.next_seq.to_le_bytes());
        copy[56..64].copy_from_slice(&self.records_before.to_le_bytes());
        copy[64..72].copy_from_slice(&self.bytes_before.to_le_bytes());
        copy[72..80].copy_from_slice(&self.open_first_seq.to_le_bytes());
        copy[80..88].copy_from_slice(&self.open_records.to_le_bytes());
        copy[88..96].copy_from_slice(&self.open_bytes.to_le_bytes());
        let Position { segment, offset, seq, records, bytes } = self.sealed;
        for (word, at) in [segment, offset, seq, records, bytes, self.durable_before].into_iter().zip((96..).step_by(8))
        {
            copy[at..at + 8].copy_from_slice(&word.to_le_bytes());
        }
        let crc = checksum::crc32c(&copy[..HEADER_COPY_BYTES - 4]);
        copy[HEADER_COPY_BYTES - 4..].copy_from_slice(&crc.to_le_bytes());
        let mut header = [0u8; SEGMENT_HEADER_BYTES];
        header[..HEADER_COPY_BYTES].copy_from_slice(&copy);
        header[HEADER_COPY_BYTES..].copy_from_slice(&copy);
        header
    }

    pub(crate) fn decode(bytes: &[u8]) -> HeaderState {
        let whole = bytes.chunks_exact(HEADER_COPY_BYTES).take(2).find(|copy| {
            copy[0..8] == MAGIC
                && checksum::crc32c(&copy[..HEADER_COPY_BYTES - 4]) == le_u32(copy, HEADER_COPY_BYTES - 4)
                && (le_u32(copy, 8) != VERSION || SegmentHeader::read(copy).is_possible())
        });
        let Some(copy) = whole else {
            let copies = bytes[..bytes.len().min(SEGMENT_HEADER_BYTES)].chunks(HEADER_COPY_BYTES);
            let blanks = copies.clone().filter(|copy| copy.iter().all(|byte| *byte == 0)).count();
            return match blanks {
                blanks if blanks == copies.len() => HeaderState::Blank,
                0 => HeaderState::Damaged,
                _ => HeaderState::Torn,
            };
        };
        let (version, flags) = (le_u32(copy, 8), le_u32(copy, 12));
        if version != VERSION || flags != 0 {
            return HeaderState::Unknown { version, flags };
        }
        HeaderState::Valid(SegmentHeader::read(copy))
    }

    fn read(copy: &[u8]) -> SegmentHeader {
        SegmentHeader {
            index: le_u64(copy, 16),
            length: le_u64(copy, 24),
            buffer_id: le_u64(copy, 32),
            salt: le_u32(copy, 40),
            epoch: le_u32(copy, 44),
            next_seq: le_u64(copy, 48),
            records_before: le_u64(copy, 56),
            bytes_before: le_u64(copy, 64),
            open_first_seq: le_u64(copy, 72),
            open_records: le_u64(copy, 80),
            open_bytes: le_u64(copy, 88),
            sealed: Position {
                segment: le_u64(copy, 96),
                offset: le_u64(copy, 104),
                seq: le_u64(copy, 112),
                records: le_u64(copy, 120),
                bytes: le_u64(copy, 128),
            },
            durable_before: le_u64(copy, 136),
        }
    }

    /// Whether a log can have come to this: what is sealed or durable lies before the segment, what is open behind the seal.
    fn is_possible(&self) -> bool {
        let Position { segment, offset, seq, records, bytes } = self.sealed;
        let most = [self.index, self.length, self.next_seq, self.records_before, self.bytes_before, self.open_bytes];
        most.into_iter().all(|number| number < MOST)
            && (segment, offset) <= (self.index, SEGMENT_HEADER_BYTES as u64)
            && offset < MOST
            && seq <= self.next_seq
            && records <= self.records_before
            && bytes <= self.bytes_before
            && self.open_first_seq <= self.next_seq
            && self.open_records <= self.records_before
            && self.durable_before <= self.index
    }
}

/// A batch's id: the buffer, the epoch it was sealed in, its first seq. Also the name of its dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BatchId {
    pub(crate) buffer_id: u64,
    pub(crate) epoch: u32,
    pub(crate) first_seq: u64,
}

impl fmt::Display for BatchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{}-{}", self.buffer_id, self.epoch, self.first_seq)
    }
}

#[inline]
pub(crate) fn le_u16(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

#[inline]
pub(crate) fn le_u32(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(word)
}

#[inline]
pub(crate) fn le_u64(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(seq: u64, body: Body<'_>, salt: u32) -> Vec<u8> {
        frame(Head { kind: Kind::Record, seq, created_at: -5 }, &body, salt)
    }

    #[test]
    fn a_frame_comes_back_as_it_went() {
        for (id, key, data) in [
            (None, None, &b""[..]),
            (Some(""), Some(&b""[..]), b"x"),
            (Some("id"), None, b"payload"),
            (None, Some(&b"key"[..]), b"payload of some length"),
        ] {
            let bytes = framed(7, Body { id, key, data }, 9);
            let frame = decode(&bytes, 9).unwrap();
            assert_eq!((frame.kind, frame.seq, frame.created_at), (Kind::Record, 7, -5));
            assert_eq!((frame.id, frame.key, frame.data), (id, key, data));
            assert_eq!(frame.padded, bytes.len());
        }
    }

    #[test]
    fn no_flipped_bit_and_no_other_salt_passes() {
        let bytes = framed(7, Body { id: Some("id"), key: Some(b"k"), data: b"payload!!" }, 9);
        assert_eq!(decode(&bytes, 10), Err(Bad::Damaged));
        let length = le_u32(&bytes, 4) as usize;
        for bit in 0..length * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&damaged, 9).is_err(), "bit {bit}");
        }
        for cut in 0..length {
            assert!(decode(&bytes[..cut], 9).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn a_segment_header_survives_either_copy() {
        let header =
            SegmentHeader { index: 3, length: 65536, buffer_id: 1, salt: 2, next_seq: 4, ..Default::default() };
        let bytes = header.encode();
        assert_eq!(SegmentHeader::decode(&bytes), HeaderState::Valid(header));
        for at in 0..SEGMENT_HEADER_BYTES {
            let mut damaged = bytes;
            damaged[at] ^= 0x40;
            assert_eq!(SegmentHeader::decode(&damaged), HeaderState::Valid(header), "byte {at}");
        }
        assert_eq!(SegmentHeader::decode(&[0; SEGMENT_HEADER_BYTES]), HeaderState::Blank);
        assert_eq!(SegmentHeader::decode(&[1; SEGMENT_HEADER_BYTES]), HeaderState::Damaged);
        assert_eq!(SegmentHeader::decode(&bytes[..100]), HeaderState::Damaged);
        for cut in 1..HEADER_COPY_BYTES {
            let mut torn = [0; SEGMENT_HEADER_BYTES];
            torn[..cut].copy_from_slice(&bytes[..cut]);
            let state = SegmentHeader::decode(&torn);
            // The last bytes of a copy may be zeros all the same.
            assert!([HeaderState::Torn, HeaderState::Valid(header)].contains(&state), "cut at {cut}");
        }
    }

    #[test]
    fn an_unknown_version_or_feature_is_told_from_damage() {
        for (at, version, flags) in [(8, 2, 0), (12, VERSION, 2)] {
            let mut bytes = SegmentHeader::default().encode();
            bytes[at] = 2;
            let crc = checksum::crc32c(&bytes[..508]);
            bytes[508..512].copy_from_slice(&crc.to_le_bytes());
            bytes[512..].fill(0);
            assert_eq!(SegmentHeader::decode(&bytes), HeaderState::Unknown { version, flags });
        }
    }

    /// The page's example is what this code writes.
    #[test]
    fn the_example_of_the_page() {
        let page = include_str!("../../docs/format.md");
        let hex = page.split("```hex").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
        let bytes: Vec<u8> = hex.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect();
        let salt = crate::buffer::segment::salt(0x0123_4567_89ab_cdef, 1);
        assert!(page.contains(&format!("salt is `{salt:#010x}`")));
        let head = Head { kind: Kind::Record, seq: 1, created_at: 0 };
        assert_eq!(bytes, frame(head, &Body { id: Some("a"), key: None, data: b"hi" }, salt));
    }
}
