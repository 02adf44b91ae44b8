//! Batches on their way out: read, taken, settled, forgotten.

use std::cell::RefCell;
use std::io;
use std::time::Duration;

use super::engine::{Core, forked};
use super::format;
use super::losses::Region;
use super::position::Position;
use super::quarantine::keep;
use super::reader::{Head, Reader};
use super::scan::{Scan, Source, Step};
use super::segment::Access;
use super::{segment, writer};
use crate::batch::{Batch, Progress, Turn};
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
    Nothing,
}

/// What became of a batch.
#[derive(Default)]
pub(crate) struct Settle {
    /// Nothing of it is left to send.
    pub(crate) finished: bool,
    /// Places that are finished.
    pub(crate) done: Vec<u32>,
    /// What is remembered of it from now on, `done` aside.
    pub(crate) progress: Option<Progress>,
    /// When what is left may go out again.
    pub(crate) ready_at: Duration,
}

impl Core {
    /// Whether a batch is there that is not committed.
    pub(crate) fn has_batch(&self) -> bool {
        if self.fork.is_forked() {
            return false;
        }
        let reader = lock(&self.reader);
        let sealed = lock(&self.front).sealed;
        reader.heads.iter().any(|head| !head.finished) || reader.walk.at.seq < sealed.seq
    }

    pub(super) fn load(&self, reader: &mut Reader) -> Result<bool> {
        loop {
            let upto = lock(&self.front).sealed;
            let start = reader.walk.at;
            let Some(mut head) = reader.load(self, &upto, self.opened_at)? else { return Ok(false) };
            if !head.sealed && head.progress.ends_before == 0 {
                // Whoever opens the buffer next may have other limits, and would divide what has no seals in another way:
                // what this batch has is kept before anybody sees it. Where a full disk takes not even that, nor that the batch
                // is finished, it goes out all the same.
                head.progress.ends_before = head.last_seq + 1;
                reader.state.batches.push((head.id.first_seq, head.progress.clone()));
                if let Err(error) = self.persist_checkpoint(reader, false)
                    && error.kind() != ErrorKind::DiskFull
                {
                    reader.state.batches.retain(|(first_seq, _)| *first_seq != head.id.first_seq);
                    reader.walk.seek(start);
                    return Err(error);
                }
            }
            let finished = head.finished;
            reader.heads.push_back(head);
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
        if let Some(head) = reader.heads.front_mut().filter(|head| !head.batch().is_whole()) {
            head.out = None;
            reader.read_again();
        }
        if reader.heads.is_empty() && !self.load(&mut reader)? {
            return Ok(None);
        }
        let batch = reader.heads.front_mut().map(|head| {
            // The same one again: any of them is the answer to all.
            head.out.get_or_insert_with(Turn::next);
            head.batch()
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

    /// The first batch that may go out now, among the first `in_flight`; handed out if `hand_out`.
    pub(crate) fn take(&self, in_flight: usize, hand_out: bool) -> Result<Taken> {
        if self.fork.is_forked() {
            return Err(forked());
        }
        let taken = self.find(in_flight, hand_out)?;
        if matches!(taken, Taken::Batch(_)) {
            self.sync_seals();
        }
        Ok(taken)
    }

    fn find(&self, in_flight: usize, hand_out: bool) -> Result<Taken> {
        let mut reader = lock(&self.reader);
        let now = self.env.clock.monotonic();
        let mut soonest: Option<(Duration, u32)> = None;
        let mut at = 0;
        while at < in_flight {
            let fresh = at >= reader.heads.len();
            if fresh && !self.load(&mut reader)? {
                break;
            }
            let head = &mut reader.heads[at];
            if head.out.is_none() && !head.finished {
                if head.ready_at <= now {
                    let mut batch = head.batch();
                    // What was read a while ago may have been overwritten since.
                    if fresh || batch.is_whole() {
                        head.out = hand_out.then(Turn::next);
                        batch.turn = head.out;
                        return Ok(Taken::Batch(batch));
                    }
                    if reader.read_again() {
                        (at, soonest) = (0, None);
                        continue;
                    }
                    reader.heads[at].ready_at = now + REREAD_WAIT;
                }
                let head = &reader.heads[at];
                if soonest.is_none_or(|(ready_at, _)| head.ready_at < ready_at) {
                    soonest = Some((head.ready_at, head.progress.attempts));
                }
            }
            at += 1;
        }
        Ok(match soonest {
            Some((ready_at, attempts)) => Taken::Wait { ready_at, attempts },
            None => Taken::Nothing,
        })
    }

    /// Takes a batch's turn for one answer, so that what follows from it can be done before [`settle`](Self::settle), which
    /// must come next: nobody else can answer any more.
    ///
    /// # Errors
    /// Those of `settle`.
    pub(crate) fn claim(&self, batch: &mut Batch) -> Result<()> {
        let mut reader = self.reader_in_service()?;
        let at = reader.place_of(batch).ok_or_else(not_out)?;
        let turn = Some(Turn::next());
        (reader.heads[at].out, batch.turn) = (turn, turn);
        Ok(())
    }

    /// Notes what became of a batch, on disk too.
    /// `known` is called once the batch is known to be out in this turn, before anybody can see that it is finished.
    ///
    /// # Errors
    /// `NotFound` if this handing-out of the batch was answered already, or is none of this buffer's; those of the disk.
    pub(crate) fn settle(&self, batch: &Batch, settle: Settle, known: impl FnOnce()) -> Result<()> {
        let mut reader = self.reader_in_service()?;
        let at = reader.place_of(batch).ok_or_else(not_out)?;
        known();
        let head = &mut reader.heads[at];
        head.out = None;
        head.ready_at = settle.ready_at;
        if let Some(progress) = settle.progress {
            let Progress { done, ends_before, .. } = head.progress.without_attempts();
            head.progress = Progress { done, ends_before, ..progress };
        }
        if !settle.done.is_empty() {
            settle.done.iter().for_each(|place| head.progress.set_done(*place));
            let Head { entries, progress, .. } = head;
            entries.retain(|entry| !progress.is_done(entry.place));
        }
        if settle.finished && at > 0 {
            // The committed position cannot pass it yet: a crash must find that nothing of it is left to send.
            head.entries.drain(..).for_each(|entry| head.progress.set_done(entry.place));
        }
        head.finished = settle.finished || head.entries.is_empty();
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

    fn set_aside(&self, region: &Region) {
        if !self.damage.count(region) {
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

    fn set_aside(&self, region: &Region) {
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
fn not_out() -> Error {
    let message = "this batch is not waiting for an answer: each handing-out takes one, and only from the producer or \
                   buffer that handed it out";
    Error::new(ErrorKind::NotFound, message)
}

#[cold]
fn unreadable(index: u64, error: io::Error) -> Error {
    Error::io(format_args!("could not read {}", segment::name(index)), error)
}
