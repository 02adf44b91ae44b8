//! Little-endian words off a slice, and onto one.

use crate::buffer::position::Position;
use crate::little_endian::{le_u32, le_u64};

/// Reads words off a slice; `None` where it ends.
pub(super) struct Words<'a>(pub(super) &'a [u8]);

impl<'a> Words<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(head)
    }
    pub(super) fn u32(&mut self) -> Option<u32> {
        self.take(4).map(|bytes| le_u32(bytes, 0))
    }
    pub(super) fn u64(&mut self) -> Option<u64> {
        self.take(8).map(|bytes| le_u64(bytes, 0))
    }
    pub(super) fn position(&mut self) -> Option<Position> {
        self.take(40).map(|bytes| Position::from_words([0, 8, 16, 24, 32].map(|at| le_u64(bytes, at))))
    }
    pub(super) fn text(&mut self) -> Option<String> {
        self.bytes().map(|bytes| String::from_utf8_lossy(bytes).into_owned())
    }
    pub(super) fn bytes(&mut self) -> Option<&'a [u8]> {
        let count = self.u32()? as usize;
        self.take(count)
    }
}

pub(super) fn put_u32(bytes: &mut Vec<u8>, word: u32) {
    bytes.extend_from_slice(&word.to_le_bytes());
}

pub(super) fn put_u64(bytes: &mut Vec<u8>, word: u64) {
    bytes.extend_from_slice(&word.to_le_bytes());
}
