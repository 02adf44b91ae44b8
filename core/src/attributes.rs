//! What a record may carry besides its payload, id and key: headers, a topic, a time of expiry. Here is how they stand in a
//! frame's body, and [`Headers`], which shows them without a copy. `docs/format.md` says the same in prose; change both
//! together.
//!
//! | at | size | field |
//! |---|---|---|
//! | 0 | 1 | flags: 1 there is a time of expiry |
//! | 1 | 1 | number of headers |
//! | 2 | 2 | length of the topic; 0: none |
//! | 4 | 8 | time of expiry, microseconds since the epoch; zero without its flag |
//! | 12 | .. | topic; then of each header the lengths of name and value (2 bytes each), name, value |

use std::fmt;

use crate::little_endian::{le_u16, le_u64};

const HEAD_BYTES: usize = 12;
/// The lengths before each header's name and value.
const LENGTHS_BYTES: usize = 4;
const FLAG_EXPIRES: u8 = 1;

/// The headers of a record: names with values, in the order in which they were put. A name may come more than once.
///
/// ```
/// use unistream::{Headers, NewRecord};
/// let headers = [("traceparent", &b"00-4bf9"[..]), ("content-type", b"text/plain")];
/// let record = NewRecord::new(b"payload").headers(&headers);
/// assert_eq!(record.headers.get("traceparent"), Some(&b"00-4bf9"[..]));
/// assert_eq!(record.headers.iter().map(|(name, _)| name).collect::<Vec<_>>(), ["traceparent", "content-type"]);
/// ```
#[derive(Clone, Copy)]
pub struct Headers<'a>(Source<'a>);

#[derive(Clone, Copy)]
enum Source<'a> {
    /// None by its kind already, so that a record made without any is known to have none.
    None,
    Pairs(&'a [(&'a str, &'a [u8])]),
    /// As they stand in a frame.
    Encoded(&'a [u8]),
}

impl<'a> Headers<'a> {
    /// No headers.
    pub const NONE: Headers<'static> = Headers(Source::None);

    /// How many there are.
    pub fn len(&self) -> usize {
        match self.0 {
            Source::None => 0,
            Source::Pairs(pairs) => pairs.len(),
            Source::Encoded(_) => self.iter().count(),
        }
    }

    /// Whether there are none.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        match self.0 {
            Source::None => true,
            Source::Pairs(pairs) => pairs.is_empty(),
            Source::Encoded(bytes) => bytes.is_empty(),
        }
    }

    /// The first value under this name. Letters count as they are: `A` is not `a`.
    pub fn get(&self, name: &str) -> Option<&'a [u8]> {
        self.iter().find(|(found, _)| *found == name).map(|(_, value)| value)
    }

    /// Names with values, in order.
    pub fn iter(&self) -> HeadersIter<'a> {
        HeadersIter(self.0)
    }
}

impl Default for Headers<'_> {
    fn default() -> Self {
        Headers::NONE
    }
}

impl<'a> From<&'a [(&'a str, &'a [u8])]> for Headers<'a> {
    fn from(pairs: &'a [(&'a str, &'a [u8])]) -> Self {
        Headers(Source::Pairs(pairs))
    }
}

impl<'a, const N: usize> From<&'a [(&'a str, &'a [u8]); N]> for Headers<'a> {
    fn from(pairs: &'a [(&'a str, &'a [u8]); N]) -> Self {
        Headers(Source::Pairs(pairs))
    }
}

impl<'a> From<&'a Vec<(&'a str, &'a [u8])>> for Headers<'a> {
    fn from(pairs: &'a Vec<(&'a str, &'a [u8])>) -> Self {
        Headers(Source::Pairs(pairs))
    }
}

impl<'a> IntoIterator for Headers<'a> {
    type Item = (&'a str, &'a [u8]);
    type IntoIter = HeadersIter<'a>;

    fn into_iter(self) -> HeadersIter<'a> {
        self.iter()
    }
}

impl PartialEq for Headers<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Headers<'_> {}

impl fmt::Debug for Headers<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// The headers of a record, one after the other.
#[derive(Clone, Debug)]
pub struct HeadersIter<'a>(Source<'a>);

impl fmt::Debug for Source<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("..")
    }
}

impl<'a> Iterator for HeadersIter<'a> {
    type Item = (&'a str, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.0 {
            Source::None => None,
            Source::Pairs(pairs) => {
                let (first, rest) = pairs.split_first()?;
                *pairs = rest;
                Some(*first)
            }
            Source::Encoded(bytes) => {
                let (header, rest) = split_header(bytes)?;
                *bytes = rest;
                Some(header)
            }
        }
    }
}

/// The first of some encoded headers, and those behind it; `None` if there is none, or it is not whole.
fn split_header(bytes: &[u8]) -> Option<((&str, &[u8]), &[u8])> {
    let (lengths, rest) = bytes.split_at_checked(LENGTHS_BYTES)?;
    let (name, rest) = rest.split_at_checked(usize::from(le_u16(lengths, 0)))?;
    let (value, rest) = rest.split_at_checked(usize::from(le_u16(lengths, 2)))?;
    Some(((std::str::from_utf8(name).ok()?, value), rest))
}

/// What a record carries besides payload, id and key. A record that carries none of it has no such part in its frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Attributes<'a> {
    pub(crate) topic: Option<&'a str>,
    pub(crate) expires_at: Option<i64>,
    pub(crate) headers: Headers<'a>,
}

impl<'a> Attributes<'a> {
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.topic.is_none() & self.expires_at.is_none() & self.headers.is_empty()
    }

    /// Bytes of it in a frame; 0 if there is none of it.
    pub(crate) fn len(&self) -> usize {
        if self.is_empty() {
            return 0;
        }
        let headers = match self.headers.0 {
            Source::None => 0,
            Source::Pairs(pairs) => pairs.iter().map(|(name, value)| LENGTHS_BYTES + name.len() + value.len()).sum(),
            Source::Encoded(bytes) => bytes.len(),
        };
        HEAD_BYTES + self.topic.map_or(0, str::len) + headers
    }

    /// Calls `each` with the bytes of it in a frame, piece by piece. Lengths must fit their fields, as
    /// [`checked_attributes`](crate::NewRecord::checked_attributes) sees to it.
    pub(crate) fn each_piece(&self, mut each: impl FnMut(&[u8])) {
        if self.is_empty() {
            return;
        }
        let topic = self.topic.unwrap_or_default();
        let mut head = [0; HEAD_BYTES];
        head[0] = if self.expires_at.is_some() { FLAG_EXPIRES } else { 0 };
        head[1] = self.headers.len() as u8;
        head[2..4].copy_from_slice(&(topic.len() as u16).to_le_bytes());
        head[4..12].copy_from_slice(&self.expires_at.unwrap_or(0).to_le_bytes());
        each(&head);
        each(topic.as_bytes());
        match self.headers.0 {
            Source::None => {}
            Source::Pairs(pairs) => {
                for (name, value) in pairs {
                    each(&(name.len() as u16).to_le_bytes());
                    each(&(value.len() as u16).to_le_bytes());
                    each(name.as_bytes());
                    each(value);
                }
            }
            Source::Encoded(bytes) => each(bytes),
        }
    }

    /// `None` if the bytes are not what [`each_piece`](Self::each_piece) gives of some attributes.
    pub(crate) fn decode(bytes: &'a [u8]) -> Option<Attributes<'a>> {
        let (head, rest) = bytes.split_at_checked(HEAD_BYTES)?;
        let (topic, headers) = rest.split_at_checked(usize::from(le_u16(head, 2)))?;
        let expires_at = le_u64(head, 4).cast_signed();
        let attributes = Attributes {
            topic: if topic.is_empty() { None } else { Some(std::str::from_utf8(topic).ok()?) },
            expires_at: (head[0] & FLAG_EXPIRES != 0).then_some(expires_at),
            headers: Headers(Source::Encoded(headers)),
        };
        let (mut count, mut left) = (0, headers);
        while let Some((_, rest)) = split_header(left) {
            (count, left) = (count + 1, rest);
        }
        let is_whole = left.is_empty() && count == usize::from(head[1]);
        let has_time = attributes.expires_at.is_some() || expires_at == 0;
        (is_whole && has_time && head[0] & !FLAG_EXPIRES == 0 && !attributes.is_empty()).then_some(attributes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(attributes: &Attributes<'_>) -> Vec<u8> {
        let mut bytes = Vec::new();
        attributes.each_piece(|piece| bytes.extend_from_slice(piece));
        assert_eq!(bytes.len(), attributes.len());
        bytes
    }

    #[test]
    fn attributes_come_back_as_they_went() {
        let pairs = [("a", &b"1"[..]), ("empty", b""), ("a", b"\xff\0"), ("größe", b"2")];
        for topic in [None, Some("t"), Some("orders/eu")] {
            for expires_at in [None, Some(0), Some(-5), Some(i64::MAX)] {
                for count in 0..=pairs.len() {
                    let headers = Headers::from(&pairs[..count]);
                    let attributes = Attributes { topic, expires_at, headers };
                    let bytes = encoded(&attributes);
                    if attributes.is_empty() {
                        assert_eq!(bytes, b"");
                        continue;
                    }
                    let again = Attributes::decode(&bytes).unwrap();
                    assert_eq!(again, attributes);
                    assert_eq!((again.headers.len(), again.headers.is_empty()), (count, count == 0));
                    // What was read is put again as it stands.
                    assert_eq!(encoded(&again), bytes);
                    (0..bytes.len()).for_each(|cut| assert_eq!(Attributes::decode(&bytes[..cut]), None));
                }
            }
        }
        assert_eq!(Headers::from(&pairs).get("a"), Some(&b"1"[..]));
        assert_eq!(Headers::from(&pairs).get("A"), None);
    }

    #[test]
    fn what_no_writer_writes_is_nothing() {
        let whole =
            encoded(&Attributes { topic: Some("t"), expires_at: None, headers: Headers::from(&[("n", &b"v"[..])]) });
        for (at, byte, what) in [
            (0, 2, "an unknown flag"),
            (1, 0, "fewer headers than there are"),
            (1, 2, "more headers than there are"),
            (2, 2, "a longer topic"),
            (4, 1, "a time without its flag"),
            (12, 0xff, "a topic that is not text"),
            (17, 0xff, "a name that is not text"),
            (13, 2, "a longer name"),
            (15, 0, "a shorter value"),
        ] {
            let mut bytes = whole.clone();
            bytes[at] = byte;
            assert_eq!(Attributes::decode(&bytes), None, "{what}");
        }
        assert_eq!(Attributes::decode(&[0; HEAD_BYTES]), None, "nothing at all");
    }
}
