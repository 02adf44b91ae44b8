//! From records to entries of streams: their fields, and the commands that add them.

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use super::resp::{bulk, head};
use super::slots::{beside, slot};
use crate::option_table::NEVER;
use crate::record::Record;
use crate::time::{micros, timestamp};

/// Adds the records of a batch that are not there yet, and notes how far it has come, in one step.
///
/// Keys: the stream, and a hash beside it that has, by lane, the seq of the last record that was added. Arguments: the lane, the
/// expiry of the hash in milliseconds or 0, how many words say how the stream is trimmed, these; then of each record its seq,
/// in 20 digits, how many words its fields are, these. Replies how many records are there now, and the error that
/// ended it, if one did. A seq rises from record to record of a lane and is never used again, so that a record whose seq is
/// not above the noted one was added by an earlier attempt. It notes first what is noted already: if it may not do so, it ends
/// while nothing is added that nobody would know of.
const SCRIPT: &str = r"local noted = redis.call('HGET', KEYS[2], ARGV[1]) or ''
local trims, at, done, fault = tonumber(ARGV[3]), 4 + tonumber(ARGV[3]), 0, false
redis.call('HSET', KEYS[2], ARGV[1], noted)
if ARGV[2] ~= '0' then redis.call('PEXPIRE', KEYS[2], ARGV[2]) end
while at <= #ARGV do
  local seq, words = ARGV[at], tonumber(ARGV[at + 1])
  if seq > noted then
    local entry = {KEYS[1]}
    for i = 4, 3 + trims do entry[#entry + 1] = ARGV[i] end
    entry[#entry + 1] = '*'
    for i = at + 2, at + 1 + words do entry[#entry + 1] = ARGV[i] end
    local reply = redis.pcall('XADD', unpack(entry))
    if type(reply) == 'table' and reply.err then fault = reply.err break end
    noted = seq
  end
  done = done + 1
  at = at + 2 + words
end
if done > 0 then redis.call('HSET', KEYS[2], ARGV[1], noted) end
return {done, fault}";

/// How records become entries.
#[derive(Debug)]
pub(super) struct Fields {
    pub(super) payload: String,
    pub(super) id: String,
    pub(super) key: String,
    pub(super) time: String,
    /// What the names of headers begin with; `None`: headers are left out.
    pub(super) header_prefix: Option<String>,
}

/// How streams are trimmed.
#[derive(Debug)]
pub(super) struct Trim {
    pub(super) max_len: u64,
    pub(super) max_age: Duration,
    pub(super) exact: bool,
}

/// A record with the stream that it goes to.
pub(super) struct Entry<'a> {
    pub(super) index: usize,
    pub(super) record: Record<'a>,
    pub(super) stream: Cow<'a, str>,
    pub(super) words: Vec<Cow<'a, [u8]>>,
}

impl Fields {
    pub(super) fn of<'a>(&'a self, record: &Record<'a>) -> Vec<Cow<'a, [u8]>> {
        let text = |text: &'a str| Cow::Borrowed(text.as_bytes());
        let mut words = vec![text(&self.payload), Cow::Borrowed(record.data)];
        if !self.id.is_empty() {
            let id = match record.id() {
                Cow::Borrowed(id) => text(id),
                Cow::Owned(id) => Cow::Owned(id.into_bytes()),
            };
            words.extend([text(&self.id), id]);
        }
        if let Some(key) = record.key.filter(|_| !self.key.is_empty()) {
            words.extend([text(&self.key), Cow::Borrowed(key)]);
        }
        if !self.time.is_empty() {
            words.extend([text(&self.time), Cow::Owned(timestamp(record.created_at).into_bytes())]);
        }
        if let Some(prefix) = &self.header_prefix {
            for (name, value) in record.headers {
                words.extend([Cow::Owned(format!("{prefix}{name}").into_bytes()), Cow::Borrowed(value)]);
            }
        }
        words
    }
}

impl Trim {
    /// The words of `XADD` that say so now.
    fn words(&self) -> Vec<String> {
        let how = if self.exact { "=" } else { "~" };
        if self.max_len > 0 {
            return vec!["MAXLEN".into(), how.into(), self.max_len.to_string()];
        }
        if self.max_age == NEVER {
            return Vec::new();
        }
        let oldest = SystemTime::now().checked_sub(self.max_age).map_or(0, |time| micros(time).max(0) / 1000);
        vec!["MINID".into(), how.into(), oldest.to_string()]
    }
}

impl Entry<'_> {
    /// About how many bytes it takes in a command.
    pub(super) fn bytes(&self) -> u64 {
        self.words.iter().map(|word| word.len() as u64 + 16).sum::<u64>() + 64
    }
}

/// The name of the key beside a stream that notes how far the records of a buffer are in it.
pub(super) fn note_of(stream: &str, buffer_id: u64) -> String {
    beside(stream, &format!("unistream:{buffer_id:016x}"))
}

/// Why nothing can be noted beside a stream, if that is so.
pub(super) fn check_note(stream: &str) -> Result<(), String> {
    match slot(&note_of(stream, 0)) == slot(stream) {
        true => Ok(()),
        false => Err(format!("the stream {stream:?} has a brace in its name, so that nothing can stand beside it")),
    }
}

/// Writes one call of the script with all these entries, which go to one stream. `lane` is the batch's.
pub(super) fn add_once(entries: &[&Entry<'_>], lane: Option<u32>, expiry: Duration, trim: &Trim, out: &mut Vec<u8>) {
    let Some(first) = entries.first() else { return };
    let trims = trim.words();
    let fields: usize = entries.iter().map(|entry| 2 + entry.words.len()).sum();
    let expiry = if expiry == NEVER { 0 } else { expiry.as_millis() };
    head(8 + trims.len() + fields, out);
    bulk(b"EVAL", out);
    bulk(SCRIPT.as_bytes(), out);
    bulk(b"2", out);
    bulk(first.stream.as_bytes(), out);
    bulk(note_of(&first.stream, first.record.buffer_id).as_bytes(), out);
    bulk(lane.map_or_else(|| "-".to_owned(), |lane| lane.to_string()).as_bytes(), out);
    bulk(expiry.to_string().as_bytes(), out);
    bulk(trims.len().to_string().as_bytes(), out);
    trims.iter().for_each(|word| bulk(word.as_bytes(), out));
    for entry in entries {
        bulk(format!("{:020}", entry.record.seq).as_bytes(), out);
        bulk(entry.words.len().to_string().as_bytes(), out);
        entry.words.iter().for_each(|word| bulk(word, out));
    }
}

/// Writes a command for one entry, which adds it in any case.
pub(super) fn add(entry: &Entry<'_>, trim: &Trim, out: &mut Vec<u8>) {
    let trims = trim.words();
    head(3 + trims.len() + entry.words.len(), out);
    bulk(b"XADD", out);
    bulk(entry.stream.as_bytes(), out);
    trims.iter().for_each(|word| bulk(word.as_bytes(), out));
    bulk(b"*", out);
    entry.words.iter().for_each(|word| bulk(word, out));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Batch, NewRecord};

    #[test]
    fn entries_have_the_fields_that_the_options_name() {
        let names = |payload: &str, others: &str, header_prefix: Option<&str>| Fields {
            payload: payload.into(),
            id: others.into(),
            key: others.into(),
            time: others.into(),
            header_prefix: header_prefix.map(Into::into),
        };
        let headers = [("h", &b"\xff"[..])];
        let batch = Batch::from_records([NewRecord::new(b"p").id("i").key(b"k").created_at(0).headers(&headers)]);
        let of = |fields: Fields| {
            let words: Vec<_> = fields.of(&batch.get(0).unwrap()).into_iter().map(Cow::into_owned).collect();
            words.iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(of(names("data", "x", Some("h."))), "data p x i x k x 1970-01-01T00:00:00.000000Z h.h \u{fffd}");
        assert_eq!(of(names("data", "", None)), "data p");
        assert!(check_note("a{b}c").is_ok() && check_note("orders").is_ok() && check_note("a}b").is_err());
    }

    #[test]
    fn streams_are_trimmed_as_the_options_say() {
        let of = |max_len, max_age, exact| Trim { max_len, max_age, exact }.words().join(" ");
        assert_eq!(of(0, NEVER, false), "");
        assert_eq!(of(9, NEVER, false), "MAXLEN ~ 9");
        assert!(of(0, Duration::from_secs(60), true).starts_with("MINID = 1"));
    }
}
