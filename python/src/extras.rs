//! What `put` takes besides the payload.

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedStr;
use pyo3::types::{PyBytes, PyIterator, PyMapping, PyString};
use unistream::{Headers, NEVER, NewRecord};

use crate::payload::{Encoded, Encoder};
use crate::time;

/// The arguments as they came; none of them is there in the common case, which costs a few looks.
#[derive(Default)]
pub(crate) struct Extras<'a, 'py> {
    pub(crate) id: Option<&'a str>,
    pub(crate) key: Option<&'a Bound<'py, PyAny>>,
    pub(crate) created_at: Option<&'a Bound<'py, PyAny>>,
    pub(crate) headers: Option<&'a Bound<'py, PyAny>>,
    pub(crate) topic: Option<&'a str>,
    pub(crate) expires_at: Option<&'a Bound<'py, PyAny>>,
    pub(crate) max_age: Option<&'a Bound<'py, PyAny>>,
}

impl<'py> Extras<'_, 'py> {
    /// Calls `put` with the record of this payload.
    #[inline]
    pub(crate) fn with<T>(
        &self,
        data: &Bound<'py, PyAny>,
        encoder: &Encoder,
        put: impl FnOnce(NewRecord<'_>) -> PyResult<T>,
    ) -> PyResult<T> {
        let key = self.key.map(Encoded::key).transpose()?;
        let key = key.as_ref().map(Encoded::as_bytes).transpose()?;
        let created_at = self.created_at.map(|instant| time::to_micros("created_at", instant)).transpose()?;
        let headers = self.headers.map(HeaderList::of).transpose()?;
        let pairs = headers.as_ref().map(HeaderList::pairs).transpose()?;
        let record = NewRecord {
            key,
            created_at,
            headers: pairs.as_ref().map_or(Headers::NONE, Headers::from),
            topic: self.topic,
            expires_at: self.expiry(created_at)?,
            id: self.id,
            data: &[],
        };
        if let Ok(bytes) = data.cast_exact::<PyBytes>() {
            return put(NewRecord { data: bytes.as_bytes(), ..record });
        }
        let encoded = Encoded::of(data, encoder)?;
        let own_id = encoded.id.as_ref().map(|id| id.to_str()).transpose()?;
        put(NewRecord { data: encoded.as_bytes()?, id: self.id.or(own_id), ..record })
    }

    fn expiry(&self, created_at: Option<i64>) -> PyResult<Option<i64>> {
        match (self.expires_at, self.max_age) {
            (None, None) => Ok(None),
            (Some(instant), None) => time::to_micros("expires_at", instant).map(Some),
            (None, Some(span)) => {
                let age = time::duration(span)?;
                let age = i64::try_from(age.as_micros()).ok().filter(|_| age != NEVER);
                let from = || created_at.unwrap_or_else(time::now);
                // An age without end is none.
                Ok(age.map(|age| from().saturating_add(age)))
            }
            (Some(_), Some(_)) => {
                Err(PyValueError::new_err("expires_at and max_age say the same thing: give one of them"))
            }
        }
    }
}

/// Names with values, kept for as long as they are put.
struct HeaderList<'py>(Vec<(PyBackedStr, Encoded<'py>)>);

impl<'py> HeaderList<'py> {
    /// A mapping, or pairs, which may have a name more than once.
    fn of(headers: &Bound<'py, PyAny>) -> PyResult<Self> {
        let pairs = match headers.cast::<PyMapping>() {
            Ok(mapping) => mapping.items()?.into_any(),
            Err(_) => headers.clone(),
        };
        let pair = |item: PyResult<Bound<'py, PyAny>>| {
            let (name, value): (Bound<'py, PyAny>, Bound<'py, PyAny>) = item?.extract().map_err(|error| {
                PyTypeError::new_err(format!("headers takes a mapping, or pairs of name and value: {error}"))
            })?;
            if !name.is_instance_of::<PyString>() {
                let kind = name.get_type();
                return Err(PyTypeError::new_err(format!("the name of a header is {}, not str", kind.name()?)));
            }
            // One with a surrogate is no UTF-8, which the error says.
            let text = name.extract::<PyBackedStr>()?;
            let value = Encoded::key(&value).map_err(|error| {
                let reason = error.value(value.py());
                PyTypeError::new_err(format!("the value of header {name}: {reason}"))
            })?;
            Ok((text, value))
        };
        PyIterator::from_object(&pairs)?.map(pair).collect::<PyResult<_>>().map(HeaderList)
    }

    fn pairs(&self) -> PyResult<Vec<(&str, &[u8])>> {
        self.0.iter().map(|(name, value)| Ok((&**name, value.as_bytes()?))).collect()
    }
}
