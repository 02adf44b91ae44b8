//! An embedded, durable producer.
#![deny(unsafe_code)]
#![allow(dead_code)]

mod batch;
mod buffer;
mod error;
mod event;
mod options;
mod record;
mod schedule;
pub mod sink;

pub use batch::Batch;
pub use error::{Cause, Error, ErrorKind, Result};
pub use event::{Event, Level, Observer, State, Stats};
pub use options::{Durability, Mode, NEVER, OnExhausted, OptionSpec, Options, Storage, WhenFull};
pub use record::{MAX_ID_BYTES, NewRecord, Record, micros, timestamp};
pub use schedule::{Jitter, MAX_WAIT, Schedule};
pub use sink::{Limits, NullSink, Outcome, Report, SendError, Sink};
