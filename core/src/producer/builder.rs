//! [`Builder`]: what a producer is opened with.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::Producer;
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Event, Observer};
use crate::limits::Limits;
use crate::options::*;
use crate::platform::Environment;
use crate::schedule::Jitter;
use crate::sink::{Maker, Sink};

/// How to open a [`Producer`]: every option has a setter of its name.
#[derive(Clone)]
pub struct Builder {
    pub(super) dir: PathBuf,
    pub(super) options: Options,
    pub(super) observer: Option<Observer>,
    pub(super) put_events: bool,
    pub(super) env: Environment,
    pub(super) sink_in_child: Option<Maker>,
}

impl Builder {
    pub(super) fn new(dir: &Path) -> Builder {
        Builder {
            dir: dir.to_path_buf(),
            options: Options::default(),
            observer: None,
            put_events: true,
            env: Environment::system(),
            sink_in_child: None,
        }
    }

    option_setters!();

    /// Replaces all options.
    #[must_use]
    pub fn options(mut self, options: Options) -> Self {
        self.options = options;
        self
    }

    /// Sets an option from text, as C and the command line do.
    ///
    /// # Errors
    /// `InvalidArgument`, see [`Options::set`].
    pub fn set(mut self, key: &str, value: &str) -> Result<Self> {
        self.options.set(key, value)?;
        Ok(self)
    }

    /// Who hears of events. Without one, events cost a branch.
    #[must_use]
    pub fn observer(mut self, observer: impl Fn(&Event<'_>) + Send + Sync + 'static) -> Self {
        self.observer = Some(Arc::new(observer));
        self
    }

    /// Another disk, clock and source of random numbers than the system's.
    #[cfg(feature = "torture")]
    pub(crate) fn environment(mut self, env: Environment) -> Self {
        self.env = env;
        self
    }

    /// Whether the observer hears of each [`Event::Put`], which is a call a record. Default: yes.
    #[must_use]
    pub fn put_events(mut self, wanted: bool) -> Self {
        self.put_events = wanted;
        self
    }

    /// How a forked child makes its sink when it first uses the producer, under `shared = true`; called in the child, where no
    /// other thread runs. If it fails it is called again for each attempt, and the records wait. Left out, it is what
    /// [`Sink::maker`] says: the sinks of this crate know, a closure does not.
    #[must_use]
    pub fn sink_in_child(mut self, make: impl Fn() -> Result<Box<dyn Sink>> + Send + Sync + 'static) -> Self {
        self.sink_in_child = Some(Arc::new(make));
        self
    }

    /// Opens the buffer and begins to send to `sink`, what an earlier run left first.
    ///
    /// # Errors
    /// Those of [`Buffer::open`](crate::Buffer::open); `WrongMode` if the mode is manual, which has no sink.
    pub fn open(self, sink: impl Sink + 'static) -> Result<Producer> {
        if self.options.mode == Mode::Manual {
            return Err(Error::new(ErrorKind::WrongMode, "in manual mode the program is the sink; use open_manual"));
        }
        let limits = sink.limits();
        Producer::open(self, Some(Box::new(sink)), limits)
    }

    /// Opens the buffer in manual mode: the program sends, within `limits`.
    ///
    /// # Errors
    /// Those of [`Buffer::open`](crate::Buffer::open).
    pub fn open_manual(mut self, limits: Limits) -> Result<Producer> {
        self.options.mode = Mode::Manual;
        Producer::open(self, None, limits)
    }
}
