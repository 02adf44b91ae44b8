//! Fuzzing: whatever a server of Redis replies, nobody panics, memory is bounded, no more records count as there than were sent,
//! and what we say to it is what we mean.

use std::io::ErrorKind;
use std::time::Duration;

use super::answer::{Meaning, meaning, redirection, refusal};
use super::entries::{Entry, Fields, Trim, add, add_once};
use super::place::Server;
use super::resp::{Reader, Reply};
use super::sink::added;
use super::slots::{Map, SLOTS};
use crate::Batch;
use crate::option_table::NEVER;
use crate::record::NewRecord;
use crate::sink::net::failure::Fault;
use crate::sink::net::slowly::Slowly;
use crate::torture::Source;

/// What replies are made of.
const PIECES: [&str; 28] = [
    "\r\n",
    "\r\n",
    "+OK",
    "-",
    ":",
    "$",
    "*",
    "*2\r\n",
    "*3\r\n",
    "$-1\r\n",
    "$4\r\n",
    ":0\r\n",
    ":1\r\n",
    ":16383\r\n",
    "0",
    "1",
    "3",
    "9",
    "-1",
    "99999999999",
    "9223372036854775807",
    "MOVED 3999 127.0.0.1:6381",
    "ASK 1 [::1]:1",
    "@user_script: 12: -READONLY",
    "OOM command not allowed",
    "host",
    "1700000000000-0",
    "größe",
];

/// So much is replied at most: it is read again and again, in other pieces.
const MOST_BYTES: usize = 1024;

/// The first byte says what the others are.
pub(crate) fn run(bytes: &[u8]) -> Result<(), String> {
    let mut source = Source::new(bytes);
    match source.byte() % 6 {
        0 | 1 => replies(&pieces(&mut source)),
        2 => replies(source.take(MOST_BYTES)),
        3 => refused(&String::from_utf8_lossy(source.take(400))),
        4 => map(&mut source),
        _ => commands(&mut source),
    }
}

fn pieces(source: &mut Source<'_>) -> Vec<u8> {
    let mut said = Vec::new();
    while !source.is_empty() && said.len() < MOST_BYTES {
        match source.below(PIECES.len() + 2) {
            piece if piece < PIECES.len() => said.extend_from_slice(PIECES[piece].as_bytes()),
            _ => {
                let len = source.below(20);
                said.extend_from_slice(source.take(len));
            }
        }
    }
    said
}

/// However what a server replies is cut, it is the same replies, and the same end. What they have in them was said.
fn replies(said: &[u8]) -> Result<(), String> {
    let all = |at_once: usize| {
        let (mut reader, mut from, mut replies) = (Reader::default(), Slowly(said, at_once), Vec::new());
        loop {
            match reader.next(&mut from) {
                Ok(reply) => replies.push(reply),
                Err(error) => return (replies, error.kind()),
            }
        }
    };
    let whole = all(usize::MAX);
    if !matches!(whole.1, ErrorKind::UnexpectedEof | ErrorKind::InvalidData) {
        return Err(format!("it ends with {:?}", whole.1));
    }
    if let Some(at_once) = [3, 50].into_iter().find(|at_once| all(*at_once) != whole) {
        return Err(format!("{:?} is {:?}, {at_once} at a time", whole, all(at_once)));
    }
    let teller = Server { host: "seed".into(), port: 1, tls_name: "seed".into() };
    for reply in whole.0 {
        if let Some(map) = Map::of(&reply, &teller) {
            let _ = (map.node(0), map.node(SLOTS - 1));
        }
        for records in [0, 1, 3] {
            if let Ok(called) = added(reply.clone(), records) {
                let is_all = called.taken == records;
                if called.taken > records || (!is_all && called.error.is_none()) {
                    return Err(format!("{} of {records} are there, says {reply:?}", called.taken));
                }
                let is_said =
                    matches!(&reply, Reply::Array(parts) if parts.first() == Some(&Reply::Number(called.taken as i64)));
                if called.taken > 0 && !is_said {
                    return Err(format!("{} are there, which {reply:?} does not say", called.taken));
                }
            }
        }
    }
    Ok(())
}

/// Whatever an error says: no record is rejected for it, and it is cut.
fn refused(text: &str) -> Result<(), String> {
    let (meaning, error) = (meaning(text), refusal(text));
    let is_failed = matches!(error.fault, Fault::Failed);
    if error.message.chars().count() > 510 || is_failed != (meaning == Meaning::Failed) || error.fault == Fault::Refused
    {
        return Err(format!("{meaning:?}: {error}"));
    }
    if let Some((host, port)) = redirection(text)
        && (!text.contains(host) || host.contains(' ') || !text.contains(&port.to_string()))
        && !text.contains(&format!("0{port}"))
    {
        return Err(format!("{text:?} names {host}:{port}"));
    }
    Ok(())
}

/// A map of a cluster: each slot is where it says.
fn map(source: &mut Source<'_>) -> Result<(), String> {
    let teller = Server { host: "seed".into(), port: 1, tls_name: "seed".into() };
    let mut ranges = Vec::new();
    for nth in 0..source.below(4) as u64 {
        let first = source.number(nth * 4000).cast_signed();
        let last = source.number(nth * 4000 + 3999).cast_signed();
        let host = match source.below(4) {
            0 => Reply::Nothing,
            1 => Reply::Number(1),
            2 => Reply::Text("?".into()),
            _ => Reply::Text(String::from_utf8_lossy(source.take(8)).into_owned()),
        };
        let node = Reply::Array(vec![host, Reply::Number(source.number(6379).cast_signed())]);
        ranges.push(Reply::Array(vec![Reply::Number(first), Reply::Number(last), node]));
    }
    let expected = |slot: u16| {
        ranges.iter().any(|range| {
            let Reply::Array(parts) = range else { return false };
            let [Reply::Number(first), Reply::Number(last), ..] = &parts[..] else { return false };
            (*first..=*last).contains(&i64::from(slot))
        })
    };
    let Some(map) = Map::of(&Reply::Array(ranges.clone()), &teller) else { return Ok(()) };
    for slot in [0, 1, 3999, 4000, 8000, SLOTS - 1] {
        if map.node(slot).is_some() != expected(slot) {
            return Err(format!("slot {slot} is at {:?} by {ranges:?}", map.node(slot)));
        }
    }
    Ok(())
}

/// Whatever a record has in it: a command has as many words as it says, and they are those that were meant.
fn commands(source: &mut Source<'_>) -> Result<(), String> {
    let fields = Fields {
        payload: "data".into(),
        id: "id".into(),
        key: "key".into(),
        time: if source.byte() & 1 == 0 { "time".into() } else { String::new() },
        header_prefix: (source.byte() & 1 == 0).then(|| "h.".into()),
    };
    let len = source.below(40);
    let stream = String::from_utf8_lossy(source.take(len)).into_owned();
    let header = String::from_utf8_lossy(source.take(6)).into_owned();
    let len = source.below(20);
    let headers = [(&header[..], source.take(len))];
    let record = NewRecord::new(source.take(300)).id(&stream).key(b"\r\n$1").headers(&headers);
    let batch = Batch::from_records([record]);
    let record = batch.get(0).ok_or("no record")?;
    let entry = Entry { index: 0, record, stream: stream[..].into(), words: fields.of(&record) };
    let trim = Trim { max_len: u64::from(source.byte()), max_age: NEVER, exact: false };
    let (mut once, mut plain) = (Vec::new(), Vec::new());
    add_once(&[&entry, &entry], None, Duration::from_secs(1), &trim, &mut once);
    add(&entry, &trim, &mut plain);
    for out in [&once, &plain] {
        let words = words(out).ok_or_else(|| format!("{:?} is no command", String::from_utf8_lossy(out)))?;
        let ours: Vec<&[u8]> = entry.words.iter().map(|word| &word[..]).collect();
        if !words.contains(&stream.as_bytes()) || !words.ends_with(&ours) {
            return Err(format!("{:?} are not the words of the record", String::from_utf8_lossy(out)));
        }
    }
    Ok(())
}

/// The words of the one command that is all of the bytes, by the protocol's description.
fn words(mut bytes: &[u8]) -> Option<Vec<&[u8]>> {
    fn number<'b>(bytes: &mut &'b [u8], kind: u8) -> Option<usize> {
        let (line, rest): (&'b [u8], &'b [u8]) =
            bytes.split_at_checked(bytes.windows(2).position(|two| two == b"\r\n")?)?;
        *bytes = &rest[2..];
        std::str::from_utf8(line.strip_prefix(&[kind])?).ok()?.parse().ok()
    }
    let count = number(&mut bytes, b'*')?;
    let mut words = Vec::new();
    for _ in 0..count {
        let len = number(&mut bytes, b'$')?;
        words.push(bytes.get(..len)?);
        bytes = bytes.get(len..)?.strip_prefix(b"\r\n")?;
    }
    bytes.is_empty().then_some(words)
}
