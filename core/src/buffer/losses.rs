//! What was lost or set aside, counted once, also by later runs.
//!
//! A run that reads a damaged place again, because it died before the batch behind it was finished, counts it again. So the
//! cursor keeps the count of what lies behind the committed position, which nobody reads again; what lies ahead of it is
//! found anew.

use super::cursor::Position;
use super::walk::Region;
use crate::environment::lock;
use crate::sync::Mutex;

/// Places that are remembered one by one; all are counted.
const MOST: usize = 1000;

/// A count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Losses {
    pub(crate) regions: u64,
    pub(crate) bytes: u64,
    pub(crate) records: u64,
}

impl Losses {
    pub(crate) fn add(&mut self, region: &Region) {
        self.add_all(Losses { regions: 1, bytes: region.bytes, records: region.records });
    }

    fn add_all(&mut self, other: Losses) {
        self.regions = self.regions.saturating_add(other.regions);
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.records = self.records.saturating_add(other.records);
    }
}

/// What this run has found.
#[derive(Default)]
pub(crate) struct Found(Mutex<Places>);

#[derive(Default)]
struct Places {
    /// Ahead of the committed position.
    ahead: Vec<Region>,
    /// More than are remembered: they count as passed.
    more: Losses,
}

impl Found {
    /// Notes a place. `false` if it was found before.
    pub(crate) fn note(&self, region: &Region) -> bool {
        let mut places = lock(&self.0);
        if places.ahead.contains(region) {
            return false;
        }
        if places.ahead.len() < MOST {
            places.ahead.push(region.clone())
        } else {
            places.more.add(region)
        }
        true
    }

    /// Moves what lies behind the committed position to what the cursor keeps.
    pub(crate) fn pass(&self, committed: &Position, kept: &mut Losses) {
        let mut places = lock(&self.0);
        places.ahead.retain(|region| {
            let end = (region.segment, region.offset.saturating_add(region.bytes));
            let is_ahead = end > (committed.segment, committed.offset);
            if !is_ahead {
                kept.add(region);
            }
            is_ahead
        });
        kept.add_all(std::mem::take(&mut places.more));
    }
}
