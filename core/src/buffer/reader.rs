//! The reader's side of the log: from the committed position forward, one sealed batch at a time.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::batch_scan::{self, BatchScan, MOST_PLACES};
use super::checkpoint::{BatchProgress, Checkpoint, CheckpointSync, Closed, RESERVED_SEQS, State};
use super::head::{Contents, Head};
use super::losses::Found;
use super::open_batch::BatchCaps;
use super::position::Position;
use super::scan::Source;
use crate::batch::{Batch, BatchId, Entry, Progress};
use crate::error::{Error, Result};
use crate::limits::Limits;
use crate::platform::Ownership;
use crate::schedule::MAX_WAIT;

/// The owner of a checkpoint before the run begins.
struct Nobody;

impl Ownership for Nobody {
    fn check(&self) -> io::Result<()> {
        Ok(())
    }
}

/// Microseconds that a batch may have to wait, whatever the cursor says: no sink and no schedule is given a longer one.
const LONGEST_WAIT: u64 = MAX_WAIT.as_micros() as u64;

/// The reader's state, guarded by one mutex that `put` does not take unless it finds no room.
pub(crate) struct Reader {
    checkpoint: Checkpoint,
    pub(crate) state: State,
    found: Arc<Found>,
    pub(crate) heads: VecDeque<Head>,
    /// What is remembered of batches that are not read (again) yet, by first seq.
    unread: Vec<(u64, BatchProgress)>,
    pub(crate) scan: BatchScan,
    /// The state in memory is ahead of the checkpoint's file: a write failed, or batches were passed over that an earlier run
    /// had finished.
    unwritten: bool,
    /// The `seq_limit` that a power loss leaves.
    reserved: u64,
    /// Until when batches wait that are read again, by first seq and lane. (The checkpoint holds wall-clock times, for the next
    /// run.)
    waits: Vec<((u64, u32), Duration)>,
    /// Checked before each write of the checkpoint: the directory may be another process's by now.
    owner: Weak<dyn Ownership>,
}

impl Reader {
    pub(crate) fn new(
        checkpoint: Checkpoint,
        state: State,
        found: Arc<Found>,
        limits: Limits,
        caps: BatchCaps,
    ) -> Self {
        Reader {
            scan: BatchScan::new(state.buffer_id, state.committed, limits, caps),
            unread: state.batches.clone(),
            checkpoint,
            state,
            found,
            heads: Default::default(),
            unwritten: false,
            reserved: 0,
            waits: Vec::new(),
            owner: Weak::<Nobody>::new(),
        }
    }

    /// Reads the next sealed batch, if one ends before `upto`. After an error it begins at the same place again.
    pub(crate) fn load(
        &mut self,
        source: &dyn Source,
        upto: &Position,
        opened_at: (i64, Duration),
    ) -> Result<Option<Head>> {
        if let Some(found) = self.scan.next(source, upto, &self.unread)? {
            return Ok(Some(self.head(found, opened_at)));
        }
        // Nothing whole is left before the limit: what was passed over is finished with what is before it.
        match self.heads.back_mut() {
            Some(last) => last.end = *upto,
            None if self.state.committed != *upto => {
                self.state.committed = *upto;
                self.unwritten = true;
            }
            None => {}
        }
        Ok(None)
    }

    /// What was found, with what is remembered of it.
    fn head(&mut self, found: batch_scan::Found, (wall, monotonic): (i64, Duration)) -> Head {
        let batch_scan::Found { id, last_seq, start, end, lanes, sealed, contents } = found;
        let known = self.unread.iter().position(|(first_seq, _)| *first_seq == id.first_seq);
        let known = known.map(|at| self.unread.remove(at).1).unwrap_or_default();
        let mut head = Head::new(id, last_seq, (start, end), lanes, contents, known);
        head.sealed = sealed;
        for part in &mut head.parts {
            part.ready_at = match self.waits.iter().position(|(waiting, _)| *waiting == (id.first_seq, part.lane)) {
                Some(at) => self.waits.swap_remove(at).1,
                None => {
                    let Progress { next_attempt, last_attempt, .. } = part.progress;
                    // Never longer than it was to begin with: the wall clock may have been set back since.
                    let wait = next_attempt.saturating_sub(wall.max(last_attempt));
                    let wait = u64::try_from(wait).unwrap_or(0).min(LONGEST_WAIT);
                    if wait == 0 { Duration::ZERO } else { monotonic + Duration::from_micros(wait) }
                }
            };
        }
        head
    }

    /// Where the batch is among those that were read, and which part of it is, if it is out in this very turn.
    pub(crate) fn place_of(&self, batch: &Batch) -> Option<(usize, usize)> {
        batch.turn?;
        let id = BatchId { lane: None, ..batch.id };
        let at = self.heads.iter().position(|head| head.id == id)?;
        let part = self.heads[at].parts.iter().position(|part| part.out == batch.turn)?;
        Some((at, part))
    }

    /// Forgets what was read and not committed, so that it is read anew; not while any of it is handed out.
    pub(crate) fn read_again(&mut self) -> bool {
        let alone = !self.heads.iter().any(Head::is_out);
        if alone {
            for head in std::mem::take(&mut self.heads) {
                self.forget(&head);
                let waits = head.parts.iter().map(|part| ((head.id.first_seq, part.lane), part.ready_at));
                self.waits.extend(waits);
            }
            self.scan.restart(self.state.committed);
        }
        alone
    }

    /// Drops the finished batches at the front; the committed position moves behind them.
    pub(crate) fn advance(&mut self) {
        while self.heads.front().is_some_and(Head::is_finished)
            && let Some(head) = self.heads.pop_front()
        {
            self.state.committed = head.end;
            self.unwritten = true;
        }
    }

    /// Remembers what is to be remembered of a batch that is not among those that were read any more.
    pub(crate) fn forget(&mut self, head: &Head) {
        let progress = head.progress();
        if progress != BatchProgress::default() {
            self.unread.push((head.id.first_seq, progress));
        }
    }

    /// Takes a list of entries, to use it again.
    pub(crate) fn recycle(&mut self, entries: Option<Vec<Entry>>) {
        self.scan.recycle(entries);
    }

    /// Reads the records of a batch that was put away once more. `None` if they are not what they were.
    pub(crate) fn read_head(&self, at: usize, source: &dyn Source) -> Result<Option<Contents>> {
        let head = &self.heads[at];
        self.scan.read_again((&head.start, &head.end), (head.id.first_seq, head.last_seq), source)
    }

    /// Records behind the committed position that are finished.
    pub(crate) fn done_records(&self) -> u64 {
        let unread = self.unread.iter().map(|(_, progress)| progress.done_records());
        self.heads.iter().map(Head::done_records).chain(unread).fold(0, u64::saturating_add)
    }

    /// Begins a run: the buffer is open, and its next record gets `next_seq`. `boot_id` 0 makes the next owner treat the log as
    /// one that a power loss cut off. Writes the checkpoint durably in every mode: else a power loss would bring back a log
    /// that seems to be complete, or a lower limit of seqs, and seqs of this run would be given out again.
    pub(crate) fn begin_run(
        &mut self,
        boot_id: u64,
        next_seq: u64,
        lanes: u32,
        owner: &Arc<dyn Ownership>,
    ) -> Result<()> {
        (self.state.boot_id, self.state.lanes) = (boot_id, lanes);
        (self.state.closed, self.state.end) = (Closed::No, Position::default());
        self.owner = Arc::downgrade(owner);
        let limit = self.reserve(next_seq);
        self.write()?;
        self.sync()?;
        self.reserved_durably(limit);
        Ok(())
    }

    /// Ends it: the log was closed, and ended there.
    pub(crate) fn end_run(&mut self, closed: Closed, end: Position) -> Result<()> {
        self.state.closed = closed;
        // A power loss cannot bring back the state before a later run, so no seq behind the last one will be given out.
        if closed == Closed::Durably {
            self.state.seq_limit = end.seq;
        }
        if closed != Closed::No {
            self.state.end = end;
        }
        self.write()
    }

    /// Makes the next owner treat the log as one that a power loss cut off, if the checkpoint can still be written.
    pub(crate) fn mark_unclean(&mut self) {
        self.state.boot_id = 0;
        let _ = self.write();
    }

    /// Reserves seqs, far enough ahead that no put has to wait for it. They may be given out when the checkpoint is durable:
    /// then [`reserved_durably`](Self::reserved_durably) must be called with the limit that this returns.
    pub(crate) fn reserve(&mut self, next_seq: u64) -> u64 {
        if self.state.seq_limit < next_seq + RESERVED_SEQS / 2 {
            self.state.seq_limit = next_seq + RESERVED_SEQS;
        }
        self.state.seq_limit
    }

    pub(crate) fn reserved_durably(&mut self, limit: u64) {
        self.reserved = limit;
    }

    /// Seqs below this are reserved durably.
    pub(crate) fn reserved(&self) -> u64 {
        self.reserved
    }

    #[cfg(all(test, feature = "torture"))]
    pub(crate) fn checkpoint(&mut self) -> &mut Checkpoint {
        &mut self.checkpoint
    }

    /// Whether the state in memory is ahead of the checkpoint's file.
    pub(crate) fn is_unwritten(&self) -> bool {
        self.unwritten
    }

    /// Whether the checkpoint's file is not durable.
    pub(crate) fn is_unsynced(&self) -> bool {
        self.checkpoint.is_unsynced()
    }

    /// Forgets the attempts at batches for which `exhausted`, so that they get as many again. Returns whether there were any.
    pub(crate) fn reset_attempts(&mut self, exhausted: impl Fn(u32) -> bool) -> bool {
        let fresh = |progress: &mut Progress| {
            let is_exhausted = exhausted(progress.attempts);
            if is_exhausted {
                *progress = progress.without_attempts();
            }
            is_exhausted
        };
        let mut changed = false;
        for (first_seq, batch) in &mut self.unread {
            for (lane, progress) in &mut batch.parts {
                if fresh(progress) {
                    self.waits.retain(|(waiting, _)| *waiting != (*first_seq, *lane));
                    changed = true;
                }
            }
            batch.parts.retain(|(_, progress)| *progress != Progress::default());
        }
        for part in self.heads.iter_mut().flat_map(|head| &mut head.parts) {
            if fresh(&mut part.progress) {
                part.ready_at = Duration::ZERO;
                changed = true;
            }
        }
        changed
    }

    /// Ends the waits for the next attempt. Attempts stay counted.
    pub(crate) fn make_due(&mut self) {
        self.waits.clear();
        for (_, batch) in &mut self.unread {
            batch.parts.iter_mut().for_each(|(_, progress)| progress.next_attempt = 0);
        }
        for part in self.heads.iter_mut().flat_map(|head| &mut head.parts) {
            (part.progress.next_attempt, part.ready_at) = (0, Duration::ZERO);
        }
    }

    /// The sync that makes the checkpoint durable, if it is not; see [`Checkpoint::begin_sync`].
    pub(crate) fn begin_sync(&mut self) -> Result<Option<CheckpointSync>> {
        if self.checkpoint.is_dropped() {
            self.write()?;
        }
        Ok(self.checkpoint.begin_sync())
    }

    pub(crate) fn end_sync(&mut self, sync: &CheckpointSync, synced: io::Result<()>) -> Result<()> {
        self.checkpoint.end_sync(sync, synced).map_err(|error| Error::io("could not sync the cursor", error))
    }

    /// Makes the checkpoint durable while the reader is locked.
    pub(crate) fn sync(&mut self) -> Result<()> {
        match self.begin_sync()? {
            Some(sync) => self.end_sync(&sync, sync.run()),
            None => Ok(()),
        }
    }

    /// Brings what is remembered of batches up to date and writes the checkpoint.
    pub(crate) fn write(&mut self) -> Result<()> {
        let committed = self.state.committed.seq;
        // Batches that are not read again yet keep what an earlier run wrote of them; also one that lost its first
        // records, so that the committed position lies within it.
        self.unread.retain(|(first_seq, _)| first_seq + MOST_PLACES > committed);
        let read = self.heads.iter().map(|head| (head.id.first_seq, head.progress()));
        let known = read.filter(|(_, progress)| *progress != BatchProgress::default());
        self.state.batches.clear();
        self.state.batches.extend(self.unread.iter().cloned().chain(known));
        self.found.pass(&self.state.committed, &mut self.state.lost);
        let owned = self.owner.upgrade().map_or(Ok(()), |owner| owner.check());
        let written = owned.and_then(|()| self.checkpoint.write(&self.state));
        self.unwritten = written.is_err();
        written.map_err(|error| Error::io("could not write the cursor", error))
    }
}
