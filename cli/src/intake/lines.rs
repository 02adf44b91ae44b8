//! Lines of a stream, one after the other, each within a limit.

use std::io::{self, Read};

/// Longer than a record may be, with its line feed.
pub(crate) const MOST: usize = (256 << 20) + 2;
const STEP: usize = 64 << 10;

/// Reads lines. A buffer grows with the longest line, up to [`MOST`].
pub(crate) struct Lines<R> {
    source: R,
    buffer: Vec<u8>,
    /// What of the buffer is read and not yet given out.
    begin: usize,
    end: usize,
    /// The length of the line that was given out last, which lies before `begin`.
    last: usize,
    most: usize,
}

impl<R: Read> Lines<R> {
    /// The lines of `source` from where it stands.
    pub(crate) fn new(source: R) -> Lines<R> {
        Lines { source, buffer: Vec::new(), begin: 0, end: 0, last: 0, most: MOST }
    }

    /// Goes to the next line; `false` at the end.
    ///
    /// # Errors
    /// Those of the source, but for interruptions.
    pub(crate) fn advance(&mut self) -> io::Result<bool> {
        let mut searched = 0;
        loop {
            let unread = &self.buffer[self.begin..self.end];
            let feed = memchr::memchr(b'\n', &unread[searched..]).map(|at| searched + at + 1);
            if let Some(length) = feed.or((unread.len() >= self.most).then_some(self.most)) {
                return Ok(self.give(length.min(self.most)));
            }
            searched = unread.len();
            if !self.fill()? {
                return Ok(self.give(searched));
            }
        }
    }

    fn give(&mut self, length: usize) -> bool {
        self.begin += length;
        self.last = length;
        length > 0
    }

    /// The line that it has gone to, with its line feed, which the last one of a stream may lack. A line that is longer
    /// than the limit comes in pieces.
    pub(crate) fn line(&self) -> &[u8] {
        &self.buffer[self.begin - self.last..self.begin]
    }

    /// The line without its line feed.
    pub(crate) fn text(&self) -> &[u8] {
        self.line().strip_suffix(b"\n").unwrap_or(self.line())
    }

    /// Reads once more; `false` at the end.
    fn fill(&mut self) -> io::Result<bool> {
        if self.begin > 0 {
            self.buffer.copy_within(self.begin..self.end, 0);
            self.end -= self.begin;
            self.begin = 0;
        }
        if self.buffer.len() - self.end < STEP {
            self.buffer.resize((self.end * 2).max(self.end + STEP), 0);
        }
        loop {
            match self.source.read(&mut self.buffer[self.end..]) {
                Ok(read) => {
                    self.end += read;
                    return Ok(read > 0);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives out a few bytes at a time.
    struct Trickle<'a>(&'a [u8], usize);

    impl Read for Trickle<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let count = self.1.min(into.len());
            self.0.read(&mut into[..count])
        }
    }

    fn all(bytes: &[u8], step: usize, most: usize) -> Vec<Vec<u8>> {
        let mut lines = Lines { most, ..Lines::new(Trickle(bytes, step)) };
        let mut found = Vec::new();
        while lines.advance().unwrap() {
            found.push(lines.line().to_vec());
        }
        found
    }

    #[test]
    fn lines_are_what_lies_between_line_feeds() {
        for step in [1, 3, 1 << 20] {
            assert_eq!(all(b"", step, MOST), [b""; 0]);
            assert_eq!(all(b"a\n\nbc\nd", step, MOST), [&b"a\n"[..], b"\n", b"bc\n", b"d"]);
            assert_eq!(all(b"abcdefg\nh\n", step, 3), [&b"abc"[..], b"def", b"g\n", b"h\n"]);
        }
        let long = [vec![b'x'; 200_000], b"\ny".to_vec()].concat();
        assert_eq!(all(&long, 70_000, MOST), [long[..200_001].to_vec(), b"y".to_vec()]);
    }
}
