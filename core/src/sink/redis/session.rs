//! A connection to a server of Redis: commands go out together, replies come in their order.

use std::io::{self, ErrorKind, Write};
use std::time::{Duration, Instant};

use super::place::Server;
use super::resp::{Reader, Reply, command};
use crate::sink::net::connect::Connection;
use crate::sink::net::redact::brief;

/// So much is put together before it is written.
const WRITE: usize = 256 * 1024;

pub(super) struct Session {
    pub(super) server: Server,
    connection: Connection,
    reader: Reader,
    /// What is to be written.
    pub(super) out: Vec<u8>,
    used: Instant,
}

impl Session {
    pub(super) fn new(server: Server, connection: Connection) -> Self {
        Session { server, connection, reader: Reader::default(), out: Vec::new(), used: Instant::now() }
    }

    /// Writes what is to be written, if it is much.
    pub(super) fn flush_if_much(&mut self) -> io::Result<()> {
        if self.out.len() >= WRITE { self.flush() } else { Ok(()) }
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        let out = std::mem::take(&mut self.out);
        self.say(&out)?;
        self.out = out;
        self.out.clear();
        Ok(())
    }

    /// Writes bytes of a command, past what is to be written.
    pub(super) fn say(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.connection.write_all(bytes)?;
        self.connection.flush()
    }

    /// The next reply, which may take so long.
    ///
    /// # Errors
    /// Of the connection; `TimedOut`.
    pub(super) fn reply(&mut self, wait: Duration) -> io::Result<Reply> {
        // All of it: a server that sends a byte now and then is not waited for without end.
        self.connection.wait_until(Instant::now() + wait);
        let reply = self.reader.next(&mut self.connection)?;
        self.connection.set_io_timeout(wait)?;
        self.used = Instant::now();
        Ok(reply)
    }

    /// One command and its reply.
    ///
    /// # Errors
    /// Of the connection, and what the server replies as an error.
    pub(super) fn ask(&mut self, words: &[&str], wait: Duration) -> io::Result<Reply> {
        let mut bytes = Vec::new();
        command(words.iter().map(|word| word.as_bytes()), &mut bytes);
        self.say(&bytes)?;
        match self.reply(wait)? {
            Reply::Error(error) => Err(said(&error)),
            reply => Ok(reply),
        }
    }

    /// Says a command that has a secret in it.
    ///
    /// # Errors
    /// Of the connection; the first word of what the server replies as an error, because the rest may repeat the secret.
    pub(super) fn sign_in(&mut self, command: &[u8], wait: Duration) -> io::Result<()> {
        self.say(command)?;
        match self.reply(wait)? {
            Reply::Error(error) => {
                let word = error.split(' ').next().filter(|word| word.bytes().all(|byte| byte.is_ascii_uppercase()));
                Err(said(&format!("{} in reply to AUTH", word.unwrap_or("an error"))))
            }
            _ => Ok(()),
        }
    }

    /// Whether the server still listens, if nothing was heard of it for a while: it may have closed the connection meanwhile.
    pub(super) fn is_alive(&mut self, after: Duration, wait: Duration) -> bool {
        self.used.elapsed() < after || self.ping(wait).is_ok()
    }

    /// Asks for a sign of life. A user who may not ask gets one, too.
    ///
    /// # Errors
    /// Of the connection, and if nobody is signed in who must be: a large command would then be no more than an error of the
    /// protocol.
    pub(super) fn ping(&mut self, wait: Duration) -> io::Result<()> {
        let mut bytes = Vec::new();
        command([&b"PING"[..]].into_iter(), &mut bytes);
        self.say(&bytes)?;
        match self.reply(wait)? {
            Reply::Error(error) if error.starts_with("NOAUTH") => Err(said(&error)),
            _ => Ok(()),
        }
    }
}

fn said(error: &str) -> io::Error {
    io::Error::new(ErrorKind::PermissionDenied, format!("the server says: {}", brief(error, 500)))
}
