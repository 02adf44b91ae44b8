//! [`from_async`]: a sink whose `send` is an `async fn`, for programs that have a runtime.

use std::borrow::Cow;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::{Report, SendError, Sink};
use crate::batch::Batch;
use crate::limits::Limits;
use crate::record::NewRecord;

/// A destination of batches that is asked with `async`. [`from_async`] makes a [`Sink`] of it; what is said there of each
/// method holds here too.
///
/// ```
/// use unistream::sink::AsyncSink;
/// use unistream::{Batch, Report, SendError};
///
/// struct Printer;
///
/// impl AsyncSink for Printer {
///     async fn send(&self, batch: &Batch) -> Result<Report, SendError> {
///         // client.post(...).await?;
///         println!("{} records", batch.len());
///         Ok(Report::delivered())
///     }
/// }
/// ```
pub trait AsyncSink: Send + Sync {
    /// Sends the batch and says what became of it.
    ///
    /// The future is dropped where it waits when the producer closes and its time is over ([`Sink::interrupt`]); what it
    /// has sent until then is sent again by the next producer.
    ///
    /// # Errors
    /// The error speaks for every record of the batch; to answer for each, return a [`Report`].
    fn send(&self, batch: &Batch) -> impl Future<Output = Result<Report, SendError>> + Send;

    /// What to keep with a batch before it is tried for the first time, see [`Sink::prepare`]. It is dropped where it waits as
    /// `send` is; nothing was sent then.
    ///
    /// # Errors
    /// As of `send`.
    fn prepare(&self, batch: &Batch) -> impl Future<Output = Result<Option<Vec<u8>>, SendError>> + Send {
        let _ = batch;
        std::future::ready(Ok(None))
    }

    /// What one call takes, see [`Sink::limits`].
    fn limits(&self) -> Limits {
        Limits::default()
    }

    /// Looks at a record before it is accepted, see [`Sink::admit`].
    ///
    /// # Errors
    /// The reason why the sink would never take this record.
    fn admit(&self, record: &NewRecord<'_>) -> Result<(), String> {
        let _ = record;
        Ok(())
    }

    /// A name for messages and dead letters. It must hold no secret.
    fn name(&self) -> Cow<'_, str> {
        Cow::Borrowed("async sink")
    }
}

/// One call of [`AsyncSink::send`] or [`AsyncSink::prepare`], to be driven to its end.
pub type Sending<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// A [`Sink`] of an [`AsyncSink`]. `block_on` drives a future to its end on the thread that calls it: it is what the
/// program's runtime has for that, and the only thing that is known of the runtime.
///
/// The thread is one of the producer's (mode `background`, the mode for this): as many sends run at once as
/// `max_in_flight` says, and each has a thread that waits for it. In mode `inline` it is the thread that puts, flushes or
/// closes; most runtimes panic when a thread of their own blocks, which is a failed attempt.
///
/// With tokio, where the runtime's own threads drive sockets and timers:
///
/// ```no_run
/// # use unistream::{Batch, Producer, Report, SendError, sink, sink::AsyncSink};
/// # struct Client;
/// # impl AsyncSink for Client {
/// #     async fn send(&self, _: &Batch) -> Result<Report, SendError> { Ok(Report::delivered()) }
/// # }
/// # fn open(client: Client) -> unistream::Result<Producer> {
/// let handle = tokio::runtime::Handle::current();
/// let sink = sink::from_async(move |sending| handle.block_on(sending), client);
/// let producer = Producer::builder("outbox").open(sink)?;
/// // `flush` and `close` wait: call them by `spawn_blocking`, or from outside of the runtime.
/// # Ok(producer)
/// # }
/// ```
///
/// With others it is `|sending| smol::block_on(sending)`, `|sending| pollster::block_on(sending)` and the like.
pub fn from_async<S: AsyncSink, B: Fn(Sending<'_>) + Send + Sync>(block_on: B, sink: S) -> FromAsync<S, B> {
    FromAsync { sink, block_on, interruption: Interruption::default() }
}

/// What [`from_async`] makes.
#[derive(Debug)]
pub struct FromAsync<S, B> {
    sink: S,
    block_on: B,
    interruption: Interruption,
}

impl<S: AsyncSink, B: Fn(Sending<'_>) + Send + Sync> FromAsync<S, B> {
    /// Waits for the answer of a call.
    fn drive<T: Send>(&self, call: impl Future<Output = Result<T, SendError>> + Send) -> Result<T, SendError> {
        let mut answer = None;
        (self.block_on)(Box::pin(async {
            answer = Some(self.interruption.cut_short(call).await);
        }));
        // A runtime that is shutting down may give up a future without an error.
        answer.unwrap_or_else(|| Err(SendError::interrupted("the runtime has not driven the sink to its end")))
    }
}

impl<S: AsyncSink, B: Fn(Sending<'_>) + Send + Sync> Sink for FromAsync<S, B> {
    fn send(&self, batch: &Batch) -> Result<Report, SendError> {
        self.drive(self.sink.send(batch))
    }

    fn prepare(&self, batch: &Batch) -> Result<Option<Vec<u8>>, SendError> {
        self.drive(self.sink.prepare(batch))
    }

    fn limits(&self) -> Limits {
        self.sink.limits()
    }

    fn admit(&self, record: &NewRecord<'_>) -> Result<(), String> {
        self.sink.admit(record)
    }

    fn name(&self) -> Cow<'_, str> {
        self.sink.name()
    }

    fn interrupt(&self) {
        self.interruption.interrupt();
    }
}

/// Ends the calls that are under way, and all that begin later: the producer closes.
#[derive(Debug, Default)]
struct Interruption(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    interrupted: bool,
    /// Of each call under way, by its number.
    wakers: Vec<(u64, Waker)>,
    next: u64,
}

impl Interruption {
    fn interrupt(&self) {
        let wakers = {
            let mut waiting = self.lock();
            waiting.interrupted = true;
            std::mem::take(&mut waiting.wakers)
        };
        wakers.into_iter().for_each(|(_, waker)| waker.wake());
    }

    /// The answer of a call, or an interruption if that comes first.
    async fn cut_short<T>(&self, call: impl Future<Output = Result<T, SendError>>) -> Result<T, SendError> {
        if self.lock().interrupted {
            return Err(closed());
        }
        let ticket = Ticket { number: self.number(), interruption: self };
        let mut call = pin!(call);
        // The answer first: what has been delivered need not be sent again.
        poll_fn(|context| match call.as_mut().poll(context) {
            Poll::Pending => ticket.poll_interrupted(context).map(|()| Err(closed())),
            answer => answer,
        })
        .await
    }

    fn number(&self) -> u64 {
        let mut waiting = self.lock();
        waiting.next += 1;
        waiting.next
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn closed() -> SendError {
    SendError::interrupted("the producer closed before the sink answered")
}

/// The place of one call among those that wait; given up when it is dropped.
struct Ticket<'a> {
    number: u64,
    interruption: &'a Interruption,
}

impl Ticket<'_> {
    fn poll_interrupted(&self, context: &Context<'_>) -> Poll<()> {
        let mut waiting = self.interruption.lock();
        if waiting.interrupted {
            return Poll::Ready(());
        }
        match waiting.wakers.iter_mut().find(|(number, _)| *number == self.number) {
            Some((_, waker)) => waker.clone_from(context.waker()),
            None => waiting.wakers.push((self.number, context.waker().clone())),
        }
        Poll::Pending
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        self.interruption.lock().wakers.retain(|(number, _)| *number != self.number);
    }
}
