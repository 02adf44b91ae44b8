//! How a table of options is declared: one row an option makes a field, its text form, its check, its setter and its line of
//! the reference page. [`Options`](crate::Options) is such a table, and so are the options of sinks.

use std::time::Duration;

use crate::error::{Error, ErrorKind};
use crate::secret::Secret;

/// "Never", as a [`Duration`]: the text form is `none`.
pub const NEVER: Duration = Duration::MAX;

/// One row of the table, for bindings and for the reference page.
#[derive(Clone, Copy, Debug)]
pub struct OptionSpec {
    /// The key, in every language.
    pub key: &'static str,
    /// What the value is: `count`, `bytes`, `duration`, `number`, `durations`, `boolean`, `choice`, `mode`, `text` or
    /// `secret`.
    pub kind: &'static str,
    /// The permitted values, for a person.
    pub range: &'static str,
    /// The default, in the form that [`Options::set`](crate::Options::set) takes.
    pub default: &'static str,
    /// What it does.
    pub doc: &'static str,
}

/// A value that has a text form.
pub(crate) trait Value: Sized {
    const KIND: &'static str;
    /// Whether spaces around it are part of it, as of the name of a file.
    const IS_EXACT: bool = false;
    fn parse(text: &str) -> Result<Self, String>;
    fn print(&self) -> String;
}

/// A count of things.
pub(crate) type Count = u64;

impl Value for u64 {
    const KIND: &'static str = "count";
    fn parse(text: &str) -> Result<Self, String> {
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
    fn parse(text: &str) -> Result<Self, String> {
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
    fn parse(text: &str) -> Result<Self, String> {
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
    fn parse(text: &str) -> Result<Self, String> {
        text.parse().ok().filter(|number: &f64| number.is_finite()).ok_or_else(|| "a number".into())
    }
    fn print(&self) -> String {
        self.to_string()
    }
}

impl Value for bool {
    const KIND: &'static str = "boolean";
    fn parse(text: &str) -> Result<Self, String> {
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
    const IS_EXACT: bool = true;
    fn parse(text: &str) -> Result<Self, String> {
        Ok(text.into())
    }
    fn print(&self) -> String {
        self.clone()
    }
}

impl Value for Secret {
    const KIND: &'static str = "secret";
    fn parse(text: &str) -> Result<Self, String> {
        Ok(text.into())
    }
    fn print(&self) -> String {
        format!("{self:?}")
    }
}

impl Value for Vec<Duration> {
    const KIND: &'static str = "durations";
    fn parse(text: &str) -> Result<Self, String> {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        parts
            .map(Duration::parse)
            .collect::<Result<_, _>>()
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
        impl $crate::option_table::Value for $name {
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
        $crate::option_table::Bytes($value)
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
        #[allow(unreachable_pub, reason = "a sink need not export its options")]
        $vis struct $name {
            $($(#[doc = $doc])* #[doc = concat!("\n\nPermitted: ", $range, ". Default: `", $default, "`.")]
              pub $key: $crate::option_table::field_type!($ty),)+
        }

        #[allow(dead_code, unreachable_pub, reason = "a sink need not export its options")]
        impl $name {
            /// The table itself, in the order of the reference page.
            pub const TABLE: &'static [$crate::option_table::OptionSpec] = &[
                $($crate::option_table::OptionSpec {
                    key: stringify!($key),
                    kind: <$ty as $crate::option_table::Value>::KIND,
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
                        let text = if <$ty as $crate::option_table::Value>::IS_EXACT { value } else { value.trim() };
                        let parsed = <$ty as $crate::option_table::Value>::parse(text)
                            .map_err(|hint| $crate::option_table::not_a(key, value, &hint))?;
                        let field = $crate::option_table::to_field!($ty, parsed);
                        let check: fn(&$crate::option_table::field_type!($ty)) -> bool = $check;
                        if !check(&field) {
                            return Err($crate::option_table::out_of_range(key, value, $range));
                        }
                        self.$key = field;
                    })+
                    _ => return Err($crate::option_table::unknown(key, $name::TABLE)),
                }
                Ok(())
            }

            /// The defaults, and what these keys and values set.
            ///
            /// # Errors
            /// As [`set`](Self::set), and for an option that is not given though it must be.
            pub fn from_pairs(pairs: &[(&str, &str)]) -> $crate::Result<Self> {
                let mut options = $name::default();
                pairs.iter().try_for_each(|(key, value)| options.set(key, value))?;
                // A default out of its range is an option that must be given.
                options.check_ranges()?;
                Ok(options)
            }

            /// The value of an option in the form that [`set`](Self::set) takes; `None` for an unknown key.
            pub fn get(&self, key: &str) -> Option<String> {
                use $crate::option_table::Value as _;
                match key {
                    $(stringify!($key) => Some($crate::option_table::to_value!($ty, self.$key).print()),)+
                    _ => None,
                }
            }

            /// Checks every value against its range.
            pub fn check_ranges(&self) -> $crate::Result<()> {
                use $crate::option_table::Value as _;
                $({
                    let check: fn(&$crate::option_table::field_type!($ty)) -> bool = $check;
                    if !check(&self.$key) {
                        let value = $crate::option_table::to_value!($ty, self.$key).print();
                        return Err($crate::option_table::out_of_range(stringify!($key), &value, $range));
                    }
                })+
                Ok(())
            }
        }

        impl Default for $name {
            fn default() -> Self {
                $name {
                    $($key: $crate::option_table::to_field!($ty, <$ty as $crate::option_table::Value>::parse($default)
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
            (@ty Secret) => { impl Into<$crate::secret::Secret> };
            (@ty Durations) => { Vec<std::time::Duration> };
            (@ty $other:ident) => { $other };
        }
    };
}
pub(crate) use option_table;

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
