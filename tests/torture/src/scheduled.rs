//! Locks, condition variables, atomics and threads under a scheduler (shuttle), which owns the time as well.
//!
//! Shuttle has no time of its own: its time-outs never fire. Here a wait with a time-out sets an alarm, and one more thread,
//! [`keep_time`], moves the time to the next alarm and rings it, when the scheduler lets it: when every other thread waits,
//! or, where a schedule wants time to pass, while others could run. So a wake-up that is lost shows: either time has passed
//! that should not have, or no alarm is left and the schedule is a deadlock.
//!
//! All threads of an execution are run by one thread of the system, one at a time, so that what is kept here needs no
//! lock; nothing here is borrowed across a point where another thread may go on.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, LockResult, PoisonError};
use std::time::Duration;

use shuttle::rand::RngCore as _;
pub(crate) use shuttle::sync::{Mutex, MutexGuard};
pub(crate) use shuttle::thread_local;

pub(crate) mod atomic {
    use shuttle::rand::{RngCore as _, thread_rng};
    pub(crate) use shuttle::sync::atomic::{AtomicI64, AtomicU8, AtomicU64, Ordering};

    pub(crate) struct AtomicBool(shuttle::sync::atomic::AtomicBool);

    impl Default for AtomicBool {
        fn default() -> Self {
            AtomicBool::new(false)
        }
    }

    impl AtomicBool {
        pub(crate) fn new(value: bool) -> Self {
            AtomicBool(shuttle::sync::atomic::AtomicBool::new(value))
        }

        pub(crate) fn load(&self, order: Ordering) -> bool {
            self.0.load(order)
        }

        pub(crate) fn swap(&self, value: bool, order: Ordering) -> bool {
            self.0.swap(value, order)
        }

        /// The engine stores with `SeqCst` only to say that a thread has found nothing to do and wants to be woken. It must not
        /// miss what happens between that look and this store, so others are often scheduled here.
        pub(crate) fn store(&self, value: bool, order: Ordering) {
            if order == Ordering::SeqCst && thread_rng().next_u64().is_multiple_of(2) {
                super::pause();
            }
            self.0.store(value, order);
        }
    }
}

/// When every execution begins.
const BEGIN: Duration = Duration::from_secs(1000);

/// The most time that passes while threads could go on: less than what a close waits for its senders, so that no
/// schedule is a stall of the whole machine.
const HURRIED: Duration = Duration::from_secs(1);

#[derive(Default)]
struct Time {
    now: Cell<Duration>,
    alarms: RefCell<BTreeMap<(Duration, u64), Alarm>>,
    set: Cell<u64>,
    idle: Cell<bool>,
    ringing: Cell<bool>,
    hurried: Cell<Duration>,
    over: Cell<bool>,
}

std::thread_local! {
    static TIME: Time = Time::default();
}

#[derive(Clone)]
struct Alarm {
    rung: Arc<AtomicBool>,
    condvar: Arc<Inner>,
}

/// Since the machine's start, in the execution under way.
pub(crate) fn now() -> Duration {
    TIME.with(|time| time.now.get())
}

/// How much time has passed since the execution began.
pub(crate) fn elapsed() -> Duration {
    now() - BEGIN
}

/// Begins an execution.
pub(crate) fn begin() {
    TIME.with(|time| {
        time.now.set(BEGIN);
        time.alarms.borrow_mut().clear();
        time.hurried.set(Duration::ZERO);
        time.ringing.set(false);
        time.over.set(false);
    });
}

/// Ends it, so that [`keep_time`] returns.
pub(crate) fn end() {
    TIME.with(|time| time.over.set(true));
}

/// The scheduler tells whether every thread but the one that keeps the time waits.
pub(crate) fn set_idle(idle: bool) {
    TIME.with(|time| time.idle.set(idle));
}

/// Whether alarms of one instant are being rung: until all are, nobody that they wake goes on.
pub(crate) fn is_ringing() -> bool {
    TIME.with(|time| time.ringing.get())
}

/// A point where another thread may go on.
pub(crate) fn pause() {
    shuttle::thread::sleep(Duration::ZERO);
}

/// Stands for what takes long in reality, such as a sync or making a file: others often run meanwhile, for longer than
/// chance alone would let them.
pub(crate) fn take_long() {
    let pauses = [0, 1, 5, 20][shuttle::rand::thread_rng().next_u64() as usize % 4];
    (0..pauses).for_each(|_| pause());
}

/// Rings the next alarm whenever it is scheduled, and all others of the same instant: the threads that they wake go on in any order. To be
/// run by the first thread that an execution starts.
pub(crate) fn keep_time() {
    while !TIME.with(|time| time.over.get()) {
        // An alarm stays until the thread that set it has seen it: that thread may not have begun to wait yet.
        let due = TIME.with(|time| {
            let alarms = time.alarms.borrow();
            let next = alarms.first_key_value();
            assert!(next.is_some() || !time.idle.get(), "every thread waits, and for nothing that will come");
            let Some(((at, _), _)) = next else { return Vec::new() };
            let now = time.now.get().max(*at);
            if !time.idle.get() {
                let hurried = time.hurried.get() + now.saturating_sub(time.now.get());
                if hurried > HURRIED {
                    return Vec::new();
                }
                time.hurried.set(hurried);
            }
            time.now.set(now);
            alarms.range(..=(now, u64::MAX)).map(|(_, alarm)| alarm.clone()).collect()
        });
        TIME.with(|time| time.ringing.set(true));
        for alarm in due {
            alarm.rung.store(true, SeqCst);
            alarm.condvar.waiting.notify_all();
        }
        TIME.with(|time| time.ringing.set(false));
        shuttle::thread::yield_now();
    }
}

#[derive(Default)]
struct Inner {
    waiting: shuttle::sync::Condvar,
    notified: AtomicU64,
}

#[derive(Default)]
pub(crate) struct Condvar(Arc<Inner>);

impl Condvar {
    pub(crate) fn new() -> Self {
        Condvar::default()
    }

    pub(crate) fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> LockResult<MutexGuard<'a, T>> {
        self.wait_for(guard, None).map(|(guard, _)| guard).map_err(|error| PoisonError::new(error.into_inner().0))
    }

    /// As the standard library's, but for the second part of the result, which says whether the time was over.
    pub(crate) fn wait_timeout<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        limit: Duration,
    ) -> LockResult<(MutexGuard<'a, T>, bool)> {
        self.wait_for(guard, Some(limit))
    }

    fn wait_for<'a, T>(
        &self,
        mut guard: MutexGuard<'a, T>,
        limit: Option<Duration>,
    ) -> LockResult<(MutexGuard<'a, T>, bool)> {
        let rung = Arc::new(AtomicBool::new(false));
        let alarm = limit.map(|limit| {
            TIME.with(|time| {
                let at = (time.now.get().saturating_add(limit), time.set.get());
                time.set.set(at.1 + 1);
                time.alarms.borrow_mut().insert(at, Alarm { rung: rung.clone(), condvar: self.0.clone() });
                at
            })
        });
        // An alarm wakes all that wait here; those whom it does not concern go on waiting.
        let before = self.0.notified.load(SeqCst);
        while self.0.notified.load(SeqCst) == before && !rung.load(SeqCst) {
            guard = self.0.waiting.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
        if let Some(at) = alarm {
            TIME.with(|time| time.alarms.borrow_mut().remove(&at));
        }
        let over = rung.load(SeqCst);
        Ok((guard, over))
    }

    pub(crate) fn notify_all(&self) {
        // In one step with the notification: the model lets others go on before it, not within.
        self.0.notified.fetch_add(1, SeqCst);
        self.0.waiting.notify_all();
    }
}

pub(crate) mod thread {
    use std::cell::RefCell;
    use std::ffi::CStr;
    use std::io;
    use std::sync::Arc;
    use std::time::Duration;

    use super::atomic::{AtomicBool, Ordering};
    use super::{Condvar, Mutex, now};
    use crate::platform::lock;

    pub(crate) use shuttle::thread::yield_now;

    #[derive(Default)]
    struct Parker {
        token: Mutex<bool>,
        given: Condvar,
    }

    shuttle::thread_local! {
        static SELF: RefCell<Option<Thread>> = RefCell::new(None);
    }

    #[derive(Clone, Default)]
    pub(crate) struct Thread(Arc<Parker>);

    impl Thread {
        pub(crate) fn unpark(&self) {
            *lock(&self.0.token) = true;
            self.0.given.notify_all();
        }
    }

    pub(crate) struct JoinHandle {
        handle: shuttle::thread::JoinHandle<()>,
        thread: Thread,
        finished: Arc<AtomicBool>,
    }

    impl JoinHandle {
        pub(crate) fn thread(&self) -> &Thread {
            &self.thread
        }

        pub(crate) fn is_finished(&self) -> bool {
            self.finished.load(Ordering::Acquire)
        }

        pub(crate) fn join(self) {
            let _ = self.handle.join();
        }
    }

    pub(crate) fn start(name: &CStr, body: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle> {
        let thread = Thread::default();
        let finished = Arc::new(AtomicBool::new(false));
        let (this, done) = (thread.clone(), finished.clone());
        let body = move || {
            SELF.with(|own| *own.borrow_mut() = Some(this));
            body();
            done.store(true, Ordering::Release);
        };
        let name = name.to_string_lossy().into_owned();
        let handle = shuttle::thread::Builder::new().name(name).spawn(body)?;
        Ok(JoinHandle { handle, thread, finished })
    }

    fn wait(limit: Option<Duration>) {
        let Thread(own) = SELF.with(|own| own.borrow_mut().get_or_insert_default().clone());
        let mut token = lock(&own.token);
        if !*token {
            token = match limit {
                Some(limit) => own.given.wait_timeout(token, limit).unwrap_or_else(|error| error.into_inner()).0,
                None => own.given.wait(token).unwrap_or_else(|error| error.into_inner()),
            };
        }
        *token = false;
    }

    pub(crate) fn park() {
        wait(None);
    }

    pub(crate) fn park_timeout(limit: Duration) {
        wait(Some(limit));
    }

    pub(crate) fn sleep(time: Duration) {
        let (nobody, never) = (Mutex::new(()), Condvar::new());
        let until = now().saturating_add(time);
        while let Some(left) = until.checked_sub(now()).filter(|left| !left.is_zero()) {
            drop(never.wait_timeout(lock(&nobody), left));
        }
    }
}
