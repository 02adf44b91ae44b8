//! The forms of types of Python's library, of attrs and of pydantic.

use pyo3::exceptions::PyTypeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDate, PyDateTime, PyList, PyString, PyTime, PyTuple, PyType};

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
    static UUID: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    static DECIMAL: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let py = value.py();
    if value.is_instance_of::<PyDateTime>() {
        return moment(value).map(Some);
    }
    if value.is_instance_of::<PyDate>() {
        return iso(value).map(|text| Some(Text::Python(text)));
    }
    if value.is_instance_of::<PyTime>() {
        if !value.getattr(intern!(py, "tzinfo"))?.is_none() {
            return Err(PyTypeError::new_err("a time of day with a time zone has no form in JSON"));
        }
        return iso(value).map(|text| Some(Text::Python(text)));
    }
    if value.is_instance(UUID.import(py, "uuid", "UUID")?)? {
        let number: u128 = value.getattr(intern!(py, "int"))?.extract()?;
        let hex = format!("{number:032x}");
        let parts = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
        return Ok(Some(Text::Own(parts.join("-"))));
    }
    if value.is_instance(DECIMAL.import(py, "decimal", "Decimal")?)? {
        return Ok(Some(Text::Python(value.str()?)));
    }
    if value.get_type().hasattr(intern!(py, "__fspath__"))? {
        let path = value.call_method0(intern!(py, "__fspath__"))?;
        let path =
            path.cast_into::<PyString>().map_err(|_| PyTypeError::new_err("a path of bytes has no form in JSON"))?;
        return Ok(Some(Text::Python(path)));
    }
    Ok(None)
}

fn iso<'py>(value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyString>> {
    Ok(value.call_method0(intern!(value.py(), "isoformat"))?.cast_into()?)
}

/// The digits of a date and a time to the second.
const SECONDS: usize = "2024-01-07T07:31:41".len();

/// A `datetime`. The offset from UTC is hours and minutes in RFC 3339: the nearest of them stands for one with seconds,
/// as towns had before there were time zones.
fn moment<'py>(value: &Bound<'py, PyAny>) -> PyResult<Text<'py>> {
    let whole = iso(value)?;
    let text = whole.to_str()?;
    if text == "NaT" {
        return Ok(Text::Missing);
    }
    let Some(sign) = text.get(SECONDS..).and_then(|rest| rest.find(['+', '-'])) else {
        return Ok(Text::Python(whole));
    };
    let (local, offset) = text.split_at(SECONDS + sign);
    if offset.len() <= "+00:00".len() {
        return Ok(Text::Python(whole));
    }
    let part = |place: usize| offset.get(place..place + 2).and_then(|digits| digits.parse::<u32>().ok()).unwrap_or(0);
    let minutes = part(1) * 60 + part(4) + u32::from(part(7) >= 30);
    Ok(Text::Own(format!("{local}{}{:02}:{:02}", &offset[..1], minutes / 60, minutes % 60)))
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
