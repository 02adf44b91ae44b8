//! The decoders, held against a second reader that was written from `docs/format.md` alone.

use super::source::Source;
use crate::attributes::{Attributes, Headers};
use crate::batch::Progress;
use crate::buffer::checkpoint::{BatchProgress, Closed, Decoded, Places, State};
use crate::buffer::format::{self, Bad, Body, Frame, Head, HeaderState, Kind, SegmentHeader};
use crate::buffer::losses::Losses;
use crate::buffer::position::Position;
use crate::buffer::resync::Search;

pub(super) fn run(bytes: &[u8]) -> Result<(), String> {
    let mut source = Source::new(bytes);
    let salt = source.number32(7);
    let bytes = build(&mut source, salt);
    frames(&bytes, salt)?;
    header(&bytes)?;
    state(&bytes)
}

/// Something nearly right, or anything.
fn build(source: &mut Source<'_>, salt: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    let edits = source.below(4);
    let mut changes: Vec<(usize, u8)> = Vec::new();
    for _ in 0..edits {
        changes.push((source.below(1 << 16), source.byte()));
    }
    while !source.is_empty() && bytes.len() < 4096 {
        match source.below(6) {
            0 => {
                let len = source.below(64);
                bytes.extend_from_slice(source.take(len));
            }
            1 => bytes.extend_from_slice(&[0; 8]),
            2 | 3 => frame(source, salt, &mut bytes),
            4 => {
                let header = any_header(source).encode();
                bytes.extend_from_slice(&header[..header.len() - source.below(2) * 512]);
            }
            _ => bytes.extend(any_state(source).encode(source.number(3))),
        }
    }
    for (at, with) in changes {
        let at = at % bytes.len().max(1);
        bytes.get_mut(at).into_iter().for_each(|byte| *byte ^= with);
    }
    bytes
}

/// A frame of which each field may be wrong while the checksum is right.
fn frame(source: &mut Source<'_>, salt: u32, bytes: &mut Vec<u8>) {
    let kind = [Kind::Record, Kind::Seal, Kind::End][source.below(3)];
    let head = Head { kind, seq: source.number(5), created_at: source.number(9).cast_signed() };
    let (id, key) = (source.rarely().then_some("i\u{2028}d"), source.rarely().then_some(&b"key"[..]));
    let len = source.below(100);
    let headers = [("name", &b"value"[..]), ("empty", b"")];
    // By a number that is there: what the bytes of kept cases stand for does not change.
    let attributes = match len % 5 {
        1 => Attributes { topic: Some("a/topic"), ..Attributes::default() },
        2 => Attributes { expires_at: Some(-1), headers: Headers::from(&headers), ..Attributes::default() },
        _ => Attributes::default(),
    };
    let body = Body::new(id, key, Some(&attributes), source.take(len));
    let mut frame = format::frame(head, &body, salt);
    if source.rarely() {
        let at = 4 + source.below(28);
        frame[at] = source.byte();
        let length = (format::le_u32(&frame, 4) as usize).clamp(32, frame.len());
        frame[..4].copy_from_slice(&salt.to_le_bytes());
        let crc = crc32c::crc32c_append(crc32c::crc32c(&frame[32..length]), &frame[..32]);
        frame[..4].copy_from_slice(&crc.to_le_bytes());
    }
    bytes.extend(frame);
}

pub(super) fn any_position(source: &mut Source<'_>, usual: Position) -> Position {
    Position {
        segment: source.number(usual.segment),
        offset: source.number(usual.offset),
        seq: source.number(usual.seq),
        records: source.number(usual.records),
        bytes: source.number(usual.bytes),
    }
}

fn any_header(source: &mut Source<'_>) -> SegmentHeader {
    SegmentHeader {
        index: source.number(1),
        length: source.number(65_536),
        buffer_id: source.number(1),
        next_seq: source.number(1),
        sealed: any_position(source, Position::default()),
        features: format::SEGMENT_FEATURES,
        ..SegmentHeader::default()
    }
}

pub(super) fn any_progress(source: &mut Source<'_>) -> BatchProgress {
    let mut batch = BatchProgress {
        done: Places((0..source.below(4)).map(|_| source.number(0)).collect()),
        parts: vec![(0, any_attempts(source))],
        ..BatchProgress::default()
    };
    if source.rarely() {
        batch.lanes = source.number32(3);
        batch.finished = source.number(2);
        batch.finished_records = source.number(2);
        batch.parts[0].0 = source.number32(1);
        let further = source.below(3);
        batch.parts.extend((0..further).map(|_| (source.number32(2), any_attempts(source))));
    }
    // By a number that is there: what the bytes of kept cases stand for does not change.
    for (lane, progress) in &mut batch.parts {
        progress.memo = (progress.failures % 4 == 2).then(|| lane.to_le_bytes().to_vec());
    }
    batch
}

fn any_attempts(source: &mut Source<'_>) -> Progress {
    Progress {
        attempts: source.number32(1),
        failures: source.number32(1),
        first_attempt: source.number(0).cast_signed(),
        last_attempt: source.number(0).cast_signed(),
        next_attempt: source.number(0).cast_signed(),
        errors: (0..source.below(3)).map(|at| format!("error {at}")).collect(),
        memo: None,
    }
}

fn any_state(source: &mut Source<'_>) -> State {
    let mut state = State {
        buffer_id: source.number(1),
        seq_limit: source.number(1 << 32),
        closed: [Closed::No, Closed::Durably, Closed::Unsynced][usize::from(source.byte() % 3)],
        committed: any_position(source, Position::default()),
        batches: (0..source.below(3)).map(|_| (source.number(1), any_progress(source))).collect(),
        lost: Losses { records: source.number(1), ..Losses::default() },
        ..State::default()
    };
    state.end = state.committed;
    state
}

/// A whole frame at the beginning of the bytes, by the page.
fn whole(bytes: &[u8], salt: u32) -> Option<Frame<'_>> {
    let (frame, id, attributes) = summed(bytes, salt)?;
    let id = id.map(std::str::from_utf8).transpose().ok()?;
    let attributes = if attributes.is_empty() { Attributes::default() } else { whole_attributes(attributes)? };
    Some(Frame { id, attributes, ..frame })
}

/// The attributes that are all of the bytes, by the page.
fn whole_attributes(bytes: &[u8]) -> Option<Attributes<'_>> {
    let number = |at: usize| bytes.get(at..at + 2).map(|two| usize::from(two[0]) | usize::from(two[1]) << 8);
    let text = |at: usize, len: usize| std::str::from_utf8(bytes.get(at..at + len)?).ok();
    let (flags, count, topic_len) = (*bytes.first()?, *bytes.get(1)?, number(2)?);
    let expires_at = i64::from_le_bytes(bytes.get(4..12)?.try_into().ok()?);
    let topic = text(12, topic_len)?;
    let (mut at, mut pairs) = (12 + topic_len, Vec::new());
    for _ in 0..count {
        let (name, value) = (number(at)?, number(at + 2)?);
        pairs.push((text(at + 4, name)?, bytes.get(at + 4 + name..at + 4 + name + value)?));
        at += 4 + name + value;
    }
    let timed = flags == 1 || (flags == 0 && expires_at == 0);
    let any = flags == 1 || topic_len > 0 || count > 0;
    let read = Attributes::decode(bytes)?;
    let same = read.headers.iter().eq(pairs);
    // The headers are shown where they stand; everything else is what the page says.
    let headers = if same { read.headers } else { Headers::NONE };
    let expires_at = (flags == 1).then_some(expires_at);
    (timed && any && at == bytes.len()).then_some(Attributes {
        topic: (topic_len > 0).then_some(topic),
        expires_at,
        headers,
    })
}

/// A frame with the right checksum, without its attributes; and the bytes of its id, which may be no text, and of its
/// attributes, which may be none.
fn summed(bytes: &[u8], salt: u32) -> Option<(Frame<'_>, Option<&[u8]>, &[u8])> {
    let byte = |at: usize| bytes.get(at).copied();
    let number = |at: usize, size: usize| {
        bytes.get(at..at + size).map(|bytes| bytes.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
    };
    let (crc, length) = (number(0, 4)?, number(4, 4)? as usize);
    let (seq, created_at) = (number(8, 8)?, number(16, 8)?.cast_signed());
    let kind = [Kind::Record, Kind::Seal, Kind::End].into_iter().find(|kind| Some(*kind as u8) == byte(24))?;
    let (flags, id_len, key_len) = (byte(25)?, number(26, 2)? as usize, number(28, 2)? as usize);
    let attributes_len = number(30, 2)? as usize;
    let flagged = (flags & 4 != 0) == (attributes_len > 0);
    let whole = seq < 1 << 62 && flags < 8 && flagged && length >= 32 + id_len + key_len + attributes_len;
    let body = bytes.get(32..length).filter(|_| whole)?;
    let summed = [body, &salt.to_le_bytes(), &bytes[4..32]].concat();
    if crc != u64::from(bitwise_crc32c(&summed)) {
        return None;
    }
    let id = (flags & 1 != 0).then(|| &body[..id_len]);
    let frame = Frame {
        kind,
        seq,
        created_at,
        id: None,
        key: (flags & 2 != 0).then(|| &body[id_len..id_len + key_len]),
        attributes: Attributes::default(),
        data: &body[id_len + key_len + attributes_len..],
        padded: length.div_ceil(8) * 8,
    };
    Some((frame, id, &body[id_len + key_len..id_len + key_len + attributes_len]))
}

/// CRC-32C, bit by bit.
fn bitwise_crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg()))
    })
}

fn frames(bytes: &[u8], salt: u32) -> Result<(), String> {
    let mut places = Vec::new();
    for at in (0..bytes.len()).step_by(8) {
        let rest = &bytes[at..];
        let expected = match rest {
            [0, 0, 0, 0, 0, 0, 0, 0, ..] => Err(Bad::Empty),
            _ => whole(rest, salt).ok_or(Bad::Damaged),
        };
        let found = format::decode(rest, salt);
        if found != expected {
            return Err(format!("the frame at {at} is {found:?}, and by the page {expected:?}"));
        }
        // Fields that fit are inside the bytes, checksum or not.
        if let Some(frame) = format::parse(rest) {
            let _ = (frame.id.map(str::len), frame.key.map(<[u8]>::len), frame.data.last());
        }
        // A search knows checksums only: who then reads the frame sees an id that is no text.
        places.extend(summed(rest, salt).map(|_| at));
    }
    for from in [0, 1, 8, 500] {
        let (found, expected) = (resync(bytes, from, salt), places.iter().find(|at| **at >= from).copied());
        if found != expected {
            return Err(format!("the next frame behind {from} is at {found:?}, and by the page at {expected:?}"));
        }
    }
    Ok(())
}

fn resync(bytes: &[u8], from: usize, salt: u32) -> Option<usize> {
    Search::new(from as u64, bytes.len() as u64, salt).over(0, bytes).map(|at| at as usize)
}

/// Whether a copy of a header is whole, by the page.
fn is_whole_copy(copy: &[u8]) -> bool {
    copy.len() == 512
        && copy.starts_with(b"unistrm\n")
        && copy[508..] == bitwise_crc32c(&copy[..508]).to_le_bytes()
        && (copy[8..12] != [1, 0, 0, 0] || can_be(copy))
}

/// What the page says of a header's numbers: below 2^62, and what is sealed and open is not behind the segment's begin.
fn can_be(copy: &[u8]) -> bool {
    let at = |at: usize| format::le_u64(copy, at);
    let (next_seq, records, bytes) = (at(48), at(56), at(64));
    let small = (16..136).step_by(8).all(|place| matches!(place, 32 | 40) || at(place) < 1 << 62);
    let behind = at(96) > at(16) || (at(96) == at(16) && at(104) > 1024);
    let sealed = !behind && at(112) <= next_seq && at(120) <= records && at(128) <= bytes;
    small && sealed && at(72) <= next_seq && at(80) <= records
}

fn header(bytes: &[u8]) -> Result<(), String> {
    for at in (0..bytes.len()).step_by(512) {
        let header = &bytes[at..bytes.len().min(at + 1024)];
        let copy = header.chunks(512).find(|copy| is_whole_copy(copy));
        match (SegmentHeader::decode(header), copy) {
            // Written again, it is the same bytes.
            (HeaderState::Valid(found), Some(copy)) if found.encode()[..136] == copy[..136] => {}
            (HeaderState::Unknown { version, flags }, Some(copy))
                if (version != 1 || flags > 1)
                    && copy[8..16] == [version.to_le_bytes(), flags.to_le_bytes()].concat()[..] => {}
            (HeaderState::Blank | HeaderState::Torn | HeaderState::Damaged, None) => {}
            (found, copy) => return Err(format!("the header at {at} is {found:?}, and by the page {copy:?}")),
        }
    }
    Ok(())
}

fn state(bytes: &[u8]) -> Result<(), String> {
    for at in (0..bytes.len()).step_by(8) {
        let Some(Decoded::State { state, generation }) = State::decode(&bytes[at..]) else { continue };
        match State::decode(&state.encode(generation)) {
            Some(Decoded::State { state: again, generation: number }) if (&again, number) == (&state, generation) => {}
            _ => return Err(format!("{state:?} is something else when it is written and read")),
        }
    }
    Ok(())
}
