//! Small files that may hold secrets: configuration, tokens.

use std::fs::OpenOptions;
use std::io::{Error, ErrorKind, Read, Result};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use zeroize::Zeroizing;

/// The largest file that is read.
const MAX_BYTES: u64 = 1024 * 1024;

/// The text of a file, in memory that is cleared when it is dropped.
///
/// # Errors
/// It cannot be read, is not UTF-8, is larger than 1 MiB, or is a pipe or another thing that could block or never end.
pub(crate) fn read_text(path: &Path) -> Result<Zeroizing<String>> {
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    let metadata = file.metadata()?;
    let wrong = |what: &str| Error::new(ErrorKind::InvalidData, what);
    // /dev/null is how many users say "no such file".
    if metadata.file_type().is_char_device() {
        return Ok(Zeroizing::default());
    }
    if !metadata.is_file() {
        return Err(wrong("it is not a regular file"));
    }
    if metadata.len() > MAX_BYTES {
        return Err(wrong("it is larger than 1 MiB"));
    }
    // Allocate the whole size at once: a text that grows leaves copies of its start behind.
    let mut text = Zeroizing::new(String::with_capacity(metadata.len() as usize + 1));
    file.take(metadata.len()).read_to_string(&mut text)?;
    Ok(text)
}
