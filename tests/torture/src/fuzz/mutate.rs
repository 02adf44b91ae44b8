//! Inputs made from others, for the tests, which have no fuzzer at hand.

use crate::platform::simulated::Dice;

/// The longest input.
pub(super) const MOST_BYTES: usize = 4096;

/// `input`, changed in some places; `other` is spliced in now and then.
pub(super) fn mutate(input: &[u8], other: &[u8], dice: &mut Dice) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for _ in 0..=dice.below(6) {
        change(&mut bytes, other, dice);
    }
    bytes.truncate(MOST_BYTES);
    bytes
}

fn change(bytes: &mut Vec<u8>, other: &[u8], dice: &mut Dice) {
    if bytes.is_empty() {
        bytes.extend((0..=dice.below(40)).map(|_| dice.roll() as u8));
        return;
    }
    let at = dice.below(bytes.len());
    let end = (at + 1 + dice.below(24)).min(bytes.len());
    match dice.below(9) {
        0 => bytes[at] ^= 1 << dice.below(8),
        1 => bytes[at] = dice.roll() as u8,
        2 => bytes[at] = [0, 1, 0x7f, 0x80, 0xcf, 0xd0, 0xef, 0xf0, 0xff][dice.below(9)],
        3 => {
            // A number of some width, near a corner.
            let width = [2, 4, 8][dice.below(3)].min(bytes.len() - at);
            let corner = [0, 1 << 31, 1 << 32, 1 << 62, 1 << 63, u64::MAX][dice.below(6)];
            let number: u64 = corner.wrapping_add(dice.roll() % 5).wrapping_sub(2);
            bytes[at..at + width].copy_from_slice(&number.to_le_bytes()[..width]);
        }
        4 => drop(bytes.drain(at..end)),
        5 => {
            let piece = bytes[at..end].to_vec();
            bytes.splice(at..at, piece);
        }
        6 => {
            let piece: Vec<u8> = (0..=dice.below(12)).map(|_| dice.roll() as u8).collect();
            bytes.splice(at..at, piece);
        }
        7 if !other.is_empty() => {
            // The rest, or a piece, of another.
            let from = dice.below(other.len());
            let to = (from + 1 + dice.below(64)).min(other.len());
            if dice.chance(2) {
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            } else {
                bytes.splice(at..at, other[from..to].iter().copied());
            }
        }
        _ => {
            let to = dice.below(bytes.len() - (end - at) + 1);
            bytes.copy_within(at..end, to);
        }
    }
}
