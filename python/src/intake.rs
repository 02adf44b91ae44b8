//! Files of lines into a buffer, each line once: for what the predecessor has left.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Mutex;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use unistream_cli::intake::{Fields, Host, Intake as Core, Stop};

use crate::error::OrRaise;
use crate::sync::lock;

/// Takes files into the buffer of a directory and keeps the notes of how far it is.
///
/// :param directory: the buffer's directory. Who makes an intake has the buffer, and keeps it.
/// :param fields: gets a line without its line feed, and its number from 1; returns the record's id, `""` if the line has
///     none of its own, `None` if it is no record. It says the same of the same line again.
/// :param tell: gets sentences for the user.
#[pyclass(frozen, module = "unistream._native")]
pub(crate) struct Intake {
    core: Mutex<Core>,
    fields: Py<PyAny>,
    tell: Py<PyAny>,
}

/// The callables, for as long as a call of the intake.
struct Callables<'py> {
    py: Python<'py>,
    fields: &'py Py<PyAny>,
    tell: &'py Py<PyAny>,
    put: Option<(&'py Bound<'py, PyAny>, &'py Bound<'py, PyAny>)>,
}

impl Host for Callables<'_> {
    type Error = PyErr;

    fn fields(&mut self, line: &[u8], number: u64) -> Result<Option<Fields>, Stop<PyErr>> {
        let id = self.fields.bind(self.py).call1((PyBytes::new(self.py, line), number));
        let id: Option<String> = id.and_then(|id| id.extract()).map_err(Stop::Host)?;
        Ok(id.map(|id| Fields { id: Some(id).filter(|id| !id.is_empty()), ..Fields::default() }))
    }

    fn put(&mut self, line: &[u8], _: u64, fields: &Fields) -> Result<u64, Stop<PyErr>> {
        let Some((put, _)) = self.put else { return Err(Stop::BadLine("nobody puts".into())) };
        let seq = put.call1((PyBytes::new(self.py, line), fields.id.as_deref()));
        seq.and_then(|seq| seq.extract()).map_err(Stop::Host)
    }

    fn sync(&mut self) -> Result<(), Stop<PyErr>> {
        self.put.map_or(Ok(()), |(_, sync)| sync.call0().map(drop)).map_err(Stop::Host)
    }

    fn tell(&mut self, sentence: &str) {
        if let Err(error) = self.tell.bind(self.py).call1((sentence,)) {
            error.write_unraisable(self.py, None);
        }
    }
}

fn raise<T>(py: Python<'_>, result: Result<T, Stop<PyErr>>) -> PyResult<T> {
    result.or_else(|stop| match stop {
        Stop::BadLine(why) => Err(PyValueError::new_err(why)),
        Stop::Io(error) => Err(error.into()),
        Stop::Buffer(error) => Err(error).or_raise(py),
        Stop::Host(error) => Err(error),
    })
}

/// The file that a descriptor of Python's stands for, opened once more.
fn reopen(descriptor: i32) -> PyResult<File> {
    Ok(File::open(format!("/proc/self/fd/{descriptor}"))?)
}

#[pymethods]
impl Intake {
    /// Reads the notes.
    #[new]
    fn new(py: Python<'_>, directory: PathBuf, fields: Py<PyAny>, tell: Py<PyAny>) -> PyResult<Self> {
        let mut callables = Callables { py, fields: &fields, tell: &tell, put: None };
        let core = raise(py, Core::open(&directory, &mut callables))?;
        Ok(Intake { core: Mutex::new(core), fields, tell })
    }

    /// Takes the file of a descriptor in: `put(line, id)` puts a line that is not yet in and returns its seq, `sync()` makes
    /// durable what was put. Returns how many bytes were read.
    fn take<'py>(
        &'py self,
        py: Python<'py>,
        descriptor: i32,
        name: &str,
        put: &'py Bound<'py, PyAny>,
        sync: &'py Bound<'py, PyAny>,
    ) -> PyResult<u64> {
        let file = reopen(descriptor)?;
        let mut callables = Callables { py, fields: &self.fields, tell: &self.tell, put: Some((put, sync)) };
        let mut core = lock(&self.core);
        let source = core.source(&file.metadata()?);
        let taken = core.settle(&file, &source, name, &mut callables);
        raise(py, taken.and_then(|_| core.take(&file, &source, &mut callables)))
    }

    /// Forgets the files that were taken in: all that they held is where it should be.
    fn forget(&self) -> PyResult<()> {
        Ok(lock(&self.core).forget()?)
    }
}
