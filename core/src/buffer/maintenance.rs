//! The maintenance thread, which prepares, frees and syncs so that `put` does not, and the state of that work.

use std::io;
use std::sync::{Arc, OnceLock, PoisonError};
use std::time::Duration;

use crate::error::{Error, Result};
use crate::platform::sync::Mutex;
use crate::platform::sync::atomic::{AtomicBool, Ordering};
use crate::platform::sync::thread::{self, JoinHandle};
use crate::platform::{ForkGuard, lock};

/// After this long it is tried again to remove segments that could not be removed.
const RETRY_AFTER: Duration = Duration::from_secs(10);

/// How the maintenance thread is woken and stopped. Without a thread, nothing happens.
#[derive(Default)]
pub(super) struct MaintenanceSignal {
    /// It sleeps with nothing to do, and the next put has to wake it.
    idle: AtomicBool,
    thread: OnceLock<thread::Thread>,
    stopping: AtomicBool,
}

impl MaintenanceSignal {
    /// Whether the next put has to wake the thread.
    #[inline]
    pub(super) fn is_idle(&self) -> bool {
        self.idle.load(Ordering::Relaxed)
    }

    pub(super) fn wake(&self) {
        if let Some(thread) = self.thread.get() {
            self.idle.store(false, Ordering::Relaxed);
            thread.unpark();
        }
    }

    /// Asks the next put to wake the thread, which must look once more whether there is nothing to do before it sleeps.
    pub(super) fn announce_idle(&self) {
        self.idle.store(true, Ordering::SeqCst);
    }

    pub(super) fn retract_idle(&self) {
        self.idle.store(false, Ordering::Relaxed);
    }
}

/// The thread's handle.
pub(crate) struct Maintenance {
    thread: Mutex<Option<JoinHandle>>,
    fork: ForkGuard,
}

impl Drop for Maintenance {
    fn drop(&mut self) {
        if self.fork.is_forked() {
            // A forked child has no such thread, and the system library may use what it keeps of the thread for another one.
            std::mem::forget(self.thread.get_mut().unwrap_or_else(PoisonError::into_inner).take());
        }
    }
}

impl Maintenance {
    /// Starts a thread that calls `work` again and again. `work` returns how long there is nothing to do; `None`: until it is
    /// woken.
    pub(super) fn start<T>(shared: &Arc<T>, fork: ForkGuard, work: fn(&T) -> Option<Duration>) -> Result<Maintenance>
    where
        T: AsRef<MaintenanceSignal> + Send + Sync + 'static,
    {
        let failed = |error: io::Error| Error::io("could not start the log's thread", error);
        let owned = shared.clone();
        let run = move || {
            while !(*owned).as_ref().stopping.load(Ordering::Acquire) {
                match work(&owned) {
                    Some(wait) => thread::park_timeout(wait),
                    None => thread::park(),
                }
            }
        };
        let thread = thread::start(c"unistream-log", run).map_err(failed)?;
        let _ = (**shared).as_ref().thread.set(thread.thread().clone());
        thread.thread().unpark();
        Ok(Maintenance { thread: Mutex::new(Some(thread)), fork })
    }

    /// Ends the thread and waits for it.
    pub(super) fn stop(&self, signal: &MaintenanceSignal) {
        signal.stopping.store(true, Ordering::Release);
        if let Some(thread) = lock(&self.thread).take() {
            thread.thread().unpark();
            // A panic of the thread was printed by its hook; closing goes on.
            thread.join();
        }
    }
}

/// The state of maintenance. Who holds its lock prepares and frees segments and syncs the checkpoint.
#[derive(Default)]
pub(super) struct MaintenanceState {
    /// The lsn at the last look, and when it was first seen.
    last_lsn: u64,
    unchanged_since: Duration,
    last_sync: Duration,
    undeletable: Option<Undeletable>,
}

/// Finished segments that can be neither removed nor set aside: something stands in the place of `corrupt/`, say. They stay
/// where they are and are tried again, also by a later run, which finds them.
struct Undeletable {
    /// With the bytes that they still count.
    segments: Vec<(u64, u64)>,
    error: Error,
    last_try: Duration,
}

impl MaintenanceState {
    /// Since when nothing has been put.
    pub(super) fn unchanged_since(&mut self, lsn: u64, now: Duration) -> Duration {
        if self.last_lsn != lsn {
            (self.unchanged_since, self.last_lsn) = (now, lsn);
        }
        self.unchanged_since
    }

    /// How long it is until the next sync of an interval; zero if it is due, which counts as done now.
    pub(super) fn until_sync(&mut self, interval: Duration, now: Duration) -> Duration {
        let left = (self.last_sync + interval).saturating_sub(now);
        if left.is_zero() {
            self.last_sync = now;
        }
        left
    }

    /// Notes segments that could not be removed.
    pub(super) fn add_undeletable(&mut self, mut segments: Vec<(u64, u64)>, error: Error, now: Duration) {
        let new = || Undeletable { segments: Vec::new(), error, last_try: now };
        self.undeletable.get_or_insert_with(new).segments.append(&mut segments);
    }

    /// Whether it is time to try again to remove them.
    pub(super) fn is_retry_due(&self, now: Duration) -> bool {
        self.undeletable.as_ref().is_some_and(|undeletable| now >= undeletable.last_try + RETRY_AFTER)
    }

    /// Takes those segments out that are to be tried again now.
    pub(super) fn take_retries(&mut self, now: Duration) -> Vec<(u64, u64)> {
        let is_due = self.is_retry_due(now);
        self.undeletable.take_if(|_| is_due).map(|undeletable| undeletable.segments).unwrap_or_default()
    }

    /// Forgets those segments for which `is_removed`. Returns whether there were any.
    pub(super) fn forget_removed(&mut self, is_removed: impl Fn(u64) -> bool) -> bool {
        let Some(Undeletable { segments, .. }) = &mut self.undeletable else { return false };
        let before = segments.len();
        segments.retain(|(index, _)| !is_removed(*index));
        let left = segments.len();
        if left == 0 {
            self.undeletable = None;
        }
        before > left
    }

    /// Why segments could not be removed, if there are any.
    pub(super) fn undeletable(&self) -> Option<&Error> {
        self.undeletable.as_ref().map(|undeletable| &undeletable.error)
    }
}
