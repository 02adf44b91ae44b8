//! A connection to a server: messages go out without waiting, answers come to an inbox of its own.

use std::io::{self, ErrorKind, Write};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::servers::Server;
use super::wire::{Reader, Said};
use crate::platform::system_random;
use crate::sink::net::connect::Connection;

/// So much is put together before it is written.
const WRITE: usize = 64 * 1024;

pub(super) struct Session {
    pub(super) server: Server,
    /// The most bytes of a message, headers included.
    pub(super) max_payload: u64,
    /// It said that before TLS began, and not again since: it may be somebody else's word.
    pub(super) greeted_in_clear: bool,
    /// The server's version, its first two numbers.
    pub(super) version: (u64, u64),
    /// The server asks its clients to go to others.
    pub(super) is_leaving: bool,
    /// The server has told an error. What it speaks of may be an earlier batch's, so that the next begins with another connection.
    pub(super) has_complained: bool,
    connection: Connection,
    reader: Reader,
    out: Vec<u8>,
    /// What the subjects of answers begin with, up to the last dot.
    inbox: String,
    /// The number of the next answer.
    next: u64,
    used: Instant,
}

/// An error that a server tells in between.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) text: String,
    /// The subject that we may not publish to; then the connection goes on.
    pub(super) subject: Option<String>,
}

/// What the next frame is for us.
pub(super) enum Heard {
    /// The answer of that number: its status, if it has one, and its payload.
    Answer(u64, Option<u16>, Vec<u8>),
    Told(Told),
    Pong,
    /// News of the cluster.
    Info(Value),
}

impl Session {
    /// A connection that has greeted us by `info`. Nothing was said to it yet.
    pub(super) fn new(
        server: Server,
        connection: Connection,
        reader: Reader,
        info: &Value,
        inbox_prefix: &str,
    ) -> Self {
        let max_payload = info["max_payload"].as_u64().unwrap_or(u64::MAX);
        let mut numbers = info["version"].as_str().unwrap_or_default().split('.').map(|part| part.parse().unwrap_or(0));
        let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        Session {
            server,
            max_payload,
            greeted_in_clear: false,
            version,
            is_leaving: false,
            has_complained: false,
            connection,
            reader,
            out: Vec::new(),
            inbox: format!("{inbox_prefix}.{:016x}{:016x}.", system_random(), system_random()),
            next: 0,
            used: Instant::now(),
        }
    }

    /// The subscription to our inbox, as a line.
    pub(super) fn subscription(&self) -> String {
        format!("SUB {}* 1\r\n", self.inbox)
    }

    /// Sets so many numbers of answers apart; the first of them.
    pub(super) fn numbers(&mut self, count: usize) -> u64 {
        self.next += count as u64;
        self.next - count as u64
    }

    /// Puts a message into what is to be written. `answer` is the number of its answer, if one is wanted.
    pub(super) fn publish(
        &mut self,
        subject: &str,
        answer: Option<u64>,
        headers: &[u8],
        payload: &[u8],
    ) -> io::Result<()> {
        let (out, sizes) = (&mut self.out, (headers.len(), headers.len() + payload.len()));
        // Writing to memory cannot fail.
        let _ = match (answer, headers.is_empty()) {
            (Some(number), false) => write!(out, "HPUB {subject} {}{number} {} {}\r\n", self.inbox, sizes.0, sizes.1),
            (None, false) => write!(out, "HPUB {subject} {} {}\r\n", sizes.0, sizes.1),
            (Some(number), true) => write!(out, "PUB {subject} {}{number} {}\r\n", self.inbox, sizes.1),
            (None, true) => write!(out, "PUB {subject} {}\r\n", sizes.1),
        };
        out.extend_from_slice(headers);
        out.extend_from_slice(payload);
        out.extend_from_slice(b"\r\n");
        if self.out.len() >= WRITE { self.flush() } else { Ok(()) }
    }

    pub(super) fn say(&mut self, line: &[u8]) -> io::Result<()> {
        self.out.extend_from_slice(line);
        self.flush()
    }

    /// Writes all that is to be written.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        if !self.out.is_empty() {
            self.connection.write_all(&self.out)?;
            self.connection.flush()?;
            self.out.clear();
        }
        Ok(())
    }

    /// Waits for what concerns us, at most until `deadline`; answers pings meanwhile.
    ///
    /// # Errors
    /// Of the connection; `TimedOut` at the deadline; what the server says before it closes the connection.
    pub(super) fn hear(&mut self, deadline: Instant) -> io::Result<Heard> {
        loop {
            let left = deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero());
            let left = left.ok_or_else(|| io::Error::new(ErrorKind::TimedOut, "the server does not answer"))?;
            // All of it: a server that sends a byte now and then is not waited for without end.
            self.connection.wait_until(deadline);
            let said = self.reader.next(&mut self.connection)?;
            self.connection.set_io_timeout(left)?;
            self.used = Instant::now();
            match said {
                Said::Ping => {}
                Said::Ok => continue,
                Said::Pong => return Ok(Heard::Pong),
                Said::Info(info) => {
                    self.is_leaving |= info["ldm"].as_bool().unwrap_or(false);
                    if let Some(most) = info["max_payload"].as_u64() {
                        (self.max_payload, self.greeted_in_clear) = (most, false);
                    }
                    return Ok(Heard::Info(info));
                }
                Said::Error(text) => {
                    self.has_complained = true;
                    return told(text).map(Heard::Told);
                }
                Said::Message(message) => {
                    let number = message.subject.strip_prefix(&self.inbox[..]).and_then(|number| number.parse().ok());
                    // What is not ours has a number that nobody waits for.
                    return Ok(Heard::Answer(number.unwrap_or(u64::MAX), message.status, message.payload.to_vec()));
                }
            }
            self.say(b"PONG\r\n")?;
        }
    }

    /// Whether the server still listens, if nothing was heard of it for a while: it may have closed the connection meanwhile.
    pub(super) fn is_alive(&mut self, after: Duration, wait: Duration) -> bool {
        if self.used.elapsed() < after {
            return !self.is_leaving;
        }
        let deadline = Instant::now() + wait;
        if self.say(b"PING\r\n").is_err() {
            return false;
        }
        loop {
            match self.hear(deadline) {
                Ok(Heard::Pong) => return !self.is_leaving,
                Ok(_) => {}
                Err(_) => return false,
            }
        }
    }
}

/// What an error of the server's is for us.
///
/// # Errors
/// It closes the connection.
pub(super) fn told(text: String) -> io::Result<Told> {
    let lower = text.to_ascii_lowercase();
    if lower.starts_with("permissions violation") {
        let subject = lower.starts_with("permissions violation for publish").then(|| {
            // Servers quote it, in the letters in which it was sent.
            text.split('"').nth(1).unwrap_or_default().to_owned()
        });
        return Ok(Told { text, subject });
    }
    let kind = match lower.contains("authorization") || lower.contains("authentication") {
        true => ErrorKind::PermissionDenied,
        false => ErrorKind::ConnectionAborted,
    };
    Err(io::Error::new(kind, format!("the server says: {text}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_tells_ends_the_connection_or_names_a_subject() {
        let publish = told("Permissions Violation for Publish to \"Orders.X\"".into()).unwrap();
        assert_eq!(publish.subject.as_deref(), Some("Orders.X"));
        assert_eq!(told("Permissions Violation for Subscription to \"_INBOX.x.*\"".into()).unwrap().subject, None);
        assert_eq!(told("Authorization Violation".into()).unwrap_err().kind(), ErrorKind::PermissionDenied);
        for text in ["Stale Connection", "Maximum Payload Violation", "maximum connections exceeded"] {
            assert!(told(text.into()).unwrap_err().to_string().contains(text));
        }
    }
}
