//! Who owns a directory: the process that has the lock of a certain file in it, as long as that very file is still there.
//!
//! A file can be removed, by a cleaner or by hand. Then another process makes a new one and locks that, and both think that
//! the directory is theirs. So an owner checks that its file is there before each change that two owners would make worse.
//! It also locks the directory itself, which stays the same one whatever is removed in it: a process that finds the directory
//! locked and the file gone does not take the directory, and the owner makes the file anew. The directory's lock also makes
//! systemd-tmpfiles leave everything in it alone. It cannot be the only lock, because a program that is run under `flock
//! directory` has it as well, and network filesystems may not give it.

use std::cell::Cell;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::io::Errno;

use super::directory::OsDirectory;
use super::disk::{Holder, Open, Ownership};
use super::file_lock;
use super::stat::FileId;

/// How often to try again if the file is removed between opening and locking.
const MOST_TRIES: usize = 10;

pub(super) type Held = Box<dyn Send + Sync>;

struct Owner {
    dir: OsDirectory,
    name: String,
    /// Which file it is, and its lock.
    file: Mutex<(FileId, Held)>,
    /// The lock of the directory itself, if it could be had.
    whole: Option<Held>,
}

impl Ownership for Owner {
    fn check(&self) -> io::Result<()> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        match self.dir.look(&self.name) {
            Ok(found) if FileId::of(&found) == file.0 => Ok(()),
            Err(Errno::NOENT) if self.whole.is_some() => {
                *file = take(&self.dir, &self.name, Open::New)?.map_err(|_| self.gone())?;
                Ok(())
            }
            Ok(_) | Err(Errno::NOENT) => Err(self.gone()),
            Err(error) => Err(error.into()),
        }
    }
}

impl Owner {
    #[cold]
    fn gone(&self) -> io::Error {
        let file = self.dir.path.join(&self.name);
        let message =
            format!("{} was removed or replaced, and another process may have the buffer now", file.display());
        io::Error::new(io::ErrorKind::NotFound, message)
    }
}

/// Takes the lock that the file of that name stands for, for as long as the result lives.
pub(super) fn own(dir: &OsDirectory, name: &str) -> io::Result<Result<Arc<dyn Ownership>, Holder>> {
    let mut whole = None;
    if matches!(dir.look(name), Err(Errno::NOENT)) {
        // Either nobody has had this directory yet, or its owner's file is gone.
        match file_lock::take(|| dir.reopen(), false) {
            Ok(Ok(held)) => whole = Some(held),
            Ok(Err(holder)) if !dir.names()?.is_empty() => return Ok(Err(holder)),
            Ok(Err(_)) | Err(_) => {}
        }
    }
    let file = match take(dir, name, Open::Create)? {
        Ok(file) => file,
        Err(holder) => return Ok(Err(holder)),
    };
    if whole.is_none() {
        whole = file_lock::take(|| dir.reopen(), false).ok().and_then(Result::ok);
    }
    let dir = dir.clone();
    Ok(Ok(Arc::new(Owner { dir, name: name.to_owned(), file: Mutex::new(file), whole })))
}

/// Takes the lock of a file and of nothing else.
pub(super) fn own_file(dir: &OsDirectory, name: &str) -> io::Result<Result<Held, Holder>> {
    Ok(take(dir, name, Open::Create)?.map(|(_, held)| held))
}

/// Takes the lock of a file, which still has this name once it is locked.
fn take(dir: &OsDirectory, name: &str, how: Open) -> io::Result<Result<(FileId, Held), Holder>> {
    for _ in 0..MOST_TRIES {
        let opened = Cell::new(None);
        let open = || {
            let file = dir.open_file(name, how)?;
            opened.set(Some(FileId::of(&rustix::fs::fstat(&file)?)));
            Ok(file)
        };
        let held = match file_lock::take(open, true)? {
            Ok(held) => held,
            Err(holder) => return Ok(Err(holder)),
        };
        if let Some(id) = opened.get()
            && dir.look(name).is_ok_and(|found| FileId::of(&found) == id)
        {
            return Ok(Ok((id, held)));
        }
    }
    Ok(Err(Holder { pid: 0 }))
}
