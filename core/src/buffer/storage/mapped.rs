//! Mapped segments: the only file of this crate with `unsafe`.
//!
//! Three things live here because they need it: the mapping itself, the guard that keeps a disk or file that
//! fails underneath it from killing the host program, and the page that tells a forked child from its parent.
#![allow(unsafe_code)]

use std::io;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Once, OnceLock};

use rustix::mm::{Advice, MapFlags, ProtFlags};

use super::os::names_and_length;
use super::{Chunk, SegmentReader, SegmentWriter};
use crate::environment::Apart;

/// A shared mapping of the first `len` bytes of a file.
///
/// Invariants: bytes below `published` are never written again while more than one `Arc` of this exists;
/// bytes at or above it are touched only by the one [`MappedWriter`].
struct Mapping {
    base: NonNull<u8>,
    len: usize,
    /// Written with every frame, so away from what readers look at.
    published: Apart<AtomicUsize>,
    /// What `sync` goes to; `None` for a mapping that only reads.
    file: Option<std::fs::File>,
    guard: Guarded,
}

// SAFETY: the pointer is to memory that this value owns until it is dropped; the invariants above say which
// thread may touch which byte of it.
unsafe impl Send for Mapping {}
// SAFETY: as above: shared references only read published bytes.
unsafe impl Sync for Mapping {}

impl Mapping {
    fn new(file: &std::fs::File, len: usize, writable: bool) -> io::Result<Mapping> {
        let prot = if writable { ProtFlags::READ | ProtFlags::WRITE } else { ProtFlags::READ };
        let kept = if writable { Some(file.try_clone()?) } else { None };
        // SAFETY: a fresh mapping at an address of the kernel's choice aliases nothing of ours.
        let base = unsafe { rustix::mm::mmap(ptr::null_mut(), len, prot, MapFlags::SHARED, file, 0) }?;
        let base = NonNull::new(base.cast::<u8>()).ok_or(io::ErrorKind::OutOfMemory)?;
        // A child must not be able to store into its parent's log.
        // SAFETY: the range is the mapping made above.
        let dont_fork = unsafe { rustix::mm::madvise(base.as_ptr().cast(), len, Advice::LinuxDontFork) };
        let guard = dont_fork.map_err(io::Error::from).and_then(|()| Guarded::new(base.as_ptr() as usize, len));
        match guard {
            Ok(guard) => Ok(Mapping { base, len, published: Apart(AtomicUsize::new(0)), file: kept, guard }),
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
        if !fork_guard().is_forked() {
            // SAFETY: `base..base+len` is ours, and no reference into it outlives the last `Arc`. (A forked child
            // does not have the mapping at all.)
            let _ = unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), self.len) };
        }
    }
}

/// The one writer of a mapping. Not cloneable, so that `&mut self` excludes every other writer.
pub(crate) struct MappedWriter {
    mapping: Arc<Mapping>,
}

impl MappedWriter {
    pub(crate) fn new(file: &std::fs::File, len: usize) -> io::Result<Self> {
        Ok(MappedWriter { mapping: Arc::new(Mapping::new(file, len, true)?) })
    }

    /// Bytes that nobody else can see.
    #[inline]
    fn unpublished(&mut self, offset: usize, len: usize) -> io::Result<&mut [u8]> {
        let published = self.mapping.published.load(Ordering::Relaxed);
        if offset < published || offset.checked_add(len).is_none_or(|end| end > self.mapping.len) {
            return Err(io::Error::other("a store outside the unpublished part of a segment"));
        }
        // SAFETY: within the mapping and not published, so no shared slice covers it; the result borrows this
        // one writer exclusively, so there is no other slice of unpublished bytes either.
        Ok(unsafe { std::slice::from_raw_parts_mut(self.mapping.base.as_ptr().add(offset), len) })
    }
}

impl SegmentWriter for MappedWriter {
    fn write(&mut self, offset: usize, bytes: &[u8]) -> io::Result<()> {
        self.unpublished(offset, bytes.len())?.copy_from_slice(bytes);
        self.mapping.guard.check()
    }

    #[inline]
    fn space(&mut self, offset: usize, len: usize) -> io::Result<&mut [u8]> {
        self.unpublished(offset, len)
    }

    #[inline]
    fn append(&mut self, _: usize, published: usize) -> io::Result<()> {
        // The stores went to the page cache; a page that could not take them has marked the mapping.
        self.mapping.guard.check()?;
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
pub(crate) fn map_read(file: &std::fs::File, len: usize) -> io::Result<Arc<dyn SegmentReader>> {
    let mapping = Mapping::new(file, len, false)?;
    mapping.published.store(len, Ordering::Release);
    mapping.warm(0, len, Advice::LinuxPopulateRead);
    Ok(Arc::new(MappedReader(Arc::new(mapping))))
}

impl SegmentReader for MappedReader {
    fn read(self: Arc<Self>, offset: usize, len: usize) -> io::Result<Chunk> {
        // Cut where publication ends: from here on the range is known to be published.
        let end = offset.saturating_add(len).min(self.0.published.load(Ordering::Acquire));
        let start = offset.min(end);
        Ok(Chunk::Mapped(MappedBytes {
            mapping: self.0.clone(),
            start,
            len: end - start,
            faults: self.0.guard.faults(),
        }))
    }

    fn sync(&self) -> io::Result<()> {
        self.0.guard.check()?;
        match &self.0.file {
            Some(file) => file.sync_data(),
            None => Ok(()),
        }
    }

    fn is_there(&self) -> io::Result<bool> {
        let Some(file) = &self.0.file else { return Ok(true) };
        // Stores behind the new end of a file, in its last page, go nowhere without a fault.
        let (names, length) = names_and_length(file)?;
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

// ---------------------------------------------------------------------------------------------------------
// The guard. A page of a mapped file cannot be read or written when the file was truncated by somebody or the
// disk fails; the kernel then raises SIGBUS, which would kill the host program. The handler puts a page of
// zeros under the faulting address, marks the mapping, and lets the access go on; the next operation on the
// mapping sees the mark and returns an error. Any other SIGBUS goes to whoever handled it before.

const SLOTS: usize = 1024;

struct Slot {
    /// 0: free. Written last when taken, first when released.
    start: AtomicUsize,
    len: AtomicUsize,
    /// Pages that were replaced by zeros.
    faults: AtomicU32,
}

static TABLE: [Slot; SLOTS] =
    [const { Slot { start: AtomicUsize::new(0), len: AtomicUsize::new(0), faults: AtomicU32::new(0) } }; SLOTS];
const CLAIMED: usize = usize::MAX;
/// What handled SIGBUS before us; leaked, because the handler may run at any time.
static PREVIOUS: AtomicPtr<libc::sigaction> = AtomicPtr::new(ptr::null_mut());

/// A mapping's place in the guard's table.
struct Guarded {
    slot: &'static Slot,
}

impl Guarded {
    fn new(start: usize, len: usize) -> io::Result<Guarded> {
        install_handler();
        let slot = TABLE
            .iter()
            .find(|slot| slot.start.compare_exchange(0, CLAIMED, Ordering::AcqRel, Ordering::Relaxed).is_ok())
            .ok_or_else(|| io::Error::other(format!("more than {SLOTS} segments are mapped at once")))?;
        slot.len.store(len, Ordering::Relaxed);
        slot.faults.store(0, Ordering::Relaxed);
        slot.start.store(start, Ordering::Release);
        Ok(Guarded { slot })
    }

    #[inline]
    fn check(&self) -> io::Result<()> {
        if self.faults() > 0 {
            return Err(fault());
        }
        Ok(())
    }

    #[inline]
    fn faults(&self) -> u32 {
        self.slot.faults.load(Ordering::Relaxed)
    }

    fn release(&self) {
        self.slot.start.store(0, Ordering::Release);
    }
}

#[cold]
fn fault() -> io::Error {
    io::Error::other("a page of the segment could not be accessed: its file was truncated, or the disk failed")
}

fn install_handler() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: `sigaction` is plain data for which zero is valid; the handler it names only calls
        // async-signal-safe functions; the previous action is stored before the first mapping exists.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = on_sigbus as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_NODEFER;
            libc::sigemptyset(&raw mut action.sa_mask);
            let previous = Box::into_raw(Box::new(std::mem::zeroed::<libc::sigaction>()));
            if libc::sigaction(libc::SIGBUS, ptr::null(), previous) == 0 {
                PREVIOUS.store(previous, Ordering::Release);
                libc::sigaction(libc::SIGBUS, &raw const action, ptr::null_mut());
            }
        }
    });
}

extern "C" fn on_sigbus(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel passes a valid siginfo to a SA_SIGINFO handler; `si_addr` is set for SIGBUS. `mmap` is
    // a plain system call here. MAP_FIXED replaces one page inside a mapping of ours: the table says so, and
    // an entry leaves the table before its mapping goes.
    unsafe {
        let address = (*info).si_addr() as usize;
        for slot in &TABLE {
            let start = slot.start.load(Ordering::Acquire);
            let len = slot.len.load(Ordering::Relaxed);
            if start != 0 && start != CLAIMED && address >= start && address - start < len {
                let page = libc::sysconf(libc::_SC_PAGESIZE).max(4096) as usize;
                let at = address / page * page;
                let zeros = libc::mmap(
                    at as *mut libc::c_void,
                    page,
                    libc::PROT_READ | libc::PROT_WRITE,
                    libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED,
                    -1,
                    0,
                );
                if zeros != libc::MAP_FAILED {
                    slot.faults.fetch_add(1, Ordering::Release);
                    return;
                }
            }
        }
        let previous = PREVIOUS.load(Ordering::Acquire);
        let (handler, flags) =
            if previous.is_null() { (libc::SIG_DFL, 0) } else { ((*previous).sa_sigaction, (*previous).sa_flags) };
        match handler {
            libc::SIG_DFL | libc::SIG_IGN => {
                // Back to the default, and let the access fault again: the process ends as it would have.
                libc::signal(signal, libc::SIG_DFL);
            }
            handler if flags & libc::SA_SIGINFO != 0 => {
                let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) =
                    std::mem::transmute(handler);
                handler(signal, info, context);
            }
            handler => {
                let handler: extern "C" fn(libc::c_int) = std::mem::transmute(handler);
                handler(signal);
            }
        }
    }
}

// ---------------------------------------------------------------------------------------------------------
// Fork. A page that the kernel wipes in a child: reading it costs a load, where `getpid` costs a system call.

/// Tells whether this process is a fork of the one in which the guard was made.
#[derive(Clone, Copy)]
pub(crate) struct ForkGuard {
    page: Option<&'static AtomicU64>,
    pid: u32,
}

impl ForkGuard {
    pub(crate) fn new() -> Self {
        fork_guard()
    }

    /// Whether this is a child, which must not touch what belongs to its parent.
    #[inline]
    pub(crate) fn is_forked(&self) -> bool {
        match self.page {
            Some(page) => page.load(Ordering::Relaxed) != u64::from(self.pid),
            None => std::process::id() != self.pid,
        }
    }
}

fn fork_guard() -> ForkGuard {
    static PAGE: OnceLock<Option<&'static AtomicU64>> = OnceLock::new();
    let page = *PAGE.get_or_init(|| {
        const BYTES: usize = 4096;
        // SAFETY: a private anonymous mapping that is never unmapped: it lives for 'static, is zeroed and
        // aligned to a page, and is only ever used through the atomic.
        unsafe {
            let flags = MapFlags::PRIVATE;
            let prot = ProtFlags::READ | ProtFlags::WRITE;
            let page = rustix::mm::mmap_anonymous(ptr::null_mut(), BYTES, prot, flags).ok()?;
            rustix::mm::madvise(page, BYTES, Advice::LinuxWipeOnFork).ok()?;
            Some(AtomicU64::from_ptr(page.cast()))
        }
    });
    let pid = std::process::id();
    if let Some(page) = page {
        // In a child the page is zero again: what is opened after the fork belongs to the child.
        page.store(u64::from(pid), Ordering::Relaxed);
    }
    ForkGuard { page, pid }
}
