//! The keys in use: asked for early and by one thread, while the others go on with those that still last.

use std::error::Error as StdError;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use super::chain::Chain;
use super::fetch::Fetch;
use crate::sink::aws::keys::Credentials;
use crate::sink::net::environment::Environment;
use crate::sink::net::trust::Trust;

/// A closure that knows the keys.
pub(in crate::sink::aws) type CredentialsFn =
    dyn Fn() -> Result<Credentials, Box<dyn StdError + Send + Sync>> + Send + Sync;

/// Where the keys come from.
#[derive(Clone)]
pub(in crate::sink::aws) enum Source {
    /// Given as options.
    Fixed(Credentials),
    /// Asked before every call, unless it says when its answer expires.
    Function(Arc<CredentialsFn>),
    /// What the AWS tools look at, with the profile that an option names.
    Chain { profile: String },
}

/// Keys are renewed so long before they expire.
const EARLY: Duration = Duration::from_secs(300);

/// How long a source that failed is not asked again while there are keys to use. It doubles with each failure.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The keys in use.
pub(in crate::sink::aws) struct Keys {
    source: Source,
    chain: Chain,
    state: Mutex<State>,
    /// Signalled when the source has answered, and to interrupt waiting threads.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    keys: Option<Credentials>,
    /// Whether a thread is asking the source.
    asking: bool,
    /// Whether the source gives keys for one call only: a closure that names no time of expiry.
    each_call: bool,
    /// Do not ask the source before this while there are keys to use.
    pause: Option<Instant>,
    /// How often the source has failed in a row.
    failures: u32,
    /// How often the source has answered, and its error if the last answer was one.
    asked: u64,
    error: String,
    interrupts: u64,
}

impl Keys {
    pub(in crate::sink::aws) fn new(source: Source, region: &str, environment: &Environment, trust: &Trust) -> Self {
        let chain = Chain { fetch: Fetch::new(environment, trust), region: region.into() };
        Keys { source, chain, state: Mutex::default(), changed: Condvar::new() }
    }

    /// Returns keys to sign with. When they are about to expire, one thread asks the source for new ones while the others go
    /// on with the old ones. Without usable keys, threads wait for the one that asks, and share its answer.
    pub(in crate::sink::aws) fn get(&self) -> Result<Credentials, String> {
        if let Source::Fixed(keys) = &self.source {
            return Ok(keys.clone());
        }
        let mut state = self.lock();
        let (interrupts, asked) = (state.interrupts, state.asked);
        loop {
            let usable = state.keys.clone().filter(|keys| self.is_usable(keys));
            match usable {
                Some(keys) if keys.last(EARLY) || state.asking || state.is_paused() => return Ok(keys),
                None if state.interrupts != interrupts => return Err("interrupted".into()),
                // This thread waited for an answer, which was an error: asking again would only repeat it.
                None if state.asked != asked && !state.error.is_empty() => return Err(state.error.clone()),
                None if state.asking && !state.each_call => {
                    state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
                old => {
                    state.asking = true;
                    drop(state);
                    return self.renew(old);
                }
            }
        }
    }

    /// Asks the source. If it fails, returns the old keys if there are any.
    fn renew(&self, old: Option<Credentials>) -> Result<Credentials, String> {
        let asking = Asking(self);
        let answer = self.ask();
        let mut state = self.lock();
        state.asked += 1;
        let answer = match answer {
            Ok(keys) => {
                state.error.clear();
                state.failures = 0;
                state.each_call = keys.expires_at.is_none() && matches!(self.source, Source::Function(_));
                state.pause = keys.pause();
                state.keys = Some(keys.clone()).filter(|_| !state.each_call);
                Ok(keys)
            }
            Err(error) => {
                let pause = FIRST_PAUSE.saturating_mul(1 << state.failures.min(10)).min(LONGEST_PAUSE);
                state.failures += 1;
                state.pause = Some(Instant::now() + pause);
                state.error.clone_from(&error);
                // Not if the service has refused them meanwhile.
                old.filter(|_| state.keys.is_some()).ok_or(error)
            }
        };
        drop(state);
        drop(asking);
        answer
    }

    /// The service refused these keys: the next call asks the source.
    pub(in crate::sink::aws) fn refused(&self, keys: &Credentials) {
        let mut state = self.lock();
        // Ignore the refusal of keys that have been replaced meanwhile.
        if state.keys.as_ref().is_some_and(|current| current.is(keys)) {
            state.keys = None;
        }
    }

    /// Makes waiting threads return an error, and ends a question to a source over the network.
    pub(in crate::sink::aws) fn interrupt(&self) {
        self.lock().interrupts += 1;
        self.changed.notify_all();
        self.chain.fetch.interrupt();
    }

    /// Whether keys can be signed with. Those that the chain found are used even after they have expired, if it finds no
    /// others: AWS accepts some for longer while the metadata service fails, and says so if it does not.
    fn is_usable(&self, keys: &Credentials) -> bool {
        keys.last(Duration::ZERO) || matches!(self.source, Source::Chain { .. })
    }

    fn ask(&self) -> Result<Credentials, String> {
        match &self.source {
            Source::Fixed(keys) => Ok(keys.clone()),
            Source::Function(function) => function().map_err(|error| error.to_string()),
            Source::Chain { profile } => self.chain.ask(profile),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_paused(&self) -> bool {
        self.pause.is_some_and(|pause| Instant::now() < pause)
    }
}

impl Credentials {
    /// How long not to ask a source again that has just given these keys, if they are about to expire: a quarter of what is
    /// left.
    fn pause(&self) -> Option<Instant> {
        let left = self.expires_at?.duration_since(SystemTime::now()).unwrap_or_default();
        (left <= EARLY).then(|| Instant::now() + (left / 4).clamp(FIRST_PAUSE, LONGEST_PAUSE))
    }
}

/// Clears `asking` when dropped, also if a closure panics, and wakes the waiting threads.
struct Asking<'a>(&'a Keys);

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.0.lock().asking = false;
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::thread;

    use super::*;

    fn keys(function: impl Fn(u64) -> Result<Credentials, String> + Send + Sync + 'static) -> (Keys, Arc<AtomicU64>) {
        let count = Arc::new(AtomicU64::new(0));
        let counter = count.clone();
        let function: Arc<CredentialsFn> =
            Arc::new(move || function(counter.fetch_add(1, Ordering::SeqCst)).map_err(Into::into));
        (Keys::new(Source::Function(function), "eu-west-1", &Environment::empty(), &Trust::default()), count)
    }

    fn lasting(id: u64, seconds: u64) -> Credentials {
        Credentials::new(id.to_string(), "secret").expires_at(SystemTime::now() + Duration::from_secs(seconds))
    }

    /// The bug: all senders waited behind the one that asked, for as long as its source took.
    #[test]
    fn one_thread_renews_while_the_others_go_on() {
        let gate = Arc::new(Barrier::new(2));
        let wait = gate.clone();
        let (keys, count) = keys(move |nth| {
            if nth > 0 {
                wait.wait();
                wait.wait();
            }
            Ok(lasting(nth, if nth > 0 { 3600 } else { 100 }))
        });
        assert_eq!(keys.get().unwrap().access_key_id, "0");
        keys.lock().pause = None;
        thread::scope(|scope| {
            let renewing = scope.spawn(|| keys.get().unwrap().access_key_id);
            gate.wait();
            for _ in 0..100 {
                assert_eq!(keys.get().unwrap().access_key_id, "0", "the old ones still last");
            }
            gate.wait();
            assert_eq!(renewing.join().unwrap(), "1");
        });
        assert_eq!(keys.get().unwrap().access_key_id, "1");
        assert_eq!(count.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn threads_without_keys_wait_for_one_answer_and_share_it() {
        for good in [true, false] {
            let (keys, count) = keys(move |nth| {
                thread::sleep(Duration::from_millis(300));
                if good { Ok(lasting(nth, 3600)) } else { Err(format!("no {nth}")) }
            });
            let barrier = Barrier::new(8);
            let answers: Vec<_> = thread::scope(|scope| {
                let ask = || {
                    barrier.wait();
                    keys.get().map(|keys| keys.access_key_id)
                };
                let threads: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            assert!(answers.iter().all(|answer| answer.is_ok() == good), "{answers:?}");
            // A thread that was held up past the answer asks again where that was an error.
            assert!(count.load(Ordering::SeqCst) < 8, "{answers:?}");
        }
    }

    #[test]
    fn a_source_that_fails_is_left_alone_while_there_are_keys() {
        let (keys, count) = keys(|nth| if nth == 0 { Ok(lasting(nth, 100)) } else { Err("away".into()) });
        keys.get().unwrap();
        for failures in 1..4 {
            keys.lock().pause = None;
            for _ in 0..50 {
                assert_eq!(keys.get().unwrap().access_key_id, "0");
            }
            assert_eq!(count.load(Ordering::SeqCst), 1 + failures);
            let pause = keys.lock().pause.unwrap().duration_since(Instant::now());
            assert!(pause > Duration::from_millis((1 << (failures - 1)) * 500), "{pause:?}");
        }
    }

    #[test]
    fn keys_that_the_service_refused_are_not_used_again() {
        let (keys, count) = keys(|nth| Ok(lasting(nth, 3600)));
        let first = keys.get().unwrap();
        keys.refused(&first);
        let second = keys.get().unwrap();
        assert_eq!(second.access_key_id, "1");
        keys.refused(&first);
        assert_eq!(keys.get().unwrap().access_key_id, "1", "a late refusal of the first");
        assert_eq!(count.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn an_interrupt_ends_the_wait_for_a_source_that_hangs() {
        let gate = Arc::new(Barrier::new(2));
        let wait = gate.clone();
        let (keys, _) = keys(move |nth| {
            wait.wait();
            wait.wait();
            Ok(lasting(nth, 3600))
        });
        thread::scope(|scope| {
            let asking = scope.spawn(|| keys.get());
            gate.wait();
            let waiting = scope.spawn(|| keys.get());
            while !waiting.is_finished() {
                keys.interrupt();
                thread::sleep(Duration::from_millis(5));
            }
            assert_eq!(waiting.join().unwrap().unwrap_err(), "interrupted");
            gate.wait();
            assert!(asking.join().unwrap().is_ok());
        });
    }

    #[test]
    fn a_closure_that_panics_does_not_stop_the_next_call() {
        let (keys, _) = keys(|nth| if nth == 0 { panic!("in a test") } else { Ok(lasting(nth, 3600)) });
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| keys.get())).is_err());
        assert_eq!(keys.get().unwrap().access_key_id, "1");
    }
}
