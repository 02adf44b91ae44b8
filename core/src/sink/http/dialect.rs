//! What differs from service to service: how records are written, and how answers are read.

use std::borrow::Cow;

use ureq::http::{HeaderMap, HeaderName, HeaderValue};

use super::setup;
use super::status::{Meaning, Statuses};
use crate::batch::Batch;
use crate::limits::MAX_OWN_ID_BYTES;
use crate::record::{NewRecord, Record};
use crate::sink::Outcome;
use crate::sink::net::delivery::{Item, Outcomes};
use crate::sink::net::encode::percent;
use crate::sink::net::failure::CallError;
use crate::sink::net::http::Answer;

/// A record on its way into a request.
pub(super) struct Entry<'a> {
    pub(super) index: usize,
    pub(super) record: Record<'a>,
    pub(super) id: Cow<'a, str>,
    /// The record as the dialect writes it, without what stands between records.
    pub(super) piece: Cow<'a, [u8]>,
    /// What it adds to a body at most.
    pub(super) bytes: u64,
}

#[cfg(any(test, feature = "torture"))]
impl<'a> Entry<'a> {
    /// Makes an entry, for tests.
    pub(super) fn new(index: usize, record: Record<'a>) -> Self {
        Entry { index, record, id: record.id(), piece: record.data.into(), bytes: record.data.len() as u64 }
    }
}

impl Item for Entry<'_> {
    fn index(&self) -> usize {
        self.index
    }
}

/// What a request holds at most.
#[derive(Clone, Copy, Debug)]
pub(super) struct CallLimits {
    pub(super) records: u64,
    /// Of the body before compression.
    pub(super) bytes: u64,
    /// Of a record as it stands in the body.
    pub(super) record_bytes: u64,
}

/// How a service is spoken to.
pub(super) trait Dialect: Send + Sync {
    /// What the service takes, unless options say otherwise.
    fn limits(&self) -> CallLimits;

    /// The `Content-Type`, unless an option says otherwise.
    fn content_type(&self) -> &'static str;

    /// The header of a token, and what stands before the token in it.
    fn authorization(&self) -> (&'static str, &'static str) {
        ("authorization", "Bearer ")
    }

    /// The path, and perhaps a query, that requests go to where the URL of the sink has this path.
    ///
    /// # Errors
    /// What is missing in it.
    fn path(&self, path: &str) -> Result<String, String> {
        Ok(path.to_owned())
    }

    /// What this request adds to the query.
    fn query(&self, request: &Request<'_>) -> Option<String> {
        let _ = request;
        None
    }

    /// Whether the path and the query of the URL may be a key, as those of webhooks are, so that they are masked in what the
    /// service says.
    fn hides_path(&self) -> bool {
        false
    }

    /// Whether the service sorts records itself, so that requests may be under way side by side.
    fn is_unordered(&self) -> bool {
        false
    }

    /// How many bytes a body has around each piece, at most, whatever the record is.
    fn framing_bytes(&self) -> u64;

    /// How many bytes more a body has around the piece of this record, at most.
    fn extra_bytes(&self, record: &Record<'_>, id: &str) -> u64 {
        let _ = (record, id);
        0
    }

    /// Why the service would never take a record, if it would not.
    fn check(&self, record: &NewRecord<'_>) -> Result<(), String>;

    /// Writes a record; [`check`](Self::check) had nothing against it.
    fn piece<'a>(&self, record: &Record<'a>, id: &str) -> Cow<'a, [u8]>;

    /// Puts pieces together.
    fn body(&self, entries: &[&Entry<'_>]) -> Vec<u8>;

    /// Adds headers of this request.
    fn headers(&self, request: &Request<'_>, headers: &mut HeaderMap) {
        let _ = (request, headers);
    }

    /// Reads an answer that the statuses call a success.
    ///
    /// # Errors
    /// It speaks for the whole request after all.
    fn delivered(&self, answer: &Answer, entries: &[&Entry<'_>], statuses: &Statuses) -> Outcomes;

    /// Whether an answer has the shape that the service's answers have. Others are somebody else's.
    fn is_own(&self, answer: &Answer) -> bool {
        let _ = answer;
        true
    }

    /// What an answer means, if this service has another opinion than the table of statuses.
    fn meaning(&self, answer: &Answer) -> Option<Meaning> {
        let _ = answer;
        None
    }

    /// What to ask the service, before its first request, about whether it acknowledges at all.
    fn first_question(&self, request: &Request<'_>) -> Option<Question> {
        let _ = request;
        None
    }

    /// What to ask the service, until it says yes, after it has taken a request with this answer: only then the records are
    /// delivered.
    ///
    /// # Errors
    /// The answer does not say what to ask for.
    fn question(&self, answer: &Answer, request: &Request<'_>) -> Result<Option<Question>, CallError> {
        let _ = (answer, request);
        Ok(None)
    }
}

/// Whether a service has stored what it took.
pub(super) struct Question {
    /// Where to ask, for the path of the sink's URL.
    pub(super) path: fn(&str) -> String,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
    /// Reads the answer: whether the service says yes.
    pub(super) is_yes: Box<dyn Fn(&Answer) -> Result<bool, CallError>>,
}

/// A request that is about to be sent.
pub(super) struct Request<'r> {
    pub(super) batch: &'r Batch,
    pub(super) entries: &'r [&'r Entry<'r>],
    pub(super) body: &'r [u8],
}

impl Request<'_> {
    /// A name that this request has at each attempt, and no other request: the batch's id, and of a part of the batch also
    /// which part it is.
    pub(super) fn id(&self) -> String {
        let batch = self.batch;
        let count = batch.last_seq() - batch.first_seq() + 1;
        if self.entries.len() as u64 == count {
            return batch.id();
        }
        let seqs = self.entries.iter().map(|entry| entry.record.seq);
        let sum = seqs.fold(0, |sum, seq| crc32c::crc32c_append(sum, &seq.to_le_bytes()));
        let ends = (self.entries.first(), self.entries.last());
        let (first, last) = (ends.0.map_or(0, |entry| entry.record.seq), ends.1.map_or(0, |entry| entry.record.seq));
        format!("{}.{first}-{last}-{sum:08x}", batch.id())
    }
}

/// Every record of the request is delivered.
pub(super) fn all_delivered(entries: &[&Entry<'_>]) -> Outcomes {
    Ok(vec![Outcome::Delivered; entries.len()])
}

/// The value of a header: visible ASCII as it is, other bytes percent-encoded.
pub(super) fn header_value(text: &str) -> HeaderValue {
    let visible: Vec<u8> = (b' '..=b'~').filter(|byte| *byte != b'%').collect();
    HeaderValue::from_str(&percent(text, &visible)).unwrap_or(HeaderValue::from_static(""))
}

/// Adds the headers of a record that has a request of its own, but for those that are the connection's or the sink's.
pub(super) fn add_of(record: &Record<'_>, headers: &mut HeaderMap) {
    let mut of_record = HeaderMap::new();
    for (name, value) in record.headers {
        let Ok(name) = name.parse::<HeaderName>() else { continue };
        if !setup::is_reserved(&name) && !headers.contains_key(&name) {
            of_record.append(name, header_value(&String::from_utf8_lossy(value)));
        }
    }
    headers.extend(of_record);
}

/// The most bytes that a record's id, key, topic and headers take as headers of a request, names included. Servers refuse
/// longer ones in ways that tell nobody which record it was: Tomcat takes 8 KiB with all other headers (`maxHttpHeaderSize`),
/// nginx and Apache 8 KiB a line (`large_client_header_buffers`, `LimitRequestFieldSize`).
pub(super) const MAX_RECORD_HEADER_BYTES: usize = 6 << 10;

/// Why a record has too much for the headers of a request, if it has.
pub(super) fn check_headers(record: &NewRecord<'_>) -> Result<(), String> {
    let encoded = |bytes: &[u8]| -> usize {
        bytes.iter().map(|byte| if matches!(byte, b' '..=b'~') && *byte != b'%' { 1 } else { 3 }).sum()
    };
    // The id stands there twice.
    let id = record.id.map_or(MAX_OWN_ID_BYTES, |id| encoded(id.as_bytes()));
    let key = record.key.map_or(0, encoded);
    let topic = record.topic.map_or(0, |topic| encoded(topic.as_bytes()));
    let headers: usize = record.headers.iter().map(|(name, value)| name.len() + encoded(value) + 4).sum();
    let bytes = 2 * id + key + topic + headers;
    match bytes > MAX_RECORD_HEADER_BYTES {
        true => Err(format!(
            "its id, key, topic and headers take {bytes} bytes as headers of a request; they may take {MAX_RECORD_HEADER_BYTES}"
        )),
        false => Ok(()),
    }
}

/// Headers that are too large are the record's where they are made of it; the record alone is refused.
pub(super) fn meaning_of_headers(answer: &Answer) -> Option<Meaning> {
    (answer.status == 431).then_some(Meaning::Split)
}

/// Adds a header by a name that is known to be good.
pub(super) fn add(headers: &mut HeaderMap, name: &'static str, value: HeaderValue) {
    headers.insert(HeaderName::from_static(name), value);
}
