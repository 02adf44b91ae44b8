//! Room in the log: the next segment is prepared, finished ones are used again, removed, or given back.

use std::io;

use super::engine::Core;
use super::maintenance::MaintenanceState;
use super::opening::{LEAST_BYTES, make_segment};
use super::quarantine::CORRUPT;
use super::segment;
use super::writer::{PreparedSegment, SealedSegment};
use crate::error::{Error, ErrorKind, Result, lacks_space};
use crate::options::Durability;
use crate::platform::lock;
use crate::platform::sync::atomic::Ordering;

/// Segments kept for use again beside the spare one.
const POOL: usize = 2;

/// Other logs that count towards the same `max_buffer_bytes`.
pub(crate) trait Neighbours: Send + Sync {
    /// The disk that they take. None of them makes a segment while the caller keeps what comes with it.
    fn disk(&self) -> io::Result<(u64, Option<Box<dyn Send + Sync>>)>;
    /// How long a segment should be, so that each of them has room for some.
    fn segment_bytes(&self, cap: u64) -> u64;
}

/// The disk that a log with neighbours may always take, whatever they have: a segment to write and one that is finished.
const OWN_SHARE: u64 = 2 * LEAST_BYTES;

/// Whether a log with neighbours may take so many bytes.
pub(super) fn has_room(own: u64, others: u64, cap: u64) -> bool {
    own.saturating_add(others) <= cap || own <= OWN_SHARE
}

impl Core {
    /// Sees to it that a spare segment of at least `needed` bytes is there.
    pub(super) fn prepare(&self, needed: u64) -> Result<()> {
        let mut maintenance = lock(&self.maintenance);
        if lock(&self.log).spare.as_ref().is_some_and(|spare| spare.length >= needed) {
            return Ok(());
        }
        self.check_owner()?;
        // What cannot be freed is no reason not to use what is free.
        let freed = self.free(&mut maintenance);
        let length = self.segment_bytes.max(needed);
        let failed = |error| Error::io("could not prepare a segment", error);
        let small = {
            let mut log = lock(&self.log);
            log.check()?;
            log.spare.take()
        };
        if let Some(small) = small {
            self.discard(small).map_err(failed)?;
        }
        let (index, reused) = {
            let mut log = lock(&self.log);
            let reused = log.pool.iter().rposition(|kept| kept.length >= length).map(|at| log.pool.swap_remove(at));
            (log.index + 1, reused)
        };
        // The name is durable before a record in it can be: at once, or as the first step of the next sync.
        let at_once = self.options.durability == Durability::Always;
        // The last one kept, whose pages are the warmest.
        let mut spare = match reused {
            Some(reused) => self.reuse(reused, index, at_once).map_err(failed)?,
            None => {
                let cap = self.options.max_buffer_bytes;
                if length.saturating_mul(2) > cap {
                    let message = format!(
                        "a record that needs a segment of {length} bytes does not fit max_buffer_bytes ({cap})"
                    );
                    return Err(Error::new(ErrorKind::RecordTooLarge, message));
                }
                let (others, _turn) = match &self.neighbours {
                    Some(neighbours) => neighbours.disk().map_err(failed)?,
                    None => (0, None),
                };
                let least = needed.max(LEAST_BYTES).min(length);
                let mut length = length;
                while lock(&self.log).disk_bytes + others + length > cap {
                    // Kept segments that are too small for this. The guard ends with the statement.
                    let kept = lock(&self.log).pool.pop();
                    if let Some(kept) = kept {
                        self.discard(kept).map_err(failed)?;
                        continue;
                    }
                    // Among neighbours what is left may be less than a segment, and everyone has a little.
                    let has_share = lock(&self.log).disk_bytes + length <= OWN_SHARE;
                    match self.neighbours {
                        Some(_) if has_share => break,
                        Some(_) if length / 2 >= least => length /= 2,
                        _ => return Err(freed.err().unwrap_or_else(|| full(cap))),
                    }
                }
                let make = || make_segment(&*self.dir, index, length, least, self.access, at_once);
                let spare = make().or_else(|error| match error.kind() {
                    // A file that was removed takes its space for as long as a sync has it.
                    ErrorKind::DiskFull => {
                        self.group.wait_until_idle();
                        make().or_else(|error| if self.give_up(&mut maintenance) { make() } else { Err(error) })
                    }
                    _ => Err(error),
                })?;
                lock(&self.log).disk_bytes += spare.length;
                spare
            }
        };
        spare.writer.warm(0, spare.length as usize);
        // Dropped when the lock is free again.
        let retired = lock(&self.log).retire();
        drop(retired);
        if !at_once {
            // Behind the name and before its use: a sync in between would take the name for durable.
            self.dir_unsynced.store(true, Ordering::Release);
        }
        lock(&self.log).spare = Some(spare);
        Ok(())
    }

    /// Makes a kept segment the next one.
    pub(super) fn reuse(&self, mut kept: PreparedSegment, index: u64, durable: bool) -> io::Result<PreparedSegment> {
        let (from, to) = (segment::name(kept.index), segment::name(index));
        // Its header still names the old index, which tells a crashed opener that it holds nothing.
        let renamed = self.dir.rename(&from, &to).and_then(|()| if durable { self.dir.sync() } else { Ok(()) });
        if let Err(error) = renamed {
            // The next one is made over what has the new name; what keeps the old one still takes its space.
            if self.dir.remove(&from).is_ok() {
                lock(&self.log).disk_bytes -= kept.length;
            }
            let _ = self.dir.remove(&to);
            return Err(error);
        }
        kept.index = index;
        Ok(kept)
    }

    /// Removes a kept segment, or the prepared one. What cannot be removed stays what it was: its name says which.
    pub(super) fn discard(&self, spare: PreparedSegment) -> io::Result<()> {
        let removed = self.dir.remove(&segment::name(spare.index));
        let mut log = lock(&self.log);
        match removed {
            Ok(()) => {
                log.disk_bytes -= spare.length;
                self.space.notify();
            }
            Err(_) if spare.index > log.index => log.spare = Some(spare),
            Err(_) => log.pool.push(spare),
        }
        removed
    }

    /// Frees the segments before the committed position: keeps one or two for use again, removes the others. One that can be
    /// neither removed nor set aside stays where it is, and nothing behind it waits.
    pub(super) fn free(&self, maintenance: &mut MaintenanceState) -> Result<()> {
        let committed = {
            let mut reader = lock(&self.reader);
            if reader.is_unwritten() {
                reader.write()?;
            }
            reader.state.committed.segment
        };
        let now = self.env.clock.monotonic();
        if !maintenance.is_retry_due(now) && lock(&self.log).past.front().is_none_or(|past| past.index >= committed) {
            return Ok(());
        }
        self.check_owner()?;
        // The commit is durable before what it frees is written over or unlinked.
        if self.options.durability != Durability::Os {
            self.sync_checkpoint()?;
        }
        let mut left = maintenance.take_retries(now);
        loop {
            let (past, keep) = {
                let mut log = lock(&self.log);
                match log.past.front() {
                    Some(past) if past.index < committed => {}
                    _ => break,
                }
                let keep = log.pool.len() < POOL && log.disk_bytes <= self.options.max_buffer_bytes;
                match log.past.pop_front() {
                    Some(past) => (past, keep),
                    None => break,
                }
            };
            let SealedSegment { index, length, writer } = past;
            self.look_for_damage(index);
            let keep = keep && length == self.segment_bytes && !self.damage.is_unreadable(index);
            // A batch that is still in somebody's hands keeps its bytes: then the file goes.
            if let Some(mut writer) = writer
                && keep
                && writer.recycle()
            {
                let mut log = lock(&self.log);
                log.pool.push(PreparedSegment { index, length, writer });
                self.space.notify();
                continue;
            }
            left.push((index, length));
        }
        // Behind the others: what they took may be what is missing.
        let mut failed = None;
        left.retain_mut(|(index, length)| {
            let error = self.unlink(*index).err();
            if error.is_none() || self.damage.is_unreadable(*index) {
                // What is set aside does not count, also where it is set aside in its old place.
                let mut log = lock(&self.log);
                log.disk_bytes -= std::mem::take(length);
                self.space.notify();
            }
            let is_left = error.is_some();
            failed = error.or(failed.take());
            is_left
        });
        if let Some(error) = failed {
            maintenance.add_undeletable(left, error, now);
        }
        Ok(())
    }

    /// Removes segments that were to be set aside and cannot be: on a full disk, what is put comes first. Whether there were any.
    fn give_up(&self, maintenance: &mut MaintenanceState) -> bool {
        maintenance
            .forget_removed(|index| self.damage.is_unreadable(index) && self.dir.remove(&segment::name(index)).is_ok())
    }

    fn unlink(&self, index: u64) -> Result<()> {
        let name = segment::name(index);
        let is_unreadable = self.damage.is_unreadable(index);
        let removed = match if is_unreadable { self.keep_damage(index) } else { Ok(true) } {
            Ok(true) => self.dir.remove(&name),
            // There is room for the copy when others are gone; a whole segment would stay.
            Err(error) if lacks_space(&error) => Err(error),
            // What could not be copied of it may be read some day.
            Ok(false) | Err(_) => self.dir.move_into(&name, CORRUPT),
        };
        removed.map_err(|error| Error::io(format_args!("could not remove {}", segment::name(index)), error))
    }

    /// Gives kept and prepared segments back to the filesystem. Holding the maintenance lock keeps others from preparing a
    /// segment meanwhile under the name that is removed here.
    pub(super) fn trim(&self, _: &mut MaintenanceState) {
        if self.check_owner().is_err() {
            return;
        }
        let kept = {
            let mut log = lock(&self.log);
            let mut kept = std::mem::take(&mut log.pool);
            kept.extend(log.spare.take());
            kept
        };
        for spare in kept {
            let _ = self.discard(spare);
        }
    }
}

#[cold]
pub(super) fn full(cap: u64) -> Error {
    let message = format!("the buffer has reached max_buffer_bytes ({cap}); the sink has to catch up first");
    Error::new(ErrorKind::BufferFull, message)
}
