//! URLs of sinks: a scheme, a place, and options.

use super::kind::{Kind, Place};
use crate::error::{Error, ErrorKind, Result};

/// A URL, divided but not decoded.
pub(super) struct SinkUrl<'a> {
    pub(super) scheme: &'a str,
    place: &'a str,
    query: &'a str,
}

impl<'a> SinkUrl<'a> {
    /// The parts of what has a scheme.
    pub(super) fn split(text: &'a str) -> Option<Self> {
        let (scheme, rest) = text.split_once(':')?;
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        Some(SinkUrl { scheme, place, query })
    }

    /// The options that it names for a sink of this kind, those of its place first.
    pub(super) fn options(&self, kind: &Kind) -> Result<Vec<(String, String)>> {
        let mut options = self.place(kind.place)?;
        for pair in self.query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').ok_or_else(|| self.bad("an option has no value"))?;
            let (key, value) = (self.decoded(key)?, self.decoded(value)?);
            if kind.options.iter().any(|spec| spec.key == key && spec.kind == "secret") {
                let by_file = format!("{key}_file");
                let instead = match kind.options.iter().any(|spec| spec.key == by_file) {
                    true => format!("; {by_file} takes the path of a file that holds it"),
                    false => String::new(),
                };
                let why = format!("a secret such as {key} does not belong in a URL; others can see it{instead}");
                return Err(invalid(why));
            }
            options.push((key, value));
        }
        Ok(options)
    }

    fn place(&self, form: Place) -> Result<Vec<(String, String)>> {
        match form {
            Place::Nothing if self.place.trim_start_matches("//").is_empty() => Ok(Vec::new()),
            Place::Nothing => Err(self.bad("nothing but options may follow its scheme")),
            Place::Verbatim(key) => Ok(vec![(key.into(), self.place.into())]),
            Place::Url(key) => Ok(vec![(key.into(), format!("{}:{}", self.scheme, self.place))]),
            Place::File(key) => {
                let path = match self.place.strip_prefix("//") {
                    Some(path) if !path.starts_with('/') => {
                        return Err(self.bad("a path of a host that is not this one"));
                    }
                    path => path.unwrap_or(self.place),
                };
                Ok(vec![(key.into(), self.decoded(path)?)])
            }
            Place::Names(keys) => {
                let names =
                    self.place.strip_prefix("//").ok_or_else(|| self.bad("its scheme is not followed by //"))?;
                let mut values: Vec<_> = names.rsplitn(keys.len(), '/').collect();
                values.reverse();
                if values.len() < keys.len() {
                    return Err(self.bad(&format!("it names no {}", keys[values.len()])));
                }
                keys.iter().zip(values).map(|(key, value)| Ok(((*key).into(), self.decoded(value)?))).collect()
            }
        }
    }

    fn decoded(&self, text: &str) -> Result<String> {
        percent_decode(text).ok_or_else(|| self.bad("it is not percent-encoded UTF-8"))
    }

    /// A user with a password, the path of a webhook and what stands behind `?` may be secrets, by mistake or on purpose, so
    /// that no message repeats them.
    fn bad(&self, why: &str) -> Error {
        let place = match self.place.strip_prefix("//").map(|rest| rest.split_once('/').unwrap_or((rest, ""))) {
            Some((host, path)) if !host.is_empty() => {
                let host = host.rsplit('@').next().unwrap_or_default();
                format!("//{host}{}", if path.is_empty() { "" } else { "/..." })
            }
            _ => self.place.to_owned(),
        };
        let shown = format!("{}:{place}", self.scheme);
        invalid(format!("{shown:?} is not the URL of a sink: {why}"))
    }
}

pub(super) fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        if byte == b'%' {
            let digit = |byte: &u8| char::from(*byte).to_digit(16);
            let digits = (digit(after.first()?)?, digit(after.get(1)?)?);
            bytes.push((digits.0 * 16 + digits.1) as u8);
            rest = &after[2..];
        } else {
            bytes.push(byte);
            rest = after;
        }
    }
    String::from_utf8(bytes).ok()
}

fn invalid(message: String) -> Error {
    Error::new(ErrorKind::InvalidArgument, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_encoding() {
        assert_eq!(percent_decode("a%2Fb%C3%A4+").unwrap(), "a/bä+");
        assert_eq!(percent_decode("%"), None);
        assert_eq!(percent_decode("%4"), None);
        assert_eq!(percent_decode("%+1"), None);
        assert_eq!(percent_decode("%C3"), None);
    }

    /// What the places of all forms fill.
    #[test]
    fn places() {
        let place = |url: &str, form| SinkUrl::split(url).unwrap().place(form).map_err(|error| error.to_string());
        let pairs = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
            pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect()
        };
        let names = Place::Names(&["host", "topic"]);
        assert_eq!(place("x://a/b%2Fc", names).unwrap(), pairs(&[("host", "a"), ("topic", "b/c")]));
        assert_eq!(place("x:///a/b/c", names).unwrap(), pairs(&[("host", "/a/b"), ("topic", "c")]));
        assert!(place("x://a", names).unwrap_err().contains("names no topic"));
        assert!(place("x:a/b", names).unwrap_err().contains("//"));
        assert_eq!(place("x:a%20b", Place::File("path")).unwrap(), pairs(&[("path", "a b")]));
        assert_eq!(place("x:///a", Place::File("path")).unwrap(), pairs(&[("path", "/a")]));
        assert!(place("x://host/a", Place::File("path")).unwrap_err().contains("host"));
        assert_eq!(place("x://h%20/a:1", Place::Verbatim("at")).unwrap(), pairs(&[("at", "//h%20/a:1")]));
        assert_eq!(place("x://h%20/a:1?b", Place::Url("url")).unwrap(), pairs(&[("url", "x://h%20/a:1")]));
        assert_eq!(place("x:", Place::Nothing).unwrap(), []);
        assert_eq!(place("x://", Place::Nothing).unwrap(), []);
        assert!(place("x:y", Place::Nothing).is_err());
    }
}
