//! Signals that stop a command in order: the loops of the command look, and waits are cut short.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::{flag, low_level};

use crate::exit::{Error, STOPPED};

/// What has been signalled to this process. One is made, before anything else begins.
pub(crate) struct Signals {
    number: Arc<AtomicUsize>,
    /// Becomes readable with a signal. Nobody reads from it: what stopped a command stops it for good.
    stopped: UnixStream,
}

impl Signals {
    /// Begins to listen. What the process was told to ignore stays ignored.
    ///
    /// # Errors
    /// The system's, where there are no more file descriptors.
    pub(crate) fn listen() -> io::Result<Signals> {
        let (stopped, wake) = UnixStream::pair()?;
        let signals = Signals { number: Arc::default(), stopped };
        let again = Arc::new(AtomicBool::new(false));
        let ignored = ignored();
        // The first process of a container has no default actions, so each signal gets a handler.
        for signal in [SIGINT, SIGTERM, SIGHUP].into_iter().filter(|signal| ignored >> (signal - 1) & 1 == 0) {
            // A second signal does not wait for the order that the first one asked for.
            flag::register_conditional_shutdown(signal, i32::from(STOPPED) + signal, again.clone())?;
            flag::register(signal, again.clone())?;
            flag::register_usize(signal, signals.number.clone(), signal.unsigned_abs() as usize)?;
            low_level::pipe::register(signal, wake.try_clone()?)?;
        }
        Ok(signals)
    }

    /// Looks whether a signal says to stop.
    ///
    /// # Errors
    /// `Stopped`.
    #[inline]
    pub(crate) fn check(&self) -> Result<(), Error> {
        match self.number.load(Ordering::Relaxed) {
            0 => Ok(()),
            number => Err(Error::Stopped(number as i32)),
        }
    }

    /// Waits until something can be read from `input`, or for ever if it is `None`, but no longer than `most`; says
    /// whether there is something.
    ///
    /// # Errors
    /// `Stopped`, at once.
    pub(crate) fn wait(&self, input: Option<BorrowedFd<'_>>, most: Option<Duration>) -> Result<bool, Error> {
        let deadline = most.map(|most| Instant::now() + most);
        loop {
            self.check()?;
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let timeout = left.map(|left| Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: left.subsec_nanos().into(),
            });
            let mut watched = vec![PollFd::from_borrowed_fd(self.stopped.as_fd(), PollFlags::IN)];
            watched.extend(input.map(|input| PollFd::from_borrowed_fd(input, PollFlags::IN)));
            match poll(&mut watched, timeout.as_ref()) {
                // Another signal, such as that of a terminal that changes its size: who waits with a limit looks up.
                Err(rustix::io::Errno::INTR) if deadline.is_some() => return self.check().map(|()| false),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(Error::io("poll", &error.into())),
                Ok(_) => {
                    self.check()?;
                    // Errors and hang-ups are what the next read reports.
                    if watched.get(1).is_some_and(|input| !input.revents().is_empty()) {
                        return Ok(true);
                    }
                    if left.is_some_and(|left| left.is_zero()) {
                        return Ok(false);
                    }
                }
            }
        }
    }
}

/// The signals that this process ignores, as a set of bits.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let set = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    set.and_then(|set| u64::from_str_radix(set.trim(), 16).ok()).unwrap_or(0)
}

/// What is said where a signal has stopped a command.
pub(crate) fn stopped(signal: i32) -> String {
    let name = low_level::signal_name(signal).unwrap_or("a signal");
    format!("stopped by {name}; what was put is safe")
}
