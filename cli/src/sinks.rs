//! The sink that a URL names.

use std::borrow::Cow;
use std::ffi::OsStr;

use unistream::{ErrorKind, NullSink, Sink};

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
    if url == "null:" {
        return Ok(Box::new(NullSink));
    }
    unistream::sink::from_url(url).map_err(|error| match error.kind() {
        ErrorKind::InvalidArgument => {
            let message = format!("--to {}: {error}; also null: and python:MODULE:NAME", shown(url));
            Failure { code: USAGE, message, detail: exit::causes(&error) }.into()
        }
        _ => error.into(),
    })
}

fn shown(url: &str) -> Cow<'_, str> {
    url.split('?').next().unwrap_or_default().into()
}
