//! What was lost or set aside, counted once, also by later runs.
//!
//! A run that reads a damaged place again, because it died before the batch behind it was finished, counts it again. So the
//! cursor keeps the count of what lies behind the committed position, which nobody reads again; what lies ahead of it is
//! found anew.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::sync::Arc;

use super::position::Position;
use crate::platform::lock;
use crate::platform::sync::Mutex;
use crate::platform::sync::atomic::AtomicU64;
use crate::platform::sync::atomic::Ordering::Relaxed;

/// Places that are remembered one by one; all are counted.
const MOST: usize = 1000;

/// In what way a place of the log is not what was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Damage {
    /// Its bytes are others than those that were written; they are set aside in `corrupt/`.
    #[default]
    Corrupt,
    /// The segment's file ends here, before its end.
    Truncated,
    /// So many segments' files are not there, one behind the other.
    MissingSegments(u64),
    /// Records or batch boundaries that stood at this place are not there.
    MissingRecords,
}

/// A place of the log that is not what was written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Region {
    pub(crate) damage: Damage,
    /// Of missing segments the first one.
    pub(crate) segment: u64,
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
    /// Records known to be lost.
    pub(crate) records: u64,
}

impl Region {
    /// Segments that are missing, from this one on.
    pub(crate) fn missing_segments(segment: u64, count: u64, records: u64) -> Region {
        Region { damage: Damage::MissingSegments(count.max(1)), segment, records, ..Region::default() }
    }

    /// Records that are missing at a place.
    pub(crate) fn missing_records(segment: u64, offset: u64, records: u64) -> Region {
        Region { damage: Damage::MissingRecords, segment, offset, records, ..Region::default() }
    }

    /// Whether it has bytes that can be set aside.
    pub(crate) fn has_bytes(&self) -> bool {
        self.damage == Damage::Corrupt && self.bytes > 0
    }
}

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
    /// Ahead of the committed position, with where reading went on behind them.
    ahead: Vec<(Region, Position)>,
    /// More than are remembered: they count as passed.
    more: Losses,
    /// The last places of those. They were found by rising position, so that what lies before them was found.
    last: Vec<Region>,
}

impl Found {
    /// Notes a place, behind which reading went on at this position. `false` if it was found before.
    pub(crate) fn note(&self, region: &Region, behind: &Position) -> bool {
        let mut places = lock(&self.0);
        if places.ahead.iter().any(|(known, _)| known == region) || places.last.contains(region) {
            return false;
        }
        if places.ahead.len() < MOST {
            places.ahead.push((region.clone(), *behind));
            return true;
        }
        let reached = places.last.last().map(|last| (last.segment, last.offset));
        match (region.segment, region.offset).cmp(&reached.unwrap_or_default()) {
            Ordering::Less => return false,
            Ordering::Equal => {}
            Ordering::Greater => places.last.clear(),
        }
        places.last.push(region.clone());
        places.more.add(region);
        true
    }

    /// Moves what lies behind the committed position to what the cursor keeps.
    pub(crate) fn pass(&self, committed: &Position, kept: &mut Losses) {
        let mut places = lock(&self.0);
        places.ahead.retain(|(region, behind)| {
            // At one place the totals tell: what is lost there need not have had bytes.
            let is_ahead = (committed.place(), committed.records) < (behind.place(), behind.records);
            if !is_ahead {
                kept.add(region);
            }
            is_ahead
        });
        kept.add_all(std::mem::take(&mut places.more));
    }
}

/// Damage of the log: counted, told of once, and which segments have bytes that could not be copied.
#[derive(Default)]
pub(crate) struct DamageReport {
    found: Arc<Found>,
    regions: AtomicU64,
    bytes: AtomicU64,
    records: AtomicU64,
    untold: Mutex<Vec<Region>>,
    unreadable: Mutex<BTreeSet<u64>>,
}

impl DamageReport {
    /// Begins with what earlier runs have counted.
    pub(crate) fn new(earlier: Losses) -> DamageReport {
        let Losses { regions, bytes, records } = earlier;
        let [regions, bytes, records] = [regions, bytes, records].map(AtomicU64::new);
        DamageReport { regions, bytes, records, ..DamageReport::default() }
    }

    /// The places that this run has found.
    pub(crate) fn found(&self) -> Arc<Found> {
        self.found.clone()
    }

    /// Counts a region. Returns `false` if it was counted before, because the log is read again.
    pub(crate) fn count(&self, region: &Region, behind: &Position) -> bool {
        let is_new = self.found.note(region, behind);
        if is_new {
            self.regions.fetch_add(1, Relaxed);
            self.bytes.fetch_add(region.bytes, Relaxed);
            self.records.fetch_add(region.records, Relaxed);
        }
        is_new
    }

    /// All that was counted since the buffer was made.
    pub(crate) fn totals(&self) -> Losses {
        let [regions, bytes, records] = [&self.regions, &self.bytes, &self.records].map(|count| count.load(Relaxed));
        Losses { regions, bytes, records }
    }

    /// Keeps a region for the sender, which tells of it.
    pub(crate) fn tell(&self, region: &Region) {
        let mut untold = lock(&self.untold);
        if untold.len() < MOST {
            untold.push(region.clone());
        }
    }

    /// The regions that were kept since the last call.
    pub(crate) fn take_untold(&self) -> Vec<Region> {
        std::mem::take(&mut *lock(&self.untold))
    }

    /// Notes that bytes of a segment could not be copied: its file is set aside, not removed.
    pub(crate) fn mark_unreadable(&self, segment: u64) {
        lock(&self.unreadable).insert(segment);
    }

    pub(crate) fn is_unreadable(&self, segment: u64) -> bool {
        lock(&self.unreadable).contains(&segment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Those beyond what is remembered one by one were counted, and told, each time that they were read again.
    #[test]
    fn many_places_that_are_found_again_are_counted_once() {
        let region = |number: u64| {
            let (segment, offset) = (1 + number / 100, number % 100 * 8);
            Region { segment, offset, bytes: number % 2, records: 1, ..Region::default() }
        };
        let found = Found::default();
        let all = 3 * MOST as u64;
        let end = Position { segment: u64::MAX, ..Position::default() };
        let note = |region: &Region| found.note(region, &end);
        assert!((0..all).all(|number| note(&region(number))));
        let mut kept = Losses::default();
        for again in 0..3 {
            assert!((0..all).all(|number| !note(&region(number))), "{again}");
            found.pass(&Position::default(), &mut kept);
        }
        // What comes behind them is new, also two at one place.
        let behind = region(all);
        assert!(note(&behind) && note(&Region { records: 7, ..behind.clone() }) && !note(&behind));
        found.pass(&end, &mut kept);
        assert_eq!((kept.regions, kept.records), (all + 2, all + 8));
    }
}
