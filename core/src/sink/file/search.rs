//! What is there of a piece that may have been written: it is compared with the sidecar's copy, byte by byte, so that nothing
//! of anybody else is taken for it, and cut off.

use std::io;

use super::piece::whole_records;
use super::sidecar::Mark;
use crate::buffer::storage::File;

/// How much of a piece a file has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// All of it.
    Whole {
        at: u64,
    },
    /// Its beginning, or a write that a power loss left with holes, and nothing behind.
    Torn {
        at: u64,
        records: usize,
    },
    /// So many of its records, and behind them what another wrote.
    Broken {
        records: usize,
    },
    Nothing,
}

/// Where it is not where it was to be, it is looked for behind that: others appended, too.
const SEARCHED: u64 = 4 << 20;
/// Bytes compared in such a search, or read for checksums, before it is given up.
const COMPARED: usize = 64 << 20;
const WINDOW: usize = 64 << 10;

/// What is there, and how long the file is.
pub(super) fn find(file: &dyn File, mark: &Mark) -> io::Result<(Found, u64)> {
    let length = file.len()?;
    Ok((find_in(file, mark, length)?, length))
}

fn find_in(file: &dyn File, mark: &Mark, length: u64) -> io::Result<Found> {
    let (start, end) = (mark.start, mark.start + mark.length);
    if length >= end && checksum(file, start, mark.length)? == Some(mark.crc) {
        return Ok(Found::Whole { at: start });
    }
    if length > start {
        let mut there = vec![0; mark.contents.len().min((length - start) as usize)];
        let got = file.read_at(&mut there, start)?;
        there.truncate(got);
        let records = whole(mark, common(&there, &mark.contents));
        if length <= end && there.iter().zip(&mark.contents).all(|(is, was)| is == was || *is == 0) {
            return Ok(Found::Torn { at: start, records });
        }
        if records > 0 {
            return Ok(Found::Broken { records });
        }
    }
    // Somebody appended first; or cut the file, which then ends before the place.
    search(file, mark, if length > start { start } else { 0 }, length)
}

fn search(file: &dyn File, mark: &Mark, from: u64, length: u64) -> io::Result<Found> {
    let mut there = vec![0; (length - from).min(SEARCHED + mark.contents.len() as u64) as usize];
    let got = file.read_at(&mut there, from)?;
    there.truncate(got);
    let mut compared = 0;
    let Some(first) = mark.contents.first() else { return Ok(Found::Nothing) };
    for (at, _) in there.iter().enumerate().filter(|(_, byte)| *byte == first) {
        let same = common(&there[at..], &mark.contents);
        let place = from + at as u64;
        if same == mark.contents.len() {
            let whole = length >= place + mark.length && checksum(file, place, mark.length)? == Some(mark.crc);
            if whole {
                return Ok(Found::Whole { at: place });
            }
            compared += mark.length as usize;
        }
        if place + same as u64 == length || (same == mark.contents.len() && length < place + mark.length) {
            return Ok(Found::Torn { at: place, records: whole(mark, same) });
        }
        compared += same;
        if compared > COMPARED {
            break;
        }
    }
    Ok(Found::Nothing)
}

/// How many records stand whole in so many bytes of the piece.
fn whole(mark: &Mark, bytes: usize) -> usize {
    whole_records(mark.framing, mark.ends_a_line, &mark.contents[..bytes]).min(mark.entries.len())
}

/// How many bytes at the beginning are the same.
fn common(one: &[u8], other: &[u8]) -> usize {
    one.iter().zip(other).take_while(|(one, other)| one == other).count()
}

/// The CRC-32C of so many bytes, if the file has them.
fn checksum(file: &dyn File, mut at: u64, length: u64) -> io::Result<Option<u32>> {
    let mut window = vec![0; WINDOW.min(length as usize)];
    let (mut left, mut crc) = (length, 0);
    while left > 0 {
        let wanted = window.len().min(left as usize);
        let got = file.read_at(&mut window[..wanted], at)?;
        if got < wanted {
            return Ok(None);
        }
        crc = crc32c::crc32c_append(crc, &window[..got]);
        (at, left) = (at + got as u64, left - got as u64);
    }
    Ok(Some(crc))
}
