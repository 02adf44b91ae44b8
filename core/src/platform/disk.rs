//! What the engine asks of a disk: the traits that the operating system's disk and the simulated one implement.
//!
//! Errors are the operating system's own; those of a [`Directory`] say which name they are about.

use std::any::Any;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::mapping::MappedBytes;
use super::requests::{Incoming, Outgoing};
use super::stat::Seen;
use super::trust::Trust;

/// A disk.
pub(crate) trait Disk: Send + Sync {
    /// Opens a directory. With `create` one that is missing is made with mode 0700, and those above it; its name is durable
    /// then, whoever made it. What is in it is opened only if it can be trusted.
    fn directory(&self, path: &Path, create: bool, trust: Trust) -> io::Result<Arc<dyn Directory>>;
    /// A number that changes whenever unsynced bytes may have been lost: the kernel's boot id.
    fn boot_id(&self) -> u64;
    /// Opens a file for reading and writing, or creates it with mode 0600. It must be a file, and no link to one. With
    /// `follow` it may be behind links of others, see [`Sharing::follow`].
    fn open(&self, path: &Path, follow: bool) -> io::Result<Arc<dyn File>>;
    /// Opens a file for appending and reading that others rotate, truncate and append to.
    fn open_shared(&self, path: &Path, how: Sharing) -> io::Result<Arc<dyn File>>;
    /// What stands at a path, if anything does; with `follow` where the links there lead.
    fn look(&self, path: &Path, follow: bool) -> io::Result<Option<Seen>>;
    /// Makes creations, renames and removals in `dir` durable, unless it may be entered but not read: then nobody can.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Takes the lock that this file stands for, for as long as the result lives.
    fn lock(&self, path: &Path, follow: bool) -> io::Result<Result<Box<dyn Send + Sync>, Holder>>;
}

/// Makes the name of a file or directory durable.
pub(crate) fn sync_name(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    let Some(parent) = path.parent() else { return Ok(()) };
    disk.sync_dir(parent)
}

/// An open directory. What is done in it is done there even if the path that led to it leads elsewhere by now. Names are
/// single names, without a `/`.
pub(crate) trait Directory: Send + Sync {
    /// Where it was when it was opened, absolute: for messages.
    fn path(&self) -> &Path;
    /// The names in it, in no order.
    fn list(&self) -> io::Result<Vec<String>>;
    /// Opens a regular file for reading and writing; one that it creates has mode 0600.
    fn open(&self, name: &str, how: Open) -> io::Result<Arc<dyn File>>;
    /// Opens a directory in this one. With `create` one that is missing is made; its name is durable then.
    fn directory(&self, name: &str, create: bool) -> io::Result<Arc<dyn Directory>>;
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Moves a file to a directory in this one, which is made if need be. The file gets another name if its own is taken
    /// there.
    fn move_into(&self, name: &str, directory: &str) -> io::Result<()>;
    /// Removes a file; one that is gone already is no error.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Makes creations, renames and removals in it durable.
    fn sync(&self) -> io::Result<()>;
    /// Takes the lock that this file stands for, for as long as the result lives.
    fn lock(&self, name: &str) -> io::Result<Result<Arc<dyn Ownership>, Holder>>;
    /// Takes the lock of a file for as long as the result lives. Unlike [`lock`](Self::lock), it is a lock on no more than the file.
    fn lock_file(&self, name: &str) -> io::Result<Result<Box<dyn Send + Sync>, Holder>>;
    /// Takes the lock of a file that is there, or without a name of the directory, for as long as the result lives. Nothing is made or
    /// written. `None`: another has it.
    fn hold(&self, name: Option<&str>) -> io::Result<Option<Box<dyn Send + Sync>>>;
    /// Who has such a lock, if anybody has. Nothing is taken or made.
    fn holder(&self, name: &str) -> io::Result<Option<Holder>>;
    /// Removes a directory in this one, which must be empty; one that is gone already is no error.
    fn remove_directory(&self, name: &str) -> io::Result<()>;
    /// Whether it is on a filesystem that other machines may have as well, where a lock here may mean nothing there.
    fn is_remote(&self) -> io::Result<bool> {
        Ok(false)
    }
    /// Whether other processes can ask the one that has it.
    fn takes_requests(&self) -> bool {
        false
    }
    /// Takes what is asked in a folder of it.
    fn take_requests(&self, _folder: &str) -> io::Result<Vec<Incoming>> {
        Ok(Vec::new())
    }
    /// Asks the process that has it.
    fn ask(&self, _folder: &str, _what: &str) -> io::Result<Outgoing> {
        Err(io::ErrorKind::Unsupported.into())
    }
    /// Removes a folder of requests that nobody takes any more.
    fn forget_requests(&self, _folder: &str) -> io::Result<()> {
        Ok(())
    }
    /// Whether stores to mapped, allocated blocks are safe on its filesystem.
    fn may_map(&self) -> io::Result<bool>;
    /// Bytes that are free on its filesystem.
    fn free(&self) -> io::Result<u64> {
        Ok(u64::MAX)
    }
}

/// The lock of a directory, held until it is dropped.
pub(crate) trait Ownership: Send + Sync {
    /// An error if another may have the directory by now, because the file that stands for the lock is gone.
    fn check(&self) -> io::Result<()>;
}

/// Who has a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Holder {
    /// 0 if it cannot be told.
    pub(crate) pid: u32,
}

/// How to open a file in a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Open {
    /// It must exist; for reading only.
    Read,
    /// It must exist.
    Existing,
    /// Created if it does not exist.
    Create,
    /// Created in any case. What has the name is removed, not written over: somebody may have it open.
    New,
}

impl Open {
    pub(super) fn creates(self) -> bool {
        matches!(self, Open::Create | Open::New)
    }
}

/// How to open a file that others use too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sharing {
    /// Create it if it does not exist.
    pub(crate) create: bool,
    /// Follow symbolic links at its path, whoever made them.
    pub(crate) follow: bool,
    /// The mode of a file that is created: just this one, or 0640 as far as the umask lets.
    pub(crate) mode: Option<u32>,
}

/// An open file.
pub(crate) trait File: Send + Sync {
    fn len(&self) -> io::Result<u64>;
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Reserves blocks for `len` bytes for real, and sets the length to at least that.
    fn allocate(&self, len: u64) -> io::Result<()>;
    /// Whether blocks are reserved for the first `len` bytes; `false` if it cannot be told.
    fn is_allocated(&self, _len: u64) -> io::Result<bool> {
        Ok(false)
    }
    /// Reads until `buf` is full or the file ends; returns how much.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes all of `bytes`.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// As `write_at`, where the caller knows that no limit on the size of files forbids it.
    fn write_within(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_at(bytes, offset)
    }
    /// Writes all of `bytes` at the end of the file, which is `end` as far as is known. Returns where the last of them ended.
    fn append(&self, bytes: &[u8], end: u64) -> io::Result<u64> {
        self.write_at(bytes, end)?;
        Ok(end + bytes.len() as u64)
    }
    /// Which file it is, and what anybody else sees of it.
    fn look(&self) -> io::Result<Seen>;
    /// Makes the contents and the length durable.
    fn sync(&self) -> io::Result<()>;
    /// Whether it will be found again: not if somebody removed it, or renamed another over it.
    fn is_there(&self) -> io::Result<bool> {
        Ok(true)
    }
    /// Maps the first `len` bytes, which must be allocated, for writing a segment. `dumped`: they are part of core dumps.
    fn map(self: Arc<Self>, len: usize, dumped: bool) -> io::Result<Box<dyn SegmentWriter>>;
    /// Maps the first `len` bytes, which nobody writes any more, for reading.
    fn map_read(&self, len: usize, dumped: bool) -> io::Result<Arc<dyn SegmentReader>>;
}

/// The zero word that stands behind the last published byte of a segment while it is written. It is part of the space that
/// is filled, and is overwritten by what is appended next.
pub(crate) const TERMINATOR_BYTES: usize = 8;

/// The one writer of a segment's bytes. What it has published never changes again.
pub(crate) trait SegmentWriter: Any + Send + Sync {
    /// Writes bytes at `offset` without publishing them: a segment's header.
    fn write(&mut self, offset: usize, bytes: &[u8]) -> io::Result<()>;
    /// Unpublished space to fill, for [`append`](Self::append). What is in it before is undefined.
    fn space(&mut self, offset: usize, len: usize) -> io::Result<&mut [u8]>;
    /// Stores the space at `offset` that was filled, and publishes it up to `published`. The space reaches
    /// [`TERMINATOR_BYTES`] further.
    fn append(&mut self, offset: usize, published: usize) -> io::Result<()>;
    /// Publishes what is there already, up to `offset`.
    fn publish(&mut self, offset: usize);
    /// A handle for those who read and sync.
    fn reader(&self) -> Arc<dyn SegmentReader>;
    /// Takes every byte back to unpublished, if no reader is left.
    fn recycle(&mut self) -> bool;
    /// Makes stores to `from..to` cheap: faults the pages in.
    fn warm(&mut self, from: usize, to: usize);
}

/// Reads and syncs a segment's published bytes.
pub(crate) trait SegmentReader: Send + Sync {
    fn read(self: Arc<Self>, offset: usize, len: usize) -> io::Result<Chunk>;
    fn sync(&self) -> io::Result<()>;
    /// As [`File::is_there`]; and where the file is mapped, nobody has cut it.
    fn is_there(&self) -> io::Result<bool> {
        Ok(true)
    }
}

/// Published bytes of a segment, kept alive for as long as a batch needs them.
#[derive(Clone)]
pub(crate) enum Chunk {
    Heap(Arc<Vec<u8>>),
    Mapped(MappedBytes),
}

impl Chunk {
    #[inline]
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Chunk::Heap(bytes) => bytes,
            Chunk::Mapped(bytes) => bytes.as_slice(),
        }
    }

    /// Whether bytes of it could not be read and were zeros instead.
    pub(crate) fn is_faulted(&self) -> bool {
        match self {
            Chunk::Heap(_) => false,
            Chunk::Mapped(bytes) => bytes.is_faulted(),
        }
    }
}
