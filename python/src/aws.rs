//! The sinks of Amazon Web Services, with the rows of their tables as keywords.

use std::error::Error as StdError;

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use unistream::sink::aws::{self, CloudWatchLogsOptions, Credentials, KinesisOptions};

use crate::error::OrRaise;
use crate::options;
use crate::sink::{NativeSink, call_quietly};

/// Sets a builder's options from keywords and makes the sink.
macro_rules! build {
    ($py:ident, $builder:expr, $table:expr, $credentials:ident, $keywords:ident) => {{
        let mut builder = $builder;
        for (key, text) in options::texts($table, $keywords)? {
            builder = builder.set(&key, &text).or_raise($py)?;
        }
        if let Some(credentials) = $credentials {
            if !credentials.bind($py).is_callable() {
                return Err(PyTypeError::new_err("credentials must be a callable that returns keys"));
            }
            builder = builder.credentials_fn(move || ask(&credentials));
        }
        // It reads files, and the interpreter need not wait for them.
        $py.detach(|| NativeSink::renewable(move || Ok(Box::new(builder.clone().build()?)))).or_raise($py)?
    }};
}

/// Sends records to a stream of Amazon Kinesis Data Streams.
///
/// Records of a call that fail one by one are sent again, and only those. `PutRecords` promises no order among the
/// records of a call when some fail; `ordered=True` keeps strict order per partition key, with at most one record of a
/// key in a call. Making the sink calls nobody.
///
/// :param stream: the name or the ARN of the stream.
/// :param credentials: a callable that returns an object with `access_key`, `secret_key` and `token`, as botocore's
///     frozen credentials have; asked before every call. Left out, credentials are looked for where the AWS tools do.
/// :param options: see `unistream.KinesisOptions`.
#[pyclass(frozen, extends = NativeSink, module = "unistream._native")]
pub(crate) struct KinesisSink;

#[pymethods]
impl KinesisSink {
    #[new]
    #[pyo3(signature = (stream, *, credentials = None, **options))]
    fn new(
        py: Python<'_>,
        stream: &str,
        credentials: Option<Py<PyAny>>,
        options: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<PyClassInitializer<Self>> {
        let sink = build!(py, aws::KinesisSink::builder(stream), KinesisOptions::TABLE, credentials, options);
        Ok(PyClassInitializer::from(sink).add_subclass(KinesisSink))
    }
}

/// Sends records to a stream of Amazon CloudWatch Logs: the message is the payload, which must be UTF-8, and the time
/// is `created_at`. Making the sink calls nobody.
///
/// :param group: the log group.
/// :param stream: the log stream in it.
/// :param credentials: as for `KinesisSink`.
/// :param options: see `unistream.CloudWatchLogsOptions`.
#[pyclass(frozen, extends = NativeSink, module = "unistream._native")]
pub(crate) struct CloudWatchLogsSink;

#[pymethods]
impl CloudWatchLogsSink {
    #[new]
    #[pyo3(signature = (group, stream, *, credentials = None, **options))]
    fn new(
        py: Python<'_>,
        group: &str,
        stream: &str,
        credentials: Option<Py<PyAny>>,
        options: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<PyClassInitializer<Self>> {
        let builder = aws::CloudWatchLogsSink::builder(group, stream);
        let sink = build!(py, builder, CloudWatchLogsOptions::TABLE, credentials, options);
        Ok(PyClassInitializer::from(sink).add_subclass(CloudWatchLogsSink))
    }
}

/// Calls the user's callable for credentials, on the thread that sends.
fn ask(function: &Py<PyAny>) -> Result<Credentials, Box<dyn StdError + Send + Sync>> {
    let ask = |py: Python<'_>| -> PyResult<Credentials> {
        let found = call_quietly(function.bind(py))?;
        let text = |name: &str| found.getattr(name)?.extract::<String>();
        let credentials = Credentials::new(text("access_key")?, text("secret_key")?);
        Ok(match found.getattr("token")?.extract::<Option<String>>()? {
            Some(token) => credentials.session_token(token),
            None => credentials,
        })
    };
    Python::try_attach(ask).ok_or("the interpreter is ending")?.map_err(|error| error.to_string().into())
}
