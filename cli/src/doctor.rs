//! `unistream doctor`: says in sentences what is wrong with a buffer, and what to do.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::SystemTime;

use unistream::{DeadLetters, ErrorKind, Inspection, InspectionStats, State};

use crate::arguments::Look;
use crate::context::Context;
use crate::exit::{Error, OK, UNWELL};
use crate::live::Owners;
use crate::output::Values;
use crate::text;

/// Something that is wrong.
struct Finding {
    /// A word for machines.
    what: &'static str,
    problem: String,
    advice: String,
}

struct Doctor<'a> {
    buffer: &'a Path,
    /// The buffer as a command line has it.
    name: String,
    findings: Vec<Finding>,
    now: i64,
}

/// Less than this is a full disk, as good as: the log grows by whole segments.
const FULL: u64 = 16 << 20;
/// Less than this has no room for the smallest of them.
const SMALLEST: u64 = 64 << 10;
/// Less than this and less than a twentieth will soon be one.
const LOW: u64 = 1 << 30;

pub(crate) fn doctor(context: &Context, arguments: &Look) -> Result<u8, Error> {
    let buffer = &*arguments.buffer;
    let inspection = Inspection::open(buffer)?;
    let stats = inspection.stats()?;
    let owners = Owners::ask(buffer);
    let now = unistream::time::micros(SystemTime::now());
    let mut doctor = Doctor { buffer, name: quoted(buffer), findings: Vec::new(), now };
    doctor.disk()?;
    doctor.directory();
    doctor.damage(&inspection, &stats)?;
    doctor.owners(&owners);
    doctor.sink(&stats, &owners);
    doctor.backlog(&inspection, &stats)?;
    doctor.letters()?;
    let mut output = context.output()?;
    for Finding { what, problem, advice } in &doctor.findings {
        if arguments.json {
            let row = Values::default().with("what", *what).with("problem", problem.clone());
            output.json(&row.with("advice", advice.clone()))?;
        } else {
            output.line(&format!("- {problem}"))?;
            output.line(&format!("  {advice}"))?;
        }
    }
    if doctor.findings.is_empty() && !arguments.json {
        let pending = text::grouped(stats.pending_records);
        output.line(&format!("Nothing is wrong with {}; {pending} records wait to be sent.", doctor.name))?;
    }
    output.flush()?;
    Ok(if doctor.findings.is_empty() { OK } else { UNWELL })
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    let name = text::name(path);
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%".contains(c);
    if !name.is_empty() && name.chars().all(plain) { name } else { format!("'{}'", name.replace('\'', "'\\''")) }
}

fn first_line(text: &str) -> String {
    text::printable(text.lines().next().unwrap_or_default())
}

fn counted(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", text::grouped(number), if number == 1 { one } else { many })
}

impl Doctor<'_> {
    fn add(&mut self, what: &'static str, problem: String, advice: String) {
        self.findings.push(Finding { what, problem, advice });
    }

    fn disk(&mut self) -> Result<(), Error> {
        let found = rustix::fs::statvfs(self.buffer).map_err(|error| Error::io(&self.name, &error.into()))?;
        let (free, size) =
            (found.f_bavail.saturating_mul(found.f_frsize), found.f_blocks.saturating_mul(found.f_frsize));
        let named = format!("the filesystem that {} is on", self.name);
        if free < FULL {
            let how = if free < SMALLEST { "full" } else { "nearly full" };
            let problem = format!("The disk is {how}: {named} has {} free of {}.", text::size(free), text::size(size));
            let advice = "Free some space, or make the filesystem larger. What was accepted is safe, puts are refused \
                          while it is full, and everything goes on by itself as soon as there is room.";
            self.add("disk_full", problem, advice.into());
        } else if found.f_files > 0 && found.f_favail == 0 {
            let advice = "Remove files of others on it. What was accepted is safe, and all goes on by itself then.";
            self.add("disk_full", format!("The disk is full: {named} can have no more files (inodes)."), advice.into());
        } else if free < LOW.min(size / 20) {
            let problem =
                format!("The disk is nearly full: {named} has {} free of {}.", text::size(free), text::size(size));
            let advice = "Free some space before an outage of the sink needs it, or bound the log by the option max_buffer_bytes.";
            self.add("disk_low", problem, advice.into());
        }
        Ok(())
    }

    fn directory(&mut self) {
        let Ok(found) = fs::metadata(self.buffer) else { return };
        let mode = found.permissions().mode() & 0o7777;
        if mode & 0o022 != 0 {
            let problem = format!(
                "{} can be written by others (mode {mode:04o}), and is refused unless the option trust says otherwise.",
                self.name
            );
            let advice = format!("chmod go-w {}, or set trust = group where several users share an outbox.", self.name);
            self.add("not_trusted", problem, advice);
        }
        let me = rustix::process::geteuid();
        if !me.is_root() && found.uid() != me.as_raw() {
            let problem =
                format!("{} belongs to the user with uid {}, and you are uid {}.", self.name, found.uid(), me.as_raw());
            let advice = "Run this command as that user or as root: who has the buffer answers nobody else.";
            self.add("other_user", problem, advice.into());
        }
    }

    fn damage(&mut self, inspection: &Inspection, stats: &InspectionStats) -> Result<(), Error> {
        let found = inspection.verify()?;
        for (file, offset, bytes) in &found.corrupt {
            let problem = format!("{file} is damaged: {bytes} bytes from byte {offset} on are not what was written.");
            self.add("damaged", problem, DAMAGE.into());
        }
        for (file, files, records) in &found.missing {
            let problem = match files {
                0 => format!("{} are missing at the end of {file}.", counted(*records, "record", "records")),
                _ => format!(
                    "{} of the log are missing, {file} first, with {} that are known of.",
                    counted(*files, "file", "files"),
                    counted(*records, "record", "records")
                ),
            };
            self.add("damaged", problem, DAMAGE.into());
        }
        if stats.lost_records > 0 || stats.set_aside_files > 0 {
            let problem = format!(
                "{} were lost by damage since the buffer was made, and {} of damaged bytes lie in {}.",
                counted(stats.lost_records, "record", "records"),
                counted(stats.set_aside_files, "file", "files"),
                quoted(&self.buffer.join("corrupt"))
            );
            let advice = "Look for a cause outside: the disk's health (smartctl), the kernel's messages (dmesg), programs that touch the \
                          directory. Keep the files if the bytes are worth a search, else remove them.";
            self.add("lost", problem, advice.into());
        }
        Ok(())
    }

    fn owners(&mut self, owners: &Owners) {
        for (_, why) in &owners.silent {
            let advice = "Look at that process: its stack (py-spy, gdb), whether it is stopped (T in ps), its version. Numbers of it are missing here.";
            self.add("silent", format!("A producer does not answer: {}.", first_line(why)), advice.into());
        }
        let refused = owners.sum(|stats| stats.refused_puts);
        if refused > 0 {
            let problem = format!(
                "The program had {} refused since it opened the buffer; the last error: {}.",
                counted(refused, "put", "puts"),
                first_line(owners.last_error().unwrap_or("none is known"))
            );
            let advice = "Who has put had an error for each. A full buffer: see why the sink is slow, raise max_buffer_bytes, or let puts \
                          wait longer (full_timeout). A full disk: free some space.";
            self.add("refused_puts", problem, advice.into());
        }
        let unreadable = owners.since(|stats| stats.unreadable_since);
        if unreadable != 0 {
            let problem = format!(
                "The log cannot be read since {}, and nothing is sent: {}.",
                text::time(unreadable),
                first_line(owners.last_error().unwrap_or_default())
            );
            let advice = "The disk refuses to be read, or something was put in the place of the log's files. It goes on by itself once they can be read.";
            self.add("unreadable", problem, advice.into());
        }
    }

    fn sink(&mut self, stats: &InspectionStats, owners: &Owners) {
        let head_error = stats.last_errors.last().map(String::as_str);
        let error = first_line(head_error.or(owners.last_error()).unwrap_or("none is known"));
        let resume = format!("then 'unistream resume {}' tries at once", self.name);
        if owners.state() == Some(State::Stopped) {
            let problem = format!("The producer has stopped: {}.", first_line(owners.last_error().unwrap_or(&error)));
            let advice = format!(
                "Remove the cause, then 'unistream resume {}' goes on with a fresh round of attempts. Puts are refused meanwhile; the backlog is on disk.",
                self.name
            );
            self.add("stopped", problem, advice);
            return;
        }
        let since = match owners.since(|stats| stats.unavailable_since) {
            0 if stats.head_failures > 0 && stats.head_attempts == 0 => stats.head_since,
            since => since,
        };
        if since != 0 && stats.pending_records > 0 {
            let problem = format!(
                "The sink is unavailable since {}, for {}: {error}.",
                text::time(since),
                text::span(self.now - since)
            );
            let advice = format!(
                "Look whether the service runs and can be reached, and at its credentials; {resume}. Nothing is given up meanwhile: \
                 the backlog waits on disk."
            );
            self.add("sink_unavailable", problem, advice);
        } else if stats.head_failures > 0 {
            let problem = format!(
                "The first batch has failed {} in a row since {}: {error}.",
                counted(stats.head_failures.into(), "time", "times"),
                text::time(stats.head_since)
            );
            let advice = format!(
                "Remove what the error says; {resume}. After the last attempt the batch goes to the dead letters, or the producer \
                 stops, as on_exhausted says."
            );
            self.add("sink_failing", problem, advice);
        }
    }

    fn backlog(&mut self, inspection: &Inspection, stats: &InspectionStats) -> Result<(), Error> {
        let send = format!("start the program again, or 'unistream drain {} --to SINK' sends them", self.name);
        if !inspection.is_shared() {
            if stats.owner_pid.is_none() && stats.pending_records > 0 {
                let problem = format!(
                    "{} wait, and no process has the buffer.",
                    counted(stats.pending_records, "record", "records")
                );
                self.add("no_owner", problem, format!("They are safe: {send}."));
            }
            return Ok(());
        }
        let slots = inspection.slots()?;
        let orphaned: Vec<_> =
            slots.iter().filter(|(_, slot)| slot.owner_pid.is_none() && slot.pending_records > 0).collect();
        if !orphaned.is_empty() {
            let records = orphaned.iter().map(|(_, slot)| slot.pending_records).sum();
            let names: Vec<&str> = orphaned.iter().map(|(name, _)| &**name).collect();
            let problem = format!(
                "{} wait in slots whose processes have ended ({}).",
                counted(records, "record", "records"),
                names.join(", ")
            );
            let advice = if stats.owned_slots > 0 {
                format!(
                    "A process that lives adopts them within seconds. If they stay, no sink that lives takes them: 'unistream drain {} --to SINK' does.",
                    self.name
                )
            } else {
                format!("No process of this outbox lives: {send}.")
            };
            self.add("orphaned", problem, advice);
        }
        Ok(())
    }

    fn letters(&mut self) -> Result<(), Error> {
        let letters = DeadLetters::open(self.buffer);
        let listed = letters.list()?;
        if let Some(oldest) = listed.iter().map(|letter| letter.created_at).min() {
            let records: usize = listed.iter().map(|letter| letter.records.len()).sum();
            let last = listed.iter().max_by_key(|letter| letter.created_at);
            let reason = last.and_then(|letter| letter.records.first().map(|record| &*record.reason));
            let problem = format!(
                "{} with {} wait for you, the oldest since {}; the reason of the last: {}.",
                counted(listed.len() as u64, "dead letter", "dead letters"),
                counted(records as u64, "record", "records"),
                text::time(oldest),
                first_line(reason.filter(|reason| !reason.is_empty()).unwrap_or("none was given"))
            );
            let advice = format!(
                "'unistream dead-letters list {0}' and 'show {0} ID' say why. Once the cause is gone, 'unistream dead-letters replay {0} --all' \
                 puts them again, for the producer that has the buffer or 'unistream drain' to send; 'delete' gives them up.",
                self.name
            );
            self.add("dead_letters", problem, advice);
        }
        for id in damaged_letters(self.buffer, &listed.iter().map(|letter| &*letter.id).collect::<Vec<_>>()) {
            if let Err(error) = letters.get(&id)
                && error.kind() != ErrorKind::NotFound
            {
                let advice = format!(
                    "Its files can be looked at by hand; 'unistream dead-letters delete {} {id}' removes it.",
                    self.name
                );
                self.add("damaged_letter", format!("{}.", first_line(&error.to_string())), advice);
            }
        }
        Ok(())
    }
}

const DAMAGE: &str = "What is whole is delivered, and the damaged bytes are set aside, when they are reached. Look for a cause outside: the disk's \
                      health (smartctl), the kernel's messages (dmesg), programs that touch the directory.";

/// Letters of the directory itself that the list leaves out.
fn damaged_letters(buffer: &Path, listed: &[&str]) -> Vec<String> {
    let entries = fs::read_dir(buffer.join("dead-letters")).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let ids = names.filter_map(|name| name.strip_suffix(".json").map(str::to_owned));
    ids.filter(|id| !listed.contains(&&**id)).collect()
}
