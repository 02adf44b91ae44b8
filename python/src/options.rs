//! Options as keywords: Python values in the text form of the core's one table.

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyString};
use unistream::{OptionSpec, Options};

use crate::error::OrRaise;
use crate::time;

/// The options that a dict of keywords sets.
pub(crate) fn from_dict(keywords: &Bound<'_, PyDict>) -> PyResult<Options> {
    let mut options = Options::default();
    for (key, value) in keywords {
        let key = key.cast::<PyString>()?.to_str()?.to_owned();
        let text = match Options::TABLE.iter().find(|spec| spec.key == key) {
            Some(spec) => text(spec, &value)?,
            None => return Err(PyTypeError::new_err(format!("there is no option {key:?}"))),
        };
        options.set(&key, &text).or_raise(keywords.py())?;
    }
    Ok(options)
}

/// Every option in its text form.
pub(crate) fn to_dict<'py>(py: Python<'py>, options: &Options) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    for spec in Options::TABLE {
        dict.set_item(spec.key, options.get(spec.key))?;
    }
    Ok(dict)
}

/// The text form of a value. Text is taken as it is: the table parses it.
pub(crate) fn text(spec: &OptionSpec, value: &Bound<'_, PyAny>) -> PyResult<String> {
    if let Ok(text) = value.cast::<PyString>() {
        return Ok(text.to_str()?.to_owned());
    }
    let mismatch = || {
        let kind = value.get_type().name().map_or_else(|_| "?".into(), |name| name.to_string());
        PyTypeError::new_err(format!("option {} is a {}, not {kind}", spec.key, spec.kind))
    };
    match spec.kind {
        "boolean" => value.cast::<PyBool>().map(|truth| truth.is_true().to_string()).map_err(|_| mismatch()),
        "count" | "bytes" if value.is_instance_of::<PyInt>() && !value.is_instance_of::<PyBool>() => {
            Ok(value.str()?.to_string())
        }
        "mode" if value.is_instance_of::<PyInt>() && !value.is_instance_of::<PyBool>() => {
            Ok(format!("{:04o}", value.extract::<u32>()?))
        }
        "text" if value.hasattr("__fspath__")? => Ok(value.call_method0("__fspath__")?.extract()?),
        "number" if value.is_instance_of::<PyFloat>() || value.is_instance_of::<PyInt>() => {
            Ok(value.extract::<f64>()?.to_string())
        }
        "duration" => seconds(value),
        "durations" => {
            let waits = value.try_iter()?.map(|wait| seconds(&wait?)).collect::<PyResult<Vec<_>>>()?;
            Ok(waits.join(","))
        }
        _ => Err(mismatch()),
    }
}

/// Keywords in the text form of a table.
pub(crate) fn texts(table: &[OptionSpec], keywords: Option<&Bound<'_, PyDict>>) -> PyResult<Vec<(String, String)>> {
    let text = |(key, value): (Bound<'_, PyAny>, Bound<'_, PyAny>)| {
        let key = key.cast::<PyString>()?.to_str()?.to_owned();
        let spec = table.iter().find(|spec| spec.key == key);
        let spec = spec.ok_or_else(|| PyTypeError::new_err(format!("there is no option {key:?}")))?;
        Ok((key, text(spec, &value)?))
    };
    keywords.into_iter().flat_map(|keywords| keywords.iter()).map(text).collect()
}

fn seconds(span: &Bound<'_, PyAny>) -> PyResult<String> {
    match time::duration_or_none(span)? {
        None | Some(unistream::NEVER) => Ok("none".into()),
        Some(duration) => Ok(duration.as_secs_f64().to_string()),
    }
}

/// options(sink=None) -> list[dict[str, str]]: the table of options of producers, or of a kind of sink such as
/// `"kinesis"`, for the documentation and the command line.
#[pyfunction]
#[pyo3(signature = (sink = None))]
pub(crate) fn options<'py>(py: Python<'py>, sink: Option<&str>) -> PyResult<Vec<Bound<'py, PyDict>>> {
    let row = |spec: &OptionSpec| {
        let row = PyDict::new(py);
        row.set_item("key", spec.key)?;
        row.set_item("kind", spec.kind)?;
        row.set_item("range", spec.range)?;
        row.set_item("default", spec.default)?;
        row.set_item("doc", spec.doc)?;
        Ok(row)
    };
    let table = sink.map_or(Ok(Options::TABLE), |scheme| Ok(unistream::sink::kind(scheme)?.options)).or_raise(py)?;
    table.iter().map(row).collect()
}
