//! An outbox as some processes left it, in which files, folders, pipes and links were put or changed.
//!
//! It opens, unless a newer version says that it made it, and then nothing is changed. What is put is delivered, in the buffer's slot
//! or another, what others left in slots that nobody touched is delivered too, and no file is removed that is none of ours.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::source::Source;
use crate::error::ErrorKind;
use crate::options::Durability;
use crate::platform::simulated::SimulatedDisk;
use crate::platform::{Clock as _, FileKind};
use crate::torture::outbox::{DIR, Shared, builder, open, with};
use crate::torture::world::SimulatedClock;

/// What may be put there; those with a number at the end of the list are no names of ours.
const NAMES: [&str; 26] = [
    "shared",
    "shared.tmp",
    "lock",
    "drain",
    "space",
    "spare",
    "adopted",
    "requests",
    "slot-1/spare",
    "slot-1/adopted",
    "slot-1/lock",
    "slot-1/requests",
    "slot-1/cursor.0",
    "slot-2/spare",
    "slot-2/lock",
    "slot-2/corrupt",
    "slot-2/dead-letters",
    "slot-3/cursor.1",
    "slot-3/spare",
    "slot-4095/lock",
    "slot-01/lock",
    "slot-0/lock",
    "slot-18446744073709551616/lock",
    "note.txt",
    "slot-1/note.txt",
    "slot-7/note.txt",
];

/// Whose files these are.
fn is_of_others(name: &str) -> bool {
    name.ends_with("note.txt") || ["slot-01", "slot-0/", "slot-1844"].iter().any(|start| name.starts_with(start))
}

/// So many operations of the disk: opening, sending and closing among some slots takes some thousand.
const MOST_OPERATIONS: u64 = 100_000;

pub(super) fn run(bytes: &[u8]) -> Result<(), String> {
    let mut source = Source::new(bytes);
    let (disk, clock) = (SimulatedDisk::new(source.byte() & 1 == 0), SimulatedClock::new());
    let ledger = Shared::default();
    let told = |what: &str, error: crate::Error| format!("{what}: {error}");
    // What some processes left.
    let left = source.below(4);
    let mut living = Vec::new();
    for process in 0..left as u64 {
        let own = disk.of_process(process);
        let producer = open(builder(&own, &clock, Durability::Os, process).shared(true), &ledger);
        let producer = producer.map_err(|error| told("opening", error))?;
        for number in 0..source.below(3) {
            let text = format!("p{process} {number:04}");
            producer.put(&*text).map_err(|error| told("putting", error))?;
            with(&ledger, |ledger| ledger.accepted.insert(text));
        }
        living.push(producer);
    }
    for (process, producer) in (0..).zip(living) {
        std::mem::forget(producer);
        disk.kill(process);
    }
    // Each was killed in the slot of its number.
    let (mut touched, mut others) = (BTreeSet::new(), BTreeSet::new());
    for _ in 0..source.below(6) {
        let name = NAMES[source.below(NAMES.len())];
        let path = Path::new(DIR).join(name);
        let number = name.strip_prefix("slot-").and_then(|rest| rest.split('/').next()?.parse::<u64>().ok());
        touched.insert(number.unwrap_or(0));
        if disk.kind(&path) == Some(FileKind::Directory) {
            continue;
        }
        match source.below(8) {
            0 => disk.install_other(&path, FileKind::Fifo),
            1 => disk.install_other(&path, FileKind::Link),
            2 if disk.kind(&path).is_none() => disk.install_other(&path, FileKind::Directory),
            3 => {
                // A mark of some version, with the right checksum.
                let mut mark = b"uniboxs\n".to_vec();
                mark.extend(source.number32(1).to_le_bytes());
                mark.extend(source.number32(0).to_le_bytes());
                mark.extend(crc32c::crc32c(&mark).to_le_bytes());
                disk.install(&path, &mark);
            }
            _ => {
                let len = source.below(40);
                disk.install(&path, source.take(len));
            }
        }
        if is_of_others(name) {
            others.insert(path);
        }
    }
    let seen = |path: PathBuf| (disk.kind(&path), disk.contents(&path.to_string_lossy()), path);
    let others: Vec<_> = others.into_iter().map(seen).collect();
    check(&disk, &clock, &ledger, &touched, &others)
}

fn check(
    disk: &SimulatedDisk,
    clock: &std::sync::Arc<SimulatedClock>,
    ledger: &Shared,
    touched: &BTreeSet<u64>,
    others: &[(Option<FileKind>, Vec<u8>, PathBuf)],
) -> Result<(), String> {
    let before = disk.files(Path::new(DIR));
    let (operations, _) = disk.operations();
    with(ledger, |ledger| ledger.is_up = true);
    let own = disk.of_process(99);
    let producer = match open(builder(&own, clock, Durability::Os, 99).shared(true), ledger) {
        Ok(producer) => producer,
        Err(error) if error.kind() == ErrorKind::UnsupportedFormat => {
            let is_same = disk.files(Path::new(DIR)) == before;
            return if is_same { Ok(()) } else { Err(format!("{error}; and something was changed")) };
        }
        // What is no file stands where one of the first slot's or the outbox's must be.
        Err(error) if touched.contains(&0) && error.kind() == ErrorKind::Io => {
            return Ok(());
        }
        Err(error) => return Err(format!("opening: {error} ({:?})", error.kind())),
    };
    producer.put("mine 0000").map_err(|error| format!("putting: {error}"))?;
    with(ledger, |ledger| ledger.accepted.insert("mine 0000".into()));
    for _ in 0..20 {
        producer.do_sending();
        producer.do_chores();
        clock.sleep(Duration::from_secs(2));
    }
    producer.close(Duration::ZERO).map_err(|error| format!("closing: {error}"))?;
    with(ledger, |ledger| {
        if let Some(wrong) = &ledger.wrong {
            return Err(wrong.clone());
        }
        let untouched = |text: &String| {
            let process = text.strip_prefix('p').and_then(|rest| rest.split(' ').next()?.parse().ok());
            process.is_none_or(|process: u64| !touched.contains(&process))
        };
        match ledger.accepted.iter().find(|text| untouched(text) && !ledger.delivered.contains(text)) {
            Some(lost) => Err(format!("{lost:?} is not delivered; touched were {touched:?}")),
            None => Ok(()),
        }
    })?;
    for (kind, contents, path) in others {
        if disk.kind(path) != *kind || disk.contents(&path.to_string_lossy()) != *contents {
            return Err(format!("{} was changed", path.display()));
        }
    }
    match disk.operations().0 - operations {
        many if many > MOST_OPERATIONS => Err(format!("{many} operations of the disk")),
        _ => Ok(()),
    }
}
