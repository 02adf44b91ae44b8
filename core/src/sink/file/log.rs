//! The file of a `FileSink`, whoever rotates it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::piece::{Entry, Piece, fingerprint};
use super::search::{Found, find, stands_at};
use super::sidecar::{Layout, Mark, Sidecar, Standing};
use super::{Framing, NEWLINE, not_opened};
use crate::batch::Batch;
use crate::error::{Error, ErrorKind, Result};
use crate::platform::sync::thread;
use crate::platform::{Disk, File, FileId, FileKind, Seen, Sharing, sync_name};
use crate::sink::{FileOptions, Report};

pub(super) struct Log {
    disk: Arc<dyn Disk>,
    /// Absolute: wherever the program may be by then.
    path: PathBuf,
    sharing: Sharing,
    framing: Framing,
    sync: bool,
    /// The file that was at the path when it was last looked at.
    current: Current,
    sidecar: Sidecar,
    layout: Layout,
    /// Which file the sidecar is, and its lock; none where another took it.
    held: Option<Held>,
    /// What earlier processes left is durable, in the sidecar and of the last piece.
    kept: bool,
    /// Used again for every batch.
    piece: Piece,
    new: Vec<(usize, Entry)>,
}

type Held = (FileId, Box<dyn Send + Sync>);

struct Current {
    file: Arc<dyn File>,
    id: FileId,
    /// Its name is durable.
    named: bool,
    /// Bytes or a length may be in it that no sync has reached.
    unsynced: bool,
    /// It ended there, and with the end of a line.
    line_end: Option<u64>,
}

impl Current {
    fn open(disk: &dyn Disk, path: &Path, how: Sharing) -> io::Result<(Current, u64)> {
        if disk.look(path, how.follow)?.is_none() {
            // Whoever renamed the one before may not have: a power loss must not leave the new name without the old file.
            sync_name(disk, path)?;
        }
        let file = disk.open_shared(path, how)?;
        let seen = file.look()?;
        Ok((Current { file, id: seen.id, named: false, unsynced: true, line_end: None }, seen.length))
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync()?;
        self.unsynced = false;
        Ok(())
    }
}

/// So often a piece is written before it is given up for now: each time others rotated or truncated the file meanwhile.
const ATTEMPTS: usize = 5;
/// How often half a line is looked at before it counts as one that stays.
const LOOKS: usize = 10;
/// Bytes that are stored again at once.
const AT_ONCE: usize = 1 << 20;
/// Names of a directory that are looked at for a file that was renamed.
const MOST_NAMES: usize = 10_000;

impl Log {
    pub(super) fn open(disk: Arc<dyn Disk>, path: &Path, options: &FileOptions, layout: Layout) -> Result<Log> {
        let failed = |error| not_opened(path, error);
        let path = &std::path::absolute(path).map_err(failed)?;
        let FileOptions { follow_links, mode, framing, sync, .. } = *options;
        let sharing = Sharing { create: true, follow: follow_links, mode: mode.0 };
        let (current, _) = Current::open(&*disk, path, sharing).map_err(failed)?;
        let (sidecar, held) = open_sidecar(&*disk, path, follow_links, layout)?;
        let (path, piece, new) = (path.clone(), Piece::default(), Vec::new());
        let mut log = Log {
            disk,
            path,
            sharing,
            framing,
            sync,
            current,
            sidecar,
            layout,
            held: Some(held),
            kept: false,
            piece,
            new,
        };
        log.resolve().map_err(failed)?;
        Ok(log)
    }

    /// Appends the records of a batch that the file does not have.
    pub(super) fn append(&mut self, batch: &Batch, framing: Framing, sync: bool) -> io::Result<Report> {
        (self.framing, self.sync) = (framing, sync);
        let mut report = Report::delivered();
        self.own()?;
        let mut start = self.follow()?;
        let buffer = batch.id.buffer_id;
        self.piece.clear();
        self.new.clear();
        let mut look = self.sidecar.look();
        for (index, record) in batch.iter().enumerate() {
            let entry = (record.seq, fingerprint(buffer, &record));
            if self.sidecar.has(&mut look, (buffer, entry.0, entry.1))? {
                continue;
            }
            if framing == Framing::Lines && record.data.contains(&b'\n') {
                report.set_rejected(index, NEWLINE);
                continue;
            }
            self.new.push((index, entry));
        }
        let new = std::mem::take(&mut self.new);
        for &(index, entry) in &new {
            let Some(record) = batch.get(index) else { continue };
            if self.sidecar.is_full(&self.piece, record.data.len()) {
                start = self.write(buffer, start)?;
            }
            self.piece.add(framing, entry, record.data);
        }
        self.new = new;
        if !self.piece.entries.is_empty() {
            self.write(buffer, start)?;
        } else if sync {
            // All of it was here before, by a process that may have died before its sync.
            self.keep()?;
        }
        Ok(report)
    }

    /// Whoever finds no sidecar makes one and takes the file. So the one that this sink holds must be the one that is there.
    fn own(&mut self) -> io::Result<()> {
        let seen = self.disk.look(&sidecar_of(&self.path), false)?;
        match (&self.held, seen) {
            (Some((id, _)), Some(seen)) if seen.id == *id => Ok(()),
            _ => self.own_again(),
        }
    }

    /// As when the sink was opened: what is known of earlier batches is what this sidecar knows.
    #[cold]
    fn own_again(&mut self) -> io::Result<()> {
        self.held = None;
        let (sidecar, held) =
            open_sidecar(&*self.disk, &self.path, self.sharing.follow, self.layout).map_err(io::Error::other)?;
        (self.sidecar, self.held, self.kept) = (sidecar, Some(held), false);
        (self.current.named, self.current.line_end) = (false, None);
        Ok(())
    }

    /// Opens what is at the path now, if that is another file, and settles what is known of the last piece. Returns where
    /// the file ends.
    fn follow(&mut self) -> io::Result<u64> {
        let seen = self.disk.look(&self.path, self.sharing.follow)?;
        let mut length = match seen {
            Some(seen) if seen.id == self.current.id => seen.length,
            _ => self.change_file()?,
        };
        if self.sidecar.is_open() {
            self.resolve()?;
            length = self.current.file.len()?;
        }
        Ok(length)
    }

    #[cold]
    fn change_file(&mut self) -> io::Result<u64> {
        let (next, length) = Current::open(&*self.disk, &self.path, self.sharing)?;
        if self.sidecar.is_open() && self.sidecar.last.file == self.current.id {
            // What an attempt left there of a piece goes. What nobody will find does not count.
            if self.current.file.look()?.links == 0 {
                self.sidecar.forget();
            } else {
                if self.sync {
                    self.current.sync()?;
                }
                settle(&mut self.sidecar, &*self.current.file)?;
            }
        }
        self.current = next;
        Ok(length)
    }

    /// Finds out how many records of the last piece are in the file.
    fn resolve(&mut self) -> io::Result<()> {
        let id = self.sidecar.last.file;
        if !self.sidecar.is_open() {
            Ok(())
        } else if self.current.id == id {
            (self.current.unsynced, self.current.line_end) = (true, None);
            settle(&mut self.sidecar, &*self.current.file)
        } else if let Some(file) = self.find_renamed(id)? {
            settle(&mut self.sidecar, &*file)?;
            file.sync()
        } else {
            // Nobody knows whether it got there. If it was not acknowledged it comes again.
            self.sidecar.forget();
            Ok(())
        }
    }

    /// The file that an earlier process wrote to, where a rotation left it: beside.
    fn find_renamed(&self, id: FileId) -> io::Result<Option<Arc<dyn File>>> {
        let how = Sharing { create: false, follow: false, mode: None };
        let find = || -> io::Result<Option<Arc<dyn File>>> {
            let Some(parent) = self.path.parent() else { return Ok(None) };
            for name in
                self.disk.directory(parent, false, crate::options::Trust::Anyone)?.list()?.into_iter().take(MOST_NAMES)
            {
                let path = parent.join(name);
                if self.disk.look(&path, false)?.is_some_and(|seen| seen.id == id && seen.kind == FileKind::Regular) {
                    let file = self.disk.open_shared(&path, how)?;
                    // Somebody may have put another in its place.
                    return Ok((file.look()?.id == id).then_some(file));
                }
            }
            Ok(None)
        };
        match find() {
            // What may not be read is not found.
            Err(error) if matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::NotFound) => Ok(None),
            result => result,
        }
    }

    /// Writes the piece, of records of a buffer, where the file ends, which is at `start` as far as is known. Returns where it
    /// ends then.
    fn write(&mut self, buffer: u64, mut start: u64) -> io::Result<u64> {
        for _ in 0..ATTEMPTS {
            // If this fails the piece before it is still the last one.
            start = self.begin(buffer, start)?;
            let written = self.send(start);
            if let Ok(Some(end)) = written {
                self.piece.clear();
                return Ok(end);
            }
            self.sidecar.retract();
            if let Err(error) = written {
                // No half of a batch stays behind; if this fails too, the next attempt cuts it.
                self.kept = false;
                let _ = self.resolve();
                return Err(error);
            }
            start = self.follow()?;
            match self.sidecar.in_file() {
                0 => {}
                count if count == self.piece.entries.len() => {
                    self.piece.clear();
                    return Ok(start);
                }
                // The next attempt looks which ones.
                _ => return Err(io::Error::other("others wrote into the midst of a batch")),
            }
        }
        Err(io::Error::other("others rotate or truncate it again and again"))
    }

    /// Marks the piece in the sidecar. Returns where the file ends.
    fn begin(&mut self, buffer: u64, start: u64) -> io::Result<u64> {
        let (start, ends_a_line) = self.look_for_half_a_line(start)?;
        let mark = Mark { file: self.current.id, start, framing: self.framing, ends_a_line, buffer, ..Mark::default() };
        if self.sync {
            // A cut, too: a mark must not meet a length from before the cut.
            self.keep()?;
        }
        self.sidecar.mark(&self.piece, mark, self.sync)?;
        Ok(start)
    }

    /// Where the file ends, and whether with half a line that nobody knows of, by another program that died or a power loss:
    /// it stays, and ends there.
    fn look_for_half_a_line(&self, mut start: u64) -> io::Result<(u64, bool)> {
        let Current { file, line_end, .. } = &self.current;
        if self.framing != Framing::Lines || *line_end == Some(start) || start == 0 {
            return Ok((start, false));
        }
        let mut last = *b"\n";
        for _ in 0..LOOKS {
            file.read_at(&mut last, start - 1)?;
            if last == *b"\n" {
                return Ok((start, false));
            }
            // A line of others that crosses a page is seen half written for a moment.
            thread::yield_now();
            start = file.len()?.max(1);
        }
        Ok((start, true))
    }

    /// Appends the piece and looks where it is then. `None`: not where anybody will find it.
    fn send(&mut self, start: u64) -> io::Result<Option<u64>> {
        let current = &mut self.current;
        let length = self.sidecar.last.length;
        (current.unsynced, current.line_end) = (true, None);
        let end = current.file.append(self.piece.framed(self.sidecar.last.ends_a_line), start)?;
        let seen = self.disk.look(&self.path, self.sharing.follow)?.filter(|seen| seen.id == current.id);
        let end = match seen {
            Some(seen) if end == start + length && seen.length == end => {
                current.line_end = Some(end);
                end
            }
            // Others appended, truncated or rotated meanwhile.
            seen => {
                let last = &mut self.sidecar.last;
                // Some filesystems may not tell where an append ended.
                let mut places = [end.checked_sub(length), Some(start)].into_iter().flatten();
                last.start = loop {
                    match places.next() {
                        Some(at) if stands_at(&*current.file, last, at)? => break at,
                        Some(_) => {}
                        None => return Ok(None),
                    }
                };
                // Whoever compresses what was renamed may have read it already, so that it goes to the new file instead.
                let Some(seen) = seen else { return Ok(None) };
                seen.length
            }
        };
        if self.sync {
            current.sync()?;
        }
        self.sidecar.settle(self.piece.entries.len());
        Ok(Some(end))
    }

    /// Makes durable what is in the file, in the order that a mark relies on.
    fn keep(&mut self) -> io::Result<()> {
        if !self.current.named {
            sync_name(&*self.disk, &self.path)?;
            self.current.named = true;
        }
        if !self.kept {
            self.sidecar.keep()?;
            // Where a sync of the last piece has failed, the kernel takes it for clean.
            let last = &self.sidecar.last;
            if self.sidecar.standing() == Standing::Settled && last.file == self.current.id {
                store_again(&*self.current.file, last.start, last.length)?;
            }
            self.current.sync()?;
            // The next mark takes the place of one whose records are remembered nowhere else.
            self.sidecar.remember_for_good()?;
            self.kept = true;
        }
        if self.current.unsynced { self.current.sync() } else { Ok(()) }
    }
}

/// Finds out how many records of the last piece the file has, and cuts off what is there of one that is not to stay.
fn settle(sidecar: &mut Sidecar, file: &dyn File) -> io::Result<()> {
    for _ in 0..ATTEMPTS {
        let (found, length) = find(file, &sidecar.last)?;
        let retracted = sidecar.standing() == Standing::Retract;
        let cut = match found {
            Found::Torn { at, .. } => Some(at),
            Found::Whole { at } if retracted && at == sidecar.last.start && at + sidecar.last.length == length => {
                Some(at)
            }
            _ => None,
        };
        if let Some(at) = cut {
            if file.len()? != length {
                // Others appended behind it: that is another case.
                continue;
            }
            match file.set_len(at) {
                Ok(()) => {
                    sidecar.forget();
                    return Ok(());
                }
                // It may be appended to only: what is there stays.
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
                Err(error) => return Err(error),
            }
        }
        match found {
            Found::Whole { at } => {
                sidecar.last.start = at;
                sidecar.settle(sidecar.last.entries.len());
            }
            Found::Torn { records, .. } | Found::Broken { records } => sidecar.settle(records),
            Found::Nothing => sidecar.forget(),
        }
        return Ok(());
    }
    Err(io::Error::other("others write to it all the time"))
}

/// Stores bytes of the file where they are, so that the next sync writes them.
fn store_again(file: &dyn File, mut start: u64, length: u64) -> io::Result<()> {
    let end = start + length;
    let mut window = vec![0; AT_ONCE.min(length as usize)];
    while start < end {
        let wanted = window.len().min((end - start) as usize);
        let got = file.read_at(&mut window[..wanted], start)?;
        match file.write_at(&window[..got], start) {
            // It may be appended to only.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Ok(()),
            result => result?,
        }
        if got < wanted {
            break;
        }
        start += got as u64;
    }
    Ok(())
}

fn sidecar_of(path: &Path) -> PathBuf {
    let mut name = path.to_path_buf().into_os_string();
    name.push(".unistream");
    PathBuf::from(name)
}

/// Opens the file beside `path` and takes it for this sink.
fn open_sidecar(disk: &dyn Disk, path: &Path, follow: bool, layout: Layout) -> Result<(Sidecar, Held)> {
    let sidecar = sidecar_of(path);
    let failed = |error| not_opened(&sidecar, error);
    let in_use = || Error::new(ErrorKind::InUse, format!("{} is in use by another FileSink", path.display()));
    if let Some(seen) = disk.look(&sidecar, false).map_err(failed)? {
        require_trust(&sidecar, &seen)?;
    }
    for _ in 0..ATTEMPTS {
        let file = disk.open(&sidecar, follow).map_err(failed)?;
        let seen = file.look().map_err(failed)?;
        require_trust(&sidecar, &seen)?;
        let lock = disk.lock(&sidecar, follow).map_err(failed)?.map_err(|_| in_use())?;
        // Somebody may have removed it in between: then the lock is another file's.
        if disk.look(&sidecar, false).map_err(failed)?.is_some_and(|there| there.id == seen.id) {
            return Ok((Sidecar::open(file, layout).map_err(failed)?, (seen.id, lock)));
        }
    }
    Err(in_use())
}

/// An error if another user can change the sidecar: its marks say what is cut off the file.
fn require_trust(path: &Path, seen: &Seen) -> Result<()> {
    seen.require_file().map_err(|error| not_opened(path, error))?;
    if seen.links == 1 && seen.is_ours_alone() {
        return Ok(());
    }
    let message = format!(
        "{} belongs to user {} with mode {:04o} and has {} names, so that others may change it, and by it the file; remove \
         it if it is not wanted",
        path.display(),
        seen.owner,
        seen.mode,
        seen.links
    );
    Err(Error::new(ErrorKind::NotTrusted, message))
}
