//! What a program tells [`tracing`](https://docs.rs/tracing), as records: a layer for `tracing_subscriber` (cargo feature
//! `tracing`).
//!
//! ```
//! use std::sync::Arc;
//! use std::time::Duration;
//! use tracing_subscriber::layer::SubscriberExt;
//! use unistream::{FileSink, Producer};
//! # let dir = std::env::temp_dir().join(format!("unistream-doc-tracing-{}", std::process::id()));
//! # std::fs::create_dir_all(&dir).unwrap();
//! # let (outbox, log) = (dir.join("outbox"), dir.join("app.log"));
//!
//! let producer = Arc::new(Producer::builder(&outbox).open(FileSink::create(&log)?)?);
//! let subscriber = tracing_subscriber::registry().with(unistream::tracing::Layer::new(producer.clone()));
//! tracing::subscriber::with_default(subscriber, || {
//!     let _order = tracing::info_span!("order", id = 17).entered();
//!     tracing::warn!(user = "u-7", "the order is late");
//! });
//! producer.flush(Duration::from_secs(30))?;
//! # let line = std::fs::read_to_string(&log).unwrap();
//! # assert!(line.contains(r#""level":"WARN""#) && line.contains(r#""spans":[{"name":"order","id":17}]"#), "{line}");
//! # producer.close(Duration::ZERO)?;
//! # std::fs::remove_dir_all(&dir).unwrap();
//! # Ok::<(), unistream::Error>(())
//! ```
//!
//! A record is one line of JSON: `time` (RFC 3339 in UTC, to the microsecond), `level`, `target`, `message`, `fields` (an
//! object; numbers and truth values as such, everything else as text), `spans` (from the outermost on: their `name` and
//! fields), `file`, `line`, `thread`. What an event or a span does not have is left out. The record's time is that of the
//! event.

use std::fmt::{self, Write};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::Value;
use tracing_core::field::{Field, Visit};
use tracing_core::span::{Attributes, Id, Record};
use tracing_core::{Event, Subscriber};
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use crate::producer::Producer;
use crate::record::NewRecord;
use crate::time;

/// Puts every event into a producer: when a call such as `tracing::info!` has returned, the record survives the death of the
/// process.
///
/// Any thread may use it, at the same time. It never waits for the sink. With a full log it waits as
/// [`max_wait`](Self::max_wait) says, not at all unless it was said; what cannot be put counts in the producer's
/// [`Stats::refused_puts`](crate::Stats::refused_puts) and `invalid_puts`, and is told nobody else.
///
/// It never makes a circle: what the sink of this producer tells `tracing` while it is called, and what the producer's
/// observer does, is left out. What a client tells on threads of its own is not known to be the sink's; leave it out with a
/// filter of `tracing_subscriber`.
pub struct Layer {
    producer: Arc<Producer>,
    max_wait: Duration,
}

impl Layer {
    /// Makes a layer over a producer, which the program keeps, to flush and close it.
    pub fn new(producer: impl Into<Arc<Producer>>) -> Self {
        Layer { producer: producer.into(), max_wait: Duration::ZERO }
    }

    /// How long an event may wait for space in a full log. The default is 0.
    #[must_use]
    pub fn max_wait(mut self, max_wait: Duration) -> Self {
        self.max_wait = max_wait;
        self
    }
}

impl fmt::Debug for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Layer").field("path", &self.producer.path()).field("max_wait", &self.max_wait).finish()
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> tracing_subscriber::Layer<S> for Layer {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        span.extensions_mut().replace(fields);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if let Some(fields) = span.extensions_mut().get_mut::<Fields>() {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let now = time::micros(SystemTime::now());
        let mut fields = Fields::default();
        event.record(&mut fields);
        let mut line = Line::default();
        let metadata = event.metadata();
        line.text("time", &time::timestamp(now));
        line.text("level", metadata.level().as_str());
        line.text("target", metadata.target());
        if let Some(message) = &fields.message {
            line.text("message", message);
        }
        if !fields.pairs.is_empty() {
            line.raw("fields", &format!("{{{}}}", fields.pairs));
        }
        let spans: Vec<String> = context.event_scope(event).map_or_else(Vec::new, |scope| {
            scope.from_root().map(|span| span_object(span.name(), span.extensions().get::<Fields>())).collect()
        });
        if !spans.is_empty() {
            line.raw("spans", &format!("[{}]", spans.join(",")));
        }
        if let Some(file) = metadata.file() {
            line.text("file", file);
        }
        if let Some(number) = metadata.line() {
            line.raw("line", &number.to_string());
        }
        if let Some(name) = std::thread::current().name() {
            line.text("thread", name);
        }
        let payload = line.end();
        let record = NewRecord { created_at: Some(now), ..NewRecord::new(payload.as_bytes()) };
        // Whether it was refused, or came from the sink itself, the producer's statistics say; to tell of it here would be an event.
        let _ = self.producer.put_within(record, self.max_wait);
    }
}

fn span_object(name: &str, fields: Option<&Fields>) -> String {
    let mut object = Line::default();
    object.text("name", name);
    let pairs = fields.map_or("", |fields| &fields.pairs);
    if !pairs.is_empty() {
        object.0.push(',');
        object.0.push_str(pairs);
    }
    object.end()
}

/// An object of JSON that is being written.
#[derive(Default)]
struct Line(String);

impl Line {
    fn text(&mut self, name: &str, text: &str) {
        self.raw(name, &Value::from(text).to_string());
    }

    /// Adds what is JSON already.
    fn raw(&mut self, name: &str, json: &str) {
        let before = if self.0.is_empty() { '{' } else { ',' };
        // Writing to a String does not fail.
        let _ = write!(self.0, "{before}\"{name}\":{json}");
    }

    fn end(mut self) -> String {
        self.0.push('}');
        self.0
    }
}

/// The fields of an event or a span: its message, and the others as `"name":value`, with commas between them.
#[derive(Default)]
struct Fields {
    message: Option<String>,
    pairs: String,
}

impl Fields {
    fn add(&mut self, field: &Field, value: Value) {
        if let ("message", Value::String(text)) = (field.name(), &value) {
            self.message = Some(text.clone());
            return;
        }
        let comma = if self.pairs.is_empty() { "" } else { "," };
        // Names may be any text; writing to a String does not fail.
        let _ = write!(self.pairs, "{comma}{}:{value}", Value::from(field.name()));
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        let number = serde_json::Number::from_f64(value);
        self.add(field, number.map_or_else(|| Value::from(value.to_string()), Value::Number));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, Value::from(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, Value::from(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, Value::from(value));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, Value::from(value));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        let mut text = value.to_string();
        let mut cause = value.source();
        while let Some(error) = cause {
            let _ = write!(text, ": {error}");
            cause = error.source();
        }
        self.add(field, Value::from(text));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, Value::from(format!("{value:?}")));
    }
}
