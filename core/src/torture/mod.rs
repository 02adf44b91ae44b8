//! The proofs: a simulated disk and clock, crashes and faults at every operation, a model, fuzzing.
//!
//! `cargo test` runs a bounded part of each; `examples/torture.rs` runs all of it and prints the figures.
//! `docs/reliability.md` tells what is promised and what stands behind it.

mod crash;
mod oracle;
mod workloads;
mod world;

/// What was tried.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    /// Operations on simulated disks while scripts ran.
    pub operations: u64,
    /// Records accepted in them.
    pub records: u64,
    /// Crashes, each followed by a recovery and an accounting.
    pub crashes: u64,
    /// Crashes while recovering from another.
    pub second_crashes: u64,
    /// Batches offered to sinks.
    pub offers: u64,
    /// Records that came again, each in the whole batch that it was in before.
    pub duplicates: u64,
}

#[cfg(test)]
mod tests {
    use super::crash::{Depth, crash_everywhere};
    use super::*;

    #[test]
    fn nothing_is_lost_wherever_a_crash_comes() {
        let mut figures = Figures::default();
        let depth = Depth { stride: 3, powers: 2, second: 9 };
        let mut failures = Vec::new();
        for workload in workloads::all() {
            if let Err(what) = crash_everywhere(&workload, depth, 1, &mut figures) {
                failures.push(what);
            }
        }
        println!("{figures:?}");
        assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures[..failures.len().min(12)].join("\n"));
    }
}
