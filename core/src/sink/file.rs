//! [`FileSink`]: an append-only file that gets every record exactly once.
//!
//! Beside `events.log` stands `events.log.unistream`, which says where the last batch begins and ends. A batch
//! that a crash tore is cut off and written again; one that is whole already is not written twice.

use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Limits, Report, SendError, Sink};
use crate::batch::Batch;
use crate::buffer::format::{le_u32, le_u64};
use crate::buffer::storage::{Disk, File, Open, OsDisk};
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
/// One `FileSink` at a time may have a file. With [`sync`](Self::sync) that holds through power loss too;
/// without it a power loss can cost what the kernel had not written yet, because the buffer forgets a batch
/// when the file has it.
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
    inner: Mutex<Inner>,
}

struct Inner {
    file: Arc<dyn File>,
    marks: Marks,
    /// Used again for every batch.
    bytes: Vec<u8>,
    _lock: Box<dyn Send + Sync>,
}

/// The last batch in the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Mark {
    batch: String,
    start: u64,
    end: u64,
}

/// The sidecar: two sectors, written in turn, so that a torn one leaves the other.
struct Marks {
    file: Arc<dyn File>,
    generation: u64,
    last: Option<Mark>,
}

const SECTOR: usize = 512;
const MARK_MAGIC: [u8; 8] = *b"unimark\n";
/// Offsets in a sector: magic, generation, start, end, length of the id, the id, at the end the CRC-32C.
const MARK_HEAD: usize = 36;

impl FileSink {
    /// Opens the file for appending, or creates it, and takes it for this sink.
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
        let lock = disk.lock(&sidecar).map_err(failed)?.map_err(|holder| {
            let message = format!("{} is in use by another FileSink (pid {})", path.display(), holder.pid);
            Error::new(ErrorKind::InUse, message)
        })?;
        let marks = disk.open(&sidecar, Open::Create).and_then(Marks::open).map_err(failed)?;
        let inner = Inner { file, marks, bytes: Vec::new(), _lock: lock };
        let path = path.to_path_buf();
        Ok(FileSink { path, framing: Framing::Lines, sync: false, inner: Mutex::new(inner) })
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
        let inner = &mut *lock(&self.inner);
        let mut report = Report::delivered();
        inner.bytes.clear();
        for (index, record) in batch.iter().enumerate() {
            match self.framing {
                Framing::Lines if record.data.contains(&b'\n') => report.set_rejected(index, NEWLINE),
                Framing::Lines => {
                    inner.bytes.extend_from_slice(record.data);
                    inner.bytes.push(b'\n');
                }
                Framing::LengthPrefixed => {
                    // A record is at most 256 MiB.
                    inner.bytes.extend_from_slice(&(record.data.len() as u32).to_le_bytes());
                    inner.bytes.extend_from_slice(record.data);
                }
            }
        }
        match inner.append(batch.id(), self.sync) {
            Ok(()) => Ok(report),
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
    /// Appends `self.bytes` as this batch, unless they are there already.
    fn append(&mut self, batch: String, sync: bool) -> io::Result<()> {
        let length = self.file.len()?;
        let mut start = length;
        if let Some(mark) = &self.marks.last {
            let same = mark.batch == batch;
            if same && length >= mark.end && self.holds(mark.start)? {
                return if sync { self.file.sync() } else { Ok(()) };
            }
            if same && length > mark.end {
                return Err(io::Error::other(
                    "somebody else wrote behind a batch that is not finished; cut it off by hand",
                ));
            }
            // Torn, or not what it should be. A torn batch of another id was never acknowledged, so it comes again.
            if mark.start <= length && (same || length < mark.end) {
                start = mark.start;
                self.file.set_len(start)?;
            }
        }
        if self.bytes.is_empty() {
            return Ok(());
        }
        self.marks.write(Mark { batch, start, end: start + self.bytes.len() as u64 }, sync)?;
        let written = self.file.write_at(&self.bytes, start);
        let result = written.and_then(|()| if sync { self.file.sync() } else { Ok(()) });
        if result.is_err() {
            // No half of a batch stays behind; if this fails too, the next attempt cuts it.
            let _ = self.file.set_len(start);
        }
        result
    }

    /// Whether the batch's bytes stand at `start` already.
    fn holds(&self, start: u64) -> io::Result<bool> {
        let mut there = vec![0; self.bytes.len()];
        let got = self.file.read_at(&mut there, start)?;
        Ok(there[..got] == self.bytes)
    }
}

impl Marks {
    fn open(file: Arc<dyn File>) -> io::Result<Marks> {
        let mut bytes = [0; 2 * SECTOR];
        file.read_at(&mut bytes, 0)?;
        let newest = bytes.chunks_exact(SECTOR).filter_map(decode).max_by_key(|(generation, _)| *generation);
        let (generation, last) = newest.map_or((0, None), |(generation, mark)| (generation, Some(mark)));
        Ok(Marks { file, generation, last })
    }

    fn write(&mut self, mark: Mark, sync: bool) -> io::Result<()> {
        let generation = self.generation + 1;
        let mut sector = [0; SECTOR];
        sector[0..8].copy_from_slice(&MARK_MAGIC);
        sector[8..16].copy_from_slice(&generation.to_le_bytes());
        sector[16..24].copy_from_slice(&mark.start.to_le_bytes());
        sector[24..32].copy_from_slice(&mark.end.to_le_bytes());
        sector[32..36].copy_from_slice(&(mark.batch.len() as u32).to_le_bytes());
        let id = sector.get_mut(MARK_HEAD..MARK_HEAD + mark.batch.len()).filter(|id| id.len() < SECTOR / 2);
        id.ok_or(io::ErrorKind::InvalidInput)?.copy_from_slice(mark.batch.as_bytes());
        let crc = crc32c::crc32c(&sector[..SECTOR - 4]);
        sector[SECTOR - 4..].copy_from_slice(&crc.to_le_bytes());
        self.file.write_at(&sector, generation % 2 * SECTOR as u64)?;
        if sync {
            self.file.sync()?;
        }
        self.generation = generation;
        self.last = Some(mark);
        Ok(())
    }
}

fn decode(sector: &[u8]) -> Option<(u64, Mark)> {
    let whole = sector[0..8] == MARK_MAGIC && crc32c::crc32c(&sector[..SECTOR - 4]) == le_u32(sector, SECTOR - 4);
    if !whole {
        return None;
    }
    let id = sector.get(MARK_HEAD..MARK_HEAD + le_u32(sector, 32) as usize)?;
    let batch = String::from_utf8(id.to_vec()).ok()?;
    Some((le_u64(sector, 8), Mark { batch, start: le_u64(sector, 16), end: le_u64(sector, 24) }))
}
