//! The folder that dead letters lie in.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Weak};

use crate::options::Trust;
use crate::platform::{Directory, Disk};

/// The folder's name in the buffer's directory.
pub(super) const FOLDER: &str = "dead-letters";

/// Where the letters are: in the directory that an open buffer holds, wherever that was moved to; once the buffer is
/// closed, in the directory at its path.
#[derive(Clone)]
pub(super) struct Location {
    pub(super) disk: Arc<dyn Disk>,
    /// The buffer's directory.
    pub(super) path: PathBuf,
    pub(super) buffer: Weak<dyn Directory>,
}

impl Location {
    /// Opens the folder. Unless `create` is set, it may be missing.
    pub(super) fn open(&self, create: bool) -> io::Result<Arc<dyn Directory>> {
        match self.buffer.upgrade() {
            Some(buffer) => buffer.directory(FOLDER, create),
            None => self.disk.directory(&self.path, false, Trust::Anyone)?.directory(FOLDER, create),
        }
    }
}

impl std::fmt::Debug for Location {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.path.fmt(f)
    }
}
