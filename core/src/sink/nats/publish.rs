//! From records to messages, and from their answers to outcomes.

use std::borrow::Cow;
use std::io;
use std::time::{Duration, Instant};

use super::answer::{self, Meaning, Refusal, Stored};
use super::client::Client;
use super::session::{Heard, Session};
use crate::platform::system_random;
use crate::record::Record;
use crate::sink::Outcome;
use crate::sink::net::encode::{hex, percent};
use crate::time::timestamp;

/// So many messages are on their way at most: a stream takes 10,000 (`max_buffered_msgs`), of all who publish to it.
const MOST_AWAITED: usize = 2048;
/// The most messages of an atomic batch (ADR-50 of NATS).
const MOST_ATOMIC: usize = 1000;
/// The first version of servers that have atomic batches.
const ATOMIC_SINCE: (u64, u64) = (2, 12);

/// A record with the subject that it goes to.
pub(super) struct Entry<'a> {
    pub(super) index: usize,
    pub(super) record: Record<'a>,
    pub(super) subject: Cow<'a, str>,
    pub(super) id: Cow<'a, str>,
}

/// What messages say besides the payload.
#[derive(Debug)]
pub(super) struct Headers {
    pub(super) deduplicate: bool,
    pub(super) metadata: bool,
    pub(super) stream: String,
}

/// The place of a message in an atomic batch.
pub(super) struct InBatch<'b> {
    id: &'b str,
    /// From 1.
    nth: usize,
    is_last: bool,
}

/// Publishes the records of one batch over one connection.
pub(super) struct Publisher<'p> {
    pub(super) client: &'p Client,
    pub(super) session: &'p mut Session,
    pub(super) headers: &'p Headers,
    pub(super) timeout: Duration,
    /// By index in the batch; `None` while it is not known.
    pub(super) outcomes: &'p mut [Option<Outcome>],
    /// Where records are, by index, if somebody wants to know.
    pub(super) receipts: Option<&'p mut Vec<(usize, String)>>,
}

impl Publisher<'_> {
    /// Publishes each record as a message of its own, many before the first is answered.
    ///
    /// # Errors
    /// Of the connection. What was answered before has its outcome.
    pub(super) fn each(&mut self, entries: &[&Entry<'_>]) -> io::Result<()> {
        let mut bytes = Vec::new();
        // The number of the first answer; the others follow it, as the records do.
        let first = self.session.numbers(entries.len());
        let mut awaited = 0;
        for ((sent, entry), number) in entries.iter().enumerate().zip(first..) {
            self.headers.write(entry, None, &mut bytes);
            if !self.fits(&bytes, entry) {
                continue;
            }
            self.session.publish(&entry.subject, Some(number), &bytes, entry.record.data)?;
            awaited += 1;
            if awaited >= MOST_AWAITED {
                self.session.flush()?;
                while awaited >= MOST_AWAITED / 2 {
                    awaited -= self.answer(first, &entries[..=sent])?;
                }
            }
        }
        self.session.flush()?;
        while awaited > 0 {
            awaited -= self.answer(first, entries)?;
        }
        Ok(())
    }

    /// Rejects a record that the server would end the connection for. What it said before TLS is not enough for that: then the
    /// record has failed.
    fn fits(&mut self, headers: &[u8], entry: &Entry<'_>) -> bool {
        let (bytes, most) = ((headers.len() + entry.record.data.len()) as u64, self.session.max_payload);
        if bytes > most {
            let reason = format!("it is {bytes} bytes with its headers; the server takes {most} (max_payload)");
            self.outcomes[entry.index] = Some(match self.session.greeted_in_clear {
                false => Outcome::Rejected { reason },
                true => answer::failed(format!("{reason}, as it says before TLS; tls=first makes sure")).into_outcome(),
            });
        }
        bytes <= most
    }

    /// Waits until something is known of messages whose numbers begin with `first`; of how many it is.
    fn answer(&mut self, first: u64, sent: &[&Entry<'_>]) -> io::Result<usize> {
        let deadline = Instant::now() + self.timeout;
        loop {
            match self.session.hear(deadline)? {
                Heard::Answer(number, status, payload) => {
                    let place = number.checked_sub(first).and_then(|place| usize::try_from(place).ok());
                    let Some(entry) = place.and_then(|place| sent.get(place)) else { continue };
                    let Some(answer) = answer::read(status, &payload) else { continue };
                    if self.outcomes[entry.index].is_none() {
                        if let Ok(stored) = &answer {
                            self.receive(entry.index, &stored.stream, stored.seq);
                        }
                        self.outcomes[entry.index] = Some(Self::outcome(answer));
                        return Ok(1);
                    }
                }
                Heard::Told(told) => {
                    let Some(subject) = told.subject else { return Err(io::Error::other(told.text)) };
                    let mut known = 0;
                    for entry in sent.iter().filter(|entry| entry.subject == subject) {
                        let outcome = &mut self.outcomes[entry.index];
                        if outcome.is_none() {
                            *outcome = Some(answer::unavailable(&*told.text).error.into_outcome());
                            known += 1;
                        }
                    }
                    if known > 0 {
                        return Ok(known);
                    }
                }
                Heard::Info(info) => self.client.learn(self.session, &info),
                Heard::Pong => {}
            }
        }
    }

    /// Notes where a record is.
    fn receive(&mut self, index: usize, stream: &str, seq: u64) {
        if let Some(receipts) = &mut self.receipts {
            receipts.push((index, format!("{stream}:{seq}")));
        }
    }

    fn outcome(answer: Result<Stored, Refusal>) -> Outcome {
        match answer {
            Ok(_) => Outcome::Delivered,
            Err(Refusal { meaning: Meaning::Rejected, error }) => Outcome::Rejected { reason: error.to_string() },
            Err(refusal) => refusal.error.into_outcome(),
        }
    }

    /// Publishes the records, those of each subject as atomic batches; false if the stream of one takes none, and its records were
    /// published each alone, or, if they must not, are unavailable.
    ///
    /// # Errors
    /// As of [`each`](Self::each).
    pub(super) fn atomically(&mut self, entries: &[&Entry<'_>], must: bool) -> io::Result<bool> {
        if self.session.version < ATOMIC_SINCE {
            let why = "the server is older than 2.12 and has no atomic batches";
            return self.not_atomic(entries, must.then(|| answer::unavailable(why))).map(|()| false);
        }
        let mut groups: Vec<(&str, Vec<&Entry<'_>>)> = Vec::new();
        for entry in entries {
            match groups.iter_mut().find(|(subject, _)| *subject == entry.subject) {
                Some((_, group)) => group.push(entry),
                None => groups.push((&entry.subject, vec![entry])),
            }
        }
        let mut all = true;
        for (_, group) in groups {
            for group in group.chunks(MOST_ATOMIC) {
                all &= self.group(group, must)?;
            }
        }
        Ok(all)
    }

    fn not_atomic(&mut self, entries: &[&Entry<'_>], refused: Option<Refusal>) -> io::Result<()> {
        match refused {
            None => self.each(entries),
            Some(refusal) => {
                let outcome = refusal.error.into_outcome();
                entries.iter().for_each(|entry| self.outcomes[entry.index] = Some(outcome.clone()));
                Ok(())
            }
        }
    }

    fn group(&mut self, entries: &[&Entry<'_>], must: bool) -> io::Result<bool> {
        let mut bytes = Vec::new();
        let id = hex(&[system_random().to_le_bytes(), system_random().to_le_bytes()].concat());
        let mut whole = Vec::with_capacity(entries.len());
        for entry in entries {
            self.headers.write(entry, Some(&InBatch { id: &id, nth: MOST_ATOMIC, is_last: true }), &mut bytes);
            if self.fits(&bytes, entry) {
                whole.push(*entry);
            }
        }
        let entries = whole;
        if entries.len() < 2 {
            return self.each(&entries).map(|()| true);
        }
        let first = self.session.numbers(2);
        let last = first + 1;
        for (place, entry) in entries.iter().enumerate() {
            let is_last = place + 1 == entries.len();
            self.headers.write(entry, Some(&InBatch { id: &id, nth: place + 1, is_last }), &mut bytes);
            // The first is answered if the stream takes no batches; the last, which commits, says what became of all.
            let number = match place {
                0 => Some(first),
                _ => is_last.then_some(last),
            };
            self.session.publish(&entry.subject, number, &bytes, entry.record.data)?;
        }
        self.session.flush()?;
        let refusal = match self.verdict(first, last, &entries[0].subject)? {
            Ok(stored) if stored.count == Some(entries.len() as u64) => {
                // They stand one behind the other.
                let first = (stored.seq + 1).saturating_sub(entries.len() as u64);
                for (entry, seq) in entries.iter().zip(first..) {
                    self.outcomes[entry.index] = Some(Outcome::Delivered);
                    self.receive(entry.index, &stored.stream, seq);
                }
                return Ok(true);
            }
            Ok(_) => answer::unavailable("the answer to an atomic batch speaks of another number of messages"),
            Err(refusal) => refusal,
        };
        match refusal.meaning {
            Meaning::NotAtomic => self.not_atomic(&entries, must.then_some(refusal)).map(|()| false),
            Meaning::Unavailable => self.not_atomic(&entries, Some(refusal)).map(|()| true),
            // One of them is to blame, or in the stream already: the answers of each say which.
            Meaning::Alone | Meaning::Rejected | Meaning::Failed => self.each(&entries).map(|()| true),
        }
    }

    /// What became of an atomic batch: the first error, or what its last message is answered.
    fn verdict(&mut self, first: u64, last: u64, subject: &str) -> io::Result<Result<Stored, Refusal>> {
        let deadline = Instant::now() + self.timeout;
        loop {
            match self.session.hear(deadline)? {
                Heard::Answer(number, status, payload) if (number == first) | (number == last) => {
                    match answer::read(status, &payload) {
                        Some(Ok(_)) if number == first => {}
                        Some(answer) => return Ok(answer),
                        None => {}
                    }
                }
                Heard::Told(told) => match &told.subject {
                    Some(told_of) if told_of == subject => return Ok(Err(answer::unavailable(told.text))),
                    Some(_) => {}
                    None => return Err(io::Error::other(told.text)),
                },
                Heard::Info(info) => self.client.learn(self.session, &info),
                Heard::Answer(..) | Heard::Pong => {}
            }
        }
    }
}

impl Headers {
    /// Writes the headers of a record in place of what is in `bytes`; nothing if it has none.
    pub(super) fn write(&self, entry: &Entry<'_>, batch: Option<&InBatch<'_>>, bytes: &mut Vec<u8>) {
        const VERSION: &[u8] = b"NATS/1.0\r\n";
        bytes.clear();
        bytes.extend_from_slice(VERSION);
        let mut add = |name: &str, value: &[u8]| {
            for part in [name.as_bytes(), b": ", value, b"\r\n"] {
                bytes.extend_from_slice(part);
            }
        };
        if self.deduplicate {
            add("Nats-Msg-Id", visible(entry.id.as_bytes()).as_bytes());
        }
        if !self.stream.is_empty() {
            add("Nats-Expected-Stream", self.stream.as_bytes());
        }
        if let Some(InBatch { id, nth, is_last }) = batch {
            add("Nats-Batch-Id", id.as_bytes());
            add("Nats-Batch-Sequence", nth.to_string().as_bytes());
            if *is_last {
                add("Nats-Batch-Commit", b"1");
            }
        }
        let record = &entry.record;
        if self.metadata {
            add("X-Record-Time", timestamp(record.created_at).as_bytes());
            if let Some(key) = record.key {
                add("X-Record-Key", visible(key).as_bytes());
            }
        }
        for (name, value) in record.headers {
            if !is_reserved(name) {
                add(name, value);
            }
        }
        match bytes.len() {
            len if len == VERSION.len() => bytes.clear(),
            _ => bytes.extend_from_slice(b"\r\n"),
        }
    }
}

/// Why a header of a record can be none of a message.
pub(super) fn check_header(name: &str, value: &[u8]) -> Result<(), String> {
    if !name.bytes().all(|byte| matches!(byte, b'!'..=b'~') && byte != b':') {
        return Err(format!("the header {name:?} has a name that no message of NATS can have"));
    }
    if value.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
        return Err(format!(
            "the header {name:?} has a line break or a NUL in its value, which no message of NATS can have"
        ));
    }
    Ok(())
}

/// Whether a record may not say this of its message: what tells a server what to do is for whoever configures the sink.
fn is_reserved(name: &str) -> bool {
    name.get(..5).is_some_and(|start| start.eq_ignore_ascii_case("nats-"))
}

/// Visible ASCII as it is, other bytes and `%` percent-encoded.
fn visible(bytes: &[u8]) -> Cow<'_, str> {
    let is_plain = |byte: &u8| matches!(byte, b'!'..=b'~') && *byte != b'%';
    match std::str::from_utf8(bytes) {
        Ok(text) if bytes.iter().all(is_plain) => Cow::Borrowed(text),
        _ => Cow::Owned(percent(bytes, &(b'!'..=b'~').filter(|byte| *byte != b'%').collect::<Vec<_>>())),
    }
}
