//! The forms of types of Python's library, of attrs and of pydantic.

use pyo3::PyTypeInfo;
use pyo3::exceptions::PyTypeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyDate, PyDateTime, PyList, PyString, PyTime, PyTuple, PyType, PyTzInfo};

/// Text that a value is written as.
pub(super) enum Text<'py> {
    Python(Bound<'py, PyString>),
    Own(String),
    /// `pandas.NaT`, which is a `datetime` and no time.
    Missing,
}

impl Text<'_> {
    /// `None`: a value that is missing.
    pub(super) fn as_str(&self) -> PyResult<Option<&str>> {
        match self {
            Text::Python(text) => text.to_str().map(Some),
            Text::Own(text) => Ok(Some(text)),
            Text::Missing => Ok(None),
        }
    }
}

/// The text of a date or time, as RFC 3339 has it, of a UUID, a decimal number (which a number of JSON would round) or a
/// path; `None` for anything else.
pub(super) fn text<'py>(value: &Bound<'py, PyAny>) -> PyResult<Option<Text<'py>>> {
    let py = value.py();
    let kind = Kind::of(value)?;
    let text = match kind {
        Kind::Moment => return moment(value).map(Some),
        Kind::Date => iso(value)?,
        Kind::Time if value.getattr(intern!(py, "tzinfo"))?.is_none() => iso(value)?,
        Kind::Time => return Err(PyTypeError::new_err("a time of day with a time zone has no form in JSON")),
        Kind::Uuid => return uuid(value).map(|text| Some(Text::Own(text))),
        Kind::Decimal => value.str()?,
        Kind::Path => {
            let path = value.call_method0(intern!(py, "__fspath__"))?;
            let no_text = |_| PyTypeError::new_err("a path of bytes has no form in JSON");
            path.cast_into::<PyString>().map_err(no_text)?
        }
        Kind::Other => return Ok(None),
    };
    Ok(Some(Text::Python(text)))
}

#[derive(Clone, Copy)]
enum Kind {
    Moment,
    Date,
    Time,
    Uuid,
    Decimal,
    Path,
    Other,
}

impl Kind {
    fn of(value: &Bound<'_, PyAny>) -> PyResult<Kind> {
        static UUID: PyOnceLock<Py<PyType>> = PyOnceLock::new();
        static DECIMAL: PyOnceLock<Py<PyType>> = PyOnceLock::new();
        let py = value.py();
        let kind = value.get_type();
        let (uuid, decimal) = (UUID.import(py, "uuid", "UUID")?, DECIMAL.import(py, "decimal", "Decimal")?);
        // A `datetime` is a `date` too.
        let kinds = [
            (&PyDateTime::type_object(py), Kind::Moment),
            (uuid, Kind::Uuid),
            (&PyDate::type_object(py), Kind::Date),
            (decimal, Kind::Decimal),
            (&PyTime::type_object(py), Kind::Time),
        ];
        if let Some((_, found)) = kinds.iter().find(|(exactly, _)| kind.is(*exactly)) {
            return Ok(*found);
        }
        for (class, found) in kinds {
            if kind.is_subclass(class)? {
                return Ok(found);
            }
        }
        Ok(if kind.hasattr(intern!(py, "__fspath__"))? { Kind::Path } else { Kind::Other })
    }
}

/// A UUID by its number, as `str` has it.
fn uuid(value: &Bound<'_, PyAny>) -> PyResult<String> {
    let py = value.py();
    let number = value.getattr(intern!(py, "int"))?;
    let bytes = number.call_method1(intern!(py, "to_bytes"), (16, intern!(py, "big")))?;
    let mut text = String::with_capacity(36);
    for (nth, byte) in bytes.cast::<PyBytes>()?.as_bytes().iter().enumerate() {
        if [4, 6, 8, 10].contains(&nth) {
            text.push('-');
        }
        for nibble in [byte >> 4, byte & 15] {
            text.push(char::from(b"0123456789abcdef"[usize::from(nibble)]));
        }
    }
    Ok(text)
}

fn iso<'py>(value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyString>> {
    Ok(value.call_method0(intern!(value.py(), "isoformat"))?.cast_into()?)
}

/// A `datetime`. A subclass may know more: pandas' has nanoseconds.
fn moment<'py>(value: &Bound<'py, PyAny>) -> PyResult<Text<'py>> {
    let local = if value.is_exact_instance_of::<PyDateTime>() {
        plain_moment(value)?
    } else {
        let whole = iso(value)?;
        let text = whole.to_str()?;
        if text == "NaT" {
            return Ok(Text::Missing);
        }
        let offset = text.get(SECONDS..).and_then(|rest| rest.find(['+', '-']));
        text[..offset.map_or(text.len(), |at| SECONDS + at)].to_owned()
    };
    with_offset(value, local).map(Text::Own)
}

/// The digits of a date and a time to the second.
const SECONDS: usize = "2024-01-07T07:31:41".len();

/// What `isoformat` writes, less the offset; it asks a formatter of C three times, which takes longer than all else.
fn plain_moment(value: &Bound<'_, PyAny>) -> PyResult<String> {
    let py = value.py();
    let mut text = String::with_capacity("2024-01-07T07:31:41.482432+00:00".len());
    let mut digits = |before: &str, number: u32, width: u32| {
        text.push_str(before);
        for place in (0..width).rev() {
            text.push(char::from(b'0' + (number / 10u32.pow(place) % 10) as u8));
        }
    };
    digits("", value.getattr(intern!(py, "year"))?.extract()?, 4);
    digits("-", value.getattr(intern!(py, "month"))?.extract()?, 2);
    digits("-", value.getattr(intern!(py, "day"))?.extract()?, 2);
    digits("T", value.getattr(intern!(py, "hour"))?.extract()?, 2);
    digits(":", value.getattr(intern!(py, "minute"))?.extract()?, 2);
    digits(":", value.getattr(intern!(py, "second"))?.extract()?, 2);
    match value.getattr(intern!(py, "microsecond"))?.extract()? {
        0 => {}
        microsecond => digits(".", microsecond, 6),
    }
    Ok(text)
}

/// Appends the offset from UTC, which is hours and minutes in RFC 3339: the nearest of them stands for one with seconds, as
/// towns had before there were time zones.
fn with_offset(value: &Bound<'_, PyAny>, mut text: String) -> PyResult<String> {
    let py = value.py();
    let zone = value.getattr(intern!(py, "tzinfo"))?;
    if zone.is_none() {
        return Ok(text);
    }
    if zone.is(PyTzInfo::utc(py)?) {
        text.push_str("+00:00");
        return Ok(text);
    }
    let offset = value.call_method0(intern!(py, "utcoffset"))?;
    if offset.is_none() {
        return Ok(text);
    }
    let seconds: f64 = offset.call_method0(intern!(py, "total_seconds"))?.extract()?;
    let sign = if seconds < 0.0 { '-' } else { '+' };
    let seconds = seconds.abs() as u32;
    let minutes = seconds / 60 + u32::from(seconds % 60 >= 30);
    text.push_str(&format!("{sign}{:02}:{:02}", minutes / 60, minutes % 60));
    Ok(text)
}

/// The names of the fields of an instance of a dataclass or of a class of attrs; `None` for anything else.
pub(super) fn fields<'py>(value: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyList>>> {
    static FIELDS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let py = value.py();
    let kind = value.get_type();
    let fields = if kind.hasattr(intern!(py, "__dataclass_fields__"))? {
        FIELDS.import(py, "dataclasses", "fields")?.call1((value,))?
    } else if let Some(fields) = kind.getattr_opt(intern!(py, "__attrs_attrs__"))? {
        fields
    } else {
        return Ok(None);
    };
    let names = fields.cast::<PyTuple>()?.iter().map(|field| field.getattr(intern!(py, "name")));
    PyList::new(py, names.collect::<PyResult<Vec<_>>>()?).map(Some)
}

/// What an instance of a model of pydantic writes of itself.
pub(super) fn own_json<'py>(value: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyString>>> {
    let py = value.py();
    let kind = value.get_type();
    if !kind.hasattr(intern!(py, "__pydantic_serializer__"))? || !kind.hasattr(intern!(py, "model_dump_json"))? {
        return Ok(None);
    }
    Ok(Some(value.call_method0(intern!(py, "model_dump_json"))?.cast_into()?))
}

/// The value that a member of an enumeration stands for.
pub(super) fn enum_value<'py>(value: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
    static ENUM: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let py = value.py();
    if !value.is_instance(ENUM.import(py, "enum", "Enum")?)? {
        return Ok(None);
    }
    value.getattr(intern!(py, "value")).map(Some)
}
