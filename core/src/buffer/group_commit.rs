//! Group commit: threads that wait for the log to become durable share one sync.

use std::sync::PoisonError;

use crate::error::Result;
use crate::platform::lock;
use crate::platform::sync::{Condvar, Mutex, MutexGuard, thread};

/// How often the thread that syncs yields first, so that more threads join.
const YIELDS: u32 = 32;

#[derive(Default)]
pub(super) struct GroupCommit {
    group: Mutex<Group>,
    changed: Condvar,
}

#[derive(Default)]
struct Group {
    syncing: bool,
    synced_lsn: u64,
    /// Threads that have come since the last sync began.
    arrived: usize,
    /// Threads that the last sync served.
    served: usize,
}

impl GroupCommit {
    /// Everything up to this lsn is durable.
    pub(super) fn synced_lsn(&self) -> u64 {
        lock(&self.group).synced_lsn
    }

    /// Returns when everything up to `lsn` is durable. `sync` makes the log durable and returns up to which lsn; it runs on the
    /// thread of one caller, while the others wait.
    pub(super) fn commit(&self, lsn: u64, sync: impl FnOnce() -> Result<u64>) -> Result<()> {
        let mut group = lock(&self.group);
        group.arrived += 1;
        loop {
            if group.synced_lsn >= lsn {
                return Ok(());
            }
            if !group.syncing {
                break;
            }
            group = self.wait(group);
        }
        group.syncing = true;
        // Yield up to 32 times so that waiters of the previous sync, which often put again at once, join this one.
        for _ in 0..YIELDS {
            if group.arrived >= group.served {
                break;
            }
            drop(group);
            thread::yield_now();
            group = lock(&self.group);
        }
        group.served = std::mem::take(&mut group.arrived);
        drop(group);
        let result = sync();
        let mut group = lock(&self.group);
        group.syncing = false;
        if let Ok(synced) = &result {
            group.synced_lsn = *synced;
        }
        self.changed.notify_all();
        drop(group);
        result.map(|_| ())
    }

    /// Waits until no sync is under way.
    pub(super) fn wait_until_idle(&self) {
        let mut group = lock(&self.group);
        while group.syncing {
            group = self.wait(group);
        }
    }

    fn wait<'a>(&self, group: MutexGuard<'a, Group>) -> MutexGuard<'a, Group> {
        self.changed.wait(group).unwrap_or_else(PoisonError::into_inner)
    }
}
