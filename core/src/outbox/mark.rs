//! The file `shared`, which makes a directory an outbox: `uniboxs` and a line feed, the version of the layout, flags, and a
//! checksum of them, little-endian. It is renamed into place, so that it is there whole or not at all; one that was damaged
//! since still makes the directory an outbox, and stays as it is.

use std::io;

use crate::buffer::SHARED;
use crate::checksum::crc32c;
use crate::error::{Error, Result};
use crate::features;
use crate::little_endian::le_u32;
use crate::platform::{Directory, Open};

const MAGIC: [u8; 8] = *b"uniboxs\n";
const BYTES: usize = 20;
/// What it is called before it is whole: while this is there, somebody may be about to make the mark.
const TEMPORARY: &str = "shared.tmp";

fn bytes() -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&1u32.to_le_bytes());
    bytes.extend_from_slice(&0u32.to_le_bytes());
    let crc = crc32c(&bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes
}

/// An error if a newer version made the outbox, or one with other features.
pub(super) fn check(root: &dyn Directory) -> Result<()> {
    let mut found = [0; BYTES];
    // One of another user is believed by its name: see `is_shared`.
    let got = root.open(SHARED, Open::Read).and_then(|file| file.read_at(&mut found, 0)).unwrap_or(0);
    if got < BYTES || found[..8] != MAGIC || crc32c(&found[..16]) != le_u32(&found, 16) {
        return Ok(());
    }
    let (version, flags) = (le_u32(&found, 8), le_u32(&found, 12));
    if (version, flags) == (1, 0) { Ok(()) } else { Err(unsupported(version, flags)) }
}

#[cold]
fn unsupported(version: u32, flags: u32) -> Error {
    features::unsupported("the outbox", version, flags)
}

/// Whether somebody has begun to make the mark, or died while making it.
pub(super) fn is_begun(root: &dyn Directory) -> io::Result<bool> {
    Ok(root.list()?.iter().any(|name| name == TEMPORARY))
}

/// Makes the mark, durably. The caller has the lock of the directory.
pub(super) fn write(root: &dyn Directory) -> io::Result<()> {
    let file = root.open(TEMPORARY, Open::New)?;
    file.write_at(&bytes(), 0)?;
    file.sync()?;
    root.rename(TEMPORARY, SHARED)?;
    root.sync()
}
