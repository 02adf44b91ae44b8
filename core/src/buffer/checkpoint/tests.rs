//! Writes and syncs of the cursor in any order, with a crash before each operation of the disk.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use super::*;
use crate::buffer::open_batch::BatchCaps;
use crate::buffer::reader::Reader;
use crate::buffer::recovery::recover;
use crate::limits::Limits;
use crate::options::Trust;
use crate::platform::Disk;
use crate::platform::simulated::{Crash, Dice, Fault, SimulatedDisk, Snapshot, Trouble};

const CAPS: BatchCaps = BatchCaps { records: 10, bytes: 1000 };

/// The number of the state that a crash leaves; 0 if none is whole.
fn left(snapshot: &Snapshot, crash: Crash, seed: u64, dir: &Path) -> u64 {
    match Checkpoint::peek(&*snapshot.crash(crash, seed).directory(dir, false, Trust::Owner).unwrap()).unwrap() {
        Found::State(state) => state.seq_limit,
        _ => 0,
    }
}

/// A crash never takes more than the state that is being written, and a power loss never more than what was not synced,
/// also where states are written while another is being synced, and where a sync fails.
#[test]
fn no_order_of_writes_and_syncs_costs_a_state_that_was_durable() {
    let dir = Path::new("/buffer");
    for seed in 0..300 {
        let mut dice = Dice::new(seed);
        let disk = SimulatedDisk::new(false);
        let buffer = disk.directory(dir, true, Trust::Owner).unwrap();
        let (cursor, _) = Checkpoint::open(&*buffer).unwrap();
        buffer.sync().unwrap();
        let mut reader = Reader::new(cursor, State::default(), Arc::default(), Limits::default(), CAPS);
        let pictures: Arc<Mutex<Vec<Snapshot>>> = Arc::default();
        let taken = || std::mem::take(&mut *pictures.lock().unwrap_or_else(PoisonError::into_inner));
        let kept = pictures.clone();
        disk.record(Some(Box::new(move |snapshot| kept.lock().unwrap().push(snapshot))));
        let (mut generation, mut written, mut durable) = (0, 0, 0);
        let mut syncing: Option<(CheckpointSync, u64)> = None;
        // A sync ends well or not. What it was to make durable, if it did.
        let ends = |reader: &mut Reader, sync: &CheckpointSync, fails: bool| {
            let trouble = Trouble::Errno(libc::EIO);
            disk.set_fault(fails.then(|| Fault { at: disk.operations().0, trouble, lasts: false }));
            let synced = sync.run();
            disk.set_fault(None);
            reader.checkpoint().end_sync(sync, synced).is_ok()
        };
        for step in 0..40 {
            let before = (written, durable);
            match (dice.below(5), syncing.take()) {
                // The sync that was begun comes to its end.
                (0, Some((sync, state))) => {
                    if ends(&mut reader, &sync, dice.chance(4)) {
                        durable = durable.max(state);
                    }
                }
                // One begins; or comes and goes while another is under way.
                (1, under_way) => {
                    let sync = reader.begin_sync().unwrap();
                    // What was dropped has been written anew.
                    let state =
                        if reader.checkpoint().generation() > generation { reader.state.seq_limit } else { written };
                    assert!(sync.is_some() || durable == state, "seed {seed}, step {step}: there is something to sync");
                    let begun = sync.map(|sync| (sync, state));
                    match (under_way, begun) {
                        (None, begun) => syncing = begun,
                        (under_way, Some((sync, state))) => {
                            if ends(&mut reader, &sync, dice.chance(4)) {
                                durable = state;
                            }
                            syncing = under_way;
                        }
                        (under_way, None) => syncing = under_way,
                    }
                }
                // The process dies, and its successor makes durable what it finds, also what a failed sync has dropped; or
                // the successor of a successor for which the disk failed.
                (2, _) if dice.chance(2) => {
                    let found = loop {
                        let found = recover(&*buffer, disk.boot_id(), &Limits::default(), CAPS, 1).unwrap();
                        let trouble = [Trouble::Errno(libc::EIO), Trouble::Short][dice.below(2)];
                        let at = disk.operations().0 + dice.below(8) as u64;
                        disk.set_fault(dice.chance(2).then_some(Fault { at, trouble, lasts: false }));
                        let refreshed = found.cursor.refresh();
                        disk.set_fault(None);
                        if refreshed.is_ok() {
                            break found;
                        }
                    };
                    reader = Reader::new(found.cursor, found.state, Arc::default(), Limits::default(), CAPS);
                    assert_eq!(reader.state.seq_limit, written, "seed {seed}, step {step}");
                    durable = written;
                }
                (_, under_way) => {
                    syncing = under_way;
                    // A write that fails has stored a part; the next file, or the next write, may do.
                    let fails = dice.chance(5).then(|| (disk.operations().0, dice.chance(2)));
                    disk.set_fault(fails.map(|(at, lasts)| Fault { at, trouble: Trouble::Short, lasts }));
                    reader.state.seq_limit += 1;
                    let _ = reader.write();
                    disk.set_fault(None);
                }
            }
            if reader.checkpoint().generation() > generation {
                (generation, written) = (reader.checkpoint().generation(), reader.state.seq_limit);
            }
            for picture in taken() {
                let told = format!("seed {seed}, step {step}, before {:?}", picture.op);
                let after_kill = left(&picture, Crash::Kill, dice.roll(), dir);
                assert!(after_kill >= before.0, "{told}: {after_kill} of {before:?} is left");
                for _ in 0..3 {
                    let after_power_loss = left(&picture, Crash::Power, dice.roll(), dir);
                    assert!(after_power_loss >= before.1, "{told}: {after_power_loss} of {before:?} is left");
                }
            }
        }
        assert!(written > 0);
    }
}
