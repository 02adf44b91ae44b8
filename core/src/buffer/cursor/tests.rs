//! Writes and syncs of the cursor in any order, with a crash before each operation of the disk.

use std::sync::{Arc, Mutex, PoisonError};

use super::*;
use crate::buffer::storage::create_dir;
use crate::buffer::storage::simulated::{Crash, Dice, Fault, SimulatedDisk, Snapshot, Trouble};

/// The number of the state that a crash leaves; 0 if none is whole.
fn left(snapshot: &Snapshot, crash: Crash, seed: u64, dir: &Path) -> u64 {
    match Cursor::peek(&snapshot.crash(crash, seed), dir).unwrap() {
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
        create_dir(&disk, dir, true).unwrap();
        let (mut cursor, _) = Cursor::open(&disk, dir).unwrap();
        disk.sync_dir(dir).unwrap();
        let pictures: Arc<Mutex<Vec<Snapshot>>> = Arc::default();
        let taken = || std::mem::take(&mut *pictures.lock().unwrap_or_else(PoisonError::into_inner));
        let kept = pictures.clone();
        disk.record(Some(Box::new(move |snapshot| kept.lock().unwrap().push(snapshot))));
        let (mut written, mut durable) = (0, 0);
        let mut syncing: Option<(Arc<dyn File>, u64)> = None;
        for step in 0..40 {
            let before = (written, durable);
            match (dice.below(4), syncing.take()) {
                // The sync that was begun comes to its end, well or not.
                (0, Some((file, state))) => {
                    let fails = dice.chance(4).then(|| disk.operations().0);
                    let trouble = Trouble::Errno(libc::EIO);
                    disk.set_fault(fails.map(|at| Fault { at, trouble, lasts: false }));
                    let synced = file.sync().is_ok();
                    disk.set_fault(None);
                    cursor.end_sync(synced);
                    durable = if synced { state } else { durable };
                }
                (1, None) => {
                    // What was dropped is written anew, as the reader does.
                    if cursor.is_dropped() {
                        cursor.write(&State { seq_limit: written, ..State::default() }).unwrap();
                    }
                    syncing = cursor.begin_sync().map(|file| (file, written));
                    if syncing.is_none() {
                        assert_eq!(durable, written, "seed {seed}, step {step}: there is nothing to sync");
                    }
                }
                (_, under_way) => {
                    syncing = under_way;
                    written += 1;
                    cursor.write(&State { seq_limit: written, ..State::default() }).unwrap();
                }
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
