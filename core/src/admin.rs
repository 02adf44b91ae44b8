//! [`Admin`]: asks the process that has a buffer to do something.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::buffer::{LOCK, is_shared};
use crate::dead_letters::check_id;
use crate::error::{Error, ErrorKind, Result};
use crate::options::Trust;
use crate::outbox;
use crate::platform::{Directory, Disk, Heard, OsDisk, Outgoing};
use crate::request::{self, FOLDER, Request};
use crate::stats::Stats;

/// How long it may take until a request is taken, unless it is said otherwise: owners look once a second.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long carrying it out may take.
const WORK: Duration = Duration::from_secs(60);

/// Asks the process that has a buffer, or those that have the slots of an outbox, to do something: a producer looks once a
/// second whether somebody asks. For tools beside a program that runs; the program itself has [`Producer`](crate::Producer).
///
/// It obeys those who ask as the user that it runs as, and root. What is asked is a pipe in the folder `requests` of the
/// directory, which goes with the answer; no space on the disk is needed. May be used from any thread, also while others ask.
///
/// Every call fails with `Closed` if no process has the buffer, with `Timeout` if the one that has it has not taken the request in time, and
/// never will: it hangs, is stopped, or is of a version that does not look. `Io`: it has ended before it answered, so that it
/// is not known whether it was done; or the request cannot be made, where the filesystem has no pipes or the directory
/// belongs to another user.
#[derive(Clone, Debug)]
pub struct Admin {
    path: PathBuf,
    patience: Duration,
}

impl Admin {
    /// Asks the owners of the buffer or outbox in `dir`.
    pub fn new(dir: impl AsRef<Path>) -> Admin {
        Admin { path: dir.as_ref().to_owned(), patience: PATIENCE }
    }

    /// How long to wait until a request is taken; default 5 s. What is taken is waited for, for at most a minute.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Admin {
        self.patience = patience;
        self
    }

    /// What each producer has and did, by the slot that it has; that of a buffer of one producer is `slot-0`. What a producer has
    /// adopted is a slot of its own here.
    ///
    /// # Errors
    /// `NotFound` if there is no buffer, `Closed` if no process has one of its slots, `Io`. What is wrong with one slot stands in its place.
    pub fn stats(&self) -> Result<Vec<(String, Result<Stats>)>> {
        let all = self.ask_all(&Request::Stats)?;
        Ok(all.into_iter().map(|(slot, answer)| (slot, answer.map(|answer| request::stats(&answer)))).collect())
    }

    /// As [`Producer::resume`](crate::Producer::resume), for each slot: a producer that has stopped goes on with a fresh round of attempts, and
    /// one that runs tries now what waits for its next attempt.
    ///
    /// # Errors
    /// As for [`stats`](Self::stats).
    pub fn resume(&self) -> Result<Vec<(String, Result<()>)>> {
        let all = self.ask_all(&Request::Resume)?;
        Ok(all.into_iter().map(|(slot, answer)| (slot, answer.map(drop))).collect())
    }

    /// As [`Producer::replay_dead_letter`](crate::Producer::replay_dead_letter). Not for an outbox, where anybody may open a slot and do it.
    ///
    /// # Errors
    /// Those of that call, and of every call here; `WrongMode` for an outbox. `BufferFull` after 5 seconds in which there was no room for all records;
    /// what was put before is delivered twice if the letter is replayed again.
    pub fn replay_dead_letter(&self, id: &str) -> Result<u64> {
        check_id(id)?;
        let answer = self.ask_owner(&Request::Replay(id.to_owned()))?;
        Ok(answer.as_u64().unwrap_or(0))
    }

    /// As [`DeadLetters::delete`](crate::DeadLetters::delete). Not for an outbox, whose letters that deletes.
    ///
    /// # Errors
    /// Those of that call, and of every call here; `WrongMode` for an outbox.
    pub fn delete_dead_letter(&self, id: &str) -> Result<()> {
        check_id(id)?;
        self.ask_owner(&Request::Delete(id.to_owned())).map(drop)
    }

    fn failed(&self, error: io::Error) -> Error {
        Error::io(format_args!("could not ask the process that has {}", self.path.display()), error)
    }

    fn root(&self) -> Result<Arc<dyn Directory>> {
        let missing = || Error::new(ErrorKind::NotFound, format!("there is no buffer in {}", self.path.display()));
        // Who may ask is for the process that is asked to say; where nobody would believe the directory there is no buffer.
        let root = match OsDisk.directory(&self.path, false, Trust::Anyone) {
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Err(missing());
            }
            root => root.map_err(|error| self.failed(error))?,
        };
        let names = root.list().map_err(|error| self.failed(error))?;
        if names.iter().any(|name| name == LOCK) { Ok(root) } else { Err(missing()) }
    }

    fn nobody(&self) -> Error {
        Error::new(ErrorKind::Closed, format!("no process has the buffer {} now", self.path.display()))
    }

    fn ask_owner(&self, request: &Request) -> Result<Value> {
        let root = self.root()?;
        if is_shared(&*root).map_err(|error| self.failed(error))? {
            let message = format!("{} is an outbox, whose dead letters need no owner", self.path.display());
            return Err(Error::new(ErrorKind::WrongMode, message));
        }
        self.begin(&root, request)?.map_or_else(|| Err(self.nobody()), |asked| self.finish(&root, asked))
    }

    fn ask_all(&self, request: &Request) -> Result<Vec<(String, Result<Value>)>> {
        let root = self.root()?;
        let failed = |error| self.failed(error);
        let numbers =
            if is_shared(&*root).map_err(failed)? { outbox::numbers(&*root).map_err(failed)? } else { vec![0] };
        // All are asked before one is waited for.
        let mut asked = Vec::new();
        for number in numbers {
            // A slot may be removed meanwhile, or be another user's.
            let Some(dir) = outbox::open(&root, number).map_err(failed)? else { continue };
            if let Some(outgoing) = self.begin(&dir, request).transpose() {
                asked.push((number, dir, outgoing));
            }
        }
        if asked.is_empty() {
            return Err(self.nobody());
        }
        let finish = |(number, dir, asked): (u64, _, Result<Outgoing>)| {
            (outbox::name(number), asked.and_then(|asked| self.finish(&dir, asked)))
        };
        Ok(asked.into_iter().map(finish).collect())
    }

    /// Asks who has this directory. `None` if nobody has.
    fn begin(&self, dir: &Arc<dyn Directory>, request: &Request) -> Result<Option<Outgoing>> {
        let failed = |error| self.failed(error);
        match dir.holder(LOCK).map_err(failed)? {
            None => Ok(None),
            Some(_) => dir.ask(FOLDER, &request.words()).map(Some).map_err(failed),
        }
    }

    fn finish(&self, dir: &Arc<dyn Directory>, asked: Outgoing) -> Result<Value> {
        let holder = || dir.holder(LOCK).ok().flatten();
        let heard = asked.wait(self.patience, WORK, || holder().is_none()).map_err(|error| self.failed(error))?;
        let path = dir.path().display();
        match (heard, holder()) {
            (Heard::Answer(line), _) => request::of_line(&line),
            (Heard::Nothing, None) => Err(self.nobody()),
            (Heard::Nothing, Some(holder)) => Err(Error::new(
                ErrorKind::Timeout,
                format!(
                    "the process with pid {}, which has {path}, has not answered in {} seconds, and nothing was done: it \
                     hangs, is stopped, or is of a version that cannot be asked",
                    holder.pid,
                    self.patience.as_secs_f64()
                ),
            )),
            (Heard::Broken, _) => Err(Error::new(
                ErrorKind::Io,
                format!(
                    "the process that has {path} has not answered to the end: what was asked may have been done or not"
                ),
            )),
        }
    }
}
