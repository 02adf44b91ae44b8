//! How far is finished, and what is known of the batches in flight.
//!
//! Four files, `cursor.0` to `cursor.3`, each a whole and checksummed state with a generation. A write never
//! goes to the newest file, nor to the newest durable one, nor to one that is being synced: so neither a torn
//! write nor a power loss takes more than what was being written.

mod batches;
mod words;

use std::io;
use std::sync::Arc;

use super::format::{ALIGN, MOST, le_u32};
use super::losses::Losses;
use super::position::Position;
use super::quarantine::CORRUPT;
use crate::checksum::crc32c;
use crate::error::is_full;
use crate::features;
use crate::platform::{Directory, File, Open, read_past};

pub(crate) use batches::{BatchProgress, Places};
use words::{Words, put_u32, put_u64};

/// How the log was closed the last time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Closed {
    /// It is open, or its process died.
    #[default]
    No = 0,
    /// In order, and all of it was durable before this was written.
    Durably = 1,
    /// In order, but a power loss since then may have taken some of it.
    Unsynced = 2,
}

/// The whole state of the cursor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) buffer_id: u64,
    /// Rises when a power loss or corruption may have taken a batch's boundary; part of batch ids.
    pub(crate) epoch: u32,
    /// The boot in which the log was last open, and how it was closed.
    pub(crate) boot_id: u64,
    pub(crate) closed: Closed,
    /// Seqs below this may have been given out, even if a power loss took their records.
    pub(crate) seq_limit: u64,
    /// Everything before this is finished.
    pub(crate) committed: Position,
    /// Batches of which something is to be remembered, by first seq.
    pub(crate) batches: Vec<(u64, BatchProgress)>,
    /// What was lost or set aside before the committed position, or by what the end of the log had become.
    pub(crate) lost: Losses,
    /// Where the log ended when it was closed; segment 0 while it is open, and in states of early builds.
    pub(crate) end: Position,
    /// How many lanes the last run divided its batches in; 0 is 1.
    pub(crate) lanes: u32,
}

/// Seqs set apart at a time, so that the cursor need not be written for each.
pub(crate) const RESERVED_SEQS: u64 = 1 << 32;
const MAGIC: [u8; 8] = *b"unicurs\n";
const HEAD_BYTES: usize = 104;
const FILES: usize = 4;
/// Reserved at creation, so that commits go on when the disk is full.
const RESERVED_BYTES: u64 = 4096;
/// The largest cursor that is believed: 64 parts with a million records each of their batches, and 65,536 batches, fit.
const MAX_BYTES: u64 = 64 << 20;

impl State {
    /// Where the log ended when it was closed, unless that is not known or a power loss may have taken some of it since.
    pub(crate) fn ended_at(&self, boot_id: u64) -> Option<Position> {
        (self.closed != Closed::No && self.end.segment > 0 && !self.is_cut_off(boot_id)).then_some(self.end)
    }

    /// Whether the log was closed, and all of it was finished before.
    pub(crate) fn is_finished(&self) -> bool {
        self.closed != Closed::No && self.end.segment > 0 && self.committed.records >= self.end.records
    }

    /// Whether a power loss may have taken what was not synced.
    pub(crate) fn is_cut_off(&self, boot_id: u64) -> bool {
        self.closed != Closed::Durably && (boot_id == 0 || boot_id != self.boot_id)
    }

    pub(crate) fn encode(&self, generation: u64) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(256);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&super::format::VERSION.to_le_bytes());
        let memos: Vec<_> = self.batches.iter().flat_map(|(first_seq, batch)| batch.memos(*first_seq)).collect();
        put_u32(&mut bytes, if memos.is_empty() { 0 } else { features::MEMOS });
        bytes.extend_from_slice(&generation.to_le_bytes());
        bytes.extend_from_slice(&self.buffer_id.to_le_bytes());
        bytes.extend_from_slice(&self.boot_id.to_le_bytes());
        bytes.extend_from_slice(&self.seq_limit.to_le_bytes());
        bytes.extend_from_slice(&self.epoch.to_le_bytes());
        bytes.extend_from_slice(&(self.closed as u32).to_le_bytes());
        self.committed.words().iter().for_each(|word| bytes.extend_from_slice(&word.to_le_bytes()));
        bytes.extend_from_slice(&(self.batches.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&0u32.to_le_bytes()); // the length, below
        self.batches.iter().for_each(|(first_seq, progress)| progress.encode(*first_seq, &mut bytes));
        let Losses { regions, bytes: set_aside, records } = self.lost;
        let ends = self.batches.iter().map(|(_, progress)| progress.ends_before);
        for word in [regions, set_aside, records].into_iter().chain(ends).chain(self.end.words()) {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        put_u32(&mut bytes, self.lanes);
        self.batches.iter().for_each(|(_, progress)| progress.encode_lanes(&mut bytes));
        if !memos.is_empty() {
            put_u32(&mut bytes, memos.len() as u32);
        }
        for (first_seq, lane, memo) in memos {
            put_u64(&mut bytes, first_seq);
            put_u32(&mut bytes, lane);
            put_u32(&mut bytes, memo.len() as u32);
            bytes.extend_from_slice(memo);
        }
        let length = bytes.len() as u32 + 4;
        bytes[HEAD_BYTES - 4..HEAD_BYTES].copy_from_slice(&length.to_le_bytes());
        let crc = crc32c(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// The state and its generation, if the bytes hold a whole one.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Decoded> {
        if bytes.len() < HEAD_BYTES + 4 || bytes[..8] != MAGIC {
            return None;
        }
        let length = le_u32(bytes, HEAD_BYTES - 4) as usize;
        if length < HEAD_BYTES + 4 || length > bytes.len() {
            return None;
        }
        if crc32c(&bytes[..length - 4]) != le_u32(bytes, length - 4) {
            return None;
        }
        let (version, flags) = (le_u32(bytes, 8), le_u32(bytes, 12));
        if !features::are_known(version, flags, features::MEMOS) {
            return Some(Decoded::Unknown { version, flags });
        }
        let mut rest = Words(&bytes[16..length - 4]);
        let generation = rest.u64()?;
        let mut state = State {
            buffer_id: rest.u64()?,
            boot_id: rest.u64()?,
            seq_limit: rest.u64()?,
            epoch: rest.u32()?,
            closed: match rest.u32()? {
                1 => Closed::Durably,
                2 => Closed::Unsynced,
                _ => Closed::No,
            },
            committed: rest.position()?,
            batches: Vec::new(),
            lost: Losses::default(),
            end: Position::default(),
            lanes: 0,
        };
        if generation.max(state.seq_limit) >= MOST || !is_possible(&state.committed) {
            return None;
        }
        let count = rest.u32()?;
        let _length = rest.u32()?;
        for _ in 0..count {
            // A batch of which something is remembered was put.
            let batch = BatchProgress::decode(&mut rest).filter(|(first_seq, _)| *first_seq < state.seq_limit)?;
            state.batches.push(batch);
        }
        // States of early builds end here.
        if let (Some(regions), Some(bytes), Some(records)) = (rest.u64(), rest.u64(), rest.u64()) {
            let [regions, bytes, records] = [regions, bytes, records].map(|count| count.min(MOST));
            state.lost = Losses { regions, bytes, records };
        }
        for (first_seq, progress) in &mut state.batches {
            // In states of early builds it is not there.
            progress.ends_before = rest.u64().filter(|end| end > first_seq && *end < MOST).unwrap_or(0);
        }
        state.end = rest.position().filter(is_possible).unwrap_or_default();
        if let Some(lanes) = rest.u32() {
            state.lanes = lanes;
            for (_, progress) in &mut state.batches {
                progress.decode_lanes(&mut rest)?;
            }
        }
        if flags & features::MEMOS != 0 {
            for _ in 0..rest.u32()? {
                let (first_seq, lane) = (rest.u64()?, rest.u32()?);
                let memo = rest.bytes()?.to_vec();
                let (_, batch) = state.batches.iter_mut().find(|(seq, _)| *seq == first_seq)?;
                batch.set_memo(lane, memo);
            }
        }
        Some(Decoded::State { state, generation })
    }
}

/// Whether a frame can begin there, and the totals can be a log's.
fn is_possible(position: &Position) -> bool {
    position.words().iter().all(|word| *word < MOST) && position.offset.is_multiple_of(ALIGN as u64)
}

pub(crate) enum Decoded {
    State { state: State, generation: u64 },
    Unknown { version: u32, flags: u32 },
}

/// What the cursor's files say.
pub(crate) enum Found {
    State(State),
    /// No file, or none that is whole.
    Nothing,
    Unknown {
        version: u32,
        flags: u32,
    },
}

/// The newest state, and where it stands.
struct Newest {
    found: Found,
    generation: u64,
    which: usize,
    fell_back: bool,
    /// Files with something that is no whole state, as bits.
    torn: u8,
    /// Files that the disk cannot read.
    unreadable: Vec<usize>,
}

/// The cursor's files.
pub(crate) struct Checkpoint {
    files: Vec<Arc<dyn File>>,
    generation: u64,
    newest: usize,
    fell_back: bool,
    /// Files with something that is no whole state, as bits. They are written over first: while one is there, nobody who only looks
    /// can be sure that it was not the newest.
    torn: u8,
    /// The newest that a power loss leaves, and its generation.
    durable: usize,
    durable_generation: u64,
    /// How many syncs of each file are under way, without the lock.
    syncing: [u8; FILES],
    /// The last generation of which a sync failed: the kernel may have dropped it, and say of the next sync of that file that
    /// all is well.
    dropped: u64,
}

/// A sync of the state that was the newest when it began.
pub(crate) struct CheckpointSync {
    which: usize,
    generation: u64,
    file: Arc<dyn File>,
}

impl CheckpointSync {
    /// Needs no lock.
    pub(crate) fn run(&self) -> io::Result<()> {
        self.file.sync()?;
        if self.file.is_there()? {
            Ok(())
        } else {
            Err(io::Error::new(io::ErrorKind::NotFound, "the file was removed"))
        }
    }
}

impl Checkpoint {
    /// Reads the newest state without changing anything.
    pub(crate) fn peek(dir: &dyn Directory) -> io::Result<Found> {
        Self::scan(dir).map(|newest| newest.found)
    }

    /// The same; `None` where another state was there, which cannot be read any more: it may have been the newest.
    pub(crate) fn peek_surely(dir: &dyn Directory) -> io::Result<Option<Found>> {
        Self::scan(dir).map(|newest| (!newest.fell_back).then_some(newest.found))
    }

    fn scan(dir: &dyn Directory) -> io::Result<Newest> {
        let mut newest = Newest {
            found: Found::Nothing,
            generation: 0,
            which: 0,
            fell_back: false,
            torn: 0,
            unreadable: Vec::new(),
        };
        let (mut failed, mut any) = (None, false);
        for which in 0..FILES {
            let file = match dir.open(&name(which), Open::Read) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            let mut bytes = vec![0; file.len()?.min(MAX_BYTES) as usize];
            // One that the disk cannot read is as good as one that is damaged, if it can read another.
            let got = match read_past(&*file, &mut bytes, 0) {
                Ok(got) => got.bytes,
                Err(error) => {
                    (failed, newest.fell_back) = (Some(error), true);
                    newest.unreadable.push(which);
                    continue;
                }
            };
            any |= got > 0;
            match State::decode(&bytes[..got]) {
                Some(Decoded::Unknown { version, flags }) => {
                    return Ok(Newest { found: Found::Unknown { version, flags }, ..newest });
                }
                Some(Decoded::State { state, generation }) if generation >= newest.generation => {
                    (newest.found, newest.generation, newest.which) = (Found::State(state), generation, which);
                }
                Some(Decoded::State { .. }) => {}
                None if bytes[..got].iter().any(|byte| *byte != 0) => {
                    (newest.fell_back, newest.torn) = (true, newest.torn | 1 << which);
                }
                None => {}
            }
        }
        match failed {
            Some(error) if !any => Err(error),
            _ => Ok(newest),
        }
    }

    /// Whether there was another state, which cannot be read any more: it may have been the newest.
    pub(crate) fn fell_back(&self) -> bool {
        self.fell_back
    }

    /// Opens the files for writing, creating them where they are missing.
    pub(crate) fn open(dir: &dyn Directory) -> io::Result<(Checkpoint, Found)> {
        let Newest { found, generation, which: newest, fell_back, torn, unreadable } = Self::scan(dir)?;
        for which in unreadable {
            // It could not be written in part either. Where there is no room for that, there are three others.
            let _ = dir.move_into(&name(which), CORRUPT);
        }
        let mut files = Vec::with_capacity(FILES);
        for which in 0..FILES {
            let file = dir.open(&name(which), Open::Create)?;
            if file.len()? < RESERVED_BYTES {
                let reserved = match file.allocate(RESERVED_BYTES) {
                    // What cannot be reserved is written.
                    Err(error) if error.kind() == io::ErrorKind::Unsupported && file.len()? == 0 => {
                        file.write_at(&[0; RESERVED_BYTES as usize], 0)
                    }
                    Err(error) if error.kind() == io::ErrorKind::Unsupported => file.set_len(RESERVED_BYTES),
                    result => result,
                };
                match reserved {
                    // A buffer on a full disk is opened all the same: a write goes to a file that takes it.
                    Err(error) if is_full(&error) && matches!(found, Found::State(_)) => {}
                    result => result?,
                }
            }
            files.push(file);
        }
        // What was read is durable only after `refresh`.
        let cursor = Checkpoint {
            files,
            generation,
            newest,
            fell_back,
            torn,
            durable: newest,
            durable_generation: generation,
            syncing: [0; FILES],
            dropped: 0,
        };
        Ok((cursor, found))
    }

    /// The number of the last state.
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// Makes the state that was read durable, before another file is written over: which of them a power loss would leave
    /// is not known. A sync alone would not do: where one of an earlier process failed, the kernel has dropped the state and
    /// says that all is well. Stored again as it is, which no crash can tear, it is written again.
    pub(crate) fn refresh(&self) -> io::Result<()> {
        let newest = &self.files[self.newest];
        let mut bytes = vec![0; newest.len()?.min(MAX_BYTES) as usize];
        let got = newest.read_at(&mut bytes, 0)?;
        newest.write_at(&bytes[..got], 0)?;
        newest.sync()
    }

    /// Writes the state. It survives the death of the process when this returns, and a power loss after a sync.
    pub(crate) fn write(&mut self, state: &State) -> io::Result<()> {
        let bytes = state.encode(self.generation + 1);
        let mut result = Err(io::ErrorKind::StorageFull.into());
        let torn = self.torn;
        for target in (0..FILES).filter(|which| torn & 1 << which != 0).chain(0..FILES) {
            if target == self.newest || target == self.durable || self.syncing[target] > 0 {
                continue;
            }
            result = self.files[target].write_at(&bytes, 0);
            if result.is_ok() {
                self.generation += 1;
                self.newest = target;
                self.torn &= !(1 << target);
                break;
            }
        }
        result
    }

    /// The sync to run, if the newest state is not durable. [`end_sync`](Self::end_sync) must follow. Callers see to it that
    /// at most one is under way when a state is written.
    pub(crate) fn begin_sync(&mut self) -> Option<CheckpointSync> {
        let (which, generation) = (self.newest, self.generation);
        (which != self.durable).then(|| {
            self.syncing[which] += 1;
            CheckpointSync { which, generation, file: self.files[which].clone() }
        })
    }

    /// Whether the newest state is not durable.
    pub(crate) fn is_unsynced(&self) -> bool {
        self.newest != self.durable
    }

    /// Notes how a sync went, and says whether what it was to make durable is.
    pub(crate) fn end_sync(&mut self, sync: &CheckpointSync, synced: io::Result<()>) -> io::Result<()> {
        let CheckpointSync { which, generation, .. } = *sync;
        self.syncing[which] -= 1;
        match synced {
            // Since it began one has failed: of the same state, it may be, and the kernel says so only once.
            Ok(()) if generation <= self.dropped => {
                return Err(io::Error::other("another sync of it has failed"));
            }
            Ok(()) if generation > self.durable_generation => {
                (self.durable, self.durable_generation) = (which, generation);
            }
            Ok(()) => {}
            Err(_) => self.dropped = self.dropped.max(generation),
        }
        synced
    }

    /// Whether the newest state has to be written anew, to another file, before a sync makes it durable.
    pub(crate) fn is_dropped(&self) -> bool {
        self.generation == self.dropped && self.newest != self.durable
    }
}

/// Whether this is the name of one of the files.
pub(crate) fn is_file(name: &str) -> bool {
    (0..FILES).any(|which| self::name(which) == name)
}

fn name(which: usize) -> String {
    format!("cursor.{which}")
}

#[cfg(all(test, feature = "torture"))]
mod tests;
