//! What a sink keeps with a batch.

use super::delivery::not_out;
use super::engine::Core;
use crate::batch::Batch;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::MAX_MEMO_BYTES;

impl Core {
    /// Keeps a memo with a batch, or a part of one, that is handed out. When this has returned, the memo survives the death of
    /// the process, and under `always` a power loss; under `interval` the checkpoint is synced with the rest.
    ///
    /// # Errors
    /// `InvalidArgument` if the memo is too long, or the batch has one; `NotFound` if the batch waits for no answer; those of the
    /// disk. Nothing has changed then.
    pub(crate) fn keep_memo(&self, batch: &mut Batch, memo: Vec<u8>) -> Result<()> {
        let refused = |message: String| Err(Error::new(ErrorKind::InvalidArgument, message));
        if memo.len() > MAX_MEMO_BYTES {
            return refused(format!("a memo of {} bytes is longer than {MAX_MEMO_BYTES}", memo.len()));
        }
        let mut reader = self.reader_in_service()?;
        let (at, part) = reader.place_of(batch).ok_or_else(not_out)?;
        if reader.heads[at].parts[part].progress.memo.is_some() {
            return refused(format!("batch {} has a memo, which stays with it", batch.id()));
        }
        reader.heads[at].parts[part].progress.memo = Some(memo.clone());
        if let Err(error) = self.persist_checkpoint(&mut reader, false) {
            reader.heads[at].parts[part].progress.memo = None;
            return Err(error);
        }
        batch.progress.memo = Some(memo);
        Ok(())
    }
}
