//! What lies in the folder of requests of a live producer, and what is answered there.
//!
//! It is on the real disk, because a request is a named pipe. Nobody waits, nothing is taken but a pipe that somebody reads, nothing
//! is written elsewhere, and who asks hears what was answered.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::source::Source;
use crate::options::Trust;
use crate::platform::Environment;
use crate::request::{self, FOLDER, Request};

/// What names are made of.
const WORDS: [&str; 12] =
    ["stats", "resume", "replay", "delete", ".", ".", "..", "00ff", "0-1-7", "\n", "\u{2028}", "\u{1b}[2J"];

pub(super) fn run(bytes: &[u8]) -> Result<(), String> {
    let mut source = Source::new(bytes);
    match source.byte() % 4 {
        0 => answer(&String::from_utf8_lossy(source.take(4096))),
        1 => {
            words(&name(&mut source))?;
            words(&String::from_utf8_lossy(source.take(300)))
        }
        _ => folder(&mut source),
    }
}

fn name(source: &mut Source<'_>) -> String {
    (0..source.below(6)).map(|_| WORDS[source.below(WORDS.len())]).collect()
}

/// A name asks for one thing, whose words ask for the same.
fn words(name: &str) -> Result<(), String> {
    let Ok(request) = Request::of_name(name) else { return Ok(()) };
    match Request::of_name(&format!("0.{}", request.words())) {
        Ok(again) if again == request && name.ends_with(&request.words()) => Ok(()),
        again => Err(format!("{name:?} is {request:?}, and then {again:?}")),
    }
}

/// Whatever is answered is an answer, or an error.
fn answer(line: &str) -> Result<(), String> {
    let Ok(value) = request::of_line(line) else { return Ok(()) };
    let stats = request::stats(&value);
    match request::of_line(&request::line(Ok(value.clone()))) {
        Ok(again) if again == value && request::stats(&again) == stats => Ok(()),
        again => Err(format!("{value} is {again:?} when it is answered anew")),
    }
}

/// A directory of this case, which goes with it.
struct Scratch(std::path::PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn scratch() -> io::Result<Scratch> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let name = format!("unistream-requests-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let path = std::env::temp_dir().join(name);
    fs::create_dir(&path)?;
    Ok(Scratch(path))
}

fn folder(source: &mut Source<'_>) -> Result<(), String> {
    let told = |error: io::Error| error.to_string();
    let scratch = scratch().map_err(told)?;
    let elsewhere = scratch.0.join("elsewhere");
    let (root, inner) = (scratch.0.join("buffer"), scratch.0.join("buffer").join(FOLDER));
    fs::create_dir(&root).map_err(told)?;
    fs::write(&elsewhere, "whole").map_err(told)?;
    match source.byte() {
        0..0xe0 => fs::create_dir(&inner),
        0xe0..0xe8 => fs::write(&inner, "no folder"),
        0xe8..0xf0 => symlink(&scratch.0, &inner),
        0xf0..0xf8 => pipe(&inner),
        _ => Ok(()),
    }
    .map_err(told)?;
    let is_folder = fs::symlink_metadata(&inner).is_ok_and(|found| found.is_dir());
    let (mut asking, mut others) = (Vec::new(), BTreeSet::new());
    for _ in 0..source.below(24) {
        let name = name(source);
        let path = inner.join(&name);
        if !is_folder || name.is_empty() || matches!(&name[..], "." | "..") || fs::symlink_metadata(&path).is_ok() {
            continue;
        }
        let is_hidden = name.starts_with('.');
        let kind = source.below(6);
        match kind {
            0 => fs::write(&path, "no pipe"),
            1 => fs::create_dir(&path),
            2 => symlink(&elsewhere, &path),
            _ => pipe(&path),
        }
        .map_err(told)?;
        // One that nobody reads is of who asked and has gone; one without a name is about to be opened.
        match kind {
            4 | 5 if !is_hidden => asking.push((name, reader(&path).map_err(told)?)),
            3 if !is_hidden => {}
            _ => _ = others.insert(name),
        }
    }
    let dir = Environment::system().disk.directory(&root, false, Trust::Owner).map_err(told)?;
    let mut taken = Vec::new();
    for _ in 0..4 {
        taken.extend(dir.take_requests(FOLDER).unwrap_or_default());
    }
    for incoming in taken {
        let Some(at) = asking.iter().position(|(name, _)| *name == incoming.name) else {
            return Err(format!("{:?} was taken, and nobody asked so", incoming.name));
        };
        let (name, mut reader) = asking.swap_remove(at);
        let answer = request::line(Request::of_name(&name).map(|request| request.words().into()));
        incoming.answer(&answer);
        let mut heard = String::new();
        reader.read_to_string(&mut heard).map_err(told)?;
        if heard != format!("{answer}\n") {
            return Err(format!("{answer:?} was answered, and {heard:?} heard"));
        }
    }
    if let Some((name, _)) = asking.first() {
        return Err(format!("{name:?} was not taken"));
    }
    let left = || -> BTreeSet<String> {
        let names = fs::read_dir(&inner).into_iter().flatten().flatten();
        if is_folder {
            names.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
        } else {
            BTreeSet::new()
        }
    };
    if left() != others {
        return Err(format!("{:?} is left of {others:?}", left()));
    }
    // Who is the next owner removes pipes, and nothing that is none.
    let found = |name: &String| fs::symlink_metadata(inner.join(name));
    others.retain(|name| found(name).is_ok_and(|found| !found.file_type().is_fifo()));
    let _ = dir.forget_requests(FOLDER);
    let is_kept = |name: &String| found(name).is_ok();
    let mut there = others.iter().filter(|name| is_kept(name)).count();
    there += usize::from(fs::read_to_string(&elsewhere).is_ok_and(|text| text == "whole"));
    if there == others.len() + 1 { Ok(()) } else { Err(format!("of {others:?} and another file {there} are there")) }
}

fn pipe(path: &Path) -> io::Result<()> {
    Ok(mknodat(CWD, path, FileType::Fifo, Mode::from(0o600), 0)?)
}

/// Opens a pipe to read, without waiting for who writes.
fn reader(path: &Path) -> io::Result<fs::File> {
    fs::OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)
}
