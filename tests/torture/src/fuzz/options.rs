//! Options from text: an error that changes nothing, or a value that prints as one that parses to the same.

use std::time::Duration;

use super::source::Source;
use crate::options::{NEVER, Options};
use crate::schedule::MAX_WAIT;

/// What values are made of.
const PIECES: [&str; 40] = [
    "",
    "0",
    "1",
    "2",
    "9",
    "64",
    "256",
    "1000000",
    "1073741824",
    "18446744073709551615",
    "99999999999999999999",
    "-",
    "+",
    ".",
    "0.5",
    "1e9",
    "1e-300",
    "NaN",
    "inf",
    "B",
    "KiB",
    "MiB",
    "GiB",
    "TiB",
    "KB",
    "us",
    "ms",
    "s",
    "min",
    "h",
    "none",
    ",",
    " ",
    "always",
    "os",
    "true",
    "skip",
    "full",
    "\u{2028}",
    "\0",
];

pub(super) fn run(bytes: &[u8]) -> Result<(), String> {
    let mut source = Source::new(bytes);
    let mut options = Options::default();
    while !source.is_empty() {
        // One more than there are, for an unknown key.
        let key = Options::TABLE.get(source.below(Options::TABLE.len() + 1)).map_or("pigeons", |spec| spec.key);
        let mut text = String::new();
        for _ in 0..source.below(5) {
            match source.below(PIECES.len() + 8) {
                piece if piece < PIECES.len() => text.push_str(PIECES[piece]),
                _ => {
                    let len = source.below(24);
                    text.push_str(&String::from_utf8_lossy(source.take(len)));
                }
            }
        }
        set(&mut options, key, &text)?;
    }
    schedule(&options)
}

fn set(options: &mut Options, key: &str, text: &str) -> Result<(), String> {
    let before = options.clone();
    if let Err(error) = options.set(key, text) {
        // It names the option and stands on one line.
        return match options == &before && error.message().contains(key) && !error.message().contains(['\n', '\0']) {
            true => Ok(()),
            false => Err(format!("{key}: {text:?} was refused: {error}")),
        };
    }
    let printed = options.get(key).ok_or_else(|| format!("{key} was set and is not there"))?;
    let mut again = before;
    again.set(key, &printed).map_err(|error| format!("{key}: {text:?} prints as {printed:?}: {error}"))?;
    if &again != options || again.get(key).as_ref() != Some(&printed) {
        return Err(format!("{key}: {text:?} prints as {printed:?}, which is something else"));
    }
    Ok(())
}

/// What options are valid give a schedule that keeps within them.
fn schedule(options: &Options) -> Result<(), String> {
    let schedule = match options.validate().and_then(|()| options.schedule()) {
        Ok(schedule) => schedule,
        // Each was in its range: only the shortest and the longest wait can contradict each other.
        Err(_) if options.schedule_min > options.schedule_max => return Ok(()),
        Err(error) => return Err(format!("options that were set one by one are not valid: {error}")),
    };
    for failures in [0, 1, 2, 3, 10, 1000, u32::MAX] {
        for random in [0, 1, u64::MAX / 2, u64::MAX] {
            let wait = schedule.wait(failures, random);
            if wait > schedule.longest() || wait > MAX_WAIT {
                return Err(format!("{schedule:?} waits {wait:?} after {failures} failures"));
            }
        }
    }
    let linger = options.linger;
    if linger != NEVER && linger > Duration::from_secs(86_400) {
        return Err(format!("linger is {linger:?}"));
    }
    let segment = options.effective_segment_bytes();
    if segment < 64 * 1024 || segment > options.segment_bytes || segment > options.max_buffer_bytes / 4 {
        return Err(format!("segments of {segment} bytes in a buffer of {}", options.max_buffer_bytes));
    }
    Ok(())
}
