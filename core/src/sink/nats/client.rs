//! Connections to the servers of a cluster: made when they are needed, kept while they are good.

use std::io::{self, ErrorKind, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::auth::Auth;
use super::options::NatsTls;
use super::servers::{Server, Servers};
use super::session::{Heard, Session};
use super::wire::{Reader, Said};
use crate::sink::net::connect::{Connection, Dialer};
use crate::sink::net::failure::CallError;

/// A connection that was idle for so long is asked whether it is still good before it is used.
const ASK_AFTER: Duration = Duration::from_secs(5);

pub(super) struct Client {
    pub(super) servers: Mutex<Servers>,
    pub(super) dialer: Dialer,
    pub(super) auth: Auth,
    pub(super) tls: NatsTls,
    pub(super) discover: bool,
    pub(super) inbox_prefix: String,
    pub(super) name: String,
    pub(super) connect_timeout: Duration,
    pub(super) idle: Mutex<Vec<Session>>,
    pub(super) interrupts: AtomicU64,
}

impl Client {
    /// A connection for one batch, and whether it is one that was kept.
    pub(super) fn session(&self) -> Result<(Session, bool), CallError> {
        loop {
            let kept = lock(&self.idle).pop();
            let Some(mut session) = kept else { return self.connect().map(|session| (session, false)) };
            if session.is_alive(ASK_AFTER, self.connect_timeout) {
                return Ok((session, true));
            }
        }
    }

    /// Keeps a connection for the next batch, unless its server asks us to leave or has told an error.
    pub(super) fn keep(&self, session: Session) {
        if session.is_leaving {
            lock(&self.servers).leave(&session.server);
        } else if !session.has_complained {
            lock(&self.idle).push(session);
        }
    }

    /// Goes on to another server behind one that failed.
    pub(super) fn leave(&self, session: &Session) {
        lock(&self.servers).leave(&session.server);
    }

    /// How often it was interrupted.
    pub(super) fn interrupts(&self) -> u64 {
        self.interrupts.load(Ordering::Relaxed)
    }

    pub(super) fn interrupt(&self) {
        self.interrupts.fetch_add(1, Ordering::Relaxed);
        self.dialer.interrupt();
    }

    /// Asks each server once, until one takes us.
    fn connect(&self) -> Result<Session, CallError> {
        let interrupts = self.interrupts();
        let unavailable = |message: String| CallError::unavailable("connect", message);
        let (mut turns, mut last) = (0, String::new());
        while turns < lock(&self.servers).len() {
            if self.interrupts() != interrupts {
                return Err(unavailable("interrupted".into()));
            }
            let server = lock(&self.servers).current();
            match self.greet(&server) {
                Ok(session) => return Ok(session),
                Err(error) => last = error.to_string(),
            }
            lock(&self.servers).leave(&server);
            turns += 1;
        }
        Err(unavailable(match turns {
            1 => last,
            _ => format!("none of {turns} servers takes us; the last: {last}"),
        }))
    }

    fn greet(&self, server: &Server) -> io::Result<Session> {
        let deadline = Instant::now() + self.connect_timeout;
        let Server { host, port, tls_name } = server;
        let named = |error: io::Error| io::Error::new(error.kind(), format!("{host}:{port}: {error}"));
        let mut connection = self.dialer.connect(host, *port, false)?;
        if self.tls == NatsTls::First {
            connection = self.dialer.secure(connection, tls_name)?;
        }
        let mut reader = Reader::default();
        let info = greeting(&mut connection, &mut reader, deadline).map_err(named)?;
        let is = |key: &str| info[key].as_bool().unwrap_or(false);
        let offers = is("tls_required") || is("tls_available");
        if self.tls == NatsTls::Require && !offers {
            return Err(named(io::Error::new(
                ErrorKind::ConnectionRefused,
                "the server has no TLS, which option tls requires",
            )));
        }
        let in_clear = self.tls != NatsTls::First && (is("tls_required") || self.tls == NatsTls::Require);
        if in_clear {
            connection = self.dialer.secure(connection, tls_name)?;
            // What came before the handshake is nothing that the server has said under it.
            reader = Reader::default();
        }
        let nonce = info["nonce"].as_str().unwrap_or_default();
        let line = self.connect_line(nonce).map_err(|why| io::Error::new(ErrorKind::PermissionDenied, why))?;
        connection.write_all(&line).map_err(named)?;
        let mut session = Session::new(server.clone(), connection, reader, &info, &self.inbox_prefix);
        session.greeted_in_clear = in_clear;
        self.hear_of(&session, &info, in_clear);
        session.say(format!("{}PING\r\n", session.subscription()).as_bytes()).map_err(named)?;
        loop {
            match session.hear(deadline).map_err(named)? {
                Heard::Pong => return Ok(session),
                Heard::Told(told) => {
                    let hint = "; see option inbox_prefix";
                    return Err(named(io::Error::new(ErrorKind::PermissionDenied, format!("{}{hint}", told.text))));
                }
                Heard::Info(info) => self.learn(&session, &info),
                Heard::Answer(..) => {}
            }
        }
    }

    /// Remembers the servers that a server tells of.
    pub(super) fn learn(&self, session: &Session, info: &Value) {
        self.hear_of(session, info, false);
    }

    fn hear_of(&self, session: &Session, info: &Value, in_clear: bool) {
        if let Some(told) = info["connect_urls"].as_array().filter(|_| self.discover) {
            lock(&self.servers).discover(&session.server, told.iter().filter_map(Value::as_str), in_clear);
        }
    }

    /// `CONNECT`, with what proves who we are.
    pub(super) fn connect_line(&self, nonce: &str) -> Result<Zeroizing<Vec<u8>>, String> {
        let ours = json!({
            "verbose": false,
            "pedantic": false,
            "tls_required": self.tls != NatsTls::Auto,
            "name": self.name,
            "lang": "unistream",
            "version": env!("CARGO_PKG_VERSION"),
            "protocol": 1,
            "echo": false,
            "headers": true,
            "no_responders": true,
        });
        // Large enough at once, because a text that grows leaves copies behind.
        let proof = self.auth.prove(nonce)?;
        let bytes: usize = proof.iter().map(|(_, secret)| 6 * secret.reveal().len() + 32).sum();
        let ours = ours.to_string();
        let mut line = Zeroizing::new(Vec::with_capacity(ours.len() + bytes + 32));
        line.extend_from_slice(b"CONNECT ");
        line.extend_from_slice(ours.trim_end_matches('}').as_bytes());
        for (name, secret) in proof {
            line.extend_from_slice(format!(",\"{name}\":").as_bytes());
            // Writing to memory cannot fail, and text can always be quoted.
            let _ = serde_json::to_writer(&mut *line, secret.reveal());
        }
        line.extend_from_slice(b"}\r\n");
        Ok(line)
    }
}

/// What a server says first.
fn greeting(connection: &mut Connection, reader: &mut Reader, deadline: Instant) -> io::Result<Value> {
    connection.wait_until(deadline);
    match reader.next(connection)? {
        Said::Info(info) => Ok(info),
        Said::Error(text) => Err(io::Error::new(ErrorKind::ConnectionRefused, format!("the server says: {text}"))),
        _ => Err(io::Error::new(ErrorKind::InvalidData, "this is no server of NATS: it does not greet")),
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
