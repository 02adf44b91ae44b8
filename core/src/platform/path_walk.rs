//! Walks to a directory, one name of the path at a time. A symbolic link on the way is followed only if this process's user,
//! or root, made it. Otherwise a user who may write to a directory above could have files made wherever that user likes.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Mode, OFlags, fstat, fsync, mkdirat, openat, readlinkat};
use rustix::io::Errno;

use super::descriptors::apart_from_streams;
use super::named::{is_no, naming};
use super::stat::FileKind;
use super::trust::{Trust, check_link};

/// How to open a directory: for reading its names.
pub(super) const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Flags to look at something, whatever it is, without opening it.
const LOOK: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// How many symbolic links are followed: as many as the kernel follows.
const MOST_LINKS: usize = 40;

/// Finds a directory. With `create` missing ones are made, with mode 0700. Their names are durable then, and so is the name of
/// the last one, whoever made it.
pub(super) fn find(path: &Path, create: bool, trust: Trust) -> io::Result<OwnedFd> {
    // Collecting the components drops what means nothing, such as a `/` at the end.
    let path: PathBuf = std::path::absolute(path)?.components().collect();
    let mut rest: VecDeque<(OsString, bool)> = parts(&path).map(|part| (part, create)).collect();
    let (mut at, mut links) = (PathBuf::from("/"), 0);
    let mut dir = apart_from_streams(|| Ok(rustix::fs::open("/", LOOK | OFlags::DIRECTORY, Mode::empty())?))?;
    while let Some((name, create)) = rest.pop_front() {
        let above = at.clone();
        at.push(&name);
        let named = |error: Errno| if at == path { error.into() } else { naming(&at.display(), error.into()) };
        let mut next = step(&dir, &name, LOOK | OFlags::DIRECTORY);
        if create && (matches!(next, Err(Errno::NOENT)) || rest.is_empty()) {
            if matches!(next, Err(Errno::NOENT)) {
                match mkdirat(&dir, &name, Mode::from(0o700)) {
                    Ok(()) | Err(Errno::EXIST) => next = step(&dir, &name, LOOK | OFlags::DIRECTORY),
                    Err(error) => return Err(named(error)),
                }
            }
            keep_names(&dir).map_err(named)?;
        }
        match next {
            Ok(next) => dir = next,
            Err(Errno::NOTDIR | Errno::LOOP) => {
                let looked = step(&dir, &name, LOOK).map_err(named)?;
                let found = fstat(&looked).map_err(named)?;
                match FileKind::of(&found) {
                    FileKind::Link => check_link(&found, &at, trust)?,
                    other => return Err(is_no(&at.display(), other.name(), "directory")),
                }
                if links == MOST_LINKS {
                    return Err(Errno::LOOP.into());
                }
                links += 1;
                let target = readlinkat(&looked, "", Vec::new()).map_err(named)?;
                let target = Path::new(OsStr::from_bytes(target.as_bytes()));
                // Directories are made only where the path itself names them, not where a link leads.
                parts(target).rev().for_each(|part| rest.push_front((part, false)));
                at = above;
            }
            Err(error) => return Err(named(error)),
        }
    }
    Ok(dir)
}

/// Finds the directory that a file is in. `follow`: links on the way are followed whoever made them.
pub(super) fn above(path: &Path, follow: bool) -> io::Result<(OwnedFd, &OsStr)> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let above = path.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Ok((find(above, false, if follow { Trust::Anyone } else { Trust::Owner })?, name))
}

/// The names of a path, one after the other; an absolute one begins with `/`.
fn parts(path: &Path) -> impl DoubleEndedIterator<Item = OsString> {
    path.components().filter(|part| *part != Component::CurDir).map(|part| part.as_os_str().to_owned())
}

fn step(dir: &OwnedFd, name: &OsStr, flags: OFlags) -> Result<OwnedFd, Errno> {
    let open = || Ok(openat(dir, name, flags, Mode::empty())?);
    apart_from_streams(open).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
}

/// Makes the names in a directory durable. One that may be entered but not read cannot be synced.
pub(super) fn keep_names(dir: &OwnedFd) -> Result<(), Errno> {
    match step(dir, OsStr::new("."), DIRECTORY) {
        Ok(dir) => fsync(dir),
        Err(Errno::ACCESS) => Ok(()),
        Err(error) => Err(error),
    }
}
