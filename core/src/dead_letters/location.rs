//! The folder that dead letters lie in.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Weak};

use crate::options::Trust;
use crate::platform::{Directory, Disk};

/// The folder's name in the buffer's directory.
pub(super) const FOLDER: &str = "dead-letters";

/// Where the letters are: in a buffer's directory as long as it is open, else in the one that has its path.
#[derive(Clone)]
pub(super) struct Location {
    pub(super) disk: Arc<dyn Disk>,
    /// The buffer's directory.
    pub(super) path: PathBuf,
    pub(super) buffer: Weak<dyn Directory>,
}

impl Location {
    /// The folder, which need not exist.
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
