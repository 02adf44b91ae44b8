//! [`FileSink`]: an append-only file that gets every record exactly once.
//!
//! Beside `events.log` stands `events.log.unistream`, which says where the last batch begins and ends, and which records
//! the file has. A batch that a crash tore is cut off and written again; a record that is there is not written twice,
//! in whatever batch it comes.

mod marks;

use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use marks::{Marks, Piece};

use super::{Limits, Report, SendError, Sink};
use crate::batch::Batch;
use crate::buffer::storage::{Disk, File, ForkGuard, Open, OsDisk, sync_name};
use crate::environment::lock;
use crate::error::{Error, ErrorKind, Result};
use crate::record::NewRecord;
use crate::sync::Mutex;

/// How records stand in the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Framing {
    /// The payload and a newline. A payload that has a newline in it is refused at `put`.
    #[default]
    Lines,
    /// The payload's length as 32 bits, little-endian, and the payload.
    LengthPrefixed,
}

/// Appends records to a file, each exactly once through crashes and retries, unless somebody else edits it.
///
/// One `FileSink` at a time may have a file, and one producer at a time a `FileSink`. With [`sync`](Self::sync) that holds
/// through power loss too: every record that the buffer's durability does not give up is in the file, once. Without it
/// a power loss can cost, tear or repeat what the kernel had not written yet, because the buffer forgets a batch when
/// the file has it; lines that are put later are whole. (Behind a torn length nobody finds the next record.)
///
/// ```no_run
/// use unistream::{FileSink, Producer};
/// let producer = Producer::builder("outbox").open(FileSink::create("events.log")?)?;
/// producer.put("hello")?;
/// # Ok::<(), unistream::Error>(())
/// ```
pub struct FileSink {
    path: PathBuf,
    framing: Framing,
    sync: bool,
    fork: ForkGuard,
    inner: Mutex<Inner>,
}

struct Inner {
    disk: Arc<dyn Disk>,
    /// The file's, wherever the program may be by then.
    path: PathBuf,
    file: Arc<dyn File>,
    marks: Marks,
    /// Whatever stands in the last batch's place is to be cut off.
    torn: bool,
    /// The names of file and sidecar are durable.
    named: bool,
    /// So is what earlier processes left.
    kept: bool,
    /// Bytes or a length may be in the file that no sync has reached.
    unsynced: bool,
    /// The file is known to end with a line's end, or is of frames.
    at_line: bool,
    /// Used again for every batch.
    piece: Piece,
    _lock: Box<dyn Send + Sync>,
}

impl FileSink {
    /// Opens the file for appending, or creates it, and takes it for this sink. A batch that a crash tore is cut off.
    ///
    /// # Errors
    /// `InUse` if another `FileSink` has the file, `Io` from the disk.
    pub fn create(path: impl AsRef<Path>) -> Result<FileSink> {
        FileSink::create_on(Arc::new(OsDisk), path.as_ref())
    }

    /// As [`create`](Self::create), on another disk than the system's.
    pub(crate) fn create_on(disk: Arc<dyn Disk>, path: &Path) -> Result<FileSink> {
        let failed = |error: io::Error| Error::io(format_args!("could not open {}", path.display()), error);
        let file = disk.open(path, Open::CreateShared).map_err(failed)?;
        let mut sidecar = path.to_path_buf().into_os_string();
        sidecar.push(".unistream");
        let sidecar = PathBuf::from(sidecar);
        let lock = disk
            .lock(&sidecar)
            .map_err(failed)?
            .map_err(|_| Error::new(ErrorKind::InUse, format!("{} is in use by another FileSink", path.display())))?;
        let marks = disk.open(&sidecar, Open::Create).and_then(Marks::open).map_err(failed)?;
        let mut inner = Inner {
            disk,
            path: std::path::absolute(path).map_err(failed)?,
            file,
            marks,
            torn: false,
            named: false,
            kept: false,
            unsynced: true,
            at_line: false,
            piece: Piece::default(),
            _lock: lock,
        };
        inner.find_end().map_err(failed)?;
        let path = path.to_path_buf();
        Ok(FileSink { path, framing: Framing::Lines, sync: false, fork: ForkGuard::new(), inner: Mutex::new(inner) })
    }

    /// How records stand in the file. Default [`Framing::Lines`].
    #[must_use]
    pub fn framing(mut self, framing: Framing) -> Self {
        self.framing = framing;
        self
    }

    /// Whether each batch is synced to stable storage before it counts as delivered. Default `false`.
    #[must_use]
    pub fn sync(mut self, sync: bool) -> Self {
        self.sync = sync;
        self
    }
}

impl std::fmt::Debug for FileSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileSink").field("path", &self.path).field("framing", &self.framing).finish_non_exhaustive()
    }
}

impl Sink for FileSink {
    fn send(&self, batch: &Batch) -> Result<Report, SendError> {
        if self.fork.is_forked() {
            return Err(SendError::failed(
                "this process is a fork of the one that opened the file; open it after the fork",
            ));
        }
        let inner = &mut *lock(&self.inner);
        match inner.append(batch, self.framing, self.sync) {
            Ok(report) => Ok(report),
            Err(error) => {
                let full = matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
                let error = io::Error::new(error.kind(), format!("{}: {error}", self.path.display()));
                // A full disk is an outage, not a fault of the batch.
                Err(if full { SendError::unavailable(error) } else { SendError::failed(error) })
            }
        }
    }

    fn limits(&self) -> Limits {
        Limits { checks_records: self.framing == Framing::Lines, ..Limits::default() }
    }

    fn admit(&self, record: &NewRecord<'_>) -> Result<(), String> {
        match self.framing {
            Framing::Lines if record.data.contains(&b'\n') => Err(NEWLINE.into()),
            _ => Ok(()),
        }
    }

    fn name(&self) -> Cow<'_, str> {
        Cow::Owned(format!("file:{}", self.path.display()))
    }
}

const NEWLINE: &str = "the payload has a newline, which would end the record's line; use length-prefixed framing";

impl Inner {
    /// Appends the records of a batch that the file does not have.
    fn append(&mut self, batch: &Batch, framing: Framing, sync: bool) -> io::Result<Report> {
        let mut report = Report::delivered();
        let mut start = self.whole_end(batch)?;
        self.piece.clear();
        self.piece.buffer_id = batch.id.buffer_id;
        if framing == Framing::Lines && !self.at_line {
            // Half a line that nobody knows of, by another program or a power loss: it stays, and ends there.
            let mut last = *b"\n";
            if start > 0 {
                self.file.read_at(&mut last, start - 1)?;
            }
            if last != *b"\n" {
                self.piece.bytes.push(b'\n');
            }
        }
        for (index, record) in batch.iter().enumerate() {
            if self.marks.last.has(batch.id.buffer_id, &record) {
                continue;
            }
            match framing {
                Framing::Lines if record.data.contains(&b'\n') => {
                    report.set_rejected(index, NEWLINE);
                    continue;
                }
                Framing::Lines => {
                    self.piece.bytes.extend_from_slice(record.data);
                    self.piece.bytes.push(b'\n');
                }
                Framing::LengthPrefixed => {
                    // A record is at most 256 MiB.
                    self.piece.bytes.extend_from_slice(&(record.data.len() as u32).to_le_bytes());
                    self.piece.bytes.extend_from_slice(record.data);
                }
            }
            self.piece.seqs.add(record.seq);
            self.piece.latest = self.piece.latest.max(record.created_at);
            if self.piece.seqs.is_full() {
                start = self.write(start, sync)?;
            }
        }
        if self.piece.seqs.is_empty() {
            // All of it was here before, by a process that may have died before its sync.
            if sync {
                self.keep()?;
            }
        } else {
            self.write(start, sync)?;
        }
        Ok(report)
    }

    /// Where the file ends, without a torn batch behind.
    fn whole_end(&mut self, batch: &Batch) -> io::Result<u64> {
        let length = self.file.len()?;
        let last = &self.marks.last;
        let again = last.is_of(batch.id.buffer_id) && last.batch.meets(batch.first_seq(), batch.last_seq());
        if !self.torn && (again || length < last.end) {
            self.torn = !self.stands(length)?;
        }
        let behind = self.torn && length > self.marks.last.end;
        if behind && again {
            return Err(io::Error::other(
                "somebody else wrote behind a batch that is not finished; cut it off by hand",
            ));
        }
        let end = if behind { length } else { self.cut(length)? };
        if self.torn {
            self.marks.last.forget_batch();
            self.torn = false;
        }
        Ok(end)
    }

    /// Cuts off a batch that an earlier process left torn.
    fn find_end(&mut self) -> io::Result<()> {
        let length = self.file.len()?;
        self.torn = !self.stands(length)?;
        self.cut(length)?;
        Ok(())
    }

    /// Cuts a torn batch off, unless somebody wrote behind it. It was never acknowledged, so its records come again, or
    /// the buffer has lost them. Returns where the file ends.
    fn cut(&mut self, length: u64) -> io::Result<u64> {
        let last = &self.marks.last;
        if !self.torn || length > last.end || length <= last.start {
            return Ok(length);
        }
        self.unsynced = true;
        self.at_line = false;
        self.file.set_len(last.start)?;
        Ok(last.start)
    }

    /// Whether the last batch that was marked stands in the file, which has that length.
    fn stands(&self, length: u64) -> io::Result<bool> {
        let last = &self.marks.last;
        Ok(length >= last.end && crc32c::crc32c(&self.read_last()?) == last.crc)
    }

    fn read_last(&self) -> io::Result<Vec<u8>> {
        let last = &self.marks.last;
        let mut bytes = vec![0; last.end.saturating_sub(last.start) as usize];
        let got = self.file.read_at(&mut bytes, last.start)?;
        bytes.truncate(got);
        Ok(bytes)
    }

    /// Writes the piece behind `start`. Returns where the file ends then.
    fn write(&mut self, start: u64, sync: bool) -> io::Result<u64> {
        if sync {
            // A cut, too: a mark must not meet a length from before the cut.
            self.keep()?;
        }
        self.marks.write(&self.piece, start, sync)?;
        self.unsynced = true;
        let written = self.file.write_at(&self.piece.bytes, start);
        let written = written.and_then(|()| if sync { self.sync() } else { Ok(()) });
        if let Err(error) = written {
            self.torn = true;
            self.at_line = false;
            // No half of a batch stays behind; if this fails too, the next attempt cuts it.
            let _ = self.file.set_len(start);
            return Err(error);
        }
        self.at_line = true;
        self.piece.clear();
        Ok(self.marks.last.end)
    }

    /// Makes durable what is in the file, in the order that a mark relies on.
    fn keep(&mut self) -> io::Result<()> {
        if !self.named {
            sync_name(&*self.disk, &self.path)?;
            self.named = true;
        }
        if !self.kept {
            self.marks.keep()?;
            // Where a sync of the batch has failed, the kernel takes it for clean.
            let last = self.read_last()?;
            if !last.is_empty() {
                self.file.write_at(&last, self.marks.last.start)?;
            }
            self.sync()?;
            self.kept = true;
        }
        if self.unsynced { self.sync() } else { Ok(()) }
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync()?;
        self.unsynced = false;
        Ok(())
    }
}
