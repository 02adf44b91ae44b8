//! The protocol of Redis (RESP 2): what we ask and what a server replies.
//! <https://redis.io/docs/latest/develop/reference/protocol-spec/>

use std::io::{self, ErrorKind, Read, Write};

/// The longest text that a server replies with: an error or the map of a cluster has no longer one.
const MAX_BULK: usize = 1 << 20;
/// The most elements of a reply, nested ones included: the map of a cluster has 16,384 slots, each with some replicas.
const MAX_ELEMENTS: usize = 1 << 20;
/// The most bytes of all texts of a reply together, so that many long ones fill no memory: each node of that map takes some hundred.
const MAX_BYTES: usize = 32 << 20;
const MAX_DEPTH: usize = 8;
const READ: usize = 64 * 1024;

/// What a server replies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    Text(String),
    Error(String),
    Number(i64),
    Nothing,
    Array(Vec<Reply>),
}

/// Writes a command: its name and arguments.
pub(super) fn command<'a>(arguments: impl ExactSizeIterator<Item = &'a [u8]>, out: &mut Vec<u8>) {
    head(arguments.len(), out);
    arguments.for_each(|argument| bulk(argument, out));
}

/// Writes the head of a command of so many words, which follow by [`bulk`].
pub(super) fn head(words: usize, out: &mut Vec<u8>) {
    // Writing to memory cannot fail.
    let _ = write!(out, "*{words}\r\n");
}

/// Writes a word of a command.
pub(super) fn bulk(word: &[u8], out: &mut Vec<u8>) {
    let _ = write!(out, "${}\r\n", word.len());
    out.extend_from_slice(word);
    out.extend_from_slice(b"\r\n");
}

/// How much there may still be of a reply.
struct Left {
    elements: usize,
    bytes: usize,
}

impl Left {
    fn take_element(&mut self) -> io::Result<()> {
        self.elements = self.elements.checked_sub(1).ok_or_else(|| strange("a reply of too many parts"))?;
        Ok(())
    }

    fn take_bytes(&mut self, len: usize) -> io::Result<()> {
        self.bytes = self.bytes.checked_sub(len).ok_or_else(|| strange("a reply that is too long"))?;
        Ok(())
    }
}

/// What a server has replied and nobody has looked at.
#[derive(Default)]
pub(super) struct Reader {
    bytes: Vec<u8>,
    start: usize,
}

impl Reader {
    /// The next reply; reads until it is whole.
    ///
    /// # Errors
    /// Of the connection, which has ended if it is `UnexpectedEof`; `InvalidData` for what no server of Redis replies.
    pub(super) fn next(&mut self, from: &mut impl Read) -> io::Result<Reply> {
        let mut left = Left { elements: MAX_ELEMENTS, bytes: MAX_BYTES };
        self.reply(from, &mut left, 0)
    }

    fn reply(&mut self, from: &mut impl Read, left: &mut Left, depth: usize) -> io::Result<Reply> {
        left.take_element()?;
        let line = self.line(from)?;
        left.take_bytes(line.len())?;
        let (kind, rest) = line.split_at_checked(1).ok_or_else(|| strange("an empty line"))?;
        let number = || rest.parse::<i64>().map_err(|_| strange("a length that is no number"));
        match kind {
            "+" => Ok(Reply::Text(rest.to_owned())),
            "-" => Ok(Reply::Error(rest.to_owned())),
            ":" => Ok(Reply::Number(number()?)),
            "$" | "*" if number()? == -1 => Ok(Reply::Nothing),
            "$" => {
                let len = usize::try_from(number()?).ok().filter(|len| *len <= MAX_BULK);
                let len = len.ok_or_else(|| strange("a text of a length that no reply has"))?;
                left.take_bytes(len)?;
                self.bulk(from, len)
            }
            "*" => {
                let len = usize::try_from(number()?).ok().filter(|len| *len <= left.elements && depth < MAX_DEPTH);
                let len = len.ok_or_else(|| strange("a reply of too many parts"))?;
                (0..len).map(|_| self.reply(from, left, depth + 1)).collect::<io::Result<_>>().map(Reply::Array)
            }
            _ => Err(strange("a line that is none of its protocol")),
        }
    }

    fn line(&mut self, from: &mut impl Read) -> io::Result<String> {
        let mut looked = 0;
        loop {
            let bytes = &self.bytes[self.start..];
            if let Some(end) = bytes[looked..].windows(2).position(|two| two == b"\r\n") {
                let end = looked + end;
                let line = String::from_utf8_lossy(&bytes[..end]).into_owned();
                self.start += end + 2;
                return Ok(line);
            }
            looked = bytes.len().saturating_sub(1);
            if looked > MAX_BULK {
                return Err(strange("a line without an end"));
            }
            self.read(from)?;
        }
    }

    fn bulk(&mut self, from: &mut impl Read, len: usize) -> io::Result<Reply> {
        while self.bytes.len() - self.start < len + 2 {
            self.read(from)?;
        }
        let bytes = &self.bytes[self.start..self.start + len + 2];
        let text = bytes.strip_suffix(b"\r\n").ok_or_else(|| strange("a text that is longer than it says"))?;
        let text = String::from_utf8_lossy(text).into_owned();
        self.start += len + 2;
        Ok(Reply::Text(text))
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

fn strange(what: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, format!("this is no server of Redis: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::net::slowly::Slowly;

    fn all(bytes: &[u8], at_once: usize) -> (Vec<Reply>, io::Error) {
        let (mut reader, mut from) = (Reader::default(), Slowly(bytes, at_once));
        let mut replies = Vec::new();
        loop {
            match reader.next(&mut from) {
                Ok(reply) => replies.push(reply),
                Err(error) => return (replies, error),
            }
        }
    }

    #[test]
    fn replies_come_whole_however_they_are_cut() {
        let bytes = b"+OK\r\n-MOVED 7 h:1\r\n:-3\r\n$-1\r\n$4\r\na\r\nb\r\n$0\r\n\r\n*3\r\n:1\r\n*1\r\n$1\r\nx\r\n*-1\r\n*0\r\n";
        let text = |text: &str| Reply::Text(text.into());
        let nested = Reply::Array(vec![Reply::Number(1), Reply::Array(vec![text("x")]), Reply::Nothing]);
        let expected = [
            text("OK"),
            Reply::Error("MOVED 7 h:1".into()),
            Reply::Number(-3),
            Reply::Nothing,
            text("a\r\nb"),
            text(""),
            nested,
            Reply::Array(vec![]),
        ];
        for at_once in 1..bytes.len() {
            let (replies, end) = all(bytes, at_once);
            assert_eq!((replies.as_slice(), end.kind()), (&expected[..], ErrorKind::UnexpectedEof), "{at_once}");
        }
    }

    #[test]
    fn what_no_server_replies_is_an_error() {
        let deep = b"*1\r\n".repeat(MAX_DEPTH + 2);
        for bad in [
            &b"HTTP/1.1 400\r\n"[..],
            b"\r\n",
            b":x\r\n",
            b"$-2\r\n",
            b"$99999999999\r\n",
            b"*99999999999\r\n",
            b"$1\r\nabc",
            &deep,
            &vec![b'+'; MAX_BULK + READ * 2],
        ] {
            let (replies, error) = all(bad, READ);
            assert_eq!((replies.len(), error.kind()), (0, ErrorKind::InvalidData), "{}", bad.len());
        }
    }

    /// Short texts that are very many, or long ones that are some: neither fills the memory.
    #[test]
    fn a_reply_is_bounded_as_a_whole() {
        let text = [b"$1048576\r\n".as_slice(), &vec![b'x'; MAX_BULK], b"\r\n"].concat();
        let many = [format!("*{}\r\n", MAX_ELEMENTS - 1).as_bytes(), &text.repeat(MAX_BYTES / MAX_BULK)].concat();
        let (replies, error) = all(&many, READ);
        assert_eq!((replies.len(), error.kind()), (0, ErrorKind::InvalidData));
        assert!(error.to_string().contains("too long"), "{error}");
    }

    #[test]
    fn commands() {
        let mut out = Vec::new();
        command([&b"AUTH"[..], b"", b"p\r\n"].into_iter(), &mut out);
        assert_eq!(out, b"*3\r\n$4\r\nAUTH\r\n$0\r\n\r\n$3\r\np\r\n\r\n");
    }
}
