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
use crate::sink::Sink;

/// How to open a [`Producer`]: every option has a setter of its name.
#[derive(Clone)]
pub struct Builder {
    pub(super) dir: PathBuf,
    pub(super) options: Options,
    pub(super) observer: Option<Observer>,
    pub(super) put_events: bool,
    pub(super) env: Environment,
}

impl Builder {
    pub(super) fn new(dir: &Path) -> Builder {
        Builder {
            dir: dir.to_path_buf(),
            options: Options::default(),
            observer: None,
            put_events: true,
            env: Environment::system(),
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
