//! Batches on their way out: read, taken, settled, forgotten.

use std::cell::RefCell;
use std::io;
use std::time::Duration;

use super::engine::{Core, forked};
use super::format;
use super::head::Settle;
use super::losses::Region;
use super::position::Position;
use super::quarantine::keep;
use super::reader::Reader;
use super::scan::{Scan, Source, Step};
use super::segment::Access;
use super::window::Next;
use super::{segment, writer};
use crate::batch::{Batch, Turn};
use crate::error::{Error, ErrorKind, Result};
use crate::options::Durability;
use crate::platform::sync::MutexGuard;
use crate::platform::sync::atomic::Ordering;
use crate::platform::{Open, lock};

/// When bytes changed that can only be read anew when other batches are back: the time until the next look.
const REREAD_WAIT: Duration = Duration::from_millis(10);

/// What [`Core::take`] found.
pub(crate) enum Taken {
    Batch(Batch),
    /// The next batch may go out at this instant of the monotonic clock.
    Wait {
        ready_at: Duration,
        attempts: u32,
    },
    /// Nothing may go out before this instant, whatever is there.
    Later(Duration),
    Nothing,
}

impl Core {
    /// Whether a batch is there that is not committed.
    pub(crate) fn has_batch(&self) -> bool {
        if self.fork.is_forked() {
            return false;
        }
        let reader = lock(&self.reader);
        let sealed = lock(&self.front).sealed;
        reader.heads.iter().any(|head| !head.is_finished()) || reader.scan.walk.at.seq < sealed.seq
    }

    pub(super) fn load(&self, reader: &mut Reader) -> Result<bool> {
        loop {
            let upto = lock(&self.front).sealed;
            let start = reader.scan.walk.at;
            let Some(mut head) = reader.load(self, &upto, self.opened_at)? else { return Ok(false) };
            let is_new = !head.sealed && head.ends_before == 0;
            if is_new {
                // Whoever opens the buffer next may have other limits, and would divide what has no seals in another way:
                // what this batch has is kept before anybody sees it. Where a full disk takes not even that, nor that the batch
                // is finished, it goes out all the same.
                head.ends_before = head.last_seq + 1;
            }
            let finished = head.is_finished();
            reader.heads.push_back(head);
            if is_new
                && let Err(error) = self.persist_checkpoint(reader, false)
                && error.kind() != ErrorKind::DiskFull
            {
                if let Some(mut head) = reader.heads.pop_back() {
                    head.ends_before = 0;
                    reader.forget(&head);
                }
                reader.scan.walk.seek(start);
                return Err(error);
            }
            if !finished {
                return Ok(true);
            }
            // An earlier run finished every record of it and died before the commit.
            reader.advance();
        }
    }

    pub(super) fn peek(&self) -> Result<Option<Batch>> {
        if self.fork.is_forked() {
            return Err(forked());
        }
        let mut reader = lock(&self.reader);
        // What was read a while ago may have been overwritten since. What comes in its place is another handing-out.
        if let Some(head) = reader.heads.front_mut().filter(|head| !head.is_at_hand() || !head.batch(0).is_whole()) {
            head.parts.iter_mut().for_each(|part| part.out = None);
            reader.read_again();
        }
        if reader.heads.is_empty() && !self.load(&mut reader)? {
            return Ok(None);
        }
        let batch = reader.heads.front_mut().map(|head| {
            // The same one again: any of them is the answer to all.
            head.parts[0].out.get_or_insert_with(Turn::next);
            head.batch(0)
        });
        drop(reader);
        self.sync_seals();
        Ok(batch)
    }

    /// Under `always` a power loss does not take the id of a batch that somebody has seen. Where the log has failed, it is
    /// sent all the same.
    fn sync_seals(&self) {
        if self.options.durability == Durability::Always {
            let lsn = lock(&self.front).sealed_lsn;
            let _ = self.sync_to(lsn);
        }
    }

    /// The first batch, or part of one, that may go out now; handed out if `hand_out`.
    pub(crate) fn take(&self, hand_out: bool) -> Result<Taken> {
        if self.fork.is_forked() {
            return Err(forked());
        }
        let taken = self.find(hand_out)?;
        if matches!(taken, Taken::Batch(_)) {
            self.sync_seals();
        }
        Ok(taken)
    }

    fn find(&self, hand_out: bool) -> Result<Taken> {
        let mut reader = lock(&self.reader);
        let now = self.env.clock.monotonic();
        // The batch that was read last was verified as it was read.
        let (mut fresh, mut read_again) = (None, false);
        let soonest = loop {
            let (next, soonest) = self.window.next(&reader.heads, now);
            let (at, part) = match next {
                Next::Part(at, part) => (at, part),
                Next::Read => {
                    self.window.put_away(&mut reader.heads);
                    if self.load(&mut reader)? {
                        fresh = reader.heads.len().checked_sub(1);
                        continue;
                    }
                    break soonest;
                }
                Next::Nothing => break soonest,
            };
            if !reader.heads[at].is_at_hand() && self.take_up(&mut reader, at)? {
                fresh = Some(at);
            }
            let head = &mut reader.heads[at];
            let mut batch = head.batch(part);
            // What was read a while ago may have been overwritten since.
            if head.is_at_hand() && (fresh == Some(at) || batch.is_whole()) {
                let part = &mut head.parts[part];
                part.out = hand_out.then(Turn::next);
                batch.turn = part.out;
                return Ok(Taken::Batch(batch));
            }
            if !std::mem::replace(&mut read_again, true) && reader.read_again() {
                fresh = None;
            } else {
                reader.heads[at].parts[part].ready_at = now + REREAD_WAIT;
            }
        };
        Ok(match soonest {
            Some((ready_at, attempts)) => Taken::Wait { ready_at, attempts },
            None => Taken::Nothing,
        })
    }

    /// Reads the records of a batch that was put away. False if they are not what they were.
    pub(super) fn take_up(&self, reader: &mut Reader, at: usize) -> Result<bool> {
        let contents = reader.read_head(at, &Again(self))?;
        Ok(contents.is_some_and(|contents| reader.heads[at].take_up(contents)))
    }

    /// Whether another batch could go out now, if one was sealed.
    pub(crate) fn wants_batch(&self) -> bool {
        let now = self.env.clock.monotonic();
        self.window.next(&lock(&self.reader).heads, now).0 != Next::Nothing
    }

    /// How many batches were read and are not committed, and of how many of them the records are in memory.
    #[cfg(test)]
    pub(crate) fn batches_read(&self) -> (usize, usize) {
        let heads = &lock(&self.reader).heads;
        (heads.len(), heads.iter().filter(|head| head.is_at_hand() && !head.is_finished()).count())
    }

    /// Takes a batch's turn for one answer, so that what follows from it can be done before [`settle`](Self::settle), which
    /// must come next: nobody else can answer any more.
    ///
    /// # Errors
    /// Those of `settle`.
    pub(crate) fn claim(&self, batch: &mut Batch) -> Result<()> {
        let mut reader = self.reader_in_service()?;
        let (at, part) = reader.place_of(batch).ok_or_else(not_out)?;
        let turn = Some(Turn::next());
        (reader.heads[at].parts[part].out, batch.turn) = (turn, turn);
        Ok(())
    }

    /// Notes what became of a batch, on disk too.
    /// `known` is called once the batch is known to be out in this turn, before anybody can see that it is finished.
    ///
    /// # Errors
    /// `NotFound` if this handing-out of the batch was answered already, or is none of this buffer's; those of the disk.
    pub(crate) fn settle(&self, batch: &Batch, settle: Settle, known: impl FnOnce()) -> Result<()> {
        let mut reader = self.reader_in_service()?;
        let (at, part) = reader.place_of(batch).ok_or_else(not_out)?;
        known();
        let entries = reader.heads[at].settle(part, settle);
        reader.recycle(entries);
        let before = reader.state.committed.segment;
        reader.advance();
        let frees = reader.state.committed.segment != before;
        self.persist_checkpoint(&mut reader, frees)
    }

    /// The reader, to change what the checkpoint says: not in a forked child, and not after the close, when the
    /// directory may be another owner's.
    pub(super) fn reader_in_service(&self) -> Result<MutexGuard<'_, Reader>> {
        if self.fork.is_forked() {
            return Err(forked());
        }
        let reader = lock(&self.reader);
        // A log that takes nothing can still be read and committed; one that is closed cannot.
        if self.closed.load(Ordering::Acquire) { Err(writer::closed()) } else { Ok(reader) }
    }

    /// Reads what is not committed anew, because bytes that were handed out could no longer be read.
    pub(crate) fn read_again(&self) {
        lock(&self.reader).read_again();
    }

    /// Forgets attempts, so that what was given up on gets a fresh round.
    pub(crate) fn reset_attempts(&self, exhausted: impl Fn(u32) -> bool) -> Result<()> {
        let mut reader = self.reader_in_service()?;
        let changed = reader.reset_attempts(exhausted);
        if changed { self.persist_checkpoint(&mut reader, false) } else { Ok(()) }
    }

    /// Lets what waits for its next attempt go out now. Attempts stay counted, and the wait after the next failure is as
    /// long as it would have been.
    pub(crate) fn make_due(&self) -> Result<()> {
        self.reader_in_service()?.make_due();
        Ok(())
    }

    /// Writes the checkpoint, and durably so under `always`.
    pub(super) fn persist_checkpoint(&self, reader: &mut Reader, frees: bool) -> Result<()> {
        reader.write()?;
        if self.options.durability == Durability::Always {
            reader.sync()?;
        }
        if frees {
            self.signal.wake();
        }
        Ok(())
    }

    /// The corrupt regions found since the last call.
    pub(crate) fn take_regions(&self) -> Vec<Region> {
        self.damage.take_untold()
    }
}

impl Source for Core {
    fn open(&self, index: u64) -> Result<Option<segment::Finished>> {
        let own = {
            let log = lock(&self.log);
            log.reader(index).zip(log.length_of(index))
        };
        if let Some((reader, length)) = own {
            let head = reader.clone().read(0, format::SEGMENT_HEADER_BYTES);
            let head = head.map_err(|error| unreadable(index, error))?;
            let header = format::SegmentHeader::decode(head.bytes());
            return Ok(Some(segment::Finished { header, reader, length }));
        }
        segment::open(&*self.dir, index, self.access).map_err(|error| unreadable(index, error))
    }

    fn segment_after(&self, index: u64) -> Option<u64> {
        lock(&self.log).segment_after(index)
    }

    fn set_aside(&self, region: &Region, behind: &Position) {
        if !self.damage.count(region, behind) {
            return;
        }
        if region.has_bytes() {
            // For whoever wants to look at them; not being able to keep them is no reason to stop.
            let file = self.dir.open(&segment::name(region.segment), Open::Read);
            if !file.and_then(|file| keep(&*self.dir, region, &*file)).is_ok_and(|whole| whole) {
                self.damage.mark_unreadable(region.segment);
            }
        }
        self.damage.tell(region);
    }
}

/// Reads once more what this run has read. What is missing by now is counted when all is read again.
struct Again<'a>(&'a Core);

impl Source for Again<'_> {
    fn open(&self, index: u64) -> Result<Option<segment::Finished>> {
        self.0.open(index)
    }

    fn segment_after(&self, index: u64) -> Option<u64> {
        self.0.segment_after(index)
    }

    fn set_aside(&self, _: &Region, _: &Position) {}
}

/// Reads once more what an earlier run has read, to keep what it may not have been able to keep.
struct Anew<'a> {
    core: &'a Core,
    kept: RefCell<io::Result<bool>>,
}

impl Source for Anew<'_> {
    fn open(&self, index: u64) -> Result<Option<segment::Finished>> {
        segment::open(&*self.core.dir, index, Access::PLAIN).map_err(|error| unreadable(index, error))
    }

    fn segment_after(&self, index: u64) -> Option<u64> {
        self.core.segment_after(index)
    }

    fn set_aside(&self, region: &Region, _: &Position) {
        if region.has_bytes() {
            let file = self.core.dir.open(&segment::name(region.segment), Open::Read);
            let kept = file.and_then(|file| keep(&*self.core.dir, region, &*file));
            let mut all = self.kept.borrow_mut();
            match (kept, &mut *all) {
                (Ok(whole), Ok(all)) => *all &= whole,
                (Err(error), Ok(_)) => *all = Err(error),
                (_, Err(_)) => {}
            }
        }
    }
}

impl Core {
    /// Has a finished segment set aside, not removed, if an earlier run passed damage in it and may have died before it freed it.
    pub(super) fn look_for_damage(&self, index: u64) {
        let Position { segment, .. } = self.inherited;
        let upto = if index < segment { behind(index) } else { self.inherited };
        if index <= segment && !self.keep_anew(index, &upto).is_ok_and(|whole| whole) {
            self.damage.mark_unreadable(index);
        }
    }

    /// Copies the damaged bytes of a finished segment once more. Whether all of them could be read.
    pub(super) fn keep_damage(&self, index: u64) -> io::Result<bool> {
        self.keep_anew(index, &behind(index))
    }

    fn keep_anew(&self, index: u64, upto: &Position) -> io::Result<bool> {
        let source = Anew { core: self, kept: RefCell::new(Ok(true)) };
        let start = Position { segment: index, ..Position::default() };
        let mut walk = Scan::new(lock(&self.log).buffer_id, start);
        loop {
            match walk.step(&source, upto) {
                Ok(Step::Limit) => return source.kept.into_inner(),
                Ok(_) => {}
                Err(error) => return Err(io::Error::other(error)),
            }
        }
    }
}

/// Where a segment is passed.
fn behind(index: u64) -> Position {
    Position { segment: index + 1, ..Position::default() }
}

#[cold]
pub(super) fn not_out() -> Error {
    let message = "this batch is not waiting for an answer: each handing-out takes one, and only from the producer or \
                   buffer that handed it out";
    Error::new(ErrorKind::NotFound, message)
}

#[cold]
fn unreadable(index: u64, error: io::Error) -> Error {
    Error::io(format_args!("could not read {}", segment::name(index)), error)
}
