//! [`FileSink`]: an append-only file that gets every record exactly once.
//!
//! Beside `events.log` stands `events.log.unistream`, which has a copy of what is being written, and says which records the
//! file has. A batch that a crash tore is cut off and written again; a record that is there is not written twice,
//! in whatever batch it comes. The path is followed: when the file is renamed, removed or truncated, what comes next
//! goes to the file that is there then.

mod log;
mod memory;
mod options;
mod piece;
mod search;
mod sidecar;
mod stream;

use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use log::Log;
pub use options::{FileMode, FileOptions, Framing};
pub(crate) use sidecar::Layout;
use stream::Stream;

use super::kind::{Kind, Place};
use super::{Limits, Maker, Report, SendError, Sink};
use crate::batch::Batch;
use crate::error::{Error, ErrorKind, Result};
use crate::platform::sync::Mutex;
use crate::platform::{Disk, ForkGuard, OsDisk, lock};
use crate::record::NewRecord;

pub(super) static KIND: Kind = Kind {
    scheme: "file",
    aliases: &[],
    summary: "Appends records to a file that others may rotate.",
    once: "Exactly once, through kills and retries, and with `sync` through power loss; at least once into pipes and devices.",
    page: include_str!("page.md"),
    options: FileOptions::TABLE,
    takes_any: false,
    place: Place::File("path"),
    feature: "",
    open: Some(&|options| Ok(Box::new(FileSink::of_options(&FileOptions::from_pairs(options)?)?))),
};

/// Appends records to a file, each exactly once through crashes and retries, unless somebody else edits it.
///
/// The path is followed, as a watched log handler does: when the file there was renamed or removed, a new one is made, and
/// the next batch goes to it; when it was truncated, writing goes on where it ends. Other programs may append to the file, too.
/// `docs/sinks/file.md` tells what that means for logrotate.
///
/// What the operating system refuses (no space, no permission, a directory that is missing) is an outage: it uses up no
/// attempts, and the records wait in the buffer.
///
/// One `FileSink` at a time may have a file, and one producer at a time a `FileSink`. With [`sync`](Self::sync) exactly
/// once holds through power loss too: every record that the buffer's durability does not give up is in the file, once.
/// Without it a power loss can cost, tear or repeat what the kernel had not written yet, because the buffer forgets a
/// batch when the file has it; lines that are put later are whole. (Behind a torn length nobody finds the next record.)
///
/// `/dev/stdout`, `/dev/stderr`, other devices and named pipes are written to as well, without a sidecar: at least once.
///
/// ```no_run
/// use unistream::{FileSink, Producer};
/// let producer = Producer::builder("outbox").open(FileSink::create("events.log")?)?;
/// producer.put("hello")?;
/// # Ok::<(), unistream::Error>(())
/// ```
pub struct FileSink {
    path: PathBuf,
    /// What it was made with; the next two may be set later.
    options: FileOptions,
    framing: Framing,
    sync: bool,
    fork: ForkGuard,
    target: Target,
}

enum Target {
    Log(Box<Mutex<Log>>),
    Stream(Box<Stream>),
}

impl FileSink {
    /// Opens the file for appending, or creates it, and takes it for this sink, with the default options. A batch that a
    /// crash tore is cut off.
    ///
    /// # Errors
    /// `InUse` if another `FileSink` has the file; `InvalidArgument` if something else than a file stands at its path or its
    /// sidecar's; `NotTrusted` if another user can change the sidecar, or may have put the file there; `Io` or `DiskFull` from the disk.
    pub fn create(path: impl AsRef<Path>) -> Result<FileSink> {
        FileSink::builder(path.as_ref()).build()
    }

    /// A sink for a file, with options.
    pub fn builder(path: impl Into<PathBuf>) -> FileSinkBuilder {
        FileSinkBuilder { path: path.into(), options: FileOptions::default() }
    }

    /// A sink as its options say.
    pub(crate) fn of_options(options: &FileOptions) -> Result<FileSink> {
        FileSink::builder(&options.path).options(options.clone()).build()
    }

    /// On another disk than the system's, and with a sidecar of another size.
    pub(crate) fn create_on(
        disk: Arc<dyn Disk>,
        path: &Path,
        options: &FileOptions,
        layout: Layout,
    ) -> Result<FileSink> {
        let FileOptions { framing, sync, .. } = *options;
        let target = Target::Log(Box::new(Mutex::new(Log::open(disk, path, options, layout)?)));
        let (path, options) = (path.to_path_buf(), options.clone());
        Ok(FileSink { path, options, framing, sync, fork: ForkGuard::new(), target })
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

/// Options of a [`FileSink`] to be.
#[derive(Clone, Debug)]
pub struct FileSinkBuilder {
    path: PathBuf,
    options: FileOptions,
}

impl FileSinkBuilder {
    /// Sets all options but the path.
    #[must_use]
    pub fn options(mut self, options: FileOptions) -> Self {
        self.options = options;
        self
    }

    /// How records stand in the file. Default [`Framing::Lines`].
    #[must_use]
    pub fn framing(mut self, framing: Framing) -> Self {
        self.options.framing = framing;
        self
    }

    /// Whether each batch is synced to stable storage before it counts as delivered. Default `false`.
    #[must_use]
    pub fn sync(mut self, sync: bool) -> Self {
        self.options.sync = sync;
        self
    }

    /// The permissions of a file that is created, whatever the umask: 0640 for example. Default: 0640, as far as the
    /// umask lets. A file that is there keeps its own.
    #[must_use]
    pub fn mode(mut self, mode: u32) -> Self {
        self.options.mode = FileMode(Some(mode));
        self
    }

    /// Whether symbolic links at the path are followed, and those on the way to it that another user made; and whether a
    /// file may have a second name, and it or a pipe belong to another user, in a directory where others write. Default
    /// `false`: who may write in the directory could have the records written anywhere, or read them.
    #[must_use]
    pub fn follow_links(mut self, follow: bool) -> Self {
        self.options.follow_links = follow;
        self
    }

    /// Opens the file, as [`FileSink::create`] does.
    ///
    /// # Errors
    /// Those of [`FileSink::create`]; `InvalidArgument` for a mode above 0777 or one that keeps this user out.
    pub fn build(self) -> Result<FileSink> {
        let FileSinkBuilder { path, options } = self;
        options.mode.check()?;
        match Stream::at(&path, &options)? {
            Some(stream) => {
                let target = Target::Stream(Box::new(stream));
                let (framing, sync) = (options.framing, options.sync);
                Ok(FileSink { path, options, framing, sync, fork: ForkGuard::new(), target })
            }
            None => FileSink::create_on(Arc::new(OsDisk), &path, &options, Layout::DEFAULT),
        }
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
        let sent = match &self.target {
            Target::Log(log) => lock(log).append(batch, self.framing, self.sync),
            Target::Stream(stream) => stream.write(batch, self.framing),
        };
        // Whatever the disk or a reader says is no fault of the records.
        sent.map_err(|error| SendError::unavailable(in_path(&self.path, error)))
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

    fn maker(&self) -> Option<Maker> {
        let mut options = self.options.clone();
        (options.framing, options.sync) = (self.framing, self.sync);
        let builder = FileSinkBuilder { path: self.path.clone(), options };
        Some(Arc::new(move || Ok(Box::new(builder.clone().build()?))))
    }

    fn interrupt(&self) {
        if let Target::Stream(stream) = &self.target {
            stream.interrupt();
        }
    }
}

const NEWLINE: &str = "the payload has a newline, which would end the record's line; use length-prefixed framing";

fn in_path(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// Why a file could not be opened.
fn not_opened(path: &Path, error: io::Error) -> Error {
    let what = format_args!("could not open {}", path.display());
    match error.kind() {
        io::ErrorKind::InvalidInput => Error::new(ErrorKind::InvalidArgument, format!("{what}: {error}")),
        _ => Error::io(what, error),
    }
}
