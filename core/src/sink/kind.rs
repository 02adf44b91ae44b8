//! What a sink says about itself: everything by which others reach it.

use super::Sink;
use crate::error::Result;
use crate::option_table::{OptionSpec, reference};

/// Makes a sink of its options, keys and values as text. No key comes twice, and each is in the table
/// ([`Kind::options`]) unless [`Kind::takes_any`].
pub type Constructor = dyn Fn(&[(&str, &str)]) -> Result<Box<dyn Sink>> + Send + Sync;

/// A kind of sinks: its name, its options, its page and its constructor. URLs, the command line, the C function
/// `unistream_sink_open`, Python's `unistream.sink` and the pages of the documentation are made from it.
///
/// Of this crate each is a constant in the sink's folder. Others begin with [`Kind::new`] and pass what they made to
/// [`register`](super::register).
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct Kind {
    /// The name, and the scheme of its URLs: small letters, digits, `+`, `-` and `.`, beginning with a letter.
    pub scheme: &'static str,
    /// Other schemes by which it is known.
    pub aliases: &'static [&'static str],
    /// What it is, in one line.
    pub summary: &'static str,
    /// How often a record can arrive, in a sentence that begins with "Exactly once" or "At least once".
    pub once: &'static str,
    /// The text of its page, in Markdown without a title: what no table says.
    pub page: &'static str,
    /// Its options, in the order of its page.
    pub options: &'static [OptionSpec],
    /// Whether the constructor takes options besides those of the table, and checks them itself.
    pub takes_any: bool,
    /// Which options the part of a URL before `?` fills.
    pub place: Place,
    /// The cargo feature that a build must have for it; empty: none.
    pub feature: &'static str,
    /// Makes one; `None` in a build that lacks [`feature`](Self::feature).
    pub open: Option<&'static Constructor>,
}

/// What stands in a URL between the scheme and `?`, and which options it fills.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Place {
    /// Nothing: `null:`.
    Nothing,
    /// The path of a file on this machine: `file:events.log`, `file:///var/spool/events.log`.
    File(&'static str),
    /// Names behind `//`, divided by `/`: `cloudwatch-logs://group/stream`. Where there are more parts than options, the
    /// first option takes what is too much. Each is percent-decoded.
    Names(&'static [&'static str]),
    /// Whatever stands there, as it is written: `python:module:name`.
    Verbatim(&'static str),
    /// The place is a URL of its own, scheme and all: `https://host/path`.
    Url(&'static str),
}

impl Kind {
    /// A kind without options, page and place; the fields can be set.
    ///
    /// ```
    /// use unistream::sink::{self, Kind, NullSink, Place};
    /// let mut kind = Kind::new("nowhere", &|_| Ok(Box::new(NullSink)));
    /// kind.summary = "Takes everything and keeps nothing.";
    /// sink::register(kind)?;
    /// assert_eq!(sink::open("nowhere:", &[])?.name(), "null");
    /// # Ok::<(), unistream::Error>(())
    /// ```
    pub const fn new(scheme: &'static str, open: &'static Constructor) -> Kind {
        Kind {
            scheme,
            aliases: &[],
            summary: "",
            once: "At least once.",
            page: "",
            options: &[],
            takes_any: false,
            place: Place::Nothing,
            feature: "",
            open: Some(open),
        }
    }

    /// The form of its URLs, such as `cloudwatch-logs://GROUP/STREAM`.
    pub fn url(&self) -> String {
        let scheme = self.scheme;
        match self.place {
            Place::Nothing => format!("{scheme}:"),
            Place::File(option) | Place::Verbatim(option) => format!("{scheme}:{}", option.to_uppercase()),
            Place::Names(options) => format!("{scheme}://{}", options.join("/").to_uppercase()),
            Place::Url(_) => format!("{scheme}://HOST/PATH"),
        }
    }

    /// Its page, in Markdown: the text of the sink's folder with the tables that are made from this.
    pub fn reference(&self) -> String {
        let Kind { scheme, summary, once, .. } = self;
        let page = self.page.trim();
        let (lead, sections) = match page.find("\n## ") {
            Some(end) => page.split_at(end),
            None => (page, ""),
        };
        let mut text = format!("# {scheme}\n\n{summary}\n");
        if !lead.is_empty() {
            text.push_str(&format!("\n{}\n", lead.trim()));
        }
        text.push_str(&format!("\n| | |\n|---|---|\n| URL | `{}` |\n| once | {once} |\n", self.url()));
        if !self.feature.is_empty() {
            text.push_str(&format!("| cargo feature | `{}` |\n", self.feature));
        }
        if !self.options.is_empty() {
            text.push_str(&format!("\n## Options\n\n{}", reference(self.options)));
        }
        if !sections.is_empty() {
            text.push_str(&format!("\n{}\n", sections.trim()));
        }
        text
    }
}

impl std::fmt::Debug for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kind").field("scheme", &self.scheme).field("summary", &self.summary).finish_non_exhaustive()
    }
}
