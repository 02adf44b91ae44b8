//! `unistream stat --prometheus`: the numbers of a buffer or an outbox as the text that Prometheus scrapes.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use unistream::{Inspection, InspectionStats, Stats, prometheus};

use crate::exit::Error;
use crate::live::Owners;
use crate::text;

/// The text for what was found.
pub(crate) fn text(
    buffer: &Path,
    inspection: &Inspection,
    owners: &Owners,
    dead: (usize, usize),
) -> Result<String, Error> {
    let now = unistream::time::micros(SystemTime::now());
    let path = std::path::absolute(buffer).unwrap_or_else(|_| buffer.to_owned()).display().to_string();
    let slots: Vec<(String, InspectionStats)> = match inspection.is_shared() {
        true => inspection.slots()?,
        false => vec![("slot-0".into(), inspection.stats()?)],
    };
    let stats: Vec<Stats> = slots.iter().map(|(slot, found)| stats_of(slot, found, owners, now)).collect();
    let labels: Vec<[(&str, &str); 2]> = slots.iter().map(|(slot, _)| [("path", &*path), ("slot", &**slot)]).collect();
    // A buffer of one producer has no slots, as its producer has it.
    let named = if inspection.is_shared() { 2 } else { 1 };
    let all: Vec<(&[(&str, &str)], &Stats)> = labels.iter().map(|labels| &labels[..named]).zip(&stats).collect();
    let mut text = prometheus::text(&all);
    let escaped = path.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let mut row = |name: &str, help: &str, lines: Vec<(Option<&str>, u64)>| {
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge");
        for (slot, value) in lines {
            let slot = slot.map(|slot| format!(",slot=\"{slot}\"")).unwrap_or_default();
            let _ = writeln!(text, "{name}{{path=\"{escaped}\"{slot}}} {value}");
        }
    };
    let slot = |slot: &'_ str| inspection.is_shared().then(|| slot.to_owned());
    let names: Vec<Option<String>> = slots.iter().map(|(name, _)| slot(name)).collect();
    let each = |value: &dyn Fn(usize) -> bool| -> Vec<(Option<&str>, u64)> {
        names.iter().enumerate().map(|(at, name)| (name.as_deref(), value(at).into())).collect()
    };
    row("unistream_owned", "1 if a process has it, else 0.", each(&|at| slots[at].1.owner_pid.is_some()));
    let answered = |at: usize| owners.answers.iter().any(|(slot, _)| *slot == slots[at].0);
    row(
        "unistream_answered",
        "1 if the process that has it has answered, else 0: then the counters of what was done are 0.",
        each(&answered),
    );
    row("unistream_all_dead_letters", "Dead letters there are, of all slots.", vec![(None, dead.0 as u64)]);
    row("unistream_all_dead_records", "Records in them.", vec![(None, dead.1 as u64)]);
    Ok(text)
}

/// What the owner has said; else what lies there.
fn stats_of(slot: &str, found: &InspectionStats, owners: &Owners, now: i64) -> Stats {
    let answer = owners.answers.iter().find(|(name, _)| name == slot);
    answer.map_or_else(|| found.to_stats(now), |(_, stats)| stats.clone())
}

/// Puts the text in the place of a file, whole: whoever reads it meanwhile has the old one.
pub(crate) fn replace(file: &Path, text: &str) -> Result<(), Error> {
    let failed = |error| Error::io(text::name(file), &error);
    let mut new = file.as_os_str().to_owned();
    // The collector reads what ends in .prom.
    new.push(format!(".{}.new", std::process::id()));
    let new = PathBuf::from(new);
    let written = fs::OpenOptions::new().write(true).create_new(true).mode(0o644).open(&new).and_then(|mut out| {
        out.write_all(text.as_bytes())?;
        fs::rename(&new, file)
    });
    if written.is_err() {
        let _ = fs::remove_file(&new);
    }
    written.map_err(failed)
}
