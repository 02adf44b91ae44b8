//! NATS JetStream: `NatsSink` publishes records to a stream (cargo feature `nats`).
//!
//! ```no_run
//! # #[cfg(not(feature = "nats"))]
//! # fn main() {}
//! # #[cfg(feature = "nats")]
//! # fn main() -> unistream::Result<()> {
//! use unistream::sink::nats::NatsSink;
//! let sink = NatsSink::builder("nats://localhost/orders").build()?;
//! # Ok(())
//! # }
//! ```
#![doc = include_str!("page.md")]

#[cfg(feature = "nats")]
mod answer;
#[cfg(feature = "nats")]
mod auth;
#[cfg(feature = "nats")]
mod client;
#[cfg(all(feature = "nats", feature = "torture"))]
#[path = "../../../../tests/torture/src/fuzz/nats.rs"]
pub(crate) mod fuzz;
#[cfg(feature = "nats")]
mod nkey;
mod options;
#[cfg(feature = "nats")]
mod publish;
#[cfg(feature = "nats")]
mod servers;
#[cfg(feature = "nats")]
mod session;
#[cfg(feature = "nats")]
mod sink;
mod subject;
#[cfg(feature = "nats")]
mod window;
#[cfg(feature = "nats")]
mod wire;

pub use self::options::{NatsAtomic, NatsOptions, NatsTls};
#[cfg(feature = "nats")]
pub use self::sink::{NatsBuilder, NatsSink};
use super::kind::{Kind, Place};
#[cfg(feature = "nats")]
pub use super::net::environment::Environment;
pub use crate::options::Secret;

pub(in crate::sink) static KIND: Kind = Kind {
    scheme: "nats",
    aliases: &["tls"],
    summary: "Publishes records to a stream of NATS JetStream.",
    once: "Exactly once within the stream's `duplicate_window`: each message has its record's id as `Nats-Msg-Id`. A batch that is \
           tried again later than that can be there twice.",
    page: include_str!("page.md"),
    options: NatsOptions::TABLE,
    takes_any: false,
    place: Place::Url("url"),
    feature: "nats",
    #[cfg(feature = "nats")]
    open: Some(&|options| Ok(Box::new(NatsBuilder::of_options(NatsOptions::from_pairs(options)?).build()?))),
    #[cfg(not(feature = "nats"))]
    open: None,
};
