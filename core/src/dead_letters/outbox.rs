//! The dead letters of an outbox are one list over all its slots.

use std::io;

use super::DeadLetters;
use super::location::Location;
use crate::buffer::is_shared;
use crate::error::{Error, ErrorKind, Result};
use crate::outbox;
use crate::platform::lock;

/// An outbox, and which of its slots the letters are of.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) root: Location,
    pub(super) slot: u64,
}

/// What a folder had at the last look.
#[derive(Debug, Default)]
pub(super) struct Seen {
    names: Vec<String>,
    usage: (u64, u64),
}

impl DeadLetters {
    /// Those of the other slots, if they are an outbox's.
    pub(super) fn others(&self) -> Result<Vec<DeadLetters>> {
        let Some(Member { root, slot }) = &self.member else { return Ok(Vec::new()) };
        let numbers = (|| {
            let dir = root.root()?;
            if is_shared(&*dir)? { outbox::numbers(&*dir) } else { Ok(Vec::new()) }
        })();
        let numbers = match numbers {
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Vec::new(),
            numbers => numbers.map_err(|error| {
                Error::io(format_args!("could not look for the dead letters of {}", root.path.display()), error)
            })?,
        };
        let others = numbers.into_iter().filter(|number| number != slot);
        let of = |slot| DeadLetters { is_other: true, ..DeadLetters::at(Location { slot, ..root.clone() }, None) };
        Ok(others.map(of).collect())
    }

    /// As [`usage_of_others`](Self::usage_of_others), from one listing of each folder: a letter is opened only once its files have
    /// other names than at the last look, and a letter that grows gets others.
    pub(crate) fn glance_at_others(&self) -> Result<(u64, u64)> {
        let others = self.others()?;
        let mut seen = lock(&self.seen);
        seen.retain(|slot, _| others.iter().any(|other| other.location.slot == *slot));
        let mut sum = (0, 0);
        for other in others {
            let Some(folder) = other.folder()? else { continue };
            let mut names = folder.list().map_err(|error| Error::io("could not list the dead letters", error))?;
            names.sort_unstable();
            let known = seen.entry(other.location.slot).or_default();
            if known.names != names {
                other.scan(false)?;
                *known = Seen { names, usage: other.usage() };
            }
            sum = (sum.0 + known.usage.0, sum.1 + known.usage.1);
        }
        Ok(sum)
    }

    /// How many the others are, and the disk they take.
    pub(super) fn usage_of_others(&self) -> Result<(u64, u64)> {
        self.others()?.iter().try_fold((0, 0), |(letters, bytes), other| {
            other.scan(false)?;
            let (more, and) = other.usage();
            Ok((letters + more, bytes + and))
        })
    }

    /// The ones that have this letter; these, if none has.
    pub(super) fn keeper(&self, id: &str) -> Result<DeadLetters> {
        let has = |letters: &DeadLetters| {
            let found = letters.get_here(id);
            found.err().is_none_or(|error| error.kind() != ErrorKind::NotFound)
        };
        if self.member.is_none() || has(self) {
            return Ok(self.clone());
        }
        Ok(self.others()?.into_iter().find(has).unwrap_or_else(|| self.clone()))
    }
}
