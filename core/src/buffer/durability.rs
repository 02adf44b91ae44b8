//! Making the log and the checkpoint durable, and what follows when the disk fails or the directory is another's.

use std::io;
use std::sync::Arc;

use super::engine::{Core, disowned, forked};
use super::segment;
use super::writer::Status;
use crate::error::{Error, ErrorKind, Result, os_error};
use crate::platform::sync::atomic::Ordering;
use crate::platform::{SegmentReader, lock};

impl Core {
    /// Makes the checkpoint durable. The caller holds the maintenance lock.
    pub(super) fn sync_checkpoint(&self) -> Result<()> {
        let begun = lock(&self.reader).begin_sync()?;
        if let Some(sync) = begun {
            let synced = sync.run();
            lock(&self.reader).end_sync(&sync, synced)?;
        }
        Ok(())
    }

    /// Reserves seqs, durably in every mode, so that those of lost records are never given out again. The caller holds the
    /// maintenance lock.
    pub(super) fn reserve(&self, next_seq: u64) -> Result<()> {
        let limit = {
            let mut reader = lock(&self.reader);
            let limit = reader.reserve(next_seq);
            reader.write()?;
            limit
        };
        self.sync_checkpoint()?;
        lock(&self.reader).reserved_durably(limit);
        Ok(())
    }

    /// Makes everything up to `lsn` durable; threads that wait share one sync.
    pub(super) fn sync_to(&self, lsn: u64) -> Result<()> {
        self.group.commit(lsn, || self.sync_log())
    }

    /// Makes the log durable as it is. Returns up to which lsn.
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
        lock(&self.log).set_durable_before(active);
        self.counts.add_sync();
        Ok(lsn)
    }

    /// Fails the log if another process may own the directory by now. Called before segments are made or removed, and with
    /// each sync.
    pub(super) fn check_owner(&self) -> Result<()> {
        let owner = lock(&self.owner).clone();
        match owner.map_or(Ok(()), |owner| owner.check()) {
            Ok(()) => Ok(()),
            Err(error) => Err(self.fail(disowned(error))),
        }
    }

    /// Fails the log if somebody removed or cut segments with unfinished records: what is put into them would be lost when the
    /// process ends.
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

    /// Makes the log refuse records: what the next owner finds on disk may be less than what it holds.
    pub(super) fn fail(&self, error: Error) -> Error {
        lock(&self.log).fail(error.clone());
        self.mark_unclean();
        error
    }

    /// Makes the next owner treat the log as one that a power loss cut off, if the checkpoint can still be written.
    pub(super) fn mark_unclean(&self) {
        lock(&self.reader).mark_unclean();
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
        let _maintenance = lock(&self.maintenance);
        self.sync_checkpoint()
    }
}
