//! The sink that a URL names.

use std::ffi::OsStr;

use unistream::{ErrorKind, Sink, sink};

use crate::exit::{self, Error, Failure, USAGE};
use crate::text;

/// The sink of a URL.
///
/// # Errors
/// A failure that repeats nothing of what follows `?`, where a secret may stand by mistake.
pub(crate) fn open(url: &OsStr) -> Result<Box<dyn Sink>, Error> {
    let Some(url) = url.to_str() else {
        let message = format!("--to {}: it is not UTF-8; percent-encode it", shown(&text::name(url)));
        return Err(Error::new(USAGE, message));
    };
    if url.starts_with("python:") && sink::kinds().iter().all(|kind| kind.scheme != "python") {
        let message = format!("--to {}: it needs the command line of the Python package", shown(url));
        return Err(Error::new(USAGE, message));
    }
    sink::open(url, &[]).map_err(|error| match error.kind() {
        ErrorKind::InvalidArgument => {
            let message = format!("--to {}: {error}", shown(url));
            Failure { code: USAGE, message, detail: exit::causes(&error) }.into()
        }
        _ => error.into(),
    })
}

fn shown(url: &str) -> &str {
    url.split('?').next().unwrap_or_default()
}
