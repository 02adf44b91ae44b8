//! The only place that knows the operating system. All that lies above it runs unchanged on the real disk and on a simulated
//! one, on the real clock and on one that a test moves.
//!
//! What is asked of a disk are the traits in `disk`. `os_disk` implements them, over
//! - `directory`: an open directory and what is opened in it; `path_walk`: the way to it; `ownership`: whose it is;
//! - `os_file`: an open file; `shared_file`: one that others use as well; `descriptors`: what every file is opened through;
//! - `stat`: what stands at a path; `trust`: whether it is believed; `file_lock`: a lock on a file; `named`: errors with names;
//! - `requests`: named pipes in a directory, by which another process asks the one that has it.
//!
//! A segment of the log is a file that is mapped (`mmap`, over `mapping`) or not (`plain`); `any_writer` writes either. `unreadable` reads past sectors
//! that the disk has lost.
//!
//! `alarm` is a descriptor that a program polls. `clock`, `random` and `sync` are time, random numbers and threads; `threads` is how a thread is started, `locking` how
//! mutexes are locked. `environment` is all of that in one value, which the engine is given.
//!
//! `unsafe` is in six of these files: `mapping` (mapped files), `sigbus` (pages that the disk cannot give), `fork` (what a
//! forked child must not have), `per_process` (what it makes anew), `threads` (calls of the system's threads) and `secret_memory` (memory for keys). Nothing here knows of records, and the only things that
//! are used from outside are errors.

mod alarm;
mod any_writer;
mod clock;
mod descriptors;
mod directory;
mod disk;
mod environment;
mod file_lock;
mod fork;
mod locking;
mod mapping;
mod mmap;
mod named;
mod os_disk;
mod os_file;
mod ownership;
mod path_walk;
mod per_process;
mod plain;
mod random;
mod requests;
pub(crate) mod secret_memory;
mod shared_file;
mod sigbus;
#[cfg(feature = "torture")]
#[path = "../../../tests/torture/src/simulated/mod.rs"]
pub(crate) mod simulated;
mod stat;
pub(crate) mod sync;
#[cfg(not(feature = "scheduled"))]
pub(crate) mod threads;
mod trust;
mod unreadable;

pub(crate) use alarm::Alarm;
pub(crate) use any_writer::AnyWriter;
#[cfg(any(test, feature = "torture"))]
pub(crate) use clock::Clock;
pub(crate) use clock::EngineClock;
pub(crate) use descriptors::may_write;
pub(crate) use directory::OsDirectory;
#[cfg(any(test, feature = "torture"))]
pub(crate) use disk::Holder;
pub(crate) use disk::{
    Chunk, Directory, Disk, File, Open, Ownership, SegmentReader, SegmentWriter, Sharing, TERMINATOR_BYTES, sync_name,
};
pub(crate) use environment::Environment;
pub(crate) use fork::ForkGuard;
pub(crate) use locking::{CachePadded, lock, lock_briefly};
pub(crate) use os_disk::OsDisk;
pub(crate) use per_process::PerProcess;
pub(crate) use plain::{PlainReader, PlainWriter};
#[cfg(feature = "net")]
#[cfg_attr(not(feature = "nats"), allow(unused_imports, reason = "for the sinks that need one"))]
pub(crate) use random::system_random;
pub(crate) use requests::{Heard, Outgoing};
pub(crate) use shared_file::open_stream;
pub(crate) use stat::{FileId, FileKind, Seen};
pub use trust::Trust;
pub(crate) use unreadable::read_past;
