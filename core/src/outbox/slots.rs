//! Slots: found, taken, removed.
//!
//! A slot is removed by who has its lock, and only if nothing in it is anybody's. First the file `spare` says that all in it
//! is finished, then its files are removed, the lock's last of them, and then its directory. Who dies on the way leaves a slot
//! of which the next owner removes the rest. Who opens the directory meanwhile finds the lock taken; between the removal of
//! the lock's file and of the directory it takes a new one, and then the directory is not empty and stays.

use std::io;
use std::sync::Arc;

use super::Outbox;
use crate::buffer::checkpoint::{Checkpoint, Found, is_file as is_checkpoint};
use crate::buffer::{CORRUPT, LOCK, SHARED, segment};
use crate::platform::{Directory, Open, Ownership};
use crate::request::FOLDER as REQUESTS;

/// The folder in a slot that its dead letters lie in.
pub(crate) const DEAD_LETTERS: &str = "dead-letters";
/// Says of a slot that all in it is finished.
const SPARE: &str = "spare";
/// Says of a slot that somebody has that it is not his own.
const ADOPTED: &str = "adopted";
/// The most slots of an outbox.
const MOST: u64 = 4096;

/// A slot that this process owns.
#[derive(Clone)]
pub(crate) struct Slot {
    pub(crate) number: u64,
    pub(crate) dir: Arc<dyn Directory>,
    pub(crate) owner: Arc<dyn Ownership>,
}

/// The name of a slot, which is that of its directory; slot 0 is the outbox's own.
pub(crate) fn name(number: u64) -> String {
    format!("slot-{number}")
}

fn number(name: &str) -> Option<u64> {
    let number = name.strip_prefix("slot-")?.parse().ok()?;
    (number > 0 && self::name(number) == name).then_some(number)
}

/// The slots that there are, by rising number.
pub(crate) fn numbers(root: &dyn Directory) -> io::Result<Vec<u64>> {
    let mut numbers: Vec<u64> = root.list()?.iter().filter_map(|name| number(name)).collect();
    numbers.push(0);
    numbers.sort_unstable();
    Ok(numbers)
}

/// Opens the directory of a slot. `None` if it is gone, or another user's.
pub(crate) fn open(root: &Arc<dyn Directory>, number: u64) -> io::Result<Option<Arc<dyn Directory>>> {
    if number == 0 {
        return Ok(Some(root.clone()));
    }
    foreign(root.directory(&name(number), false))
}

/// `None` for what is gone or another user's: such a slot is not one that this process could have.
pub(super) fn foreign<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) => Ok(None),
        Err(error) => Err(error),
    }
}

impl Outbox {
    /// Takes the free slot with the smallest number from `first` on, or makes one. One that cannot be had, whatever it is, stops
    /// nobody: the next one has to do.
    pub(crate) fn take(&self, first: u64) -> io::Result<Slot> {
        let there = numbers(&*self.root)?;
        for number in first..MOST {
            if there.binary_search(&number).is_ok() {
                if let Ok(Some(slot)) = self.enter(number) {
                    return Ok(slot);
                }
                continue;
            }
            // Its name is durable before anything is in it. Another process may remove it at once.
            if foreign(self.root.directory(&name(number), true))?.is_none() {
                continue;
            }
            if let Some(slot) = self.enter(number)? {
                return Ok(slot);
            }
        }
        Err(io::Error::other(format!("all of its {MOST} slots are taken")))
    }

    /// Takes a slot that is there. `None` if it is another process's or user's, or gone.
    pub(crate) fn enter(&self, number: u64) -> io::Result<Option<Slot>> {
        let Some(dir) = open(&self.root, number)? else { return Ok(None) };
        // A look first: trying to take what is taken is waiting.
        if foreign(dir.holder(LOCK))?.is_none_or(|holder| holder.is_some()) {
            return Ok(None);
        }
        let Some(Ok(owner)) = foreign(dir.lock(LOCK))? else { return Ok(None) };
        let slot = Slot { number, dir, owner };
        let names = slot.dir.list()?;
        if names.iter().any(|name| name == ADOPTED) {
            slot.dir.remove(ADOPTED)?;
        }
        if names.iter().any(|name| name == SPARE) {
            slot.clear()?;
        }
        Ok(Some(slot))
    }

    /// Takes a slot to send what its process has left, and says so in it; also whether there is nothing left. `None` as for
    /// [`enter`](Self::enter).
    pub(crate) fn adopt(&self, number: u64) -> io::Result<Option<(Slot, bool)>> {
        let Some(dir) = open(&self.root, number)? else { return Ok(None) };
        if foreign(dir.holder(LOCK))?.is_none_or(|holder| holder.is_some()) {
            return Ok(None);
        }
        // Who drains sees no slot that is taken and not marked yet, which would be one of a process that lives. Without the turn,
        // if another process has it for long: one that was stopped meanwhile must not stop all others.
        let _turn = self.turn_to_adopt()?;
        let Some(slot) = self.enter(number)? else { return Ok(None) };
        let is_finished = slot.is_finished()?;
        if !is_finished {
            // A full disk is no reason to let it lie.
            let _ = slot.mark_adopted();
        }
        Ok(Some((slot, is_finished)))
    }

    /// `None`: another process has it.
    fn turn_to_adopt(&self) -> io::Result<Option<Box<dyn Send + Sync>>> {
        // Another user may keep the mark to himself.
        Ok(foreign(self.root.hold(Some(SHARED)))?.unwrap_or_else(|| Some(Box::new(()))))
    }

    /// How many slots another process has that are not its own, but of processes that have ended. One more while another process
    /// adopts one.
    pub(crate) fn adopted_by_others(&self, own: impl Fn(u64) -> bool) -> io::Result<usize> {
        let Some(_turn) = self.turn_to_adopt()? else { return Ok(1) };
        let mut count = 0;
        for number in numbers(&*self.root)?.into_iter().filter(|number| !own(*number)) {
            // What is gone, or another user's, or unreadable, is nobody's to wait for.
            let Ok(Some(dir)) = open(&self.root, number) else { continue };
            let is_adopted = dir.list().is_ok_and(|names| names.iter().any(|name| name == ADOPTED));
            count += usize::from(is_adopted && matches!(dir.holder(LOCK), Ok(Some(_))));
        }
        Ok(count)
    }

    /// Removes a slot, if nothing in it is anybody's: no record, no dead letter, no damaged bytes, no file of others.
    pub(crate) fn remove(&self, slot: Slot) -> io::Result<()> {
        if slot.number == 0 || !slot.is_spare()? {
            return Ok(());
        }
        self.take_away(slot)
    }

    /// Removes a slot that had no log, and in which none could be begun.
    pub(crate) fn discard(&self, slot: Slot) -> io::Result<()> {
        if slot.number == 0 || !slot.is_bare()? { Ok(()) } else { self.take_away(slot) }
    }

    fn take_away(&self, slot: Slot) -> io::Result<()> {
        slot.dir.open(SPARE, Open::Create)?;
        slot.dir.sync()?;
        slot.clear()?;
        slot.dir.remove(LOCK)?;
        match self.root.remove_directory(&name(slot.number)) {
            // Another process has taken it by now.
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(()),
            removed => removed.and_then(|()| self.root.sync()),
        }
    }
}

impl Slot {
    pub(crate) fn name(&self) -> String {
        name(self.number)
    }

    /// Says that who has it has adopted it. This need not be durable: it counts for as long as the lock is held.
    pub(crate) fn mark_adopted(&self) -> io::Result<()> {
        self.dir.open(ADOPTED, Open::Create).map(drop)
    }

    /// Whether there is a log in it.
    pub(crate) fn has_log(&self) -> io::Result<bool> {
        Ok(self.dir.list()?.iter().any(|name| is_checkpoint(name) || segment::index(name).is_some()))
    }

    /// Whether all its records are finished and its log was closed, so that it need not be opened. False if that is not known.
    pub(crate) fn is_finished(&self) -> io::Result<bool> {
        let finished = match Checkpoint::peek_surely(&*self.dir)? {
            Some(Found::State(state)) => state.is_finished(),
            Some(Found::Nothing) => !self.has_log()?,
            Some(Found::Unknown { .. }) | None => false,
        };
        Ok(finished)
    }

    fn is_spare(&self) -> io::Result<bool> {
        Ok(self.is_finished()? && self.is_bare()?)
    }

    /// Whether there is nothing in it but a log and what goes with one: no dead letter, no damaged bytes, no file of others.
    fn is_bare(&self) -> io::Result<bool> {
        for name in self.dir.list()? {
            let is_empty = match &*name {
                CORRUPT | DEAD_LETTERS => self.dir.directory(&name, false)?.list()?.is_empty(),
                LOCK | SPARE | ADOPTED | REQUESTS => true,
                _ => is_checkpoint(&name) || segment::index(&name).is_some(),
            };
            if !is_empty {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Removes all that is finished, and then the word for that.
    fn clear(&self) -> io::Result<()> {
        for name in self.dir.list()? {
            match &*name {
                CORRUPT | DEAD_LETTERS => self.dir.remove_directory(&name)?,
                ADOPTED => self.dir.remove(&name)?,
                REQUESTS => self.dir.forget_requests(&name)?,
                _ if is_checkpoint(&name) || segment::index(&name).is_some() => self.dir.remove(&name)?,
                _ => {}
            }
        }
        self.dir.sync()?;
        self.dir.remove(SPARE)?;
        self.dir.sync()
    }
}
