//! Random numbers of the operating system.

use rustix::rand::{GetRandomFlags, getrandom};
use rustix::time::{ClockId, clock_gettime};

/// A random number for an id or a jitter: unlikely to come twice, but no secret.
pub(crate) fn system_random() -> u64 {
    let mut bytes = [0u8; 8];
    match getrandom(&mut bytes, GetRandomFlags::empty()) {
        Ok(8) => u64::from_le_bytes(bytes),
        // The system has no random numbers yet: the time and the pid at least differ from one process to the next.
        _ => {
            let now = clock_gettime(ClockId::Realtime);
            let seed = (now.tv_sec.cast_unsigned() << 30) ^ now.tv_nsec.cast_unsigned();
            (seed ^ u64::from(std::process::id()).rotate_left(40)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
        }
    }
}
