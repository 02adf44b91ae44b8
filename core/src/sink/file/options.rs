//! The options of a file sink.

use crate::error::{Error, ErrorKind, Result};
use crate::option_table::{Text, Value, choice, option_table};

/// How records stand in the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Framing {
    /// The payload and a newline. A payload that has a newline in it is refused at `put`.
    #[default]
    Lines,
    /// The payload's length as 32 bits, little-endian, and the payload.
    LengthPrefixed,
}

choice!(@value Framing: "one of lines, length-prefixed" { Lines = "lines", LengthPrefixed = "length-prefixed" });

/// The permissions of a file that is created, if they are not the default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileMode(pub Option<u32>);

impl FileMode {
    /// Whether a sink can go on writing to a file of that mode.
    ///
    /// # Errors
    /// `InvalidArgument` for other bits than permissions, and for a mode that keeps this user out.
    pub fn check(self) -> Result<()> {
        match self.0 {
            Some(mode) if mode & !0o777 != 0 || mode & 0o600 != 0o600 => {
                Err(Error::new(ErrorKind::InvalidArgument, format!("mode is {mode:#o}; permitted: {MODES}")))
            }
            _ => Ok(()),
        }
    }
}

const MODES: &str =
    "an octal number from 0600 to 0777 with which the owner reads and writes; empty: 0640 less the umask";

impl Value for FileMode {
    const KIND: &'static str = "mode";
    fn parse(text: &str) -> std::result::Result<Self, String> {
        if text.is_empty() {
            return Ok(FileMode(None));
        }
        let mode = u32::from_str_radix(text.trim_start_matches("0o"), 8).map(|mode| FileMode(Some(mode)));
        mode.ok().filter(|mode| mode.check().is_ok()).ok_or_else(|| MODES.into())
    }
    fn print(&self) -> String {
        self.0.map_or_else(String::new, |mode| format!("{mode:04o}"))
    }
}

option_table! {
    /// The options of a [`FileSink`](crate::FileSink) as text. [`TABLE`](Self::TABLE) describes them.
    pub struct FileOptions, setters file_setters;
    /// The file.
    path: Text = "", "a path", |v| !v.is_empty();
    /// How records stand in the file.
    framing: Framing = "lines", "lines, length-prefixed", |_| true;
    /// Sync each batch to stable storage before it counts as delivered.
    sync: bool = "false", "true, false", |_| true;
    /// The permissions of a file that is created, whatever the umask.
    mode: FileMode = "", "an octal number such as 0640; empty: 0640 less the umask", |v| v.check().is_ok();
    /// Follow symbolic links at the path, and take a file that another user may have put there.
    follow_links: bool = "false", "true, false", |_| true;
}
