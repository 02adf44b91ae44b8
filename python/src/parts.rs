//! What a producer is made of in one process. A forked child of a process with a shared producer opens its own in the same
//! way, from Python, since nothing of its parent's can be used there: no thread, no lock, no queue of events.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use pyo3::prelude::*;
use pyo3::types::PyDict;
use unistream::{Durability, Error, ErrorKind, Limits, Mode, sink};

use crate::channel::{Channel, Exchange};
use crate::error::{OrRaise, raise};
use crate::event::{self, Events};
use crate::judge::{Direct, Judge};
use crate::options;
use crate::sink::{Lease, NativeSink};

/// The longest wait without a look at signals: how long Ctrl-C may take.
const SLICE: Duration = Duration::from_millis(50);
/// The longest sleep of a greenlet between two looks.
const LOOK: Duration = Duration::from_millis(10);

pub(crate) struct Parts {
    /// Taken out only by drop.
    core: Option<unistream::Producer>,
    /// The sink, where it is a Python callable on threads of its own.
    exchange: Option<Arc<Exchange>>,
    /// The sink, where it is a native one.
    lease: Option<Arc<Lease>>,
    /// The sink, where it is a Python callable on the caller's thread.
    direct: Option<Arc<Direct>>,
    /// Judges what the program says in manual mode.
    pub(crate) judge: Judge,
    /// Sleeps for some seconds and lets other greenlets run, in a process whose threads are greenlets.
    pause: Option<Py<PyAny>>,
    /// Every put may wait, for a sync or for the sink: the GIL is released for each.
    pub(crate) put_waits: bool,
    /// How long a put waits for space.
    pub(crate) full_timeout: Duration,
}

/// The parts of each process, from the one that made the producer down to this one. Those of its ancestors are never dropped here.
#[derive(Default)]
pub(crate) struct Chain(OnceLock<Box<Link>>);

struct Link {
    parts: Parts,
    of_child: Chain,
}

impl Chain {
    /// The last ones; `None` until there are any.
    #[inline]
    pub(crate) fn current(&self) -> Option<&Parts> {
        let mut link = self.0.get()?;
        while let Some(next) = link.of_child.0.get() {
            link = next;
        }
        Some(&link.parts)
    }

    fn push(&self, parts: Parts) {
        let mut end = self;
        while let Some(link) = end.0.get() {
            end = &link.of_child;
        }
        // Who opens sees to it that no other thread does.
        let _ = end.0.set(Box::new(Link { parts, of_child: Chain::default() }));
    }
}

/// Opens the producer in this process. Python calls it, under a lock.
#[pyclass(frozen, module = "unistream._native")]
pub(crate) struct Opener {
    chain: Arc<Chain>,
}

impl Opener {
    pub(crate) fn new(chain: Arc<Chain>) -> Self {
        Opener { chain }
    }
}

#[pymethods]
impl Opener {
    /// Whether nobody in this process has opened it yet.
    #[getter]
    fn needed(&self) -> bool {
        self.chain.current().is_none_or(|parts| parts.core().is_forked())
    }

    /// How many batches may be in flight, once it is open.
    #[getter]
    fn max_in_flight(&self) -> u64 {
        self.chain.current().map_or(1, |parts| parts.core().options().max_in_flight)
    }

    /// `sink` is a native sink, a channel, a callable for inline mode, or `None` for manual mode; `unavailable` a
    /// function that judges exceptions before the table does; `prepare` what such a callable keeps with a batch.
    #[allow(clippy::too_many_arguments)]
    fn open(
        &self,
        py: Python<'_>,
        path: PathBuf,
        sink: Option<&Bound<'_, PyAny>>,
        name: String,
        unavailable: Option<Py<PyAny>>,
        prepare: Option<Py<PyAny>>,
        keywords: &Bound<'_, PyDict>,
        events: &Events,
        log_threshold: u8,
        pause: Option<Py<PyAny>>,
    ) -> PyResult<()> {
        let options = options::from_dict(keywords)?;
        let put_waits = options.mode == Mode::Inline || options.durability == Durability::Always;
        let full_timeout = options.put_timeout();
        let native = sink.and_then(|sink| sink.cast::<NativeSink>().ok());
        let shown = native.map_or_else(|| name.clone(), |native| native.get().core.name().into_owned());
        let observer =
            events.observer(event::level(log_threshold), if sink.is_none() { "manual".into() } else { shown });
        let builder = unistream::Producer::builder(path).options(options).observer(observer).put_events(false);
        let (mut exchange, mut lease, mut direct) = (None, None, None);
        let added = unavailable.as_ref().map(|added| added.clone_ref(py));
        let core = match sink {
            None => py.detach(|| builder.open_manual(Limits::default())),
            Some(sink) => {
                if let Some(native) = native {
                    let sink = if self.chain.current().is_some() || native.get().is_parents() {
                        renewed(py, native.get())?
                    } else {
                        Lease::new(native.get())
                    };
                    lease = Some(sink.clone());
                    py.detach(|| builder.open(sink))
                } else if let Ok(channel) = sink.cast::<Channel>() {
                    let sink = channel.get().core.clone();
                    exchange = Some(sink.clone());
                    py.detach(|| builder.open(sink))
                } else {
                    let sink = Arc::new(Direct::new(sink.clone().unbind(), prepare, Judge::new(name, added)));
                    direct = Some(sink.clone());
                    py.detach(|| builder.open(sink))
                }
            }
        };
        let judge = Judge::new("manual".into(), unavailable);
        let core = Some(core.or_raise(py)?);
        self.chain.push(Parts { core, exchange, lease, direct, judge, pause, put_waits, full_timeout });
        Ok(())
    }
}

/// The sink of a forked child, in place of the one that its parent made.
fn renewed(py: Python<'_>, parents: &NativeSink) -> PyResult<Arc<Lease>> {
    let made = py.detach(|| sink::renew(&*parents.core)).ok_or_else(|| {
        let message = format!("nobody knows how a forked child makes the sink {} anew", parents.core.name());
        raise(py, Error::new(ErrorKind::Forked, message))
    })?;
    Ok(Lease::of(made.into()))
}

impl Parts {
    #[inline]
    pub(crate) fn core(&self) -> &unistream::Producer {
        self.core.as_ref().expect("the core is taken out only by drop")
    }

    /// The core knows its own threads; a sink on a Python thread is known by its exchange.
    #[inline]
    pub(crate) fn refuse_reentry(&self, py: Python<'_>) -> PyResult<()> {
        if self.is_sending_here(py) {
            let message = "this producer was called from inside its own sink; call it from elsewhere";
            return Err(raise(py, Error::new(ErrorKind::Reentrant, message)));
        }
        Ok(())
    }

    pub(crate) fn is_sending_here(&self, py: Python<'_>) -> bool {
        // (A sink may have forked: then that comes first.)
        self.exchange.as_ref().is_some_and(|exchange| !self.core().is_forked() && exchange.is_sending_here(py))
    }

    pub(crate) fn sinks_judge(&self) -> Option<&Judge> {
        let direct = || self.direct.as_ref().map(|direct| &direct.judge);
        self.exchange.as_ref().map(|exchange| &exchange.judge).or_else(direct)
    }

    pub(crate) fn forgive(&self) {
        if let Some(judge) = self.sinks_judge() {
            judge.forgive();
        }
    }

    /// What interrupted a sink that ran on this thread comes out of the call that ran it. It says, as other errors do, if
    /// that was a put whose record is in the log.
    pub(crate) fn interruption<T>(&self, py: Python<'_>, put: Option<&unistream::Result<T>>) -> PyResult<()> {
        let Some(error) = self.direct.as_ref().and_then(|direct| direct.interruption()) else { return Ok(()) };
        if let Some(put) = put {
            let accepted = put.as_ref().map_or_else(Error::record_accepted, |_| true);
            let _ = error.value(py).setattr("record_accepted", accepted);
        }
        Err(error)
    }

    pub(crate) fn release_sink(&self) {
        if let Some(exchange) = &self.exchange {
            exchange.close();
        }
        if let Some(lease) = &self.lease {
            lease.end();
        }
    }

    /// Waits in slices, with the GIL released, and lets signal handlers run in between. In a process whose threads are
    /// greenlets the others run in between, the sink among them.
    pub(crate) fn in_slices<T: Send>(
        &self,
        py: Python<'_>,
        timeout: Duration,
        over: ErrorKind,
        wait: impl Fn(Duration, bool) -> unistream::Result<T> + Sync,
    ) -> PyResult<T> {
        let start = Instant::now();
        let mut sleep = Duration::from_millis(1);
        loop {
            let left = timeout.saturating_sub(start.elapsed());
            let slice = if self.pause.is_some() { Duration::ZERO } else { left.min(SLICE) };
            let last = left <= slice;
            let result = py.detach(|| wait(slice, last));
            self.interruption(py, (over == ErrorKind::BufferFull).then_some(&result))?;
            match result {
                Err(error) if error.kind() == over && !last => {
                    if let Some(defect) = self.sinks_judge().and_then(Judge::defect) {
                        return Err(raise(py, defect));
                    }
                    py.check_signals()?;
                    if let Some(pause) = &self.pause {
                        pause.call1(py, (sleep.min(left).as_secs_f64(),))?;
                        sleep = (sleep * 2).min(LOOK);
                    }
                }
                result => return result.or_raise(py),
            }
        }
    }
}

impl Drop for Parts {
    fn drop(&mut self) {
        let Some(core) = self.core.take() else { return };
        if core.is_forked() {
            // The sink's lock may be held for ever in the child, and what the sink is made of is the parent's.
            std::mem::forget((core, self.exchange.take(), self.lease.take(), self.direct.take()));
            return;
        }
        self.release_sink();
        // Dropping waits for the sender, which may be waiting for the GIL to log. An interpreter that is shutting
        // down stops such a sender for ever: then nothing is waited for, and the records are safe as they lie.
        let mut core = Some(core);
        Python::try_attach(|py| py.detach(|| drop(core.take())));
        std::mem::forget(core);
    }
}
