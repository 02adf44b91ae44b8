//! All that the simulated disk holds: directories, files, and what stands for neither.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::BLOCK;
use super::contents::{Change, Inode, Names};
use crate::platform::named::is_no;
use crate::platform::{FileId, FileKind, Seen};

/// What names stand for that are no files, instead of a file's number: directories, and what others put in their places.
pub(super) const DIRECTORY: u64 = 0;
pub(super) const LINK: u64 = 1;
pub(super) const FIFO: u64 = 2;

pub(super) fn kind_of(inode: u64) -> FileKind {
    match inode {
        DIRECTORY => FileKind::Directory,
        LINK => FileKind::Link,
        FIFO => FileKind::Fifo,
        _ => FileKind::Regular,
    }
}

#[derive(Clone)]
pub(super) struct State {
    pub(super) dirs: BTreeMap<PathBuf, Names>,
    /// Directories that were removed, which a power loss may bring back.
    pub(super) removed: BTreeMap<PathBuf, Names>,
    pub(super) inodes: BTreeMap<u64, Arc<Inode>>,
    pub(super) next_inode: u64,
    /// How often each file is open: one that was removed keeps its blocks as long.
    pub(super) opened: BTreeMap<u64, usize>,
    pub(super) boot_id: u64,
    pub(super) mapped: bool,
    pub(super) capacity_blocks: u64,
}

impl State {
    pub(super) fn names(&mut self, dir: &Path) -> io::Result<&mut Names> {
        if !self.dirs.contains_key(dir)
            && let Some(names) = dir.parent().and_then(|above| self.dirs.get(above))
            && let Some(inode) = names.now.get(&name_of(dir))
        {
            return Err(is_no(&dir.display(), kind_of(*inode).name(), "directory"));
        }
        self.dirs.get_mut(dir).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    pub(super) fn lookup(&mut self, path: &Path) -> io::Result<u64> {
        let names = self.names(path.parent().unwrap_or(Path::new("/")))?;
        names.now.get(&name_of(path)).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    pub(super) fn new_inode(&mut self) -> u64 {
        self.next_inode += 1;
        self.next_inode
    }

    pub(super) fn inode(&mut self, inode: u64) -> &mut Inode {
        Arc::make_mut(self.inodes.entry(inode).or_default())
    }

    pub(super) fn seen(&mut self, inode: u64) -> Seen {
        let kind = kind_of(inode);
        let length = self.inodes.get(&inode).map_or(0, |inode| inode.length);
        let owner = rustix::process::geteuid().as_raw();
        let named = self.dirs.values().any(|names| names.now.values().any(|named| *named == inode));
        Seen { id: FileId { device: 1, inode }, length, links: named.into(), kind, owner, mode: 0o600 }
    }

    /// Gives a file, or what is none, a name, synced.
    pub(super) fn install(&mut self, path: &Path, inode: u64) {
        let above = path.parent().unwrap_or(Path::new("/"));
        self.make_dirs(above);
        if let Ok(names) = self.names(above) {
            names.change(Change { removed: None, added: Some((name_of(path), inode)) });
        }
        for names in self.dirs.values_mut() {
            names.synced = names.now.clone();
            names.unsynced.clear();
        }
    }

    /// Makes a directory, and those above it. What has its name, or one of theirs, stays.
    pub(super) fn make_dirs(&mut self, dir: &Path) {
        if self.dirs.contains_key(dir) || self.lookup(dir).is_ok() {
            return;
        }
        if let Some(parent) = dir.parent() {
            self.make_dirs(parent);
            // Those above are made durably.
            if let Some(above) = parent.parent().and_then(|above| self.dirs.get_mut(above)) {
                above.synced = above.now.clone();
                above.unsynced.clear();
            }
            let Some(names) = self.dirs.get_mut(parent) else { return };
            names.change(Change { removed: None, added: Some((name_of(dir), DIRECTORY)) });
        }
        self.removed.remove(dir);
        self.dirs.insert(dir.to_path_buf(), Names::default());
    }

    pub(super) fn used(&self) -> u64 {
        let named = self.dirs.values().flat_map(|names| names.now.values());
        let held: BTreeSet<u64> = named.chain(self.opened.keys()).copied().collect();
        self.inodes.iter().filter(|(inode, _)| held.contains(inode)).map(|(_, inode)| inode.blocks.len() as u64).sum()
    }

    /// Takes the blocks from 0 to `len`, or those of a range of it.
    pub(super) fn take_blocks(&mut self, inode: u64, range: std::ops::Range<u64>) -> io::Result<()> {
        let used = self.used();
        let capacity = self.capacity_blocks;
        let inode = self.inode(inode);
        let wanted: Vec<u64> =
            (range.start / BLOCK..range.end.div_ceil(BLOCK)).filter(|block| !inode.blocks.contains(block)).collect();
        if !wanted.is_empty() && used + wanted.len() as u64 > capacity {
            return Err(io::Error::from_raw_os_error(libc::ENOSPC));
        }
        inode.blocks.extend(wanted);
        Ok(())
    }
}

pub(super) fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
