//! What `put` takes, as bytes.

use pyo3::PyTypeInfo;
use pyo3::buffer::PyBuffer;
use pyo3::exceptions::PyTypeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{
    PyBool, PyByteArray, PyBytes, PyDict, PyFloat, PyInt, PyList, PyMapping, PyMemoryView, PyString, PyTuple,
};

use crate::json::{self, Writer};

/// A payload, and the id of an object that has one.
pub(crate) struct Encoded<'py> {
    payload: Payload<'py>,
    pub(crate) id: Option<Bound<'py, PyString>>,
}

enum Payload<'py> {
    Bytes(Bound<'py, PyBytes>),
    Text(Bound<'py, PyString>),
    Owned(Vec<u8>),
}

impl Drop for Encoded<'_> {
    fn drop(&mut self) {
        if let Payload::Owned(bytes) = &mut self.payload {
            json::recycle(std::mem::take(bytes));
        }
    }
}

/// What the program has said about how objects become payloads.
#[derive(Default)]
pub(crate) struct Encoder {
    /// Is called with a value that has no form in JSON, and returns another one in its place.
    default: Option<Py<PyAny>>,
    /// Is called with everything but text, bytes and objects with `serialize()`, and returns the payload.
    serializer: Option<Py<PyAny>>,
}

impl Encoder {
    pub(crate) fn new(default: Option<Py<PyAny>>, serializer: Option<Py<PyAny>>) -> PyResult<Self> {
        if default.is_some() && serializer.is_some() {
            return Err(PyTypeError::new_err(
                "default is asked while JSON is written, and serializer writes: give one of them",
            ));
        }
        Ok(Encoder { default, serializer })
    }

    fn json<'py>(&self, value: &Bound<'py, PyAny>) -> PyResult<Encoded<'py>> {
        let mut writer = Writer::new(self.default.as_ref());
        writer.write(value)?;
        Ok(Encoded::plain(Payload::Owned(writer.out)))
    }
}

impl<'py> Encoded<'py> {
    fn plain(payload: Payload<'py>) -> Self {
        Encoded { payload, id: None }
    }

    /// Bytes-like objects as they are, text as UTF-8, `serialize()` where there is one, the rest as JSON or as the
    /// serializer has it.
    ///
    /// In the order of what is common; asking an object for a buffer that it does not have is the slow question. A
    /// subclass that has `serialize()` means it, whatever it is a subclass of.
    pub(crate) fn of(data: &Bound<'py, PyAny>, encoder: &Encoder) -> PyResult<Self> {
        if is_json(data, Exactly::Yes) {
            return match &encoder.serializer {
                Some(serializer) => by_serializer(serializer, data),
                None => encoder.json(data),
            };
        }
        if let Some(payload) = built_in(data, Exactly::Yes)? {
            return Ok(Encoded::plain(payload));
        }
        if let Some(serialize) = data.getattr_opt(intern!(data.py(), "serialize"))? {
            let payload = returned("serialize()", &serialize.call0()?)?;
            let id = data.getattr_opt(intern!(data.py(), "id"))?.and_then(|id| id.cast_into().ok());
            return Ok(Encoded { payload, id });
        }
        if let Some(payload) = built_in(data, Exactly::No)? {
            return Ok(Encoded::plain(payload));
        }
        if let Some(serializer) = &encoder.serializer {
            return by_serializer(serializer, data);
        }
        if is_json(data, Exactly::No) {
            return encoder.json(data);
        }
        let mut writer = Writer::new(encoder.default.as_ref());
        if !is_scalar(data) && writer.write_formed(data)? {
            return Ok(Encoded::plain(Payload::Owned(writer.out)));
        }
        if let Some(payload) = raw(data)? {
            return Ok(Encoded::plain(payload));
        }
        if encoder.default.is_some() && !is_scalar(data) {
            return encoder.json(data);
        }
        Err(PyTypeError::new_err(format!(
            "cannot put an object of type {}: put takes bytes-like objects, str, what has a form in JSON (mappings, lists, \
             dataclasses, models, dates and others) and objects with serialize(); default= and serializer= of the producer \
             add to these",
            data.get_type().name()?
        )))
    }

    /// A key: bytes or text, nothing else.
    pub(crate) fn key(data: &Bound<'py, PyAny>) -> PyResult<Self> {
        match raw(data)? {
            Some(payload) => Ok(Encoded { payload, id: None }),
            None => Err(PyTypeError::new_err(format!("{} is not bytes or str", data.get_type().name()?))),
        }
    }

    pub(crate) fn into_python(self, py: Python<'py>) -> PyResult<(Bound<'py, PyBytes>, Option<Bound<'py, PyString>>)> {
        Ok((PyBytes::new(py, self.as_bytes()?), self.id.clone()))
    }

    pub(crate) fn as_bytes(&self) -> PyResult<&[u8]> {
        match &self.payload {
            Payload::Bytes(bytes) => Ok(bytes.as_bytes()),
            Payload::Text(text) => Ok(text.to_str()?.as_bytes()),
            Payload::Owned(bytes) => Ok(bytes),
        }
    }
}

/// What the program's own function has made of an object.
fn returned<'py>(function: &str, made: &Bound<'py, PyAny>) -> PyResult<Payload<'py>> {
    match raw(made)? {
        Some(payload) => Ok(payload),
        None => {
            let kind = made.get_type();
            Err(PyTypeError::new_err(format!("{function} returned {}, not bytes or str", kind.name()?)))
        }
    }
}

fn by_serializer<'py>(serializer: &Py<PyAny>, data: &Bound<'py, PyAny>) -> PyResult<Encoded<'py>> {
    let made = serializer.bind(data.py()).call1((data,))?;
    returned("the serializer", &made).map(Encoded::plain)
}

#[derive(Clone, Copy, PartialEq)]
enum Exactly {
    Yes,
    No,
}

fn is<T: PyTypeInfo>(data: &Bound<'_, PyAny>, exactly: Exactly) -> bool {
    if exactly == Exactly::Yes { data.is_exact_instance_of::<T>() } else { data.is_instance_of::<T>() }
}

/// A container that JSON has.
fn is_json(data: &Bound<'_, PyAny>, exactly: Exactly) -> bool {
    is::<PyDict>(data, exactly) || is::<PyList>(data, exactly) || is::<PyTuple>(data, exactly)
}

/// A number, truth value or `None`: hardly meant as a record, more often a mistake.
fn is_scalar(data: &Bound<'_, PyAny>) -> bool {
    let exactly = Exactly::Yes;
    data.is_none() || is::<PyInt>(data, exactly) || is::<PyFloat>(data, exactly) || is::<PyBool>(data, exactly)
}

/// Text and bytes of a built-in type, or of a subclass of one.
fn built_in<'py>(data: &Bound<'py, PyAny>, exactly: Exactly) -> PyResult<Option<Payload<'py>>> {
    if is::<PyBytes>(data, exactly) || is::<PyString>(data, exactly) {
        return Ok(text_or_bytes(data));
    }
    if is::<PyByteArray>(data, exactly) || is::<PyMemoryView>(data, exactly) {
        return raw(data);
    }
    Ok(None)
}

/// Refuses what iterates but is one payload: putting its letters, bytes or keys one by one is a mistake.
pub(crate) fn refuse_single(items: &Bound<'_, PyAny>) -> PyResult<()> {
    let single = text_or_bytes(items).is_some()
        || items.is_instance_of::<PyByteArray>()
        || items.is_instance_of::<PyMemoryView>()
        || items.is_instance_of::<PyMapping>();
    if single {
        let kind = items.get_type();
        let message = format!("put_many takes an iterable of payloads, and a {} is one payload: use put", kind.name()?);
        return Err(PyTypeError::new_err(message));
    }
    Ok(())
}

fn text_or_bytes<'py>(data: &Bound<'py, PyAny>) -> Option<Payload<'py>> {
    if let Ok(bytes) = data.cast::<PyBytes>() {
        return Some(Payload::Bytes(bytes.clone()));
    }
    data.cast::<PyString>().ok().map(|text| Payload::Text(text.clone()))
}

/// Text and bytes-like objects; `None` for anything else.
fn raw<'py>(data: &Bound<'py, PyAny>) -> PyResult<Option<Payload<'py>>> {
    let py = data.py();
    if let Some(payload) = text_or_bytes(data) {
        return Ok(Some(payload));
    }
    // Copied once: other threads may write to a bytearray while it is checksummed and stored.
    if let Ok(buffer) = PyBuffer::<u8>::get(data) {
        return buffer.to_vec(py).map(|bytes| Some(Payload::Owned(bytes)));
    }
    match PyMemoryView::from(data) {
        Ok(view) => Ok(Some(Payload::Bytes(view.call_method0("tobytes")?.cast_into()?))),
        Err(_) => Ok(None),
    }
}

/// encode(data, default=None, serializer=None) -> tuple[bytes, str | None]: what `put` would store, and the id that comes
/// with it.
#[pyfunction]
#[pyo3(signature = (data, default = None, serializer = None))]
pub(crate) fn encode<'py>(
    data: &Bound<'py, PyAny>,
    default: Option<Py<PyAny>>,
    serializer: Option<Py<PyAny>>,
) -> PyResult<(Bound<'py, PyBytes>, Option<Bound<'py, PyString>>)> {
    Encoded::of(data, &Encoder::new(default, serializer)?)?.into_python(data.py())
}
