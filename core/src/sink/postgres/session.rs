//! A connection to a server of PostgreSQL: how it begins, and what is said on it.

use std::io::{self, ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use super::auth::{Login, SignIn};
use super::place::Server;
use super::rows::Kinds;
use super::sqlstate::as_io;
use super::wire::{self, Message, Reader, ServerError};
use crate::sink::net::connect::{Connection, Dialer};
use crate::sink::net::redact::Mask;

/// So much is put together before it is written.
const WRITE: usize = 256 * 1024;

/// The rows that each statement of a query answered, or the error that ended them.
pub(super) type Answer = Result<Vec<Statement>, ServerError>;

/// What a statement answered.
#[derive(Debug, Default)]
pub(super) struct Statement {
    pub(super) rows: Vec<Vec<Option<String>>>,
    pub(super) tag: String,
}

pub(super) struct Session {
    pub(super) server: Server,
    connection: Connection,
    reader: Reader,
    /// What is to be written.
    out: Vec<u8>,
    /// Which of the table's columns are `bytea`.
    pub(super) kinds: Kinds,
    /// The server would answer a COMMIT before it is on disk, unless it is told otherwise.
    pub(super) is_lax: bool,
    /// The longest time that an answer may take.
    pub(super) timeout: Duration,
}

impl Session {
    /// Connects and signs in.
    ///
    /// # Errors
    /// Of the connection, or why the server does not take us, in words without the password.
    pub(super) fn begin(
        dialer: &Dialer,
        server: &Server,
        tls: bool,
        login: &Login,
        parameters: &[(&str, &str)],
        timeout: Duration,
    ) -> io::Result<Session> {
        let secret = login.secret()?;
        let mut connection = dialer.connect(&server.host, server.port, false)?;
        let deadline = Instant::now() + dialer.connect_timeout;
        connection.wait_until(deadline);
        if tls {
            connection = secure(dialer, connection, &server.host)?;
            connection.wait_until(deadline);
        }
        let mut session = Session {
            server: server.clone(),
            connection,
            reader: Reader::default(),
            out: Vec::new(),
            kinds: Kinds::default(),
            is_lax: false,
            timeout,
        };
        wire::startup(parameters, &mut session.out);
        session.flush()?;
        let mut sign_in = SignIn::new(&login.username, secret.as_ref(), tls || server.is_local());
        loop {
            match session.reader.next(&mut session.connection)? {
                Message::Authentication(kind, rest) => {
                    let refused = |why| io::Error::new(ErrorKind::PermissionDenied, why);
                    if let Some(said) = sign_in.answer(kind, &rest).map_err(refused)? {
                        session.connection.write_all(&said)?;
                        session.connection.flush()?;
                    }
                    if kind == 0 {
                        session.reader.signed_in();
                    }
                }
                Message::Error(mut error) => {
                    // Whoever answers may repeat what we said.
                    let mut message = error.message.into_bytes();
                    Mask::new(secret.iter().map(|secret| secret.reveal())).apply(&mut message);
                    error.message = String::from_utf8_lossy(&message).into_owned();
                    return Err(as_io(&error));
                }
                Message::Ready if session.reader.is_signed_in() => break,
                Message::Other => {}
                _ => return Err(undocumented()),
            }
        }
        session.connection.set_io_timeout(timeout)?;
        Ok(session)
    }

    /// Says a query, whose answer comes later.
    pub(super) fn say(&mut self, sql: &str) {
        wire::query(sql, &mut self.out);
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        let said = self.connection.write_all(&self.out).and_then(|()| self.connection.flush());
        self.out.clear();
        said
    }

    /// The answer to the oldest query that has none yet, all of it, within the time for it: a server that sends a byte now and
    /// then is not waited for without end.
    ///
    /// # Errors
    /// Of the connection; `TimedOut`; the error with which the server ends it.
    pub(super) fn answer(&mut self) -> io::Result<Answer> {
        self.connection.wait_until(Instant::now() + self.timeout);
        let mut statements = Vec::new();
        let mut rows = Vec::new();
        let mut failed = None;
        loop {
            match self.message()? {
                Message::Row(row) => rows.push(row),
                Message::Complete(tag) => statements.push(Statement { rows: std::mem::take(&mut rows), tag }),
                Message::Error(error) => failed = Some(error),
                Message::Ready => break,
                Message::Other => {}
                Message::CopyIn | Message::Authentication(..) => return Err(undocumented()),
            }
        }
        self.connection.set_io_timeout(self.timeout)?;
        Ok(failed.map_or(Ok(statements), Err))
    }

    /// One query and its answer.
    ///
    /// # Errors
    /// As of [`answer`](Self::answer).
    pub(super) fn ask(&mut self, sql: &str) -> io::Result<Answer> {
        self.say(sql);
        self.flush()?;
        self.answer()
    }

    /// Whether a COPY that was said takes rows now; else why not.
    ///
    /// # Errors
    /// As of [`answer`](Self::answer).
    pub(super) fn takes_rows(&mut self) -> io::Result<Result<(), ServerError>> {
        self.connection.wait_until(Instant::now() + self.timeout);
        let error = loop {
            match self.message()? {
                Message::CopyIn => {
                    self.connection.set_io_timeout(self.timeout)?;
                    return Ok(Ok(()));
                }
                Message::Error(error) => break error,
                Message::Other => {}
                _ => return Err(undocumented()),
            }
        };
        match self.answer()? {
            Ok(statements) if statements.is_empty() => Ok(Err(error)),
            _ => Err(undocumented()),
        }
    }

    /// Says rows, which each call of `push` adds to; false: there are no more.
    ///
    /// # Errors
    /// Of the connection.
    pub(super) fn say_rows(&mut self, mut push: impl FnMut(&mut Vec<u8>) -> bool) -> io::Result<()> {
        loop {
            let at = wire::begin_rows(&mut self.out);
            let mut goes_on = true;
            while goes_on && self.out.len() < WRITE {
                goes_on = push(&mut self.out);
            }
            wire::end_rows(&mut self.out, at);
            if !goes_on {
                wire::copy_done(&mut self.out);
                return Ok(());
            }
            self.flush()?;
        }
    }

    /// Ends a COPY of which nothing is to be kept; its answer is an error.
    pub(super) fn say_nothing(&mut self) {
        wire::copy_fail(&mut self.out);
    }

    fn message(&mut self) -> io::Result<Message> {
        match self.reader.next(&mut self.connection)? {
            // Nothing follows it but the end.
            Message::Error(error) if error.is_fatal => Err(as_io(&error)),
            message => Ok(message),
        }
    }
}

/// Goes on with TLS, if the server speaks it. Not a byte is read past its word, so that nothing that was said before is taken for what
/// is said behind it.
fn secure(dialer: &Dialer, mut connection: Connection, host: &str) -> io::Result<Connection> {
    connection.write_all(&wire::TLS_REQUEST)?;
    connection.flush()?;
    let mut word = [0];
    connection.read_exact(&mut word)?;
    match word[0] {
        b'S' => dialer.secure(connection, host),
        b'N' => Err(io::Error::new(
            ErrorKind::PermissionDenied,
            "the server speaks no TLS; sslmode=disable lets all go in clear",
        )),
        _ => Err(undocumented()),
    }
}

pub(super) fn undocumented() -> io::Error {
    io::Error::new(ErrorKind::InvalidData, "the answer is not as documented")
}
