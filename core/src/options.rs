//! ONE table of options. The struct, its defaults and ranges, the builder's methods, the keys that C and the
//! command line use, Python's keywords and the reference page all come from the table in this file. Sinks that
//! have options declare tables of their own with the same [`option_table!`].

use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
pub use crate::platform::Trust;
use crate::schedule::{Jitter, MAX_WAIT, Schedule};
pub use crate::secret::Secret;

/// "Never", as a [`Duration`]: the text form is `none`.
pub const NEVER: Duration = Duration::MAX;

/// One row of the table, for bindings and for the reference page.
#[derive(Clone, Copy, Debug)]
pub struct OptionSpec {
    /// The key, in every language.
    pub key: &'static str,
    /// What the value is: `count`, `bytes`, `duration`, `number`, `durations`, `boolean`, `choice`, `text` or
    /// `secret`.
    pub kind: &'static str,
    /// The permitted values, for a person.
    pub range: &'static str,
    /// The default, in the form that [`Options::set`] takes.
    pub default: &'static str,
    /// What it does.
    pub doc: &'static str,
}

/// A value that has a text form.
pub(crate) trait Value: Sized {
    const KIND: &'static str;
    fn parse(text: &str) -> std::result::Result<Self, String>;
    fn print(&self) -> String;
}

/// A count of things.
pub(crate) type Count = u64;

impl Value for u64 {
    const KIND: &'static str = "count";
    fn parse(text: &str) -> std::result::Result<Self, String> {
        text.parse().map_err(|_| "a whole number".into())
    }
    fn print(&self) -> String {
        self.to_string()
    }
}

/// A size: `1048576`, `1KiB`, `16MiB`, `1GiB` (and `KB`, `MB`, `GB` as powers of 1000).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Bytes(pub(crate) u64);

impl Value for Bytes {
    const KIND: &'static str = "bytes";
    fn parse(text: &str) -> std::result::Result<Self, String> {
        let hint = || "a number of bytes such as 1048576 or 16MiB".to_string();
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let number: u64 = text[..digits].parse().map_err(|_| hint())?;
        let unit: u64 = match text[digits..].trim_start() {
            "" | "B" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            "TiB" => 1 << 40,
            "KB" => 1000,
            "MB" => 1000 * 1000,
            "GB" => 1000 * 1000 * 1000,
            "TB" => 1000 * 1000 * 1000 * 1000,
            _ => return Err(hint()),
        };
        number.checked_mul(unit).map(Bytes).ok_or_else(hint)
    }
    fn print(&self) -> String {
        self.0.to_string()
    }
}

impl Value for Duration {
    const KIND: &'static str = "duration";
    /// Seconds (`1`, `0.5`), a number with a unit (`500ms`, `5m`), or `none` for never.
    fn parse(text: &str) -> std::result::Result<Self, String> {
        let hint = || "seconds such as 0.5, a time such as 500ms, 30s or 5m, or none".to_string();
        if text == "none" {
            return Ok(NEVER);
        }
        let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let number: f64 = text[..digits].parse().map_err(|_| hint())?;
        let unit = match text[digits..].trim_start() {
            "" | "s" => 1.0,
            "us" => 1e-6,
            "ms" => 1e-3,
            "m" | "min" => 60.0,
            "h" => 3600.0,
            _ => return Err(hint()),
        };
        Duration::try_from_secs_f64(number * unit).map_err(|_| hint())
    }
    fn print(&self) -> String {
        if *self == NEVER { "none".into() } else { self.as_secs_f64().to_string() }
    }
}

impl Value for f64 {
    const KIND: &'static str = "number";
    fn parse(text: &str) -> std::result::Result<Self, String> {
        text.parse().ok().filter(|number: &f64| number.is_finite()).ok_or_else(|| "a number".into())
    }
    fn print(&self) -> String {
        self.to_string()
    }
}

impl Value for bool {
    const KIND: &'static str = "boolean";
    fn parse(text: &str) -> std::result::Result<Self, String> {
        match text {
            "true" | "1" | "yes" | "on" => Ok(true),
            "false" | "0" | "no" | "off" => Ok(false),
            _ => Err("true or false".into()),
        }
    }
    fn print(&self) -> String {
        self.to_string()
    }
}

/// Any text; empty is "not set".
pub(crate) type Text = String;

impl Value for String {
    const KIND: &'static str = "text";
    fn parse(text: &str) -> std::result::Result<Self, String> {
        Ok(text.into())
    }
    fn print(&self) -> String {
        self.clone()
    }
}

impl Value for Secret {
    const KIND: &'static str = "secret";
    fn parse(text: &str) -> std::result::Result<Self, String> {
        Ok(text.into())
    }
    fn print(&self) -> String {
        format!("{self:?}")
    }
}

impl Value for Vec<Duration> {
    const KIND: &'static str = "durations";
    fn parse(text: &str) -> std::result::Result<Self, String> {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        parts
            .map(Duration::parse)
            .collect::<std::result::Result<_, _>>()
            .map_err(|_| "a list of waits such as 1,2,4 (empty: the exponential form)".to_string())
    }
    fn print(&self) -> String {
        self.iter().map(Duration::print).collect::<Vec<_>>().join(",")
    }
}

macro_rules! choice {
    ($(#[doc = $doc:literal])* $name:ident: $text:literal { $($(#[doc = $vdoc:literal])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[doc = $doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
        pub enum $name { $($(#[doc = $vdoc])* $variant),+ }
        choice!(@value $name: $text { $($variant = $word),+ });
    };
    (@value $name:ident: $text:literal { $($variant:ident = $word:literal),+ }) => {
        impl $crate::options::Value for $name {
            const KIND: &'static str = "choice";
            fn parse(text: &str) -> std::result::Result<Self, String> {
                match text { $($word => Ok($name::$variant),)+ _ => Err($text.into()) }
            }
            fn print(&self) -> String {
                match self { $($name::$variant => $word),+ }.into()
            }
        }
    };
}

choice! {
    /// What a power loss can cost. The death of the process costs nothing in any of them.
    Durability: "one of always, interval, os" {
        /// `put` returns after the record is on stable storage (threads that wait share one sync): nothing.
        Always = "always",
        /// Synced every `sync_interval`: at most the records of the last interval.
        Interval = "interval",
        /// Never synced: whatever the kernel has not written yet.
        Os = "os",
    }
}
choice! {
    /// What `put` does when the log has reached `max_buffer_bytes`.
    WhenFull: "one of block, error" {
        /// Wait for space up to `full_timeout` (inline mode sends meanwhile), then an error.
        Block = "block",
        /// An error at once.
        Error = "error",
    }
}
choice! {
    /// How the log is written.
    Storage: "one of auto, mapped, file" {
        /// Mapped memory on filesystems where that is safe (ext4, xfs, tmpfs), else plain writes.
        Auto = "auto",
        /// Mapped memory, or an error where the filesystem does not allow it safely.
        Mapped = "mapped",
        /// Plain `pwrite`: the same format, one system call a record.
        File = "file",
    }
}
choice! {
    /// Whether a core dump has the records of the log.
    CoreDumps: "one of include, exclude" {
        /// As the system's filter of core dumps has it (`/proc/self/coredump_filter`).
        Include = "include",
        /// The mapped log is kept out of them. Copies on the heap are not: those of the program, of a sink, of plain files.
        Exclude = "exclude",
    }
}
choice! {
    /// Who sends.
    Mode: "one of background, inline, manual" {
        /// A sender thread; `put` never waits for the sink.
        Background = "background",
        /// `put` itself sends, at most one batch a call; nothing happens between calls.
        Inline = "inline",
        /// The program asks for the next batch, sends it its own way and says how that went.
        Manual = "manual",
    }
}
choice! {
    /// What follows the last attempt.
    OnExhausted: "one of skip, raise" {
        /// Write the batch and its context to the dead letters and go on.
        Skip = "skip",
        /// Return the error and stop; the backlog stays.
        Raise = "raise",
    }
}
choice!(@value Trust: "one of owner, group, anyone" { Owner = "owner", Group = "group", Anyone = "anyone" });
choice!(@value Jitter: "one of none, full" { None = "none", Full = "full" });

pub(crate) use choice;

macro_rules! field_type {
    (Bytes) => {
        u64
    };
    ($other:ty) => {
        $other
    };
}
macro_rules! to_field {
    (Bytes, $value:expr) => {
        $value.0
    };
    ($other:ty, $value:expr) => {
        $value
    };
}
macro_rules! to_value {
    (Bytes, $value:expr) => {
        Bytes($value)
    };
    ($other:ty, $value:expr) => {
        $value.clone()
    };
}

pub(crate) use {field_type, to_field, to_value};

/// Declares a struct of options, its table and its text form, and a macro that writes a builder's setters. A
/// row is `key: type = default, permitted values, check;`.
macro_rules! option_table {
    (
        $(#[$meta:meta])* $vis:vis struct $name:ident, setters $setters:ident;
        $($(#[doc = $doc:literal])* $key:ident: $ty:tt = $default:literal, $range:literal, $check:expr;)+
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq)]
        #[non_exhaustive]
        $vis struct $name {
            $($(#[doc = $doc])* #[doc = concat!("\n\nPermitted: ", $range, ". Default: `", $default, "`.")]
              pub $key: $crate::options::field_type!($ty),)+
        }

        impl $name {
            /// The table itself, in the order of the reference page.
            pub const TABLE: &'static [$crate::options::OptionSpec] = &[
                $($crate::options::OptionSpec {
                    key: stringify!($key),
                    kind: <$ty as $crate::options::Value>::KIND,
                    range: $range,
                    default: $default,
                    doc: concat!($($doc),*).trim_ascii(),
                }),+
            ];

            /// Sets an option from its text form.
            ///
            /// # Errors
            /// `InvalidArgument`, naming the option and what it takes, for an unknown key, a value that
            /// does not parse or one out of its range.
            pub fn set(&mut self, key: &str, value: &str) -> $crate::Result<()> {
                match key {
                    $(stringify!($key) => {
                        let parsed = <$ty as $crate::options::Value>::parse(value.trim())
                            .map_err(|hint| $crate::options::not_a(key, value, &hint))?;
                        let field = $crate::options::to_field!($ty, parsed);
                        let check: fn(&$crate::options::field_type!($ty)) -> bool = $check;
                        if !check(&field) {
                            return Err($crate::options::out_of_range(key, value, $range));
                        }
                        self.$key = field;
                    })+
                    _ => return Err($crate::options::unknown(key, $name::TABLE)),
                }
                Ok(())
            }

            /// The value of an option in the form that [`set`](Self::set) takes; `None` for an unknown key.
            pub fn get(&self, key: &str) -> Option<String> {
                use $crate::options::Value as _;
                match key {
                    $(stringify!($key) => Some($crate::options::to_value!($ty, self.$key).print()),)+
                    _ => None,
                }
            }

            /// Checks every value against its range.
            fn check_ranges(&self) -> $crate::Result<()> {
                use $crate::options::Value as _;
                $({
                    let check: fn(&$crate::options::field_type!($ty)) -> bool = $check;
                    if !check(&self.$key) {
                        let value = $crate::options::to_value!($ty, self.$key).print();
                        return Err($crate::options::out_of_range(stringify!($key), &value, $range));
                    }
                })+
                Ok(())
            }
        }

        impl Default for $name {
            fn default() -> Self {
                $name {
                    $($key: $crate::options::to_field!($ty, <$ty as $crate::options::Value>::parse($default)
                        .expect("the table's own default parses")),)+
                }
            }
        }

        /// The builder's setters, one an option.
        #[allow(unused_macros)]
        macro_rules! $setters {
            () => {
                $($(#[doc = $doc])* #[doc = concat!("\n\nPermitted: ", $range, ". Default: `", $default, "`.")]
                #[must_use]
                pub fn $key(mut self, value: $setters!(@ty $ty)) -> Self {
                    self.options.$key = value.into();
                    self
                })+
            };
            (@ty Bytes) => { u64 };
            (@ty Count) => { u64 };
            (@ty Text) => { impl Into<String> };
            (@ty Secret) => { impl Into<$crate::options::Secret> };
            (@ty Durations) => { Vec<std::time::Duration> };
            (@ty $other:ident) => { $other };
        }
    };
}
pub(crate) use option_table;

type Durations = Vec<Duration>;

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
const GIB: u64 = 1024 * MIB;

option_table! {
    /// Every option of a buffer and its producer. All may change between runs on one directory.
    ///
    /// [`TABLE`](Self::TABLE) describes them; [`set`](Self::set) takes them as text.
    pub struct Options, setters option_setters;
    /// The most records in a batch. A sink's own limit, if lower, rules.
    max_records: Count = "500", "1 to 1000000", |v| (1..=1_000_000).contains(v);
    /// The most bytes in a batch: payloads, plus what the sink counts besides. A sink's own limit, if lower, rules.
    max_bytes: Bytes = "1MiB", "1 to 1GiB", |v| (1..=GIB).contains(v);
    /// The age of its oldest record at which a batch is sealed though it is not full; `none`: never by age.
    linger: Duration = "1", "0 to 1 day, or none", |v| *v <= MAX_WAIT || *v == NEVER;
    /// The largest payload that `put` takes.
    max_record_bytes: Bytes = "1MiB", "1 to 256MiB", |v| (1..=256 * MIB).contains(v);
    /// What a power loss can cost.
    durability: Durability = "interval", "always, interval, os", |_| true;
    /// The time between syncs under `durability = interval`.
    sync_interval: Duration = "0.5", "0.001 to 3600", |v| (Duration::from_millis(1)..=Duration::from_secs(3600)).contains(v);
    /// The size of one file of the log.
    segment_bytes: Bytes = "16MiB", "64KiB to 1GiB", |v| (64 * KIB..=GIB).contains(v);
    /// The most disk that the log may take. Segments are made smaller where fewer than four would fit.
    max_buffer_bytes: Bytes = "1GiB", "at least 256KiB", |v| *v >= 256 * KIB;
    /// What `put` does when the log has reached `max_buffer_bytes`.
    when_full: WhenFull = "block", "block, error", |_| true;
    /// How long `put` waits for space before it is an error; `none`: for ever.
    full_timeout: Duration = "60", "0 to 1 day, or none", |v| *v <= MAX_WAIT || *v == NEVER;
    /// How the log is written.
    storage: Storage = "auto", "auto, mapped, file", |_| true;
    /// Whether a core dump has the records that are mapped. What of them is copied to the heap, by the program, by a sink,
    /// or because the log is of plain files, is in it in either case.
    core_dumps: CoreDumps = "include", "include, exclude", |_| true;
    /// Whose directory and files the buffer goes by: the process's own user's, those that the directory's group may write to,
    /// or anyone's.
    trust: Trust = "owner", "owner, group, anyone", |_| true;
    /// Who sends.
    mode: Mode = "background", "background, inline, manual", |_| true;
    /// The most batches being sent at once. Above 1 the order between batches is given up.
    max_in_flight: Count = "1", "1 to 64", |v| (1..=64).contains(v);
    /// What follows the last attempt at a batch.
    on_exhausted: OnExhausted = "skip", "skip, raise", |_| true;
    /// The most disk that the dead letters may take; when they would exceed it the producer stops as under `raise`.
    max_dead_letter_bytes: Bytes = "256MiB", "any", |_| true;
    /// The growth of the waits: after the n-th failed attempt `multiplier * base^(n-1)`.
    schedule_base: f64 = "2", "1 to 100", |v| (1.0..=100.0).contains(v);
    /// The first wait, before growth.
    schedule_multiplier: Duration = "1", "0 to 1 day", |v| *v <= MAX_WAIT;
    /// The shortest wait.
    schedule_min: Duration = "0", "0 to 1 day", |v| *v <= MAX_WAIT;
    /// The longest wait.
    schedule_max: Duration = "60", "0 to 1 day", |v| *v <= MAX_WAIT;
    /// The waits as a list, instead of the four options before; the last repeats.
    schedule_waits: Durations = "", "a list of durations, or empty", |v| v.iter().all(|wait| *wait <= MAX_WAIT);
    /// The most attempts at one batch before `on_exhausted` rules; 0: no limit.
    max_attempts: Count = "10", "0 to 1000000", |v| *v <= 1_000_000;
    /// Spread the waits evenly between `schedule_min` and the computed wait (`full`), or not (`none`).
    jitter: Jitter = "full", "none, full", |_| true;
    /// Let attempts at an unavailable sink count toward `max_attempts` too.
    count_unavailable: bool = "false", "true, false", |_| true;
}
// A path to it for the builder, which is in another file.
#[allow(clippy::single_component_path_imports)]
pub(crate) use option_setters;

impl Options {
    /// Checks every value against its range and the values against each other.
    ///
    /// # Errors
    /// `InvalidArgument`, naming the first option that is wrong.
    pub fn validate(&self) -> Result<()> {
        self.check_ranges()?;
        self.schedule().map(|_| ())
    }

    /// The schedule that the options describe.
    ///
    /// # Errors
    /// `InvalidArgument` if its parts contradict each other.
    pub fn schedule(&self) -> Result<Schedule> {
        let schedule = if self.schedule_waits.is_empty() {
            Schedule::exponential(self.schedule_base, self.schedule_multiplier, self.schedule_min, self.schedule_max)?
        } else {
            Schedule::list(self.schedule_waits.clone())?
        };
        let attempts = u32::try_from(self.max_attempts).unwrap_or(u32::MAX);
        Ok(schedule.max_attempts(attempts).jitter(self.jitter))
    }

    /// The segment size in force: at least four segments fit into `max_buffer_bytes`.
    pub(crate) fn effective_segment_bytes(&self) -> u64 {
        let page = 4 * KIB;
        (self.segment_bytes.min(self.max_buffer_bytes / 4) / page * page).max(64 * KIB)
    }

    /// The reference page of all options, in Markdown.
    pub fn reference() -> String {
        reference(Options::TABLE)
    }
}

/// The reference page of a table of options, in Markdown.
pub(crate) fn reference(table: &[OptionSpec]) -> String {
    let mut page = String::from("| option | kind | permitted | default | what it does |\n|---|---|---|---|---|\n");
    for OptionSpec { key, kind, range, default, doc } in table {
        page.push_str(&format!("| `{key}` | {kind} | {range} | `{default}` | {doc} |\n"));
    }
    page
}

#[cold]
pub(crate) fn not_a(key: &str, value: &str, hint: &str) -> Error {
    Error::new(ErrorKind::InvalidArgument, format!("option {key}: {value:?} is not {hint}"))
}

#[cold]
pub(crate) fn out_of_range(key: &str, value: &str, range: &str) -> Error {
    Error::new(ErrorKind::InvalidArgument, format!("option {key}: {value:?} is out of range; it takes {range}"))
}

#[cold]
pub(crate) fn unknown(key: &str, table: &[OptionSpec]) -> Error {
    let keys: Vec<_> = table.iter().map(|spec| spec.key).collect();
    Error::new(ErrorKind::InvalidArgument, format!("there is no option {key:?}; the options are {}", keys.join(", ")))
}
