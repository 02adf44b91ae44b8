//! Sinks by URL and name: the core's registry, and the kinds that Python code adds to it.

use pyo3::prelude::*;
use pyo3::types::PyDict;
use unistream::sink::{self, Kind, Place};
use unistream::{Error, ErrorKind, Sink};

use crate::channel::Channel;
use crate::error::{OrRaise, Raised};
use crate::options;
use crate::sink::NativeSink;

/// open_sink(url_or_kind, options): a sink of the core's own. `options` are keywords of the sink's table.
#[pyfunction]
pub(crate) fn open_sink(py: Python<'_>, url_or_kind: &str, options: &Bound<'_, PyDict>) -> PyResult<NativeSink> {
    let scheme = url_or_kind.split(':').next().unwrap_or_default();
    let kind = py.detach(|| sink::kind(scheme)).or_raise(py)?;
    let texts = options::texts(kind.options, Some(options))?;
    let pairs: Vec<_> = texts.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    let sink = py.detach(|| sink::open(url_or_kind, &pairs)).or_raise(py)?;
    Ok(NativeSink::of(sink.into()))
}

/// sink_options(url_or_kind): the options that a URL names, as text; `place` is what stands before `?`.
#[pyfunction]
pub(crate) fn sink_options<'py>(py: Python<'py>, url_or_kind: &str) -> PyResult<Bound<'py, PyDict>> {
    let (_, options) = py.detach(|| sink::resolve(url_or_kind, &[])).or_raise(py)?;
    let dict = PyDict::new(py);
    options.iter().try_for_each(|(key, value)| dict.set_item(key, value))?;
    Ok(dict)
}

/// sink_kinds(): what each kind that is registered says of itself.
#[pyfunction]
pub(crate) fn sink_kinds(py: Python<'_>) -> PyResult<Vec<Bound<'_, PyDict>>> {
    let row = |kind: &&'static Kind| {
        let row = PyDict::new(py);
        row.set_item("scheme", kind.scheme)?;
        row.set_item("url", kind.url())?;
        row.set_item("summary", kind.summary)?;
        row.set_item("once", kind.once)?;
        row.set_item("missing", if kind.open.is_none() { kind.feature } else { "" })?;
        Ok(row)
    };
    sink::kinds().iter().map(row).collect()
}

/// register_sink(scheme, summary, open): adds a kind. `open` is called with a dict of the options as text, and returns
/// a native sink or a channel that somebody serves.
#[pyfunction]
pub(crate) fn register_sink(py: Python<'_>, scheme: &str, summary: String, open: Py<PyAny>) -> PyResult<()> {
    py.detach(|| sink::register_as(scheme, |scheme| kind(scheme, summary, open))).or_raise(py)?;
    Ok(())
}

/// set_sink_finder(find): `find` is called with a scheme that nobody has registered, and may register it.
#[pyfunction]
pub(crate) fn set_sink_finder(py: Python<'_>, find: Py<PyAny>) -> PyResult<()> {
    let ask = move |scheme: &str| {
        Python::try_attach(|py| find.call1(py, (scheme,)).map(|_| ()).map_err(|error| failed(py, scheme, error)))
            .unwrap_or(Ok(()))
    };
    py.detach(|| sink::set_finder(ask)).or_raise(py)
}

/// A kind whose sinks Python code makes; like everything registered it lives as long as the process.
fn kind(scheme: &'static str, summary: String, open: Py<PyAny>) -> Kind {
    let constructor = move |options: &[(&str, &str)]| {
        Python::try_attach(|py| opened(py, &open, options).map_err(|error| failed(py, scheme, error)))
            .unwrap_or_else(|| Err(Error::new(ErrorKind::Closed, "the interpreter is ending")))
    };
    let mut kind = Kind::new(scheme, Box::leak(Box::new(constructor)));
    kind.summary = summary.leak();
    kind.place = Place::Verbatim("place");
    kind.takes_any = true;
    kind
}

fn opened(py: Python<'_>, open: &Py<PyAny>, options: &[(&str, &str)]) -> PyResult<Box<dyn Sink>> {
    let pairs = PyDict::new(py);
    options.iter().try_for_each(|(key, value)| pairs.set_item(key, value))?;
    let sink = open.bind(py).call1((pairs,))?;
    if let Ok(native) = sink.cast::<NativeSink>() {
        return Ok(Box::new(native.get().core.clone()));
    }
    Ok(Box::new(sink.cast::<Channel>()?.get().served()))
}

fn failed(py: Python<'_>, scheme: &str, error: PyErr) -> Error {
    let cause = Raised::cause(py, error);
    Error::new(ErrorKind::InvalidArgument, format!("sink {scheme}: {cause}")).with_source(cause)
}
