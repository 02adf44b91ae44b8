//! Putting many records in one call, and the error that says how far it came.

use std::fmt;

use super::Producer;
use crate::error::Error;
use crate::record::NewRecord;

/// Why [`Producer::put_many`] ended early, and how many records are in the log.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PutManyError {
    /// Records of this call that are in the log: those at the front.
    pub accepted: u64,
    /// What the put of the last one said. [`Error::record_accepted`] says whether that one is counted in `accepted`.
    pub error: Error,
}

impl fmt::Display for PutManyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} records were put)", self.error, self.accepted)
    }
}

impl std::error::Error for PutManyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

impl From<PutManyError> for Error {
    fn from(many: PutManyError) -> Error {
        many.error
    }
}

impl Producer {
    /// Puts records, in order, until one is refused. Returns how many there were.
    ///
    /// ```
    /// use unistream::{NullSink, Producer};
    /// # let dir = std::env::temp_dir().join(format!("unistream-doc-many-{}", std::process::id()));
    /// let producer = Producer::builder(&dir).max_record_bytes(3).open(NullSink)?;
    /// assert_eq!(producer.put_many(["one", "two"])?, 2);
    /// let error = producer.put_many(["1", "2", "three", "4"]).unwrap_err();
    /// assert_eq!(error.accepted, 2);
    /// # producer.close(std::time::Duration::ZERO)?;
    /// # std::fs::remove_dir_all(&dir).unwrap();
    /// # Ok::<(), unistream::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`put`](Self::put), with how many records are in the log. The records behind them are not; the iterator
    /// has given one of them.
    pub fn put_many<'a, R>(&self, records: impl IntoIterator<Item = R>) -> Result<u64, PutManyError>
    where
        R: Into<NewRecord<'a>>,
    {
        let mut accepted = 0;
        for record in records {
            match self.put(record) {
                Ok(_) => accepted += 1,
                Err(error) => {
                    return Err(PutManyError { accepted: accepted + u64::from(error.record_accepted()), error });
                }
            }
        }
        Ok(accepted)
    }
}
