//! The seam to the disk. Everything above it runs unchanged on the real disk and on a simulated one.

mod descriptors;
mod directory;
pub(crate) mod environment;
mod fork;
mod lock;
mod mmap;
mod os_disk;
mod ownership;
mod path_walk;
pub(crate) mod secret_memory;
mod shared_file;
mod sigbus;
#[cfg(feature = "torture")]
#[path = "../../../tests/torture/src/simulated/mod.rs"]
pub(crate) mod simulated;
pub(crate) mod sync;
mod unreadable;

use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::buffer::format::TERMINATOR_BYTES;
use crate::options::Trust;

pub(crate) use descriptors::may_write;
pub(crate) use directory::OsDirectory;
pub(crate) use fork::ForkGuard;
pub(crate) use mmap::MappedBytes;
pub(crate) use os_disk::OsDisk;
pub(crate) use shared_file::{FileId, FileKind, Seen, Sharing, open_stream};
pub(crate) use unreadable::read_past;

/// A disk. Errors are the operating system's own.
pub(crate) trait Disk: Send + Sync {
    /// Opens a directory. One that is missing is made if `create` says so, 0700, and those above it; its name is durable
    /// then, whoever made it. What is in it is opened only if it can be trusted.
    fn directory(&self, path: &Path, create: bool, trust: Trust) -> io::Result<Arc<dyn Directory>>;
    /// Changes whenever unsynced bytes may have been lost: the kernel's boot id.
    fn boot_id(&self) -> u64;
    /// Opens a file for reading and writing, wherever it is, and creates one that does not exist, 0600. Only a file: it is no
    /// link. With `follow` it may be behind links of others, see [`Sharing::follow`].
    fn open(&self, path: &Path, follow: bool) -> io::Result<Arc<dyn File>>;
    /// Opens a file for appending and reading that others rotate, truncate and append to.
    fn open_shared(&self, path: &Path, how: Sharing) -> io::Result<Arc<dyn File>>;
    /// What stands at a path, if anything does; with `follow` where the links there lead.
    fn look(&self, path: &Path, follow: bool) -> io::Result<Option<Seen>>;
    /// Makes creations, renames and removals in `dir` durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Takes the lock that this file stands for, for as long as the result lives.
    fn lock(&self, path: &Path, follow: bool) -> io::Result<Result<Box<dyn Send + Sync>, Holder>>;
}

/// An open directory: what is done in it is done there, whatever becomes of the path that led to it. Names are single
/// names; errors say which one they are about.
pub(crate) trait Directory: Send + Sync {
    /// Where it was when it was opened, absolute: for messages.
    fn path(&self) -> &Path;
    /// The names in it, in no order.
    fn list(&self) -> io::Result<Vec<String>>;
    /// Opens a regular file for reading and writing; one that it creates is 0600.
    fn open(&self, name: &str, how: Open) -> io::Result<Arc<dyn File>>;
    /// Opens a directory in this one. One that is missing is made if `create` says so; its name is durable then.
    fn directory(&self, name: &str, create: bool) -> io::Result<Arc<dyn Directory>>;
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Moves a file to a directory in this one, which is made if need be. It gets another name if its own is taken there.
    fn move_into(&self, name: &str, directory: &str) -> io::Result<()>;
    /// Removes a file; one that is gone already is no error.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Makes creations, renames and removals in it durable.
    fn sync(&self) -> io::Result<()>;
    /// Takes the lock that this file stands for, for as long as the result lives.
    fn lock(&self, name: &str) -> io::Result<Result<Arc<dyn Ownership>, Holder>>;
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

/// Makes the name of a file or directory durable.
pub(crate) fn sync_name(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    let Some(parent) = path.parent() else { return Ok(()) };
    match disk.sync_dir(parent) {
        // One that may be entered but not read cannot be synced.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        result => result,
    }
}

/// Who has the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Holder {
    /// 0 if it cannot be told.
    pub(crate) pid: u32,
}

/// How to open a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Open {
    /// It must exist; for reading only.
    Read,
    /// It must exist.
    Existing,
    /// Created if it does not exist.
    Create,
    /// Made anew: what has the name is removed, whoever has it open, not written over.
    New,
}

impl Open {
    fn creates(self) -> bool {
        matches!(self, Open::Create | Open::New)
    }
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
    /// As `write_at`, inside a file of which the caller knows that it may be written so far.
    fn write_within(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_at(bytes, offset)
    }
    /// Writes all of `bytes` where the file ends, which is at `end` as far as is known. Returns where the last of them ended.
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
    /// Maps the first `len` bytes, which must be allocated, and makes a log of them. `dumped`: in core dumps.
    fn map(self: Arc<Self>, len: usize, dumped: bool) -> io::Result<Box<dyn SegmentWriter>>;
    /// Maps the first `len` bytes, which nobody writes any more, for reading.
    fn map_read(&self, len: usize, dumped: bool) -> io::Result<Arc<dyn SegmentReader>>;
}

/// The one writer of a segment's bytes. What it has published never changes again.
pub(crate) trait SegmentWriter: Send + Sync {
    /// Writes bytes at `offset` without publishing them: a segment's header.
    fn write(&mut self, offset: usize, bytes: &[u8]) -> io::Result<()>;
    /// Unpublished space to fill, for [`append`](Self::append). What is in it before is undefined.
    fn space(&mut self, offset: usize, len: usize) -> io::Result<&mut [u8]>;
    /// Stores the space that was filled and publishes it up to `published`.
    fn append(&mut self, offset: usize, published: usize) -> io::Result<()>;
    /// Publishes what is there already, up to `offset`.
    fn publish(&mut self, offset: usize);
    /// A handle for those who read and sync.
    fn reader(&self) -> Arc<dyn SegmentReader>;
    /// Takes every byte back to unpublished, if no reader is left.
    fn recycle(&mut self) -> bool;
    /// Makes stores to `from..` cheap: faults the pages in.
    fn warm(&mut self, from: usize, to: usize);
}

/// What is left to do with a segment's published bytes: read them, sync them.
pub(crate) trait SegmentReader: Send + Sync {
    fn read(self: Arc<Self>, offset: usize, len: usize) -> io::Result<Chunk>;
    fn sync(&self) -> io::Result<()>;
    /// As [`File::is_there`], and where it is mapped, nobody cut it.
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

/// A segment written with plain writes: one a frame.
pub(crate) struct PlainWriter {
    file: Arc<dyn File>,
    scratch: Vec<u8>,
    /// Whether the limit on the size of files lets all of this segment be written: asked once, not with each frame.
    within_limit: Option<bool>,
    /// Shared with readers only to know whether any is left.
    reader: Arc<PlainReader>,
}

impl PlainWriter {
    pub(crate) fn new(file: Arc<dyn File>) -> Self {
        let reader = Arc::new(PlainReader(file.clone()));
        PlainWriter { file, scratch: Vec::new(), within_limit: None, reader }
    }
}

impl SegmentWriter for PlainWriter {
    fn write(&mut self, offset: usize, bytes: &[u8]) -> io::Result<()> {
        self.file.write_at(bytes, offset as u64)
    }

    fn space(&mut self, _: usize, len: usize) -> io::Result<&mut [u8]> {
        self.scratch.resize(len, 0);
        Ok(&mut self.scratch)
    }

    fn append(&mut self, offset: usize, _: usize) -> io::Result<()> {
        let whole = || self.file.len().is_ok_and(|length| may_write(length).is_ok());
        let written = match *self.within_limit.get_or_insert_with(whole) {
            true => self.file.write_within(&self.scratch, offset as u64),
            false => self.file.write_at(&self.scratch, offset as u64),
        };
        if written.is_err() {
            // All but the terminator may be there: a frame that is refused must not be found later.
            let _ = self.file.write_at(&[0; TERMINATOR_BYTES], offset as u64);
        }
        written
    }

    fn publish(&mut self, _: usize) {}

    fn reader(&self) -> Arc<dyn SegmentReader> {
        self.reader.clone()
    }

    fn recycle(&mut self) -> bool {
        self.within_limit = None;
        Arc::get_mut(&mut self.reader).is_some()
    }

    fn warm(&mut self, _: usize, _: usize) {}
}

/// Reads a segment with plain reads.
pub(crate) struct PlainReader(pub(crate) Arc<dyn File>);

impl SegmentReader for PlainReader {
    fn read(self: Arc<Self>, offset: usize, len: usize) -> io::Result<Chunk> {
        let mut bytes = Vec::new();
        // How long a frame says that it is may be anything.
        bytes.try_reserve_exact(len).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
        bytes.resize(len, 0);
        let got = read_past(&*self.0, &mut bytes, offset as u64)?;
        bytes.truncate(got.bytes);
        Ok(Chunk::Heap(bytes.into()))
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync()
    }

    fn is_there(&self) -> io::Result<bool> {
        self.0.is_there()
    }
}
