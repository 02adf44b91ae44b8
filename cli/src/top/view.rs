//! A look as rows for a screen, as one line, as JSON.

use super::look::{Given, Look};
use super::terminal::{Part, Row};
use crate::arguments::Top;
use crate::look;
use crate::output::{Item, Values};
use crate::text;

/// The rows of a screen.
pub(super) fn lines(look: &Look, arguments: &Top) -> Vec<Row> {
    let stats = &look.stats;
    let records = |count: u64| format!("{} {}", text::grouped(count), if count == 1 { "record" } else { "records" });
    let time = text::time(look.time);
    let clock = time.get(11..19).unwrap_or_default();
    let mut rows = vec![Row::title(text::name(&arguments.buffer), format!("{clock} UTC"))];
    let mut row = |label: &'static str, parts: Vec<Part>| rows.push(Row::new(label, parts));
    let owner = match stats.owner_pid {
        Some(0) => "owner: a process of another namespace".into(),
        Some(pid) => format!("owner: pid {pid}"),
        None => "no owner".into(),
    };
    row("state", vec![state(look), Part::plain(owner)]);
    if stats.slots > 0 {
        let with = |count: usize, what: &str| format!("{count} {what}");
        let left = look.slots.iter().filter(|(_, slot)| slot.owner_pid.is_none() && slot.pending_records > 0).count();
        let mut parts = vec![Part::plain(with(look.slots.len(), if stats.slots == 1 { "slot" } else { "slots" }))];
        parts.push(Part::plain(format!("{} owned", stats.owned_slots)));
        if left > 0 {
            parts.push(Part::bad(with(left, "left by processes that have ended")));
        }
        row("outbox", parts);
        for (name, slot) in &look.slots {
            let owner = match slot.owner_pid {
                Some(0) => "another namespace".into(),
                Some(pid) => format!("pid {pid}"),
                None => "nobody".into(),
            };
            let failures = (slot.head_failures > 0).then(|| Part::bad(format!("{} failed", slot.head_failures)));
            let parts = [Part::plain(name.clone()), Part::plain(owner), Part::plain(records(slot.pending_records))];
            row("", parts.into_iter().chain([Part::plain(text::size(slot.pending_bytes))]).chain(failures).collect());
        }
    }
    let mut backlog = vec![Part::plain(records(stats.pending_records)), Part::plain(text::size(stats.pending_bytes))];
    backlog.extend(
        stats.oldest_created_at.map(|oldest| Part::plain(format!("oldest {}", text::span(look.time - oldest)))),
    );
    row("backlog", backlog);
    let (put, finished) = match look.rates {
        Some(rates) => {
            let rate = |records: f64, bytes: f64| {
                vec![
                    Part::plain(format!("{}/s", text::rate(records))),
                    Part::plain(format!("{}/s", text::size(bytes as u64))),
                ]
            };
            let mut finished = rate(rates.finished_records, rates.finished_bytes);
            let gain = rates.finished_records - rates.put_records;
            if stats.pending_records > 0 && gain > 0.0 {
                let left = stats.pending_records as f64 / gain;
                finished.push(Part::plain(format!("empty in {}", text::span((left * 1e6) as i64))));
            }
            (rate(rates.put_records, rates.put_bytes), finished)
        }
        None => (vec![Part::plain("...")], vec![Part::plain("...")]),
    };
    row("put", put);
    row("finished", finished);
    row("total", vec![Part::plain(records(stats.finished_records)), Part::plain(text::size(stats.finished_bytes))]);
    let segments = if stats.segments == 1 { "segment" } else { "segments" };
    row(
        "disk",
        vec![Part::plain(text::size(stats.buffer_bytes)), Part::plain(format!("{} {segments}", stats.segments))],
    );
    if stats.head_failures > 0 {
        let since = text::span(look.time - stats.head_since);
        row(
            "attempts",
            vec![
                Part::bad(format!("{} failed in a row", stats.head_failures)),
                Part::plain(format!("{} count", stats.head_attempts)),
                Part::plain(format!("for {since}")),
                Part::plain(next(look)),
            ],
        );
    }
    if let Some(error) = stats.last_errors.last().filter(|_| stats.pending_records > 0) {
        row("error", vec![Part::bad(text::printable(error.split('\n').next().unwrap_or_default()))]);
    }
    if stats.corrupt_regions > 0 || stats.lost_records > 0 {
        row(
            "damage",
            vec![
                Part::bad(format!("{} lost", records(stats.lost_records))),
                Part::plain(format!("{} set aside", text::size(stats.corrupt_bytes))),
            ],
        );
    }
    for (sink, given) in &look.sinks {
        let Given { letters, reason, .. } = given;
        let letters = format!("in {letters} {}", if *letters == 1 { "letter" } else { "letters" });
        let of = Part::plain(format!("of {}", text::printable(sink)));
        row("dead", vec![Part::bad(records(given.records)), Part::plain(letters), of]);
        row("reason", vec![Part::plain(text::printable(reason.split('\n').next().unwrap_or_default()))]);
    }
    rows
}

/// What goes on, as far as it can be seen from outside.
fn state(look: &Look) -> Part {
    let stats = &look.stats;
    if stats.pending_records == 0 {
        return Part::plain("idle");
    }
    if stats.owner_pid.is_none() {
        return Part::bad("waiting for a producer");
    }
    let finishes = look.rates.is_some_and(|rates| rates.finished_records > 0.0);
    match (stats.head_failures, stats.head_attempts) {
        (0, _) if finishes => Part::good("delivering"),
        (0, _) => Part::plain("waiting"),
        (_, 0) => Part::bad("sink unavailable"),
        _ => Part::bad("failing"),
    }
}

fn next(look: &Look) -> String {
    match look.stats.head_next_attempt - look.time {
        left if left > 0 => format!("next in {}", text::span(left)),
        _ => "next now".into(),
    }
}

/// One line, for files and pipes.
pub(super) fn line(look: &Look) -> String {
    let stats = &look.stats;
    let time = text::time(look.time);
    let oldest = stats.oldest_created_at.map_or("-".into(), |oldest| text::span(look.time - oldest));
    let rate = |rate: Option<f64>| rate.map_or("-".into(), |rate| format!("{}/s", text::rate(rate)));
    let (put, finished) = (look.rates.map(|rates| rates.put_records), look.rates.map(|rates| rates.finished_records));
    let dead: u64 = look.sinks.values().map(|given| given.records).sum();
    let mut line = format!(
        "{}Z  {}: pending {} ({}), oldest {oldest}, put {}, finished {}, failures {}, dead {dead}, lost {}",
        time.get(..19).unwrap_or_default(),
        state(look).text,
        stats.pending_records,
        text::size(stats.pending_bytes),
        rate(put),
        rate(finished),
        stats.head_failures,
        stats.lost_records,
    );
    if let Some(error) = stats.last_errors.last().filter(|_| stats.pending_records > 0) {
        line.push_str(&format!(", error: {}", error.split('\n').next().unwrap_or_default()));
    }
    line
}

/// All that there is, for machines.
pub(super) fn values(look: &Look) -> Values {
    let sinks = look.sinks.iter().map(|(sink, given)| {
        let values = Values::default().with("sink", sink.clone()).with("dead_letters", given.letters);
        values.with("dead_records", given.records).with("last_reason", given.reason.clone())
    });
    let rate = |of: fn(&super::look::Rates) -> f64| look.rates.as_ref().map(of);
    let rates = Values::default()
        .with("put_records_per_second", rate(|rates| rates.put_records))
        .with("put_bytes_per_second", rate(|rates| rates.put_bytes))
        .with("finished_records_per_second", rate(|rates| rates.finished_records))
        .with("finished_bytes_per_second", rate(|rates| rates.finished_bytes));
    let all = Values::default().with("time", text::time(look.time)).with("state", state(look).text);
    all.and(look::values(&look.stats))
        .and(look::slots(&look.slots))
        .and(rates)
        .with("sinks", Item::List(sinks.collect()))
}
