//! Fuzzing: targets that take any bytes, and a corpus of them that is kept.
//!
//! Each target makes something of the bytes, hands it to the library and says what was not as it must be. The tests
//! and `bin/torture.rs` run the corpus and mutations of it; `tests/fuzz` runs the same targets under cargo-fuzz.

mod damage;
mod decode;
mod directory;
mod draft;
mod mutate;
mod options;
mod outbox;
mod requests;
mod sidecar;
mod source;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

pub(crate) use damage::{corpus, open_damaged};
#[cfg(feature = "net")]
pub(crate) use source::Source;

use super::{Figures, caught, for_all};
use crate::platform::simulated::Dice;

/// What is fuzzed: a name, and what is done with the bytes. The error says what was wrong; a panic is wrong too.
type Target = (&'static str, fn(&[u8]) -> Result<(), String>);

/// All targets.
const TARGETS: &[Target] = &[
    ("decode", decode::run),
    ("directory", directory::run),
    ("options", options::run),
    ("sidecar", sidecar::run),
    ("outbox", outbox::run),
    ("requests", requests::run),
    #[cfg(feature = "aws")]
    ("aws", crate::sink::aws::fuzz::run),
    #[cfg(feature = "http")]
    ("http", crate::sink::http::fuzz::run),
    #[cfg(feature = "kafka")]
    ("kafka", crate::sink::kafka::fuzz::run),
    #[cfg(feature = "nats")]
    ("nats", crate::sink::nats::fuzz::run),
    #[cfg(feature = "net")]
    ("net", crate::sink::net::fuzz::run),
    #[cfg(feature = "postgres")]
    ("postgres", crate::sink::postgres::fuzz::run),
    #[cfg(feature = "redis")]
    ("redis", crate::sink::redis::fuzz::run),
];

/// Hands bytes to a target, for fuzzers.
///
/// # Panics
/// If something is not as it must be, or there is no such target.
pub fn fuzz(target: &str, bytes: &[u8]) {
    let found = TARGETS.iter().find(|(name, _)| *name == target);
    let (_, run) = found.unwrap_or_else(|| panic!("there is no target {target:?}"));
    if let Err(what) = run(bytes) {
        panic!("{what}");
    }
}

/// The inputs that are kept for a target, and those on which it once failed.
fn kept(target: &str) -> Result<Vec<(String, Vec<u8>)>, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz");
    let mut paths: Vec<PathBuf> = Vec::new();
    for kind in ["corpus", "crashes"] {
        // Not every target has failed.
        let Ok(entries) = std::fs::read_dir(root.join(kind).join(target)) else { continue };
        paths.extend(entries.flatten().map(|entry| entry.path()));
    }
    paths.sort();
    let read = |path: PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let bytes = std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok((name, bytes))
    };
    let inputs: Vec<_> = paths.into_iter().map(read).collect::<Result<_, String>>()?;
    if inputs.is_empty() { Err(format!("there is no corpus for {target} in {}", root.display())) } else { Ok(inputs) }
}

/// Runs every target on all that is kept, and on so many mutations of it.
pub(crate) fn all(mutations: u64, figures: &mut Figures) -> Result<(), String> {
    TARGETS.iter().try_for_each(|target| one(*target, mutations, figures))
}

/// Runs one target as [`all`] does.
#[cfg(test)]
pub(crate) fn fuzz_kept(target: &str, mutations: u64) -> Result<(), String> {
    let found = TARGETS.iter().find(|(name, _)| *name == target).ok_or("there is no such target")?;
    one(*found, mutations, &mut Figures::default())
}

fn one(target: Target, mutations: u64, figures: &mut Figures) -> Result<(), String> {
    let inputs = kept(target.0)?;
    for_all(&inputs, figures, |_, (name, input), figures| attempt(target, input, name, figures))?;
    let seeds: Vec<u64> = (0..mutations).collect();
    for_all(&seeds, figures, |_, seed, figures| {
        let mut dice = Dice::new(*seed);
        let (name, input) = &inputs[*seed as usize % inputs.len()];
        let (_, other) = &inputs[dice.below(inputs.len())];
        let mutated = mutate::mutate(input, other, &mut dice);
        attempt(target, &mutated, &format!("{name}, changed with seed {seed}"), figures)
    })
}

/// One case. What fails is told with its bytes, in the form that `xxd -r -p` reads.
fn attempt((target, run): Target, input: &[u8], origin: &str, figures: &mut Figures) -> Result<(), String> {
    figures.fuzz_cases += 1;
    let Err(what) = caught(|| run(input)) else { return Ok(()) };
    let mut hex = String::with_capacity(input.len() * 2);
    for byte in input {
        let _ = write!(hex, "{byte:02x}");
    }
    Err(format!("{target}, {origin}: {what}\n{hex}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `FUZZ_TARGET=kafka FUZZ_CASES=100000 cargo test -p unistream-torture --lib one_target -- --ignored`
    #[test]
    #[ignore = "runs the target that the environment names"]
    fn one_target() {
        let named = |name: &str| std::env::var(name).unwrap_or_default();
        fuzz_kept(&named("FUZZ_TARGET"), named("FUZZ_CASES").parse().unwrap_or(600)).unwrap();
    }

    /// Beginnings of a corpus: random choices, some of them with long runs of the usual. A fuzzer makes more of them.
    #[test]
    #[ignore = "writes inputs for fuzzers to begin from"]
    fn write_seeds() {
        for (target, _) in TARGETS {
            let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/fuzz-seeds").join(target);
            std::fs::create_dir_all(&dir).unwrap();
            for seed in 0..400u64 {
                let mut dice = Dice::new(seed);
                let usual = dice.below(4);
                let byte = |_| if dice.below(4) < usual { dice.below(0x60) as u8 } else { dice.roll() as u8 };
                let bytes: Vec<u8> = (0..20 + seed as usize).map(byte).collect();
                std::fs::write(dir.join(format!("seed-{seed:03}")), bytes).unwrap();
            }
        }
    }
}
