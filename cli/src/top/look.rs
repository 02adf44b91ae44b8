//! What is seen of a buffer at one time, and what has changed since the time before.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime};

use unistream::{DeadLetters, Inspection, InspectionStats};

use super::per_second;
use crate::exit::Error;

/// A look at a buffer.
pub(super) struct Look {
    /// Microseconds since the epoch.
    pub(super) time: i64,
    pub(super) stats: InspectionStats,
    /// Of an outbox, each slot by its name.
    pub(super) slots: Vec<(String, InspectionStats)>,
    /// Since the look before; `None` at the first one, and where the buffer is another.
    pub(super) rates: Option<Rates>,
    /// By the name of the sink.
    pub(super) sinks: BTreeMap<String, Given>,
}

/// What changes in a second.
#[derive(Clone, Copy)]
pub(super) struct Rates {
    pub(super) put_records: f64,
    pub(super) put_bytes: f64,
    pub(super) finished_records: f64,
    pub(super) finished_bytes: f64,
}

/// What was given up on for a sink.
#[derive(Clone, Default)]
pub(super) struct Given {
    pub(super) letters: u64,
    pub(super) records: u64,
    /// Why, of the letter that was written last.
    pub(super) reason: String,
    last: i64,
}

/// Takes looks.
pub(super) struct Looks {
    buffer: PathBuf,
    before: Option<(Instant, InspectionStats)>,
    /// As of the folders' times of change: reading all letters for each look would take its time.
    letters: Option<(Vec<(i64, i64)>, BTreeMap<String, Given>)>,
}

impl Looks {
    pub(super) fn new(buffer: &Path) -> Looks {
        Looks { buffer: buffer.to_owned(), before: None, letters: None }
    }

    pub(super) fn take(&mut self) -> Result<Look, Error> {
        let inspection = Inspection::open(&self.buffer)?;
        let (stats, slots) = (inspection.stats()?, inspection.slots()?);
        let now = Instant::now();
        let rates = self.before.replace((now, stats.clone())).filter(|(_, before)| before.buffer_id == stats.buffer_id);
        let rates = rates.map(|(time, before)| {
            let elapsed = now - time;
            let rate = |now: u64, before: u64| per_second(now.saturating_sub(before), elapsed);
            let put = |stats: &InspectionStats| {
                (stats.finished_records + stats.pending_records, stats.finished_bytes + stats.pending_bytes)
            };
            Rates {
                put_records: rate(put(&stats).0, put(&before).0),
                put_bytes: rate(put(&stats).1, put(&before).1),
                finished_records: rate(stats.finished_records, before.finished_records),
                finished_bytes: rate(stats.finished_bytes, before.finished_bytes),
            }
        });
        let sinks = self.letters(&slots)?;
        Ok(Look { time: unistream::time::micros(SystemTime::now()), stats, slots, rates, sinks })
    }

    fn letters(&mut self, slots: &[(String, InspectionStats)]) -> Result<BTreeMap<String, Given>, Error> {
        let time = |slot: &Path| {
            let folder = std::fs::metadata(slot.join("dead-letters"));
            folder.map_or((0, 0), |folder| (folder.mtime(), folder.mtime_nsec()))
        };
        // Slot 0 of an outbox is the directory itself.
        let others = slots.iter().skip(1).map(|(name, _)| self.buffer.join(name));
        let changed: Vec<_> = std::iter::once(self.buffer.clone()).chain(others).map(|slot| time(&slot)).collect();
        if let Some((when, given)) = &self.letters
            && *when == changed
        {
            return Ok(given.clone());
        }
        let mut given: BTreeMap<String, Given> = BTreeMap::new();
        for letter in DeadLetters::open(&self.buffer).list()? {
            let of_sink = given.entry(letter.sink).or_default();
            of_sink.letters += 1;
            of_sink.records += letter.records.len() as u64;
            if letter.created_at >= of_sink.last {
                of_sink.last = letter.created_at;
                let reason = letter.errors.into_iter().next_back();
                let reason = reason.or(letter.records.into_iter().next().map(|record| record.reason));
                of_sink.reason = reason.unwrap_or_default();
            }
        }
        self.letters = Some((changed, given.clone()));
        Ok(given)
    }
}
