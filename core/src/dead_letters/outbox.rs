//! The dead letters of an outbox are one list over all its slots.

use std::io;

use super::DeadLetters;
use super::location::Location;
use crate::buffer::is_shared;
use crate::error::{Error, ErrorKind, Result};
use crate::outbox;

/// An outbox, and which of its slots the letters are of.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) root: Location,
    pub(super) slot: u64,
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

    /// How many the others are, and the disk they take.
    pub(crate) fn usage_of_others(&self) -> Result<(u64, u64)> {
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
