//! The keeper: a thread that does the log's chores, so that `put` does not.

use std::io;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::Core;
use super::checkpoint::RESERVED_SEQS;
use crate::error::{Error, Result};
use crate::options::Durability;
use crate::platform::sync::Mutex;
use crate::platform::sync::atomic::Ordering;
use crate::platform::sync::thread::{self, JoinHandle};
use crate::platform::{ForkGuard, lock};

/// After this long without a put, a drained buffer gives its spare segments back.
const TRIM_AFTER: Duration = Duration::from_secs(10);

pub(crate) struct Maintenance {
    thread: Mutex<Option<JoinHandle<()>>>,
    fork: ForkGuard,
}

impl Drop for Maintenance {
    fn drop(&mut self) {
        if self.fork.is_forked() {
            // A child has no such thread, and what the system library keeps of it may be another's by now.
            std::mem::forget(self.thread.get_mut().unwrap_or_else(PoisonError::into_inner).take());
        }
    }
}

impl Maintenance {
    pub(crate) fn start(core: Arc<Core>) -> Result<Maintenance> {
        let failed = |error: io::Error| Error::io("could not start the log's thread", error);
        let shared = core.clone();
        let thread = thread::Builder::new().name("unistream-log".into()).spawn(move || run(&shared));
        let thread = thread.map_err(failed)?;
        let _ = core.keeper_thread.set(thread.thread().clone());
        thread.thread().unpark();
        Ok(Maintenance { thread: Mutex::new(Some(thread)), fork: core.fork })
    }

    /// Ends the thread and waits for it.
    pub(crate) fn stop(&self, core: &Core) {
        core.stopping.store(true, Ordering::Release);
        if let Some(thread) = lock(&self.thread).take() {
            thread.thread().unpark();
            // A panic of the thread was printed by its hook; closing goes on.
            let _ = thread.join();
        }
    }
}

fn run(core: &Core) {
    while !core.stopping.load(Ordering::Acquire) {
        match core.do_chores() {
            Some(wait) => thread::park_timeout(wait),
            None => thread::park(),
        }
    }
}

impl Core {
    /// Does what is due. Returns how long there is nothing to do; `None`: until something is put.
    pub(crate) fn do_chores(&self) -> Option<Duration> {
        let (low, frees, next_seq, lsn) = {
            let log = lock(&self.log);
            let low = log.spare.is_none() && (log.tail as u64 * 2 > log.length || log.jumped_from.is_some());
            (low, log.past.front().map(|past| past.index), log.next_seq, log.lsn)
        };
        if low {
            // No room: whoever puts finds out and waits or fails.
            let _ = self.prepare(0);
        }
        let now = self.env.clock.monotonic();
        {
            let mut chores = lock(&self.chores);
            let (committed, reserved, unwritten) = {
                let reader = lock(&self.reader);
                (reader.state.committed.segment, reader.reserved, reader.unwritten)
            };
            let again = chores.stuck.as_ref().is_some_and(|stuck| stuck.is_due(now));
            if frees.is_some_and(|first| first < committed) || unwritten || again {
                // A full or failing disk: tried again on the next round.
                let _ = self.free(&mut chores);
            }
            if reserved < next_seq + RESERVED_SEQS / 2 {
                // Tried again on the next round, too.
                let _ = self.reserve(next_seq);
            }
        }
        let interval = self.options.sync_interval;
        let mut wait = None;
        if self.options.durability == Durability::Interval {
            let synced = lock(&self.group).synced_lsn;
            let unsynced_cursor = lock(&self.reader).cursor.is_unsynced();
            if synced < lsn || unsynced_cursor {
                let due = lock(&self.chores).last_sync + interval;
                if now >= due {
                    lock(&self.chores).last_sync = now;
                    // An error poisons the log, and the next put reports it.
                    if self.sync_to(lsn).is_ok() {
                        let _chores = lock(&self.chores);
                        let _ = self.sync_cursor();
                    }
                    wait = Some(interval);
                } else {
                    wait = Some(due - now);
                }
            }
        }
        if wait.is_some() {
            return wait;
        }
        if self.options.durability == Durability::Interval {
            // Nothing to sync. Ask to be told of the next put before looking a last time.
            self.keeper_idle.store(true, Ordering::SeqCst);
            if lock(&self.log).lsn != lsn {
                self.keeper_idle.store(false, Ordering::Relaxed);
                return Some(interval);
            }
        }
        let kept = {
            let log = lock(&self.log);
            log.spare.is_some() || !log.pool.is_empty()
        };
        if !kept {
            return lock(&self.chores).stuck.as_ref().map(|_| TRIM_AFTER);
        }
        if self.pending().0 > 0 {
            // Who finishes the rest of it may have no reason to tell.
            return Some(TRIM_AFTER);
        }
        let since = {
            let mut chores = lock(&self.chores);
            if chores.unchanged.1 != lsn {
                chores.unchanged = (now, lsn);
            }
            chores.unchanged.0
        };
        if now >= since + TRIM_AFTER {
            let mut chores = lock(&self.chores);
            self.trim(&mut chores);
            return chores.stuck.as_ref().map(|_| TRIM_AFTER);
        }
        Some(since + TRIM_AFTER - now)
    }
}
