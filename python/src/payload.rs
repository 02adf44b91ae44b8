//! What `put` takes, as bytes.

use pyo3::PyTypeInfo;
use pyo3::buffer::PyBuffer;
use pyo3::exceptions::PyTypeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyDict, PyList, PyMapping, PyMemoryView, PyString, PyTuple};

use crate::json;

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

impl<'py> Encoded<'py> {
    /// Bytes-like objects as they are, text as UTF-8, `serialize()` where there is one, the rest as JSON.
    ///
    /// In the order of what is common; asking an object for a buffer that it does not have is the slow question. A
    /// subclass that has `serialize()` means it, whatever it is a subclass of.
    pub(crate) fn of(data: &Bound<'py, PyAny>) -> PyResult<Self> {
        if let Some(payload) = built_in(data, Exactly::Yes)? {
            return Ok(Encoded { payload, id: None });
        }
        if let Some(serialize) = data.getattr_opt(intern!(data.py(), "serialize"))? {
            let serialized = serialize.call0()?;
            let Some(payload) = raw(&serialized)? else {
                let kind = serialized.get_type();
                return Err(PyTypeError::new_err(format!("serialize() returned {}, not bytes or str", kind.name()?)));
            };
            let id = data.getattr_opt(intern!(data.py(), "id"))?.and_then(|id| id.cast_into().ok());
            return Ok(Encoded { payload, id });
        }
        let plain = |payload| Ok(Encoded { payload, id: None });
        if let Some(payload) = built_in(data, Exactly::No)? {
            return plain(payload);
        }
        if json::dataclass_fields(data)?.is_some() || data.is_instance_of::<PyMapping>() {
            return plain(Payload::json(data)?);
        }
        match raw(data)? {
            Some(payload) => plain(payload),
            None => Err(PyTypeError::new_err(format!(
                "cannot put an object of type {}: put takes bytes-like objects, str, mappings, lists, dataclasses and objects with \
                 serialize()",
                data.get_type().name()?
            ))),
        }
    }

    /// A key: bytes or text, nothing else.
    pub(crate) fn key(data: &Bound<'py, PyAny>) -> PyResult<Self> {
        match raw(data)? {
            Some(payload) => Ok(Encoded { payload, id: None }),
            None => Err(PyTypeError::new_err(format!("{} is not bytes or str", data.get_type().name()?))),
        }
    }

    pub(crate) fn as_bytes(&self) -> PyResult<&[u8]> {
        match &self.payload {
            Payload::Bytes(bytes) => Ok(bytes.as_bytes()),
            Payload::Text(text) => Ok(text.to_str()?.as_bytes()),
            Payload::Owned(bytes) => Ok(bytes),
        }
    }
}

impl Payload<'_> {
    fn json(value: &Bound<'_, PyAny>) -> PyResult<Self> {
        let mut out = Vec::with_capacity(256);
        json::write(&mut out, value)?;
        Ok(Payload::Owned(out))
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Exactly {
    Yes,
    No,
}

/// The payload of a built-in type, or of a subclass of one.
fn built_in<'py>(data: &Bound<'py, PyAny>, exactly: Exactly) -> PyResult<Option<Payload<'py>>> {
    fn is<T: PyTypeInfo>(data: &Bound<'_, PyAny>, exactly: Exactly) -> bool {
        if exactly == Exactly::Yes { data.is_exact_instance_of::<T>() } else { data.is_instance_of::<T>() }
    }
    if is::<PyDict>(data, exactly) || is::<PyList>(data, exactly) || is::<PyTuple>(data, exactly) {
        return Payload::json(data).map(Some);
    }
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

/// encode(data) -> tuple[bytes, str | None]: what `put` would store, and the id that comes with it.
#[pyfunction]
pub(crate) fn encode<'py>(data: &Bound<'py, PyAny>) -> PyResult<(Bound<'py, PyBytes>, Option<Bound<'py, PyString>>)> {
    let encoded = Encoded::of(data)?;
    Ok((PyBytes::new(data.py(), encoded.as_bytes()?), encoded.id.clone()))
}
