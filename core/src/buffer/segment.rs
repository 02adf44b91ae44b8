//! One file of the log: its name, its salt, how it is made and opened.

use std::io;
use std::sync::Arc;

use super::format::{HeaderState, MOST, SEGMENT_HEADER_BYTES, SegmentHeader};
use super::resync::PIECE;
use crate::platform::{
    AnyWriter, Directory, File, Open, PlainReader, PlainWriter, SegmentReader, SegmentWriter, read_past,
};

/// No segment is longer: the most that the option `segment_bytes` may be. What lies behind is not looked at, so that no
/// file, however long somebody made it, costs more memory than this.
const MOST_BYTES: u64 = 1 << 30;
const SUFFIX: &str = ".seg";
const DIGITS: usize = 16;

/// The file name of segment `index`: names sort as indices do.
pub(crate) fn name(index: u64) -> String {
    format!("{index:0width$x}{SUFFIX}", width = DIGITS)
}

/// The index that a file name stands for, if it is a segment's: only the one spelling that [`name`] gives.
pub(crate) fn index(file: &str) -> Option<u64> {
    let index = u64::from_str_radix(file.strip_suffix(SUFFIX)?, 16).ok()?;
    (file == name(index) && index < MOST).then_some(index)
}

/// The salt of the frames in segment `index`. Two uses of one file have different indices and so different
/// salts, and a frame of one use fails the checksum of every other: what differs is the last word summed.
pub(crate) fn salt(buffer_id: u64, index: u64) -> u32 {
    ((buffer_id ^ (buffer_id >> 32)) as u32).wrapping_add(index as u32).wrapping_mul(0x9e37_79b1)
}

/// How the bytes of segments are reached.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Access {
    /// As memory, where the system lets us.
    pub(crate) mapped: bool,
    /// That memory is in core dumps.
    pub(crate) dumped: bool,
}

impl Access {
    /// Plain reads and writes.
    pub(crate) const PLAIN: Access = Access { mapped: false, dumped: true };
}

/// Makes `file`, of `length` allocated bytes, writable as a segment. Where a mapping is refused (there are too many, or
/// memory is short or has to be locked), plain writes do as well.
pub(crate) fn writer(file: Arc<dyn File>, length: u64, access: Access) -> AnyWriter {
    let writer: Box<dyn SegmentWriter> = match access.mapped.then(|| file.clone().map(length as usize, access.dumped)) {
        Some(Ok(writer)) => writer,
        _ => Box::new(PlainWriter::new(file)),
    };
    writer.into()
}

/// Makes `file`, which an earlier run left, writable as a segment: mapped if all of its blocks are there. No space is
/// needed for that.
pub(crate) fn writer_of_old(file: Arc<dyn File>, length: u64, access: Access) -> AnyWriter {
    let mapped = access.mapped && (file.is_allocated(length).unwrap_or(false) || file.allocate(length).is_ok());
    writer(file, length, Access { mapped, ..access })
}

/// Reserves the blocks of a segment. Where a filesystem cannot do that alone, zeros are written to them.
pub(crate) fn allocate(file: &dyn File, length: u64) -> io::Result<()> {
    match file.allocate(length) {
        Err(error) if error.kind() == io::ErrorKind::Unsupported => {
            let zeros = vec![0; PIECE];
            let mut at = file.len()?;
            while at < length {
                let count = (length - at).min(PIECE as u64);
                file.write_at(&zeros[..count as usize], at)?;
                at += count;
            }
            Ok(())
        }
        result => result,
    }
}

/// A segment that is only read.
pub(crate) struct Finished {
    pub(crate) header: HeaderState,
    pub(crate) length: u64,
    pub(crate) reader: Arc<dyn SegmentReader>,
}

/// Opens a segment for reading; `None` if there is no such file.
pub(crate) fn open(dir: &dyn Directory, index: u64, access: Access) -> io::Result<Option<Finished>> {
    let file = match dir.open(&name(index), Open::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let (header, length) = read_header(&*file, index)?;
    let reader: Arc<dyn SegmentReader> = if access.mapped && length > 0 {
        match file.map_read(length as usize, access.dumped) {
            Ok(reader) => reader,
            // Too many mappings, or a filesystem that maps nothing: plain reads do as well.
            Err(_) => Arc::new(PlainReader(file)),
        }
    } else {
        Arc::new(PlainReader(file))
    };
    Ok(Some(Finished { header, length, reader }))
}

/// The header of a segment's file, and how far it can be a segment. A header that belongs to an earlier use of the file counts
/// as none: the segment was prepared and never begun.
pub(crate) fn read_header(file: &dyn File, index: u64) -> io::Result<(HeaderState, u64)> {
    let mut bytes = [0; SEGMENT_HEADER_BYTES];
    let got = read_past(file, &mut bytes, 0)?;
    let state = match SegmentHeader::decode(&bytes[..got.bytes]) {
        HeaderState::Valid(header) if header.index != index => HeaderState::Blank,
        state => state,
    };
    // What somebody made longer is as long as it was.
    let most = match state {
        HeaderState::Valid(header) => header.length,
        _ => u64::MAX,
    };
    Ok((state, length(file)?.min(most)))
}

/// The header in a segment's file, whatever its index.
pub(crate) fn header(file: &dyn File) -> io::Result<Option<SegmentHeader>> {
    let mut bytes = [0; SEGMENT_HEADER_BYTES];
    let got = read_past(file, &mut bytes, 0)?;
    Ok(match SegmentHeader::decode(&bytes[..got.bytes]) {
        HeaderState::Valid(header) => Some(header),
        _ => None,
    })
}

/// The length of a segment's file, as far as it can be a segment.
pub(crate) fn length(file: &dyn File) -> io::Result<u64> {
    Ok(file.len()?.min(MOST_BYTES))
}

/// Makes a segment durable that nobody writes to; one that is gone was freed.
pub(crate) fn sync(dir: &dyn Directory, index: u64) -> io::Result<()> {
    match dir.open(&name(index), Open::Read) {
        Ok(file) => file.sync(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Stores what is in a segment once more, as it is: what a sync that failed has dropped is then written by the next.
pub(crate) fn refresh(dir: &dyn Directory, index: u64) -> io::Result<()> {
    const STEP: usize = 1 << 20;
    let file = dir.open(&name(index), Open::Existing)?;
    let mut bytes = vec![0; STEP.min(length(&*file)? as usize)];
    let mut at = 0;
    while at < length(&*file)? {
        let got = read_past(&*file, &mut bytes, at)?;
        if got.bytes == 0 {
            break;
        }
        // What cannot be read is not written over: it may come back.
        if got.unreadable == 0 {
            file.write_at(&bytes[..got.bytes], at)?;
        }
        at += got.bytes as u64;
    }
    Ok(())
}

/// Whether nothing was ever written behind the header.
pub(crate) fn is_empty(file: &dyn File) -> io::Result<bool> {
    let mut bytes = vec![0; PIECE];
    let mut at = SEGMENT_HEADER_BYTES as u64;
    let end = length(file)?;
    while at < end {
        let got = read_past(file, &mut bytes, at)?.bytes;
        if bytes[..got].iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
        if got < PIECE {
            break;
        }
        at += got as u64;
    }
    Ok(true)
}
