//! The folder `corrupt/`: copies of bytes that were not what was written, for whoever wants to look at them.

use std::io;

use super::losses::Region;
use super::resync::PIECE;
use super::segment;
use crate::platform::{Directory, File, Open, read_past};

/// The folder's name in the buffer's directory.
pub(crate) const CORRUPT: &str = "corrupt";

/// Copies the bytes of a region to a file of their own. Returns whether all of them could be read.
pub(super) fn keep(dir: &dyn Directory, region: &Region, segment: &dyn File) -> io::Result<bool> {
    let name = format!("{}.{}", segment::name(region.segment), region.offset);
    let copy = dir.directory(CORRUPT, true)?.open(&name, Open::New)?;
    let mut piece = vec![0; PIECE.min(region.bytes as usize)];
    let (mut at, mut whole) = (0, true);
    while at < region.bytes {
        let wanted = (region.bytes - at).min(PIECE as u64) as usize;
        let got = read_past(segment, &mut piece[..wanted], region.offset + at)?;
        if got.bytes == 0 {
            break;
        }
        copy.write_at(&piece[..got.bytes], at)?;
        at += got.bytes as u64;
        whole &= got.unreadable == 0;
    }
    Ok(whole)
}
