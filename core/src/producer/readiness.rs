//! Manual mode: a descriptor that is readable when a batch may be ready, for programs that wait for many things at once.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use super::Producer;
use super::sender::Senders;
use crate::error::{Error, Result};
use crate::options::NEVER;
use crate::platform::sync::Mutex;
use crate::platform::sync::atomic::Ordering;
use crate::platform::{Alarm, ForkGuard, lock};

#[derive(Default)]
struct State {
    /// How often somebody has begun to look when there will be something.
    looks: u64,
    /// It was made readable since the last of them began.
    rung: bool,
}

/// Whoever would wake a sender makes it readable; [`next_batch`](Producer::next_batch), when it finds nothing, makes it wait.
pub(super) struct Readiness {
    alarm: Alarm,
    state: Mutex<State>,
    /// A child has the same timer as its parent, and must let it alone.
    fork: ForkGuard,
}

impl Readiness {
    fn new() -> Result<Readiness> {
        let alarm = Alarm::new().map_err(|error| Error::io("could not make a descriptor to poll", error))?;
        Ok(Readiness { alarm, state: Mutex::default(), fork: ForkGuard::new() })
    }

    /// Makes it readable, by one system call for each time that it was not.
    pub(super) fn ring(&self) {
        if self.fork.is_forked() {
            return;
        }
        let mut state = lock(&self.state);
        if !state.rung {
            state.rung = true;
            self.alarm.set(Some(Duration::ZERO));
        }
    }

    /// Makes it readable after what `look` returns. If it is rung meanwhile, it stays so, and if another thread has begun to look,
    /// that one has seen more.
    fn set(&self, look: impl FnOnce() -> Option<Duration>) {
        let own = {
            let mut state = lock(&self.state);
            state.looks += 1;
            state.rung = false;
            state.looks
        };
        let wait = look();
        let state = lock(&self.state);
        if !state.rung && state.looks == own {
            self.alarm.set(wait);
        }
    }
}

impl Senders {
    /// Made when somebody asks for it, so that nobody else pays for it.
    fn readiness(&self) -> Result<&Readiness> {
        if let Some(known) = self.readiness.get() {
            return Ok(known);
        }
        // If two threads come here, the one that is first has made it.
        let made = Readiness::new()?;
        Ok(self.readiness.get_or_init(|| made))
    }
}

impl Producer {
    /// Manual mode: a descriptor that is readable when [`next_batch`](Self::next_batch) may have a batch, also by `linger`, the
    /// schedule or `max_rate_*`: an event loop that polls it needs no timer. Where the directory is shared, it is readable too
    /// when it is time to look for what other processes have left. Then call `next_batch` until it returns `None`.
    ///
    /// It is level-triggered: readable until `next_batch` has returned `None`, and once the producer has stopped or is closed, as
    /// `next_batch` then says. It is good for `poll`, `select` and `epoll`; only poll it: do not read from it, write to it or close it.
    /// It is opened at the first call, closed on `exec`, and stays the same, and open, for as long as the producer lives, also
    /// after [`close`](Self::close).
    ///
    /// In a forked child the parent's descriptor means nothing: the child's own call opens its own, if the producer is shared.
    ///
    /// # Errors
    /// `WrongMode` in other modes; `Forked`; `Reentrant`; `Io` if the process or the system has no descriptor left.
    pub fn fd(&self) -> Result<BorrowedFd<'_>> {
        let shared = &*self.here()?.shared;
        shared.check_caller()?;
        shared.check_manual()?;
        let senders = &shared.common.senders;
        if senders.readiness.get().is_none() {
            senders.readiness()?;
            senders.tell_of_sealed(shared.core());
            self.look_when_next();
        }
        Ok(senders.readiness()?.alarm.as_fd())
    }

    /// Finds out when the descriptor is to be readable next, where there is one.
    pub(super) fn look_when_next(&self) {
        let Ok(inner) = self.here() else { return };
        let shared = &*inner.shared;
        let Some(readiness) = shared.common.senders.readiness.get() else { return };
        readiness.set(|| {
            if shared.check().is_err() {
                return Some(Duration::ZERO);
            }
            // A put that begins a batch has to tell, because the batch will be ready by its age. First this, then the look: a
            // put in between is seen, or sees this.
            if shared.core().options.linger != NEVER {
                shared.common.senders.idle.store(true, Ordering::SeqCst);
            }
            self.next_wait()
        });
    }
}
