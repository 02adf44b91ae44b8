//! Sinks that are made anew in a forked child, in which a sink that its parent made is of no use: its connections and files
//! are shared with the parent, and its locks may be held for ever.

use std::borrow::Cow;
use std::sync::{Arc, PoisonError};

use super::{Limits, Report, SendError, Sink};
use crate::batch::Batch;
use crate::error::Result;
use crate::platform::sync::{Mutex, MutexGuard};
use crate::record::NewRecord;

/// Makes a sink, as often as it is called.
pub type Maker = Arc<dyn Fn() -> Result<Box<dyn Sink>> + Send + Sync>;

/// Makes a sink by `make`, and remembers how: a forked child that uses a producer with the option `shared` makes its own.
///
/// ```
/// use unistream::sink::{self, FnSink, Sink};
/// let sink = sink::renewable(|| Ok(Box::new(sink::from_fn(|batch| println!("{} records", batch.len())))))?;
/// assert!(sink.maker().is_some());
/// # Ok::<(), unistream::Error>(())
/// ```
///
/// # Errors
/// Those of `make`.
pub fn renewable(make: impl Fn() -> Result<Box<dyn Sink>> + Send + Sync + 'static) -> Result<Box<dyn Sink>> {
    let made = make()?;
    let maker: Maker = Arc::new(make);
    Ok(Box::new(Renewable { made, maker }))
}

/// A sink like this one, made anew as its [`maker`](Sink::maker) says, for a forked child. If that fails now it is tried again
/// with each batch, and the sink is unavailable until then. `None` if nobody knows how.
pub fn renew(sink: &dyn Sink) -> Option<Box<dyn Sink>> {
    let maker = sink.maker()?;
    Some(Box::new(Awaited::new(maker, sink.limits(), sink.name().into_owned())))
}

struct Renewable {
    made: Box<dyn Sink>,
    maker: Maker,
}

impl Sink for Renewable {
    fn send(&self, batch: &Batch) -> Result<Report, SendError> {
        self.made.send(batch)
    }
    fn prepare(&self, batch: &Batch) -> Result<Option<Vec<u8>>, SendError> {
        self.made.prepare(batch)
    }
    fn limits(&self) -> Limits {
        self.made.limits()
    }
    fn admit(&self, record: &NewRecord<'_>) -> Result<(), String> {
        self.made.admit(record)
    }
    fn name(&self) -> Cow<'_, str> {
        self.made.name()
    }
    fn interrupt(&self) {
        self.made.interrupt();
    }
    fn maker(&self) -> Option<Maker> {
        Some(self.maker.clone())
    }
}

/// What a maker makes, when it can: until then the sink is unavailable, and the records are safe in the buffer. A file, for
/// one, is its parent's as long as that lives.
pub(crate) struct Awaited {
    made: Mutex<Option<Arc<dyn Sink>>>,
    /// Held by the thread that makes it, which may take its time: `admit` and `interrupt` do not wait for that.
    making: Mutex<()>,
    maker: Maker,
    limits: Limits,
    name: String,
}

impl Awaited {
    /// `limits` and `name` are those of a sink that was made before.
    pub(crate) fn new(maker: Maker, limits: Limits, name: String) -> Awaited {
        let made = maker().ok().map(Arc::from);
        Awaited { made: Mutex::new(made), making: Mutex::default(), maker, limits, name }
    }

    fn made(&self) -> MutexGuard<'_, Option<Arc<dyn Sink>>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sink(&self) -> Result<Arc<dyn Sink>, SendError> {
        let made = self.made().clone();
        if let Some(sink) = made {
            return Ok(sink);
        }
        let _making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        // Another thread may have made it meanwhile.
        let made = self.made().clone();
        if let Some(sink) = made {
            return Ok(sink);
        }
        let sink: Arc<dyn Sink> = (self.maker)().map_err(|error| SendError::unavailable(error.to_string()))?.into();
        *self.made() = Some(sink.clone());
        Ok(sink)
    }
}

impl Sink for Awaited {
    fn send(&self, batch: &Batch) -> Result<Report, SendError> {
        self.sink()?.send(batch)
    }
    fn prepare(&self, batch: &Batch) -> Result<Option<Vec<u8>>, SendError> {
        self.sink()?.prepare(batch)
    }
    fn limits(&self) -> Limits {
        self.limits
    }
    fn admit(&self, record: &NewRecord<'_>) -> Result<(), String> {
        let made = self.made().clone();
        made.map_or(Ok(()), |sink| sink.admit(record))
    }
    fn name(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.name)
    }
    fn interrupt(&self) {
        // Not under the lock, which a call under way does not have.
        let made = self.made().clone();
        if let Some(sink) = made {
            sink.interrupt();
        }
    }
    fn maker(&self) -> Option<Maker> {
        Some(self.maker.clone())
    }
}
