//! Standard output: lines for a person, JSON for machines.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};

use serde::{Serialize, Serializer};
use serde_json::Value;
use serde_json::ser::{CharEscape, Formatter};

use crate::exit::{Error, FAILED};
use crate::streams::Streams;
use crate::text;

/// Standard output of a command.
pub(crate) struct Output {
    out: BufWriter<File>,
    is_terminal: bool,
}

impl Output {
    /// Takes standard output. It is duplicated, so that nothing else buffers what is written here.
    ///
    /// # Errors
    /// A failure if it is closed.
    pub(crate) fn open(streams: &Streams) -> Result<Output, Error> {
        if streams.stdout_is_closed {
            return Err(Error::new(FAILED, "standard output is closed"));
        }
        let stdout = io::stdout();
        let is_terminal = stdout.is_terminal();
        let out = rustix::io::fcntl_dupfd_cloexec(&stdout, 3).map_err(|error| failed(&error.into()))?;
        Ok(Output { out: BufWriter::with_capacity(64 << 10, File::from(out)), is_terminal })
    }

    /// Whether a person sees it.
    pub(crate) fn is_terminal(&self) -> bool {
        self.is_terminal
    }

    /// Writes bytes as they are.
    ///
    /// # Errors
    /// `BrokenPipe`, or a failure that names the stream.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.out.write_all(bytes).map_err(|error| failed(&error))
    }

    /// Writes a line for a person.
    ///
    /// # Errors
    /// Those of [`bytes`](Self::bytes).
    pub(crate) fn line(&mut self, line: &str) -> Result<(), Error> {
        self.bytes(text::printable(line).as_bytes())?;
        self.bytes(b"\n")
    }

    /// Writes a value as one line of ASCII, which every locale and terminal takes.
    ///
    /// # Errors
    /// Those of [`bytes`](Self::bytes).
    pub(crate) fn json(&mut self, value: &impl Serialize) -> Result<(), Error> {
        let mut serializer = serde_json::Serializer::with_formatter(&mut self.out, Ascii);
        value.serialize(&mut serializer).map_err(|error| failed(&error.into()))?;
        self.bytes(b"\n")
    }

    /// Writes what there is by name: as JSON, or for a person with each item of a list on a line of its own.
    ///
    /// # Errors
    /// Those of [`bytes`](Self::bytes).
    pub(crate) fn values(&mut self, values: &Values, as_json: bool) -> Result<(), Error> {
        if as_json {
            return self.json(values);
        }
        let width = values.0.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        for (name, value) in &values.0 {
            let text = shown(value);
            let mut lines = text.split('\n');
            let first = lines.next().filter(|line| !line.is_empty()).unwrap_or("-");
            self.line(&format!("{:width$}  {first}", name.replace('_', " ")))?;
            for line in lines {
                self.line(&format!("{:width$}  {line}", ""))?;
            }
        }
        Ok(())
    }

    /// Writes what is buffered.
    ///
    /// # Errors
    /// Those of [`bytes`](Self::bytes).
    pub(crate) fn flush(&mut self) -> Result<(), Error> {
        self.out.flush().map_err(|error| failed(&error))
    }
}

fn failed(error: &io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Error::BrokenPipe,
        _ => Error::io("standard output", error),
    }
}

/// A value for a person.
fn shown(item: &Item) -> String {
    fn value(found: &Value) -> String {
        match found {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            Value::Array(items) => items.iter().map(value).collect::<Vec<_>>().join("\n"),
            other => other.to_string(),
        }
    }
    fn values(values: &Values) -> String {
        values.0.iter().map(|(name, item)| format!("{name} {}", shown(item))).collect::<Vec<_>>().join(", ")
    }
    match item {
        Item::Value(found) => value(found),
        Item::Values(found) => values(found),
        Item::List(found) => found.iter().map(values).collect::<Vec<_>>().join("\n"),
    }
}

/// Values by name, in this order.
#[derive(Clone, Default)]
pub(crate) struct Values(Vec<(&'static str, Item)>);

/// What stands under a name.
#[derive(Clone)]
pub(crate) enum Item {
    /// One value, or several without names.
    Value(Value),
    /// Values with names.
    Values(Values),
    /// Several of these.
    List(Vec<Values>),
}

impl<T: Into<Value>> From<T> for Item {
    fn from(value: T) -> Self {
        Item::Value(value.into())
    }
}

impl Values {
    /// Adds a value.
    pub(crate) fn with(mut self, name: &'static str, value: impl Into<Item>) -> Values {
        self.0.push((name, value.into()));
        self
    }

    /// Adds others behind these.
    pub(crate) fn and(mut self, others: Values) -> Values {
        self.0.extend(others.0);
        self
    }

    /// Adds bytes: as text if they are, else in base 64 under the name that ends in `_base64`.
    pub(crate) fn with_bytes(self, name: &'static str, base64: &'static str, bytes: &[u8]) -> Values {
        use base64::Engine as _;
        match std::str::from_utf8(bytes) {
            Ok(text) => self.with(name, text),
            Err(_) => self.with(base64, base64::engine::general_purpose::STANDARD.encode(bytes)),
        }
    }
}

impl Serialize for Values {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, item)| (name, item)))
    }
}

impl Serialize for Item {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Item::Value(value) => value.serialize(serializer),
            Item::Values(values) => values.serialize(serializer),
            Item::List(list) => list.serialize(serializer),
        }
    }
}

/// JSON with every character that is not ASCII escaped.
struct Ascii;

impl Formatter for Ascii {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        if fragment.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
            return writer.write_all(fragment.as_bytes());
        }
        for c in fragment.chars() {
            if (' '..='~').contains(&c) {
                writer.write_all(&[c as u8])?;
                continue;
            }
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(writer, "\\u{unit:04x}")?;
            }
        }
        Ok(())
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }

    fn begin_array_value<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn write_char_escape<W: ?Sized + Write>(&mut self, writer: &mut W, escape: CharEscape) -> io::Result<()> {
        serde_json::ser::CompactFormatter.write_char_escape(writer, escape)
    }
}
