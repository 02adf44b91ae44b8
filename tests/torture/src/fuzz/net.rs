//! Fuzzing: whatever a proxy says before there is a connection, whatever stands in the headers that say when to come again, and
//! whatever a memo holds.

use std::io::{self, Read, Write};
use std::time::{Duration, SystemTime};

use super::connect::open_tunnel;
use super::slowly::Slowly;
use super::{attempted, date, early};
use crate::Batch;
use crate::torture::Source;

/// What heads are made of.
const PIECES: [&str; 16] = [
    "HTTP/1.1",
    "HTTP/1.0",
    "HTTP/2",
    " 200",
    " 2",
    " 204 ",
    " 407 ",
    " Connection established",
    "\r\n",
    "\r\n",
    "\r\n\r\n",
    "Proxy-Authenticate: Basic realm=\"x\"",
    "Content-Length: 0",
    "\n\n",
    " ",
    "\0",
];

/// The first byte says what the others are.
pub(crate) fn run(bytes: &[u8]) -> Result<(), String> {
    let mut source = Source::new(bytes);
    match source.byte() % 4 {
        0 | 1 => {
            let mut said = Vec::new();
            while !source.is_empty() && said.len() < 4096 {
                match source.below(PIECES.len() + 2) {
                    piece if piece < PIECES.len() => said.extend_from_slice(PIECES[piece].as_bytes()),
                    _ => {
                        let len = source.below(12);
                        said.extend_from_slice(source.take(len));
                    }
                }
            }
            tunnel(&said)
        }
        2 => wait(&String::from_utf8_lossy(source.take(100))),
        _ => {
            let mut batch = Batch::from_records([]);
            batch.progress.memo = Some(source.take(20).to_vec());
            attempted::age(&batch);
            Ok(())
        }
    }
}

/// A proxy that takes what we say, and says this.
struct Proxy<'a> {
    says: Slowly<'a>,
    heard: Vec<u8>,
}

impl Read for Proxy<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.says.read(buffer)
    }
}

impl Write for Proxy<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.heard.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// There is a connection where a whole head says so by its status; what follows the head belongs to the server. No error has the
/// password in it.
fn tunnel(said: &[u8]) -> Result<(), String> {
    let proxy = ureq::Proxy::new("http://user:hush-hush@proxy:3128").map_err(|error| error.to_string())?;
    let mut stream = Proxy { says: Slowly(said, usize::MAX), heard: Vec::new() };
    let opened = open_tunnel(&mut stream, &proxy, "host", 443);
    let head = said.windows(4).position(|four| four == b"\r\n\r\n").map(|at| &said[..at + 4]);
    let line = head.map(|head| String::from_utf8_lossy(head).into_owned()).unwrap_or_default();
    let line = line.split("\r\n").next().unwrap_or_default().to_owned();
    let status = line.strip_prefix("HTTP/1.").and_then(|rest| rest.get(1..)?.strip_prefix(' ')).unwrap_or_default();
    let status = status.split(' ').next().unwrap_or_default();
    let is_good = status.len() == 3 && status.starts_with('2') && status.bytes().all(|byte| byte.is_ascii_digit());
    match opened {
        Ok(()) if is_good && head.is_some_and(|head| stream.says.0 == &said[head.len()..]) => Ok(()),
        Ok(()) => Err(format!("a connection by {:?}", String::from_utf8_lossy(said))),
        Err(error) if is_good => Err(format!("{error} by {:?}", String::from_utf8_lossy(said))),
        Err(error) if error.to_string().contains("hush") => Err(error.to_string()),
        Err(_) => Ok(()),
    }?;
    let is_success = early::is_success(said);
    if is_success && !said.starts_with(b"HTTP/1.") { Err("a success without a status".into()) } else { Ok(()) }
}

/// A wait is the number that stands there, a day at most, or lasts until a date.
fn wait(text: &str) -> Result<(), String> {
    let seconds: Option<u64> = text.trim().parse().ok();
    for clock in [None, date::parse(text), Some(SystemTime::UNIX_EPOCH)] {
        let wait = date::retry_after(text, clock);
        let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
        if is_plain
            && let (Some(wait), Some(seconds)) = (wait, seconds)
            && wait != Duration::from_secs(seconds).min(Duration::from_secs(86_400))
        {
            return Err(format!("{text:?} is a wait of {wait:?}"));
        }
    }
    Ok(())
}
