//! Segments read and written through a mapping. A store costs no system call.

use std::fs;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::disk::{Chunk, File, SegmentReader, SegmentWriter, TERMINATOR_BYTES};
use super::mapping::{Mapping, Writer};
use super::plain::{PlainReader, PlainWriter};
use super::sigbus;

/// How far ahead of the tail lines are fetched: more than a frame of the common sizes.
const AHEAD: usize = 512;

/// What a writer shares with its readers besides the mapping.
struct Shared {
    file: Arc<dyn File>,
    /// The writer went on with plain writes: what counts from then on is in the file alone.
    left: AtomicBool,
}

/// Writes a segment by storing into a mapping of its file.
pub(crate) struct MappedWriter {
    bytes: Writer,
    shared: Arc<Shared>,
    /// What writes in its place once the mapping was left.
    plain: Option<Box<PlainWriter>>,
}

impl MappedWriter {
    /// Maps the first `len` bytes of `file`, which `handle` is open on as well.
    pub(super) fn new(handle: &fs::File, file: Arc<dyn File>, len: usize, dumped: bool) -> io::Result<Self> {
        let shared = Arc::new(Shared { file, left: AtomicBool::new(false) });
        Ok(MappedWriter { bytes: Writer::new(handle, len, dumped)?, shared, plain: None })
    }

    /// Stores what a page did not take, with a write that can say why. On a filesystem that shares blocks with copies of a
    /// file (XFS does), a store needs a block of its own, and a full disk has none. The bytes are in the page of zeros that
    /// the guard has put there.
    #[cold]
    fn append_plainly(&mut self, offset: usize, published: usize, fault: io::Error) -> io::Result<()> {
        if self.plain.is_none() {
            let bytes = self.space(offset, published + TERMINATOR_BYTES - offset)?.to_vec();
            self.leave(fault)?.space(offset, bytes.len())?.copy_from_slice(&bytes);
        }
        match &mut self.plain {
            Some(plain) => plain.append(offset, published),
            None => Err(io::Error::other("a mapping that was left for nothing")),
        }
    }

    /// Goes on with plain writes, unless the file was cut.
    fn leave(&mut self, fault: io::Error) -> io::Result<&mut PlainWriter> {
        let file = self.shared.file.clone();
        if file.len()? < self.bytes.mapping().len() as u64 {
            return Err(fault);
        }
        self.bytes.abandon();
        self.shared.left.store(true, Ordering::Release);
        Ok(self.plain.insert(Box::new(PlainWriter::new(file))))
    }
}

#[cold]
fn plain_space(plain: Option<&mut Box<PlainWriter>>, offset: usize, len: usize) -> io::Result<&mut [u8]> {
    match plain {
        Some(plain) => plain.space(offset, len),
        None => Err(io::Error::other("a store outside the unpublished part of a segment")),
    }
}

impl SegmentWriter for MappedWriter {
    fn write(&mut self, offset: usize, bytes: &[u8]) -> io::Result<()> {
        if let Some(plain) = &mut self.plain {
            return plain.write(offset, bytes);
        }
        self.space(offset, bytes.len())?.copy_from_slice(bytes);
        match self.bytes.mapping().check() {
            Ok(()) => Ok(()),
            Err(fault) => self.leave(fault)?.write(offset, bytes),
        }
    }

    #[inline]
    fn space(&mut self, offset: usize, len: usize) -> io::Result<&mut [u8]> {
        match self.bytes.unpublished(offset, len) {
            Some(space) => Ok(space),
            None => plain_space(self.plain.as_mut(), offset, len),
        }
    }

    #[inline]
    fn append(&mut self, offset: usize, published: usize) -> io::Result<()> {
        // The stores went to the page cache; a page that could not take them has marked the mapping.
        if let Err(fault) = self.bytes.mapping().check() {
            return self.append_plainly(offset, published, fault);
        }
        self.bytes.publish(published);
        self.bytes.prefetch(published + AHEAD);
        Ok(())
    }

    fn publish(&mut self, offset: usize) {
        self.bytes.publish(offset);
    }

    fn reader(&self) -> Arc<dyn SegmentReader> {
        Arc::new(MappedReader { mapping: self.bytes.mapping().clone(), shared: Some(self.shared.clone()) })
    }

    fn recycle(&mut self) -> bool {
        self.bytes.recycle()
    }

    fn warm(&mut self, from: usize, to: usize) {
        self.bytes.warm(from, to);
    }
}

struct MappedReader {
    mapping: Arc<Mapping>,
    /// `None` for a segment that nobody writes any more.
    shared: Option<Arc<Shared>>,
}

/// Maps a finished segment, all of it published.
pub(super) fn map_read(handle: &fs::File, len: usize, dumped: bool) -> io::Result<Arc<dyn SegmentReader>> {
    Ok(Arc::new(MappedReader { mapping: Mapping::reading(handle, len, dumped)?, shared: None }))
}

impl MappedReader {
    fn is_left(&self) -> bool {
        self.shared.as_ref().is_some_and(|shared| shared.left.load(Ordering::Acquire))
    }
}

impl SegmentReader for MappedReader {
    fn read(self: Arc<Self>, offset: usize, len: usize) -> io::Result<Chunk> {
        let left = self.is_left();
        let bytes = self.mapping.clone().bytes(offset, len);
        // A page that faulted is one of zeros, which are not what the file has.
        if (left || self.mapping.faults() > 0)
            && let Some(shared) = &self.shared
        {
            let len = if left { len } else { bytes.as_slice().len() };
            return Arc::new(PlainReader(shared.file.clone())).read(offset, len);
        }
        Ok(Chunk::Mapped(bytes))
    }

    fn sync(&self) -> io::Result<()> {
        sigbus::ensure();
        if !self.is_left() {
            self.mapping.check()?;
        }
        match &self.shared {
            Some(shared) => shared.file.sync(),
            None => Ok(()),
        }
    }

    fn is_there(&self) -> io::Result<bool> {
        let Some(shared) = &self.shared else { return Ok(true) };
        // Stores behind the new end of a file that was cut, in its last page, go nowhere without a fault.
        let found = shared.file.look()?;
        Ok(found.links > 0 && found.length >= self.mapping.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;
    use crate::platform::os_file::OsFile;

    /// A page that could not be stored to is one of zeros in memory, and what it is in the file: readers took the zeros for
    /// damage until the writer went on with plain writes.
    #[test]
    fn what_a_page_did_not_take_is_read_from_the_file() {
        const LENGTH: usize = 64 << 10;
        let file = tempfile::tempfile().unwrap();
        file.set_len(LENGTH as u64).unwrap();
        let mut writer = Arc::new(OsFile { file: file.try_clone().unwrap() }).map(LENGTH, true).unwrap();
        writer.space(0, 8192).unwrap().fill(7);
        writer.append(0, 8000).unwrap();
        let before = writer.reader().read(0, 8000).unwrap();
        // The page goes away under a store, and comes back.
        file.set_len(4096).unwrap();
        writer.space(8000, 100).unwrap().fill(8);
        file.set_len(LENGTH as u64).unwrap();
        file.write_all_at(&[7; 8192], 0).unwrap();
        assert!(before.is_faulted() && before.bytes()[4096..] != [7; 8000 - 4096]);
        let chunk = writer.reader().read(0, 9000).unwrap();
        assert!(matches!(chunk, Chunk::Heap(_)));
        assert_eq!(chunk.bytes(), [7; 8000], "published, and as it is in the file");
    }
}
