//! Fuzzing: whatever a server of NATS says, nobody panics, nothing counts as stored that was not acknowledged, and what we say
//! to it is what we mean.

use std::io::ErrorKind;

use serde_json::Value;

use super::answer::{self, Meaning};
use super::publish::{Entry, Headers, check_header};
use super::servers::{Place, Servers};
use super::session::told;
use super::wire::{Reader, Said};
use super::{NatsBuilder, NatsOptions};
use crate::Batch;
use crate::record::NewRecord;
use crate::sink::net::slowly::Slowly;
use crate::torture::Source;

/// What a server's words are made of.
const PIECES: [&str; 24] = [
    "\r\n",
    "\r\n",
    " ",
    "\t",
    "INFO ",
    "{\"max_payload\":1048576,\"version\":\"2.12.1\"}",
    "{\"connect_urls\":[\"10.0.0.1:4222\",\"h:0\",\"[::1]:1\"],\"ldm\":true}",
    "PING",
    "pong",
    "+OK",
    "-ERR 'Permissions Violation for Publish to \"a.b\"'",
    "MSG _INBOX.a.1 1 ",
    "HMSG _INBOX.a.2 1 ",
    "NATS/1.0 503\r\n\r\n",
    "0",
    "1",
    "2",
    "16",
    "18",
    "999999999999999999999",
    "-1",
    "hello",
    "{\"stream\":\"S\",\"seq\":7}",
    "\u{2028}",
];

/// So much is said at most: it is read again and again, in other pieces.
const MOST_BYTES: usize = 1024;

/// The first byte says what the others are.
pub(crate) fn run(bytes: &[u8]) -> Result<(), String> {
    let mut source = Source::new(bytes);
    match source.byte() % 8 {
        0 | 1 => frames(&pieces(&mut source)),
        2 => frames(source.take(MOST_BYTES)),
        3 => acknowledgement(&mut source),
        4 => refused(&String::from_utf8_lossy(source.take(400))),
        5 => servers(&String::from_utf8_lossy(source.take(4096))),
        6 => greeting(&String::from_utf8_lossy(source.take(4096))),
        _ => headers(&mut source),
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

/// However what a server says is cut, it is the same frames, and the same end.
fn frames(said: &[u8]) -> Result<(), String> {
    let all = |at_once: usize| {
        let (mut reader, mut from, mut frames) = (Reader::default(), Slowly(said, at_once), Vec::new());
        loop {
            match reader.next(&mut from) {
                Ok(Said::Message(message)) if !message.payload.is_empty() => {
                    assert!(said.windows(message.payload.len()).any(|part| part == message.payload));
                    frames.push(format!("{message:?}"));
                }
                Ok(frame) => frames.push(format!("{frame:?}")),
                Err(error) => return (frames, error.kind()),
            }
        }
    };
    let whole = all(usize::MAX);
    if !matches!(whole.1, ErrorKind::UnexpectedEof | ErrorKind::InvalidData) {
        return Err(format!("it ends with {:?}", whole.1));
    }
    match [3, 50].into_iter().find(|at_once| all(*at_once) != whole) {
        Some(at_once) => Err(format!("{:?} is {:?}, {at_once} at a time", whole, all(at_once))),
        None => Ok(()),
    }
}

/// What counts as stored names a stream and a place in it, and no error.
fn acknowledgement(source: &mut Source<'_>) -> Result<(), String> {
    let status = source.rarely().then(|| source.raw() as u16);
    let payload = source.take(4096);
    match answer::read(status, payload) {
        None if payload.is_empty() && status.is_none() => Ok(()),
        None => Err("an answer says nothing".into()),
        Some(Ok(stored)) => {
            // What is passed over may be text that is none.
            let said: Value = serde_json::from_str(&String::from_utf8_lossy(payload)).unwrap_or_default();
            let is_named = said["stream"] == *stored.stream && said["seq"] == stored.seq && stored.seq > 0;
            let count = said.get("count").filter(|count| !count.is_null());
            let is_counted = count.and_then(Value::as_u64) == stored.count;
            let is_good = status.is_none() && said["error"].is_null() && is_named && is_counted;
            if is_good { Ok(()) } else { Err(format!("{stored:?} of {status:?} {said}")) }
        }
        Some(Err(refusal)) => {
            let text = refusal.error.to_string();
            let of_the_record = refusal.meaning == Meaning::Rejected;
            if text.chars().count() > 600 || text.contains('\n') || (of_the_record && status.is_some()) {
                return Err(format!("{:?}: {text}", refusal.meaning));
            }
            Ok(())
        }
    }
}

/// What a server says before it ends a connection, and the subject that it names.
fn refused(text: &str) -> Result<(), String> {
    match told(text.to_owned()) {
        Ok(told) if told.subject.as_deref().is_none_or(|subject| text.contains(subject)) => Ok(()),
        Ok(told) => Err(format!("{:?} is named nowhere in {text:?}", told.subject)),
        Err(_) => Ok(()),
    }
}

/// Whatever servers one tells of: there are not too many, each can be asked for, and what was told before TLS names no host.
fn servers(text: &str) -> Result<(), String> {
    let _ = Place::parse(text);
    let known = Place::parse("tls://seed.example").map_err(|error| error.to_string())?.servers;
    let mut servers = Servers::new(known.clone());
    for in_clear in [true, false] {
        servers.discover(&known[0], text.split([' ', '\n', ',']), in_clear);
        for _ in 0..servers.len() {
            let server = servers.current();
            servers.leave(&server);
            let is_known = server.host == "seed.example"
                || server.host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok();
            if (in_clear && !is_known) || server.port == 0 || server.host.contains([' ', '\r', '/', '@']) {
                return Err(format!("{server:?} was believed, in clear: {in_clear}"));
            }
        }
        if !(1..=64).contains(&servers.len()) {
            return Err(format!("there are {} servers", servers.len()));
        }
    }
    Ok(())
}

/// Whatever a server wants signed: what we say is one line, its JSON is whole, and has nothing in it but what we say.
fn greeting(nonce: &str) -> Result<(), String> {
    const SEED: &str = "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY";
    let name = nonce.chars().take(20).collect::<String>();
    for (key, value) in [("nkey", SEED), ("token", nonce)] {
        let mut options = NatsOptions::default();
        let pairs = [("url", "nats://h/s"), ("connection_name", &name), (key, value)];
        if value.is_empty() || pairs.iter().any(|(key, value)| options.set(key, value).is_err()) {
            continue;
        }
        let Ok(sink) = NatsBuilder::of_options(options).build() else { continue };
        let line = sink.client().connect_line(nonce)?;
        let text = std::str::from_utf8(&line).map_err(|error| error.to_string())?;
        let one =
            text.strip_suffix("\r\n").filter(|line| !line.contains(['\r', '\n'])).ok_or("several lines are said")?;
        let said: Value = serde_json::from_str(one.strip_prefix("CONNECT ").unwrap_or_default())
            .map_err(|error| format!("{error}: {one}"))?;
        // A secret is taken without the blanks around it.
        let is_token = key != "token" || [value, value.trim()].iter().any(|token| said["auth_token"] == *token);
        if said["name"] != *name || !is_token || text.contains(SEED) {
            return Err(format!("{one} is said"));
        }
    }
    Ok(())
}

/// Whatever headers a record has that are not refused: a message has them as they are, and none that steers the server.
fn headers(source: &mut Source<'_>) -> Result<(), String> {
    let mut pairs: Vec<(String, Vec<u8>)> = Vec::new();
    for _ in 0..source.below(4) {
        let name = match source.below(5) {
            0 => "Nats-Msg-Id".to_owned(),
            1 => "nATS-Rollup".to_owned(),
            2 => "traceparent".to_owned(),
            _ => String::from_utf8_lossy(source.take(6)).into_owned(),
        };
        let len = source.below(12);
        pairs.push((name, source.take(len).to_vec()));
    }
    let len = source.below(12);
    let (id, key) = (String::from_utf8_lossy(source.take(len)).into_owned(), source.take(8));
    pairs.retain(|(name, value)| check_header(name, value).is_ok());
    let given: Vec<_> = pairs.iter().map(|(name, value)| (&name[..], &value[..])).collect();
    let batch = Batch::from_records([NewRecord::new(b"x").id(&id).key(key).headers(&given)]);
    let record = batch.get(0).ok_or("no record")?;
    let entry = Entry { index: 0, record, subject: "a.b".into(), id: id[..].into() };
    let mut bytes = Vec::new();
    let headers = Headers { deduplicate: true, metadata: source.byte() & 1 == 0, stream: "S".into() };
    headers.write(&entry, None, &mut bytes);
    let text = bytes.strip_prefix(b"NATS/1.0\r\n").and_then(|rest| rest.strip_suffix(b"\r\n")).ok_or("no headers")?;
    let mut lines = Vec::new();
    let mut rest = text;
    while let Some(end) = rest.windows(2).position(|two| two == b"\r\n") {
        lines.push(&rest[..end]);
        rest = &rest[end + 2..];
    }
    let is_ours = |line: &[u8]| line.starts_with(b"X-Record-") && headers.metadata;
    let ours = lines.iter().filter(|line| line.starts_with(b"Nats-Msg-Id: ") || **line == b"Nats-Expected-Stream: S");
    let said: Vec<_> = lines.iter().skip(2).filter(|line| !is_ours(line)).map(|line| line.to_vec()).collect();
    let not_reserved = given.iter().filter(|(name, _)| !name.to_ascii_lowercase().starts_with("nats-"));
    let mut expected: Vec<_> = not_reserved.map(|(name, value)| [name.as_bytes(), b": ", value].concat()).collect();
    expected.retain(|line| !is_ours(line));
    let is_same = rest.is_empty() && ours.count() == 2 && said == expected;
    if is_same { Ok(()) } else { Err(format!("{given:?} became {:?}", String::from_utf8_lossy(&bytes))) }
}
