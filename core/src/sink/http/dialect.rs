//! What differs from service to service: how records are written, and how answers are read.

use std::borrow::Cow;

use ureq::http::{HeaderMap, HeaderName, HeaderValue};

use super::setup;
use super::status::{Meaning, Statuses};
use crate::batch::Batch;
use crate::record::{NewRecord, Record};
use crate::sink::Outcome;
use crate::sink::net::delivery::{Item, Outcomes};
use crate::sink::net::encode::percent;
use crate::sink::net::http::Answer;

/// A record on its way into a request.
pub(super) struct Entry<'a> {
    pub(super) index: usize,
    pub(super) record: Record<'a>,
    pub(super) id: Cow<'a, str>,
    /// The record as the dialect writes it, without what stands between records.
    pub(super) piece: Cow<'a, [u8]>,
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

    /// How many bytes a body has around each piece, at most.
    fn framing_bytes(&self) -> u64;

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

    /// What an answer means that the statuses call no success, if this service has another opinion.
    fn meaning(&self, answer: &Answer) -> Option<Meaning> {
        let _ = answer;
        None
    }
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
    for (name, value) in record.headers {
        let Ok(name) = name.parse::<HeaderName>() else { continue };
        if !setup::is_reserved(&name) && !headers.contains_key(&name) {
            headers.insert(name, header_value(&String::from_utf8_lossy(value)));
        }
    }
}

/// Adds a header by a name that is known to be good.
pub(super) fn add(headers: &mut HeaderMap, name: &'static str, value: HeaderValue) {
    headers.insert(HeaderName::from_static(name), value);
}
