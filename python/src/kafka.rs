//! The Kafka sink, with the rows of its table as keywords.

use pyo3::prelude::*;
use pyo3::types::PyDict;
use unistream::sink::kafka::{self, KafkaOptions};

use crate::error::OrRaise;
use crate::options;
use crate::sink::NativeSink;

/// Sends records to topics of Apache Kafka, and of what speaks its protocol.
///
/// :param brokers: some of the cluster's brokers, such as `"host:9092,host2:9092"`.
/// :param topic: the topic of records that name none.
/// :param options: see `unistream.KafkaOptions`.
#[pyclass(frozen, extends = NativeSink, module = "unistream._native")]
pub(crate) struct KafkaSink;

#[pymethods]
impl KafkaSink {
    #[new]
    #[pyo3(signature = (brokers, topic = "", **options))]
    fn new(
        py: Python<'_>,
        brokers: &str,
        topic: &str,
        options: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<PyClassInitializer<Self>> {
        let mut builder = kafka::KafkaSink::builder(brokers).topic(topic);
        for (key, text) in options::texts(KafkaOptions::TABLE, options)? {
            builder = builder.set(&key, &text).or_raise(py)?;
        }
        // It reads files, and the interpreter need not wait for them.
        let make = move || NativeSink::renewable(move || Ok(Box::new(builder.clone().build()?)));
        let sink = py.detach(make).or_raise(py)?;
        Ok(PyClassInitializer::from(sink).add_subclass(KafkaSink))
    }
}
