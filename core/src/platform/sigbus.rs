//! Keeps a mapped file that fails from killing the process. `unsafe`: a signal handler.
//!
//! A page of a mapped file cannot be read or written when the file was truncated by somebody or the disk fails; the
//! kernel then raises SIGBUS, which would kill the host program. The handler puts a page of zeros under the faulting
//! address, marks the mapping, and lets the access go on; the next operation on the mapping sees the mark and returns an
//! error. Every other SIGBUS, also one that somebody sent, goes to the handler that was there before.
#![allow(unsafe_code)]

use std::io;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicUsize, Ordering, fence};

/// Mappings that can be guarded at once. A buffer has some ten; where there are more buffers, their segments are written
/// without a mapping.
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

/// A mapping that is in the table, so that the handler knows it.
pub(super) struct Guarded {
    slot: &'static Slot,
}

impl Guarded {
    /// Guards a mapping. The caller must [`release`](Self::release) it before unmapping.
    pub(super) fn new(start: usize, len: usize) -> io::Result<Guarded> {
        ensure();
        let slot = TABLE
            .iter()
            .find(|slot| slot.start.compare_exchange(0, CLAIMED, Ordering::AcqRel, Ordering::Relaxed).is_ok())
            .ok_or_else(|| io::Error::from_raw_os_error(libc::ENOMEM))?;
        slot.len.store(len, Ordering::Relaxed);
        slot.faults.store(0, Ordering::Relaxed);
        slot.start.store(start, Ordering::Release);
        Ok(Guarded { slot })
    }

    #[inline]
    pub(super) fn check(&self) -> io::Result<()> {
        if self.faults() > 0 {
            return Err(fault());
        }
        Ok(())
    }

    #[inline]
    pub(super) fn faults(&self) -> u32 {
        self.slot.faults.load(Ordering::Relaxed)
    }

    pub(super) fn release(&self) {
        self.slot.start.store(0, Ordering::Release);
    }
}

#[cold]
fn fault() -> io::Error {
    io::Error::other("a page of the segment could not be accessed: its file was truncated, or the disk failed")
}

fn mapped() -> impl Iterator<Item = (&'static Slot, usize, usize)> {
    TABLE.iter().filter_map(|slot| {
        let start = slot.start.load(Ordering::Acquire);
        let len = slot.len.load(Ordering::Relaxed);
        // The length is that of this start only if the slot had no other owner meanwhile.
        fence(Ordering::Acquire);
        let same = slot.start.load(Ordering::Relaxed) == start;
        (same && start != 0 && start != CLAIMED).then_some((slot, start, len))
    })
}

/// Replaces every mapping by zeros; called in a forked child. So the child can neither store into its parent's log nor see it
/// change, and keeps none of its files open. A slice from before the fork is still readable memory.
pub(super) fn blank() {
    for (_, start, len) in mapped() {
        // SAFETY: the range is a mapping of ours: an entry leaves the table before its mapping goes. Nothing writes to it
        // in the child, where no handle works. The two calls are plain system calls.
        unsafe {
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED | libc::MAP_NORESERVE;
            if libc::mmap(start as *mut libc::c_void, len, libc::PROT_READ, flags, -1, 0) == libc::MAP_FAILED {
                libc::mprotect(start as *mut libc::c_void, len, libc::PROT_READ);
            }
        }
    }
}

// A program may install a handler of its own over ours, and restore ours later, as Python's faulthandler does. So ours is
// installed over it again, each time another function with its own record of what was there before. If it were the same
// function, the two handlers would call each other for ever.

type Handler = extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void);

const LEVELS: usize = 8;
static HANDLERS: [Handler; LEVELS] = [
    on_sigbus::<0>,
    on_sigbus::<1>,
    on_sigbus::<2>,
    on_sigbus::<3>,
    on_sigbus::<4>,
    on_sigbus::<5>,
    on_sigbus::<6>,
    on_sigbus::<7>,
];
/// What handled SIGBUS before each of them. They are never freed, because a handler may run at any time. Null: the default.
static PREVIOUS: [AtomicPtr<libc::sigaction>; LEVELS] = [const { AtomicPtr::new(ptr::null_mut()) }; LEVELS];
static USED: AtomicUsize = AtomicUsize::new(0);

/// Makes ours the first handler, at most `LEVELS` times. After that, handlers that were installed over ours have to pass on
/// what is not theirs.
pub(super) fn ensure() {
    // SAFETY: `sigaction` is plain data for which zero is valid; the handlers only call async-signal-safe functions; what
    // was installed before is stored before ours can be called.
    unsafe {
        let mut current: libc::sigaction = std::mem::zeroed();
        if libc::sigaction(libc::SIGBUS, ptr::null(), &raw mut current) != 0
            || HANDLERS.iter().any(|handler| *handler as *const () as usize == current.sa_sigaction)
        {
            return;
        }
        let level = USED.load(Ordering::Relaxed);
        let level = if level < LEVELS { USED.fetch_add(1, Ordering::AcqRel) } else { level };
        let Some(handler) = HANDLERS.get(level) else { return };
        // A signal that was ignored, or ended the process, interrupted no system call.
        let silent = [libc::SIG_DFL, libc::SIG_IGN].contains(&current.sa_sigaction);
        let restarts = if silent { libc::SA_RESTART } else { current.sa_flags & libc::SA_RESTART };
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = *handler as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_NODEFER | restarts;
        libc::sigemptyset(&raw mut action.sa_mask);
        PREVIOUS[level].store(Box::into_raw(Box::new(current)), Ordering::Release);
        libc::sigaction(libc::SIGBUS, &raw const action, ptr::null_mut());
    }
}

extern "C" fn on_sigbus<const LEVEL: usize>(
    signal: libc::c_int,
    info: *mut libc::siginfo_t,
    context: *mut libc::c_void,
) {
    // SAFETY: the kernel passes a valid siginfo to a SA_SIGINFO handler, and a handler that calls ours passes on what it got.
    let sent = unsafe {
        // A signal from kill, raise or sigqueue has no address.
        let sent = (*info).si_code <= 0;
        if !sent && is_repaired((*info).si_addr() as usize) {
            return;
        }
        sent
    };
    // SAFETY: as above; PREVIOUS holds what `ensure` stored.
    unsafe { pass_on(&PREVIOUS[LEVEL], sent, signal, info, context) }
}

/// Puts zeros under an address that cannot be accessed, if it is one of ours.
fn is_repaired(address: usize) -> bool {
    let Some((slot, ..)) = mapped().find(|(_, start, len)| address >= *start && address - start < *len) else {
        return false;
    };
    // SAFETY: plain system calls. MAP_FIXED replaces one page inside a mapping of ours: the table says so, and an entry
    // leaves the table before its mapping goes.
    unsafe {
        let page = libc::sysconf(libc::_SC_PAGESIZE).max(4096) as usize;
        let at = (address / page * page) as *mut libc::c_void;
        let prot = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
        if libc::mmap(at, page, prot, flags, -1, 0) == libc::MAP_FAILED {
            return false;
        }
    }
    slot.faults.fetch_add(1, Ordering::Release);
    true
}

/// Does what would have happened if there were no handler of ours.
///
/// # Safety
/// As of a signal handler; `previous` is null or points to an action that lives for ever.
unsafe fn pass_on(
    previous: &AtomicPtr<libc::sigaction>,
    sent: bool,
    signal: libc::c_int,
    info: *mut libc::siginfo_t,
    context: *mut libc::c_void,
) {
    // SAFETY: our caller's promise; the functions called here are async-signal-safe, and a handler that somebody installed
    // is called as the kernel calls it: with its mask, and once only if it asked for that.
    unsafe {
        let action = previous.load(Ordering::Acquire);
        let handler = if action.is_null() { libc::SIG_DFL } else { (*action).sa_sigaction };
        match handler {
            libc::SIG_IGN if sent => {}
            libc::SIG_DFL | libc::SIG_IGN => {
                // The process ends as it would have: an access that failed fails again.
                libc::signal(signal, libc::SIG_DFL);
                if sent {
                    libc::raise(signal);
                }
            }
            handler => {
                let flags = (*action).sa_flags;
                if flags & libc::SA_RESETHAND != 0 {
                    previous.store(ptr::null_mut(), Ordering::Release);
                }
                let mut mask = (*action).sa_mask;
                if flags & libc::SA_NODEFER == 0 {
                    libc::sigaddset(&raw mut mask, signal);
                }
                let mut before: libc::sigset_t = std::mem::zeroed();
                libc::pthread_sigmask(libc::SIG_BLOCK, &raw const mask, &raw mut before);
                if flags & libc::SA_SIGINFO != 0 {
                    let handler: Handler = std::mem::transmute(handler);
                    handler(signal, info, context);
                } else {
                    let handler: extern "C" fn(libc::c_int) = std::mem::transmute(handler);
                    handler(signal);
                }
                libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, ptr::null_mut());
            }
        }
    }
}
