//! Bytes that a fuzzer chose, read as choices and numbers.

/// Where sums overflow, words end and signs change.
const CORNERS: [u64; 24] = [
    0,
    1,
    2,
    7,
    8,
    31,
    32,
    511,
    512,
    1023,
    1024,
    1025,
    0xffff,
    0x1_0000,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x1_0000_0000,
    1 << 61,
    1 << 62,
    i64::MAX as u64,
    1 << 63,
    u64::MAX - 1,
    u64::MAX,
];

/// Reads off a slice; behind its end everything is 0.
pub(crate) struct Source<'a>(&'a [u8]);

impl<'a> Source<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Source(bytes)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Up to `count` bytes.
    pub(crate) fn take(&mut self, count: usize) -> &'a [u8] {
        let (head, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        head
    }

    pub(crate) fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or_default()
    }

    /// A number below `end`, which is from 1 to 65536.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        let high = if end > 256 { usize::from(self.byte()) << 8 } else { 0 };
        (high | usize::from(self.byte())) % end
    }

    /// Whether something rare is the case.
    pub(crate) fn rarely(&mut self) -> bool {
        self.byte() >= 0xf0
    }

    pub(crate) fn raw(&mut self) -> u64 {
        let mut word = [0; 8];
        let bytes = self.take(8);
        word[..bytes.len()].copy_from_slice(bytes);
        u64::from_le_bytes(word)
    }

    /// Mostly `usual`; else something near it, a corner, or anything.
    pub(crate) fn number(&mut self, usual: u64) -> u64 {
        match self.byte() {
            0..0xb0 => usual,
            0xb0..0xd0 => usual.wrapping_add_signed(i64::from(self.byte().cast_signed())),
            0xd0..0xf0 => CORNERS[self.below(CORNERS.len())],
            _ => self.raw(),
        }
    }

    pub(crate) fn number32(&mut self, usual: u32) -> u32 {
        self.number(u64::from(usual)) as u32
    }
}
