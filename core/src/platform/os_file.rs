//! An open file of the operating system.

use std::fs;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use rustix::fs::FallocateFlags;

use super::descriptors::{may_have_length, may_write};
use super::disk::{File, SegmentReader, SegmentWriter};
use super::mmap::{self, MappedWriter};
use super::stat::{self, Seen};

/// An open file.
pub(super) struct OsFile {
    pub(super) file: fs::File,
}

impl File for OsFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.look()?.length)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        may_have_length(&self.file, len)?;
        self.file.set_len(len)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        may_have_length(&self.file, len)?;
        loop {
            match rustix::fs::fallocate(&self.file, FallocateFlags::empty(), 0, len) {
                Err(rustix::io::Errno::INTR) => {}
                result => return Ok(result?),
            }
        }
    }

    fn is_allocated(&self, len: u64) -> io::Result<bool> {
        // Blocks of 512 bytes, whatever those of the filesystem are.
        let found = rustix::fs::fstat(&self.file)?;
        let (size, blocks) = (u64::try_from(found.st_size), u64::try_from(found.st_blocks));
        Ok(size.is_ok_and(|size| size >= len) && blocks.is_ok_and(|blocks| blocks.saturating_mul(512) >= len))
    }

    fn read_at(&self, mut buf: &mut [u8], mut offset: u64) -> io::Result<usize> {
        let wanted = buf.len();
        while !buf.is_empty() {
            match self.file.read_at(buf, offset) {
                Ok(0) => break,
                Ok(count) => {
                    buf = &mut buf[count..];
                    offset += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(wanted - buf.len())
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        may_write(offset.saturating_add(bytes.len() as u64))?;
        self.write_within(bytes, offset)
    }

    fn write_within(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn look(&self) -> io::Result<Seen> {
        stat::look_at(&self.file)
    }

    fn is_there(&self) -> io::Result<bool> {
        Ok(self.look()?.links > 0)
    }

    fn map(self: Arc<Self>, len: usize, dumped: bool) -> io::Result<Box<dyn SegmentWriter>> {
        Ok(Box::new(MappedWriter::new(&self.file, self.clone(), len, dumped)?))
    }

    fn map_read(&self, len: usize, dumped: bool) -> io::Result<Arc<dyn SegmentReader>> {
        mmap::map_read(&self.file, len, dumped)
    }
}
