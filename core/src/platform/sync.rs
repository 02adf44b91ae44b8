//! Locks, condition variables, atomics and threads, as the engine uses them.
//!
//! They are the standard library's. With the feature `shuttle` they are those of a scheduler that decides at each of
//! their operations which thread goes on, so that `torture::threads` can try many schedules and come back to one.

#[cfg(feature = "shuttle")]
pub(crate) mod scheduled;

#[cfg(not(feature = "shuttle"))]
pub(crate) use std::{
    sync::{Condvar, Mutex, MutexGuard, atomic},
    thread, thread_local,
};

#[cfg(feature = "shuttle")]
pub(crate) use scheduled::{Condvar, Mutex, MutexGuard, atomic, thread, thread_local};
