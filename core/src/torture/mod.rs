//! The proof that no crash loses a record: a simulated disk and clock, and a crash at every operation of scripts.
//!
//! `cargo test` runs a bounded part; `make torture` runs `examples/torture.rs`, which does all of it and prints the
//! figures.
// Faults at every operation and random scripts, which the disk and the scripts know already, have no driver yet.
#![allow(dead_code)]

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

/// Crashes every script at every `stride`-th operation, with `powers` pictures of what a power loss leaves at each,
/// and at every `second`-th of those once more while recovering.
///
/// # Errors
/// What was lost, or delivered otherwise than promised.
pub fn crash_everywhere(stride: usize, powers: u64, second: usize) -> Result<Figures, String> {
    let mut figures = Figures::default();
    let depth = crash::Depth { stride, powers, second };
    let mut failures = Vec::new();
    for workload in workloads::all() {
        if let Err(what) = crash::crash_everywhere(&workload, depth, 1, &mut figures) {
            failures.push(what);
        }
    }
    match failures.len() {
        0 => Ok(figures),
        count => Err(format!("{count} failures:\n{}", failures[..count.min(12)].join("\n"))),
    }
}

#[cfg(test)]
mod tests {

    #[test]
    fn nothing_is_lost_wherever_a_crash_comes() {
        let figures = super::crash_everywhere(3, 2, 9).unwrap_or_else(|what| panic!("{what}"));
        assert!(figures.crashes > 1000 && figures.second_crashes > 100 && figures.records > 100, "{figures:?}");
    }
}
