//! Since when a batch may have arrived, whatever became of its attempts: a memo that is kept before the first one. By it a sink
//! knows whether its target can still remember that attempt.

use std::time::{Duration, SystemTime};

use crate::batch::Batch;
use crate::time::micros;

/// A memo that says: now.
pub(crate) fn memo() -> Vec<u8> {
    micros(SystemTime::now()).to_le_bytes().to_vec()
}

/// How long ago a batch was tried for the first time at the most; `None` for one without such a memo.
pub(crate) fn age(batch: &Batch) -> Option<Duration> {
    let since = i64::from_le_bytes(batch.memo()?.try_into().ok()?);
    let age = micros(SystemTime::now()).saturating_sub(since);
    Some(Duration::from_micros(u64::try_from(age).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_memo_tells_how_long_ago_it_was() {
        let with = |memo: Option<Vec<u8>>| {
            let mut batch = Batch::from_records([]);
            batch.progress.memo = memo;
            age(&batch)
        };
        assert_eq!(with(None), None);
        assert_eq!(with(Some(b"another sink's".to_vec())), None);
        assert!(with(Some(memo())).unwrap() < Duration::from_secs(60));
        let old = micros(SystemTime::now()) - 3_600_000_000;
        assert!(with(Some(old.to_le_bytes().to_vec())).unwrap() >= Duration::from_secs(3600));
        // A clock that was put back.
        let late = micros(SystemTime::now()) + 3_600_000_000;
        assert_eq!(with(Some(late.to_le_bytes().to_vec())), Some(Duration::ZERO));
    }
}
