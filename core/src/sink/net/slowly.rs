//! What a server has said, as it comes over a slow connection: for tests.

use std::io::{self, Read};

/// Gives so many bytes at a time, and then ends.
pub(crate) struct Slowly<'a>(pub(crate) &'a [u8], pub(crate) usize);

impl Read for Slowly<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.1.min(self.0.len()).min(buffer.len());
        buffer[..len].copy_from_slice(&self.0[..len]);
        self.0 = &self.0[len..];
        Ok(len)
    }
}
