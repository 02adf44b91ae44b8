//! Events on their way to `logging` and to the verbose output of a put.

use std::cell::RefCell;

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyString;
use unistream::{Event, Level};

use crate::error::Raised;

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

/// The core's observer.
///
/// `log_from` is the least level that goes to `logging`, decided when the producer opens: asking the logger each time
/// would take the GIL for every batch.
pub(crate) fn observer(log_from: Level) -> impl Fn(&Event<'_>) + Send + Sync + 'static {
    move |event| {
        let watched = WATCHER.with_borrow(Option::is_some);
        let logged = event.level() >= log_from;
        if watched || logged {
            // None: the interpreter is shutting down, and there is nobody left to tell.
            let _ = Python::try_attach(|py| {
                let told = tell(py, event, watched).and_then(|()| if logged { log(py, event) } else { Ok(()) });
                if let Err(error) = told {
                    error.write_unraisable(py, None);
                }
            });
        }
    }
}

fn tell(py: Python<'_>, event: &Event<'_>, watched: bool) -> PyResult<()> {
    let watcher = WATCHER.with_borrow(|watcher| watcher.as_ref().map(|watcher| watcher.clone_ref(py)));
    let Some(watcher) = watcher.filter(|_| watched) else { return Ok(()) };
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

fn log(py: Python<'_>, event: &Event<'_>) -> PyResult<()> {
    static LOG: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let error = match event {
        Event::Skipped { error, .. } | Event::Stopped { error } => Raised::of(error),
        _ => None,
    };
    let error = error.map(|error| error.value(py).clone());
    let log = LOG.import(py, "unistream._logging", "log")?;
    log.call1((number(event.level()), event.message(), error)).map(drop)
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
