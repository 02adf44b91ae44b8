//! Feature flags: what a file of a buffer uses that a reader must know of. They stand in the headers of segments, in
//! checkpoints and in the records' files of dead letters; a reader refuses a file with a flag that it does not know. A flag
//! keeps its meaning for ever, in all three.

use crate::error::{Error, ErrorKind};
use crate::frame::VERSION;

/// Records may carry headers, a topic and a time of expiry.
pub(crate) const ATTRIBUTES: u32 = 1;
/// Kept for later: the contents are compressed.
pub(crate) const COMPRESSION: u32 = 2;
/// Kept for later: the contents are encrypted.
pub(crate) const ENCRYPTION: u32 = 4;
/// The checkpoint has memos.
pub(crate) const MEMOS: u32 = 8;

/// Whether a file of this version and with these flags can be read by code that knows `known`.
pub(crate) fn are_known(version: u32, flags: u32, known: u32) -> bool {
    version == VERSION && flags & !known == 0
}

/// The error for a file of another version, or with flags that are not known.
#[cold]
pub(crate) fn unsupported(what: &str, version: u32, flags: u32) -> Error {
    let message = if version != VERSION {
        format!("{what} has format version {version}, this unistream reads version {VERSION}; nothing was touched")
    } else {
        let mut uses = Vec::new();
        if flags & COMPRESSION != 0 {
            uses.push("is compressed".to_owned());
        }
        if flags & ENCRYPTION != 0 {
            uses.push("is encrypted".to_owned());
        }
        let others = flags & !(ATTRIBUTES | COMPRESSION | ENCRYPTION | MEMOS);
        if others != 0 || uses.is_empty() {
            uses.push(format!("uses features {flags:#x}"));
        }
        let uses = uses.join(" and ");
        format!(
            "{what} {uses}, which this unistream (format version {VERSION}) does not know how to read; nothing was \
             touched: open it with the later version that wrote it"
        )
    };
    Error::new(ErrorKind::UnsupportedFormat, message)
}
