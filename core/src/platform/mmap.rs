//! Mapped segments. One of the files of this crate with `unsafe`: the mapping itself. (`guard` keeps a disk or file that
//! fails underneath it from killing the host program, and `fork` sees to it that a child has nothing of it.)
#![allow(unsafe_code)]

use std::io;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rustix::mm::{Advice, MapFlags, ProtFlags};

use super::fork::ForkGuard;
use super::os_disk::{OsFile, names_and_length};
use super::sigbus::{self, Guarded};
use super::{Chunk, PlainReader, PlainWriter, SegmentReader, SegmentWriter};
use crate::buffer::format::TERMINATOR_BYTES;
use crate::platform::environment::CachePadded;

/// A shared mapping of the first `len` bytes of a file.
///
/// Invariants: bytes below `published` are never written again while more than one `Arc` of this exists;
/// bytes at or above it are touched only by the one [`MappedWriter`].
struct Mapping {
    base: NonNull<u8>,
    len: usize,
    /// Written with every frame, so away from what readers look at.
    published: CachePadded<AtomicUsize>,
    /// What `sync` goes to; `None` for a mapping that only reads.
    file: Option<Arc<OsFile>>,
    guard: Guarded,
    /// What could not be stored here was written to the file: it alone counts from now on.
    left: AtomicBool,
}

// SAFETY: the pointer is to memory that this value owns until it is dropped; the invariants above say which
// thread may touch which byte of it.
unsafe impl Send for Mapping {}
// SAFETY: as above: shared references only read published bytes.
unsafe impl Sync for Mapping {}

impl Mapping {
    fn new(file: &std::fs::File, len: usize, kept: Option<Arc<OsFile>>, dumped: bool) -> io::Result<Mapping> {
        // First: its handlers take the mapping from a child.
        let _ = ForkGuard::new();
        let prot = if kept.is_some() { ProtFlags::READ | ProtFlags::WRITE } else { ProtFlags::READ };
        // SAFETY: a fresh mapping at an address of the kernel's choice aliases nothing of ours.
        let base = unsafe { rustix::mm::mmap(ptr::null_mut(), len, prot, MapFlags::SHARED, file, 0) }?;
        let base = NonNull::new(base.cast::<u8>()).ok_or(io::ErrorKind::OutOfMemory)?;
        if !dumped {
            // Where the kernel knows no such thing, it dumps files of its own accord only if it is told to.
            // SAFETY: the range is the mapping made above; what is in it does not change.
            let _ = unsafe { rustix::mm::madvise(base.as_ptr().cast(), len, Advice::LinuxDontDump) };
        }
        match Guarded::new(base.as_ptr() as usize, len) {
            Ok(guard) => Ok(Mapping {
                base,
                len,
                published: CachePadded(AtomicUsize::new(0)),
                file: kept,
                guard,
                left: AtomicBool::new(false),
            }),
            Err(error) => {
                // SAFETY: the mapping was made above and nobody else knows of it.
                let _ = unsafe { rustix::mm::munmap(base.as_ptr().cast(), len) };
                Err(error)
            }
        }
    }

    fn warm(&self, from: usize, to: usize, advice: Advice) {
        const PAGE: usize = 4096;
        let start = from / PAGE * PAGE;
        let end = to.min(self.len);
        if start < end {
            // A hint: kernels before 5.14 refuse it and fault page by page instead.
            // SAFETY: the range is within the mapping; populating changes no byte.
            let _ = unsafe { rustix::mm::madvise(self.base.as_ptr().add(start).cast(), end - start, advice) };
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // Off the guard's list first: another mapping may get this address at once.
        self.guard.release();
        // SAFETY: `base..base+len` is ours, in a forked child as well (of zeros there), and no reference into it outlives
        // the last `Arc`.
        let _ = unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), self.len) };
    }
}

/// The one writer of a mapping. Not cloneable, so that `&mut self` excludes every other writer.
pub(crate) struct MappedWriter {
    mapping: Arc<Mapping>,
    /// Stores end here: at the mapping's end, or nowhere once it was left.
    limit: usize,
    plain: Option<PlainWriter>,
}

impl MappedWriter {
    pub(super) fn new(file: Arc<OsFile>, len: usize, dumped: bool) -> io::Result<Self> {
        let mapping = Arc::new(Mapping::new(&file.file, len, Some(file.clone()), dumped)?);
        Ok(MappedWriter { mapping, limit: len, plain: None })
    }

    /// Bytes that nobody else can see.
    #[inline]
    fn unpublished(&mut self, offset: usize, len: usize) -> io::Result<&mut [u8]> {
        let published = self.mapping.published.load(Ordering::Relaxed);
        if offset < published || offset.checked_add(len).is_none_or(|end| end > self.limit) {
            return self.outside(offset, len);
        }
        // SAFETY: within the mapping and not published, so no shared slice covers it; the result borrows this
        // one writer exclusively, so there is no other slice of unpublished bytes either.
        Ok(unsafe { std::slice::from_raw_parts_mut(self.mapping.base.as_ptr().add(offset), len) })
    }

    #[cold]
    fn outside(&mut self, offset: usize, len: usize) -> io::Result<&mut [u8]> {
        match &mut self.plain {
            Some(plain) => plain.space(offset, len),
            None => Err(io::Error::other("a store outside the unpublished part of a segment")),
        }
    }

    /// Stores what a page did not take, with a write that can say why. On a filesystem that shares blocks with copies of a
    /// file (XFS does), a store needs a block of its own, and a full disk has none. The bytes are in the page of zeros that
    /// the guard has put there.
    #[cold]
    fn append_plainly(&mut self, offset: usize, published: usize, fault: io::Error) -> io::Result<()> {
        if self.plain.is_none() {
            let bytes = self.unpublished(offset, published + TERMINATOR_BYTES - offset)?.to_vec();
            self.leave(fault)?.space(offset, bytes.len())?.copy_from_slice(&bytes);
        }
        match &mut self.plain {
            Some(plain) => plain.append(offset, published),
            None => Err(io::Error::other("a mapping that was left for nothing")),
        }
    }

    /// Goes on with plain writes, unless the file was cut.
    fn leave(&mut self, fault: io::Error) -> io::Result<&mut PlainWriter> {
        let file = self.mapping.file.clone().ok_or(io::ErrorKind::Unsupported)?;
        if names_and_length(&file.file)?.1 < self.mapping.len as u64 {
            return Err(fault);
        }
        self.limit = 0;
        self.mapping.left.store(true, Ordering::Release);
        Ok(self.plain.insert(PlainWriter::new(file)))
    }
}

impl SegmentWriter for MappedWriter {
    fn write(&mut self, offset: usize, bytes: &[u8]) -> io::Result<()> {
        if let Some(plain) = &mut self.plain {
            return plain.write(offset, bytes);
        }
        self.unpublished(offset, bytes.len())?.copy_from_slice(bytes);
        match self.mapping.guard.check() {
            Ok(()) => Ok(()),
            Err(fault) => self.leave(fault)?.write(offset, bytes),
        }
    }

    #[inline]
    fn space(&mut self, offset: usize, len: usize) -> io::Result<&mut [u8]> {
        self.unpublished(offset, len)
    }

    #[inline]
    fn append(&mut self, offset: usize, published: usize) -> io::Result<()> {
        // The stores went to the page cache; a page that could not take them has marked the mapping.
        if let Err(fault) = self.mapping.guard.check() {
            return self.append_plainly(offset, published, fault);
        }
        self.mapping.published.store(published.min(self.mapping.len), Ordering::Release);
        prefetch(self.mapping.base.as_ptr().wrapping_add(published + AHEAD));
        Ok(())
    }

    fn publish(&mut self, offset: usize) {
        self.mapping.published.fetch_max(offset.min(self.mapping.len), Ordering::Release);
    }

    fn reader(&self) -> Arc<dyn SegmentReader> {
        Arc::new(MappedReader(self.mapping.clone()))
    }

    fn recycle(&mut self) -> bool {
        // Alone: no reader and no chunk can see the bytes change.
        let sound = self.mapping.guard.check().is_ok();
        match Arc::get_mut(&mut self.mapping) {
            Some(mapping) if sound => {
                *mapping.published.0.get_mut() = 0;
                true
            }
            _ => false,
        }
    }

    fn warm(&mut self, from: usize, to: usize) {
        self.mapping.warm(from, to, Advice::LinuxPopulateWrite);
    }
}

/// How far ahead of the tail lines are fetched: more than a frame of the common sizes.
const AHEAD: usize = 512;

/// Asks for the cache lines that the next frames go to, so that their stores do not wait for memory.
#[inline]
fn prefetch(line: *const u8) {
    #[cfg(target_arch = "x86_64")]
    for at in [0, 64, 128] {
        // SAFETY: a hint that accesses nothing; any address is allowed.
        unsafe { std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_ET0 }>(line.wrapping_add(at).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = line;
}

struct MappedReader(Arc<Mapping>);

/// A mapping of a finished segment, all of it published.
pub(super) fn map_read(file: &std::fs::File, len: usize, dumped: bool) -> io::Result<Arc<dyn SegmentReader>> {
    let mapping = Mapping::new(file, len, None, dumped)?;
    mapping.published.store(len, Ordering::Release);
    mapping.warm(0, len, Advice::LinuxPopulateRead);
    Ok(Arc::new(MappedReader(Arc::new(mapping))))
}

impl SegmentReader for MappedReader {
    fn read(self: Arc<Self>, offset: usize, len: usize) -> io::Result<Chunk> {
        // The program may have installed a handler of its own meanwhile.
        sigbus::ensure();
        let left = self.0.left.load(Ordering::Acquire);
        // Cut where publication ends: from here on the range is known to be published.
        let end = offset.saturating_add(len).min(self.0.published.load(Ordering::Acquire));
        let start = offset.min(end);
        // A page that faulted is one of zeros, which are not what the file has.
        if (left || self.0.guard.faults() > 0)
            && let Some(file) = &self.0.file
        {
            let len = if left { len } else { end - start };
            return Arc::new(PlainReader(file.clone())).read(offset, len);
        }
        Ok(Chunk::Mapped(MappedBytes {
            mapping: self.0.clone(),
            start,
            len: end - start,
            faults: self.0.guard.faults(),
        }))
    }

    fn sync(&self) -> io::Result<()> {
        sigbus::ensure();
        if !self.0.left.load(Ordering::Acquire) {
            self.0.guard.check()?;
        }
        match &self.0.file {
            Some(file) => file.file.sync_data(),
            None => Ok(()),
        }
    }

    fn is_there(&self) -> io::Result<bool> {
        let Some(file) = &self.0.file else { return Ok(true) };
        // Stores behind the new end of a file, in its last page, go nowhere without a fault.
        let (names, length) = names_and_length(&file.file)?;
        Ok(names > 0 && length >= self.0.len as u64)
    }
}

/// Published bytes that keep their mapping alive. Invariant: `start + len` was published when this was made.
#[derive(Clone)]
pub(crate) struct MappedBytes {
    mapping: Arc<Mapping>,
    start: usize,
    len: usize,
    /// Of the mapping, when this was made.
    faults: u32,
}

impl MappedBytes {
    /// Whether a page became unreadable since this was made.
    pub(crate) fn is_faulted(&self) -> bool {
        self.mapping.guard.faults() != self.faults
    }

    #[inline]
    pub(crate) fn as_slice(&self) -> &[u8] {
        // SAFETY: the range is published (the invariant), so within the mapping, and published bytes do not change
        // while the mapping is shared. Another *program* that overwrites the file can change them; readers treat
        // them as plain bytes.
        unsafe { std::slice::from_raw_parts(self.mapping.base.as_ptr().add(self.start), self.len) }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;
    use crate::platform::Chunk;

    /// A page that could not be stored to is one of zeros in memory, and what it is in the file: readers took the zeros for
    /// damage until the writer went on with plain writes.
    #[test]
    fn what_a_page_did_not_take_is_read_from_the_file() {
        const LENGTH: usize = 64 << 10;
        let file = tempfile::tempfile().unwrap();
        file.set_len(LENGTH as u64).unwrap();
        let mut writer = MappedWriter::new(Arc::new(OsFile { file: file.try_clone().unwrap() }), LENGTH, true).unwrap();
        writer.space(0, 8192).unwrap().fill(7);
        writer.append(0, 8000).unwrap();
        let before = writer.reader().read(0, 8000).unwrap();
        // The page goes away under a store, and comes back.
        file.set_len(4096).unwrap();
        writer.space(8000, 100).unwrap().fill(8);
        file.set_len(LENGTH as u64).unwrap();
        file.write_all_at(&[7; 8192], 0).unwrap();
        assert!(before.is_faulted() && before.bytes()[4096..] != [7; 8000 - 4096]);
        let chunk = writer.reader().read(0, 9000).unwrap();
        assert!(matches!(chunk, Chunk::Heap(_)));
        assert_eq!(chunk.bytes(), [7; 8000], "published, and as it is in the file");
    }
}
