//! The way in: what `put` does, and what it waits for.

use std::time::Duration;

use super::engine::Core;
use super::format::Body;
use super::writer::{Appended, Log, Refusal};
use crate::error::{Error, ErrorKind, Result};
use crate::options::{Durability, WhenFull};
use crate::platform::sync::MutexGuard;
use crate::platform::{lock, lock_briefly};
use crate::record::{CREATED_AT, MAX_ID_BYTES, NewRecord, no_date};

/// How long a put may wait for space.
#[derive(Clone, Copy)]
pub(crate) struct Wait {
    /// Until it returns, at most.
    pub(crate) slice: Duration,
    /// With all the calls that its caller makes of it: what is told of. Zero waits for nothing.
    pub(crate) whole: Duration,
}

impl From<Duration> for Wait {
    fn from(wait: Duration) -> Self {
        Wait { slice: wait, whole: wait }
    }
}

impl Core {
    /// Appends a record that is a payload and nothing else, as [`put`](Self::put) does, in fewer instructions: most puts
    /// go this way. It syncs nothing, so that the durability must not be `Always`. Returns the seq. `Ok(None)`: the active
    /// segment has no room for it, or it is too large; nothing has happened, and `put` knows what to do.
    ///
    /// `at_edge` hears of a record that may have begun a batch or sealed one.
    #[inline(always)]
    pub(crate) fn put_payload(&self, payload: &[u8], at_edge: impl FnOnce(&Appended)) -> Result<Option<u64>> {
        let len = payload.len() as u64;
        if len > self.max_payload {
            return Ok(None);
        }
        let created_at = self.env.clock.wall();
        let body = Body::of(payload);
        let counted = len + self.payload_overhead;
        let mut log = lock_briefly(&self.log);
        let Some(seq) = log.append_amid(&body, created_at, counted, &self.caps)? else {
            return self.put_payload_at_edge(log, payload, body.crc, created_at, at_edge);
        };
        drop(log);
        if self.signal.is_idle() {
            self.signal.wake();
        }
        Ok(Some(seq))
    }

    /// The rest of a put that is more than a frame. It is handed the body's parts, because the body stays in registers as long as
    /// nobody asks for its address.
    #[cold]
    #[inline(never)]
    fn put_payload_at_edge(
        &self,
        mut log: MutexGuard<'_, Log>,
        payload: &[u8],
        crc: u32,
        created_at: i64,
        at_edge: impl FnOnce(&Appended),
    ) -> Result<Option<u64>> {
        let counted = payload.len() as u64 + self.payload_overhead;
        let appended = log.append(&Body::summed(payload, crc), created_at, counted, &self.caps, &self.env.clock);
        drop(log);
        match appended {
            Ok(appended) => {
                if self.signal.is_idle() || appended.wants_spare {
                    self.signal.wake();
                }
                at_edge(&appended);
                Ok(Some(appended.seq))
            }
            Err(Refusal::Segment(_)) => Ok(None),
            Err(Refusal::Error(error)) => Err(error),
        }
    }

    /// Appends a record, waiting for space at most `wait`; `None` does not even prepare the next segment. The caller has
    /// seen to it that this is no forked child.
    pub(crate) fn put(&self, record: &NewRecord<'_>, wait: Option<Wait>) -> Result<Appended> {
        let checked;
        let mut attributes = None;
        if record.has_attributes() {
            checked = record.checked_attributes()?;
            attributes = Some(&checked);
        }
        let key_len = record.key.map_or(0, <[u8]>::len);
        let id_len = record.id.map_or(0, str::len);
        let counted = self.limits.record_bytes(record);
        if record.data.len() as u64 > self.max_data || counted > self.max_counted || (key_len | id_len) > MAX_ID_BYTES {
            return Err(self.too_large(record, counted));
        }
        let created_at = match record.created_at {
            Some(created_at) if CREATED_AT.contains(&created_at) => created_at,
            Some(created_at) => return Err(no_date("created_at", created_at)),
            None => self.env.clock.wall(),
        };
        let body = Body::new(record.id, record.key, attributes, record.data);
        // The guard ends with the statement: what follows takes the log again.
        let appended = lock_briefly(&self.log).append(&body, created_at, counted, &self.caps, &self.env.clock);
        let appended = match appended {
            Ok(appended) => appended,
            Err(Refusal::Error(error)) => return Err(error),
            Err(Refusal::Segment(_)) => match wait {
                Some(wait) => self.append_slowly(&body, created_at, counted, wait)?,
                None => match self.append_rolling(&body, created_at, counted)? {
                    Ok(appended) => appended,
                    Err(_) => {
                        // Where it could not make the segment, it tries again.
                        self.signal.wake();
                        return Err(would_wait());
                    }
                },
            },
        };
        if self.signal.is_idle() || appended.wants_spare {
            self.signal.wake();
        }
        if self.options.durability == Durability::Always {
            // Failing here, the record is in the log, but whether it is durable is not known.
            self.sync_to(appended.lsn).map_err(|error| error.with_record_accepted(true))?;
        }
        Ok(appended)
    }

    /// The rest of a put that found no room: prepares the next segment, or waits for space.
    #[cold]
    fn append_slowly(&self, body: &Body<'_>, created_at: i64, counted: u64, wait: Wait) -> Result<Appended> {
        let deadline = self.env.clock.monotonic().saturating_add(wait.slice);
        let clock = &*self.env.clock;
        let mut told = false;
        loop {
            let freed = self.space.count();
            let needed = match self.append_rolling(body, created_at, counted)? {
                Ok(appended) => return Ok(appended),
                Err(needed) => needed,
            };
            let Err(error) = self.prepare(needed) else { continue };
            if error.kind() != ErrorKind::BufferFull {
                return Err(error);
            }
            let mut log = lock(&self.log);
            log.check()?;
            // What is open would wait for ever for a full batch, and its sender for the next put.
            if log.seal(self.env.clock.wall())?
                && let Some(tell) = self.when_sealed.get()
            {
                tell();
            }
            if self.options.when_full == WhenFull::DropOldest {
                drop(log);
                if let Some(dropped) = self.drop_oldest()? {
                    if let Some(tell) = self.when_dropped.get() {
                        tell(&dropped);
                    }
                    continue;
                }
                log = lock(&self.log);
            }
            if wait.whole.is_zero() || !self.env.threads {
                return Err(error);
            }
            if self.space.count() != freed {
                continue;
            }
            if !told && let Some(tell) = self.when_waiting.get() {
                told = true;
                drop(log);
                tell(wait.whole);
                continue;
            }
            let left = deadline.saturating_sub(clock.monotonic());
            if left.is_zero() {
                return Err(error);
            }
            // In steps: what is committed now is freed by the next `prepare`.
            self.space.wait(log, left.min(Duration::from_millis(50)));
        }
    }

    /// Appends, in the spare segment if the active one has no room. Else says what length of a segment it needs.
    #[cold]
    fn append_rolling(
        &self,
        body: &Body<'_>,
        created_at: i64,
        counted: u64,
    ) -> Result<std::result::Result<Appended, u64>> {
        let mut log = lock(&self.log);
        let mut rolled = false;
        loop {
            match log.append(body, created_at, counted, &self.caps, &self.env.clock) {
                Ok(appended) => return Ok(Ok(appended)),
                Err(Refusal::Error(error)) => return Err(error),
                Err(Refusal::Segment(needed)) => {
                    if rolled || log.spare.as_ref().is_none_or(|spare| spare.length < needed) {
                        return Ok(Err(needed));
                    }
                    log.roll(created_at)?;
                    rolled = true;
                }
            }
        }
    }

    #[cold]
    fn too_large(&self, record: &NewRecord<'_>, counted: u64) -> Error {
        let longest = record.key.map_or(0, <[u8]>::len).max(record.id.map_or(0, str::len));
        let message = if longest > MAX_ID_BYTES {
            format!("an id or key of {longest} bytes is longer than {MAX_ID_BYTES}")
        } else if record.data.len() as u64 > self.max_data {
            let limit = self.max_data;
            format!("a record of {} bytes is larger than max_record_bytes ({limit})", record.data.len())
        } else {
            let limit = self.max_counted;
            format!("a record that counts {counted} bytes is larger than a batch or the sink takes ({limit})")
        };
        Error::new(ErrorKind::RecordTooLarge, message)
    }
}

#[cold]
fn would_wait() -> Error {
    Error::new(ErrorKind::BufferFull, "the next segment is not prepared yet; put waits for it")
}
