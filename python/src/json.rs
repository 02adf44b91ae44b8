//! JSON straight from Python objects: what `json.dumps(value, ensure_ascii=False, allow_nan=False,
//! separators=(",", ":"))` writes, byte for byte, with dataclasses and any mapping besides.

use pyo3::exceptions::{PyRuntimeError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyList, PyMapping, PyString, PyTuple};

use crate::text;

/// The deepest nesting: far from the end of any thread's stack.
const MAX_DEPTH: usize = 500;

/// Appends `value` to `out`.
///
/// # Errors
/// `TypeError` for what JSON has no form for; `ValueError` for NaN, infinities, lone surrogates and nesting deeper
/// than 500, circular references among it. They say where, as in `$.user.tags[3]`.
pub(crate) fn write(out: &mut Vec<u8>, value: &Bound<'_, PyAny>) -> PyResult<()> {
    write_value(out, value, 0).map_err(|failure| failure.raise(value.py()))
}

type Written = Result<(), Box<Failure>>;

/// An error, and the way to it: collected while the calls return, so that a value without errors pays nothing for it.
struct Failure {
    error: PyErr,
    /// From the inside out.
    steps: Vec<Step>,
}

enum Step {
    Key(Py<PyAny>),
    Index(usize),
}

impl From<PyErr> for Box<Failure> {
    fn from(error: PyErr) -> Self {
        Box::new(Failure { error, steps: Vec::new() })
    }
}

impl Failure {
    fn within(mut self: Box<Self>, step: Step) -> Box<Self> {
        self.steps.push(step);
        self
    }

    /// The error with the place in its message; one of the program's own code gets it as a note.
    fn raise(self, py: Python<'_>) -> PyErr {
        if self.steps.is_empty() {
            return self.error;
        }
        let place = self.place(py);
        let kind = self.error.get_type(py);
        let value = self.error.value(py);
        if kind.is(py.get_type::<PyTypeError>()) || kind.is(py.get_type::<PyValueError>()) {
            return PyErr::from_type(kind, format!("{place}: {value}"));
        }
        if let Ok(reason) = value.getattr("reason").and_then(|reason| reason.extract::<String>()) {
            // A UnicodeEncodeError: half of a surrogate pair.
            let _ = value.setattr("reason", format!("{reason}, in {place}"));
        } else {
            let _ = value.call_method1("add_note", (format!("in {place}"),));
        }
        self.error
    }

    fn place(&self, py: Python<'_>) -> String {
        /// The steps shown at both ends of a long way.
        const ENDS: usize = 8;
        let mut place = String::from("$");
        for (nth, step) in self.steps.iter().rev().enumerate() {
            if self.steps.len() > 2 * ENDS && nth == ENDS {
                place.push_str("[...]");
            }
            if self.steps.len() > 2 * ENDS && (ENDS..self.steps.len() - ENDS).contains(&nth) {
                continue;
            }
            match step {
                Step::Index(index) => place.push_str(&format!("[{index}]")),
                Step::Key(key) => {
                    let key = key.bind(py).str().map_or_else(|_| "?".into(), |key| key.to_string_lossy().into_owned());
                    let plain = |character: char| character.is_alphanumeric() || character == '_' || character == '-';
                    if !key.is_empty() && key.len() <= 64 && key.chars().all(plain) {
                        place.push('.');
                        place.push_str(&key);
                    } else {
                        place.push_str(&format!("[\"{}\"]", text::shown(&key)));
                    }
                }
            }
        }
        place
    }
}

fn write_value(out: &mut Vec<u8>, value: &Bound<'_, PyAny>, depth: usize) -> Written {
    // The exact types first: the check is one comparison.
    if let Ok(text) = value.cast_exact::<PyString>() {
        write_string(out, text.to_str()?);
    } else if let Ok(number) = value.cast_exact::<PyInt>() {
        write_int(out, number)?;
    } else if let Ok(number) = value.cast_exact::<PyFloat>() {
        write_float(out, number.value())?;
    } else if value.is_none() {
        out.extend_from_slice(b"null");
    } else if let Ok(truth) = value.cast_exact::<PyBool>() {
        out.extend_from_slice(if truth.is_true() { b"true" } else { b"false" });
    } else if let Ok(dict) = value.cast::<PyDict>() {
        write_dict(out, dict, depth)?;
    } else if let Ok(list) = value.cast::<PyList>() {
        write_array(out, list.iter().map(Ok), depth)?;
    } else if let Ok(tuple) = value.cast::<PyTuple>() {
        write_array(out, tuple.iter().map(Ok), depth)?;
    } else {
        write_other(out, value, depth)?;
    }
    Ok(())
}

/// Subclasses, dataclasses and mappings that are no dict.
fn write_other(out: &mut Vec<u8>, value: &Bound<'_, PyAny>, depth: usize) -> Written {
    if let Ok(text) = value.cast::<PyString>() {
        write_string(out, text.to_str()?);
    } else if let Ok(number) = value.cast::<PyInt>() {
        write_int(out, number)?;
    } else if let Ok(number) = value.cast::<PyFloat>() {
        write_float(out, number.value())?;
    } else if let Some(fields) = dataclass_fields(value)? {
        let fields = fields.iter().map(|field| {
            let name = field.getattr("name")?;
            let value = value.getattr(name.cast::<PyString>()?)?;
            Ok((name, value))
        });
        write_object(out, fields, depth)?;
    } else if let Ok(mapping) = value.cast::<PyMapping>() {
        let items = mapping.items()?;
        write_object(out, items.iter().map(|item| item.extract()), depth)?;
    } else {
        let kind = value.get_type();
        return Err(PyTypeError::new_err(format!("a value of type {} has no form in JSON", kind.name()?)).into());
    }
    Ok(())
}

/// The fields of a dataclass instance; `None` for anything else.
pub(crate) fn dataclass_fields<'py>(value: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyTuple>>> {
    static FIELDS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let py = value.py();
    if !value.get_type().hasattr("__dataclass_fields__")? {
        return Ok(None);
    }
    let fields = FIELDS.import(py, "dataclasses", "fields")?.call1((value,))?;
    Ok(Some(fields.cast_into()?))
}

fn write_dict(out: &mut Vec<u8>, dict: &Bound<'_, PyDict>, depth: usize) -> Written {
    let len = dict.len();
    let mut items = dict.iter();
    // A value's own code may change the dict: the iterator would panic, json.dumps raises.
    let checked = (0..len).map_while(|_| {
        if dict.len() != len {
            return Some(Err(PyRuntimeError::new_err("dictionary changed size during iteration")));
        }
        items.next().map(Ok)
    });
    write_object(out, checked, depth)
}

fn write_object<'py>(
    out: &mut Vec<u8>,
    items: impl Iterator<Item = PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>)>>,
    depth: usize,
) -> Written {
    let depth = deeper(depth)?;
    out.push(b'{');
    for (nth, item) in items.enumerate() {
        let (key, value) = item?;
        if nth > 0 {
            out.push(b',');
        }
        write_key(out, &key)?;
        out.push(b':');
        write_value(out, &value, depth).map_err(|failure| failure.within(Step::Key(key.unbind())))?;
    }
    out.push(b'}');
    Ok(())
}

fn write_array<'py>(
    out: &mut Vec<u8>,
    items: impl Iterator<Item = PyResult<Bound<'py, PyAny>>>,
    depth: usize,
) -> Written {
    let depth = deeper(depth)?;
    out.push(b'[');
    for (nth, item) in items.enumerate() {
        if nth > 0 {
            out.push(b',');
        }
        write_value(out, &item?, depth).map_err(|failure| failure.within(Step::Index(nth)))?;
    }
    out.push(b']');
    Ok(())
}

fn deeper(depth: usize) -> PyResult<usize> {
    if depth == MAX_DEPTH {
        return Err(PyValueError::new_err(format!("nested deeper than {MAX_DEPTH}, or a circular reference")));
    }
    Ok(depth + 1)
}

/// Keys are text; numbers, truth values and `None` become text as `json.dumps` has it.
fn write_key(out: &mut Vec<u8>, key: &Bound<'_, PyAny>) -> Written {
    if let Ok(text) = key.cast::<PyString>() {
        write_string(out, text.to_str()?);
        return Ok(());
    }
    let scalar = key.is_none() || key.is_instance_of::<PyInt>() || key.is_instance_of::<PyFloat>();
    if !scalar {
        let kind = key.get_type();
        return Err(PyTypeError::new_err(format!("a key of type {} has no form in JSON", kind.name()?)).into());
    }
    out.push(b'"');
    write_value(out, key, 0)?;
    out.push(b'"');
    Ok(())
}

fn write_int(out: &mut Vec<u8>, number: &Bound<'_, PyInt>) -> PyResult<()> {
    match number.extract::<i64>() {
        Ok(small) => out.extend_from_slice(itoa::Buffer::new().format(small).as_bytes()),
        Err(_) => {
            // int's own form, whatever a subclass prints.
            let digits = number.py().get_type::<PyInt>().call_method1("__repr__", (number,))?;
            out.extend_from_slice(digits.cast::<PyString>()?.to_str()?.as_bytes());
        }
    }
    Ok(())
}

/// The shortest digits that read back as the same number, laid out as `repr` does.
fn write_float(out: &mut Vec<u8>, number: f64) -> PyResult<()> {
    if !number.is_finite() {
        return Err(PyValueError::new_err(format!("{number} has no form in JSON")));
    }
    let mut buffer = ryu::Buffer::new();
    let text = buffer.format_finite(number);
    match text.split_once('e') {
        // ryu writes 1e16 and 1e-7; repr writes 1e+16 and 1e-07.
        Some((digits, exponent)) => {
            let (sign, exponent) = match exponent.strip_prefix('-') {
                Some(exponent) => (b'-', exponent),
                None => (b'+', exponent),
            };
            out.extend_from_slice(digits.as_bytes());
            out.extend_from_slice(&[b'e', sign]);
            if exponent.len() == 1 {
                out.push(b'0');
            }
            out.extend_from_slice(exponent.as_bytes());
        }
        // ryu writes 0.00001234; repr turns to exponents one digit earlier: 1.234e-05.
        None => match text.strip_prefix('-').unwrap_or(text).strip_prefix("0.0000") {
            Some(digits) => {
                if number < 0.0 {
                    out.push(b'-');
                }
                let (first, rest) = digits.split_at(1);
                out.extend_from_slice(first.as_bytes());
                if !rest.is_empty() {
                    out.push(b'.');
                    out.extend_from_slice(rest.as_bytes());
                }
                out.extend_from_slice(b"e-05");
            }
            None => out.extend_from_slice(text.as_bytes()),
        },
    }
    Ok(())
}

/// For each byte: 0 as it is, `u` as \u00XX, else the letter behind the backslash.
static ESCAPES: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 0x20 {
        table[byte] = b'u';
        byte += 1;
    }
    table[0x08] = b'b';
    table[b'\t' as usize] = b't';
    table[b'\n' as usize] = b'n';
    table[0x0c] = b'f';
    table[b'\r' as usize] = b'r';
    table[b'"' as usize] = b'"';
    table[b'\\' as usize] = b'\\';
    table
};

fn write_string(out: &mut Vec<u8>, text: &str) {
    let bytes = text.as_bytes();
    out.reserve(bytes.len() + 2);
    out.push(b'"');
    let mut start = 0;
    for (at, byte) in bytes.iter().enumerate() {
        let escape = ESCAPES[usize::from(*byte)];
        if escape == 0 {
            continue;
        }
        out.extend_from_slice(&bytes[start..at]);
        start = at + 1;
        if escape == b'u' {
            let digit = |nibble: u8| b"0123456789abcdef"[usize::from(nibble)];
            out.extend_from_slice(&[b'\\', b'u', b'0', b'0', digit(byte >> 4), digit(byte & 15)]);
        } else {
            out.extend_from_slice(&[b'\\', escape]);
        }
    }
    out.extend_from_slice(&bytes[start..]);
    out.push(b'"');
}
