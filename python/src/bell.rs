//! Waking greenlets: they wait for sockets, not for condition variables.

use std::io::{self, Write};
use std::os::fd::IntoRawFd;
use std::os::unix::net::UnixStream;
use std::sync::Mutex;

use crate::sync::lock;

/// A socket that is written to when there is something to see; nothing where nobody needs it.
#[derive(Default)]
pub(crate) struct Bell {
    ours: Option<UnixStream>,
    /// Until somebody takes it.
    theirs: Mutex<Option<UnixStream>>,
}

impl Bell {
    pub(crate) fn new(wanted: bool) -> io::Result<Self> {
        if !wanted {
            return Ok(Bell::default());
        }
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        Ok(Bell { ours: Some(ours), theirs: Mutex::new(Some(theirs)) })
    }

    pub(crate) fn ring(&self) {
        if let Some(mut ours) = self.ours.as_ref() {
            // If it is full, nobody has looked since, and who looks finds this too.
            let _ = ours.write(&[1]);
        }
    }

    /// The descriptor to wait on; the caller owns it from now on.
    pub(crate) fn detach(&self) -> Option<i32> {
        lock(&self.theirs).take().map(IntoRawFd::into_raw_fd)
    }
}
