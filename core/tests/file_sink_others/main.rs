//! `FileSink` among others: who rotates the file, appends to it, has put something else in its place, or would have it
//! write where they may not.

#[path = "../common/mod.rs"]
mod common;
mod rotation;
mod special;
mod trust;

use std::fs::{self, OpenOptions, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::*;
use unistream::*;

struct Place {
    dir: tempfile::TempDir,
    log: PathBuf,
    sidecar: PathBuf,
}

impl Place {
    fn new() -> Place {
        let dir = scratch();
        let log = dir.path().join("app.log");
        Place { sidecar: dir.path().join("app.log.unistream"), dir, log }
    }

    fn beside(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn sink(&self) -> FileSink {
        FileSink::create(&self.log).unwrap()
    }

    fn outbox(&self) -> PathBuf {
        self.beside("outbox")
    }

    fn producer(&self) -> Producer {
        quick(&self.outbox()).open(self.sink()).unwrap()
    }
}

fn quick(outbox: &Path) -> Builder {
    Producer::builder(outbox)
        .max_records(7)
        .linger(Duration::from_millis(1))
        .schedule_multiplier(Duration::from_millis(1))
}

fn put(producer: &Producer, texts: &[&str]) {
    texts.iter().for_each(|text| assert!(producer.put(*text).unwrap() > 0));
    producer.flush(LONG).unwrap();
}

fn text(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).unwrap()
}

/// A batch of a buffer of its own.
fn batch(texts: &[&str]) -> Batch {
    let dir = scratch();
    let buffer = Producer::builder(dir.path()).max_records(texts.len() as u64).segment_bytes(64 << 10);
    let buffer = buffer.open_manual(Limits::default()).unwrap();
    texts.iter().for_each(|text| assert!(buffer.put(*text).unwrap() > 0));
    buffer.next_batch().unwrap().unwrap()
}

fn unavailable(result: Result<Report, SendError>) -> String {
    match result {
        Err(SendError::Unavailable { error, .. }) => error.to_string(),
        other => panic!("not unavailable: {other:?}"),
    }
}

#[test]
#[ignore = "the child's side of the other tests"]
fn child() {
    match role().as_deref() {
        Some("stdout") => {
            let producer =
                quick(&PathBuf::from(argument("WHERE"))).open(FileSink::create("/dev/stdout").unwrap()).unwrap();
            let count: u32 = argument("COUNT").parse().unwrap();
            (0..count).for_each(|number| assert!(producer.put(&format!("record {number}")).unwrap() > 0));
            let flushed = producer.flush(Duration::from_secs(5));
            std::process::exit(if flushed.is_ok() { 0 } else { 3 });
        }
        Some("chdir") => {
            let here = PathBuf::from(argument("HERE"));
            std::env::set_current_dir(&here).unwrap();
            let sink = FileSink::create("app.log").unwrap();
            sink.send(&batch(&["a"])).unwrap();
            std::env::set_current_dir("/").unwrap();
            fs::rename(here.join("app.log"), here.join("app.log.1")).unwrap();
            sink.send(&batch(&["b"])).unwrap();
            assert_eq!((text(here.join("app.log.1")), text(here.join("app.log"))), ("a\n".into(), "b\n".into()));
        }
        _ => {}
    }
}
