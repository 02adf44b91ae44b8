//! Frames: how one record stands in a file. Bytes to frames and back, without I/O and without a clock. The log is made of
//! them, batches borrow from them, and dead letters hold them. `docs/format.md` says the same in prose; change both together.
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
//! | 25 | 1 | flags: 1 has an id, 2 has a key, 4 has attributes |
//! | 26 | 2 | length of the id |
//! | 28 | 2 | length of the key |
//! | 30 | 2 | length of the attributes; 0 without their flag |
//! | 32 | .. | body: id, key, attributes, payload; then zeros up to a multiple of 8 |
//!
//! Behind the last frame stands a zero word. With another salt the same bytes have another checksum, so a frame of an earlier
//! use of the file is not taken for one of this use. The body is summed before the header, so that it can be summed from the
//! caller's bytes before the log's lock is taken. Summing what was just stored into the mapping would wait for its cache lines.

use std::sync::atomic::{Ordering, compiler_fence};

use crate::attributes::Attributes;
use crate::checksum::{crc32c, crc32c_append, crc32c_append_words};
use crate::little_endian::{le_u16, le_u32, le_u64};
pub(crate) use crate::platform::TERMINATOR_BYTES;

/// A frame's header.
pub(crate) const FRAME_BYTES: usize = 32;
/// Frames start at multiples of this.
pub(crate) const ALIGN: usize = 8;
/// Seqs, indices, places and totals stay below this. Bytes that claim more are damaged; so no sum of what is read overflows.
pub(crate) const MOST: u64 = 1 << 62;
/// The longest frame: a record of 256 MiB with the longest id, key and attributes.
pub(crate) const MOST_FRAME_BYTES: usize = FRAME_BYTES + (256 << 20) + 3 * (u16::MAX as usize);
/// The version of the format that this code writes and reads: of frames, and of what stands around them in the log, in
/// checkpoints and in dead letters.
pub(crate) const VERSION: u32 = 1;

const FLAG_ID: u8 = 1;
const FLAG_KEY: u8 = 2;
const FLAG_ATTRIBUTES: u8 = 4;

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
    pub(crate) attributes: Attributes<'a>,
    pub(crate) data: &'a [u8],
    /// Bytes up to the next frame.
    pub(crate) padded: usize,
}

/// A frame's body, with what is known of it before it has a place in a file.
#[derive(Clone, Copy)]
pub(crate) struct Body<'a> {
    id: Option<&'a str>,
    pub(crate) key: Option<&'a [u8]>,
    attributes: Option<&'a Attributes<'a>>,
    data: &'a [u8],
    /// All its bytes.
    len: usize,
    /// The header's flags and lengths, as they stand in its last word. 0: the body is the payload alone.
    shape: u64,
    /// The first part of the frame's checksum.
    pub(crate) crc: u32,
}

impl<'a> Body<'a> {
    /// A body that is nothing but this.
    #[inline(always)]
    pub(crate) fn of(data: &'a [u8]) -> Body<'a> {
        Body::summed(data, crc32c(data))
    }

    /// The same, where the checksum of its bytes is known.
    #[inline(always)]
    pub(crate) fn summed(data: &'a [u8], crc: u32) -> Body<'a> {
        Body { id: None, key: None, attributes: None, data, len: data.len(), shape: 0, crc }
    }

    /// A body of these parts. Most records have a payload and nothing else, and do not pay for the rest.
    #[inline(always)]
    pub(crate) fn new(
        id: Option<&'a str>,
        key: Option<&'a [u8]>,
        attributes: Option<&'a Attributes<'a>>,
        data: &'a [u8],
    ) -> Body<'a> {
        if id.is_none() && key.is_none() && attributes.is_none() {
            return Body::of(data);
        }
        Body::of_parts(id, key, attributes, data)
    }

    fn of_parts(
        id: Option<&'a str>,
        key: Option<&'a [u8]>,
        attributes: Option<&'a Attributes<'a>>,
        data: &'a [u8],
    ) -> Body<'a> {
        let attributes_len = attributes.map_or(0, Attributes::len);
        let mut flags = if id.is_some() { FLAG_ID } else { 0 } | if key.is_some() { FLAG_KEY } else { 0 };
        if attributes_len > 0 {
            flags |= FLAG_ATTRIBUTES;
        }
        let (id_bytes, key_bytes) = (id.unwrap_or("").as_bytes(), key.unwrap_or(&[]));
        let lengths = (id_bytes.len() as u64) << 16 | (key_bytes.len() as u64) << 32 | (attributes_len as u64) << 48;
        let mut crc = crc32c_append(crc32c(id_bytes), key_bytes);
        if let Some(attributes) = attributes {
            attributes.each_piece(|piece| crc = crc32c_append(crc, piece));
        }
        Body {
            id,
            key,
            attributes,
            data,
            len: id_bytes.len() + key_bytes.len() + attributes_len + data.len(),
            shape: u64::from(flags) << 8 | lengths,
            crc: crc32c_append(crc, data),
        }
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub(crate) fn data_len(&self) -> usize {
        self.data.len()
    }

    /// Whether it has headers, a topic or a time of expiry.
    #[inline]
    pub(crate) fn has_attributes(&self) -> bool {
        self.shape & (u64::from(FLAG_ATTRIBUTES) << 8) != 0
    }

    /// Stores it into a place of its length.
    fn store_parts(&self, mut place: &mut [u8]) {
        let mut store = |piece: &[u8]| {
            let (here, rest) = std::mem::take(&mut place).split_at_mut(piece.len());
            here.copy_from_slice(piece);
            place = rest;
        };
        store(self.id.unwrap_or("").as_bytes());
        store(self.key.unwrap_or(&[]));
        if let Some(attributes) = self.attributes {
            attributes.each_piece(&mut store);
        }
        store(self.data);
    }
}

/// The length of a frame with this body, padding included.
#[inline]
pub(crate) const fn padded(body: usize) -> usize {
    // `next_multiple_of` would ask first whether it is one.
    (FRAME_BYTES + body + ALIGN - 1) & !(ALIGN - 1)
}

/// What a frame says besides its body.
#[derive(Clone, Copy)]
pub(crate) struct Head {
    pub(crate) kind: Kind,
    pub(crate) seq: u64,
    pub(crate) created_at: i64,
}

/// Writes a frame, its padding and the terminator behind it into `space`, which is exactly that long.
#[inline(always)]
pub(crate) fn encode(space: &mut [u8], head: Head, body: &Body<'_>, salt: u32) {
    let length = FRAME_BYTES + body.len;
    debug_assert_eq!(space.len(), padded(body.len) + TERMINATOR_BYTES);
    let shape = u64::from(head.kind as u8) | body.shape;
    let length = (length as u64) << 32;
    let (seq, created_at) = (head.seq, head.created_at.cast_unsigned());
    let crc = crc32c_append_words(body.crc, [length | u64::from(salt), seq, created_at, shape]);
    // Padding and terminator before the body, which may reach into the last word.
    let last = space.len() - TERMINATOR_BYTES - ALIGN;
    space[last..].fill(0);
    let (fixed, rest) = space.split_at_mut(FRAME_BYTES);
    let place = &mut rest[..body.len];
    if body.shape == 0 {
        place.copy_from_slice(body.data);
    } else {
        body.store_parts(place);
    }
    fixed[8..16].copy_from_slice(&seq.to_le_bytes());
    fixed[16..24].copy_from_slice(&created_at.to_le_bytes());
    fixed[24..].copy_from_slice(&shape.to_le_bytes());
    // The first word last, for when `space` is mapped. Until then the terminator stands there, so a process that dies in
    // between leaves no part of a frame.
    compiler_fence(Ordering::Release);
    fixed[..8].copy_from_slice(&(length | u64::from(crc)).to_le_bytes());
}

/// A frame by itself, without a terminator.
pub(crate) fn frame(head: Head, body: &Body<'_>, salt: u32) -> Vec<u8> {
    let mut bytes = vec![0; padded(body.len) + TERMINATOR_BYTES];
    encode(&mut bytes, head, body, salt);
    bytes.truncate(padded(body.len));
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
    if !is_whole(bytes, salt, crc32c(&bytes[FRAME_BYTES..length])) {
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
    attributes_len: usize,
    flags: u8,
}

impl Shape {
    /// Whether [`of`](Self::of) may find a header here. It rules most bytes out in a few instructions.
    #[inline]
    pub(crate) fn is_likely(header: &[u8]) -> bool {
        let shape = le_u64(header, 24);
        let has_attributes = shape >> 8 & u64::from(FLAG_ATTRIBUTES) != 0;
        shape & 0xf8fc == 0 && shape & 3 != 0 && (shape >> 48 != 0) == has_attributes
    }

    /// `None` if the fields contradict each other.
    #[inline]
    pub(crate) fn of(header: &[u8]) -> Option<Shape> {
        let length = le_u32(header, 4) as usize;
        let id_len = usize::from(le_u16(header, 26));
        let key_len = usize::from(le_u16(header, 28));
        let attributes_len = usize::from(le_u16(header, 30));
        let flags = header[25];
        let kind = match header[24] {
            1 => Kind::Record,
            2 => Kind::Seal,
            3 => Kind::End,
            _ => return None,
        };
        let seq = le_u64(header, 8);
        let lengths = length < FRAME_BYTES + id_len + key_len + attributes_len || length > MOST_FRAME_BYTES;
        let has_attributes = flags & FLAG_ATTRIBUTES != 0;
        let unknown = flags & !(FLAG_ID | FLAG_KEY | FLAG_ATTRIBUTES) != 0;
        if lengths || unknown || (attributes_len > 0) != has_attributes || seq >= MOST {
            return None;
        }
        Some(Shape { kind, length, seq, id_len, key_len, attributes_len, flags })
    }

    /// The checksum of a frame with this header, without the part of its body.
    pub(crate) fn sum(&self, header: &[u8], salt: u32) -> u32 {
        salted(header, salt, 0) ^ le_u32(header, 0)
    }

    pub(crate) fn padded(&self) -> usize {
        self.length.next_multiple_of(ALIGN)
    }

    /// Whether the id is text and the attributes are what they say; `bytes` hold both.
    pub(crate) fn is_readable(&self, bytes: &[u8]) -> bool {
        self.id(bytes).is_some() && self.attributes(bytes).is_some()
    }

    /// The id in `bytes`, if it has one; `None` if that is not text.
    #[inline]
    fn id<'a>(&self, bytes: &'a [u8]) -> Option<Option<&'a str>> {
        if self.flags & FLAG_ID == 0 {
            return Some(None);
        }
        std::str::from_utf8(&bytes[FRAME_BYTES..FRAME_BYTES + self.id_len]).ok().map(Some)
    }

    /// The attributes in `bytes`; `None` if they are no such.
    #[inline]
    fn attributes<'a>(&self, bytes: &'a [u8]) -> Option<Attributes<'a>> {
        if self.attributes_len == 0 {
            return Some(Attributes::default());
        }
        let start = FRAME_BYTES + self.id_len + self.key_len;
        Attributes::decode(&bytes[start..start + self.attributes_len])
    }

    pub(crate) fn attributes_len(&self) -> usize {
        self.attributes_len
    }

    pub(crate) fn key_len(&self) -> Option<usize> {
        (self.flags & FLAG_KEY != 0).then_some(self.key_len)
    }

    pub(crate) fn id_len(&self) -> Option<usize> {
        (self.flags & FLAG_ID != 0).then_some(self.id_len)
    }

    pub(crate) fn data_len(&self) -> usize {
        self.length - FRAME_BYTES - self.id_len - self.key_len - self.attributes_len
    }
}

/// The checksum of a frame: that of its body, continued with its header.
#[inline]
fn salted(bytes: &[u8], salt: u32, body_crc: u32) -> u32 {
    let mut header = [0; FRAME_BYTES];
    header.copy_from_slice(&bytes[..FRAME_BYTES]);
    header[..4].copy_from_slice(&salt.to_le_bytes());
    crc32c_append(body_crc, &header)
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
    if shape.length > bytes.len() {
        return None;
    }
    let id_end = FRAME_BYTES + shape.id_len;
    let key_end = id_end + shape.key_len;
    Some(Frame {
        kind: shape.kind,
        seq: shape.seq,
        created_at: le_u64(bytes, 16).cast_signed(),
        id: shape.id(bytes)?,
        key: (shape.flags & FLAG_KEY != 0).then(|| &bytes[id_end..key_end]),
        attributes: shape.attributes(bytes)?,
        data: &bytes[key_end + shape.attributes_len..shape.length],
        padded: shape.padded(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attributes::Headers;

    fn framed(seq: u64, body: Body<'_>, salt: u32) -> Vec<u8> {
        frame(Head { kind: Kind::Record, seq, created_at: -5 }, &body, salt)
    }

    #[test]
    fn a_frame_comes_back_as_it_went() {
        let headers = [("traceparent", &b"00-4bf9"[..]), ("", b"")];
        let attributes =
            [None, Some(Attributes { topic: Some("t"), expires_at: Some(-1), headers: Headers::from(&headers) })];
        for (id, key, data) in [
            (None, None, &b""[..]),
            (Some(""), Some(&b""[..]), b"x"),
            (Some("id"), None, b"payload"),
            (None, Some(&b"key"[..]), b"payload of some length"),
        ] {
            for attributes in attributes.iter().map(Option::as_ref) {
                let bytes = framed(7, Body::new(id, key, attributes, data), 9);
                let frame = decode(&bytes, 9).unwrap();
                assert_eq!((frame.kind, frame.seq, frame.created_at), (Kind::Record, 7, -5));
                assert_eq!((frame.id, frame.key, frame.data), (id, key, data));
                assert_eq!(frame.attributes, attributes.copied().unwrap_or_default());
                assert_eq!(frame.padded, bytes.len());
                assert!(Shape::is_likely(&bytes));
                let shape = Shape::of(&bytes).unwrap();
                assert_eq!(shape.data_len(), data.len());
                assert!(shape.is_readable(&bytes));
            }
        }
    }

    #[test]
    fn no_flipped_bit_and_no_other_salt_passes() {
        let attributes = Attributes { topic: Some("topic"), ..Attributes::default() };
        let body = Body::new(Some("id"), Some(b"k"), Some(&attributes), b"payload!!");
        let bytes = framed(7, body, 9);
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
}
