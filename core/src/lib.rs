//! An embedded, durable producer: put a record, it is on disk, and it gets to its sink.
//!
//! When [`Producer::put`] has returned `Ok`, the record survives the death of the process at any later instant;
//! under [`Durability::Always`] it survives power loss, under [`Durability::Interval`] power loss can cost at most the
//! last interval. Every record is then delivered at least once, in order, or sits in the dead letters with the
//! reason, or is still in the buffer. There is no fourth place, unless [`WhenFull::DropOldest`] or [`OnExpired::Drop`] ask for one.
//!
//! ```
//! use std::time::Duration;
//! use unistream::{FileSink, Producer};
//! # let dir = std::env::temp_dir().join(format!("unistream-doc-lib-{}", std::process::id()));
//! # std::fs::create_dir_all(&dir).unwrap();
//! # let (outbox, events) = (dir.join("outbox"), dir.join("events.log"));
//!
//! let producer = Producer::builder(&outbox).max_records(500).open(FileSink::create(&events)?)?;
//! producer.put(b"raw bytes")?;
//! producer.put("text")?;
//! producer.flush(Duration::from_secs(30))?;
//! # assert_eq!(std::fs::read(&events).unwrap(), b"raw bytes\ntext\n");
//! # producer.close(Duration::ZERO)?;
//! # std::fs::remove_dir_all(&dir).unwrap();
//! # Ok::<(), unistream::Error>(())
//! ```
//!
//! # Where to look
//!
//! - [`Producer`] and [`Builder`]: putting, flushing, closing; the three [modes](Mode).
//! - [`Options`]: every option with its range and default, in one table.
//! - [`Sink`], [`sink::from_fn`], [`FileSink`]: where batches go, and what a sink may answer.
//! - [`Schedule`]: the waits between attempts, and when to give up.
//! - [`DeadLetters`]: what was given up on. [`DeliveryReport`]: what became of one record ([`Producer::put_with`]).
//! - [`Event`] and [`Stats`]: what can be observed; [`prometheus`]: as a text to scrape.
//! - [`Buffer`]: the durable queue by itself. [`Inspection`]: a look at one without owning it. [`Admin`]: asks the process that owns it.
//! - [`Error`]: each [kind](ErrorKind) says what the caller can do now.
//! - [`limits`]: what is bounded. [`time`]: the times that records carry.
//!
//! # Cargo features
//!
//! None is on by default.
//! - `async`: `sink::from_async` makes a sink of an `async fn`, driven by the program's own runtime.
//! - `aws`: the sinks for Kinesis Data Streams and CloudWatch Logs.
//! - `http`: the sink for services of HTTP.
//! - `nats`: the sink for NATS JetStream.
//! - `redis`: the sink for Redis Streams.
//! - `postgres`: the sink for PostgreSQL.
//! - `tracing`: the module `tracing`, a layer for `tracing_subscriber`.
#![cfg_attr(docsrs, feature(doc_cfg))]
#![deny(unsafe_code)]

mod admin;
mod attributes;
mod batch;
mod buffer;
mod checksum;
mod dead_letters;
mod delivery_report;
mod error;
mod event;
mod features;
mod frame;
mod inspection;
pub mod limits;
mod little_endian;
mod option_table;
mod options;
mod order;
mod outbox;
mod platform;
mod producer;
pub mod prometheus;
mod record;
mod request;
mod schedule;
mod secret;
pub mod sink;
mod stats;
mod text;
pub mod time;
#[cfg(feature = "torture")]
#[path = "../../tests/torture/src/mod.rs"]
pub mod torture;
#[cfg(feature = "tracing")]
pub mod tracing;

pub use admin::Admin;
pub use attributes::{Headers, HeadersIter};
pub use batch::Batch;
pub use buffer::{Buffer, Damage};
pub use dead_letters::{DeadLetter, DeadLetters, DeadRecord};
pub use delivery_report::{Delivery, DeliveryReport};
pub use error::{Cause, Error, ErrorKind, Result};
pub use event::{Event, Level, Observer};
pub use inspection::{Inspection, InspectionStats, Verification};
pub use limits::Limits;
pub use options::{
    CoreDumps, Durability, Mode, NEVER, OnExhausted, OnExpired, OptionSpec, Options, Order, Secret, Storage, Trust,
    WhenFull,
};
pub use outbox::DrainTurn;
pub use producer::{Builder, Confirmation, Producer, PutManyError, Reporting};
pub use record::{NewRecord, Record};
pub use schedule::{Jitter, Schedule};
pub use sink::{FileSink, Framing, NullSink, Outcome, Report, SendError, Sink};
pub use stats::{Metric, State, Stats};
