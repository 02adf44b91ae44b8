//! Records as Kafka's logs hold them: a batch of format 2, perhaps compressed.

use std::io::{self, Write as _};

use super::options::Compression;
use super::wire::{Write, varint_len};
use crate::checksum::crc32c;
use crate::record::Record;

/// The bytes of a batch before its first record.
pub(super) const HEAD_BYTES: usize = 61;

/// By what the broker tells a batch that comes again from a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Numbering {
    pub(super) producer_id: i64,
    pub(super) epoch: i16,
}

impl Numbering {
    /// None: the broker takes whatever comes.
    pub(super) const NONE: Numbering = Numbering { producer_id: -1, epoch: -1 };

    /// The number of the first record: a batch is the first of its epoch.
    fn first(self) -> i32 {
        if self.producer_id < 0 { -1 } else { 0 }
    }
}

/// What every batch of a sink has.
#[derive(Clone, Debug)]
pub(super) struct Form {
    pub(super) compression: Compression,
    /// The header that carries the record's id.
    pub(super) id_header: Option<String>,
}

/// The bytes that a record takes where it stands at a place of a batch.
pub(super) fn record_bytes(form: &Form, record: &Record<'_>, place: usize) -> usize {
    let body = body_bytes(form, record, place, 0);
    // The times of a batch differ by less than 10 bytes can say.
    body + varint_len(body as i64) + 9
}

/// A record's bytes behind its length.
fn body_bytes(form: &Form, record: &Record<'_>, place: usize, since: i64) -> usize {
    let sized = |bytes: usize| varint_len(bytes as i64) + bytes;
    let headers: usize = record.headers.iter().map(|(name, value)| sized(name.len()) + sized(value.len())).sum();
    let id = form.id_header.as_ref().map_or(0, |name| sized(name.len()) + sized(record.id().len()));
    let count = record.headers.len() + usize::from(form.id_header.is_some());
    1 + varint_len(since)
        + varint_len(place as i64)
        + record.key.map_or(1, |key| sized(key.len()))
        + sized(record.data.len())
        + varint_len(count as i64)
        + headers
        + id
}

/// Appends a batch of records, with its length before it as a request has it.
///
/// # Errors
/// The compression fails, which it does for want of memory alone.
pub(super) fn write(out: &mut Vec<u8>, form: &Form, numbering: Numbering, records: &[Record<'_>]) -> io::Result<()> {
    let count = records.len() as i32;
    let first = records.first().map_or(0, millis);
    let last = records.iter().map(millis).max().unwrap_or_default();
    let length_at = out.len();
    out.i32(0);
    let begin = out.len();
    out.i64(0);
    out.i32(0);
    out.i32(-1);
    out.i8(2);
    out.i32(0);
    let summed = out.len();
    out.i16(form.compression.code());
    out.i32(count - 1);
    out.i64(first);
    out.i64(last);
    out.i64(numbering.producer_id);
    out.i16(numbering.epoch);
    out.i32(numbering.first());
    out.i32(count);
    debug_assert_eq!(out.len() - begin, HEAD_BYTES);
    if form.compression == Compression::None {
        write_records(out, form, first, records);
    } else {
        let mut plain = Vec::new();
        write_records(&mut plain, form, first, records);
        let records_at = out.len();
        compress(form.compression, &plain, out)?;
        // What grows is sent as it is, so that a record is never too large for that reason.
        if out.len() - records_at >= plain.len() {
            out.truncate(records_at);
            out.extend_from_slice(&plain);
            out[summed..summed + 2].copy_from_slice(&Compression::None.code().to_be_bytes());
        }
    }
    let sum = crc32c(&out[summed..]);
    out.set_i32(summed - 4, sum.cast_signed());
    let length = out.len() - begin;
    // What follows the length itself.
    out.set_i32(begin + 8, (length - 12) as i32);
    out.set_i32(length_at, length as i32);
    Ok(())
}

fn millis(record: &Record<'_>) -> i64 {
    record.created_at.div_euclid(1000)
}

fn write_records(out: &mut Vec<u8>, form: &Form, first: i64, records: &[Record<'_>]) {
    for (place, record) in records.iter().enumerate() {
        let since = millis(record) - first;
        out.varint(body_bytes(form, record, place, since) as i64);
        out.i8(0);
        out.varint(since);
        out.varint(place as i64);
        match record.key {
            Some(key) => sized(out, key),
            None => out.varint(-1),
        }
        sized(out, record.data);
        out.varint((record.headers.len() + usize::from(form.id_header.is_some())) as i64);
        for (name, value) in record.headers {
            sized(out, name.as_bytes());
            sized(out, value);
        }
        if let Some(name) = &form.id_header {
            sized(out, name.as_bytes());
            sized(out, record.id().as_bytes());
        }
    }
}

fn sized(out: &mut Vec<u8>, bytes: &[u8]) {
    out.varint(bytes.len() as i64);
    out.extend_from_slice(bytes);
}

fn compress(how: Compression, plain: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    match how {
        Compression::None => out.extend_from_slice(plain),
        Compression::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(out, flate2::Compression::fast());
            encoder.write_all(plain)?;
            encoder.finish()?;
        }
        Compression::Snappy => {
            let packed = snap::raw::Encoder::new().compress_vec(plain).map_err(io::Error::other)?;
            out.extend_from_slice(&packed);
        }
        Compression::Lz4 => {
            let mut encoder = lz4_flex::frame::FrameEncoder::new(out);
            encoder.write_all(plain)?;
            encoder.finish().map_err(io::Error::other)?;
        }
        #[cfg(feature = "zstd")]
        Compression::Zstd => out.extend_from_slice(&zstd::bulk::compress(plain, 1)?),
        // No sink is made of it.
        #[cfg(not(feature = "zstd"))]
        Compression::Zstd => return Err(io::Error::other("this build lacks zstd")),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Batch;
    use crate::record::NewRecord;

    fn form(compression: Compression) -> Form {
        Form { compression, id_header: Some("id".into()) }
    }

    fn batch() -> Batch {
        let headers = [("h", &b"value"[..]), ("empty", b"")];
        let one = NewRecord::new(b"data").id("one").key(b"key").created_at(5_000_999).headers(&headers);
        Batch::from_records([one, NewRecord::new(b"").id("two").created_at(2_000_000)])
    }

    #[test]
    fn what_compression_makes_larger_is_sent_as_it_is() {
        // Bytes of a generator: there is nothing to compress.
        let mut state = 7u64;
        let data: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        })
        .take(1000)
        .collect();
        let of = |compression| {
            let batch = Batch::from_records([NewRecord::new(&data)]);
            let mut out = Vec::new();
            let numbering = Numbering { producer_id: 17, epoch: 3 };
            write(&mut out, &form(compression), numbering, &batch.iter().collect::<Vec<_>>()).unwrap();
            out
        };
        let plain = of(Compression::None);
        for compression in [Compression::Gzip, Compression::Snappy, Compression::Lz4] {
            // All but the time of the record, which is made by now.
            assert_eq!((of(compression).len(), of(compression)[4 + 22]), (plain.len(), 0), "{compression:?}");
        }
    }

    #[test]
    fn a_batch_is_as_the_format_has_it() {
        let batch = batch();
        let mut out = vec![9; 3];
        let numbering = Numbering { producer_id: 17, epoch: 3 };
        write(&mut out, &form(Compression::None), numbering, &batch.iter().collect::<Vec<_>>()).unwrap();
        let bytes = &out[3..];
        let i32_at = |at: usize| i32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
        let i64_at = |at: usize| i64::from_be_bytes(bytes[at..at + 8].try_into().unwrap());
        assert_eq!(i32_at(0) as usize, bytes.len() - 4);
        assert_eq!((i64_at(4), i32_at(12) as usize), (0, out.len() - 3 - 4 - 12));
        assert_eq!(out[3 + 4 + 16], 2, "magic");
        assert_eq!(i32_at(4 + 17).cast_unsigned(), crc32c(&out[3 + 4 + 21..]));
        // Attributes, the last offset, the first and the last time.
        assert_eq!((i32_at(4 + 23), i64_at(4 + 27), i64_at(4 + 35)), (1, 5000, 5000));
        assert_eq!((i64_at(4 + 43), i32_at(4 + 53), i32_at(4 + 57)), (17, 0, 2));
        let first = [
            &[70, 0, 0, 0, 6][..],
            b"key",
            &[8],
            b"data",
            &[6, 2],
            b"h",
            &[10],
            b"value",
            &[10],
            b"empty",
            &[0, 4],
            b"id",
            &[6],
            b"one",
        ]
        .concat();
        let records = &out[3 + 4 + HEAD_BYTES..];
        assert_eq!(records[..first.len()], first);
        assert_eq!(first.len() - 1, 35);
        let second = &records[first.len()..];
        // 3,000 milliseconds earlier; no key, no data, one header.
        assert_eq!(second, [&[28, 0, 0xef, 0x2e, 2, 1, 0, 2, 4][..], b"id", &[6], b"two"].concat());
    }

    #[test]
    fn a_record_is_never_larger_than_it_is_said_to_be() {
        let batch = batch();
        let form = form(Compression::None);
        for len in 1..=2 {
            let mut out = Vec::new();
            let records: Vec<_> = batch.iter().take(len).collect();
            write(&mut out, &form, Numbering::NONE, &records).unwrap();
            let said: usize =
                records.iter().enumerate().map(|(place, record)| record_bytes(&form, record, place)).sum();
            assert!(out.len() - 4 <= HEAD_BYTES + said);
        }
    }

    #[test]
    fn what_is_compressed_is_smaller() {
        let data = vec![b'a'; 10_000];
        let batch = Batch::from_records([NewRecord::new(&data)]);
        let mut all = vec![Compression::Gzip, Compression::Snappy, Compression::Lz4];
        if cfg!(feature = "zstd") {
            all.push(Compression::Zstd);
        }
        for compression in all {
            let mut out = Vec::new();
            write(&mut out, &form(compression), Numbering::NONE, &batch.iter().collect::<Vec<_>>()).unwrap();
            assert!(out.len() < 1000, "{compression:?}: {}", out.len());
            assert_eq!(i16::from_be_bytes(out[4 + 21..4 + 23].try_into().unwrap()), compression.code());
        }
    }
}
