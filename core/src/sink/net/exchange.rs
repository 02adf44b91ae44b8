//! Connections for ureq, which speaks HTTP over them: made as those of other protocols are.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Weak};
use std::time::Instant;

use ureq::Error;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, ShutdownHandle, Transport,
};

use super::connect::{Connection, Dialer, Target};

/// Makes connections. The requests' own time limits hold, so that those of the dialer are of no matter.
pub(super) struct Exchange {
    pub(super) dialer: Dialer,
    pub(super) proxy: Option<ureq::Proxy>,
}

impl Connector<()> for Exchange {
    type Out = Wire;

    fn connect(&self, details: &ConnectionDetails<'_>, _: Option<()>) -> Result<Option<Wire>, Error> {
        let (uri, tls) = (details.uri, details.needs_tls());
        let target = Target {
            host: uri.host().unwrap_or_default(),
            port: uri.port_u16().unwrap_or(if tls { 443 } else { 80 }),
            tls,
            proxy: self.proxy.as_ref(),
        };
        let mut register = |tcp: &Arc<TcpStream>| {
            let handle: Weak<dyn ShutdownHandle> = Arc::downgrade(tcp) as _;
            (details.register_shutdown)(handle).map_err(Error::into_io)
        };
        let connection = self.dialer.dial(&target, until(details.timeout), &mut register);
        let connection = connection.map_err(|error| failure(error, details.timeout))?;
        let config = details.config;
        let buffers = LazyBuffers::new(config.input_buffer_size(), config.output_buffer_size());
        Ok(Some(Wire { connection, buffers, tls }))
    }
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange").finish_non_exhaustive()
    }
}

/// A connection with room for what is read and written.
pub(super) struct Wire {
    connection: Connection,
    buffers: LazyBuffers,
    tls: bool,
}

impl Transport for Wire {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.connection.wait_until(until(timeout));
        let output = &self.buffers.output()[..amount];
        // A TLS connection tells only when it is flushed that its last write failed.
        let sent = self.connection.write_all(output).and_then(|()| self.connection.flush());
        sent.map_err(|error| failure(error, timeout))
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.connection.wait_until(until(timeout));
        let amount = self.connection.read(self.buffers.input_append_buf());
        let amount = amount.map_err(|error| failure(error, timeout))?;
        self.buffers.input_appended(amount);
        Ok(amount > 0)
    }

    fn is_open(&mut self) -> bool {
        self.connection.is_quiet()
    }

    fn is_tls(&self) -> bool {
        self.tls
    }
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wire").finish_non_exhaustive()
    }
}

/// Every request has a time limit, so that there is a deadline.
fn until(timeout: NextTimeout) -> Instant {
    let now = Instant::now();
    now.checked_add(*timeout.after).unwrap_or(now)
}

fn failure(error: io::Error, timeout: NextTimeout) -> Error {
    match error.kind() {
        ErrorKind::TimedOut => Error::Timeout(timeout.reason),
        _ => error.into(),
    }
}

/// Leaves names to [`Exchange`]: ureq asks for addresses before every request, also where a connection is kept.
#[derive(Debug)]
pub(super) struct Unresolved;

impl Resolver for Unresolved {
    fn resolve(&self, _: &Uri, _: &Config, _: NextTimeout) -> Result<ResolvedSocketAddrs, Error> {
        Ok(self.empty())
    }
}
