//! An embedded, durable producer.
#![deny(unsafe_code)]

mod batch;
mod buffer;
mod dead_letter;
mod environment;
mod error;
mod event;
mod inspection;
mod options;
mod producer;
mod record;
mod schedule;
pub mod sink;

pub use batch::Batch;
pub use buffer::Buffer;
pub use dead_letter::{DeadLetter, DeadLetters, DeadRecord};
pub use error::{Cause, Error, ErrorKind, Result};
pub use event::{Event, Level, Observer, State, Stats};
pub use inspection::{Inspection, InspectionStats, Verification};
pub use options::{Durability, Mode, NEVER, OnExhausted, OptionSpec, Options, Storage, WhenFull};
pub use producer::{Builder, Producer};
pub use record::{MAX_ID_BYTES, NewRecord, Record, micros, timestamp};
pub use schedule::{Jitter, MAX_WAIT, Schedule};
pub use sink::{FileSink, Framing, Limits, NullSink, Outcome, Report, SendError, Sink};
