//! Sees to it that a forked child has nothing of its parent's buffers and files. `unsafe`: a page that the kernel wipes in a
//! child, and handlers that run around a fork.
//!
//! Nothing here takes a lock: a lock that another thread holds at the fork would be held in the child for ever.
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
/// A process that opens something gets a random number, which no other process has ever had. A child finds 0 in its place,
/// and gets another when it opens something itself. A pid would not do: pids are used again, and mean other processes in
/// other namespaces.
#[derive(Clone, Copy)]
pub(crate) struct ForkGuard {
    number: &'static AtomicU64,
    own: u64,
}

impl ForkGuard {
    /// A guard of this process.
    pub(crate) fn new() -> Self {
        let number = number();
        loop {
            let own = number.load(Ordering::Relaxed);
            if own != 0 {
                return ForkGuard { number, own };
            }
            // If two threads come here, the number of the first one counts.
            let _ = number.compare_exchange(0, system_random() | 1, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// The number of the process, which is not 0.
    pub(super) fn number(&self) -> u64 {
        self.own
    }

    /// Whether this is a child, which must not touch what belongs to its parent. It costs a load; `getpid` would cost a system
    /// call.
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

/// Points to the number: to a page that is wiped at a fork, or to `UNWIPED`.
static NUMBER: AtomicPtr<AtomicU64> = AtomicPtr::new(ptr::null_mut());
/// Holds the number where the kernel (before 4.14) cannot wipe a page. Then only the handler of a fork makes it 0.
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
        // Another thread was first. The page made here stays unused, once in the life of the process.
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
    // Two threads may both come here, and the handlers then run twice, which does no harm.
    // SAFETY: the handlers touch atomics only, and in the child they call what POSIX allows there.
    if unsafe { libc::pthread_atfork(Some(before), Some(in_parent), Some(in_child)) } == 0 {
        WATCHED.store(true, Ordering::Release);
    }
}

/// Forks that have begun, and forks that are over.
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

/// Descriptors that a child must close, plus one; 0 is a free place.
static PLACES: [AtomicI32; 4096] = [const { AtomicI32::new(0) }; 4096];

/// An open file that a forked child does not have, because its copy is closed at the fork. A lock belongs to the open file
/// and not to the process, so a child that kept it open would keep its parent's lock.
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
            // A child that was forked between opening and noting has the file. Then it is opened once more, and noted in time.
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
        // There are more places than most processes may have descriptors.
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
            // The child's copy was closed at the fork. By now the number may be another file's, and the place another's.
            std::mem::forget(file);
        } else {
            // Before the file is closed, because its number may be another file's right afterwards.
            self.place.store(0, Ordering::Release);
        }
    }
}
