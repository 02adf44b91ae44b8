//! A second reader of the log's bytes, written from `docs/format.md` alone. It shares no code with the crate, so
//! that the page, the crate and the bytes on disk hold each other to account.

use std::fs;
use std::path::Path;

pub const SEGMENT_HEADER: usize = 1024;
pub const FRAME_HEADER: usize = 32;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Record,
    Seal,
    End,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub offset: usize,
    /// Header and body.
    pub length: usize,
    pub kind: Kind,
    pub seq: u64,
    pub created_at: i64,
    pub id: Option<Vec<u8>>,
    pub key: Option<Vec<u8>>,
    /// Empty if there are none.
    pub attributes: Vec<u8>,
    pub data: Vec<u8>,
}

impl Frame {
    /// Where the next frame begins.
    pub fn end(&self) -> usize {
        (self.offset + self.length).next_multiple_of(8)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    pub version: u32,
    pub flags: u32,
    pub index: u64,
    pub length: u64,
    pub buffer_id: u64,
    pub salt: u32,
    pub epoch: u32,
    pub next_seq: u64,
    pub records_before: u64,
    pub bytes_before: u64,
    pub open_first_seq: u64,
    pub open_records: u64,
    pub open_bytes: u64,
    /// Segment, offset, seq, records, bytes.
    pub sealed: [u64; 5],
    pub durable_before: u64,
}

pub fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(bytes[at..at + 2].try_into().unwrap())
}

pub fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

pub fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

/// CRC-32C, bit by bit, of all parts one behind the other.
pub fn crc32c(parts: &[&[u8]]) -> u32 {
    let mut crc = !0u32;
    for byte in parts.iter().flat_map(|part| part.iter()) {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 };
        }
    }
    !crc
}

pub fn salt(buffer_id: u64, index: u64) -> u32 {
    (((buffer_id >> 32) ^ buffer_id) as u32).wrapping_add(index as u32).wrapping_mul(0x9e37_79b1)
}

/// The first of the two copies of a segment's header that is whole.
pub fn header(bytes: &[u8]) -> Option<Header> {
    let bytes = bytes.get(..SEGMENT_HEADER)?;
    let copy = [&bytes[..512], &bytes[512..1024]]
        .into_iter()
        .find(|copy| copy[..8] == *b"unistrm\n" && crc32c(&[&copy[..508]]) == u32_at(copy, 508))?;
    Some(Header {
        version: u32_at(copy, 8),
        flags: u32_at(copy, 12),
        index: u64_at(copy, 16),
        length: u64_at(copy, 24),
        buffer_id: u64_at(copy, 32),
        salt: u32_at(copy, 40),
        epoch: u32_at(copy, 44),
        next_seq: u64_at(copy, 48),
        records_before: u64_at(copy, 56),
        bytes_before: u64_at(copy, 64),
        open_first_seq: u64_at(copy, 72),
        open_records: u64_at(copy, 80),
        open_bytes: u64_at(copy, 88),
        sealed: [96, 104, 112, 120, 128].map(|at| u64_at(copy, at)),
        durable_before: u64_at(copy, 136),
    })
}

/// The frame at `offset`; `None` where there is none that is whole.
pub fn frame(bytes: &[u8], offset: usize, salt: u32) -> Option<Frame> {
    let rest = bytes.get(offset..).filter(|rest| rest.len() >= FRAME_HEADER)?;
    let length = u32_at(rest, 4) as usize;
    let (id, key) = (usize::from(u16_at(rest, 26)), usize::from(u16_at(rest, 28)));
    let attributes = usize::from(u16_at(rest, 30));
    if length < FRAME_HEADER + id + key + attributes || length > rest.len() {
        return None;
    }
    let body = &rest[FRAME_HEADER..length];
    if crc32c(&[body, &salt.to_le_bytes(), &rest[4..FRAME_HEADER]]) != u32_at(rest, 0) {
        return None;
    }
    let kind = [Kind::Record, Kind::Seal, Kind::End][usize::from(rest[24]) - 1];
    assert_eq!(rest[25] & !7, 0, "reserved bits of a whole frame");
    assert_eq!(rest[25] & 4 != 0, attributes > 0, "attributes and their flag");
    Some(Frame {
        offset,
        length,
        kind,
        seq: u64_at(rest, 8),
        created_at: u64_at(rest, 16).cast_signed(),
        id: (rest[25] & 1 != 0).then(|| body[..id].to_vec()),
        key: (rest[25] & 2 != 0).then(|| body[id..id + key].to_vec()),
        attributes: body[id + key..id + key + attributes].to_vec(),
        data: body[id + key + attributes..].to_vec(),
    })
}

/// All frames of an undamaged segment.
pub fn frames(bytes: &[u8]) -> Vec<Frame> {
    let salt = header(bytes).expect("a segment that was begun").salt;
    let mut frames: Vec<Frame> = Vec::new();
    let mut at = SEGMENT_HEADER;
    while let Some(frame) = frame(bytes, at, salt) {
        at = frame.end();
        let last = frame.kind == Kind::End;
        frames.push(frame);
        if last {
            return frames;
        }
    }
    assert_eq!(bytes[at..at + 8], [0; 8], "the terminator behind the last frame");
    frames
}

/// What a record carries besides: topic, time of expiry, headers.
pub type Attributes = (Option<String>, Option<i64>, Vec<(String, Vec<u8>)>);

/// The attributes of a frame.
pub fn attributes(bytes: &[u8]) -> Attributes {
    if bytes.is_empty() {
        return Attributes::default();
    }
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let (flags, count, topic) = (bytes[0], bytes[1], usize::from(u16_at(bytes, 2)));
    let expires_at = u64_at(bytes, 4).cast_signed();
    assert!(flags == 1 || (flags, expires_at) == (0, 0));
    let mut at = 12 + topic;
    let headers = (0..count).map(|_| {
        let (name, value) = (usize::from(u16_at(bytes, at)), usize::from(u16_at(bytes, at + 2)));
        at += 4 + name + value;
        (text(&bytes[at - value - name..at - value]), bytes[at - value..at].to_vec())
    });
    let headers: Vec<_> = headers.collect();
    assert_eq!(at, bytes.len(), "nothing stands behind the last header");
    ((topic > 0).then(|| text(&bytes[12..12 + topic])), (flags == 1).then_some(expires_at), headers)
}

/// The bytes of them.
pub fn encode_attributes((topic, expires_at, headers): &Attributes) -> Vec<u8> {
    let topic = topic.as_deref().unwrap_or_default();
    let mut bytes = vec![u8::from(expires_at.is_some()), headers.len() as u8];
    bytes.extend((topic.len() as u16).to_le_bytes());
    bytes.extend(expires_at.unwrap_or(0).to_le_bytes());
    bytes.extend(topic.as_bytes());
    for (name, value) in headers {
        [name.len(), value.len()].iter().for_each(|len| bytes.extend((*len as u16).to_le_bytes()));
        bytes.extend(name.as_bytes());
        bytes.extend(value);
    }
    bytes
}

/// The bytes of a frame without attributes, padding included.
pub fn encode_frame(
    kind: u8,
    seq: u64,
    created_at: i64,
    id: Option<&[u8]>,
    key: Option<&[u8]>,
    data: &[u8],
    salt: u32,
) -> Vec<u8> {
    encode_full_frame(kind, seq, created_at, id, key, &[], data, salt)
}

/// The bytes of a frame, padding included.
#[allow(clippy::too_many_arguments)]
pub fn encode_full_frame(
    kind: u8,
    seq: u64,
    created_at: i64,
    id: Option<&[u8]>,
    key: Option<&[u8]>,
    attributes: &[u8],
    data: &[u8],
    salt: u32,
) -> Vec<u8> {
    let body = [id.unwrap_or_default(), key.unwrap_or_default(), attributes, data].concat();
    let mut frame = salt.to_le_bytes().to_vec();
    frame.extend(((FRAME_HEADER + body.len()) as u32).to_le_bytes());
    frame.extend(seq.to_le_bytes());
    frame.extend(created_at.to_le_bytes());
    let flags = u8::from(id.is_some()) | u8::from(key.is_some()) << 1 | u8::from(!attributes.is_empty()) << 2;
    frame.extend([kind, flags]);
    frame.extend((id.map_or(0, <[u8]>::len) as u16).to_le_bytes());
    frame.extend((key.map_or(0, <[u8]>::len) as u16).to_le_bytes());
    frame.extend((attributes.len() as u16).to_le_bytes());
    let crc = crc32c(&[&body, &frame]);
    frame[..4].copy_from_slice(&crc.to_le_bytes());
    frame.extend(body);
    frame.resize(frame.len().next_multiple_of(8), 0);
    frame
}

/// The 1024 bytes of a segment's header.
pub fn encode_header(header: &Header) -> Vec<u8> {
    let mut copy = b"unistrm\n".to_vec();
    [header.version, header.flags].iter().for_each(|word| copy.extend(word.to_le_bytes()));
    [header.index, header.length, header.buffer_id].iter().for_each(|word| copy.extend(word.to_le_bytes()));
    [header.salt, header.epoch].iter().for_each(|word| copy.extend(word.to_le_bytes()));
    let words = [
        header.next_seq,
        header.records_before,
        header.bytes_before,
        header.open_first_seq,
        header.open_records,
        header.open_bytes,
    ];
    words.iter().chain(&header.sealed).chain([&header.durable_before]).for_each(|word| copy.extend(word.to_le_bytes()));
    copy.resize(508, 0);
    let crc = crc32c(&[&copy]);
    copy.extend(crc.to_le_bytes());
    copy.repeat(2)
}

/// A whole state of the cursor.
#[derive(Debug)]
pub struct Cursor {
    pub generation: u64,
    pub buffer_id: u64,
    pub boot_id: u64,
    pub seq_limit: u64,
    pub epoch: u32,
    pub closed: u32,
    /// Segment, offset, seq, records, bytes.
    pub committed: [u64; 5],
    pub batches: Vec<CursorBatch>,
    /// Regions, bytes, records.
    pub lost: [u64; 3],
    /// As the committed position; zeros while it is open.
    pub end: [u64; 5],
    pub lanes: u32,
    /// First seq of the batch, lane, memo.
    pub memos: Vec<(u64, u32, Vec<u8>)>,
}

#[derive(Debug)]
pub struct CursorBatch {
    pub first_seq: u64,
    pub attempts: u32,
    pub failures: u32,
    /// First, last, next.
    pub times: [i64; 3],
    pub done: Vec<u64>,
    pub errors: Vec<String>,
    /// The seq behind its last record, if no seal says so.
    pub ends_before: u64,
    pub lanes: u32,
    /// The lane that attempts, times and errors are of.
    pub lane: u32,
    pub finished_lanes: u64,
    pub finished_records: u64,
    /// Other lanes: lane, attempts, failures, times, errors.
    pub further: Vec<(u32, u32, u32, [i64; 3], Vec<String>)>,
}

/// The lane of a record in a batch that is divided into so many.
pub fn lane(key: Option<&[u8]>, seq: u64, lanes: u32) -> u32 {
    key.map_or((seq % u64::from(lanes)) as u32, |key| crc32c(&[key]) % lanes)
}

/// So many texts, each behind its length.
fn texts(bytes: &[u8], at: &mut usize, count: u32) -> Vec<String> {
    let texts = (0..count).map(|_| {
        let text = &bytes[*at + 4..*at + 4 + u32_at(bytes, *at) as usize];
        *at += 4 + text.len();
        String::from_utf8(text.to_vec()).unwrap()
    });
    texts.collect()
}

/// What one of the cursor's files says; `None` if it is not whole.
pub fn cursor(bytes: &[u8]) -> Option<Cursor> {
    if bytes.len() < 108 || bytes[..8] != *b"unicurs\n" {
        return None;
    }
    let length = u32_at(bytes, 100) as usize;
    if !(108..=bytes.len()).contains(&length) || crc32c(&[&bytes[..length - 4]]) != u32_at(bytes, length - 4) {
        return None;
    }
    let has_memos = u32_at(bytes, 12) == 8;
    assert!(u32_at(bytes, 8) == 1 && (has_memos || u32_at(bytes, 12) == 0), "version and flags");
    let mut at = 104;
    let batches = (0..u32_at(bytes, 96)).map(|_| {
        let times = [at + 16, at + 24, at + 32].map(|at| u64_at(bytes, at).cast_signed());
        let (words, errors) = (u32_at(bytes, at + 40) as usize, u32_at(bytes, at + 44));
        let head = at;
        at += 48;
        let done = (0..words).map(|word| u64_at(bytes, at + word * 8)).collect();
        at += words * 8;
        let errors = texts(bytes, &mut at, errors);
        CursorBatch {
            first_seq: u64_at(bytes, head),
            attempts: u32_at(bytes, head + 8),
            failures: u32_at(bytes, head + 12),
            times,
            done,
            errors,
            ends_before: 0,
            lanes: 0,
            lane: 0,
            finished_lanes: 0,
            finished_records: 0,
            further: Vec::new(),
        }
    });
    let mut batches: Vec<CursorBatch> = batches.collect();
    let lost = [at, at + 8, at + 16].map(|at| u64_at(bytes, at));
    at += 24;
    for batch in &mut batches {
        batch.ends_before = u64_at(bytes, at);
        at += 8;
    }
    let end = [0, 8, 16, 24, 32].map(|behind| u64_at(bytes, at + behind));
    at += 40;
    let lanes = u32_at(bytes, at);
    at += 4;
    for batch in &mut batches {
        (batch.lanes, batch.lane) = (u32_at(bytes, at), u32_at(bytes, at + 4));
        (batch.finished_lanes, batch.finished_records) = (u64_at(bytes, at + 8), u64_at(bytes, at + 16));
        let further = u32_at(bytes, at + 24);
        at += 28;
        for _ in 0..further {
            let [lane, attempts, failures] = [at, at + 4, at + 8].map(|at| u32_at(bytes, at));
            let times = [at + 12, at + 20, at + 28].map(|at| u64_at(bytes, at).cast_signed());
            let errors = u32_at(bytes, at + 36);
            at += 40;
            batch.further.push((lane, attempts, failures, times, texts(bytes, &mut at, errors)));
        }
    }
    let mut memos = Vec::new();
    if has_memos {
        let count = u32_at(bytes, at);
        at += 4;
        for _ in 0..count {
            let (seq, lane, len) = (u64_at(bytes, at), u32_at(bytes, at + 8), u32_at(bytes, at + 12) as usize);
            memos.push((seq, lane, bytes[at + 16..at + 16 + len].to_vec()));
            at += 16 + len;
        }
    }
    assert_eq!(at, length - 4, "nothing else stands in a cursor");
    Some(Cursor {
        generation: u64_at(bytes, 16),
        buffer_id: u64_at(bytes, 24),
        boot_id: u64_at(bytes, 32),
        seq_limit: u64_at(bytes, 40),
        epoch: u32_at(bytes, 48),
        closed: u32_at(bytes, 52),
        committed: [56, 64, 72, 80, 88].map(|at| u64_at(bytes, at)),
        batches,
        lost,
        end,
        lanes,
        memos,
    })
}

/// Stores a word in every whole cursor of a directory, with a checksum that is right: what another version would have written.
pub fn rewrite_cursors(dir: &Path, at: usize, value: u32) {
    for which in 0..4 {
        let path = dir.join(format!("cursor.{which}"));
        let mut bytes = fs::read(&path).unwrap();
        let length = u32_at(&bytes, 100) as usize;
        if length > 0 {
            bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
            let crc = crc32c(&[&bytes[..length - 4]]);
            bytes[length - 4..length].copy_from_slice(&crc.to_le_bytes());
            fs::write(&path, bytes).unwrap();
        }
    }
}
