//! Which records the file has, as far as the sidecar remembers it: pages of fingerprints. A page has consecutive records of one
//! buffer, and a tag that says which, so that buffers whose seqs are the same (the slots of an outbox) keep out of each
//! other's way.
//!
//! A fingerprint says by itself whose it is. So a tag may be older or newer than its page: what is read there then is no
//! record of anybody who asks, and the worst is that a record is not remembered.

use std::io;
use std::sync::Arc;

use super::piece::UNKNOWN;
use super::sidecar::Layout;
use crate::checksum::crc32c;
use crate::little_endian::{le_u32, le_u64};
use crate::platform::File;

const PRINT: usize = 8;
/// Sixteen tags fill a sector, which is written whole or not at all.
const TAG: usize = 32;
/// More than anybody writes, with room to count on.
const MOST_STAMPS: u64 = u64::MAX - (1 << 32);

/// A record that is in the file: its buffer (0: of a mark by a version that did not say), its seq, its fingerprint.
pub(super) type Known = (u64, u64, u64);

/// Whose records a page has, and which: those whose seq, divided by the records of a page, is `chunk`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tag {
    buffer: u64,
    chunk: u64,
    /// Rises with each page that is taken. 0: nobody has it, and what is in it a version without tags has written.
    stamp: u64,
}

/// A buffer that has pages.
struct Tenant {
    buffer: u64,
    pages: usize,
    /// The stamp when it was last written for.
    used: u64,
}

pub(super) struct Memory {
    file: Arc<dyn File>,
    layout: Layout,
    tags: Vec<Tag>,
    tenants: Vec<Tenant>,
    /// The next stamp.
    stamp: u64,
    /// Where the search for a free page begins.
    free: usize,
    /// Used again for every write.
    bytes: Vec<u8>,
}

impl Memory {
    /// `last_seq`: of the last record of a version without tags, which wrote round and round.
    pub(super) fn open(file: Arc<dyn File>, layout: Layout, last_seq: Option<u64>) -> io::Result<Memory> {
        let mut bytes = vec![0; layout.pages * TAG];
        // Behind the end there are no tags.
        file.read_at(&mut bytes, layout.tags())?;
        let tags: Vec<Tag> = bytes.chunks_exact(TAG).map(decode).collect();
        let mut memory = Memory { file, layout, tags, tenants: Vec::new(), stamp: 1, free: 0, bytes };
        for at in 0..memory.tags.len() {
            let tag = memory.tags[at];
            if tag.stamp > 0 {
                memory.stamp = memory.stamp.max(tag.stamp + 1);
                let tenant = memory.tenant(tag.buffer);
                (tenant.pages, tenant.used) = (tenant.pages + 1, tenant.used.max(tag.stamp));
            }
        }
        if let Some(seq) = last_seq {
            memory.free = (memory.untagged(seq).0 + 1) % memory.tags.len();
        }
        Ok(memory)
    }

    /// The page of a buffer's records, if it has one.
    fn find(&self, buffer: u64, chunk: u64) -> Option<usize> {
        self.tags.iter().position(|tag| tag.stamp > 0 && (tag.buffer, tag.chunk) == (buffer, chunk))
    }

    /// The page, and the place in it, where a version without tags remembers a record. Seqs jump by multiples of 2^31, and those
    /// behind such a jump are not to take the places of those before it.
    fn untagged(&self, seq: u64) -> (usize, usize) {
        let place = seq.wrapping_add((seq >> 31).wrapping_mul(0x9e37_79b1)) % self.layout.remembered();
        ((place / self.layout.page) as usize, (place % self.layout.page) as usize)
    }

    fn tenant(&mut self, buffer: u64) -> &mut Tenant {
        let at = self.tenants.iter().position(|tenant| tenant.buffer == buffer).unwrap_or_else(|| {
            self.tenants.push(Tenant { buffer, pages: 0, used: 0 });
            self.tenants.len() - 1
        });
        &mut self.tenants[at]
    }

    /// Writes down records, sorted. `anew`: also what the file is believed to have, because a sync of it may have failed.
    pub(super) fn remember(&mut self, known: &[Known], anew: bool) -> io::Result<()> {
        let page_records = self.layout.page;
        let mut rest = known;
        while let Some(&(buffer, seq, _)) = rest.first() {
            let chunk = seq / page_records;
            // Those that follow each other stand behind each other.
            let follows = |(at, other): (usize, &Known)| {
                let same = (other.0, other.1 / page_records) == (buffer, chunk);
                (same && other.1 - seq == at as u64).then_some(())
            };
            let mut run = rest.iter().enumerate().map_while(follows).count();
            let (page, at) = if buffer == 0 {
                run = 1;
                self.untagged(seq)
            } else {
                (self.take(buffer, chunk, anew)?, (seq % page_records) as usize)
            };
            // A page that has an owner by now forgets what it was to have without one.
            if buffer > 0 || self.tags[page].stamp == 0 {
                self.bytes.clear();
                rest[..run].iter().for_each(|(.., print)| self.bytes.extend_from_slice(&print.to_le_bytes()));
                self.file.write_at(&self.bytes, self.layout.prints(page) + (at * PRINT) as u64)?;
            }
            rest = &rest[run..];
        }
        Ok(())
    }

    /// The page of a buffer's records, which may be another's until now.
    fn take(&mut self, buffer: u64, chunk: u64, anew: bool) -> io::Result<usize> {
        let stamp = self.stamp;
        self.tenant(buffer).used = stamp;
        let found = self.find(buffer, chunk);
        if let Some(page) = found
            && !anew
            // Who writes little, but still does, is not to look as if it had ended.
            && stamp - self.tags[page].stamp <= self.layout.buffers as u64 / 4
        {
            return Ok(page);
        }
        let page = found.unwrap_or_else(|| self.victim());
        let tag = Tag { buffer, chunk, stamp };
        self.file.write_at(&encode(tag), self.layout.tags() + (page * TAG) as u64)?;
        let before = std::mem::replace(&mut self.tags[page], tag);
        self.tenant(buffer).pages += 1;
        if before.stamp > 0 {
            self.tenant(before.buffer).pages -= 1;
            self.tenants.retain(|tenant| tenant.pages > 0);
        }
        self.stamp += 1;
        Ok(page)
    }

    /// A page for somebody: one that nobody has; else the oldest of the buffer that has the most; but if there are very many
    /// buffers, of the one that has not written for longest.
    fn victim(&self) -> usize {
        let pages = self.tags.len();
        let free = (0..pages).map(|at| (self.free + at) % pages).find(|page| self.tags[*page].stamp == 0);
        if let Some(free) = free {
            return free;
        }
        let tenants = self.tenants.iter().filter(|tenant| tenant.pages > 0);
        let loser = if self.tenants.len() > self.layout.buffers {
            tenants.min_by_key(|tenant| tenant.used)
        } else {
            tenants.max_by_key(|tenant| tenant.pages)
        };
        let loser = loser.map_or(0, |tenant| tenant.buffer);
        let of_loser = self.tags.iter().enumerate().filter(|(_, tag)| tag.buffer == loser);
        of_loser.min_by_key(|(_, tag)| tag.stamp).map_or(0, |(page, _)| page)
    }
}

/// Reads what is remembered, a page at a time.
pub(super) struct Look<'a> {
    memory: &'a Memory,
    /// The buffer and chunk that were looked for last, and their page.
    looked_for: Option<(u64, u64, Option<usize>)>,
    /// The page at hand, and what is in it.
    page: usize,
    prints: Vec<u8>,
}

impl<'a> Look<'a> {
    pub(super) fn new(memory: &'a Memory) -> Look<'a> {
        Look { memory, looked_for: None, page: 0, prints: Vec::new() }
    }

    /// Whether the file is known to have just this record.
    pub(super) fn has(&mut self, (buffer, seq, print): Known) -> io::Result<bool> {
        let Memory { file, layout, tags, .. } = self.memory;
        if print == UNKNOWN {
            return Ok(false);
        }
        let chunk = seq / layout.page;
        let own = match self.looked_for {
            Some((last, at, page)) if (last, at) == (buffer, chunk) => page,
            _ => self.memory.find(buffer, chunk),
        };
        self.looked_for = Some((buffer, chunk, own));
        let (page, at) = match own {
            Some(page) => (page, (seq % layout.page) as usize),
            None => self.memory.untagged(seq),
        };
        if own.is_none() && tags[page].stamp > 0 {
            return Ok(false);
        }
        if self.prints.is_empty() || page != self.page {
            self.prints.clear();
            self.prints.resize(layout.page as usize * PRINT, 0);
            // Behind the end nothing is remembered.
            file.read_at(&mut self.prints, layout.prints(page))?;
            self.page = page;
        }
        Ok(le_u64(&self.prints, at * PRINT) == print)
    }
}

impl Layout {
    /// How many records are remembered.
    fn remembered(&self) -> u64 {
        self.pages as u64 * self.page
    }

    /// Where a page stands.
    fn prints(&self, page: usize) -> u64 {
        2 * self.area() + page as u64 * self.page * PRINT as u64
    }

    /// Where the tags stand.
    fn tags(&self) -> u64 {
        self.prints(self.pages)
    }
}

fn encode(tag: Tag) -> [u8; TAG] {
    let mut bytes = [0; TAG];
    for (word, at) in [tag.buffer, tag.chunk, tag.stamp].iter().zip(bytes.chunks_exact_mut(8)) {
        at.copy_from_slice(&word.to_le_bytes());
    }
    let crc = crc32c(&bytes[..24]);
    bytes[24..28].copy_from_slice(&crc.to_le_bytes());
    bytes
}

fn decode(bytes: &[u8]) -> Tag {
    let tag = Tag { buffer: le_u64(bytes, 0), chunk: le_u64(bytes, 8), stamp: le_u64(bytes, 16) };
    let whole = crc32c(&bytes[..24]) == le_u32(bytes, 24) && (1..MOST_STAMPS).contains(&tag.stamp) && tag.buffer > 0;
    if whole { tag } else { Tag::default() }
}
