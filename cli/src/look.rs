//! Commands that look at a buffer: `stat`, `cat`, `verify`, `options`.

use std::path::Path;

use unistream::{DeadLetters, Inspection, InspectionStats, OptionSpec, Record};

use crate::arguments::{Cat, Look, Options, Stat};
use crate::context::Context;
use crate::exit::{DAMAGED, Error, OK};
use crate::live::Owners;
use crate::metrics;
use crate::output::{Item, Values};
use crate::text;

/// A time, or nothing for the 0 that stands for "never".
pub(crate) fn time(micros: i64) -> Option<String> {
    (micros != 0).then(|| text::time(micros))
}

pub(crate) fn stat(context: &Context, arguments: &Stat) -> Result<u8, Error> {
    let owners = if arguments.files { Owners::default() } else { Owners::ask(&arguments.buffer) };
    let inspection = Inspection::open(&arguments.buffer)?;
    let letters = DeadLetters::open(&arguments.buffer).list()?;
    let dead_records: usize = letters.iter().map(|letter| letter.records.len()).sum();
    if arguments.prometheus || arguments.textfile.is_some() {
        let text = metrics::text(&arguments.buffer, &inspection, &owners, (letters.len(), dead_records))?;
        match &arguments.textfile {
            Some(file) => metrics::replace(file, &text)?,
            None => {
                let mut output = context.output()?;
                output.bytes(text.as_bytes())?;
                output.flush()?;
            }
        }
        return Ok(OK);
    }
    let all = values(&inspection.stats()?).with("dead_letters", letters.len()).with("dead_records", dead_records);
    let all = all.and(owners.values());
    let mut output = context.output()?;
    output.values(&all.and(slots(&inspection.slots()?)), arguments.json)?;
    output.flush()?;
    Ok(OK)
}

/// A line for each slot of an outbox; nothing for a buffer.
pub(crate) fn slots(slots: &[(String, InspectionStats)]) -> Values {
    if slots.is_empty() {
        return Values::default();
    }
    let slot = |(name, stats): &(String, InspectionStats)| {
        Values::default()
            .with("slot", name.clone())
            .with("owner_pid", stats.owner_pid)
            .with("pending_records", stats.pending_records)
            .with("pending_bytes", stats.pending_bytes)
            .with("oldest_created_at", stats.oldest_created_at.map(text::time))
            .with("buffer_bytes", stats.buffer_bytes)
            .with("head_attempts", stats.head_attempts)
            .with("head_failures", stats.head_failures)
    };
    let owned = slots.iter().filter(|(_, stats)| stats.owner_pid.is_some()).count();
    let counts = Values::default().with("slots", slots.len()).with("owned_slots", owned);
    counts.with("of_slots", Item::List(slots.iter().map(slot).collect()))
}

pub(crate) fn values(stats: &InspectionStats) -> Values {
    Values::default()
        .with("buffer_id", stats.buffer_id.clone())
        .with("owner_pid", stats.owner_pid)
        .with("pending_records", stats.pending_records)
        .with("pending_bytes", stats.pending_bytes)
        .with("oldest_created_at", stats.oldest_created_at.map(text::time))
        .with("finished_records", stats.finished_records)
        .with("finished_bytes", stats.finished_bytes)
        .with("segments", stats.segments)
        .with("buffer_bytes", stats.buffer_bytes)
        .with("next_seq", stats.next_seq)
        .with("head_attempts", stats.head_attempts)
        .with("head_failures", stats.head_failures)
        .with("head_since", time(stats.head_since))
        .with("head_last_attempt", time(stats.head_last_attempt))
        .with("head_next_attempt", time(stats.head_next_attempt))
        .with("last_errors", stats.last_errors.clone())
        .with("corrupt_regions", stats.corrupt_regions)
        .with("corrupt_bytes", stats.corrupt_bytes)
        .with("lost_records", stats.lost_records)
        .with("set_aside_files", stats.set_aside_files)
}

/// What was put with a record beside its id, and its data.
pub(crate) fn described(record: &Record<'_>) -> Values {
    let mut values = Values::default().with("created_at", text::time(record.created_at));
    if let Some(key) = record.key {
        values = values.with_bytes("key", "key_base64", key);
    }
    if let Some(topic) = record.topic {
        values = values.with("topic", topic);
    }
    if let Some(expires_at) = record.expires_at {
        values = values.with("expires_at", text::time(expires_at));
    }
    if !record.headers.is_empty() {
        let header = |(name, value)| Values::default().with("name", name).with_bytes("value", "value_base64", value);
        values = values.with("headers", Item::List(record.headers.iter().map(header).collect()));
    }
    values.with_bytes("data", "data_base64", record.data)
}

pub(crate) fn cat(context: &Context, arguments: &Cat) -> Result<u8, Error> {
    let mut output = context.output()?;
    let mut left = arguments.limit.unwrap_or(u64::MAX);
    let mut failure = None;
    Inspection::open(&arguments.buffer)?.for_each(|record| {
        if left == 0 {
            return false;
        }
        left -= 1;
        let written = context.signals.check().and_then(|()| {
            if arguments.json {
                let values = Values::default().with("seq", record.seq).with("id", &*record.id());
                output.json(&values.and(described(&record)))
            } else if output.is_terminal() {
                output.bytes(text::printable_bytes(record.data).as_bytes()).and_then(|()| output.bytes(b"\n"))
            } else {
                output.bytes(record.data).and_then(|()| output.bytes(b"\n"))
            }
        });
        failure = written.err();
        failure.is_none()
    })?;
    failure.map_or(Ok(()), Err)?;
    output.flush()?;
    Ok(OK)
}

pub(crate) fn verify(context: &Context, arguments: &Look) -> Result<u8, Error> {
    let found = Inspection::open(&arguments.buffer)?.verify()?;
    let region = |(file, offset, bytes): &(String, u64, u64)| {
        Values::default().with("file", file.clone()).with("offset", *offset).with("bytes", *bytes)
    };
    let corrupt: Vec<Values> = found.corrupt.iter().map(region).collect();
    let gap = |(file, files, records): &(String, u64, u64)| {
        Values::default().with("file", file.clone()).with("files", *files).with("records", *records)
    };
    let missing: Vec<Values> = found.missing.iter().map(gap).collect();
    let is_damaged = !corrupt.is_empty() || !missing.is_empty();
    let values = Values::default()
        .with("records", found.records)
        .with("bytes", found.bytes)
        .with("lost_records", found.lost_records)
        .with("corrupt", Item::List(corrupt))
        .with("missing", Item::List(missing));
    let mut output = context.output()?;
    output.values(&values, arguments.json)?;
    output.flush()?;
    Ok(if is_damaged { DAMAGED } else { OK })
}

pub(crate) fn options(context: &Context, arguments: &Options) -> Result<u8, Error> {
    let table = match &arguments.sink {
        Some(kind) => unistream::sink::kind(kind)?.options,
        None => unistream::Options::TABLE,
    };
    let mut output = context.output()?;
    for OptionSpec { key, kind, range, default, doc } in table {
        if arguments.json {
            let row = Values::default().with("key", *key).with("kind", *kind).with("range", *range);
            output.json(&row.with("default", *default).with("doc", *doc))?;
        } else {
            let default = if default.is_empty() { "empty" } else { default };
            output.line(&format!("{key} ({kind}: {range}; default {default})"))?;
            output.line(&format!("    {doc}"))?;
        }
    }
    output.flush()?;
    Ok(OK)
}

/// An error unless there is a buffer.
pub(crate) fn check_buffer(buffer: &Path) -> Result<(), Error> {
    Inspection::open(buffer)?;
    Ok(())
}
