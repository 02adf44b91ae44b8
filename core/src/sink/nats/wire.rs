//! The text protocol of NATS: what a server says, frame by frame.
//! <https://docs.nats.io/reference/reference-protocols/nats-protocol>

use std::io::{self, ErrorKind, Read};
use std::ops::Range;

use serde_json::Value;

/// The longest line that a server says: `INFO` lists the servers of a cluster.
const MAX_LINE: usize = 1 << 20;
/// The largest message that is taken: answers of JetStream are small.
const MAX_MESSAGE: usize = 8 << 20;
/// How much is read at once.
const READ: usize = 64 * 1024;

/// What a server says.
#[derive(Debug, PartialEq)]
pub(super) enum Said<'a> {
    Info(Value),
    Ping,
    Pong,
    Ok,
    /// An error, in the server's words.
    Error(String),
    Message(Message<'a>),
}

/// A message on our inbox.
#[derive(Debug, PartialEq)]
pub(super) struct Message<'a> {
    pub(super) subject: &'a str,
    /// The status in the first line of its headers, such as 503, if there is one.
    pub(super) status: Option<u16>,
    pub(super) payload: &'a [u8],
}

/// What a server has said and nobody has looked at.
#[derive(Default)]
pub(super) struct Reader {
    bytes: Vec<u8>,
    /// Where the first frame that is left begins.
    start: usize,
}

/// A frame as places in the bytes behind its start.
enum Shape {
    Line,
    Message { subject: Range<usize>, headers: Range<usize>, payload: Range<usize> },
}

impl Reader {
    /// The next frame; reads until it is whole.
    ///
    /// # Errors
    /// Of the connection, which has ended if it is `UnexpectedEof`; `InvalidData` for what no server of NATS says.
    pub(super) fn next(&mut self, from: &mut impl Read) -> io::Result<Said<'_>> {
        let (len, shape) = loop {
            if let Some(found) = shape(&self.bytes[self.start..])? {
                break found;
            }
            self.read(from)?;
        };
        let frame = &self.bytes[self.start..self.start + len];
        self.start += len;
        match shape {
            Shape::Line => line(&frame[..len - 2]),
            Shape::Message { subject, headers, payload } => Ok(Said::Message(Message {
                subject: text(&frame[subject])?,
                status: status(&frame[headers]),
                payload: &frame[payload],
            })),
        }
    }

    fn read(&mut self, from: &mut impl Read) -> io::Result<()> {
        self.bytes.drain(..self.start);
        self.start = 0;
        let len = self.bytes.len();
        self.bytes.resize(len + READ, 0);
        let read = from.read(&mut self.bytes[len..]);
        self.bytes.truncate(len + read.as_ref().map_or(0, |read| *read));
        match read? {
            0 => Err(io::Error::new(ErrorKind::UnexpectedEof, "the server has closed the connection")),
            _ => Ok(()),
        }
    }
}

/// The length and the shape of the first frame; `None` if it is not whole.
fn shape(bytes: &[u8]) -> io::Result<Option<(usize, Shape)>> {
    let Some(end) = bytes.iter().take(MAX_LINE).position(|byte| *byte == b'\n') else {
        return if bytes.len() < MAX_LINE { Ok(None) } else { Err(strange("a line without an end")) };
    };
    let line = bytes[..end].strip_suffix(b"\r").ok_or_else(|| strange("a line that ends in no CR LF"))?;
    let words: Vec<_> = words(line).collect();
    let has_headers = is(line, &words, b"HMSG");
    if !has_headers && !is(line, &words, b"MSG") {
        return Ok(Some((end + 1, Shape::Line)));
    }
    // MSG subject sid [reply] bytes; HMSG subject sid [reply] bytes-of-headers bytes.
    let sizes = 1 + usize::from(has_headers);
    if !(3 + sizes..=4 + sizes).contains(&words.len()) {
        return Err(strange("a message without its sizes"));
    }
    let size = |word: &Range<usize>| -> io::Result<usize> {
        let size = text(&line[word.clone()])?.parse().ok().filter(|size| *size <= MAX_MESSAGE);
        size.ok_or_else(|| strange("a message of a size that no answer has"))
    };
    let total = size(&words[words.len() - 1])?;
    let headers = if has_headers { size(&words[words.len() - 2])? } else { 0 };
    if headers > total {
        return Err(strange("a message with more headers than bytes"));
    }
    let (start, len) = (end + 1, end + 1 + total + 2);
    if bytes.len() < len {
        return Ok(None);
    }
    if !bytes[..len].ends_with(b"\r\n") {
        return Err(strange("a message that is longer than it says"));
    }
    let subject = words[1].clone();
    let shape = Shape::Message { subject, headers: start..start + headers, payload: start + headers..start + total };
    Ok(Some((len, shape)))
}

fn words(line: &[u8]) -> impl Iterator<Item = Range<usize>> {
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let mut at = 0;
    std::iter::from_fn(move || {
        at += line[at..].iter().position(|byte| !blank(byte))?;
        let len = line[at..].iter().position(blank).unwrap_or(line.len() - at);
        at += len;
        Some(at - len..at)
    })
}

fn is(line: &[u8], words: &[Range<usize>], name: &[u8]) -> bool {
    words.first().is_some_and(|word| line[word.clone()].eq_ignore_ascii_case(name))
}

fn line(line: &[u8]) -> io::Result<Said<'static>> {
    let line = String::from_utf8_lossy(line);
    let (name, rest) = line.split_once([' ', '\t']).unwrap_or((&line, ""));
    match &name.to_ascii_uppercase()[..] {
        "INFO" => {
            let info = serde_json::from_str(rest).map_err(|_| strange("an INFO that is no JSON"))?;
            Ok(Said::Info(info))
        }
        "PING" => Ok(Said::Ping),
        "PONG" => Ok(Said::Pong),
        "+OK" => Ok(Said::Ok),
        "-ERR" => Ok(Said::Error(rest.trim().trim_matches('\'').to_owned())),
        _ => Err(strange("a line that is none of its protocol")),
    }
}

/// The status of headers that begin with `NATS/1.0 503 …`.
fn status(headers: &[u8]) -> Option<u16> {
    let first = headers.split(|byte| *byte == b'\r').next()?;
    text(first).ok()?.strip_prefix("NATS/1.0 ")?.trim().get(..3)?.parse().ok()
}

fn text(bytes: &[u8]) -> io::Result<&str> {
    std::str::from_utf8(bytes).map_err(|_| strange("a word that is not UTF-8"))
}

fn strange(what: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, format!("this is no server of NATS: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::net::slowly::Slowly;

    const SAID: &[u8] = b"INFO {\"max_payload\":1024}\r\n+OK\r\nPING\r\npong\r\n-ERR 'Stale Connection'\r\n\
        MSG _INBOX.a.1 1 5\r\nhello\r\nHMSG _INBOX.a.2 1 reply 16 18\r\nNATS/1.0 503\r\n\r\nab\r\nMSG s 1 0\r\n\r\n";

    fn all(bytes: &[u8], at_once: usize) -> (Vec<String>, io::Error) {
        let (mut reader, mut from) = (Reader::default(), Slowly(bytes, at_once));
        let mut said = Vec::new();
        loop {
            match reader.next(&mut from) {
                Ok(one) => said.push(format!("{one:?}")),
                Err(error) => return (said, error),
            }
        }
    }

    #[test]
    fn what_a_server_says_comes_whole_however_it_is_cut() {
        let (whole, end) = all(SAID, SAID.len());
        assert_eq!((whole.len(), end.kind()), (8, ErrorKind::UnexpectedEof));
        let message = |at: usize| whole[at].clone();
        assert!(message(5).contains("_INBOX.a.1") && message(5).contains("status: None"), "{whole:?}");
        assert!(message(6).contains("status: Some(503)") && message(6).contains("payload: [97, 98]"), "{whole:?}");
        assert_eq!(message(4), "Error(\"Stale Connection\")");
        for at_once in 1..20 {
            assert_eq!(all(SAID, at_once).0, whole, "{at_once} at a time");
        }
    }

    #[test]
    fn what_no_server_says_is_an_error() {
        for bad in [
            &b"HTTP/1.1 400 Bad Request\r\n"[..],
            b"PING\n",
            b"INFO nonsense\r\n",
            b"MSG a 1\r\n",
            b"MSG a 1 b c d\r\n",
            b"MSG a 1 -5\r\n",
            b"MSG a 1 999999999999\r\n",
            b"MSG a 1 2\r\nabcd\r\n",
            b"HMSG a 1 5 4\r\nabcd\r\n",
            b"\r\n",
        ] {
            let (said, error) = all(bad, 7);
            assert_eq!((said.len(), error.kind()), (0, ErrorKind::InvalidData), "{bad:?}");
        }
        let long = vec![b'x'; MAX_LINE + 1];
        assert_eq!(all(&long, READ).1.kind(), ErrorKind::InvalidData);
    }
}
