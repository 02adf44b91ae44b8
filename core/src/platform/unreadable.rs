//! Sectors that the disk cannot read: one of them costs what stands in it, not what stands around it.

use std::io;

use super::disk::File;

/// What is read again by itself where a larger piece cannot be read: the page cache reads no less.
const PAGE: u64 = 4096;
/// Stands in place of what cannot be read. No frame, header or cursor begins so, and no log ends so.
const FILLER: u8 = 0xff;

/// What was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Got {
    pub(crate) bytes: usize,
    /// So many of them could not be read and are filled up.
    pub(crate) unreadable: u64,
}

/// Reads as [`File::read_at`] does, and fills up what the disk cannot read.
///
/// # Errors
/// Of a disk that reads nothing else of the file either: what is gone may come back with it, and counts as lost only
/// where other places can be read.
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

/// Whether an error is about the place that was read. Filesystems say so in several ways.
fn is_medium(error: &io::Error) -> bool {
    let known = [libc::EIO, libc::ENODATA, libc::EBADMSG, libc::EUCLEAN, libc::EILSEQ];
    error.raw_os_error().is_some_and(|number| known.contains(&number))
}
