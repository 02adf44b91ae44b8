//! Events on their way to `logging` and to the verbose output of a put.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use pyo3::prelude::*;
use pyo3::types::PyString;
use unistream::{Error, Event, Level};

use crate::bell::Bell;
use crate::error::Raised;
use crate::sync::lock;

thread_local! {
    /// Who listens to the put that this thread is in.
    static WATCHER: RefCell<Option<Py<PyAny>>> = const { RefCell::new(None) };
}

/// Runs `put` with `watcher(name, value)` called for each event on this thread.
pub(crate) fn watched<T>(watcher: Py<PyAny>, put: impl FnOnce() -> T) -> T {
    struct Unset;
    impl Drop for Unset {
        fn drop(&mut self) {
            WATCHER.take();
        }
    }
    WATCHER.set(Some(watcher));
    let _unset = Unset;
    put()
}

/// Events that `logging` is to hear of, for the thread that tells it.
///
/// A handler of the program's may be slow, hold a lock that a thread waiting in `put` holds, or put into this very
/// producer: none of that may happen on the thread that sends.
#[pyclass(frozen, module = "unistream._native")]
pub(crate) struct Events {
    core: Arc<Queue>,
}

#[derive(Default)]
pub(crate) struct Queue {
    state: Mutex<Waiting>,
    changed: Condvar,
    bell: Bell,
}

#[derive(Default)]
struct Waiting {
    entries: VecDeque<Entry>,
    /// Entries that found no room.
    dropped: u64,
    /// The thread that tells is at it.
    telling: bool,
    /// The interpreter ends, and nobody is told any more.
    closed: bool,
}

struct Entry {
    level: Level,
    message: String,
    error: Option<Error>,
}

/// The most entries that wait: who is that slow does not read them one by one.
const MOST: usize = 1000;

impl Queue {
    fn push(&self, entry: Entry) {
        let mut state = lock(&self.state);
        if state.closed {
            return;
        }
        if state.entries.len() == MOST {
            state.dropped += 1;
        } else {
            state.entries.push_back(entry);
        }
        self.changed.notify_all();
        self.bell.ring();
    }
}

#[pymethods]
impl Events {
    /// With a `bell` for a greenlet that tells them, or without.
    #[new]
    fn new(bell: bool) -> PyResult<Self> {
        let queue = Queue { bell: Bell::new(bell)?, ..Queue::default() };
        Ok(Events { core: Arc::new(queue) })
    }

    /// The descriptor that can be read when there is an event; the caller owns it from now on.
    fn detach_bell(&self) -> Option<i32> {
        self.core.bell.detach()
    }

    /// The next event: level, message and exception. Waits for one if `wait`. `None`: there is none, or there will be none.
    fn next<'py>(&self, py: Python<'py>, wait: bool) -> Option<(u8, String, Option<Bound<'py, PyAny>>)> {
        let entry = py.detach(|| {
            let mut state = lock(&self.core.state);
            state.telling = false;
            if wait {
                let empty = |state: &mut Waiting| state.entries.is_empty() && state.dropped == 0 && !state.closed;
                state = self.core.changed.wait_while(state, empty).unwrap_or_else(PoisonError::into_inner);
            }
            let entry = state.entries.pop_front().or_else(|| {
                let dropped = std::mem::take(&mut state.dropped);
                let message = format!("{dropped} events were not logged: the handlers are slower than the events");
                (dropped > 0).then_some(Entry { level: Level::Warning, message, error: None })
            });
            state.telling = entry.is_some();
            entry
        })?;
        let raised = entry.error.as_ref().and_then(Raised::of).map(|error| error.value(py).clone().into_any());
        Some((number(entry.level), entry.message, raised))
    }

    /// Ends the thread that tells, once it has told what waits.
    fn close(&self) {
        lock(&self.core.state).closed = true;
        self.core.changed.notify_all();
        self.core.bell.ring();
    }

    /// Whether nothing waits and nothing is being told.
    #[getter]
    fn idle(&self) -> bool {
        let state = lock(&self.core.state);
        state.entries.is_empty() && state.dropped == 0 && !state.telling
    }
}

impl Events {
    /// The core's observer.
    ///
    /// `log_from` is the least level that goes to `logging`, decided when the producer opens.
    /// `sink` is the sink's name, for the events that speak of what it did.
    pub(crate) fn observer(&self, log_from: Level, sink: String) -> impl Fn(&Event<'_>) + Send + Sync + 'static {
        let queue = self.core.clone();
        move |event| {
            if WATCHER.with_borrow(Option::is_some) {
                // None: the interpreter is shutting down, and there is nobody left to tell.
                let _ = Python::try_attach(|py| {
                    if let Err(error) = tell(py, event) {
                        error.write_unraisable(py, None);
                    }
                });
            }
            if event.level() >= log_from {
                let error = match event {
                    Event::Skipped { error, .. } | Event::Stopped { error } => Some((*error).clone()),
                    _ => None,
                };
                let mut message = event.message();
                let speaks_of_the_sink = matches!(
                    event,
                    Event::SendFailed { .. }
                        | Event::Rejected { .. }
                        | Event::Skipped { .. }
                        | Event::SinkDown { .. }
                        | Event::SinkUp { .. }
                );
                if speaks_of_the_sink {
                    message.push_str(&format!(" [sink {sink}]"));
                }
                queue.push(Entry { level: event.level(), message, error });
            }
        }
    }
}

fn tell(py: Python<'_>, event: &Event<'_>) -> PyResult<()> {
    let watcher = WATCHER.with_borrow(|watcher| watcher.as_ref().map(|watcher| watcher.clone_ref(py)));
    let Some(watcher) = watcher else { return Ok(()) };
    let value = match event {
        Event::SendStarted { batch } => {
            batch.iter().map(|record| record.id().into_owned()).collect::<Vec<_>>().into_pyobject(py)?
        }
        Event::SendFailed { error, .. } => match Raised::of(error) {
            Some(raised) => raised.value(py).clone().into_any(),
            None => PyString::new(py, &error.to_string()).into_any(),
        },
        _ => py.None().into_bound(py),
    };
    watcher.bind(py).call1((event.name(), value)).map(drop)
}

/// The level's number in `logging`.
fn number(level: Level) -> u8 {
    match level {
        Level::Debug => 10,
        Level::Info => 20,
        Level::Warning => 30,
        Level::Error => 40,
    }
}

/// The least level that a logger with this threshold wants.
pub(crate) fn level(threshold: u8) -> Level {
    let levels = [Level::Debug, Level::Info, Level::Warning];
    levels.into_iter().find(|level| number(*level) >= threshold).unwrap_or(Level::Error)
}
