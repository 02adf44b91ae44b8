//! PostgreSQL: `PostgresSink` writes records as rows of a table (cargo feature `postgres`).
//!
//! ```no_run
//! # #[cfg(not(feature = "postgres"))]
//! # fn main() {}
//! # #[cfg(feature = "postgres")]
//! # fn main() -> unistream::Result<()> {
//! use unistream::sink::postgres::PostgresSink;
//! let sink = PostgresSink::builder("postgres://shop@localhost/shop/events").password_file("pw").build()?;
//! # Ok(())
//! # }
//! ```
#![doc = include_str!("page.md")]

#[cfg(feature = "postgres")]
mod auth;
#[cfg(feature = "postgres")]
mod client;
#[cfg(all(feature = "postgres", feature = "torture"))]
#[path = "../../../../tests/torture/src/fuzz/postgres.rs"]
pub(crate) mod fuzz;
mod options;
#[cfg(feature = "postgres")]
mod place;
#[cfg(feature = "postgres")]
mod progress;
#[cfg(feature = "postgres")]
mod rows;
#[cfg(feature = "postgres")]
mod session;
#[cfg(feature = "postgres")]
mod sink;
#[cfg(feature = "postgres")]
mod sql;
#[cfg(feature = "postgres")]
mod sqlstate;
#[cfg(feature = "postgres")]
mod transaction;
#[cfg(feature = "postgres")]
mod wire;

pub use self::options::{PostgresOptions, PostgresTls};
#[cfg(feature = "postgres")]
pub use self::sink::{PostgresBuilder, PostgresSink};
use super::kind::{Kind, Place};
#[cfg(feature = "postgres")]
pub use super::net::environment::Environment;
pub use crate::options::Secret;

pub(in crate::sink) static KIND: Kind = Kind {
    scheme: "postgres",
    aliases: &["postgresql"],
    summary: "Writes records as rows of a table of PostgreSQL.",
    once: "Exactly once: how far a buffer's records are in the table is noted in the same transaction. Under `once=false` at \
           least once.",
    page: include_str!("page.md"),
    options: PostgresOptions::TABLE,
    takes_any: false,
    place: Place::Url("url"),
    feature: "postgres",
    #[cfg(feature = "postgres")]
    open: Some(&|options| Ok(Box::new(PostgresBuilder::of_options(PostgresOptions::from_pairs(options)?).build()?))),
    #[cfg(not(feature = "postgres"))]
    open: None,
};
