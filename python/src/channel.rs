//! Python sinks in background mode: a channel between the core's thread and those of the interpreter.

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use pyo3::prelude::*;
use unistream::{SendError, Sink};

use crate::bell::Bell;
use crate::judge::{Answer, Judge, Memo};
use crate::record::Batch;
use crate::sync::lock;

/// Hands batches to threads of the interpreter and their answers back.
///
/// The core's own thread never runs Python code: so it can be stopped at any time, also while a sink hangs, and the
/// interpreter can exit under a sink that is still running.
#[pyclass(frozen, module = "unistream._native")]
pub(crate) struct Channel {
    pub(crate) core: Arc<Exchange>,
}

pub(crate) struct Exchange {
    id: u64,
    pub(crate) judge: Judge,
    state: Mutex<State>,
    changed: Condvar,
    /// For those who cannot wait for `changed`.
    bell: Bell,
    /// Returns the greenlet that runs now, where sinks run on greenlets.
    current: Option<Py<PyAny>>,
    /// Says what to keep with a batch, if the sink has such a method.
    prepare: Option<Py<PyAny>>,
}

/// What a worker is to do with a batch.
#[derive(Clone, Copy, PartialEq)]
enum Task {
    Prepare,
    Send,
}

/// What came of it.
enum Reply {
    Memo(Memo),
    Sent(Answer),
}

/// A job, by its number.
type Order = (u64, Task, unistream::Batch);

#[derive(Default)]
struct State {
    jobs: u64,
    /// Not yet taken by a worker.
    waiting: VecDeque<Order>,
    /// Sent, and their senders still want to know.
    pending: HashMap<u64, Option<Reply>>,
    /// The greenlets that are inside the sink, by address.
    inside: Vec<usize>,
    closed: bool,
}

thread_local! {
    /// The exchange that this thread is running a sink for; 0 is none.
    static SENDING: Cell<u64> = const { Cell::new(0) };
}

impl Exchange {
    /// Whether the caller is inside this sink, so that waiting for the sink would wait for itself.
    pub(crate) fn is_sending_here(&self, py: Python<'_>) -> bool {
        match self.greenlet(py) {
            Some(greenlet) => lock(&self.state).inside.contains(&greenlet),
            None => SENDING.get() == self.id,
        }
    }

    fn greenlet(&self, py: Python<'_>) -> Option<usize> {
        let current = self.current.as_ref()?.call0(py).ok()?;
        Some(current.as_ptr().addr())
    }

    pub(crate) fn close(&self) {
        lock(&self.state).closed = true;
        self.ring();
    }

    fn ring(&self) {
        self.changed.notify_all();
        self.bell.ring();
    }

    fn take(&self) -> Option<Order> {
        lock(&self.state).waiting.pop_front()
    }

    fn receive(&self) -> Option<Order> {
        let idle = |state: &mut State| state.waiting.is_empty() && !state.closed;
        let state = self.changed.wait_while(lock(&self.state), idle);
        state.unwrap_or_else(PoisonError::into_inner).waiting.pop_front()
    }

    fn settle(&self, job: u64, reply: Reply) {
        // A sender that was interrupted is gone, and nobody wants the answer.
        if let Some(place) = lock(&self.state).pending.get_mut(&job) {
            *place = Some(reply);
        }
        self.changed.notify_all();
    }

    /// From here on this thread or greenlet is inside the sink, until it leaves: what would wait for the sink is refused.
    fn enter(&self, py: Python<'_>) {
        match self.greenlet(py) {
            Some(greenlet) => lock(&self.state).inside.push(greenlet),
            None => SENDING.set(self.id),
        }
    }

    fn leave(&self, py: Python<'_>) {
        match self.greenlet(py) {
            Some(greenlet) => lock(&self.state).inside.retain(|each| *each != greenlet),
            None => SENDING.set(0),
        }
    }
}

impl Exchange {
    /// Has a worker do something with a batch, and waits for it.
    fn have_done(&self, task: Task, batch: &unistream::Batch) -> Result<Reply, SendError> {
        if let Some(refusal) = self.judge.refusal() {
            return Err(refusal);
        }
        let mut state = lock(&self.state);
        let job = state.jobs;
        state.jobs += 1;
        state.waiting.push_back((job, task, batch.clone()));
        state.pending.insert(job, None);
        self.ring();
        let unanswered = |state: &mut State| !state.closed && state.pending[&job].is_none();
        let mut state = self.changed.wait_while(state, unanswered).unwrap_or_else(PoisonError::into_inner);
        let reply = state.pending.remove(&job).flatten();
        reply.ok_or_else(|| SendError::interrupted("closed while the sink was running"))
    }
}

impl Sink for Exchange {
    fn prepare(&self, batch: &unistream::Batch) -> Memo {
        if self.prepare.is_none() {
            return Ok(None);
        }
        match self.have_done(Task::Prepare, batch)? {
            Reply::Memo(memo) => memo,
            Reply::Sent(answer) => answer.map(|_| None),
        }
    }

    fn send(&self, batch: &unistream::Batch) -> Answer {
        match self.have_done(Task::Send, batch)? {
            Reply::Sent(answer) => answer,
            Reply::Memo(memo) => memo.and(Err(SendError::failed("the sink was not called"))),
        }
    }

    fn name(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.judge.name)
    }

    fn interrupt(&self) {
        self.close();
    }
}

#[pymethods]
impl Channel {
    /// `current` returns the running greenlet, in a process whose threads are greenlets; `prepare` says what to keep with a batch.
    #[new]
    fn new(
        name: String,
        added: Option<Py<PyAny>>,
        current: Option<Py<PyAny>>,
        prepare: Option<Py<PyAny>>,
    ) -> PyResult<Self> {
        static IDS: AtomicU64 = AtomicU64::new(1);
        let id = IDS.fetch_add(1, Ordering::Relaxed);
        let bell = Bell::new(current.is_some())?;
        let judge = Judge::new(name, added);
        let exchange = Exchange { id, judge, state: Mutex::default(), changed: Condvar::new(), bell, current, prepare };
        Ok(Channel { core: Arc::new(exchange) })
    }

    /// The descriptor that can be read when there is something to take; the caller owns it from now on.
    fn detach_bell(&self) -> Option<i32> {
        self.core.bell.detach()
    }

    /// The next batch to send; waits for it. `None` when the producer is closed.
    fn receive(&self, py: Python<'_>) -> Option<Job> {
        py.detach(|| self.core.receive()).map(|taken| self.job(taken))
    }

    /// The next batch to send, if there is one.
    fn take(&self) -> Option<Job> {
        self.core.take().map(|taken| self.job(taken))
    }

    /// Whether the producer wants no more answers.
    #[getter]
    fn closed(&self) -> bool {
        lock(&self.core.state).closed
    }
}

/// An exchange that is closed with its sink, so that those who serve it end.
pub(crate) struct Served(Arc<Exchange>);

impl Drop for Served {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Sink for Served {
    fn prepare(&self, batch: &unistream::Batch) -> Memo {
        self.0.prepare(batch)
    }

    fn send(&self, batch: &unistream::Batch) -> Answer {
        self.0.send(batch)
    }

    fn name(&self) -> Cow<'_, str> {
        self.0.name()
    }

    fn interrupt(&self) {
        self.0.interrupt();
    }
}

impl Channel {
    /// The sink, for who opened it without a producer of Python's.
    pub(crate) fn served(&self) -> Served {
        Served(self.core.clone())
    }

    fn job(&self, (job, task, batch): Order) -> Job {
        Job { channel: self.core.clone(), job, task, batch, answered: AtomicBool::new(false) }
    }
}

/// A batch that a worker has taken and owes an answer for.
#[pyclass(frozen, module = "unistream._native")]
pub(crate) struct Job {
    channel: Arc<Exchange>,
    job: u64,
    task: Task,
    batch: unistream::Batch,
    answered: AtomicBool,
}

#[pymethods]
impl Job {
    /// The batch, for the sink that is now called; `None` in a forked child, which sends nothing and where the lock may
    /// never be free.
    ///
    /// It is Python code that calls it: an interpreter that ends stops the thread where it is, and there must be no
    /// frame of ours below.
    fn begin(&self, py: Python<'_>) -> Option<Batch> {
        if self.batch.is_forked() {
            return None;
        }
        self.channel.enter(py);
        Some(Batch::new(&self.batch))
    }

    /// What is to be called in place of the sink, to say what to keep with the batch; `None`: the sink.
    #[getter]
    fn prepare(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        let prepare = self.channel.prepare.as_ref().filter(|_| self.task == Task::Prepare);
        prepare.map(|prepare| prepare.clone_ref(py))
    }

    /// Whether the sink came back in a forked child, which sends nothing.
    #[getter]
    fn is_forked(&self) -> bool {
        self.batch.is_forked()
    }

    /// The sink returned this.
    fn returned<'py>(&self, py: Python<'py>, value: Bound<'py, PyAny>) {
        self.answered(py, Ok(value));
    }

    /// The sink raised this.
    fn raised<'py>(&self, py: Python<'py>, error: Bound<'py, PyAny>) {
        self.answered(py, Err(PyErr::from_value(error)));
    }
}

impl Job {
    fn answered<'py>(&self, py: Python<'py>, returned: PyResult<Bound<'py, PyAny>>) {
        if self.batch.is_forked() {
            // In a child nobody waits for it, and the lock may never be free.
            return;
        }
        self.channel.leave(py);
        let reply = match self.task {
            Task::Prepare => Reply::Memo(self.channel.judge.memo(returned, py)),
            Task::Send => Reply::Sent(self.channel.judge.answer(returned, py)),
        };
        self.answered.store(true, Ordering::Relaxed);
        self.channel.settle(self.job, reply);
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        // An exception that somebody sent to the thread may come between taking a batch and sending it.
        if !self.answered.load(Ordering::Relaxed) && !self.batch.is_forked() {
            let interrupted = SendError::interrupted("the thread of the sink was interrupted");
            self.channel.settle(self.job, Reply::Sent(Err(interrupted)));
        }
    }
}
