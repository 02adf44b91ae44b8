//! The file of notes: how much of which file is in.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

/// The name of the file in the buffer's directory.
const NOTES: &str = "intake";
/// Longer than any note.
const MOST_NOTE: usize = 512;

/// What is known of a file: its first `lines` lines, `offset` bytes of this digest, are in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Note {
    pub(super) tag: String,
    pub(super) lines: u64,
    pub(super) offset: u64,
    /// That of the next line, if it is in.
    pub(super) seq: u64,
    pub(super) digest: String,
    pub(super) boot: String,
    /// Whether a power loss after it cannot take what it tells of.
    pub(super) synced: bool,
}

impl Note {
    fn line(&self, source: &str) -> String {
        let Note { tag, lines, offset, seq, digest, boot, synced } = self;
        format!("{source} {tag} {lines} {offset} {seq} {digest} {boot} {}\n", u8::from(*synced))
    }

    /// The source and its note, if the line is one.
    fn parse(line: &[u8]) -> Option<(String, Note)> {
        let text = std::str::from_utf8(line.strip_suffix(b"\n")?).ok()?;
        let [source, tag, lines, offset, seq, digest, boot, synced] =
            text.split(' ').collect::<Vec<_>>().try_into().ok()?;
        let [buffer, device, inode, times] = source.split(':').collect::<Vec<_>>().try_into().ok()?;
        let digits = |text: &str, most| (1..=most).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
        let hex =
            |text: &str, length| text.len() == length && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let is_boot = boot.len() == 36 && boot.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f' | b'-'));
        let known = hex(buffer, 16) && digits(device, 20) && digits(inode, 20) && digits(times, 9);
        let number = |text: &str| text.parse().ok().filter(|_| digits(text, 19));
        let synced = ["0", "1"].iter().position(|flag| *flag == synced)? == 1;
        let note = Note {
            tag: Some(tag).filter(|tag| hex(tag, 16))?.to_owned(),
            lines: number(lines)?,
            offset: number(offset)?,
            seq: number(seq)?,
            digest: Some(digest).filter(|digest| hex(digest, 32))?.to_owned(),
            boot: Some(boot).filter(|_| is_boot && known)?.to_owned(),
            synced,
        };
        Some((source.to_owned(), note))
    }
}

/// The notes of a buffer's directory, which one run at a time has.
pub(super) struct Notes {
    directory: PathBuf,
    folder: OwnedFd,
    _lock: OwnedFd,
    file: Option<File>,
    boot: String,
    pub(super) known: BTreeMap<String, Note>,
}

impl Notes {
    /// Locks and reads the notes; `None` if another process has them. Says whether some are damaged.
    pub(super) fn open(directory: &Path) -> io::Result<Option<(Notes, bool)>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::open(directory, flags, Mode::empty()).map_err(|error| named(directory, error))?;
        // A run with a sink opens the buffer twice: nobody else may take the same file in between.
        let lock = open_own(&folder, directory, &format!("{NOTES}.lock"), OFlags::CREATE)?;
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => return Ok(None),
            locked => locked.map_err(|error| named(&directory.join(NOTES), error))?,
        }
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned();
        let known = BTreeMap::new();
        let mut notes = Notes { directory: directory.to_owned(), folder, _lock: lock, file: None, boot, known };
        let damaged = notes.read()?;
        Ok(Some((notes, damaged)))
    }

    fn read(&mut self) -> io::Result<bool> {
        let file = match open_own(&self.folder, &self.directory, NOTES, OFlags::empty()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            file => File::from(file?),
        };
        let mut lines = BufReader::new(&file);
        let (mut end, mut line) = (0, Vec::new());
        loop {
            line.clear();
            io::Read::take(&mut lines, MOST_NOTE as u64).read_until(b'\n', &mut line)?;
            let Some((source, note)) = Note::parse(&line) else { break };
            end += line.len() as u64;
            // After another start of the machine, power may have taken what was not synced.
            if note.synced || note.boot == self.boot {
                self.known.insert(source, note);
            }
        }
        // The notes before hold, whatever follows; what a death tore goes.
        file.set_len(end)?;
        self.file = Some(file);
        Ok(line.ends_with(b"\n") || line.len() == MOST_NOTE)
    }

    /// Whether the machine has not been started anew since the note.
    pub(super) fn is_of_this_boot(&self, note: &Note) -> bool {
        note.boot == self.boot
    }

    /// Adds a note, to be believed after a power loss if `synced`.
    pub(super) fn add(&mut self, source: &str, mut note: Note, synced: bool) -> io::Result<()> {
        note.boot.clone_from(&self.boot);
        note.synced = synced;
        let line = note.line(source);
        let written = self.write(line.as_bytes(), synced);
        written.map_err(|error| with_name(&self.directory.join(NOTES), &error))?;
        self.known.insert(source.to_owned(), note);
        Ok(())
    }

    fn write(&mut self, line: &[u8], sync: bool) -> io::Result<()> {
        if self.file.is_none() {
            self.replace(b"")?;
        }
        let Some(file) = &mut self.file else { return Ok(()) };
        file.write_all(line)?;
        if sync { file.sync_data() } else { Ok(()) }
    }

    /// Forgets some sources; the file goes with the last one.
    pub(super) fn forget(&mut self, is_forgotten: impl Fn(&str) -> bool) -> io::Result<()> {
        self.known.retain(|source, _| !is_forgotten(source));
        if !self.known.is_empty() {
            let content: String = self.known.iter().map(|(source, note)| note.line(source)).collect();
            self.replace(content.as_bytes())?;
        } else if self.file.take().is_some() {
            rustix::fs::unlinkat(&self.folder, NOTES, AtFlags::empty())?;
        }
        rustix::fs::fsync(&self.folder)?;
        Ok(())
    }

    /// Puts a new file of notes in the place of the one that is there.
    fn replace(&mut self, content: &[u8]) -> io::Result<()> {
        let fresh = format!("{NOTES}.new");
        match rustix::fs::unlinkat(&self.folder, &fresh, AtFlags::empty()) {
            Err(Errno::NOENT) => {}
            removed => removed?,
        }
        let flags = OFlags::RDWR | OFlags::APPEND | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = File::from(rustix::fs::openat(&self.folder, &fresh, flags, Mode::RUSR | Mode::WUSR)?);
        file.write_all(content)?;
        file.sync_all()?;
        rustix::fs::renameat(&self.folder, &fresh, &self.folder, NOTES)?;
        rustix::fs::fsync(&self.folder)?;
        self.file = Some(file);
        Ok(())
    }
}

/// Opens a file beside the buffer that nobody else can have written.
fn open_own(folder: impl AsFd, directory: &Path, name: &str, how: OFlags) -> io::Result<OwnedFd> {
    let path = directory.join(name);
    let foreign = || {
        let message = format!("{} is not a file that only we can write; remove it", path.display());
        io::Error::new(io::ErrorKind::PermissionDenied, message)
    };
    let flags = OFlags::RDWR | OFlags::APPEND | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | how;
    let file = match rustix::fs::openat(folder, name, flags, Mode::RUSR | Mode::WUSR) {
        Err(Errno::LOOP | Errno::ISDIR | Errno::NXIO) => return Err(foreign()),
        Err(Errno::NOENT) => return Err(io::ErrorKind::NotFound.into()),
        file => File::from(file.map_err(|error| named(&path, error))?),
    };
    let found = file.metadata()?;
    let is_own = found.is_file() && found.uid() == rustix::process::geteuid().as_raw() && found.nlink() == 1;
    if is_own && found.mode() & 0o022 == 0 { Ok(file.into()) } else { Err(foreign()) }
}

fn named(path: &Path, error: Errno) -> io::Error {
    with_name(path, &error.into())
}

/// The error with the name of the file that it is about.
pub(super) fn with_name(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {}", path.display(), crate::text::os_message(error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_what_was_written_and_nothing_else_is_one() {
        let note = Note {
            tag: "0123456789abcdef".into(),
            lines: 7,
            offset: 9_999_999_999_999_999_999,
            seq: 0,
            digest: "0".repeat(32),
            boot: "01234567-0123-0123-0123-0123456789ab".into(),
            synced: true,
        };
        let source = format!("{}:1:2:3", "f".repeat(16));
        let line = note.line(&source);
        assert!(line.len() < MOST_NOTE);
        assert_eq!(Note::parse(line.as_bytes()), Some((source, note)));
        for at in 0..line.len() {
            assert_eq!(Note::parse(&line.as_bytes()[..at]), None);
            for wrong in [" ", "\n", "x", "+", "\u{661}"].into_iter().filter(|wrong| *wrong != &line[at..=at]) {
                assert_eq!(
                    Note::parse([&line[..at], wrong, &line[at + 1..]].concat().as_bytes()),
                    None,
                    "{at} {wrong:?}"
                );
            }
        }
    }

    /// Whatever is in the file: what counts is the whole notes before the first thing that is none, the rest is cut off, and a
    /// note that is added then is found by the next run.
    #[test]
    fn whatever_is_in_the_file_only_whole_notes_count() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(NOTES);
        let note = Note {
            tag: "0123456789abcdef".into(),
            lines: 7,
            offset: 99,
            seq: 0,
            digest: "0".repeat(32),
            boot: "01234567-0123-0123-0123-0123456789ab".into(),
            synced: true,
        };
        let (one, other) = (format!("{}:1:2:3", "f".repeat(16)), format!("{}:4:5:6", "e".repeat(16)));
        let file = [note.line(&one), note.line(&other), note.line(&one)].concat();
        let long = "9".repeat(MOST_NOTE * 3);
        crate::any_bytes::changed(&[file.as_bytes(), b"", long.as_bytes()], 300, |bytes| {
            let told = || String::from_utf8_lossy(bytes).into_owned();
            let _ = std::fs::remove_file(&path);
            let folder = File::open(directory.path()).unwrap();
            drop(open_own(folder, directory.path(), NOTES, OFlags::CREATE).unwrap());
            std::fs::write(&path, bytes).unwrap();
            let (mut notes, _) = Notes::open(directory.path()).unwrap().unwrap();
            let kept = std::fs::read(&path).unwrap();
            assert!(bytes.starts_with(&kept), "{}", told());
            let lines: Option<Vec<_>> = kept.split_inclusive(|byte| *byte == b'\n').map(Note::parse).collect();
            let believed = |note: &Note| note.synced || notes.is_of_this_boot(note);
            let lines = lines.unwrap_or_else(|| panic!("{}", told())).into_iter().filter(|(_, note)| believed(note));
            assert_eq!(notes.known, BTreeMap::from_iter(lines), "{}", told());
            let next = bytes[kept.len()..].split_inclusive(|byte| *byte == b'\n').next().unwrap_or_default();
            assert!(Note::parse(next).is_none(), "{}", told());
            notes.add("0123456789abcdef:7:8:9", note.clone(), false).unwrap();
            let before = notes.known.clone();
            drop(notes);
            let (notes, is_damaged) = Notes::open(directory.path()).unwrap().unwrap();
            assert!(!is_damaged && notes.known == before, "{}", told());
        });
    }
}
