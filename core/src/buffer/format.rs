//! What stands in the log besides records: a segment's header, seals, and the room that they take. Pure: no I/O, no clock.
//! `docs/format.md` says the same in prose; change both together.

use super::position::Position;

use crate::checksum::crc32c;
use crate::features;
#[cfg(any(test, feature = "torture"))]
pub(crate) use crate::frame::frame;
pub(crate) use crate::frame::{
    ALIGN, Bad, Body, FRAME_BYTES, Frame, Head, Kind, MOST, Shape, TERMINATOR_BYTES, VERSION, decode, encode, is_whole,
    padded, parse,
};
pub(crate) use crate::little_endian::{le_u32, le_u64};

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
/// The features of segments that are begun, and of those that can be read.
pub(crate) const SEGMENT_FEATURES: u32 = features::ATTRIBUTES;
const HEADER_COPY_BYTES: usize = 512;
const MAGIC: [u8; 8] = *b"unistrm\n";

/// A batch's boundary: the body of a seal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seal {
    pub(crate) first_seq: u64,
    pub(crate) last_seq: u64,
    pub(crate) records: u32,
    /// Part of the batch's id: two batches that begin at the same seq on either side of a power loss differ in it.
    pub(crate) epoch: u32,
    /// How many lanes the batch is divided in; 0 is 1.
    pub(crate) lanes: u32,
}

impl Seal {
    pub(crate) fn encode(&self) -> [u8; SEAL_BODY_BYTES] {
        let mut body = [0; SEAL_BODY_BYTES];
        body[0..8].copy_from_slice(&self.first_seq.to_le_bytes());
        body[8..16].copy_from_slice(&self.last_seq.to_le_bytes());
        body[16..20].copy_from_slice(&self.records.to_le_bytes());
        body[20..24].copy_from_slice(&self.epoch.to_le_bytes());
        body[24..28].copy_from_slice(&self.lanes.to_le_bytes());
        body
    }

    pub(crate) fn decode(body: &[u8]) -> Option<Seal> {
        let fits = body.len() == SEAL_BODY_BYTES && le_u64(body, 0).max(le_u64(body, 8)) < MOST;
        fits.then(|| Seal {
            first_seq: le_u64(body, 0),
            last_seq: le_u64(body, 8),
            records: le_u32(body, 16),
            epoch: le_u32(body, 20),
            lanes: le_u32(body, 24),
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
    /// What a reader must know of. Places in the header are kept for how a segment is compressed or encrypted.
    pub(crate) features: u32,
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
        copy[12..16].copy_from_slice(&self.features.to_le_bytes());
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
        let crc = crc32c(&copy[..HEADER_COPY_BYTES - 4]);
        copy[HEADER_COPY_BYTES - 4..].copy_from_slice(&crc.to_le_bytes());
        let mut header = [0u8; SEGMENT_HEADER_BYTES];
        header[..HEADER_COPY_BYTES].copy_from_slice(&copy);
        header[HEADER_COPY_BYTES..].copy_from_slice(&copy);
        header
    }

    pub(crate) fn decode(bytes: &[u8]) -> HeaderState {
        let whole = bytes.chunks_exact(HEADER_COPY_BYTES).take(2).find(|copy| {
            copy[0..8] == MAGIC
                && crc32c(&copy[..HEADER_COPY_BYTES - 4]) == le_u32(copy, HEADER_COPY_BYTES - 4)
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
        if !features::are_known(version, flags, SEGMENT_FEATURES) {
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
            features: le_u32(copy, 12),
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

#[cfg(test)]
mod tests {
    use super::*;

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
            let crc = crc32c(&bytes[..508]);
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
        assert_eq!(bytes, frame(head, &Body::new(Some("a"), None, None, b"hi"), salt));
    }
}
