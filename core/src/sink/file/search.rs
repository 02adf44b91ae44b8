//! What is there of a piece that may have been written: it is compared with the sidecar's copy, byte by byte, so that nothing
//! of anybody else is taken for it, and cut off.

use std::io;

use super::Framing;
use super::piece::whole_records;
use super::sidecar::Mark;
use crate::checksum::crc32c_append;
use crate::platform::File;

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
    // Nothing was written; or somebody cut the file, and what is there now may be anybody's. What stands before the place
    // was acknowledged, if it is ours: lines that say the same as the piece are not it.
    if length <= start {
        return Ok(Found::Nothing);
    }
    if stands_at(file, mark, start)? {
        return Ok(Found::Whole { at: start });
    }
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
    // Somebody appended first.
    search(file, mark, length)
}

/// Whether the whole piece is there.
pub(super) fn stands_at(file: &dyn File, mark: &Mark, at: u64) -> io::Result<bool> {
    Ok(checksum(file, at, mark.length)? == Some(mark.crc))
}

/// The whole piece behind its place. Half of one is not told from what others wrote there, and stays.
fn search(file: &dyn File, mark: &Mark, length: u64) -> io::Result<Found> {
    let from = mark.start;
    let mut there = vec![0; (length - from).min(SEARCHED + mark.contents.len() as u64) as usize];
    let got = file.read_at(&mut there, from)?;
    there.truncate(got);
    let mut compared = 0;
    // A line of others may end as ours do.
    let begins = |at: usize| {
        mark.framing != Framing::Lines || mark.ends_a_line || at.checked_sub(1).is_some_and(|at| there[at] == b'\n')
    };
    let Some(first) = mark.contents.first() else { return Ok(Found::Nothing) };
    for (at, _) in there.iter().enumerate().filter(|(at, byte)| *byte == first && begins(*at)) {
        let same = common(&there[at..], &mark.contents);
        let place = from + at as u64;
        if same == mark.contents.len() {
            if stands_at(file, mark, place)? {
                return Ok(Found::Whole { at: place });
            }
            compared += mark.length as usize;
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
        crc = crc32c_append(crc, &window[..got]);
        (at, left) = (at + got as u64, left - got as u64);
    }
    Ok(Some(crc))
}
