//! `max_buffer_bytes` over all slots. What the others take is counted anew whenever a slot needs a segment, by who has the
//! lock of the file `space`: a count that processes kept together would be wrong when one of them dies.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::Outbox;
use super::slots::{foreign, numbers, open};
use crate::buffer::{Neighbours, segment};
use crate::platform::{Directory, Environment, Open};

const SPACE: &str = "space";
/// How often, and how long in between, to try for the lock, each time for the moment that taking a lock tries by itself. Who was
/// stopped while it had the lock must not stop all others, nor a file that another user made for itself: then two may make a segment
/// at once, and go beyond the limit by one.
const TRIES: u32 = 4;
const TRY: Duration = Duration::from_millis(5);
/// A slot's segments are so short that this many of them would fit if every slot had them.
const SHARE: u64 = 8;

/// The slots beside one.
pub(crate) struct Others {
    pub(crate) outbox: Outbox,
    pub(crate) own: u64,
    pub(crate) env: Environment,
}

impl Neighbours for Others {
    fn disk(&self) -> io::Result<(u64, Option<Box<dyn Send + Sync>>)> {
        let mut turn = None;
        for _ in 0..TRIES {
            turn = foreign(self.outbox.root.lock_file(SPACE))?.and_then(Result::ok);
            if turn.is_some() {
                break;
            }
            self.env.clock.sleep(TRY);
        }
        let mut bytes = 0;
        for number in numbers(&*self.outbox.root)?.into_iter().filter(|number| *number != self.own) {
            // One that is removed meanwhile takes nothing; what another user has, or the disk cannot read, is not seen.
            if let Ok(Some(dir)) = open(&self.outbox.root, number) {
                bytes += disk_of(&dir);
            }
        }
        Ok((bytes, turn))
    }

    fn segment_bytes(&self, cap: u64) -> u64 {
        const PAGE: u64 = 4096;
        const LEAST: u64 = 64 << 10;
        let slots = numbers(&*self.outbox.root).map_or(1, |numbers| numbers.len() as u64);
        (cap / (SHARE * slots) / PAGE * PAGE).max(LEAST)
    }
}

/// What the segments in a directory take.
fn disk_of(dir: &Arc<dyn Directory>) -> u64 {
    let names = dir.list().unwrap_or_default();
    let segments = names.iter().filter(|name| segment::index(name).is_some());
    segments.filter_map(|name| dir.open(name, Open::Read).and_then(|file| file.len()).ok()).sum()
}
