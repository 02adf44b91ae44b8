//! What is put, and how the sink answers: both follow from numbers, so that whoever asks again gets the same.

use crate::platform::simulated::Dice;

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

/// The id and key that go with it.
pub(crate) fn id_and_key(number: usize) -> (Option<String>, Option<Vec<u8>>) {
    let id = (number % 3 == 1).then(|| format!("id-{number}"));
    // Few keys, so that most come again.
    let key = (number % 4 > 1).then(|| (number / 4 % 6).to_be_bytes().to_vec());
    (id, key)
}
