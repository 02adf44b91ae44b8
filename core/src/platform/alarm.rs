//! A descriptor that a program can poll, and that becomes readable at a time that is set.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

use super::descriptors::apart_from_streams;

/// One descriptor does for "now" and for "later", so that an event loop needs no timer beside it.
pub(crate) struct Alarm {
    timer: OwnedFd,
}

impl Alarm {
    /// One that is not readable.
    pub(crate) fn new() -> io::Result<Alarm> {
        // The engine's own clock, which goes on while the machine is suspended.
        let create = || Ok(timerfd_create(TimerfdClockId::Boottime, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?);
        Ok(Alarm { timer: apart_from_streams(create)? })
    }

    /// Readable after `wait`, and from then on; until then not. `None`: not at all.
    pub(crate) fn set(&self, wait: Option<Duration>) {
        let never = Timespec { tv_sec: 0, tv_nsec: 0 };
        let value = wait.map_or(never, |wait| {
            // Zero would be never.
            let wait = wait.max(Duration::from_nanos(1));
            let tv_sec = i64::try_from(wait.as_secs()).unwrap_or(i64::MAX);
            Timespec { tv_sec, tv_nsec: wait.subsec_nanos().into() }
        });
        let setting = Itimerspec { it_interval: never, it_value: value };
        // What is set is a time, on a timer that is open: there is nothing to go wrong.
        let _ = timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &setting);
    }
}

impl AsFd for Alarm {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.timer.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use rustix::event::{PollFd, PollFlags, poll};

    use super::*;

    fn is_readable(alarm: &Alarm, within: Duration) -> bool {
        let within = Timespec { tv_sec: within.as_secs().cast_signed(), tv_nsec: within.subsec_nanos().into() };
        poll(&mut [PollFd::new(alarm, PollFlags::IN)], Some(&within)).unwrap() == 1
    }

    const PATIENCE: Duration = Duration::from_secs(60);

    #[test]
    fn it_is_readable_from_the_time_that_is_set_until_another_is() {
        let alarm = Alarm::new().unwrap();
        assert!(!is_readable(&alarm, Duration::ZERO));
        alarm.set(Some(Duration::ZERO));
        assert!(is_readable(&alarm, PATIENCE) && is_readable(&alarm, PATIENCE));
        alarm.set(Some(Duration::MAX));
        assert!(!is_readable(&alarm, Duration::ZERO));
        alarm.set(Some(Duration::from_millis(20)));
        assert!(is_readable(&alarm, PATIENCE));
        alarm.set(None);
        assert!(!is_readable(&alarm, Duration::from_millis(50)));
    }
}
