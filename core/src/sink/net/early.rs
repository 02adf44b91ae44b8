//! Answers that come before the request was sent.
//!
//! A server may refuse a large body by its head alone: it answers 413, closes the connection, and the kernel resets what is
//! still being sent. The answer has arrived by then, and says what to do; the error of the write says nothing. So a write
//! that fails is not reported before there is nothing to read, or before what is read calls it a success, which it cannot be:
//! nobody has taken what was not sent.

use std::io;
use std::io::ErrorKind::{ConnectionAborted, ConnectionReset};

use ureq::Error;
use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, NextTimeout, Transport};

/// Stands behind the connectors that make a connection.
#[derive(Debug, Default)]
pub(super) struct EarlyAnswers;

/// A connection that keeps the error of its first failed write until a read fails too.
#[derive(Debug)]
pub(super) struct Patient<T> {
    inner: T,
    failed: Option<Error>,
    is_broken: bool,
    /// Bytes came that nobody may have looked at.
    is_fresh: bool,
}

impl<In: Transport> Connector<In> for EarlyAnswers {
    type Out = Patient<In>;

    fn connect(&self, _: &ConnectionDetails<'_>, chained: Option<In>) -> Result<Option<Patient<In>>, Error> {
        Ok(chained.map(|inner| Patient { inner, failed: None, is_broken: false, is_fresh: false }))
    }
}

impl<T: Transport> Transport for Patient<T> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.inner.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        if self.failed.is_some() {
            return Ok(());
        }
        match self.inner.transmit_output(amount, timeout) {
            Err(error @ Error::Io(_)) => {
                self.is_broken = true;
                self.failed = Some(error);
                Ok(())
            }
            other => other,
        }
    }

    /// On a new connection, ureq does not see that what it read while it waited for `100 Continue` is the answer, and would
    /// wait for more. So what has come is offered once more before more is waited for.
    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        if std::mem::take(&mut self.is_fresh) && !self.inner.buffers().input().is_empty() {
            return Ok(true);
        }
        match (self.inner.await_input(timeout), self.failed.take()) {
            (Ok(true), Some(failed)) if is_success(self.inner.buffers().input()) => Err(failed),
            (Ok(true), failed) => {
                (self.is_fresh, self.failed) = (true, failed);
                Ok(true)
            }
            (Err(Error::Timeout(what)), _) => Err(Error::Timeout(what)),
            (_, Some(failed)) => Err(failed),
            // ureq takes it for the end of an answer without a length.
            (Err(Error::Io(error)), None) if matches!(error.kind(), ConnectionReset | ConnectionAborted) => {
                Err(Error::Io(io::Error::other(error)))
            }
            (other, None) => other,
        }
    }

    fn is_open(&mut self) -> bool {
        !self.is_broken && self.inner.is_open()
    }

    fn is_tls(&self) -> bool {
        self.inner.is_tls()
    }
}

/// Whether the head of an answer begins like that of a success: `HTTP/1.1 2`.
pub(super) fn is_success(head: &[u8]) -> bool {
    head.starts_with(b"HTTP/1.") && head.get(8..10) == Some(b" 2")
}
