//! When the first record was created that is not finished.

use super::engine::Core;
use super::losses::Region;
use super::position::Position;
use super::scan::{Scan, Source, Step};
use super::segment::{self, Access, Finished};
use crate::error::{Error, Result};
use crate::frame;
use crate::platform::sync::Mutex;
use crate::platform::{Directory, lock};

/// The most frames and damaged regions that are passed over in the search.
const MOST_STEPS: usize = 100;

/// What was found last: what was finished then, and when the record behind that was created.
#[derive(Default)]
pub(super) struct Oldest(Mutex<Option<((u64, u64), i64)>>);

/// The log, read as anybody could: nothing is noted of what is damaged, which is for who delivers it.
struct Plain<'a>(&'a dyn Directory);

impl Source for Plain<'_> {
    fn open(&self, index: u64) -> Result<Option<Finished>> {
        let failed = |error| Error::io(format_args!("could not read {}", segment::name(index)), error);
        segment::open(self.0, index, Access::PLAIN).map_err(failed)
    }

    fn segment_after(&self, index: u64) -> Option<u64> {
        let names = self.0.list().unwrap_or_default();
        names.iter().filter_map(|name| segment::index(name)).filter(|other| *other > index).min()
    }

    fn set_aside(&self, _: &Region, _: &Position) {}
}

impl Core {
    /// When the first record was created of the first batch that is not finished. It is read from the log once for each batch,
    /// with no lock held; `None` if it cannot be read now.
    pub(super) fn oldest_created_at(&self) -> Option<i64> {
        let (buffer_id, committed) = {
            let reader = lock(&self.reader);
            (reader.state.buffer_id, reader.state.committed)
        };
        let known = *lock(&self.oldest.0);
        if let Some((place, created_at)) = known
            && place == committed.place()
        {
            return Some(created_at);
        }
        let created_at = self.first_behind(buffer_id, committed)?;
        *lock(&self.oldest.0) = Some((committed.place(), created_at));
        Some(created_at)
    }

    fn first_behind(&self, buffer_id: u64, committed: Position) -> Option<i64> {
        let limit = Position { segment: lock(&self.log).index, offset: u64::MAX, ..Position::default() };
        let mut scan = Scan::new(buffer_id, committed);
        for _ in 0..MOST_STEPS {
            match scan.step(&Plain(&*self.dir), &limit).ok()? {
                Step::Record { offset, base, .. } => {
                    let bytes = &scan.chunk()?.bytes()[(offset - base) as usize..];
                    return frame::parse(bytes).map(|frame| frame.created_at);
                }
                Step::Limit => return None,
                Step::Seal(_) | Step::Passed => {}
            }
        }
        None
    }
}
