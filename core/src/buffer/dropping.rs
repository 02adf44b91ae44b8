//! `when_full = drop_oldest`: the oldest batches make room for what is put.

use std::io;

use super::engine::Core;
use super::reader::Reader;
use crate::error::Result;
use crate::platform::sync::atomic::Ordering;

/// What was dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Dropped {
    pub(crate) records: u64,
    pub(crate) bytes: u64,
    /// The seqs of the first and the last record; between them there may be some that were finished before.
    pub(crate) first_seq: u64,
    pub(crate) last_seq: u64,
}

impl Core {
    /// Drops the oldest batches until a segment is free. `None`, and nothing is dropped, if one of them is in flight, which holds its
    /// segment whatever is dropped besides, or if nothing is sealed.
    #[cold]
    pub(super) fn drop_oldest(&self) -> Result<Option<Dropped>> {
        let mut reader = self.reader_in_service()?;
        let first = reader.state.committed.segment;
        let mut dropped = Dropped::default();
        while reader.state.committed.segment == first {
            let left = match self.may_drop(&mut reader, first) {
                Ok(false) => break,
                Ok(true) => self.left_of_first(&mut reader),
                Err(error) => Err(error),
            };
            let (records, bytes) = match left {
                Ok(left) => left,
                // What was dropped so far is to be told of.
                Err(_) if dropped.records > 0 => break,
                Err(error) => return Err(error),
            };
            let Some(head) = reader.heads.front_mut() else { break };
            if dropped.records == 0 {
                dropped.first_seq = head.id.first_seq;
            }
            dropped.last_seq = head.last_seq;
            dropped.records += records;
            dropped.bytes += bytes;
            head.parts.clear();
            reader.advance();
        }
        if dropped.records == 0 {
            return Ok(None);
        }
        self.counts.add_dropped(&dropped);
        // What cannot be noted now is noted before the segment is used again.
        let _ = self.persist_checkpoint(&mut reader, true);
        Ok(Some(dropped))
    }

    /// Whether dropping the first batch helps: the segment is given up behind it or behind one that may be dropped too.
    fn may_drop(&self, reader: &mut Reader, segment: u64) -> Result<bool> {
        if reader.heads.is_empty() && !self.load(reader)? {
            return Ok(false);
        }
        let held = reader.heads.iter().position(|head| head.is_out());
        // What is behind those that were read is not in flight.
        Ok(held.is_none_or(|held| reader.heads.iter().take(held).any(|head| head.end.segment > segment)))
    }

    /// What is left of the first batch: records and payload bytes.
    fn left_of_first(&self, reader: &mut Reader) -> Result<(u64, u64)> {
        let is_at_hand = reader.heads.front().is_some_and(|head| head.is_at_hand());
        if !is_at_hand && !self.take_up(reader, 0)? {
            return Err(crate::error::Error::io(
                "could not read what is to be dropped",
                io::ErrorKind::InvalidData.into(),
            ));
        }
        let parts = reader.heads.front().map_or(0, |head| head.parts.len());
        let batches = (0..parts).filter_map(|part| reader.heads.front().map(|head| head.batch(part)));
        Ok(batches.fold((0, 0), |(records, bytes), batch| {
            let payload: usize = batch.iter().map(|record| record.data.len()).sum();
            (records + batch.len() as u64, bytes + payload as u64)
        }))
    }

    /// Records and payload bytes that were dropped to make room.
    pub(crate) fn dropped(&self) -> (u64, u64) {
        (self.counts.dropped_records.load(Ordering::Relaxed), self.counts.dropped_bytes.load(Ordering::Relaxed))
    }
}
