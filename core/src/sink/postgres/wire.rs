//! The protocol of PostgreSQL, version 3: what we say and what a server says.
//! <https://www.postgresql.org/docs/current/protocol-message-formats.html>

use std::io::{self, ErrorKind, Read};

/// The longest message of a server that we read: a note with its reasons is the longest that one sends us.
const MAX_MESSAGE: usize = 32 << 20;
/// The longest one before we have signed in.
const MAX_GREETING: usize = 1 << 16;
const READ: usize = 16 * 1024;

/// What a server says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// How it wants to know who we are, with what belongs to it.
    Authentication(u32, Vec<u8>),
    /// A row of an answer: its columns as text, or NULL.
    Row(Vec<Option<String>>),
    /// A statement is done; its tag.
    Complete(String),
    /// It waits for rows.
    CopyIn,
    /// It waits for the next query.
    Ready,
    Error(ServerError),
    /// What it tells besides, such as its parameters.
    Other,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ServerError {
    pub(super) code: String,
    pub(super) message: String,
    /// The connection ends with it.
    pub(super) is_fatal: bool,
}

/// What a server has said and nobody has looked at.
#[derive(Default)]
pub(super) struct Reader {
    bytes: Vec<u8>,
    start: usize,
    is_signed_in: bool,
}

impl Reader {
    /// Longer messages may come from now on.
    pub(super) fn signed_in(&mut self) {
        self.is_signed_in = true;
    }

    pub(super) fn is_signed_in(&self) -> bool {
        self.is_signed_in
    }

    /// The next message; reads until it is whole.
    ///
    /// # Errors
    /// Of the connection, which has ended if it is `UnexpectedEof`; `InvalidData` for what no server of PostgreSQL says.
    pub(super) fn next(&mut self, from: &mut impl Read) -> io::Result<Message> {
        self.fill(from, 5)?;
        let head = &self.bytes[self.start..self.start + 5];
        let kind = head[0];
        let len = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        let longest = if self.is_signed_in { MAX_MESSAGE } else { MAX_GREETING };
        if !is_known(kind) || !(4..=longest).contains(&len) {
            return Err(strange("a message of a kind or length that none has"));
        }
        self.fill(from, 1 + len)?;
        let message = decode(kind, &self.bytes[self.start + 5..self.start + 1 + len]);
        self.start += 1 + len;
        message.ok_or_else(|| strange("a message that is not whole"))
    }

    /// Reads until so many bytes are there.
    fn fill(&mut self, from: &mut impl Read, wanted: usize) -> io::Result<()> {
        while self.bytes.len() - self.start < wanted {
            self.bytes.drain(..self.start);
            self.start = 0;
            let len = self.bytes.len();
            self.bytes.resize(len + READ, 0);
            let read = from.read(&mut self.bytes[len..]);
            self.bytes.truncate(len + read.as_ref().map_or(0, |read| *read));
            if read? == 0 {
                return Err(io::Error::new(ErrorKind::UnexpectedEof, "the server has closed the connection"));
            }
        }
        Ok(())
    }
}

fn is_known(kind: u8) -> bool {
    // What we never ask for, such as rows of COPY TO, is left out.
    b"RKSNAEZTDCIGvt123ns".contains(&kind)
}

fn decode(kind: u8, body: &[u8]) -> Option<Message> {
    Some(match kind {
        b'R' => {
            let (code, rest) = body.split_first_chunk()?;
            Message::Authentication(u32::from_be_bytes(*code), rest.to_vec())
        }
        b'D' => Message::Row(row(body)?),
        b'C' => Message::Complete(text(body)?.0),
        b'I' => Message::Complete(String::new()),
        b'G' => Message::CopyIn,
        b'Z' if matches!(body, [b'I' | b'T' | b'E']) => Message::Ready,
        b'Z' => return None,
        b'E' => Message::Error(error(body)?),
        _ => Message::Other,
    })
}

fn row(body: &[u8]) -> Option<Vec<Option<String>>> {
    let (count, mut rest) = body.split_first_chunk()?;
    // Each column takes four bytes at least, so that a count that lies ends soon.
    (0..u16::from_be_bytes(*count))
        .map(|_| {
            let (len, after) = rest.split_first_chunk()?;
            let len = i32::from_be_bytes(*len);
            if len == -1 {
                rest = after;
                return Some(None);
            }
            let (value, after) = after.split_at_checked(usize::try_from(len).ok()?)?;
            rest = after;
            Some(Some(String::from_utf8_lossy(value).into_owned()))
        })
        .collect()
}

/// A text that ends with NUL, and what follows it.
fn text(bytes: &[u8]) -> Option<(String, &[u8])> {
    let end = bytes.iter().position(|byte| *byte == 0)?;
    Some((String::from_utf8_lossy(&bytes[..end]).into_owned(), &bytes[end + 1..]))
}

fn error(body: &[u8]) -> Option<ServerError> {
    let mut error = ServerError::default();
    let mut rest = body;
    loop {
        let (kind, after) = rest.split_first()?;
        if *kind == 0 {
            return Some(error);
        }
        let (value, after) = text(after)?;
        rest = after;
        match kind {
            b'C' => error.code = value.chars().filter(char::is_ascii_alphanumeric).take(5).collect(),
            b'M' => error.message = value,
            // The severity, where the server has one that is not translated.
            b'V' => error.is_fatal = value == "FATAL" || value == "PANIC",
            b'S' if value == "FATAL" || value == "PANIC" => error.is_fatal = true,
            _ => {}
        }
    }
}

fn strange(what: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, format!("this is no server of PostgreSQL: {what}"))
}

/// Writes a message whose body `write` writes.
fn message(kind: u8, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    out.push(kind);
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    write(out);
    set_len(out, at);
}

/// Sets the length of a message, which counts itself.
fn set_len(out: &mut [u8], at: usize) {
    let len = u32::try_from(out.len() - at).expect("a message is far shorter");
    out[at..at + 4].copy_from_slice(&len.to_be_bytes());
}

fn push_text(text: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(text);
    out.push(0);
}

/// Asks whether the server speaks TLS.
pub(super) const TLS_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];

/// The first message; without a kind.
pub(super) fn startup(parameters: &[(&str, &str)], out: &mut Vec<u8>) {
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    // Version 3.0.
    out.extend_from_slice(&[0, 3, 0, 0]);
    for (name, value) in parameters {
        push_text(name.as_bytes(), out);
        push_text(value.as_bytes(), out);
    }
    out.push(0);
    set_len(out, at);
}

pub(super) fn query(sql: &str, out: &mut Vec<u8>) {
    message(b'Q', out, |out| push_text(sql.as_bytes(), out));
}

/// A password, or what stands for it. Room for it must be there, because bytes that grow leave copies behind.
pub(super) fn password(word: &[u8], out: &mut Vec<u8>) {
    message(b'p', out, |out| push_text(word, out));
}

pub(super) fn sasl_begin(mechanism: &str, first: &[u8], out: &mut Vec<u8>) {
    message(b'p', out, |out| {
        push_text(mechanism.as_bytes(), out);
        out.extend_from_slice(&(first.len() as u32).to_be_bytes());
        out.extend_from_slice(first);
    });
}

pub(super) fn sasl_answer(word: &[u8], out: &mut Vec<u8>) {
    message(b'p', out, |out| out.extend_from_slice(word));
}

/// Begins a message with rows of a COPY; [`end_rows`] ends it. Returns where it begins.
pub(super) fn begin_rows(out: &mut Vec<u8>) -> usize {
    out.extend_from_slice(&[b'd', 0, 0, 0, 0]);
    out.len() - 4
}

pub(super) fn end_rows(out: &mut [u8], at: usize) {
    set_len(out, at);
}

pub(super) fn copy_done(out: &mut Vec<u8>) {
    message(b'c', out, |_| {});
}

/// Ends a COPY of which nothing is to be kept.
pub(super) fn copy_fail(out: &mut Vec<u8>) {
    message(b'f', out, |out| push_text(b"nothing is to be copied", out));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::net::slowly::Slowly;

    fn all(bytes: &[u8], at_once: usize) -> (Vec<Message>, io::Error) {
        let (mut reader, mut from) = (Reader::default(), Slowly(bytes, at_once));
        let mut messages = Vec::new();
        loop {
            match reader.next(&mut from) {
                Ok(message) => messages.push(message),
                Err(error) => return (messages, error),
            }
        }
    }

    fn framed(kind: u8, body: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        message(kind, &mut out, |out| out.extend_from_slice(body));
        out
    }

    #[test]
    fn messages_come_whole_however_they_are_cut() {
        let bytes = [
            framed(b'R', b"\0\0\0\x05salt"),
            framed(b'S', b"server_version\x0015\0"),
            framed(b'D', b"\0\x03\0\0\0\x02ab\xff\xff\xff\xff\0\0\0\0"),
            framed(b'C', b"COPY 5\0"),
            framed(b'G', b"\0\0\0"),
            framed(b'E', b"SFEHLER\0VFATAL\0C57P01\0Mgone\0\0"),
            framed(b'Z', b"I"),
        ]
        .concat();
        let row = vec![Some("ab".to_owned()), None, Some(String::new())];
        let error = ServerError { code: "57P01".into(), message: "gone".into(), is_fatal: true };
        let expected = [
            Message::Authentication(5, b"salt".to_vec()),
            Message::Other,
            Message::Row(row),
            Message::Complete("COPY 5".into()),
            Message::CopyIn,
            Message::Error(error),
            Message::Ready,
        ];
        for at_once in 1..bytes.len() {
            let (messages, end) = all(&bytes, at_once);
            assert_eq!((&messages[..], end.kind()), (&expected[..], ErrorKind::UnexpectedEof), "{at_once}");
        }
    }

    #[test]
    fn what_no_server_says_is_an_error() {
        for bad in [
            &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..],
            b"-ERR unknown command\r\n",
            b"R\0\0\0\x03",
            b"R\xff\xff\xff\xff",
            b"S\x7f\xff\xff\xff",
            &framed(b'R', b"\0"),
            &framed(b'D', b"\0\x02\0\0\0\x02ab"),
            &framed(b'D', b"\0\x01\0\0\0\x09ab"),
            &framed(b'D', b"\0\x01\xff\xff\xff\xfe"),
            &framed(b'C', b"COPY"),
            &framed(b'E', b"Mno end"),
            &framed(b'E', b""),
            &framed(b'Z', b"X"),
            b"\0\0\0\0\0",
        ] {
            let (messages, error) = all(bad, READ);
            assert_eq!((messages.len(), error.kind()), (0, ErrorKind::InvalidData), "{bad:?}");
        }
    }

    #[test]
    fn what_we_say() {
        let mut out = Vec::new();
        startup(&[("user", "me")], &mut out);
        assert_eq!(out, b"\0\0\0\x11\0\x03\0\0user\0me\0\0");
        out.clear();
        query("SELECT 1", &mut out);
        assert_eq!(out, b"Q\0\0\0\x0dSELECT 1\0");
        out.clear();
        let at = begin_rows(&mut out);
        out.extend_from_slice(b"a\tb\n");
        end_rows(&mut out, at);
        copy_done(&mut out);
        assert_eq!(out, b"d\0\0\0\x08a\tb\nc\0\0\0\x04");
        out.clear();
        sasl_begin("S", b"xy", &mut out);
        assert_eq!(out, b"p\0\0\0\x0cS\0\0\0\0\x02xy");
    }
}
