//! JSON straight from Python objects: what `json.dumps(value, ensure_ascii=False, allow_nan=False,
//! separators=(",", ":"))` writes, byte for byte, and the types that it has no form for in the forms of orjson.

mod failure;
mod forms;
mod numpy;

use std::cell::Cell;

use pyo3::exceptions::{PyRuntimeError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyFrozenSet, PyInt, PyList, PyMapping, PySet, PyString, PyTuple};

use failure::{Failure, Step};

/// The deepest nesting: far from the end of any thread's stack.
const MAX_DEPTH: usize = 500;

type Written<T = ()> = Result<T, Box<Failure>>;

/// Writes values one after the other.
pub(crate) struct Writer<'a> {
    pub(crate) out: Vec<u8>,
    /// Is asked for something else in place of a value that has no form.
    default: Option<&'a Py<PyAny>>,
}

thread_local! {
    /// The memory of the last payload of this thread.
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Takes back what a writer has written.
pub(crate) fn recycle(mut out: Vec<u8>) {
    /// More is not kept by a thread that puts no more.
    const MOST: usize = 64 * 1024;
    if out.capacity() <= MOST {
        out.clear();
        // None, while a thread ends.
        let _ = SPARE.try_with(|spare| spare.set(out));
    }
}

impl<'a> Writer<'a> {
    pub(crate) fn new(default: Option<&'a Py<PyAny>>) -> Self {
        Writer { out: SPARE.try_with(Cell::take).unwrap_or_default(), default }
    }

    /// Writes a built-in container.
    ///
    /// # Errors
    /// `TypeError` for what JSON has no form for; `ValueError` for NaN, infinities, lone surrogates and nesting deeper
    /// than 500, circular references among it. They say where, as in `$.user.tags[3]`.
    pub(crate) fn write(&mut self, value: &Bound<'_, PyAny>) -> PyResult<()> {
        write_value(self, value, 0).map_err(|failure| failure.raise(value.py()))
    }

    /// Writes a value of another type; `false` if that has no form of its own.
    pub(crate) fn write_formed(&mut self, value: &Bound<'_, PyAny>) -> PyResult<bool> {
        write_formed(self, value, 0).map_err(|failure| failure.raise(value.py()))
    }
}

fn write_value(w: &mut Writer<'_>, value: &Bound<'_, PyAny>, depth: usize) -> Written {
    // The exact types first: the check is one comparison.
    if let Ok(text) = value.cast_exact::<PyString>() {
        write_string(&mut w.out, text.to_str()?);
    } else if let Ok(number) = value.cast_exact::<PyInt>() {
        write_int(&mut w.out, number)?;
    } else if let Ok(number) = value.cast_exact::<PyFloat>() {
        write_float(&mut w.out, number.value())?;
    } else if value.is_none() {
        w.out.extend_from_slice(b"null");
    } else if let Ok(truth) = value.cast_exact::<PyBool>() {
        w.out.extend_from_slice(if truth.is_true() { b"true" } else { b"false" });
    } else if let Ok(dict) = value.cast::<PyDict>() {
        write_dict(w, dict, depth)?;
    } else if let Ok(list) = value.cast::<PyList>() {
        write_array(w, list.iter(), depth)?;
    } else if let Ok(tuple) = value.cast::<PyTuple>() {
        write_array(w, tuple.iter(), depth)?;
    } else if !write_formed(w, value, depth)? {
        write_default(w, value, depth)?;
    }
    Ok(())
}

/// Subclasses, and the types that are no JSON of themselves; `false` for one without a form.
fn write_formed(w: &mut Writer<'_>, value: &Bound<'_, PyAny>, depth: usize) -> Written<bool> {
    if let Ok(text) = value.cast::<PyString>() {
        write_string(&mut w.out, text.to_str()?);
    } else if let Some(text) = forms::text(value)? {
        match text.as_str()? {
            Some(text) => write_string(&mut w.out, text),
            None => w.out.extend_from_slice(b"null"),
        }
    } else if let Ok(number) = value.cast::<PyInt>() {
        write_int(&mut w.out, number)?;
    } else if let Ok(number) = value.cast::<PyFloat>() {
        write_float(&mut w.out, number.value())?;
    } else if let Some(names) = forms::fields(value)? {
        let fields = names.iter().map(|name| {
            let value = value.getattr(name.cast::<PyString>()?)?;
            Ok((name, value))
        });
        write_object(w, fields, depth)?;
    } else if let Some(json) = forms::own_json(value)? {
        w.out.extend_from_slice(json.to_str()?.as_bytes());
    } else if let Some(inner) = forms::enum_value(value)? {
        write_value(w, &inner, deeper(depth)?)?;
    } else if value.is_instance_of::<PySet>() || value.is_instance_of::<PyFrozenSet>() {
        // A copy: another thread may change a set while code of the program's shows what is in it.
        let items = value.try_iter()?.collect::<PyResult<Vec<_>>>()?;
        write_array(w, items.into_iter(), depth)?;
    } else if let Ok(mapping) = value.cast::<PyMapping>() {
        let items = mapping.items()?;
        write_object(w, items.iter().map(|item| item.extract()), depth)?;
    } else if let Some(array) = numpy::Array::of(value)? {
        array.write(w, depth)?;
    } else {
        return Ok(false);
    }
    Ok(true)
}

fn write_default(w: &mut Writer<'_>, value: &Bound<'_, PyAny>, depth: usize) -> Written {
    let py = value.py();
    let Some(default) = w.default else {
        let kind = value.get_type();
        return Err(PyTypeError::new_err(format!("a value of type {} has no form in JSON", kind.name()?)).into());
    };
    // One that returns what it was given would be asked for ever.
    write_value(w, default.bind(py).call1((value,))?.as_any(), deeper(depth)?)
}

fn write_dict(w: &mut Writer<'_>, dict: &Bound<'_, PyDict>, depth: usize) -> Written {
    let mut items = dict.iter();
    let len = items.len();
    // A value's own code may change the dict: the iterator would panic, json.dumps raises.
    let checked = (0..len).map_while(|_| {
        if dict.len() != len {
            return Some(Err(PyRuntimeError::new_err("dictionary changed size during iteration")));
        }
        items.next().map(Ok)
    });
    write_object(w, checked, depth)
}

fn write_object<'py>(
    w: &mut Writer<'_>,
    items: impl Iterator<Item = PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>)>>,
    depth: usize,
) -> Written {
    let depth = deeper(depth)?;
    w.out.push(b'{');
    for (nth, item) in items.enumerate() {
        let (key, value) = item?;
        if nth > 0 {
            w.out.push(b',');
        }
        write_key(w, &key)?;
        w.out.push(b':');
        write_value(w, &value, depth).map_err(|failure| failure.within(Step::Key(key.unbind())))?;
    }
    w.out.push(b'}');
    Ok(())
}

fn write_array<'py>(w: &mut Writer<'_>, items: impl Iterator<Item = Bound<'py, PyAny>>, depth: usize) -> Written {
    let depth = deeper(depth)?;
    w.out.push(b'[');
    for (nth, item) in items.enumerate() {
        if nth > 0 {
            w.out.push(b',');
        }
        write_value(w, &item, depth).map_err(|failure| failure.within(Step::Index(nth)))?;
    }
    w.out.push(b']');
    Ok(())
}

/// Writes an array of what `write` writes for each index, at the depth that it is given.
fn write_array_with(
    w: &mut Writer<'_>,
    depth: usize,
    length: usize,
    mut write: impl FnMut(&mut Writer<'_>, usize, usize) -> Written,
) -> Written {
    let depth = deeper(depth)?;
    w.out.push(b'[');
    for nth in 0..length {
        if nth > 0 {
            w.out.push(b',');
        }
        write(w, nth, depth).map_err(|failure| failure.within(Step::Index(nth)))?;
    }
    w.out.push(b']');
    Ok(())
}

fn deeper(depth: usize) -> PyResult<usize> {
    if depth == MAX_DEPTH {
        return Err(PyValueError::new_err(format!(
            "nested deeper than {MAX_DEPTH}, a circular reference, or a default that returns what it is given"
        )));
    }
    Ok(depth + 1)
}

/// Keys are text; numbers, truth values and `None` become text as `json.dumps` has it, and what has a form that is text
/// is that text.
fn write_key(w: &mut Writer<'_>, key: &Bound<'_, PyAny>) -> Written {
    if let Ok(text) = key.cast_exact::<PyString>() {
        write_string(&mut w.out, text.to_str()?);
        return Ok(());
    }
    if let Ok(text) = key.cast::<PyString>() {
        write_string(&mut w.out, text.to_str()?);
        return Ok(());
    }
    let scalar = key.is_none() || key.is_instance_of::<PyInt>() || key.is_instance_of::<PyFloat>();
    if scalar {
        w.out.push(b'"');
        write_value(w, key, 0)?;
        w.out.push(b'"');
    } else if let Some(text) = forms::text(key)? {
        write_string(&mut w.out, text.as_str()?.unwrap_or("null"));
    } else if let Some(inner) = forms::enum_value(key)? {
        write_key(w, &inner)?;
    } else if let Some(item) = numpy::item(key)? {
        write_key(w, &item)?;
    } else {
        let kind = key.get_type();
        return Err(PyTypeError::new_err(format!("a key of type {} has no form in JSON", kind.name()?)).into());
    }
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
    if write_short_float(out, number) {
        return Ok(());
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

/// Writes a number of few digits, such as a price or a temperature: what a division by a power of ten gives back is written
/// by the digits that were divided, and no shorter ones are the same number, as at most 15 digits tell numbers apart.
fn write_short_float(out: &mut Vec<u8>, number: f64) -> bool {
    let size = number.abs();
    // Those whose digits `repr` lays out without an exponent, with room for all of the places.
    if !(0.001..1e9).contains(&size) {
        return false;
    }
    for (places, power) in [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6].into_iter().enumerate() {
        let digits = (size * power).round();
        if digits / power != size {
            continue;
        }
        let digits = digits as u64;
        let power = power as u64;
        if number < 0.0 {
            out.push(b'-');
        }
        out.extend_from_slice(itoa::Buffer::new().format(digits / power).as_bytes());
        out.push(b'.');
        let fraction = digits % power;
        // The zeros before it.
        let mut place = power / 10;
        while places > 1 && place > fraction && place > 1 {
            out.push(b'0');
            place /= 10;
        }
        out.extend_from_slice(itoa::Buffer::new().format(fraction).as_bytes());
        return true;
    }
    false
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
    if is_plain(bytes) {
        out.extend_from_slice(bytes);
    } else {
        write_escaped(out, bytes);
    }
    out.push(b'"');
}

/// Whether text stands in JSON as it is. Eight bytes are looked at together, the last ones once more if need be.
#[inline]
fn is_plain(bytes: &[u8]) -> bool {
    let Some(end) = bytes.last_chunk::<8>() else {
        return bytes.iter().all(|byte| ESCAPES[usize::from(*byte)] == 0);
    };
    let (words, _) = bytes.as_chunks::<8>();
    words.iter().chain([end]).all(|word| is_plain_word(u64::from_le_bytes(*word)))
}

/// Whether no byte is below 0x20, a quote or a backslash. A byte from which less than itself is taken away keeps its high bit
/// clear; those that had it set are no ASCII.
#[inline]
fn is_plain_word(word: u64) -> bool {
    const EACH: u64 = u64::MAX / 255;
    let below = |limit: u8, word: u64| word.wrapping_sub(EACH * u64::from(limit)) & !word;
    let is = |byte: u8| below(1, word ^ (EACH * u64::from(byte)));
    (below(0x20, word) | is(b'"') | is(b'\\')) & (EACH * 0x80) == 0
}

#[cold]
fn write_escaped(out: &mut Vec<u8>, bytes: &[u8]) {
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
}
