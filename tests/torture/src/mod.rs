//! The proofs: a simulated disk and clock, crashes and faults at every operation, random programs, fuzzing.
//!
//! `cargo test` runs a bounded part of each; `bin/torture.rs` runs all of it and prints the figures.
//! `docs/reliability.md` tells what is promised and what stands behind it.

mod crash;
mod faults;
mod file;
mod fuzz;
#[cfg(test)]
mod golden;
mod model;
mod oracle;
mod outbox;
mod programs;
#[cfg(feature = "scheduled")]
pub mod threads;
mod week;
mod workloads;
pub(crate) mod world;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use crash::Depth;
#[cfg(feature = "net")]
pub(crate) use fuzz::Source;
pub use fuzz::fuzz;
#[cfg(all(test, feature = "aws"))]
pub(crate) use fuzz::fuzz_kept;

use crate::options::{Durability, Mode};

/// What was tried.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    /// Operations on simulated disks while programs ran.
    pub operations: u64,
    /// Steps of random programs and of the week.
    pub steps: u64,
    /// Records accepted.
    pub records: u64,
    /// Crashes, each followed by a recovery and an accounting.
    pub crashes: u64,
    /// Crashes while recovering from another, likewise.
    pub second_crashes: u64,
    /// Of these recoveries, those that found a full disk and sent everything all the same.
    pub full_disks: u64,
    /// Runs in which an operation failed because the proof said so.
    pub faults: u64,
    /// Damaged directories, mutated bytes, arbitrary options.
    pub fuzz_cases: u64,
    /// Batches offered to sinks.
    pub offers: u64,
    /// Records that came again, each in the whole batch that it was in before.
    pub duplicates: u64,
}

impl Figures {
    fn add(&mut self, other: &Figures) {
        let Figures {
            operations,
            steps,
            records,
            crashes,
            second_crashes,
            full_disks,
            faults,
            fuzz_cases,
            offers,
            duplicates,
        } = other;
        self.operations += operations;
        self.steps += steps;
        self.records += records;
        self.crashes += crashes;
        self.second_crashes += second_crashes;
        self.full_disks += full_disks;
        self.faults += faults;
        self.fuzz_cases += fuzz_cases;
        self.offers += offers;
        self.duplicates += duplicates;
    }
}

/// How much of it to run.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Crash at every so many-th operation.
    pub stride: usize,
    /// And at every so many-th of the recovery.
    pub second: usize,
    /// Power losses tried at each crash.
    pub powers: u64,
    /// Every so many-th operation fails.
    pub fault_stride: u64,
    /// In how many ways the next process goes on after each fault; each ends in a power loss.
    pub aftermaths: usize,
    /// Random lives of the processes that share an outbox.
    pub outboxes: u64,
    /// Random programs.
    pub programs: u32,
    /// Damaged directories.
    pub directories: u64,
    /// Mutations of the fuzzing corpus, for each target.
    pub mutations: u64,
    /// Weeks.
    pub weeks: u64,
}

impl Effort {
    /// All of it, `times` over with other random numbers.
    pub fn full(times: u64) -> Effort {
        Effort {
            stride: 1,
            second: 3,
            powers: 4 * times,
            fault_stride: 1,
            aftermaths: faults::AFTERMATHS,
            outboxes: 60 * times,
            programs: 100_000 * times as u32,
            directories: 100_000 * times,
            mutations: 200_000 * times,
            weeks: 10 * times,
        }
    }

    /// What every `cargo test` does.
    pub fn bounded() -> Effort {
        Effort {
            stride: 13,
            second: 65,
            powers: 1,
            fault_stride: 151,
            aftermaths: 1,
            outboxes: 24,
            programs: 60,
            directories: 1000,
            mutations: 600,
            weeks: 1,
        }
    }
}

/// The names of the proofs, in the order in which they are run.
pub const PROOFS: [&str; 7] = ["crashes", "faults", "FileSink", "outboxes", "programs", "damage and fuzzing", "weeks"];

/// Runs `work`. A panic becomes an error, so that it ends this one case and not the whole run.
fn caught<T>(work: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        Err(format!("a panic: {}", said.unwrap_or_default()))
    })
}

/// The most failures that are printed; there may be more.
const MOST_FAILURES: usize = 5;

/// Does `work` for every item, on all processors, and adds up the figures.
fn for_all<T: Sync>(
    items: &[T],
    figures: &mut Figures,
    work: impl Fn(usize, &T, &mut Figures) -> Result<(), String> + Sync,
) -> Result<(), String> {
    let next = AtomicUsize::new(0);
    let failures = Mutex::new(BTreeMap::new());
    let worker = || {
        let mut figures = Figures::default();
        while let at = next.fetch_add(1, Ordering::Relaxed)
            && let Some(item) = items.get(at)
        {
            if let Err(what) = caught(|| work(at, item, &mut figures)) {
                failures.lock().unwrap_or_else(PoisonError::into_inner).insert(at, what);
            }
        }
        figures
    };
    std::thread::scope(|scope| {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let workers: Vec<_> = (0..processors).map(|_| scope.spawn(worker)).collect();
        for worker in workers {
            match worker.join() {
                Ok(counted) => figures.add(&counted),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
    });
    let failures = failures.into_inner().unwrap_or_default();
    if failures.is_empty() {
        return Ok(());
    }
    let told: Vec<String> = failures.values().take(MOST_FAILURES).cloned().collect();
    Err(format!("{} of {} failed:\n{}", failures.len(), items.len(), told.join("\n")))
}

/// Runs one of the [`PROOFS`] and adds to the figures.
///
/// # Errors
/// What was lost, or else was not as promised, and how to get there again.
pub fn run(proof: &str, effort: Effort, figures: &mut Figures) -> Result<(), String> {
    let workloads = workloads::all();
    match proof {
        "crashes" => for_all(&workloads, figures, |at, workload, figures| {
            let depth = Depth { stride: effort.stride, offset: at, powers: effort.powers, second: effort.second };
            crash::crash_everywhere(workload, depth, at as u64 % 3, figures)
        }),
        "faults" => {
            // These are short, and each catches a bug that the others miss.
            let aftermaths = effort.aftermaths.max(4);
            for_all(&programs::guards(), figures, |at, (guard, _), figures| {
                faults::fail_everywhere(guard, 1, aftermaths, at as u64, figures)
            })?;
            for_all(&workloads, figures, |at, workload, figures| {
                // Without syncs there are few operations to fail that the other modes do not have too.
                match workload.options.durability {
                    Durability::Os => Ok(()),
                    _ => {
                        let Effort { fault_stride, aftermaths, .. } = effort;
                        faults::fail_everywhere(workload, fault_stride, aftermaths, at as u64, figures)
                    }
                }
            })
        }
        "FileSink" => {
            for_all(&[false, true], figures, |_, sync, figures| {
                file::alone(*sync, 4 * effort.powers, effort.powers, figures)
            })?;
            for_all(&workloads::files(), figures, |at, workload, figures| {
                // There are few operations, each at another point in the life of the file, so that at least every fifth is
                // crashed at. `file::alone` has tried the pairs of crashes.
                let (stride, second) = (effort.stride.min(5), effort.second.max(9));
                let depth = Depth { stride, offset: at, powers: effort.powers, second };
                crash::crash_everywhere(workload, depth, at as u64 % 3, figures)?;
                faults::fail_everywhere(workload, effort.fault_stride, 1, at as u64, figures)
            })
        }
        "outboxes" => {
            let seeds: Vec<u64> = (0..effort.outboxes).collect();
            for_all(&seeds, figures, |_, seed, figures| {
                let depth = outbox::Depth { stride: effort.stride, powers: effort.powers, second: effort.second };
                outbox::crash_everywhere(*seed, depth, figures)?;
                outbox::fail_everywhere(*seed, effort.fault_stride.min(41), figures)
            })
        }
        "programs" => {
            let depth = Depth { stride: 23, offset: 0, powers: 1, second: 41 };
            programs::programs(effort.programs, 60, depth, figures)
        }
        "damage and fuzzing" => {
            let corpus = fuzz::corpus(if effort.stride > 1 { 12 } else { 1 });
            let seeds: Vec<u64> = (0..effort.directories).collect();
            for_all(&seeds, figures, |_, seed, figures| {
                let specimen = &corpus[*seed as usize % corpus.len()];
                fuzz::open_damaged(specimen, *seed, figures).map_err(|what| format!("directory {seed}: {what}"))
            })?;
            fuzz::all(effort.mutations, figures)
        }
        "weeks" => {
            let weeks: Vec<(u64, Mode)> = (0..effort.weeks)
                .flat_map(|seed| [Mode::Background, Mode::Inline, Mode::Manual].map(|mode| (seed, mode)))
                .collect();
            for_all(&weeks, figures, |_, (seed, mode), figures| {
                week::a_week(*mode, *seed, figures).map_err(|what| format!("week {seed} ({mode:?}): {what}"))
            })
        }
        other => Err(format!("there is no proof {other:?}; there are {PROOFS:?}")),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::platform::Clock;

    fn prove(proof: &str) {
        let mut figures = Figures::default();
        if let Err(what) = run(proof, Effort::bounded(), &mut figures) {
            panic!("{what}");
        }
    }

    /// An endless loop in the engine fails the proof instead of hanging it.
    #[test]
    fn whoever_spins_is_caught() {
        let clock = world::SimulatedClock::new();
        let nap = Duration::from_micros(1);
        let told = caught::<()>(|| {
            loop {
                clock.sleep(nap.saturating_sub(clock.monotonic()));
            }
        });
        assert!(told.is_err_and(|what| what.contains("spins")));
    }

    #[test]
    fn nothing_is_lost_wherever_a_crash_comes() {
        prove("crashes");
    }

    #[test]
    fn a_failing_disk_is_an_error_and_costs_nothing_that_was_accepted() {
        prove("faults");
    }

    #[test]
    fn a_file_has_every_record_once_whatever_happens() {
        prove("FileSink");
    }

    #[test]
    fn an_outbox_loses_nothing_whichever_of_its_processes_dies() {
        prove("outboxes");
    }

    #[test]
    fn programs_do_what_the_model_says_and_lose_nothing() {
        prove("programs");
    }

    #[test]
    fn damaged_directories_open_and_deliver_no_garbage() {
        prove("damage and fuzzing");
    }

    #[test]
    fn a_week_loses_nothing_and_hammers_nobody() {
        prove("weeks");
    }
}
