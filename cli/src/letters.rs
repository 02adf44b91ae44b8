//! `unistream dead-letters`: list, show, replay, delete.

use std::collections::HashMap;
use std::time::Duration;

use unistream::{Admin, DeadLetter, DeadLetters, ErrorKind, Limits, Record};

use crate::arguments::{Letters, Look, Replay, Show, Which};
use crate::context::{self, Context};
use crate::exit::{Error, NOT_FOUND, OK, USAGE};
use crate::live;
use crate::look::{check_buffer, described};
use crate::output::{Item, Output, Values};
use crate::text;

pub(crate) fn run(context: &Context, action: &Letters) -> Result<u8, Error> {
    match action {
        Letters::List(arguments) => list(context, arguments),
        Letters::Show(arguments) => show(context, arguments),
        Letters::Replay(arguments) => replay(context, arguments),
        Letters::Delete(arguments) => delete(context, arguments),
    }
}

fn list(context: &Context, arguments: &Look) -> Result<u8, Error> {
    check_buffer(&arguments.buffer)?;
    let letters = DeadLetters::open(&arguments.buffer).list()?;
    let mut output = context.output()?;
    for letter in &letters {
        if arguments.json {
            output.json(&summary(letter))?;
        } else {
            let reason = letter.errors.last().map(|error| error.split('\n').next().unwrap_or_default());
            let reason = reason.or(letter.records.first().map(|record| &*record.reason)).unwrap_or_default();
            // To the second.
            let when = text::time(letter.created_at).split('.').next().unwrap_or_default().to_owned();
            let (records, attempts) = (letter.records.len(), letter.attempts);
            output.line(&format!("{}  {when}Z  {records} records, {attempts} attempts: {reason}", letter.id))?;
        }
    }
    output.flush()?;
    if letters.is_empty() {
        tell_none(context, &arguments.buffer);
    }
    Ok(OK)
}

fn tell_none(context: &Context, buffer: &std::path::Path) {
    context.screen.complain(&format!("there are no dead letters in {}", text::name(buffer)));
}

fn show(context: &Context, arguments: &Show) -> Result<u8, Error> {
    check_buffer(&arguments.buffer)?;
    let letter = DeadLetters::open(&arguments.buffer).get(id(&arguments.id)?)?;
    let batch = letter.batch()?;
    let records: HashMap<u64, Record<'_>> = batch.iter().map(|record| (record.seq, record)).collect();
    let mut output = context.output()?;
    if !arguments.json {
        output.values(&summary(&letter), false)?;
    }
    for entry in &letter.records {
        let found = records.get(&entry.seq);
        if arguments.json {
            let record = Values::default().with("seq", entry.seq).with("id", entry.id.clone());
            let record = record.with("reason", entry.reason.clone()).with("rejected", entry.rejected);
            let record = found.map_or(record.clone(), |found| record.and(described(found)));
            output.json(&summary(&letter).with("record", Item::Values(record)))?;
        } else {
            output.line(&format!("record {} ({}): {}", entry.seq, entry.id, entry.reason))?;
            found.map_or(Ok(()), |found| show_record(&mut output, found))?;
        }
    }
    output.flush()?;
    Ok(OK)
}

/// A record for a person.
fn show_record(output: &mut Output, record: &Record<'_>) -> Result<(), Error> {
    if let Some(key) = record.key {
        output.line(&format!("  key {}", text::printable_bytes(key)))?;
    }
    if let Some(topic) = record.topic {
        output.line(&format!("  topic {topic}"))?;
    }
    if let Some(expires_at) = record.expires_at {
        output.line(&format!("  expires at {}", text::time(expires_at)))?;
    }
    for (name, value) in record.headers {
        output.line(&format!("  header {name}: {}", text::printable_bytes(value)))?;
    }
    output.line(&format!("  {}", text::printable_bytes(record.data)))
}

fn summary(letter: &DeadLetter) -> Values {
    Values::default()
        .with("id", letter.id.clone())
        .with("sink", letter.sink.clone())
        .with("attempts", letter.attempts)
        .with("first_attempt", text::time(letter.first_attempt))
        .with("last_attempt", text::time(letter.last_attempt))
        .with("created_at", text::time(letter.created_at))
        .with("records", letter.records.len())
        .with("bytes", letter.bytes)
        .with("errors", letter.errors.clone())
}

fn replay(context: &Context, arguments: &Replay) -> Result<u8, Error> {
    let options = context::options(&arguments.options)?;
    let which = &arguments.which;
    check_which(which)?;
    // Opening a producer would make a buffer where there is none.
    check_buffer(&which.buffer)?;
    let producer = match context.producer(&which.buffer, &options, "").open_manual(Limits::default()) {
        Err(error) if error.kind() == ErrorKind::InUse && live::has_owner(&which.buffer)? => None,
        opened => Some(opened?),
    };
    let owner = Admin::new(&which.buffer);
    let mut output = context.output()?;
    for id in ids(context, which)? {
        context.signals.check()?;
        let records = match &producer {
            Some(producer) => producer.replay_dead_letter(&id)?,
            None => owner.replay_dead_letter(&id)?,
        };
        done(&mut output, which, &id, Some(records))?;
    }
    output.flush()?;
    if let Some(producer) = producer {
        producer.close(Duration::ZERO)?;
    }
    Ok(OK)
}

fn delete(context: &Context, which: &Which) -> Result<u8, Error> {
    check_which(which)?;
    check_buffer(&which.buffer)?;
    // Who has the buffer may be adding to the letter: it deletes it between two additions.
    let owner = live::has_owner(&which.buffer)?.then(|| Admin::new(&which.buffer));
    let letters = DeadLetters::open(&which.buffer);
    let mut output = context.output()?;
    for id in ids(context, which)? {
        context.signals.check()?;
        match owner.as_ref().map(|owner| owner.delete_dead_letter(&id)) {
            // It has ended since.
            Some(Err(error)) if error.kind() == ErrorKind::Closed => letters.delete(&id)?,
            Some(deleted) => deleted?,
            None => letters.delete(&id)?,
        }
        done(&mut output, which, &id, None)?;
    }
    output.flush()?;
    Ok(OK)
}

fn check_which(which: &Which) -> Result<(), Error> {
    match which.ids.is_empty() == which.all {
        true => Ok(()),
        false => Err(Error::new(USAGE, "name dead letters, or say --all")),
    }
}

fn ids(context: &Context, which: &Which) -> Result<Vec<String>, Error> {
    if !which.all {
        return which.ids.iter().map(|given| id(given).map(str::to_owned)).collect();
    }
    let ids: Vec<_> = DeadLetters::open(&which.buffer).list()?.into_iter().map(|letter| letter.id).collect();
    if ids.is_empty() {
        tell_none(context, &which.buffer);
    }
    Ok(ids)
}

/// An id as it was given; one that is no text is nobody's.
fn id(given: &std::ffi::OsStr) -> Result<&str, Error> {
    given.to_str().ok_or_else(|| Error::new(NOT_FOUND, format!("there is no dead letter {}", text::name(given))))
}

/// Says what was done with a letter: `Some` records were put again, or it was deleted.
fn done(output: &mut Output, which: &Which, id: &str, replayed: Option<u64>) -> Result<(), Error> {
    let values = Values::default().with("id", id);
    match (which.json, replayed) {
        (true, Some(records)) => output.json(&values.with("replayed", records)),
        (true, None) => output.json(&values.with("deleted", true)),
        (false, Some(records)) => output.line(&format!("{id}: replayed {records} records")),
        (false, None) => output.line(&format!("{id}: deleted")),
    }
}
