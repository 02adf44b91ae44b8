//! Disk, clock, random numbers and threads, passed in so that a test can own them all.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::platform::sync::{Mutex, MutexGuard, thread};
use crate::platform::{Disk, OsDisk};

/// The time, twice.
pub(crate) trait Clock: Send + Sync {
    /// Microseconds since the epoch, UTC; coarse, because it is read for every record.
    fn wall(&self) -> i64;
    /// Time that never jumps and counts suspension: waits are measured by it.
    fn monotonic(&self) -> Duration;
    /// Waits about this long.
    fn sleep(&self, time: Duration);
}

pub(crate) struct SystemClock;

impl Clock for SystemClock {
    #[inline]
    fn wall(&self) -> i64 {
        let now = clock_gettime(ClockId::RealtimeCoarse);
        now.tv_sec * 1_000_000 + now.tv_nsec / 1000
    }

    fn monotonic(&self) -> Duration {
        let now = clock_gettime(ClockId::Boottime);
        Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec as u32)
    }

    fn sleep(&self, time: Duration) {
        thread::sleep(time);
    }
}

/// What the engine runs on.
#[derive(Clone)]
pub(crate) struct Environment {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) random: Arc<dyn Fn() -> u64 + Send + Sync>,
    /// Whether threads may be started; without them the callers' threads do the chores.
    pub(crate) threads: bool,
}

impl Environment {
    pub(crate) fn system() -> Self {
        Environment {
            disk: Arc::new(OsDisk),
            clock: Arc::new(SystemClock),
            random: Arc::new(system_random),
            threads: true,
        }
    }
}

pub(crate) fn system_random() -> u64 {
    let mut bytes = [0u8; 8];
    match rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()) {
        Ok(8) => u64::from_le_bytes(bytes),
        // No entropy source: ids need to differ, not to be secret.
        _ => {
            let now = clock_gettime(ClockId::Realtime);
            let seed = (now.tv_sec.cast_unsigned() << 30) ^ now.tv_nsec.cast_unsigned();
            (seed ^ u64::from(std::process::id()).rotate_left(40)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
        }
    }
}

/// A value in cache lines of its own: what one thread writes all the time must not sit beside what another reads.
#[repr(align(128))]
pub(crate) struct CachePadded<T>(pub(crate) T);

impl<T> std::ops::Deref for CachePadded<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}

/// Locks a mutex that is held for some tens of nanoseconds, again and again.
///
/// Who finds it taken goes out of the way for a moment rather than queue: a queue would cost every release a system
/// call, and a handover to another core costs more than the work done under the lock. Whoever has had no luck for
/// long queues after all.
#[inline]
pub(crate) fn lock_briefly<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    match mutex.try_lock() {
        Ok(guard) => guard,
        Err(_) => wait_briefly(mutex),
    }
}

#[cold]
fn wait_briefly<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    const SPINS: u32 = 3;
    const TURNS: u32 = 20;
    for _ in 0..SPINS {
        std::hint::spin_loop();
        if let Ok(guard) = mutex.try_lock() {
            return guard;
        }
    }
    for _ in 0..TURNS {
        thread::sleep(Duration::from_micros(20));
        if let Ok(guard) = mutex.try_lock() {
            return guard;
        }
    }
    lock(mutex)
}

/// Locks a mutex. A panic while it was held is reported by the operation that panicked; what the mutex
/// guards here stays consistent, because every update ends in plain assignments.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
