//! Locks, condition variables, atomics and threads, as the engine uses them.
//!
//! They are the standard library's, but for how a thread is started (`threads`). In the proofs of threads (`tests/torture`, feature `scheduled`) they are those of a
//! scheduler that decides at each of their operations which thread goes on, so that many schedules can be tried and any
//! of them repeated.

#[cfg(feature = "scheduled")]
#[path = "../../../tests/torture/src/scheduled.rs"]
pub(crate) mod scheduled;

#[cfg(not(feature = "scheduled"))]
pub(crate) use std::{
    sync::{Condvar, Mutex, MutexGuard, atomic},
    thread_local,
};

#[cfg(not(feature = "scheduled"))]
pub(crate) mod thread {
    pub(crate) use std::thread::{Thread, park, park_timeout, sleep, yield_now};

    pub(crate) use crate::platform::threads::{JoinHandle, start};
}

#[cfg(feature = "scheduled")]
pub(crate) use scheduled::{Condvar, Mutex, MutexGuard, atomic, thread, thread_local};
