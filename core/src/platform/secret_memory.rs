//! Memory for secrets, and whether the process runs with more rights than the user who started it. `unsafe`: memory that is
//! mapped by hand, and a C call.
#![allow(unsafe_code)]

use std::io;
use std::ptr::{self, NonNull};

use rustix::mm::{Advice, MapFlags, ProtFlags};

/// Pages that hold nothing but some secret bytes and are left out of core dumps. They are written once, when they are made.
pub(crate) struct Pages {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: the pages belong to this value alone until it is dropped, and are only read after `holding` has returned.
unsafe impl Send for Pages {}
// SAFETY: as above.
unsafe impl Sync for Pages {}

impl Pages {
    /// A copy of the bytes, of which there must be some.
    pub(crate) fn holding(bytes: &[u8]) -> io::Result<Self> {
        let (len, prot) = (bytes.len(), ProtFlags::READ | ProtFlags::WRITE);
        // SAFETY: a fresh mapping at an address of the kernel's choice aliases nothing of ours.
        let base = unsafe { rustix::mm::mmap_anonymous(ptr::null_mut(), len, prot, MapFlags::PRIVATE) }?;
        let base = NonNull::new(base.cast::<u8>()).ok_or(io::ErrorKind::OutOfMemory)?;
        let pages = Pages { base, len };
        // SAFETY: the range is the mapping made above.
        unsafe { rustix::mm::madvise(base.as_ptr().cast(), len, Advice::LinuxDontDump) }?;
        // SAFETY: the mapping has `len` bytes, nobody else knows of it, and `bytes` cannot overlap with it.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), base.as_ptr(), len) };
        Ok(pages)
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: the mapping has `len` readable bytes for as long as `self` lives, and nobody writes them.
        unsafe { std::slice::from_raw_parts(self.base.as_ptr(), self.len) }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // The kernel clears pages before anybody gets them again.
        // SAFETY: the mapping is ours, and no reference into it outlives `self`.
        let _ = unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), self.len) };
    }
}

/// Whether the kernel started this program with more rights than its caller has: setuid, setgid or with capabilities
/// of its file. Then whoever started it chose the environment but must not choose what the program does.
#[cfg(feature = "net")]
pub(crate) fn is_secure_execution() -> bool {
    // SAFETY: the call reads a number that the kernel gave the process at its start; it takes no pointer.
    unsafe { libc::getauxval(libc::AT_SECURE) != 0 }
}
