//! Runs programs with several threads under many schedules and prints the figures:
//!
//!     cargo run --release -p unistream-torture --no-default-features --features scheduled --bin schedules \
//!         [TIMES [SCENARIO [SEED]]]
//!
//! TIMES multiplies the number of schedules; SCENARIO runs one of them, SEED only that schedule.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::process::ExitCode;
use std::time::Instant;

use unistream_torture::torture::threads::{Explored, explore, scenarios};

/// Of each scenario.
const SCHEDULES: u64 = 1000;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let times: u64 = arguments.next().and_then(|times| times.parse().ok()).unwrap_or(1);
    let only = arguments.next();
    let seed: Option<u64> = arguments.next().and_then(|seed| seed.parse().ok());
    // What panics is told by the seed that led to it.
    std::panic::set_hook(Box::new(|_| {}));
    let seeds = seed.map_or(0..SCHEDULES * times, |seed| seed..seed + 1);
    let mut failures = 0;
    let mut total = Explored::default();
    println!("schedules of threads:");
    for name in scenarios().filter(|name| only.as_ref().is_none_or(|only| only == name)) {
        let (start, mut explored) = (Instant::now(), Explored::default());
        let result = explore(name, seeds.clone(), &mut explored);
        let Explored { schedules, steps } = explored;
        println!("  {schedules:>9} schedules, {steps:>11} steps, {:>4.0} s: {name}", start.elapsed().as_secs_f64());
        if let Err(what) = result {
            println!("  FAILED: {what}");
            failures += 1;
        }
        total.schedules += schedules;
        total.steps += steps;
    }
    println!("  {:>9} schedules, {:>11} steps in all, failures: {failures}", total.schedules, total.steps);
    if failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
