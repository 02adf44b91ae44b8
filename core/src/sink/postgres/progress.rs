//! The table that notes how far each buffer's records are in the user's table.

use std::collections::BTreeMap;

use super::session::Statement;
use super::sql::{TableName, literal};
use crate::batch::BatchId;
use crate::sink::net::redact::brief;

/// Where the notes are.
pub(super) struct Progress {
    pub(super) table: TableName,
}

/// What is noted of a lane of a buffer. Numbers of records rise and are never used again, so that one that is not above `seq` was
/// dealt with by an attempt that was committed: it is in the table, unless it was refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Note {
    pub(super) seq: u64,
    /// The last batch that was committed.
    batch: String,
    /// Which of its records are not in the table, and why. Their dead letter may not have been written.
    rejected: BTreeMap<u64, String>,
}

/// The longest reason that is noted.
const REASON: usize = 300;

impl Progress {
    /// The statement that makes the table.
    pub(super) fn create(&self) -> String {
        // Half of each page stays free, so that a row that changes all the time stays on its page and needs no new entry in the index.
        format!(
            "CREATE TABLE IF NOT EXISTS {} (buffer text, lane integer, seq bigint NOT NULL, batch text NOT NULL, \
             rejected text, updated_at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (buffer, lane)) \
             WITH (fillfactor = 50)",
            self.table.sql
        )
    }

    /// The statement that reads a note and keeps it from others until the transaction ends: also from what an earlier
    /// attempt has left behind, whose end it waits for.
    pub(super) fn read(&self, id: &BatchId) -> String {
        format!("SELECT seq, batch, rejected FROM {} WHERE {} FOR UPDATE", self.table.sql, row(id))
    }

    /// The statement that makes the row of a note where there is none, because only a row can be kept from others.
    pub(super) fn claim(&self, id: &BatchId) -> String {
        format!(
            "INSERT INTO {} (buffer, lane, seq, batch) VALUES ({}, {}, 0, '') ON CONFLICT DO NOTHING",
            self.table.sql,
            buffer(id),
            lane(id)
        )
    }

    /// The statement that stores a note.
    pub(super) fn store(&self, id: &BatchId, note: &Note) -> String {
        let rejected = match note.rejected.is_empty() {
            true => "NULL".to_owned(),
            false => literal(&serde_json::to_string(&note.rejected).expect("numbers and texts are JSON")),
        };
        format!(
            "UPDATE {} SET seq = {}, batch = {}, rejected = {rejected}, updated_at = now() WHERE {}",
            self.table.sql,
            note.seq,
            literal(&note.batch),
            row(id)
        )
    }
}

impl Note {
    /// What [`Progress::read`] answered; `None`: there is no row.
    ///
    /// # Errors
    /// It is no such note.
    pub(super) fn of(answer: &Statement) -> Result<Option<Note>, ()> {
        match &answer.rows[..] {
            [] => Ok(None),
            [row] => match &row[..] {
                [Some(seq), Some(batch), rejected] => {
                    let rejected = rejected.as_deref().map_or(Ok(BTreeMap::new()), serde_json::from_str);
                    let rejected = rejected.map_err(|_| ())?;
                    Ok(Some(Note { seq: seq.parse().map_err(|_| ())?, batch: batch.clone(), rejected }))
                }
                _ => Err(()),
            },
            _ => Err(()),
        }
    }

    /// Why a record that was dealt with is not in the table, if so.
    pub(super) fn why_rejected(&self, seq: u64) -> Option<&str> {
        self.rejected.get(&seq).map(|reason| &reason[..])
    }

    /// Goes on to the last record of a batch, or of a part of it; some of them are refused.
    pub(super) fn go_on(&mut self, batch: String, seq: u64, rejected: impl IntoIterator<Item = (u64, String)>) {
        // Of an earlier batch none comes again: it was finished before this one was sent.
        if self.batch != batch {
            self.rejected.clear();
        }
        let short = |text: String| brief(&text.replace('\0', ""), REASON);
        self.rejected.extend(rejected.into_iter().map(|(seq, reason)| (seq, short(reason))));
        (self.batch, self.seq) = (batch, seq);
    }
}

fn buffer(id: &BatchId) -> String {
    format!("'{:016x}'", id.buffer_id)
}

fn lane(id: &BatchId) -> i64 {
    id.lane.map_or(-1, i64::from)
}

fn row(id: &BatchId) -> String {
    format!("buffer = {} AND lane = {}", buffer(id), lane(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_say_how_far_and_who_was_refused() {
        let progress = Progress { table: TableName::parse("progress_table", "p").unwrap() };
        let id = BatchId { buffer_id: 0xab, epoch: 1, first_seq: 5, lane: Some(2) };
        let mut note = Note::default();
        note.go_on("one".into(), 7, [(6, "it's bad\0".to_owned())]);
        assert_eq!(
            progress.store(&id, &note),
            "UPDATE \"p\" SET seq = 7, batch = E'one', rejected = E'{\"6\":\"it\\'s bad\"}', updated_at = now() WHERE \
             buffer = '00000000000000ab' AND lane = 2"
        );
        assert_eq!((note.why_rejected(6), note.why_rejected(7)), (Some("it's bad"), None));
        note.go_on("one".into(), 9, [(8, "x".repeat(1000))]);
        assert_eq!(note.why_rejected(8).map(str::len), Some(REASON));
        assert!(note.why_rejected(6).is_some(), "the same batch");
        note.go_on("two".into(), 12, []);
        assert!(note.why_rejected(6).is_none());
        assert!(progress.store(&id, &note).contains("rejected = NULL"));
        let without = BatchId { lane: None, ..id };
        assert!(progress.read(&without).ends_with("lane = -1 FOR UPDATE"));
    }

    #[test]
    fn what_is_read_back() {
        let of = |rows: &[&[Option<&str>]]| {
            let rows = rows.iter().map(|row| row.iter().map(|value| value.map(str::to_owned)).collect()).collect();
            Note::of(&Statement { rows, tag: String::new() })
        };
        assert_eq!(of(&[]), Ok(None));
        let note = of(&[&[Some("7"), Some("b"), Some("{\"6\":\"bad\"}")]]).unwrap().unwrap();
        assert_eq!((note.seq, note.why_rejected(6)), (7, Some("bad")));
        assert_eq!(of(&[&[Some("7"), Some("b"), None]]).unwrap().unwrap().seq, 7);
        for bad in [
            &[&[Some("x"), Some("b"), None][..]][..],
            &[&[Some("-1"), Some("b"), None]],
            &[&[Some("7"), Some("b"), Some("[")]],
            &[&[Some("7")]],
            &[&[Some("7"), Some("b"), None], &[Some("7"), Some("b"), None]],
        ] {
            assert_eq!(of(bad), Err(()), "{bad:?}");
        }
    }
}
