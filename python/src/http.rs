//! The HTTP sink, with the rows of its table as keywords.

use std::error::Error as StdError;

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};
use unistream::sink::http::{self, HttpOptions, Secret};

use crate::error::OrRaise;
use crate::options;
use crate::sink::{NativeSink, call_quietly};

/// Sends records in the requests of HTTP or HTTPS.
///
/// :param url: where to; without user and password.
/// :param headers: headers of every request, as a mapping; none of their values is shown.
/// :param token: the token of `Authorization: Bearer`, or a callable that returns it, asked before every request.
/// :param options: see `unistream.HttpOptions`.
#[pyclass(frozen, extends = NativeSink, module = "unistream._native")]
pub(crate) struct HttpSink;

#[pymethods]
impl HttpSink {
    #[new]
    #[pyo3(signature = (url, *, headers = None, token = None, **options))]
    fn new(
        py: Python<'_>,
        url: &str,
        headers: Option<&Bound<'_, PyAny>>,
        token: Option<Py<PyAny>>,
        options: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<PyClassInitializer<Self>> {
        let mut builder = http::HttpSink::builder(url);
        for (key, text) in options::texts(HttpOptions::TABLE, options)? {
            builder = builder.set(&key, &text).or_raise(py)?;
        }
        if let Some(headers) = headers {
            for pair in headers.call_method0("items")?.try_iter()? {
                let (name, value) = pair?.extract::<(String, String)>()?;
                builder = builder.secret_header(&name, value);
            }
        }
        if let Some(token) = token {
            let bound = token.bind(py);
            builder = match bound.cast::<PyString>() {
                Ok(text) => builder.token(text.to_str()?),
                Err(_) if bound.is_callable() => builder.token_fn(move || ask(&token)),
                Err(_) => return Err(PyTypeError::new_err("token must be text or a callable that returns it")),
            };
        }
        // It reads files, and the interpreter need not wait for them.
        let make = move || NativeSink::renewable(move || Ok(Box::new(builder.clone().build()?)));
        let sink = py.detach(make).or_raise(py)?;
        Ok(PyClassInitializer::from(sink).add_subclass(HttpSink))
    }
}

/// Calls the user's callable for a token, on the thread that sends.
fn ask(function: &Py<PyAny>) -> Result<Secret, Box<dyn StdError + Send + Sync>> {
    let ask = |py: Python<'_>| -> PyResult<Secret> { Ok(call_quietly(function.bind(py))?.extract::<String>()?.into()) };
    Python::try_attach(ask).ok_or("the interpreter is ending")?.map_err(|error| error.to_string().into())
}
