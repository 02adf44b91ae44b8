//! Carries out what another process asks of this one, which has the buffer: its numbers, dead letters to be put again or
//! deleted, to go on.
//!
//! The log's thread does it, once a second, in every mode: a sink that does not return holds nothing of it up.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::Shared;
use crate::error::{ErrorKind, Result};
use crate::record::NewRecord;
use crate::request::{self, FOLDER, Request};

/// How long putting the records of a dead letter waits for space in all: the thread that waits is the one that makes some.
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(10);

impl Shared {
    /// Begins to look for requests.
    pub(super) fn begin_requests(self: &Arc<Self>) {
        if self.core().dir.takes_requests() {
            self.note_rates();
            let weak = Arc::downgrade(self);
            self.core().begin_ticks(move || {
                weak.upgrade().is_some_and(|shared| {
                    shared.note_rates();
                    shared.report_lost();
                    shared.answer_requests()
                })
            });
        }
    }

    /// Takes what is asked, carries it out and answers. False if nothing is.
    pub(super) fn answer_requests(&self) -> bool {
        // What cannot be looked at now is looked at again: there is nobody here to tell.
        let requests = self.core().dir.take_requests(FOLDER).unwrap_or_default();
        let any = !requests.is_empty();
        for incoming in requests {
            let result = Request::of_name(&incoming.name).and_then(|request| self.carry_out(&request));
            incoming.answer(&request::line(result));
        }
        any
    }

    fn carry_out(&self, request: &Request) -> Result<Value> {
        self.refuse_closed()?;
        match request {
            Request::Stats => Ok(request::of_stats(&self.own_stats())),
            Request::Resume => {
                self.go_on()?;
                self.household.as_ref().map_or(Ok(()), |household| household.resume())?;
                Ok(Value::Null)
            }
            Request::Replay(id) => {
                self.check()?;
                let deadline = self.core().env.clock.monotonic() + PATIENCE;
                let replayed =
                    self.letters.replay(id, |record| self.put_again(&record, deadline), || self.core().sync())?;
                Ok(replayed.into())
            }
            Request::Delete(id) => {
                self.letters.delete(id)?;
                Ok(Value::Null)
            }
        }
    }

    /// Puts a record of a dead letter, on the log's thread: what that thread does to make space is done here meanwhile. In
    /// inline mode nothing is sent, which is for the program's threads.
    fn put_again(&self, record: &NewRecord<'_>, deadline: Duration) -> Result<u64> {
        let core = self.core();
        self.admit(record)?;
        loop {
            match core.put(record, Some(Duration::ZERO.into())) {
                Err(error) if error.kind() == ErrorKind::BufferFull && core.env.clock.monotonic() < deadline => {
                    self.wake_sender();
                    let _ = core.run_maintenance();
                    core.env.clock.sleep(PAUSE);
                }
                Err(error) => return Err(error),
                Ok(appended) => {
                    self.report_put(appended.seq, record);
                    self.wake_for(&appended);
                    return Ok(appended.seq);
                }
            }
        }
    }
}
