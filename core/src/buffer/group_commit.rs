//! Making it durable: group commit of the log, the cursor, and what follows when the disk fails.

use std::io;
use std::sync::{Arc, PoisonError};

use super::writer::Status;
use super::{Core, forked, segment};
use crate::error::{Error, ErrorKind, Result, os_error};
use crate::platform::sync::atomic::Ordering;
use crate::platform::sync::{Condvar, MutexGuard, thread};
use crate::platform::{SegmentReader, lock};

/// How often the thread that syncs lets others run, so that they join.
const GATHER_TURNS: u32 = 32;

/// Group commit: one thread syncs for all that wait.
#[derive(Default)]
pub(super) struct Group {
    pub(super) syncing: bool,
    pub(super) synced_lsn: u64,
    /// Threads that came since the last sync began, and how many that one served.
    arrived: usize,
    served: usize,
}

impl Core {
    /// Makes the cursor durable. The caller has the chores.
    pub(super) fn sync_cursor(&self) -> Result<()> {
        let begun = lock(&self.reader).begin_sync()?;
        if let Some(sync) = begun {
            let synced = sync.run();
            lock(&self.reader).end_sync(&sync, synced)?;
        }
        Ok(())
    }

    /// Sets seqs apart, durably in every mode: those of lost records are never given out again. The caller has the chores.
    pub(super) fn reserve(&self, next_seq: u64) -> Result<()> {
        let limit = {
            let mut reader = lock(&self.reader);
            reader.reserve(next_seq);
            reader.write()?;
            reader.state.seq_limit
        };
        self.sync_cursor()?;
        lock(&self.reader).reserved = limit;
        Ok(())
    }

    /// Makes everything up to `lsn` durable; threads that wait share one sync.
    pub(super) fn sync_to(&self, lsn: u64) -> Result<()> {
        let mut group = lock(&self.group);
        group.arrived += 1;
        loop {
            if group.synced_lsn >= lsn {
                return Ok(());
            }
            if !group.syncing {
                break;
            }
            group = wait(&self.group_changed, group);
        }
        group.syncing = true;
        // Those whom the last sync served are about to come again: a sync for all is worth a moment.
        for _ in 0..GATHER_TURNS {
            if group.arrived >= group.served {
                break;
            }
            drop(group);
            thread::yield_now();
            group = lock(&self.group);
        }
        group.served = std::mem::take(&mut group.arrived);
        drop(group);
        let result = self.sync_log();
        let mut group = lock(&self.group);
        group.syncing = false;
        if let Ok(synced) = &result {
            group.synced_lsn = *synced;
        }
        self.group_changed.notify_all();
        drop(group);
        result.map(|_| ())
    }

    /// Waits until the sync that is under way is over, if there is one.
    pub(super) fn wait_for_sync(&self) {
        let mut group = lock(&self.group);
        while group.syncing {
            group = wait(&self.group_changed, group);
        }
    }

    pub(super) fn sync_log(&self) -> Result<u64> {
        self.check_owner()?;
        let (segments, active, lsn) = {
            let log = lock(&self.log);
            if let Status::Failed(error) = &log.status {
                return Err(error.clone());
            }
            (log.not_durable(), log.index, log.lsn)
        };
        let names = if self.dir_unsynced.swap(false, Ordering::AcqRel) { self.dir.sync() } else { Ok(()) };
        let files = segments.iter().map(|(index, reader)| match reader {
            Some(reader) => reader.sync(),
            None => segment::sync(&*self.dir, *index),
        });
        for synced in std::iter::once(names).chain(files) {
            synced.map_err(|error| {
                let no_file = matches!(os_error(&error), Some(libc::EMFILE | libc::ENFILE));
                let error = Error::io("could not sync the log", error);
                if !no_file && error.kind() != ErrorKind::NotTrusted {
                    return self.fail(error);
                }
                // It could not even be opened, so that nothing is lost: the next sync begins anew.
                self.dir_unsynced.store(true, Ordering::Release);
                error
            })?;
        }
        self.check_there(&segments)?;
        lock(&self.log).durable_before = active;
        self.counts.syncs.fetch_add(1, Ordering::Relaxed);
        Ok(lsn)
    }

    /// An error if another may have the directory by now: before segments are made or removed there, and with each sync.
    pub(super) fn check_owner(&self) -> Result<()> {
        let owner = lock(&self.owner).clone();
        match owner.map_or(Ok(()), |owner| owner.check()) {
            Ok(()) => Ok(()),
            Err(error) => Err(self.fail(disowned(error))),
        }
    }

    /// An error if segments with records that are not finished were removed or cut by somebody: what is put into them
    /// would be gone with the process.
    pub(super) fn check_there(&self, segments: &[(u64, Option<Arc<dyn SegmentReader>>)]) -> Result<()> {
        for (index, reader) in segments {
            let Some(reader) = reader else { continue };
            let gone = match reader.is_there() {
                Ok(true) => continue,
                Ok(false) => io::Error::new(io::ErrorKind::NotFound, "the file was removed, replaced or cut"),
                Err(error) => error,
            };
            // One that was freed meanwhile is gone with good reason.
            if lock(&self.reader).state.committed.segment <= *index {
                return Err(self.fail(Error::io(format_args!("lost {}", segment::name(*index)), gone)));
            }
        }
        Ok(())
    }

    /// The log takes nothing any more, and what it has may not be what will be found.
    pub(super) fn fail(&self, error: Error) -> Error {
        lock(&self.log).fail(error.clone());
        self.mark_unclean();
        error
    }

    /// Has the next owner take the log for one that a power loss cut off, as far as the cursor can still be written.
    pub(super) fn mark_unclean(&self) {
        let mut reader = lock(&self.reader);
        reader.state.boot_id = 0;
        let _ = reader.write();
    }

    pub(crate) fn sync(&self) -> Result<()> {
        if self.fork.is_forked() {
            return Err(forked());
        }
        let lsn = {
            let log = lock(&self.log);
            if matches!(log.status, Status::Closed) {
                return log.check();
            }
            log.lsn
        };
        self.sync_to(lsn)?;
        let _chores = lock(&self.chores);
        self.sync_cursor()
    }
}

#[cold]
pub(super) fn disowned(error: io::Error) -> Error {
    Error::io("the buffer is not this producer's alone any more", error)
}

fn wait<'a, T>(condvar: &Condvar, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
    condvar.wait(guard).unwrap_or_else(PoisonError::into_inner)
}
