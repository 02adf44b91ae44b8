//! What a forked child has of its parent: nothing. One of the files of this crate with `unsafe`: a page that the kernel
//! wipes in a child, and the handlers that run around a fork.
//!
//! None of it takes a lock: one that another thread holds at the fork would be held in the child for ever.
#![allow(unsafe_code)]

use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use rustix::mm::{Advice, MapFlags, ProtFlags};

use super::random::system_random;
use super::sigbus;

/// Tells whether this process is a fork of the one in which the guard was made.
///
/// A process that opens something has a number of its own, which no other process has ever had. A child finds 0 in its
/// place, and takes another when it opens something itself. So neither a pid that is used again nor one that means
/// another process in another namespace makes a child pass for its parent.
#[derive(Clone, Copy)]
pub(crate) struct ForkGuard {
    number: &'static AtomicU64,
    own: u64,
}

impl ForkGuard {
    /// Of this process.
    pub(crate) fn new() -> Self {
        let number = number();
        loop {
            let own = number.load(Ordering::Relaxed);
            if own != 0 {
                return ForkGuard { number, own };
            }
            // Whichever thread is first.
            let _ = number.compare_exchange(0, system_random() | 1, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// What no other process has, and is not 0.
    pub(super) fn number(&self) -> u64 {
        self.own
    }

    /// Whether this is a child, which must not touch what belongs to its parent. It costs a load, where `getpid` costs a
    /// system call.
    #[inline]
    pub(crate) fn is_forked(&self) -> bool {
        self.number.load(Ordering::Relaxed) != self.own
    }
}

impl std::fmt::Debug for ForkGuard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ForkGuard").field("is_forked", &self.is_forked()).finish()
    }
}

/// Where the number is.
static NUMBER: AtomicPtr<AtomicU64> = AtomicPtr::new(ptr::null_mut());
/// Its place where the kernel (before 4.14) wipes no page: there the handler of a fork alone makes it 0.
static UNWIPED: AtomicU64 = AtomicU64::new(0);

fn number() -> &'static AtomicU64 {
    let known = NUMBER.load(Ordering::Acquire);
    if !known.is_null() {
        // SAFETY: it only ever holds what is stored below, which lives for 'static.
        return unsafe { &*known };
    }
    watch_forks();
    let made = wiped_page().unwrap_or(&UNWIPED);
    let place = ptr::from_ref(made).cast_mut();
    match NUMBER.compare_exchange(ptr::null_mut(), place, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => made,
        // Another thread was first; a page is left over, once.
        // SAFETY: as above.
        Err(theirs) => unsafe { &*theirs },
    }
}

fn wiped_page() -> Option<&'static AtomicU64> {
    const BYTES: usize = 4096;
    // SAFETY: a private anonymous mapping that is never unmapped: it lives for 'static, is zeroed and aligned to a page,
    // and is only ever used through the atomic.
    unsafe {
        let prot = ProtFlags::READ | ProtFlags::WRITE;
        let page = rustix::mm::mmap_anonymous(ptr::null_mut(), BYTES, prot, MapFlags::PRIVATE).ok()?;
        rustix::mm::madvise(page, BYTES, Advice::LinuxWipeOnFork).ok()?;
        Some(AtomicU64::from_ptr(page.cast()))
    }
}

fn watch_forks() {
    static WATCHED: AtomicBool = AtomicBool::new(false);
    if WATCHED.load(Ordering::Acquire) {
        return;
    }
    // Two threads may both come here: the handlers do no harm twice.
    // SAFETY: the handlers touch atomics only, and in the child they call what POSIX allows there.
    if unsafe { libc::pthread_atfork(Some(before), Some(in_parent), Some(in_child)) } == 0 {
        WATCHED.store(true, Ordering::Release);
    }
}

/// Forks that have begun, and those of them that are over.
static BEGUN: AtomicU64 = AtomicU64::new(0);
static OVER: AtomicU64 = AtomicU64::new(0);

extern "C" fn before() {
    BEGUN.fetch_add(1, Ordering::SeqCst);
}

extern "C" fn in_parent() {
    OVER.fetch_add(1, Ordering::SeqCst);
}

extern "C" fn in_child() {
    let number = NUMBER.load(Ordering::Acquire);
    if !number.is_null() {
        // SAFETY: as in `number`.
        unsafe { &*number }.store(0, Ordering::Relaxed);
    }
    for place in &PLACES {
        let noted = place.swap(0, Ordering::Relaxed);
        if noted > 0 {
            // SAFETY: the child's copy of a descriptor that was noted by its owner, which is the parent and no part of the
            // child: nobody here closes it again.
            unsafe { libc::close(noted - 1) };
        }
    }
    sigbus::blank();
    OVER.store(BEGUN.load(Ordering::Relaxed), Ordering::SeqCst);
}

/// Descriptors that a child must not keep, plus one; 0 is a free place.
static PLACES: [AtomicI32; 4096] = [const { AtomicI32::new(0) }; 4096];

/// An open file that a forked child does not have: its copy is closed at the fork. What has to be held back from a child
/// is the open file itself, which a lock belongs to.
pub(super) struct Unshared {
    file: Option<fs::File>,
    place: &'static AtomicI32,
    process: ForkGuard,
}

impl Unshared {
    /// Opens it.
    pub(super) fn open(open: impl Fn() -> io::Result<fs::File>) -> io::Result<Unshared> {
        const TURNS: usize = 200;
        let process = ForkGuard::new();
        for turn in 0.. {
            let (begun, over) = (BEGUN.load(Ordering::SeqCst), OVER.load(Ordering::SeqCst));
            let opened = Unshared::note(open()?, process)?;
            // A child made between opening and noting has it: then it is opened once more.
            if turn == TURNS || (begun == over && BEGUN.load(Ordering::SeqCst) == begun) {
                return Ok(opened);
            }
            drop(opened);
            thread::sleep(Duration::from_micros(50));
        }
        unreachable!("the last turn returns")
    }

    fn note(file: fs::File, process: ForkGuard) -> io::Result<Unshared> {
        let number = file.as_raw_fd() + 1;
        let is_free =
            |place: &&AtomicI32| place.compare_exchange(0, number, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        // More buffers and files than a process has descriptors for, mostly.
        let place = PLACES.iter().find(is_free).ok_or_else(|| io::Error::from_raw_os_error(libc::EMFILE))?;
        Ok(Unshared { file: Some(file), place, process })
    }

    /// The file, unless this is a child, which does not have it.
    pub(super) fn file(&self) -> Option<&fs::File> {
        self.file.as_ref().filter(|_| !self.process.is_forked())
    }
}

impl Drop for Unshared {
    fn drop(&mut self) {
        let file = self.file.take();
        if self.process.is_forked() {
            // The child's copy was closed; the number may be another file's by now, and the place another descriptor's.
            std::mem::forget(file);
        } else {
            // Before it is closed: the number may be another file's at once.
            self.place.store(0, Ordering::Release);
        }
    }
}
