//! A forked child has no part in what its parent opened. If the producer is shared, the child's first call opens a slot of its
//! own, with the same options and a sink that is made anew.

use std::path::{Path, PathBuf};

use super::lifecycle::Phase;
use super::reentrancy;
use super::{Builder, Inner, Producer};
use crate::buffer::{self, Wait};
use crate::error::{Error, ErrorKind, Result};
use crate::limits::Limits;
use crate::options::Mode;
use crate::record::NewRecord;
use crate::sink::{Awaited, Maker, Sink};
use crate::stats::Stats;

/// How a child opens its own. Nothing here has a lock, which the fork could have taken.
pub(super) struct Anew {
    builder: Builder,
    maker: Option<Maker>,
    name: String,
    limits: Limits,
}

impl Anew {
    pub(super) fn new(builder: &Builder, sink: Option<&dyn Sink>, limits: Limits) -> Anew {
        let mut builder = builder.clone();
        // The child may be in another directory by then.
        builder.dir = absolute(&builder.dir);
        let maker = builder.sink_in_child.clone().or_else(|| sink.and_then(Sink::maker));
        Anew { builder, maker, name: sink.map(|sink| sink.name().into_owned()).unwrap_or_default(), limits }
    }

    fn open(&self) -> Result<Inner> {
        let sink: Option<Box<dyn Sink>> = match (&self.maker, self.builder.options.mode) {
            (_, Mode::Manual) => None,
            (Some(maker), _) => Some(Box::new(Awaited::new(maker.clone(), self.limits, self.name.clone()))),
            (None, _) => {
                let message = "this process is a fork of the one that opened the producer, and nobody says how its sink is \
                               made anew: say it when opening (sink_in_child), or open a producer after the fork";
                return Err(Error::new(ErrorKind::Forked, message));
            }
        };
        Inner::open(self.builder.clone(), sink, self.limits)
    }
}

fn absolute(path: &Path) -> PathBuf {
    // An empty path is refused when it is opened.
    if path.as_os_str().is_empty() {
        path.to_path_buf()
    } else {
        std::path::absolute(path).unwrap_or(path.to_path_buf())
    }
}

impl Inner {
    pub(super) fn is_forked(&self) -> bool {
        self.shared.core().fork.is_forked()
    }

    pub(super) fn stats(&self) -> Stats {
        // A child that has done nothing yet has nothing, and may begin.
        let is_closed = || self.shared.lifecycle.phase() == Phase::Closed;
        if self.anew.is_some() && self.is_forked() && !is_closed() { Stats::default() } else { self.shared.stats() }
    }
}

impl Producer {
    /// What this process has, or what its parent had.
    #[inline]
    pub(super) fn inner(&self) -> &Inner {
        self.inner.get()
    }

    /// What this process has. A child opens its own.
    #[inline]
    pub(super) fn here(&self) -> Result<&Inner> {
        let inner = self.inner();
        if inner.is_forked() { self.in_child() } else { Ok(inner) }
    }

    /// What this process has; `None` in a child that could open its own and has not.
    pub(super) fn here_if_used(&self) -> Result<Option<&Inner>> {
        let inner = self.inner();
        match (inner.is_forked(), &inner.anew) {
            (false, _) => Ok(Some(inner)),
            (true, Some(_)) => Ok(None),
            (true, None) => Err(buffer::forked()),
        }
    }

    #[cold]
    fn in_child(&self) -> Result<&Inner> {
        self.inner.exchange(
            |inner| !inner.is_forked(),
            |parents| match &parents.anew {
                None => Err(buffer::forked()),
                Some(_) if parents.shared.lifecycle.phase() == Phase::Closed => {
                    Err(Error::new(ErrorKind::Closed, "the producer is closed; open a new one"))
                }
                Some(anew) => anew.open(),
            },
            reentrancy::reentrant,
        )
    }

    /// Puts a record. Whether this is a child, the put itself looks, so that it is not looked at twice.
    #[inline]
    pub(super) fn put_here(&self, record: &NewRecord<'_>, wait: Option<Wait>, is_last: bool) -> Result<u64> {
        match self.inner().shared.put(record, wait, is_last) {
            Err(error) if error.kind() == ErrorKind::Forked => self.put_in_child(record, wait, is_last, error),
            put => put,
        }
    }

    /// Puts a record, which comes by value: the caller's must not get an address, so that it is asked for nothing that its
    /// making has answered.
    #[inline(never)]
    pub(super) fn put_record(&self, record: NewRecord<'_>) -> Result<u64> {
        self.put_here(&record, Some(self.inner().shared.core().options.put_timeout().into()), true)
    }

    /// The same for a payload and nothing else.
    #[inline]
    pub(super) fn put_payload_here(&self, payload: &[u8]) -> Result<u64> {
        match self.inner().shared.put_payload(payload) {
            Err(error) if error.kind() == ErrorKind::Forked => {
                let wait = self.inner().shared.core().options.put_timeout();
                self.put_in_child(&NewRecord::new(payload), Some(wait.into()), true, error)
            }
            put => put,
        }
    }

    #[cold]
    fn put_in_child(&self, record: &NewRecord<'_>, wait: Option<Wait>, is_last: bool, forked: Error) -> Result<u64> {
        // One that is accepted is in the parent's log: its sink has forked, and this is the child.
        if self.inner().anew.is_none() || forked.record_accepted() {
            return Err(forked);
        }
        self.in_child()?.shared.put(record, wait, is_last)
    }
}
