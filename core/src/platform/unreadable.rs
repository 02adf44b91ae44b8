//! Reads past sectors that the disk cannot read, so that one costs only what stands in it, not what stands around it.

use std::io;

use super::disk::File;

/// How much is read at a time where a larger piece cannot be read. The page cache reads no less.
const PAGE: u64 = 4096;
/// The byte in place of one that cannot be read. No frame, header or cursor begins with it, and no log ends with it.
const FILLER: u8 = 0xff;

/// What was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Got {
    pub(crate) bytes: usize,
    /// How many of them could not be read and are filler.
    pub(crate) unreadable: u64,
}

/// Reads as [`File::read_at`] does, and fills what the disk cannot read with `FILLER`.
///
/// # Errors
/// Those of the disk, if no other place of the file can be read either. Then the whole disk may be away and come back, so
/// nothing counts as lost.
pub(crate) fn read_past(file: &dyn File, buf: &mut [u8], offset: u64) -> io::Result<Got> {
    let failed = match file.read_at(buf, offset) {
        Ok(bytes) => return Ok(Got { bytes, unreadable: 0 }),
        Err(error) if is_medium(&error) => error,
        Err(error) => return Err(error),
    };
    let mut got = Got { bytes: 0, unreadable: 0 };
    let stop = offset.saturating_add(buf.len() as u64).min(file.len()?);
    let mut at = offset;
    let mut any = false;
    while at < stop {
        let end = ((at / PAGE + 1) * PAGE).min(stop);
        let page = &mut buf[(at - offset) as usize..(end - offset) as usize];
        match file.read_at(page, at) {
            Ok(read) => {
                any = true;
                got.bytes += read;
                if read < page.len() {
                    break;
                }
            }
            Err(error) if is_medium(&error) => {
                page.fill(FILLER);
                got.bytes += page.len();
                got.unreadable += end - at;
            }
            Err(error) => return Err(error),
        }
        at = end;
    }
    let length = file.len()?;
    let mut elsewhere = [0, length / 2, length.saturating_sub(1)].into_iter();
    if any || elsewhere.any(|at| file.read_at(&mut [0], at).is_ok_and(|read| read > 0)) { Ok(got) } else { Err(failed) }
}

/// Whether an error is about the place that was read. Filesystems use several numbers for that.
fn is_medium(error: &io::Error) -> bool {
    let known = [libc::EIO, libc::ENODATA, libc::EBADMSG, libc::EUCLEAN, libc::EILSEQ];
    error.raw_os_error().is_some_and(|number| known.contains(&number))
}
