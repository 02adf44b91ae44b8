//! I/O errors that say which name they are about.

use std::fmt::{self, Display};
use std::io;

/// The error, with the name that it is about in front of its text. Its kind and number stay what they are.
#[cold]
pub(super) fn naming(name: &dyn Display, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), Named { name: name.to_string(), error })
}

/// An error that says that a name stands for something else than it should.
#[cold]
pub(super) fn is_no(name: &dyn Display, is: &str, should: &str) -> io::Error {
    let kind = if should == "directory" { io::ErrorKind::NotADirectory } else { io::ErrorKind::InvalidInput };
    io::Error::new(kind, format!("{name} is {is}, not a {should}"))
}

#[derive(Debug)]
struct Named {
    name: String,
    error: io::Error,
}

impl Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.error)
    }
}

impl std::error::Error for Named {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}
