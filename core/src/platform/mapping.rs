//! A file mapped into memory, and who may touch which byte of it. `unsafe`: it makes slices of mapped memory.
//!
//! A mapping has one writer and any number of readers. Readers see the bytes below a mark, `published`, which never change
//! again; the writer alone sees those at or above it. The types keep to that: [`Writer`] is not `Clone` and writes by
//! `&mut self`, and [`MappedBytes`] are cut where publication ends.
//!
//! Two things can happen to mapped memory from outside, and have their own files: a page that the disk cannot give
//! (`sigbus`), and a fork (`fork`).
#![allow(unsafe_code)]

use std::fs;
use std::io;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::mm::{Advice, MapFlags, ProtFlags};

use super::fork::ForkGuard;
use super::locking::CachePadded;
use super::sigbus::{self, Guarded};

/// A shared mapping of the first `len` bytes of a file.
///
/// Invariants: bytes below `published` are never written again while more than one `Arc` of this exists;
/// bytes at or above it are touched only by the one [`Writer`].
pub(super) struct Mapping {
    base: NonNull<u8>,
    len: usize,
    /// Written with every frame, so it does not share a cache line with what readers look at.
    published: CachePadded<AtomicUsize>,
    guard: Guarded,
}

// SAFETY: the pointer is to memory that this value owns until it is dropped; the invariants above say which
// thread may touch which byte of it.
unsafe impl Send for Mapping {}
// SAFETY: as above: shared references only read published bytes.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps the first `len` bytes of a file that nobody writes any more. All of them are published.
    pub(super) fn reading(file: &fs::File, len: usize, dumped: bool) -> io::Result<Arc<Mapping>> {
        let mapping = Mapping::new(file, len, ProtFlags::READ, dumped)?;
        mapping.published.store(len, Ordering::Release);
        mapping.populate(0, len, Advice::LinuxPopulateRead);
        Ok(Arc::new(mapping))
    }

    fn new(file: &fs::File, len: usize, prot: ProtFlags, dumped: bool) -> io::Result<Mapping> {
        // Before there is a mapping: this installs the handlers that take it from a forked child.
        let _ = ForkGuard::new();
        // SAFETY: a fresh mapping at an address of the kernel's choice aliases nothing of ours.
        let base = unsafe { rustix::mm::mmap(ptr::null_mut(), len, prot, MapFlags::SHARED, file, 0) }?;
        let base = NonNull::new(base.cast::<u8>()).ok_or(io::ErrorKind::OutOfMemory)?;
        if !dumped {
            // A kernel that does not know this advice dumps mapped files only if it is told to.
            // SAFETY: the range is the mapping made above; what is in it does not change.
            let _ = unsafe { rustix::mm::madvise(base.as_ptr().cast(), len, Advice::LinuxDontDump) };
        }
        match Guarded::new(base.as_ptr() as usize, len) {
            Ok(guard) => Ok(Mapping { base, len, published: CachePadded(AtomicUsize::new(0)), guard }),
            Err(error) => {
                // SAFETY: the mapping was made above and nobody else knows of it.
                let _ = unsafe { rustix::mm::munmap(base.as_ptr().cast(), len) };
                Err(error)
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// An error if a page could not be accessed since the mapping was made.
    #[inline]
    pub(super) fn check(&self) -> io::Result<()> {
        self.guard.check()
    }

    /// How many pages could not be accessed, and are zeros now.
    #[inline]
    pub(super) fn faults(&self) -> u32 {
        self.guard.faults()
    }

    /// What is published of `len` bytes at `offset`.
    pub(super) fn bytes(self: Arc<Self>, offset: usize, len: usize) -> MappedBytes {
        // The program may have installed a SIGBUS handler of its own meanwhile.
        sigbus::ensure();
        let end = offset.saturating_add(len).min(self.published.load(Ordering::Acquire));
        let start = offset.min(end);
        let faults = self.faults();
        MappedBytes { mapping: self, start, len: end - start, faults }
    }

    /// Faults the pages of a range in.
    fn populate(&self, from: usize, to: usize, advice: Advice) {
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
pub(super) struct Writer {
    mapping: Arc<Mapping>,
    /// No bytes are given out at or behind this: the mapping's end, or 0 once it was abandoned.
    limit: usize,
}

impl Writer {
    /// Maps the first `len` bytes of a file for writing. None of them is published.
    pub(super) fn new(file: &fs::File, len: usize, dumped: bool) -> io::Result<Writer> {
        let mapping = Mapping::new(file, len, ProtFlags::READ | ProtFlags::WRITE, dumped)?;
        Ok(Writer { mapping: Arc::new(mapping), limit: len })
    }

    pub(super) fn mapping(&self) -> &Arc<Mapping> {
        &self.mapping
    }

    /// Bytes that nobody else can see; `None` if some of them are published or lie outside the mapping.
    #[inline]
    pub(super) fn unpublished(&mut self, offset: usize, len: usize) -> Option<&mut [u8]> {
        let published = self.mapping.published.load(Ordering::Relaxed);
        if offset < published || offset.checked_add(len).is_none_or(|end| end > self.limit) {
            return None;
        }
        // SAFETY: within the mapping and not published, so no shared slice covers it; the result borrows this
        // one writer exclusively, so there is no other slice of unpublished bytes either.
        Some(unsafe { std::slice::from_raw_parts_mut(self.mapping.base.as_ptr().add(offset), len) })
    }

    /// Publishes what lies before `end`, if that is more than was published before.
    #[inline]
    pub(super) fn publish(&mut self, end: usize) {
        // No atomic maximum: nobody else stores here.
        let before = self.mapping.published.load(Ordering::Relaxed);
        self.mapping.published.store(end.min(self.mapping.len).max(before), Ordering::Release);
    }

    /// Gives no more bytes out: what is stored in the file from now on is not stored here.
    pub(super) fn abandon(&mut self) {
        self.limit = 0;
    }

    /// Takes every byte back to unpublished, if no page failed and nobody can see the bytes change.
    pub(super) fn recycle(&mut self) -> bool {
        let sound = self.mapping.check().is_ok();
        match Arc::get_mut(&mut self.mapping) {
            Some(mapping) if sound => {
                *mapping.published.0.get_mut() = 0;
                true
            }
            _ => false,
        }
    }

    /// Makes stores to a range cheap: faults its pages in.
    pub(super) fn warm(&mut self, from: usize, to: usize) {
        self.mapping.populate(from, to, Advice::LinuxPopulateWrite);
    }

    /// Asks for the cache lines at `offset`, so that the stores of the next frames do not wait for memory.
    #[inline]
    pub(super) fn prefetch(&self, offset: usize) {
        #[cfg(target_arch = "x86_64")]
        for at in [0, 64, 128] {
            use std::arch::x86_64::{_MM_HINT_ET0, _mm_prefetch};
            let line = self.mapping.base.as_ptr().wrapping_add(offset + at);
            // SAFETY: a hint that accesses nothing; any address is allowed.
            unsafe { _mm_prefetch::<{ _MM_HINT_ET0 }>(line.cast()) };
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = offset;
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
        self.mapping.faults() != self.faults
    }

    #[inline]
    pub(crate) fn as_slice(&self) -> &[u8] {
        // SAFETY: the range is published (the invariant), so within the mapping, and published bytes do not change
        // while the mapping is shared. Another *program* that overwrites the file can change them; readers treat
        // them as plain bytes.
        unsafe { std::slice::from_raw_parts(self.mapping.base.as_ptr().add(self.start), self.len) }
    }
}
