//! The writer of a segment, whichever it is.

use std::any::Any;
use std::io;
use std::ops::{Deref, DerefMut};

use super::disk::SegmentWriter;
use super::mmap::MappedWriter;

/// A segment's writer. What every `put` calls is called directly where the segment is mapped: through a table it would cost a
/// `put` of 100 bytes one instruction in ten.
pub(crate) enum AnyWriter {
    Mapped(MappedWriter),
    /// One that writes plainly, or a simulated one.
    Other(Box<dyn SegmentWriter>),
}

impl From<Box<dyn SegmentWriter>> for AnyWriter {
    fn from(writer: Box<dyn SegmentWriter>) -> Self {
        if !(&*writer as &dyn Any).is::<MappedWriter>() {
            return AnyWriter::Other(writer);
        }
        let mapped: Box<dyn Any> = writer;
        AnyWriter::Mapped(*mapped.downcast().expect("its type was asked"))
    }
}

impl AnyWriter {
    /// As [`SegmentWriter::space`].
    #[inline(always)]
    pub(crate) fn space(&mut self, offset: usize, len: usize) -> io::Result<&mut [u8]> {
        match self {
            AnyWriter::Mapped(writer) => writer.space(offset, len),
            AnyWriter::Other(writer) => writer.space(offset, len),
        }
    }

    /// As [`SegmentWriter::append`].
    #[inline(always)]
    pub(crate) fn append(&mut self, offset: usize, published: usize) -> io::Result<()> {
        match self {
            AnyWriter::Mapped(writer) => writer.append(offset, published),
            AnyWriter::Other(writer) => writer.append(offset, published),
        }
    }
}

impl Deref for AnyWriter {
    type Target = dyn SegmentWriter;

    fn deref(&self) -> &Self::Target {
        match self {
            AnyWriter::Mapped(writer) => writer,
            AnyWriter::Other(writer) => &**writer,
        }
    }
}

impl DerefMut for AnyWriter {
    fn deref_mut(&mut self) -> &mut Self::Target {
        match self {
            AnyWriter::Mapped(writer) => writer,
            AnyWriter::Other(writer) => &mut **writer,
        }
    }
}
