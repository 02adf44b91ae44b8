//! Redis Streams: `RedisSink` adds records to streams (cargo feature `redis`).
//!
//! ```no_run
//! # #[cfg(not(feature = "redis"))]
//! # fn main() {}
//! # #[cfg(feature = "redis")]
//! # fn main() -> unistream::Result<()> {
//! use unistream::sink::redis::RedisSink;
//! let sink = RedisSink::builder("redis://localhost/0/orders").build()?;
//! # Ok(())
//! # }
//! ```
#![doc = include_str!("page.md")]

#[cfg(feature = "redis")]
mod answer;
#[cfg(feature = "redis")]
mod client;
#[cfg(feature = "redis")]
mod entries;
#[cfg(all(feature = "redis", feature = "torture"))]
#[path = "../../../../tests/torture/src/fuzz/redis.rs"]
pub(crate) mod fuzz;
mod options;
#[cfg(feature = "redis")]
mod place;
#[cfg(feature = "redis")]
mod resp;
#[cfg(feature = "redis")]
mod session;
#[cfg(feature = "redis")]
mod sink;
#[cfg(feature = "redis")]
mod slots;

pub use self::options::RedisOptions;
#[cfg(feature = "redis")]
pub use self::sink::{RedisBuilder, RedisSink};
use super::kind::{Kind, Place};
#[cfg(feature = "redis")]
pub use super::net::environment::Environment;
pub use crate::options::Secret;

pub(in crate::sink) static KIND: Kind = Kind {
    scheme: "redis",
    aliases: &["rediss"],
    summary: "Adds records to streams of Redis, or of what speaks its protocol.",
    once: "Exactly once: each stream has beside it how far a buffer's records are in it, stored in one step with them. \
           A server that loses what it has acknowledged loses records, too.",
    page: include_str!("page.md"),
    options: RedisOptions::TABLE,
    takes_any: false,
    place: Place::Url("url"),
    feature: "redis",
    #[cfg(feature = "redis")]
    open: Some(&|options| Ok(Box::new(RedisBuilder::of_options(RedisOptions::from_pairs(options)?).build()?))),
    #[cfg(not(feature = "redis"))]
    open: None,
};
