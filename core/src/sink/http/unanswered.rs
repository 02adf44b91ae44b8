//! Requests that the service may have taken without our seeing its answer.
//!
//! A service that knows a request by its name has the records of such a request once only if it comes again as it was: with the
//! same records, and no others. So what is left of a batch is not sent in one request, but divided where such a request began
//! and ended. The memo of the batch says where, across restarts.

use crate::batch::Batch;
use crate::little_endian::le_u64;

/// What a memo of ours begins with. Another sink may have had the batch before.
const MARK: &[u8] = b"http1";
/// So many are remembered of a batch. There is one, or two where a service answers record by record.
const MOST: usize = 16;

/// The first and the last seq of each such request, by rising seq.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Unanswered(Vec<(u64, u64)>);

impl Unanswered {
    /// What is known of a batch.
    pub(super) fn of(batch: &Batch) -> Self {
        batch.memo().and_then(Self::decode).unwrap_or_default()
    }

    fn decode(memo: &[u8]) -> Option<Self> {
        let (pairs, []) = memo.strip_prefix(MARK)?.as_chunks::<16>() else { return None };
        Some(Unanswered(pairs.iter().map(|pair| (le_u64(pair, 0), le_u64(pair, 8))).collect()))
    }

    fn encode(&self) -> Vec<u8> {
        let numbers = self.0.iter().flat_map(|(first, last)| [first.to_le_bytes(), last.to_le_bytes()]);
        MARK.iter().copied().chain(numbers.flatten()).collect()
    }

    /// Which of them a record was in.
    pub(super) fn with(&self, seq: u64) -> Option<usize> {
        self.0.iter().position(|(first, last)| (*first..=*last).contains(&seq))
    }

    /// The memo after an attempt that ended with this request. Those before it have been answered by now; those behind it have
    /// not been sent again.
    pub(super) fn after(self, first: u64, last: u64) -> Vec<u8> {
        let behind = self.0.into_iter().filter(|(from, _)| *from > last);
        Unanswered(std::iter::once((first, last)).chain(behind).take(MOST).collect()).encode()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_memo_says_where_requests_began_and_ended() {
        let one = Unanswered::decode(&Unanswered::default().after(10, 19)).unwrap();
        assert_eq!([9, 10, 19, 20].map(|seq| one.with(seq)), [None, Some(0), Some(0), None]);
        let two = Unanswered::decode(&one.after(3, 3)).unwrap();
        assert_eq!([3, 4, 12].map(|seq| two.with(seq)), [Some(0), None, Some(1)]);
        let behind = Unanswered::decode(&two.after(14, u64::MAX)).unwrap();
        assert_eq!(behind, Unanswered(vec![(14, u64::MAX)]));
        for memo in [&b""[..], b"http1x", b"another sink's, of 21"] {
            assert_eq!(Unanswered::decode(memo), None, "{memo:?}");
        }
    }
}
