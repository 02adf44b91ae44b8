//! Locks whose holders leave nothing half done.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// A panic while the lock was held leaves nothing half done here.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
