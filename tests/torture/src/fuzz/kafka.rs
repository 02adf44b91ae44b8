//! Fuzzing: whatever a broker of Kafka answers, and whatever a memo holds, nobody panics, and what is read is what stands there.

use std::io::{Cursor, ErrorKind};

use super::codes::{self, Meaning};
use super::connection;
use super::identity::Memo;
use super::messages::{self, Versions};
use super::options::KafkaOptions;
use super::sasl::Credentials;
use super::wire::{Malformed, Write as _};
use crate::torture::Source;

/// What an answer is made of, by the protocol's description.
enum Shape {
    /// A number of so many bytes, or a flag.
    Number(usize),
    /// A text, perhaps a null one.
    Nullable,
    Text,
    Bytes,
    Items(&'static [Shape]),
}

use Shape::{Bytes, Items, Nullable, Number, Text};

const VERSIONS: &[Shape] = &[Number(2), Items(&[Number(2), Number(2), Number(2)])];
const IDS: Shape = Items(&[Number(4)]);
const BROKERS: Shape = Items(&[Number(4), Text, Number(4), Nullable]);
const METADATA_5: &[Shape] = &[
    Number(4),
    BROKERS,
    Nullable,
    Number(4),
    Items(&[Number(2), Text, Number(1), Items(&[Number(2), Number(4), Number(4), IDS, IDS, IDS])]),
];
const METADATA_7: &[Shape] = &[
    Number(4),
    BROKERS,
    Nullable,
    Number(4),
    Items(&[Number(2), Text, Number(1), Items(&[Number(2), Number(4), Number(4), Number(4), IDS, IDS, IDS])]),
];
const INIT_PRODUCER_ID: &[Shape] = &[Number(4), Number(2), Number(8), Number(2)];
const PRODUCED_5: &[Shape] = &[Items(&[Text, Items(&[Number(4), Number(2), Number(8), Number(8), Number(8)])])];
const PRODUCED_8: &[Shape] = &[Items(&[
    Text,
    Items(&[Number(4), Number(2), Number(8), Number(8), Number(8), Items(&[Number(4), Nullable]), Nullable]),
])];
const HANDSHAKE: &[Shape] = &[Number(2), Items(&[Text])];
const AUTHENTICATE_0: &[Shape] = &[Number(2), Nullable, Bytes];
const AUTHENTICATE_1: &[Shape] = &[Number(2), Nullable, Bytes, Number(8)];

/// The first byte says what the others are.
pub(crate) fn run(bytes: &[u8]) -> Result<(), String> {
    let mut source = Source::new(bytes);
    match source.byte() % 12 {
        0 => answer(&mut source, VERSIONS, |body| messages::api_versions(body).map(|said| said.map(versions))),
        1 => answer(&mut source, METADATA_5, |body| messages::metadata(5, body)),
        2 | 3 => answer(&mut source, METADATA_7, |body| messages::metadata(7, body)),
        4 => answer(&mut source, INIT_PRODUCER_ID, messages::init_producer_id),
        5 => answer(&mut source, PRODUCED_5, |body| produced(5, body)),
        6 => answer(&mut source, PRODUCED_8, |body| produced(8, body)),
        7 => answer(&mut source, HANDSHAKE, messages::sasl_handshake),
        8 => answer(&mut source, AUTHENTICATE_0, |body| authenticate(0, body)),
        9 => answer(&mut source, AUTHENTICATE_1, |body| authenticate(1, body)),
        10 => exchange(&mut source),
        _ if source.byte() & 1 == 0 => memo(source.take(4096)),
        _ => frame(&mut source),
    }
}

/// An answer that has this shape, nearly. It is read if it is whole, whatever follows it, and is malformed wherever it ends
/// too early. The same bytes are read to the same end by the shape alone.
fn answer<T: PartialEq + std::fmt::Debug>(
    source: &mut Source<'_>,
    shape: &[Shape],
    read: impl Fn(&[u8]) -> Result<T, Malformed>,
) -> Result<(), String> {
    let mut body = Vec::new();
    match source.rarely() {
        true => body.extend_from_slice(source.take(4096)),
        false => write(source, shape, &mut body, 0),
    }
    body.truncate(8192);
    let whole = walk(&body, shape);
    match (read(&body), whole) {
        (Err(Malformed), _) => Ok(()),
        (Ok(read), None) => Err(format!("an answer that is not whole was read: {read:?}")),
        (Ok(found), Some(end)) => {
            if read(&body[..end]).as_ref() != Ok(&found) {
                return Err(format!("without what follows it, it is something else: {found:?}"));
            }
            match end.checked_sub(1).map(|cut| read(&body[..cut])) {
                Some(Ok(cut)) => Err(format!("it was cut, and is {cut:?}")),
                _ => Ok(()),
            }
        }
    }
}

/// Writes something of a shape; now and then a length is not what it should be.
fn write(source: &mut Source<'_>, shape: &[Shape], out: &mut Vec<u8>, depth: usize) {
    for part in shape {
        match part {
            Number(size) => {
                let number = source.number(1).to_be_bytes();
                out.extend_from_slice(&number[8 - size..]);
            }
            Nullable if source.byte() < 0x40 => out.i16(-1),
            Nullable | Text => {
                let text = ["", "topic", "a.b", "größe", "PLAIN", "\u{2028}"][source.below(6)];
                out.i16(source.number(text.len() as u64) as i16);
                out.extend_from_slice(text.as_bytes());
            }
            Bytes => {
                let len = source.below(40);
                out.i32(source.number(len as u64) as i32);
                out.extend_from_slice(source.take(len));
            }
            Items(shape) => {
                let count = source.below(4 - depth.min(2));
                out.i32(source.number(count as u64) as i32);
                (0..count).for_each(|_| write(source, shape, out, depth + 1));
            }
        }
    }
}

/// Where an answer of this shape ends; `None` if it is not whole.
fn walk(bytes: &[u8], shape: &[Shape]) -> Option<usize> {
    let mut at = 0;
    for part in shape {
        let number = |size: usize| {
            let bytes = bytes.get(at..at + size)?;
            Some(bytes.iter().fold(-i64::from(bytes[0] >> 7), |sum, byte| sum << 8 | i64::from(*byte)))
        };
        at += match part {
            Number(size) => number(*size).map(|_| *size)?,
            Text => 2 + usize::try_from(number(2)?).ok()?,
            Nullable => 2 + usize::try_from(number(2).map(|len| if len == -1 { 0 } else { len })?).ok()?,
            Bytes => 4 + usize::try_from(number(4).map(|len| if len == -1 { 0 } else { len })?).ok()?,
            Items(shape) => {
                let mut len = 4;
                for _ in 0..number(4)?.max(0) {
                    len += walk(bytes.get(at + len..)?, shape)?;
                }
                len
            }
        };
        bytes.get(..at)?;
    }
    Some(at)
}

/// A version that both speak is one of the broker's.
fn versions(versions: Versions) -> Vec<Result<i16, String>> {
    let apis = [messages::PRODUCE, messages::METADATA, messages::INIT_PRODUCER_ID, messages::SASL_AUTHENTICATE];
    apis.into_iter().map(|api| versions.of(api)).collect()
}

/// What is said of the records of a partition, if nothing counts as delivered that has a code of an error.
fn produced(version: i16, body: &[u8]) -> Result<Vec<messages::Produced>, Malformed> {
    let produced = messages::produced(version, body)?;
    for answer in &produced {
        let is_delivered = codes::meaning(answer.code) == Meaning::Delivered;
        // 0 is none, 46 that the records were there before.
        assert!(!is_delivered || matches!(answer.code, 0 | 46), "{answer:?} delivers");
        assert!(codes::name(answer.code).len() < 64);
    }
    Ok(produced)
}

fn authenticate(version: i16, body: &[u8]) -> Result<(i16, Option<String>, Vec<u8>, i64), Malformed> {
    let said = messages::sasl_authenticate(version, body)?;
    Ok((said.code, said.message, said.bytes, said.lifetime_ms))
}

/// Whatever a broker says that does not know the password: it is not believed, and no message has the password in it.
fn exchange(source: &mut Source<'_>) -> Result<(), String> {
    let mechanism = ["scram-sha-256", "scram-sha-512"][source.below(2)];
    let pairs = [("brokers", "h"), ("sasl", mechanism), ("username", "user"), ("password", "hush-hush")];
    let options = KafkaOptions::from_pairs(&pairs).map_err(|error| error.to_string())?;
    let credentials = Credentials::of(&options).map_err(|error| error.to_string())?.ok_or("no credentials")?;
    let mut exchange = credentials.begin()?;
    let first = String::from_utf8_lossy(&exchange.first).into_owned();
    let nonce = first.rsplit_once("r=").map_or("", |(_, nonce)| nonce).to_owned();
    let rounds = source.number(2).min(64);
    let len = source.below(24);
    let salt = String::from_utf8_lossy(source.take(len)).into_owned();
    let challenge = match source.byte() {
        0..0xa0 => format!("r={nonce}x,s=QUFB{salt},i={rounds}"),
        0xa0..0xc0 => format!("r={salt},s=QUFB,i={rounds}"),
        0xc0..0xe0 => format!("i={rounds},s={salt},r={nonce}{salt},x"),
        _ => salt.clone(),
    };
    let checked = |answer: Result<Option<Vec<u8>>, String>| match answer {
        Err(error) if error.contains("hush-hush") || error.chars().count() > 400 || error.contains('\n') => Err(error),
        answer => Ok(answer),
    };
    let Ok(Some(said)) = checked(exchange.answer(challenge.as_bytes()))? else { return Ok(()) };
    if said.windows(9).any(|part| part == b"hush-hush") {
        return Err("the password was said".into());
    }
    match checked(exchange.answer(source.take(200)))? {
        Err(_) => Ok(()),
        Ok(_) => Err("a broker was believed that does not know the password".into()),
    }
}

/// What is read of a memo is all that it says.
fn memo(bytes: &[u8]) -> Result<(), String> {
    let whole = [b"kafka1", bytes].concat();
    for bytes in [bytes, &whole] {
        if let Some(memo) = Memo::decode(bytes)
            && memo.encode() != bytes
        {
            return Err(format!("{memo:?} is something else when it is written"));
        }
    }
    Ok(())
}

/// An answer on a connection: it is the one to our request, whole and bounded, or an error.
fn frame(source: &mut Source<'_>) -> Result<(), String> {
    let body_len = source.below(64);
    let length = source.number32(body_len as u32 + 4);
    let correlation = source.number32(7);
    let body = source.take(body_len);
    let stream = [&length.to_be_bytes()[..], &correlation.to_be_bytes(), body].concat();
    match connection::read_answer(&mut Cursor::new(&stream), 7) {
        Ok(read) if correlation == 7 && length as usize == read.len() + 4 && body.starts_with(&read) => Ok(()),
        Err(error) if matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::InvalidData) => Ok(()),
        other => Err(format!("{other:?} of {stream:?}")),
    }
}
