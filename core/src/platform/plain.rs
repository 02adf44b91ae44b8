//! Segments read and written with plain reads and writes: one a frame.

use std::io;
use std::sync::Arc;

use super::descriptors::may_write;
use super::disk::{Chunk, File, SegmentReader, SegmentWriter, TERMINATOR_BYTES};
use super::unreadable::read_past;

/// Writes a segment with plain writes.
pub(crate) struct PlainWriter {
    file: Arc<dyn File>,
    scratch: Vec<u8>,
    /// Whether the limit on the size of files lets all of this segment be written: asked once, not with each frame.
    within_limit: Option<bool>,
    /// Shared with readers only to know whether any is left.
    reader: Arc<PlainReader>,
}

impl PlainWriter {
    pub(crate) fn new(file: Arc<dyn File>) -> Self {
        let reader = Arc::new(PlainReader(file.clone()));
        PlainWriter { file, scratch: Vec::new(), within_limit: None, reader }
    }
}

impl SegmentWriter for PlainWriter {
    fn write(&mut self, offset: usize, bytes: &[u8]) -> io::Result<()> {
        self.file.write_at(bytes, offset as u64)
    }

    fn space(&mut self, _: usize, len: usize) -> io::Result<&mut [u8]> {
        self.scratch.resize(len, 0);
        Ok(&mut self.scratch)
    }

    fn append(&mut self, offset: usize, _: usize) -> io::Result<()> {
        let whole = || self.file.len().is_ok_and(|length| may_write(length).is_ok());
        let written = match *self.within_limit.get_or_insert_with(whole) {
            true => self.file.write_within(&self.scratch, offset as u64),
            false => self.file.write_at(&self.scratch, offset as u64),
        };
        if written.is_err() {
            // All but the terminator may be there: a frame that is refused must not be found later, also not after a power
            // loss that keeps the first of two writes to a place. By then its seq may be another record's.
            let _ = self.file.write_at(&[0; TERMINATOR_BYTES], offset as u64).and_then(|()| self.file.sync());
        }
        written
    }

    fn publish(&mut self, _: usize) {}

    fn reader(&self) -> Arc<dyn SegmentReader> {
        self.reader.clone()
    }

    fn recycle(&mut self) -> bool {
        self.within_limit = None;
        Arc::get_mut(&mut self.reader).is_some()
    }

    fn warm(&mut self, _: usize, _: usize) {}
}

/// Reads a segment with plain reads.
pub(crate) struct PlainReader(pub(crate) Arc<dyn File>);

impl SegmentReader for PlainReader {
    fn read(self: Arc<Self>, offset: usize, len: usize) -> io::Result<Chunk> {
        let mut bytes = Vec::new();
        // The length may come from a damaged frame, so it may be anything: too much of it is an error, not an abort.
        bytes.try_reserve_exact(len).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
        bytes.resize(len, 0);
        let got = read_past(&*self.0, &mut bytes, offset as u64)?;
        bytes.truncate(got.bytes);
        Ok(Chunk::Heap(bytes.into()))
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync()
    }

    fn is_there(&self) -> io::Result<bool> {
        self.0.is_there()
    }
}
