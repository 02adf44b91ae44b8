//! [`DeadLetter`]: the history of a batch that was given up on, and its records.

use std::io;
use std::time::UNIX_EPOCH;

use serde_json::Value;

use super::file::{self, ReadError, number_of, parse_id};
use super::location::Location;
use super::write::AttemptHistory;
use super::{DeadLetters, unsupported};
use crate::batch::{Batch, BatchId, Entry, Piece, Progress};
use crate::error::{Error, ErrorKind, Result};
use crate::platform::{Chunk, ForkGuard};
use crate::time::micros;

/// The most records of a letter: the largest value of the option `max_records`.
const MOST_RECORDS: usize = 1_000_000;

/// A batch, or some records of one, that was given up on.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DeadLetter {
    /// The id of the batch, which is the id of the letter too: each batch has at most one letter.
    pub id: String,
    /// The name of the sink.
    pub sink: String,
    /// Attempts that counted.
    pub attempts: u32,
    /// When the batch was first sent, in microseconds since the epoch.
    pub first_attempt: i64,
    /// When it was last sent.
    pub last_attempt: i64,
    /// When the letter was written.
    pub created_at: i64,
    /// The last errors, oldest first.
    pub errors: Vec<String>,
    /// The records by rising seq.
    pub records: Vec<DeadRecord>,
    /// Disk that the letter takes.
    pub bytes: u64,
    pub(super) records_file: String,
    pub(super) location: Location,
}

/// A record of a dead letter.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeadRecord {
    /// Its sequence number when it was put.
    pub seq: u64,
    /// Its id.
    pub id: String,
    /// Why it is here.
    pub reason: String,
    /// The sink rejected it for ever; otherwise the attempts were used up.
    pub rejected: bool,
}

impl DeadLetter {
    /// What stays when the letter is written again with other records.
    pub(super) fn history(&self) -> AttemptHistory {
        AttemptHistory {
            sink: self.sink.clone(),
            attempts: self.attempts,
            first_attempt: self.first_attempt,
            last_attempt: self.last_attempt,
            created_at: self.created_at,
            errors: self.errors.clone(),
        }
    }

    /// The letter that this JSON stands for; `None` if a field is missing or wrong.
    pub(super) fn parse(id: &str, value: &Value, location: &Location) -> Option<DeadLetter> {
        let text = |key: &str| value[key].as_str().map(str::to_owned);
        let time = |key: &str| {
            let time = humantime::parse_rfc3339(value[key].as_str()?).unwrap_or(UNIX_EPOCH);
            Some(micros(time))
        };
        let records_name = text("records_file")?;
        // A foreign file would be read as this letter's records, and removed with it.
        number_of(id, &records_name)?;
        let records =
            value["records"].as_array().filter(|records| records.len() <= MOST_RECORDS)?.iter().map(|record| {
                Some(DeadRecord {
                    seq: record["seq"].as_u64()?,
                    id: record["id"].as_str()?.to_owned(),
                    reason: record["reason"].as_str()?.to_owned(),
                    rejected: record["rejected"].as_bool()?,
                })
            });
        Some(DeadLetter {
            id: id.to_owned(),
            sink: text("sink")?,
            attempts: u32::try_from(value["attempts"].as_u64()?).unwrap_or(u32::MAX),
            first_attempt: time("first_attempt")?,
            last_attempt: time("last_attempt")?,
            created_at: time("created_at")?,
            errors: value["errors"].as_array()?.iter().filter_map(|error| error.as_str().map(str::to_owned)).collect(),
            records: records.collect::<Option<_>>()?,
            bytes: 0,
            records_file: records_name,
            location: location.clone(),
        })
    }

    /// The records themselves.
    ///
    /// # Errors
    /// `NotFound` if the letter was deleted or changed since it was read; `Io` if the records are missing, cannot be
    /// read or are not what was written; `UnsupportedFormat` for an unknown version.
    pub fn batch(&self) -> Result<Batch> {
        let folder = self.location.open(false).map_err(ReadError::from);
        let seqs = self.records.iter().map(|record| record.seq);
        let read = folder.and_then(|folder| file::read_records(&*folder, &self.records_file, seqs));
        let (bytes, offsets) = read.map_err(|bad| match bad {
            ReadError::Io(error) if error.kind() == io::ErrorKind::NotFound => self.damaged("missing; they were in"),
            ReadError::Io(error) => {
                Error::io(format_args!("could not read the records of dead letter {}", self.id), error)
            }
            ReadError::Damaged(_) => self.damaged("damaged; what is left of them is in"),
            ReadError::Unsupported { version, flags } => unsupported(&self.id, version, flags),
        })?;
        let entries = offsets.into_iter().zip(0..).map(|(offset, place)| Entry { piece: 0, offset, place }).collect();
        let id = parse_id(&self.id).unwrap_or(BatchId { buffer_id: 0, epoch: 0, first_seq: 0, lane: None });
        let progress = Progress { attempts: self.attempts, ..Progress::default() };
        Ok(Batch {
            id,
            turn: None,
            last_seq: self.records.last().map(|record| record.seq).unwrap_or_default(),
            progress,
            pieces: vec![Piece { chunk: Chunk::Heap(bytes.into()), salt: 0 }],
            entries,
            wants_receipts: false,
            fork: ForkGuard::new(),
        })
    }

    /// The error for records that are not what this letter says. It is damage only if the letter on disk is still the same
    /// one; if it was replaced or deleted meanwhile, the records belong to another.
    fn damaged(&self, how: &str) -> Error {
        match DeadLetters::at(self.location.clone(), None).get_here(&self.id) {
            Err(error) => error,
            Ok(now) if now.records_file == self.records_file && now.records == self.records => {
                let file = self.location.folder().join(&self.records_file);
                Error::new(
                    ErrorKind::Io,
                    format!("the records of dead letter {} are {how} {}", self.id, file.display()),
                )
            }
            Ok(_) => Error::new(ErrorKind::NotFound, format!("dead letter {} has changed since it was read", self.id)),
        }
    }
}
