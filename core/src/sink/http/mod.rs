//! HTTP: `HttpSink` sends batches to whatever speaks it (cargo feature `http`).
//!
//! ```no_run
//! # #[cfg(not(feature = "http"))]
//! # fn main() {}
//! # #[cfg(feature = "http")]
//! # fn main() -> unistream::Result<()> {
//! use unistream::sink::http::{Compression, HttpSink};
//! let sink = HttpSink::builder("https://example.org/events").compression(Compression::Gzip).build()?;
//! # Ok(())
//! # }
//! ```
#![doc = include_str!("page.md")]

#[cfg(feature = "http")]
mod auth;
#[cfg(feature = "http")]
mod client;
#[cfg(feature = "http")]
mod dialect;
#[cfg(feature = "http")]
mod envelope;
#[cfg(feature = "http")]
mod fields;
#[cfg(all(feature = "http", feature = "torture"))]
#[path = "../../../../tests/torture/src/fuzz/http.rs"]
pub(crate) mod fuzz;
mod options;
#[cfg(feature = "http")]
mod plain;
#[cfg(feature = "http")]
mod presets;
#[cfg(feature = "http")]
mod setup;
#[cfg(feature = "http")]
mod sink;
#[cfg(feature = "http")]
mod status;
#[cfg(feature = "http")]
mod unanswered;

#[cfg(feature = "http")]
pub use self::auth::TokenFn;
pub use self::options::{AnswerForm, BodyForm, Compression, HttpOptions, Method, Preset, RecordForm, Redirects};
#[cfg(feature = "http")]
pub use self::sink::{HttpBuilder, HttpSink};
use super::kind::{Kind, Place};
#[cfg(feature = "http")]
pub use super::net::environment::Environment;
pub use crate::options::Secret;

pub(in crate::sink) static KIND: Kind = Kind {
    scheme: "http",
    aliases: &["https"],
    summary: "Sends records in the requests of HTTP or HTTPS, to any service that takes them.",
    once: "At least once: what the service accepted without our seeing its answer is sent again, with the same \
           `Idempotency-Key`, by which a service can tell.",
    page: include_str!("page.md"),
    options: HttpOptions::TABLE,
    takes_any: false,
    place: Place::Url("url"),
    feature: "http",
    #[cfg(feature = "http")]
    open: Some(&|options| Ok(Box::new(HttpBuilder::of_options(HttpOptions::from_pairs(options)?).build()?))),
    #[cfg(not(feature = "http"))]
    open: None,
};
