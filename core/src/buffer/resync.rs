//! Finding the next whole frame behind bytes that are none, in one pass over them.
//!
//! Any eight bytes can look like the beginning of a frame, and a payload can be full of such places, each of which claims
//! megabytes. Summing what each of them claims would take the square of the time; so all of them share one running
//! checksum: the checksum of a range follows from those of the two prefixes that end where it begins and where it ends. A
//! place waits, with what its sum must come to, until the running checksum has come to its end.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::sync::OnceLock;

use super::format::{ALIGN, FRAME_BYTES, Shape};

use crate::checksum::crc32c_append;

/// So many places wait at once, 12 bytes each. What more there are is looked at in another pass.
const MOST_WAITING: usize = 1 << 20;
/// Files are read in pieces of this size.
pub(crate) const PIECE: usize = 256 << 10;

/// A place that looks like a frame. Offsets in a segment fit 32 bits.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    end: u32,
    at: u32,
    /// What the running checksum is at `end`, moved 32 bytes on, if the frame is whole.
    sum: u32,
}

/// A search for the first whole frame between two offsets of a segment.
pub(crate) struct Search {
    salt: u32,
    /// Frames end here at the latest.
    end: u64,
    /// The next offset to look at.
    next: u64,
    /// The running checksum, of the bytes from some place up to `summed`.
    sum: u32,
    summed: u64,
    waiting: BinaryHeap<Reverse<Place>>,
    found: Option<u64>,
    /// The first place that could not wait.
    again: Option<u64>,
}

/// How a search stands.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// A whole frame begins here; or there is none.
    Done(Option<u64>),
    /// It needs the bytes from this offset on.
    Wants(u64),
}

impl Search {
    /// From the first possible offset at or after `from`; frames end at `end` at the latest.
    pub(crate) fn new(from: u64, end: u64, salt: u32) -> Search {
        let next = from.next_multiple_of(ALIGN as u64);
        // Behind this the offsets no longer fit; no segment is that long.
        let end = end.min(u64::from(u32::MAX));
        Search { salt, end, next, sum: 0, summed: next, waiting: BinaryHeap::new(), found: None, again: None }
    }

    /// Looks at `bytes`, which stand at offset `base` and are 32 or more, unless the end is nearer.
    pub(crate) fn feed(&mut self, base: u64, bytes: &[u8]) -> Progress {
        let stop = (base + bytes.len() as u64).min(self.end);
        let upto = |offset: u64| (offset - base) as usize;
        while self.found.is_none() && self.again.is_none() && self.next + FRAME_BYTES as u64 <= stop {
            let header = &bytes[upto(self.next)..][..FRAME_BYTES];
            // Most words are no kind and flags: looked at first, by the word.
            if !Shape::is_likely(header) {
                self.next += ALIGN as u64;
                continue;
            }
            let at = self.next;
            self.next += ALIGN as u64;
            let Some(shape) = Shape::of(header) else { continue };
            let end = at + shape.length as u64;
            if end > self.end {
                continue;
            }
            let body = at + FRAME_BYTES as u64;
            self.settle(base, bytes, body);
            if self.found.is_some() {
                break;
            }
            if self.waiting.is_empty() {
                (self.sum, self.summed) = (0, body);
            }
            self.sum_to(base, bytes, body);
            if self.waiting.len() == MOST_WAITING {
                self.again = Some(at);
                break;
            }
            // The sum up to the end, moved over a header, is that up to the body, moved over body and header, and that
            // of the body, moved over a header; and the sum of the frame is the latter and that of the header.
            let sum = moved(self.sum, shape.length as u32) ^ shape.sum(header, self.salt);
            self.waiting.push(Reverse(Place { end: end as u32, at: at as u32, sum }));
        }
        self.settle(base, bytes, stop);
        if self.waiting.is_empty() {
            if self.found.is_some() {
                return Progress::Done(self.found);
            }
            if let Some(again) = self.again.take() {
                self.next = again;
                return Progress::Wants(again);
            }
            if self.next + FRAME_BYTES as u64 > self.end || stop == self.end {
                return Progress::Done(None);
            }
            return Progress::Wants(self.next);
        }
        self.sum_to(base, bytes, stop);
        // Where no more places are looked for, only what is not summed is wanted.
        let only_sums = self.found.is_some() || self.again.is_some();
        Progress::Wants(if only_sums { stop } else { self.next })
    }

    /// Decides of the places that end at `upto` or before.
    fn settle(&mut self, base: u64, bytes: &[u8], upto: u64) {
        while let Some(Reverse(place)) = self.waiting.peek()
            && u64::from(place.end) <= upto
        {
            let (end, at, sum) = (u64::from(place.end), u64::from(place.at), place.sum);
            self.waiting.pop();
            self.sum_to(base, bytes, end);
            if moved(self.sum, FRAME_BYTES as u32) == sum {
                self.found = Some(at);
                // Only what begins before it may still come first: what stands in a payload is no frame.
                self.waiting.retain(|Reverse(other)| u64::from(other.at) < at);
            }
        }
    }

    fn sum_to(&mut self, base: u64, bytes: &[u8], offset: u64) {
        if offset > self.summed {
            let range = (self.summed - base) as usize..(offset - base) as usize;
            self.sum = crc32c_append(self.sum, &bytes[range]);
            self.summed = offset;
        }
    }

    /// Runs over bytes that are in memory, which stand at `base`.
    #[cfg(any(test, feature = "torture"))]
    pub(crate) fn over(mut self, base: u64, bytes: &[u8]) -> Option<u64> {
        loop {
            if let Progress::Done(found) = self.feed(base, bytes) {
                return found;
            }
        }
    }

    /// Runs over what `read` gives: as many bytes at an offset as it can, none at the end.
    pub(crate) fn through(
        mut self,
        mut read: impl FnMut(&mut [u8], u64) -> io::Result<usize>,
    ) -> io::Result<Option<u64>> {
        let mut piece = vec![0; PIECE];
        let mut from = self.next;
        loop {
            let got = read(&mut piece, from)?;
            if got < PIECE {
                // The file ends here, whatever was said of its length.
                self.cut(from + got as u64);
            }
            match self.feed(from, &piece[..got]) {
                Progress::Done(found) => return Ok(found),
                Progress::Wants(next) => from = next,
            }
        }
    }

    /// The bytes end here. What claims more is not whole.
    fn cut(&mut self, end: u64) {
        if end < self.end {
            self.end = end;
            self.waiting.retain(|Reverse(place)| u64::from(place.end) <= end);
        }
    }
}

/// The checksum of bytes with `crc` and then `len` others, but for those others' own: how far a sum moves when bytes follow.
fn moved(crc: u32, len: u32) -> u32 {
    let powers = powers();
    len.to_le_bytes().iter().zip(powers).fold(crc, |crc, (byte, powers)| match byte {
        0 => crc,
        byte => product(crc, powers[usize::from(*byte)]),
    })
}

/// `x^(8 * byte * 256^at)` for each of the four bytes of a length.
fn powers() -> &'static [[u32; 256]; 4] {
    static POWERS: OnceLock<Box<[[u32; 256]; 4]>> = OnceLock::new();
    POWERS.get_or_init(|| {
        const ONE: u32 = 1 << 31;
        let mut powers = Box::new([[ONE; 256]; 4]);
        let mut step = ONE >> 8;
        for row in powers.iter_mut() {
            for byte in 1..256 {
                row[byte] = product(row[byte - 1], step);
            }
            step = product(row[255], step);
        }
        powers
    })
}

/// The product of two polynomials modulo that of CRC-32C, bits reflected.
fn product(a: u32, mut b: u32) -> u32 {
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    let mut product = 0;
    for bit in (0..32).rev() {
        product ^= b & 0u32.wrapping_sub(a >> bit & 1);
        b = (b >> 1) ^ (POLYNOMIAL & 0u32.wrapping_sub(b & 1));
    }
    product
}

#[cfg(test)]
mod tests {
    use super::super::format::{self, Body, Head, Kind};
    use super::*;
    use crate::checksum::crc32c;

    const SALT: u32 = 0x1234_5678;

    fn frame(seq: u64, data: &[u8], salt: u32) -> Vec<u8> {
        format::frame(Head { kind: Kind::Record, seq, created_at: 0 }, &Body::of(data), salt)
    }

    /// What looks like a frame of this length, and is none.
    fn bait(length: u32) -> Vec<u8> {
        let mut bytes = frame(5, b"", SALT ^ 1);
        bytes[4..8].copy_from_slice(&length.to_le_bytes());
        bytes
    }

    fn slowly(bytes: &[u8], from: usize) -> Option<u64> {
        (from.next_multiple_of(ALIGN)..bytes.len())
            .step_by(ALIGN)
            .find(|at| format::decode(&bytes[*at..], SALT).is_ok())
            .map(|at| at as u64)
    }

    fn search(bytes: &[u8], from: usize) -> Option<u64> {
        let new = || Search::new(from as u64, bytes.len() as u64, SALT);
        let found = new().over(0, bytes);
        let through = new().through(|piece, at| {
            let rest = &bytes[(at as usize).min(bytes.len())..];
            let got = rest.len().min(piece.len());
            piece[..got].copy_from_slice(&rest[..got]);
            Ok(got)
        });
        assert_eq!(through.unwrap(), found, "in pieces");
        found
    }

    #[test]
    fn a_sum_moves_over_what_follows() {
        let bytes: Vec<u8> = (0..100_000u32).map(|at| (at.wrapping_mul(at) >> 3) as u8).collect();
        for (cut, end) in [(0, 0), (0, 5), (7, 7), (3, 260), (1000, 70_000), (65_535, 100_000)] {
            let (front, back) = bytes[..end].split_at(cut);
            let whole = crc32c(&bytes[..end]);
            assert_eq!(moved(crc32c(front), back.len() as u32) ^ crc32c(back), whole, "{cut}..{end}");
        }
    }

    #[test]
    fn the_first_whole_frame_is_found_wherever_it_stands() {
        let mut state = 7u64;
        let mut roll = move |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        for _ in 0..300 {
            let mut bytes = Vec::new();
            for seq in 0..roll(30) {
                let inner = frame(seq, &vec![roll(256) as u8; roll(40) as usize], SALT);
                match roll(6) {
                    0 => bytes.extend(&inner),
                    1 => bytes.extend(bait(roll(4000) as u32)),
                    // A frame in the payload of another is none.
                    2 => bytes.extend(frame(seq, &[vec![1; 7], inner].concat(), SALT)),
                    3 => bytes.extend(frame(seq, &inner, SALT ^ 1)),
                    4 => bytes.extend((0..roll(20) * 8).map(|_| roll(256) as u8)),
                    _ => bytes.extend(vec![0; 8 * roll(9) as usize]),
                }
            }
            bytes.truncate(bytes.len() - (roll(30) as usize).min(bytes.len()));
            for from in [0, roll(200) as usize, roll(3000) as usize] {
                assert_eq!(search(&bytes, from), slowly(&bytes, from));
            }
        }
    }

    #[test]
    fn a_frame_across_pieces_is_found_also_behind_baits_that_claim_more() {
        let mut bytes = bait(2 * PIECE as u32).repeat(PIECE / 32 - 3);
        let at = bytes.len() as u64;
        bytes.extend(frame(1, &vec![7; PIECE + 100], SALT));
        bytes.extend(vec![0; 2 * PIECE]);
        assert_eq!(search(&bytes, 0), Some(at));
        assert_eq!(search(&bytes, at as usize + 1), None);
    }

    /// Headers only, each of which claims half of what is behind it: the sum of it all would be some 10 TB. There are more of
    /// them than may wait at once.
    #[test]
    fn bytes_full_of_headers_take_no_square_of_the_time() {
        let before = std::time::Instant::now();
        let mut bytes = Vec::new();
        while bytes.len() < 40 << 20 {
            let rest = (40u32 << 20) - bytes.len() as u32;
            bytes.extend(bait(rest / 2));
        }
        let at = bytes.len() as u64;
        bytes.extend(frame(1, b"whole", SALT));
        assert_eq!(Search::new(0, bytes.len() as u64, SALT).over(0, &bytes), Some(at));
        let took = before.elapsed();
        assert!(took < std::time::Duration::from_secs(60), "{took:?}");
    }
}
