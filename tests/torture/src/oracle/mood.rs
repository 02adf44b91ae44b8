//! What is put, and how the sink answers: both follow from numbers, so that whoever asks again gets the same.

use crate::attributes::Headers;
use crate::platform::simulated::Dice;
use crate::record::NewRecord;

/// How the sink answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    Good,
    Fails,
    Down,
    /// One third delivered, one third failed, the rest rejected or unavailable.
    Partial,
    Rejects,
    Panics,
    /// Any of these, at random.
    Mixed,
}

/// What becomes of a record at the sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Delivered,
    Failed,
    Unavailable,
    Rejected,
}

impl Mood {
    /// What becomes of each of `len` records of the batch that begins with `first_seq`, or of its part of this lane, after so many
    /// failures: whoever asks the same again gets the same answer.
    pub(crate) fn fates(self, first_seq: u64, lane: Option<u32>, failures: u32, len: usize) -> Vec<Fate> {
        use Fate::*;
        let mood = match self {
            Mood::Mixed => {
                let moods = [Mood::Good, Mood::Good, Mood::Fails, Mood::Down, Mood::Partial, Mood::Rejects];
                moods[Dice::new(u64::from(lane.unwrap_or(0)) << 48 ^ first_seq << 16 | u64::from(failures))
                    .below(moods.len())]
            }
            mood => mood,
        };
        let fate = |at: usize| match mood {
            Mood::Good | Mood::Mixed => Delivered,
            Mood::Fails | Mood::Panics => Failed,
            Mood::Down => Unavailable,
            Mood::Rejects => [Rejected, Delivered][at % 2],
            Mood::Partial => [Delivered, Failed, [Unavailable, Rejected][at % 2]][at % 3],
        };
        (0..len).map(fate).collect()
    }
}

/// The record that is put as number `number`: nothing else may ever come out.
pub(crate) fn payload(number: usize, len: usize) -> Vec<u8> {
    let mut dice = Dice::new(number as u64);
    let mut bytes = (number as u64).to_le_bytes().to_vec();
    // Among them some that look like frames' lengths, terminators and newlines.
    bytes.extend((0..len).map(|at| if at % 7 == 3 { 0 } else { dice.roll() as u8 }));
    bytes
}

/// The key of the record that is put as number `number`. There are few, so that most come again.
pub(crate) fn key_of(number: usize) -> Option<Vec<u8>> {
    (number % 4 > 1).then(|| (number / 4 % 6).to_be_bytes().to_vec())
}

/// The time of expiry of the record that is put as number `number`: most have none, and of the others every second one expired
/// long ago, as far as somebody asks.
fn expires_at(number: usize) -> Option<i64> {
    match number % 14 {
        5 => Some(number as i64),
        // In 9999.
        12 => Some(253_402_300_799_000_000),
        _ => None,
    }
}

/// What goes with it besides the payload.
#[derive(Default)]
pub(crate) struct Extras {
    id: Option<String>,
    pub(crate) key: Option<Vec<u8>>,
    topic: Option<String>,
    pub(crate) expires_at: Option<i64>,
    header: Option<[u8; 8]>,
}

impl Extras {
    /// Of the record that is put as number `number`: each of them is there and is not.
    pub(crate) fn of(number: usize) -> Extras {
        Extras {
            id: (number % 3 == 1).then(|| format!("id-{number}")),
            key: key_of(number),
            topic: (number % 5 == 3).then(|| format!("topic/{number}")),
            expires_at: expires_at(number),
            header: (number % 5 == 4).then(|| (number as u64).to_le_bytes()),
        }
    }

    /// The record of it, for `put`, so that what it borrows lives as long.
    pub(crate) fn with<T>(&self, data: &[u8], put: impl FnOnce(NewRecord<'_>) -> T) -> T {
        let headers = self.header.as_ref().map(|value| [("number", &value[..]), ("none", b"")]);
        put(NewRecord {
            id: self.id.as_deref(),
            key: self.key.as_deref(),
            topic: self.topic.as_deref(),
            expires_at: self.expires_at,
            headers: headers.as_ref().map(Headers::from).unwrap_or_default(),
            ..NewRecord::new(data)
        })
    }
}
