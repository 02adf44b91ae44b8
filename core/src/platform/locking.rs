//! How mutexes are locked, and how values that different threads use are kept in different cache lines.

use std::sync::{PoisonError, TryLockError};
use std::time::Duration;

use super::sync::{Mutex, MutexGuard, thread};

/// Locks a mutex, also after a panic of another thread that held it. That thread reports its panic itself, and what the
/// mutex guards is consistent, because every update of it ends in plain assignments.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Locks a mutex that threads take again and again and hold for some tens of nanoseconds.
///
/// A thread that finds it taken sleeps for a moment rather than queue: with a queue every release costs a system call, and
/// handing the lock to another core costs more than the work done under it. A thread that was unlucky for about 400 us
/// queues after all.
#[inline(always)]
pub(crate) fn lock_briefly<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    match attempt(mutex) {
        Some(guard) => guard,
        None => wait_briefly(mutex),
    }
}

/// Locks a mutex that is free.
#[inline(always)]
fn attempt<T>(mutex: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    match mutex.try_lock() {
        Ok(guard) => Some(guard),
        Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

#[cold]
fn wait_briefly<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    const SPINS: u32 = 3;
    const SLEEPS: u32 = 20;
    for _ in 0..SPINS {
        std::hint::spin_loop();
        if let Some(guard) = attempt(mutex) {
            return guard;
        }
    }
    for _ in 0..SLEEPS {
        thread::sleep(Duration::from_micros(20));
        if let Some(guard) = attempt(mutex) {
            return guard;
        }
    }
    lock(mutex)
}

/// A value in cache lines of its own, so that a thread that writes it all the time does not slow down those that read its
/// neighbours.
#[repr(align(128))]
pub(crate) struct CachePadded<T>(pub(crate) T);

impl<T> std::ops::Deref for CachePadded<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}
