//! The folder that dead letters lie in.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Weak};

use crate::options::Trust;
use crate::outbox;
pub(super) use crate::outbox::DEAD_LETTERS as FOLDER;
use crate::platform::{Directory, Disk, OsDirectory};

/// Where the letters are: in the directory that an open buffer holds, wherever that was moved to; once the buffer is
/// closed, in the directory at its path. Or in a slot of it, if it is an outbox.
#[derive(Clone)]
pub(super) struct Location {
    pub(super) disk: Arc<dyn Disk>,
    /// The directory's path.
    pub(super) path: PathBuf,
    pub(super) dir: Weak<dyn Directory>,
    /// 0 is the directory itself.
    pub(super) slot: u64,
}

impl Location {
    /// A directory at a path.
    pub(super) fn at(disk: Arc<dyn Disk>, path: PathBuf) -> Location {
        Location { disk, path, dir: Weak::<OsDirectory>::new(), slot: 0 }
    }

    /// A directory that is open.
    pub(super) fn of(disk: Arc<dyn Disk>, dir: &Arc<dyn Directory>) -> Location {
        Location { disk, path: dir.path().to_path_buf(), dir: Arc::downgrade(dir), slot: 0 }
    }

    /// Opens the directory, of an outbox the outbox's own.
    pub(super) fn root(&self) -> io::Result<Arc<dyn Directory>> {
        match self.dir.upgrade() {
            Some(dir) => Ok(dir),
            None => self.disk.directory(&self.path, false, Trust::Anyone),
        }
    }

    /// Opens the folder. Unless `create` is set, it may be missing.
    pub(super) fn open(&self, create: bool) -> io::Result<Arc<dyn Directory>> {
        let dir = outbox::open(&self.root()?, self.slot)?.ok_or(io::ErrorKind::NotFound)?;
        dir.directory(FOLDER, create)
    }

    /// The folder's path, for messages.
    pub(super) fn folder(&self) -> PathBuf {
        let path = if self.slot == 0 { self.path.clone() } else { self.path.join(outbox::name(self.slot)) };
        path.join(FOLDER)
    }
}

impl std::fmt::Debug for Location {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.folder().fmt(f)
    }
}
