//! An outbox: a directory that processes share. Each of them has a *slot* in it, which is a buffer with a lock of its own.
//!
//! Slot 0 is the directory itself, so that a directory that one producer had alone becomes an outbox without a file being
//! moved; slot 3 is the directory `slot-3` in it. The file `shared` makes it an outbox: see `mark`. A slot whose lock is free
//! belongs to nobody: its process died, or closed it. Whoever opens the outbox takes the free slot with the smallest number,
//! and so goes on with what was left there, or makes one; what else is left in free slots, the living adopt
//! (`producer/household.rs`). There is no list of the slots and no lock over all of them: a slot is there if its directory
//! is, and a directory can be removed only when it is empty.

mod mark;
mod slots;
mod space;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::buffer::{LOCK, in_use, is_shared};
use crate::error::{Error, ErrorKind, Result};
use crate::options::{Options, Trust};
use crate::platform::{Directory, Environment};

pub(crate) use slots::{DEAD_LETTERS, Slot, name, numbers, open};
pub(crate) use space::Others;

/// The name of the file whose lock the one process has that drains the outbox from outside.
const DRAIN: &str = "drain";

/// How long to wait for who has the directory: he may be about to make the mark. As soon as the mark's temporary file is there, for
/// as long as a slow disk may take to sync it. And how often to look.
const MARKING: Duration = Duration::from_secs(1);
const SYNCING: Duration = Duration::from_secs(60);
const TRY: Duration = Duration::from_millis(10);

/// An open outbox.
#[derive(Clone)]
pub(crate) struct Outbox {
    pub(crate) root: Arc<dyn Directory>,
}

/// An outbox that was just opened, and the slot that was taken in it.
pub(crate) struct Opened {
    pub(crate) outbox: Outbox,
    pub(crate) slot: Slot,
    /// Until now the directory was the buffer of one producer.
    pub(crate) was_alone: bool,
}

impl Outbox {
    /// Opens the outbox at a path, which is made if need be, and takes a slot.
    ///
    /// # Errors
    /// `InUse` if a producer has the directory alone; `InvalidArgument` on a filesystem of the network; `UnsupportedFormat`.
    pub(crate) fn open(path: &Path, options: &Options, env: &Environment) -> Result<Opened> {
        let failed = |error: io::Error| Error::io(format_args!("could not open the outbox {}", path.display()), error);
        if path.as_os_str().is_empty() {
            return Err(Error::new(ErrorKind::InvalidArgument, "the path of the outbox is empty"));
        }
        let root = env.disk.directory(path, true, options.trust).map_err(failed)?;
        if root.is_remote().map_err(failed)? {
            let message = format!(
                "{} is on a filesystem of the network, where a lock of this machine may mean nothing to another one, which \
                 would send the same records; use a directory of this machine",
                root.path().display()
            );
            return Err(Error::new(ErrorKind::InvalidArgument, message));
        }
        let outbox = Outbox { root };
        let since = env.clock.monotonic();
        loop {
            if is_shared(&*outbox.root).map_err(failed)? {
                mark::check(&*outbox.root)?;
                let slot = outbox.take(0).map_err(failed)?;
                return Ok(Opened { outbox, slot, was_alone: false });
            }
            // Who has the lock of the directory itself makes the mark, so that no producer has it alone meanwhile.
            if let Some(slot) = outbox.enter(0).map_err(failed)? {
                if is_shared(&*outbox.root).map_err(failed)? {
                    mark::check(&*outbox.root)?;
                    return Ok(Opened { outbox, slot, was_alone: false });
                }
                let was_alone = slot.has_log().map_err(failed)?;
                mark::write(&*outbox.root).map_err(failed)?;
                return Ok(Opened { outbox, slot, was_alone });
            }
            let waited = env.clock.monotonic().saturating_sub(since);
            if waited >= SYNCING || (waited >= MARKING && !mark::is_begun(&*outbox.root).map_err(failed)?) {
                let holder = outbox.root.holder(LOCK).map_err(failed)?;
                return Err(in_use(outbox.root.path(), holder.map_or(0, |holder| holder.pid)));
            }
            env.clock.sleep(TRY);
        }
    }
}

/// The right to drain an outbox from outside, which one process has at a time: a sidecar, a cron job, a unit of systemd.
/// Dropping it, or the death of the process, gives it to the next that waits.
pub struct DrainTurn(#[allow(dead_code)] Box<dyn Send + Sync>);

impl DrainTurn {
    /// Waits for the right, for at most `timeout`.
    ///
    /// # Errors
    /// `Timeout` if another process has it; `NotFound` if there is no outbox; `Io`.
    pub fn take(dir: impl AsRef<Path>, trust: Trust, timeout: Duration) -> Result<DrainTurn> {
        let (path, env) = (dir.as_ref(), Environment::system());
        let failed = |error: io::Error| Error::io(format_args!("could not open the outbox {}", path.display()), error);
        let missing = || Error::new(ErrorKind::NotFound, format!("there is no outbox in {}", path.display()));
        let root = match env.disk.directory(path, false, trust) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(missing()),
            opened => opened.map_err(failed)?,
        };
        if !is_shared(&*root).map_err(failed)? {
            return Err(missing());
        }
        let deadline = env.clock.monotonic().saturating_add(timeout);
        loop {
            let left = deadline.saturating_sub(env.clock.monotonic());
            match root.lock_file(DRAIN) {
                Ok(Ok(held)) => return Ok(DrainTurn(held)),
                Ok(Err(holder)) if left.is_zero() => {
                    let message = format!("the process with pid {} drains the outbox {}", holder.pid, path.display());
                    return Err(Error::new(ErrorKind::Timeout, message));
                }
                // A user of the same group has just made the file, and is about to share it.
                Err(error) if left.is_zero() || error.kind() != io::ErrorKind::PermissionDenied => {
                    return Err(failed(error));
                }
                Ok(Err(_)) | Err(_) => {}
            }
            env.clock.sleep(left.min(Duration::from_millis(200)));
        }
    }
}

impl std::fmt::Debug for DrainTurn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DrainTurn")
    }
}
