//! What the maintenance thread does; where there is none, the calls of the program do it.

use std::time::Duration;

use super::checkpoint::RESERVED_SEQS;
use super::engine::Core;
use crate::options::Durability;
use crate::platform::lock;

/// After this long without a put, a drained buffer gives its prepared and kept segments back.
const TRIM_AFTER: Duration = Duration::from_secs(10);

impl Core {
    /// Does what is due: prepares and frees segments, reserves seqs, syncs. Returns how long there is nothing to do; `None`:
    /// until something is put.
    pub(crate) fn run_maintenance(&self) -> Option<Duration> {
        let (low, frees, next_seq, lsn) = {
            let log = lock(&self.log);
            let low = log.spare.is_none() && (log.tail as u64 * 2 > log.length || log.jumped_from.is_some());
            (low, log.past.front().map(|past| past.index), log.next_seq, log.lsn)
        };
        if low {
            // Where there is no room, the next put finds out, and waits or fails.
            let _ = self.prepare(0);
        }
        let now = self.env.clock.monotonic();
        {
            let mut maintenance = lock(&self.maintenance);
            let (committed, reserved, unwritten) = {
                let reader = lock(&self.reader);
                (reader.state.committed.segment, reader.reserved(), reader.is_unwritten())
            };
            let retries = maintenance.is_retry_due(now);
            if frees.is_some_and(|first| first < committed) || unwritten || retries {
                // On a full or failing disk the next round tries again.
                let _ = self.free(&mut maintenance);
            }
            if reserved < next_seq + RESERVED_SEQS / 2 {
                let _ = self.reserve(next_seq);
            }
        }
        let interval = self.options.sync_interval;
        let mut wait = None;
        if self.options.durability == Durability::Interval {
            let is_unsynced = lock(&self.reader).is_unsynced();
            if self.group.synced_lsn() < lsn || is_unsynced {
                let left = lock(&self.maintenance).until_sync(interval, now);
                if left.is_zero() {
                    // An error makes the log refuse records, and the next put reports it.
                    if self.sync_to(lsn).is_ok() {
                        let _maintenance = lock(&self.maintenance);
                        let _ = self.sync_checkpoint();
                    }
                    wait = Some(interval);
                } else {
                    wait = Some(left);
                }
            }
        }
        if wait.is_some() {
            return wait;
        }
        if self.options.durability == Durability::Interval {
            self.signal.announce_idle();
            if lock(&self.log).lsn != lsn {
                self.signal.retract_idle();
                return Some(interval);
            }
        }
        let kept = {
            let log = lock(&self.log);
            log.spare.is_some() || !log.pool.is_empty()
        };
        if !kept {
            return lock(&self.maintenance).undeletable().map(|_| TRIM_AFTER);
        }
        if self.pending().0 > 0 {
            // The commit of the last batch does not always wake this thread.
            return Some(TRIM_AFTER);
        }
        let mut maintenance = lock(&self.maintenance);
        let since = maintenance.unchanged_since(lsn, now);
        if now >= since + TRIM_AFTER {
            self.trim(&mut maintenance);
            return maintenance.undeletable().map(|_| TRIM_AFTER);
        }
        Some(since + TRIM_AFTER - now)
    }
}
